"""The worker's side of a summary: what a source consists of, layer by layer."""

from __future__ import annotations

from typing import Any

from headstart import sources
from headstart.compiling import source_model
from headstart.errors import SourceError
from headstart.sources import _blocks


def describe_source(spec: dict[str, Any], cuts: list[str]) -> dict[str, Any]:
    """Every layer of a source, and which of them its cuts need, as plain JSON.

    Args:
        spec: as `TrunkSpec.for_worker` gives it.
        cuts: names of layers; empty for the deepest cut there is, of each network that the source consists of.

    Returns:
        `cuts`, their names, and `layers`, in the order of each network, one network after the other.

    Raises:
        SourceError: the source cannot be built, or lacks a cut.
    """
    import keras

    model, source = source_model(spec), sources.find(spec["name"])
    ends = _blocks.block_ends(model, source.block_pattern)
    names = cuts or list({sources.member_of(source, end): end for end in ends}.values()) or [model.layers[-1].name]
    found = [_blocks.layer_or_near(model, name, source.block_pattern) for name in names]
    for layer in found:
        if len(layer._inbound_nodes) > 1:
            raise SourceError(
                f"the layer {layer.name} is used more than once, so it has no one output; cut at another layer"
            )
    needed = {layer.name for layer in keras.Model(model.inputs, [layer.output for layer in found]).layers}
    return {"cuts": names, "layers": [
        {"name": layer.name, "kind": type(layer).__name__, "shape": _shape(layer),
         "parameters": int(layer.count_params()), "block_end": layer.name in ends, "used": layer.name in needed}
        for layer in sorted(model.layers, key=lambda layer: sources.member_of(source, layer.name))
    ]}  # fmt: skip


def _shape(layer: Any) -> list[int | None]:
    """Of its first output, without the batch."""
    return list(layer._inbound_nodes[0].output_tensors[0].shape[1:])
