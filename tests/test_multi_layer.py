"""Cuts side by side: which layers are selected on features whose worth is known, and when one is enough."""

import numpy as np

from headstart import multi_layer
from headstart.choose import choose_cut
from headstart.multi_layer import MOST_LAYERS, PICTURES, select
from headstart.trunk import Output

LABELS = np.arange(240) % 4
FOLDS = np.arange(240) // 4 % 5


def output(layer: str, dimensions: int, pooling: str = "avg") -> Output:
    return Output(layer, pooling, (1, 1, dimensions), dimensions, f"{layer} {pooling}")


def noise(dimensions: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(240, dimensions))


def halves() -> dict[tuple[Output, ...], np.ndarray]:
    """`low` tells the first bit of the class, `middle` nothing, `top` the second bit."""
    bits = LABELS // 2, LABELS % 2
    return {
        (output("low", 6),): noise(6, 0) * 0.8 + 2.0 * bits[0][:, None],
        (output("middle", 6),): noise(6, 1),
        (output("top", 6),): noise(6, 2) * 0.8 + 2.0 * bits[1][:, None],
    }


def layers(group) -> list[str] | None:
    return None if group is None else [each.layer for each in group]


def test_layers_that_know_different_things_are_joined_in_their_own_order():
    parts = halves()
    groups = list(parts)
    assert layers(select(parts, LABELS, FOLDS, first=groups[2])) == ["low", "top"]
    assert layers(select(parts, LABELS, FOLDS, first=groups[0])) == ["low", "top"]


def test_one_layer_is_enough_where_it_knows_all():
    parts = {(output(name, 6),): noise(6, at) for at, name in enumerate(("low", "middle", "top"))}
    whole = (output("whole", 6),)
    parts[whole] = noise(6, 3) * 0.3 + np.random.default_rng(9).normal(size=(4, 6))[LABELS] * 3
    assert select(parts, LABELS, FOLDS, first=whole) is None
    assert select({whole: parts[whole]}, LABELS, FOLDS, first=whole) is None


def test_no_more_layers_than_there_may_be():
    bits = [(label == LABELS).astype(float) for label in range(4)]
    parts = {(output(f"cut{at}", 2),): noise(2, at) * 0.9 + bits[at % 4][:, None] for at in range(MOST_LAYERS + 6)}
    found = select(parts, LABELS, FOLDS, first=next(iter(parts)))
    assert found is not None
    assert len(found) == MOST_LAYERS


def test_a_part_of_the_pictures_is_looked_at(monkeypatch):
    seen = []
    kernel = multi_layer._kernel
    monkeypatch.setattr(multi_layer, "_kernel", lambda block: (seen.append(len(block)), kernel(block))[1])
    monkeypatch.setattr(multi_layer, "PICTURES", 100)
    assert PICTURES > 100
    select(halves(), LABELS, FOLDS, first=next(iter(halves())))
    assert set(seen) == {100}


def test_the_part_has_its_share_of_every_class_though_rows_come_class_by_class(monkeypatch):
    """The first classes alone are told apart by the second bit, so they would not ask for the layer of the first."""
    monkeypatch.setattr(multi_layer, "PICTURES", 120)
    by_class = np.argsort(LABELS, kind="stable")
    parts = {group: block[by_class] for group, block in halves().items()}
    assert layers(select(parts, LABELS[by_class], FOLDS[by_class], first=list(parts)[2])) == ["low", "top"]


# ---- as a choice ----------------------------------------------------------------------------------------------------


class Stub:
    """Features with known columns in place of a trunk's."""

    def __init__(self, parts: dict[tuple[Output, ...], np.ndarray]) -> None:
        self.outputs = tuple(each for group in parts for each in group)
        self.blocks = {group[0]: block for group, block in parts.items()}

    def matrix(self, rows, outputs=None):
        return np.concatenate([self.blocks[each][rows] for each in outputs or self.outputs], axis=1).astype(np.float16)


def pick(features: Stub, **options):
    return choose_cut(features, np.arange(240), LABELS, folds=FOLDS, **options)


def test_a_choice_of_several_layers_is_named_by_them():
    choice = pick(Stub(halves()))
    by_layer = {candidate.layer: candidate for candidate in choice.candidates}
    assert {"low+top", "low+middle+top"} <= set(by_layer), "what is selected, and all of them whatever is selected"
    several = by_layer["low+top"]
    assert (several.layers, several.pooling, several.dimensions) == (("low", "top"), "avg", 12)
    assert {"low", "top"} <= set(choice.chosen.layers)
    assert choice.why.startswith("it averages ")
    single = max(c.accuracy for c in choice.candidates if len(c.layers) == 1)
    assert choice.chosen.accuracy > single + 0.3


def test_layers_that_were_asked_for_together_are_one_candidate():
    choice = pick(Stub(halves()), joined=True, pooling="avg")
    assert (choice.chosen.layer, choice.why) == ("low+middle+top", "it was the only one asked for")
    both = {**halves(), (output("low", 6, "max"),): noise(6, 7), (output("middle", 6, "max"),): noise(6, 8)}
    ordered = dict(sorted(both.items(), key=lambda item: item[0][0].layer))
    ordered = {group: block for group, block in ordered.items() if group[0].layer != "top"}
    choice = pick(Stub(ordered), joined=True)
    assert {c.layer for c in choice.candidates} == {"low+middle"}
    assert {c.pooling for c in choice.candidates} == {"avg", "max", "avg+max"}


def test_one_picture_a_class_takes_the_deepest():
    parts = {(output(name, 3),): block for name, block in (("low", noise(3, 0)), ("top", noise(3, 1)))}
    choice = choose_cut(Stub(parts), np.arange(4), np.arange(4), folds=np.arange(4))
    assert choice.chosen.layer == "top"
    assert "one picture a class" in choice.why
    assert np.isnan(choice.chosen.accuracy)
    assert np.isnan(choice.chosen.loss)


def test_a_class_of_one_picture_is_not_counted():
    """Nobody can name it out of fold, whatever the cut; the others are judged as if it were not there."""
    labels = np.r_[LABELS[:40], 4]
    folds = np.r_[FOLDS[:40], 0]
    parts = {(output("low", 6),): noise(6, 0), (output("top", 6),): noise(6, 1) * 0.1 + np.r_[LABELS, []][:, None] * 3}
    features = Stub(parts)
    choice = choose_cut(features, np.arange(41), labels, folds=folds)
    assert "top" in choice.chosen.layers
    assert choice.chosen.accuracy > 0.9
    assert choice.pictures == 40
