"""Changes of regions without maps: what lies outside of the field of view is no tissue.

The scene is made here, so that means are known: tissue at 40 HU, 310 HU after the agent, beside a part of the
slice that the scanner fills with -1024 HU.
"""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

SHAPE = (24, 20, 6)


def scan(hu, rng, fill=True):
    """Tissue with 10 HU of noise; the half with i < 12 is fill."""
    data = np.full(SHAPE, hu, np.float32) + rng.normal(0, 10, SHAPE).astype(np.float32)
    if fill:
        data[:12] = -1024.0
    return Volume(
        np.asfortranarray(data),
        np.eye(4),
        "attenuation",
        "[HU]",
        acquisition=CtAcquisition(tube_voltage_kv=120.0),
    )


@pytest.mark.parametrize("only_after", [False, True])
def test_fill_at_the_edge_of_the_view_is_no_change(only_after):
    rng = np.random.default_rng(4)
    pre, post = scan(40.0, rng, fill=not only_after), scan(310.0, rng)
    inside = np.zeros(SHAPE, bool)
    inside[6:18, 4:16, 1:5] = True
    regions = Regions.from_masks({"tumour": inside}, pre.grid)
    row = ct.region_changes(pre, post, regions).iloc[0]
    assert row["n_valid"] == np.count_nonzero(inside[12:])
    # two scans of 10 HU each over the voxels that were scanned
    assert row["mean_hu"] == pytest.approx(270.0, abs=4 * 10 * np.sqrt(2 / row["n_valid"]))


def test_air_with_noise_counts():
    rng = np.random.default_rng(5)
    pre, post = scan(-1000.0, rng, fill=False), scan(-1000.0, rng, fill=False)
    clipped = [one.replace(data=np.maximum(one.data, -1024.0)) for one in (pre, post)]
    regions = Regions.from_masks({"air": np.ones(SHAPE, bool)}, pre.grid)
    row = ct.region_changes(*clipped, regions).iloc[0]
    assert row["n_valid"] == row["n_voxels"]
    assert row["mean_hu"] == pytest.approx(0.0, abs=4 * 10 * np.sqrt(2 / row["n_valid"]))
