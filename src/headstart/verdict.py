"""The sentence that a person should take away, made from the figures by fixed rules."""

from __future__ import annotations

import numpy as np

from headstart.evaluate import Evaluation
from headstart.intervals import wilson

_SHARE_OF_MISTAKES = 0.5
_FEW = 50


def verdict(evaluation: Evaluation) -> str:
    """What the figures say, and what they do not.

    Rules, in order: worse than chance cannot be told apart from it; a pair of classes that makes up half of the
    mistakes and is not told apart better than by always naming the commoner one; few pictures; else the plain figure.
    """
    rate = evaluation.accuracy
    if rate.n == 0:
        return "No picture was left to measure on, so nothing is known about how good this classifier is."
    plain = (
        f"{rate.value:.1%} of {rate.n:,} {_held_back(rate.split)} pictures were named right"
        f" (95 % interval {rate.low:.1%} to {rate.high:.1%})."
    )
    totals = evaluation.confusion.sum(axis=1)
    commonest = int(totals.argmax())
    if rate.low <= totals[commonest] / rate.n:
        return (
            f"{plain} Always saying {evaluation.classes[commonest]!r} would do as well ({totals[commonest] / rate.n:.1%}):"
            " these pictures do not show that anything was learnt."
        )
    pair = _hopeless_pair(evaluation)
    if pair:
        return f"{plain} {pair}"
    if rate.n < _FEW:
        return f"{plain} That is few pictures, so the interval is wide: more pictures would narrow it."
    return plain


def _held_back(split: str) -> str:
    return {"test": "test", "validation": "validation"}.get(split, split)


def _hopeless_pair(evaluation: Evaluation) -> str | None:
    confusion = evaluation.confusion
    wrong = confusion - np.diag(np.diag(confusion))
    both_ways = wrong + wrong.T
    first, second = (int(index) for index in np.unravel_index(both_ways.argmax(), both_ways.shape))
    mistakes = int(wrong.sum())
    if mistakes == 0 or both_ways[first, second] < _SHARE_OF_MISTAKES * mistakes or len(evaluation.classes) < 3:
        return None
    inside = confusion[np.ix_([first, second], [first, second])]
    right, count = int(np.trace(inside)), int(inside.sum())
    commoner = max((first, second), key=lambda index: confusion[index].sum())
    share = float(inside.sum(axis=1).max() / count)
    a, b = sorted((evaluation.classes[first], evaluation.classes[second]))
    low, _ = wilson(right, count)
    if low > share + 0.1:
        return None
    return (
        f"Nearly all the rest is easy, but {a!r} and {b!r} are hardly told apart: {right / count:.1%} of their pictures are"
        f" right where always saying {evaluation.classes[commoner]!r} would give {share:.1%}. The frozen network does not"
        " see what tells them apart: fine-tune it, or give larger pictures."
    )
