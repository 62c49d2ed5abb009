"""Trunks: compiled once, found again, compiled again where anything of them is damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import sources
from headstart.errors import InputError, SourceError
from headstart.trunk import (
    Output,
    Trunk,
    TrunkSpec,
    cut_name,
    cuts_of,
    is_joined,
    prepare,
    spec,
    trunks_folder,
)
from headstart.worker import Worker

CUTS = ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu")  # as in `small_trunk`


class NoWorker:
    """A worker that must not be asked."""

    def submit(self, job: str, **_: Any) -> Future[Any]:
        raise AssertionError(f"{job} was asked for")


class Counting:
    """A worker that counts what it is asked for."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.jobs: list[str] = []

    def submit(self, job: str, **arguments: Any) -> Future[Any]:
        self.jobs.append(job)
        return self.worker.submit(job, **arguments)


@pytest.fixture(autouse=True)
def _f32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")


@pytest.fixture
def wanted(small_source: dict[str, Any]) -> TrunkSpec:
    return spec(**small_source, cuts=CUTS)


@pytest.fixture
def kept(small_trunk: Trunk, fresh_cache: Path) -> Path:
    """A copy of `small_trunk`'s folder in a cache of the test's own."""
    target = trunks_folder() / small_trunk.folder.name
    shutil.copytree(small_trunk.folder, target)
    return target


def numbers(trunk: Trunk) -> list[np.ndarray]:
    engine = trunk.load()
    try:
        return engine.infer(
            np.random.default_rng(0).integers(0, 255, (engine.batch_size, *trunk.image_size, 3), np.uint8)
        )
    finally:
        engine.close()


def test_a_second_prepare_asks_no_worker(small_trunk: Trunk, wanted: TrunkSpec) -> None:
    pending = prepare(wanted, NoWorker())
    assert pending.ready()
    assert pending.result() == small_trunk
    assert pending.image_size == (64, 64)


def test_what_a_trunk_says_of_itself(small_trunk: Trunk) -> None:
    assert [(output.layer, output.pooling) for output in small_trunk.outputs] == [
        (cut, pooling) for cut in CUTS for pooling in ("avg", "max")
    ]
    assert [output.dimensions for output in small_trunk.outputs] == [64, 64, 128, 128, 256, 256]
    assert small_trunk.outputs[2].shape == (4, 4, 128)
    assert len({output.fingerprint for output in small_trunk.outputs}) == 6
    assert small_trunk.precision == "f32"
    assert small_trunk.numerics.startswith("openvino ")
    assert [value.shape for value in numbers(small_trunk)] == [(8, o.dimensions) for o in small_trunk.outputs]


def test_another_cache_folder_has_nothing(wanted: TrunkSpec, fresh_cache: Path) -> None:
    with pytest.raises(AssertionError, match="was asked for"):
        prepare(wanted, NoWorker())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"image_size": (64, 96)},
        {"cuts": (CUTS[2], CUTS[0])},
        {"poolings": ("max",)},
        {"source": "mobilenet_0.5"},
    ],
)
def test_another_question_is_compiled_by_itself(small_trunk: Trunk, wanted: TrunkSpec, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="compile_source"):
        prepare(replace(wanted, **change), NoWorker())


def test_another_precision_is_compiled_by_itself(
    small_trunk: Trunk, wanted: TrunkSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "bf16")
    with pytest.raises(AssertionError, match="compile_source"):
        prepare(wanted, NoWorker())


def no_facts(folder: Path) -> None:
    (folder / "trunk.json").unlink()


def facts_cut_short(folder: Path) -> None:
    text = (folder / "trunk.json").read_text()
    (folder / "trunk.json").write_text(text[: len(text) // 2])


def facts_of_another_kind(folder: Path) -> None:
    (folder / "trunk.json").write_text("[]")


def facts_altered(folder: Path) -> None:
    facts = json.loads((folder / "trunk.json").read_text())
    facts["precision"] = "bf17"
    (folder / "trunk.json").write_text(json.dumps(facts))


def no_graph(folder: Path) -> None:
    (folder / "trunk.xml").unlink()


def graph_cut_short(folder: Path) -> None:
    os.truncate(folder / "trunk.xml", 1000)


def weights_cut_short(folder: Path) -> None:
    os.truncate(folder / "trunk.bin", 1000)


def one_weight_altered(folder: Path) -> None:
    data = bytearray((folder / "trunk.bin").read_bytes())
    data[len(data) // 2] ^= 64
    (folder / "trunk.bin").write_bytes(data)


DAMAGES = [
    no_facts, facts_cut_short, facts_of_another_kind, facts_altered, no_graph, graph_cut_short, weights_cut_short,
    one_weight_altered,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trunk_is_compiled_again(
    kept: Path, small_trunk: Trunk, wanted: TrunkSpec, worker: Worker, damage: Callable[[Path], None]
) -> None:
    assert prepare(wanted, NoWorker()).result().folder == kept
    damage(kept)
    counting = Counting(worker)
    again = prepare(wanted, counting).result()
    assert counting.jobs == ["compiling:compile_source"]
    assert again.outputs == small_trunk.outputs
    assert all(np.array_equal(a, b) for a, b in zip(numbers(again), numbers(small_trunk), strict=True))
    assert prepare(wanted, NoWorker()).result() == again


def test_a_trunk_of_a_cache_that_cannot_be_written_is_used(
    kept: Path, wanted: TrunkSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refused)
    assert prepare(wanted, NoWorker()).result().folder == kept


def test_use_is_noted_for_pruning(kept: Path, wanted: TrunkSpec) -> None:
    os.utime(kept, (1, 1))
    prepare(wanted, NoWorker())
    assert kept.stat().st_mtime > 10**9


def test_nothing_half_written_is_left(small_trunk: Trunk) -> None:
    assert sorted(path.name for path in small_trunk.folder.iterdir()) == ["trunk.bin", "trunk.json", "trunk.xml"]
    assert [path.name for path in small_trunk.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_an_unknown_cut_is_the_callers_error(worker: Worker, small_source: dict[str, Any], fresh_cache: Path) -> None:
    pending = prepare(spec(**small_source, cuts=("conv_pw_5_rellu",)), worker)
    with pytest.raises(SourceError, match="conv_pw_5_relu"):
        pending.result()
    assert list(fresh_cache.rglob("*.xml")) == []


def test_too_wide_a_cut_is_refused(worker: Worker, small_source: dict[str, Any], fresh_cache: Path) -> None:
    large = {**small_source, "image_size": (960, 960)}
    with pytest.raises(SourceError, match="numbers a picture"):
        prepare(spec(**large, cuts=("conv_pw_1_relu",), pooling="flatten"), worker).result()


def test_every_block_end_is_a_cut_where_none_is_named(
    worker: Worker, small_source: dict[str, Any], fresh_cache: Path
) -> None:
    trunk = prepare(spec(**small_source, pooling="max"), worker).result()
    assert [output.layer for output in trunk.outputs] == [f"conv_pw_{number}_relu" for number in range(1, 14)]
    assert {output.pooling for output in trunk.outputs} == {"max"}


def test_a_spec_has_the_sources_own_defaults() -> None:
    found = sources.find("efficientnet_lite0")
    assert spec("efficientnet_lite0").image_size == found.image_size
    assert spec("efficientnet_lite0").poolings == ("avg", "max")
    assert spec("efficientnet_lite0", pooling="avg+max").poolings == ("avg", "max")
    assert spec("efficientnet_lite0", pooling="flatten").poolings == ("flatten",)


def test_a_spec_is_checked() -> None:
    with pytest.raises(SourceError, match="at least 32"):
        spec("mobilenet_0.25", image_size=(16, 64))
    with pytest.raises(SourceError, match="Did you mean avg"):
        spec("mobilenet_0.25", pooling="avgg")
    with pytest.raises(SourceError, match="no source named"):
        spec("mobilenet_0.33")


def test_an_unknown_engine_is_refused(wanted: TrunkSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_ENGINE", "openvin")
    with pytest.raises(InputError, match="Did you mean openvino"):
        prepare(wanted, NoWorker())


# ---- what a recipe calls a cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "layers", "joined"),
    [
        ("auto", (), False), ("all", (), True), ("top", ("top",), False), ("low+top", ("low", "top"), True),
        ("low + top", ("low", "top"), True), ("all_of_it", ("all_of_it",), False),
    ],
)  # fmt: skip
def test_a_cut_names_layers_and_says_whether_they_stand_side_by_side(
    cut: str, layers: tuple[str, ...], joined: bool
) -> None:
    assert cuts_of(cut) == layers
    assert is_joined(cut) is joined


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        (("low",), "low"), (("low", "top"), "low+top"), (("low", "middle", "top"), "all"),
        (("low", "low", "middle", "middle", "top", "top"), "all"), (("top", "middle", "low"), "top+middle+low"),
    ],
)  # fmt: skip
def test_several_that_are_all_block_ends_are_called_all(layers: tuple[str, ...], name: str) -> None:
    every = [
        Output(layer, pooling, (1, 1, 4), 4, f"{layer} {pooling}")
        for layer in ("low", "middle", "top") for pooling in ("avg", "max")
    ]  # fmt: skip
    assert cut_name(layers, every) == name
    assert cuts_of(name) == (() if name == "all" else tuple(dict.fromkeys(layers)))
    assert cut_name(layers, ()) == "+".join(dict.fromkeys(layers)), "where there is no list, nothing is all of it"


def test_one_layer_that_is_all_there_is_keeps_its_name() -> None:
    assert cut_name(["top"], [Output("top", "avg", (1, 1, 4), 4, "top avg")]) == "top"
