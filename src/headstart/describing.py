"""The worker's side of a summary: what a source consists of, layer by layer."""

from __future__ import annotations

from typing import Any

from headstart import sources
from headstart.compiling import source_model
from headstart.errors import SourceError
from headstart.sources import _blocks


def describe_source(spec: dict[str, Any], cut: str | None) -> dict[str, Any]:
    """Every layer of a source, and which of them its cut needs, as plain JSON.

    Args:
        spec: as `TrunkSpec.for_worker` gives it.
        cut: name of a layer; None for the deepest cut there is.

    Returns:
        `cut`, its name, and `layers`, in the network's order.

    Raises:
        SourceError: the source cannot be built, or lacks the cut.
    """
    import keras

    model = source_model(spec)
    pattern = sources.find(spec["name"]).block_pattern
    ends = _blocks.block_ends(model, pattern)
    name = cut or (ends[-1] if ends else model.layers[-1].name)
    found = _blocks.layer_or_near(model, name, pattern)
    if len(found._inbound_nodes) > 1:
        raise SourceError(f"the layer {name} is used more than once, so it has no one output; cut at another layer")
    needed = {layer.name for layer in keras.Model(model.inputs, found.output).layers}
    return {"cut": name, "layers": [
        {"name": layer.name, "kind": type(layer).__name__, "shape": _shape(layer),
         "parameters": int(layer.count_params()), "block_end": layer.name in ends, "used": layer.name in needed}
        for layer in model.layers
    ]}  # fmt: skip


def _shape(layer: Any) -> list[int | None]:
    """Of its first output, without the batch."""
    return list(layer._inbound_nodes[0].output_tensors[0].shape[1:])
