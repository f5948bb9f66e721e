"""The scan for NaN and infinity agrees with NumPy's, wherever the number stands."""

from __future__ import annotations

import numpy as np
import pytest

from modelcheck.model.finite import first_non_finite

BLOCK = 256 << 10  # bytes that the scan takes at once


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("poison", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("accept_infinity", [False, True])
def test_first_non_finite_number_is_found_at_its_place(dtype, poison, accept_infinity):
    per_block = BLOCK // np.dtype(dtype).itemsize
    for at in (0, 1, per_block - 1, per_block, 2 * per_block + 17):
        array = np.linspace(-1, 1, 2 * per_block + 18).astype(dtype)
        array[at] = poison
        expected = None if accept_infinity and np.isinf(poison) else at
        assert first_non_finite(array, infinity=accept_infinity) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extreme_but_finite_numbers_are_finite(dtype):
    limits = np.finfo(dtype)
    array = np.array([limits.max, limits.min, limits.tiny, 0.0, -0.0], dtype)
    assert first_non_finite(array, infinity=False) is None


def test_unaligned_and_empty_arrays_are_scanned_too():
    raw = b"x" + np.array([1, np.nan], np.float32).tobytes()
    unaligned = np.frombuffer(raw, np.float32, offset=1)
    assert not unaligned.flags.aligned
    assert first_non_finite(unaligned, infinity=False) == 1
    assert first_non_finite(np.zeros((0, 3), np.float32), infinity=False) is None


def test_infinity_before_nan_does_not_hide_it():
    array = np.array([np.inf, 1, np.nan], np.float32)
    assert first_non_finite(array, infinity=True) == 2
