"""The documents are true: links lead somewhere, commands run, lists name what there is."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest

import headstart
from headstart.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        aim = path.parent / file if file else path
        assert aim.exists(), f"{path.name} leads to {target}, which is not there"
        assert not anchor or anchor in anchors(aim), f"{path.name} leads to {target}; {aim.name} has no such heading"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli_reference", ROOT / "tools/make_cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cli_reference_is_what_help_says(reference: ModuleType) -> None:
    assert (ROOT / "docs/cli.md").read_text("utf-8") == reference.reference(), (
        "write it anew: python tools/make_cli_reference.py"
    )


def test_the_cli_reference_has_every_command_and_option(reference: ModuleType) -> None:
    text = reference.reference()
    context = click.Context(cli)
    for name in cli.list_commands(context):
        section = text.split(f"\n### headstart {name}\n", 1)[1].split("\n### ", 1)[0]
        command = cli.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            assert all(option in section for option in parameter.opts if option.startswith("--")), (name, parameter)


def test_drift_of_the_cli_reference_is_found_and_mended(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "cli.md"
    monkeypatch.setattr(reference, "TARGET", target)
    monkeypatch.setattr(sys, "argv", ["make_cli_reference.py", "--check"])
    assert reference.main() == 1
    target.write_text(reference.reference().replace("--seed", "--sead"), "utf-8")
    assert reference.main() == 1
    assert "-  --sead" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["make_cli_reference.py"])
    assert reference.main() == 0
    monkeypatch.setattr(sys, "argv", ["make_cli_reference.py", "--check"])
    assert reference.main() == 0


def test_the_readme_names_the_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)) - {"help"}
    assert set(re.findall(r"`make ([a-z]+)`", README)) == targets
    assert {line.split()[1] for line in blocks(README, "sh")[0].splitlines()} <= targets


def test_options_and_settings_in_the_readme_exist() -> None:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    commands += [each for group in commands for each in getattr(group, "commands", {}).values()]
    known = {"--help"} | {option for c in commands if c for parameter in c.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known
    settings = set(re.findall(r"HEADSTART_[A-Z_]+", README + ARCHITECTURE + (ROOT / "docs/cli.md").read_text("utf-8")))
    code = "".join(path.read_text("utf-8") for path in (ROOT / "src/headstart").rglob("*.py"))
    assert settings == set(re.findall(r"HEADSTART_[A-Z_]+", code))


def test_the_readme_names_the_extras_that_there_are() -> None:
    table = README.split("| extra | what for |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(PYPROJECT["project"]["optional-dependencies"])


def test_the_map_is_the_order_that_is_checked() -> None:
    table = ARCHITECTURE.split("| module | what it is |\n|---|---|\n", 1)[1].split("\n\n", 1)[0]
    rows = [set(re.findall(r"`(\w+)/?`", line.split("|")[1])) for line in table.splitlines()]
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert rows == [set(layer.split(" | ")) for layer in reversed(layers)]


def test_the_changelog_tells_of_this_version() -> None:
    assert f"\n## {headstart.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.fixture(scope="module")
def garden(tiny_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's examples speak of: flowers/, new-flowers/, tulip.jpg."""
    folder = tmp_path_factory.mktemp("garden")
    for name, flower in (("global", "tulip"), ("local", "rose"), ("nominal", "daisy")):
        pictures = sorted((tiny_pictures / name).iterdir())
        for part, some in (("flowers", pictures[:12]), ("new-flowers", pictures[12:])):
            (folder / part / flower).mkdir(parents=True)
            for picture in some:
                shutil.copy(picture, folder / part / flower)
    shutil.copy(next((folder / "flowers/tulip").iterdir()), folder / "tulip.jpg")
    return folder


def run(garden: Path, *command: str) -> str:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(command, cwd=garden, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readmes_commands_run(garden: Path) -> None:
    block, choices, _ = (block for block in blocks(README, "sh") if "headstart" in block and "make" not in block)
    out = run(garden, "sh", "-ec", block)
    assert "ridge head" in run(garden, "sh", "-ec", choices)
    assert "tulip.jpg" in out
    assert (garden / "flowers.html").stat().st_size > 10_000
    assert len((garden / "answers.jsonl").read_text("utf-8").splitlines()) == 12


@pytest.mark.slow
def test_the_readmes_recipes_run(garden: Path) -> None:
    *_, block = (block for block in blocks(README, "sh") if "headstart" in block and "make" not in block)
    shutil.copytree(garden / "flowers", garden / "photos", dirs_exist_ok=True)
    shutil.copytree(garden / "new-flowers/tulip", garden / "unlabelled", dirs_exist_ok=True)
    small = " --weights random --epochs 1 --image-size 64"  # no network, and little time
    lines = [f"{line}{small}" if " run mobilenetv2-average" in line else line for line in block.splitlines()]
    out = run(garden, "sh", "-ec", "\n".join(line for line in lines if " run inceptionv3" not in line))
    assert "vgg16-dense" in out
    assert "mixed7" in out
    assert "cut: out_relu" in (garden / "mine.yaml").read_text("utf-8")
    assert len((garden / "answers.csv").read_text("utf-8").splitlines()) == 1 + 4


@pytest.mark.slow
def test_the_readmes_python_runs(garden: Path) -> None:
    door, keras = blocks(README, "python")
    assert len([line for line in door.splitlines() if line]) <= 10
    out = run(garden, sys.executable, "-c", door)
    assert "named right" in out
    plain = keras + "import numpy\nprint(model.predict(numpy.zeros((1, *model.input_shape[1:])), verbose=0).shape)"
    assert "(1, 3)" in run(garden, sys.executable, "-c", plain)
