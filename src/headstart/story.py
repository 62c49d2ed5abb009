"""A training result, told as a page: which facts the report shows and which pictures stand for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import images, report, sources
from headstart.errors import PictureError
from headstart.evaluate import Rate
from headstart.findings import Finding

if TYPE_CHECKING:
    from headstart.result import TrainResult

SAMPLES = 9
MISTAKES = 12
FINDING_PICTURES = 24


def tell(result: TrainResult) -> report.Report:
    """Everything that the page needs, as plain data."""
    dataset, evaluation, recipe = result.dataset, result.evaluation, result.recipe
    source = sources.find(recipe.source)
    chosen = result.choice.chosen
    note = "these pictures were used for no choice"
    return report.Report(
        title=dataset.root.name if dataset.root else "pictures",
        verdict=result.verdict,
        accuracy=_rate(evaluation.accuracy, note),
        classes=dataset.classes,
        images=report.Images(**result.images()),
        source=report.SourceFacts(
            source.name, source.parameters, source.size_mb, source.licence, result.features.trunk.image_size
        ),
        cut=recipe.cut,
        pooling=recipe.pooling,
        head=result.head.name,
        loss=evaluation.loss,
        before_training=report.Start(result.before.accuracy.value, result.before.loss),
        other_figures=tuple(
            report.Figure(f"on {other.accuracy.split}", _rate(other.accuracy, note)) for other in result.others
        ),
        samples=_samples(result),
        choices=tuple(
            report.Choice(
                c.layer, c.pooling, "linear" if c.finalist else "ridge probe", c.dimensions, c.accuracy, c.low, c.high,
                c is chosen, result.choice.why if c is chosen else "",
            )
            for c in result.choice.candidates
        ) if len(result.choice.candidates) > 1 else (),
        history=result.head.history,
        strengths=tuple(
            report.Strength(row["strength"], row["accuracy"], row["loss"],
                            row["strength"] == result.head.settings.get("strength"))
            for row in result.head.strengths
        ),
        per_class=tuple(report.ClassRow(f.name, f.precision, f.recall, f.f1, f.n) for f in evaluation.per_class),
        confusion=tuple(tuple(int(n) for n in row) for row in evaluation.confusion),
        mistakes=_mistakes(result),
        findings=result.findings,
        thumbnails=_finding_thumbnails(result),
        skipped=tuple((dataset.files[row], why) for row, why in sorted(result.features.bad.items())),
        seconds=report.Seconds(
            **{name: result.seconds.get(name, 0.0) for name in ("features", "head", "fine_tune", "total")}
        ),
        cache=report.Cache(result.features.hits, result.features.misses),
        recipe=recipe.as_dict(),
        provenance=result.classifier.facts["provenance"],
        model_path=str(result.model) if result.model else "",
    )  # fmt: skip


def _rate(rate: Rate, note: str) -> report.Rate:
    return report.Rate(rate.value, rate.low, rate.high, rate.n, rate.split, note)


def _thumbnail(result: TrainResult, row: int) -> bytes | None:
    try:
        return images.thumbnail_jpeg(result.dataset.path(row))
    except PictureError:
        return None


def _samples(result: TrainResult) -> tuple[report.Picture, ...]:
    """Nine training pictures, the classes taking turns."""
    rows = np.random.default_rng(result.recipe.seed).permutation(result.rows["train"])
    labels = result.dataset.labels[rows]
    turn = np.zeros(len(rows), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    chosen = rows[np.lexsort((labels, turn))[:SAMPLES]]
    pictures = []
    for row in map(int, chosen):
        data = _thumbnail(result, row)
        if data is not None:
            pictures.append(report.Picture(result.dataset.names[row], data, result.dataset.files[row]))
    return tuple(pictures)


def _mistakes(result: TrainResult) -> tuple[report.Mistake, ...]:
    told = []
    for row, predicted, probability in result.evaluation.mistakes[:MISTAKES]:
        data = _thumbnail(result, row)
        if data is not None:
            file, truth = result.dataset.files[row], result.dataset.names[row]
            told.append(report.Mistake(file, data, truth, result.dataset.classes[predicted], probability))
    return tuple(told)


def _finding_thumbnails(result: TrainResult) -> dict[str, bytes]:
    """Small pictures for the first files that the findings name."""
    row_of: dict[str, int] = {file: row for row, file in enumerate(result.dataset.files)}
    shown: dict[str, bytes] = {}
    for finding in sorted(result.findings, key=_urgency):
        for file in finding.files[:4]:
            if len(shown) >= FINDING_PICTURES:
                return shown
            data: Any = _thumbnail(result, row_of[file]) if file in row_of else None
            if data is not None:
                shown[file] = data
    return shown


def _urgency(finding: Finding) -> int:
    order = ("two_labels", "leak", "suspect_label", "duplicate")
    return order.index(finding.kind) if finding.kind in order else len(order)
