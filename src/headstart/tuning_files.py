"""What a worker is given to tune on, as files in one folder of the cache, and what it leaves there.

A folder is named by all that the outcome hangs on, so the same command finds the states of a run that was broken off,
and the result of one that was not. What is large is removed when a run is done; the activations stay in the feature
store.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from headstart import augment, checkpoints, images, trunk
from headstart.augment import View
from headstart.errors import NoRoomError
from headstart.features import Features, extract
from headstart.files import atomic_path, cache_folder
from headstart.heads import Head, Layer
from headstart.progress import Progress
from headstart.recipe import Recipe
from headstart.store import Store, size_limit
from headstart.trunk import Output, TrunkSpec
from headstart.tuning_rules import FROZEN, Settings
from headstart.worker import building_backend, lazy

VERSION = 1
"""Counts the changes to what the same inputs come to."""
VIEWS = 3
"""Views that are kept of each picture beside the picture as it is, where activations are tuned on."""
USUAL = {FROZEN: "light"}
FAR = "flip"
"""How pictures are changed where the recipe says nothing: a network that is trained sees each of them many times. Far
from the source's pictures what matters may be as fine as the pixels, so there they are mirrored and not resampled."""
_STOP, _AT_ONCE = "stop", 128


@dataclass(frozen=True)
class Job:
    """One training: its folder, and what the worker is told besides."""

    folder: Path
    spec: TrunkSpec
    outputs: tuple[Output, ...]
    boundary: str | None
    head: dict[str, Any]
    settings: Settings
    seed: int
    augment: dict[str, Any] | None

    @property
    def target(self) -> Path:
        """Where the tuned network goes."""
        return self.folder / "tuned.keras"

    def arguments(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder), "spec": self.spec.for_worker(),
            "outputs": [[output.layer, output.pooling] for output in self.outputs], "boundary": self.boundary,
            "head": self.head, "settings": self.settings.as_dict(), "seed": self.seed, "augment": self.augment,
        }  # fmt: skip

    def answers(self) -> np.ndarray:
        """What the network said of the judging pictures as its training ended."""
        found: np.ndarray = np.load(self.folder / "answers.npy", allow_pickle=False)
        return found

    def finished(self) -> dict[str, Any] | None:
        """What an earlier run of the same training came to; None where there was none."""
        with suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads((self.folder / "done.json").read_text())
            if self.target.is_file() and (self.folder / "tuned_head.npz").is_file():
                return told
        return None

    def finish(self, told: dict[str, Any]) -> None:
        """Note that it is done; the states are of no more use."""
        with atomic_path(self.folder / "done.json") as temporary:
            temporary.write_text(json.dumps(told))
        checkpoints.clear(self.folder)

    def head_layers(self, head: Head) -> tuple[Layer, ...]:
        """The tuned head: numbers of the worker in the layers of the frozen one."""
        with np.load(self.folder / "tuned_head.npz", allow_pickle=False) as stored:
            return tuple(
                Layer(stored[f"{number}_0"], stored[f"{number}_1"], layer.activation, layer.dropout)
                for number, layer in enumerate(head.layers)
            )

    def ask_to_stop(self) -> None:
        (self.folder / _STOP).touch()

    def may_go_on(self) -> None:
        (self.folder / _STOP).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Drop what can be made again from the feature store."""
        for name in ("train.npy", "judged.npy"):
            (self.folder / name).unlink(missing_ok=True)

    def tried(self) -> dict[str, Any] | None:
        """What an earlier trial of the same kind came to: a run that goes on decides as it did."""
        with suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads((self.folder / "trial.json").read_text())
            self.answers()
            return told
        return None

    def note_trial(self, told: dict[str, Any]) -> None:
        """Keep what a trial came to, and nothing else of it."""
        with atomic_path(self.folder / "trial.json") as temporary:
            temporary.write_text(json.dumps(told))
        self.tidy()


def augmentation(recipe: Recipe, batch_norm: str) -> dict[str, Any]:
    """How pictures are changed while a network is tuned: as the recipe says, else as suits near or far pictures."""
    chosen = augment.find(recipe.augment)
    return (chosen if chosen.changes else augment.find(USUAL.get(batch_norm, FAR))).as_dict()


def prepare(
    folder: Path, features: Features, spec: TrunkSpec, recipe: Recipe, store: Store, *, rows: np.ndarray,
    judge: np.ndarray, boundary: str | None, outputs: tuple[Output, ...], head: Head, settings: Settings,
    progress: Progress,
) -> Job:  # fmt: skip
    """Write what the worker is given; nothing is written anew for a training that is done.

    Args:
        features: of all pictures, for their data set and picture size.
        rows: to tune on; `judge` those to judge by.
        head: it begins with.
    """
    dataset = features.dataset
    shape = [
        {"units": int(layer.bias.size), "activation": layer.activation, "dropout": layer.dropout}
        for layer in head.layers
    ]  # fmt: skip
    told = {"name": head.name, "shape": shape, "options": _again(head, recipe)}
    looks = augmentation(recipe, settings.batch_norm)
    live = {"augmentation": looks, "seed": recipe.seed} if boundary is None else None
    job = Job(folder, spec, outputs, boundary, told, settings, recipe.seed, live)
    if job.finished() is not None or job.tried() is not None:
        return job
    folder.mkdir(parents=True, exist_ok=True)
    if boundary is None:
        _check_room(folder, len(rows) + len(judge), features.trunk.image_size)
    job.may_go_on()
    digests = dataset.digests or ()
    names = np.frombuffer(b"".join(digests[int(row)] for row in rows), np.uint8).reshape(len(rows), -1)
    every = np.eye(len(dataset.classes), dtype=np.float32)
    with atomic_path(folder / "facts.npz") as temporary:
        np.savez(temporary, targets=every[dataset.labels[rows]], digests=names,
                 judged_targets=every[dataset.labels[judge]])  # fmt: skip
    with atomic_path(folder / "head.npz") as temporary:
        np.savez(temporary, **{
            f"{number}_{index}": values
            for number, layer in enumerate(head.layers) for index, values in enumerate((layer.kernel, layer.bias))
        })  # fmt: skip
    if boundary is None:
        _pixels(features, rows, folder / "train.npy", progress)
        _pixels(features, judge, folder / "judged.npy", progress)
        return job
    kind = augment.find(looks)
    seen: tuple[View | None, ...] = (None, *(View(kind, recipe.seed, number) for number in range(VIEWS)))
    fitted, judging = set(rows.tolist()), set(judge.tolist())
    wanted = replace(spec, cuts=(boundary,), poolings=("flatten",))
    with lazy(building_backend()) as worker:
        found = extract(
            dataset, trunk.prepare(wanted, worker), store,
            views=lambda row: seen if row in fitted else (None,) if row in judging else (),
            progress=lambda done, total: progress("features of the boundary", done, total),
        )  # fmt: skip
    shape_ = found.outputs[0].shape
    _activations(found, rows, seen, folder / "train.npy", shape_)
    _activations(found, judge, (), folder / "judged.npy", shape_)
    return job


def most_numbers(looks: int) -> int:
    """Numbers a picture that a boundary may give so that so many looks fit into the feature store and onto the disk."""
    parent = next(folder for folder in (cache_folder(), *cache_folder().parents) if folder.exists())
    room = min(size_limit() // 2, shutil.disk_usage(parent).free // 3)
    return room // max(2 * looks, 1)


def _check_room(folder: Path, pictures: int, size: tuple[int, int]) -> None:
    needed, free = 3 * size[0] * size[1] * pictures, shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise NoRoomError(
            f"tuning keeps the decoded pictures in {folder.parent}: {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are"
            " free there.\nMake room, set HEADSTART_CACHE to another disk, or use a smaller --image-size."
        )


def _again(head: Head, recipe: Recipe) -> dict[str, Any]:
    """Options with which a head of this kind is fitted once more, without the search for what is known already."""
    strength = head.settings.get("strength")
    return {"strength": float(strength)} if head.name == "linear" and strength else dict(recipe.head_options)


def _activations(
    features: Features, rows: np.ndarray, seen: Sequence[View | None], target: Path, shape: tuple[int, ...]
) -> None:
    """What the boundary gives for some pictures, float16, through views (views, pictures, …) or as they are."""
    leading = (len(seen), len(rows)) if seen else (len(rows),)
    kept = np.lib.format.open_memmap(target, "w+", np.float16, (*leading, *shape))
    for number, view in enumerate(seen or (None,)):
        for start in range(0, len(rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            block = features.matrix(rows[some], view=view).reshape(-1, *shape)
            if seen:
                kept[number, some] = block
            else:
                kept[some] = block
    kept.flush()


def _pixels(features: Features, rows: np.ndarray, target: Path, progress: Progress) -> None:
    """Decoded pictures, uint8 (pictures, height, width, 3)."""
    dataset, size = features.dataset, features.trunk.image_size
    digests = dataset.digests or ()
    kept = np.lib.format.open_memmap(target, "w+", np.uint8, (len(rows), *size, 3))

    def read(row: int) -> np.ndarray:
        return images.decode(images.same_bytes(dataset.path(row), digests[row]), size)

    with ThreadPoolExecutor(cpu_count() or 1, thread_name_prefix="decoding") as pool:
        for place, pixels in enumerate(pool.map(read, map(int, rows))):
            kept[place] = pixels
            progress("decoding", place + 1, len(rows))
    kept.flush()
