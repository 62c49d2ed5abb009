"""A map of evidence laid over a picture, drawn by numpy.

The picture is shown in grey, so that nothing in it can be taken for the map; the map goes from dark blue to yellow, a
ramp whose lightness alone tells the order, so it reads the same with every kind of colour vision (Nuñez et al. 2018,
arXiv 1712.01662) and in print. A line in white between black runs around what has at least half of the most evidence.
"""

from __future__ import annotations

import numpy as np

_RAMP = np.array([[0, 32, 77], [67, 78, 108], [125, 124, 120], [188, 175, 111], [255, 234, 70]], np.float32)
_LEAST, _MOST = 0.25, 0.65  # how much of the ramp covers the picture, where there is no evidence and where most is
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A small map at the size of a picture, bilinear between the middles of its cells.

    Args:
        values: of shape (rows, columns).
        size: (height, width) in pixels.

    Example:
        >>> enlarge(np.array([[0.0, 1.0]]), (1, 4)).tolist()
        [[0.0, 0.25, 0.75, 1.0]]
    """
    down, across = (_between(new, old) for new, old in zip(size, values.shape, strict=True))
    result: np.ndarray = down @ np.asarray(values, np.float32) @ across.T
    return result


def spread(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map on another grid, each cell's amount shared out by the area that it covers; the sum stays.

    Example:
        >>> spread(np.array([[4.0]]), (2, 2)).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    down, across = (_covered(new, old) for new, old in zip(size, values.shape, strict=True))
    result: np.ndarray = down @ np.asarray(values, np.float32) @ across.T
    return result


def overlay(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A picture with a map over it, uint8 of shape (height, width, 3).

    Args:
        pixels: RGB, 0 to 255, of shape (height, width, 3).
        values: the map, 0 to 1, of any shape (rows, columns); it is stretched over the whole picture.
    """
    heat = np.clip(enlarge(values, pixels.shape[:2]), 0, 1)
    grey = (pixels.astype(np.float32) @ _GREY)[..., None]
    place = heat * (len(_RAMP) - 1)
    lower = np.minimum(place.astype(int), len(_RAMP) - 2)
    part = (place - lower)[..., None]
    colour = _RAMP[lower] * (1 - part) + _RAMP[lower + 1] * part
    share = (_LEAST + (_MOST - _LEAST) * heat)[..., None]
    drawn = grey * (1 - share) + colour * share
    inside, thick = heat >= 0.5, max(1, max(heat.shape) // 240)
    outer, inner = _grown(inside, 2 * thick) & ~_shrunk(inside, 2 * thick), _grown(inside, thick) & ~inside
    drawn[outer], drawn[inner] = 0, 255
    result: np.ndarray = np.rint(drawn).astype(np.uint8)
    return result


def _between(new: int, old: int) -> np.ndarray:
    """Weights of shape (new, old) that place old middles among new ones; beyond the outermost they stay level."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    weights: np.ndarray = np.maximum(1 - np.abs(at[:, None] - np.arange(old)[None, :]), 0)
    return weights.astype(np.float32)


def _covered(new: int, old: int) -> np.ndarray:
    """Weights of shape (new, old): which part of each old cell lies in each new one."""
    starts, begins = np.arange(new)[:, None] / new, np.arange(old)[None, :] / old
    common = np.minimum(starts + 1 / new, begins + 1 / old) - np.maximum(starts, begins)
    weights: np.ndarray = np.maximum(common, 0) * old
    return weights.astype(np.float32)


def _grown(inside: np.ndarray, by: int) -> np.ndarray:
    for _ in range(by):
        wide = np.pad(inside, 1)
        inside = wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return inside


def _shrunk(inside: np.ndarray, by: int) -> np.ndarray:
    result: np.ndarray = ~_grown(~inside, by)
    return result
