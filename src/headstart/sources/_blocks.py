"""Where a network is worth cutting.

A cut must take all that the layers above need: one tensor that every path from the input to the output passes
through (in graph terms, a dominator of the output). Of these, the last in each block is offered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.errors import SourceError, near
from headstart.sources._graph import steps

if TYPE_CHECKING:
    import keras

_PLUMBING = {"ZeroPadding2D", "Cropping2D", "Rescaling", "Normalization", "InputLayer", "Dropout", "SpatialDropout2D"}
_FOLLOWERS = {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "BatchNormalization", "LayerNormalization", "Identity"}


@dataclass(frozen=True)
class _Gate:
    """A layer that everything passes through, with a feature map (batch, height, width, channels) as output."""

    name: str
    kind: str
    size: tuple[int, int]
    merges: bool


def _gates(model: keras.Model) -> list[_Gate]:
    """In topological order; a step is a gate where its output is the only tensor still needed after it."""
    order = steps(model)
    last_use: dict[int, int] = {}
    for position, step in enumerate(order):
        last_use.update((id(tensor), position) for tensor in step.inputs)
    last_use.update((id(tensor), len(order)) for tensor in model.outputs)
    open_until = [last_use.get(id(tensor), 0) for tensor in model.inputs]
    found, weighty = [], False
    for position, step in enumerate(order):
        open_until = [until for until in open_until if until > position]
        open_until += [last_use[id(tensor)] for tensor in step.outputs if last_use.get(id(tensor), 0) > position]
        weighty = weighty or bool(getattr(step.operation, "weights", ()))
        shape = step.outputs[0].shape
        if weighty and len(step.outputs) == len(open_until) == 1 and len(shape) == 4:
            kind = type(step.operation).__name__
            # A product is a gate on its own branch (squeeze and excitation), not the end of a block.
            merges = len({id(tensor) for tensor in step.inputs}) > 1 and kind != "Multiply"
            found.append(_Gate(step.operation.name, kind, (shape[1], shape[2]), merges))
    return [gate for gate in found if gate.kind not in _PLUMBING]


Pattern = str | tuple[str | None, ...] | None


def block_ends(model: keras.Model, pattern: Pattern = None, limit: int = 16) -> tuple[str, ...]:
    """Names of the layers where `model` is worth cutting, from the input to the output.

    Where it has several outputs, those of networks side by side, each network is cut by itself.

    Args:
        model: a flat functional model.
        pattern: regular expression for the start of a layer's name; gates for which its first group (or all of
            it) is the same are one block. Without one, merges (with the activation or normalisation that
            follows) and the last layer of each resolution are taken. A tuple has one for each output.
        limit: how many at most, of each network. Beyond it the last of each resolution stays, the rest is thinned
            evenly.

    Returns:
        Names of layers with 4-D outputs, network by network; the last one of each is its deepest cut.
    """
    if isinstance(pattern, tuple):
        import keras

        members = [keras.Model(model.inputs, output) for output in model.outputs]
        parts = [block_ends(member, own, limit) for member, own in zip(members, pattern, strict=True)]
        return tuple(name for part in parts for name in part)
    gates = _gates(model)
    if not gates:
        return ()
    ends = _ends_by_name(gates, pattern) if pattern else _ends_by_shape(gates)
    ends.add(len(gates) - 1)
    return tuple(gates[index].name for index in _thin(gates, sorted(ends), limit))


def _ends_by_name(gates: list[_Gate], pattern: str) -> set[int]:
    last: dict[str, int] = {}
    for index, gate in enumerate(gates):
        found = re.match(pattern, gate.name)
        if found:
            last[next((group for group in found.groups() if group), found.group())] = index
    return set(last.values())


def _ends_by_shape(gates: list[_Gate]) -> set[int]:
    ends = {index for index, gate in enumerate(gates[:-1]) if gate.size != gates[index + 1].size}
    for index, gate in enumerate(gates):
        if gate.merges:
            end = index
            while end + 1 < len(gates) and gates[end + 1].kind in _FOLLOWERS and gates[end + 1].size == gate.size:
                end += 1
            ends.add(end)
    return ends


def _thin(gates: list[_Gate], ends: list[int], limit: int) -> list[int]:
    if len(ends) <= limit:
        return ends
    following = [*ends[1:], None]
    must = [a for a, b in zip(ends, following, strict=True) if b is None or gates[a].size != gates[b].size][-limit:]
    rest = [index for index in ends if index not in must]
    room = limit - len(must)
    spread = [rest[(2 * n + 1) * len(rest) // (2 * room)] for n in range(room)]
    return sorted({*must, *spread})


def layer_or_near(model: keras.Model, name: str, pattern: Pattern = None) -> Any:
    """The layer called `name`.

    Raises:
        SourceError: there is none; the message has near matches and the cuts on offer with their shapes.
    """
    known = {layer.name: layer for layer in model.layers}
    if name in known:
        return known[name]
    ends = block_ends(model, pattern)
    cuts = ", ".join(f"{end} {'×'.join(str(n) for n in known[end].output.shape[1:])}" for end in ends if end in known)
    hint = near(name, ends) or near(name, known)
    raise SourceError(
        f"{model.name} has no layer named {name!r} (of {len(known)}).{hint}\n"
        f"Good cuts (height×width×channels): {cuts or 'none'}"
    )
