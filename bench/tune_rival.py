"""The same gain by Keras's `fit`, as its guide writes it: how long until it is as accurate.

Both read one table of headstart's own split. headstart trains first, everything automatic and nothing cached; where it
keeps a tuned network, the rival is given its cut, its pooling, its boundary and its accuracy, and a limit of time.
"""

import shutil
import sys

from duels import headstart, rival
from processes import spread
from tune_pictures import photos_of, same_split

VARIANTS = {
    "guide": "as its guide: Adam 1e-5, batches of 64, flips and rotations",
    "kind": "kinder: headstart's rate and batches, flips alone",
    "frozen": "kinder, and its BatchNormalization frozen layer by layer",
}
OPTIONS = (
    ("rival-sets", ["textile"], str, "+", "picture sets: textile, trashnet6, cats_vs_dogs", ("tune-rival",)),
    ("rival-variants", ["guide", "kind"], str, "+", f"of {', '.join(VARIANTS)}", ("tune-rival",)),
    ("rival-limit", 4.0, float, None, "times headstart's seconds that a rival is given", ("tune-rival",)),
    ("rival-input", "live", str, None, "live reads files each epoch; cached keeps what was read", ("tune-rival",)),
    ("rival-holdout", 0.3, float, None, "share of each class that is held back", ("tune-rival",)),
)


def measure(shared, rounds, work, *, given):
    rows = []
    for name in given.rival_sets:
        rows += _set(name, shared, rounds, work, given)
    return "Tuning against Keras's guide, to the same accuracy on the same pictures", rows


def _set(name, shared, rounds, work, given):
    photos = photos_of(name, shared, work, given.tune_pictures)
    ours, theirs, unkept = [], {variant: [] for variant in given.rival_variants}, []
    for number in range(rounds):
        table = same_split(photos, work, holdout=given.rival_holdout, seed=number)
        cache = work / f"cache-rival-{number}"
        run = headstart(["train", table, "--seed", number], cache)
        shutil.rmtree(cache, ignore_errors=True)
        print(f"{name}, round {number + 1}: headstart {run.accuracy:.3f} in {run.whole:.1f} s", file=sys.stderr)
        if not run.told["fine_tuned"]:
            unkept.append(run)
            continue
        ours.append(run)
        for variant, runs in theirs.items():
            runs.append(_rival(table, run, variant, number, given))
            print(f"  {variant}: best {runs[-1]['best']:.3f}, reached {runs[-1]['reached']}", file=sys.stderr)
    rows = [
        (f"{name}, headstart: no tuned network was kept", f"{run.accuracy:.3f}", run.told["fine_tuning"]["words"])
        for run in unkept
    ]
    return [*rows, *_rows(name, ours, theirs, given)] if ours else rows


def _rival(table, run, variant, seed, given):
    told, tuning = run.told, run.told["fine_tuning"]
    recipe, settings = told["recipe"], tuning["settings"]
    arguments = [
        table, "--source", "efficientnet_lite0", "--image-size", *recipe["image_size"], "--cut", told["cut"],
        "--pooling", told["pooling"], "--boundary", tuning["boundary"] or "none", "--target", run.accuracy,
        "--limit", given.rival_limit * run.whole, "--input", given.rival_input, "--seed", seed,
    ]  # fmt: skip
    if variant != "guide":
        arguments += ["--rate", settings["learning_rate"], "--batch", settings["batch_size"], "--augment", "flip"]
    if variant == "frozen":
        arguments += ["--batch-norm", "frozen"]
    return rival("keras_guide_tuning.py", *arguments)[0]


def _rows(name, ours, theirs, given):
    whole = [run.whole for run in ours]
    alone = [run.told["fine_tuning"]["seconds"] for run in ours]
    fitted = [sum(run.told["fine_tuning"]["epoch_seconds"]) for run in ours]
    tuning = ours[0].told["fine_tuning"]
    what = f"tuned above {tuning['boundary'] or 'the pixels'}, {tuning['settings']['batch_norm']} BatchNormalization"
    frozen = [run.told["frozen_accuracy"]["value"] for run in ours]
    rows = [
        (f"{name}, headstart, whole process, all choices included", f"{spread(whole, '.1f')} s",
         f"accuracy {spread([run.accuracy for run in ours], '.3f')}, frozen {spread(frozen, '.3f')};"
         f" seed 0: {ours[0].told['cut']}, {ours[0].told['pooling']}; {what}"),
        (f"{name}, headstart, fine-tuning alone", f"{spread(alone, '.1f')} s",
         f"trials, training, judging; its epochs {spread(fitted, '.1f')} s"),
    ]  # fmt: skip
    for variant, runs in theirs.items():
        rows.append(_to_accuracy(f"{name}, rival {VARIANTS[variant]}, whole process", runs, whole, given, 0))
        rows.append(_to_accuracy(f"{name}, rival {VARIANTS[variant]}, tuning alone", runs, alone, given, 1))
    return rows


def _to_accuracy(what, runs, ours, given, tuning):
    """A row: seconds to headstart's accuracy, or that it was not reached, and how many times as long that is."""
    begun = [run["tuning_began"] if tuning else 0.0 for run in runs]
    seconds = [max(0.0, (run["reached"] or run["whole_seconds"]) - at) for run, at in zip(runs, begun, strict=True)]
    ratios = [slow / fast for slow, fast in zip(seconds, ours, strict=True)]
    best = [run["best"] for run in runs]
    reached = sum(run["reached"] is not None for run in runs)
    if reached == len(runs):
        return (what, f"{spread(seconds, '.1f')} s", f"headstart {spread(ratios, '.1f')} × faster (wanted 2 ×)")
    figure = f"not reached in {len(runs) - reached} of {len(runs)} after {spread(seconds, '.0f')} s"
    epochs = [sum(each["phase"] == "tuning" for each in run["epochs"]) for run in runs]
    note = f"best {spread(best, '.3f')} in {spread(epochs, '.0f')} epochs of tuning; headstart at least"
    return (what, figure, f"{note} {spread(ratios, '.1f')} × faster (wanted 2 ×); limit {given.rival_limit:g} ×")
