"""What several commands share: options, progress on standard error, tables, JSON."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstart.progress import Progress

if TYPE_CHECKING:
    from headstart.recipe import Recipe

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def image_size(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`160` or `160x200` (height × width) as a pair."""
    if value is None:
        return None
    parts = value.lower().replace("×", "x").split("x")
    if len(parts) not in (1, 2) or not all(part.strip().isdigit() for part in parts):
        raise click.BadParameter(f"expected a number of pixels such as 160, or HEIGHTxWIDTH; got {value!r}")
    return int(parts[0]), int(parts[-1])


def views(_: click.Context, __: click.Parameter, value: str | None) -> str | int | None:
    """A number of views as one; words are the recipe's to judge."""
    return int(value) if value is not None and value.isascii() and value.isdigit() else value


output_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The classifier file to write (.keras)."
)
weights_option = click.option(
    "--weights", metavar="FILE|random", help="Weights from a file (.h5, .weights.h5) in place of the source's own."
)
image_size_option = click.option(
    "--image-size", metavar="N|HxW", callback=image_size, help="Pixels; the source's own by default."
)
views_option = click.option(
    "--views", metavar="live|N", callback=views, help="Views of augmented pictures: new ones each epoch, or N kept."
)
fine_tune_option = click.option(
    "--fine-tune",
    metavar="HOW",
    help="auto, off, full, blocks=N, or the layer above which all is tuned.  [default: auto]",
)
budget_option = click.option(
    "--budget", metavar="SECONDS", type=float, help="What tuning may take at most.  [default: 900 for auto]"
)
epochs_option = click.option("--epochs", metavar="N", type=int, help="Epochs of a head that is trained by epochs.")
report_option = click.option(
    "--report", type=click.Path(path_type=Path), help="The page to write.  [default: beside the model, .html]"
)
no_report_option = click.option("--no-report", is_flag=True, help="Write no page.")
prefer_option = click.option(
    "--prefer", type=click.Choice(["auto", "small", "accurate"]),
    help="Of choices that are level: the cheaper at prediction (small), the one of least loss (accurate), or the"
    " cheaper where they can hardly be told apart.  [default: auto]",
)  # fmt: skip
seed_option = click.option("--seed", type=int, help="Decides splits, folds and initial weights.  [default: 0]")


log_option = click.option(
    "--log", metavar="NAME[=PLACE]", multiple=True,
    help="Log the run: tensorboard[=FOLDER], logs/ beside the model by default, or mlflow[=URI].  May be given twice.",
)  # fmt: skip
strict_option = click.option(
    "--strict", is_flag=True, help="End with status 2 where anything at all is found in the pictures."
)


def recipe_of(wanted: str | None, given: Mapping[str, Any]) -> Recipe:
    """The recipe of that name or file, or the default one, with the options of a command over its fields.

    Args:
        given: fields of the recipe, and `epochs`; None where an option was not given.

    Raises:
        RecipeError: there is no such recipe, or an option does not go with it.
    """
    from headstart import heads, recipe_files
    from headstart.errors import RecipeError
    from headstart.recipe import AUTO, Recipe

    told = {name: value for name, value in given.items() if value is not None}
    base = (recipe_files.find(wanted).recipe if wanted is not None else Recipe()).as_dict()
    epochs, seconds = told.pop("epochs", None), told.pop("budget", None)
    if seconds is not None:
        told["fine_tune_options"] = {**base["fine_tune_options"], "budget": seconds}
    if told.get("head", base["head"]) != base["head"]:
        base["head_options"] = {}  # they are the other head's
    recipe = Recipe.from_dict({**base, **told})
    if told.get("views", AUTO) != AUTO and recipe.augment == "none":
        raise RecipeError(
            f"--views {told['views']} has nothing to draw: no picture is changed.\n"
            "Say how with --augment NAME, such as --augment light, or leave --views out."
        )
    if epochs is None:
        return recipe
    if not heads.find(recipe.head).BY_EPOCHS:
        raise RecipeError(f"--epochs {epochs}: the {recipe.head} head has none; leave it out, or add --head dense")
    return Recipe.from_dict({**recipe.as_dict(), "head_options": {**recipe.head_options, "epochs": epochs}})


def print_json(value: Any) -> None:
    """One JSON document; what is not a number in JSON becomes null."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def json_line(value: Any) -> str:
    """One JSON object on one line."""
    return json.dumps(_plain(value), ensure_ascii=False)


def columns() -> int:
    """How wide a line may be: the terminal's width; ample where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200


def table(names: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table for people on standard output, as wide as the terminal; plain and unwrapped where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=columns())
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        shown.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(str(value)) for value in row))
    console.print(shown)


@contextmanager
def progress(*, each: Collection[str] = ()) -> Iterator[Progress]:
    """Bars with a rate and the time left where standard error is a terminal, plain lines where it is not.

    Args:
        each: stages of which every step is a line of its own.
    """
    if sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _Lines(each=each)


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console

    class Rate(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> str:
            return _rate(task.speed) if task.speed else ""

    columns = (
        rich_progress.TextColumn("{task.description:<20}"), rich_progress.BarColumn(bar_width=None),
        rich_progress.MofNCompleteColumn(), Rate(), rich_progress.TimeRemainingColumn(),
    )  # fmt: skip
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, rich_progress.TaskID] = {}
        ended: set[str] = set()

        def show(stage: str, done: int, total: int | None) -> None:
            if total == 0:
                bars.console.print(stage, highlight=False)
                return
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            elif stage in ended and done != total:
                bars.reset(tasks[stage], total=total, completed=done)  # once more, as for other layers
            (ended.add if done == total else ended.discard)(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _rate(speed: float) -> str:
    """A speed in steps a second, for people.

    >>> _rate(812.3), _rate(3.21), _rate(0.4)
    ('812/s', '3.2/s', '2.5 s each')
    """
    if speed >= 10:
        return f"{speed:,.0f}/s"
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each"


class _Lines:
    """A line when a stage begins, every few seconds while it lasts, and when it ends; or at each step."""

    def __init__(
        self, every: float = 5.0, write: Callable[[str], None] | None = None, each: Collection[str] = ()
    ) -> None:
        self.every, self.each = every, each
        self.write = write or (lambda line: click.echo(line, err=True))
        self.last: dict[str, float] = {}
        self.begun: dict[str, tuple[float, int]] = {}
        self.ended: set[str] = set()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if total == 0:  # a notice
            self.write(stage)
            return
        if stage in self.ended and done != total:  # once more, as for other layers of the same network
            self.ended.discard(stage)
            del self.begun[stage]
        self.begun.setdefault(stage, (now, done))
        if done == total:
            self.ended.add(stage)
        if done != total and stage not in self.each and now - self.last.get(stage, 0.0) < self.every:
            return
        self.last[stage] = now
        begun, before = self.begun[stage]
        speed = (done - before) / (now - begun) if now - begun > 1 else 0.0
        rate = f", {_rate(speed)}" if speed else ""
        left = f", {(total - done) / speed:,.0f} s left" if speed and total and done < total else ""
        self.write(f"{stage}: {done:,}{f' of {total:,}' if total else ''}{rate}{left}")


def open_dataset(photos: str, show: Progress, *, training: bool = True) -> Any:
    """`Dataset.open`, with progress for what is downloaded."""
    from headstart.dataset import Dataset

    if "://" in photos:
        return Dataset.from_url(photos, progress=lambda done, total: show("download", done, total), training=training)
    return Dataset.open(photos, training=training)
