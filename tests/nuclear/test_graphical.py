"""Graphical analysis against closed forms: curves that obey the models' differential equations exactly."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.nuclear import kinetics
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 16)
END = np.cumsum(DURATION)
START = END - DURATION
MID = 0.5 * (START + END)
FINE = np.arange(0.0, END[-1] + 0.5, 0.5)
A, B = 1 / 40.0, 1 / 2500.0


def plasma(t):
    """A bolus and a slow tail, without the sharp corner that straight lines would cut."""
    return 100.0 * (t / 30) * np.exp(-t * A) + 20.0 * (np.exp(-t * B) - np.exp(-t * A))


def frame_means(curve):
    """Averages over frames of a curve on FINE, by the trapezoid."""
    area = np.r_[0.0, np.cumsum(0.25 * (curve[1:] + curve[:-1]))]
    return (np.interp(END, FINE, area) - np.interp(START, FINE, area)) / DURATION


def convolved(rate):
    """Plasma and exp(-rate t), by the differential equation's exact step for straight lines."""
    cp, out = plasma(FINE), np.zeros(FINE.size)
    x = rate * 0.5
    decay = np.exp(-x)
    newer = (1 - (1 - decay) / x) / rate
    older = ((1 - decay) / x - decay) / rate
    for i in range(1, FINE.size):
        out[i] = decay * out[i - 1] + older * cp[i - 1] + newer * cp[i]
    return out


def one_tissue(k1, k2):
    return k1 / 60 * convolved(k2 / 60)


def area():
    cp = plasma(FINE)
    return np.r_[0.0, np.cumsum(0.25 * (cp[1:] + cp[:-1]))]


INPUT = {"time_s": MID, "input_time_s": FINE, "plasma": plasma(FINE)}


def test_patlak_of_trapped_tracer_is_exact_with_frames():
    """Ki int C_p + V C_p is a straight line for every frame average: published model, no approximation."""
    truth = [(0.03, 0.4), (0.002, 0.05), (0.0, 0.6)]
    curves = [frame_means(ki / 60 * area() + volume * plasma(FINE)) for ki, volume in truth]
    found = kinetics.patlak(curves, **INPUT, start_s=1200, frame_duration_s=DURATION)
    np.testing.assert_allclose(found.parameters["Ki"], [ki for ki, _ in truth], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.parameters["intercept"], [v for _, v in truth], rtol=1e-6)
    assert found.units == {"Ki": "mL/cm3/min", "intercept": "mL/cm3"}
    assert not found.flags.any()


def test_patlak_at_instants_is_exact_without_frames():
    curve = np.interp(MID, FINE, 0.03 / 60 * area() + 0.4 * plasma(FINE))
    found = kinetics.patlak(curve, **INPUT, start_s=1200)
    np.testing.assert_allclose(found.parameters["Ki"], 0.03, rtol=1e-8)
    np.testing.assert_allclose(found.parameters["intercept"], 0.4, rtol=1e-8)
    assert found.parameters["Ki"].shape == ()


def test_patlak_standard_error_is_the_scatter_of_repeats(rng):
    curve = frame_means(0.03 / 60 * area() + 0.4 * plasma(FINE))
    x = curve + rng.normal(0, 0.2, (4000, MID.size)) * plasma(MID)
    found = kinetics.patlak(x, **INPUT, start_s=1200, frame_duration_s=DURATION)
    ratio = found.standard_errors["Ki"].mean() / found.parameters["Ki"].std()
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert found.parameters["Ki"].mean() == pytest.approx(0.03, rel=0.02)


@pytest.mark.parametrize("method", [kinetics.logan, kinetics.ma1])
def test_standard_errors_of_own_integrals_are_the_scatter_of_repeats(method, rng):
    """Noise of one size in all frames; the scatter of 1500 repeats is known to 2 %."""
    curve = frame_means(one_tissue(0.1, 0.05))
    noisy = curve + rng.normal(0, 0.01 * curve.max(), (1500, MID.size))
    found = method(noisy, **INPUT, start_s=1800, frame_duration_s=DURATION)
    for name in ("VT", "intercept"):
        scatter = found.parameters[name].std(ddof=1)
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1), name


@pytest.mark.parametrize("method", [kinetics.logan_reference, kinetics.mrtm2, kinetics.mrtm])
def test_standard_errors_against_a_reference_are_the_scatter_of_repeats(method, rng):
    reference, target = frame_means(one_tissue(0.1, 0.1)), frame_means(one_tissue(0.12, 0.04))
    noisy = target + rng.normal(0, 0.005 * target.max(), (1500, MID.size))
    known = {} if method is kinetics.mrtm else {"k2_reference_per_min": 0.1}
    start = 1800 if method is kinetics.logan_reference else 0
    found = method(noisy, reference, time_s=MID, start_s=start, frame_duration_s=DURATION, **known)
    for name in ("DVR", "BP_ND", *(("R1", "k2_reference", "k2a") if not known else ("intercept",))):
        scatter = found.parameters[name].std(ddof=1)
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1), name


@pytest.mark.parametrize("method", [kinetics.logan, kinetics.ma1])
def test_volume_of_distribution_of_one_tissue(method):
    """V_T = K1/k2; Logan's equation holds for one tissue from the start, its intercept is -1/k2."""
    truth = [(0.1, 0.05), (0.3, 0.1), (0.05, 0.02)]
    curves = [frame_means(one_tissue(*each)) for each in truth]
    found = method(curves, **INPUT, start_s=1800, frame_duration_s=DURATION)
    np.testing.assert_allclose(found.parameters["VT"], [a / b for a, b in truth], rtol=2e-3)
    np.testing.assert_allclose(found.parameters["intercept"], [-1 / b for _, b in truth], rtol=1e-2)
    assert found.units == {"VT": "mL/cm3", "intercept": "min"}


def test_logan_from_samples_without_frames():
    curve = np.interp(MID, FINE, one_tissue(0.1, 0.05))
    found = kinetics.logan(curve, **INPUT, start_s=1800)
    assert found.parameters["VT"] == pytest.approx(2.0, rel=3e-3)


@pytest.mark.parametrize("method", [kinetics.logan_reference, kinetics.mrtm2])
def test_binding_potential_against_a_reference_tissue(method):
    """Target and reference of one tissue compartment, k2' known: DVR = V_T/V_T' for every frame."""
    reference = frame_means(one_tissue(0.1, 0.1))
    target = frame_means(one_tissue(0.12, 0.04))
    found = method(
        target, reference, time_s=MID, start_s=1800, frame_duration_s=DURATION, k2_reference_per_min=0.1
    )
    assert found.parameters["DVR"] == pytest.approx(3.0, rel=3e-3)
    assert found.parameters["BP_ND"] == pytest.approx(2.0, rel=5e-3)
    np.testing.assert_array_equal(found.standard_errors["BP_ND"], found.standard_errors["DVR"])


def test_patlak_against_a_reference_tissue():
    """A tissue that is Ki' int C_R + b C_R by construction."""
    reference = one_tissue(0.1, 0.1)
    whole = np.r_[0.0, np.cumsum(0.25 * (reference[1:] + reference[:-1]))]
    target = frame_means(0.01 / 60 * whole + 0.8 * reference)
    found = kinetics.patlak_reference(
        target, frame_means(reference), time_s=MID, start_s=1800, frame_duration_s=DURATION
    )
    assert found.parameters["Ki"] == pytest.approx(0.01, rel=2e-3)
    assert found.units["Ki"] == "1/min"


def test_only_frames_of_the_line_need_values():
    curves = np.tile(frame_means(0.03 / 60 * area() + 0.4 * plasma(FINE)), (3, 1))
    curves[1, 0], curves[2, -1] = np.nan, np.inf
    found = kinetics.patlak(curves, **INPUT, start_s=1200, frame_duration_s=DURATION)
    np.testing.assert_array_equal(found.flags, [0, 0, Flag.INVALID_INPUT])
    assert np.isnan([found.parameters["Ki"][2], found.standard_errors["Ki"][2]]).all()
    bad = kinetics.logan(curves, **INPUT, start_s=1200)
    np.testing.assert_array_equal(bad.flags, [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT])


def test_logan_does_not_divide_by_what_is_not_above_zero():
    curves = np.tile(frame_means(one_tissue(0.1, 0.05)), (3, 1))
    curves[1, -2], curves[2] = -1.0, 0.0
    found = kinetics.logan(curves, **INPUT, start_s=1800)
    np.testing.assert_array_equal(found.flags, [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT])
    assert np.isnan(found.parameters["VT"][1:]).all()


@pytest.mark.parametrize("method", [kinetics.patlak, kinetics.logan, kinetics.ma1])
def test_images_masks_and_threads_do_not_matter(method, rng):
    image = np.asfortranarray(rng.uniform(5, 6, (5, 6, 7, MID.size)).astype(np.float32))
    mask = rng.random((5, 6, 7)) < 0.5
    one = method(image, **INPUT, start_s=1200, mask=mask, workers=1)
    all_of_it = method(np.ascontiguousarray(image), **INPUT, start_s=1200)
    for name, values in one.parameters.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values[mask], all_of_it.parameters[name][mask])
        assert np.isnan(values[~mask]).all()
    assert (one.flags[~mask] == Flag.MASKED_OUT).all()


def test_activity_below_zero_is_flagged():
    curves = np.stack([frame_means(one_tissue(0.1, 0.05)), -frame_means(one_tissue(0.1, 0.05))])
    for method in (kinetics.patlak, kinetics.ma1):
        found = method(curves, **INPUT, start_s=1800)
        np.testing.assert_array_equal(found.flags, [0, Flag.NEGATIVE_AMPLITUDE])
    assert kinetics.logan(curves, **INPUT, start_s=1800).flags[1] == Flag.INVALID_INPUT


METHODS = [kinetics.patlak, kinetics.logan, kinetics.ma1]


@pytest.mark.parametrize("method", METHODS)
def test_blood_that_does_not_cover_the_scan_is_refused(method):
    few = FINE / END[-1] < 0.8
    with pytest.raises(ImplausibleValue, match="do not cover the scan"):
        method(MID, time_s=MID, input_time_s=FINE[few], plasma=plasma(FINE[few]), start_s=1200)
    late = FINE > 120
    with pytest.raises(ImplausibleValue, match="do not cover the scan"):
        method(MID, time_s=MID, input_time_s=FINE[late], plasma=plasma(FINE[late]), start_s=1200)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_s": MID[::-1]}, "must increase"),
        ({"input_time_s": FINE[::-1]}, "must increase"),
        ({"plasma": plasma(FINE)[1:]}, "one value per time"),
        ({"start_s": MID[-1]}, "needs at least 2 frames"),
        ({"plasma": np.full(FINE.size, np.nan)}, "finite"),
        ({"time_s": MID[1:]}, "last axis"),
        ({"weights": np.zeros(MID.size)}, "positive"),
        ({"frame_duration_s": 3 * DURATION}, "overlap"),
    ],
)
def test_usage_errors(method, change, message):
    with pytest.raises(ValueError, match=message):
        method(MID, **{**INPUT, "start_s": 1200.0, **change})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plasma": -plasma(FINE)}, "nowhere above zero"),
        ({"plasma": plasma(FINE) - 20}, "negative"),
        ({"time_s": MID / 60, "start_s": 20.0}, "minutes"),
    ],
)
def test_implausible_curves_are_refused(method, change, message):
    with pytest.raises(ImplausibleValue, match=message):
        method(MID, **{**INPUT, "start_s": 1200.0, **change})


def test_integral_of_a_late_scan_is_refused():
    late = MID > 1500
    with pytest.raises(ImplausibleValue, match="too late"):
        kinetics.logan(MID[late], **{**INPUT, "time_s": MID[late]}, start_s=1800)
    kinetics.patlak(MID[late], **{**INPUT, "time_s": MID[late]}, start_s=1800)
