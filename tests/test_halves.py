"""float16 made float32: by table, and by the compiled kernel."""

import numpy as np
import pytest

from headstart.halves import widened


def every_half() -> np.ndarray:
    return np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(64, -1)


def test_every_half_is_what_numpy_makes_of_it() -> None:
    np.testing.assert_array_equal(widened(every_half()), every_half().astype(np.float32))


def test_the_kernel_makes_the_same() -> None:
    kernels = pytest.importorskip("headstart.heads._kernels")
    found = kernels.widened(every_half())
    np.testing.assert_array_equal(found, every_half().astype(np.float32))
    numbers = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(every_half())[numbers])


def test_the_result_is_a_new_array_in_c_order() -> None:
    for values in (np.ones((3, 4), np.float32), every_half()[:, ::2], every_half().T, np.zeros((0, 5), np.float16)):
        found = widened(values)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert not np.shares_memory(found, values)
        np.testing.assert_array_equal(found, values.astype(np.float32))
