"""Maps over pictures: in their place, told by lightness and a line, and the picture stays to be seen."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.heat import enlarge, overlay, spread


def test_a_map_is_enlarged_without_moving_or_overshooting() -> None:
    values = np.array([[0, 0, 0], [0, 1, 0]], float)
    large = enlarge(values, (40, 90))
    assert large.shape == (40, 90)
    assert (large.min(), large.max()) == (0, pytest.approx(1, abs=0.05))
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert row >= 28
    assert 43 <= column <= 46
    assert enlarge(np.full((1, 1), 0.3), (5, 6)) == pytest.approx(np.full((5, 6), 0.3))
    assert enlarge(values, (2, 3)) == pytest.approx(values)


@pytest.mark.parametrize("size", [(4, 6), (3, 5), (7, 7), (2, 3)])
def test_a_map_on_another_grid_keeps_its_sum(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3))
    shared = spread(values, size)
    assert shared.shape == size
    assert shared.sum() == pytest.approx(values.sum(), rel=1e-5)
    if size == (4, 6):
        assert shared == pytest.approx(np.kron(values, np.ones((2, 2))) / 4, rel=1e-5)


def lightness(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_evidence_is_lighter_than_none_on_dark_and_light_pictures(ground: int) -> None:
    pixels = np.full((60, 80, 3), ground, np.uint8)
    drawn = overlay(pixels, np.array([[0.0, 0.0, 0.0, 1.0]]))
    assert drawn.shape == pixels.shape
    assert drawn.dtype == np.uint8
    light = lightness(drawn.astype(float))
    inner = light[30, 74:79]
    assert inner.mean() > light[30, 2:20].mean() + 15
    red, _, blue = drawn[30, 77].astype(int)
    assert red - blue > 90, "yellow where most is, whatever the picture"
    assert (light == 0).any(axis=1).all(), "the line around it, in black"
    assert (light > 254.9).any(axis=1).all(), "and in white"


def test_the_ramp_grows_lighter_all_the_way() -> None:
    drawn = overlay(np.full((4, 200, 3), 128, np.uint8), np.linspace(0, 0.49, 9)[None])
    assert (np.diff(lightness(drawn[2].astype(float))) >= -0.8).all()


def test_without_evidence_there_is_no_line_and_the_picture_is_seen() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:20] = 200, 30, 90
    drawn = overlay(pixels, np.zeros((3, 3)))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2
    assert lightness(drawn[15, 15].astype(float)) > lightness(drawn[0, 0].astype(float)) + 30
