"""What a source is, as data: no framework is needed to list, compare or pickle one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its pixels: network input = pixel (0 to 255) * scale + offset.

    Attributes:
        scale: one factor a channel, in the order of `channels`.
        offset: one summand a channel, in the order of `channels`.
        channels: the order in which the network takes its channels. Pictures are always RGB.

    Example:
        >>> Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3).apply([[0.0, 127.5, 255.0]]).tolist()
        [[-1.0, 0.0, 1.0]]
    """

    scale: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    channels: Literal["rgb", "bgr"] = "rgb"

    @property
    def identity(self) -> bool:
        """True where the network takes RGB pixels from 0 to 255 as they are."""
        return self == Preprocessing()

    def on_rgb(self) -> tuple[Triple, Triple]:
        """Scale and offset in the order red, green, blue, whatever order the network wants.

        >>> Preprocessing(offset=(1.0, 2.0, 3.0), channels="bgr").on_rgb()[1]
        (3.0, 2.0, 1.0)
        """
        if self.channels == "rgb":
            return self.scale, self.offset
        (a, b, c), (d, e, f) = self.scale, self.offset
        return (c, b, a), (f, e, d)

    def apply(self, pixels: ArrayLike) -> NDArray[np.float32]:
        """What the network is given for RGB pixels of shape (..., 3), in the network's own channel order."""
        values = np.asarray(pixels, np.float32)
        if self.channels == "bgr":
            values = values[..., ::-1]
        return values * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)


@dataclass(frozen=True)
class Source:
    """A pretrained network with everything needed to use it.

    Attributes:
        name: what users call it, lower case (`mobilenetv2`, `mobilenet_0.25`), or the path of a `.keras` file; with
            `@` and a size, or several with `+` between them.
        family: the module of `headstart.sources` (or the entry point) that builds it.
        parameters: how many numbers the network has without its classification top.
        size_mb: their size in megabytes (10**6 bytes) as 32-bit floats.
        image_size: (height, width) in pixels that the weights were trained for.
        min_image_size: the smallest height and width, in pixels, that the network accepts.
        licence: SPDX name of the weights' licence.
        preprocessing: how the network wants its pixels.
        block_pattern: regular expression for the start of a layer's name; layers for which its first group
            (or all of it) is the same are one block. None where blocks are found by the graph's shape. One for each
            member of a source of several networks side by side.
        variant: whatever else the family needs, as JSON values.
    """

    name: str
    family: str
    parameters: int
    size_mb: float
    image_size: tuple[int, int]
    min_image_size: int
    licence: str
    preprocessing: Preprocessing
    block_pattern: str | tuple[str | None, ...] | None = None
    variant: Mapping[str, object] = field(default_factory=dict, hash=False)


IDENTITY = Preprocessing()
"""The network scales its pixels by itself."""

MINUS_ONE_TO_ONE = Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3)
"""x / 127.5 - 1, which Keras calls mode "tf"."""

ZERO_TO_ONE = Preprocessing((1 / 255,) * 3)
"""x / 255: how many tutorials feed any network, whatever it was trained on."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

STANDARDISED = Preprocessing(
    (1 / (255 * IMAGENET_STD[0]), 1 / (255 * IMAGENET_STD[1]), 1 / (255 * IMAGENET_STD[2])),
    (-IMAGENET_MEAN[0] / IMAGENET_STD[0], -IMAGENET_MEAN[1] / IMAGENET_STD[1], -IMAGENET_MEAN[2] / IMAGENET_STD[2]),
)
"""(x / 255 - mean) / deviation of ImageNet, which Keras calls mode "torch"."""

CENTRED_BGR = Preprocessing(offset=(-103.939, -116.779, -123.68), channels="bgr")
"""Blue, green, red less the mean of ImageNet, which Keras calls mode "caffe"."""
