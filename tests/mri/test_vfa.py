"""T1 from several flip angles: public data, closed forms, SciPy, the transmit field, standard errors."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.relaxometry import fit_vfa
from imgtheranostics.volume import Flag

METHODS = ("nlls", "linear", "wlls")
ANGLES = np.array([2.0, 5.0, 10.0, 15.0, 20.0])
TR = 0.008


def spgr(t1_s, s0, angles_deg=ANGLES, tr_s=TR, b1=1.0):
    """Spoiled gradient echo (mri.md, F1), angles last."""
    a = np.radians(angles_deg) * np.asarray(b1, float)[..., None]
    e = np.exp(-tr_s / np.asarray(t1_s, float))[..., None]
    return np.asarray(s0, float)[..., None] * np.sin(a) * (1 - e) / (1 - e * np.cos(a))


def noisy(rng, t1_s=1.4, snr=60, n=2000, angles_deg=ANGLES):
    """Repeats of one curve; the SNR is that of the strongest signal."""
    clean = spgr(t1_s, 1000.0, angles_deg)
    return clean + clean.max() / snr * rng.standard_normal((n, clean.size))


@pytest.mark.parametrize("method", METHODS)
def test_published_voxels_lie_within_the_published_tolerance(public_data, method):
    """OSIPI, QIBA phantom: R1 within 0.05 1/s + 5 % (column in 1/ms)."""
    with public_data("mri/osipi/t1_quiba_data.csv").open() as file:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 45
    for row in rows:
        signal, angles, times = (np.array(row[key].split(), float) for key in ("s", "FA", "TR"))
        expected = 1000 * float(row["R1"])
        fit = fit_vfa(signal, angles, times, method=method)
        assert 1 / fit.parameters["t1_s"] == pytest.approx(expected, abs=0.05 + 0.05 * expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_noise_free_signals_return_what_they_were_made_of(method, dtype, tolerance):
    t1 = np.geomspace(0.05, 5.0, 40)
    s0 = np.linspace(1, 5000, 40)
    fit = fit_vfa(spgr(t1, s0).astype(dtype), ANGLES, TR, method=method)
    np.testing.assert_allclose(fit.parameters["t1_s"], t1, rtol=tolerance)
    np.testing.assert_allclose(fit.parameters["s0"], s0, rtol=tolerance)
    assert fit.parameters["t1_s"].dtype == dtype
    assert not fit.flags.any()
    assert fit.units == {"t1_s": "s", "s0": "[arb'U]"}


def test_least_squares_agree_with_scipy(rng):
    """SciPy's errors are low by 0.92132 for three degrees of freedom, c4 of the tables."""
    for signal in noisy(rng, snr=25, n=30):
        reference, covariance = curve_fit(
            lambda _, t1, s0: spgr(t1, s0), ANGLES, signal, (1.0, 1000.0), xtol=1e-14, ftol=1e-14
        )
        fit = fit_vfa(signal, ANGLES, TR)
        assert fit.parameters["t1_s"] == pytest.approx(reference[0], rel=1e-6)
        assert fit.parameters["s0"] == pytest.approx(reference[1], rel=1e-6)
        assert fit.standard_errors["t1_s"] == pytest.approx(np.sqrt(covariance[0, 0]) / 0.92132, rel=1e-4)
        assert fit.standard_errors["s0"] == pytest.approx(np.sqrt(covariance[1, 1]) / 0.92132, rel=1e-4)
        residuals = signal - spgr(*reference)
        assert fit.rmse == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-6)
        explained = 1 - np.sum(residuals**2) / np.sum((signal - signal.mean()) ** 2)
        assert fit.r_squared == pytest.approx(explained, rel=1e-6)


def test_the_line_agrees_with_numpy(rng):
    a = np.radians(ANGLES)
    signal = noisy(rng, snr=40, n=20)
    fit = fit_vfa(signal, ANGLES, TR, method="linear")
    for curve, t1, s0 in zip(signal, fit.parameters["t1_s"], fit.parameters["s0"], strict=True):
        slope, intercept = np.polyfit(curve / np.tan(a), curve / np.sin(a), 1)
        assert t1 == pytest.approx(-TR / np.log(slope), rel=1e-8)
        assert s0 == pytest.approx(intercept / (1 - slope), rel=1e-8)


def test_the_weighted_line_satisfies_its_own_weights(rng):
    """A line with the weights sin a/(1 - E cos a) of the solution gives the solution back (mri.md, F2)."""
    a = np.radians(ANGLES)
    signal = noisy(rng, snr=40, n=20)
    fit = fit_vfa(signal, ANGLES, TR, method="wlls")
    for curve, t1 in zip(signal, fit.parameters["t1_s"], strict=True):
        e = np.exp(-TR / t1)
        weights = np.sin(a) / (1 - e * np.cos(a))
        slope = np.polyfit(curve / np.tan(a), curve / np.sin(a), 1, w=weights)[0]
        assert slope == pytest.approx(e, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("t1", "snr", "n"), [(0.5, 60, 6), (1.4, 60, 6), (1.4, 40, 5), (0.5, 25, 5), (1.4, 60, 4)]
)
def test_reported_standard_errors_are_the_scatter_of_repeats(rng, method, dtype, t1, snr, n):
    """2,000 repeats, four to six flip angles: mean reported error within 10 % of the observed scatter."""
    angles = np.array([2.0, 5.0, 10.0, 15.0, 20.0, 25.0])[:n]
    fit = fit_vfa(noisy(rng, t1, snr, 2000, angles).astype(dtype), angles, TR, method=method)
    for name in ("t1_s", "s0"):
        observed = fit.parameters[name].std(ddof=1)
        assert np.mean(fit.standard_errors[name]) == pytest.approx(observed, rel=0.1)


def test_an_ignored_transmit_field_scales_t1_by_its_square_and_the_map_removes_it():
    """mri.md, computed: T1 ratio 0.721, 0.809 and 1.212 for B1 0.85, 0.90 and 1.10; 0.5 % with the map."""
    b1 = np.array([0.85, 0.9, 1.0, 1.1])
    for t1 in (1.4, 0.5):
        signal = spgr(np.full(4, t1), 1000.0, b1=b1).astype(np.float32)
        blind = fit_vfa(signal, ANGLES, TR).parameters["t1_s"] / t1
        np.testing.assert_allclose(blind, [0.721, 0.809, 1.0, 1.212], rtol=0.005)
        np.testing.assert_allclose(blind, b1**2, rtol=0.005)
        for method in METHODS:
            seen = fit_vfa(signal, ANGLES, TR, b1=b1, method=method).parameters["t1_s"]
            np.testing.assert_allclose(seen, t1, rtol=0.005)


def test_a_wrong_repetition_time_shows_as_a_constant_ratio():
    """mri.md, section 6: at TR far below T1 the estimate scales with the repetition time."""
    signal = spgr(np.array([0.5, 1.0, 2.0]), 1000.0)
    ratio = fit_vfa(signal, ANGLES, 2 * TR).parameters["t1_s"] / np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_cannot_be_fitted_are_nan_and_say_why(method, dtype):
    good = spgr(1.0, 500.0)
    signal = np.stack([good] * 10).astype(dtype)
    signal[1, 2] = np.nan
    signal[2, 0] = np.inf
    signal[3] = 0.0
    signal[4, 4] = 0.0
    signal[5, 1] = -1.0
    signal[6] = 100 * np.tan(np.radians(ANGLES))  # slope above 1
    b1 = np.ones(10)
    b1[7:] = 0.0, np.nan, 9.5
    fit = fit_vfa(signal, ANGLES, TR, b1=b1, method=method)
    bad, b1_bad, outside = Flag.INVALID_INPUT, Flag.INVALID_B1, Flag.OUTSIDE_RANGE
    np.testing.assert_array_equal(fit.flags, [0, bad, bad, bad, bad, bad, outside, b1_bad, b1_bad, b1_bad])
    for values in (*fit.parameters.values(), *fit.standard_errors.values(), fit.rmse, fit.r_squared):
        assert np.isnan(values[1:]).all()
        assert np.isfinite(values[0])
    assert fit.parameters["t1_s"][0] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_t1_beyond_the_limit_is_outside_the_range(dtype):
    fit = fit_vfa(spgr(np.array([3.0, 5.0]), 1000.0).astype(dtype), ANGLES, TR, t1_limit_s=4.0)
    assert fit.flags.tolist() == [0, Flag.OUTSIDE_RANGE]
    assert np.isnan(fit.parameters["t1_s"][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_leaves_the_rest_untouched_by_its_neighbours(rng, dtype):
    signal = noisy(rng, n=5000).astype(dtype).reshape(50, 100, 5)
    mask = rng.random((50, 100)) < 0.3
    whole = fit_vfa(signal, ANGLES, TR)
    part = fit_vfa(signal, ANGLES, TR, mask=mask)
    for name in ("t1_s", "s0"):
        np.testing.assert_array_equal(part.parameters[name][mask], whole.parameters[name][mask])
        assert np.isnan(part.parameters[name][~mask]).all()
    assert (part.flags[~mask] == Flag.MASKED_OUT).all()
    assert not part.flags[mask].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bytes_do_not_depend_on_the_threads(rng, method, dtype):
    signal = noisy(rng, snr=8, n=20_000).astype(dtype)
    one = fit_vfa(signal, ANGLES, TR, method=method, workers=1)
    two = fit_vfa(signal, ANGLES, TR, method=method, workers=2)
    for name in ("t1_s", "s0"):
        assert one.parameters[name].tobytes() == two.parameters[name].tobytes()
        assert one.standard_errors[name].tobytes() == two.standard_errors[name].tobytes()
    assert one.flags.tobytes() == two.flags.tobytes()
    assert one.iterations.tobytes() == two.iterations.tobytes()


def test_single_precision_agrees_with_double(rng):
    """Goal of performance.md: T1 within 1e-4 of float64, also where noise makes the search hard."""
    signal = noisy(rng, snr=15, n=5000).astype(np.float32)
    b1 = rng.uniform(0.7, 1.2, 5000).astype(np.float32)
    for method in METHODS:
        single = fit_vfa(signal, ANGLES, TR, b1=b1, method=method)
        double = fit_vfa(signal.astype(float), ANGLES, TR, b1=b1, method=method)
        both = np.isfinite(single.parameters["t1_s"]) & np.isfinite(double.parameters["t1_s"])
        assert np.mean(single.flags != double.flags) < 1e-3
        for name in ("t1_s", "s0"):
            np.testing.assert_allclose(
                single.parameters[name][both], double.parameters[name][both], rtol=1e-4
            )


@pytest.mark.parametrize("order", ["C", "F"])
def test_maps_keep_their_shape_in_either_memory_order(order):
    t1 = np.linspace(0.3, 3.0, 24).reshape(2, 3, 4)
    signal = np.asarray(spgr(t1, 1000.0), order=order)
    np.testing.assert_allclose(fit_vfa(signal, ANGLES, TR).parameters["t1_s"], t1, rtol=1e-9)


@pytest.mark.parametrize("snr", [5, 30])
def test_two_flip_angles_are_as_exact_in_float32(rng, snr):
    """T1 in float32 within 1e-4 of float64 (mri.md, section 7), and every method finds the same curve."""
    angles = np.array([2.0, 15.0])
    clean = spgr(rng.uniform(0.2, 4.0, 5000), 1000.0, angles, 0.005)
    signal = np.abs(clean + 60.0 / snr * rng.normal(size=clean.shape)).astype(np.float32)
    exact = fit_vfa(signal.astype(float), angles, 0.005)
    for method in METHODS:
        fit = fit_vfa(signal, angles, 0.005, method=method)
        np.testing.assert_array_equal(fit.flags, exact.flags)
        np.testing.assert_allclose(fit.parameters["t1_s"], exact.parameters["t1_s"], rtol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("angles", [ANGLES, [3.0, 15.0]])
def test_signals_that_do_not_vary_have_no_share_explained(dtype, angles):
    for method in METHODS:
        fit = fit_vfa(np.full((3, len(angles)), 50.1, dtype), angles, TR, method=method)
        assert np.isnan(fit.r_squared).all()


def test_two_flip_angles_give_a_value_without_standard_error():
    for method in METHODS:
        for dtype in (np.float32, np.float64):
            fit = fit_vfa(spgr(1.2, 900.0, [3, 15]).astype(dtype), [3, 15], TR, method=method)
            assert fit.parameters["t1_s"] == pytest.approx(1.2, rel=1e-4)
            assert np.isnan(fit.standard_errors["t1_s"])
            assert np.isnan(fit.standard_errors["s0"])
            assert fit.flags == 0


@given(
    t1=st.floats(0.05, 6.0),
    s0=st.floats(1e-3, 1e6),
    tr=st.floats(0.002, 0.05),
    b1=st.floats(0.5, 1.5),
    angles=st.lists(st.floats(4.0, 60.0), min_size=2, max_size=9, unique=True),
)
def test_any_protocol_returns_what_the_signal_was_made_of(t1, s0, tr, b1, angles):
    if np.ptp(angles) < 5.0:
        angles = [*angles, 65.0]
    fit = fit_vfa(spgr(t1, s0, angles, tr, b1), angles, tr, b1=b1)
    assert fit.parameters["t1_s"] == pytest.approx(t1, rel=1e-5)
    assert fit.parameters["s0"] == pytest.approx(s0, rel=1e-5)


def test_flip_angles_in_radians_and_times_in_milliseconds_are_refused():
    signal = spgr(1.0, 100.0)
    with pytest.raises(ImplausibleValue, match="radians"):
        fit_vfa(signal, np.radians(ANGLES), TR)
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        fit_vfa(signal, ANGLES, 25.0)
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        fit_vfa(signal, ANGLES, 1000 * TR)
    with pytest.raises(ImplausibleValue, match="percent"):
        fit_vfa(signal, ANGLES, TR, b1=98.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip_angle_deg": [10.0]}, "at least 2 flip angles"),
        ({"flip_angle_deg": [10.0] * 5}, "2 different flip angles"),
        ({"flip_angle_deg": [5.0, 10.0, 15.0]}, "last axis must have 3"),
        ({"repetition_time_s": [0.008, 0.008, 0.008, 0.008, 0.009]}, "differs between flip angles"),
        ({"method": "magic"}, "is not one of linear, nlls, wlls"),
        ({"b1": np.ones(3)}, "b1 has shape"),
        ({"mask": np.ones(3, bool)}, "mask has shape"),
        ({"t1_limit_s": 0.0}, "above 0"),
    ],
)
def test_usage_errors_say_what_is_needed(change, message):
    call = {"flip_angle_deg": ANGLES, "repetition_time_s": TR, **change}
    with pytest.raises(ValueError, match=message):
        fit_vfa(spgr(np.array([1.0, 2.0]), 100.0), **call)


def test_an_image_without_voxels_gives_an_empty_map():
    assert fit_vfa(np.zeros((0, 5), np.float32), ANGLES, TR).parameters["t1_s"].shape == (0,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_absurd_samples_give_a_number_or_a_flag(rng, method, dtype):
    """Every value is finite with finite errors, or NaN with a flag."""
    signal = noisy(rng, snr=20, n=3000)
    absurd = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e300, 1e-30, 1e30, 5e-324, 1e19])
    spoilt = rng.random(signal.shape) < 0.2
    signal[spoilt] = rng.choice(absurd, int(spoilt.sum()))
    with np.errstate(over="ignore"):
        signal[::7] *= 1e18
        signal[::11] *= 1e-18
        fit = fit_vfa(signal.astype(dtype), ANGLES, TR, method=method)
    good = fit.flags == 0
    assert 200 < good.sum() < 2000
    for values in (*fit.parameters.values(), *fit.standard_errors.values(), fit.rmse, fit.r_squared):
        assert np.isfinite(values[good]).all()
    assert np.isnan(fit.parameters["t1_s"][~good]).all()


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_scale_of_the_signal_does_not_matter(rng, scale):
    signal = noisy(rng, n=300).astype(np.float32)
    for method in METHODS:
        plain = fit_vfa(signal, ANGLES, TR, method=method).parameters["t1_s"]
        scaled = fit_vfa(signal * np.float32(scale), ANGLES, TR, method=method).parameters["t1_s"]
        np.testing.assert_allclose(scaled, plain, rtol=1e-5)
