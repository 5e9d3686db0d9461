"""Places of a region's shape over blank tissue, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.shifted_regions import shifted_means

EXTENTS = np.array([14, 12, 9], np.int64)


def run(values, blank, shape, steps, reach, most=50):
    counts = (EXTENTS - shape.max(axis=0) - 1) // steps + 1
    offsets = shape @ np.array([1, EXTENTS[0], EXTENTS[0] * EXTENTS[1]])
    places, means = np.zeros((most, 3), np.int64), np.empty(most)
    found = shifted_means(
        read_only(values.ravel(order="F")),
        blank.ravel(order="F"),
        EXTENTS,
        offsets,
        steps,
        counts,
        1,
        reach,
        places,
        means,
        0,
    )
    return places[:found], means[:found]


@given(st.integers(0, 200), st.integers(1, 3), st.integers(1, 2))
def test_means_are_those_of_the_shape_where_all_of_it_is_blank(seed, step, gap):
    rng = np.random.default_rng(seed)
    values = np.asfortranarray(rng.standard_normal(EXTENTS), np.float32)
    blank = np.asfortranarray(rng.random(tuple(EXTENTS)) < 0.97)
    shape = np.argwhere(rng.random((3, 2, 2)) < 0.7)
    if not len(shape):
        return
    shape = shape - shape.min(axis=0)
    reach = shape.max(axis=0) + 1 + gap
    places, means = run(values, blank, shape, np.full(3, step), reach)
    for place, mean in zip(places, means, strict=True):
        inside = tuple((shape + place).T)
        assert blank[inside].all()
        assert mean == pytest.approx(values[inside].astype(np.float64).mean(), abs=1e-6)
    for n, one in enumerate(places):
        assert all((np.abs(one - other) >= reach).any() for other in places[:n])


def test_all_places_are_taken_where_everything_is_blank():
    values, blank = np.zeros(EXTENTS, np.float32, order="F"), np.ones(tuple(EXTENTS), bool, order="F")
    shape = np.argwhere(np.ones((2, 2, 2)))
    places, _ = run(values, blank, shape, np.full(3, 3), np.full(3, 3), most=100)
    assert len(places) == 5 * 4 * 3


def test_no_more_than_asked_for():
    values, blank = np.zeros(EXTENTS, np.float32, order="F"), np.ones(tuple(EXTENTS), bool, order="F")
    shape = np.zeros((1, 3), np.int64)
    assert len(run(values, blank, shape, np.ones(3, np.int64), np.ones(3, np.int64), most=7)[0]) == 7
