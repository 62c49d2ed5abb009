"""Predictions as a table: whole, in order, every row its own; and which pictures a folder has."""

from __future__ import annotations

import csv
import os
import random
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart import answers
from headstart.answers import pictures_in, write_csv
from headstart.classifier import Prediction
from headstart.errors import InputError, PhotosError


def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def named(name: str) -> Prediction:
    return Prediction(name, "cat", 0.75, {"cat": 0.75, "dog": 0.25})


# ---- rows


def test_a_row_has_what_its_prediction_has(tmp_path: Path) -> None:
    found = [
        named("b.jpg"), Prediction("a.jpg", error="the file is empty"), Prediction("c.jpg", "dog", 2 / 3, known=True),
        Prediction("d.jpg", "dog", 1.0, known=False),
    ]  # fmt: skip
    path = write_csv(iter(found), tmp_path / "new/answers.csv")
    assert path.read_bytes() == (
        b"file,label,probability,known,error\nb.jpg,cat,0.75,,\na.jpg,,,,the file is empty\n"
        b"c.jpg,dog,0.666667,true,\nd.jpg,dog,1,false,\n"
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["answers.csv"]


def test_probabilities_have_columns_where_they_are_wanted(tmp_path: Path) -> None:
    found = [named("a.jpg"), Prediction("b.jpg", error="broken")]
    path = write_csv(found, tmp_path / "answers.csv", probabilities=("dog", "cat"))
    assert rows_of(path) == [
        ["file", "label", "probability", "known", "error", "p(dog)", "p(cat)"],
        ["a.jpg", "cat", "0.75", "", "", "0.25", "0.75"],
        ["b.jpg", "", "", "", "broken", "", ""],
    ]


def test_without_predictions_there_is_a_header(tmp_path: Path) -> None:
    assert rows_of(write_csv([], tmp_path / "answers.csv")) == [["file", "label", "probability", "known", "error"]]


ODD = [
    "a,b.jpg", 'the "one".jpg', "two\nlines.jpg", "two\rlines.jpg", "two\r\nlines.jpg", " blank .jpg", "größe.jpg",
    "猫;犬.jpg", "'quoted'.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_any_name_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    found = [named(name), named("next.jpg"), Prediction(name, error=f"{name} is broken")]
    rows = rows_of(write_csv(found, tmp_path / "answers.csv"))
    assert [row[0] for row in rows] == ["file", name, "next.jpg", name]
    assert rows[3][4] == f"{name} is broken"


def test_a_name_that_is_no_text_leaves_the_table_readable(tmp_path: Path) -> None:
    rows = rows_of(write_csv([named(os.fsdecode(b"bad\xff.jpg"))], tmp_path / "answers.csv"))
    assert rows[1][:2] == ["bad\\udcff.jpg", "cat"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_is_a_formula(start: str, tmp_path: Path) -> None:
    text = f"{start}cmd|'/C calc'!A1"
    found = [Prediction(text, text, 0.75, {text: 0.75}), Prediction("a.jpg", error=text)]
    header, first, second = rows_of(write_csv(found, tmp_path / "answers.csv", probabilities=(text,)))
    assert first[0] == os.path.join(".", text), "the same file, by another name"
    assert (first[1], second[4]) == (f"'{text}", f"'{text}")
    assert header[5] == f"p({text})"


@pytest.mark.parametrize("label", ["-1", "+1", "-0.5", "a=b", "1-2"])
def test_labels_that_are_no_formula_stay_as_they_are(label: str, tmp_path: Path) -> None:
    assert rows_of(write_csv([Prediction("a.jpg", label, 1.0)], tmp_path / "answers.csv"))[1][1] == label


def test_a_table_is_whole_or_not_there(tmp_path: Path) -> None:
    def breaks_off() -> Iterator[Prediction]:
        yield named("a.jpg")
        raise KeyboardInterrupt

    (tmp_path / "answers.csv").write_text("the last run's")
    for name in ("answers.csv", "other.csv"):
        with pytest.raises(KeyboardInterrupt):
            write_csv(breaks_off(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    assert (tmp_path / "answers.csv").read_text() == "the last run's"


@pytest.mark.parametrize("name", ["model.keras", "answers", "answers.csv.jpg"])
def test_only_tables_are_written_over(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.csv"):
        write_csv([], tmp_path / name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_csv([], tmp_path / "folder.csv")


# ---- which pictures


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_pictures_come_in_the_same_order_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        tmp_path, "2.jpg", "10.jpg", "b/1.jpg", "a/x/1.jpg", "a/2.png", "B.jpg", "Z/1.jpg", "a.jpg", "raw.heic", "a.txt"
    )
    walk = os.walk

    def shuffled(top: str | os.PathLike[str], **options: object) -> Iterator[tuple[str, list[str], list[str]]]:
        for place, below, files in walk(top, **options):  # type: ignore[call-overload]
            random.Random(len(files)).shuffle(below)
            random.Random(len(files)).shuffle(files)
            yield place, below, files

    wanted = ["10.jpg", "2.jpg", "B.jpg", "a.jpg", "raw.heic", "Z/1.jpg", "a/2.png", "a/x/1.jpg", "b/1.jpg"]
    for method in (walk, shuffled):
        monkeypatch.setattr(answers.os, "walk", method)
        assert [Path(path).relative_to(tmp_path).as_posix() for path in pictures_in(tmp_path)] == wanted


def test_two_ways_to_write_a_letter_do_not_change_the_order() -> None:
    names = ["e.jpg", "é.jpg", "f.jpg", "z.jpg"]
    apart = [unicodedata.normalize("NFD", name) for name in names]
    assert apart != names
    order = [unicodedata.normalize("NFC", name) for name in sorted(apart, key=answers._order)]
    assert order == sorted(names, key=answers._order)


def test_what_the_system_left_there_is_no_picture(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "._1.jpg", ".hidden/2.jpg", "__MACOSX/1.jpg", "Thumbs.db")
    assert list(pictures_in(tmp_path)) == [str(tmp_path / "1.jpg")]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="cannot be read: No such file"):
        list(pictures_in(tmp_path / "none"))
    put(tmp_path, "1.jpg", "locked/2.jpg")
    if sys.platform == "win32" or os.geteuid() == 0:
        return  # whoever may do everything is refused nothing
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(PhotosError, match="locked cannot be read"):
            list(pictures_in(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o700)
