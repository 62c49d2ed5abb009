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
path,label[,split][,group], where several labels (column labels, with | between) or a number (column value) may stand in
place of label; a zip or tar of one of these; or a URL of such an archive.

\b
headstart train flowers/ -o flowers.keras
headstart train flowers/ -o flowers.keras --source mobilenet --image-size 160
headstart train flowers/ -o flowers.keras --source mobilenet --weights my.h5
headstart train flowers/ -o flowers.keras --source auto
headstart train flowers/ -o flowers.keras --source mobilenetv2+efficientnetb0
headstart train flowers/ -o flowers.keras --source efficientnet_lite0@320
headstart train labels.csv -o model.keras --head dense --augment light
headstart train flowers/ -o flowers.keras --fine-tune blocks=3 --budget 120
headstart train flowers/ -o flowers.keras --fine-tune off
headstart train values.csv -o model.keras
headstart train flowers/ -o flowers.keras --recipe mine.yaml --epochs 5
headstart train flowers/ -o flowers.keras --compare-scratch --scratch-epochs 5
headstart train flowers/ -o flowers.keras --log tensorboard --log mlflow

Where it can pay, the network is tuned too, and kept only where that is better by more than noise; --fine-tune off
leaves it frozen, which takes seconds. A tuning that was broken off goes on where it was when the same command is run
again.

A recipe is every decision at once: one that comes with headstart (see headstart recipes), a file, or a model, which
holds that of the run it came from. Options beside it go before what it says.
"""


@click.command(help=EXAMPLES, short_help="Train a classifier and measure it.")
@click.argument("photos")
@_common.output_option
@click.option("--recipe", metavar="NAME|FILE", help="Every decision at once; the defaults below are without one.")
@click.option(
    "--source",
    metavar="NAME",
    help="Pretrained network, NAME@SIZE for another picture size, NAME+NAME for several side by side, or auto for the"
    " best that is here, alone, on larger pictures or with others.  [default: efficientnet_lite0]",
)
@_common.weights_option
@_common.image_size_option
@click.option(
    "--preprocessing",
    type=click.Choice(["source", "unit"]),
    help="Scale pixels as the source was trained on them, or divide by 255.  [default: source]",
)
@click.option(
    "--cut",
    metavar="LAYER|all|auto",
    help="Layer to cut at; several side by side with + between, or all block ends.  [default: auto]",
)
@click.option("--pooling", type=click.Choice(["auto", "avg", "max", "avg+max", "flatten"]), help="[default: auto]")
@click.option(
    "--head",
    metavar="NAME",
    help="auto, ridge, linear, blend, prototype or dense.  [default: auto, the best out of fold]",
)
@_common.prefer_option
@_common.epochs_option
@click.option(
    "--augment", metavar="NAME|none", help="How training pictures are changed: flip, light, documents.  [default: none]"
)
@_common.views_option
@_common.fine_tune_option
@_common.budget_option
@_common.report_option
@_common.no_report_option
@click.option(
    "--holdout", type=float, help="Share kept back for the final figure where there are no splits.  [default: 0.2]"
)
@click.option("--max-bad", type=float, help="Share of unreadable pictures that is put up with.  [default: 0.2]")
@_common.seed_option
@_common.strict_option
@_common.log_option
@click.option(
    "--compare-scratch", is_flag=True, help="Train the same network from scratch too, and measure the head start."
)
@click.option("--scratch-epochs", metavar="N", type=int, help="Epochs of that.  [default: the head's, else 10]")
@click.option("--scratch-seconds", metavar="S", type=float, help="Seconds of that, in all, in place of epochs.")
@click.option("--scratch-seeds", metavar="N", type=int, help="How many times each is trained.  [default: 3]")
@_common.as_json
def command(
    photos: str, recipe: str | None, output: Path, report: Path | None, no_report: bool, as_json: bool, strict: bool,
    log: tuple[str, ...],
    compare_scratch: bool, scratch_epochs: int | None, scratch_seconds: float | None, scratch_seeds: int | None,
    **options: Any,
) -> None:  # fmt: skip
    from headstart import loggers
    from headstart.classifier import check_target
    from headstart.tasks import only
    from headstart.train import train

    asked = {"epochs": scratch_epochs, "seconds": scratch_seconds, "seeds": scratch_seeds}
    budget: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if compare_scratch:
        from headstart import scratch
    if budget and not compare_scratch:
        raise click.UsageError(f"--scratch-{next(iter(budget))} is for --compare-scratch; add that, or leave it out")
    if compare_scratch:
        scratch.check(**budget)
    loggers.asked(log, output)
    check_target(output)  # before anything is listed or fetched
    decided = _common.recipe_of(recipe, options)
    page = None if no_report else report or output.with_suffix(".html")
    with _common.progress() as show:
        opened = _common.open_dataset(photos, show)
        if compare_scratch:
            only(opened.task, "Training from scratch is compared")
        result = train(opened, decided, output=output, report=page, progress=show, strict=strict, log=log)
        if compare_scratch:  # what was trained is written by now, whatever becomes of this
            result = scratch.compare_scratch(result, progress=show, **budget)
            result = result.write_report(page) if page is not None else result
    tell(result, as_json=as_json)
