"""`headstart rank`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headstart.cli import _common

if TYPE_CHECKING:
    from headstart.ranking import Ranking

HELP = """
Rank pretrained networks on PHOTOS: every source, cut, pooling and head, with what prediction costs. Nothing is trained.

One pass a source gives all its cuts. Without --sources the best one is tried on larger pictures too, and the best ones
side by side, where the passes of the others have paid for that. Figures are out of fold on the training pictures; those
that a final figure will be of take no part. Rows marked = cannot be told from the best by these pictures; recommended,
marked *, is the row of least loss, or one that is level with it and cheaper. Then: headstart train PHOTOS --source
auto, or the row's own source and cut.

\b
headstart rank flowers/
headstart rank flowers/ --sources mobilenetv2,efficientnetb0@160 --budget 60
headstart rank flowers/ --sources mobilenetv2,mobilenetv2+efficientnetb0
headstart rank flowers/ --sources efficientnet_lite0,mobilenetv2=my.h5
headstart rank flowers/ --report ranking.html --json
"""

SHOWN = 20


@click.command(help=HELP, short_help="Rank sources, cuts and heads on pictures.")
@click.argument("photos")
@click.option(
    "--sources",
    metavar="A,B,C",
    help="NAME, NAME=FILE for weights of your own, NAME@SIZE.  [default: all that are here]",
)
@click.option("--heads", metavar="A,B", help="Heads to fit on the best cuts.  [default: all of them]")
@_common.image_size_option
@click.option("--pooling", type=click.Choice(["auto", "avg", "max", "avg+max"]), help="[default: auto]")
@click.option("--budget", metavar="SECONDS", type=float, help="Give the best answer by then, and say what is missing.")
@click.option("--report", type=click.Path(path_type=Path), help="A page to write: the picture and the table (.html).")
@click.option(
    "--holdout", type=float, help="Share kept back for a final figure where there are no splits.  [default: 0.2]"
)
@_common.prefer_option
@_common.seed_option
@_common.as_json
def command(
    photos: str, sources: str | None, heads: str | None, image_size: tuple[int, int] | None, pooling: str | None,
    budget: float | None, report: Path | None, prefer: str | None, holdout: float | None, seed: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    from headstart.api import rank

    with _common.progress() as show:
        found = rank(
            _common.open_dataset(photos, show), sources, heads=heads, image_size=image_size, pooling=pooling or "auto",
            budget=budget, report=report, prefer=prefer or "auto", holdout=0.2 if holdout is None else holdout,
            seed=seed or 0, progress=show,
        )  # fmt: skip
    if as_json:
        _common.print_json(found.as_dict())
    else:
        _tell(found)


def _percent(rate: float) -> str:
    return "" if math.isnan(rate) else f"{rate:.1%}"


def _tell(found: Ranking) -> None:
    click.echo(f"\n{found.verdict}\n")
    if found.prior is not None:
        click.echo(f"by the rule of thumb: {found.prior}.\n")
    names = ("", "accuracy", "95 % interval", "neighbours", "ms", "MB", "source", "cut", "pooling", "head")
    rows = [
        ("*" if row.recommended else "=" if row.level else "", _percent(row.accuracy),
         f"{row.low:.1%} to {row.high:.1%}",
         _percent(row.neighbours), f"{row.milliseconds_per_image:.2g}",
         f"{row.size_mb:.1f}", row.source, row.cut, row.pooling, row.head + (" (probe)" if row.probe else ""))
        for place, row in enumerate(found.rows) if place < SHOWN or row.recommended
    ]  # fmt: skip
    _common.table(names, rows, right=("accuracy", "neighbours", "ms", "MB"))
    if len(found.rows) > SHOWN:
        click.echo(f"and more, {len(found.rows):,} rows in all; see them with --json or --report")
    for text in (*found.dropped, *found.not_tried, *found.notes):
        click.echo(text)
    click.echo(f"{found.seconds:.1f} seconds" + (f"; {found.report}" if found.report else ""))
    sys.stdout.flush()
