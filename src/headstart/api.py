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

from headstart import comparison, heads, recipe_files, sources, trunk
from headstart.checkup import check
from headstart.classifier import Classifier
from headstart.comparison import Comparison
from headstart.contenders import contenders
from headstart.dataset import Dataset
from headstart.errors import InputError, PhotosError, RecipeError
from headstart.evaluate import Evaluation
from headstart.features import Features, Progress, extract
from headstart.files import why_not_writable
from headstart.findings import Findings
from headstart.heads import Head, HeadData
from headstart.learning_curve import LearningCurve
from headstart.learning_curve import measure as measure_curve
from headstart.progress import Progress as Stages
from headstart.progress import silent
from headstart.ranker import check_heads
from headstart.ranker import rank as find_best
from headstart.ranking import HEADS, Ranking
from headstart.recipe import AUTO, Recipe
from headstart.result import TrainResult
from headstart.scratch import SEEDS
from headstart.scratch import compare_scratch as run_scratch
from headstart.sources import Source
from headstart.splits import folds
from headstart.splitting import keys, together
from headstart.store import Store
from headstart.summary import Summary, summarise
from headstart.tasks import only
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
    prefer: str
    augment: str | dict[str, Any]
    views: int | str
    fine_tune: str
    fine_tune_options: dict[str, Any]
    holdout: float
    folds: int
    max_bad: float
    seed: int


def train(
    photos: Photos, recipe: Recipe | None = None, *, output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None, progress: Stages = silent, callbacks: Sequence[Any] = (),
    strict: bool = False, log: str | Sequence[str] = (), **decisions: Unpack[Decisions],
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
        strict: refuse pictures in which anything is found that `audit` would tell of; nothing is written then.
        log: loggers that the run is written down by: `"tensorboard"`, `"mlflow"`, or with a place,
            `"tensorboard=runs"`, `"mlflow=http://HOST:5000"`.
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
    return run(
        photos, recipe, output=output, report=report, progress=progress, callbacks=objects, strict=strict, log=log
    )


def finetune(
    model: Classifier | TrainResult | str | os.PathLike[str], photos: Photos, *, fine_tune: str = AUTO,
    options: Mapping[str, Any] | None = None, output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None, progress: Stages = silent, log: str | Sequence[str] = (),
    **decisions: Any,
) -> TrainResult:  # fmt: skip
    """Tune the network of a classifier on pictures; the tuned one is kept only where it is better by more than noise.

    The classifier says which network and head, and where it is cut, unless `fine_tune` is `auto`: then other cuts are
    looked at too. The head is fitted on the pictures first, and the network is tuned from there (LP-FT, Kumar et al.
    2022, arXiv 2202.10054).

    Args:
        model: a classifier, the path of one, a result of `train`, or the name of a recipe.
        photos: any form of PHOTOS, or a `Dataset`: usually what the classifier was trained on.
        fine_tune: `auto` (whether and how far down is measured), `full`, `blocks=N`, or the layer above which all is
            tuned.
        options: how it is tuned, over what suits the pictures: fields of `headstart.tuning_rules.Settings`, such as
            `epochs`, `batch_norm` or `budget` (seconds).
        output, report, progress, log: as `train` has them.
        decisions: fields of the recipe to decide otherwise.

    Returns:
        What `train` gives; `fine_tuned` says whether the tuned network was kept, and `tuning` why.

    Raises:
        RecipeError: an option or a layer is unknown; MissingExtraError: TensorFlow is not installed.

    Example:
        >>> tuned = finetune("flowers.keras", "flowers/", output="tuned.keras")    # doctest: +SKIP
        >>> print(tuned.tuning.words)                                              # doctest: +SKIP
    """
    if isinstance(model, TrainResult):
        recipe = model.recipe
    elif isinstance(model, Classifier):
        recipe = Recipe.from_dict(model.facts["recipe"])
    else:
        recipe = recipe_files.find(model).recipe
    free: dict[str, Any] = {}
    if fine_tune == AUTO and recipe.pooling != "flatten" and not heads.find(recipe.head).BY_EPOCHS:
        free = {"cut": AUTO, "pooling": AUTO}  # a network that is tuned may be better cut elsewhere
        if "members" in recipe.head_options:  # of a blend, which are told by the layers that they stand on
            free |= {"head": AUTO, "head_options": {}}
    base = {**recipe.as_dict(), **free, "fine_tune_options": {}, **decisions, "fine_tune": fine_tune}
    base["fine_tune_options"] = {**base["fine_tune_options"], **(options or {})}
    return run(photos, Recipe.from_dict(base), output=output, report=report, progress=progress, log=log)


def compare_scratch(
    result: TrainResult, *, epochs: int | None = None, seconds: float | None = None, seeds: int = SEEDS,
    progress: Stages = silent,
) -> TrainResult:  # fmt: skip
    """Train the same network from random weights too, on the same pictures, and measure what its reuse gained.

    Args:
        result: of `headstart.train`, in this process.
        epochs: of both sides; those that the classifier's head ran, or 10 where it has none.
        seconds: of training from scratch in all, in place of `epochs`.
        seeds: how many times each side is trained, 1 to 20.
        progress: called with (stage, done, total) as work goes on.

    Returns:
        The result with `head_start`: higher start, higher slope, higher asymptote, each with its interval, and the
        sentence. `write_report` draws it.

    Raises:
        InputError: a number is out of range, or the disk has no room for the decoded pictures.
        MissingExtraError: TensorFlow is not installed.

    Example:
        >>> result = compare_scratch(train("flowers/"), epochs=5)         # doctest: +SKIP
        >>> print(result.head_start.sentence)                             # doctest: +SKIP
    """
    return run_scratch(result, epochs=epochs, seconds=seconds, seeds=seeds, progress=progress)


def learning_curve_of(result: TrainResult) -> LearningCurve | None:
    """Accuracy with a tenth, a quarter and half of the training pictures, and what twice as many would bring.

    Training with a report measures it where that takes some tenths of a second; this does whatever it takes. No picture
    is run through the network, and the pictures of the final figure are left alone.

    Returns:
        None where there are too few pictures for two sizes.

    Example:
        >>> print(learning_curve_of(train("flowers/")).words)             # doctest: +SKIP
    """
    only(result.task, "A learning curve is drawn")
    if (base := result.frozen) is None:
        raise ValueError("a curve is measured where the result was trained. Received: frozen=None")
    return measure_curve(
        base.features, result.rows["train"], base.outputs, head=base.head,
        fold_count=result.recipe.folds, seed=result.recipe.seed, anyway=True,
    )  # fmt: skip


def audit(photos: Photos, *, source: str = AUTO, progress: Stages = silent) -> Findings:
    """Look pictures over before training, as `headstart check` does. No file is changed.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        source: the network whose features tell likely wrong labels; `auto` is the one that `train` takes by default,
            where it is here; `none` looks at the files alone.
        progress: called with (stage, done, total) as work goes on.

    Returns:
        The findings; `counts` says how many there are of each kind.

    Raises:
        PhotosError: the pictures cannot be used at all.
        SourceError: there is no such source; the message has near matches.
    """
    return check(photos, source=source, progress=progress).findings


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

    `NAME@SIZE` is a network at another picture size, `NAME+NAME` are several side by side as one source.

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
        cut: name of the layer to cut at, several with `+` between them; None for the deepest cut there is, of each
            network where several stand side by side.

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
        head: name of a head; `auto` takes the best out of fold.
        folds: cross-validation folds.
        seed: decides folds and all that is random.
        options: what the head is told, such as `strength=0.01` or `units=256`.

    Raises:
        RecipeError: there is no such head or option.
        PhotosError: fewer than two classes are left.
    """
    dataset = features.dataset
    only(dataset.task, "A head is fitted by itself")
    rows = np.flatnonzero(np.isin(dataset.splits, ("", "train")) & (dataset.labels >= 0))
    rows = np.array([row for row in rows.tolist() if row not in features.bad], int)
    labels = dataset.labels[rows]
    if len(np.unique(labels)) < 2:
        raise PhotosError("a head tells classes apart; readable pictures of at least two classes are needed")
    fold = _folds(dataset, rows, count=folds, seed=seed)
    parts = tuple(output.dimensions for output in features.outputs)
    data = HeadData(features.matrix(rows), labels, len(dataset.classes), fold, seed, parts=parts)
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
    found: Evaluation = classifier.evaluate(photos, split=split, progress=progress)
    return found


def rank(
    photos: Photos, sources: str | Sequence[str] | None = None, *, heads: str | Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None, pooling: str = AUTO, budget: float | None = None, prefer: str = AUTO,
    report: str | os.PathLike[str] | None = None, holdout: float = 0.2, folds: int = 5, seed: int = 0,
    progress: Stages = silent,
) -> Ranking:  # fmt: skip
    """Rank pretrained networks, their cuts, poolings and heads on the training pictures; nothing is trained.

    Args:
        photos: any form of PHOTOS, or a `Dataset`; pictures that `train` would measure on take no part.
        sources: names, or one text with commas: `NAME`, `NAME=FILE` for weights of your own, `NAME@SIZE` for another
            picture size; None for all sources that are here, then the best of them on larger pictures and the best
            side by side, where their passes are paid for by those of the others.
        heads: any of `ridge`, `linear`, `blend`, `prototype`, `dense`; None for all of them.
        image_size: (height, width) in pixels for sources that name none; None for each source's own.
        pooling: `avg`, `max` or `avg+max`; `auto` tries all three.
        budget: seconds after which the best answer so far is wanted, above 0; None for as long as it takes.
        prefer: of rows that are level by loss, recommend the cheapest at prediction (`small`), the one of least loss
            (`accurate`), or the cheapest where they can hardly be told apart (`auto`).
        report: where to write a page with the picture and the table, ending in `.html`.
        holdout, folds, seed: as in `Recipe`.
        progress: called with (stage, done, total) as work goes on.

    Returns:
        A `Ranking`: its `rows` are best first, `recommended` is the one to take, `frontier` what no cheaper
        row reaches.

    Raises:
        SourceError: a source is unknown (the message has near matches), or none is here.
        RecipeError: there is no such head. PhotosError: the pictures cannot be used.

    Example:
        >>> found = rank("flowers/", "mobilenet_0.25@64=random")          # doctest: +SKIP
        >>> print(found.verdict)                                          # doctest: +SKIP
    """
    if budget is not None and not budget > 0:
        raise InputError(f"a budget is a number of seconds above 0; got {budget!r}")
    if report is not None and (why := why_not_writable(report)):
        raise InputError(why)
    Recipe(
        holdout=holdout, folds=folds, seed=seed, pooling=pooling, image_size=image_size, prefer=prefer
    )  # refuses what is not known
    if pooling == "flatten":
        raise RecipeError("flattened features are too wide to rank cuts by; use avg, max or avg+max")
    wanted = contenders(sources, image_size=image_size, pooling=None if pooling == AUTO else pooling, seed=seed)
    named = [name.strip() for name in heads.split(",")] if isinstance(heads, str) else heads
    names = HEADS if named is None else tuple(named)
    check_heads(names)
    found = find_best(
        _opened(photos), wanted, names=names, pooling=None if pooling == AUTO else pooling, holdout=holdout,
        folds=folds, seed=seed, budget=budget, prefer=prefer, progress=progress,
        larger=sources is None and image_size is None, joined=sources is None,
    ).ranking  # fmt: skip
    return found if report is None else found.write_report(report)


def compare(
    first: Classifier | str | os.PathLike[str], second: Classifier | str | os.PathLike[str], photos: Photos, *,
    split: str | None = None, progress: Progress | None = None,
) -> Comparison:  # fmt: skip
    """Hold two classifiers against each other on the same labelled pictures; classes are matched by name.

    Args:
        first, second: classifiers, or the paths of their files, of the same classes.
        photos: any form of PHOTOS, or a `Dataset`.
        split: which split; the final one where there are splits, else everything.
        progress: called with (pictures done, pictures in all), once for each of the two.

    Returns:
        A `Comparison`: McNemar's test, the difference with its paired interval, both evaluations, and the sentence
        that says whether these pictures can tell the two apart.

    Raises:
        ModelFileError: a file is no classifier, or the two have different classes.
        PhotosError: no picture is of a class that they know.

    Example:
        >>> found = compare("flowers.keras", "flowers.keras", "flowers/")  # doctest: +SKIP
        >>> found.difference, found.p, found.separated                     # doctest: +SKIP
        (0.0, 1.0, False)
    """
    names = [str(each) if isinstance(each, (str, os.PathLike)) else "one" for each in (first, second)]
    both = [each if isinstance(each, Classifier) else Classifier.load(each) for each in (first, second)]
    for each in both:
        only(each.task, "Two models are compared")
    comparison.check_classes(both[0].class_names, both[1].class_names, (names[0], names[1]))
    dataset = photos if isinstance(photos, Dataset) else Dataset.open(photos, training=False)
    dataset = dataset.digested()
    found = [each.evaluate(dataset, split=split, progress=progress) for each in both]
    return comparison.compare(*found)


def _opened(photos: Photos) -> Dataset:
    return photos if isinstance(photos, Dataset) else Dataset.open(photos)


def _folds(dataset: Dataset, rows: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    names = keys(dataset)
    return folds(
        dataset.labels[rows], together(dataset)[rows], count=count, seed=seed, keys=[names[row] for row in rows]
    )
