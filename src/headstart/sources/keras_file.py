"""A local `.keras` model as a source.

The whole model is taken, its classification head too; cuts are offered at feature maps (4-D outputs) alone, so the
head is never in the way. Models inside the model are opened up, so that every layer has a name to cut at.

Preprocessing that is in the file stays as it is. Where the model starts with no Rescaling or Normalization layer,
nothing is known about its pixels, and RGB from 0 to 255 go in unchanged.

Opening such a file runs no code of it: safe mode is on, and the archive's sizes are checked before it is unpacked.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import SourceError
from headstart.sources import _graph, _weights
from headstart.sources._source import IDENTITY, Source

if TYPE_CHECKING:
    import keras

FAMILY = "keras_file"

_MOST_CONFIG = 64 * 2**20
_USUAL_SIZE = 224


def sources() -> tuple[Source, ...]:
    """None: a source of this family is made by `open_source` from a path."""
    return ()


def open_source(name: str) -> Source | None:
    """The model at the path `name`, where that ends in `.keras`; only its description is read.

    Raises:
        SourceError: there is no such file, or it is no Keras model that takes RGB pictures.
    """
    if not name.lower().endswith(".keras"):
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise SourceError(f"There is no .keras file at {path}.\nGive the path of a model saved with model.save().")
    with _weights.open_archive(path) as archive:
        config = _config(path, archive)
        parameters = _count(path, archive)
    height, width = _input_size(path, config)
    return Source(
        name=str(path),
        family=FAMILY,
        parameters=parameters,
        size_mb=round(parameters * 4 / 1e6, 1),
        image_size=(height or _USUAL_SIZE, width or _USUAL_SIZE),
        min_image_size=1,
        licence="unknown",
        preprocessing=IDENTITY,
        variant={"path": str(path)},
    )


def locate(source: Source) -> Path | None:
    path = Path(str(source.variant["path"]))
    return path if path.is_file() else None


def build(source: Source, *, image_size: tuple[int, int], weights: str, seed: int) -> keras.Model:
    import keras

    path = Path(str(source.variant["path"]))
    with _weights.open_archive(path):  # once more: the file may have been replaced since it was described
        pass
    try:
        loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the file's configuration provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(
            f"Keras cannot open {path} with safe mode on: {reason}\nOnly models of Keras's own layers are taken."
        ) from error
    if not getattr(loaded, "inputs", None) or len(loaded.inputs) != 1 or len(loaded.inputs[0].shape) != 4:
        raise SourceError(f"{path} is not a functional or sequential model with one picture as its input.")
    if weights not in ("imagenet", "random"):
        _weights.load(loaded, Path(weights), source)
    with _graph.fresh_names():
        image = keras.Input((*image_size, 3), name="image")
        model = _graph.flatten(loaded, image, name=_name(path), copy_weights=weights != "random")
    if weights == "random":
        _graph.randomise(model, seed)
    return model


def _name(path: Path) -> str:
    return "".join(c if c.isalnum() else "_" for c in path.stem) or "model"


def _config(path: Path, archive: Any) -> dict[str, Any]:
    try:
        if archive.getinfo("config.json").file_size > _MOST_CONFIG:
            raise ValueError("its config.json is larger than 64 MiB")
        config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
            raise ValueError("its config.json is not a model's")
    except (KeyError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not a Keras model: {error}") from error
    return config


def _count(path: Path, archive: Any) -> int:
    import h5py

    total = 0

    def add(name: str, member: Any) -> None:
        nonlocal total
        if isinstance(member, h5py.Dataset) and not name.startswith("optimizer"):
            total += math.prod(member.shape)

    try:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            file.visititems(add)  # follows no links out of the file
    except (KeyError, OSError) as error:
        raise SourceError(f"{path} has no readable model.weights.h5: {error}") from error
    return total


def _input_size(path: Path, config: dict[str, Any]) -> tuple[int | None, int | None]:
    """Height and width of the first input, None where the model leaves them open."""
    layers = config["config"].get("layers")
    first = layers[0] if isinstance(layers, list) and layers and isinstance(layers[0], dict) else {}
    shape = (first.get("config") or {}).get("batch_shape") or (config.get("build_config") or {}).get("input_shape")
    if not isinstance(shape, list) or len(shape) != 4 or shape[3] != 3:
        raise SourceError(f"{path} takes an input of shape {shape}; expected pictures: [null, height, width, 3].")
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape[1:3]]
    return sizes[0], sizes[1]
