"""The Python door: stages called with paths and names. What the stages do is tested where they are."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart as hs
from headstart import api
from headstart.api import Decisions
from headstart.errors import PhotosError, RecipeError, SourceError
from headstart.recipe import Recipe
from headstart.store import Store

CUT = {"cut": "conv_pw_5_relu", "pooling": "avg"}


@pytest.fixture(scope="module")
def features(tiny_pictures: Path, small_source: dict[str, Any]) -> hs.Features:
    return hs.features(tiny_pictures, **small_source, **CUT)


@pytest.fixture(scope="module")
def result(features: hs.Features, tiny_pictures: Path, small_source: dict[str, Any]) -> hs.TrainResult:
    del features  # it came first, so that the trunk is compiled once
    return hs.train(tiny_pictures, hs.Recipe(seed=3, folds=4), **small_source, **CUT, folds=3)


def test_decisions_are_the_fields_of_a_recipe() -> None:
    assert list(typing.get_type_hints(Decisions)) == [
        field.name
        for field in dataclasses.fields(hs.Recipe)
        if field.name != "callbacks"  # an argument of its own
    ]


def test_train_takes_fields_of_the_recipe_over_a_recipe(result: hs.TrainResult) -> None:
    recipe = result.recipe
    assert (recipe.source, recipe.image_size, recipe.weights) == ("mobilenet_0.25", (64, 64), "random")
    assert (recipe.cut, recipe.pooling, recipe.folds, recipe.seed) == ("conv_pw_5_relu", "avg", 3, 3)
    assert result.images() == {"train": 39, "validation": 0, "test": 9, "skipped": 0}


@pytest.mark.parametrize(
    ("decision", "why"),
    [({"sead": 1}, "Did you mean seed"), ({"folds": 1}, "between 2 and 20"), ({"seed": None}, "seed")],
)
def test_train_refuses_what_no_recipe_has(decision: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        hs.train("not looked at", **decision)


def test_features_are_those_of_every_picture(features: hs.Features) -> None:
    assert features.bad == {}
    numbers = features.matrix(range(48))
    assert (numbers.shape, numbers.dtype) == ((48, 64), np.float16)
    assert len(np.unique(numbers, axis=0)) > 40


def test_the_store_is_open_for_as_long_as_there_are_features(
    tiny_dataset: hs.Dataset, small_source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = Store.close
    monkeypatch.setattr(Store, "close", lambda store: (closed.append(store), close(store)))
    features = hs.features(tiny_dataset, **small_source, **CUT)
    gc.collect()
    assert features.hits == 48
    assert features.matrix([0]).shape == (1, 64)
    assert not closed
    del features
    gc.collect()
    assert len(closed) == 1


def test_a_source_is_found_by_name() -> None:
    assert hs.source("EfficientNet-Lite0").name == "efficientnet_lite0"
    with pytest.raises(SourceError, match="efficientnet_lite0"):
        hs.source("efficientnet_light0")


def test_a_head_is_fitted_on_the_training_pictures(features: hs.Features) -> None:
    head = hs.fit_head(features)
    losses = head.settings["chosen_from"]
    assert losses[head.name] == min(losses.values())
    assert head.predict(features.matrix(range(48))).shape == (48, 3)
    assert hs.fit_head(features, strength=0.5).settings["strength"] == 0.5
    with pytest.raises(RecipeError, match="Did you mean strength"):
        hs.fit_head(features, strenght=0.5)


def test_a_head_is_not_fitted_on_pictures_that_are_held_out(features: hs.Features) -> None:
    splits = np.where(np.arange(48) % 4 == 0, "test", "train")
    divided = dataclasses.replace(features, dataset=dataclasses.replace(features.dataset, splits=splits))
    head = hs.fit_head(divided)
    assert head.out_of_fold is not None
    assert len(head.out_of_fold) == 36


def test_a_head_needs_two_classes(features: hs.Features) -> None:
    with pytest.raises(PhotosError, match="two classes"):
        hs.fit_head(dataclasses.replace(features, dataset=features.dataset.take(range(5))))


def test_evaluate_takes_a_classifier_or_its_file(result: hs.TrainResult, tiny_pictures: Path, tmp_path: Path) -> None:
    here = hs.evaluate(result.classifier, tiny_pictures)
    assert here.accuracy.n == 48
    file = result.classifier.save(tmp_path / "textile.keras")
    assert hs.evaluate(file, tiny_pictures).confusion.tolist() == here.confusion.tolist()


def test_audit_tells_all_that_check_tells(
    tmp_path: Path, textile_pictures: Callable[[str, int], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("global", "nominal"):
        (tmp_path / name).mkdir()
        for path in textile_pictures(name, 14):
            shutil.copy(path, tmp_path / name)
    assert str(hs.audit(tmp_path)) == "Nothing to report."
    (tmp_path / "global/broken.jpg").write_bytes(b"not a picture")
    one = sorted((tmp_path / "nominal").iterdir())[0]
    shutil.copy(one, tmp_path / "nominal/copy.jpg")
    found = hs.audit(tmp_path)
    assert found.counts == {"unreadable": 1, "duplicate": 1}
    print(found)
    assert "duplicate: 2 files of nominal" in capsys.readouterr().out
    assert "broken.jpg" in found._repr_html_()


def test_finetune_takes_the_network_from_a_model_and_leaves_the_cut_to_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Recipe] = []
    monkeypatch.setattr(api, "run", lambda _, recipe, **__: asked.append(recipe))
    model = api.Classifier(("a", "b"), None, (), (), {"recipe": Recipe(source="mobilenetv2", cut="out_relu",
                           pooling="avg", fine_tune="off").as_dict()})  # fmt: skip
    api.finetune(model, "photos", options={"epochs": 3}, seed=7)
    api.finetune(model, "photos", fine_tune="blocks=2")
    api.finetune("mobilenetv2-flatten", "photos")
    auto, blocks, flat = asked
    assert (auto.source, auto.cut, auto.pooling, auto.fine_tune, auto.seed) == (
        "mobilenetv2",
        "auto",
        "auto",
        "auto",
        7,
    )
    assert auto.fine_tune_options == {"epochs": 3}
    assert (blocks.cut, blocks.pooling, blocks.fine_tune) == ("out_relu", "avg", "blocks=2")
    assert (flat.pooling, flat.fine_tune) == ("flatten", "auto")
    with pytest.raises(RecipeError, match=r"no option 'epoch'; .* Did you mean epochs"):
        api.finetune(model, "photos", options={"epoch": 3})
