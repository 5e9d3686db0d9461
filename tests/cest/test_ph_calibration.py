"""Calibrations of pH by ratios (cest.md F20): curves, their range and errors, conditions, files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.cest import ph, ph_polynomial
from imgtheranostics.cest.bloch_mcconnell import WaterPool
from imgtheranostics.cest.ph_simulation import Protocol
from imgtheranostics.errors import (
    CorruptInput,
    IllConditioned,
    ImplausibleValue,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.volume import Flag

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
    codes = [caution.code for caution in calibration.warnings]
    assert codes == ["calibration-not-monotone", "calibration-ambiguous"]
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


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("turn", [7.05, 6.95])
def test_a_ratio_that_occurs_at_a_second_ph_is_not_converted(turn, falling):
    """A parabola about its turn: points reach 0.35 pH beyond, so that all within 0.35 before it is double."""
    acidity = np.round(np.arange(6.4, 7.41, 0.05), 2) if turn > 7 else np.round(np.arange(6.6, 7.61, 0.05), 2)
    sign = -1.0 if falling else 1.0

    def course(ph):
        return 3.0 - sign * (np.asarray(ph) - turn) ** 2

    calibration = ph.calibrate(course(acidity), acidity)
    beyond = 0.35
    single = turn - beyond - 0.03 if turn > 7 else turn + beyond + 0.03
    double = turn - beyond + 0.03 if turn > 7 else turn + beyond - 0.03
    found = ph.converted(calibration, course([single, double]))
    assert found.parameters["ph"][0] == pytest.approx(single, abs=1e-6)
    assert np.isnan(found.parameters["ph"][1])
    assert np.isnan(found.standard_errors["ph"][1])
    assert found.flags.tolist() == [0, Flag.AMBIGUOUS_BRANCH]
    assert calibration.warnings[-1].code == "calibration-ambiguous"
    # one whose error reaches a double ratio may be either
    near = ph.converted(calibration, course([single, turn - np.sign(turn - 7) * 0.6]), ratio_se=0.03)
    assert near.flags.tolist() == [Flag.AMBIGUOUS_BRANCH, 0]


def test_without_points_beyond_the_turn_nothing_is_ambiguous():
    calibration = ph.calibrate(rising(ACIDITY), ACIDITY)
    assert calibration.ambiguous == ()
    assert not calibration.is_ambiguous(rising(ACIDITY), 0.5).any()


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
        WaterPool(1.5, 0.04),
        0.02,
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
    assert ph.load_calibration(path).ambiguous == turning.ambiguous


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
