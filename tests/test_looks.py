"""A glance at each picture: what is measured, once for each content, and kept."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart import alike, images, looks
from headstart.dataset import Dataset
from headstart.looks import FORMATS, SMALL, glance
from headstart.splitting import split
from headstart.store import Store


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    """Two classes of six; what each file is, is in its name."""
    colours = np.zeros((48, 96, 3), np.uint8)
    colours[:, 48:] = (200, 40, 40)
    framed = np.full((64, 64, 3), 250, np.uint8)
    framed[8:56, 8:56] = np.random.default_rng(0).integers(0, 255, (48, 48, 3))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(colours).save(tmp_path / name / "0-colour.png")
        Image.fromarray(colours).convert("L").save(tmp_path / name / "1-grey.jpg")
        Image.fromarray(framed).save(tmp_path / name / f"2-framed-{name}.png", compress_level=1 if name == "a" else 9)
        (tmp_path / name / "3-bad.jpg").write_bytes(b"no picture")
        (tmp_path / name / "4-empty.jpg").write_bytes(b"")
        Image.new("RGB", (3000 if name == "a" else 1024, 2049), (9, 9, 9)).save(tmp_path / name / "5-large.webp")
    return Dataset.open(tmp_path).digested()


def test_what_is_measured(mixed: Dataset) -> None:
    seen = glance(mixed)
    colour, grey, framed, bad, empty, large = range(6)
    assert seen.small.shape == (12, SMALL, SMALL)
    assert seen.readable.tolist() == [True, True, True, False, False, True] * 2
    assert [FORMATS[seen.format[row]] for row in (colour, grey, large)] == ["PNG", "JPEG", "WEBP"]
    assert (seen.width[large], seen.height[large]) == (3000, 2049)
    assert (seen.width[large + 6], seen.height[colour]) == (1024, 48)
    assert seen.chroma[colour] == pytest.approx(160, abs=3)
    assert seen.chroma[grey] == 0
    assert np.abs(seen.small[colour, 3, [0, -1]] - np.array([0.0, 200 * 0.299 + 40 * 0.701])).max() <= 1
    assert seen.edge[framed] == pytest.approx(250, abs=1)
    assert seen.edge_spread[framed] < 1 < 30 < seen.edge_spread[colour]
    assert seen.contrast[large] == seen.contrast[bad] == 0 < 80 < seen.contrast[colour]
    assert sorted(seen.bad) == [bad, empty, bad + 6, empty + 6]
    assert seen.bad[empty] == "the file is empty"


def test_each_content_is_decoded_once_and_then_never(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, count = images.decode, []
    monkeypatch.setattr(images, "decode", lambda data, size: count.append(1) or decode(data, size))
    steps: list[tuple[int, int]] = []
    with Store(tmp_path / "looks.sqlite") as store:
        first = glance(mixed, store, progress=lambda *step: steps.append(step))
        assert len(count) == 8  # of twelve files four pairs have the same bytes
        again = glance(mixed, store, progress=lambda *step: steps.append(step))
        assert len(count) == 10  # what could not be read is tried again
    for name in ("small", "width", "height", "format", "chroma", "edge", "edge_spread"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.bad == again.bad
    assert steps[-1] == (12, 12)
    alone = glance(mixed)
    assert np.array_equal(alone.small, first.small)
    assert np.array_equal(alone.chroma, first.chroma)


def test_a_file_that_changed_or_went_is_bad_and_not_kept(mixed: Dataset, tmp_path: Path) -> None:
    mixed.path(1).write_bytes(mixed.path(0).read_bytes())
    mixed.path(5).unlink()
    with Store(tmp_path / "looks.sqlite") as store:
        seen = glance(mixed, store)
        assert "changed" in seen.bad[1]
        assert "not there" in seen.bad[5]
        assert seen.bad[7] == seen.bad[1], "the same bytes, as they were hashed, are read once"
        assert not seen.readable[[1, 5]].any()


def test_no_picture_at_all(mixed: Dataset) -> None:
    seen = glance(mixed.take([]))
    assert len(seen.small) == len(seen.contrast) == 0


@pytest.mark.parametrize("size", [96, 160, 260])
def test_twins_and_splits_do_not_hang_on_the_size_that_pictures_are_decoded_for(shared: Path, size: int) -> None:
    """Thumbnails from the decode for the network and from one of their own: nothing that follows differs."""
    dataset = Dataset.open(shared / "data" / "trashnet6").digested()
    dataset = dataset.take(np.r_[0:20, 400:420, 800:820, 1215:1600, 1600:1620, 2000:2020])  # twins are of paper
    alone = glance(dataset)
    rows = []
    for row in range(len(dataset)):
        data = images.file_bytes(dataset.path(row))
        _, thumbnail, header = images.decode_with_thumbnail(data, (size, size), (looks.SIDE, looks.SIDE))
        rows.append(looks.measure(thumbnail, header))
    together = looks.of_rows(np.stack(rows), {})
    differences = np.abs(together.small.astype(int) - alone.small)
    assert differences.mean() < 0.5
    assert np.quantile(differences, 0.999) <= 4
    assert np.array_equal(together.width, alone.width)
    found, meant = alike.find(dataset, together), alike.find(dataset, alone)
    assert len(meant) > 5
    assert {(pair.first, pair.second) for pair in found} == {(pair.first, pair.second) for pair in meant}
    splits = [split(alike.tie(dataset, twins)).splits for twins in (found, meant)]
    assert np.array_equal(*splits)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_thumbnail_is_upright_and_of_the_whole_picture(turn: int) -> None:
    drawn = np.random.default_rng(1).integers(0, 255, (7, 9, 3), np.uint8)
    picture = Image.fromarray(drawn).resize((331, 243), Image.Resampling.BICUBIC)
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {})):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = turn
        picture.save(file, kind, exif=exif, **options)
        pixels, thumbnail, header = images.decode_with_thumbnail(file.getvalue(), (160, 130), (32, 32))
        assert np.array_equal(pixels, images.decode(file.getvalue(), (160, 130)))
        assert header == images.probe(file.getvalue())
        alone = images.decode(file.getvalue(), (32, 32)).astype(int)
        inner = np.s_[2:-2, 2:-2]  # a JPEG's last blocks are padded, and at an eighth the padding is averaged in
        assert np.abs(thumbnail.astype(int) - alone)[inner].max() <= 4
        if kind == "PNG":
            assert np.array_equal(thumbnail, alone)


def test_a_network_smaller_than_the_thumbnail_gets_its_own_decode() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 90, 3), np.uint8)).save(file, "JPEG")
    pixels, thumbnail, _ = images.decode_with_thumbnail(file.getvalue(), (16, 40), (32, 32))
    assert np.array_equal(pixels, images.decode(file.getvalue(), (16, 40)))
    assert np.array_equal(thumbnail, images.decode(file.getvalue(), (32, 32)))
