"""What twice as many pictures would bring: told where it can be, and not where it cannot."""

import numpy as np

from headstart.estimates import Estimate
from headstart.outlook import Outlook, look_on

SIZES = np.array([100.0, 250.0, 500.0, 1000.0])


def table(errors, count, *, draws=3, seed=0):
    """Answers of so many pictures, some easier than others, that are wrong at these rates in every draw."""
    random = np.random.default_rng(seed)
    hard = random.random(count)
    return [[(hard[None] + random.normal(0, 0.01, (draws, count)) > rate)] for rate in errors]


def law(size):
    return 0.03 + 1.5 * size**-0.5


def test_a_law_is_looked_at_beyond_its_last_size():
    found = look_on(SIZES, table(law(SIZES), 8_000), [np.arange(8_000)], pictures=1000)
    assert found.told
    assert found.why == ""
    assert found.gain.low < law(1000) - law(2000) < found.gain.high
    assert found.accuracy.low < 1 - law(2000) < found.accuracy.high
    assert "points more" in found.words
    assert "2,000" in found.words


def test_few_pictures_cannot_tell():
    found = look_on(SIZES, table([0.5, 0.4, 0.35, 0.3], 40), [np.arange(40)], pictures=1000)
    assert not found.told
    assert "cannot be told" in found.words
    assert found.gain.high - found.gain.low > 0.04


def test_a_curve_that_its_first_sizes_do_not_foresee_is_not_gone_on_with():
    found = look_on(SIZES, table([0.3, 0.299, 0.298, 0.15], 5_000), [np.arange(5_000)], pictures=1000)
    assert not found.told
    assert "foresee" in found.why


def test_a_level_curve_promises_next_to_nothing():
    found = look_on(SIZES, table([0.02] * 4, 8_000), [np.arange(8_000)], pictures=1000)
    assert found.told
    assert "next to nothing" in found.words


def test_pictures_that_belong_together_count_as_one():
    answers = table(law(SIZES), 400)
    copies = [[np.repeat(blocks[0], 10, axis=1)] for blocks in answers]
    alone = look_on(SIZES, answers, [np.arange(400)], pictures=1000).gain
    together = look_on(SIZES, copies, [np.repeat(np.arange(400), 10)], pictures=1000).gain
    apart = look_on(SIZES, copies, [np.arange(4000)], pictures=1000).gain
    width = [each.high - each.low for each in (alone, together, apart)]
    assert abs(width[0] - width[1]) < 0.15 * width[0]
    assert width[2] < 0.8 * width[1]


def test_draws_that_differ_make_it_less_certain():
    hard = np.random.default_rng(1).random(4_000)
    for draws, least in (((0.0, 0.0), 0.0), ((0.03, -0.03), 0.015)):
        answers = [[np.stack([hard > law(size) + shift for shift in draws])] for size in SIZES]
        found = look_on(SIZES, answers, [np.arange(4_000)], pictures=1000).accuracy
        reach = min(found.value - found.low, found.high - found.value)  # on both sides of what is most likely
        assert least < reach < 0.02 + least


def test_two_sizes_are_too_few_to_look_on():
    assert look_on(SIZES[:2], table([0.3, 0.2], 100), [np.arange(100)], pictures=1000) is None


def test_the_words_of_what_is_told():
    found = Outlook(500, Estimate(0.9, 0.88, 0.91), Estimate(0.012, 0.004, 0.02), True)
    assert found.words == (
        "Twice as many training pictures (1,000) would probably bring 1.2 points more (0.4 to 2.0), if the curve"
        " goes on as it has begun."
    )
