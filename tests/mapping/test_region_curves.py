"""Which voxels the curves of regions are the mean of; truths are counted by hand."""

import numpy as np

from imgtheranostics.mapping.region_curves import region_places, typical_voxel
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

SHAPE = (3, 2, 1)


def regions():
    """Left: i = 0; rest: i > 0."""
    left = np.zeros(SHAPE, bool)
    left[0] = True
    return Regions.from_masks({"left": left, "rest": ~left}, Grid(SHAPE, np.eye(4)))


def test_regions_keep_their_usable_voxels_in_fortran_order():
    usable = np.array([True, True, False, False, True, True])
    places = region_places(regions(), usable)
    assert [place.label for place in places] == ["left", "rest"]
    assert places[0].voxels.tolist() == [0]
    assert places[1].voxels.tolist() == [1, 4, 5]


def test_regions_without_a_usable_voxel_have_no_place():
    usable = np.array([False, True, True, False, True, True])
    assert [place.label for place in region_places(regions(), usable)] == ["rest"]
    assert region_places(None, usable) == []


def test_one_voxel_stands_for_the_first_region():
    values = np.array([5.0, 1.0, 9.0, 3.0, 8.0, 7.0])
    every = np.ones(6, bool)
    place = typical_voxel(regions(), every, values, SHAPE)
    assert place is not None
    # Left holds 5 and 3; of two, the upper is taken: the voxel (0, 0, 0).
    assert (place.label, place.voxels.tolist()) == ("voxel 0, 0, 0", [0])
    # Of all six, 1 3 5 7 8 9, the upper middle is 7: the voxel (2, 1, 0).
    place = typical_voxel(None, every, values, SHAPE)
    assert place is not None
    assert (place.label, place.voxels.tolist()) == ("voxel 2, 1, 0", [5])
    assert typical_voxel(None, ~every, values, SHAPE) is None
