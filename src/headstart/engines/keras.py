"""Keras itself as the engine: where OpenVINO has no wheel or fails, and on a GPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart.errors import EngineError

NAME = "keras"
Key = TypeVar("Key")
BACKENDS = ("tensorflow", "jax", "torch")


def backend() -> str | None:
    """The Keras backend that this process uses, or would use: what is loaded, what is named, what is installed."""
    if "keras" in sys.modules:
        return str(sys.modules["keras"].config.backend())
    named = os.environ.get("KERAS_BACKEND")
    return named or next((name for name in BACKENDS if importlib.util.find_spec(name)), None)


def reason_not() -> str | None:
    found = backend()
    if found is None:
        return "none of tensorflow, jax, torch is installed: pip install 'headstart[cpu]'"
    return None if importlib.util.find_spec(found) else f"KERAS_BACKEND is {found}, which is not installed"


def version() -> str:
    found = backend() or "none"
    package = "tensorflow-cpu" if found == "tensorflow" else found
    try:
        return f"{importlib.metadata.version('keras')}-{found}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{importlib.metadata.version('keras')}-{found}"


class Engine:
    """The trunk as a Keras model in this process, on the backend that is already in use."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        os.environ.setdefault("KERAS_BACKEND", backend() or "tensorflow")
        import keras

        self.batch_size = 32
        try:
            self._model = keras.models.load_model(folder / "trunk.keras", compile=False, safe_mode=True)
        except (ValueError, OSError) as error:
            raise EngineError(f"Keras cannot load the trunk in {folder}: {error}") from error
        self._model.trainable = False
        self._size = facts["image_size"]

    def run(self, batches: Iterable[tuple[Key, np.ndarray]]) -> Iterator[tuple[Key, list[np.ndarray]]]:
        """Features of each batch, in order."""
        for key, pixels in batches:
            # One shape for all batches, or the backend would trace the last one anew.
            padded = np.zeros((self.batch_size, *pixels.shape[1:]), np.float32)
            padded[: len(pixels)] = pixels
            values = self._model.predict_on_batch(padded)
            values = values if isinstance(values, (list, tuple)) else [values]
            yield key, [np.asarray(value)[: len(pixels)] for value in values]

    def close(self) -> None:
        self._model = None
