"""What the checks find, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart import findings, looks
from headstart.audit import CHECKS, Seen, audit, noticed
from headstart.dataset import Dataset
from headstart.splitting import split

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def write(root: Path, **contents: str) -> Dataset:
    """Pictures by contents: `a="x x y"` puts three files into a/, two of the same bytes; "-" is an empty file."""
    for name, words in contents.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        for number, word in enumerate(words.split()):
            (folder / f"{number}.jpg").write_bytes(b"" if word == "-" else word.encode())
    return Dataset.open(root)


def many(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


def found(dataset: Dataset, kind: str, **options) -> list[findings.Finding]:
    return [finding for finding in audit(dataset, **options) if finding.kind == kind]


def test_a_clean_set_has_no_findings(tmp_path):
    dataset = write(tmp_path, a=many("a", 12), b=many("b", 12))
    assert audit(dataset) == ()
    assert audit(split(dataset)) == ()


def test_copies_in_one_class_are_duplicates(tmp_path):
    dataset = write(tmp_path, a=many("a", 12) + " same same same", b=many("b", 12))
    (finding,) = audit(dataset)
    assert finding.kind == "duplicate"
    assert finding.files == ("a/12.jpg", "a/13.jpg", "a/14.jpg")


def test_copies_in_two_classes_have_two_labels_and_are_no_duplicates(tmp_path):
    dataset = write(tmp_path, a=many("a", 12) + " same", b=many("b", 12) + " same")
    (finding,) = audit(dataset)
    assert finding.kind == "two_labels"
    assert finding.files == ("a/12.jpg", "b/12.jpg")
    assert finding.note == "The same picture is in a and in b."
    divided = split(dataset)
    assert len({str(name) for name, file in zip(divided.splits, divided.files, strict=True) if "12.jpg" in file}) == 1


def test_copies_across_splits_leak_until_they_are_split(tmp_path):
    dataset = write(
        tmp_path, train__a=many("a", 12) + " same", train__b=many("b", 12), test__a="same x", test__b="y z"
    )  # fmt: skip
    assert [finding.files for finding in found(dataset, "leak")] == [("test/a/0.jpg", "train/a/12.jpg")]
    repaired = split(dataset)
    assert found(repaired, "leak") == []
    (finding,) = repaired.findings
    assert finding.kind == "leak"
    assert finding.files == ("test/a/0.jpg", "train/a/12.jpg")
    assert finding.action == "1 picture left out of train, kept in test."


def test_unreadable_files(tmp_path):
    dataset = write(tmp_path, a=many("a", 12) + " - -", b=many("b", 12))
    (tmp_path / "b" / "3.jpg").unlink()
    result = found(dataset, "unreadable", unreadable={0: "not a JPEG.\nmore", 1: ""})
    assert [(finding.files[0], finding.note) for finding in result] == [
        ("a/0.jpg", "a/0.jpg: not a JPEG."),
        ("a/1.jpg", "a/1.jpg: it cannot be read."),
        ("a/12.jpg", "a/12.jpg: the file is empty."),
        ("a/13.jpg", "a/13.jpg: the file is empty."),
        ("b/3.jpg", "b/3.jpg: it cannot be opened."),
    ]
    assert found(dataset, "duplicate") == []


@pytest.mark.parametrize(("large", "reported"), [(100, False), (101, True)])
def test_imbalance(tmp_path, large, reported):
    dataset = write(tmp_path, a=many("a", large), b=many("b", 10))
    result = found(dataset, "imbalance")
    assert bool(result) is reported
    if reported:
        assert result[0].note == "a has 101 training pictures, b has 10."


def test_tiny_classes_count_training_pictures_alone(tmp_path):
    dataset = write(tmp_path, train__a=many("a", 12), train__b=many("b", 9), test__a="x", test__b=many("y", 20))
    (finding,) = found(dataset, "odd")
    assert finding.note.startswith("b has 9 training pictures")
    assert len(finding.files) == 9


def test_findings_of_opening_are_not_said_again(tmp_path):
    (tmp_path / "c").mkdir()
    dataset = write(tmp_path, a=many("a", 12) + " s s", b=many("b", 12))
    assert findings.counts(dataset.findings) == {"class_mismatch": 1}
    assert findings.counts(audit(dataset)) == {"duplicate": 1}


def test_every_check_can_run_by_itself(tmp_path):
    dataset = write(tmp_path, a=many("a", 3) + " s s -", b=many("b", 31) + " s").digested()
    each = {check.__name__: len(list(check(dataset, Seen()))) for check in CHECKS}
    assert each == {
        "_unreadable": 1, "_duplicates": 1, "_leaks": 0, "_two_labels": 1, "_near": 0, "_odd": 0, "_imbalance": 0,
        "_tiny": 1, "_unmeasured": 0, "_shortcuts": 0,
    }  # fmt: skip


LOST = ("train/a/12.jpg", "test/a/0.jpg", "train/b/12.jpg", "train/b/13.jpg")


def test_copies_of_what_is_no_picture_are_unreadable_alone(tmp_path):
    dataset = write(
        tmp_path, train__a=many("a", 12) + " page", train__b=many("b", 12) + " mask mask", test__a="page x", test__b="y"
    )
    divided = split(dataset)
    bad = {row: "a web page" for row, file in enumerate(divided.files) if file in LOST}
    assert findings.counts(audit(divided, unreadable=bad)) == {"unreadable": 4}
    assert [each.kind for each in divided.findings] == ["leak"]
    assert noticed(divided, bad) == ()
    assert noticed(divided, dict(list(bad.items())[:1])) == divided.findings


def alike_at(dataset: Dataset, *files: str) -> Dataset:
    return replace(dataset.digested(), alike=tuple("x" if file in files else "" for file in dataset.files))


def test_nearly_the_same_picture(tmp_path):
    plain = write(tmp_path, train__a=many("a", 12), train__b=many("b", 12), test__a="x", test__b="y z")
    twins = alike_at(plain, "train/a/0.jpg", "train/a/1.jpg")
    (finding,) = audit(split(twins))
    assert (finding.kind, finding.files) == ("near_duplicate", ("train/a/0.jpg", "train/a/1.jpg"))
    assert finding.note == "2 files of a show nearly the same picture."
    (finding,) = audit(twins, agreement={"x": 0.4})
    assert "does not" in finding.note
    (finding,) = audit(twins, agreement={"x": 0.9})
    assert "for the same too (0.90 alike)" in finding.note
    (finding,) = audit(alike_at(plain, "train/a/0.jpg", "train/b/1.jpg"))
    assert (finding.kind, finding.note) == ("two_labels", "Nearly the same picture is in a and in b.")
    across = alike_at(plain, "train/b/0.jpg", "test/b/1.jpg")
    (finding,) = audit(across)
    assert (finding.kind, finding.files) == ("leak", ("test/b/1.jpg", "train/b/0.jpg"))
    repaired = split(across)
    assert audit(repaired) == ()
    (finding,) = repaired.findings
    assert (finding.kind, finding.note) == ("leak", "Nearly the same picture is in test and train.") or (
        finding.note == "Nearly the same picture is in train and test."
    )
    assert finding.action == "1 picture left out of train, kept in test."


def glanced(dataset: Dataset, **measures: list[int]) -> looks.Looks:
    """Looks of sound pictures, but for the measures given."""
    count = len(dataset)
    small = np.tile(np.linspace(0, 250, 256).reshape(16, 16).astype(np.uint8), (count, 1, 1))
    base = {"width": 320, "height": 240, "format": 1, "chroma": 90, "edge": 100, "edge_spread": 40}
    columns = {name: np.array(measures.get(name, [value] * count)) for name, value in base.items()}
    flat = measures.get("flat", [])
    small[flat] = 77
    return looks.Looks(small=small, bad={}, **columns)


def test_odd_pictures(tmp_path):
    dataset = write(tmp_path, a=many("a", 12), b=many("b", 12)).digested()
    width, height = [320] * 24, [240] * 24
    assert found(dataset, "odd", looks=glanced(dataset)) == []
    width[0], height[1], width[2], width[3], width[4] = 31, 20, 961, 960, 32
    tiny, blank, long = found(dataset, "odd", looks=glanced(dataset, width=width, height=height, flat=[5, 6]))
    assert tiny.files == dataset.files[:2]
    assert tiny.note == "2 pictures are less than 32 pixels on a side."
    assert blank.files == dataset.files[5:7]
    assert set(long.files) == {dataset.files[0], dataset.files[1], dataset.files[2], dataset.files[4]}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at ../shared/data")
def test_real_pictures_with_two_labels():
    pairs = [finding.files for finding in audit(Dataset.open(SHARED / "trashnet6"))]
    assert pairs == [("glass/glass115.jpg", "metal/metal91.jpg"), ("glass/glass389.jpg", "plastic/plastic332.jpg")]


def test_pictures_that_cannot_be_read_are_no_training_pictures(tmp_path):
    dataset = write(tmp_path, a=many("a", 200), b=many("b", 60))
    assert not found(dataset, "imbalance")
    lost = {row: "broken" for row in range(len(dataset)) if dataset.names[row] == "b" and row % 10}
    assert found(dataset, "imbalance", unreadable=lost)
    (tiny,) = [each for each in found(dataset, "odd", unreadable=lost) if "advised" in each.note]
    assert tiny.note.startswith("b has 6 training pictures")
    assert len(tiny.files) == 6


def test_a_class_of_which_nothing_is_held_back_is_named(tmp_path):
    dataset = write(tmp_path, train__a=many("a", 12), train__b=many("b", 12), test__a=many("c", 12))
    (finding,) = [each for each in audit(dataset) if "held back" in each.note]
    assert finding.kind == "class_mismatch"
    assert finding.note.startswith("No picture of b is held back")


def test_nearly_the_same_picture_with_two_labels_is_found_across_splits(tmp_path):
    dataset = write(
        tmp_path, train__a=many("a", 12), train__b=many("b", 12), test__a=many("c", 3), test__b=many("d", 3)
    )
    names = [""] * len(dataset)
    names[dataset.files.index("train/a/3.jpg")] = names[dataset.files.index("test/b/1.jpg")] = "alike 0"
    divided = split(replace(dataset, alike=tuple(names)))
    (finding,) = found(divided, "two_labels")
    assert set(finding.files) == {"train/a/3.jpg", "test/b/1.jpg"}
    assert finding.action == "Only the copy that is held out furthest is used. Take out the one that is wrong."


def test_copies_with_two_labels_across_splits_are_not_said_to_be_kept(tmp_path):
    dataset = write(
        tmp_path,
        train__a=many("a", 12) + " x",
        train__b=many("b", 12),
        test__a=many("c", 3),
        test__b=many("d", 3) + " x",
    )
    (finding,) = found(split(dataset), "two_labels")
    assert finding.action.startswith("Only the copy that is held out furthest is used.")
