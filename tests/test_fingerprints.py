"""Fingerprints: the same function has the same name wherever it comes from, and another function never has."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import numpy as np
import pytest

from headstart import sources
from headstart.fingerprints import fingerprints
from headstart.sources._source import Preprocessing

keras = pytest.importorskip("keras")
L = keras.layers


def network(
    *, prefix: str = "", side: int = 12, kernel: int = 3, act: str = "relu", scale: float = 0.5, seed: int = 0,
    epsilon: float = 1e-3, swap: bool = False, pool: str = "avg",
) -> Any:  # fmt: skip
    """Two branches that are subtracted, so that the order of inputs matters."""
    image = keras.Input((side, side, 3), name=f"{prefix}image")
    x = L.Rescaling(scale, name=f"{prefix}scale")(image)
    one = L.Conv2D(4, kernel, padding="same", activation=act, name=f"{prefix}one")(x)
    two = L.BatchNormalization(epsilon=epsilon, name=f"{prefix}two")(L.Conv2D(4, 1, name=f"{prefix}three")(x))
    both = L.Subtract(name=f"{prefix}minus")([two, one] if swap else [one, two])
    end = {"avg": L.GlobalAveragePooling2D, "max": L.GlobalMaxPooling2D}[pool](name=f"{prefix}pool")(both)
    model = keras.Model(image, [end, L.Flatten(name=f"{prefix}flat")(one)])
    draws = np.random.default_rng(seed)
    for layer in sorted(model.layers, key=lambda layer: layer.name.removeprefix(prefix)):
        if layer.weights:
            layer.set_weights([draws.uniform(0.1, 1, weight.shape).astype(np.float32) for weight in layer.weights])
    return model


@pytest.fixture(scope="module")
def names() -> list[str]:
    return fingerprints(network())


def test_each_output_has_a_name_of_its_own(names: list[str]) -> None:
    assert len(set(names)) == 2
    assert all(len(name) == 64 and int(name, 16) for name in names)
    assert fingerprints(network()) == names


def test_names_survive_a_file(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    network().save(path)
    assert fingerprints(keras.models.load_model(path)) == names


def test_a_source_saved_and_taken_as_a_source_keeps_its_names(tmp_path: Path) -> None:
    first = sources.build(sources.find("mobilenet_0.25"), image_size=(64, 64), weights="random", seed=2)
    path = tmp_path / "mobile.keras"
    first.save(path)
    second = sources.build(sources.find(str(path)), image_size=(64, 64))
    cut = "conv_pw_3_relu"
    trunks = [keras.Model(model.inputs, model.get_layer(cut).output) for model in (first, second)]
    assert fingerprints(trunks[0]) == fingerprints(trunks[1])


def test_layers_may_have_other_names(names: list[str]) -> None:
    assert fingerprints(network(prefix="other_")) == names


def test_what_can_be_trained_does_not_count(names: list[str]) -> None:
    model = network()
    model.trainable = False
    assert fingerprints(model) == names


def test_layers_that_an_output_does_not_need_do_not_count(names: list[str]) -> None:
    model = network()
    extra = L.Dense(7)(model.outputs[0])
    wider = keras.Model(model.inputs, [model.outputs[1], extra, model.outputs[0]])
    assert [fingerprints(wider)[index] for index in (2, 0)] == names
    assert fingerprints(keras.Model(model.inputs, model.outputs[1])) == names[1:]


CHANGES: dict[str, tuple[Callable[[], Any], bool]] = {  # and whether the second output changes too
    "seed": (lambda: network(seed=1), True),
    "size of pictures": (lambda: network(side=16), True),
    "preprocessing": (lambda: network(scale=0.25), True),
    "a kernel's size": (lambda: network(kernel=5), True),
    "an activation": (lambda: network(act="elu"), True),
    "an epsilon": (lambda: network(epsilon=1e-5), False),
    "the order of inputs": (lambda: network(swap=True), False),
    "a pooling": (lambda: network(pool="max"), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_function_has_another_name(names: list[str], change: str) -> None:
    make, both = CHANGES[change]
    found = fingerprints(make())
    assert found[0] != names[0]
    assert (found[1] != names[1]) == both


def test_every_single_weight_counts(names: list[str]) -> None:
    model = network()
    for layer in model.layers:
        for index, weight in enumerate(layer.weights):
            before = [np.array(keras.ops.convert_to_numpy(value.value)) for value in layer.weights]
            after = [value.copy() for value in before]
            after[index].flat[-1] = np.nextafter(after[index].flat[-1], np.float32(9), dtype=np.float32)
            layer.set_weights(after)
            assert fingerprints(model)[0] != names[0], weight.path
            layer.set_weights(before)
    assert fingerprints(model) == names


def test_preprocessing_of_a_source_counts() -> None:
    source = sources.find("mobilenet_0.25")
    assert not source.preprocessing.identity
    other = replace(source, preprocessing=Preprocessing((1 / 127.5,) * 3, (-1.0, -1.0, -1.001)))
    one, two = (sources.build(s, image_size=(64, 64), weights="random", seed=0) for s in (source, other))
    assert fingerprints(one) != fingerprints(two)


def test_a_long_network_needs_no_recursion() -> None:
    x = image = keras.Input((4, 4, 1))
    for _ in range(600):
        x = L.ReLU()(x)
    assert len(fingerprints(keras.Model(image, x))) == 1
