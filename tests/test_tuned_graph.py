"""The part of a network that is tuned: it begins as the frozen one, and folding changes no output and no gradient."""

import numpy as np
import pytest

import tuning_jobs
from headstart.errors import EngineError, InputError
from tuning_jobs import BOUNDARY, CUT, DENSE, LINEAR, arguments, problem

JOB = "tuning_jobs:"


@pytest.mark.parametrize("head", [LINEAR, DENSE], ids=["linear", "dense"])
@pytest.mark.parametrize("boundary", [None, BOUNDARY], ids=["pixels", "boundary"])
def test_it_begins_as_the_frozen_network(tuner, head, boundary):
    outputs, real = [[CUT, "avg"], [CUT, "max"]], (head, boundary) == (LINEAR, None)
    frozen, tuned, folded = tuner.call(JOB + "starting", head=head, boundary=boundary, outputs=outputs, real=real)
    assert np.abs(np.array(frozen) - np.array(tuned)).max() < 2e-5
    assert np.ptp(frozen, axis=0).max() > 0.1  # it says something
    assert folded == (11 if real else 4)


def test_two_cuts_side_by_side_begin_as_the_frozen_network(tuner):
    outputs = [["conv_pw_4_relu", "avg"], [CUT, "max"]]
    frozen, tuned, _ = tuner.call(JOB + "starting", head=LINEAR, boundary=BOUNDARY, outputs=outputs)
    assert np.abs(np.array(frozen) - np.array(tuned)).max() < 2e-5


@pytest.mark.parametrize(
    ("kind", "folded", "normalisations"),
    [
        ("convolutions", 5, 5),
        ("looked at twice", 0, 3),
        ("not to be folded", 0, 4),
        ("plain", 0, 0),
        ("layer normalisation", 0, 0),
        ("squeeze and excite", 2, 2),
    ],
)
def test_folding_changes_no_output_and_no_gradient(tuner, kind, folded, normalisations):
    try:
        found = tuner.call(JOB + "folding", kind=kind)
    except EngineError as error:
        if "do not yet support dilation rates" not in str(error):
            raise
        pytest.skip("TensorFlow has no gradient of a dilated convolution on this processor")
    assert found["outputs"] < 1e-5
    assert max(found["gradients"].values()) < 1e-4, found["gradients"]
    assert (found["folded"], found["normalisations"]) == (folded, normalisations)
    assert found["still"]
    assert found["trained"]
    assert found["dropout"] > 0  # in training mode the head's dropout is on


def test_layers_may_compute_in_bfloat16_and_what_is_saved_computes_in_float32(tuner, tmp_path):
    whole, half = tuner.call(JOB + "in_half", head=LINEAR, outputs=[[CUT, "avg"]], folder=str(tmp_path))
    assert (whole[1], whole[2]) == (["float32"], ["float32"])
    assert "bfloat16" in half[1]
    assert half[2] == ["float32"]
    assert whole[3] is half[3] is True
    assert whole[4] == half[4] == "float32"
    apart = np.abs(np.array(whole[0]) - np.array(half[0])).max()
    assert 0 < apart < 0.1 * np.abs(whole[0]).max()


def test_a_precision_that_is_not_known_is_refused(tuner, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="'f16'; expected f32 or bf16"):
        tuner.call(JOB + "unknown_precision")


# ---- statistics -----------------------------------------------------------------------------------------------------


def test_measured_statistics_are_those_of_the_pictures(tuner, tmp_path):
    problem(tmp_path, pictures=60)
    found = tuner.call(JOB + "statistics", given=arguments(tmp_path, batch_norm="adapt", momentum=0.7))
    assert max(found["apart"]) < 2e-4
    assert len(found["apart"]) == 4
    assert set(found["momentum"]) == {0.7}


def test_batches_that_differ_in_size_count_by_their_pictures(tuner, tmp_path, monkeypatch):
    problem(tmp_path, pictures=193, views=1)  # three parts, of 65, 64 and 64
    found = tuner.call(JOB + "statistics", given=arguments(tmp_path, batch_norm="adapt"))
    assert found["pictures"] == 193
    assert found["apart"][0] < 1e-5  # nothing is normalised below it
    assert max(found["apart"]) < 0.05  # below these, each part was normalised by itself


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"batch_norm": "adapt"}], ids=str)
def test_statistics_that_are_held_do_not_move_by_a_bit(tuner, tmp_path, settings):
    given = arguments(problem(tmp_path), epochs=2, **settings)
    told = tuner.call(JOB + "tune", given=given)
    assert told["statistics"] == told["statistics_begun"]
    assert told["best"] >= 0
    assert (tmp_path / "tuned.keras").is_file()


def test_statistics_that_follow_the_batches_are_measured_again_at_the_end(tuner, tmp_path):
    told = tuner.call(JOB + "settled", given=arguments(problem(tmp_path), epochs=2, batch_norm="batch"))
    assert told["ended"] == told["again"]


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_a_plan_changes_nothing(tuner, tmp_path, norm):
    given = arguments(problem(tmp_path, head=DENSE), head=DENSE, batch_norm=norm)
    if norm == "batch":  # the head is fitted anew: the linear one, in no time
        given = arguments(problem(tmp_path), batch_norm=norm)
    found = tuner.call(JOB + "planning", given=given)
    assert found["same"]
    assert found["epochs"] == 3


def test_blocks_are_grouped_from_the_head_down(tuner, tmp_path):
    given = {**arguments(problem(tmp_path)), "total": 10}
    found = tuner.call(JOB + "optimizing", given=given)
    blocks = [{name.split("/")[0].split("_")[2] for name in group} for group in found["names"][1:]]
    assert found["names"][0] == ["predictions/kernel", "predictions/bias"]
    assert blocks == [{"5"}, {"4"}]
    assert tuning_jobs.SHAPE == (8, 8, 32)
