"""A name for what a layer computes: the same function has the same name wherever it comes from.

The name of a tensor is a digest of the operation that makes it (class, configuration, weights) and of the names of
its inputs, down to the pixels (a Merkle tree). Names of layers and what could be trained do not count. So the
features of `block_12_add` computed while a source was ranked are found again by the classifier that was saved from
it, by another source that shares its lower layers, or tomorrow; and other weights never are mistaken for them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from headstart.sources._graph import weights_of

if TYPE_CHECKING:
    import keras

_DOES_NOT_COUNT = frozenset({"name", "trainable", "optional", "seed", "activity_regularizer"})


def fingerprints(model: keras.Model) -> list[str]:
    """One digest (64 hexadecimal digits) for each output of a functional model, in the model's order."""
    known: dict[int, bytes] = {}
    weights: dict[int, bytes] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):  # from the inputs on, so that no recursion is needed
        for node in model._nodes_by_depth[depth]:
            name = _node_digest(node, known, weights)
            for index, tensor in enumerate(node.output_tensors):
                known[id(tensor)] = hashlib.sha256(name + index.to_bytes(2, "big")).digest()
    return [known[id(tensor)].hex() for tensor in model.outputs]


def _node_digest(node: Any, known: dict[int, bytes], weights: dict[int, bytes]) -> bytes:
    operation = node.operation
    if id(operation) not in weights:
        weights[id(operation)] = _weights_digest(operation)
    digest = hashlib.sha256()
    digest.update(_config_text(operation).encode())
    digest.update(weights[id(operation)])
    digest.update(_arguments_text(node, known).encode())
    return digest.digest()


def _weights_digest(operation: Any) -> bytes:
    digest = hashlib.sha256()
    for array in weights_of(operation) if hasattr(operation, "weights") else []:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _config_text(operation: Any) -> str:
    config = {
        key: value
        for key, value in operation.get_config().items()
        if key not in _DOES_NOT_COUNT and not key.endswith(("_initializer", "_regularizer", "_constraint"))
    }
    return json.dumps([type(operation).__name__, config], sort_keys=True, default=str)


def _arguments_text(node: Any, known: dict[int, bytes]) -> str:
    """The call's arguments, tensors replaced by their names."""

    def named(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)].hex()
        if isinstance(value, (list, tuple)):
            return [named(item) for item in value]
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        return repr(value)

    arguments = {key: value for key, value in node.arguments.kwargs.items() if key not in ("training", "mask")}
    return json.dumps([named(node.arguments.args), named(arguments)], sort_keys=True)
