"""Where: evidence adds up to the margin, lies where the planted thing is, and follows from the head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import images
from headstart.answers import save_explanations
from headstart.classifier import Classifier, Prediction
from headstart.errors import InputError, PictureError, SourceError
from headstart.explanation import Explanation, evidence, gradient
from headstart.heads import HeadData, Layer, apply, dense
from headstart.recipe import Recipe
from headstart.train import train
from headstart.trunk import prepare_places, spec

GRID, CHANNELS = (3, 4), 5


def head(dimensions: int, units: Sequence[int] = (3,), seed: int = 0) -> list[Layer]:
    random = np.random.default_rng(seed)
    sizes = [dimensions, *units]
    return [
        Layer(
            random.normal(size=(before, after)).astype(np.float32), random.normal(size=after).astype(np.float32),
            "softmax" if number == len(units) - 1 else "relu",
        )
        for number, (before, after) in enumerate(zip(sizes, units, strict=False))
    ]  # fmt: skip


def activations(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*GRID, CHANNELS)).astype(np.float32)


def over_others(values: np.ndarray, answer: int) -> float:
    return float(values[answer] - np.delete(values, answer).mean())


def margin(layers: Sequence[Layer], features: np.ndarray, answer: int) -> float:
    """The logit less the mean of the other classes'."""
    last = replace(layers[-1], activation="linear")
    return over_others(apply([*layers[:-1], last], features[None])[0], answer)


POOLED = {"avg": lambda a: a.mean(axis=(0, 1)), "max": lambda a: a.max(axis=(0, 1)), "flatten": lambda a: a.ravel()}


# ---- the formula


@pytest.mark.parametrize("poolings", [["avg"], ["max"], ["flatten"], ["avg", "max"]])
@pytest.mark.parametrize("answer", [0, 2])
def test_the_evidence_of_all_places_is_the_margin(poolings: list[str], answer: int) -> None:
    grid = activations()
    features = np.concatenate([POOLED[name](grid) for name in poolings])
    layers = head(len(features))
    found = evidence(layers, [grid], [(0, name) for name in poolings], answer)
    assert found.shape == GRID
    biases = over_others(layers[0].bias, answer)
    assert found.sum() + biases == pytest.approx(margin(layers, features, answer), rel=1e-4)


def test_on_average_pooling_it_is_the_class_activation_map_less_that_of_the_others() -> None:
    grid, layers = activations(), head(CHANNELS)
    found = evidence(layers, [grid], [(0, "avg")], 1)
    maps = np.einsum("ijk,kc->cij", grid, layers[0].kernel) / 12
    assert found == pytest.approx(maps[1] - (maps[0] + maps[2]) / 2, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("answer", [0, 1])
def test_both_classes_of_a_saved_sigmoid_have_a_map(answer: int) -> None:
    labels = np.arange(60) % 2
    grids = np.random.default_rng(0).uniform(size=(60, *GRID, 2)).astype(np.float32)
    grids[labels == 0, 0, 1, 0] += 8  # each class has a thing of its own in a place of its own
    grids[labels == 1, 2, 3, 1] += 8
    data = HeadData(grids.mean(axis=(1, 2)), labels, 2, np.arange(60) // 2 % 5)
    layers = dense.fit(data, options={"epochs": 20, "learning_rate": 0.05, "layers": []}).layers
    assert not layers[-1].kernel[:, 0].any()
    found = evidence(layers, [grids[answer]], [(0, "avg")], answer)
    assert np.unravel_index(found.argmax(), GRID) == ((0, 1), (2, 3))[answer]
    assert found.max() > 0


@pytest.mark.parametrize("answer", [0, 2])
def test_what_is_added_to_all_logits_alike_changes_no_map(answer: int) -> None:
    layers, more = head(CHANNELS), np.random.default_rng(5).normal(size=(CHANNELS, 1)).astype(np.float32)
    moved = [replace(layers[0], kernel=layers[0].kernel + more)]
    ours, theirs = (evidence(each, [activations()], [(0, "avg")], answer) for each in (layers, moved))
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("units", [(3,), (8, 3), (9, 7, 3)])
def test_the_gradient_is_that_of_small_steps(units: tuple[int, ...]) -> None:
    layers = head(6, units)
    features = np.random.default_rng(3).normal(size=6).astype(np.float32)
    step, slopes = 1e-3, gradient(layers, features, 1)
    for number in range(6):
        moved = [features + sign * step * np.eye(6, dtype=np.float32)[number] for sign in (1, -1)]
        small = (margin(layers, moved[0], 1) - margin(layers, moved[1], 1)) / (2 * step)
        assert slopes[number] == pytest.approx(small, rel=0.02, abs=0.02)


def test_equal_maxima_share_and_others_get_nothing() -> None:
    grid = np.zeros((2, 2, 1), np.float32)
    grid[0, 1] = grid[1, 1] = 3
    layers = [Layer(np.array([[2.0, -2.0]], np.float32), np.zeros(2, np.float32), "softmax")]
    assert evidence(layers, [grid], [(0, "max")], 0).tolist() == [[0, 6], [0, 6]]


def test_cuts_of_several_sizes_are_added_on_the_finest_grid() -> None:
    coarse, fine = activations(1)[:1, :2], np.random.default_rng(2).normal(size=(2, 4, 2)).astype(np.float32)
    features = np.concatenate([coarse.mean(axis=(0, 1)), fine.max(axis=(0, 1))])
    layers = head(len(features))
    found = evidence(layers, [coarse, fine], [(0, "avg"), (1, "max")], 0)
    assert found.shape == (2, 4)
    assert found.sum() + over_others(layers[0].bias, 0) == pytest.approx(margin(layers, features, 0), rel=1e-4)
    alone = evidence(layers[:1], [coarse, 0 * fine], [(0, "avg"), (1, "max")], 0)
    assert alone[0, 0] == pytest.approx(alone[1, 1]), "a coarse cell covers four fine ones"


def test_a_planted_thing_is_where_the_map_peaks() -> None:
    for row, column in ((0, 0), (2, 3), (1, 2)):
        grid = np.zeros((*GRID, 2), np.float32)
        grid[row, column, 1] = 5
        layers = [Layer(np.array([[1.0, -1], [-1, 1]], np.float32), np.zeros(2, np.float32), "softmax")]
        for pooling in ("avg", "max"):
            found = Explanation("a.jpg", "b", evidence(layers, [grid], [(0, pooling)], 1)).map
            assert np.unravel_index(found.argmax(), GRID) == (row, column)
            assert (found.max(), found.sum()) == (1, 1)
            against = Explanation("a.jpg", "a", evidence(layers, [grid], [(0, pooling)], 0)).map
            assert against.max() == 0, "it speaks against the other class, and nothing speaks for that one"


def test_other_weights_give_another_map() -> None:
    """A map that stayed the same under a random head would be of the picture alone (Adebayo et al. 2018)."""
    grid = np.abs(activations())
    maps = [evidence(head(CHANNELS, seed=seed), [grid], [(0, "avg")], 0) for seed in range(6)]
    alike = np.corrcoef([found.ravel() for found in maps])[np.triu_indices(6, 1)]
    assert np.abs(alike).mean() < 0.7


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SourceError, match="gives 5 numbers a picture, and the head takes 7"):
        evidence(head(7), [activations()], [(0, "avg")], 0)
    with pytest.raises(SourceError, match="unknown pooling 'mean'"):
        evidence(head(5), [activations()], [(0, "mean")], 0)


# ---- of a classifier


@pytest.mark.usefixtures("f32")
def test_the_network_before_the_pooling_is_the_classifiers_own(
    trained: Any, loaded: Classifier, tiny_dataset: Any
) -> None:
    for classifier in (trained.classifier, loaded):
        prediction = classifier.predict(str(tiny_dataset.path(20)))
        found = classifier.explain(tiny_dataset.path(20))
        assert (found.label, found.probability) == (prediction.label, prediction.probability)
        assert found.evidence.ndim == 2
        assert min(found.evidence.shape) > 1
        # The evidence for all classes gives the very probabilities: nothing but this network does.
        bias = classifier.layers[-1].bias
        margins = [classifier.explain(tiny_dataset.path(20), name).evidence.sum() for name in classifier.class_names]
        logits = np.array(margins) * 2 / 3 + bias  # of three classes, but for what is the same for all of them
        shares = np.exp(logits - max(logits))
        assert shares / shares.sum() == pytest.approx(list(prediction.probabilities.values()), abs=1e-3)
    assert found.map.min() >= 0
    assert found.map.max() == pytest.approx(1)


@pytest.mark.usefixtures("f32")
def test_a_random_head_explains_something_else(trained: Any, tiny_dataset: Any) -> None:
    random = replace(trained.classifier, layers=tuple(head(trained.classifier.layers[0].kernel.shape[0])))
    ours, theirs = (each.explain(tiny_dataset.path(3), "local").evidence for each in (trained.classifier, random))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] < 0.9


@pytest.mark.usefixtures("f32")
def test_pictures_that_cannot_be_read_keep_their_place(loaded: Classifier, tiny_dataset: Any, tmp_path: Path) -> None:
    bad, gone = tmp_path / "bad.jpg", tmp_path / "gone.jpg"
    bad.write_text("no picture")
    shutil.copy(tiny_dataset.path(0), gone)
    good = str(tiny_dataset.path(9))
    predictions = loaded.predict([bad, good, gone])
    gone.unlink()
    told = list(loaded.explain_each(predictions))
    assert [prediction.file for prediction, _ in told] == [str(bad), good, str(gone)]
    assert [found is None for _, found in told] == [True, False, True]
    assert "text" in str(told[0][0].error)
    assert told[1][0] == predictions[1]
    assert told[2][0].error
    with pytest.raises(PictureError, match=r"bad\.jpg"):
        loaded.explain(bad)
    with pytest.raises(InputError, match=r"no class 'glocal'.*Did you mean (local|global)"):
        loaded.explain(good, "glocal")


def test_a_cut_without_places_says_so(worker: Any, small_source: dict[str, Any], trained: Any) -> None:
    wanted = spec(**{**small_source, "image_size": (32, 32)})
    cuts = [["conv_pw_13_relu", "avg"]]  # one place is left of 32 pixels
    with pytest.raises(SourceError, match="one answer for the whole picture"):
        prepare_places(
            trained.classifier.outputs[:0], wanted.image_size, worker, spec=wanted.for_worker(), cuts=cuts
        ).result()


def flat_picture(path: Path, thing: tuple[int, int]) -> None:
    """Grey, with a coloured checkerboard of a quarter of the side in the corner (row, column) in quarters."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    row, column = thing[0] * 16, thing[1] * 16
    board = np.indices((16, 16)).sum(axis=0) // 4 % 2
    pixels[row : row + 16, column : column + 16] = np.where(board[..., None], [255, 40, 0], [0, 40, 255])
    path.write_bytes(images.array_png(pixels))


@pytest.mark.usefixtures("f32")
def test_a_thing_in_a_corner_is_found_there(trained: Any, tmp_path: Path) -> None:
    """A hand-made head that asks for what the thing changes in the features, and nothing else."""
    corners, classifier = [(0, 0), (0, 3), (3, 0), (3, 3)], trained.classifier
    flat_picture(tmp_path / "thing.png", (0, 0))
    (tmp_path / "flat.png").write_bytes(images.array_png(np.full((64, 64, 3), 128, np.uint8)))
    width = classifier.layers[0].kernel.shape[0]
    kernel, hits = np.zeros((width, 3), np.float32), 0
    asking = replace(classifier, layers=(Layer(kernel, np.zeros(3, np.float32), "softmax"),))
    from headstart.classifier import unlabelled
    from headstart.features import extract

    seen = extract(unlabelled([str(tmp_path / "thing.png"), str(tmp_path / "flat.png")]), classifier.trunk, None)
    values = np.asarray(seen.matrix([0, 1], classifier.outputs), np.float32)
    kernel[:, 1] = values[0] - values[1]
    for row, column in corners:
        flat_picture(tmp_path / "moved.png", (row, column))
        flat = asking.explain(tmp_path / "flat.png", "local").evidence
        found = asking.explain(tmp_path / "moved.png", "local").evidence - flat
        peak = np.unravel_index(found.argmax(), found.shape)
        middle = [(place + 0.5) / size for place, size in zip(peak, found.shape, strict=True)]
        hits += all(
            abs(at - (0.125 if want == 0 else 0.875)) < 0.3 for at, want in zip(middle, (row, column), strict=True)
        )
    assert hits == 4


# ---- drawn


def explained(path: Path) -> Explanation:
    values = np.zeros((4, 4), np.float32)
    values[0, 3] = 2
    return Explanation(str(path), "a <b>", values, 0.75)


def test_it_is_drawn_in_the_pictures_own_proportions(shared_pictures: list[Path], tmp_path: Path) -> None:
    found = explained(shared_pictures[0])
    pixels = images.whole(shared_pictures[0], 640)
    assert max(images.whole(shared_pictures[0], 100).shape) == 100
    assert found.overlay().shape == pixels.shape
    assert max(found.overlay(99).shape) == 99
    for name, magic in (("why.png", b"\x89PNG"), ("new/why.jpg", b"\xff\xd8\xff")):
        written = found.save(tmp_path / name)
        assert written.read_bytes().startswith(magic)
        assert images.probe(written.read_bytes()).height == pixels.shape[0]
    assert found._repr_png_().startswith(b"\x89PNG")
    html = found._repr_html_()
    assert "data:image/jpeg;base64," in html
    assert "a &lt;b&gt; (75.0%)" in html
    assert "<b>" not in html
    with pytest.raises(InputError, match=r"\.jpg or \.png; got .*why\.gif"):
        found.save(tmp_path / "why.gif")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError):
        found.save(tmp_path / "folder.png")
    with pytest.raises(PictureError):
        explained(tmp_path / "none.jpg").overlay()


@pytest.mark.usefixtures("f32")
def test_explanations_are_written_one_a_picture(loaded: Classifier, tiny_dataset: Any, tmp_path: Path) -> None:
    files = []
    for folder, name in (("a", "One.jpg"), ("b", "one.jpg"), ("b", "two.jpg")):
        (tmp_path / folder).mkdir(exist_ok=True)
        files.append(str(shutil.copy(tiny_dataset.path(len(files)), tmp_path / folder / name)))
    (tmp_path / "b" / "bad.jpg").write_text("no picture")
    predictions = loaded.predict([*files, str(tmp_path / "b" / "bad.jpg")])
    told = list(save_explanations(loaded, predictions, tmp_path / "why"))
    assert [prediction.label for prediction in told] == [prediction.label for prediction in predictions]
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == [
        "One.explained.jpg", "one-2.explained.jpg", "two.explained.jpg"
    ]  # fmt: skip
    assert not next(iter(save_explanations(loaded, iter([Prediction("x", error="gone")]), tmp_path / "no"))).label
    assert not (tmp_path / "no").exists()


# ---- against Keras


_GRADIENTS = """
import json, sys
import keras, numpy as np, tensorflow as tf
from headstart.classifier_file import split_head

pixels = tf.constant(np.load(sys.argv[1])[None].astype("float32"))
for path in sys.argv[2:]:
    model = keras.models.load_model(path, compile=False)
    pooled = [tensor._keras_history[0] for tensor in split_head(model)[0]]
    grid = keras.Model(model.inputs, pooled[0]._inbound_nodes[0].input_tensors[0])(pixels, training=False)
    dense = [layer for layer in model.layers if type(layer).__name__ == "Dense"]
    maps = []
    for answer in range(3):
        with tf.GradientTape() as tape:
            tape.watch(grid)
            values = tf.concat([layer(grid) for layer in pooled], axis=1)
            for layer in dense[:-1]:
                values = layer(values)
            logits = (values @ dense[-1].kernel + dense[-1].bias)[0]
            one = logits[answer] - (tf.reduce_sum(logits) - logits[answer]) / 2
        maps.append(tf.reduce_sum(tape.gradient(one, grid) * grid, axis=-1)[0].numpy().tolist())
    print(json.dumps(maps))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("f32")
def test_the_map_is_what_automatic_gradients_give(
    tiny_pictures: Path, small_source: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is the second opinion")
    dense = {"head": "dense", "head_options": {"layers": [{"dense": 8}], "epochs": 2}}
    results = [
        train(tiny_pictures, Recipe(**small_source, cut="conv_pw_11_relu", pooling=pooling, **options),
              output=tmp_path / f"{pooling}.keras")
        for pooling, options in (("avg+max", {}), ("flatten", dense))
    ]  # fmt: skip
    picture = results[0].dataset.path(5)
    np.save(tmp_path / "pixels.npy", images.read(picture, (64, 64)))
    done = subprocess.run(
        [sys.executable, "-c", _GRADIENTS, tmp_path / "pixels.npy", *(str(result.model) for result in results)],
        capture_output=True, text=True, env=dict(os.environ, KERAS_BACKEND="tensorflow"), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for result, line in zip(results, done.stdout.splitlines()[-2:], strict=True):
        theirs = np.array(json.loads(line))
        ours = np.array([result.classifier.explain(picture, name).evidence for name in result.classifier.class_names])
        assert np.abs(theirs).max() > 1e-4
        assert ours == pytest.approx(theirs, abs=2e-3 * np.abs(theirs).max())
