"""T1 from recovery curves: closed forms, SciPy, polarity, repetition times, guards, standard errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.relaxometry import (
    fit_inversion_recovery,
    fit_look_locker,
    fit_saturation_recovery,
)
from imgtheranostics.volume import Flag

TI = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 3.2])
C4 = 0.95153  # mean of a standard deviation with 5 degrees of freedom over the true one, as tabulated


def inversion(t1_s, s0=1000.0, share=1.0, times=TI, tr_s=np.inf):
    """S0 [1 - k E(TI) + (k - 1) E(TR)], k = 1 + share (mri.md, F4, with the share of the inversion)."""
    t1 = np.asarray(t1_s, float)[..., None]
    k = 1.0 + share
    return s0 * (1 - k * np.exp(-np.asarray(times) / t1) + (k - 1) * np.exp(-np.asarray(tr_s) / t1))


def noisy(rng, clean, snr, n=2000):
    """Repeats with the noise of an SNR that is that of the strongest signal."""
    return clean + np.abs(clean).max() / snr * rng.standard_normal((n, clean.size))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-7), (np.float32, 1e-4)])
@pytest.mark.parametrize("tr", [None, 3.5])
@pytest.mark.parametrize("share", [1.0, 0.9])
def test_noise_free_inversions_return_what_they_were_made_of(dtype, tolerance, tr, share):
    t1 = np.geomspace(0.06, 4.0, 40)
    clean = inversion(t1, 700.0, share, tr_s=np.inf if tr is None else tr)
    for model, signal in (
        ("signed", clean.astype(dtype)),
        ("magnitude", np.abs(clean).astype(dtype)),
        ("complex", clean.astype(dtype) * np.exp(0.7j).astype(np.result_type(dtype, np.complex64))),
    ):
        fit = fit_inversion_recovery(signal, TI, repetition_time_s=tr, model=model)
        np.testing.assert_allclose(fit.parameters["t1_s"], t1, rtol=tolerance)
        np.testing.assert_allclose(fit.parameters["s0"], 700.0, rtol=tolerance)
        np.testing.assert_allclose(fit.parameters["inversion_efficiency"], share, rtol=2 * tolerance)
        assert fit.parameters["t1_s"].dtype == dtype
        assert not fit.flags.any()
    assert fit.units == {"t1_s": "s", "s0": "[arb'U]", "inversion_efficiency": "1"}


@pytest.mark.parametrize("magnitude", [True, False])
@pytest.mark.parametrize("tr", [None, 2.5])
def test_a_perfect_inversion_needs_two_parameters(magnitude, tr):
    times = TI[TI < 2.4]
    t1 = np.geomspace(0.03, 3.0, 40)
    signal = inversion(t1, 300.0, times=times, tr_s=np.inf if tr is None else tr)
    fit = fit_inversion_recovery(
        np.abs(signal) if magnitude else signal, times, repetition_time_s=tr, model="two_parameter"
    )
    np.testing.assert_allclose(fit.parameters["t1_s"], t1, rtol=1e-7)
    np.testing.assert_allclose(fit.parameters["s0"], 300.0, rtol=1e-7)
    assert (fit.parameters["inversion_efficiency"] == 1.0).all()
    assert np.isnan(fit.standard_errors["inversion_efficiency"]).all()


def test_repetition_times_that_differ_are_taken_one_by_one():
    """As on some scanners, where the wait after the read-out is fixed."""
    tr = TI + 1.0
    signal = np.abs(inversion(1.1, 500.0, tr_s=tr))
    for model in ("magnitude", "two_parameter"):
        fit = fit_inversion_recovery(signal, TI, repetition_time_s=tr, model=model)
        assert fit.parameters["t1_s"] == pytest.approx(1.1, rel=1e-7)
    blind = fit_inversion_recovery(signal, TI, repetition_time_s=float(tr.max()), model="two_parameter")
    assert abs(blind.parameters["t1_s"] / 1.1 - 1) > 0.05


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_saturation_recovery_over_times_or_repetition_times(share):
    t1 = np.geomspace(0.1, 4.0, 30)[:, None]
    times = np.array([0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0])
    fit = fit_saturation_recovery(400 * (1 - share * np.exp(-times / t1)), times, model="three_parameter")
    np.testing.assert_allclose(fit.parameters["t1_s"], t1[:, 0], rtol=1e-6)
    np.testing.assert_allclose(fit.parameters["saturation_efficiency"], share, rtol=1e-6)
    whole = fit_saturation_recovery(400 * (1 - np.exp(-times / t1)), times)
    np.testing.assert_allclose(whole.parameters["t1_s"], t1[:, 0], rtol=1e-7)
    np.testing.assert_allclose(whole.parameters["s0"], 400.0, rtol=1e-7)
    assert set(whole.parameters) == {"t1_s", "s0"}


@pytest.mark.parametrize("magnitude", [True, False])
def test_look_locker_corrects_for_the_read_out(magnitude):
    """A perfect inversion of M0 under a train: T1* = 0.7 T1, A = M0 T1*/T1, B = A + M0 (mri.md, F5)."""
    times = np.arange(0.1, 4.0, 0.25)
    t1 = np.geomspace(0.3, 2.0, 20)
    asymptote = 900 * 0.7
    signal = asymptote - (asymptote + 900) * np.exp(-times / (0.7 * t1[:, None]))
    model = "magnitude" if magnitude else "signed"
    fit = fit_look_locker(np.abs(signal) if magnitude else signal, times, model=model)
    np.testing.assert_allclose(fit.parameters["t1_s"], t1, rtol=1e-6)
    np.testing.assert_allclose(fit.parameters["t1star_s"], 0.7 * t1, rtol=1e-6)
    np.testing.assert_allclose(fit.parameters["s0"], asymptote, rtol=1e-6)
    np.testing.assert_allclose(fit.parameters["inversion_efficiency"], 1 / 0.7, rtol=1e-6)


@pytest.mark.parametrize("model", ["signed", "magnitude"])
def test_look_locker_gives_no_negative_t1(model):
    """B/A below 1 would be a negative T1, which a tool in use writes (-170.6 ms, mri.md)."""
    times = np.arange(0.1, 3.0, 0.3)
    fit = fit_look_locker(100 - 80 * np.exp(-times / 0.8), times, model=model)
    assert np.isnan(fit.parameters["t1_s"])
    assert np.isnan(fit.parameters["t1star_s"])
    assert fit.flags == Flag.OUTSIDE_RANGE


def test_signed_curves_agree_with_scipy(rng):
    def model(t, t1, s0, share):
        return s0 * (1 - (1 + share) * np.exp(-t / t1))

    for signal in noisy(rng, inversion(0.9, share=0.95), 40, 25):
        reference, covariance = curve_fit(model, TI, signal, (1.0, 900.0, 1.0), xtol=1e-14, ftol=1e-14)
        fit = fit_inversion_recovery(signal, TI, model="signed")
        for place, name in enumerate(("t1_s", "s0", "inversion_efficiency")):
            assert fit.parameters[name] == pytest.approx(reference[place], rel=1e-6)
            assert fit.standard_errors[name] == pytest.approx(
                np.sqrt(covariance[place, place]) / C4, rel=1e-3
            )
        residual = signal - model(TI, *reference)
        assert fit.rmse == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-6)
        assert fit.r_squared == pytest.approx(1 - residual.var() / signal.var(), abs=1e-3)


def test_magnitudes_are_fitted_no_worse_than_by_scipy_from_the_truth(rng):
    def model(t, t1, a, b):
        return np.abs(a + b * np.exp(-t / t1))

    for t1 in (0.3, 0.9, 1.6):
        for signal in np.abs(noisy(rng, inversion(t1, share=0.95), 40, 15)):
            reference, _ = curve_fit(model, TI, signal, (t1, 1000.0, -1950.0), xtol=1e-14, ftol=1e-14)
            theirs = np.sqrt(np.mean((signal - model(TI, *reference)) ** 2))
            fit = fit_inversion_recovery(signal, TI)
            assert fit.rmse <= theirs * (1 + 1e-9)
            if fit.rmse == pytest.approx(theirs, rel=1e-9):
                assert fit.parameters["t1_s"] == pytest.approx(reference[0], rel=1e-5)


@pytest.mark.parametrize("snr", [30, 100])
@pytest.mark.parametrize("t1", [0.5, 1.2])
@pytest.mark.parametrize("model", ["magnitude", "signed", "two_parameter", "complex"])
def test_reported_standard_errors_are_the_scatter_of_repeats(rng, model, snr, t1):
    """2,000 repeats: mean reported error within 10 % of the observed scatter."""
    signal = noisy(rng, inversion(t1), snr)
    if model == "complex":
        signal = (signal + 1j * (noisy(rng, inversion(t1), snr) - inversion(t1))) * np.exp(2.1j)
    elif model != "signed":
        signal = np.abs(signal)
    fit = fit_inversion_recovery(signal, TI, model=model)
    for name in ("t1_s", "s0"):
        observed = fit.parameters[name].std(ddof=1)
        assert np.mean(fit.standard_errors[name]) == pytest.approx(observed, rel=0.1)


def test_standard_errors_of_saturation_and_look_locker_are_the_scatter_too(rng):
    times = np.linspace(0.2, 5.0, 9)
    saturation = 1000 * (1 - np.exp(-times / 1.2))
    train = 700 - 1700 * np.exp(-times / 0.84)
    fits = (
        fit_saturation_recovery(noisy(rng, saturation, 60), times),
        fit_saturation_recovery(noisy(rng, saturation, 60), times, model="three_parameter"),
        fit_look_locker(noisy(rng, train, 60), times, model="signed"),
    )
    for fit in fits:
        for name, values in fit.parameters.items():
            assert np.mean(fit.standard_errors[name]) == pytest.approx(values.std(ddof=1), rel=0.1), name


@given(
    t1=st.floats(0.08, 3.0),
    s0=st.floats(1e-3, 1e6),
    share=st.floats(0.75, 1.0),
    times=st.lists(st.floats(0.03, 4.0), min_size=5, max_size=14, unique=True),
)
def test_the_polarity_is_found_whatever_the_protocol(t1, s0, share, times):
    times = np.array([*times, 0.02, t1, 4 * t1])
    signal = inversion(t1, s0, share, times)
    fit = fit_inversion_recovery(np.abs(signal), times)
    assert fit.parameters["t1_s"] == pytest.approx(t1, rel=1e-5)
    assert fit.parameters["s0"] == pytest.approx(s0, rel=1e-5)
    assert fit.flags == 0


def test_inversion_times_need_no_order(rng):
    shuffled = rng.permutation(TI.size)
    signal = np.abs(noisy(rng, inversion(0.7), 50, 10))
    sorted_fit = fit_inversion_recovery(signal, TI, repetition_time_s=TI + 2)
    fit = fit_inversion_recovery(signal[:, shuffled], TI[shuffled], repetition_time_s=TI[shuffled] + 2)
    np.testing.assert_array_equal(fit.parameters["t1_s"], sorted_fit.parameters["t1_s"])


def test_three_magnitudes_cannot_tell_the_polarity():
    """Three parameters pass through three points of either sign."""
    fit = fit_inversion_recovery(np.abs(inversion(1.0, times=[0.3, 0.7, 2.0])), [0.3, 0.7, 2.0])
    assert fit.flags & Flag.AMBIGUOUS_BRANCH
    assert np.isnan(fit.standard_errors["t1_s"])


def test_an_ambiguous_polarity_is_one_that_scipy_fits_as_well(rng):
    """Flagged voxels have a second sign pattern whose sum of squares is within that of the noise."""

    def model(t, t1, a, b):
        return a + b * np.exp(-t / t1)

    magnitudes = np.abs(noisy(rng, inversion(1.15), 15, 800))
    fit = fit_inversion_recovery(magnitudes, TI)
    flagged = np.flatnonzero(fit.flags == Flag.AMBIGUOUS_BRANCH)
    assert 5 < flagged.size < 400
    for voxel in flagged[:15]:
        sums, times = [], []
        for negative in range(2, 6):
            signal = np.where(np.arange(TI.size) < negative, -magnitudes[voxel], magnitudes[voxel])
            p, _ = curve_fit(model, TI, signal, (1.15, 1000.0, -2000.0), maxfev=4000)
            sums.append(np.sum((signal - model(TI, *p)) ** 2))
            times.append(p[0])
        first, second = np.argsort(sums)[:2]
        assert sums[second] - sums[first] <= sums[first] / (TI.size - 3) * (1 + 1e-6)
        # The reported error holds up to half the square of the difference besides that of one polarity.
        assert abs(times[second] - times[first]) > fit.standard_errors["t1_s"][voxel] * C4 / np.sqrt(1.5)


def test_t1_far_below_the_first_inversion_time_is_not_reported_as_known(rng):
    """After 25 time constants nothing is left to see: refused, flagged, or with an error that says so."""
    signal = noisy(rng, np.full(TI.size, 1000.0) * (1 - 2 * np.exp(-TI / 0.002)), 50, 500)
    fit = fit_inversion_recovery(np.abs(signal), TI)
    t1, error = fit.parameters["t1_s"], fit.standard_errors["t1_s"]
    assert np.mean((fit.flags != 0) | (error > 0.3 * t1)) > 0.95


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_cannot_be_fitted_are_nan_and_say_why(dtype):
    signal = np.stack([np.abs(inversion(0.8))] * 7).astype(dtype)
    signal[1, 3] = np.nan
    signal[2, 0] = np.inf
    signal[3] = 0.0
    signal[4, 1] = -5.0
    signal[5] = 7.0
    signal[6] = np.exp(-TI)
    fit = fit_inversion_recovery(signal, TI)
    np.testing.assert_array_equal(fit.flags[:5], [0, *[Flag.INVALID_INPUT] * 4])
    assert (fit.flags[5:] != 0).all()
    assert np.isfinite(fit.parameters["t1_s"][0])
    for values in (*fit.parameters.values(), *fit.standard_errors.values(), fit.rmse):
        assert np.isnan(values[1:6]).all()


def test_a_signed_curve_of_the_wrong_sign_has_a_negative_amplitude():
    fit = fit_inversion_recovery(-inversion(0.8), TI, model="signed")
    assert fit.flags == Flag.NEGATIVE_AMPLITUDE
    assert np.isnan(fit.parameters["t1_s"])


def test_an_exact_zero_at_the_null_is_a_measurement():
    times = np.array([0.1, 0.3, 0.8 * np.log(2), 1.0, 2.0, 4.0])
    signal = np.abs(inversion(0.8, times=times))
    signal[2] = 0.0
    fit = fit_inversion_recovery(signal, times)
    assert fit.parameters["t1_s"] == pytest.approx(0.8, rel=1e-6)
    assert fit.flags == 0


def test_t1_beyond_the_limit_is_outside_the_range():
    fit = fit_inversion_recovery(np.abs(inversion(np.array([1.0, 3.0]))), TI, t1_limit_s=2.0)
    assert fit.flags.tolist() == [0, Flag.OUTSIDE_RANGE]
    assert np.isnan(fit.parameters["t1_s"][1])


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("phase", [0.0, 0.7, np.pi / 2])
def test_a_complex_phase_is_found_at_any_scale_of_float32(scale, phase):
    signal = scale * (1 - 1.9 * np.exp(-np.asarray(TI) / 0.9)) * np.exp(1j * phase)
    fit = fit_inversion_recovery(signal.astype(np.complex64), TI, model="complex")
    assert fit.parameters["t1_s"] == pytest.approx(0.9, rel=1e-5)
    assert fit.parameters["s0"] == pytest.approx(scale, rel=1e-5)
    assert fit.r_squared == pytest.approx(1.0)
    assert fit.flags == 0


def test_a_complex_phase_that_changes_between_samples_shows_in_the_error(rng):
    clean = inversion(0.9)
    steady = fit_inversion_recovery(clean * np.exp(1j), TI, model="complex")
    turning = clean * np.exp(1j * np.linspace(0, 0.4, TI.size))
    fit = fit_inversion_recovery(turning, TI, model="complex")
    assert steady.rmse < 1e-6
    assert fit.rmse > 10
    assert fit.r_squared < 0.9999
    assert fit.standard_errors["t1_s"] > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_and_the_threads_change_no_byte(rng, dtype):
    signal = np.abs(noisy(rng, inversion(0.9), 20, 6000)).astype(dtype).reshape(60, 100, 8)
    mask = rng.random((60, 100)) < 0.4
    one = fit_inversion_recovery(signal, TI, workers=1)
    two = fit_inversion_recovery(signal, TI, workers=2)
    part = fit_inversion_recovery(signal, TI, mask=mask)
    for name, values in one.parameters.items():
        assert values.tobytes() == two.parameters[name].tobytes()
        assert one.standard_errors[name].tobytes() == two.standard_errors[name].tobytes()
        np.testing.assert_array_equal(part.parameters[name][mask], values[mask])
        assert np.isnan(part.parameters[name][~mask]).all()
    assert one.flags.tobytes() == two.flags.tobytes()
    assert (part.flags[~mask] == Flag.MASKED_OUT).all()
    np.testing.assert_array_equal(part.flags[mask], one.flags[mask])


def test_single_precision_agrees_with_double(rng):
    signal = np.abs(noisy(rng, inversion(0.9), 25, 3000)).astype(np.float32)
    single = fit_inversion_recovery(signal, TI)
    double = fit_inversion_recovery(signal.astype(float), TI)
    np.testing.assert_array_equal(single.flags, double.flags)
    np.testing.assert_allclose(single.parameters["t1_s"], double.parameters["t1_s"], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_inversion_recovery(np.ones(2), [0.1, 0.5]), "at least 3 inversion times, found 2"),
        (lambda: fit_inversion_recovery(np.ones(3), [0.1, 0.5, 0.5]), "3 different inversion times"),
        (lambda: fit_inversion_recovery(np.ones(1), [0.1], model="two_parameter"), "at least 2"),
        (lambda: fit_inversion_recovery(np.ones(5), TI), "last axis must have 8"),
        (lambda: fit_inversion_recovery(np.ones(8), TI, model="magic"), "is not one of"),
        (lambda: fit_inversion_recovery(np.ones(8), TI, model="complex"), "complex numbers"),
        (lambda: fit_inversion_recovery(np.ones(8, complex), TI), "must be real"),
        (lambda: fit_inversion_recovery(np.ones(5, complex), TI, model="complex"), "must have 8"),
        (lambda: fit_inversion_recovery(np.ones(8), TI, repetition_time_s=[3, 4]), "one per sample"),
        (lambda: fit_inversion_recovery(np.ones(8), TI, t1_limit_s=-1.0), "above 0"),
        (lambda: fit_saturation_recovery(np.ones(8), TI, model="magic"), "is not one of"),
        (lambda: fit_saturation_recovery(np.ones(1), [1.0]), "at least 2 recovery times"),
        (lambda: fit_look_locker(np.ones(8), TI, model="complex"), "is not one of"),
    ],
)
def test_usage_errors_say_what_is_needed(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_times_in_milliseconds_or_out_of_step_are_refused():
    signal = np.abs(inversion(0.8))
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        fit_inversion_recovery(signal, 1000 * TI)
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        fit_inversion_recovery(signal, TI, repetition_time_s=3000.0)
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        fit_saturation_recovery(signal, 1000 * TI)
    with pytest.raises(ImplausibleValue, match="shorter than its inversion time"):
        fit_inversion_recovery(signal, TI, repetition_time_s=2.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", ["magnitude", "signed", "two_parameter"])
def test_absurd_samples_give_a_number_or_a_flag(rng, dtype, model):
    """Every value is finite with finite errors, or NaN with a flag."""
    signal = np.abs(noisy(rng, inversion(0.9), 30, 2000))
    absurd = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e300, -1e300, 1e-30, 1e30, 5e-324])
    spoilt = rng.random(signal.shape) < 0.1
    signal[spoilt] = rng.choice(absurd, int(spoilt.sum()))
    signal[::5] = rng.rayleigh(10.0, signal[::5].shape)
    with np.errstate(over="ignore"):
        fit = fit_inversion_recovery(signal.astype(dtype), TI, model=model)
    good = np.isfinite(fit.parameters["t1_s"])
    assert (fit.flags[~good] != 0).all()
    for values in (
        *fit.parameters.values(),
        fit.standard_errors["t1_s"],
        fit.standard_errors["s0"],
        fit.rmse,
    ):
        assert np.isfinite(values[good]).all()
        assert np.isnan(values[~good]).all()


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_scale_of_the_signal_does_not_matter(rng, scale):
    signal = np.abs(noisy(rng, inversion(0.9), 30, 300))
    plain = fit_inversion_recovery(signal, TI)
    for dtype in (np.float32, np.float64):
        scaled = fit_inversion_recovery((signal * scale).astype(dtype), TI)
        np.testing.assert_allclose(scaled.parameters["t1_s"], plain.parameters["t1_s"], rtol=1e-5)
        np.testing.assert_allclose(scaled.parameters["s0"] / scale, plain.parameters["s0"], rtol=1e-5)
