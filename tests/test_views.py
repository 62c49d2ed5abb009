"""Views of a run: which are drawn, what an epoch and a head are given of them, and whose curves are watched."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import views, watching
from headstart.augment import Augmentation, View
from headstart.dataset import Dataset
from headstart.errors import RecipeError
from headstart.features import Features, extract
from headstart.recipe import Recipe
from headstart.splitting import split
from headstart.train import train
from headstart.trunk import Trunk

pytestmark = [pytest.mark.usefixtures("f32"), pytest.mark.slow]
TURNED = {"rotation": 30, "horizontal_flip": True}
DENSE = {"layers": [{"dense": 8}], "epochs": 3, "patience": None, "standardize": False}


def recipe_of(**changes: Any) -> Recipe:
    return Recipe(**{"augment": TURNED, "views": 4, "seed": 7, "head": "dense", **changes})


@pytest.fixture(scope="module")
def divided(tiny_dataset: Dataset) -> Dataset:
    return split(tiny_dataset)


@pytest.fixture(scope="module")
def seen(small_trunk: Trunk, divided: Dataset) -> Callable[[Recipe], Features]:
    """The features that a recipe's one pass leaves, in memory."""

    def run(recipe: Recipe, *, watched: bool = True) -> Features:
        return extract(
            divided,
            small_trunk,
            None,
            views=views.looks(recipe, divided, by_epochs=recipe.head == "dense", watched=watched),
        )

    return run


# ---- which views


def test_of_a_recipe() -> None:
    drawn = views.of_recipe(recipe_of())
    assert [view.number for view in drawn] == [0, 1, 2, 3]
    assert drawn[0] == View(Augmentation(**TURNED), 7, 0)
    assert len(views.of_recipe(recipe_of(views="auto"))) == views.DEFAULT_VIEWS == views.count(recipe_of(views="auto"))
    assert [view.number for view in views.of_recipe(recipe_of(views="live"))] == [0]
    few = recipe_of(views="live", head_options={"epochs": 3})
    assert [view.number for view in views.of_recipe(few)] == [0, 1, 2], "one pass for a few epochs"
    assert views.of_recipe(recipe_of(augment="none")) == ()
    assert views.of_recipe(recipe_of(augment={"fill": "reflect"})) == (), "nothing that changes a picture"
    assert views.told(recipe_of(augment="flip"))["horizontal_flip"] is True
    assert views.told(recipe_of(augment="none")) == "none"


def test_pictures_that_measure_are_never_augmented(divided: Dataset) -> None:
    for recipe, clean in ((recipe_of(cut="x", pooling="avg"), False), (recipe_of(), True)):
        first, every = (views.looks(recipe, divided, by_epochs=by_epochs, watched=True) for by_epochs in (True, False))
        for row in range(len(divided)):
            if divided.splits[row] == "train":
                assert [view.number for view in every(row) if view is not None] == [0, 1, 2, 3]
                assert len([view for view in first(row) if view is not None]) == 1, "the others when they are needed"
                assert (None in first(row)) == (None in every(row)) == clean, "as they are too where a cut is chosen"
            else:
                assert first(row) == every(row) == (None,)


@pytest.mark.parametrize("in_memory", [2**30, 0], ids=["memory", "store"])
def test_an_epoch_takes_one_view_of_each_picture_and_all_of_them_in_turn(
    seen: Callable[[Recipe], Features], divided: Dataset, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "IN_MEMORY", in_memory)
    recipe = recipe_of(cut="conv_pw_11_relu", pooling="avg")
    features, rows = seen(recipe), divided.split_indices("train")
    data = views.head_data(
        features, features.outputs, rows, folds=np.zeros(len(rows), int), recipe=recipe, by_epochs=True,
        watch=divided.split_indices("test"),
    )  # fmt: skip
    each = [features.matrix(rows, view=view) for view in views.of_recipe(recipe)]
    assert data.epoch_features is not None
    turns = []
    for epoch in range(8):
        found = data.epoch_features(epoch)
        which = np.array([[np.array_equal(row, one[i]) for one in each] for i, row in enumerate(found)])
        assert (which.sum(axis=1) == 1).all()
        turns.append(which.argmax(axis=1))
    for some in (turns[:4], turns[4:]):
        assert (np.sort(np.stack(some), axis=0) == np.arange(4)[:, None]).all(), "each view once in four epochs"
    assert not np.array_equal(turns[0], turns[4])
    computed: list[int] = []
    monkeypatch.setattr(Features, "see", lambda *given, **_: computed.extend(row for row, _ in given[1]))
    data.epoch_features(0)
    data.epoch_features(9)
    assert not computed, "what an epoch has seen is not computed again"
    views.finished(data)
    assert len(set(turns[0].tolist())) > 1, "not the same view for all"
    assert np.array_equal(data.epoch_features(2), data.epoch_features(2))
    assert data.watch is not None
    assert np.array_equal(data.watch[0], features.matrix(divided.split_indices("test")))


def test_live_views_are_the_numbered_ones(seen: Callable[[Recipe], Features], divided: Dataset) -> None:
    """What `live` shows in epoch e is view e, as a recipe that keeps its views would have it."""
    rows = divided.split_indices("train")
    live, kept = (recipe_of(views=number, cut="conv_pw_11_relu", pooling="avg") for number in ("live", 3))
    stored = seen(kept)
    data = views.head_data(
        seen(live), stored.outputs, rows, folds=np.zeros(len(rows), int), recipe=live, by_epochs=True,
        watch=divided.split_indices("test"),
    )  # fmt: skip
    assert data.epoch_features is not None
    for view in views.of_recipe(kept):
        np.testing.assert_allclose(data.epoch_features(view.number), stored.matrix(rows, view=view), rtol=1e-3)


def test_a_head_without_epochs_has_all_views_beside_the_picture(
    seen: Callable[[Recipe], Features], divided: Dataset
) -> None:
    recipe = recipe_of(head="linear", views=2)
    features, rows = seen(recipe), divided.split_indices("train")
    folds = np.arange(len(rows)) % 5
    data = views.head_data(
        features, features.outputs, rows, folds=folds, recipe=recipe, by_epochs=False, watch=None
    )  # fmt: skip
    assert data.features.shape[0] == 3 * len(rows)
    assert data.clean == len(rows)
    assert np.array_equal(data.features[len(rows) : 2 * len(rows)], features.matrix(rows, view=View(
        Augmentation(**TURNED), 7, 0)))  # fmt: skip
    assert np.array_equal(data.folds, np.tile(folds, 3)), "a picture's views are held out together"
    assert np.array_equal(data.labels, np.tile(divided.labels[rows], 3))


# ---- whole runs


def test_all_passes_are_counted(tiny_pictures: Path, small_source: dict[str, Any], fresh_cache: Path) -> None:
    recipe = Recipe(
        **small_source, cut="conv_pw_11_relu", pooling="avg", head="dense", head_options=DENSE, augment=TURNED, views=4,
    )  # fmt: skip
    result = train(tiny_pictures, recipe)
    counts = result.images()
    assert result.features.misses == 3 * counts["train"] + counts["test"], "a view of each picture an epoch"
    again = train(tiny_pictures, recipe)
    assert (again.features.hits, again.features.misses) == (result.features.misses, 0)
    assert result.seconds["features"] == result.features.seconds


def test_a_run_without_augmentation_has_the_pictures_as_they_are(divided: Dataset) -> None:
    assert not views.alone(recipe_of(augment="none", cut="x", pooling="avg"), watched=True)
    assert views.alone(recipe_of(cut="x", pooling="avg"), watched=True)


def test_live_is_what_many_views_become(tiny_pictures: Path, small_source: dict[str, Any]) -> None:
    recipe = Recipe(
        **small_source, cut="conv_pw_11_relu", pooling="avg", head="dense", head_options={**DENSE, "epochs": 1},
        augment=TURNED, views="live",
    )  # fmt: skip
    live, one = (train(tiny_pictures, dataclasses.replace(recipe, views=number)) for number in ("live", 1))
    np.testing.assert_array_equal(live.head.layers[0].kernel, one.head.layers[0].kernel)
    assert live.recipe.views == "live"
    assert live.recipe.augment == Augmentation(**TURNED).as_dict()
    assert live.watched == "test"


def test_a_run_with_views_measures_the_pictures_as_they_are(
    tiny_pictures: Path, small_source: dict[str, Any], tmp_path: Path
) -> None:
    recipe = Recipe(**small_source, head="linear", augment="flip", views=2)
    result = train(tiny_pictures, recipe, output=tmp_path / "m.keras", report=tmp_path / "m.html")
    paths = [result.dataset.path(row) for row in result.rows["test"]]
    right = [
        prediction.label == result.dataset.names[row]
        for prediction, row in zip(result.classifier.predict(paths), result.rows["test"], strict=True)
    ]
    assert np.mean(right) == pytest.approx(result.accuracy.value)
    assert "What augmentation does" in (tmp_path / "m.html").read_text("utf-8")
    assert Recipe.from_dict(result.as_dict()["recipe"]) == result.recipe


def test_live_views_are_refused_for_a_head_without_epochs(tiny_pictures: Path) -> None:
    with pytest.raises(RecipeError, match=r"the auto head has none.\nGive a number of views"):
        train(tiny_pictures, Recipe(augment="flip", views="live"))


def test_one_sigmoid_for_three_classes_is_refused(tiny_pictures: Path, small_source: dict[str, Any]) -> None:
    recipe = Recipe(**small_source, head="dense", head_options={"output": "sigmoid"})
    with pytest.raises(RecipeError, match="one sigmoid tells two classes apart, and there are 3"):
        train(tiny_pictures, recipe)


# ---- who watches


def test_what_decides_is_never_what_is_reported(divided: Dataset, tiny_dataset: Dataset) -> None:
    assert watching.split_to_watch(divided, False) == "test"
    assert watching.split_to_watch(divided, True) is None
    names = np.array(["train", "train", "validation", "test"] * 12)
    both = dataclasses.replace(tiny_dataset, splits=names)
    assert watching.split_to_watch(both, True) == watching.split_to_watch(both, False) == "validation"


def test_callbacks_that_choose_are_told_from_those_that_look() -> None:
    for name, decides in (("EarlyStopping", True), ("TensorBoard", False)):
        assert watching.chooses(Recipe(callbacks=({name: {}},)), ()) == decides
    assert watching.chooses(Recipe(), (object(),)), "nobody knows what a callback of one's own does"
    assert not watching.chooses(Recipe(), ())


def test_callbacks_need_epochs(tiny_pictures: Path) -> None:
    with pytest.raises(RecipeError, match="the auto head has none"):
        train(tiny_pictures, Recipe(callbacks=({"EarlyStopping": {"patience": 2}},)))
