"""SUV and injected dose on Volumes: units, conventions, body measures, bad input, bytes and speed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.acquisition import CtAcquisition, NuclearAcquisition, OtherAcquisition
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import (
    Administration,
    convert_suv,
    density_from_ct,
    percent_id_per_gram,
    percent_id_per_ml,
    percent_id_per_region,
    suv,
)
from imgtheranostics.nuclear.body import KINDS, body_measure
from imgtheranostics.nuclear.decay import average_activity_time
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

D_REF = 368.08e6 * 2 ** (-3600 / 6586.2)
BODY = {"weight_kg": 70.0, "height_m": 1.75, "sex": "O"}


def first(estimate):
    return float(estimate.value.data[0, 0, 0])


def test_three_conventions_of_one_truth_give_one_suv(series):
    """Trap 1: 1000 Bq/mL at scan start; the same tissue corrected to injection, and not corrected."""
    start = suv(series())
    admin = suv(series(data=np.full((64, 64, 4), 1000 * 2 ** (3600 / 6586.2)), decay_correction="ADMIN"))
    mean_at = float(average_activity_time(300.0, 6586.2))
    none = suv(
        series(
            data=np.full((64, 64, 4), 1000 * 2 ** (-mean_at / 6586.2)),
            decay_correction="NONE",
            corrections=("ATTN",),
        )
    )
    assert first(start) == pytest.approx(1000 * 70000 / D_REF, rel=1e-6)
    assert first(admin) == pytest.approx(first(start), rel=1e-6)
    assert first(none) == pytest.approx(first(start), rel=1e-6)
    assert [one.decisions["clock"]["rule"] for one in (start, admin, none)] == [
        "series_time",
        "injection",
        "each_frame",
    ]


def test_none_corrects_each_bed_at_its_own_time(series, moments, scan_at):
    """A uniform truth of SUV 1, four slices acquired 0, 10, 20 and 30 min after the series time."""
    begin = np.array([0.0, 600.0, 1200.0, 1800.0])
    mean_at = float(average_activity_time(300.0, 6586.2))
    activity = 368.08e6 / 70000 * 2 ** (-(3600 + begin + mean_at) / 6586.2)
    v = series(
        data=np.broadcast_to(activity, (8, 8, 4)),
        spacing=30.0,
        decay_correction="NONE",
        corrections=("ATTN",),
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=s) for s in begin], shape=(4, 1)),
        frame_reference_time_s=None,
    )
    assert suv(v).value.data == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(UnsupportedInput, match="reordered"):
        suv(v.replace(history=(*v.history, v.with_step("reorder_axes").history[-1])))
    with pytest.raises(GeometryMismatch, match="slices"):
        suv(v.replace(data=v.data[:, :, :3]))


def test_dynamic_none_corrects_each_frame(series, moments, scan_at):
    begin = np.array([0.0, 300.0, 600.0])
    mean_at = float(average_activity_time(300.0, 6586.2))
    activity = 368.08e6 / 70000 * 2 ** (-(3600 + begin + mean_at) / 6586.2)
    v = series(
        data=np.broadcast_to(activity, (8, 8, 4, 3)),
        spacing=30.0,
        decay_correction="NONE",
        corrections=("ATTN",),
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=s) for s in begin], shape=(1, 3)),
        frame_duration_s=np.full((1, 3), 300.0),
        frame_reference_time_s=None,
    )
    assert suv(v).value.data == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(GeometryMismatch, match="frames"):
        suv(v.frame(1))


def test_dynamic_start_has_one_reference_for_all_frames(series, moments, scan_at):
    starts = [scan_at + timedelta(seconds=300 * n) for n in range(3)]
    v = series(
        data=np.full((8, 8, 4, 3), 1000.0),
        spacing=30.0,
        acquisition_datetime=moments(*starts, shape=(1, 3)),
        frame_duration_s=np.full((1, 3), 300.0),
        frame_reference_time_s=300.0 * np.arange(3)[np.newaxis] + float(average_activity_time(300.0, 6586.2)),
        decay_factor=None,
    )
    result = suv(v)
    assert result.decisions["clock"]["rule"] == "back_computed"
    assert result.value.data == pytest.approx(1000 * 70000 / D_REF, rel=1e-6)


def test_frame_reference_time_is_a_check_and_never_the_master(series):
    clean = suv(series())
    odd = suv(series(frame_reference_time_s=np.array([[1500.0]])))
    assert first(odd) == first(clean)
    assert [caution.code for caution in odd.warnings] == ["clocks-differ"]
    with pytest.raises(ImplausibleValue):
        suv(series(frame_reference_time_s=np.array([[1500.0]])), strict_clock=True)


def test_series_time_after_the_first_acquisition_does_not_change_the_result(series, scan_at):
    clean = suv(series())
    rewritten = suv(series(series_datetime=scan_at + timedelta(minutes=30), frame_reference_time_s=None))
    assert first(rewritten) == pytest.approx(first(clean), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_activity_times_its_measure(series, kind):
    measure = body_measure(kind, **BODY)
    result = suv(series(), kind)
    assert first(result) == pytest.approx(1000 * measure.value / D_REF, rel=1e-6)
    assert result.quantity == f"suv_{kind}"
    assert result.unit == ("cm2/mL" if kind == "bsa" else "g/mL")
    assert result.decisions["body_measure"]["value"] == pytest.approx(measure.value)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_series_that_are_suv_are_converted_by_the_ratio_of_measures(series, source, target):
    unit = "cm2/mL" if source == "bsa" else "g/mL"
    v = series(
        data=np.full((64, 64, 4), 2.0),
        quantity=f"suv_{source}",
        unit=unit,
        units="CM2ML" if source == "bsa" else "GML",
    )
    ratio = body_measure(target, **BODY).value / body_measure(source, **BODY).value
    assert first(suv(v, target)) == pytest.approx(2.0 * ratio, rel=1e-6)


def test_suv_series_need_neither_dose_nor_clock(series, scan_at):
    v = series(
        data=np.full((64, 64, 4), 2.0),
        quantity="suv_bw",
        unit="g/mL",
        units="GML",
        decay_correction="ADMIN",
        total_dose=None,
        half_life_s=None,
        nuclide=None,
        weight_kg=None,
        start_datetime=scan_at + timedelta(days=3),
    )
    result = suv(v)
    assert (first(result), result.warnings) == (2.0, ())
    assert result.decisions["clock"]["rule"] == "not used"
    assert result.decisions["body_measure"] == {
        "kind": "bw",
        "explanation": "the image is SUV bw already",
        "factor": 1.0,
    }
    with pytest.raises(MissingMetadata, match="PatientWeight"):
        suv(v, "ibw")


def test_suv_series_with_another_dose_are_refused_and_with_another_weight_rescaled(series):
    v = series(data=np.full((64, 64, 4), 2.0), quantity="suv_bw", unit="g/mL", units="GML")
    with pytest.raises(UnitMismatch, match="normalised"):
        suv(v, "bw", Administration(400e6, None))
    assert first(suv(v, weight_kg=35.0)) == pytest.approx(1.0)
    assert first(suv(v, "bw", Administration(None, None, weight_kg=35.0))) == pytest.approx(1.0)
    assert first(suv(v, weight_kg=70.0)) == 2.0


def test_philips_factors(series):
    """Counts: SUV factor gives SUVbw directly, activity factor gives Bq/mL, none of them is refused."""
    counts = {"quantity": "counts", "unit": "{counts}", "units": "CNTS"}
    ready = suv(series(**counts, philips_suv_factor=0.000551, total_dose=None))
    assert first(ready) == pytest.approx(0.551)
    alone = suv(series(**counts, philips_activity_factor=1.6))
    assert first(alone) == pytest.approx(1600 * 70000 / D_REF, rel=1e-6)
    for factor in (None, 0.0, -1.0, float("nan")):
        with pytest.raises(UnitMismatch, match="without a calibration"):
            suv(series(**counts, philips_activity_factor=factor))


def test_philips_activity_already_applied_by_the_loader(series):
    both = {"units": "CNTS", "philips_suv_factor": 0.000551, "philips_activity_factor": 1.602563}
    v = series(data=np.full((64, 64, 4), 1000 * 1.602563), **both)
    assert first(suv(v)) == pytest.approx(0.551, rel=1e-6)
    per_ml = percent_id_per_ml(v)
    assert first(per_ml) == pytest.approx(100 * 1602.563 / D_REF, rel=1e-6)
    given_ = Administration(200e6, None)
    left = 200e6 * 2 ** (-3600 / 6586.2)
    assert first(suv(v, "bw", given_)) == pytest.approx(1602.563 * 70000 / left, rel=1e-6)


def test_philips_suv_factor_alone_gives_no_injected_dose(series):
    v = series(quantity="counts", unit="{counts}", units="CNTS", philips_suv_factor=0.0005)
    for method in (percent_id_per_gram, percent_id_per_ml):
        with pytest.raises(UnitMismatch, match="no way to Bq/mL"):
            method(v)
    with pytest.raises(UnitMismatch):
        suv(v, "bw", Administration(400e6, None))


def test_philips_factors_beside_becquerel_are_not_applied(series):
    clean = suv(series())
    other = suv(series(philips_suv_factor=0.5, philips_activity_factor=7.0))
    assert first(other) == first(clean)
    assert "not applied" in other.decisions["scaling"]["explanation"]


@pytest.mark.parametrize("units", ["PROPCPS", "PROPCNTS"])
def test_proportional_counts_are_refused(series, units):
    v = series(quantity="signal", unit="[arb'U]", units=units, philips_suv_factor=0.5)
    for method in (suv, percent_id_per_gram, percent_id_per_ml):
        with pytest.raises(UnsupportedInput, match="proportional") as caught:
            method(v)
        assert caught.value.found == units


def test_count_rates_need_a_dose_calibration(series):
    rate = {"quantity": "count_rate", "unit": "{counts}/s", "units": "CPS"}
    with pytest.raises(MissingMetadata, match="dose calibration"):
        suv(series(**rate))
    assert first(suv(series(**rate, dose_calibration_factor=164.0))) == pytest.approx(
        164000 * 70000 / D_REF, rel=1e-6
    )
    assert first(suv(series(dose_calibration_factor=164.0))) == pytest.approx(1000 * 70000 / D_REF, rel=1e-6)


def test_other_modalities_and_quantities_are_refused(series):
    ct = series(quantity="attenuation", unit="[HU]").replace(acquisition=CtAcquisition())
    with pytest.raises(UnsupportedInput, match="emission"):
        suv(ct)
    with pytest.raises(UnsupportedInput, match="activity"):
        suv(series(quantity="signal", unit="[arb'U]", units=None))


def test_gamma_camera_counts_have_no_uptake_and_mapped_activity_has(series, scan_at):
    record = series().acquisition
    camera = NuclearAcquisition(
        series_datetime=scan_at,
        acquisition_datetime=scan_at,
        frame_duration_s=1200.0,
        corrections=("DECY",),
        radiopharmaceutical=record.radiopharmaceutical,
        subject=record.subject,
    )
    with pytest.raises(MissingMetadata, match="without a calibration") as refusal:
        suv(series(quantity="counts", unit="{counts}").replace(acquisition=camera))
    assert "--sensitivity-cps-mbq" in refusal.value.next_step
    mapped = series().replace(acquisition=camera)
    with pytest.raises(MissingMetadata, match="DecayCorrection"):
        suv(mapped)
    assert first(suv(mapped, decay_correction="START")) == pytest.approx(1000 * 70000 / D_REF, rel=1e-6)


def test_image_without_header_takes_everything_from_the_user(series):
    bare = series().replace(acquisition=None)
    given_ = Administration(368.08e6, 3600.0, nuclide="18F", weight_kg=70.0)
    with pytest.raises(MissingMetadata, match="DecayCorrection"):
        suv(bare, "bw", given_)
    assert first(suv(bare, "bw", given_, decay_correction="START")) == pytest.approx(
        1000 * 70000 / D_REF, rel=1e-6
    )
    other = bare.replace(acquisition=OtherAcquisition())
    assert first(suv(other, "bw", given_, decay_correction="ADMIN")) == pytest.approx(
        1000 * 70000 / 368.08e6, rel=1e-6
    )


def test_weight_in_grams_of_a_mouse_is_refused_unless_confirmed(series):
    mouse = {"spacing": 0.5, "total_dose": 10e6}
    with pytest.raises(ImplausibleValue, match="grams") as caught:
        suv(series(**mouse, weight_kg=20.0))
    assert "confirm" in (caught.value.next_step or "")
    right = suv(series(**mouse, weight_kg=0.02))
    confirmed = suv(series(**mouse, weight_kg=20.0), confirm_weight=True)
    assert first(confirmed) == pytest.approx(1000 * first(right), rel=1e-6)
    assert first(suv(series(**mouse, weight_kg=20.0), weight_kg=0.02)) == first(right)
    ready = series(**mouse, weight_kg=20.0, quantity="suv_bw", unit="g/mL", units="GML")
    with pytest.raises(ImplausibleValue, match="grams"):
        suv(ready)


@pytest.mark.parametrize("weight", [None, 0.0])
def test_missing_weight_refuses_suv_and_leaves_injected_dose(series, weight):
    v = series(weight_kg=weight)
    with pytest.raises(MissingMetadata, match="PatientWeight"):
        suv(v)
    assert first(percent_id_per_gram(v)) == pytest.approx(100 * 1000 / D_REF, rel=1e-6)
    assert first(suv(v, weight_kg=70.0)) == first(suv(series()))


def test_weight_of_a_patient_in_grams_is_refused(series):
    with pytest.raises(ImplausibleValue, match="weight"):
        suv(series(weight_kg=70000.0))


def test_height_in_centimetres_is_read_as_such_with_a_caution(series):
    typed, clean = suv(series(height_m=175.0), "ibw"), suv(series(), "ibw")
    assert first(typed) == pytest.approx(first(clean), rel=1e-7)
    assert [caution.code for caution in typed.warnings] == ["height-in-cm"]
    for height in (1750.0, 0.1):
        with pytest.raises(ImplausibleValue, match="height"):
            suv(series(height_m=height), "ibw")
    with pytest.raises(MissingMetadata, match="PatientSize"):
        suv(series(height_m=None), "bsa")


def test_uptake_identities_of_mouse_and_patient(series):
    # PET reference sheet: 12 %ID/g at 20 g = SUV 2.40; 10.4 = 2.08; 5 %ID/kg at 70 kg = SUV 3.50
    for per_gram, expected in ((12.0, 2.40), (10.4, 2.08)):
        activity = per_gram / 100 * 10e6 * 2 ** (-3600 / 6586.2)
        mouse = series(data=np.full((64, 64, 4), activity), spacing=0.5, weight_kg=0.02, total_dose=10e6)
        assert first(suv(mouse)) == pytest.approx(expected, rel=1e-6)
        assert first(percent_id_per_gram(mouse)) == pytest.approx(per_gram, rel=1e-6)
    for per_kilogram, expected, kilobecquerel in (
        (0.52, 0.364, 0.561),
        (5.0, 3.50, 5.40),
        (18.5, 12.95, 19.97),
    ):
        activity = per_kilogram / 1e5 * 400e6 * 2 ** (-24 / 12.7)
        assert activity / 1000 == pytest.approx(kilobecquerel, abs=6e-3)
        patient = series(
            data=np.full((64, 64, 4), activity),
            nuclide="Cu-64",
            half_life_s=45720.0,
            total_dose=400e6,
            start_datetime=datetime(2024, 12, 31, 11),
        )
        assert first(suv(patient)) == pytest.approx(expected, rel=1e-6)


@given(
    weight=st.floats(40, 120),
    activity=st.floats(1.0, 1e6),
    density=st.floats(0.2, 2.0),
)
def test_suv_is_injected_dose_per_gram_times_weight(series, weight, activity, density):
    v = series(data=np.full((4, 4, 2), activity), spacing=60.0, weight_kg=weight)
    share = first(percent_id_per_gram(v, density_g_ml=density))
    assert first(suv(v)) == pytest.approx(share * density * weight * 10, rel=1e-5)
    assert first(percent_id_per_ml(v)) == pytest.approx(share * density, rel=1e-5)


def test_injected_dose_from_an_suv_series(series):
    v = series(data=np.full((64, 64, 4), 2.4), quantity="suv_bw", unit="g/mL", units="GML")
    result = percent_id_per_gram(v)
    assert first(result) == pytest.approx(100 * 2.4 / 70000, rel=1e-6)
    assert "dose-from-suv" in [caution.code for caution in result.warnings]
    area = series(data=np.full((64, 64, 4), 2.4), quantity="suv_bsa", unit="cm2/mL", units="CM2ML")
    measure = body_measure("bsa", **BODY)
    assert first(percent_id_per_ml(area)) == pytest.approx(240 / measure.value, rel=1e-6)
    with pytest.raises(UnitMismatch):
        percent_id_per_gram(v, Administration(400e6, None))


def test_density_map_divides_and_air_is_not_estimated(series):
    v = series(data=np.full((4, 4, 2), 1000.0), spacing=60.0)
    hu = np.zeros((4, 4, 2))
    hu[0], hu[1], hu[2, 0, 0] = -700.0, -1000.0, np.nan
    ct = Volume(hu, v.affine, "attenuation", "[HU]")
    result = percent_id_per_gram(v, density_g_ml=density_from_ct(ct), density_relative_uncertainty=0.12)
    plain = 100 * 1000 / D_REF
    assert float(result.value.data[3, 0, 0]) == pytest.approx(plain, rel=1e-6)
    assert float(result.value.data[0, 0, 0]) == pytest.approx(plain / 0.3, rel=1e-5)
    assert np.isnan(result.value.data[1]).all()
    assert (result.flags.data[1] == Flag.OUTSIDE_RANGE).all()
    assert np.isnan(result.value.data[2, 0, 0])
    assert result.flags.data[3].max() == 0
    assert result.calibration_relative == pytest.approx(0.13)


def test_density_map_on_another_grid_is_refused_and_reordered_axes_are_not(series):
    v = series(data=np.full((4, 5, 2), 1000.0), spacing=60.0)
    flipped = Volume(
        np.ones((4, 5, 2)), v.affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "density", "g/mL",
    )  # fmt: skip
    assert first(percent_id_per_gram(v, density_g_ml=flipped)) == first(percent_id_per_gram(v))
    with pytest.raises(GeometryMismatch, match="grid"):
        percent_id_per_gram(v, density_g_ml=Volume(np.ones((4, 5, 3)), v.affine, "density", "g/mL"))
    with pytest.raises(UnitMismatch, match="density"):
        percent_id_per_gram(v, density_g_ml=v)
    for density in (0.0, -1.0, float("nan")):
        with pytest.raises(ImplausibleValue, match="density"):
            percent_id_per_gram(v, density_g_ml=density)


def test_density_from_ct_at_known_materials():
    # water 1.0, lung at -700 HU 0.3, cortical bone at 1000 HU about 1.6 g/mL (Schneider 1996, 2000)
    hu = np.array([0.0, -700.0, -1000.0, -1024.0, 100.0, 1000.0]).reshape(6, 1, 1)
    density = density_from_ct(Volume(hu, np.eye(4), "attenuation", "[HU]")).data.ravel()
    assert density == pytest.approx([1.0, 0.3, 0.0, 0.0, 1.1, 1.6328], abs=1e-4)
    with pytest.raises(UnitMismatch):
        density_from_ct(Volume(hu, np.eye(4), "signal", "[arb'U]"))


def test_dose_per_region_is_the_sum_over_its_voxels(series):
    rng = np.random.default_rng(3)
    data = rng.uniform(0, 1000, (16, 16, 4))
    data[0, 0, 0] = np.nan
    v = series(data=data, spacing=15.0)
    organ, hole = np.zeros((16, 16, 4), bool), np.zeros((16, 16, 4), bool)
    organ[4:8, 4:8, :], hole[0, 0, :] = True, True
    rois = Regions.from_masks({"organ": organ, "hole": hole}, v.grid)
    table = percent_id_per_region(v, rois).set_index("region")
    expected = 100 * data[organ].sum() * 15.0**3 / 1000 / D_REF
    assert table.loc["organ", "mean"] == pytest.approx(expected, rel=1e-6)
    assert table.loc["organ", "standard_error"] >= 0.05 * expected * 0.999
    assert (table["quantity"] == "id_per_region").all()
    assert (table["unit"] == "%").all()
    assert "incomplete-region" in table.loc["hole", "warnings"]
    assert "incomplete-region" not in table.loc["organ", "warnings"]
    assert np.isnan(table.loc["organ", "median"])


@pytest.mark.parametrize("kind", KINDS)
def test_conversion_there_and_back(series, kind):
    start = suv(series(), noise_sd=10.0)
    there = convert_suv(start, kind)
    assert first(there) == pytest.approx(first(suv(series(), kind)), rel=1e-6)
    back = convert_suv(there, "bw")
    assert first(back) == pytest.approx(first(start), rel=1e-6)
    ratio = float(there.standard_error.data[0, 0, 0]) / first(there)
    assert ratio == pytest.approx(float(start.standard_error.data[0, 0, 0]) / first(start), rel=1e-5)
    assert there.unit == ("cm2/mL" if kind == "bsa" else "g/mL")


def test_only_suv_is_converted(series):
    with pytest.raises(UnitMismatch):
        convert_suv(percent_id_per_gram(series()), "bw")
    with pytest.raises(ValueError, match="kind"):
        convert_suv(suv(series()), "lean")
    with pytest.raises(ValueError, match="kind"):
        suv(series(), "lean")


def test_voxels_that_are_not_finite_are_nan_and_flagged(series):
    data = np.full((4, 4, 2), 1000.0)
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    result = suv(series(data=data, spacing=60.0), noise_sd=1.0)
    bad = np.zeros(data.shape, bool)
    bad[0, 0, 0] = bad[1, 1, 1] = True
    assert np.array_equal(np.isnan(result.value.data), bad)
    assert np.array_equal(np.isnan(result.standard_error.data), bad)
    assert np.array_equal(result.flags.data == Flag.INVALID_INPUT, bad)


def test_noise_map(series):
    v = series(data=np.full((4, 4, 2), 1000.0), spacing=60.0)
    noise = Volume(np.full((4, 4, 2), 20.0), v.affine, "activity_concentration", "Bq/mL")
    by_map, by_number = suv(v, noise_sd=noise), suv(v, noise_sd=20.0)
    assert np.array_equal(by_map.standard_error.data, by_number.standard_error.data)
    with pytest.raises(GeometryMismatch):
        suv(v, noise_sd=noise.replace(data=np.ones((4, 4, 3))))
    with pytest.raises(ValueError, match="negative"):
        suv(v, noise_sd=-1.0)


def test_axes_other_than_time_are_refused(series):
    v = series(data=np.ones((4, 4, 2)), spacing=60.0)
    energies = v.replace(data=np.ones((4, 4, 2, 2)), axes=(Axis("energy", [1.0, 2.0], "keV"),))
    with pytest.raises(UnsupportedInput, match="energy"):
        suv(energies)


def test_input_is_not_changed_and_history_grows(series):
    v = series()
    before = v.data.copy()
    result = suv(v)
    assert np.array_equal(v.data, before)
    assert [step.name for step in result.value.history] == ["suv"]
    assert result.value.data.flags.f_contiguous
    assert result.value.data.dtype == np.float32
    assert set(result.decisions) >= {
        "clock", "scaling", "decay", "half_life", "administered_activity", "body_measure",
    }  # fmt: skip
    json.dumps(dict(result.decisions))


def test_factor_is_applied_in_double_precision(series):
    rng = np.random.default_rng(5)
    v = series(data=rng.uniform(0, 1e5, (32, 32, 4)).astype(np.float32), spacing=8.0)
    expected = (v.data.astype(np.float64) * (70000 / D_REF)).astype(np.float32)
    assert np.max(np.abs(suv(v).value.data - expected) / expected) <= 2.0**-23
    assert suv(v).value.data.tobytes() == suv(v).value.data.tobytes()


def test_speed_of_one_series(series):
    v = series(data=np.random.default_rng(1).uniform(0, 1e4, (256, 256, 20)), spacing=2.0)
    suv(v)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        suv(v)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.2


def test_replacing_the_record_recomputes(series):
    v = series()
    other = replace(v.acquisition, subject=replace(v.acquisition.subject, weight_kg=35.0))
    assert first(suv(v.replace(acquisition=other))) == pytest.approx(first(suv(v)) / 2, rel=1e-6)
