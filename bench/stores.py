"""Embedded stores side by side: rows of one picture's features written and read back. Needs: pip install lmdb.

python bench/stores.py [ROWS] [NUMBERS]
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from headstart.store import Space, Store


def main(count: int = 20_000, width: int = 5_120, rounds: int = 3) -> None:
    rows = np.random.default_rng(0).random((256, width)).astype(np.float16)
    keys = [os.urandom(32) for _ in range(count)]
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, run in (("sqlite", with_sqlite), ("lmdb", with_lmdb)):
            with tempfile.TemporaryDirectory() as folder:
                write, read = run(Path(folder), keys, rows)
            figures.setdefault(f"{name} write", []).append(count / write)
            figures.setdefault(f"{name} read", []).append(count / read)
    print(json.dumps({name: round(statistics.median(rates)) for name, rates in figures.items()}))


def with_sqlite(folder, keys, rows):
    """The store as it is, checksums included."""
    space = Space("bench", (("f", rows.shape[1]),))
    with Store(folder / "features.sqlite") as store:
        start = time.perf_counter()
        for at in range(0, len(keys), 256):
            store.write(space, zip(keys[at : at + 256], rows, strict=False))
        middle = time.perf_counter()
        found = sum(1 for _ in store.read(space, keys))
    if found != len(keys):
        sys.exit(f"SQLite gave {found} of {len(keys)} rows")
    return middle - start, time.perf_counter() - middle


def with_lmdb(folder, keys, rows):
    """The same rows in LMDB, one transaction for as many, without checksums."""
    import lmdb

    with lmdb.open(str(folder), map_size=2 * rows[0].nbytes * len(keys) + 2**28) as store:
        start = time.perf_counter()
        for at in range(0, len(keys), 256):
            with store.begin(write=True) as transaction:
                for key, row in zip(keys[at : at + 256], rows, strict=False):
                    transaction.put(key, row.tobytes())
        middle = time.perf_counter()
        with store.begin() as transaction:
            found = sum(np.frombuffer(transaction.get(key), np.float16).size > 0 for key in keys)
    if found != len(keys):
        sys.exit(f"LMDB gave {found} of {len(keys)} rows")
    return middle - start, time.perf_counter() - middle


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]))
