"""`headstart recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstart.cli import _common
from headstart.cli._telling import tell

if TYPE_CHECKING:
    from headstart.recipe import Recipe

RUN = """
Train on PHOTOS as a recipe says, measure, and write the classifier.

NAME is one of headstart recipes list; FILE is a recipe of your own, or a model, which holds that of the run it came
from. Options go before what the recipe says.

\b
headstart recipes run mobilenetv2-average photos/ -o model.keras
headstart recipes run mine.yaml photos/ -o model.keras --epochs 3
headstart recipes run inceptionv3-mixed7 photos/ -o model.keras \\
  --weights inception_v3.h5 --against inceptionv3-mixed7-dropout
"""


@click.group()
def command() -> None:
    """Recipes: every decision of a training run in one file.

    \b
    headstart recipes list
    headstart recipes show mobilenetv2-average > mine.yaml
    headstart recipes run mine.yaml photos/ -o model.keras

    Edit mine.yaml between the second line and the third. With --json each of them prints one JSON document.
    """


@command.command(name="list")
@_common.as_json
def list_all(as_json: bool) -> None:
    """The recipes that come with headstart.

    \b
    headstart recipes list
    headstart recipes list --json
    """
    from headstart import recipe_files

    found = [recipe_files.find(name) for name in recipe_files.names()]
    if as_json:
        rows = [
            {"name": each.name, "document": each.document, "source": each.recipe.source, "cut": each.recipe.cut,
             "summary": each.summary}
            for each in found
        ]  # fmt: skip
        _common.print_json({"recipes": rows})
        return
    names = max(len(each.name) for each in found)
    for each in found:
        where = f"{each.recipe.source} cut at {each.recipe.cut}"
        click.echo(f"{each.name:<{names}}  {where}, document {each.document}\n  {each.summary}")
    click.echo("\nSee one whole: headstart recipes show NAME")


@command.command(short_help="Print a recipe as its file has it.")
@click.argument("name", metavar="NAME|FILE")
@_common.as_json
def show(name: str, as_json: bool) -> None:
    """Print a recipe as its file has it, ready to be copied and edited; of a model, that of the run it came from.

    \b
    headstart recipes show vgg16-dense
    headstart recipes show vgg16-dense > mine.yaml
    headstart recipes show model.keras > again.yaml
    """
    from headstart import recipe_files

    found = recipe_files.find(name)
    if as_json:
        about = {"name": found.name, "document": found.document, "summary": found.summary, "path": str(found.path)}
        _common.print_json({**about, "recipe": found.recipe.as_dict()})
    else:
        click.echo(found.text, nl=not found.text.endswith("\n"))


@command.command(help=RUN, short_help="Train as a recipe says.")
@click.argument("name", metavar="NAME|FILE")
@click.argument("photos")
@_common.output_option
@_common.weights_option
@_common.image_size_option
@_common.epochs_option
@_common.views_option
@click.option("--against", metavar="NAME|FILE", help="Run this recipe too, and draw the curves of both in one chart.")
@_common.report_option
@_common.no_report_option
@_common.seed_option
@_common.as_json
def run(
    name: str, photos: str, output: Path, against: str | None, report: Path | None, no_report: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    from headstart.classifier import check_target
    from headstart.train import train

    check_target(output)  # before anything is listed or fetched
    recipe = _common.recipe_of(name, options)
    other = _second(against, recipe.source, options) if against is not None else None
    if other == recipe:
        raise click.UsageError(f"--against {against} is the recipe that is run already; name another one")
    label, own = _label(against or ""), _label(name)
    if label == own:  # two files of one name
        label, own = str(against), name
    page = None if no_report else report or output.with_suffix(".html")
    compared = {}
    with _common.progress(each=("training the head", f"{label}: training the head")) as show:
        dataset = _common.open_dataset(photos, show)
        result = train(dataset, recipe, output=output, report=page, progress=show)
        if other is not None:
            compared[label] = train(
                dataset, other, progress=lambda stage, done, total: show(f"{label}: {stage}", done, total)
            )
            if page is not None:
                result = result.write_report(page, name=own, others=compared)
    tell(result, as_json=as_json, against=compared)


def _second(against: str, source: str, options: dict[str, Any]) -> Recipe:
    """The recipe to compare with, under the same options; a weight file is for the source that it was given for."""
    second = _common.recipe_of(against, {**options, "weights": None})
    if second.source != source:
        return second
    return _common.recipe_of(against, options)


def _label(wanted: str) -> str:
    return Path(wanted).stem if Path(wanted).suffix else wanted
