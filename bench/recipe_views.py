"""How many views of a picture pay: accuracy and seconds for live views and for N, over several seeds.

Every run starts with an empty cache, so that its seconds are whole. The head trains for fewer epochs than the
documents say where `--view-epochs` says so; live views then are as many as there are epochs.
"""

import json
import resource
import shutil
import statistics
import sys
from importlib import resources

from processes import spread

LAST = 10  # epochs that are averaged: from one to the next the documents' rate moves the accuracy by some hundredths


def variant(name, path, **changes):
    """A shipped recipe with some fields changed, written as a file (JSON is YAML); head_options are merged."""
    from ruamel.yaml import YAML

    text = resources.files("headstart").joinpath("recipes", f"{name}.yaml").read_text("utf-8")
    fields = YAML(typ="safe").load(text)
    options = {**fields.get("head_options", {}), **changes.pop("head_options", {})}
    path.write_text(json.dumps({**fields, **changes, "head_options": options}))
    return path


def table(photos, sources, work, *, run, given):
    """Rows of all recipes in `sources` (name: weights); `run` starts headstart with an empty cache."""
    some, rows = subset(photos, work / "views", given.view_pictures), []
    for name, weights in sources.items():
        for count in given.view_counts:
            runs = []
            for seed in given.view_seeds:
                cache, before = work / "cache-views", processor_seconds()
                recipe = _recipe(name, count, work, given)
                made = run(["train", some, "--recipe", recipe, "--weights", weights, "--seed", seed], cache)
                runs.append((made, processor_seconds() - before))
                shutil.rmtree(cache, ignore_errors=True)
                print(f"{name}, views {count}, seed {seed}: {made.accuracy:.3f}, {made.whole:.1f} s", file=sys.stderr)
            rows.append(_row(name, count, runs))
    seeds = ", ".join(map(str, given.view_seeds))
    rows.append(
        (
            f"all of {given.view_epochs} epochs, seeds {seeds}, nothing cached; "
            f"accuracy on the 1,000 validation pictures, mean of the last {LAST} epochs",
            "mean (lowest to highest)",
            "medians over the seeds; processor seconds are of all cores and processes together; "
            "at the end: accuracy after the last epoch, mean over the seeds",
        )
    )
    return f"Views: how many pay, {given.view_pictures} pictures of cats_vs_dogs", rows


def subset(photos, folder, count):
    """The first pictures of each class to train on, and all to measure on, as links."""
    for part in sorted(photos.glob("*/*")):
        files = sorted(part.iterdir())
        kept = files[: count // 2] if part.parent.name == "train" else files
        (folder / part.parent.name / part.name).mkdir(parents=True, exist_ok=True)
        for file in kept:
            (folder / part.parent.name / part.name / file.name).symlink_to(file)
    return folder


def processor_seconds():
    """Of all children that have ended: what a busy machine does not stretch."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _recipe(name, count, work, given):
    options = {"epochs": given.view_epochs, "steps_per_epoch": None}
    changes = {"augment": "none"} if count == "none" else {"views": "live" if count == "live" else int(count)}
    return variant(name, work / f"{name}-{count}.yaml", head_options=options, **changes)


def _row(name, count, runs):
    what = "no augmentation" if count == "none" else f"views: {count}"
    accuracy = [statistics.mean(made.told["history"]["val_accuracy"][-LAST:]) for made, _ in runs]
    figure = f"{statistics.mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})"
    last = statistics.mean(made.accuracy for made, _ in runs)
    epoch = statistics.median(made.told["epoch_seconds"][-1] for made, _ in runs)
    whole = statistics.median(made.whole for made, _ in runs)
    processor = spread([used for _, used in runs], ".0f")
    return (
        f"{name}, {what}",
        figure,
        f"{processor} processor seconds, {whole:.0f} s by the clock, {epoch:.2f} s an epoch at the end;"
        f" accuracy after the last one {last:.3f}",
    )
