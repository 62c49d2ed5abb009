"""Which rule finds pictures that are none of the classes: four of them on the same features.

    python bench/rejection.py ../shared [SOURCE ...]

A rule scores the held-back pictures of a data set and pictures of another one; AUROC is how often the other one's
picture is the stranger of a pair. The nearest-neighbour rule was chosen on these pairs: its two constants (which share
of the references k is, how many references there are) with EfficientNet-Lite0, that joined features count the same with
both networks. So its figures flatter it a little. The left-out classes chose nothing.
"""

import json
import sys
from pathlib import Path

import numpy as np

from headstart import pictures, rejection
from headstart.dataset import Dataset
from headstart.features import extract
from headstart.heads import HeadData, linear
from headstart.intervals import wilson
from headstart.recipe import Recipe
from headstart.splits import folds
from headstart.splitting import together
from headstart.store import Store
from headstart.train import train

PAIRS = (("cats_vs_dogs", "trashnet6"), ("textile", "cats_vs_dogs"), ("trashnet6", "cats_vs_dogs"))
STRANGERS = 1_000
"""Pictures of the other set that are looked at, at most."""
MOBILENET = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"


# ---- rules: each is fitted on training features and labels, and gives a function from features to strangeness --------


def softmax(features, labels, layer):
    """The probability of the answer, the other way round (Hendrycks and Gimpel 2017, arXiv 1610.02136)."""
    del features, labels

    def strange(seen):
        logits = seen @ layer.kernel + layer.bias
        return -1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)

    return strange


def energy(features, labels, layer):
    """Minus the logarithm of the sum of the exponentials of the logits (Liu et al. 2020, arXiv 2010.03759)."""
    del features, labels

    def strange(seen):
        logits = seen @ layer.kernel + layer.bias
        top = logits.max(axis=1)
        return -top - np.log(np.exp(logits - top[:, None]).sum(axis=1))

    return strange


def mahalanobis(features, labels, layer):
    """The distance to the nearest class mean under one covariance (Lee et al. 2018, arXiv 1807.03888)."""
    del layer
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    numbers = np.unique(labels, return_inverse=True)[1]
    values, vectors = np.linalg.eigh(ledoit_wolf(features - means[numbers]))
    whiten = (vectors / np.sqrt(values)).astype(np.float32)
    centres = means @ whiten

    def strange(seen):
        points = seen @ whiten
        return ((points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)).min(axis=1)

    return strange


def neighbours(features, labels, layer):
    """headstart's own rule, each picture a group of its own and all features one part."""
    del layer
    return rejection.fit(features, labels, np.arange(len(labels))).scores


RULES = {"maximum softmax": softmax, "energy": energy, "Mahalanobis": mahalanobis, "nearest neighbours": neighbours}


def ledoit_wolf(centred):
    """The covariance of centred rows, shrunk to a multiple of the identity by as much as costs least in expectation.

    Closed form of Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88, lemma 3.3 on: `apart` is how far the sample covariance lies from the multiple
    of the identity, `noise` how much of that is due to the rows being few.
    """
    rows = np.asarray(centred, np.float64)
    count, width = rows.shape
    sample = rows.T @ rows / count
    scale = np.trace(sample) / width
    apart = (sample**2).sum() - width * scale**2
    noise = min((((rows**2).sum(axis=1) ** 2).sum() / count - (sample**2).sum()) / count, apart)
    shrinkage = noise / apart if apart > 0 else 1.0
    return (1 - shrinkage) * sample + shrinkage * scale * np.eye(width)


# ---- figures ---------------------------------------------------------------------------------------------------------


def auroc(known, strange):
    """The share of pairs in which the stranger scores higher, ties counted half, with its 95 % interval.

    The interval is the fifth of Newcombe 2006, Statistics in Medicine 25:559-573: the values of AUROC whose standard
    error (Hanley and McNeil's, for exponential scores) does not put the one that was found beyond 1.96 of it. It is not
    empty where every pair is right.
    """
    order = np.sort(known)
    below, not_above = np.searchsorted(order, strange, "left"), np.searchsorted(order, strange, "right")
    found = float((below + not_above).sum() / 2 / (len(known) * len(strange)))
    extra = (len(known) + len(strange)) / 2 - 1

    def beyond(area):
        variance = area * (1 - area) * (1 + extra * ((1 - area) / (2 - area) + area / (1 + area)))
        return abs(found - area) > 1.96 * np.sqrt(variance / (len(known) * len(strange)))

    def edge(outside):
        inside = found
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        return inside

    return found, edge(0.0), edge(1.0)


def compared(known, strange, fitted):
    """AUROC of each rule."""
    return {name: auroc(rule(known), rule(strange)) for name, rule in fitted.items()}


def wide(features, rows, outputs):
    return np.asarray(features.matrix(rows, outputs), np.float32)


def strangers(dataset, result):
    """Features of some pictures of another set, from the network of a result."""
    rows = np.sort(np.random.default_rng(0).permutation(len(dataset))[:STRANGERS])
    with Store() as store:
        seen = extract(dataset.take(rows).digested(), result.features.trunk, store)
        return wide(seen, [row for row in range(len(rows)) if row not in seen.bad], result.choice.chosen.outputs)


def pair(result, other):
    """One data set against another: each rule's AUROC, and what headstart's own does at its threshold."""
    outputs, labels = result.choice.chosen.outputs, result.dataset.labels
    train_rows, final = result.rows["train"], result.rows[result.accuracy.split]
    seen, known = (wide(result.features, rows, outputs) for rows in (train_rows, final))
    strange = strangers(other, result)
    fitted = {name: rule(seen, labels[train_rows], result.head.layers[0]) for name, rule in RULES.items()}
    fitted["nearest neighbours"] = result.rejection.scores  # that of the classifier, its groups left out and all
    found = int((~result.rejection.known(strange)).sum())
    reached = result.rejection.reached
    return {
        "auroc": compared(known, strange, fitted), "known": len(known), "strange": len(strange),
        "false_alarm": [reached.value, reached.low, reached.high],
        "noticed": [found / len(strange), *wilson(found, len(strange))],
    }  # fmt: skip


def left_out(result):
    """Each class in turn is not trained on: AUROC of its pictures against the held-back ones of the other classes."""
    outputs, labels, groups = result.choice.chosen.outputs, result.dataset.labels, together(result.dataset)
    for number, name in enumerate(result.dataset.classes):
        rows = result.rows["train"][labels[result.rows["train"]] != number]
        final = result.rows[result.accuracy.split]
        away = np.concatenate([some[labels[some] == number] for some in result.rows.values()])
        seen, known, strange = (
            wide(result.features, some, outputs) for some in (rows, final[labels[final] != number], away)
        )
        some = np.unique(labels[rows], return_inverse=True)[1]
        fold = folds(some, groups[rows], seed=0)
        head = linear.fit(HeadData(seen, some, len(result.dataset.classes) - 1, fold))
        fitted = {rule: make(seen, some, head.layers[0]) for rule, make in RULES.items()}
        own = rejection.fit(seen, some, groups[rows], outputs=outputs)
        found = int((~own.known(strange)).sum())
        yield name, {
            "auroc": compared(known, strange, fitted | {"nearest neighbours": own.scores}), "known": len(known),
            "strange": len(strange), "noticed": [found / len(strange), *wilson(found, len(strange))],
        }  # fmt: skip


def rows(told):
    """What was found, as rows of a table: pairs of data sets one by one, left-out classes together."""
    lines = []
    for each in told:
        if "false_alarm" not in each:
            continue
        (value, low, high), alarm, noticed = each["auroc"]["nearest neighbours"], each["false_alarm"], each["noticed"]
        rest = ", ".join(
            f"{name} {area[0]:.3f}" for name, area in each["auroc"].items() if name != "nearest neighbours"
        )
        lines.append((
            f"{each['what']}, {each['source']}", f"AUROC {value:.4f} ({low:.4f} to {high:.4f})",
            f"{rest}; at the threshold for 1 % false alarms: {alarm[0]:.3f} ({alarm[1]:.3f} to {alarm[2]:.3f}) of"
            f" {each['known']:,} own pictures rejected, {noticed[0]:.3f} ({noticed[1]:.3f} to {noticed[2]:.3f}) of"
            f" {each['strange']:,} others",
        ))  # fmt: skip
    for source in dict.fromkeys(each["source"] for each in told):
        near = [each for each in told if each["source"] == source and "false_alarm" not in each]
        spans = {
            name: (min(each["auroc"][name][0] for each in near), max(each["auroc"][name][0] for each in near))
            for name in RULES
        }
        (low, high), found = spans.pop("nearest neighbours"), [each["noticed"][0] for each in near]
        rest = ", ".join(f"{name} {least:.2f} to {most:.2f}" for name, (least, most) in spans.items())
        lines.append((
            f"each class of trashnet6 left out in turn, against it, {source}", f"AUROC {low:.2f} to {high:.2f}",
            f"{rest}; {min(found):.3f} to {max(found):.3f} of the pictures of the class left out are rejected",
        ))  # fmt: skip
    return lines


def main(shared, *sources):
    shared = Path(shared)
    sets = {name: Dataset.open(shared / "data" / name) for name in ("cats_vs_dogs", "trashnet6")}
    sets["textile"] = pictures.find("textile").open()
    told = []
    for source in sources or ("efficientnet_lite0", "mobilenetv2"):
        recipe = Recipe(source=source, fine_tune="off")
        if source == "mobilenetv2":
            recipe = Recipe(source=source, weights=str(shared / MOBILENET), image_size=(160, 160), fine_tune="off")
        results = {}
        for own, other in PAIRS:
            results[own] = train(sets[own], recipe)
            told.append({"source": source, "what": f"{own} against {other}", **pair(results[own], sets[other])})
            print(json.dumps(told[-1]), file=sys.stderr)
        for name, figures in left_out(results["trashnet6"]):
            told.append({"source": source, "what": f"trashnet6 without {name}, against it", **figures})
            print(json.dumps(told[-1]), file=sys.stderr)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
