"""A report -> what its template draws: things put in order, counted, cut to what a page can hold, and placed."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headstart import report_charts as charts
from headstart import report_head_start, report_targets, report_tuning
from headstart.findings import Finding
from headstart.report_parts import Choice, Report, Seconds, Snippet
from headstart.report_words import shown

SAMPLES, MISTAKES, CHOICES_DRAWN, CHOICES_LISTED = 9, 24, 12, 60  # a page stays small however large the run was
FINDINGS_OF_A_KIND, FILES_OF_A_FINDING, FINDING_THUMBNAILS, SKIPPED = 12, 6, 40, 20
MATRIX_CLASSES, PAIRS, CLASS_ROWS, NAMES = 16, 30, 100, 24
VIEWS, NOTES, RUNS = 9, 12, 3
DASHES = (("6 3", ""), ("2 3", "14 4"), ("9 3 2 3 2 3", "14 3 3 3"))  # of training and validation, run by run

KINDS = {
    "leak": "The same picture on both sides of a split",
    "two_labels": "The same picture in two classes",
    "suspect_label": "Labels that look wrong",
    "shortcut": "Something besides the subject gives the class away",
    "class_mismatch": "Classes that differ between the splits",
    "unreadable": "Files that cannot be read",
    "duplicate": "The same picture twice",
    "near_duplicate": "Almost the same picture twice",
    "imbalance": "Classes of very different size",
    "odd": "Odd pictures",
}


@dataclass(frozen=True)
class Run:
    """A run whose curves are drawn: its name as it is shown, its history, and how its lines are told from others."""

    name: str
    history: Mapping[str, Sequence[float]]
    letter: str
    colour: int
    training_dash: str
    validation_dash: str


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one kind: the first of them with the thumbnails at hand, and how many there are in all."""

    title: str
    total: int
    rows: tuple[tuple[Finding, tuple[tuple[str, bytes], ...]], ...]


@dataclass(frozen=True)
class Slice:
    """A part of the time: its name, seconds, and where it starts and how wide it is in % of the whole."""

    name: str
    seconds: float
    start: float
    width: float


def snippets(model_path: str, classes: Sequence[str]) -> tuple[Snippet, ...]:
    """Code that uses a saved classifier: with plain Keras (headstart not installed), and from the command line.

    >>> print(snippets("my model.keras", ["cat", "dog"])[1].code)
    headstart predict 'my model.keras' picture.jpg
    """
    names = f"class_names = {list(classes)!r}\n"
    if len(classes) > NAMES or len(names) > 800:
        names = ""
    answer = "class_names[probabilities.argmax()]" if names else "probabilities.argmax()"
    keras = (
        "import keras\n\n"
        f"model = keras.models.load_model({model_path!r})\n{names}"
        "picture = keras.utils.load_img(\n"
        '    "picture.jpg", target_size=model.input_shape[1:3], interpolation="bicubic"\n)\n'
        "pixels = keras.utils.img_to_array(picture)  # RGB, 0 to 255: the model scales them itself\n"
        "probabilities = model.predict(pixels[None])[0]\n"
        f"print({answer}, probabilities.max())"
    )
    shell = f"headstart predict {shlex.quote(model_path)} picture.jpg"
    return Snippet("With Keras alone", keras), Snippet("From the command line", shell)


def keras_snippet(model_path: str, task: str, names: Sequence[str]) -> tuple[Snippet, ...]:
    """The same for a model of labels or of a number.

    >>> "low, high" in keras_snippet("a.keras", "numbers", ["value"])[0].code
    False
    """
    first, second = snippets(model_path, names)
    *start, _, _ = first.code.split("\n")
    if task == "numbers":
        start = [line for line in start if not line.startswith("class_names")]
        last = ["print(model.predict(pixels[None])[0, 0])"]
    else:
        named = "class_names" in first.code
        last = [
            "probabilities = model.predict(pixels[None])[0]  # one a label; headstart.json in the file has thresholds",
            "print(dict(zip(class_names, probabilities)))" if named else "print(probabilities)",
        ]
    return Snippet(first.title, "\n".join([*start, *last])), second


def guessing(report: Report) -> tuple[float, str]:
    """What needs no picture at all: the share of the most common class where it is known, else one in k."""
    rows = [sum(row) for row in report.confusion]
    if sum(rows):
        return max(rows) / sum(rows), "always answering the most common class"
    k = max(len(report.classes), 1)
    return 1 / k, f"guessing one of {k} classes"


def best_first(choices: Sequence[Choice]) -> list[Choice]:
    """By accuracy, those without one last."""
    return sorted(choices, key=lambda c: -c.accuracy if math.isfinite(c.accuracy) else math.inf)


def confused(report: Report) -> list[tuple[str, str, int, float]]:
    """(truth, answer, pictures, share of the truth's pictures), most frequent first; what was right is not listed."""
    pairs = [
        (report.classes[i], report.classes[j], count, count / sum(row))
        for i, row in enumerate(report.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3]))


def wrong(report: Report) -> int:
    """How many pictures were wrong: counted where there is a confusion matrix, else from the rate."""
    if report.confusion:
        return sum(count for _, _, count, _ in confused(report))
    missed = 1 - report.accuracy.value
    return round(missed * report.accuracy.n) if math.isfinite(missed) else len(report.mistakes or ())


def _lines(runs: Sequence[Run], key: str) -> list[charts.Curve]:
    """Training and validation of each run. One run has a colour for each; of several, each has a colour and a letter.

    Dashes tell all of them apart without colours.
    """
    if len(runs) == 1:
        history = runs[0].history
        both = (charts.Curve("training", history.get(key, ()), 2, "6 3"),
                charts.Curve("validation", history.get(f"val_{key}", ())))  # fmt: skip
        drawn = [curve for curve in both if len(curve.values)]
        return drawn if len(drawn) > 1 else [replace(curve, colour=1, dash="") for curve in drawn]
    return [
        charts.Curve(f"{run.name}, {part}", run.history.get(field_name, ()), run.colour, dash, run.letter)
        for run in runs
        for part, field_name, dash in (
            ("training", key, run.training_dash), ("validation", f"val_{key}", run.validation_dash)
        )
    ]  # fmt: skip


def named_runs(histories: Sequence[tuple[str, Mapping[str, Sequence[float]]]]) -> list[Run]:
    """As many of the runs as a chart can hold, each with its letter, its colour and its dashes."""
    return [
        Run(shown(name), history, "ABC"[i], i + 1, *DASHES[i]) for i, (name, history) in enumerate(histories[:RUNS])
    ]


def run_plots(runs: Sequence[Run], loss: str = "Cross-entropy") -> list[charts.Plot]:
    """Accuracy and loss by epoch, training against validation; a chart without a number is left out."""
    plots = []
    for key, title, rate in (("accuracy", "Accuracy", True), ("loss", loss, False)):
        lines = _lines(runs, key)
        epochs = list(range(1, max((len(line.values) for line in lines), default=0) + 1))
        plots.append(
            charts.plot(
                title, epochs, lines, x_label="epoch", y_label=f"{title.lower()} (%)" if rate else title.lower(),
                rate=rate,
            )
        )  # fmt: skip
    return [drawn for drawn in plots if drawn]


def runs_of(report: Report) -> list[Run]:
    """This run and the others that a chart can hold; none where this run has no history."""
    others = [(other.name, other.history) for other in report.others if other.history]
    return named_runs([(report.name, report.history), *others]) if report.history else []


def curves(report: Report) -> list[charts.Plot]:
    """The charts of `runs_of`."""
    return run_plots(runs_of(report), report.loss_words)


def readings(report: Report) -> list[tuple[str, str]]:
    """(name of the run, what its curves say); the name is empty where there is one run."""
    told = [(report.name if report.others else "", report.reading)]
    return [(name, words) for name, words in (*told, *((o.name, o.reading) for o in report.others)) if words]


def strength_curves(report: Report) -> list[charts.Plot]:
    """Cross-validated accuracy and loss by the strength of regularisation."""
    rows = sorted((s for s in report.strengths if s.strength > 0), key=lambda s: s.strength)
    mark = next((s.strength for s in rows if s.chosen), None)
    plots = []
    for key, rate in (("accuracy", True), ("loss", False))[report.headline is not None :]:
        line = charts.Curve("cross-validated", [getattr(s, key) for s in rows])
        plots.append(
            charts.plot(
                key.capitalize(), [s.strength for s in rows], [line], x_label="strength of regularisation",
                y_label=f"{key} (%)" if rate else key, rate=rate, log=True, mark=mark, mark_label="chosen",
            )
        )  # fmt: skip
    return [drawn for drawn in plots if drawn]


def reliable(report: Report) -> charts.Reliable | None:
    """The chart of probability against what was right; None where there is nothing to draw."""
    told = report.reliability
    if told is None or not told.after:
        return None
    after, before = ([(r.probability, r.right, r.low, r.high, r.n) for r in rows] for rows in (told.after, told.before))
    return charts.reliability(after, before)


def slices(seconds: Seconds) -> list[Slice]:
    """The parts of the time, one after the other; what the parts do not explain comes last."""
    parts = {"features": seconds.features, "head": seconds.head, "fine-tuning": seconds.fine_tune}
    parts["everything else"] = max(0.0, seconds.total - sum(parts.values()))
    whole, start, result = sum(parts.values()), 0.0, []
    for name, value in parts.items():
        if value > 0:
            width = 100 * value / whole
            result.append(Slice(name, value, round(start, 2), round(width, 2)))
            start += width
    return result


def grouped(report: Report) -> list[FindingGroup]:
    """Findings by kind, the gravest kinds first; thumbnails are handed out until the page has enough of them."""
    findings, left, groups = report.findings or (), FINDING_THUMBNAILS, []
    totals = Counter(f.kind for f in findings)
    for kind in sorted(totals, key=lambda kind: list(KINDS).index(kind) if kind in KINDS else len(KINDS)):
        rows = []
        for finding in [f for f in findings if f.kind == kind][:FINDINGS_OF_A_KIND]:
            files = [f for f in finding.files[:FILES_OF_A_FINDING] if f in report.thumbnails][:left]
            left -= len(files)
            rows.append((finding, tuple((f, report.thumbnails[f]) for f in files)))
        groups.append(FindingGroup(KINDS.get(kind, kind.replace("_", " ")), totals[kind], tuple(rows)))
    return groups


def view(report: Report) -> dict[str, Any]:
    """All that the template needs beside the report itself, by the names that it uses."""
    ranked = best_first(report.choices)
    drawn = ranked[:CHOICES_DRAWN] + [c for c in ranked[CHOICES_DRAWN:] if c.chosen]
    places, axis = charts.intervals([(c.accuracy, c.low, c.high) for c in drawn])
    classes = report.per_class
    if len(classes) > NAMES:
        classes = tuple(sorted(classes, key=lambda row: row.f1 if math.isfinite(row.f1) else -1.0))
    worst = sorted(report.mistakes or (), key=lambda m: -m.probability if math.isfinite(m.probability) else 0.0)
    code = report.how_to_load or (snippets(report.model_path, report.classes) if report.model_path else ())
    labels = report.labels
    if len(labels) > NAMES:
        labels = tuple(sorted(labels, key=lambda row: row.average_precision if row.n else 2.0))
    return {
        "labels": labels, "scatters": report_targets.scatters(report.numbers),
        "guess": guessing(report), "ranked": ranked, "choice_rows": list(zip(drawn, places, strict=True)),
        "choice_axis": axis, "runs": runs_of(report), "curves": curves(report), "readings": readings(report),
        "strengths": strength_curves(report), **report_head_start.view(report.head_start, report.learning_curve),
        **report_tuning.view(report.tuning, report.frozen, report.tuned, report.head_start),
        "reliable": reliable(report), "pairs": confused(report),
        "classes": classes, "worst": worst, "wrong": max(wrong(report), len(worst)),
        "groups": grouped(report), "slices": slices(report.seconds) if report.seconds else [], "code": code,
    }  # fmt: skip
