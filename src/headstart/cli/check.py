"""`headstart check`."""

from __future__ import annotations

import click

from headstart.cli import _common

HELP = """
Look PHOTOS over before training: what cannot be read, copies within and across splits, one picture under two
labels, classes missing from a split. Nothing is changed.

\b
headstart check flowers/
headstart check flowers/ --json
"""


@click.command(help=HELP, short_help="Look pictures over before training.")
@click.argument("photos")
@_common.as_json
def command(photos: str, as_json: bool) -> None:
    from headstart.audit import audit, unreadable
    from headstart.findings import counts
    from headstart.splitting import split

    with _common.progress() as show:
        dataset = _common.open_dataset(photos, show).digested(lambda done, total: show("reading", done, total))
        bad = unreadable(dataset, progress=lambda done, total: show("decoding", done, total))
        divided = split(dataset)
        findings = (*divided.findings, *audit(divided, unreadable=bad))
    if as_json:
        found = [finding.as_dict() for finding in findings]
        told = {"findings": found, "counts": counts(findings), "images": len(dataset), "unreadable": len(bad)}
        _common.print_json(told)
        return
    click.echo(str(dataset))
    for finding in findings:
        click.echo(f"\n{finding.kind.replace('_', ' ')}: {finding.note}\n  {finding.action}")
        for file in finding.files[:5]:
            click.echo(f"    {file}")
        if len(finding.files) > 5:
            click.echo(f"    and {len(finding.files) - 5} more")
    if not findings:
        click.echo("\nNothing to report.")
