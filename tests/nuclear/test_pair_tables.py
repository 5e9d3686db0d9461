"""Tables of theranostic pairs: closed forms by region, parts of the errors, doses, and what is refused."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import imgtheranostics as it
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import (
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import Administration, pair_table
from imgtheranostics.nuclear.absorbed_fractions import absorbed_fraction
from imgtheranostics.nuclear.dosimetry import local_s
from imgtheranostics.nuclear.pairs import transfer
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.units import QUANTITIES

HOUR = 3600.0
HOURS = np.array([1.0, 6, 24, 48, 96, 150])
Y86_S, Y90_S = (nuclide(name).half_life_s for name in ("Y-86", "Y-90"))
BIOLOGY = {"tumour": (12.0, 60.0), "liver": (8.0, 20.0)}


def table_of(
    quantity="id_per_g", unit="%/g", corrected=True, imaged="Y-86", noise=0.0, volume_ml=0.3, biology=None
):
    """A table as `time_activity` makes it; uptake of biological half-lives in h."""
    rng = np.random.default_rng(11)
    record = nuclide(imaged)
    rows = []
    for region, (amplitude, half_life) in (biology or BIOLOGY).items():
        for hours in HOURS:
            value = amplitude * 2 ** (-hours / half_life) * (1 + noise * rng.standard_normal())
            if not corrected:
                value *= 2 ** (-hours * HOUR / record.half_life_s)
            rows.append(
                {
                    "subject": "m1", "session": "", "region": region, "quantity": quantity, "unit": unit,
                    "axis": "time", "axis_value": hours * HOUR, "n_voxels": 9, "n_valid": 9,
                    "volume_ml": volume_ml, "mean": value, "standard_error": 0.05 * value, "warnings": "",
                    "decay_corrected": corrected,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table.attrs = {
        "time_origin": "injection",
        "decisions": [{"half_life": {"seconds": record.half_life_s, "nuclide": record.name}}],
        "details": [
            {"standard_error_sampling": 0.03 * row["mean"], "standard_error_calibration": 0.04 * row["mean"]}
            for row in rows
        ],
        "warnings": (),
    }
    return table


def cell(result, region, quantity, column="mean"):
    (found,) = result[(result["region"] == region) & (result["quantity"] == quantity)].index
    return result.attrs["details"][found][column] if column not in result else result[column][found]


def codes(result):
    return [caution.code for caution in result.attrs["warnings"]]


def effective_s(biological_h, half_life_s):
    return HOUR / (1 / biological_h + HOUR / half_life_s)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("model", ["auto", "mono"])
def test_every_region_has_the_closed_forms_of_both_nuclides(model, corrected):
    result = pair_table(table_of(corrected=corrected), given="Y-90", model=model)
    assert list(result.columns) == list(STATISTICS_COLUMNS)
    for region, (amplitude, half_life) in BIOLOGY.items():
        assert cell(result, region, "id_per_g_at_injection") == pytest.approx(amplitude, rel=1e-6)
        assert cell(result, region, "biological_half_life") == pytest.approx(half_life * HOUR, rel=1e-6)
        areas = []
        for prefix, seconds in (("", Y90_S), ("imaged_", Y86_S)):
            effective = effective_s(half_life, seconds)
            areas.append(amplitude / 100 * effective / math.log(2))
            assert cell(result, region, f"{prefix}effective_half_life") == pytest.approx(effective, rel=1e-6)
            assert cell(result, region, f"{prefix}tiac_per_g") == pytest.approx(areas[-1], rel=1e-6)
        late = 2 ** (-150 * HOUR / effective_s(half_life, Y90_S))
        assert cell(result, region, "extrapolated_fraction") == pytest.approx(100 * late, rel=1e-5)
        local = areas[0] * local_s("Y-90") * 1e-3
        assert cell(result, region, "local_dose_per_activity") == pytest.approx(local, rel=1e-6)
        own = absorbed_fraction("Y-90", mass_g=0.3, density_g_ml=1.0).dose_gy(areas[0] * 0.3)
        assert cell(result, region, "self_dose_per_activity") == pytest.approx(float(own), rel=1e-6)
        assert cell(result, region, "tiac_per_g", "tiac_least") == pytest.approx(
            areas[0] * (1 - late), rel=1e-5
        )
    for row in result.to_dict("records"):
        assert QUANTITIES[row["quantity"]].unit == row["unit"]


@pytest.mark.parametrize(("effective", "dose"), [(31.0, 2.888), (64.10, 5.972)])
def test_90y_dose_of_the_upsn_tumour(effective, dose):
    """The issue: 12 %ID/g gives 2.888 and 5.972 Gy/MBq for T_eff 31.0 and 64.10 h to 0.1 %."""
    rate = 1 / effective - HOUR / Y90_S
    half_life = 1 / rate if rate > 1e-9 else 1e12
    result = pair_table(table_of(biology={"tumour": (12.0, half_life)}), given="Y-90", model="mono")
    assert cell(result, "tumour", "effective_half_life") == pytest.approx(effective * HOUR, rel=1e-6)
    assert cell(result, "tumour", "local_dose_per_activity") == pytest.approx(dose, rel=1e-3)


def test_table_and_array_level_agree_also_about_errors():
    """Scatter of 5 %, equal weights; calibration 4 %, and 2 % of what a sphere absorbs."""
    table = table_of(noise=0.05)
    result = pair_table(table, given="Y-90", model="mono")
    own = table[table["region"] == "tumour"]
    moved = transfer(own["axis_value"], own["mean"], imaged="Y-86", given="Y-90", calibration_relative=0.04)
    for quantity, value, error in (
        ("id_per_g_at_injection", moved.uptake, moved.uptake_standard_error),
        ("tiac_per_g", moved.tiac_s, moved.tiac_standard_error_s),
        ("imaged_tiac_per_g", moved.imaged_tiac_s, moved.imaged_tiac_standard_error_s),
        ("local_dose_per_activity", moved.local_dose_gy_per_mbq, moved.local_dose_standard_error),
    ):
        assert cell(result, "tumour", quantity) == pytest.approx(value, rel=1e-9)
        assert cell(result, "tumour", quantity, "standard_error_fit") == pytest.approx(error, rel=1e-6)
        total = moved.total_standard_error(value, error)
        assert cell(result, "tumour", quantity, "standard_error") == pytest.approx(total, rel=1e-6)
    half = cell(result, "tumour", "effective_half_life", "standard_error")
    assert half == pytest.approx(moved.effective_half_life_standard_error_s, rel=1e-6)
    dose = cell(result, "tumour", "self_dose_per_activity")
    shared = cell(result, "tumour", "self_dose_per_activity", "standard_error_calibration")
    assert shared == pytest.approx(dose * math.hypot(0.04, 0.02), rel=1e-6)
    for quantity, parameter in (
        ("tiac_per_g", "tiac_s"),
        ("local_dose_per_activity", "local_dose_gy_per_mbq"),
        ("effective_half_life", "effective_half_life_s"),
    ):
        bounds = moved.interval(parameter)
        for end in ("lower", "upper"):
            assert cell(result, "tumour", quantity, end) == pytest.approx(getattr(bounds, end), rel=1e-6)


@pytest.mark.parametrize("weights", ["relative", "standard_error"])
def test_weights_are_those_of_the_array_level(weights):
    """Errors of 3 % of each value are relative ones: both are the weights of `transfer`."""
    table = table_of(noise=0.05)
    result = pair_table(table, given="Y-90", model="mono", weights=weights)
    own = table[table["region"] == "liver"]
    moved = transfer(own["axis_value"], own["mean"], imaged="Y-86", given="Y-90", weights=own["mean"] ** -2)
    assert cell(result, "liver", "tiac_per_g") == pytest.approx(moved.tiac_s, rel=1e-6)
    uptake = cell(result, "liver", "id_per_g_at_injection", "standard_error_fit")
    assert uptake == pytest.approx(moved.uptake_standard_error, rel=1e-6)


def test_animals_of_one_table_have_rows_of_their_own():
    first, second = table_of(), table_of(biology={"tumour": (6.0, 60.0)})
    second["subject"] = "m2"
    both = pd.concat([pd.DataFrame(first), pd.DataFrame(second)], ignore_index=True)
    both.attrs = {**first.attrs, "details": [*first.attrs["details"], *second.attrs["details"]]}
    result = pair_table(both, given="Y-90", model="mono")
    dose = result[(result["quantity"] == "local_dose_per_activity") & (result["region"] == "tumour")]
    assert list(dose["subject"]) == ["m1", "m2"]
    assert dose["mean"].iloc[0] == pytest.approx(2 * dose["mean"].iloc[1], rel=1e-6)


def test_bootstrap_intervals_are_about_the_dose(rng):
    result = pair_table(
        table_of(noise=0.04), given="Y-90", model="mono", intervals="bootstrap", rng=4, n_resamples=199
    )
    value = cell(result, "tumour", "local_dose_per_activity")
    lower, upper = (cell(result, "tumour", "local_dose_per_activity", end) for end in ("lower", "upper"))
    assert lower < value < upper
    plain = pair_table(table_of(noise=0.04), given="Y-90", model="mono")
    width = cell(plain, "tumour", "local_dose_per_activity", "upper") / value
    assert math.log(upper / value) == pytest.approx(math.log(width), rel=0.5)
    assert cell(result, "tumour", "tiac_per_g", "interval_method") == "bootstrap"


def test_assumption_label_and_pair_are_said_and_recorded():
    result = pair_table(table_of(), given="90Y")
    assert codes(result)[:3] == ["same-biology", "label-not-carrier", "pair-caveat"]
    pair = result.attrs["decisions"]["pair"]
    assert (pair["imaged"], pair["given"]) == ("Y-86", "Y-90")
    assert "Y-90 is taken to be carried" in pair["explanation"]
    assert result.attrs["decisions"]["scans"][0]["half_life"]["nuclide"] == "Y-86"
    assert cell(result, "tumour", "tiac_per_g", "nuclide") == "Y-90"
    assert cell(result, "tumour", "imaged_tiac_per_g", "nuclide") == "Y-86"


@pytest.mark.parametrize(
    ("quantity", "unit", "area"), [("id_per_ml", "%/mL", "tiac_per_ml"), ("id_per_region", "%", "tiac")]
)
def test_shares_per_volume_and_region_become_the_same_dose_by_their_mass(quantity, unit, area):
    """12 % per mL at 1.05 g/mL, and 12 % in 0.3 mL of it, by the mass that has it."""
    result = pair_table(table_of(quantity, unit), given="Y-90", density_g_ml=1.05)
    effective = effective_s(60.0, Y90_S)
    coefficient = 0.12 * effective / math.log(2)
    assert cell(result, "tumour", area) == pytest.approx(coefficient, rel=1e-6)
    grams = 1.05 if quantity == "id_per_ml" else 0.315
    local = coefficient / grams * local_s("Y-90") * 1e-3
    assert cell(result, "tumour", "local_dose_per_activity") == pytest.approx(local, rel=1e-6)
    decays = coefficient * (0.3 if quantity == "id_per_ml" else 1.0)
    sphere = absorbed_fraction("Y-90", mass_g=0.315, density_g_ml=1.05).dose_gy(decays)
    assert cell(result, "tumour", "self_dose_per_activity") == pytest.approx(float(sphere), rel=1e-6)


def test_masses_go_before_volumes_and_small_regions_lose_energy():
    result = pair_table(table_of(), given="Y-90", masses_g={"tumour": 0.05})
    area = cell(result, "tumour", "tiac_per_g")
    expected = absorbed_fraction("Y-90", mass_g=0.05, density_g_ml=1.0).dose_gy(area * 0.05)
    assert cell(result, "tumour", "self_dose_per_activity") == pytest.approx(float(expected), rel=1e-9)
    assert cell(result, "tumour", "self_dose_per_activity", "mass_g") == 0.05
    assert "energy-leaves-region" in cell(result, "tumour", "tiac_per_g", "warnings")
    unknown = pair_table(table_of(volume_ml=np.nan), given="Y-90")
    assert "self_dose_per_activity" not in set(unknown["quantity"])
    assert "energy-leaves-region" not in codes(unknown)


def test_photons_and_progeny_are_said():
    assert "photons-not-included" in codes(pair_table(table_of(imaged="I-124"), given="I-131"))
    assert "photons-not-included" not in codes(pair_table(table_of(), given="Y-90"))
    alone = pair_table(table_of(imaged="Pb-203"), given="Pb-212", model="mono")
    chain = pair_table(table_of(imaged="Pb-203"), given="Pb-212", model="mono", progeny="in_place")
    assert "progeny-in-place" in codes(chain)
    quantity = "local_dose_per_activity"
    assert cell(chain, "tumour", quantity) > 5 * cell(alone, "tumour", quantity)


def test_trapezoids_take_the_decay_of_the_nuclide_that_is_given():
    result = pair_table(table_of(), given="Y-90", model="linear_log", beginning="physical", tail="last_phase")
    effective = effective_s(60.0, Y90_S)
    area = 0.12 * effective / math.log(2)
    first = 0.12 * 2 ** (-1 / 60)
    decay = math.log(2) / Y90_S * HOUR
    before = 0.12 * (1 - 2 ** (-HOUR / effective)) * effective / math.log(2)
    physical = first * (1 - math.exp(-decay)) / decay * HOUR
    assert cell(result, "tumour", "tiac_per_g") == pytest.approx(area - before + physical, rel=1e-6)
    assert math.isnan(cell(result, "tumour", "id_per_g_at_injection"))
    bounded = pair_table(table_of(), given="Y-90", model="linear_log")
    assert cell(bounded, "tumour", "tiac_per_g") > cell(result, "tumour", "tiac_per_g")
    (drawn, _) = result.attrs["curves"]
    assert drawn.band is None


def test_curves_are_drawn_with_band_and_activity_of_what_is_given():
    result = pair_table(table_of(noise=0.03), given="Y-90", model="mono")
    drawn = result.attrs["curves"][0]
    lower, upper = drawn.band
    assert drawn.kind == "pair"
    assert ((lower < drawn.line) & (drawn.line < upper)).all()
    given = drawn.parts["Y-90"]
    assert given == pytest.approx(drawn.line * 2 ** (-drawn.line_x / Y90_S), rel=1e-9)
    area = np.trapezoid(given, drawn.line_x) / 100
    assert area == pytest.approx(cell(result, "tumour", "tiac_per_g"), rel=0.1)
    assert drawn.line_x[-1] > drawn.x[-1]
    assert drawn.results["local_dose_per_activity"][0] == cell(result, "tumour", "local_dose_per_activity")


def test_extrapolation_is_said_by_region_with_bounds_and_refused_where_asked():
    early = table_of(imaged="Ga-68")
    early = early[early["axis_value"] <= 48 * HOUR].copy()
    early["axis_value"] /= 12.0
    early["mean"] = [
        BIOLOGY[r][0] * 2 ** (-t / HOUR / BIOLOGY[r][1])
        for r, t in zip(early["region"], early["axis_value"], strict=True)
    ]
    early.attrs = {key: value for key, value in table_of(imaged="Ga-68").attrs.items() if key != "details"}
    result = pair_table(early, given="Lu-177", model="mono")
    assert "other-element" in codes(result)
    assert codes(result).count("mostly-extrapolated") == 2
    assert "much-extrapolated" not in codes(result)
    assert "mostly-extrapolated" in cell(result, "liver", "tiac_per_g", "warnings")
    most = cell(result, "tumour", "tiac_per_g", "tiac_most")
    decay = math.log(2) / nuclide("Lu-177").half_life_s
    inside = cell(result, "tumour", "tiac_per_g", "tiac_least")
    assert most == pytest.approx(
        inside + 0.12 * 2 ** (-4 / 60) * math.exp(-decay * 4 * HOUR) / decay, rel=1e-6
    )
    with pytest.raises(IllConditioned, match="after the last image") as caught:
        pair_table(early, given="Lu-177", model="mono", most_extrapolated=0.8)
    assert caught.value.where == "region tumour"


def test_elements_are_checked_as_at_array_level():
    with pytest.raises(ImplausibleValue, match="different elements"):
        pair_table(table_of(imaged="Zr-89"), given="Lu-177")
    result = pair_table(table_of(imaged="Zr-89"), given="Lu-177", allow_other_element=True)
    assert "other-element" in codes(result)
    with pytest.raises(UnsupportedInput, match="not in the table"):
        pair_table(table_of(), given="Y-99")


def test_the_nuclide_that_was_imaged_must_be_known_and_one():
    table = table_of()
    table.attrs["decisions"] = [{"half_life": {"seconds": Y86_S}}]
    with pytest.raises(MissingMetadata, match="imaged is not known") as caught:
        pair_table(table, given="Y-90")
    assert "--imaged" in str(caught.value.next_step)
    named = pair_table(table, given="Y-90", imaged="86Y")
    assert cell(named, "tumour", "tiac_per_g") == cell(
        pair_table(table_of(), given="Y-90"), "tumour", "tiac_per_g"
    )
    with pytest.raises(ImplausibleValue, match="half-life of the curves is not that of Cu-64"):
        pair_table(table, given="Cu-67", imaged="Cu-64")
    with pytest.raises(ImplausibleValue, match="more than one nuclide"):
        pair_table(table_of(), given="Cu-67", imaged="Cu-64")
    table.attrs["decisions"] = [
        {"half_life": {"seconds": nuclide(name).half_life_s, "nuclide": name}} for name in ("I-123", "I-124")
    ]
    with pytest.raises(ImplausibleValue, match="more than one nuclide"):
        pair_table(table, given="I-131")


@pytest.mark.parametrize(("quantity", "unit"), [("activity_concentration", "Bq/mL"), ("suv_bw", "g/mL")])
def test_curves_that_are_no_share_of_the_injection_are_refused(quantity, unit):
    with pytest.raises(UnitMismatch, match="share of what was injected"):
        pair_table(table_of(quantity, unit), given="Y-90")


def test_mixed_references_and_decreasing_times_are_refused():
    table = table_of()
    table.loc[2, "decay_corrected"] = False
    with pytest.raises(UnitMismatch, match="decay references"):
        pair_table(table, given="Y-90")
    with pytest.raises(MissingMetadata, match="decay reference"):
        pair_table(table_of().drop(columns="decay_corrected"), given="Y-90")
    table = table_of()
    table.loc[2, "axis_value"] = 60.0
    with pytest.raises(ImplausibleValue, match="do not increase"):
        pair_table(table, given="Y-90")
    short = table_of()
    kept = short[short["axis_value"] < 10 * HOUR].copy()
    kept.attrs = {key: value for key, value in short.attrs.items() if key != "details"}
    with pytest.raises(IllConditioned, match="cannot be quantified"):
        pair_table(kept, given="Y-90", model="bi")
    since_start = table_of()
    since_start.attrs["time_origin"] = "scan start"
    with pytest.raises(MissingMetadata, match="start of the scan"):
        pair_table(since_start, given="Y-90")
    region = table_of("id_per_region", "%", volume_ml=np.nan)
    with pytest.raises(MissingMetadata, match="mass of a region"):
        pair_table(region, given="Y-90")


@pytest.mark.parametrize(
    "options",
    [
        {"model": "spline"},
        {"weights": "none"},
        {"intervals": "guess"},
        {"density_g_ml": 0.0},
        {"density_g_ml": math.nan},
        {"masses_g": {"tumour": 0.0}},
        {"masses_g": {"kidney": 1.0}},
        {"most_extrapolated": 1.5},
        {"quantity": "id_per_g"},
        {"peak": False},
    ],
)
def test_choices_that_do_not_exist_are_refused(options):
    with pytest.raises(ValueError, match=r"must|not for a table"):
        pair_table(table_of(), given="Y-90", **options)
    if options == {"model": "spline"}:
        with pytest.raises(UnsupportedInput, match="progeny"):
            pair_table(table_of(), given="Y-90", progeny="some")


def test_negative_samples_and_regions_without_activity_are_flagged():
    table = table_of()
    liver = table["region"] == "liver"
    table.loc[liver, "mean"] = -1.0
    table.loc[5, "mean"] = -0.01
    result = pair_table(table, given="Y-90", model="mono")
    assert math.isnan(cell(result, "liver", "local_dose_per_activity"))
    assert "BELOW_NOISE" in cell(result, "liver", "local_dose_per_activity", "flags")
    assert "NEGATIVE_AMPLITUDE" in cell(result, "tumour", "tiac_per_g", "flags")
    assert "negative-activity" in codes(result)


def test_no_clearance_is_said_and_bounds_the_dose():
    result = pair_table(table_of(biology={"tumour": (12.0, -300.0)}), given="Y-90", model="mono")
    assert "no-clearance" in codes(result)
    assert math.isnan(cell(result, "tumour", "biological_half_life"))
    assert cell(result, "tumour", "effective_half_life") == pytest.approx(Y90_S, rel=1e-6)
    area, dose = "tiac_per_g", "local_dose_per_activity"
    lower, upper = (cell(result, "tumour", area, end) for end in ("lower", "upper"))
    assert lower < cell(result, "tumour", area) < upper
    assert cell(result, "tumour", area, "interval_method") == "profile"
    ratio = cell(result, "tumour", dose) / cell(result, "tumour", area)
    assert cell(result, "tumour", dose, "lower") == pytest.approx(ratio * lower, rel=1e-9)
    assert cell(result, "tumour", "effective_half_life", "upper") == pytest.approx(Y90_S)
    own = transfer(HOURS * HOUR, 12 * 2 ** (HOURS / 300), imaged="Y-86", given="Y-90").interval()
    assert (lower, upper) == pytest.approx((own.lower, own.upper), rel=1e-9)


def scans_of(series, moments, scan_at, injected_bq=20e6):
    """86Y of 12 %ID/mL at injection, cleared with 60 h, at 1, 24, 48 and 96 h."""
    volumes = []
    for after in (1.0, 24.0, 48.0, 96.0):
        at = scan_at + timedelta(hours=after - 1)
        left = 2 ** (-after * HOUR / Y86_S) * 2 ** (-(after + 150 / HOUR) / 60.0)
        data = np.full((8, 8, 4), 0.12 * injected_bq * left)
        volumes.append(
            series(
                data=data, spacing=4.0, series_datetime=at, acquisition_datetime=moments(at),
                nuclide="Y-86", half_life_s=Y86_S, total_dose=injected_bq,
            )
        )  # fmt: skip
    return volumes


def test_from_scans_to_doses_of_regions(series, moments, scan_at):
    volumes = scans_of(series, moments, scan_at)
    rois = Regions.from_masks({"tumour": np.ones(volumes[0].grid.shape, bool)}, volumes[0].grid)
    own = Administration(20e6, at=volumes[0].acquisition.radiopharmaceutical.start_datetime)
    result = it.nuclear.pair_table(volumes[::-1], rois, given="Y-90", model="mono", administration=own)
    area = 0.12 * effective_s(60.0, Y90_S) / math.log(2)
    assert cell(result, "tumour", "tiac_per_g") == pytest.approx(area, rel=1e-5)
    assert cell(result, "tumour", "local_dose_per_activity") == pytest.approx(
        area * local_s("Y-90") * 1e-3, rel=1e-5
    )
    shared = cell(result, "tumour", "tiac_per_g", "standard_error_calibration")
    assert shared == pytest.approx(0.05 * area, rel=0.3)
    named = pair_table(volumes, rois, given="Y-90", imaged="Y-86", model="mono", quantity="id_per_ml",
                       administration=own)  # fmt: skip
    assert cell(named, "tumour", "tiac_per_ml") == pytest.approx(area, rel=1e-5)
    with pytest.raises(ImplausibleValue, match="another nuclide than is said"):
        pair_table(volumes, rois, given="Cu-67", imaged="Cu-64", administration=own)
    with pytest.raises(ValueError, match="regions must be given"):
        pair_table(volumes, given="Y-90")
