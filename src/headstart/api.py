"""The Python door: each stage as one call that takes what a person has at hand, such as a path or a name.

`headstart.train`, `headstart.audit` and the others lead here; the stages themselves take artefacts of earlier ones.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import numpy as np

from headstart import heads, recipe_files, sources, trunk
from headstart.audit import audit as find_faults
from headstart.audit import unreadable
from headstart.classifier import Classifier
from headstart.dataset import Dataset
from headstart.errors import PhotosError
from headstart.evaluate import Evaluation
from headstart.features import Features, Progress, extract
from headstart.findings import Findings
from headstart.heads import Head, HeadData
from headstart.progress import Progress as Stages
from headstart.progress import silent
from headstart.recipe import AUTO, Recipe
from headstart.result import TrainResult
from headstart.sources import Source
from headstart.splits import folds
from headstart.splitting import keys, split, together
from headstart.store import Store
from headstart.summary import Summary, summarise
from headstart.train import train as run
from headstart.worker import building_backend, lazy

Photos = str | os.PathLike[str] | Dataset


class Decisions(TypedDict, total=False):
    """The fields of `Recipe`, for whoever gives some of them by name."""

    source: str
    weights: str
    image_size: tuple[int, int] | None
    preprocessing: str
    cut: str
    pooling: str
    head: str
    head_options: dict[str, Any]
    augment: str | dict[str, Any]
    views: int | str
    fine_tune: str
    holdout: float
    folds: int
    max_bad: float
    seed: int


def train(
    photos: Photos, recipe: Recipe | None = None, *, output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None, progress: Stages = silent, callbacks: Sequence[Any] = (),
    **decisions: Unpack[Decisions],
) -> TrainResult:  # fmt: skip
    """Train a classifier on pictures and measure it on pictures that no choice has seen.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        recipe: every decision; `Recipe()` where nothing is given.
        output: where to write the classifier, ending in `.keras`; nothing is written where it is None.
        report: where to write the page; nothing is written where it is None.
        progress: called with (stage, done, total) as work goes on.
        callbacks: Keras callbacks that watch the head's training, for heads trained by epochs: objects, or mappings
            such as `{"EarlyStopping": {"patience": 3}}`, which the recipe keeps.
        decisions: fields of the recipe to decide otherwise, such as `source="mobilenetv2"` or `seed=1`.

    Raises:
        PhotosError: the pictures cannot be used.
        SourceError: the source, its cut or its weights cannot.
        RecipeError: a decision that headstart does not know; the message has near matches.

    Example:
        >>> result = train("flowers/", source="mobilenetv2", seed=1)      # doctest: +SKIP
        >>> print(result.accuracy, result.verdict)                        # doctest: +SKIP
    """
    objects = [each for each in callbacks if not isinstance(each, Mapping)]
    named = tuple(each for each in callbacks if isinstance(each, Mapping))
    if named:
        recipe = replace(recipe or Recipe(), callbacks=(*(recipe or Recipe()).callbacks, *named))
    if decisions:
        recipe = Recipe.from_dict({**(recipe or Recipe()).as_dict(), **decisions})
    return run(photos, recipe, output=output, report=report, progress=progress, callbacks=objects)


def audit(photos: Photos, *, progress: Progress | None = None) -> Findings:
    """Look pictures over before training, as `headstart check` does. Every picture is decoded once; none is changed.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        progress: called with (pictures done, pictures in all).

    Raises:
        PhotosError: the pictures cannot be used at all.
    """
    dataset = _opened(photos).digested()
    bad = unreadable(dataset, progress=progress)
    divided = split(dataset)
    return Findings((*divided.findings, *find_faults(divided, unreadable=bad)))


def load_recipe(recipe: str | os.PathLike[str], **decisions: Unpack[Decisions]) -> Recipe:
    """A shipped recipe by name, or one from a YAML file or a saved model.

    Args:
        recipe: a name such as `mobilenetv2-average`, or a path.
        decisions: fields to decide otherwise, such as `weights="weights.h5"`; of `head_options` those that are given.

    Raises:
        RecipeError: there is none, or a field is unknown or out of range; the message has near matches.

    Example:
        >>> load_recipe("mobilenetv2-average", seed=1).image_size
        (160, 160)
    """
    found = recipe_files.find(recipe).recipe
    values: dict[str, Any] = {**found.as_dict(), **decisions}
    values["head_options"] = {**found.head_options, **decisions.get("head_options", {})}
    return Recipe.from_dict(values)


def source(name: str) -> Source:
    """The pretrained network called `name`, or a local `.keras` file as one.

    Raises:
        SourceError: there is none; the message has near matches.
    """
    return sources.find(name)


def summary(
    source: str = Recipe.source, *, image_size: tuple[int, int] | None = None,
    weights: str | os.PathLike[str] = Recipe.weights, cut: str | None = None,
) -> Summary:  # fmt: skip
    """What a pretrained network consists of, layer by layer, and what its trunk gives at the cut.

    The trunk is frozen, so no layer of it is trainable. Keras builds the network in a process of its own, which takes
    some seconds; no weights are fetched for that, since no shape depends on them.

    Args:
        source: name of the source, or the path of a `.keras` file.
        image_size: (height, width) in pixels; None for the source's own.
        weights: the path of a weight file, to see whether it fits; else it does not matter.
        cut: name of the layer to cut at; None for the deepest cut there is.

    Returns:
        A `Summary`: it prints as a table, iterates over the layers up to the cut, and `layer(name)` finds any.

    Raises:
        SourceError: the source, its cut or its weights are unknown or do not fit; the message has near matches.

    Example:
        >>> print(summary("mobilenet_0.25", image_size=(64, 64), cut="conv_pw_5_relu").cut)
        conv_pw_5_relu: 8 × 8 × 64 (ReLU, 0 parameters, frozen)
    """
    with lazy(building_backend()) as worker:
        return summarise(source, worker, image_size=image_size, weights=os.fspath(weights), cut=cut)


def features(
    photos: Photos, source: str = Recipe.source, *, cut: str = AUTO, pooling: str = "avg",
    image_size: tuple[int, int] | None = None, weights: str = Recipe.weights, progress: Progress | None = None,
) -> Features:  # fmt: skip
    """What a frozen network says of pictures, from the store where it is there, else computed and stored.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        source: name of the source, or the path of a `.keras` file.
        cut: name of the layer to cut it at; `auto` gives every block end, side by side.
        pooling: `avg`, `max`, `avg+max` or `flatten`.
        image_size: (height, width) in pixels; None for the source's own.
        weights: `imagenet`, `random` or the path of a weight file.
        progress: called with (pictures done, pictures in all).

    Returns:
        Features whose `matrix(rows)` gives float16 numbers; `bad` says which pictures could not be read.

    Example:
        >>> seen = features("flowers/", "mobilenetv2", cut="out_relu")    # doctest: +SKIP
        >>> seen.matrix(range(2)).shape                                   # doctest: +SKIP
        (2, 1280)
    """
    dataset = _opened(photos).digested()
    cuts = () if cut == AUTO else (cut,)
    wanted = trunk.spec(source, image_size=image_size, weights=weights, cuts=cuts, pooling=pooling)
    store = Store()
    try:
        with lazy(building_backend()) as worker:
            found = extract(dataset, trunk.prepare(wanted, worker), store, progress=progress)
    except BaseException:
        store.close()
        raise
    weakref.finalize(found, store.close)  # `matrix` reads from it for as long as there are features
    return found


def fit_head(features: Features, head: str = Recipe.head, *, folds: int = 5, seed: int = 0, **options: Any) -> Head:
    """Fit a head on the features of labelled pictures: those of `train` where there are splits, else all.

    Args:
        features: from `headstart.features`.
        head: `linear` or `dense`.
        folds: cross-validation folds.
        seed: decides folds and all that is random.
        options: what the head is told, such as `strength=0.01` or `units=256`.

    Raises:
        RecipeError: there is no such head or option.
        PhotosError: fewer than two classes are left.
    """
    dataset = features.dataset
    rows = np.flatnonzero(np.isin(dataset.splits, ("", "train")) & (dataset.labels >= 0))
    rows = np.array([row for row in rows.tolist() if row not in features.bad], int)
    labels = dataset.labels[rows]
    if len(np.unique(labels)) < 2:
        raise PhotosError("a head tells classes apart; readable pictures of at least two classes are needed")
    fold = _folds(dataset, rows, count=folds, seed=seed)
    data = HeadData(features.matrix(rows), labels, len(dataset.classes), fold, seed)
    fitted: Head = heads.find(head).fit(data, options=options, progress=None)
    return fitted


def evaluate(
    classifier: Classifier | str | os.PathLike[str], photos: Photos, *, split: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Measure a classifier on labelled pictures; classes are matched by name.

    Args:
        classifier: one, or the path of its file.
        photos: any form of PHOTOS, or a `Dataset`.
        split: which split; the final one where there are splits, else everything.
        progress: called with (pictures done, pictures in all).

    Raises:
        ModelFileError: the file is no classifier; PhotosError: no picture is of a class that it knows.
    """
    if not isinstance(classifier, Classifier):
        classifier = Classifier.load(classifier)
    return classifier.evaluate(photos, split=split, progress=progress)


def _opened(photos: Photos) -> Dataset:
    return photos if isinstance(photos, Dataset) else Dataset.open(photos)


def _folds(dataset: Dataset, rows: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    names = keys(dataset)
    return folds(
        dataset.labels[rows], together(dataset)[rows], count=count, seed=seed, keys=[names[row] for row in rows]
    )
