"""`headstart demo`."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli import _common
from headstart.cli._telling import tell

HELP = """
See the whole way on real pictures: 2,000 simulated pictures of textile, a real ImageNet network, a measured classifier.

\b
headstart demo
headstart demo --pictures cats-and-dogs
"""


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
@_common.as_json
def command(pictures: str, output: Path, as_json: bool) -> None:
    from headstart import pictures as known
    from headstart.train import train

    with _common.progress() as show:
        dataset = known.find(pictures).open(progress=lambda done, total: show("download", done, total))
        result = train(dataset, output=output, report=output.with_suffix(".html"), progress=show)
    tell(result, as_json=as_json)
    if not as_json:
        click.echo(f"\nOpen {result.report} in a browser, then try:\n  headstart predict {output} {dataset.path(0)}")
