"""States of a training: whole or not there; what is damaged is passed over, told of and dropped."""

import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from headstart import checkpoints
from headstart.checkpoints import clear, load, save

ARRAYS = [np.arange(12, dtype=np.float32).reshape(3, 4), np.array(7, np.int64), np.zeros((0, 2), np.float16)]
FACTS = {"best": [float("inf"), -1], "history": {"loss": [0.1 + 0.2]}, "words": "žluťoučký"}


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def name(number):
    return f"state-{number:08d}.npz"


def same(arrays, others):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b) for a, b in zip(arrays, others, strict=True)
    )


def test_what_was_saved_comes_back(tmp_path):
    save(tmp_path, 40, ARRAYS, FACTS)
    state, passed_over = load(tmp_path, ARRAYS)
    assert (state.number, passed_over) == (40, ())
    assert same(state.arrays, ARRAYS)
    assert state.facts == FACTS


def test_more_arrays_than_ten_keep_their_order(tmp_path):
    many = [np.full(2, number) for number in range(123)]
    save(tmp_path, 1, many, {})
    assert same(load(tmp_path, many)[0].arrays, many)


def test_the_last_two_are_kept(tmp_path):
    for number in (5, 10, 100, 99_999_999):
        save(tmp_path, number, ARRAYS, FACTS)
    assert kept(tmp_path) == [name(100), name(99_999_999)]


def test_a_folder_without_states_or_none_at_all_has_none(tmp_path):
    assert load(tmp_path, ARRAYS) == (None, ())
    assert load(tmp_path / "nowhere", ARRAYS) == (None, ())
    clear(tmp_path / "nowhere")


# ---- damage ---------------------------------------------------------------------------------------------------------


def truncated(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS[0].tobytes()) + 9] ^= 4
    path.write_bytes(bytes(data))


def emptied(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def folder_of_that_name(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("something")


def of_another_model(path):
    np.savez(path, facts=np.frombuffer(b"{}", np.uint8), **{"00000": np.zeros(3, np.float32)})


def of_another_kind(path):
    others = [array.astype(np.float16) for array in ARRAYS]
    np.savez(path, facts=np.frombuffer(b"{}", np.uint8), **{f"{at:05d}": array for at, array in enumerate(others)})


def facts_of_no_kind(path):
    np.savez(path, facts=np.frombuffer(b"[]", np.uint8), **{f"{at:05d}": array for at, array in enumerate(ARRAYS)})


def pickled(path):
    np.savez(path, facts=np.array([{}], object), allow_pickle=True)


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing of a training")


DAMAGES = (
    truncated, flipped, emptied, garbage, folder_of_that_name, of_another_model, of_another_kind, facts_of_no_kind,
    pickled, other_zip,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_state_before_a_damaged_one_is_taken(tmp_path, damage):
    for number in (10, 20):
        save(tmp_path, number, ARRAYS, {"number": number})
    damage(tmp_path / name(20))
    state, passed_over = load(tmp_path, ARRAYS)
    assert (state.number, state.facts["number"], passed_over) == (10, 10, (name(20),))
    assert kept(tmp_path) == [name(10)]
    save(tmp_path, 20, ARRAYS, FACTS)  # what was there does not stand in the way
    assert load(tmp_path, ARRAYS)[0].number == 20


def test_a_damaged_state_never_outlives_a_sound_one(tmp_path):
    for number in (10, 40):
        save(tmp_path, number, ARRAYS, FACTS)
    garbage(tmp_path / name(40))
    load(tmp_path, ARRAYS)
    for number in (15, 20):
        save(tmp_path, number, ARRAYS, FACTS)
    assert kept(tmp_path) == [name(15), name(20)]


def test_where_all_are_damaged_it_begins_anew_and_says_so(tmp_path):
    for number in (10, 20):
        save(tmp_path, number, ARRAYS, FACTS)
        garbage(tmp_path / name(number))
    assert load(tmp_path, ARRAYS) == (None, (name(20), name(10)))
    assert kept(tmp_path) == []


def test_no_flipped_byte_is_taken_for_the_truth(tmp_path):
    """Whatever byte is wrong, the state is either what it was or passed over."""
    path = save(tmp_path, 10, ARRAYS, FACTS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        for bit in (1, 128):
            data = bytearray(whole)
            data[place] ^= bit
            path.write_bytes(bytes(data))
            state, passed_over = load(tmp_path, ARRAYS)
            if state is None:
                assert passed_over == (path.name,)
            else:
                assert same(state.arrays, ARRAYS), place
                assert state.facts == FACTS, place


# ---- writing --------------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_while_it_writes_leaves_the_state_before(tmp_path):
    save(tmp_path, 10, ARRAYS, FACTS)
    code = (
        "import os, signal, sys, numpy as np\nfrom pathlib import Path\nfrom headstart import checkpoints\n"
        "write = np.savez\n"
        "def dying(target, **named):\n"
        "    write(target, **named)\n    os.truncate(target, 700)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoints.np.savez = dying\n"
        "checkpoints.save(Path(sys.argv[1]), 20, [np.zeros(9)], {})\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert len(kept(tmp_path)) == 2
    state, passed_over = load(tmp_path, ARRAYS)
    assert (state.number, passed_over) == (10, ())
    assert kept(tmp_path) == [name(10)]  # nor is what it left kept for ever


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    save(tmp_path, 10, ARRAYS, FACTS)
    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 20, ARRAYS, FACTS)
    assert kept(tmp_path) == [name(10)]


def test_clear_drops_states_and_nothing_else(tmp_path):
    save(tmp_path, 10, ARRAYS, FACTS)
    (tmp_path / "head.npz").write_bytes(b"other")
    (tmp_path / ".state-00000020-x.npz").write_bytes(b"half")
    clear(tmp_path)
    assert kept(tmp_path) == ["head.npz"]


def test_short_memory_is_no_damage(tmp_path, monkeypatch):
    def short(*_, **__):
        raise MemoryError

    save(tmp_path, 10, ARRAYS, FACTS)
    monkeypatch.setattr(checkpoints.np, "load", short)
    with pytest.raises(MemoryError):
        load(tmp_path, ARRAYS)
    assert kept(tmp_path) == [name(10)]
