"""Temperatures: found, not applied for noise's sake, folded into the last layer."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from headstart import calibration, tempering
from headstart.calibration import HELD_OUT, OUT_OF_FOLD, Calibration, calibrate, fit, folded
from headstart.classifier import Classifier
from headstart.evaluate import score
from headstart.heads import Head, Layer, apply, log_loss, softmax
from headstart.membership import TrainedOn
from headstart.recipe import Recipe
from headstart.train import train

CLASSES = ("a", "b", "c")


def answers(count, too_sure, seed=0, spread=2.0):
    """Probabilities whose logits are `too_sure` times what they should be, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, 3)) * spread
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return softmax(too_sure * logits), labels


@pytest.mark.parametrize("too_sure", [0.4, 1.6, 3.0])
def test_it_finds_how_much_too_sure_the_probabilities_are(too_sure):
    found = fit(*answers(2000, too_sure))
    assert found.applied
    assert found.temperature == found.found
    assert found.low < too_sure < found.high
    assert found.high / found.low < 1.25
    assert found.loss_after < found.loss_before


def test_it_is_where_the_loss_is_least():
    said, labels = answers(500, 1.7)
    found = fit(said, labels)
    losses = [log_loss(softmax(np.log(said) / (found.found * factor)), labels) for factor in (0.97, 1.0, 1.03)]
    assert losses[1] == pytest.approx(found.loss_after, abs=1e-6)
    assert losses[1] < min(losses[0], losses[2])


def test_noise_is_not_applied_and_it_says_so():
    applied = [fit(*answers(300, 1.0, seed)).applied for seed in range(60)]
    assert np.mean(applied) < 0.15
    found = fit(*answers(2000, 1.0, 1))
    assert not found.applied
    assert found.temperature == 1.0
    assert found.low < 1 < found.high
    assert "is not better than 1 by more than noise" in found.words()


def test_few_wrong_answers_say_nothing_of_how_sure_is_too_sure():
    said, labels = answers(1000, 3.0)
    wrong = np.flatnonzero(said.argmax(axis=1) != labels)
    some = np.setdiff1d(np.arange(1000), wrong[9:])
    found = fit(said[some], labels[some])
    assert (found.applied, found.wrong, found.n) == (False, 9, len(some))
    assert math.isnan(found.found)
    assert f"9 of {len(some)} held-out answers were wrong, too few" in found.words()
    assert fit(np.zeros((0, 3)), np.zeros(0, int)).applied is False
    enough = np.append(some, wrong[9])
    assert fit(said[enough], labels[enough]).found > 0


def test_probabilities_of_naught_and_one_are_put_up_with():
    said, labels = answers(400, 60.0)
    found = fit(said.astype(np.float32), labels)
    assert found.applied
    assert 10 < found.temperature <= tempering.BOUNDS[1]


def test_the_temperature_goes_into_the_last_layer_and_changes_no_answer():
    random = np.random.default_rng(2)
    layers = (
        Layer(random.normal(size=(8, 6)).astype(np.float32), np.ones(6, np.float32), "relu"),
        Layer(random.normal(size=(6, 3)).astype(np.float32), random.normal(size=3).astype(np.float32), "softmax", 0.3),
    )
    features = random.normal(size=(50, 8)).astype(np.float32)
    before, after = apply(layers, features), apply(folded(layers, 2.5), features)
    np.testing.assert_allclose(after, softmax(np.log(before) / 2.5), atol=1e-5)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert folded(layers, 2.5)[-1].dropout == 0.3
    assert folded(layers, 1.0) == layers
    with pytest.raises(ValueError, match="activation='linear'"):
        folded([Layer(np.eye(3), np.zeros(3))], 2.0)


def head(held_out, history=None):
    layer = Layer(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), "softmax")
    return Head("linear", (layer,), held_out=held_out, history=history)


def test_a_head_is_calibrated_on_its_held_out_answers_of_pictures_as_they_are():
    said, labels = answers(600, 2.0)
    views = np.tile(np.eye(3)[0], (600, 1))  # of augmented views of the same pictures: far too sure
    tuned, found = calibrate(head((np.arange(1200), np.concatenate([said, views]))), labels)
    assert (found.n, found.on) == (600, OUT_OF_FOLD)
    assert found.low < 2 < found.high
    np.testing.assert_allclose(tuned.layers[0].kernel, np.eye(3) / found.temperature, rtol=1e-6)
    # A sample of the rows, in its own order, is matched to its labels.
    rows = np.random.default_rng(0).permutation(600)[:400]
    assert calibrate(head((rows, said[rows])), labels)[1].n == 400
    assert calibrate(head((rows, said[rows])), labels)[1].wrong == (said[rows].argmax(axis=1) != labels[rows]).sum()


def test_a_head_that_was_watched_on_other_pictures_is_calibrated_on_those():
    said, labels = answers(600, 2.0)
    _, found = calibrate(head(None, {"loss": [1.0]}), labels[:5], watched=(said, labels))
    assert (found.on, found.n, found.applied) == (HELD_OUT, 600, True)
    assert calibrate(head((np.arange(600), said), {"loss": [1.0]}), labels)[1].on == HELD_OUT


def test_without_held_out_answers_nothing_is_done_and_that_is_said():
    given = head(None)
    tuned, found = calibrate(given, np.zeros(5, int))
    assert tuned.layers == given.layers
    assert not found.applied
    assert "none is left to fit a temperature" in found.words()


def test_the_words_hold_the_errors_before_and_after_on_pictures_that_decided_nothing():
    said, labels = answers(4000, 2.0)
    found = fit(said[:2000], labels[:2000])
    before = score(said[2000:], labels[2000:], CLASSES, split="test")
    after = score(softmax(np.log(said[2000:]) / found.temperature), labels[2000:], CLASSES, split="test")
    found = found.measured(before, after)
    assert after.calibration_error < 0.04 < before.calibration_error
    assert f"Calibration error {before.calibration_error:.3f} (" in found.words()
    assert "on the 2,000 test pictures, which decided nothing." in found.words()
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["error_after"]["value"] == after.calibration_error
    assert told["error_before"]["low"] <= told["error_before"]["value"] <= told["error_before"]["high"]
    assert (told["applied"], told["n"], told["error_after"]["n"]) == (True, 2000, 2000)
    assert json.dumps(calibrate(head(None), labels)[1].as_dict(), allow_nan=False)


@pytest.mark.slow
def test_a_run_saves_the_temperature_inside_the_model(tiny_pictures, small_source, f32, tmp_path, monkeypatch):
    asked = []

    def half_as_sure(probabilities, labels, *, on=OUT_OF_FOLD, smoothed=False):
        asked.append((probabilities, labels))
        return Calibration(temperature=2.0, found=2.0, low=1.5, high=2.5, n=len(labels), on=on)

    recipe = Recipe(**small_source, cut="conv_pw_11_relu", pooling="avg")
    plain = train(tiny_pictures, recipe)
    monkeypatch.setattr(calibration, "fit", half_as_sure)
    result = train(tiny_pictures, recipe, output=tmp_path / "a.keras")
    np.testing.assert_allclose(asked[0][0], plain.head.out_of_fold, atol=1e-3)
    assert asked[0][1].tolist() == result.dataset.labels[result.rows["train"]].tolist()
    assert result.calibration.before.loss == pytest.approx(plain.evaluation.loss, rel=1e-3)
    assert result.calibration.after.loss == result.evaluation.loss != result.calibration.before.loss
    assert result.evaluation.confusion.tolist() == plain.evaluation.confusion.tolist()
    picture = result.dataset.path(int(result.rows["test"][0]))
    loaded = Classifier.load(tmp_path / "a.keras")
    before = np.array([list(plain.classifier.predict(picture).probabilities.values())])
    after = np.array([list(loaded.predict(picture).probabilities.values())])
    np.testing.assert_allclose(after, softmax(np.log(before) / 2), atol=1e-3)
    told = loaded.facts["calibration"]
    assert (told["applied"], told["temperature"], told["n"]) == (True, 2.0, 39)
    assert told["error_after"]["value"] == pytest.approx(result.evaluation.calibration_error)
    assert result.as_dict()["calibration"] == told
    assert result.as_dict()["test_opened"]["models"] >= 2
    assert "look at these 9 pictures, at" in result.looks


@pytest.mark.slow
@pytest.mark.parametrize(("options", "validation", "on"), [
    ({"epochs": 2, "patience": None}, False, ""),
    ({"epochs": 2, "patience": None}, True, HELD_OUT),
    ({"epochs": 2, "patience": 1}, False, HELD_OUT),
    ({"epochs": 2, "patience": 1}, True, HELD_OUT),
])  # fmt: skip
def test_a_dense_head_is_never_calibrated_on_what_is_reported(
    tiny_dataset, small_source, f32, monkeypatch, options, validation, on
):
    seen = []
    monkeypatch.setattr(calibration, "fit", lambda p, y, *, on, **_: seen.append(p) or Calibration(n=len(y), on=on))
    splits = np.array(["train", "train", "train", "test"] * 12, "<U10")
    splits[1::8] = "validation" if validation else "train"
    dataset = replace(tiny_dataset, splits=splits)
    recipe = Recipe(**small_source, cut="conv_pw_11_relu", pooling="avg", head="dense", head_options=options)
    result = train(dataset, recipe)
    assert result.calibration.on == on
    assert result.accuracy.n == 12
    if not on:
        assert seen == []
        assert "none is left to fit a temperature" in result.calibration.words()
    elif validation:
        np.testing.assert_allclose(seen[0], result.head.predict(
            result.features.matrix(result.rows["validation"], result.classifier.outputs)
        ), atol=1e-5)  # fmt: skip
        known = TrainedOn.from_dict(result.classifier.facts["provenance"]["trained_on"])
        used = known.holds([dataset.digests[row] for row in result.rows["validation"]])
        assert used.all() == result.decided == (options["patience"] is not None)
    else:
        assert 0 < len(seen[0]) < 36
