"""`headstart demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headstart.cli import _common
from headstart.cli._telling import tell

if TYPE_CHECKING:
    from headstart.result import TrainResult

HELP = """
See the whole way on real pictures: 2,000 simulated pictures of textile, a real ImageNet network, a measured classifier.

A frozen network cannot tell small faults from sound cloth; tuned, it can. What training from scratch reaches in the
same time is measured beside it. Minutes, on two cores; --quick leaves both out and takes seconds.

\b
headstart demo
headstart demo --quick
headstart demo --pictures cats-and-dogs
"""
HOLDOUT = 0.3


@click.command(help=HELP, short_help="See the whole way on real pictures.")
@click.option(
    "--pictures",
    default="textile",
    show_default=True,
    help="textile (comes with the demo extra) or cats-and-dogs (downloaded).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo/demo.keras"),
    show_default=True,
    help="The classifier file to write; the report lies beside it.",
)
@click.option("--quick", is_flag=True, help="Leave the network frozen, and compare with nothing.")
@_common.as_json
def command(pictures: str, output: Path, quick: bool, as_json: bool) -> None:
    from headstart import pictures as known
    from headstart.recipe import Recipe
    from headstart.scratch import compare_scratch
    from headstart.train import train

    page = output.with_suffix(".html")
    with _common.progress() as show:
        dataset = known.find(pictures).open(progress=lambda done, total: show("download", done, total))
        recipe = Recipe(holdout=HOLDOUT, fine_tune="off" if quick else "auto")
        result = train(dataset, recipe, output=output, report=page, progress=show)
        if result.fine_tuned and result.tuning is not None:  # what was trained is written by now
            seconds = max(result.tuning.took, 1.0)
            result = compare_scratch(result, seconds=seconds, seeds=1, progress=show).write_report(page)
    tell(result, as_json=as_json)
    if not as_json:
        for line in _story(result):
            click.echo(f"\n{line}")
        click.echo(f"\nOpen {result.report} in a browser, then try:\n  headstart predict {output} {dataset.path(0)}")


def _story(result: TrainResult) -> list[str]:
    """What was to be seen, in order; nothing where the network was not tuned."""
    from headstart.verdict import verdict

    if result.frozen_evaluation is None or result.tuning is None or result.head_start is None:
        return []
    rates = [candidate.accuracy for candidate in result.choice.candidates]
    side = result.head_start.scratch
    return [
        f"1. Frozen. {verdict(result.frozen_evaluation)}",
        f"2. Why that was not enough. Of {len(rates)} cuts and poolings none reached more than {max(rates):.1%} out of"
        " fold: what parts these classes is not in what the network says.",
        f"3. Tuned. {result.tuning.words}",
        f"4. From scratch, in the {result.tuning.took:.0f} s that tuning took in all:"
        f" {side.best(result.head_start.n).value:.1%}, the best of as many epochs as fit into them ({side.epochs}, in"
        f" {sum(sum(run) for run in side.seconds):.0f} s).",
    ]
