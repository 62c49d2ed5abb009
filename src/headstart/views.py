"""Which views of a picture a run looks through, and what a head is given of them.

With `views: N` every training picture is seen through N seeded views, whose features are kept; an epoch takes one of
them for each picture, and every N epochs each view has been taken once. With `views: live` epoch e sees view e of every
picture, computed when the epoch begins and forgotten after it. Both draw view number k of a picture alike, so `live`
is what `views: N` becomes where N is the number of epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart import augment
from headstart.augment import View
from headstart.dataset import Dataset
from headstart.errors import RecipeError
from headstart.features import Features, Kept, extract
from headstart.heads import HeadData
from headstart.recipe import AUTO, LIVE, Recipe
from headstart.trunk import Output

DEFAULT_VIEWS = 8
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
    """The views that are computed in one pass and kept.

    Where they are live, those of all epochs if there are no more of them than `DEFAULT_VIEWS`, since a picture is
    decoded once for all that are asked for together; else that of the first epoch.
    """
    if not augmented(recipe):
        return ()
    number = count(recipe)
    if isinstance(number, str):
        epochs = recipe.head_options.get("epochs", DEFAULT_VIEWS + 1)
        number = int(epochs) if epochs <= DEFAULT_VIEWS else 1
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


def looks(recipe: Recipe, dataset: Dataset, *, watched: bool) -> Callable[[int], Sequence[View | None]]:
    """Through which views each row is seen in the one pass.

    Pictures that are measured on are seen as they are; those that are trained on through the views, and as they are
    too where something is chosen or held out on them.
    """
    kept = of_recipe(recipe)
    if not kept:
        return lambda _: (None,)
    training = dataset.splits == "train"
    through = kept if alone(recipe, watched) else (None, *kept)
    return lambda row: through if training[row] else (None,)


def alone(recipe: Recipe, watched: bool) -> bool:
    """Whether the training pictures as they are decide nothing."""
    return watched and AUTO not in (recipe.cut, recipe.pooling) and recipe.pooling != "avg+max"


def head_data(
    features: Features, outputs: Sequence[Output], rows: np.ndarray, *, folds: np.ndarray, recipe: Recipe,
    by_epochs: bool, watch: np.ndarray | None,
) -> HeadData:  # fmt: skip
    """What a head is fitted on: by epochs, each with its views; else all views side by side with the clean picture."""
    dataset, kept = features.dataset, of_recipe(recipe)
    classes, labels = len(dataset.classes), dataset.labels[rows]
    watched = (features.matrix(watch, outputs), dataset.labels[watch]) if watch is not None else None
    if not by_epochs:
        block = np.concatenate([features.matrix(rows, outputs, view=view) for view in (None, *kept)])
        times = 1 + len(kept)
        return HeadData(block, np.tile(labels, times), classes, np.tile(folds, times), recipe.seed)
    seen = _by_epoch(features, rows, outputs, recipe)
    clean = features.matrix(rows, outputs) if seen is None or not alone(recipe, watch is not None) else seen(0)
    return HeadData(clean, labels, classes, folds, recipe.seed, seen, watched)


def _by_epoch(
    features: Features, rows: np.ndarray, outputs: Sequence[Output], recipe: Recipe
) -> Callable[[int], np.ndarray] | None:
    """What epoch e (from 0) is given, (rows, dimensions); None where every epoch sees the pictures as they are."""
    kept = of_recipe(recipe)
    if not kept:
        return None
    if recipe.views == LIVE:
        return _Live(features, rows, outputs, recipe)
    return _Drawn(features, rows, outputs, kept, recipe.seed)


class _Drawn:
    """Views that were computed before: from memory, or, where they are too many, from the store."""

    def __init__(
        self, features: Features, rows: np.ndarray, outputs: Sequence[Output], views: Sequence[View], seed: int
    ) -> None:
        self._features, self._rows, self._outputs = features, rows, outputs
        self._views, self._count, self._seed = views, len(rows), seed
        self._dimensions = sum(output.dimensions for output in outputs)
        everything = np.arange(len(rows))
        held = 2 * len(rows) * self._dimensions * len(views) <= IN_MEMORY
        self._held = [self._read(view, everything) for view in views] if held else None

    def _read(self, view: View, some: np.ndarray) -> np.ndarray:
        return self._features.matrix(self._rows[some], self._outputs, view=view)

    def __call__(self, epoch: int) -> np.ndarray:
        turn = turns(self._count, len(self._views), seed=self._seed, epoch=epoch)
        result: np.ndarray | None = None
        for number, view in enumerate(self._views):
            some = np.flatnonzero(turn == number)
            values = self._held[number][some] if self._held is not None else self._read(view, some)
            if result is None:
                result = np.empty((self._count, self._dimensions), values.dtype)
            result[some] = values
        if result is None:
            raise ValueError("an epoch was asked for where there are no views. Received: views=()")
        return result


def turns(pictures: int, kept: int, *, seed: int, epoch: int) -> np.ndarray:
    """Which of the kept views each picture is seen through: each of them once in as many epochs as there are views."""
    random = np.random.default_rng([seed, 3, epoch // kept])
    orders = random.permuted(np.tile(np.arange(kept), (pictures, 1)), axis=1)
    result: np.ndarray = orders[:, epoch % kept]
    return result


class _Live:
    """Epoch e sees view e. The first ones were computed before, also to see which pictures are sound."""

    def __init__(self, features: Features, rows: np.ndarray, outputs: Sequence[Output], recipe: Recipe) -> None:
        self._features, self._rows, self._outputs, self._recipe = features, rows, outputs, recipe
        self._kept, self._between = of_recipe(recipe), Kept()

    def __call__(self, epoch: int) -> np.ndarray:
        if epoch < len(self._kept):
            return self._features.matrix(self._rows, self._outputs, view=self._kept[epoch])
        view, dataset = _view(self._recipe, epoch), self._features.dataset.take(self._rows)
        seen = extract(dataset, self._features.trunk, None, views=lambda _: (view,), kept=self._between)
        return seen.matrix(np.arange(len(dataset)), self._outputs, view=view)
