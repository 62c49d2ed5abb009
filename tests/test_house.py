"""Rules of the house that hold for every source file. Import direction is import-linter's, in `make check`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "src/headstart"
FILES = {str(path.relative_to(HOUSE)): path.read_text("utf-8") for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in FILES.items()}
TEMPLATES = {str(path.relative_to(HOUSE)): path.read_text("utf-8") for path in sorted((HOUSE / "templates").iterdir())}

WRITERS = {
    "downloads.py": "keeps what arrived for the next time, and renames the file itself once it is whole",
    "images.py": "writes to memory",
    "ledger.py": "moves a damaged ledger aside; SQLite writes the rest",
    "keras_callbacks.py": "writes into a temporary folder, for the worker and back",
    "scratch.py": "writes into a temporary folder, for the worker",
    "store.py": "moves a damaged store aside; SQLite writes the rest",
    "train.py": "asks Classifier.save",
}
"""Modules that write without `atomic_path` or `atomic_folder`, and why they may."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def importers(*packages: str) -> set[str]:
    return {
        name for name, tree in TREES.items() if any(module.split(".")[0] in packages for _, module in imports(tree))
    }


def strings(tree: ast.AST) -> Iterator[str]:
    """Text in the code, also in f-strings, without docstrings."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_only_images_opens_pictures() -> None:
    assert importers("PIL", "cv2", "imageio", "simplejpeg") == {"images.py"}


def test_only_the_command_line_prints() -> None:
    speaking = {
        name
        for name, tree in TREES.items()
        for call in calls(tree)
        if called(call) in ("print", "click.echo", "sys.stdout.write", "sys.stderr.write", "warnings.warn")
    }
    assert {name for name in speaking if not name.startswith("cli/")} == set()
    assert {name for name in importers("click", "rich") if not name.startswith("cli/")} == set()


def test_only_sources_and_picture_sets_name_a_host() -> None:
    address = re.compile(r"https?://[A-Za-z0-9]")
    naming = {name for name, tree in TREES.items() if any(address.search(text) for text in strings(tree))}
    assert {name for name in naming if not name.startswith(("sources/", "pictures/"))} == set()
    assert naming, "the rule looks at nothing: the picture sets do name hosts"
    assert [name for name, text in TEMPLATES.items() if address.search(text)] == []


def test_only_the_store_and_the_cache_know_the_stores_path() -> None:
    assert {name for name, tree in TREES.items() if any("features.sqlite" in text for text in strings(tree))} == {
        "store.py",
        "caching.py",
    }
    assert importers("sqlite3") == {"ledger.py", "store.py"}


def test_pickles_are_read_in_one_place() -> None:
    assert importers("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch") == {
        "sources/_torch_legacy.py"
    }
    for name, tree in TREES.items():
        for call in calls(tree):
            allowed = [key for key in call.keywords if key.arg == "allow_pickle" and ast.unparse(key.value) != "False"]
            assert not allowed, f"{name}:{call.lineno}"


def test_keras_models_are_opened_in_safe_mode() -> None:
    found = 0
    for name, tree in TREES.items():
        for call in calls(tree):
            if called(call).endswith("load_model"):
                modes = [ast.unparse(key.value) for key in call.keywords if key.arg == "safe_mode"]
                assert modes == ["True"], f"{name}:{call.lineno}"
                found += 1
            assert not called(call).endswith("enable_unsafe_deserialization"), f"{name}:{call.lineno}"
    assert found


def writes(call: ast.Call) -> bool:
    name = called(call)
    if name.endswith((".write_text", ".write_bytes", ".save", ".export")) or name in ("os.replace", "os.rename"):
        return True
    if name in ("np.save", "np.savez", "shutil.move", "shutil.copy", "json.dump"):
        return True
    modes = [argument.value for argument in call.args[1:] if isinstance(argument, ast.Constant)]
    return name in ("open", "zipfile.ZipFile", "h5py.File") and any(
        mode in ("w", "wb", "x", "a", "ab") for mode in modes
    )


def test_results_are_written_whole_or_not_at_all() -> None:
    careless = {
        name
        for name, tree in TREES.items()
        if name != "files.py" and any(map(writes, calls(tree))) and "atomic_" not in FILES[name]
    }
    assert careless == set(WRITERS), "a new writer needs atomic_path; an exception that is not needed has to go"


def test_nothing_runs_a_shell_or_text_as_code() -> None:
    for name, tree in TREES.items():
        for call in calls(tree):
            assert called(call) not in ("eval", "exec", "os.system", "os.popen"), f"{name}:{call.lineno}"
            assert not any(key.arg == "shell" for key in call.keywords), f"{name}:{call.lineno}"
