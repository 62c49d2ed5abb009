"""None of these: strangers are found, own pictures seldom taken for one, and a rule from a hostile file is refused."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import rejection
from headstart.classifier import Classifier, Prediction, unlabelled
from headstart.classifier_file import MEMBER as FACTS
from headstart.errors import ModelFileError
from headstart.features import extract
from headstart.intervals import wilson
from headstart.rejection import MEMBER, Rejection, fit, measured, of_member
from headstart.trunk import Output

DIMENSIONS = 16


def blobs(count: int, seed: int = 0, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features of a few classes, each around a direction of its own."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    return 4 * np.eye(classes, DIMENSIONS)[labels] + random.normal(size=(count, DIMENSIONS)) / 2, labels


def rule_of(count: int = 500, **options: Any) -> Rejection:
    features, labels = blobs(count)
    found = fit(features, labels, np.arange(count), **options)
    assert found is not None
    return found


# ---- the rule


def test_strangers_are_rejected_and_own_pictures_are_not() -> None:
    rule = rule_of()
    own, strange = blobs(2_000, seed=1)[0], 4 * np.eye(1, DIMENSIONS, 9) + blobs(300, seed=2)[0] * 0.3
    assert rule.known(own).mean() > 0.97
    assert rule.known(strange).mean() < 0.03
    assert rule.scores(own).shape == (2_000,)
    assert rule.known(own).dtype == bool
    assert len(rule.known(own[:0])) == 0


def test_the_threshold_is_set_among_the_features_of_a_network_that_had_not_seen_the_pictures() -> None:
    features, labels = blobs(600)
    unseen = np.arange(0, 600, 3)
    shrunk = 4 * np.eye(2, DIMENSIONS)[labels] + (features - 4 * np.eye(2, DIMENSIONS)[labels]) * 0.2
    plain, told = (fit(shrunk, labels, np.arange(600), unseen=unseen, witness=w) for w in (None, features))
    alone = fit(features, labels, np.arange(600), unseen=unseen)
    assert plain is not None
    assert told is not None
    assert alone is not None
    assert told.threshold == alone.threshold > plain.threshold
    assert np.array_equal(told.references, plain.references)  # it is the tuned network's pictures that are compared


@pytest.mark.parametrize("promised", [0.01, 0.05, 0.2])
def test_the_promised_share_of_false_alarms_is_kept(promised: float) -> None:
    shares = []
    for seed in range(8):
        features, labels = blobs(400, seed=seed)
        rule = fit(features, labels, np.arange(400), false_alarm=promised)
        assert rule is not None
        assert rule.false_alarm == promised
        shares.append(1 - rule.known(blobs(2_000, seed=100 + seed)[0]).mean())
    assert promised / 2 < np.mean(shares) < 1.5 * promised, "over training sets, as conformal prediction has it"


def test_few_pictures_promise_what_they_can() -> None:
    rule = rule_of(30)
    assert rule.false_alarm == pytest.approx(1 / 31)
    assert rule.neighbours == 1
    features, labels = blobs(9)
    assert fit(features, labels, np.arange(9)) is None, "nine pictures cannot promise one in ten"
    assert fit(*blobs(10), np.arange(10)) is not None
    assert fit(*blobs(40), np.repeat(np.arange(2), 20)) is not None, "groups are left out, not lost"
    assert fit(*blobs(40), np.zeros(40, int)) is None, "one group cannot be held against another"


def test_copies_vouch_for_no_picture() -> None:
    features, labels = blobs(40)
    copied, group = np.repeat(features, 3, axis=0), np.repeat(np.arange(40), 3)
    apart = fit(copied, np.repeat(labels, 3), group)
    alone = fit(copied, np.repeat(labels, 3), np.arange(120))
    assert apart is not None
    assert alone is not None
    fresh = blobs(1_000, seed=1)[0]
    assert apart.known(fresh).mean() > 0.9
    assert alone.known(fresh).mean() < 0.1, "held against its own copies, nothing new would look known"


def test_what_kind_of_numbers_it_is_given_does_not_matter() -> None:
    features, labels = blobs(200)
    rules = [fit(features.astype(kind), labels, np.arange(200)) for kind in (np.float16, np.float32, np.float64)]
    thresholds = [rule.threshold for rule in rules if rule is not None]
    assert thresholds == pytest.approx([thresholds[0]] * 3, rel=0.01)
    scaled = fit(features * 50, labels, np.arange(200))
    assert scaled is not None
    assert scaled.threshold == pytest.approx(thresholds[2], rel=0.01), "only directions count"


def test_classes_of_few_pictures_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "REFERENCES", 100)
    features, labels = blobs(2_000)
    labels[:] = 0
    rare = np.arange(0, 2_000, 250)
    features[rare] = 4 * np.eye(1, DIMENSIONS, 12) + np.random.default_rng(5).normal(size=(8, DIMENSIONS)) / 8
    labels[rare] = 1
    rule = fit(features, labels, np.arange(2_000))
    assert rule is not None
    assert len(rule.references) == 100
    assert (rule.references[:, 12] > 0.9).sum() == 8
    assert rule.known(4 * np.eye(1, DIMENSIONS, 12)).all()


def test_it_follows_from_its_seed() -> None:
    one, same, other = (rule_of(1_500, seed=seed) for seed in (0, 0, 1))
    assert one.threshold == same.threshold
    assert np.array_equal(one.references, same.references)
    assert not np.array_equal(one.references, other.references)


def test_flattened_features_are_summed_over_places() -> None:
    random = np.random.default_rng(0)
    places = random.normal(size=(60, 2, 3, 5)) + 2
    flat = Output("cut", "flatten", (2, 3, 5), 30, "f")
    pooled = Output("cut", "avg", (2, 3, 5), 5, "a")
    labels, groups = np.zeros(60, int), np.arange(60)
    one = fit(places.reshape(60, 30), labels, groups, outputs=(flat,))
    other = fit(places.mean(axis=(1, 2)), labels, groups, outputs=(pooled,))
    assert one is not None
    assert other is not None
    assert (one.references.shape, one.dimensions, other.dimensions) == ((60, 5), 30, 5)
    assert one.threshold == pytest.approx(other.threshold, rel=1e-3)
    assert one.scores(places.reshape(60, 30)) == pytest.approx(other.scores(places.mean(axis=(1, 2))), abs=1e-3)


def test_parts_count_the_same_whatever_their_scale() -> None:
    features, labels = blobs(300)
    noise = 50 + np.random.default_rng(4).normal(size=(300, DIMENSIONS))
    outputs = tuple(Output(name, "avg", (2, 2, DIMENSIONS), DIMENSIONS, name) for name in "ab")
    rule = fit(np.concatenate([features, noise], axis=1), labels, np.arange(300), outputs=outputs)
    assert rule is not None
    assert rule.parts == ((DIMENSIONS, DIMENSIONS),) * 2
    strange = np.concatenate([4 * np.eye(1, DIMENSIONS, 9), noise[:1]], axis=1)
    assert not rule.known(strange).any(), (
        "the part of large numbers, which all pictures share, does not drown the other"
    )
    assert rule.known(np.concatenate([blobs(100, seed=7)[0], noise[:100]], axis=1)).mean() > 0.9
    assert np.linalg.norm(np.asarray(rule.references, float), axis=1) == pytest.approx(np.ones(300), abs=2e-3)


def test_of_many_layers_the_deepest_decide() -> None:
    def output(layer: str, columns: int, pooling: str = "avg") -> Output:
        return Output(layer, pooling, (1, 1, columns), columns, f"{layer} {pooling}")

    outputs = [output("early", 700), output("middle", 700), output("late", 600), output("late", 600, "max")]
    random = np.random.default_rng(3)
    features, labels = random.normal(size=(200, 2_600)).astype(np.float16), np.arange(200) % 2
    rule = fit(features, labels, np.arange(200), outputs=outputs)
    assert rule is not None
    assert rule.parts == ((700, 0), (700, 700), (600, 600), (600, 600))
    assert rule.references.shape == (200, 1_900)
    assert (rule.dimensions, len(rule.numbers())) == (2_600, 2 * 200 * 1_900)
    others = random.normal(size=(50, 2_600)).astype(np.float16)
    changed = others.copy()
    changed[:, :700] = 100  # has no say
    assert np.array_equal(rule.scores(others), rule.scores(changed))
    alone = fit(features[:, 700:], labels, np.arange(200), outputs=outputs[1:])
    assert alone is not None
    assert np.array_equal(alone.scores(others[:, 700:]), rule.scores(others))
    again = of_member(json.loads(json.dumps(rule.facts())), rule.numbers())
    assert again is not None
    assert again.parts == rule.parts
    assert np.array_equal(again.scores(others), rule.scores(others))
    wide = fit(features, labels, np.arange(200), outputs=[output("one", 2_600)])
    assert wide is not None
    assert wide.parts == ((2_600, 2_600),), "one layer has its say however wide it is"


def test_what_it_came_to_has_its_interval() -> None:
    rule = rule_of()
    own = blobs(300, seed=1)[0]
    found = measured(rule, own, split="test")
    assert found is not None
    assert found.reached is not None
    rate = found.reached
    assert (rate.n, rate.split) == (300, "test")
    assert rate.value == pytest.approx((~rule.known(own)).mean())
    assert (rate.low, rate.high) == wilson(round(rate.value * 300), 300)
    assert rule.reached is None, "the rule that was given is not changed"
    assert found.as_dict()["reached"] == rate.as_dict()
    assert measured(None, own, split="test") is None


# ---- in a file


def saved(rule: Rejection | None = None) -> tuple[dict[str, Any], bytes]:
    rule = measured(rule or rule_of(60), blobs(50)[0], split="test")
    assert rule is not None
    return json.loads(json.dumps(rule.facts())), rule.numbers()


def test_it_comes_back_from_a_file_as_it_was() -> None:
    rule = rule_of(300)
    facts, data = saved(rule)
    back = of_member(facts, data)
    assert back is not None
    assert back.reached is not None
    assert back.reached.n == 50
    own = blobs(100, seed=3)[0]
    assert np.array_equal(back.scores(own), rule.scores(own))
    assert back.threshold == rule.threshold
    assert of_member(None, None) is None
    assert of_member(None, data) is None


HOSTILE: dict[str, dict[str, Any]] = {
    "another rule": {"rule": "always"},
    "no parts": {"parts": None},
    "parts of nothing": {"parts": []},
    "parts of text": {"parts": ["16", "16"]},
    "parts with text": {"parts": [["16", "16"]]},
    "part of true": {"parts": [[16, True]]},
    "negative parts": {"parts": [[-16, -16]]},
    "a part of three": {"parts": [[16, 16, 16]]},
    "columns that do not divide": {"parts": [[17, 16]]},
    "more parts than there can be": {"parts": [[1, 1]] * 65},
    "more columns than the numbers": {"parts": [[32, 32]]},
    "huge": {"references": 10**12},
    "no references": {"references": 0},
    "more neighbours than references": {"neighbours": 61},
    "no neighbours": {"neighbours": 0},
    "half a neighbour": {"neighbours": 1.5},
    "no threshold": {"threshold": None},
    "threshold nan": {"threshold": float("nan")},
    "threshold inf": {"threshold": float("inf")},
    "threshold that lets all pass": {"threshold": 2.5},
    "false alarm above 1": {"false_alarm": 2},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_rule_that_headstart_cannot_have_written_is_refused(change: dict[str, Any]) -> None:
    facts, data = saved()
    with pytest.raises(ModelFileError):
        of_member({**facts, **change}, data)


def test_numbers_that_are_missing_or_unsound_are_refused() -> None:
    facts, data = saved()
    for bad in (None, b"", data[:-2], data + b"\0\0", struct.pack("<e", float("nan")) + data[2:]):
        with pytest.raises(ModelFileError):
            of_member(facts, bad)
    for bad_facts in ([], "rule", 3):
        with pytest.raises(ModelFileError, match="damaged"):
            of_member(bad_facts, data)


@pytest.mark.parametrize("found", [None, 5, {"value": 2, "low": 0, "high": 1, "n": 5}, {"value": 0.1, "n": "many"}])
def test_a_figure_that_is_none_is_left_out(found: Any) -> None:
    facts, data = saved()
    back = of_member({**facts, "reached": found}, data)
    assert back is not None
    assert back.reached is None


# ---- in a classifier


@pytest.mark.usefixtures("f32")
def test_a_classifier_has_it_before_and_after_it_is_saved(trained: Any, loaded: Classifier, tiny_dataset: Any) -> None:
    rule = trained.rejection
    assert rule is not None
    assert rule.reached is not None
    assert (rule.reached.n, rule.reached.split) == (trained.accuracy.n, trained.accuracy.split)
    assert trained.as_dict()["rejection"]["reached"] == rule.reached.as_dict()
    assert loaded.rejection is not None
    assert (loaded.rejection.threshold, loaded.rejection.reached) == (rule.threshold, rule.reached)
    assert np.array_equal(loaded.rejection.references, rule.references)
    assert loaded.facts["rejection"] == json.loads(json.dumps(rule.facts()))
    files = [str(tiny_dataset.path(row)) for row in range(0, len(tiny_dataset), 4)]
    for classifier in (trained.classifier, loaded):
        seen = extract(unlabelled(files), classifier.trunk, None).matrix(range(len(files)), classifier.outputs)
        scores = np.sort(rule.scores(seen))
        middle = float(scores[5:7].mean())  # of twelve: the random network sees little between them
        assert scores[5] < middle < scores[6]
        stricter = replace(classifier, rejection=replace(classifier.rejection, threshold=middle))
        known = [answer.known for answer in stricter.predict(files)]
        assert known == (rule.scores(seen) <= middle).tolist()
        assert stricter.predict(files[:1])[0].as_dict()["known"] is known[0]
        without = replace(classifier, rejection=None)
        assert without.predict(files[0]).known is None
        assert "none of these" in Prediction("a.jpg", "a", 1.0, {"a": 1.0}, known=False)._repr_html_()


def test_its_numbers_are_checked_when_a_file_is_loaded(trained: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(trained.model) as old:
        members = {name: old.read(name) for name in old.namelist()}
    facts = json.loads(members[FACTS])
    width = sum(columns for _, columns in facts["rejection"]["parts"])
    features = sum(numbers for numbers, _ in facts["rejection"]["parts"])

    def refused(**changed: bytes | None) -> None:
        path = tmp_path / "changed.keras"
        with zipfile.ZipFile(path, "w") as new:
            for name, data in {
                **members,
                **{key: value for key, value in changed.items() if value is not None},
            }.items():
                if changed.get(name, b"") is not None:
                    new.writestr(name, data)
        with pytest.raises(ModelFileError, match="rejection"):
            Classifier.load(path)

    refused(**{MEMBER: None})
    refused(**{MEMBER: members[MEMBER][:-8]})
    refused(**{FACTS: json.dumps({**facts, "rejection": {**facts["rejection"], "neighbours": 10**9}}).encode()})
    refused(
        **{FACTS: json.dumps({**facts, "rejection": {**facts["rejection"], "parts": [[2 * features, width]]}}).encode()}
    )
    refused(**{MEMBER: bytes(65 * 2**20)})


# ---- the rules that it is held against


@pytest.fixture(scope="module")
def bench() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
        before = sys.modules.pop("rejection", None)
        import rejection as module

        yield module
        sys.modules.pop("rejection", None)
        if before is not None:
            sys.modules["rejection"] = before


def test_ledoit_wolf_is_that_of_scikit_learn(bench: Any) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    random = np.random.default_rng(0)
    for rows, width in ((30, 8), (15, 40)):
        centred = random.normal(size=(rows, width)) * np.linspace(1, 3, width)
        centred -= centred.mean(axis=0)
        theirs = covariance.LedoitWolf(assume_centered=True).fit(centred).covariance_
        assert bench.ledoit_wolf(centred) == pytest.approx(theirs, rel=1e-8, abs=1e-10)


def test_ledoit_wolf_comes_nearer_than_the_sample(bench: Any) -> None:
    random = np.random.default_rng(0)
    true = np.diag(np.linspace(1, 3, 20))
    centred = random.normal(size=(25, 20)) @ np.sqrt(true)
    sample = centred.T @ centred / 25
    assert ((bench.ledoit_wolf(centred) - true) ** 2).sum() < 0.5 * ((sample - true) ** 2).sum()
    assert np.linalg.eigvalsh(bench.ledoit_wolf(centred)).min() > 0.1


def test_auroc_counts_pairs_and_has_an_interval(bench: Any) -> None:
    known, strange = np.array([1.0, 2, 3, 3]), np.array([3.0, 0, 5])
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in known for b in strange]
    found, low, high = bench.auroc(known, strange)
    assert found == pytest.approx(np.mean(pairs))
    assert 0 < low < found < high < 1
    best = bench.auroc(np.zeros(400), np.ones(1_000))
    assert best[0] == best[2] == 1
    assert 0.99 < best[1] < 1, "that no pair was wrong does not mean that none can be"
    held = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        _, low, high = bench.auroc(random.normal(size=60), random.normal(size=60) + 1)
        held.append(low < 0.7602 < high)  # the normal distribution at 1 / √2
    assert 0.9 < np.mean(held) < 0.99


def test_there_may_be_more_classes_than_references() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(1200), 3)
    features = random.normal(size=(len(labels), 8)).astype(np.float32)
    for seed in range(6):
        assert rejection.fit(features, labels, np.arange(len(labels)), seed=seed) is not None
