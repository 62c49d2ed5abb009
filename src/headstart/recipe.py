"""Every decision of one training run, as data: printable, saved in the model, repeatable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headstart.errors import RecipeError, near

AUTO = "auto"


@dataclass(frozen=True)
class Recipe:
    """What to do, or, in a saved model, what was done.

    Attributes:
        source: name of the source, or the path of a `.keras` file.
        weights: `imagenet`, `random` or the path of a weight file.
        image_size: (height, width) in pixels; None for the source's own.
        cut: name of a layer, or `auto`.
        pooling: `avg`, `max`, `avg+max`, `flatten`, or `auto`.
        head: name of a head.
        head_options: what the head is told, such as `units` and `dropout` of the dense one.
        augment: `none` so far.
        fine_tune: `off` so far.
        holdout: share of a set without splits that is kept back for the final figure, 0.05 to 0.5.
        folds: cross-validation folds, 2 to 20.
        max_bad: share of pictures that may be unreadable before the run is refused, 0 to 1.
        seed: decides the split, the folds, samples and initial weights.
    """

    source: str = "efficientnet_lite0"
    weights: str = "imagenet"
    image_size: tuple[int, int] | None = None
    cut: str = AUTO
    pooling: str = AUTO
    head: str = "linear"
    head_options: Mapping[str, Any] = field(default_factory=dict)
    augment: str = "none"
    fine_tune: str = "off"
    holdout: float = 0.2
    folds: int = 5
    max_bad: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("source", "weights", "cut", "pooling", "head", "augment", "fine_tune"):
            if not isinstance(getattr(self, name), str):
                raise RecipeError(f"{name} must be text; got {getattr(self, name)!r}")
        if not isinstance(self.head_options, Mapping):
            raise RecipeError(f"head_options must be a mapping; got {self.head_options!r}")
        _between("holdout", self.holdout, 0.05, 0.5)
        _between("folds", self.folds, 2, 20, whole=True)
        _between("max_bad", self.max_bad, 0.0, 1.0)
        _between("seed", self.seed, 0, 2**32 - 1, whole=True)
        if self.image_size is not None:
            if not isinstance(self.image_size, (tuple, list)) or len(self.image_size) != 2:
                raise RecipeError(f"image_size must be (height, width); got {self.image_size!r}")
            for side in self.image_size:
                _between("image_size", side, 16, 2048, whole=True)
        for name, known in (("augment", ("none",)), ("fine_tune", ("off",))):
            if getattr(self, name) not in known:
                raise RecipeError(f"{name} {getattr(self, name)!r} is not known; this version knows {', '.join(known)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe.from_dict` takes them back."""
        values = asdict(self)
        values["image_size"] = list(self.image_size) if self.image_size else None
        values["head_options"] = dict(self.head_options)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that a mapping tells.

        Raises:
            RecipeError: a field is unknown (its near matches are named) or a value is out of range.

        Example:
            >>> Recipe.from_dict({"source": "mobilenetv2", "image_size": [160, 160]}).image_size
            (160, 160)
        """
        if not isinstance(values, Mapping):
            raise RecipeError(f"a recipe is a mapping of fields; got {values!r}")
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise RecipeError(f"a recipe has no field {name!r}; it has {', '.join(known)}.{near(name, known)}")
        given = dict(values)
        if isinstance(given.get("image_size"), list):  # JSON has no tuples
            given["image_size"] = tuple(given["image_size"])
        return cls(**given)


def _between(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RecipeError(f"{name} must lie between {low} and {high}; got {value!r}")
    if whole and not isinstance(value, int):
        raise RecipeError(f"{name} must be a whole number; got {value!r}")
