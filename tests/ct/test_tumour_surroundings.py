"""Shells around a region against distances between all pairs of voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.ct.tumour_surroundings import away_from, shell_edges, shells
from imgtheranostics.volume import Volume

SHAPE, SPACING = (9, 8, 7), np.array([1.0, 1.5, 2.5])
AFFINE = np.diag([-1.0, 1.5, 2.5, 1.0])
PLACES = np.stack(np.unravel_index(np.arange(504), SHAPE, order="F"), axis=-1) * SPACING


def brute_force(region):
    """Distance in mm of every voxel from the nearest one of the region, flat in Fortran order."""
    inside = PLACES[region.ravel(order="F")]
    return np.linalg.norm(PLACES[:, np.newaxis] - inside[np.newaxis], axis=-1).min(axis=1)


@given(
    seed=st.integers(0, 2**31),
    share=st.floats(0.005, 0.3),
    edges=st.lists(st.floats(0.3, 4), min_size=1, max_size=3),
)
@settings(max_examples=40)
def test_shells_hold_the_tissue_between_two_distances(seed, share, edges):
    rng = np.random.default_rng(seed)
    region = rng.random(SHAPE) < share
    region[4, 4, 3] = True
    hu = np.where(rng.random(SHAPE) < 0.2, -900.0, 40.0)
    outer = shell_edges(np.cumsum(edges))
    distance, tissue = brute_force(region), hu.ravel(order="F") > -300
    inner = 0.0
    for shell, edge in zip(
        shells(region, Volume(hu, AFFINE, "attenuation", "[HU]"), outer), outer, strict=True
    ):
        there = (distance > inner) & (distance <= edge)
        np.testing.assert_array_equal(shell.voxels, np.flatnonzero(there & tissue))
        assert shell.n_air == np.count_nonzero(there & ~tissue)
        assert (shell.inner_mm, shell.outer_mm) == (inner, edge)
        inner = edge
    away = away_from(region, Volume(hu, AFFINE, "attenuation", "[HU]").grid, outer[0])
    np.testing.assert_array_equal(away.ravel(order="F"), distance > outer[0])


@pytest.mark.parametrize("edges", [0, -1.0, (5, 5), (5, 4), (np.nan,), (np.inf,), [[1, 2]]])
def test_edges_increase_from_above_0(edges):
    with pytest.raises(ValueError, match="shell_mm"):
        shell_edges(edges)
    assert shell_edges(()) == ()
