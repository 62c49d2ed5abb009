"""The public door: what it names, and what importing it drags in."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import headstart as hs
from headstart import api
from headstart.errors import RecipeError

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/headstart").rglob("*.py"))
PUBLIC = """
Classifier Comparison Dataset Evaluation Explanation Features Finding Findings Head HeadStart LayerFacts LearningCurve
NumberPrediction NumbersEvaluation
LabelsEvaluation LabelsPrediction Prediction Ranking Rate Recipe Rejection Source Summary
TrainResult Trunk Tuning __version__ audit compare compare_scratch errors evaluate features finetune fit_head
learning_curve_of load_recipe pictures_in rank source sources summary train wilson write_csv
""".split()
STAGES = ("audit", "evaluate", "features", "finetune", "summary", "train")
LATE = {"keras", "tensorflow", "openvino", "scipy", "h5py", "pyarrow", "rich", "jinja2", "urllib3", "threadpoolctl"}
LATE |= {"numba", "ruamel"}


def loaded(code: str) -> set[str]:
    """Names of the top-level packages beyond the standard library that a fresh Python has loaded after `code`."""
    told = "import json; print(json.dumps(sorted(set(sys.modules) - before)))"
    program = f"import sys; before = set(sys.modules)\n{code}\n{told}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names


def test_the_public_names_are_the_written_list() -> None:
    assert sorted(hs.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(hs))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hs, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "src/headstart/__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(PUBLIC) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        hs.trian  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"] == hs.__version__


def test_importing_headstart_loads_the_standard_library_alone() -> None:
    assert loaded("import headstart") == {"headstart"}


def test_help_loads_click_alone() -> None:
    call = (
        "import headstart.cli\nsys.argv = ['headstart', '--help']\ntry: headstart.cli.main()\nexcept SystemExit: pass"
    )
    assert loaded(call) == {"headstart", "click"}


@pytest.mark.parametrize("command", ["demo", "check", "sources", "train", "evaluate", "predict", "cache"])
def test_the_help_of_a_command_loads_no_array_and_no_framework(command: str) -> None:
    call = (
        f"import headstart.cli\nsys.argv = ['headstart', '{command}', '--help']\n"
        "try: headstart.cli.main()\nexcept SystemExit: pass"
    )
    assert loaded(call) == {"headstart", "click"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src/headstart")))
def test_what_is_heavy_is_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    late = LATE - {"numba"} if path.name == "_kernels.py" else LATE  # itself imported inside a function
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not late & {name.split(".")[0] for name in names}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("first", [f"headstart.{name}" for name in STAGES] + ["headstart.classifier", "headstart"])
def test_a_stage_can_be_called_whatever_was_imported_first(first: str) -> None:
    code = (
        f"import {first}\nimport headstart as hs\n"
        "assert all(callable(getattr(hs, name)) for name in ('audit', 'evaluate', 'features', 'summary', 'train'))\n"
        "from headstart.train import train\nfrom headstart import features\n"
        "assert callable(hs.train) and callable(train) and features.extract"
    )
    assert "headstart" in loaded(code)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_called_through_the_door_with_its_own_signature(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect.signature(getattr(hs, name)) == inspect.signature(getattr(api, name))
    monkeypatch.setattr(api, name, lambda *arguments, **options: (arguments, options))
    assert getattr(hs, name)("flowers", seed=1) == (("flowers",), {"seed": 1})
    assert importlib.import_module(f"headstart.{name}").__name__ == f"headstart.{name}"


def test_a_misspelt_decision_is_refused_before_any_work() -> None:
    with pytest.raises(RecipeError, match="Did you mean source"):
        hs.train("no such folder", sorce="mobilenetv2")  # type: ignore[call-arg]


IN_A_WORKER = """
from headstart.worker import Worker
with Worker("openvino") as worker:
    assert worker.call("worker:loaded", name="openvino")
    assert not worker.call("worker:loaded", name="openvino_telemetry")
"""
HERE = """
from headstart.engines.openvino import runtime
runtime().Core()
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.mark.parametrize("code", [HERE, IN_A_WORKER], ids=["here", "in a worker"])
def test_openvino_does_not_phone_home(code: str) -> None:
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    loaded(code)
