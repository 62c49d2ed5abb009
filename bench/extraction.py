"""How near the feature pass comes to what decoding and the trunk allow, measured alone in the same process.

    python bench/extraction.py PHOTOS WEIGHTS.h5 [ROUNDS]

The bound is 1 / (1/trunk + decode_seconds/cores): pictures a second if all cores were busy with decoding and inference
and nothing else. `trunk` is the engine alone on pictures already decoded; `decode_seconds` is read + decode of one
picture on one thread. Rounds of the three are interleaved; medians are of the rounds' ratios.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from headstart import images, trunk
from headstart.dataset import Dataset
from headstart.ingest import Ingest
from headstart.store import Store
from headstart.trunk import PendingTrunk
from headstart.worker import lazy


def main(photos: str, weights: str, rounds: int = 5) -> None:
    with lazy("openvino") as worker:
        wanted = trunk.spec("mobilenetv2", image_size=(160, 160), weights=weights)
        compiled = trunk.prepare(wanted, worker).result()
    dataset = Dataset.open(photos).digested()
    figures = []
    for _ in range(rounds):
        pixels, decode_seconds = decode_alone(dataset, compiled.image_size)
        trunk_rate = trunk_alone(compiled, pixels)
        whole = whole_pass(dataset, compiled)
        cores = os.cpu_count() or 1
        bound = 1 / (1 / trunk_rate + decode_seconds / cores)
        figures.append({"trunk": trunk_rate, "decode": 1 / decode_seconds, "pass": whole, "share": whole / bound})
    shares = [figure["share"] for figure in figures]
    print(
        json.dumps(
            {
                **{key: statistics.median(figure[key] for figure in figures) for key in figures[0]},
                "share_low": min(shares),
                "share_high": max(shares),
                "rounds": rounds,
            }
        )
    )


def decode_alone(dataset, size, count=600):
    """Some decoded batches, and the seconds a picture that one thread takes to read and decode."""
    rows = range(0, len(dataset), max(1, len(dataset) // count))
    start = time.perf_counter()
    decoded = [images.read(dataset.path(row), size) for row in rows]
    return decoded, (time.perf_counter() - start) / len(decoded)


def trunk_alone(compiled, decoded, seconds=2.0):
    """Pictures a second of the engine on decoded pictures, the engine's own batches and queue."""
    import numpy as np

    engine = compiled.load()
    size = engine.batch_size
    batches = [np.stack(decoded[at : at + size]) for at in range(0, len(decoded) - size + 1, size)]
    run = ThreadPoolExecutor(engine.parallel).map
    list(run(engine.infer, batches))  # the first round allocates
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in run(engine.infer, batches):
            done += size
    return done / (time.perf_counter() - start)


def whole_pass(dataset, compiled):
    """Pictures a second of a first pass into an empty store: read, hashed, thumbnailed, decoded once, run and written,
    engine start included.
    """
    future = Future()
    future.set_result(compiled)
    pending = PendingTrunk(compiled.image_size, future)
    fresh = replace(dataset, digests=None)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "features.sqlite") as store:
        start = time.perf_counter()
        with Ingest(fresh, store, trunk=pending) as reading:
            misses = reading.finish().misses
        seconds = time.perf_counter() - start
    return misses / seconds


if __name__ == "__main__":
    main(*sys.argv[1:3], *(int(value) for value in sys.argv[3:4]))
