"""The dense head: what Keras does with the same batches, what the curves and weights are, what is refused."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from headstart.errors import RecipeError
from headstart.heads import HeadData, apply, dense, linear
from headstart.heads import _network as network
from headstart.heads._optimizers import Optimizer

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed: pip install 'headstart[cpu]'"
)
needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: pip install 'headstart[fast]'"
)
KINDS = [("sgd", 0.0), ("sgd", 0.9), ("rmsprop", 0.0), ("adam", 0.0)]


def crossed(count: int = 240, seed: int = 0) -> HeadData:
    """Four clouds, opposite ones of one class: no line parts them. A tenth of the labels is wrong."""
    random = np.random.default_rng(seed)
    corner = random.integers(0, 2, (count, 2))
    features = corner * 6 + random.normal(size=(count, 2)) * 0.6 + 20
    labels = corner[:, 0] ^ corner[:, 1] ^ (random.random(count) < 0.1)
    return HeadData(features.astype(np.float16), labels.astype(int), 2, np.arange(count) % 4, seed)


def sparse(steps: int = 14, size: int = 6, width: int = 40, seed: int = 3) -> np.ndarray:
    """Batches as they come from a ReLU: mostly zeros; some features are zero for long, one for ever."""
    random = np.random.default_rng(seed)
    values = np.maximum(random.normal(size=(steps, size, width)), 0) * (random.random((steps, 1, width)) < 0.4)
    values[:, :, 7] = 0
    return values.astype(np.float32)


# ---- against Keras ------------------------------------------------------------------------------------------------

REFERENCE = """
import sys
import numpy as np
import keras

with np.load(sys.argv[1]) as given:
    x, start = given["x"], [given[f"w{index}"] for index in range(4)]
    targets = {1: given["y1"], 3: given["y3"]}
found = {}
for name, momentum in (("sgd", 0.0), ("sgd", 0.9), ("rmsprop", 0.0), ("adam", 0.0)):
    for units in (1, 3):
        last = keras.layers.Dense(units, activation="sigmoid" if units == 1 else "softmax")
        model = keras.Sequential([keras.layers.Input((x.shape[2],)), keras.layers.Dense(16, "relu"), last])
        model.set_weights([*start[:2], start[2][:, :units], start[3][:units]])
        kind = {"sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}[name]
        optimizer = kind(0.05, momentum=momentum) if name == "sgd" else kind(0.01)
        model.compile(optimizer, "binary_crossentropy" if units == 1 else "categorical_crossentropy")
        losses = [float(model.train_on_batch(a, b)) for a, b in zip(x, targets[units])]
        for index, array in enumerate(model.get_weights()):
            found[f"{name}{momentum}-{units}-{index}"] = array
np.savez(sys.argv[2], **found)
"""


@pytest.fixture(scope="module")
def start():
    """The same first weights for all."""
    random = np.random.default_rng(1)
    shapes = [(40, 16), (16,), (16, 3), (3,)]
    return [(random.normal(size=shape) * 0.2).astype(np.float32) for shape in shapes]


@pytest.fixture(scope="module")
def targets():
    labels = np.random.default_rng(2).integers(0, 3, (14, 6))
    return {1: (labels > 0).astype(np.float32)[..., None], 3: np.eye(3, dtype=np.float32)[labels]}


@pytest.fixture(scope="module")
def keras_says(start, targets, tmp_path_factory):
    """What Keras's own optimizers leave behind after the same batches."""
    folder = tmp_path_factory.mktemp("keras")
    weights = {f"w{index}": array for index, array in enumerate(start)}
    np.savez(folder / "in.npz", x=sparse(), y1=targets[1], y3=targets[3], **weights)
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE, str(folder / "in.npz"), str(folder / "out.npz")],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as found:
        return dict(found)


def trained_on(start, targets, units, name, momentum):
    """Our network after the same batches."""
    layers = [
        network.Dense(start[0].copy(), start[1].copy(), "relu", 0.0),
        network.Dense(start[2][:, :units].copy(), start[3][:units].copy(), "softmax", 0.0),
    ]
    net = network.Network(layers, Optimizer(name, 0.05 if name == "sgd" else 0.01, momentum), 0)
    batches, z = sparse(), None
    for index, x in enumerate(batches):
        z = net.begin(x) if z is None else z
        following = batches[index + 1] if index + 1 < len(batches) and index != 8 else None  # once begun anew
        z, _, _ = net.step(x, z, targets[units][index], following)
    return net


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize(("name", "momentum"), KINDS)
@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=needs_numba)], ids=["numpy", "numba"])
def test_steps_are_those_of_keras(name, momentum, units, fused, start, targets, keras_says, monkeypatch):
    monkeypatch.setattr(network, "FUSED_FROM", 1 if fused else 10**9)
    net = trained_on(start, targets, units, name, momentum)
    assert type(net._first).__name__ == ("_Fused" if fused else "_Plain")
    found = [array for layer in net.layers for array in (layer.kernel, layer.bias)]
    for index, array in enumerate(found):
        wanted = keras_says[f"{name}{momentum}-{units}-{index}"]
        np.testing.assert_allclose(array, wanted, atol=3e-5)
        if index != 1:  # a bias moves little
            first = start[index] if index < 2 else start[index][..., :units]
            assert np.abs(wanted - first).max() > 0.02, "Keras has not moved it: nothing is shown"


@needs_numba
@pytest.mark.parametrize(("name", "momentum"), KINDS)
def test_the_compiled_pass_is_what_numpy_does(name, momentum, start, targets, monkeypatch):
    found = []
    for least in (1, 10**9):
        monkeypatch.setattr(network, "FUSED_FROM", least)
        found.append(trained_on(start, targets, 3, name, momentum))
    np.testing.assert_allclose(found[0].layers[0].kernel, found[1].layers[0].kernel, atol=2e-6)
    x = np.concatenate(sparse(steps=60))
    np.testing.assert_allclose(*(net.logits(x, np.asarray) for net in found), atol=2e-5)


# ---- the head -------------------------------------------------------------------------------------------------------

OPTIONS = {
    "layers": [{"dense": 64}, {"dropout": 0.1}], "learning_rate": 0.05, "epochs": 40, "patience": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """A dense head on the crossed clouds, with what was told while it was trained."""
    told = []
    return dense.fit(crossed(), options=OPTIONS, progress=told.append), told


def test_it_learns_what_no_line_can_part(trained):
    head, _ = trained
    data = crossed()
    right = (head.predict(data.features).argmax(axis=1) == data.labels).mean()
    assert right > 0.85
    straight = linear.fit(data).predict(data.features)
    assert (straight.argmax(axis=1) == data.labels).mean() < 0.7


def test_it_tells_every_epoch_and_keeps_the_best_one(trained):
    head, told = trained
    assert set(head.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    epochs = len(head.history["loss"])
    assert all(len(values) == epochs for values in head.history.values())
    assert [facts["epoch"] for facts in told] == list(range(1, epochs + 1))
    assert [facts["val_loss"] for facts in told] == pytest.approx(head.history["val_loss"])
    # Measured again with the folded layers: the held-out fold at the epoch of its least loss.
    assert head.loss == pytest.approx(min(head.history["val_loss"]), abs=2e-3)
    assert head.loss < head.history["val_loss"][-1] - 5e-3, "the last epoch is the best: nothing was shown"
    held_out = crossed().folds == 0
    kept = apply(head.layers, crossed().features[held_out])
    assert (kept.argmax(axis=1) == crossed().labels[held_out]).mean() == pytest.approx(head.accuracy)
    assert head.settings == {**dense.DEFAULTS, **OPTIONS}
    assert [layer.activation for layer in head.layers] == ["relu", "softmax"]
    assert [layer.dropout for layer in head.layers] == [0.0, 0.1]
    assert len(head.epoch_seconds) == epochs


def test_it_is_decided_by_its_seed():
    options = {"layers": [{"dense": 4}, {"dropout": 0.5}], "epochs": 2}
    runs = [dense.fit(dataclasses.replace(crossed(60), seed=seed), options=options) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].layers[0].kernel, runs[1].layers[0].kernel)
    np.testing.assert_array_equal(runs[0].layers[1].bias, runs[1].layers[1].bias)
    assert not np.array_equal(runs[0].layers[0].kernel, runs[2].layers[0].kernel)


def test_where_one_fold_has_all_pictures_some_of_each_class_are_watched():
    labels = np.array([0] * 20 + [1] * 10 + [2])
    features = np.random.default_rng(0).normal(size=(31, 2)) + 4 * labels[:, None]
    head = dense.fit(HeadData(features, labels, 3, np.ones(31, int)), options={"epochs": 2})
    held_out, _ = head.held_out
    assert np.bincount(labels[held_out], minlength=3).tolist() == [4, 2, 0]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pictures_of_which_none_can_be_held_out_are_refused(count):
    data = HeadData(np.zeros((count, 2)), np.arange(count), 3, np.zeros(count, int))
    with pytest.raises(RecipeError, match=f"given {count}, no two of one class"):
        dense.fit(data, options={"epochs": 2})


def test_without_patience_the_last_epoch_is_kept_and_the_watched_pictures_decide_nothing():
    data = crossed()
    plain = {**OPTIONS, "patience": None, "epochs": 6}
    runs = []
    for watch in ((data.features[:40], data.labels[:40]), (data.features[40:90], 1 - data.labels[40:90])):
        runs.append(dense.fit(dataclasses.replace(data, watch=watch), options=plain))
        found = apply(runs[-1].layers, watch[0])
        assert (found.argmax(axis=1) == watch[1]).mean() == pytest.approx(runs[-1].history["val_accuracy"][-1])
    np.testing.assert_array_equal(runs[0].layers[0].kernel, runs[1].layers[0].kernel)
    assert runs[0].history["val_loss"] != runs[1].history["val_loss"]


def test_early_stopping_stops():
    data = crossed()
    head = dense.fit(data, options={**OPTIONS, "epochs": 500, "patience": 2})
    losses = head.history["val_loss"]
    assert len(losses) < 500
    assert min(losses) == losses[-3]


def test_two_classes_have_one_sigmoid_saved_as_its_equal():
    data = crossed(80)
    head = dense.fit(data, options={"epochs": 2})
    last = head.layers[-1]
    assert last.kernel.shape[1] == 2
    assert not last.kernel[:, 0].any()
    assert last.bias[0] == 0
    assert last.kernel[:, 1].any()
    assert "One sigmoid" in dense.notes(2, {})[0]
    assert dense.notes(2, {"output": "softmax"}) == ()
    both = dense.fit(data, options={"epochs": 2, "output": "softmax"})
    assert both.layers[-1].kernel[:, 0].any()


def test_more_classes_turn_the_output_into_a_softmax_and_say_so():
    assert dense.shape(6, {})[-1] == {"units": 6, "activation": "softmax", "dropout": 0.3}
    assert "There are 6 classes, so the output is a softmax of 6 units" in dense.notes(6, {})[0]
    with pytest.raises(RecipeError, match=r"one sigmoid tells two classes apart, and there are 5.\nWrite output: auto"):
        dense.shape(5, {"output": "sigmoid"})


def test_each_epoch_sees_its_own_features():
    data, asked = crossed(40), []

    def features(epoch: int) -> np.ndarray:
        asked.append(epoch)
        return data.features if epoch == 0 else np.zeros_like(data.features)

    options = {"epochs": 3, "patience": None, "standardize": False, "layers": [], "optimizer": "sgd"}
    seen = dense.fit(dataclasses.replace(data, epoch_features=features), options=options)
    assert asked == [0, 1, 2]
    once = dense.fit(data, options={**options, "epochs": 1})
    # Features of zero give the kernel no gradient: after the first epoch only the bias moves.
    np.testing.assert_array_equal(seen.layers[0].kernel, once.layers[0].kernel)
    assert seen.layers[0].bias[1] != once.layers[0].bias[1]


def test_steps_per_epoch_go_on_where_the_last_epoch_left_off():
    data = dataclasses.replace(crossed(40), folds=np.zeros(40, int), watch=(np.ones((2, 2)), np.array([0, 1])))
    seen = []
    training = dense._Training(
        data, dense.settings_of({"batch_size": 16, "standardize": False}),
        network.initial(2, dense._layers(dense.settings_of({}), 2), 0),
    )  # fmt: skip
    seen = [next(training.batches) for _ in range(6)]
    assert [len(rows) for rows in seen] == [16, 16, 8, 16, 16, 8]
    assert sorted(np.concatenate(seen[:3])) == sorted(np.concatenate(seen[3:])) == list(range(40))
    assert not np.array_equal(seen[0], seen[3])


def test_dropout_keeps_the_mean_and_is_not_used_to_predict():
    net = network.Network(network.initial(5, [{"units": 2, "activation": "softmax", "dropout": 0.5}], 0),
                          Optimizer("sgd", 0.1), 0)  # fmt: skip
    dropped = net.dropped(np.ones((400, 500), np.float32), 0.25)
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    x = np.ones((3, 5), np.float32)
    np.testing.assert_array_equal(net.logits(x, np.asarray), net.logits(x, np.asarray))


class Follower:
    """A watcher that writes down what it hears, and steers as it is told to."""

    def __init__(self, rates=(), stop_at=None, restore=False):
        self.heard, self.rates, self.stop_at, self.restore = [], dict(rates), stop_at, restore
        self.first = None

    def begin(self, epochs, layers, learning_rate):
        self.heard.append(("begin", epochs, learning_rate))
        self.start = [SimpleNamespace(kernel=layer.kernel.copy(), bias=layer.bias.copy()) for layer in layers]

    def epoch_begin(self, epoch):
        return self.rates.get(epoch)

    def epoch_end(self, epoch, logs, layers):
        self.heard.append(("end", epoch, sorted(logs)))
        if epoch == 0:
            self.first = [dataclasses.replace(layer, kernel=layer.kernel.copy(), bias=layer.bias.copy())
                          for layer in layers()]  # fmt: skip
        return epoch == self.stop_at

    def end(self):
        return self.first if self.restore else None


@pytest.mark.parametrize("standardize", [True, False])
def test_a_watcher_hears_of_epochs_stops_them_and_puts_weights_back(standardize):
    follower = Follower(stop_at=2, restore=True)
    options = {"epochs": 9, "patience": None, "standardize": standardize, "learning_rate": 0.01}
    head = dense.fit(crossed(60), options=options, watcher=follower)
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert follower.heard == [("begin", 9, 0.01), ("end", 0, names), ("end", 1, names), ("end", 2, names)]
    assert len(head.history["loss"]) == 3
    for ours, theirs in zip(head.layers, follower.first, strict=True):
        np.testing.assert_allclose(ours.kernel, theirs.kernel, atol=1e-5)
        np.testing.assert_allclose(ours.bias, theirs.bias, atol=1e-4)


def test_a_watcher_changes_the_learning_rate():
    options = {"epochs": 2, "patience": None, "optimizer": "sgd", "learning_rate": 0.1}
    stopped = dense.fit(crossed(60), options=options, watcher=Follower(rates={1: 0.0}))
    once = dense.fit(crossed(60), options={**options, "epochs": 1})
    twice = dense.fit(crossed(60), options=options)
    np.testing.assert_array_equal(stopped.layers[0].kernel, once.layers[0].kernel)
    assert not np.array_equal(twice.layers[0].kernel, once.layers[0].kernel)


def test_the_untrained_head_is_the_one_that_training_begins_with():
    follower = Follower()
    dense.fit(crossed(60), options={"epochs": 1, "standardize": False}, watcher=follower)
    layers = dense.untrained(2, 2, options={"standardize": False}, seed=0)
    for ours, theirs in zip(layers, follower.start, strict=True):
        np.testing.assert_array_equal(ours.kernel, theirs.kernel)
        assert not ours.bias.any()
    assert np.abs(layers[0].kernel).max() <= np.sqrt(6 / (2 + 256))


def test_a_run_that_diverges_ends_with_numbers_that_say_so():
    head = dense.fit(crossed(60), options={"optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.99, "epochs": 40})
    assert len(head.history["loss"]) <= 40
    assert np.isfinite(head.loss)  # the best epoch was kept


# ---- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": []}, "no option 'layer'; .* Did you mean layers?"),
        ({"learning_rate": float("nan")}, "got nan"),
        ({"epochs": True}, "got True"),
        ({"epochs": 2.5}, "epochs .* whole number; got 2.5"),
        ({"epochs": None}, "epochs .* got None"),
        ({"batch_size": "32"}, "got '32'"),
        ({"optimizer": "adamm"}, "adam or rmsprop or sgd; got 'adamm'. Did you mean adam?"),
        ({"output": "sigmoids"}, "got 'sigmoids'. Did you mean sigmoid?"),
        ({"standardize": 1}, "standardize .* true or false; got 1"),
        ({"layers": "dense"}, "layers .* is a list"),
        ({"layers": {"dense": 5}}, "layers .* is a list"),
        ({"layers": [5]}, "a layer .* got 5"),
        ({"layers": [{"dense": 5, "dropout": 0.2}]}, "a layer .* got"),
        ({"layers": [{"units": 5}]}, "a layer .* got"),
        ({"layers": [{"dense": 0}]}, "dense .* between 1 and 65536; got 0"),
        ({"layers": [{"dropout": 1.0}]}, "dropout .* between 0.0 and 0.95; got 1.0"),
        ({"layers": [{"dense": 8, "activation": "rela"}]}, "relu or linear; got 'rela'. Did you mean relu?"),
        ({"layers": [{"dense": 8, "activaton": "relu"}]}, "no 'activaton'; .* Did you mean activation?"),
        ({"layers": [{"dropout": 0.5, "activation": "relu"}]}, "a dropout layer has no 'activation'"),
    ],
)
def test_an_option_that_is_unknown_or_out_of_range_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        dense.shape(2, options)
    with pytest.raises(RecipeError, match=message):
        dense.fit(crossed(12), options=options)


def test_dropouts_in_a_row_are_one():
    layers = [{"dropout": 0.5}, {"dropout": 0.5}, {"dense": 8, "activation": "linear"}]
    assert dense.shape(3, {"layers": layers}) == [
        {"units": 8, "activation": "linear", "dropout": 0.75},
        {"units": 3, "activation": "softmax", "dropout": 0.0},
    ]


def test_a_training_that_runs_away_says_so_and_gives_no_head():
    random = np.random.default_rng(0)
    features = (1e4 * random.normal(size=(200, 20))).astype(np.float32)
    data = HeadData(features, np.arange(200) % 3, 3, np.arange(200) % 5)
    wild = {"optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.9, "patience": None, "standardize": False}
    said = r"became no number in epoch \d+.\nLower learning_rate, which is 10, such as to 1"
    with pytest.raises(RecipeError, match=said):
        dense.fit(data, options={**wild, "epochs": 30})


def test_kernels_that_cannot_be_imported_are_done_without(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError(f"cannot cache function of {name}: no locator available")

    monkeypatch.setattr(network.importlib, "import_module", broken)
    network._kernels.cache_clear()
    try:
        monkeypatch.setattr(network, "FUSED_FROM", 1)
        net = network.Network(network.initial(4, [{"units": 2, "activation": "softmax", "dropout": 0.0}], 0),
                              Optimizer("adam", 1e-3), 0)  # fmt: skip
        assert type(net._first).__name__ == "_Plain"
    finally:
        network._kernels.cache_clear()
