"""What the pictures behind a figure were used for before: looked at by other models, or trained on by this one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from headstart.dataset import Dataset
from headstart.evaluate import Evaluation, Rate, Seen, score
from headstart.heads import Layer
from headstart.ledger import Opening, record
from headstart.membership import TrainedOn
from headstart.trunk import Output


def model_name(layers: Sequence[Layer], outputs: Sequence[str]) -> str:
    """A name for a classifier that is the same before it is saved and after it is loaded.

    Args:
        outputs: fingerprints of the trunk's outputs that the head stands on.
    """
    total = hashlib.sha256("\0".join(outputs).encode())
    for layer in layers:
        total.update(np.ascontiguousarray(layer.kernel, "<f4").tobytes())
        total.update(np.ascontiguousarray(layer.bias, "<f4").tobytes())
    return total.hexdigest()


def opening(
    dataset: Dataset, rows: np.ndarray, layers: Sequence[Layer], outputs: Sequence[Output], *, command: str = "train"
) -> Opening:
    """Note that a classifier is about to be measured on these rows, and say how often they were opened."""
    digests = dataset.digested().digests or ()
    model = model_name(layers, [output.fingerprint for output in outputs])
    return record([digests[int(row)] for row in rows], model=model, command=command)


def measure(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, split: str, rows: np.ndarray,
    digests: Sequence[bytes], facts: Mapping[str, Any], model: str, command: str = "evaluate",
) -> Evaluation:  # fmt: skip
    """Figures that know which of their pictures were trained on, and how often the others were looked at.

    Args:
        probabilities: shape (pictures, classes); `labels`, `rows` and `digests` have one entry a picture.
        digests: SHA-256 of each picture's bytes.
        facts: the model's `headstart.json`.
        model: its name by `model_name`.
        command: who looks.
    """

    def scored(at: np.ndarray, name: str) -> Evaluation:
        return score(probabilities[at], labels[at], classes, split=name, rows=rows[at])

    return measure_each(scored, split=split, digests=digests, facts=facts, model=model, command=command)


_Evaluation = TypeVar("_Evaluation", bound=Any)


def measure_each(
    scored: Callable[[np.ndarray, str], _Evaluation], *, split: str, digests: Sequence[bytes],
    facts: Mapping[str, Any], model: str, command: str = "evaluate",
) -> _Evaluation:  # fmt: skip
    """The same for any task.

    Args:
        scored: evaluates the pictures at some positions, under the name of a split.
        split, digests, facts, model, command: as `measure` has them.
    """
    count = len(digests)
    found = scored(np.arange(count), split)
    provenance = facts.get("provenance")
    known = TrainedOn.from_dict(provenance.get("trained_on") if isinstance(provenance, Mapping) else None)
    trained = np.zeros(count, bool) if known is None else known.holds(digests)
    fresh = np.flatnonzero(~trained)
    if len(fresh) and (known is None or known.whole or not trained.any()):  # what was trained on is no test set
        opened = record([digests[row] for row in fresh.tolist()], model=model, command=command)
        found = replace(found, opened=opened)
    if known is not None and found.outcomes is not None:
        found = replace(found, outcomes=replace(found.outcomes, trained=trained))
        found = replace(found, seen=Seen(int(trained.sum()), count, known.whole))
    if trained.any() and len(fresh) and known is not None and known.whole:  # else some of the rest were trained on too
        found = replace(found, unseen=scored(fresh, "not trained on"))
    words = (on_training(found), on_looks(found.opened, (found.unseen or found).headline))
    return replace(found, notes=tuple(text for text in words if text))


def on_looks(opened: Opening | None, rate: Rate) -> str:
    """What the number of looks means for a figure, in a sentence or two; empty where no look was noted."""
    if opened is None:
        return ""
    pictures = f"these {rate.n:,} pictures"
    if opened.look is None or opened.models is None:
        return (
            f"How often {pictures} were looked at before is not known: {opened.trouble}. If figures on them have guided"
            " a choice, this one is too good."
        )
    if opened.look == 1:
        return f"1st look at {pictures}: no earlier figure on them can have guided a choice."
    some = opened.before is not None and opened.before < rate.n
    look = f"{ordinal(opened.look)} look at {'some of ' if some else ''}{pictures}"
    look += f" ({opened.before:,} were in an earlier one)" if some else ""
    if opened.models == 1:
        return f"{look}, at the same model each time: the figure is as good as at the first."
    excess = (rate.high - rate.low) / (2 * 1.96) * math.sqrt(2 * math.log(opened.models))
    much = "" if math.isnan(excess) else f", by up to about {100 * excess:.1f} points"
    return (
        f"{look}, at {opened.models:,} models: if the best of them is kept for its figure, that figure is too good"
        f"{much}. Pictures that were never looked at would tell."
    )


def on_training(evaluation: Any) -> str:
    """That the model was trained on some of the pictures, and what it is worth on the others; empty where it is not."""
    seen = evaluation.seen
    if seen is None or not seen.trained:
        return ""
    least = "" if seen.whole else "at least "
    rest = "" if seen.whole else " Only a sample of what it was trained on is known, so there may be more."
    if seen.trained == seen.n:
        begin = "The model was trained on this picture" if seen.n == 1 else f"The model was trained on all {seen.n:,}"
        return f"{begin}: the figure says what it remembers, not what it would say of other pictures."
    text = f"The model was trained on {least}{seen.trained:,} of these {seen.n:,} pictures, so the figure is too good."
    return (
        f"{text}{rest}"
        if evaluation.unseen is None
        else f"{text} On the others: {' '.join(evaluation.unseen.lines()[0])}."
    )


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th.

    >>> [ordinal(number) for number in (1, 2, 11, 17, 22, 113)]
    ['1st', '2nd', '11th', '17th', '22nd', '113th']
    """
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
