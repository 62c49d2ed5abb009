"""Few pictures of each class: what automatic tuning does with them, and what its guard is worth.

Pictures of trashnet6's training part (headstart's split of seed 0) are drawn by seed; all other pictures measure.
`full` asks for the whole network to be tuned: a guard then still keeps the frozen one unless the tuned one is better on
pictures that judge. The same training tells what would have come of it without the guard.
"""

import statistics
import sys

from headstart.estimates import spread as half
from headstart.splitting import split
from processes import spread
from tune_pictures import few_of_each, looked_over, photos_of

COUNTS, SEEDS = [10, 50], [0, 1, 2, 3, 4]
OPTIONS = (
    ("few-counts", COUNTS, int, "+", "training pictures of a class", ("tune-few",)),
    ("few-forced", 1, int, None, "whether the whole network is tuned too, 1 or 0", ("tune-few",)),
    ("few-seeds", SEEDS, int, "+", "seeds by which they are drawn", ("tune-few",)),
)


def table(shared, work, *, run, given):
    """Rows for each number of pictures; `run` makes one training in a process of its own."""
    dataset = split(looked_over(photos_of("trashnet6", shared, work, given.tune_pictures), work))
    rows = []
    for count in given.few_counts:
        made = {how: [] for how in ("off", "auto", *(("full", "unguarded") if given.few_forced else ()))}
        for seed in given.few_seeds:
            drawn = few_of_each(dataset, count, seed=seed, table=work / f"few-{count}-{seed}.csv")
            cache = work / f"cache-few-{count}"
            frozen = run(drawn, "off", seed, cache)
            made["off"].append(frozen)
            made["auto"].append(run(drawn, "auto", seed, cache))
            if given.few_forced:
                tuned = run(drawn, "full", seed, cache, "--unguarded")
                made["unguarded"].append({**tuned, "kept": bool(tuned["fine_tuned"])})
                made["full"].append({**(tuned if tuned["guard"] else frozen), "kept": bool(tuned["guard"])})
            told = ", ".join(f"{how} {values[-1]['accuracy']['value']:.3f}" for how, values in made.items())
            print(f"{count} a class, seed {seed}: {told}", file=sys.stderr)
        rows += _rows(count, made)
    return "Tuning: few pictures of each class, trashnet6, all others measure", rows


def _rows(count, made):
    base = [run["accuracy"]["value"] for run in made["off"]]
    first = made["off"][0]
    fitted, measured = first["images"]["train"], first["accuracy"]["n"]
    rows = [(
        f"{count} a class, frozen", _mean(base),
        f"seeds differ in what is drawn; of the first {fitted} train, {measured:,} measure; 95 % t intervals",
    )]  # fmt: skip
    words = {
        "auto": "automatic − frozen", "full": "the whole network, guarded − frozen",
        "unguarded": "the whole network, kept unasked − frozen",
    }  # fmt: skip
    for how, what in words.items():
        runs = made.get(how, [])
        if not runs:
            continue
        gained = [run["accuracy"]["value"] - before for run, before in zip(runs, base, strict=True)]
        kept = sum(run.get("kept", run["fine_tuned"]) for run in runs)
        tried = sum(bool(run["fine_tuning"]["trials"]) or run["fine_tuning"]["tried"] for run in runs)
        note = f"kept in {kept} of {len(runs)}; lowest {min(gained):+.4f}, highest {max(gained):+.4f}"
        if how == "auto":
            vain = [
                run["seconds"]["fine_tune"] for run in runs if run["fine_tuning"]["trials"] and not run["fine_tuned"]
            ]
            cost = f"; {spread(vain, '.0f')} s where it was tried in vain" if vain else ""
            note = f"tried in {tried}, {note} (wanted 0 or better){cost}"
        rows.append((f"{count} a class, {what}", _mean(gained, "+"), note))
    return rows


def _mean(values, sign=""):
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.4f}, one seed"
    side = half(statistics.stdev(values), len(values) - 1, len(values))
    return f"{mean:{sign}.4f} ({mean - side:{sign}.4f} to {mean + side:{sign}.4f})"
