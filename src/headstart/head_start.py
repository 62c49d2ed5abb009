"""What the reuse of a network gained over training the same network from scratch: start, slope, asymptote.

The three quantities are those of Torrey and Shavlik ("Transfer learning", Handbook of Research on Machine Learning
Applications, 2009): a higher start, a higher slope, a higher asymptote. Both sides are measured on the same pictures
after every epoch, each with several seeds, and nothing is chosen by what is seen there: no epoch is picked, no training
is stopped early.

- **Start**: accuracy after the first epoch. (Before it both sides guess.)
- **Slope**: accuracy gained over guessing an epoch, in the first fifth of the epochs, two at the least. Guessing is
  always naming the commonest class.
- **Asymptote**: the mean accuracy of the last fifth of the epochs. Whether it is one is read from the curves of the
  loss (`headstart.curves`) and of accuracy: a side that still learns when its budget ends has not levelled off, and
  that is said.

The sentence compares with the best epoch that training from scratch had, which flatters it a little, so that "does not
reach" is not said too easily.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headstart.curves import read
from headstart.estimates import Estimate, over_runs

if TYPE_CHECKING:  # the page is made without numpy
    from headstart.learning_curve import LearningCurve, Point

PART = 5  # the first and the last part of a training are a fifth of its epochs
RISE = 0.01


@dataclass(frozen=True)
class Side:
    """The trainings of one side, one a seed; of each the figures after every epoch, on the same pictures.

    Attributes:
        before: accuracy before training, one a seed.
        accuracy, loss: on the pictures that are measured on, after each epoch: (seeds, epochs).
        training_loss: on the training pictures, while they were trained on.
        seconds: how long each epoch took.
        ready: seconds before the first epoch could begin: the pass that computed the features.
    """

    before: tuple[float, ...]
    accuracy: tuple[tuple[float, ...], ...]
    loss: tuple[tuple[float, ...], ...]
    training_loss: tuple[tuple[float, ...], ...]
    seconds: tuple[tuple[float, ...], ...]
    ready: float = 0.0

    @property
    def epochs(self) -> int:
        return len(self.accuracy[0])

    def at(self, epoch: int, n: int) -> Estimate:
        """Accuracy after an epoch, from 1, over the seeds."""
        return over_runs([run[epoch - 1] for run in self.accuracy], n)

    def level(self, n: int) -> Estimate:
        """The mean of the last epochs, over the seeds."""
        last = max(1, self.epochs // PART)
        return over_runs([sum(run[-last:]) / last for run in self.accuracy], n)

    def best(self, n: int) -> Estimate:
        """The epoch with the highest mean, as if it had been known beforehand which one that is."""
        return max((self.at(epoch, n) for epoch in range(1, self.epochs + 1)), key=lambda each: each.value)

    def until(self, epoch: int) -> float:
        """Seconds to the end of an epoch, from 1: the mean over the seeds."""
        return self.ready + sum(sum(run[:epoch]) for run in self.seconds) / len(self.seconds)

    def kind(self, classes: int | None) -> str:
        """What `curves.read` says of most of the seeds: `settled`, `still learning`, `too short` and so on.

        Args:
            classes: how many there are, which the loss of guessing follows from; two where it is None.
        """
        kinds = [
            read({"loss": loss, "val_loss": watched}, training={"classes": classes} if classes else None).kind
            for loss, watched in zip(self.training_loss, self.loss, strict=True)
        ]
        return Counter(kinds).most_common(1)[0][0]

    @property
    def rising(self) -> bool:
        """Whether accuracy was still going up: the last third of the epochs a point above the third before, or more."""
        third = self.epochs // 3
        if third < 2:
            return False
        gains = [(sum(run[-third:]) - sum(run[-2 * third : -third])) / third for run in self.accuracy]
        return sum(gains) / len(gains) > RISE

    def as_dict(self, classes: int | None) -> dict[str, Any]:
        """Plain JSON values; a loss that is not a number is None."""
        return {
            "before": list(self.before), "accuracy": [list(run) for run in self.accuracy],
            "loss": [[_number(value) for value in run] for run in self.loss],
            "training_loss": [[_number(value) for value in run] for run in self.training_loss],
            "epoch_seconds": [[round(value, 4) for value in run] for run in self.seconds],
            "ready_seconds": round(self.ready, 3), "curves": self.kind(classes),
            "still_rising": self.rising,
        }  # fmt: skip


@dataclass(frozen=True)
class Gain:
    """One of the three quantities on both sides, and their difference; `higher` is what it shows."""

    reused: Estimate
    scratch: Estimate

    @property
    def difference(self) -> Estimate:
        return self.reused.minus(self.scratch)

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, or `cannot be told`."""
        difference = self.difference
        return "higher" if difference.above else "lower" if difference.below else "cannot be told"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "reused": self.reused.as_dict(), "scratch": self.scratch.as_dict(),
            "difference": self.difference.as_dict(), "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """The reused network after fine-tuning.

    Attributes:
        accuracy, frozen: of it and of the frozen classifier, on the same pictures as both sides.
        seconds: of its epochs; `whole` is all that tuning took, trials included.
    """

    accuracy: Estimate
    frozen: Estimate
    seconds: float
    whole: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "accuracy": self.accuracy.as_dict(),
            "frozen": self.frozen.as_dict(),
            "seconds": self.seconds,
            "whole_seconds": self.whole,
        }


@dataclass(frozen=True)
class HeadStart:
    """The head start, measured.

    Attributes:
        reused, scratch: the trainings of both sides.
        pictures: how many pictures both were trained on.
        split, n: what both were measured on, and how many pictures that is.
        guessing: the share of the commonest class there.
        curve: the reused network with fewer pictures, measured on the same pictures; None where there are too few.
        settings: what both were trained with.
        notes: sentences on what was done, that a reader should know.
        classes: how many both tell apart; None where that is not known.
        tuned: the reused network after fine-tuning, where it was tuned.
    """

    reused: Side
    scratch: Side
    pictures: int
    split: str
    n: int
    guessing: float
    curve: LearningCurve | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classes: int | None = None
    tuned: Tuned | None = None

    @property
    def epochs(self) -> int:
        return self.scratch.epochs

    @property
    def seeds(self) -> int:
        return len(self.scratch.accuracy)

    @property
    def first_part(self) -> int:
        """How many epochs the slope is of."""
        return min(self.epochs, max(2, self.epochs // PART))

    @property
    def start(self) -> Gain:
        """Accuracy after the first epoch."""
        return Gain(self.reused.at(1, self.n), self.scratch.at(1, self.n))

    @property
    def slope(self) -> Gain:
        """Accuracy gained over guessing an epoch, in the first part."""
        return Gain(self._rise(self.reused, self.first_part), self._rise(self.scratch, self.first_part))

    @property
    def slope_a_second(self) -> Gain:
        """The same a second; the pass that computed the features counts for the reused network."""
        sides = [self._rise(side, side.until(self.first_part)) for side in (self.reused, self.scratch)]
        return Gain(*sides)

    @property
    def asymptote(self) -> Gain:
        """The mean accuracy of the last epochs."""
        return Gain(self.reused.level(self.n), self.scratch.level(self.n))

    @property
    def level_reached(self) -> int | None:
        """The first epoch at which the reused network's mean is at the other's asymptote; None where there is none."""
        level = self.asymptote.scratch.value
        means = [self.reused.at(epoch, self.n).value for epoch in range(1, self.reused.epochs + 1)]
        return next((epoch for epoch, mean in enumerate(means, 1) if mean >= level), None)

    @property
    def fewest(self) -> Point | None:
        """The fewest pictures with which the reused network is surely above any epoch of training from scratch."""
        if self.curve is None:
            return None
        best = self.scratch.best(self.n)
        return next((point for point in self.curve.points if point.accuracy.minus(best).above), None)

    def _rise(self, side: Side, divisor: float) -> Estimate:
        found = side.at(self.first_part, self.n)
        floor = self.guessing
        return Estimate(found.value - floor, found.low - floor, found.high - floor).over(max(divisor, 1e-9))

    @property
    def sentence(self) -> str:
        """The sentence to take away, made from the figures by fixed rules."""
        best, level = self.scratch.best(self.n), self.asymptote
        budget = f"{_count(self.epochs, 'epoch')}, {_count(self.seeds, 'seed')}"
        from_scratch = f"{best.value:.1%} ({_range(best)}) at its best epoch of {budget}"
        fewest = self.fewest
        if self.tuned is not None:
            said = self._after_tuning(self.tuned, from_scratch)
        elif fewest is not None and fewest.pictures < self.pictures:
            said = (
                f"With {fewest.pictures:,} pictures the reused network reaches {fewest.accuracy.value:.1%}"
                f" ({_range(fewest.accuracy)}), which the same network trained from scratch does not reach with all"
                f" {self.pictures:,}: {from_scratch}."
            )
        elif level.reused.minus(best).above:
            said = (
                f"With the same {self.pictures:,} pictures the reused network reaches {level.reused.value:.1%}"
                f" ({_range(level.reused)}), and trained from scratch {from_scratch}."
            )
        elif level.difference.below:
            said = (
                f"Reuse does not help here: with the same {self.pictures:,} pictures the network trained from scratch"
                f" reaches {level.scratch.value:.1%} ({_range(level.scratch)}) and the reused one"
                f" {level.reused.value:.1%} ({_range(level.reused)})."
            )
        else:
            said = (
                f"These {self.n:,} pictures cannot tell the reused network, {level.reused.value:.1%}"
                f" ({_range(level.reused)}), from the same network trained from scratch, {from_scratch}: a higher end"
                " is not shown."
            )
        return " ".join([said, *self._unfinished()])

    def _after_tuning(self, tuned: Tuned, from_scratch: str) -> str:
        frozen, reached = tuned.frozen, tuned.accuracy
        took = sum(sum(run) for run in self.scratch.seconds) / self.seeds
        said = (
            f"Left frozen, the reused network reaches {frozen.value:.1%} ({_range(frozen)}); tuned,"
            f" {reached.value:.1%} ({_range(reached)}), in {tuned.whole:.0f} s. Trained from scratch on the same"
            f" {self.pictures:,} pictures for {took:.0f} s, the same network reaches {from_scratch}."
        )
        best = self.scratch.best(self.n)
        return (
            said if reached.minus(best).above else f"{said} The two cannot be told apart, or reuse does not help here."
        )

    def _unfinished(self) -> list[str]:
        """That the end of training from scratch is no asymptote, where its curves say so."""
        said = {
            "still learning": "It still improved when its budget ended, so a longer training would take it further.",
            "not learning": "Its loss stayed at that of guessing, so a longer training may take it further.",
            "unstable": "Its training was unstable, so where it would level off is not known.",
            "too short": "So few epochs do not show where it would level off.",
        }
        kind = "still learning" if self.scratch.rising else self.scratch.kind(self.classes)
        return [said[kind]] if kind in said else []

    def rows(self) -> list[tuple[str, str]]:
        """Name and figures of each of the three quantities, in words."""
        told = []
        for name, gain, unit in (
            ("higher start", self.start, "after the first epoch"),
            ("higher slope", self.slope, f"gained an epoch over the first {self.first_part}"),
            ("higher asymptote", self.asymptote, f"at the end of {_count(self.epochs, 'epoch')}"),
        ):
            difference = gain.difference
            shows = {"higher": "yes", "lower": "no, lower"}.get(gain.verdict, "cannot be told")
            told.append((
                name,
                f"{shows}: {_points(difference.value)} points ({_points(difference.low)} to"
                f" {_points(difference.high)}); {gain.reused.value:.1%} against {gain.scratch.value:.1%} {unit}",
            ))  # fmt: skip
        return told

    def seconds_words(self) -> str:
        """What the first epoch and all of it took."""
        both = [
            f"{name} {side.until(1):.1f} s to the end of the first epoch and {side.until(side.epochs):.1f} s in all"
            for name, side in (("reused", self.reused), ("from scratch", self.scratch))
        ]
        return f"{both[0]} (of which {self.reused.ready:.1f} s for the features); {both[1]}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart train --compare-scratch --json` prints them."""
        return {
            "sentence": self.sentence,
            "start": self.start.as_dict(), "slope": {**self.slope.as_dict(), "epochs": self.first_part},
            "slope_a_second": self.slope_a_second.as_dict(), "asymptote": self.asymptote.as_dict(),
            "scratch_curves": self.scratch.kind(self.classes), "level_reached_in_epoch": self.level_reached,
            "fewest_pictures": self.fewest.pictures if self.fewest else None,
            "pictures": self.pictures, "split": self.split, "n": self.n, "guessing": self.guessing,
            "epochs": self.epochs, "seeds": self.seeds, "classes": self.classes, "settings": dict(self.settings),
            "notes": list(self.notes), "tuned": self.tuned.as_dict() if self.tuned else None,
            "reused": self.reused.as_dict(self.classes), "scratch": self.scratch.as_dict(self.classes),
            "learning_curve": self.curve.as_dict() if self.curve else None,
        }  # fmt: skip


def means(side: Side, n: int) -> tuple[list[float], list[float], list[float]]:
    """Mean accuracy after each epoch and both ends of its interval, to be drawn; epoch 0 comes first."""
    found: Sequence[Estimate] = [over_runs(side.before, n), *(side.at(epoch, n) for epoch in range(1, side.epochs + 1))]
    return [each.value for each in found], [each.low for each in found], [each.high for each in found]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _range(rate: Estimate) -> str:
    return f"{rate.low:.1%} to {rate.high:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
