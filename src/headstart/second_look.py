"""What features add to the audit: labels that are likely wrong, and whether a network takes twins for the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.audit import audit, noticed
from headstart.dataset import Dataset
from headstart.features import Features
from headstart.few import merged, scorable
from headstart.findings import Finding
from headstart.halves import widened
from headstart.heads import Head, linear
from headstart.looks import Looks
from headstart.suspects import LEAST, suspects
from headstart.trunk import Output

_CHOOSE_FROM = 4_000  # pictures that the probe's strength is chosen on, at most
_IN_PASSING = 600  # the same in a training whose head has no such probabilities of its own
_WIDE = 4_096  # flattened features of more numbers are averaged over their places first
_BLOCK = 1_024
_EVEN = ("ridge",)  # heads that are about as sure of a wrong label as of a right one, so that none stands out
_NARROW = 1_500  # numbers of a picture that a probe of all training pictures is fitted on, at most
_CENTRE_FROM = 1_000
_SHOWN = 20  # pictures of a group that are compared, at most


def findings(
    features: Features, rows: np.ndarray, folds: np.ndarray, *, looks: Looks, outputs: Sequence[Output],
    head: Head | None = None, clean: bool = True,
) -> tuple[Finding, ...]:  # fmt: skip
    """All that was noticed: on opening and splitting, by the checks, and by a look at the features.

    Args:
        features: of the data set, divided and tied.
        rows: the rows whose labels are judged, every one with a class and features.
        folds: their cross-validation folds, twins together.
        looks: a glance at every picture of the data set.
        outputs: which features to judge by.
        head: fitted on these very rows and outputs; its out-of-fold probabilities are used where it has them, else
            those of a linear probe.
        clean: whether there are features of the training pictures as they are; a run that saw them through views alone
            looks at pictures and not at features.
    """
    dataset = features.dataset
    agreed = agreement(features, outputs) if clean else {}
    unreadable = {**looks.bad, **features.bad}
    return (
        *noticed(dataset, unreadable),
        *audit(dataset, unreadable=unreadable, looks=looks, agreement=agreed),
        *(labels(features, rows, folds, outputs=outputs, head=head) if clean else ()),
    )


def labels(
    features: Features, rows: np.ndarray, folds: np.ndarray, *, outputs: Sequence[Output], head: Head | None = None
) -> tuple[Finding, ...]:
    """One finding for each label that is likely wrong, the most suspect first; see `suspects`."""
    dataset = features.dataset
    given = dataset.labels[rows]
    if not judgeable(given):
        return ()
    known = head.out_of_fold if head is not None and head.name not in _EVEN else None
    if known is None or len(known) != len(rows):
        outputs = _deepest(outputs)
        most = _CHOOSE_FROM if head is None else max(_IN_PASSING, 20 * len(dataset.classes))
        known = _out_of_fold(features, rows, folds, outputs, most=most)
    seen = np.flatnonzero(scorable(given, merged(folds)))  # of a class that no other fold has, a fit knows nothing
    rows, given, known = rows[seen], given[seen], known[seen]
    if not judgeable(given):
        return ()
    found, agrees = [], float((known.argmax(axis=1) == given).mean())
    for each in suspects(known, given):
        name, other = dataset.classes[each.label], dataset.classes[each.other]
        note = (
            f"Labelled {name}, it looks like {other}: {each.instead:.2f} against {each.given:.2f}, from a fit that did"
            f" not see it and agrees with {agrees:.0%} of the labels."
        )
        action = "Kept as it is labelled. Look at it, and put it where it belongs."
        found.append(Finding("suspect_label", (dataset.files[int(rows[each.row])],), note, action))
    return tuple(found)


def confirmed(
    found: tuple[Finding, ...], dataset: Dataset, rows: np.ndarray, answers: np.ndarray | None
) -> tuple[Finding, ...]:
    """Findings without the suspect labels that a better network agrees with.

    Args:
        answers: probabilities of the rows by a network that was tuned and found better; None where there is none.
    """
    if answers is None:
        return found
    agrees = answers.argmax(axis=1) == dataset.labels[rows]
    sound = {dataset.files[int(row)] for row in rows[agrees]}
    return tuple(each for each in found if each.kind != "suspect_label" or each.files[0] not in sound)


def judgeable(given: np.ndarray) -> bool:
    """Whether there are two classes with enough pictures to say something of their labels."""
    sizes = np.bincount(given[given >= 0]) if len(given) else np.zeros(0, int)
    return int((sizes >= LEAST).sum()) >= 2


def agreement(features: Features, outputs: Sequence[Output]) -> dict[str, float]:
    """For each group of `Dataset.alike`, the least cosine between its pictures' features, the set's mean taken off."""
    dataset = features.dataset
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(dataset.alike or ()):
        if name and row not in features.bad:
            groups.setdefault(name, []).append(row)
    groups = {name: rows[:_SHOWN] for name, rows in groups.items() if len(rows) > 1}
    if not groups:
        return {}
    good = np.array([row for row in range(len(dataset)) if row not in features.bad])
    centre = _matrix(features, good[:: len(good) // _CENTRE_FROM + 1], outputs).mean(axis=0)
    found = {}
    for name, rows in groups.items():
        numbers = _matrix(features, np.array(rows), outputs) - centre
        numbers /= np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-6)
        found[name] = float((numbers @ numbers.T).min())
    return found


def _deepest(outputs: Sequence[Output]) -> Sequence[Output]:
    """The last of the outputs, as many as have `_NARROW` numbers together, and one at least."""
    kept, width = [outputs[-1]], outputs[-1].dimensions
    for output in reversed(outputs[:-1]):
        width += output.dimensions
        if width > _NARROW:
            break
        kept.insert(0, output)
    return kept


def _out_of_fold(
    features: Features, rows: np.ndarray, folds: np.ndarray, outputs: Sequence[Output], *, most: int
) -> np.ndarray:
    """Probabilities of a linear probe, each from a fit that did not see the picture; `most` choose its strength."""
    dataset = features.dataset
    given, numbers = dataset.labels[rows], _matrix(features, rows, outputs)
    some = np.arange(len(rows))
    if len(rows) > most:
        some = np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))
    found = linear.cross_validate(numbers[some], given[some], folds[some], classes=len(dataset.classes))
    if len(some) < len(rows):
        strengths = (found.strength,)
        found = linear.cross_validate(numbers, given, folds, classes=len(dataset.classes), strengths=strengths)
    return found.out_of_fold


def _matrix(features: Features, rows: np.ndarray, outputs: Sequence[Output]) -> np.ndarray:
    """Features as float32, wide flattened ones averaged over their places."""
    return np.concatenate(
        [_narrow(features, rows[start : start + _BLOCK], outputs) for start in range(0, len(rows), _BLOCK)]
    )


def _narrow(features: Features, rows: np.ndarray, outputs: Sequence[Output]) -> np.ndarray:
    parts = []
    for output in outputs:
        numbers = widened(features.matrix(rows, [output]))
        if output.pooling == "flatten" and output.dimensions > _WIDE:
            numbers = numbers.reshape(len(rows), -1, output.shape[-1]).mean(axis=1)
        parts.append(numbers)
    return np.concatenate(parts, axis=1)


def rows_with_labels(dataset: Dataset, bad: Sequence[int] | set[int]) -> np.ndarray:
    """Rows with a class and a picture that could be read, whatever their split, those left out not among them."""
    lost = set(bad)
    usable = (dataset.labels >= 0) & (dataset.splits != "left out")
    return np.array([row for row in np.flatnonzero(usable).tolist() if row not in lost], int)
