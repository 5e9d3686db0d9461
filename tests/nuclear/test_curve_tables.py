"""Curves of regions fitted from the table of `time_activity`: half-lives, areas, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import fit_curve
from imgtheranostics.nuclear.curve_tables import MODELS
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.units import QUANTITIES

HOUR = 3600.0
F18_S = 6586.2
Y86_S = 14.74 * HOUR
HOURS = np.array([0.5, 1, 2, 4, 8, 24, 48])


def table_of(quantity="id_per_g", unit="%/g", regions=None, corrected=True, half_life_s=Y86_S, **columns):
    """A table as `time_activity` makes it: %ID/g corrected to the injection, biological half-lives in h."""
    rows = []
    for region, (amplitude, biological) in (
        regions or {"tumour": (12.0, 60.0), "liver": (8.0, 20.0)}
    ).items():
        for hours in HOURS:
            value = amplitude * 2 ** (-hours / biological)
            if not corrected:
                value *= 2 ** (-hours * HOUR / half_life_s)
            rows.append(
                {
                    "subject": "m1", "session": "", "region": region, "quantity": quantity, "unit": unit,
                    "axis": "time", "axis_value": hours * HOUR, "n_voxels": 9, "n_valid": 9, "volume_ml": 0.3,
                    "mean": value, "standard_error": 0.05 * value, "warnings": "",
                    "decay_corrected": corrected,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    for name, values in columns.items():
        table[name] = values
    table.attrs = {
        "time_origin": "injection",
        "decisions": [{"half_life": {"seconds": half_life_s}}],
        "details": [
            {"standard_error_sampling": 0.03 * row["mean"], "standard_error_calibration": 0.04 * row["mean"]}
            for row in rows
        ],
        "warnings": (),
    }
    return table


def cell(result, region, quantity, column="mean"):
    chosen = result[(result["region"] == region) & (result["quantity"] == quantity)]
    assert len(chosen) == 1
    return chosen[column].iloc[0]


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("model", ["auto", "mono"])
def test_regions_get_their_half_lives_and_areas(model, corrected):
    """Closed form: T_eff of biological and physical half-life, area 0.12 T_eff / ln 2 per gram."""
    result = it.nuclear.fit_curve(table_of(corrected=corrected), model)
    assert list(result.columns) == list(STATISTICS_COLUMNS)
    for region, amplitude, biological in (("tumour", 0.12, 60.0), ("liver", 0.08, 20.0)):
        effective = 1 / (1 / biological + HOUR / Y86_S)
        assert cell(result, region, "effective_half_life") / HOUR == pytest.approx(effective, rel=1e-6)
        assert cell(result, region, "biological_half_life") / HOUR == pytest.approx(biological, rel=1e-6)
        area = amplitude * effective * HOUR / np.log(2)
        assert cell(result, region, "tiac_per_g") == pytest.approx(area, rel=1e-6)
        assert cell(result, region, "tiac_per_g", "unit") == "s/g"
        share = cell(result, region, "extrapolated_fraction")
        assert share == pytest.approx(100 * 2 ** (-48 / effective), rel=1e-5)
    assert set(result["quantity"]) <= set(QUANTITIES)


def test_calibration_that_scans_share_goes_into_areas_and_not_into_half_lives():
    result = fit_curve(table_of(), "mono")
    area = cell(result, "tumour", "tiac_per_g")
    assert cell(result, "tumour", "tiac_per_g", "standard_error") == pytest.approx(0.04 * area, rel=1e-3)
    half_life = cell(result, "tumour", "effective_half_life")
    assert cell(result, "tumour", "effective_half_life", "standard_error") < 1e-3 * half_life


def test_details_hold_the_interval_and_curves_are_ready_to_be_drawn(rng):
    table = table_of()
    table["mean"] *= 1 + 0.05 * rng.standard_normal(len(table))
    result = fit_curve(table, "mono")
    for row, detail in zip(result.itertuples(), result.attrs["details"], strict=True):
        if row.quantity != "extrapolated_fraction":
            assert detail["lower"] < row.mean < detail["upper"]
    for drawn, (lower, upper) in zip(result.attrs["curves"], result.attrs["bands"], strict=True):
        assert (lower < drawn.line).all()
        assert (drawn.line < upper).all()
        assert drawn.axis == "time"
        assert drawn.fitted == pytest.approx(drawn.measured, rel=0.25)
        assert drawn.line[0] == pytest.approx(drawn.fitted[0], rel=0.05)
        assert set(drawn.x) <= set(drawn.line_x)
        assert drawn.x[-1] < drawn.line_x[-1] <= 1.6 * drawn.x[-1]
        assert drawn.results["effective_half_life"][0] == pytest.approx(
            cell(result, drawn.label, "effective_half_life")
        )


def test_intervals_by_resampling_are_about_those_of_the_covariance(rng):
    """Two ways to the same interval; the same seed gives the same bounds."""
    table = table_of(regions={"tumour": (12.0, 60.0)})
    table["mean"] *= 1 + 0.05 * rng.standard_normal(len(table))
    one, two, again = (
        fit_curve(table, "mono", intervals=way, rng=3).attrs["details"][0]
        for way in ("covariance", "bootstrap", "bootstrap")
    )
    assert two["interval_method"] == "bootstrap"
    assert (two["lower"], two["upper"]) == (again["lower"], again["upper"])
    widths = [detail["upper"] - detail["lower"] for detail in (one, two)]
    assert widths[1] == pytest.approx(widths[0], rel=0.5)
    assert widths[1] != widths[0]
    for change in ({"intervals": "guess"}, {"level": 1.5}):
        with pytest.raises(ValueError, match=r"intervals|level"):
            fit_curve(table, "mono", **change)


def test_the_line_of_trapezoids_is_what_the_area_is_that_of():
    """Its integral over the samples, by fine trapezoids, is the area without the tail."""
    table = table_of(regions={"tumour": (12.0, 60.0)}, corrected=False)
    for way in ("linear", "linear_log"):
        result = fit_curve(table, way, tail="last_phase")
        (drawn,) = result.attrs["curves"]
        inside = drawn.line_x <= drawn.x[-1]
        fine = np.linspace(0.0, drawn.x[-1], 200_001)
        area = np.trapezoid(np.interp(fine, drawn.line_x[inside], drawn.line[inside]), fine) / 100
        share = cell(result, "tumour", "extrapolated_fraction") / 100
        assert area == pytest.approx(cell(result, "tumour", "tiac_per_g") * (1 - share), rel=2e-4)


def test_trapezoids_carry_the_errors_of_the_samples():
    """Log trapezoids are exact for exponentials; the tail is an upper bound by decay alone."""
    table = table_of(regions={"blood": (10.0, 3.0)})
    result = fit_curve(table, "linear_log", beginning="physical", tail="last_phase")
    effective = 1 / (1 / 3 + HOUR / Y86_S)
    first = 0.1 * 2 ** (-0.5 / 3) * np.expm1(np.log(2) * 0.5 * HOUR / Y86_S) * Y86_S / np.log(2)
    after = 0.1 * 2 ** (-0.5 / effective) * effective * HOUR / np.log(2)
    first *= 2 ** (-0.5 * HOUR / Y86_S)
    assert cell(result, "blood", "tiac_per_g") == pytest.approx(first + after, rel=1e-6)
    assert cell(result, "blood", "tiac_per_g", "standard_error") > 0.04 * (first + after)
    with_decay = fit_curve(table, "linear_log", beginning="physical")
    assert cell(with_decay, "blood", "tiac_per_g") > cell(result, "blood", "tiac_per_g")


@pytest.mark.parametrize(
    ("quantity", "unit", "area", "scale"),
    [
        ("activity_concentration", "Bq/mL", "time_integrated_activity", 1.0),
        ("id_per_ml", "%/mL", "tiac_per_ml", 100.0),
        ("id_per_region", "%", "tiac", 100.0),
    ],
)
def test_each_quantity_has_its_own_area(quantity, unit, area, scale):
    result = fit_curve(table_of(quantity, unit), "mono")
    effective = HOUR / (1 / 60 + HOUR / Y86_S)
    assert cell(result, "tumour", area) == pytest.approx(12 / scale * effective / np.log(2), rel=1e-6)
    assert cell(result, "tumour", area, "unit") == QUANTITIES[area].unit


def test_an_suv_has_half_lives_and_no_area():
    result = fit_curve(table_of("suv_bw", "g/mL"), "mono")
    assert "tiac_per_g" not in set(result["quantity"])
    assert cell(result, "liver", "biological_half_life") / HOUR == pytest.approx(20, rel=1e-6)
    assert "no-area-of-suv" in {caution.code for caution in result.attrs["warnings"]}


def test_a_region_that_keeps_its_agent_is_said_to():
    result = fit_curve(table_of(regions={"bone": (3.0, np.inf)}), "mono")
    assert np.isnan(cell(result, "bone", "biological_half_life"))
    assert cell(result, "bone", "effective_half_life") == pytest.approx(Y86_S, rel=1e-9)
    assert "no-clearance" in cell(result, "bone", "tiac_per_g", "warnings")
    assert "AT_BOUND:1" in cell(result, "bone", "tiac_per_g", "flags")


def test_much_extrapolation_is_said():
    long_lived = table_of(half_life_s=160 * HOUR)
    codes = {caution.code for caution in fit_curve(long_lived, "mono").attrs["warnings"]}
    assert "much-extrapolated" in codes
    short = {caution.code for caution in fit_curve(table_of(), "mono").attrs["warnings"]}
    assert "much-extrapolated" not in short


def test_negative_and_missing_samples_are_flagged():
    table = table_of()
    table.loc[6, "mean"] = -0.2
    table.loc[9, "mean"] = np.nan
    result = fit_curve(table, "mono")
    assert "NEGATIVE_AMPLITUDE:1" in cell(result, "tumour", "tiac_per_g", "flags")
    assert "negative-activity" in cell(result, "tumour", "tiac_per_g", "warnings")
    assert np.isnan(cell(result, "liver", "tiac_per_g"))
    assert cell(result, "liver", "tiac_per_g", "flags") == "INVALID_INPUT:1"
    assert cell(result, "liver", "tiac_per_g", "n_valid") == 0


def test_weights_by_standard_error_follow_the_precise_samples():
    table = table_of(regions={"tumour": (12.0, 60.0)})
    table.loc[0, "mean"] = 20.0
    table.attrs["details"][0]["standard_error_sampling"] = 1e3
    weighted = fit_curve(table, "mono", weights="standard_error")
    assert cell(weighted, "tumour", "biological_half_life") / HOUR == pytest.approx(60, rel=1e-3)
    equal = fit_curve(table, "mono")
    assert cell(equal, "tumour", "biological_half_life") / HOUR < 55


def test_tables_written_by_hand_need_the_half_life_and_the_reference():
    plain = table_of()[["region", "quantity", "unit", "axis_value", "mean"]]
    plain.attrs = {}
    with pytest.raises(MissingMetadata, match="half-life"):
        fit_curve(plain, decay_corrected=True)
    with pytest.raises(MissingMetadata, match="decay reference"):
        fit_curve(plain, half_life_s=Y86_S)
    result = fit_curve(plain, "mono", half_life_s=Y86_S, decay_corrected=True)
    assert cell(result, "tumour", "biological_half_life") / HOUR == pytest.approx(60, rel=1e-6)


def altered(change):
    table = table_of()
    other = change(table)
    return table if other is None else other


REFUSED = {
    "decreasing times": (
        lambda t: t.__setitem__("axis_value", t["axis_value"][::-1].to_numpy()),
        ImplausibleValue,
    ),
    "repeated times": (lambda t: t.__setitem__("axis_value", 60.0), ImplausibleValue),
    "before the injection": (lambda t: t.__setitem__("axis_value", t["axis_value"] - HOUR), ImplausibleValue),
    "mixed references": (
        lambda t: t.__setitem__("decay_corrected", [n % 2 == 0 for n in range(len(t))]),
        UnitMismatch,
    ),
    "mixed units": (lambda t: t.__setitem__("unit", ["%/g"] * 13 + ["%/mL"]), UnitMismatch),
    "another quantity": (lambda t: t.__setitem__("quantity", "attenuation"), UnitMismatch),
    "another axis": (lambda t: t.__setitem__("axis", "energy"), UnsupportedInput),
    "no region": (lambda t: t.drop(columns="region"), UnsupportedInput),
    "no rows": (lambda t: t.iloc[:0], UnsupportedInput),
    "scan start": (lambda t: t.attrs.__setitem__("time_origin", "scan start"), MissingMetadata),
    "two nuclides": (
        lambda t: t.attrs["decisions"].append({"half_life": {"seconds": F18_S}}),
        ImplausibleValue,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_no_curves_are_refused(name):
    change, kind = REFUSED[name]
    with pytest.raises(kind):
        fit_curve(altered(change), "mono")


def test_fewer_points_than_parameters_are_refused_with_the_region():
    few = table_of().iloc[:3]
    with pytest.raises(IllConditioned, match="4 parameters") as refusal:
        fit_curve(few, "bi")
    assert "tumour" in str(refusal.value)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "quad"},
        {"weights": "counts"},
        {"threshold": 1.0},
        {"half_life_s": -1.0},
        {"tail": "free", "model": MODELS[-1]},
    ],
)
def test_choices_that_do_not_exist_are_refused(options):
    with pytest.raises((ValueError, IllConditioned)):
        fit_curve(table_of(), **options)


def test_from_images_to_areas(series, moments, scan_at):
    """Four scans of a constant decay-corrected truth: nothing is cleared, area by decay alone."""
    volumes = []
    for hours in (1, 2, 4, 6):
        at = scan_at + timedelta(hours=hours - 1)
        left = 2 ** (-(hours - 1) * HOUR / F18_S)
        volumes.append(
            series(
                data=np.full((8, 8, 4), 1000.0 * left), spacing=30.0, series_datetime=at,
                acquisition_datetime=moments(at),
            )
        )  # fmt: skip
    organ = np.zeros(volumes[0].grid.shape, bool)
    organ[2:5, 2:6, :] = True
    rois = Regions.from_masks({"organ": organ}, volumes[0].grid)
    table = it.nuclear.time_activity(volumes, rois, peak=False)
    result = fit_curve(table, "mono")
    at_injection = 1000 * 2 ** (HOUR / F18_S)
    assert cell(result, "organ", "time_integrated_activity") == pytest.approx(
        at_injection * F18_S / np.log(2), rel=1e-5
    )
    uncorrected = it.nuclear.time_activity(volumes, rois, peak=False, decay_corrected=False)
    mixed = pd.concat([table, uncorrected], ignore_index=True).sort_values("axis_value", kind="stable")
    mixed["axis_value"] += np.arange(len(mixed))
    mixed.attrs = table.attrs | {"details": []}
    with pytest.raises(UnitMismatch, match="mixed"):
        fit_curve(mixed, "mono")
