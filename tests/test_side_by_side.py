"""Several networks side by side as one source, and networks at another size: each member is what it is alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import numpy as np
import pytest

import headstart as hs
from headstart import costs, images
from headstart import sources as S
from headstart.compiling import compile_source
from headstart.errors import RecipeError, SourceError
from headstart.features import extract
from headstart.fingerprints import fingerprints
from headstart.recipe import Recipe
from headstart.result import TrainResult
from headstart.sources import _blocks
from headstart.sources._graph import weights_of
from headstart.store import Store
from headstart.summary import summarise
from headstart.train import train
from headstart.trunk import Trunk, prepare, spec
from headstart.worker import Worker

PAIR = "mobilenet_0.25+mobilenet_0.5"
SCALES = "mobilenet_0.25@64+mobilenet_0.25@96"
CUT = "mobilenet_0_25_64-conv_pw_5_relu+mobilenet_0_25_96-conv_pw_11_relu"


# ---- names and facts ------------------------------------------------------------------------------------------------


def test_facts_are_those_of_the_members() -> None:
    both = S.find("EfficientNet-Lite0+VGG16")
    one, other = S.members(both)
    assert both.name == "efficientnet_lite0+vgg16"
    assert (one, other) == (S.find("efficientnet_lite0"), S.find("vgg16"))
    assert both.parameters == one.parameters + other.parameters
    assert both.size_mb == pytest.approx(one.size_mb + other.size_mb)
    assert both.licence == f"{one.licence} AND {other.licence}"
    assert S.find(both.name) == both
    assert S.find("vgg16+vgg16@256").licence == other.licence
    assert S.members(one) == (one,)


def test_a_size_in_the_name_is_the_sources_size() -> None:
    sized = S.find("vgg16@96x128")
    assert (sized.name, sized.image_size) == ("vgg16@96x128", (96, 128))
    assert S.find("vgg16@256x256").name == "vgg16@256"
    assert S.at(sized, None) == S.at(S.find("vgg16"), (96, 128))
    same = S.weights_key(S.find("vgg16"), "random", image_size=(96, 128))
    assert S.weights_key(sized, "random") == same
    assert spec("vgg16@96x128").image_size == (96, 128)


def test_each_member_has_its_own_size_and_the_picture_is_the_largest() -> None:
    source = S.find("vgg16+mobilenetv2@288+inceptionv3")
    assert source.image_size == (299, 299)
    assert S.member_sizes(source) == [(224, 224), (288, 288), (299, 299)]
    assert S.member_sizes(S.find("vgg16+inceptionv3"), (256, 128)) == [(224, 128), (256, 128)]
    assert S.find("vgg16@96x300+mobilenetv2").image_size == (224, 300)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vgg16+mobilnetv2", r"no source named 'mobilnetv2'.*Did you mean.*mobilenetv2"),
        ("vgg16@", "'' is no picture size"),
        ("vgg16@big", "'big' is no picture size"),
        ("vgg16@4096", "from 16 to 2048"),
        ("vgg16@20", "at least 32×32 pixels"),
        ("vgg16+", "lacks a name"),
        ("vgg16+VGG16", "vgg16 would run twice on 224×224"),
        ("vgg16+vgg16@224", "vgg16 would run twice on 224×224"),
        ("vgg16+nothing.keras", "no .keras file at nothing.keras"),
    ],
)
def test_what_is_no_source_is_refused(name: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        S.find(name)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vgg16@256", (224, 224), "256×256 pixels by its name and on 224×224"),
        ("vgg16+mobilenetv2", (256, 256), r"(?s)larger than any network.*vgg16@256"),
        ("vgg16+mobilenetv2@288", (256, 256), "mobilenetv2@288 is larger than the image size of 256×256"),
        ("vgg16+vgg16@288", (224, 224), "vgg16@288 is larger"),
        ("vgg16+inceptionv3", (20, 20), "at least 75"),
    ],
)
def test_a_size_that_does_not_go_with_the_names_is_refused(name: str, size: tuple[int, int], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        spec(name, image_size=size)


def test_a_file_of_weights_belongs_to_one_network(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"weights")
    for call in (S.weights_key, lambda source, weights: S.build(source, weights=weights)):
        with pytest.raises(SourceError, match=r"(?s)weights\.h5 holds the weights of one network.*imagenet or random"):
            call(S.find(PAIR), str(file))
    with pytest.raises(SourceError, match="scales its pixels by itself"):
        S.scaled(S.find(PAIR), "unit")


def test_it_is_here_where_each_member_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S, "weights_file", lambda source: Path("here") if source.name != "vgg16" else None)
    assert S.is_here(S.find("mobilenetv2+inceptionv3"))
    assert not S.is_here(S.find("mobilenetv2+vgg16"))


def test_keys_tell_members_seeds_and_sizes_apart() -> None:
    keys = [
        S.weights_key(S.find(name), "random", seed, image_size=size)
        for name, seed, size in [
            (PAIR, 0, None), (PAIR, 1, None), (PAIR, 0, (96, 96)), (SCALES, 0, None), ("mobilenet_0.25", 0, None),
        ]
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


# ---- what is built --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Any:
    return S.build(S.find(PAIR), image_size=(64, 64), weights="random", seed=3)


def test_a_member_computes_what_it_computes_alone(pair: Any) -> None:
    alone = [
        S.build(S.find(name), image_size=(64, 64), weights="random", seed=seed)
        for name, seed in [("mobilenet_0.25", 3), ("mobilenet_0.5", 4)]
    ]
    assert fingerprints(pair) == [name for model in alone for name in fingerprints(model)]
    assert [tensor.name for tensor in pair.inputs] == ["image"]
    assert {layer.name.partition("-")[0] for layer in pair.layers} == {"image", "mobilenet_0_25", "mobilenet_0_5"}


def test_a_member_that_is_there_twice_is_two_networks() -> None:
    model = S.build(S.find(SCALES), weights="random")
    first, second = (weights_of(model.get_layer(f"mobilenet_0_25_{side}-conv1"))[0] for side in (64, 96))
    assert not np.array_equal(first, second)
    assert model.inputs[0].shape[1:3] == (96, 96)
    assert model.get_layer("mobilenet_0_25_64-resizing").output.shape[1:3] == (64, 64)


def test_a_picture_that_shrinks_to_less_than_half_is_averaged_first() -> None:
    model = S.build(S.find("mobilenet_0.25@64+mobilenet_0.25@192"), weights="random")
    assert model.get_layer("mobilenet_0_25_64-averaging").pool_size == (3, 3)
    assert "mobilenet_0_25_64-resizing" not in {layer.name for layer in model.layers}
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 192, 192, 3)).astype(np.float32)
    import keras

    shrunk = keras.Model(model.inputs[0], model.get_layer("mobilenet_0_25_64-averaging").output)(pixels)
    wanted = pixels.reshape(1, 64, 3, 64, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(shrunk), wanted, rtol=1e-4)


def test_good_cuts_are_those_of_each_member(pair: Any) -> None:
    source = S.find(PAIR)
    ends = _blocks.block_ends(pair, source.block_pattern)
    alone = [
        f"{start}-{end}" for start, name in [("mobilenet_0_25", "mobilenet_0.25"), ("mobilenet_0_5", "mobilenet_0.5")]
        for end in _blocks.block_ends(
            S.build(S.find(name), image_size=(64, 64), weights="random"), S.find(name).block_pattern
        )
    ]  # fmt: skip
    assert list(ends) == alone
    assert [S.member_of(source, end) for end in ends] == [0] * (len(ends) // 2) + [1] * (len(ends) // 2)
    with pytest.raises(SourceError, match=r"no layer named 'conv_pw_5_relu'.*Did you mean"):
        _blocks.layer_or_near(pair, "conv_pw_5_relu", source.block_pattern)


def test_files_of_ones_own_can_be_members(tmp_path: Path) -> None:
    path = tmp_path / "my+net@2.keras"
    S.build(S.find("mobilenet_0.25"), image_size=(64, 64), weights="random").save(path)
    assert [member.name for member in S.members(S.find(f"{path}+mobilenet_0.5"))] == [str(path), "mobilenet_0.5"]
    model = S.build(S.find(f"mobilenet_0.5@96+{path}"), weights="random")
    assert model.inputs[0].shape[1:3] == (96, 96)
    assert "my_net_2-conv1" in {layer.name for layer in model.layers}


# ---- features -------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "features.sqlite") as opened:
        yield opened


def compiled(name: str, worker: Worker, seed: int = 0, **wanted: Any) -> Trunk:
    return prepare(spec(name, weights="random", seed=seed, **{"image_size": (64, 64), **wanted}), worker).result()


@pytest.mark.usefixtures("f32")
def test_networks_that_were_run_alone_are_not_run_again(worker: Worker, tiny_dataset: Any, store: Store) -> None:
    dataset = tiny_dataset.take(range(0, 48, 4))
    both = compiled(PAIR, worker)
    apart = extract(dataset, both, None).matrix(range(12))
    one = extract(dataset, compiled("mobilenet_0.25", worker), store)
    half = extract(dataset.take(range(6)), both, store)
    labels = {space["label"]: space["pictures"] for space in store.sizes()["spaces"]}
    assert (half.hits, half.misses) == (0, 6)
    assert {label.split(",")[0]: count for label, count in labels.items()} == {PAIR: 6, "mobilenet_0.25": 12}
    assert [label.split(", ")[2] for label in labels if label.startswith(PAIR)] == ["26 outputs"]  # of the other alone
    other = extract(dataset, compiled("mobilenet_0.5", worker, seed=1), store)
    joined = extract(dataset, both, store)
    assert (joined.hits, joined.misses) == (12, 0)
    parts = [features.matrix(range(12)) for features in (one, other)]
    assert np.array_equal(joined.matrix(range(12)), np.concatenate(parts, axis=1))
    np.testing.assert_allclose(joined.matrix(range(12)).astype(np.float32), apart, rtol=2e-3, atol=1e-3)
    reverse = tuple(reversed(both.outputs))
    wanted = np.concatenate([joined.matrix(range(12), [output]) for output in reverse], axis=1)
    assert np.array_equal(joined.matrix(range(12), reverse), wanted)


@pytest.mark.usefixtures("f32")
def test_a_part_that_cannot_be_kept_is_computed_again(worker: Worker, tiny_dataset: Any, store: Store) -> None:
    dataset, both = tiny_dataset.take(range(4)), compiled(PAIR, worker)
    extract(dataset, compiled("mobilenet_0.25", worker), store)
    wanted = extract(dataset, both, None).matrix(range(4))

    def full(*_: Any) -> bool:
        store.trouble = "the disk is full"
        return False

    store.write = full  # type: ignore[method-assign, assignment]
    found = extract(dataset, both, store)
    assert (found.hits, found.misses) == (0, 4)
    np.testing.assert_allclose(found.matrix(range(4)).astype(np.float32), wanted, rtol=2e-3, atol=1e-3)


def test_costs_of_networks_side_by_side_are_summed(worker: Worker) -> None:
    trunk = compiled(PAIR, worker)
    assert sorted(set(trunk.members)) == [0, 1]
    values = [float(number) for number in range(1, len(trunk.outputs) + 1)]
    tops = [max(place for place, member in enumerate(trunk.members) if member == number) for number in (0, 1)]
    both = [trunk.outputs[place] for place in (0, *tops)]
    assert costs.at(values, trunk, both) == sum(values[place] for place in tops)
    wanted = sum(trunk.parameters[place] or 0 for place in tops)
    assert costs.megabytes(trunk, both, 0, whole=0) == round(wanted * 4 / 1e6, 2)


def test_a_network_that_keeps_its_layout_does_not_keep_the_others_from_changing(tmp_path: Path) -> None:
    import keras

    image = keras.Input((64, 64, 3))
    values = keras.layers.Conv2D(4, 3, strides=4)(image)
    keras.Model(image, keras.layers.LayerNormalization()(values)).save(tmp_path / "last.keras")
    name = f"mobilenet_0.25@64+{tmp_path / 'last.keras'}"
    wanted = spec(name, weights="random").for_worker()
    facts = compile_source(str(tmp_path / "trunk"), wanted, None, poolings=["avg"], engine="openvino")
    assert facts["layout"] == "channels_first"
    alone = spec(str(tmp_path / "last.keras"), weights="random").for_worker()
    assert compile_source(str(tmp_path / "alone"), alone, None, poolings=["avg"], engine="openvino")["layout"] == (
        "channels_last"
    )


# ---- the whole chain ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tiny_pictures: Path, tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> TrainResult:
    folder = tmp_path_factory.mktemp("side by side")
    recipe = Recipe(source=SCALES, weights="random", cut=CUT, pooling="avg+max")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        return train(tiny_pictures, recipe, output=folder / "two.keras", report=folder / "two.html")


def test_the_recipe_says_what_was_trained(result: TrainResult) -> None:
    kept = hs.load_recipe(result.model)
    assert (kept.source, kept.image_size, kept.cut) == (SCALES, (96, 96), CUT)
    assert result.tuning is not None
    assert (result.tuning.tried, "several side by side" in result.tuning.why) == (False, True)
    assert SCALES in Path(result.report or "").read_text()


@pytest.mark.usefixtures("f32")
def test_the_saved_model_answers_as_the_training_did(result: TrainResult) -> None:
    loaded, rows = hs.Classifier.load(result.model), result.rows["test"]
    pictures = [result.dataset.path(int(row)) for row in rows]
    found = np.array([list(each.probabilities.values()) for each in loaded.predict(pictures)])
    np.testing.assert_allclose(found, result.classifier.probabilities(result.features, rows), atol=0.01)
    assert [output.fingerprint for output in loaded.outputs] == result.classifier.facts["provenance"]["features"]
    explained = loaded.explain(pictures[0])
    assert explained.evidence.shape == (8, 8)  # of the finest cut; the other's is stretched over it
    assert np.ptp(explained.evidence) > 0


@pytest.mark.usefixtures("f32")
def test_training_from_its_recipe_runs_nothing(result: TrainResult, tiny_pictures: Path) -> None:
    again = hs.train(tiny_pictures, hs.load_recipe(result.model))
    assert (again.features.hits, again.features.misses) == (48, 0)
    np.testing.assert_allclose(again.classifier.layers[-1].kernel, result.classifier.layers[-1].kernel, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "tensorflow"])
def test_plain_keras_opens_it(result: TrainResult, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    shutil.copy(str(result.model), tmp_path / "two.keras")
    code = (
        "import sys, numpy, keras\n"
        "model = keras.models.load_model('two.keras', safe_mode=True)\n"
        "assert 'headstart' not in sys.modules\n"
        "numpy.save('out.npy', model.predict(numpy.load('in.npy'), verbose=0))\n"
    )
    rows = result.rows["test"]
    np.save(tmp_path / "in.npy", np.stack([images.read(result.dataset.path(int(row)), (96, 96)) for row in rows]))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=dict(os.environ, KERAS_BACKEND=backend),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = result.classifier.probabilities(result.features, rows)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=0.04)


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path, tiny_pictures: Path, run: Any) -> None:
    nowhere = tmp_path / "nowhere"
    for how in ("full", "blocks=2"):
        with pytest.raises(RecipeError, match=r"(?s)several networks side by side.*auto or off"):
            train(nowhere, Recipe(source=PAIR, weights="random", fine_tune=how))
    status, _, err = run("train", tiny_pictures, "--source", PAIR, "--fine-tune", "full", "-o", tmp_path / "m.keras")
    assert status == 2
    assert "several networks side by side" in err


# ---- summaries ------------------------------------------------------------------------------------------------------


def test_the_summary_goes_network_by_network(worker: Worker, run: Any) -> None:
    found = summarise(SCALES, worker)
    assert [cut.name for cut in found.cuts] == [f"mobilenet_0_25_{side}-conv_pw_13_relu" for side in (64, 96)]
    starts = [layer.name.partition("-")[0] for layer in found]
    assert list(dict.fromkeys(starts)) == ["image", "mobilenet_0_25_64", "mobilenet_0_25_96"]
    assert starts == sorted(starts)
    assert [(name, size) for name, size, _ in found.members] == [
        ("mobilenet_0.25", (64, 64)), ("mobilenet_0.25", (96, 96)),
    ]  # fmt: skip
    assert sum(count for _, _, count in found.members) == found.parameters
    assert not found.beyond
    assert "mobilenet_0.25 at 64 × 64 pixels: " in str(found)
    low = summarise(SCALES, worker, cut=CUT)
    assert [cut.name for cut in low.cuts] == CUT.split("+")
    assert 0 < low.parameters < found.parameters
    status, out, err = run("sources", SCALES, "--json")
    assert status == 0, err
    assert [each["image_size"] for each in json.loads(out)["summary"]["members"]] == [[64, 64], [96, 96]]
