"""Files of weights: the real ones, both layouts, every wrong pairing, and hostile files."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import h5py
import numpy as np
import pytest

from headstart import sources as S
from headstart.errors import DownloadError, SourceError
from headstart.sources import _graph, _weights

FOLDER = Path(__file__).parents[1] / "../shared/weights"
REAL = {
    "mobilenetv2": ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5", 160),
    "inceptionv3": ("inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", 150),
    "mobilenet_0.25": ("mobilenet_2_5_224_tf_no_top.h5", 224),
}
needs_real = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the weights in ../shared")
SOURCE = S.find("mobilenet_0.25")


# ---- the real files


@needs_real
@pytest.mark.parametrize("name", REAL)
def test_real_file_loads_as_keras_loads_it(name: str) -> None:
    import keras

    file, side = REAL[name]
    source = S.find(name)
    ours = S.build(source, image_size=(side, side), weights=FOLDER / file)
    make = getattr(keras.applications, str(source.variant["function"]))
    theirs = make(include_top=False, weights=None, input_shape=(side, side, 3), **source.variant["arguments"])
    theirs.load_weights(FOLDER / file)
    for came, want in zip(_graph.weights_of(ours), _graph.weights_of(theirs), strict=True):
        np.testing.assert_array_equal(came, want)


@needs_real
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("other", REAL)
def test_wrong_pairing_names_the_right_source(name: str, other: str) -> None:
    if name == other:
        return
    file, side = REAL[other][0], REAL[name][1]
    with pytest.raises(SourceError) as caught:
        S.build(S.find(name), image_size=(side, side), weights=FOLDER / file)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert lines[0].startswith(f"{file} does not fit {name}: ")
    assert "the layer '" in lines[0]
    assert lines[-1] == f"It fits {other}: use --source {other}."


@needs_real
def test_another_width_of_the_same_network() -> None:
    with pytest.raises(SourceError, match=r"\(3, 3, 3, 16\), the file has \(3, 3, 3, 8\)") as caught:
        S.build(S.find("mobilenet_0.5"), image_size=(32, 32), weights=FOLDER / REAL["mobilenet_0.25"][0])
    assert "use --source mobilenet_0.25" in str(caught.value)


@needs_real
def test_imagenet_weights_are_asked_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import keras

    asked: dict[str, Any] = {}

    def fetch(name: str, url: str, **options: Any) -> str:
        asked.update(options, name=name, url=url)
        return shutil.copy(FOLDER / REAL["mobilenet_0.25"][0], tmp_path / name)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", fetch)
    model = S.build(SOURCE, image_size=(224, 224))
    assert asked["name"] == REAL["mobilenet_0.25"][0] + ".part"
    assert [path.name for path in tmp_path.iterdir()] == [REAL["mobilenet_0.25"][0]], "renamed once it is whole"
    assert asked["url"].startswith("https://")
    assert asked["cache_subdir"] == "models"
    local = S.build(SOURCE, image_size=(224, 224), weights=FOLDER / REAL["mobilenet_0.25"][0])
    np.testing.assert_array_equal(
        _graph.weights_of(model.get_layer("conv1"))[0], _graph.weights_of(local.get_layer("conv1"))[0]
    )


# ---- fetched by Keras, from a server on this machine


@pytest.fixture(scope="module")
def weights_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "a.weights.h5"
    S.build(SOURCE, image_size=(32, 32), weights="random", seed=5).save_weights(path)
    return path.read_bytes()


@pytest.fixture
def served(weights_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., S.Source]]:
    """Gives the source with its weights on a server that answers as told; Keras keeps files in `tmp_path`."""
    from keras.src.utils import file_utils

    answers: dict[str, tuple[int, bytes]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(weights_bytes)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()

    def source(body: bytes = weights_bytes, *, status: int = 200) -> S.Source:
        answers["/w.h5"] = status, body
        digest = hashlib.sha256(weights_bytes).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/w.h5"
        files = {"any": {"file": "w.h5", "url": url, "hash": digest}}
        return dataclasses.replace(SOURCE, variant={**SOURCE.variant, "files": files})

    yield source
    server.shutdown()
    serving.join()
    server.server_close()


def test_weights_are_fetched_once_with_progress(
    served: Callable[..., S.Source], weights_bytes: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[dict[str, object]] = []
    monkeypatch.setattr("headstart.sources.keras_applications.report_progress", lambda **facts: told.append(facts))
    source = served()
    assert not S.is_here(source)
    model = S.build(source, image_size=(32, 32))
    assert capsys.readouterr().out == "", "stdout belongs to the answer"
    assert told[-1] == {"stage": "weights", "done": len(weights_bytes), "total": len(weights_bytes)}
    assert (tmp_path / "models/w.h5").read_bytes() == weights_bytes
    assert S.is_here(source)
    expected = S.build(SOURCE, image_size=(32, 32), weights="random", seed=5)
    np.testing.assert_array_equal(_graph.weights_of(model)[0], _graph.weights_of(expected)[0])
    S.build(served(status=500), image_size=(32, 32))  # not asked again


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda whole: {"body": whole[:-1] + bytes([whole[-1] ^ 1])}, "Incomplete or corrupted"),
        (lambda whole: {"body": whole[: len(whole) // 2]}, "retrieval incomplete"),
        (lambda _: {"body": b"", "status": 404}, "Not Found"),
    ],
    ids=["another file", "cut off", "not there"],
)
def test_what_is_not_the_whole_file_is_refused(
    answer: Callable[[bytes], dict[str, Any]], why: str, served: Callable[..., S.Source], weights_bytes: bytes
) -> None:
    with pytest.raises(DownloadError, match=why) as caught:
        S.build(source := served(**answer(weights_bytes)), image_size=(32, 32))
    assert not S.is_here(source), "what was left of it is not taken for the file"
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "from 127.0.0.1" in lines[0]
    assert "w.h5, give it with --weights FILE" in lines[1]
    assert "--source efficientnet_lite0" in lines[2]
    model = S.build(served(), image_size=(32, 32))
    assert np.any(_graph.weights_of(model)[0])


# ---- both layouts, on a small network


def network(*, filters: int = 4, top: bool = False, conv_top: bool = False) -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    x = layers.Conv2D(filters, 3, name="first")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(6, 3, name="second")(x)
    if conv_top:
        x = layers.Conv2D(5, 1, name="logits")(x)
    if top:
        x = layers.Dense(5, name="predictions")(layers.GlobalAveragePooling2D()(x))
    model = Model(image, x)
    _graph.randomise(model, 7)
    draw = np.random.default_rng(0)
    model.get_layer("norm").set_weights([draw.uniform(1, 2, filters).astype("float32") for _ in range(4)])
    return model


def blank(**options: Any) -> Any:
    model = network(**options)
    model.set_weights([np.zeros_like(value) for value in _graph.weights_of(model)])
    return model


def keras_value(variable: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(variable.value)


def legacy(model: Any, path: Path, *, inside: bool = False) -> Path:
    """The layout of Keras 1 and 2, written by hand."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if inside else file
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            variables = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{v.name}:0" for v in variables]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, variables, strict=True):
                group[name] = keras_value(variable)
    return path


def present(model: Any, path: Path) -> Path:
    model.save_weights(path)
    return path


def whole(model: Any, path: Path) -> Path:
    path = path.with_suffix(".keras")
    model.save(path)
    return path


def nested(model: Any, path: Path) -> Path:
    from keras import Sequential, layers

    return whole(Sequential([model, layers.Flatten(), layers.Dense(3)]), path)


def inside_model_weights(model: Any, path: Path) -> Path:
    return legacy(model, path, inside=True)


@pytest.mark.parametrize("write", [legacy, inside_model_weights, present, whole, nested])
@pytest.mark.parametrize("top", [False, True])
def test_every_layout_loads(write: Callable[[Any, Path], Path], top: bool, tmp_path: Path) -> None:
    if top and write is nested:
        return
    original = network(top=top)
    path = write(original, tmp_path / "a.weights.h5")
    model = blank()
    _weights.check(model, path)
    assert not np.any(_graph.weights_of(model.get_layer("first"))[0]), "check changes nothing"
    _weights.load(model, path, SOURCE)
    for came, want in zip(_graph.weights_of(model), _graph.weights_of(original), strict=False):
        np.testing.assert_array_equal(came, want)
    assert not np.array_equal(*_graph.weights_of(model.get_layer("norm"))[2:])


@pytest.mark.parametrize("write", [legacy, present, whole])
def test_a_file_that_does_not_fit(write: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    path = write(network(filters=5), tmp_path / "a.weights.h5")
    model = blank()
    with pytest.raises(SourceError, match=r"'first' is \(3, 3, 3, 4\), the file has \(3, 3, 3, 5\)"):
        _weights.load(model, path, SOURCE)
    assert not any(np.any(value) for value in _graph.weights_of(model)), "nothing is loaded in part"


@pytest.mark.parametrize("write", [legacy, present])
def test_missing_and_surplus_layers(write: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    small, large = network(), network(conv_top=True)
    with pytest.raises(SourceError, match=r"expected 4 \(next: 'logits'\)|nothing for the layer 'logits'"):
        _weights.check(large, write(small, tmp_path / "a.weights.h5"))
    with pytest.raises(SourceError, match=r"first the convolution '(logits|conv2d_1)'"):
        _weights.check(small, write(large, tmp_path / "b.weights.h5"))


def test_a_file_that_fits_nothing(tmp_path: Path) -> None:
    path = legacy(network(), tmp_path / "a.h5")
    with pytest.raises(SourceError, match="It fits no source known here"):
        S.build(SOURCE, image_size=(32, 32), weights=path)


def test_layer_names_in_pieces(tmp_path: Path) -> None:
    """Long lists of names are cut in pieces by Keras, since HDF5 limits an attribute's size."""
    original = network()
    path = legacy(original, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        names = list(file.attrs["layer_names"])
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:2], names[2:]
    model = blank()
    _weights.load(model, path, SOURCE)
    np.testing.assert_array_equal(_graph.weights_of(model)[0], _graph.weights_of(original)[0])


# ---- files that are damaged or hostile


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file of weights at"):
        _weights.check(network(), tmp_path / "none.h5")


@pytest.mark.parametrize("keep", [0, 7, 600, -500])
def test_cut_short(keep: int, tmp_path: Path) -> None:
    path = legacy(network(), tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match="cut short or of another kind"):
        _weights.check(network(), path)


def test_other_kinds_of_file(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "a.h5").write_text("weights")
    with pytest.raises(SourceError, match="another kind"):
        _weights.check(network(), tmp_path / "a.h5")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("other", "x")
    with pytest.raises(SourceError, match=r"without a member model\.weights\.h5"):
        _weights.check(network(), tmp_path / "b.keras")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["table"] = np.zeros(3)
    with pytest.raises(SourceError, match="without a Keras model's weights"):
        _weights.check(network(), tmp_path / "c.h5")


def external_link(group: Any, key: str, elsewhere: Path) -> None:
    group[key] = h5py.ExternalLink(str(elsewhere), "/first/first/kernel:0")


def soft_link(group: Any, key: str, _: Path) -> None:
    group[key] = h5py.SoftLink("/norm/norm/gamma:0")


def external_data(group: Any, key: str, elsewhere: Path) -> None:
    group.create_dataset(key, (3, 3, 3, 4), "f4", external=[(str(elsewhere), 0, h5py.h5f.UNLIMITED)])


def virtual_data(group: Any, key: str, elsewhere: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[...] = h5py.VirtualSource(str(elsewhere), "/first/first/kernel:0", (3, 3, 3, 4))
    group.create_virtual_dataset(key, layout)


def objects(group: Any, key: str, _: Path) -> None:
    group.create_dataset(key, (3, 3, 3, 4), h5py.string_dtype())


def a_group(group: Any, key: str, _: Path) -> None:
    group.create_group(key)


def nothing(*_: Any) -> None: ...


@pytest.mark.parametrize("put", [external_link, soft_link, external_data, virtual_data, objects, a_group, nothing])
def test_hostile_members(put: Callable[..., None], tmp_path: Path) -> None:
    elsewhere = legacy(network(), tmp_path / "other.h5")
    path = legacy(network(), tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["first/first/kernel:0"]
        put(file["first/first"], "kernel:0", elsewhere)
    model = blank()
    with pytest.raises(SourceError, match=r"is missing|is a link to elsewhere|not a plain dataset of numbers"):
        _weights.load(model, path, SOURCE)
    assert not any(np.any(value) for value in _graph.weights_of(model))


def test_a_shape_that_would_fill_the_memory_is_never_read(tmp_path: Path) -> None:
    path = legacy(network(), tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["first/first/kernel:0"]
        file["first/first"].create_dataset("kernel:0", (2**20, 2**20, 3, 4), "f4", chunks=(64, 64, 3, 4))
    with pytest.raises(SourceError, match=r"the file has \(1048576, 1048576, 3, 4\)"):
        _weights.load(blank(), path, SOURCE)


def test_a_damaged_chunk(tmp_path: Path) -> None:
    path = legacy(network(), tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        value = file["first/first/kernel:0"][()]
        del file["first/first/kernel:0"]
        data = file["first/first"].create_dataset("kernel:0", data=value, chunks=(3, 3, 3, 4), compression="gzip")
        chunk = data.id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="is damaged"):
        _weights.load(blank(), path, SOURCE)
