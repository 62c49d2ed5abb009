"""None of these: whether a picture looks like any that the classifier was trained on.

The rule is the distance to the k-th nearest training picture, by the angle between features (deep nearest neighbours,
Sun et al. 2022, arXiv 2204.06507), in the mean over the parts that they are joined from: several cuts, or a cut pooled
in two ways, have numbers of very different size. It knows nothing of labels or of pictures that are none of the
classes; of the rules that `bench/rejection.py` compares it was the best.

The threshold is set on the training pictures themselves: each is scored against the others, its own copies and the
rest of its group left out, and the score is taken that a new picture of the classes exceeds with a stated probability
(the quantile of conformal prediction, Vovk et al. 2005). What that came to on pictures that decided nothing is measured
and kept beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart.errors import ModelFileError
from headstart.evaluate import Rate
from headstart.halves import widened
from headstart.intervals import wilson
from headstart.trunk import Output

RULE = "k-th nearest training picture"
FALSE_ALARM = 0.01
"""The share of the classes' own pictures that may be taken for none of them; more where too few are there to say."""
REFERENCES = 1_000
"""Training pictures that are kept to compare with, at most; as many of each class as there are."""
NEIGHBOURS = 0.02
"""k as a share of the references: a few odd pictures among them must not make everything odd look known."""
FEWEST = 10
"""Training pictures that are needed for a rule: with fewer, one false alarm in ten could not be promised."""
MEMBER = "headstart_rejection.f16"
MAX_NUMBERS = 4_000_000  # 8 MB in the file
MAX_PARTS = 64
WIDEST = 2_000
"""Columns of the references that a rule goes by, at most: those of the deepest layers. Of MobileNetV2's block ends at
160 px, pooled on average, the last four (1,920 columns) rejected 91 % of the strangers and all sixteen, each with the
same say, 46 %, in the mean over six pairs: cats_vs_dogs or trashnet6 known, each of the other three sets strange."""
_SCORED = 4_000  # training pictures that the threshold is set on, at most
_AT_ONCE = 1024


@dataclass(frozen=True)
class Rejection:
    """A rule that says of features whether they look like any of the classes.

    Attributes:
        references: float16, shape (pictures, width): directions of training pictures' features, each of length 1.
        neighbours: k; the k-th nearest reference is what counts.
        threshold: the largest distance (1 − cosine) at which a picture is still known.
        false_alarm: the share of the classes' own pictures that is expected to lie beyond it, 0 to 1.
        parts: the outputs that the features come from, side by side: how many numbers of a picture each has, and in how
            many columns of the references they end, since flattened ones are summed over the places of the picture;
            0 where the output has no say.
        reached: the share of false alarms on pictures that decided nothing; None before it is measured.
    """

    references: np.ndarray = field(repr=False)
    neighbours: int
    threshold: float
    false_alarm: float
    parts: tuple[tuple[int, int], ...]
    reached: Rate | None = None

    @property
    def dimensions(self) -> int:
        """How many numbers a picture's features have."""
        return sum(numbers for numbers, _ in self.parts)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """How strange pictures are: float32 of shape (pictures,), 0 (as one of the references) to 2.

        Args:
            features: of shape (pictures, dimensions), any float type.
        """
        known = widened(self.references)
        blocks = [
            _kth(_directions(features[start : start + _AT_ONCE], self.parts) @ known.T, self.neighbours)
            for start in range(0, len(features), _AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def known(self, features: np.ndarray) -> np.ndarray:
        """Whether each picture looks like any of the classes, bool of shape (pictures,)."""
        result: np.ndarray = self.scores(features) <= self.threshold
        return result

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: the rule, its stated rate of false alarms and the one reached."""
        return {
            "rule": RULE, "false_alarm": self.false_alarm, "threshold": self.threshold, "neighbours": self.neighbours,
            "references": len(self.references), "reached": self.reached.as_dict() if self.reached else None,
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What `headstart.json` holds of it."""
        return {**self.as_dict(), "parts": [list(part) for part in self.parts]}

    def numbers(self) -> bytes:
        """What the member `MEMBER` of a classifier file holds: the references, row by row."""
        return np.ascontiguousarray(self.references, "<f2").tobytes()


def fit(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, outputs: Sequence[Output] = (),
    false_alarm: float = FALSE_ALARM, seed: int = 0, unseen: np.ndarray | None = None,
    witness: np.ndarray | None = None,
) -> Rejection | None:  # fmt: skip
    """A rule from training pictures; None where there are too few of them.

    Args:
        features: of shape (pictures, dimensions), any float type.
        labels: their classes, 0 .. C − 1; they decide only that every class is among the references.
        groups: equal numbers for pictures that belong together, such as copies: none vouches for another.
        outputs: what the features come from, side by side; one output that is no flattened one where nothing is given.
        false_alarm: the share of the classes' own pictures that may be rejected, above 0 and below 1.
        seed: draws the references.
        unseen: rows that the network itself was not tuned on, where it was: the threshold is set on these alone, since
            the others look nearer to each other than new pictures will.
        witness: features of the same pictures by a network that was not tuned on `unseen`, where the one at hand was:
            then the threshold is set among these.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(200, 8)) + 3
        >>> rule = fit(draws, np.zeros(200, int), np.arange(200))
        >>> rule.known(np.array([[3.0] * 8, [3.0, -3.0] * 4])).tolist()
        [True, False]
    """
    count = len(features)
    parts = _deepest(outputs) or ((features.shape[1],) * 2,)
    most = max(1, min(REFERENCES, MAX_NUMBERS // sum(width for _, width in parts)))
    random = np.random.default_rng([seed, 11])
    chosen = _balanced(labels, most, random)
    counts = np.bincount(labels[chosen])  # with more classes than references some have none
    smallest = int(counts[counts > 0].min(initial=len(chosen)))
    neighbours = max(1, min(round(NEIGHBOURS * len(chosen)), smallest // 2))
    references = _directions(features[chosen], parts).astype(np.float16)
    scored = np.arange(count) if unseen is None else unseen
    scored = scored if len(scored) <= _SCORED else np.sort(random.choice(scored, _SCORED, replace=False))
    seen_by = features if witness is None else witness
    among = references if witness is None else _directions(witness[chosen], parts).astype(np.float16)
    scores = _left_out(seen_by, scored, among, parts=parts, groups=groups, of=chosen, neighbours=neighbours)
    scores = np.sort(scores[np.isfinite(scores)])
    if len(scores) < FEWEST:
        return None
    place = min(math.ceil((len(scores) + 1) * (1 - false_alarm)), len(scores))
    promised = max(false_alarm, 1 - place / (len(scores) + 1))
    return Rejection(references, neighbours, float(scores[place - 1]), promised, parts)


def measured(rule: Rejection | None, features: np.ndarray, *, split: str) -> Rejection | None:
    """The same rule with the share of the classes' own pictures that it rejects, and its 95 % Wilson interval.

    Args:
        features: of pictures that decided nothing, shape (pictures, dimensions).
        split: where they come from, as the figure will say.
    """
    if rule is None:
        return None
    return replace(rule, reached=rejected(rule, features, split=split))


def rejected(rule: Rejection, features: np.ndarray, *, split: str) -> Rate:
    """The share of pictures that are taken for none of the classes, with its 95 % Wilson interval."""
    count, strange = len(features), int((~rule.known(features)).sum())
    low, high = wilson(strange, count)
    return Rate(split, strange / count if count else math.nan, low, high, count)


def of_member(facts: Any, data: bytes | None) -> Rejection | None:
    """The rule of a classifier file, taken for hostile; None where the file has none.

    Args:
        facts: `rejection` of `headstart.json`.
        data: the bytes of the member `MEMBER`; None where there is none.

    Raises:
        ModelFileError: facts or numbers that headstart cannot have written.
    """
    if facts is None:
        return None
    if not isinstance(facts, Mapping) or data is None:
        raise ModelFileError(f"`rejection` is no rule with its numbers in {MEMBER}; the file is damaged")
    count, neighbours, parts = _whole(facts.get("references")), _whole(facts.get("neighbours")), _parts(facts)
    width = sum(columns for _, columns in parts)
    if not (0 < width * count <= MAX_NUMBERS and len(data) == 2 * width * count and 0 < neighbours <= count):
        raise ModelFileError(
            f"the rule `rejection` has {count} × {width} numbers, {len(data)} bytes and {neighbours} neighbours, which"
            " do not go together; the file is damaged"
        )
    references = np.frombuffer(data, "<f2").reshape(count, width)
    threshold, promised = _share(facts, "threshold", 2), _share(facts, "false_alarm", 1)
    if facts.get("rule") != RULE or not np.isfinite(references).all():
        raise ModelFileError("the rule `rejection` is another than headstart writes, or has no sound numbers")
    return Rejection(references, neighbours, threshold, promised, parts, _rate(facts.get("reached")))


def _width(output: Output) -> int:
    """Flattened features, channels last, are summed over places: as if pooled on average, once brought to length 1."""
    return output.shape[-1] if output.pooling == "flatten" and len(output.shape) == 3 else output.dimensions


def _deepest(outputs: Sequence[Output]) -> tuple[tuple[int, int], ...]:
    """Choose the parts that a rule goes by: whole layers from the last one on, while they have few columns."""
    layers = list(dict.fromkeys(output.layer for output in reversed(outputs)))
    chosen, columns = set(layers[:1]), 0
    for layer in layers:
        columns += sum(_width(output) for output in outputs if output.layer == layer)
        if columns > WIDEST:
            break
        chosen.add(layer)
    return tuple((output.dimensions, _width(output) if output.layer in chosen else 0) for output in outputs)


def _directions(features: np.ndarray, parts: Sequence[tuple[int, int]]) -> np.ndarray:
    """Rows of length 1, float32, to which all parts count the same, whatever the scale of their numbers."""
    rows, some = [], max(1, _AT_ONCE * 1024 // max(features.shape[1], 1))  # flattened features are wide
    count = sum(1 for _, width in parts if width)
    for start in range(0, len(features), some):
        block, found, first = features[start : start + some], [], 0
        for numbers, width in parts:
            if width:
                part = widened(block[:, first : first + numbers]).reshape(len(block), -1, width).sum(axis=1)
                found.append(part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12))
            first += numbers
        rows.append(np.concatenate(found, axis=1) / np.float32(math.sqrt(count)))
    return np.concatenate(rows) if rows else np.zeros((0, sum(width for _, width in parts)), np.float32)


def _kth(similar: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance to the k-th nearest, from cosines of shape (pictures, references)."""
    result: np.ndarray = 1 - np.partition(similar, -neighbours, axis=1)[:, -neighbours]
    return result


def _balanced(labels: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Up to `most` rows, the classes taking turns until they have no more."""
    order = random.permutation(len(labels))
    turn = np.zeros(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _left_out(
    features: np.ndarray, rows: np.ndarray, references: np.ndarray, *, parts: Sequence[tuple[int, int]],
    groups: np.ndarray, of: np.ndarray, neighbours: int,
) -> np.ndarray:  # fmt: skip
    """Scores of training pictures against the references of other groups; inf where too few of these are left."""
    known, scores = widened(references), []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        similar = _directions(features[some], parts) @ known.T
        similar[groups[some][:, None] == groups[of][None, :]] = -np.inf
        scores.append(_kth(similar, neighbours))
    return np.concatenate(scores)


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 < value <= MAX_NUMBERS else 0


def _parts(facts: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    found = facts.get("parts")
    pairs = [pair for pair in found if isinstance(pair, list) and len(pair) == 2] if isinstance(found, list) else []
    sound = [
        (_whole(numbers), _whole(columns)) for numbers, columns in pairs
        if _whole(numbers) and (columns == 0 or (_whole(columns) and numbers % columns == 0)) and columns is not False
    ]  # fmt: skip
    if not isinstance(found, list) or not 0 < len(sound) == len(found) <= MAX_PARTS:
        raise ModelFileError(f"`parts` of the rule `rejection` are {str(found)[:80]}; the file is damaged")
    return tuple(sound)


def _share(facts: Mapping[str, Any], name: str, most: float) -> float:
    value = facts.get(name)
    if not isinstance(value, (int, float)) or not -1e-3 <= value <= most:
        raise ModelFileError(f"`{name}` of the rule `rejection` is {value!r}; expected a number from 0 to {most}")
    return float(value)


def _rate(found: Any) -> Rate | None:
    """What the file says was reached; nothing where it says nothing sound, since nothing depends on it."""
    if not isinstance(found, Mapping):
        return None
    values, count = [found.get(name) for name in ("value", "low", "high")], found.get("n")
    sound = [float(value) for value in values if isinstance(value, (int, float)) and 0 <= value <= 1]
    if len(sound) < len(values) or not isinstance(count, int):
        return None
    return Rate(str(found.get("split")), sound[0], sound[1], sound[2], count)
