"""What each isotope of a scan leaves in the energy windows of the others, and its measurement with vials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, ImplausibleValue

FloatArray = npt.NDArray[np.float64]

CAUTION_CONDITION = 10.0
"""Condition number of the crosstalk from which a separation carries a caution."""

LARGEST_CONDITION = 50.0
"""Condition number of the crosstalk above which nothing is separated."""

_ONE = 1e-6


@dataclass(frozen=True, eq=False)
class Crosstalk:
    """Counts of each isotope in each energy window, relative to those in the isotope's own window.

    Parameters
    ----------
    matrix : (n_windows, n_isotopes) array_like
        One in the own window of each isotope; not negative.
    isotopes : sequence of str
        Names of the columns, such as ``Tc-99m``.
    standard_error : (n_windows, n_isotopes) array_like, optional
        Of the entries; zero where it is left out.

    Attributes
    ----------
    own_windows : tuple of int
        Row of the own window of each isotope, from 0.
    condition_number : float

    Raises
    ------
    ValueError
        If shapes do not fit, or two isotopes have one name.
    ImplausibleValue
        If an entry is impossible, or an isotope has no window of its own.

    Examples
    --------
    >>> Crosstalk([[1.0, 0.2], [0.05, 1.0]], ["Tc-99m", "In-111"]).own_windows
    (0, 1)
    """

    matrix: FloatArray
    isotopes: tuple[str, ...]
    standard_error: FloatArray | None = None

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        names = tuple(str(name) for name in self.isotopes)
        error = (
            np.zeros_like(matrix)
            if self.standard_error is None
            else np.array(self.standard_error, np.float64)
        )
        if matrix.ndim != 2 or matrix.shape[1] != len(names) or error.shape != matrix.shape:
            raise ValueError(
                f"crosstalk has shape {matrix.shape}, but needs (n_windows, {len(names)} isotopes)"
            )
        if len(set(names)) != len(names):
            raise ValueError("two isotopes have one name")
        if matrix.shape[0] < matrix.shape[1]:
            raise IllConditioned(
                "there are fewer energy windows than isotopes",
                where="crosstalk",
                found=f"{matrix.shape[0]} windows for {matrix.shape[1]} isotopes",
                needed="at least one window for each isotope",
            )
        for values, what in ((matrix, "an entry"), (error, "a standard error")):
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise ImplausibleValue(
                    f"{what} of the crosstalk is negative or no number", where="crosstalk", needed="0 or more"
                )
        for name, value in (("matrix", matrix), ("isotopes", names), ("standard_error", error)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_own", _own_windows(matrix, names))

    @property
    def own_windows(self) -> tuple[int, ...]:
        """Row of the own window of each isotope, from 0: where its column is one."""
        return self._own  # type: ignore[attr-defined,no-any-return]

    @property
    def condition_number(self) -> float:
        """Largest over smallest singular value; infinite for a singular matrix."""
        singular = np.linalg.svd(self.matrix, compute_uv=False)
        return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def _own_windows(matrix: FloatArray, names: Sequence[str]) -> tuple[int, ...]:
    """A window of its own for each isotope, in which its column is one."""
    found: list[int] = []
    for name, column in zip(names, matrix.T, strict=True):
        ones = [int(n) for n in np.flatnonzero(np.abs(column - 1.0) <= _ONE)]
        if not ones:
            raise ImplausibleValue(
                "the crosstalk of an isotope is not relative to its own energy window",
                where=f"crosstalk of {name}",
                found=", ".join(f"{value:g}" for value in column),
                needed="1 in its own window",
                next_step="divide the column by the counts in the isotope's own window",
            )
        free = [n for n in ones if n not in found]
        if not free:
            raise ImplausibleValue(
                "two isotopes have the same energy window for their own",
                where=f"crosstalk of {name}",
                needed="a window of its own for each isotope",
            )
        found.append(free[0])
    return tuple(found)


def crosstalk_from_vials(
    counts: npt.ArrayLike,
    isotopes: Sequence[str],
    *,
    background: npt.ArrayLike | None = None,
    background_share: float = 1.0,
    own_windows: Sequence[int] | None = None,
) -> Crosstalk:
    """Crosstalk from scans of one isotope each.

    Parameters
    ----------
    counts : (n_isotopes, n_windows) array_like
        Counts of each vial alone in each energy window, with the background.
    isotopes : sequence of str
        The isotope of each vial.
    background : (n_windows,) array_like, optional
        Counts without a vial.
    background_share : float
        Counting time of a vial over that of the background.
    own_windows : sequence of int, optional
        The own window of each isotope, from 0; by default where it counts most.

    Returns
    -------
    Crosstalk
        With standard errors of counting. An entry that comes out below zero, for its background, is zero.

    Raises
    ------
    ValueError
        If shapes do not fit.
    ImplausibleValue
        If counts are negative, or a vial shows nothing above the background in its own window.
    """
    seen = np.asarray(counts, np.float64)
    if seen.ndim != 2 or seen.shape[0] != len(isotopes):
        raise ValueError(
            f"counts have shape {seen.shape}, but need a row for each of {len(isotopes)} isotopes"
        )
    empty = np.zeros(seen.shape[1]) if background is None else np.asarray(background, np.float64)
    if empty.shape != (seen.shape[1],):
        raise ValueError(f"the background has shape {empty.shape}, but needs one number per window")
    if not (
        np.isfinite(seen).all() and np.isfinite(empty).all() and (seen >= 0).all() and (empty >= 0).all()
    ):
        raise ImplausibleValue("counts of vials are negative or no number", where="vials")
    net = seen - background_share * empty
    variance = seen + background_share**2 * empty
    own = net.argmax(axis=1) if own_windows is None else np.asarray(own_windows)
    rows = np.arange(len(isotopes))
    peak, peak_variance = net[rows, own], variance[rows, own]
    if not (peak > np.sqrt(peak_variance)).all():
        raise ImplausibleValue(
            "a vial shows nothing above the background in its own energy window",
            where="vials",
            found=", ".join(f"{name}: {value:g}" for name, value in zip(isotopes, peak, strict=True)),
            needed="counts well above the background",
        )
    ratio = net / peak[:, None]
    error = np.sqrt(variance + ratio**2 * peak_variance[:, None]) / peak[:, None]
    error[rows, own] = 0.0
    return Crosstalk(np.maximum(ratio, 0.0).T, tuple(isotopes), error.T)
