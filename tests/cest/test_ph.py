"""PH from ratios of saturation transfer (cest.md F20): ratios, calibration, conversion, simulation."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.cest import ph, ph_polynomial
from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate
from imgtheranostics.cest.ph_simulation import Protocol
from imgtheranostics.errors import (
    CorruptInput,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.volume import Flag

OFFSET = np.arange(-10.0, 10.01, 0.25)
SOLUTION = {
    "b1_ut": 3.0,
    "saturation_time_s": 5.0,
    "field_t": 7.0,
    "water_t1_s": 1.5,
    "water_t2_s": 0.04,
    "pool_t2_s": 0.02,
}
"""The sheet's protocol for iopamidol, 7 T, 3 uT, 5 s; the relaxation times are chosen."""


def spectrum(first=0.06, second=0.03, offset=OFFSET, b0=0.0, width=(1.0, 1.2)):
    """Water, and a line at each site of iopamidol."""
    x = offset - b0

    def line(depth, fwhm, at):
        return depth / (1 + (2 * (x - at) / fwhm) ** 2)

    return 1 - line(0.9, 1.6, 0.0) - line(first, width[0], 4.2) - line(second, width[1], 5.5)


def transfer(z, offset, at, kind):
    label, mirror = np.interp([at, -at], offset, z)
    return {
        "mtr_asym": mirror - label,
        "inverse": (mirror - label) / label,
        "norm_ref": 1 - label / mirror,
    }[kind]


# Ratios


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
def test_ratio_at_measured_offsets_is_that_of_the_samples(kind):
    """Where both sites were measured, interpolation changes nothing."""
    offset = np.unique(np.concatenate([OFFSET, [-4.2, 4.2]]))
    z = spectrum(offset=offset)
    found = ph.ratio(z, offset, kind=kind)
    expected = transfer(z, offset, 4.2, kind) / transfer(z, offset, 5.5, kind)
    assert found.parameters["ratio"] == pytest.approx(expected, rel=1e-12)
    assert dict(found.units) == {"ratio": "1"}


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
@settings(max_examples=20)
@given(b0=st.floats(-0.5, 0.5))
def test_ratio_does_not_depend_on_where_water_lies(kind, b0):
    still, moved = (ph.ratio(spectrum(b0=at), OFFSET, kind=kind, b0_ppm=at) for at in (0.0, b0))
    assert moved.parameters["ratio"] == pytest.approx(float(still.parameters["ratio"]), rel=0.01)


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
def test_standard_error_is_the_scatter_of_repeats(kind, rng):
    repeats, sd, b0_sd = 4000, 1.5e-3, 0.01
    b0 = rng.uniform(-0.3, 0.3, repeats)
    x = OFFSET[np.newaxis] - b0[:, np.newaxis]
    z = np.array([spectrum(offset=row) for row in x]) + rng.normal(0, sd, x.shape)
    found_at = b0 + rng.normal(0, b0_sd, repeats)
    found = ph.ratio(z, OFFSET, kind=kind, b0_ppm=found_at, b0_se_ppm=b0_sd, noise_sd=sd)
    assert (found.flags == 0).all()
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_noise_is_estimated_where_it_is_not_given(rng):
    z = spectrum() + rng.normal(0, 1e-3, (1500, OFFSET.size))
    found = ph.ratio(z, OFFSET)
    assert np.median(found.standard_errors["ratio"]) == pytest.approx(
        found.parameters["ratio"].std(), rel=0.1
    )


def test_sites_close_together_share_samples(rng):
    """At 4.2 and 4.45 ppm and 0.5 ppm between samples, both transfers come from the same ones."""
    offset = np.arange(-8, 8.01, 0.5)
    z = spectrum(offset=offset) + rng.normal(0, 5e-4, (4000, offset.size))
    found = ph.ratio(z, offset, at_ppm=(4.2, 4.45), noise_sd=5e-4)
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_amplitudes_are_divided_with_their_correlation(rng):
    z = spectrum(first=0.06, second=0.05) + rng.normal(0, 2e-3, (1500, OFFSET.size))
    exact = ph.ratio(spectrum(first=0.06, second=0.05), OFFSET, kind="amplitude")
    assert exact.parameters["ratio"] == pytest.approx(1.2, rel=1e-4)
    found = ph.ratio(z, OFFSET, kind="amplitude", noise_sd=2e-3)
    known = np.isfinite(found.standard_errors["ratio"])
    assert known.mean() > 0.95
    scatter = found.parameters["ratio"][known].std()
    assert found.standard_errors["ratio"][known].mean() == pytest.approx(scatter, rel=0.1)


def test_a_denominator_within_its_error_gives_no_ratio(rng):
    z = spectrum(second=0.0) + rng.normal(0, 2e-3, (500, OFFSET.size))
    # What is left at 5.5 ppm is the foot of the line at 4.2 ppm.
    found = ph.ratio(z, OFFSET, at_ppm=(4.2, 8.5), noise_sd=2e-3)
    hidden = found.flags == Flag.BELOW_NOISE
    assert hidden.mean() > 0.9
    np.testing.assert_array_equal(np.isnan(found.parameters["ratio"]), hidden)
    np.testing.assert_array_equal(np.isnan(found.standard_errors["ratio"]), hidden)


def test_what_was_not_measured_gives_no_ratio():
    found = ph.ratio(spectrum(), OFFSET, at_ppm=(4.2, 11.0))
    assert found.flags == Flag.OUTSIDE_RANGE
    assert np.isnan(found.parameters["ratio"])
    shifted = ph.ratio(spectrum(), OFFSET, at_ppm=(4.2, 9.9), b0_ppm=0.2)
    assert shifted.flags == Flag.OUTSIDE_RANGE


def test_shapes_masks_and_bad_samples():
    z = np.tile(spectrum(), (2, 3, 1)).astype(np.float32)
    z[0, 1, 5], z[1, 2] = np.nan, 1.5 * z[1, 2]
    mask, b0 = np.ones((2, 3), bool), np.zeros((2, 3))
    mask[0, 0], b0[1, 0] = False, np.nan
    for layout in (np.ascontiguousarray, np.asfortranarray):
        found = ph.ratio(layout(z), OFFSET, mask=mask, b0_ppm=b0, noise_sd=1e-3)
        expected = np.zeros((2, 3), int)
        expected[0, 0], expected[0, 1] = Flag.MASKED_OUT, Flag.INVALID_INPUT
        expected[1, 0], expected[1, 2] = Flag.INVALID_INPUT, Flag.OUTSIDE_RANGE
        np.testing.assert_array_equal(found.flags, expected)
        values = found.parameters["ratio"]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(values), [[True, True, False], [True, False, False]])
    high = np.array([2.0, *spectrum()[1:]])
    assert ph.ratio(high, OFFSET, noise_sd=1e-3).flags & Flag.OUTSIDE_RANGE


def test_order_of_offsets_does_not_matter(rng):
    order = rng.permutation(OFFSET.size)
    one = ph.ratio(spectrum(), OFFSET, noise_sd=1e-3)
    other = ph.ratio(spectrum()[order], OFFSET[order], noise_sd=1e-3)
    for table in ("parameters", "standard_errors"):
        assert getattr(other, table)["ratio"] == pytest.approx(float(getattr(one, table)["ratio"]), rel=1e-9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "mtr"}, "unknown kind"),
        ({"at_ppm": (4.2,)}, "two different offsets"),
        ({"at_ppm": (4.2, -5.5)}, "two different offsets"),
        ({"pools": ()}, "do not apply"),
        ({"kind": "amplitude", "b0_ppm": 0.0}, "water itself"),
        ({"kind": "amplitude", "at_ppm": (4.2, 8.0)}, "no pool begins"),
        ({"kind": "amplitude", "at_ppm": (4.1, 4.3)}, "both nearest"),
    ],
)
def test_usage_errors_of_a_ratio(more, said):
    with pytest.raises(ValueError, match=said):
        ph.ratio(spectrum(), OFFSET, **more)


def test_offsets_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="twice"):
        ph.ratio(spectrum(), np.where(OFFSET == 1.0, 1.25, OFFSET))
    with pytest.raises(ValueError, match="last axis"):
        ph.ratio(spectrum()[:-1], OFFSET)
    with pytest.raises(ImplausibleValue, match="ppm"):
        ph.ratio(spectrum(), 300 * OFFSET)


# One site at two powers


SITES = np.unique(np.concatenate([OFFSET, [-4.3, 4.3]]))


def iodixanol(concentration, rate, b1):
    """One amide at 4.3 ppm, far enough from water at 11.7 T, saturated into the steady state."""
    pool = ExchangePool("amide", 2 * concentration / 111e3, 1.0, 0.1, rate, 4.3)
    system = PoolSystem(WaterPool(2.0, 0.5), (pool,), field_t=11.7)
    return simulate(system, PulseTrain(SITES, [b1], 20.0))


@pytest.mark.parametrize("rate", [300.0, 1000.0])
def test_ratio_of_powers_tells_the_rate_and_not_the_concentration(rate):
    """F13 in the steady state: ST/(1 - ST) = f k alpha/R1, so that the ratio is alpha(high)/alpha(low)."""
    low, high = ((2 * np.pi * 42.5764 * b1) ** 2 for b1 in (1.0, 2.0))
    expected = (high / (high + rate**2)) / (low / (low + rate**2))
    values = [
        float(
            ph.two_b1_ratio(
                iodixanol(amount, rate, 1.0), iodixanol(amount, rate, 2.0), SITES, noise_sd=1e-4
            ).parameters["ratio"]
        )
        for amount in (5.0, 20.0)
    ]
    assert values[0] == pytest.approx(values[1], rel=0.01)
    # The formula leaves out spillover and the pool's R2, 10/s beside 300/s and more.
    assert values == pytest.approx([expected, expected], rel=0.04)


def test_ratio_of_powers_has_the_scatter_of_repeats(rng):
    weak, strong = iodixanol(20.0, 600.0, 1.0), iodixanol(20.0, 600.0, 2.0)
    noise = rng.normal(0, 1, (2, 4000, SITES.size))
    b0 = 0.005 * rng.normal(size=4000)
    found = ph.two_b1_ratio(
        weak + 1e-3 * noise[0],
        strong + 2e-3 * noise[1],
        SITES,
        b0_ppm=b0,
        b0_se_ppm=0.005,
        noise_sd=1e-3,
        noise_high_sd=2e-3,
    )
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_spectra_of_two_powers_must_fit():
    with pytest.raises(ValueError, match="leading shapes"):
        ph.two_b1_ratio(np.tile(spectrum(), (2, 1)), np.tile(spectrum(), (3, 1)), OFFSET)
    silent = ph.two_b1_ratio(spectrum(0.0, 0.0), spectrum(), OFFSET, noise_sd=1e-3)
    assert silent.flags == Flag.BELOW_NOISE


# Calibration

ACIDITY = np.array([6.4, 6.6, 6.8, 7.0, 7.2, 7.4])


def rising(acidity):
    """A ratio whose logarithm bends a little."""
    x = np.asarray(acidity) - 6.9
    return 10 ** (0.3 + 0.5 * x - 0.15 * x**2)


def test_points_of_a_polynomial_are_given_back():
    """PH = 6.9 + 1.5 log10 RST + 0.4 (log10 RST)^2, rising over these ratios."""
    ratio = np.array([0.4, 0.7, 1.0, 1.5, 2.5])
    acidity = 6.9 + 1.5 * np.log10(ratio) + 0.4 * np.log10(ratio) ** 2
    calibration = ph.calibrate(ratio, acidity, degree=2, scale="log10")
    between = np.array([0.5, 1.2, 2.0])
    np.testing.assert_allclose(
        calibration.invert(between), 6.9 + 1.5 * np.log10(between) + 0.4 * np.log10(between) ** 2, rtol=1e-12
    )
    assert calibration.degree == 2
    assert calibration.range == pytest.approx((acidity[0], acidity[-1]))
    assert calibration.ratio_range == (0.4, 2.5)
    assert calibration.residual_sd == pytest.approx(0.0, abs=1e-12)
    assert calibration.warnings == ()


@given(
    order=st.permutations(range(6)),
    at=st.floats(6.4, 7.4),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_conversion_follows_the_curve_in_any_order_and_direction(order, at, sign):
    order = np.array(order)
    calibration = ph.calibrate(rising(ACIDITY[order]) ** sign, ACIDITY[order])
    assert calibration.invert(rising(at) ** sign) == pytest.approx(at, abs=2e-3)


def test_nothing_is_converted_outside_the_calibrated_range():
    calibration = ph.calibrate(rising(ACIDITY), ACIDITY)
    low, high = calibration.ratio_range
    np.testing.assert_array_equal(
        np.isnan(calibration.invert([0.99 * low, low, high, 1.01 * high, np.nan, np.inf])),
        [True, False, False, True, True, True],
    )
    ends = calibration.invert(np.array([low, high], np.float32))
    np.testing.assert_allclose(ends, [6.4, 7.4], atol=1e-3)


def test_the_longest_monotone_stretch_is_used_and_told():
    """The ratio rises to pH 7.2 and falls beyond: ratios above that at 7.4 come twice."""
    acidity = np.arange(6.2, 7.81, 0.2)
    calibration = ph.calibrate(2.0 - (acidity - 7.25) ** 2, acidity)
    assert calibration.range == pytest.approx((6.2, 7.2))
    assert [caution.code for caution in calibration.warnings] == ["calibration-not-monotone"]
    assert "3 of 9 points" in calibration.warnings[0].message
    assert calibration.invert(2.0 - (6.9 - 7.25) ** 2) == pytest.approx(6.9, abs=1e-6)
    assert np.isnan(calibration.invert(2.0))


def test_a_turn_between_the_last_two_points_is_noticed():
    """The highest point lies beyond the maximum, though it is the highest: 7.2 has come twice."""
    acidity = np.arange(6.2, 7.21, 0.1)
    ratio = 2.0 - (acidity - 7.16) ** 2
    assert (np.diff(ratio) > 0).all()
    calibration = ph.calibrate(ratio, acidity)
    assert calibration.range == pytest.approx((6.2, 7.1))
    assert calibration.invert(2.0 - (7.05 - 7.16) ** 2) == pytest.approx(7.05, abs=1e-6)
    assert [caution.code for caution in calibration.warnings] == ["calibration-not-monotone"]


def test_ratios_that_go_no_way_are_refused():
    with pytest.raises(IllConditioned, match="one way"):
        ph.calibrate([1.0, 2.0, 1.0, 2.0], [6.5, 6.8, 7.1, 7.4])
    with pytest.raises(IllConditioned, match="one way"):
        ph.calibrate([1.0, 1.0, 1.0], [6.5, 7.0, 7.4])


def test_steps_back_within_the_errors_are_no_turn(rng):
    acidity = np.linspace(6.4, 7.4, 41)
    ratio = rising(acidity) * (1 + 0.03 * rng.normal(size=41))
    assert (np.diff(ratio) < 0).any()
    calibration = ph.calibrate(ratio, acidity, ratio_se=0.03 * rising(acidity))
    assert calibration.range[1] - calibration.range[0] > 0.9
    inner = np.linspace(6.5, 7.3, 9)
    np.testing.assert_allclose(calibration.invert(rising(inner)), inner, atol=0.05)


def test_several_points_at_one_ph_are_all_used(rng):
    acidity = np.repeat(ACIDITY, 4)
    ratio = rising(acidity) * (1 + 0.02 * rng.normal(size=24))
    calibration = ph.calibrate(ratio, acidity)
    assert calibration.n_points == 24
    assert calibration.warnings == ()
    assert calibration.invert(rising(7.0)) == pytest.approx(7.0, abs=0.03)


@pytest.mark.parametrize("form", ["direct", "inverse"])
def test_error_of_the_calibration_is_the_scatter_of_calibrations(form, rng):
    """The logarithm is a straight line of pH here, so that both forms hold and nothing but noise is left."""
    acidity = np.repeat(ACIDITY, 2)
    exact, at = (10 ** (0.5 * (np.asarray(one) - 6.9)) for one in (acidity, [6.7, 7.1]))
    made = [
        ph.calibrate(exact * (1 + 0.01 * rng.normal(size=12)), acidity, degree=2, scale="log10", form=form)
        for _ in range(1000)
    ]
    scatter = np.std([one.invert(at) for one in made], axis=0)
    errors = np.mean([one.calibration_error(at) for one in made], axis=0)
    np.testing.assert_allclose(errors, scatter, rtol=0.1)


@pytest.mark.parametrize("form", ["direct", "inverse"])
def test_error_of_ph_is_the_scatter_of_ratios(form, rng):
    calibration = ph.calibrate(rising(ACIDITY), ACIDITY, degree=3, form=form)
    ratio = rising(6.9) + 0.02 * rng.normal(size=4000)
    scatter = calibration.invert(ratio).std()
    assert calibration.standard_error(ratio, 0.02).mean() == pytest.approx(scatter, rel=0.1)
    difference = np.diff(calibration.invert(rising(6.9) + np.array([-1e-6, 1e-6])))[0] / 2e-6
    assert calibration.slope(rising(6.9)) == pytest.approx(difference, rel=1e-5)


def test_two_points_make_a_line_without_an_error():
    calibration = ph.calibrate([1.0, 3.0], [6.5, 7.5])
    assert calibration.invert(2.0) == pytest.approx(7.0)
    assert np.isnan(calibration.residual_sd)
    assert np.isnan(calibration.standard_error(2.0))
    assert calibration.standard_error(2.0, 0.1) == pytest.approx(0.05)


@pytest.mark.parametrize("points", range(3, 12))
@pytest.mark.parametrize("high", [3.8, 4.3])
def test_few_points_of_the_published_course_are_enough(points, high):
    """The sheet's ratios at pH 6.5, 7.0 and 7.4 (cest.md, section 6), whose logarithm is a parabola of pH."""
    low = 1.08 if high == 3.8 else 1.1
    middle = 2.1 if high == 3.8 else 2.3
    course = np.polyfit([6.5, 7.0, 7.4], np.log([low, middle, high]), 2)
    acidity = np.linspace(6.5, 7.4, points)
    made = ph.calibrate(np.exp(np.polyval(course, acidity)), acidity)
    between = np.linspace(6.5, 7.4, 91)
    np.testing.assert_allclose(made.invert(np.exp(np.polyval(course, between))), between, atol=0.02)


@pytest.mark.parametrize("points", range(4, 12))
@pytest.mark.parametrize("protocol", [{"b1_ut": 6.0}, {"field_t": 11.7}, {"b1_ut": 4.0, "field_t": 11.7}])
def test_few_points_of_a_simulated_course_are_enough(points, protocol):
    """The phantom's tolerance without noise, 0.02, where the ratio rises throughout, but bends twice."""
    rising_ratio = Protocol(
        "iopamidol",
        protocol.get("b1_ut", 3.0),
        5.0,
        protocol.get("field_t", 7.0),
        WaterPool(SOLUTION["water_t1_s"], SOLUTION["water_t2_s"]),
        SOLUTION["pool_t2_s"],
    )
    between = np.linspace(6.4, 7.4, 41)
    exact, _ = rising_ratio.ratios(20.0, between)
    acidity = np.linspace(6.4, 7.4, points)
    made = ph.calibrate(rising_ratio.ratios(20.0, acidity)[0], acidity)
    assert made.range == (6.4, 7.4)
    np.testing.assert_allclose(made.invert(exact), between, atol=0.02)


def test_a_line_that_misses_few_points_makes_way_for_a_curve_through_them():
    """The line misses these by 0.118; curves through them differ, which is told and in the errors."""
    made = ph.calibrate([1.14, 1.44, 2.25, 2.54], [6.4, 6.6, 7.0, 7.4])
    np.testing.assert_allclose(made.invert([1.14, 1.44, 2.25, 2.54]), [6.4, 6.6, 7.0, 7.4], atol=1e-9)
    assert made.degree == 3
    assert [caution.code for caution in made.warnings] == ["calibration-unchecked"]
    assert f"{made.unknown_ph:.3f} pH" in made.warnings[0].message
    assert 0.02 < made.unknown_ph < 0.1
    np.testing.assert_allclose(made.calibration_error([1.3, 2.0]), made.unknown_ph)
    line = ph.calibrate([1.14, 1.44, 2.25, 2.54], [6.4, 6.6, 7.0, 7.4], degree=1)
    assert line.degree == 1
    assert [caution.code for caution in line.warnings] == ["calibration-poor"]
    assert "by 0.120 pH and miss it by up to 0.118 pH" in line.warnings[0].message
    assert (line.calibration_error([1.3, 2.0]) > line.residual_sd).all()


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("steepness", "middle"), [(1.0, 7.0), (1.5, 6.6), (2.0, 6.7), (2.0, 6.9)])
@pytest.mark.parametrize("points", [(6.4, 6.9, 7.4), (6.4, 6.8, 7.4), (6.6, 6.9, 7.2)])
def test_what_three_points_miss_of_an_s_is_in_the_error(points, steepness, middle, logarithmic):
    """Titration curves, in closed form: a line through three points of one misses it by up to 0.07 pH."""

    def course(acidity):
        step = 1 / (1 + 10 ** (steepness * (middle - np.asarray(acidity))))
        return 10**step if logarithmic else 0.5 + 3 * step

    made = ph.calibrate(course(points), points)
    between = np.linspace(points[0], points[-1], 81)
    missed = np.abs(made.invert(course(between)) - between).max()
    assert made.unknown_ph > 0.95 * missed
    assert made.unknown_ph < 0.12
    np.testing.assert_allclose(made.calibration_error(course(between)), made.unknown_ph, atol=0.02)
    if missed > 0.02:
        assert made.warnings[0].code in ("calibration-sparse", "calibration-unchecked")


def test_a_line_through_three_points_says_what_it_cannot_tell():
    made = ph.calibrate([1.0, 2.0, 3.0], [6.4, 6.9, 7.4])
    assert made.degree == 1
    assert [caution.code for caution in made.warnings] == ["calibration-sparse"]
    assert "more pH" in made.warnings[0].message
    assert 0.06 < made.unknown_ph < 0.08
    near = ph.calibrate([1.0, 2.0, 3.0], [6.8, 6.9, 7.0])
    assert not near.warnings
    assert 0 < near.unknown_ph < 0.005


def test_points_that_miss_by_their_errors_alone_keep_their_curve(rng):
    """Errors of 5 % are 0.043 pH: what left-out points choose is as good as the points are."""
    acidity = np.linspace(6.4, 7.4, 5)
    exact = 10 ** (0.5 * (acidity - 6.9))
    kept = []
    for _ in range(40):
        ratio, error = exact * (1 + 0.05 * rng.normal(size=5)), 0.05 * exact
        options = {"degree": None, "scale": "log10", "form": "inverse"}
        chosen = ph_polynomial.best_curve(ratio, acidity, error, **options)
        made = ph.calibrate(ratio, acidity, ratio_se=error, scale="log10", form="inverse")
        if chosen is not None and made.n_points == 5:
            kept.append(made.degree == chosen.curve.coefficients.size - 1)
    assert len(kept) > 20
    assert np.mean(kept) > 0.9


def test_six_noisy_points_are_no_reason_for_a_curve_through_them(rng):
    acidity = np.linspace(6.4, 7.4, 6)
    exact = 10 ** (0.5 * (acidity - 6.9))
    degrees = [
        ph.calibrate(exact * (1 + 0.04 * rng.normal(size=6)), acidity, scale="log10").degree
        for _ in range(40)
    ]
    assert np.mean(np.array(degrees) == 4) < 0.4


def test_a_poor_calibration_says_so_in_its_error(rng):
    """Vials that scatter by 0.07 pH: converted pH is not better known than that."""
    acidity = np.arange(6.4, 7.41, 0.1)
    ratio = 10 ** (0.5 * (acidity - 6.9)) * (1 + 0.08 * rng.normal(size=acidity.size))
    made = ph.calibrate(ratio, acidity)
    assert "calibration-poor" in {caution.code for caution in made.warnings}
    assert made.unknown_ph == made.residual_sd > 0.02
    middle = np.mean(made.ratio_range)
    assert made.standard_error(middle, 1e-6) > made.residual_sd
    assert made.decision()["unknown_ph"] == made.unknown_ph


def test_degree_is_chosen_by_left_out_points(rng):
    """A straight line with noise stays one; what bends needs more, and 5 at most."""
    acidity = np.linspace(6.2, 7.4, 13)
    degrees = [
        ph.calibrate(1 + (acidity - 6) + 0.01 * rng.normal(size=13), acidity, scale="linear").degree
        for _ in range(40)
    ]
    assert np.median(degrees) == 1
    assert ph.calibrate(rising(acidity), acidity, scale="linear").degree > 2
    assert ph.calibrate(np.exp(acidity**2), acidity, scale="linear").degree <= 5


@pytest.mark.parametrize(
    ("ratio", "acidity", "more", "said"),
    [
        ([1.0, 2.0], [6.5], {}, "equal length"),
        ([1.0, np.nan, 2.0], [6.5, 7.0, 7.4], {}, "not finite"),
        ([1.0, 2.0], [7.0, 7.0], {}, "2 different pH"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"degree": 3}, "more than 3 different points, found 3"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"degree": 0}, "at least 1"),
        ([-1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"scale": "log10"}, "no logarithm"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"scale": "ln"}, "unknown scale"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"form": "spline"}, "unknown form"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"ratio_se": 0.0}, "ratio_se"),
        ([1.0, 2.0, 3.0], [6.5, 7.0, 7.4], {"ratio_se": [0.1, 0.1]}, "ratio_se"),
    ],
)
def test_calibrations_that_cannot_be(ratio, acidity, more, said):
    with pytest.raises(ValueError, match=said):
        ph.calibrate(ratio, acidity, **more)


def test_ratio_and_ph_in_the_wrong_order_are_noticed():
    with pytest.raises(ImplausibleValue, match="ratio first"):
        ph.calibrate(ACIDITY, rising(ACIDITY))


def test_a_degree_whose_polynomial_turns_is_refused():
    """A quartic of pH through a staircase of ratios goes back."""
    with pytest.raises(IllConditioned, match="turns inside"):
        ph.calibrate([1.0, 1.01, 3.0, 3.01, 5.0], [6.4, 6.6, 6.8, 7.0, 7.3], degree=4)


# Conversion


def test_conversion_keeps_flags_and_carries_errors():
    calibration = ph.calibrate(rising(ACIDITY), ACIDITY)
    z = np.stack([spectrum(0.06, 0.03), spectrum(0.06, 0.005), spectrum(0.0, 0.03)])
    z[2, 3] = np.nan
    ratio = ph.ratio(z, OFFSET, noise_sd=1e-3)
    found = ph.converted(calibration, ratio)
    assert list(found.flags) == [0, Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT]
    np.testing.assert_array_equal(np.isnan(found.parameters["ph"]), [False, True, True])
    value, error = ratio.parameters["ratio"][0], ratio.standard_errors["ratio"][0]
    assert found.standard_errors["ph"][0] == pytest.approx(
        float(np.hypot(calibration.slope(value) * error, calibration.calibration_error(value)))
    )
    plain = ph.converted(calibration, np.float32([2.0, 99.0, np.nan]), ratio_se=0.1)
    assert plain.parameters["ph"].dtype == np.float32
    assert list(plain.flags) == [0, Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT]


CONDITIONS = ph.Conditions(
    kind="mtr_asym",
    at_ppm=(4.2, 5.5),
    b1_ut=3.0,
    saturation_time_s=5.0,
    temperature_c=37.0,
    field_t=7.0,
)


@pytest.mark.parametrize(
    ("name", "other", "near"),
    [
        ("b1_ut", 2.0, 3.05),
        ("saturation_time_s", 3.0, 5.1),
        ("temperature_c", 21.0, 36.5),
        ("field_t", 3.0, 7.05),
        ("at_ppm", (4.2, 5.6), (4.2, 5.52)),
        ("kind", "inverse", "mtr_asym"),
    ],
)
def test_a_scan_under_other_conditions_is_refused(name, other, near):
    calibration = ph.calibrate(rising(ACIDITY), ACIDITY, conditions=CONDITIONS)
    with pytest.raises(ImplausibleValue, match=name):
        ph.converted(calibration, 2.0, conditions=dataclasses.replace(CONDITIONS, **{name: other}))
    scan = dataclasses.replace(CONDITIONS, **{name: near})
    assert calibration.conditions.check(scan) == ()
    unknown = dataclasses.replace(CONDITIONS, **{name: None})
    (caution,) = calibration.conditions.check(unknown)
    assert caution.code == "calibration-conditions-unknown"
    assert name in caution.message


def test_conditions_that_cannot_be_are_refused():
    with pytest.raises(ImplausibleValue, match="Celsius"):
        ph.Conditions(temperature_c=310.0)
    with pytest.raises(ImplausibleValue, match="uT"):
        ph.Conditions(b1_ut=127.7)


# Files


def test_a_calibration_is_saved_and_read(tmp_path):
    path = tmp_path / "calibration.json"
    for points in (6, 3, 2):
        made = ph.calibrate(rising(ACIDITY[:points]), ACIDITY[:points], conditions=CONDITIONS)
        made.save(path)
        again = ph.load_calibration(path)
        between = np.linspace(*made.ratio_range, 11)
        np.testing.assert_array_equal(again.invert(between), made.invert(between))
        np.testing.assert_array_equal(again.standard_error(between, 0.1), made.standard_error(between, 0.1))
        assert (again.range, again.ratio_range, again.conditions) == (
            made.range,
            made.ratio_range,
            made.conditions,
        )
    turning = ph.calibrate([1.0, 2.0, 3.0, 2.5], [6.4, 6.7, 7.0, 7.3])
    turning.save(path)
    assert ph.load_calibration(path).warnings == turning.warnings


def test_files_that_are_no_calibration_are_refused(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(NothingUsable):
        ph.load_calibration(path)
    for content, kind in (
        ("{", CorruptInput),
        ("[]", UnsupportedInput),
        ('{"format": "other"}', UnsupportedInput),
        (" " * (1 << 21), UnsupportedInput),
    ):
        path.write_text(content)
        with pytest.raises(kind):
            ph.load_calibration(path)
    ph.calibrate(rising(ACIDITY), ACIDITY).save(path)
    good = json.loads(path.read_text())
    for key, value, kind in (
        ("version", 2, UnsupportedInput),
        ("coefficients", [1.0], CorruptInput),
        ("coefficients", None, CorruptInput),
        ("half_span", 0.0, CorruptInput),
        ("ratio_range", [2.0, 1.0], CorruptInput),
        ("conditions", {"b1_ut": [3e6]}, CorruptInput),
        ("conditions", {"power": 3}, CorruptInput),
    ):
        path.write_text(json.dumps({**good, key: value}))
        with pytest.raises(kind):
            ph.load_calibration(path)
    turning = {**good, "coefficients": [7.0, 0.0, 1.0], "covariance": [[0.0] * 3] * 3}
    path.write_text(json.dumps(turning))
    with pytest.raises(CorruptInput, match="one to one"):
        ph.load_calibration(path)


# From spectra and by simulation


def iopamidol(acidity, concentration=20.0):
    """Spectra of solutions at some pH, from the same record as the calibration."""
    from imgtheranostics.cest import agent_pools

    water = WaterPool(SOLUTION["water_t1_s"], SOLUTION["water_t2_s"])
    systems = [
        PoolSystem(
            water,
            agent_pools.simulator_pools("iopamidol", concentration_mm=concentration, ph=at, t2_s=0.02),
            field_t=7.0,
        )
        for at in acidity
    ]
    return simulate(systems, PulseTrain(OFFSET, [3.0], 5.0))


def test_simulated_calibration_gives_the_ph_of_simulated_solutions():
    """The phantom's tolerance without noise: 0.02, here between the pH of the calibration."""
    calibration = ph.simulated_calibration(concentration_mm=20.0, **SOLUTION)
    acidity = np.array([6.43, 6.62, 6.87, 7.03, 7.18])
    ratio = ph.ratio(iopamidol(acidity), OFFSET, noise_sd=1e-4)
    found = ph.converted(calibration, ratio, conditions=ph.Conditions(b1_ut=3.0, saturation_time_s=5.0))
    np.testing.assert_allclose(found.parameters["ph"], acidity, atol=0.02)
    codes = [caution.code for caution in calibration.warnings]
    assert codes[0] == "simulated-calibration"
    assert {"unconfirmed-value", "extrapolated-exchange-rate"} <= set(codes)
    assert "from memory" in calibration.warnings[0].message


def test_simulated_ratio_rises_until_it_turns():
    """At 3 uT the faster amide is no longer labelled fully above pH 7.3: nothing is converted there."""
    calibration = ph.simulated_calibration(concentration_mm=20.0, **SOLUTION)
    assert calibration.range[0] == 6.4
    assert 7.15 < calibration.range[1] < 7.4
    assert "calibration-not-monotone" in {caution.code for caution in calibration.warnings}
    stronger = ph.simulated_calibration(concentration_mm=20.0, **{**SOLUTION, "b1_ut": 6.0})
    assert stronger.range == (6.4, 7.4)


def test_a_calibration_from_spectra_is_that_of_their_ratios():
    acidity = np.arange(6.4, 7.21, 0.1)
    z = iopamidol(acidity)
    made = ph.calibrate_from_spectra(z, OFFSET, acidity, kind="inverse", conditions=ph.Conditions(b1_ut=3.0))
    ratio = ph.ratio(z, OFFSET, kind="inverse")
    np.testing.assert_allclose(made.invert(ratio.parameters["ratio"]), acidity, atol=0.005)
    assert made.conditions == ph.Conditions("inverse", (4.2, 5.5), (3.0,))
    with pytest.raises(ImplausibleValue, match="kind"):
        ph.calibrate_from_spectra(z, OFFSET, acidity, conditions=ph.Conditions(kind="inverse"))
    z[2] = np.nan
    with pytest.raises(ValueError, match=r"numbers \[2\]"):
        ph.calibrate_from_spectra(z, OFFSET, acidity)


def test_bias_by_concentration_is_that_of_the_sheet():
    """Up to 10 % between 2 and 20 mM (cest.md, section 6); the inverse form hardly depends on it."""
    found = ph.concentration_bias(**SOLUTION)
    worst = np.abs(found.ratio_bias).max(axis=1)
    assert 0.05 < worst[0] < 0.12
    assert worst[1] == 0.0
    assert np.nanmax(np.abs(found.ph_bias[1])) < 0.005
    assert np.nanmax(np.abs(found.ph_bias[0])) > 0.05
    inverse = ph.concentration_bias(kind="inverse", **SOLUTION)
    assert np.abs(inverse.ratio_bias).max() < 0.005
    assert {caution.code for caution in found.warnings} >= {"unconfirmed-value"}


def test_agents_without_rates_are_not_simulated():
    with pytest.raises(MissingMetadata, match="record of Iodixanol"):
        ph.simulated_calibration("iodixanol", concentration_mm=20.0, **SOLUTION)
    with pytest.raises(ValueError, match="unknown kind"):
        ph.simulated_calibration(concentration_mm=20.0, kind="amplitude", **SOLUTION)


@pytest.mark.parametrize("spacing", [0.05, 0.2])
def test_noise_of_the_points_does_not_tear_the_range(spacing, rng):
    """3 % noise, steps of 6 % at the closest spacing: steps back are seen in nearly every calibration."""
    acidity = np.arange(6.4, 7.41, spacing)
    exact = 10 ** (0.5 * (acidity - 6.9))
    spans, missed = [], []
    for _ in range(60):
        made = ph.calibrate(exact * (1 + 0.03 * rng.normal(size=acidity.size)), acidity)
        spans.append(np.ptp(made.range))
        missed.append(made.invert(10 ** (0.5 * np.array([-0.2, 0.0, 0.2]))) - [6.7, 6.9, 7.1])
    assert np.median(spans) > 0.95
    assert np.isfinite(missed).mean() > 0.95
    assert np.nanstd(missed) < 0.03


def test_a_turn_is_found_in_noise(rng):
    """The maximum is at pH 7.25: what is converted lies below, or little above."""
    acidity = np.arange(6.2, 7.81, 0.1)
    ends, missed = [], []
    for _ in range(60):
        made = ph.calibrate(2.0 - (acidity - 7.25) ** 2 + 0.01 * rng.normal(size=acidity.size), acidity)
        ends.append(made.range)
        missed.append(made.invert(2.0 - (np.array([6.5, 6.8, 7.0]) - 7.25) ** 2) - [6.5, 6.8, 7.0])
    ends = np.array(ends)
    assert (ends[:, 0] < 6.35).mean() > 0.9
    assert (ends[:, 1] < 7.45).mean() > 0.9
    assert np.nanstd(missed) < 0.03
