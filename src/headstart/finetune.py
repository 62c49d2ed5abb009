"""Fine-tuning: a frozen classifier → a tuned one, kept only where it is better by more than noise.

The head comes first and the trunk is tuned from it (LP-FT). What lies below the boundary is run once a view by the
compiled engine and kept in the store; a worker trains the rest on TensorFlow (`tuning`). Pictures that neither side
was fitted on judge between the two: those of `validation` where there is a `test` too, else a fold of the training
pictures. The tuned network is a source like any other from then on, so it is compiled, measured and saved by the same
stages as a frozen one.
"""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart import comparison, heads, sources, tasks, trials, trunk, tuning_files, tuning_rules
from headstart.errors import EngineError, MissingExtraError, NoRoomError, RecipeError
from headstart.evaluate import Evaluation, score
from headstart.features import Features, extract
from headstart.few import few, merged
from headstart.files import cache_folder, json_digest
from headstart.heads import Head, HeadData, Layer, apply
from headstart.logbook import Logbook
from headstart.progress import Progress, notice, silent
from headstart.recipe import Recipe
from headstart.store import Store
from headstart.trials import Trial, cut_of
from headstart.trunk import Output, TrunkSpec
from headstart.tuning_evidence import Tuning, interval, verdict
from headstart.tuning_rules import ADAPT, AUTO, BUDGET, FROZEN, OFF, Settings, Worth
from headstart.worker import LazyWorker, building_backend, lazy

FOLDER = "tuning"
MOST_KEPT = 110_000
"""Numbers a picture that are worth keeping at a boundary: 220 kB each, which reads faster than it is computed."""
TRIAL_STEPS, TRIAL_PICTURES, TRIAL_VIEWS = 60, 2_000, 1
FEWEST_JUDGED = 10
"""Pictures that must be there to judge by, however much tuning is asked for."""
MOST_TUNED, MOST_JUDGED = 20_000, 5_000
"""Pictures that `auto` tunes on and judges by: more of them would not be seen within its budget."""
_JOB = "fine-tuning"
_AGAIN = "fine-tuning on all training pictures"
_FOR_TRIALS = 0.4  # of the budget
_KEPT = "what was trained is kept: the same command goes on from there"
_KILLED, _MOST_PARTS = "ended with status -9", 4


@dataclass(frozen=True)
class Tuned:
    """A tuned network, ready for whoever measures it: its spec, features, outputs and head.

    Attributes:
        judged: rows that judged it, with `answers` of them: the witness's, where there is one.
        witness: where it was trained once more on all pictures, the one that was judged, which had not seen the judging
            pictures.
    """

    spec: TrunkSpec
    features: Features
    outputs: tuple[Output, ...]
    layers: tuple[Layer, ...]
    judged: np.ndarray
    answers: np.ndarray
    witness: Tuned | None = None

    @property
    def unseen_by(self) -> Tuned:
        """The network that had not seen the pictures that judged."""
        return self.witness or self

    def matrix(self, rows: np.ndarray) -> np.ndarray:
        """What the head is given of some rows, float16 (rows, dimensions)."""
        return self.features.matrix(rows, self.outputs)

    def answers_to(self, rows: np.ndarray) -> np.ndarray:
        """What it says of some rows, float32 (rows, outputs)."""
        return apply(self.layers, self.matrix(rows))

    def head(self, frozen: Frozen) -> Head:
        """The tuned head, with what it said of pictures that it had not seen."""
        at = np.flatnonzero(np.isin(frozen.rows, self.judged)) if frozen.judge is None else None
        return replace(
            frozen.head, layers=self.layers, accuracy=float("nan"), loss=float("nan"), out_of_fold=None, strengths=(),
            held_out=(at, self.answers) if at is not None else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Frozen:
    """The frozen classifier that tuning starts from.

    Attributes:
        spec: its source.
        features: of all pictures.
        outputs: that the head stands on. Of many layers side by side the lowest would have the whole network tuned, so
            tuning stands its head on `start`, where that is not empty, or on `far`, where pictures are far from the
            source's.
        near: whether the pictures are near those that the source knows, where that is known (`trials.near_source`).
        head: as it was fitted on `rows`.
        rows: the training rows; `folds` their cross-validation folds.
        judge: rows that neither side may be fitted on and that decide; None takes a fold of the training rows.
    """

    spec: TrunkSpec
    features: Features
    outputs: tuple[Output, ...]
    head: Head
    rows: np.ndarray
    folds: np.ndarray
    judge: np.ndarray | None = None
    start: tuple[Output, ...] = ()
    far: tuple[Output, ...] = ()
    near: bool | None = None

    @property
    def tuned_from(self) -> tuple[Output, ...]:
        """The outputs that tuning stands its head on where pictures are near the source's."""
        return self.start or self.outputs

    def answers(self, rows: np.ndarray) -> np.ndarray:
        """What it says of some rows, float32 (rows, classes)."""
        return apply(self.head.layers, self.features.matrix(rows, self.outputs))

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows to tune on, and rows that judge."""
        if self.judge is not None:
            return self.rows, self.judge
        folds = merged(self.folds)  # where each leaves one out, one picture would judge
        apart = folds == folds.min()
        return self.rows[~apart], self.rows[apart]


def check_source(source: str, how: str) -> None:
    """Refuse a tuning that was asked for and cannot be, before any work.

    Raises:
        RecipeError: the source is several networks side by side.
    """
    if how not in (AUTO, OFF) and len(sources.members(sources.find(source))) > 1:
        raise RecipeError(
            f"fine_tune {how!r} was asked for, and {source} is several networks side by side, which stay frozen.\n"
            "Use fine_tune auto or off, or one of the networks alone."
        )


def outlook(frozen: Frozen) -> Worth:
    """Whether tuning can pay, from what the frozen classifier's own figures say: costs nothing."""
    if importlib.util.find_spec("tensorflow") is None:
        extra = "pip install 'headstart[cpu]'"
        return Worth(False, f"tuning trains on TensorFlow, which is not installed: {extra}")
    if len(sources.members(sources.find(frozen.spec.source))) > 1:
        return Worth(False, "several side by side are not tuned, one alone can be")
    dataset, labels = frozen.features.dataset, frozen.features.dataset.labels
    _, judge = frozen.parts
    if dataset.task != "classes":
        return tuning_rules.worth_for_targets(len(judge))
    scarce = few(labels[frozen.rows]) or len(np.unique(frozen.folds)) > 20
    wrong = _error(frozen.head, labels[frozen.rows])
    return tuning_rules.worth(len(judge), wrong, few=scarce, near=frozen.near)


def tune(
    frozen: Frozen, recipe: Recipe, store: Store, *, progress: Progress = silent, log: Logbook | None = None
) -> tuple[Tuning, Tuned | None]:
    """Tune a frozen classifier, and say whether that made it better.

    Args:
        recipe: `fine_tune` says how far down: `auto`, `full`, `blocks=N`, or the name of a layer above which all is
            tuned; `fine_tune_options` are laid over `tuning_rules.settings_for`.
        log: loggers that are told of each epoch.

    Returns:
        The evidence, and the tuned network where it is kept.

    Raises:
        RecipeError: there is no such layer, an option is unknown, or the source is several networks.
        MissingExtraError: TensorFlow is not installed, and tuning was asked for.
    """
    start = time.perf_counter()
    how = recipe.fine_tune
    if how == OFF:
        return Tuning(how, False, "nothing else was asked for"), None
    if how != AUTO and importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("fine-tuning", "cpu")
    if how == AUTO:
        promise = outlook(frozen)
        if not promise.tries:
            return Tuning(how, False, promise.why, took=time.perf_counter() - start), None
        notice(progress, f"fine-tuning: {promise.why}; trying what tuning gains")
    else:
        check_source(frozen.spec.source, how)
    judged = len(frozen.parts[1])
    if judged < FEWEST_JUDGED:
        why = f"only {judged:,} pictures could judge, and with fewer than {FEWEST_JUDGED} nothing can be told"
        return Tuning(how, False, why), None
    run = _Run(frozen, recipe, store, progress, start, log)
    try:
        with lazy("tensorflow") as worker:
            worker.start()
            evidence, tuned = run.go(worker)
    except NoRoomError as error:
        if how != AUTO:
            raise
        evidence, tuned = Tuning(how, False, str(error)), None
    return replace(evidence, took=time.perf_counter() - start), tuned


def _error(head: Head, labels: np.ndarray) -> float:
    """The share of pictures that a head named wrong while it was not fitted on them; all where none is known."""
    if np.isfinite(head.accuracy):
        return 1 - head.accuracy
    if head.held_out is None or not len(head.held_out[0]):
        return 1.0
    rows, answers = head.held_out
    return float((answers.argmax(axis=1) != labels[rows % len(labels)]).mean())


class _Run:
    """One call of `tune`."""

    def __init__(
        self, frozen: Frozen, recipe: Recipe, store: Store, progress: Progress, start: float, log: Logbook | None = None
    ) -> None:
        self.book = log.path if log is not None else None
        self.frozen, self.recipe, self.store, self.progress, self.start = frozen, recipe, store, progress, start
        self.dataset = frozen.features.dataset
        self.labels = self.dataset.labels
        self.fit_rows, self.judge = frozen.parts
        self.options = dict(recipe.fine_tune_options)
        self.auto = recipe.fine_tune == AUTO
        if self.auto:
            self.options.setdefault("budget", BUDGET)
            self.fit_rows = _spread(self.fit_rows, MOST_TUNED, recipe.seed)
            self.judge = _spread(self.judge, MOST_JUDGED, recipe.seed)
        self._heads: dict[tuple[tuple[Output, ...], int], Head] = {}
        self._known_ends: dict[tuple[Output, ...], list[dict[str, Any]]] = {}
        self._tried: tuple[Trial, ...] = ()
        self._kind = "batch"
        self._parts = 1  # that a batch is divided into, since a worker ran out of memory

    def go(self, worker: LazyWorker) -> tuple[Tuning, Tuned | None]:
        head = self._head(self.frozen.outputs, self.fit_rows)
        answers = apply(head.layers, self.frozen.features.matrix(self.judge, self.frozen.outputs))
        before = self._scored(answers)
        self._kind = worker.call("tuning:normalisation", spec=self.frozen.spec.for_worker())
        chosen = self._asked(worker)
        tried = self._tried
        losses = self._losses(answers)
        if chosen is None:
            tried = self._trials(worker, losses)
            best = trials.chosen(tried, losses)
            if not trials.gains(losses - best.losses, errors=0.0):
                change = f"{losses.mean():.3f} to {best.losses.mean():.3f}"
                short = "a short trial" if len(tried) == 1 else f"{len(tried)} short trials"
                why = f"{short} gained nothing that shows; the best took the loss from {change}"
                return Tuning(AUTO, False, why, frozen=before, trials=tried), None
            self._promise(best, losses, before)
            chosen = (best.boundary, best.blocks, self._outputs_of(best.cut), best.batch_norm)
        boundary, blocks, outputs, batch_norm = chosen
        settings = self._settings(batch_norm, len(self.fit_rows))
        job = self._prepared(outputs, boundary, settings, self.fit_rows, self.judge, "")
        rates: dict[str, Any] | None = (job.finished() or {}).get("rates")
        if settings.find_rate:
            rates = rates or self._call(worker, "tuning:find_rate", job, "finding a learning rate")
            settings = replace(settings, learning_rate=float(np.clip(rates["found"], 1e-6, 1e-2)))
            job = replace(job, settings=settings)
        told = self._trained(worker, job, rates)
        evidence = Tuning(
            self.recipe.fine_tune, True, "", boundary, blocks,
            replace(settings, epochs=told["epochs"] or settings.epochs), frozen=before, trials=tried, rates=rates,
            history=told.get("history", {}), seconds=tuple(told.get("seconds", ())),
            resumed=int(told.get("resumed", 0)), passed_over=tuple(told.get("passed_over", ())),
        )  # fmt: skip
        if not told["epochs"]:
            why = f"not one epoch fits into the budget of {settings.budget:,.0f} s; give more with --budget"
            return replace(evidence, tried=False, why=why), None
        tuned = self._compiled(job, outputs)
        after = self._scored(tuned.answers)
        found = comparison.compare(after, before) if after is not None and before is not None else None
        lower = self._losses(tuned.answers)
        kept, why = verdict(found, losses - lower)
        job.tidy()
        evidence = replace(
            evidence, tuned=after, compared=found, gain=interval(losses - lower), kept=kept, why=why,
            losses=(float(losses.mean()), float(lower.mean())), judged=len(self.judge), judged_on=self._where,
        )  # fmt: skip
        if not kept:
            return evidence, None
        return self._on_all(worker, job, told, evidence, tuned)

    def _on_all(
        self, worker: LazyWorker, judged: tuning_files.Job, told: dict[str, Any], evidence: Tuning, tuned: Tuned
    ) -> tuple[Tuning, Tuned]:
        """Train once more in the same way, with the pictures that judged among those that are trained on.

        That the way is a good one is known by then, and more pictures make it better. It ends after as many epochs as
        were best for the judge. Where there is no room for it, what was judged is taken.
        """
        epochs = int(told["best"]) + 1
        rows = np.sort(np.concatenate([self.fit_rows, self.judge]))
        each = float(np.median(told["seconds"])) * len(rows) / len(self.fit_rows)
        budget, spent = judged.settings.budget, told["spent"] + sum(told["seconds"])  # of a run that was not broken off
        wrong = None if evidence.tuned is None else round(len(self.judge) * (1 - evidence.tuned.accuracy.value))
        why = tuning_rules.why_not_again(
            judged.settings, apart=self.frozen.judge is not None, wrong=wrong, epochs=epochs, seconds=epochs * each,
            left=math.inf if budget is None else budget - spent,
        )  # fmt: skip
        if why:
            return replace(evidence, alone=why), tuned
        settings = replace(judged.settings, budget=None, epochs=int(told["epochs"]))
        try:
            job = self._prepared(judged.outputs, judged.boundary, settings, rows, self.judge, "all", until=epochs)
        except NoRoomError:
            return replace(evidence, alone="the disk has no room for what that is trained on"), tuned
        more = self._trained(worker, job, stage=_AGAIN, until=epochs)
        again = self._compiled(job, judged.outputs)
        job.tidy()
        evidence = replace(
            evidence, on_all=len(rows), resumed=evidence.resumed or int(more["resumed"]),
            passed_over=(*evidence.passed_over, *more["passed_over"]),
        )  # fmt: skip
        return evidence, replace(again, answers=tuned.answers, witness=tuned)

    # ---- what is to be tuned ----------------------------------------------------------------------------------------

    def _asked(self, worker: LazyWorker) -> tuple[str | None, int, tuple[Output, ...], str] | None:
        """Boundary, blocks, outputs and BatchNormalization where the recipe names how far down; None for `auto`."""
        if self.auto:
            return None
        outputs = self.frozen.tuned_from
        ends = self._ends(worker, outputs)
        boundary, blocks = trials.boundary_of(self.recipe.fine_tune, [end["layer"] for end in ends])
        boundary, blocks = trials.worth_keeping(boundary, blocks, ends)
        wanted = self.options.get("batch_norm", AUTO)
        if wanted != AUTO:
            return boundary, blocks, outputs, str(wanted)
        if self._kind != "batch":
            return boundary, blocks, outputs, FROZEN
        self._tried = tuple(self._trial(worker, outputs, boundary, blocks, mode) for mode in (FROZEN, ADAPT))
        return boundary, blocks, outputs, min(self._tried, key=lambda trial: trial.loss).batch_norm

    def _trials(self, worker: LazyWorker, before: np.ndarray) -> tuple[Trial, ...]:
        """Short trainings: as suits pictures near those of the source, as suits far ones, or both where it is not known
        which they are.

        Near ones begin with few blocks, which costs least, and go on to more where that gained something. For far ones
        it is the lower layers that have to change.

        Args:
            before: losses of the frozen network on the judging pictures.
        """
        wanted, near_by, far = str(self.options.get("batch_norm", AUTO)), self.frozen.tuned_from, self.frozen.far
        near_way, far_way = (near_by, FROZEN), (far or near_by, ADAPT)
        if wanted != AUTO or self._kind != "batch":
            only = wanted if wanted != AUTO else FROZEN
            near_way, far_way = (near_by, only), (far or near_by, only)
        done: list[Trial] = []

        def attempt(way: tuple[tuple[Output, ...], str], place: tuple[str | None, int]) -> bool:
            """Whether it gained anything that shows."""
            if done and not self._may_try(done):
                return False
            done.append(self._trial(worker, way[0], *place, way[1]))
            return trials.gains(before - done[-1].losses, errors=0.0)

        ways = trials.order(near_way, far_way, known=self.frozen.near)
        for way in ways:
            ends = self._ends(worker, way[0])
            low = trials.lowest(ends)
            high = trials.middle(ends, low) if way == near_way else None
            if attempt(way, high or low) and self.frozen.near is not None:
                break
        best = trials.chosen(done, before)
        outputs = self._outputs_of(best.cut)
        low = trials.lowest(self._ends(worker, outputs))
        if best.blocks < low[1] and trials.gains(before - best.losses, errors=-1.0):  # not clearly for the worse
            attempt((outputs, best.batch_norm), low)
        return tuple(done)

    def _promise(self, best: Trial, losses: np.ndarray, frozen: Evaluation | None) -> None:
        """Say what tuning is expected to gain, from the trial that it goes on from."""
        at_least = f"the loss from {losses.mean():.3f} to {best.losses.mean():.3f}"
        if frozen is not None:
            at_least += f" and the accuracy from {frozen.accuracy.value:.3f} to {best.accuracy:.3f}"
        notice(self.progress, f"fine-tuning: {TRIAL_STEPS} steps took {at_least} on {len(self.judge):,} judging"
               " pictures; the tuning itself should gain more")  # fmt: skip

    def _may_try(self, done: Sequence[Trial]) -> bool:
        """Whether the budget leaves time for one more trial and for the tuning itself.

        By what the trials took when they were run, so that a run which goes on decides as it did.
        """
        budget = self.options.get("budget")
        return budget is None or sum(trial.seconds for trial in done) < _FOR_TRIALS * budget

    def _ends(self, worker: LazyWorker, outputs: tuple[Output, ...]) -> list[dict[str, Any]]:
        """Block ends below these outputs; the worker builds the network to tell them, so it is asked once."""
        if outputs not in self._known_ends:
            self._known_ends[outputs] = worker.call(
                "tuning:boundaries", spec=self.frozen.spec.for_worker(),
                most=min(MOST_KEPT, tuning_files.most_numbers((1 + tuning_files.VIEWS) * len(self.fit_rows))),
                cuts=list(dict.fromkeys(output.layer for output in outputs)),
            )  # fmt: skip
        return self._known_ends[outputs]

    def _outputs_of(self, cut: str) -> tuple[Output, ...]:
        every = (self.frozen.tuned_from, self.frozen.far)
        return next(outputs for outputs in every if outputs and cut_of(outputs) == cut)

    def _settings(self, batch_norm: str, pictures: int) -> Settings:
        counts: list[int] = []
        if self.dataset.task == "classes":
            counts = np.bincount(self.labels[self.fit_rows], minlength=len(self.dataset.classes)).tolist()
        return tuning_rules.settings_for(
            pictures, counts, batch_norm=batch_norm, normalisation=self._kind, given=self.options
        )

    def _losses(self, answers: np.ndarray) -> np.ndarray:
        """Of each judging picture."""
        found: np.ndarray = tasks.find(self.dataset.task).losses(answers, self.dataset, self.judge)
        return found

    # ---- doing it ---------------------------------------------------------------------------------------------------

    def _trial(
        self, worker: LazyWorker, outputs: tuple[Output, ...], boundary: str | None, blocks: int, batch_norm: str
    ) -> Trial:
        begun = time.perf_counter()
        rows = _spread(self.fit_rows, TRIAL_PICTURES, self.recipe.seed)
        # Smoothed labels take longer to settle than a trial lasts.
        settings = replace(self._settings(batch_norm, len(rows)), batch_norm=batch_norm, label_smoothing=0.0)
        job = self._prepared(outputs, boundary, settings, rows, self.judge, "trial")
        told = job.tried()
        if told is None:
            what = f"trial: {blocks} blocks below {cut_of(outputs)}, {batch_norm}"
            told = self._call(worker, "tuning:tune", job, what, steps=TRIAL_STEPS)
            told["took"] = time.perf_counter() - begun
            job.note_trial(told)
        losses = self._losses(job.answers())
        accuracy, loss = told["after"]
        return Trial(
            boundary, blocks, cut_of(outputs), batch_norm, tuple(told["before"]), accuracy, loss, told["step_seconds"],
            told["took"], losses,
        )  # fmt: skip

    def _prepared(
        self, outputs: tuple[Output, ...], boundary: str | None, settings: Settings, rows: np.ndarray,
        judge: np.ndarray, kind: str, *, until: int | None = None,
    ) -> tuning_files.Job:  # fmt: skip
        """A folder with what the worker is given, named by all that the outcome hangs on."""
        head, digests = self._head(outputs, rows if kind == "all" else self.fit_rows), self.dataset.digests or ()
        plain = {name: value for name, value in settings.as_dict().items() if name not in ("budget", "refit")}
        key = json_digest({
            "version": tuning_files.VERSION, "kind": kind, "until": until,
            "precision": os.environ.get("HEADSTART_TUNING_PRECISION"),
            "spec": self.frozen.spec.for_worker(),
            "numerics": self.frozen.features.trunk.numerics, "boundary": boundary, "settings": plain,
            "budget": settings.budget, "seed": self.recipe.seed,
            "augment": tuning_files.augmentation(self.recipe, settings.batch_norm),
            "outputs": [output.fingerprint for output in outputs],
            "rows": [digests[int(row)].hex() for row in (*rows, *judge)],
            "targets": self.dataset.target_matrix(np.concatenate([rows, judge])).tolist(),
            "head": [float(np.abs(layer.kernel).sum()) for layer in head.layers],
        })  # fmt: skip
        return tuning_files.prepare(
            cache_folder() / FOLDER / key, self.frozen.features, self.frozen.spec, self.recipe, self.store, rows=rows,
            judge=judge, boundary=boundary, outputs=outputs, head=head, settings=settings,
            views=TRIAL_VIEWS if kind == "trial" else tuning_files.VIEWS, progress=self.progress,
        )  # fmt: skip

    def _trained(
        self, worker: LazyWorker, job: tuning_files.Job, rates: dict[str, Any] | None = None, *, stage: str = _JOB,
        until: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        finished = job.finished()
        if finished is not None:
            return finished
        spent = time.perf_counter() - self.start
        told = self._call(
            worker, "tuning:tune", job, stage, target=str(job.target), spent=spent, until=until,
            book=None if until else self.book,
        )  # fmt: skip
        if told["stopped"]:
            raise KeyboardInterrupt(_KEPT)
        if told["epochs"]:
            job.finish({**told, "rates": rates})
        return told

    def _call(self, worker: LazyWorker, name: str, job: tuning_files.Job, stage: str, **more: Any) -> dict[str, Any]:
        """A job of the worker; Ctrl-C lets it save before it ends.

        A worker that the system has killed, as it does where memory runs out, is started again with smaller parts of
        a batch, and goes on from its last state.
        """
        pending = worker.submit(
            name, progress=lambda facts: _told(self.progress, stage, facts), parts=self._parts, **job.arguments(),
            **more,
        )  # fmt: skip
        try:
            result: dict[str, Any] = pending.result()
        except KeyboardInterrupt:
            if "target" not in more:
                raise
            job.ask_to_stop()
            notice(self.progress, "saving what was trained so far")
            with suppress(TimeoutError, EngineError):  # its last state is there in any case
                pending.result(timeout=120)
            raise KeyboardInterrupt(_KEPT) from None
        except EngineError as error:
            if _KILLED not in str(error) or self._parts >= _MOST_PARTS:
                raise
            self._parts *= 2
            at_once = -(-job.settings.batch_size // self._parts)
            notice(
                self.progress,
                f"{stage}: the system ended the process that trains, most likely for want of memory;"
                f" it is started again and runs a batch {at_once} pictures at a time",
            )
            worker.close()
            return self._call(worker, name, job, stage, **more)
        finally:
            job.may_go_on()
        return result

    def _head(self, outputs: tuple[Output, ...], rows: np.ndarray) -> Head:
        """The same kind of head on these outputs, fitted on these rows."""
        if outputs == self.frozen.outputs and len(rows) == len(self.frozen.rows):
            return self.frozen.head
        if (outputs, len(rows)) not in self._heads:
            inside = np.isin(self.frozen.rows, rows)
            data = HeadData(
                self.frozen.features.matrix(rows, outputs), self.labels[rows], len(self.dataset.classes),
                self.frozen.folds[inside], self.recipe.seed,
                targets=None if self.dataset.task == "classes" else self.dataset.target_matrix(rows),
                activation=self.frozen.head.layers[-1].activation,
                parts=tuple(output.dimensions for output in outputs),
            )  # fmt: skip
            options = dict(self.recipe.head_options)
            if outputs != self.frozen.outputs:
                options.pop("members", None)  # they are told by the outputs of the frozen network's head
            if outputs == self.frozen.outputs and not heads.find(self.frozen.head.name).BY_EPOCHS:
                options = {**self.frozen.head.options, **options}
            found = heads.find(self.frozen.head.name).fit(data, options=options)
            self._heads[outputs, len(rows)] = found
        return self._heads[outputs, len(rows)]

    def _compiled(self, job: tuning_files.Job, outputs: tuple[Output, ...]) -> Tuned:
        """The tuned network as a source of its own, and what it says of all pictures."""
        cuts = tuple(dict.fromkeys(output.layer for output in outputs))
        poolings = tuple(dict.fromkeys(output.pooling for output in outputs))
        spec = TrunkSpec(
            str(job.target), self.frozen.spec.image_size, "imagenet", self.frozen.spec.seed, cuts, poolings
        )
        with lazy(building_backend()) as worker:
            features = extract(
                self.dataset, trunk.prepare(spec, worker), self.store,
                progress=lambda done, total: self.progress("features of the tuned network", done, total),
            )  # fmt: skip
        found = {(output.layer, output.pooling): output for output in features.outputs}
        ours = tuple(found[output.layer, output.pooling] for output in outputs)
        layers = job.head_layers(self._head(outputs, self.fit_rows))
        answers = apply(layers, features.matrix(self.judge, ours))
        return Tuned(spec, features, ours, layers, self.judge, answers)

    @property
    def _where(self) -> str:
        return "validation" if self.frozen.judge is not None else "held out of the training"

    def _scored(self, answers: np.ndarray) -> Evaluation | None:
        """The figures of classes; of labels and numbers the losses say it all."""
        if self.dataset.task != "classes":
            return None
        where = self._where
        return score(answers, self.labels[self.judge], self.dataset.classes, split=where, rows=self.judge)


def named(outputs: Sequence[Output], every: Sequence[Output]) -> dict[str, str]:
    """Give `cut` and `pooling` of a recipe that has these outputs.

    Args:
        every: those of all block ends; empty where layers were named, which are no more than they are then.
    """
    _, pooling = cut_of(outputs).split(", ")
    return {"cut": trunk.cut_name((output.layer for output in outputs), every), "pooling": pooling}


def _spread(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """A sample in the order of the rows."""
    if len(rows) <= most:
        return rows
    picked: np.ndarray = rows[np.sort(np.random.default_rng([seed, 24]).permutation(len(rows))[:most])]
    return picked


def _told(progress: Progress, stage: str, facts: dict[str, Any]) -> None:
    """What a worker reports, for people."""
    if "planned" in facts:
        epochs, each = int(facts["planned"]), float(facts["epoch_seconds"])
        fewer = (
            f" (of {facts['wanted']} that would suit it; the budget allows no more)" if epochs < facts["wanted"] else ""
        )
        notice(progress, f"{stage}: {epochs} epochs of about {each:,.0f} s, {_span(epochs * each)} in all{fewer}")
    elif "notice" in facts:
        notice(progress, str(facts["notice"]))
    elif "batch" in facts:
        notice(progress, f"{stage}: memory is short, so a batch is run {facts['batch']} pictures at a time")
    elif "unsaved" in facts:
        notice(progress, f"{stage}: what is trained cannot be kept for a later run ({facts['unsaved']}); it goes on")
    elif "resumed" in facts:
        damaged = f"damaged, so passed over: {', '.join(facts['passed_over'])}; " if facts["passed_over"] else ""
        begun = f"going on from step {facts['resumed']}" if facts["resumed"] else "beginning anew"
        notice(progress, f"{stage}: {damaged}{begun}")
    else:
        if "epoch" in facts:
            figures = f"loss {facts['loss']:.3f} in training"
            if "metric" in facts:
                figures = f"{facts['metric']:.3f}, loss {facts['loss']:.3f} on the judging pictures"
            notice(progress, f"{stage}: epoch {facts['epoch']} of {facts['epochs']}, {figures}")
        progress(stage, int(facts["done"]), facts.get("total"))


def _span(seconds: float) -> str:
    """
    >>> _span(42), _span(150), _span(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
