"""Values at the nominal B1: exact where the curve is of the method's kind, errors, range, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import make_smoothing_spline

from imgtheranostics.cest.b1_correction import correct_b1_contrast, correct_b1_z
from imgtheranostics.cest.smoothing_spline import smoothing_matrix
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.volume import Flag

LEVELS = np.array([1.2, 2.4, 3.6])
MORE = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 3.5])


def measured(curve, levels, relative):
    return curve(np.asarray(levels) * np.asarray(relative)[..., np.newaxis])


@pytest.mark.parametrize(
    ("method", "options", "curve"),
    [
        ("linear", {}, lambda b1: 0.03 + 0.01 * b1),
        ("quadratic", {}, lambda b1: 0.01 + 0.02 * b1 - 0.003 * b1**2),
        ("second_order", {}, lambda b1: 0.01 + 0.02 * b1 - 0.003 * b1**2),
        ("spline", {}, lambda b1: 0.03 + 0.01 * b1),
        ("spline", {"zero_anchor": True}, lambda b1: 0.02 * b1),
    ],
)
def test_curves_of_the_methods_kind_are_met_exactly(method, options, curve, rng):
    relative = rng.uniform(0.8, 1.2, (4, 5))
    contrast = measured(curve, LEVELS, relative)
    fit = correct_b1_contrast(contrast, LEVELS, relative, nominal_b1_ut=2.4, method=method, **options)
    np.testing.assert_allclose(fit.parameters["contrast"], curve(2.4), rtol=1e-9)
    assert not fit.flags.any()


@given(
    st.floats(0.7, 1.4),
    st.sampled_from([0.9, 0.998, 1.0]),
    st.lists(st.floats(-1, 1), min_size=6, max_size=6),
)
def test_the_spline_is_that_of_scipy_over_the_b1_that_was_there(relative, smoothing, values):
    """`make_smoothing_spline` minimises sum (y - f)^2 + lam int f''^2: lam = (1 - p) / p."""
    expected = make_smoothing_spline(MORE * relative, values, lam=(1 - smoothing) / smoothing)
    target = 2.2 * relative
    fit = correct_b1_contrast(values, MORE, relative, nominal_b1_ut=target, smoothing=smoothing)
    assert float(fit.parameters["contrast"]) == pytest.approx(float(expected(target)), abs=1e-8)


def test_smoothing_matrix_is_that_of_scipy_at_uneven_offsets(rng):
    x = np.sort(rng.uniform(-6, 6, 30))
    y = rng.normal(size=30)
    expected = make_smoothing_spline(x, y, lam=0.01 / 0.99)(x)
    np.testing.assert_allclose(smoothing_matrix(x, 0.99) @ y, expected, atol=1e-7)


@pytest.mark.parametrize("method", ["linear", "quadratic", "spline"])
def test_a_saturating_contrast_of_a_wrong_b1_is_mended(method, rng):
    """F13: f k alpha / (R1 + f k), alpha = w1^2 / (w1^2 + k^2): 20 % off in B1 were 20 % off in contrast."""

    def curve(b1):
        alpha = (267.515 * b1) ** 2 / ((267.515 * b1) ** 2 + 800**2)
        return 0.3 * alpha / 0.8

    levels = np.array([1.2, 1.8, 2.4, 3.0, 3.6])
    relative = rng.uniform(0.85, 1.15, 200)
    contrast = measured(curve, levels, relative)
    fit = correct_b1_contrast(contrast, levels, relative, nominal_b1_ut=2.4, method=method)
    before = np.abs(contrast[:, 2] / curve(2.4) - 1).max()
    assert before > 0.1
    np.testing.assert_allclose(fit.parameters["contrast"], curve(2.4), rtol=0.02)


@pytest.mark.parametrize("method", ["linear", "quadratic", "spline"])
def test_spectra_are_brought_to_the_nominal_b1(method, rng):
    offsets = np.linspace(-5, 5, 41)

    def spectrum(b1):
        return 1 / (1 + 0.08 * b1[..., np.newaxis] ** 2 / (offsets**2 + 0.2))

    relative = rng.uniform(0.9, 1.1, (3, 2))
    z = np.moveaxis(spectrum(MORE * relative[..., np.newaxis]), -1, -2)
    assert z.shape == (3, 2, 41, 6)
    fit = correct_b1_z(z, MORE, relative, nominal_b1_ut=2.2, method=method, smoothing=0.9999)
    tolerance = {"linear": 0.01, "quadratic": 0.02, "spline": 0.004}[method]
    np.testing.assert_allclose(
        fit.parameters["z"], np.broadcast_to(spectrum(np.array(2.2)), (3, 2, 41)), atol=tolerance
    )


def test_no_saturation_without_b1_can_be_counted_in():
    fit = correct_b1_z(
        [[0.9, 0.8]], [1.0, 2.0], 1.0, nominal_b1_ut=0.5, method="linear", zero_anchor=True, noise_sd=0.02
    )
    assert float(fit.parameters["z"][0]) == pytest.approx(0.95)
    assert float(fit.standard_errors["z"][0]) == pytest.approx(0.01)


@pytest.mark.parametrize("method", ["linear", "quadratic", "spline"])
def test_standard_errors_are_the_scatter_of_repeats(method, rng):
    relative = 0.93
    exact = 0.03 + 0.01 * MORE * relative
    contrast = exact + rng.normal(0, 0.004, (4000, MORE.size))
    fit = correct_b1_contrast(contrast, MORE, relative, nominal_b1_ut=2.2, method=method, noise_sd=0.004)
    scatter = fit.parameters["contrast"].std(ddof=1)
    np.testing.assert_allclose(fit.standard_errors["contrast"], scatter, rtol=0.06)


@pytest.mark.parametrize("method", ["linear", "quadratic", "spline"])
def test_nothing_is_extrapolated_unless_asked_for(method):
    """With B1 at 60 and 250 % of what was set, 2.4 uT lies outside 0.72 to 2.16 and 3 to 9 uT."""
    relative = np.array([0.6, 1.0, 2.5])
    contrast = measured(lambda b1: 0.03 + 0.01 * b1, LEVELS, relative)
    fit = correct_b1_contrast(contrast, LEVELS, relative, nominal_b1_ut=2.4, method=method)
    outside = Flag.OUTSIDE_RANGE.value
    np.testing.assert_array_equal(fit.flags, [outside, 0, outside])
    np.testing.assert_array_equal(np.isnan(fit.parameters["contrast"]), [True, False, True])
    there = correct_b1_contrast(
        contrast, LEVELS, relative, nominal_b1_ut=2.4, method=method, extrapolate=True
    )
    np.testing.assert_allclose(there.parameters["contrast"], 0.054, rtol=1e-9)
    np.testing.assert_array_equal(there.flags, fit.flags)


def test_flags_say_why_there_is_no_value():
    contrast = np.tile([0.1, 0.2, 0.3], (5, 1))
    contrast[1, 0] = np.nan
    relative = np.array([1.0, 1.0, 0.0, np.nan, 1.0])
    mask = np.arange(5) != 4
    fit = correct_b1_contrast(contrast, LEVELS, relative, nominal_b1_ut=2.4, mask=mask)
    expected = [0, Flag.INVALID_INPUT, Flag.INVALID_B1, Flag.INVALID_B1, Flag.MASKED_OUT]
    np.testing.assert_array_equal(fit.flags, np.array(expected, np.uint16))
    np.testing.assert_array_equal(np.isnan(fit.parameters["contrast"]), np.array(expected) != 0)


def test_order_layout_and_precision_do_not_matter(rng):
    z = rng.random((3, 4, 7, 6))
    relative, mask = rng.uniform(0.9, 1.1, (3, 4)), rng.random((3, 4)) > 0.3
    settings = {"nominal_b1_ut": 2.2, "mask": mask, "noise_sd": 0.01}
    expected = correct_b1_z(z, MORE, relative, **settings)
    order = rng.permutation(6)
    others = [
        (np.asfortranarray(z), MORE, 1e-14),
        (z[..., order], MORE[order], 1e-14),
        (z.astype(np.float32), MORE, 1e-6),
    ]
    for other, levels, tolerance in others:
        fit = correct_b1_z(other, levels, relative, **settings)
        np.testing.assert_allclose(fit.parameters["z"], expected.parameters["z"], atol=tolerance)
        np.testing.assert_array_equal(fit.flags, expected.flags)
        assert fit.parameters["z"].dtype == other.dtype


@pytest.mark.parametrize(
    ("method", "levels"),
    [("spline", [2.4]), ("linear", [2.4]), ("quadratic", [2, 3]), ("second_order", [2, 3])],
)
def test_too_few_b1_are_refused_with_what_is_needed(method, levels):
    with pytest.raises(UnsupportedInput, match="several B1") as refused:
        correct_b1_contrast(np.ones(len(levels)), levels, 1.0, nominal_b1_ut=2.4, method=method)
    assert "at least" in refused.value.needed
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"b1_ut": [1.2e-6, 2.4e-6, 3.6e-6]}, ImplausibleValue, "not in T"),
        ({"b1_ut": [100, 200, 300]}, ImplausibleValue, "not in T or Hz"),
        ({"nominal_b1_ut": 0.0}, ImplausibleValue, "B1 cannot be"),
        ({"relative_b1": 95.0}, ImplausibleValue, "percent by 100"),
        ({"b1_ut": [1.2, 2.4, 2.4]}, ValueError, "twice"),
        ({"b1_ut": [1.2, 2.4]}, ValueError, "last axis"),
        ({"method": "cubic"}, ValueError, "method must be one of"),
        ({"smoothing": 0.0}, ValueError, "smoothing must be"),
        ({"relative_b1": [1.0, 1.0]}, ValueError, "relative_b1 has shape"),
        ({"mask": [True, False]}, ValueError, "mask has shape"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    settings = {"b1_ut": LEVELS, "relative_b1": 1.0, "nominal_b1_ut": 2.4} | changes
    levels, relative = settings.pop("b1_ut"), settings.pop("relative_b1")
    with pytest.raises(error, match=message):
        correct_b1_contrast(np.ones((4, 3)), levels, relative, **settings)


@pytest.mark.parametrize("function", [correct_b1_contrast, correct_b1_z])
def test_an_unknown_method_is_refused_with_the_names_of_those_there_are(function):
    with pytest.raises(
        ValueError, match="one of spline, linear, quadratic, second_order, found 'polynomial'"
    ):
        function(np.ones((4, 3)), LEVELS, 1.0, nominal_b1_ut=2.4, method="polynomial")
