"""Perfusion fits: round trips, standard errors, flags, refusals. Truth comes from SciPy's linear systems."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import cont2discrete, lfilter, ss2tf

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri import dce, dce_models
from imgtheranostics.volume import Flag

TIME = np.arange(0.25, 300, 0.5)
BOLUS_S = 10.0
HAEMATOCRIT = 0.45
MODELS = ("tofts", "extended_tofts", "patlak", "2cxm", "2cum")


def tissue(model, time, *, delay_s=0.0, step_s=0.05, **given):
    """Tissue concentration from the compartments' differential equations on a fine grid.

    Rates per minute, flow in mL/100mL/min; the input function is Parker's, in plasma.
    """
    fine = np.arange(0, time[-1] + step_s, step_s)
    plasma = dce.population_aif("parker", fine, delay_s=BOLUS_S + delay_s) / (1 - HAEMATOCRIT)
    ktrans, ps, fp = (given.get(name, 0.0) / 60 for name in ("ktrans", "ps", "fp"))
    fp /= 100
    ve, vp = given.get("ve", 0.0), given.get("vp", 0.0)
    system = {
        "tofts": lambda: ([[-ktrans / ve]], [[ktrans]], [[1.0]]),
        "extended_tofts": lambda: ([[-ktrans / ve]], [[ktrans]], [[1.0]]),
        "patlak": lambda: ([[0.0]], [[ps]], [[1.0]]),
        "2cxm": lambda: (
            [[-(fp + ps) / vp, ps / ve], [ps / vp, -ps / ve]],
            [[fp], [0.0]],
            [[1.0, 1.0]],
        ),
        "2cum": lambda: ([[-(fp + ps) / vp, 0.0], [ps / vp, 0.0]], [[fp], [0.0]], [[1.0, 1.0]]),
    }[model]()
    through = vp if model in ("extended_tofts", "patlak") else 0.0
    discrete = cont2discrete((*map(np.array, system), np.array([[through]])), step_s, method="foh")
    numerator, denominator = ss2tf(*discrete[:4])
    amount = lfilter(numerator[0], denominator, plasma)
    return np.interp(time, fine, amount)


def plasma_at(time):
    return dce.population_aif("parker", time, delay_s=BOLUS_S) / (1 - HAEMATOCRIT)


def check(found, truth, tolerances):
    for name, (absolute, relative) in tolerances.items():
        error = np.abs(found.parameters[name] - truth[name])
        assert (error <= absolute + relative * np.abs(truth[name])).all(), (name, error.max())


SHEET = {
    "ktrans_per_min": (0.005, 0.1),
    "ps_per_min": (0.005, 0.1),
    "ve": (0.05, 0.0),
    "vp": (0.025, 0.0),
    "fp_ml_100ml_min": (5.0, 0.1),
    "delay_s": (1.0, 0.0),
}
"""mri.md, section 6."""

GRIDS = {
    "tofts": {"ktrans": (0.02, 0.1, 0.3), "ve": (0.1, 0.3, 0.5)},
    "extended_tofts": {"ktrans": (0.02, 0.1, 0.3), "ve": (0.1, 0.5), "vp": (0.005, 0.05, 0.1)},
    "patlak": {"ps": (0.0, 0.05, 0.15), "vp": (0.02, 0.1, 0.2)},
    "2cxm": {"fp": (5.0, 25.0, 40.0), "ps": (0.05, 0.15), "ve": (0.1, 0.2), "vp": (0.02, 0.05)},
    "2cum": {"fp": (5.0, 25.0, 40.0), "ps": (0.0, 0.05, 0.15), "vp": (0.02, 0.05, 0.1)},
}
NAMES = {
    "ktrans": "ktrans_per_min",
    "ps": "ps_per_min",
    "fp": "fp_ml_100ml_min",
    "ve": "ve",
    "vp": "vp",
}


def cases(model, time, delay_s):
    """Curves of every combination, and the truth under the names of the results."""
    grid = GRIDS[model]
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    curves = np.array([tissue(model, time, delay_s=delay_s, **case) for case in combinations])
    truth = {NAMES[name]: np.array([case[name] for case in combinations]) for name in grid}
    return curves, {**truth, "delay_s": np.full(len(curves), delay_s)}


@pytest.mark.parametrize("delay_s", [0.0, 5.0, 10.0, -2.0])
@pytest.mark.parametrize("model", MODELS)
def test_round_trip_within_the_tolerances_of_the_sheet(model, delay_s):
    """Every combination, sampled every 0.5 s, with noise of 0.001 mmol/L, the delay fitted per curve."""
    curves, truth = cases(model, TIME, delay_s)
    curves = curves + np.random.default_rng(5).normal(0, 0.001, curves.shape)
    found = dce.fit(model, curves, TIME, plasma_at(TIME), fit_delay=True)
    assert (found.flags & ~np.uint16(Flag.AT_BOUND) == 0).all()
    check(found, truth, {name: SHEET[name] for name in truth})


def test_what_the_measurement_cannot_tell_has_a_large_standard_error(rng):
    """PS three times the flow and ve = vp: one exponential, so that PS is known to a seventh at best."""
    curve = tissue("2cxm", TIME, fp=5, ps=0.15, ve=0.1, vp=0.1)
    curves = curve + rng.normal(0, 0.001, (200, TIME.size))
    found = dce.fit("2cxm", curves, TIME, plasma_at(TIME), fit_delay=True)
    error = np.abs(found.parameters["ps_per_min"] - 0.15)
    assert np.median(found.standard_errors["ps_per_min"]) > 0.015
    assert np.median(error / found.standard_errors["ps_per_min"]) == pytest.approx(0.674, rel=0.25)


@pytest.mark.parametrize("model", MODELS)
def test_round_trip_without_delay_and_noise(model):
    curves, truth = cases(model, TIME, 0.0)
    found = dce.fit(model, curves, TIME, plasma_at(TIME))
    del truth["delay_s"]
    # What is left is the curvature of the bolus between samples 0.5 s apart.
    check(found, truth, dict.fromkeys(truth, (1e-4, 0.01)))
    assert "delay_s" not in found.parameters


@pytest.mark.parametrize("model", ["tofts", "extended_tofts", "patlak"])
def test_samples_at_uneven_times(model):
    """Fast sampling during the bolus, slow afterwards, with jitter."""
    rng = np.random.default_rng(2)
    time = np.concatenate([np.arange(0, 90, 0.5), np.arange(90, 600, 15)])
    time += rng.uniform(0, 0.2, time.size)
    curves, truth = cases(model, time, 0.0)
    del truth["delay_s"]
    check(dce.fit(model, curves, time, plasma_at(time)), truth, dict.fromkeys(truth, (2e-3, 0.02)))


@pytest.mark.parametrize("step_s", [5.0, 10.0])
@pytest.mark.parametrize("model", ["tofts", "extended_tofts", "patlak"])
def test_an_input_function_with_times_of_its_own_is_not_limited_by_the_images(model, step_s):
    """Images 5 or 10 s apart miss the bolus; an input function every 0.25 s does not."""
    time = np.arange(0, 400, step_s)
    fine = np.arange(0, 400, 0.25)
    curves, truth = cases(model, time, 0.0)
    del truth["delay_s"]
    found = dce.fit(model, curves, time, plasma_at(fine), plasma_time_s=fine)
    check(found, truth, dict.fromkeys(truth, (1e-4, 0.01)))


def test_a_delay_is_found_between_slow_images():
    """Delays of 0 to 10 s at images every 8 s, the input function every 0.5 s."""
    time, fine = np.arange(0, 400, 8.0), np.arange(0, 400, 0.5)
    for delay_s in (0.0, 3.0, 7.5, 10.0):
        curves, truth = cases("extended_tofts", time, delay_s)
        found = dce.fit("extended_tofts", curves, time, plasma_at(fine), plasma_time_s=fine, fit_delay=True)
        check(found, truth, {name: SHEET[name] for name in truth})


def test_its_own_times_may_be_those_of_the_images():
    curve = tissue("extended_tofts", TIME, ktrans=0.1, ve=0.3, vp=0.05)
    one = dce.fit("extended_tofts", curve, TIME, plasma_at(TIME))
    other = dce.fit("extended_tofts", curve, TIME, plasma_at(TIME), plasma_time_s=TIME)
    assert one.parameters == other.parameters


def test_standard_errors_are_the_scatter_of_2000_repeats():
    """Extended Tofts at 5 s and at a noise of 0.02 mmol/L; the issue asks for 10 %."""
    time = np.arange(0, 400, 4.0)
    plasma = plasma_at(time)
    truth = tissue("extended_tofts", time, ktrans=0.12, ve=0.3, vp=0.05)
    noise = np.random.default_rng(1).normal(0, 0.02, (2000, time.size))
    found = dce.fit("extended_tofts", truth + noise, time, plasma)
    assert (found.flags == 0).all()
    for name in ("ktrans_per_min", "ve", "vp"):
        scatter = found.parameters[name].std(ddof=1)
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1)


@pytest.mark.parametrize("model", ["tofts", "patlak", "2cxm", "2cum"])
def test_standard_errors_of_the_other_models(model):
    """600 repeats: their scatter is itself known to 3 %, so that 15 % is five standard deviations."""
    time = np.arange(0, 300, 1.0)
    settings_of = {"ktrans": 0.12, "ve": 0.3, "vp": 0.08, "ps": 0.08, "fp": 30.0}
    truth = tissue(model, time, **{name: settings_of[name] for name in GRIDS[model]})
    noise = np.random.default_rng(1).normal(0, 0.01, (600, time.size))
    found = dce.fit(model, truth + noise, time, plasma_at(time))
    assert (found.flags == 0).all()
    for name, values in found.parameters.items():
        assert found.standard_errors[name].mean() == pytest.approx(values.std(ddof=1), rel=0.15)


@cache
def strongest(model):
    """The curve of the last of each value of the grid."""
    return tissue(model, TIME, **{name: values[-1] for name, values in GRIDS[model].items()})


@settings(max_examples=25)
@given(st.sampled_from(MODELS), st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_scaling_both_curves_changes_no_parameter(model, factor, seed):
    time = np.arange(0, 300, 5.0)
    noise = np.random.default_rng(seed).normal(0, 0.01, time.size)
    curve = np.interp(time, TIME, strongest(model)) + noise
    one = dce.fit(model, curve, time, plasma_at(time))
    other = dce.fit(model, factor * curve, time, factor * plasma_at(time))
    for name, value in one.parameters.items():
        assert other.parameters[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6, nan_ok=True)


@settings(max_examples=25)
@given(st.sampled_from(MODELS), st.floats(-1000, 1e6))
def test_the_time_origin_does_not_matter(model, shift):
    time = np.arange(0, 300, 5.0)
    curve = np.interp(time, TIME, strongest(model))
    one = dce.fit(model, curve, time, plasma_at(time), fit_delay=True)
    other = dce.fit(model, curve, time + shift, plasma_at(time), fit_delay=True)
    for name, value in one.parameters.items():
        assert other.parameters[name] == pytest.approx(float(value), rel=1e-3, abs=1e-3, nan_ok=True)


def test_whole_blood_is_divided_by_the_plasma_fraction():
    curve = tissue("extended_tofts", TIME, ktrans=0.1, ve=0.3, vp=0.05)
    blood = dce.population_aif("parker", TIME, delay_s=BOLUS_S)
    found = dce.fit("extended_tofts", curve, TIME, blood, haematocrit=HAEMATOCRIT)
    assert found.parameters["ktrans_per_min"] == pytest.approx(0.1, rel=0.01)
    # Without a haematocrit the curve counts as plasma: less plasma needs a larger Ktrans and vp.
    raw = dce.fit("extended_tofts", curve, TIME, blood).parameters
    assert raw["ktrans_per_min"] == pytest.approx(0.1 / (1 - HAEMATOCRIT), rel=0.01)


@pytest.mark.parametrize("haematocrit", [0.0, 1.0, -0.1, 42.0, np.nan])
def test_a_haematocrit_that_is_no_fraction_is_refused(haematocrit):
    with pytest.raises(ImplausibleValue, match="haematocrit"):
        dce.fit("tofts", np.ones(600), TIME, plasma_at(TIME), haematocrit=haematocrit)


def test_a_curve_without_enhancement_is_nan_and_flagged(rng):
    curves = np.stack(
        [
            np.zeros(600),
            rng.normal(0, 0.02, 600),
            -tissue("tofts", TIME, ktrans=0.1, ve=0.3),
            np.full(600, -1.0),
        ]
    )
    for model in MODELS:
        found = dce.fit(model, curves, TIME, plasma_at(TIME))
        assert (found.flags & Flag.NOT_ENHANCING != 0).all()
        assert all(np.isnan(values).all() for values in found.parameters.values())


def test_weak_enhancement_in_noise_is_kept(rng):
    """Ktrans of 0.005 per minute at a noise as large as its enhancement: 600 samples show it."""
    curve = tissue("tofts", TIME, ktrans=0.005, ve=0.2)
    found = dce.fit("tofts", curve + rng.normal(0, curve.max(), 600), TIME, plasma_at(TIME))
    assert found.flags & Flag.NOT_ENHANCING == 0
    assert abs(found.parameters["ktrans_per_min"] - 0.005) < 4 * found.standard_errors["ktrans_per_min"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_spoils_its_curve_only(bad):
    curves = np.tile(tissue("tofts", TIME, ktrans=0.1, ve=0.3), (3, 1))
    curves[1, 77] = bad
    found = dce.fit("tofts", curves, TIME, plasma_at(TIME))
    assert found.flags.tolist() == [0, Flag.INVALID_INPUT, 0]
    assert np.isnan(found.parameters["ve"]).tolist() == [False, True, False]
    assert np.isnan(found.rmse).tolist() == [False, True, False]


def test_ve_stops_at_one_and_says_so():
    """Uptake without return would need an endless ve (mri.md: bound it and flag it)."""
    curve = tissue("patlak", TIME, ps=0.01, vp=0.0)
    found = dce.fit("tofts", curve, TIME, plasma_at(TIME))
    assert found.parameters["ve"] == 1.0
    assert found.flags & Flag.AT_BOUND
    assert np.isnan(found.standard_errors["ve"])
    assert np.isfinite(found.standard_errors["ktrans_per_min"])


def test_a_volume_that_nothing_enters_is_unknown():
    """Vessels only: vp is right, Ktrans is zero, and ve could be anything."""
    curve = 0.1 * plasma_at(TIME) - 1e-6 * np.arange(600)
    found = dce.fit("extended_tofts", curve, TIME, plasma_at(TIME))
    assert found.parameters["vp"] == pytest.approx(0.1, abs=1e-3)
    assert found.parameters["ktrans_per_min"] == 0.0
    assert np.isnan(found.parameters["ve"])
    assert found.flags & Flag.ILL_CONDITIONED
    assert found.flags & Flag.AT_BOUND


def test_a_fit_without_enough_iterations_is_nan():
    curve = tissue("2cxm", TIME, fp=30, ps=0.1, ve=0.2, vp=0.05)
    found = dce.fit("2cxm", curve, TIME, plasma_at(TIME), max_iterations=1)
    assert found.flags == Flag.NOT_CONVERGED
    assert np.isnan(found.parameters["ve"])


def test_patlak_gives_its_slope_under_both_names():
    curve = tissue("patlak", TIME, ps=0.05, vp=0.1)
    found = dce.fit("patlak", curve, TIME, plasma_at(TIME))
    assert found.parameters["ktrans_per_min"] == found.parameters["ps_per_min"]
    assert found.units["ktrans_per_min"] == "1/min"


def test_patlak_equals_linear_least_squares(rng):
    """numpy.linalg.lstsq on the plasma curve and its trapezoidal integral."""
    plasma = plasma_at(TIME)
    area = np.concatenate([[0], np.cumsum(np.diff(TIME) * (plasma[1:] + plasma[:-1]) / 2)])
    curves = np.array([tissue("patlak", TIME, ps=ps, vp=vp) for ps in (0.02, 0.1) for vp in (0.05, 0.2)])
    curves += rng.normal(0, 0.01, curves.shape)
    expected, squares, *_ = np.linalg.lstsq(np.stack([area * 60**-1, plasma], axis=1), curves.T)
    found = dce.fit("patlak", curves, TIME, plasma)
    np.testing.assert_allclose(found.parameters["ps_per_min"], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found.parameters["vp"], expected[1], rtol=1e-9)
    np.testing.assert_allclose(found.rmse, np.sqrt(squares / TIME.size), rtol=1e-9)
    np.testing.assert_allclose(found.r_squared, 1 - squares / (TIME.size * curves.var(axis=1)), rtol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leading_shape_type_and_mask(rng, order, dtype):
    curve = tissue("extended_tofts", TIME, ktrans=0.1, ve=0.3, vp=0.05)
    volume = np.asarray((curve * rng.uniform(0.5, 2, (3, 4, 2, 1))).astype(dtype), order=order)
    mask = rng.random((3, 4, 2)) < 0.7
    found = dce.fit("extended_tofts", volume, TIME, plasma_at(TIME), mask=mask)
    for values in (*found.parameters.values(), *found.standard_errors.values(), found.rmse, found.r_squared):
        assert values.shape == (3, 4, 2)
        assert values.dtype == dtype
        assert np.array_equal(np.isfinite(values), mask)
    assert np.array_equal(found.flags, np.where(mask, 0, Flag.MASKED_OUT))
    alone = dce.fit("extended_tofts", volume[1, 2, 0], TIME, plasma_at(TIME))
    assert alone.parameters["ve"].shape == ()
    inside = tuple(np.argwhere(mask)[0])
    one = dce.fit("extended_tofts", volume[inside], TIME, plasma_at(TIME))
    assert one.parameters["ve"] == found.parameters["ve"][inside]


def test_threads_and_blocks_do_not_change_a_byte(rng):
    time = np.arange(0, 300, 5.0)
    curve = tissue("extended_tofts", time, ktrans=0.1, ve=0.3, vp=0.05)
    curves = curve + rng.normal(0, 0.05, (20_000, time.size))
    one, two = (dce.fit("extended_tofts", curves, time, plasma_at(time), workers=n) for n in (1, 2))
    tail = dce.fit("extended_tofts", curves[-7:], time, plasma_at(time))
    for name in one.parameters:
        assert one.parameters[name].tobytes() == two.parameters[name].tobytes()
        assert one.standard_errors[name].tobytes() == two.standard_errors[name].tobytes()
        assert one.parameters[name][-7:].tobytes() == tail.parameters[name].tobytes()


@pytest.mark.parametrize(
    ("model", "needed"), [("tofts", 2), ("extended_tofts", 3), ("patlak", 2), ("2cxm", 4)]
)
def test_fewer_samples_than_parameters_are_refused(model, needed):
    n = needed - 1
    with pytest.raises(ValueError, match=f"needs at least {needed} samples, found {n}"):
        dce.fit(model, np.ones(n), 30.0 * np.arange(n), np.ones(n))


def test_as_many_samples_as_parameters_have_no_standard_error():
    time = np.array([0, 30.0, 90])
    plasma = np.array([0.5, 5, 2])
    found = dce.fit("extended_tofts", np.array([0.02, 0.3, 0.4]), time, plasma)
    assert np.isfinite(found.parameters["ktrans_per_min"])
    assert np.isnan(found.standard_errors["ktrans_per_min"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "kety"}, "tofts, extended_tofts, patlak, 2cxm, 2cum"),
        ({"time_s": TIME[::-1]}, "increase"),
        ({"time_s": TIME[:-1]}, "plasma has shape"),
        ({"plasma_time_s": TIME[:-1]}, "plasma has shape"),
        ({"plasma_time_s": TIME - 30}, "plasma ends at"),
        ({"plasma_time_s": TIME[::-1]}, "increase"),
        ({"plasma": np.zeros(600)}, "nowhere above zero"),
        ({"plasma": np.where(TIME > 100, np.nan, 1)}, "not finite"),
        ({"concentration": np.ones((3, 599))}, "concentration has shape"),
        ({"concentration": np.ones((600,), complex)}, "real numbers"),
        ({"mask": np.ones((2, 2), bool)}, "mask has shape"),
        ({"fit_delay": True, "delay_bounds_s": (5, 5)}, "delay_bounds_s"),
        ({"fit_delay": True, "delay_bounds_s": (200, 250)}, "within half of the scan"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, words):
    given = {
        "model": "tofts",
        "concentration": np.ones(600),
        "time_s": TIME,
        "plasma": plasma_at(TIME),
        **change,
    }
    with pytest.raises(ValueError, match=words):
        dce.fit(**given)


@pytest.mark.parametrize(("factor", "words"), [(1 / 60, "minutes"), (1000, "milliseconds")])
def test_times_in_another_unit_are_questioned_and_can_be_confirmed(factor, words):
    curve = tissue("patlak", TIME, ps=0.05, vp=0.1)
    with pytest.raises(ImplausibleValue, match=words):
        dce.fit("patlak", curve, TIME * factor, plasma_at(TIME))
    found = dce.fit("patlak", curve, TIME * factor, plasma_at(TIME), check_time=False)
    assert found.parameters["vp"] == pytest.approx(0.1, abs=0.01)


def garbage(rng, plasma):
    """Curves that no tissue has, of sizes from 1e-12 to 1e12."""
    n = plasma.size
    curves = rng.normal(size=(12, n)) * 10 ** rng.uniform(-12, 12, (12, 1))
    curves[0], curves[1], curves[2], curves[3] = plasma, -plasma, np.cumsum(plasma), plasma**2
    curves[4], curves[5], curves[6] = 1e308, 1e-308, np.exp(-np.arange(n))
    curves[7], curves[7, n // 2] = 0.0, 5.0
    curves[8, 0] = np.nan
    return curves


@settings(max_examples=40)
@given(st.sampled_from(MODELS), st.booleans(), st.booleans(), st.integers(6, 60), st.integers(0, 2**32 - 1))
def test_whatever_comes_in_a_result_is_within_its_bounds_or_nan_with_a_reason(model, delayed, rough, n, seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.choice([0.01, 0.5, 1, 5, 30, 300], n)) + rng.uniform(-100, 100)
    plasma = dce.population_aif("parker", time - time[0], delay_s=10)
    if rough:
        plasma = np.abs(rng.normal(size=n)) * 10 ** rng.uniform(-6, 6)
    found = dce.fit(model, garbage(rng, plasma), time, plasma, fit_delay=delayed, check_time=False)
    unflagged = found.flags == 0
    assert found.flags[4] == found.flags[8] == Flag.INVALID_INPUT
    for parameter in dce_models.MODELS[model].parameters:
        values, errors = found.parameters[parameter.name], found.standard_errors[parameter.name]
        known = np.isfinite(values)
        assert known[unflagged].all()
        assert not np.isinf(values).any()
        assert (values[known] >= parameter.lower * (1 - 1e-9)).all()
        assert (values[known] <= parameter.upper * (1 + 1e-9)).all()
        assert (errors[np.isfinite(errors)] >= 0).all()
        assert np.isfinite(errors[unflagged]).all()


def test_a_constant_curve_has_no_share_that_is_explained():
    plasma = dce.population_aif("parker", TIME, delay_s=BOLUS_S)
    fit = dce.fit("extended_tofts", np.ones(TIME.size), TIME, plasma)
    assert np.isnan(fit.r_squared)
