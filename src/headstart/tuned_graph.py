"""In the worker: the part of a network that is tuned, as its training runs it.

How BatchNormalization behaves while the weights around it change is a stated choice:

- `frozen`: its statistics stay as they came with the source (inference mode).
- `adapt`: its statistics are measured anew on the pictures at hand before the first step, and held from then on. Far
  from the source's domain this is what makes tuning fast (`docs/finetune.md`).
- `batch`: each step normalises by its own batch, as Keras does in training mode, and the statistics follow with a
  momentum that suits the number of steps; at the end they are measured once more.

Scale and offset are weights like any others, and trained. In the first two the statistics are constants, so
normalisation is a factor and an offset for each channel. Both are folded into the convolution before it, step by step:
the same function and the same gradients without a pass over the activations.

Keras 3.15.1 takes `training=False` back during `fit` wherever a layer was called inside a functional model; here each
operation is called by itself, so it is given what is meant.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import sources
from headstart.blanks import on_top, side_by_side
from headstart.errors import InputError
from headstart.sources import _blocks, _graph
from headstart.tuning_rules import BATCH

if TYPE_CHECKING:
    import keras

POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16"}
"""What layers may compute in, and Keras's name for it."""

Batches = Callable[[], Iterator[np.ndarray]]


class TunedGraph:
    """From a boundary (or the pixels) to the head's answer.

    Args:
        spec: the source, as `TrunkSpec.for_worker` gives it; built anew, since its weights will change.
        outputs: layer and pooling of each output that the head stands on.
        boundary: the layer below which nothing is tuned; None for all of the network.
        head: `units`, `activation` and `dropout` of each layer of the head.
        batch_norm: `frozen`, `adapt` or `batch`.
        momentum: of BatchNormalization's statistics where they follow the batches.
        seed: draws the dropout.
    """

    def __init__(
        self, spec: dict[str, Any], outputs: list[list[str]], *, boundary: str | None, head: list[dict[str, Any]],
        batch_norm: str, momentum: float = 0.9, seed: int = 0,
    ) -> None:  # fmt: skip
        import keras

        self._spec, self.batch_norm, self._momentum = spec, batch_norm, momentum
        self.precision = precision()
        with _computing_in(self.precision):
            self.source = built(spec)
            self.source.trainable = True
            features = side_by_side(self.source, outputs)
            values, self.dense = on_top(features, head, seed=seed)
        start = self.source.inputs[0] if boundary is None else self.source.get_layer(boundary).output
        self.features, self.model = keras.Model(start, features), keras.Model(start, values)
        self.activation = str(head[-1]["activation"])
        self._steps = _graph.steps(self.model)
        self.normalisations = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        for layer in self.normalisations:
            layer.momentum = momentum
        self._folded = {} if batch_norm == BATCH else self._pairs()
        self._groups = self._by_block(spec)

    @property
    def groups(self) -> list[list[Any]]:
        """What is trained, block by block, from the head down."""
        wanted = {id(variable) for variable in self.model.trainable_variables}
        kept = [[variable for variable in group if id(variable) in wanted] for group in self._groups]
        return [group for group in kept if group]

    def logits(self, x: Any, *, training: bool) -> Any:
        """What the last layer says before its activation; in training, dropout and `batch` statistics are on."""
        return self._run(x, training=training, folded=True)

    def measure_statistics(self, batches: Batches) -> None:
        """BatchNormalization's means and variances over these batches, each layer's under those below it.

        Each batch counts by its pictures. The variance is that of all batches together: the mean of theirs, and the
        variance of their means.
        """
        import tensorflow as tf

        layers = self.normalisations
        if not layers:
            return
        for layer in layers:
            layer.momentum = 0.0

        @tf.function(reduce_retracing=True, autograph=False)
        def look(x: Any) -> None:
            self._run(x, training=True, folded=False, dropout=False)

        sums = [[np.zeros(layer.moving_mean.shape) for _ in range(3)] for layer in layers]
        count = 0
        for x in batches():
            look(tf.convert_to_tensor(x))
            count += len(x)
            for layer, (mean, square, variance) in zip(layers, sums, strict=True):
                now = np.asarray(layer.moving_mean, np.float64)
                mean += len(x) * now
                square += len(x) * now**2
                variance += len(x) * np.asarray(layer.moving_variance, np.float64)
        for layer, (mean, square, variance) in zip(layers, sums, strict=True):
            mean, square = mean / count, square / count
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance / count + np.maximum(square - mean**2, 0))
            layer.momentum = self._momentum

    def pooled(self, batches: Batches) -> np.ndarray:
        """The features that the head stands on, as inference has them, float32 (pictures, dimensions)."""
        import tensorflow as tf

        @tf.function(reduce_retracing=True, autograph=False)
        def look(x: Any) -> Any:
            return tf.cast(self.features(tf.cast(x, tf.float32), training=False), tf.float32)

        return np.concatenate([np.asarray(look(tf.convert_to_tensor(x))) for x in batches()])

    def set_head(self, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put numbers into the head: kernel and bias of each of its layers."""
        for layer, (kernel, bias) in zip(self.dense, layers, strict=True):
            layer.set_weights([kernel, bias])

    def trunk(self, outputs: list[list[str]]) -> keras.Model:
        """The network up to the deepest output, from the pixels on, without a head."""
        import keras

        source = self.source
        if self.precision != "f32":  # what is saved computes in float32, like every other classifier
            source = built(self._spec)
            source.set_weights(self.source.get_weights())
        order = {layer.name: place for place, layer in enumerate(source.layers)}
        deepest = max((layer for layer, _ in outputs), key=lambda name: order[name])
        trunk = keras.Model(source.inputs, source.get_layer(deepest).output, name=source.name)
        trunk.trainable = False
        return trunk

    def _run(self, x: Any, *, training: bool, folded: bool, dropout: bool = True) -> Any:
        """Call the graph's operations one by one, each with the mode that is meant for it."""
        import keras
        import tensorflow as tf

        pairs = self._folded if folded else {}
        into = {id(normalisation) for normalisation in pairs.values()}
        statistics = training and (not folded or self.batch_norm == BATCH)
        values = {id(self.model.inputs[0]): tf.cast(x, tf.float32)}
        for step in self._steps:
            operation = step.operation
            arguments, options = step.node.arguments.fill_in(values)
            if operation is self.dense[-1]:
                result = tf.matmul(tf.cast(arguments[0], tf.float32), operation.kernel.value) + operation.bias.value
            elif id(operation) in pairs:
                result = _convolved(operation, pairs[id(operation)], arguments[0])
            elif id(operation) in into:
                result = arguments[0]
            elif isinstance(operation, keras.layers.BatchNormalization):
                result = operation(arguments[0], training=statistics)
            elif isinstance(operation, keras.Layer) and operation._call_has_training_arg:
                result = operation(*arguments, **{**options, "training": training and dropout})
            else:
                result = operation(*arguments, **options)
            results = keras.tree.flatten(result)
            values.update((id(old), new) for old, new in zip(step.outputs, results, strict=True))
        return values[id(self.model.outputs[0])]

    def _pairs(self) -> dict[int, Any]:
        """Convolutions that nothing but one BatchNormalization looks at, with it; both are called once."""
        import keras

        users: dict[int, list[Any]] = {}
        calls = Counter(id(step.operation) for step in self._steps)
        for step in self._steps:
            for tensor in step.inputs:
                users.setdefault(id(tensor), []).append(step.operation)
        found = {}
        for step in self._steps:
            kind = type(step.operation)
            after = users.get(id(step.outputs[0]), [])
            if kind not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D) or len(after) != 1:
                continue
            once = calls[id(step.operation)] == calls[id(after[0])] == 1
            plain = (
                step.operation.activation is keras.activations.linear
                and getattr(step.operation, "groups", 1) == 1
                and step.operation.data_format == "channels_last"
            )
            if once and plain and type(after[0]) is keras.layers.BatchNormalization and after[0].axis in (-1, 3):
                found[id(step.operation)] = after[0]
        return found

    def _by_block(self, spec: dict[str, Any]) -> list[list[Any]]:
        order = {layer.name: place for place, layer in enumerate(self.source.layers)}
        ends = sorted(order[name] for name in _blocks.block_ends(self.source, sources.find(spec["name"]).block_pattern))
        groups: dict[int, list[Any]] = {}
        for layer in self.model.layers:
            depth = 0 if layer.name not in order else 1 + sum(end >= order[layer.name] for end in ends)
            groups.setdefault(depth, []).extend(layer.variables)
        return [groups[depth] for depth in sorted(groups)]


def precision() -> str:
    """What the layers compute in: `bf16` on a graphics card that has it, else `f32`; weights are float32 always.

    bfloat16 has the range of float32, so that losses need no scaling (Kalamkar et al. 2019, arXiv 1905.12322). On
    processors it was slower. `HEADSTART_TUNING_PRECISION` overrides.

    Raises:
        InputError: that is set to something else.
    """
    import tensorflow as tf

    named = os.environ.get("HEADSTART_TUNING_PRECISION")
    if named:
        if named not in POLICIES:
            raise InputError(f"HEADSTART_TUNING_PRECISION is {named!r}; expected {' or '.join(POLICIES)}")
        return named
    cards = [tf.config.experimental.get_device_details(card) for card in tf.config.list_physical_devices("GPU")]
    return "bf16" if cards and all(card.get("compute_capability", (0, 0)) >= (8, 0) for card in cards) else "f32"


@contextmanager
def _computing_in(wanted: str) -> Iterator[None]:
    """Layers that are made inside compute in that precision."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[wanted])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def built(spec: dict[str, Any]) -> keras.Model:
    """The flat Keras model of a source, of one's own."""
    height, width = spec["image_size"]
    source = sources.scaled(sources.find(spec["name"]), spec["preprocessing"])
    return sources.build(source, image_size=(height, width), weights=spec["weights"], seed=spec["seed"])


def _convolved(convolution: Any, normalisation: Any, x: Any) -> Any:
    """A convolution with the factor and the offset of the normalisation behind it in its kernel and bias."""
    import keras
    import tensorflow as tf

    factor = tf.math.rsqrt(normalisation.moving_variance.value + normalisation.epsilon)
    if normalisation.scale:
        factor = factor * normalisation.gamma.value
    shift = convolution.bias.value if convolution.use_bias else 0.0
    offset = (shift - normalisation.moving_mean.value) * factor
    if normalisation.center:
        offset = offset + normalisation.beta.value
    strides, padding, kind = convolution.strides, convolution.padding.upper(), convolution.compute_dtype
    x = tf.cast(x, kind)
    if type(convolution) is keras.layers.DepthwiseConv2D:
        kernel = convolution.kernel.value * tf.reshape(factor, (1, 1, *convolution.kernel.shape[2:]))
        kernel = tf.cast(kernel, kind)
        y = tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding, dilations=convolution.dilation_rate)
    else:
        kernel = tf.cast(convolution.kernel.value * factor, kind)
        y = tf.nn.conv2d(x, kernel, strides, padding, dilations=convolution.dilation_rate)
    return tf.nn.bias_add(y, tf.cast(offset, kind))
