"""Dense → dropout → dense on features, trained by Keras; the frozen trunk is not run again in any epoch.

The training itself runs in a worker with Keras on TensorFlow (`fit_dense`), which gets the features as a memory-mapped
file. One fold of the training pictures is held out for early stopping; the weights of the epoch with the least loss
there are kept.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import MissingExtraError, RecipeError, near
from headstart.heads import Head, HeadData, Layer, apply, log_loss
from headstart.worker import lazy

NAME = "dense"
SUMMARY = "a hidden layer with dropout, trained by epochs in Keras, with learning curves; needs TensorFlow"

DEFAULTS: Mapping[str, Any] = {
    "units": 256, "dropout": 0.3, "learning_rate": 1e-3, "batch_size": 32, "epochs": 40, "patience": 6,
}  # fmt: skip
_RANGES = {
    "units": (1, 65_536), "dropout": (0.0, 0.95), "learning_rate": (1e-7, 1.0), "batch_size": (1, 65_536),
    "epochs": (1, 10_000), "patience": (0, 10_000),
}  # fmt: skip


def shape(classes: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A ReLU layer and a softmax layer with dropout before it."""
    settings = settings_of(options)
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("the dense head", "cpu")
    return [
        {"units": int(settings["units"]), "activation": "relu", "dropout": 0.0},
        {"units": classes, "activation": "softmax", "dropout": float(settings["dropout"])},
    ]


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Head:  # fmt: skip
    """Train the head; `options` override `DEFAULTS`.

    Args:
        progress: called after each epoch with `epoch` and the epoch's figures.

    Returns:
        A head of two layers with `history`; its accuracy and loss are of the held-out fold, at the kept epoch.

    Raises:
        RecipeError: an option is unknown or out of range.
        MissingExtraError: TensorFlow is not installed.
    """
    settings = settings_of(options)
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("the dense head", "cpu")
    held_out = data.folds == data.folds.min()
    mean, deviation = _moments(data.features[~held_out])
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        np.save(Path(folder) / "features.npy", data.features)
        np.savez(Path(folder) / "rest.npz", labels=data.labels, held_out=held_out, mean=mean, deviation=deviation)
        with lazy("tensorflow") as worker:
            history = worker.call(
                "heads.dense:fit_dense", progress=progress, folder=folder, classes=data.classes, seed=data.seed,
                settings=settings,
            )  # fmt: skip
        with np.load(Path(folder) / "weights.npz") as saved:
            arrays = [saved[name] for name in ("kernel_1", "bias_1", "kernel_2", "bias_2")]
    first = arrays[0] / deviation[:, None]
    layers = (
        Layer(first, arrays[1] - mean @ first, "relu"),
        Layer(arrays[2], arrays[3], "softmax", settings["dropout"]),
    )
    probabilities = apply(layers, data.features[held_out])
    accuracy = float((probabilities.argmax(axis=1) == data.labels[held_out]).mean())
    return Head(NAME, layers, accuracy, log_loss(probabilities, data.labels[held_out]), None, history, (), settings)


def settings_of(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The defaults with `options` over them, checked."""
    for name, value in (options or {}).items():
        if name not in DEFAULTS:
            raise RecipeError(
                f"the dense head has no option {name!r}; it has {', '.join(DEFAULTS)}.{near(name, DEFAULTS)}"
            )
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise RecipeError(f"{name} of the dense head must lie between {low} and {high}; got {value!r}")
        if isinstance(low, int) and not float(value).is_integer():
            raise RecipeError(f"{name} of the dense head must be a whole number; got {value!r}")
    return {**DEFAULTS, **(options or {})}


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-6] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def fit_dense(folder: str, classes: int, seed: int, *, settings: dict[str, Any]) -> dict[str, list[float]]:
    """In the worker: train on the arrays in `folder`, leave the weights there, return the history."""
    import keras

    from headstart.worker import report_progress

    keras.utils.set_random_seed(seed)
    features = np.load(Path(folder) / "features.npy", mmap_mode="r")
    rest = np.load(Path(folder) / "rest.npz")
    labels, held_out, mean, deviation = (rest[name] for name in ("labels", "held_out", "mean", "deviation"))

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        """Standardised batches from the memory-mapped features, in a new seeded order each epoch."""

        def __init__(self, rows: np.ndarray, shuffle: bool) -> None:
            super().__init__()
            self.rows, self.shuffle = rows, shuffle
            self.random = np.random.default_rng(seed)
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(self.rows) // int(settings["batch_size"]))

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            start = index * int(settings["batch_size"])
            rows = self.rows[start : start + int(settings["batch_size"])]
            return (np.asarray(features[rows], np.float32) - mean) / deviation, labels[rows]

        def on_epoch_end(self) -> None:
            if self.shuffle:
                self.rows = self.random.permutation(self.rows)

    model = keras.Sequential(
        [
            keras.layers.Input((features.shape[1],)),
            keras.layers.Dense(int(settings["units"]), activation="relu"),
            keras.layers.Dropout(settings["dropout"], seed=seed),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(settings["learning_rate"]), keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )  # fmt: skip
    stop = keras.callbacks.EarlyStopping("val_loss", patience=int(settings["patience"]), restore_best_weights=True)
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report_progress(epoch=epoch + 1, **{k: float(v) for k, v in logs.items()})
    )
    history = model.fit(
        Batches(np.flatnonzero(~held_out), True), validation_data=Batches(np.flatnonzero(held_out), False),
        epochs=int(settings["epochs"]), callbacks=[stop, tell], verbose=0,
    )  # fmt: skip
    weights = model.get_weights()
    np.savez(
        Path(folder) / "weights.npz", **dict(zip(("kernel_1", "bias_1", "kernel_2", "bias_2"), weights, strict=True))
    )
    return {name: [float(value) for value in values] for name, values in history.history.items()}
