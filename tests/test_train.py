"""The whole chain on tiny sets of real pictures: every form of PHOTOS, every fault of theirs."""

import csv
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import InputError, ModelFileError, PhotosError, RecipeError, SourceError
from headstart.recipe import Recipe
from headstart.train import train

pytestmark = [pytest.mark.usefixtures("f32"), pytest.mark.slow]
CLASSES = ("global", "local", "nominal")


@pytest.fixture
def recipe(small_source):
    """One cut alone, so that runs share what is compiled."""
    return Recipe(**small_source, cut="conv_pw_11_relu", pooling="avg")


@pytest.fixture
def copy(tiny_pictures, tmp_path):
    """A set that may be changed."""
    return Path(shutil.copytree(tiny_pictures, tmp_path / "set"))


def divided(source: Path, target: Path, **counts: int) -> Path:
    """The first pictures of each class to the first split, the next ones to the second, and so on."""
    for name in CLASSES:
        files = iter(sorted((source / name).iterdir()))
        for split, count in counts.items():
            (target / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                shutil.copy(next(files), target / split / name)
    return target


def used(result, split: str) -> set[str]:
    return {result.dataset.files[row] for row in result.rows[split]}


# ---- forms of PHOTOS ------------------------------------------------------------------------------------------------


def test_a_lone_folder_keeps_a_fifth_of_each_class_back(tiny_pictures, recipe):
    result = train(tiny_pictures, recipe)
    assert result.images() == {"train": 39, "validation": 0, "test": 9, "skipped": 0}
    assert (result.accuracy.split, result.accuracy.n) == ("test", 9)
    assert Counter(file.split("/")[0] for file in used(result, "test")) == dict.fromkeys(CLASSES, 3)
    assert not used(result, "train") & used(result, "test")
    assert result.model is None is result.report
    assert result.findings == ()


def test_the_validation_split_is_the_final_figure_where_there_is_no_test(tiny_pictures, recipe, tmp_path):
    result = train(divided(tiny_pictures, tmp_path, train=10, valid=4), recipe)
    assert result.images() == {"train": 30, "validation": 12, "test": 0, "skipped": 0}
    assert (result.accuracy.split, result.accuracy.n) == ("validation", 12)


def test_the_test_split_is_touched_once_at_the_end(tiny_pictures, recipe, tmp_path, monkeypatch):
    photos = divided(tiny_pictures, tmp_path, train=8, validation=4, test=4)
    from headstart.features import Features

    asked = []
    matrix = Features.matrix

    def watched(self, rows, outputs=None, *, view=None):
        asked.append({self.dataset.files[int(row)].split("/")[0] for row in rows})
        return matrix(self, rows, outputs, view=view)

    monkeypatch.setattr(Features, "matrix", watched)
    result = train(photos, Recipe(**{**recipe.as_dict(), "cut": "auto", "pooling": "auto", "image_size": (64, 64)}))
    assert asked.count({"test"}) == 1
    assert asked[-1] == {"test"}
    assert asked[-2] == {"validation"}
    assert all(splits == {"train"} for splits in asked[:-2])
    assert len(asked) > 3
    assert [(other.accuracy.split, other.accuracy.n) for other in result.others] == [("validation", 12)]
    assert result.as_dict()["images"] == {"train": 24, "validation": 12, "test": 12, "skipped": 0}
    assert (result.accuracy.split, result.accuracy.n) == ("test", 12)


def test_a_table_with_groups_keeps_them_together(tiny_pictures, recipe, tmp_path):
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"])
        for name in CLASSES:
            for number, path in enumerate(sorted((tiny_pictures / name).iterdir())):
                rows.writerow([path, name, f"{name}-{number // 4}"])
    result = train(tmp_path / "labels.csv", recipe)
    sides = {}
    for split in ("train", "test"):
        for row in result.rows[split]:
            sides.setdefault(result.dataset.groups[row], set()).add(split)
    assert len(sides) == 12
    assert all(len(side) == 1 for side in sides.values())
    assert {len(used(result, split)) for split in ("train", "test")} == {36, 12}


def test_a_zip_gives_what_its_folder_gives(tiny_pictures, recipe, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(tiny_pictures.rglob("*.*")):
            archive.write(path, path.relative_to(tiny_pictures.parent))
    zipped, plain = train(tmp_path / "set.zip", recipe), train(tiny_pictures, recipe)
    assert zipped.features.misses == 0
    assert used(zipped, "test") == used(plain, "test")
    assert zipped.evaluation.confusion.tolist() == plain.evaluation.confusion.tolist()


# ---- faults of pictures ---------------------------------------------------------------------------------------------


def test_a_class_that_is_missing_from_one_split_shifts_no_other(tiny_pictures, recipe, tmp_path):
    photos = divided(tiny_pictures, tmp_path, train=10, validation=4)
    whole = train(photos, recipe).evaluation.confusion
    shutil.rmtree(tmp_path / "validation" / "global")
    (tmp_path / "validation" / "Aardvark").mkdir()
    shutil.copy(next((tmp_path / "train" / "local").iterdir()), tmp_path / "validation" / "Aardvark" / "new.jpg")
    result = train(photos, recipe)
    assert result.dataset.classes == CLASSES
    assert result.evaluation.confusion[1:].tolist() == whole[1:].tolist()
    assert result.evaluation.confusion[0].sum() == 0
    notes = " ".join(finding.note for finding in result.findings if finding.kind == "class_mismatch")
    assert "Aardvark is in validation/ only" in notes
    assert "global is in train/ but is missing from validation/" in notes


def test_bad_pictures_are_counted_named_and_passed_over(copy, recipe, tmp_path):
    victims = sorted((copy / "local").iterdir())[:2]
    victims[0].write_bytes(victims[0].read_bytes()[:200])
    victims[1].write_bytes(b"")
    (copy / "global" / "notes.jpg").write_text("no picture")
    (copy / "global" / "folder.jpg").mkdir()
    result = train(copy, recipe, report=tmp_path / "page.html")
    assert result.images()["skipped"] == 4
    told = result.as_dict()
    named = {row["file"].rstrip("/"): row["reason"] for row in told["skipped"]}
    assert set(named) == {
        f"local/{victims[0].name}",
        f"local/{victims[1].name}",
        "global/notes.jpg",
        "global/folder.jpg",
    }
    assert all(named.values())
    assert sum(told["images"][split] for split in ("train", "test")) == 46
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "global/notes.jpg" in page
    assert f"local/{victims[0].name}" in page


def test_too_many_bad_pictures_are_refused(copy, recipe):
    for path in sorted((copy / "local").iterdir())[:10]:
        path.write_text("no picture")
    with pytest.raises(
        PhotosError, match=r"10 of 48 pictures cannot be read, .*20% that --max-bad allows.\nFor example"
    ) as caught:
        train(copy, recipe)
    assert len(str(caught.value).splitlines()) <= 3
    put_up_with = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "max_bad": 0.3})
    assert train(copy, put_up_with).images()["skipped"] == 10


def test_a_class_whose_pictures_are_all_bad_is_named(copy, recipe):
    for path in (copy / "local").iterdir():
        path.write_text("no picture")
    lenient = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "max_bad": 0.9})
    with pytest.raises(PhotosError, match=r"too few: local \(0\).\nAdd pictures"):
        train(copy, lenient)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"local": 16}, "has one class, local; a classifier needs at least two"),
        ({"local": 16, "global": 1}, "1 class with one training picture: global"),
        ({}, "holds no pictures"),
    ],
)
def test_a_set_that_cannot_be_learnt_from_is_refused(tiny_pictures, recipe, tmp_path, keep, message):
    for name, count in keep.items():
        (tmp_path / name).mkdir()
        for path in sorted((tiny_pictures / name).iterdir())[:count]:
            shutil.copy(path, tmp_path / name)
    with pytest.raises(PhotosError, match=message):
        train(tmp_path, recipe)


def test_copies_stay_on_one_side_and_are_named(copy, recipe, tmp_path):
    twins = {}
    for name in CLASSES:
        for number, path in enumerate(sorted((copy / name).iterdir())[:6]):
            twins[f"{name}/{path.name}"] = f"{name}/copy-{number}{path.suffix}"
            shutil.copy(path, copy / twins[f"{name}/{path.name}"])
    result = train(copy, recipe, report=tmp_path / "page.html")
    held_out = {
        file for file, split in zip(result.dataset.files, result.dataset.splits, strict=True) if split == "test"
    }
    assert any(one in held_out for one in twins), "no twin was held out: nothing is shown"
    assert all((one in held_out) == (other in held_out) for one, other in twins.items())
    measured = set(used(result, "test"))
    assert all(len(measured & set(pair)) < 2 for pair in twins.items()), "a picture is measured once"
    assert [finding.kind for finding in result.findings].count("duplicate") == 18
    assert "copy-0" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.features.misses + result.features.hits == 48, "each content counts once"


def test_a_picture_in_both_splits_trains_nothing(tiny_pictures, recipe, tmp_path):
    divided(tiny_pictures, tmp_path, train=10, validation=4)
    leak = next((tmp_path / "validation" / "local").iterdir())
    shutil.copy(leak, tmp_path / "train" / "local" / "leak.jpg")
    result = train(tmp_path, recipe)
    assert "train/local/leak.jpg" not in used(result, "train")
    assert "leak" in [finding.kind for finding in result.findings]


# ---- the same again -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_model_and_a_warm_store_gives_every_picture(tiny_pictures, small_source, tmp_path):
    recipe = Recipe(**small_source)
    first = train(tiny_pictures, recipe, output=tmp_path / "a.keras")
    second = train(tiny_pictures, recipe, output=tmp_path / "b.keras")
    assert (second.features.hits, second.features.misses) == (48, 0)
    assert second.accuracy == first.accuracy
    assert second.choice.chosen.outputs == first.choice.chosen.outputs
    for one, other in zip(first.head.layers, second.head.layers, strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        np.testing.assert_array_equal(one.bias, other.bias)
    members = []
    for path in (first.model, second.model):
        with zipfile.ZipFile(path) as archive:
            members.append({name: archive.read(name) for name in archive.namelist() if name != "headstart.json"})
    assert members[0] == members[1]
    other = train(tiny_pictures, Recipe(**small_source, seed=1))
    assert used(other, "test") != used(first, "test")


def test_the_recipe_that_was_done_gives_the_same_head_again(tiny_pictures, small_source):
    first = train(tiny_pictures, Recipe(**small_source))
    again = train(tiny_pictures, Recipe.from_dict(first.recipe.as_dict()))
    assert first.recipe.cut != "auto"
    np.testing.assert_allclose(again.head.layers[0].kernel, first.head.layers[0].kernel, atol=1e-5)


def test_before_training_is_an_untrained_head_on_the_same_pictures(trained):
    assert trained.before.accuracy.n == trained.accuracy.n
    assert trained.before.loss > trained.evaluation.loss


@pytest.mark.parametrize("pooling", ["flatten", "avg+max"])
def test_a_pooling_that_was_asked_for_ends_in_the_model(tiny_pictures, small_source, tmp_path, pooling):
    from headstart.classifier import Classifier

    recipe = Recipe(**small_source, cut="conv_pw_13_relu", pooling=pooling)
    result = train(tiny_pictures, recipe, output=tmp_path / "a.keras")
    assert (result.recipe.cut, result.recipe.pooling) == ("conv_pw_13_relu", pooling)
    paths = [result.dataset.path(row) for row in result.rows["test"]]
    loaded = Classifier.load(result.model).predict(paths)
    for one, other in zip(result.classifier.predict(paths), loaded, strict=True):
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=2e-4)


def test_a_dense_head_ends_in_the_model_with_its_history(tiny_pictures, recipe, tmp_path):
    from headstart.classifier import Classifier

    options = {"layers": [{"dense": 8}], "epochs": 3}
    dense = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "head": "dense", "head_options": options})
    told = []
    result = train(
        tiny_pictures, dense, output=tmp_path / "a.keras", report=tmp_path / "a.html",
        progress=lambda stage, done, _: told.append((stage, done)),
    )  # fmt: skip
    history = result.as_dict()["history"]
    assert {len(values) for values in history.values()} == {3}
    assert [done for stage, done in told if stage == "training the head"] == [1, 2, 3]
    assert result.recipe.head_options["layers"] == [{"dense": 8}]
    assert result.recipe.head_options["learning_rate"] == 1e-3, "the recipe that was done names every option"
    paths = [result.dataset.path(row) for row in result.rows["test"]]
    for one, other in zip(result.classifier.predict(paths), Classifier.load(result.model).predict(paths), strict=True):
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=2e-4)
    assert "<svg" in (tmp_path / "a.html").read_text(encoding="utf-8")


# ---- refused before any work ----------------------------------------------------------------------------------------


def test_what_is_misspelt_is_refused_with_near_matches(tiny_pictures, small_source):
    with pytest.raises(SourceError, match="mobilenet"):
        train(tiny_pictures, Recipe(source="mobilenett"))
    with pytest.raises(SourceError, match="conv_pw_11_relu"):
        train(tiny_pictures, Recipe(**small_source, cut="conv_pw11_relu"))
    with pytest.raises(SourceError, match="unknown pooling 'average'"):
        train(tiny_pictures, Recipe(**small_source, pooling="average"))
    with pytest.raises(RecipeError, match=r"Did you mean linear\?"):
        train(tiny_pictures, Recipe(**small_source, head="liner"))
    with pytest.raises(RecipeError, match=r"Did you mean strength\?"):
        train(tiny_pictures, Recipe(**small_source, head_options={"strenth": 1}))


def test_a_place_that_cannot_be_written_is_refused_first(tiny_pictures, recipe, tmp_path):
    (tmp_path / "file").write_text("")

    def never(*_):
        raise AssertionError("work had begun")

    with pytest.raises(ModelFileError, match=r"ends in \.keras"):
        train(tiny_pictures, recipe, output=tmp_path / "a.h5", progress=never)
    with pytest.raises(ModelFileError, match="is not a folder"):
        train(tiny_pictures, recipe, output=tmp_path / "file" / "a.keras", progress=never)
    with pytest.raises(InputError, match="is a folder"):
        train(tiny_pictures, recipe, report=tmp_path, progress=never)
