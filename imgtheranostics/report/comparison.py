"""What was measured beside what is true: the content of a validation report, apart from how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float64]
Row = Mapping[str, Any]

_SHARES = ("recovery", "spread", "formats")
PLACEHOLDER = "memory"
"""Word in the provenance of a truth that nobody has published."""


@dataclass(frozen=True, slots=True)
class PhantomLabel:
    """A phantom as a report names it; `axis` says in words what changes between its images."""

    slug: str
    title: str
    modality: str
    claim: str
    axis: str = ""


@dataclass(frozen=True, eq=False)
class Triptych:
    """One slice of a phantom: its truth and what was measured in it.

    Attributes
    ----------
    slug : str
    level : int
    quantity, unit : str
        Of both pictures; the unit as UCUM code.
    truth, measured : (rows, columns) ndarray
        As shown, the first row on top; NaN where there is no value.
    extent_mm : tuple of float
        World coordinates of the left, right, bottom and top edges.
    letters : tuple of str
        Orientation at the left, right, top and bottom edge.
    profile_row : int
        Row of the pictures along which a profile is shown.
    words : str
        Which slice of which image it is.
    region : str
        Through which region slice and profile go.
    """

    slug: str
    level: int
    quantity: str
    unit: str
    truth: Picture
    measured: Picture
    extent_mm: tuple[float, float, float, float]
    letters: tuple[str, str, str, str]
    profile_row: int
    words: str
    region: str

    @property
    def difference(self) -> Picture:
        """Measured minus truth."""
        return self.measured - self.truth


@dataclass(frozen=True, slots=True)
class Recovery:
    """Share of a sphere's contrast that an image keeps, and the closed form for it."""

    slug: str
    region: str
    level: int
    diameter_mm: float
    fwhm_mm: float
    truth: float
    measured: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecoveryCurve:
    """Closed-form recovery of spheres at one resolution."""

    fwhm_mm: float
    diameters_mm: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that a validation report shows.

    Attributes
    ----------
    rows : sequence of mapping
        Slug, claim, quantity, region, axis_value, truth, measured, error, tolerance, verdict, unit,
        method, level, seeds, error_low, error_high, provenance, note; missing numbers are None.
    repeats : sequence of sequence of float
        What each seed measured, row by row.
    phantoms : sequence of PhantomLabel
    pictures, recoveries, curves : sequence
    levels : tuple of int
    seeds, rng : int
        Number of repeats and the first seed.
    source : str
        Empty when this package measured, else the name of another tool's table.
    unused : sequence of str
        Lines of that table that no expectation speaks of.
    """

    rows: Sequence[Row]
    repeats: Sequence[Sequence[float]]
    phantoms: Sequence[PhantomLabel]
    levels: tuple[int, ...]
    seeds: int = 1
    rng: int = 0
    pictures: Sequence[Triptych] = ()
    recoveries: Sequence[Recovery] = ()
    curves: Sequence[RecoveryCurve] = ()
    source: str = ""
    unused: Sequence[str] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by verdict, in the order in which verdicts first appear."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row["verdict"]] = found.get(row["verdict"], 0) + 1
        return found

    def label(self, slug: str) -> PhantomLabel:
        """The phantom of that slug."""
        return next(phantom for phantom in self.phantoms if phantom.slug == slug)


def is_placeholder(row: Row) -> bool:
    """Whether the truth of a row is from memory, so that agreement with it proves the method only."""
    return PLACEHOLDER in str(row["provenance"])


def relative_percent(row: Row, value: float | None) -> float | None:
    """A difference as a percentage of the row's truth; None where the truth is absent or zero.

    Recoveries and spreads are shares already and logarithms have no zero: they are not divided.
    """
    truth = row["truth"]
    if value is None or not truth or row["method"] in _SHARES or row["method"].startswith("log10"):
        return None
    return 100.0 * value / abs(float(truth))
