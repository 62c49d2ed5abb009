"""Which head is left to the pictures: ridge, logistic regression, a blend and, where pictures are few, prototype.

Each is cross-validated; the one of least out-of-fold cross-entropy is fitted on everything. For labels and numbers it
is the linear one always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from headstart.few import few, merged, scorable
from headstart.heads import Head, HeadData, Validated, Watcher, find, log_loss
from headstart.heads import shape as shape_of
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import measurable
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained

NAME = "auto"
SUMMARY = "the best of ridge, linear, blend and, where pictures are few, prototype, out of fold; the default"
BY_EPOCHS = False
OUTPUTS = ("softmax", "sigmoid", "linear")

_OWN = {
    "strength": "linear",
    "shrinkage": "prototype",
    "scaling": "ridge",
    "members": "blend",
}  # an option that decides the head
FLOPS_AN_IMAGE = 1e8
"""Floating-point operations that logistic regression may take for each image: a fraction of what a network takes."""
_FLOPS = 2e10  # that it may take in any case: some tenths of a second


def _head(options: Mapping[str, Any]) -> ModuleType:
    """The head whose options these are; the linear one answers for what is unknown."""
    return find(next((name for option, name in _OWN.items() if option in options), "linear"))


def of_options(options: Mapping[str, Any]) -> str:
    """Name the head that options decide; `auto` where there are none."""
    return next((name for option, name in _OWN.items() if option in options), NAME)


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """One layer, whichever head it becomes."""
    return shape_of(_head(options), classes, options, activation=activation)


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head that these pictures call for: the one of least out-of-fold loss.

    Returns:
        The head under its own name; `settings["chosen_from"]` has the loss of each where several were cross-validated.
    """
    given = dict(options or {})
    if given or data.activation != "softmax":
        found: Head = _head(given).fit(data, options=given, progress=progress, watcher=watcher)
        return found
    best, losses = data.validated, dict[str, float]()
    if best is not None and best.count != len(data.labels):  # it was found on a sample
        best = find(best.head).validate(data, best.options)
    if best is None:
        tried = compete(data)
        known = scorable(data.labels, merged(data.folds))
        if len(tried) > 1:
            average = find("blend").average(tried, data.labels, known)
            tried += [average] if len(average.members) > 1 else []
        order = sorted(((loss(each, data), place) for place, each in enumerate(tried)), reverse=True)
        losses = {tried[place].head: found for found, place in order}  # of two blends the better one
        best = tried[order[-1][1]]
    head: Head = find(best.head).fit(replace(data, validated=best), options={}, progress=progress, watcher=watcher)
    return replace(head, settings={**head.settings, "chosen_from": losses}) if len(losses) > 1 else head


def compete(data: HeadData, *, scaling: str = "features", closed: Validated | None = None) -> list[Validated]:
    """Cross-validate every head that these pictures call for.

    With one picture a class nothing can be measured, and the prototype, which assumes least, is the only one. Logistic
    regression and the prototype are left out where they would take more than `FLOPS_AN_IMAGE` for each image: beside
    ridge regression they gain little where classes are many.

    Args:
        scaling: what ridge and logistic regression are fitted with (`_scaling`).
        closed: ridge regression, where it was cross-validated before.
    """
    clean = data.labels[: data.clean]  # further views of a picture are no more pictures
    if not scorable(data.labels, data.folds).any():
        return [find("prototype").validate(data, {})]
    found: list[Validated] = [closed or find("ridge").validate(data, {"scaling": scaling})]
    most = max(_FLOPS, FLOPS_AN_IMAGE * len(clean))
    linear, prototype = find("linear"), find("prototype")
    if linear.work(data) <= most:
        found.append(linear.validate(data, {"scaling": scaling}))
        found.append(find("blend").mean(found))
    if few(clean) and prototype.work(data) <= most:
        found.append(prototype.validate(data, {"scaling": scaling}))
    return found


def loss(validated: Validated, data: HeadData) -> float:
    """Compute the mean out-of-fold cross-entropy over the rows whose class other folds have too."""
    labels = data.labels[validated.rows]
    known = measurable(data, validated.rows)
    return log_loss(validated.out_of_fold[known], labels[known])
