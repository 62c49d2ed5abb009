"""A source layer by layer, as its trunk uses it: frozen up to the cut, and nothing above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from headstart import sources, trunk
from headstart.errors import SourceError, near

WIDTH = 80
_HEAD = ("layer", "kind", "output", "params", "trainable")
_RIGHT = frozenset({"params"})


@dataclass(frozen=True)
class LayerFacts:
    """One layer of a source.

    Attributes:
        name: what it is called; a cut is named so.
        kind: the class of the Keras layer.
        shape: what it gives for one picture: (height, width, channels), or (channels,); None where a side is open.
        parameters: how many numbers it holds, as Keras counts them.
        trainable: whether training changes them; False throughout a trunk, which is frozen.
        block_end: whether a block ends here, so that it is a good cut.
        used: whether the trunk needs it; False above the cut.

    Example:
        >>> print(LayerFacts("mixed7", "Concatenate", (7, 7, 768), 0))
        mixed7: 7 × 7 × 768 (Concatenate, 0 parameters, frozen)
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    parameters: int
    trainable: bool = False
    block_end: bool = False
    used: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"shape": list(self.shape)}

    def __str__(self) -> str:
        state = "trainable" if self.trainable else "frozen"
        where = state if self.used else "above the cut, not used"
        return f"{self.name}: {_sides(self.shape, ' × ')} ({self.kind}, {self.parameters:,} parameters, {where})"


@dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a source up to its cut, in order; it prints as a table of 80 columns.

    Attributes:
        source: the source's name.
        image_size: (height, width) of pictures in pixels, which the shapes depend on.
        cut: the layer that the source is cut at, the last one of `layers`.
        layers: what the trunk consists of. Iterating and `len` go over these.
        beyond: the layers above the cut, which the trunk does without.
        cuts: all layers that the source is cut at, `cut` the last of them.
        members: of several networks side by side, each one's name, its (height, width) in pixels, and how many numbers
            the trunk takes of it.

    Example:
        >>> facts = LayerFacts("image", "InputLayer", (8, 8, 3), 0), LayerFacts("relu", "ReLU", (4, 4, 16), 0)
        >>> summary = Summary("tiny", (8, 8), facts[1], facts)
        >>> [layer.name for layer in summary], summary.layer("relu").shape
        (['image', 'relu'], (4, 4, 16))
    """

    source: str
    image_size: tuple[int, int]
    cut: LayerFacts
    layers: tuple[LayerFacts, ...]
    beyond: tuple[LayerFacts, ...] = field(default=())
    cuts: tuple[LayerFacts, ...] = field(default=())
    members: tuple[tuple[str, tuple[int, int], int], ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.cuts:
            object.__setattr__(self, "cuts", (self.cut,))

    def __iter__(self) -> Iterator[LayerFacts]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def parameters(self) -> int:
        """How many numbers the trunk holds."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable_parameters(self) -> int:
        """How many of them training changes: none while the trunk is frozen."""
        return sum(layer.parameters for layer in self.layers if layer.trainable)

    def layer(self, name: str) -> LayerFacts:
        """The layer of that name, below or above the cut.

        Raises:
            SourceError: there is none; the message has near matches and the good cuts.
        """
        known = {layer.name: layer for layer in (*self.layers, *self.beyond)}
        if name in known:
            return known[name]
        ends = [layer for layer in known.values() if layer.block_end]
        hint = near(name, [end.name for end in ends]) or near(name, known)
        cuts = ", ".join(f"{end.name} {_sides(end.shape)}" for end in ends)
        raise SourceError(
            f"{self.source} has no layer named {name!r} (of {len(known)}).{hint}\n"
            f"Good cuts (height×width×channels): {cuts or 'none'}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart sources NAME --json` prints them; the layers above the cut too."""
        return {
            "source": self.source, "image_size": list(self.image_size), "cut": self.cut.as_dict(),
            "cuts": [cut.name for cut in self.cuts],
            "members": [
                {"source": name, "image_size": list(size), "parameters": count} for name, size, count in self.members
            ],
            "parameters": {"total": self.parameters, "trainable": self.trainable_parameters,
                           "non_trainable": self.parameters - self.trainable_parameters},
            "layers": [layer.as_dict() for layer in (*self.layers, *self.beyond)],
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Summary of {self._title()}, {len(self)} layers, {self.parameters:,} parameters>"

    def __str__(self) -> str:
        rows = [_cells(layer) for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
        widths[0] = min(widths[0], WIDTH - 2 - sum(widths[1:]) - 2 * (len(widths) - 1))
        marks = map(self._mark, self.layers)
        lines = [line for mark, row in zip(marks, rows, strict=True) for line in _lines(mark, row, widths)]
        return "\n".join([self._title(), "", *_lines(" ", _HEAD, widths), *lines, "", *self._notes()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in _HEAD)
        body = "".join(_html_row(self._mark(layer), layer) for layer in self.layers)
        notes = "".join(f"<div>{escape(note)}</div>" for note in self._notes())
        return (
            f"<div><b>{escape(self._title())}</b>"
            '<div style="max-height:28em;overflow:auto;margin:8px 0">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{notes}</div>"
        )

    def _title(self) -> str:
        where = "cut at " + " and ".join(f"{cut.name}: {_sides(cut.shape, ' × ')}" for cut in self.cuts)
        return f"{self.source} at {_sides(self.image_size, ' × ')} pixels, {where}"

    def _notes(self) -> list[str]:
        """What stands below the table."""
        frozen = self.parameters - self.trainable_parameters
        notes = [f"{self.parameters:,} parameters: {self.trainable_parameters:,} trainable, {frozen:,} not trainable"]
        notes += [f"{name} at {_sides(size, ' × ')} pixels: {count:,} parameters" for name, size, count in self.members]
        if self.beyond:
            layers = "layer above it is" if len(self.beyond) == 1 else "layers above it are"
            cuts = " and ".join(cut.name for cut in self.cuts)
            notes.append(f"cut at {cuts}: {len(self.beyond):,} {layers} not used")
        return [*notes, "> the cut   * the end of a block: a good cut too"]

    def _mark(self, layer: LayerFacts) -> str:
        return ">" if layer in self.cuts else "*" if layer.block_end else " "


def summarise(
    source: str, worker: trunk.Works, *, image_size: tuple[int, int] | None = None, weights: str = "imagenet",
    cut: str | None = None,
) -> Summary:  # fmt: skip
    """The summary of a source, made by a worker; no weights are fetched, since no shape depends on them.

    Args:
        source: name of the source, or the path of a `.keras` file.
        worker: where Keras runs.
        image_size: (height, width) in pixels; None for the source's own.
        weights: the path of a weight file is read and must fit; `imagenet` and `random` read none.
        cut: name of a layer, or of several with `+` between them; None for the deepest cut there is, of each network
            where several stand side by side.

    Raises:
        SourceError: the source, its cut or its weights are unknown or do not fit.
    """
    wanted = trunk.spec(source, image_size=image_size, weights="random" if weights == "imagenet" else weights)
    told = worker.submit(
        "describing:describe_source", spec=wanted.for_worker(), cuts=list(trunk.cuts_of(cut)) if cut else []
    ).result()
    rows = [LayerFacts(**{**row, "shape": tuple(row["shape"])}) for row in told["layers"]]
    cuts = tuple(next(row for row in rows if row.name == name) for name in told["cuts"])
    return Summary(
        source=sources.find(source).name, image_size=wanted.image_size, cut=cuts[-1],
        layers=tuple(row for row in rows if row.used), beyond=tuple(row for row in rows if not row.used), cuts=cuts,
        members=_members(sources.find(source), wanted.image_size, [row for row in rows if row.used]),
    )  # fmt: skip


def _members(
    source: sources.Source, image_size: tuple[int, int], used: list[LayerFacts]
) -> tuple[tuple[str, tuple[int, int], int], ...]:
    """Name, picture size and numbers of each network; none where there is but one."""
    networks, sizes = sources.members(source), sources.member_sizes(source, image_size)
    if len(networks) == 1:
        return ()
    counts = [0] * len(networks)
    for row in used:
        counts[sources.member_of(source, row.name)] += row.parameters
    names = [sources.at(network, None).name for network in networks]
    return tuple(zip(names, sizes, counts, strict=True))


def _sides(shape: tuple[int | None, ...], times: str = "×") -> str:
    return times.join("?" if side is None else str(side) for side in shape)


def _cells(layer: LayerFacts) -> tuple[str, ...]:
    trainable = "yes" if layer.trainable else "no"
    return layer.name, layer.kind, _sides(layer.shape), f"{layer.parameters:,}", trainable


def _lines(mark: str, row: tuple[str, ...], widths: list[int]) -> list[str]:
    """One line, or two where the name is too long for its column: it stays whole, to be copied from."""
    cells = [
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for head, cell, width in zip(_HEAD, row, widths, strict=True)
    ]
    if len(row[0]) <= widths[0]:
        return [f"{mark} {'  '.join(cells)}".rstrip()]
    return [f"{mark} {row[0]}", f"  {'  '.join([' ' * widths[0], *cells[1:]])}".rstrip()]


def _html_row(mark: str, layer: LayerFacts) -> str:
    name, *cells = map(escape, _cells(layer))
    told = f"<b>{name}</b>" if mark == ">" else name
    return f"<tr><td>{escape(mark)} {told}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
