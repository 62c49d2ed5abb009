"""A weighted mean of the logits of several heads, each on some of the features, as one softmax layer.

Heads and sets of layers err differently, and which of them is best cannot be told for certain by few images. So they
are averaged rather than picked: a mean of linear maps is a linear map, so it costs nothing more at prediction. Each
weighs

    exp(−(its loss − the least loss) / standard error of that difference)

out of fold, so what is worse beyond doubt has no say, and what cannot be told from the best has as much as it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headstart.errors import RecipeError
from headstart.heads import Head, HeadData, Layer, Validated, Watcher, check_options, find, softmax
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained
from headstart.spool import with_columns

NAME = "blend"
SUMMARY = "a weighted mean of heads on several sets of layers, as one layer"
BY_EPOCHS = False
OUTPUTS = ("softmax",)

USUAL = ({"head": "ridge", "weight": 0.5}, {"head": "linear", "weight": 0.5})
"""Members of a blend that names none: both on all features."""
MOST = 8
"""Members, at most."""
LEAST = 0.02
"""Weight below which a member is left out."""
_KEYS = ("head", "scaling", "strength", "parts", "weight")
_TINY = 1e-30


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """Describe the one layer."""
    _members(options)
    return one_layer(classes, activation)


def _members(options: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    check_options(NAME, options, ["members", "scaling"])
    given = options.get("members", [{**each, **_own(options)} for each in USUAL])
    if not isinstance(given, (list, tuple)) or not 0 < len(given) <= MOST:
        raise RecipeError(f"members of the blend head is a list of 1 to {MOST} mappings; got {given!r}")
    for each in given:
        if not isinstance(each, Mapping) or "head" not in each or set(each) - set(_KEYS):
            raise RecipeError(f"a member of the blend head is a mapping of {', '.join(_KEYS)}; got {each!r}")
        if each["head"] == NAME or not hasattr(find(each["head"]), "validate"):
            raise RecipeError(f"a member of the blend head is ridge, linear or prototype; got {each['head']!r}")
        weight = each.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1:
            raise RecipeError(f"weight of a member must lie above 0 and not above 1; got {weight!r}")
        find(each["head"]).shape(2, _own(each))
    return given


def _own(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("scaling", "strength") if name in options}


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head; `options` may name the `members`: mappings of `head`, `scaling`, `strength`, `parts` and
    `weight`.

    `parts` are places in `HeadData.parts`, from 0: the outputs that the member is given.

    Returns:
        A head of one softmax layer with out-of-fold accuracy and loss.
    """
    del progress, watcher  # for heads that are trained by epochs
    found = data.validated or validate(data, options or {})
    return head_of(data, found, finish(data, found), solver="mean of heads")


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    return float(sum(find(str(each["head"])).work(data) for each in USUAL))


def validate(data: HeadData, options: Mapping[str, Any]) -> Validated:
    """Cross-validate the members on the same rows."""
    members = []
    for each in _members(options):
        parts = tuple(each.get("parts", range(max(len(data.parts), 1))))
        found = find(str(each["head"])).validate(_part(data, parts), _own(each))
        members.append((replace(found, parts=parts), float(each.get("weight", 1.0))))
    return _of([member for member, _ in members], np.array([weight for _, weight in members]))


def mean(members: Sequence[Validated]) -> Validated:
    """Blend heads that were cross-validated on the same features, all with one weight."""
    return _of(members, np.ones(len(members)))


def average(members: Sequence[Validated], labels: np.ndarray, known: np.ndarray) -> Validated:
    """Average heads that were cross-validated, each by what its out-of-fold loss says of it.

    Args:
        members: each with the `parts` that it is given; blends among them are taken apart.
        labels: of all rows.
        known: which of all rows can be scored.
    """
    rows = members[0].rows
    for member in members[1:]:
        rows = np.intersect1d(rows, member.rows)
    rows = rows[known[rows]] if known[rows].any() else rows
    losses = np.stack([_on(member, rows).losses(labels) for member in members])
    behind = losses - losses[losses.mean(axis=1).argmin()]
    error = behind.std(axis=1) / len(rows) ** 0.5
    weights = np.exp(-behind.mean(axis=1) / np.maximum(error, 1e-9))
    flat: dict[tuple[Any, ...], tuple[Validated, float]] = {}
    for member, weight in zip(members, weights / weights.sum(), strict=True):
        for each, share in member.weighted():
            key = (each.head, each.settings.get("scaling"), each.parts)
            flat[key] = (each, weight * share + flat.get(key, (each, 0.0))[1])
    kept = sorted(flat.values(), key=lambda pair: -pair[1])[:MOST]
    kept = [pair for pair in kept if pair[1] >= LEAST] or kept[:1]
    return _of([member for member, _ in kept], np.array([weight for _, weight in kept]))


def _of(members: Sequence[Validated], weights: np.ndarray) -> Validated:
    """Blend members by these weights, on the rows that all of them answered."""
    rows = members[0].rows
    for member in members[1:]:
        rows = np.intersect1d(rows, member.rows)
    weights = weights / weights.sum()
    logits = sum(
        weight * np.log(np.maximum(_on(member, rows).out_of_fold, _TINY))
        for member, weight in zip(members, weights, strict=True)
    )
    told = [
        {"head": member.head, "scaling": str(member.settings.get("scaling", "features")),
         **({"strength": float(member.settings["strength"])} if "strength" in member.settings else {}),
         **({"parts": list(member.parts)} if member.parts else {}), "weight": round(float(weight), 6)}
        for member, weight in zip(members, weights, strict=True)
    ]  # fmt: skip
    answers = softmax(logits).astype(np.float32)
    return Validated(NAME, {"members": told}, rows, answers, members=tuple(members), count=members[0].count)


def _on(member: Validated, rows: np.ndarray) -> Validated:
    """A member's answers to some of its rows."""
    return replace(member, rows=rows, out_of_fold=member.out_of_fold[np.searchsorted(member.rows, rows)])


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit the members on all rows and average their layers; a member has no say over features that it is not given."""
    kernel = np.zeros((data.features.shape[1], data.classes), np.float32)
    bias = np.zeros(data.classes, np.float32)
    for member, weight in validated.weighted():
        (layer,) = find(member.head).finish(_part(data, member.parts), member)
        kernel[_columns(data, member.parts)] += np.float32(weight) * layer.kernel
        bias += np.float32(weight) * layer.bias
    return (Layer(kernel, bias, "softmax"),)


def _columns(data: HeadData, parts: Sequence[int]) -> np.ndarray:
    widths = data.parts or (data.features.shape[1],)
    starts = np.concatenate([[0], np.cumsum(widths)])
    return np.concatenate([np.arange(starts[part], starts[part + 1]) for part in parts or range(len(widths))])


def _part(data: HeadData, parts: Sequence[int]) -> HeadData:
    """The same rows with the features of some outputs alone."""
    widths = data.parts or (data.features.shape[1],)
    if not parts or tuple(parts) == tuple(range(len(widths))):
        return data
    if not all(isinstance(part, int) and 0 <= part < len(widths) for part in parts):
        raise RecipeError(f"parts of a member are places of outputs, 0 to {len(widths) - 1}; got {list(parts)!r}")
    return replace(
        data, features=with_columns(data.features, _columns(data, parts)), parts=tuple(widths[part] for part in parts),
        validated=None,
    )  # fmt: skip
