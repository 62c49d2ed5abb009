"""The command line: argv → one call → print. One file a command, found by listing this folder."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pkgutil
import sys

import click

from headstart import __version__
from headstart.errors import HeadstartError, near

ORDER = ("demo", "check", "sources", "rank", "recipes", "train", "finetune", "evaluate", "predict", "cache")


class _Commands(click.Group):
    """Commands from the files of this folder; each is imported only when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
        return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            known = f"there is no command {args[0]!r}; there is {', '.join(names)}."
            raise click.UsageError(known + near(args[0], names), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read our output has had enough; click itself would give status 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ctx.exit(0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="headstart")
def cli() -> None:
    """A folder of pictures in, an image classifier you can trust out.

    \b
    headstart demo                              see it work on real pictures
    headstart check flowers/                    look the pictures over
    headstart train flowers/ -o flowers.keras   train, measure, write a report
    headstart predict flowers.keras tulip.jpg   use what was trained
    """


def main() -> None:
    """Run the command line; the exit status is 0 done, 2 the input's fault, 1 headstart's own."""
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stdin, "surrogateescape")):
        with contextlib.suppress(AttributeError, ValueError):  # a stream of somebody else's
            stream.reconfigure(errors=errors)  # type: ignore[union-attr]  # file names need not be text
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        _interrupted()
    except KeyboardInterrupt as error:
        _interrupted(str(error))
    except HeadstartError as error:
        click.echo(f"headstart: {error}", err=True)
        sys.exit(error.exit_status)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _PLACE_AT_FAULT:
            click.echo(f"headstart: {error.strerror}: {error.filename or 'while writing'}", err=True)
            sys.exit(2)
        import traceback

        traceback.print_exc()
        said = f"headstart: this is a fault of headstart's own ({type(error).__name__}); please report it."
        click.echo(said, err=True)
        sys.exit(1)
    sys.exit(status)


_PLACE_AT_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the operating system says where a disk is full or a folder may not be used."""


def _interrupted(more: str = "") -> None:
    said = "headstart: interrupted. No half-written file is left; computed features are kept for the next run."
    click.echo(f"{said}\nheadstart: {more}" if more else said, err=True)
    sys.exit(130)
