"""What `train`, `recipes run` and `demo` say of a training result."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from headstart.cli import _common

if TYPE_CHECKING:
    from headstart.evaluate import Rate
    from headstart.result import TrainResult

MOST_EPOCHS = 10
_FIGURES = ("accuracy", "val_accuracy", "loss", "val_loss")


def tell(result: TrainResult, *, as_json: bool, against: Mapping[str, TrainResult] | None = None) -> None:
    """Print a training result: JSON, or what a person wants to know first.

    Args:
        against: results of other recipes on the same pictures, by name.
    """
    others = against or {}
    if as_json:
        told = result.as_dict()
        if others:
            told["against"] = [{"name": name, **other.as_dict()} for name, other in others.items()]
        _common.print_json(told)
        return
    if result.head_start:
        click.echo("\n" + "\n".join(_wrapped(result.head_start.sentence)))
    click.echo("\n" + "\n".join(_wrapped(result.verdict)) + "\n")
    rows = [*_rows(result), *((f"against {name}", _compared(other)) for name, other in others.items())]
    if result.model:
        rows.append(("model", str(result.model)))
    if result.report:
        rows.append(("report", str(result.report)))
    width = max(len(name) for name, _ in rows if len(name) <= 20)
    for name, text in rows:
        begin = f"{name:<{width}}  " if len(name) <= width else f"{name}\n{'':<{width}}  "
        click.echo(begin + f"\n{'':<{width}}  ".join(_wrapped(text, width + 2)))
    if result.history:
        click.echo()
        _epochs(result.history, result.head.epoch_seconds)


def _rows(result: TrainResult) -> list[tuple[str, str]]:
    """Names and texts of the lines about a result."""
    from headstart.report_words import cuts

    seconds, recipe = result.seconds, result.recipe
    parts = ", ".join(f"{count:,} {name}" for name, count in result.images().items() if count)
    rows = [
        ("pictures", f"{parts}, {_told_apart(result)}"),
        ("source", f"{recipe.source}, cut at {cuts(recipe.cut)}, {recipe.pooling} pooled, {result.head.name} head"),
        ("why this choice", _why(result)),
    ]  # fmt: skip
    if result.ranking:
        tried = len(dict.fromkeys(row.source for row in result.ranking.rows))
        rows.append((f"of {tried} sources", result.ranking.source_verdict))
        rows += [("not tried", text) for text in result.ranking.not_tried]
        if result.ranking.prior:
            rows.append(("rule of thumb", str(result.ranking.prior)))
    if recipe.augment != "none":
        from headstart import augment

        views = "new views each epoch"
        if recipe.views != "live":
            most = int(recipe.views)
            epochs = len((result.history or {}).get("loss", ()))
            views = f"{min(most, epochs or most)} views of each picture"
        rows.append(("augmentation", f"{augment.describe(augment.find(recipe.augment))}; {views}"))
    if result.tuning:
        rows.append(("fine-tuning", result.tuning.words))
    if result.frozen_evaluation is not None:
        rows.append(("left frozen", f"{_frozen(result)} on the same pictures"))
    rows += _figures(result)
    rows += [
        ("seconds", f"{seconds['total']:.1f} in all: features {seconds['features']:.1f}, head {seconds['head']:.1f}"
         + (f", tuning {seconds['fine_tune']:.1f}" if seconds["fine_tune"] >= 0.05 else "")),
        ("features", f"{result.features.hits:,} found, {result.features.misses:,} computed"),
    ]  # fmt: skip
    if result.rejection and (reached := result.rejection.reached):
        share = f"{reached.value:.1%} ({reached.low:.1%} to {reached.high:.1%})"
        allowed = f"{result.rejection.false_alarm:.1%} was allowed for"
        which = "which are of the classes" if result.task == "classes" else "which are such as it was trained on"
        rows.append(("none of these", f"said of {share} of the same pictures, {which}; {allowed}"))
    if result.rule:
        rows.append((_RULES[result.task], result.rule.words()))
    if result.looks:
        rows.append(("looks", result.looks))
    rows += [("note", text) for text in result.notes]
    rows += [("offer", f"{offer.words}; {offer.why}") for offer in result.offers]
    if result.reading:
        rows.append(("curves", result.reading.words))
    if result.head_start:
        rows += [*result.head_start.rows(), ("seconds to learn", result.head_start.seconds_words())]
        rows += [("note", text) for text in result.head_start.notes]
    if result.learning_curve:
        rows.append(("more pictures", result.learning_curve.words))
    if result.findings:
        from headstart.findings import counts

        found = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts(result.findings).items())
        rows.append(("findings", f"{found}; see the report, or headstart check"))
    return rows


def _why(result: TrainResult) -> str:
    """Say what decided, and what a choice among so many can be expected to be worth."""
    found, chosen = result.choice.estimate, result.choice.chosen
    if found is None or math.isnan(found.bias):
        return result.choice.why
    return (
        f"{result.choice.why}: accuracy {chosen.accuracy:.1%} out of fold (n = {len(chosen.right):,}),"
        f" {found.accuracy:.1%} after correction for having been chosen among {found.candidates}"
    )


_RULES = {"classes": "calibration", "labels": "thresholds", "numbers": "interval"}


def _told_apart(result: TrainResult) -> str:
    from headstart.listing import number

    names = result.dataset.classes
    if result.task == "classes":
        return f"in {len(names)} classes"
    return f"with {number(len(names), 'label')}" if result.task == "labels" else "with a number each"


def _figures(result: TrainResult) -> list[tuple[str, str]]:
    """The figures that were measured, before the training and after."""
    if result.task == "classes":
        return [
            ("before training", f"{result.before.accuracy.value:.1%}"),
            ("accuracy", f"{_rate(result)}, n = {result.accuracy.n:,}, {result.accuracy.split}"),
        ]
    before = [("before training", " ".join(result.before.lines()[0]))] if result.before is not None else []
    others = [(f"on {other.split}", "; ".join(map(" ".join, other.lines()))) for other in result.others]
    return [*before, *result.evaluation.lines(), *others]


def _frozen(result: TrainResult) -> str:
    if result.task == "classes":
        return _share(result.frozen_evaluation.accuracy)
    return "; ".join(map(" ".join, result.frozen_evaluation.lines()))


def _rate(result: TrainResult) -> str:
    return _share(result.accuracy)


def _share(rate: Rate) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _compared(other: TrainResult) -> str:
    if other.task != "classes":
        return "; ".join(map(" ".join, other.evaluation.lines()))
    return f"{_rate(other)} on the same pictures" + (f". {other.reading.words}" if other.reading else "")


def _epochs(history: Mapping[str, Sequence[float]], seconds: Sequence[float]) -> None:
    """The figures of the epochs, or of some of them, evenly spaced, the first and the last among them."""
    figures = [name for name in _FIGURES if name in history]
    last = len(history[figures[0]]) - 1
    steps = min(last, MOST_EPOCHS - 1)
    shown = [round(step * last / steps) for step in range(steps + 1)] if steps else [0]
    rows: list[list[Any]] = [
        [epoch + 1, *(f"{history[name][epoch]:.4f}" for name in figures), f"{seconds[epoch]:.2f}"] for epoch in shown
    ]
    names = ["epoch", *figures, "seconds"]
    _common.table(names, rows, right=names)


def _wrapped(text: str, indent: int = 0) -> list[str]:
    """Lines as wide as the terminal leaves room for; one line where there is none. Paths stay whole."""
    room = _common.columns() if sys.stdout.isatty() else 10_000
    return textwrap.wrap(text, max(room - indent, 20), break_long_words=False, break_on_hyphens=False)
