"""A training result as a logger wants it: figures by name, decisions by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headstart.loggers import Outcome
from headstart.result import TrainResult


def outcome(result: TrainResult) -> Outcome:
    """What a run came to.

    Figures are named by the pictures that they are of: `test/accuracy`, `test/accuracy_low`, `test/accuracy_high`,
    `test/n`, `test/loss` (of labels and numbers the figures that they have in place of an accuracy);
    `test/frozen_accuracy` where a tuned network is returned; `judging/frozen_accuracy` and `judging/tuned_accuracy`
    where one was tried, on the pictures that decided; `seconds/total` and the like.
    """
    figures = {f"seconds/{name}": value for name, value in result.seconds.items()}
    for each in (result.evaluation, *result.others):
        figures.update(_measured(each, each.headline.split))
    if result.frozen_evaluation is not None:
        figures.update(_measured(result.frozen_evaluation, result.frozen_evaluation.headline.split, "frozen_"))
    tuning, tried = result.tuning, {}
    if tuning is not None:
        figures["tuned"] = float(tuning.kept)
        for kind, each in (("frozen_", tuning.frozen), ("tuned_", tuning.tuned)):
            if each is not None:
                figures.update(_measured(each, "judging", kind))
        if tuning.settings is not None:
            how = {"how": tuning.how, "above": tuning.boundary or "", "blocks": tuning.blocks}
            tried = parameters({"tuning": {**how, **tuning.settings.as_dict()}})
    words = [result.verdict, tuning.words if tuning is not None else ""]
    files = [str(path.absolute()) for path in (result.model, result.report) if path is not None]
    return Outcome(
        figures={name: float(value) for name, value in figures.items() if math.isfinite(value)},
        parameters={**parameters(result.recipe.as_dict()), **tried}, words=" ".join(word for word in words if word),
        details=_plain(result.as_dict()), files=files,
    )  # fmt: skip


def histories(result: TrainResult) -> dict[str, Mapping[str, Sequence[float]]]:
    """The curves of each phase: of the head, where it has epochs, and of the tuning."""
    head = result.frozen.head if result.frozen is not None else result.head
    return {"head": head.history or {}, "tuning": result.tuning.history if result.tuning is not None else {}}


def parameters(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested decisions as one level of names and texts.

    >>> parameters({"source": "mobilenet", "head_options": {"epochs": 5}, "image_size": (64, 64)})
    {'source': 'mobilenet', 'head_options.epochs': '5', 'image_size': '[64, 64]'}
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(parameters(value, f"{before}{name}."))
        else:
            found[f"{before}{name}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return found


def _measured(evaluation: Any, where: str, kind: str = "") -> dict[str, float]:
    """The figures of some pictures, whatever the task."""
    told = evaluation.as_dict()
    metrics = told.get("metrics") or {"accuracy": told["accuracy"]}
    named = {f"{kind}{name}": value for name, value in {**metrics, "loss": evaluation.loss}.items()}
    return {f"{where}/{name}": value for name, value in [*_numbers(named), ("n", float(evaluation.headline.n))]}


def _numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """
    >>> dict(_numbers({"mae": {"value": 2.0, "low": 1.0, "high": None}, "guessing": {"mae": {"value": 4}}}))
    {'mae': 2.0, 'mae_low': 1.0, 'guessing.mae': 4.0}
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and "value" in value:
            ends = {"": value["value"], "_low": value.get("low"), "_high": value.get("high")}
            yield from _numbers({f"{name}{end}": number for end, number in ends.items()}, before)
        elif isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{before}{name}", float(value)


def _plain(value: Any) -> Any:
    """What is not a number in JSON becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
