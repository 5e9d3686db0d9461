"""Grey to linear power against NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.kernels.echo_power import BLOCK, linear_power
from imgtheranostics.kernels.threads import thread_limit


def run(grey, decibels=60.0, gamma=1.0, gain=0.0, largest=255.0, levels=256):
    share = np.arange(levels) / largest
    table = (10 ** ((decibels * share**gamma + gain) / 10)).astype(np.float32)
    grey = np.asarray(grey, np.float32)
    grey.setflags(write=False)
    out, invalid = np.empty(grey.size, np.float32), np.zeros(-(-grey.size // BLOCK), np.int64)
    linear_power(grey, table, decibels, gamma, gain, largest, out, invalid)
    return out, int(invalid.sum())


@settings(max_examples=25)
@given(
    grey=arrays(np.float32, 40, elements=st.floats(0, 255, width=32)),
    whole=arrays(np.uint8, 40),
    decibels=st.floats(20, 90),
    gamma=st.floats(0.5, 2.0),
    gain=st.floats(-20, 20),
)
def test_every_level_follows_the_definition(grey, whole, decibels, gamma, gain):
    """P = 10^((DR (g/g_max)^gamma + gain)/10), ultrasound.md U1 and U2."""
    both = np.concatenate([grey, whole.astype(np.float32)])
    out, invalid = run(both, decibels, gamma, gain)
    assert_allclose(out, 10 ** ((decibels * (both.astype(float) / 255) ** gamma + gain) / 10), rtol=3e-7)
    assert invalid == 0


def test_levels_above_the_table_are_calculated():
    out, invalid = run([0, 3, 900, 1000], largest=1000.0, levels=3)
    assert_allclose(out, 10 ** (0.006 * np.array([0, 3, 900, 1000])), rtol=3e-7)
    assert invalid == 0


def test_what_is_no_level_is_nan_and_counted_but_for_nan_itself():
    out, invalid = run([np.nan, -1, 256, np.inf, -np.inf, 255])
    assert_array_equal(np.isfinite(out), [False] * 5 + [True])
    assert invalid == 4


def test_bytes_do_not_depend_on_threads(rng):
    grey = rng.uniform(0, 255, 3 * BLOCK + 5)
    with thread_limit(1):
        one, _ = run(grey)
    two, _ = run(grey)
    assert_array_equal(one, two)
