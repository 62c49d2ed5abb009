"""One process of `choice.py`: its headstart is the one that PYTHONPATH names.

    python bench/choice_child.py draw  SHARED CACHE SEEDS TASK ...     pictures, features and draws
    python bench/choice_child.py train SHARED CACHE SEEDS TASK ...     headstart's own choice, a training a draw
    python bench/choice_child.py rivals SHARED CACHE SEEDS TASK ...    the other choices, on the same draws

Results are files in CACHE, one a draw: `train` keeps them by a digest of headstart's code, `rivals` by that of the head
it borrows. The last line tells the folder.
"""

import hashlib
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

import choice_draws
import choice_rivals
import choice_tasks
import headstart
from headstart.heads import HeadData, linear
from headstart.recipe import Recipe
from headstart.splitting import together
from headstart.train import train

BEST = 5
"""Candidates that are fitted with the logistic head too."""


def digest_of(files):
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]


def fitted(folder, task, dataset, kept, seeds):
    """headstart on each draw, everything automatic but tuning, which is off."""
    for seed in seeds:
        path, part, found = _kept(folder, task, dataset, kept, seed)
        if "accuracy" in found:
            continue
        start = time.perf_counter()
        result = train(part[0], Recipe(fine_tune="off", seed=seed))
        rate, done = result.accuracy, result.recipe
        if (rate.n, rate.split) != (len(part[2]), "validation"):
            sys.exit(f"{task.name}, seed {seed}: measured on {rate.n} of {len(part[2])} pictures")
        known = float(getattr(result.head, "accuracy", math.nan))
        found |= {
            "accuracy": rate.value, "cut": done.cut, "pooling": done.pooling, "head": done.head,
            "out_of_fold": None if math.isnan(known) else known, "seconds": time.perf_counter() - start,
        }  # fmt: skip
        choice_draws.write(path, found)
        _say(task, seed, f"headstart {rate.value:.4f}, {done.cut}, {done.pooling}, {done.head}", start)


def rivals(folder, task, dataset, kept, seeds):
    """Every candidate with ridge, the top layer and the best few with the logistic head."""
    if _complete(folder, task, dataset, kept, seeds):
        return
    matrix, outputs = choice_draws.features_of(dataset)
    parts, tops = choice_rivals.candidates(outputs), choice_rivals.top_of(outputs)
    for seed in seeds:
        path, (part, rows, tests), found = _kept(folder, task, dataset, kept, seed)
        if "ridge" in found:
            continue
        start = time.perf_counter()
        y, test_labels = part.labels[: len(rows)], part.labels[len(rows) :]
        fold = choice_rivals.folds(y, together(dataset)[rows], seed=seed)
        found |= {"ridge": {}, "out_of_fold": {}, "logistic": {}}
        for name, columns in parts.items():
            ridge = choice_rivals.Ridge(matrix[np.ix_(rows, columns)], y, fold)
            said = ridge.scores(matrix[np.ix_(tests, columns)]).argmax(axis=1)
            found["ridge"][name] = float((said == test_labels).mean())
            found["out_of_fold"][name] = {"accuracy": ridge.accuracy, "loss": ridge.loss}
        choice_draws.write(path, found)
        _say(task, seed, f"all, ridge {found['ridge']['all, avg']:.4f}", start)
    told = [_kept(folder, task, dataset, kept, seed)[2]["ridge"] for seed in seeds]
    best = _best(told)
    for seed in seeds:
        path, (part, rows, tests), found = _kept(folder, task, dataset, kept, seed)
        y, test_labels = part.labels[: len(rows)], part.labels[len(rows) :]
        fold = choice_rivals.folds(y, together(dataset)[rows], seed=seed)
        for name in dict.fromkeys([tops, *best]):
            if name in found["logistic"]:
                continue
            start = time.perf_counter()
            data = HeadData(matrix[np.ix_(rows, parts[name])], y, len(part.classes), fold)
            said = linear.fit(data).predict(matrix[np.ix_(tests, parts[name])]).argmax(axis=1)
            found["logistic"][name] = float((said == test_labels).mean())
            choice_draws.write(path, found)
            _say(task, seed, f"{name}, logistic {found['logistic'][name]:.4f}", start)


def _best(told):
    """The candidates that are best with ridge in the mean over seeds."""
    return sorted(told[0], key=lambda name: -np.mean([each[name] for each in told]))[:BEST]


def _complete(folder, task, dataset, kept, seeds):
    found = [_kept(folder, task, dataset, kept, seed)[2] for seed in seeds]
    if not all("ridge" in each for each in found):
        return False
    best = _best([each["ridge"] for each in found])
    return all(each["logistic"] and set(best) <= set(each["logistic"]) for each in found)


def _kept(folder, task, dataset, kept, seed):
    """Where the result of a draw lies, the draw, and what is known of it already."""
    path = folder / f"{task.name}-{seed}.json"
    part = choice_draws.drawn(dataset, kept, seed)
    draw = hashlib.sha256(json.dumps([kept["listing"], kept["classes"], kept["seeds"][str(seed)]]).encode()).hexdigest()
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("draw") != draw:
        counts = {"train": len(part[1]), "test": len(part[2]), "classes": len(part[0].classes)}
        found = {"draw": draw, **counts}
    return path, part, found


def _say(task, seed, text, start):
    print(f"{task.name}, seed {seed}: {text}; {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def main():
    what, shared, cache, seeds, *names = sys.argv[1:]
    shared, cache, source = Path(shared), Path(cache), Path(headstart.__file__).parent
    if what == "train":
        folder = cache / "results" / f"train-{digest_of(source.rglob('*.py'))}"
    else:
        folder = cache / "results" / f"rivals-{choice_rivals.VERSION}-{digest_of([source / 'heads/linear.py'])}"
    for name in names:
        task = choice_tasks.find(name)
        dataset, kept = choice_draws.draws(task, int(seeds), shared, cache)
        if what != "draw":
            {"train": fitted, "rivals": rivals}[what](folder, task, dataset, kept, range(int(seeds)))
    print(json.dumps({"folder": str(folder), "source": str(source)}))


if __name__ == "__main__":
    main()
