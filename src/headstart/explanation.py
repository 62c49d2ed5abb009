"""Where in a picture an answer comes from, without a training framework.

The network is run up to the layer before the pooling; from there to the answer there are a pooling and dense layers,
whose gradient is a formula. The evidence of a place is, summed over channels,

    activation × gradient of the answer's margin by that activation

where the margin is the answer's logit less the mean of the other classes' logits. A softmax is the same whatever is
added to all logits alike, and so is the margin; a logit by itself is not, and of a sigmoid that is saved as a softmax
of two the first one is always 0. For average pooling this is Grad-CAM before its last step (Selvaraju et al. 2017,
arXiv 1610.02391) and for a linear head on it the class activation map (Zhou et al. 2016, arXiv 1512.04150) less the
mean of the other classes'. For max pooling and flattened features the gradient is kept place by place (HiResCAM,
Draelos and Carin 2020, arXiv 2011.08891): Grad-CAM would spread it over the picture and lose what it is asked for. For
any linear head the evidence of all places and the margin of the biases sum to the margin.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import heat, images
from headstart.errors import InputError, SourceError
from headstart.features import Kept, extract
from headstart.files import atomic_path, why_not_writable
from headstart.heads import Layer, apply
from headstart.trunk import Output, Trunk, TrunkSpec, Works, places_of

if TYPE_CHECKING:
    from headstart.dataset import Dataset

LONGEST = 640
"""Pixels of the longer side of a drawn explanation, at most."""
AT_ONCE = 64 * 2**20  # bytes of activations in memory
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Explanation:
    """Which places of a picture speak for an answer.

    Attributes:
        file: the picture.
        label: the class that is explained.
        evidence: what each place adds to the class's logit less the mean of the others', float32 of shape (rows,
            columns) of the cut's own coarse grid, upper left first; below 0 where a place speaks against it.
        probability: of the class, 0 to 1.
    """

    file: str
    label: str
    evidence: np.ndarray = field(repr=False)
    probability: float | None = None

    @property
    def map(self) -> np.ndarray:
        """What speaks for the class, float32, 0 to 1, of the shape of `evidence`; all 0 where nothing does."""
        positive = np.maximum(self.evidence, 0)
        result: np.ndarray = positive / max(float(positive.max(initial=0.0)), 1e-12)
        return result.astype(np.float32)

    def overlay(self, longest: int = LONGEST) -> np.ndarray:
        """The picture in grey with the map over it, uint8 of shape (height, width, 3), in its own proportions.

        Raises:
            PictureError: the picture can no longer be read.
        """
        return heat.overlay(images.whole(self.file, longest), self.map)

    def save(self, path: str | Path) -> Path:
        """Write the overlay as a JPEG or PNG, whole or not at all.

        Raises:
            InputError: another ending than .jpg or .png, or nothing can be written there.
        """
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise InputError(f"an explanation is written as .jpg or .png; got {target}")
        if why := why_not_writable(target):
            raise InputError(why)
        drawn = self.overlay()
        data = images.array_png(drawn) if target.suffix.lower() == ".png" else images.array_jpeg(drawn, quality=90)
        with atomic_path(target) as temporary:
            temporary.write_bytes(data)
        return target

    def _repr_png_(self) -> bytes:
        return images.array_png(self.overlay())

    def _repr_html_(self) -> str:
        """For a notebook: the overlay, and what it is of."""
        from html import escape

        data = base64.b64encode(images.array_jpeg(self.overlay(320), quality=90)).decode()
        sure = f" ({self.probability:.1%})" if self.probability is not None else ""
        caption = escape(f"where {Path(self.file).name} looks like {self.label}{sure}")
        return (
            f'<figure style="margin:0"><img alt="{caption}" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def load_places(wanted: TrunkSpec, outputs: Sequence[Output], worker: Works) -> Future[tuple[Trunk, Kept]]:
    """Compile a network up to its pooling and load its engine, in the background.

    The future raises SourceError where nothing has a place at these outputs.
    """
    pending = places_of(wanted, outputs, worker)
    future: Future[tuple[Trunk, Kept]] = Future()

    def load() -> None:
        try:
            trunk, kept = pending.result(), Kept()
            kept.engine = trunk.load()
            future.set_result((trunk, kept))
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=load, name="places").start()  # waited for at exit: an engine must not load without Python
    return future


def explain(
    trunk: Trunk, dataset: Dataset, layers: Sequence[Layer], *, answers: Sequence[int], kept: Kept | None = None
) -> Iterator[np.ndarray | str]:
    """The evidence for an answer in each picture of a data set, or why a picture cannot be read.

    Args:
        trunk: from `headstart.trunk.prepare_places`.
        dataset: hashed pictures.
        layers: the head.
        answers: which class to explain in each picture, 0 .. C − 1.
        kept: holds the trunk's engine, loaded before.

    Raises:
        SourceError: the trunk gives other numbers than the head takes.
    """
    wide = sum(output.dimensions for output in trunk.outputs)
    some = max(1, AT_ONCE // (4 * wide))
    for start in range(0, len(dataset), some):
        part = dataset.take(np.arange(start, min(start + some, len(dataset))))
        features = extract(part, trunk, None, kept=kept)
        for row in range(len(part)):
            if row in features.bad:
                yield features.bad[row]
            else:
                yield evidence(layers, _grids(trunk, features.matrix([row])[0]), _parts(trunk), answers[start + row])


def evidence(
    layers: Sequence[Layer], grids: Sequence[np.ndarray], parts: Sequence[tuple[int, str]], answer: int
) -> np.ndarray:
    """What each place of a picture adds to a class's margin, float32 of shape (rows, columns) of the finest grid.

    The margin is the logit of the class less the mean of the other classes' logits.

    Args:
        layers: the head, the last one softmax or linear.
        grids: activations of shape (rows, columns, channels), one for each cut.
        parts: which grid each part of the features is pooled from, and how: `avg`, `max` or `flatten`.
        answer: the class, 0 .. C − 1.

    Raises:
        SourceError: the pooled activations are not as many as the head takes.

    Example:
        >>> grid = np.zeros((2, 2, 1)); grid[0, 1] = 4
        >>> head = [Layer(np.array([[3.0, -3.0]]), np.zeros(2), "softmax")]
        >>> evidence(head, [grid], [(0, "avg")], 0).tolist()
        [[0.0, 6.0], [0.0, 0.0]]
    """
    grids = [np.asarray(grid, np.float32) for grid in grids]
    pooled = [_pooled(grids[number], pooling) for number, pooling in parts]
    found = sum(len(values) for values in pooled)
    if found != layers[0].kernel.shape[0]:
        raise SourceError(
            f"the network gives {found} numbers a picture, and the head takes {layers[0].kernel.shape[0]}"
        )
    slope = gradient(layers, np.concatenate(pooled), answer)
    finest = max((grids[number].shape[:2] for number, _ in parts), key=lambda shape: shape[0] * shape[1])
    total, start = np.zeros(finest, np.float32), 0
    for (number, pooling), values in zip(parts, pooled, strict=True):
        share = _by_place(grids[number], pooling, slope[start : start + len(values)])
        total += share if share.shape == finest else heat.spread(share, finest)
        start += len(values)
    return total


def gradient(layers: Sequence[Layer], features: np.ndarray, answer: int) -> np.ndarray:
    """How the margin of a class, before any softmax, changes with each feature: float32 of shape (dimensions,)."""
    values, open_units = np.asarray(features, np.float32)[None], []
    for layer in layers[:-1]:
        values = apply([layer], values)
        open_units.append(values[0] > 0 if layer.activation == "relu" else np.ones(values.shape[1], bool))
    kernel = np.asarray(layers[-1].kernel, np.float32)
    slope: np.ndarray = kernel[:, answer]
    if layers[-1].activation != "sigmoid" and kernel.shape[1] > 1:  # a label, or a number, stands by itself
        slope = slope - np.delete(kernel, answer, axis=1).mean(axis=1)
    for layer, active in zip(reversed(layers[:-1]), reversed(open_units), strict=True):
        slope = layer.kernel @ (slope * active)
    return slope


def _pooled(grid: np.ndarray, pooling: str) -> np.ndarray:
    match pooling:
        case "avg":
            result: np.ndarray = grid.mean(axis=(0, 1))
        case "max":
            result = grid.max(axis=(0, 1))
        case "flatten":
            result = grid.reshape(-1)
        case _:
            raise SourceError(f"unknown pooling {pooling!r}; expected avg, max or flatten")
    return result


def _by_place(grid: np.ndarray, pooling: str, slope: np.ndarray) -> np.ndarray:
    """Activation × gradient, summed over channels; equal maxima share the gradient, as automatic ones do."""
    if pooling == "avg":
        return np.asarray(grid @ slope / (grid.shape[0] * grid.shape[1]))
    if pooling == "max":
        top = (grid == grid.max(axis=(0, 1))).astype(np.float32)
        return np.asarray((grid * top / top.sum(axis=(0, 1))) @ slope)
    return np.asarray((grid * slope.reshape(grid.shape)).sum(axis=2))


def _grids(trunk: Trunk, values: np.ndarray) -> list[np.ndarray]:
    largest = float(np.finfo(np.float16).max)  # what an engine's float16 could not hold, as features are clipped too
    grids, start = [], 0
    for output in trunk.outputs:
        part = np.asarray(values[start : start + output.dimensions], np.float32)
        grids.append(np.clip(part, -largest, largest).reshape(output.shape))
        start += output.dimensions
    return grids


def _parts(trunk: Trunk) -> list[tuple[int, str]]:
    parts: Sequence[Any] = trunk.facts["parts"]
    return [(int(number), str(pooling)) for number, pooling in parts]
