"""What automatic tuning tries: where a network is cut, how far down it is tuned, and which trial is taken."""

from types import SimpleNamespace

import numpy as np
import pytest

from headstart.choose import Candidate
from headstart.errors import RecipeError
from headstart.trials import Trial, boundary_of, chosen, lowest, middle, near_source, worth_keeping

ENDS = ["block5", "block4", "block3"]


@pytest.mark.parametrize(
    ("how", "found"),
    [("full", (None, 4)), ("blocks=1", ("block5", 1)), ("blocks=3", ("block3", 3)), ("blocks=4", (None, 4)),
     ("blocks=99", (None, 4)), ("block5", ("block5", 1)), ("block3", ("block3", 3))],
)  # fmt: skip
def test_how_far_down_is_a_boundary_and_a_number_of_blocks(how, found):
    assert boundary_of(how, ENDS) == found


def test_a_boundary_that_there_is_not_is_named_with_those_that_look_like_it():
    with pytest.raises(RecipeError, match=r"block3, block4, block5\. Did you mean .*block4"):
        boundary_of("blok4", ENDS)
    with pytest.raises(RecipeError, match="there are none"):
        boundary_of("anything", [])


def test_the_lowest_boundary_is_one_that_is_worth_keeping_and_the_middle_one_is_higher():
    ends = [{"layer": name, "kept": name != "block3"} for name in ENDS]
    assert lowest(ends) == ("block4", 2)
    assert lowest([{"layer": "a", "kept": False}]) == (None, 2)
    assert lowest([]) == (None, 1)
    many = [{"layer": f"b{number}", "kept": True} for number in range(9)]
    assert middle(many, ("b8", 9)) == ("b2", 3)
    assert middle(many, ("b0", 1)) is None
    assert worth_keeping("block3", 3, ends) == (None, 4)
    assert worth_keeping("block4", 2, ends) == ("block4", 2)


def trial(blocks, losses, norm="frozen"):
    losses = np.asarray(losses, float)
    return Trial(f"b{blocks}", blocks, "cut, avg", norm, (0.5, 1.0), 0.5, float(losses.mean()), 0.1, 1.0, losses)


def test_the_trial_of_fewer_blocks_is_taken_where_the_pictures_cannot_tell():
    noise = np.random.default_rng(0).standard_normal(100)
    deep, high = trial(9, 0.5 + 0 * noise), trial(3, 0.501 + 0.1 * noise - 0.1 * noise.mean())
    frozen = np.ones(100)
    assert chosen([deep, high], frozen) is high
    worse = trial(3, 0.6 + 0.1 * noise)
    assert chosen([deep, worse], frozen) is deep
    assert chosen([worse], frozen) is worse
    assert chosen([trial(9, deep.losses), trial(9, deep.losses - 0.001)], frozen).loss == pytest.approx(0.499)


def test_a_trial_that_gains_goes_before_one_of_fewer_blocks_that_does_not():
    noise = np.random.default_rng(0).standard_normal(100)
    frozen, deep = 0.5 + 0 * noise, trial(9, 0.49 + 0.01 * noise - 0.01 * noise.mean())
    high = trial(3, 0.51 + 0.5 * noise - 0.5 * noise.mean())
    assert chosen([deep, high], frozen) is deep
    assert chosen([deep, high], frozen - 0.1) is high  # neither gains, and the pictures cannot tell them apart


# ---- near or far ----------------------------------------------------------------------------------------------------

LAYERS = [f"layer{number}" for number in range(8)]


def candidate(layer, right, pooling="avg"):
    right = np.asarray(right, bool)
    outputs = (SimpleNamespace(layer=layer, pooling=pooling, dimensions=4),)
    return Candidate(outputs, float(right.mean()) if len(right) else np.nan, 0.0, 1.0, right, 1.0 - right)


def outputs_of(layers):
    return [SimpleNamespace(layer=layer, pooling="avg") for layer in layers]


def right_of(share, count=400, turned=0):
    """So many of `count` pictures right, the wrong ones not always the same."""
    return np.roll(np.arange(count) < round(share * count), turned)


@pytest.mark.parametrize(
    ("middle_share", "top_share", "near"),
    [(0.75, 0.87, True), (0.80, 0.98, True), (0.75, 0.75, False), (0.80, 0.60, False), (0.70, 0.72, None)],
)
def test_pictures_are_near_where_the_top_of_the_network_knows_more_than_its_middle(middle_share, top_share, near):
    scored = [candidate("layer4", right_of(middle_share, turned=40)), candidate("layer7", right_of(top_share)),
              candidate("layer0", right_of(0.1)), candidate("layer7", right_of(0.05), "max")]  # fmt: skip
    assert near_source(scored, outputs_of(LAYERS)) is near
    assert near_source(scored[::-1], outputs_of(LAYERS)) is near


def test_nothing_is_said_of_a_few_pictures_or_a_few_cuts_or_where_none_was_scored():
    few = [candidate("layer4", right_of(0.6, 10, 3)), candidate("layer7", right_of(0.8, 10))]
    assert near_source(few, outputs_of(LAYERS)) is None
    many = [candidate("layer4", right_of(0.5)), candidate("layer7", right_of(0.9))]
    assert near_source(many, outputs_of(LAYERS)) is True
    assert near_source(many, outputs_of(["layer4", "layer5", "layer7"])) is None
    assert near_source(many[:1], outputs_of(LAYERS)) is None
    assert near_source([candidate("layer4", []), candidate("layer7", [])], outputs_of(LAYERS)) is None


def test_scores_on_different_pictures_are_compared_with_the_noise_of_both():
    screened, finalist = candidate("layer4", right_of(0.75, 1000)), candidate("layer7", right_of(0.87, 3000))
    assert near_source([screened, finalist], outputs_of(LAYERS)) is True
    assert near_source([screened, candidate("layer7", right_of(0.77, 3000))], outputs_of(LAYERS)) is None
