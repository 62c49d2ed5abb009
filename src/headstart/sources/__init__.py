"""Sources: pretrained networks with everything needed to use them.

A family of sources is one module in this folder (its name without a leading underscore) or one entry point of
the group `headstart.sources`. It has `FAMILY`, `sources()`, `locate(source)` and
`build(source, *, image_size, weights, seed)`; a family whose sources are the user's own files has
`open_source(name)` too, which returns None for a name that is not its own.

Of all of these, several can stand side by side as one source (`_side_by_side`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headstart.errors import SourceError, near
from headstart.files import file_digest, json_digest
from headstart.sources import _side_by_side
from headstart.sources._source import ZERO_TO_ONE, Preprocessing, Source

if TYPE_CHECKING:
    import keras

__all__ = [
    "Preprocessing",
    "Source",
    "all_sources",
    "at",
    "build",
    "families",
    "find",
    "is_here",
    "member_of",
    "member_sizes",
    "members",
    "scaled",
    "weights_file",
    "weights_key",
]


@functools.cache
def families() -> dict[str, ModuleType]:
    """The modules that make sources, by their `FAMILY`; one from an entry point never replaces one of headstart's."""
    own = [name for _, name, _ in pkgutil.iter_modules(__path__) if not name.startswith("_")]
    found = [importlib.import_module(f"{__name__}.{name}") for name in own]
    found += [point.load() for point in sorted(entry_points(group="headstart.sources"))]
    return {module.FAMILY: module for module in reversed(found)}


@functools.cache
def all_sources() -> tuple[Source, ...]:
    """Every source that has a name of its own, by family; no framework is imported.

    >>> len(all_sources()) > 40
    True
    """
    return tuple(source for _, module in sorted(families().items()) for source in module.sources())


SCALINGS = ("source", "unit")


def find(name: str) -> Source:
    """The source called `name`, in any case and with `-` or `_`, or a local `.keras` file as a source.

    A name is followed by `@` and a size for another one than the source's own; several with `+` between them are one
    source.

    Raises:
        SourceError: there is no such source; the message has near matches.

    Example:
        >>> find("EfficientNet-Lite0").name
        'efficientnet_lite0'
        >>> find("mobilenetv2+vgg16@256").image_size
        (256, 256)
    """
    known = {source.name: source for source in all_sources()}
    wanted = name.strip().lower().replace("-", "_")
    if wanted in known:
        return known[wanted]
    composed = _side_by_side.open_source(name.strip(), find)
    if composed is not None:
        return composed
    for module in families().values():
        opened: Source | None = module.open_source(name) if hasattr(module, "open_source") else None
        if opened is not None:
            return opened
    raise SourceError(
        f"There is no source named {name!r}.{near(wanted, known)}\n"
        "See all of them with: headstart sources. A .keras file of your own is a source too: give its path."
    )


def weights_file(source: Source) -> Path | None:
    """The file with the source's own weights, where it is on this machine already; nothing is downloaded.

    There is no one file where several networks stand side by side.
    """
    if len(members(source)) > 1:
        return None
    found: Path | None = _family(source).locate(source)
    return found


def scaled(source: Source, preprocessing: str) -> Source:
    """The source with its pixels scaled as `source` (as it was trained) or `unit` (x / 255) says.

    Raises:
        SourceError: there is no such scaling, or the network scales its pixels by itself.

    >>> scaled(find("vgg16"), "unit").preprocessing.channels
    'rgb'
    """
    if preprocessing not in SCALINGS:
        raise SourceError(
            f"unknown preprocessing {preprocessing!r}; expected {' or '.join(SCALINGS)}.{near(preprocessing, SCALINGS)}"
        )
    if preprocessing == "source":
        return source
    if source.preprocessing.identity:
        raise SourceError(f"{source.name} scales its pixels by itself; use preprocessing: source")
    return dataclasses.replace(source, preprocessing=ZERO_TO_ONE)


def is_here(source: Source) -> bool:
    """True where the source can be used without a download."""
    return all(weights_file(member) is not None for member in members(source))


def members(source: Source) -> tuple[Source, ...]:
    """The networks that stand side by side in a source; of any other source that source alone.

    >>> [member.name for member in members(find("vgg16+mobilenetv2@160"))]
    ['vgg16', 'mobilenetv2@160']
    """
    names = source.variant.get("members")
    return tuple(find(str(name)) for name in names) if isinstance(names, list) else (source,)


def member_sizes(source: Source, image_size: tuple[int, int] | None = None) -> list[tuple[int, int]]:
    """The (height, width) that each of the `members` runs at, for pictures of that size.

    Raises:
        SourceError: they cannot run on such pictures.

    >>> member_sizes(find("vgg16+mobilenetv2@288")), member_sizes(find("vgg16+mobilenetv2"), (96, 96))
    ([(224, 224), (288, 288)], [(96, 96), (96, 96)])
    """
    found = members(source)
    if len(found) == 1:
        return [at(source, image_size).image_size]
    return _side_by_side.member_sizes(found, image_size)


def member_of(source: Source, layer: str) -> int:
    """Which of the `members` a layer of the built network belongs to, from 0.

    >>> member_of(find("vgg16+mobilenetv2"), "mobilenetv2-out_relu")
    1
    """
    starts = source.variant.get("prefixes")
    found = enumerate(starts if isinstance(starts, list) else [])
    return next((number for number, start in found if layer.startswith(start)), 0)


def build(
    source: Source,
    *,
    image_size: tuple[int, int] | None = None,
    weights: str | os.PathLike[str] = "imagenet",
    seed: int = 0,
) -> keras.Model:
    """The network as a flat functional Keras model without a classification top.

    Args:
        source: which network.
        image_size: (height, width) in pixels; the source's own where it is None.
        weights: "imagenet" (the source's own weights), "random", or the path of a file of weights
            (`.h5`, `.weights.h5` or `.keras`) in the layout of the network as its makers publish it.
        seed: what random weights depend on.

    Returns:
        A model in channels last. Its input `image` is (batch, height, width, 3), RGB from 0 to 255; then comes a
        `Rescaling` layer named `preprocessing` where the network does not scale by itself; then the network's own
        layers under their own names, each reachable with `get_layer`. Of several networks side by side each has an
        output, and the names of its layers begin with its own and `-`.

    Raises:
        SourceError: the size is none that it can run at, or the file does not fit (the message names the source that
            does).
        DownloadError: the weights are not here and could not be fetched.
        MissingExtraError: the weights come in a package that is not installed.
    """
    weights = os.fspath(weights)
    if len(networks := members(source)) > 1:
        return _build_side_by_side(source, networks, image_size, weights=weights, seed=seed)
    source = at(source, image_size)
    if weights not in ("imagenet", "random") and not Path(weights).is_file():
        raise SourceError(
            f"There is no file of weights at {weights}.{near(weights, ['imagenet', 'random'])}\n"
            "Expected imagenet, random, or the path of an .h5, .weights.h5 or .keras file."
        )
    from headstart.sources._graph import channels_last, fresh_names
    from headstart.sources._weights import WeightsMismatchError

    try:
        with channels_last(), fresh_names():
            model: keras.Model = _family(source).build(source, image_size=source.image_size, weights=weights, seed=seed)
    except WeightsMismatchError as error:
        fits = [s.name for s in all_sources() if s.variant.get("signature") in error.signatures]
        hint = f"It fits {' and '.join(fits)}: use --source {fits[0]}." if fits else "It fits no source known here."
        raise SourceError(f"{error}\n{hint}") from error
    return model


def _build_side_by_side(
    source: Source, networks: tuple[Source, ...], image_size: tuple[int, int] | None, *, weights: str, seed: int
) -> keras.Model:
    _check_weights(source, weights)
    from headstart.sources._graph import channels_last, fresh_names

    models = [
        build(_side_by_side.plain(network), image_size=size, weights=weights, seed=_seed(seed, number))
        for number, (network, size) in enumerate(
            zip(networks, _side_by_side.member_sizes(networks, image_size), strict=True)
        )
    ]
    with channels_last(), fresh_names():
        return _side_by_side.join(networks, models, at(source, image_size).image_size)


def _check_weights(source: Source, weights: str) -> None:
    if weights not in ("imagenet", "random"):
        raise SourceError(
            f"{weights} holds the weights of one network, and {source.name} is several.\nExpected imagenet or random;"
            " a .keras file of your own can be one of the networks: give its path in place of a name."
        )


def _seed(seed: int, number: int) -> int:
    """Of the random weights of a member, so that members that are alike differ."""
    return (seed + number) % 2**32


def weights_key(
    source: Source, weights: str | os.PathLike[str], seed: int = 0, *, image_size: tuple[int, int] | None = None
) -> str:
    """A digest that names the weights `build` would give, without building: for keys of caches.

    A pinned digest is used where there is one, then the digest of the local file. A source whose weights are neither
    pinned nor here yet is named by what would be fetched.

    >>> weights_key(find("vgg16"), "random", 1) == weights_key(find("vgg16"), "random", 2)
    False
    """
    weights = os.fspath(weights)
    if len(networks := members(source)) > 1:
        _check_weights(source, weights)
        sizes = _side_by_side.member_sizes(networks, image_size)
        return json_digest([
            [weights_key(_side_by_side.plain(network), weights, _seed(seed, number), image_size=size), size]
            for number, (network, size) in enumerate(zip(networks, sizes, strict=True))
        ])  # fmt: skip
    source = at(source, image_size)
    what: dict[str, object] = {"source": source.name if not source.variant.get("path") else source.family}
    what["preprocessing"] = dataclasses.astuple(source.preprocessing)
    if weights == "random":
        return json_digest(what | {"random": seed})
    if weights != "imagenet":
        if not Path(weights).is_file():
            raise SourceError(f"There is no file of weights at {weights}.")
        return json_digest(what | {"file": file_digest(weights)})
    module = _family(source)
    pinned = module.pinned(source) if hasattr(module, "pinned") else source.variant.get("digest")
    if pinned:
        return json_digest(what | {"pinned": pinned})
    path = weights_file(source)
    return json_digest(what | ({"file": file_digest(path)} if path else {"size": source.image_size}))


def _family(source: Source) -> ModuleType:
    module = families().get(source.family)
    if module is None:
        raise SourceError(
            f"The family {source.family!r} of {source.name} is not installed.{near(source.family, families())}"
        )
    return module


def at(source: Source, image_size: tuple[int, int] | None) -> Source:
    """The source for pictures of another size, under its plain name.

    Raises:
        SourceError: it cannot run at that size, or its name asks for another one.

    >>> at(find("vgg16@256"), None).name, at(find("vgg16"), (96, 128)).image_size
    ('vgg16', (96, 128))
    """
    if image_size is None:
        return _side_by_side.plain(source)
    height, width = image_size
    if min(height, width) < source.min_image_size:
        least = source.min_image_size
        raise SourceError(f"{source.name} takes pictures of at least {least}×{least} pixels, got {height}×{width}.")
    _side_by_side.check_size(source, (height, width))
    if len(networks := members(source)) > 1:
        _side_by_side.member_sizes(networks, (height, width))
    return dataclasses.replace(_side_by_side.plain(source), image_size=(int(height), int(width)))
