"""Rows of a ranking: what is level, what is recommended, the frontier, the picture; no network is run."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart import ranking_page
from headstart.ranking import Ranking, Row, frontier, ranked

COUNT = 400


def row(name: str, wrong: range | list[int], cost: float, *, loss: float | None = None, **given) -> Row:
    """A row that names all pictures right but some; its losses are even unless a loss says otherwise."""
    places = np.arange(COUNT)
    right = ~np.isin(places, list(wrong))
    losses = np.where(right, 0.1, 2.0) if loss is None else loss + 0.2 * np.sin(places * (1 + len(name)))
    probe = given.get("probe", False)
    values = {
        "source": "net", "cut": name, "pooling": "avg", "head": "linear", "accuracy": float(right.mean()), "low": 0.5,
        "high": 1.0, "n": COUNT, "seconds": 1.0, "milliseconds_per_image": cost, "size_mb": 10.0, "dimensions": 8,
        "loss": math.nan if probe else float(losses.mean()), "places": places, "right": right, "losses": losses,
    }  # fmt: skip
    return Row(**{**values, **given})


def found(*rows: Row, **given) -> Ranking:
    return Ranking(ranked(rows), 500, ("cat", "dog"), **given)


def level_and_worse() -> tuple[Row, Row, Row]:
    """The best, one that is as good and cheaper, and one that is cheaper still and surely worse."""
    dear, cheap = row("dear", range(8), 9.0, loss=0.3), row("cheap", range(9), 2.0, loss=0.3)
    return dear, cheap, row("worse", range(60), 1.0)


def names(rows) -> list[str]:
    return [each.cut for each in rows]


def test_best_first():
    ranking = found(row("c", range(40), 1.0), row("a", range(4), 2.0), row("b", range(20), 3.0))
    assert names(ranking.rows) == ["a", "b", "c"]
    assert ranking.best.cut == "a"


def test_the_cheapest_of_equals_is_recommended():
    ranking = found(*level_and_worse())
    assert ranking.recommended.cut == "cheap"
    assert {each.cut for each in ranking.rows if each.level} == {"dear", "cheap"}
    assert sum(each.recommended for each in ranking.rows) == 1
    assert "4.5 times as cheap as the best, net cut at dear" in ranking.verdict
    assert "cannot tell it from the best (98.0%)" in ranking.verdict


def test_a_cheap_row_that_is_worse_by_more_than_noise_is_not_level():
    ranking = found(row("dear", range(8), 9.0), row("cheap", range(24), 2.0))
    assert ranking.recommended.cut == "dear"
    assert names(each for each in ranking.rows if each.level) == ["dear"]


def test_as_accurate_but_surely_of_more_loss_is_not_level():
    ranking = found(row("dear", range(8), 9.0, loss=0.3), row("cheap", range(1, 9), 2.0, loss=0.5))
    assert ranking.recommended.cut == "dear"
    assert not ranking.rows[1].level


def test_level_by_the_test_but_with_loss_to_give_away_is_not_recommended():
    """A difference of one standard error: the data cannot tell, which is no reason to take the worse."""
    places = np.arange(COUNT)
    even = np.full(COUNT, 0.3)
    step = np.where(places % 2 == 0, 0.2, -0.2) + 0.2 / math.sqrt(COUNT)
    dear = row("dear", range(8), 9.0, losses=even)
    cheap = row("cheap", range(1, 9), 2.0, losses=even + step)
    dear, cheap = (replace(each, loss=float(each.losses.mean())) for each in (dear, cheap))
    ranking = found(dear, cheap)
    assert ranking.recommended.cut == "dear"
    assert all(each.level for each in ranking.rows)


def test_probes_are_never_recommended_where_a_head_was_fitted():
    ranking = found(row("fitted", range(8), 9.0), row("probe", range(6), 1.0, probe=True))
    assert ranking.recommended.cut == ranking.best.cut == "fitted"
    probe = next(each for each in ranking.rows if each.probe)
    assert probe.accuracy > ranking.recommended.accuracy
    assert probe.level
    assert found(row("probe", range(6), 1.0, probe=True)).recommended.cut == "probe"


def test_rows_on_fewer_pictures_are_never_recommended():
    some = slice(0, 100)
    short = row("short", [], 1.0)
    short = replace(short, n=100, places=short.places[some], right=short.right[some], losses=short.losses[some])
    assert found(row("whole", range(8), 9.0), short).recommended.cut == "whole"


def test_rows_are_paired_by_their_pictures():
    """Scored on other pictures, and in another order: only what both have in common is compared."""
    whole = row("whole", range(20), 9.0)
    half = row("half", range(20), 1.0)
    backwards = np.arange(COUNT)[::-1][:200]  # the pictures from 399 down to 200, on which neither was wrong
    half = replace(
        half, probe=True, n=200, places=backwards, right=half.right[backwards], losses=half.losses[backwards]
    )
    assert all(each.level for each in found(whole, half).rows)


def test_several_cuts_need_not_win_by_more_than_noise():
    """They cost what the deepest of them costs: a little less loss is reason enough, and a little more is not."""
    even = np.full(COUNT, 0.3)
    a_little = 0.1 * np.where(np.arange(COUNT) % 2 == 0, 0.2, -0.2) + 0.3 * 0.1 * 0.2 / math.sqrt(COUNT)
    for joined, single in ((even, even + a_little), (even + a_little, even)):
        rows = [row("top", range(8), 5.0, losses=single), row("low+top", range(9), 5.0, losses=joined)]
        ranking = found(*(replace(each, loss=float(each.losses.mean())) for each in rows))
        assert ranking.recommended.cut == ("low+top" if joined is even else "top")
        assert all(each.level for each in ranking.rows)


@pytest.mark.parametrize(
    ("errors", "prefer", "taken"),
    [
        (0.2, "accurate", "dear"), (0.2, "auto", "cheap"), (0.2, "small", "cheap"),
        (0.8, "accurate", "dear"), (0.8, "auto", "dear"), (0.8, "small", "cheap"),
        (1.3, "small", "dear"),
    ],
)  # fmt: skip
def test_what_is_preferred_says_how_much_loss_a_cheaper_row_may_have_more(errors, prefer, taken):
    even = np.full(COUNT, 0.3)
    more = even + np.where(np.arange(COUNT) % 2 == 0, 0.2, -0.2) + errors * 0.2 / math.sqrt(COUNT)
    rows = row("dear", range(8), 9.0, losses=even), row("cheap", range(1, 9), 2.0, losses=more)
    made = ranked([replace(each, loss=float(each.losses.mean())) for each in rows], prefer)
    assert next(each.cut for each in made if each.recommended) == taken


def test_what_is_surely_less_accurate_is_not_recommended_though_its_loss_is_level():
    losses = np.full(COUNT, 0.3)
    rows = (row("dear", [], 9.0), row("cheap", range(9), 1.0))
    ranking = found(*(replace(each, loss=0.3, losses=losses) for each in rows))
    assert ranking.recommended.cut == "dear"
    assert not ranking.rows[1].level


def test_the_verdict_names_a_row_that_the_recommended_one_is_level_with():
    """The best was seen on half of the pictures; the cheap one is level with the best of those that saw all."""
    half = slice(0, 200)
    short = row("short", [], 9.0, loss=0.1)
    short = replace(short, n=200, places=short.places[half], right=short.right[half], losses=short.losses[half])
    whole, cheap = (
        replace(row(name, wrong, cost), loss=0.3, losses=np.full(COUNT, 0.3))
        for name, wrong, cost in (("whole", range(7), 5.0), ("cheap", range(9), 1.0))
    )
    ranking = found(short, whole, cheap)
    assert (ranking.best.cut, ranking.compared.cut, ranking.recommended.cut) == ("short", "whole", "cheap")
    told = "5.0 times as cheap as net cut at whole. The data cannot tell it from net cut at whole (98.2%)."
    assert ranking.verdict.endswith(told)


def test_the_row_of_least_loss_is_the_best_though_another_is_a_little_more_accurate():
    """That one is cheaper, but has more loss by more than may be given away; the data cannot tell them apart."""
    even = np.full(COUNT, 0.3)
    more = even + np.where(np.arange(COUNT) % 2 == 0, 0.2, -0.2) + 0.3 * 0.2 / math.sqrt(COUNT)
    accurate, least = row("accurate", range(8), 2.0, losses=more), row("least", range(1, 10), 9.0, losses=even)
    ranking = found(*(replace(each, loss=float(each.losses.mean())) for each in (accurate, least)))
    assert ranking.best.cut == ranking.recommended.cut == "least"
    assert ranking.verdict.endswith("It is the best. The data cannot tell 1 other from it.")


def test_of_equal_cost_the_plainer_head_is_taken():
    rows = [row("top", range(8), 5.0, head=head) for head in ("dense", "prototype", "linear")]
    assert found(*rows).recommended.head == "linear"


def test_one_picture_a_class_gives_a_row_without_figures():
    nothing = {"accuracy": math.nan, "loss": math.nan, "n": 0, "low": 0.0, "high": 1.0}
    empty = {name: np.zeros(0, kind) for name, kind in (("places", int), ("right", bool), ("losses", float))}
    ranking = found(row("top", [], 1.0, head="prototype", **nothing, **empty))
    assert "nothing can be compared" in ranking.verdict
    assert ranking.as_dict()["rows"][0]["accuracy"] is None
    assert ranking_page.svg(ranking) == ""
    assert "prototype" in ranking._repr_html_()


def test_no_row_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="Received"):
        ranked([])


def test_the_frontier_is_what_no_cheaper_row_reaches():
    rows = [row("a", range(50), 1.0), row("b", range(60), 2.0), row("c", range(20), 2.0), row("d", range(20), 3.0)]
    assert names(frontier(rows)) == ["a", "c"]
    assert names(found(*rows).frontier) == ["a", "c"]


def test_json_has_the_contracts_fields_and_no_nan():
    ranking = found(
        row("c", range(30), 1.0), row("a", range(8), 9.0), row("b", range(6), 1.0, probe=True), notes=("a note",)
    )  # fmt: skip
    told = json.loads(json.dumps(ranking.as_dict(), allow_nan=False))
    wanted = {"source", "cut", "pooling", "head", "accuracy", "low", "high", "seconds", "milliseconds_per_image",
              "size_mb", "level", "recommended"}  # fmt: skip
    assert wanted <= set(told["rows"][0])
    assert told["recommended"]["cut"] == "a"
    assert told["notes"] == ["a note"]
    losses = [each["loss"] for each in told["rows"]]
    assert losses[-1] is None, "what was not fitted has none, and comes last"
    assert losses[:-1] == sorted(losses[:-1])


def test_it_prints_what_to_take_first():
    text = str(found(*level_and_worse()))
    lines = text.splitlines()
    assert lines[0].startswith("Take net cut at cheap, avg pooled, linear head: 97.8%")
    assert [line[0] for line in lines[1:]] == ["=", "*", " "]


# ---- the picture ----------------------------------------------------------------------------------------------------


def marks(svg: str) -> tuple[dict[str, tuple[float, float]], list[tuple[float, float]]]:
    """Where the dots are, by the cut that their titles name, and the corners of the frontier."""
    tree = ET.fromstring(svg)
    space = {"s": "http://www.w3.org/2000/svg"}
    dots = {}
    for circle in tree.iterfind(".//s:circle", space):
        title = circle.find("s:title", space)
        if title is not None and not title.text.startswith("recommended"):
            dots[title.text.split(", ")[1]] = (float(circle.get("cx")), float(circle.get("cy")))
    line = tree.find(".//s:polyline", space)
    corners = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    return dots, corners


def test_the_picture_has_every_row_in_its_place_and_the_frontier_through_the_best():
    ranking = found(
        row("a", range(20), 1.0), row("b", range(12), 2.0), row("c", range(8), 4.0), row("d", range(16), 3.0)
    )
    dots, corners = marks(ranking_page.svg(ranking))
    assert set(dots) == {"a", "b", "c", "d"}
    assert dots["a"][0] < dots["b"][0] < dots["d"][0] < dots["c"][0]
    assert dots["b"][0] - dots["a"][0] == pytest.approx(dots["c"][0] - dots["b"][0], abs=0.1), "costs double alike"
    assert dots["c"][1] < dots["b"][1] < dots["d"][1] < dots["a"][1], "better is higher"
    assert [dots[name] for name in "abc"] == [corner for corner in corners if corner in dots.values()]
    assert dots["d"] not in corners


def test_what_lies_far_below_is_counted_not_drawn():
    ranking = found(row("good", range(8), 4.0), row("bad", range(300), 1.0))
    svg = ranking_page.svg(ranking)
    assert set(marks(svg)[0]) == {"good"}
    assert "1 far below are not drawn" in svg


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path):
    evil = '<script>alert("x")</script>'
    ranking = found(row("a", range(8), 4.0, source=evil), notes=(evil,))
    done = ranking.write_report(tmp_path / "ranking.html")
    page = (tmp_path / "ranking.html").read_text("utf-8")
    assert done.report == tmp_path / "ranking.html"
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="', page)
    assert ranking.verdict.split(":")[0].replace(evil, "") != ""
    ET.fromstring(ranking_page.svg(ranking))


def test_a_notebook_shows_the_verdict_the_picture_and_the_first_rows():
    rows = [row(f"cut{place}", range(place + 1), 1.0 + place) for place in range(20)]
    html = found(*rows)._repr_html_()
    assert html.index("<strong>Take net") < html.index("<svg") < html.index("<table")
    assert html.count("<tr") == 13
    assert "and 8 more rows" in html
