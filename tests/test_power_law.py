"""The inverse power law: what was put in comes out, signs are kept, weights count."""

import numpy as np
import pytest

from headstart.power_law import EXPONENTS, fit

SIZES = np.array([100.0, 250.0, 500.0, 1000.0])


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.02, 0.5, 0.5), (0.0, 0.3, 0.25), (0.1, 2.0, 0.9)])
def test_a_law_without_noise_is_found_and_goes_on(floor, scale, exponent):
    errors = floor + scale * SIZES**-exponent
    law = fit(SIZES, errors[None], np.ones(4))
    assert law.error(2000)[0] == pytest.approx(floor + scale * 2000**-exponent, abs=3e-4)
    assert law.error(250)[0] == pytest.approx(errors[1], abs=1e-4)


def test_neither_part_is_ever_negative():
    rising = np.array([[0.1, 0.12, 0.14, 0.2], [0.4, 0.2, 0.08, 0.0]])
    law = fit(SIZES, rising, np.ones(4))
    assert (law.floor >= 0).all()
    assert (law.scale >= 0).all()
    assert law.error(2000)[0] == pytest.approx(rising[0].mean())  # more pictures never make it worse
    assert law.floor[1] == 0


def test_what_counts_for_more_is_met_more_closely():
    errors = np.array([[0.3, 0.2, 0.17, 0.18]])
    even = fit(SIZES, errors, np.ones(4)).error(1000)[0]
    last = fit(SIZES, errors, np.array([1.0, 1.0, 1.0, 1000.0])).error(1000)[0]
    assert abs(last - 0.18) < abs(even - 0.18)


def test_no_exponent_fits_better_than_the_one_that_is_taken():
    errors = np.array([[0.31, 0.24, 0.21, 0.19]])
    law = fit(SIZES, errors, np.ones(4))
    best = sum((law.error(size)[0] - error) ** 2 for size, error in zip(SIZES, errors[0], strict=True))
    for exponent in EXPONENTS:
        x = np.column_stack([np.ones(4), (SIZES / 1000) ** -exponent])
        coefficients, *_ = np.linalg.lstsq(x, errors[0], rcond=None)
        if (coefficients >= 0).all():
            assert best <= ((x @ coefficients - errors[0]) ** 2).sum() + 1e-12


def test_equal_sizes_are_their_mean():
    law = fit(np.array([24.0, 24.0, 24.0]), np.array([[0.3, 0.2, 0.1]]), np.ones(3))
    assert law.error(24)[0] == law.error(100)[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("sizes", "errors", "weights"),
    [(SIZES[:1], np.ones((1, 1)), np.ones(1)), (SIZES, np.ones((1, 3)), np.ones(4)), (SIZES, np.ones(4), np.ones(4))],
)
def test_shapes_that_do_not_go_together_are_refused(sizes, errors, weights):
    with pytest.raises(ValueError, match="Received"):
        fit(sizes, errors, weights)
