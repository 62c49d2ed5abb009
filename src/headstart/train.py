"""The whole chain, from pictures to a measured classifier. Read this first."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import (
    alike,
    classifier_file,
    costs,
    explanation,
    few,
    heads,
    learning_curve,
    logged_result,
    loggers,
    offers,
    rejection,
    sealed,
    second_look,
    sources,
    targets,
    tasks,
    trials,
    trunk,
    views,
    watching,
)
from headstart.audit import audit, noticed
from headstart.calibration import Calibration
from headstart.classifier import Classifier, check_target
from headstart.dataset import Dataset
from headstart.errors import InputError, PhotosError, SourceError
from headstart.features import Features, extract
from headstart.files import why_not_writable
from headstart.findings import refuse
from headstart.finetune import Frozen, check_source, named, tune
from headstart.ingest import Ingest
from headstart.logbook import Logbook
from headstart.looks import Looks
from headstart.progress import Progress, silent
from headstart.recipe import AUTO, Recipe
from headstart.result import TrainResult, facts_of
from headstart.splitting import cross_folds, final_split, once, split, together
from headstart.store import Store
from headstart.worker import building_backend, lazy


def train(
    photos: str | os.PathLike[str] | Dataset, recipe: Recipe | None = None, *,
    output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None, progress: Progress = silent, callbacks: Sequence[Any] = (),
    strict: bool = False, log: str | Sequence[str] = (),
) -> TrainResult:  # fmt: skip
    """Train a classifier on pictures: one pass of a frozen network, choices by cross-validation, tuning where it pays,
    one honest figure.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        recipe: every decision; `Recipe()` where nothing is given.
        output: where to write the classifier, ending in `.keras`; nothing is written where it is None.
        report: where to write the page; nothing is written where it is None.
        progress: called with (stage, done, total) as work goes on.
        callbacks: Keras callbacks that watch the head's training, beside those that the recipe names.
        strict: refuse pictures in which anything is found that `headstart check` would tell of; nothing is written.
        log: loggers that the run is written down by, as `tensorboard` or `mlflow=URI` (see `loggers`).

    Raises:
        PhotosError: the pictures cannot be used; SourceError: the source, cut or weights cannot; RecipeError: what the
            recipe asks for does not go together.

    Example:
        >>> result = train("flowers/")                            # doctest: +SKIP
        >>> print(result.accuracy, result.verdict)                # doctest: +SKIP
    """
    start = time.perf_counter()
    recipe = recipe or Recipe()
    target = check_target(output) if output is not None else None
    if report is not None and (why := why_not_writable(report)):
        raise InputError(why)
    if target is not None and report is not None and Path(report).absolute() == target.absolute():
        raise InputError(f"the model and the report would both be written to {target}; give the report another name")
    views.check(recipe, heads.find(recipe.head).BY_EPOCHS)
    watching.check(recipe, callbacks, by_epochs=heads.find(recipe.head).BY_EPOCHS)
    wanted_logs = loggers.asked(log, target)
    ranked, pooling = None, None if recipe.pooling == AUTO else recipe.pooling
    if recipe.source == AUTO:
        photos = photos if isinstance(photos, Dataset) else Dataset.open(photos)
        if strict:
            photos = _strictly(photos, recipe, progress)
        from headstart.ranker import before_training

        ranked, recipe = before_training(photos, recipe, progress)
        photos = ranked.dataset
    check_source(recipe.source, recipe.fine_tune)
    head_module = heads.find(recipe.head)
    wanted = trunk.spec(
        recipe.source, image_size=recipe.image_size, weights=recipe.weights, seed=recipe.seed,
        cuts=trunk.cuts_of(recipe.cut), preprocessing=recipe.preprocessing, pooling=pooling,
    )  # fmt: skip
    with lazy(building_backend()) as worker, _kept_open(Store()) as store, contextlib.ExitStack() as at_exit:
        # First, since a worker takes longest to be ready.
        pending = trunk.prepare(wanted, worker, progress=lambda facts: progress(**facts))
        dataset = photos if isinstance(photos, Dataset) else Dataset.open(photos)
        task = tasks.find(dataset.task)
        tasks.check(dataset.task, recipe, callbacks)
        shape = heads.shape(head_module, len(dataset.classes), recipe.head_options, activation=task.ACTIVATION)
        threading.Thread(target=_load_ahead, args=(report is not None,), daemon=True).start()
        # Faults are told before the long part, and of several networks only those are run that the store lacks.
        at_once = not strict and not views.augmented(recipe) and len(sources.members(sources.find(recipe.source))) == 1
        clean = pending if at_once else None
        reading = at_exit.enter_context(Ingest(dataset, store, trunk=clean, progress=progress))
        dataset, looks = reading.look_over()
        dataset = split(dataset, holdout=recipe.holdout, seed=recipe.seed)
        if strict:
            _refuse_faults(dataset, looks)
        decides = head_module.chooses(recipe.head_options) or watching.chooses(recipe, callbacks)
        book = Logbook(
            wanted_logs, name=target.stem if target is not None else "headstart", progress=progress,
            key={"recipe": recipe.as_dict(), "data": dataset.digest, "model": str(target and target.absolute())},
        )  # fmt: skip
        watched = watching.split_to_watch(dataset, decides) if head_module.BY_EPOCHS else None
        features = extract(
            dataset, pending, store, views=views.looks(
                recipe, dataset, by_epochs=head_module.BY_EPOCHS, watched=watched is not None
            ),
            first=reading.finish() if clean is not None else None,
            progress=lambda done, total: progress("features", done, total),
        )  # fmt: skip

        final = final_split(dataset)
        rows = {
            name: _usable(features, name, recipe) for name in ("train", "validation", "test") if _has(dataset, name)
        }
        train_rows, labels = rows["train"], dataset.labels
        group = together(dataset)[train_rows]
        fold = cross_folds(dataset, train_rows, count=recipe.folds, seed=recipe.seed)
        head_start, first_pass = time.perf_counter(), features.seconds
        choice = task.choose(
            features, train_rows, folds=fold, seed=recipe.seed,
            joined=trunk.is_joined(recipe.cut), pooling=pooling, groups=group, prefer=recipe.prefer,
            head=head_module.of_options(recipe.head_options) if recipe.head == AUTO else recipe.head,
            cost=costs.of(features.trunk), progress=lambda done, total: progress("choosing a cut", done, total),
        )  # fmt: skip
        outputs, classes = choice.chosen.outputs, dataset.classes
        blank = classifier_file.blank(wanted, outputs, shape, worker)  # made by the worker while the head is fitted
        drawn = report is not None and dataset.task != "numbers"  # maps of mistakes on the page
        places = explanation.load_places(wanted, outputs, worker) if drawn else None
        data = views.head_data(
            features, outputs, train_rows, folds=fold, recipe=recipe, by_epochs=head_module.BY_EPOCHS,
            activation=task.ACTIVATION, watch=rows[watched] if watched is not None else None,
            validated=choice.validated if not recipe.head_options else None,
            progress=lambda done, total: progress("features", done, total),
        )  # fmt: skip
        with watching.watcher(recipe, callbacks, blank, book) as watcher:
            head = head_module.fit(
                data, options=recipe.head_options, watcher=watcher,
                progress=lambda facts: progress("training the head", int(facts["epoch"]), facts.get("epochs")),
            )  # fmt: skip
        views.finished(data)
        whole = len(data.features) == len(train_rows)
        seen = (
            data.features if whole else data.features[: len(train_rows)]
        )  # as they are, or, where there are none such, through their first views
        del data  # before the features of other pictures are read
        frozen = Frozen(
            wanted, features, outputs, head, train_rows, fold,
            judge=rows["validation"] if final == "test" and "validation" in rows else None,
            start=trials.for_near_pictures(choice.candidates) if recipe.cut == AUTO else (),
            far=trials.for_far_pictures(features.outputs) if recipe.cut == recipe.pooling == AUTO else (),
            near=trials.near_source(choice.candidates, features.outputs) if dataset.task == "classes" else None,
        )  # fmt: skip
        head_seconds = time.perf_counter() - head_start - (features.seconds - first_pass)  # views that epochs asked for
        tuning, tuned = tune(frozen, recipe, store, progress=progress, log=book)
        if tuned is not None:
            features, outputs, wanted = tuned.features, tuned.outputs, tuned.spec
            head, seen = tuned.head(frozen), tuned.matrix(train_rows)
            blank = classifier_file.blank(wanted, outputs, shape, worker)
            places = explanation.load_places(wanted, outputs, worker) if drawn else None
        strange = rejection.fit(
            seen, labels[train_rows], group, outputs=outputs, seed=recipe.seed,
            unseen=head.held_out[0] if tuned is not None and head.held_out is not None else None,
            witness=tuned.witness.matrix(train_rows) if tuned is not None and tuned.witness else None,
        )  # fmt: skip
        del seen

        def answers(name: str, layers: Sequence[heads.Layer]) -> np.ndarray:
            return heads.apply(layers, features.block(rows[name], outputs))

        raw = head.layers
        apart = watched if watched not in (None, final) else None  # what is reported on calibrates nothing
        apart = "validation" if tuned is not None and frozen.judge is not None else apart
        head, rule = task.settle(
            head, dataset, train_rows, watched=(answers(apart, raw), rows[apart]) if apart else None,
            tuned=tuned is not None,
        )  # fmt: skip

        def measured(name: str, said: np.ndarray, how: Callable[..., Any] = task.score) -> Any:
            return how(said, dataset, rows[name], split=name, rule=rule)

        untrained = head_module.untrained(
            sum(output.dimensions for output in outputs),
            len(classes),
            options=recipe.head_options,
            seed=recipe.seed,
            activation=task.ACTIVATION,
        )
        others = tuple(measured(name, answers(name, head.layers)) for name in rows if name not in ("train", final))
        opened = sealed.opening(dataset, rows[final], head.layers, outputs)  # last, and once
        shown = features.block(rows[final], outputs)
        evaluation, uncalibrated = (measured(final, heads.apply(layers, shown)) for layers in (head.layers, raw))
        before = measured(final, heads.apply(untrained, shown), task.before)
        evaluation = replace(evaluation, opened=opened)
        if isinstance(rule, Calibration):
            rule = rule.measured(uncalibrated, evaluation)
        base = measured(final, frozen.answers(rows[final])) if tuned is not None else None
        strange = rejection.measured(strange, shown, split=final)
        done = replace(
            Recipe.from_dict({
                **recipe.as_dict(), **tuning.decided,
                **named(outputs, () if trunk.cuts_of(recipe.cut) else frozen.features.outputs),
            }),
            image_size=wanted.image_size,
            head=head.name, augment=views.told(recipe), views=views.count(recipe),
            head_options=dict(head.settings) if head_module.BY_EPOCHS else {**head.options, **recipe.head_options},
        )  # fmt: skip
        result = TrainResult(
            dataset=dataset, features=features, choice=choice, head=head, evaluation=evaluation, before=before,
            others=others, findings=second_look.confirmed(
                second_look.findings(
                    frozen.features, train_rows, fold, looks=looks, outputs=frozen.outputs, head=frozen.head,
                    clean=not views.alone(recipe, watched is not None),
                ),
                dataset, train_rows,
                tuned.unseen_by.answers_to(train_rows) if tuned is not None and dataset.task == "classes" else None,
            ),
            recipe=done, rows=rows, watched=watched, ranking=ranked.ranking if ranked else None,
            notes=(
                *(head_module.notes(len(classes), recipe.head_options) if dataset.task == "classes" else ()),
                *few.told(head.name, head.settings),
            ),
            seconds={"features": frozen.features.seconds, "head": head_seconds, "fine_tune": tuning.took},
            tuning=tuning, frozen=frozen, frozen_evaluation=base,
            classifier=Classifier(
                classes, features.trunk, outputs, head.layers,
                facts_of(
                    dataset, features, evaluation, recipe=done, rule=task.facts(rule),
                    trained_on=[*train_rows, *(rows[apart] if apart and (decides or tuned is not None) else ())],
                    rejection=strange,
                ),
                blank, rejection=strange, task=dataset.task, rule=rule, places=places,
            ),
            rule=rule, decided=decides,
            offers=() if ranked or tuned is not None or views.augmented(recipe) or dataset.task != "classes"
            else offers.find(
                recipe.source, features, choice, widths=looks.width[train_rows], heights=looks.height[train_rows]
            ),
            learning_curve=learning_curve.measure(
                frozen.features, train_rows, frozen.outputs, head=frozen.head, fold_count=recipe.folds,
                seed=recipe.seed,
            ) if report is not None and not views.alone(recipe, watched is not None) else None,
        )  # fmt: skip
        if strict:
            refuse(result.findings)
        blank.result()
        if places is not None and evaluation.mistakes:
            with contextlib.suppress(SourceError):  # nothing has a place at this cut: the page goes without maps
                places.result()
        if target is not None:
            result.classifier.save(target)
            result = replace(result, model=target)
        weakref.finalize(features, store.close)  # `matrix` reads from it for as long as there are features
    result = replace(result, seconds={**result.seconds, "total": time.perf_counter() - start})
    if report is not None:
        result = result.write_report(report)
    result = replace(result, seconds={**result.seconds, "total": time.perf_counter() - start})
    book.finish(lambda: logged_result.outcome(result), logged_result.histories(result))
    return result


def _strictly(photos: Dataset, recipe: Recipe, progress: Progress) -> Dataset:
    """The pictures, if nothing is found in them; what was seen of them is kept for whoever looks next."""
    with Store() as store:
        dataset, looks = alike.look_over(photos, store, progress=progress)
    _refuse_faults(split(dataset, holdout=recipe.holdout, seed=recipe.seed), looks)
    return dataset


def _refuse_faults(dataset: Dataset, looks: Looks) -> None:
    refuse((*noticed(dataset, looks.bad), *audit(dataset, unreadable=looks.bad, looks=looks)))


@contextlib.contextmanager
def _kept_open(store: Store) -> Iterator[Store]:
    """Close the store only where the run fails."""
    try:
        yield store
    except BaseException:
        store.close()
        raise


def _load_ahead(page: bool) -> None:
    """Import what the later stages need while the first ones wait for the disk and the worker."""
    with contextlib.suppress(ImportError):  # whoever needs it will say so
        for name in ("scipy.optimize", "threadpoolctl", "h5py"):
            importlib.import_module(name)
        if page:
            importlib.import_module("headstart.report").prepare()


_WORDS = {1: "a readable training picture that is no copy of one",
          2: "at least two readable training pictures that are not copies"}  # fmt: skip


def _has(dataset: Dataset, name: str) -> bool:
    return len(dataset.split_indices(name)) > 0


def _usable(features: Features, name: str, recipe: Recipe) -> np.ndarray:
    """The rows of a split that have a class and can be read, after a check that enough of them are left."""
    dataset = features.dataset
    lost, listed = len(features.bad) + len(dataset.skipped), len(dataset) + len(dataset.skipped)
    if lost > recipe.max_bad * listed:
        reasons = [f"{dataset.files[row]}: {why}" for row, why in list(features.bad.items())[:2]]
        examples = "; ".join(
            reasons + [f"{file}: missing, or of a kind that is not read" for file in dataset.skipped][:2]
        )
        raise PhotosError(
            f"{lost} of {listed} pictures cannot be read, more than the share of"
            f" {recipe.max_bad:.0%} that --max-bad allows.\nFor example {examples}"
        )
    rows = np.array([row for row in dataset.split_indices(name) if int(row) not in features.bad], int)
    if name != "train":
        rows = once(dataset, rows)
    if name == "train" and dataset.task != "classes" and (bare := targets.find(dataset.task).lacking(dataset, rows)):
        raise PhotosError(
            f"the readable training pictures leave nothing to learn of {', '.join(bare[:5])}: too few of them are left,"
            " or all are the same.\nAdd pictures that can be read."
        )
    counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    least = 2 if heads.find(recipe.head).BY_EPOCHS else 1  # a part is held out to watch where there are epochs
    if name == "train" and dataset.task == "classes" and counts.min(initial=least) < least:
        short = [f"{dataset.classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < least)]
        raise PhotosError(
            f"every class needs {_WORDS[least]} held back elsewhere;"
            f" too few: {', '.join(short)}.\nAdd pictures to these classes or take their folders away."
        )
    if not len(rows):
        raise PhotosError(f"no readable picture is left in {name}, so nothing can be measured; add pictures to it")
    return rows
