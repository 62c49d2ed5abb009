"""Every form of PHOTOS, the rules for folders and tables, and what a Dataset can do."""

from __future__ import annotations

import csv
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart import files
from headstart.dataset import EMPTY, Dataset
from headstart.errors import MissingExtraError, PhotosError

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_real = pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at ../shared/data")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))


def fill(root: Path, **folders: int) -> Path:
    """Make pictures, each with bytes of its own; `a__b=3` makes three in a/b, 0 makes an empty folder."""
    for name, count in folders.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(f"{folder} {number}".encode())
    return root


def kinds(dataset: Dataset) -> list[str]:
    return [finding.kind for finding in dataset.findings]


def notes(dataset: Dataset) -> str:
    return "\n".join(f"{finding.note} {finding.action}" for finding in dataset.findings)


def refused(photos, **options) -> str:
    """The message with which pictures are refused; three lines at most."""
    with pytest.raises(PhotosError) as caught:
        Dataset.open(photos, **options)
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    return message


def table(path: Path, rows: list[str], encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(rows) + "\n", encoding)
    return path


# folders


def test_class_folders(tmp_path):
    dataset = Dataset.open(fill(tmp_path, dogs=2, cats=3, cats__kittens=1))
    assert dataset.classes == dataset.class_names == ("cats", "dogs")
    assert dataset.class_indices == {"cats": 0, "dogs": 1}
    assert dataset.files == ("cats/0.jpg", "cats/1.jpg", "cats/2.jpg", "cats/kittens/0.jpg", "dogs/0.jpg", "dogs/1.jpg")
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert dataset.labels.dtype == np.int32
    assert dataset.path(3).is_file()
    assert dataset.findings == ()
    assert dataset.counts() == {"": {"cats": 4, "dogs": 2}}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "validation", "test"), ("Training", "VAL", "Testing"), ("train", "valid", "test")],
)
def test_split_folders_by_any_of_their_names(tmp_path, train, validation, test):
    sizes = {
        f"{train}__a": 3,
        f"{train}__b": 2,
        f"{validation}__a": 1,
        f"{validation}__b": 1,
        f"{test}__a": 2,
        f"{test}__b": 1,
    }
    dataset = Dataset.open(fill(tmp_path, **sizes))
    assert dataset.counts() == {
        "train": {"a": 3, "b": 2}, "validation": {"a": 1, "b": 1}, "test": {"a": 2, "b": 1}
    }  # fmt: skip
    assert dataset.findings == ()


def test_a_class_called_train_is_a_class(tmp_path):
    assert Dataset.open(fill(tmp_path, bus=2, car=2, train=2)).classes == ("bus", "car", "train")


def test_suffixes_in_any_case_and_what_is_ignored(tmp_path):
    fill(tmp_path, a=2, b=2)
    fill(tmp_path / "__MACOSX", a=1)
    for name in ("a/X.JPG", "a/y.Png", "a/Thumbs.db", "a/.hidden.jpg", "a/notes.txt", "labels.json", "b/no_suffix"):
        (tmp_path / name).write_bytes(b"?")
    shutil.copytree(tmp_path / "a", tmp_path / ".cache" / "a")
    dataset = Dataset.open(tmp_path)
    assert dataset.files == ("a/0.jpg", "a/1.jpg", "a/X.JPG", "a/y.Png", "b/0.jpg", "b/1.jpg")
    assert dataset.ignored == 7  # five files, and the folders __MACOSX and .cache as one each
    assert "7 other files ignored" in str(dataset)


def test_a_class_missing_from_a_split_shifts_no_index(tmp_path):
    fill(tmp_path, train__a=2, train__b=2, train__c=2, validation__a=1, validation__c=1)
    dataset = Dataset.open(tmp_path)
    rows = dataset.split_indices("validation")
    assert [dataset.classes[label] for label in dataset.labels[rows]] == ["a", "c"]
    (finding,) = dataset.findings
    assert finding.kind == "class_mismatch"
    assert finding.note == "b is in train/ but is missing from validation/."


def test_a_renamed_class_is_named_with_its_near_match(tmp_path):
    sizes = {"train__Brown-Cap-Mushroom": 2, "train__Fern": 2, "validation__Mushroom": 3, "validation__Fern": 1}
    dataset = Dataset.open(fill(tmp_path, **sizes))
    assert "Mushroom is in validation/ only; train/ has Brown-Cap-Mushroom. Its 3 pictures there" in notes(dataset)
    assert "Brown-Cap-Mushroom is in train/ but is missing from validation/, which has Mushroom." in notes(dataset)
    assert dataset.labels[dataset.split_indices("validation")].tolist() == [1]
    unknown = dataset.split_indices("validation", unknown=True)
    assert dataset.labels[unknown].tolist() == [1, -1, -1, -1]
    assert dataset.names[unknown[-1]] == "Mushroom"
    assert dataset.counts()["validation"] == {"Brown-Cap-Mushroom": 0, "Fern": 1}


def test_classes_that_differ_in_case_alone_are_near(tmp_path):
    fill(tmp_path, train__cats=2, train__dogs=2, validation__CATS=1, validation__dogs=1)
    assert "CATS is in validation/ only; train/ has cats." in notes(Dataset.open(tmp_path))


def test_empty_class_folders_are_named_and_are_no_class(tmp_path):
    dataset = Dataset.open(fill(tmp_path, a=2, b=2, c=0))
    assert dataset.classes == ("a", "b")
    assert dataset.findings[0].kind == "class_mismatch"
    assert dataset.findings[0].files == ("c",)
    other = Dataset.open(fill(tmp_path / "split", train__a=2, train__b=2, train__c=0, val__a=1, val__b=0, val__c=1))
    assert "c is empty in train/." in notes(other)
    assert "c is in validation/ only; train/ has no such class." in notes(other)
    assert "b is in train/ but is empty in validation/." in notes(other)


def test_a_split_without_any_picture_is_named(tmp_path):
    dataset = Dataset.open(fill(tmp_path, train__a=2, train__b=2, val__a=0, val__b=0, test=0))
    assert kinds(dataset) == ["odd", "class_mismatch", "class_mismatch"]
    assert "test/ holds no pictures." in notes(dataset)
    assert "a is in train/ but is empty in validation/." in notes(dataset)
    assert set(dataset.counts()) == {"train"}


def test_accents_composed_otherwise_are_the_same_class(tmp_path):
    fill(tmp_path, **{"train__Cafe\u0301": 2, "train__Tee": 2, "val__Caf\u00e9": 1, "val__Tee": 1})
    dataset = Dataset.open(tmp_path)
    assert dataset.classes == ("Caf\u00e9", "Tee")
    assert dataset.findings == ()
    assert all(dataset.path(row).is_file() for row in range(len(dataset)))


def test_unknown_folder_beside_train_is_named(tmp_path):
    dataset = Dataset.open(fill(tmp_path, train__a=2, train__b=2, vaildation__a=1))
    assert kinds(dataset) == ["odd"]
    assert "vaildation/ beside train/ is no split. Did you mean validation?" in notes(dataset)
    assert set(dataset.splits) == {"train"}


def test_flat_test_folder_points_to_predict(tmp_path):
    dataset = Dataset.open(fill(tmp_path, train__a=2, train__b=2, test=4))
    assert kinds(dataset) == ["odd"]
    assert "4 pictures in test/ without class folders" in notes(dataset)
    assert f"headstart predict MODEL {tmp_path}/test/" in notes(dataset)
    assert len(dataset) == 4


def test_pictures_beside_class_folders_are_named(tmp_path):
    fill(tmp_path, a=2, b=2)
    (tmp_path / "stray.png").write_bytes(b"s")
    dataset = Dataset.open(tmp_path)
    assert dataset.findings[0].files == ("stray.png",)
    assert len(dataset) == 4


def test_formats_that_cannot_be_read_are_skipped_with_advice(tmp_path):
    fill(tmp_path, a=2, b=2)
    (tmp_path / "a" / "IMG.HEIC").write_bytes(b"h")
    dataset = Dataset.open(tmp_path)
    assert kinds(dataset) == ["unreadable"]
    assert dataset.skipped == dataset.findings[0].files == ("a/IMG.HEIC",)
    assert "convert it to JPEG" in notes(dataset)


def test_folder_with_a_pictures_name_is_not_entered(tmp_path):
    fill(tmp_path, a=2, b=2, **{"a__x.jpg": 3, "c.png": 2})
    dataset = Dataset.open(tmp_path)
    assert dataset.classes == ("a", "b")
    assert len(dataset) == 4
    assert dataset.skipped == ("a/x.jpg/", "c.png/")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_link_loops_end_and_links_to_files_count(tmp_path):
    fill(tmp_path, a=2, b=2, elsewhere=0)
    (tmp_path / "elsewhere").rmdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "linked.jpg").symlink_to(tmp_path / "b" / "0.jpg")
    (tmp_path / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "b" / "me.jpg").symlink_to(tmp_path / "b" / "me.jpg")
    dataset = Dataset.open(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.files == ("a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg", "b/linked.jpg")
    assert dataset.skipped == ("b/gone.jpg", "b/me.jpg")
    odd = sorted(finding.files[0] for finding in dataset.findings if finding.kind == "odd")
    assert odd == ["a/again", "a/up", "self"]


# folders that cannot be used


def test_missing_folder_names_near_siblings(tmp_path):
    fill(tmp_path, flowers__a=1)
    assert "does not exist. Did you mean flowers?" in refused(tmp_path / "flowrs")


def test_flat_pictures(tmp_path):
    fill(tmp_path, **{".": 3})
    assert "3 pictures but no class folders" in refused(tmp_path)
    table(tmp_path / "labels.csv", ["path,label"])
    assert "labels.csv lies there" in refused(tmp_path)


def test_flat_train_folder_is_not_a_class(tmp_path):
    assert "train has 3 pictures but no class folders" in refused(fill(tmp_path, train=3, test=2))


def test_split_folders_without_train(tmp_path):
    fill(tmp_path, validation__a=2, test__a=2)
    assert "no train/ folder" in refused(tmp_path)
    measured = Dataset.open(tmp_path, training=False)
    assert measured.counts() == {"validation": {"a": 2}, "test": {"a": 2}}


def test_one_split_under_two_names(tmp_path):
    message = refused(fill(tmp_path, train__a=2, train__b=2, val__a=1, validation__a=1))
    assert "both val/ and validation/" in message


def test_no_pictures(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    assert "holds no pictures (1 other file ignored)" in refused(tmp_path)
    fill(tmp_path, a=0, b=0)
    (tmp_path / "a" / "x.heic").write_bytes(b"")
    assert "convert it to JPEG" in refused(tmp_path)


def test_one_class_and_one_wrapper(tmp_path):
    assert "one class, a;" in refused(fill(tmp_path / "x", a=3))
    message = refused(fill(tmp_path / "y", pets__cats=2, pets__dogs=2))
    assert f"Give {tmp_path / 'y' / 'pets'} instead" in message
    assert Dataset.open(tmp_path / "x", training=False).classes == ("a",)


def test_class_with_one_training_picture(tmp_path):
    fill(tmp_path, train__a=2, train__b=1, validation__b=5, validation__a=1)
    assert "1 class with one training picture: b" in refused(tmp_path)


def test_single_picture_and_unknown_file(tmp_path):
    fill(tmp_path, a=1)
    assert "is one picture" in refused(tmp_path / "a" / "0.jpg")
    (tmp_path / "x.bin").write_bytes(b"nothing known")
    assert "no archive that headstart knows" in refused(tmp_path / "x.bin")


# tables


def test_csv_with_splits_and_groups(tmp_path):
    fill(tmp_path, pics=5)
    rows = [
        "path,label,split,group",
        "pics/3.jpg,b,valid,g1",
        "pics/0.jpg,a,train,g0",
        "pics/1.jpg,a,Train,",
        "pics/2.jpg,b,train,",
    ]
    dataset = Dataset.open(table(tmp_path / "set.csv", [*rows, "./pics/4.jpg,b,training,g0"]))
    assert dataset.files == tuple(f"pics/{number}.jpg" for number in range(5))
    assert dataset.splits.tolist() == ["train", "train", "train", "validation", "train"]
    assert dataset.groups == ("g0", "", "", "g1", "g0")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_as_spreadsheets_write_it(tmp_path, separator):
    fill(tmp_path, pics=4)
    rows = [" Path ,LABEL", *(f"pics\\{number}.jpg, k{number % 2}" for number in range(4)), "", "pics/0.jpg,k0"]
    text = [row.replace(",", separator) for row in rows]
    dataset = Dataset.open(table(tmp_path / "set.csv", text, "utf-8-sig"))
    assert dataset.classes == ("k0", "k1")
    assert len(dataset) == 4  # the first row again counts once


def test_csv_reaches_pictures_elsewhere(tmp_path):
    fill(tmp_path, pics=4)
    (tmp_path / "tables").mkdir()
    rows = ["path,label", f"{tmp_path}/pics/0.jpg,a", "../pics/1.jpg,a", "../pics/2.jpg,b", "../pics/3.jpg,b"]
    dataset = Dataset.open(table(tmp_path / "tables" / "set.csv", rows))
    assert [dataset.path(row).is_file() for row in range(4)] == [True] * 4
    assert dataset.files[0] == (tmp_path / "pics" / "0.jpg").resolve().as_posix()


def test_rows_without_a_file_are_unreadable(tmp_path):
    fill(tmp_path, pics=4)
    rows = ["path,label", *(f"pics/{number}.jpg,k{number % 2}" for number in range(6))]
    dataset = Dataset.open(table(tmp_path / "set.csv", rows))
    assert kinds(dataset) == ["unreadable"]
    assert dataset.skipped == ("pics/4.jpg", "pics/5.jpg")
    message = refused(table(tmp_path / "none.csv", ["path,label", "gone/x.jpg,a"]))
    assert "gone/x.jpg" in message
    assert "relative to the table's folder" in message


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["path,lable", "pics/0.jpg,a"], "no column label; it has: path, lable. Did you mean lable?"),
        (["a,b", "1,2"], "no column path"),
        (["path,label,splits", "pics/0.jpg,a,train"], "has a column splits; headstart reads split"),
        (["path,label", "pics/0.jpg,a", "pics/1.jpg,"], "row 3: the label is empty"),
        (["path,label", ",a"], "row 2: the path is empty"),
        (["path,label,split", "pics/0.jpg,a,trian"], "row 2: the split is trian. Did you mean train?"),
        (["path,label,split", "pics/0.jpg,a,train", "pics/1.jpg,a,"], "row 3: the split is empty, while other"),
        (["path,label"], "lists no pictures"),
        (["path,label", "pics/0.jpg,x,a"], "row 2 has 3 cells; the first row has 2"),
        (["path,label", "pics/0.jpg,a", "pics/1.jpg,a"], "one class, a"),
    ],
)
def test_csv_faults_are_said(tmp_path, rows, expected):
    fill(tmp_path, pics=2)
    assert expected in refused(table(tmp_path / "set.csv", rows))


def test_csv_in_another_encoding(tmp_path):
    assert "CSV UTF-8" in refused(table(tmp_path / "set.csv", ["path,label", "ü.jpg,ä"], "latin-1"))


def test_parquet_gives_what_csv_gives(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    fill(tmp_path, pics=4)
    columns = {"path": [f"pics/{number}.jpg" for number in range(4)], "label": [0, 1, 0, 1], "extra": [None] * 4}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    with open(tmp_path / "set.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([columns.keys(), *zip(*columns.values(), strict=True)])
    one, other = Dataset.open(tmp_path / "set.parquet"), Dataset.open(tmp_path / "set.csv")
    assert (one.files, one.names, one.classes) == (other.files, other.names, ("0", "1"))
    pq.write_table(pa.table({"path": ["pics/0.jpg"], "label": [None]}), tmp_path / "bad.parquet")
    assert "row 1: the label is empty" in refused(tmp_path / "bad.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nonsense PAR1")
    assert "not a Parquet file" in refused(tmp_path / "no.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (tmp_path / "set.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"headstart\[parquet\]"):
        Dataset.open(tmp_path / "set.parquet")


# archives and URLs


def test_archive_with_one_wrapping_folder(tmp_path):
    fill(tmp_path / "in", pets__train__a=2, pets__train__b=2, pets__test__a=1, pets__test__b=1)
    shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "in")
    dataset = Dataset.open(tmp_path / "pets.zip")
    assert dataset.counts() == {"train": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}}
    again = Dataset.open(str(tmp_path / "pets.zip"))
    assert again.root == dataset.root
    assert dataset.root is not None
    assert files.cache_folder() in dataset.root.parents


def test_archive_without_wrapper_and_archive_of_train_alone(tmp_path):
    shutil.make_archive(str(tmp_path / "x"), "gztar", fill(tmp_path / "x", a=2, b=2))
    assert Dataset.open(tmp_path / "x.tar.gz").counts() == {"": {"a": 2, "b": 2}}
    shutil.make_archive(str(tmp_path / "y"), "tar", fill(tmp_path / "y", train__a=2, train__b=2))
    assert set(Dataset.open(tmp_path / "y.tar").names) == {"a", "b"}


def test_archive_with_a_table(tmp_path):
    root = fill(tmp_path / "in", set__pics=4)
    table(root / "set" / "labels.csv", ["path,label", *(f"pics/{number}.jpg,k{number % 2}" for number in range(4))])
    table(root / "set" / "other.csv", ["a,b"])
    with tarfile.open(tmp_path / "set.tar.xz", "w:xz") as bundle:
        bundle.add(root / "set", "set")
    assert Dataset.open(tmp_path / "set.tar.xz").classes == ("k0", "k1")


def test_table_in_an_archive_may_not_lead_out(tmp_path):
    fill(tmp_path, secret=1)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("a.csv", f"path,label\n{tmp_path}/secret/0.jpg,a\n")
    assert "leads out of the archive" in refused(tmp_path / "x.zip")


def test_url_is_fetched_once_into_the_cache(tmp_path, monkeypatch):
    shutil.make_archive(str(tmp_path / "x"), "zip", fill(tmp_path / "x", a=2, b=2))
    asked = []

    def download(url, target, *, progress):
        asked.append((url, target))
        return tmp_path / "x.zip"

    monkeypatch.setattr("headstart.downloads.download", download)
    assert len(Dataset.open("https://example.org/sets/pets%20one.zip?x=1")) == 4
    assert len(Dataset.open(Path("https://example.org/sets/pets%20one.zip?x=1"))) == 4  # pathlib folds the slashes
    assert asked[0] == asked[1]
    assert asked[0][0] == "https://example.org/sets/pets%20one.zip?x=1"
    assert asked[0][1].name == "pets one.zip"
    assert files.cache_folder() in asked[0][1].parents


# the Dataset itself


def test_digests_and_unreadable_files(tmp_path):
    fill(tmp_path, a=2, b=2)
    (tmp_path / "a" / "0.jpg").write_bytes(b"")
    dataset = Dataset.open(tmp_path)
    (tmp_path / "b" / "1.jpg").unlink()
    steps = []
    hashed = dataset.digested(lambda done, total: steps.append((done, total)))
    assert steps[-1] == (4, 4)
    assert hashed.digests is not None
    assert hashed.digests[0] == EMPTY
    assert hashed.digests[1].hex() == files.file_digest(tmp_path / "a" / "1.jpg")
    assert hashed.digests[3] == b""
    assert hashed.digested() is hashed
    assert dataset.digests is None


def test_digest_names_the_contents_wherever_they_lie(tmp_path):
    dataset = Dataset.open(fill(tmp_path / "one", a=2, b=2))
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "deep")
    (tmp_path / "two" / "deep" / "a" / "0.jpg").rename(tmp_path / "two" / "deep" / "a" / "zzz.jpg")
    copy = Dataset.open(tmp_path / "two" / "deep")
    assert len(dataset.digest) == 64
    assert copy.digest == dataset.digest == dataset.take([3, 1, 0, 2]).digest
    assert dataset.take([0, 1, 2]).digest != dataset.digest
    (tmp_path / "two" / "deep" / "a").rename(tmp_path / "two" / "deep" / "c")
    assert Dataset.open(tmp_path / "two" / "deep").digest != dataset.digest
    (tmp_path / "one" / "a" / "0.jpg").write_bytes(b"edited")
    assert Dataset.open(tmp_path / "one").digest != dataset.digest


def test_take_keeps_rows_together(tmp_path):
    dataset = Dataset.open(fill(tmp_path, a=2, b=2)).digested()
    part = dataset.take(np.array([3, 0]))
    assert part.files == ("b/1.jpg", "a/0.jpg")
    assert part.labels.tolist() == [1, 0]
    assert part.names == ("b", "a")
    assert part.digests == (dataset.digests[3], dataset.digests[0])
    assert dataset.take(dataset.labels == 1).files == ("b/0.jpg", "b/1.jpg")
    assert len(dataset.take([])) == 0


def test_a_dataset_cannot_be_changed(tmp_path):
    dataset = Dataset.open(fill(tmp_path, a=2, b=2))
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 1
    with pytest.raises(AttributeError):
        dataset.classes = ()
    with pytest.raises(PhotosError, match="one entry a picture"):
        Dataset(None, ("x.jpg",), np.array([0, 1]), ("a",), ("a",), np.array([""]))


def test_shows_itself(tmp_path):
    fill(tmp_path, **{"<b>": 0, "dogs": 2})
    for number in range(12):
        Image.new("RGB", (300, 200), (20 * number, 0, 0)).save(tmp_path / "<b>" / f"{number}.png")
    dataset = Dataset.open(tmp_path)
    assert repr(dataset) == "<Dataset of 14 pictures, 2 classes: <b>, dogs>"
    assert str(dataset).splitlines()[0] == f"14 pictures of 2 classes in {tmp_path}"
    assert str(dataset).splitlines()[-1].split() == ["all", "14"]
    page = dataset._repr_html_()
    assert page.count("<img ") == 7  # nine were chosen, and the two dogs are no pictures
    assert "<b>&lt;b&gt;" not in page
    assert "&lt;b&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 7


def test_many_classes_are_summed_up(tmp_path):
    dataset = Dataset.open(fill(tmp_path, **{f"c{number:02}": 2 for number in range(30)}))
    assert "11 more" in str(dataset)
    assert len(str(dataset).splitlines()) == 23


@needs_real
def test_real_pictures():
    pets = Dataset.open(SHARED / "cats_vs_dogs")
    assert pets.counts() == {"train": {"cats": 1000, "dogs": 1000}, "validation": {"cats": 500, "dogs": 500}}
    assert pets.findings == ()
    waste = Dataset.open(str(SHARED / "trashnet6"))
    assert len(waste) == 2137
    assert waste._repr_html_().count("<img ") == 9
