"""From scans to dose: closed forms of one exponential and local deposition, twins, single scans, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import Administration, time_integrated_activity
from imgtheranostics.nuclear.scan_dosimetry import dose_of_scans, imaged_nuclide, rate_of_scans
from imgtheranostics.nuclear.single_scan_activity import activity_from_one_scan
from imgtheranostics.volume import Estimate, Flag

HOUR = 3600.0
Y86_S, Y90_S = 14.74 * HOUR, 64.05 * HOUR
"""ICRP-107 gives 90Y 64.10 h: within 0.1 % of it."""

BIOLOGICAL_H = 60.0
SHARE = 0.12
"""12 %ID/mL: the tumour of pet.md section 6, which gives 2.888 Gy/MBq of 90Y at T_eff 31.0 h, local."""

LOCAL_GY_ML_PER_MBQ_S = 0.9331 * 0.1602177e-3
DOSE_BQ = 8e6


def scan(series, moments, scan_at, hours, share=SHARE, biological_h=BIOLOGICAL_H, **changes):
    """86Y, corrected to the start of a frame of 5 min, whose middle holds the biology."""
    at = scan_at + timedelta(hours=hours - 1)
    left = 2 ** (-hours * HOUR / Y86_S) * 2 ** (-(hours + 150 / HOUR) / biological_h)
    data = np.full((6, 6, 3), share * DOSE_BQ * left)
    data[:1] *= 0.25
    record = {
        "spacing": 30.0, "series_datetime": at, "acquisition_datetime": moments(at), "nuclide": "Y-86",
        "half_life_s": Y86_S, "total_dose": DOSE_BQ,
    }  # fmt: skip
    return series(data=data, **{**record, **changes})


@pytest.fixture
def scans(series, moments, scan_at):
    return [scan(series, moments, scan_at, hours) for hours in (1.0, 4.0, 24.0, 48.0)]


def effective_s(physical_s, biological_h=BIOLOGICAL_H):
    return 1.0 / (1.0 / physical_s + 1.0 / (biological_h * HOUR))


def local(found):
    return float(found.dose.value.data[3, 3, 1])


def test_dose_per_activity_of_the_twin_is_the_published_one(scans):
    """12 %ID/g, biology 60 h: 2.888 Gy/MBq of 90Y at T_eff 31.0 h (issue; pet.md section 6)."""
    found = dose_of_scans(scans, nuclide="Y-90", per_mbq=True, model="mono", method="local", density=1.0)
    assert (found.dose.quantity, found.dose.unit) == ("absorbed_dose_per_activity", "Gy/MBq")
    assert (found.imaged, found.nuclide, found.twin) == ("Y-86", "Y-90", "Y-90")
    assert local(found) == pytest.approx(2.888, rel=2e-3)
    assert local(found) == pytest.approx(
        SHARE * effective_s(Y90_S) / np.log(2) * LOCAL_GY_ML_PER_MBQ_S, rel=1e-3
    )
    codes = {caution.code for caution in found.dose.warnings}
    assert "same-biology" in codes
    assert "other-nuclide" not in codes


def test_another_nuclide_without_an_activity_gives_dose_per_activity(scans):
    found = dose_of_scans(scans, nuclide="Y-90", model="mono", method="local", density=1.0)
    assert found.dose.unit == "Gy/MBq"
    ten = dose_of_scans(scans, nuclide="90Y", given_mbq=10.0, model="mono", method="local", density=1.0)
    assert ten.dose.quantity == "absorbed_dose"
    assert local(ten) == pytest.approx(10 * local(found), rel=1e-6)


def test_dose_of_the_injection_itself_needs_no_injected_activity(scans):
    """Bq/mL and Gy: the dose record of the header is not used."""
    without = [replace(v, acquisition=replace(v.acquisition, radiopharmaceutical=replace(
        v.acquisition.radiopharmaceutical, total_dose=None))) for v in scans]  # fmt: skip
    found = dose_of_scans(without, model="mono", method="local", density=1.0)
    from imgtheranostics.data.nuclides import nuclide

    expected = SHARE * DOSE_BQ * 1e-6 * effective_s(Y86_S) / np.log(2)
    expected *= nuclide("Y-86").delta_np_mev * 0.1602177e-3
    assert found.dose.quantity == "absorbed_dose"
    assert local(found) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(MissingMetadata):
        dose_of_scans(without, per_mbq=True, model="mono")


def test_decays_of_the_twin_are_those_of_its_own_half_life(scans):
    own = time_integrated_activity(scans, model="mono", quantity="id_per_ml")
    twin = time_integrated_activity(scans, model="mono", quantity="id_per_ml", given="Y-90")
    ratio = float(twin.value.data[3, 3, 1] / own.value.data[3, 3, 1])
    assert ratio == pytest.approx(effective_s(Y90_S) / effective_s(Y86_S), rel=2e-3)
    assert twin.decisions["decays"]["nuclide"] == "Y-90"
    assert float(twin.maps["effective_half_life"].data[3, 3, 1]) == pytest.approx(
        effective_s(Y90_S), rel=2e-3
    )


@pytest.mark.parametrize("model", ["linear", "linear_log", "bi", "auto"])
def test_every_model_counts_decays_of_the_twin(series, moments, scan_at, model):
    hours = (0.1, 2, 6, 12, 24, 48, 96, 192, 300) if model != "linear" else (0.1, *range(4, 301, 8))
    dense = [scan(series, moments, scan_at, h) for h in hours]
    found = dose_of_scans(dense, nuclide="Y-90", model=model, method="local", density=1.0)
    assert local(found) == pytest.approx(2.888, rel=0.01)


def test_one_scan_with_its_effective_half_life(scans):
    """A(0) T_eff / ln 2, with T_eff of 90Y that holds 60 h of biology: the dose of all four scans."""
    half_life = effective_s(Y90_S)
    found = dose_of_scans(
        scans[2], nuclide="Y-90", effective_half_life_s=half_life, method="local", density=1.0
    )
    assert local(found) == pytest.approx(2.888, rel=2e-3)
    assert "single-time-point" in {caution.code for caution in found.dose.warnings}


def test_one_scan_never_gets_a_half_life_silently(scans):
    with pytest.raises(IllConditioned, match="how long"):
        dose_of_scans(scans[2])
    physical = activity_from_one_scan(scans[2], "physical")
    measured = float(scans[2].data[3, 3, 1]) * 2 ** (24 * HOUR / Y86_S)
    assert float(physical.value.data[3, 3, 1]) == pytest.approx(measured * Y86_S / np.log(2), rel=1e-3)


def test_the_error_of_a_half_life_falls_on_the_decays(scans):
    """The logarithm of 2^(t/T) T changes by 1 - t ln 2 / T with that of T."""
    half_life, t = 10.0 * HOUR, 24.0 * HOUR + 150
    known = activity_from_one_scan(scans[2], half_life)
    found = activity_from_one_scan(scans[2], half_life, half_life_relative_uncertainty=0.1)
    part = 0.1 * abs(1 - np.log(2) * t / half_life)
    assert found.calibration_relative == pytest.approx(np.hypot(known.calibration_relative, part), rel=1e-6)
    one = float(found.standard_error.data[3, 3, 1] / found.value.data[3, 3, 1])
    assert one == pytest.approx(found.calibration_relative, rel=1e-5)
    up, down = (activity_from_one_scan(scans[2], half_life * f).value.data[3, 3, 1] for f in (1.001, 0.999))
    slope = (float(up) - float(down)) / 0.002 / float(known.value.data[3, 3, 1])
    assert abs(slope) == pytest.approx(abs(1 - np.log(2) * t / half_life), rel=1e-2)


def test_activity_does_not_fall_more_slowly_than_it_decays(scans):
    with pytest.raises(ImplausibleValue, match="more slowly"):
        activity_from_one_scan(scans[0], 20 * HOUR)
    with pytest.raises(ImplausibleValue, match="not positive"):
        activity_from_one_scan(scans[0], -1.0)
    with pytest.raises(ValueError, match="physical"):
        activity_from_one_scan(scans[0], "forever")
    with pytest.raises(ValueError, match="negative"):
        activity_from_one_scan(scans[0], HOUR, half_life_relative_uncertainty=-0.1)


def test_a_half_life_for_several_scans_is_refused(scans):
    with pytest.raises(ValueError, match="single scan"):
        dose_of_scans(scans, effective_half_life_s=HOUR)


def test_several_frames_are_no_single_scan(series):
    with pytest.raises(UnsupportedInput, match="one frame"):
        activity_from_one_scan(
            series(data=np.ones((4, 4, 2, 3)), frame_duration_s=np.full((1, 3), 60.0),
                   acquisition_datetime=None), HOUR
        )  # fmt: skip


def test_nuclides_of_different_elements_are_refused_unless_confirmed(scans):
    with pytest.raises(ImplausibleValue, match="different elements"):
        dose_of_scans(scans, nuclide="Lu-177", model="mono")
    found = dose_of_scans(scans, nuclide="Lu-177", model="mono", allow_other_element=True, method="local")
    assert "other-element" in {caution.code for caution in found.dose.warnings}


def test_scans_that_do_not_name_their_nuclide_have_no_twin(series, moments, scan_at):
    unnamed = [scan(series, moments, scan_at, hours, nuclide=None) for hours in (1.0, 24.0, 48.0)]
    with pytest.raises(MissingMetadata, match="nuclide"):
        dose_of_scans(unnamed, nuclide="Y-90", model="mono")
    named = dose_of_scans(
        unnamed, nuclide="Y-90", model="mono", method="local", density=1.0,
        administration=Administration(None, None, nuclide="Y-86"),
    )  # fmt: skip
    assert local(named) == pytest.approx(2.888, rel=2e-3)
    assert imaged_nuclide(unnamed[0]) is None


def test_a_map_of_decays_is_taken_as_it_is(scans):
    tia = time_integrated_activity(scans, model="mono", quantity="id_per_ml", given="Y-90")
    found = dose_of_scans(tia, nuclide="Y-90", per_mbq=True, method="local", density=1.0)
    assert local(found) == pytest.approx(2.888, rel=2e-3)
    whole = time_integrated_activity(scans, model="mono")
    with pytest.raises(UnitMismatch, match="not per activity"):
        dose_of_scans(whole, given_mbq=10.0)
    with pytest.raises(NothingUsable, match="one map"):
        dose_of_scans([tia.value, tia.value])


def test_voxels_without_a_positive_curve_have_the_dose_of_their_neighbours(series, moments, scan_at):
    """Noise below zero is no activity, and not a hole in the map."""
    volumes = []
    for hours in (1.0, 4.0, 24.0, 48.0):
        v = scan(series, moments, scan_at, hours, spacing=2.0)
        data = v.data.copy()
        data[3, 3, 1] = -5.0
        volumes.append(v.replace(data=data))
    found = dose_of_scans(volumes, nuclide="Y-90", model="mono")
    assert found.dose.flags.data[3, 3, 1] & Flag.BELOW_NOISE.value
    assert 0.05 < float(found.dose.value.data[3, 3, 1]) < float(found.dose.value.data[4, 4, 1])
    assert "no-activity" in {caution.code for caution in found.dose.warnings}


def test_bad_scans_are_refused(scans, series, moments, scan_at):
    with pytest.raises(NothingUsable):
        dose_of_scans([])
    other = scan(series, moments, scan_at, 4.0, spacing=29.0)
    with pytest.raises(GeometryMismatch, match="different grids"):
        dose_of_scans([scans[0], other], model="linear")
    with pytest.raises(GeometryMismatch, match="different grids"):
        rate_of_scans([scans[0], other])
    with pytest.raises(ImplausibleValue, match="same time"):
        rate_of_scans([scans[0], scans[0]])
    with pytest.raises(ValueError, match="not both"):
        dose_of_scans(scans, given_mbq=1.0, per_mbq=True)
    with pytest.raises(ImplausibleValue, match="not positive"):
        dose_of_scans(scans, given_mbq=-1.0)
    with pytest.raises(UnsupportedInput, match="nuclide"):
        dose_of_scans(scans, nuclide="Xx-999")


def test_dose_rate_is_that_of_the_activity_during_the_frame(scans):
    """Without decay correction: at the middle of the frame, by local deposition."""
    from imgtheranostics.data.nuclides import nuclide

    found = rate_of_scans(list(reversed(scans)), method="local", density=1.0)
    assert isinstance(found, Estimate)
    assert found.unit == "Gy/s"
    times = found.value.axis("time").values
    np.testing.assert_allclose(times, [h * HOUR + 150 for h in (1, 4, 24, 48)], atol=1.0)
    energy = nuclide("Y-86").delta_np_mev * 0.1602177e-3
    for n, t in enumerate(times):
        activity = SHARE * DOSE_BQ * 1e-6 * 2 ** (-t / Y86_S - t / HOUR / BIOLOGICAL_H)
        assert float(found.value.data[3, 3, 1, n]) == pytest.approx(activity * energy, rel=1e-3)
    single = rate_of_scans(scans[1], method="local", density=1.0)
    assert not single.axes
    assert float(single.value.data[3, 3, 1]) == pytest.approx(float(found.value.data[3, 3, 1, 1]), rel=1e-6)
