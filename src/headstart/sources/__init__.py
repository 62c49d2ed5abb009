"""Sources: pretrained networks with everything needed to use them.

A family of sources is one module in this folder (its name without a leading underscore) or one entry point of
the group `headstart.sources`. It has `FAMILY`, `sources()`, `locate(source)` and
`build(source, *, image_size, weights, seed)`; a family whose sources are the user's own files has
`open_source(name)` too, which returns None for a name that is not its own.
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
from headstart.sources._source import ZERO_TO_ONE, Preprocessing, Source

if TYPE_CHECKING:
    import keras

__all__ = [
    "Preprocessing",
    "Source",
    "all_sources",
    "build",
    "families",
    "find",
    "is_here",
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

    Raises:
        SourceError: there is no such source; the message has near matches.

    Example:
        >>> find("EfficientNet-Lite0").name
        'efficientnet_lite0'
    """
    known = {source.name: source for source in all_sources()}
    wanted = name.strip().lower().replace("-", "_")
    if wanted in known:
        return known[wanted]
    for module in families().values():
        opened: Source | None = module.open_source(name) if hasattr(module, "open_source") else None
        if opened is not None:
            return opened
    raise SourceError(
        f"There is no source named {name!r}.{near(wanted, known)}\n"
        "See all of them with: headstart sources. A .keras file of your own is a source too: give its path."
    )


def weights_file(source: Source) -> Path | None:
    """The file with the source's own weights, where it is on this machine already; nothing is downloaded."""
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
    return weights_file(source) is not None


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
        layers under their own names, each reachable with `get_layer`.

    Raises:
        SourceError: the size is too small, or the file does not fit (the message names the source that does).
        DownloadError: the weights are not here and could not be fetched.
        MissingExtraError: the weights come in a package that is not installed.
    """
    source = _at(source, image_size)
    weights = os.fspath(weights)
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


def weights_key(
    source: Source, weights: str | os.PathLike[str], seed: int = 0, *, image_size: tuple[int, int] | None = None
) -> str:
    """A digest that names the weights `build` would give, without building: for keys of caches.

    A pinned digest is used where there is one, then the digest of the local file. A source whose weights are neither
    pinned nor here yet is named by what would be fetched.

    >>> weights_key(find("vgg16"), "random", 1) == weights_key(find("vgg16"), "random", 2)
    False
    """
    source, weights = _at(source, image_size), os.fspath(weights)
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


def _at(source: Source, image_size: tuple[int, int] | None) -> Source:
    """The source at another size, checked."""
    if image_size is None:
        return source
    height, width = image_size
    if min(height, width) < source.min_image_size:
        least = source.min_image_size
        raise SourceError(f"{source.name} takes pictures of at least {least}×{least} pixels, got {height}×{width}.")
    return dataclasses.replace(source, image_size=(int(height), int(width)))
