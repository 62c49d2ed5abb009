"""The contenders of a ranking on real pictures: screened by probes on parts of them, then fitted with heads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from headstart import choose, costs, few, heads, trunk
from headstart.choose import Candidate
from headstart.contenders import Contender
from headstart.dataset import Dataset
from headstart.errors import DownloadError, InputError, RecipeError, SourceError
from headstart.features import Features, extract
from headstart.heads import HeadData
from headstart.layer_sets import single_layers
from headstart.progress import Progress
from headstart.racing import OutOfRaceError, OutOfTimeError
from headstart.ranking import CHOSEN, HEADS, Row
from headstart.store import Store
from headstart.trunk import Output, PendingTrunk, Works, cut_name

FINALISTS = 6
"""Cuts that are fitted with the first head, at most."""
MOST = {"linear": 2, "blend": 2, "prototype": 3, "dense": 1}
"""How many of the best cuts get these heads, where another head says which are the best."""
BEHIND = 3.0
"""Standard errors of the paired difference in loss beyond which a source may be given up; both had a cut picked."""


@dataclass(frozen=True)
class Screened:
    """A source on some pictures: what it was worth with its best cut, and all its cuts.

    Attributes:
        name: of the contender.
        features: of the pictures; its rows are those of `pictures`.
        pictures: rows of the training pictures, readable ones.
        screen: rows of the features that the cuts were screened on.
        places: training rows that the cuts' answers are of, in order.
        candidates: all cuts, and several of them side by side, scored by the ridge probe.
        seconds: what it took so far.
        milliseconds: a picture's cost at each output; empty until it is asked for.
        whole_cost: the engine could not tell the cost of a cut from that of the whole network.
    """

    name: str
    features: Features
    pictures: np.ndarray
    screen: np.ndarray
    places: np.ndarray
    candidates: tuple[Candidate, ...]
    seconds: float
    milliseconds: tuple[float, ...] = ()

    @property
    def best(self) -> Candidate:
        return min(self.candidates, key=lambda c: (c.loss, -c.accuracy))

    @property
    def widest(self) -> Candidate:
        """Its best cut of several layers side by side; where it has none, the best."""
        several = [each for each in self.candidates if len(each.layers) > 1]
        return min(several or self.candidates, key=lambda c: (c.loss, -c.accuracy))

    @property
    def accuracy(self) -> float:
        return self.best.accuracy

    @property
    def whole_cost(self) -> bool:
        return len(self.milliseconds) > 2 and len(set(self.milliseconds)) == 1

    def behind(self, best: Screened) -> bool:
        """Whether its best cut has more loss than that of `best` by more than noise."""
        _, mine, theirs = np.intersect1d(self.places, best.places, return_indices=True)
        lost = self.best.losses[mine] - best.best.losses[theirs]
        return len(lost) > 0 and bool(lost.mean() > BEHIND * lost.std() / np.sqrt(len(lost)))


@dataclass(frozen=True)
class Fitted:
    """A cut with a head on it, scored out of fold."""

    screened: Screened
    cut: Candidate
    row: Row


@dataclass
class Pool:
    """The contenders of one ranking, the pictures they are ranked on, and what was found so far.

    Attributes:
        dataset: the training pictures.
        order: the rows that are ranked on, so that any beginning of it is a fair sample.
        folds: the fold of each training picture.
        deadline: on `clock`; what is not begun by then is left out. None for no end.
        failed: what went wrong with the contenders that could not be built.
    """

    dataset: Dataset
    order: np.ndarray
    folds: np.ndarray
    contenders: dict[str, Contender]
    pending: dict[str, PendingTrunk] = field(kw_only=True)
    store: Store = field(kw_only=True)
    pooling: str | None = field(kw_only=True)
    deadline: float | None = field(kw_only=True)
    clock: Callable[[], float] = field(kw_only=True, default=time.monotonic)
    progress: Progress = field(kw_only=True)
    scored: dict[str, Screened] = field(default_factory=dict, init=False)
    bad: set[int] = field(default_factory=set, init=False)
    failed: dict[str, InputError] = field(default_factory=dict, init=False)
    paces: dict[str, float] = field(default_factory=dict, init=False)  # seconds a picture, of passes that were timed
    joined: set[str] = field(default_factory=set, init=False)  # what was put side by side here

    def add(self, contender: Contender, worker: Works) -> None:
        """Take in one more contender; of several networks side by side only cuts of more than one count."""
        self.contenders[contender.name] = contender
        self.pending[contender.name] = trunk.prepare(contender.spec, worker)
        if "+" in contender.spec.source:
            self.joined.add(contender.name)

    def labels(self, screened: Screened, rows: np.ndarray) -> np.ndarray:
        """The classes of rows of a contender's features."""
        found: np.ndarray = self.dataset.labels[screened.pictures[rows]]
        return found

    def over(self) -> bool:
        """Whether there is an answer already and the time for more is over."""
        return bool(self.scored) and self.deadline is not None and self.clock() > self.deadline

    # ---- the race ----------------------------------------------------------------------------------------------------

    def score(self, name: str, count: int) -> Screened:
        """One contender on the first `count` pictures of the order; what the store has is not computed again.

        Raises:
            OutOfTimeError: the deadline passed while it was computed, and there is an answer already.
            OutOfRaceError: it cannot be built; `failed` has the reason.
        """
        start = self.clock()
        rows = np.sort(self.order[:count])

        def tell(done: int, total: int) -> None:
            self.progress(f"features of {name}", done, total)
            if self.over():
                raise OutOfTimeError

        try:
            features = extract(self.dataset.take(rows), self.pending[name], self.store, progress=tell)
        except (SourceError, DownloadError) as error:
            self.failed[name] = error
            raise OutOfRaceError from error
        self.bad.update(int(rows[row]) for row in features.bad)
        if features.misses >= costs.FEWEST_TIMED or name not in self.paces:
            self.paces[name] = costs.seconds_a_picture(features.trunk, features.seconds, features.misses)
        good = np.array([row for row in range(len(rows)) if row not in features.bad], int)
        chosen = set(self.order[: min(count, choose.SCREEN)].tolist())
        screen = np.array([row for row in good.tolist() if int(rows[row]) in chosen], int)
        candidates, places = self._screen(features, rows, screen, last=count == len(self.order))
        if name in self.joined:
            candidates = _across(candidates, features) or candidates
        before = self.scored[name].seconds if name in self.scored else 0.0
        seconds = before + self.clock() - start
        self.scored[name] = Screened(name, features, rows, screen, places, candidates, seconds)
        return self.scored[name]

    def _screen(
        self, features: Features, rows: np.ndarray, screen: np.ndarray, *, last: bool
    ) -> tuple[tuple[Candidate, ...], np.ndarray]:
        labels, folds = self.dataset.labels[rows[screen]], self.folds[rows[screen]]
        sets = single_layers(features.outputs, self.pooling)
        known = few.scorable(labels, folds) if len(labels) else np.zeros(0, bool)
        if not known.any():  # one picture a class: all cuts are equal as far as anyone can say
            return tuple(choose.unscored(one.outputs) for one in sets), np.zeros(0, int)
        with choose.one_core_each() as run:
            found = choose.screen(
                features, screen, labels, folds, sets=sets, run=run, pooling=self.pooling, neighbours=last
            )
        return tuple(found), rows[screen][known]

    def seconds_a_picture(self, name: str) -> float:
        """Estimate what a picture of a pass of a scored contender takes."""
        return self.paces[name]

    def joint_losses(self, several: Sequence[Screened]) -> np.ndarray:
        """Score the features of several sources side by side by the ridge probe; they were screened on one sample.

        Returns:
            The out-of-fold loss of each picture of their `places`.
        """
        first = several[0]
        rows = first.pictures[first.screen]
        labels, folds = self.dataset.labels[rows], self.folds[rows]
        X = np.concatenate([choose.standardised_rows(s.features, s.screen, s.widest.set) for s in several], axis=1)
        return choose.probe_losses(X, labels, folds)

    # ---- the finalists -----------------------------------------------------------------------------------------------

    def finalists(self, scores: Sequence[Screened]) -> list[tuple[Screened, Candidate]]:
        """The cuts to fit: of those within noise of the best the ones that no cheaper one reaches, then the best."""
        timed = [self._timed(screened) for screened in scores]
        pairs = [(screened, cut) for screened in timed for cut in screened.candidates if len(cut.right)]
        if not pairs:
            return [(timed[0], self._deepest(timed[0]))]
        top = max(pairs, key=_worth)
        near = sorted((pair for pair in pairs if _level(pair, top)), key=_worth, reverse=True)
        edge: list[tuple[Screened, Candidate]] = []
        for pair in sorted(near, key=lambda pair: (self._cost(pair), _rank(pair))):
            if not edge or _worth(pair) > _worth(edge[-1]):
                edge.append(pair)
        chosen = edge[::-1][: FINALISTS - 2]  # the dearest of the edge is the best of all
        taken = {id(cut) for _, cut in chosen}
        return [*chosen, *[pair for pair in near if id(pair[1]) not in taken][: FINALISTS - len(chosen)]]

    def _timed(self, screened: Screened) -> Screened:
        if not screened.milliseconds:
            screened = replace(screened, milliseconds=costs.milliseconds(screened.features.trunk))
            self.scored[screened.name] = screened
        return screened

    def _deepest(self, screened: Screened) -> Candidate:
        deepest = screened.features.outputs[-1].layer
        return next(cut for cut in screened.candidates if cut.layers == (deepest,))

    def _cost(self, pair: tuple[Screened, Candidate]) -> float:
        screened, cut = pair
        return costs.at(screened.milliseconds, screened.features.trunk, cut.outputs)

    def cost(self, screened: Screened, outputs: tuple[Output, ...]) -> float:
        """Milliseconds a picture of some outputs at prediction; measured where they were not yet."""
        return costs.at(self._timed(screened).milliseconds, screened.features.trunk, outputs)

    # ---- heads -------------------------------------------------------------------------------------------------------

    def fit(
        self, finalists: Sequence[tuple[Screened, Candidate]], names: Sequence[str]
    ) -> tuple[list[Fitted], tuple[str, ...]]:
        """The finalists with the linear head, and the best of these with the other heads that are named.

        Returns:
            What was fitted with the heads that are named, one at least, and sentences on what was not tried.

        Raises:
            RecipeError: the only head that is named cannot be fitted on so few pictures.
        """
        done: list[Fitted] = []
        measurable = any(len(cut.right) for _, cut in finalists)
        tried = self._heads(names, measurable)
        skipped: list[str] = []
        if tuple(names) not in (HEADS, CHOSEN):  # of heads that nobody asked for by name nothing need be said
            why = "there are few pictures" if measurable else "with one picture a class nothing can be compared"
            skipped += [f"the {name} head was not tried: {why}" for name in dict.fromkeys(names) if name not in tried]
        for name in tried:
            pairs = finalists
            if name != tried[0]:
                best = sorted((made for made in done if made.row.head == tried[0]), key=_figures)
                pairs = [(made.screened, made.cut) for made in best[: MOST[name]]] if best else finalists[: MOST[name]]
            missing = not any(made.row.head in names for made in done)
            with choose.one_core_each() as run:
                made = list(run(partial(self._fitted, name=name, must=pairs[0] if missing else None), pairs))
            done += [each for each in made if isinstance(each, Fitted)]
            self.progress(f"fitting {name} heads", len(pairs), len(pairs))
            whys = [each for each in made if isinstance(each, str)]
            if whys:
                why = f": {whys[0]}" if whys[0] else ""
                skipped.append(f"the {name} head was not tried on {len(whys)} of {len(pairs)} cuts{why}")
        return done, tuple(skipped)

    def _heads(self, names: Sequence[str], measurable: bool) -> list[str]:
        """Which heads to fit; the first one says where the others are worth trying."""
        if not measurable and "prototype" in names:
            return ["prototype"]  # one picture a class: the head that assumes least
        slow = "dense" if len(set(names)) > 1 and few.few(self.dataset.labels) else ""
        return [name for name in HEADS if name in names and name != slow]

    def _fitted(
        self, pair: tuple[Screened, Candidate], *, name: str, must: tuple[Screened, Candidate] | None
    ) -> Fitted | str:
        """One cut with one head, or why it cannot be fitted, "" where time is over.

        Without the cut that is `must` there is no answer, so it is fitted however late it is, or its error is raised.
        """
        if self.over() and pair is not must:
            return ""
        screened, cut = pair
        start = self.clock()
        rows = np.array([row for row in range(len(screened.pictures)) if row not in screened.features.bad], int)
        labels, folds = self.labels(screened, rows), self.folds[screened.pictures[rows]]
        X = screened.features.matrix(rows, cut.outputs)
        try:
            parts = tuple(output.dimensions for output in cut.outputs)
            data = HeadData(X, labels, len(self.dataset.classes), folds, parts=parts)
            answers, size = _out_of_fold(name, data, cut.scaling)
        except RecipeError as error:
            if pair is must:
                raise
            return str(error)
        known = few.scorable(labels, folds)
        judged = choose.judged(replace(cut, head=name, finalist=True), answers, labels, known)
        places = screened.pictures[rows][known]
        row = self._row(screened, judged, places, seconds=self.clock() - start, head=name, size=size)
        return Fitted(screened, judged, row)

    def rest(self, scores: Iterable[Screened], fitted: Sequence[Fitted]) -> Iterator[Row]:
        """Rows of the cuts that were screened and not fitted on all pictures.

        Of a source that was given up its best cut is told, where there is time to measure what it costs.
        """
        done = {(made.screened.name, made.cut.set) for made in fitted}
        most = max((len(screened.places) for screened in self.scored.values()), default=0)
        for screened in scores:
            behind = len(screened.places) < most
            if not screened.milliseconds and behind and self.over():
                continue
            timed = self._timed(self.scored[screened.name])
            for cut in (timed.best,) if behind else timed.candidates:
                if (timed.name, cut.set) not in done and len(cut.right):
                    size = (cut.dimensions + 1) * len(self.dataset.classes)
                    yield self._row(timed, cut, timed.places, seconds=0.0, head=cut.head, size=size, probe=True)

    def _row(
        self, screened: Screened, cut: Candidate, places: np.ndarray, *, seconds: float, head: str, size: int,
        probe: bool = False,
    ) -> Row:  # fmt: skip
        contender, trunk = self.contenders[screened.name], screened.features.trunk
        spec, name = contender.spec, cut_name(cut.layers, trunk.outputs)
        return Row(
            screened.name, name, cut.pooling, head, cut.accuracy, cut.low, cut.high, len(cut.right),
            seconds=screened.seconds + seconds, milliseconds_per_image=self._cost((screened, cut)),
            size_mb=costs.megabytes(trunk, cut.outputs, size, whole=contender.size_mb), dimensions=cut.dimensions,
            loss=cut.loss, neighbours=cut.neighbours, probe=probe,
            recipe={"source": spec.source, "weights": spec.weights, "image_size": list(spec.image_size),
                    "cut": name, "pooling": cut.pooling, "head": head,
                    "head_options": {"scaling": cut.scaling} if cut.scaling != "features" else {}},
            places=places, right=cut.right, losses=cut.losses,
        )  # fmt: skip


def _across(candidates: tuple[Candidate, ...], features: Features) -> tuple[Candidate, ...]:
    """Keep the cuts that several of the networks side by side have a part in: of one alone there is a contender."""
    member = dict(zip(features.outputs, features.trunk.members, strict=True))
    return tuple(each for each in candidates if len({member[output] for output in each.outputs}) > 1)


def _worth(pair: tuple[Screened, Candidate]) -> tuple[float, float]:
    return -pair[1].loss, pair[1].accuracy


def _figures(made: Fitted) -> tuple[float, float]:
    return made.row.loss, -made.row.accuracy


def _rank(pair: tuple[Screened, Candidate]) -> tuple[float, float]:
    return pair[1].loss, -pair[1].accuracy


def _level(pair: tuple[Screened, Candidate], top: tuple[Screened, Candidate]) -> bool:
    """Whether a cut is within two standard errors of the best in loss, on the pictures of both."""
    _, mine, theirs = np.intersect1d(pair[0].places, top[0].places, return_indices=True)
    lost = pair[1].losses[mine] - top[1].losses[theirs]
    return len(lost) > 0 and bool(lost.mean() <= 2 * lost.std() / np.sqrt(len(lost)))


# ---- heads out of fold ---------------------------------------------------------------------------------------------


def _out_of_fold(name: str, data: HeadData, scaling: str) -> tuple[np.ndarray, int]:
    """Probabilities of pictures that a fit did not see, and how many numbers the head has."""
    if name == "dense":
        return _dense(data.features, data.labels, data.folds, data.classes)
    module = heads.find(name)
    options = {} if scaling == "features" else {"scaling": scaling}
    size = (data.features.shape[1] + 1) * data.classes
    return module.validate(data, options).out_of_fold, size


def _dense(X: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int) -> tuple[np.ndarray, int]:
    """Each fold under a head that has not seen it: of its training pictures one more fold is held out to stop by."""
    answers = np.empty((len(labels), classes), np.float32)

    def judge(fold: int) -> int:
        out = folds == fold
        data = HeadData(X[~out], labels[~out], classes, folds[~out])
        head = heads.find("dense").fit(data, options={}, progress=None)
        answers[out] = head.predict(X[out])
        return int(head.parameters)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return answers, max(pool.map(judge, np.unique(folds).tolist()))
