"""Measure what the README claims, side by side in one run, and write bench/RESULTS.md.

    python bench/run.py [--shared ../shared] [--rounds 3] [--only NAME ...]

The recipes against the documents they come from, what fine-tuning costs and gains, and the choice of cut and head
against other choices take hours and run only when asked for: `--only recipes`, `--only tune` and `--only choice` are
all of them.

Whole processes are timed from the outside, rival and headstart in turn, so that a machine that slows down slows both;
ratios are taken round by round, and the table shows the median with the lowest and the highest.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import choice
import own_options
import recipes
import tune
from processes import spread, timed

HERE = Path(__file__).parent
PYTHON = sys.executable
HEADSTART = str(Path(sys.executable).parent / "headstart")
WEIGHTS = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"


def peak_mb(command, cache):
    """Peak resident memory of the process itself, in MB, as the operating system counts it."""
    code = (
        "import os, sys, resource, subprocess\n"
        "quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]\n"
        "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)\n"
        "_, status, usage = os.wait4(pid, 0)\n"
        "print(status, usage.ru_maxrss)\n"
    )
    _, out = timed([PYTHON, "-c", code, *map(str, command)], cache)
    status, kilobytes = map(int, out.split())
    if status:
        sys.exit(f"{command} ended with {status}")
    return kilobytes * (1 if sys.platform != "darwin" else 1 / 1024) / 1024


def speed(shared, rounds, work):
    """The tutorial against headstart, cold and warm: with the tutorial's cut, and with all choices automatic."""
    photos, weights = shared / "data/cats_vs_dogs", shared / WEIGHTS
    common = [
        HEADSTART,
        "train",
        photos,
        "--source",
        "mobilenetv2",
        "--weights",
        weights,
        "--image-size",
        "160",
        "--json",
    ]
    same = ["--cut", "out_relu", "--pooling", "avg"]
    kinds = {"fixed": same, "bare": [*same, "--no-report"], "auto": []}
    rival, times, accuracy = [], {f"{k} {t}": [] for k in kinds for t in ("cold", "warm")}, {}
    for number in range(rounds):
        seconds, out = timed([PYTHON, HERE / "rivals/keras_tutorial.py", photos, weights, work / "rival.keras"])
        rival.append(seconds)
        accuracy["tutorial"] = json.loads(out.splitlines()[-1])["accuracy"]
        for kind, options in kinds.items():
            cache = work / f"cache-{kind}-{number}"
            for run, seed in (("cold", "0"), ("warm", "1")):
                command = [*common, *options, "--seed", seed, "-o", work / "model.keras"]
                seconds, out = timed(command, cache)
                times[f"{kind} {run}"].append(seconds)
                accuracy[f"{kind} {run}"] = json.loads(out)["accuracy"]["value"]
            shutil.rmtree(cache)
        print(
            f"round {number + 1}: rival {rival[-1]:.1f} s, "
            + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in times.items()),
            file=sys.stderr,
        )
    rows = [("Keras tutorial, whole process", f"{spread(rival, '.1f')} s", f"accuracy {accuracy['tutorial']:.3f}")]
    names = {
        "fixed": "the tutorial's cut and pooling",
        "bare": "the same without its report, which the tutorial has none of",
        "auto": "all choices automatic",
    }
    for key, values in times.items():
        kind, run = key.split()
        ratios = [slow / fast for slow, fast in zip(rival, values, strict=True)]
        what = "nothing cached" if run == "cold" else "features cached, another seed"
        rows.append(
            (
                f"headstart, {names[kind]}, {what}",
                f"{spread(values, '.2f')} s",
                f"{spread(ratios, '.1f')} × faster, accuracy {accuracy[key]:.3f}",
            )
        )
    return "Whole processes, cats_vs_dogs 2,000 + 1,000, MobileNetV2 at 160 px", rows


def extraction(shared, rounds, work):
    """The feature pass against its bound."""
    command = [PYTHON, HERE / "extraction.py", shared / "data/cats_vs_dogs", shared / WEIGHTS, str(max(5, rounds))]
    _, out = timed(command, work / "cache-extraction")
    f = json.loads(out)
    rows = [
        ("trunk alone", f"{f['trunk']:.0f} pictures/s", "all cores"),
        ("read and decode alone", f"{f['decode']:.0f} pictures/s", "one thread"),
        ("the whole pass, all block ends, stored", f"{f['pass']:.0f} pictures/s",
         f"{f['share']:.3f} ({f['share_low']:.3f} to {f['share_high']:.3f}) of the bound"),
    ]  # fmt: skip
    return "Feature extraction against 1 / (1/trunk + decode seconds/cores)", rows


def startup(_shared, rounds, _work):
    """`headstart --help` and `import headstart`, against an interpreter that does nothing."""
    times = {"python -c pass": [], "import headstart": [], "headstart --help": []}
    for _ in range(max(7, rounds)):
        times["python -c pass"].append(timed([PYTHON, "-c", "pass"])[0])
        times["import headstart"].append(timed([PYTHON, "-c", "import headstart"])[0])
        times["headstart --help"].append(timed([HEADSTART, "--help"])[0])
    return "Starting", [(name, f"{spread(values, '.3f')} s", "whole process") for name, values in times.items()]


def memory(shared, _rounds, work):
    """Peak memory of training on 2,000 and on 20,000 pictures, cold."""
    peaks = {}
    for count in (2_000, 20_000):
        folder = work / f"many-{count}"
        timed([PYTHON, HERE / "many.py", shared / "data/cats_vs_dogs", folder, str(count)])
        command = [HEADSTART, "train", folder, "--source", "mobilenetv2", "--weights", shared / WEIGHTS]
        command += ["--image-size", "160", "-o", work / "many.keras"]
        peaks[count] = peak_mb(command, work / "cache-many")
        shutil.rmtree(folder)
    rows = [(f"{count:,} pictures", f"{peak:.0f} MB", "") for count, peak in peaks.items()]
    rows.append(("difference", f"{peaks[20_000] - peaks[2_000]:.0f} MB", ""))
    return "Peak resident memory of headstart train, nothing cached", rows


def accuracy(shared, _rounds, work):
    """Everything automatic, with the embedded default source."""
    runs = {name: ["train", shared / "data" / name, "--fine-tune", "off"] for name in ("cats_vs_dogs", "trashnet6")}
    runs["textile (headstart demo --quick)"] = ["demo", "--quick"]
    rows = []
    for name, arguments in runs.items():
        command = [HEADSTART, *arguments, "-o", work / "model.keras", "--json"]
        seconds, out = timed(command, work / "cache-accuracy")
        told = json.loads(out)
        rate = told["accuracy"]
        figure = f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f}), n = {rate['n']:,}"
        chosen = f"{rate['split']}; {told['source']} cut at {told['cut']}, {told['pooling']}; {seconds:.1f} s"
        rows.append((f"{name}, everything automatic", figure, chosen))
    return "Accuracy on pictures that no choice has seen, 95 % Wilson intervals", rows


def none_of_these(shared, _rounds, work):
    """The rule for pictures that are of none of the classes, against three others."""
    from rejection import rows

    _, out = timed([PYTHON, HERE / "rejection.py", shared], work / "cache-rejection")
    return "None of these: nearest training pictures against other rules", rows(json.loads(out.splitlines()[-1]))


def planted(shared, _rounds, work):
    """Faults planted into copies of the shared picture sets, found by check and by train."""
    from planted import measure

    rows = []
    for name in ("cats_vs_dogs", "trashnet6"):
        some = measure(shared / "data" / name, work / name)
        rows += [(f"{name}, {what}", figure, note) for what, figure, note in some]
    return "Faults planted into a picture set, and found", rows


def rank(shared, _rounds, work):
    """What a ranking of sources costs, and what its recommendation is worth."""
    from ranking import rows

    told = {}
    for what in ("seconds", "choice", "inner"):  # in this order: the first one finds nothing cached
        _, out = timed([PYTHON, HERE / "ranking.py", what, shared], work / "cache-rank")
        told[what] = json.loads(out.splitlines()[-1])
    return "Ranking sources, cuts and heads", rows(told)


def heads(shared, rounds, work):
    """Choosing a strength and fitting a head with many classes, against the trunk's pass."""
    from heads import rows

    _, out = timed([PYTHON, HERE / "heads.py", shared, str(rounds)], work / "cache-heads")
    told = json.loads(out.splitlines()[-1])
    return "Heads of many classes on 1,280 numbers against the pass over as many pictures", rows(told)


MEASUREMENTS = {
    f.__name__: f for f in (speed, extraction, startup, memory, accuracy, none_of_these, planted, rank, heads)
}
PARTS = {"recipes": recipes, "tune": tune, "choice": choice}
"""Measurements that run only when asked for, by the name that asks for all of them."""


def machine():
    try:
        model = next(
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("headstart", "keras", "openvino", "tensorflow-cpu", "numpy", "scipy", "pillow")
        if any(True for _ in importlib.metadata.distributions(name=name))
    )
    return (
        f"{model}, {os.cpu_count()} cores, {gib:.0f} GiB, no GPU used; Python {platform.python_version()}; {versions}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=HERE.parent.parent / "shared", help="folder with data/ and weights/"
    )
    parser.add_argument("--rounds", type=int, default=3)
    names = [*MEASUREMENTS, *(name for part in PARTS.values() for name in part.MEASUREMENTS), *PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=list(MEASUREMENTS))
    for title, part in PARTS.items():
        own_options.add(parser, title, part.OPTIONS)
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    given = parser.parse_args()
    if not (given.shared / "data/cats_vs_dogs").is_dir():
        sys.exit(f"{given.shared} has no data/cats_vs_dogs: give the folder with the pictures by --shared")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sections = read_sections(given.output)
    measurements = dict(MEASUREMENTS)
    for part in PARTS.values():
        measurements.update(own_options.bound(part.MEASUREMENTS, given))
    wanted = [name for asked in given.only for name in (PARTS[asked].MEASUREMENTS if asked in PARTS else [asked])]
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as folder:
        for name in wanted:
            title, rows = measurements[name](given.shared, given.rounds, Path(folder))
            chosen = "".join(own_options.told(given, name, part.OPTIONS) for part in PARTS.values())
            command = f"`python bench/run.py --rounds {given.rounds} --only {name}{chosen}`"
            command += f", {datetime.date.today()}. {machine()}"
            lines = [command, "", "| what | figure | |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
            sections[title] = "\n".join(lines)
            print(f"\n## {title}\n\n{sections[title]}", file=sys.stderr)
            write_sections(given.output, sections)  # now: a later measurement may fail after hours


def write_sections(path, sections):
    head = "# Results\n\nMedians, with the lowest and the highest round in brackets. Each part names its command.\n"
    path.write_text(head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items()))


def read_sections(path):
    """What is written already, by title: a run of some measurements leaves the others as they are."""
    if not path.exists():
        return {}
    parts = path.read_text().split("\n## ")[1:]
    return {title: text.strip() for title, text in (part.split("\n", 1) for part in parts)}


if __name__ == "__main__":
    main()
