"""Samples that are missing, infinite, zero, negative or absurd: a finite value or a flag, and no warning."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri import agent_concentration as rates
from imgtheranostics.mri import fluorine, linear_calibration, signal_change, thermometry, time_intensity
from imgtheranostics.mri import spgr_concentration as spgr
from imgtheranostics.mri.agent_relaxivity import given_relaxivity
from imgtheranostics.mri.spgr_echoes import from_spgr_echoes

ABSURD = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e300, -1e300, 1e-30, 1e30, 5e-324])
TIMES = np.arange(0.0, 200.0, 5.0)
N = TIMES.size
R1 = given_relaxivity(4.0, "r1", uncertainty=0.1)
R2STAR = given_relaxivity(60.0, "r2star", uncertainty=2.0)
NOT_JUDGED = {"shared_error_c", "shared_error_mm", "detection_limit_mm", "chi2", "consistency"}
"""Beside the value: they may be missing where it is there."""


@pytest.fixture(params=[np.float32, np.float64])
def junk(request, rng):
    """Arrays of ordinary samples with absurd ones strewn in: none, some, or all."""

    def make(*shape):
        samples = rng.normal(100, 30, shape)
        spoilt = rng.random(shape) < rng.choice([0.0, 0.05, 0.3, 1.0])
        samples[spoilt] = rng.choice(ABSURD, int(spoilt.sum()))
        with np.errstate(all="ignore"):
            return samples.astype(request.param)

    return make


def tissue(rng):
    return {
        "flip_angle_deg": 15.0,
        "repetition_time_s": 0.005,
        "t1_s": rng.normal(1.0, 0.5, 20),
        "t1_error": 0.1,
        "b1": rng.normal(1.0, 0.5, 20),
    }


def phases(rng):
    phase = rng.uniform(-3, 3, (20, 7))
    phase[rng.random(phase.shape) < 0.05] = np.nan
    return phase


CALLS = {
    "percent": lambda x, rng: signal_change.percent_change(x(50), x(50), pre_error=np.abs(x(50))),
    "ratio": lambda x, rng: signal_change.signal_enhancement_ratio(x(50), x(50), x(50), pre_error=1.0),
    "times": lambda x, rng: signal_change.rate_change_from_times(
        x(50) / 100, x(50) / 100, kind="r1", pre_error=x(50)
    ),
    "relative": lambda x, rng: signal_change.relative_enhancement(x(20, N), baseline=(0, 5)),
    "landmarks": lambda x, rng: time_intensity.time_intensity(x(20, N), TIMES, baseline=(0, 5)),
    "trough": lambda x, rng: time_intensity.time_intensity(
        x(20, N), TIMES, baseline=(0, 5), relative=False, falling=True, peak_points=5
    ),
    "area": lambda x, rng: time_intensity.initial_area(x(20, N), TIMES, baseline=(0, 5)),
    "rate": lambda x, rng: rates.from_rate_change(x(50), R1, kind="r1", delta_error=x(50)),
    "rates": lambda x, rng: rates.from_rate_changes(
        {"r1": (x(50), np.abs(x(50))), "r2star": (x(50), 1.0)}, {"r1": R1, "r2star": R2STAR}
    ),
    "exact": lambda x, rng: spgr.from_spgr(x(20, N), R1, baseline=(0, 5), **tissue(rng)),
    "numeric": lambda x, rng: spgr.from_spgr_with_decay(
        x(20, N), R1, R2STAR, echo_time_s=0.003, baseline=(0, 5), **tissue(rng)
    ),
    "echoes": lambda x, rng: from_spgr_echoes(
        x(20, 3), x(20, 3), R1, R2STAR, echo_time_s=[0.002, 0.005, 0.009], **tissue(rng)
    ),
    "temperature": lambda x, rng: thermometry.temperature_change(
        phases(rng), magnitude=x(20, 7), noise_sd=5.0, echo_time_s=0.01, field_t=3.0
    ),
    "dose": lambda x, rng: thermometry.cem43(x(20, 7) / 2.5, time_s=TIMES[:7], temperature_error=1.0),
    "frames": lambda x, rng: thermometry.cem43(x(20, 7) / 2.5, frame_duration_s=5.0),
    "power": lambda x, rng: thermometry.specific_absorption_rate(
        x(20, 7), TIMES[:7], window=(0, 5), iron_mg_ml=x(20), heat_capacity_j_g_k=4.18
    ),
    "amplitude": lambda x, rng: fluorine.debias(x(50), 2.0),
    "fluorine": lambda x, rng: fluorine.fluorine_concentration(
        x(50),
        fluorine.ReferenceTube(np.full(10, 50.0), 100.0, 1.0),
        noise_sd=2.0,
        weight=x(50),
        b1_factor=x(50),
    ),
    "line": lambda x, rng: linear_calibration.fit_line_through_blank([1, 2, 3], [1, 2, 3.1]).amount(x(50)),
}


MAY_REFUSE = {"times", "dose", "frames"}
"""Where most samples are absurd, the unit is questioned: milliseconds, kelvin."""


@pytest.mark.parametrize("name", CALLS)
def test_every_value_is_finite_or_flagged(name, junk, rng):
    judged = 0
    for _ in range(15):
        try:
            fit = CALLS[name](junk, rng)
        except ImplausibleValue:
            assert name in MAY_REFUSE
            continue
        judged += 1
        for parameter in fit.parameters.keys() - NOT_JUDGED:
            value, error = fit.parameters[parameter], fit.standard_errors[parameter]
            assert not np.isinf(value).any()
            assert not np.isinf(error).any()
            assert (np.isfinite(value) | (fit.flags != 0)).all(), parameter
            assert not (np.isnan(value) & np.isfinite(error)).any()
    assert judged > 5
