"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) within a budget of seconds.

All contenders are scored on few pictures; the hopeless ones are dropped, and the others go on to more. At most three
quarters are dropped at a time, and none that lies within noise of the best: nothing is lost that more pictures could
have turned. Where there is a budget, the first contender is scored on the fewest pictures whatever it takes, so that
there is an answer; what is begun after that must be likely to end in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

GROWTH = 4
"""How many times more pictures each round has, and how many contenders enter it for one that must stay."""
LEAST = 250
"""Pictures of the first round, at least."""


class OutOfTimeError(Exception):
    """Raised by a score that sees, while it works, that its deadline is over."""


class OutOfRaceError(Exception):
    """Raised by a score of a contender that cannot run at all; whoever raises it keeps the reason."""


class Scored(Protocol):
    """What a contender was worth on some pictures."""

    @property
    def accuracy(self) -> float: ...

    def behind(self, best: Self) -> bool:
        """Whether it is worse than `best` by more than noise, on the pictures that both were scored on."""


S = TypeVar("S", bound=Scored)


@dataclass(frozen=True)
class Dropped:
    """A contender that was given up: on how many pictures, and how far it lay behind the best."""

    name: str
    pictures: int
    accuracy: float
    best: float


@dataclass(frozen=True)
class Race(Generic[S]):
    """How a race went.

    Attributes:
        scores: the last score of every contender that has one.
        pictures: on how many pictures that was.
        dropped: those that were given up as hopeless.
        late: those that time did not suffice for, with the pictures that they were to be scored on.
    """

    scores: Mapping[str, S]
    pictures: Mapping[str, int]
    dropped: tuple[Dropped, ...]
    late: Mapping[str, int]

    @property
    def finished(self) -> tuple[str, ...]:
        """Those that were scored on most pictures, the most accurate first: the choice is among these."""
        most = max(self.pictures.values(), default=0)
        names = [name for name, count in self.pictures.items() if count == most]
        return tuple(sorted(names, key=lambda name: -self.scores[name].accuracy))


def rounds(most: int, contenders: int, least: int = LEAST) -> tuple[int, ...]:
    """How many pictures each round has: one round where there is nobody to drop.

    >>> rounds(2000, 3), rounds(2000, 1), rounds(300, 3)
    ((500, 2000), (2000,), (300,))
    """
    sizes = [most]
    while contenders > 1 and sizes[0] // GROWTH >= least:
        sizes.insert(0, sizes[0] // GROWTH)
    return tuple(sizes)


def race(
    names: Sequence[str], score: Callable[[str, int], S], *, sizes: Sequence[int], deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Race[S]:  # fmt: skip
    """Score contenders on more and more pictures, and fewer and fewer contenders.

    Args:
        names: the contenders, the most promising first, since time may not suffice for all.
        score: called with a name and a number of pictures; may raise `OutOfTimeError` and `OutOfRaceError`.
        sizes: pictures of each round, rising; what was done for one round is not done again for the next.
        deadline: on the clock, when to end; None for no end.
        clock: seconds.
    """
    scores: dict[str, S] = {}
    pictures: dict[str, int] = {}
    dropped: list[Dropped] = []
    late: dict[str, int] = {}
    pace: dict[str, float] = {}  # seconds a picture
    alive, before = list(names), 0
    for size in sizes:
        done = []
        for name in alive:
            rate = pace.get(name, max(pace.values(), default=0.0))
            start = clock()
            if scores and deadline is not None and start + rate * (size - before) > deadline:
                late[name] = size
                continue
            try:
                scores[name] = score(name, size)
            except OutOfTimeError:
                late[name] = size
                continue
            except OutOfRaceError:
                continue
            pictures[name] = size
            pace[name] = (clock() - start) / max(size - before, 1)
            done.append(name)
        if not done or size == sizes[-1]:
            break
        alive, lost = _kept(done, scores, size)
        dropped += lost
        before = size
    return Race(scores, pictures, tuple(dropped), late)


def _kept(names: list[str], scores: Mapping[str, S], size: int) -> tuple[list[str], list[Dropped]]:
    order = sorted(names, key=lambda name: -scores[name].accuracy)
    best = scores[order[0]]
    stay = -(-len(order) // GROWTH)
    kept = [name for place, name in enumerate(order) if place < stay or not scores[name].behind(best)]
    lost = [Dropped(name, size, scores[name].accuracy, best.accuracy) for name in order if name not in kept]
    return kept, lost
