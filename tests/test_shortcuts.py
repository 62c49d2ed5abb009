"""Classes that differ by something besides their content, and classes that do not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from headstart.dataset import Dataset
from headstart.looks import FORMATS, Looks
from headstart.shortcuts import _difference, shortcuts

JPEG, PNG = FORMATS.index("JPEG"), FORMATS.index("PNG")


def dataset_of(*counts: int, splits: str = "") -> Dataset:
    names = tuple(name for name, count in zip("abcdef", counts, strict=False) for _ in range(count))
    files = tuple(f"{name}/{row:04d}.jpg" for row, name in enumerate(names))
    classes = tuple(sorted(set(names)))
    return Dataset(
        None, files, np.array([classes.index(name) for name in names]), classes, names,
        np.array([splits] * len(names), "<U10"), digests=tuple(hashlib.sha256(f.encode()).digest() for f in files),
    )  # fmt: skip


def looks_of(dataset: Dataset, seed: int = 0, **columns: np.ndarray) -> Looks:
    """Ordinary pictures of mixed kinds, the same mix in every class, but for the columns given."""
    rng, count = np.random.default_rng(seed), len(dataset)
    ordinary = {
        "width": rng.choice([320, 400, 480, 640], count), "height": rng.choice([320, 400, 480], count),
        "format": rng.choice([JPEG, PNG], count), "chroma": rng.choice([0, 60, 120], count),
        "edge": rng.uniform(0, 255, count), "edge_spread": rng.choice([0.5, 30.0, 60.0], count),
    }  # fmt: skip
    return Looks(small=np.zeros((count, 16, 16), np.uint8), bad={}, **{**ordinary, **columns})


def notes(dataset: Dataset, looks: Looks) -> list[str]:
    found = list(shortcuts(dataset, looks))
    assert all(each.kind == "shortcut" and each.files for each in found)
    return [each.note for each in found]


@pytest.mark.parametrize("counts", [(100, 100), (300, 60), (80, 80, 80, 80)])
def test_the_same_mix_everywhere_is_no_shortcut(counts: tuple[int, ...]) -> None:
    dataset = dataset_of(*counts)
    for seed in range(10):
        assert notes(dataset, looks_of(dataset, seed)) == []


def test_each_property_is_told_by_its_words() -> None:
    dataset = dataset_of(100, 100)
    first = dataset.labels == 0
    told = {
        "100% of a are PNG files, of b 0%": {"format": np.where(first, PNG, JPEG)},
        "100% of a are grey, of b 0%": {"chroma": np.where(first, 3, 99)},
        "100% of a have a dark border all around": {
            "edge": np.where(first, 5.0, 128.0), "edge_spread": np.where(first, 1.0, 50.0)
        },
        "a have a longer side above 600 pixels, of b 0%": {"width": np.where(first, 900 + np.arange(200), 600)},
        "a measure 224 × 224 pixels, of b 0%": {
            "width": np.where(first, 224, 300 + np.arange(200)), "height": np.where(first, 224, 300),
        },
    }  # fmt: skip
    for words, columns in told.items():
        found = notes(dataset, looks_of(dataset, **columns))
        assert any(words in note for note in found), (words, found)


def test_a_border_of_the_second_class_is_told_by_the_border() -> None:
    dataset = dataset_of(100, 100)
    second = dataset.labels == 1
    looks = looks_of(dataset, edge=np.where(second, 250.0, 128.0), edge_spread=np.where(second, 1.0, 50.0))
    assert notes(dataset, looks)[0].startswith("0% of a have a light border all around, of b 100%")


def test_one_class_of_many() -> None:
    dataset = dataset_of(80, 80, 80)
    looks = looks_of(dataset, format=np.where(dataset.labels == 1, PNG, JPEG))
    (note,) = notes(dataset, looks)
    assert note.startswith("100% of b are PNG files, of the other classes 0%")


def test_what_is_weak_or_seen_on_few_pictures_is_not_told() -> None:
    dataset = dataset_of(200, 200)
    rng, first = np.random.default_rng(0), dataset.labels == 0
    weak = np.where(rng.random(400) < np.where(first, 0.75, 0.25), PNG, JPEG)
    assert notes(dataset, looks_of(dataset, format=weak)) == []
    strong = np.where(rng.random(400) < np.where(first, 0.95, 0.05), PNG, JPEG)
    assert len(notes(dataset, looks_of(dataset, format=strong))) == 1
    few = dataset_of(12, 12)
    assert notes(few, looks_of(few, format=np.where(few.labels == 0, PNG, JPEG))) == []
    for count, told in ((40, 0), (1000, 1)):  # the same shares
        some = dataset_of(count, count)
        often = np.where((np.arange(2 * count) % 10 < 8) == (some.labels == 0), PNG, JPEG)
        assert len(notes(some, looks_of(some, format=often))) == told
    none = dataset_of(1, 0, 1)
    assert notes(none, looks_of(none, format=np.where(none.labels == 0, PNG, JPEG))) == []


def test_what_measures_did_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that only the measuring half knows of is not found, since the other half has to name it."""
    dataset = dataset_of(100, 100)
    measures = np.arange(200) % 2 == 0
    monkeypatch.setattr("headstart.shortcuts._halves", lambda *_: measures)
    first, mixed = dataset.labels == 0, np.where(np.arange(200) % 4 < 2, PNG, JPEG)
    assert notes(dataset, looks_of(dataset, format=np.where(measures, np.where(first, PNG, JPEG), JPEG))) == []
    assert notes(dataset, looks_of(dataset, format=np.where(measures, mixed, np.where(first, PNG, JPEG)))) == []
    assert len(notes(dataset, looks_of(dataset, format=np.where(first, PNG, JPEG)))) == 1


def test_a_size_is_not_told_again_as_a_length_or_a_shape() -> None:
    dataset = dataset_of(150, 150)
    first = dataset.labels == 0
    looks = looks_of(
        dataset, width=np.where(first, 1000, 320), height=np.where(first, 250, 320), format=np.full(300, JPEG)
    )
    assert len(notes(dataset, looks)) == 1


def test_pictures_that_are_left_out_or_unreadable_have_no_say() -> None:
    dataset = dataset_of(100, 100, splits="left out")
    columns = {"format": np.where(dataset.labels == 0, PNG, JPEG)}
    assert notes(dataset, looks_of(dataset, **columns)) == []
    dataset = dataset_of(100, 100)
    assert notes(dataset, looks_of(dataset, **columns, width=np.zeros(200, int))) == []


def test_the_interval_of_a_difference() -> None:
    """Newcombe's own example (1998, table II): 56 of 70 against 48 of 80, 95 %: 0.0524 to 0.3339."""
    assert _difference((56, 70), (48, 80), 0.95) == pytest.approx(0.0524, abs=5e-5)
    assert _difference((10, 10), (0, 10), 0.95) < _difference((100, 100), (0, 100), 0.95) < 1
