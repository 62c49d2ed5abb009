"""Engines: found and chosen, right by value, alike, and without a framework on the hot path."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import numpy as np
import pytest

from headstart import engines, images, sources
from headstart.errors import EngineError, InputError
from headstart.trunk import Trunk, prepare, spec
from headstart.worker import Worker

SIDE = 96
WEIGHTS = "mobilenet_2_5_224_tf_no_top.h5"
CUTS = ("conv_pw_6_relu", "conv_pw_11_relu", "conv_pw_13_relu")


def run(trunk: Trunk, pixels: np.ndarray) -> list[np.ndarray]:
    """Features of any number of pictures."""
    engine = trunk.load()
    try:
        rows = []
        for start in range(0, len(pixels), engine.batch_size):
            some = pixels[start : start + engine.batch_size]
            full = np.zeros((engine.batch_size, *pixels.shape[1:]), np.uint8)
            full[: len(some)] = some
            rows.append([np.asarray(value, np.float32)[: len(some)] for value in engine.infer(full)])
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    finally:
        engine.close()


def alike(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Largest difference relative to the largest number, and the smallest cosine of a row."""
    assert found.shape == wanted.shape
    across = (found * wanted).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1))
    return float(np.abs(found - wanted).max() / np.abs(wanted).max()), float(across.min())


def by_keras(wanted: dict[str, Any], layer: str, pooling: str, pixels: np.ndarray) -> np.ndarray:
    """What Keras says, channels-last, of a model with that one output."""
    import keras

    source = sources.find(wanted["source"])
    model = sources.build(source, image_size=wanted["image_size"], weights=wanted["weights"])
    tensor = model.get_layer(layer).output
    pool = {
        "avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }[pooling]  # fmt: skip
    single = keras.Model(model.input, pool()(tensor))
    return np.asarray(keras.ops.convert_to_numpy(single(pixels.astype(np.float32))))


@pytest.fixture(scope="module")
def photographs(shared_pictures: list[Path]) -> np.ndarray:
    return np.stack([images.decode(path.read_bytes(), (SIDE, SIDE)) for path in shared_pictures])


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, Any]:
    """A trunk with real weights, as arguments of `spec`."""
    path = shared / "weights" / WEIGHTS
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return {"source": "mobilenet_0.25", "image_size": (SIDE, SIDE), "weights": str(path)}


@pytest.fixture(scope="module")
def f32(worker: Worker, real: dict[str, Any], photographs: np.ndarray) -> list[np.ndarray]:
    """What OpenVINO says in f32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        return run(prepare(spec(**real, cuts=CUTS), worker).result(), photographs)


# ---- found and chosen


def test_engines_are_found_by_listing_the_folder() -> None:
    assert engines.names() == ("openvino", "keras")
    for name in engines.names():
        module = engines.module(name)
        assert name == module.NAME
        assert module.version()


def test_openvino_is_preferred_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.choose() == "openvino"
    monkeypatch.setattr(engines.module("openvino"), "reason_not", lambda: "no wheel for this machine")
    monkeypatch.setattr(engines.module("keras"), "reason_not", lambda: None)
    assert engines.choose() == "keras"
    monkeypatch.setattr(engines.module("keras"), "reason_not", lambda: "no backend")
    with pytest.raises(EngineError, match=r"(?s)no wheel for this machine.*no backend"):
        engines.choose()


def test_an_engine_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.module("keras"), "reason_not", lambda: None)
    monkeypatch.setenv("HEADSTART_ENGINE", "keras")
    assert engines.choose() == "keras"
    monkeypatch.setattr(engines.module("keras"), "reason_not", lambda: "torch is not installed")
    with pytest.raises(InputError, match="torch is not installed"):
        engines.choose()
    monkeypatch.setenv("HEADSTART_ENGINE", "kears")
    with pytest.raises(InputError, match="Did you mean keras"):
        engines.choose()


def test_precision_is_what_was_asked_for_or_what_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    best = engines.module("openvino").best_precision
    for name in ("f32", "bf16"):
        monkeypatch.setenv("HEADSTART_PRECISION", name)
        assert best() == name
    monkeypatch.delenv("HEADSTART_PRECISION")
    import openvino

    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert best() == ("bf16" if "BF16" in has else "f32")


# ---- right by value


@pytest.fixture
def precise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")


def test_outputs_of_equal_width_are_told_apart(worker: Worker, small_source: dict[str, Any], precise: None) -> None:
    cuts = ("conv_pw_11_relu", "conv_pw_6_relu", "conv_pw_8_relu", "conv_dw_8_relu")  # all of 128 channels
    trunk = prepare(spec(**small_source, cuts=cuts), worker).result()
    assert {output.dimensions for output in trunk.outputs} == {128}
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    found = run(trunk, pixels)
    wanted = [by_keras(small_source, output.layer, output.pooling, pixels) for output in trunk.outputs]
    for index, output in enumerate(trunk.outputs):
        apart = [float(np.abs(found[index] - other).max() / np.abs(other).max()) for other in wanted]
        assert apart[index] < 1e-2, output
        assert min(apart[:index] + apart[index + 1 :]) > 5e-2, output


def test_flattened_features_are_in_keras_order(worker: Worker, small_source: dict[str, Any], precise: None) -> None:
    trunk = prepare(spec(**small_source, cuts=("conv_pw_11_relu",), pooling="flatten"), worker).result()
    pixels = np.random.default_rng(0).integers(0, 255, (11, 64, 64, 3), np.uint8)
    (found,) = run(trunk, pixels)
    assert alike(found, by_keras(small_source, "conv_pw_11_relu", "flatten", pixels))[0] < 1e-2


@pytest.mark.parametrize("name", ["efficientnetb0", "mobilenetv3small"])
def test_squeeze_and_excitation_runs_in_batches(worker: Worker, name: str, precise: None) -> None:
    wanted = {"source": name, "image_size": (48, 48), "weights": "random"}
    cut = {"efficientnetb0": "block2a_project_bn", "mobilenetv3small": "expanded_conv_project_bn"}[name]
    trunk = prepare(spec(**wanted, cuts=(cut,), pooling="avg"), worker).result()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 48, 48, 3), np.uint8)
    (found,) = run(trunk, pixels)
    assert alike(found, by_keras(wanted, cut, "avg", pixels))[0] < 1e-2


def test_pictures_do_not_depend_on_their_neighbours(
    f32: list[np.ndarray],
    worker: Worker,
    real: dict[str, Any],
    photographs: np.ndarray,
    precise: None,
) -> None:
    trunk = prepare(spec(**real, cuts=CUTS), worker).result()
    for found, wanted in zip(run(trunk, photographs[::-1][:3]), f32, strict=True):
        np.testing.assert_array_equal(found, wanted[::-1][:3])


def test_f32_on_openvino_is_what_keras_says(
    f32: list[np.ndarray], real: dict[str, Any], photographs: np.ndarray
) -> None:
    for index, cut in enumerate(CUTS):
        apart, cosine = alike(f32[2 * index], by_keras(real, cut, "avg", photographs))
        assert apart < 2e-3
        assert cosine > 0.9999


def test_bf16_is_close(
    f32: list[np.ndarray], real: dict[str, Any], photographs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "bf16")
    with Worker("openvino") as other:
        trunk = prepare(spec(**real, cuts=CUTS), other).result()
    assert trunk.precision == "bf16"
    for output, found, wanted in zip(trunk.outputs, run(trunk, photographs), f32, strict=True):
        # Eight bits of mantissa through 27 layers; measured: 0.9994 and more, at the deepest cut 0.983.
        assert alike(found, wanted)[1] > (0.97 if output.layer == CUTS[-1] else 0.998), output


BY_TENSORFLOW = """
import json, sys
from pathlib import Path
import numpy as np
from headstart.dataset import Dataset
from headstart.features import extract
from headstart.store import Store
from headstart.trunk import prepare, spec
from headstart.worker import lazy
wanted = json.loads(sys.argv[1])
with lazy("openvino") as worker, Store() as store:
    trunk = prepare(spec(**wanted), worker).result()
    features = extract(Dataset.from_folder(sys.argv[2]).digested(), trunk, store)
    np.save(sys.argv[3], features.matrix(range(len(features.dataset))))
    assert not features.bad
print(trunk.engine, trunk.numerics, "tensorflow" in sys.modules)
"""


@pytest.fixture
def photo_folder(tmp_path: Path, shared_pictures: list[Path]) -> Path:
    for path in shared_pictures:
        (tmp_path / "photos" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / path.parent.name / path.name).symlink_to(path)
    return tmp_path / "photos"


def test_keras_on_tensorflow_gives_the_same_features(
    f32: list[np.ndarray], real: dict[str, Any], photo_folder: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    environment = dict(os.environ, HEADSTART_ENGINE="keras", KERAS_BACKEND="tensorflow")
    arguments = [json.dumps({**real, "cuts": CUTS}), str(photo_folder), str(tmp_path / "found.npy")]
    done = subprocess.run(
        [sys.executable, "-c", BY_TENSORFLOW, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    engine, numerics = done.stdout.split(maxsplit=1)
    assert engine == "keras"
    assert "tensorflow" in numerics
    assert numerics.split()[-1] == "True"
    found = np.load(tmp_path / "found.npy").astype(np.float32)
    for part, wanted in zip(np.split(found, np.cumsum([v.shape[1] for v in f32])[:-1], axis=1), f32, strict=True):
        apart, cosine = alike(part, wanted)
        assert apart < 1e-2
        assert cosine > 0.9999


# ---- loading


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "trunk.xml").write_text("<net/>")
    return tmp_path


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_what_cannot_be_loaded_is_an_engine_error(broken: Path, small_trunk: Trunk, name: str) -> None:
    with pytest.raises(EngineError, match="cannot load"):
        engines.load(name, broken, small_trunk.facts)


def test_outputs_of_other_widths_are_refused(small_trunk: Trunk) -> None:
    facts = {**small_trunk.facts, "outputs": small_trunk.facts["outputs"][::-1]}
    with pytest.raises(EngineError, match="expected"):
        engines.load("openvino", small_trunk.folder, facts)


HOT_PATH = """
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import headstart.worker
from headstart.classifier import Classifier
from headstart.recipe import Recipe
from headstart.train import train

photos, target = sys.argv[1], Path(sys.argv[2])
recipe = Recipe(source="mobilenet_0.25", weights="random", image_size=(64, 64))
train(photos, recipe, output=target)
picture = next(Path(photos).rglob("*.jpg"))
first = Classifier.load(target).predict(picture)

def refuse(*_):
    raise AssertionError("a worker was started on the hot path")

headstart.worker.Worker.__init__ = refuse
train(photos, recipe, output=target.with_name("second.keras"))
assert Classifier.load(target).predict(picture) == first
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_a_warm_run_needs_no_framework_and_no_worker(tiny_pictures: Path, tmp_path: Path) -> None:
    arguments = [str(tiny_pictures), str(tmp_path / "model.keras")]
    done = subprocess.run([sys.executable, "-c", HOT_PATH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert {"headstart", "openvino", "numpy"} <= modules
    assert modules.isdisjoint({"keras", "tensorflow", "torch", "jax"})


def test_the_first_inference_of_a_process_is_made_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = engines.module("openvino")
    monkeypatch.setattr(module, "_begun", threading.Event())
    engine = module.Engine.__new__(module.Engine)
    inside, most = [0], [0]

    def slowly(pixels: np.ndarray) -> list[np.ndarray]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        inside[0] -= 1
        return [pixels]

    monkeypatch.setattr(engine, "_infer", slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.infer, [np.zeros(1)] * 4))
        assert most[0] == 1
        list(pool.map(engine.infer, [np.zeros(1)] * 4))
    assert most[0] > 1  # afterwards they run side by side
