"""Make the figures that docs/explain.md speaks of: headstart on the demo's pictures, with EfficientNet-Lite0.

    python tools/make_explain_figures.py     # some minutes; then: python tools/fill_pages.py

Writes docs/figures/explain.json and the drawings beside it. 200 pictures of each class are put aside for measuring and
decide nothing; all that varies is how a network is reused. Each number is the mean over `DRAWS` draws of the training
pictures. Everything is computed in float32, so that other processors come to the same digits but the last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figure_svg import chart

import headstart as hs
from headstart import heads, pictures
from headstart.heads import HeadData

FOLDER = Path(__file__).parents[1] / "docs/figures"
SOURCE = "efficientnet_lite0"
EARLY, MIDDLE, LAST = "block1a_project_bn", "block6b_add", "top_activation"
HELD_OUT, DRAWS, MANY = 200, 3, 300
FEW = (2, 5, 10, 20, 50, 100, MANY)
EPOCHS = 20
NETWORKS = {"pretrained": "imagenet", "untrained": "random"}


class Bench:
    """The demo's pictures, parted once, and features of every cut of both networks."""

    def __init__(self) -> None:
        self.photos = pictures.find("textile").open()
        self.labels = self.photos.labels
        draws = np.random.default_rng(0)
        mixed = [draws.permutation(np.flatnonzero(self.labels == c)) for c in range(len(self.photos.classes))]
        self.test = np.concatenate([rows[:HELD_OUT] for rows in mixed])
        self.pool = [rows[HELD_OUT:] for rows in mixed]
        self.features = {
            name: hs.features(self.photos, SOURCE, pooling="avg", weights=weights) for name, weights in NETWORKS.items()
        }
        self.cuts = [output.layer for output in self.features["pretrained"].outputs]

    def other(self, pooling: str) -> hs.Features:
        """The pretrained network at the middle cut, pooled in another way."""
        return hs.features(self.photos, SOURCE, cut=MIDDLE, pooling=pooling)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """`count` training pictures of each class."""
        draws = np.random.default_rng([seed, count])
        return np.concatenate([draws.permutation(rows)[:count] for rows in self.pool])

    def fit(
        self, features: hs.Features, cut: str, count: int, *, seed: int = 0, head: str = "linear", **options: Any
    ) -> tuple[hs.Head, float, np.ndarray]:
        """The fitted head, its accuracy on the pictures put aside, and there the share named right of each class."""
        outputs = [output for output in features.outputs if output.layer == cut]
        rows, truth = self.draw(count, seed), self.labels[self.test]
        aside = features.matrix(self.test, outputs)
        data = HeadData(
            features.matrix(rows, outputs), self.labels[rows], len(self.photos.classes), np.arange(len(rows)) % 5, seed,
            watch=(aside, truth),
        )  # fmt: skip
        fitted: hs.Head = heads.find(head).fit(data, options=options, progress=None)
        right = fitted.predict(aside).argmax(axis=1) == truth
        return fitted, float(right.mean()), np.array([right[truth == c].mean() for c in range(data.classes)])

    def before(self, features: hs.Features, cut: str, seed: int) -> float:
        """Accuracy of the dense head as its training begins."""
        aside = features.matrix(self.test, [output for output in features.outputs if output.layer == cut])
        classes = len(self.photos.classes)
        layers = heads.find("dense").untrained(aside.shape[1], classes, options={}, seed=seed)
        return float((heads.apply(layers, aside).argmax(axis=1) == self.labels[self.test]).mean())

    def mean(self, features: hs.Features, cut: str, count: int, **more: Any) -> float:
        """Mean accuracy over the draws."""
        return _round(np.mean([self.fit(features, cut, count, seed=seed, **more)[1] for seed in range(DRAWS)]))


def few(bench: Bench) -> dict[str, Any]:
    """Accuracy over the number of training pictures."""
    lines = {
        "pretrained": [bench.mean(bench.features["pretrained"], MIDDLE, count) for count in FEW],
        "untrained, same cut": [bench.mean(bench.features["untrained"], MIDDLE, count) for count in FEW],
        "untrained, first block": [bench.mean(bench.features["untrained"], EARLY, count) for count in FEW],
    }
    _draw(
        "few", "What reuse is worth, by number of training pictures", FEW, lines, log=True,
        x_label="training pictures of each class", y_label="accuracy",
    )  # fmt: skip
    names = ("pretrained", "untrained", "untrained_early")
    return {name: dict(zip(map(str, FEW), line, strict=True)) for name, line in zip(names, lines.values(), strict=True)}


def cuts(bench: Bench) -> dict[str, Any]:
    """Accuracy over where the network is cut."""
    lines = {name: [bench.mean(features, cut, MANY) for cut in bench.cuts] for name, features in bench.features.items()}
    _draw(
        "cuts", f"Cut by cut, {MANY} pictures of each class", range(len(bench.cuts)), lines,
        x_label="where the network is cut: first block to last layer", y_label="accuracy",
        x_names=[cut.split("_")[0].removeprefix("block") for cut in bench.cuts],
    )  # fmt: skip
    best = int(np.argmax(lines["pretrained"]))
    return {
        **{name: dict(zip(bench.cuts, line, strict=True)) for name, line in lines.items()},
        "best": bench.cuts[best], "best_accuracy": lines["pretrained"][best], "last": lines["pretrained"][-1],
        "count": len(bench.cuts), "untrained_best": max(lines["untrained"]), "untrained_last": lines["untrained"][-1],
    }  # fmt: skip


def pooling(bench: Bench) -> dict[str, Any]:
    """Pooled against flattened features at the middle cut, few and many pictures."""
    counts = (10, 100, MANY)
    found: dict[str, Any] = {}
    head = ["pooling", "numbers a picture", *(f"{count} a class" for count in counts)]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in ("avg", "max", "flatten"):
        features = bench.other(name)
        size = sum(output.dimensions for output in features.outputs)
        line = [bench.mean(features, MIDDLE, count) for count in counts]
        found[name] = {"dimensions": size, **dict(zip(map(str, counts), line, strict=True))}
        rows.append(f"| `{name}` | {size:,} | {' | '.join(f'{value:.3f}' for value in line)} |")
    return {**found, "table": "\n".join(rows)}


def epochs(bench: Bench) -> dict[str, Any]:
    """A dense head by epochs: where it starts, how fast it climbs, where it ends."""
    lines = {
        f"{name}{label}": _curve(bench, features, cut)
        for name, features, cut, label in (
            ("pretrained", bench.features["pretrained"], MIDDLE, ""),
            ("untrained", bench.features["untrained"], MIDDLE, ", same cut"),
            ("untrained", bench.features["untrained"], EARLY, ", first block"),
        )
    }
    _draw(
        "epochs", f"A dense head, epoch by epoch, {MANY} pictures of each class", range(EPOCHS + 1), lines,
        x_label="epochs of training", y_label="accuracy",
    )  # fmt: skip
    names = ("pretrained", "untrained", "untrained_early")
    return {
        name: {
            "before": line[0], "first": line[1], "gain": _round(line[1] - line[0]),
            "end": _round(np.mean(line[-5:])), "curve": line,
        }
        for name, line in zip(names, lines.values(), strict=True)
    }  # fmt: skip


def _curve(bench: Bench, features: hs.Features, cut: str) -> list[float]:
    """Accuracy before training and after each epoch, mean over the draws."""
    curves = []
    for seed in range(DRAWS):
        fitted, _, _ = bench.fit(features, cut, MANY, seed=seed, head="dense", epochs=EPOCHS, patience=None)
        curves.append([bench.before(features, cut, seed), *(fitted.history or {})["val_accuracy"]])
    return [_round(value) for value in np.mean(curves, axis=0)]


def dropout(bench: Bench) -> dict[str, Any]:
    """A wide head on flattened features of few pictures, with dropout and without."""
    features, lines, found = bench.other("flatten"), {}, {}
    for name, share in (("without", 0.0), ("with", 0.5)):
        layers = [{"dropout": share}] * (share > 0) + [{"dense": 256, "activation": "relu"}]
        layers += [{"dropout": share}] * (share > 0)
        history = [
            bench.fit(
                features, MIDDLE, 50, seed=seed, head="dense", layers=layers, epochs=EPOCHS, patience=None,
                learning_rate=1e-4,
            )[0].history
            for seed in range(DRAWS)
        ]  # fmt: skip
        mean = {
            key: np.mean([h[key] for h in history if h], axis=0) for key in ("accuracy", "val_accuracy", "val_loss")
        }
        lines[f"training, {name}"] = [_round(v) for v in mean["accuracy"]]
        lines[f"put aside, {name}"] = [_round(v) for v in mean["val_accuracy"]]
        found[name] = {
            "training": _round(mean["accuracy"][-1]), "aside": _round(mean["val_accuracy"][-5:].mean()),
            "loss": _round(mean["val_loss"][-1]), "least_loss": _round(mean["val_loss"].min()),
            "least_at": int(mean["val_loss"].argmin()) + 1,
            "by_heart": int(np.argmax(mean["accuracy"] >= 0.98)) + 1,  # the first epoch with 98 % of training right
        }  # fmt: skip
    _draw(
        "dropout", "A wide head without dropout and with it, 50 pictures of each class", range(1, EPOCHS + 1), lines,
        x_label="epoch", y_label="accuracy",
    )  # fmt: skip
    return found


def widths(bench: Bench) -> dict[str, Any]:
    """Heads of one, two and three layers on the same features."""
    wide = {"dense": 256, "activation": "relu"}
    features = bench.features["pretrained"]
    options = {"head": "dense", "epochs": EPOCHS, "patience": None}
    return {
        "linear": bench.mean(features, MIDDLE, MANY),
        "one_hidden": bench.mean(features, MIDDLE, MANY, layers=[wide, {"dropout": 0.2}], **options),
        "two_hidden": bench.mean(features, MIDDLE, MANY, layers=[wide, {"dropout": 0.5}, wide], **options),
    }


def classes(bench: Bench) -> dict[str, Any]:
    """The share named right of each class, with few and with many training pictures."""
    found = {
        str(count): np.mean(
            [bench.fit(bench.features["pretrained"], MIDDLE, count, seed=seed)[2] for seed in range(DRAWS)], axis=0
        )
        for count in (5, MANY)
    }
    return {count: dict(zip(bench.photos.classes, map(_round, shares), strict=True)) for count, shares in found.items()}


def demo() -> dict[str, Any]:
    """What `headstart.train` says of the whole set, all choices left to it."""
    result = hs.train(pictures.find("textile").open(), fine_tune="off")
    rate = result.accuracy
    return {
        "cut": result.recipe.cut, "pooling": result.recipe.pooling, "before": _round(result.before.accuracy.value),
        "accuracy": _round(rate.value), "low": _round(rate.low), "high": _round(rate.high), "n": rate.n,
        "verdict": result.verdict,
    }  # fmt: skip


def _round(value: Any) -> float:
    return round(float(value), 4)


def _margin(count: int) -> float:
    """How far a rate of 0.7 from so many pictures may lie from the truth, half its 95 % interval."""
    low, high = hs.wilson(round(0.7 * count), count)
    return _round((high - low) / 2)


def _draw(name: str, title: str, x: Sequence[float], lines: dict[str, list[float]], **more: Any) -> None:
    (FOLDER / f"{name}.svg").write_text(chart(title, list(x), lines, **more), "utf-8")


def main() -> None:
    os.environ["HEADSTART_PRECISION"] = "f32"
    FOLDER.mkdir(exist_ok=True)
    bench = Bench()
    found = {
        "pictures": {
            "held_out": len(bench.test),
            "classes": len(bench.photos.classes),
            "draws": DRAWS,
            "many": MANY,
            "margin": _margin(len(bench.test)),
        },
        **{part.__name__: part(bench) for part in (few, cuts, pooling, epochs, dropout, widths, classes)},
        "demo": demo(),
    }
    (FOLDER / "explain.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
