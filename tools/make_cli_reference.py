"""Write docs/cli.md: the command line as it tells of itself.

Run it after a change of a command; with --check it changes nothing, and fails where the file is out of date:

    python tools/make_cli_reference.py
    python tools/make_cli_reference.py --check
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from headstart.cli import cli

TARGET = Path(__file__).parents[1] / "docs/cli.md"
WIDTH = 100

HEAD = """# The command line

Made from each command's own `--help` by `python tools/make_cli_reference.py`; `make check` fails where the two differ.

## Common to all commands

- `--json`: standard output holds exactly one JSON document (`predict`: one JSON object a line, in the order of the
  pictures) and everything for people goes to standard error.
- Exit status: 0 done; 2 the input or the arguments are at fault, with a message of one to three lines; 1 a fault of
  headstart's own; 130 interrupted by Ctrl-C.
- Long work shows a bar with a rate and the time left where standard error is a terminal, and plain lines where it is
  not.
- Surroundings: `HEADSTART_CACHE` names the folder of what is kept between runs (else the platform's cache folder);
  `HEADSTART_CACHE_GB` limits the features in it (10 by default); `HEADSTART_ENGINE` is `openvino` or `keras`;
  `HEADSTART_PRECISION` is `f32` or `bf16`.
"""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[click.Context, str]]:
    """Each command with its help, a group before what it holds, as a terminal of `WIDTH` columns shows it."""
    context = click.Context(command, parent, info_name=name, terminal_width=WIDTH, **command.context_settings)
    yield context, command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from commands(found, below, context)


def reference() -> str:
    """The whole document."""
    parts = [HEAD]
    for context, text in commands(cli, "headstart"):
        words = context.command_path
        heading = "#" * min(len(words.split()) + 1, 4)
        body = "\n".join(line.rstrip() for line in text.splitlines())
        parts.append(f"{heading} {words}\n\n```text\n{body}\n```\n")
    return "\n".join(parts)


def main() -> int:
    new = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(new, encoding="utf-8")
        return 0
    old = TARGET.read_text(encoding="utf-8") if TARGET.is_file() else ""
    if old == new:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(old.splitlines(True), new.splitlines(True), "docs/cli.md", "what --help says")
    )
    print("\ndocs/cli.md is out of date. Write it anew: python tools/make_cli_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
