"""Curves without exchange: which fits fall back to flow and plasma, and which must not.

The truth is that of the compartments' differential equations, solved by SciPy on a grid of 0.025 s.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.signal import lfilter

from imgtheranostics.mri import dce, dce_choice, dce_models
from imgtheranostics.mri.model_curves import tracer
from imgtheranostics.volume import Flag

TIME = np.arange(0, 300, 0.5)
FINE_S = 0.025
NO_EXCHANGE = Flag.AT_BOUND | Flag.ILL_CONDITIONED


def plasma_at(time, delay_s=30.0):
    return dce.population_aif("parker", time, delay_s=delay_s) / 0.55


def compartment(flow_per_s, volume, inflow):
    """Outflow concentration of a mixed compartment: v dc/dt = F (c_in - c), trapezoidal rule."""
    x = 0.5 * FINE_S * flow_per_s / volume
    return lfilter([x, x], [1 + x, x - 1], inflow)


def one_compartment(fp, vp, *, delay_s=0.0, step_s=0.5, end_s=300.0):
    """Plasma volume vp at a flow in mL/100mL/min, sampled every `step_s`."""
    fine = np.arange(0, end_s, FINE_S)
    return vp * compartment(fp / 6000, vp, plasma_at(fine, 30 + delay_s))[:: round(step_s / FINE_S)]


def two_compartments(fp, ps, ve, vp, *, delay_s=0.0):
    """Plasma and interstitium by the trapezoidal rule, step by step."""
    fine = np.arange(0, 300, FINE_S)
    flow, exchange = fp / 6000, ps / 60
    rates = np.array([[-(flow + exchange) / vp, exchange / vp], [exchange / ve, -exchange / ve]])
    before, after = np.eye(2) + 0.5 * FINE_S * rates, np.eye(2) - 0.5 * FINE_S * rates
    values, vectors = np.linalg.eig(np.linalg.solve(after, before))
    inflow = plasma_at(fine, 30 + delay_s) * flow / vp
    steps = np.concatenate([[0.0], 0.5 * FINE_S * (inflow[1:] + inflow[:-1])])
    weights = np.linalg.solve(vectors, np.linalg.solve(after, np.array([1.0, 0.0])))
    states = [
        weight * lfilter([1.0], [1.0, -value], steps) for weight, value in zip(weights, values, strict=True)
    ]
    return (np.array([vp, ve]) @ vectors @ np.array(states))[:: round(0.5 / FINE_S)]


@pytest.mark.parametrize("delay_s", [None, 0.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.005])
def test_exchange_model_of_one_compartment_gives_its_flow_and_volume(rng, noise, delay_s):
    """Tolerances of mri.md, section 6; without the choice PS was 4 to 10 per min, or nothing settled."""
    grid = np.array(list(itertools.product((5.0, 25.0, 40.0), (0.02, 0.05, 0.1))))
    curves = np.array([one_compartment(fp, vp, delay_s=delay_s or 0.0) for fp, vp in grid])
    curves = curves + rng.normal(0, noise, (8 if noise > 0 else 1, *curves.shape))
    found = dce.fit("2cxm", curves, TIME, plasma_at(TIME), fit_delay=delay_s is not None)
    sealed = found.flags == NO_EXCHANGE
    # One noisy curve in a thousand passes the F test; that it is one of these 72 happens.
    assert np.count_nonzero(~sealed) <= (1 if noise > 0 else 0)
    fp, vp = (np.broadcast_to(column, sealed.shape)[sealed] for column in grid.T)
    values = {name: map_[sealed] for name, map_ in found.parameters.items()}
    errors = {name: map_[sealed] for name, map_ in found.standard_errors.items()}
    assert (np.abs(values["fp_ml_100ml_min"] - fp) <= 5 + 0.1 * fp).all()
    np.testing.assert_allclose(values["vp"], vp, atol=0.025)
    assert (values["ps_per_min"] == 0.0).all()
    assert (values["ktrans_per_min"] == 0.0).all()
    assert np.isnan(values["ve"]).all()
    for name in ("ps_per_min", "ktrans_per_min", "ve"):
        assert np.isnan(errors[name]).all()
    assert np.isfinite(errors["fp_ml_100ml_min"]).all()
    assert np.isfinite(errors["vp"]).all()
    if delay_s is not None:
        np.testing.assert_allclose(values["delay_s"], delay_s, atol=1.0)


@pytest.mark.parametrize("fit_delay", [False, True])
def test_exchange_that_can_be_seen_stands(rng, fit_delay):
    """The grid of the sheet with PS, and PS down to 0.005 per min, at 0.001 mmol/L."""
    for fp, ps, (ve, vp) in itertools.product((5, 25, 40), (0.005, 0.05, 0.15), ((0.1, 0.02), (0.2, 0.05))):
        curve = two_compartments(fp, ps, ve, vp)
        curves = curve + rng.normal(0, 0.001, (8, curve.size)) * np.arange(8)[:, np.newaxis].clip(max=1)
        found = dce.fit("2cxm", curves, TIME, plasma_at(TIME), fit_delay=fit_delay)
        # Four standard errors: PS three times the flow is known to a tenth at best.
        error = 4 * np.nan_to_num(found.standard_errors["ps_per_min"]) + 0.005 + 0.1 * ps
        assert (np.abs(found.parameters["ps_per_min"] - ps) <= error).all()
        assert (found.parameters["ps_per_min"] > 0).all()
        assert np.isfinite(found.parameters["ve"]).all()


def test_standard_errors_without_exchange_are_the_scatter_of_500_repeats(rng):
    """Their scatter is known to 3 %."""
    curve = one_compartment(25.0, 0.08)
    found = dce.fit("2cxm", curve + rng.normal(0, 0.02, (500, curve.size)), TIME, plasma_at(TIME))
    sealed = found.flags == NO_EXCHANGE
    # The test lets one in a thousand pass; ve, which only exists with exchange, makes it a few more.
    assert np.count_nonzero(~sealed) <= 6
    for name in ("fp_ml_100ml_min", "vp"):
        scatter = found.parameters[name][sealed].std(ddof=1)
        assert found.standard_errors[name][sealed].mean() == pytest.approx(scatter, rel=0.12)


@pytest.mark.parametrize("fit_delay", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02])
def test_extended_tofts_of_plasma_alone_gives_its_volume(rng, noise, fit_delay):
    """Without the choice a tenth of such curves had a Ktrans above 1 per min."""
    time, fine = np.arange(0, 300, 3.0), np.arange(0, 300, 0.25)
    curves = 0.06 * plasma_at(time) + rng.normal(0, noise, (200, time.size))
    found = dce.fit("extended_tofts", curves, time, plasma_at(fine), plasma_time_s=fine, fit_delay=fit_delay)
    sealed = found.flags == NO_EXCHANGE
    assert np.count_nonzero(~sealed) <= 4
    assert (found.parameters["ktrans_per_min"][sealed] == 0.0).all()
    assert np.isnan(found.parameters["ve"][sealed]).all()
    np.testing.assert_allclose(found.parameters["vp"][sealed], 0.06, atol=1e-9 + 0.3 * noise)
    if noise > 0 and not fit_delay:
        # One weight: its error is that of a straight line through the origin.
        expected = noise / np.sqrt((plasma_at(time) ** 2).sum())
        assert found.standard_errors["vp"][sealed].mean() == pytest.approx(expected, rel=0.05)
        assert found.parameters["vp"][sealed].std(ddof=1) == pytest.approx(expected, rel=0.2)


def test_weak_transfer_in_extended_tofts_stands_where_it_shows(rng):
    """Ktrans of 0.02 per min at 0.02 mmol/L and 60 samples lies ten standard errors above zero."""
    time, fine = np.arange(0, 300, 5.0), np.arange(0, 300, FINE_S)
    plasma = plasma_at(fine)
    leaked = 0.2 * compartment(0.02 / 60, 0.2, plasma)
    curves = (leaked + 0.05 * plasma)[:: round(5 / FINE_S)] + rng.normal(0, 0.02, (300, time.size))
    found = dce.fit("extended_tofts", curves, time, plasma, plasma_time_s=fine)
    assert np.isfinite(found.parameters["ve"]).all()
    assert found.parameters["ktrans_per_min"].mean() == pytest.approx(0.02, rel=0.03)


def test_interstitium_that_fills_as_fast_as_plasma_counts_with_it():
    """PS twenty times the flow: one compartment of both volumes, and no word on PS."""
    found = dce.fit("2cxm", one_compartment(10.0, 0.12), TIME, plasma_at(TIME))
    mixed = dce.fit("2cxm", two_compartments(10.0, 200.0, 0.1, 0.02), TIME, plasma_at(TIME))
    assert mixed.flags == found.flags == NO_EXCHANGE
    assert mixed.parameters["vp"] == pytest.approx(0.12, rel=0.01)
    assert mixed.parameters["fp_ml_100ml_min"] == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize("model", ["2cxm", "2cum"])
def test_ktrans_of_flow_and_exchange(rng, model):
    """Fp PS/(Fp + PS), and a standard error that is the scatter of 400 repeats (known to 4 %)."""
    curve = two_compartments(20.0, 0.15, 0.2 if model == "2cxm" else 1e6, 0.05)
    curves = curve + rng.normal(0, 0.005, (400, curve.size))
    found = dce.fit(model, curves, TIME, plasma_at(TIME))
    fp, ps = found.parameters["fp_ml_100ml_min"] / 100, found.parameters["ps_per_min"]
    np.testing.assert_allclose(found.parameters["ktrans_per_min"], fp * ps / (fp + ps), rtol=1e-12)
    scatter = found.parameters["ktrans_per_min"].std(ddof=1)
    assert found.standard_errors["ktrans_per_min"].mean() == pytest.approx(scatter, rel=0.15)
    if model == "2cum":
        # What flows in less is taken up more: without their covariance the error would be another.
        by_fp = (ps / (fp + ps)) ** 2 * found.standard_errors["fp_ml_100ml_min"] / 100
        by_ps = (fp / (fp + ps)) ** 2 * found.standard_errors["ps_per_min"]
        assert np.hypot(by_fp, by_ps).mean() > 5 * scatter
    assert found.units["ktrans_per_min"] == "1/min"


def test_the_choice_holds_whatever_the_threads_and_the_mask(rng):
    curves = one_compartment(25.0, 0.05) + rng.normal(0, 0.005, (40, TIME.size))
    curves[::2] = two_compartments(25.0, 0.1, 0.2, 0.05) + rng.normal(0, 0.005, (20, TIME.size))
    one, two = (dce.fit("2cxm", curves, TIME, plasma_at(TIME), workers=n) for n in (1, 2))
    some = dce.fit("2cxm", curves, TIME, plasma_at(TIME), mask=np.arange(40) > 30)
    for name, values in one.parameters.items():
        assert values.tobytes() == two.parameters[name].tobytes()
        assert values[31:].tobytes() == some.parameters[name][31:].tobytes()
    assert np.array_equal(one.flags == NO_EXCHANGE, np.arange(40) % 2 == 1)


def test_as_many_samples_as_parameters_leave_no_choice():
    """No freedom is left for the F test."""
    time = np.array([0, 30.0, 60, 90, 150])
    plasma = np.array([0.0, 0.5, 5, 2, 1])
    found = dce.fit("extended_tofts", 0.1 * plasma[[0, 2, 4]], time[[0, 2, 4]], plasma[[0, 2, 4]])
    assert not np.isfinite(found.standard_errors["vp"])
    enough = dce.fit("extended_tofts", 0.1 * plasma, time, plasma)
    assert enough.flags == NO_EXCHANGE


@pytest.mark.parametrize("name", ["parker", "georgiou", "mcgrath_rodent"])
@pytest.mark.parametrize("step_s", [0.5, 5.0, 20.0])
def test_no_exponential_leaves_less_than_the_table_promises(rng, name, step_s):
    """Against the best of 400 rates, by SciPy's filter, for such curves and for those of two compartments."""
    time = np.arange(0, 600, step_s)
    plasma = dce.population_aif(name, time, delay_s=30)
    rates = np.geomspace(1e-6, 30, 400)
    x = rates * step_s
    older = (1 - np.exp(-x) * (1 + x)) / x**2
    newer = (x - 1 + np.exp(-x)) / x**2
    rows = [lfilter([n, o], [1, -np.exp(-y)], plasma) for n, o, y in zip(newer, older, x, strict=True)]
    unit = np.array(rows) / np.linalg.norm(rows, axis=1)[:, np.newaxis]
    mixed = unit[rng.integers(0, 400, 100)] + rng.uniform(0, 1, (100, 1)) * unit[rng.integers(0, 400, 100)]
    curves = np.concatenate([unit, mixed, mixed + rng.normal(0, 0.3 / np.sqrt(time.size), mixed.shape)])
    model = dce_models.SEALED["2cxm"]
    places = dce_models.search(model, time, dce_models.Inflow(time, plasma, True), None)
    task = dce_choice.Task(model, model.parameters, places, False)
    squares = (curves**2).sum(axis=1)
    best = squares - ((curves @ unit.T) ** 2).max(axis=1)
    least = dce_choice.left_at_least(task, curves, squares)
    assert (least <= best + 1e-9).all()
    # And it is of use: noise alone is told from what an exponential explains.
    assert (least[-100:] > 0.3 * best[-100:]).all()


def test_least_ratio_is_that_of_a_table():
    """F(0.999) with 2 and 60, and with 2 and 120 degrees of freedom, is 7.77 and 7.32."""
    assert dce_choice.least_ratio(2, 60) == pytest.approx(7.77, abs=0.005)
    assert dce_choice.least_ratio(2, 120) == pytest.approx(7.32, abs=0.005)


def test_a_curve_is_drawn_where_nothing_enters_the_unknown_volume():
    found = dce.fit("extended_tofts", 0.1 * plasma_at(TIME), TIME, plasma_at(TIME))
    values = {name: float(value) for name, value in found.parameters.items()}
    assert np.isnan(values["ve"])
    drawn = tracer("extended_tofts", TIME, TIME, plasma_at(TIME), values)
    np.testing.assert_allclose(drawn, 0.1 * plasma_at(TIME), atol=1e-12)
