"""`headstart cache`."""

from __future__ import annotations

import click

from headstart.cli import _common


@click.group(short_help="Show, shrink or empty what is kept between runs.")
def command() -> None:
    """Show, shrink or empty what is kept between runs: features, compiled networks, unpacked archives.

    \b
    headstart cache show
    headstart cache prune --to 2
    headstart cache clear

    HEADSTART_CACHE names its folder; HEADSTART_CACHE_GB limits the features (10 by default).
    """


@command.command()
@_common.as_json
def show(as_json: bool) -> None:
    """What is kept, where, and how much of it.

    \b
    headstart cache show
    headstart cache show --json
    """
    from headstart.caching import contents

    found = contents()
    if as_json:
        _common.print_json(found)
        return
    click.echo(f"{found['folder']}: {_size(found['bytes'])}, features limited to {_size(found['limit'])}\n")
    rows = [(part["name"], part["entries"], _size(part["bytes"])) for part in found["parts"]]
    _common.table(("part", "entries", "size"), rows, right=("entries", "size"))
    if found["openings"]:
        click.echo(f"\nlooks at test pictures that were noted: {found['openings']:,}")
    if found["spaces"]:
        click.echo()
        rows = [(space["label"], f"{space['pictures']:,}", _size(space["bytes"])) for space in found["spaces"]]
        _common.table(("features of", "pictures", "size"), rows, right=("pictures", "size"))


@command.command()
@click.option("--to", "gib", type=click.FloatRange(0), help="GiB of features to keep at most; the limit by default.")
@_common.as_json
def prune(gib: float | None, as_json: bool) -> None:
    """Drop what was used longest ago.

    \b
    headstart cache prune            down to the limit
    headstart cache prune --to 2     down to 2 GiB
    """
    from headstart.caching import prune as prune_to

    done = prune_to(None if gib is None else int(gib * 2**30))
    if as_json:
        _common.print_json(done)
    else:
        dropped = f"{done['rows']:,} pictures' features and {done['folders']:,} other entries"
        click.echo(f"{dropped} were dropped; {_size(done['bytes'])} stay.")


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@_common.as_json
def clear(yes: bool, as_json: bool) -> None:
    """Drop everything; the next run computes it again. What stays is how often test pictures were looked at.

    \b
    headstart cache clear
    headstart cache clear --yes
    """
    from headstart.caching import clear as clear_all
    from headstart.files import cache_folder
    from headstart.ledger import count, ledger_path

    if not yes and not as_json:
        click.confirm(f"Drop everything headstart keeps in {cache_folder()}?", abort=True)
    freed = clear_all()
    if as_json:
        _common.print_json({"freed": freed, "openings": count()})
        return
    click.echo(f"{_size(freed)} freed.")
    if looks := count():
        noun = "look" if looks == 1 else "looks"
        kept = f"The note of {looks:,} {noun} at test pictures stays in {ledger_path()}"
        click.echo(f"{kept}: looks cannot be taken back.")


def _size(count: object) -> str:
    value = float(str(count))
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
