"""Cats and dogs: the set that TensorFlow's transfer-learning tutorial uses."""

from __future__ import annotations

from collections.abc import Callable

from headstart.dataset import Dataset
from headstart.downloads import download
from headstart.errors import DownloadError
from headstart.files import atomic_path, cache_folder, file_digest

NAME = "cats_and_dogs"
SUMMARY = "3,000 photos of cats and dogs: 2,000 to train on, 1,000 to validate."
LICENCE = "not stated by the host; the photos were published for the Kaggle competition Dogs vs. Cats"

URL = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
SIZE = 68_606_236
"""Bytes of the archive."""


def open(progress: Callable[[int, int | None], None] | None = None) -> Dataset:  # noqa: A001
    """The classes `cats` and `dogs`, split into train and validation; fetched once (69 MB).

    The host promises no digest: the first download is checked by its size, and its own digest is written down, so
    that a later change of the file is noticed.

    Raises:
        DownloadError: the archive cannot be fetched, or is not the one that was fetched first.
    """
    target = cache_folder() / "downloads" / URL.rsplit("/", 1)[-1]
    record = target.with_name(target.name + ".sha256")
    known = record.read_text("ascii").strip() if record.is_file() else None
    try:
        download(URL, target, sha256=known, size=SIZE, progress=progress)
    except DownloadError as error:
        if known is None:
            raise
        raise DownloadError(f"{error}\nIf the host has published a new version, delete {record}.") from None
    if known is None:
        with atomic_path(record) as path:
            path.write_text(file_digest(target) + "\n", "ascii")
    return Dataset.from_archive(target)
