"""`headstart evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstart.cli import _common

if TYPE_CHECKING:
    from headstart.evaluate import Evaluation

HELP = """
Measure a trained classifier on labelled PHOTOS, or hold two against each other. Classes are matched by name.

\b
headstart evaluate flowers.keras new-flowers/
headstart evaluate flowers.keras labels.csv --split test --json
headstart evaluate old.keras new.keras new-flowers/

A model of labels or of a number is measured on a table with the column labels or value.

Two models of classes are compared picture by picture (McNemar's test), and it is said where these pictures cannot
separate them. Each look at test pictures is noted in the cache, and how often they were looked at is said with the
figure. So is how many of them the model was trained on.
"""


@click.command(help=HELP, short_help="Measure a classifier on labelled pictures, or compare two.")
@click.argument("models", metavar="MODEL [MODEL]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("photos")
@click.option("--split", help="Which split to use; test, else validation, else everything, by default.")
@_common.as_json
def command(models: tuple[Path, ...], photos: str, split: str | None, as_json: bool) -> None:
    from headstart.classifier import Classifier

    if len(models) > 2:
        raise click.UsageError(
            f"one model is measured or two are compared, and PHOTOS come last; got {len(models)} models:"
            f" {', '.join(map(str, models))}"
        )
    if len(models) == 2:
        _compare(models[0], models[1], photos, split=split, as_json=as_json)
        return
    classifier = Classifier.load(models[0])
    with _common.progress() as show:
        dataset = _common.open_dataset(photos, show, training=False)
        evaluation = classifier.evaluate(
            dataset, split=split, progress=lambda done, total: show("features", done, total)
        )
    if as_json:
        _common.print_json(evaluation.as_dict())
        return
    if classifier.task != "classes":
        _other_figures(evaluation)
        return
    _figures(evaluation)
    rows = [(f.name, f"{f.precision:.3f}", f"{f.recall:.3f}", f"{f.n:,}") for f in evaluation.per_class]
    _common.table(("class", "precision", "recall", "n"), rows, right=("precision", "recall", "n"))
    if len(evaluation.classes) <= _CONFUSION:
        click.echo()
        _confusion(evaluation.classes, evaluation.confusion.tolist())


def _compare(first: Path, second: Path, photos: str, *, split: str | None, as_json: bool) -> None:
    from headstart import api

    with _common.progress() as show:
        dataset = _common.open_dataset(photos, show, training=False)
        found = api.compare(
            first, second, dataset, split=split, progress=lambda done, total: show("features", done, total)
        )
    if as_json:
        evaluations = [
            {"model": str(path), **evaluation.as_dict()}
            for path, evaluation in ((first, found.first), (second, found.second))
        ]
        _common.print_json({"evaluations": evaluations, "comparison": found.as_dict()})
        return
    click.echo(f"{found.words(str(first), str(second))}\n")
    if found.unseen is not None:
        click.echo(f"On those that neither was trained on: {found.unseen.words(str(first), str(second))}\n")
    for path, evaluation in ((first, found.first), (second, found.second)):
        click.echo(str(path))
        _figures(evaluation)


def _figures(evaluation: Evaluation) -> None:
    rate = evaluation.accuracy
    click.echo(f"accuracy {rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}), n = {rate.n:,}, {rate.split}")
    figures = (
        ("loss", evaluation.loss, evaluation.loss_interval, 4),
        ("macro F1", evaluation.macro_f1, evaluation.macro_f1_interval, 3),
        ("expected calibration error", evaluation.calibration_error, evaluation.calibration_interval, 3),
    )
    click.echo(", ".join(f"{name} {_between(value, *ends, digits)}" for name, value, ends, digits in figures))
    if evaluation.rejected is not None:
        share = evaluation.rejected
        click.echo(f"taken for none of the classes {share.value:.1%} ({share.low:.1%} to {share.high:.1%})")
    for text in evaluation.notes:
        click.echo(text)
    click.echo()


def _other_figures(evaluation: Any) -> None:
    """Figures of labels, with a row each, or of a number."""
    for name, text in evaluation.lines():
        click.echo(f"{name} {text}")
    if evaluation.rejected is not None:
        share = evaluation.rejected
        click.echo(f"look like none of the training pictures {share.value:.1%} ({share.low:.1%} to {share.high:.1%})")
    for text in evaluation.notes:
        click.echo(text)
    labels = getattr(evaluation, "per_label", ())
    if labels:
        click.echo()
        names = ("label", "average precision", "threshold", "precision", "recall", "F1", "n")
        rows = [
            (f.name, f"{f.average_precision:.3f}", f"{f.threshold:.2f}", f"{f.precision:.3f}", f"{f.recall:.3f}",
             f"{f.f1:.3f}", f"{f.n:,}")
            for f in labels
        ]  # fmt: skip
        _common.table(names, rows, right=names[1:])


def _between(value: float, low: float, high: float, digits: int) -> str:
    ends = f" ({low:.{digits}f} to {high:.{digits}f})" if low == low else ""
    return f"{value:.{digits}f}{ends}"


_CONFUSION = 12
"""Classes up to which the confusion is printed; the report and --json have it always."""


def _confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Truth in rows, answers in columns; numbers stand for the answers' names where a line would not hold them."""
    first = "truth, then answers"
    names = list(classes)
    if len(first) + sum(2 + max(len(name), 5) for name in names) > _common.columns():
        names = [str(number) for number in range(1, len(classes) + 1)]
        classes = [f"{number} {name}" for number, name in zip(names, classes, strict=True)]
    rows = [(name, *row) for name, row in zip(classes, counts, strict=True)]
    _common.table((first, *names), rows, right=names)
