"""A training result, told as a page: which facts the report shows and which pictures stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import augment, images, report, sources, views
from headstart.errors import PictureError
from headstart.evaluate import Rate
from headstart.findings import Finding

if TYPE_CHECKING:
    from headstart.result import TrainResult

SAMPLES = 9
MISTAKES = 12
FINDING_PICTURES = 24
VIEWS = 8


def tell(result: TrainResult, *, name: str = "", others: Mapping[str, TrainResult] | None = None) -> report.Report:
    """Everything that the page needs, as plain data; the curves of `others` are drawn beside this result's."""
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
        notes=(*result.notes, *_on_watching(result)),
        views=_views(result),
        views_words=(
            f"One training picture as it is, and {VIEWS} views of it:"
            f" {augment.describe(augment.find(recipe.augment))}."
        ),
        reading=_reading(result),
        name=name or "this run",
        others=tuple(
            report.NamedHistory(title, other.history or {}, _reading(other)) for title, other in (others or {}).items()
        ),
        recipe=recipe.as_dict(),
        provenance=result.classifier.facts["provenance"],
        model_path=str(result.model) if result.model else "",
    )  # fmt: skip


def _reading(result: TrainResult) -> str:
    return result.reading.words if result.reading else ""


def _on_watching(result: TrainResult) -> tuple[str, ...]:
    """That the curves and the figure are of the same pictures, where they are."""
    if result.history is None or result.watched != result.evaluation.accuracy.split:
        return ()
    return (
        f"The curves are drawn on the {result.watched} pictures that the figure is of. Nothing was chosen by them: the"
        " weights are those of the last epoch.",
    )


def _views(result: TrainResult) -> tuple[report.Picture, ...]:
    """The first training picture that can be read, as it is and through the first views; none without augmentation."""
    dataset, recipe = result.dataset, result.recipe
    if not views.augmented(recipe) or dataset.digests is None:
        return ()
    kind = augment.find(recipe.augment)
    for row in map(int, result.rows["train"]):
        try:
            pixels = images.read(dataset.path(row), result.features.trunk.image_size)
        except PictureError:
            continue
        looks = [augment.View(kind, recipe.seed, number).apply(pixels, dataset.digests[row]) for number in range(VIEWS)]
        shown = [("as it is", pixels), *((f"view {number}", look) for number, look in enumerate(looks, 1))]
        return tuple(report.Picture(label, images.array_jpeg(look), dataset.files[row]) for label, look in shown)
    return ()


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
