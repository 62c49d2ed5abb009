"""What a ranking costs, and what its recommendation is worth.

    python bench/ranking.py seconds SHARED             a cold ranking against one full pass per source
    python bench/ranking.py choice SHARED [SET ...]    the recommended choice against an exhaustive search
    python bench/ranking.py inner SHARED               the cut of weights that were tuned for another domain

An exhaustive search fits every source × cut × pooling with every head on all training pictures, cross-validated, and
measures each on the test pictures. Two of its answers are told: the one that is best out of fold, which is what a
patient person would take, and the one that turned out best on the test pictures, which nobody could have known.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from headstart import choose, few, heads, pictures, trunk
from headstart.api import rank
from headstart.contenders import contenders
from headstart.contestants import _HEADS as OUT_OF_FOLD
from headstart.dataset import Dataset
from headstart.features import extract
from headstart.heads import HeadData
from headstart.intervals import wilson
from headstart.splitting import final_split, keys, split, together
from headstart.store import Store
from headstart.worker import building_backend, lazy

SOURCES = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2"
INCEPTION = "weights/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
SETS = ("cats_vs_dogs", "trashnet6", "textile", "ten_shots", "grey", "small")
SHOTS, SIDE = 10, 64
SEARCHED = ("linear", "prototype")


def pictures_of(name, shared, work):
    """A set by its name, divided; `ten_shots`, `grey` and `small` are made from shared ones with a seed."""
    cats, trash = shared / "data/cats_vs_dogs", shared / "data/trashnet6"
    if name == "cats_vs_dogs":
        return split(Dataset.open(cats).digested())
    if name == "textile":
        return split(pictures.find("textile").open().digested())
    dataset = split(Dataset.open(trash).digested())
    if name == "trashnet6":
        return dataset
    if name == "ten_shots":
        rows = dataset.split_indices("train")
        order = np.random.default_rng(0).permutation(rows)
        kept = [row for c in range(len(dataset.classes)) for row in order[dataset.labels[order] == c][:SHOTS]]
        return dataset.take([*kept, *dataset.split_indices("test")])
    for row in range(len(dataset)):
        target = work / name / str(dataset.splits[row]) / dataset.names[row] / f"{row}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(dataset.path(row)) as image:
            image.convert("L" if name == "grey" else "RGB").resize(
                image.size if name == "grey" else (SIDE, SIDE), Image.Resampling.BICUBIC
            ).save(target, compress_level=1)
    return split(Dataset.open(work / name).digested())


def seconds(shared, work):
    """A cold ranking on cats_vs_dogs, and the passes alone: the training pictures, every block end, trunks compiled."""
    dataset = split(Dataset.open(shared / "data/cats_vs_dogs").digested())
    start = time.perf_counter()
    found = rank(dataset, SOURCES)
    ranking = time.perf_counter() - start
    train = dataset.take(dataset.split_indices("train"))
    with lazy(building_backend()) as worker, tempfile.TemporaryDirectory(dir=work) as folder:
        passes = []
        for each in contenders(SOURCES):
            ready = trunk.prepare(each.spec, worker).result()
            with Store(Path(folder) / f"{each.name}.sqlite") as store:
                passes.append(extract(train, ready, store).seconds)
    return {"ranking": ranking, "passes": passes, "rows": len(found.rows), "recommended": found.recommended.label}


def exhaustive(dataset, wanted):
    """Every source × cut × pooling × head: out-of-fold accuracy and loss, and accuracy on the test pictures."""
    rows, final = dataset.split_indices("train"), final_split(dataset)
    tests = dataset.split_indices(final)
    names, groups, labels = keys(dataset), together(dataset), dataset.labels
    fold = few.folds(labels[rows], groups[rows], keys=[names[row] for row in rows])
    tried = {}
    with lazy(building_backend()) as worker, Store() as store:
        for each in wanted:
            features = extract(dataset, trunk.prepare(each.spec, worker), store)
            for group in choose.groups_of(features.outputs, None):
                X, Y = features.matrix(rows, group), features.matrix(tests, group)
                cut = choose.unscored(group)
                for head in SEARCHED:
                    seen, _ = OUT_OF_FOLD[head](X, labels[rows], fold, len(dataset.classes))
                    loss = heads.log_loss(seen, labels[rows])
                    data = HeadData(X, labels[rows], len(dataset.classes), fold)
                    fitted = heads.find(head).fit(data, options={})
                    right = float((fitted.predict(Y).argmax(axis=1) == labels[tests]).mean())
                    known = float((seen.argmax(axis=1) == labels[rows]).mean())
                    tried[each.name, cut.layer, cut.pooling, head] = (known, -loss, right)
    return tried


def final_accuracy(dataset, row, wanted):
    """What one row of a ranking comes to on the test pictures."""
    rows, tests = dataset.split_indices("train"), dataset.split_indices(final_split(dataset))
    names, groups, labels = keys(dataset), together(dataset), dataset.labels
    fold = few.folds(labels[rows], groups[rows], keys=[names[each] for each in rows])
    each = next(each for each in wanted if each.name == row.source)
    with lazy(building_backend()) as worker, Store() as store:
        features = extract(dataset, trunk.prepare(each.spec, worker), store)
        poolings, layers = row.pooling.split("+"), row.cut.split("+")
        group = [o for o in features.outputs if o.layer in layers and o.pooling in poolings]
        data = HeadData(features.matrix(rows, group), labels[rows], len(dataset.classes), fold)
        fitted = heads.find(row.head).fit(data, options={})
        return float((fitted.predict(features.matrix(tests, group)).argmax(axis=1) == labels[tests]).mean())


def choice(name, shared, work, sources=SOURCES):
    dataset = pictures_of(name, shared, work)
    wanted = contenders(sources)
    found = rank(dataset, sources)
    tried = exhaustive(dataset, wanted)
    patient = max(tried.values())
    return {
        "set": name, "recommended": found.recommended.label, "n": len(dataset.split_indices(final_split(dataset))),
        "value": final_accuracy(dataset, found.recommended, wanted), "patient": patient[2],
        "oracle": max(right for _, _, right in tried.values()), "tried": len(tried),
        "milliseconds": found.recommended.milliseconds_per_image, "dearest": found.best.milliseconds_per_image,
    }  # fmt: skip


def inner(shared, _work):
    """The tuned weights on cats_vs_dogs: the recommended cut against the deepest, both on the validation pictures."""
    dataset = split(Dataset.open(shared / "data/cats_vs_dogs").digested())
    sources = f"inceptionv3@150={shared / INCEPTION}"
    found = rank(dataset, sources)
    (each,) = contenders(sources)
    deepest = [row for row in found.rows if row.cut == "mixed10"]
    top = max(deepest, key=lambda row: row.accuracy)
    return {
        "recommended": found.recommended.label.split(", ", 1)[1], "top": top.label.split(", ", 1)[1],
        "value": final_accuracy(dataset, found.recommended, [each]), "deepest": final_accuracy(dataset, top, [each]),
        "n": len(dataset.split_indices(final_split(dataset))),
    }  # fmt: skip


def rows(told):
    """What the parts found, as rows of the results."""
    cost, choices, tuned = told["seconds"], told["choice"], told["inner"]
    whole = sum(cost["passes"])
    made = [(
        "cold ranking of three sources, all cuts × 3 poolings", f"{cost['ranking']:.1f} s",
        f"{cost['ranking'] / whole:.2f} × one full pass per source ({whole:.1f} s); {cost['rows']} rows",
    )]  # fmt: skip
    for each in choices:
        low, high = wilson(round(each["value"] * each["n"]), each["n"])
        figure = f"{each['value']:.3f} ({low:.3f} to {high:.3f}), n = {each['n']:,}"
        note = f"best of {each['tried']} out of fold {each['patient']:.3f}, on the test pictures {each['oracle']:.3f};"
        made.append((f"{each['set']}, recommended choice", figure, f"{note} {each['recommended']}"))
    for kind, what in (("patient", "the best out of fold"), ("oracle", "what turned out best on the test pictures")):
        behind = [each[kind] - each["value"] for each in choices]
        figure = f"{statistics.mean(behind):+.4f} on average, {max(behind):+.4f} at worst"
        made.append((f"behind the exhaustive search: {what}", figure, f"{len(behind)} sets"))
    gained = tuned["value"] - tuned["deepest"]
    made.append(("weights tuned for another domain, cats_vs_dogs", f"{tuned['value']:.3f}",
                 f"{gained:+.3f} over the deepest cut ({tuned['deepest']:.3f}); {tuned['recommended']}"))  # fmt: skip
    return made


def main():
    what, shared, *some = sys.argv[1:]
    work = Path(tempfile.mkdtemp(prefix="headstart-ranking-"))
    try:
        if what == "choice":
            told = [choice(name, Path(shared), work) for name in some or SETS]
        else:
            told = {"seconds": seconds, "inner": inner}[what](Path(shared), work)
    finally:
        shutil.rmtree(work)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
