"""The sentence that a person should take away, made from the figures by fixed rules."""

from __future__ import annotations

import numpy as np

from headstart.evaluate import Evaluation
from headstart.label_figures import LabelsEvaluation
from headstart.listing import some
from headstart.number_figures import NumbersEvaluation

_SHARE_OF_MISTAKES = 0.5
_ENOUGH = 10  # mistakes between two classes, before anything is said of them
_HARDLY = 0.15  # above what always naming the commoner one would give
_FEW = 50


def verdict(evaluation: Evaluation) -> str:
    """What the figures say, and what they do not.

    Rules, in order: not surely better than always naming the commonest class; a pair of classes that makes up half of
    the mistakes and is told apart hardly better than by always naming the commoner one; few pictures; the plain figure.
    """
    rate = evaluation.accuracy
    if rate.n == 0:
        return "No picture was left to measure on, so nothing is known about how good this classifier is."
    plain = (
        f"{rate.value:.1%} of {rate.n:,} {_held_back(rate.split)} pictures were named right"
        f" (95 % interval {rate.low:.1%} to {rate.high:.1%})."
    )
    totals = evaluation.confusion.sum(axis=1)
    unseen = [evaluation.classes[label] for label in np.flatnonzero(totals == 0)]
    if unseen:
        plain += f" No picture of {some(unseen)} was among them, so nothing is known of how well that is named."
    commonest = int(totals.argmax())
    share = totals[commonest] / rate.n
    if rate.low <= share:
        known = ", which the interval still holds" if rate.value > share else ""
        advice = " Measure on more pictures." if rate.value > share and rate.n < _FEW else ""
        return (
            f"{plain} Always saying {evaluation.classes[commonest]!r} would give {share:.1%}{known}:"
            f" these pictures do not show that anything was learnt.{advice}"
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
    if both_ways[first, second] < max(_ENOUGH, _SHARE_OF_MISTAKES * mistakes) or len(evaluation.classes) < 3:
        return None
    totals = confusion[[first, second]].sum(axis=1)
    right, count = int(confusion[[first, second], [first, second]].sum()), int(totals.sum())
    commoner = (first, second)[int(totals.argmax())]
    share = float(totals.max() / count)
    a, b = sorted((evaluation.classes[first], evaluation.classes[second]))
    if right / count > share + _HARDLY:
        return None
    return (
        f"{both_ways[first, second] / mistakes:.0%} of the mistakes are between {a!r} and {b!r}, which are hardly told"
        f" apart: {right / count:.1%} of their pictures are right where always saying {evaluation.classes[commoner]!r}"
        f" would give {share:.1%}. This network does not see what parts them; larger pictures, another source or"
        " fine-tuning may."
    )


def of_labels(evaluation: LabelsEvaluation) -> str:
    """The same of labels.

    Rules, in order: a mean average precision that guessing reaches in one of 40 times or more; labels that are not
    surely found better than by guessing; labels that no picture had; few pictures.
    """
    if not evaluation.n or not np.isfinite(evaluation.mean_average_precision):
        return "No picture with a label was left to measure on, so nothing is known about how good this classifier is."
    low, high = evaluation.mean_average_precision_interval
    guessing = evaluation.guessing["average_precision"]
    span = f" (95 % interval {low:.1%} to {high:.1%})" if np.isfinite(low) else ""
    exact = evaluation.exact
    plain = (
        f"Average precision is {evaluation.mean_average_precision:.1%}{span} in the mean over labels, where guessing"
        f" has {guessing:.1%}; every label was right on {exact.value:.1%} ({exact.low:.1%} to {exact.high:.1%}) of"
        f" {evaluation.n:,} {_held_back(evaluation.split)} pictures."
    )
    if not evaluation.learnt:
        return f"{plain} These pictures do not show that anything was learnt: guessing is as good too often."
    unseen = [each.name for each in evaluation.per_label if not each.n]
    doubtful = [each.name for each in evaluation.per_label if each.n and not each.found]
    if doubtful:
        plain += f" Not surely better than guessing: {some(doubtful)}."
    if unseen:
        plain += f" No picture had {some(unseen)}, so nothing is known of how well that is found."
    if evaluation.n < _FEW:
        plain += " That is few pictures, so the intervals are wide: more pictures would narrow them."
    return plain


def of_numbers(evaluation: NumbersEvaluation) -> str:
    """The same of a number.

    Rules, in order: the error not surely less than that of always saying the training pictures' median; intervals that
    hold the true number of surely fewer pictures than was promised; few pictures.
    """
    if not evaluation.n:
        return "No picture was left to measure on, so nothing is known about how good this model is."
    mae, lazy = evaluation.mae, evaluation.guess_mae
    span = f" (95 % interval {mae.low:.3g} to {mae.high:.3g})" if np.isfinite(mae.low) else ""
    told = f", and R² is {evaluation.r2.value:.2f}" if np.isfinite(evaluation.r2.value) else ""
    plain = (
        f"The value is {mae.value:.3g} off on average{span} on {evaluation.n:,} {_held_back(evaluation.split)}"
        f" pictures, where always saying {evaluation.guess.median:.4g} is {lazy.value:.3g} off{told}."
    )
    if not evaluation.gain.low > 0:
        return f"{plain} These pictures do not show that anything was learnt: it is not surely better than guessing."
    covered = evaluation.coverage
    if covered is not None and covered.high < evaluation.promised:
        plain += (
            f" Its intervals hold the true value of {covered.value:.1%} of them, fewer than the"
            f" {evaluation.promised:.0%} that were promised: do not rely on them."
        )
    if evaluation.n < _FEW:
        plain += " That is few pictures, so the intervals are wide: more pictures would narrow them."
    return plain
