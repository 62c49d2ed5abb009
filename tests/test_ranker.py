"""Ranking real pictures with tiny networks: sources, budget, few pictures, several cuts in one saved model, the CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart import contestants, costs, engines, few, ranker
from headstart.choose import choose_cut
from headstart.contenders import contenders, larger_size
from headstart.dataset import Dataset
from headstart.errors import InputError, RecipeError, SourceError
from headstart.features import extract
from headstart.recipe import Recipe
from headstart.splits import folds
from headstart.splitting import split
from headstart.train import train
from headstart.trunk import Trunk, prepare, spec
from headstart.worker import Worker

TWO = "mobilenet_0.25@64=random,mobilenet_0.5@64=random"
ONE = "mobilenet_0.25@64=random"
pytestmark = pytest.mark.usefixtures("f32")


@pytest.fixture(scope="module")
def ranking(tiny_pictures: Path, _session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.Ranking:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(_session_cache))
        return hs.rank(tiny_pictures, TWO, report=tmp_path_factory.mktemp("ranking") / "ranking.html")


def some(folder: Path, target: Path, count: int) -> Path:
    """So many pictures of each class in a folder of their own."""
    for each in sorted(folder.iterdir()):
        (target / each.name).mkdir(parents=True)
        for path in sorted(each.iterdir())[:count]:
            shutil.copy(path, target / each.name)
    return target


def test_every_cut_and_pooling_of_every_source_has_a_row(ranking: hs.Ranking) -> None:
    assert {row.source for row in ranking.rows} == set(TWO.split(","))
    assert {row.pooling for row in ranking.rows} == {"avg", "max", "avg+max"}
    cuts = {row.cut for row in ranking.rows if row.source == ONE}
    assert len([cut for cut in cuts if cut != "all" and "+" not in cut]) > 5
    assert "all" in cuts
    assert {"ridge", "linear", "blend", "prototype"} <= {row.head for row in ranking.rows if not row.probe}
    losses = [row.loss for row in ranking.rows]
    assert losses == sorted(losses)
    assert sum(row.recommended for row in ranking.rows) == 1
    assert all(row.low <= row.accuracy <= row.high for row in ranking.rows)
    assert ranking.report is not None
    assert ranking.recommended.cut in ranking.report.read_text("utf-8")


def test_a_final_figures_pictures_take_no_part(ranking: hs.Ranking, tiny_pictures: Path) -> None:
    divided = split(Dataset.open(tiny_pictures).digested())
    assert ranking.pictures == len(divided.split_indices("train")) == 39
    assert {row.n for row in ranking.rows} == {39}


def test_what_is_ranked_is_what_train_holds_back_from(tiny_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contents that any score was made of are training pictures of the run that follows."""
    seen: set[bytes] = set()
    real = contestants.extract

    def watched(dataset, *rest, **options):
        seen.update(dataset.digests)
        return real(dataset, *rest, **options)

    monkeypatch.setattr(contestants, "extract", watched)
    monkeypatch.setattr(ranker, "contenders", lambda **given: contenders(ONE, **given))
    result = train(tiny_pictures, Recipe(source="auto", image_size=(64, 64)))
    digests = np.array([digest.hex() for digest in result.dataset.digests])
    assert {digest.hex() for digest in seen} == set(digests[result.rows["train"]])
    assert not {digest.hex() for digest in seen} & set(digests[result.rows["test"]])
    assert result.ranking is not None
    taken = result.ranking.recommended
    named = train(tiny_pictures, Recipe(source="mobilenet_0.25", image_size=(64, 64), weights="random"))
    assert result.recipe == named.recipe  # layers and head are chosen as for a source that was named
    assert result.recipe.source == "mobilenet_0.25"
    assert result.recipe.weights == "random"
    assert result.recipe.image_size == (64, 64)
    assert result.choice.why == named.choice.why
    assert result.as_dict()["ranking"]["recommended"]["cut"] == taken.cut


def test_training_finds_the_features_of_the_ranking_whatever_the_pooling(
    tiny_pictures: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker, "contenders", lambda **given: contenders(ONE, **given))
    result = train(tiny_pictures, Recipe(source="auto", pooling="avg", head="linear"))
    assert result.recipe.pooling == "avg"
    assert (result.features.hits, result.features.misses) == (39, 9)


def test_what_cannot_be_trained_is_refused_before_anything_is_ranked(
    tiny_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker, "rank", None)
    for decisions, words in (
        ({"augment": "flip", "views": "live"}, "the auto head has none"),
        ({"callbacks": ({"EarlyStopping": {"patience": 2}},)}, "the auto head has none"),
        ({"head": "linear", "callbacks": ({"EarlyStopping": {"patience": 2}},)}, "the linear head has none"),
        ({"head": "dense", "head_options": {"epocs": 3}}, "Did you mean epochs"),
        ({"head": "dense", "head_options": {"output": "sigmoid"}}, "there are 3"),
    ):
        with pytest.raises(RecipeError, match=words):
            train(tiny_pictures, Recipe(source="auto", **decisions))
    with pytest.raises(RecipeError, match="the auto head has none"):
        train(tiny_pictures, Recipe(source="auto"), callbacks=[object()])


def test_costs_rise_with_depth_and_are_kept(ranking: hs.Ranking) -> None:
    shallow = [row for row in ranking.rows if row.source == ONE and row.cut != "all" and "+" not in row.cut]
    shallow.sort(key=lambda row: row.size_mb)
    assert shallow[0].milliseconds_per_image < shallow[-1].milliseconds_per_image
    assert shallow[0].size_mb < 0.1
    assert 0.8 < shallow[-1].size_mb < 0.95  # 219 thousand numbers of four bytes, and the head's


def test_a_trunks_costs_are_measured_once(small_trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_trunk.folder / "milliseconds.json").unlink(missing_ok=True)
    first = costs.milliseconds(small_trunk)
    assert len(first) == 6
    assert first[0] < first[4]
    assert costs.at(first, small_trunk, small_trunk.outputs[:1]) == costs.at(
        first, small_trunk, small_trunk.outputs[1:2]
    )
    assert costs.at(first, small_trunk, small_trunk.outputs) == pytest.approx(max(first), rel=0.05)
    monkeypatch.setattr(engines.module(small_trunk.engine), "milliseconds", None)
    assert costs.milliseconds(small_trunk) == first
    (small_trunk.folder / "milliseconds.json").write_text("[1, 2]")  # of another trunk, or damaged
    with pytest.raises(TypeError):
        costs.milliseconds(small_trunk)
    (small_trunk.folder / "milliseconds.json").unlink()


def test_a_budget_of_nothing_still_answers_and_says_what_is_missing(tiny_pictures: Path, ranking: hs.Ranking) -> None:
    found = hs.rank(tiny_pictures, TWO, budget=1e-6)
    assert found.recommended.source == ONE
    assert not found.recommended.probe
    assert "mobilenet_0.5@64=random was not tried" in found.not_tried
    assert any(text.startswith("the prototype head was not tried") for text in found.not_tried)
    assert {row.source for row in found.rows} == {ONE}
    assert ranking.not_tried == ()


def test_a_source_that_cannot_be_built_is_named_and_the_others_are_ranked(
    tiny_pictures: Path, tmp_path: Path, ranking: hs.Ranking
) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"no weights")
    one, other = f"mobilenet_0.25@64={broken}", f"mobilenet_0.5@64={broken}"
    found = hs.rank(tiny_pictures, f"{ONE},{one}", heads="linear")
    assert {row.source for row in found.rows} == {ONE}
    assert any(text.startswith(f"{one} could not be built: ") for text in found.not_tried)
    with pytest.raises(SourceError, match=r"broken\.h5") as alone:
        hs.rank(tiny_pictures, one, heads="linear")
    assert "could not be built" not in str(alone.value)
    with pytest.raises(SourceError, match="none of the sources can be ranked") as both:
        hs.rank(tiny_pictures, f"{one},{other}", heads="linear")
    assert f"{one} could not be built" in str(both.value)
    assert f"{other} could not be built" in str(both.value)


def test_the_smallest_comes_first_and_forms_are_read() -> None:
    found = contenders("vgg16, mobilenet_0.25@96x128 ,mobilenetv2=random", image_size=(160, 160))
    assert [each.name for each in found] == ["mobilenet_0.25@96x128", "mobilenetv2=random", "vgg16"]
    assert [each.spec.image_size for each in found] == [(96, 128), (160, 160), (160, 160)]
    assert [each.spec.weights for each in found] == ["imagenet", "random", "imagenet"]
    assert [each.spec.source for each in found] == ["mobilenet_0.25", "mobilenetv2", "vgg16"]


def test_networks_side_by_side_are_ranked_as_one_source() -> None:
    found = contenders("mobilenet_0.25@96+mobilenet_0.5@128, mobilenetv2", image_size=(160, 160))
    assert [each.spec.source for each in found] == ["mobilenet_0.25@96+mobilenet_0.5@128", "mobilenetv2"]
    assert [each.spec.image_size for each in found] == [(128, 128), (160, 160)]


@pytest.mark.parametrize(
    ("own", "width", "height", "wanted"),
    [
        ((224, 224), 320, 320, (320, 320)),
        ((224, 224), 320, 319, None),
        ((224, 224), 319, 400, None),
        ((160, 160), 224, 224, (224, 224)),  # 1.4 times is a multiple of 32
        ((240, 240), 1000, 1000, (352, 352)),
        ((299, 299), 1000, 1000, (448, 448)),
        ((100, 200), 288, 160, (160, 288)),
        ((1600, 1600), 9000, 9000, None),  # more than can be asked for
    ],
)
def test_a_larger_size_is_worth_trying_where_the_pictures_have_it(
    own: tuple[int, int], width: int, height: int, wanted: tuple[int, int] | None
) -> None:
    assert larger_size(own, [width], [height]) == wanted
    assert larger_size(own, np.full(3, width), np.full(3, height)) == wanted


def test_half_of_the_pictures_decide_on_a_larger_size_and_unreadable_ones_do_not_count() -> None:
    large, small, unreadable = 400, 300, 0
    assert larger_size((224, 224), [large, small], [large, small]) == (320, 320)
    assert larger_size((224, 224), [large, small, small], [large, small, small]) is None
    sides = [large, small, unreadable, unreadable]
    assert larger_size((224, 224), sides, sides) == (320, 320)
    assert larger_size((224, 224), [large, small], [small, large]) is None  # no picture is as large both ways
    assert larger_size((224, 224), [], []) is None
    assert larger_size((224, 224), [unreadable], [unreadable]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mobilenetv22", "Did you mean mobilenetv2"),
        ("mobilenetv2=no.h5", "no file of weights at 'no.h5'"),
        ("mobilenetv2=radnom", "Did you mean random"),
        ("mobilenetv2@big", "'big' is no picture size"),
        ("mobilenetv2@8", "image_size must lie between 16 and 2048"),
        ("mobilenetv2@160x4096", "image_size must lie between 16 and 2048"),
        ("mobilenetv2@20", "at least 32 pixels"),
        ("vgg16,vgg16", "named twice"),
        (" , ", "no source was named"),
    ],
)
def test_a_list_that_cannot_be_ranked_is_refused(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        contenders(text)


def test_where_nothing_is_here_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.sources.is_here", lambda _: False)
    with pytest.raises(SourceError, match=r"pip install 'headstart\[demo\]'"):
        contenders()


def test_faults_of_the_user_are_found_before_any_work(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(InputError, match="above 0"):
        hs.rank(nowhere, ONE, budget=0)
    with pytest.raises(RecipeError, match="Did you mean linear"):
        hs.rank(nowhere, ONE, heads="liner")
    with pytest.raises(RecipeError, match="got 'auto'"):
        hs.rank(nowhere, ONE, heads=["auto"])
    with pytest.raises(RecipeError, match="too wide"):
        hs.rank(nowhere, ONE, pooling="flatten")
    for decision in ({"cut": "top_activation"}, {"weights": "random"}, {"preprocessing": "unit"}):
        with pytest.raises(RecipeError, match="belongs to one source"):
            train(Dataset.__new__(Dataset), Recipe(source="auto", **decision))


# ---- few pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5])
def test_few_pictures_a_class_train_rank_and_say_how_little_is_known(
    tiny_pictures: Path, tmp_path: Path, small_source: dict, count: int
) -> None:
    folder = some(tiny_pictures, tmp_path / "few", count)
    result = train(folder, Recipe(**small_source), output=tmp_path / "few.keras", report=tmp_path / "few.html")
    assert result.images()["train"] == 3 * (count - 1)
    assert result.accuracy.high - result.accuracy.low > 0.5
    assert result.head.name in ("ridge", "linear", "blend", "prototype")
    if count == 2:  # one of each class is left to train on: nothing can be compared, and nothing is
        assert result.head.name == "prototype"
        assert result.recipe.cut == "conv_pw_13_relu"
        assert "one picture a class" in result.choice.why
    else:
        assert {c.head for c in result.choice.candidates if c.finalist} >= {"ridge", "linear", "prototype"}
    assert hs.Classifier.load(tmp_path / "few.keras").predict(next(folder.rglob("*.png"), next(folder.rglob("*.j*"))))
    found = hs.rank(folder, ONE)
    assert any("few pictures" in note for note in found.notes)
    assert np.isnan(found.recommended.accuracy) == (count == 2)
    assert found.recommended.high - found.recommended.low > 0.3


def test_a_class_of_two_pictures_gives_the_dense_head_two_folds_and_it_is_fitted() -> None:
    labels = np.array([0] * 40 + [1] * 40 + [2] * 2)
    fold = folds(labels, count=5, seed=0)
    assert len(np.unique(fold)) == 2
    features = np.random.default_rng(0).normal(size=(82, 6)) + 4 * np.eye(3, 6)[labels]
    answers, _ = contestants._dense(features.astype(np.float32), labels, fold, 3)
    assert (answers.argmax(axis=1) == labels)[:80].mean() > 0.9


def test_a_head_that_cannot_be_fitted_is_left_out_and_named(
    tiny_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = some(tiny_pictures, tmp_path / "few", 2)
    shutil.rmtree(next(folder.iterdir()))
    with pytest.raises(RecipeError, match="given 1, no two of one class"):  # one of two is left out of the fit
        hs.rank(folder, ONE, heads="dense")

    def refused(*given):
        raise RecipeError("too few pictures")

    monkeypatch.setattr(few, "few", lambda _: False)
    monkeypatch.setattr(contestants, "_dense", refused)
    found = hs.rank(tiny_pictures, ONE, heads=["prototype", "dense"])
    assert {row.head for row in found.rows if not row.probe} == {"prototype"}
    assert next(text for text in found.not_tried if "dense" in text).endswith("cuts: too few pictures")


def test_a_head_that_was_asked_for_and_is_left_out_is_named(tiny_pictures: Path, tmp_path: Path) -> None:
    five, two = some(tiny_pictures, tmp_path / "five", 5), some(tiny_pictures, tmp_path / "two", 2)
    assert hs.rank(five, ONE).not_tried == ()
    assert hs.rank(five, ONE, heads="linear,dense").not_tried == (
        "the dense head was not tried: there are few pictures",
    )
    assert hs.rank(two, ONE, heads="prototype,linear").not_tried == (
        "the linear head was not tried: with one picture a class nothing can be compared",
    )


# ---- several cuts in one model --------------------------------------------------------------------------------------


def test_several_cuts_are_saved_as_one_plain_model(tiny_pictures: Path, tmp_path: Path, small_source: dict) -> None:
    cut = "conv_pw_5_relu+conv_pw_11_relu"
    result = train(tiny_pictures, Recipe(**small_source, cut=cut, pooling="avg+max"), output=tmp_path / "two.keras")
    assert (result.recipe.cut, result.recipe.pooling) == (cut, "avg+max")
    outputs = result.classifier.outputs
    assert [(each.layer, each.pooling) for each in outputs] == [
        (layer, pooling) for layer in cut.split("+") for pooling in ("avg", "max")
    ]
    facts = result.classifier.facts["provenance"]
    assert facts["features"] == [each.fingerprint for each in outputs]
    again = hs.Classifier.load(tmp_path / "two.keras")
    assert [each.fingerprint for each in again.outputs] == facts["features"]
    rows = result.rows["test"]
    pictures = [result.dataset.path(int(row)) for row in rows]
    wanted = result.classifier.probabilities(result.features, rows)
    loaded = np.array([list(each.probabilities.values()) for each in again.predict(pictures)])
    np.testing.assert_allclose(loaded, wanted, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "pooling"), [("conv_pw_5_relu+conv_pw_11_relu", "avg"), ("all", "auto")])
def test_plain_keras_opens_several_cuts(
    tiny_pictures: Path, tmp_path: Path, small_source: dict, cut: str, pooling: str
) -> None:
    recipe = Recipe(**small_source, cut=cut, pooling=pooling)
    result = train(tiny_pictures, recipe, output=tmp_path / "two.keras")
    assert result.recipe.cut == cut
    layers = dict.fromkeys(output.layer for output in result.classifier.outputs)
    assert len(layers) == (2 if cut != "all" else 13)
    code = (
        "import sys, numpy, keras\n"
        f"model = keras.models.load_model({str(tmp_path / 'two.keras')!r}, safe_mode=True)\n"
        "assert 'headstart' not in sys.modules\n"
        "numpy.save(sys.argv[1], model.predict(numpy.load(sys.argv[2]), verbose=0))\n"
    )
    from headstart import images

    rows = result.rows["test"]
    np.save(tmp_path / "in.npy", np.stack([images.read(result.dataset.path(int(row)), (64, 64)) for row in rows]))
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out.npy", tmp_path / "in.npy"], capture_output=True, text=True,
        env=dict(os.environ, KERAS_BACKEND="openvino"), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pictures = [result.dataset.path(int(row)) for row in rows]
    wanted = [
        list(each.probabilities.values()) for each in hs.Classifier.load(tmp_path / "two.keras").predict(pictures)
    ]
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), wanted, atol=0.04
    )  # Keras on OpenVINO computes in bf16 where it can


def test_a_recipe_of_several_cuts_does_what_the_choice_did(
    tiny_dataset: Dataset, small_trunk: Trunk, worker: Worker, small_source: dict
) -> None:
    """The features of cuts that are asked for together are those of the same cuts among others."""
    both = prepare(spec(**small_source, cuts=("conv_pw_5_relu", "conv_pw_11_relu"), pooling="avg"), worker).result()
    features, wanted = extract(tiny_dataset, both, None), extract(tiny_dataset, small_trunk, None)
    labels = tiny_dataset.labels
    choice = choose_cut(
        features, np.arange(48), labels, folds=np.arange(48) // 3 % 5, pooling="avg", joined=True
    )  # fmt: skip
    assert choice.chosen.layer == "conv_pw_5_relu+conv_pw_11_relu"
    same = [each for each in wanted.outputs if each.layer in choice.chosen.layers and each.pooling == "avg"]
    assert [each.fingerprint for each in same] == [each.fingerprint for each in choice.chosen.outputs]
    np.testing.assert_allclose(
        features.matrix(range(4), choice.chosen.outputs), wanted.matrix(range(4), same), rtol=1e-3, atol=1e-4
    )


# ---- the command line -----------------------------------------------------------------------------------------------


def test_the_command_prints_one_document(run, tiny_pictures: Path, ranking: hs.Ranking) -> None:
    status, out, err = run("rank", tiny_pictures, "--sources", ONE, "--heads", "linear", "--json")
    assert status == 0, err
    document = json.loads(out)
    assert set(document) >= {"rows", "recommended", "prior", "not_tried", "notes", "seconds", "verdict"}
    assert {row["head"] for row in document["rows"] if not row["probe"]} == {"linear"}
    assert {row["head"] for row in document["rows"] if row["probe"]} <= {"ridge"}
    assert any(line.startswith("fitting linear heads: ") for line in err.splitlines())


def test_the_command_tells_a_person_what_to_take_first(
    run, tiny_pictures: Path, tmp_path: Path, ranking: hs.Ranking
) -> None:
    page = tmp_path / "ranking.html"
    status, out, err = run("rank", tiny_pictures, "--sources", ONE, "--report", page)
    assert status == 0, err
    lines = [line for line in out.splitlines() if line]
    assert lines[0].startswith(f"Take {ONE} cut at ")
    assert lines[1].startswith("by the rule of thumb: ")
    assert sum(line.startswith("*") for line in lines) == 1
    assert page.stat().st_size > 5_000


def test_the_command_leaves_empty_what_nobody_knows(run, tiny_pictures: Path, tmp_path: Path) -> None:
    status, out, err = run("rank", some(tiny_pictures, tmp_path / "two", 2), "--sources", ONE)
    assert status == 0, err
    assert "with one picture a class nothing can be compared" in out
    assert "nan" not in out


def test_the_command_refuses_what_cannot_be(run, tiny_pictures: Path) -> None:
    for arguments, words in (
        (("--sources", "mobilenetv22"), "Did you mean mobilenetv2"),
        (("--sources", ONE, "--budget", "-1"), "above 0"),
        (("--sources", ONE, "--heads", "dens"), "Did you mean dense"),
    ):
        status, out, err = run("rank", tiny_pictures, *arguments)
        assert (status, out) == (2, "")
        assert words in err
        assert "Traceback" not in err
