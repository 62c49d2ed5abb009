"""What a training run gives back: the dictionary of the contract, and how it prints."""

import json

import pytest

from headstart import story
from headstart.result import TrainResult

CONTRACT = {
    "model", "report", "classes", "images", "source", "cut", "pooling", "head", "fine_tuned", "before_training",
    "accuracy", "seconds", "cache", "verdict",
}  # fmt: skip


def test_the_dictionary_has_every_key_of_the_contract(trained):
    told = json.loads(json.dumps(trained.as_dict(), allow_nan=False))
    assert set(told) >= CONTRACT
    assert set(told["images"]) == {"train", "validation", "test", "skipped"}
    assert set(told["before_training"]) == {"accuracy", "loss"}
    assert set(told["accuracy"]) == {"split", "value", "low", "high", "n"}
    assert set(told["seconds"]) == {"features", "head", "fine_tune", "total"}
    assert set(told["cache"]) == {"hits", "misses"}
    assert told["model"] == str(trained.model)
    assert told["report"] == str(trained.report)
    assert told["classes"] == ["global", "local", "nominal"]
    assert told["fine_tuned"] is False


def test_the_figures_agree(trained):
    told = trained.as_dict()
    assert told["images"] == {"train": 39, "validation": 0, "test": 9, "skipped": 0}
    assert told["cache"]["hits"] + told["cache"]["misses"] == 48
    assert told["accuracy"]["n"] == sum(map(sum, told["confusion"])) == 9
    assert (told["source"], told["head"]) == ("mobilenet_0.25", trained.choice.chosen.head)
    assert told["choices"][0]["loss"] < told["choices"][-1]["loss"]
    wanted = {name: told[name] for name in ("cut", "pooling", "head")}
    assert any(wanted.items() <= row.items() for row in told["choices"])
    assert "all" in {row["cut"] for row in told["choices"]}
    assert told["seconds"]["total"] >= told["seconds"]["features"] + told["seconds"]["head"] > 0
    assert told["verdict"] == trained.verdict


def test_it_prints_its_verdict(trained):
    assert isinstance(trained, TrainResult)
    assert str(trained).startswith(trained.verdict)
    assert f"mobilenet_0.25 cut at {trained.recipe.cut}" in str(trained)
    page = trained._repr_html_()
    assert page.startswith("<p><strong>")
    assert "<table>" in page


def test_a_report_can_be_written_later(trained, tmp_path):
    again = trained.write_report(tmp_path / "new" / "page.html")
    assert again.report == tmp_path / "new" / "page.html"
    page = again.report.read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert trained.recipe.cut in page


# ---- the story --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(trained):
    return story.tell(trained)


def test_the_sample_takes_turns_through_the_classes(trained, told):
    assert len(told.samples) == 9
    assert sorted(picture.label for picture in told.samples) == ["global"] * 3 + ["local"] * 3 + ["nominal"] * 3
    training = {trained.dataset.files[row] for row in trained.rows["train"]}
    assert {picture.file for picture in told.samples} <= training
    assert all(picture.thumbnail_jpeg[:2] == b"\xff\xd8" for picture in told.samples)


def test_mistakes_are_of_held_out_pictures_with_truth_and_answer(trained, told):
    assert len(told.mistakes) == len(trained.evaluation.mistakes) > 0
    held_out = {trained.dataset.files[row]: trained.dataset.names[row] for row in trained.rows["test"]}
    for mistake in told.mistakes:
        assert held_out[mistake.file] == mistake.truth != mistake.predicted


def test_the_chosen_row_is_marked_once_and_says_why(trained, told):
    chosen = [row for row in told.choices if row.chosen]
    assert len(chosen) == 1
    assert (chosen[0].cut, chosen[0].pooling) == (trained.recipe.cut, trained.recipe.pooling)
    assert chosen[0].note.endswith(trained.choice.why)
    assert f"loss {trained.choice.chosen.loss:.3f}, n = 39" in chosen[0].note
    assert sum(row.chosen for row in told.strengths) == (1 if told.strengths else 0)


def test_pictures_that_vanished_meanwhile_are_left_out(trained, monkeypatch):
    from headstart.errors import PictureError

    def gone(path):
        raise PictureError("gone")

    monkeypatch.setattr(story.images, "thumbnail_jpeg", gone)
    told = story.tell(trained)
    assert (told.samples, told.mistakes) == ((), ())
