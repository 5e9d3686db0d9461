"""Kinetics of regions: parameters that were put there, plots by a second regression, published curves."""

from __future__ import annotations

import csv
from datetime import timedelta

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import imgtheranostics as it
from imgtheranostics.errors import (
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear import kinetics, kinetics_maps, kinetics_table, time_activity
from imgtheranostics.nuclear.input_functions import InputFunction
from imgtheranostics.nuclear.kinetic_tables import region_input
from imgtheranostics.nuclear.tissue_curves import TissueCurves
from imgtheranostics.nuclear.tissue_regions import tissue_of_regions, tissue_of_table
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.units import QUANTITIES

F18_S = 6586.2
DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
START = np.cumsum(DURATION) - DURATION
MID = START + DURATION / 2
FINE = np.arange(0.0, START[-1] + DURATION[-1] + 1, 1.0)
PLASMA = 1e4 * (FINE / 30 * np.exp(-FINE / 40) + 0.2 * (np.exp(-FINE / 2500) - np.exp(-FINE / 40)))
BLOOD = InputFunction(FINE, PLASMA, 0.8 * PLASMA, {"rule": "plasma samples"})


def frame_means(curve):
    area = np.r_[0.0, np.cumsum(0.5 * (curve[1:] + curve[:-1]))]
    return (np.interp(START + DURATION, FINE, area) - np.interp(START, FINE, area)) / DURATION


def tissue(k1, k2, k3=0.0, k4=0.0, vb=0.0):
    """The differential equations by SciPy, at steps of 1 s."""
    rates = np.array([k1, k2, k3, k4]) / 60

    def slope(t, c):
        flow = rates[0] * np.interp(t, FINE, PLASMA) - (rates[1] + rates[2]) * c[0] + rates[3] * c[1]
        return [flow, rates[2] * c[0] - rates[3] * c[1]]

    found = solve_ivp(
        slope, (0.0, FINE[-1]), [0.0, 0.0], t_eval=FINE, rtol=1e-9, atol=1e-6, max_step=20, method="RK45"
    )
    return frame_means((1 - vb) * found.y.sum(axis=0) + vb * 0.8 * PLASMA)


ONE = {"grey": (0.1, 0.05), "white": (0.06, 0.06)}
TWO = (0.1, 0.3, 0.05, 0.02)


def curves_of(values, names=None, **changes):
    values = np.atleast_2d(values)
    names = names or tuple(f"r{n}" for n in range(len(values)))
    stated = {
        "names": tuple(names), "values": values, "errors": np.full(values.shape, np.nan), "mid_s": MID,
        "duration_s": DURATION, "half_life_s": F18_S, "sizes": ((10, 10, 0.5),) * len(values),
    }  # fmt: skip
    return TissueCurves(**{**stated, **changes})


@pytest.fixture(scope="module")
def one_tissue():
    return curves_of([tissue(*rates) for rates in ONE.values()], tuple(ONE))


@pytest.fixture(scope="module")
def trapped():
    """Two tissue compartments without a way back: Ki = 0.1 0.05 / 0.35."""
    return curves_of(tissue(0.1, 0.3, 0.05, 0.0, vb=0.04), ("tumour",))


def value(table, region, quantity, column="mean"):
    chosen = table[(table["region"] == region) & (table["quantity"] == quantity)]
    assert len(chosen) == 1
    return chosen[column].iloc[0]


def test_rates_of_two_tissue_compartments_are_those_of_the_equations():
    """pet.md section 6: K1 .1 k2 .3 k3 .05 k4 .02 have VT 1.166667."""
    data = curves_of(tissue(*TWO, vb=0.05), ("cortex",))
    found = kinetics_table(data, model="two_tissue", input_function=BLOOD, delay_s=0.0)
    assert list(found.columns) == list(STATISTICS_COLUMNS)
    for name, expected in zip(
        ("tissue_influx", "tissue_efflux", "binding_rate", "release_rate"), TWO, strict=True
    ):
        assert value(found, "cortex", name) == pytest.approx(expected, rel=1e-3)
    assert value(found, "cortex", "distribution_volume") == pytest.approx(1.166667, rel=1e-3)
    assert value(found, "cortex", "blood_fraction") == pytest.approx(0.05, rel=1e-3)
    assert set(found["quantity"]) <= set(QUANTITIES)
    drawn = found.attrs["curves"]
    assert [curve.kind for curve in drawn] == ["input", "kinetics"]
    assert drawn[1].fitted == pytest.approx(data.values[0], rel=2e-3, abs=1.0)
    assert list(drawn[0].parts) == ["whole blood"]


@pytest.mark.parametrize("model", ["one_tissue", "two_tissue_irreversible", "srtm", "ma1", "mrtm2", "mrtm"])
def test_the_drawn_curve_has_the_residuals_of_the_fit(one_tissue, trapped, rng, model):
    """The misfit of the array level, from kernels, against the drawn model, made another way."""
    data = trapped if model == "two_tissue_irreversible" else one_tissue
    noise = 1 + 0.03 * rng.standard_normal(data.values.shape)
    data = curves_of(data.values * noise, data.names)
    options = {
        "ma1": {"input_function": BLOOD, "start_s": 900.0},
        "mrtm2": {"reference": "white", "k2_reference_per_min": 0.06},
        "srtm": {"reference": "white"},
        "mrtm": {"reference": "white"},
    }.get(model, {"input_function": BLOOD})
    found = kinetics_table(data, model=model, **options)
    for curve in found.attrs["curves"][1:]:
        left = (curve.measured - curve.fitted)[curve.used]
        place = list(found["region"]).index(curve.label)
        assert np.sqrt(np.mean(left**2)) == pytest.approx(found.attrs["details"][place]["rmse"], rel=1e-4)


@pytest.mark.parametrize(
    ("method", "quantity", "expected"),
    [
        ("patlak", "net_influx", 0.1 * 0.05 / 0.35 * 0.96),
        ("logan", "distribution_volume", 2.0),
        ("ma1", "distribution_volume", 2.0),
    ],
)
def test_plots_give_the_slope_of_a_second_regression(one_tissue, trapped, rng, method, quantity, expected):
    data = trapped if method == "patlak" else one_tissue
    found = kinetics_table(data, model=method, input_function=BLOOD, start_s=1200.0)
    region = data.names[0]
    assert value(found, region, quantity) == pytest.approx(expected, rel=0.02)
    noisy = curves_of(data.values * (1 + 0.02 * rng.standard_normal(data.values.shape)), data.names)
    found = kinetics_table(noisy, model=method, input_function=BLOOD, start_s=1200.0, end_s=3000.0)
    curve = next(one for one in found.attrs["curves"] if one.label == region)
    assert curve.used.tolist() == ((MID >= 1200) & (MID <= 3000)).tolist()
    if method == "ma1":
        assert curve.kind == "kinetics"
        return
    (slope, intercept), covariance = np.polyfit(curve.x[curve.used], curve.measured[curve.used], 1, cov=True)
    assert value(found, region, quantity) == pytest.approx(slope, rel=1e-9)
    row = list(found["region"]).index(region)
    assert found.attrs["details"][row]["intercept"] == pytest.approx(intercept, rel=1e-6)
    error = value(found, region, quantity, "standard_error")
    assert error >= np.sqrt(covariance[0, 0])
    if method == "patlak":
        # Logan's points share the voxel's integral: the line alone knows too little of its noise.
        assert error == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.1)
    lower, upper = curve.band
    at_mean = np.argmin(np.abs(curve.line_x - curve.x[curve.used].mean()))
    assert (upper - lower).argmin() == pytest.approx(at_mean, abs=1)


def test_binding_against_a_region_that_is_then_not_fitted(one_tissue):
    """VT 2 over 1: BP 1, R1 = 0.1 / 0.06."""
    for model, options in (
        ("srtm", {}),
        ("srtm2", {}),
        ("mrtm2", {"k2_reference_per_min": 0.06}),
        ("logan_reference", {"start_s": 900.0, "k2_reference_per_min": 0.06}),
    ):
        found = kinetics_table(one_tissue, model=model, reference="white", **options)
        assert set(found["region"]) == {"grey"}
        assert value(found, "grey", "binding_potential") == pytest.approx(1.0, rel=0.02)
    srtm = kinetics_table(one_tissue, model="srtm", reference="white")
    assert value(srtm, "grey", "relative_delivery") == pytest.approx(0.1 / 0.06, rel=0.01)
    assert srtm.attrs["decisions"]["reference"]["name"] == "white"
    given = kinetics_table(one_tissue, model="srtm", reference=one_tissue.curve("white"))
    assert set(given["region"]) == {"grey", "white"}


def test_intervals_contain_the_truth_as_often_as_they_say(one_tissue, rng):
    """95 % of 400 simulated curves with noise of their frames, as a bound of 92 to 98 %."""
    truth = one_tissue.curve("grey")
    many = truth + 0.02 * truth.max() * rng.standard_normal((400, truth.size))
    found = kinetics_table(curves_of(many), model="one_tissue", input_function=BLOOD, delay_s=0.0)
    inside = [
        detail["lower"] < 2.0 < detail["upper"]
        for detail in found.attrs["details"]
        if detail["parameter"] == "VT"
    ]
    assert 0.92 <= np.mean(inside) <= 0.98


def test_blood_in_the_images_is_corrected_for_spill_in(one_tissue):
    """A vessel of recovery 0.7 in tissue shows 0.7 blood and 0.3 of that tissue."""
    around = one_tissue.curve("white")
    vessel = 0.7 * frame_means(PLASMA) + 0.3 * around
    data = curves_of([*one_tissue.values, vessel], (*ONE, "aorta"))
    inflow = region_input(data, "aorta", recovery=0.7, surroundings="white")
    assert inflow.decisions["name"] == "aorta"
    found = kinetics_table(data, model="logan", input_function=inflow, start_s=1200.0, leave_out=["aorta"])
    assert set(found["region"]) == {"grey", "white"}
    assert value(found, "grey", "distribution_volume") == pytest.approx(2.0, rel=0.03)


def test_the_calibration_is_in_what_it_scales_and_cancels_against_the_images(one_tissue):
    data = curves_of(one_tissue.values, one_tissue.names, calibration_relative=0.05)
    by_blood = kinetics_table(data, model="logan", input_function=BLOOD, start_s=900.0)
    volume = value(by_blood, "grey", "distribution_volume")
    assert value(by_blood, "grey", "distribution_volume", "standard_error") == pytest.approx(
        0.05 * volume, rel=0.01
    )
    by_images = kinetics_table(data, model="srtm", reference="white")
    assert value(by_images, "grey", "binding_potential", "standard_error") < 0.01


def test_weights_of_the_table_of_frames_or_none(one_tissue):
    weights = np.where(np.arange(MID.size) == 5, 0.0, 1.0)
    wrong = one_tissue.values.copy()
    wrong[:, 5] *= 3
    data = curves_of(wrong, one_tissue.names, weights=weights)
    left_out = kinetics_table(data, model="one_tissue", input_function=BLOOD, delay_s=0.0)
    assert value(left_out, "grey", "distribution_volume") == pytest.approx(2.0, rel=1e-3)
    assert not left_out.attrs["curves"][1].used[5]
    equal = kinetics_table(data, model="one_tissue", input_function=BLOOD, delay_s=0.0, weights="equal")
    frames = kinetics_table(data, model="one_tissue", input_function=BLOOD, delay_s=0.0, weights="frames")
    expected = kinetics.fit(
        "one_tissue", wrong[0], frame_start_s=START, frame_end_s=START + DURATION, input_time_s=FINE,
        plasma=PLASMA, whole_blood=0.8 * PLASMA, delay_s=0.0, weights=DURATION * 2 ** (-MID / F18_S),
    )  # fmt: skip
    assert value(frames, "grey", "tissue_influx") == pytest.approx(float(expected.parameters["K1"]), rel=1e-6)
    assert value(equal, "grey", "tissue_influx") != pytest.approx(value(frames, "grey", "tissue_influx"))


def test_what_ended_at_the_end_of_its_range_is_named(one_tissue):
    """A tissue that is 90 s behind its blood: the delay may be 60 s at most."""
    late = curves_of(np.interp(MID - 90, MID, one_tissue.curve("grey"), left=0.0), ("late",))
    found = kinetics_table(late, model="one_tissue", input_function=BLOOD)
    (caution,) = [one for one in found.attrs["warnings"] if one.code == "at-bound"]
    assert "delay_s" in caution.message
    assert value(found, "late", "bolus_delay") == 60.0
    assert "at-bound" in value(found, "late", "bolus_delay", "warnings")


@pytest.fixture
def scan(series, moments, scan_at, one_tissue):
    """Both tissues along i, decay corrected to the scan's start, which is the injection."""
    data = np.empty((2, 4, 4, MID.size))
    data[:] = one_tissue.values[:, np.newaxis, np.newaxis]
    return series(
        data=data, spacing=50.0, start_datetime=scan_at,
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=s) for s in START], shape=(1, MID.size)),
        frame_duration_s=DURATION[np.newaxis], frame_reference_time_s=None, decay_factor=None,
    )  # fmt: skip


def region_of(v):
    masks = {name: np.zeros(v.grid.shape, bool) for name in ONE}
    for n, name in enumerate(ONE):
        masks[name][n] = True
    return Regions.from_masks(masks, v.grid)


def test_a_scan_gives_the_numbers_of_its_curves_and_of_its_maps(scan):
    rois = region_of(scan)
    curves = tissue_of_regions(scan, rois)
    means = time_activity(scan, rois, peak=False)
    assert curves.curve("white") == pytest.approx(
        means.loc[means["region"] == "white", "mean"].to_numpy(), rel=1e-12
    )
    assert curves.duration_s == pytest.approx(DURATION)
    assert curves.sizes[0][:2] == (16, 16)
    table = it.nuclear.kinetics_table(scan, rois, model="logan", input_function=BLOOD, start_s=900.0)
    maps = kinetics_maps(scan, method="logan", input_function=BLOOD, start_s=900.0)
    found = maps["distribution_volume"].value.data[0, 0, 0]
    assert value(table, "grey", "distribution_volume") == pytest.approx(found, rel=1e-4)
    assert value(table, "grey", "distribution_volume", "n_voxels") == 16


def test_the_table_of_time_activity_will_do(scan):
    rois = region_of(scan)
    means = time_activity(scan, rois, peak=False)
    of_scan = kinetics_table(scan, rois, model="one_tissue", input_function=BLOOD)
    of_table = kinetics_table(means, model="one_tissue", input_function=BLOOD, scan={"duration_s": DURATION})
    assert of_table["mean"].tolist() == of_scan["mean"].tolist()
    np.testing.assert_array_equal(of_table["standard_error"], of_scan["standard_error"])
    with pytest.raises(MissingMetadata, match="durations"):
        kinetics_table(means, model="one_tissue", input_function=BLOOD)


def test_tables_that_are_no_curves_of_one_series(scan):
    means = time_activity(scan, region_of(scan), peak=False)
    mixed = means.assign(decay_corrected=[False] + [True] * (len(means) - 1))
    for table, error, message in (
        (mixed, UnitMismatch, "decay corrected"),
        (means.assign(decay_corrected=False), UnitMismatch, "decay corrected"),
        (means.iloc[::-1], ImplausibleValue, "do not increase"),
        (means.iloc[:-1], ImplausibleValue, "differ between regions"),
        (means.drop(columns="mean"), UnsupportedInput, "no table"),
        (means.assign(quantity=["a"] + ["b"] * (len(means) - 1)), UnsupportedInput, "no table"),
    ):
        with pytest.raises(error, match=message):
            tissue_of_table(table)
    means.attrs["time_origin"] = "scan start"
    with pytest.raises(MissingMetadata, match="injection"):
        tissue_of_table(means)


def pbr28(folder, pet):
    def rows(name):
        with (folder / name).open() as file:
            return [row for row in csv.DictReader(file) if row["PET"] == pet]

    return rows("pbr28_tacdata.csv"), rows("pbr28_blooddata.csv")


@pytest.mark.parametrize(("pet", "volume"), [("rwrd_1", 3.86), ("cgyu_1", 2.19)])
def test_measured_curves_have_the_published_volumes(public_data, pet, volume):
    """Guide values of pet.md section 6, frontal cortex, +-2 %."""
    tissue_rows, blood_rows = pbr28(public_data("pet/pbr28"), pet)
    start, duration, weights, cortex = (
        np.array([float(row[name]) for row in tissue_rows])
        for name in ("StartTime", "Duration", "Weights", "FC")
    )
    time, plasma, blood = (
        np.array([float(row[name]) for row in blood_rows])
        for name in ("Time", "Cpl_metabcorr", "Cbl_dispcorr")
    )
    data = curves_of(
        cortex, ("FC",), mid_s=start + duration / 2, duration_s=duration, weights=weights, unit="kBq/mL"
    )
    inflow = InputFunction(time, plasma, blood)
    found = kinetics_table(data, model="two_tissue", input_function=inflow)
    assert value(found, "FC", "distribution_volume") == pytest.approx(volume, rel=0.02)
    assert 0.025 < value(found, "FC", "blood_fraction") < 0.045


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "guess"}, UnknownChoice, "model"),
        ({"model": "logan"}, MissingMetadata, "straight"),
        ({"model": "logan", "start_s": 9e4}, IllConditioned, "found 0"),
        ({"model": "logan", "start_s": 0.0, "blood_fraction": 0.1}, UnknownChoice, "blood_fraction"),
        ({"model": "one_tissue", "input_function": None}, MissingMetadata, "input function"),
        ({"model": "one_tissue", "reference": "white"}, UnsupportedInput, "nothing else"),
        ({"model": "srtm", "reference": "white"}, UnsupportedInput, "nothing else"),
        ({"model": "srtm", "input_function": None}, MissingMetadata, "reference tissue"),
        ({"model": "srtm", "input_function": None, "reference": "pons"}, UnsupportedInput, "no such region"),
        ({"model": "one_tissue", "level": 2.0}, UnknownChoice, "level"),
        ({"model": "one_tissue", "weights": "best"}, UnknownChoice, "weights"),
        ({"model": "one_tissue", "leave_out": tuple(ONE)}, UnsupportedInput, "no region is left"),
        (
            {"model": "one_tissue", "input_function": InputFunction(FINE[:600], PLASMA[:600])},
            ImplausibleValue,
            "do not cover",
        ),
        (
            {"model": "one_tissue", "input_function": InputFunction(FINE, PLASMA - 4e3)},
            ImplausibleValue,
            "neg",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(one_tissue, change, error, message):
    with pytest.raises(error, match=message):
        kinetics_table(one_tissue, **{"input_function": BLOOD, **change})


def test_frames_and_units_that_do_not_do(one_tissue):
    few = TissueCurves(("a",), one_tissue.values[:1, :4], np.full((1, 4), np.nan), MID[-4:], DURATION[-4:])
    with pytest.raises(IllConditioned, match="at least 6 frames"):
        kinetics_table(few, model="two_tissue", input_function=BLOOD)
    suv = curves_of(one_tissue.values, one_tissue.names, quantity="suv_bw", unit="g/mL")
    with pytest.raises(UnitMismatch, match="SUV"):
        kinetics_table(suv, model="one_tissue", input_function=BLOOD)
    assert value(kinetics_table(suv, model="srtm", reference="white"), "grey", "binding_potential") > 0.9
    middles = curves_of(one_tissue.values, one_tissue.names, duration_s=None)
    with pytest.raises(MissingMetadata, match="durations"):
        kinetics_table(middles, model="one_tissue", input_function=BLOOD)
    with pytest.raises(MissingMetadata, match="weights by frames"):
        kinetics_table(middles, model="logan", input_function=BLOOD, start_s=900.0, weights="frames")


def test_volume_of_distribution_of_a_tracer_that_stays_is_said_to_be_undetermined(trapped):
    """Two compartments without a way back have none: k4 is zero, and VT anything that is large."""
    found = kinetics_table(trapped, model="two_tissue", input_function=BLOOD)

    said = [caution.message for caution in found.attrs["warnings"] if caution.code == "not-determined"]
    assert any("VT is not determined" in message for message in said)


def test_volume_of_distribution_that_is_determined_is_not_spoken_of(one_tissue):
    found = kinetics_table(one_tissue, model="one_tissue", input_function=BLOOD)

    assert "not-determined" not in {caution.code for caution in found.attrs["warnings"]}
