"""`headstart train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headstart.cli import _common
from headstart.cli._telling import tell

EXAMPLES = """
Train an image classifier on PHOTOS and measure it on pictures that no choice has seen.

PHOTOS is a folder of class folders; a folder with train/ and any of validation/ and test/; a CSV or Parquet with
path,label[,split][,group]; a zip or tar of one of these; or a URL of such an archive.

\b
headstart train flowers/ -o flowers.keras
headstart train flowers/ -o flowers.keras --source mobilenet --image-size 160
headstart train flowers/ -o flowers.keras --source mobilenet --weights my.h5
headstart train labels.csv -o model.keras --head dense --report report.html
"""


@click.command(help=EXAMPLES, short_help="Train a classifier and measure it.")
@click.argument("photos")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The classifier file to write (.keras)."
)
@click.option("--source", help="Pretrained network; see headstart sources.  [default: efficientnet_lite0]")
@click.option(
    "--weights", metavar="FILE|random", help="Weights from a file (.h5, .weights.h5) in place of the source's own."
)
@click.option("--image-size", metavar="N|HxW", callback=_common.image_size, help="Pixels; the source's own by default.")
@click.option("--cut", metavar="LAYER|auto", help="Layer to cut the source at.  [default: auto]")
@click.option("--pooling", type=click.Choice(["auto", "avg", "max", "avg+max", "flatten"]), help="[default: auto]")
@click.option("--head", metavar="NAME", help="linear or dense.  [default: linear]")
@click.option("--augment", metavar="NAME|none", help="[default: none]")
@click.option("--fine-tune", metavar="off", help="[default: off]")
@click.option(
    "--report", type=click.Path(path_type=Path), help="The page to write.  [default: beside the model, .html]"
)
@click.option("--no-report", is_flag=True, help="Write no page.")
@click.option(
    "--holdout", type=float, help="Share kept back for the final figure where there are no splits.  [default: 0.2]"
)
@click.option("--max-bad", type=float, help="Share of unreadable pictures that is put up with.  [default: 0.2]")
@click.option("--seed", type=int, help="Decides splits, folds and initial weights.  [default: 0]")
@_common.as_json
def command(photos: str, output: Path, report: Path | None, no_report: bool, as_json: bool, **options: Any) -> None:
    from headstart.classifier import check_target
    from headstart.recipe import Recipe
    from headstart.train import train

    check_target(output)  # before anything is listed or fetched
    recipe = Recipe(**{name: value for name, value in options.items() if value is not None})
    page = None if no_report else report or output.with_suffix(".html")
    with _common.progress() as show:
        result = train(_common.open_dataset(photos, show), recipe, output=output, report=page, progress=show)
    tell(result, as_json=as_json)
