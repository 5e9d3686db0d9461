"""The float32 blocks of the flip-angle kernel against NumPy, and how lanes are packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.kernels import lanes, vfa_block
from imgtheranostics.kernels.lanes import BLOCK, CHUNK

ROW = np.arange(CHUNK + 1)


@given(st.integers(0, 300), st.integers(0, 3000), st.floats(0, 1))
def test_chosen_voxels_are_listed_in_order(begin, length, share):
    chosen = np.random.default_rng(length).random(begin + length) < share
    voxels = np.empty(CHUNK + 1, np.int64)
    count = lanes.list_chosen(chosen, begin, begin + length, voxels)
    expected = begin + np.flatnonzero(chosen[begin:])
    np.testing.assert_array_equal(voxels[:count], expected)


@given(st.sets(st.integers(0, 2000), min_size=1, max_size=BLOCK))
def test_lanes_are_taken_padded_and_put_back(places):
    voxels = np.array(sorted(places), np.int64)
    plane = np.arange(2001, dtype=np.float32)
    row = np.empty(BLOCK, np.float32)
    lanes.take(plane, voxels, 0, voxels.size, row)
    np.testing.assert_array_equal(row[: voxels.size], voxels)
    assert (row[voxels.size :] == voxels[0]).all()
    out = np.zeros(2001, np.float32)
    lanes.put(row, voxels, 0, voxels.size, out)
    np.testing.assert_array_equal(np.flatnonzero(out), voxels[voxels > 0])


@given(st.lists(st.floats(0.5, 175.0), min_size=1, max_size=8), st.floats(0.2, 1.0))
def test_half_tangents_and_cotangents_are_those_of_numpy(degrees, b1):
    flip = np.radians(degrees)
    cot, half = np.empty((2, flip.size, BLOCK), np.float32)
    cot, half = np.ascontiguousarray(cot), np.ascontiguousarray(half)
    vfa_block.angles(flip, np.full(BLOCK, b1, np.float32), cot, half)
    actual = np.float32(b1) * flip
    np.testing.assert_allclose(half[:, 0], np.tan(actual / 2), rtol=2e-5)
    np.testing.assert_allclose(cot[:, 0], 1 / np.tan(actual), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("t1_over_tr", [1.2, 3.0, 30.0, 1000.0])
def test_the_series_of_the_logarithm_is_single_precision(t1_over_tr):
    rows = np.ones(vfa_block.ROWS, np.float32)
    rows[vfa_block.Q : vfa_block.Q + BLOCK] = -np.expm1(-1 / t1_over_tr)
    vfa_block._results(5, 1.0, rows)
    np.testing.assert_allclose(rows[vfa_block.T1 : vfa_block.T1 + BLOCK], t1_over_tr, rtol=3e-7)


def test_lanes_do_not_depend_on_their_neighbours(rng):
    """A voxel of a block of noise gives the bytes that it gives alone."""
    angles = np.radians([3.0, 8.0, 15.0, 25.0])
    cot, half = np.empty((4, BLOCK), np.float32), np.empty((4, BLOCK), np.float32)
    vfa_block.angles(angles, np.ones(BLOCK, np.float32), cot, half)
    signal = rng.uniform(1, 2, (4, BLOCK)).astype(np.float32)
    signal[:, 100:] = np.nan
    together, alone = np.zeros((2, vfa_block.ROWS), np.float32)
    vfa_block.fit_block(signal, cot, half, 0.01, 2, together)
    lone = np.ascontiguousarray(np.broadcast_to(signal[:, 7:8], signal.shape))
    vfa_block.fit_block(lone, cot, half, 0.01, 2, alone)
    np.testing.assert_array_equal(together[7::BLOCK][:6], alone[200::BLOCK][:6])
