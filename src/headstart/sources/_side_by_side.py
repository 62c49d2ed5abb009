"""Several networks side by side as one source, `a+b`, and one network at another size, `a@320`.

Each member runs at a size of its own: the one behind its `@`, else the one that its weights were trained for. All are
given the same picture, as large as the largest member's; the others shrink it by a `Resizing` layer. Inside, each
member is what it is alone: its preprocessing, its weights, its layers, whose names begin with the member's. So an
output of a member that needs no `Resizing` has the fingerprint that it has without the others, and its features are
found again.

The picture is shrunk by bilinear interpolation without antialiasing, after averages over whole pixels where it shrinks
to half or less: Keras's antialiasing and its bicubic interpolation give other numbers on other backends.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import SourceError
from headstart.sources import _graph
from headstart.sources._source import IDENTITY, Source

if TYPE_CHECKING:
    import keras

FAMILY = "side_by_side"
FORM = "NAME+NAME, and NAME@SIZE for another size, such as efficientnet_lite0+efficientnet_lite0@320"
SMALLEST, LARGEST = 16, 2048
"""Pixels of a side that can be asked for."""

Size = tuple[int, int]


def open_source(name: str, find: Callable[[str], Source]) -> Source | None:
    """The source that `name` composes of others; None where it is one network's own name.

    Args:
        find: gives the source of a plain name.

    Raises:
        SourceError: a member is unknown (near matches are named), a size is none, or two members are the same.
    """
    texts = _split(name)
    if len(texts) == 1:
        plain, size = _parse_size(name)
        return _resized(find(plain), size) if size else None
    if not all(texts):
        raise SourceError(f"the source {name!r} lacks a name beside a +; expected {FORM}")
    members = []
    for text in texts:
        plain, size = _parse_size(text)
        members.append(_resized(find(plain), size) if size else find(plain))
    sizes = [member.image_size for member in members]
    _check_distinct(members, sizes)
    starts = prefixes(members)
    return Source(
        name="+".join(member.name for member in members),
        family=FAMILY,
        parameters=sum(member.parameters for member in members),
        size_mb=round(sum(member.size_mb for member in members), 1),
        image_size=_largest(sizes),
        min_image_size=max(member.min_image_size for member in members),
        licence=" AND ".join(dict.fromkeys(member.licence for member in members)),
        preprocessing=IDENTITY,
        block_pattern=tuple(
            f"{re.escape(prefix)}(?:{member.block_pattern})" if isinstance(member.block_pattern, str) else None
            for member, prefix in zip(members, starts, strict=True)
        ),
        variant={"members": [member.name for member in members], "prefixes": starts},
    )


def is_resized(source: Source) -> bool:
    """Tell whether the size is part of the name, as in `vgg16@320`."""
    return "plain_name" in source.variant


def plain(source: Source) -> Source:
    """The source under its name without a size."""
    variant = {name: value for name, value in source.variant.items() if name != "plain_name"}
    return dataclasses.replace(source, name=str(source.variant.get("plain_name", source.name)), variant=variant)


def check_size(source: Source, image_size: Size) -> None:
    """Refuse a size of pictures beside another one in the name.

    Raises:
        SourceError: they differ.
    """
    if is_resized(source) and tuple(image_size) != source.image_size:
        asked, named = _as_text(image_size), _as_text(source.image_size)
        raise SourceError(
            f"{source.name} is asked to run on {named} pixels by its name and on {asked} by the image size; give one"
        )


def member_sizes(members: Sequence[Source], image_size: Size | None) -> list[Size]:
    """The (height, width) that each member runs at, for pictures of `image_size` (None: of the largest member's).

    A member whose name has a size keeps to it; the others run at their own, or at the pictures' where these are
    smaller.

    Raises:
        SourceError: a member cannot keep to its size, all are smaller than the pictures, or two become the same.
    """
    own = [member.image_size for member in members]
    largest = _largest(own)
    if image_size is None or tuple(image_size) == largest:
        return own
    name = "+".join(member.name for member in members)
    if image_size[0] > largest[0] or image_size[1] > largest[1]:
        larger = f"{plain(members[0]).name}@{_as_name(image_size)}"
        raise SourceError(
            f"an image size of {_as_text(image_size)} pixels is larger than any network of {name} runs at"
            f" ({_as_text(largest)}).\nName the size for each that is to have it: {larger}"
        )
    for member in members:
        if is_resized(member) and any(a > b for a, b in zip(member.image_size, image_size, strict=True)):
            raise SourceError(
                f"{member.name} is larger than the image size of {_as_text(image_size)} pixels; give the size in one"
                " place"
            )
    sizes = [(min(size[0], image_size[0]), min(size[1], image_size[1])) for size in own]
    _check_distinct(members, sizes)
    return sizes


def prefixes(members: Sequence[Source]) -> list[str]:
    """What the names of each member's layers begin with, such as `efficientnet_lite1-`.

    Of letters, digits and `_` alone: TensorFlow's scopes allow no `@` and no `+`, PyTorch's parameters no `.`, Keras no
    `/`, and in a recipe `+` stands between cuts.
    """
    found: list[str] = []
    for member in members:
        text = Path(member.name).stem if member.variant.get("path") else member.name
        base = re.sub(r"\W", "_", text, flags=re.ASCII)
        name, count = f"{base}-", 2
        while name in found:
            name, count = f"{base}_{count}-", count + 1
        found.append(name)
    return found


def join(
    members: Sequence[Source], models: Sequence[keras.Model], image_size: Size, *, copy_weights: bool = True
) -> keras.Model:
    """One flat model of the members' models: one input `image`, an output for each member.

    Args:
        models: the members as they are alone, each at the size that it is to run at.
        image_size: (height, width) of the pictures.
    """
    import keras

    image = keras.Input((*image_size, 3), name="image")
    outputs = []
    for model, prefix in zip(models, prefixes(members), strict=True):
        shrunk = _shrink(image, tuple(model.inputs[0].shape[1:3]), prefix)
        outputs.append(_graph.replay(model, shrunk, prefix=prefix, copy_weights=copy_weights))
    return keras.Model(image, outputs, name="_and_".join(prefix.removesuffix("-") for prefix in prefixes(members)))


def _shrink(image: Any, size: Size, prefix: str) -> Any:
    from keras import layers

    if tuple(image.shape[1:3]) == size:
        return image
    pool = [_whole(old, new) for old, new in zip(image.shape[1:3], size, strict=True)]
    if max(pool) > 1:
        image = layers.AveragePooling2D(pool, name=f"{prefix}averaging")(image)
    if tuple(image.shape[1:3]) == size:
        return image
    return layers.Resizing(*size, interpolation="bilinear", name=f"{prefix}resizing")(image)


def _whole(old: int, new: int) -> int:
    """How many pixels of a side can be averaged before it is brought from `old` to `new`, none left over."""
    return next(count for count in range(max(1, old // new), 0, -1) if old % count == 0)


def _split(name: str) -> list[str]:
    """The members' names; a `+` in the path of a file that is there parts nothing."""
    pieces, found = name.split("+"), []
    while pieces:
        count = next(
            (n for n in range(len(pieces), 1, -1) if _is_file("+".join(pieces[:n]))),
            1,
        )
        found.append("+".join(pieces[:count]).strip())
        del pieces[:count]
    return found


def _is_file(text: str) -> bool:
    return text.lower().endswith(".keras") and Path(text).expanduser().is_file()


def _parse_size(text: str) -> tuple[str, Size | None]:
    name, at, size = text.rpartition("@")
    if not at or _is_file(text) or size.lower().endswith(".keras"):
        return text, None
    sides = size.lower().replace("×", "x").split("x")
    whole = len(sides) in (1, 2) and all(side.isascii() and side.isdigit() for side in sides)
    if not whole or not all(SMALLEST <= int(side) <= LARGEST for side in sides):
        raise SourceError(
            f"{text}: {size!r} is no picture size; expected a number of pixels from {SMALLEST} to {LARGEST} such as"
            " 320, or 320x240"
        )
    return name.strip(), (int(sides[0]), int(sides[-1]))


def _resized(source: Source, size: Size) -> Source:
    if min(size) < source.min_image_size:
        raise SourceError(
            f"{source.name} takes pictures of at least {source.min_image_size}×{source.min_image_size} pixels, got"
            f" {_as_text(size)}."
        )
    return dataclasses.replace(
        source, name=f"{source.name}@{_as_name(size)}", image_size=size,
        variant={**source.variant, "plain_name": source.name},
    )  # fmt: skip


def _check_distinct(members: Sequence[Source], sizes: Sequence[Size]) -> None:
    found = [(plain(member).name, size) for member, size in zip(members, sizes, strict=True)]
    for name, size in found:
        if found.count((name, size)) > 1:
            raise SourceError(
                f"{name} would run twice on {_as_text(size)} pixels; expected networks that differ, or sizes"
                f" that do: {FORM}"
            )


def _largest(sizes: Sequence[Size]) -> Size:
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _as_text(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"


def _as_name(size: Sequence[int]) -> str:
    return f"{size[0]}" if size[0] == size[1] else f"{size[0]}x{size[1]}"
