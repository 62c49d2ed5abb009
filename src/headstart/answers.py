"""What a classifier said of many pictures, as a CSV file or as maps of why; and the pictures of a folder, in order.

A row is made from one `Prediction`, which has its own file name: there are no two lists that could slip against each
other.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headstart.classifier import Classifier
from headstart.errors import InputError, PhotosError, PictureError
from headstart.files import atomic_path, why_not_writable
from headstart.folders import is_candidate, is_litter
from headstart.predictions import Answer, Prediction


def pictures_in(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The pictures below a folder, by name, sorted alike on every machine.

    First the folder's own pictures, then those of each folder in it. Names are compared as text, letter by letter, as
    Python's `sorted` and Keras's `flow_from_directory` do: 10.jpg comes before 2.jpg. Files of the system, such as
    `.DS_Store` or `._cat.jpg`, are passed over; links to folders are not followed.

    Raises:
        PhotosError: the folder, or one below it, cannot be read.

    Example:
        >>> list(pictures_in("holiday"))                           # doctest: +SKIP
        ['holiday/1.jpg', 'holiday/10.jpg', 'holiday/2.jpg', 'holiday/beach/1.jpg']
    """

    def refuse(error: OSError) -> None:
        raise PhotosError(f"{error.filename} cannot be read: {error.strerror}.\nCheck its permissions.") from None

    for place, below, files in os.walk(folder, onerror=refuse):
        below[:] = sorted((name for name in below if not is_litter(name)), key=_order)
        for name in sorted(files, key=_order):
            if is_candidate(name) and not is_litter(name):
                yield os.path.join(place, name)


def write_csv(
    predictions: Iterable[Answer], path: str | os.PathLike[str], *, probabilities: Sequence[str] = ()
) -> Path:
    """Write one row a prediction, in their order: file, label, probability, known, error.

    Of labels it has file, labels (with `|` between), known, error; of a number file, value, low, high, known, error.

    The file is whole or not there. A picture that could not be read has its row too, with `error` filled in and the
    rest empty. The text is UTF-8, with quotes where a name has commas, quotes or line breaks. A spreadsheet takes text
    that begins with `=`, `+`, `-` or `@` for a formula: such a file name gets `./` in front, which names the same file,
    and any other such text an apostrophe.

    Args:
        predictions: from `Classifier.predict` or `predict_each`.
        path: where to write; it ends in `.csv`.
        probabilities: classes that get a column of their own, `p(<class>)`, such as the model's `class_names`.

    Raises:
        InputError: the name ends otherwise, or nothing can be written there.

    Example:
        >>> import tempfile
        >>> found = [Prediction("1.jpg", "cat", 0.75, known=True), Prediction("2.jpg", error="the file is empty")]
        >>> print(write_csv(found, tempfile.mkdtemp() + "/answers.csv").read_text(), end="")
        file,label,probability,known,error
        1.jpg,cat,0.75,true,
        2.jpg,,,,the file is empty
    """
    target = check_csv(path)
    with atomic_path(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.writelines(csv_lines(predictions, probabilities))
    return target


def save_explanations(
    classifier: Classifier, predictions: Iterable[Answer], folder: str | os.PathLike[str]
) -> Iterator[Answer]:
    """The same predictions, each with its explanation written to a folder before it is handed on.

    A file is called like its picture, with `.explained.jpg` at the end; of two pictures of one name the second gets a
    number. A picture that cannot be read has none.

    Raises:
        SourceError: the network was cut where nothing has a place; InputError: nothing can be written there.
    """
    taken: set[str] = set()
    for prediction, explanation in classifier.explain_each(predictions):
        if explanation is not None:
            name, number = Path(prediction.file).stem, 1
            while (free := f"{name}-{number}" if number > 1 else name).casefold() in taken:
                number += 1
            taken.add(free.casefold())
            with contextlib.suppress(PictureError):  # it was there a moment ago, and has its answer
                explanation.save(Path(folder) / f"{free}.explained.jpg")
        yield prediction


def check_csv(path: str | os.PathLike[str]) -> Path:
    """The path of a CSV file to be, checked before long work begins.

    Raises:
        InputError: another ending than `.csv`, a folder, or a place where nothing can be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise InputError(f"a table of predictions ends in .csv; got {path}\nWrite: --csv {path.with_suffix('.csv')}")
    if why := why_not_writable(path):
        raise InputError(why)
    return path


def csv_lines(predictions: Iterable[Answer], probabilities: Sequence[str] = ()) -> Iterator[str]:
    """The header and a row a prediction, each with its line feed, one at a time as predictions come."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\r\n")  # so that a name with either of the two is put in quotes

    def written(row: Sequence[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow(row)
        return line.getvalue().removesuffix("\r\n") + "\n"

    waiting = iter(predictions)
    first = next(waiting, None)
    said = (Prediction if first is None else first).COLUMNS
    header = written(["file", *said, "known", "error", *(_text(f"p({name})") for name in probabilities)])
    for each in () if first is None else itertools.chain([first], waiting):
        shares = [_number(each.probabilities.get(name)) for name in probabilities]
        known = "" if each.known is None else str(each.known).lower()
        cells = [_text(cell) if cell is None or isinstance(cell, str) else _number(cell) for cell in each.cells]
        row = [_file(each.file), *cells, known, _text(each.error)]
        yield header + written([*row, *shares])  # with the first row: what fails before it has said nothing
        header = ""
    if header:
        yield header


def _order(name: str) -> tuple[str, str]:
    """A file system may keep é as one sign or as two."""
    return unicodedata.normalize("NFC", name), name


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


def _file(name: str) -> str:
    return _plain(f".{os.sep}{name}" if _FORMULA.match(name) else name)


def _text(value: str | None) -> str:
    """A class may be called -1: a number is no formula."""
    value = value or ""
    return _plain(f"'{value}" if _FORMULA.match(value) and not re.fullmatch(r"[+-]?\d+(\.\d+)?", value) else value)


def _plain(text: str) -> str:
    """A file name may hold bytes that are no UTF-8; they are written as \\udcXX, so that the file stays readable."""
    return text.encode("utf-8", "backslashreplace").decode()
