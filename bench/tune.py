"""What fine-tuning costs and gains: measurements that `run.py` takes up by name.

The larger ones have a file each, `tune_*.py`. What the project asks of itself stands beside a figure as `wanted`.
"""

import json
import shutil
import statistics
import sys
from pathlib import Path

import tune_bn
import tune_few
import tune_kill
import tune_rival
import tune_step
from duels import headstart
from headstart.comparison import mcnemar, paired_difference
from processes import spread, timed
from tune_pictures import photos_of

CHILD = Path(__file__).parent / "tune_child.py"


def textile(shared, rounds, work, *, given):
    """Everything automatic, nothing cached: the demo's pictures with 30 % held out, and the demo as it is."""
    photos = photos_of("textile", shared, work, given.tune_pictures)
    runs = []
    for number in range(rounds):
        cache = work / f"cache-textile-{number}"
        runs.append(headstart(["train", photos, "--holdout", 0.3, "--seed", number], cache))
        shutil.rmtree(cache, ignore_errors=True)
        print(f"round {number + 1}: {runs[-1].accuracy:.3f} in {runs[-1].whole:.1f} s", file=sys.stderr)
    rows = _textile_rows("headstart train --holdout 0.3", runs, wanted=True)
    if not given.tune_pictures:
        what = "headstart demo, 30 % held out, training from scratch beside it"
        rows += _textile_rows(what, [headstart(["demo"], work / "cache-demo")])
    return "Tuning: the textile pictures, everything automatic, nothing cached", rows


def _textile_rows(what, runs, *, wanted=False):
    parts = {name: [run.told["seconds"][name] for run in runs] for name in ("features", "head", "fine_tune")}
    told = ", ".join(f"{name.replace('_', '-')} {statistics.median(values):.0f} s" for name, values in parts.items())
    rates = [run.told["accuracy"] for run in runs]
    first, tuning = rates[0], runs[0].told["fine_tuning"]
    interval = f"seed 0: {first['value']:.3f} ({first['low']:.3f} to {first['high']:.3f}), n = {first['n']:,}"
    frozen = [(run.told["frozen_accuracy"] or run.told["accuracy"])["value"] for run in runs]
    kept = sum(run.told["fine_tuned"] for run in runs)
    asked = ("wanted under 360 s; ", "wanted 0.97; ") if wanted else ("", "")
    return [
        (f"{what}, whole process", f"{spread([run.whole for run in runs], '.1f')} s", f"{asked[0]}{told}"),
        (f"{what}, accuracy on the pictures held out", spread([rate["value"] for rate in rates], ".3f"),
         f"{asked[1]}{interval}; tuned and kept in {kept} of {len(runs)}"),
        (f"{what}, the frozen network on the same pictures", spread(frozen, ".3f"), tuning["words"]),
    ]  # fmt: skip


def one(photos, how, seed, cache, *more):
    """One training by `tune_child.py`: what it told, with the seconds of the whole process."""
    command = [sys.executable, CHILD, photos, "--how", how, "--seed", seed, *more]
    seconds, out = timed(list(map(str, command)), cache)
    return {**json.loads(out.splitlines()[-1]), "whole": seconds}


def auto(shared, _rounds, work, *, given):
    """Frozen and automatic trainings with nothing cached, on the same final pictures."""
    rows, worst, trash = [], {}, []
    for name, seeds in (("cats_vs_dogs", given.tune_seeds[:1]), ("trashnet6", given.tune_seeds)):
        photos = photos_of(name, shared, work, given.tune_pictures)
        for seed in seeds:
            made = {}
            for how in ("off", "auto"):
                cache = work / f"cache-auto-{how}"
                made[how] = one(photos, how, seed, cache)
                shutil.rmtree(cache, ignore_errors=True)
            row, difference = _pair(f"{name}, seed {seed}", made["off"], made["auto"])
            rows.append(row)
            worst[f"{name}, seed {seed}"] = difference
            trash += [difference] if name == "trashnet6" else []
            print(*row, sep=" | ", file=sys.stderr)
    low = min(worst, key=worst.get)
    rows += [
        (f"trashnet6, mean over {len(trash)} seeds", f"{statistics.mean(trash):+.4f}",
         f"{min(trash):+.4f} to {max(trash):+.4f} (wanted +0.02)"),
        ("the worst of all", f"{worst[low]:+.4f}", f"{low} (wanted −0.003 or better)"),
    ]  # fmt: skip
    return "Tuning: automatic against frozen, nothing cached, on the same final pictures", rows


def _pair(what, frozen, auto):
    """A row for two trainings whose final pictures are the same, and the difference of their accuracies."""
    if frozen["rows"] != auto["rows"]:
        sys.exit(f"{what}: the two trainings were measured on different pictures")
    pairs = list(zip(auto["right"], frozen["right"], strict=True))
    both, alone, other, neither = (pairs.count(kind) for kind in
                                   ((True, True), (True, False), (False, True), (False, False)))  # fmt: skip
    difference, low, high = paired_difference(both, alone, other, neither)
    p, test = mcnemar(alone, other)
    tuning = auto["fine_tuning"]
    done = "tuned and kept" if tuning["kept"] else "tried, frozen kept" if tuning["trials"] else "not tried"
    figure = f"{difference:+.4f} ({low:+.4f} to {high:+.4f}), n = {len(pairs):,}"
    note = f"frozen {frozen['accuracy']['value']:.4f} in {frozen['whole']:.1f} s, automatic"
    note += f" {auto['accuracy']['value']:.4f} in {auto['whole']:.1f} s; {alone} and {other} right by one alone, "
    note += f"p = {p:.2g} ({test}); {done}: {tuning['words']}"
    return (what, figure, note), difference


def few(shared, _rounds, work, *, given):
    """Some pictures of each class: `tune_few` says how."""
    return tune_few.table(shared, work, run=one, given=given)


MEASUREMENTS = {
    "tune-textile": textile,
    "tune-rival": tune_rival.measure,
    "tune-step": tune_step.measure,
    "tune-auto": auto,
    "tune-few": few,
    "tune-kill": tune_kill.measure,
    "tune-bn": tune_bn.measure,
}

_CUT_DOWN = ("tune-textile", "tune-rival", "tune-step", "tune-auto", "tune-few", "tune-bn")
OPTIONS = (
    ("tune-pictures", 0, int, None, "pictures of a set, for a quick look; 0 is all", _CUT_DOWN),
    ("tune-seeds", [0, 1, 2], int, "+", "seeds of trashnet6's split; cats_vs_dogs has its own", ("tune-auto",)),
    *tune_rival.OPTIONS,
    *tune_step.OPTIONS,
    *tune_few.OPTIONS,
    *tune_kill.OPTIONS,
    *tune_bn.OPTIONS,
)
