"""What choosing and fitting a head costs with many classes, against the trunk's pass over as many pictures.

    python bench/heads.py SHARED [ROUNDS]

Features are drawn: Gaussian classes in groups of near ones, a falling spectrum, cut off at zero as pooled features are,
with 8 % of the labels taken from the same group. The pass is that of EfficientNet-Lite0 over the pictures of
cats_vs_dogs into an empty store, decoding included, in the same round; its seconds are scaled to the number of
pictures. The head is the one that is left to the pictures (`auto`), folds are those of a run. What is measured on
further rows, drawn alike, was seen by nothing.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extraction import whole_pass
from headstart import calibration, few, heads, trunk
from headstart.dataset import Dataset
from headstart.heads import HeadData, log_loss
from headstart.worker import lazy
from processes import spread

CASES = {"96 classes × 22 pictures": (96, 22), "1,000 classes × 10 pictures": (1000, 10)}
WIDTH = 1280
FURTHER = 5  # rows of a class that are measured on


@dataclass(frozen=True)
class Drawn:
    """Features and labels to fit, and further ones to measure on."""

    features: np.ndarray
    labels: np.ndarray
    further: np.ndarray
    truth: np.ndarray


def draw(classes, rows, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows + FURTHER)
    falling = np.arange(1, WIDTH + 1) ** -0.5
    group = np.arange(classes) // 5
    centres = 0.7 * random.normal(size=(group.max() + 1, WIDTH))[group] + 0.5 * random.normal(size=(classes, WIDTH))
    inner = (centres[labels] + random.normal(size=(len(labels), WIDTH))) * falling
    features = inner @ random.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5
    features = np.maximum(features + 0.3 * features.std(), 0) * random.uniform(0.1, 3, WIDTH)
    first = group[labels] * 5
    other = random.integers(first, np.minimum(first + 5, classes))
    fitted = np.tile(np.arange(rows + FURTHER) < rows, classes)
    labels = np.where(random.random(len(labels)) < 0.08, other, labels)
    order = random.permutation(np.flatnonzero(fitted))
    features = features.astype(np.float16)
    return Drawn(features[order], labels[order], features[~fitted], labels[~fitted])


def fit(drawn, classes):
    """Seconds, strength, temperature, and the loss and accuracy on further rows."""
    folds = few.folds(drawn.labels, np.arange(len(drawn.labels)))
    data = HeadData(drawn.features, drawn.labels, classes, folds)
    start, busy = time.perf_counter(), time.process_time()
    head = heads.find("auto").fit(data)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    head, found = calibration.calibrate(head, drawn.labels)
    answers = head.predict(drawn.further)
    return {
        "seconds": seconds, "processor": busy, "name": head.name, "temperature": found.found,
        "strength": head.settings.get("strength"), "loss": log_loss(answers, drawn.truth),
        "accuracy": float((answers.argmax(axis=1) == drawn.truth).mean()),
    }  # fmt: skip


def main(shared, rounds=3):
    with lazy("openvino") as worker:
        compiled = trunk.prepare(trunk.spec("efficientnet_lite0"), worker).result()
    dataset = Dataset.open(Path(shared) / "data/cats_vs_dogs").digested()
    drawn = {name: draw(*case) for name, case in CASES.items()}
    told = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, (classes, rows) in CASES.items():
            rate = whole_pass(dataset, compiled)
            told[name].append({**fit(drawn[name], classes), "pass": classes * rows / rate})
    print(json.dumps(told))


def rows(told):
    """The table of `run.py`."""
    found = []
    for name, runs in told.items():
        shares = [run["seconds"] / run["pass"] for run in runs]
        first = runs[0]
        strength = f"strength {first['strength']:.2g}, " if first["strength"] else ""
        note = f"{spread(shares, '.2f')} of the pass (wanted 0.5 at most)"
        found += [
            (f"{name}, the pass", f"{spread([run['pass'] for run in runs], '.1f')} s", "scaled from 3,000 pictures"),
            (f"{name}, choice and head", f"{spread([run['seconds'] for run in runs], '.1f')} s", note),
            (
                f"{name}, the head ({first['name']})",
                f"loss {first['loss']:.3f}, accuracy {first['accuracy']:.3f} on further rows",
                f"{strength}temperature {first['temperature']:.2f};"
                f" {spread([run['processor'] for run in runs], '.1f')} s of processor",
            ),
        ]
    return found


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in sys.argv[2:3]))
