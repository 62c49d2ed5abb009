"""What fine-tuning does where nobody says otherwise: pure functions of the data.

Where a number comes from stands beside it; `docs/finetune.md` says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from headstart.errors import RecipeError, near

AUTO, OFF, FULL, BLOCKS = "auto", "off", "full", "blocks="
FROZEN, ADAPT, BATCH = "frozen", "adapt", "batch"
BATCH_NORM = (FROZEN, ADAPT, BATCH)

SEPARABLE = 6
"""Pictures that one network must have right and the other wrong before a paired test can part the two: McNemar's exact
test gives p = 0.031 for 6 against 0, and 0.063 for 5."""
NEAR_SAVED, FAR_SAVED = 0.25, 0.5
"""Share of a frozen network's mistakes that tuning may be hoped to save. Near the source's pictures it was 0.16 to 0.30
(`bench/run.py --only tune-auto`, trashnet6), far from them nearly all."""
LEAST_JUDGED = 50
"""Pictures of labels or numbers that judge, at least."""
STEPS = 240
"""Steps of a run on a small set. BiT-HyperRule (Kolesnikov et al. 2020, arXiv 1912.11370) takes 500 of 512 pictures
below 20,000 pictures; a head that begins at its own optimum has less far to go, and two cores have less time."""
BUDGET = 900.0
"""Seconds that `auto` may plan for where no budget is given."""

_RANGES = {
    "epochs": (1, 1000), "batch_size": (1, 4096), "learning_rate": (1e-7, 1.0), "layer_decay": (0.1, 1.0),
    "warmup": (0.0, 0.5), "label_smoothing": (0.0, 0.5), "weight_decay": (0.0, 1.0), "clip_norm": (0.01, 1000.0),
    "momentum": (0.0, 0.9999), "patience": (1, 1000), "mixup": (0.0, 10.0), "cutmix": (0.0, 10.0), "ema": (0.0, 0.9999),
    "budget": (1.0, 1e9),
}  # fmt: skip
_WHOLE = ("epochs", "batch_size", "patience")
_FLAGS = ("balanced", "find_rate", "refit")


@dataclass(frozen=True)
class Settings:
    """How a network is tuned.

    Attributes:
        epochs: at most.
        batch_size: pictures a step.
        learning_rate: Adam's at its peak, of the head.
        layer_decay: what the rate is multiplied by from the head to the block below it, and from each block to the next
            one down (ULMFiT, Howard and Ruder 2018, arXiv 1801.06146); 1 for one rate.
        warmup: share of all steps over which the rate rises to its peak; from there it falls as a cosine (SGDR,
            Loshchilov and Hutter 2017, arXiv 1608.03983).
        label_smoothing: share of a label that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567).
        weight_decay: pull of the tuned weights towards those of the source, times the rate, at each step (L2-SP, Li et
            al. 2018, arXiv 1802.01483, apart from the gradient as in AdamW).
        clip_norm: length that a step's gradient is cut down to.
        batch_norm: `frozen`, `adapt` or `batch`, as `tuned_graph` tells; `auto` in a recipe.
        momentum: of the statistics with `batch`.
        patience: epochs without a better loss after which it stops.
        balanced: whether rare classes weigh more in the loss.
        mixup: alpha of MixUp (Zhang et al. 2018, arXiv 1710.09412), on what the tuned part is given; 0 for none.
        cutmix: alpha of CutMix (Yun et al. 2019, arXiv 1905.04899), likewise.
        ema: decay of an average of the weights, which is then what is measured and kept; 0 for none.
        find_rate: whether the learning rate is looked for first, by a rate that rises from step to step (Smith 2017,
            arXiv 1506.01186).
        refit: whether a network that is kept is trained once more with the pictures that judged it among its own.
        budget: seconds that tuning may take, of which as many epochs are planned as fit; None for no limit.
    """

    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 1e-3
    layer_decay: float = 0.9
    warmup: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    batch_norm: str = FROZEN
    momentum: float = 0.9
    patience: int = 3
    balanced: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    find_rate: bool = False
    refit: bool = True
    budget: float | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name == "budget":
                continue
            whole = name not in _WHOLE or isinstance(value, int)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or not whole:
                kind = "a whole number" if name in _WHOLE else "a number"
                raise RecipeError(f"{name} of fine-tuning is {kind} between {low:g} and {high:g}; got {value!r}")
        if self.batch_norm not in BATCH_NORM:
            hint = near(str(self.batch_norm), (AUTO, *BATCH_NORM))
            raise RecipeError(
                f"batch_norm of fine-tuning is auto, {', '.join(BATCH_NORM[:-1])} or {BATCH_NORM[-1]};"
                f" got {self.batch_norm!r}.{hint}"
            )
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name} of fine-tuning is true or false; got {getattr(self, name)!r}")
        if self.mixup and self.cutmix:
            raise RecipeError("fine-tuning mixes pictures by mixup or by cutmix; set one of them to 0")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `settings_for(given=…)` takes them back."""
        return asdict(self)


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse what is no option of fine-tuning.

    Raises:
        RecipeError: an option is unknown (its near matches are named), or its value is out of range.
    """
    known = [entry.name for entry in fields(Settings)]
    for name in given:
        if name not in known:
            raise RecipeError(f"fine-tuning has no option {name!r}; it has {', '.join(known)}.{near(str(name), known)}")
    Settings(**{name: value for name, value in given.items() if (name, value) != ("batch_norm", AUTO)})


def check_how(how: str) -> None:
    """Refuse a `fine_tune` that nothing could be meant by; whether a layer of that name is there shows later.

    Raises:
        RecipeError: it is empty, or `blocks=` is followed by no number from 1 on.

    >>> check_how("blocks=3")
    """
    count = how.removeprefix(BLOCKS)
    if not how.strip() or (how.startswith(BLOCKS) and not (count.isascii() and count.isdigit() and int(count) > 0)):
        raise RecipeError(
            "fine_tune is auto, off, full, blocks=N with N from 1 on, or the layer above which all is tuned;"
            f" got {how!r}"
        )


def settings_for(
    pictures: int, counts: Sequence[int], *, batch_norm: str = FROZEN, normalisation: str = "batch",
    given: Mapping[str, Any] | None = None,
) -> Settings:  # fmt: skip
    """What suits a data set, with what is given by hand put over it.

    Args:
        pictures: that are trained on.
        counts: pictures of each class; empty where there are no classes.
        batch_norm: `frozen`, `adapt` or `batch`, where `given` leaves that open.
        normalisation: what keeps the scale of the source's layers: `batch`, `layer` or `none`.

    Raises:
        RecipeError: an option is unknown or out of range.

    Example:
        >>> found = settings_for(1120, [280, 280, 560])
        >>> found.epochs, found.batch_size, found.balanced
        (7, 32, False)
    """
    told = {name: value for name, value in (given or {}).items() if (name, value) != ("batch_norm", AUTO)}
    check_options(told)
    batch = int(told.get("batch_size", 16 if pictures < 200 else 32))
    steps = max(1, -(-pictures // batch))
    epochs = int(told.get("epochs", min(40, max(3, math.ceil(STEPS / steps)))))
    norm = told.get("batch_norm", batch_norm)
    largest, smallest = max(counts, default=1), max(1, min(counts, default=1))
    settings = {
        "batch_size": batch, "epochs": epochs, "batch_norm": batch_norm, "momentum": momentum_for(steps * epochs),
        "learning_rate": _rate_for(norm, normalisation), "layer_decay": 0.9 if norm == FROZEN else 1.0,
        "patience": max(3, -(-epochs // 2)),  # the first half is near the peak of the rate, where losses go up and down
        "balanced": largest >= 5 * smallest, "label_smoothing": 0.1 if len(counts) > 1 else 0.0,
        # MixUp from 20,000 pictures on, with alpha 0.1: BiT-HyperRule.
        "mixup": 0.1 if pictures >= 20_000 and len(counts) > 1 and not told.get("cutmix") else 0.0,
    }  # fmt: skip
    return Settings(**{**settings, **told})


def _rate_for(batch_norm: str, normalisation: str) -> float:
    """Adam's rate: what BatchNormalization forgives, other networks do not."""
    if normalisation != "batch":
        return 1e-4 if normalisation == "layer" else 3e-5
    return 3e-4 if batch_norm == FROZEN else 1e-3


def momentum_for(steps: int) -> float:
    """A momentum of BatchNormalization's statistics with which a run of so many steps forgets the source's well before
    its end: about a twentieth of the run is remembered. Keras's default of 0.99 remembers a hundred steps, which may be
    the whole of a short run.

    >>> momentum_for(100), momentum_for(200), momentum_for(10_000)
    (0.8, 0.9, 0.99)
    """
    return round(min(0.99, max(0.5, 1 - 20 / max(steps, 1))), 3)


def rate(step: int, steps: int, *, peak: float, warmup: float) -> float:
    """The learning rate of step `step` (from 0) of `steps`: a straight rise to `peak`, then a cosine to nothing.

    >>> [round(rate(step, 10, peak=1.0, warmup=0.2), 2) for step in (0, 1, 5, 9)]
    [0.5, 1.0, 0.6, 0.01]
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising + 0.5) / max(1, steps - rising)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def affordable(epochs: int, *, epoch_seconds: float, spent: float, budget: float | None) -> int:
    """How many of so many epochs fit into what is left of a budget; 0 where not one does.

    >>> [affordable(8, epoch_seconds=20.0, spent=10.0, budget=budget) for budget in (100.0, 10.0, None)]
    [4, 0, 8]
    """
    if budget is None:
        return epochs
    return max(0, min(epochs, int((budget - spent) / max(epoch_seconds, 1e-9))))


def why_not_again(
    settings: Settings, *, apart: bool, wrong: int | None, epochs: int, seconds: float, left: float
) -> str:
    """Why a tuned network is not trained once more on all pictures; nothing where it is.

    Args:
        apart: whether the judging pictures were set apart by whoever gave them.
        wrong: how many of them the tuned network names wrong; None for labels and numbers.
        epochs: after which the judged training was best.
        seconds: that it would take, of `left` that are left of the budget.

    >>> known = {"apart": False, "epochs": 6, "seconds": 100.0, "left": 700.0}
    >>> why_not_again(Settings(), wrong=25, **known)
    ''
    >>> why_not_again(Settings(), wrong=2, **known)
    'it names 2 of the judging pictures wrong, so few that more pictures could hardly be seen to help'
    """
    if not settings.refit:
        return "that was asked for"
    if epochs < 1:
        return "no epoch was better than what it began with"
    if apart:
        return "the judging pictures are kept apart from the training pictures, as they came"
    if wrong is not None and wrong < SEPARABLE:
        return f"it names {wrong} of the judging pictures wrong, so few that more pictures could hardly be seen to help"
    if seconds > left:
        return f"that would take {seconds:,.0f} s, and {max(left, 0):,.0f} s are left of the budget"
    return ""


@dataclass(frozen=True)
class Worth:
    """Whether tuning is worth a try, and why, as half a sentence."""

    tries: bool
    why: str


def worth_for_targets(judged: int) -> Worth:
    """The same for labels and numbers, where no picture is simply right or wrong: enough must be there to judge."""
    if judged < LEAST_JUDGED:
        return Worth(False, f"only {judged:,} pictures could judge, and {LEAST_JUDGED} are needed")
    return Worth(True, f"{judged:,} pictures judge")


def worth(judged: int, error: float, *, few: bool, near: bool | None = None) -> Worth:
    """Whether tuning can pay, from what is known before anything of it was done.

    Args:
        judged: pictures that would decide between the two networks.
        error: the share that the frozen one names wrong out of fold, 0 to 1.
        few: whether there are so few pictures that none can be spared to judge.
        near: whether they are near those that the source knows; None where that is open.

    The rule: a network that makes as many mistakes less as tuning may be hoped to save must be one that the judging
    pictures could tell apart.

    >>> worth(400, 0.014, few=False).tries, worth(256, 0.13, few=False).tries
    (False, True)
    >>> [worth(60, 0.25, few=False, near=near).tries for near in (False, None, True)]
    [True, True, False]
    """
    saved, fewer = (NEAR_SAVED, "a quarter fewer") if near else (FAR_SAVED, "half as many")
    if few:
        return Worth(False, "there are so few pictures that none can be spared to judge by")
    wrong = judged * error
    if wrong * saved < SEPARABLE:
        return Worth(
            False,
            f"of the {judged:,} pictures that could judge, the frozen network names about {wrong:.0f} wrong:"
            f" even a network with {fewer} mistakes could not be told from it",
        )
    return Worth(True, f"about {wrong:.0f} of the {judged:,} pictures that judge are named wrong by the frozen network")
