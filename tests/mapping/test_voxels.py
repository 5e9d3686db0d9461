"""Masks of voxels grow and shrink by boxes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.mapping.voxels import grown


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 5, 3), (2, 2, 2), (30, 20, 5)])
def test_masks_grow_and_shrink_as_by_scipy(shape):
    mask = np.random.default_rng(0).random(shape) < 0.15
    np.testing.assert_array_equal(grown(mask, 2), ndimage.binary_dilation(mask, np.ones((5, 5, 5))))
    shrunk = ndimage.binary_erosion(mask, np.ones((5, 5, 1)), border_value=1)
    np.testing.assert_array_equal(~grown(~mask, 2, (0, 1)), shrunk)
