"""What a worker is given to tune on, as files in one folder of the cache, and what it leaves there.

A folder is named by all that the outcome hangs on, so the same command finds the states of a run that was broken off,
and the result of one that was not. What is large is removed when a run is done; the activations stay in the feature
store.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
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
from headstart.files import atomic_path, cache_folder, file_digest
from headstart.heads import Head, Layer
from headstart.progress import Progress
from headstart.recipe import Recipe
from headstart.store import Store, size_limit
from headstart.trunk import Output, TrunkSpec
from headstart.tuning_rules import FROZEN, Settings
from headstart.worker import building_backend, lazy

VERSION = 2
"""Counts the changes to what the same inputs come to."""
VIEWS = 3
"""Views that are kept of each picture beside the picture as it is, where activations are tuned on."""
USUAL = {FROZEN: "light"}
FAR = "flip"
"""How pictures are changed where the recipe says nothing: a network that is trained sees each of them many times. Far
from the source's pictures what matters may be as fine as the pixels, so there they are mirrored and not resampled."""
_AT_ONCE = 128


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
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads((self.folder / "done.json").read_text())
            if noted["digests"] == self._digests():
                told: dict[str, Any] = noted["told"]
                return told
        return None

    def finish(self, told: dict[str, Any]) -> None:
        """Note that it is done; the states are of no more use."""
        with atomic_path(self.folder / "done.json") as temporary:
            temporary.write_text(json.dumps({"told": told, "digests": self._digests()}))
        checkpoints.clear(self.folder)

    def _digests(self) -> list[str]:
        """Of what the worker left, so that a file that was damaged since is not taken for a result."""
        return [file_digest(path) for path in (self.target, self.folder / "tuned_head.npz")]

    def head_layers(self, head: Head) -> tuple[Layer, ...]:
        """The tuned head: numbers of the worker in the layers of the frozen one."""
        with np.load(self.folder / "tuned_head.npz", allow_pickle=False) as stored:
            return tuple(
                Layer(stored[f"{number}_0"], stored[f"{number}_1"], layer.activation, layer.dropout)
                for number, layer in enumerate(head.layers)
            )

    def ask_to_stop(self) -> None:
        (self.folder / checkpoints.STOP).touch()

    def may_go_on(self) -> None:
        (self.folder / checkpoints.STOP).unlink(missing_ok=True)

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
    progress: Progress, views: int = VIEWS,
) -> Job:  # fmt: skip
    """Write what the worker is given, each file whole or not at all; nothing for a training that is done.

    Args:
        features: of all pictures, for their data set and picture size.
        rows: to tune on; `judge` those to judge by.
        head: it begins with.
        views: that are kept of each picture beside the picture as it is.

    Raises:
        InputError: there is no room for it.
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
    for path in folder.glob(".*"):  # of a process that was killed while it wrote
        path.unlink(missing_ok=True)
    job.may_go_on()
    job.tidy()
    digests = dataset.digests or ()
    names = np.frombuffer(b"".join(digests[int(row)] for row in rows), np.uint8).reshape(len(rows), -1)
    with atomic_path(folder / "facts.npz") as temporary:
        np.savez(temporary, targets=dataset.target_matrix(rows), digests=names,
                 judged_targets=dataset.target_matrix(judge))  # fmt: skip
    numbers: dict[str, Any] = {
        f"{number}_{index}": values
        for number, layer in enumerate(head.layers) for index, values in enumerate((layer.kernel, layer.bias))
    }  # fmt: skip
    with atomic_path(folder / "head.npz") as temporary:
        np.savez(temporary, **numbers)
    if boundary is None:
        _check_room(folder, (len(rows) + len(judge)) * 3 * math.prod(features.trunk.image_size))
        _pixels(features, rows, folder / "train.npy", progress)
        _pixels(features, judge, folder / "judged.npy", progress)
        return job
    kind = augment.find(looks)
    seen: tuple[View | None, ...] = (None, *(View(kind, recipe.seed, number) for number in range(views)))
    fitted, judging = set(rows.tolist()), set(judge.tolist())
    wanted = replace(spec, cuts=(boundary,), poolings=("flatten",))
    with lazy(building_backend()) as worker:
        found = extract(
            dataset, trunk.prepare(wanted, worker), store,
            views=lambda row: seen if row in fitted else (None,) if row in judging else (),
            progress=lambda done, total: progress("features of the boundary", done, total),
        )  # fmt: skip
    each = found.outputs[0].shape
    _check_room(folder, (len(seen) * len(rows) + len(judge)) * 2 * math.prod(each))
    _activations(found, rows, seen, folder / "train.npy", each)
    _activations(found, judge, (), folder / "judged.npy", each)
    return job


def most_numbers(looks: int) -> int:
    """Numbers a picture that a boundary may give so that so many looks fit into the feature store and onto the disk."""
    parent = next(folder for folder in (cache_folder(), *cache_folder().parents) if folder.exists())
    room = min(size_limit() // 2, shutil.disk_usage(parent).free // 3)
    return room // max(2 * looks, 1)


def _check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what would fill the disk."""
    free = shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise NoRoomError(
            f"fine-tuning keeps what it trains on in {folder.parent}: {needed / 1e6:,.0f} MB, and"
            f" {free / 1e6:,.0f} MB are free there.\nMake room, name another folder in HEADSTART_CACHE, tune fewer"
            " blocks, or leave it with --fine-tune off."
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
    blocks = (features.matrix(part, view=view) for view in seen or (None,) for part in _parts(rows))
    _written(target, np.float16, (*leading, *shape), blocks)


def _pixels(features: Features, rows: np.ndarray, target: Path, progress: Progress) -> None:
    """Decoded pictures, uint8 (pictures, height, width, 3)."""
    dataset, size = features.dataset, features.trunk.image_size
    digests = dataset.digests or ()

    def read(row: int) -> np.ndarray:
        return images.decode(images.same_bytes(dataset.path(row), digests[row]), size)

    def decoded() -> Iterator[np.ndarray]:
        done = 0
        with ThreadPoolExecutor(cpu_count() or 1, thread_name_prefix="decoding") as pool:
            for part in _parts(rows):  # so many are in memory at a time
                for pixels in pool.map(read, map(int, part)):
                    yield pixels
                    done += 1
                    progress("decoding", done, len(rows))

    _written(target, np.uint8, (len(rows), *size, 3), decoded())


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _written(target: Path, kind: type[np.generic], shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """An array that is never in memory as a whole, as a file that is whole or not there.

    Not through a map into memory: where the disk is full, writing to one ends the process.
    """
    facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        for block in blocks:
            file.write(np.ascontiguousarray(block, kind).data)
