"""images: colours of every mode and format, orientation, DCT scaling, limits, hostile files, threads."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin, features

from headstart import images
from headstart.errors import InputError, PictureError

Pixels = NDArray[np.uint8]
SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "cats_vs_dogs" / "validation"
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUARTERS = (RED, GREEN, BLUE, WHITE)  # top left, top right, bottom left, bottom right


def encoded(im: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    im.save(file, kind, **options)
    return file.getvalue()


def flat(colours: tuple[tuple[int, ...], ...] = QUARTERS, side: int = 32, mode: str = "RGB") -> Image.Image:
    """Four plain quarters, so that each corner has an exact colour whatever the filter."""
    half = side // 2
    im = Image.new(mode, (side, side))
    for colour, corner in zip(colours, ((0, 0), (half, 0), (0, half), (half, half)), strict=True):
        im.paste(colour if len(colour) > 1 else colour[0], (*corner, corner[0] + half, corner[1] + half))
    return im


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    """The colour at the middle of each quarter."""
    low, high = pixels.shape[0] // 4, pixels.shape[0] * 3 // 4
    return [tuple(int(v) for v in pixels[y, x]) for y, x in ((low, low), (low, high), (high, low), (high, high))]


def near(found: list[tuple[int, ...]], wanted: tuple[tuple[int, ...], ...], within: int) -> bool:
    return int(np.abs(np.array(found) - np.array(wanted)).max()) <= within


def noisy(height: int = 61, width: int = 83, seed: int = 0) -> Image.Image:
    """A smooth asymmetric picture with a little noise: something that JPEG has work with."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([255 * x / width, 255 * y / height, 255 * np.abs(np.sin(x / 60 + y / 90))], axis=-1)
    return Image.fromarray(np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8))


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand, for the kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(width: int, height: int, tags: dict[int, tuple[int, int, int]], strip: bytes) -> bytes:
    """A little-endian TIFF of one strip by hand; tags are {number: (type, count, value or offset)}."""
    entries = {
        256: (4, 1, width), 257: (4, 1, height), 259: (3, 1, 1), 273: (4, 1, 8), 278: (4, 1, height),
        279: (4, 1, len(strip)), **tags,
    }  # fmt: skip
    strip += b"\0" * (len(strip) % 2)
    table = b"".join(struct.pack("<HHII", number, *entry) for number, entry in sorted(entries.items()))
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + struct.pack("<H", len(entries)) + table + bytes(4)


# Formats


LOSSLESS = ["PNG", "BMP", "TIFF", "PPM", "GIF"]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_colours_exactly(kind: str) -> None:
    assert corners(images.decode(encoded(flat(), kind), (16, 16))) == list(QUARTERS)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95}), ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True}), ("AVIF", {})],
)
def test_lossy_formats_keep_colours_nearly(kind: str, options: dict[str, object]) -> None:
    if not features.check({"JPEG": "jpg"}.get(kind, kind.lower())):
        pytest.skip(f"this Pillow has no {kind}")
    assert near(corners(images.decode(encoded(flat(), kind, **options), (16, 16))), QUARTERS, 6)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_tiff_compressions(compression: str) -> None:
    options = {"quality": 95} if compression == "jpeg" else {}
    data = encoded(flat(), "TIFF", compression=compression, **options)
    assert near(corners(images.decode(data, (16, 16))), QUARTERS, 6)


def test_the_bytes_say_what_it_is_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(flat(), "PNG"))
    assert corners(images.read(tmp_path / "a.jpg", (16, 16))) == list(QUARTERS)
    assert images.probe((tmp_path / "a.jpg").read_bytes()) == images.Probe(32, 32, "RGB", "PNG")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_first_of_several_frames(kind: str) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert near([tuple(images.decode(data, (8, 8))[4, 4].tolist())], (RED,), 6)


def test_first_picture_of_a_stereo_jpeg() -> None:
    data = encoded(Image.new("RGB", (20, 20), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (20, 20))])
    assert near([tuple(images.decode(data, (8, 8))[4, 4].tolist())], (RED,), 3)


def test_suffixes_and_advice_do_not_overlap() -> None:
    assert images.SUFFIXES.isdisjoint(images.UNREADABLE_SUFFIXES)
    for suffix in (*images.SUFFIXES, *images.UNREADABLE_SUFFIXES):
        assert suffix == suffix.lower()
        assert suffix.startswith(".")
    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tiff"} <= images.SUFFIXES
    assert (".avif" in images.SUFFIXES) == features.check("avif")


# Modes


def test_palette_grey_and_one_bit() -> None:
    assert corners(images.decode(encoded(flat().quantize(8)), (16, 16))) == list(QUARTERS)
    shades = flat(((0,), (85,), (170,), (255,)), mode="L")
    assert corners(images.decode(encoded(shades), (16, 16))) == [(v, v, v) for v in (0, 85, 170, 255)]
    bits = flat(((0,), (1,), (1,), (0,)), mode="1")
    assert corners(images.decode(encoded(bits), (16, 16))) == [(0, 0, 0), WHITE, WHITE, (0, 0, 0)]


def test_palette_and_one_bit_pictures_are_resized_smoothly() -> None:
    stripes = Image.fromarray((np.arange(64) % 2 * 255).astype(np.uint8).repeat(64).reshape(64, 64).T.copy())
    for im in (stripes.convert("1"), stripes.convert("P"), stripes):
        middle = images.decode(encoded(im), (8, 8))[2:6, 2:6]
        assert 110 < middle.min() <= middle.max() < 145  # nearest neighbour would give 0 or 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(mode: str) -> None:
    colours = ((255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51), (0, 0, 0, 128))
    if mode == "LA":
        colours = ((100, 255), (100, 0), (100, 51), (0, 128))  # type: ignore[assignment]
    found = corners(images.decode(encoded(flat(colours, mode=mode)), (16, 16)))
    wanted = [
        tuple(round((c * v[-1] + 255 * (255 - v[-1])) / 255) for c in (v[:3] if mode == "RGBA" else v[:1] * 3))
        for v in colours
    ]
    assert near(found, tuple(wanted), 1)


def test_transparent_palette_entries_and_colours_lie_over_white() -> None:
    keyed = flat().quantize(8)
    red = keyed.getpixel((0, 0))
    assert corners(images.decode(encoded(keyed, transparency=red), (16, 16)))[:2] == [WHITE, GREEN]
    assert corners(images.decode(encoded(keyed, "GIF", transparency=red), (16, 16)))[:2] == [WHITE, GREEN]
    bytewise = bytes(0 if i == red else 255 for i in range(8))
    assert corners(images.decode(encoded(keyed, transparency=bytewise), (16, 16)))[:2] == [WHITE, GREEN]
    assert corners(images.decode(encoded(flat(), transparency=GREEN), (16, 16)))[:2] == [RED, WHITE]
    grey = flat(((0,), (85,), (170,), (255,)), mode="L")
    assert corners(images.decode(encoded(grey, transparency=85), (16, 16)))[:2] == [(0, 0, 0), WHITE]


def test_hidden_colour_does_not_bleed_through_alpha() -> None:
    im = flat(((255, 0, 0, 0), (255, 255, 255, 255), (255, 0, 0, 0), (255, 255, 255, 255)), mode="RGBA")
    assert images.decode(encoded(im), (5, 5)).min() == 255


def test_premultiplied_alpha_of_tiffs_is_undone() -> None:
    # Half-covered black over white is mid grey; extra-samples value 1 marks premultiplied alpha.
    tags = {258: (3, 2, 8 | 8 << 16), 262: (3, 1, 1), 277: (3, 1, 2), 338: (3, 1, 1)}
    assert images.decode(tiff(4, 4, tags, bytes((0, 128)) * 16), (2, 2))[0, 0].tolist() == [127, 127, 127]


def test_sixteen_bits_a_colour_channel_keep_the_upper_eight() -> None:
    row = struct.pack(">3H", 0x80FF, 0x4000, 0xFFFF) * 2
    assert images.decode(png(2, 2, 16, 2, (b"\0" + row) * 2), (2, 2))[0, 0].tolist() == [0x80, 0x40, 0xFF]
    keyed = png(2, 2, 16, 2, (b"\0" + row) * 2, png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert images.decode(keyed, (2, 2))[0, 0].tolist() == [0x80, 0x40, 0xFF]


@pytest.mark.parametrize(
    ("high", "white"), [(65535, 65535), (50000, 65535), (16000, 16383), (4095, 4095), (1000, 1023), (200, 255)]
)
def test_deep_grey_is_scaled_by_the_depth_that_its_values_need(high: int, white: int) -> None:
    values = np.zeros((16, 16), dtype=np.uint16)
    values[:, 8:] = high
    wanted = [(0,) * 3, (round(high * 255 / white),) * 3] * 2
    for kind in ("PNG", "TIFF"):
        assert corners(images.decode(encoded(Image.fromarray(values), kind), (8, 8))) == wanted
    big_endian = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    assert corners(images.decode(encoded(big_endian, "TIFF"), (8, 8))) == wanted
    assert corners(images.decode(encoded(Image.fromarray(values.astype(np.int32)), "TIFF"), (8, 8))) == wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((0.0, 1.0), (0, 255)),
        ((0.0, 0.5), (0, 128)),
        ((0.0, 200.0), (0, 200)),
        ((-1.0, 1.0), (0, 255)),
        ((-5.0, -5.0), (0, 0)),
        ((0.0, 1e6), (0, 255)),
        ((0.0, float("nan")), (0, 0)),
        ((float("-inf"), float("inf")), (0, 255)),
        ((-3e38, 3e38), (0, 255)),
    ],
)
def test_float_grey(values: tuple[float, float], wanted: tuple[int, int]) -> None:
    array = np.repeat(np.array(values, dtype=np.float32), 8)[None].repeat(16, axis=0)
    found = corners(images.decode(encoded(Image.fromarray(array), "TIFF"), (8, 8)))
    assert found[:2] == [(wanted[0],) * 3, (wanted[1],) * 3]


def test_signed_deep_grey_is_stretched_from_its_lowest_to_its_highest() -> None:
    array = np.repeat(np.array([-1000, 3000], dtype=np.int32), 8)[None].repeat(16, axis=0)
    assert corners(images.decode(encoded(Image.fromarray(array), "TIFF"), (8, 8)))[:2] == [(0,) * 3, WHITE]


def test_cmyk_by_the_documented_formula() -> None:
    inks = ((0, 255, 255, 0), (255, 0, 255, 0), (0, 0, 0, 128), (100, 50, 0, 60))
    wanted = tuple(tuple(round((255 - ink) * (255 - k) / 255) for ink in cmy) for *cmy, k in inks)
    im = flat(inks, mode="CMYK")
    assert near(corners(images.decode(encoded(im, "TIFF"), (16, 16))), wanted, 1)
    assert near(corners(images.decode(encoded(im, "JPEG", quality=95), (16, 16))), wanted, 8)


def test_ycck_jpeg_is_cmyk() -> None:
    # An Adobe marker with transform 2 says that the first three channels of a CMYK JPEG are YCC.
    plain = encoded(Image.new("CMYK", (16, 16), (255, 255, 255, 0)), "JPEG", quality=95)
    at = plain.index(b"Adobe") + 11
    assert plain[at] in (0, 2)
    other = plain[:at] + bytes([2 - plain[at]]) + plain[at + 1 :]
    assert images.decode(plain, (4, 4))[0, 0].tolist() == [0, 0, 0]
    assert images.decode(other, (4, 4))[0, 0].tolist() != [0, 0, 0]


def test_lab_becomes_srgb() -> None:
    if not features.check("littlecms2"):
        pytest.skip("this Pillow has no LittleCMS")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(flat(((200, 30, 40), (20, 160, 60), (30, 60, 170), (240, 240, 240))), to_lab)
    assert lab is not None
    found = corners(images.decode(encoded(lab, "TIFF"), (16, 16)))
    assert near(found, ((200, 30, 40), (20, 160, 60), (30, 60, 170), (240, 240, 240)), 8)


def test_ycbcr_tiff() -> None:
    colours = ((200, 30, 40), (20, 160, 60), (30, 60, 170), (240, 240, 240))
    assert near(corners(images.decode(encoded(flat(colours).convert("YCbCr"), "TIFF"), (16, 16))), colours, 4)


# Shape, size and orientation


def test_the_whole_picture_is_stretched_to_height_and_width() -> None:
    wide = flat().resize((200, 20), Image.Resampling.NEAREST)
    pixels = images.decode(encoded(wide), (40, 12))
    assert pixels.shape == (40, 12, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert [tuple(pixels[y, x].tolist()) for y, x in ((5, 2), (5, 10), (35, 2), (35, 10))] == list(QUARTERS)


def test_one_pixel_is_enlarged() -> None:
    assert (images.decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7))), (30, 20)) == (9, 8, 7)).all()


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5,), (5, 5, 5), 5, (2.5, 4), None])
def test_a_wrong_image_size_is_not_blamed_on_the_picture(size: object) -> None:
    with pytest.raises(InputError, match="height, width") as caught:
        images.decode(encoded(flat()), size)  # type: ignore[arg-type]
    assert not isinstance(caught.value, PictureError)


# How a camera stores an upright picture, by its EXIF orientation: the inverse of what a viewer does.
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def turned(orientation: int, kind: str, upright: Image.Image) -> bytes:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, object]] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 95},
    }
    return encoded(stored, kind, exif=exif, **options.get(kind, {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    upright = noisy(240, 360)
    data = turned(orientation, kind, upright)
    wanted = np.asarray(upright.resize((60, 44), Image.Resampling.BICUBIC)).astype(int)
    found = images.decode(data, (44, 60)).astype(int)
    assert np.abs(found - wanted).mean() < 2.5
    (tmp_path / "a").write_bytes(data)
    with Image.open(io.BytesIO(images.thumbnail_jpeg(tmp_path / "a", 60, 95))) as small:
        assert small.size == (60, 40)
        shown = np.asarray(small.resize((60, 44), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(shown - wanted).mean() < 6


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    late = encoded(flat())[:-12] + png_chunk(b"eXIf", exif.tobytes()[6:]) + png_chunk(b"IEND", b"")
    assert corners(images.decode(late, (16, 16))) == [WHITE, BLUE, GREEN, RED]


@pytest.mark.parametrize(
    "block",
    [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 30],
)
@pytest.mark.parametrize("kind", ["JPEG", "JPEG with a resolution", "PNG", "WEBP"])
def test_a_broken_exif_block_does_not_lose_the_picture(block: bytes, kind: str) -> None:
    if not features.check("webp") and kind == "WEBP":
        pytest.skip("this Pillow has no WEBP")
    options: dict[str, object] = {"quality": 95} if kind != "JPEG with a resolution" else {"dpi": (72, 72)}
    data = encoded(flat(), kind.split()[0], exif=block, **options)
    assert near(corners(images.decode(data, (16, 16))), QUARTERS, 6)


@pytest.mark.parametrize("tag", [1, 3])
def test_a_tiff_is_turned_once_whatever_its_xmp_repeats(tag: int) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[274] = tag
    info[700] = f'<rdf:Description tiff:Orientation="{tag}"/>'.encode()
    wanted = list(QUARTERS) if tag == 1 else [WHITE, BLUE, GREEN, RED]
    for compression in ("raw", "tiff_lzw"):
        data = encoded(flat(), "TIFF", tiffinfo=info, compression=compression)
        assert corners(images.decode(data, (16, 16))) == wanted


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_an_orientation_that_does_not_exist_counts_as_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert near(corners(images.decode(encoded(flat(), "JPEG", quality=95, exif=exif), (16, 16))), QUARTERS, 6)


@pytest.mark.parametrize(("width", "height"), [(641, 479), (1300, 333), (2000, 1500), (97, 1411)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_dct_scaling_is_close_to_the_full_decode(width: int, height: int, mode: str) -> None:
    data = encoded(noisy(height, width).convert(mode), "JPEG", quality=92)
    with Image.open(io.BytesIO(data)) as im:
        full = np.asarray(im.convert("RGB").resize((64, 96), Image.Resampling.BICUBIC)).astype(int)
    difference = np.abs(images.decode(data, (96, 64)).astype(int) - full)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) < 10


# Limits


def test_pixel_limit_is_kept_before_decoding_and_can_be_moved() -> None:
    data = encoded(Image.new("L", (100, 100)))
    assert images.decode(data, (4, 4), max_pixels=10_000).shape == (4, 4, 3)
    for look in (lambda: images.decode(data, (4, 4), max_pixels=9_999), lambda: images.probe(data, max_pixels=9_999)):
        with pytest.raises(PictureError, match=r"100 x 100 pixels.*9,999"):
            look()


def test_a_jpeg_that_is_scaled_down_may_be_four_times_larger() -> None:
    data = encoded(Image.new("RGB", (200, 200)), "JPEG")
    assert images.decode(data, (50, 50), max_pixels=10_000).shape == (50, 50, 3)
    with pytest.raises(PictureError, match="200 x 200"):
        images.decode(data, (150, 150), max_pixels=10_000)  # no scale fits, so all of it would be held
    with pytest.raises(PictureError, match="200 x 200"):
        images.decode(data, (8, 8), max_pixels=9_999)


def test_file_limit(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(flat()))
    size = (tmp_path / "a.png").stat().st_size
    assert images.read(tmp_path / "a.png", (4, 4), max_bytes=size).shape == (4, 4, 3)
    with pytest.raises(PictureError, match="bytes, more than"):
        images.read(tmp_path / "a.png", (4, 4), max_bytes=size - 1)


# Hostile files


def jpeg() -> bytes:
    return encoded(noisy(), "JPEG")


def malformed_stereo() -> bytes:
    """A JPEG whose index of further pictures is nonsense: still a JPEG."""
    return jpeg()[:2] + b"\xff\xe2\x00\x0cMPF\0\xff\xff\xff\xff\xff\xff" + jpeg()[2:]


def text_bomb() -> bytes:
    return png(2, 2, 8, 0, b"\0\1\1" * 2, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000))))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"This is not a picture at all.\n", "text"),
    "page.jpg": (lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "drawing.png": (lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "noise.jpg": (lambda: b"\xfe\x01" + np.random.default_rng(3).bytes(3000), "not a picture in any known format"),
    "document.jpg": (lambda: b"%PDF-1.7\n", "PDF"),
    "phone.jpg": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "HEIF"),
    "film.jpg": (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isommp41", "film"),
    "cut.jpg": (lambda: jpeg()[: len(jpeg()) // 2], "cut off"),
    "no end mark.jpg": (lambda: jpeg()[:-2], "cut off"),
    "head only.jpg": (lambda: jpeg()[:20], "JPEG"),
    "three bytes.jpg": (lambda: b"\xff\xd8\xff", "JPEG"),
    "cut.png": (lambda: encoded(noisy())[:3000], "cut off"),
    "cut.gif": (lambda: encoded(noisy(), "GIF")[:2500], "cut off"),
    "cut.webp": (lambda: encoded(noisy(), "WEBP")[:200], "WEBP"),
    "cut.tif": (lambda: encoded(noisy(), "TIFF", compression="tiff_lzw")[:900], "TIFF"),
    "cut.bmp": (lambda: encoded(noisy(), "BMP")[:900], "BMP"),
    "cut.ppm": (lambda: encoded(noisy(), "PPM")[:900], "PPM"),
    "bomb.png": (lambda: png(60_000, 60_000, 8, 2, b""), "60,000 x 60,000 pixels"),
    "bomb.jpg": (lambda: jpeg().replace(struct.pack(">HH", 61, 83), b"\xff\xff\xff\xff"), "65,535 x 65,535"),
    "bomb.gif": (lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0), "GIF"),
    "bomb.bmp": (lambda: encoded(noisy(), "BMP")[:18] + b"\xff\xff\xff\x7f" * 2 + bytes(200), "BMP|pixels"),
    "bomb.ppm": (lambda: b"P6 999999 999999 255\n", "999,999 x 999,999"),
    "bomb.tif": (lambda: tiff(60_000, 60_000, {258: (3, 1, 8), 262: (3, 1, 1)}, b"\0"), "60,000 x 60,000"),
    "text bomb.png": (text_bomb, "PNG"),
    "no pixels.png": (lambda: png(0, 5, 8, 2, b""), "PNG"),
    "no pixels.jpg": (lambda: jpeg().replace(struct.pack(">HH", 61, 83), bytes(4)), "JPEG"),
    "checksum.png": (lambda: encoded(noisy()).replace(b"IDAT", b"IDAX", 1), "PNG"),
    "no frames.gif": (lambda: b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"\x3b", "GIF"),
    "huge tags.tif": (lambda: tiff(4, 4, {258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 2**31, 8)}, bytes(16)), "TIFF"),
    "odd mode.tif": (lambda: tiff(4, 4, {258: (3, 1, 7), 262: (3, 1, 9)}, bytes(16)), "TIFF"),
    "twelve bits.jpg": (lambda: jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "12-bit"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_give_a_short_reason(name: str, tmp_path: Path) -> None:
    make, reason = HOSTILE[name]
    (tmp_path / name).write_bytes(make())
    for look in (lambda: images.read(tmp_path / name, (8, 8)), lambda: images.thumbnail_jpeg(tmp_path / name)):
        with pytest.raises(PictureError, match=reason) as caught:
            look()
        assert len(str(caught.value)) < 250
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)  # no object's address


ODD_BUT_READABLE: dict[str, Callable[[], bytes]] = {
    "garbage tail.jpg": lambda: jpeg() + b"<script>" * 1000,
    "malformed stereo.jpg": malformed_stereo,
    "malformed animation.png": lambda: png(
        83, 61, 8, 2, b"".join(b"\0" + row.tobytes() for row in np.asarray(noisy())), png_chunk(b"acTL", bytes(8))
    ),
    "tags that run out.tif": lambda: tiff(
        83, 61, {258: (3, 1, 8), 262: (3, 1, 1), 40000: (2, 900, 2**30)}, np.asarray(noisy().convert("L")).tobytes()
    ),
}


@pytest.mark.parametrize("action", ["error", "default"])
@pytest.mark.parametrize("name", ODD_BUT_READABLE)
def test_odd_metadata_neither_warns_nor_loses_the_picture(name: str, action: str) -> None:
    data = ODD_BUT_READABLE[name]()
    wanted = np.asarray(noisy().resize((20, 16), Image.Resampling.BICUBIC)).astype(int)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter(action)  # type: ignore[arg-type]
        found = images.decode(data, (16, 20)).astype(int)
    assert heard == []
    if name.endswith(".tif"):
        wanted = np.asarray(noisy().convert("L").convert("RGB").resize((20, 16), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found - wanted).mean() < 6


def test_other_warnings_still_reach_the_user() -> None:
    images.decode(encoded(flat()), (4, 4))
    with pytest.raises(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loose.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    for name, reason in {
        "folder.jpg": "folder",
        "loose.jpg": "not there",
        "missing.jpg": "not there",
        "round.jpg": "cannot be read",
        "nu\0ll.jpg": "cannot be read",
        "x" * 300 + ".jpg": "cannot be read",
        "missing.jpg/below.jpg": "not there",
    }.items():
        with pytest.raises(PictureError, match=reason):
            images.read(tmp_path / name, (8, 8))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="pipe"):
        images.read(tmp_path / "pipe.jpg", (8, 8))


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no file rights of this kind here")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "private.jpg"
    path.write_bytes(jpeg())
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read anything
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(PictureError, match="no permission"):
            images.read(path, (8, 8))
    finally:
        os.seteuid(user)


# Everything at once


FUZZED: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: turned(6, "JPEG", noisy()),
    "progressive": lambda: encoded(noisy(), "JPEG", progressive=True),
    "PNG": lambda: encoded(noisy().convert("RGBA")),
    "palette PNG": lambda: encoded(noisy().quantize(16), transparency=3),
    "deep PNG": lambda: encoded(Image.fromarray(np.asarray(noisy().convert("L")).astype(np.uint16) * 200)),
    "GIF": lambda: encoded(noisy(), "GIF", save_all=True, append_images=[noisy(seed=1)]),
    "WEBP": lambda: encoded(noisy(), "WEBP"),
    "BMP": lambda: encoded(noisy(20, 20), "BMP"),
    "TIFF": lambda: encoded(noisy(20, 20), "TIFF", compression="tiff_lzw"),
    "float TIFF": lambda: encoded(noisy(20, 20).convert("F"), "TIFF"),
    "AVIF": lambda: encoded(noisy(), "AVIF") if features.check("avif") else jpeg(),
    "PPM": lambda: encoded(noisy(20, 20), "PPM"),
}


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    return {name: make() for name, make in FUZZED.items()}


@settings(max_examples=600, deadline=None)
@given(draw=st.data())
def test_damage_gives_an_array_or_a_picture_error(whole: dict[str, bytes], draw: st.DataObject) -> None:
    data = bytearray(whole[draw.draw(st.sampled_from(sorted(whole)))])
    reach = draw.draw(st.sampled_from([64, 700, len(data)]))  # headers are where a byte matters most
    for _ in range(draw.draw(st.integers(0, 6))):
        data[draw.draw(st.integers(0, min(reach, len(data)) - 1))] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.integers(len(data) // 8, len(data))) if draw.draw(st.booleans()) else len(data) :]
    try:
        pixels = images.decode(bytes(data), (12, 9), max_pixels=4_000_000)
    except PictureError:
        return
    assert pixels.shape == (12, 9, 3)
    assert pixels.dtype == np.uint8


def test_threads_and_order_do_not_matter(whole: dict[str, bytes]) -> None:
    alone = {name: images.decode(data, (40, 30)) for name, data in whole.items()}
    broken = [HOSTILE[name][0]() for name in ("cut.jpg", "cut.png", "huge tags.tif")]
    broken += [make() for make in ODD_BUT_READABLE.values()]

    def look(data: bytes) -> Pixels | None:
        try:
            return images.decode(data, (40, 30))
        except PictureError:
            return None

    names = [*whole] * 15
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(look, [data for name in names for data in (whole[name], broken[len(name) % 8])]))
    for name, pixels in zip(names, results[::2], strict=True):
        assert pixels is not None
        assert np.array_equal(pixels, alone[name])


def test_thumbnails_keep_their_proportions_and_lose_their_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    noisy(300, 900).save(tmp_path / "a.jpg", exif=exif, comment="a secret word", dpi=(300, 300))
    data = images.thumbnail_jpeg(tmp_path / "a.jpg", 90)
    with Image.open(io.BytesIO(data)) as small:
        assert (small.format, small.size, small.mode) == ("JPEG", (90, 30), "RGB")
    assert b"secret" not in data
    assert len(images.thumbnail_jpeg(tmp_path / "a.jpg", 90, 30)) < len(data)
    noisy(20, 30).save(tmp_path / "b.png")
    with Image.open(io.BytesIO(images.thumbnail_jpeg(tmp_path / "b.png"))) as small:
        assert small.size == (30, 20)
    Image.new("RGB", (4000, 2)).save(tmp_path / "c.png")
    with Image.open(io.BytesIO(images.thumbnail_jpeg(tmp_path / "c.png", 50))) as small:
        assert small.size == (50, 1)


def test_the_key_names_the_decoder() -> None:
    import PIL

    assert PIL.__version__ in images.DECODING
    code = "from headstart import images; print(images.DECODING)"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert again == images.DECODING


def test_real_photos(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the test photographs are not at {SHARED}")
    paths = sorted(SHARED.rglob("*.jpg"))[::100]
    assert paths
    for path in paths:
        with Image.open(path) as im:
            upright = im.convert("RGB")
        pixels = images.read(path, (100, 80)).astype(int)
        wanted = np.asarray(upright.resize((80, 100), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(pixels - wanted).mean() < 3
        for orientation in range(2, 9):
            (tmp_path / "turned.jpg").write_bytes(turned(orientation, "JPEG", upright))
            assert np.abs(images.read(tmp_path / "turned.jpg", (100, 80)).astype(int) - wanted).mean() < 4
