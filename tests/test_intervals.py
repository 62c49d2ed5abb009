"""Wilson's interval: known values, and what holds for every count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.intervals import wilson

COUNTS = st.integers(1, 100_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17:857-872), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(right, count, low, high):
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS)
def test_it_holds_the_rate_and_stays_a_rate(pair):
    right, count = pair
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    assert low < high


@given(COUNTS)
def test_right_and_wrong_mirror_each_other(pair):
    right, count = pair
    low, high = wilson(right, count)
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(COUNTS)
def test_more_pictures_narrow_it(pair):
    right, count = pair
    low, high = wilson(right, count)
    narrower = wilson(4 * right, 4 * count)
    assert narrower[1] - narrower[0] < high - low


@given(COUNTS, st.floats(0.5, 0.9), st.floats(0.91, 0.999))
def test_more_confidence_widens_it(pair, less, more):
    low, high = wilson(*pair, confidence=less)
    wide_low, wide_high = wilson(*pair, confidence=more)
    assert wide_low <= low < high <= wide_high


def test_the_ends_are_exact():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("right", "count"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(right, count):
    with pytest.raises(ValueError, match=f"Received: right={right}, count={count}"):
        wilson(right, count)
