"""Splits that are made, kept and repaired."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.dataset import Dataset
from headstart.errors import PhotosError
from headstart.splitting import final_split, keys, split, together

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def write(root: Path, **contents: str | int) -> Dataset:
    """Pictures by contents: `a="x x y"` puts three files into a/; a number makes that many different ones."""
    for name, words in contents.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        listed = [f"{name}{number}" for number in range(words)] if isinstance(words, int) else words.split()
        for number, word in enumerate(listed):
            (folder / f"{number}.jpg").write_bytes(word.encode())
    return Dataset.open(root)


def placed(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.files, dataset.splits.tolist(), strict=True))


def test_a_fifth_of_each_class_is_held_out(tmp_path):
    done = split(write(tmp_path, a=20, b=10))
    assert done.counts() == {"train": {"a": 16, "b": 8}, "test": {"a": 4, "b": 2}}
    assert final_split(done) == "test"
    assert split(write(tmp_path / "x", a=20, b=10), holdout=0.5).counts()["test"] == {"a": 10, "b": 5}


def test_train_alone_is_divided_too(tmp_path):
    done = split(write(tmp_path, train__a=20, train__b=10))
    assert done.counts() == {"train": {"a": 16, "b": 8}, "test": {"a": 4, "b": 2}}


@pytest.mark.parametrize(
    ("names", "final"), [(("validation",), "validation"), (("test",), "test"), (("validation", "test"), "test")]
)
def test_given_splits_are_kept(tmp_path, names, final):
    dataset = write(tmp_path, train__a=5, train__b=5, **{f"{name}__{kind}": 2 for name in names for kind in "ab"})
    done = split(dataset)
    assert (done.splits == dataset.splits).all()
    assert final_split(done) == final
    assert done.findings == ()


def test_the_same_pictures_elsewhere_are_split_the_same(tmp_path):
    here = split(write(tmp_path / "one", a=30, b=30), seed=3)
    (tmp_path / "two" / "deep").mkdir(parents=True)
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "deep" / "set")
    (tmp_path / "two" / "deep" / "set" / "a" / "0.jpg").rename(tmp_path / "two" / "deep" / "set" / "a" / "x.jpg")
    there = split(Dataset.open(tmp_path / "two" / "deep" / "set"), seed=3)
    assert here.digest == there.digest
    assert here.digest != split(Dataset.open(tmp_path / "one"), seed=4).digest
    order = np.random.default_rng(0).permutation(60)
    assert (split(Dataset.open(tmp_path / "one").take(order), seed=3).splits == here.splits[order]).all()


def test_copies_stay_on_one_side(tmp_path):
    words = " ".join(f"w{number} w{number}" for number in range(10))
    for seed in range(5):
        done = split(write(tmp_path / str(seed), a=words, b=10), seed=seed)
        for number in range(10):
            pair = {placed(done)[f"a/{2 * number}.jpg"], placed(done)[f"a/{2 * number + 1}.jpg"]}
            assert len(pair) == 1
        assert done.counts()["test"] == {"a": 4, "b": 2}


def test_groups_of_a_table_stay_on_one_side(tmp_path):
    write(tmp_path, a=20, b=20)
    rows = [f"{kind}/{number}.jpg,{kind},{number // 4}" for kind in "ab" for number in range(20)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,group", *rows]))
    done = split(Dataset.open(tmp_path / "set.csv"))
    sides = {}
    for group, side in zip(done.groups, done.splits.tolist(), strict=True):
        sides.setdefault(group, set()).add(side)
    assert [len(side) for side in sides.values()] == [1] * 5
    assert done.counts()["test"] == {"a": 4, "b": 4}


def test_leaks_leave_the_earlier_split(tmp_path):
    dataset = write(
        tmp_path, train__a="1 2 3 4", train__b="5 6 7 8", validation__a="1 v", validation__b="x y", test__a="2 t",
        test__b="x z",
    )  # fmt: skip
    done = split(dataset)
    where = placed(done)
    assert [file for file, name in where.items() if name == "left out"] == [
        "train/a/0.jpg", "train/a/1.jpg", "validation/b/0.jpg"
    ]  # fmt: skip
    assert where["validation/a/0.jpg"] == "validation"
    assert where["test/b/0.jpg"] == "test"
    leaks = [finding for finding in done.findings if finding.kind == "leak"]
    assert [finding.note for finding in leaks] == [
        "The same picture is in train and test.",
        "The same picture is in validation and test.",
        "The same picture is in train and validation.",
    ]
    assert split(done).splits.tolist() == done.splits.tolist()
    assert split(done).findings == done.findings


def test_groups_across_given_splits_leak(tmp_path):
    write(tmp_path, a=6, b=6)
    rows = [
        f"{kind}/{number}.jpg,{kind},{'test' if number > 3 else 'train'},p{number % 5}"
        for kind in "ab"
        for number in range(6)
    ]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,split,group", *rows]))
    done = split(Dataset.open(tmp_path / "set.csv"))
    assert placed(done)["a/0.jpg"] == placed(done)["b/0.jpg"] == "left out"
    assert [finding.note for finding in done.findings] == ["Pictures that belong together are in train and test."]
    assert done.findings[0].action == "2 pictures left out of train, kept in test."


def test_a_copy_among_unknown_classes_is_no_leak(tmp_path):
    dataset = write(tmp_path, train__a="1 2", train__b="3 4", test__a="5", test__b="6", test__c="1")
    done = split(dataset)
    assert placed(done)["train/a/0.jpg"] == "train"
    assert [finding.kind for finding in done.findings] == ["class_mismatch"]


def test_held_out_splits_without_known_classes_are_replaced(tmp_path):
    done = split(write(tmp_path, train__cats=10, train__dogs=10, test__all=5))
    assert final_split(done) == "test"
    assert done.counts()["test"] == {"cats": 2, "dogs": 2}
    assert len(done.split_indices("test", unknown=True)) == 9


def test_empty_files_are_not_tied_together(tmp_path):
    dataset = write(tmp_path, a="1 2 3", b="4 5 6")
    for name in ("a/0.jpg", "b/0.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert len(set(together(dataset).tolist())) == 6
    assert len(set(keys(dataset))) == 6


def test_nothing_left_to_train_on_is_refused(tmp_path):
    dataset = write(tmp_path, train__a="1 2", train__b="3 4", test__a="1 2", test__b="9")
    with pytest.raises(PhotosError, match="No training picture is left of a"):
        split(dataset)


def test_nothing_to_measure_on_is_refused(tmp_path):
    with pytest.raises(PhotosError, match="Nothing can be held out"):
        split(write(tmp_path, a="1 1", b="2 2"))


def test_no_final_split_before_splitting(tmp_path):
    dataset = write(tmp_path, a=3, b=3)
    with pytest.raises(PhotosError, match="Make one with"):
        final_split(dataset)
    with pytest.raises(PhotosError, match="Make one with"):
        final_split(replace(dataset, splits=np.array(["train"] * 6)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at ../shared/data")
def test_real_pictures():
    waste = split(Dataset.open(SHARED / "trashnet6"))
    assert waste.counts()["test"] == {
        "cardboard": 80,
        "glass": 80,
        "metal": 80,
        "paper": 80,
        "plastic": 80,
        "trash": 27,
    }
    where = placed(waste)
    assert where["metal/metal91.jpg"] == where["glass/glass115.jpg"]
    assert where["plastic/plastic332.jpg"] == where["glass/glass389.jpg"]
    pets = split(Dataset.open(SHARED / "cats_vs_dogs"))
    assert final_split(pets) == "validation"
    assert len(pets.split_indices("validation")) == 1000
