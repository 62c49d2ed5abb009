"""Which views of a picture a run looks through, and what a head is given of them.

With `views: N` every training picture is seen through N seeded views, whose features are kept; an epoch takes one of
them for each picture, and every N epochs each view has been taken once. What an epoch lacks is computed when it begins,
so the first one waits for one view of each picture alone, and training that stops early has not paid for the rest.
With `views: live` epoch e sees view e of every picture, forgotten after it. Both draw view number k of a picture alike;
with as many kept views as there are epochs each picture is seen through the same views as live, in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart import augment
from headstart.augment import View
from headstart.dataset import Dataset
from headstart.errors import RecipeError
from headstart.features import Features, Kept, Progress, extract
from headstart.heads import HeadData, Validated
from headstart.recipe import AUTO, LIVE, Recipe
from headstart.trunk import Output

DEFAULT_VIEWS = 4
"""In bench/RESULTS.md ("Views") 4 and 8 kept views cannot be told from live ones over three seeds, and 1 and 2 can; of
those that cannot be told apart the cheapest is taken."""
IN_ONE_PASS = 8
"""Live views up to which those of all epochs are computed together, since a picture is then decoded once for all."""
IN_MEMORY = 2**30
"""Bytes of features of all views that are held in memory; beyond, each epoch reads its own from the store."""


def augmented(recipe: Recipe) -> bool:
    """Whether anything is asked for that changes a picture."""
    return augment.find(recipe.augment).changes


def count(recipe: Recipe) -> int | str:
    """`live`, or how many views are drawn once and kept; `auto` where nothing is augmented."""
    return DEFAULT_VIEWS if augmented(recipe) and recipe.views == AUTO else recipe.views


def told(recipe: Recipe) -> str | dict[str, Any]:
    """The augmentation with its parameters, since a preset of a later version may have others."""
    return augment.find(recipe.augment).as_dict() if augmented(recipe) else "none"


def of_recipe(recipe: Recipe) -> tuple[View, ...]:
    """The views that are kept.

    Where they are live, those of all epochs if there are no more of them than `IN_ONE_PASS`, else that of the first.
    """
    if not augmented(recipe):
        return ()
    number = count(recipe)
    if isinstance(number, str):
        epochs = recipe.head_options.get("epochs", IN_ONE_PASS + 1)
        number = int(epochs) if epochs <= IN_ONE_PASS else 1
    return tuple(_view(recipe, index) for index in range(number))


def _view(recipe: Recipe, number: int) -> View:
    return View(augment.find(recipe.augment), recipe.seed, number)


def check(recipe: Recipe, by_epochs: bool) -> None:
    """Refuse live views for a head that has no epochs.

    Raises:
        RecipeError: it has none.
    """
    if augmented(recipe) and recipe.views == LIVE and not by_epochs:
        raise RecipeError(
            f"views: live draws a view for each epoch, and the {recipe.head} head has none.\n"
            "Give a number of views, such as --views 8, or another head, such as --head dense."
        )


def looks(
    recipe: Recipe, dataset: Dataset, *, by_epochs: bool, watched: bool
) -> Callable[[int], Sequence[View | None]]:
    """Through which views each row is seen in the first pass.

    Pictures that are measured on are seen as they are; those that are trained on through their views (of the first
    epoch alone where those of the others are computed when they are needed), and as they are too where something is
    chosen or held out on them.
    """
    kept = of_recipe(recipe)
    if not kept:
        return lambda _: (None,)
    training = dataset.splits == "train"
    as_they_are = () if alone(recipe, watched) else (None,)
    if not by_epochs or recipe.views == LIVE:
        return lambda row: (*as_they_are, *kept) if training[row] else (None,)
    first = turns(_names(dataset, np.arange(len(dataset))), len(kept), seed=recipe.seed, epoch=0)
    return lambda row: (*as_they_are, kept[first[row]]) if training[row] else (None,)


def _names(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The digests of some pictures as uint8, (rows, 32); zeros for those that could not even be read."""
    digests = dataset.digested().digests or ()
    return np.frombuffer(b"".join(digests[row].ljust(32, b"\0") for row in rows), np.uint8).reshape(-1, 32)


def alone(recipe: Recipe, watched: bool) -> bool:
    """Whether the training pictures are seen through views alone, since as they are they would decide nothing."""
    return augmented(recipe) and watched and AUTO not in (recipe.cut, recipe.pooling) and recipe.pooling != "avg+max"


def head_data(
    features: Features, outputs: Sequence[Output], rows: np.ndarray, *, folds: np.ndarray, recipe: Recipe,
    by_epochs: bool, watch: np.ndarray | None, activation: str = "softmax", validated: Validated | None = None,
    progress: Progress | None = None,
) -> HeadData:  # fmt: skip
    """What a head is fitted on: by epochs, each with its views; else all views side by side with the clean picture."""
    dataset, kept = features.dataset, of_recipe(recipe)
    classes, labels = len(dataset.classes), dataset.labels[rows]
    targets = dataset.target_matrix(rows) if dataset.targets is not None else None
    watched = None
    if watch is not None:
        truth = dataset.labels[watch] if targets is None else dataset.target_matrix(watch)
        watched = (features.matrix(watch, outputs), truth)
    if not by_epochs:
        block: Any = features.block(rows, outputs)
        if kept:
            block = np.concatenate([features.matrix(rows, outputs, view=view) for view in (None, *kept)])
        times = 1 + len(kept)
        return HeadData(
            block, np.tile(labels, times), classes, np.tile(folds, times), recipe.seed, clean=len(labels),
            targets=None if targets is None else np.tile(targets, (times, 1)), activation=activation,
            parts=tuple(output.dimensions for output in outputs), validated=validated if times == 1 else None,
        )  # fmt: skip
    seen = _by_epoch(features, rows, outputs, recipe, progress)
    clean = features.matrix(rows, outputs) if seen is None or not alone(recipe, watch is not None) else seen(0)
    return HeadData(clean, labels, classes, folds, recipe.seed, seen, watched, targets=targets, activation=activation)


def finished(data: HeadData) -> None:
    """Let go of what later epochs would have needed: the loaded engine, decoded pictures."""
    if isinstance(data.epoch_features, (_Drawn, _Live)):
        data.epoch_features.between.close()


def _by_epoch(
    features: Features, rows: np.ndarray, outputs: Sequence[Output], recipe: Recipe, progress: Progress | None
) -> Callable[[int], np.ndarray] | None:
    """What epoch e (from 0) is given, (rows, dimensions); None where every epoch sees the pictures as they are."""
    kept = of_recipe(recipe)
    if not kept:
        return None
    if recipe.views == LIVE:
        return _Live(features, rows, outputs, recipe, progress)
    return _Drawn(features, rows, outputs, kept, seed=recipe.seed, progress=progress)


class _Drawn:
    """Views that are kept: computed when an epoch first needs them, then from memory, or, where they are too many for
    it, from the store."""

    def __init__(
        self, features: Features, rows: np.ndarray, outputs: Sequence[Output], views: Sequence[View], *, seed: int,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._features, self._rows, self._outputs = features, rows, outputs
        self._views, self._seed, self._progress = views, seed, progress
        self._names = _names(features.dataset, rows)
        self._shape = (len(views), len(rows), sum(output.dimensions for output in outputs))
        self._held: np.ndarray | None = None
        self._computed, self._read = (np.zeros(self._shape[:2], bool) for _ in range(2))
        self._computed[self._turn(0), np.arange(len(rows))] = True  # by the first pass
        self.between = Kept()

    def __call__(self, epoch: int) -> np.ndarray:
        turn = self._turn(epoch)
        places = turn, np.arange(len(turn))
        self._compute(np.flatnonzero(~self._computed[places]), turn)
        new = ~self._read[places]
        self._read[places] = True
        result: np.ndarray | None = None
        for number in range(len(self._views)):
            some = np.flatnonzero(turn == number)
            values = self._values(number, some, new[some])
            if result is None:
                result = np.empty(self._shape[1:], values.dtype)
            result[some] = values
        if result is None:
            raise ValueError("an epoch was asked for where there are no views. Received: views=()")
        return result

    def _turn(self, epoch: int) -> np.ndarray:
        return turns(self._names, len(self._views), seed=self._seed, epoch=epoch)

    def _compute(self, lacking: np.ndarray, turn: np.ndarray) -> None:
        if not len(lacking):
            return
        looks = [(int(self._rows[one]), self._views[turn[one]]) for one in lacking]
        self._features.see(looks, kept=self.between, progress=self._progress)
        self._computed[turn[lacking], lacking] = True
        if self._computed.all():
            self.between.close()

    def _values(self, number: int, some: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Features of some pictures through one view; `new` are those that no epoch has read before."""
        if 2 * np.prod(self._shape, dtype=np.int64) > IN_MEMORY:
            return self._features.matrix(self._rows[some], self._outputs, view=self._views[number])
        read = self._features.matrix(self._rows[some[new]], self._outputs, view=self._views[number])
        if self._held is None:
            self._held = np.empty(self._shape, read.dtype)
        self._held[number, some[new]] = read
        values: np.ndarray = self._held[number, some]
        return values


def turns(names: np.ndarray, kept: int, *, seed: int, epoch: int) -> np.ndarray:
    """Which of the kept views each picture is seen through: each of them once in as many epochs as there are views.

    Args:
        names: uint8 (pictures, 32): digests, so that a picture's turns do not hang on what other pictures there are.
    """
    words = np.ascontiguousarray(names[:, :8]).view(np.uint64)
    round_and_view = np.arange(kept, dtype=np.uint64) + np.uint64(epoch // kept * kept)
    drawn = _mixed(_mixed(words + np.uint64(seed)) + round_and_view)
    result: np.ndarray = drawn.argsort(axis=1, kind="stable")[:, epoch % kept]
    return result


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): numbers that look as if drawn at random."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = words ^ (words >> np.uint64(31))
    return result


class _Live:
    """Epoch e sees view e. The first ones were computed before, also to see which pictures are sound."""

    def __init__(
        self, features: Features, rows: np.ndarray, outputs: Sequence[Output], recipe: Recipe,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._features, self._rows, self._outputs, self._recipe = features, rows, outputs, recipe
        self._kept, self.between, self._progress = of_recipe(recipe), Kept(), progress

    def __call__(self, epoch: int) -> np.ndarray:
        if epoch < len(self._kept):
            return self._features.matrix(self._rows, self._outputs, view=self._kept[epoch])
        view, dataset = _view(self._recipe, epoch), self._features.dataset.take(self._rows)
        seen = extract(
            dataset, self._features.trunk, None, views=lambda _: (view,), kept=self.between, progress=self._progress
        )
        self._features.tally.add(seen.hits, seen.misses, seen.seconds)
        return seen.matrix(np.arange(len(dataset)), self._outputs, view=view)
