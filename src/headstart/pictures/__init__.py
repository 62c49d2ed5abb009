"""Picture sets that are known by name, one file each; a new one is one added file with the names of `PictureSet`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Protocol, cast

from headstart.dataset import Dataset
from headstart.errors import PhotosError, near

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there will be, where that is known."""


class PictureSet(Protocol):
    """What a module in this folder offers.

    Attributes:
        NAME: what users call it.
        SUMMARY: what it shows, in one sentence.
        LICENCE: under which terms the pictures come.
    """

    NAME: str
    SUMMARY: str
    LICENCE: str

    def open(self, progress: Progress | None = None) -> Dataset:
        """The pictures, fetched once where they are not here yet."""


def names() -> tuple[str, ...]:
    """The names of all sets, sorted.

    >>> names()
    ('cats_and_dogs', 'textile')
    """
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def find(name: str) -> PictureSet:
    """The set of a name; "-" and "_" are the same.

    Raises:
        PhotosError: no set has that name.

    Example:
        >>> find("textile").LICENCE
        'MIT'
    """
    wanted = name.strip().lower().replace("-", "_")
    if wanted not in names():
        raise PhotosError(f"There is no picture set {name}.{near(wanted, names())}\nKnown: {', '.join(names())}.")
    return cast(PictureSet, importlib.import_module(f"{__name__}.{wanted}"))
