"""Several cuts side by side: pooled block ends joined, then selected, after Head2Toe (arXiv 2201.03529).

Head2Toe selects single features by a group lasso over all layers at once. Here whole layers are selected, one after
the other, each by what it adds out of fold: in the saved model a layer's pooled output costs nothing beyond the layer
itself, so dropping single features of it would save nothing, and choosing among a dozen layers flatters the figures
far less than choosing among thousands of features. The inner products of joined features are the sum of those of the
parts, so trying a layer costs one Cholesky factor of the sample, however wide it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from headstart.probes import kernel_out_of_fold
from headstart.splits import spread_out

if TYPE_CHECKING:
    from headstart.trunk import Output

MOST_LAYERS = 4
PICTURES = 400
"""Pictures that the layers are selected on, at most; each class has its share of them."""
_STRENGTHS = (0.03,)  # the middle one of the probe's: only differences count here
_ERRORS = 1.0  # standard errors of the paired difference in loss that a layer has to be worth

Group = tuple["Output", ...]


def select(
    parts: Mapping[Group, np.ndarray], labels: np.ndarray, folds: np.ndarray, *, first: Group,
    run: Callable[..., object] = map,
) -> Group | None:  # fmt: skip
    """The layers that are worth more together than `first` alone, in the order of `parts`; None where none adds.

    Args:
        parts: standardised features of some pictures, float32 (pictures, dimensions), for each layer as it is pooled.
        labels: their classes, 0 .. C − 1.
        folds: their cross-validation folds.
        first: the layer to begin with, one of the keys.
        run: a `map`, over the cores for instance.
    """
    if len(parts) < 2:
        return None
    some = np.sort(spread_out(labels, seed=0)[:PICTURES])  # of every class, in whatever order the rows come
    labels, folds = labels[some], folds[some]
    kernels = dict(zip(parts, run(_kernel, [block[some] for block in parts.values()]), strict=True))  # type: ignore[call-overload]

    def loss(kernel: np.ndarray) -> np.ndarray:
        return kernel_out_of_fold(kernel, labels, folds, _STRENGTHS)[1]

    everything = functools.reduce(np.add, kernels.values())
    chosen, kernel = [first], kernels[first]
    least = loss(kernel)
    if not _better(loss(everything), least, 0.0):
        return None  # all of them together are no better than one: then few of them will hardly be
    while len(chosen) < min(MOST_LAYERS, len(parts)):
        left = [group for group in parts if group not in chosen]
        losses: Sequence[np.ndarray] = list(run(loss, [kernel + kernels[group] for group in left]))  # type: ignore[call-overload]
        best = min(range(len(left)), key=lambda at: losses[at].mean())
        if not _better(losses[best], least, _ERRORS):
            break
        chosen.append(left[best])
        kernel, least = kernel + kernels[left[best]], losses[best]
    if len(chosen) == 1:
        return None
    return tuple(output for group in parts if group in chosen for output in group)


def _kernel(block: np.ndarray) -> np.ndarray:
    result: np.ndarray = block @ block.T
    return result


def _better(losses: np.ndarray, than: np.ndarray, errors: float) -> bool:
    difference = (than - losses).astype(np.float64)
    return bool(difference.mean() > errors * difference.std() / np.sqrt(len(difference)))
