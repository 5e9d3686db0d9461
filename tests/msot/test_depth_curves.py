"""Depth curves: attenuation of a slab, errors of shells, regions and wavelengths, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, NothingUsable, UnitMismatch
from imgtheranostics.msot.depth_curves import COLUMNS
from imgtheranostics.msot.fluence import mu_eff, slab
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

SHAPE = (30, 24, 6)
AFFINE = np.diag([0.5, 0.5, 0.5, 1.0])
X, Y, Z = np.indices(SHAPE)
DEPTH_MM = np.where(Y < 20, 0.5 * Y + 0.25, np.nan)


def depth(values=DEPTH_MM):
    return Volume(values, AFFINE, "depth", "mm")


def volume(data, axes=()):
    return Volume(data, AFFINE, "optoacoustic_signal", "[arb'U]", axes)


def test_a_slab_falls_with_its_effective_attenuation():
    """msot.md section 6: mu_a 0.3, mu_s' 10 give 3.0447 per cm."""
    light = slab(np.nan_to_num(DEPTH_MM), 0.3, 10.0)
    found = it.msot.depth_curve(volume(1000.0 * light), depth(), width_mm=0.5)
    assert tuple(found.table.columns) == COLUMNS
    assert found.table["depth_mm"].tolist() == pytest.approx((0.5 * np.arange(20) + 0.25).tolist())
    assert (found.table["n_valid"] == 30 * 6).all()
    (curve,) = found.curves
    assert curve.value == pytest.approx(float(mu_eff(0.3, 10.0)), rel=1e-5)
    assert curve.value == pytest.approx(3.0447, rel=1e-4)
    assert curve.measured == pytest.approx(curve.fitted, rel=1e-5)


def test_each_wavelength_has_its_own_curve():
    absorption = np.array([0.1, 0.3])
    light = slab(np.nan_to_num(DEPTH_MM)[..., np.newaxis], absorption, 10.0)
    axes = (Axis("wavelength", [700.0, 800.0], "nm"),)
    found = it.msot.depth_curve(volume(light, axes), depth(), width_mm=1.0)
    assert [curve.label for curve in found.curves] == ["body, 700 nm", "body, 800 nm"]
    expected = [float(mu_eff(a, 10.0)) for a in absorption]
    assert [curve.value for curve in found.curves] == pytest.approx(expected, rel=0.01)
    assert set(found.table["axis_value"]) == {700.0, 800.0}


def test_errors_of_shells_are_the_scatter_of_repeats(rng):
    frames = 200
    data = rng.normal(1.0, 0.5, (*SHAPE, frames))
    found = it.msot.depth_curve(
        volume(data, (Axis("time", np.arange(frames), "s"),)), depth(), width_mm=5.0
    ).table
    for low in (0.0, 5.0):
        shell = found[found["depth_low_mm"] == low]
        assert np.mean(shell["standard_error"]) == pytest.approx(np.std(shell["mean"]), rel=0.2)


def test_negative_voxels_count(rng):
    data = rng.normal(0.0, 1.0, SHAPE)
    found = it.msot.depth_curve(volume(data), depth(), width_mm=10.0).table
    assert found["mean"].iloc[0] == pytest.approx(np.mean(data[np.isfinite(DEPTH_MM)]), abs=1e-6)
    assert abs(found["mean"].iloc[0]) < 0.1


def test_regions_and_masks_choose_voxels():
    regions = Regions.from_masks({"left": X < 15, "right": X >= 15}, volume(X).grid)
    found = it.msot.depth_curve(
        volume(np.where(X < 15, 1.0, 2.0)), depth(), rois=regions, mask=Z > 2, width_mm=2.0
    )
    means = found.table.groupby("region")["mean"].unique()
    assert (means["left"].tolist(), means["right"].tolist()) == ([1.0], [2.0])
    assert (found.table["n_valid"] == 15 * 4 * 3).all()
    assert np.isnan(found.curves[0].value)


def test_shells_without_a_value_are_left_out():
    data = np.where((DEPTH_MM > 2.0) & (DEPTH_MM < 3.0), np.nan, 1.0)
    found = it.msot.depth_curve(volume(data), depth(), width_mm=1.0, deepest_mm=6.0).table
    assert found["depth_low_mm"].tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]


def test_what_cannot_be_a_depth_curve_is_refused():
    image = volume(np.ones(SHAPE))
    with pytest.raises(UnitMismatch, match="map of depth"):
        it.msot.depth_curve(image, image)
    with pytest.raises(GeometryMismatch, match="different grids"):
        it.msot.depth_curve(image, Volume(DEPTH_MM[:5], AFFINE, "depth", "mm"))
    with pytest.raises(NothingUsable, match="depth"):
        it.msot.depth_curve(image, depth(np.full(SHAPE, np.nan)))
    for width in (0.0, -1.0, np.nan, 0.001):
        with pytest.raises(ImplausibleValue, match="shells"):
            it.msot.depth_curve(image, depth(), width_mm=width)
