"""What the page shows of labels and of a number in place of classes: one function a task."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import images, report
from headstart.errors import PictureError, SourceError
from headstart.label_figures import LabelFigures, LabelsEvaluation
from headstart.listing import number
from headstart.number_figures import NumbersEvaluation
from headstart.predictions import Prediction
from headstart.report_view import keras_snippet

if TYPE_CHECKING:
    from headstart.result import TrainResult

LABELS, OF_A_LABEL = 12, 4
"""Labels whose wrong answers are shown, those with most first, and pictures of each kind."""
FURTHEST = 12
MAP = 240  # pixels of the longer side of a map


def parts(result: TrainResult) -> dict[str, Any]:
    """The fields of `report.Report` that only this task fills."""
    told = {"labels": _labels, "numbers": _numbers}[result.task](result)
    rule = result.rule.words() if result.rule else ""
    others = tuple("; ".join((f"On {other.split}", *map(" ".join, other.lines()))) for other in result.others)
    code = keras_snippet(str(result.model), result.task, result.dataset.classes) if result.model else ()
    nothing = report.Rate(float("nan"), float("nan"), float("nan"), result.evaluation.n, result.evaluation.split)
    return {
        "accuracy": nothing, "other_figures": (), "rule_words": " ".join(text for text in (rule, *others) if text),
        "how_to_load": code, **told,
    }  # fmt: skip


# ---- labels ---------------------------------------------------------------------------------------------------------


def _labels(result: TrainResult) -> dict[str, Any]:
    evaluation: LabelsEvaluation = result.evaluation
    mean, span = evaluation.mean_average_precision, evaluation.mean_average_precision_interval
    exact, before = evaluation.exact, result.before
    return {
        "headline": report.Headline(
            value=report.percent(mean),
            words=f"average precision, the mean over {number(len(evaluation.classes), 'label')}",
            interval=_interval(report.percent(span[0]), report.percent(span[1]), evaluation.n, evaluation.split, span),
            rate=report.Rate(mean, *span, evaluation.n, evaluation.split),
            guess=evaluation.guessing["average_precision"], guess_words="guessing",
            before=before.mean_average_precision if before is not None else None,
            facts=(
                ("Every label right", report.percent(exact.value),
                 f"95 % interval {report.percent(exact.low)} to {report.percent(exact.high)}, of the pictures"),
                ("Decisions right", report.percent(evaluation.decisions),
                 f"label by label; always what is commoner {report.percent(evaluation.guessing['decisions'])}"),
            ),
            note=result.looks,
        ),
        "loss": evaluation.loss, "loss_words": "Binary cross-entropy", "score_words": "Share of label decisions right",
        "labels": tuple(_row(figures) for figures in evaluation.per_label),
        "missed": _missed(result),
    }  # fmt: skip


def _row(figures: LabelFigures) -> report.LabelRow:
    return report.LabelRow(
        figures.name, figures.n, figures.average_precision, figures.average_precision_interval, figures.guessing,
        figures.threshold, figures.precision, figures.precision_interval, figures.recall, figures.recall_interval,
        figures.f1, figures.f1_interval,
    )  # fmt: skip


def _missed(result: TrainResult) -> tuple[report.LabelMistakes, ...]:
    """For each label the pictures that it was said of wrongly, and those that it was missed on, the worst first."""
    evaluation: LabelsEvaluation = result.evaluation
    said = dict(zip(evaluation.outcomes.rows.tolist(), evaluation.said, strict=True))
    by_label: dict[int, tuple[list[tuple[int, float]], list[tuple[int, float]]]] = {}
    for row, label, probability in evaluation.mistakes:
        kinds = by_label.setdefault(label, ([], []))
        kinds[0 if said[row][label] else 1].append((row, probability))
    order = sorted(by_label, key=lambda label: -sum(map(len, by_label[label])))[:LABELS]
    shown = [(row, label) for label in order for kind in by_label[label] for row, _ in kind[:OF_A_LABEL]]
    maps = _maps(result, shown)

    def pictures(label: int, rows: Sequence[tuple[int, float]]) -> tuple[report.Missed, ...]:
        made = []
        for row, probability in rows[:OF_A_LABEL]:
            with contextlib.suppress(PictureError):
                data = images.thumbnail_jpeg(result.dataset.path(row))
                file, names = result.dataset.files[row], result.dataset.names[row]
                made.append(report.Missed(file, data, names, probability, maps.get((row, label))))
        return tuple(made)

    return tuple(
        report.LabelMistakes(
            evaluation.classes[label], len(by_label[label][0]), len(by_label[label][1]),
            pictures(label, by_label[label][0]), pictures(label, by_label[label][1]),
        )
        for label in order
    )  # fmt: skip


def _maps(result: TrainResult, asked: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Small pictures of what spoke for a label; none where the network was cut behind all places."""
    drawn = {}
    classes, dataset = result.dataset.classes, result.dataset
    wanted = [Prediction(str(dataset.path(row)), label=classes[label]) for row, label in asked]
    with contextlib.suppress(SourceError):
        for key, (_, found) in zip(asked, result.classifier.explain_each(wanted), strict=True):
            if found is not None:
                with contextlib.suppress(PictureError):
                    drawn[key] = images.array_jpeg(found.overlay(MAP))
    return drawn


# ---- numbers --------------------------------------------------------------------------------------------------------


def _numbers(result: TrainResult) -> dict[str, Any]:
    evaluation: NumbersEvaluation = result.evaluation
    mae, covered = evaluation.mae, evaluation.coverage
    facts = [
        ("Always saying the same", f"{evaluation.guess_mae.value:.4g}",
         f"off on average: {evaluation.guess.median:.4g}, the median of the training pictures"),
        ("RMSE", f"{evaluation.rmse.value:.4g}",
         f"{_span(evaluation.rmse)}; always saying the training mean {evaluation.guess_rmse.value:.4g}"),
        ("R²", f"{evaluation.r2.value:.3f}", f"{_span(evaluation.r2)}; the share of the variance that is told"),
    ]  # fmt: skip
    if covered is not None:
        facts.append(("Within its interval", report.percent(covered.value),
                      f"95 % interval {report.percent(covered.low)} to {report.percent(covered.high)};"
                      f" {evaluation.promised:.0%} promised"))  # fmt: skip
    half = getattr(result.rule, "half_width", None)
    outcomes = evaluation.outcomes
    return {
        "headline": report.Headline(
            value=f"{mae.value:.4g}", words="off on average (mean absolute error)",
            interval=_interval(
                f"{mae.low:.4g}", f"{mae.high:.4g}", evaluation.n, evaluation.split, (mae.low, mae.high)
            ),
            facts=tuple(facts), note=result.looks,
        ),
        "loss": None, "loss_words": "Squared error over variance", "score_words": "R², the share of the variance told,",
        "numbers": report.NumbersPart(
            tuple(zip(outcomes.truth.tolist(), outcomes.predicted.tolist(), strict=True)), half, evaluation.promised
        ),
        "furthest": _furthest(result),
    }  # fmt: skip


def _furthest(result: TrainResult) -> tuple[report.Off, ...]:
    evaluation: NumbersEvaluation = result.evaluation
    truth = dict(zip(evaluation.outcomes.rows.tolist(), evaluation.outcomes.truth.tolist(), strict=True))
    told = []
    for row, _, predicted in evaluation.mistakes[:FURTHEST]:
        with contextlib.suppress(PictureError):
            data = images.thumbnail_jpeg(result.dataset.path(row))
            told.append(report.Off(result.dataset.files[row], data, truth[row], predicted))
    return tuple(told)


def _span(figure: Any) -> str:
    return f"95 % interval {figure.low:.4g} to {figure.high:.4g}" if np.isfinite(figure.low) else "too few pictures"


def _interval(low: str, high: str, n: int, split: str, ends: tuple[float, float]) -> str:
    span = f"95 % interval {low} to {high}, " if np.isfinite(ends[0]) else ""
    return f"{span}n = {n:,} {split} pictures"
