"""Tuning a frozen classifier: what is tried, what is kept and why, and what happens when the worker is in trouble."""

import importlib.util
import json
import shutil
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headstart import finetune, heads, trials, tuning_files
from headstart.errors import EngineError, MissingExtraError, NoRoomError, RecipeError
from headstart.features import extract
from headstart.finetune import Frozen, _error, _Run, _spread, _told, named, outlook, tune
from headstart.heads import Head, HeadData
from headstart.recipe import Recipe
from headstart.store import Store
from headstart.trials import Trial
from headstart.trunk import spec
from headstart.tuning_rules import Settings

BOUNDARY, CUT = "conv_pw_5_relu", "conv_pw_11_relu"


# ---- what is told ---------------------------------------------------------------------------------------------------


def test_what_the_worker_reports_is_said():
    said = []
    for facts in (
        {"planned": 3, "epoch_seconds": 20.0, "wanted": 8}, {"batch": 8}, {"unsaved": "No space left on device"},
        {"resumed": 12, "passed_over": ["state-00000020.npz"]}, {"resumed": 0, "passed_over": ["state-00000020.npz"]},
        {"resumed": 12, "passed_over": []},
        {"done": 4, "total": 8, "epoch": 1, "epochs": 2, "metric": 0.5, "loss": float("nan")}, {"done": 5, "total": 8},
    ):  # fmt: skip
        _told(lambda *told: said.append(told), "tuning", facts)
    words = [told[0] for told in said]
    assert "3 epochs of about 20 s, 60 s in all (of 8" in words[0]
    assert "8 pictures at a time" in words[1]
    assert "No space left on device" in words[2]
    assert words[3] == "tuning: damaged, so passed over: state-00000020.npz; going on from step 12"
    assert words[4].endswith("state-00000020.npz; beginning anew")
    assert words[5] == "tuning: going on from step 12"
    assert said[7:] == [("tuning", 4, 8), ("tuning", 5, 8)]


# ---- before anything ------------------------------------------------------------------------------------------------


def test_the_error_is_the_one_of_pictures_that_were_not_fitted():
    labels = np.array([0, 1, 1, 0])
    assert _error(Head("linear", (), accuracy=0.75), labels) == 0.25
    held = (np.array([1, 2, 7]), np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1]]))
    assert _error(Head("dense", (), held_out=held), labels) == pytest.approx(1 / 3)
    assert _error(Head("dense", ()), labels) == 1.0


def test_a_sample_is_in_the_order_of_the_rows():
    rows = np.arange(100, 200)
    assert _spread(rows, 100, 0) is rows
    some = _spread(rows, 10, 0)
    assert (len(some), sorted(some.tolist())) == (10, some.tolist())


def test_nothing_is_done_where_nothing_is_asked_for():
    evidence, tuned = tune(None, Recipe(fine_tune="off"), None)
    assert (evidence.tried, tuned) == (False, None)


def test_without_tensorflow_auto_leaves_it_and_a_wish_names_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(finetune.importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name))
    evidence, tuned = tune(None, Recipe(), None)
    assert "pip install 'headstart[cpu]'" in evidence.why
    assert (evidence.tried, tuned) == (False, None)
    with pytest.raises(MissingExtraError, match=r"headstart\[cpu\]"):
        tune(None, Recipe(fine_tune="full"), None)


# ---- a worker in trouble --------------------------------------------------------------------------------------------


class Troubled:
    """A worker whose jobs end as told, one after another."""

    def __init__(self, *ends, job=None):
        self.ends, self.given, self.closed, self.job = list(ends), [], 0, job

    def submit(self, _, **given):
        self.given.append({name: value for name, value in given.items() if name != "progress"})
        future, end = Future(), self.ends.pop(0)
        if end == "interrupted":
            asked = self.job

            class Interrupted(Future):
                def result(self, timeout=None):
                    if timeout is None:
                        raise KeyboardInterrupt
                    assert (asked.folder / "stop").exists()
                    return {"stopped": True}

            return Interrupted()
        if isinstance(end, Exception):
            future.set_exception(end)
        else:
            future.set_result(end)
        return future

    def close(self):
        self.closed += 1


@pytest.fixture
def call(tmp_path):
    said = []
    run = object.__new__(_Run)
    run.progress, run._parts, run.start, run.book = (lambda *told: said.append(told[0])), 1, 0.0, None
    job = tuning_files.Job(tmp_path, SimpleNamespace(for_worker=dict), (), None, {}, Settings(batch_size=32), 0, None)

    def asked(worker, **more):
        worker.job = job
        return run._call(worker, "tuning:tune", job, "tuning", **more)

    asked.run, asked.job, asked.said = run, job, said
    return asked


KILLED = EngineError("the Keras process for tuning:tune ended with status -9 before it answered.\n")


def test_a_worker_that_ran_out_of_memory_is_started_again_with_smaller_parts(call):
    worker = Troubled(KILLED, KILLED, {"epochs": 3}, {"epochs": 1})
    assert call(worker, target="x") == {"epochs": 3}
    assert [given["parts"] for given in worker.given] == [1, 2, 4]
    assert worker.closed == 2
    assert ["16 pictures at a time" in words or "8 pictures at a time" in words for words in call.said] == [True] * 2
    call(worker)
    assert worker.given[-1]["parts"] == 4  # what was learnt holds for the next job


def test_a_worker_that_dies_again_and_again_is_given_up(call):
    worker = Troubled(KILLED, KILLED, KILLED)
    with pytest.raises(EngineError, match="status -9"):
        call(worker, target="x")
    assert worker.ends == []


def test_other_trouble_is_told_at_once(call):
    worker = Troubled(EngineError("the Keras process failed: ValueError: x"))
    with pytest.raises(EngineError, match="ValueError"):
        call(worker, target="x")
    assert (worker.closed, call.said) == (0, [])


def test_ctrl_c_lets_a_training_save_and_ends_a_trial_at_once(call):
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        call(Troubled("interrupted"), target="x")
    assert call.said == ["saving what was trained so far"]
    assert not (call.job.folder / "stop").exists()
    call.said.clear()
    with pytest.raises(KeyboardInterrupt):
        call(Troubled("interrupted"), steps=60)
    assert call.said == []


def test_a_training_that_was_stopped_from_elsewhere_is_not_taken_for_done(call):
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        call.run._trained(Troubled({"stopped": True, "epochs": 3}), call.job)
    assert not (call.job.folder / "done.json").exists()


# ---- the whole of it ------------------------------------------------------------------------------------------------


@pytest.fixture
def shared_workers(worker, tuner, monkeypatch):
    """The workers of the tests in place of those that a run would start; what they were asked for."""
    asked = []

    class Shared:
        def __init__(self, running):
            self.running = running

        def start(self):
            return self.running

        def submit(self, job, **given):
            asked.append(job)
            return self.running.submit(job, **given)

        def call(self, job, **given):
            return self.submit(job, **given).result()

        def close(self):
            pytest.fail("a worker died")

    @contextmanager
    def lazy(backend):
        yield Shared(tuner if backend == "tensorflow" else worker)

    monkeypatch.setattr(finetune, "lazy", lazy)
    monkeypatch.setattr(tuning_files, "lazy", lazy)
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")
    return asked


@pytest.fixture(scope="module")
def frozen(_session_cache, tiny_dataset, small_trunk, small_source):
    """A classifier of the training pictures, with a third of all to judge by."""
    with Store() as store:
        features = extract(tiny_dataset, small_trunk, store)
        outputs = tuple(output for output in features.outputs if (output.layer, output.pooling) == (CUT, "avg"))
        rows, judge = np.flatnonzero(np.arange(48) % 3 > 0), np.flatnonzero(np.arange(48) % 3 == 0)
        folds = np.arange(len(rows)) % 4
        data = HeadData(features.matrix(rows, outputs), tiny_dataset.labels[rows], 3, folds)
        head = heads.find("linear").fit(data)
        yield Frozen(spec(**small_source, cuts=(CUT,)), features, outputs, head, rows, folds, judge), store


def test_tuning_starts_at_the_frozen_classifier_and_the_compiled_network_is_the_trained_one(frozen, shared_workers):
    frozen, store = frozen
    options = {"epochs": 1, "batch_norm": "frozen", "learning_rate": 1e-3, "find_rate": False}
    recipe = Recipe(fine_tune=BOUNDARY, fine_tune_options=options)
    evidence, _ = tune(frozen, recipe, store)
    folders = [path for path in (finetune.cache_folder() / "tuning").iterdir() if (path / "done.json").is_file()]
    told = json.loads((folders[0] / "done.json").read_text())["told"]
    answers = frozen.answers(frozen.judge)
    labels = frozen.features.dataset.labels[frozen.judge]
    assert told["before"][0] == pytest.approx((answers.argmax(axis=1) == labels).mean())
    assert told["before"][0] == pytest.approx(evidence.frozen.accuracy.value)
    assert told["after"][0] == pytest.approx(evidence.tuned.accuracy.value)
    assert (evidence.tried, evidence.boundary, evidence.blocks) == (True, BOUNDARY, 6)
    assert (evidence.judged_on, evidence.gain is not None, bool(evidence.why)) == ("validation", True, True)
    assert evidence.words.startswith("The 6 blocks above conv_pw_5_relu were tuned.")
    assert json.loads(json.dumps(evidence.as_dict()))["boundary"] == BOUNDARY
    assert {"train.npy", "judged.npy"}.isdisjoint(path.name for path in folders[0].iterdir())

    said = np.load(folders[0] / "answers.npy")
    shared_workers.clear()
    again, _ = tune(frozen, recipe, store)  # the same command once more
    assert "tuning:tune" not in shared_workers
    assert again.tuned.accuracy.value == evidence.tuned.accuracy.value
    assert again.gain == pytest.approx(evidence.gain)
    with pytest.MonkeyPatch.context() as patch:  # whatever is kept, the compiled network says what the worker said
        patch.setattr(finetune, "verdict", lambda *_: (True, "for once"))
        kept, tuned = tune(frozen, recipe, store)
    assert kept.decided["fine_tune"] == BOUNDARY
    assert np.abs(tuned.answers - said).max() < 1e-3  # activations of the boundary are kept in half precision
    assert np.array_equal(tuned.features.matrix(frozen.judge, tuned.outputs).shape, (len(frozen.judge), 128))
    assert tuned.head(frozen).held_out is None


def test_what_is_kept_is_trained_once_more_with_the_pictures_that_judged_it(frozen, shared_workers, monkeypatch):
    whole, store = replace(frozen[0], judge=None, folds=np.arange(32) % 3), frozen[1]
    monkeypatch.setattr(finetune, "verdict", lambda *_: (True, "for once"))
    monkeypatch.setattr(finetune.tuning_rules, "SEPARABLE", 0)
    options = {"epochs": 2, "batch_norm": "frozen", "learning_rate": 1e-2}
    said = []
    recipe = Recipe(fine_tune=BOUNDARY, fine_tune_options=options)
    evidence, tuned = tune(whole, recipe, store, progress=lambda *told: said.append(told[0]))
    assert shared_workers.count("tuning:tune") == 2
    assert evidence.on_all == 32
    assert "trained once more in the same way, with these among its own, 32 in all" in evidence.words
    assert json.loads(json.dumps(evidence.as_dict()))["refit"] == {"pictures": 32, "why_not": ""}
    assert [words for words in said if words.startswith("fine-tuning on all training pictures: epoch 1")]
    judge = whole.parts[1]
    places = [path.parent for path in (finetune.cache_folder() / "tuning").glob("*/done.json")]
    told = {str(place): json.loads((place / "done.json").read_text())["told"]["before"] for place in places}
    answers = whole.answers(judge)  # both begin where a frozen network is: this one with the head that knows them all
    right = (answers.argmax(axis=1) == frozen[0].features.dataset.labels[judge]).mean()
    assert told[str(Path(tuned.spec.source).parent)][0] == pytest.approx(right)
    assert told[str(Path(tuned.witness.spec.source).parent)][0] == pytest.approx(evidence.frozen.accuracy.value)
    assert np.abs(tuned.matrix(judge) - tuned.witness.matrix(judge)).max() > 1e-3
    at, held = tuned.head(whole).held_out  # what the judged network said, which had not seen them
    assert np.array_equal(whole.rows[at], judge)
    assert (held.argmax(axis=1) == frozen[0].features.dataset.labels[judge]).mean() == evidence.tuned.accuracy.value
    shared_workers.clear()
    again, same = tune(whole, recipe, store)  # the same command once more
    assert "tuning:tune" not in shared_workers
    assert again.on_all == 32
    assert all(np.array_equal(one.kernel, other.kernel) for one, other in zip(same.layers, tuned.layers, strict=True))
    alone, judged = tune(whole, replace(recipe, fine_tune_options={**options, "refit": False}), store)
    assert (alone.on_all, judged.witness) == (0, None)
    assert alone.words.endswith("It was not trained once more on all training pictures: that was asked for.")


def test_a_run_that_is_broken_off_between_its_two_trainings_ends_as_one_that_is_not(
    frozen, shared_workers, monkeypatch
):
    whole, store = replace(frozen[0], judge=None, folds=np.arange(32) % 3), frozen[1]
    monkeypatch.setattr(finetune, "verdict", lambda *_: (True, "for once"))
    monkeypatch.setattr(finetune.tuning_rules, "SEPARABLE", 0)
    options = {"epochs": 1, "batch_norm": "frozen", "learning_rate": 5e-3, "budget": 600.0}
    recipe = Recipe(fine_tune=BOUNDARY, fine_tune_options=options)
    with monkeypatch.context() as patch:
        call = _Run._call

        def broken(run, worker, name, job, stage, **more):
            if stage == finetune._AGAIN:
                raise KeyboardInterrupt
            return call(run, worker, name, job, stage, **more)

        patch.setattr(_Run, "_call", broken)
        with pytest.raises(KeyboardInterrupt):
            tune(whole, recipe, store)
    shared_workers.clear()
    resumed = tune(whole, recipe, store)
    assert shared_workers.count("tuning:tune") == 1
    shutil.rmtree(finetune.cache_folder() / "tuning")
    shared_workers.clear()
    at_once = tune(whole, recipe, store)
    assert shared_workers.count("tuning:tune") == 2
    for one, other in zip(resumed[1].layers, at_once[1].layers, strict=True):
        assert np.array_equal(one.kernel, other.kernel)
    assert (resumed[0].on_all, resumed[0].gain) == (at_once[0].on_all, at_once[0].gain) == (32, at_once[0].gain)


def test_a_disk_without_room_for_all_pictures_leaves_what_was_judged(frozen, shared_workers, monkeypatch):
    whole, store = replace(frozen[0], judge=None, folds=np.arange(32) % 3), frozen[1]
    monkeypatch.setattr(finetune, "verdict", lambda *_: (True, "for once"))
    monkeypatch.setattr(finetune.tuning_rules, "SEPARABLE", 0)
    prepare = tuning_files.prepare

    def full(*given, rows, **more):
        if len(rows) == 32:
            raise NoRoomError("no room")
        return prepare(*given, rows=rows, **more)

    monkeypatch.setattr(tuning_files, "prepare", full)
    options = {"epochs": 1, "batch_norm": "frozen", "learning_rate": 3e-3}
    evidence, tuned = tune(whole, Recipe(fine_tune=BOUNDARY, fine_tune_options=options), store)
    assert (evidence.kept, evidence.on_all, tuned.witness) == (True, 0, None)
    assert "the disk has no room" in evidence.words


def test_the_time_that_trials_took_is_that_of_when_they_were_run():
    run = object.__new__(_Run)
    run.options = {"budget": 100.0}
    trials_of = [SimpleNamespace(seconds=25.0), SimpleNamespace(seconds=20.0)]
    assert run._may_try(trials_of[:1])
    assert not run._may_try(trials_of)
    run.options = {}
    assert run._may_try(trials_of)


# ---- which trials are run -------------------------------------------------------------------------------------------


def tried(near, gaining, *, far=("far",), may_try=True, **options):
    """Cut, blocks and BatchNormalization of the trials that are run, where those with such a name gain."""
    run = object.__new__(_Run)
    run.frozen = SimpleNamespace(outputs=("near",), tuned_from=("near",), far=far, near=near)
    run.options, run._kind, done = options, "batch", []
    ends = [{"layer": f"b{number}", "kept": True} for number in range(9)]

    def trial(_, outputs, boundary, blocks, mode):
        name = f"{outputs[0]} {blocks} {mode}"
        done.append(name)
        losses = np.full(20, 0.9 - 0.01 * blocks if name in gaining else 1.1)
        return Trial(boundary, blocks, outputs[0], mode, (0.5, 1.0), 0.5, float(losses.mean()), 0.1, 1.0, losses)

    run._trial, run._ends, run._may_try = trial, (lambda *_: ends), (lambda _: may_try)
    run._outputs_of = lambda cut: (cut,)
    run._trials(None, np.ones(20))
    return done


NEAR, LOWER, FAR = "near 3 frozen", "near 9 frozen", "far 9 adapt"


@pytest.mark.parametrize(
    ("near", "gaining", "run"),
    [
        (True, [], [NEAR]),  # a single cheap one, where nothing is to be had
        (True, [NEAR], [NEAR, LOWER]),
        (False, [FAR], [FAR]),
        (False, [], [FAR, NEAR]),
        (False, [NEAR], [FAR, NEAR, LOWER]),
        (None, [], [NEAR, FAR]),
        (None, [NEAR], [NEAR, FAR, LOWER]),
        (None, [NEAR, FAR], [NEAR, FAR]),
    ],
)
def test_trials_are_run_as_long_as_they_may_lead_somewhere(near, gaining, run):
    assert tried(near, gaining) == run


def test_trials_end_with_the_budget_and_keep_to_what_was_asked_for():
    assert tried(None, [NEAR, FAR], may_try=False) == [NEAR]
    assert tried(None, [], batch_norm="adapt") == ["near 3 adapt", "far 9 adapt"]
    assert tried(None, [], far=(), batch_norm="batch") == ["near 3 batch"]
    assert tried(False, [], far=()) == ["near 9 adapt", "near 3 frozen"]


def test_a_rate_that_was_found_is_found_again_without_its_pictures(frozen, shared_workers):
    frozen, store = frozen
    recipe = Recipe(fine_tune="blocks=2", fine_tune_options={"epochs": 1, "batch_norm": "adapt", "find_rate": True})
    first, _ = tune(frozen, recipe, store)
    assert "tuning:find_rate" in shared_workers
    assert first.settings.learning_rate == pytest.approx(np.clip(first.rates["found"], 1e-6, 1e-2))
    shared_workers.clear()
    second, _ = tune(frozen, recipe, store)
    assert not [job for job in shared_workers if job in ("tuning:find_rate", "tuning:tune")]
    assert (second.settings, second.rates) == (first.settings, first.rates)


def test_no_budget_for_an_epoch_leaves_the_network_frozen(frozen, shared_workers):
    frozen, store = frozen
    options = {"epochs": 1, "batch_norm": "frozen", "budget": 1.0}
    late = Recipe(fine_tune="blocks=1", fine_tune_options=options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune.time, "perf_counter", iter(np.arange(0.0, 1e4, 10)).__next__)
        evidence, tuned = tune(frozen, late, store)
    assert (evidence.tried, tuned) == (False, None)
    assert "not one epoch fits into the budget of 1 s" in evidence.why


def test_a_layer_that_there_is_not_is_named(frozen, shared_workers):
    frozen, store = frozen
    with pytest.raises(RecipeError, match="Did you mean conv_pw_5_relu"):
        tune(frozen, Recipe(fine_tune="conv_pw_55_relu"), store)


def test_a_fold_judges_where_no_pictures_are_set_apart(frozen):
    whole = replace(frozen[0], judge=None)
    tuned_on, judge = whole.parts
    assert set(tuned_on) | set(judge) == set(whole.rows)
    assert not set(tuned_on) & set(judge)
    assert len(judge) == 8
    fitted, judging = frozen[0].parts
    assert (len(fitted), len(judging)) == (32, 16)


def test_few_pictures_are_not_tuned_on(frozen):
    found = outlook(frozen[0])
    assert not found.tries
    assert found.why


def test_a_cut_is_named_as_a_recipe_names_it(frozen):
    outputs = frozen[0].features.outputs
    assert named(outputs[:1], outputs) == {"cut": outputs[0].layer, "pooling": outputs[0].pooling}
    assert named(outputs[:2], outputs) == {"cut": outputs[0].layer, "pooling": "avg+max"}
    layers = dict.fromkeys(output.layer for output in outputs)
    assert named(outputs, outputs) == {"cut": "all", "pooling": "avg+max"}
    assert named(outputs[::2], outputs) == {"cut": "all", "pooling": "avg"}
    assert named(outputs, ()) == {"cut": "+".join(layers), "pooling": "avg+max"}, "these layers were asked for by name"
    assert named(outputs[:4], outputs)["cut"] == "+".join([*layers][:2])
    assert trials.for_far_pictures(outputs) == ()  # of three cuts, none is in the middle
