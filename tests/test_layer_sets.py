"""Which layers, pooled how, are compared."""

import pytest

from headstart.layer_sets import LayerSet, all_layers, lower_layers, single_layers
from headstart.trunk import Output


def outputs(*layers: str, poolings: tuple[str, ...] = ("avg", "max")) -> list[Output]:
    return [Output(layer, pooling, (1, 1, 4), 4, f"{layer} {pooling}") for layer in layers for pooling in poolings]


def told(sets: list[LayerSet]) -> list[tuple[str, str]]:
    """Layers and poolings of each set."""
    return [("+".join(each.layers), "+".join(dict.fromkeys(o.pooling for o in each.outputs))) for each in sets]


def test_every_layer_comes_under_each_pooling_and_under_both():
    assert told(single_layers(outputs("low", "top"), None)) == [
        ("low", "avg"), ("low", "max"), ("low", "avg+max"), ("top", "avg"), ("top", "max"), ("top", "avg+max"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pooling", "poolings", "wanted"),
    [("avg", ("avg",), "avg"), ("avg+max", ("avg", "max"), "avg+max"), ("flatten", ("flatten",), "flatten")],
)
def test_a_pooling_that_is_asked_for_is_kept_to(pooling, poolings, wanted):
    some = outputs("low", "middle", "top", poolings=poolings)
    assert told(single_layers(some, pooling)) == [(layer, wanted) for layer in ("low", "middle", "top")]
    assert set(told(all_layers(some, pooling))) == {("low+middle+top", wanted)}


def test_all_layers_stand_side_by_side_under_each_pooling_and_scaling():
    found = all_layers(outputs("low", "top"), None)
    assert {(*names, each.scaling) for names, each in zip(told(found), found, strict=True)} == {
        ("low+top", pooling, scaling)
        for pooling in ("avg", "max", "avg+max") for scaling in ("features", "layers")
    }  # fmt: skip
    for (_, pooling), each in zip(told(found), found, strict=True):
        assert len(each.outputs) == (4 if pooling == "avg+max" else 2)
    assert len(set(found)) == len(found) == 6


def test_one_layer_is_not_side_by_side_with_itself():
    assert all_layers(outputs("top"), None) == []
    assert all_layers(outputs("top"), "avg+max") == []


@pytest.mark.parametrize(("count", "wanted"), [(2, set()), (3, {2}), (4, {2, 3}), (8, {4, 6}), (16, {8, 12})])
def test_the_lower_half_and_three_quarters_are_compared_as_well(count, wanted):
    layers = [f"layer{number}" for number in range(count)]
    whole = all_layers(outputs(*layers), None)[-1]
    found = lower_layers(whole)
    assert {len(each.layers) for each in found} == wanted
    for each in found:
        assert list(each.layers) == layers[: len(each.layers)], "from the pixels on: what is deeper is not needed"
        assert each.scaling == whole.scaling
        assert {output.pooling for output in each.outputs} == {"avg", "max"}
