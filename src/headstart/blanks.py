"""The worker's side of a classifier file: the whole model, trunk and head, saved before there is a head.

Which numbers the head will have is not known yet, so it is saved with marks in their place, and where the marks lie in
the archive is noted beside them for `classifier_file.fill`.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from headstart.classifier_file import PLACES, WEIGHTS
from headstart.compiling import pooled, pooled_by, source_model
from headstart.files import atomic_path

_MARK = 1_234_567.0  # no weight of a network is so large


def make_blank(path: str, spec: dict[str, Any], cuts: list[list[str]], *, head: list[dict[str, Any]]) -> None:
    """Build trunk and head as one plain Keras model, save it, and note where the head's numbers lie in it.

    Args:
        cuts: layer and pooling of each output that the head stands on, side by side in this order.
    """
    import keras

    source = source_model(spec)
    values, dense = on_top(side_by_side(source, cuts), head)
    model = keras.Model(source.inputs, values, name="classifier")
    marks: list[list[np.ndarray]] = []
    count = 0
    for layer in dense:  # one number all over, a different one for each array: quickly made, and found again
        marks.append([])
        for weight in layer.weights:
            count += 1
            marks[-1].append(np.full(tuple(weight.shape), _MARK + count, np.float32))
        layer.set_weights(marks[-1])
    with atomic_path(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            places = _places(archive.read(WEIGHTS), marks)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(PLACES, json.dumps(places))


def on_top(values: Any, head: list[dict[str, Any]], *, seed: int | None = None) -> tuple[Any, list[Any]]:
    """A head on features: what it gives, and its dense layers.

    Args:
        head: `units`, `activation` and `dropout` (before it) of each dense layer.
        seed: draws the dropout, where the model is to be trained.
    """
    import keras

    dense = []
    for number, layer in enumerate(head):
        if layer["dropout"]:
            own = None if seed is None else seed + number
            values = keras.layers.Dropout(layer["dropout"], seed=own, name=f"head_dropout_{number + 1}")(values)
        name = "predictions" if number == len(head) - 1 else f"head_dense_{number + 1}"
        dense.append(keras.layers.Dense(layer["units"], activation=layer["activation"], name=name))
        values = dense[-1](values)
    return values, dense


def side_by_side(source: Any, cuts: list[list[str]]) -> Any:
    """The pooled outputs of one layer or of several as one tensor."""
    import keras

    layers = list(dict.fromkeys(layer for layer, _ in cuts))
    if len(layers) == 1:
        return pooled(source.get_layer(layers[0]).output, "+".join(pooling for _, pooling in cuts))
    parts = [pooled_by(source.get_layer(layer).output, pooling) for layer, pooling in cuts]
    return keras.layers.Concatenate(name="cuts")(parts)


def _equal(item: Any, mark: np.ndarray) -> bool:
    """Whether a stored array is that mark; where the first numbers differ the rest is not read."""
    return bool(np.array_equal(item[:1], mark[:1])) and bool(np.array_equal(item[...], mark))


def _places(weights: bytes, marks: list[list[np.ndarray]]) -> list[list[str]]:
    """Where each of the marked arrays lies in the weight file: by value, since Keras makes up the names."""
    import h5py

    wanted = {(number, index): mark for number, layer in enumerate(marks) for index, mark in enumerate(layer)}
    found: dict[tuple[int, int], str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            for key, mark in wanted.items():
                if key not in found and item.shape == mark.shape and _equal(item, mark):
                    found[key] = name

    with h5py.File(io.BytesIO(weights), "r") as store:
        store.visititems(visit)
    return [[found[number, index] for index in range(len(layer))] for number, layer in enumerate(marks)]
