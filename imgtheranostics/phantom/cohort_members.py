"""Who is in a cohort: what each subject holds at each visit, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

MEAN_DISTANCE_OF_HALVES = 2.0 * math.sqrt(2.0 / math.pi)
"""Between the means of the upper and the lower half of normal values, in standard deviations."""


@dataclass(frozen=True)
class Visit:
    """One session: the truth that each region of its scan holds, in the unit of the cohort.

    Attributes
    ----------
    session : str
    day : int
        Of the injection, from the first one of the subject.
    hours : float
        After that injection.
    held : mapping of str to float
        By region.
    """

    session: str
    day: int
    hours: float
    held: Mapping[str, float]


@dataclass(frozen=True)
class Member:
    """One subject of a cohort.

    Attributes
    ----------
    id : str
    visits : tuple of Visit
    group : str
    covariates : mapping of str to float
        What an analysis may know.
    outcome : mapping of str to float or None
        Row of the table of outcomes; None where it could not be evaluated.
    hidden : mapping of str to float
        What only the maker knows.
    """

    id: str
    visits: tuple[Visit, ...]
    group: str = ""
    covariates: Mapping[str, float] = field(default_factory=dict)
    outcome: Mapping[str, float | None] = field(default_factory=dict)
    hidden: Mapping[str, float] = field(default_factory=dict)


def label(prefix: str, number: int) -> str:
    """Name of a subject, counted from 1.

    >>> label("p", 0)
    'p01'
    """
    return f"{prefix}{number + 1:02d}"


def log_sd(variation: float) -> float:
    """Standard deviation of the logarithm of a lognormal value with this coefficient of variation.

    >>> round(log_sd(0.2), 4)
    0.198
    """
    return math.sqrt(math.log1p(variation**2))


def related(given: DoubleArray, correlation: float, rng: np.random.Generator) -> DoubleArray:
    """Standard normal values with this correlation to given standard normal ones."""
    rest = rng.standard_normal(given.shape)
    return correlation * given + math.sqrt(1.0 - correlation**2) * rest
