"""Pictures with their labels: a folder, a table, an archive or a URL becomes one `Dataset`."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np

from headstart import archives, files, previews, targets
from headstart.errors import PhotosError, near
from headstart.findings import Finding
from headstart.folders import TABLE_SUFFIXES, is_candidate, read_folder
from headstart.listing import Listing, number, some
from headstart.tables import is_picture_table, read_table

Progress = Callable[[int, int], None]
"""Called with how many of how many pictures are done."""

EMPTY = hashlib.sha256(b"").digest()
"""What every file without a byte hashes to: such files are unreadable, not copies of each other."""

_SPLITS = "||train|validation|test|left out|"
_Entry = TypeVar("_Entry")
_FORMS = "Give a folder of class folders, a CSV or Parquet table, a zip or tar archive, or a URL of one."


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Pictures with their labels. Nothing is decoded and no pixel is held.

    Attributes:
        root: the folder that `files` are relative to; None where they are absolute.
        files: one path a picture, with "/", sorted.
        labels: int32 of shape (pictures,): the index into `classes`, -1 where training lacks the class; 0 for every
            picture where the task is not `classes`.
        classes: the sorted names of the classes, or labels, that training has; of a number its one name.
        names: the class name of each picture, also of those labelled -1; its labels, or its number, as text.
        splits: text of shape (pictures,): "train", "validation", "test", "left out", or "" before splitting.
        groups: which pictures belong together, "" for one on its own; None where nothing is said.
        digests: SHA-256 of each file's bytes, b"" where it cannot be read; None before `digested`.
        alike: equal names for pictures that were seen to be nearly the same, "" for one on its own; None before a look.
        findings: what was noticed while the pictures were listed and split.
        skipped: candidates that were left out of `files`: missing, or of a format that cannot be read.
        ignored: how many other files were passed over.
        task: what is learnt: `classes` (one a picture), `labels` (several, or none) or `numbers`; see `targets/`.
        targets: float32 of shape (pictures, outputs): 0 or 1 for each label, or the number; None for `classes`.

    Example:
        >>> pets = Dataset.from_folder("pets")                     # doctest: +SKIP
        >>> pets.classes, len(pets), pets.counts()                 # doctest: +SKIP
        (('cats', 'dogs'), 3000, {'train': {'cats': 1000, 'dogs': 1000}, ...})
    """

    root: Path | None
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    splits: np.ndarray
    groups: tuple[str, ...] | None = None
    digests: tuple[bytes, ...] | None = None
    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()
    ignored: int = field(default=0)
    alike: tuple[str, ...] | None = None
    task: str = "classes"
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, kind in (("labels", np.int32), ("splits", np.dtype("<U10"))):
            array = np.asarray(getattr(self, name), kind).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.targets is not None:
            matrix = np.asarray(self.targets, np.float32).view()
            matrix.flags.writeable = False
            object.__setattr__(self, "targets", matrix)
        given = (self.labels, self.names, self.splits, self.groups, self.digests, self.alike, self.targets)
        lengths = {len(self.files), *(len(column) for column in given if column is not None)}
        if len(lengths) > 1:
            raise PhotosError(f"every column needs one entry a picture; received lengths {sorted(lengths)}")

    @staticmethod
    def open(photos: str | os.PathLike[str], *, training: bool = True) -> Dataset:
        """Pictures in any form: folder, CSV or Parquet, zip or tar, or a URL of an archive.

        Args:
            photos: where they are.
            training: False for pictures that only measure a classifier: then one class, one picture and no training
                split are enough, and every class that occurs is in `classes`.

        Raises:
            PhotosError: there is nothing usable at `photos`; the message says what to do.
            DownloadError: a URL that cannot be fetched.
            MissingExtraError: a Parquet table without pyarrow.
        """
        text = os.fspath(photos)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):  # one slash: pathlib folds two into one
            return Dataset.from_url(re.sub(r":/+", "://", text, count=1), training=training)
        path = _existing(text)
        if path.is_dir():
            return Dataset.from_folder(path, training=training)
        if path.suffix.lower() in TABLE_SUFFIXES:
            return Dataset.from_table(path, training=training)
        if is_candidate(path.name):
            raise PhotosError(f"{path} is one picture; a classifier is trained on many.\n{_FORMS}")
        return Dataset.from_archive(path, training=training)

    @staticmethod
    def from_folder(folder: str | os.PathLike[str], *, training: bool = True) -> Dataset:
        """A folder of class folders, or of `train/` and any of `validation/` and `test/`.

        Folders inside a class folder belong to that class. Raises PhotosError as `open`.
        """
        path = _existing(folder)
        if not path.is_dir():
            raise PhotosError(f"{path} is not a folder.\n{_FORMS}")
        return _settled(read_folder(path, training=training), training)

    @staticmethod
    def from_table(table: str | os.PathLike[str], *, training: bool = True) -> Dataset:
        """A CSV or Parquet with the columns path,label and, where wanted, split and group.

        In place of `label` it may have `labels` (several a picture, with `|` or `;` between; an empty cell says none
        of them) or `value` (a number). Paths are relative to the table's folder. Raises as `open`.
        """
        return _settled(read_table(_existing(table)), training)

    @staticmethod
    def from_archive(archive: str | os.PathLike[str], *, training: bool = True) -> Dataset:
        """A zip or tar of a folder or of a table with its pictures; unpacked once, into the cache.

        Raises PhotosError as `open`, also where the archive is damaged, encrypted or not to be trusted.
        """
        path = _existing(archive)
        root = archives.unpack(path, files.cache_folder() / "archives")
        try:
            return _inside(root, training)
        except PhotosError as error:  # the user knows the archive, not where it was unpacked
            raise PhotosError(str(error).replace(str(root), str(path))) from None

    @staticmethod
    def from_url(
        url: str, *, progress: Callable[[int, int | None], None] | None = None, training: bool = True
    ) -> Dataset:
        """An archive on the web, fetched once into the cache; `progress` gets bytes done and bytes in all.

        Raises PhotosError as `open`, and DownloadError.
        """
        from headstart.downloads import download

        name = Path(unquote(urlsplit(url).path)).name or "archive"
        target = files.cache_folder() / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
        return Dataset.from_archive(download(url, target, progress=progress), training=training)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The same as `classes`, by Keras's word."""
        return self.classes

    @property
    def class_indices(self) -> dict[str, int]:
        """Position of each class among `classes`, and so in every row of probabilities; by Keras's word."""
        return {name: position for position, name in enumerate(self.classes)}

    def path(self, index: int) -> Path:
        """Where the picture of a row lies."""
        return self.root / self.files[index] if self.root else Path(self.files[index])

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The rows of `indices` (integers, or a boolean mask), in that order; classes and findings stay."""
        rows = np.arange(len(self))[np.asarray(indices)].tolist() if len(indices) else []
        return replace(
            self,
            files=_pick(self.files, rows),
            labels=self.labels[rows],
            names=_pick(self.names, rows),
            splits=self.splits[rows],
            groups=None if self.groups is None else _pick(self.groups, rows),
            digests=None if self.digests is None else _pick(self.digests, rows),
            alike=None if self.alike is None else _pick(self.alike, rows),
            targets=None if self.targets is None else self.targets[rows],
        )

    def target_matrix(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """What a head's outputs are trained towards, float32 of shape (rows, outputs), for any task.

        One-hot for classes (zeros for a class that training lacks), 0 or 1 for each label, or the number itself.
        """
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows, int)
        result: np.ndarray = targets.find(self.task).matrix(self, chosen)
        return result

    def split_indices(self, name: str, *, unknown: bool = False) -> np.ndarray:
        """The rows of a split ("train", "validation", "test", "left out" or ""), in rising order.

        Pictures of classes that training lacks are left out, unless `unknown` is True.
        """
        return np.flatnonzero((self.splits == name) & (unknown | (self.labels >= 0)))

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures of each class in each split; pictures of classes that training lacks are not counted.

        Of labels, pictures that have each; of numbers, pictures in ranges of equal width.
        """
        found = sorted(set(self.splits.tolist()), key=lambda name: (_SPLITS.find(f"|{name}|"), name))
        count = targets.find(self.task).counts
        return {name: count(self, self.split_indices(name)) for name in found}

    def digested(self, progress: Progress | None = None) -> Dataset:
        """The same set with the SHA-256 of every file's bytes; itself where that is known already."""
        if self.digests is not None:
            return self
        step = 256
        starts = range(0, len(self), step)

        def hashes(start: int) -> list[bytes]:
            return [_digest(self.path(row)) for row in range(start, min(start + step, len(self)))]

        found: list[bytes] = []
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
            for part in pool.map(hashes, starts):
                found += part
                if progress:
                    progress(len(found), len(self))
        return replace(self, digests=tuple(found))

    @cached_property
    def digest(self) -> str:
        """SHA-256 that names the set by contents, class names (or labels, or numbers), splits and groups, wherever its
        files lie.

        Reads all files where `digested` was not called before.
        """
        digests = self.digested().digests or ()
        groups = self.groups or ("",) * len(self)
        names = self.names if self.targets is None else [row.tobytes().hex() for row in self.targets]
        rows = zip(digests, names, self.splits.tolist(), groups, strict=True)
        told = "" if self.targets is None else "\0".join((self.task, *self.classes))
        total = hashlib.sha256(told.encode("utf-8", "surrogateescape"))
        for digest, *words in sorted(rows):
            total.update(digest.ljust(32, b"\0"))
            total.update("\0".join(words).encode("utf-8", "surrogateescape") + b"\n")
        return total.hexdigest()

    def __repr__(self) -> str:
        outputs = number(len(self.classes), targets.find(self.task).WHAT)
        return f"<Dataset of {number(len(self), 'picture')}, {outputs}: {some(self.classes)}>"

    def __str__(self) -> str:
        return previews.text(self._title(), self.counts(), self._notes(), **self._heads())

    def _repr_html_(self) -> str:
        rows = previews.sample(self.labels)
        shown = [(self.path(row), self.names[row]) for row in rows]
        return previews.html(self._title(), self.counts(), self._notes(), shown=shown, **self._heads())

    def _title(self) -> str:
        where = f" in {self.root}" if self.root else ""
        return f"{targets.find(self.task).title(self)}{where}"

    def _heads(self) -> dict[str, Any]:
        """What the table of counts calls its first row and its last, and the sums of the last."""
        task = targets.find(self.task)
        sums = [len(self.split_indices(name)) for name in self.counts()]
        return {"what": task.WHAT, "whole": task.ALL, "sums": sums}

    def _notes(self) -> list[str]:
        """What a reader must know besides the counts."""
        kinds = Counter(finding.kind for finding in self.findings)
        unknown = int((self.labels < 0).sum())
        return [
            *([f"{number(unknown, 'picture')} of classes that training lacks"] if unknown else []),
            *([f"{number(len(self.skipped), 'picture')} skipped"] if self.skipped else []),
            *([f"{number(self.ignored, 'other file')} ignored"] if self.ignored else []),
            *[f"{kind}: {number(count, 'finding')}" for kind, count in sorted(kinds.items())],
        ]


def _pick(column: tuple[_Entry, ...], rows: list[int]) -> tuple[_Entry, ...]:
    return tuple(column[row] for row in rows)


def _existing(given: str | os.PathLike[str]) -> Path:
    path = Path(given).expanduser()
    if path.exists():
        return path
    try:
        siblings = [entry.name for entry in path.absolute().parent.iterdir()]
    except OSError:
        siblings = []
    raise PhotosError(f"{path} does not exist.{near(path.name, siblings)}\n{_FORMS}")


def _inside(root: Path, training: bool) -> Dataset:
    """What an unpacked archive holds: a table with its pictures, or a folder."""
    while True:
        entries = sorted(root.iterdir())
        tables = [path for path in entries if path.suffix.lower() in TABLE_SUFFIXES and is_picture_table(path)]
        if len(tables) == 1:
            return _settled(read_table(tables[0], inside=True), training)
        if len(entries) != 1 or not entries[0].is_dir() or not any(path.is_dir() for path in entries[0].iterdir()):
            return _settled(read_folder(root, training=training), training)
        root = entries[0]  # the one folder that archives often wrap everything in


def _settled(listing: Listing, training: bool) -> Dataset:
    settled: targets.Settled = targets.find(listing.task).settle(listing, training=training)
    return Dataset(
        root=listing.root,
        files=listing.files,
        labels=settled.labels,
        classes=settled.outputs,
        names=settled.names,
        splits=np.array(listing.splits, "<U10"),
        groups=listing.groups,
        findings=(*listing.findings, *settled.findings),
        skipped=listing.skipped,
        ignored=listing.ignored,
        task=listing.task,
        targets=settled.targets,
    )


def _digest(path: Path) -> bytes:
    try:
        return bytes.fromhex(files.file_digest(path))
    except OSError:
        return b""
