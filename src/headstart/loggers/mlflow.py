"""One MLflow run a training, through MLflow's own Keras callback, wherever its tracking URI leads.

The callback (`mlflow.keras.MlflowCallback`) swallows what goes wrong and hands its figures to a thread, so after each
epoch the server is asked whether they have arrived. Figures of a phase are named after it, `tuning/val_accuracy`, since
a head that is trained by epochs and the tuning after it count their epochs from 0 each.
"""

from __future__ import annotations

import importlib.util
import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import EngineError, InputError, MissingExtraError
from headstart.loggers import Outcome

NAME, EXTRA, TAKES = "mlflow", "mlflow", "URI"
WANTS_TENSORFLOW = False
SUMMARY = "a run of MLflow, by default where MLFLOW_TRACKING_URI or MLflow's own default leads"
_LONGEST, _AT_ONCE = 500, 100  # characters of a parameter that every store takes; parameters a request
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own 7 and 120 s may hold a training up for a quarter of an hour
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder that somebody names is what they want
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def place(given: str, model: Path | None) -> str:  # noqa: ARG001
    """A tracking URI; empty for MLflow's own default."""
    return given


def check(place: str) -> None:
    # The Keras callback needs pandas, and MLflow's default, a file of SQLite, the other two.
    if any(importlib.util.find_spec(name) is None for name in ("mlflow", "pandas", "sqlalchemy", "alembic")):
        raise MissingExtraError("logging to MLflow", EXTRA)
    parts = urllib.parse.urlsplit(place)
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise InputError(
            f"MLflow: {place!r} names no server; expected a tracking URI such as {parts.scheme}://HOST:5000"
        )


class Run:
    """An MLflow run, active in this process."""

    def __init__(self, place: str, name: str, run: str | None) -> None:
        for setting, value in _SETTINGS.items():
            os.environ.setdefault(setting, value)
        import mlflow

        if place:
            mlflow.set_tracking_uri(place)
        self.id = _opened(name, run)
        self._client = mlflow.MlflowClient()
        self._callbacks: dict[str, Any] = {}

    def known(self, phase: str) -> set[int]:
        return {int(metric.step) for metric in self._client.get_metric_history(self.id, f"{phase}/loss")}

    def begin(self, phase: str, model: Any, epochs: int) -> None:
        import mlflow.keras

        callback = mlflow.keras.MlflowCallback()
        callback.set_params({"verbose": 0, "epochs": epochs, "steps": None})
        callback.set_model(model)
        told = self._client.get_run(self.id).data.params
        if not any(name.startswith("optimizer_") for name in told):  # parameters cannot be told otherwise later
            callback.on_train_begin({})
        self._callbacks[phase] = callback

    def epoch(self, phase: str, number: int, logs: Mapping[str, float]) -> None:
        import mlflow

        named = {f"{phase}/{name}": value for name, value in logs.items()}
        callback = self._callbacks.get(phase)
        if callback is None:
            mlflow.log_metrics(named, step=number)
            return
        callback.on_epoch_begin(number, {})
        callback.on_epoch_end(number, named)
        mlflow.flush_async_logging()
        if number not in self.known(phase):
            raise EngineError(f"MLflow has not taken the figures of epoch {number + 1}")

    def end(self, phase: str) -> None:
        callback = self._callbacks.pop(phase, None)
        if callback is not None:
            callback.on_train_end({})

    def finish(self, outcome: Outcome) -> None:
        import mlflow

        known = self._client.get_run(self.id).data.params
        parameters = {name: value[:_LONGEST] for name, value in outcome.parameters.items() if name not in known}
        items = list(parameters.items())
        for start in range(0, len(items), _AT_ONCE):
            mlflow.log_params(dict(items[start : start + _AT_ONCE]))
        mlflow.log_metrics(dict(outcome.figures))
        mlflow.set_tag("mlflow.note.content", outcome.words)
        mlflow.log_dict(dict(outcome.details), "result.json")
        for file in outcome.files:
            mlflow.log_artifact(file)
        mlflow.end_run("FINISHED")


def _opened(name: str, run: str | None) -> str:
    """The run of that id, else a new one."""
    import mlflow
    from mlflow.exceptions import MlflowException

    if run is not None:
        try:
            return str(mlflow.start_run(run_id=run).info.run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise  # the server is at fault; a run that was deleted there is not
    return str(mlflow.start_run(run_name=name).info.run_id)
