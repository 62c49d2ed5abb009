"""`headstart evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from headstart.cli import _common

HELP = """
Measure a trained classifier on labelled PHOTOS. Classes are matched by name.

\b
headstart evaluate flowers.keras new-flowers/
headstart evaluate flowers.keras labels.csv --split test --json
"""


@click.command(help=HELP, short_help="Measure a classifier on labelled pictures.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("photos")
@click.option("--split", help="Which split to use; test, else validation, else everything, by default.")
@_common.as_json
def command(model: Path, photos: str, split: str | None, as_json: bool) -> None:
    from headstart.classifier import Classifier

    classifier = Classifier.load(model)
    with _common.progress() as show:
        dataset = _common.open_dataset(photos, show, training=False)
        evaluation = classifier.evaluate(
            dataset, split=split, progress=lambda done, total: show("features", done, total)
        )
    if as_json:
        _common.print_json(evaluation.as_dict())
        return
    rate = evaluation.accuracy
    click.echo(f"accuracy {rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}), n = {rate.n:,}, {rate.split}")
    click.echo(f"loss {evaluation.loss:.4f}, expected calibration error {evaluation.calibration_error:.3f}\n")
    rows = [(f.name, f"{f.precision:.3f}", f"{f.recall:.3f}", f"{f.n:,}") for f in evaluation.per_class]
    _common.table(("class", "precision", "recall", "n"), rows, right=("precision", "recall", "n"))
    if len(evaluation.classes) <= _CONFUSION:
        click.echo()
        _confusion(evaluation.classes, evaluation.confusion.tolist())


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
