"""Walking, flattening and initialising Keras graphs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import SourceError
from headstart.files import json_digest
from headstart.sources._source import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import keras

_FOREIGN = {"LayerScale", "CustomScaleLayer"}  # classes that live beside one application, not in keras.layers


@dataclass(frozen=True)
class Step:
    """One call in a graph: an operation (mostly a layer), what it takes and what it gives."""

    operation: Any
    node: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def steps(model: keras.Model) -> list[Step]:
    """The calls between a model's inputs and outputs, each after those that it needs; input layers left out."""
    seen = {id(tensor) for tensor in model.inputs}
    found: list[Step] = []
    stack: list[tuple[Any, bool]] = [(tensor, False) for tensor in reversed(model.outputs)]
    while stack:
        tensor, ready = stack.pop()
        if id(tensor) in seen:
            continue
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if ready:
            seen.update(id(output) for output in node.output_tensors)
            found.append(Step(operation, node, tuple(node.input_tensors), tuple(node.output_tensors)))
        else:
            stack.append((tensor, True))
            stack.extend((needed, False) for needed in reversed(node.input_tensors))
    return found


@contextmanager
def fresh_names() -> Iterator[None]:
    """Layers without a name of their own are counted from zero inside, so that names do not depend on history.

    Keras offers only `clear_session`, which would take the caller's models along.
    """
    from keras.src.backend.common import global_state

    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


@contextmanager
def channels_last() -> Iterator[None]:
    """Networks are built channels last inside, whatever the process prefers."""
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def is_flat(model: keras.Model) -> bool:
    """True where every call of the graph is one of Keras's own layers, none of them a model."""
    import keras

    return all(
        isinstance(step.operation, keras.Layer)
        and not isinstance(step.operation, keras.Model)
        and type(step.operation).__name__ not in _FOREIGN
        for step in steps(model)
    )


def flatten(model: keras.Model, image: Any, *, name: str, copy_weights: bool = True) -> keras.Model:
    """The same network on another input tensor, as a flat graph of Keras's own layers; `model` stays as it is.

    Nested models are opened up, arithmetic on tensors becomes `Add`, `Multiply` and `Rescaling` layers, and the
    classes that only one application knows become the built-in layer that computes the same.

    Raises:
        SourceError: the network cannot be put on an input of this size.
    """
    import keras

    try:
        output = replay(model, image, copy_weights=copy_weights)
    except (ValueError, TypeError) as error:
        height, width = image.shape[1:3]
        reason = str(error).strip().splitlines()[0]
        raise SourceError(
            f"{name} cannot be built for pictures of {height}×{width} pixels: {reason}\n"
            "Use the size that it was made for, or a source whose layers are plain Keras layers."
        ) from error
    return keras.Model(image, output, name=name)


def replay(model: keras.Model, image: Any, *, prefix: str = "", copy_weights: bool = True) -> Any:
    """Call a network once more on another tensor, on clones of its layers.

    Args:
        prefix: what the names of the clones begin with.

    Returns:
        The first output.
    """
    made = _Replay(prefix)
    outputs = made.run(model, [image])
    if copy_weights:
        for old, new in made.pairs:
            values = weights_of(old)
            new.set_weights([value.reshape(v.shape) for value, v in zip(values, new.weights, strict=True)])
            if hasattr(new, "finalize_state") and values:
                new.finalize_state()
    return outputs[0]


class _Replay:
    """Calls the operations of a graph once more, on clones, and remembers which clone came from which layer."""

    def __init__(self, prefix: str = "") -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self._prefix = prefix
        self._clones: dict[int, Any] = {}
        self._names = {"image"}

    def run(self, model: Any, inputs: list[Any]) -> list[Any]:
        import keras

        values = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        for step in steps(model):
            if isinstance(step.operation, keras.Model):
                results = self.run(step.operation, [values[id(tensor)] for tensor in step.inputs])
            else:
                arguments, options = step.node.arguments.fill_in(values)
                results = keras.tree.flatten(self._call(step.operation, arguments, options, prefix=model.name))
            values.update((id(old), new) for old, new in zip(step.outputs, results, strict=True))
        return [values[id(tensor)] for tensor in model.outputs]

    def _call(self, operation: Any, arguments: Any, options: Any, *, prefix: str) -> Any:
        import keras

        kind = type(operation).__name__
        if kind == "CustomScaleLayer":
            return self._scaled_sum(operation, *arguments[0])
        if not isinstance(operation, keras.Layer):
            return self._arithmetic(operation, kind, arguments, options)
        if id(operation) not in self._clones:
            if kind == "LayerScale":
                # A factor for each channel is a depthwise convolution of one pixel; its weights only change shape.
                clone = keras.layers.DepthwiseConv2D(1, use_bias=False, name=self._free(operation.name, prefix))
            else:
                config = operation.get_config() | {"name": self._free(operation.name, prefix)}
                clone = type(operation).from_config(config)
            self._clones[id(operation)] = clone
            self.pairs.append((operation, clone))
        return self._clones[id(operation)](*arguments, **options)

    def _scaled_sum(self, operation: Any, straight: Any, residual: Any) -> Any:
        import keras

        block = residual._keras_history[0].name.removesuffix("_conv")
        scaled = keras.layers.Rescaling(operation.scale, name=self._free(f"{block}_scale", block))(residual)
        return keras.layers.Add(name=self._free(f"{block}_add", block))([straight, scaled])

    def _arithmetic(self, operation: Any, kind: str, arguments: Any, options: Any) -> Any:
        import keras

        if kind not in ("Add", "Multiply") or options or len(arguments) != 2:
            return operation(*arguments, **options)
        tensors = [value for value in arguments if isinstance(value, keras.KerasTensor)]
        numbers = [float(value) for value in arguments if isinstance(value, int | float)]
        name = operation.name
        if len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            branch = tensors[1]._keras_history[0].name
            if branch.endswith("_identity"):  # ConvNeXt: the end of a block deserves the block's name
                name = branch.removesuffix("_identity") + "_add"
            return getattr(keras.layers, kind)(name=self._free(name, name))(tensors)
        if len(tensors) == len(numbers) == 1:
            scale, offset = (1.0, numbers[0]) if kind == "Add" else (numbers[0], 0.0)
            return keras.layers.Rescaling(scale, offset, name=self._free(name, name))(tensors[0])
        return operation(*arguments)

    def _free(self, name: str, prefix: str) -> str:
        candidate, count = f"{self._prefix}{name}", 1
        while candidate in self._names:
            candidate = f"{self._prefix}{prefix}_{name}" + (f"_{count}" if count > 1 else "")
            count += 1
        self._names.add(candidate)
        return candidate


def weights_of(layer: Any) -> list[NDArray[Any]]:
    """A layer's or model's weights as arrays.

    Not `get_weights`, which on some backends trips over numpy 2's copy keyword and warns.
    """
    from keras import ops

    return [ops.convert_to_numpy(variable.value) for variable in layer.weights]


def randomise(model: keras.Model, seed: int) -> None:
    """Give a flat model fresh weights that depend on `seed` and the layers' names alone.

    He-normal kernels (He et al. 2015, arXiv 1502.01852), zero biases, unit scales; drawn by numpy, since some
    backends initialise lazily and slowly.
    """
    for layer in model.layers:
        values = [_initial(layer, variable, seed) for variable in layer.weights]
        if values:
            layer.set_weights(values)
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()


def _initial(layer: Any, variable: Any, seed: int) -> NDArray[Any]:
    shape, name = tuple(variable.shape), variable.name
    if layer.name.endswith("_layer_scale"):
        return np.full(shape, 1e-6, np.float32)  # what ConvNeXt starts from
    if name.endswith("kernel"):
        depthwise = name == "depthwise_kernel" or type(layer).__name__ == "DepthwiseConv2D"
        fan_in = int(np.prod(shape[:2] if depthwise else shape[:-1]))
        draws = np.random.default_rng([seed, zlib.crc32(f"{layer.name}/{name}".encode())])
        return draws.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    if name in ("mean", "variance") and shape == (3,):
        return np.asarray(IMAGENET_MEAN if name == "mean" else np.square(IMAGENET_STD), np.float32)
    fill = 1 if name in ("gamma", "moving_variance", "variance") else 0
    return np.full(shape, fill, np.dtype(variable.dtype))


def shapes_signature(shapes: Iterable[tuple[int, ...]]) -> str:
    """Sixteen hexadecimal digits that stand for a set of weights' shapes, whatever their order.

    Scalars (counters of a normalisation) are left out, and so are dimensions of one, since LayerScale and its
    replacement differ in these.

    >>> shapes_signature([(3, 3, 8, 16), (16,)]) == shapes_signature([(16,), (), (3, 3, 8, 16)])
    True
    """
    squeezed = ([n for n in shape if n != 1] for shape in shapes)
    return json_digest(sorted(shape for shape in squeezed if shape))[:16]


def signature(model: keras.Model) -> str:
    """`shapes_signature` of a model's weights."""
    return shapes_signature(tuple(variable.shape) for variable in model.weights)
