"""What comes out beside a value: amplitude, goodness of fit, iterations."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.io.loading import load
from imgtheranostics.io.saving import save
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.output import read_estimates, write_run
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Estimate, Volume


def _volume(level, quantity, unit, spacing=2.0):
    return Volume(np.full((3, 4, 2), level), np.diag([spacing, 2, 2, 1]), quantity, unit)


@pytest.fixture
def estimate():
    value = _volume(1.2, "t1", "s")
    beside = {"s0": _volume(800.0, "signal", "[arb'U]"), "iterations": _volume(5, "iterations", "1")}
    return Estimate(value, _volume(0.1, "t1", "s"), _volume(0, "flags", "1"), maps=beside)


def test_further_maps_are_written_beside_the_value_and_read_back(estimate, tmp_path):
    regions = Regions.from_masks({"all": np.ones((3, 4, 2))}, estimate.grid)
    write_run(Run("mri t1", (estimate,), roi_statistics(estimate, regions)), tmp_path / "out", html=False)
    written = load(tmp_path / "out" / "t1_s0.nii.gz")
    assert (written.quantity, written.unit) == ("signal", "[arb'U]")
    assert (written.data == 800.0).all()
    assert load(tmp_path / "out" / "t1_iterations.nii.gz").data.dtype == np.uint16
    (again,) = read_estimates(tmp_path / "out")
    assert again.quantity == "t1"


def test_an_estimate_is_saved_with_its_further_maps(estimate, tmp_path):
    names = {path.name for path in save(estimate, tmp_path / "brain.nii.gz")}
    assert {"brain.nii.gz", "brain_se.nii.gz", "brain_flags.nii.gz", "brain_s0.nii.gz"} <= names


def test_further_maps_survive_pickling(estimate):
    assert pickle.loads(pickle.dumps(estimate)).maps["s0"].quantity == "signal"  # noqa: S301


def test_a_further_map_on_another_grid_is_refused(estimate):
    with pytest.raises(GeometryMismatch, match="s0"):
        Estimate(
            estimate.value,
            estimate.standard_error,
            estimate.flags,
            maps={"s0": _volume(1.0, "signal", "[arb'U]", spacing=3.0)},
        )
