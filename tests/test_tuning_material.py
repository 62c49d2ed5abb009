"""What a network is tuned on: rows, views, weights, targets and figures, held against plain numpy and Keras."""

import numpy as np
import pytest

from headstart import tuning_material, views
from headstart.augment import PRESETS, View
from headstart.tuning_material import AT_ONCE, Material, measured, smoothed
from tuning_jobs import problem

AUGMENT = {"augmentation": PRESETS["light"].as_dict(), "seed": 4}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return problem(tmp_path_factory.mktemp("kept"), pictures=150, views=3)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    draws = np.random.default_rng(0)
    np.save(folder / "train.npy", draws.integers(0, 256, (20, 16, 16, 3)).astype(np.uint8))
    np.save(folder / "judged.npy", draws.integers(0, 256, (70, 16, 16, 3)).astype(np.uint8))
    np.savez(folder / "facts.npz", targets=np.eye(2, dtype=np.float32)[np.arange(20) % 2],
             judged_targets=np.eye(2, dtype=np.float32)[np.arange(70) % 2],
             digests=draws.integers(0, 256, (20, 32)).astype(np.uint8))  # fmt: skip
    return folder


def test_files_are_mapped_and_not_read(kept, pixels):
    assert isinstance(Material.open(kept).train, np.memmap)
    assert (Material.open(kept).pixels, Material.open(pixels).pixels) == (False, True)
    assert (len(Material.open(kept)), len(Material.open(pixels))) == (150, 20)


def test_views_that_are_kept_take_turns(kept):
    material, rows = Material.open(kept), np.array([7, 149, 0, 7])
    seen = [material.turns(epoch, 1) for epoch in range(3)]
    assert (np.sort(np.stack(seen), axis=0) == np.arange(3)[:, None]).all()  # each view once in three epochs
    assert np.array_equal(seen[1], views.turns(material.digests, 3, seed=1, epoch=1))
    batch = material.batch(rows, seen[1])
    assert np.array_equal(batch, np.stack([material.train[seen[1][row], row] for row in rows]))
    assert np.array_equal(material.batch(rows, None), material.train[0, rows])
    assert batch.dtype == np.float16


def test_one_view_alone_is_the_picture_as_it_is(tmp_path):
    assert Material.open(problem(tmp_path, views=1)).turns(3, 0) is None


def test_pixels_come_in_the_order_asked_for_and_as_each_epoch_draws_them(pixels):
    plain, drawn, rows = Material.open(pixels), Material.open(pixels, AUGMENT), np.array([5, 19, 0, 5])
    assert plain.turns(2, 0) is None
    assert np.array_equal(plain.batch(rows, None), np.asarray(plain.train)[rows])
    turn = drawn.turns(2, 0)
    wanted = [View(PRESETS["light"], 4, 2).apply(drawn.train[row], drawn.digests[row].tobytes()) for row in rows]
    assert np.array_equal(drawn.batch(rows, turn), np.stack(wanted))
    assert not np.array_equal(drawn.batch(rows, turn), drawn.batch(rows, drawn.turns(3, 0)))
    assert np.array_equal(drawn.batch(rows, None), np.asarray(plain.train)[rows])


def test_clean_and_judging_go_over_all_in_order(kept, pixels):
    material = Material.open(kept)
    assert np.array_equal(np.concatenate(list(material.clean())), material.train[0])
    assert [len(block) for block in Material.open(pixels).judging()] == [AT_ONCE, 70 - AT_ONCE]


def test_a_sample_has_each_picture_once_in_parts_of_nearly_one_size(kept):
    material = Material.open(kept)
    parts = list(material.sample(140, 5))
    assert [len(part) for part in parts] == [70, 70]
    order = np.random.default_rng([5, 22]).permutation(150)[:140]
    assert np.array_equal(np.concatenate(parts), material.batch(order, material.turns(0, 5)))
    assert len(list(material.sample(3, 5))) == 1


def test_balanced_weights_make_all_classes_count_the_same(tmp_path):
    labels = np.array([0] * 30 + [1] * 6)  # and none of the third
    every = np.eye(3, dtype=np.float32)
    targets = {"targets": every[labels], "judged_targets": every[:1]}
    material = Material.open(problem(tmp_path, pictures=36, judged=1, targets=targets))
    weights = material.weights(np.arange(36), True)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights.mean() == pytest.approx(1)
    assert material.weights(np.arange(36), False).tolist() == [1.0] * 36


@pytest.mark.parametrize("name", ["train", "judged"])
def test_a_truncated_file_is_no_material(tmp_path, name):
    path = problem(tmp_path) / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"mmap|size|shape"):
        Material.open(tmp_path)


def test_smoothing_is_kerass():
    keras = pytest.importorskip("keras")
    targets, answers = np.eye(4, dtype=np.float32), np.full((4, 4), 0.1, np.float32) + 0.6 * np.eye(4, dtype=np.float32)
    for activation, kind in (("softmax", "CategoricalCrossentropy"), ("sigmoid", "BinaryCrossentropy")):
        theirs = float(np.asarray(getattr(keras.losses, kind)(label_smoothing=0.2)(targets, answers)))
        soft = smoothed(targets, 0.2, activation)
        ours = -(soft * np.log(answers))
        ours = ours.sum(axis=1) if activation == "softmax" else ours - (1 - soft) * np.log(1 - answers)
        assert float(ours.mean()) == pytest.approx(theirs, rel=1e-5)
    assert smoothed(targets, 0.2, "linear") is targets


def test_figures_of_each_kind_of_answer():
    keras = pytest.importorskip("keras")
    draws = np.random.default_rng(0)
    answers, targets = draws.random((9, 2)).astype(np.float32), draws.integers(0, 2, (9, 2)).astype(np.float32)
    right, loss = measured(answers, targets, "sigmoid")
    assert right == ((answers > 0.5) == (targets > 0.5)).mean()
    assert loss == pytest.approx(float(np.asarray(keras.losses.BinaryCrossentropy()(targets, answers))), rel=1e-5)
    far, loss = measured(answers, targets, "linear")
    assert far == pytest.approx(np.abs(answers - targets).mean())
    assert loss == pytest.approx(float(np.asarray(keras.losses.MeanSquaredError()(targets, answers))), rel=1e-5)


def test_a_class_that_is_not_among_the_judged_is_no_trouble():
    answers = np.full((5, 3), 1 / 3, np.float32)
    accuracy, loss = measured(answers, np.eye(3, dtype=np.float32)[[0, 0, 1, 0, 1]], "softmax")
    assert accuracy == pytest.approx(0.6)
    assert loss == pytest.approx(np.log(3), rel=1e-5)


def test_the_spread_of_targets_that_do_not_differ_is_one(tmp_path):
    same = {"targets": np.full((48, 1), 3.0, np.float32), "judged_targets": np.zeros((30, 1), np.float32)}
    assert Material.open(problem(tmp_path, targets=same)).spread == 1.0
    assert tuning_material.AT_ONCE == AT_ONCE
