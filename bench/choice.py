"""Is the choice of cut and head good? headstart's own against other choices, on the same draws of twenty tasks.

    python bench/choice.py [--half develop|report|both] [--tasks NAME ...] [--seeds 10] [--against REV|none]
                           [--shared ../shared] [--cache FOLDER] [--code CHECKOUT] [--json FILE]
    python bench/run.py --only choice             both halves, into bench/RESULTS.md

The halves share no data set: develop on one, report the other once. All choices see the same features
(EfficientNet-Lite0 at its own size, every block end) and are measured on the same pictures, none of which is a twin of
one trained on:

- headstart: `headstart.train` with everything automatic but tuning, which is off;
- REV: the same by the code of another revision, from a git worktree of it;
- top: the deepest cut, average pooling, logistic regression, its strength chosen out of fold;
- all, ridge: every block end side by side, average pooling, a ridge classifier, its penalty chosen out of fold;
- oracle: the one candidate of a task that is best on the pictures measured on, in the mean over seeds: who knew the
  answers. Candidates are each cut and all side by side, under avg, max and both, with ridge, and the best five with
  logistic regression. `best of each seed` may take another at every seed, so noise flatters it.

Ranks are of the first four, 1 for the best. Passes, draws and results are kept in --cache; a result is made again only
where the code it comes from has changed: headstart's own after any change, the others hardly ever.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import choice_tasks

HERE = Path(__file__).parent
AGAINST = "db8a2c6"
CACHE = Path(tempfile.gettempdir()) / "headstart-choice"
HALVES = ("develop", "report")
RANKED = ("headstart", "against", "top", "all, ridge")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}


def child(what, code, shared, cache, seeds, tasks):
    """Run a part in a process of its own that imports headstart from a checkout; the folder of its results."""
    source = (code / "src").resolve()
    command = [sys.executable, HERE / "choice_child.py", what, shared, cache, seeds, *tasks]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(source), "HEADSTART_CACHE": str(cache)}
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{what} of {', '.join(tasks)} ended with {done.returncode}")
    told = json.loads(done.stdout.splitlines()[-1])
    if Path(told["source"]).resolve() != source / "headstart":
        sys.exit(f"headstart was imported from {told['source']}, not from {source}")
    return Path(told["folder"])


@contextlib.contextmanager
def checkout(revision):
    """A git worktree of a revision, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="headstart-choice-") as folder:
        place = Path(folder) / "code"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(place), revision], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


def measure_tasks(tasks, *, shared, cache, seeds, against=AGAINST, code=HERE.parent):
    """What each choice came to on each task, by name."""
    cache.mkdir(parents=True, exist_ok=True)
    shared, cache, found = shared.resolve(), cache.resolve(), {}
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(checkout(against)) if against != "none" else None
        where = (shared, cache, seeds, tasks)  # one process a part: what it has opened serves all tasks
        child("draw", code, *where)
        folders = {"headstart": child("train", code, *where)}
        if other:
            folders["against"] = child("train", other, *where)
        folders["rivals"] = child("rivals", other or code, *where)
        for name in tasks:
            kept = {
                kind: [json.loads((folder / f"{name}-{seed}.json").read_text()) for seed in range(seeds)]
                for kind, folder in folders.items()
            }
            if any(len({each[seed]["draw"] for each in kept.values()}) > 1 for seed in range(seeds)):
                sys.exit(f"{name}: the choices were measured on different draws")
            found[name] = summed_up(kept)
            print(f"{name}: {_in_words(found[name], against)}", file=sys.stderr, flush=True)
    return found


def summed_up(kept):
    """One task: accuracy by choice and seed, and what the oracle took."""
    rivals, first = kept["rivals"], kept["rivals"][0]
    top = next(iter(first["logistic"]))  # it is fitted first
    tried = {}
    for head in ("ridge", "logistic"):
        for name in first[head]:
            if all(name in each[head] for each in rivals):
                tried[f"{name}, {head}"] = [each[head][name] for each in rivals]
    known = max(tried, key=lambda name: statistics.mean(tried[name]))
    accuracy = {kind: [each["accuracy"] for each in kept[kind]] for kind in RANKED[:2] if kind in kept}
    accuracy |= {
        "top": tried[f"{top}, logistic"], "all, ridge": tried["all, avg, ridge"], "oracle": tried[known],
        "best of each seed": [max(values) for values in zip(*tried.values(), strict=True)],
    }  # fmt: skip
    return {
        **{count: [each[count] for each in rivals] for count in ("train", "test", "classes")},
        "accuracy": accuracy, "mean": {kind: statistics.mean(values) for kind, values in accuracy.items()},
        "ranks": _ranks({kind: accuracy[kind] for kind in RANKED if kind in accuracy}), "oracle": known,
        "candidates": {name: statistics.mean(values) for name, values in tried.items()},
        "chosen": {kind: kept[kind] for kind in RANKED[:2] if kind in kept},
        "difference": paired(accuracy["headstart"], accuracy["against"]) if "against" in kept else None,
    }  # fmt: skip


def paired(one, other):
    """The mean difference over seeds, and its standard error; None with one seed."""
    gained = [a - b for a, b in zip(one, other, strict=True)]
    error = statistics.stdev(gained) / math.sqrt(len(gained)) if len(gained) > 1 else None
    return {"mean": statistics.mean(gained), "error": error}


def _ranks(accuracy):
    """The mean rank over seeds; equals share theirs."""

    def rank(value, all_of_them):
        return sum(other > value for other in all_of_them) + (1 + sum(other == value for other in all_of_them)) / 2

    seeds = list(zip(*accuracy.values(), strict=True))
    return {kind: statistics.mean(rank(each[at], each) for each in seeds) for at, kind in enumerate(accuracy)}


def over(found):
    """Means over tasks, and the tasks where headstart's choice is furthest behind."""
    kinds = list(next(iter(found.values()))["mean"])
    told = {
        "mean": {kind: statistics.mean(task["mean"][kind] for task in found.values()) for kind in kinds},
        "ranks": {k: statistics.mean(t["ranks"][k] for t in found.values()) for k in RANKED if k in kinds},
        "worst": {},
    }
    for kind in (*RANKED[1:], "oracle"):
        if kind in kinds:
            behind = {name: task["mean"]["headstart"] - task["mean"][kind] for name, task in found.items()}
            name = min(behind, key=behind.get)
            told["worst"][kind] = {"task": name, "difference": behind[name]}
    return told


def table(found, against):
    """Markdown: a row a task, the means, and what is worst."""
    kinds = [kind for kind in next(iter(found.values()))["mean"] if kind != "best of each seed"]
    heads = [_label(kind, against) for kind in (*kinds, "best of each seed")]
    lines = ["| task | train | classes | test | " + " | ".join(heads)]
    compared = "against" in kinds
    lines[0] += (f" | headstart − {against} (standard error)" if compared else "") + " | the oracle's |"
    lines.append("|---|" + "---|" * (len(heads) + 4 + compared))
    for name, task in found.items():
        counts = [_count(task[count]) for count in ("train", "classes", "test")]
        values = [f"{task['mean'][kind]:.4f}" for kind in (*kinds, "best of each seed")]
        gained = [_difference(task["difference"])] if compared else []
        lines.append(f"| {' | '.join([name, *counts, *values, *gained, task['oracle']])} |")
    whole = over(found)
    values = [f"{whole['mean'][kind]:.4f}" for kind in (*kinds, "best of each seed")]
    gained = f"{_signed(whole['mean']['headstart'] - whole['mean']['against'])} | " if compared else ""
    lines.append(f"| mean of {len(found)} | | | | {' | '.join(values)} | {gained}|")
    ranks = [f"{whole['ranks'][kind]:.2f}" if kind in whole["ranks"] else "" for kind in (*kinds, "best of each seed")]
    lines.append(f"| mean rank | | | | {' | '.join(ranks)} | {'| ' if compared else ''}|")
    lines += ["", *(f"- {what}: {figure}, {task}" for what, figure, task in _worst(whole, against))]
    return "\n".join(lines)


def _worst(whole, against):
    return [
        (f"headstart − {_label(kind, against)}, the worst task", _signed(each["difference"]), each["task"])
        for kind, each in whole["worst"].items()
    ]


def _label(kind, against):
    return against if kind == "against" else kind


def _signed(value):
    return f"{value:+.4f}"


def _difference(told):
    return _signed(told["mean"]) + (f" ({told['error']:.4f})" if told["error"] is not None else "")


def _count(values):
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _in_words(task, against):
    return ", ".join(f"{_label(kind, against)} {value:.4f}" for kind, value in task["mean"].items())


def of_half(half, names=()):
    """Names of tasks, in their order."""
    known = [task.name for task in choice_tasks.TASKS]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there is no task {', '.join(unknown)}; there are {', '.join(known)}")
    halves = HALVES if half == "both" else (half,)
    return [task.name for task in choice_tasks.TASKS if task.half in halves and (not names or task.name in names)]


def _half_for_results(half):
    def measure(shared, _rounds, _work, *, given):
        """One half as rows of the results."""
        against = given.choice_against
        found = measure_tasks(
            of_half(half), shared=shared, cache=given.choice_cache, seeds=given.choice_seeds, against=against
        )
        rows = []
        for name, task in found.items():
            counts = [_count(task[count]) for count in ("train", "classes", "test")]
            figure = f"{task['mean']['headstart']:.4f}"
            if task["difference"]:
                figure += f", {_difference(task['difference'])} over {against}"
            note = ", ".join(f"{kind} {task['mean'][kind]:.4f}" for kind in ("top", "all, ridge", "oracle"))
            note += f" ({task['oracle']}), best of each seed {task['mean']['best of each seed']:.4f}"
            what = f"{name}: {counts[0]} train, {counts[1]} classes, {counts[2]} measure"
            rows.append((what, figure, note))
        whole = over(found)
        means, ranks = (
            ", ".join(f"{_label(kind, against)} {value:{form}}" for kind, value in whole[what].items())
            for what, form in (("mean", ".4f"), ("ranks", ".2f"))
        )
        rows.append((f"mean of {len(found)} tasks", f"{whole['mean']['headstart']:.4f}", f"{means}; mean rank {ranks}"))
        rows += _worst(whole, against)
        return f"The choice of cut and head, {half} half, mean accuracy over {given.choice_seeds} seeds", rows

    return measure


MEASUREMENTS = {f"choice-{half}": _half_for_results(half) for half in HALVES}
OPTIONS = (
    ("choice-seeds", 10, int, None, "seeds that each task is drawn by", tuple(MEASUREMENTS)),
    ("choice-against", AGAINST, str, None, "the revision to compare with, or none", tuple(MEASUREMENTS)),
    ("choice-cache", CACHE, Path, None, "folder where passes and results are kept", ()),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=(*HALVES, "both"), default="both")
    parser.add_argument("--tasks", nargs="+", default=(), metavar="NAME", help="of these halves, the tasks to run")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--against", default=AGAINST, metavar="REV", help="revision to compare with, or none")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared", help="folder with data/")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"kept between runs (default: {CACHE})")
    parser.add_argument("--code", type=Path, default=HERE.parent, help="the checkout whose headstart is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here, after each half")
    given = parser.parse_args()
    halves = {half: of_half(half, given.tasks) for half in HALVES if given.half in (half, "both")}
    told = {"seeds": given.seeds, "against": given.against, "halves": {}, "tasks": {}}
    for half, names in halves.items():
        found = measure_tasks(
            names, shared=given.shared, cache=given.cache, seeds=given.seeds, against=given.against, code=given.code,
        ) if names else {}  # fmt: skip
        if found:
            told["tasks"].update(found)
            told["halves"][half] = over(found)
            if given.json:
                given.json.write_text(json.dumps(told, indent=1))
            print(f"\n## {half}, mean accuracy over {given.seeds} seeds\n\n{table(found, given.against)}", flush=True)


if __name__ == "__main__":
    main()
