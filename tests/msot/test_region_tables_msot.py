"""Tables of optoacoustic regions: errors of means, saturations of mean haemoglobin, limits of detection."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.msot.region_oxygenation import region_so2
from imgtheranostics.msot.spectra import component
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Axis, Flag, Volume

WAVELENGTHS = np.arange(700.0, 900.0, 25.0)
SHAPE, AFFINE = (28, 24, 8), np.diag([0.2, 0.2, 0.5, 1.0])
X, Y, Z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
TUMOUR = (X - 8) ** 2 + (Y - 8) ** 2 <= 25
VEIN = (X - 20) ** 2 + (Y - 15) ** 2 <= 20
AIR = Y >= 21


def spectrum(**umol):
    return sum(c * 1e-6 * component(name, WAVELENGTHS).natural for name, c in umol.items())


def regions(**more):
    return Regions.from_masks(
        {"tumour": TUMOUR, "vein": VEIN} | more, Volume(TUMOUR, AFFINE, "signal", "1").grid
    )


def scan(rng, sd, frames=None, icg=0.7):
    """Tumour 45 % of 20 umol/L with 0.7 umol/L of ICG, vein 60 % of 100 umol/L; correlated noise."""
    truth = np.zeros((*SHAPE, WAVELENGTHS.size))
    truth[TUMOUR] = spectrum(HbO2=9.0, Hb=11.0, ICG=icg)
    truth[VEIN] = spectrum(HbO2=60.0, Hb=40.0)
    axes = (Axis("wavelength", WAVELENGTHS, "nm"),)
    if frames:
        truth = np.broadcast_to(truth[:, :, :, np.newaxis], (*SHAPE, frames, WAVELENGTHS.size))
        axes = (Axis("time", np.arange(frames), "s"), *axes)
    sigma = (1.0, 1.0, 0.7, *(0.0 for _ in axes))
    noise = ndimage.gaussian_filter(rng.normal(size=truth.shape).astype(np.float32), sigma, mode="wrap")
    return Volume(truth + sd * noise / noise.std(), AFFINE, "optical_absorption", "1/cm", axes)


def rows(table, region, quantity):
    return table[(table["region"] == region) & (table["quantity"] == quantity)]


def test_saturation_of_weak_regions_is_right_where_that_of_voxels_is_not(rng):
    """100 repeats; single voxels of the tumour hold twice their error of haemoglobin, most are masked."""
    found = it.msot.oxygenation(scan(rng, 0.04, frames=100, icg=0.0))
    for saturation, truth in zip(region_so2(found, regions()), (45.0, 60.0), strict=True):
        scatter = np.std(saturation.so2)
        assert np.mean(saturation.so2) == pytest.approx(truth, abs=max(0.2, 4 * scatter / np.sqrt(100)))
        assert np.mean(saturation.standard_error) == pytest.approx(
            scatter, rel=0.2
        )  # known within 7 % from 100
        assert not saturation.flags.any()
    voxels = found.so2.value.data[TUMOUR]
    assert np.mean(np.isfinite(voxels)) < 0.5
    assert abs(np.nanmean(voxels) - 45.0) > 1.0


def test_a_table_has_the_columns_and_rows_of_the_design(rng):
    found = it.msot.oxygenation(scan(rng, 0.002), ["HbO2", "Hb", "ICG"])
    table = it.msot.region_table([found, found.unmixed], regions(), subject="m1")
    assert tuple(table.columns) == STATISTICS_COLUMNS
    assert len(table) == len(table.attrs["details"]) == 2 * (2 + 1 + 3)
    vein = rows(table, "vein", "region_so2").iloc[0]
    assert vein["mean"] == pytest.approx(60.0, abs=0.5)
    assert vein["unit"] == "%"
    assert rows(table, "vein", "thb")["mean"].iloc[0] == pytest.approx(100.0, rel=0.01)
    assert set(table["subject"]) == {"m1"}
    named = [d["component"] for d in table.attrs["details"] if d["component"]]
    assert named == ["HbO2", "HbO2", "Hb", "Hb", "ICG", "ICG"]


def test_errors_in_the_table_are_those_of_region_means(rng):
    unmixed = it.msot.unmix(scan(rng, 0.002), ["HbO2", "Hb"], method="ls")
    table = it.msot.region_table(unmixed.estimate("HbO2"), regions())
    means = it.msot.region_means(unmixed.estimate("HbO2"), regions())
    assert table["standard_error"].tolist() == pytest.approx([mean.total_error for mean in means])
    assert (table["standard_error"] > table["sd"] / np.sqrt(table["n_valid"])).all()


def test_a_region_without_agent_lies_below_its_limit_of_detection(rng):
    unmixed = it.msot.unmix(scan(rng, 0.01), ["HbO2", "Hb", "ICG"], method="ls")
    table = it.msot.region_table(unmixed, regions(), blanks=~(TUMOUR | VEIN))
    icg = [n for n, d in enumerate(table.attrs["details"]) if d["component"] == "ICG"]
    codes = dict(zip(table["region"][icg], table["warnings"][icg], strict=True))
    assert "below-detection-limit" in codes["vein"]
    assert "below-detection-limit" not in codes["tumour"]
    assert "below-detection-limit" in {caution.code for caution in table.attrs["warnings"]}
    limits = {d["region"]: d["detection_limit"] for d in (table.attrs["details"][n] for n in icg)}
    assert 0.0 < limits["vein"] < 0.7


def test_a_region_without_haemoglobin_has_a_row_without_a_number(rng):
    found = it.msot.oxygenation(scan(rng, 0.01))
    table = it.msot.region_table(found, regions(air=AIR))
    air = rows(table, "air", "region_so2").iloc[0]
    assert np.isnan(air["mean"])
    assert np.isnan(air["standard_error"])
    assert "BELOW_NOISE" in air["flags"]


def test_a_region_that_was_masked_out_has_rows_without_numbers(rng):
    found = it.msot.oxygenation(scan(rng, 0.01), mask=TUMOUR)
    table = it.msot.region_table(found, regions())
    assert rows(table, "vein", "thb")["n_valid"].iloc[0] == 0
    assert np.isnan(rows(table, "vein", "region_so2")["mean"].iloc[0])
    assert region_so2(found, regions())[1].flags.tolist() == [Flag.INVALID_INPUT.value]


def test_frames_become_rows(rng):
    table = it.msot.region_table(it.msot.oxygenation(scan(rng, 0.002, frames=3)), regions())
    found = rows(table, "vein", "region_so2")
    assert found["axis"].tolist() == ["time"] * 3
    assert found["axis_value"].tolist() == [0.0, 1.0, 2.0]
    assert found["mean"].tolist() == pytest.approx([60.0] * 3, abs=1.0)


def test_amounts_held_at_zero_are_told(rng):
    unmixed = it.msot.unmix(scan(rng, 0.01), ["HbO2", "Hb", "ICG"])
    table = it.msot.region_table(unmixed, regions())
    assert "mean-of-bounded-amounts" in {caution.code for caution in table.attrs["warnings"]}


def test_no_maps_and_empty_regions_are_refused(rng):
    with pytest.raises(ValueError, match="at least one map"):
        it.msot.region_table([], regions())
    unmixed = it.msot.unmix(scan(rng, 0.01), ["HbO2", "Hb"])
    with pytest.raises(GeometryMismatch, match="no voxels"):
        it.msot.region_table(unmixed, regions(nothing=np.zeros(SHAPE)))
