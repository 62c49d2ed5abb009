"""The mean of two heads' logits: ridge regression and logistic regression on the same features, as one softmax layer.

The two err differently: least squares looks at every image alike, logistic regression at those near the border. The
mean of two linear maps is a linear map, so the blend costs nothing at prediction.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.heads import Head, HeadData, Layer, Validated, Watcher, check_options, find, softmax
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained

NAME = "blend"
SUMMARY = "the mean of ridge and logistic regression, as one layer"
BY_EPOCHS = False
OUTPUTS = ("softmax",)

MEMBERS = ("ridge", "linear")


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """Describe the one layer."""
    check_options(NAME, options, ["scaling"])
    find("ridge").shape(classes, options)
    return one_layer(classes, activation)


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head; `options` may name the `scaling` that ridge regression is fitted with.

    Returns:
        A head of one softmax layer with out-of-fold accuracy and loss.
    """
    del progress, watcher  # for heads that are trained by epochs
    found = data.validated or validate(data, options or {})
    return head_of(data, found, finish(data, found), solver="closed form and L-BFGS")


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    return float(sum(find(name).work(data) for name in MEMBERS))


def validate(data: HeadData, options: Mapping[str, Any]) -> Validated:
    """Cross-validate both members on the same rows."""
    check_options(NAME, options, ["scaling"])
    return of(*(find(name).validate(data, options) for name in MEMBERS))


def of(*members: Validated) -> Validated:
    """Blend heads that were cross-validated: the mean of their logits, on the rows that all of them answered."""
    rows = functools.reduce(np.intersect1d, (member.rows for member in members))
    logits = [np.log(np.maximum(m.out_of_fold[np.searchsorted(m.rows, rows)], 1e-30)) for m in members]
    blended = softmax(np.mean(logits, axis=0)).astype(np.float32)
    settings = {member.head: dict(member.settings) for member in members}
    return Validated(NAME, settings, rows, blended, members=members)


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit the members on all rows and average their layers."""
    layers = [find(member.head).finish(data, member)[0] for member in validated.members]
    kernel: np.ndarray = sum(layer.kernel for layer in layers) / np.float32(len(layers))
    bias: np.ndarray = sum(layer.bias for layer in layers) / np.float32(len(layers))
    return (Layer(kernel, bias, "softmax"),)
