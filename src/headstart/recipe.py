"""Every decision of one training run, as data: printable, saved in the model, repeatable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headstart import augment, tuning_rules
from headstart.errors import RecipeError, near

AUTO, LIVE = "auto", "live"
MOST_VIEWS = 64
PREFER = (AUTO, "small", "accurate")


@dataclass(frozen=True)
class Recipe:
    """What to do, or, in a saved model, what was done.

    Attributes:
        source: name of the source, the path of a `.keras` file, or `auto`: the one that a ranking of those that are
            here recommends.
        weights: `imagenet`, `random` or the path of a weight file.
        image_size: (height, width) in pixels; None for the source's own.
        preprocessing: `source` scales pixels as the source was trained on them; `unit` divides them by 255, as many
            tutorials do for any source.
        cut: name of a layer, several with `+` between them (side by side), `all` for all block ends side by side, or
            `auto`.
        pooling: `avg`, `max`, `avg+max`, `flatten`, or `auto`.
        head: name of a head, or `auto`: the best out of fold of those that the pictures call for.
        head_options: what the head is told, such as `layers` and `epochs` of the dense one.
        prefer: which of the candidates that are level by loss is taken: `accurate` the one of least loss, `small` the
            one that costs least at prediction, `auto` that one where the two can hardly be told apart.
        augment: `none`, the name of a preset, or a mapping of parameters: see `headstart.augment`.
        views: how an augmented picture is seen: `live` draws a view for each epoch and runs the trunk again; a number,
            1 to 64, is how many views are drawn once and kept, for epochs to choose from; `auto` is 4.
        callbacks: Keras callbacks of heads trained by epochs, each a mapping from its name to its arguments.
        fine_tune: `auto` tunes the network where that can pay and keeps what is better by more than noise; `off`,
            `full`, `blocks=N` (that many from the cut down), or the layer above which all is tuned.
        fine_tune_options: what tuning is told, such as `epochs`, `batch_norm` or `budget` (seconds): the fields of
            `tuning_rules.Settings`.
        holdout: share of a set without splits that is kept back for the final figure, 0.05 to 0.5.
        folds: cross-validation folds, 2 to 20.
        max_bad: share of pictures that may be unreadable before the run is refused, 0 to 1.
        seed: decides the split, the folds, samples and initial weights.
    """

    source: str = "efficientnet_lite0"
    weights: str = "imagenet"
    image_size: tuple[int, int] | None = None
    preprocessing: str = "source"
    cut: str = AUTO
    pooling: str = AUTO
    head: str = AUTO
    head_options: Mapping[str, Any] = field(default_factory=dict)
    prefer: str = AUTO
    augment: str | Mapping[str, Any] = "none"
    views: int | str = AUTO
    callbacks: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    fine_tune: str = AUTO
    fine_tune_options: Mapping[str, Any] = field(default_factory=dict)
    holdout: float = 0.2
    folds: int = 5
    max_bad: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("source", "weights", "preprocessing", "cut", "pooling", "head", "fine_tune"):
            if not isinstance(getattr(self, name), str):
                raise RecipeError(f"{name} must be text; got {getattr(self, name)!r}")
        for name in ("head_options", "fine_tune_options"):
            if not isinstance(getattr(self, name), Mapping):
                raise RecipeError(f"{name} must be a mapping; got {getattr(self, name)!r}")
        _between("holdout", self.holdout, 0.05, 0.5)
        _between("folds", self.folds, 2, 20, whole=True)
        _between("max_bad", self.max_bad, 0.0, 1.0)
        _between("seed", self.seed, 0, 2**32 - 1, whole=True)
        if self.image_size is not None:
            if not isinstance(self.image_size, (tuple, list)) or len(self.image_size) != 2:
                raise RecipeError(f"image_size must be (height, width); got {self.image_size!r}")
            for side in self.image_size:
                _between("image_size", side, 16, 2048, whole=True)
        tuning_rules.check_how(self.fine_tune)
        tuning_rules.check_options(self.fine_tune_options)
        if self.prefer not in PREFER:
            known = ", ".join(PREFER[:-1])
            raise RecipeError(
                f"prefer is {known} or {PREFER[-1]}; got {self.prefer!r}.{near(str(self.prefer), PREFER)}"
            )
        augment.find(self.augment)
        if self.views not in (AUTO, LIVE):
            if isinstance(self.views, str):
                raise RecipeError(
                    f"views is auto, live or a number; got {self.views!r}.{near(self.views, [AUTO, LIVE])}"
                )
            _between("views", self.views, 1, MOST_VIEWS, whole=True)
        if isinstance(self.callbacks, list):  # as JSON and YAML have it
            object.__setattr__(self, "callbacks", tuple(self.callbacks))
        _check_callbacks(self.callbacks)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe.from_dict` takes them back."""
        values = asdict(self)
        values["image_size"] = list(self.image_size) if self.image_size else None
        values["head_options"], values["fine_tune_options"] = dict(self.head_options), dict(self.fine_tune_options)
        values["augment"] = self.augment if isinstance(self.augment, str) else dict(self.augment)
        values["callbacks"] = [{name: dict(given) for name, given in each.items()} for each in self.callbacks]
        return values

    def _repr_html_(self) -> str:
        """For a notebook: a row a decision."""
        from html import escape

        rows = "".join(
            f'<tr><td>{name}</td><td style="text-align:left">{escape(_told(value))}</td></tr>'
            for name, value in self.as_dict().items()
        )
        head = '<tr><th>decision</th><th style="text-align:left">value</th></tr>'
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"

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


def _told(value: Any, *, inside: bool = False) -> str:
    """A value on one line, as a recipe file has it; a mapping that is not inside another value needs no braces."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}: {_told(inner, inside=True)}" for name, inner in value.items())
        return f"{{{text}}}" if inside else text or "none"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_told(inner, inside=True) for inner in value)}]" if value else "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, tuple):
        raise RecipeError(f"callbacks is a list of {{NAME: {{argument: value}}}}; got {callbacks!r}")
    for each in callbacks:
        if not isinstance(each, Mapping) or len(each) != 1 or not isinstance(next(iter(each.values())), Mapping):
            raise RecipeError(
                f"a callback is one name with its arguments, such as {{EarlyStopping: {{patience: 3}}}}; got {each!r}"
            )


def _between(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RecipeError(f"{name} must lie between {low} and {high}; got {value!r}")
    if whole and not isinstance(value, int):
        raise RecipeError(f"{name} must be a whole number; got {value!r}")
