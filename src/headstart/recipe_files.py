"""Recipes as files: YAML 1.2 (or JSON, which is YAML too), shipped in `recipes/`, a user's own, or from a model.

A file has the fields of `Recipe`, and two that describe it: `document` (which text it follows) and `summary` (a line).
What is wrong with one is told with the file and the line. A file may come from anywhere, so it is looked at before it
is believed: its size, its depth, how much there is in it. Tags, anchors and aliases are refused, since a recipe has no
use for them: a tag may ask for any Python object, and a few aliases of aliases fill any memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from headstart import callback_arguments, classifier_file, heads
from headstart.augment import Augmentation
from headstart.errors import MissingExtraError, ModelFileError, RecipeError, near
from headstart.recipe import Recipe

FOLDER = Path(__file__).with_name("recipes")
SUFFIXES = (".yaml", ".yml", ".json", ".keras")
MAX_BYTES, MAX_DEPTH, MAX_PARTS, MAX_LENGTH = 2**20, 16, 10_000, 4096
MAX_DIGITS, MAX_MESSAGE = 40, 1500
_ABOUT = ("document", "summary")
_BREAKS = "\x85\u2028\u2029\ufeff"  # written as they are, they would be read as ends of lines, or not at all
_SCALARS = ("bool", "float", "int", "null")

Where = tuple[str | int, ...]
"""The way to a part of a recipe: `("head_options", "layers", 0)`."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and what its file says of it.

    Attributes:
        name: that of the file, without its ending.
        recipe: the decisions.
        text: the file as it is, comments included; of a model, its recipe as YAML.
        document: which text the recipe follows; empty where nothing is said.
        summary: one line.
        path: where it was read from.
    """

    name: str
    recipe: Recipe
    text: str
    document: str
    summary: str
    path: Path


def names() -> tuple[str, ...]:
    """The recipes that come with headstart.

    Example:
        >>> "mobilenetv2-average" in names()
        True
    """
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def find(wanted: str | os.PathLike[str]) -> RecipeFile:
    """The recipe of that name, or in that file. A name that is shipped goes before a file of the same name.

    Raises:
        RecipeError: there is neither (near matches are named), or the file holds no sound recipe.

    Example:
        >>> find("mobilenetv2-average").recipe.head_options["epochs"]
        10
    """
    name = os.fspath(wanted)
    if name in names():
        return load(FOLDER / f"{name}.yaml")
    path = Path(name)
    if path.suffix.lower() in SUFFIXES or path.name != name or path.exists():
        return load(path)
    raise RecipeError(
        f"there is no recipe {name!r}, and no file of that name; there is {', '.join(names())}.{near(name, names())}"
    )


def load(path: str | os.PathLike[str]) -> RecipeFile:
    """The recipe in a file: YAML, JSON, or a classifier, which holds that of the run it came from.

    Raises:
        RecipeError: the file is missing or unsound, or a field or value is unknown; with the line where it stands.

    Example:
        >>> load("mine.yaml").recipe.source                              # doctest: +SKIP
        'mobilenetv2'
    """
    path = Path(path)
    data = _read(path)
    if data.startswith(b"PK"):  # a zip archive, as a .keras file is
        return _of_model(path)
    text = _decoded(data, path)
    return _parsed(text, path, numbered=True)


def as_text(recipe: Recipe) -> str:
    """A recipe as YAML that `load` takes back, each field on its line.

    Example:
        >>> print(as_text(Recipe(image_size=(160, 160))).splitlines()[2])
        image_size: [160, 160]
    """
    return _dumped(recipe.as_dict())


# ---- from bytes to plain values -------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    """The file, or of a model, which may be large, how it begins."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise RecipeError(f"{path} is a folder; expected a recipe file, such as mine.yaml") from None
    except (FileNotFoundError, NotADirectoryError):
        known = [each.name for each in path.parent.glob("*.*") if each.suffix in SUFFIXES]
        raise RecipeError(f"there is no recipe file {path}.{near(path.name, [*known, *names()])}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise RecipeError(f"the recipe file {path} cannot be read: {error}") from None
    if len(data) > MAX_BYTES and not data.startswith(b"PK"):
        raise RecipeError(f"{path} is larger than {MAX_BYTES >> 20} MiB, which no recipe is; it was not read")
    return data


def _decoded(data: bytes, path: Path) -> str:
    """UTF-8, or UTF-16 with its mark, as some shells write what a command prints."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not text in UTF-8; expected a recipe, which is YAML") from None


def _of_model(path: Path) -> RecipeFile:
    try:
        values = classifier_file.read_facts(path).get("recipe")
    except ModelFileError as error:
        raise RecipeError(str(error)) from None
    if not isinstance(values, Mapping):
        raise RecipeError(f"{path} holds no recipe; expected a classifier that `headstart train -o` has written")
    summary = "the recipe of the run that made this model"
    return _parsed(_dumped({"summary": summary, **values}), path, numbered=False)


def _dumped(values: Mapping[str, Any]) -> str:
    import io

    yaml = _yaml()
    yaml.width = 140
    yaml.allow_unicode = not set(_BREAKS) & set(json.dumps(values, ensure_ascii=False))
    yaml.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)  # the one in C reads YAML 1.1, where `off` is false and 1e-4 is text


def _parsed(text: str, path: Path, *, numbered: bool) -> RecipeFile:
    from ruamel.yaml.error import YAMLError

    lines: dict[Where, int] = {}
    try:
        node = _composed(text, path)
        values = _Reader(path, lines).plain(node) if node is not None else None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        told = [getattr(error, name, None) for name in ("context", "problem")]
        problem = ", ".join(each for each in told if each) or str(error).splitlines()[0]
        raise RecipeError(f"{_place(path, mark)}: this is not sound YAML: {problem}") from None
    except RecipeError:
        raise
    except Exception as error:  # ruamel.yaml lets out what Python says of impossible letters and the like
        raise RecipeError(f"{path}: this is not sound YAML: {error}") from None
    if not isinstance(values, dict):
        came = "nothing" if values is None else f"{values!r}"[:60]
        raise RecipeError(f"{path} holds {came}; a recipe is a mapping of fields, such as `source: mobilenetv2`")
    about = {name: values.pop(name, None) or "" for name in _ABOUT}
    recipe = _checked(values, about, path, lines if numbered else {})
    return RecipeFile(path.stem, recipe, text, about["document"], about["summary"], path)


def _composed(text: str, path: Path) -> Any:
    """The file's tree of nodes, looked over before it is built."""
    depth = 0
    for count, event in enumerate(_yaml().parse(text)):
        kind, place = type(event).__name__, _place(path, event.start_mark)
        if getattr(event, "anchor", None) is not None:  # an alias has one too
            raise RecipeError(f"{place}: anchors and aliases (& and *) are not read in recipes; write the value out")
        if getattr(event, "tag", None) is not None:
            raise RecipeError(f"{place}: tags (such as {str(event.tag)[:40]}) are not read in recipes; leave it out")
        depth += kind.endswith(("MappingStartEvent", "SequenceStartEvent")) - kind.endswith(
            ("MappingEndEvent", "SequenceEndEvent")
        )
        if depth > MAX_DEPTH or count > MAX_PARTS or len(getattr(event, "value", None) or "") > MAX_LENGTH:
            raise RecipeError(f"{place}: no recipe is as deep or as long as this; the file was not read further")
    return _yaml().compose(text)


class _Reader:
    """From nodes to mappings, lists, text, numbers, true, false and null; `lines` is told where each part stands."""

    def __init__(self, path: Path, lines: dict[Where, int]) -> None:
        self.path, self.lines, self.constructor = path, lines, _yaml().constructor

    def plain(self, node: Any, where: Where = ()) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        kind = str(node.tag).rpartition(":")[2]
        if kind == "seq":
            return [self.plain(each, (*where, index)) for index, each in enumerate(node.value)]
        if kind == "map":
            return self.mapping(node, where)
        if kind in _SCALARS:
            if len(node.value) > MAX_DIGITS:
                raise RecipeError(f"{_place(self.path, node.start_mark)}: no number in a recipe is as long as this")
            return getattr(self.constructor, f"construct_yaml_{kind}")(node)
        return node.value  # text, and what looks like a date

    def mapping(self, node: Any, where: Where) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            name, place = key.value, _place(self.path, key.start_mark)
            if not isinstance(name, str) or str(key.tag).endswith(":merge"):
                raise RecipeError(f"{place}: the name of a field is text, such as `source:`")
            if name in values:
                raise RecipeError(f"{place}: {name!r} is there twice; one of the two has to go")
            self.lines[*where, name] = key.start_mark.line + 1
            values[name] = self.plain(value, (*where, name))
        return values


def _place(path: Path, mark: Any) -> str:
    return f"{path}, line {mark.line + 1}" if mark is not None else str(path)


# ---- from plain values to a recipe ----------------------------------------------------------------------------------


def _checked(values: dict[str, Any], about: Mapping[str, Any], path: Path, lines: Mapping[Where, int]) -> Recipe:
    """The recipe, each part of it checked by itself first, so that the line at fault is known."""

    @contextmanager
    def at(where: Where) -> Iterator[None]:
        try:
            yield
        except RecipeError as error:
            place = f"{path}, line {lines[where]}" if where in lines else str(path)
            raise RecipeError(f"{place}: {str(error)[:MAX_MESSAGE]}") from None

    for name, text in about.items():
        with at((name,)):
            if not isinstance(text, str):
                raise RecipeError(f"{name} is text, and {text!r} is none; put it in quotes")
    known = [*(entry.name for entry in fields(Recipe)), *_ABOUT]
    for name in values:
        with at((name,)):
            if name not in known:
                raise RecipeError(f"a recipe has no field {name!r}; it has {', '.join(known)}.{near(name, known)}")
    for where, check in _parts(values, here=bool(lines)):
        with at(where):
            check()
    with at(()):
        return Recipe.from_dict(values)


def _parts(values: Mapping[str, Any], here: bool) -> Iterator[tuple[Where, Callable[[], object]]]:
    """Each part of a recipe, from the smallest on, with what raises where it is unsound.

    Args:
        here: whether it is to be run from where it lies; a model's recipe may name places of another machine.
    """
    augment = values.get("augment")
    if isinstance(augment, Mapping):
        for name, value in augment.items():
            yield ("augment", name), partial(Augmentation.from_dict, {name: value})
    for name, value in values.items():
        if name != "callbacks":
            yield (name,), partial(Recipe.from_dict, {name: value})
    head = values.get("head", Recipe.head)
    yield ("head",), partial(heads.find, head)
    for name, value in values.get("head_options", {}).items():
        for index, each in enumerate(value if isinstance(value, list) else []):
            yield ("head_options", name, index), partial(_check_options, head, {name: [each]})
        yield ("head_options", name), partial(_check_options, head, {name: value})
    if here and "callbacks" in values:
        named = values["callbacks"]
        for index in range(len(named) if isinstance(named, list) else 0):  # with those before it: order matters
            yield ("callbacks", index), partial(_check_callbacks, named[: index + 1])
        yield ("callbacks",), partial(_check_callbacks, named)


def _check_options(head: str, options: Mapping[str, Any]) -> None:
    heads.find(head).shape(2, options)  # two classes, for which every output is possible


def _check_callbacks(named: Any) -> None:
    with suppress(MissingExtraError):  # a recipe can be shown where it cannot be run
        callback_arguments.check(Recipe.from_dict({"callbacks": named}).callbacks)
