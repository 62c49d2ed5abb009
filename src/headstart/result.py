"""What one training run gives back."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import classifier_file, sealed, tasks
from headstart.bands import Band
from headstart.calibration import Calibration
from headstart.classifier import Classifier
from headstart.curves import Reading, read
from headstart.dataset import Dataset
from headstart.evaluate import Rate
from headstart.features import Features
from headstart.findings import Finding
from headstart.heads import Head
from headstart.membership import remember
from headstart.offers import Offer
from headstart.recipe import Recipe
from headstart.rejection import Rejection
from headstart.thresholds import Thresholds
from headstart.trunk import ALL, Output, cut_name, cuts_of

if TYPE_CHECKING:
    from headstart.choose import Choice
    from headstart.finetune import Frozen
    from headstart.head_start import HeadStart
    from headstart.learning_curve import LearningCurve
    from headstart.ranking import Ranking
    from headstart.tuning_evidence import Tuning


@dataclass(frozen=True)
class TrainResult:
    """A classifier with the evidence for it.

    Attributes:
        classifier: predicts, and saves itself.
        evaluation: on pictures that no choice has seen: an `Evaluation`, a `LabelsEvaluation` or a `NumbersEvaluation`.
        before: the same pictures under an untrained head; None for a number.
        others: further figures: of `validation`, where there is a `test` too; whether it decided anything,
            `decided_on` says.
        choice: which cut was chosen, against what.
        findings: what was noticed about the pictures.
        recipe: every decision, as it was made.
        rows: the rows of the data set that were used, by split.
        watched: the split that the curves are drawn on; None where it is a part of the training pictures.
        decided: whether what was watched decided anything, such as which epoch's weights are kept.
        rule: how outputs become answers: the `Calibration` of classes, the `Thresholds` of labels, the `Band` of a
            number.
        notes: sentences on how it was made that a reader should know.
        seconds: `features`, `head`, `fine_tune`, `total`.
        model, report: what was written, where it was.
        learning_curve: accuracy with fewer training pictures; None where it was not asked for or would take long.
        head_start: what the reuse gained over training from scratch; see `headstart.compare_scratch`.
        ranking: what the source was chosen from; None where it was named.
        tuning: what fine-tuning did, or why nothing was tuned.
        frozen: the frozen network's features and head, which `choice` speaks of, whether or not it was tuned then.
        frozen_evaluation: the frozen classifier on the same pictures as `evaluation`, where a tuned one is returned.
        offers: what was not tried and may bring more, with what it would take.
    """

    classifier: Classifier
    evaluation: Any
    before: Any
    choice: Choice
    head: Head = field(repr=False)
    dataset: Dataset = field(repr=False)
    features: Features = field(repr=False)
    findings: tuple[Finding, ...] = field(repr=False)
    recipe: Recipe = field(repr=False)
    rows: Mapping[str, np.ndarray] = field(repr=False)
    others: tuple[Any, ...] = ()
    watched: str | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    model: Path | None = None
    report: Path | None = None
    rule: Calibration | Thresholds | Band | None = None
    decided: bool = False
    learning_curve: LearningCurve | None = None
    head_start: HeadStart | None = None
    ranking: Ranking | None = None
    tuning: Tuning | None = None
    frozen: Frozen | None = field(default=None, repr=False)
    frozen_evaluation: Any = field(default=None, repr=False)
    offers: tuple[Offer, ...] = ()

    @property
    def fine_tuned(self) -> bool:
        """Whether the classifier's network was tuned; False where the frozen one was kept."""
        return self.tuning is not None and self.tuning.kept

    @property
    def task(self) -> str:
        """What is told of a picture: `classes`, `labels` or `numbers`."""
        return self.dataset.task

    @property
    def calibration(self) -> Calibration | None:
        """What was found out about the probabilities of classes, and done to them."""
        return self.rule if isinstance(self.rule, Calibration) else None

    @property
    def accuracy(self) -> Rate:
        """The share named right, with its interval, n and split; of labels the mean average precision.

        Of a number there is no such share: its `value` is nan, and `evaluation` has the figures.
        """
        rate: Rate = self.evaluation.headline
        return rate

    @property
    def rejection(self) -> Rejection | None:
        """What finds pictures that are of none of the classes; None where there were too few pictures for it."""
        return self.classifier.rejection

    @property
    def verdict(self) -> str:
        """The sentence to take away."""
        said: str = tasks.find(self.task).verdict(self.evaluation)
        return said

    @property
    def looks(self) -> str:
        """How often the pictures of the figure were looked at, and what that means for it."""
        return sealed.on_looks(self.evaluation.opened, self.accuracy)

    @property
    def history(self) -> Mapping[str, Sequence[float]] | None:
        """Keras's history: `accuracy`, `loss`, `val_accuracy`, `val_loss`, a number an epoch; None without epochs."""
        return self.head.history

    @property
    def reading(self) -> Reading | None:
        """What the curves say; None where there are none."""
        if not self.head.history:
            return None
        watched = len(self.rows[self.watched]) if self.watched is not None else 0
        counts = (len(self.rows["train"]), watched) if watched else None
        facts = _training_facts(self.recipe)
        if self.task == "classes":  # what guessing would cost is not known of labels and numbers
            facts["classes"] = len(self.dataset.classes)
        return read(self.head.history, training=facts, pictures=counts)

    def decided_on(self, split: str) -> bool:
        """Whether the pictures of a split decided anything, so that a figure on them is a little too good."""
        return self.tuned_on(split) or (self.decided and split == self.watched)

    def tuned_on(self, split: str) -> bool:
        """Whether the pictures of a split decided between the frozen and the tuned network."""
        return self.tuning is not None and self.tuning.tried and self.tuning.judged_on == split

    def images(self) -> dict[str, int]:
        """How many pictures each part had, and how many were skipped."""
        counts = {name: len(self.rows.get(name, ())) for name in ("train", "validation", "test")}
        return {**counts, "skipped": len(self.features.bad) + len(self.dataset.skipped)}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart train --json` prints them."""
        return {
            "task": self.task,
            "model": str(self.model) if self.model else None,
            "report": str(self.report) if self.report else None,
            "classes": list(self.dataset.classes),
            "images": self.images(),
            "source": self.recipe.source,
            "cut": self.recipe.cut,
            "pooling": self.recipe.pooling,
            "head": self.head.name,
            "fine_tuned": self.fine_tuned,
            "fine_tuning": self.tuning.as_dict() if self.tuning else None,
            "frozen_accuracy": self._frozen_accuracy(),
            **(self._figures() if self.task == "classes" else self._other_figures()),
            "ranking": self.ranking.as_dict() if self.ranking else None,
            "history": {name: list(values) for name, values in (self.head.history or {}).items()},
            "epoch_seconds": [round(value, 4) for value in self.head.epoch_seconds],
            "watched": self.watched,
            "reading": {"kind": self.reading.kind, "words": self.reading.words} if self.reading else None,
            "notes": list(self.notes),
            "offers": [offer.as_dict() for offer in self.offers],
            "learning_curve": self.learning_curve.as_dict() if self.learning_curve else None,
            "head_start": self.head_start.as_dict() if self.head_start else None,
            "findings": [finding.as_dict() for finding in self.findings],
            "skipped": [
                *({"file": self.dataset.files[row], "reason": why} for row, why in sorted(self.features.bad.items())),
                *({"file": file, "reason": "missing, or of a kind that is not read"} for file in self.dataset.skipped),
            ],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "cache": {"hits": self.features.hits, "misses": self.features.misses},
            "recipe": self.recipe.as_dict(),
            "verdict": self.verdict,
        }

    def _frozen_accuracy(self) -> dict[str, Any] | None:
        """The frozen classifier's figure on the final pictures, where a tuned one is returned."""
        if self.frozen_evaluation is None:
            return None
        told: dict[str, Any] = self.frozen_evaluation.headline.as_dict()
        return told

    @property
    def block_ends(self) -> tuple[Output, ...]:
        """All block ends that there were to choose from; empty where the recipe named layers, however many.

        They are the frozen network's, whether or not it was tuned then.
        """
        outputs = (self.frozen.features if self.frozen is not None else self.features).outputs
        named = dict.fromkeys(output.layer for output in outputs)
        return () if self.recipe.cut == cut_name(named, ()) else outputs

    def _figures(self) -> dict[str, Any]:
        """What is measured of classes."""
        measured = self.evaluation.as_dict()
        return {
            "before_training": {"accuracy": self.before.accuracy.value, "loss": self.before.loss},
            "accuracy": self.accuracy.as_dict(),
            "other_accuracies": [
                {**other.accuracy.as_dict(), "decided": self.decided_on(other.accuracy.split)} for other in self.others
            ],
            "loss": self.evaluation.loss,
            **{name: measured[name] for name in ("loss_interval", "macro_f1")},
            "reliability": measured["calibration"]["reliability"],
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "rejection": self.rejection.as_dict() if self.rejection else None,
            "test_opened": {**measured["opened"], "words": self.looks} if self.evaluation.opened else None,
            "per_class": [figures.as_dict() for figures in self.evaluation.per_class],
            "confusion": self.evaluation.confusion.tolist(),
            "choices": [
                {
                    "cut": cut_name(c.layers, self.block_ends),
                    "pooling": c.pooling,
                    "head": c.head,
                    "scaling": c.scaling,
                    "dimensions": c.dimensions,
                    "accuracy": _number(c.accuracy),
                    "low": c.low,
                    "high": c.high,
                    "loss": _number(c.loss),
                    "n": len(c.right),
                }
                for c in self.choice.candidates
            ],
            "choice": {
                "why": self.choice.why,
                "prefer": self.recipe.prefer,
                "out_of_fold": self.choice.estimate.as_dict() if self.choice.estimate else None,
            },
        }

    def _other_figures(self) -> dict[str, Any]:
        """What is measured of labels or a number: `metrics` in place of an accuracy."""
        measured = self.evaluation.as_dict()
        before = self.before.as_dict() if self.before is not None else None
        opened = {**measured.pop("opened"), "words": self.looks} if self.evaluation.opened else None
        return {
            **measured,
            "before_training": before and {"accuracy": None, "metrics": before["metrics"], "loss": before["loss"]},
            "other_metrics": [
                {"split": other.split, "n": other.n, "metrics": other.as_dict()["metrics"],
                 "decided": self.decided_on(other.split)}
                for other in self.others
            ],
            **tasks.find(self.task).facts(self.rule),
            "rejection": self.rejection.as_dict() if self.rejection else None,
            "test_opened": opened,
            "choices": [
                {"cut": cut_name(c.layers, self.block_ends), "pooling": c.pooling, "dimensions": c.dimensions,
                 "accuracy": None,
                 "score": _number(c.accuracy), "low": c.low, "high": c.high, "loss": _number(c.loss)}
                for c in self.choice.candidates
            ],
        }  # fmt: skip

    def write_report(
        self, path: str | os.PathLike[str], *, name: str = "", others: Mapping[str, TrainResult] | None = None
    ) -> TrainResult:
        """Write the page; returns this result with `report` set.

        Args:
            path: ends in `.html`.
            name: what to call this run where its curves are drawn beside others'.
            others: further runs on the same pictures, by name: their curves are drawn on the same charts.
        """
        from headstart import report
        from headstart.story import tell

        report.write(tell(self, name=name, others=others or {}), path)
        return replace(self, report=Path(path))

    def __str__(self) -> str:
        recipe = self.recipe
        tuned = f"\n{self.tuning.words}" if self.tuning and self.tuning.tried else ""
        return f"{self.verdict}\n{recipe.source} cut at {recipe.cut}, {recipe.pooling}, {self.head.name} head{tuned}"

    def _repr_html_(self) -> str:
        """For a notebook: the verdict, what is to be known of it, the figures, and the curves where there are some."""
        from html import escape

        from headstart import report

        if self.task != "classes":
            told = [text for text in (self.rule.words() if self.rule else "", self.looks, *self.notes) if text]
            lines = "".join(f"<div>{escape(note)}</div>" for note in told)
            return f"<p><strong>{escape(self.verdict)}</strong></p>{self.evaluation._repr_html_()}{lines}"
        losses = f"loss {self.evaluation.loss:.3f}"
        before = f"before training: accuracy {self.before.accuracy}, loss {self.before.loss:.3f}"
        decided = " (these pictures decided something, so the figure is a little too good)"
        others = [
            f"accuracy {other.accuracy}{decided if self.decided_on(other.accuracy.split) else ''}"
            for other in self.others
        ]
        others += [self.tuning.words] if self.tuning and self.tuning.tried else []
        others += [text for text in (self.calibration.words() if self.calibration else "", self.looks) if text]
        notes = [losses, *others, before, *self.notes, *([self.reading.words] if self.reading else [])]
        lines = "".join(f"<div>{escape(note)}</div>" for note in notes)
        curves = report.curves_svg({self.recipe.source: self.history or {}})
        return f"<p><strong>{escape(self.verdict)}</strong></p>{self.evaluation._repr_html_()}{lines}{curves}"


def _training_facts(recipe: Recipe) -> dict[str, Any]:
    """What is in use already against over-fitting."""
    layers = recipe.head_options.get("layers", ())
    return {
        "dropout": any(layer.get("dropout") for layer in layers),
        "augmented": recipe.augment != "none",
        "units": max((int(layer["dense"]) for layer in layers if "dense" in layer), default=0),
        "early_stop": recipe.head_options.get("patience") is not None
        or any("EarlyStopping" in each for each in recipe.callbacks),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def facts_of(
    dataset: Dataset, features: Features, evaluation: Any, *, recipe: Recipe, rule: Mapping[str, Any] | None = None,
    trained_on: Sequence[int] = (), rejection: Rejection | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the classifier file says of itself in `headstart.json`; `trained_on` are rows of the data set.

    Args:
        rule: how outputs become answers, as the task's module tells it.
    """
    trunk, digests = features.trunk, dataset.digested().digests or ()
    trained = remember((digests[row] for row in trained_on), dataset.digest)
    return {
        "format": classifier_file.FORMAT,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "image_size": list(trunk.image_size),
        "preprocessing": {
            "input": "RGB, 0 to 255, channels last", "resize": "whole picture stretched, bicubic, antialiased",
            "inside_the_model": True,
        },
        "recipe": recipe.as_dict(),
        "calibration": None,
        **(rule or {}),
        "rejection": rejection.facts() if rejection is not None else None,
        "evaluation": evaluation.as_dict(),
        "provenance": {
            "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "headstart": importlib.metadata.version("headstart"),
            "keras": importlib.metadata.version("keras"),
            "python": platform.python_version(),
            "engine": trunk.numerics,
            "features": [
                output.fingerprint for output in trunk.outputs
                if recipe.cut == ALL or output.layer in cuts_of(recipe.cut)
            ],
            "data": dataset.digest,
            "trained_on": trained.as_dict(),
        },
    }  # fmt: skip
