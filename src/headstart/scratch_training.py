"""In the worker: the same network trained from random weights, all of its layers, by Keras on TensorFlow.

Pixels come as files that are mapped into memory, decoded by the caller; augmented views are made here, from the same
seeds that the reused network's views are made from. Where there are kept views, a picture is seen through the same one
in the same epoch by both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import sources, views
from headstart.augment import Augmentation, View
from headstart.blanks import on_top, side_by_side
from headstart.worker import report_progress

if TYPE_CHECKING:
    import keras

MOMENTUM = 0.9
"""Of BatchNormalization's statistics: they follow within some tens of steps, and a small set has only hundreds."""
_WATCHED_AT_ONCE = 64
_TELL_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class Settings:
    """What training from scratch is done with.

    Attributes:
        optimizer: `adam`.
        learning_rate: constant.
        batch_size: pictures a step.
        momentum: of BatchNormalization's statistics.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 32
    momentum: float = MOMENTUM


def default_settings(kinds: set[str], batch_size: int = 32) -> Settings:
    """Settings for a network by the classes of its layers.

    Adam at 0.001, Keras's own default, where BatchNormalization keeps the layers' scale; with LayerNormalization less,
    and without either, as in VGG, where that rate lets training from scratch stand still, a tenth of it.
    Gradients are not clipped: with MobileNet on 2,000 pictures that held the training back.

    >>> default_settings({"Conv2D", "BatchNormalization"}).learning_rate, default_settings({"Conv2D"}).learning_rate
    (0.001, 0.0001)
    """
    normal = 1e-3 if "BatchNormalization" in kinds else 3e-4 if "LayerNormalization" in kinds else 1e-4
    return Settings(learning_rate=normal, batch_size=batch_size)


def train(
    folder: str, spec: dict[str, Any], outputs: list[list[str]], *, head: list[dict[str, Any]], seed: int, epochs: int,
    seconds: float | None, batch_size: int, steps: int | None, augment: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """Build the network with random weights, train all of it, and measure it after every epoch.

    Args:
        folder: holds `train.npy` and `watched.npy`, uint8 of (pictures, height, width, 3), and `facts.npz` with
            `labels` and `digests` (uint8 of (pictures, 32)) of the first and `watched_labels` of the second.
        spec: the source, as `TrunkSpec.for_worker` gives it; its weights are not used.
        outputs: layer and pooling of each output that the head stands on.
        head: `units`, `activation` and `dropout` of each layer of the head.
        seed: decides weights, order and dropout.
        epochs: how many; fewer where `seconds` would be exceeded by one more, yet one at the least.
        seconds: of training, measuring left out; None for no limit.
        batch_size: pictures a step, about.
        steps: steps an epoch; None for every picture once.
        augment: `augmentation`, `seed` and `views` (a number of kept ones, or `live`); None for pictures as they are.

    Returns:
        `before` (accuracy), `history` as Keras has it, `seconds` of each epoch, and the `settings`.
    """
    import keras

    keras.utils.clear_session()  # the network of the seed before
    keras.utils.set_random_seed(seed)
    pictures = Pictures.open(Path(folder), augment)
    model = network(spec, outputs, head, seed)
    settings = default_settings({type(layer).__name__ for layer in model.layers}, batch_size)
    prepare(model, settings)
    history: dict[str, list[float]] = {"accuracy": [], "loss": [], "val_accuracy": [], "val_loss": []}
    before, _ = measured(model, pictures)
    taken: list[float] = []
    batches = ordered(len(pictures.labels), batch_size, seed)
    length = steps if steps is not None else -(-len(pictures.labels) // batch_size)
    for epoch in range(epochs):
        if seconds is not None and taken and sum(taken) + max(taken[-2:]) > seconds:
            break
        start = time.perf_counter()
        logs = _epoch(model, pictures, batches, epoch=epoch, steps=length, epochs=None if seconds else epochs)
        taken.append(time.perf_counter() - start)
        logs["val_accuracy"], logs["val_loss"] = measured(model, pictures)
        for name, values in history.items():
            values.append(logs[name])
    return {"before": before, "history": history, "seconds": taken, "settings": asdict(settings)}


def network(spec: dict[str, Any], outputs: list[list[str]], head: list[dict[str, Any]], seed: int) -> keras.Model:
    """The classifier's own layers, pixels to probabilities, with random weights; every layer is trained."""
    import keras

    height, width = spec["image_size"]
    source = sources.scaled(sources.find(spec["name"]), spec["preprocessing"])
    trunk = sources.build(source, image_size=(height, width), weights="random", seed=seed)
    trunk.trainable = True
    values, _ = on_top(side_by_side(trunk, outputs), head, seed=seed)
    return keras.Model(trunk.inputs, values)


def prepare(model: keras.Model, settings: Settings) -> None:
    """Compile it; BatchNormalization gets the momentum that suits so few steps."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.momentum
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Pixels and labels of a run, and the views that an epoch sees them through."""

    pixels: np.ndarray
    labels: np.ndarray
    digests: np.ndarray
    watched: np.ndarray
    watched_labels: np.ndarray
    augment: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path, augment: dict[str, Any] | None) -> Pictures:
        with np.load(folder / "facts.npz", allow_pickle=False) as facts:
            labels, digests, watched_labels = facts["labels"], facts["digests"], facts["watched_labels"]
        pixels, watched = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("train", "watched")
        )
        return cls(pixels, labels, digests, watched, watched_labels, augment)

    def numbers(self, epoch: int) -> np.ndarray | None:
        """Which view each picture is seen through in an epoch, from 0; None for pictures as they are."""
        if self.augment is None:
            return None
        if self.augment["views"] == "live":
            return np.full(len(self.labels), epoch)
        return views.turns(self.digests, int(self.augment["views"]), seed=self.augment["seed"], epoch=epoch)

    def batch(self, rows: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
        """Pictures of some rows as the network takes them, float32 from 0 to 255."""
        pixels = np.asarray(self.pixels[np.sort(rows)])[np.argsort(np.argsort(rows))]  # read in the file's order
        if self.augment is not None and numbers is not None:
            kind = Augmentation.from_dict(self.augment["augmentation"])
            seed = int(self.augment["seed"])
            pixels = np.stack([
                View(kind, seed, int(numbers[row])).apply(picture, self.digests[row].tobytes())
                for row, picture in zip(rows, pixels, strict=True)
            ])  # fmt: skip
        return pixels.astype(np.float32)


def ordered(pictures: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Batches without end, order after order, as a head's training draws its orders.

    The batches of an order are of nearly one size: in a last one of few pictures BatchNormalization would learn from
    few.

    >>> [len(next(batches)) for batches in [ordered(70, 32, 0)] for _ in range(4)]
    [24, 23, 23, 24]
    """
    random = np.random.default_rng([seed, 1])
    while True:
        yield from np.array_split(random.permutation(pictures), -(-pictures // batch_size))


def _epoch(
    model: keras.Model, pictures: Pictures, batches: Iterator[np.ndarray], *, epoch: int, steps: int, epochs: int | None
) -> dict[str, float]:
    """Train for one epoch; accuracy and loss are means over its batches, as Keras shows them."""
    sums, seen, told = dict.fromkeys(("accuracy", "loss"), 0.0), 0, 0.0
    numbers = pictures.numbers(epoch)
    for step in range(steps):
        rows = next(batches)
        model.reset_metrics()  # so that what comes back is of this batch, whatever Keras's version makes of it
        logs = model.train_on_batch(pictures.batch(rows, numbers), pictures.labels[rows], return_dict=True)
        seen += len(rows)
        for name in sums:
            sums[name] += float(logs[name]) * len(rows)
        if time.perf_counter() - told > _TELL_EVERY or step + 1 == steps:
            told = time.perf_counter()
            report_progress(done=epoch * steps + step + 1, total=epochs * steps if epochs else None)
    return {name: total / seen for name, total in sums.items()}


def measured(model: keras.Model, pictures: Pictures) -> tuple[float, float]:
    """Accuracy and mean cross-entropy (nats) on the watched pictures as they are, BatchNormalization in inference."""
    right, loss = 0, 0.0
    for start in range(0, len(pictures.watched), _WATCHED_AT_ONCE):
        rows = slice(start, start + _WATCHED_AT_ONCE)
        labels = pictures.watched_labels[rows]
        answers = np.asarray(model.predict_on_batch(np.asarray(pictures.watched[rows]).astype(np.float32)))
        right += int((answers.argmax(axis=1) == labels).sum())
        loss -= float(np.log(np.clip(answers[np.arange(len(labels)), labels], 1e-7, 1.0)).sum())
    return right / len(pictures.watched), loss / len(pictures.watched)
