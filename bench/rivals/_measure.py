"""What every rival is measured by: time and accuracy at the end of each epoch, and its memory."""

import contextlib
import json
import os
import resource
import sys
import time

START = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DOCUMENTS_AUGMENTATION = {
    "rotation_range": 40,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 0.2,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "fill_mode": "nearest",
}


def since_start():
    """Seconds since the process began, the interpreter's own start included where the system tells it."""
    try:
        with open("/proc/self/stat") as handle:
            ticks = int(handle.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return time.perf_counter() - START


def peak_mb():
    """Peak resident memory of this process, which is all there is of a rival: it starts no others."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextlib.contextmanager
def quiet():
    """What Keras prints goes to stderr, so that stdout holds one line of JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def fit(model, train, **options):
    """`model.fit`, and what is told of it: Keras's history, and seconds, a number an epoch.

    `epoch_seconds` are what Keras's own progress lines show, the validation included; `train_seconds` are without it.
    `fit_elapsed` counts from the call of `fit`, `elapsed` from the start of the process, both to the epoch's end.
    """
    import keras

    told = {"epoch_seconds": [], "train_seconds": [], "fit_elapsed": [], "elapsed": []}
    begun = {}

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
            begun["epoch"] = time.perf_counter()

        def on_test_begin(self, logs=None):  # noqa: ARG002
            begun["test"] = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            now = time.perf_counter()
            told["epoch_seconds"].append(now - begun["epoch"])
            told["train_seconds"].append(begun.get("test", now) - begun["epoch"])
            told["fit_elapsed"].append(now - begun["fit"])
            told["elapsed"].append(since_start())

    begun["fit"] = time.perf_counter()
    history = model.fit(train, callbacks=[Clock()], verbose=2, **options)
    told["fit_seconds"] = time.perf_counter() - begun["fit"]
    return {**history.history, **told}


def tell(name, **facts):
    """The one line of JSON that a rival ends with."""
    print(json.dumps({"rival": name, **_rounded(facts), "peak_mb": round(peak_mb(), 1)}))


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 5) if isinstance(value, float) else value
