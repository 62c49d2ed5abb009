"""`headstart evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli import _common

HELP = """
Measure a trained classifier on labelled PHOTOS. Classes are matched by name.

\b
headstart evaluate flowers.keras new-flowers/
headstart evaluate flowers.keras labels.csv --split test --json
"""


@click.command(help=HELP)
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
    rows = [
        (f.name, f"{f.precision:.3f}", f"{f.recall:.3f}", f"{f.n:,}", *evaluation.confusion[number].tolist())
        for number, f in enumerate(evaluation.per_class)
    ]
    if len(evaluation.classes) <= 8:
        names = tuple(f"said {name}" for name in evaluation.classes)
        _common.table(("class", "precision", "recall", "n", *names), rows, right=("precision", "recall", "n", *names))
    else:
        _common.table(
            ("class", "precision", "recall", "n"), [row[:4] for row in rows], right=("precision", "recall", "n")
        )
