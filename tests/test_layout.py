"""Channels-first: the same numbers as the channels-last model, for every kind of layer and for whole families."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import numpy as np
import pytest

from headstart import sources
from headstart.layout import CannotConvertError, to_channels_first

keras = pytest.importorskip("keras")
L = keras.layers

Maker = Callable[[Any], Any]


def randomised(model: Any, seed: int = 0) -> Any:
    """Every weight drawn afresh, so that none is the zero or one that hides a mistake."""
    draws = np.random.default_rng(seed)
    for layer in model.layers:
        values = [
            draws.uniform(0.5, 1.5, weight.shape)
            if "variance" in weight.path
            else draws.normal(0, 0.5, weight.shape).astype(weight.dtype)
            for weight in layer.weights
        ]
        if values:
            layer.set_weights(values)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def tiny(maker: Maker, shape: tuple[int, int, int] = (8, 10, 3)) -> Any:
    image = keras.Input(shape)
    return randomised(keras.Model(image, maker(image)))


def as_last(values: np.ndarray) -> np.ndarray:
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def both(model: Any, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model and its converted form say, both channels-last."""
    converted = to_channels_first(model)
    wanted = keras.ops.convert_to_numpy(model(pixels))
    found = keras.ops.convert_to_numpy(converted(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))))
    return np.asarray(wanted), as_last(np.asarray(found))


def squeeze_and_excite(x: Any) -> Any:
    x = L.Conv2D(6, 3)(x)
    y = L.GlobalAveragePooling2D()(x)
    y = L.Reshape((1, 1, 6))(y)
    y = L.Conv2D(2, 1, activation="relu")(y)
    y = L.Conv2D(6, 1, activation="sigmoid")(y)
    return L.Multiply()([x, y])


def called_twice(x: Any) -> Any:
    shared = L.Conv2D(3, 3, padding="same")
    return L.Add()([shared(x), shared(shared(x))])


KNOWN: dict[str, Maker] = {
    "Activation": lambda x: L.Activation("relu")(x),
    "Activation of features": lambda x: L.Activation("softmax")(L.GlobalAveragePooling2D()(x)),
    "Add": lambda x: L.Add()([x, L.ReLU()(x)]),
    "Average": lambda x: L.Average()([x, L.ReLU()(x)]),
    "AveragePooling2D": lambda x: L.AveragePooling2D(3, 2, padding="same")(x),
    "BatchNormalization": lambda x: L.BatchNormalization()(x),
    "BatchNormalization of axis 3": lambda x: L.BatchNormalization(axis=3, scale=False)(x),
    "BatchNormalization of features": lambda x: L.BatchNormalization()(L.GlobalMaxPooling2D()(x)),
    "Concatenate": lambda x: L.Concatenate()([x, L.Conv2D(4, 1)(x)]),
    "Concatenate of axis 3": lambda x: L.Concatenate(axis=3)([L.Conv2D(2, 1)(x), x]),
    "Concatenate of features": lambda x: L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)]),
    "Conv2D": lambda x: L.Conv2D(5, (3, 2), strides=2, padding="same", activation="relu")(x),
    "Conv2D dilated": lambda x: L.Conv2D(5, 3, dilation_rate=2)(x),
    "Conv2D in groups": lambda x: L.Conv2D(6, 3, groups=3)(x),
    "Cropping2D": lambda x: L.Cropping2D(((1, 0), (0, 2)))(x),
    "Dense": lambda x: L.Dense(4)(L.GlobalAveragePooling2D()(x)),
    "DepthwiseConv2D": lambda x: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x),
    "Dropout": lambda x: L.Dropout(0.5)(x),
    "ELU": lambda x: L.ELU()(x),
    "Flatten": lambda x: L.Flatten()(L.Conv2D(4, 3)(x)),
    "Flatten then Dense": lambda x: L.Dense(3)(L.Flatten()(x)),
    "GlobalAveragePooling2D": lambda x: L.GlobalAveragePooling2D()(x),
    "GlobalAveragePooling2D kept": lambda x: L.GlobalAveragePooling2D(keepdims=True)(x),
    "GlobalMaxPooling2D": lambda x: L.GlobalMaxPooling2D()(x),
    "Identity": lambda x: L.Identity()(x),
    "LeakyReLU": lambda x: L.LeakyReLU()(x),
    "MaxPooling2D": lambda x: L.MaxPooling2D((2, 3), padding="same")(x),
    "Maximum": lambda x: L.Maximum()([x, L.Conv2D(3, 1)(x)]),
    "Multiply by each channel": squeeze_and_excite,
    "Normalization": lambda x: L.Normalization(axis=-1)(x),
    "Normalization by given numbers": lambda x: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(x),
    "Rescaling": lambda x: L.Rescaling(0.5, -1.0)(x),
    "Rescaling by channel": lambda x: L.Rescaling([0.5, 2.0, 3.0], [1.0, -2.0, 0.25])(x),
    "Rescaling, one offset": lambda x: L.Rescaling([0.5, 2.0, 3.0], 7.0)(x),
    "ReLU": lambda x: L.ReLU(6.0)(x),
    "Resizing": lambda x: L.Resizing(5, 7)(x),
    "SeparableConv2D": lambda x: L.SeparableConv2D(5, 3)(x),
    "SpatialDropout2D": lambda x: L.SpatialDropout2D(0.5)(x),
    "Subtract": lambda x: L.Subtract()([x, L.ReLU()(x)]),
    "UpSampling2D": lambda x: L.UpSampling2D((2, 3))(x),
    "ZeroPadding2D": lambda x: L.ZeroPadding2D(((0, 1), (2, 3)))(x),
    "a layer called twice": called_twice,
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_kind_of_layer_gives_the_same_numbers(name: str) -> None:
    pixels = np.random.default_rng(1).normal(0, 2, (2, 8, 10, 3)).astype(np.float32)
    wanted, found = both(tiny(KNOWN[name]), pixels)
    assert wanted.shape == found.shape
    assert np.ptp(wanted) > 0.01
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


UNKNOWN: dict[str, Maker] = {
    "Activation": lambda x: L.Activation("softmax")(x),  # along the last axis, which would be the width
    "BatchNormalization": lambda x: L.BatchNormalization(axis=1)(x),
    "Concatenate": lambda x: L.Concatenate(axis=1)([x, x]),
    "Conv2D": lambda x: L.Conv2D(3, 1, activation="softmax")(x),
    "Dense": lambda x: L.Dense(3)(x),
    "LayerNormalization": lambda x: L.LayerNormalization()(x),
    "Multiply": lambda x: L.Multiply()([x, L.GlobalAveragePooling2D()(x)]),
    "Permute": lambda x: L.Permute((2, 1, 3))(x),
    "Reshape": lambda x: L.Reshape((80, 3))(x),
    "Reshape of a picture": lambda x: L.Reshape((1, 1, 240))(x),
    "Softmax": lambda x: L.Softmax()(x),
    "a model in the model": lambda x: keras.Sequential([keras.Input((8, 10, 3)), L.Conv2D(2, 1)])(x),
    "arithmetic": lambda x: x * 2.0,
    "arithmetic with a constant": lambda x: keras.ops.add(x, np.arange(3.0, dtype=np.float32)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(CannotConvertError):
        to_channels_first(tiny(UNKNOWN[name]))


def test_of_networks_side_by_side_one_may_stay_as_it_is() -> None:
    image = keras.Input((8, 10, 3))
    pool, kept = L.GlobalAveragePooling2D, L.LayerNormalization()(L.Conv2D(4, 3)(image))
    converted = L.Conv2D(5, 3)(image)
    heads = [pool()(converted), pool()(kept), L.Flatten()(L.ReLU()(converted)), pool()(L.ReLU()(kept))]
    model = randomised(keras.Model(image, heads))
    pixels = np.random.default_rng(1).normal(0, 2, (2, 8, 10, 3)).astype(np.float32)
    first = to_channels_first(model)
    assert first.input_shape == (None, 3, 8, 10)
    found = first(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    for ours, wanted in zip(found, model(pixels), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(wanted), rtol=1e-4, atol=1e-4
        )
    with pytest.raises(CannotConvertError, match="LayerNormalization"):  # they are one network: both are kept
        to_channels_first(keras.Model(image, heads[1::2]))
    with pytest.raises(CannotConvertError):  # places in another order would go unnoticed
        to_channels_first(keras.Model(image, [heads[0], kept]))


def test_a_model_that_is_channels_first_already_is_refused() -> None:
    with pytest.raises(CannotConvertError, match="not channels-last"):
        to_channels_first(tiny(lambda x: L.MaxPooling2D(2, data_format="channels_first")(x)))


def test_nothing_else_is_changed() -> None:
    model = tiny(lambda x: L.Conv2D(4, 3, name="first")(x))
    kernel = np.array(keras.ops.convert_to_numpy(model.get_layer("first").kernel.value))
    converted = to_channels_first(model)
    assert keras.config.image_data_format() == "channels_last"
    assert model.input_shape == (None, 8, 10, 3)
    assert model.get_layer("first").data_format == "channels_last"
    assert converted.input_shape == (None, 3, 8, 10)
    converted.get_layer("first").kernel.assign(kernel * 0)
    assert np.array_equal(keras.ops.convert_to_numpy(model.get_layer("first").kernel.value), kernel)


FAMILIES = {
    "mobilenetv2": 64, "inceptionv3": 75, "efficientnetb0": 48, "vgg16": 32, "resnet50": 48, "efficientnet_lite0": 64,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_whole_networks_give_the_same_numbers(name: str) -> None:
    side = FAMILIES[name]
    source = sources.find(name)
    model = sources.build(source, image_size=(side, side), weights="random", seed=1)
    pixels = np.random.default_rng(2).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    wanted, found = both(model, pixels)
    assert wanted.shape == found.shape
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-3 * np.abs(wanted).max())
