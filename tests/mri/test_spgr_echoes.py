"""One concentration from gradient echoes before and after: both sides of the sign flip, errors, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.agents import get
from imgtheranostics.mri.agent_relaxivity import given_relaxivity
from imgtheranostics.mri.spgr_echoes import from_spgr_echoes
from imgtheranostics.volume import Flag

NAME = "concentration_mm"
N = 3000
PROTOCOL = {"flip_angle_deg": 15.0, "repetition_time_s": 0.008}
ECHOES = np.array([0.002, 0.006, 0.010, 0.014])
USPION = get("uspion")


def echoes(concentration, n=N):
    """Magnitudes at each echo by mri.md F1: T1 1.4 s and T2* 50 ms before the agent."""
    angle, left = np.deg2rad(15.0), np.exp(-0.008 * (1 / 1.4 + 10.0 * concentration))
    steady = 1000 * np.sin(angle) * (1 - left) / (1 - left * np.cos(angle))
    return np.tile(steady * np.exp(-ECHOES * (20.0 + 57.0 * concentration)), (n, 1))


def joint(pre, post, **options):
    r1, r2star = (USPION.relaxivity(kind, 3.0) for kind in ("r1", "r2star"))
    return from_spgr_echoes(
        pre, post, r1, r2star, **{"echo_time_s": ECHOES, "t1_s": 1.4, **PROTOCOL, **options}
    )


@pytest.mark.parametrize("concentration", [0.0, 0.05, 0.3, 1.0, 3.0, 6.0])
def test_joint_fit_is_right_on_both_sides_of_the_sign_flip(concentration):
    """mri.md section 6, dual-contrast vials: r1 10, r2* 57; noise-free to 0.5 %, here to 1e-6."""
    fit = joint(echoes(0.0, 1), echoes(concentration, 1))
    assert fit.parameters[NAME][0] == pytest.approx(concentration, rel=1e-6, abs=1e-9)
    assert fit.flags[0] == 0


def test_the_sign_of_the_change_flips_between_these_echoes():
    """What makes the case above one: at 3 mM the first echo brightens, the last darkens."""
    change = echoes(3.0, 1)[0] - echoes(0.0, 1)[0]
    assert change[0] > 0 > change[-1]


@pytest.mark.parametrize("concentration", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("noise_sd", [None, 0.4])
def test_joint_errors_are_the_scatter_of_repeats(rng, concentration, noise_sd):
    noise = 0.4 * rng.normal(size=(2, N, 4))
    fit = joint(echoes(0.0) + noise[0], echoes(concentration) + noise[1], noise_sd=noise_sd)
    value = fit.parameters[NAME]
    assert value.mean() == pytest.approx(concentration, abs=5 * value.std() / np.sqrt(N))
    assert fit.standard_errors[NAME].mean() == pytest.approx(value.std(), rel=0.1)
    if noise_sd is not None:
        assert fit.parameters["chi2"].mean() == pytest.approx(3.0, rel=0.1)
        assert fit.rmse.mean() == pytest.approx(0.4 * np.sqrt(3 / 4), rel=0.1)


def test_joint_error_contains_that_of_t1(rng):
    noise = 0.4 * rng.normal(size=(2, N, 4))
    t1 = 1.4 + 0.05 * rng.normal(size=N)
    fit = joint(echoes(0.0) + noise[0], echoes(0.1) + noise[1], noise_sd=0.4, t1_s=t1, t1_error=0.05)
    assert fit.standard_errors[NAME].mean() == pytest.approx(fit.parameters[NAME].std(), rel=0.1)


def test_joint_calibration_error_is_what_one_standard_uncertainty_of_each_relaxivity_makes():
    pre, post = echoes(0.0, 1), echoes(0.5, 1)

    def run(r1, r2star):
        return from_spgr_echoes(pre, post, r1, r2star, echo_time_s=ECHOES, t1_s=1.4, **PROTOCOL)

    fit = run(given_relaxivity(10, "r1", uncertainty=0.02), given_relaxivity(57, "r2star", uncertainty=0.2))
    by_r1 = run(10.02, 57.0).parameters[NAME] - run(9.98, 57.0).parameters[NAME]
    by_r2star = run(10.0, 57.2).parameters[NAME] - run(10.0, 56.8).parameters[NAME]
    np.testing.assert_allclose(fit.calibration_errors[NAME], np.hypot(by_r1, by_r2star) / 2, rtol=1e-3)


def test_joint_fit_flags_what_it_cannot_use():
    pre, post = np.array(echoes(0.0, 4)), np.array(echoes(0.1, 4))
    pre[1, 0], post[2, 1] = 0.0, np.inf
    fit = joint(pre, post, mask=[True, True, True, False])
    np.testing.assert_array_equal(fit.flags, [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.MASKED_OUT])
    beyond = joint(echoes(0.0, 1), echoes(6.0, 1), highest_mm=5.0)
    assert beyond.flags[0] == Flag.OUTSIDE_RANGE
    assert np.isnan(beyond.parameters[NAME][0])


def test_memory_order_precision_and_threads_do_not_change_the_joint_fit(rng):
    pre, post = (np.asarray(echoes(c) + 0.1 * rng.normal(size=(N, 4)), np.float32) for c in (0, 0.3))
    pre, post = pre.reshape(30, 100, 4), post.reshape(30, 100, 4)
    one = joint(pre, post, workers=1)
    two = joint(np.asfortranarray(pre), post, workers=2)
    assert one.parameters[NAME].dtype == np.float32
    np.testing.assert_array_equal(one.parameters[NAME], two.parameters[NAME])


@pytest.mark.parametrize(
    ("change", "match"),
    [({"echo_time_s": ECHOES[:1]}, "at least two"), ({"echo_time_s": ECHOES[:3]}, "last axis")],
)
def test_joint_fit_needs_echoes(change, match):
    with pytest.raises(ValueError, match=match):
        joint(echoes(0.0, 2), echoes(0.1, 2), **change)


def test_joint_fit_of_images_of_different_shape_is_refused():
    with pytest.raises(ValueError, match="post has shape"):
        joint(echoes(0.0, 2), echoes(0.1, 3))
