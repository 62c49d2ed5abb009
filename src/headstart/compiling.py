"""The worker's side of a trunk: a source built, cut and written in a form that an engine runs.

These functions import Keras, so they run in a worker process (`worker.py`); what they leave behind is a folder with
`trunk.json` and the compiled form.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import sources
from headstart.errors import EngineError, SourceError
from headstart.files import atomic_folder, file_digest, json_digest
from headstart.fingerprints import fingerprints
from headstart.layout import CannotConvertError, to_channels_first
from headstart.sources import _blocks

if TYPE_CHECKING:
    import keras

FLATTEN_LIMIT = 400_000
"""Numbers a picture: beyond this a flattened cut is refused as a slip."""


@lru_cache(maxsize=2)
def _source_model(name: str, height: int, width: int, weights: str, seed: int, preprocessing: str) -> keras.Model:
    source = sources.scaled(sources.find(name), preprocessing)
    model = sources.build(source, image_size=(height, width), weights=weights, seed=seed)
    model.trainable = False  # so it is saved, and whoever loads the file and goes on training trains the head alone
    return model


def source_model(spec: dict[str, Any]) -> keras.Model:
    """The flat Keras model of a source; the same spec gives the same object, so it must not be changed."""
    height, width = spec["image_size"]
    return _source_model(spec["name"], height, width, spec["weights"], spec["seed"], spec["preprocessing"])


def pooled(tensor: Any, pooling: str) -> Any:
    """`avg`, `max`, `avg+max` or `flatten` of a (batch, height, width, channels) tensor; 2-D ones stay as they are."""
    from keras import layers

    if len(tensor.shape) == 2:
        return tensor
    match pooling:
        case "avg":
            return layers.GlobalAveragePooling2D(name="pool_avg")(tensor)
        case "max":
            return layers.GlobalMaxPooling2D(name="pool_max")(tensor)
        case "avg+max":
            both = [pooled(tensor, "avg"), pooled(tensor, "max")]
            return layers.Concatenate(name="pool_avg_max")(both)
        case "flatten":
            return layers.Flatten(name="flatten")(tensor)
    raise SourceError(f"unknown pooling {pooling!r}; expected avg, max, avg+max or flatten")


def compile_source(
    folder: str, spec: dict[str, Any], cuts: list[str] | None, *, poolings: list[str], engine: str
) -> dict[str, Any]:
    """Build a source, cut it at every block end (or at `cuts`) and leave it in `folder` for `engine`.

    Returns:
        What was written to `trunk.json`: the outputs in order, the layout, the precision.

    Raises:
        SourceError: a cut that the source lacks.
    """
    import keras

    model = source_model(spec)
    source = sources.find(spec["name"])
    pattern = source.block_pattern
    names = list(cuts) if cuts else list(_blocks.block_ends(model, pattern))
    outputs, tensors = [], []
    for name in names:
        _blocks.layer_or_near(model, name, pattern)
        tensor = model.get_layer(name).output
        parameters = keras.Model(model.inputs, tensor).count_params()
        for pooling in poolings:
            feature = pooled_by(tensor, pooling)
            _check_width(name, pooling, tensor, feature)
            tensors.append(feature)
            outputs.append({"layer": name, "pooling": pooling, "shape": list(tensor.shape[1:]),
                            "dimensions": int(feature.shape[1]), "parameters": parameters,
                            "member": sources.member_of(source, name)})  # fmt: skip
    trunk = keras.Model(model.inputs, tensors)
    for output, fingerprint in zip(outputs, fingerprints(trunk), strict=True):
        output["fingerprint"] = fingerprint
    return write_trunk(folder, trunk, {"source": spec["name"], "outputs": outputs}, engine)


def compile_classifier(folder: str, path: str, engine: str) -> dict[str, Any]:
    """A classifier file split into its trunk, for `engine`, and its head, as plain arrays."""
    import keras
    import numpy as np

    from headstart.classifier_file import load_keras, split_head

    model = load_keras(path)
    features, head = split_head(model)
    trunk = keras.Model(model.inputs, features)
    outputs = [
        {"layer": tensor._keras_history[0].name, "pooling": "", "shape": list(tensor.shape[1:]),
         "dimensions": int(tensor.shape[1]), "fingerprint": fingerprint}
        for tensor, fingerprint in zip(features, fingerprints(trunk), strict=True)
    ]  # fmt: skip
    facts = {"source": Path(path).name, "outputs": outputs, "head": [layer["config"] for layer in head]}
    arrays = {
        f"{number}_{index}": value for number, layer in enumerate(head) for index, value in enumerate(layer["weights"])
    }

    def with_head(target: Path) -> None:
        np.savez(target / "head.npz", **arrays)

    return write_trunk(folder, trunk, facts, engine, with_head)


def pooled_by(tensor: Any, pooling: str) -> Any:
    """Pooled, without a name of its own: many cuts of one model need many pooling layers."""
    from keras import layers

    if len(tensor.shape) == 2:
        return layers.Identity()(tensor)
    kinds = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D, "flatten": layers.Flatten}
    return kinds[pooling]()(tensor)


def _check_width(name: str, pooling: str, tensor: Any, feature: Any) -> None:
    if len(tensor.shape) not in (2, 4):
        raise SourceError(f"the cut {name} has shape {tuple(tensor.shape[1:])}; expected height × width × channels")
    if int(feature.shape[1]) > FLATTEN_LIMIT:
        raise SourceError(
            f"the cut {name} with pooling {pooling} gives {int(feature.shape[1]):,} numbers a picture;"
            f" at most {FLATTEN_LIMIT:,} are taken.\nUse --pooling avg, a later cut or a smaller --image-size."
        )


def _free_the_batch(path: Path) -> None:
    """Let a network that Keras has traced with one picture take any number of them.

    Keras writes that one into the shape of every Reshape (squeeze-and-excite blocks, Flatten); a zero stands for
    "as many as come in".

    Raises:
        EngineError: something else in the network holds on to one picture.
    """
    import numpy as np
    import openvino
    from openvino import opset13

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the file is replaced below
    model = core.read_model(path)
    fed, changed = set(), False  # nodes that see the picture; the others reshape weights
    for node in model.get_ordered_ops():
        givers = [node.input_value(index).get_node() for index in range(node.get_input_size())]
        if node.get_type_name() == "Parameter" or any(giver.get_name() in fed for giver in givers):
            fed.add(node.get_name())
        if node.get_type_name() != "Reshape" or givers[0].get_name() not in fed:
            continue
        shape = np.array(givers[1].data) if givers[1].get_type_name() == "Constant" else np.zeros(0)
        if len(shape) and shape[0] == 1:
            shape[0] = 0
            node.input(1).replace_source_output(opset13.constant(shape).output(0))
            node.set_attribute("special_zero", True)
            changed = True
    if changed:
        model.validate_nodes_and_infer_types()
        fresh = path.with_name("batched.xml")
        openvino.save_model(model, fresh, compress_to_fp16=False)
        for suffix in (".xml", ".bin"):
            fresh.with_suffix(suffix).replace(path.with_suffix(suffix))
    try:
        model.reshape([2, *(side.get_length() for side in list(model.inputs[0].partial_shape)[1:])])
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO can run this network on one picture at a time only: {str(error).splitlines()[-1]}\n"
            "Run it with Keras itself: set HEADSTART_ENGINE=keras."
        ) from error


def write_trunk(
    folder: str, trunk: keras.Model, facts: dict[str, Any], engine: str, extra: Any = None
) -> dict[str, Any]:
    """Leave a network in `folder` for `engine`, with `trunk.json`; returns what was written there.

    Args:
        facts: `source` and `outputs`, and whatever else is to be kept.
        extra: called with the folder, for further files.
    """
    import keras

    facts["image_size"] = list(trunk.inputs[0].shape[1:3])
    with atomic_folder(folder) as target:
        if engine == "openvino":
            from headstart.engines.openvino import best_precision

            layout = "channels_first"
            try:
                compiled = to_channels_first(trunk)
            except CannotConvertError:
                layout, compiled = "channels_last", trunk
            keras.config.set_image_data_format(layout)
            try:
                compiled.export(str(target / "trunk.xml"), format="openvino", verbose=False)
            finally:
                keras.config.set_image_data_format("channels_last")
            _free_the_batch(target / "trunk.xml")
            facts |= {"layout": layout, "precision": best_precision()}
        else:
            trunk.save(target / "trunk.keras")
            facts |= {"layout": "channels_last", "precision": "f32"}
        if extra is not None:
            extra(target)
        facts["files"] = {path.name: file_digest(path) for path in sorted(target.iterdir())}
        (target / "trunk.json").write_text(json.dumps(facts | {"whole": json_digest(facts)}, indent=1))
    return facts
