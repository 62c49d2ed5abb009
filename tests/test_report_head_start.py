"""The head start's charts: bands around lines, sizes under a logarithmic axis, both in the page."""

import math

import pytest

from headstart import report_charts as charts
from headstart.estimates import Estimate, over_runs
from headstart.head_start import HeadStart, Side
from headstart.learning_curve import LearningCurve, Point
from headstart.outlook import Outlook
from headstart.report import Images, Rate, Report, SourceFacts, render
from headstart.report_head_start import by_epoch, by_pictures, view


def side(rate):
    run = tuple(rate + 0.01 * epoch for epoch in range(5))
    return Side((0.5, 0.4), (run, run), (run, run), (run, run), ((1.0,) * 5,) * 2)


def curve(told=True, rates=(0.8, 0.85, 0.9, 0.92)):
    sizes = (100, 250, 500, 1000)
    points = tuple(Point(size, over_runs([rate], 400), (rate,)) for size, rate in zip(sizes, rates, strict=True))
    outlook = Outlook(1250, Estimate(0.94, 0.92, 0.95), Estimate(0.01, 0.005, 0.02), told, "" if told else "a reason")
    return LearningCurve(points, "validation", 400, outlook)


START = HeadStart(side(0.9), side(0.6), 1000, "validation", 400, 0.5, curve())


def corners(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_both_sides_have_their_band_from_before_training_on():
    (plot,) = by_epoch(START)
    assert [line.curve.name for line in plot.lines] == ["reused", "from scratch"]
    for line in plot.lines:
        places, band = corners(line.stretches[0]), corners(line.band)
        assert len(places) == 6
        assert len(band) == 12
        for (x, y), (above_x, above), (below_x, below) in zip(places, band[:6], band[:5:-1], strict=True):
            assert x == above_x == below_x
            assert above < y < below  # places count downwards
            assert above >= charts.TOP
            assert below <= charts.HEIGHT - charts.BOTTOM
    assert [text for _, text in plot.x_ticks] == ["0", "1", "2", "3", "4", "5"]


def test_sizes_stand_under_a_logarithmic_axis():
    (plot,) = by_pictures(curve())
    assert [text for _, text in plot.x_ticks] == ["100", "250", "500", "1,000", "2,500"]
    places = [x for x, _ in plot.x_ticks]
    assert places[2] - places[0] == pytest.approx((places[4] - places[0]) * math.log(5) / math.log(25), abs=0.05)
    measured, onwards = plot.lines
    assert [x for x, _ in measured.dots] == places[:4]
    assert [x for x, _ in onwards.dots] == places[3:]  # it goes on where the measured line ends
    assert onwards.dots[0] == measured.dots[-1]
    assert {x for x, _ in corners(onwards.band)} == set(places[3:])
    assert plot.note == ""


def test_what_cannot_be_told_is_not_drawn():
    (plot,) = by_pictures(curve(told=False))
    assert [line.curve.name for line in plot.lines] == ["measured"]
    assert [text for _, text in plot.x_ticks] == ["100", "250", "500", "1,000"]


def test_what_is_to_be_reached_is_a_line_over_the_sizes():
    (plot,) = by_pictures(curve(), level=0.66)
    level = plot.lines[-1]
    assert len({y for _, y in level.dots}) == 1
    assert len(level.dots) == 4


def test_numbers_that_would_run_into_each_other_are_left_out():
    points = [Point(size, over_runs([0.9], 400), (0.9,)) for size in (100, 110, 1000)]
    (plot,) = by_pictures(LearningCurve(tuple(points), "out of fold", 400, None))
    assert [text for _, text in plot.x_ticks] == ["110", "1,000"]
    assert len(plot.lines[0].dots) == 3


def test_nothing_measured_is_nothing_drawn():
    assert view(None, None) == {"start_plots": [], "curve_plots": []}


def page(**parts):
    rate = Rate(0.9, 0.86, 0.93, n=400, split="validation")
    plain = Report(
        "Pets", "Fine.", rate, ("cat", "dog"), Images(1000, 400), SourceFacts("net"), "top", "avg", "linear", **parts
    )
    return render(plain).replace("\xa0", " ")


def test_the_page_tells_of_both_and_the_sentence_stands_first():
    text = page(head_start=START, learning_curve=curve())
    body = text.index('<section id="head-start"')
    assert text.index("<section") == body
    assert text.index(START.sentence.split(":")[0]) > body
    assert text.count('<polygon class="band') == 6  # two sides, two curves that go on
    assert "Asymptote: yes" in text
    assert 'id="more"' in text
    assert "1.0 points more" in text


def test_a_page_without_them_says_nothing_of_them():
    text = page()
    assert 'id="head-start"' not in text
    assert 'id="more"' not in text
