"""What features add: wrong labels, and what a network says of twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from headstart import second_look
from headstart.dataset import Dataset
from headstart.heads import Head
from headstart.looks import Looks
from headstart.trunk import Output

FLAT = Output("block", "flatten", (5, 5, 200), 5000, "f")
POOLED = Output("top", "avg", (5, 5, 8), 8, "p")


@dataclass(frozen=True)
class Numbers:
    """Features as the audit reads them, from an array."""

    dataset: Dataset
    table: dict[str, np.ndarray]
    bad: dict[int, str]

    def matrix(self, rows: np.ndarray, outputs: Sequence[Output]) -> np.ndarray:
        assert not set(map(int, rows)) & set(self.bad)
        return np.concatenate([self.table[each.fingerprint][rows] for each in outputs], axis=1).astype(np.float16)


@pytest.fixture
def numbers() -> Any:
    """Two classes of 60, well apart, but rows 0 and 70 lie among the others; rows 5 and 66 cannot be read."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    truth = labels.copy()
    truth[[0, 70]] = 1 - truth[[0, 70]]
    pooled = rng.normal(size=(120, 8)) * 0.4 + np.where(truth[:, None] == 1, 1.0, -1.0)
    spread = rng.normal(size=(120, 25, 1)) * 3
    flat = (np.repeat(pooled[:, None, :], 25, axis=1) + spread - spread.mean(axis=1, keepdims=True)).repeat(25, axis=2)
    dataset = Dataset(
        None, tuple(f"{row:03d}.jpg" for row in range(120)), labels, ("a", "b"),
        tuple("ab"[label] for label in labels), np.array(["train"] * 120),
        digests=tuple(bytes([row]) * 32 for row in range(120)),
    )  # fmt: skip
    return Numbers(dataset, {"p": pooled, "f": flat.reshape(120, 5000)}, {5: "bad", 66: "bad"})


def looks_of(count: int) -> Looks:
    sides = np.full(count, 320) + np.arange(count) % 7
    small = np.tile(np.linspace(0, 250, 256).reshape(16, 16).astype(np.uint8), (count, 1, 1))
    same = np.full(count, 90.0)
    return Looks(small, sides, sides, np.ones(count, int), same, same, same, {})


@pytest.mark.parametrize("output", [POOLED, FLAT])
def test_labels_that_the_features_contradict(numbers: Any, output: Output) -> None:
    rows = second_look.rows_with_labels(numbers.dataset, numbers.bad)
    assert len(rows) == 118
    assert second_look._matrix(numbers, rows, [output]).shape == (118, output.shape[-1])
    found = second_look.labels(numbers, rows, np.arange(118) % 5, outputs=[output])
    assert {each.files for each in found} == {("000.jpg",), ("070.jpg",)}
    assert all(each.kind == "suspect_label" for each in found)
    (first,) = (each for each in found if each.files == ("000.jpg",))
    assert first.note.startswith("Labelled a, it looks like b: ")
    assert first.note.endswith("agrees with 98% of the labels.")


def test_the_heads_own_probabilities_are_taken_where_it_has_them(numbers: Any) -> None:
    rows, folds = np.arange(6, 66), np.arange(60) % 5
    given = numbers.dataset.labels[rows]
    numbers = replace(numbers, dataset=replace(numbers.dataset, labels=np.roll(numbers.dataset.labels, 30)))
    given = numbers.dataset.labels[rows]
    own = np.where(np.arange(2) == given[:, None], 0.98, 0.02)
    own[7] = own[7, ::-1]
    own[8] = [0.5, 0.5]
    head = Head("dense", (), out_of_fold=own)
    found = second_look.labels(numbers, rows, folds, outputs=[POOLED], head=head)
    assert [each.files[0] for each in found] == [numbers.dataset.files[rows[7]]]
    short = replace(head, out_of_fold=own[:10])  # of other rows: a probe answers
    probed = second_look.labels(numbers, rows, folds, outputs=[POOLED], head=short)
    assert probed == second_look.labels(numbers, rows, folds, outputs=[POOLED])


def test_a_large_set_chooses_the_strength_on_some_and_judges_all(numbers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_look, "_CHOOSE_FROM", 60)
    fitted: list[tuple[int, int]] = []
    fit = second_look.linear.cross_validate

    def counted(features: np.ndarray, *arguments: Any, **options: Any) -> Any:
        fitted.append((len(features), len(options.get("strengths", (0, 0)))))
        return fit(features, *arguments, **options)

    monkeypatch.setattr(second_look.linear, "cross_validate", counted)
    rows = second_look.rows_with_labels(numbers.dataset, numbers.bad)
    found = second_look.labels(numbers, rows, np.arange(118) % 5, outputs=[POOLED])
    assert fitted == [(60, 2), (118, 1)]
    assert {each.files for each in found} == {("000.jpg",), ("070.jpg",)}


def test_too_few_pictures_are_not_judged(numbers: Any) -> None:
    rows = np.arange(50, 75)
    assert not second_look.judgeable(numbers.dataset.labels[rows])
    assert second_look.labels(numbers, rows, np.arange(25) % 5, outputs=[POOLED]) == ()
    assert second_look.judgeable(numbers.dataset.labels)
    assert not second_look.judgeable(np.zeros(100, int))
    assert not second_look.judgeable(np.zeros(0, int))


def test_agreement_is_that_of_the_least_alike(numbers: Any) -> None:
    table = numbers.table["p"] + 6
    table[11] = 1.01 * table[10]
    table[13] = table[12] - 2 * (table[12] - np.delete(table, [5, 66], axis=0).mean(axis=0))
    names = {10: "x", 11: "x", 12: "y", 13: "y", 20: "alone", 5: "lost", 6: "lost"}
    dataset = replace(numbers.dataset, alike=tuple(names.get(row, "") for row in range(120)))
    seen = second_look.agreement(replace(numbers, dataset=dataset, table={"p": table}), [POOLED])
    assert set(seen) == {"x", "y"}
    assert seen["x"] > 0.99
    assert seen["y"] < -0.9
    assert second_look.agreement(numbers, [POOLED]) == {}


def test_all_findings_together(numbers: Any) -> None:
    dataset = replace(numbers.dataset, alike=tuple("x" if row in (10, 11) else "" for row in range(120)))
    numbers = replace(numbers, dataset=dataset)
    rows = second_look.rows_with_labels(dataset, numbers.bad)
    found = second_look.findings(numbers, rows, np.arange(118) % 5, looks=looks_of(120), outputs=[POOLED])
    kinds = [each.kind for each in found]
    assert kinds == ["unreadable", "unreadable", "near_duplicate", "suspect_label", "suspect_label"]
    assert "The network" in found[2].note


def test_labels_of_a_class_that_lies_in_one_fold_are_not_judged(numbers: Any) -> None:
    rows = np.array([row for row in range(120) if row not in numbers.bad])
    given = numbers.dataset.labels[rows]
    folds = np.where(given == 1, 4, np.arange(len(rows)) % 4)
    assert second_look.labels(numbers, rows, folds, outputs=[POOLED]) == ()
