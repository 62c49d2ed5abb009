"""What the curves of a training run say: over-fitting, still learning, settled, and what to do about it.

Every change is judged against noise that is measured on the curve itself, and on the logarithm of the cross-entropy,
whose noise grows with its height. Second differences cancel any straight trend, so their median size, by 0.6745 and
√6, is the standard deviation of what comes and goes from one epoch to the next. Levels are medians of a few epochs, so
that a spike is no trend; in long curves their noise is measured on levels that share no epoch, so that a loss which
wanders is not taken for one that climbs. The least of many levels is low by luck too, hence the factor `SURE`: in
simulation, a flat curve of 8 to 100 epochs rises by more about once in two hundred (normal noise, and Student's t of 3
degrees), once or twice in a hundred where half of the noise stays from epoch to epoch, and of 5 to 7 epochs, too. A
slower wandering cannot be told from a trend; it has to come to 5 % before anything is said.

Over-fitting is told by the direction of the curves, never by their distance. Dropout and augmentation make the training
pictures harder while they are trained on, and Keras averages over an epoch in which the weights still improve: the
training curve of a classifier that over-fits may well lie below that of validation in accuracy and above it in loss.
All this shifts the curve and leaves its direction. So the gap in accuracy is told where it is plain, and never decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any, Literal

from headstart.errors import InputError, near

Kind = Literal["over-fitting", "still learning", "settled", "not learning", "unstable", "too short"]

FACTS = ("dropout", "augmented", "early_stop", "units", "classes")
SHORTEST = 5  # epochs: with fewer there is no noise to measure a change by
SURE = 6.0  # standard deviations of a level, for a rise from the least one
FEW, LONG = 8, 20  # epochs: under the first no medians are taken; under the second the noise is hardly known
LIKELY = 4.0  # the same for a change between two levels that were not picked out
CHANGE = math.log(1.05)  # a smaller change of a loss matters to nobody, however sure it is
RISE = 0.005  # nats: from 0.995 to 0.99 in one probability
GAP = 0.02
FEW_UNITS = 32
DIVERGED = math.log(1.5)
JUMPS, JUMPS_NATS = 0.3, 0.2
GUESSING = 0.9  # of the loss of guessing
_TINY = 1e-7  # where Keras clips probabilities


@dataclass(frozen=True)
class Gap:
    """Training accuracy less validation accuracy at the end (-1 to 1), and two standard errors of it."""

    value: float
    noise: float

    @property
    def real(self) -> bool:
        """Whether training is above validation by more than noise, and by enough to matter."""
        return self.value > max(self.noise, GAP)


@dataclass(frozen=True)
class Reading:
    """What the curves say.

    Attributes:
        kind: the finding in a word or two.
        epoch: the epoch of the least validation loss, from 1; None where no validation loss is finite.
        gap: training accuracy less validation accuracy at the end; None where one of them is missing.
        words: the finding in one or two sentences.
        remedies: what to change, without what is in use already.
    """

    kind: Kind
    epoch: int | None
    gap: Gap | None
    words: str
    remedies: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "remedies": list(self.remedies)}

    def __str__(self) -> str:
        return self.words


def _scatter(values: Sequence[float], lag: int) -> float:
    """Standard deviation of what is left of `values` without their trend, from second differences over `lag`."""
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[lag:], values[2 * lag :], strict=False)]
    return median(bends) / 0.6745 / math.sqrt(6)


@dataclass(frozen=True)
class _Curve:
    """A loss by epoch, finite, and its levels: medians of `width` epochs, on the logarithm."""

    values: tuple[float, ...]

    @cached_property
    def logs(self) -> list[float]:
        return [math.log(max(value, _TINY)) for value in self.values]

    @property
    def width(self) -> int:
        count = len(self.values)
        return 1 if count < FEW else max(3, count // 10)

    @cached_property
    def levels(self) -> list[float]:
        return [median(self.logs[i : i + self.width]) for i in range(len(self.logs) - self.width + 1)]

    @cached_property
    def noise(self) -> float:
        """Standard deviation of one value."""
        return _scatter(self.logs, 1)

    @cached_property
    def level_noise(self) -> float:
        """Standard deviation of one level; from levels that share no epoch where there are enough of those."""
        alone = self.noise * (1.2533 / math.sqrt(self.width) if self.width > 1 else 1)  # were epochs independent
        return max(alone, _scatter(self.levels, self.width)) if len(self.values) >= LONG else alone

    def doubt(self, deviations: float) -> float:
        """The size that a change between two levels must have; in short curves twice that, unless they climb."""
        few = len(self.values) < LONG and not self.climbs
        return (2 if few else 1) * deviations * self.level_noise

    @property
    def climbs(self) -> bool:
        """Whether each of the last three steps goes up."""
        return all(before < after for before, after in itertools.pairwise(self.logs[-4:]))

    def fall(self, start: int) -> float:
        """By how much the level fell from index `start` to the end."""
        return self.levels[min(start, len(self.levels) - 1)] - self.levels[-1]

    def risen(self) -> bool:
        """Whether the end is above the least level by more than noise, and by enough to matter."""
        least, end = min(self.levels), self.levels[-1]
        return end - least > max(self.doubt(SURE), CHANGE) and math.exp(end) - math.exp(least) > RISE

    @property
    def jumpy(self) -> bool:
        return self.noise > JUMPS and self.noise * math.exp(median(self.logs)) > JUMPS_NATS

    @property
    def end(self) -> float:
        return math.exp(self.levels[-1])


def read(
    history: Mapping[str, Sequence[float]],
    *,
    training: Mapping[str, Any] | None = None,
    pictures: tuple[int, int] | None = None,
) -> Reading:
    """Read a Keras history.

    `over-fitting` is a validation loss that has risen from its least by more than noise, and by 5 % at the least, while
    the training loss went on falling by more than its own noise. The other kinds: `too short` (under five epochs of
    both losses), `unstable` (a loss that is not a number, jumps, or has risen in training), `not learning` (no better
    than guessing and not falling), `still learning` (the validation loss fell in the last third), else `settled`.

    Args:
        history: `loss` and `val_loss` (cross-entropy in nats, at least 0), `accuracy` and `val_accuracy` (0 to 1), one
            number an epoch. Where one loss is shorter, the rest of the other is left out.
        training: what is known of the run: `dropout`, `augmented`, `early_stop` (whether they are in use), `units` (of
            the largest hidden layer, 0 for none), `classes`. What is left out is not known.
        pictures: the numbers of training and validation pictures, for the noise of the gap. Without them it is taken
            from how much the gap changes between epochs, which is less than the noise of few pictures.

    Raises:
        InputError: `training` has a fact that is not one of these.

    Example:
        >>> losses = {"loss": [0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08], "val_loss": [0.6, 0.5, 0.4, 0.38, 0.5, 0.6, 0.7]}
        >>> reading = read(losses, training={"dropout": True, "augmented": True, "early_stop": False, "units": 0})
        >>> reading.kind, reading.epoch, reading.remedies
        ('over-fitting', 4, ('early stopping',))
        >>> print(reading)
        Over-fitting: the validation loss was least at epoch 4 and has risen since from 0.38 to 0.7, while the training loss went on falling, to 0.08. What helps and is not in use: early stopping.
    """  # noqa: E501
    facts = _checked(training)
    losses, watched = _numbers(history, "loss"), _numbers(history, "val_loss")
    count = min(len(losses), len(watched))
    losses, watched = losses[:count], watched[:count]
    finite = [index for index in range(count) if math.isfinite(watched[index])]
    best = min(finite, key=lambda index: watched[index]) if finite else None
    epoch, gap = None if best is None else best + 1, _gap(history, pictures)
    broken = [index + 1 for index in range(count) if not math.isfinite(losses[index]) or index not in finite]
    if broken:
        return Reading("unstable", epoch, gap, f"Unstable: a loss was not a number in {len(broken)} of {count} epochs,"
                       f" the first time in epoch {broken[0]}. A lower learning rate helps.", _SLOWER)  # fmt: skip
    if epoch is None or count < SHORTEST:
        words = f"Too short to read: {count} epochs with a training and a validation loss, and it takes {SHORTEST}."
        return Reading("too short", epoch, gap, words.replace("1 epochs", "1 epoch"), ("more epochs",))
    run = _Run(_Curve(losses), _Curve(watched), epoch, gap, facts, _end_accuracy(history))
    for kind, find in _FINDERS:
        if found := find(run):
            return Reading(kind, epoch, gap, *found)
    return Reading("settled", epoch, gap, *_settled(run))


@dataclass(frozen=True)
class _Run:
    train: _Curve
    watched: _Curve
    epoch: int
    gap: Gap | None
    facts: Mapping[str, Any]
    accuracy: float | None

    @property
    def least(self) -> str:
        return f"the validation loss was least at epoch {self.epoch}"

    @property
    def least_loss(self) -> str:
        return _n(self.watched.values[self.epoch - 1])


_Found = tuple[str, tuple[str, ...]] | None  # the words and the remedies
_SLOWER = ("a lower learning rate",)
_SLOWER_HELPS = "A lower learning rate helps."


def _over_fitting(run: _Run) -> _Found:
    bottom = run.watched.levels.index(min(run.watched.levels))
    if not run.watched.risen() or run.train.fall(bottom) <= run.train.doubt(LIKELY):
        return None
    remedies = _remedies(run.facts)
    words = (
        f"Over-fitting: {run.least} and has risen since from {run.least_loss} to {_n(run.watched.end)}, while the"
        f" training loss went on falling, to {_n(run.train.end)}. {_advice(remedies, run.facts)}"
    )
    return words, remedies


def _diverged(run: _Run) -> _Found:
    least = min(run.train.levels)
    if not run.train.risen() or run.train.levels[-1] - least <= DIVERGED:
        return None
    words = f"Unstable: the training loss rose again, from {_n(math.exp(least))} to {_n(run.train.end)}."
    return f"{words} {_SLOWER_HELPS}", _SLOWER


def _not_learning(run: _Run) -> _Found:
    flat = run.train.fall(len(run.train.values) // 3) <= max(run.train.doubt(LIKELY), CHANGE)
    guessing = math.log(max(2, int(run.facts.get("classes") or 2)))
    learnt = not run.facts.get("classes") and run.accuracy is not None and run.accuracy > 0.65  # maybe of more than two
    if not flat or learnt or min(run.train.end, run.watched.end) <= GUESSING * guessing:
        return None
    words = (
        f"Not learning: the training loss stays at {_n(run.train.end)}, and guessing gives {_n(guessing)}. Look at the"
        " labels, try another learning rate, or cut the network elsewhere."
    )
    return words, ("another learning rate", "another cut or source")


def _jumping(run: _Run) -> _Found:
    for name, curve in (("training", run.train), ("validation", run.watched)):
        if curve.jumpy:
            factor = f"{math.exp(curve.noise):.1f}"
            words = f"Unstable: the {name} loss jumps from epoch to epoch, typically by a factor of {factor}."
            return f"{words} {_SLOWER_HELPS}", _SLOWER
    return None


def _rising_alone(run: _Run) -> _Found:
    if not run.watched.risen():
        return None
    words = f"Unstable: {run.least} and has risen since from {run.least_loss} to {_n(run.watched.end)}, though the"
    return f"{words} training loss does not fall. {_SLOWER_HELPS}", _SLOWER


def _still_learning(run: _Run) -> _Found:
    if run.watched.fall(2 * len(run.watched.levels) // 3) <= max(run.watched.doubt(LIKELY), CHANGE):
        return None
    words = f"Still learning: the validation loss fell to the end, to {_n(run.watched.end)}. More epochs may help."
    return words, ("more epochs",)


_FINDERS: tuple[tuple[Kind, Callable[[_Run], _Found]], ...] = (
    ("over-fitting", _over_fitting),
    ("unstable", _diverged),
    ("unstable", _jumping),
    ("not learning", _not_learning),
    ("unstable", _rising_alone),
    ("still learning", _still_learning),
)  # the first that finds something has the word


def _settled(run: _Run) -> tuple[str, tuple[str, ...]]:
    words = f"Settled: {run.least} ({run.least_loss}), and its later changes are within noise."
    if run.gap is None or not run.gap.real:
        return words, ()
    gap = f"{run.gap.value * 100:.1f} points above validation's (±{run.gap.noise * 100:.1f})"
    return f"{words} Training accuracy is {gap}: part of it is learnt by heart.", _remedies(run.facts)


def _remedies(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What is known not to be in use, or not known to be; where all is in use, more of it."""
    units = facts.get("units")
    found = [name for fact, name in (("dropout", "dropout"), ("augmented", "augmentation"),
                                     ("early_stop", "early stopping")) if not facts.get(fact)]  # fmt: skip
    if units is None or units >= FEW_UNITS:
        found.append("fewer units" if units is None else f"fewer units than {units}")
    return tuple(found) or ("more dropout", "more pictures")


def _advice(remedies: Sequence[str], facts: Mapping[str, Any]) -> str:
    told = f"{', '.join(remedies[:-1])} or {remedies[-1]}" if len(remedies) > 1 else remedies[0]
    known = {"dropout", "augmented", "early_stop"} <= facts.keys()
    return f"What helps and is not in use: {told}." if known else f"What helps, where it is not in use: {told}."


def _gap(history: Mapping[str, Sequence[float]], pictures: tuple[int, int] | None) -> Gap | None:
    """Medians of the last epochs; the noise is binomial where the numbers of pictures are known."""
    pairs = [
        (a, b)
        for a, b in zip(_numbers(history, "accuracy"), _numbers(history, "val_accuracy"), strict=False)
        if math.isfinite(a) and math.isfinite(b)
    ]
    if not pairs:
        return None
    last = pairs[-_Curve(tuple(a for a, _ in pairs)).width :]
    rates = [min(1.0, max(0.0, median(values))) for values in zip(*last, strict=True)]
    if pictures is not None:
        both = zip(rates, (max(n, 1) for n in pictures), strict=True)
        error = math.sqrt(sum(rate * (1 - rate) / n + 1 / (4 * n * n) for rate, n in both))  # not 0 where all are right
    else:
        gaps = [a - b for a, b in pairs]
        steps = [abs(second - first) for first, second in itertools.pairwise(gaps)]
        error = median(steps) / 0.6745 / math.sqrt(2 * len(last)) if steps else 1.0
    return Gap(rates[0] - rates[1], 2 * error)


def _end_accuracy(history: Mapping[str, Sequence[float]]) -> float | None:
    finite = [value for value in _numbers(history, "accuracy") if math.isfinite(value)]
    return median(finite[-3:]) if finite else None


def _numbers(history: Mapping[str, Sequence[float]], name: str) -> tuple[float, ...]:
    return tuple(float(value) for value in history.get(name, ()))


def _checked(training: Mapping[str, Any] | None) -> Mapping[str, Any]:
    for name in training or {}:
        if name not in FACTS:
            raise InputError(f"a training has no fact {name!r}; it has {', '.join(FACTS)}.{near(name, FACTS)}")
    return training or {}


def _n(value: float) -> str:
    return f"{value:.3g}"
