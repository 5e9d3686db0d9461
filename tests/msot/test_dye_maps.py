"""Dye kinetics of images: maps with units, regions, shared errors, what is missing."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import Caution, GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.dye_kinetics import compartment_curve
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE, TIMES = (12, 10, 4), 10.0 * np.arange(80)
X = np.indices(SHAPE)[0]
TUMOUR, LIVER = X < 4, (X >= 4) & (X < 8)
RATES = {"rise_per_s": 0.02, "decay_per_s": 0.004}


def volume(rng, sd=0.05, unit="umol/L"):
    """Tumour 1 umol/L, liver 4; nothing beyond; injected at 95 s."""
    scale = np.where(TUMOUR, 1.0, np.where(LIVER, 4.0, 0.0))[..., np.newaxis]
    data = scale * compartment_curve(TIMES - 95.0, amplitude=1.0, **RATES) + rng.normal(0.0, sd, (*SHAPE, 80))
    quantity = {"umol/L": "chromophore_concentration", "[arb'U]": "component_amplitude"}[unit]
    return Volume(data, np.eye(4), quantity, unit, (Axis("time", TIMES, "s"),))


def regions():
    masks = {"tumour": TUMOUR, "liver": LIVER, "beyond": X >= 8}
    return Regions.from_masks(masks, Volume(X, np.eye(4), "signal", "1").grid)


GIVEN = {"baseline": (0, 10), "injection_s": 95.0}


def value(table, region, parameter, column="value"):
    return table[(table["region"] == region) & (table["parameter"] == parameter)][column].iloc[0]


def test_two_compartments_of_voxels_and_regions(rng):
    found = it.msot.dye_kinetics_maps(volume(rng), regions(), **GIVEN, model="two_compartments")
    units = {name: estimate.unit for name, estimate in found.maps.items()}
    assert units == {
        "dye_peak": "umol/L",
        "time_to_peak": "s",
        "uptake_rate": "1/s",
        "dye_area": "umol/L.s",
        "decay_rate": "1/s",
        "half_life": "s",
    }
    decay = found.maps["decay_rate"].value.data[LIVER]
    assert np.mean(decay) == pytest.approx(0.004, rel=0.02)
    error = found.maps["decay_rate"].standard_error.data[LIVER]
    assert np.mean(error) == pytest.approx(np.std(decay), rel=0.2)  # 160 voxels
    assert value(found.table, "tumour", "area") == pytest.approx(250.0, rel=0.03)
    assert value(found.table, "liver", "area") == pytest.approx(1000.0, rel=0.03)
    assert value(found.table, "tumour", "half_life_s") == pytest.approx(np.log(2) / 0.004, rel=0.05)
    assert found.maps["decay_rate"].maps["rmse"].unit == "umol/L"
    curve = found.curves[1]
    assert curve.label == "liver"
    assert np.nanmax(np.abs(curve.fitted - curve.measured)) < 0.05


def test_a_tail_needs_no_injection(rng):
    found = it.msot.dye_kinetics_maps(
        volume(rng, unit="[arb'U]"), regions(), baseline=(0, 10), tail_from_s=400.0
    )
    assert found.maps["dye_area"].unit == "[arb'U].s"
    assert found.maps["dye_rise"].unit == "[arb'U]/s"
    assert value(found.table, "liver", "decay_per_s") == pytest.approx(0.004, rel=0.05)
    peak = found.maps["dye_peak"]
    assert (peak.flags.data[X >= 8] & Flag.NOT_ENHANCING.value != 0).mean() > 0.8
    assert np.isnan(found.curves[1].fitted[TIMES < 400.0]).all()


def test_the_error_of_a_calibration_is_in_amounts_and_not_in_rates(rng):
    image = volume(rng)
    flags = image.replace(data=np.zeros(image.shape), quantity="flags", unit="1")
    error = image.replace(data=np.full(image.shape, 0.05))
    plain = it.msot.dye_kinetics_maps(image, regions(), **GIVEN)
    found = it.msot.dye_kinetics_maps(Estimate(image, error, flags, 0.2), regions(), **GIVEN)
    assert found.maps["dye_peak"].calibration_relative == 0.2
    assert found.maps["half_life"].calibration_relative == 0.0
    for parameter, shared in (("peak", 0.2), ("area", 0.2), ("half_life_s", 0.0)):
        own = value(plain.table, "liver", parameter, "standard_error")
        both = value(found.table, "liver", parameter, "standard_error")
        assert both == pytest.approx(np.hypot(own, shared * value(plain.table, "liver", parameter)))


def test_masks_leave_voxels_out(rng):
    found = it.msot.dye_kinetics_maps(volume(rng), mask=LIVER, **GIVEN)
    assert found.table is None
    assert (found.maps["dye_peak"].flags.data[~LIVER] == Flag.MASKED_OUT.value).all()
    assert np.isfinite(found.maps["dye_peak"].value.data[LIVER]).all()


def test_what_is_missing_or_does_not_fit_is_refused(rng):
    image = volume(rng)
    with pytest.raises(MissingMetadata, match="over time"):
        it.msot.dye_kinetics_maps(image.frame(0), **GIVEN)
    with pytest.raises(MissingMetadata, match="injection"):
        it.msot.dye_kinetics_maps(image, baseline=(0, 10), model="two_compartments")
    with pytest.raises(UnknownChoice, match="tail_from_s"):
        it.msot.dye_kinetics_maps(image, **GIVEN, model="two_compartments", tail_from_s=400.0)
    with pytest.raises(UnknownChoice, match="model"):
        it.msot.dye_kinetics_maps(image, **GIVEN, model="three")
    with pytest.raises(UnsupportedInput, match="baseline"):
        it.msot.dye_kinetics_maps(image, baseline=(0, 200))
    with pytest.raises(GeometryMismatch):
        it.msot.dye_kinetics_maps(image, mask=np.ones((2, 2, 2)), **GIVEN)


def test_rates_of_frames_that_were_only_numbered_are_refused(rng):
    """A loader numbers frames without times in s and says so; a rate per frame is none per s."""
    caution = Caution("time-unknown", "the frames have no times: they are numbered in s")
    with pytest.raises(MissingMetadata, match="times of the frames are not known"):
        it.msot.dye_kinetics_maps(volume(rng).replace(warnings=(caution,)), **GIVEN)


@pytest.mark.parametrize("unit", ["1", "nm"])
def test_an_axis_of_frame_numbers_is_no_time(rng, unit):
    numbered = Volume(
        volume(rng).data, np.eye(4), "component_amplitude", "[arb'U]", (Axis("time", TIMES, unit),)
    )
    with pytest.raises(UnitMismatch, match="numbers of frames are no times"):
        it.msot.dye_kinetics_maps(numbered, **GIVEN)
    saturation = numbered.replace(quantity="so2", unit="%")
    flags = numbered.replace(data=np.zeros(numbered.shape, np.uint16), quantity="flags", unit="1")
    with pytest.raises(UnitMismatch, match="numbers of frames are no times"):
        it.msot.delta_so2(Estimate(saturation, saturation, flags))
