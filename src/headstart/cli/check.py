"""`headstart check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headstart.cli import _common

if TYPE_CHECKING:
    from headstart.findings import Findings

HELP = """
Look PHOTOS over before training. Nothing is changed and nothing is deleted.

Found are: pictures that cannot be read; odd ones (tiny, of one shade, very long); copies and nearly the same pictures,
across splits first of all; one picture under two labels; classes missing from a split, or with very few pictures
beside another; classes that differ in file type, size, colour or border, which a classifier would learn in place of
the content; labels that are likely wrong.

Wrong labels are told by a network: by default the one that headstart train takes by default, where it is here. Its
pass over the pictures takes the longest, but is made once: training finds the features in the cache.

\b
headstart check flowers/
headstart check flowers/ --source none
headstart check flowers/ --json --strict
"""

MOST = 10
"""Findings of one kind that are told to a person; `--json` has all."""


@click.command(help=HELP, short_help="Look pictures over before training.")
@click.argument("photos")
@click.option(
    "--source",
    metavar="NAME|auto|none",
    default="auto",
    help="Network that tells wrong labels; none looks at the files alone.  [default: auto]",
)
@_common.strict_option
@_common.as_json
def command(photos: str, source: str, strict: bool, as_json: bool) -> None:
    from headstart.checkup import check

    with _common.progress() as show:
        found = check(_common.open_dataset(photos, show), source=source, progress=show)
    findings = found.findings
    if as_json:
        rows = [finding.as_dict() for finding in findings]
        told = {"findings": rows, "counts": findings.counts, "images": len(found.dataset)}
        _common.print_json({**told, "unreadable": found.unreadable, "source": found.source})
    else:
        click.echo(str(found.dataset))
        _tell(findings)
        if found.source is None:
            none = (
                "no network did. See --source."
                if found.dataset.task == "classes"
                else "that is for one class a picture."
            )
            click.echo(f"\nLabels were not looked at: {none}")
    if strict and findings:
        count = len(findings)
        click.echo(f"headstart: {count:,} finding{'s' * (count > 1)}, and --strict allows none.", err=True)
        sys.exit(2)


def _tell(findings: Findings) -> None:
    seen: dict[str, int] = {}
    for finding in findings:
        seen[finding.kind] = seen.get(finding.kind, 0) + 1
        if seen[finding.kind] > MOST:
            continue
        click.echo(f"\n{finding.kind.replace('_', ' ')}: {finding.note}\n  {finding.action}")
        for file in finding.files[:5]:
            click.echo(f"    {file}")
        if len(finding.files) > 5:
            click.echo(f"    and {len(finding.files) - 5} more")
    for kind, count in seen.items():
        if count > MOST:
            click.echo(f"\n{kind.replace('_', ' ')}: {count - MOST:,} more; --json tells all of them.")
    if not findings:
        click.echo("\nNothing to report.")
