"""Which pictures are nearly the same: re-encoded, resized, brightened, slightly cropped, or shot twice.

Three steps, each on what the one before it left:

1. A perceptual hash, 64 bits: the signs of the lowest frequencies of the grey 16 × 16 copy against their median (the
   idea is Zauner's pHash, 2010). All pairs are compared by XOR and popcount, in numpy and in blocks; 10⁵ pictures are
   5 · 10⁹ pairs, a few seconds of one core. Pairs within `RADIUS` bits whose 8 × 8 copies agree too go on: for each
   picture the `PARTNERS` most alike.
2. The two 16 × 16 copies are registered: the scale and shift of each axis and the gain that bring one nearest the
   other, by Gauss-Newton (Lucas and Kanade 1981), so a crop of a few per cent costs nothing.
3. What is left is decoded again at 64 × 64, in colour, and registered there. `detail` is the cosine between the two
   fields of differences of neighbouring pixels. A plain ground, which makes any two studio pictures alike, has no say
   in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from headstart import images
from headstart.dataset import Dataset
from headstart.errors import PictureError
from headstart.findings import Finding
from headstart.looks import LUMA, SMALL, Looks, glance
from headstart.progress import Progress, silent
from headstart.store import Store

RADIUS = 18
"""Bits of 64 in which two hashes may differ."""
COARSE = 0.7
"""Correlation of two 8 × 8 copies from which a pair goes on."""
PARTNERS = 5
"""Pairs of one picture that go on, at most; a larger cluster hangs together by its chain."""
DETAIL = 0.86
"""What two registered pictures must reach to be called nearly the same; of different things few reach 0.8."""
_FIRST_DETAIL = 0.75  # of the small copies, which say less
_RICH = 64  # grey levels from which two equal grey copies are proof enough
_LARGE = 4 * SMALL
_CHUNK, _BLOCK = 256, 4096  # pairs that are registered at once, and pictures that are hashed at once
_TOO_MANY, _TOO_LARGE = 10, 0.5


@dataclass(frozen=True)
class Twins:
    """Two rows that show nearly the same picture; `detail`, up to 1, says how nearly."""

    first: int
    second: int
    detail: float


def look_over(dataset: Dataset, store: Store | None = None, *, progress: Progress = silent) -> tuple[Dataset, Looks]:
    """A glance at every picture, and the set with what is nearly the same tied together; hashed where it was not.

    A set that was tied before, such as that of a training result, keeps its groups.
    """
    dataset = dataset.digested(lambda done, total: progress("reading", done, total))
    looks = glance(dataset, store, progress=lambda done, total: progress("looking", done, total))
    return tied(dataset, looks), looks


def tied(dataset: Dataset, looks: Looks) -> Dataset:
    """Tie together what is nearly the same, unless that was done before."""
    return tie(dataset, find(dataset, looks)) if dataset.alike is None else dataset


def find(dataset: Dataset, looks: Looks) -> tuple[Twins, ...]:
    """Pairs of pictures that are nearly the same; where several hang together, as many pairs as tie them.

    Of byte-identical files the first stands for all.

    Args:
        dataset: the pictures, hashed.
        looks: of the same rows.
    """
    first: dict[bytes, int] = {}
    for row, digest in enumerate(dataset.digested().digests or ()):
        first.setdefault(digest, row)
    rows = np.array([row for row in sorted(first.values()) if looks.readable[row]], int)
    if len(rows) < 2:
        return ()
    small = looks.small[rows]
    named = [_named(small[start : start + _BLOCK].astype(np.float32)) for start in range(0, len(small), _BLOCK)]
    pairs = candidates(np.concatenate([codes for codes, _ in named]), np.concatenate([coarse for _, coarse in named]))
    equal = _equal(small, pairs)
    forest = _Forest()
    found = [Twins(int(rows[a]), int(rows[b]), 1.0) for a, b in pairs[equal].tolist() if forest.join(a, b)]
    left = pairs[~equal]
    for start in range(0, len(left), _CHUNK):
        some = [pair for pair in left[start : start + _CHUNK].tolist() if forest.root(pair[0]) != forest.root(pair[1])]
        for a, b, detail in _confirmed(dataset, small, rows, np.array(some, int).reshape(-1, 2)):
            if forest.join(a, b):
                found.append(Twins(int(rows[a]), int(rows[b]), detail))
    return tuple(found)


def _named(small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return hashes(small), _unit(_halved(small))


def _equal(small: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pairs of rich pictures whose grey copies are the same but for rounding: nothing is left to be asked."""
    same = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), 16 * _CHUNK):
        some = pairs[start : start + 16 * _CHUNK]
        one, other = (small[some[:, side]].reshape(len(some), -1).astype(np.int16) for side in (0, 1))
        rich = one.max(axis=1) - one.min(axis=1) >= _RICH
        same[start : start + len(some)] = rich & (np.abs(one - other).max(axis=1) <= 1)
    return same


def _confirmed(
    dataset: Dataset, small: np.ndarray, rows: np.ndarray, pairs: np.ndarray
) -> list[tuple[int, int, float]]:
    """Those of the pairs, as positions in `rows`, that are nearly the same, with their `detail`."""
    if not len(pairs):
        return []
    kept, warps = _first_look(small, pairs)
    pairs = pairs[kept]
    if not len(pairs):
        return []
    detail = _second_look(dataset, rows[pairs], warps[kept])
    same = detail >= DETAIL
    return [(a, b, value) for (a, b), value in zip(pairs[same].tolist(), detail[same].tolist(), strict=True)]


def tie(dataset: Dataset, twins: Sequence[Twins]) -> Dataset:
    """The same set with its `alike` groups: from now on they stay on one side of every split and fold.

    Where most pictures of a class look alike by this measure (scans of one form, frames of one scene), keeping them
    together would leave nothing to measure on: they are let go, and a finding says so.
    """
    names = [""] * len(dataset)
    findings: list[Finding] = []
    for number_, rows in enumerate(_clusters(dataset, twins)):
        crowded = _crowded(dataset, rows)
        if crowded is None:
            for row in rows:
                names[row] = f"alike {number_}"
            continue
        note = f"{len(rows):,} pictures look nearly the same, more than half of {crowded} among them."
        action = "Not kept together, or nothing would be left to measure on: a figure may be too good."
        files = tuple(dataset.files[row] for row in rows)
        findings.append(Finding("near_duplicate", files, note, action))
    return replace(dataset, alike=tuple(names), findings=(*dataset.findings, *findings))


class _Forest:
    """Which rows hang together (union-find); a row that was never named is alone."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def root(self, row: int) -> int:
        parent = self.parent
        while (above := parent.get(row, row)) != row:
            parent[row] = parent.get(above, above)
            row = above
        return row

    def join(self, one: int, other: int) -> bool:
        """Whether they were apart until now."""
        one, other = sorted((self.root(one), self.root(other)))
        self.parent[other] = one
        return one != other


def _clusters(dataset: Dataset, twins: Sequence[Twins]) -> list[list[int]]:
    """Rows that hang together by twins or by equal bytes; clusters of equal bytes alone are left out."""
    forest = _Forest()
    for pair in twins:
        forest.join(pair.first, pair.second)
    digests = dataset.digested().digests or ()
    tied = {digests[row]: row for pair in twins for row in (pair.first, pair.second)}
    members: dict[int, list[int]] = {}
    for row, digest in enumerate(digests):
        if digest in tied:
            members.setdefault(forest.root(tied[digest]), []).append(row)
    return [members[at] for at in sorted(members)]


def _crowded(dataset: Dataset, rows: Sequence[int]) -> str | None:
    """The class that would lose too much to one group, or None."""
    if len(rows) <= _TOO_MANY:
        return None
    if dataset.task == "numbers":
        return "all" if len(rows) > _TOO_LARGE * len(dataset) else None
    sizes, held = dataset.target_matrix().sum(axis=0), dataset.target_matrix(rows).sum(axis=0)
    over = np.flatnonzero(held > np.maximum(_TOO_LARGE * sizes, 1))
    return dataset.classes[int(over[0])] if len(over) else None


def hashes(small: np.ndarray) -> np.ndarray:
    """Perceptual hashes, uint64 of shape (pictures,), of grey copies of shape (pictures, 16, 16).

    >>> picture = np.random.default_rng(0).uniform(size=(1, 16, 16))
    >>> bool(hashes(picture)[0] == hashes(3 * picture + 20)[0])
    True
    """
    place = np.arange(SMALL, dtype=np.float32) + 0.5
    waves = np.cos(np.pi / SMALL * np.outer(np.arange(8), place)).astype(np.float32)
    low = (waves @ small @ waves.T).reshape(len(small), 64)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)  # the first says how bright the picture is
    codes: np.ndarray = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return codes


def candidates(codes: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Pairs worth a closer look, int of shape (pairs, 2), the smaller row first; of each row its best one first.

    Args:
        codes: uint64 hashes.
        coarse: float32 of shape (pictures, numbers), unit length: what decides between pairs of near hashes.
    """
    block, width = 64, 16_384

    def some(start: int) -> np.ndarray:
        found = []
        for column in range(start, len(codes), width):
            bits = np.bitwise_count(codes[start : start + block, None] ^ codes[None, column : column + width])
            ones, others = np.divmod(np.flatnonzero(bits <= RADIUS), bits.shape[1])
            pairs = np.stack([ones + start, others + column], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
        pairs = np.concatenate(found)
        score = np.concatenate(
            [np.einsum("ij,ij->i", coarse[part[:, 0]], coarse[part[:, 1]]) for part in _parts(pairs, 16_384)]
        )
        order = np.lexsort((-score, pairs[:, 0]))
        order = order[score[order] >= COARSE]
        one = pairs[order, 0]
        rank = np.arange(len(one)) - np.searchsorted(one, one)
        chosen = order[rank < PARTNERS]
        return np.column_stack([pairs[chosen], rank[rank < PARTNERS]])

    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="alike") as pool:
        found = np.concatenate(list(pool.map(some, range(0, len(codes), block))))
    return found[np.argsort(found[:, 2], kind="stable"), :2]


def _parts(pairs: np.ndarray, size: int) -> list[np.ndarray]:
    return [pairs[start : start + size] for start in range(0, max(len(pairs), 1), size)]


def _first_look(small: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs of grey copies match once they are registered, and their warps."""
    fixed, moving = (small[pairs[:, side]].astype(np.float32) for side in (0, 1))
    warps = register(fixed, moving, margin=1)
    return likeness(fixed[..., None], moving[..., None], warps, margin=1) >= _FIRST_DETAIL, warps


def _second_look(dataset: Dataset, pairs: np.ndarray, warps: np.ndarray) -> np.ndarray:
    """The detail of pairs of (fixed, moving) rows, from pictures that are decoded for it."""
    rows = np.unique(pairs)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="alike") as pool:
        large = np.stack(list(pool.map(lambda row: _decoded(dataset, int(row)), rows)))
    fixed, moving = (large[np.searchsorted(rows, pairs[:, side])] for side in (0, 1))
    scale = _LARGE // SMALL
    start = warps * np.array([1, scale, 1, scale], np.float32)
    warp = register(fixed @ LUMA, moving @ LUMA, margin=scale, start=start, steps=3)
    return likeness(fixed, moving, warp, margin=scale)


def _decoded(dataset: Dataset, row: int) -> np.ndarray:
    with suppress(PictureError):  # it was there a moment ago
        return images.read(dataset.path(row), (_LARGE, _LARGE)).astype(np.float32)
    return np.zeros((_LARGE, _LARGE, 3), np.float32)


def register(
    fixed: np.ndarray, moving: np.ndarray, *, margin: int, start: np.ndarray | None = None, steps: int = 5
) -> np.ndarray:
    """The warp that brings each `moving` picture nearest its `fixed` one, gain and offset being free.

    Gauss-Newton on the squared difference of the normalised pictures (Lucas and Kanade 1981).

    Args:
        fixed, moving: float32 of shape (pairs, n, n).
        margin: pixels at the edges that are left out.
        start: warps to begin from.
        steps: how often a warp is improved.

    Returns:
        float32 of shape (pairs, 4): a pixel at (x, y) from the middle of the fixed picture is seen at
        ((1 + w0) x + w1, (1 + w2) y + w3) from the middle of the moving one.
    """
    count, side = fixed.shape[:2]
    inner = slice(margin, side - margin)
    place = np.arange(side, dtype=np.float32)[inner] - (side - 1) / 2
    across, down = (each.reshape(-1) for each in np.meshgrid(place, place))
    goal = _unit(fixed[:, inner, inner])
    limit = np.array([0.15, side / 8, 0.15, side / 8], np.float32)
    warp = np.zeros((count, 4), np.float32) if start is None else np.clip(start, -limit, limit)
    for _ in range(steps):
        seen = warped(moving[..., None], warp, margin=margin)[..., 0]
        slope_down, slope_across = (each.reshape(count, -1) for each in np.gradient(seen, axis=(1, 2)))
        length = np.maximum(np.linalg.norm(seen - seen.mean(axis=(1, 2), keepdims=True), axis=(1, 2)), 1e-3)[:, None]
        flat = _unit(seen)
        slopes = (
            slope_across * across / length,
            slope_across / length,
            slope_down * down / length,
            slope_down / length,
        )
        design = np.stack([*slopes, flat, np.ones_like(flat)], axis=1)
        normal = design @ design.transpose(0, 2, 1) + 1e-5 * np.eye(6, dtype=np.float32)
        step = np.linalg.solve(normal, design @ (goal - flat)[..., None])[:, :4, 0]
        warp = np.clip(warp + np.clip(step, -limit / 2, limit / 2), -limit, limit).astype(np.float32)
    return warp


def warped(pictures: np.ndarray, warp: np.ndarray, *, margin: int) -> np.ndarray:
    """Pictures (pairs, n, n, channels) as `register` sees them, without the margin; bilinear, edges repeated."""
    side = pictures.shape[1]
    middle = (side - 1) / 2
    place = np.arange(side, dtype=np.float32)[margin : side - margin] - middle
    seen = pictures
    for axis, (scale, shift) in ((2, (0, 1)), (1, (2, 3))):
        at = np.clip((1 + warp[:, [scale]]) * place + warp[:, [shift]] + middle, 0, side - 1.001)
        low = at.astype(np.int64)
        part = at - low
        shape = (len(at), -1, 1, 1) if axis == 1 else (len(at), 1, -1, 1)
        lower = np.take_along_axis(seen, low.reshape(shape), axis)
        upper = np.take_along_axis(seen, low.reshape(shape) + 1, axis)
        seen = lower + (upper - lower) * part.reshape(shape).astype(np.float32)
    return seen


def likeness(fixed: np.ndarray, moving: np.ndarray, warp: np.ndarray, *, margin: int) -> np.ndarray:
    """The detail that registered pictures of (pairs, n, n, channels) share, up to 1 for all of it."""
    side = fixed.shape[1]
    one, other = fixed[:, margin : side - margin, margin : side - margin], warped(moving, warp, margin=margin)

    def differences(pictures: np.ndarray) -> np.ndarray:
        parts = [np.diff(pictures, axis=axis).reshape(len(pictures), -1) for axis in (1, 2)]
        return np.concatenate(parts, axis=1)

    a, b = differences(one), differences(other)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    shared: np.ndarray = np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-3)
    return shared


def _halved(small: np.ndarray) -> np.ndarray:
    result: np.ndarray = small.reshape(len(small), SMALL // 2, 2, SMALL // 2, 2).mean(axis=(2, 4))
    return result


def _unit(pictures: np.ndarray) -> np.ndarray:
    """Rows without their mean, of unit length."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    result: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3)
    return result
