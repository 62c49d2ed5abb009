"""`headstart finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headstart.cli import _common
from headstart.cli._telling import tell

HELP = """
Tune the network of a classifier on PHOTOS, and keep the tuned one only where it is better by more than noise.

\b
headstart finetune flowers.keras flowers/ -o tuned.keras
headstart finetune flowers.keras flowers/ -o tuned.keras --fine-tune blocks=3
headstart finetune flowers.keras flowers/ -o tuned.keras --budget 600
headstart finetune flowers.keras flowers/ -o tuned.keras --option epochs=5
headstart finetune mobilenetv2-average photos/ -o tuned.keras
headstart finetune flowers.keras flowers/ -o tuned.keras --log tensorboard

The first argument is a classifier that headstart has trained, or a recipe: it says which network and head, and where
it is cut, unless --fine-tune is auto, which may find a better place. The head is fitted first and the network is tuned
from there; what is cached of an earlier run is used. A tuning that was broken off, by Ctrl-C or a power cut, goes on
where it was when the same command is run again.
"""


@click.command(help=HELP, short_help="Tune a classifier's network, safely.")
@click.argument("model", metavar="MODEL|RECIPE")
@click.argument("photos")
@_common.output_option
@_common.fine_tune_option
@_common.budget_option
@click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    help="How it is tuned: epochs, batch_size, learning_rate, layer_decay, warmup, label_smoothing, weight_decay,"
    " clip_norm, batch_norm, momentum, patience, balanced, mixup, cutmix, ema, refit. May be given several times.",
)
@click.option("--find-rate", is_flag=True, help="Look for the learning rate first, and draw what was found.")
@click.option("--augment", metavar="NAME|none", help="How training pictures are changed: flip, light, documents.")
@_common.report_option
@_common.no_report_option
@_common.seed_option
@_common.log_option
@_common.as_json
def command(
    model: str, photos: str, output: Path, options: tuple[str, ...], find_rate: bool, report: Path | None,
    no_report: bool, as_json: bool, fine_tune: str | None, log: tuple[str, ...], **given: Any,
) -> None:  # fmt: skip
    from headstart import loggers, recipe_files
    from headstart.api import finetune
    from headstart.classifier import check_target

    loggers.asked(log, output)
    check_target(output)
    recipe_files.find(model)  # before the pictures, which may take long to open
    told = _options(options)
    if find_rate:
        told["find_rate"] = True
    budget, more = given.pop("budget"), {name: value for name, value in given.items() if value is not None}
    if budget is not None:
        told["budget"] = budget
    page = None if no_report else report or output.with_suffix(".html")
    with _common.progress() as show:
        dataset = _common.open_dataset(photos, show)
        result = finetune(
            model, dataset, fine_tune=fine_tune or "auto", output=output, report=page, progress=show, options=told,
            log=log, **more,
        )  # fmt: skip
    tell(result, as_json=as_json)


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    """`NAME=VALUE` as plain values: numbers and switches as such.

    >>> _options(("epochs=5", "learning_rate=3e-4", "batch_norm=adapt", "balanced=true"))
    {'epochs': 5, 'learning_rate': 0.0003, 'batch_norm': 'adapt', 'balanced': True}
    """
    told: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise click.UsageError(f"--option takes NAME=VALUE, such as epochs=5; got {each!r}")
        told[name.strip()] = _value(text.strip())
    return told


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
