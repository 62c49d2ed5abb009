"""Plant faults in a copy of a picture set, and count how many of them `headstart check` and `headstart train` find.

    python bench/planted.py PHOTOS [--seed 0] [--pictures N] [--source auto|none|NAME]

Planted into a copy of a set with or without splits, all drawn by the seed:

- 50 duplicates: a file copied byte for byte into another split (of the set's own, else into the other part of a table);
- 50 near-duplicates likewise, re-encoded as JPEG of quality 40 to 90, each with up to three of: resized by 0.5 to 1.2,
  cropped by up to 5 % of each side, brightness by 0.8 to 1.2;
- 40 pictures moved to another class;
- 20 damaged files: cut off, overwritten, emptied, or no picture at all.

A duplicate or near-duplicate is found where one finding names both files; a label where a `suspect_label` names the
file; a damaged file where an `unreadable` does. Precision counts what is named and was not planted against it, though
the set may well have faults of its own: what is said of the untouched set is given beside it.
"""

import argparse
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageEnhance

from headstart.dataset import Dataset
from headstart.splitting import split

PYTHON = sys.executable
DUPLICATES, NEAR, SWAPPED, DAMAGED = 50, 50, 40, 20
TWINS = {"duplicate", "near_duplicate", "leak", "two_labels"}


@dataclass
class Planted:
    """What was planted, as file names in the copy: pairs of twins, swapped files, damaged files."""

    duplicates: list = field(default_factory=list)
    near: list = field(default_factory=list)
    swapped: list = field(default_factory=list)
    damaged: list = field(default_factory=list)


def plant(photos, folder, seed=0, pictures=None):
    """Copy a set into `folder` with train/ and validation/, and plant faults; returns what was planted."""
    rng = random.Random(seed)
    dataset = split(Dataset.open(photos), seed=seed)
    rows = [row for row in range(len(dataset)) if dataset.splits[row] != "left out" and dataset.labels[row] >= 0]
    if pictures is not None and pictures < len(rows):
        rows = sorted(rng.sample(rows, pictures))
    place = {}
    for row in rows:
        part = "train" if dataset.splits[row] == "train" else "validation"
        place[row] = f"{part}/{dataset.names[row]}/{row:05d}{Path(dataset.files[row]).suffix.lower()}"
        target = folder / place[row]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(dataset.path(row), target)
    drawn = rng.sample(rows, DUPLICATES + NEAR + SWAPPED + DAMAGED)  # each picture has one fault at most
    parts = [drawn[:DUPLICATES], drawn[DUPLICATES : DUPLICATES + NEAR]]
    swapped, damaged = drawn[DUPLICATES + NEAR : -DAMAGED], drawn[-DAMAGED:]
    planted = Planted()
    for number, row in enumerate(parts[0] + parts[1]):
        part, name, _ = place[row].split("/")
        twin = f"{'validation' if part == 'train' else 'train'}/{name}/twin{number:03d}{Path(place[row]).suffix}"
        same = number < DUPLICATES
        if same:
            shutil.copy(folder / place[row], folder / twin)
        else:
            twin = str(Path(twin).with_suffix(".jpg"))
            (folder / twin).write_bytes(altered(folder / place[row], rng))
        (planted.duplicates if same else planted.near).append((place[row], twin))
    for row in swapped:
        part, name, file = place[row].split("/")
        other = rng.choice([each for each in dataset.classes if each != name])
        shutil.move(folder / place[row], folder / part / other / file)
        planted.swapped.append(f"{part}/{other}/{file}")
    for number, row in enumerate(damaged):
        damage(folder / place[row], number, rng)
        planted.damaged.append(place[row])
    return planted


def altered(path, rng):
    """A picture saved anew as a JPEG, resized, cropped and brightened, or some of these, or none."""
    picture = Image.open(path).convert("RGB")
    kinds = rng.sample(["resize", "crop", "brightness"], rng.randint(0, 3))
    if "crop" in kinds:
        width, height = picture.size
        left, upper, right, lower = (rng.uniform(0, 0.05) for _ in range(4))
        picture = picture.crop(
            (int(left * width), int(upper * height), width - int(right * width), height - int(lower * height))
        )
    if "resize" in kinds:
        scale = rng.uniform(0.5, 1.2)
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    if "brightness" in kinds:
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.8, 1.2))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=rng.randint(40, 90))
    return file.getvalue()


def damage(path, number, rng):
    """Make a picture file unreadable in one of four ways."""
    data = bytearray(path.read_bytes())
    if number % 4 == 0:
        data = data[: int(len(data) * rng.uniform(0.3, 0.8))]  # a download that broke off
    elif number % 4 == 1:
        data[:64] = rng.randbytes(64)
    elif number % 4 == 2:
        data = bytearray()
    else:
        data = bytearray(b"<!doctype html><title>404</title>")
    path.write_bytes(data)


def found(command, cache=None):
    """The findings of one command, and its JSON."""
    import os

    environment = {**os.environ, **({"HEADSTART_CACHE": str(cache)} if cache else {})}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    return told["findings"], told


def judge(findings, planted, rows=None):
    """For each kind of fault (found, planted, named in all); `rows` keeps to files that the command judged."""
    pairs = {frozenset(pair) for pair in planted.duplicates}
    near = {frozenset(pair) for pair in planted.near}
    groups = [set(finding["files"]) for finding in findings if finding["kind"] in TWINS]
    spoken = {kind: {f for x in findings if x["kind"] == kind for f in x["files"]} for kind in
              ("suspect_label", "unreadable")}  # fmt: skip
    swapped = {file for file in planted.swapped if rows is None or rows(file)}
    damaged = set(planted.damaged)
    true = [group for group in groups if any(pair <= group for pair in pairs | near)]
    return {
        "duplicates": (sum(any(p <= g for g in groups) for p in pairs), len(pairs), None),
        "near-duplicates": (sum(any(p <= g for g in groups) for p in near), len(near), None),
        "groups of twins": (len(true), len(groups), len(groups)),
        "swapped labels": (len(swapped & spoken["suspect_label"]), len(swapped), len(spoken["suspect_label"])),
        "damaged files": (len(damaged & spoken["unreadable"]), len(damaged), len(spoken["unreadable"])),
    }


def measure(photos, work, *, seed=0, pictures=None, source="auto", train=True):
    """Rows of (what, found, note) for a planted copy, by `check` and by `train`, and for the untouched set."""
    folder = work / f"planted-{seed}"
    planted = plant(photos, folder, seed=seed, pictures=pictures)
    rows = []
    headstart, cache = [PYTHON, "-m", "headstart"], work / "cache"
    findings, _ = found([*headstart, "check", folder, "--source", source, "--json"], cache)
    rows += _told("check", judge(findings, planted))
    if train:
        options = ["--no-report", "--fine-tune", "off", "--json"]
        command = [*headstart, "train", folder, "-o", work / "planted.keras", *options]
        findings, _ = found([*command, *(["--source", source] if source not in ("auto", "none") else [])], cache)
        rows += _told("train", judge(findings, planted, rows=lambda file: file.startswith("train/")))
    findings, told = found([*headstart, "check", photos, "--source", source, "--json"], cache)
    said = ", ".join(f"{count} {kind}" for kind, count in told["counts"].items()) or "nothing"
    rows.append(("check, the untouched set", said, f"of {told['images']:,} pictures"))
    shutil.rmtree(folder)
    return rows


def _told(command, judged):
    rows = []
    for what, (right, there, named) in judged.items():
        if what == "groups of twins":
            rows.append((f"{command}: groups of twins named", f"{there}", f"{right} of them planted"))
            continue
        note = "" if named is None else f"{named} named, precision {right / named:.2f}" if named else "none named"
        if command == "train" and what == "swapped labels":
            note += "; of those in train/, whose labels a training judges"
        rows.append((f"{command}: {what}", f"{right} of {there} found", note))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, help="a sample of so many, in place of all")
    parser.add_argument("--source", default="auto")
    parser.add_argument("--no-train", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headstart-planted-") as folder:
        for row in measure(
            given.photos, Path(folder), seed=given.seed, pictures=given.pictures, source=given.source,
            train=not given.no_train,
        ):  # fmt: skip
            print(" | ".join(row))


if __name__ == "__main__":
    main()
