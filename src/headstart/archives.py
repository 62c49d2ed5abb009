"""Zip and tar archives of pictures, unpacked once into the cache. An archive is hostile until shown otherwise.

Only files with the name of a picture or of a table are written. An entry that leads out of the archive's own folder
is refused, and so is an archive that holds far more than it could: sizes are counted as the bytes come out, never
taken from the archive's own word.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from headstart.errors import PhotosError
from headstart.files import atomic_folder, file_digest
from headstart.folders import TABLE_SUFFIXES, is_candidate, is_litter

MAX_ENTRIES = 5_000_000
"""Entries of one archive, of any kind."""

MAX_RATIO = 200
"""Unpacked bytes for each packed byte; pictures, packed already, stay near 1."""

FREE_OF_RATIO = 256 * 2**20
"""Unpacked bytes up to which the ratio is not looked at: a few flat bitmaps do shrink a thousandfold."""

_CHUNK = 2**20
_MAGIC = {
    b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst", b"Rar!": "RAR", b"7z\xbc\xaf": "7z",
}  # fmt: skip
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def unpack(archive: Path, into: Path) -> Path:
    """Unpack an archive into a folder named by its contents; the same archive is unpacked once.

    Args:
        archive: a `.zip`, or a `.tar`, plain or packed by gzip, bzip2, xz or (Python 3.14) Zstandard. The bytes
            say what it is, not the name.
        into: the folder to make that folder in.

    Returns:
        `into/<SHA-256 of the archive>`; it holds whole files alone, also where the process was killed before.

    Raises:
        PhotosError: not an archive, damaged, encrypted, leading out of its folder, or larger than it may be.
    """
    target = into / file_digest(archive)
    if target.is_dir():
        return target
    kind = _kind(archive)
    into.mkdir(parents=True, exist_ok=True)
    room = min(shutil.disk_usage(into).free, max(FREE_OF_RATIO, MAX_RATIO * archive.stat().st_size))
    with atomic_folder(target) as folder:
        sink = _Sink(archive, folder, room)
        try:
            _unzip(archive, sink) if kind == "zip" else _untar(archive, kind, sink)
            sink.finish()
        except _DAMAGED as error:
            raise PhotosError(f"{archive} is damaged or incomplete: {error}.\nFetch or pack it again.") from None
        except OSError as error:
            reason = error.strerror or str(error)  # bzip2 has no error of its own and raises OSError
            raise PhotosError(
                f"{archive} could not be unpacked: {reason}.\nUnpack it yourself, give the folder."
            ) from None
    return target


def _kind(archive: Path) -> str:
    with open(archive, "rb") as handle:
        start = handle.read(6)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")
    if kind in ("RAR", "7z"):
        raise PhotosError(f"{archive} is a {kind} archive, which is not read.\nUnpack it and give the folder.")
    if not kind and not tarfile.is_tarfile(archive):
        raise PhotosError(
            f"{archive} is no archive that headstart knows.\n"
            "Give a zip or tar archive, a folder of class folders, or a CSV or Parquet table."
        )
    return kind or "tar"


@dataclass
class _Sink:
    """Where entries go: checks each name, counts each byte."""

    archive: Path
    folder: Path
    room: int
    entries: int = 0
    links: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)

    def place(self, name: str) -> PurePosixPath:
        """Where an entry belongs, relative to the folder."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise PhotosError(f"{self.archive} has more than {MAX_ENTRIES:,} entries.\nUnpack it and give the folder.")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise PhotosError(f"{self.archive}: the entry {name} leads out of the archive.\nDo not trust this archive.")
        return path

    def charge(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise PhotosError(
                f"{self.archive} unpacks to more than the disk holds, or than {MAX_RATIO} times its own size."
                "\nIf you trust it, unpack it yourself and give the folder."
            )

    def write(self, path: PurePosixPath, data: IO[bytes]) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as handle:
            while chunk := data.read(_CHUNK):
                self.charge(len(chunk))
                handle.write(chunk)

    def link(self, path: PurePosixPath, target: str, *, base: PurePosixPath) -> None:
        """Remember a link; it becomes a file of its own at the end, where its target was unpacked too."""
        inner = os.path.normpath(base / target.replace("\\", "/")).replace(os.sep, "/")
        self.links[path] = self.place(inner)

    def finish(self) -> None:
        waiting = self.links
        while waiting:
            ready = {path: aim for path, aim in waiting.items() if (self.folder / aim).is_file()}
            for path, aim in ready.items():
                with open(self.folder / aim, "rb") as data:
                    self.write(path, data)
            if not ready:
                return
            waiting = {path: aim for path, aim in waiting.items() if path not in ready}


def _wanted(path: PurePosixPath) -> bool:
    name = path.name
    return not any(map(is_litter, path.parts)) and (is_candidate(name) or path.suffix.lower() in TABLE_SUFFIXES)


def _unzip(archive: Path, sink: _Sink) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for entry in bundle.infolist():
            path = sink.place(entry.filename)
            if entry.is_dir():
                _make(sink.folder, path)
            elif _wanted(path):
                if entry.flag_bits & 1:
                    raise PhotosError(f"{archive} is encrypted.\nUnpack it with its password and give the folder.")
                try:
                    data = bundle.open(entry)
                except NotImplementedError as error:
                    raise PhotosError(f"{archive}: {error}.\nUnpack it yourself and give the folder.") from None
                with data:
                    if stat.S_ISLNK(entry.external_attr >> 16):
                        sink.link(path, data.read(4096).decode("utf-8", "replace"), base=path.parent)
                    else:
                        sink.write(path, data)


def _untar(archive: Path, kind: str, sink: _Sink) -> None:
    with _opened(archive, kind) as raw:
        counted = cast(IO[bytes], _Counted(raw, _Sink(archive, sink.folder, sink.room + FREE_OF_RATIO)))
        with tarfile.open(fileobj=counted, mode="r|") as bundle:
            for entry in _members(bundle):
                path = sink.place(entry.name)
                if entry.isdir():
                    _make(sink.folder, path)
                elif not _wanted(path):
                    continue
                elif entry.issym() or entry.islnk():
                    sink.link(path, entry.linkname, base=path.parent if entry.issym() else PurePosixPath())
                elif data := bundle.extractfile(entry):  # None for pipes and devices
                    sink.write(path, data)
        while counted.read(_CHUNK):  # what is left holds the checksum
            pass


def _members(bundle: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for entry in bundle:
        yield entry
        bundle.members = []  # type: ignore[attr-defined]  # a stream is read once; a list of all its entries only costs memory


def _make(folder: Path, path: PurePosixPath) -> None:
    """Empty class folders are kept, since `headstart check` names them."""
    if not any(map(is_litter, path.parts)):
        (folder / path).mkdir(parents=True, exist_ok=True)


@dataclass
class _Counted:
    """A stream that counts what it gives: entries that are passed over are unpacked too, and headers may be huge."""

    raw: IO[bytes]
    sink: _Sink

    def read(self, size: int = -1) -> bytes:
        data = self.raw.read(size)
        self.sink.charge(len(data))
        return data


def _opened(archive: Path, kind: str) -> AbstractContextManager[IO[bytes]]:
    if kind == "zst":
        try:
            zstd = importlib.import_module("compression.zstd")
        except ImportError:
            raise PhotosError(f"{archive} needs Python 3.14 to be read.\nUnpack it and give the folder.") from None
        return cast(AbstractContextManager[IO[bytes]], zstd.open(archive))
    openers: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "tar": open}
    return cast(AbstractContextManager[IO[bytes]], openers[kind](archive, "rb"))
