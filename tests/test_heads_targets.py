"""Heads of labels and numbers, against independent optima; what they refuse."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart import heads
from headstart.errors import RecipeError
from headstart.heads import HeadData, _ridge, apply, auto, dense, label_losses, linear, prototype
from headstart.heads import _network as network
from headstart.heads._scaling import scales
from headstart.probes import answers_out_of_fold


def labelled(count: int = 160, dimensions: int = 8, *, outputs: int = 3, seed: int = 0) -> HeadData:
    """Labels that overlap, on features of very different scales; the last one cannot be told."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, dimensions))
    scores = features @ random.normal(size=(dimensions, outputs)) + random.normal(size=(count, outputs))
    scores[:, -1] = random.normal(size=count)
    features = features * random.uniform(0.05, 8, dimensions) + random.uniform(-3, 3, dimensions)
    targets = (scores > [0.0, 1.0, 0.5][:outputs]).astype(np.float32)
    return HeadData(features.astype(np.float32), np.zeros(count, int), outputs, np.arange(count) % 5, seed,
                    targets=targets, activation="sigmoid")  # fmt: skip


def measured(count: int = 160, dimensions: int = 8, *, noise: float = 0.5, seed: int = 0) -> HeadData:
    """A number of its own size on features of very different scales."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, dimensions))
    values = 1000 + 50 * (features @ random.normal(size=dimensions) + noise * random.normal(size=count))
    features = features * random.uniform(0.05, 8, dimensions) + random.uniform(-3, 3, dimensions)
    return HeadData(features.astype(np.float32), np.zeros(count, int), 1, np.arange(count) % 5, seed,
                    targets=values[:, None].astype(np.float32), activation="linear")  # fmt: skip


def logistic(features: np.ndarray, truth: np.ndarray, strength: float) -> np.ndarray:
    """Probabilities of one label's penalised optimum, in float64, by another solver."""
    mean, divisor = scales(features)
    X = (features - mean) / divisor
    return 1 / (1 + np.exp(-np.c_[X, np.ones(len(X))] @ logistic_weights(X, truth, strength)))


def logistic_weights(X: np.ndarray, truth: np.ndarray, strength: float) -> np.ndarray:
    """Weights, then the bias, of one label's penalised optimum on scaled features."""
    X = np.c_[X, np.ones(len(X))]

    def value_and_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ w
        value = (np.logaddexp(0, z) - truth * z).mean() + strength / 2 * float((w[:-1] ** 2).sum())
        return value, X.T @ (1 / (1 + np.exp(-z)) - truth) / len(X) + strength * np.r_[w[:-1], 0.0]

    found = minimize(value_and_gradient, np.zeros(X.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9})
    weights: np.ndarray = found.x
    return weights


# ---- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.3, 0.01])
def test_each_label_is_a_logistic_regression_of_its_own(strength):
    data = labelled()
    head = linear.fit(data, options={"strength": strength})
    assert [layer.activation for layer in head.layers] == ["sigmoid"]
    for label in range(3):
        wanted = logistic(data.features.astype(float), data.targets[:, label], strength)
        np.testing.assert_allclose(head.predict(data.features)[:, label], wanted, atol=0.01)


def test_out_of_fold_probabilities_of_labels_are_of_fits_that_left_the_fold_out():
    data = labelled()
    found = linear.cross_validate_labels(data.features, data.targets, data.folds, strengths=(0.05,))
    mean, divisor = scales(data.features)  # scaled on all, as the head does
    X = (data.features - mean) / divisor
    out = data.folds == 2
    for label in range(3):
        weights = logistic_weights(X[~out].astype(float), data.targets[~out, label], 0.05)
        wanted = 1 / (1 + np.exp(-np.c_[X[out], np.ones(out.sum())] @ weights))
        np.testing.assert_allclose(found.out_of_fold[out, label], wanted, atol=0.01)


def test_the_strength_of_labels_is_that_of_least_out_of_fold_loss():
    head = linear.fit(labelled())
    best = min(head.strengths, key=lambda row: row["loss"])
    assert head.settings["strength"] == best["strength"]
    assert (head.accuracy, head.loss) == (best["accuracy"], best["loss"])
    rows, probabilities = head.held_out
    assert label_losses(probabilities, labelled().targets[rows]).mean() == pytest.approx(head.loss)


def test_one_label_alone_and_a_fold_without_it_are_no_trouble():
    data = labelled(60, outputs=1)
    targets = np.zeros((60, 1), np.float32)
    targets[:2] = 1
    head = linear.fit(dataclasses.replace(data, targets=targets, folds=np.r_[0, 0, np.arange(58) % 5]))
    assert np.isfinite(head.predict(data.features)).all()


# ---- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [8, 300])
def test_ridge_is_the_closed_form(dimensions):
    data = measured(dimensions=dimensions)
    head = linear.fit(data, options={"strength": 0.05})
    X = data.features.astype(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = data.targets[:, 0].astype(float)
    penalty = 0.05 * (X**2).sum() / min(X.shape)
    weights = np.linalg.solve(X.T @ X + penalty * np.eye(dimensions), X.T @ (y - y.mean()))
    np.testing.assert_allclose(head.predict(data.features)[:, 0], X @ weights + y.mean(), rtol=1e-3)
    assert [layer.activation for layer in head.layers] == ["linear"]


@pytest.mark.parametrize("dimensions", [8, 300])
def test_systems_that_are_too_large_are_solved_by_steps_to_the_same_end(dimensions, monkeypatch):
    data = measured(dimensions=dimensions)
    wanted = linear.fit(data, options={"strength": 0.1}).predict(data.features)
    monkeypatch.setattr(_ridge, "WIDEST", 4)
    found = linear.fit(data, options={"strength": 0.1}).predict(data.features)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * data.targets.std())


@pytest.mark.parametrize("dimensions", [5, 90])
def test_answers_out_of_fold_are_those_of_refitting(dimensions):
    data = measured(60, dimensions)
    (found,) = answers_out_of_fold(data.features, data.targets, data.folds, (0.1,))
    X = data.features.astype(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = data.targets[:, 0].astype(float)
    penalty = 0.1 * (X**2).sum() / min(X.shape) * np.eye(dimensions)
    for fold in range(5):
        out = data.folds == fold
        mean, level = X[~out].mean(axis=0), y[~out].mean()
        inner = X[~out] - mean
        weights = np.linalg.solve(inner.T @ inner + penalty, inner.T @ (y[~out] - level))
        np.testing.assert_allclose(found.answers[out, 0], (X[out] - mean) @ weights + level, rtol=2e-3)
    assert found.losses.mean() == pytest.approx(((found.answers[:, 0] - y) ** 2).mean() / y.var(), rel=1e-3)


def test_a_number_that_features_tell_is_told_and_noise_is_not():
    assert linear.fit(measured(noise=0.1)).accuracy > 0.9
    random = np.random.default_rng(0)
    noise = dataclasses.replace(measured(), targets=random.normal(size=(160, 1)).astype(np.float32))
    head = linear.fit(noise)
    assert head.loss == pytest.approx(1, abs=0.1)
    assert head.predict(noise.features).std() < 0.4


def test_a_sample_decides_the_strength_and_all_pictures_the_fit(monkeypatch):
    from headstart.heads import _softmax

    data = measured(400)
    whole = linear.fit(data)
    monkeypatch.setattr(_softmax, "CHOOSE_FROM", 120)
    part = linear.fit(data)
    assert part.out_of_fold is None
    assert len(part.held_out[0]) == 120
    np.testing.assert_allclose(part.predict(data.features), whole.predict(data.features), rtol=0.02)


def test_features_that_are_all_alike_say_the_mean():
    data = dataclasses.replace(measured(), features=np.ones((160, 4), np.float16))
    np.testing.assert_allclose(linear.fit(data).predict(data.features), data.targets.mean(), rtol=1e-4)


# ---- dense ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "outputs"), [("sigmoid", 3), ("linear", 1)])
def test_the_gradient_of_the_loss_is_that_of_its_differences(activation, outputs):
    random = np.random.default_rng(0)
    logits = random.normal(size=(4, outputs))
    targets = (random.random((4, outputs)) > 0.5).astype(float)
    slope, _, _ = network._output(logits, targets, activation)
    for row in range(4):
        for column in range(outputs):
            up, down = logits.copy(), logits.copy()
            up[row, column] += 1e-5
            down[row, column] -= 1e-5
            found = (network._output(up, targets, activation)[1] - network._output(down, targets, activation)[1]) / 2e-5
            assert slope[row, column] == pytest.approx(found, abs=1e-4)


def test_a_dense_head_without_layers_nears_the_linear_one():
    options = {"layers": [], "epochs": 300, "patience": None, "batch_size": 160, "learning_rate": 0.02}
    for data in (labelled(), measured()):
        inner = dataclasses.replace(data, watch=(data.features, data.targets))
        found = dense.fit(inner, options=options).predict(data.features)
        wanted = linear.fit(data, options={"strength": 1e-5}).predict(data.features)
        scale = 1.0 if data.activation == "sigmoid" else float(data.targets.std())
        assert np.abs(found - wanted).mean() < 0.05 * scale


def test_what_is_saved_is_in_the_numbers_own_unit():
    data = measured()
    head = dense.fit(data, options={"layers": [{"dense": 16}], "epochs": 80})
    assert head.layers[-1].activation == "linear"
    said = apply(head.layers, data.features)[:, 0]
    assert abs(said.mean() - data.targets.mean()) < data.targets.std()
    assert "accuracy" not in head.history
    assert head.loss < 0.5
    rows, answers = head.held_out
    np.testing.assert_allclose(answers, apply(head.layers, data.features[rows]), rtol=1e-5)


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_a_head_says_which_other_one_works(activation):
    with pytest.raises(RecipeError, match=r"Use another head: auto or dense or linear\."):
        heads.shape(prototype, 3, {}, activation=activation)
    for module in (auto, linear, dense):
        assert heads.shape(module, 3, {}, activation=activation)[-1]["activation"] == activation
        assert heads.shape(module, 3, {}, activation=activation)[-1]["units"] == 3
    with pytest.raises(RecipeError, match="output: softmax of the dense head is for one class a picture"):
        heads.shape(dense, 2, {"output": "softmax"}, activation=activation)


def test_two_labels_are_no_two_classes():
    assert [layer["units"] for layer in dense._layers(dense.settings_of({"layers": []}), 2, "sigmoid")] == [2]
    assert heads.shape(dense, 1, {"layers": []}, activation="linear")[0]["units"] == 1


def test_few_pictures_of_labels_get_the_linear_head():
    assert auto.fit(labelled(20)).name == "linear"
    assert auto.fit(measured(20)).name == "linear"
