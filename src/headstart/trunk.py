"""A source up to its cut: frozen, so a pure function from pixels to numbers.

A trunk is compiled once, in a worker process, and kept in the cache under the digest of everything it was made from.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from headstart import engines, sources
from headstart.errors import SourceError, near
from headstart.files import cache_folder, file_digest, json_digest

VERSION = 2  # of what is written to a trunk's folder
ALL = "all"
"""The cut that is all block ends side by side."""
POOLINGS = ("avg", "max", "avg+max", "flatten")


class Works(Protocol):
    """A worker, or something that starts one when asked."""

    def submit(
        self, job: str, *, progress: Callable[[dict[str, Any]], None] | None = None, **arguments: Any
    ) -> Future[Any]: ...


@dataclass(frozen=True)
class Output:
    """One cut of a trunk.

    Attributes:
        layer: the Keras layer that the source is cut at.
        pooling: `avg`, `max` or `flatten`.
        shape: what the layer gives for one picture: (height, width, channels).
        dimensions: how many numbers a picture has after pooling.
        fingerprint: the digest that names the function from pixels to these numbers.
    """

    layer: str
    pooling: str
    shape: tuple[int, ...]
    dimensions: int
    fingerprint: str


@dataclass(frozen=True)
class Trunk:
    """A compiled trunk: where it lies, what it gives, and what its numbers depend on."""

    source: str
    image_size: tuple[int, int]
    outputs: tuple[Output, ...]
    folder: Path
    engine: str
    engine_version: str
    precision: str
    facts: dict[str, Any]

    @property
    def parameters(self) -> tuple[int | None, ...]:
        """How many numbers the network has up to each output; None for a trunk that came out of a classifier."""
        return tuple(row.get("parameters") for row in self.facts["outputs"])

    @property
    def members(self) -> tuple[int, ...]:
        """Which of the networks that stand side by side each output comes from; 0 where there is but one."""
        return tuple(int(row.get("member", 0)) for row in self.facts.get("outputs", ()))

    @property
    def numerics(self) -> str:
        """What besides the function itself decides the last digits: engine, its version, precision."""
        return f"{self.engine} {self.engine_version} {self.precision}"

    def only(self, members: Collection[int]) -> Trunk:
        """The trunk without the other networks that stand beside these; an engine then runs these alone."""
        kept = [index for index, member in enumerate(self.members) if member in members]
        facts = {**self.facts, "outputs": [self.facts["outputs"][index] for index in kept], "only": kept}
        return replace(self, outputs=tuple(self.outputs[index] for index in kept), facts=facts)

    def load(self) -> engines.Engine:
        """The engine with this trunk loaded."""
        return engines.load(self.engine, self.folder, self.facts)


@dataclass(frozen=True)
class PendingTrunk:
    """A trunk that may still be in the making; its picture size is known, so decoding can begin."""

    image_size: tuple[int, int]
    future: Future[Trunk]

    def ready(self) -> bool:
        return self.future.done()

    def result(self) -> Trunk:
        """Wait for the trunk; what went wrong in the worker is raised here."""
        return self.future.result()


@dataclass(frozen=True)
class TrunkSpec:
    """What to compile: a source, its weights, the size of pictures and the cuts.

    Attributes:
        source: a source's name, or the path of a `.keras` file; several with `+` between them.
        image_size: (height, width) in pixels.
        weights: `imagenet`, `random` or the path of a weight file.
        seed: draws random weights.
        cuts: names of layers; empty for every block end.
        poolings: any of `avg`, `max`, `flatten`.
        preprocessing: `source`, or `unit` for pixels from 0 to 1.
    """

    source: str
    image_size: tuple[int, int]
    weights: str = "imagenet"
    seed: int = 0
    cuts: tuple[str, ...] = ()
    poolings: tuple[str, ...] = ("avg", "max")
    preprocessing: str = "source"

    def for_worker(self) -> dict[str, Any]:
        return {
            "name": self.source, "image_size": list(self.image_size), "weights": self.weights, "seed": self.seed,
            "preprocessing": self.preprocessing,
        }  # fmt: skip


def spec(
    source: str, *, image_size: tuple[int, int] | None = None, weights: str = "imagenet", seed: int = 0,
    cuts: Sequence[str] = (), pooling: str | None = None, preprocessing: str = "source",
) -> TrunkSpec:  # fmt: skip
    """A `TrunkSpec` with the source's own defaults filled in and its arguments checked.

    Raises:
        SourceError: the source or the pooling is unknown, or the pictures are too small for it.
    """
    found = sources.scaled(sources.find(source), preprocessing)
    size = tuple(image_size) if image_size else found.image_size
    if min(size) < found.min_image_size:
        raise SourceError(
            f"{source} takes pictures of at least {found.min_image_size} pixels a side; --image-size asks for"
            f" {size[0]} × {size[1]}"
        )
    sources.at(found, (size[0], size[1]))
    if pooling is not None and pooling not in POOLINGS:
        raise SourceError(f"unknown pooling {pooling!r}; expected {', '.join(POOLINGS)}.{near(pooling, POOLINGS)}")
    poolings = ("avg", "max") if pooling in (None, "avg+max") else (pooling,)
    return TrunkSpec(source, (size[0], size[1]), weights, seed, tuple(cuts), tuple(p for p in poolings if p),
                     preprocessing)  # fmt: skip


def cuts_of(cut: str) -> tuple[str, ...]:
    """List the layers that a recipe's cut names: none for `auto` and `all`, several where they are joined by `+`.

    >>> cuts_of("auto"), cuts_of("mixed7"), cuts_of("mixed3+mixed7")
    ((), ('mixed7',), ('mixed3', 'mixed7'))
    """
    return () if cut in ("auto", ALL) else tuple(part.strip() for part in cut.split("+"))


def is_joined(cut: str) -> bool:
    """Tell whether a recipe's cut means several layers side by side."""
    return cut == ALL or len(cuts_of(cut)) > 1


def cut_name(layers: Iterable[str], every: Sequence[Output]) -> str:
    """Name a cut: its layers with `+` between them, or `all` where several are all block ends of a trunk.

    Args:
        layers: names, each once or more.
        every: outputs of the trunk.
    """
    names = tuple(dict.fromkeys(layers))
    whole = tuple(dict.fromkeys(output.layer for output in every))
    return ALL if names == whole and len(names) > 1 else "+".join(names)


def trunks_folder() -> Path:
    return cache_folder() / "trunks"


def _versions(engine: str) -> str:
    return f"{VERSION} keras {importlib.metadata.version('keras')} {engines.module(engine).version()}"


def prepare(
    wanted: TrunkSpec, worker: Works, *, progress: Callable[[dict[str, Any]], None] | None = None
) -> PendingTrunk:
    """The compiled trunk, from the cache or from the worker; the caller may decode pictures meanwhile.

    `progress` is called with `stage`, `done` and `total` bytes while weights are fetched.
    """
    engine = engines.choose()
    found = sources.scaled(sources.find(wanted.source), wanted.preprocessing)
    key = json_digest({
        "source": sources.at(found, wanted.image_size).name, "weights": sources.weights_key(
            found, wanted.weights, wanted.seed, image_size=wanted.image_size
        ),
        "image_size": wanted.image_size, "cuts": wanted.cuts, "poolings": wanted.poolings,
        "engine": engine, "versions": _versions(engine), "precision": os.environ.get("HEADSTART_PRECISION"),
    })  # fmt: skip
    future = _prepared(key, engine, worker, "compiling:compile_source", progress=progress, spec=wanted.for_worker(),
                       cuts=list(wanted.cuts) or None, poolings=list(wanted.poolings))  # fmt: skip
    return PendingTrunk(wanted.image_size, future)


def prepare_classifier(path: Path, image_size: tuple[int, int], worker: Works) -> PendingTrunk:
    """The compiled trunk of a classifier file; the head lies beside it as `head.npz`."""
    engine = engines.choose()
    key = json_digest({
        "classifier": file_digest(path), "engine": engine, "versions": _versions(engine),
        "precision": os.environ.get("HEADSTART_PRECISION"),
    })  # fmt: skip
    return PendingTrunk(image_size, _prepared(key, engine, worker, "compiling:compile_classifier", path=str(path)))


def places_of(wanted: TrunkSpec, outputs: Sequence[Output], worker: Works) -> PendingTrunk:
    """`prepare_places` for outputs of a source; the worker builds nothing anew where it has just built the source."""
    cuts = [[output.layer, output.pooling] for output in outputs]
    return prepare_places(outputs, wanted.image_size, worker, spec=wanted.for_worker(), cuts=cuts)


def prepare_places(
    outputs: Sequence[Output], image_size: tuple[int, int], worker: Works, **where: Any
) -> PendingTrunk:  # fmt: skip
    """The same network up to what `outputs` are pooled from, so that its answer has places (`places.compile_places`).

    Args:
        outputs: those that a head stands on.
        where: the network: `path` of a classifier file, or `spec` and `cuts` of a source.
    """
    engine = engines.choose()
    key = json_digest({
        "places": [output.fingerprint for output in outputs], "engine": engine, "versions": _versions(engine),
        "precision": os.environ.get("HEADSTART_PRECISION"),
    })  # fmt: skip
    return PendingTrunk(image_size, _prepared(key, engine, worker, "places:compile_places", **where))


def _prepared(key: str, engine: str, worker: Works, job: str, **arguments: Any) -> Future[Trunk]:
    folder = trunks_folder() / key
    future: Future[Trunk] = Future()
    cached = _read(folder, engine)
    if cached is not None:
        with suppress(OSError):  # a cache that cannot be written can still be read
            os.utime(folder)
        future.set_result(cached)
        return future
    shutil.rmtree(folder, ignore_errors=True)

    def finish(done: Future[Any]) -> None:
        try:
            done.result()
            trunk = _read(folder, engine)
            if trunk is None:
                raise SourceError(f"the compiled trunk vanished from {folder}; run the command again")
            future.set_result(trunk)
        except BaseException as error:  # handed to whoever waits, whatever it is
            future.set_exception(error)

    worker.submit(job, folder=str(folder), engine=engine, **arguments).add_done_callback(finish)
    return future


def _read(folder: Path, engine: str) -> Trunk | None:
    try:
        facts = json.loads((folder / "trunk.json").read_text())
        if facts.pop("whole") != json_digest(facts) or not _whole(folder, facts["files"]):
            return None
        outputs = tuple(
            Output(row["layer"], row["pooling"], tuple(row["shape"]), row["dimensions"], row["fingerprint"])
            for row in facts["outputs"]
        )
        height, width = facts["image_size"]
        return Trunk(
            facts["source"], (height, width), outputs, folder, engine, engines.module(engine).version(),
            facts["precision"], facts,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing or damaged: it is compiled again


def _whole(folder: Path, files: dict[str, str]) -> bool:
    """Whether the files are those that were written; a damaged weight would give wrong features without a word."""
    return all(file_digest(folder / name) == digest for name, digest in files.items())
