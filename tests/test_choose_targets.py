"""Which cut for labels and numbers: the choice on features whose worth is known."""

import numpy as np
import pytest

from headstart.choose import Choice, by_depth
from headstart.choose_targets import choose_cut
from headstart.tasks import labels, numbers
from headstart.trunk import Output

ROWS = np.arange(200)
FOLDS = ROWS % 5


class Stub:
    """Features with known columns in place of a trunk's."""

    def __init__(self, columns: dict[tuple[str, str], np.ndarray]) -> None:
        self.outputs = tuple(
            Output(layer, pooling, (1, 1, block.shape[1]), block.shape[1], f"{layer} {pooling}")
            for (layer, pooling), block in columns.items()
        )
        self.blocks = dict(zip(self.outputs, columns.values(), strict=True))

    def matrix(self, rows, outputs=None):
        picked = [self.blocks[output][rows] for output in outputs or self.outputs]
        return np.concatenate(picked, axis=1).astype(np.float16)


def noise(dimensions: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(200, dimensions))


SEEN = noise(4, 9)
TARGETS = {labels: (SEEN[:, :2] > 0.3).astype(np.float32), numbers: (SEEN[:, :1] * 7 + 20).astype(np.float32)}


def pick(task, features: Stub, **options) -> Choice:
    options.setdefault("cost", by_depth(features.outputs))
    return choose_cut(features, ROWS, TARGETS[task], folds=FOLDS, probe=task._probe, head=task._linear, **options)


@pytest.mark.parametrize("task", [labels, numbers])
def test_the_informative_cut_is_chosen(task):
    told = np.c_[SEEN, noise(4, 1)]
    seen = []
    choice = pick(
        task, Stub({("low", "avg"): noise(8, 0), ("middle", "avg"): told, ("top", "avg"): noise(8, 2)}),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert choice.chosen.layer == "middle"
    assert choice.chosen.finalist
    assert choice.candidates[0] is choice.chosen
    assert choice.chosen.accuracy > 0.85
    assert choice.chosen.low < choice.chosen.accuracy < choice.chosen.high <= 1
    assert choice.pictures == 200
    assert seen[-1] == (4, 4), "each by itself, and all of them side by side"


@pytest.mark.parametrize("task", [labels, numbers])
def test_the_smaller_of_two_that_cannot_be_told_apart_is_chosen(task):
    small = SEEN + 0.5 * noise(4, 3)
    choice = pick(task, Stub({("small", "avg"): small, ("large", "avg"): np.c_[small, 0.01 * noise(30, 4)]}))
    assert choice.chosen.layer == "small"


@pytest.mark.parametrize("task", [labels, numbers])
def test_layers_that_each_know_a_part_are_taken_side_by_side(task):
    parts = {("a", "avg"): SEEN[:, ::2] + 0.3 * noise(2, 5), ("b", "avg"): SEEN[:, 1::2]}
    target = {labels: TARGETS[labels], numbers: (SEEN[:, :1] + SEEN[:, 1:2]).astype(np.float32)}[task]
    choice = choose_cut(
        Stub(parts), ROWS, target, folds=FOLDS, probe=task._probe, head=task._linear, cost=lambda _: 1.0
    )  # fmt: skip
    assert choice.chosen.layers == ("a", "b")
    assert choice.why.startswith("it had the least loss out of fold")


@pytest.mark.parametrize("task", [labels, numbers])
def test_of_level_ones_the_cheaper_at_prediction_is_chosen_unless_accuracy_is_preferred(task):
    early = SEEN + 0.3 * noise(4, 3)
    features = Stub({("early", "avg"): early + 0.001 * noise(4, 7), ("deep", "avg"): early})

    def cost(outputs):
        return 10.0 if "deep" in {output.layer for output in outputs} else 3.0

    cheap = pick(task, features, prefer="small", cost=cost)
    assert cheap.chosen.layer == "early"
    accurate = pick(task, features, prefer="accurate", cost=cost)
    assert accurate.chosen.loss == pytest.approx(min(c.loss for c in accurate.candidates if c.finalist), abs=3e-4)


@pytest.mark.parametrize("task", [labels, numbers])
def test_one_candidate_is_not_compared_and_cuts_may_stand_side_by_side(task):
    alone = pick(task, Stub({("only", "avg"): noise(4, 0)}))
    assert (alone.chosen.layer, alone.pictures) == ("only", 0)
    both = pick(task, Stub({("a", "avg"): SEEN[:, :2], ("b", "avg"): SEEN[:, 2:]}), joined=True)
    assert both.chosen.layers == ("a", "b")


def test_a_cut_that_says_nothing_of_a_number_has_a_score_of_about_nought():
    choice = pick(numbers, Stub({("a", "avg"): noise(8, 0), ("b", "avg"): noise(8, 1)}))
    assert abs(choice.chosen.accuracy) < 0.1
