"""The parts of the site that are made while it is built, so that they cannot go stale: see docs/conf.py."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import headstart

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "src/headstart/recipes"
NOTEBOOKS = ROOT / "docs/notebooks"
_ELSEWHERE = re.compile(
    r"""(?:<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=|@import\s+|url\()["']?((?:https?:)?//[^"')>\s]+)"""
)
FIRST = ("train", "audit", "source", "features", "fit_head", "evaluate")
"""Functions that the reference begins with; the others follow in the order of the alphabet."""


def door() -> ModuleType:
    """The package as users write it, `hs`, where a stage that is a module too is its function alone."""
    made = ModuleType("hs", headstart.__doc__)
    for name in headstart.__all__:
        value = getattr(headstart, name)
        stage = getattr(type(value), "_stage", None) if isinstance(value, ModuleType) else None
        setattr(made, name, stage.fget(value) if isinstance(stage, property) and stage.fget else value)
    return made


def public_names(package: ModuleType = headstart) -> str:
    """The Python reference: every name of `__all__`, functions first, then classes, then modules."""
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Modules": []}
    for name in sorted(package.__all__, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        value = getattr(package, name)
        if name.startswith("__"):
            continue
        if isinstance(value, ModuleType) and not callable(value):
            told = ", ".join(other for other in package.__all__ if hasattr(value, other))  # a place of its own above
            kinds["Modules"].append(f".. automodule:: headstart.{name}\n   :members:\n   :exclude-members: {told}\n")
        elif inspect.isclass(value):
            kinds["Classes"].append(f".. autoclass:: hs.{name}\n   :members:\n")
        else:
            kinds["Functions"].append(f".. autofunction:: hs.{name}\n")
    sections = [
        f"## {kind}\n\n```{{eval-rst}}\n" + "\n".join(parts) + "```\n" for kind, parts in kinds.items() if parts
    ]
    return "\n".join(sections)


def recipes(folder: Path = RECIPES) -> str:
    """A section for each recipe: what it is, what it decides, and the file itself."""
    from ruamel.yaml import YAML

    files = sorted(folder.glob("*.yaml"), key=lambda file: file.stem)
    parts = []
    for file in files:
        text = file.read_text("utf-8")
        values = YAML(typ="safe").load(text)
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts(values))
        parts.append(
            f"## {file.stem}\n\n{values.get('summary', '')}\n\n```sh\nheadstart recipes run {file.stem} photos/"
            f" -o model.keras\n```\n\n| | |\n|---|---|\n{rows}\n\nThe file:\n\n```yaml\n{text.strip()}\n```\n"
        )
    return "\n".join(parts) or "This version ships no recipe files.\n"


def facts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a recipe decides, in words a person looks for."""
    options = values.get("head_options") or {}
    size = values.get("image_size")
    if "document" in values:
        yield "document", str(values["document"])
    yield (
        "source",
        f"`{values.get('source', 'the default')}`"
        + (f" at {size[0]} × {size[1]} pixels" if isinstance(size, (list, tuple)) else ""),
    )
    if values.get("preprocessing", "source") != "source":
        yield "preprocessing", f"`{values['preprocessing']}`, not the source's own"
    yield "cut", f"`{values.get('cut', 'auto')}`, pooled by `{values.get('pooling', 'auto')}`"
    yield "head", layers(values.get("head", "linear"), options)
    if training := ", ".join(_training(options)):
        yield "training", training
    augment = values.get("augment", "none")
    if isinstance(augment, Mapping):
        augment = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in augment.items())
    yield "augmentation", str(augment)
    if augment != "none":
        yield "views", f"`{values.get('views', 'auto')}`"


def layers(head: str, options: Mapping[str, Any]) -> str:
    """A head's layers on one line.

    >>> layers("dense", {"layers": [{"dropout": 0.2}, {"dense": 1024, "activation": "relu"}], "output": "auto"})
    'dropout 0.2 → dense 1024, relu → 1 sigmoid for two classes, else a softmax'
    """
    if head != "dense":
        return head
    words = []
    for layer in options.get("layers", ()):
        name = "dense" if "dense" in layer else "dropout"
        words.append(f"{name} {layer[name]}" + (f", {layer['activation']}" if "activation" in layer else ""))
    output = options.get("output", "auto")
    return " → ".join([*words, "1 sigmoid for two classes, else a softmax" if output == "auto" else str(output)])


def _training(options: Mapping[str, Any]) -> Iterator[str]:
    if "optimizer" in options:
        rate = options.get("learning_rate")
        momentum = f", momentum {options['momentum']:g}" if options.get("momentum") else ""
        yield str(options["optimizer"]) + (f" at {float(rate):g}" if rate is not None else "") + momentum
    words = {"batch_size": "batches of {}", "steps_per_epoch": "{} steps an epoch", "epochs": "{} epochs"}
    yield from (form.format(options[name]) for name, form in words.items() if options.get(name) is not None)


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def notebooks(folder: Path = NOTEBOOKS) -> str:
    """The notebooks that there are, each with its title and a link that saves it."""
    rows = []
    for file in sorted(folder.glob("*.ipynb")):
        cells = json.loads(file.read_text("utf-8"))["cells"]
        text = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")
        title = re.search(r"^# +(.+)$", text, re.MULTILINE)
        rows.append(f"- {{download}}`{title[1] if title else file.stem} <notebooks/{file.name}>`")
    return "\n".join(rows) + "\n" if rows else "This version ships no notebooks.\n"


PARTS = {"public names": public_names, "recipes": recipes, "notebooks": notebooks}


def filled(text: str) -> str:
    """A page with each comment `<!-- made: NAME -->` replaced by that part."""
    return re.sub(r"<!-- made: ([a-z ]+) -->", lambda match: PARTS[match[1]](), text)


def fetched(site: Path) -> Sequence[str]:
    """What the pages of a built site would load from elsewhere when they are opened; links do not count."""
    files = sorted([*site.rglob("*.html"), *site.rglob("*.css")])
    return [f"{file.relative_to(site)}: {hit}" for file in files for hit in _ELSEWHERE.findall(file.read_text("utf-8"))]
