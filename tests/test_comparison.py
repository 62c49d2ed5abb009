"""Two classifiers on the same pictures: McNemar's test, the paired interval, the sentence."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.comparison import check_classes, compare, mcnemar, paired_difference
from headstart.errors import ModelFileError, PhotosError
from headstart.evaluate import Outcomes, score
from headstart.intervals import wilson

COUNTS = st.tuples(*[st.integers(0, 400)] * 4).filter(any)


def evaluated(right, *, classes="ab", rows=None, trained=None):
    labels = np.arange(len(right)) % len(classes)
    answers = np.where(right, labels, (labels + 1) % len(classes))
    found = score(np.eye(len(classes))[answers], labels, tuple(classes), split="test", rows=rows)
    if trained is not None:
        object.__setattr__(found, "outcomes", Outcomes(**{**vars(found.outcomes), "trained": np.array(trained)}))
    return found


def pair(both, first, second, neither):
    mine = [True] * (both + first) + [False] * (second + neither)
    theirs = [True] * both + [False] * first + [True] * second + [False] * neither
    return evaluated(mine), evaluated(theirs)


def test_published_values():
    # Newcombe 1998 (Statistics in Medicine 17:2635-2650), table II, method 10.
    assert paired_difference(36, 12, 2, 0) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    # Both sure and alike: no narrower than what one share alone leaves open.
    assert paired_difference(54, 0, 0, 0) == pytest.approx((0.0, -0.0664, 0.0664), abs=5e-5)


def test_answers_that_go_together_narrow_the_interval_after_the_correction():
    # Newcombe's correlation of a table whose diagonal outweighs: (ad − bc − n / 2) / √(…), and 0 where that is less.
    phi = (140 * 5 - 5 * 3 - 153 / 2) / math.sqrt(145 * 8 * 143 * 10)
    (low1, high1), (_, high2) = wilson(145, 153), wilson(143, 153)
    below, above = 145 / 153 - low1, high2 - 143 / 153
    reach = math.sqrt(below**2 - 2 * phi * below * above + above**2)
    difference, low, _ = paired_difference(140, 5, 3, 5)
    assert low == pytest.approx(difference - reach)
    assert high1 > high2
    low, high = wilson(13, 17)
    apart = math.hypot(13 / 17 - low, high - 13 / 17)
    assert paired_difference(10, 3, 3, 1) == pytest.approx((0.0, -apart, apart))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 0), (5, 5), (7, 17), (24, 0)])
def test_few_discordant_pictures_are_tested_exactly(first, second):
    from scipy.stats import binomtest

    p, test = mcnemar(first, second)
    assert test == "exact"
    assert p == pytest.approx(binomtest(first, first + second).pvalue if first + second else 1.0)


@pytest.mark.parametrize(("first", "second"), [(10, 15), (10, 30), (200, 230), (13, 12)])
def test_many_are_tested_by_chi_square_with_the_correction(first, second):
    from scipy.stats import chi2

    p, test = mcnemar(first, second)
    assert test == "chi-square"
    assert p == pytest.approx(chi2.sf((abs(first - second) - 1) ** 2 / (first + second), 1))


def test_the_correction_never_makes_equal_counts_unequal():
    assert mcnemar(20, 20) == (1.0, "chi-square")


@given(COUNTS)
def test_the_other_way_round_mirrors(counts):
    both, first, second, neither = counts
    difference, low, high = paired_difference(*counts)
    assert -1 <= low <= difference <= high <= 1
    assert paired_difference(both, second, first, neither) == pytest.approx((-difference, -high, -low), abs=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    # Exact coverage over every table of 12 pictures, for one true table.
    chances, true = (0.6, 0.2, 0.1, 0.1), 0.1
    held = 0.0
    for a, b, c in itertools.product(range(13), repeat=3):
        d = 12 - a - b - c
        if d < 0:
            continue
        ways = math.factorial(12) / math.prod(map(math.factorial, (a, b, c, d)))
        chance = ways * math.prod(p**k for p, k in zip(chances, (a, b, c, d), strict=True))
        _, low, high = paired_difference(a, b, c, d)
        held += chance * (low <= true <= high)
    assert 0.93 < held < 0.995


def test_the_sentence_says_where_pictures_cannot_separate_them():
    found = compare(*pair(140, 5, 3, 5))
    assert (found.n, found.both, found.first_alone, found.second_alone, found.neither) == (153, 140, 5, 3, 5)
    assert (found.test, found.separated) == ("exact", False)
    assert str(found).startswith("These 153 pictures cannot separate them: +1.3 points (95 % interval")
    assert "5 right by old.keras alone, 3 by new.keras alone" in found.words("old.keras", "new.keras")
    assert found.low < 0 < found.high


def test_the_sentence_says_which_is_better():
    better = compare(*pair(100, 40, 10, 3))
    assert better.separated
    assert better.words("old.keras", "new.keras").startswith("old.keras is better on these 153 pictures: +19.6 points")
    worse = compare(*reversed(pair(100, 40, 10, 3)))
    assert worse.words("b", "c").startswith("c is better on these 153 pictures: -19.6 points")
    assert "chi-square: p = under 0.001" in str(better)
    told = json.loads(json.dumps(better.as_dict(), allow_nan=False))
    assert told["words"] == str(better)
    assert (told["n"], told["test"], told["separated"]) == (153, "chi-square", True)


def test_a_notebook_shows_the_sentence_and_the_counts():
    page = compare(*pair(140, 5, 3, 5))._repr_html_()
    assert "These 153 pictures cannot separate them" in page
    assert "<td>the first alone</td><td>5</td>" in page


def test_a_model_and_itself_are_not_told_apart():
    one = evaluated([True, False, True])
    found = compare(one, one)
    assert (found.difference, found.p, found.n) == (0.0, 1.0, 3)
    assert compare(evaluated([True]), evaluated([True])).words().startswith("This picture cannot separate them")


def test_pictures_that_one_alone_could_read_are_left_out():
    first, second = evaluated([True, False, True], rows=[4, 5, 9]), evaluated([True, True], rows=[9, 5])
    found = compare(first, second)
    assert (found.both, found.second_alone, found.n) == (1, 1, 2)
    with pytest.raises(PhotosError, match="no picture that both"):
        compare(evaluated([True], rows=[1]), evaluated([True], rows=[2]))


def test_the_order_of_classes_does_not_matter_and_other_classes_are_refused():
    assert compare(evaluated([True, False]), evaluated([True, False], classes="ba")).both == 1
    with pytest.raises(ModelFileError, match=r"x.keras alone has b; y.keras alone has c"):
        check_classes(("a", "b"), ("a", "c"), ("x.keras", "y.keras"))
    with pytest.raises(ModelFileError, match=r"cannot be compared: B alone has c\."):
        compare(evaluated([True]), evaluated([True], classes="abc"))


def test_pictures_that_either_was_trained_on_are_taken_out_beside():
    first = evaluated([True, True, False, False], trained=[True, False, False, False])
    second = evaluated([False, True, True, False], trained=[False, False, False, True])
    found = compare(first, second)
    assert (found.n, found.unseen.n) == (4, 2)
    assert (found.unseen.both, found.unseen.second_alone) == (1, 1)
    assert found.as_dict()["unseen"]["n"] == 2
    assert compare(evaluated([True], trained=[True]), evaluated([True])).unseen is None
    assert compare(evaluated([True]), evaluated([True])).unseen is None


def test_a_file_keeps_its_name_and_a_sentence_its_capital():
    better = compare(*pair(100, 40, 10, 3))
    assert better.words("models/a.keras", "b").startswith("models/a.keras is better")
    assert str(better).startswith("The first is better")
