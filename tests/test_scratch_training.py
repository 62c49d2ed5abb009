"""Training from scratch, the worker's side: what it is given, how it is set up, that it learns."""

import importlib.util
from dataclasses import asdict
from itertools import islice

import numpy as np
import pytest

from headstart import scratch_training, views
from headstart.augment import PRESETS, View
from headstart.scratch_training import Pictures, default_settings, ordered
from headstart.sources._graph import weights_of
from headstart.worker import Worker

SIZE, CUT = (32, 32), "conv_pw_1_relu"
SPEC = {"name": "mobilenet_0.25", "image_size": list(SIZE), "weights": "random", "seed": 0, "preprocessing": "source"}
HEAD = [{"units": 2, "activation": "softmax", "dropout": 0.0}]
AUGMENT = {"augmentation": asdict(PRESETS["light"]), "seed": 3, "views": 4}


def coloured(count, seed):
    """Pictures that are rather red or rather blue."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 160, (count, *SIZE, 3))
    pixels[labels == 0, ..., 0] += 60
    pixels[labels == 1, ..., 2] += 60
    return pixels.astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    (train, labels), (watched, watched_labels) = coloured(64, 0), coloured(40, 1)
    np.save(folder / "train.npy", train)
    np.save(folder / "watched.npy", watched)
    digests = np.arange(64 * 32).reshape(64, 32).astype(np.uint8)
    np.savez(folder / "facts.npz", labels=labels, digests=digests, watched_labels=watched_labels)
    return folder


# ---- without a framework --------------------------------------------------------------------------------------------


def test_each_epoch_sees_every_picture_once_in_the_heads_order():
    batches = list(islice(ordered(70, 32, 5), 6))
    order = np.random.default_rng([5, 1])
    assert np.concatenate(batches[:3]).tolist() == order.permutation(70).tolist()
    assert np.concatenate(batches[3:]).tolist() == order.permutation(70).tolist()
    assert min(len(batch) for batch in batches) >= 23


def test_pictures_come_in_the_order_asked_for(folder):
    pictures = Pictures.open(folder, None)
    rows = np.array([5, 63, 0, 17])
    batch = pictures.batch(rows, pictures.numbers(0))
    assert batch.dtype == np.float32
    assert np.array_equal(batch, coloured(64, 0)[0][rows])


@pytest.mark.parametrize("kept", [4, "live"])
def test_the_views_are_those_that_the_reused_network_sees(folder, kept):
    pictures, rows, epoch = Pictures.open(folder, {**AUGMENT, "views": kept}), np.array([9, 2]), 6
    pixels, digests = coloured(64, 0)[0], np.arange(64 * 32).reshape(64, 32).astype(np.uint8)
    number = views.turns(digests, 4, seed=3, epoch=epoch) if kept == 4 else np.full(64, epoch)
    wanted = [View(PRESETS["light"], 3, int(number[row])).apply(pixels[row], digests[row].tobytes()) for row in rows]
    assert np.array_equal(pictures.batch(rows, pictures.numbers(epoch)), np.stack(wanted))


def test_rates_follow_what_keeps_the_layers_scale():
    kinds = ("BatchNormalization", "LayerNormalization", "Dense")
    rates = [default_settings({"Conv2D", kind}).learning_rate for kind in kinds]
    assert rates == [1e-3, 3e-4, 1e-4]
    assert default_settings(set(), 20).batch_size == 20


# ---- on Keras -------------------------------------------------------------------------------------------------------


def test_every_layer_is_trained_and_the_head_is_the_classifiers():
    head = [{"units": 8, "activation": "relu", "dropout": 0.0}, {"units": 3, "activation": "softmax", "dropout": 0.3}]
    outputs = [["conv_pw_2_relu", "avg"], ["conv_pw_3_relu", "max"]]
    model = scratch_training.network(SPEC, outputs, head, 1)
    assert all(layer.trainable for layer in model.layers)
    assert len(model.trainable_weights) > 20
    assert model.output_shape == (None, 3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[-4:] == ["Concatenate", "Dense", "Dropout", "Dense"]
    scratch_training.prepare(model, default_settings(set(kinds)))
    assert {layer.momentum for layer in model.layers if type(layer).__name__ == "BatchNormalization"} == {0.9}
    again, other = (scratch_training.network(SPEC, outputs, head, seed) for seed in (1, 2))
    first, same, different = (weights_of(each.get_layer("conv1"))[0] for each in (model, again, other))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, different)


@pytest.fixture(scope="module")
def tensorflow():
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed: pip install 'headstart[cpu]'")
    with Worker("tensorflow") as worker:
        yield worker


def trained(worker, folder, **changes):
    given = {"seed": 0, "epochs": 6, "seconds": None, "batch_size": 8, "steps": None, "augment": None, **changes}
    told = []
    found = worker.call(
        "scratch_training:train", progress=told.append, folder=str(folder), spec=SPEC, outputs=[[CUT, "avg"]],
        head=HEAD, **given,
    )  # fmt: skip
    return found, told


def test_it_learns_what_can_be_learnt_and_tells_how_far_it_is(tensorflow, folder):
    found, told = trained(tensorflow, folder)
    history = found["history"]
    assert {len(values) for values in (*history.values(), found["seconds"])} == {6}
    assert found["before"] <= 0.75
    assert max(history["val_accuracy"][-2:]) > 0.9  # inference agrees with training: the statistics have followed
    assert history["loss"][-1] < history["loss"][0]
    assert told[-1] == {"done": 48, "total": 48}
    assert found["settings"]["momentum"] == 0.9


def test_seconds_end_it_after_one_epoch_at_the_least(tensorflow, folder):
    found, told = trained(tensorflow, folder, seconds=1e-6, epochs=50, augment=AUGMENT, steps=3)
    assert len(found["seconds"]) == 1
    assert told[-1] == {"done": 3, "total": None}
