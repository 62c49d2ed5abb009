"""The rule of thumb as a prior: few or many pictures × similar or different domain → what to try first, and why.

How similar the pictures are to those that a source was trained on is measured, not asked for: by how well the source's
features separate two classes against what their spread promises. No division of pictures into two groups can account
for more of the features' variance than their widest direction does; that is the promise. What the two classes do
account for, less what chance would give, is a share of it. Where classes lie along the direction in which the source
sees the pictures differ most, it sees what matters here. The pairs of classes that it separates worst decide: a source
that tells a scratched cloth from a clean one, and no scratch from another, is no source for scratches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

MANY_A_CLASS, MANY = 200, 1_000
"""Pictures in the mean class, and in all, from which on there are many: a rule of thumb, no measurement."""
SIMILAR = 0.1
"""The share of the promise from which on a domain counts as similar.

Measured at the deepest cut of EfficientNet-Lite0 on 600 pictures: cats against dogs 0.85, six kinds of rubbish 0.21
(both photographs of things), simulated faults of cloth 0.02; of the same network with random weights 0.01 for all.
"""
_PAIRS = 200  # pairs of classes that are looked at, at most
_LEAST = 6  # pictures of a pair
_WORST = 0.1  # of the pairs that are separated worst, this share may be worse than what decides


@dataclass(frozen=True)
class Prior:
    """What the rule of thumb says before anything is ranked.

    Attributes:
        many: whether there are many pictures, by the rule of thumb.
        similarity: the share of what the features' spread promises that two classes account for, 0 to 1.
        similar: whether that counts as a similar domain.
        first: the first recipe to try, in words.
        fields: what of it can be done now as fields of a recipe, `cut` being `deepest` or `earlier`.
        reason: one sentence.
        source: whose features were looked at.
    """

    many: bool
    similarity: float
    similar: bool
    first: str
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "many": self.many, "similarity": None if np.isnan(self.similarity) else self.similarity,
            "similar": self.similar, "first": self.first, "reason": self.reason, "fields": dict(self.fields),
            "source": self.source,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.first}: {self.reason}"


_RULES: Mapping[tuple[bool, bool], tuple[str, dict[str, Any], str]] = {
    (False, True): (
        "a linear head on the top of the frozen network", {"head": "linear", "cut": "deepest"},
        "few pictures would spoil what the network knows, and what it knows fits",
    ),
    (False, False): (
        "a linear head on an earlier cut", {"head": "linear", "cut": "earlier"},
        "few pictures are too few to tune on, and the top layers are about other things than these classes",
    ),
    (True, True): (
        "tuning the top blocks from a linear head on the top",
        {"head": "linear", "cut": "deepest", "fine_tune": "auto"},
        "there are pictures enough to adapt the layers that are most about the source's own classes",
    ),
    (True, False): (
        "tuning all of the network from a linear head on an earlier cut",
        {"head": "linear", "cut": "earlier", "fine_tune": "auto"},
        "there are pictures enough, and the source's layers are about other things than these classes",
    ),
}  # fmt: skip


def prior(features: np.ndarray, labels: np.ndarray, *, pictures: int | None = None, source: str = "") -> Prior:
    """What to try first on these pictures with this source.

    Args:
        features: of its deepest cut, average pooled, shape (pictures, dimensions); some hundred pictures are enough.
        labels: their classes, 0 .. C − 1.
        pictures: how many training pictures there are in all, where `features` are of a sample.
        source: what to call the source.

    Example:
        >>> labels = np.arange(40) % 2
        >>> seen = np.random.default_rng(0).normal(size=(40, 5)) + 4 * labels[:, None]
        >>> found = prior(seen, labels)
        >>> found.similar, found.many, found.first
        (True, False, 'a linear head on the top of the frozen network')
    """
    count = len(labels) if pictures is None else pictures
    classes = len(np.unique(labels))
    each = count / max(classes, 1)
    many = count >= MANY and each >= MANY_A_CLASS
    share = similarity(features, labels)
    similar = bool(share >= SIMILAR)
    first, fields, why = _RULES[many, similar]
    amount = f"{'many' if many else 'few'} pictures ({count:,}, {each:,.0f} a class)"
    if np.isnan(share):
        return Prior(many, share, True, *_unknown(many, amount), source=source)
    near = f"a {'similar' if similar else 'different'} domain (the classes that are hardest to tell apart"
    near += f" account for {share:.0%} of what the features' spread promises)"
    reason = f"{amount} of {near}; {why}"
    return Prior(many, share, similar, first, reason, fields, source)


def _unknown(many: bool, amount: str) -> tuple[str, str, dict[str, Any]]:
    first, fields, why = _RULES[many, True]
    return first, f"{amount}, too few to say how similar the domain is; {why}", fields


def similarity(features: np.ndarray, labels: np.ndarray) -> float:
    """How well the worst separated pairs of classes are, against what the features' spread promises, 0 to 1.

    Args:
        features: shape (pictures, dimensions), any float type.
        labels: their classes.

    Returns:
        The share of the pair in the lowest tenth of the pairs; nan where no pair has six pictures.
    """
    present = np.unique(labels)
    pairs = list(combinations(present.tolist(), 2))
    if len(pairs) > _PAIRS:
        chosen = np.random.default_rng(0).choice(len(pairs), _PAIRS, replace=False)
        pairs = [pairs[at] for at in chosen]
    X = np.asarray(features, np.float64)
    shares = []
    for first, second in pairs:
        inside = (labels == first) | (labels == second)
        if inside.sum() >= _LEAST:
            shares.append(_share(X[inside], labels[inside] == first))
    return float(np.quantile(shares, _WORST, method="lower")) if shares else float("nan")


def _share(X: np.ndarray, one: np.ndarray) -> float:
    """Of the variance along the widest direction, what the difference of two groups accounts for beyond chance."""
    X = X - X.mean(axis=0)
    total = float((X**2).sum())
    if total <= 0:
        return 0.0
    between = sum(float((X[group].sum(axis=0) ** 2).sum()) / group.sum() for group in (one, ~one)) / total
    chance = 1 / (len(X) - 1)
    gained = max(0.0, (between - chance) / (1 - chance))
    inner = X @ X.T if len(X) <= X.shape[1] else X.T @ X
    widest = float(np.linalg.eigvalsh(inner)[-1]) / total
    return float(min(1.0, gained / max(widest, 1e-12)))
