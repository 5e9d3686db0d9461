"""Model of the WASABI kernel: derivatives, its square, symmetry; the warm-up compiles what the fits call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.cest.wasabi import wasabi, wasabi_t1
from imgtheranostics.kernels import warmup
from imgtheranostics.kernels import wasabi as kernels

SCALES = (267.5, 802.0, 0.0025)
OFFSETS = np.linspace(-2, 2, 21)
RECOVERY = np.linspace(0.5, 3.0, 21)
FIELDS = st.floats(0.1, 20)
SHIFTS = st.floats(-2, 2)


def model(kind, parameters, squared=False, offsets=OFFSETS):
    curve, jacobian = np.empty(offsets.size), np.empty((len(parameters), offsets.size))
    kernels.evaluate(kind, np.array(parameters, float), offsets, SCALES, RECOVERY, squared, curve, jacobian)
    return curve, jacobian


def reference(kind, parameters):
    """The formulas of cest.md F9 and F10 before the magnitude is taken."""
    b1, b0, third = parameters[:3]
    w1, shift = SCALES[0] * b1, SCALES[1] * (OFFSETS - b0)
    tip = np.sin(np.arctan2(w1, shift)) ** 2 * np.sin(np.hypot(w1, shift) * SCALES[2]) ** 2
    if kind == kernels.FREE_AMPLITUDES:
        return third - parameters[3] * tip
    return (1 - np.exp(-RECOVERY / third)) * (1 - 2 * tip)


@given(
    FIELDS,
    SHIFTS,
    st.floats(0.3, 1),
    st.floats(0.3, 2),
    st.sampled_from([kernels.FREE_AMPLITUDES, kernels.RECOVERY]),
)
def test_values_and_derivatives(b1, b0, third, fourth, kind):
    parameters = [b1, b0, third, fourth][: 4 if kind == kernels.FREE_AMPLITUDES else 3]
    signed = reference(kind, parameters)
    curve, jacobian = model(kind, parameters)
    square, slopes = model(kind, parameters, squared=True)
    np.testing.assert_allclose(curve, np.abs(signed), atol=1e-12)
    np.testing.assert_allclose(square, signed**2, atol=1e-12)
    np.testing.assert_allclose(slopes, 2 * curve * jacobian, rtol=1e-9, atol=1e-9)
    for j in range(len(parameters)):
        step = np.zeros(len(parameters))
        step[j] = 1e-6
        rise = (reference(kind, parameters + step) - reference(kind, parameters - step)) / 2e-6
        np.testing.assert_allclose(jacobian[j] * np.sign(signed), rise, rtol=1e-4, atol=1e-5)


@given(FIELDS, SHIFTS)
def test_mirrored_offsets_and_shift_give_the_same_signal(b1, b0):
    there, _ = model(kernels.FREE_AMPLITUDES, [b1, b0, 0.9, 1.6])
    back, _ = model(kernels.FREE_AMPLITUDES, [b1, -b0, 0.9, 1.6], offsets=-OFFSETS)
    np.testing.assert_allclose(back, there, atol=1e-13)


@pytest.mark.parametrize("b1", [0.0, 1e-12])
def test_at_resonance_without_field_nothing_is_tipped(b1):
    curve, jacobian = model(kernels.FREE_AMPLITUDES, [b1, OFFSETS[10], 0.9, 1.6])
    np.testing.assert_allclose(curve, 0.9)
    assert np.isfinite(jacobian).all()


def test_the_best_places_keep_their_distance():
    scores = np.random.default_rng(1).random(20 * 30).astype(np.float32)
    places = np.empty(kernels.N_STARTS, np.int64)
    order = np.sort(scores)
    found = kernels._best_places(scores.copy(), 30, np.empty(20, np.int64), places)
    assert scores[places[0]] == order[-1]
    rows, columns = np.divmod(places[:found], 30)
    apart = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))
    assert found > 3
    assert apart[~np.eye(found, dtype=bool)].min() > 2


def test_fits_meet_what_the_warm_up_compiled(rng):
    dict(warmup.compile_all())["tip patterns"]()
    compiled = list(kernels.fit_tip_patterns.signatures)
    pulse = {"pulse_duration_s": 0.005, "imaging_frequency_mhz": 127.7, "nominal_b1_ut": 3.7}
    for dtype in (np.float32, np.float64):
        z = rng.random((2, 3, 21)).astype(dtype)
        z.setflags(write=False)
        for offsets in (OFFSETS, OFFSETS[::-1], list(OFFSETS), np.arange(21)[::-1]):
            scale = 0.1 if isinstance(offsets, np.ndarray) and offsets.dtype.kind == "i" else 1.0
            wasabi(z, np.asarray(offsets) * scale, **pulse)
            wasabi_t1(z, offsets, recovery_time_s=2, **pulse)
        wasabi_t1(np.asfortranarray(z), OFFSETS, recovery_time_s=RECOVERY, **pulse)
    assert list(kernels.fit_tip_patterns.signatures) == compiled
