"""Concordance and refits of a Cox model against pairs counted one by one, and against statsmodels."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.study.concordance import harrell
from imgtheranostics.study.cox_newton import newton_coefficients


def _pairs(risk, time, event) -> float:
    """Of pairs in which the first has an event before the second, or at the end of its follow-up."""
    agreed = comparable = 0.0
    for one, other in permutations(range(len(risk)), 2):
        if event[one] and (time[one] < time[other] or (time[one] == time[other] and not event[other])):
            comparable += 1
            agreed += 1.0 if risk[one] > risk[other] else 0.5 * (risk[one] == risk[other])
    return agreed / comparable if comparable else math.nan


@given(st.integers(0, 10_000), st.integers(2, 30), st.booleans())
def test_concordance_counts_every_comparable_pair(seed, n, tied):
    rng = np.random.default_rng(seed)
    risk, time, event = rng.normal(size=n), rng.exponential(3.0, n), rng.random(n) < 0.7
    if tied:
        risk, time = np.round(risk), np.ceil(time)
    assert harrell(risk, time, event) == pytest.approx(_pairs(risk, time, event), nan_ok=True)


def test_concordance_of_many_subjects_is_counted_over_blocks_as_over_pairs():
    rng = np.random.default_rng(7)
    risk, time, event = (
        rng.normal(size=700).round(1),
        rng.exponential(3.0, 700).round(1),
        rng.random(700) < 0.7,
    )
    earlier = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    earlier &= event[:, None]
    agreed = np.sum(earlier & (risk[:, None] > risk)) + 0.5 * np.sum(earlier & (risk[:, None] == risk))
    assert harrell(risk, time, event) == pytest.approx(agreed / earlier.sum(), abs=1e-15)


@pytest.mark.parametrize("n", [14, 60, 400])
@pytest.mark.parametrize("tied", [False, True])
def test_refits_have_the_coefficients_of_statsmodels(n, tied):
    regression = pytest.importorskip("statsmodels.duration.hazard_regression")
    rng = np.random.default_rng(n)
    design = rng.normal(size=(n, 3))
    time = rng.exponential(5.0, n) * np.exp(-design @ [0.5, -0.3, 0.1])
    if tied:
        time = np.ceil(time)
    event, time = time < 9.0, np.minimum(time, 9.0)
    expected = regression.PHReg(time, design, status=event.astype(int), ties="efron").fit(disp=0).params
    assert newton_coefficients(design, time, event) == pytest.approx(expected, abs=1e-8)


def test_refits_without_a_maximum_have_no_coefficients():
    rank = np.linspace(-1.0, 1.0, 12)
    design = np.column_stack([rank, np.cos(np.arange(12.0))])
    time, event = np.arange(12.0, 0.0, -1.0), np.ones(12, bool)
    assert newton_coefficients(design, time, event) is None
    assert newton_coefficients(np.column_stack([rank, rank]), rank[::-1] % 0.7, event) is None
