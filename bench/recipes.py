"""The shipped recipes against the documents they come from: measurements that `run.py` takes up by name.

Each round runs the document's own loop (`rivals/`), then headstart with an empty cache (cold), then once more with the
features of that run in place (warm). Round n has seed n on both sides. Ratios are taken within a round. What the
project asks of itself stands beside each ratio as `wanted`, met or not.
"""

import shutil
import statistics
import sys

import recipe_views
from duels import RIVALS, differ, duels, faster, headstart, rival
from processes import spread, timed

MOBILENET = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
INCEPTION = "weights/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


def command_for(name, photos, weights, given):
    epochs = ["--epochs", given.recipe_epochs] if given.recipe_epochs else []
    return ["recipes", "run", name, photos, "--weights", weights, *epochs]


def average(shared, rounds, work, *, given):
    """Ten epochs of the tutorial: no augmentation, so that the features are all there is to compute."""
    photos, weights = shared / "data/cats_vs_dogs", shared / MOBILENET
    epochs = given.recipe_epochs or 10
    theirs, cold, warm = duels(
        rounds,
        work,
        theirs=lambda _: rival("keras_tutorial.py", photos, weights, work / "rival.keras", epochs),
        ours=command_for("mobilenetv2-average", photos, weights, given),
        same_seed=False,
    )
    fit, whole = [told["fit_seconds"] for told, _ in theirs], [seconds for _, seconds in theirs]
    accuracy = [told["accuracy"] for told, _ in theirs]
    rows = [
        (f"rival, fit, {epochs} epochs", f"{spread(fit, '.1f')} s", f"accuracy {spread(accuracy, '.3f')}"),
        ("rival, whole process", f"{spread(whole, '.1f')} s", ""),
    ]
    for runs, what, wanted in ((cold, "nothing cached", 25), (warm, "features cached, another seed", 100)):
        mine = [run.fit for run in runs]
        rows.append((f"headstart, features + head, {what}", f"{spread(mine, '.2f')} s", faster(fit, mine, wanted)))
        mine = [run.whole for run in runs]
        rows.append((f"headstart, whole process, {what}", f"{spread(mine, '.2f')} s", faster(whole, mine)))
    ours = [run.accuracy for run in cold]
    rows.append(
        ("headstart, accuracy", spread(ours, ".3f"), f"{differ(accuracy, ours)} (wanted −0.003 or better)"),
    )
    return "Recipe mobilenetv2-average against its document, cats_vs_dogs 2,000 + 1,000", rows


def inception(shared, rounds, work, *, given):
    """Seconds an epoch, and time to the best that the rival reaches in the epochs it is given (in the first round)."""
    photos, weights = shared / "data/cats_vs_dogs", shared / INCEPTION

    def theirs(number):
        epochs = max(3, given.rival_epochs) if number == 0 else 3
        return rival("inceptionv3_mixed7.py", photos, weights, "--epochs", epochs, "--seed", number)

    ours = command_for("inceptionv3-mixed7", photos, weights, given)
    rivals, cold, _ = duels(rounds, work, theirs=theirs, ours=ours, again=False)
    epoch = [statistics.median(told["epoch_seconds"][:3]) for told, _ in rivals]
    rows = [("rival, an epoch (the middle one of its first three)", f"{spread(epoch, '.1f')} s", "")]
    for runs, what, wanted in ((cold, "nothing cached", 15),):
        mine = [run.fit / run.epochs for run in runs]
        rows.append(
            (
                f"headstart, an epoch: features and head of all {runs[0].epochs}, shared out, {what}",
                f"{spread(mine, '.2f')} s",
                faster(epoch, mine, wanted),
            )
        )
        total = [run.whole for run in runs]
        rows.append((f"headstart, whole process, {runs[0].epochs} epochs, {what}", f"{spread(total, '.1f')} s", ""))
    return (
        "Recipe inceptionv3-mixed7 against its document, cats_vs_dogs 2,000 + 1,000",
        [*rows, *_to_the_best(rivals[0][0], cold)],
    )


def _to_the_best(told, runs):
    """Rows: how soon the rival's best validation accuracy is reached, and where both end."""
    curve = told["val_accuracy"]
    best = max(curve)
    at = curve.index(best)
    slow = told["elapsed"][at]
    where = f"{best:.3f} after epoch {at + 1} of {len(curve)}"
    rows = [("rival, time to its best validation accuracy (first round)", f"{slow:.1f} s", where)]
    times = [run.seconds_to(best) for run in runs]
    reached = [seconds for seconds in times if seconds is not None]
    tops = [max(run.told["history"]["val_accuracy"]) for run in runs]
    note = (
        "" if len(reached) == len(runs) else f"in {len(reached)} of {len(runs)} rounds; its best {spread(tops, '.3f')}"
    )
    if reached:
        note = "; ".join(filter(None, [faster([slow] * len(reached), reached, 10), note]))
    figure = f"{spread(reached, '.1f')} s" if reached else "not reached"
    curve_of = runs[0].told.get("watched") or "a part of the training pictures"
    rows.append(
        (f"headstart, nothing cached, time to the same accuracy on {curve_of}, its views counted", figure, note)
    )
    last = [run.accuracy for run in runs]
    rows += [
        (f"rival, accuracy after {len(curve)} epochs", f"{curve[-1]:.3f}", f"best {best:.3f}"),
        (
            f"headstart, accuracy after {runs[0].epochs} epochs",
            spread(last, ".3f"),
            f"{differ([curve[-1]] * len(last), last)} (wanted 0 or better); best {spread(tops, '.3f')}",
        ),
    ]
    return rows


def flatten(shared, rounds, work, *, given):
    """Three epochs from one folder; the rival's clean evaluation comes after its clock has stopped."""
    photos, weights = shared / "data/cats_vs_dogs/train", shared / MOBILENET
    epochs = ["--epochs", given.recipe_epochs] if given.recipe_epochs else []
    rivals, cold, warm = duels(
        rounds,
        work,
        theirs=lambda number: rival("mobilenetv2_flatten.py", photos, weights, *epochs, "--seed", number),
        ours=command_for("mobilenetv2-flatten", photos, weights, given),
    )
    told = [told for told, _ in rivals]
    table = same_split(photos, told[0]["held_out"], work / "same-split.csv")
    same = [
        headstart([*command_for("mobilenetv2-flatten", table, weights, given), "--seed", number], work / "cache-same")
        for number in range(rounds)
    ]
    shutil.rmtree(work / "cache-same", ignore_errors=True)
    whole, clean = [one["whole_seconds"] for one in told], [one["clean"]["accuracy"] for one in told]
    rows = [(f"rival, whole run, {told[0]['epochs']} epochs", f"{spread(whole, '.1f')} s", "")]
    for runs, what, wanted in ((cold, "nothing cached", 4), (warm, "run again", None)):
        mine = [run.whole for run in runs]
        rows.append((f"headstart, whole process, {what}", f"{spread(mine, '.1f')} s", faster(whole, mine, wanted)))
    split, own = [run.accuracy for run in same], [run.accuracy for run in cold]
    augmented = [one["val_accuracy"][-1] for one in told]
    rows += [
        ("rival, accuracy on its held-out 400 as its document reports it (augmented)", spread(augmented, ".3f"), ""),
        ("rival, accuracy on the same 400 as they are on disk", spread(clean, ".3f"), ""),
        ("headstart, accuracy on the same 400", spread(split, ".3f"), f"{differ(clean, split)} (wanted 0 or better)"),
        ("headstart, accuracy on the 400 it holds out by itself", spread(own, ".3f"), ""),
    ]
    return "Recipe mobilenetv2-flatten against its document, cats_vs_dogs/train 1,600 + 400", rows


def same_split(photos, held_out, table):
    """A table of all pictures with the rival's own split, so that both are judged on the same files."""
    held = set(held_out)
    lines = ["path,label,split"]
    for path in sorted(photos.glob("*/*")):
        split = "validation" if f"{path.parent.name}/{path.name}" in held else "train"
        lines.append(f"{path.resolve()},{path.parent.name},{split}")
    table.write_text("\n".join(lines) + "\n")
    return table


def vgg(shared, rounds, work, *, given):
    """Random weights: time alone. The rival's five epochs are extrapolated from `--vgg-epochs`, and said to be."""
    photos, weights, wanted = shared / "data/cats_vs_dogs", work / "vgg16.h5", 5
    timed([sys.executable, str(RIVALS / "vgg16_dense.py"), "--make-weights", str(weights)])
    epochs = ["--epochs", given.vgg_epochs]
    rivals, cold, warm = duels(
        rounds,
        work,
        theirs=lambda number: rival("vgg16_dense.py", photos, weights, *epochs, "--seed", number),
        ours=command_for("vgg16-dense", photos, weights, given),
    )
    told = [told for told, _ in rivals]
    lacking = wanted - given.vgg_epochs
    whole = [one["whole_seconds"] + lacking * statistics.median(one["epoch_seconds"]) for one in told]
    how = f"extrapolated: {given.vgg_epochs} measured, {lacking} more at the same pace" if lacking > 0 else "measured"
    epoch = [statistics.median(one["epoch_seconds"]) for one in told]
    rows = [
        ("rival, an epoch", f"{spread(epoch, '.0f')} s", f"{told[0]['steps']} batches and the validation; measured"),
        (f"rival, whole run, {wanted} epochs", f"{spread(whole, '.0f')} s", how),
    ]
    for runs, what, least in ((cold, "nothing cached", 8), (warm, "run again", None)):
        mine = [run.whole for run in runs]
        what = f"headstart, whole process, {runs[0].epochs} epochs, {what}"
        rows.append((what, f"{spread(mine, '.1f')} s", faster(whole, mine, least)))
    return "Recipe vgg16-dense against its document (random weights: time only), cats_vs_dogs 2,000 + 1,000", rows


def live(shared, rounds, work, *, given):
    """Views a second of the training pictures. headstart's epochs train a head besides; the rival's first pass,
    in which TensorFlow traces, is left out."""
    photos, weights = shared / "data/cats_vs_dogs", shared / MOBILENET
    passes = given.live_epochs
    changes = {"augment": "documents", "views": "live", "head_options": {"epochs": passes}}
    recipe = recipe_views.variant("mobilenetv2-average", work / "live.yaml", **changes)
    theirs, ours = [], []
    for number in range(rounds):
        told, _ = rival("live_views.py", photos, weights, "--passes", 3, "--seed", number)
        theirs.append(statistics.median(told["pictures_per_second"][1:]))
        cache = work / f"cache-live-{number}"
        run = headstart(["train", photos, "--recipe", recipe, "--weights", weights, "--seed", number], cache)
        # The first epoch's views come with the first pass, and the others each with their own.
        ours.append(run.told["images"]["train"] / statistics.median(run.told["epoch_seconds"][1:]))
        shutil.rmtree(cache, ignore_errors=True)
        print(f"round {number + 1}: rival {theirs[-1]:.0f}, headstart {ours[-1]:.0f} pictures/s", file=sys.stderr)
    rows = [
        ("rival: ImageDataGenerator and Keras predict", f"{spread(theirs, '.0f')} pictures/s", "3 passes"),
        (f"headstart: live views, head included, {passes} epochs", f"{spread(ours, '.0f')} pictures/s",
         faster(ours, theirs, 3)),
    ]  # fmt: skip
    return "Live views, MobileNetV2 at 160 px, average pool, the documents' augmentation", rows


def memory(shared, _rounds, work, *, given):
    """Sums over the tree of processes, looked at every 50 ms; shared pages count once for each process."""
    photos, weights = shared / "data/cats_vs_dogs", shared / INCEPTION
    told, _ = rival("inceptionv3_mixed7.py", photos, weights, "--epochs", 1)
    arguments = ["recipes", "run", "inceptionv3-mixed7", photos, "--weights", weights]
    arguments += ["--views", 8, "--epochs", given.memory_epochs]
    peaks = headstart(arguments, work / "cache-recipe-memory", memory=True).memory
    shutil.rmtree(work / "cache-recipe-memory", ignore_errors=True)
    rows = [
        ("headstart, the whole tree of processes", f"{peaks.peak:.0f} MB",
         f"wanted under 3,000; {given.memory_epochs} epochs, {peaks.samples:,} samples"),
        ("headstart, the same without pages of files", f"{peaks.anonymous:.0f} MB", ""),
        ("headstart, the largest single process, by the kernel's own count", f"{peaks.largest:.0f} MB", ""),
        ("rival, 1 epoch", f"{told['peak_mb']:.0f} MB", "keeps no features"),
    ]  # fmt: skip
    return "Peak resident memory of recipe inceptionv3-mixed7, 2,000 pictures × 8 views, nothing cached", rows


def views(shared, _rounds, work, *, given):
    """Accuracy and seconds by number of views: `recipe_views` says how."""
    sources = {"inceptionv3-mixed7": shared / INCEPTION}
    return recipe_views.table(shared / "data/cats_vs_dogs", sources, work, run=headstart, given=given)


MEASUREMENTS = {
    "recipe-average": average,
    "recipe-inception": inception,
    "recipe-flatten": flatten,
    "recipe-vgg": vgg,
    "live-views": live,
    "recipe-memory": memory,
    "views": views,
}

_TAKES_EPOCHS = ("recipe-average", "recipe-inception", "recipe-flatten", "recipe-vgg")
_SEEDS, _COUNTS = [0, 1, 2], ["none", "live", "1", "2", "4", "8", "16"]
OPTIONS = (
    ("recipe-epochs", None, int, None, "epochs of each recipe, for a quick look (its own)", _TAKES_EPOCHS),
    ("rival-epochs", 10, int, None, "epochs in which the InceptionV3 rival seeks its best", ("recipe-inception",)),
    ("vgg-epochs", 1, int, None, "epochs of the VGG16 rival that are measured; 5 is all", ("recipe-vgg",)),
    ("live-epochs", 10, int, None, "epochs with live views; above 8, or they are drawn in one pass", ("live-views",)),
    ("memory-epochs", 10, int, None, "epochs while the memory is watched; 8 at least, for 8 views", ("recipe-memory",)),
    ("view-epochs", 20, int, None, "epochs of each run of the views table", ("views",)),
    ("view-seeds", _SEEDS, int, "+", "seeds of the views table", ("views",)),
    ("view-pictures", 500, int, None, "training pictures of the views table", ("views",)),
    ("view-counts", _COUNTS, str, "+", "none (no augmentation), live, or numbers of views", ("views",)),
)
