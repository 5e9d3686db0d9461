"""Effective number of voxels of a region: the mean correlation of all its pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.msot import region_shapes
from imgtheranostics.msot.region_shapes import RegionShape
from imgtheranostics.volume import Volume


def shape_of(mask):
    voxels = np.flatnonzero(np.asarray(mask).ravel(order="F"))
    return RegionShape.of("region", voxels, Volume(np.zeros(mask.shape), np.eye(4), "signal", "1"))


def all_pairs(mask, correlation):
    """Every pair of voxels one by one."""
    places = np.argwhere(mask).astype(float)
    apart = places[:, np.newaxis] - places[np.newaxis]
    return np.mean(np.prod(np.asarray(correlation, float) ** (apart**2), axis=-1))


@given(
    cells=st.lists(st.tuples(*(st.integers(0, n) for n in (5, 30, 3))), min_size=1, max_size=40, unique=True),
    correlation=st.tuples(*(st.floats(0.0, 0.95) for _ in range(3))),
)
def test_the_variance_of_a_mean_is_the_mean_correlation_of_all_pairs(cells, correlation):
    mask = np.zeros((6, 31, 4), bool)
    mask[tuple(np.transpose(cells))] = True
    assert shape_of(mask).share(np.array(correlation)) == pytest.approx(
        all_pairs(mask, correlation), rel=1e-6
    )


def test_voxels_without_correlation_count_one_each():
    mask = np.ones((4, 5, 3), bool)
    assert shape_of(mask).share(np.zeros(3)) == pytest.approx(1 / 60)


def test_large_regions_agree_with_all_pairs_though_their_edges_are_left_out(monkeypatch):
    mask = np.indices((40, 36, 20)).sum(axis=0) % 97 > 2
    exact = shape_of(mask)
    monkeypatch.setattr(region_shapes, "_LARGEST_BOX", 0)
    quick = shape_of(mask)
    assert quick.pairs is None
    correlation = np.array([0.8, 0.8, 0.4])
    assert quick.share(correlation) == pytest.approx(exact.share(correlation), rel=0.05)
