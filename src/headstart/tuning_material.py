"""What the tuned part of a network is given: activations of a boundary, or pictures, with targets.

Files in one folder, mapped into memory: `train.npy` of (views, pictures, …) float16 (the first view is the picture as
it is), or of (pictures, height, width, 3) uint8; `judged.npy` of (pictures, …) likewise; and `facts.npz` with `targets`
and `judged_targets`, float32 of (pictures, outputs), and `digests` of the first, uint8 of (pictures, 32).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart import tempering, views
from headstart.augment import Augmentation, View

AT_ONCE = 64
"""Pictures that are run at a time where nothing is trained."""


@dataclass(frozen=True)
class Material:
    """Pictures to tune on and pictures to judge by."""

    train: np.ndarray
    targets: np.ndarray
    digests: np.ndarray
    judged: np.ndarray
    judged_targets: np.ndarray
    augment: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path, augment: dict[str, Any] | None = None) -> Material:
        """Map the files of a folder into memory."""
        with np.load(folder / "facts.npz", allow_pickle=False) as facts:
            targets, digests, judged_targets = facts["targets"], facts["digests"], facts["judged_targets"]
        train, judged = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("train", "judged")
        )
        return cls(train, targets, digests, judged, judged_targets, augment)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def pixels(self) -> bool:
        return self.train.dtype == np.uint8

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the targets, which a squared error is told in; 1 where they do not differ."""
        return float(self.targets.std()) or 1.0

    def turns(self, epoch: int, seed: int) -> np.ndarray | None:
        """Which view each picture is seen through in an epoch; None for pictures as they are.

        Views that are kept take turns; where there are pixels, each epoch draws its own.
        """
        if self.pixels:
            return None if self.augment is None else np.full(len(self), epoch)
        return views.turns(self.digests, len(self.train), seed=seed, epoch=epoch) if len(self.train) > 1 else None

    def batch(self, rows: np.ndarray, turn: np.ndarray | None) -> np.ndarray:
        """What a step is given: float16 activations, or uint8 pixels."""
        if not self.pixels:
            numbers: np.ndarray = self.train[np.zeros(len(rows), int) if turn is None else turn[rows], rows]
            return numbers
        pixels = np.asarray(self.train[np.sort(rows)])[np.argsort(np.argsort(rows))]  # read in the file's order
        if self.augment is None or turn is None:
            return pixels
        kind, seed = Augmentation.from_dict(self.augment["augmentation"]), int(self.augment["seed"])
        return np.stack([
            View(kind, seed, int(turn[row])).apply(picture, self.digests[row].tobytes())
            for row, picture in zip(rows, pixels, strict=True)
        ])  # fmt: skip

    def weights(self, rows: np.ndarray, balanced: bool) -> np.ndarray:
        """How much each picture counts in the loss: the same, or so that all classes count the same."""
        if not balanced:
            return np.ones(len(rows), np.float32)
        counts = self.targets.sum(axis=0)
        each = len(self.targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        weights: np.ndarray = each[self.targets[rows].argmax(axis=1)].astype(np.float32)
        return weights

    def clean(self) -> Iterator[np.ndarray]:
        """All pictures that are tuned on, as they are, some at a time."""
        for start in range(0, len(self), AT_ONCE):
            yield self.batch(np.arange(start, min(start + AT_ONCE, len(self))), None)

    def sample(self, most: int, seed: int) -> Iterator[np.ndarray]:
        """Some of them in an order that is drawn, in parts of nearly one size, through the views of the first epoch."""
        order = np.random.default_rng([seed, 22]).permutation(len(self))[:most]
        turn = self.turns(0, seed)
        for rows in np.array_split(order, max(1, len(order) // AT_ONCE)):
            yield self.batch(rows, turn)

    def judging(self) -> Iterator[np.ndarray]:
        """The pictures that judge, some at a time."""
        for start in range(0, len(self.judged), AT_ONCE):
            yield np.asarray(self.judged[start : start + AT_ONCE])


def smoothed(targets: np.ndarray, share: float, activation: str) -> np.ndarray:
    """Targets of which a share is spread over all classes; numbers stay as they are.

    >>> smoothed(np.array([[0.0, 1.0]], np.float32), 0.1, "softmax").tolist()
    [[0.05000000074505806, 0.949999988079071]]
    """
    if not share or activation == "linear":
        return targets
    even = 1 / targets.shape[1] if activation == "softmax" else 0.5
    return (targets * (1 - share) + share * even).astype(np.float32)


def measured(answers: np.ndarray, targets: np.ndarray, activation: str) -> tuple[float, float]:
    """A metric and the mean loss of answers: accuracy and cross-entropy in nats, or absolute and squared error.

    A softmax's loss is that at the best temperature (`tempering`), since label smoothing makes every answer shy.
    """
    if activation == "softmax":
        right = answers.argmax(axis=1) == targets.argmax(axis=1)
        return float(right.mean()), float(tempering.losses(answers, targets.argmax(axis=1)).mean())
    if activation == "sigmoid":
        chances = np.clip(answers, 1e-7, 1 - 1e-7)
        loss = -(targets * np.log(chances) + (1 - targets) * np.log(1 - chances))
        return float(((answers > 0.5) == (targets > 0.5)).mean()), float(loss.mean())
    return float(np.abs(answers - targets).mean()), float(np.square(answers - targets).mean())
