"""Differential targeted enhancement: before minus after a destruction pulse, given or found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import IllConditioned, MissingMetadata, UnsupportedInput
from imgtheranostics.ultrasound.bolus_models import lognormal
from imgtheranostics.ultrasound.destruction import find_burst
from imgtheranostics.volume import Flag

TIME = np.arange(40) * 0.5
targeted = it.ultrasound.targeted_enhancement


def step(before=5.0, after=2.0, burst=20, n=40):
    return np.where(np.arange(n) < burst, before, after)


def test_difference_of_the_means_on_both_sides():
    """U16: mean(before) - mean(after burst)."""
    fit = targeted(step(), TIME, burst_time_s=10.0)
    assert fit.parameters["targeted_enhancement"] == pytest.approx(3.0)
    assert (fit.parameters["before"], fit.parameters["after"]) == (pytest.approx(5), pytest.approx(2))
    assert fit.parameters["burst_time_s"] == 10.0
    assert fit.r_squared == pytest.approx(1.0)


def test_frames_of_the_pulse_and_of_the_inflow_do_not_count():
    signal = step()
    signal[20:23] = 90.0
    signal[23:30] = 1.0
    fit = targeted(signal, TIME, burst_time_s=10.0, burst_duration_s=1.2, settle_s=3.5)
    assert fit.parameters["targeted_enhancement"] == pytest.approx(3.0)


@settings(max_examples=30)
@given(
    burst=st.integers(6, 33),
    drop=st.floats(0.5, 50),
    flash=st.integers(0, 2),
    bright=st.booleans(),
    seed=st.integers(0, 999),
)
def test_pulse_is_found_where_it_is(burst, drop, flash, bright, seed):
    """With up to two frames of the pulse itself, bright or dark, which count on neither side."""
    rng = np.random.default_rng(seed)
    signal = step(10 + drop, 10, burst) + 0.02 * drop * rng.normal(size=40)
    signal[burst : burst + flash] = 100 + 2 * drop if bright else -50 - drop
    found = find_burst(TIME, signal)
    assert found.time_s == TIME[burst]
    assert found.before.tolist() == list(range(burst))
    assert found.after.tolist() == list(range(burst + flash, 40))
    assert found.decision["rule"] == "largest abrupt fall"


@pytest.mark.parametrize(
    "signal",
    [
        np.ones(40),
        10 * np.exp(-TIME / 8),
        np.linspace(10, 1, 40),
        np.random.default_rng(0).normal(10, 1, 40),
        step(2, 5),
    ],
    ids=["flat", "wash-out", "line", "noise", "rise"],
)
def test_without_an_abrupt_drop_no_pulse_is_invented(signal):
    with pytest.raises(IllConditioned, match=r"give --burst-time SECONDS \(burst_time_s=\)"):
        targeted(signal, TIME)


def test_standard_error_is_the_scatter_of_repeats():
    rng = np.random.default_rng(1)
    fit = targeted(step() + rng.normal(size=(1500, 40)), TIME, burst_time_s=10.0)
    found, error = (part["targeted_enhancement"] for part in (fit.parameters, fit.standard_errors))
    assert np.sqrt(np.mean(error**2)) == pytest.approx(found.std(), rel=0.1)
    assert found.mean() == pytest.approx(3.0, abs=0.05)


def test_curves_with_gaps_and_outside_the_mask_are_flagged():
    signal = np.tile(step(), (3, 1))
    signal[0, 5] = np.nan
    fit = targeted(signal, TIME, mask=[True, True, False])
    assert_allclose(fit.parameters["targeted_enhancement"], [np.nan, 3.0, np.nan])
    assert fit.flags.tolist() == [Flag.INVALID_INPUT, 0, Flag.MASKED_OUT]


def test_usage_errors_and_pulses_outside_the_frames():
    with pytest.raises(UnsupportedInput, match="one side"):
        targeted(step(), TIME, burst_time_s=-1.0)
    with pytest.raises(UnsupportedInput, match="one side"):
        targeted(step(), TIME, burst_time_s=10.0, settle_s=100.0)
    with pytest.raises(ValueError, match="increasing"):
        targeted(step(), TIME[::-1], burst_time_s=10.0)
    with pytest.raises(ValueError, match="negative"):
        targeted(step(), TIME, burst_time_s=10.0, settle_s=-1)
    with pytest.raises(ValueError, match="time_s"):
        targeted(step())
    with pytest.raises(ValueError, match="do not apply"):
        targeted(step(), TIME, burst_time_s=10.0, dynamic_range_db=60)
    with pytest.raises(UnsupportedInput, match="frames"):
        targeted(step()[:6], TIME[:6])


def test_cine_gives_a_row_per_region_with_the_pulse_on_record(speckle, cine, boxes, compressed):
    """Bound bubbles add 4000 to tissue of 1000 until frame 12; the tissue beside them has none."""
    rng = np.random.default_rng(2)
    shape = (48, 80)
    tissue, bubbles = speckle(rng, shape) * 1e3, speckle(rng, shape) * 4e3
    bubbles[:, 40:] = 0
    frames = [tissue + (bubbles if n < 12 else 0) for n in range(24)]
    volume = cine(compressed(np.stack(frames, axis=-1)), time_s=TIME[:24])
    rois = boxes(volume, target=(4, 44, 4, 36), beside=(4, 44, 44, 76))
    table = targeted(volume, rois=rois, dynamic_range_db=60).set_index("region")
    truth = bubbles[4:44, 4:36].mean()
    assert table.loc["target", "mean"] == pytest.approx(truth, rel=0.01)
    # the agent's own speckle: its mean of 4000 is known to one over the root of its cells
    cells = 40 * 32 / (2 * np.pi * 1.5)
    assert table.loc["target", "standard_error"] == pytest.approx(4e3 / np.sqrt(cells), rel=0.3)
    assert abs(table.loc["beside", "mean"]) < 1e-6
    burst = table.attrs["decisions"]["burst"]
    assert burst["burst_time_s"] == 6.0
    assert (table["quantity"] == "targeted_enhancement").all()


def test_cine_needs_regions_and_its_dynamic_range(cine, boxes):
    volume = cine(np.full((40, 40, 24), 100.0))
    with pytest.raises(MissingMetadata, match="rois"):
        targeted(volume, burst_time_s=1.0)
    with pytest.raises(MissingMetadata, match="--dynamic-range"):
        targeted(volume, rois=boxes(volume, a=(2, 38, 2, 38)), burst_time_s=1.0)
    with pytest.raises(ValueError, match="belong to curves"):
        targeted(volume, TIME, rois=boxes(volume, a=(2, 38, 2, 38)))
    with pytest.raises(UnsupportedInput, match="cine"):
        targeted(volume.frame(0), rois=boxes(volume, a=(2, 38, 2, 38)), burst_time_s=1.0)


@pytest.mark.parametrize(
    ("course", "most"),
    [
        (lambda time: np.where(time < 10, 8.0, 50.0), 0.05),
        (lambda time: 5 + lognormal(time, area=400, log_mean=1.5, log_sd=0.5, arrival_time_s=2), 0.15),
    ],
    ids=["step up", "bolus"],
)
def test_bright_speckle_is_no_destruction_pulse(course, most):
    """Echo that rises fluctuates more where it is bright, by a tenth of itself; 100 curves of each kind."""
    time = np.arange(0, 20, 0.1)
    rng = np.random.default_rng(11)
    found = 0
    for curve in course(time) * rng.gamma(100, 0.01, (100, time.size)):
        try:
            it.ultrasound.targeted_enhancement(curve, time)
        except IllConditioned:
            continue
        found += 1
    assert found <= 100 * most
