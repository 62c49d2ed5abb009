"""What a source consists of: Keras is asked directly for the truth."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import SourceError
from headstart.summary import LayerFacts, Summary, summarise
from headstart.worker import Worker

SMALL = {"image_size": (64, 64), "cut": "conv_pw_5_relu"}


@pytest.fixture(scope="module")
def small(worker: Worker) -> Summary:
    return summarise("mobilenet_0.25", worker, **SMALL)


def keras_layers(name: str, side: int, **arguments: Any) -> dict[str, Any]:
    """The layers of Keras's own network."""
    import keras

    from headstart.sources._graph import fresh_names

    with fresh_names():
        model = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=(side, side, 3), **arguments
        )
    return {layer.name: layer for layer in model.layers if type(layer).__name__ != "InputLayer"}


@pytest.mark.parametrize(
    ("source", "side", "cut", "shape", "theirs"),
    [
        ("mobilenet_0.25", 64, None, (2, 2, 256), ("MobileNet", {"alpha": 0.25})),
        ("mobilenetv2", 160, "out_relu", (5, 5, 1280), ("MobileNetV2", {})),
        ("inceptionv3", 150, "mixed7", (7, 7, 768), ("InceptionV3", {})),
    ],
)
def test_layers_are_those_of_keras(
    source: str, side: int, cut: str | None, shape: tuple[int, ...], theirs: tuple[str, dict[str, Any]], worker: Worker
) -> None:
    name, arguments = theirs
    expected = keras_layers(name, side, **arguments)
    seen = summarise(source, worker, image_size=(side, side), cut=cut)
    assert seen.cut.shape == shape
    own = {"image", "preprocessing"}  # what headstart puts before the network
    came = {layer.name: layer for layer in (*seen.layers, *seen.beyond) if layer.name not in own}
    assert list(came) == list(expected)
    for layer_name, layer in expected.items():
        facts = came[layer_name]
        assert (facts.kind, facts.parameters) == (type(layer).__name__, layer.count_params())
        assert facts.shape == tuple(layer.output.shape[1:])
    # Keras lists layers by depth, so what the cut needs comes before it.
    assert seen.layers[-1] == seen.cut
    before = list(expected)[: list(expected).index(seen.cut.name) + 1]
    assert [layer.name for layer in seen if layer.name not in own] == before
    assert seen.parameters == sum(expected[name].count_params() for name in before)


def test_a_trunk_is_frozen_and_ends_at_its_cut(small: Summary) -> None:
    assert small.trainable_parameters == 0
    assert small.parameters == sum(layer.parameters for layer in small) > 0
    assert not any(layer.trainable for layer in small)
    assert len(small) == len(list(small)) == len(small.layers)
    assert all(layer.used for layer in small.layers)
    assert not any(layer.used for layer in small.beyond)
    assert small.layers[0].name == "image"
    assert [layer.name for layer in small if layer.block_end][-2:] == ["conv_pw_4_relu", "conv_pw_5_relu"]
    assert small.beyond[0].name == "conv_pad_6"


def test_any_layer_is_found_by_name_also_above_the_cut(small: Summary) -> None:
    assert small.layer("conv_pw_5_relu") is small.cut
    assert str(small.layer("conv1")) == "conv1: 32 × 32 × 8 (Conv2D, 216 parameters, frozen)"
    assert str(small.layer("conv_pw_13_relu")) == (
        "conv_pw_13_relu: 2 × 2 × 256 (ReLU, 0 parameters, above the cut, not used)"
    )
    with pytest.raises(SourceError) as caught:
        small.layer("conv_pw5_relu")
    assert "mobilenet_0.25 has no layer named 'conv_pw5_relu' (of 87). Did you mean conv_pw_5_relu" in str(caught.value)
    assert "conv_pw_13_relu 2×2×256" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_it_prints_in_80_columns(small: Summary) -> None:
    lines = str(small).splitlines()
    assert lines[0] == "mobilenet_0.25 at 64 × 64 pixels, cut at conv_pw_5_relu: 8 × 8 × 64"
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["layer", "kind", "output", "params", "trainable"]
    rows = lines[3 : lines.index("", 3)]
    assert len(rows) == len(small)
    assert rows[-1].split() == [">", "conv_pw_5_relu", "ReLU", "8×8×64", "0", "no"]
    assert [row[2:].split()[0] for row in rows if row[0] == "*"] == [f"conv_pw_{n}_relu" for n in range(1, 5)]
    total = f"{small.parameters:,}"
    assert f"{total} parameters: 0 trainable, {total} not trainable" in lines
    assert "cut at conv_pw_5_relu: 50 layers above it are not used" in lines


def test_a_name_too_long_for_its_column_stays_whole(small: Summary) -> None:
    long = dataclasses.replace(small.layers[2], name="a_layer_" * 8)
    text = str(dataclasses.replace(small, layers=(*small.layers[:2], long, small.cut), beyond=()))
    assert max(map(len, text.splitlines())) <= 80
    at = text.splitlines().index(f"  {long.name}")
    assert text.splitlines()[at + 1].split() == [long.kind, "32×32×8", "216", "no"]
    columns = {
        line.index(kind) for line, kind in ((text.splitlines()[at + 1], long.kind), (text.splitlines()[3], "Inp"))
    }
    assert len(columns) == 1


def test_a_notebook_shows_every_layer_and_is_safe(small: Summary) -> None:
    html = small._repr_html_()
    assert re.findall(r"<tr><td>(?:&gt;|\*| ) (?:<b>)?([^<]+)", html) == [layer.name for layer in small]
    assert "<b>conv_pw_5_relu</b>" in html
    odd = dataclasses.replace(small.cut, name="<script>", kind="<b>")
    html = Summary("<i>", (8, 8), odd, (odd,))._repr_html_()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;" in html


def test_rows_are_plain_data(small: Summary) -> None:
    told = json.loads(json.dumps(small.as_dict()))
    assert told["cut"]["shape"] == [8, 8, 64]
    assert told["parameters"] == {
        "total": small.parameters, "trainable": 0, "non_trainable": small.parameters,
    }  # fmt: skip
    assert len(told["layers"]) == 87
    assert LayerFacts(**{**told["layers"][5], "shape": tuple(told["layers"][5]["shape"])}) == small.layers[5]
    assert sum(layer["used"] for layer in told["layers"]) == len(small)


def test_no_weights_are_fetched(worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []
    submit = worker.submit
    monkeypatch.setattr(worker, "submit", lambda job, **given: (asked.append(given), submit(job, **given))[1])
    assert summarise("mobilenet_0.25", worker, **SMALL, weights="imagenet").cut.name == "conv_pw_5_relu"
    assert [given["spec"]["weights"] for given in asked] == ["random"]


def test_what_cannot_be_is_refused(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Did you mean conv_pw_5_relu"):
        summarise("mobilenet_0.25", worker, image_size=(64, 64), cut="conv_pw5_relu")
    with pytest.raises(SourceError, match="at least 32 pixels"):
        summarise("mobilenet_0.25", worker, image_size=(16, 16))
    with pytest.raises(SourceError, match="There is no file of weights"):
        summarise("mobilenet_0.25", worker, image_size=(64, 64), weights=str(tmp_path / "none.h5"))
    with pytest.raises(SourceError, match="no source named"):
        summarise("no_such_source", worker)


def test_weights_of_another_network_are_refused(shared: Path, worker: Worker) -> None:
    file = shared / "weights/mobilenet_2_5_224_tf_no_top.h5"
    if not file.is_file():
        pytest.skip(f"no weights at {file}")
    assert summarise("mobilenet_0.25", worker, **SMALL, weights=str(file)).cut.shape == (8, 8, 64)
    with pytest.raises(SourceError, match=r"It fits mobilenet_0\.25"):
        summarise("mobilenet_0.5", worker, **SMALL, weights=str(file))


def test_a_layer_that_is_used_twice_is_shown_but_no_cut(worker: Worker, tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3))
    twice = keras.layers.Conv2D(3, 1, name="twice")
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="last")(twice(twice(image))))
    model.save(tmp_path / "own.keras")
    seen = summarise(str(tmp_path / "own.keras"), worker)
    assert (seen.cut.name, seen.cut.shape) == ("last", (6, 6, 2))
    assert (seen.layer("twice").shape, seen.layer("twice").parameters) == ((8, 8, 3), 12)
    with pytest.raises(SourceError, match="used more than once"):
        summarise(str(tmp_path / "own.keras"), worker, cut="twice")
