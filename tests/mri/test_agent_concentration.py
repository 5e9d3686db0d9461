"""Concentration from changes of rates: figures of the sheet, both kinds of error, joint estimates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstest

from imgtheranostics.agents import get
from imgtheranostics.errors import ImplausibleValue, UnitMismatch
from imgtheranostics.mri.agent_concentration import from_rate_change, from_rate_changes, from_relaxation_times
from imgtheranostics.mri.agent_relaxivity import given_relaxivity
from imgtheranostics.volume import Flag

NAME = "concentration_mm"
N = 4000
FERUMOXYTOL = get("ferumoxytol").relaxivity("r2star", 1.5, medium="plasma")


def test_ferumoxytol_at_1_mm_changes_r2star_by_64_4_per_s_at_1_5_t():
    """mri.md section 6."""
    fit = from_rate_change(64.4, FERUMOXYTOL, kind="r2star")
    assert float(fit.parameters[NAME]) == pytest.approx(1.0, rel=1e-12)
    assert fit.units[NAME] == "mmol/L"
    assert fit.decisions["counts"] == "Fe"
    assert "apparent-concentration" in {caution.code for caution in fit.warnings}


def test_error_is_that_of_f12_and_its_two_parts():
    """mri.md F12: var C = (var R_post + var R_pre)/r^2 + C^2 var r/r^2."""
    fit = from_relaxation_times(0.02, 0.01, FERUMOXYTOL, kind="r2star", pre_error=0.0004, post_error=0.0002)
    change, r = 100 - 50, 64.4
    measured = np.hypot(0.0004 / 0.02**2, 0.0002 / 0.01**2) / r
    concentration = change / r
    assert float(fit.parameters[NAME]) == pytest.approx(concentration)
    assert float(fit.standard_errors[NAME]) == pytest.approx(measured)
    assert float(fit.calibration_errors[NAME]) == pytest.approx(concentration * 2.5 / 64.4)
    assert fit.calibration_relative == pytest.approx(2.5 / 64.4)
    assert float(fit.total_errors[NAME]) == pytest.approx(np.hypot(measured, concentration * 2.5 / 64.4))


def test_total_error_is_the_scatter_when_relaxivity_varies_too(rng):
    r, change = 60 + 3 * rng.normal(size=N), 120 + 5 * rng.normal(size=N)
    fit = from_rate_change(
        change, given_relaxivity(60, "r2star", uncertainty=3), kind="r2star", delta_error=5.0
    )
    assert fit.total_errors[NAME].mean() == pytest.approx((change / r).std(), rel=0.1)
    assert fit.standard_errors[NAME].mean() == pytest.approx(fit.parameters[NAME].std(), rel=0.1)


def test_t1_before_and_after_gives_gadolinium():
    fit = from_relaxation_times(1.4, 1 / (1 / 1.4 + 8.9 * 0.1), get("aguix").relaxivity("r1", 3.0), kind="r1")
    assert float(fit.parameters[NAME]) == pytest.approx(0.1)
    assert fit.calibration_relative == 0.0
    assert "relaxivity-uncertainty-unknown" in {caution.code for caution in fit.warnings}


def test_aguix_in_plasma_leaves_the_sheets_fractions():
    """mri.md section 6: .766/.587/.344/.119/.0017 at 0.5/1/2/4/12 h, by the record's half-life of 1.3 h."""
    agent = get("aguix")
    hours = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 12.0])
    left = 0.5 ** (3600 * hours / agent.half_life("plasma").seconds)
    t1 = 1 / (1 / 1.9 + 8.9 * 0.5 * left)
    fit = from_relaxation_times(1.9, t1, agent.relaxivity("r1", 3.0), kind="r1")
    fractions = fit.parameters[NAME][1:] / fit.parameters[NAME][0]
    np.testing.assert_allclose(fractions[:4], [0.766, 0.587, 0.344, 0.119], atol=5e-4)
    assert fractions[4] == pytest.approx(0.0017, abs=5e-5)


def test_concentration_counts_molecules_or_atoms_as_the_relaxivity_does():
    per_gd = from_rate_change(237.0, get("gd3n-c80-peg").relaxivity("r1", 2.4, per="Gd"), kind="r1")
    per_molecule = from_rate_change(
        237.0, get("gd3n-c80-peg").relaxivity("r1", 2.4, per="molecule"), kind="r1"
    )
    assert float(per_gd.parameters[NAME]) == pytest.approx(3 * float(per_molecule.parameters[NAME]))
    assert (per_gd.decisions["counts"], per_molecule.decisions["counts"]) == ("Gd", "molecule")


def test_negative_changes_stay_negative_and_bad_ones_are_flagged():
    fit = from_rate_change([-4.5, np.nan, 4.5], 4.5, kind="r1", delta_error=0.1, mask=[True, True, False])
    np.testing.assert_array_equal(fit.parameters[NAME], [-1, np.nan, np.nan])
    np.testing.assert_array_equal(fit.flags, [0, Flag.INVALID_INPUT, Flag.MASKED_OUT])
    times = from_relaxation_times([0.0, 1.0], [1.0, 0.5], 4.5, kind="r1", mask=[True, False])
    np.testing.assert_array_equal(times.flags, [Flag.INVALID_INPUT, Flag.MASKED_OUT])


@given(st.floats(0.01, 20), st.floats(0.5, 500), st.floats(0.05, 5))
def test_round_trip_of_any_concentration(concentration, r, t_before):
    after = 1 / (1 / t_before + r * concentration)
    fit = from_relaxation_times(t_before, after, r, kind="r2")
    assert float(fit.parameters[NAME]) == pytest.approx(concentration, rel=1e-9)


def test_a_relaxivity_of_another_rate_is_refused():
    with pytest.raises(UnitMismatch, match="kind"):
        from_rate_change(1.0, FERUMOXYTOL, kind="r2")
    with pytest.raises(ImplausibleValue):
        from_rate_change(1.0, -3.0, kind="r2")


def dual(rng, concentration, r=(10.0, 62.0, 57.0), errors=(0.4, 3.0, 4.0)):
    kinds = ("r1", "r2", "r2star")
    changes = {
        kind: (value * concentration + error * rng.normal(size=N), error)
        for kind, value, error in zip(kinds, r, errors, strict=True)
    }
    return changes, dict(zip(kinds, r, strict=True))


@pytest.mark.parametrize("concentration", [0.0, 0.3, 2.0])
def test_joint_estimate_is_unbiased_with_the_right_error_and_misfit(rng, concentration):
    """USPION of mri.md section 6: r1 10, r2 62, r2* 57."""
    changes, r = dual(rng, concentration)
    fit = from_rate_changes(changes, r)
    value, error = fit.parameters[NAME], fit.standard_errors[NAME]
    assert value.mean() == pytest.approx(concentration, abs=4 * value.std() / np.sqrt(N))
    assert error.mean() == pytest.approx(value.std(), rel=0.1)
    assert kstest(fit.parameters["chi2"], chi2_distribution(2).cdf).pvalue > 1e-3
    np.testing.assert_allclose(
        fit.parameters["consistency"], chi2_distribution(2).sf(fit.parameters["chi2"]), rtol=1e-9
    )


def test_joint_estimate_of_two_is_better_than_either(rng):
    changes, r = dual(rng, 1.0)
    del changes["r2"], r["r2"]
    joint = from_rate_changes(changes, r)
    for kind in ("r1", "r2star"):
        alone = from_rate_change(changes[kind][0], r[kind], kind=kind, delta_error=changes[kind][1])
        assert joint.standard_errors[NAME].mean() < alone.standard_errors[NAME].mean()
    np.testing.assert_allclose(
        joint.parameters["consistency"], chi2_distribution(1).sf(joint.parameters["chi2"]), rtol=1e-9
    )


def test_contradicting_rates_are_seen_in_the_consistency(rng):
    changes, r = dual(rng, 1.0)
    changes["r1"] = (changes["r1"][0] * 0.3, 0.4)
    assert np.median(from_rate_changes(changes, r).parameters["consistency"]) < 1e-6


def test_joint_calibration_error_is_the_scatter_of_varied_relaxivities(rng):
    spread = (0.5, 4.0)
    changes = {"r1": (10.0, 0.4), "r2star": (57.0, 4.0)}
    used = {
        "r1": given_relaxivity(10, "r1", uncertainty=spread[0]),
        "r2star": given_relaxivity(57, "r2star", uncertainty=spread[1]),
    }
    fit = from_rate_changes(changes, used)
    repeats = [
        float(
            from_rate_changes(changes, {"r1": 10 + spread[0] * a, "r2star": 57 + spread[1] * b}).parameters[
                NAME
            ]
        )
        for a, b in rng.normal(size=(2000, 2))
    ]
    assert float(fit.calibration_errors[NAME]) == pytest.approx(np.std(repeats), rel=0.1)
    assert fit.calibration_relative == pytest.approx(float(fit.calibration_errors[NAME]), rel=1e-6)


def test_misfit_allows_for_uncertain_relaxivities(rng):
    """With relaxivities that vary between repeats as stated, chi squared keeps its distribution."""
    r1, r2 = 10 + 0.5 * rng.normal(size=N), 57 + 4 * rng.normal(size=N)
    changes = {
        "r1": (2 * r1 + 0.4 * rng.normal(size=N), 0.4),
        "r2star": (2 * r2 + 4 * rng.normal(size=N), 4.0),
    }
    used = {
        "r1": given_relaxivity(10, "r1", uncertainty=0.5),
        "r2star": given_relaxivity(57, "r2star", uncertainty=4.0),
    }
    fit = from_rate_changes(changes, used)
    assert fit.parameters["chi2"].mean() == pytest.approx(1.0, rel=0.1)


def test_joint_estimate_needs_every_change_and_a_positive_error():
    changes = {"r1": ([1.0, np.nan, 1.0, 1.0], [1, 1, 0, np.nan]), "r2": (np.ones(4), np.ones(4))}
    fit = from_rate_changes(changes, {"r1": 4.0, "r2": 5.0})
    assert np.isfinite(fit.parameters[NAME][0])
    assert np.isnan(fit.parameters[NAME][1:]).all()
    assert (fit.flags[1:] == Flag.INVALID_INPUT).all()


@pytest.mark.parametrize(
    ("changes", "relaxivities"),
    [
        ({"r1": (1.0, 1.0)}, {"r1": 4.0}),
        ({"r1": (1.0, 1.0), "r2": (1.0, 1.0)}, {"r1": 4.0, "r2star": 5.0}),
    ],
)
def test_joint_estimate_of_one_or_of_different_rates_is_refused(changes, relaxivities):
    with pytest.raises(ValueError, match="same rates"):
        from_rate_changes(changes, relaxivities)


def test_joint_estimate_of_different_counts_is_refused():
    with pytest.raises(UnitMismatch, match="counts"):
        from_rate_changes(
            {"r1": (1.0, 1.0), "r2": (1.0, 1.0)},
            {"r1": given_relaxivity(4, "r1", per="Gd"), "r2": given_relaxivity(5, "r2", per="Fe")},
        )
