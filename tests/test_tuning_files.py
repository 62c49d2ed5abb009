"""What a worker is given to tune on: the right pictures under the right labels, in whole files; and its result."""

import io
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from headstart import heads, images, tuning_files
from headstart.augment import PRESETS, View
from headstart.errors import InputError, PictureError, RecipeError
from headstart.features import extract
from headstart.heads import Head, HeadData, Layer
from headstart.progress import silent
from headstart.recipe import Recipe
from headstart.store import Store
from headstart.trunk import spec
from headstart.tuning_files import VIEWS, Job, augmentation, prepare
from headstart.tuning_material import Material
from headstart.tuning_rules import Settings

BOUNDARY, CUT = "conv_pw_5_relu", "conv_pw_11_relu"


@pytest.fixture(scope="module")
def store(_session_cache):
    with Store() as opened:
        yield opened


@pytest.fixture(scope="module")
def features(_session_cache, tiny_dataset, small_trunk, store):
    return extract(tiny_dataset, small_trunk, store)


@pytest.fixture
def asked(features, small_source, store, worker, tmp_path, monkeypatch):
    """`prepare` with all but what a test changes."""

    class Shared:
        def __enter__(self):
            return worker

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(tuning_files, "lazy", lambda _: Shared())
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")
    outputs = tuple(output for output in features.outputs if output.layer == CUT)
    rows, judge = np.arange(0, 40, 2), np.arange(1, 40, 3)
    wide = sum(output.dimensions for output in outputs)
    head = Head("linear", (Layer(np.ones((wide, 3), np.float32), np.zeros(3, np.float32), "softmax"),),
                settings={"strength": 0.01})  # fmt: skip

    def call(folder=tmp_path / "job", **changes):
        given = {
            "rows": rows, "judge": judge, "boundary": None, "outputs": outputs, "head": head, "settings": Settings(),
            "progress": silent, "recipe": Recipe(seed=5), "features": features,
        }  # fmt: skip
        given |= changes
        recipe, seen = given.pop("recipe"), given.pop("features")
        return prepare(folder, seen, spec(**small_source, cuts=(CUT,)), recipe, store, **given)

    call.rows, call.judge, call.head = rows, judge, head
    return call


def test_pictures_are_kept_with_their_labels(asked, tiny_dataset):
    told = []
    job = asked(progress=lambda *facts: told.append(facts))
    material = Material.open(job.folder)
    for place in (0, 7, len(asked.rows) - 1):
        wanted = images.decode(tiny_dataset.path(int(asked.rows[place])).read_bytes(), (64, 64))
        assert np.array_equal(material.train[place], wanted)
    assert material.targets.argmax(axis=1).tolist() == tiny_dataset.labels[asked.rows].tolist()
    assert material.judged_targets.argmax(axis=1).tolist() == tiny_dataset.labels[asked.judge].tolist()
    assert material.digests[3].tobytes() == tiny_dataset.digests[int(asked.rows[3])]
    assert told[-1] == ("decoding", len(asked.judge), len(asked.judge))
    assert job.augment == {"augmentation": PRESETS["light"].as_dict(), "seed": 5}
    assert json.loads(json.dumps(job.arguments()))["settings"] == Settings().as_dict()


def test_activations_are_those_of_the_boundary_through_each_view(asked, features):
    job = asked(boundary=BOUNDARY)
    material = Material.open(job.folder)
    assert material.train.shape == (1 + VIEWS, len(asked.rows), 8, 8, 64)
    assert material.judged.shape == (len(asked.judge), 8, 8, 64)
    assert material.train.dtype == np.float16
    pooled = next(output for output in features.outputs if (output.layer, output.pooling) == (BOUNDARY, "avg"))
    for kept, rows in ((material.train[0], asked.rows), (material.judged, asked.judge)):
        wanted = features.matrix(rows, [pooled]).astype(np.float32)
        assert np.abs(kept.astype(np.float32).mean(axis=(1, 2)) - wanted).max() < 2e-3 * wanted.max()
    changed = np.abs(material.train[1:].astype(np.float32) - material.train[0]).max(axis=(2, 3, 4))
    assert (changed > 0).mean() > 0.9  # turned and shifted
    assert job.augment is None


def test_the_views_are_those_that_the_recipe_names():
    assert augmentation(Recipe(), "frozen") == PRESETS["light"].as_dict()
    assert augmentation(Recipe(), "adapt") == PRESETS["flip"].as_dict()
    assert augmentation(Recipe(augment="light"), "adapt") == PRESETS["light"].as_dict()
    assert View(PRESETS["light"], 0, 0) == View(PRESETS["light"], 0, 0)


def test_the_heads_numbers_and_options_are_handed_over(asked):
    job = asked()
    with np.load(job.folder / "head.npz") as stored:
        assert np.array_equal(stored["0_0"], asked.head.layers[0].kernel)
    assert job.head["shape"] == [{"units": 3, "activation": "softmax", "dropout": 0.0}]
    assert job.head["options"] == {"strength": 0.01}
    dense = replace(asked.head, name="dense", settings={"learning_rate": 0.5})
    options = {"layers": [{"dense": 4}]}
    assert asked(head=dense, recipe=Recipe(head="dense", head_options=options)).head["options"] == options


def test_a_real_heads_strength_is_taken(asked, features, tiny_dataset):
    data = HeadData(features.matrix(np.arange(48), features.outputs[:1]), tiny_dataset.labels, 3, np.arange(48) % 5)
    head = heads.find("linear").fit(data)
    assert asked(head=head).head["options"] == {"strength": head.settings["strength"]}


# ---- results --------------------------------------------------------------------------------------------------------


def finished(job):
    job.target.write_bytes(b"a network")
    np.savez(job.folder / "tuned_head.npz", **{"0_0": np.full((2, 3), 7.0, np.float32), "0_1": np.ones(3, np.float32)})
    job.finish({"epochs": 3, "after": [0.5, 0.7]})
    return job


def test_a_training_that_is_done_is_found_again_and_prepared_no_more(asked):
    job = finished(asked())
    job.tidy()
    again = asked(progress=lambda *_: pytest.fail("something was done again"))
    assert again.finished() == {"epochs": 3, "after": [0.5, 0.7]}
    assert not (job.folder / "train.npy").exists()
    layer = again.head_layers(asked.head)[0]
    assert (layer.kernel[0, 0], layer.bias[0], layer.activation) == (7.0, 1.0, "softmax")


@pytest.mark.parametrize("damage", ["tuned.keras", "tuned_head.npz", "done.json"])
@pytest.mark.parametrize("how", ["gone", "changed", "empty"])
def test_a_result_that_was_damaged_since_is_none(asked, damage, how):
    job = finished(asked())
    path = job.folder / damage
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!" if how == "changed" else b"")
    assert job.finished() is None


@pytest.mark.parametrize("text", ["[]", "null", '{"told": 1}', '"x"'])
def test_a_note_of_another_kind_is_no_result(asked, text):
    job = finished(asked())
    (job.folder / "done.json").write_text(text)
    assert job.finished() is None


def test_states_go_when_it_is_done(asked):
    job = asked()
    (job.folder / "state-00000003.npz").write_bytes(b"x")
    finished(job)
    assert not list(job.folder.glob("state-*"))


def test_what_a_trial_came_to_is_found_again_and_its_pictures_go(asked):
    job = asked()
    assert job.tried() is None
    np.save(job.folder / "answers.npy", np.eye(3, dtype=np.float32))
    job.note_trial({"after": [0.5, 0.7]})
    again = asked()
    assert again.tried() == {"after": [0.5, 0.7]}
    assert not list(again.folder.glob("train.npy"))
    assert np.array_equal(again.answers(), np.eye(3, dtype=np.float32))
    (job.folder / "answers.npy").write_bytes(b"cut off")
    assert asked().tried() is None


def test_a_wish_to_stop_does_not_outlive_the_run(asked):
    job = asked()
    job.ask_to_stop()
    assert (job.folder / "stop").exists()
    assert not (asked().folder / "stop").exists()


# ---- trouble --------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_swept_away_and_a_whole_file_stays_for_who_reads_it(asked):
    job = asked()
    reader = Material.open(job.folder)
    first = np.array(reader.train[0])
    (job.folder / ".train-abc.npy").write_bytes(b"half")
    (job.folder / "state-00000003.npz").write_bytes(b"kept")
    asked()
    assert not list(job.folder.glob(".*"))
    assert (job.folder / "state-00000003.npz").exists()
    assert np.array_equal(reader.train[0], first)  # a process that was left behind reads what it read before


def test_a_full_disk_is_told_before_anything_is_written(asked, monkeypatch):
    monkeypatch.setattr(tuning_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000})())
    with pytest.raises(InputError, match=r"Make room, name another folder in HEADSTART_CACHE") as error:
        asked()
    assert "0 MB are free" in str(error.value)


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_written(asked, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 100_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(tuning_files, "open", Full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        asked()
    assert not list((tmp_path / "job").glob("*train*"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may write everywhere is stopped nowhere")
def test_a_folder_that_may_not_be_written_in_is_named(asked, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="locked"):
        asked(folder=locked / "job")


def test_a_file_in_place_of_the_folder_is_named(asked, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        asked(folder=tmp_path / "taken" / "job")


def test_a_picture_that_was_changed_meanwhile_is_not_trained_on(asked, features, tiny_dataset, tmp_path):
    files = [str(tiny_dataset.path(row)) for row in range(len(tiny_dataset))]
    other = shutil.copy(files[1], tmp_path / "other.png")
    files[0] = str(other)
    changed = replace(features, dataset=replace(tiny_dataset, files=tuple(files)))
    with pytest.raises(PictureError, match="changed while headstart ran"):
        asked(features=changed)
    assert not (tmp_path / "job" / "train.npy").exists()


def test_a_class_without_judged_pictures_keeps_its_place(asked, tiny_dataset):
    some = np.flatnonzero(tiny_dataset.labels != 1)[:5]
    material = Material.open(asked(judge=some).folder)
    assert material.judged_targets.shape == (5, 3)
    assert material.judged_targets[:, 1].sum() == 0


def test_unknown_options_are_refused_before_anything(asked):
    with pytest.raises(RecipeError, match="no option"):
        Recipe(fine_tune_options={"epoch": 3})
    assert isinstance(asked(), Job)
