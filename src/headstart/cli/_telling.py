"""What `train` and `demo` say of a training result."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

import click

from headstart.cli import _common


def tell(result: Any, *, as_json: bool) -> None:
    """Print a training result: JSON, or what a person wants to know first."""
    if as_json:
        _common.print_json(result.as_dict())
        return
    images, seconds, before = result.images(), result.seconds, result.before.accuracy.value
    recipe = result.recipe
    click.echo("\n" + "\n".join(_wrapped(result.verdict)) + "\n")
    parts = ", ".join(f"{count:,} {name}" for name, count in images.items() if count)
    rows = [
        ("pictures", f"{parts}, in {len(result.dataset.classes)} classes"),
        ("source", f"{recipe.source}, cut at {recipe.cut}, {recipe.pooling} pooled, {result.head.name} head"),
        ("why this cut", result.choice.why),
        ("before training", f"{before:.1%}"),
        ("accuracy", f"{result.accuracy.value:.1%} ({result.accuracy.low:.1%} to {result.accuracy.high:.1%}),"
                     f" n = {result.accuracy.n:,}, {result.accuracy.split}"),
        ("seconds", f"{seconds['total']:.1f} in all: features {seconds['features']:.1f}, head {seconds['head']:.1f}"),
        ("features", f"{result.features.hits:,} found, {result.features.misses:,} computed"),
    ]  # fmt: skip
    if result.findings:
        from headstart.findings import counts

        found = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts(result.findings).items())
        rows.append(("findings", f"{found}; see the report, or headstart check"))
    if result.model:
        rows.append(("model", str(result.model)))
    if result.report:
        rows.append(("report", str(result.report)))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        lines = _wrapped(text, width + 2)
        click.echo(f"{name:<{width}}  " + f"\n{'':<{width}}  ".join(lines))


def _wrapped(text: str, indent: int = 0) -> list[str]:
    """Lines as wide as the terminal leaves room for; one line where there is none. Paths stay whole."""
    room = _common.columns() if sys.stdout.isatty() else 10_000
    return textwrap.wrap(text, max(room - indent, 20), break_long_words=False, break_on_hyphens=False)
