"""The worker's side of fine-tuning: the layers from a boundary up and the head, trained together on TensorFlow.

What lies below the boundary was run already: the worker is given its activations (or, where all is tuned, the
pictures), so a step sees the tuned part alone. The head starts from the frozen classifier's own numbers (LP-FT, Kumar
et al. 2022, arXiv 2202.10054), so the first figure is the frozen classifier's.

A state goes to disk before the first step, after every epoch, and every minute of a long one. All that is random is
drawn from the seed and the number of the epoch or the step, and TensorFlow is told to be deterministic, so a run that
goes on from a state ends with the weights of one that was never broken off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import checkpoints, heads
from headstart.files import atomic_path
from headstart.heads import HeadData
from headstart.journal import Journal
from headstart.sources import _blocks
from headstart.sources import find as find_source
from headstart.tuned_graph import TunedGraph, built
from headstart.tuning_material import Material, measured, smoothed
from headstart.tuning_rules import ADAPT, BATCH, Settings, affordable, rate
from headstart.worker import report_progress

_TELL_EVERY, _SAVE_EVERY = 0.5, 60.0  # seconds
_MEASURED_ON = 2_000  # pictures that statistics are measured on, at most
_RATES, _FIRST_RATE, _LAST_RATE = 60, 1e-6, 1e-1


def boundaries(spec: dict[str, Any], cuts: list[str], most: int) -> list[dict[str, Any]]:
    """Where tuning may begin below these cuts, from the deepest up: block ends, with the shape of what they give.

    Args:
        most: numbers a picture; where a block ends with more, its activations are not worth keeping.
    """
    source = built(spec)
    order = {layer.name: place for place, layer in enumerate(source.layers)}
    lowest = min(order[cut] for cut in cuts)
    pattern = find_source(spec["name"]).block_pattern
    ends = [name for name in _blocks.block_ends(source, pattern) if order[name] < lowest]
    shapes = [(name, [int(side) for side in source.get_layer(name).output.shape[1:]]) for name in reversed(ends)]
    return [{"layer": name, "shape": shape, "kept": int(np.prod(shape)) <= most} for name, shape in shapes]


def normalisation(spec: dict[str, Any]) -> str:
    """What keeps the scale of a source's layers: `batch`, `layer` or `none`; rates hang on it."""
    kinds = {type(layer).__name__ for layer in built(spec).layers}
    return "batch" if "BatchNormalization" in kinds else "layer" if "LayerNormalization" in kinds else "none"


def tune(
    folder: str, spec: dict[str, Any], outputs: list[list[str]], *, boundary: str | None, head: dict[str, Any],
    settings: dict[str, Any], seed: int, augment: dict[str, Any] | None, target: str | None = None,
    steps: int | None = None, spent: float = 0.0, until: int | None = None, parts: int = 1, book: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, keep the best epoch's weights, and leave the tuned network without its head at `target`.

    Args:
        folder: holds what `tuning_material.Material` opens, and `head.npz`; states are kept in it.
        spec: the source, as `TrunkSpec.for_worker` gives it.
        outputs: layer and pooling of each output that the head stands on.
        boundary: the layer that the activations come from; None for pictures.
        head: `name`, `shape` (`units`, `activation` and `dropout` of each layer) and `options` to fit it anew.
        settings: a `Settings` as a mapping.
        augment: `augmentation` and `seed` of views that are drawn here, where pixels are tuned on.
        target: where the tuned network goes, its head beside it as `tuned_head.npz`; None for a trial, of which nothing
            is kept.
        steps: steps of a trial; None for whole epochs.
        spent: seconds of the budget that are gone.
        until: epochs after which it ends with the weights that it has, where the judged are among what is trained on
            and tell nothing; the rates are those of a whole run. None to keep the best epoch's.
        parts: that a batch is divided into from the start, where it is known that all of it does not fit into memory.
        book: of the loggers that are told of each epoch.

    Returns:
        `before` and `after` (metric and loss on the judged), `history`, `seconds` of each epoch, `best` (its number
        from 0, -1 for none), `epochs` (as planned), `step_seconds`, `resumed` (steps that were there already),
        `passed_over` (damaged states), `stopped` (whether it was asked to), `spent` (as it was given at
        first), `batch` (pictures that fit into memory at a time).
    """
    place = Path(folder)
    training = _prepared(
        place, spec, outputs, boundary=boundary, head=head, settings=settings, seed=seed, augment=augment, parts=parts
    )
    graph = training.graph
    found = training.trial(steps) if target is None or steps else training.run(place, spent, until, book)
    if target is not None and not found["stopped"] and found["epochs"]:
        numbers: dict[str, Any] = {
            f"{number}_{index}": np.asarray(value)
            for number, layer in enumerate(graph.dense) for index, value in enumerate(layer.get_weights())
        }  # fmt: skip
        with atomic_path(place / "tuned_head.npz") as temporary:
            np.savez(temporary, **numbers)
        with atomic_path(Path(target)) as temporary:
            graph.trunk(outputs).save(temporary)
    with atomic_path(place / "answers.npy") as temporary:
        np.save(temporary, training.answers())
    return found


def find_rate(
    folder: str, spec: dict[str, Any], outputs: list[list[str]], *, boundary: str | None, head: dict[str, Any],
    settings: dict[str, Any], seed: int, augment: dict[str, Any] | None, parts: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Raise the learning rate from step to step until the loss runs away (Smith 2017, arXiv 1506.01186).

    Returns:
        `rates`, `losses` (smoothed, as bias-corrected moving averages), and `found`: a tenth of the rate of least loss,
        as fastai takes it.
    """
    return _prepared(
        Path(folder), spec, outputs, boundary=boundary, head=head, settings=settings, seed=seed, augment=augment,
        parts=parts,
    ).rising()  # fmt: skip


def _prepared(
    place: Path, spec: dict[str, Any], outputs: list[list[str]], *, boundary: str | None, head: dict[str, Any],
    settings: dict[str, Any], seed: int, augment: dict[str, Any] | None, parts: int,
) -> _Training:  # fmt: skip
    """A training that has not begun, from the frozen head's numbers; TensorFlow is made to repeat itself."""
    import keras
    import tensorflow as tf

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    chosen = Settings(**settings)
    graph = TunedGraph(
        spec, outputs, boundary=boundary, head=head["shape"], batch_norm=chosen.batch_norm, momentum=chosen.momentum,
        seed=seed,
    )  # fmt: skip
    with np.load(place / "head.npz", allow_pickle=False) as stored:
        graph.set_head([(stored[f"{number}_0"], stored[f"{number}_1"]) for number in range(len(graph.dense))])
    return _Training(graph, chosen, material=Material.open(place, augment), head=head, seed=seed, parts=parts)


class _Training:
    """One run: epochs from the state that is there, the best one's weights at the end."""

    def __init__(
        self, graph: TunedGraph, settings: Settings, *, material: Material, head: dict[str, Any], seed: int,
        parts: int = 1,
    ) -> None:  # fmt: skip
        self.graph, self.settings, self.material, self.head, self.seed = graph, settings, material, head, seed
        self.parts = parts  # that a batch is divided into, where all of it does not fit into memory
        self._told, self._unsaved = 0.0, False
        self._answer = self._compiled_answer()

    # ---- what is asked of it ----------------------------------------------------------------------------------------

    def trial(self, steps: int | None) -> dict[str, Any]:
        """Some steps with a schedule of their own; nothing is written."""
        before = self.measured()
        self._begin()
        count = steps or self._steps_an_epoch
        start = time.perf_counter()
        done, taken, loss = 0, [], 0.0
        for epoch in range(-(-count // self._steps_an_epoch)):
            for rows, turn in self._batches(epoch):
                if done == count:
                    break
                began = time.perf_counter()
                loss, _ = self._step(rows, turn, done, count)
                taken.append(time.perf_counter() - began)
                done += 1
                self._tell(done, count)
        self._settle()
        return {
            "before": list(before), "after": list(self.measured()), "loss": loss, "epochs": 1, "stopped": False,
            "step_seconds": float(np.median(taken[1:] or taken)), "seconds": [time.perf_counter() - start],
        }  # fmt: skip

    def run(self, folder: Path, spent: float, until: int | None = None, book: str | None = None) -> dict[str, Any]:
        """Whole epochs."""
        names = (self.metric, "loss", *((f"val_{self.metric}", "val_loss") if until is None else ()))
        history: dict[str, list[float]] = {name: [] for name in names}
        facts: dict[str, Any] = {"seconds": [], "best": [None, -1], "since": 0, "sums": [0.0, 0.0], "partly": 0.0}
        self._make()
        found, passed_over = checkpoints.load(folder, self._arrays(self._kept()))
        begun = found.number if found is not None else 0
        if begun or passed_over:
            report_progress(resumed=begun, passed_over=passed_over)
        if found is None:
            facts.update(before=list(self.measured()), spent=spent)
            self._begin()
            facts["epochs"], facts["step_seconds"] = self._plan(spent, until)
            kept = self._kept()
            facts["best"][0] = float("inf")
            if facts["epochs"]:  # what was measured, fitted and planned is kept
                self._save(folder, 0, {**facts, "history": history}, kept)
        else:
            facts, history = dict(found.facts), {k: list(v) for k, v in found.facts["history"].items()}
            self.parts = max(self.parts, int(facts["parts"]))
            kept = self._restore(found.arrays)
        stopped, step, epochs = False, begun, int(facts["epochs"])
        ends = until or epochs
        total, ending = epochs * self._steps_an_epoch, ends * self._steps_an_epoch
        log = self._logging(book, epochs, history)
        self._saved = time.perf_counter()
        for epoch in range(begun // self._steps_an_epoch, ends):
            if facts["since"] >= self.settings.patience or stopped:
                break
            start = time.perf_counter() - facts["partly"]
            inside = step - epoch * self._steps_an_epoch
            for number, (rows, turn) in enumerate(self._batches(epoch)):
                if number < inside:
                    continue
                loss, hit = self._step(rows, turn, step, total)
                facts["sums"] = [facts["sums"][0] + loss * len(rows), facts["sums"][1] + hit * len(rows)]
                step += 1
                self._tell(step, ending)
                facts["partly"] = time.perf_counter() - start
                stopped = (folder / checkpoints.STOP).exists()
                last = step == (epoch + 1) * self._steps_an_epoch
                if not last and (stopped or time.perf_counter() - self._saved > _SAVE_EVERY):
                    self._save(folder, step, {**facts, "history": history}, kept)
                if stopped and not last:
                    break
            if step < (epoch + 1) * self._steps_an_epoch:
                break
            new = [each / len(self.material) for each in reversed(facts["sums"])]
            with self._averaged():
                if until is not None:
                    facts["best"], kept = [0.0, epoch], self._kept()
                else:
                    value, loss = self.measured()
                    new += [value, loss]
                    if loss < facts["best"][0]:
                        facts["best"], facts["since"], kept = [loss, epoch], 0, self._kept()
                    else:
                        facts["since"] += 1
            for name, number_ in zip(names, new, strict=True):
                history[name].append(float(number_))
            facts["seconds"] = [*facts["seconds"], time.perf_counter() - start]
            facts["sums"], facts["partly"] = [0.0, 0.0], 0.0
            self._save(folder, step, {**facts, "history": history}, kept)
            seen = {"metric": new[2], "loss": new[3]} if until is None else {"loss": new[1]}
            report_progress(done=step, total=ending, epoch=epoch + 1, epochs=ends, **seen)
            log.tell(self._epochs(history, total))
        log.end()
        for variable, array in zip(self.graph.model.variables, kept, strict=True):
            variable.assign(array)
        if not stopped and facts["best"][1] >= 0:
            self._settle()
        return {
            "before": facts["before"], "after": list(self.measured()), "history": history, "seconds": facts["seconds"],
            "best": facts["best"][1], "epochs": epochs, "step_seconds": facts["step_seconds"], "resumed": begun,
            "passed_over": list(passed_over), "stopped": stopped,
            "spent": facts["spent"], "batch": -(-self.settings.batch_size // self.parts),
        }  # fmt: skip

    def rising(self) -> dict[str, Any]:
        """The rate finder."""
        self._begin()
        rates = np.geomspace(_FIRST_RATE, _LAST_RATE, _RATES)
        losses: list[float] = []
        mean, done = 0.0, 0
        while done < _RATES:
            for rows, turn in self._batches(done):
                if done == _RATES:
                    break
                self._set_rates(float(rates[done]))
                loss, _ = self._update(rows, turn, done)
                if not np.isfinite(loss):
                    done = _RATES
                    break
                done += 1
                mean = 0.9 * mean + 0.1 * loss
                losses.append(mean / (1 - 0.9**done))
                self._tell(done, _RATES)
                if losses[-1] > 4 * min(losses):
                    done = _RATES
        found = float(rates[int(np.argmin(losses))]) / 10 if losses else _FIRST_RATE
        return {"rates": [float(value) for value in rates[: len(losses)]], "losses": losses, "found": found}

    @property
    def metric(self) -> str:
        return {"softmax": "accuracy", "sigmoid": "binary_accuracy"}.get(self.graph.activation, "mae")

    def measured(self) -> tuple[float, float]:
        """Metric and mean loss on the judged pictures, as they are."""
        return measured(self.answers(), self.material.judged_targets, self.graph.activation)

    def answers(self) -> np.ndarray:
        """What the network says of the judged pictures, float32 (pictures, outputs)."""
        blocks = [np.array_split(block, min(self.parts, len(block))) for block in self.material.judging()]
        return np.concatenate([np.asarray(self._answer(part)) for block in blocks for part in block])

    # ---- how it goes about it ---------------------------------------------------------------------------------------

    @property
    def _steps_an_epoch(self) -> int:
        return -(-len(self.material) // self.settings.batch_size)

    def _begin(self) -> None:
        """Statistics of these pictures where they are to adapt, with a head that fits them."""
        if self.settings.batch_norm in (ADAPT, BATCH) and self.graph.normalisations:
            self.graph.measure_statistics(lambda: self.material.sample(_MEASURED_ON, self.seed))
            seen = self.graph.pooled(lambda: self.material.clean())
            targets = self.material.targets
            classes = self.graph.activation == "softmax"
            data = HeadData(
                seen, targets.argmax(axis=1), targets.shape[1], np.arange(len(targets)) % 5, self.seed,
                targets=None if classes else targets, activation=self.graph.activation,
            )  # fmt: skip
            fitted = heads.find(self.head["name"]).fit(data, options=self.head["options"])
            self.graph.set_head([(layer.kernel, layer.bias) for layer in fitted.layers])
        self._make()

    def _settle(self) -> None:
        """Where statistics followed the batches, they are measured once more under the weights that are kept."""
        if self.settings.batch_norm == BATCH:
            self.graph.measure_statistics(lambda: self.material.sample(_MEASURED_ON, self.seed))

    def _make(self) -> None:
        """Optimizers and the compiled step."""
        import keras
        import tensorflow as tf

        self._groups = self.graph.groups
        self._optimizers = []
        for variables in self._groups:
            optimizer = keras.optimizers.Adam(self.settings.learning_rate)
            optimizer.build(variables)
            self._optimizers.append(optimizer)
        self._shadow = [tf.Variable(v.value) for v in self.graph.model.variables] if self.settings.ema else []
        self._origin = [[tf.constant(np.asarray(v)) for v in group] for group in self._groups]
        self._gradients, self._apply = self._compiled_gradients(), self._compiled_apply()

    def _plan(self, spent: float, until: int | None = None) -> tuple[int, float]:
        """How many epochs there are to be, and how long a step takes: the second of two that change nothing."""
        rows, turn = next(self._batches(0))
        seconds, before = 0.0, self._kept()
        for _ in range(2):
            start = time.perf_counter()
            self._gradient_of(rows, turn)
            seconds = time.perf_counter() - start
        for variable, array in zip(self.graph.model.variables, before, strict=True):
            variable.assign(array)  # statistics that follow the batches, and where the dropout's draws are
        start = time.perf_counter()
        self.measured()
        epoch = seconds * self._steps_an_epoch + time.perf_counter() - start
        epochs = affordable(self.settings.epochs, epoch_seconds=epoch, spent=spent, budget=self.settings.budget)
        planned, wanted = (min(count, until or count) for count in (epochs, self.settings.epochs))
        report_progress(planned=planned, epoch_seconds=epoch, wanted=wanted)
        return epochs, seconds

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Rows of each batch and the views they are seen through; batches of nearly one size."""
        order = np.random.default_rng([self.seed, 21, epoch]).permutation(len(self.material))
        turn = self.material.turns(epoch, self.seed)
        for rows in np.array_split(order, self._steps_an_epoch):
            yield rows, turn

    def _step(self, rows: np.ndarray, turn: np.ndarray | None, step: int, total: int) -> tuple[float, float]:
        self._set_rates(rate(step, total, peak=self.settings.learning_rate, warmup=self.settings.warmup))
        return self._update(rows, turn, step)

    def _set_rates(self, peak: float) -> None:
        for depth, optimizer in enumerate(self._optimizers):
            optimizer.learning_rate = peak * self.settings.layer_decay**depth

    def _update(self, rows: np.ndarray, turn: np.ndarray | None, step: int = 0) -> tuple[float, float]:
        gradients, loss, hit = self._gradient_of(rows, turn, step)
        self._apply(gradients)
        return loss, hit

    def _gradient_of(
        self, rows: np.ndarray, turn: np.ndarray | None, step: int = 0
    ) -> tuple[Sequence[Any], float, float]:
        """Gradients of a batch; of its parts, one after another, where memory is short."""
        import tensorflow as tf

        x = self.material.batch(rows, turn)
        targets = smoothed(self.material.targets[rows], self.settings.label_smoothing, self.graph.activation)
        x, targets = self._mixed(x, targets, step)
        weights = self.material.weights(rows, self.settings.balanced)
        while True:
            try:
                summed: Sequence[Any] | None = None
                loss = hit = 0.0
                for some in np.array_split(np.arange(len(rows)), min(self.parts, len(rows))):
                    share = np.float32(len(some) / len(rows))
                    gradients, part, right = self._gradients(
                        x[some], targets[some], weights[some], self.material.targets[rows[some]], share
                    )
                    summed = gradients if summed is None else [a + b for a, b in zip(summed, gradients, strict=True)]
                    loss, hit = loss + float(part) * float(share), hit + float(right) * float(share)
                return summed or (), loss, hit
            except tf.errors.ResourceExhaustedError:
                if self.parts >= len(rows):
                    raise
                self.parts *= 2
                report_progress(batch=-(-self.settings.batch_size // self.parts))

    def _mixed(self, x: np.ndarray, targets: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """MixUp or CutMix of a batch with itself in another order."""
        alpha = self.settings.mixup or self.settings.cutmix
        if not alpha or len(x) < 2:
            return x, targets
        random = np.random.default_rng([self.seed, 23, step])
        share, other = float(random.beta(alpha, alpha)), random.permutation(len(x))
        if self.settings.mixup:
            mixed = share * x.astype(np.float32) + (1 - share) * x[other].astype(np.float32)
        elif x.ndim == 4:
            height, width = x.shape[1:3]
            tall, wide = (round(side * (1 - share) ** 0.5) for side in (height, width))
            top, left = int(random.integers(height - tall + 1)), int(random.integers(width - wide + 1))
            mixed = x.copy()
            mixed[:, top : top + tall, left : left + wide] = x[other, top : top + tall, left : left + wide]
            share = 1 - tall * wide / (height * width)
        else:
            return x, targets
        return mixed, (share * targets + (1 - share) * targets[other]).astype(np.float32)

    def _compiled_gradients(self) -> Any:
        import tensorflow as tf

        everything = [variable for group in self._groups for variable in group]
        kind, scale = self.graph.activation, np.float32(self.material.spread)

        @tf.function(reduce_retracing=True, autograph=False)
        def gradients(x: Any, targets: Any, weights: Any, truth: Any, share: Any) -> tuple[Any, Any, Any]:
            with tf.GradientTape() as tape:
                logits = self.graph.logits(x, training=True)
                if kind == "softmax":
                    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
                    hit = tf.cast(tf.argmax(logits, axis=1) == tf.argmax(truth, axis=1), tf.float32)
                elif kind == "sigmoid":
                    losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1)
                    hit = tf.reduce_mean(tf.cast((logits > 0) == (truth > 0.5), tf.float32), axis=1)
                else:
                    losses = tf.reduce_mean(tf.square((logits - targets) / scale), axis=1)
                    hit = tf.reduce_mean(tf.abs(logits - truth), axis=1)
                total = tf.reduce_mean(losses * weights) * share
            found = tape.gradient(total, [variable.value for variable in everything])
            return found, tf.reduce_mean(losses), tf.reduce_mean(hit)

        return gradients

    def _compiled_apply(self) -> Any:
        import tensorflow as tf

        decay, following = self.settings.weight_decay, {id(variable) for group in self._groups for variable in group}
        if self.settings.batch_norm == BATCH:
            for layer in self.graph.normalisations:
                following |= {id(layer.moving_mean), id(layer.moving_variance)}

        @tf.function(reduce_retracing=True, autograph=False)
        def apply(gradients: Any) -> None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.settings.clip_norm)
            at = 0
            for group, optimizer, home in zip(self._groups, self._optimizers, self._origin, strict=True):
                optimizer.apply(gradients[at : at + len(group)], group)
                at += len(group)
                for variable, source in zip(group, home, strict=True):
                    if decay and len(variable.shape) > 1:
                        variable.assign_sub(optimizer.learning_rate * decay * (variable.value - source))
            for average, variable in zip(self._shadow, self.graph.model.variables, strict=bool(self._shadow)):
                if id(variable) in following:
                    average.assign(self.settings.ema * average + (1 - self.settings.ema) * variable.value)
                else:
                    average.assign(variable.value)

        return apply

    def _compiled_answer(self) -> Any:
        import keras
        import tensorflow as tf

        activation = keras.activations.get(self.graph.activation)

        @tf.function(reduce_retracing=True, autograph=False)
        def answer(x: Any) -> Any:
            return activation(self.graph.logits(x, training=False))

        return answer

    def _logging(self, book: str | None, epochs: int, history: dict[str, list[float]]) -> Journal:
        """The loggers, told of the epochs that there were before. The model's optimizer is for them to look at."""
        import keras

        journal = Journal(book, "tuning")
        if book is not None:
            self.graph.model.optimizer = keras.optimizers.Adam(self.settings.learning_rate, name="adam")
            journal.begin(self.graph.model, epochs=epochs)
            journal.tell(self._epochs(history, epochs * self._steps_an_epoch))
        return journal

    def _epochs(self, history: dict[str, list[float]], total: int) -> list[dict[str, float]]:
        """What Keras's callbacks are told of each epoch; the rate is that of its last step."""
        rows = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
        peak, warmup, each = self.settings.learning_rate, self.settings.warmup, self._steps_an_epoch
        return [
            {**row, "learning_rate": rate((number + 1) * each - 1, total, peak=peak, warmup=warmup)}
            for number, row in enumerate(rows)
        ]

    def _averaged(self) -> _Swapped:
        return _Swapped(self.graph.model.variables, self._shadow)

    def _kept(self) -> list[np.ndarray]:
        return [np.asarray(variable) for variable in self.graph.model.variables]

    @property
    def _state(self) -> list[Any]:
        moments = [variable for optimizer in self._optimizers for variable in optimizer.variables]
        return [*self.graph.model.variables, *self._shadow, *moments]

    def _arrays(self, kept: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a state holds: all that changes, the weights that are kept so far, and where the head began."""
        home = [np.asarray(value) for value in self._origin[0]]
        return [*(np.asarray(variable) for variable in self._state), *kept, *home]

    def _restore(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Put a state back; the weights that were kept."""
        import tensorflow as tf

        changing, home = len(self._state), len(self._origin[0])
        for variable, value in zip(self._state, arrays[:changing], strict=True):
            variable.assign(value)
        self._origin[0] = [tf.constant(value) for value in arrays[-home:]]
        return list(arrays[changing:-home])

    def _save(self, folder: Path, step: int, facts: dict[str, Any], kept: Sequence[np.ndarray]) -> None:
        """Write a state; where there is no room for it, say so once and go on without."""
        try:
            checkpoints.save(folder, step, self._arrays(kept), {**facts, "parts": self.parts})
        except OSError as error:
            if not self._unsaved:
                report_progress(unsaved=error.strerror or str(error))
            self._unsaved = True
        self._saved = time.perf_counter()

    def _tell(self, done: int, total: int) -> None:
        if time.perf_counter() - self._told > _TELL_EVERY:
            self._told = time.perf_counter()
            report_progress(done=done, total=total)


class _Swapped:
    """The averaged weights in place of the last ones, for as long as it is entered."""

    def __init__(self, variables: Sequence[Any], averages: Sequence[Any]) -> None:
        self._pairs = list(zip(variables, averages, strict=True)) if averages else []

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for variable, average in self._pairs:
            one, other = np.asarray(variable), np.asarray(average)
            variable.assign(other)
            average.assign(one)
