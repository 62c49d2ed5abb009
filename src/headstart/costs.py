"""What prediction costs at a cut: milliseconds a picture, measured once a trunk and kept beside it, and megabytes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from headstart import engines
from headstart.files import atomic_path
from headstart.trunk import Output, Trunk

_FILE = "milliseconds.json"
FEWEST_TIMED = 32
"""Pictures that must have been run for their seconds to speak of a picture."""


def milliseconds(trunk: Trunk) -> tuple[float, ...]:
    """What a picture costs at each output of a trunk, decoding not counted, on one core where the engine can tell.

    The first measurement is kept: a ranking that is asked for again gives the same answer.
    """
    path = trunk.folder / _FILE
    with suppress(OSError, ValueError, TypeError):
        kept = [float(value) for value in json.loads(path.read_text())]
        if len(kept) == len(trunk.outputs) and all(value > 0 for value in kept):
            return tuple(kept)
    found = tuple(float(value) for value in engines.module(trunk.engine).milliseconds(trunk.folder, trunk.facts))
    with suppress(OSError), atomic_path(path) as temporary:  # a cache may be read-only
        temporary.write_text(json.dumps(found))
    return found


def of(trunk: Trunk) -> Callable[[tuple[Output, ...]], float]:
    """Make a function that gives the cost of outputs; the trunk is measured when it is first called."""
    return lambda outputs: at(milliseconds(trunk), trunk, outputs)


def seconds_a_picture(trunk: Trunk, seconds: float, computed: int) -> float:
    """Estimate what a picture of a pass takes: by a pass that was timed, or by the engine's clock where none was.

    Args:
        seconds: that the pass took.
        computed: pictures that were run in it; the others were found in the store.
    """
    if computed >= FEWEST_TIMED:
        return seconds / computed
    return at(milliseconds(trunk), trunk, trunk.outputs) / 1000 / (os.cpu_count() or 1)


def at(values: Sequence[float], trunk: Trunk, outputs: Sequence[Output]) -> float:
    """The cost of several outputs together, to two digits: a clock is no more exact.

    It is that of the dearest layer, since the network runs through the others on the way, however they are pooled; of
    networks side by side it is the sum.
    """
    layers = {output.layer for output in outputs}
    return float(f"{_summed(values, trunk, [output.layer in layers for output in trunk.outputs]):.2g}")


def megabytes(trunk: Trunk, outputs: Sequence[Output], head: int, *, whole: float) -> float:
    """The size of a classifier, 10**6 bytes, as 32-bit floats.

    Args:
        outputs: what its head stands on.
        head: how many numbers the head has.
        whole: the size of the whole source, where nothing is known of its parts.
    """
    asked = [output in outputs for output in trunk.outputs]
    counts = [count for count in trunk.parameters if count is not None]
    trunks = _summed(counts, trunk, asked) * 4 / 1e6 if len(counts) == len(asked) else whole
    return round(trunks + head * 4 / 1e6, 2)


def _summed(values: Sequence[float], trunk: Trunk, asked: Sequence[bool]) -> float:
    """The largest value among the outputs asked for, of each network; summed over networks that stand side by side."""
    largest: dict[int, float] = {}
    for value, member, wanted in zip(values, trunk.members, asked, strict=True):
        if wanted:
            largest[member] = max(value, largest.get(member, value))
    return sum(largest.values())
