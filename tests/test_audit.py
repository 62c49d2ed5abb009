"""What the checks find, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from headstart import findings, images
from headstart.audit import CHECKS, audit, unreadable
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


def test_every_picture_is_decoded_once(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(70):
            Image.new("RGB", (9, 9), (number, 0, 255 * (name == "b"))).save(tmp_path / name / f"{number:02}.png")
    for name in ("a/90.png", "b/90.png"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "b" / "91.png").write_bytes(b"")
    read, seen, steps = images.read, [], []
    monkeypatch.setattr(images, "read", lambda path, size: seen.append(path.name) or read(path, size))
    dataset = Dataset.open(tmp_path).digested()
    (tmp_path / "b" / "00.png").unlink()
    bad = unreadable(dataset, progress=lambda *step: steps.append(step))
    assert [dataset.files[row] for row in bad] == ["a/90.png", "b/00.png", "b/90.png", "b/91.png"]
    assert all(bad.values())
    assert len(seen) == 142
    assert steps[-1] == (143, 143)
    assert unreadable(dataset.take(range(70))) == {}


def test_every_check_can_run_by_itself(tmp_path):
    dataset = write(tmp_path, a=many("a", 3) + " s s -", b=many("b", 31) + " s").digested()
    each = {check.__name__: len(list(check(dataset, {}))) for check in CHECKS}
    assert each == {
        "_unreadable": 1, "_duplicates": 1, "_leaks": 0, "_two_labels": 1, "_imbalance": 0, "_tiny": 1
    }  # fmt: skip


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at ../shared/data")
def test_real_pictures_with_two_labels():
    pairs = [finding.files for finding in audit(Dataset.open(SHARED / "trashnet6"))]
    assert pairs == [("glass/glass115.jpg", "metal/metal91.jpg"), ("glass/glass389.jpg", "plastic/plastic332.jpg")]
