"""What the tests of fine-tuning ask of a worker, and the small problems that they set.

A worker that `start_tuner` of `conftest` starts finds this file as `headstart.tuning_jobs`.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np

from headstart import checkpoints, tuned_graph, tuning
from headstart.sources._graph import randomise
from headstart.tuned_graph import TunedGraph
from headstart.tuning_material import Material
from headstart.tuning_rules import Settings

SPEC = {"name": "mobilenet_0.25", "image_size": [32, 32], "weights": "random", "seed": 0, "preprocessing": "source"}
BOUNDARY, CUT, SHAPE, WIDE = "conv_pw_3_relu", "conv_pw_5_relu", (8, 8, 32), 64
LINEAR = {
    "name": "linear", "options": {"strength": 0.1},
    "shape": [{"units": 3, "activation": "softmax", "dropout": 0.0}],
}  # fmt: skip
DENSE = {
    "name": "dense", "options": {},
    "shape": [
        {"units": 8, "activation": "relu", "dropout": 0.0}, {"units": 3, "activation": "softmax", "dropout": 0.3},
    ],
}  # fmt: skip


# ---- problems, made where the test runs -----------------------------------------------------------------------------


def problem(folder, *, head=LINEAR, pictures=48, judged=30, views=2, classes=3, seed=0, spread=0.7, targets=None):
    """Activations of a boundary that tell classes apart, and a head that does not yet."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    centres = draws.standard_normal((classes, *SHAPE))
    labels, known = np.arange(pictures) % classes, np.arange(judged) % classes

    def seen(which, *leading):
        return np.clip(spread * centres[which] + draws.standard_normal((*leading, len(which), *SHAPE)), 0, 6)

    np.save(folder / "train.npy", seen(labels, views).astype(np.float16))
    np.save(folder / "judged.npy", seen(known).astype(np.float16))
    every = np.eye(classes, dtype=np.float32)
    given = {"targets": every[labels], "judged_targets": every[known]} if targets is None else targets
    np.savez(folder / "facts.npz", digests=draws.integers(0, 256, (pictures, 32)).astype(np.uint8), **given)
    sizes, numbers = [WIDE, *(layer["units"] for layer in head["shape"])], {}
    for number, (wide, units) in enumerate(pairwise(sizes)):
        numbers[f"{number}_0"] = (draws.standard_normal((wide, units)) * 0.2).astype(np.float32)
        numbers[f"{number}_1"] = (draws.standard_normal(units) * 0.1).astype(np.float32)
    np.savez(folder / "head.npz", **numbers)
    return folder


def arguments(folder, *, head=LINEAR, target=True, **settings):
    chosen = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, **settings}
    told = {
        "folder": str(folder), "spec": SPEC, "outputs": [[CUT, "avg"]], "boundary": BOUNDARY, "head": head,
        "settings": Settings(**chosen).as_dict(), "seed": 3, "augment": None,
    }  # fmt: skip
    return {**told, "target": str(folder / "tuned.keras")} if target else told


# ---- jobs, run by the worker ----------------------------------------------------------------------------------------


def tune(given, **patches):
    """`tuning.tune` with parts of it changed (`_patched`); what it returned, and a digest of the weights."""
    graphs = []
    with _tiny(), _patched(**patches) as seen, mock.patch.object(TunedGraph, "__init__", _noted(graphs)):
        told = tuning.tune(**given)
    variables = {variable.path: np.asarray(variable) for variable in graphs[-1].model.variables}
    return {**told, **seen, "weights": _digest(variables.values()), "statistics": _statistics(graphs[-1])}


@contextmanager
def _patched(*, slow=0.0, save_every=None, die_while_saving=None, full_disk=False, losses=None, fits=None, stop_at=None,
             loss_at=None):  # fmt: skip
    """Steps that take `slow` seconds; a state every so many seconds; death while a state is written, the so many-th; a
    disk without room; losses of the judged as given; memory for so many pictures at a time; a wish to stop after a
    step; a loss for each learning rate."""
    seen, saves, steps = {"statistics_begun": None, "given": []}, [], []
    step, begin, measured = (getattr(tuning._Training, name) for name in ("_step", "_begin", "measured"))
    compiled, whole, update = tuning._Training._compiled_gradients, checkpoints.atomic_path, tuning._Training._update

    def stepping(self, *told):
        time.sleep(slow)
        found = step(self, *told)
        steps.append(told[2])
        if len(steps) == stop_at:
            (Path(self.material.train.filename).parent / checkpoints.STOP).touch()
        return found

    def begun(self):
        begin(self)
        seen["statistics_begun"] = _statistics(self.graph)

    @contextmanager
    def writing(target):
        if full_disk:
            raise OSError(28, "No space left on device")
        with whole(target) as temporary:
            yield temporary
            saves.append(target)
            if len(saves) == die_while_saving:
                os.truncate(temporary, temporary.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

    def compiling(self):
        import tensorflow as tf

        function = compiled(self)

        def gradients(x, *more):
            seen["given"].append(len(x))
            if fits is not None and len(x) > fits:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return function(x, *more)

        return gradients

    with ExitStack() as patches:

        def put(target, name, value):
            patches.enter_context(mock.patch.object(target, name, value))

        put(tuning._Training, "_step", stepping)
        put(tuning._Training, "_begin", begun)
        put(tuning._Training, "_compiled_gradients", compiling)
        put(checkpoints, "atomic_path", writing)
        if save_every is not None:
            put(tuning, "_SAVE_EVERY", save_every)
        if losses is not None:
            left = iter(losses)
            put(tuning._Training, "measured", lambda self: (0.5, next(left, measured(self)[1])))
        if loss_at is not None:
            curve = iter(loss_at)
            put(tuning._Training, "_update", lambda self, *told: (update(self, *told), (next(curve), 0.0))[1])
        yield seen


def find_rate(given, **patches):
    with _tiny(), _patched(**patches):
        return tuning.find_rate(**given)


def optimizing(given):
    """One step of a training, looked at from inside: moves of each group, what Adam saw, the pull home, the average."""
    _, training, chosen = _training(given)
    training._begin()
    start = training._kept()
    heights = [[np.asarray(variable) for variable in group] for group in training._groups]
    rows, turn = next(training._batches(0))
    training._step(rows, turn, 0, given["total"])
    moves = [
        max(float(np.abs(np.asarray(variable) - before).max()) for variable, before in zip(group, old, strict=True))
        for group, old in zip(training._groups, heights, strict=True)
    ]
    seconds = [v for optimizer in training._optimizers for v in optimizer.variables if "velocity" in v.path]
    norm = float(np.sqrt(sum(float(np.asarray(v).sum()) for v in seconds) / 1e-3))
    found = {"moves": moves, "norm": norm, "sizes": [len(group) for group in training._groups],
             "names": [[variable.path for variable in group] for group in training._groups]}  # fmt: skip
    if training._shadow:
        wanted = [
            chosen.ema * old + (1 - chosen.ema) * np.asarray(new)
            for old, new in zip(start, training.graph.model.variables, strict=True)
        ]
        found["average"] = max(
            float(np.abs(np.asarray(has) - want).max()) for has, want in zip(training._shadow, wanted, strict=True)
        )
        last = training.answers()
        with training._averaged():
            found["averaged_differs"] = bool(np.abs(training.answers() - last).max() > 0)
        found["put_back"] = bool(np.array_equal(training.answers(), last))
    return found


def pulled_home(given):
    """How far a weight that was moved by 1 is after a step whose gradients are nothing: kernels, and others."""
    import tensorflow as tf

    _, training, _ = _training(given)
    training._make()
    kernel = training._groups[1][0]
    offset = next(variable for variable in training._groups[1] if "beta" in variable.path)
    for variable in (kernel, offset):
        variable.assign_add(tf.ones_like(variable.value))
    before = np.asarray(kernel), np.asarray(offset)
    training._set_rates(given["rate"])
    training._apply([tf.zeros_like(variable.value) for group in training._groups for variable in group])
    after = np.asarray(kernel), np.asarray(offset)
    return [float((old - new).mean()) for old, new in zip(before, after, strict=True)]


def gradients(given, fits=None, count=None):
    """Gradients of one batch, flat, where memory has room for so many pictures; how many were run at a time."""
    with _patched(fits=fits) as seen:
        _, training, _ = _training(given)
        training._make()
        rows = np.arange(count or 16)
        found, loss, hit = training._gradient_of(rows, None, 5)
    flat = np.concatenate([np.asarray(each).ravel() for each in found])
    return {"gradient": flat.tolist(), "loss": loss, "hit": hit, "given": seen["given"], "parts": training.parts}


def mixing(given, pixels=False):
    """A batch before and after it was mixed, as lists."""
    _, training, _ = _training(given)
    training._make()
    rows = np.arange(12)
    x, targets = training.material.batch(rows, None), training.material.targets[rows]
    mixed = [training._mixed(x, targets, step) for step in (4, 4, 5)]
    return {"x": x.tolist(), "targets": targets.tolist(), "mixed": [[a.tolist(), b.tolist()] for a, b in mixed]}


def loss_of(given):
    """The loss of a batch as the training has it, and as Keras has it of the same answers."""
    import keras

    graph, training, _ = _training(given)
    training._make()
    rows = np.arange(12)
    x, targets = training.material.batch(rows, None), training.material.targets[rows]
    _, loss, hit = training._gradient_of(rows, None)
    answers = keras.activations.get(graph.activation)(graph.logits(x, training=False))
    name = {"softmax": "CategoricalCrossentropy", "sigmoid": "BinaryCrossentropy", "linear": "MeanSquaredError"}
    kind = getattr(keras.losses, name[graph.activation])
    smooth = {} if graph.activation == "linear" else {"label_smoothing": training.settings.label_smoothing}
    judged = training.measured()
    return {"ours": loss, "hit": hit, "keras": float(kind(**smooth)(targets, answers)), "judged": judged,
            "spread": training.material.spread, "metric": training.metric}  # fmt: skip


def starting(head, boundary, outputs, real=False):
    """Answers of a tuned graph before the first step, and those of the same network as Keras runs it."""
    import keras

    from headstart.blanks import on_top, side_by_side

    spec, draws = SPEC, np.random.default_rng(0)
    pixels = draws.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    with nullcontext() if real else _tiny(), mock.patch.object(tuned_graph, "built", _scrambled(tuned_graph.built)):
        source = tuned_graph.built(spec)
        graph = TunedGraph(spec, outputs, boundary=boundary, head=head["shape"], batch_norm="frozen", seed=1)
    features = side_by_side(source, outputs)
    values, dense = on_top(features, head["shape"])
    plain, x = keras.Model(source.inputs, values), pixels.astype(np.float32)
    seen = np.asarray(keras.Model(source.inputs, features)(x, training=False))
    numbers = [[draws.standard_normal(v.shape).astype(np.float32) for v in layer.weights] for layer in dense]
    numbers[0][0] /= (seen.std(axis=0)[:, None] + 0.01 * seen.std()) * seen.shape[1] ** 0.5
    numbers[0][1] -= seen.mean(axis=0) @ numbers[0][0]
    for layer, given in zip(dense, numbers, strict=True):
        layer.set_weights(given)
    graph.set_head(numbers)
    if boundary is not None:
        x = np.asarray(keras.Model(source.inputs, source.get_layer(boundary).output)(x, training=False))
    found = keras.activations.softmax(graph.logits(x, training=False))
    return [np.asarray(plain(pixels.astype(np.float32), training=False)).tolist(), np.asarray(found).tolist(),
            len(graph._folded)]  # fmt: skip


def in_half(head, outputs, folder):
    """How far answers in bfloat16 lie from those in float32, and what the trunk that would be saved computes in."""
    told = []
    for precision in ("f32", "bf16"):
        with mock.patch.dict("os.environ", HEADSTART_TUNING_PRECISION=precision), _tiny():
            graph = TunedGraph(SPEC, outputs, boundary=None, head=head["shape"], batch_norm="adapt", seed=1)
            pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
            for layer in graph.dense:
                layer.set_weights([np.random.default_rng(1).standard_normal(v.shape) for v in layer.weights])
            logits = np.asarray(graph.logits(pixels, training=False))
            computed = {layer.compute_dtype for layer in graph.model.layers}
            trunk = graph.trunk(outputs)
            kept = {layer.compute_dtype for layer in trunk.layers}
            pairs = zip(trunk.get_weights(), graph.source.get_weights(), strict=False)  # the source goes on above
            same = all(np.array_equal(one, other) for one, other in pairs)
            told.append([logits.tolist(), sorted(computed), sorted(kept), same, str(logits.dtype)])
    return told


def unknown_precision():
    with mock.patch.dict("os.environ", HEADSTART_TUNING_PRECISION="f16"):
        tuned_graph.precision()


def folding(kind):
    """Outputs and gradients of a folded network beside those of the same network as Keras runs it in inference."""
    import tensorflow as tf

    source, last = _network(kind)
    scramble(source)
    head = [{"units": 2, "activation": "linear", "dropout": 0.2}]
    with mock.patch.object(tuned_graph, "built", return_value=source):
        graph = TunedGraph(SPEC, [[last, "avg"]], boundary=None, head=head, batch_norm="frozen", seed=0)
    x = tf.constant(np.random.default_rng(1).standard_normal((5, 12, 12, 3)), tf.float32)
    variables = [variable for group in graph.groups for variable in group]

    def looked(call):
        with tf.GradientTape() as tape:
            answers = call()
            loss = tf.reduce_sum(tf.sin(answers))
        return answers, tape.gradient(loss, [variable.value for variable in variables])

    def folded():
        return graph.logits(x, training=False)

    ours, ours_moved = looked(folded)
    plain, plain_moved = looked(lambda: graph.model(x, training=False))
    apart = [
        float(np.abs(a - b).max() / (np.abs(b).max() + 1e-6)) for a, b in
        ((np.asarray(a), np.asarray(b)) for a, b in zip(ours_moved, plain_moved, strict=True))
    ]  # fmt: skip
    before = _statistics(graph)
    noisy = [np.asarray(graph.logits(x, training=True)) for _ in range(2)]
    return {
        "outputs": float(np.abs(np.asarray(ours) - np.asarray(plain)).max() / np.abs(np.asarray(plain)).max()),
        "gradients": dict(zip((variable.path for variable in variables), apart, strict=True)),
        "folded": len(graph._folded), "normalisations": len(graph.normalisations),
        "still": _statistics(graph) == before,
        "dropout": float(np.abs(noisy[0] - noisy[1]).max()),
        "trained": len(variables) == len(graph.model.trainable_variables),
    }  # fmt: skip


def statistics(given):
    """Measured statistics, and those that numpy has of what each normalisation is given, in the order of the graph."""
    import keras

    graph, training, _ = _training(given)
    graph.measure_statistics(lambda: training.material.sample(10_000, training.seed))
    measured = [(np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)) for layer in graph.normalisations]
    pictures = np.concatenate(list(training.material.sample(10_000, training.seed))).astype(np.float32)
    apart = []
    for layer, (mean, variance) in zip(graph.normalisations, measured, strict=True):
        tensor = next(s.inputs[0] for s in graph._steps if s.operation is layer)
        seen = np.asarray(keras.Model(graph.model.inputs, tensor)(pictures, training=False), np.float64)
        wanted, spread = seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))
        apart.append(max(
            float(np.abs(mean - wanted).max() / np.sqrt(spread).max()),
            float(np.abs(variance - spread).max() / spread.max()),
        ))  # fmt: skip
    return {"apart": apart, "momentum": [layer.momentum for layer in graph.normalisations], "pictures": len(pictures)}


def settled(given):
    """Whether the statistics at the end of a training by `batch` are those of the weights at its end."""
    graphs = []
    with _tiny(), mock.patch.object(TunedGraph, "__init__", _noted(graphs)):
        told = tuning.tune(**given)
    graph, material = graphs[-1], Material.open(Path(given["folder"]))
    ended = _statistics(graph)
    graph.measure_statistics(lambda: material.sample(tuning._MEASURED_ON, given["seed"]))
    return {**told, "ended": ended, "again": _statistics(graph)}


def planning(given):
    """Whether a plan leaves all as it is."""
    _, training, _ = _training(given)
    training._begin()
    before = _digest(training._kept())
    epochs, seconds = training._plan(0.0)
    return {"same": before == _digest(training._kept()), "epochs": epochs, "seconds": seconds}


# ---- of the jobs ----------------------------------------------------------------------------------------------------


def _training(given):
    import keras
    import tensorflow as tf

    keras.utils.clear_session()
    keras.utils.set_random_seed(given["seed"])
    tf.config.experimental.enable_op_determinism()
    chosen, folder = Settings(**given["settings"]), Path(given["folder"])
    with _tiny():
        graph = TunedGraph(
            given["spec"], given["outputs"], boundary=given["boundary"], head=given["head"]["shape"],
            batch_norm=chosen.batch_norm, momentum=chosen.momentum, seed=given["seed"],
        )  # fmt: skip
    with np.load(folder / "head.npz", allow_pickle=False) as stored:
        graph.set_head([(stored[f"{number}_0"], stored[f"{number}_1"]) for number in range(len(graph.dense))])
    material = Material.open(folder, given["augment"])
    return graph, tuning._Training(graph, chosen, material=material, head=given["head"], seed=given["seed"]), chosen


@contextmanager
def _tiny():
    """In place of the source a network with its names and shapes from the boundary to the cut, built in no time."""

    def built(spec):
        import keras
        from keras import layers

        x = start = keras.Input((32, 32, 3))
        x = layers.ReLU(name="conv_pw_1_relu")(layers.Conv2D(8, 4, strides=4, name="conv1")(x))
        x = layers.ReLU(name=BOUNDARY)(layers.Conv2D(32, 1, name="conv2")(x))
        for block, strides in ((4, 2), (5, 1)):
            x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=f"conv_dw_{block}")(x)
            x = layers.ReLU()(layers.BatchNormalization(name=f"conv_dw_{block}_bn")(x))
            x = layers.Conv2D(64, 1, use_bias=False, name=f"conv_pw_{block}")(x)
            x = layers.BatchNormalization(name=f"conv_pw_{block}_bn")(x)
            x = layers.ReLU(name=f"conv_pw_{block}_relu")(x)
        model = keras.Model(start, x)
        randomise(model, 0)
        return model

    with mock.patch.object(tuned_graph, "built", built):
        yield


def _noted(graphs):
    begin = TunedGraph.__init__

    def noting(self, *given, **more):
        begin(self, *given, **more)
        graphs.append(self)

    return noting


def _digest(arrays):
    total = hashlib.sha256()
    for array in arrays:
        total.update(str((array.dtype, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _statistics(graph):
    """A digest of all means and variances."""
    return _digest([np.asarray(v) for n in graph.normalisations for v in (n.moving_mean, n.moving_variance)])


def scramble(model, seed=5):
    """BatchNormalization that does something: fresh layers have means of 0, and variances and scales of 1."""
    import keras

    draws = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.variables:
                drawn = draws.standard_normal(variable.shape)
                positive = "variance" in variable.path or "gamma" in variable.path
                variable.assign(np.exp(0.5 * drawn) if positive else 0.3 * drawn)


def _scrambled(build):
    def built(spec):
        model = build(spec)
        scramble(model)
        return model

    return built


def _network(kind):
    """A small network whose last layer is `last`."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    start = keras.Input((12, 12, 3))

    def normal(**more):
        return layers.BatchNormalization(**more)

    x = layers.Conv2D(6, 3, padding="same", name="first")(start)
    if kind == "convolutions":
        x = layers.ReLU()(normal()(x))
        x = normal(scale=False)(layers.Conv2D(5, 3, strides=2, padding="valid", use_bias=False)(x))
        x = normal(center=False)(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.ReLU()(x)))
        x = normal()(layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x))
        x = normal(scale=False, center=False, epsilon=0.1)(layers.Conv2D(4, 3, padding="same", dilation_rate=2)(x))
    elif kind == "looked at twice":
        first = layers.Conv2D(6, 1)(x)  # its own output is needed beside the normalised one
        x = layers.Add()([first, normal()(first)])
        shared = normal()  # of a convolution and of something else
        x = layers.Add()([shared(layers.Conv2D(6, 1)(x)), shared(layers.ReLU()(x))])
        twice = layers.Conv2D(6, 1)  # once before a normalisation and once not
        x = layers.Add()([normal()(twice(x)), twice(x)])
    elif kind == "not to be folded":
        x = normal()(layers.Conv2D(6, 3, groups=2)(x))
        x = normal()(layers.Conv2D(6, 3, activation="relu")(x))
        x = normal()(layers.SeparableConv2D(6, 3)(x))
        x = normal()(layers.ReLU()(x))
    elif kind == "plain":  # as in VGG
        x = layers.MaxPooling2D()(layers.ReLU()(x))
        x = layers.Conv2D(8, 3, activation="relu")(x)
    elif kind == "layer normalisation":
        y = layers.LayerNormalization()(layers.DepthwiseConv2D(5, padding="same")(x))
        y = layers.Dense(6)(layers.Activation("gelu")(layers.Dense(12)(y)))
        x = layers.Add()([x, y])
    elif kind == "squeeze and excite":
        x = layers.Activation("swish")(normal()(x))
        gate = layers.Reshape((1, 1, 6))(layers.GlobalAveragePooling2D()(x))
        gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="swish")(gate))
        y = normal()(layers.Conv2D(6, 1, use_bias=False)(layers.Multiply()([x, gate])))
        x = layers.Add()([x, layers.Dropout(0.5, noise_shape=(None, 1, 1, 1))(y)])
    x = layers.Activation("linear", name="last")(x)
    return keras.Model(start, x), "last"


def given_for(which, folder):
    """Arguments of a training: `dense` with every option on its way, `linear` with statistics that adapt, `until` the
    same up to an epoch that was told."""
    given = arguments(folder, **(EVERYTHING if which == "dense" else ADAPTING))
    return {**given, "until": 4} if which == "until" else given


# ---- a training in a process of its own -----------------------------------------------------------------------------


def main(folder, which):
    """Train through a worker, as a program would: `python tuning_jobs.py` in a process that may be killed."""
    from headstart.worker import Worker

    def told(facts):
        if "planned" in facts:
            print("begun", flush=True)

    random.seed()
    with Worker("tensorflow") as worker:
        given = given_for(which, Path(folder))
        print(worker._process.pid, flush=True)
        worker.call("tuning_jobs:tune", progress=told, given=given, slow=0.02, save_every=0.05)
        print("done", flush=True)


EVERYTHING = {"head": DENSE, "ema": 0.8, "mixup": 0.3, "epochs": 5, "weight_decay": 0.5, "patience": 50}
ADAPTING = {"batch_norm": "adapt", "weight_decay": 0.5, "epochs": 5, "patience": 50}

if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
