"""Training of the tuned part, by a real worker on a tiny network: resuming, memory, budget, and what each option does.

`HEADSTART_KILLS=20 pytest tests/test_tuning.py -k kill` kills at more instants than a usual run has time for.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tuning_jobs
from headstart.errors import EngineError
from headstart.tuning_rules import rate
from tuning_jobs import BOUNDARY, CUT, DENSE, LINEAR, SPEC, arguments, given_for, problem

JOB = "tuning_jobs:"
KILLS = int(os.environ.get("HEADSTART_KILLS", "2"))


def states(folder):
    return sorted(path for path in folder.iterdir() if "state-" in path.name)


def tune(worker, given, told=None, **patches):
    return worker.call(JOB + "tune", progress=None if told is None else told.append, given=given, **patches)


def head_of(which):
    return DENSE if which == "dense" else LINEAR


@pytest.fixture(scope="module")
def whole(tuner, tmp_path_factory):
    """What each training comes to that nothing breaks off; each is run when it is first asked for."""
    known = {}

    def ended(which):
        if which not in known:
            folder = problem(tmp_path_factory.mktemp(which), head=head_of(which))
            known[which] = tune(tuner, given_for(which, folder))
        return known[which]

    return ended


def same_end(one, other):
    for name in ("weights", "before", "after", "history", "best", "epochs"):
        assert one[name] == other[name], name


# ---- the same end, whatever happens on the way ----------------------------------------------------------------------


def test_two_runs_with_one_seed_are_one_run(tuner, whole, tmp_path):
    given = given_for("dense", problem(tmp_path, head=DENSE))
    first = whole("dense")
    same_end(tune(tuner, given), first)
    assert len(first["history"]["loss"]) == 5
    assert first["resumed"] == 0
    other = {**given, "seed": 4, "folder": str(problem(tmp_path / "other", head=DENSE))}
    assert tune(tuner, other)["weights"] != first["weights"]


def test_a_run_that_ends_at_an_epoch_asks_no_judge_and_keeps_what_it_has(tuner, tmp_path):
    """It is the beginning of a whole run, and broken off it ends with the same weights."""
    folders = [problem(tmp_path / name) for name in ("one", "other", "stopped", "whole")]
    np.save(folders[1] / "judged.npy", np.load(folders[1] / "judged.npy") * 0)
    first, second = (tune(tuner, {**arguments(folder, epochs=5), "until": 2}) for folder in folders[:2])
    assert first["weights"] == second["weights"]
    assert {name: len(values) for name, values in first["history"].items()} == {"accuracy": 2, "loss": 2}
    assert (first["best"], first["epochs"], len(first["seconds"])) == (1, 5, 2)
    told = []
    given = {**arguments(folders[2], epochs=5), "until": 2}
    assert tune(tuner, given, told, stop_at=4)["stopped"]
    assert [facts["planned"] for facts in told if "planned" in facts] == [2]
    assert (folders[2] / "stop").exists()
    (folders[2] / "stop").unlink()
    assert tune(tuner, given)["weights"] == first["weights"]
    best_is_second = tune(tuner, arguments(folders[3], epochs=5), losses=[9.0, 9.0, 3.0, 2.0, 4.0, 4.0, 4.0, 4.0])
    assert best_is_second["best"] == 1
    assert best_is_second["weights"] == first["weights"]


def killed(start_tuner, folder, which, after):
    """Run a training in processes of its own, and end all of them after so many seconds of training."""
    environment = {**os.environ, "PYTHONPATH": start_tuner.path}
    script = str(Path(tuning_jobs.__file__))
    running = subprocess.Popen(
        [sys.executable, script, str(folder), which], stdout=subprocess.PIPE, env=environment, text=True
    )
    worker = int(running.stdout.readline())
    said = running.stdout.readline().strip()
    if said == "begun":
        ended = threading.Event()
        ended.wait(after)
    for process in random.sample([running.pid, worker], 2):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    running.communicate(timeout=60)
    return said


def test_a_process_that_is_killed_at_any_instant_ends_with_the_same_weights(tuner, start_tuner, whole, tmp_path):
    instants = [(("dense", "until", "linear")[number % 3], random.uniform(0, 0.9)) for number in range(KILLS)]
    folders = [problem(tmp_path / str(at), head=head_of(which)) for at, (which, _) in enumerate(instants)]
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(
            lambda told: killed(start_tuner, told[0], *told[1]), zip(folders, instants, strict=True)
        ))  # fmt: skip
    assert said == ["begun"] * KILLS
    for folder, (which, after) in zip(folders, instants, strict=True):
        assert states(folder), "it was killed before it began"
        found = tune(tuner, given_for(which, folder))
        assert found["weights"] == whole(which)["weights"], (which, after, found["resumed"])
        same_end(found, whole(which))


def test_a_process_that_is_killed_while_it_writes_a_state_goes_on_from_the_one_before(
    start_tuner, tuner, whole, tmp_path
):
    given = given_for("dense", problem(tmp_path, head=DENSE))
    with start_tuner() as worker, pytest.raises(EngineError, match="status -9"):
        tune(worker, given, die_while_saving=4)
    assert len(states(tmp_path)) == 3  # the last two, and what was being written
    told = []
    found = tune(tuner, given, told)
    assert found["resumed"] == 6
    assert [facts for facts in told if "resumed" in facts] == [{"resumed": 6, "passed_over": []}]
    same_end(found, whole("dense"))
    assert len(states(tmp_path)) == 2


def test_a_wish_to_stop_is_heard_and_the_same_command_goes_on(tuner, whole, tmp_path):
    """In the middle of an epoch, with an average, mixed pictures, dropout and Adam on their way; twice."""
    given = given_for("dense", problem(tmp_path, head=DENSE))
    for stop_at, step in ((5, 5), (4, 9)):
        found = tune(tuner, given, stop_at=stop_at)
        assert found["stopped"]
        assert not (tmp_path / "tuned.keras").exists()
        assert states(tmp_path)[-1].name == f"state-{step:08d}.npz"
        (tmp_path / "stop").unlink()
    found = tune(tuner, given)
    assert (found["resumed"], found["stopped"]) == (9, False)
    same_end(found, whole("dense"))


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_states_are_passed_over_with_a_word(tuner, whole, tmp_path, damaged):
    given = given_for("linear", problem(tmp_path))
    tune(tuner, given, stop_at=7)
    (tmp_path / "stop").unlink()
    found = states(tmp_path)
    assert len(found) == 2
    for path in found[-damaged:]:
        path.write_bytes(path.read_bytes()[:-300])
    told = []
    ended = tune(tuner, given, told)
    assert ended["resumed"] == (6 if damaged == 1 else 0)
    assert ended["passed_over"] == [path.name for path in reversed(found[-damaged:])]
    assert told[0]["passed_over"] == ended["passed_over"]
    same_end(ended, whole("linear"))


def test_a_disk_that_is_full_ends_nothing(tuner, whole, tmp_path):
    told = []
    given = given_for("linear", problem(tmp_path))
    same_end(tune(tuner, given, told, full_disk=True), whole("linear"))
    assert [facts["unsaved"] for facts in told if "unsaved" in facts] == ["No space left on device"]
    assert states(tmp_path) == []


def test_a_training_that_was_done_is_only_written_again(tuner, whole, tmp_path):
    given = given_for("linear", problem(tmp_path))
    tune(tuner, given)
    (tmp_path / "tuned.keras").unlink()
    found = tune(tuner, given)
    assert found["resumed"] == 15
    same_end(found, whole("linear"))
    assert (tmp_path / "tuned.keras").is_file()


# ---- budget ---------------------------------------------------------------------------------------------------------


def test_a_budget_without_room_for_an_epoch_trains_nothing(tuner, tmp_path):
    told = []
    found = tune(tuner, {**arguments(problem(tmp_path), budget=5.0), "spent": 6.0}, told)
    assert (found["epochs"], found["best"], found["history"]["loss"]) == (0, -1, [])
    assert found["before"] == found["after"]
    assert next(facts for facts in told if "planned" in facts)["planned"] == 0
    assert not (tmp_path / "tuned.keras").exists()
    assert states(tmp_path) == []


def test_a_plan_is_kept_by_the_run_that_goes_on(tuner, tmp_path):
    given = arguments(problem(tmp_path), budget=500.0)
    assert tune(tuner, given, stop_at=1)["epochs"] == 3
    (tmp_path / "stop").unlink()
    found = tune(tuner, {**given, "spent": 499.999})
    assert (found["epochs"], found["resumed"], len(found["seconds"])) == (3, 1, 3)


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_run_in_parts_with_the_same_gradient(tuner, tmp_path):
    given = arguments(problem(tmp_path), balanced=True, mixup=0.4)
    whole, parts = (tuner.call(JOB + "gradients", given=given, fits=fits) for fits in (None, 4))
    assert (whole["given"], parts["given"]) == ([16], [16, 8, 4, 4, 4, 4])
    ours, theirs = np.array(parts["gradient"]), np.array(whole["gradient"])
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert (parts["loss"], parts["hit"]) == (pytest.approx(whole["loss"]), pytest.approx(whole["hit"]))


def test_parts_are_never_empty(tuner, tmp_path):
    given = arguments(problem(tmp_path))
    whole, single = (tuner.call(JOB + "gradients", given=given, fits=fits, count=5) for fits in (None, 1))
    assert single["given"][-5:] == [1] * 5
    assert np.isfinite(single["gradient"]).all()
    assert np.abs(np.array(single["gradient"]) - whole["gradient"]).max() < 1e-5 * np.abs(whole["gradient"]).max()
    with pytest.raises(EngineError, match="OOM when allocating"):
        tuner.call(JOB + "gradients", given=given, fits=0, count=5)


def test_parts_are_told_of_and_remembered(tuner, tmp_path):
    told = []
    given = arguments(problem(tmp_path))
    found = tune(tuner, given, told, fits=4, stop_at=4)
    assert [facts["batch"] for facts in told if set(facts) == {"batch"}] == [8, 4]
    assert found["batch"] == 4
    (tmp_path / "stop").unlink()
    told.clear()
    found = tune(tuner, {**given, "parts": 2}, told, fits=4)
    assert (found["batch"], found["given"][:4]) == (4, [4, 4, 4, 4])
    assert not [facts for facts in told if set(facts) == {"batch"}]


# ---- what the options do --------------------------------------------------------------------------------------------


def looked_into(tuner, folder, total=10, **settings):
    given = arguments(problem(folder), **{"weight_decay": 0.0, "layer_decay": 0.5, **settings})
    return tuner.call(JOB + "optimizing", given={**given, "total": total})


def test_rate_warmup_decay_by_layer_average_and_clipping_do_what_they_say(tuner, tmp_path):
    """Adam's first step moves a weight by the rate, whatever its gradient."""
    found = looked_into(tuner, tmp_path, warmup=0.5, ema=0.9, clip_norm=0.01, learning_rate=0.01)
    first = rate(0, 10, peak=0.01, warmup=0.5)
    assert first == pytest.approx(0.002)
    assert found["moves"] == pytest.approx([first, first / 2, first / 4], rel=0.02)
    assert found["norm"] == pytest.approx(0.01, rel=1e-3)
    assert found["average"] < 1e-7
    assert found["averaged_differs"]
    assert found["put_back"]


def test_weights_are_pulled_towards_where_they_came_from(tuner, tmp_path):
    given = {**arguments(problem(tmp_path), weight_decay=0.5, layer_decay=0.5), "rate": 0.2}
    kernel, offset = tuner.call(JOB + "pulled_home", given=given)
    assert kernel == pytest.approx(0.2 * 0.5 * 0.5, rel=1e-3)
    assert offset == pytest.approx(0, abs=1e-7)


def test_mixup_and_cutmix_mix_pictures_and_targets_alike(tuner, tmp_path):
    problem(tmp_path)
    for name in ("mixup", "cutmix"):
        found = tuner.call(JOB + "mixing", given=arguments(tmp_path, **{name: 1.0}))
        x, targets = np.array(found["x"]), np.array(found["targets"])
        (mixed, mixed_targets), again, other = ([np.array(part) for part in each] for each in found["mixed"])
        assert np.array_equal(mixed, again[0])  # of the same step
        assert not np.array_equal(mixed, other[0])
        random = np.random.default_rng([3, 23, 4])
        share, order = random.beta(1.0, 1.0), random.permutation(12)
        if name == "mixup":
            assert np.abs(mixed - (share * x + (1 - share) * x[order])).max() < 1e-3
        else:
            theirs = (mixed == x[order]).all(axis=(0, 3)) & ~(x == x[order]).all(axis=(0, 3))
            share = 1 - theirs.mean()
            assert ((mixed == x) | (mixed == x[order])).all()
            tall, wide = theirs.any(axis=1).sum(), theirs.any(axis=0).sum()
            assert theirs.sum() == tall * wide  # a rectangle
        assert np.abs(mixed_targets - (share * targets + (1 - share) * targets[order])).max() < 1e-6
    plain = tuner.call(JOB + "mixing", given=arguments(tmp_path))
    assert plain["mixed"][0] == [plain["x"], plain["targets"]]


def test_smoothing_and_balance_are_in_the_loss(tuner, tmp_path):
    every = np.eye(3, dtype=np.float32)
    uneven = {"targets": every[[0] * 30 + [1] * 12 + [2] * 6], "judged_targets": every[[0, 1, 2] * 10]}
    problem(tmp_path, targets=uneven)
    plain, balanced = (
        tuner.call(JOB + "gradients", given=arguments(tmp_path, balanced=flag, label_smoothing=0.0))
        for flag in (False, True)
    )
    assert plain["loss"] == pytest.approx(balanced["loss"])  # as it is told: of the pictures as they come
    moved = np.abs(plain["gradient"]) > 1e-4
    ratio = np.array(balanced["gradient"])[moved] / np.array(plain["gradient"])[moved]
    assert np.median(ratio) == pytest.approx(48 / (3 * 30), rel=1e-3)  # the first sixteen are all of the first class


def test_it_stops_when_the_loss_has_not_improved_for_long_enough(tuner, tmp_path):
    losses = [1.0, 1.0, 0.5, 0.6, 0.5, 0.4]  # before, for the plan, then each epoch
    given = arguments(problem(tmp_path), epochs=6, patience=2)
    found = tune(tuner, given, losses=losses)
    assert (found["best"], len(found["seconds"]), found["history"]["val_loss"]) == (0, 3, [0.5, 0.6, 0.5])
    longer = arguments(problem(tmp_path / "longer"), epochs=6, patience=3)
    found = tune(tuner, longer, losses=[*losses, 0.7, 0.7, 0.7])
    assert (found["best"], len(found["seconds"])) == (3, 6)


def test_a_training_that_runs_away_keeps_what_it_began_with(tuner, tmp_path):
    found = tune(tuner, arguments(problem(tmp_path), epochs=2), losses=[1.0, 1.0, float("nan"), float("nan")])
    assert found["best"] == -1
    assert (tmp_path / "tuned.keras").is_file()
    with np.load(tmp_path / "head.npz") as begun, np.load(tmp_path / "tuned_head.npz") as ended:
        assert all(np.array_equal(begun[name], ended[name]) for name in begun.files)


@pytest.mark.parametrize("activation", ["sigmoid", "linear", "softmax"])
def test_the_loss_is_kerass(tuner, tmp_path, activation):
    head = {"name": "linear", "options": {}, "shape": [{"units": 3, "activation": activation, "dropout": 0.0}]}
    draws = np.random.default_rng(0)
    targets = {name: draws.integers(0, 2, (size, 3)).astype(np.float32)
               for name, size in (("targets", 48), ("judged_targets", 30))}  # fmt: skip
    if activation == "linear":
        targets = {name: 3 * values + 1 for name, values in targets.items()}
    elif activation == "softmax":
        targets = {name: np.eye(3, dtype=np.float32)[values.argmax(axis=1)] for name, values in targets.items()}
    problem(tmp_path, head=head, targets=targets)
    found = tuner.call(JOB + "loss_of", given=arguments(tmp_path, head=head, label_smoothing=0.2))
    scale = found["spread"] ** 2 if activation == "linear" else 1
    assert found["ours"] * scale == pytest.approx(found["keras"], rel=1e-5)
    assert found["metric"] == {"softmax": "accuracy", "sigmoid": "binary_accuracy", "linear": "mae"}[activation]
    assert np.isfinite([found["hit"], *found["judged"]]).all()


def test_a_head_that_names_no_one_class_is_not_fitted_anew(tuner, tmp_path):
    head = {"name": "linear", "options": {}, "shape": [{"units": 1, "activation": "linear", "dropout": 0.0}]}
    targets = {name: np.random.default_rng(0).standard_normal((size, 1)).astype(np.float32)
               for name, size in (("targets", 48), ("judged_targets", 30))}  # fmt: skip
    given = arguments(problem(tmp_path, head=head, targets=targets), head=head, batch_norm="adapt", epochs=1)
    assert np.isfinite(tune(tuner, given)["after"]).all()


# ---- finding a rate -------------------------------------------------------------------------------------------------


def test_the_rate_finder_raises_the_rate_and_finds_one_that_learns(tuner, tmp_path):
    given = arguments(problem(tmp_path, spread=1.0), target=False)
    found = tuner.call(JOB + "find_rate", given=given)
    rates, losses = found["rates"], found["losses"]
    assert len(rates) == len(losses) > 20
    assert rates == sorted(rates)
    assert np.isfinite(losses).all()
    assert min(losses) < 0.9 * losses[0]
    assert 1e-5 < found["found"] < 1e-1
    assert found["found"] == pytest.approx(rates[int(np.argmin(losses))] / 10)


def test_a_loss_that_is_no_number_ends_the_search_and_is_not_taken_for_the_least(tuner, tmp_path):
    curve = [3.0, 2.0, 1.0, 0.5, float("nan")]
    found = tuner.call(JOB + "find_rate", given=arguments(problem(tmp_path), target=False), loss_at=curve)
    assert len(found["rates"]) == len(found["losses"]) == 4
    assert found["found"] == pytest.approx(found["rates"][3] / 10)
    found = tuner.call(JOB + "find_rate", given=arguments(tmp_path, target=False), loss_at=[float("nan")])
    assert (found["rates"], found["found"]) == ([], 1e-6)


# ---- trials and boundaries ------------------------------------------------------------------------------------------


def test_a_trial_leaves_its_answers_and_nothing_else(tuner, tmp_path):
    problem(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    found = tuner.call("tuning:tune", **{**arguments(tmp_path, target=False), "steps": 7})
    assert {path.name for path in tmp_path.iterdir()} - before == {"answers.npy"}
    assert np.load(tmp_path / "answers.npy").shape == (30, 3)
    assert found["step_seconds"] > 0
    assert found["after"] != found["before"]


def test_it_may_begin_at_the_ends_of_blocks_below_the_cut(tuner):
    found = tuner.call("tuning:boundaries", spec=SPEC, cuts=[CUT, "conv_pw_7_relu"], most=1024)
    assert [end["layer"] for end in found][:2] == ["conv_pw_4_relu", BOUNDARY]
    assert [end["shape"] for end in found][:2] == [[4, 4, 64], [8, 8, 32]]
    assert [end["kept"] for end in found][:2] == [True, False]


def test_a_boundary_file_that_is_truncated_is_told_of(tuner, tmp_path):
    path = problem(tmp_path) / "train.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(EngineError, match="ValueError"):
        tune(tuner, arguments(tmp_path))
