"""BatchNormalization while a network is tuned to pictures far from its own: accuracy by epoch, and speed.

    python bench/tune_bn.py TABLE.csv --way adapt [--epochs 4]         one way, in a process of its own

The textile pictures, EfficientNet-Lite0 cut where automatic tuning cuts it for far pictures (its two-thirds point, the
tenth block end above the first; average and maximum side by side), tuned above the lowest block whose activations are
kept. Everything but BatchNormalization and, in one row, the rate is the same: the loop, the batches, the schedule, the
loss and the head that it begins with.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from processes import spread, timed
from tune_pictures import photos_of, same_split

RATE = 1e-3
# name: words, mode, momentum, whether statistics are measured before and after, rate and its fall from block to block
WAYS = {
    "keras": ("Keras's layer in training mode, momentum 0.99 (its default)", "batch", 0.99, False, (RATE, 1.0)),
    "keras-0.9": ("Keras's layer in training mode, momentum 0.9", "batch", 0.9, False, (RATE, 1.0)),
    "frozen": ("headstart, frozen: the source's statistics", "frozen", 0.9, False, (RATE, 1.0)),
    "frozen-own": ("headstart, frozen, at the rate that it takes for that", "frozen", 0.9, False, (None, None)),
    "adapt": ("headstart, adapt: statistics measured on these pictures, then held", "adapt", 0.9, True, (RATE, 1.0)),
    "batch": ("headstart, batch: measured before and after, 0.9 between", "batch", 0.9, True, (RATE, 1.0)),
}
_CHOSEN = ["keras", "keras-0.9", "frozen", "frozen-own", "adapt"]
OPTIONS = (
    ("bn-epochs", 4, int, None, "epochs of each way", ("tune-bn",)),
    ("bn-ways", _CHOSEN, str, "+", f"of {', '.join(WAYS)}", ("tune-bn",)),
)


def measure(shared, rounds, work, *, given):
    photos = photos_of("textile", shared, work, given.tune_pictures)
    made = {way: [] for way in given.bn_ways}
    for number in range(rounds):
        table = same_split(photos, work, holdout=0.3, seed=number)
        for way, runs in made.items():
            command = [sys.executable, __file__, table, "--way", way, "--epochs", given.bn_epochs, "--seed", number]
            _, out = timed(list(map(str, command)), work / f"cache-bn-{number}")
            runs.append(json.loads(out.splitlines()[-1]))
            print(f"{way}, seed {number}: {runs[-1]['held']}", file=sys.stderr)
    first = next(iter(made.values()))[0]
    rows = [(
        f"all of them: cut at {first['cut']}, {first['pooling']}, tuned above {first['boundary']}",
        f"held back, after {given.bn_epochs} epochs",
        f"{first['pictures']:,} train, {first['judged']:,} are held back; medians by epoch over {rounds} seeds",
    )]  # fmt: skip
    for way, runs in made.items():
        held, seen = _by_epoch(runs, "held"), _by_epoch(runs, "seen")
        before = statistics.median(run["before"] for run in runs)
        pace = spread([run["rate"] for run in runs], ".0f")
        rows.append((
            WAYS[way][0], spread([run["held"][-1] for run in runs], ".3f"),
            f"held back {before:.3f} → {held}; in training {seen}; {pace} pictures/s; rate {runs[0]['peak']:g}",
        ))  # fmt: skip
    return "Tuning: BatchNormalization, textile pictures, EfficientNet-Lite0", rows


def _by_epoch(runs, name):
    return ", ".join(f"{statistics.median(values):.3f}" for values in zip(*(run[name] for run in runs), strict=True))


def main(given):
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import headstart
    from headstart import finetune, trials
    from headstart.finetune import named
    from headstart.progress import silent
    from headstart.recipe import Recipe
    from headstart.store import Store
    from headstart.worker import Worker

    _, mode, momentum, measured, (peak, decay) = WAYS[given.way]
    result = headstart.train(given.table, head="linear", fine_tune="off", seed=given.seed)
    outputs = result.frozen.far
    rows, judge = result.rows["train"], result.rows["test"]
    options = {"epochs": given.epochs, "patience": 1000, "batch_norm": mode, "momentum": momentum}
    options.update({} if peak is None else {"learning_rate": peak, "layer_decay": decay})
    recipe = Recipe.from_dict({**result.recipe.as_dict(), "fine_tune": "auto", "fine_tune_options": options})
    with Store() as store, Worker("tensorflow") as worker:
        run = finetune._Run(replace(result.frozen, judge=judge), recipe, store, silent, time.perf_counter())
        boundary, _ = trials.lowest(run._ends(worker, outputs))
        settings = replace(run._settings(mode, len(rows)), budget=None)
        job = run._prepared(outputs, boundary, settings, rows, judge, f"bench {given.way}")
    told = _train(job, measured=measured)
    history = told["history"]
    facts = {"boundary": boundary, "pictures": len(rows), "judged": len(judge), "peak": settings.learning_rate}
    curves = {"before": told["start"], "held": history["val_accuracy"], "seen": history["accuracy"]}
    print(json.dumps({**named(outputs), **facts, **curves, "rate": told["rate"]}))


def _train(job, *, measured):
    """The worker's own training, in this process, with or without statistics that are measured before and after."""
    import keras
    import numpy as np
    import tensorflow as tf

    from headstart import tuning
    from headstart.tuned_graph import TunedGraph
    from headstart.tuning_material import Material

    class Training(tuning._Training):
        judging = 0.0

        def measured(self):
            start = time.perf_counter()
            found = super().measured()
            self.judging += time.perf_counter() - start
            self.told.append(found)
            return found

        def _begin(self):
            super()._begin() if measured else self._make()

        def _settle(self):
            if measured:
                super()._settle()

    keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()
    given = job.arguments()
    graph = TunedGraph(
        given["spec"], given["outputs"], boundary=job.boundary, head=job.head["shape"],
        batch_norm=job.settings.batch_norm, momentum=job.settings.momentum, seed=job.seed,
    )  # fmt: skip
    with np.load(job.folder / "head.npz", allow_pickle=False) as stored:
        graph.set_head([(stored[f"{number}_0"], stored[f"{number}_1"]) for number in range(len(graph.dense))])
    training = Training(graph, job.settings, material=Material.open(job.folder, job.augment), head=job.head,
                        seed=job.seed)  # fmt: skip
    training.told = []
    told = training.run(job.folder, 0.0)
    return {**told, "start": training.told[0][0], "rate": _rate(told, training)}


def _rate(told, training):
    """Pictures a second of the epochs after the first, the judging taken out."""
    judged = training.judging / len(training.told)
    return len(training.material) / (statistics.median(told["seconds"][1:] or told["seconds"]) - judged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--way", choices=list(WAYS), required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
