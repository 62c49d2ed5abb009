"""Recipes as files: what the shipped ones say, how YAML is read, and what is refused with its place."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import callback_arguments, recipe_files, sources
from headstart.classifier_file import MEMBER
from headstart.errors import MissingExtraError, RecipeError
from headstart.heads import dense
from headstart.recipe import Recipe
from headstart.recipe_files import FOLDER, MAX_BYTES, as_text, find, load
from headstart.result import TrainResult

WIDE = {"dense": 1024, "activation": "relu"}
DOCUMENTS = {
    "rotation": 40, "width_shift": 0.2, "height_shift": 0.2, "shear": 0.2, "zoom": 0.2, "horizontal_flip": True,
    "fill": "nearest",
}  # fmt: skip
PLAIN = {"output": "auto", "patience": None, "standardize": False, "steps_per_epoch": None}
INCEPTION: dict[str, Any] = {
    "source": "inceptionv3", "image_size": (150, 150), "preprocessing": "unit", "cut": "mixed7", "pooling": "flatten",
    "augment": DOCUMENTS, "views": "auto",
}  # fmt: skip
INCEPTION_FIT = {
    **PLAIN, "optimizer": "rmsprop", "learning_rate": 1e-4, "batch_size": 20, "steps_per_epoch": 100, "epochs": 100,
}  # fmt: skip
SHIPPED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mobilenetv2-flatten": (
        "000",
        {"source": "mobilenetv2", "image_size": (160, 160), "preprocessing": "unit", "cut": "out_relu",
         "pooling": "flatten", "augment": DOCUMENTS, "views": "live", "holdout": 0.2},
        {**PLAIN, "layers": [{"dropout": 0.2}, WIDE], "optimizer": "adam", "learning_rate": 1e-4, "batch_size": 20,
         "epochs": 3},
    ),
    "inceptionv3-mixed7": ("001, 003", INCEPTION, {**INCEPTION_FIT, "layers": [WIDE]}),
    "inceptionv3-mixed7-dropout": ("001, 003", INCEPTION, {**INCEPTION_FIT, "layers": [WIDE, {"dropout": 0.2}]}),
    "vgg16-dense": (
        "002",
        {"source": "vgg16", "image_size": (240, 240), "preprocessing": "unit", "cut": "block5_pool",
         "pooling": "flatten"},
        {**PLAIN, "layers": [WIDE, {"dropout": 0.5}, WIDE], "optimizer": "sgd", "learning_rate": 1e-4, "momentum": 0.9,
         "batch_size": 64, "epochs": 5},
    ),
    "mobilenetv2-average": (
        "004",
        {"source": "mobilenetv2", "image_size": (160, 160), "cut": "out_relu", "pooling": "avg"},
        {**PLAIN, "layers": [{"dropout": 0.2}], "optimizer": "adam", "learning_rate": 1e-4, "batch_size": 32,
         "epochs": 10},
    ),
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a file and give its path."""

    def write(content: str | bytes, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load(path)
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    assert str(path) in message
    return message.replace(str(path), path.name)


# ---- those that are shipped -----------------------------------------------------------------------------------------


def test_the_five_recipes_are_there() -> None:
    assert set(recipe_files.names()) == set(SHIPPED)
    assert list(recipe_files.names()) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_does_what_its_document_does(name: str) -> None:
    document, fields, options = SHIPPED[name]
    found = find(name)
    assert (found.name, found.document) == (name, document)
    assert found.recipe == Recipe(**fields, head="dense", head_options=options, fine_tune="off")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_names_what_there_is(name: str) -> None:
    recipe = find(name).recipe
    assert sources.find(recipe.source).name == recipe.source
    assert dense.shape(3, recipe.head_options)[-1]["units"] == 3
    assert len(dense.notes(2, recipe.head_options)) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_is_a_text_to_be_read_anywhere(name: str) -> None:
    found = find(name)
    assert found.text == (FOLDER / f"{name}.yaml").read_text("utf-8")
    assert found.text.isascii(), "some terminals and shells cannot print anything else"
    assert max(map(len, found.text.splitlines())) <= 120
    assert found.text.count("#") > 15
    assert 20 < len(found.summary) < 78
    assert f"headstart recipes run {name}" in found.text or f"headstart recipes show {name} > mine.yaml" in found.text


def test_the_pair_differs_in_the_dropout_alone() -> None:
    plain, dropout = (find(name).recipe.as_dict() for name in ("inceptionv3-mixed7", "inceptionv3-mixed7-dropout"))
    assert dropout["head_options"]["layers"].pop() == {"dropout": 0.2}
    assert plain == dropout


# ---- how a file is read ---------------------------------------------------------------------------------------------


def test_yaml_is_1_2(file: Any) -> None:
    path = file("fine_tune: off\ncut: no\nhead: dense\nhead_options: {learning_rate: 1e-4, epochs: 0o17}\n")
    recipe = load(path).recipe
    assert (recipe.fine_tune, recipe.cut) == ("off", "no")
    assert recipe.head_options == {"learning_rate": 1e-4, "epochs": 15}


def test_what_a_file_says_of_itself_is_no_field_of_the_recipe(file: Any) -> None:
    found = load(file("document: mine\nsummary: of my own\nseed: 3\n"))
    assert (found.name, found.document, found.summary) == ("mine", "mine", "of my own")
    assert found.recipe == Recipe(seed=3)
    assert load(file("seed: 3\nsummary:\n")).summary == ""


def test_json_is_yaml(file: Any) -> None:
    recipe = Recipe(source="vgg16", image_size=(64, 96), head="dense", head_options={"layers": [{"dropout": 0.2}]})
    for indent in (None, 1, "\t"):
        assert load(file(json.dumps(recipe.as_dict(), indent=indent), "mine.json")).recipe == recipe


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_shells_and_editors_write_is_read(file: Any, encoding: str) -> None:
    path = file('# größer\r\nsource: "vgg16"\r\naugment:\r\n  zoom: 0.2\r\n'.encode(encoding))
    assert load(path).recipe == Recipe(source="vgg16", augment={"zoom": 0.2})


def test_keys_are_text_as_in_json(file: Any) -> None:
    path = file("head: dense\ncallbacks:\n- LearningRateScheduler: {schedule: {0: 1.0e-3, 5: 1.0e-4}}\n")
    told = [{"LearningRateScheduler": {"schedule": {"0": 1e-3, "5": 1e-4}}}]
    assert load(path).recipe.as_dict()["callbacks"] == told


ODD_WORDS = [
    "\x85",
    "é",
    "off",
    "null",
    "~",
    "1e-4",
    "12",
    "0x1F",
    "true",
    "2020-01-01",
    "",
    " a",
    "a: b",
    "#",
    "&a",
    "*a",
    "!a",
    "é",
]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_comes_back_from_its_text(name: str, file: Any) -> None:
    recipe = find(name).recipe
    assert load(file(as_text(recipe))).recipe == recipe


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Recipe, source=st.text(), cut=st.sampled_from(ODD_WORDS), seed=st.integers(0, 2**32 - 1),
        holdout=st.floats(0.05, 0.5), max_bad=st.floats(0, 1), image_size=st.none() | st.just((32, 64)),
        head=st.just("linear"), head_options=st.just({}) | st.builds(dict, strength=st.floats(1e-300, 1e6)),
    )
)  # fmt: skip
def test_any_recipe_comes_back_from_its_text(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(as_text(recipe), "utf-8", newline="")
    assert load(path).recipe == recipe


def test_fields_keep_their_order() -> None:
    told = [line.split(":")[0] for line in as_text(Recipe()).splitlines()]
    assert told == list(Recipe().as_dict())


def test_letters_of_all_languages_stay_readable() -> None:
    assert "weights: größer.h5\n" in as_text(Recipe(weights="größer.h5"))


# ---- names and files ------------------------------------------------------------------------------------------------


def test_a_name_goes_before_a_file_and_a_path_does_not(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = file("seed: 3", "vgg16-dense").parent
    monkeypatch.chdir(folder)
    assert find("vgg16-dense").path.parent == FOLDER
    assert find("./vgg16-dense").recipe == find(folder / "vgg16-dense").recipe == Recipe(seed=3)
    file("seed: 4", "other")
    assert find("other").recipe == Recipe(seed=4)


def test_a_misspelt_name_gets_its_near_match(tmp_path: Path, file: Any) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'vgg16-dens'.*there is inceptionv3.*Did you mean vgg16-dense\?$"):
        find("vgg16-dens")
    file("seed: 3", "mine.yaml")
    with pytest.raises(RecipeError, match=r"there is no recipe file .*mien\.yaml\. Did you mean mine\.yaml\?$"):
        find(tmp_path / "mien.yaml")
    with pytest.raises(RecipeError, match=r"there is no recipe file .*Did you mean vgg16-dense\?$"):
        find("vgg16-dense.yaml")
    with pytest.raises(RecipeError, match="is a folder"):
        find(tmp_path)
    with pytest.raises(RecipeError, match="there is no recipe file"):
        find(tmp_path / "mine.yaml" / "below.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        find("nul\0.yaml")


# ---- what is refused, and where it stands ---------------------------------------------------------------------------

HEAD = "head: dense\nhead_options:\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# mine\nsource: vgg16\nhed: dense\n", r"line 3: a recipe has no field 'hed'.*Did you mean head\?"),
        ("sumary: x\n", r"line 1: .*Did you mean summary\?"),
        ("seed: 1\n\n\nholdout: 0.9\n", r"line 4: holdout must lie between 0.05 and 0.5; got 0.9"),
        ("weights:\n", "line 1: weights must be text; got None"),
        ("views: liv\naugment: flip\n", r"line 1: views is auto, live or a number; got 'liv'\. Did you mean live\?"),
        ("seed: 1\nhead: dens\n", r"line 2: unknown head 'dens'.*Did you mean dense\?"),
        ("seed: 1\nhead_options: [1]\n", r"line 2: head_options must be a mapping; got \[1\]"),
        (HEAD + "  layers: []\n  epoch: 3\n", r"line 4: the dense head has no option 'epoch'.*Did you mean epochs\?"),
        (HEAD + "  epochs: 3\n  optimizer: adm\n", r"line 4: optimizer .*got 'adm'\. Did you mean adam\?"),
        (HEAD + "  layers:\n  - dense: 3\n  - dropout: 2\n", "line 5: dropout of the dense head must lie between"),
        (HEAD + "  layers:\n  - dense: 3\n    activatoin: relu\n", r"line 4: .*Did you mean activation\?"),
        ("head_options:\n  epochs: 3\n", "line 2: the linear head has no option 'epochs'"),
        ("augment:\n  zoom: 0.2\n  rotaton: 3\n", r"line 3: augment has no parameter 'rotaton'.*mean rotation\?"),
        ("augment:\n  zoom: 0.2\n  rotation: 300\n", r"line 3: rotation must lie between 0 and 180; got 300\.\nIt is"),
        ("augment: flp\n", r"line 1: augment 'flp' is not known.*Did you mean flip\?"),
        ("head: dense\ncallbacks:\n- EarlyStopping: {}\n- EarlyStoping: {}\n", r"line 4: .*Did you mean EarlyStopping"),
        ("callbacks:\n- EarlyStopping: {patienc: 3}\n", r"line 2: .*'patienc'.*Did you mean patience\?"),
        ("seed: 1\ncallbacks:\n- word\n", "line 3: a callback is one name with its arguments"),
        ("seed: 1\ncallbacks: {}\n", "line 2: callbacks is a list"),
        ("seed: 1\ndocument: 4\n", "line 2: document is text, and 4 is none; put it in quotes"),
        ("1: 2\n", "line 1: a recipe has no field '1'"),
        ("holdout: .nan\n", "line 1: holdout must lie between 0.05 and 0.5; got nan"),
        ("weights: a\nviews: " + "x" * 4000, "line 2: views is auto, live or a number; got 'xxx"),
    ],
)
def test_a_fault_is_told_with_its_line(file: Any, text: str, message: str) -> None:
    told = refusal(file(text))
    assert re.search(message, told, re.DOTALL), told
    assert told.startswith("mine.yaml, line ")
    assert len(told) < 2000


def test_callbacks_are_looked_at_in_their_order(file: Any) -> None:
    """A checkpoint may be named after the rate that a callback before it sets."""
    line = "- ModelCheckpoint: {filepath: '{learning_rate}.keras'}\n"
    schedule = "- LearningRateScheduler: {factor: 0.9}\n"
    assert len(load(file("head: dense\ncallbacks:\n" + schedule + line)).recipe.callbacks) == 2
    assert "line 3" in refusal(file("head: dense\ncallbacks:\n" + line + schedule))


def test_a_recipe_is_read_where_it_could_not_run(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("TensorBoard", "tensorboard")

    monkeypatch.setattr(callback_arguments, "check_tensorboard", missing)
    assert load(file("head: dense\ncallbacks:\n- TensorBoard: {}\n")).recipe.callbacks == ({"TensorBoard": {}},)


HOSTILE = {
    "twice": ("seed: 1\nseed: 2\n", "line 2: 'seed' is there twice"),
    "twice inside": ("augment: {zoom: 0.1, zoom: 0.2}", "line 1: 'zoom' is there twice"),
    "laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "line 1: anchors and aliases"),
    "itself": ("&a [*a]", "line 1: anchors"),
    "merge": ("<<: {seed: 1}\n", "line 1: the name of a field is text"),
    "python": ("seed: 1\nsource: !!python/object/apply:os.system [echo]\n", "line 2: tags .*are not read"),
    "python key": ("!!python/name:os.system x: 1\n", "line 1: tags"),
    "tag": ("source: !mine x\n", "line 1: tags"),
    "set": ("source: !!set {a, b}\n", "line 1: tags"),
    "deep": ("a: " + "[" * 50_000, "line 1: no recipe is as deep"),
    "deep lines": ("".join(" " * i + "a:\n" for i in range(500)), "line 17: no recipe is as deep"),
    "many": ("{" + "a," * 300_000 + "}", "line 1: no recipe is as deep or as long"),
    "long": ("source: " + "x" * 500_000, "line 1: no recipe is as deep or as long"),
    "long number": ("seed: " + "9" * 5_000, "line 1: no recipe is as deep or as long"),
    "hexadecimal": ("seed: 0x" + "f" * 4000, "line 1: no number in a recipe is as long"),
    "in sixties": ("%YAML 1.1\n---\nholdout: 1" + ":59" * 1300 + ".5", "line 3: no number in a recipe is as long"),
    "numbers": ("- 0x" + "f" * 4000, "line 1: no number in a recipe is as long"),
    "no letter": ('seed: 1\nsource: "\\UFFFFFFFF"', "not sound YAML"),
    "large": ("#" * (MAX_BYTES + 1), "is larger than 1 MiB"),
    "list": ("- seed: 1\n", "a recipe is a mapping of fields"),
    "word": ("mobilenetv2\n", "holds 'mobilenetv2'; a recipe is a mapping"),
    "empty": ("", "holds nothing"),
    "comments": ("# nothing\n", "holds nothing"),
    "two": ("seed: 1\n---\nseed: 2\n", "line 2: this is not sound YAML"),
    "colons": ("seed: 1: 2\n", "line 1: this is not sound YAML: mapping values are not allowed here"),
    "open": ("seed: 1\naugment: {zoom: 1", "line 2: this is not sound YAML"),
    "tab": ("augment:\n\tzoom: 1", "line 2: this is not sound YAML"),
    "list as key": ("? [a, b]\n: 1\n", "line 1: the name of a field is text"),
    "mapping as key": ("? {a: b}\n: 1\n", "line 1: the name of a field is text"),
    "nul": ("seed: \0", "not sound YAML"),
    "bell": ("seed: \a", "not sound YAML"),
    "version": ("%YAML 9.9\n---\nseed: 1\n", "not sound YAML"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0", "is not text in UTF-8"),
    "surrogate": (b"seed: \xed\xa0\x80", "is not text in UTF-8"),
    "half of utf-16": (b"\xff\xfea", "is not text in UTF-8"),
    "zip": (b"PK\x03\x04 and no more", "is no whole .keras file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_file_is_refused_in_a_few_words(file: Any, kind: str) -> None:
    content, message = HOSTILE[kind]
    told = refusal(file(content))
    assert re.search(message, told), told
    assert len(told) < 300
    assert told.count("mine.yaml") == 1


# ---- models ---------------------------------------------------------------------------------------------------------


def test_a_model_is_a_recipe_too(trained: TrainResult, file: Any) -> None:
    found = find(str(trained.model))
    assert found.recipe == trained.recipe
    again = load(file(found.text))
    assert again.recipe == trained.recipe
    assert "run that made this model" in again.summary


def model(path: Path, facts: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, facts if isinstance(facts, str) else json.dumps(facts))
    return path


SOUND = {"format": 1, "classes": ["a", "b"], "image_size": [32, 32]}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (SOUND, "holds no recipe"),
        ({**SOUND, "recipe": "linear"}, "holds no recipe"),
        ({**SOUND, "recipe": {"hed": "x"}}, r"model\.keras: a recipe has no field 'hed'.*Did you mean head\?"),
        ({**SOUND, "recipe": {"seed": -1}}, r"model\.keras: seed must lie between"),
        ({"classes": []}, "headstart format None"),
        ("[" * 200_000, "is no whole .keras file"),
        ({**SOUND, "recipe": {"source": "x" * 5000}}, "no recipe is as deep or as long"),
    ],
)
def test_a_model_without_a_sound_recipe_is_refused(tmp_path: Path, facts: Any, message: str) -> None:
    told = refusal(model(tmp_path / "model.keras", facts))
    assert re.search(message, told), told


def test_a_models_recipe_may_name_places_of_another_machine(tmp_path: Path) -> None:
    recipe = {"head": "dense", "callbacks": [{"CSVLogger": {"filename": str(tmp_path / "none" / "epochs.csv")}}]}
    assert load(model(tmp_path / "model.keras", {**SOUND, "recipe": recipe})).recipe.callbacks
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    assert "there is no folder" in refusal(tmp_path / "mine.yaml")
