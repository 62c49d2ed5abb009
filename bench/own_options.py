"""Options that belong to some measurements alone, kept as tables beside them: name, default, kind, several or one, what
it is for, which measurements it concerns."""

from functools import partial


def add(parser, title, options):
    """Give a parser the options of a table, under a title."""
    group = parser.add_argument_group(title)
    for name, default, kind, several, text, _ in options:
        group.add_argument(f"--{name}", type=kind, nargs=several, default=default, help=f"{text} (default: {default})")


def bound(measurements, given):
    """The measurements as run.py calls them, their options filled in."""
    return {name: partial(measure, given=given) for name, measure in measurements.items()}


def told(given, measurement, options):
    """The options of a command line that matter to a measurement and are not the defaults."""
    text = ""
    for name, default, _, several, _, concerned in options:
        value = getattr(given, name.replace("-", "_"))
        if measurement in concerned and value != default:
            text += f" --{name} {' '.join(map(str, value)) if several else value}"
    return text
