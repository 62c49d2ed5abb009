"""What fine-tuning did, as the report draws it: frozen against tuned, by epoch, what was tried, the rate finder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart import report_charts as charts

if TYPE_CHECKING:  # the page is made without numpy
    from headstart.estimates import Estimate
    from headstart.evaluate import Rate
    from headstart.head_start import HeadStart
    from headstart.tuning_evidence import Tuning


def view(
    tuning: Tuning | None, frozen: Rate | None, tuned: Rate | None, start: HeadStart | None = None
) -> dict[str, Any]:
    """What the template needs, by the names that it uses.

    Args:
        frozen, tuned: both classifiers on the pictures that decided nothing; None where only one of them is there.
        start: the head start, where it was measured: what training from scratch came to on the same pictures.
    """
    if tuning is None:
        return {"tuning_plots": [], "tuning_rows": [], "tuning_axis": ()}
    pairs: list[tuple[str, str, Any]] = []
    if frozen is not None and tuned is not None and math.isfinite(frozen.value):  # a number has no such share
        pairs += [("left frozen", "decided nothing", frozen), ("tuned", "decided nothing", tuned)]
    if pairs and start is not None and start.tuned is not None:
        seconds = sum(sum(run) for run in start.scratch.seconds) / start.seeds
        scratch = _level(start.scratch.best(start.n), start.n)
        pairs.append((f"from scratch, {seconds:.0f} s", "decided nothing", scratch))
    if tuning.frozen is not None and tuning.tuned is not None:
        pairs += [("left frozen", "judged", tuning.frozen.accuracy), ("tuned", "judged", tuning.tuned.accuracy)]
    places, axis = charts.intervals([(rate.value, rate.low, rate.high) for _, _, rate in pairs])
    return {
        "tuning_plots": [*by_epoch(tuning), *rates(tuning.rates)],
        "tuning_rows": list(zip(pairs, places, strict=True)), "tuning_axis": axis,
    }  # fmt: skip


@dataclass(frozen=True)
class _Level:
    """An estimate as the template draws a rate."""

    value: float
    low: float
    high: float
    n: int


def _level(estimate: Estimate, n: int) -> _Level:
    """The same with how many pictures it is of."""
    return _Level(estimate.value, estimate.low, estimate.high, n)


def by_epoch(tuning: Tuning) -> list[charts.Plot]:
    """Accuracy and loss by epoch, in training and on the judging pictures, with the frozen network as a line."""
    history, drawn = tuning.history, []
    epochs = list(range(1, len(history.get("loss", ())) + 1))
    for key, title, rate in (("accuracy", "Accuracy", True), ("loss", "Loss", False)):
        if key not in history:
            continue
        curves = [
            charts.Curve("training, through views", history[key], 2, "6 3"),
            charts.Curve("judging pictures", history[f"val_{key}"], 1),
        ]
        if rate and tuning.frozen is not None:
            level = [tuning.frozen.accuracy.value] * len(epochs)
            curves.append(charts.Curve("judging pictures, frozen", level, 3, "2 4"))
        drawn.append(charts.plot(
            title, epochs, curves, x_label="epoch of tuning", y_label=f"{title.lower()} (%)" if rate else "nats",
            rate=rate,
        ))  # fmt: skip
    return [plot for plot in drawn if plot]


def rates(found: dict[str, Any] | None) -> list[charts.Plot]:
    """The rate finder: loss by learning rate, and the rate that was taken."""
    if not found or not _finite(found["losses"]):
        return []
    line = charts.Curve("training loss", found["losses"])
    drawn = charts.plot(
        "Loss as the learning rate rises", found["rates"], [line], x_label="learning rate", y_label="loss", rate=False,
        log=True, mark=found["found"], mark_label="taken",
    )  # fmt: skip
    return [drawn] if drawn else []


def _finite(values: Sequence[float]) -> bool:
    return any(math.isfinite(value) for value in values)
