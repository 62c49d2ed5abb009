"""Which layers, pooled how, are worth comparing: single ones, all side by side, and the lower ones of these.

The features of every layer come out of one pass, and several side by side cost nothing more at prediction than the
deepest of them. So all of them together are always a candidate, beside each one by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart.heads._scaling import SCALINGS

if TYPE_CHECKING:
    from headstart.trunk import Output

LOWER = (0.5, 0.75)
"""Shares of the layers, from the pixels on, that are compared as well: they are cheaper than all."""


@dataclass(frozen=True)
class LayerSet:
    """Outputs side by side, and how their features are scaled (`heads._scaling`)."""

    outputs: tuple[Output, ...]
    scaling: str = "features"

    @property
    def dimensions(self) -> int:
        return sum(output.dimensions for output in self.outputs)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(output.layer for output in self.outputs))


def single_layers(outputs: Sequence[Output], pooling: str | None) -> list[LayerSet]:
    """List every layer under each pooling, and under both side by side; `pooling` keeps to one."""
    by_layer: dict[str, list[Output]] = {}
    for output in outputs:
        by_layer.setdefault(output.layer, []).append(output)
    sets: list[LayerSet] = []
    for members in by_layer.values():
        both = len(members) > 1 and pooling in (None, "avg+max")
        if pooling is None or not both:
            sets += [LayerSet((member,)) for member in members]
        if both:
            sets.append(LayerSet(tuple(members)))
    return sets


def all_layers(outputs: Sequence[Output], pooling: str | None) -> list[LayerSet]:
    """List all layers side by side under each pooling and scaling; empty where there is one layer."""
    if len({output.layer for output in outputs}) < 2:
        return []
    poolings = tuple(dict.fromkeys(output.pooling for output in outputs))
    if pooling is not None:
        groups = [tuple(outputs)]
    else:
        groups = [tuple(output for output in outputs if output.pooling == name) for name in poolings]
        groups += [tuple(outputs)] if len(groups) > 1 else []
    return [LayerSet(group, scaling) for group in groups for scaling in SCALINGS]


def lower_layers(whole: LayerSet) -> list[LayerSet]:
    """List the lower parts of layers side by side, `LOWER` of them each."""
    layers = whole.layers
    counts = dict.fromkeys(round(share * len(layers)) for share in LOWER)
    return [
        LayerSet(tuple(output for output in whole.outputs if output.layer in layers[:count]), whole.scaling)
        for count in counts
        if 1 < count < len(layers)
    ]
