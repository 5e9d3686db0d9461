"""Compartment models against differential equations that SciPy solves, and against measured curves."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.nuclear import kinetics
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
END = np.cumsum(DURATION)
START = END - DURATION
TIME = np.unique(np.r_[np.arange(0.0, 180.0, 2.0), np.arange(180.0, END[-1] + 1, 30.0)])
PLASMA = 100.0 * (TIME / 30) * np.exp(-TIME / 40) + 20.0 * (np.exp(-TIME / 2500) - np.exp(-TIME / 40))
BLOOD = PLASMA * (0.6 + 0.3 * TIME / TIME[-1])
GIVEN = {"frame_start_s": START, "frame_end_s": END, "input_time_s": TIME, "plasma": PLASMA}

TRUTH = {
    "one_tissue": {"K1": 0.1, "k2": 0.08},
    "two_tissue_irreversible": {"K1": 0.09, "k2": 0.15, "k3": 0.06},
    "two_tissue": {"K1": 0.15, "k2": 0.12, "k3": 0.06, "k4": 0.03},
}


def simulated(rates, vb, delay, start=START, end=END, time=TIME, plasma=PLASMA, blood=BLOOD):
    """Frame averages by SciPy's ODE solver: compartments, and the integral of what the scanner sees."""
    k1, k2, k3, k4 = (rates.get(name, 0.0) / 60 for name in ("K1", "k2", "k3", "k4"))
    places = np.unique(np.r_[start, end])

    def slope(t, y):
        cp = np.interp(t - delay, time, plasma, left=0.0)
        cb = np.interp(t - delay, time, blood, left=0.0)
        first, second, _ = y
        return [
            k1 * cp - (k2 + k3) * first + k4 * second,
            k3 * first - k4 * second,
            (1 - vb) * (first + second) + vb * cb,
        ]

    corners = time + delay
    corners = np.unique(np.r_[places, corners[(corners > places[0]) & (corners < places[-1])]])
    state, integral = np.zeros(3), {corners[0]: 0.0}
    for one, two in itertools.pairwise(corners):
        state = solve_ivp(slope, (one, two), state, rtol=1e-9, atol=1e-9, method="RK45").y[:, -1]
        integral[two] = state[2]
    return np.array([(integral[b] - integral[a]) / (b - a) for a, b in zip(start, end, strict=True)])


@pytest.mark.parametrize("model", sorted(TRUTH))
@pytest.mark.parametrize(("vb", "delay"), [(0.05, 0.0), (0.03, 7.0)])
def test_parameters_are_recovered_to_a_thousandth(model, vb, delay):
    rates = TRUTH[model]
    found = kinetics.fit(model, simulated(rates, vb, delay), **GIVEN, whole_blood=BLOOD)
    expected = {**rates, "vB": vb}
    if "k4" in rates or model == "one_tissue":
        expected["VT"] = rates["K1"] / rates["k2"] * (1 + rates.get("k3", 0) / rates.get("k4", 1))
    if "k3" in rates:
        expected["Ki"] = rates["K1"] * rates["k3"] / (rates["k2"] + rates["k3"])
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-3), name
    assert found.parameters["delay_s"] == pytest.approx(delay, abs=0.01)
    assert set(found.parameters) == {*expected, "delay_s"}
    assert found.flags == 0
    assert found.r_squared > 0.999999


def test_blood_fraction_and_delay_may_be_known():
    curve = simulated(TRUTH["two_tissue"], 0.05, 4.0)
    found = kinetics.fit("two_tissue", curve, **GIVEN, whole_blood=BLOOD, blood_fraction=0.05, delay_s=4.0)
    for name, value in TRUTH["two_tissue"].items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-3)
    assert found.parameters["vB"] == 0.05
    assert found.parameters["delay_s"] == 4.0
    assert np.isnan(found.standard_errors["vB"])
    assert found.flags == 0


@pytest.mark.parametrize(("model", "noise"), [("one_tissue", 0.2), ("two_tissue", 0.05)])
def test_standard_errors_are_the_scatter_of_repeats(model, noise, rng):
    curve = simulated(TRUTH[model], 0.05, 0.0)
    noisy = curve + rng.normal(0, noise, (600, curve.size))
    found = kinetics.fit(model, noisy, **GIVEN, whole_blood=BLOOD)
    assert not found.flags.any()
    for name, values in found.parameters.items():
        assert found.standard_errors[name].mean() == pytest.approx(values.std(ddof=1), rel=0.12), name


def test_weights_say_which_frames_count():
    curve = simulated(TRUTH["one_tissue"], 0.05, 0.0)
    spoiled, weights = curve.copy(), np.ones(curve.size)
    spoiled[[3, 20]], weights[[3, 20]] = [np.nan, 1e6], 0.0
    found = kinetics.fit("one_tissue", spoiled, **GIVEN, whole_blood=BLOOD, weights=weights)
    assert found.parameters["K1"] == pytest.approx(0.1, rel=1e-3)
    again = kinetics.fit("one_tissue", spoiled, **GIVEN, whole_blood=BLOOD, weights=7 * weights)
    assert again.standard_errors["K1"] == pytest.approx(found.standard_errors["K1"], rel=1e-6)


def test_values_that_are_no_numbers_fail_alone():
    curve = simulated(TRUTH["one_tissue"], 0.05, 0.0)
    curves = np.stack([curve, curve, np.zeros_like(curve), curve, -curve]).astype(np.float32)
    curves[1, 5] = np.nan
    mask = np.array([True, True, True, False, True])
    found = kinetics.fit("one_tissue", curves, **GIVEN, whole_blood=BLOOD, mask=mask, workers=1)
    assert found.flags[0] == 0
    assert found.flags[1] == Flag.INVALID_INPUT
    assert found.flags[2] & Flag.NOT_ENHANCING
    assert found.flags[3] == Flag.MASKED_OUT
    assert found.flags[4] & Flag.NOT_ENHANCING
    np.testing.assert_allclose(found.parameters["K1"][[2, 4]], 0.0, atol=1e-9)
    assert np.isnan(found.parameters["k2"][1:]).all()
    assert found.parameters["k2"].dtype == np.float32


def test_an_exchange_at_its_bound_is_flagged():
    """Blood alone: K1 is 0, and nothing is known of k2."""
    found = kinetics.fit("one_tissue", simulated({}, 0.2, 0.0), **GIVEN, whole_blood=BLOOD, delay_s=0.0)
    assert found.flags & Flag.AT_BOUND
    assert found.parameters["vB"] == pytest.approx(0.2, rel=1e-6)
    assert np.isnan(found.parameters["VT"])


def measured(folder, pet):
    """Curves, frames and blood of one scan of the public PBR28 set."""

    def table(name, columns):
        with (folder / name).open() as file:
            rows = [row for row in csv.DictReader(file) if row["PET"] == pet]
        return [np.array([float(row[column]) for row in rows]) for column in columns]

    tissue = table("pbr28_tacdata.csv", ("FC", "THA", "Weights", "StartTime", "Duration"))
    return tissue, table("pbr28_blooddata.csv", ("Time", "Cpl_metabcorr", "Cbl_dispcorr"))


def by_differential_equation(curve, weights, start, end, blood_data, delay, guess):
    """A second solver: Runge-Kutta steps of 0.5 and 5 s, frame integrals as a third state, SciPy's fit."""
    time, plasma, blood = blood_data
    grid = np.unique(np.r_[start, end, np.arange(0.0, 120.0, 0.5), np.arange(120.0, end[-1], 5.0)])
    middle = 0.5 * (grid[1:] + grid[:-1])
    inputs = [
        np.stack([np.interp(at - delay, time, values, left=0.0) for values in (plasma, blood)])
        for at in (grid[:-1], middle, grid[1:])
    ]
    places = np.searchsorted(grid, start), np.searchsorted(grid, end)

    def model(p):
        k1, k2, k3, k4, vb = p[0] / 60, p[1] / 60, p[2] / 60, p[3] / 60, p[4]
        system = np.array([[-(k2 + k3), k4, 0.0], [k3, -k4, 0.0], [1 - vb, 1 - vb, 0.0]])
        state, states = np.zeros(3), np.zeros((grid.size, 3))
        for i, h in enumerate(np.diff(grid)):
            drive = [np.array([k1 * each[0, i], 0.0, vb * each[1, i]]) for each in inputs]
            one = system @ state + drive[0]
            two = system @ (state + 0.5 * h * one) + drive[1]
            three = system @ (state + 0.5 * h * two) + drive[1]
            four = system @ (state + h * three) + drive[2]
            state = state + h / 6 * (one + 2 * two + 2 * three + four)
            states[i + 1] = state
        seen = states[places[1], 2] - states[places[0], 2]
        return seen / np.where(end > start, end - start, 1.0)

    used = (weights > 0) & (end > start)
    root = np.sqrt(weights[used])
    found = least_squares(
        lambda p: root * (model(p)[used] - curve[used]), guess, bounds=(0, [5, 5, 5, 2, 1]), x_scale="jac"
    )
    k1, k2, k3, k4, _ = found.x
    return k1 / k2 * (1 + k3 / k4), 2 * found.cost


@pytest.mark.parametrize("pet", ["rwrd_1", "xehk_1"])
def test_measured_curves_agree_with_a_second_solver(public_data, pet):
    """Issue: 2TC volumes of distribution equal an independent ODE solver's to 0.5 %."""
    (curve, _, weights, start, duration), blood = measured(public_data("pet/pbr28"), pet)
    found = kinetics.fit(
        "two_tissue",
        curve,
        frame_start_s=start,
        frame_end_s=start + duration,
        input_time_s=blood[0],
        plasma=blood[1],
        whole_blood=blood[2],
        weights=weights,
    )
    p = {name: float(value) for name, value in found.parameters.items()}
    guess = np.clip([1.1 * p["K1"], 0.9 * p["k2"], 1.1 * p["k3"], 1.1 * p["k4"], p["vB"]], 1e-3, 0.9)
    expected, _ = by_differential_equation(
        curve, weights, start, start + duration, blood, p["delay_s"], guess
    )
    assert p["VT"] == pytest.approx(expected, rel=5e-3)


def test_measured_curves_have_the_published_volumes(public_data):
    """Guide values of pet.md section 6, +-2 %: frontal cortex 3.86 (rwrd_1) and 2.19 (cgyu_1)."""
    for pet, volume in (("rwrd_1", 3.86), ("cgyu_1", 2.19)):
        (curve, thalamus, weights, start, duration), (time, plasma, blood) = measured(
            public_data("pet/pbr28"), pet
        )
        found = kinetics.fit(
            "two_tissue",
            [curve, thalamus],
            frame_start_s=start,
            frame_end_s=start + duration,
            input_time_s=time,
            plasma=plasma,
            whole_blood=blood,
            weights=weights,
        )
        assert found.parameters["VT"][0] == pytest.approx(volume, rel=0.02)
        assert 0.025 < found.parameters["vB"][0] < 0.045
        assert found.parameters["VT"][1] > found.parameters["VT"][0]


ONE = np.ones(START.size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_end_s": DURATION}, "ends before it starts"),
        ({"frame_start_s": START[::-1], "frame_end_s": END[::-1]}, "increase"),
        ({"frame_start_s": START[1:]}, "one time per frame"),
        ({"weights": np.where(np.arange(START.size) < 3, 1.0, 0.0)}, "needs at least 4 frames, found 3"),
        ({"weights": -ONE}, "not negative"),
        ({"input_time_s": TIME[::-1]}, "increase"),
        ({"plasma": PLASMA[1:]}, "one value per time"),
        ({"whole_blood": np.full(TIME.size, np.nan)}, "finite"),
        ({"delay_s": 1e9}, "half of the scan"),
    ],
)
def test_usage_errors(change, message):
    with pytest.raises(ValueError, match=message):
        kinetics.fit("one_tissue", ONE, **{**GIVEN, **change})


def test_unknown_model():
    with pytest.raises(ValueError, match="unknown model"):
        kinetics.fit("three_tissue", ONE, **GIVEN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_time_s": 0.5 * TIME}, "do not cover the scan"),
        ({"input_time_s": TIME + 120, "plasma": PLASMA + 10}, "do not cover the scan"),
        ({"plasma": -PLASMA}, "nowhere above zero"),
        ({"whole_blood": BLOOD - 20}, "negative"),
        ({"frame_start_s": START / 60, "frame_end_s": END / 60}, "minutes"),
        ({"blood_fraction": 5.0}, "percent"),
    ],
)
def test_implausible_input_is_refused(change, message):
    with pytest.raises(ImplausibleValue, match=message):
        kinetics.fit("one_tissue", ONE, **{**GIVEN, **change})
