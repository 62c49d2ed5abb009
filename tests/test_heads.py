"""Heads: what is fitted on features, against an independent optimum and against Keras."""

import dataclasses
import importlib.util
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart import heads
from headstart.errors import RecipeError
from headstart.heads import HeadData, Layer, _design, _softmax, apply, linear, log_loss, softmax
from headstart.heads._scaling import scales

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed: pip install 'headstart[cpu]'"
)


def blobs(count: int, dimensions: int, *, classes: int = 3, spread: float = 1.5, seed: int = 0) -> HeadData:
    """Overlapping clouds on features of very different scales, in folds of five."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = random.normal(size=(classes, dimensions))
    features = centres[labels] + random.normal(size=(count, dimensions)) * spread
    features = features * random.uniform(0.05, 8, dimensions) + random.uniform(-3, 3, dimensions)
    return HeadData(features.astype(np.float32), labels, classes, np.arange(count) // classes % 5, seed)


def optimum(features: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> np.ndarray:
    """Probabilities of the penalised optimum over scaled features, in float64, by another solver."""
    mean, divisor = scales(features)
    X = (features - mean) / divisor
    X = np.c_[X, np.ones(len(X))]
    targets = np.eye(classes)[labels]
    penalised = np.r_[np.ones(features.shape[1]), 0.0][:, None]

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(X.shape[1], classes)
        probabilities = softmax(X @ weights)
        value = -np.log(probabilities[np.arange(len(X)), labels]).mean()
        value += strength / 2 * float((penalised * weights**2).sum())
        return value, (X.T @ (probabilities - targets) / len(X) + strength * penalised * weights).ravel()

    start = np.zeros(X.shape[1] * classes)
    found = minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 2000})
    return softmax(X @ found.x.reshape(X.shape[1], classes))


# ---- linear -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 0.01, 1e-3])
def test_linear_reaches_the_optimum_that_another_solver_finds(strength):
    data = blobs(150, 6)
    head = linear.fit(data, options={"strength": strength})
    wanted = optimum(data.features.astype(np.float64), data.labels, 3, strength)
    np.testing.assert_allclose(head.predict(data.features), wanted, atol=0.01)
    assert head.settings["strength"] == strength


def test_out_of_fold_probabilities_are_those_of_fits_that_left_the_fold_out():
    data = blobs(120, 5)
    head = linear.fit(data, options={"strength": 0.05})
    for fold in range(5):
        out = data.folds == fold
        # The features are scaled by the moments of all rows, so the folds' fits are made in that scale too.
        mean, divisor = scales(data.features)
        scaled = (data.features - mean) / divisor
        centred = _refit(scaled[~out], data.labels[~out], scaled[out], 0.05)
        np.testing.assert_allclose(head.out_of_fold[out], centred, atol=0.01)
    assert head.accuracy == pytest.approx((head.out_of_fold.argmax(axis=1) == data.labels).mean())
    assert head.loss == pytest.approx(log_loss(head.out_of_fold, data.labels))


def _refit(X: np.ndarray, labels: np.ndarray, other: np.ndarray, strength: float) -> np.ndarray:
    """Probabilities of other rows by the penalised fit on scaled rows, in float64."""
    X, other = np.c_[X, np.ones(len(X))].astype(np.float64), np.c_[other, np.ones(len(other))]
    targets = np.eye(3)[labels]
    penalty = np.r_[np.full(X.shape[1] - 1, strength), 0.0]

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(X.shape[1], 3)
        probabilities = softmax(X @ weights)
        value = -np.log(probabilities[np.arange(len(X)), labels]).mean() + 0.5 * (penalty[:, None] * weights**2).sum()
        return value, (X.T @ (probabilities - targets) / len(X) + penalty[:, None] * weights).ravel()

    found = minimize(value_and_gradient, np.zeros(X.shape[1] * 3), jac=True, method="BFGS", options={"gtol": 1e-8})
    return softmax(other @ found.x.reshape(X.shape[1], 3))


def test_the_strength_is_the_one_of_least_out_of_fold_loss():
    data = blobs(90, 60, spread=4)
    head = linear.fit(data)
    losses = {row["strength"]: row["loss"] for row in head.strengths}
    assert len(losses) >= 3
    assert head.settings["strength"] == min(losses, key=losses.get)
    assert head.loss == min(losses.values())
    # On noise, a weak penalty memorises: the search must not end there.
    noise = dataclasses.replace(data, features=np.random.default_rng(1).normal(size=(90, 60)).astype(np.float32))
    assert linear.fit(noise).settings["strength"] >= 0.1
    clear = linear.fit(blobs(90, 60, spread=0.3))
    assert clear.settings["strength"] < head.settings["strength"]
    assert clear.accuracy == 1.0


def test_the_scaling_is_inside_the_layer():
    data = blobs(150, 6)
    stretched = dataclasses.replace(data, features=data.features * np.float32(32) + np.float32(5))
    one, other = linear.fit(data), linear.fit(stretched)
    assert len(one.layers) == 1
    np.testing.assert_allclose(one.predict(data.features), other.predict(stretched.features), atol=2e-3)


def test_features_that_are_not_kept_in_memory_give_the_same_head(monkeypatch):
    data = blobs(300, 8)
    kept = linear.fit(data, options={"strength": 0.01})
    monkeypatch.setattr(_design, "KEEP_BYTES", 0)
    monkeypatch.setattr(_design, "BLOCK", 64)
    chunked = linear.fit(data, options={"strength": 0.01})
    np.testing.assert_allclose(chunked.predict(data.features), kept.predict(data.features), atol=2e-3)
    np.testing.assert_allclose(chunked.out_of_fold, kept.out_of_fold, atol=2e-3)


def test_with_many_pictures_the_strength_comes_from_a_sample_and_the_fit_from_all(monkeypatch):
    data = blobs(400, 5)
    monkeypatch.setattr(_softmax, "CHOOSE_FROM", 120)
    head = linear.fit(data)
    everything = optimum(data.features.astype(np.float64), data.labels, 3, head.settings["strength"])
    np.testing.assert_allclose(head.predict(data.features), everything, atol=0.01)
    assert head.out_of_fold is None
    assert 0.5 < head.accuracy <= 1
    other = linear.fit(dataclasses.replace(data, seed=1))
    assert other.strengths != head.strengths  # another seed draws another sample


def test_a_sample_that_misses_a_rare_class_still_gives_a_head_of_all_classes(monkeypatch):
    data = blobs(300, 4)
    labels = np.where(np.arange(300) < 298, data.labels % 2, 2)
    monkeypatch.setattr(_softmax, "CHOOSE_FROM", 30)
    head = linear.fit(dataclasses.replace(data, labels=labels))
    assert head.predict(data.features).shape == (300, 3)
    assert np.isfinite(head.predict(data.features)).all()


def test_constant_features_change_nothing():
    data = blobs(150, 4)
    columns = np.c_[data.features, np.full(150, 7.0), np.zeros(150)].astype(np.float32)
    padded = dataclasses.replace(data, features=columns)
    options = {"strength": 0.01}
    one, other = linear.fit(data, options=options), linear.fit(padded, options=options)
    np.testing.assert_allclose(one.predict(data.features), other.predict(columns), atol=2e-3)
    kernel = other.layers[0].kernel
    assert np.abs(kernel[4:]).max() < 1e-3 * np.abs(kernel).max()


def test_features_that_are_all_alike_give_the_shares_of_the_classes():
    labels = np.array([0] * 6 + [1] * 4)
    head = linear.fit(HeadData(np.ones((10, 3), np.float16), labels, 2, np.arange(10) % 2))
    np.testing.assert_allclose(head.predict(np.ones((1, 3))), [[0.6, 0.4]], atol=0.01)


def test_two_pictures_a_class_are_enough():
    features = np.array([[0, 1], [0.1, 1], [1, 0], [1, 0.1]], np.float16)
    head = linear.fit(HeadData(features, np.array([1, 1, 0, 0]), 2, np.array([0, 1, 0, 1])))
    assert head.predict(features).argmax(axis=1).tolist() == [1, 1, 0, 0]
    assert head.accuracy == 1.0


def test_the_order_of_the_rows_does_not_matter():
    data = blobs(120, 5)
    order = np.random.default_rng(3).permutation(120)
    shuffled = dataclasses.replace(
        data, features=data.features[order], labels=data.labels[order], folds=data.folds[order]
    )
    one, other = linear.fit(data), linear.fit(shuffled)
    assert one.settings["strength"] == other.settings["strength"]
    np.testing.assert_allclose(one.predict(data.features), other.predict(data.features), atol=2e-3)


def test_linear_is_the_same_bit_for_bit_every_time():
    data = blobs(120, 5)
    one, other = linear.fit(data), linear.fit(data)
    np.testing.assert_array_equal(one.layers[0].kernel, other.layers[0].kernel)
    np.testing.assert_array_equal(one.layers[0].bias, other.layers[0].bias)


def test_float16_features_are_used_at_full_precision():
    data = blobs(400, 6)
    # Sums in float16 would lose all digits, or overflow, at such values.
    large = dataclasses.replace(data, features=(data.features * 20 + 900).astype(np.float16))
    same = dataclasses.replace(large, features=large.features.astype(np.float32))
    np.testing.assert_array_equal(linear.fit(large).layers[0].kernel, linear.fit(same).layers[0].kernel)
    assert linear.fit(large).accuracy == pytest.approx(linear.fit(data).accuracy, abs=0.02)
    assert linear.fit(large).layers[0].kernel.dtype == np.float32


# ---- options, all heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (linear, {"strenght": 1}, "no option 'strenght'; it has strength, scaling. Did you mean strength?"),
        (linear, {"units": 5}, "no option 'units'"),
        (linear, {"strength": 0}, "strength .* must lie above 0 .* got 0"),
        (linear, {"strength": float("nan")}, "got nan"),
        (linear, {"strength": True}, "got True"),
        (linear, {"strength": "1"}, "got '1'"),
    ],
)
def test_an_option_that_is_unknown_or_out_of_range_is_refused(module, options, message):
    with pytest.raises(RecipeError, match=message):
        module.shape(2, options)
    with pytest.raises(RecipeError, match=message):
        module.fit(blobs(12, 2), options=options)


@pytest.mark.parametrize("name", heads.names())
def test_a_head_has_what_the_house_asks_of_it(name):
    module = heads.find(name)
    assert name == module.NAME
    assert module.SUMMARY
    shape = module.shape(5, {})
    assert shape[-1]["units"] == 5
    assert shape[-1]["activation"] == "softmax"
    assert all(set(layer) == {"units", "activation", "dropout"} for layer in shape)
    layers = module.untrained(7, 5, options={}, seed=0)
    assert [layer.kernel.shape[1] for layer in layers] == [layer["units"] for layer in shape]
    assert layers[0].kernel.shape[0] == 7
    head = module.fit(blobs(60, 7, classes=5), options={})
    assert [layer.kernel.shape for layer in head.layers] == [layer.kernel.shape for layer in layers]
    assert bool(head.history) == module.BY_EPOCHS
    assert len(head.epoch_seconds) == len((head.history or {}).get("loss", ()))


COMPETING = [name for name in heads.names() if hasattr(heads.find(name), "validate")]


def test_the_heads_that_compete_are_those_of_one_softmax_layer():
    assert {"ridge", "linear", "blend", "prototype"} <= set(COMPETING)
    assert not {"auto", "dense"} & set(COMPETING)


@pytest.mark.parametrize("dimensions", [7, 90])  # fewer features than pictures, and more
@pytest.mark.parametrize("name", COMPETING)
def test_a_head_by_fit_is_the_cross_validated_one_finished(name, dimensions):
    """Heads compete by `validate`, and the one that is chosen is finished: it is what `fit` alone would have given."""
    module, data = heads.find(name), blobs(60, dimensions, classes=4)
    head, found = module.fit(data), module.validate(data, {})
    (layer,) = module.finish(data, found)
    np.testing.assert_array_equal(head.layers[0].kernel, layer.kernel)
    np.testing.assert_array_equal(head.layers[0].bias, layer.bias)
    np.testing.assert_array_equal(head.out_of_fold, found.out_of_fold)
    assert layer.activation == "softmax"
    assert found.head == head.name == name
    assert head.loss == pytest.approx(found.losses(data.labels).mean())
    known = module.fit(dataclasses.replace(data, validated=found))
    np.testing.assert_array_equal(known.layers[0].kernel, layer.kernel)
    assert known.settings == head.settings
    forgetful = module.finish(data, found.without_state())
    np.testing.assert_allclose(apply(forgetful, data.features), head.predict(data.features), atol=0.01)
    assert module.work(data) > 0


@pytest.mark.parametrize("name", COMPETING)
def test_out_of_fold_answers_are_probabilities_of_every_row(name):
    data = blobs(60, 7, classes=4)
    found = heads.find(name).validate(data, {})
    assert found.rows.tolist() == list(range(60))
    assert found.out_of_fold.dtype == np.float32
    assert found.out_of_fold.shape == (60, 4)
    assert found.out_of_fold.min() >= 0
    np.testing.assert_allclose(found.out_of_fold.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("dimensions", [7, 90])
@pytest.mark.parametrize(
    ("name", "options"),
    [("ridge", {"strength": 0.1}), ("linear", {"strength": 0.01}), ("prototype", {"shrinkage": 0.3})],
)
def test_what_is_said_of_a_picture_does_not_follow_from_its_class(name, options, dimensions):
    """Other classes for the pictures of one fold: how sure the head is may change, what it takes them for does not."""
    data = blobs(100, dimensions, classes=4, spread=2)
    out = data.folds == 2
    labels = data.labels.copy()
    labels[out] = np.roll(labels[out], 1)
    one, other = (
        heads.find(name).validate(dataclasses.replace(data, labels=each), options).out_of_fold[out]
        for each in (data.labels, labels)
    )
    np.testing.assert_array_equal(one.argmax(axis=1), other.argmax(axis=1))
    logs = [np.log(each) - np.log(each).mean(axis=1, keepdims=True) for each in (one, other)]
    assert np.corrcoef(logs[0].ravel(), logs[1].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", COMPETING)
def test_features_are_scaled_as_is_asked_and_no_other_way(name):
    data = dataclasses.replace(blobs(60, 12), parts=(2, 10))
    module = heads.find(name)
    usual, asked, layers = (
        module.fit(data, options=each) for each in ({}, {"scaling": "features"}, {"scaling": "layers"})
    )
    np.testing.assert_array_equal(usual.layers[0].kernel, asked.layers[0].kernel)
    assert np.abs(usual.predict(data.features) - layers.predict(data.features)).max() > 1e-3
    with pytest.raises(RecipeError, match=r"head is features or layers; got 'layer'\. Did you mean layers"):
        module.shape(3, {"scaling": "layer"})


@pytest.mark.parametrize("scaling", ["features", "layers"])
@pytest.mark.parametrize("name", COMPETING)
def test_a_head_says_what_it_has_to_be_told_to_be_fitted_in_the_same_way(name, scaling):
    data = dataclasses.replace(blobs(60, 12), parts=(2, 10))
    module = heads.find(name)
    head = module.fit(data, options={"scaling": scaling})
    again = module.fit(data, options=head.options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=5e-3)


def test_an_unknown_head_gets_the_near_match():
    with pytest.raises(RecipeError, match=r"unknown head 'liner'; expected auto or .* Did you mean linear?"):
        heads.find("liner")


# ---- layers on numpy ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_tensorflow
def test_layers_on_numpy_give_what_keras_gives(tmp_path):
    random = np.random.default_rng(0)
    layers = (
        Layer(random.normal(size=(7, 5)).astype(np.float32), random.normal(size=5).astype(np.float32), "relu"),
        Layer(random.normal(size=(5, 4)).astype(np.float32), random.normal(size=4).astype(np.float32), "linear", 0.5),
        Layer(random.normal(size=(4, 3)).astype(np.float32) * 9, random.normal(size=3).astype(np.float32), "softmax"),
    )
    features = random.normal(size=(40, 7)).astype(np.float32)
    arrays = itertools.chain.from_iterable((layer.kernel, layer.bias) for layer in layers)
    np.savez(tmp_path / "in.npz", features, *arrays)
    code = (
        "import sys, numpy as np, keras\n"
        "features, *arrays = np.load(sys.argv[1]).values()\n"
        "kinds = ('relu', 'linear', 'softmax')\n"
        "model = keras.Sequential([keras.layers.Input((7,))])\n"
        "for kind, bias in zip(kinds, arrays[1::2]):\n"
        "    model.add(keras.layers.Dropout(0.5)); model.add(keras.layers.Dense(len(bias), activation=kind))\n"
        "model.set_weights(arrays)\n"
        "np.save(sys.argv[2], np.asarray(model(features, training=False)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "in.npz"), str(tmp_path / "out.npy")],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(apply(layers, features), np.load(tmp_path / "out.npy"), atol=1e-5)


def test_apply_takes_any_number_of_rows():
    layers = linear.untrained(3, 2, options={}, seed=0)
    features = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float16)
    whole = apply(layers, features)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole[8999], apply(layers, features[8999:])[0], atol=1e-6)
    assert apply(layers, features[:0]).shape == (0, 2)


def test_apply_refuses_an_activation_that_it_does_not_know():
    with pytest.raises(RecipeError, match="activation 'gelu'; expected relu, softmax or linear"):
        apply([Layer(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "gelu")], np.ones((1, 2)))


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 - 1], [-1e4, 0]])), [[0.7311, 0.2689], [0, 1]], atol=1e-4)


def test_log_loss():
    probabilities = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert log_loss(probabilities, np.array([0, 0])) == pytest.approx(np.log(2) / 2)
    assert log_loss(probabilities, np.array([0, 1])) == pytest.approx((np.log(2) - np.log(1e-7)) / 2)
    assert np.isnan(log_loss(probabilities[:0], np.array([], int)))


def test_an_untrained_head_is_near_chance_and_decided_by_its_seed():
    data = blobs(900, 40, classes=3)
    scaled = (data.features - data.features.mean(axis=0)) / data.features.std(axis=0)
    heads_of = [linear.untrained(40, 3, options={}, seed=seed) for seed in range(20)]
    accuracies = [(apply(layers, scaled).argmax(axis=1) == data.labels).mean() for layers in heads_of]
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.15)
    kernel = linear.untrained(40, 3, options={}, seed=5)[0].kernel
    np.testing.assert_array_equal(kernel, linear.untrained(40, 3, options={}, seed=5)[0].kernel)
    assert np.abs(kernel).max() <= np.sqrt(6 / 43)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 43), rel=0.2)


def test_pictures_whose_class_no_other_fold_has_say_nothing_of_the_strength_and_the_temperature():
    data = blobs(300, 20)
    folds = np.where(data.labels == 2, 3, np.arange(300) % 5)  # all of one class in one group
    fitted = linear.fit(dataclasses.replace(data, folds=folds))
    known = data.labels != 2
    rows, probabilities = fitted.held_out
    assert rows.tolist() == np.flatnonzero(known).tolist()
    right = float((fitted.out_of_fold[known].argmax(axis=1) == data.labels[known]).mean())
    assert fitted.accuracy == pytest.approx(right)
    assert fitted.loss == pytest.approx(log_loss(probabilities, data.labels[known]))


@pytest.mark.parametrize("answered", [[3], [0, 4]])
def test_where_some_folds_alone_are_answered_what_the_others_have_seen_can_be_scored(answered):
    """A class that is in one of these folds and in others that are not answered was seen by the fit that answers."""
    data = blobs(100, 6, classes=10)
    rows = np.flatnonzero(np.isin(data.folds, answered))
    assert _softmax.measurable(data, rows).all()
    alone = np.where(data.labels == 7, answered[0], data.folds)
    data = dataclasses.replace(data, folds=alone)
    rows = np.flatnonzero(np.isin(alone, answered))
    assert (_softmax.measurable(data, rows) == (data.labels[rows] != 7)).all()
