"""Absorbed dose on Volumes: closed forms, propagated errors against repeats, and what is refused or said."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.dosimetry import convolve, voxel_s
from imgtheranostics.volume import Estimate, Flag, Volume

SPACING = (3.0, 3.0, 3.0)


def tia(data, spacing=SPACING, quantity="time_integrated_activity", unit="Bq.s/mL", **more):
    return Volume(np.asarray(data, np.float32), np.diag([*spacing, 1.0]), quantity, unit, **more)


def estimate(volume, error, shared=0.0, flags=None):
    marks = np.zeros(volume.shape, np.uint16) if flags is None else flags
    return Estimate(
        volume,
        volume.replace(data=np.asarray(error, np.float32)),
        volume.replace(data=marks, quantity="flags", unit="1"),
        shared,
    )


def codes(result):
    return [caution.code for caution in result.warnings]


@pytest.mark.parametrize(("hours", "dose"), [(31.0, 2.888), (64.10, 5.972)])
def test_upsn_tumour_of_12_percent_per_gram(hours, dose):
    """The issue: 2.888 and 5.972 Gy per MBq of 90Y, local, to 0.1 %; by the kernel in a large block."""
    decays = 1e6 * 0.12 * hours * 3600 / math.log(2)
    block = tia(np.full((15, 15, 15), decays), (2.0, 2.0, 2.0))
    local = it.nuclear.absorbed_dose(block, "Y-90", method="local", density=1.0)
    assert local.unit == "Gy"
    np.testing.assert_allclose(local.value.data, dose, rtol=1e-3)
    spread = it.nuclear.absorbed_dose(block, "Y-90", density=1.0)
    assert spread.value.data[7, 7, 7] == pytest.approx(dose, rel=3e-3)
    assert spread.value.data[0, 0, 0] < 0.5 * dose


def test_dose_is_the_convolution_of_decays_per_voxel(rng):
    """Anisotropic voxels of any orientation; per voxel MBq s = Bq s/mL x mL x 1e-6."""
    data, spacing = rng.uniform(0, 1e9, (14, 12, 9)), (1.5, 2.0, 4.0)
    found = it.nuclear.absorbed_dose(tia(data, spacing), "Lu-177")
    expected = convolve(data * 0.012 * 1e-6, voxel_s("Lu-177", spacing))
    np.testing.assert_allclose(found.value.data, expected, rtol=1e-5)
    assert found.decisions["method"]["nuclide"] == "Lu-177"
    assert found.value.history[-1].name == "absorbed_dose"


def test_dose_rate_integrates_to_the_dose():
    """Without clearance the dose is the rate at the start times T/ln 2; frames are worked on one by one."""
    half = nuclide("Y-90").half_life_s
    data = np.zeros((9, 9, 9))
    data[4, 4, 4] = 5e6
    rate = it.nuclear.dose_rate(tia(data, quantity="activity_concentration", unit="Bq/mL"), "Y-90")
    dose = it.nuclear.absorbed_dose(tia(data * half / math.log(2)), "Y-90")
    assert (rate.quantity, rate.unit) == ("absorbed_dose_rate", "Gy/s")
    # Both are float32 sums by transforms: equal to a millionth of the highest.
    scaled = rate.value.data * (half / math.log(2))
    np.testing.assert_allclose(scaled, dose.value.data, atol=3e-6 * dose.value.data.max())
    frames = tia(
        np.stack([data, data / 2], axis=-1),
        quantity="activity_concentration",
        unit="Bq/mL",
        axes=(it.Axis("time", np.array([0.0, half]), "s"),),
    )
    both = it.nuclear.dose_rate(frames, "Y-90").value.data
    np.testing.assert_allclose(both[..., 1], both[..., 0] / 2, atol=1e-6 * both.max())


def test_standard_errors_cover_the_scatter_of_repeats(rng):
    """300 repeats with independent noise per voxel: their spread is the stated error."""
    truth = np.full((9, 9, 9), 1e9)
    noise = np.full(truth.shape, 2e8)
    stated = it.nuclear.absorbed_dose(estimate(tia(truth), noise), "Y-90", s_relative_uncertainty=0.0)
    kernel = voxel_s("Y-90", 3.0)
    repeats = [convolve(rng.normal(truth, noise) * 0.027e-6, kernel)[3:6, 3:6, 3:6] for _ in range(300)]
    assert np.std(repeats, axis=0).mean() == pytest.approx(
        stated.standard_error.data[3:6, 3:6, 3:6].mean(), rel=0.05
    )
    shared = it.nuclear.absorbed_dose(estimate(tia(truth), 0.05 * truth, 0.05), "Y-90")
    assert shared.calibration_relative == pytest.approx(math.hypot(0.05, 0.02))
    np.testing.assert_allclose(
        shared.standard_error.data, math.hypot(0.05, 0.02) * shared.value.data, rtol=1e-3
    )
    local = it.nuclear.absorbed_dose(estimate(tia(truth), noise), "Y-90", method="local")
    np.testing.assert_allclose(local.standard_error.data, 0.2 * local.value.data, rtol=1e-5)
    assert local.calibration_relative == 0.0


def test_a_density_map_divides_by_the_mass_there():
    data = np.full((11, 11, 11), 1e9)
    density = np.full(data.shape, 1.04)
    density[5, 5, 5], density[0, 0, 0] = 0.26, 0.01
    map_ = tia(density, quantity="density", unit="g/mL")
    plain = it.nuclear.absorbed_dose(tia(data), "Y-90")
    scaled = it.nuclear.absorbed_dose(tia(data), "Y-90", density=map_)
    assert scaled.value.data[5, 5, 5] == pytest.approx(4 * plain.value.data[5, 5, 5], rel=1e-5)
    assert scaled.value.data[5, 5, 6] == pytest.approx(plain.value.data[5, 5, 6], rel=1e-5)
    assert np.isnan(scaled.value.data[0, 0, 0])
    assert scaled.flags.data[0, 0, 0] & Flag.OUTSIDE_RANGE
    assert codes(scaled) == ["density-unlike-kernel"]
    local = it.nuclear.absorbed_dose(tia(data), "Y-90", density=map_, method="local")
    expected = 1e3 * 0.93310723 * 0.1602176634e-3 / 0.26
    assert local.value.data[5, 5, 5] == pytest.approx(expected, rel=1e-5)


def test_decays_per_injected_activity_take_the_activity():
    """12 %ID/g of 90Y at 31.0 h is 2.888 Gy per MBq, per gram whatever the density, per mL at 1 g/mL."""
    per_gram = np.full((5, 5, 5), 0.12 * 31.0 * 3600 / math.log(2))
    by_mass = tia(per_gram, quantity="tiac_per_g", unit="s/g")
    by_volume = tia(per_gram, quantity="tiac_per_ml", unit="s/mL")
    for map_, density in ((by_mass, 1.0), (by_mass, 1.3), (by_volume, 1.0)):
        found = it.nuclear.absorbed_dose(map_, "Y-90", method="local", density=density, administered_mbq=2.0)
        np.testing.assert_allclose(found.value.data, 2 * 2.888, rtol=1e-3)
    density = tia(np.full((5, 5, 5), 0.8), quantity="density", unit="g/mL")
    found = it.nuclear.absorbed_dose(by_mass, "Y-90", method="local", density=density, administered_mbq=1.0)
    np.testing.assert_allclose(found.value.data, 2.888, rtol=1e-3)
    with pytest.raises(MissingMetadata, match="that activity"):
        it.nuclear.absorbed_dose(by_mass, "Y-90")
    for map_, activity in ((tia(per_gram), 1.0), (by_mass, 0.0)):
        with pytest.raises(ValueError, match="must"):
            it.nuclear.absorbed_dose(map_, "Y-90", administered_mbq=activity)


def test_from_scans_to_dose(series, moments, scan_at):
    """64Cu at 1, 4, 24 and 48 h, 50 kBq/mL at injection, cleared with 30 h: the closed form."""
    half, biological = 45720.0, 30 * 3600.0
    scans = []
    for after in (3600.0, 4 * 3600.0, 24 * 3600.0, 48 * 3600.0):
        at = scan_at + timedelta(seconds=after - 3600)
        left = 2 ** (-after / half) * 2 ** (-(after + 150) / biological)
        data = np.full((8, 8, 4), 5e4 * left)
        scans.append(
            series(
                data=data, spacing=30.0, series_datetime=at, acquisition_datetime=moments(at),
                nuclide="Cu-64", half_life_s=half,
            )
        )  # fmt: skip
    decays = it.nuclear.time_integrated_activity(scans, model="mono")
    found = it.nuclear.absorbed_dose(decays, method="local", density=1.0)
    effective = 1 / (1 / half + 1 / biological)
    expected = 5e4 * effective / math.log(2) * nuclide("Cu-64").delta_np_mev * 1.602176634e-10
    np.testing.assert_allclose(found.value.data, expected, rtol=1e-5)
    assert [step.name for step in found.value.history][-2:] == ["time_integrated_activity", "absorbed_dose"]
    assert codes(found)[-1] == "photons-not-included"


def test_unknown_and_negative_activity_are_flagged_and_said():
    data = np.full((9, 9, 9), 1e9)
    data[4, 4, 4], data[2, 2, 2] = np.nan, -1e8
    marks = np.zeros(data.shape, np.uint16)
    marks[4, 4, 4] = Flag.MASKED_OUT
    error = np.full(data.shape, 1e8)
    error[4, 4, 4] = error[6, 6, 6] = np.nan
    found = it.nuclear.absorbed_dose(estimate(tia(data), error, flags=marks), "Y-90")
    assert np.isnan(found.value.data[4, 4, 4])
    assert found.flags.data[4, 4, 4] == Flag.MASKED_OUT
    assert np.isfinite(found.value.data[4, 4, 5])
    assert np.isnan(found.standard_error.data[6, 6, 6])
    assert found.flags.data[2, 2, 2] == Flag.NEGATIVE_AMPLITUDE
    assert set(codes(found)) == {"unknown-activity", "negative-activity", "unknown-error"}
    plain = it.nuclear.absorbed_dose(tia(data), "Y-90", method="local")
    assert plain.flags.data[4, 4, 4] == Flag.INVALID_INPUT


def test_what_a_method_leaves_out_is_said():
    data = np.full((7, 7, 7), 1e9)
    assert codes(it.nuclear.absorbed_dose(tia(data), "Y-90")) == []
    assert codes(it.nuclear.absorbed_dose(tia(data), "I-131")) == ["photons-beyond-kernel"]
    assert codes(it.nuclear.absorbed_dose(tia(data), "I-131", method="local")) == ["photons-not-included"]
    assert codes(it.nuclear.absorbed_dose(tia(data, (0.5,) * 3), "Y-90", method="local")) == [
        "electrons-leave-voxel"
    ]
    assert codes(it.nuclear.absorbed_dose(tia(data), "Ac-225", method="local")) == ["progeny-not-included"]


def test_progeny_counts_where_it_arises_when_asked(rng):
    """225Ac: 5.917 MeV alone, 28.68 MeV with all that follows; 212Pb by kernels as the sum of its chain's."""
    data = rng.uniform(0, 1e9, (9, 9, 9))
    alone = it.nuclear.absorbed_dose(tia(data), "Ac-225", method="local")
    both = it.nuclear.absorbed_dose(tia(data), "Ac-225", method="local", progeny="in_place")
    np.testing.assert_allclose(both.value.data, alone.value.data * 28.6843 / 5.91676, rtol=1e-4)
    assert "progeny-in-place" in codes(both)
    assert both.decisions["progeny"]["decays"]["Bi-213"] == pytest.approx(0.9999, abs=1e-3)
    lead = it.nuclear.absorbed_dose(tia(data), "Pb-212", progeny="in_place")
    chain = {"Pb-212": 1.0, "Bi-212": 1.0, "Po-212": 0.6406, "Tl-208": 0.3594}
    expected = sum(number * convolve(data * 0.027e-6, voxel_s(name, 3.0)) for name, number in chain.items())
    np.testing.assert_allclose(lead.value.data, expected, rtol=1e-4)
    assert codes(it.nuclear.absorbed_dose(tia(data), "I-131", progeny="in_place"))[0] == "progeny-in-place"
    assert "progeny-not-included" not in codes(it.nuclear.absorbed_dose(tia(data), "I-131"))
    with pytest.raises(UnsupportedInput, match="progeny"):
        it.nuclear.absorbed_dose(tia(data), "Ac-225", progeny="all")


def test_the_nuclide_is_that_of_the_image_unless_another_is_named():
    record = EmissionAcquisition(radiopharmaceutical=Radiopharmaceutical(nuclide="Y-86"))
    v = tia(np.full((7, 7, 7), 1e9), acquisition=record)
    own = it.nuclear.absorbed_dose(v, method="local")
    assert own.decisions["method"]["nuclide"] == "Y-86"
    twin = it.nuclear.absorbed_dose(v, "90Y", method="local")
    assert twin.decisions["method"]["nuclide"] == "Y-90"
    assert "other-nuclide" in codes(twin)
    # What was imaged need not be in the table of those that give dose.
    rare = v.replace(acquisition=EmissionAcquisition(radiopharmaceutical=Radiopharmaceutical("Br-75")))
    assert "other-nuclide" in codes(it.nuclear.absorbed_dose(rare, "Y-90", method="local"))
    with pytest.raises(UnsupportedInput):
        it.nuclear.absorbed_dose(rare)
    with pytest.raises(MissingMetadata, match="nuclide"):
        it.nuclear.absorbed_dose(tia(np.ones((3, 3, 3))))


def test_what_is_no_decays_is_refused():
    ones = np.ones((5, 5, 5))
    activity = tia(ones, quantity="activity_concentration", unit="Bq/mL")
    with pytest.raises(UnitMismatch, match="decays"):
        it.nuclear.absorbed_dose(activity, "Y-90")
    with pytest.raises(UnitMismatch, match="activity per volume"):
        it.nuclear.dose_rate(tia(ones), "Y-90")
    with pytest.raises(UnitMismatch, match="density"):
        it.nuclear.absorbed_dose(tia(ones), "Y-90", density=activity)
    with pytest.raises(UnsupportedInput, match="no such way"):
        it.nuclear.absorbed_dose(tia(ones), "Y-90", method="monte carlo")
    with pytest.raises(UnsupportedInput):
        it.nuclear.absorbed_dose(tia(ones), "Xx-12")
    other = tia(np.ones((4, 5, 5)), quantity="density", unit="g/mL")
    with pytest.raises(GeometryMismatch):
        it.nuclear.absorbed_dose(tia(ones), "Y-90", density=other)
    sheared = np.diag([3.0, 3.0, 3.0, 1.0])
    sheared[0, 1] = 1.0
    with pytest.raises(GeometryMismatch, match="right-angled"):
        it.nuclear.absorbed_dose(
            Volume(ones.astype(np.float32), sheared, "time_integrated_activity", "Bq.s/mL"), "Y-90"
        )


@pytest.mark.parametrize(
    "options", [{"density": 0.0}, {"density": math.nan}, {"s_relative_uncertainty": -1.0}]
)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        it.nuclear.absorbed_dose(tia(np.ones((5, 5, 5))), "Y-90", **options)
