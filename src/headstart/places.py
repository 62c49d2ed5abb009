"""The worker's side of an explanation: a trunk that stops before the pooling, so that its answer has places.

These functions import Keras, so they run in a worker process (`worker.py`). The network is the classifier's own, up to
the layer that is pooled or flattened; what the pooling makes of it is left to numpy (`explanation.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.classifier_file import load_keras, split_head
from headstart.compiling import pooled_by, source_model, write_trunk
from headstart.errors import SourceError
from headstart.fingerprints import fingerprints

_POOLINGS = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}


def compile_places(
    folder: str, engine: str, *, path: str | None = None, ours: bool = False, spec: dict[str, Any] | None = None,
    cuts: list[list[str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Leave in `folder` what comes before the pooling of some features, flattened, channels last.

    Args:
        path: a classifier file; its own features are meant. `ours` where headstart has written it to its cache.
        spec: or a source, with `cuts`, the (layer, pooling) of each feature.

    Returns:
        What was written to `trunk.json`; `parts` says of each feature which output it is pooled from, and how.

    Raises:
        SourceError: a feature is not pooled from anything that has places.
    """
    import keras

    if path is not None:
        model = load_keras(path, ours=ours)
        features, _ = split_head(model)
        name = Path(path).name
    else:
        model = source_model(spec or {})
        features = [pooled_by(model.get_layer(layer).output, pooling) for layer, pooling in cuts or ()]
        name = (spec or {})["name"]
    tensors: list[Any] = []
    parts = []
    for feature in features:
        tensor, pooling = _before(feature)
        known = [number for number, other in enumerate(tensors) if other is tensor]
        parts.append([known[0] if known else len(tensors), pooling])
        tensors += [] if known else [tensor]
    flat = keras.Model(model.inputs, [keras.layers.Flatten()(tensor) for tensor in tensors])
    rows = [
        {"layer": tensor._keras_history[0].name, "pooling": "flatten", "shape": list(tensor.shape[1:]),
         "dimensions": int(output.shape[1]), "fingerprint": fingerprint}
        for tensor, output, fingerprint in zip(tensors, flat.outputs, fingerprints(flat), strict=True)
    ]  # fmt: skip
    return write_trunk(folder, flat, {"source": name, "outputs": rows, "parts": parts}, engine)


def _before(feature: Any) -> tuple[Any, str]:
    """The tensor with places that a feature is pooled from, and the pooling."""
    tensor = feature
    while True:
        layer, node = tensor._keras_history[0], tensor._keras_history[1]
        inputs, kind = layer._inbound_nodes[node].input_tensors, type(layer).__name__
        if kind not in ("Identity", "Dropout") or not inputs:
            break
        tensor = inputs[0]
    if kind in _POOLINGS and len(inputs[0].shape) == 4 and max(inputs[0].shape[1:3]) > 1:
        return inputs[0], _POOLINGS[kind]
    raise SourceError(
        f"the layer {layer.name} ({kind}) gives one answer for the whole picture, so no map can say where it comes"
        " from.\nTrain with a cut that is pooled from more than one place, such as the one that --cut auto chooses."
    )
