"""Survival data that every textbook has."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def leukaemia():
    """Weeks in remission under 6-MP and placebo (Freireich et al., Blood 21 (1963) 699)."""
    drug = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    seen = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    return (
        np.array(drug + placebo, float),
        np.array(seen + [1] * 21),
        np.array(["6-MP"] * 21 + ["placebo"] * 21),
    )
