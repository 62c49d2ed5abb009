"""The exception tree. A message says what came, what was expected and what to do.

HeadstartError                 catch this one to catch all that headstart raises on purpose
├── InputError                 the input or the arguments are at fault: exit status 2
│   ├── PhotosError            a folder, table or archive of pictures cannot be used
│   ├── PictureError           one picture cannot be read
│   ├── SourceError            a source, cut or weight file is unknown or does not fit
│   ├── RecipeError            a recipe has a field or a value that headstart does not know
│   ├── ModelFileError         a classifier file cannot be used
│   ├── DownloadError          a host cannot be reached or sent something else than promised
│   ├── NoRoomError            the disk has no room for what a step has to put aside
│   └── MissingExtraError      an optional dependency is not installed
└── EngineError                the compiled engine or a worker process failed: exit status 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeadstartError(Exception):
    """Base of everything that headstart raises on purpose."""

    exit_status = 1


class InputError(HeadstartError, ValueError):
    """The input or the arguments are at fault; nothing was changed."""

    exit_status = 2


class PhotosError(InputError):
    """A folder, table, archive or URL of pictures cannot be used."""


class PictureError(InputError):
    """One picture cannot be read."""


class SourceError(InputError):
    """A source, cut or weight file is unknown or does not fit."""


class RecipeError(InputError):
    """A recipe has a field or a value that headstart does not know."""


class ModelFileError(InputError):
    """A classifier file cannot be used."""


class DownloadError(InputError):
    """A host cannot be reached or sent something else than was promised."""


class NoRoomError(InputError):
    """The disk has no room for what a step has to put aside."""


class MissingExtraError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(
            f"{what} needs a package that is not installed here.\nInstall it with: pip install 'headstart[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.what, self.extra)  # the message alone would not make one


class EngineError(HeadstartError):
    """The compiled engine or a worker process failed."""


def near(name: str, known: Iterable[str], count: int = 3) -> str:
    """The known names that look like `name`, as the end of a message.

    >>> near("tran", ["train", "test"])
    ' Did you mean train?'
    >>> near("zzz", ["train", "test"])
    ''
    """
    found = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(found)}?" if found else ""
