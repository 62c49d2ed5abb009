"""Which layers and which head: every candidate is scored on the user's own training pictures, from one cached pass.

All sets of layers (`layer_sets`) are screened on a sample by a ridge classifier in closed form; the best of them are
then cross-validated with the heads themselves on more pictures. Chosen is the candidate of least calibrated
cross-entropy out of fold: it speaks of every picture, where accuracy speaks of the few that change sides, so it tells
far better which candidate will be right more often on new pictures. Candidates that are level go to the one that costs
least at prediction, by measurement. That the best of many is flattered is no reason to take another one; how far it is
flattered is estimated (`selection_bias`) and said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart import heads, multi_layer
from headstart.features import Features
from headstart.few import few, merged, scorable
from headstart.heads import HeadData, Validated, auto, blend, ridge
from headstart.heads._scaling import standardised
from headstart.intervals import wilson
from headstart.layer_sets import LayerSet, all_layers, lower_layers, single_layers
from headstart.probes import neighbours_out_of_fold
from headstart.selection_bias import Estimate, estimate
from headstart.trunk import Output

SCREEN, SAMPLE = 800, 2_000
"""Pictures that all candidates are screened on, and that the finalists are cross-validated on, at most."""
FINALISTS, SEARCHED = 6, 3
"""Sets of layers that are scored a second time, where so many cannot be told from the best, and how many of these have
their strength searched for once more; the best of them, and the best single layer, get every head."""
MANY, WIDEST = 6_000, 3_500
"""Pictures beyond which only sets of so many numbers are compared: the system to be solved is as large as these."""
LEVEL = {"accurate": 0.0, "auto": 0.25, "small": 1.0}
"""Standard errors of the paired difference in loss within which a candidate is level with the best."""
CHEAPER = 0.9
"""Share of the cost that a level candidate may have to be called cheaper: a clock is no more exact."""
_STRENGTHS = (0.3, 0.03, 0.003)  # of the screening: a third of the search
_SOLVER_NOISE = 2e-4  # nats: fits that are the same in all but rounding differ by so little


@dataclass(frozen=True)
class Candidate:
    """A set of layers with a head, and what it was worth.

    Attributes:
        outputs: the trunk outputs whose features stand side by side.
        accuracy, low, high: out-of-fold, with its 95 % Wilson interval.
        right: for each picture whether it was right; what paired comparisons are made of.
        losses: for each picture its out-of-fold cross-entropy in nats, its head calibrated.
        finalist: whether it was cross-validated on the larger sample, with the whole search of its head.
        neighbours: the share that a vote of nearest neighbours names right, of the same pictures; nan where it was not
            counted.
        head: which kind of head it was scored with.
        scaling: how its features are scaled (`heads._scaling`).
        strength: the penalty that was best for it.
        members: names of what it averages; empty for what is no average.
        validated: the cross-validation of its head, for finalists.
    """

    outputs: tuple[Output, ...]
    accuracy: float
    low: float
    high: float
    right: np.ndarray
    losses: np.ndarray
    finalist: bool = False
    neighbours: float = float("nan")
    head: str = ridge.NAME
    scaling: str = "features"
    strength: float = float("nan")
    members: tuple[str, ...] = ()
    validated: Validated | None = field(default=None, repr=False, compare=False)

    @property
    def loss(self) -> float:
        return float(self.losses.mean()) if len(self.losses) else float("nan")

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(output.layer for output in self.outputs))

    @property
    def layer(self) -> str:
        """Its name; several with `+` between them."""
        return "+".join(self.layers)

    @property
    def pooling(self) -> str:
        """Of each layer: all are pooled alike."""
        return "+".join(output.pooling for output in self.outputs if output.layer == self.outputs[0].layer)

    @property
    def dimensions(self) -> int:
        return sum(output.dimensions for output in self.outputs)

    @property
    def averaged(self) -> bool:
        return len(self.members) > 0

    @property
    def set(self) -> LayerSet:
        return LayerSet(self.outputs, self.scaling)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and everything it was chosen from, best first.

    Attributes:
        chosen: the candidate to use.
        candidates: all of them, best first.
        pictures: how many pictures they were scored on.
        why: one sentence.
        estimate: the accuracy that a choice among so many can be expected to have on new pictures; None where nothing
            was compared.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    pictures: int
    why: str
    estimate: Estimate | None = None

    @property
    def validated(self) -> Validated | None:
        """The cross-validation of the chosen head, where one was chosen with the layers."""
        return self.chosen.validated


Cost = Callable[[tuple[Output, ...]], float]
"""Milliseconds a picture that outputs cost at prediction."""


def choose_cut(
    features: Features, rows: np.ndarray, labels: np.ndarray, *, folds: np.ndarray, pooling: str | None = None,
    joined: bool = False, seed: int = 0, head: str = "auto", prefer: str = "auto", cost: Cost | None = None,
    groups: np.ndarray | None = None, progress: Callable[[int, int], None] | None = None,
) -> Choice:  # fmt: skip
    """Score sets of layers under the heads and choose one.

    Args:
        features: from a trunk with one or more outputs.
        rows: the training rows of the features' data set.
        labels: their classes, 0 .. C − 1.
        folds: their cross-validation folds.
        pooling: keep to `avg`, `max`, `avg+max` or `flatten`; None tries avg, max and both.
        joined: all layers of the features are one candidate, side by side.
        seed: draws the sample where there are more than `SAMPLE` rows.
        head: `auto`, or the head that the layers are chosen for.
        prefer: which of the candidates that are level is taken, of `LEVEL`.
        cost: measures what outputs cost at prediction; by default the deeper layer costs more.
        groups: equal numbers for pictures that belong together.
    """
    sets = joined_sets(features.outputs, pooling) if joined else single_layers(features.outputs, pooling)
    widest = WIDEST if len(rows) > MANY else None
    if widest is not None:
        sets = [one for one in sets if one.dimensions <= widest] or sets[:1]
    if len(sets) == 1:
        return without_comparison(sets[0].outputs, "it was the only one asked for")
    if not scorable(labels, folds).any():
        deepest = [each for each in sets if each.outputs[0].layer == features.outputs[-1].layer] or sets
        alone = "one picture" if len(np.unique(labels)) == len(labels) else "one group of pictures"
        return without_comparison(
            deepest[0].outputs, f"{alone} a class leaves none to compare cuts on, and it is the deepest"
        )
    screen_on, sample = samples(len(rows), seed)
    with one_core_each() as run:
        part = (rows[screen_on], labels[screen_on], merged(folds)[screen_on])
        screened = screen(
            features, *part, sets=sets, run=run, tell=progress, pooling=pooling, several=not joined,
            widest=widest,
        )  # fmt: skip
        whole = (rows[sample], labels[sample], folds[sample])
        finalists = _fitted(features, nearest(screened), *whole, head=head, run=run)
    known_rows = scorable(labels[screen_on], merged(folds)[screen_on])
    flattery = estimate(
        np.stack([each.losses for each in screened], axis=1), np.stack([each.right for each in screened], axis=1),
        None if groups is None else groups[screen_on][known_rows], seed=seed,
    )  # fmt: skip
    chosen, why = pick(
        finalists, prefer=prefer, cost=cost or by_depth(features.outputs), flattery=np.nan_to_num(flattery.loss_bias)
    )
    finalists = [each if each is chosen else replace(each, validated=None) for each in finalists]
    known = {each.set for each in finalists}
    candidates = (*by_loss(finalists), *by_loss(each for each in screened if each.set not in known))
    found = flattery.of(chosen.right)
    return Choice(chosen, candidates, len(chosen.right), why, found)


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows that all candidates are screened on, and those that the finalists are cross-validated on."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[:SCREEN]), np.sort(order[:SAMPLE])


def screen(
    features: Features, rows: np.ndarray, labels: np.ndarray, folds: np.ndarray, *,
    sets: Sequence[LayerSet], run: Map, tell: Callable[[int, int], None] | None = None, pooling: str | None = None,
    neighbours: bool = False, several: bool = True, widest: int | None = None,
) -> list[Candidate]:  # fmt: skip
    """Score sets of layers by ridge regression: those that are given, then several layers side by side.

    Single poolings of every layer come first; two side by side are tried only where one of them is among the nearest.
    Of all layers side by side the best pooling and scaling is tried with its lower layers too, and with a selection
    (`multi_layer`).

    Args:
        sets: single layers, or whatever else is to be compared.
        pooling: what all layers side by side keep to.
        neighbours: count the vote of nearest neighbours too.
        several: try several layers side by side.
        widest: numbers of a picture that these have, at most.
    """
    block, columns = features.matrix(rows), columns_of(features.outputs)
    folds = merged(folds)
    known = scorable(labels, folds)
    scored: list[Candidate] = []
    whole = all_layers(features.outputs, pooling) if several else []
    whole = [one for one in whole if widest is None or one.dimensions <= widest]
    total = len(sets) + len(whole)

    def score(one: LayerSet) -> Candidate:
        X = _standardised(block, columns, one)
        found = ridge.search(X, labels, folds, scaling=one.scaling, rows=np.arange(len(labels)), strengths=_STRENGTHS)
        vote = neighbours_out_of_fold(X[known], labels[known], folds[known]) if neighbours else float("nan")
        empty = replace(_nothing_known(one, vote), strength=float(found.settings["strength"]))
        return judged(empty, found.out_of_fold, labels, known)

    def score_all(some: Sequence[LayerSet]) -> None:
        for candidate in run(score, some):
            scored.append(candidate)
            if tell is not None:
                tell(min(len(scored), total), total)

    score_all([one for one in sets if len(one.outputs) == 1])
    near = {candidate.layer for candidate in nearest(scored)[:FINALISTS]} if scored else set()
    pairs = [one for one in sets if len(one.outputs) > 1]
    score_all([one for one in pairs if not near or len(one.layers) > 1 or one.layers[0] in near])
    if whole:
        score_all(whole)
        best = min(scored[-len(whole) :], key=_rank)
        more = lower_layers(best.set)
        selected = _selected(block, columns, best, scored, labels=labels, folds=folds, known=known, run=run)
        score_all([one for one in (*more, *selected) if one not in {each.set for each in scored}])
    if tell is not None:
        tell(total, total)
    return scored


def _selected(
    block: np.ndarray, columns: dict[Output, slice], best: Candidate, scored: Sequence[Candidate], *,
    labels: np.ndarray, folds: np.ndarray, known: np.ndarray, run: Map,
) -> list[LayerSet]:  # fmt: skip
    """The layers that are worth most together, beginning with the best single one of the same pooling."""
    single = [each for each in scored if len(each.layers) == 1 and each.pooling == best.pooling]
    if not single or best.pooling == "flatten" or not known.all():
        return []
    parts = {each.outputs: _standardised(block, columns, each.set) for each in single}
    chosen = multi_layer.select(parts, labels, folds, first=min(single, key=_rank).outputs, run=run)
    return [] if chosen is None else [LayerSet(chosen)]


def _standardised(block: np.ndarray, columns: dict[Output, slice], one: LayerSet) -> np.ndarray:
    part = np.concatenate([block[:, columns[output]] for output in one.outputs], axis=1)
    return standardised(part, [output.dimensions for output in one.outputs], one.scaling)


def standardised_rows(features: Features, rows: np.ndarray, one: LayerSet) -> np.ndarray:
    """Give the features of rows on a set of layers, scaled, float32 of shape (n_rows, n_features)."""
    X = features.matrix(rows, one.outputs)
    return standardised(X, [output.dimensions for output in one.outputs], one.scaling)


def probe_losses(X: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Score features as `screen` does, by ridge regression; the loss of each row that can be scored.

    Args:
        X: standardised, float32 of shape (n_rows, n_features).
    """
    folds = merged(folds)
    found = ridge.search(X, labels, folds, scaling="features", rows=np.arange(len(labels)), strengths=_STRENGTHS)
    return judged(unscored(()), found.out_of_fold, labels, scorable(labels, folds)).losses


def _fitted(
    features: Features, first: Sequence[Candidate], rows: np.ndarray, labels: np.ndarray, folds: np.ndarray, *,
    head: str, run: Map,
) -> list[Candidate]:  # fmt: skip
    """Cross-validate the heads on the sets of layers that were screened best.

    Args:
        head: `auto`, or the one head that is asked for; one that is trained by epochs is stood in for by `linear`.
    """
    single = [each for each in first if len(each.layers) == 1][:1]
    several = [each for each in first if len(each.layers) > 1]
    best = by_loss([*several[: FINALISTS - len(single)], *single]) if several else list(first[:FINALISTS])
    classes, known = int(labels.max()) + 1, scorable(labels, merged(folds))

    def data(candidate: Candidate) -> HeadData:
        parts = tuple(output.dimensions for output in candidate.outputs)
        return HeadData(features.matrix(rows, candidate.outputs), labels, classes, folds, parts=parts)

    def validated(candidate: Candidate, found: Validated) -> Candidate:
        made = judged(replace(candidate, head=found.head), found.out_of_fold, labels[found.rows], known[found.rows])
        return replace(made, finalist=True, validated=found)

    if head != "auto":
        module = heads.find(head if hasattr(heads.find(head), "validate") else "linear")
        return list(run(lambda each: validated(each, module.validate(data(each), {"scaling": each.scaling})), best))

    def at_once(each: Candidate) -> tuple[Candidate, Validated]:
        found = ridge.validate(data(each), {"scaling": each.scaling, "strength": each.strength})
        return validated(each, found), found

    def searched(pair: tuple[Candidate, Validated]) -> tuple[Candidate, Validated]:
        found = ridge.validate(data(pair[0]), {"scaling": pair[0].scaling}, near=pair[0].strength)
        return validated(replace(pair[0], strength=float(found.settings["strength"])), found), found

    closed = sorted(run(at_once, best), key=lambda pair: _rank(pair[0]))
    closed = [*run(searched, closed[:SEARCHED]), *closed[SEARCHED:]]
    closed.sort(key=lambda pair: _rank(pair[0]))
    narrow = next((pair for pair in closed[1:] if len(pair[0].layers) == 1), None)
    most = [closed[0], *([narrow] if narrow is not None and len(closed[0][0].layers) > 1 else [])]
    most = closed if few(labels) else most  # where pictures are few, all of it takes no time
    competed = run(lambda pair: (pair[0], auto.compete(data(pair[0]), scaling=pair[0].scaling, closed=pair[1])), most)
    others = [
        (validated(each, found), found) for each, tried in competed for found in tried if found.head != ridge.NAME
    ]
    everyone = [*closed, *others]
    if len(everyone) == 1:
        return [closed[0][0]]
    average = _averaged(everyone, labels, known, every=features.outputs)
    return [each for each, _ in everyone] + ([] if average is None else [average])


def _averaged(
    scored: Sequence[tuple[Candidate, Validated]], labels: np.ndarray, known: np.ndarray, *, every: Sequence[Output],
) -> Candidate | None:  # fmt: skip
    """Average what was cross-validated (`heads.blend`), as a candidate on the outputs of all its members.

    None where one of them alone has any say.

    Args:
        every: all outputs there are. The candidate's are in their order, each layer pooled as any of them is, so that
            a recipe of its layers and poolings gives the same ones.
    """
    placed = [replace(found, parts=tuple(every.index(o) for o in each.outputs)) for each, found in scored]
    first = blend.average(placed, labels, known)
    if len(first.members) == 1:
        return None
    used = {every[part] for member in first.members for part in member.parts}
    layers, poolings = {output.layer for output in used}, {output.pooling for output in used}
    union = tuple(output for output in every if output.layer in layers and output.pooling in poolings)
    members = tuple(
        replace(member, parts=tuple(union.index(every[part]) for part in member.parts)) for member in first.members
    )
    told = [
        {**each, "parts": list(member.parts)}
        for each, member in zip(first.settings["members"], members, strict=True)
    ]  # fmt: skip
    found = replace(first, members=members, settings={"members": told})
    made = judged(
        replace(_nothing_known(LayerSet(union)), head=blend.NAME), found.out_of_fold, labels[found.rows],
        known[found.rows],
    )  # fmt: skip
    names = tuple(f"{each['head']} on {len(each['parts'])} outputs scaled by {each['scaling']}" for each in told)
    return replace(made, finalist=True, validated=found, members=names)


def pick(
    finalists: Sequence[Candidate], *, prefer: str, cost: Cost, flattery: float = 0.0
) -> tuple[Candidate, str]:  # fmt: skip
    """Choose the average of the finalists, or a level one that is cheaper at prediction, and say why in a sentence.

    Where nothing was averaged the best is the one of least loss. A member that seems better than the average out of
    fold is so by luck more often than not, since it was picked.

    Args:
        flattery: what having been picked takes off a candidate's loss (`selection_bias`).
    """
    averaged = [each for each in finalists if each.averaged]
    best = averaged[0] if averaged else min(finalists, key=_rank)
    picked = flattery if averaged else 0.0
    level = [each for each in finalists if each is best or within(-best.losses, -each.losses - picked, LEVEL[prefer])]
    word = f"it had the least loss out of fold of {len(finalists)} finalists"
    if averaged:
        word = f"it averages {len(best.members)} of {len(finalists) - 1} finalists, each by its loss out of fold"
    if len({_ends(each) for each in level}) < 2:  # what costs the same is not worth measuring
        return best, word
    costs = {each.outputs: cost(each.outputs) for each in level}
    cheap = [each for each in level if costs[each.outputs] <= CHEAPER * costs[best.outputs]]
    if not cheap:
        return best, word
    chosen = min(cheap, key=lambda each: (costs[each.outputs], each.loss))
    share = costs[chosen.outputs] / costs[best.outputs]
    what = "the average of all finalists" if averaged else "the least loss"
    return chosen, f"it is level with {what} out of fold and costs {share:.0%} of that at prediction"


def _ends(candidate: Candidate) -> frozenset[str]:
    """The deepest layer of each network that it needs; those side by side have layers of different beginnings."""
    return frozenset({layer.rpartition("-")[0]: layer for layer in candidate.layers}.values())


def by_depth(outputs: Sequence[Output]) -> Cost:
    """Stand in for a measurement: the place of the deepest layer."""
    layers = list(dict.fromkeys(output.layer for output in outputs))
    return lambda some: float(1 + max(layers.index(output.layer) for output in some))


def judged(candidate: Candidate, out_of_fold: np.ndarray, labels: np.ndarray, known: np.ndarray) -> Candidate:
    """Give a candidate the figures of out-of-fold probabilities, over the pictures that can be scored."""
    chances = out_of_fold[np.arange(len(labels)), labels][known]
    right = (out_of_fold.argmax(axis=1) == labels)[known]
    losses = -np.log(np.maximum(chances, 1e-7))
    low, high = wilson(int(right.sum()), len(right))
    value = float(right.mean()) if len(right) else float("nan")
    return replace(candidate, accuracy=value, low=low, high=high, right=right, losses=losses)


def _nothing_known(one: LayerSet, neighbours: float = float("nan")) -> Candidate:
    return Candidate(
        one.outputs, float("nan"), 0.0, 1.0, np.zeros(0, bool), np.zeros(0), neighbours=neighbours, scaling=one.scaling
    )


def unscored(outputs: tuple[Output, ...]) -> Candidate:
    """Make a candidate of which nothing is known."""
    return _nothing_known(LayerSet(outputs))


def without_comparison(outputs: tuple[Output, ...], why: str) -> Choice:
    """Choose without comparing."""
    only = unscored(outputs)
    return Choice(only, (only,), 0, why)


Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@contextmanager
def one_core_each() -> Iterator[Map]:
    """Map over the cores, one thread of linear algebra each: small problems lose more than they gain by sharing."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield pool.map


def nearest(scored: Sequence[Candidate]) -> list[Candidate]:
    """Those whose loss is within two standard errors of the least, the nearest first."""
    top = min(scored, key=_rank)
    return sorted((each for each in scored if within(-top.losses, -each.losses, 2)), key=_rank)


def by_loss(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by loss, the least first."""
    return sorted(candidates, key=_rank)


def _rank(candidate: Candidate) -> tuple[float, float]:
    return candidate.loss, -candidate.accuracy


def joined_sets(outputs: Sequence[Output], pooling: str | None) -> list[LayerSet]:
    """All layers side by side, under each pooling, or the one that is asked for."""
    found = all_layers(outputs, pooling) or [LayerSet(tuple(outputs))]
    return found if pooling is None else found[:1]


def columns_of(outputs: Sequence[Output]) -> dict[Output, slice]:
    """Where each output's numbers stand in a matrix of all of them."""
    columns, start = {}, 0
    for output in outputs:
        columns[output] = slice(start, start + output.dimensions)
        start += output.dimensions
    return columns


def within(best: np.ndarray, other: np.ndarray, errors: float) -> bool:
    """Whether `other` lies behind `best` by no more than so many standard errors of the paired difference."""
    difference = best.astype(np.float64) - other.astype(np.float64)
    return bool(difference.mean() <= errors * difference.std() / np.sqrt(len(difference)) + _SOLVER_NOISE)
