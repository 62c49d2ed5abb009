"""A training result, told as a page: which facts the report shows and which pictures stand for them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import augment, images, ranking_page, report, sources, story_targets, views
from headstart.errors import PictureError, SourceError
from headstart.evaluate import Rate
from headstart.findings import Finding
from headstart.predictions import Prediction
from headstart.trunk import cut_name

if TYPE_CHECKING:
    from headstart.choose import Candidate
    from headstart.ranking import Ranking, Row
    from headstart.result import TrainResult

SAMPLES = 9
MISTAKES = 12
MAP = 240  # pixels of the longer side of a mistake's map
FINDING_PICTURES, OF_A_KIND = 40, 10
VIEWS = 8


def tell(result: TrainResult, *, name: str = "", others: Mapping[str, TrainResult] | None = None) -> report.Report:
    """Everything that the page needs, as plain data; the curves of `others` are drawn beside this result's."""
    dataset, recipe = result.dataset, result.recipe
    source = sources.find(recipe.source)
    return report.Report(
        title=dataset.root.name if dataset.root else "pictures",
        verdict=result.verdict,
        task=result.task,
        classes=dataset.classes,
        images=report.Images(**result.images()),
        source=report.SourceFacts(
            source.name, source.parameters, source.size_mb, source.licence, result.features.trunk.image_size
        ),
        cut=recipe.cut,
        pooling=recipe.pooling,
        fine_tuned=result.fine_tuned,
        tuning=result.tuning,
        frozen=result.frozen_evaluation.headline if result.frozen_evaluation is not None else None,
        tuned=result.evaluation.headline if result.fine_tuned else None,
        head=result.head.name,
        samples=_samples(result),
        choices=_choices(result),
        ranking=ranking_page.svg(result.ranking) if result.ranking else "",
        history=result.head.history,
        strengths=tuple(
            report.Strength(row["strength"], row["accuracy"], row["loss"],
                            row["strength"] == result.head.settings.get("strength"))
            for row in result.head.strengths
        ),
        findings=result.findings,
        thumbnails=_finding_thumbnails(result),
        skipped=tuple((dataset.files[row], why) for row, why in sorted(result.features.bad.items())),
        seconds=report.Seconds(
            **{name: result.seconds.get(name, 0.0) for name in ("features", "head", "fine_tune", "total")}
        ),
        cache=report.Cache(result.features.hits, result.features.misses),
        notes=(
            *result.notes, *_on_tuning(result), *_on_watching(result),
            *(f"Offer: {offer.words}. {offer.why[:1].upper()}{offer.why[1:]}." for offer in result.offers),
        ),
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
        learning_curve=result.learning_curve,
        head_start=result.head_start,
        model_path=str(result.model) if result.model else "",
        **(_of_classes(result) if result.task == "classes" else {
            **(told := story_targets.parts(result)), "other_figures": (*told["other_figures"], *_false_alarms(result)),
        }),
    )  # fmt: skip


def _of_classes(result: TrainResult) -> dict[str, Any]:
    """What only a page about classes has."""
    evaluation, note = result.evaluation, "these pictures were used for no choice"
    return {
        "accuracy": _rate(evaluation.accuracy, f"{note}. {result.looks}" if result.looks else note),
        "loss": evaluation.loss,
        "before_training": report.Start(result.before.accuracy.value, result.before.loss),
        "other_figures": tuple(
            report.Figure(f"on {other.accuracy.split}", _rate(other.accuracy, _use(result, other.accuracy.split, note)))
            for other in result.others
        ) + _false_alarms(result),
        "per_class": tuple(
            report.ClassRow(f.name, f.precision, f.recall, f.f1, f.n, f.precision_interval, f.recall_interval)
            for f in evaluation.per_class
        ),
        "confusion": tuple(tuple(int(n) for n in row) for row in evaluation.confusion),
        "mistakes": _mistakes(result),
        "reliability": _reliability(result),
    }  # fmt: skip


def _use(result: TrainResult, split: str, unused: str) -> str:
    """What the pictures of a split were used for."""
    if result.decided_on(split):
        what = "whether the tuned network is kept" if result.tuned_on(split) else "how long the head was trained"
        return f"these pictures decided {what}, so the figure is a little too good"
    return unused


def _reliability(result: TrainResult) -> report.Reliability | None:
    found = result.calibration
    if found is None:
        return None
    before = found.before.reliability if found.applied and found.before is not None else ()
    rows = [
        tuple(report.Reliable(each.probability, each.right, each.low, each.high, each.n) for each in some)
        for some in (result.evaluation.reliability, before)
    ]
    return report.Reliability(rows[0], rows[1], found.words())


def _choices(result: TrainResult) -> tuple[report.Choice, ...]:
    """All that was tried: cuts, or, where sources were ranked, every row of the ranking."""
    if result.ranking:
        return tuple(
            report.Choice(
                row.cut, row.pooling, "ridge probe" if row.probe else row.head, row.dimensions, row.accuracy, row.low,
                row.high, row.recommended, _cost(row, result.ranking), row.source,
            )
            for row in result.ranking.rows
        )  # fmt: skip
    chosen, tried = result.choice.chosen, result.choice.candidates
    return tuple(
        report.Choice(
            cut_name(c.layers, result.block_ends), c.pooling, _head(c), c.dimensions, _share(c.accuracy), _share(c.low),
            _share(c.high), c is chosen, f"loss {c.loss:.3f}, n = {len(c.right):,}"
            + (f"; {result.choice.why}" if c is chosen else ""),
        )
        for c in tried
    ) if len(tried) > 1 else ()  # fmt: skip


def _head(candidate: Candidate) -> str:
    """Name what a candidate was scored with."""
    name = candidate.head if candidate.finalist else f"{candidate.head} probe"
    return f"{name}, scaled by layers" if candidate.scaling == "layers" else name


def _share(value: float) -> float:
    """What is drawn on a track from 0 to 1; R² may lie below."""
    return max(value, 0.0)  # nan stays what it is


def _cost(row: Row, ranking: Ranking) -> str:
    cost = f"{row.milliseconds_per_image:.2f} ms a picture"
    return f"{cost}; the cheapest of those that are as good" if row.recommended and row is not ranking.best else cost


def _reading(result: TrainResult) -> str:
    return result.reading.words if result.reading else ""


def _on_tuning(result: TrainResult) -> tuple[str, ...]:
    """What came of fine-tuning, where the page has no section about it."""
    return (result.tuning.words,) if result.tuning is not None and not result.tuning.tried else ()


def _on_watching(result: TrainResult) -> tuple[str, ...]:
    """That the curves and the figure are of the same pictures, where they are."""
    if result.history is None or result.watched != result.accuracy.split:
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


def _false_alarms(result: TrainResult) -> tuple[report.Figure, ...]:
    """How often pictures of the classes are taken for none of them."""
    rule = result.rejection
    if rule is None or rule.reached is None:
        return ()
    note = f"{rule.false_alarm:.1%} was allowed for; such a picture is answered with known: false"
    own = (
        "of the classes that look like none of them"
        if result.task == "classes"
        else "that look like no training picture"
    )
    return (report.Figure(f"Pictures {own}", _rate(rule.reached, note)),)


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
    worst = result.evaluation.mistakes[:MISTAKES]
    maps = _maps(result, [(row, predicted) for row, predicted, _ in worst])
    for row, predicted, probability in worst:
        data = _thumbnail(result, row)
        if data is not None:
            file, truth = result.dataset.files[row], result.dataset.names[row]
            answer = result.dataset.classes[predicted]
            told.append(report.Mistake(file, data, truth, answer, probability, maps.get(row)))
    return tuple(told)


def _maps(result: TrainResult, answers: Sequence[tuple[int, int]]) -> dict[int, bytes]:
    """Small pictures of what spoke for an answer, by row; none where the network was cut behind all places."""
    dataset, drawn = result.dataset, {}
    asked = [Prediction(str(dataset.path(row)), label=dataset.classes[answer]) for row, answer in answers]
    with contextlib.suppress(SourceError):
        for (row, _), (_, found) in zip(answers, result.classifier.explain_each(asked), strict=True):
            if found is not None:
                with contextlib.suppress(PictureError):
                    drawn[row] = images.array_jpeg(found.overlay(MAP))
    return drawn


def _finding_thumbnails(result: TrainResult) -> dict[str, bytes]:
    """Small pictures for the first files that the findings name."""
    row_of: dict[str, int] = {file: row for row, file in enumerate(result.dataset.files)}
    shown: dict[str, bytes] = {}
    of_kind: Counter[str] = Counter()  # so that a hundred findings of one kind leave room for the others
    for finding in sorted(result.findings, key=_urgency):
        for file in finding.files[:4]:
            if len(shown) >= FINDING_PICTURES or of_kind[finding.kind] >= OF_A_KIND or file in shown:
                continue
            of_kind[finding.kind] += 1
            data: Any = _thumbnail(result, row_of[file]) if file in row_of else None
            if data is not None:
                shown[file] = data
    return shown


def _urgency(finding: Finding) -> int:
    order = ("two_labels", "leak", "suspect_label", "near_duplicate", "odd", "shortcut", "duplicate")
    return order.index(finding.kind) if finding.kind in order else len(order)
