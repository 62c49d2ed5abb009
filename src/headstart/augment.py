"""A picture and a seed -> a view of it: turned, shifted, sheared, zoomed, mirrored, in one resampling.

The parameters mean what they mean to Keras's `ImageDataGenerator`, which the teaching documents use, and are applied
in its order: a point of the view is mirrored, zoomed, sheared, shifted and turned about the picture's centre, and
shows what the picture has there. All of it is one matrix, so a view is resampled once.

Two things are `ImageDataGenerator`'s own and surprise people:

- **Its shear is in degrees.** The documents' `shear_range=0.2` is a fifth of a degree, which nobody sees; it was
  surely meant as a share. It is kept as it is, so that the recipes do what the documents do.
- Its zoom is of what is looked at: 0.8 makes things larger and 1.2 smaller. Each side has a factor of its own.

And two are put right here. There, the two shifts, and the two centres, change places on the way through its matrix,
which shows where a picture is not square or the shifts differ; here `width_shift` is along the width. There, `wrap`
has the last row of pixels fall on the first; here the picture is simply repeated.

The random numbers of a view come from SHA-256 of the picture's digest, the seed and the view's number, and from nothing
else: not from the machine, the order of the pictures, or the number of threads. Each parameter has a number of its own
that is drawn whether it is used or not, so to switch one on or off leaves the others as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from headstart.errors import InputError, RecipeError, near

if TYPE_CHECKING:  # a recipe is read and shown without numpy
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Counts the changes to what a view shows. It is part of the view's key in the feature store."""

FILLS: Mapping[str, str] = MappingProxyType(
    {
        "nearest": "edges repeated",
        "reflect": "edges mirrored",
        "wrap": "the picture repeated beyond its edges",
        "constant": "black beyond the edges",
    }
)
"""What a view may show beyond the picture's edges, and how that is said."""

_LIMITS = {
    "rotation": (180, "degrees, drawn from minus to plus this much"),
    "width_shift": (1, "a share of the width: 0.2 is up to a fifth of it, either way"),
    "height_shift": (1, "a share of the height: 0.2 is up to a fifth of it, either way"),
    "shear": (60, "degrees, drawn from minus to plus this much"),
    "zoom": (0.9, "one number: 0.2 draws factors from 0.8 to 1.2"),
}


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its picture. Nothing is changed by default.

    Attributes:
        rotation: degrees; the angle is drawn from minus to plus this. 0 to 180.
        width_shift: share of the width; the shift is drawn from minus to plus this. 0 to 1.
        height_shift: share of the height, likewise.
        shear: degrees, as `ImageDataGenerator` takes them (0.2 is a fifth of a degree), likewise. 0 to 60.
        zoom: each side's factor is drawn from 1 - zoom to 1 + zoom; below 1 things become larger. 0 to 0.9.
        horizontal_flip: mirror left and right in half the views.
        vertical_flip: mirror top and bottom in half the views.
        fill: what is seen beyond the edges: `nearest`, `reflect`, `wrap` or `constant` (`FILLS`).

    Raises:
        RecipeError: a value is out of range or of the wrong kind.

    Example:
        >>> print(describe(Augmentation(rotation=15, horizontal_flip=True)))
        rotation ±15°, mirrored half the time, edges repeated
    """

    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill: str = "nearest"

    def __post_init__(self) -> None:
        for name, (high, meaning) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
                raise RecipeError(f"{name} must lie between 0 and {high}; got {value!r}.\nIt is {meaning}.")
            object.__setattr__(self, name, abs(float(value)))  # 40 and 40.0 are one augmentation, with one key
        for name in ("horizontal_flip", "vertical_flip"):
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name} must be true or false; got {getattr(self, name)!r}")
        if not isinstance(self.fill, str) or self.fill not in FILLS:
            hint = near(self.fill, FILLS) if isinstance(self.fill, str) else ""
            raise RecipeError(f"fill must be one of {', '.join(FILLS)}; got {self.fill!r}.{hint}")

    @property
    def moves(self) -> bool:
        """Whether anything but mirroring is asked for, so that a view may look beyond the edges."""
        return any(getattr(self, name) for name in _LIMITS)

    @property
    def changes(self) -> bool:
        """Whether a view can differ from its picture at all."""
        return self.moves or self.horizontal_flip or self.vertical_flip

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augmentation:
        """The augmentation that a mapping of parameters tells; what it leaves out stays as it is by default.

        Raises:
            RecipeError: a parameter is unknown (its near matches are named) or a value is out of range.

        Example:
            >>> Augmentation.from_dict({"rotation": 40, "fill": "reflect"}).rotation
            40.0
        """
        if not isinstance(values, Mapping):
            raise RecipeError(f"an augmentation is a mapping of parameters; got {values!r}")
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                plain = str(name).removesuffix("_range")  # as ImageDataGenerator calls them
                raise RecipeError(f"augment has no parameter {name!r}; it has {', '.join(known)}.{near(plain, known)}")
        return cls(**values)


PRESETS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "none": Augmentation(),
        "flip": Augmentation(horizontal_flip=True),
        "light": Augmentation(
            rotation=10, width_shift=0.05, height_shift=0.05, zoom=0.1, horizontal_flip=True, fill="reflect"
        ),
        "documents": Augmentation(
            rotation=40, width_shift=0.2, height_shift=0.2, shear=0.2, zoom=0.2, horizontal_flip=True
        ),
    }
)
"""Augmentations known by name."""

SUMMARIES: Mapping[str, str] = MappingProxyType(
    {
        "none": "every picture as it is",
        "flip": "mirrored half the time, for things that look alike from left and right",
        "light": "small turns, shifts and zooms, such as two photographs of one thing differ by",
        "documents": "the strong augmentation of the TensorFlow teaching documents",
    }
)
"""A line on each of `PRESETS`: what it is for. `describe` says what it does."""


def find(wanted: str | Mapping[str, Any] | Augmentation) -> Augmentation:
    """The augmentation of that name, or of those parameters.

    Raises:
        RecipeError: no preset has that name (near matches are named), or a parameter is unknown or out of range.

    Example:
        >>> find("documents").rotation, find({"zoom": 0.2}).zoom, find("none").changes
        (40.0, 0.2, False)
    """
    if isinstance(wanted, Augmentation):
        return wanted
    if isinstance(wanted, Mapping):
        return Augmentation.from_dict(wanted)
    if not isinstance(wanted, str):
        raise RecipeError(f"augment must be the name of a preset or a mapping of parameters; got {wanted!r}")
    if wanted not in PRESETS:
        raise RecipeError(
            f"augment {wanted!r} is not known; expected {', '.join(PRESETS)} or a mapping of parameters."
            f"{near(wanted, PRESETS)}"
        )
    return PRESETS[wanted]


def describe(augmentation: Augmentation) -> str:
    """What an augmentation does, in one plain line.

    Example:
        >>> describe(PRESETS["documents"])
        'rotation ±40°, shifts ±20 %, shear ±0.2°, zoom 0.8 to 1.2, mirrored half the time, edges repeated'
        >>> describe(PRESETS["none"])
        'pictures as they are'
    """
    said = []
    across, down = (f"±{100 * share:g} %" for share in (augmentation.width_shift, augmentation.height_shift))
    if augmentation.rotation:
        said.append(f"rotation ±{augmentation.rotation:g}°")
    if augmentation.width_shift and across == down:
        said.append(f"shifts {across}")
    else:
        said += [f"shift across {across}"] if augmentation.width_shift else []
        said += [f"shift down {down}"] if augmentation.height_shift else []
    if augmentation.shear:
        said.append(f"shear ±{augmentation.shear:g}°")
    if augmentation.zoom:
        said.append(f"zoom {1 - augmentation.zoom:g} to {1 + augmentation.zoom:g}")
    if augmentation.horizontal_flip:
        said.append("mirrored half the time")
    if augmentation.vertical_flip:
        said.append("upside down half the time")
    if augmentation.moves:
        said.append(FILLS[augmentation.fill])
    return ", ".join(said) or "pictures as they are"


@dataclass(frozen=True)
class Draw:
    """What was drawn for one view of one picture.

    Attributes:
        angle: degrees of rotation.
        right, down: shifts, as shares of the width and the height.
        shear: degrees.
        across, along: zoom factors of the width and of the height.
        mirrored: left and right change places.
        turned_over: top and bottom change places.
    """

    angle: float
    right: float
    down: float
    shear: float
    across: float
    along: float
    mirrored: bool
    turned_over: bool

    def matrix(self, height: int, width: int) -> NDArray[np.float64]:
        """(2, 3): from (x, y, 1) of a pixel of the view to the (x, y) of the picture that it shows.

        Args:
            height, width: of the picture, in pixels.
        """
        import numpy as np

        turn, slant = math.radians(self.angle), math.radians(self.shear)
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        shear = np.array([[1.0, -math.sin(slant)], [0.0, math.cos(slant)]])
        zoom = np.diag([self.across * (-1 if self.mirrored else 1), self.along * (-1 if self.turned_over else 1)])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        linear = rotation @ shear @ zoom
        shift = rotation @ np.array([self.right * width, self.down * height])
        return np.column_stack([linear, centre + shift - linear @ centre])


@dataclass(frozen=True)
class View:
    """One look at every picture: view `number` under a seed.

    Attributes:
        augmentation: how far the view may differ from the picture.
        seed: of the run, from 0.
        number: which of the views, from 0; live training uses the epoch.

    Example:
        >>> import numpy as np
        >>> view = View(PRESETS["documents"], seed=1, number=0)
        >>> picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        >>> view.apply(picture, b"the picture's digest").shape
        (4, 4, 3)
    """

    augmentation: Augmentation
    seed: int
    number: int

    def __post_init__(self) -> None:
        for name in ("seed", "number"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
                raise RecipeError(f"the {name} of a view must be a whole number from 0; got {value!r}")
            object.__setattr__(self, name, int(value))

    def key(self) -> dict[str, Any]:
        """Everything that decides the view's pixels but the picture, as plain JSON: its name in the feature store."""
        from headstart import images

        return {
            "version": VERSION,
            "augmentation": self.augmentation.as_dict(),
            "seed": self.seed,
            "number": self.number,
            "pixels": images.warping(),
        }

    def draw(self, digest: bytes) -> Draw:
        """What this view does to the picture with that digest.

        Args:
            digest: any bytes that name the picture, such as the SHA-256 of its file.
        """
        import numpy as np

        told = hashlib.sha256(f"{self.seed} {self.number} ".encode() + digest).digest()
        # Raw numbers, since numpy promises these for ever, and what its distributions make of them only for a version.
        raw = np.random.Philox(key=int.from_bytes(told[:16], "little")).random_raw(8)
        share = [int(number) / 2**64 for number in raw]
        angle, right, down, shear, across, along = (2 * number - 1 for number in share[:6])
        wanted = self.augmentation
        return Draw(
            angle=angle * wanted.rotation,
            right=right * wanted.width_shift,
            down=down * wanted.height_shift,
            shear=shear * wanted.shear,
            across=1 + across * wanted.zoom,
            along=1 + along * wanted.zoom,
            mirrored=wanted.horizontal_flip and share[6] < 0.5,
            turned_over=wanted.vertical_flip and share[7] < 0.5,
        )

    def apply(self, pixels: NDArray[np.uint8], digest: bytes) -> NDArray[np.uint8]:
        """The view of a picture: a new array of the same shape.

        Args:
            pixels: (height, width, 3), 0 to 255.
            digest: any bytes that name the picture, such as the SHA-256 of its file.

        Raises:
            InputError: `pixels` is of another shape or type.
        """
        from headstart import images

        if pixels.dtype.name != "uint8" or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                f"a picture is an array of uint8, (height, width, 3). Received: {pixels.dtype.name}, {pixels.shape}"
            )
        matrix = self.draw(digest).matrix(*pixels.shape[:2])
        return images.warp(pixels, matrix, self.augmentation.fill)


def contact_sheet(
    pixels: NDArray[np.uint8], digest: bytes, augmentation: Augmentation, *, seed: int, count: int = 9
) -> list[NDArray[np.uint8]]:
    """A picture as it is, then its views from number 0 on, to show what an augmentation does to it.

    Args:
        pixels: (height, width, 3), 0 to 255.
        digest: what names the picture in training, so that these are the views of the first epochs.
        augmentation: how far views may differ.
        seed: of the run.
        count: how many pictures in all, from 1.

    Raises:
        InputError: `count` is below 1, or `pixels` is of another shape or type.
    """
    if count < 1:
        raise InputError(f"a contact sheet has at least one picture; got count={count!r}")
    return [pixels.copy(), *(View(augmentation, seed, number).apply(pixels, digest) for number in range(count - 1))]
