"""Trainings that are killed at a random instant and begun again: do they end with the weights of one that was not?

Each kill has a cache of its own. SIGKILL goes to the whole process group of the command; the process that trains has a
session of its own, so it is left behind and has to notice. The same command follows at once. What is compared is every
array of the weights, bit by bit, with those of a run that nobody disturbed: of the `.keras` file, and, since that holds
the frozen network where the tuned one was not better, of the tuned network and its head in the cache.
"""

import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np

from processes import spread
from tune_pictures import some

WEIGHTS = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
_PATIENCE = 10
OPTIONS = (
    ("kills", 20, int, None, "kills in all, shared out among the ways of BatchNormalization", ("tune-kill",)),
    ("kill-batch-norm", ["auto", "adapt"], str, "+", "auto (as trials say), frozen, adapt, batch", ("tune-kill",)),
    ("kill-pictures", 200, int, None, "pictures that are trained on and measured", ("tune-kill",)),
    ("kill-after", 0.0, float, None, "share of the run before which nothing is killed", ("tune-kill",)),
    ("kill-seed", 0, int, None, "draws the instants", ("tune-kill",)),
)


def measure(shared, _rounds, work, *, given):
    photos = some(shared / "data/cats_vs_dogs/train", work / "kill-pictures", given.kill_pictures)
    ways, draw, rows = given.kill_batch_norm, random.Random(given.kill_seed), []
    for number, way in enumerate(ways):
        command = _command(photos, shared / WEIGHTS, way, work)
        whole = [_whole(command, work / f"kill-{way}-{name}") for name in ("reference", "control")]
        reference, seconds = whole[0][0], min(each[1] for each in whole)
        kills = given.kills // len(ways) + (number < given.kills % len(ways))
        done = [
            _killed(
                command,
                work / f"kill-{way}-{kill}",
                draw.uniform(given.kill_after, 1.0) * seconds,
                reference,
                limit=max(_PATIENCE * whole[0][1], 300),
            )
            for kill in range(kills)
        ]
        same = sum(each["same"] for each in done)
        plain = "the same weights" if whole[1][0] == reference else "OTHER weights"
        kept = "tuned and kept" if whole[0][2]["fine_tuned"] else "tuned, the frozen one is in the file"
        rows.append((
            f"BatchNormalization {way}: bitwise the weights of an undisturbed run", f"{same} of {len(done)}",
            f"wanted all; undisturbed {spread([each[1] for each in whole], '.1f')} s, and a second one, in a cache of"
            f" its own, has {plain}; {len(reference)} arrays of the file and of the tuned network; {kept}",
        ))  # fmt: skip
        for stage in dict.fromkeys(each["stage"] for each in sorted(done, key=lambda each: each["at"])):
            there = [each for each in done if each["stage"] == stage]
            rows.append((
                f"{way}, killed {stage}", f"{sum(each['same'] for each in there)} of {len(there)}",
                "; ".join(f"at {each['at']:.1f} s, {each['how']}" for each in there),
            ))  # fmt: skip
    return f"Tuning: SIGKILL at random instants, {given.kill_pictures} pictures, blocks=4, then the same command", rows


def _command(photos, weights, way, work):
    command = [sys.executable, "-m", "headstart", "train", photos, "--source", "mobilenetv2", "--weights", weights]
    command += ["--image-size", "96", "--fine-tune", "blocks=4", "--no-report", "--json"]
    if way != "auto":
        recipe = work / f"kill-{way}.yaml"
        recipe.write_text(json.dumps({"fine_tune_options": {"batch_norm": way}}))
        command += ["--recipe", recipe]
    return list(map(str, command))


def _started(command, folder, errors):
    """The command with a cache and a model of its own, in a process group of its own."""
    return subprocess.Popen(
        [*command, "-o", str(folder / "model.keras")], stdout=subprocess.PIPE, stderr=errors, text=True,
        start_new_session=True, env={**os.environ, "HEADSTART_CACHE": str(folder / "cache")},
    )  # fmt: skip


def _whole(command, folder, limit=None):
    """(weights, seconds, what it told) of a run to its end; ends the benchmark where it fails.

    Raises:
        subprocess.TimeoutExpired: it took longer than `limit` seconds, and was ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with open(folder / "errors.txt", "w+") as errors:
        process = _started(command, folder, errors)
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()[-2000:]}")
    seconds = time.perf_counter() - start
    found = {("model", *key): digest for key, digest in weights_of(folder / "model.keras").items()}
    for done in sorted((folder / "cache" / "tuning").glob("*/done.json")):  # what was judged, and what saw all pictures
        which, tuned = done.parent.name, weights_of(done.with_name("tuned.keras"))
        found.update({("tuned", which, *key): value for key, value in tuned.items()})
        with np.load(done.with_name("tuned_head.npz"), allow_pickle=False) as head:
            found.update({("head", which, name): head[name].tobytes() for name in head.files})
    if not any(key[0] == "tuned" for key in found):
        sys.exit(f"nothing was tuned, so nothing can be compared: {json.loads(out)['fine_tuning']['words']}")
    shutil.rmtree(folder)
    return found, seconds, json.loads(out)


def _killed(command, folder, after, reference, *, limit):
    """Kill a run, run it again, and compare; a run that ended sooner is tried again with a little less time.

    One that does not end within `limit` seconds counts as one whose weights are others.
    """
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with open(folder / "killed.txt", "w+") as errors:
            process = _started(command, folder, errors)
            try:
                process.wait(timeout=after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            finally:
                process.stdout.close()
        after *= 0.95
    stage = _stage(folder)
    (folder / "model.keras").unlink(missing_ok=True)
    try:
        weights, seconds, told = _whole(command, folder, limit)
    except subprocess.TimeoutExpired:
        print(f"killed {stage} at {after:.1f} s; the same command HANGS: {folder}", file=sys.stderr)
        return {"stage": stage, "same": False, "at": after, "how": f"HUNG for {limit:.0f} s when it was begun again"}
    same = weights == reference
    resumed = told["fine_tuning"]["resumed"]
    how = f"went on from step {resumed}" if resumed else "trained from the start"
    how = "took the training that was done" if stage.startswith("after") else how
    if not same:
        apart = [key for key, digest in reference.items() if weights.get(key) != digest]
        how += f", {len(apart)} of {len(reference)} arrays DIFFER"
    print(f"killed {stage} at {after:.1f} s, {how}; again {seconds:.1f} s", file=sys.stderr)
    return {"stage": stage, "same": same, "at": after, "how": how}


def _stage(folder):
    """Where the kill fell: by the last line that was told, and by what training had left on disk."""
    lines = [line.strip() for line in (folder / "killed.txt").read_text().splitlines() if line.strip()]
    states = [path.name for path in (folder / "cache").rglob("state-*.npz")]
    if (folder / "model.keras").exists():
        return "after the model was written"
    done = any((folder / "cache").rglob("done.json"))
    if states:
        return "in the training on all pictures, with a state on disk" if done else "in training, with a state on disk"
    if done:
        return "after training, before the model was written"
    if not lines:
        return "before anything was told"
    return f"in: {re.split(r'[:,] *[0-9]', lines[-1])[0]}"


def weights_of(model):
    """A digest of each array of a `.keras` file's weights, with its shape and type, by name."""
    import h5py

    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            array = item[...]
            text = f"{array.dtype} {array.shape} ".encode() + array.tobytes()
            found[name,] = hashlib.sha256(text).hexdigest()

    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as store:
        store.visititems(visit)
    if not found:
        sys.exit(f"{model} holds no weights that could be compared")
    return found
