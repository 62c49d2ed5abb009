"""Which filter to bring pictures to size with: out-of-fold loss of the linear head on training pictures alone.

    python bench/filters.py PHOTOS SOURCE SIZE [WEIGHTS]

For cats_vs_dogs and trashnet6, each with MobileNetV2 at 160 px and EfficientNet-Lite0 at 224 px, bicubic had less loss
than bilinear and Hamming in all four, and was level with Lanczos (two each), which takes longer: so it is used.
"""

import json
import sys

import numpy as np
from PIL import Image

from headstart import trunk
from headstart.dataset import Dataset
from headstart.heads import HeadData, linear
from headstart.splits import folds
from headstart.worker import building_backend, lazy

FILTERS = {name: Image.Resampling[name] for name in ("BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")}


def main(photos: str, source: str, size: str, weights: str = "imagenet") -> None:
    dataset = Dataset.open(photos)
    rows = dataset.split_indices("train") if "train" in dataset.splits else np.arange(len(dataset))
    with lazy(building_backend()) as worker:
        wanted = trunk.spec(source, image_size=(int(size), int(size)), weights=weights, pooling="avg")
        compiled = trunk.prepare(wanted, worker).result()
    engine = compiled.load()
    for name, kind in FILTERS.items():
        features = np.concatenate(list(batches(dataset, rows, engine, int(size), kind)))[: len(rows)]
        labels = dataset.labels[rows]
        head = linear.fit(HeadData(features, labels, len(dataset.classes), folds(labels, seed=0)))
        print(json.dumps({"filter": name.lower(), "accuracy": round(head.accuracy, 4), "loss": round(head.loss, 4)}))


def batches(dataset, rows, engine, size, kind):
    """Features at the last cut, a batch at a time; the last batch is filled up with its own first picture."""
    for start in range(0, len(rows), engine.batch_size):
        some = [decoded(dataset.path(row), size, kind) for row in rows[start : start + engine.batch_size]]
        some += some[:1] * (engine.batch_size - len(some))
        yield engine.infer(np.stack(some))[-1]


def decoded(path, size, kind):
    with Image.open(path) as picture:
        picture.draft("RGB", (size, size))
        return np.asarray(picture.convert("RGB").resize((size, size), kind))


if __name__ == "__main__":
    main(*sys.argv[1:5])
