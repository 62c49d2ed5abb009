"""`headstart predict`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headstart.cli import _common
from headstart.errors import PhotosError

if TYPE_CHECKING:
    from headstart.classifier import Classifier
    from headstart.predictions import Answer
    from headstart.progress import Progress

HELP = """
Name pictures with a trained classifier. PATH is a picture or a folder of pictures; - reads paths from standard input.

A picture that is far from all that the classifier was trained on gets a name too, and the mark "none of these": known
is false in --json and --csv. How often that happens to pictures of the classes was measured in the training.

--explain writes a copy of each picture that shows where its answer comes from: grey, with what speaks for the answer in
yellow, inside a line. It is called like the picture, with .explained.jpg at the end.

A folder's pictures come sorted by name as text, the same on every machine: 10.jpg before 2.jpg. The table that --csv
writes has the columns file, label, probability, known, error and a row for every picture, also for those that cannot
be read. A model of labels gives labels in place of label and probability, with | between; one of a number gives value,
low and high.

\b
headstart predict flowers.keras tulip.jpg
headstart predict flowers.keras new/ --csv predictions.csv
headstart predict flowers.keras new/ --json > answers.jsonl
headstart predict flowers.keras new/ --explain why/
"""


@click.command(help=HELP, short_help="Name pictures with a classifier.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True)
@click.option("--csv", metavar="FILE|-", help="Write a table (.csv); - writes it to standard output.")
@click.option("--probabilities", is_flag=True, help="With --csv: a column p(CLASS) for every class too.")
@click.option(
    "--explain", metavar="FOLDER", type=click.Path(path_type=Path), help="Write where each answer comes from, as JPEGs."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, in the order of the pictures.")
def command(
    model: Path, paths: tuple[str, ...], csv: str | None, probabilities: bool, explain: Path | None, as_json: bool
) -> None:
    from headstart.answers import check_csv, csv_lines, save_explanations, write_csv
    from headstart.classifier import Classifier

    if probabilities and csv is None:
        raise click.UsageError("--probabilities adds columns to --csv FILE; --json has the probabilities always")
    if csv == "-" and as_json:
        raise click.UsageError("--csv - and --json would both be written to standard output; give --csv a file")
    target = check_csv(csv) if csv not in (None, "-") else None  # before anything is loaded
    if explain is not None:
        _check_folder(explain, paths)
    classifier = Classifier.load(model)
    columns = classifier.class_names if probabilities else ()
    tally = _Tally()

    def answers(predictions: Iterator[Answer]) -> Iterator[Answer]:
        if explain is not None:
            predictions = save_explanations(classifier, predictions, explain)
        return tally.counted(predictions, paths)

    if csv is None:
        for prediction in answers(classifier.predict_each(_pictures(paths))):
            _say(prediction, as_json=as_json)
    elif target is None:
        for line in csv_lines(answers(classifier.predict_each(_pictures(paths))), columns):
            click.echo(line, nl=False)
    else:
        with _common.progress() as show:
            predictions = _shown(answers(_predicted(classifier, paths, show)), as_json=as_json)
            write_csv(predictions, target, probabilities=columns)
        click.echo(f"{target}: {tally}", err=as_json)
    if tally.bad:
        click.echo(f"headstart: {tally.bad:,} of the {tally.count:,} pictures could not be read", err=True)
        sys.exit(2)


class _Tally:
    """How many pictures there were, and of which classes."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.good = self.bad = self.strange = 0

    @property
    def count(self) -> int:
        return self.good + self.bad

    def counted(self, predictions: Iterator[Answer], paths: tuple[str, ...]) -> Iterator[Answer]:
        """The same predictions; refuses a run without any, before a table of nothing is left behind."""
        for prediction in predictions:
            if prediction.error is not None:
                self.bad += 1
            else:
                self.good += 1
                self.labels.update(prediction.kinds)
                self.strange += prediction.known is False
            yield prediction
        if not self.count:
            where = " ".join(paths)
            raise PhotosError(f"there are no pictures in {where}; expected pictures, or folders that hold some")

    def __str__(self) -> str:
        parts = [f"{count:,} {label}" for label, count in self.labels.most_common(8)]
        rest = self.labels.total() - sum(count for _, count in self.labels.most_common(8))
        parts += [f"{rest:,} of other classes"] * bool(rest) + [f"{self.bad:,} unreadable"] * bool(self.bad)
        strange = f"; {self.strange:,} of them look like none of the classes" if self.strange else ""
        return f"{self.count:,} picture{'s' * (self.count != 1)}: {', '.join(parts)}{strange}"


def _check_folder(folder: Path, paths: tuple[str, ...]) -> None:
    """Refuse a place where the pictures themselves are looked for: what is written there would be read again."""
    for path in paths:
        if path != "-" and Path(path).is_dir() and folder.resolve().is_relative_to(Path(path).resolve()):
            raise click.UsageError(
                f"--explain {folder} lies inside {path}, so its pictures would be named too; give it a folder elsewhere"
            )
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"--explain {folder} is a file; expected a folder, new or there already")


def _say(prediction: Answer, *, as_json: bool) -> None:
    if as_json:
        click.echo(_common.json_line(prediction.as_dict()))
    elif prediction.error is not None:
        click.echo(f"{prediction.file}: {prediction.error}", err=True)
    else:
        mark = "  (none of these)" if prediction.known is False else ""
        click.echo(f"{prediction.words}  {prediction.file}{mark}")


def _shown(predictions: Iterator[Answer], *, as_json: bool) -> Iterator[Answer]:
    """Beside a table, standard output has JSON lines or nothing; faults are said at once."""
    for prediction in predictions:
        if as_json or prediction.error is not None:
            _say(prediction, as_json=as_json)
        yield prediction


def _predicted(classifier: Classifier, paths: tuple[str, ...], show: Progress) -> Iterator[Answer]:
    """All predictions, with progress: many pictures, and nothing is said of each."""
    pictures = _pictures(paths) if "-" in paths else list(_pictures(paths))
    total = len(pictures) if isinstance(pictures, list) else None
    done = 0

    def told(more: int, _: int) -> None:
        show("pictures", done + more, total)

    for prediction in classifier.predict_each(pictures, progress=told):
        done += 1
        yield prediction
    if done:
        show("pictures", done, done)


def _pictures(paths: tuple[str, ...]) -> Iterator[str]:
    """Each picture in turn: files as given, folders in sorted order, lines of standard input."""
    from headstart.answers import pictures_in

    for path in paths:
        if path == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif Path(path).is_dir():
            yield from pictures_in(path)
        else:
            yield path
