"""Keras itself as the engine: where OpenVINO has no wheel or fails, and on a GPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import EngineError

NAME = "keras"
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
        self.parallel = 1
        self._turn = threading.Lock()
        try:
            self._model = keras.models.load_model(folder / "trunk.keras", compile=False, safe_mode=True)
        except (ValueError, OSError) as error:
            raise EngineError(f"Keras cannot load the trunk in {folder}: {error}") from error
        if "only" in facts:  # what leads to no other output is not run
            self._model = keras.Model(self._model.inputs, [self._model.outputs[index] for index in facts["only"]])
        self._model.trainable = False

    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Features of one full batch; calls take turns, since a backend uses all cores by itself."""
        with self._turn:
            values = self._model.predict_on_batch(np.asarray(pixels, np.float32))
        values = values if isinstance(values, (list, tuple)) else [values]
        return [np.asarray(value) for value in values]

    def close(self) -> None:
        self._model = None


def milliseconds(folder: Path, facts: dict[str, Any], rounds: int = 3) -> list[float]:
    """What a picture costs at each output: the whole network's time for all, since Keras does not time its layers.

    Networks side by side are taken to cost alike.
    """
    engine = Engine(folder, facts)
    pixels = np.random.default_rng(0).integers(0, 256, (engine.batch_size, *facts["image_size"], 3), np.uint8)
    engine.infer(pixels)
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        engine.infer(pixels)
        least = min(least, time.perf_counter() - start)
    engine.close()
    networks = len({output.get("member", 0) for output in facts["outputs"]})
    return [1000 * least / len(pixels) / networks] * len(facts["outputs"])
