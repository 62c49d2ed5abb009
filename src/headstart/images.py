"""Picture file -> uint8 RGB array. The only opener of picture files, so that training and serving see the same pixels.

What is done, in this order; `DECODING` names it all, and belongs in the key of whatever is computed from the pixels:

1. The bytes say what the file is, never its name: a PNG called `.jpg` is read as a PNG.
2. A JPEG is decoded at the smallest number of eighths of its size that is not below the size asked for.
3. The colours become RGB (table below). Embedded colour profiles are not applied.
4. The whole picture is stretched to `image_size` by an antialiased bicubic filter. Nothing is cropped, and the
   proportions are not kept: every part of a picture counts, and a box drawn on the result can be drawn on the original.
5. EXIF orientation, all eight values, is applied. An unreadable EXIF block counts as upright.

| in the file                               | becomes                                                      |
|-------------------------------------------|--------------------------------------------------------------|
| RGB, YCbCr, palette, 1 bit, 8-bit grey    | the same colours                                             |
| 16 bits a colour channel                  | the upper 8 bits                                             |
| any transparency, but a see-through shade of deep grey | laid over white                                 |
| CMYK, YCCK                                | red is (255 - cyan) x (255 - black) / 255, the others alike  |
| LAB                                       | sRGB by LittleCMS                                            |
| grey of more than 8 bits, or float        | 8-bit grey: 0 is black, W is white                           |
| the same with values below 0 or above any W | 8-bit grey: its lowest is black, its highest is white      |
| several frames or pages                   | the first                                                    |

W is the least of 255, 1023, 4095, 16383, 65535 (for float also 1) that is not below the picture's highest value.
It follows the values since many cameras leave 12 bits in a 16-bit file: by the file's own depth alone such pictures
would come out black.

All functions may be called from several threads at once; Pillow lets go of the interpreter while it decodes. Of a
damaged compressed TIFF, libtiff itself writes a line to standard error, which cannot be kept from a single thread.
"""

from __future__ import annotations

import hashlib
import io
import operator
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)
from PIL import __version__ as _pillow

from headstart.errors import InputError, PictureError

DECODING = (
    f"decode 2; Pillow {_pillow}; libjpeg-turbo {features.version('libjpeg_turbo')}; "
    f"simplejpeg {simplejpeg.__version__}; eighths; to RGB; white ground; "
    "grey white 1/255/1023/4095/16383/65535; bicubic antialiased; stretch; EXIF"
)
"""Names everything that decides the values of pixels. Two runs with equal strings give equal arrays."""

MAX_FILE_BYTES = 256 * 2**20
"""No larger file is read, in bytes."""

MAX_PIXELS = 89_478_485
"""No picture of more pixels is held in memory. It is Pillow's own limit, so Pillow has nothing to add to it.

A JPEG may have four times as many in the file, since it is decoded at a reduced scale: phones take 200 megapixels.
"""

UNREADABLE_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF is not read: convert it to JPEG"),
        **dict.fromkeys((".jxl", ".jp2", ".j2k", ".jpx"), "this format is not read: convert it to JPEG or PNG"),
        **dict.fromkeys((".svg", ".eps", ".ai"), "a drawing has no pixels: export it as PNG"),
        **dict.fromkeys((".psd", ".xcf"), "an editor's own format is not read: export it as PNG or JPEG"),
        **dict.fromkeys((".tga", ".pcx", ".exr", ".hdr"), "this format is not read: convert it to PNG"),
        **dict.fromkeys(
            (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".raw"),
            "a camera's raw file is not read: export it as JPEG",
        ),
        **({} if AvifImagePlugin.SUPPORTED else {".avif": "this Pillow has no AVIF: convert it to JPEG"}),
        **({} if WebPImagePlugin.SUPPORTED else {".webp": "this Pillow has no WebP: convert it to JPEG"}),
    }
)
"""Suffixes of picture formats that are known but not read, each with what to do about it."""

SUFFIXES: frozenset[str] = (
    frozenset(".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .tif .tiff .avif .ppm .pgm .pbm .pnm".split())
    - UNREADABLE_SUFFIXES.keys()
)
"""Suffixes, in lower case, of the files that are taken for pictures and read."""

_PLUGINS = (
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    AvifImagePlugin.AvifImageFile,
    PpmImagePlugin.PpmImageFile,
)

# Formats are opened by their own classes and not by Image.open: its pixel limit warns by way of the process-wide
# warning filters, which no thread can set for itself, and it reads stereo JPEGs by a slower class of several frames.
_FORMATS: dict[str, Callable[[io.BytesIO, str], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    **{plugin.format: plugin for plugin in _PLUGINS},
}

_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file; export it as PNG or JPEG"),
    (b"\xff\x0a", "a JPEG XL picture; convert it to JPEG or PNG"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture; convert it to JPEG or PNG"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture; convert it to JPEG or PNG"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_MAY_HOLD_ORIENTATION = frozenset(("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"))
_NOISY = re.compile(r"PIL\.(\w+Plugin|Image)$")
_QUIET = ("ignore", None, UserWarning, _NOISY, 0)
_Box = tuple[float, float, float, float]
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)


@dataclass(frozen=True)
class Probe:
    """What a picture's header says.

    Attributes:
        width: pixels across, as stored: EXIF orientation is not applied.
        height: pixels down, as stored.
        mode: Pillow's name of the pixel type, such as `RGB` or `I;16`.
        format: Pillow's name of the format, such as `JPEG`.
    """

    width: int
    height: int
    mode: str
    format: str


def decode(data: bytes, image_size: tuple[int, int], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Encoded bytes to pixels.

    Args:
        data: the whole of a picture file.
        image_size: (height, width) of the result, in pixels; the whole picture is stretched to it.
        max_pixels: refuse a picture that would take more pixels than this in memory.

    Returns:
        A new array, (height, width, 3), RGB, 0 to 255, upright.

    Raises:
        PictureError: with the reason in a few words; the caller adds which file it was.
        InputError: `image_size` is not two whole numbers of at least 1.

    Example:
        >>> import io; from PIL import Image
        >>> file = io.BytesIO(); Image.new("L", (40, 30), 7).save(file, "PNG")
        >>> pixels = decode(file.getvalue(), (8, 10))
        >>> pixels.shape, pixels.dtype.name, pixels[0, 0].tolist()
        ((8, 10, 3), 'uint8', [7, 7, 7])
    """
    height, width = _checked(image_size)
    with _plainly(kind := _kind(data)):
        return np.array(_upright(data, _opened(data, kind, max_pixels), lambda *_: (width, height), max_pixels))


def decode_with_thumbnail(
    data: bytes, image_size: tuple[int, int], thumbnail_size: tuple[int, int], *, max_pixels: int = MAX_PIXELS
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Probe]:  # fmt: skip
    """Decode encoded bytes once, at two sizes, and read the header.

    A thumbnail is as `decode` makes it of the bytes, but for rounding: a JPEG that is decoded at n eighths of its size
    and then averaged over n × n pixels is what it is at one eighth, since the mean of a scaled block is its first
    coefficient whatever n is. So thumbnails hardly depend on the size that the pixels are decoded for
    (`tests/test_looks.py` holds them together).

    Args:
        data, image_size, max_pixels: as of `decode`.
        thumbnail_size: (height, width) of the thumbnail; where one is above that of `image_size`, the bytes are decoded
            twice.

    Returns:
        Pixels and thumbnail, uint8 arrays of shape (height, width, 3), and what the header says.

    Raises:
        PictureError: as `decode`.

    Example:
        >>> import io; from PIL import Image
        >>> file = io.BytesIO(); Image.new("L", (40, 30), 7).save(file, "PNG")
        >>> pixels, thumbnail, header = decode_with_thumbnail(file.getvalue(), (16, 16), (8, 8))
        >>> pixels.shape, thumbnail.shape, header.width
        ((16, 16, 3), (8, 8, 3), 40)
    """
    height, width = _checked(image_size)
    small = _checked(thumbnail_size)[::-1]
    if width < small[0] or height < small[1]:
        decoded = [decode(data, size, max_pixels=max_pixels) for size in (image_size, thumbnail_size)]
        return decoded[0], decoded[1], probe(data, max_pixels=max_pixels)
    with _plainly(kind := _kind(data)):
        im = _opened(data, kind, max_pixels)
        header = Probe(im.width, im.height, im.mode, kind)
        plain, box, turn = _loaded(data, im, lambda *_: (width, height), max_pixels)
        pixels = np.array(_resized(plain, (width, height), box, turn))
        factor = _reduction(plain, im.size, _sides(small, turn)) if kind == "JPEG" else 1
        if factor > 1:
            left, top, right, bottom = box or (0, 0, *plain.size)
            plain, box = plain.reduce(factor), (left / factor, top / factor, right / factor, bottom / factor)
        return pixels, np.array(_resized(plain, small, box, turn)), header


def read(
    path: str | os.PathLike[str],
    image_size: tuple[int, int],
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_FILE_BYTES,
) -> NDArray[np.uint8]:
    """A picture file to pixels: `decode` of `file_bytes`, with what each of them returns and raises.

    Example:
        >>> read("no such file.jpg", (160, 160))
        Traceback (most recent call last):
        headstart.errors.PictureError: the file is not there: it was moved or deleted, or is a link that leads nowhere
    """
    return decode(file_bytes(path, max_bytes=max_bytes), image_size, max_pixels=max_pixels)


def same_bytes(path: str | os.PathLike[str], digest: bytes) -> bytes:
    """The bytes of a file whose SHA-256 was taken before.

    Raises:
        PictureError: it cannot be read, or its bytes are others now.
    """
    data = file_bytes(path)
    if hashlib.sha256(data).digest() != digest:
        raise PictureError("the file was changed while headstart ran; run the command again to use it")
    return data


def file_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of an ordinary file that is neither empty nor larger than `max_bytes`.

    For callers that need the bytes as well as the pixels, such as for their digest, and want to read them once.

    Raises:
        PictureError: with the reason in a few words; the caller adds which file it was.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise PictureError("it is a folder, not a picture file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise PictureError("it is a pipe, socket or device, not a picture file")
        if status.st_size > max_bytes:
            raise PictureError(f"the file has {status.st_size:,} bytes, more than the {max_bytes:,} allowed")
        with open(path, "rb", buffering=0) as handle:
            return handle.readall()
    except FileNotFoundError as error:
        raise PictureError("the file is not there: it was moved or deleted, or is a link that leads nowhere") from error
    except PermissionError as error:
        raise PictureError("no permission to read the file: change its rights or its owner") from error
    except OSError as error:
        raise PictureError(f"the file cannot be read: {error.strerror or error}") from error
    except PictureError:
        raise
    except ValueError as error:  # a null character in the name
        raise PictureError(f"the file cannot be read: {error}") from error


def probe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Probe:
    """What the header says, without decoding the pixels.

    Raises:
        PictureError: as `decode`, for what the header shows.

    Example:
        >>> import io; from PIL import Image
        >>> file = io.BytesIO(); Image.new("L", (40, 30)).save(file, "PNG")
        >>> probe(file.getvalue())
        Probe(width=40, height=30, mode='L', format='PNG')
    """
    with _plainly(kind := _kind(data)):
        im = _opened(data, kind, max_pixels)
        return Probe(im.width, im.height, im.mode, kind)


def thumbnail_jpeg(path: str | os.PathLike[str], longest: int = 160, quality: int = 80) -> bytes:
    """A small JPEG of a picture file, upright and in its own proportions, for reports.

    Args:
        path: the picture file.
        longest: pixels of the longer side; a smaller picture keeps its size.
        quality: of the JPEG, 1 to 95.

    Returns:
        A JPEG file that carries nothing of the original's metadata.

    Raises:
        PictureError: as `read`.
    """
    data = file_bytes(path)
    with _plainly(kind := _kind(data)):
        small = _upright(data, _opened(data, kind, MAX_PIXELS), _within(longest), MAX_PIXELS)
    small.info.clear()  # Pillow would write the original's comment
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def whole(path: str | os.PathLike[str], longest: int) -> NDArray[np.uint8]:
    """A picture file upright and in its own proportions, to draw on; its longer side has `longest` pixels at most.

    Raises:
        PictureError: as `read`.
    """
    data = file_bytes(path)
    with _plainly(kind := _kind(data)):
        return np.array(_upright(data, _opened(data, kind, MAX_PIXELS), _within(longest), MAX_PIXELS))


def _within(longest: int) -> Callable[[int, int], tuple[int, int]]:
    """(width, height) scaled down so that neither is above `longest`."""

    def fit(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, longest / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    return fit


def array_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of an array of (height, width, 3), 0 to 255."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def array_jpeg(pixels: NDArray[np.uint8], quality: int = 80) -> bytes:
    """A JPEG of an array of (height, width, 3), 0 to 255, for reports."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def warp(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], fill: str) -> NDArray[np.uint8]:
    """A picture seen through an affine map, by one bilinear resampling.

    Args:
        pixels: (height, width, 3), 0 to 255; no side above 32,766.
        matrix: (2, 3); takes (x, y, 1) of a pixel of the result to the (x, y) in `pixels` that it shows. Both count
            pixels from the middle of the upper left one: x to the right, y down.
        fill: what lies beyond the edges: `nearest` the edge's own pixels, `reflect` the picture mirrored, the edge's
            pixels twice, `wrap` the picture again, `constant` black.

    Returns:
        A new array of the same shape.

    Example:
        >>> warp(np.full((2, 4, 3), 9, np.uint8), np.array([[1.0, 0, 2], [0, 1, 0]]), "constant")[0, :, 0].tolist()
        [9, 9, 0, 0]
    """
    height, width = pixels.shape[:2]
    # Pillow has black alone beyond the edges, and one more row of it lets the edge fade as the others do.
    left, right, top, bottom = (1, 1, 1, 1) if fill == "constant" else _reach(matrix, height, width)
    if left or right or top or bottom:
        kind = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap", "constant": "constant"}[fill]
        pixels = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), kind)  # type: ignore[call-overload]
    (a, b, c), (d, e, f) = matrix.tolist()
    # Pillow counts from the corner of a pixel, not from its middle.
    c, f = c + left + 0.5 - (a + b) / 2, f + top + 0.5 - (d + e) / 2
    picture = Image.fromarray(pixels)
    seen = picture.transform((width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    return np.array(seen)


def _reach(matrix: NDArray[np.float64], height: int, width: int) -> tuple[int, int, int, int]:
    """How many pixels a view looks beyond the left, right, upper and lower edge of its picture, at most."""
    corners = matrix @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    low, high = np.floor(corners.min(axis=1)).astype(int) - 1, np.ceil(corners.max(axis=1)).astype(int) + 1
    across, down = (max(0, -low[0]), max(0, high[0] - width + 1)), (max(0, -low[1]), max(0, high[1] - height + 1))
    return int(across[0]), int(across[1]), int(down[0]), int(down[1])


def warping() -> str:
    """Names everything in `warp` that decides the values of pixels, as `DECODING` does for `decode`."""
    return f"warp 2; Pillow {_pillow}; bilinear"


def _checked(image_size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in image_size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise InputError(
            f"image_size is (height, width), two whole numbers of at least 1. Received: image_size={image_size!r}"
        )
    return height, width


def _kind(data: bytes) -> str:
    """The format's name, from the first bytes."""
    if not data:
        raise PictureError("the file is empty")
    start = bytes(data[:16])
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    for kind in _FORMATS:
        accept = Image.OPEN[kind][1]
        if accept is not None and accept(start) is True:  # a text says that Pillow was built without it
            return kind
    raise PictureError(f"it is {_described(bytes(data[:512]))}. Readable: {', '.join(_FORMATS)}")


def _described(start: bytes) -> str:
    """What a file that is no readable picture seems to be."""
    for magic, what in _OTHERS:
        if start.startswith(magic):
            return what
    if start[4:8] == b"ftyp":
        return "a HEIF picture; convert it to JPEG" if start[8:12] in _HEIF_BRANDS else "a film or an unknown picture"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing; export it as PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page, perhaps in the place of a failed download"
    if not any(byte < 9 or 13 < byte < 32 for byte in start):
        return "text, not a picture"
    return "not a picture in any known format"


def _hush() -> None:
    """Keep Pillow from warning of odd metadata, which decides no pixel.

    `warnings.catch_warnings` would change the filters of all threads. This filter is put in front once and touches
    nothing but Pillow's plain UserWarning; it is put there again where someone else has come before it, since a
    program that makes errors of all warnings must be able to read the same pictures as any other.
    """
    if not warnings.filters or warnings.filters[0] != _QUIET:
        warnings.filterwarnings("ignore", category=UserWarning, module=_NOISY.pattern)


@contextmanager
def _plainly(kind: str) -> Iterator[None]:
    """Whatever Pillow raises becomes a PictureError: hostile bytes make it raise nearly anything."""
    _hush()
    try:
        yield
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError(f"the {kind} takes more memory than there is") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"the {kind} claims more pixels than Pillow allows") from error
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        if "truncated" in text.lower():
            raise PictureError(f"the {kind} is cut off: the file ends before the picture does") from error
        raise PictureError(f"the {kind} is damaged or of an unusual kind ({text or type(error).__name__})") from error


def _opened(data: bytes, kind: str, max_pixels: int) -> ImageFile.ImageFile:
    """The picture with its header read, and no pixels yet."""
    im = _FORMATS[kind](io.BytesIO(data), "")
    _limit(im, 4 * max_pixels if kind == "JPEG" else max_pixels)
    return im


def _limit(im: Image.Image, max_pixels: int) -> None:
    if im.width * im.height > max_pixels:
        raise PictureError(f"it has {im.width:,} x {im.height:,} pixels, more than the {max_pixels:,} allowed")


def _upright(
    data: bytes, im: ImageFile.ImageFile, fit: Callable[[int, int], tuple[int, int]], max_pixels: int
) -> Image.Image:
    """The RGB picture at the size that `fit` gives for its upright (width, height)."""
    plain, box, turn = _loaded(data, im, fit, max_pixels)
    return _resized(plain, fit(*_sides(im.size, turn)), box, turn)


def _loaded(
    data: bytes, im: ImageFile.ImageFile, fit: Callable[[int, int], tuple[int, int]], max_pixels: int
) -> tuple[Image.Image, _Box | None, int]:
    """The picture in RGB or grey, a JPEG not below the size that `fit` gives; what part is picture; its turn."""
    whole: Image.Image = im
    box: _Box | None = None
    if not isinstance(im, JpegImagePlugin.JpegImageFile):
        im.load()  # a PNG may have its EXIF behind the pixels
    turn = _turn(im)
    if isinstance(im, JpegImagePlugin.JpegImageFile):
        whole, box = _scaled(data, im, _sides(fit(*_sides(im.size, turn)), turn), max_pixels)
    return _plain(whole), box, turn


def _resized(plain: Image.Image, upright: tuple[int, int], box: _Box | None, turn: int) -> Image.Image:
    """The part in the box as an upright RGB picture of (width, height)."""
    small = plain.resize(_sides(upright, turn), Image.Resampling.BICUBIC, box)
    if small.mode != "RGB":
        small = small.convert("RGB")
    return small.transpose(_TRANSPOSE[turn]) if turn > 1 else small


def _reduction(plain: Image.Image, stored: tuple[int, int], size: tuple[int, int]) -> int:
    """By what whole number a decoded JPEG is to be averaged to be as large as if it were decoded for `size` alone."""
    decoded = next((n for n in range(1, 9) if plain.width <= -(-stored[0] * n // 8)), 8)
    wanted = _eighths(stored, size)
    return decoded // wanted if decoded % wanted == 0 else 1


def _eighths(stored: tuple[int, int], size: tuple[int, int]) -> int:
    """The smallest number of eighths at which a JPEG of (width, height) `stored` is not below `size`."""
    width, height = stored
    return next((n for n in range(1, 8) if width * n >= 8 * size[0] and height * n >= 8 * size[1]), 8)


def _scaled(
    data: bytes, im: JpegImagePlugin.JpegImageFile, size: tuple[int, int], max_pixels: int
) -> tuple[Image.Image, _Box]:
    """A JPEG decoded at the smallest number of eighths that is not below `size`, and the part that is picture.

    A scaled picture may end with a part of a pixel. Pillow scales by halves alone, so it serves where simplejpeg
    declines: other colours than RGB and grey, and files with faults, which are then read or refused by its rules.
    """
    width, height = im.size
    eighths = _eighths(im.size, size)
    wide, high = -(-width * eighths // 8), -(-height * eighths // 8)
    if im.mode in ("RGB", "L") and wide * high <= max_pixels:
        colours = "RGB" if im.mode == "RGB" else "GRAY"
        with suppress(ValueError):
            pixels = simplejpeg.decode_jpeg(data, colours, min_width=wide, min_height=high)
            if pixels.shape[:2] == (high, wide):
                picture = Image.fromarray(pixels if im.mode == "RGB" else pixels[:, :, 0])
                return picture, (0, 0, width * eighths / 8, height * eighths / 8)
    drafted = im.draft("RGB", size)
    _limit(im, max_pixels)
    im.load()
    return im, drafted[1] if drafted else (0, 0, *im.size)


def _sides(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Stored (width, height) to upright, or back."""
    return (size[1], size[0]) if turn >= 5 else size


def _turn(im: ImageFile.ImageFile) -> int:
    """EXIF orientation, 1 to 8."""
    if _MAY_HOLD_ORIENTATION.isdisjoint(im.info):  # and a TIFF is turned, and its tag removed, when it is loaded
        return 1
    try:
        turn = im.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block raises nearly anything, and is no reason to lose the picture
        return 1
    return turn if turn in _TRANSPOSE else 1


def _plain(im: Image.Image) -> Image.Image:
    """The same picture in RGB, or in 8-bit grey, which is resized faster and comes to the same."""
    if im.mode in ("I", "F") or im.mode.startswith("I;16"):
        return _shallow(im)
    if im.has_transparency_data:
        if im.mode == "La":
            im = im.convert("LA")
        im = im.convert("RGBA")
        ground = Image.new("RGB", im.size, (255, 255, 255))
        ground.paste(im, mask=im)
        return ground
    return im if im.mode in ("L", "RGB") else im.convert("RGB")


def _shallow(im: Image.Image) -> Image.Image:
    """8-bit grey from deeper or float grey, as the table at the top says."""
    values = np.asarray(im).astype(np.float32)
    values = np.clip(np.nan_to_num(values, copy=False, posinf=1e30, neginf=-1e30), -1e30, 1e30, out=values)
    low, high = float(values.min()), float(values.max())
    whites = (1.0, *_WHITES) if im.mode == "F" else _WHITES
    if low >= 0 and high <= whites[-1]:
        low, high = 0.0, next(white for white in whites if high <= white)
    values -= low
    values *= 255.0 / max(high - low, 1e-30)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
