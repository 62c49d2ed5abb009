"""What automatic tuning tries before it tunes: where a network is cut, and below which layer nothing is tuned.

Pure functions of what is known; `finetune` runs what they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from headstart.choose import Candidate
from headstart.errors import RecipeError, near
from headstart.trunk import Output
from headstart.tuning_rules import BLOCKS, FULL

FEWEST_CUTS = 4
"""Layers of a network that are needed to tell its middle from its top."""
RISE = 0.05
"""By so much, of 1, the top of a network is at least better than its middle where pictures are near the source's."""

Way = TypeVar("Way")


@dataclass(frozen=True)
class Trial:
    """A short training with one way of tuning: `boundary` (None for all of the network), `cut`, `batch_norm`.

    Attributes:
        accuracy, loss: on the judging pictures afterwards, the loss at the best temperature.
        before: the same two before the first step.
        seconds: that it took; `step_seconds` of a step.
    """

    boundary: str | None
    blocks: int
    cut: str
    batch_norm: str
    before: tuple[float, float]
    accuracy: float
    loss: float
    step_seconds: float
    seconds: float
    losses: np.ndarray = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        values = {name: value for name, value in vars(self).items() if name != "losses"}
        return {**values, "before": list(self.before)}


def worth_keeping(boundary: str | None, blocks: int, ends: Sequence[dict[str, Any]]) -> tuple[str | None, int]:
    """The boundary, where its activations are worth keeping; else all of the network is tuned, from pixels."""
    fits = boundary is None or next(end["kept"] for end in ends if end["layer"] == boundary)
    return (boundary, blocks) if fits else (None, len(ends) + 1)


def lowest(ends: Sequence[dict[str, Any]]) -> tuple[str | None, int]:
    """The lowest boundary whose activations are worth keeping: the stem below it costs most and knows least."""
    kept = [(end["layer"], number) for number, end in enumerate(ends, 1) if end["kept"]]
    return kept[-1] if kept else (None, len(ends) + 1)


def middle(ends: Sequence[dict[str, Any]], low: tuple[str | None, int]) -> tuple[str | None, int] | None:
    """A boundary with about a third as many blocks above it; None where there is hardly a difference."""
    blocks = round(low[1] / 3)
    return (ends[blocks - 1]["layer"], blocks) if blocks >= 1 and blocks < low[1] - 1 else None


def for_far_pictures(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Where to cut for tuning on pictures far from the source's: at two thirds, averages and maxima side by side.

    The top of a network is about its own classes, and its maps are coarse. A frozen network has little to choose from
    for such pictures; one that is tuned can make what is needed out of its middle (`docs/finetune.md`). Empty where
    there are no such outputs.
    """
    layers = list(dict.fromkeys(output.layer for output in outputs))
    at = layers[round(0.7 * (len(layers) - 1))]
    found = tuple(output for output in outputs if output.layer == at)
    return found if {output.pooling for output in found} == {"avg", "max"} and len(layers) >= FEWEST_CUTS else ()


def for_near_pictures(candidates: Sequence[Candidate]) -> tuple[Output, ...]:
    """Where to cut for tuning on pictures near the source's: the best single layer; empty where none was scored."""
    single = [each for each in candidates if len(each.layers) == 1 and len(each.losses)]
    return min(single, key=lambda each: each.loss).outputs if single else ()


def near_source(candidates: Sequence[Candidate], outputs: Sequence[Output]) -> bool | None:
    """Whether pictures are near those of the source, from what each cut of the frozen network is worth.

    Near them every layer adds to what is known, up to the top. Where the top is no better than the middle, what it was
    trained to see is not what these pictures differ in.

    Args:
        candidates: cuts with their out-of-fold scores, of ridge regression, or of the linear head where a cut came so
            far; what lies between these two is small beside `RISE`.
        outputs: of the whole network, the deepest last.

    Returns:
        True where the deepest cut is better than the one at half the depth by more than noise (two standard errors),
        False where it is not better by `RISE` or more, at two standard errors; None where the pictures leave it open.
    """
    layers = list(dict.fromkeys(output.layer for output in outputs))
    if len(layers) < FEWEST_CUTS:
        return None
    single = [candidate for candidate in candidates if len(candidate.layers) == 1 and len(candidate.right)]
    of = {at: [c for c in single if c.layer == layers[at]] for at in (len(layers) // 2, -1)}
    if not all(of.values()):
        return None
    middle, top = (max(found, key=lambda c: c.accuracy) for found in of.values())
    rise = top.accuracy - middle.accuracy
    if len(top.right) == len(middle.right):  # of the same pictures
        error = (top.right.astype(float) - middle.right).std() / np.sqrt(len(top.right))
    else:
        error = np.sqrt(sum(c.right.var() / len(c.right) for c in (top, middle)))
    if rise > 2 * error:
        return True
    return False if rise + 2 * error < RISE else None


def order(near_way: Way, far_way: Way, *, known: bool | None) -> tuple[Way, ...]:
    """Ways of tuning in the order in which they are tried, each once.

    Args:
        known: whether the pictures are near the source's, as `near_source` has it.

    >>> order("near", "far", known=False), order("near", "far", known=True), order("one", "one", known=None)
    (('far', 'near'), ('near',), ('one',))
    """
    if known:
        return (near_way,)
    ways = (far_way, near_way) if known is False else (near_way, far_way)
    return tuple(dict.fromkeys(ways))


def boundary_of(how: str, ends: Sequence[str]) -> tuple[str | None, int]:
    """Below which layer nothing is tuned, and how many blocks lie above it.

    Args:
        how: `full`, `blocks=N` or a layer's name.
        ends: block ends below the cut, the deepest first.

    Raises:
        RecipeError: there is no such layer.

    >>> boundary_of("blocks=2", ["block5", "block4", "block3"])
    ('block4', 2)
    >>> boundary_of("full", ["block5"]), boundary_of("block5", ["block5"])
    ((None, 2), ('block5', 1))
    """
    if how == FULL:
        return None, len(ends) + 1
    if how.startswith(BLOCKS):
        count = int(how.removeprefix(BLOCKS))
        return (ends[count - 1], count) if count <= len(ends) else (None, len(ends) + 1)
    if how not in ends:
        raise RecipeError(
            f"fine_tune {how!r} is none of auto, off, full, blocks=N and the block ends below the cut:"
            f" {', '.join(reversed(ends)) or 'there are none'}.{near(how, ends)}"
        )
    return how, list(ends).index(how) + 1


def cut_of(outputs: Sequence[Output]) -> str:
    """The layers and the pooling of outputs, as one name."""
    layers = "+".join(dict.fromkeys(output.layer for output in outputs))
    return f"{layers}, {'+'.join(output.pooling for output in outputs if output.layer == outputs[0].layer)}"


def chosen(done: Sequence[Trial], before: np.ndarray) -> Trial:
    """Of those that gained anything the one of least loss, or the first of fewer blocks that the pictures cannot tell
    from it; where none did, of all.

    Args:
        before: losses of the frozen network on the judging pictures.
    """
    done = [each for each in done if gains(before - each.losses, errors=0.0)] or done
    best = min(done, key=lambda trial: trial.loss)
    level = [each for each in done if each is best or not gains(each.losses - best.losses, errors=1.0)]
    return min(level, key=lambda trial: (trial.blocks, trial.loss))


def gains(differences: np.ndarray, errors: float) -> bool:
    """Whether the mean lies above zero by so many standard errors."""
    return bool(differences.mean() > errors * differences.std() / np.sqrt(len(differences)))
