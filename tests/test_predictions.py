"""What is said of one picture: for people, as JSON and as a row of a table."""

import pytest

from headstart.answers import write_csv
from headstart.predictions import LabelsPrediction, NumberPrediction, Prediction

SAID = (
    Prediction("a.jpg", "cat", 0.75, {"cat": 0.75, "dog": 0.25}, known=True),
    LabelsPrediction("a.jpg", ("red", "round"), {"red": 0.9, "round": 0.6, "odd": 0.1}, known=True),
    NumberPrediction("a.jpg", 12.5, 11.0, 14.0, known=True),
)


@pytest.mark.parametrize("said", SAID, ids=lambda each: type(each).__name__)
def test_a_table_has_its_columns_and_a_row_for_a_picture_that_cannot_be_read(said, tmp_path):
    lines = write_csv([type(said)("b.jpg", error="broken"), said], tmp_path / "a.csv").read_text("utf-8").splitlines()
    assert lines[0] == ",".join(["file", *said.COLUMNS, "known", "error"])
    assert lines[1] == "b.jpg" + "," * (len(said.COLUMNS) + 1) + ",broken"
    assert lines[2].startswith("a.jpg,")
    assert lines[2].endswith(",true,")
    assert len(said.cells) == len(said.COLUMNS)


def test_cells_are_what_was_said(tmp_path):
    rows = [write_csv([said], tmp_path / "a.csv").read_text("utf-8").splitlines()[1] for said in SAID]
    assert rows == ["a.jpg,cat,0.75,true,", "a.jpg,red|round,true,", "a.jpg,12.5,11,14,true,"]
    empty = write_csv([LabelsPrediction("a.jpg", (), {"red": 0.1})], tmp_path / "a.csv").read_text("utf-8")
    assert empty.splitlines()[1] == "a.jpg,,,"


def test_words_for_people():
    assert SAID[0].words == " 75.0%  cat"
    assert SAID[1].words == "red 90%, round 60%"
    assert LabelsPrediction("a.jpg", (), {"red": 0.1}).words == "no label"
    assert SAID[2].words == "12.5  (11 to 14)"
    assert NumberPrediction("a.jpg", 12.5).words == "12.5"


@pytest.mark.parametrize("said", SAID, ids=lambda each: type(each).__name__)
def test_names_are_harmless_in_a_notebook(said):
    assert "<b>" in LabelsPrediction("a.jpg", ("<i>x</i>",), {"<i>x</i>": 0.9})._repr_html_()
    assert "<i>" not in LabelsPrediction("a.jpg", ("<i>x</i>",), {"<i>x</i>": 0.9})._repr_html_()
    assert "<i>" not in type(said)("<i>.jpg", error="<i>")._repr_html_()
    assert said.label is not None
    assert type(said)("b.jpg", error="broken").label is None
