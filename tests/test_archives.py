"""Archives, honest and hostile."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from headstart import archives
from headstart.archives import unpack
from headstart.errors import PhotosError

PACKINGS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")


@pytest.fixture
def into(tmp_path):
    return tmp_path / "unpacked"


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """An archive by its suffix; a name that ends in "/" is a folder."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, data in members.items():
                bundle.writestr(name, data)
        return path
    mode = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, mode) as bundle:
        for name, data in members.items():
            add(bundle, name, data)
    return path


def add(bundle: tarfile.TarFile, name: str, data: bytes = b"", **fields) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    if name.endswith("/"):
        entry.type = tarfile.DIRTYPE
    for field, value in fields.items():
        setattr(entry, field, value)
    bundle.addfile(entry, io.BytesIO(data))


def inside(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() + "/" * path.is_dir() for path in folder.rglob("*"))


def refused(archive: Path, into: Path) -> str:
    """The message with which an archive is refused; nothing of it may stay."""
    with pytest.raises(PhotosError) as caught:
        unpack(archive, into)
    assert len(str(caught.value).splitlines()) <= 3
    assert not into.exists() or list(into.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("packing", PACKINGS)
def test_pictures_and_tables_come_out_and_nothing_else(tmp_path, into, packing):
    members = {
        "./a/1.JPG": b"one", "a/deep/2.heic": b"two", "t.csv": b"path,label", "a/run.sh": b"#!", "b/": b"",
        "__MACOSX/a/._1.jpg": b"x", ".git/3.jpg": b"x", "model.pkl": b"x",
    }  # fmt: skip
    folder = unpack(pack(tmp_path / f"x.{packing}", members), into)
    assert inside(folder) == ["a/", "a/1.JPG", "a/deep/", "a/deep/2.heic", "b/", "t.csv"]
    assert (folder / "a" / "1.JPG").read_bytes() == b"one"
    assert folder.parent == into


def test_the_same_archive_is_unpacked_once(tmp_path, into):
    archive = pack(tmp_path / "x.zip", {"a/1.jpg": b"one"})
    folder = unpack(archive, into)
    (folder / "mark").touch()
    shutil.copy(archive, tmp_path / "other_name.zip")
    assert unpack(tmp_path / "other_name.zip", into) == folder
    assert (folder / "mark").exists()
    assert unpack(pack(archive, {"a/1.jpg": b"two"}), into) != folder


def test_the_bytes_say_what_it_is(tmp_path, into):
    archive = pack(tmp_path / "x.tar.gz", {"a/1.jpg": b"one"}).rename(tmp_path / "x.zip")
    assert inside(unpack(archive, into)) == ["a/", "a/1.jpg"]


def test_backslashes_are_folders(tmp_path, into):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = "a\\1.jpg"
        bundle.writestr(entry, b"one")
    assert inside(unpack(archive, into)) == ["a/", "a/1.jpg"]


@pytest.mark.parametrize("packing", ["tar", "zip"])
@pytest.mark.parametrize("name", ["../1.jpg", "a/../../1.jpg", "/tmp/1.jpg", "..\\1.jpg", "C:\\1.jpg", "C:1.jpg"])
def test_entries_that_lead_out_are_refused(tmp_path, into, packing, name):
    archive = pack(tmp_path / f"x.{packing}", {"a/1.jpg": b"one", name: b"two"})
    assert "leads out of the archive" in refused(archive, into)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret.jpg"])
def test_links_that_lead_out_are_refused(tmp_path, into, target):
    with tarfile.open(tmp_path / "x.tar", "w") as bundle:
        add(bundle, "a/1.jpg", type=tarfile.SYMTYPE, linkname=target)
    assert "leads out" in refused(tmp_path / "x.tar", into)
    with tarfile.open(tmp_path / "y.tar", "w") as bundle:
        add(bundle, "a/1.jpg", type=tarfile.LNKTYPE, linkname=target)
    assert "leads out" in refused(tmp_path / "y.tar", into)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as bundle:
        entry = zipfile.ZipInfo("a/1.jpg")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(entry, target)
    assert "leads out" in refused(tmp_path / "z.zip", into)


def test_links_inside_become_files(tmp_path, into):
    with tarfile.open(tmp_path / "x.tar", "w") as bundle:
        add(bundle, "b/chain.jpg", type=tarfile.SYMTYPE, linkname="soft.jpg")
        add(bundle, "a/1.jpg", b"one")
        add(bundle, "b/hard.jpg", type=tarfile.LNKTYPE, linkname="a/1.jpg")
        add(bundle, "b/soft.jpg", type=tarfile.SYMTYPE, linkname="../a/1.jpg")
        add(bundle, "b/gone.jpg", type=tarfile.SYMTYPE, linkname="nothing.jpg")
        add(bundle, "b/self.jpg", type=tarfile.SYMTYPE, linkname="self.jpg")
        add(bundle, "b/pipe.jpg", type=tarfile.FIFOTYPE)
    folder = unpack(tmp_path / "x.tar", into)
    assert inside(folder) == ["a/", "a/1.jpg", "b/", "b/chain.jpg", "b/hard.jpg", "b/soft.jpg"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert (folder / "b" / "chain.jpg").read_bytes() == b"one"


def test_a_link_to_a_folder_is_no_way_out(tmp_path, into):
    with tarfile.open(tmp_path / "x.tar", "w") as bundle:
        add(bundle, "a.jpg", type=tarfile.SYMTYPE, linkname="b")
        add(bundle, "a.jpg/1.jpg", b"one")
    folder = unpack(tmp_path / "x.tar", into)
    assert inside(folder) == ["a.jpg/", "a.jpg/1.jpg"]


@pytest.mark.parametrize("packing", ["tar.gz", "zip"])
@pytest.mark.parametrize("name", ["a/bomb.jpg", "bomb.bin"])
def test_bombs_are_refused_wherever_they_sit(tmp_path, into, monkeypatch, packing, name):
    monkeypatch.setattr(archives, "FREE_OF_RATIO", 100_000)
    archive = pack(tmp_path / f"x.{packing}", {"a/1.jpg": b"one", name: bytes(20_000_000)})
    if packing == "zip" and name == "bomb.bin":
        assert inside(unpack(archive, into)) == ["a/", "a/1.jpg"]  # a zip's other entries are not even unpacked
    else:
        assert "times its own size" in refused(archive, into)


def test_a_size_that_the_archive_lies_about_does_not_help(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "FREE_OF_RATIO", 100_000)
    archive = pack(tmp_path / "x.zip", {"a/1.jpg": bytes(20_000_000)})
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    archive.write_bytes(data)
    refused(archive, into)


def test_too_many_entries(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    archive = pack(tmp_path / "x.zip", {f"{number}.jpg": b"x" for number in range(4)})
    assert "more than 3 entries" in refused(archive, into)


@pytest.mark.parametrize("packing", PACKINGS)
def test_truncated_archives_are_refused(tmp_path, into, packing):
    noise = bytes(range(256)) * 40
    members = {f"a/{number}.jpg": noise[number:] for number in range(20)}
    archive = pack(tmp_path / f"x.{packing}", members)
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2 + 100])
    assert "damaged or incomplete" in refused(archive, into)


def test_damaged_entry_is_refused(tmp_path, into):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("a/1.jpg", b"some picture bytes")
    data = (tmp_path / "x.zip").read_bytes().replace(b"picture", b"PICTURE")
    (tmp_path / "x.zip").write_bytes(data)
    assert "damaged" in refused(tmp_path / "x.zip", into)


def test_encrypted_zip_is_refused(tmp_path, into):
    archive = pack(tmp_path / "x.zip", {"a/1.jpg": b"one"})
    data = bytearray(archive.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refused(archive, into)


def test_unknown_packing_of_a_zip_is_refused(tmp_path, into):
    archive = pack(tmp_path / "x.zip", {"a/1.jpg": b"one"})
    data = bytearray(archive.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(magic) + offset] = 97
    archive.write_bytes(data)
    assert "Unpack it yourself" in refused(archive, into)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"Rar!\x1a\x07", "RAR"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"", "no archive"),
        (b"hello, this is text", "no archive"),
    ],
)
def test_other_files_are_refused(tmp_path, into, start, expected):
    (tmp_path / "x").write_bytes(start + bytes(2000) * bool(start))
    assert expected in refused(tmp_path / "x", into)


def test_a_packed_file_that_is_no_tar(tmp_path, into):
    import gzip

    (tmp_path / "x.gz").write_bytes(gzip.compress(b"just one picture" * 100))
    assert "damaged or incomplete" in refused(tmp_path / "x.gz", into)


def test_a_file_and_a_folder_of_one_name(tmp_path, into):
    archive = pack(tmp_path / "x.tar", {"a.jpg": b"one", "a.jpg/b.jpg": b"two"})
    assert "could not be unpacked" in refused(archive, into)
