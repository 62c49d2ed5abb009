"""`headstart recipes`, and what options do to a recipe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headstart import recipe_files
from headstart.cli import _common, cli
from headstart.errors import InputError, RecipeError
from headstart.recipe import Recipe

pytestmark = pytest.mark.usefixtures("f32")
Ran = tuple[int, str, str]


@pytest.fixture
def mine(run: Callable[..., Ran], tmp_path: Path) -> Path:
    """A shipped recipe, printed, and edited to be small."""
    text = run("recipes", "show", "mobilenetv2-average")[1]
    edits = {
        "source: mobilenetv2": "source: mobilenet_0.25", "weights: imagenet": "weights: random",
        "[160, 160]": "[32, 32]", "cut: out_relu": "cut: conv_pw_3_relu", "epochs: 10": "epochs: 2",
    }  # fmt: skip
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def refused(result: Ran, *words: str) -> None:
    """The input was at fault: status 2, nothing on standard output, a short message without a traceback."""
    status, out, err = result
    assert (status, out) == (2, ""), err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 4
    for word in words:
        assert word in err


# ---- looking at recipes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recipes list", "recipes show", "recipes run"])
def test_every_help_has_an_example_and_fits_80_columns(name: str) -> None:
    result = CliRunner().invoke(cli, [*name.split(), "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    assert result.exit_code == 0
    assert f"headstart {name}" in result.output.split("\n", 1)[1]
    assert max(map(len, result.output.splitlines())) <= 80
    assert "--json" in result.output


def test_recipes_are_listed(run: Callable[..., Ran]) -> None:
    status, out, err = run("recipes", "list", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)["recipes"]
    assert [row["name"] for row in rows] == list(recipe_files.names())
    assert set(rows[0]) == {"name", "document", "source", "cut", "summary"}
    (row,) = (row for row in rows if row["name"] == "vgg16-dense")
    assert (row["document"], row["source"], row["cut"]) == ("002", "vgg16", "block5_pool")
    status, out, err = run("recipes", "list")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for row in rows:
        assert all(str(value) in out for value in row.values())


@pytest.mark.parametrize("name", recipe_files.names())
def test_a_recipe_is_shown_as_its_file_has_it(run: Callable[..., Ran], name: str) -> None:
    status, out, err = run("recipes", "show", name)
    assert (status, err) == (0, "")
    assert out == (recipe_files.FOLDER / f"{name}.yaml").read_text("utf-8")


def test_a_recipe_is_shown_as_json(run: Callable[..., Ran]) -> None:
    told = json.loads(run("recipes", "show", "vgg16-dense", "--json")[1])
    assert (told["name"], told["document"]) == ("vgg16-dense", "002")
    assert Recipe.from_dict(told["recipe"]) == recipe_files.find("vgg16-dense").recipe


# ---- what options do to a recipe ------------------------------------------------------------------------------------


def test_options_go_before_what_the_recipe_says() -> None:
    before = recipe_files.find("inceptionv3-mixed7").recipe
    given = {"weights": "a.h5", "image_size": (75, 80), "views": 2, "seed": 3, "epochs": 4, "cut": None}
    after = _common.recipe_of("inceptionv3-mixed7", given)
    assert (after.weights, after.image_size, after.views, after.seed) == ("a.h5", (75, 80), 2, 3)
    assert after.head_options == {**before.head_options, "epochs": 4}
    assert (after.cut, after.augment, after.preprocessing) == (before.cut, before.augment, before.preprocessing)


def test_what_is_not_given_leaves_the_recipe_as_it_is() -> None:
    nothing = dict.fromkeys(("weights", "views", "seed", "epochs", "head", "augment"))
    assert _common.recipe_of("vgg16-dense", nothing) == recipe_files.find("vgg16-dense").recipe
    assert _common.recipe_of(None, nothing) == Recipe()


def test_another_head_does_not_take_over_the_options_of_the_first() -> None:
    assert _common.recipe_of("mobilenetv2-average", {"head": "linear"}).head_options == {}
    kept = _common.recipe_of("mobilenetv2-average", {"head": "dense"}).head_options
    assert kept == recipe_files.find("mobilenetv2-average").recipe.head_options


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (None, {"epochs": 3}, "--epochs 3: the auto head has none"),
        ("mobilenetv2-average", {"head": "linear", "epochs": 3}, "--epochs 3: the linear head has none"),
        (None, {"views": 4}, r"--views 4 has nothing to draw(.|\n)*--augment light"),
        ("vgg16-dense", {"views": "live"}, "--views live has nothing to draw"),
        ("mobilenetv2-flatten", {"augment": "none", "views": 4}, "has nothing to draw"),
        (None, {"views": "liv", "augment": "flip"}, r"got 'liv'\. Did you mean live\?"),
        (None, {"views": 65, "augment": "flip"}, "views must lie between 1 and 64; got 65"),
        (None, {"augment": "flp"}, r"Did you mean flip\?"),
        ("mobilenetv2-averag", {}, r"Did you mean mobilenetv2-average"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str | None, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        _common.recipe_of(name, given)


@pytest.mark.parametrize(("text", "value"), [("8", 8), ("live", "live"), ("auto", "auto"), ("-1", "-1"), (None, None)])
def test_a_number_of_views_is_a_number(text: str | None, value: str | int | None) -> None:
    assert _common.views(None, None, text) == value  # type: ignore[arg-type]


def asked(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Recipe:
    """The recipe that a command would train by."""
    seen: list[Recipe] = []

    def stop(photos: object, recipe: Recipe, **_: object) -> None:
        seen.append(recipe)
        raise InputError("far enough")

    monkeypatch.setattr("headstart.train.train", stop)
    refused(run(*arguments), "far enough")
    return seen[0]


def test_train_takes_a_recipe_and_options_beside_it(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tiny_pictures: Path, tmp_path: Path, mine: Path
) -> None:
    words = ("train", tiny_pictures, "-o", tmp_path / "a.keras")
    assert asked(run, monkeypatch, *words, "--recipe", mine) == recipe_files.find(mine).recipe
    assert asked(run, monkeypatch, *words) == Recipe()
    options = ("--epochs", 7, "--augment", "flip", "--views", 2, "--preprocessing", "unit", "--pooling", "max")
    seen = asked(run, monkeypatch, *words, "--recipe", "mobilenetv2-average", *options)
    assert (seen.augment, seen.views, seen.preprocessing, seen.pooling) == ("flip", 2, "unit", "max")
    assert (seen.head_options["epochs"], seen.cut) == (7, "out_relu")


def test_a_run_takes_options_beside_its_recipe(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tiny_pictures: Path, tmp_path: Path
) -> None:
    words = ("recipes", "run", "mobilenetv2-flatten", tiny_pictures, "-o", tmp_path / "a.keras")
    seen = asked(run, monkeypatch, *words, "--weights", "random", "--image-size", 96, "--views", "live", "--seed", 5)
    assert (seen.weights, seen.image_size, seen.views, seen.seed) == ("random", (96, 96), "live", 5)


# ---- what is refused before any work --------------------------------------------------------------------------------


def test_what_is_misspelt_is_refused_and_nothing_is_written(
    run: Callable[..., Ran], tiny_pictures: Path, tmp_path: Path, mine: Path
) -> None:
    output = ("-o", tmp_path / "a.keras")
    refused(run("recipes", "run", "vgg-16dense", tiny_pictures, *output), "Did you mean vgg16-dense?")
    refused(run("recipes", "show", "vgg16_dense"), "Did you mean vgg16-dense?")
    refused(run("train", tiny_pictures, *output, "--recipe", "vgg16dense"), "Did you mean vgg16-dense?")
    refused(run("recipes", "run", mine, tiny_pictures, *output, "--against", "vgg16-dens"), "mean vgg16-dense?")
    refused(run("recipes", "run", mine, tiny_pictures, *output, "--against", mine), "run already")
    namesake = tmp_path / "other" / mine.name
    namesake.parent.mkdir()
    shutil.copy(mine, namesake)
    refused(run("recipes", "run", mine, tiny_pictures, *output, "--against", namesake), "run already")
    refused(run("recipes", "run", mine, "no-such-folder", "-o", tmp_path / "a.h5"), "ends in .keras")
    mine.write_text(mine.read_text().replace("batch_size", "batchsize"))
    refused(run("recipes", "run", mine, tiny_pictures, *output), "mine.yaml, line ", "Did you mean batch_size?")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "other"]


def test_weights_are_for_the_source_that_they_were_given_for() -> None:
    from headstart.cli.recipes import _second

    given = {"weights": "a.h5", "epochs": 2, "seed": 4}
    same, other = (_second(name, "inceptionv3", given) for name in ("inceptionv3-mixed7-dropout", "vgg16-dense"))
    assert (same.weights, other.weights) == ("a.h5", "imagenet")
    assert [each.head_options["epochs"] for each in (same, other)] == [2, 2]
    assert (same.seed, other.seed) == (4, 4)


def test_one_sigmoid_for_three_classes_is_refused(
    run: Callable[..., Ran], tiny_pictures: Path, tmp_path: Path, mine: Path
) -> None:
    mine.write_text(mine.read_text().replace("output: auto", "output: sigmoid"))
    refused(run("recipes", "run", mine, tiny_pictures, "-o", tmp_path / "a.keras"), "there are 3", "output: auto")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


# ---- running --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_recipe_runs_and_its_model_holds_one_that_runs_again(
    run: Callable[..., Ran], tiny_pictures: Path, tmp_path: Path, mine: Path
) -> None:
    output = tmp_path / "a.keras"
    status, out, err = run("recipes", "run", mine, tiny_pictures, "-o", output, "--epochs", 3, "--no-report", "--json")
    assert status == 0, err
    first = json.loads(out)
    assert (first["model"], first["report"]) == (str(output), None)
    assert [len(first["history"][name]) for name in ("accuracy", "loss", "val_accuracy", "val_loss")] == [3] * 4
    assert len(first["epoch_seconds"]) == 3
    assert "softmax of 3 units" in first["notes"][0]
    lines = [line for line in err.splitlines() if line.startswith("training the head: ")]
    assert [line.split(",")[0] for line in lines if ": 0" not in line] == [
        f"training the head: {epoch} of 3" for epoch in (1, 2, 3)
    ]

    status, out, err = run("recipes", "show", output)
    assert (status, err) == (0, "")
    (tmp_path / "again.yaml").write_text(out)
    assert recipe_files.find(tmp_path / "again.yaml").recipe == Recipe.from_dict(first["recipe"])
    words = ("train", tiny_pictures, "-o", tmp_path / "b.keras", "--recipe", tmp_path / "again.yaml", "--no-report")
    status, out, err = run(*words, "--json")
    assert status == 0, err
    second = json.loads(out)
    assert second["history"] == first["history"]
    assert second["recipe"] == first["recipe"]
    assert second["cache"]["misses"] == 0


@pytest.mark.slow
def test_a_person_is_told_and_two_recipes_are_drawn_together(
    run: Callable[..., Ran], tiny_pictures: Path, tmp_path: Path, mine: Path
) -> None:
    other = mine.with_name("wide.yaml")
    other.write_text(mine.read_text().replace("- dropout: 0.2", "- {dense: 8, activation: relu}"))
    page = tmp_path / "page.html"
    words = ("recipes", "run", mine, tiny_pictures, "-o", tmp_path / "a.keras", "--against", other)
    status, out, err = run(*words, "--report", page)
    assert status == 0, err
    told = out.replace("\n", " ")
    for word in ("before training", "accuracy", "softmax of 3 units", "curves", "against wide", str(page)):
        assert word in told, word
    header, *epochs = out.splitlines()[-3:]
    assert header.split() == ["epoch", "accuracy", "val_accuracy", "loss", "val_loss", "seconds"]
    assert [line.split()[0] for line in epochs] == ["1", "2"]
    assert all(f"wide: training the head: {epoch} of 2" in err for epoch in (1, 2))
    text = page.read_text("utf-8")
    assert ">mine" in text or "mine," in text
    assert ">wide" in text or "wide," in text

    status, out, err = run(*words, "--no-report", "--json")
    assert status == 0, err
    document = json.loads(out)
    (against,) = document["against"]
    assert against["name"] == "wide"
    assert against["recipe"]["head_options"]["layers"] == [{"dense": 8, "activation": "relu"}]
    assert against["history"] != document["history"]
    assert against["images"] == document["images"]
    assert against["cache"]["misses"] == 0
    assert against["model"] is None
    assert not (tmp_path / "a.html").exists()


def test_of_many_epochs_some_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    from headstart.cli._telling import _epochs

    for count, shown in (
        (1, [1]),
        (3, [1, 2, 3]),
        (10, list(range(1, 11))),
        (100, [1, 12, 23, 34, 45, 56, 67, 78, 89, 100]),
    ):
        values = [float(epoch) for epoch in range(1, count + 1)]
        _epochs({"accuracy": values, "loss": values}, values)
        header, *lines = capsys.readouterr().out.splitlines()
        assert header.split() == ["epoch", "accuracy", "loss", "seconds"]
        assert [int(line.split()[0]) for line in lines] == shown
        assert all(float(cell) == int(line.split()[0]) for line in lines for cell in line.split())
