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


@njit(parallel=True, cache=True, fastmath={"contract", "nsz", "arcp"})  # nans stay nans: a diverged run is to be seen
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
            epsilon.
    """
    parts = out.shape[0]
    features, units = kernel.shape
    one = np.float32(1)
    rate, beta, rho, epsilon = rates[0], rates[1], rates[2], rates[3]
    for part in prange(parts):
        mine = out[part]
        mine[:] = 0
        gradient = np.zeros(units, np.float32)
        for row in range(part * features // parts, (part + 1) * features // parts):
            seen = 0
            for picture in range(x.shape[0]):
                value = x[picture, row]
                if value != 0:
                    if seen == 0:
                        for unit in range(units):
                            gradient[unit] = value * delta[picture, unit]
                    else:
                        for unit in range(units):
                            gradient[unit] += value * delta[picture, unit]
                    seen += 1
            if seen == 0 and x.shape[0] > 0 and kind != RMSPROP and last[row] > 0:  # its momentum still moves it
                gradient[:] = 0
                seen = 1
            if seen > 0:
                if kind == SGD:
                    for unit in range(units):
                        moved = beta * first[row, unit] - rate * gradient[unit]
                        first[row, unit] = moved
                        kernel[row, unit] += moved
                elif kind == RMSPROP:
                    decay = rho ** np.float32(now - last[row])
                    for unit in range(units):
                        g = gradient[unit]
                        mean = decay * second[row, unit] + (one - rho) * g * g
                        second[row, unit] = mean
                        kernel[row, unit] -= rate * g / np.sqrt(mean + epsilon)
                else:
                    for unit in range(units):
                        g = gradient[unit]
                        m = first[row, unit] + (g - first[row, unit]) * (one - beta)
                        v = second[row, unit] + (g * g - second[row, unit]) * (one - rho)
                        first[row, unit] = m
                        second[row, unit] = v
                        kernel[row, unit] -= rate * m / (np.sqrt(v) + epsilon)
                last[row] = now
            for picture in range(following.shape[0]):
                value = following[picture, row]
                if value != 0:
                    for unit in range(units):
                        mine[picture, unit] += value * kernel[row, unit]
