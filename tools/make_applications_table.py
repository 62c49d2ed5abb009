"""Write src/headstart/sources/keras_applications.json: what keras.applications has, learnt by asking it.

Each network is built without its top and without weights; the download that it would start is caught, not made.
Run it after a new release of Keras:

    python tools/make_applications_table.py
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "openvino")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np

from headstart.errors import SourceError
from headstart.sources import _graph
from headstart.sources.keras_applications import MODES

TARGET = Path(__file__).parents[1] / "src/headstart/sources/keras_applications.json"
SIZES = {"MobileNet": (128, 160, 192), "MobileNetV2": (96, 128, 160, 192)}  # beside 224, by each function's own rule
ALPHAS = {"MobileNet": (0.25, 0.5, 0.75, 1.0), "MobileNetV2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
# As the documentation of keras.applications gives them, or the licence of the repository that published the weights.
LICENCES = {
    "vgg16": "CC-BY-4.0", "vgg19": "CC-BY-4.0", "resnet": "MIT", "resnet_v2": "BSD-3-Clause", "xception": "MIT",
    "densenet": "BSD-3-Clause", "convnext": "MIT",
}  # fmt: skip


class Caught(Exception):  # noqa: N818 - it is not an error
    """Stops an application where it would download."""


def file_of(function: Any, size: int, arguments: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def catch(fname: str, origin: str, **options: Any) -> str:
        seen.update(file=fname, url=origin, hash=options.get("file_hash"))
        raise Caught

    with mock.patch("keras.src.utils.file_utils.get_file", catch):
        try:
            function(include_top=False, weights="imagenet", input_shape=(size, size, 3), **arguments)
        except Caught:
            return seen
    raise RuntimeError(f"{function.__name__} asked for no file")


def sizes_of(function: Any, arguments: dict[str, Any]) -> tuple[int, int]:
    """Default and least size; the least is tried, not believed."""
    seen: dict[str, int] = {}
    ask = importlib.import_module("keras.src.applications.imagenet_utils").obtain_input_shape

    def spy(shape: Any, default_size: int, min_size: int, **options: Any) -> Any:
        seen.update(default=default_size, least=min_size)
        return ask(shape, default_size=default_size, min_size=min_size, **options)

    with mock.patch("keras.src.applications.imagenet_utils.obtain_input_shape", spy):
        function(include_top=False, weights=None, input_shape=None, **arguments)
    least = seen.get("least", 32)
    while True:
        try:
            function(include_top=False, weights=None, input_shape=(least, least, 3), **arguments)
            return seen.get("default", 224), least
        except (ValueError, SourceError):
            least += 1


def mode_of(module: Any) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype("float32")
    theirs = module.preprocess_input(pixels.copy())
    fits = [mode for mode, ours in MODES.items() if np.allclose(ours.apply(pixels), theirs, atol=1e-4)]
    if len(fits) != 1:
        raise RuntimeError(f"{module.__name__}: the preprocessing is none of {list(MODES)}")
    return fits[0]


def row(name: str, alpha: float | None = None) -> dict[str, Any]:
    function = getattr(keras.applications, name)
    stem = function.__module__.rpartition(".")[2]
    arguments: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    size, least = sizes_of(function, arguments)
    model = function(include_top=False, weights=None, input_shape=(size, size, 3), **arguments)
    return {
        "name": name.lower() + ("" if alpha in (None, 1.0) else f"_{alpha}"),
        "module": stem,
        "function": name,
        "arguments": arguments,
        "parameters": model.count_params(),
        "size_mb": round(model.count_params() * 4 / 1e6, 1),
        "image_size": size,
        "min_image_size": least,
        "licence": LICENCES.get(stem, "Apache-2.0"),
        "preprocessing": mode_of(importlib.import_module(f"keras.applications.{stem}")),
        "signature": _graph.signature(model),
        "files": {"any": file_of(function, size, arguments)}
        | {str(other): file_of(function, other, arguments) for other in SIZES.get(name, ())},
    }


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name in sorted(dir(keras.applications)):
        if not name[0].isupper():
            continue
        for alpha in ALPHAS.get(name, (None,)):
            rows.append(row(name, alpha))
            keras.utils.clear_session(free_memory=True)
            print(rows[-1]["name"], rows[-1]["parameters"], rows[-1]["preprocessing"], flush=True)
    rows.sort(key=lambda r: (r["module"], r["parameters"]))
    TARGET.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
