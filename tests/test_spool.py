"""Features in a temporary file: the same numbers as in memory, however they are asked for, also by several threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from headstart import spool as spool_module
from headstart.heads import HeadData, blend, find, linear, moments, ridge
from headstart.spool import Spool, with_columns

ARRAY = np.random.default_rng(0).normal(size=(97, 11)).astype(np.float16)


@pytest.fixture
def spool(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "BLOCK", 10)
    return Spool.of((ARRAY[at : at + 7] for at in range(0, 97, 7)), ARRAY.shape, np.float16, tmp_path)


@pytest.mark.parametrize(
    "key",
    [slice(None), slice(5, 40), slice(90, 200), slice(40, 5), slice(0, 97, 3), np.array([3, 3, 96, 0]),
     (slice(2, 9), slice(4)), (np.array([1, 2]), slice(3, 5)), np.arange(97) % 2 == 0],
)  # fmt: skip
def test_it_gives_what_the_array_gives(spool, key):
    np.testing.assert_array_equal(spool[key], ARRAY[key])


def test_columns_of_columns_are_those_of_the_array(spool):
    narrow = spool.with_columns(np.array([9, 2, 4])).with_columns(np.array([2, 0]))
    np.testing.assert_array_equal(np.asarray(narrow), ARRAY[:, [4, 9]])
    np.testing.assert_array_equal(with_columns(ARRAY, np.array([4, 9])), np.asarray(narrow))
    assert (narrow.shape, narrow.size, len(narrow)) == ((97, 2), 194, 97)


def test_threads_do_not_read_each_others_rows(spool):
    keys = [slice(at % 90, at % 90 + 7) for at in range(400)]
    with ThreadPoolExecutor(8) as pool:
        for key, found in zip(keys, pool.map(spool.__getitem__, keys), strict=True):
            np.testing.assert_array_equal(found, ARRAY[key])


def test_nothing_is_left_in_the_folder(spool, tmp_path):
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("head", [ridge, linear, blend])
def test_a_head_is_the_same_from_a_file_as_from_memory(spool, head):
    labels = np.arange(97) % 3
    folds = np.arange(97) // 3 % 4
    fits = [
        find(head.NAME).fit(HeadData(features, labels, 3, folds, parts=(5, 6)), options={})
        for features in (ARRAY, spool)
    ]
    np.testing.assert_allclose(fits[0].layers[0].kernel, fits[1].layers[0].kernel, atol=1e-6)
    np.testing.assert_allclose(moments(ARRAY)[0], moments(spool)[0])
