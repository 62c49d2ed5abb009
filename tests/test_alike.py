"""Nearly the same pictures: found, tied together, and nothing else."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from headstart import alike, images
from headstart.alike import Twins
from headstart.dataset import Dataset
from headstart.looks import glance
from headstart.splitting import split, together

Change = Callable[[Image.Image], Image.Image]

CHANGES: dict[str, Change] = {
    "saved again": lambda picture: picture,
    "smaller": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "cropped": lambda picture: picture.crop(
        (picture.width // 20, 0, picture.width, picture.height - picture.height // 20)
    ),
    "all of it": lambda picture: ImageEnhance.Brightness(
        picture.crop((0, picture.height // 25, picture.width - picture.width // 25, picture.height))
    ).enhance(0.85).resize((200, 180)),
}  # fmt: skip


def saved(picture: Image.Image, path: Path, quality: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(path, "JPEG", quality=quality)


@pytest.fixture
def photographs(shared_pictures: list[Path], tmp_path: Path) -> Path:
    for path in shared_pictures:
        target = tmp_path / "set" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "set"


def pairs_of(folder: Path) -> set[tuple[str, str]]:
    dataset = Dataset.open(folder).digested()
    found = alike.find(dataset, glance(dataset))
    assert all(alike.DETAIL <= pair.detail <= 1.0001 for pair in found)
    return {(dataset.files[pair.first], dataset.files[pair.second]) for pair in found}


def test_photographs_of_different_things_are_not_alike(photographs: Path) -> None:
    assert pairs_of(photographs) == set()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(photographs: Path, change: str) -> None:
    expected = set()
    for path in sorted(photographs.rglob("*.jpg"))[:6]:
        with Image.open(path) as picture:
            saved(CHANGES[change](picture), photographs / "dogs" / f"zz-{path.name}")
        one, other = f"{path.parent.name}/{path.name}", f"dogs/zz-{path.name}"
        expected.add((min(one, other), max(one, other)))
    assert pairs_of(photographs) == expected


def drawn(seed: int, side: int = 96) -> Image.Image:
    """A picture of smooth patches that no other seed gives."""
    small = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def test_plain_pictures_and_what_cannot_be_read_are_like_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for shade in (100, 104, 108):
            ramp = np.linspace(shade, shade + 9, 64).astype(np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
            saved(Image.fromarray(ramp), tmp_path / name / f"{shade}.jpg", 95)
        (tmp_path / name / "bad.jpg").write_bytes(b"none")
    assert pairs_of(tmp_path) == set()


def test_the_same_ground_with_another_thing_on_it_is_not_alike(tmp_path: Path) -> None:
    ground = np.tile(np.linspace(150, 240, 128).astype(np.uint8)[:, None, None], (1, 128, 3))
    for number, colour in enumerate([(200, 30, 30), (30, 120, 30), (20, 20, 20), (90, 60, 20)]):
        picture = ground.copy()
        down, across = np.mgrid[:128, :128]
        shapes = [
            (down - 64) ** 2 + (across - 64) ** 2 < 400, abs(down - 64) + abs(across - 64) < 26,
            (abs(down - 60) < 8) & (abs(across - 64) < 34), (abs(down - 64) < 30) & (abs(across - 64) < 9),
        ]  # fmt: skip
        picture[shapes[number]] = colour
        saved(Image.fromarray(picture), tmp_path / "ab"[number % 2] / f"{number}.jpg", 90)
    assert pairs_of(tmp_path) == set()


def test_pictures_that_differ_in_fine_detail_alone_are_not_alike(tmp_path: Path) -> None:
    """Two letters on the same paper: the small copies agree, the larger ones do not."""
    for number in range(4):
        fine = np.random.default_rng(number).integers(-11, 11, (64, 64, 1)).repeat(2, 0).repeat(2, 1)
        page = np.asarray(drawn(0, 128), np.int16) // 2 + 60 + fine
        saved(Image.fromarray(page.astype(np.uint8)), tmp_path / "ab"[number % 2] / f"{number}.jpg", 90)
    dataset = Dataset.open(tmp_path).digested()
    small = glance(dataset).small.astype(np.float32)
    kept, _ = alike._first_look(small, np.array([[0, 1], [2, 3]]))
    assert kept.all(), "the test tests nothing"
    assert pairs_of(tmp_path) == set()


def test_of_equal_files_one_is_compared_and_all_are_tied(tmp_path: Path) -> None:
    for number in range(6):
        saved(drawn(number), tmp_path / "ab"[number % 2] / f"{number}.jpg", 90)
    shutil.copy(tmp_path / "a" / "0.jpg", tmp_path / "a" / "copy.jpg")
    saved(drawn(0), tmp_path / "b" / "twin.jpg", 50)
    assert pairs_of(tmp_path) == {("a/0.jpg", "b/twin.jpg")}
    dataset, _ = alike.look_over(Dataset.open(tmp_path))
    tied = [file for file, name in zip(dataset.files, dataset.alike, strict=True) if name]
    assert tied == ["a/0.jpg", "a/copy.jpg", "b/twin.jpg"]
    assert dataset.findings == ()
    assert len(set(together(dataset)[[dataset.files.index(file) for file in tied]].tolist())) == 1
    assert dataset.digest == Dataset.open(tmp_path).digest
    again, _ = alike.look_over(replace(dataset, alike=("",) * len(dataset)))
    assert not any(again.alike), "a set that was looked over keeps its groups"


def test_twins_stay_on_one_side_or_leave_the_earlier_split(tmp_path: Path) -> None:
    for number in range(20):
        saved(drawn(number), tmp_path / "one" / "ab"[number % 2] / f"{number}.jpg", 90)
        saved(drawn(number), tmp_path / "one" / "ab"[number % 2] / f"{number}-twin.jpg", 60)
    dataset, _ = alike.look_over(Dataset.open(tmp_path / "one"))
    for seed in range(3):
        divided = split(dataset, seed=seed)
        for name in set(dataset.alike):
            assert len({str(divided.splits[row]) for row, each in enumerate(dataset.alike) if each == name}) == 1
    assert len(set(dataset.alike)) == 20

    for number in range(8):
        saved(drawn(number), tmp_path / "two" / "train" / "ab"[number % 2] / f"{number}.jpg", 90)
        saved(drawn(number + 50), tmp_path / "two" / "test" / "ab"[number % 2] / f"{number}.jpg", 90)
    saved(drawn(3), tmp_path / "two" / "test" / "b" / "twin.jpg", 60)
    divided = split(alike.look_over(Dataset.open(tmp_path / "two"))[0])
    out = [file for file, where in zip(divided.files, divided.splits, strict=True) if where == "left out"]
    assert out == ["train/b/3.jpg"]
    (finding,) = divided.findings
    assert (finding.kind, finding.files) == ("leak", ("test/b/twin.jpg", "train/b/3.jpg"))
    assert finding.note == "Nearly the same picture is in train and test."


def test_a_class_that_is_all_alike_is_not_tied(tmp_path: Path) -> None:
    """Else nothing of it would be left to measure on."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(12):
            (tmp_path / name / f"{number:02}.jpg").write_bytes(f"{name}{number}".encode())
    dataset = Dataset.open(tmp_path).digested()
    chain = [Twins(row, row + 1, 0.9) for row in range(11)]
    tied = alike.tie(dataset, chain)
    assert not any(tied.alike)
    (finding,) = tied.findings
    assert finding.kind == "near_duplicate"
    assert finding.files == dataset.files[:12]
    assert "more than half of a" in finding.note
    few = alike.tie(dataset, [*chain[:9], Twins(20, 22, 1.0)])
    assert [name for name in few.alike if name] == ["alike 0"] * 10 + ["alike 1"] * 2
    assert few.findings == ()


def test_candidates_are_those_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    for row in range(40):  # near ones
        codes[260 + row] = codes[row] ^ np.uint64(sum(1 << int(bit) for bit in rng.choice(64, row % 20, replace=False)))
    coarse = rng.normal(size=(300, 6)).astype(np.float32)
    coarse[260:] = coarse[:40] + 0.2 * coarse[260:]
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    expected = {
        (one, other)
        for one in range(300) for other in range(one + 1, 300)
        if (int(codes[one]) ^ int(codes[other])).bit_count() <= alike.RADIUS
        and float(coarse[one] @ coarse[other]) >= alike.COARSE
    }  # fmt: skip
    assert len(expected) > 20
    assert set(map(tuple, alike.candidates(codes, coarse).tolist())) == expected


def test_each_row_keeps_its_best_partners_the_very_best_first() -> None:
    codes = np.zeros(40, np.uint64)
    turned = np.linspace(0, 0.6, 40)
    coarse = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    pairs = alike.candidates(codes, coarse)
    assert [tuple(pair) for pair in pairs[:39].tolist()] == [(row, row + 1) for row in range(39)]
    assert np.bincount(pairs[:, 0]).max() == alike.PARTNERS


def test_registration_finds_the_crop() -> None:
    big = np.asarray(drawn(1, 200).convert("L"), np.float32)
    whole = np.asarray(Image.fromarray(big).resize((64, 64), Image.Resampling.BICUBIC))
    part = np.asarray(Image.fromarray(1.3 * big[10:190, 6:200] + 4).resize((64, 64), Image.Resampling.BICUBIC))
    warp = alike.register(part[None], whole[None], margin=4, steps=8)
    scale_x, shift_x, scale_y, shift_y = warp[0].tolist()
    assert scale_x == pytest.approx(194 / 200 - 1, abs=0.01)
    assert scale_y == pytest.approx(180 / 200 - 1, abs=0.01)
    assert shift_x == pytest.approx(3 * 64 / 200, abs=0.2)
    assert shift_y == pytest.approx(0, abs=0.2)
    detail = alike.likeness(part[None, ..., None], whole[None, ..., None], warp, margin=4)
    apart = alike.likeness(part[None, ..., None], whole[None, ..., None], 0 * warp, margin=4)
    assert detail[0] > 0.97 > 0.9 > apart[0]


def test_a_picture_that_is_gone_by_then_is_like_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        saved(drawn(number), tmp_path / "ab"[number % 2] / f"{number}.jpg", 90)
    picture = io.BytesIO()
    drawn(0).crop((4, 0, 96, 92)).save(picture, "PNG")
    (tmp_path / "b" / "twin.png").write_bytes(picture.getvalue())
    dataset = Dataset.open(tmp_path).digested()
    seen = glance(dataset)
    assert len(alike.find(dataset, seen)) == 1

    def gone(path: Path, size: tuple[int, int]) -> np.ndarray:
        raise images.PictureError("gone")

    monkeypatch.setattr(images, "read", gone)
    assert alike.find(dataset, seen) == ()
