"""The head start of a trained classifier, measured: the same network is trained from random weights beside it.

Both sides get the same training pictures, the same views of them where there is augmentation, the same order of
pictures for a seed, the same number of epochs, and are measured on the same pictures after each of them.

- **From scratch**: every layer that the classifier has, pixels to probabilities, from random weights, trained by Keras
  on TensorFlow in a process of its own (`scratch_training`).
- **Reused**: the classifier's head trained by epochs on the frozen network's features. A linear head has no epochs: it
  is solved exactly. So that both have the same axis, a softmax of the same form is trained by epochs in its place, with
  Adam at the usual rate; the exact head stays what the learning curve over fewer pictures is made with.

The pictures that are measured on decide nothing: no epoch is picked and nothing is stopped early.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import heads, images, learning_curve, sealed, views, watching
from headstart.errors import InputError, MissingExtraError, PhotosError, PictureError
from headstart.estimates import Estimate
from headstart.evaluate import score
from headstart.head_start import HeadStart, Side, Tuned
from headstart.heads import apply, dense
from headstart.progress import Progress, silent
from headstart.tasks import only
from headstart.trunk import spec
from headstart.worker import Worker

if TYPE_CHECKING:
    from headstart.result import TrainResult

EPOCHS, SEEDS = 10, 3
MOST_EPOCHS, MOST_SEEDS = 10_000, 20
_STAGE = "from scratch"


def check(epochs: int | None = None, seconds: float | None = None, seeds: int = SEEDS) -> None:
    """Refuse what could not run, before long work begins.

    Raises:
        InputError: a number is out of range, or both epochs and seconds are given.
        MissingExtraError: TensorFlow is not installed.
    """
    if epochs is not None and seconds is not None:
        raise InputError(
            f"training from scratch ends after epochs or after seconds; got both, {epochs} epochs and {seconds:g}"
            " seconds. Give one of them."
        )
    for name, value, most in (("epochs", epochs, MOST_EPOCHS), ("seeds", seeds, MOST_SEEDS)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and 1 <= value <= most):
            raise InputError(f"the {name} of training from scratch are a whole number from 1 to {most}; got {value!r}")
    if seconds is not None and (isinstance(seconds, bool) or not 0 < seconds < float("inf")):
        raise InputError(f"the seconds for training from scratch must lie above 0; got {seconds!r}")
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("training from scratch", "cpu")


def compare_scratch(
    result: TrainResult, *, epochs: int | None = None, seconds: float | None = None, seeds: int = SEEDS,
    progress: Progress = silent,
) -> TrainResult:  # fmt: skip
    """Train the classifier's network from scratch too, and say what its reuse gained.

    Args:
        result: from `headstart.train`, in the same process.
        epochs: of both sides; those that the classifier's head ran, or 10 where it has none.
        seconds: of training from scratch in all, shared by the seeds; measuring comes on top, and each seed has one
            epoch at the least. Then the first seed decides how many epochs there are.
        seeds: how many times each side is trained, 1 to 20; the intervals are over these, and over the pictures.
        progress: called with (stage, done, total) as work goes on.

    Returns:
        The result with `head_start` set. It was measured on the split that curves are drawn on, and for no choice.

    Raises:
        InputError: a number is out of range, or there is no room on the disk for the decoded pictures.
        MissingExtraError: TensorFlow is not installed: pip install 'headstart[cpu]'.
        PhotosError: a picture has changed since the training.

    Example:
        >>> result = compare_scratch(train("flowers/"), epochs=5)         # doctest: +SKIP
        >>> print(result.head_start.sentence)                             # doctest: +SKIP
    """
    check(epochs, seconds, seeds)
    only(result.task, "Training from scratch is compared")
    run = _Run(result)
    planned = epochs or (MOST_EPOCHS if seconds is not None else len((result.history or {}).get("loss", ())) or EPOCHS)
    sealed.opening(result.dataset, run.watched, run.frozen.head.layers, run.frozen.outputs, command="compare-scratch")
    found = _from_scratch(run, planned, seconds, seeds=seeds, progress=progress)
    done = len(found[0]["seconds"])
    curve = learning_curve.measure(
        run.frozen.features, run.rows, run.frozen.outputs, head=run.frozen.head, fold_count=result.recipe.folds,
        seed=result.recipe.seed, watch=(run.split, run.watched), anyway=True,
    )  # fmt: skip
    labels = result.dataset.labels[run.watched]
    start = HeadStart(
        reused=_reused(run, done, seeds=seeds), scratch=_side(found), pictures=len(run.rows), split=run.split,
        n=len(labels), guessing=float(np.bincount(labels).max() / len(labels)), curve=curve,
        settings={"scratch": found[0]["settings"], "reused": run.head_settings(done), "augment": result.recipe.augment},
        notes=tuple(_notes(run, seeds)), classes=run.classes, tuned=_tuned(run),
    )  # fmt: skip
    return replace(result, head_start=start)


class _Run:
    """What both sides are given."""

    def __init__(self, result: TrainResult) -> None:
        if result.frozen is None:
            raise ValueError("a result is compared where it was trained. Received: frozen=None")
        self.result, self.frozen = result, result.frozen
        self.rows = result.rows["train"]
        split = watching.split_to_watch(result.dataset, decides=False)
        if split is None or split not in result.rows:
            raise PhotosError("there are no held-back pictures to measure both sides on")
        self.split, self.watched = split, result.rows[split]
        self.size = result.features.trunk.image_size
        self.by_epochs = heads.find(result.recipe.head).BY_EPOCHS

    @property
    def classes(self) -> int:
        return len(self.result.dataset.classes)

    def head_settings(self, epochs: int) -> dict[str, Any]:
        """The head's own where it is trained by epochs; but every epoch is run, and the last one's weights count."""
        given = dict(self.result.recipe.head_options) if self.by_epochs else {"layers": [], "output": "softmax"}
        return dense.plain(dense.settings_of({**given, "epochs": epochs, "patience": None}))

    def augment(self) -> dict[str, Any] | None:
        """What the worker is told of the views, the same that the features are of."""
        recipe = self.result.recipe
        if not views.augmented(recipe):
            return None
        return {"augmentation": views.told(recipe), "seed": recipe.seed, "views": views.count(recipe)}


def _reused(run: _Run, epochs: int, *, seeds: int) -> Side:
    """The head trained by epochs on the features that there are, once a seed."""
    result, features, outputs = run.result, run.frozen.features, run.frozen.outputs
    data = views.head_data(
        features, outputs, run.rows, folds=np.zeros(len(run.rows), int), recipe=result.recipe, by_epochs=True,
        watch=run.watched,
    )  # fmt: skip
    options, dataset = run.head_settings(epochs), result.dataset
    width, labels = sum(output.dimensions for output in outputs), dataset.labels[run.watched]
    seen = features.matrix(run.watched, outputs)
    before, fitted = [], []
    for seed in _seeds(result, seeds):
        untrained = dense.untrained(width, run.classes, options=options, seed=seed)
        before.append(score(apply(untrained, seen), labels, dataset.classes, split=run.split).accuracy.value)
        fitted.append(dense.fit(replace(data, seed=seed), options=options))
    histories = [head.history or {} for head in fitted]
    return Side(
        before=tuple(before), accuracy=_table(histories, "val_accuracy"), loss=_table(histories, "val_loss"),
        training_loss=_table(histories, "loss"), seconds=tuple(tuple(head.epoch_seconds) for head in fitted),
        ready=features.seconds,
    )  # fmt: skip


def _side(found: Sequence[dict[str, Any]]) -> Side:
    histories = [each["history"] for each in found]
    return Side(
        before=tuple(each["before"] for each in found), accuracy=_table(histories, "val_accuracy"),
        loss=_table(histories, "val_loss"), training_loss=_table(histories, "loss"),
        seconds=tuple(tuple(each["seconds"]) for each in found),
    )  # fmt: skip


def _table(histories: Sequence[Any], name: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in each[name]) for each in histories)


def _from_scratch(
    run: _Run, epochs: int, seconds: float | None, *, seeds: int, progress: Progress
) -> list[dict[str, Any]]:
    """One training a seed, in one worker; the first of them says how many epochs there are where seconds do."""
    result, recipe = run.result, run.result.recipe
    wanted = spec(recipe.source, image_size=run.size, weights="random", preprocessing=recipe.preprocessing)
    settings = run.head_settings(epochs)
    shape = heads.find(recipe.head).shape(run.classes, recipe.head_options)
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headstart-", ignore_cleanup_errors=True))
        worker = stack.enter_context(Worker("tensorflow"))  # gets ready while the pictures are decoded
        _write(run, Path(folder), progress)
        for number, seed in enumerate(_seeds(result, seeds)):
            tell = _telling(progress, f"{_STAGE}, {number + 1} of {seeds}" if seeds > 1 else _STAGE)
            found.append(worker.call(
                "scratch_training:train", progress=tell, folder=folder, spec=wanted.for_worker(),
                outputs=[[output.layer, output.pooling] for output in result.classifier.outputs], head=shape,
                seed=seed, epochs=len(found[0]["seconds"]) if found else epochs,
                seconds=seconds / seeds if seconds is not None and not found else None,
                batch_size=int(settings["batch_size"]), steps=settings["steps_per_epoch"], augment=run.augment(),
            ))  # fmt: skip
    return found


def _telling(progress: Progress, stage: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: progress(stage, told["done"], told["total"])


def _seeds(result: TrainResult, count: int) -> list[int]:
    return [(result.recipe.seed + number) % 2**32 for number in range(count)]


def _write(run: _Run, folder: Path, progress: Progress) -> None:
    """Decoded pictures, as files that the worker maps into memory."""
    each = 3 * run.size[0] * run.size[1]
    needed, free = each * (len(run.rows) + len(run.watched)), shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise InputError(
            f"training from scratch keeps the decoded pictures in {folder.parent}: {needed / 1e6:,.0f} MB, and"
            f" {free / 1e6:,.0f} MB are free there.\nMake room, name another folder in TMPDIR, or use a smaller"
            " --image-size."
        )
    dataset, done = run.result.dataset, 0
    digests = dataset.digests or ()
    total = len(run.rows) + len(run.watched)
    for name, rows in (("train", run.rows), ("watched", run.watched)):
        target = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (len(rows), *run.size, 3))

        def read(place: int, rows: np.ndarray = rows, target: np.ndarray = target) -> None:
            row = int(rows[place])
            path = dataset.path(row)
            try:
                data = images.file_bytes(path)
                if hashlib.sha256(data).digest() != digests[row]:
                    raise PhotosError(f"{path} has changed since the training; train again, then compare")
                target[place] = images.decode(data, run.size)
            except PictureError as error:
                raise PhotosError(f"{path} cannot be read any more: {error}") from error

        with _threads() as pool:
            for _ in pool.map(read, range(len(rows))):
                done += 1
                progress("decoding", done, total)
        target.flush()
    names = np.frombuffer(b"".join(digests[int(row)] for row in run.rows), np.uint8).reshape(len(run.rows), -1)
    np.savez(
        folder / "facts.npz", labels=dataset.labels[run.rows], digests=names,
        watched_labels=dataset.labels[run.watched],
    )  # fmt: skip


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode; on an error or Ctrl-C what has not begun is given up."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decoding")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tuned(run: _Run) -> Tuned | None:
    """The tuned network on the same pictures, where it was kept."""
    result = run.result
    if not result.fine_tuned or result.tuning is None:
        return None
    found = []
    for answers in (result.classifier.probabilities(result.features, run.watched), run.frozen.answers(run.watched)):
        rate = score(answers, result.dataset.labels[run.watched], result.dataset.classes, split=run.split).accuracy
        found.append(Estimate(rate.value, rate.low, rate.high))
    return Tuned(found[0], found[1], sum(result.tuning.seconds), result.tuning.took)


def _notes(run: _Run, seeds: int) -> list[str]:
    said, result, features = [], run.result, run.frozen.features
    if not heads.find(result.recipe.head).BY_EPOCHS:
        said.append(
            f"The classifier's {result.head.name} head is not trained by epochs. For this comparison a softmax of the"
            " same form was, on the same features."
        )
    if seeds == 1:
        said.append("There is one seed, so the intervals are those of the pictures alone.")
    if result.recipe.weights == "random":
        said.append("The reused network has random weights too: nothing was learnt before.")
    if features.hits:
        looks = features.hits + features.misses
        said.append(
            f"{features.hits:,} of {looks:,} features were found computed by earlier runs, so the seconds of the"
            " reused network are fewer than they would be for new pictures."
        )
    return said
