"""How many views of a picture pay: accuracy and seconds for live views and for N, over several seeds.

Every run starts with an empty cache, so that its seconds are whole. The head trains for fewer epochs than the
documents say where `--view-epochs` says so; live views then are as many as there are epochs.
"""

import json
import shutil
import statistics
import sys
from importlib import resources

from processes import spread


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
    rows = []
    for name, weights in sources.items():
        for count in given.view_counts:
            runs = []
            for seed in given.view_seeds:
                cache = work / "cache-views"
                runs.append(
                    run([*_command(name, count, photos, work, given), "--weights", weights, "--seed", seed], cache)
                )
                shutil.rmtree(cache, ignore_errors=True)
                print(
                    f"{name}, views {count}, seed {seed}: {runs[-1].accuracy:.3f}, {runs[-1].whole:.1f} s",
                    file=sys.stderr,
                )
            rows.append(_row(name, count, runs))
    seeds = ", ".join(map(str, given.view_seeds))
    rows.append(
        (
            f"all of {given.view_epochs} epochs, seeds {seeds}, nothing cached; "
            "accuracy after the last epoch on the 1,000 validation pictures",
            "mean (lowest to highest)",
            "medians of the seconds; best: mean over the seeds of each run's best epoch",
        )
    )
    return "Views: how many pay, cats_vs_dogs 2,000 + 1,000", rows


def _command(name, count, photos, work, given):
    if count != "none":
        return ["recipes", "run", name, photos, "--views", count, "--epochs", given.view_epochs]
    options = {"epochs": given.view_epochs}
    recipe = variant(name, work / f"{name}-none.yaml", augment="none", head_options=options)
    return ["train", photos, "--recipe", recipe]


def _row(name, count, runs):
    what = "no augmentation" if count == "none" else f"views: {count}"
    accuracy = [one.accuracy for one in runs]
    figure = f"{statistics.mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})"
    best = statistics.mean(max(one.told["history"]["val_accuracy"]) for one in runs)
    whole = spread([one.whole for one in runs], ".1f")
    parts = {key: statistics.median(one.told["seconds"][key] for one in runs) for key in ("features", "head")}
    seconds = f"{whole} s; features {parts['features']:.1f}, head {parts['head']:.1f}; best {best:.3f}"
    return f"{name}, {what}", figure, seconds
