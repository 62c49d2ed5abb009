"""augment: the geometry of ImageDataGenerator, draws that depend on nothing else, parameters and their errors."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from headstart import augment, images
from headstart.augment import FILLS, PRESETS, SUMMARIES, Augmentation, Draw, View, contact_sheet, describe, find
from headstart.errors import InputError, RecipeError
from headstart.files import json_digest

Pixels = NDArray[np.uint8]
STILL = Draw(angle=0, right=0, down=0, shear=0, across=1, along=1, mirrored=False, turned_over=False)
STRONG = Augmentation(
    rotation=40, width_shift=0.2, height_shift=0.1, shear=20, zoom=0.2, horizontal_flip=True, vertical_flip=True
)
DIGEST = b"digest of a picture"
DRAWN = 4000


def smooth(height: int = 90, width: int = 90) -> Pixels:
    """No two parts alike, and no step that would turn a small difference of place into a large one of value."""
    y, x = np.mgrid[:height, :width] / 90
    return np.stack([127 + 100 * np.sin(4 * x + y), 127 + 100 * np.cos(3 * y - x), 60 + 90 * x + 80 * y], -1).astype(
        np.uint8
    )


def warped(draw: Draw, picture: Pixels, fill: str = "nearest") -> Pixels:
    return images.warp(picture, draw.matrix(*picture.shape[:2]), fill)


def seen(draw: Draw, height: int, width: int) -> NDArray[np.float64]:
    """(row, column) that each pixel shows, step by step and without matrices."""
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    x, y = (-x if draw.mirrored else x), (-y if draw.turned_over else y)
    x, y = x * draw.across, y * draw.along
    slant, turn = math.radians(draw.shear), math.radians(draw.angle)
    x, y = x - y * math.sin(slant), y * math.cos(slant)
    x, y = x + draw.right * width, y + draw.down * height
    x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    return np.stack([y + (height - 1) / 2, x + (width - 1) / 2])


def reference(draw: Draw, picture: Pixels, fill: str = "nearest") -> NDArray[np.float64]:
    mode = {"wrap": "grid-wrap", "constant": "grid-constant"}.get(fill, fill)
    where = seen(draw, *picture.shape[:2])
    planes = [
        ndimage.map_coordinates(picture[..., channel].astype(float), where, order=1, mode=mode) for channel in range(3)
    ]
    return np.stack(planes, -1)


EACH: dict[str, dict[str, Any]] = {
    "rotation": {"angle": 33.0},
    "shift-right": {"right": 0.17},
    "shift-down": {"down": -0.13},
    "shear": {"shear": 25.0},
    "zoom-across": {"across": 0.8},
    "zoom-along": {"along": 1.2},
    "mirrored": {"mirrored": True},
    "all": {
        "angle": -28.0,
        "right": 0.11,
        "down": -0.19,
        "shear": 12.0,
        "across": 0.85,
        "along": 1.15,
        "mirrored": True,
    },
}
every = pytest.mark.parametrize("changed", EACH.values(), ids=EACH)


@every
@pytest.mark.parametrize("fill", ["nearest", "reflect"])
def test_a_view_is_what_imagedatagenerator_makes_of_the_same_parameters(changed: dict[str, Any], fill: str) -> None:
    from keras.src.legacy.preprocessing.image import apply_affine_transform, flip_axis

    draw, picture = replace(STILL, **changed), smooth()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, at the module that Keras takes
        theirs = apply_affine_transform(
            picture.astype("float32"), theta=draw.angle, tx=draw.right * 90, ty=draw.down * 90, shear=draw.shear,
            zx=draw.across, zy=draw.along, row_axis=0, col_axis=1, channel_axis=2, fill_mode=fill,
        )  # fmt: skip
    theirs = flip_axis(theirs, 1) if draw.mirrored else theirs
    assert np.abs(warped(draw, picture, fill) - theirs).max() <= 1.05  # Pillow cuts to whole numbers


@every
@pytest.mark.parametrize("size", [(90, 60), (41, 90)], ids=["upright", "wide"])
@pytest.mark.parametrize("fill", FILLS)
def test_a_view_shows_the_right_places_also_where_a_picture_is_not_square(
    changed: dict[str, Any], size: tuple[int, int], fill: str
) -> None:
    draw, picture = replace(STILL, **changed), smooth(*size)
    found = warped(draw, picture, fill)
    assert found.shape == picture.shape
    assert found.dtype == np.uint8
    assert np.abs(found - reference(draw, picture, fill)).max() <= 1.05  # Pillow cuts to whole numbers


def test_the_parameters_do_what_their_names_say() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[10:14, 60:64] = 255

    def middle(**changed: Any) -> list[float]:
        shown = warped(replace(STILL, **changed), picture)[..., 0].astype(float)
        y, x = np.mgrid[:40, :80]
        return [round(float((place * shown).sum() / shown.sum()), 1) for place in (y, x)]

    assert middle() == [11.5, 61.5]
    assert middle(right=0.25) == [11.5, 41.5], "a view that looks a quarter of the width to the right"
    assert middle(down=0.1) == [7.5, 61.5]
    assert middle(across=2.0) == [11.5, 50.5], "half as far from the centre, so smaller"
    assert middle(along=0.8) == [9.5, 61.5]
    assert middle(angle=180.0) == [27.5, 17.5]
    assert middle(mirrored=True) == [11.5, 17.5]
    assert middle(turned_over=True) == [27.5, 61.5]


def test_fills_show_what_they_say_beyond_the_edges() -> None:
    picture = np.repeat(np.arange(10, 60, 10, dtype=np.uint8)[None, :, None], 3, 2).repeat(2, 0)
    rows = {fill: warped(replace(STILL, right=0.6), picture, fill)[0, :, 0].tolist() for fill in FILLS}
    assert rows == {
        "nearest": [40, 50, 50, 50, 50],
        "reflect": [40, 50, 50, 40, 30],
        "wrap": [40, 50, 10, 20, 30],
        "constant": [40, 50, 0, 0, 0],
    }


def test_the_fill_of_an_augmentation_is_the_one_that_is_used() -> None:
    views = [View(Augmentation(rotation=90, fill=fill), 0, 0).apply(smooth(), DIGEST) for fill in FILLS]
    assert all(not np.array_equal(one, other) for i, one in enumerate(views) for other in views[:i])


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(31, 47), (32, 16), (1, 1)])
def test_nothing_asked_for_gives_the_pixels_back(fill: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = View(Augmentation(fill=fill), seed=3, number=5).apply(picture, DIGEST)
    np.testing.assert_array_equal(found, picture)
    assert not np.shares_memory(found, picture)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(31, 47), (32, 16), (160, 224)])
def test_mirroring_moves_pixels_and_changes_none(fill: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    np.testing.assert_array_equal(warped(replace(STILL, mirrored=True), picture, fill), picture[:, ::-1])
    np.testing.assert_array_equal(warped(replace(STILL, turned_over=True), picture, fill), picture[::-1])
    both = replace(STILL, mirrored=True, turned_over=True)
    np.testing.assert_array_equal(warped(both, picture, fill), picture[::-1, ::-1])


def test_the_flip_preset_shows_the_picture_or_its_mirror_picture() -> None:
    picture = smooth(20, 30)
    views = [View(PRESETS["flip"], 0, number).apply(picture, DIGEST) for number in range(40)]
    mirrored = [np.array_equal(view, picture[:, ::-1]) for view in views]
    assert all(one or np.array_equal(view, picture) for one, view in zip(mirrored, views, strict=True))
    assert 10 < sum(mirrored) < 30


def test_a_view_takes_any_memory_layout_and_leaves_the_picture_as_it_was() -> None:
    whole = smooth(60, 80)
    part = whole[::-1, ::2]
    before = whole.copy()
    view = View(STRONG, 0, 0)
    np.testing.assert_array_equal(view.apply(part, DIGEST), view.apply(part.copy(), DIGEST))
    np.testing.assert_array_equal(whole, before)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 3, 1), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(pixels: Any) -> None:
    with pytest.raises(InputError, match=r"array of uint8, \(height, width, 3\)"):
        View(STRONG, 0, 0).apply(pixels, DIGEST)


# The draws.


def shares(view: View, digests: range | list[bytes] = range(DRAWN)) -> NDArray[np.float64]:
    """What was drawn, brought to 0 to 1, one row a picture."""
    rows = []
    for each in digests:
        draw, most = view.draw(str(each).encode() if isinstance(each, int) else each), view.augmentation
        parts = (draw.angle, most.rotation), (draw.right, most.width_shift), (draw.down, most.height_shift)
        zooms = (draw.across - 1, most.zoom), (draw.along - 1, most.zoom)
        rows.append([0.5 + value / (2 * high) for value, high in (*parts, (draw.shear, most.shear), *zooms)])
        rows[-1] += [float(draw.mirrored), float(draw.turned_over)]
    return np.array(rows)


def test_draws_are_even_over_their_whole_range_and_independent() -> None:
    drawn = shares(View(STRONG, seed=1, number=2))
    even = np.sort(drawn[:, :6], 0)
    steps = np.arange(1, DRAWN + 1)[:, None] / DRAWN
    assert even.min() >= 0
    assert even.max() <= 1
    assert np.abs(even - steps).max() < 1.95 / math.sqrt(DRAWN)  # Kolmogorov and Smirnov: one in a thousand is above
    assert np.abs(drawn[:, 6:].mean(0) - 0.5).max() < 3.3 * 0.5 / math.sqrt(DRAWN)
    correlation = np.corrcoef(drawn.T) - np.eye(8)
    assert np.abs(correlation).max() < 4 / math.sqrt(DRAWN)


@pytest.mark.parametrize("other", [View(STRONG, 1, 3), View(STRONG, 2, 2), View(STRONG, 12, 0)])
def test_views_and_seeds_have_nothing_to_do_with_each_other(other: View) -> None:
    one, two = shares(View(STRONG, seed=1, number=2), range(1000)), shares(other, range(1000))
    for column in range(8):
        assert abs(np.corrcoef(one[:, column], two[:, column])[0, 1]) < 4 / math.sqrt(1000)


def test_seed_and_number_are_not_run_together() -> None:
    draws = {View(STRONG, seed, number).draw(DIGEST) for seed in (1, 11, 111) for number in (1, 11, 111)}
    assert len(draws) == 9


@pytest.mark.parametrize("name", [entry.name for entry in fields(Augmentation)])
def test_to_switch_one_parameter_off_leaves_the_others_as_drawn(name: str) -> None:
    off = replace(STRONG, **{name: getattr(Augmentation(), name)})
    belongs = {
        "rotation": {"angle": 0.0}, "width_shift": {"right": 0.0}, "height_shift": {"down": 0.0},
        "shear": {"shear": 0.0}, "zoom": {"across": 1.0, "along": 1.0}, "horizontal_flip": {"mirrored": False},
        "vertical_flip": {"turned_over": False}, "fill": {},
    }  # fmt: skip
    for number in range(8):
        full, less = View(STRONG, 0, number).draw(DIGEST), View(off, 0, number).draw(DIGEST)
        assert less == replace(full, **belongs[name])


def test_a_wider_range_stretches_the_same_draw() -> None:
    narrow, wide = (View(Augmentation(rotation=high), 4, 2).draw(DIGEST).angle for high in (10, 40))
    assert narrow != 0
    assert wide == pytest.approx(4 * narrow)


EXPECTED = [-36.66793036, -0.138764204, -0.011081602, -19.11695719, 1.0916494, 0.927636852, 0, 0]


def test_a_draw_is_the_same_for_ever_and_everywhere() -> None:
    """Written down once: the features of all caches depend on it, so whoever changes it raises VERSION."""
    draw = View(STRONG, seed=7, number=3).draw(DIGEST)
    assert augment.VERSION == 1
    assert [round(getattr(draw, each.name), 9) for each in fields(Draw)] == EXPECTED
    code = (
        "import sys; from headstart.augment import *; "
        f"print(View(Augmentation.from_dict({STRONG.as_dict()!r}), 7, 3).draw({DIGEST!r}) == {draw!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_pixels_do_not_depend_on_order() -> None:
    picture, names = smooth(), [b"a", b"b", b"c"]
    there = [View(STRONG, 0, 0).apply(picture, name) for name in names]
    back = [View(STRONG, 0, 0).apply(picture, name) for name in reversed(names)]
    for one, two in zip(there, reversed(back), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(there[0], there[1])


# Parameters.

augmentations = st.builds(
    Augmentation,
    rotation=st.floats(0, 180) | st.integers(0, 180),
    width_shift=st.floats(0, 1),
    height_shift=st.floats(0, 1),
    shear=st.floats(0, 60),
    zoom=st.floats(0, 0.9),
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    fill=st.sampled_from(sorted(FILLS)),
)


@given(augmentations)
def test_an_augmentation_survives_json(wanted: Augmentation) -> None:
    again = Augmentation.from_dict(json.loads(json.dumps(wanted.as_dict())))
    assert again == wanted
    assert find(wanted.as_dict()) == wanted
    assert json_digest(View(again, 1, 2).key()) == json_digest(View(wanted, 1, 2).key())


@given(augmentations, st.binary(max_size=40), st.integers(0, 2**40))
def test_every_draw_keeps_to_its_limits(wanted: Augmentation, digest: bytes, number: int) -> None:
    draw = View(wanted, 0, number).draw(digest)
    for value, high in (
        (draw.angle, wanted.rotation), (draw.right, wanted.width_shift), (draw.down, wanted.height_shift),
        (draw.shear, wanted.shear), (draw.across - 1, wanted.zoom), (draw.along - 1, wanted.zoom),
    ):  # fmt: skip
        assert abs(value) <= high + 1e-12
    assert draw.mirrored <= wanted.horizontal_flip
    assert draw.turned_over <= wanted.vertical_flip
    assert np.isfinite(draw.matrix(9, 7)).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rotation": 181}, "rotation must lie between 0 and 180; got 181"),
        ({"rotation": -1}, "rotation must lie between 0 and 180; got -1"),
        ({"rotation": float("nan")}, "got nan"),
        ({"rotation": "40"}, "got '40'"),
        ({"width_shift": 20}, "width_shift must lie between 0 and 1; got 20.\nIt is a share of the width"),
        ({"height_shift": 1.01}, "height_shift must lie between 0 and 1"),
        ({"shear": 61}, "shear must lie between 0 and 60; got 61.\nIt is degrees"),
        ({"zoom": [0.8, 1.2]}, "got [0.8, 1.2].\nIt is one number: 0.2 draws factors from 0.8 to 1.2"),
        ({"zoom": 0.95}, "zoom must lie between 0 and 0.9"),
        ({"rotation": True}, "rotation must lie between 0 and 180; got True"),
        ({"horizontal_flip": 1}, "horizontal_flip must be true or false; got 1"),
        ({"fill": "nearst"}, "got 'nearst'. Did you mean nearest?"),
        ({"fill": None}, "fill must be one of nearest, reflect, wrap, constant; got None"),
        ({"fill": ["nearest"]}, "got ['nearest']"),
        ({"rotatoin": 40}, "vertical_flip, fill. Did you mean rotation?"),
        ({"zoom_range": 0.2}, "vertical_flip, fill. Did you mean zoom?"),
        ({"fill_mode": "nearest"}, "vertical_flip, fill. Did you mean fill?"),
        ({3: 4}, "no parameter 3"),
    ],
)
def test_wrong_parameters_are_refused_with_what_was_meant(values: dict[str, Any], said: str) -> None:
    for door in (Augmentation.from_dict, find):
        with pytest.raises(RecipeError, match=re.escape(said)):
            door(values)


def test_the_limits_themselves_are_allowed() -> None:
    most = Augmentation(rotation=180, width_shift=1, height_shift=1, shear=60, zoom=0.9)
    assert View(most, 0, 0).apply(smooth(), DIGEST).shape == (90, 90, 3)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            "docments",
            "augment 'docments' is not known; expected none, flip, light, documents or a mapping of parameters.",
        ),
        ("docments", "Did you mean documents?"),
        ("", "augment '' is not known"),
        (None, "got None"),
        (0.2, "got 0.2"),
        (["flip"], "got ['flip']"),
    ],
)
def test_an_unknown_name_is_refused(wanted: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        find(wanted)


@pytest.mark.parametrize("place", ["seed", "number"])
@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None])
def test_a_view_is_counted_in_whole_numbers(place: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"the {place} of a view must be a whole number"):
        View(**{"augmentation": STRONG, "seed": 0, "number": 0, place: value})


def test_presets_are_found_by_name_and_each_has_its_summary() -> None:
    assert set(PRESETS) == {"none", "flip", "light", "documents"} == set(SUMMARIES)
    assert all(find(name) is preset for name, preset in PRESETS.items())
    assert find(STRONG) is STRONG
    assert [name for name, preset in PRESETS.items() if not preset.changes] == ["none"]
    assert [name for name, preset in PRESETS.items() if not preset.moves] == ["none", "flip"]
    told = {
        "rotation": 40, "width_shift": 0.2, "height_shift": 0.2, "shear": 0.2, "zoom": 0.2, "horizontal_flip": True,
        "fill": "nearest",
    }  # fmt: skip
    assert find("documents") == find(told)


def test_the_key_names_all_that_decides_the_pixels() -> None:
    key = View(STRONG, seed=5, number=6).key()
    assert json.loads(json.dumps(key)) == key
    assert key["version"] == augment.VERSION
    assert "Pillow" in key["pixels"]
    changed = [replace(STRONG, fill="wrap"), replace(STRONG, rotation=39), replace(STRONG, vertical_flip=False)]
    others = [View(STRONG, 5, 7), View(STRONG, 6, 6), *(View(each, 5, 6) for each in changed)]
    assert len({json_digest(view.key()) for view in (View(STRONG, 5, 6), *others)}) == 6
    whole, real = (View(Augmentation(rotation=value), 0, 0).key() for value in (40, 40.0))
    assert json_digest(whole) == json_digest(real), "40 and 40.0 are one augmentation and must have one key"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"width_shift": 0.1}, "shift across ±10 %, edges repeated"),
        ({"width_shift": 0.1, "height_shift": 0.25}, "shift across ±10 %, shift down ±25 %, edges repeated"),
        ({"horizontal_flip": True, "fill": "wrap"}, "mirrored half the time"),
        (
            {"vertical_flip": True, "shear": 5, "fill": "reflect"},
            "shear ±5°, upside down half the time, edges mirrored",
        ),
        ({"zoom": 0.35, "fill": "constant"}, "zoom 0.65 to 1.35, black beyond the edges"),
    ],
)
def test_an_augmentation_is_described_in_a_line(values: dict[str, Any], line: str) -> None:
    assert describe(find(values)) == line


def test_a_contact_sheet_is_the_picture_and_its_first_views() -> None:
    picture = smooth(40, 50)
    sheet = contact_sheet(picture, DIGEST, STRONG, seed=2)
    assert len(sheet) == 9
    np.testing.assert_array_equal(sheet[0], picture)
    for number, view in enumerate(sheet[1:]):
        np.testing.assert_array_equal(view, View(STRONG, 2, number).apply(picture, DIGEST))
    assert len(contact_sheet(picture, DIGEST, STRONG, seed=2, count=1)) == 1
    with pytest.raises(InputError, match="at least one picture; got count=0"):
        contact_sheet(picture, DIGEST, STRONG, seed=2, count=0)


def test_reading_an_augmentation_loads_the_standard_library_alone() -> None:
    code = (
        "import sys; from headstart.augment import *; describe(find('documents'))\n"
        "print([name for name in ('numpy', 'PIL', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
