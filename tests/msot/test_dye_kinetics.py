"""Dye kinetics: closed forms, errors by repetition, curves that do not rise or fall, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.msot.dye_kinetics import compartment_curve, fit, fit_two_compartments
from imgtheranostics.volume import Flag

TIMES = np.arange(0.0, 1200.0, 10.0) + 2.0 * np.sin(np.arange(120))
"""Not uniform."""
INJECTION, BASELINE = 101.0, (0, 10)
REPEATS = 2000
GIVEN = {"baseline": BASELINE, "injection_s": INJECTION}


def hill(time_s=TIMES, rate=0.002):
    """2, then a parabola up to 12 at 250 s, from 300 s on 11.5 exp(-k t) above the baseline."""
    rise = 10.0 - 0.0005 * (time_s - 250.0) ** 2
    joined = 8.75 * np.exp(-rate * (time_s - 300.0))
    return 2.0 + np.where(time_s <= 111.0, 0.0, np.where(time_s < 300.0, rise, joined))


def noisy(curve, rng, sd=0.1):
    return curve + rng.normal(0.0, sd, (REPEATS, curve.size))


def agrees(found, name, rel=0.1):
    value = found.parameters[name]
    assert np.mean(found.standard_errors[name]) == pytest.approx(np.std(value), rel=rel)


def test_peak_area_and_decay_of_a_curve_without_noise():
    """The parabola's top is 10 at 250 s; the tail decays at 0.002 per s, half of it in ln 2 / 0.002 s."""
    found = fit(hill(), TIMES, baseline=BASELINE, injection_s=INJECTION, tail_from_s=305.0)
    value = {name: float(array) for name, array in found.parameters.items()}
    assert value["baseline"] == pytest.approx(2.0)
    assert value["peak"] == pytest.approx(10.0, rel=1e-6)
    assert value["time_to_peak_s"] == pytest.approx(250.0 - INJECTION, rel=1e-6)
    assert value["rise_per_s"] == pytest.approx(10.0 / (250.0 - INJECTION), rel=1e-6)
    assert value["decay_per_s"] == pytest.approx(0.002, rel=1e-8)
    assert value["half_life_s"] == pytest.approx(np.log(2) / 0.002, rel=1e-8)
    start = TIMES[TIMES >= 305.0][0]
    assert value["tail_from_s"] == start
    assert value["tail_amplitude"] == pytest.approx(8.75 * np.exp(-0.002 * (start - 300.0)))
    assert value["area"] == pytest.approx(np.trapezoid(hill()[9:] - 2.0, TIMES[9:]))
    assert found.flags == 0
    assert found.units["area"] == "[arb'U].s"


def test_errors_are_the_scatter_of_repeats(rng):
    found = fit(
        noisy(hill(), rng), TIMES, baseline=BASELINE, injection_s=INJECTION, tail_from_s=305.0, peak_points=9
    )
    assert not found.flags.any()
    for name in (
        "baseline",
        "peak",
        "time_to_peak_s",
        "rise_per_s",
        "area",
        "tail_amplitude",
        "decay_per_s",
        "half_life_s",
    ):
        agrees(found, name)


def test_the_error_of_a_short_baseline_is_in_the_decay(rng):
    """Two baseline samples: their error moves the whole tail, and its residuals do not show it."""
    found = fit(
        noisy(hill(), rng), TIMES, baseline=(8, 10), injection_s=INJECTION, tail_from_s=305.0, noise_sd=0.1
    )
    agrees(found, "decay_per_s")
    agrees(found, "area")
    residual_alone = fit(noisy(hill(), rng), TIMES, baseline=BASELINE, tail_from_s=305.0)
    assert np.std(found.parameters["decay_per_s"]) > 1.5 * np.std(residual_alone.parameters["decay_per_s"])


def test_the_tail_begins_after_the_largest_sample(rng):
    """The largest sample is high by its noise; without it the rate is not biased."""
    pure = np.where(TIMES < 100.0, 0.0, 10.0 * np.exp(-0.002 * (TIMES - 100.0)))
    found = fit(noisy(pure, rng), TIMES, baseline=BASELINE, injection_s=INJECTION)
    assert (found.parameters["tail_from_s"] > 100.0).all()
    rates = found.parameters["decay_per_s"]
    assert np.mean(rates) == pytest.approx(0.002, abs=5 * np.std(rates) / np.sqrt(REPEATS))
    agrees(found, "decay_per_s")


def test_noise_alone_rises_nowhere(rng):
    found = fit(
        noisy(np.full(TIMES.size, 2.0), rng), TIMES, baseline=BASELINE, injection_s=INJECTION, noise_sd=0.1
    )
    quiet = found.flags == Flag.NOT_ENHANCING.value
    assert quiet.mean() > 0.9
    assert np.isnan(found.parameters["peak"][quiet]).all()
    assert np.isnan(found.parameters["decay_per_s"][quiet]).all()
    areas = found.parameters["area"]
    assert np.mean(areas) == pytest.approx(0.0, abs=4 * np.std(areas) / np.sqrt(REPEATS))
    agrees(found, "area")


def test_a_curve_that_stays_up_has_no_decay(rng):
    """A particle that is retained: peak and area, but no rate that noise did not make."""
    plateau = 2.0 + 10.0 * np.clip((TIMES - 100.0) / 200.0, 0.0, 1.0)
    found = fit(plateau + 1e-3 * TIMES, TIMES, baseline=BASELINE, tail_from_s=400.0)
    assert found.flags & Flag.OUTSIDE_RANGE.value
    assert np.isnan(found.parameters["decay_per_s"])
    assert np.isnan(found.parameters["half_life_s"])


def test_a_negative_signal_counts_as_it_is():
    """Limited view makes values negative; a shift of all samples changes nothing but the baseline."""
    plain, shifted = (
        fit(hill() + level, TIMES, baseline=BASELINE, injection_s=INJECTION, tail_from_s=305.0, noise_sd=0.1)
        for level in (0.0, -7.0)
    )
    for name in set(plain.parameters) - {"baseline"}:
        assert float(shifted.parameters[name]) == pytest.approx(float(plain.parameters[name]), rel=1e-6)
    assert float(shifted.parameters["baseline"]) == pytest.approx(-5.0)


def test_a_sample_that_is_no_number_is_flagged_and_masks_hold():
    curves = np.tile(hill(), (3, 1))
    curves[1, 50] = np.nan
    found = fit(
        curves, TIMES, baseline=BASELINE, injection_s=INJECTION, mask=[True, True, False], noise_sd=0.1
    )
    assert found.flags.tolist() == [0, Flag.INVALID_INPUT.value, Flag.MASKED_OUT.value]
    for name, values in found.parameters.items():
        assert np.isnan(values[1:]).all(), name
        assert np.isfinite(values[0]), name


def compartments(time_s=TIMES, rise=0.01, decay=0.003):
    return 2.0 + compartment_curve(time_s - INJECTION, amplitude=10.0, rise_per_s=rise, decay_per_s=decay)


def test_two_compartments_without_noise():
    """Peak at ln(k_in / k_out) / (k_in - k_out); area A / k_out."""
    found = fit_two_compartments(compartments(), TIMES, injection_s=INJECTION, baseline=BASELINE)
    to_peak = np.log(0.01 / 0.003) / 0.007
    expected = {
        "amplitude": 10.0,
        "rise_per_s": 0.01,
        "decay_per_s": 0.003,
        "half_life_s": np.log(2) / 0.003,
        "time_to_peak_s": to_peak,
        "peak": 10.0 * np.exp(-0.003 * to_peak),
        "area": 10.0 / 0.003,
    }
    assert {name: float(v) for name, v in found.parameters.items()} == pytest.approx(expected, rel=1e-6)
    assert found.flags == 0
    assert float(found.r_squared) == pytest.approx(1.0)


def test_errors_of_two_compartments_are_the_scatter_of_repeats(rng):
    found = fit_two_compartments(noisy(compartments(), rng), TIMES, injection_s=INJECTION, baseline=BASELINE)
    assert not found.flags.any()
    for name in found.parameters:
        agrees(found, name)


def test_the_faster_rate_is_the_way_in():
    """The two rates are exchangeable; the amplitude changes with them."""
    swapped = compartments(rise=0.003, decay=0.01)
    found = fit_two_compartments(swapped, TIMES, injection_s=INJECTION, baseline=BASELINE)
    assert float(found.parameters["rise_per_s"]) == pytest.approx(0.01, rel=1e-6)
    assert float(found.parameters["amplitude"]) == pytest.approx(3.0, rel=1e-6)


def test_equal_rates_are_ambiguous(rng):
    found = fit_two_compartments(
        noisy(compartments(rise=0.005, decay=0.005), rng)[:200],
        TIMES,
        injection_s=INJECTION,
        baseline=BASELINE,
    )
    assert np.mean(found.flags & Flag.AMBIGUOUS_BRANCH.value != 0) > 0.9
    assert np.mean(found.parameters["area"]) == pytest.approx(2000.0, rel=0.05)


def test_rates_that_the_samples_do_not_resolve_stand_at_a_bound():
    """Uptake within the first sample."""
    curve = np.where(TIMES > INJECTION, 2.0 + 10.0 * np.exp(-0.003 * (TIMES - INJECTION)), 2.0)
    found = fit_two_compartments(curve, TIMES, injection_s=INJECTION, baseline=BASELINE)
    assert found.flags == Flag.AT_BOUND.value
    assert np.isnan(found.standard_errors["rise_per_s"])
    assert float(found.parameters["decay_per_s"]) == pytest.approx(0.003, rel=0.02)


def test_curves_that_cannot_be_two_compartments_are_flagged():
    curves = np.stack([np.full(TIMES.size, 2.0), 4.0 - compartments(), compartments()])
    curves[2, 60] = np.nan
    found = fit_two_compartments(curves, TIMES, injection_s=INJECTION, baseline=BASELINE, noise_sd=0.1)
    assert found.flags.tolist() == [256, 256, Flag.INVALID_INPUT.value]
    assert all(np.isnan(values).all() for values in found.parameters.values())


@given(rise=st.floats(0.003, 0.05), share=st.floats(0.05, 0.9), scale=st.floats(1e-6, 1e6))
def test_two_compartments_are_found_at_any_scale(rise, share, scale):
    curve = scale * compartments(rise=rise, decay=share * rise)
    found = fit_two_compartments(curve, TIMES, injection_s=INJECTION, baseline=BASELINE)
    assert float(found.parameters["rise_per_s"]) == pytest.approx(rise, rel=1e-3)
    assert float(found.parameters["decay_per_s"]) == pytest.approx(share * rise, rel=1e-3)
    assert float(found.parameters["amplitude"]) == pytest.approx(10.0 * scale, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": (5, 5)}, "baseline"),
        ({"baseline": BASELINE, "tail_from_s": 1190.0}, "tail_from_s"),
        ({"baseline": BASELINE, "tail_from_s": 20.0}, "tail_from_s"),
        ({"baseline": (0, 1)}, "one baseline sample"),
        ({"baseline": BASELINE, "mask": [True]}, "mask"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(hill(), TIMES, **options)


@pytest.mark.parametrize(("injection", "window"), [(50.0, (0, 10)), (1190.0, (0, 10))])
def test_an_injection_out_of_place_is_refused(injection, window):
    with pytest.raises(ValueError, match="injection_s"):
        fit_two_compartments(hill(), TIMES, injection_s=injection, baseline=window)
