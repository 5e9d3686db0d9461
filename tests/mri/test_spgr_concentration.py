"""Concentration from gradient-echo signals: the sheet's table, OSIPI's curves, errors, branches."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from imgtheranostics.errors import ImplausibleValue, UnitMismatch
from imgtheranostics.mri.agent_relaxivity import given_relaxivity
from imgtheranostics.mri.spgr_concentration import from_spgr, from_spgr_with_decay
from imgtheranostics.volume import Flag

NAME = "concentration_mm"
N = 3000
PROTOCOL = {"flip_angle_deg": 15.0, "repetition_time_s": 0.008}
TABLE_MM = np.array([0.01, 0.02, 0.04, 0.06, 0.1, 0.2])
TABLE_PERCENT = np.array([10.5, 20.6, 39.8, 57.7, 90.3, 156.0])


def steady_state(concentration, *, t1=1.4, r1=8.9, r2star=11.0, echo=0.003, flip=15.0, repetition=0.008):
    """mri.md F1 with a T2* of 50 ms before the agent."""
    c = np.asarray(concentration, float)
    angle = np.deg2rad(flip)
    left = np.exp(-repetition * (1 / t1 + r1 * c))
    decay = np.exp(-np.multiply.outer(20.0 + r2star * c, np.asarray(echo)))
    return (
        1000
        * ((np.sin(angle) * (1 - left) / (1 - left * np.cos(angle))).reshape(c.shape + (1,) * np.ndim(echo)))
        * decay
    )


def with_baseline(concentration, n=1, **protocol):
    return steady_state(np.r_[np.zeros(n), np.atleast_1d(concentration)], **protocol)


def decayed(signal, **options):
    return from_spgr_with_decay(
        signal, 8.9, 11.0, **{"echo_time_s": 0.003, "t1_s": 1.4, "baseline": (0, 1), **PROTOCOL, **options}
    )


def test_enhancement_of_the_sheets_table_is_that_of_its_concentrations():
    """mri.md section 6: 10.5 to 156 % at 0.01 to 0.2 mM; each rounded, so within half of the last digit."""
    signal = with_baseline(TABLE_MM)
    np.testing.assert_allclose(100 * (signal[1:] / signal[0] - 1), TABLE_PERCENT, atol=0.5)
    printed = np.r_[1.0, 1 + TABLE_PERCENT / 100]
    found = decayed(printed).parameters[NAME]
    np.testing.assert_allclose(found[1:], TABLE_MM, rtol=0.006)
    assert found[0] == pytest.approx(0.0, abs=1e-15)


def test_osipi_signal_to_concentration(public_data):
    """The published curves with the mean of points 1 to N-1 as baseline, to 1e-9 (issue 4)."""
    path = public_data("mri/osipi/SI2Conc_data.csv")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 5
    for row in rows:
        signal, expected = (np.array(row[key].split(), float) for key in ("s", "conc"))
        fit = from_spgr(
            signal,
            float(row["r1"]),
            flip_angle_deg=float(row["FA"]),
            repetition_time_s=float(row["TR"]),
            t1_s=float(row["T1base"]),
            baseline=(1, int(row["numbaselinepts"])),
        )
        np.testing.assert_allclose(fit.parameters[NAME], expected, rtol=1e-9, atol=1e-9)


@given(
    st.floats(-0.05, 5.0),
    st.floats(0.3, 4.0),
    st.floats(2.0, 40.0),
    st.floats(5.0, 60.0),
    st.floats(0.6, 1.4),
)
def test_exact_inversion_returns_what_went_in(concentration, t1, r1, flip, b1):
    signal = with_baseline(concentration, t1=t1, r1=r1, flip=flip * b1, echo=0.0)
    fit = from_spgr(signal, r1, t1_s=t1, b1=b1, baseline=(0, 1), flip_angle_deg=flip, repetition_time_s=0.008)
    if 1 / t1 + r1 * concentration > 0.02:
        assert fit.parameters[NAME][1] == pytest.approx(concentration, rel=1e-6, abs=1e-7)
    elif 1 / t1 + r1 * concentration <= 0:
        assert np.isnan(fit.parameters[NAME][1])


@given(
    st.floats(0.0, 1.0), st.floats(0.3, 4.0), st.floats(2.0, 20.0), st.floats(1.0, 60.0), st.floats(5.0, 40.0)
)
def test_numeric_inversion_is_the_lower_root_that_scipy_finds(share, t1, r1, r2star, flip):
    """A root of the forward model between 0 and the maximum, which SciPy finds by bracketing."""
    grid = np.linspace(0, 60, 6001)
    options = {"t1": t1, "r1": r1, "r2star": r2star, "flip": flip}
    curve = steady_state(grid, **options)
    top = int(np.argmax(curve))
    if not 0 < top < 6000:
        return
    signal = curve[0] + 0.98 * share * (curve[top] - curve[0])
    root = brentq(lambda c: steady_state(c, **options) - signal, 0, grid[top], xtol=1e-14)
    fit = from_spgr_with_decay(
        [curve[0], signal], r1, r2star, echo_time_s=0.003, flip_angle_deg=flip, repetition_time_s=0.008,
        t1_s=t1, baseline=(0, 1), highest_mm=60.0,
    )  # fmt: skip
    # where the signal is flat, the root of a rounded signal is that much less certain
    assert fit.parameters[NAME][1] == pytest.approx(root, rel=1e-6, abs=1e-9)
    other = steady_state(60.0, **options)
    assert bool(fit.flags[1] & Flag.AMBIGUOUS_BRANCH) == bool(other <= signal)


def test_the_branch_below_the_maximum_is_kept_and_the_ambiguity_flagged():
    fit = decayed(with_baseline([0.1, 3.0, 8.0]), highest_mm=10.0)
    assert fit.parameters[NAME][1] == pytest.approx(0.1)
    assert fit.parameters[NAME][3] < 8.0
    assert not fit.flags[1] & Flag.AMBIGUOUS_BRANCH
    assert fit.flags[3] & Flag.AMBIGUOUS_BRANCH
    assert not decayed(with_baseline([0.1, 3.0, 8.0]), highest_mm=1.0).flags.any()


def test_an_agent_that_only_darkens_has_one_solution():
    options = {"r1": 5.0, "r2star": 3000.0}
    fit = from_spgr_with_decay(
        with_baseline([0.01, 0.1, 0.5], **options), 5.0, 3000.0,
        echo_time_s=0.003, t1_s=1.4, baseline=(0, 1), **PROTOCOL,
    )  # fmt: skip
    np.testing.assert_allclose(fit.parameters[NAME], [0, 0.01, 0.1, 0.5], rtol=1e-9, atol=1e-12)
    assert not fit.flags.any()


def test_a_signal_that_fell_by_more_than_noise_has_only_the_higher_concentration():
    """Iron whose signal hardly rises at all: at 0.5 mM it fell to a fraction, which no noise explains.

    A fall of less than 1 % may be rounding even where the noise is said to be 0.
    """
    options = {"r1": 5.0, "r2star": 1900.0}
    signal = with_baseline([0.5, 0.0], **options)
    signal[2] *= 0.992
    arguments = {"echo_time_s": 0.003, "t1_s": 1.4, "baseline": (0, 1), **PROTOCOL}
    known = from_spgr_with_decay(signal, 5.0, 1900.0, noise_sd=0.0, **arguments)
    assert known.parameters[NAME][1] == pytest.approx(0.5, rel=1e-9)
    assert known.flags[1] == Flag.AMBIGUOUS_BRANCH
    assert -0.1 < known.parameters[NAME][2] < 0
    unknown = from_spgr_with_decay(signal, 5.0, 1900.0, **arguments)
    assert unknown.parameters[NAME][1] < 0
    assert unknown.flags[1] == Flag.AMBIGUOUS_BRANCH


def test_a_signal_above_the_maximum_is_nan_not_clipped():
    fit = decayed([1.0, 20.0, 1.1])
    np.testing.assert_array_equal(np.isnan(fit.parameters[NAME]), [False, True, False])
    assert fit.flags[1] == Flag.OUTSIDE_RANGE
    exact = from_spgr([1.0, 500.0, -1.0, 0.0], 8.9, t1_s=1.4, baseline=(0, 1), **PROTOCOL)
    np.testing.assert_array_equal(
        exact.flags, [0, Flag.OUTSIDE_RANGE, Flag.OUTSIDE_RANGE, Flag.OUTSIDE_RANGE]
    )
    assert np.isnan(exact.parameters[NAME][1:]).all()


def test_without_decay_both_inversions_agree():
    signal = with_baseline([0.05, 0.5], echo=0.0)
    numeric = decayed(signal, echo_time_s=1e-12).parameters[NAME]
    exact = from_spgr(signal, 8.9, t1_s=1.4, baseline=(0, 1), **PROTOCOL).parameters[NAME]
    np.testing.assert_allclose(numeric, exact, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("given_noise", [None, 0.4])
def test_errors_are_the_scatter_of_repeats(rng, numeric, given_noise):
    """Signals and T1 vary; also inside the baseline, where sample and mean share noise."""
    clean = with_baseline([0.05, 0.2, 1.0], n=8, echo=0.003 if numeric else 0.0)
    signal = clean + 0.4 * rng.normal(size=(N, clean.size))
    options = {
        "t1_s": 1.4 + 0.03 * rng.normal(size=N), "t1_error": 0.03, "baseline": (0, 8),
        "noise_sd": given_noise, **PROTOCOL,
    }  # fmt: skip
    fit = (
        from_spgr_with_decay(signal, 8.9, 11.0, echo_time_s=0.003, **options)
        if numeric
        else from_spgr(signal, 8.9, **options)
    )
    np.testing.assert_allclose(
        fit.standard_errors[NAME].mean(axis=0), fit.parameters[NAME].std(axis=0), rtol=0.1
    )


@pytest.mark.parametrize("numeric", [False, True])
def test_calibration_error_is_what_one_standard_uncertainty_of_each_relaxivity_makes(numeric):
    signal = with_baseline([0.3, 1.0], echo=0.003 if numeric else 0.0)
    options = {"t1_s": 1.4, "baseline": (0, 1), **PROTOCOL}

    def run(r1, r2star):
        if numeric:
            return from_spgr_with_decay(signal, r1, r2star, echo_time_s=0.003, **options)
        return from_spgr(signal, r1, **options)

    fit = run(given_relaxivity(8.9, "r1", uncertainty=0.02), given_relaxivity(11, "r2star", uncertainty=0.1))
    by_r1 = run(8.92, 11.0).parameters[NAME][1:] - run(8.88, 11.0).parameters[NAME][1:]
    by_r2star = run(8.9, 11.1).parameters[NAME][1:] - run(8.9, 10.9).parameters[NAME][1:]
    np.testing.assert_allclose(fit.calibration_errors[NAME][1:], np.hypot(by_r1, by_r2star) / 2, rtol=1e-3)
    largest = (fit.calibration_errors[NAME][1:] / fit.parameters[NAME][1:]).max()
    assert fit.calibration_relative == pytest.approx(largest)


def test_b1_enters_the_concentration():
    """An uncorrected transmit field of 0.85 changes the concentration; the map restores it."""
    signal = with_baseline(0.1, flip=15 * 0.85, echo=0.0)
    options = {"t1_s": 1.4, "baseline": (0, 1), **PROTOCOL}
    assert from_spgr(signal, 8.9, b1=0.85, **options).parameters[NAME][1] == pytest.approx(0.1, rel=1e-9)
    assert abs(from_spgr(signal, 8.9, **options).parameters[NAME][1] / 0.1 - 1) > 0.1


def test_a_baseline_of_zeros_is_flagged():
    signal = np.array([[0.0, 0, 0, 5, 6], [-1, 1, -1, 5, 6]])
    found = from_spgr(signal, 4.5, flip_angle_deg=20, repetition_time_s=0.005, t1_s=1.2, baseline=(0, 3))
    assert np.isnan(found.parameters["concentration_mm"]).all()
    assert (found.flags & Flag.INVALID_INPUT != 0).all()


def test_bad_maps_are_flagged_voxel_by_voxel():
    signal = np.tile(with_baseline(0.1, echo=0.0), (6, 1))
    signal[4, 0] = 0.0
    signal[5, 1] = np.nan
    fit = from_spgr(
        signal,
        8.9,
        t1_s=[1.4, 0.0, np.nan, 1.4, 1.4, 1.4],
        b1=[1, 1, 1, -0.5, 1, 1],
        baseline=(0, 1),
        mask=[True] * 6,
        **PROTOCOL,
    )
    np.testing.assert_array_equal(
        fit.flags[:, 1],
        [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.INVALID_B1, Flag.INVALID_INPUT, Flag.INVALID_INPUT],
    )
    assert np.isfinite(fit.parameters[NAME][0, 1])
    assert np.isnan(fit.parameters[NAME][1:, 1]).all()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"flip_angle_deg": 0.26}, ImplausibleValue, "radians"),
        ({"repetition_time_s": 8000.0}, ImplausibleValue, "repetition"),
        ({"t1_s": 1400.0}, ImplausibleValue, "milliseconds"),
        ({"b1": 95.0}, ImplausibleValue, "percent"),
        ({"echo_time_s": 30.0}, ImplausibleValue, "echo"),
        ({"highest_mm": 0.0}, ValueError, "highest_mm"),
        ({"baseline": (0, 0)}, ValueError, "baseline"),
        ({"t1_s": [1.0, 1.0]}, ValueError, "t1_s has shape"),
    ],
)
def test_units_and_choices_that_do_not_fit_are_refused(change, error, match):
    with pytest.raises(error, match=match):
        decayed(with_baseline(0.1), **change)


def test_relaxivities_of_two_agents_are_refused():
    with pytest.raises(UnitMismatch, match="counts"):
        from_spgr_with_decay(
            [1.0, 1.1],
            given_relaxivity(4, "r1", per="Gd"),
            given_relaxivity(60, "r2star", per="Fe"),
            echo_time_s=0.003, t1_s=1.4, baseline=(0, 1), **PROTOCOL,
        )  # fmt: skip
