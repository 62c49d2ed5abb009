"""The report page: well formed, self-contained, safe with hostile names, honest at the edges, bounded in size."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from headstart import report_charts as charts
from headstart import report_view, report_words
from headstart.findings import Finding
from headstart.report import (
    Cache,
    Choice,
    ClassRow,
    Figure,
    Images,
    Mistake,
    NamedHistory,
    Picture,
    Rate,
    Reliability,
    Reliable,
    Report,
    Seconds,
    SourceFacts,
    Start,
    Strength,
    curves_svg,
    render,
    write,
)  # fmt: skip

VOID = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title></pre><b>",
    "&lt;b&gt;&amp;",
    "javascript:alert(1)",
    "猫と犬 🐈‍⬛ قطة",
    "cat\u202egpj.exe",
    "two\nlines\r\tand a bell\a",
    "not utf-8 \udcff",
    "x" * 5000,
]


class Page(HTMLParser):
    """Reads a page, insists that every tag is closed in order, and keeps what was found."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> while {self.open[-3:]} are open"
        self.open.pop()

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))  # no-break spaces become plain ones too

    def ids(self) -> set[str | None]:
        return {attrs["id"] for _, attrs in self.tags if "id" in attrs}

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def jpeg(colour: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), (colour, 120, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def small(**changes) -> Report:
    plain = Report(
        "Pets", "It tells cats from dogs.", Rate(0.95, 0.89, 0.98, 100, "test"), ("cat", "dog"),
        Images(200, 50, 100), SourceFacts("mobilenet"), "out_relu", "avg", "linear",
    )  # fmt: skip
    return replace(plain, **changes)


def full(names: tuple[str, ...] = ("cat", "dog"), file: str = "cats/one.jpg", note: str = "a note") -> Report:
    k = len(names)
    confusion = tuple(tuple(40 if i == j else (i + 2 * j) % 3 for j in range(k)) for i in range(k))
    curve = [0.5, 0.7, 0.9]
    history = {"accuracy": curve, "val_accuracy": curve, "loss": curve[::-1], "val_loss": curve[::-1]}
    return small(
        title=note, verdict=note, classes=names, confusion=confusion, loss=0.12, before_training=Start(0.48, 0.71),
        source=SourceFacts(names[0], 2_257_984, 9.4, note, (160, 160)), cut=names[0], pooling=note, head=note,
        accuracy=Rate(0.95, 0.89, 0.98, 100, note, note), other_figures=(Figure(note, Rate(0.9, 0.8, 0.95, 50, note)),),
        samples=tuple(Picture(name, jpeg(), file) for name in names[:9]),
        choices=tuple(Choice(names[0], note, f"{note}{i}", 1280, 0.9 - i / 100, 0.85, 0.95, i == 1, note, note)
                      for i in range(3)),
        notes=(note, note), views=(Picture(note, jpeg(), file), Picture("view 1", jpeg(9), file)), views_words=note,
        history=history, reading=note, name=note, others=(NamedHistory(names[0], history, note),),
        strengths=tuple(Strength(10.0**p, 0.9, 0.3, p == 0) for p in range(-3, 3)),
        per_class=tuple(ClassRow(name, 0.9, 0.8, 0.85, 50) for name in names),
        mistakes=(Mistake(file, jpeg(), names[0], names[-1], 0.97),),
        findings=(Finding("leak", (file, "b.jpg"), note, note), Finding("odd", (), note, note)),
        thumbnails={file: jpeg()}, skipped=((file, note),), seconds=Seconds(5.9, 0.5, 0.0, 8.3), cache=Cache(100, 250),
        recipe={note: [file, *names]}, provenance={"file": file}, model_path=file,
    )  # fmt: skip


def test_a_full_report_is_well_formed_and_has_every_section():
    page = Page(render(full()))
    sections = {
        "pictures",
        "views",
        "choices",
        "learning",
        "confusion",
        "classes",
        "mistakes",
        "problems",
        "time",
        "use",
        "made",
    }
    assert sections <= page.ids()
    assert {f"#{name}" for name in sections} == {a["href"] for a in page.all("a")}
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))


def test_what_is_not_given_is_left_out():
    page = Page(render(small()))
    assert page.all("section") == []
    assert page.all("nav") == []
    assert "95.0 % of 100 test pictures right" in page.text
    assert "95 % interval 89.0 % to 98.0 %, n = 100" in page.text
    assert "guessing one of 2 classes 50.0 %" in page.text
    assert "before training" not in page.text


def test_nothing_is_loaded_from_elsewhere():
    html = render(full())
    for tag, attrs in Page(html).tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in {"src", "srcset", "href", "xlink:href", "data", "poster", "action"}:
                assert value.startswith("#") or value.startswith("data:image/jpeg;base64,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_the_pages_own_script_alone():
    page = Page(render(full()))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name[:12]) for name in HOSTILE])
def test_hostile_names_are_shown_and_do_nothing(name, tmp_path):
    kind = full(("plain", "other"), "plain.jpg")
    nasty = full((name, "other"), name, name)
    write(nasty, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page, harmless = Page(html), Page(render(kind))
    assert [tag for tag, _ in page.tags if tag not in {"small", "bdi"}] == [
        tag for tag, _ in harmless.tags if tag not in {"small", "bdi"}
    ]  # the same elements whatever the name: none was added, none was swallowed
    assert {key for _, attrs in page.tags for key in attrs} == {key for _, attrs in harmless.tags for key in attrs}
    assert page.scripts == harmless.scripts
    assert report_words.shown(name, 40).replace("\t", " ")[:20] in page.text
    assert not set(html) & {"\u202e", "\a", "\r"}


def test_long_names_are_cut_in_the_middle_and_whole_in_the_tooltip():
    page = Page(render(small(source=SourceFacts("net-" + "y" * 100 + "-end"))))
    assert "y" * 100 not in page.text
    assert "…" in page.text
    assert any((attrs.get("title") or "").endswith("-end") for attrs in page.all("bdi"))


def test_many_classes_become_a_list_of_pairs():
    names = tuple(f"kind {i}" for i in range(100))
    rows = [[50 if i == j else 0 for j in range(100)] for i in range(100)]
    rows[3][7], rows[8][9] = 12, 30
    weak = tuple(ClassRow(name, 0.9, 0.9, i / 100, 50) for i, name in enumerate(reversed(names)))
    page = Page(render(small(classes=names, confusion=tuple(map(tuple, rows)), per_class=weak)))
    assert not any(attrs.get("class") == "matrix" for attrs in page.all("table"))
    assert "kind 8kind 93037.5 % kind 3kind 71219.4 %" in page.text
    pairs = report_view.confused(small(classes=names, confusion=tuple(map(tuple, rows))))
    assert pairs == [("kind 8", "kind 9", 30, 30 / 80), ("kind 3", "kind 7", 12, 12 / 62)]
    assert "and 76 more" in page.text
    assert "The weakest classes come first" in page.text


def test_the_matrix_shows_counts_and_shares_of_the_row():
    page = Page(render(small(confusion=((49, 1), (0, 50)))))
    assert "4998.0 %" in page.text
    cells = [attrs.get("class") for attrs in page.all("td")]
    assert cells == ["hit", "miss", "none", "hit"]
    assert "always answering the most common class 50.0 %" in page.text


def test_confusion_must_fit_the_classes():
    with pytest.raises(ValueError, match=r"2 rows of 2 columns.*Received: 1 rows of \[2\] columns"):
        small(confusion=((1, 2),))


def test_no_mistakes_is_said_only_where_it_is_true():
    perfect = small(accuracy=Rate(1.0, 0.963, 1.0, 100, "test"), mistakes=())
    assert "None: all 100 test pictures were right" in Page(render(perfect)).text
    unseen = Page(render(small(mistakes=()))).text
    assert "None: all" not in unseen
    assert "5 of the 100 test pictures were wrong" in unseen
    assert "mistakes" not in Page(render(small())).ids()


def test_mistakes_come_surest_first_in_plain_words():
    mistakes = tuple(Mistake(f"{p}.jpg", jpeg(), "cat", "dog", p) for p in (0.6, math.nan, 0.97))
    text = Page(render(small(mistakes=mistakes))).text
    assert "said dog (97 %)is cat" in text
    assert text.index("0.97.jpg") < text.index("0.6.jpg") < text.index("nan.jpg")


def test_one_epoch_is_a_dot():
    drawn = report_view.curves(small(history={"accuracy": [0.8], "loss": [0.5]}))
    assert [plot.title for plot in drawn] == ["Accuracy", "Cross-entropy"]
    assert [len(line.dots) for line in drawn[0].lines] == [1]
    assert drawn[0].lines[0].stretches == ()
    Page(render(small(history={"accuracy": [0.8], "loss": [0.5]})))


def test_a_loss_that_is_not_a_number_breaks_the_line_and_is_said():
    history = {"loss": [1.0, 0.8, math.nan, 0.7, 0.6, math.inf], "accuracy": [math.nan] * 6}
    (plot,) = report_view.curves(small(history=history))
    assert len(plot.lines[0].stretches) == 2
    assert len(plot.lines[0].dots) == 4
    html = render(small(history=history, loss=math.nan, accuracy=Rate(math.nan, math.nan, math.nan, 0, "test")))
    text = Page(html).text
    assert "2 of the values were not a number" in text
    assert "Lossnot a number" in text
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', html)


@pytest.mark.parametrize("history", [None, {}, {"accuracy": []}, {"loss": [math.nan]}])
def test_no_history_leaves_no_curves(history):
    assert report_view.curves(small(history=history)) == []
    assert "learning" not in Page(render(small(history=history))).ids()


def pair(**changes) -> Report:
    """A run with and one without dropout, of unlike lengths."""
    held = {"accuracy": [0.6, 0.7, 0.8], "val_accuracy": [0.6, 0.7, 0.75], "loss": [0.7, 0.6, 0.5],
            "val_loss": [0.7, 0.6, 0.55]}  # fmt: skip
    free = {"accuracy": [0.7, 0.9], "val_accuracy": [0.65, 0.7], "loss": [0.6, 0.2], "val_loss": [0.7, 0.9]}
    other = NamedHistory("without", free, "Over-fitting.")
    return small(**{"history": held, "name": "with", "reading": "Settled.", "others": (other,), **changes})


def test_two_runs_are_four_lines_that_differ_without_colour():
    for plot in report_view.curves(pair()):
        assert [line.curve.name for line in plot.lines] == [
            "with, training", "with, validation", "without, training", "without, validation"
        ]  # fmt: skip
        assert len({line.curve.dash for line in plot.lines}) == 4
        assert [line.curve.tag for line in plot.lines] == ["A", "A", "B", "B"]
        assert [line.curve.colour for line in plot.lines] == [1, 1, 2, 2]
        ends = [line.tag_at for line in plot.lines]
        assert all(ends)
        assert ends[0][0] > ends[2][0]  # the shorter run ends sooner
        for line in plot.lines:
            assert len(line.stretches[0].split()) == (3 if line.curve.tag == "A" else 2)


def test_two_runs_are_named_and_read_under_one_pair_of_charts():
    html = render(pair())
    text = Page(html).text
    assert text.count("training validation") == 2  # one key for both charts
    assert "A withtraining validation B withouttraining validation" in text
    assert text.index("with. Settled.") < text.index("without. Over-fitting.")
    alone = Page(render(pair(others=()))).text
    assert "Settled." in alone
    assert "with. Settled." not in alone


def test_a_third_run_is_drawn_and_a_fourth_counted():
    other = NamedHistory("more", {"loss": [0.5, 0.4]})
    plots = report_view.curves(pair(others=(other, other, other)))
    assert len({line.curve.dash for line in plots[1].lines}) == len(plots[1].lines) == 4  # of two, training alone
    assert "and 1 more not drawn" in Page(render(pair(others=(other, other, other)))).text
    assert "not drawn" not in Page(render(pair(others=(other, other)))).text


def test_letters_of_lines_that_end_alike_are_kept_apart_within_the_chart():
    lines = [charts.Curve(str(i), [0.5, 0.2], 1, "", "A") for i in range(6)]
    plot = charts.plot("Loss", [1, 2], lines, x_label="epoch", y_label="loss")
    heights = sorted(line.tag_at[1] for line in plot.lines)
    assert all(b - a >= charts.TAG_APART - 0.01 for a, b in itertools.pairwise(heights))
    assert heights[-1] <= charts.HEIGHT - charts.BOTTOM
    lone = charts.plot("Loss", [1, 2], lines[:1], x_label="epoch", y_label="loss")
    assert lone.lines[0].stretches[0].endswith(f"{lone.lines[0].tag_at[0]},{lone.lines[0].tag_at[1]}")


def test_a_lone_value_between_gaps_is_a_dot_also_in_a_long_or_a_tagged_line():
    values = [0.5] * 60 + [math.nan, 0.4, math.nan] + [0.3] * 10
    for tag in ("", "A"):
        (line,) = charts.plot("L", range(1, 74), [charts.Curve("v", values, 1, "", tag)], x_label="", y_label="").lines
        assert len(line.dots) == 1
        assert len(line.stretches) == 2


def test_notes_come_before_the_figures_and_a_views_row_after_the_samples():
    page = Page(render(full()))
    noted = Page(render(small(notes=("Six classes: a softmax of 6 units.",)))).text
    assert noted.index("Six classes: a softmax of 6 units.") < noted.index("of 100 test pictures right")
    ids = [attrs["id"] for attrs in page.all("section")]
    assert ids.index("views") == ids.index("pictures") + 1
    views = (Picture("as it is", jpeg(), "a.jpg"), Picture("view 0", jpeg(9), "a.jpg"))
    shown = Page(render(small(views=views, views_words="Turned by up to 40 degrees.")))
    assert "What augmentation does to one picture Turned by up to 40 degrees." in shown.text
    assert [image["alt"] for image in shown.all("img")] == ["as it is of a.jpg", "view 0 of a.jpg"]


def test_the_svg_stands_alone(tmp_path):
    held, free = pair().history, pair().others[0].history
    root = ElementTree.fromstring(curves_svg({"with": held, "without": free}))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"Accuracy", "Cross-entropy", "with", "without", "A", "B", "epoch"} <= set(texts)
    lines = list(root.iter(f"{space}polyline"))
    assert len(lines) == 8
    assert len({line.get("stroke-dasharray") for line in lines}) == 4
    groups = [group for group in root.iter(f"{space}g") if group.find(f"{space}polyline") is not None]
    assert {group.get("stroke") for group in groups} == {"#1c5fc4", "#b3580a"}  # also where styles are taken out
    names = {name for element in root.iter() for name in element.attrib}
    assert not names & {"href", "src", "onload", "id"}
    assert "url(" not in curves_svg({"with": held})


def test_the_styles_of_the_svg_touch_nothing_around_it():
    style = next(
        ElementTree.fromstring(curves_svg({"a": pair().history})).iter("{http://www.w3.org/2000/svg}style")
    ).text
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{[^{}]*\}", style) for part in rule.split(",")]
    assert len(selectors) > 10
    assert all(part.startswith(".headstart-curves ") for part in selectors)


def test_the_svg_has_the_colours_of_the_page():
    svg, html = curves_svg({"a": pair().history, "b": pair().history, "c": pair().history}), render(small())
    for scheme, part in (("light", svg.split("</style>")[1]), ("dark", svg.split("</style>")[0])):
        block = html[html.index(f"color-scheme: {scheme};") :].split("}")[0]
        value = dict(re.findall(r"--(\w+): ([^;]+);", block))
        for name in ("one", "two", "three", "muted", "line", "card", "ink"):
            assert value[name] in part, (scheme, name)


def test_the_svg_of_one_run_of_none_and_of_too_many():
    history = pair().history
    one = curves_svg({"mine": history})
    assert "validation" in one
    assert ">A<" not in one
    assert "Cross-entropy" not in curves_svg({"mine": {"accuracy": [0.5, 0.6]}})
    assert curves_svg({}) == curves_svg({"a": {}}) == curves_svg({"a": {"loss": [math.nan]}}) == ""
    assert "and 2 more, not drawn" in curves_svg(dict.fromkeys("vwxyz", history))
    assert "Cross-entropy: 1 of the values was not a number" in curves_svg({"a": {"loss": [0.5, math.nan]}})


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name[:12]) for name in HOSTILE])
def test_hostile_names_in_the_svg_are_text(name):
    def tags(svg: str) -> list[str]:
        return [element.tag for element in ElementTree.fromstring(svg).iter()]

    history = pair().history
    svg = curves_svg({name: history, "other": history})
    assert tags(svg) == tags(curves_svg({"plain": history, "other": history}))
    assert report_words.shown(name) in [element.text for element in ElementTree.fromstring(svg).iter()]


def test_long_histories_are_thinned_but_keep_their_ends():
    xs = list(range(1, 10_001))
    plot = charts.plot("Loss", xs, [charts.Curve("training", [1 / x for x in xs])], x_label="epoch", y_label="loss")
    points = plot.lines[0].stretches[0].split()
    assert len(points) <= charts.POINTS + 1
    assert [float(p.split(",")[0]) for p in (points[0], points[-1])] == [
        charts.LEFT + 6,
        charts.WIDTH - charts.RIGHT - 6,
    ]


def test_choices_are_drawn_best_first_and_the_chosen_one_always():
    many = tuple(Choice(f"cut{i}", "avg", "linear", 64, i / 100, i / 100, i / 100, i == 2) for i in range(100))
    shown = report_view.view(small(choices=many))
    accuracies = [choice.accuracy for choice, _ in shown["choice_rows"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(accuracies) == report_view.CHOICES_DRAWN + 1
    assert shown["choice_rows"][-1][0].chosen
    page = Page(render(small(choices=many)))
    assert sum(attrs.get("class") == "badge" for attrs in page.all("span")) == 1
    assert "and 40 more were tried" in page.text


def test_a_choice_without_a_figure_comes_last_and_has_no_dot():
    choices = (
        Choice("a", "avg", "linear", 1, math.nan, math.nan, math.nan),
        Choice("b", "avg", "linear", 1, 0.5, 0.4, 0.6),
    )
    rows = report_view.view(small(choices=choices))["choice_rows"]
    assert [choice.cut for choice, _ in rows] == ["b", "a"]
    assert rows[0][1].low < rows[0][1].dot < rows[0][1].high
    assert rows[1][1] is None


def test_the_time_adds_up_to_the_whole():
    parts = report_view.slices(Seconds(6.0, 1.0, 0.0, 10.0))
    assert [(p.name, p.start, p.width) for p in parts] == [
        ("features", 0.0, 60.0), ("head", 60.0, 10.0), ("everything else", 70.0, 30.0)
    ]  # fmt: skip
    assert report_view.slices(Seconds(0, 0, 0, 0)) == []
    assert "100 came from the store of earlier runs and 250 were computed" in Page(render(full())).text


def test_the_page_stays_small_however_much_there_is():
    heavy = jpeg() + bytes(8_000)
    files = tuple(f"folder/{i}.jpg" for i in range(5_000))
    names = tuple(f"class {i}" for i in range(300))
    report = small(
        classes=names, confusion=tuple(tuple(1 for _ in names) for _ in names),
        per_class=tuple(ClassRow(name, 0.5, 0.5, 0.5, 300) for name in names),
        samples=tuple(Picture("a", heavy, f) for f in files), views=tuple(Picture("v", heavy, f) for f in files),
        notes=tuple(f"remark {i}." for i in range(5_000)), history={"loss": [0.1] * 20_000},
        others=tuple(NamedHistory(f, {"loss": [0.2]}, f) for f in files),
        mistakes=tuple(Mistake(f, heavy, "a", "b", 0.9) for f in files),
        findings=tuple(Finding("duplicate", files[:43], f"note {i}", "done") for i in range(2_000)),
        thumbnails=dict.fromkeys(files, heavy), skipped=tuple((f, "why") for f in files),
        recipe={"list": list(files)}, model_path="m.keras",
    )  # fmt: skip
    html = render(report)
    text = Page(html).text
    assert len(html) < 1_200_000
    drawn = (report_view.SAMPLES, report_view.VIEWS, report_view.MISTAKES, report_view.FINDING_THUMBNAILS)
    assert len(Page(html).all("img")) == sum(drawn)
    assert "and 4,998 more not drawn" in text
    assert "and 4,988 more notes" in text
    assert "remark 11." in text
    assert "remark 12." not in text
    assert "and 37 more" in text
    assert "and 1,988 more of this kind" in text
    assert "and 4,980 more left out" in text
    assert "… (shortened)" in text


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\xff\xd8" + bytes(report_words.THUMBNAIL_BYTES)])
def test_what_is_no_small_jpeg_is_not_embedded(data):
    page = Page(render(small(samples=(Picture("cat", data, "a.jpg"),))))
    assert page.all("img") == []
    assert "no preview" in page.text


def test_findings_are_grouped_gravest_first():
    findings = (Finding("odd", ("a",), "x", ""), Finding("leak", ("b", "c"), "y", ""), Finding("odd", ("d",), "z", ""))
    groups = report_view.grouped(small(findings=findings))
    assert [(g.title, g.total) for g in groups] == [(report_view.KINDS["leak"], 1), (report_view.KINDS["odd"], 2)]
    assert "nothing was found" in Page(render(small(findings=()))).text


def test_every_kind_of_finding_has_words():
    from typing import get_args

    from headstart.findings import Kind

    assert set(report_view.KINDS) == set(get_args(Kind))


def test_code_to_load_the_model_is_valid_python_with_any_names():
    import ast

    code, shell = report_view.snippets('it\'s a "model".keras', HOSTILE[:6])
    constants = {node.value for node in ast.walk(ast.parse(code.code)) if isinstance(node, ast.Constant)}
    assert {'it\'s a "model".keras', *HOSTILE[:6]} <= constants
    assert shell.code == """headstart predict 'it'"'"'s a "model".keras' picture.jpg"""
    assert "class_names" not in report_view.snippets("m.keras", ["x"] * 500)[0].code


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "new folder" / "report.html"
    write(small(), target)
    before = target.read_text(encoding="utf-8")
    assert before == render(small())
    monkeypatch.setattr("headstart.report.render", lambda _: "half a page \ud800")  # fails while it is written
    with pytest.raises(UnicodeEncodeError):
        write(small(title="other"), target)
    assert target.read_text(encoding="utf-8") == before
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(scheme):
    html = render(small())
    block = html[html.index(f"color-scheme: {scheme};") :].split("}")[0]
    value = dict(re.findall(r"--(\w+): ([^;]+);", block))
    rgb = {k: tuple(int(v[i : i + 2], 16) for i in (1, 3, 5)) for k, v in value.items() if v.startswith("#")}
    for text, ground in [("ink", "card"), ("ink", "paper"), ("muted", "card"), ("muted", "paper"), ("one", "card"),
                         ("one", "paper"), ("card", "one"), ("ink", "track"), ("muted", "track")]:  # fmt: skip
        assert contrast(rgb[text], rgb[ground]) >= 4.5, (text, ground)
    for mark in ("one", "two", "three", "rest"):
        assert contrast(rgb[mark], rgb["card"]) >= 3, mark
    for heat, least in (("heat", 0.08), ("miss", 0.14)):
        alpha = least + float(value["strong"])
        deepest = tuple(alpha * int(c) + (1 - alpha) * g for c, g in zip(value[heat].split(), rgb["card"], strict=True))
        assert contrast(rgb["ink"], deepest) >= 4.5, heat


@pytest.mark.parametrize(("low", "high"), [(0.932, 0.991), (0, 1e-15), (3, 3), (0, 0), (-2, 5), (1e30, 3e38), (1, 20)])
def test_ticks_are_few_ascending_and_span_the_values(low, high):
    marks = charts.ticks(low, high)
    assert list(marks) == sorted(set(marks))
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 9


def test_rate_ticks_stay_within_nought_and_one_and_do_not_blow_up_noise():
    assert charts.rate_ticks([0.0, 1.0])[0] == 0
    marks = charts.rate_ticks([0.991, 0.992])
    assert marks[-1] <= 1
    assert marks[-1] - marks[0] >= 0.025


def test_probabilities_are_drawn_against_what_was_right():
    after = (Reliable(0.55, 0.5, 0.2, 0.8, 6), Reliable(0.95, 0.96, 0.9, 0.99, 90))
    before = (Reliable(0.98, 0.8, 0.7, 0.88, 96),)
    page = render(small(reliability=Reliability(after, before, "Temperature 1.90 is inside the model.")))
    read = Page(page)
    assert "Do its probabilities mean what they say?" in read.text
    assert "Temperature 1.90 is inside the model." in read.text
    assert page.count('class="span"') == 1 + len(after), "one in the key"
    assert page.count('class="hollow"') == 1 + len(before)
    assert "90 answers of mean probability 95.0%: 96.0% right, 95 % interval 90.0% to 99.0%" in page
    alone = render(small(reliability=Reliability(after)))
    assert "hollow" not in alone.split("</style>")[1]
    assert "mean what they say" not in render(small(reliability=Reliability(())))
    assert "mean what they say" not in render(small())


def test_dots_of_certain_and_of_lone_answers_stay_in_the_square():
    drawn = charts.reliability([(1.0, 1.0, 0.0, 1.0, 1), (0.0, 0.0, 0.0, 0.2, 400)])
    assert [(dot.x, dot.y) for dot in drawn.after] == [drawn.end, drawn.start]
    assert drawn.after[0].low == drawn.start[1]
    assert drawn.after[1].width == 8 > drawn.after[0].width > 3
    assert "1 answer of mean probability 100.0%" in drawn.after[0].title
    assert drawn.before == ()


def test_shares_of_a_class_have_their_intervals_beside_them():
    row = ClassRow("cat", 0.9, 0.8, 0.85, 50, (0.78, 0.96), (0.67, 0.89))
    page = Page(render(small(per_class=(row, ClassRow("dog", math.nan, 0.8, math.nan, 5, (0.0, 1.0), (0.3, 1.0))))))
    text = page.text.replace("\xa0", " ")
    assert "80 % 67 % to 89 %" in text.replace(".0", "")
    assert "90 % 78 % to 96 %" in text.replace(".0", "")
    assert "not known 0" not in text
    plain = render(small(per_class=(replace(row, recall_interval=None, precision_interval=None),)))
    assert "Beside a share" in page.text
    assert "Beside a share" not in plain


def test_importing_the_report_loads_no_template_engine():
    code = "import sys, headstart.report; sys.exit(any(m in sys.modules for m in ('jinja2', 'numpy', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_pictures_make_a_page():
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "cats_vs_dogs" / "train"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/cats_vs_dogs beside the checkout")
    samples = []
    for path in sorted(folder.rglob("*.jpg"))[:9]:
        with Image.open(path) as picture:
            picture.thumbnail((200, 200))
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "JPEG", quality=80)
        samples.append(Picture(path.parent.name, buffer.getvalue(), path.name))
    assert len(Page(render(small(samples=tuple(samples)))).all("img")) == 9
