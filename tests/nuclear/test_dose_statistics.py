"""Dose of regions in long form: its numbers from NumPy, BED by hand, protraction of curves in closed form."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics.errors import MissingMetadata, NothingUsable, UnitMismatch
from imgtheranostics.nuclear.dose_sampling import (
    dose_at_volume_error,
    geud_error,
    independent_voxels,
    volume_at_dose_error,
)
from imgtheranostics.nuclear.dose_statistics import (
    Biology,
    bed_maps,
    dose_statistics,
    measure_name,
    region_protraction,
)
from imgtheranostics.nuclear.region_biology import biology_of_regions
from imgtheranostics.nuclear.scan_dosimetry import dose_of_scans, per_activity
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.report.wording import quantity_words
from imgtheranostics.volume import Estimate, Flag, Volume

HOUR = 3600.0
SHAPE = (8, 7, 6)
SHARED = 0.06


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(2).uniform(2.0, 40.0, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def dose(values):
    v = Volume(values, np.eye(4), "absorbed_dose", "Gy")
    return Estimate(
        v,
        v.replace(data=SHARED * values),
        v.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1"),
        SHARED,
    )


@pytest.fixture(scope="module")
def masks():
    tumour, kidney = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[:3], kidney[5:] = True, True
    return {"tumour": tumour, "kidney": kidney}


@pytest.fixture(scope="module")
def rois(dose, masks):
    return Regions.from_masks(masks, dose.grid)


def cell(table, region, quantity, column="mean"):
    found = table[(table["region"] == region) & (table["quantity"] == quantity)]
    assert len(found) == 1, (region, quantity, len(found))
    return float(found[column].iloc[0])


def test_measures_are_those_of_the_voxels(dose, rois, masks, values):
    table = dose_statistics(dose, rois, at_least_gy=(20.0, 0.5), geud_a={"tumour": -10.0})
    assert list(table.columns) == list(STATISTICS_COLUMNS)
    for name, mask in masks.items():
        inside = np.sort(values[mask].astype(float))
        assert cell(table, name, "absorbed_dose") == pytest.approx(inside.mean(), rel=1e-6)
        for percent in (98, 50, 2):
            expected = np.quantile(inside, 1 - percent / 100)
            quantity = f"d{percent}_dose_at_volume"
            assert cell(table, name, quantity) == pytest.approx(expected, rel=1e-6)
            assert cell(table, name, quantity, "standard_error") >= SHARED * expected
        share = 100 * np.mean(inside >= 20.0)
        assert cell(table, name, "v20_volume_at_dose") == pytest.approx(share)
        assert cell(table, name, "v0_5_volume_at_dose") == 100.0
    inside = values[masks["tumour"]].astype(float)
    expected = np.mean(inside**-10.0) ** -0.1
    assert cell(table, "tumour", "equivalent_uniform_dose") == pytest.approx(expected, rel=1e-6)
    assert not ((table["region"] == "kidney") & (table["quantity"] == "equivalent_uniform_dose")).any()


def test_errors_of_measures_are_the_scatter_of_repeats():
    """70 doses of independent noise, and of noise blurred by one voxel: spread over stated error is 1.

    The scatter of 70 repeats is known to 8 %, in a region that noise alone makes uneven.
    """
    rng, shape = np.random.default_rng(8), (18, 18, 18)
    inside = np.zeros(shape, bool)
    inside[2:16, 2:16, 2:16] = True
    for blur in (0.0, 1.0):
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(70):
            noise = rng.normal(0, 1, shape)
            if blur:
                noise = gaussian_filter(noise, blur, mode="wrap")
                noise /= noise.std()
            v = Volume((20.0 + 2.0 * noise).astype(np.float32), np.eye(4), "absorbed_dose", "Gy")
            none = v.replace(data=np.zeros(shape, np.uint16), quantity="flags", unit="1")
            one = Estimate(v, v.replace(data=np.full(shape, 2.0)), none, 0.0)
            rois = Regions.from_masks({"all": inside}, v.grid)
            table = dose_statistics(one, rois, at_least_gy=(19.0,), geud_a=-5.0)
            for row in table.itertuples():
                found.setdefault(row.quantity, []).append((row.mean, row.standard_error))
        assert len(found) == 6
        for quantity, pairs in found.items():
            values, errors = np.array(pairs).T
            assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.2), (quantity, blur)


def test_shares_of_correlated_noise_are_those_of_the_quadrant_formula():
    """Sheppard: two normal doses of correlation r lie on one side of their medians with 1/2 + asin(r)/pi."""
    grid = np.linspace(-12, 12, 97)
    d2 = grid[:, None, None] ** 2 + grid[None, :, None] ** 2 + grid[None, None, :] ** 2
    correlation = np.exp(-d2 / 4)
    of_doses, of_shares = correlation.sum(), (np.arcsin(correlation) / (np.pi / 2)).sum()
    assert independent_voxels(0.5, 10.0, 10**6) == pytest.approx(10 * of_doses / of_shares, rel=0.03)
    assert independent_voxels(0.5, 10.0, 12) == 12.0


def test_errors_of_extremes_are_not_known(values):
    dose = values.astype(np.float64).ravel()
    assert np.isnan([dose_at_volume_error(dose, percent, 50.0) for percent in (0.0, 100.0)]).all()
    assert np.isnan([geud_error(dose, np.inf, 50.0), geud_error(0 * dose, -2.0, 50.0)]).all()
    assert np.isnan([dose_at_volume_error(dose, 50.0, 0.0), volume_at_dose_error(50.0, 0.0, 9)]).all()
    mean = dose.std(ddof=1) / np.sqrt(50.0)
    assert geud_error(dose, 1.0, 50.0) == pytest.approx(mean)


def test_bed_and_eqd2_by_hand(dose, rois, masks, values):
    """BED = D (1 + G D / (alpha/beta)), EQD2 = BED / (1 + 2 / (alpha/beta)), voxel by voxel."""
    biology = {"tumour": Biology(10.0, 0.2), "kidney": Biology(2.5, 0.5)}
    table = dose_statistics(dose, rois, biology=biology)
    bed, eqd2 = bed_maps(dose, rois, biology)
    for name, mask in masks.items():
        ratio, g = biology[name].alpha_beta_gy, biology[name].g
        expected = values[mask] * (1 + g * values[mask] / ratio)
        assert cell(table, name, "biologically_effective_dose") == pytest.approx(expected.mean(), rel=1e-5)
        assert cell(table, name, "equieffective_dose_2gy") == pytest.approx(
            expected.mean() / (1 + 2 / ratio), rel=1e-5
        )
        assert cell(table, name, "protraction_factor") == g
        np.testing.assert_allclose(bed.value.data[mask], expected, rtol=1e-5)
        np.testing.assert_allclose(eqd2.value.data[mask], expected / (1 + 2 / ratio), rtol=1e-5)
    outside = ~(masks["tumour"] | masks["kidney"])
    assert np.isnan(bed.value.data[outside]).all()
    assert (bed.flags.data[outside] == Flag.MASKED_OUT.value).all()


def test_regions_that_overlap_have_rows_and_no_map_of_effect(dose, masks):
    both = Regions.from_masks({"one": masks["tumour"], "all": masks["tumour"] | masks["kidney"]}, dose.grid)
    biology = {"one": Biology(10.0, 0.2), "all": Biology(3.0, 0.2)}
    assert bed_maps(dose, both, biology) == ()
    table = dose_statistics(dose, both, biology=biology)
    assert np.isfinite(cell(table, "all", "biologically_effective_dose"))


def test_effect_of_a_dose_per_activity_is_refused(dose, rois):
    one = per_activity(dose)
    table = dose_statistics(one, rois)
    assert set(table["unit"]) == {"Gy/MBq"}
    with pytest.raises(UnitMismatch, match="not proportional"):
        dose_statistics(one, rois, biology={"tumour": Biology(10.0, 0.1)})


def test_a_region_that_does_not_exist_is_named(dose, rois):
    with pytest.raises(NothingUsable, match="no such region"):
        dose_statistics(dose, rois, geud_a={"spleen": 1.0})
    with pytest.raises(NothingUsable, match="no such region"):
        dose_statistics(dose, rois, biology={"spleen": Biology(3.0, 1.0)})


def test_names_of_measures_read_well():
    assert quantity_words(measure_name("D98")).startswith("D98: least dose in the hottest 98 %")
    assert quantity_words(measure_name("V0.5")).startswith(
        "V0.5: share of the region with a dose of at least 0.5"
    )


@pytest.fixture
def scans(series, moments, scan_at):
    """64Cu that leaves with 30 h of biology."""
    volumes = []
    for hours in (1.0, 4.0, 24.0, 48.0):
        at = scan_at + timedelta(hours=hours - 1)
        left = 2 ** (-hours * HOUR / 45720.0) * 2 ** (-(hours + 150 / HOUR) / 30.0)
        volumes.append(
            series(
                data=np.full((6, 6, 3), 5e4 * left), spacing=30.0, series_datetime=at,
                acquisition_datetime=moments(at), nuclide="Cu-64", half_life_s=45720.0,
            )
        )  # fmt: skip
    return volumes


def test_protraction_of_one_exponential_is_its_closed_form(scans):
    """G = T_rep / (T_rep + T_eff); the twin's own half-life makes it another."""
    rois = Regions.from_masks({"all": np.ones((6, 6, 3), bool)}, scans[0].grid)
    repair = 1.5 * HOUR
    for half_life in (45720.0, 61.83 * HOUR):
        effective = 1 / (1 / half_life + 1 / (30 * HOUR))
        found, _ = region_protraction(scans, rois, repair, half_life_s=half_life, model="mono")
        assert found["all"] == pytest.approx(repair / (repair + effective), rel=2e-3)
    trapezoid, _ = region_protraction(scans, rois, repair, model="linear")
    assert trapezoid["all"] == pytest.approx(repair / (repair + 1 / (1 / 45720 + 1 / 108000)), rel=0.02)


def test_biology_takes_the_half_life_where_it_is_known(scans):
    rois = Regions.from_masks({"all": np.ones((6, 6, 3), bool)}, scans[0].grid)
    common = {"alpha_beta_gy": 10.0, "repair_half_life_s": 1.5 * HOUR}
    found = dose_of_scans(scans[0], effective_half_life_s=6 * HOUR, method="local")
    biology, _ = biology_of_regions(found, [scans[0]], rois, **common)
    assert biology["all"].g == pytest.approx(1.5 / 7.5)
    given, _ = biology_of_regions(found, [scans[0]], rois, dose_rate_half_life_s=3 * HOUR, **common)
    assert given["all"].g == pytest.approx(1.5 / 4.5)
    several = dose_of_scans(scans, model="mono", method="local")
    curve, _ = biology_of_regions(several, scans, rois, model="mono", **common)
    effective = 1 / (1 / 45720 + 1 / 108000) / HOUR
    assert curve["all"].g == pytest.approx(1.5 / (1.5 + effective), rel=2e-3)
    of_map = dose_of_scans(several.decays, nuclide="Cu-64", method="local")
    with pytest.raises(MissingMetadata, match="how fast"):
        biology_of_regions(of_map, [several.decays], rois, **common)
