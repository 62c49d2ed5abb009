"""Tables with several labels a picture or a number: what is read, what is refused and how, how it is divided."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import targets
from headstart.dataset import Dataset
from headstart.errors import PhotosError
from headstart.splitting import cross_folds, once, split, together
from headstart.targets.numbers import bins

ASKED = ("NAME", "COLUMN", "WHAT", "ALL", "settle", "counts", "title", "divide", "deal", "lacking", "absent", "matrix")


@pytest.mark.parametrize("name", targets.names())
def test_a_task_has_what_the_house_asks_of_it(name):
    module = targets.find(name)
    assert name == module.NAME
    assert [asked for asked in ASKED if not hasattr(module, asked)] == []


def test_there_is_no_other_task():
    with pytest.raises(ValueError, match="'boxes'"):
        targets.find("boxes")


def made(folder: Path, header: str, cells: list[str], *, name: str = "set.csv") -> Path:
    """A table with a file for each row; no file is a picture, and none is opened."""
    for number in range(len(cells)):
        (folder / f"{number}.jpg").write_bytes(b"%d" % number)
    lines = [header, *(f"{number}.jpg,{cell}" for number, cell in enumerate(cells))]
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder / name


def refused(path: Path, *, training: bool = True) -> str:
    with pytest.raises(PhotosError) as caught:
        Dataset.open(path, training=training)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 3
    return message


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_labels_are_parted_by_a_bar_or_a_semicolon_and_may_be_none(tmp_path):
    cells = ["red|round", "round; red", "", " | ", "red|red| red", "round"]
    dataset = Dataset.open(made(tmp_path, "path,labels", cells))
    assert (dataset.task, dataset.classes) == ("labels", ("red", "round"))
    assert dataset.targets.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0], [1, 0], [0, 1]]
    assert dataset.targets.dtype == np.float32
    assert dataset.names == ("red, round", "red, round", "no label", "no label", "red", "round")
    assert dataset.labels.tolist() == [0] * 6
    assert dataset.counts() == {"": {"red": 3, "round": 3}}
    assert dataset.target_matrix([0, 5]).tolist() == [[1, 1], [0, 1]]


def test_a_row_for_each_label_is_the_same_as_one_row_for_all(tmp_path):
    table = made(tmp_path, "path,labels", ["a", "b", "", "a", "", ""])
    table.write_text(table.read_text("utf-8") + "0.jpg,b\n1.jpg,b\n2.jpg,a\n", "utf-8")
    dataset = Dataset.open(table)
    assert dataset.targets.tolist() == [[1, 1], [0, 1], [1, 0], [1, 0], [0, 0], [0, 0]]


def test_a_semicolon_table_may_have_bars(tmp_path):
    table = made(tmp_path, "path,labels", ["a|b", "a", "b", ""])
    table.write_text(table.read_text("utf-8").replace(",", ";"), "utf-8")
    assert Dataset.open(table).targets.sum() == 4


def test_parquet_has_labels_as_text_or_as_lists_and_numbers_as_numbers(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    made(tmp_path, "path,labels", ["", "", "", ""])
    paths = [f"{number}.jpg" for number in range(4)]
    parquet.write_table(arrow.table({"path": paths, "labels": [["a", "b"], [], None, ["b"]]}), tmp_path / "a.parquet")
    parquet.write_table(arrow.table({"path": paths, "labels": ["a|b", "", None, "b"]}), tmp_path / "b.parquet")
    one, other = (Dataset.open(tmp_path / name, training=False) for name in ("a.parquet", "b.parquet"))
    assert one.targets.tolist() == other.targets.tolist() == [[1, 1], [0, 0], [0, 0], [0, 1]]
    made(tmp_path, "path,value", ["0"] * 5)
    numbers = {"path": [f"{number}.jpg" for number in range(5)], "value": [1, 2, 3, 4, 5]}
    parquet.write_table(arrow.table(numbers), tmp_path / "c.parquet")
    assert Dataset.open(tmp_path / "c.parquet").targets[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "a", "a"], "every training picture has the label a"),
        (["", "", ""], "no training picture of"),
        (["a", "", "", ""], "one training picture alone has the label a"),
        (["a", "a", "a", ""], "one training picture alone lacks the label a"),
        (["a|b|c", "", "", ""], "(the same is true of b, c)"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(tmp_path, cells, expected):
    assert expected in refused(made(tmp_path, "path,labels", cells))


def test_a_set_that_is_one_group_or_whose_copies_leave_nothing_is_refused(tmp_path):
    one = Dataset.open(made(tmp_path, "path,value,group", [f"{number},g" for number in range(8)]))
    with pytest.raises(PhotosError, match="all pictures are one group"):
        split(one)
    cells = ["a,train", "a,train", "b,train", "b,train", "a,test", "b,test"]
    table = made(tmp_path, "path,labels,split", cells)
    for copy, of in ((0, 4), (1, 4)):
        (tmp_path / f"{copy}.jpg").write_bytes((tmp_path / f"{of}.jpg").read_bytes())
    with pytest.raises(PhotosError, match="say nothing of a, b: they are too few, or all the same"):
        split(Dataset.open(table))


def test_labels_of_one_split_alone_are_told(tmp_path):
    cells = ["a,train", "a,train", "b,train", "b,train", "a|A,test", "c,test"]
    dataset = Dataset.open(made(tmp_path, "path,labels,split", cells))
    notes = [finding.note for finding in dataset.findings]
    assert dataset.classes == ("a", "b")
    assert "A is in test only; train has a." in notes
    assert "c is in test only; train has no such label." in notes
    assert "No picture in test has the label b, which training has." in notes
    assert len(dataset.split_indices("test")) == 2, "they count for the other labels"


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_are_read_as_people_write_them(tmp_path):
    dataset = Dataset.open(made(tmp_path, "path,value", ["1", "-2.5", "3e2", " 4 ", "+5", "0"]))
    assert (dataset.task, dataset.classes) == ("numbers", ("value",))
    assert dataset.targets[:, 0].tolist() == [1, -2.5, 300, 4, 5, 0]
    assert dataset.names[:3] == ("1", "-2.5", "300")
    assert sum(dataset.counts()[""].values()) == 6
    assert len(dataset.counts()[""]) == 5
    assert "6 pictures with a value from -2.5 to 300" in str(dataset)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("old", "row 4: the value is old, which is no number"),
        ('"3,5"', "as in 3.5"),
        ("nan", "Of this picture nothing is known"),
        ("NA", "Of this picture nothing is known"),
        ("inf", "too large"),
        ("-1e31", "too large"),
        ("1_000", "no number"),
        ("", "row 4: the value is empty"),
        ("0x10", "no number"),
        ("12 cm", "no number"),
    ],
)
def test_a_value_that_is_no_number_is_named_with_its_line(tmp_path, cell, expected):
    message = refused(made(tmp_path, "path,value", ["1", "2", cell, "4", "5"]))
    assert expected in message
    assert "row 4" in message


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["3"] * 6, "the value of every training picture is 3, so there is nothing to learn"),
        (["1", "2", "3", "4"], "4 pictures to learn a number from; 5 or more are needed"),
    ],
)
def test_numbers_that_cannot_be_learnt_are_refused(tmp_path, cells, expected):
    assert expected in refused(made(tmp_path, "path,value", cells))


def test_pictures_that_only_measure_may_be_few_and_alike(tmp_path):
    assert len(Dataset.open(made(tmp_path, "path,value", ["3"]), training=False)) == 1
    assert Dataset.open(made(tmp_path, "path,labels", ["a"]), training=False).classes == ("a",)
    assert Dataset.open(made(tmp_path, "path,labels", [""]), training=False).classes == ()


# ---- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["label,labels", "label,value", "labels,value"])
def test_one_column_alone_says_what_is_learnt(tmp_path, columns):
    message = refused(made(tmp_path, f"path,{columns}", ["a,1", "b,2"]))
    assert f"has the columns {columns.replace(',', ' and ')}; a model learns one of them" in message
    assert "rename or take out the others" in message


def test_a_misspelt_column_says_what_there_may_be(tmp_path):
    message = refused(made(tmp_path, "path,values", ["1"]))
    assert "labels (several, with | between) or value (a number)" in message


def test_the_digest_is_of_targets_too(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    seen = set()
    for folder, column, cells in (
        ("a", "labels", ["x", "y", "x", "y", ""]), ("a", "labels", ["x", "y", "x", "x|y", ""]),
        ("a", "labels", ["x", "z", "x", "z", ""]), ("b", "value", ["1", "2", "3", "4", "5"]),
        ("b", "value", ["1", "2", "3", "4", "6"]),
    ):  # fmt: skip
        dataset = Dataset.open(made(tmp_path / folder, f"path,{column}", cells))
        assert dataset.digest not in seen
        assert Dataset.open(tmp_path / folder / "set.csv").digest == dataset.digest
        seen.add(dataset.digest)


def test_taking_rows_takes_their_targets(tmp_path):
    dataset = Dataset.open(made(tmp_path, "path,value", ["1", "2", "3", "4", "5"]))
    assert dataset.take([3, 0]).targets[:, 0].tolist() == [4, 1]
    assert dataset.take([]).targets.shape == (0, 1)
    with pytest.raises(ValueError, match="read-only"):
        dataset.targets[0] = 1


def test_classes_are_one_hot_for_whoever_trains_on_a_matrix(tmp_path):
    dataset = Dataset.open(made(tmp_path, "path,label,split", ["a,train", "a,train", "b,train", "b,train", "c,test"]))
    assert dataset.target_matrix().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize("column", ["labels", "value"])
def test_copies_and_groups_stay_together_and_a_split_is_found_again(tmp_path, column):
    cells = [f"{'a' if number % 3 else 'b'},g{number // 4}" for number in range(80)]
    if column == "value":
        cells = [f"{number * 1.5},g{number // 4}" for number in range(80)]
    table = made(tmp_path, f"path,{column},group", cells)
    (tmp_path / "7.jpg").write_bytes((tmp_path / "70.jpg").read_bytes())
    dataset = split(Dataset.open(table), holdout=0.25, seed=1)
    again = split(Dataset.open(table), holdout=0.25, seed=1)
    assert dataset.splits.tolist() == again.splits.tolist()
    held = dataset.splits == "test"
    assert 0.15 < held.mean() < 0.35
    groups = together(dataset)
    rows = dataset.split_indices("train")
    fold = cross_folds(dataset, rows, count=5, seed=0)
    for group in np.unique(groups):
        assert len(set(held[groups == group].tolist())) == 1
        assert len(set(fold[groups[rows] == group].tolist())) <= 1
    assert len(set(fold.tolist())) == 5


def test_a_picture_counts_once_for_each_thing_that_is_said_of_it(tmp_path):
    table = made(tmp_path, "path,value", ["1", "2", "3", "4", "5", "1"])
    for number in (1, 5):
        (tmp_path / f"{number}.jpg").write_bytes(b"0")
    dataset = Dataset.open(table).digested()
    assert once(dataset, np.arange(6)).tolist() == [0, 1, 2, 3, 4], "5 is 0 again; 1 says something else of it"


def test_numbers_are_divided_so_that_both_sides_have_all_sizes(tmp_path):
    random = np.random.default_rng(0)
    values = np.exp(random.normal(size=200))
    dataset = split(Dataset.open(made(tmp_path, "path,value", [f"{value:.6f}" for value in values])))
    held = dataset.splits == "test"
    assert held.sum() == 40
    found = dataset.targets[:, 0]
    for share in (0.1, 0.5, 0.9):
        assert abs((found[held] < np.quantile(found, share)).mean() - share) < 0.06


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=80))
def test_bins_are_numbered_without_a_gap_and_follow_the_values(values):
    found = bins(np.array(values), groups=len(values))
    assert sorted(set(found.tolist())) == list(range(found.max() + 1))
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert found.max() < 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-(2.0**90), 2.0**90, allow_nan=False, width=32), min_size=5, max_size=8, unique=True))
def test_numbers_go_through_a_table_unchanged(values):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.open(made(Path(folder), "path,value", [repr(value) for value in values]))
        np.testing.assert_array_equal(dataset.targets[:, 0], np.float32(values))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=4), min_size=1, max_size=12))
def test_labels_go_through_a_table_unchanged(rows):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        table = made(Path(folder), "path,labels", ["|".join(labels) for labels in rows])
        dataset = Dataset.open(table, training=False)
        place = {file: at for at, file in enumerate(dataset.files)}
        for number, labels in enumerate(rows):
            has = dataset.targets[place[f"{number}.jpg"]]
            assert {name for name, value in zip(dataset.classes, has, strict=True) if value} == set(labels)
