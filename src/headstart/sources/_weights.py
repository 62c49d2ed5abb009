"""Weight files: what they hold, whether that fits a network, and loading it.

Two layouts are known. The legacy one (`.h5`, Keras 1 to 2) lists layers in order and is matched by order, as
Keras does. The present one (`.weights.h5`, and inside every `.keras`) names layers by class and count. Which it
is, the file's content says, not its name. Shapes are read and compared before any number is.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import SourceError
from headstart.sources._graph import shapes_signature
from headstart.sources._source import Source

if TYPE_CHECKING:
    import keras

_MOST_UNPACKED = 4 * 2**30
_MOST_RATIO = 200
_FREE_OF_RATIO = 64 * 2**20  # a small member may well be all zeros
_MEMBER = "model.weights.h5"


class WeightsMismatchError(SourceError):
    """The file is sound but made for another network; `signatures` says which shapes it holds."""

    def __init__(self, message: str, signatures: tuple[str, ...]) -> None:
        super().__init__(message)
        self.signatures = signatures


@dataclass(frozen=True)
class _Group:
    """What a file keeps for one layer: its datasets in the loader's order."""

    name: str
    datasets: tuple[Any, ...] = field(repr=False)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(dataset.shape) for dataset in self.datasets]

    @property
    def is_convolution(self) -> bool:
        return any(len(shape) >= 4 for shape in self.shapes)


Match = list[tuple[Any, list[Any], _Group]]  # layer, its variables in order, what the file has for it


def check(model: keras.Model, path: Path) -> None:
    """Compare a file's shapes with a model's, layer by layer; no number is read and the model stays as it is.

    Raises:
        SourceError: the file is missing, damaged or not a file of weights.
        WeightsMismatchError: it was made for another network.
    """
    with _opened(path) as root:
        _match(model, path, root)


def load(model: keras.Model, path: Path, source: Source) -> None:
    """Put a file's numbers into a model, after `check`.

    Extra layers after the last convolution (a classification top) are left aside.

    Raises:
        SourceError, WeightsMismatchError: as `check`; the message names the source.
    """
    try:
        with _opened(path) as root:
            for layer, variables, group in _match(model, path, root):
                for variable, dataset in zip(variables, group.datasets, strict=True):
                    variable.assign(dataset[()])
                for part in [layer, *getattr(layer, "layers", [])]:
                    if variables and hasattr(part, "finalize_state"):
                        part.finalize_state()
    except WeightsMismatchError as error:
        raise WeightsMismatchError(f"{path.name} does not fit {source.name}: {error}", error.signatures) from None
    except OSError as error:  # h5py: a chunk that cannot be read
        raise SourceError(f"{path} is damaged: {error}") from error


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A `.keras` archive whose sizes are within reason: at most 4 GiB unpacked, no member packed 200 times smaller.

    Raises:
        SourceError: it is no archive, or it would unpack to too much.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} is not a .keras file (a zip archive): {error}") from error
    with archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        swollen = [
            member.filename
            for member in members
            if member.file_size > _FREE_OF_RATIO and member.file_size > _MOST_RATIO * max(member.compress_size, 1)
        ]
        if total > _MOST_UNPACKED or swollen or len(members) > 10_000:
            what = (
                f"its member {swollen[0]} is packed too well to be weights" if swollen else f"{total / 2**30:.1f} GiB"
            )
            raise SourceError(f"{path} would unpack to more than headstart accepts (4 GiB): {what}.")
        yield archive


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise SourceError(
            f"There is no file of weights at {path}.\nGive the path of an .h5, .weights.h5 or .keras file."
        )
    try:
        if zipfile.is_zipfile(path):
            with open_archive(path) as archive:
                if _MEMBER not in archive.namelist():
                    raise SourceError(f"{path} is a zip archive without a member {_MEMBER}: not a .keras file.")
                file = h5py.File(io.BytesIO(archive.read(_MEMBER)), "r")
        else:
            file = h5py.File(path, "r")
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path} cannot be read as a file of weights: {error}\n"
            "It is cut short or of another kind; expected .h5, .weights.h5 or .keras."
        ) from error
    with file:
        yield file


def _child(group: Any, path: str, kind: str) -> Any:
    """A member of a group, by a way of plain (hard) links only: a link may lead to any file of the machine."""
    import h5py

    where = group.file.filename
    for part in path.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part else None
        if not isinstance(link, h5py.HardLink):
            what = "is missing" if link is None else "is a link to elsewhere, which is not followed"
            raise SourceError(f"{where}: the member {path!r} {what}.")
        group = group[part]
    if kind == "group":
        fine = isinstance(group, h5py.Group)
    else:
        fine = isinstance(group, h5py.Dataset) and group.dtype.kind in "fiu"
        fine = fine and not group.external and not group.is_virtual
    if not fine:
        raise SourceError(f"{where}: the member {path!r} is not a plain {kind} of numbers.")
    return group


def _names(group: Any, key: str) -> list[str]:
    """A list of names among a group's attributes; long ones are kept in numbered pieces."""
    pieces = [key] if key in group.attrs else []
    while not pieces or pieces[-1] != key:
        piece = f"{key}{len(pieces)}"
        if piece not in group.attrs:
            break
        pieces.append(piece)
    values = [value for piece in pieces for value in group.attrs[piece]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _match(model: keras.Model, path: Path, root: Any) -> Match:
    if "layer_names" not in root.attrs and "layer_names0" not in root.attrs and "model_weights" in root:
        root = _child(root, "model_weights", "group")
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return _match_in_order(model, _legacy_groups(root))
    if "layers" in root:
        return _match_by_name(model, root)
    raise SourceError(f"{path} is an HDF5 file without a Keras model's weights in it.")


def _legacy_groups(root: Any) -> list[_Group]:
    found = []
    for name in _names(root, "layer_names"):
        group = _child(root, name, "group")
        datasets = tuple(_child(group, key, "dataset") for key in _names(group, "weight_names"))
        if datasets:
            found.append(_Group(name, datasets))
    return found


def _match_in_order(model: keras.Model, groups: list[_Group]) -> Match:
    signatures = _signatures(groups)
    found: Match = []
    # The order that legacy files were written in: what is trained first, then the statistics.
    expected = [(layer, layer.trainable_weights + layer.non_trainable_weights) for layer in model.layers]
    expected = [(layer, variables) for layer, variables in expected if variables]
    for position, (layer, variables) in enumerate(expected):
        if position >= len(groups):
            raise WeightsMismatchError(
                f"it has {len(groups)} layers with weights, expected {len(expected)} (next: '{layer.name}').",
                signatures,
            )
        _compare(layer, variables, groups[position], signatures)
        found.append((layer, variables, groups[position]))
    _refuse_rest(groups[len(expected) :], signatures)
    return found


def _match_by_name(model: keras.Model, root: Any) -> Match:
    """The trunk may be the whole file, or a model inside the model that was saved."""
    first: WeightsMismatchError | None = None
    for candidate in [root, *_models_inside(root)]:
        try:
            return _match_here(model, candidate)
        except WeightsMismatchError as error:
            first = first or error
    raise first or SourceError("There are no weights in the file.")


def _match_here(model: keras.Model, root: Any) -> Match:
    groups = {group.name: group for group in _all_groups(root)}
    signatures = _signatures(list(groups.values()))
    found: Match = []
    for name, layer in _named_layers(model):
        variables = list(layer._trainable_variables) + list(layer._non_trainable_variables)
        variables = [variable for variable in variables if variable.name != "seed_generator_state"]
        if not variables:
            continue
        group = groups.pop(name, None)
        if group is None:
            raise WeightsMismatchError(f"it has nothing for the layer '{layer.name}'.", signatures)
        _compare(layer, variables, group, signatures)
        found.append((layer, variables, group))
    _refuse_rest(list(groups.values()), signatures)
    return found


def _models_inside(root: Any) -> list[Any]:
    layers = _child(root, "layers", "group")
    inner = [_child(layers, name, "group") for name in layers if name.startswith(("functional", "sequential", "model"))]
    return [group for group in inner if "layers" in group]


def _all_groups(root: Any, prefix: str = "") -> Iterator[_Group]:
    layers = _child(root, "layers", "group")
    for name in layers:
        here = _child(layers, name, "group")
        if "layers" in here:
            yield from _all_groups(here, f"{prefix}{name}/")
        if "vars" in here:
            held = _child(here, "vars", "group")
            keys = sorted(held, key=lambda key: (len(key), key))
            yield _Group(f"{prefix}{name}", tuple(_child(held, key, "dataset") for key in keys))


def _named_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Layers under the names that Keras gives them in its files: class in snake case, and a count."""
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts[kind] = counts.get(kind, -1) + 1
        name = f"{prefix}{kind}_{count}" if count else f"{prefix}{kind}"
        if hasattr(layer, "layers"):
            yield from _named_layers(layer, f"{name}/")
        else:
            yield name, layer


def _compare(layer: Any, variables: list[Any], group: _Group, signatures: tuple[str, ...]) -> None:
    expected = [tuple(variable.shape) for variable in variables]
    if len(expected) != len(group.shapes):
        count = len(group.shapes)
        text = f"the layer '{layer.name}' takes {len(expected)} arrays, the file has {count} in '{group.name}'."
        raise WeightsMismatchError(text, signatures)
    for variable, want, came in zip(variables, expected, group.shapes, strict=True):
        if want != came:
            text = f"{variable.name} of the layer '{layer.name}' is {want}, the file has {came} in '{group.name}'."
            raise WeightsMismatchError(text, signatures)


def _refuse_rest(rest: list[_Group], signatures: tuple[str, ...]) -> None:
    further = [group for group in rest if group.is_convolution]
    if further:
        text = f"it has {len(rest)} more layers, first the convolution '{further[0].name}'."
        raise WeightsMismatchError(text, signatures)


def _signatures(groups: list[_Group]) -> tuple[str, ...]:
    """The file as a whole, and the file without its dense layers, in case these are a classification top."""
    whole = [shape for group in groups for shape in group.shapes]
    trunk = [s for group in groups if not any(len(shape) == 2 for shape in group.shapes) for s in group.shapes]
    return shapes_signature(whole), shapes_signature(trunk)
