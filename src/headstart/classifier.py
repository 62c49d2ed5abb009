"""A trunk, a head and class names: what predicts, is saved and loaded.

Labels and numbers are answered in the same way: what differs is asked of the task's module (`tasks/`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from headstart import classifier_file, explanation, rejection, sealed, targets, tasks
from headstart.dataset import Dataset
from headstart.errors import InputError, ModelFileError, PhotosError, PictureError, near
from headstart.explanation import Explanation
from headstart.features import Features, Kept, Progress, extract
from headstart.files import why_not_writable
from headstart.heads import Layer, apply
from headstart.listing import number, some
from headstart.predictions import SHOWN as SHOWN
from headstart.predictions import Prediction as Prediction
from headstart.rejection import Rejection
from headstart.splitting import final_split, once
from headstart.store import Store
from headstart.trunk import Output, Trunk, prepare_classifier, prepare_places
from headstart.worker import building_backend, lazy

AT_ONCE = 2048
"""Pictures that `predict` reads ahead of what it has answered."""

EXPLAINED_AT_ONCE = 256


@dataclass(frozen=True)
class Classifier:
    """A trained classifier. Made by `headstart.train` or `Classifier.load`.

    Attributes:
        class_names: in the order of the probabilities; of a number its one name.
        trunk: the compiled trunk, which may have more outputs than are used.
        outputs: the outputs that the head stands on.
        layers: the head.
        facts: what `headstart.json` in the saved file holds.
        rejection: what finds pictures that are of none of the classes; None where there were too few pictures for it.
        task: what it tells: `classes`, `labels` or `numbers`.
        rule: how its outputs become answers: `Thresholds` of labels, the `Band` of a number.
        places: the network up to its pooling, loaded ahead of its use (`explanation.load_places`).

    Example:
        >>> flowers = Classifier.load("flowers.keras")           # doctest: +SKIP
        >>> flowers.predict("tulip.jpg").label                   # doctest: +SKIP
        'tulip'
    """

    class_names: tuple[str, ...]
    trunk: Trunk = field(repr=False)
    outputs: tuple[Output, ...] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)
    blank: Future[Path] | None = field(default=None, repr=False)
    path: Path | None = None
    rejection: Rejection | None = field(default=None, repr=False)
    task: str = "classes"
    rule: Any = field(default=None, repr=False)
    places: Future[tuple[Trunk, Kept]] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Open a classifier file; compiled the first time, which takes seconds, and found compiled afterwards.

        Raises:
            ModelFileError: it is missing, damaged, or not a classifier that headstart wrote.
        """
        path = Path(path)
        facts = classifier_file.read_facts(path)
        rule = rejection.of_member(facts.get("rejection"), classifier_file.read_member(path, rejection.MEMBER))
        height, width = facts["image_size"]
        with lazy(building_backend()) as worker:
            trunk = prepare_classifier(path, (height, width), worker).result()
        layers = _stored_head(trunk)
        if layers[-1].bias.size != len(facts["classes"]):
            raise ModelFileError(
                f"{path} names {len(facts['classes'])} classes, but its last layer has {layers[-1].bias.size} units;"
                " the file is damaged"
            )
        if rule is not None and rule.dimensions != len(layers[0].kernel):
            raise ModelFileError(
                f"`rejection` in {path} is for {rule.dimensions} features, and the head takes {len(layers[0].kernel)};"
                " the file is damaged"
            )
        names, task = tuple(facts["classes"]), facts.get("task", "classes")
        told = tasks.find(task)
        if layers[-1].activation != told.ACTIVATION:
            raise ModelFileError(
                f"{path} says that it tells {task}, whose last layer is {told.ACTIVATION}; it ends in"
                f" {layers[-1].activation}; the file is damaged"
            )
        return cls(names, trunk, trunk.outputs, layers, facts, None, path, rule, task, told.read(facts, names))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) that pictures are brought to."""
        return self.trunk.image_size

    @property
    def name(self) -> str:
        """A digest of what it computes: the same before it is saved and after it is loaded."""
        return sealed.model_name(self.layers, [output.fingerprint for output in self.outputs])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the classifier as one `.keras` file, whole or not at all.

        Raises:
            ModelFileError: the name does not end in `.keras`, or this classifier was not trained here.
        """
        path = check_target(path)
        if self.blank is None:
            raise ModelFileError(f"this classifier was read from {self.path}; copy that file in place of saving it")
        extra = {rejection.MEMBER: self.rejection.numbers()} if self.rejection is not None else None
        classifier_file.fill(self.blank.result(), self.layers, self.facts, path, extra=extra)
        return path

    def probabilities(self, features: Features, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Probabilities of rows of features, float32 of shape (rows, classes)."""
        return apply(self.layers, features.matrix(rows, self.outputs))

    @overload
    def predict(self, pictures: str | os.PathLike[str]) -> Any: ...
    @overload
    def predict(self, pictures: Iterable[str | os.PathLike[str]]) -> list[Any]: ...
    def predict(self, pictures: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Any | list[Any]:
        """Name one picture, or each of several, in the order given; see `Prediction.error` for unreadable ones.

        Returns:
            A `Prediction`; of labels a `LabelsPrediction`, of a number a `NumberPrediction`.
        """
        if isinstance(pictures, (str, os.PathLike)):
            return next(self.predict_each([pictures]))
        return list(self.predict_each(pictures))

    def predict_each(
        self, pictures: Iterable[str | os.PathLike[str]], *, progress: Progress | None = None
    ) -> Iterator[Any]:
        """The same, a picture at a time as they are done, for any number of pictures."""
        waiting = iter(pictures)
        while some := [os.fspath(picture) for picture in islice(waiting, AT_ONCE)]:
            yield from self._predict_some(some, progress)

    def _predict_some(self, files: list[str], progress: Progress | None) -> Iterator[Any]:
        # No store: its rows are rounded, and an answer must not depend on whether a picture was seen before.
        features = extract(unlabelled(files), self.trunk, None, progress=progress)
        good = [row for row in range(len(files)) if row not in features.bad]
        seen = features.matrix(good, self.outputs) if good else np.zeros((0, 0))
        table = dict(zip(good, apply(self.layers, seen), strict=True)) if good else {}
        known = dict(zip(good, self.rejection.known(seen), strict=True)) if good and self.rejection is not None else {}
        task = tasks.find(self.task)
        for row, file in enumerate(files):
            if row in features.bad:
                yield task.unread(file, features.bad[row])
                continue
            fits = bool(known[row]) if row in known else None
            yield task.answer(file, table[row], names=self.class_names, rule=self.rule, known=fits)

    def explain(self, picture: str | os.PathLike[str], label: str | None = None) -> Explanation:
        """Where in a picture its answer comes from, or what in it speaks for another class.

        The network is compiled once more the first time, which takes seconds, and found compiled afterwards.

        Args:
            picture: a picture file.
            label: the class to explain; the predicted one where nothing is given.

        Raises:
            PictureError: the picture cannot be read; InputError: there is no such class; SourceError: the network was
                cut where nothing has a place any more.

        Example:
            >>> flowers = Classifier.load("flowers.keras")           # doctest: +SKIP
            >>> found = flowers.explain("tulip.jpg")                 # doctest: +SKIP
            >>> found.save("tulip.explained.jpg")                    # doctest: +SKIP
        """
        prediction = self.predict(os.fspath(picture))
        if label is not None and label not in self.class_names:
            known = ", ".join(self.class_names[:8])
            raise InputError(f"there is no class {label!r}; the model has {known}.{near(label, self.class_names)}")
        told, found = next(self.explain_each([prediction], label))
        if found is None:
            raise PictureError(f"{told.file}: {told.error}")
        return found

    def explain_each(
        self, predictions: Iterable[Any], label: str | None = None
    ) -> Iterator[tuple[Any, Explanation | None]]:
        """Each prediction with the explanation of its label, or of the one given; None where a picture cannot be read.

        Of labels it is the most probable one that is explained, of a number what makes it larger.
        """
        waiting = iter(predictions)
        while some := list(islice(waiting, EXPLAINED_AT_ONCE)):
            good = [prediction for prediction in some if prediction.label is not None]
            answers = [self.class_names.index(label or str(prediction.label)) for prediction in good]
            files = unlabelled([prediction.file for prediction in good])
            places, kept = self.places.result() if self.places is not None else (self._places(), None)
            found = iter(
                explanation.explain(places, files, self.layers, answers=answers, kept=kept) if good else ()
            )  # fmt: skip
            for prediction in some:
                evidence = next(found) if prediction.label is not None else str(prediction.error)
                if isinstance(evidence, str):
                    yield tasks.find(self.task).unread(prediction.file, evidence), None
                    continue
                name = label or str(prediction.label)
                yield prediction, Explanation(prediction.file, name, evidence, prediction.probabilities.get(name))

    def _places(self) -> Trunk:
        """This network up to the pooling, compiled where that was not done before."""
        path = self.blank.result() if self.blank is not None else self.path
        with lazy(building_backend()) as worker:
            return prepare_places(
                self.outputs, self.image_size, worker, path=str(path), ours=self.blank is not None
            ).result()

    def evaluate(
        self, photos: str | os.PathLike[str] | Dataset, *, split: str | None = None, progress: Progress | None = None
    ) -> Any:
        """Figures on labelled pictures, copies counting once. The look at them is noted (`headstart.ledger`).

        Args:
            photos: any form of PHOTOS; classes are matched by name.
            split: which split; the final one (`test`, else `validation`) where there are splits, else everything.

        Returns:
            An `Evaluation`; of labels a `LabelsEvaluation`, of a number a `NumbersEvaluation`.

        Raises:
            PhotosError: no picture has a class that the model knows, the pictures have something else than the model
                tells, or there is no such split.
        """
        task = tasks.find(self.task)
        dataset = photos if isinstance(photos, Dataset) else Dataset.open(photos, training=False)
        if dataset.task != self.task:
            raise PhotosError(
                f"the model tells {tasks.SAID[self.task]}, and these pictures have {tasks.SAID[dataset.task]}.\n"
                f"Give a table with the column {targets.find(self.task).COLUMN}."
            )
        matched = task.matched(dataset, self.class_names)
        rows, truth, name, strangers = _chosen(dataset, matched, self.class_names, split)
        chosen = dataset.take(rows).digested()
        with Store() as store:
            features = extract(chosen, self.trunk, store, progress=progress)
            good = np.array([row for row in range(len(chosen)) if row not in features.bad], int)
            if not len(good):
                raise PhotosError(f"none of the {len(chosen)} pictures can be read")
            readable, good = len(good), once(chosen, good)
            values = features.matrix(good, self.outputs)
        probabilities, rule = apply(self.layers, values), self.rejection
        digests = [chosen.digests[row] for row in good] if chosen.digests is not None else []

        def scored(at: np.ndarray, where: str) -> Any:
            return task.rescore(
                probabilities[at], truth[good[at]], names=self.class_names, split=where, rule=self.rule,
                rows=rows[good[at]],
            )  # fmt: skip

        found: Any = sealed.measure_each(scored, split=name, digests=digests, facts=self.facts, model=self.name)
        if rule is not None:  # of what was trained on a share would be flattered
            fresh = found.outcomes is None or ~found.outcomes.was_trained_on
            where = found.unseen.headline.split if found.unseen is not None else name
            asked = values[fresh] if np.any(fresh) else values
            found = replace(found, rejected=rejection.rejected(rule, asked, split=where))
        counts = {
            "unknown_class": sum(strangers.values()), "unreadable": len(features.bad), "missing": len(dataset.skipped),
            "copies": readable - len(good),
        }  # fmt: skip
        absent = targets.find(self.task).absent(truth[good], self.class_names)
        notes = [*_on_those_left_out(counts, strangers, self.class_names, absent), *_on_foreign(matched.foreign)]
        return replace(
            found, left_out={why: count for why, count in counts.items() if count}, notes=(*found.notes, *notes)
        )


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path of a classifier file to be, checked before long work begins.

    Raises:
        ModelFileError: another ending than `.keras`, a folder, or a place where nothing can be written.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelFileError(f"a classifier file ends in .keras; got {path}\nWrite: -o {path.with_suffix('.keras')}")
    why = why_not_writable(path)
    if why:
        raise ModelFileError(why)
    return path


def unlabelled(files: Sequence[str]) -> Dataset:
    """A data set of pictures without labels, in the order given, hashed."""
    count = len(files)
    return Dataset(
        root=None, files=tuple(files), labels=np.full(count, -1), classes=(), names=("",) * count,
        splits=np.full(count, ""),
    ).digested()  # fmt: skip


def _stored_head(trunk: Trunk) -> tuple[Layer, ...]:
    with np.load(trunk.folder / "head.npz", allow_pickle=False) as arrays:
        return tuple(
            Layer(arrays[f"{number}_0"], arrays[f"{number}_1"], config["activation"])
            for number, config in enumerate(trunk.facts["head"])
        )


def _on_those_left_out(
    counts: Mapping[str, int], strangers: Mapping[str, int], classes: tuple[str, ...], absent: Sequence[str]
) -> Iterator[str]:
    """What a reader of the figures should know of pictures that they are not of."""
    if strangers:
        theirs = [f"{theirs} ({count:,})" for theirs, count in sorted(strangers.items())]
        hints = [hint for name in sorted(strangers) if (hint := near(name, classes))]
        total = number(counts["unknown_class"], "picture")
        yield f"{total} left out, of classes that the model does not know: {some(theirs)}.{''.join(hints[:1])}"
    lost = counts["unreadable"] + counts["missing"]
    if lost:
        yield f"{number(lost, 'picture')} left out that cannot be read."
    if counts["copies"]:
        yield f"{number(counts['copies'], 'file')} left out that are copies of others: each picture counts once."
    if absent:
        yield f"There is no picture of {some(list(absent))}, so nothing is known of how well that is named."


def _on_foreign(labels: Mapping[str, int]) -> Iterator[str]:
    """That labels which the model does not know were passed over."""
    if labels:
        told = [f"{name} ({count:,})" for name, count in sorted(labels.items())]
        yield f"The model does not know the labels {some(told)}: they were passed over."


def _chosen(
    dataset: Dataset, matched: tasks.Matched, classes: tuple[str, ...], split: str | None
) -> tuple[np.ndarray, np.ndarray, str, Mapping[str, int]]:
    """Rows to evaluate, their truth in the model's order of classes, what the split is called, and how many pictures
    there are of classes that the model does not know."""
    present = sorted({str(name) for name in dataset.splits} - {"", "left out"})
    if split is not None:
        if split not in present:
            raise PhotosError(
                f"there is no split {split!r}; there is {' and '.join(present) or 'none'}.{near(split, present)}"
            )
        name = split
    elif present and present != ["train"]:
        name = final_split(dataset)
    else:
        name = "all pictures"
    inside = np.ones(len(dataset), bool) if name == "all pictures" else dataset.splits == name
    rows = np.flatnonzero(inside & matched.usable)
    if not len(rows):
        theirs = sorted({dataset.names[row] for row in np.flatnonzero(inside)})
        raise PhotosError(
            f"none of these pictures is of a class that the model knows.\nThe model: {', '.join(classes)}."
            f" The pictures: {', '.join(theirs[:8])}"
        )
    left = np.flatnonzero(inside & ~matched.usable)
    return rows, matched.truth[rows], name, Counter(matched.strangers[row] for row in left)
