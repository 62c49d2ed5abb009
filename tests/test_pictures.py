"""The known picture sets: all of them keep the contract, and none touches the network here."""

from __future__ import annotations

import importlib.util
import zipfile

import pytest

from headstart import pictures
from headstart.dataset import Dataset
from headstart.errors import DownloadError, MissingExtraError, PhotosError
from headstart.pictures import cats_and_dogs


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", pictures.names())
def test_every_set_keeps_the_contract(name):
    known = pictures.find(name)
    assert name == known.NAME
    assert known.SUMMARY.endswith(".")
    assert known.LICENCE
    assert callable(known.open)


def test_names_are_found_in_other_spellings():
    assert pictures.find("Cats-and-Dogs") is pictures.find("cats_and_dogs")
    with pytest.raises(PhotosError, match=r"no picture set textil. Did you mean textile\?"):
        pictures.find("textil")


@pytest.mark.skipif(
    importlib.util.find_spec("conformal_clip_data") is None, reason="conformal-clip-data is not installed"
)
def test_textile():
    dataset = pictures.find("textile").open()
    assert dataset.counts() == {"": {"global": 500, "local": 500, "nominal": 1000}}
    assert dataset.findings == ()


def test_textile_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"headstart\[demo\]"):
        pictures.find("textile").open()


def served(monkeypatch, folder, contents: bytes):
    """Let the archive come from this machine; returns what was asked for."""
    archive = folder / "served.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for split, count in (("train", 4), ("validation", 2)):
            for name in ("cats", "dogs"):
                for number in range(count):
                    bundle.writestr(f"cats_and_dogs_filtered/{split}/{name}/{number}.jpg", contents + split.encode())
        bundle.writestr("cats_and_dogs_filtered/vectorize.py", "")
    asked = []

    def download(url, target, *, sha256, size, progress):
        asked.append((url, sha256, size))
        if sha256 is not None and sha256 != cats_and_dogs.file_digest(archive):
            raise DownloadError("another file")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read_bytes())
        return target

    monkeypatch.setattr(cats_and_dogs, "download", download)
    return asked


def test_cats_and_dogs_are_checked_by_size_then_by_their_own_digest(cache, tmp_path, monkeypatch):
    asked = served(monkeypatch, tmp_path, b"one")
    dataset = cats_and_dogs.open()
    assert isinstance(dataset, Dataset)
    assert dataset.counts() == {"train": {"cats": 4, "dogs": 4}, "validation": {"cats": 2, "dogs": 2}}
    cats_and_dogs.open()
    assert [size for _, _, size in asked] == [68_606_236] * 2
    assert asked[0][1] is None
    assert asked[1][1] == cats_and_dogs.file_digest(cache / "downloads" / "cats_and_dogs_filtered.zip")
    served(monkeypatch, tmp_path, b"two")
    with pytest.raises(DownloadError, match="has published a new version, delete"):
        cats_and_dogs.open()
