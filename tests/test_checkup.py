"""The whole of `headstart check`, with a small network of random weights in place of the default one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import headstart as hs
from headstart import checkup, findings, sources, trunk
from headstart.cli import cli
from headstart.errors import PhotosError, SourceError
from headstart.recipe import Recipe
from headstart.train import train

WRONG = (6, 7, 26, 27)


@pytest.fixture
def small_network(small_source: dict[str, Any], monkeypatch: pytest.MonkeyPatch, f32: None) -> None:
    """Whatever network is asked for, a small one answers."""
    spec = trunk.spec
    monkeypatch.setattr(checkup, "_network", lambda source: None if source == "none" else "mobilenet_0.25")
    monkeypatch.setattr(trunk, "spec", lambda name, **_: spec(**{**small_source, "source": name}))


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Two classes of 40 that any network tells apart, two of each under the other's label."""
    rng = np.random.default_rng(0)
    for number in range(80):
        warm = number % 2
        pixels = rng.integers(0, 55, (8, 8, 1), dtype=np.uint8).repeat(3, axis=2)
        pixels[..., 0 if warm else 2] += 200
        label = "warm" if warm != (number in WRONG) else "cold"
        picture = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "set" / label / f"{number:02d}.png")
    return tmp_path / "set"


@pytest.mark.usefixtures("small_network")
def test_wrong_labels_and_copies_are_found_and_nothing_is_changed(colours: Path, tmp_path: Path) -> None:
    shutil.copy(colours / "warm" / "01.png", colours / "warm" / "copy.png")
    Image.open(colours / "cold" / "00.png").save(colours / "cold" / "twin.jpg", quality=70)
    before = {path: path.read_bytes() for path in colours.rglob("*.*")}
    stages: list[str] = []
    result = checkup.check(colours, progress=lambda stage, *_: stages.append(stage))
    assert {each.files for each in result.findings if each.kind == "suspect_label"} == {
        ("warm/06.png",), ("cold/07.png",), ("warm/26.png",), ("cold/27.png",)
    }  # fmt: skip
    assert result.findings.counts == {"duplicate": 1, "near_duplicate": 1, "suspect_label": 4}
    assert (result.source, result.unreadable) == ("mobilenet_0.25", 0)
    assert {"reading", "looking", "features"} <= set(stages)
    assert {path: path.read_bytes() for path in colours.rglob("*.*")} == before
    assert hs.audit(colours).counts == result.findings.counts
    assert hs.audit(colours, source="none").counts == {"duplicate": 1, "near_duplicate": 1}


@pytest.mark.usefixtures("small_network")
def test_the_command_tells_all_of_it_and_strict_ends_with_two(colours: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cli, ["check", str(colours), *arguments])
        return done.exit_code, done.stdout, done.stderr

    status, out, _ = run("--json")
    told = json.loads(out)
    assert (status, told["counts"], told["images"], told["source"]) == (0, {"suspect_label": 4}, 80, "mobilenet_0.25")
    assert set(told["findings"][0]) == {"kind", "files", "note", "action"}
    status, out, err = run("--json", "--strict")
    assert (status, json.loads(out)) == (2, told)
    assert "4 findings, and --strict allows none" in err
    status, out, _ = run("--strict", "--source", "none")
    assert status == 0
    assert "Nothing to report" in out
    assert "Labels were not looked at" in out
    status, out, _ = run()
    assert status == 0
    assert out.count("suspect label: ") == 4
    assert "Labels were not looked at" not in out


@pytest.mark.usefixtures("small_network")
def test_few_pictures_need_no_network(tiny_pictures: Path) -> None:
    result = checkup.check(tiny_pictures)
    assert result.findings == ()
    assert result.source is None


def test_which_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "is_here", lambda _: True)
    assert checkup._network("auto") == Recipe.source
    assert checkup._network("none") is None
    assert checkup._network("MobileNetV2") == "mobilenetv2"
    monkeypatch.setattr(sources, "is_here", lambda _: False)
    assert checkup._network("auto") is None
    with pytest.raises(SourceError, match="mobilenetv2"):
        checkup._network("mobilenetv22")


def test_strict_training_refuses_before_and_after_the_long_part(
    colours: Path, small_source: dict[str, Any], tmp_path: Path, f32: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    recipe, model = Recipe(**small_source), tmp_path / "model.keras"
    with pytest.raises(PhotosError, match=r"suspect label.*with --strict nothing may be found"):
        train(colours, recipe, output=model, strict=True)
    assert not model.exists()
    shutil.copy(colours / "warm" / "01.png", colours / "warm" / "copy.png")
    with monkeypatch.context() as patch:
        patch.setattr("headstart.train.extract", lambda *_, **__: pytest.fail("the long part was begun"))
        with pytest.raises(PhotosError, match=r"^1 duplicate: with --strict"):
            hs.train(colours, recipe, output=model, strict=True)
        patch.setattr("headstart.ranker.before_training", lambda *_: pytest.fail("sources were ranked"))
        with pytest.raises(PhotosError, match=r"^1 duplicate: with --strict"):
            hs.train(colours, Recipe(source="auto"), output=model, strict=True)
    assert not model.exists()


def test_training_tells_of_all_it_found_and_keeps_twins_together(
    colours: Path, small_source: dict[str, Any], f32: None
) -> None:
    for number in (0, 2, 4):
        Image.open(colours / "cold" / f"{number:02d}.png").save(colours / "cold" / f"twin{number}.jpg", quality=60)
    result = train(colours, Recipe(**small_source))
    assert findings.counts(result.findings)["near_duplicate"] == 3
    trained = {result.dataset.files[row] for row in result.rows["train"]}
    for number in (0, 2, 4):
        assert (f"cold/{number:02d}.png" in trained) == (f"cold/twin{number}.jpg" in trained)
    suspects = {each.files[0] for each in result.findings if each.kind == "suspect_label"}
    assert suspects == {"warm/06.png", "cold/07.png", "warm/26.png", "cold/27.png"} & trained
    assert suspects


def test_two_labels_among_real_pictures(shared: Path, tmp_path: Path) -> None:
    """Two pictures of the shared set sit in two classes each."""
    wanted = {"glass": (115, 389), "metal": (91,), "plastic": (332,)}
    for name, numbers in wanted.items():
        (tmp_path / name).mkdir()
        folder = shared / "data" / "trashnet6" / name
        for path in [*(folder / f"{name}{number}.jpg" for number in numbers), *sorted(folder.iterdir())[:5]]:
            shutil.copy(path, tmp_path / name)
    found = checkup.check(tmp_path, source="none").findings
    assert {each.files for each in found if each.kind == "two_labels"} == {
        ("glass/glass115.jpg", "metal/metal91.jpg"), ("glass/glass389.jpg", "plastic/plastic332.jpg")
    }  # fmt: skip
    assert found.counts.keys() == {"two_labels", "odd"}, "and the classes are tiny"
    re_encoded = tmp_path / "plastic" / "plastic332.jpg"
    Image.open(re_encoded).save(re_encoded, quality=70)
    (near,) = (
        each for each in checkup.check(tmp_path, source="none").findings if each.note.startswith("Nearly the same")
    )
    assert (near.kind, near.files) == ("two_labels", ("glass/glass389.jpg", "plastic/plastic332.jpg"))


def test_a_shortcut_is_told(tmp_path: Path, textile_pictures: Callable[[str, int], list[Path]]) -> None:
    for name, suffix in (("global", "png"), ("nominal", "jpg")):
        (tmp_path / name).mkdir()
        for path in textile_pictures(name, 40):
            Image.open(path).convert("RGB").resize((64, 64)).save(tmp_path / name / f"{path.stem}.{suffix}")
    (finding,) = checkup.check(tmp_path, source="none").findings
    assert finding.kind == "shortcut"
    assert finding.note.startswith("100% of global are PNG files, of nominal 0%")
