"""Training from scratch, the caller's side: what the worker is handed, what is made of its answer, what is refused."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import headstart
from headstart import images, scratch, scratch_training, views
from headstart.cli import cli
from headstart.errors import InputError, MissingExtraError, PhotosError
from headstart.scratch import compare_scratch
from headstart.scratch_training import Pictures, Settings


class FakeWorker:
    """Answers as the worker's job would, and looks at what it was given while that is there."""

    def __init__(self, backend):
        assert backend == "tensorflow"
        self.calls, self.pictures = [], None
        FakeWorker.last = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, job, *, progress, folder, **given):
        module, function = job.split(":")
        assert callable(getattr(sys.modules[f"headstart.{module}"], function))
        self.folder = Path(folder)
        if self.pictures is None:
            opened = Pictures.open(self.folder, given["augment"])
            self.pictures = replace(opened, pixels=np.array(opened.pixels), watched=np.array(opened.watched))
        self.calls.append(given)
        epochs = 3 if given["seconds"] is not None else given["epochs"]
        progress({"done": 1, "total": 2})
        values = [round(0.30 + 0.02 * epoch, 2) for epoch in range(epochs)]
        return {
            "before": 0.3, "seconds": [2.0] * epochs, "settings": {"optimizer": "adam"},
            "history": dict.fromkeys(("accuracy", "loss", "val_accuracy", "val_loss"), values),
        }  # fmt: skip


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(scratch, "Worker", FakeWorker)
    monkeypatch.setattr(scratch, "check", lambda *_, **__: None)


def test_the_worker_is_handed_the_same_pictures_split_and_classifier(trained, faked):
    stages = {}
    found = compare_scratch(trained, epochs=4, seeds=2, progress=lambda stage, done, _: stages.update({stage: done}))
    worker, dataset, rows = FakeWorker.last, trained.dataset, trained.rows["train"]
    for pixels, labels, of in (
        (worker.pictures.pixels, worker.pictures.labels, rows),
        (worker.pictures.watched, worker.pictures.watched_labels, trained.rows["test"]),
    ):
        assert np.array_equal(labels, dataset.labels[of])
        assert pixels.shape == (len(of), 64, 64, 3)
        for place in (0, len(of) - 1):
            assert np.array_equal(pixels[place], images.read(dataset.path(int(of[place])), (64, 64)))
    assert worker.pictures.digests[3].tobytes() == dataset.digests[int(rows[3])]
    assert not worker.folder.exists()
    assert [call["seed"] for call in worker.calls] == [0, 1]
    outputs = [[output.layer, output.pooling] for output in trained.choice.chosen.outputs]
    assert all(call["outputs"] == outputs and call["epochs"] == 4 for call in worker.calls)
    assert worker.calls[0]["head"] == [{"units": 3, "activation": "softmax", "dropout": 0.0}]
    assert worker.calls[0]["spec"]["weights"] == "random"
    assert stages == {"decoding": 48, "from scratch, 1 of 2": 1, "from scratch, 2 of 2": 1}
    assert found.head_start.scratch.accuracy == ((0.30, 0.32, 0.34, 0.36),) * 2
    assert found.head_start.classes == 3


def test_the_reused_side_has_the_same_epochs_seeds_and_pictures(trained, faked):
    start = compare_scratch(trained, epochs=25, seeds=2).head_start
    assert (start.pictures, start.split, start.n) == (39, "test", 9)
    assert start.guessing == pytest.approx(3 / 9)
    assert [len(run) for run in start.reused.accuracy] == [25, 25]
    assert start.reused.accuracy[0] != start.reused.accuracy[1] or start.reused.loss[0] != start.reused.loss[1]
    assert start.reused.loss[0][-1] < start.reused.loss[0][0]
    assert start.reused.ready == trained.features.seconds
    assert start.settings["reused"]["patience"] is None
    assert start.curve.measured_on == "test"
    assert start.curve.points[-1].pictures == 39
    assert start.curve.points[-1].accuracy.value == pytest.approx(trained.accuracy.value, abs=1 / 9 + 1e-9)
    assert any("no epochs" in note or "not trained by epochs" in note for note in start.notes)
    assert any("random weights too" in note for note in start.notes)


def test_seconds_are_shared_and_the_first_seed_decides_how_many_epochs_there_are(trained, faked):
    start = compare_scratch(trained, seconds=12.0, seeds=3).head_start
    assert [call["seconds"] for call in FakeWorker.last.calls] == [4.0, None, None]
    assert [call["epochs"] for call in FakeWorker.last.calls[1:]] == [3, 3]
    assert start.epochs == start.reused.epochs == 3


def test_the_look_at_the_pictures_is_noted_and_the_result_told(trained, faked, fresh_cache):
    before = trained.as_dict()
    assert before["head_start"] is None
    found = compare_scratch(trained, epochs=2, seeds=1)
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))["head_start"]
    assert told["sentence"] == found.head_start.sentence
    assert {name: value for name, value in found.as_dict().items() if name != "head_start"} == {
        name: value for name, value in before.items() if name != "head_start"
    }
    assert any("one seed" in note for note in told["notes"])
    assert (fresh_cache / "openings.sqlite").is_file()


def test_views_are_the_recipes(trained):
    recipe = replace(trained.recipe, augment="flip", views=4, seed=7)
    run = scratch._Run(replace(trained, recipe=recipe))
    assert run.augment() == {"augmentation": views.told(recipe), "seed": 7, "views": 4}
    assert scratch._Run(trained).augment() is None


def test_a_head_of_epochs_keeps_its_settings_but_runs_them_all(trained):
    options = {"layers": [{"dense": 8}], "optimizer": "sgd", "learning_rate": 0.1, "patience": 2, "epochs": 99}
    run = scratch._Run(replace(trained, recipe=replace(trained.recipe, head="dense", head_options=options)))
    settings = run.head_settings(5)
    assert (settings["optimizer"], settings["learning_rate"], settings["layers"]) == ("sgd", 0.1, [{"dense": 8}])
    assert (settings["epochs"], settings["patience"]) == (5, None)


def test_a_picture_that_has_gone_meanwhile_is_named(trained, faked, monkeypatch):
    gone = replace(trained.dataset, files=("gone.jpg", *trained.dataset.files[1:]))
    rows = {**trained.rows, "train": np.array([0, *trained.rows["train"]])}
    with pytest.raises(PhotosError, match=r"gone\.jpg cannot be read any more"):
        compare_scratch(replace(trained, dataset=gone, rows=rows), epochs=1, seeds=1)
    assert not FakeWorker.last.calls


def test_a_picture_that_has_changed_meanwhile_is_named(trained, faked, tmp_path):
    other = tmp_path / "other.png"
    shutil.copy(trained.dataset.path(1), other)
    row = int(trained.rows["train"][0])
    files = tuple(str(other) if at == row else str(trained.dataset.path(at)) for at in range(len(trained.dataset)))
    changed = replace(trained.dataset, files=files)
    with pytest.raises(PhotosError, match=r"other\.png has changed since the training"):
        compare_scratch(replace(trained, dataset=changed), epochs=1, seeds=1)
    assert not FakeWorker.last.calls


def test_a_full_disk_is_told_before_anything_is_decoded(trained, faked, monkeypatch):
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000})())
    with pytest.raises(InputError, match="Make room"):
        compare_scratch(trained, epochs=1, seeds=1)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 0}, "epochs of training from scratch are a whole number from 1"),
        ({"epochs": 2.5}, "whole number"),
        ({"seeds": 21}, "seeds .* to 20; got 21"),
        ({"seeds": True}, "whole number"),
        ({"seconds": 0.0}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"epochs": 3, "seconds": 5.0}, "Give one of them"),
    ],
)
def test_numbers_out_of_range_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        scratch.check(**given)


def test_without_tensorflow_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(scratch.importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'headstart\[cpu\]'"):
        scratch.check()


# ---- the command line and the Python door ---------------------------------------------------------------------------


def test_the_command_compares_and_says_the_sentence_first(trained, faked, monkeypatch, tmp_path, tiny_pictures):
    monkeypatch.setattr(sys.modules["headstart.train"], "train", lambda *_, **__: trained)
    command = ["train", str(tiny_pictures), "-o", str(tmp_path / "a.keras"), "--report", str(tmp_path / "a.html")]
    given = ["--compare-scratch", "--scratch-epochs", "3", "--scratch-seeds", "2"]
    said = CliRunner().invoke(cli, [*command, *given], catch_exceptions=False)
    assert said.exit_code == 0
    assert [call["epochs"] for call in FakeWorker.last.calls] == [3, 3]
    assert said.stdout.index("reused network") < said.stdout.index(trained.verdict)
    for name in ("higher start", "higher slope", "higher asymptote", "more pictures"):
        assert name in said.stdout
    assert 'id="head-start"' in (tmp_path / "a.html").read_text("utf-8")
    told = json.loads(CliRunner().invoke(cli, [*command, *given, "--json"]).stdout)
    assert told["head_start"]["seeds"] == 2
    assert told["learning_curve"]["n"] == 39


def test_options_of_the_comparison_need_the_comparison(tmp_path):
    said = CliRunner().invoke(cli, ["train", "nowhere", "-o", str(tmp_path / "a.keras"), "--scratch-seeds", "2"])
    assert said.exit_code == 2
    assert "--scratch-seeds is for --compare-scratch" in said.output
    wrong = ["--compare-scratch", "--scratch-epochs", "3", "--scratch-seconds", "9"]
    said = CliRunner().invoke(cli, ["train", "nowhere", "-o", str(tmp_path / "a.keras"), *wrong])
    assert isinstance(said.exception, InputError)


def test_the_python_door_is_the_same(trained, faked):
    assert headstart.compare_scratch(trained, epochs=1, seeds=1).head_start.epochs == 1
    assert headstart.learning_curve_of(trained) == trained.learning_curve
    assert scratch_training.default_settings({"BatchNormalization"}) == Settings()
