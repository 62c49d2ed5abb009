"""Fixtures that all tests share.

| fixture            | scope    | what it is
|--------------------|----------|-----------
| (session cache)    | session  | in use by itself: `HEADSTART_CACHE` is a temporary folder, other settings are unset
| `fresh_cache`      | function | an empty cache folder of the test's own, seen by children that are started after it
| `shared`           | session  | the folder of shared data and weights beside the checkout; skips where it is missing
| `shared_pictures`  | session  | paths of 16 real photographs, JPEG, of various sizes; skips where they are missing
| `textile_pictures` | session  | function (class, count) -> paths of pictures of the installed demo data; skips without
| `tiny_pictures`    | session  | a folder of three classes of 16 textile pictures each: do not change it, copy it
| `small_source`     | session  | keyword arguments of `headstart.trunk.spec` for a trunk that compiles in a second
| `worker`           | session  | a running `Worker("openvino")`; it keeps the environment that it was started with
| `small_trunk`      | session  | the compiled trunk of `small_source`: three cuts, avg and max, f32
| `tiny_dataset`     | session  | `tiny_pictures` as a `Dataset` that is hashed
| `f32`              | function | features and predictions of this test are computed in f32
| `trained`          | session  | `tiny_pictures` trained with `small_source` in f32; `.model` and `.report` are written
| `loaded`           | session  | the classifier of `trained`, read from its file
| `labels_table`     | session  | a CSV of the pictures of `tiny_pictures` with the labels fault, wide and odd
| `values_table`     | session  | a CSV of the same pictures with a number: the spread of their grey levels
| `trained_labels`   | session  | `labels_table` trained with `small_source` in f32; `.model` and `.report` are written
| `trained_values`   | session  | the same of `values_table`
| `run`              | function | function (*arguments, stdin) -> (exit status, stdout, stderr) of the command line
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")  # before any test imports Keras: it needs no TensorFlow
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from headstart.classifier import Classifier
from headstart.cli import main
from headstart.dataset import Dataset
from headstart.images import read
from headstart.recipe import Recipe
from headstart.result import TrainResult
from headstart.train import train
from headstart.trunk import Trunk, prepare, spec
from headstart.worker import Worker

SHARED = Path(__file__).parents[2] / "shared"
SETTINGS = ("HEADSTART_CACHE_GB", "HEADSTART_ENGINE", "HEADSTART_PRECISION")


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fresh-cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the shared data and weights are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def shared_pictures(shared: Path) -> list[Path]:
    folder = shared / "data" / "cats_vs_dogs" / "validation"
    found = [path for name in ("cats", "dogs") for path in sorted((folder / name).glob("*.jpg"))[:8]]
    if len(found) < 16:
        pytest.skip(f"no photographs in {folder}")
    return found


@pytest.fixture(scope="session")
def textile_pictures() -> Callable[[str, int], list[Path]]:
    found = importlib.util.find_spec("conformal_clip_data")
    if found is None or found.origin is None:
        pytest.skip("the package conformal-clip-data is not installed")
    folder = Path(found.origin).parent / "data" / "textile_images" / "simulated"

    def some(name: str, count: int) -> list[Path]:
        return sorted(path for path in (folder / name).iterdir() if path.is_file())[:count]

    return some


@pytest.fixture(scope="session")
def tiny_pictures(tmp_path_factory: pytest.TempPathFactory, textile_pictures: Callable[[str, int], list[Path]]) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "textile"
    for name in ("global", "local", "nominal"):
        (folder / name).mkdir(parents=True)
        for path in textile_pictures(name, 16):
            shutil.copy(path, folder / name)
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tiny_pictures: Path) -> Dataset:
    return Dataset.from_folder(tiny_pictures).digested()


@pytest.fixture(scope="session")
def small_source() -> dict[str, Any]:
    return {"source": "mobilenet_0.25", "image_size": (64, 64), "weights": "random"}


@pytest.fixture(scope="session")
def worker(_session_cache: Path) -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(_session_cache))
        running = Worker("openvino")
    with running:
        yield running


@pytest.fixture(scope="session")
def small_trunk(_session_cache: Path, worker: Worker, small_source: dict[str, Any]) -> Trunk:
    wanted = spec(**small_source, cuts=("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(_session_cache))
        return prepare(wanted, worker).result()


@pytest.fixture
def f32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")


@pytest.fixture(scope="session")
def trained(
    _session_cache: Path, tiny_pictures: Path, small_source: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(_session_cache))
        return train(
            tiny_pictures, Recipe(**small_source), output=folder / "textile.keras", report=folder / "textile.html"
        )


@pytest.fixture(scope="session")
def loaded(_session_cache: Path, trained: TrainResult) -> Classifier:
    assert trained.model is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(_session_cache))
        return Classifier.load(trained.model)


@pytest.fixture(scope="session")
def labels_table(tiny_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fault: global or local; wide: global; odd: every other picture, which no network can see."""
    rows = ["path,labels"]
    for number, path in enumerate(sorted(tiny_pictures.rglob("*.jpg"))):
        kind = path.parent.name
        named = ["fault"] * (kind != "nominal") + ["wide"] * (kind == "global") + ["odd"] * (number % 2)
        rows.append(f"{path},{'|'.join(named)}")
    table = tmp_path_factory.mktemp("labels") / "labels.csv"
    table.write_text("\n".join(rows), "utf-8")
    return table


@pytest.fixture(scope="session")
def values_table(tiny_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = ["path,value"]
    for path in sorted(tiny_pictures.rglob("*.jpg")):
        rows.append(f"{path},{float(read(path, (64, 64)).std()):.4f}")
    table = tmp_path_factory.mktemp("values") / "values.csv"
    table.write_text("\n".join(rows), "utf-8")
    return table


def _trained_on(table: Path, cache: Path, source: dict[str, Any]) -> TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        patch.setenv("HEADSTART_CACHE", str(cache))
        return train(table, Recipe(**source), output=table.with_suffix(".keras"), report=table.with_suffix(".html"))


@pytest.fixture(scope="session")
def trained_labels(_session_cache: Path, labels_table: Path, small_source: dict[str, Any]) -> TrainResult:
    return _trained_on(labels_table, _session_cache, small_source)


@pytest.fixture(scope="session")
def trained_values(_session_cache: Path, values_table: Path, small_source: dict[str, Any]) -> TrainResult:
    return _trained_on(values_table, _session_cache, small_source)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line as `main` does."""

    def call(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", iter(stdin.splitlines(keepends=True)))
        status = 0
        try:
            main()
        except SystemExit as leave:
            status = int(leave.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call
