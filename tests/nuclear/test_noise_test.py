"""The F test against a curve of zero: its level by simulation, and the flag of noise in kinetic fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f

from imgtheranostics.nuclear import kinetics
from imgtheranostics.nuclear.noise_test import LEVEL, no_better_than_zero
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 6 + [30.0] * 4 + [60.0] * 5 + [300.0] * 10)
END = np.cumsum(DURATION)
MID = END - DURATION / 2
TIME = np.arange(0.0, END[-1] + 1, 10.0)
PLASMA = 100 * TIME / 30 * np.exp(1 - TIME / 30) + 20 * np.exp(-TIME / 3000)
FRAMES = {"frame_start_s": END - DURATION, "frame_end_s": END}
BLOOD = {"input_time_s": TIME, "plasma": PLASMA, "delay_s": 0.0}
REFERENCE = 30 * (np.exp(-MID / 3000) - np.exp(-MID / 200))


def test_equals_the_test_of_scipy(rng):
    squares, whole = rng.uniform(1, 9, 200), rng.uniform(9, 30, 200)
    share = f.sf((whole - squares) / 3 / (squares / 17), 3, 17)
    np.testing.assert_array_equal(no_better_than_zero(squares, whole, 3, 17), share >= LEVEL)


def test_passes_one_of_a_hundred_lines_through_noise(rng):
    """20,000 regressions of pure noise on three rows: 1 % to 4 standard deviations."""
    rows = np.linalg.qr(rng.normal(size=(25, 3)))[0]
    noise = rng.normal(size=(20_000, 25))
    whole = (noise**2).sum(axis=1)
    passed = ~no_better_than_zero(whole - ((noise @ rows) ** 2).sum(axis=1), whole, 3, 22)
    assert passed.mean() == pytest.approx(LEVEL, abs=4 * np.sqrt(LEVEL / 20_000))


def test_nothing_is_said_without_a_degree_of_freedom_or_of_an_exact_curve():
    assert not no_better_than_zero(np.ones(3), np.ones(3), 3, 0).any()
    assert no_better_than_zero(np.zeros(2), np.array([0.0, 1.0]), 3, 5).tolist() == [True, False]


@pytest.mark.parametrize("method", ["one_tissue", "two_tissue", "srtm"])
def test_noise_alone_is_flagged_and_tissue_is_not(rng, method):
    """Of a search through rates some more than 1 % of noise passes; a signal of ten times the noise never."""
    noise = rng.normal(0, 1.0, (300, MID.size))
    tissue = 10 * REFERENCE / REFERENCE.max() + noise[:50]

    def flags(curves):
        if method == "srtm":
            found = kinetics.srtm(curves, REFERENCE, time_s=MID, frame_duration_s=DURATION)
        else:
            found = kinetics.fit(method, curves, **FRAMES, **BLOOD)
        return (found.flags & Flag.BELOW_NOISE) != 0

    assert flags(noise).mean() > 0.95
    assert not flags(tissue).any()
    assert flags(np.zeros((1, MID.size))).all()
