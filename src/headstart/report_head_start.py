"""The head start and the learning curve as the report draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstart import report_charts as charts
from headstart.head_start import HeadStart, Side, means

if TYPE_CHECKING:
    from headstart.learning_curve import LearningCurve


def view(start: HeadStart | None, curve: LearningCurve | None) -> dict[str, list[charts.Plot]]:
    """The charts of both, by the names that the template uses; with a head start its learning curve is beside it."""
    beside = by_pictures(start.curve, start.scratch.best(start.n).value) if start else []
    return {"start_plots": by_epoch(start) + beside, "curve_plots": by_pictures(curve)}


def by_epoch(start: HeadStart | None) -> list[charts.Plot]:
    """Accuracy by epoch of both sides, the mean over the seeds in its interval; epoch 0 is before training."""
    if start is None:
        return []
    curves = [_curve("reused", start.reused, start.n, 1), _curve("from scratch", start.scratch, start.n, 2, "6 3")]
    drawn = charts.plot(
        f"Accuracy by epoch, on the {start.split} pictures", list(range(start.epochs + 1)), curves, x_label="epoch",
        y_label="accuracy (%)", rate=True,
    )  # fmt: skip
    return [drawn] if drawn else []


def by_pictures(curve: LearningCurve | None, level: float | None = None) -> list[charts.Plot]:
    """Accuracy by the number of training pictures, on a logarithmic axis, and where it would probably go on.

    Args:
        level: the best accuracy of training from scratch on all pictures, drawn as a line to be reached.
    """
    if curve is None:
        return []
    sizes: list[float] = [point.pictures for point in curve.points]
    rates = [point.accuracy for point in curve.points]
    measured = charts.Curve(
        "measured", [rate.value for rate in rates], 1, low=[rate.low for rate in rates],
        high=[rate.high for rate in rates],
    )  # fmt: skip
    curves, outlook = [measured], curve.outlook
    if outlook is not None and outlook.told:
        then = outlook.accuracy
        curves.append(charts.Curve(
            "where it would probably go on", [rates[-1].value, then.value], 3, "2 4",
            low=[rates[-1].value, then.low], high=[rates[-1].value, then.high], start=len(sizes) - 1,
        ))  # fmt: skip
        sizes.append(2 * outlook.pictures)
    if level is not None:
        curves.append(charts.Curve("from scratch with all of them, at its best", [level] * len(rates), 2, "6 3"))
    where = "out of fold" if curve.measured_on == "out of fold" else f"on the {curve.measured_on} pictures"
    drawn = charts.plot(
        f"Accuracy by training pictures, {where}", sizes, curves, x_label="training pictures", y_label="accuracy (%)",
        rate=True, log=True, x_marks=_apart(sizes),
    )  # fmt: skip
    return [drawn] if drawn else []


def _curve(name: str, side: Side, n: int, colour: int, dash: str = "") -> charts.Curve:
    values, low, high = means(side, n)
    return charts.Curve(name, values, colour, dash, low=low, high=high)


def _apart(sizes: Sequence[float]) -> list[float]:
    """Those of the sizes whose numbers do not run into each other on a logarithmic axis; the ends always."""
    kept = [sizes[-1]]
    whole = math.log(sizes[-1] / sizes[0]) if sizes[-1] > sizes[0] else 1.0
    for size in reversed(sizes[:-1]):
        if math.log(kept[-1] / size) / whole > 0.12:
            kept.append(size)
    return kept[::-1]
