"""The site: what is made from code and figures is what the pages show, and every example in the reference runs."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import click
import pytest

import headstart
from headstart.cli import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def tool(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def fill() -> ModuleType:
    return tool("fill_pages")


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    return tool("site_parts")


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    (tmp_path / "few.json").write_text(json.dumps({"at": {"5": 0.6711}, "rows": [3, "| a |\n|---|"], "cut": "mixed7"}))
    return tmp_path


def test_figures_are_put_where_a_page_asks_for_them(fill: ModuleType, figures: Path) -> None:
    page = "is <!--=few:at.5:.2f-->?<!--/-->, of <!--=few:rows.0-->?<!--/-->, at <!--=few:cut:code--><!--/-->."
    once = fill.filled(page, figures)
    assert re.sub("<!--.*?-->", "", once) == "is 0.67, of 3, at `mixed7`."
    assert fill.filled(once, figures) == once


def test_a_table_of_figures_takes_lines_of_its_own(fill: ModuleType, figures: Path) -> None:
    page = "Rows: <!--=few:rows.1-->old\n\nlines<!--/--> end"
    assert fill.filled(page, figures) == "Rows: <!--=few:rows.1-->\n\n| a |\n|---|\n\n<!--/--> end"


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("is <!--=few:at.6-->?<!--/-->", "no '6' in 5"),
        ("is <!--=few:rows.7-->?<!--/-->", "no '7' in a list"),
        ("is <!--=many:at-->?<!--/-->", "there is no"),
        ("text\n- <!--=few:at.5-->?<!--/-->", "begins a line"),
        ("is `<!--=few:at.5-->?<!--/-->`", "backticks"),
    ],
)
def test_a_figure_that_cannot_be_had_is_refused(fill: ModuleType, figures: Path, page: str, why: str) -> None:
    with pytest.raises(fill.FigureError, match=re.escape(why)):
        fill.filled(page, figures)


def test_a_page_that_says_something_else_is_found_and_mended(
    fill: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("notebooks"))
    page = tmp_path / "docs/explain.md"
    monkeypatch.setattr(fill, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["fill_pages.py", "--check"])
    assert fill.main() == 0, "the pages of this checkout are stale: run python tools/fill_pages.py"
    text = page.read_text("utf-8")
    page.write_text(re.sub(r"(few\.pretrained\.2:\.3f-->)[\d.]+", r"\g<1>0.999", text), "utf-8")
    assert fill.main() == 1
    assert "explain.md" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["fill_pages.py"])
    assert fill.main() == 0
    assert page.read_text("utf-8") == text


def test_drawings_show_every_value_in_light_and_dark() -> None:
    svg = tool("figure_svg").chart("A & B", [1, 10, 100], {"a": [0.1, 0.5, 0.4]}, x_label="n", y_label="y", log=True)
    root = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    places = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in root.iter(f"{space}circle")]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.1)  # by the logarithm
    assert places[1][1] < places[2][1] < places[0][1]  # more is higher up
    assert "prefers-color-scheme: dark" in svg
    with pytest.raises(ValueError, match="with 0"):
        tool("figure_svg").chart("A", [1], {"a": []}, x_label="n", y_label="y")


def test_the_drawings_that_pages_show_carry_their_own_ground() -> None:
    shown = {path for page in PAGES for path in re.findall(r"\]\((figures/[^)]+\.svg)\)", page.read_text("utf-8"))}
    assert shown
    assert shown == {f"figures/{path.name}" for path in (DOCS / "figures").glob("*.svg")}
    for path in shown:
        assert 'class="ground"' in (DOCS / path).read_text("utf-8")


def test_every_public_name_is_in_the_reference(parts: ModuleType) -> None:
    text = parts.filled((DOCS / "reference.md").read_text("utf-8"))
    shown = re.findall(r"^\.\. auto(?:function|class|module):: (?:hs|headstart)\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(name for name in headstart.__all__ if not name.startswith("__"))
    assert shown[0] == "train"


def test_stages_are_functions_behind_the_door_of_the_reference(parts: ModuleType) -> None:
    door = parts.door()
    assert not isinstance(door.train, ModuleType)
    assert door.train.__module__ == "headstart.api"
    assert isinstance(door.errors, ModuleType)


RECIPE = """\
document: "001, 003"   # a comment that is kept
summary: Cut in the middle.
source: inceptionv3
image_size: [150, 160]
preprocessing: unit
cut: mixed7
pooling: flatten
head: dense
head_options:
  layers: [{dense: 1024, activation: relu}, {dropout: 0.2}]
  output: auto
  optimizer: rmsprop
  learning_rate: 1.0e-4
  steps_per_epoch: 100
  epochs: 7
augment: {rotation: 40, horizontal_flip: true}
views: live
"""


def test_recipes_are_shown_with_what_they_decide(parts: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE, "utf-8")
    (tmp_path / "mine-plain.yaml").write_text("summary: All by itself.\npreprocessing: source\n", "utf-8")
    first, second = parts.recipes(tmp_path).split("\n## mine-plain\n")
    assert first.startswith("## mine\n\nCut in the middle.\n")
    assert RECIPE.strip() in first
    for words in (
        "`inceptionv3` at 150 × 160 pixels",
        "| preprocessing | `unit`, not the source's own |",
        "dense 1024, relu → dropout 0.2 → 1 sigmoid for two classes, else a softmax",
        "rmsprop at 0.0001, 100 steps an epoch, 7 epochs", "rotation 40, horizontal flip yes", "| views | `live` |",
    ):  # fmt: skip
        assert words in first
    assert "| head | linear |" in second
    assert "views" not in second
    assert "not the source" not in second


def test_every_recipe_has_its_why(parts: ModuleType) -> None:
    told = re.findall(r"^\*\*`([a-z0-9-]+)`\*\*", (DOCS / "explain.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(told) == sorted(path.stem for path in parts.RECIPES.glob("*.yaml"))


def test_examples_in_the_tools_run(parts: ModuleType) -> None:
    outcome = doctest.testmod(parts)
    assert (outcome.failed, outcome.attempted > 0) == (0, True)


def test_notebooks_are_listed_by_their_titles(parts: ModuleType, tmp_path: Path) -> None:
    assert "no notebooks" in parts.notebooks(tmp_path)
    cells = [{"cell_type": "code", "source": ["# not this"]}, {"cell_type": "markdown", "source": ["# Cats\n", "and"]}]
    (tmp_path / "cats.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")
    assert parts.notebooks(tmp_path) == "- {download}`Cats <notebooks/cats.ipynb>`\n"


def test_what_a_page_would_fetch_is_found(parts: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text('<a href="https://a.example">out</a><script src="own.js"></script>', "utf-8")
    (tmp_path / "own.css").write_text("a { background: url(own.png) }", "utf-8")
    assert parts.fetched(tmp_path) == []
    (tmp_path / "far.html").write_text('<link rel="stylesheet" href="https://b.example/x.css">', "utf-8")
    (tmp_path / "far.css").write_text(
        "@import 'https://c.example/y.css'; @font-face { src: url(//d.example/z) }", "utf-8"
    )
    hosts = ("c.example", "d.example", "b.example")
    assert [host in hit for host, hit in zip(hosts, parts.fetched(tmp_path), strict=True)] == [True] * 3


def said(page: Path) -> list[list[str]]:
    """The words of every headstart command on a page that is written by hand, without comments."""
    text = page.read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    lines += re.findall(r"`(headstart [^`]+)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("headstart ")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "cli.md"], ids=lambda page: page.name)
def test_commands_and_options_in_the_pages_exist(page: Path) -> None:
    for words in said(page):
        command: click.Command | None = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(click.Context(command), words[0])
            assert command is not None, f"there is no headstart {words[0]}"
            words = words[1:]
        assert command is not None
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= known, (command.name, words)


def test_the_pages_speak_of_commands() -> None:
    assert ["check", "flowers/"] in said(DOCS / "index.md")


class _Anything(doctest.OutputChecker):
    """An example without an answer may print what it likes."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture
def flowers(tmp_path: Path, tiny_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the reference's examples speak of."""
    for name, flower in (("global", "tulip"), ("local", "rose"), ("nominal", "daisy")):
        (tmp_path / "flowers" / flower).mkdir(parents=True)
        for picture in sorted((tiny_pictures / name).iterdir()):
            shutil.copy(picture, tmp_path / "flowers" / flower)
    shutil.copy(next((tmp_path / "flowers/tulip").iterdir()), tmp_path / "tulip.jpg")
    for split, count in (("train", 1000), ("validation", 500)):
        for name in ("cats", "dogs"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "pets" / split / name / f"{number}.jpg").touch()
    for name in ("1.jpg", "2.jpg", "10.jpg", "beach/1.jpg"):
        (tmp_path / "holiday" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "holiday" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_examples_that_pytest_skips_run_too(parts: ModuleType, flowers: Path) -> None:
    """Those that speak of files. Weights are random where they would have to be downloaded, and pictures small."""
    headstart.train("flowers/", source="mobilenet_0.25", weights="random", image_size=(64, 64), output="flowers.keras")
    door, ran = parts.door(), []
    for name in headstart.__all__:
        value = getattr(door, name)
        if isinstance(value, str | ModuleType):
            continue
        names = dict(vars(importlib.import_module(value.__module__)))
        for test in doctest.DocTestFinder().find(value, name, module=False, globs=names):
            if not any(doctest.SKIP in example.options for example in test.examples):
                continue
            for example in test.examples:
                example.source = example.source.replace(
                    'train("flowers/")',
                    'train("flowers/", source="mobilenet_0.25", weights="random", image_size=(64, 64))',
                )
                example.options = {doctest.ELLIPSIS: True, doctest.NORMALIZE_WHITESPACE: True}
                example.source = example.source.replace(
                    '"mobilenetv2"', '"mobilenetv2", weights="random", image_size=(64, 64)'
                )
            told: list[str] = []
            outcome = doctest.DocTestRunner(_Anything(), verbose=False).run(test, out=told.append)
            assert outcome.failed == 0, "".join(told)
            ran.append(test.name)
    assert {"Classifier", "Dataset", "features", "train"} <= set(ran)
