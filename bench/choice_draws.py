"""Picture sets by name, altered copies of them, their features, and what the tasks of `choice_tasks` draw by seed.

Draws are files, so that each revision is given the same rows. What hangs together with a picture that was drawn is
never measured on.
"""

import functools
import hashlib
import json
import os
import zlib
from dataclasses import asdict, replace

import numpy as np
from PIL import Image

import choice_rivals
from choice_tasks import LOOK_ALIKES, SHARE
from headstart import alike, pictures, trunk
from headstart.dataset import Dataset
from headstart.features import extract
from headstart.splitting import once, together
from headstart.store import Store
from headstart.worker import building_backend, lazy

MOST = 1_000
"""Pictures that are measured on in a draw, at most."""
SIDE = 64


@functools.cache
def opened(name, shared, cache):
    """A set by its name, hashed and tied; what was tied is kept in a file, so that each revision sees the same."""
    base, _, how = name.partition(":")
    dataset = pictures.find("textile").open() if base == "textile" else Dataset.open(shared / "data" / base)
    if how:
        dataset = Dataset.open(_altered(dataset, how, cache / "made" / f"{base}_{how}"))
    dataset, kept = dataset.digested(), cache / "sets" / f"{name.replace(':', '_')}.json"
    listing = hashlib.sha256("\0".join(dataset.files).encode() + b"".join(dataset.digests)).hexdigest()
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("listing") != listing:
        with Store() as store:
            tied, looks = alike.look_over(dataset, store)
        known = {"listing": listing, "alike": list(tied.alike), "bad": sorted(map(int, looks.bad))}
        write(kept, known)
    return replace(dataset, alike=tuple(known["alike"]), findings=()), known


def write(path, told):
    """JSON that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(told, default=float))
    part.replace(path)


def _altered(dataset, how, folder):
    """A copy in grey or of 64 × 64 pixels, the same bytes at every making."""
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        for row in range(len(dataset)):
            target = part / (str(dataset.splits[row]) or ".") / dataset.names[row] / f"{row}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(dataset.path(row)) as image:
                if how == "grey":
                    image.convert("L").save(target, compress_level=1)
                else:
                    image = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                    image.save(target, compress_level=1)
        part.rename(folder)
    return folder


def features_of(dataset):
    """float16 of shape (pictures, dimensions), the rows of unreadable pictures zero, and its outputs."""
    with lazy(building_backend()) as worker, Store() as store:
        found = extract(dataset, trunk.prepare(trunk.spec("efficientnet_lite0"), worker), store)
        good = np.array([row for row in range(len(dataset)) if row not in found.bad], int)
        matrix = np.zeros((len(dataset), sum(output.dimensions for output in found.outputs)), np.float16)
        matrix[good] = found.matrix(good)
    return matrix, [(output.layer, output.pooling, output.dimensions) for output in found.outputs]


def draws(task, seeds, shared, cache):
    """The draws of a task, from the file that keeps them; those of seeds that it lacks are made."""
    path = cache / "draws" / f"{task.name}.json"
    dataset, known = opened(task.pictures, shared, cache)
    fresh = {"task": json.loads(json.dumps(asdict(task))), "listing": known["listing"], "seeds": {}}
    kept = json.loads(path.read_text()) if path.exists() else fresh
    if any(kept[name] != fresh[name] for name in ("task", "listing")):
        kept = fresh
    lacking = [seed for seed in range(seeds) if str(seed) not in kept["seeds"]]
    if lacking:
        features_of(dataset)  # now, so that no choice pays for the pass
        sound = ~np.isin(np.arange(len(dataset)), known["bad"]) & (dataset.labels >= 0)
        if "classes" not in kept:
            alike_two = task.classes == (LOOK_ALIKES,)
            kept["classes"] = _look_alikes(dataset, sound) if alike_two else task.classes or dataset.classes
        sound &= np.isin(dataset.names, kept["classes"])
        for seed in lacking:
            kept["seeds"][str(seed)] = _draw(task, dataset, sound, seed)
        write(path, kept)
    return dataset, kept


def _draw(task, dataset, sound, seed):
    group, labels = together(dataset), dataset.labels
    random = np.random.default_rng([seed, zlib.crc32(task.name.encode())])
    pool = np.flatnonzero(sound & (dataset.splits == "train")) if task.apart else np.flatnonzero(sound)
    drawn = []
    for label in np.unique(labels[pool]):
        rows = random.permutation(pool[labels[pool] == label])
        drawn += _some_of_each_group(rows, group, labels, task.each) if task.each else _share(rows, group)
    side = dataset.splits == "validation" if task.apart else True
    rest = np.flatnonzero(sound & side & ~np.isin(group, group[drawn]))
    rest = once(dataset, random.permutation(rest))[:MOST]
    return {"train": sorted(map(int, drawn)), "test": sorted(map(int, rest))}


def _some_of_each_group(rows, group, labels, count):
    """Pictures of as many groups, none of which has pictures of other classes."""
    chosen = {}
    for row in rows:
        if len(chosen) < count and len(np.unique(labels[group == group[row]])) == 1:
            chosen.setdefault(int(group[row]), int(row))
    return list(chosen.values())


def _share(rows, group):
    """Whole groups, in the order of their first pictures, until the share is reached."""
    taken = []
    for one in dict.fromkeys(group[rows].tolist()):
        if len(taken) < SHARE * len(rows):
            taken += rows[group[rows] == one].tolist()
    return taken


def _look_alikes(dataset, sound):
    """The two classes that a ridge classifier on the deepest layer confuses most, on training pictures out of fold.

    Both must have pictures to measure on.
    """
    matrix, outputs = features_of(dataset)
    rows = np.flatnonzero(sound & (dataset.splits == "train"))
    deepest = next(at for at, output in enumerate(outputs) if output[:2] == (outputs[-1][0], "avg"))
    start = sum(width for _, _, width in outputs[:deepest])
    X, y = matrix[rows, start : start + outputs[deepest][2]], dataset.labels[rows]
    folds = choice_rivals.folds(y, together(dataset)[rows], seed=0)
    said = choice_rivals.Ridge(X, y, folds).out_of_fold.argmax(axis=1)
    table = np.zeros((len(dataset.classes),) * 2)
    np.add.at(table, (y, said), 1)
    measurable = np.bincount(dataset.labels[sound & (dataset.splits == "validation")], minlength=len(table)) > 0
    count = table.sum(axis=1)
    rate = np.triu((table + table.T) / (count[:, None] + count[None]), 1) * np.outer(measurable, measurable)
    return [dataset.classes[at] for at in np.unravel_index(rate.argmax(), rate.shape)]


def drawn(dataset, kept, seed):
    """One draw: a set with the splits `train` and `validation`, and the rows of both."""
    rows = kept["seeds"][str(seed)]
    classes = tuple(sorted(kept["classes"]))
    part = dataset.take([*rows["train"], *rows["test"]])
    splits = np.repeat(["train", "validation"], [len(rows["train"]), len(rows["test"])])
    labels = [classes.index(name) for name in part.names]
    part = replace(part, labels=np.array(labels), classes=classes, splits=splits, groups=None)
    return part, np.array(rows["train"]), np.array(rows["test"])
