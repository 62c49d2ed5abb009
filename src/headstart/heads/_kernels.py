"""One pass over a large kernel: the update of this batch and the first layer of the next, compiled by numba.

A dense layer on flattened features has tens of millions of weights, and a step on them is bound by memory. Written as
separate operations (gradient, moments, update, next product) it reads and writes the kernel many times over; here each
row is brought into the processor once, updated, and used for the next batch while it is there. Features after a ReLU
are mostly zero, and a row whose feature is zero in the whole batch has no gradient: RMSprop then only lets its mean
square decay, which is caught up with when the row is next met, so such rows are not touched at all.

The formulae are those of Keras 3's optimizers, in float32.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, njit, prange

SGD, RMSPROP, ADAM = 0, 1, 2


def threads() -> int:
    return int(get_num_threads())


def widened(values: np.ndarray) -> np.ndarray:
    """As `headstart.halves.widened`, in a sixth of its time."""
    result = np.empty(values.shape, np.float32)
    if values.dtype == np.float16 and values.ndim == 2:
        halves = np.ascontiguousarray(values).view(np.uint16)
        _shift(halves, result.view(np.uint32))
        _scale(halves, result)
    else:
        result[...] = values
    return result


@njit(parallel=True, cache=True)
def _shift(halves, words):  # type: ignore[no-untyped-def]
    """Exponent and fraction of each half where float32 has them."""
    for row in prange(halves.shape[0]):
        for column in range(halves.shape[1]):
            words[row, column] = (np.uint32(halves[row, column]) & np.uint32(0x7FFF)) << np.uint32(13)


@njit(parallel=True, cache=True)
def _scale(halves, values):  # type: ignore[no-untyped-def]
    """The exponent's bias of float32 in place of that of float16, and the sign. Infinities and nans stay."""
    for row in prange(halves.shape[0]):
        for column in range(halves.shape[1]):
            half = halves[row, column]
            value = values[row, column] * np.float32(2.0**112)
            if half & np.uint16(0x7C00) == np.uint16(0x7C00):
                value = np.float32(np.inf) if half & np.uint16(0x3FF) == np.uint16(0) else np.float32(np.nan)
            values[row, column] = -value if half >= np.uint16(0x8000) else value


_MATH = {"contract", "nsz", "arcp"}  # nans stay nans: a diverged run is to be seen
_TILE = 64  # rows of the kernel that are updated before the next batch reads them, from the processor's cache


@njit(parallel=True, cache=True, fastmath=_MATH)
def step(kind, kernel, first, second, last, now, x, delta, following, out, rates):  # type: ignore[no-untyped-def]
    """Update `kernel` by the gradient xᵀ·delta, and put following · kernel into the sum of `out`.

    Args:
        kind: SGD, RMSPROP or ADAM.
        kernel: float32 (features, units), changed in place; `first` and `second` are its moments (momentum or Adam's
            m; mean squares), of the same shape where `kind` has them.
        last: int64 (features,): the step at which a row was last updated, 0 for never.
        now: this step's number, from 1.
        x, delta: float32 (batch, features) and (batch, units); empty for a product alone.
        following: float32 (next batch, features); may be empty.
        out: float32 (threads, next batch, units): what each thread has summed.
        rates: float32: learning rate (Adam: with its bias correction), decay of the first moment, of the second,
            epsilon, and what both decays leave of 1.
    """
    parts = out.shape[0]
    features, units = kernel.shape
    pictures, ahead = x.shape[0], following.shape[0]
    zero = np.float32(0)
    for part in prange(parts):
        mine = out[part]
        mine[:] = 0
        gradient, nothing = np.zeros(units, np.float32), np.zeros(units, np.float32)
        # Which pictures have something in a row, and which rows in a picture; three more to fill up the last four.
        who, how_much = np.zeros((_TILE, pictures + 4), np.uint32), np.zeros((_TILE, pictures + 4), np.float32)
        count = np.zeros(_TILE, np.int64)
        where, value = np.zeros(_TILE + 4, np.uint32), np.zeros(_TILE + 4, np.float32)
        end = (part + 1) * features // parts
        for top in range(part * features // parts, end, _TILE):
            rows = min(_TILE, end - top)
            count[:] = 0
            for picture in range(pictures):
                for row in range(rows):  # without a branch, which would be guessed wrong for every other number
                    number = x[picture, top + row]
                    who[row, count[row]], how_much[row, count[row]] = picture, number
                    count[row] += number != 0
            for row in range(rows):
                seen, at = count[row], np.uint64(top + row)
                # Without a gradient, RMSprop changes nothing that matters now, and momentum moves what once moved.
                if seen == 0 and (pictures == 0 or kind == RMSPROP or last[at] == 0):
                    continue
                for fill in range(seen, seen + 3):
                    who[row, fill], how_much[row, fill] = 0, zero
                if kind == RMSPROP:  # adds the first two on the way
                    _add_up(how_much[row], who[row], 2, seen, delta, gradient, True)
                    decay = rates[2] ** np.float32(now - last[at])
                    _rmsprop(
                        kernel, second, at, gradient if seen > 2 else nothing, delta, who[row, 0], who[row, 1],
                        how_much[row, 0], how_much[row, 1], rates, decay,
                    )  # fmt: skip
                else:
                    gradient[:] = 0
                    _add_up(how_much[row], who[row], 0, seen, delta, gradient, True)
                    if kind == SGD:
                        _sgd(kernel, first, at, gradient, rates)
                    else:
                        _adam(kernel, first, second, at, gradient, rates)
                last[at] = now
            for picture in range(ahead):
                seen = 0
                for row in range(rows):
                    number = following[picture, top + row]
                    where[seen], value[seen] = top + row, number
                    seen += number != 0
                for fill in range(seen, seen + 3):
                    where[fill], value[fill] = top, zero
                _add_up(value, where, 0, seen, kernel, mine[picture], False)


@njit(cache=True, fastmath=_MATH)
def _add_up(weights, rows, start, end, source, target, anew):  # type: ignore[no-untyped-def]
    """target += Σ weights · source[rows], four rows at a time; `anew` forgets what was in it."""
    for at in range(start, end, 4):
        a, b, c, d = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
        i, j, k, m = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
        if anew and at == start:
            for unit in range(target.size):
                target[unit] = a * source[i, unit] + b * source[j, unit] + c * source[k, unit] + d * source[m, unit]
        else:
            for unit in range(target.size):
                target[unit] += a * source[i, unit] + b * source[j, unit] + c * source[k, unit] + d * source[m, unit]


# numba checks every division for zero, and then does one at a time, unless told that numpy's rules hold.


@njit(cache=True, fastmath=_MATH, error_model="numpy")
def _sgd(kernel, first, row, gradient, rates):  # type: ignore[no-untyped-def]
    rate, beta = rates[0], rates[1]
    for unit in range(gradient.size):
        moved = beta * first[row, unit] - rate * gradient[unit]
        first[row, unit] = moved
        kernel[row, unit] += moved


@njit(cache=True, fastmath=_MATH, error_model="numpy")
def _rmsprop(kernel, second, row, gradient, delta, i, j, a, b, rates, decay):  # type: ignore[no-untyped-def]
    """With the gradient of two more pictures, i and j, whose feature is a and b."""
    rate, epsilon, fresh = rates[0], rates[3], rates[5]
    for unit in range(gradient.size):
        g = gradient[unit] + a * delta[i, unit] + b * delta[j, unit]
        mean = decay * second[row, unit] + fresh * g * g
        second[row, unit] = mean
        kernel[row, unit] -= rate * g / np.sqrt(mean + epsilon)


@njit(cache=True, fastmath=_MATH, error_model="numpy")
def _adam(kernel, first, second, row, gradient, rates):  # type: ignore[no-untyped-def]
    rate, epsilon, rest, fresh = rates[0], rates[3], rates[4], rates[5]
    for unit in range(gradient.size):
        g = gradient[unit]
        m = first[row, unit] + (g - first[row, unit]) * rest
        v = second[row, unit] + (g * g - second[row, unit]) * fresh
        first[row, unit] = m
        second[row, unit] = v
        kernel[row, unit] -= rate * m / (np.sqrt(v) + epsilon)
