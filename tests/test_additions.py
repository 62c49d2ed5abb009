"""Beside a ranking: the best source on larger pictures, and several side by side, within what the race has paid."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart import additions, costs, offers, ranker
from headstart.contenders import contenders, joined_contender, larger_contender
from headstart.recipe import Recipe
from headstart.train import train

pytestmark = pytest.mark.usefixtures("f32")
SIDE, LARGER = 64, 96


def network(path: Path, channel: int | None = None) -> str:
    """A tiny network of its own size: it sees edges, or the brightness of one channel alone."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    rng = np.random.default_rng(0)
    shape = (3, 3, 3, 8) if channel is None else (1, 1, 3, 8)
    kernel = rng.normal(size=shape)
    if channel is not None:
        kernel[:, :, [other for other in range(3) if other != channel]] = 0
    first = keras.layers.Conv2D(8, shape[0], padding="same", activation="relu", name="first")
    second = keras.layers.Conv2D(8, 1, activation="relu", name="second")
    model = keras.Model(image, second(first(x)))
    first.set_weights([kernel, rng.normal(size=8) / 4])
    second.set_weights([rng.normal(size=(1, 1, 8, 8)), rng.normal(size=8) / 4])
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> str:
    return network(tmp_path_factory.mktemp("edges") / "edges.keras")


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("channels")
    return network(folder / "red.keras", 0), network(folder / "green.keras", 1)


def write(folder: Path, name: str, pixels: np.ndarray, number: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose classes differ by a pattern of single pixels, which is grey at a smaller size."""
    folder, rng = tmp_path_factory.mktemp("fine"), np.random.default_rng(0)
    board = np.indices((LARGER, LARGER)).sum(axis=0) % 2 * 2.0 - 1
    for number in range(24):
        for name, strength in (("checked", 60), ("plain", 0)):
            coarse = np.kron(rng.normal(128, 25, (8, 8)), np.ones((LARGER // 8, LARGER // 8)))
            write(folder, name, (coarse + strength * board)[..., None] + rng.normal(0, 4, (LARGER, LARGER, 3)), number)
    return folder


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes: red bright or dark, green bright or dark, with noise of whole pictures."""
    folder, rng = tmp_path_factory.mktemp("coloured"), np.random.default_rng(0)
    for number in range(24):
        for red in (0, 1):
            for green in (0, 1):
                middle = np.array([70 + 110 * red, 70 + 110 * green, 128]) + rng.normal(0, 14, 3)
                write(folder, f"red{red}green{green}", middle + rng.normal(0, 30, (SIDE, SIDE, 3)), number)
    return folder


def ranked_among(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(ranker, "contenders", lambda **given: contenders(list(names), **given))


# ---- larger pictures ------------------------------------------------------------------------------------------------


def test_a_set_that_only_a_larger_size_tells_apart_gets_it(
    fine: Path, edges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(fine, Recipe(source=edges))
    ranked_among(monkeypatch, edges)
    found = train(fine, Recipe(source="auto"))
    assert found.recipe.image_size == (LARGER, LARGER)
    assert found.recipe.source == edges
    assert found.choice.chosen.loss < alone.choice.chosen.loss / 2
    assert found.accuracy.value == 1.0
    assert {row.source for row in found.ranking.rows} == {edges, f"{edges}@{LARGER}"}
    train_count = found.images()["train"]
    assert (found.features.hits, found.features.misses) == (train_count, found.images()["test"])
    assert found.offers == ()


def test_a_size_that_was_asked_for_is_kept(fine: Path, edges: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked_among(monkeypatch, edges)
    found = train(fine, Recipe(source="auto", image_size=(SIDE, SIDE)))
    assert found.recipe.image_size == (SIDE, SIDE)
    assert {row.source for row in found.ranking.rows} == {edges}


def test_what_the_race_has_not_paid_for_is_not_tried_and_said(
    fine: Path, edges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked_among(monkeypatch, edges)
    monkeypatch.setattr(additions, "EXTRA", 1.0)  # 2.25 times the pixels cost more than that
    found = train(fine, Recipe(source="auto"))
    assert found.recipe.image_size == (SIDE, SIDE)
    (text,) = found.ranking.not_tried
    assert text.startswith(f"{edges}@{LARGER} was not tried: its pass would take about ")
    assert "1 times the passes of the sources ranked" in text


def test_what_is_not_better_on_the_screening_pictures_is_given_up_there(
    coloured: Path, tmp_path: Path, channels: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(coloured.rglob("*.png")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        Image.open(path).resize((LARGER, LARGER), Image.Resampling.NEAREST).save(
            tmp_path / path.parent.name / path.name
        )
    monkeypatch.setattr(additions.choose, "SCREEN", 40)
    monkeypatch.setattr(additions, "EXTRA", 100.0)
    ranked_among(monkeypatch, channels[0])
    found = train(tmp_path, Recipe(source="auto", prefer="small"))
    assert found.recipe.image_size == (SIDE, SIDE)
    assert any(f"@{LARGER} was given up after 40 pictures" in text for text in found.ranking.dropped)


def test_rank_tries_more_only_where_nothing_was_listed(fine: Path, edges: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {row.source for row in hs.rank(fine, [edges], heads="ridge").rows} == {edges}
    monkeypatch.setattr("headstart.api.contenders", lambda *_, **given: contenders([edges], **given))
    assert hs.rank(fine, heads="ridge").recommended.source == f"{edges}@{LARGER}"


# ---- side by side ---------------------------------------------------------------------------------------------------


def test_sources_that_see_different_things_are_taken_side_by_side_and_nothing_is_run_twice(
    coloured: Path, channels: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked_among(monkeypatch, *channels)
    monkeypatch.setattr(additions, "EXTRA", 0.0)  # at one size nothing needs to be run
    found = train(coloured, Recipe(source="auto"))
    assert set(found.recipe.source.split("+")) == set(channels)
    assert found.accuracy.value > 0.9
    assert max(row.accuracy for row in found.ranking.rows if "+" not in row.source) < 0.7
    assert (found.features.hits, found.features.misses) == (found.images()["train"], found.images()["test"])


def test_a_source_that_adds_nothing_is_not_put_beside(
    coloured: Path, tmp_path: Path, channels: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("red0green0", "red1green0"):
        (tmp_path / name).symlink_to(coloured / name)
    ranked_among(monkeypatch, *channels)
    found = train(tmp_path, Recipe(source="auto"))
    assert found.recipe.source == channels[0]
    assert any("were not run side by side" in text for text in found.ranking.dropped)
    assert not any("+" in row.source for row in found.ranking.rows)


# ---- which contenders ----------------------------------------------------------------------------------------------


def test_a_contender_is_enlarged_under_its_name_and_weights() -> None:
    (one,) = contenders("mobilenet_0.25@128=random")
    sides = np.full(3, 500)
    larger = larger_contender(one, sides, sides)
    assert larger is not None
    assert (larger.name, larger.spec.image_size) == ("mobilenet_0.25@192=random", (192, 192))
    (same,) = contenders(larger.name)
    assert same.spec == larger.spec
    assert larger_contender(one, sides // 4, sides // 4) is None
    (several,) = contenders("mobilenet_0.25+mobilenet_0.5=random")
    assert larger_contender(several, sides, sides) is None


def test_contenders_are_joined_each_at_its_size() -> None:
    one, two = contenders("mobilenet_0.25@128=random,mobilenet_0.5=random")
    joined = joined_contender([one, two])
    assert joined is not None
    assert joined.name == "mobilenet_0.25@128+mobilenet_0.5=random"
    assert (joined.spec.source, joined.spec.image_size) == ("mobilenet_0.25@128+mobilenet_0.5", (224, 224))
    assert joined_contender([one, one]) is None
    assert joined_contender([one, *contenders("mobilenetv2")]) is None


# ---- offers --------------------------------------------------------------------------------------------------------


def test_a_larger_size_is_offered_where_there_is_something_to_gain(fine: Path, edges: str) -> None:
    result = train(fine, Recipe(source=edges))
    wrong = int((~result.choice.chosen.right).sum())
    assert wrong >= offers.WRONG
    (offer,) = result.offers
    assert offer.source == f"{edges}@{LARGER}"
    assert offer.words.startswith(f"a second pass at {LARGER} px (about ")
    assert f"{wrong} of {len(result.choice.chosen.right)} out-of-fold answers" in offer.why
    (told,) = result.as_dict()["offers"]
    assert set(told) == {"source", "seconds", "why"}
    again = train(fine, Recipe(source=offer.source))
    assert again.recipe.image_size == (LARGER, LARGER)
    assert again.offers == ()


def offered(*, wrong: int = 20, source: str = "vgg16", size: int = 224, pictures: int = 500, misses: int = 0) -> tuple:
    features = SimpleNamespace(
        trunk=SimpleNamespace(image_size=(size, size)), seconds=10.0, misses=misses, hits=100 - misses
    )
    choice = SimpleNamespace(chosen=SimpleNamespace(right=np.arange(100) >= wrong))
    sides = np.full(100, pictures)
    return offers.find(source, features, choice, widths=sides, heights=sides)


def test_what_an_offer_takes_is_this_runs_seconds_a_picture_by_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "milliseconds", lambda _: pytest.fail("the pass was timed"))
    (offer,) = offered(misses=50)
    assert offer.source == "vgg16@320"
    assert offer.seconds == pytest.approx(10 / 50 * 100 * (320 / 224) ** 2)
    assert "about 41 s" in offer.words


def test_nothing_is_offered_where_nothing_speaks_for_it() -> None:
    assert offered(wrong=offers.WRONG - 1, misses=50) == ()
    assert offered(pictures=300, misses=50) == ()
    assert offered(size=192, misses=50) == ()
    assert offered(source="vgg16@320", size=320, misses=50) == ()
    assert offered(source="vgg16+mobilenetv2", misses=50) == ()
