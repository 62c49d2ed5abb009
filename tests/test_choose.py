"""Which layers and which head: the choice on features whose worth is known."""

import dataclasses

import numpy as np
import pytest

from headstart import choose, heads
from headstart.choose import choose_cut
from headstart.heads import HeadData
from headstart.layer_sets import single_layers
from headstart.trunk import Output

ROWS = np.arange(240)
LABELS = ROWS % 3
FOLDS = ROWS // 3 % 5


# ---- the choice ---------------------------------------------------------------------------------------------------


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
    return np.random.default_rng(seed).normal(size=(240, dimensions))


def signal(dimensions: int, seed: int, *, spread: float = 0.5, labels: np.ndarray = LABELS) -> np.ndarray:
    return np.random.default_rng(99).normal(size=(3, dimensions))[labels] + spread * noise(dimensions, seed)


def pick(features: Stub, rows: np.ndarray = ROWS, **options: object) -> choose.Choice:
    return choose_cut(features, rows, LABELS[rows], folds=FOLDS[rows], **options)


def test_the_informative_cut_is_chosen():
    features = Stub({("low", "avg"): noise(8, 0), ("middle", "avg"): signal(8, 1), ("top", "avg"): noise(8, 2)})
    choice = pick(features)
    assert "middle" in choice.chosen.layers
    assert all(c.layers != ("low",) and c.layers != ("top",) for c in choice.candidates if c.finalist)
    single = [c for c in choice.candidates if len(c.layers) == 1 and c.head == "ridge"]
    assert [c.loss for c in single] == sorted(c.loss for c in single)
    assert single[0].accuracy > single[1].accuracy + 0.3
    assert choice.pictures == 240
    assert choice.why.startswith("it averages ")
    assert all(c.low < c.accuracy < c.high or c.accuracy == 1 for c in choice.candidates)


def finalist(name: str, losses: np.ndarray) -> choose.Candidate:
    """A candidate of known losses; `name` has `+` between layers."""
    outputs = tuple(Output(layer, "avg", (1, 1, 4), 4, f"{layer} avg") for layer in name.split("+"))
    return choose.Candidate(outputs, 0.8, 0.7, 0.9, losses < 1, losses, finalist=True)


def behind(losses: np.ndarray, errors: float) -> np.ndarray:
    """Losses that lie above others by so many standard errors of the paired difference."""
    step = np.where(np.arange(len(losses)) % 2 == 0, 0.2, -0.2)
    return losses + step + errors * step.std() / np.sqrt(len(losses))


EVEN = np.full(400, 0.3)
COSTS = {"early": 4.0, "deep": 10.0}


def by_layer(outputs: tuple[Output, ...]) -> float:
    return max(COSTS[output.layer] for output in outputs)


@pytest.mark.parametrize(
    ("errors", "prefer", "taken"),
    [
        (0.2, "accurate", "deep"), (0.2, "auto", "early"), (0.2, "small", "early"),
        (0.8, "accurate", "deep"), (0.8, "auto", "deep"), (0.8, "small", "early"),
        (1.3, "accurate", "deep"), (1.3, "auto", "deep"), (1.3, "small", "deep"),
    ],
)  # fmt: skip
def test_what_is_preferred_says_how_much_loss_a_cheaper_one_may_have_more(errors, prefer, taken):
    finalists = [finalist("early", behind(EVEN, errors)), finalist("deep", EVEN)]
    chosen, why = choose.pick(finalists, prefer=prefer, cost=by_layer)
    assert chosen.layer == taken
    assert ("costs 40% of that at prediction" in why) == (taken == "early")
    assert why.startswith("it had the least loss out of fold of 2 finalists") == (taken == "deep")


def test_more_than_one_layer_need_not_win_by_more_than_noise():
    """Up to the same layer several cost what one costs: the least loss decides, however little it is less."""
    finalists = [finalist("deep", behind(EVEN, 0.1)), finalist("early+deep", EVEN)]
    chosen, _ = choose.pick(finalists, prefer="auto", cost=lambda _: pytest.fail("what costs the same is not measured"))
    assert chosen.layer == "early+deep"
    chosen, _ = choose.pick(
        [finalist("deep", EVEN), finalist("early+deep", behind(EVEN, 0.1))], prefer="auto", cost=by_layer
    )
    assert chosen.layer == "deep"


def test_few_pictures_are_no_reason_to_take_a_smaller_one():
    """Ten pictures can hardly tell anything apart, and what had more loss is not taken for that."""
    few = np.full(10, 0.3)
    finalists = [finalist("early", behind(few, 0.5)), finalist("deep", few)]
    assert choose.pick(finalists, prefer="auto", cost=by_layer)[0].layer == "deep"


def test_a_clock_is_no_more_exact_than_a_tenth():
    finalists = [finalist("early", behind(EVEN, 0.1)), finalist("deep", EVEN)]
    for share, taken in ((0.95, "deep"), (0.85, "early")):
        cost = {"early": share, "deep": 1.0}
        chosen, _ = choose.pick(finalists, prefer="auto", cost=lambda some, cost=cost: cost[some[-1].layer])
        assert chosen.layer == taken


def test_the_cheapest_of_level_ones_is_taken_and_of_those_the_one_of_least_loss():
    finalists = [
        finalist("deep", EVEN), finalist("early", behind(EVEN, 0.2)), finalist("early", behind(EVEN, 0.1)),
        finalist("early+deep", behind(EVEN, 0.05)),
    ]  # fmt: skip
    assert choose.pick(finalists, prefer="auto", cost=by_layer)[0] is finalists[2]


def test_one_network_may_be_taken_in_place_of_two_side_by_side():
    """Both end at the same layer, and yet one of them runs a second network."""
    finalists = [finalist("b-top", behind(EVEN, 0.1)), finalist("a-top+b-top", EVEN)]
    chosen, why = choose.pick(finalists, prefer="auto", cost=lambda outputs: float(len(outputs)))
    assert chosen.layer == "b-top"
    assert "costs 50% of that" in why


def test_what_prediction_costs_is_measured_where_two_are_level():
    early = signal(8, 1, spread=2)
    features = Stub({("early", "avg"): early, ("deep", "avg"): np.c_[early, np.ones((240, 4))]})
    asked = []

    def cost(outputs):
        asked.append({output.layer for output in outputs})
        return by_layer(outputs)

    assert pick(features, prefer="small", cost=cost).chosen.layer == "early"
    assert {"early"} in asked
    assert any("deep" in each for each in asked)
    accurate = pick(features, prefer="accurate", cost=cost)
    assert accurate.chosen.loss == pytest.approx(min(c.loss for c in accurate.candidates if c.finalist), abs=3e-4)


def test_what_is_clearly_better_is_worth_its_cost():
    features = Stub({("early", "avg"): signal(8, 1, spread=3), ("deep", "avg"): signal(8, 2, spread=1)})
    for prefer in ("auto", "accurate", "small"):
        assert "deep" in pick(features, prefer=prefer).chosen.layers


@pytest.mark.parametrize("seed", range(4))
def test_all_layers_side_by_side_are_always_a_candidate(seed):
    features = Stub({(f"layer{number}", "avg"): noise(4, 10 * seed + number) for number in range(3)})
    names = {c.layers: c for c in pick(features).candidates}
    assert ("layer0", "layer1", "layer2") in names
    assert {("layer0",), ("layer1",), ("layer2",)} <= set(names)


def test_layers_that_each_know_a_part_are_taken_side_by_side():
    """Nothing of it costs more at prediction, so it need not win by more than noise."""
    halves = LABELS // 2, LABELS % 2
    features = Stub({
        ("low", "avg"): np.c_[halves[0], halves[0]] + 0.6 * noise(2, 1),
        ("top", "avg"): np.c_[halves[1], halves[1]] + 0.6 * noise(2, 2),
    })  # fmt: skip
    choice = pick(features)
    assert choice.chosen.layers == ("low", "top")
    assert {c.scaling for c in choice.candidates if len(c.layers) == 2} == {"features", "layers"}


def test_heads_compete_and_the_chosen_one_is_handed_on():
    features = Stub({("low", "avg"): noise(8, 0), ("top", "avg"): signal(8, 1, spread=2)})
    choice = pick(features)
    assert {c.head for c in choice.candidates} == {"ridge", "linear", "blend"}
    assert choice.validated.head == choice.chosen.head
    assert len(choice.validated.out_of_fold) == 240
    assert {c.head for c in pick(features, head="linear").candidates if c.finalist} == {"linear"}


def test_what_cannot_be_told_apart_is_averaged_and_the_average_is_a_candidate():
    """Each layer has noise of its own, so their average is better than any of them, and has what all of them need."""
    features = Stub({(name, "avg"): signal(8, at, spread=2.5) for at, name in enumerate(("low", "middle", "top"))})
    choice = pick(features, prefer="accurate")
    (average,) = [c for c in choice.candidates if c.averaged]
    assert average is choice.chosen
    assert average.layers == ("low", "middle", "top")
    assert average.loss < min(c.loss for c in choice.candidates if len(c.layers) == 1)
    assert choice.why.startswith(f"it averages {len(average.members)} of ")
    assert len(average.members) == len(choice.validated.members) > 2


@pytest.mark.parametrize(("flattery", "taken"), [(0.0, "early"), (0.05, "early+deep")])
def test_a_cheaper_one_is_taken_where_it_is_level_with_the_average_without_its_luck(flattery, taken):
    """It was picked and the average was not, so what having been picked flatters it by is taken off first."""
    average = dataclasses.replace(finalist("early+deep", EVEN), head="blend", members=("a", "b"))
    finalists = [average, finalist("early", behind(EVEN, 0.1)), finalist("deep", behind(EVEN, 3))]
    chosen, why = choose.pick(finalists, prefer="auto", cost=by_layer, flattery=flattery)
    assert chosen.layer == taken
    assert ("it is level with the average of all finalists" in why) == (taken == "early")


def test_what_seems_better_than_the_average_and_costs_as_much_is_not_taken():
    average = dataclasses.replace(finalist("early+deep", behind(EVEN, 0.2)), head="blend", members=("a", "b"))
    chosen, why = choose.pick([finalist("deep", EVEN), average], prefer="auto", cost=by_layer)
    assert chosen is average
    assert why.startswith("it averages 2 of ")


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_head_is_the_same_finished_or_fitted_by_what_it_is_told(seed):
    """Its cross-validation is of its own outputs, whichever of them each member was given."""
    poolings = ("avg", "max")
    features = Stub({
        (name, pooling): signal(5 + at, 10 * seed + 2 * at + poolings.index(pooling), spread=2.5)
        for at, name in enumerate(("low", "middle", "top")) for pooling in poolings
    })  # fmt: skip
    choice = pick(features)
    outputs = choice.chosen.outputs
    data = HeadData(
        features.matrix(ROWS, outputs), LABELS, 3, FOLDS, parts=tuple(output.dimensions for output in outputs)
    )
    module = heads.find(choice.chosen.head)
    head = module.fit(dataclasses.replace(data, validated=choice.validated))
    again = module.fit(data, options=head.options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=1e-3)
    assert heads.log_loss(head.out_of_fold, LABELS) == pytest.approx(choice.chosen.loss, abs=1e-4)
    assert heads.log_loss(again.out_of_fold, LABELS) == pytest.approx(choice.chosen.loss, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_layers_stand_in_their_own_order_and_all_are_pooled_alike(seed):
    """A recipe names layers and one pooling for all of them: whatever is chosen has to follow from that."""
    features = Stub({
        (name, pooling): signal(4, 7 * seed + at, spread=2.5 if (name, pooling) != ("top", "avg") else 9)
        for at, (name, pooling) in enumerate((n, p) for n in ("low", "middle", "top") for p in ("avg", "max"))
    })  # fmt: skip
    for candidate in pick(features).candidates:
        poolings = set(candidate.pooling.split("+"))
        assert candidate.outputs == tuple(
            output for output in features.outputs if output.layer in candidate.layers and output.pooling in poolings
        )


def test_what_a_choice_among_noise_is_worth_is_not_what_it_seems():
    features = Stub({(f"layer{number}", "avg"): noise(3, number) for number in range(12)})
    found = pick(features)
    assert found.estimate.candidates > 12
    assert found.estimate.accuracy < found.chosen.accuracy
    assert abs(found.estimate.accuracy - 1 / 3) < 0.08


def test_of_equals_of_one_size_one_is_chosen_the_same_way_every_time():
    block = signal(8, 1)
    features = Stub({("early", "avg"): block, ("late", "avg"): block})
    one, other = pick(features), pick(features)
    assert one.chosen.outputs == other.chosen.outputs
    np.testing.assert_array_equal(one.chosen.losses, other.chosen.losses)
    assert [c.layer for c in one.candidates] == [c.layer for c in other.candidates]


def test_a_small_but_clearly_worse_cut_is_not_chosen():
    features = Stub({("small", "avg"): signal(2, 1, spread=3), ("large", "avg"): signal(60, 2)})
    assert pick(features).chosen.layer == "large"


def test_both_poolings_together_are_a_candidate():
    halves = LABELS // 2, LABELS % 2  # each block can tell apart only half of what there is to tell
    features = Stub({
        ("top", "avg"): np.c_[halves[0], halves[0]] + 0.1 * noise(2, 1),
        ("top", "max"): np.c_[halves[1], halves[1]] + 0.1 * noise(2, 2),
    })  # fmt: skip
    choice = pick(features)
    assert {c.pooling for c in choice.candidates} == {"avg", "avg+max", "max"}
    assert {c.pooling for c in choice.candidates if not c.finalist} <= {"avg", "max"}, "two know more than one"
    assert choice.chosen.pooling == "avg+max"
    assert [output.pooling for output in choice.chosen.outputs] == ["avg", "max"]
    assert choice.chosen.dimensions == 4


def test_a_pooling_that_was_asked_for_is_kept_to():
    columns = {(layer, pooling): signal(4, 1) for layer in ("low", "top") for pooling in ("avg", "max")}
    assert {c.pooling for c in pick(Stub(columns), pooling="avg+max").candidates} == {"avg+max"}
    only_avg = {key: block for key, block in columns.items() if key[1] == "avg"}
    assert {c.pooling for c in pick(Stub(only_avg), pooling="avg").candidates} == {"avg"}


def test_a_single_candidate_is_not_scored():
    features = Stub({("top", "flatten"): signal(4, 1)})
    features.matrix = None  # not asked for
    choice = pick(features, pooling="flatten")
    assert (choice.chosen.layer, choice.pictures, choice.why) == ("top", 0, "it was the only one asked for")
    assert np.isnan(choice.chosen.accuracy)
    assert choice.candidates == (choice.chosen,)


def test_many_pictures_are_sampled_by_the_seed(monkeypatch):
    monkeypatch.setattr(choose, "SCREEN", 60)
    monkeypatch.setattr(choose, "SAMPLE", 120)
    features = Stub({("low", "avg"): signal(4, 1, spread=3), ("top", "avg"): signal(4, 2, spread=1.5)})
    asked = []
    matrix = features.matrix
    features.matrix = lambda rows, outputs=None: (asked.append(len(rows)), matrix(rows, outputs))[1]
    one, same, other = pick(features), pick(features), pick(features, seed=1)
    assert one.pictures == 120
    assert max(asked) == 120
    assert [c.loss for c in one.candidates] == [c.loss for c in same.candidates]
    assert not np.array_equal(one.candidates[0].losses, other.candidates[0].losses)
    assert "top" in one.chosen.layers
    assert one.validated.count == len(one.validated.rows) == 120, "it is not the cross-validation of all"
    whole = HeadData(features.matrix(ROWS, one.chosen.outputs), LABELS, 3, FOLDS, validated=one.validated,
                     parts=tuple(output.dimensions for output in one.chosen.outputs))  # fmt: skip
    head = heads.find("auto").fit(whole)
    assert head.name == one.chosen.head, "what was chosen on a sample is what is fitted on everything"
    assert len(head.out_of_fold) == 240
    assert head.options.keys() == one.validated.options.keys() - {"strength"}


def test_progress_counts_the_candidates():
    told = []
    columns = {("low", "avg"): signal(4, 1), ("top", "avg"): signal(4, 2), ("top", "max"): signal(4, 3)}
    pick(Stub(columns), progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    done, total = told[-1]
    assert done == total
    assert {each for _, each in told} == {total}


def test_pictures_that_nobody_could_name_count_for_no_figure():
    labels = LABELS.copy()
    labels[:3] = 3  # a class that is in one fold alone
    features = Stub({("top", "avg"): signal(8, 1, spread=0.1)})
    (found,) = choose.screen(
        features, ROWS, labels, FOLDS, sets=single_layers(features.outputs, None), run=map, neighbours=True,
        several=False,
    )  # fmt: skip
    assert len(found.right) == 237
    assert found.accuracy == found.neighbours == 1.0


def test_rows_and_labels_go_together():
    rows = np.random.default_rng(0).permutation(240)[:150]
    features = Stub({("low", "avg"): noise(8, 0), ("top", "avg"): signal(8, 1)})
    choice = pick(features, rows)
    assert "top" in choice.chosen.layers
    assert choice.chosen.accuracy > 0.95


def test_a_candidate_is_frozen():
    choice = pick(Stub({("top", "avg"): signal(4, 1), ("low", "avg"): noise(4, 1)}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.chosen.accuracy = 1.0
