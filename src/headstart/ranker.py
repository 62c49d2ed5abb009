"""Sources, cuts, poolings and heads, ranked on training pictures in about the time of one pass a source.

Every source gives all its block ends in one pass, so its cuts cost a closed-form probe each. Sources race over growing
parts of the pictures (`racing`); the cuts that are within noise of the best are fitted with the linear head, the best
of these with the other heads. Pictures that a final figure will be of take no part: splits that are given are kept to,
and where none is, the same pictures are held back that `train` holds back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart import additions, alike, choose, few, heads, racing, ranking, trunk
from headstart.contenders import Contender, contenders
from headstart.contestants import Pool, Screened
from headstart.dataset import Dataset
from headstart.errors import InputError, PhotosError, RecipeError, SourceError
from headstart.heads import auto
from headstart.prior import Prior, prior
from headstart.progress import Progress, silent
from headstart.ranking import Ranking
from headstart.recipe import AUTO, Recipe
from headstart.splits import spread_out
from headstart.splitting import keys, split, together
from headstart.store import Store
from headstart.tasks import only
from headstart.worker import building_backend, lazy


@dataclass(frozen=True)
class Ranked:
    """A ranking, for whoever goes on from it.

    Attributes:
        ranking: what was found.
        dataset: the pictures, hashed and looked over, not divided yet.
    """

    ranking: Ranking
    dataset: Dataset


def rank(
    photos: Dataset, wanted: Sequence[Contender], *, names: Sequence[str] = ranking.HEADS, pooling: str | None = None,
    holdout: float = 0.2, folds: int = 5, seed: int = 0, budget: float | None = None, prefer: str = AUTO,
    larger: bool = False, joined: bool = False, progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Ranked:  # fmt: skip
    """Rank contenders on the training pictures of a data set.

    Args:
        photos: with splits or without; what `train` would hold back takes no part.
        wanted: sources with weights and sizes, from `contenders`.
        names: which heads to fit on the best cuts.
        pooling: keep to this one; None tries avg, max and both.
        holdout, folds, seed: as in a recipe.
        prefer: which of the rows that are level by loss is recommended, as in a recipe.
        budget: seconds after which an answer is wanted; None for as long as it takes.
        larger: try the best source on larger pictures too, where the pictures have the pixels (`additions`).
        joined: try the best sources side by side too.
        progress: called with (stage, done, total).
        clock: seconds; what the budget is counted on.

    Raises:
        PhotosError: no training picture can be read.
        SourceError: none of the sources can be built; DownloadError: nor fetched.
        RecipeError: there is no head of such a name that a ranking can fit.
    """
    check_heads(names)
    only(photos.task, "Sources are ranked")
    start = clock()
    deadline = None if budget is None else start + budget
    with lazy(building_backend()) as worker, Store() as store:
        pending = {each.name: trunk.prepare(each.spec, worker) for each in wanted}
        tied, looks = alike.look_over(photos, store, progress=progress)
        dataset = split(tied, holdout=holdout, seed=seed)
        rows = np.array([row for row in dataset.split_indices("train").tolist() if row not in looks.bad], int)
        if not len(rows):
            raise PhotosError("no training picture can be read, so nothing can be ranked")
        labels, groups, key = dataset.labels[rows], together(dataset)[rows], keys(dataset)
        fold = few.folds(labels, groups, count=folds, seed=seed, keys=[key[row] for row in rows])
        order = spread_out(labels, seed)[: choose.SAMPLE]
        pool = Pool(dataset.take(rows), order, fold, {each.name: each for each in wanted}, pending=pending, store=store,
                    pooling=pooling, deadline=deadline, clock=clock, progress=progress)  # fmt: skip
        sizes = racing.rounds(len(order), len(wanted) if budget is None else max(2, len(wanted)))
        went = racing.race([each.name for each in wanted], pool.score, sizes=sizes, deadline=deadline, clock=clock)
        if not went.scores:
            raise _unbuilt(pool)
        ahead = [went.scores[name] for name in went.finished]
        more = additions.beside(
            pool, worker, ahead, went.pictures, prefer=prefer, joined=joined,
            sizes=(looks.width[rows], looks.height[rows]) if larger else None,
        )  # fmt: skip
        fitted, skipped = pool.fit(pool.finalists([*ahead, *more.scores]), names)
        scores = (*went.scores.values(), *more.scores, *more.partly)
        made = ranking.ranked([*(each.row for each in fitted), *pool.rest(scores, fitted)], prefer)
        first = _prior(ahead[0], pool, len(rows))
    found = Ranking(
        made, len(rows), dataset.classes, first, (*_dropped(went), *more.dropped),
        (*_failed(pool), *_late(went, len(order)), *more.not_tried, *skipped),
        _notes(pool, len(rows), looks.bad), clock() - start,
    )  # fmt: skip
    return Ranked(found, tied)


def check_heads(names: Sequence[str]) -> None:
    """Refuse heads that a ranking cannot fit.

    Raises:
        RecipeError: there is none of such a name, or no name at all.
    """
    if not names:
        raise RecipeError(f"no head was named; a ranking fits {', '.join(ranking.HEADS)}")
    for name in names:
        heads.find(name)  # a misspelt name gets its near matches
        if name not in ranking.HEADS:
            raise RecipeError(f"a ranking fits the heads {', '.join(ranking.HEADS)}; got {name!r}")


def _prior(best: Screened, pool: Pool, pictures: int) -> Prior:
    """What the rule of thumb says, by the deepest cut of the best source."""
    deepest = best.features.outputs[-1].layer
    output = next(output for output in best.features.outputs if output.layer == deepest)
    features = best.features.matrix(best.screen, (output,))
    return prior(features, pool.labels(best, best.screen), pictures=pictures, source=best.name)


def _dropped(went: racing.Race[Screened]) -> tuple[str, ...]:
    return tuple(
        f"{each.name} was given up after {each.pictures:,} pictures: {each.accuracy:.1%} against {each.best:.1%},"
        " further behind than noise"
        for each in went.dropped
    )


def _failed(pool: Pool) -> tuple[str, ...]:
    return tuple(f"{name} could not be built: {' '.join(str(error).split())}" for name, error in pool.failed.items())


def _unbuilt(pool: Pool) -> InputError:
    """The one reason, or that of each source."""
    if len(pool.failed) == 1:
        return next(iter(pool.failed.values()))
    return SourceError("none of the sources can be ranked:\n" + "\n".join(_failed(pool)))


def _late(went: racing.Race[Screened], most: int) -> tuple[str, ...]:
    return tuple(
        f"{name} was tried on {went.pictures[name]:,} of {most:,} pictures" if name in went.scores
        else f"{name} was not tried"
        for name in went.late
    )  # fmt: skip


def _notes(pool: Pool, pictures: int, bad: object) -> tuple[str, ...]:
    notes = ["The best of many rows is flattered by having been picked: headstart train measures the recommended one on"
             " pictures that took no part."]  # fmt: skip
    if len(pool.order) < pictures:
        notes.append(f"A sample of {len(pool.order):,} of the {pictures:,} training pictures was ranked on.")
    if few.few(pool.dataset.labels):
        notes.append("There are few pictures, so each is judged by fits that left it out (the linear head's leave out a"
                     " tenth where there are more than twenty), and intervals are wide.")  # fmt: skip
    if bad:
        notes.append("Pictures that cannot be read were left out; headstart check names them.")
    if any(score.whole_cost for score in pool.scored.values()):
        notes.append("This engine cannot time its layers, so each cut is given the cost of the whole network.")
    return tuple(notes)


def before_training(photos: Dataset, recipe: Recipe, progress: Progress = silent) -> tuple[Ranked, Recipe]:
    """Rank the sources that are here, and decide the recipe's source, weights and picture size by that.

    Layers and head are left to the training, which chooses them among all of the source's features, as it does for a
    source that was named.

    Raises:
        RecipeError: the recipe decides something that belongs to one source, or has an option that its head has not.
    """
    only(photos.task, "Sources are ranked")
    own = {"cut": (recipe.cut, AUTO), "weights": (recipe.weights, "imagenet"),
           "preprocessing": (recipe.preprocessing, "source")}  # fmt: skip
    for name, (given, usual) in own.items():
        if given != usual:
            raise RecipeError(f"{name} {given} belongs to one source, and source auto tries several; name the source")
    if recipe.pooling == "flatten":
        raise RecipeError("flattened features are too wide to rank sources by; name the source, or use another pooling")
    heads.find(recipe.head).shape(len(photos.classes), recipe.head_options)  # refuses what could not be trained later
    pooling = None if recipe.pooling == AUTO else recipe.pooling
    names: tuple[str, ...] = ranking.CHOSEN if recipe.head == AUTO else (recipe.head,)
    if recipe.head == AUTO and recipe.head_options:
        names = (auto.of_options(recipe.head_options),)
    found = rank(
        photos, contenders(image_size=recipe.image_size, pooling=pooling, seed=recipe.seed), names=names,
        pooling=pooling, holdout=recipe.holdout, folds=recipe.folds, seed=recipe.seed, prefer=recipe.prefer,
        larger=recipe.image_size is None, joined=True, progress=progress,
    )  # fmt: skip
    decided = found.ranking.recommended.recipe
    return found, replace(
        recipe, source=decided["source"], weights=decided["weights"], image_size=tuple(decided["image_size"])
    )
