"""`headstart predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from headstart.cli import _common
from headstart.errors import PhotosError

HELP = """
Name pictures with a trained classifier. PATH is a picture or a folder of pictures; - reads paths from standard input.

\b
headstart predict flowers.keras tulip.jpg
headstart predict flowers.keras new/ --json > answers.jsonl
"""


@click.command(help=HELP, short_help="Name pictures with a classifier.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, in the order of the pictures.")
def command(model: Path, paths: tuple[str, ...], as_json: bool) -> None:
    from headstart.classifier import Classifier

    classifier = Classifier.load(model)
    bad = count = 0
    for prediction in classifier.predict_each(_pictures(paths)):
        count += 1
        bad += prediction.error is not None
        if as_json:
            click.echo(_common.json_line(prediction.as_dict()))
        elif prediction.error is not None:
            click.echo(f"{prediction.file}: {prediction.error}", err=True)
        else:
            click.echo(f"{prediction.probability:6.1%}  {prediction.label}  {prediction.file}")
    if not count:
        raise PhotosError(f"there are no pictures in {' '.join(paths)}; expected pictures, or folders that hold some")
    if bad:
        click.echo(f"headstart: {bad:,} of the {count:,} pictures could not be read", err=True)
        sys.exit(2)


def _pictures(paths: tuple[str, ...]) -> Iterator[str]:
    """Each picture in turn: files as given, folders in sorted order, lines of standard input."""
    from headstart.folders import is_candidate

    for path in paths:
        if path == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif Path(path).is_dir():
            for folder, below, files in os.walk(path):
                below.sort()
                yield from (os.path.join(folder, name) for name in sorted(files) if is_candidate(name))
        else:
            yield path
