"""Linear calibration: NumPy's least squares, errors by repetition, limits, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from imgtheranostics.agents import get
from imgtheranostics.errors import IllConditioned
from imgtheranostics.mri.linear_calibration import fit_line_through_blank
from imgtheranostics.volume import Flag

AMOUNTS = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
"""ug of iron over the linear range of the MPI tracer's record."""
BLANKS = 4


def test_amounts_span_the_tracers_linear_range():
    (linear,) = get("mpi-tracer").linear_ranges
    assert linear.between == (AMOUNTS[0], AMOUNTS[-1])


def readings(rng, slope=2.0, intercept=5.0, noise=1.0):
    return intercept + slope * AMOUNTS + noise * rng.normal(size=5), intercept + noise * rng.normal(
        size=BLANKS
    )


def test_line_equals_scipys_with_the_blanks_as_points_at_0(rng):
    signal, blank = readings(rng)
    line = fit_line_through_blank(AMOUNTS, signal, blank=blank)
    expected = linregress(np.r_[AMOUNTS, np.zeros(BLANKS)], np.r_[signal, blank])
    assert line.slope == pytest.approx(expected.slope, rel=1e-12)
    assert line.intercept == pytest.approx(expected.intercept, rel=1e-12)
    assert line.slope_error == pytest.approx(expected.stderr, rel=1e-9)
    assert line.intercept_error == pytest.approx(expected.intercept_stderr, rel=1e-9)
    assert line.r_squared == pytest.approx(expected.rvalue**2, rel=1e-9)


@given(st.floats(1e-3, 1e3), st.floats(-100, 100), st.floats(0.0, 100.0))
def test_amount_of_a_signal_on_the_line(slope, intercept, amount):
    line = fit_line_through_blank(AMOUNTS, intercept + slope * AMOUNTS, blank=[intercept])
    found = float(line.amount(intercept + slope * amount).parameters["amount"])
    assert found == pytest.approx(amount, rel=1e-6, abs=1e-6 + 1e-12 * abs(intercept / slope))


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_the_scatter_of_repeats(rng, weighted):
    errors = 0.3 + 0.02 * AMOUNTS if weighted else np.ones(5)
    slopes, intercepts, reported, amounts, totals = [], [], [], [], []
    for _ in range(1500):
        signal = 5 + 2 * AMOUNTS + errors * rng.normal(size=5)
        blank = 5 + errors[0] * rng.normal(size=30)
        line = fit_line_through_blank(AMOUNTS, signal, blank=blank, signal_error=errors if weighted else None)
        reading = 5 + 2 * 40 + 1.0 * rng.normal()
        fit = line.amount(reading, signal_error=1.0)
        slopes.append(line.slope)
        intercepts.append(line.intercept)
        reported.append((line.slope_error, line.intercept_error))
        amounts.append(float(fit.parameters["amount"]))
        totals.append(float(fit.total_errors["amount"]))
    assert np.mean(reported, axis=0) == pytest.approx([np.std(slopes), np.std(intercepts)], rel=0.1)
    assert np.mean(totals) == pytest.approx(np.std(amounts), rel=0.1)


def test_limits_are_those_of_the_blanks(rng):
    """Three and ten standard deviations of a blank reading over the slope, on average of repeats."""
    made = (readings(rng) for _ in range(2000))
    lines = [fit_line_through_blank(AMOUNTS, signal, blank=blank) for signal, blank in made]
    assert np.mean([line.detection_limit for line in lines]) == pytest.approx(3 * 1.0 / 2.0, rel=0.05)
    assert lines[0].quantification_limit == pytest.approx(lines[0].detection_limit * 10 / 3)


def test_amounts_outside_are_kept_and_flagged(rng):
    signal, blank = readings(rng, noise=0.1)
    line = fit_line_through_blank(AMOUNTS, signal, blank=blank)
    fit = line.amount([5.0, 5 + 2 * 40, 5 + 2 * 150, np.nan], mask=None)
    np.testing.assert_array_equal(fit.flags, [Flag.BELOW_NOISE, 0, Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT])
    np.testing.assert_array_equal(np.isnan(fit.parameters["amount"]), [False, False, False, True])
    assert fit.units["amount"] == "ug"
    masked = line.amount([50.0, 50.0], mask=[True, False])
    assert masked.flags[1] == Flag.MASKED_OUT
    assert fit.decisions["calibration"]["n_blanks"] == BLANKS


def test_two_points_have_no_error_unless_it_is_given():
    line = fit_line_through_blank([10.0], [25.0], blank=[5.0])
    assert (line.slope, line.intercept) == pytest.approx((2.0, 5.0))
    assert np.isnan(line.slope_error)
    assert np.isnan(line.detection_limit)
    known = fit_line_through_blank([10.0], [25.0], blank=[5.0], signal_error=0.5)
    assert known.slope_error == pytest.approx(np.hypot(0.5, 0.5) / 10)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([], []), "one signal for each"),
        (([1.0, 2.0], [1.0]), "one signal for each"),
        (([1.0, np.nan], [1.0, 2.0]), "amount"),
        (([1.0, 2.0], [1.0, np.inf]), "signal"),
        (([-1.0, 2.0], [1.0, 2.0]), "negative"),
        (([2.0, 2.0], [1.0, 2.0]), "different amounts"),
    ],
)
def test_points_that_make_no_line_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        fit_line_through_blank(*arguments)


@pytest.mark.parametrize("error", [0.0, -1.0, np.nan, [1.0, 1.0, 1.0]])
def test_errors_that_are_none_are_refused(error):
    with pytest.raises(ValueError, match="signal_error"):
        fit_line_through_blank([1.0, 2.0], [1.0, 2.0], signal_error=error)


@pytest.mark.parametrize("signal", [[5.0, 4.0, 3.0], [1.0, 5.0, 2.0]])
def test_a_signal_that_does_not_rise_is_refused(signal):
    with pytest.raises(IllConditioned, match="does not rise"):
        fit_line_through_blank([1.0, 2.0, 3.0], signal)
