"""What is tried beside the sources of a ranking: the best one on larger pictures, and the best ones side by side.

Their passes are paid for by those of the race: together they may cost `EXTRA` times as much, estimated before they
begin. A larger size is run on the pictures that cuts are screened on, and on the others only where that was better.
Whether several networks are worth running side by side is judged by the features that they have alone, which costs no
pass; the joint source is then run for itself and judged by its own features, since in it the smaller members are given
the picture of the largest, shrunk. Better means: by the rule that layers are chosen by (`choose.LEVEL`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart import choose, sources
from headstart.contenders import Contender, joined_contender, larger_contender
from headstart.contestants import Pool, Screened
from headstart.racing import OutOfRaceError, OutOfTimeError
from headstart.worker import LazyWorker

EXTRA = 2.5
"""Times the passes of the race that all passes tried beside it may cost together: a larger size has about twice the
pixels, so one source alone can pay for its own."""
MOST = 3
"""Sources that are put side by side, at most."""


@dataclass
class Additions:
    """Tries further contenders of one ranking.

    Attributes:
        pool: the ranking's contenders.
        worker: compiles what is new.
        paid: seconds that the passes of the race cost, or would have cost without the store.
        prefer: which of two sources that are level is taken, of `choose.LEVEL`.
        scores: those that were scored on all pictures of the ranking.
        partly: those that were given up before that.
        dropped, not_tried: sentences, as a `Ranking` has them.
    """

    pool: Pool
    worker: LazyWorker
    paid: float
    prefer: str
    scores: list[Screened] = field(default_factory=list)
    partly: list[Screened] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = EXTRA * self.paid

    def try_larger(self, ahead: Sequence[Screened], widths: np.ndarray, heights: np.ndarray) -> None:
        """Try the best source on larger pictures, where the pictures have the pixels for it.

        Args:
            ahead: the sources that finished the race.
            widths, heights: of the training pictures as they are stored.
        """
        if not (able := _comparable(ahead)):
            return
        best = able[0]
        own = self.pool.contenders[best.name]
        larger = larger_contender(own, widths, heights)
        if larger is not None and larger.name not in self.pool.contenders:
            self._try(larger, self.pool.seconds_a_picture(best.name) * _pixels(larger) / _pixels(own), best)

    def try_joined(self, ahead: Sequence[Screened]) -> None:
        """Try the best sources side by side, where their features are better together."""
        able = [each for each in _comparable([*ahead, *self.scores]) if self._is_single(each)][:MOST]
        if len(able) < 2 or any(not np.array_equal(each.screen, able[0].screen) for each in able):
            return
        groups = self._worth_joining(able)
        if not groups:
            several = " and ".join(each.name for each in able)
            self.dropped.append(
                f"{several} were not run side by side: their features together are not better than those of"
                f" {able[0].name} by more than {choose.LEVEL[self.prefer]:g} standard errors of the loss, on"
                f" {len(able[0].places):,} pictures"
            )
        for members in groups:
            joined = joined_contender([self.pool.contenders[each.name] for each in members])
            if joined is not None and joined.name not in self.pool.contenders:
                rate = sum(self.pool.seconds_a_picture(each.name) for each in members if self._is_shrunk(each, joined))
                self._try(joined, rate, able[0])
                return

    def _is_single(self, one: Screened) -> bool:
        return len(sources.members(sources.find(self.pool.contenders[one.name].spec.source))) == 1

    def _is_shrunk(self, one: Screened, joined: Contender) -> bool:
        """Tell whether a member is given other pixels than alone, so that its features are not those in the store."""
        return self.pool.contenders[one.name].spec.image_size != joined.spec.image_size

    def _worth_joining(self, able: Sequence[Screened]) -> list[tuple[Screened, ...]]:
        """List groups of sources whose joint features are better than the best source's, the one to take first."""
        groups = [able[:1], *([able[0], other] for other in able[1:]), *([able] if len(able) > 2 else [])]
        losses = [able[0].best.losses]
        with choose.one_core_each() as run:
            for done, found in enumerate(run(self.pool.joint_losses, groups[1:]), 1):
                losses.append(found)
                self.pool.progress("features side by side", done, len(groups) - 1)
        least = min(losses, key=lambda each: float(each.mean()))
        level = [choose.within(-least, -each, choose.LEVEL[self.prefer]) for each in losses]
        if level[0]:
            return []
        costs = [sum(self.pool.cost(each, each.widest.outputs) for each in group) for group in groups]
        return [tuple(groups[place]) for place in np.argsort(costs).tolist() if level[place]]

    def _try(self, contender: Contender, rate: float, best: Screened) -> None:
        """Score a contender on the screening pictures, and on all of them where it is better than the best so far.

        Args:
            rate: seconds a picture that its pass is expected to take.
        """
        count = len(self.pool.order)
        if why := self._unaffordable(rate * count):
            self.not_tried.append(f"{contender.name} was not tried: {why}")
            return
        self.pool.add(contender, self.worker)
        before = 0
        for size in [*([choose.SCREEN] if count > choose.SCREEN else []), count]:
            if before and (why := self._unaffordable(rate * (count - before))):
                self.not_tried.append(f"{contender.name} was tried on {before:,} of {count:,} pictures: {why}")
                return
            try:
                found = self.pool.score(contender.name, size)
            except OutOfTimeError:
                self.not_tried.append(f"{contender.name} was tried on {before:,} of {count:,} pictures")
                return
            except OutOfRaceError:  # the pool keeps the reason
                return
            rate = self.pool.seconds_a_picture(contender.name) if rate else 0.0
            self.left -= rate * (size - before)
            before = size
            if size < count and not self._is_better(found, best):
                self.partly.append(found)
                self.dropped.append(
                    f"{contender.name} was given up after {size:,} pictures: its loss, {found.best.loss:.3f}, is not"
                    f" below that of {best.name}, {best.best.loss:.3f}, by more than"
                    f" {choose.LEVEL[self.prefer]:g} standard errors"
                )
                return
        self.scores.append(found)

    def _is_better(self, one: Screened, best: Screened) -> bool:
        _, mine, theirs = np.intersect1d(one.places, best.places, return_indices=True)
        losses, others = one.best.losses[mine], best.best.losses[theirs]
        return len(mine) > 0 and not choose.within(-losses, -others, choose.LEVEL[self.prefer])

    def _unaffordable(self, seconds: float) -> str:
        """Say why a pass of so many seconds is not begun; "" where it may."""
        if seconds > self.left:
            return (
                f"its pass would take about {seconds:.1f} s more, and {self.left:.1f} s are left of {EXTRA:g} times the"
                " passes of the sources ranked"
            )
        deadline = self.pool.deadline
        if deadline is not None and self.pool.clock() + seconds > deadline:
            return f"its pass would take about {seconds:.1f} s more, beyond the budget"
        return ""


def beside(
    pool: Pool, worker: LazyWorker, ahead: Sequence[Screened], pictures: Mapping[str, int], *, prefer: str,
    sizes: tuple[np.ndarray, np.ndarray] | None, joined: bool,
) -> Additions:  # fmt: skip
    """Try further contenders beside those of a race.

    Args:
        ahead: the sources that finished the race.
        pictures: on how many pictures each source was scored.
        prefer: as in a recipe.
        sizes: widths and heights of the training pictures, to try a larger size; None to try none.
        joined: try sources side by side.
    """
    paid = sum(pool.seconds_a_picture(name) * count for name, count in pictures.items())
    made = Additions(pool, worker, paid, prefer)
    if sizes is not None:
        made.try_larger(ahead, *sizes)
    if joined:
        made.try_joined(ahead)
    return made


def _comparable(ahead: Sequence[Screened]) -> list[Screened]:
    """List the sources whose layers could be scored, the one of least loss first."""
    return sorted((each for each in ahead if len(each.places)), key=lambda each: each.best.loss)


def _pixels(contender: Contender) -> int:
    height, width = contender.spec.image_size
    return height * width
