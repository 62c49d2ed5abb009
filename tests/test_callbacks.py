"""Keras callbacks on a head's training: what is refused, what they are told, what they may steer, what they write."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import io
import json
import sys
import types
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import callback_arguments, callbacks, classifier_file, heads
from headstart.errors import InputError, MissingExtraError, RecipeError
from headstart.heads import Head, HeadData, Layer, dense
from headstart.keras_callbacks import Start
from headstart.recipe import Recipe
from headstart.trunk import Trunk, spec
from headstart.worker import Worker

# Keras's variables lack an argument of numpy's `__array__`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OPTIONS = {
    "layers": [{"dense": 6, "activation": "relu"}, {"dropout": 0.1}], "optimizer": "rmsprop", "learning_rate": 1e-2,
    "epochs": 4, "patience": None, "batch_size": 16,
}  # fmt: skip
NAMES = ("head_dense_1", "predictions")
needs_tensorboard = pytest.mark.skipif(
    not (importlib.util.find_spec("tensorflow") and importlib.util.find_spec("tensorboard")),
    reason="TensorFlow and TensorBoard are not installed: pip install 'headstart[cpu,tensorboard]'",
)


@pytest.fixture(scope="module")
def blank(small_trunk: Trunk, small_source: dict[str, Any], worker: Worker) -> Path:
    """The classifier's model of three classes, with marks where its head will be."""
    wanted = spec(**small_source, cuts=("conv_pw_13_relu",), pooling="avg")
    output = next(each for each in small_trunk.outputs if (each.layer, each.pooling) == ("conv_pw_13_relu", "avg"))
    return classifier_file.blank(wanted, [output], dense.shape(3, OPTIONS), worker).result()


@pytest.fixture(scope="module")
def data() -> HeadData:
    random = np.random.default_rng(0)
    labels = np.arange(96) % 3
    features = (random.normal(size=(3, 256))[labels] + 4 * random.normal(size=(96, 256))).astype(np.float32)
    return HeadData(features[:72], labels[:72], 3, np.zeros(72, int), 0, None, (features[72:], labels[72:]))


class Recorder:
    """A watcher around another, that keeps the weights and the rate of each epoch."""

    def __init__(self, inner: heads.Watcher) -> None:
        self.inner, self.rates, self.weights = inner, [], []
        self.restored: Sequence[Layer] | None = None

    def begin(self, epochs: int, layers: Sequence[Layer], learning_rate: float) -> None:
        self.rates.append(learning_rate)
        self.inner.begin(epochs, layers, learning_rate)

    def epoch_begin(self, epoch: int) -> float | None:
        rate = self.inner.epoch_begin(epoch)
        self.rates.append(self.rates[-1] if rate is None else rate)
        return rate

    def epoch_end(self, epoch: int, logs: Any, layers: Callable[[], Sequence[Layer]]) -> bool:
        self.weights.append([Layer(layer.kernel.copy(), layer.bias.copy()) for layer in layers()])
        return self.inner.epoch_end(epoch, logs, layers)

    def end(self) -> Sequence[Layer] | None:
        self.restored = self.inner.end()
        return self.restored


def run(
    data: HeadData, blank: Path, named: Sequence[Any] = (), *, given: Sequence[Any] = (), **options: Any
) -> tuple[Head, Recorder]:
    recipe = Recipe(head="dense", head_options={**OPTIONS, **options}, callbacks=tuple(named))
    callbacks.check(recipe.callbacks, given)
    with callbacks.watch(recipe, given, blank) as watcher:
        recorder = Recorder(watcher)
        return dense.fit(data, options=recipe.head_options, watcher=recorder), recorder


def same(some: Sequence[Layer], others: Sequence[Layer], tolerance: float = 1e-6) -> bool:
    return all(
        np.allclose(a.kernel, b.kernel, atol=tolerance) and np.allclose(a.bias, b.bias, atol=tolerance)
        for a, b in zip(some, others, strict=True)
    )


# ---- what is refused, without Keras ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ({"EarlyStoping": {}}, "unknown callback 'EarlyStoping'.*Did you mean EarlyStopping"),
        ({"BackupAndRestore": {"backup_dir": "x"}}, "unknown callback.*\n.*given as an object in Python"),
        ({"EarlyStopping": {"patiense": 3}}, "no argument 'patiense'.*Did you mean patience"),
        ({"EarlyStopping": {"patience": "three"}}, "patience of EarlyStopping is a whole number.*'three'"),
        ({"EarlyStopping": {"patience": True}}, "patience of EarlyStopping is a whole number"),
        ({"EarlyStopping": {"monitor": "val_acc"}}, "accuracy or .*'val_acc'.*Did you mean val_accuracy"),
        ({"EarlyStopping": {"restore_best_weights": "yes"}}, "true or false; got 'yes'"),
        ({"ReduceLROnPlateau": {"factor": 1.5}}, "factor of ReduceLROnPlateau is a number between 0 and 1; got 1.5"),
        ({"TensorBoard": {"update_freq": "batch"}}, "update_freq of TensorBoard is epoch.*not of batches"),
        ({"CSVLogger": {}}, "CSVLogger needs a filename"),
        ({"CSVLogger": {"filename": "nowhere/epochs.csv"}}, "there is no folder .*nowhere; make it first"),
        ({"ModelCheckpoint": {"save_best_only": True}}, "ModelCheckpoint needs a filepath"),
        ({"ModelCheckpoint": {"filepath": "best.h5"}}, r"must end in \.keras, or, .*got 'best.h5'"),
        ({"ModelCheckpoint": {"filepath": "b.keras", "save_weights_only": True}}, r"must end in .*\.weights\.h5"),
        ({"ModelCheckpoint": {"filepath": "{val_acc:.2f}.keras"}}, "names {val_acc}.*Did you mean val_accuracy"),
        ({"ModelCheckpoint": {"filepath": "{epoch:zz}.keras"}}, "cannot be filled in"),
        ({"ModelCheckpoint": {"filepath": "{learning_rate}.keras"}}, "names {learning_rate}"),
        ({"LearningRateScheduler": {}}, "takes a schedule, .* or a factor"),
        ({"LearningRateScheduler": {"schedule": {0: 0.1}, "factor": 0.9}}, "one of the two"),
        ({"LearningRateScheduler": {"schedule": "lambda epoch: 0.1"}}, "holds no functions.*\n.*is given in Python"),
        ({"LearningRateScheduler": {"schedule": {"first": 0.1}}}, "counts epochs from 0; got epoch 'first'"),
        ({"LearningRateScheduler": {"schedule": {0: -0.1}}}, "rates above 0.*got -0.1 for epoch 0"),
    ],
)
def test_what_could_not_run_is_refused_in_words(callback, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=f"(?s){said}"):
        callbacks.check([callback])


def test_a_place_where_nothing_can_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("x", "utf-8")
    for name, argument, value in (
        ("ModelCheckpoint", "filepath", tmp_path / "file" / "best.keras"),
        ("TensorBoard", "log_dir", tmp_path / "file"),
        ("CSVLogger", "filename", tmp_path),
    ):
        with pytest.raises(RecipeError, match=f"{name}: .*folder"):
            callbacks.check([{name: {argument: str(value)}}])


def test_tensorboard_that_is_not_installed_is_missed_before_training(monkeypatch):
    there = {"tensorflow": True, "tensorboard": False}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there.get(name) or None)
    with pytest.raises(MissingExtraError, match=r"headstart\[tensorboard\]"):
        callbacks.check([{"TensorBoard": {}}])
    there["tensorflow"] = False
    with pytest.raises(MissingExtraError, match=r"headstart\[cpu,tensorboard\]"):
        callbacks.check([{"TensorBoard": {}}])


def test_what_is_sound_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks.check([
        {"EarlyStopping": {"monitor": "val_loss", "patience": 3, "restore_best_weights": True, "baseline": None}},
        {"LearningRateScheduler": {"schedule": {"0": 1e-3, "5": 1e-4}}},  # as JSON has it
        {"ModelCheckpoint": {"filepath": "new/{epoch:02d}-{val_accuracy:.3f}-{learning_rate:.1e}.keras"}},
        {"TerminateOnNaN": {}},
    ])  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_the_arguments_are_those_that_keras_has():
    import keras

    for name, arguments in callback_arguments.ARGUMENTS.items():
        keras_has = inspect.signature(getattr(keras.callbacks, name)).parameters
        required = [
            key for key, each in keras_has.items() if each.default is each.empty and each.kind != each.VAR_KEYWORD
        ]
        assert set(arguments) - {"factor"} <= set(keras_has), name
        assert set(required) <= set(arguments), name


@pytest.mark.parametrize(
    ("callback", "steers"),
    [
        ({"EarlyStopping": {}}, True),
        ({"EarlyStopping": {"monitor": "loss"}}, False),
        ({"ReduceLROnPlateau": {"monitor": "val_accuracy"}}, True),
        ({"ModelCheckpoint": {"filepath": "a.keras", "save_best_only": True}}, True),
        ({"ModelCheckpoint": {"filepath": "a.keras"}}, False),
        ({"LearningRateScheduler": {"factor": 0.9}}, False),
        ({"TensorBoard": {}}, False),
    ],
)
def test_what_steers_by_the_watched_pictures_is_told_from_what_only_looks(callback, steers):
    assert callbacks.choose([{"CSVLogger": {"filename": "a.csv"}}, callback]) is steers


# ---- objects, in this process ---------------------------------------------------------------------------------------


def test_objects_are_told_of_epochs_in_order_with_the_figures_of_the_history(data, blank):
    import keras

    told: list[Any] = []

    class Mine(keras.callbacks.Callback):
        def on_train_begin(self, _logs=None):
            told.append(("train begins", self.params["epochs"], self.model.count_params() > 200_000))

        def on_epoch_begin(self, epoch, _logs=None):
            told.append(("begins", epoch))

        def on_train_end(self, logs=None):
            told.append(("train ends", dict(logs)))

    ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(("ends", epoch, dict(logs))))
    head, _ = run(data, blank, given=[Mine(), ends], epochs=2)
    logs = [{name: values[epoch] for name, values in head.history.items()} for epoch in range(2)]
    assert set(logs[0]) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert told == [
        ("train begins", 2, True), ("begins", 0), ("ends", 0, logs[0]), ("begins", 1), ("ends", 1, logs[1]),
        ("train ends", logs[1]),
    ]  # fmt: skip


def test_an_object_sees_the_weights_of_its_epoch_under_a_frozen_trunk(data, blank):
    import keras

    seen: list[list[np.ndarray]] = []
    trainable: list[str] = []

    class Looking(keras.callbacks.Callback):
        def on_epoch_end(self, _epoch, _logs=None):
            seen.append([array for name in NAMES for array in self.model.get_layer(name).get_weights()])
            trainable[:] = [layer.name for layer in self.model.layers if layer.trainable and layer.weights]

    _, recorder = run(data, blank, given=[Looking()])
    assert trainable == list(NAMES)
    assert len(seen) == 4
    for arrays, layers in zip(seen, recorder.weights, strict=True):
        assert same([Layer(arrays[0], arrays[1]), Layer(arrays[2], arrays[3])], layers)
    assert not same(recorder.weights[0], recorder.weights[3])
    assert recorder.restored is None


def test_an_object_that_stops_and_puts_the_best_weights_back_is_obeyed(data, blank):
    import keras

    # By the accuracy, so that Keras has to find out which way is better.
    stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=2, restore_best_weights=True)
    head, recorder = run(data, blank, given=[stopping], epochs=30, learning_rate=0.05)
    figures = list(head.history["val_accuracy"])
    best = int(np.argmax(figures))
    assert len(figures) < 30
    assert len(figures) - best == 3
    assert same(head.layers, recorder.weights[best], 1e-5)
    assert not same(head.layers, recorder.weights[-1], 1e-3)
    assert [layer.activation for layer in recorder.restored or ()] == ["relu", "softmax"]


def test_a_rate_that_an_object_changes_reaches_the_trainer(data, blank):
    import keras

    class Halving(keras.callbacks.Callback):
        def on_epoch_end(self, _epoch, _logs=None):
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate.numpy()) / 2

    untouched, recorder = run(data, blank, given=[keras.callbacks.Callback()], epochs=3)
    assert recorder.rates == [1e-2] * 4  # not what float32 makes of it
    halved, recorder = run(data, blank, given=[Halving()], epochs=3)
    np.testing.assert_allclose(recorder.rates, [1e-2, 1e-2, 5e-3, 2.5e-3], rtol=1e-6)
    assert untouched.history["loss"][0] == halved.history["loss"][0]
    assert untouched.history["loss"][2] != halved.history["loss"][2]


def test_a_loss_that_is_no_number_ends_the_training(data, blank, capsys):
    import keras

    with callbacks.watch(Recipe(head="dense"), [keras.callbacks.TerminateOnNaN()], blank) as watcher:
        layers = [Layer(np.zeros((256, 6), np.float32), np.zeros(6)), Layer(np.zeros((6, 3), np.float32), np.zeros(3))]
        watcher.begin(9, layers, 0.1)
        assert watcher.epoch_end(0, {"loss": 0.5}, lambda: layers) is False
        assert watcher.epoch_end(1, {"loss": float("nan")}, lambda: layers) is True
    assert "epoch 2" in capsys.readouterr().out


def test_what_an_object_raises_is_told_with_its_name(data, blank):
    import keras

    def burst(epoch: int, logs: Any) -> None:
        raise ZeroDivisionError("by the user")

    with pytest.raises(
        InputError, match="LambdaCallback failed in on_epoch_end: ZeroDivisionError: by the user"
    ) as told:
        run(data, blank, given=[keras.callbacks.LambdaCallback(on_epoch_end=burst)])
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    assert told.value.exit_status == 2


def test_what_would_never_work_as_an_object_is_refused(tmp_path):
    import keras

    batches = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _batch, _logs: None)
    for given, said in (
        (keras.callbacks.EarlyStopping, r"got the class EarlyStopping. Call it: EarlyStopping\(\)"),
        ({"EarlyStopping": {}}, "belongs into the recipe"),
        (print, "takes Keras 3 callbacks"),
        (batches, "would never be called: it has on_train_batch_end"),
        (keras.callbacks.ModelCheckpoint(tmp_path / "a.keras", save_freq=10), "save_freq of ModelCheckpoint counts"),
        (keras.callbacks.BackupAndRestore(str(tmp_path)), "BackupAndRestore takes up"),
    ):
        with pytest.raises(InputError, match=said):
            callbacks.check([], [given])
    callbacks.check([], [keras.callbacks.EarlyStopping(), keras.callbacks.TerminateOnNaN()])


def test_weights_are_not_asked_for_where_nobody_looks(data, blank):
    import keras

    def asked() -> Sequence[Layer]:
        raise AssertionError("nobody looks at weights")

    quiet = [keras.callbacks.EarlyStopping(), keras.callbacks.LearningRateScheduler(lambda _epoch, rate: rate)]
    layers = [Layer(np.zeros((256, 6), np.float32), np.zeros(6)), Layer(np.zeros((6, 3), np.float32), np.zeros(3))]
    for given in (quiet, [*quiet, keras.callbacks.EarlyStopping(restore_best_weights=True)]):
        with callbacks.watch(Recipe(head="dense"), given, blank) as watcher:
            watcher.begin(2, layers, 0.1)
            if given is quiet:
                assert watcher.epoch_end(0, {"loss": 0.5, "val_loss": 0.5}, asked) is False
            else:
                with pytest.raises(AssertionError, match="nobody looks"):
                    watcher.epoch_end(0, {"loss": 0.5, "val_loss": 0.5}, asked)


def test_which_callbacks_look_at_weights():
    assert callback_arguments.looks("ModelCheckpoint", {"filepath": "a.keras"})
    assert callback_arguments.looks("TensorBoard", {"histogram_freq": 2})
    assert not callback_arguments.looks("TensorBoard", {"histogram_freq": 0})


# ---- callbacks that a recipe names, in a worker ---------------------------------------------------------------------


def test_named_callbacks_stop_save_and_steer(data, blank, tmp_path, monkeypatch):
    import keras

    monkeypatch.chdir(tmp_path)
    named = [
        {"LearningRateScheduler": {"schedule": {0: 0.05, 2: 0.02}}},
        {"EarlyStopping": {"monitor": "val_loss", "patience": 2, "restore_best_weights": True}},
        {"ModelCheckpoint": {"filepath": "kept/{epoch:02d}-{val_accuracy:.3f}.keras", "save_best_only": True}},
        {"CSVLogger": {"filename": "epochs.csv"}},
    ]
    late: list[np.ndarray] = []
    after = keras.callbacks.LambdaCallback(
        on_train_end=lambda _logs: late.extend(after.model.get_layer("predictions").get_weights())
    )
    head, recorder = run(data, blank, json.loads(json.dumps(named)), given=[after], epochs=30)
    losses = list(head.history["val_loss"])
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 30
    np.testing.assert_allclose(recorder.rates[1:4], [0.05, 0.05, 0.02], rtol=1e-6)
    assert same(head.layers, recorder.weights[best], 1e-5)
    assert not same(head.layers, recorder.weights[-1], 1e-3)
    assert same([Layer(*late)], head.layers[-1:], 1e-5), "objects come after the recipe's callbacks"

    with open("epochs.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    np.testing.assert_allclose([float(row["val_loss"]) for row in rows], losses)
    np.testing.assert_allclose(float(rows[2]["learning_rate"]), 0.02, rtol=1e-6)

    improved = [epoch for epoch, loss in enumerate(losses) if loss < min([np.inf, *losses[:epoch]])]
    figures = head.history["val_accuracy"]
    assert sorted(path.name for path in Path("kept").iterdir()) == [
        f"{epoch + 1:02d}-{figures[epoch]:.3f}.keras" for epoch in improved
    ]
    plain(Path("kept") / f"{best + 1:02d}-{figures[best]:.3f}.keras", recorder.weights[best], blank)


def test_weights_are_written_once_those_before_have_been_read(tmp_path):
    order: list[str] = []

    class Answer(Future[Any]):
        def result(self, _timeout: float | None = None) -> Any:
            order.append("read")
            return [False, 0.1]

    class Slow:
        def submit(self, job: str, **_arguments: Any) -> Future[Any]:
            order.append(job.split(":")[1])
            return Answer()

        def call(self, job: str, **arguments: Any) -> Any:
            return self.submit(job, **arguments).result()

    def layers() -> list[Layer]:
        order.append("written")
        return [Layer(np.zeros((2, 3), np.float32), np.zeros(3, np.float32))]

    side = callbacks._There([{"ModelCheckpoint": {"filepath": "a.keras"}}], Slow(), tmp_path)
    side.begin(Start("blank", "adam", 0.0), layers)
    side.epoch_end(0, {}, layers=layers, rate=0.1)
    assert order == ["written", "begin", "read", "written", "epoch_end", "read"]


def plain(path: Path, layers: Sequence[Layer], blank: Path) -> None:
    """Check that a file is a whole Keras model with these weights, which opens without a warning."""
    import h5py
    import keras

    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        assert not json.loads(archive.read("config.json")).get("compile_config")
        assert b"headstart" not in archive.read("config.json")
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as store:
            assert not list(store.get("optimizer/vars", ())), "numbers of an optimizer that has never made a step"
    model, made = keras.models.load_model(path, safe_mode=True), keras.models.load_model(blank, safe_mode=True)
    dense_layers = [model.get_layer(name) for name in NAMES]
    assert same([Layer(*layer.get_weights()) for layer in dense_layers], layers)
    for layer in made.layers:
        if layer.name not in NAMES:
            for mine, its in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, its)
    pictures = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32)
    answer = model.predict(pictures, verbose=0)
    assert answer.shape == (4, 3)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(answer, axis=0).max() > 0


def test_what_a_named_callback_raises_is_the_recipes_fault(data, blank, tmp_path):
    named = [{"ModelCheckpoint": {"filepath": str(tmp_path / "late" / "{epoch}.keras")}}]
    recipe = Recipe(head="dense", head_options=OPTIONS, callbacks=tuple(named))
    callbacks.check(recipe.callbacks)
    (tmp_path / "late").write_text("came in between", "utf-8")
    with (
        pytest.raises(RecipeError, match=r"the callback ModelCheckpoint failed in on_epoch_end: .*Error"),
        callbacks.watch(recipe, (), blank) as watcher,
    ):
        dense.fit(data, options=recipe.head_options, watcher=watcher)


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_its_callback_wrote(data, blank, tmp_path, monkeypatch):
    # TensorBoard's reader asks for TensorFlow unless this module is there.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    import keras
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    monkeypatch.chdir(tmp_path)
    named = [
        {"TensorBoard": {"log_dir": "logs", "histogram_freq": 1}},
        {"ModelCheckpoint": {"filepath": "{epoch}.weights.h5", "save_weights_only": True}},
    ]
    head, recorder = run(data, blank, named, epochs=2)
    for folder, prefix in (("train", ""), ("validation", "val_")):
        log = EventAccumulator(str(tmp_path / "logs" / folder))
        log.Reload()
        for figure in ("accuracy", "loss"):
            events = log.Tensors(f"epoch_{figure}")
            assert [event.step for event in events] == [0, 1]
            values = [float(tensor_util.make_ndarray(event.tensor_proto)) for event in events]
            np.testing.assert_allclose(values, head.history[prefix + figure], rtol=1e-6)
    train = EventAccumulator(str(tmp_path / "logs" / "train"))
    train.Reload()
    assert "predictions/kernel/histogram" in train.Tags()["tensors"]

    model = keras.models.load_model(blank, safe_mode=True)
    model.load_weights("1.weights.h5")
    assert same([Layer(*model.get_layer(name).get_weights()) for name in NAMES], recorder.weights[0])
