"""The classifier file: hostile ones are refused, it is written whole, and plain Keras opens it."""

import base64
import json
import marshal
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headstart import classifier_file, heads, images, rejection, trunk
from headstart.classifier import Classifier
from headstart.classifier_file import MEMBER, fill, read_facts
from headstart.errors import ModelFileError
from headstart.heads import Layer

FACTS = {"format": 1, "classes": ["a", "b"], "image_size": [64, 64]}


def archive(path: Path, members: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


def with_facts(path: Path, facts: object) -> Path:
    return archive(path, {MEMBER: json.dumps(facts)})


def changed(path: Path, source: Path, **members: object) -> Path:
    """A copy of a classifier file with other members; JSON where it is no bytes."""
    with zipfile.ZipFile(source) as old:
        kept = {name: old.read(name) for name in old.namelist()}
    names = {"facts": MEMBER, "config": "config.json", "weights": "model.weights.h5"}
    for key, value in members.items():
        kept[names[key]] = value if isinstance(value, bytes) else json.dumps(value).encode()
    return archive(path, kept)


# ---- facts of hostile files -----------------------------------------------------------------------------------------


def _text(path: Path) -> None:
    path.write_text("this is no archive")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"classes": ["a", "b"]}))


def _truncated(path: Path) -> None:
    with_facts(path, FACTS)
    path.write_bytes(path.read_bytes()[:-30])


def _folder(path: Path) -> None:
    path.mkdir()


def _claims_much(path: Path) -> None:
    """Headers that promise 3 GiB for a member of a few bytes."""
    data = bytearray(with_facts(path, FACTS).read_bytes())
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.index(mark) + offset
        data[place : place + 4] = struct.pack("<I", 3 * 2**30)
    path.write_bytes(data)


def _unpacks_to_much(path: Path) -> None:
    archive(path, {MEMBER: b" " * (65 * 2**20) + json.dumps(FACTS).encode()}, zipfile.ZIP_DEFLATED)


def _damaged_stream(path: Path) -> None:
    archive(path, {MEMBER: json.dumps({**FACTS, "noise": list(range(2000))})}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[60:160] = bytes(100)
    path.write_bytes(data)


def _wrong_checksum(path: Path) -> None:
    data = with_facts(path, FACTS).read_bytes()
    path.write_bytes(data.replace(b'["a", "b"]', b'["a", "c"]'))


def _encrypted(path: Path) -> None:
    data = bytearray(with_facts(path, FACTS).read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)


def _nested(path: Path) -> None:
    archive(path, {MEMBER: "[" * 200_000})


def _not_utf8(path: Path) -> None:
    archive(path, {MEMBER: b'{"classes": "\xff\xfe\xff"}'})


HOSTILE = [
    _text, _empty, _pickled, _truncated, _folder, _claims_much, _unpacks_to_much, _damaged_stream, _wrong_checksum,
    _encrypted, _nested, _not_utf8,
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__.strip("_"))
def test_a_hostile_file_is_refused_by_name(make, tmp_path):
    path = tmp_path / "hostile.keras"
    make(path)
    with pytest.raises(ModelFileError) as caught:
        read_facts(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "facts",
    [
        [], "text", None, 3, {}, {**FACTS, "format": 2}, {**FACTS, "format": "1"}, {**FACTS, "classes": "ab"},
        {**FACTS, "classes": ["a"]}, {**FACTS, "classes": ["a", 1]}, {**FACTS, "classes": ["a", "a"]},
        {**FACTS, "classes": None}, {**FACTS, "image_size": 64}, {**FACTS, "image_size": [64]},
        {**FACTS, "image_size": [0, 64]}, {**FACTS, "image_size": [64, 10**9]}, {**FACTS, "image_size": [64.5, 64]},
        {**FACTS, "image_size": [True, 64]},
    ],
)  # fmt: skip
def test_facts_of_the_wrong_kind_are_refused(facts, tmp_path):
    with pytest.raises(ModelFileError, match=r"format|damaged"):
        read_facts(with_facts(tmp_path / "a.keras", facts))


def test_sound_facts_are_read(tmp_path):
    assert read_facts(with_facts(tmp_path / "a.keras", FACTS)) == FACTS


def test_a_missing_file_and_a_model_of_keras_alone_say_what_to_do(tmp_path):
    with pytest.raises(ModelFileError, match=r"there is no file .*headstart train -o"):
        read_facts(tmp_path / "none.keras")
    other = archive(tmp_path / "other.keras", {"config.json": "{}", "model.weights.h5": b""})
    with pytest.raises(ModelFileError, match=r"none that headstart wrote.\nTrain from it with: headstart train PHOTOS"):
        read_facts(other)


# ---- models of hostile files ----------------------------------------------------------------------------------------


def _lambda(target: Path) -> dict[str, object]:
    code = eval(f"lambda values: open({str(target)!r}, 'w') and values").__code__
    coded = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": coded, "defaults": None, "closure": None}}
    return {"module": "keras.layers", "class_name": "Lambda", "registered_name": None, "config": {"function": function}}


def _process(target: Path) -> dict[str, object]:
    config = {"args": ["touch", str(target)]}
    return {"module": "subprocess", "class_name": "Popen", "registered_name": None, "config": config}


@pytest.mark.slow
@pytest.mark.parametrize("layer", [_lambda, _process])
def test_code_inside_a_model_is_not_run(layer, trained, worker, tmp_path):
    with zipfile.ZipFile(trained.model) as file:
        config = json.loads(file.read("config.json"))
    victim = next(entry for entry in config["config"]["layers"] if entry["class_name"] == "ReLU")
    planted = layer(tmp_path / "was-here")
    planted["config"].setdefault("name", victim["config"]["name"])
    victim.update(planted)
    hostile = changed(tmp_path / "hostile.keras", trained.model, config=config)
    with pytest.raises(ModelFileError, match="Keras cannot open"):
        worker.call("compiling:compile_classifier", folder=str(tmp_path / "c"), path=str(hostile), engine="openvino")
    assert not (tmp_path / "was-here").exists()
    assert not (tmp_path / "c").exists()


EMPTY = {"module": "keras", "class_name": "Sequential", "config": {"layers": []}, "registered_name": None}


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [{"config": b"not JSON"}, {"config": {}}, {"weights": b"no HDF5"}, {"config": EMPTY}],
    ids=["config-text", "config-empty", "weights-text", "no-layers"],
)
def test_a_damaged_model_is_refused(members, trained, worker, tmp_path):
    hostile = changed(tmp_path / "hostile.keras", trained.model, **members)
    with pytest.raises(ModelFileError):
        worker.call("compiling:compile_classifier", folder=str(tmp_path / "c"), path=str(hostile), engine="openvino")


@pytest.mark.slow
def test_a_head_of_another_size_than_the_classes_is_refused(trained, f32, tmp_path):
    facts = {**read_facts(trained.model), "classes": ["a", "b", "c", "d"]}
    hostile = changed(tmp_path / "hostile.keras", trained.model, facts=facts)
    with pytest.raises(ModelFileError, match=r"names 4 classes, but its last layer has 3 units"):
        Classifier.load(hostile)


# ---- writing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def blank(trained):
    return trained.classifier.blank.result()


def test_filling_a_blank_that_fails_leaves_the_old_file_whole(trained, blank, tmp_path, monkeypatch):
    target = tmp_path / "model.keras"
    fill(blank, trained.head.layers, FACTS, target)
    before = target.read_bytes()
    written = []
    write = zipfile.ZipFile.writestr

    def interrupted(self, name, data, *rest):
        written.append(name)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write(self, name, data, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(blank, trained.head.layers, {**FACTS, "classes": ["x", "y"]}, target)
    assert len(written) == 3
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_head_that_does_not_fit_the_blank_is_not_written(trained, blank, tmp_path):
    short = [Layer(layer.kernel[:-1], layer.bias, layer.activation) for layer in trained.head.layers]
    with pytest.raises((TypeError, ValueError)):
        fill(blank, short, FACTS, tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


def test_the_blank_is_not_changed_by_filling_it(trained, blank, tmp_path):
    before = blank.read_bytes()
    fill(blank, trained.head.layers, FACTS, tmp_path / "model.keras")
    assert blank.read_bytes() == before


def test_two_heads_of_one_shape_share_a_blank(trained):
    recipe = trained.recipe
    wanted = trunk.spec(recipe.source, image_size=recipe.image_size, weights=recipe.weights)
    shape = heads.find("linear").shape(3, {})
    asked = []

    class Nobody:
        def submit(self, _, **arguments):
            asked.append(arguments["head"])
            raise LookupError

    outputs = trained.choice.chosen.outputs
    again = classifier_file.blank(wanted, outputs, shape, Nobody())
    assert again.result() == trained.classifier.blank.result()
    with pytest.raises(LookupError):
        classifier_file.blank(wanted, outputs, heads.find("linear").shape(4, {}), Nobody())
    assert [layers[-1]["units"] for layers in asked] == [4]


def test_the_facts_tell_what_the_file_is(trained):
    facts = read_facts(trained.model)
    assert facts["classes"] == ["global", "local", "nominal"]
    assert facts["image_size"] == [64, 64]
    assert facts["recipe"] == trained.recipe.as_dict()
    assert facts["evaluation"]["accuracy"]["n"] == trained.accuracy.n
    assert facts["provenance"]["data"] == trained.dataset.digest
    assert facts["preprocessing"]["inside_the_model"] is True


# ---- plain Keras ----------------------------------------------------------------------------------------------------

PLAIN = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "headstart":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
try:
    import headstart
except ModuleNotFoundError:
    pass
else:
    sys.exit("headstart could be imported")
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], safe_mode=True)
pixels = np.load(sys.argv[2])
features = keras.Model(model.inputs, model.get_layer("predictions").input)
np.savez(sys.argv[3], model.predict(pixels, verbose=0), features.predict(pixels, verbose=0))
print(keras.backend.backend(), model.input_shape, model.output_shape)
assert not any(name.split(".")[0] == "headstart" for name in sys.modules)
"""


def _plain_keras(model: Path, pixels: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Probabilities, the features they stand on, and what was printed."""
    np.save(folder / "pixels.npy", pixels)
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(model), str(folder / "pixels.npy"), str(folder / "out.npz")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        return arrays["arr_0"], arrays["arr_1"], done.stdout


@pytest.mark.slow
def test_plain_keras_gives_the_same_probabilities_where_headstart_cannot_be_imported(
    trained, tiny_dataset, f32, tmp_path
):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'headstart[cpu]'")
    paths = [tiny_dataset.path(row) for row in range(len(tiny_dataset))]
    pixels = np.stack([images.read(path, (64, 64)) for path in paths])
    assert pixels.max() > 200, "the pictures are not 0 to 255"
    theirs, features, said = _plain_keras(trained.model, pixels, tmp_path)
    assert said.strip() == "tensorflow (None, 64, 64, 3) (None, 3)"
    classifier = Classifier.load(trained.model)
    answers = classifier.predict(paths)
    named = np.array([[answer.probabilities[name] for name in classifier.class_names] for answer in answers])
    assert named.std(axis=0).min() > 0.05, "the classifier says the same of every picture"
    assert [answer.label for answer in answers] == [classifier.class_names[best] for best in theirs.argmax(axis=1)]
    np.testing.assert_allclose(heads.apply(classifier.layers, features), theirs, atol=1e-5)
    np.testing.assert_allclose(named, theirs, rtol=0, atol=1e-4)


def test_the_file_holds_built_in_layers_alone(trained):
    with zipfile.ZipFile(trained.model) as file:
        config = json.loads(file.read("config.json"))
        assert set(file.namelist()) == {"config.json", "metadata.json", "model.weights.h5", MEMBER, rejection.MEMBER}
    seen = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "class_name" in value and "module" in value:
                seen.append(value["class_name"])
                assert str(value["module"]).split(".")[0] in ("keras", "builtins"), value["module"]
                assert value.get("registered_name") in (None, value["class_name"]), value["registered_name"]
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(config)
    assert "Conv2D" in seen
    assert "Lambda" not in seen
