"""What is installed, by what, and the ways in for developers: Makefile, tools/find-python, .ci/run."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MACHINES = [
    {"sys_platform": "linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_machine": "AMD64"},
]
TENSORFLOWS = {"tensorflow", "tensorflow-cpu"}


def wanted(machine: dict[str, str], *extras: str) -> list[str]:
    """Names of the packages that headstart with these extras asks for on a machine."""
    lines = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    found = map(Requirement, lines)
    return [each.name for each in found if each.marker is None or each.marker.evaluate(dict(machine))]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join(machine.values()))
def test_one_tensorflow_at_most_is_asked_for(machine: dict[str, str]) -> None:
    assert not TENSORFLOWS & set(wanted(machine, "demo"))
    assert len(TENSORFLOWS & set(wanted(machine, "cpu", "demo", "dev"))) == 1
    assert len(TENSORFLOWS & set(wanted(machine, "gpu"))) <= 1


def test_one_tensorflow_at_most_is_installed() -> None:
    names = {(each.metadata["Name"] or "").lower().replace("_", "-") for each in importlib.metadata.distributions()}
    assert len(TENSORFLOWS & names) <= 1


needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def command(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    (folder / name).chmod(0o755)


def python(folder: Path, name: str, version: str, *, whole: bool = True) -> None:
    """The Python of these tests under another name, saying that it is of another version."""
    numbers = ", ".join(version.split("."))
    less = "" if whole else "sys.modules['ensurepip'] = None; "
    command(folder, name, f'exec {sys.executable} -c "import sys; {less}sys.version_info = ({numbers})\n$2"')


def find(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Only the stand-ins are on the path, so the shell is named in full.
    shell = shutil.which("sh") or "sh"
    return subprocess.run(
        [shell, ROOT / "tools/find-python", *arguments],
        env={"PATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_sh
@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"python3": "3.11.0"}, "python3"),
        ({"python3": "3.9.2", "python3.12": "3.12.1"}, "python3.12"),
        ({"python3": "3.14.0", "python3.11": "3.11.4"}, "python3.11"),
        ({"python3": "3.14.0"}, "python3"),
        ({"python3": "2.7.18", "python": "3.13.0"}, "python"),
    ],
)
def test_a_python_that_fits_is_found(tmp_path: Path, there: dict[str, str], found: str) -> None:
    for name, version in there.items():
        python(tmp_path, name, version)
    done = find(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{found}\n", "")


@needs_sh
def test_a_python_that_does_not_fit_is_told_why(tmp_path: Path) -> None:
    assert "no command python3" in find(tmp_path).stderr
    python(tmp_path, "python3", "3.10.9")
    done = find(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "python3 is Python 3.10.9, and headstart needs 3.11 or newer" in done.stderr
    python(tmp_path, "python3", "3.12.1", whole=False)
    assert "lacks the modules venv or ensurepip" in find(tmp_path).stderr


@needs_sh
def test_a_named_python_is_taken_or_refused(tmp_path: Path) -> None:
    python(tmp_path, "python3", "3.12.1")
    python(tmp_path, "mine", "3.13.1")
    python(tmp_path, "old", "3.8.1")
    assert find(tmp_path, "mine").stdout == "mine\n"
    assert find(tmp_path, "").stdout == "python3\n"
    done = find(tmp_path, "old")
    assert (done.returncode, done.stdout) == (2, "")
    assert "PYTHON=old cannot be used: old is Python 3.8.1" in done.stderr


@needs_sh
def test_the_python_of_these_tests_fits() -> None:
    done = subprocess.run([ROOT / "tools/find-python", sys.executable], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == sys.executable, done.stderr


def plan(target: str, venv: Path) -> str:
    """What make would do for a target, without doing it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "-C", ROOT, "-n", target, f"VENV={venv}"], env=clean, capture_output=True, text=True, check=True
    ).stdout


@needs_make
def test_the_demo_installs_what_tuning_needs_and_the_tests_add_the_tools(tmp_path: Path) -> None:
    demo = plan("demo", tmp_path / "venv")
    assert "-m venv" in demo
    assert "'.[cpu,demo]'" in demo
    assert "dev]" not in demo
    assert "'.[cpu,demo,dev]'" in plan("test", tmp_path / "venv")


@needs_make
@pytest.mark.parametrize("target", ["setup", "demo", "test", "check"])
def test_nothing_is_installed_twice_until_the_project_file_changes(tmp_path: Path, target: str) -> None:
    for name in ("venv", "demo", "dev"):
        (tmp_path / f".headstart-{name}").touch()
    assert "pip" not in plan(target, tmp_path)
    before = (ROOT / "pyproject.toml").stat().st_mtime - 60
    for name in ("demo", "dev"):
        os.utime(tmp_path / f".headstart-{name}", (before, before))
    again = plan(target, tmp_path)
    assert "install --editable" in again
    assert "-m venv" not in again


@needs_sh
@pytest.mark.parametrize(("failing", "expected"), [("none", ["check", "test"]), ("check", ["check"])])
def test_ci_checks_and_then_tests(tmp_path: Path, failing: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    command(tmp_path, "make", f'echo "$1" >> {tmp_path}/said\ncat >> {tmp_path}/said\ntest "$1" != {failing}')
    environment = dict(os.environ, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", CI="true")
    done = subprocess.run([bash, ROOT / ".ci/run"], env=environment, cwd=tmp_path, input=b"noise", check=False)
    assert (done.returncode == 0) is (failing == "none")
    assert (tmp_path / "said").read_text("utf-8").split() == expected
