"""Counts of energy windows as the sum of isotopes: least squares with the errors of counting, on arrays."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.fit import Fit, PlanarSignal, planar
from imgtheranostics.nuclear.crosstalk import LARGEST_CONDITION, Crosstalk
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]

_MOST_ISOTOPES = 4


def unfold_windows(
    counts: npt.ArrayLike,
    crosstalk: Crosstalk,
    *,
    variance: npt.ArrayLike | None = None,
    non_negative: bool = False,
    max_condition: float = LARGEST_CONDITION,
) -> Fit:
    """Counts of each isotope in its own energy window.

    Solves counts = crosstalk x isotopes. With as many windows as isotopes that is exact; with more, it is
    least squares weighted by the mean counts of each window.

    Parameters
    ----------
    counts : (..., n_windows) array_like
        Of each energy window.
    crosstalk : Crosstalk
    variance : (..., n_windows) array_like, optional
        Of the counts; by default that of Poisson counts, at least 1.
    non_negative : bool
        Least squares among values that are not negative. That biases weak isotopes upwards, on average by up
        to 0.4 standard errors where an isotope is absent; the plain solution may be negative and is unbiased.
    max_condition : float
        Condition number of the crosstalk above which nothing is separated.

    Returns
    -------
    Fit
        One parameter for each isotope, in counts of its own window. Negative values are flagged; those held
        at zero are flagged and have no standard error.

    Raises
    ------
    IllConditioned
        If the crosstalk cannot be undone.
    ImplausibleValue
        If counts are negative and no variance is given.

    Examples
    --------
    >>> mixed = Crosstalk([[1.0, 0.2], [0.0, 1.0]], ["Tc-99m", "In-111"])
    >>> found = unfold_windows([[120.0, 100.0]], mixed)
    >>> [round(float(found.parameters[name][0]), 6) for name in mixed.isotopes]
    [100.0, 100.0]
    """
    check_condition(crosstalk, max_condition)
    matrix = crosstalk.matrix
    seen = planar(counts, matrix.shape[0], "counts")
    samples = seen.samples.astype(np.float64)
    spread = _variance(samples, variance, seen)
    finite = np.asarray(np.isfinite(samples).all(axis=0) & np.isfinite(spread).all(axis=0))
    weights = _weights(spread, finite)
    if non_negative:
        values, errors = _non_negative(matrix, samples, spread, weights)
    else:
        back = _inverse(matrix, weights)
        values, errors = back @ samples, np.sqrt(back**2 @ spread)
    values[:, ~finite] = np.nan
    errors[:, ~finite] = np.nan
    flags = np.zeros(samples.shape[1], np.uint16)
    flags[~finite] |= Flag.INVALID_INPUT.value
    flags[(values < 0).any(axis=0)] |= Flag.NEGATIVE_AMPLITUDE.value
    if non_negative:
        flags[finite & (values == 0).any(axis=0)] |= Flag.AT_BOUND.value
    misfit = samples - matrix @ values
    rmse = np.sqrt((misfit**2).mean(axis=0))
    return Fit(
        {name: seen.restored(value) for name, value in zip(crosstalk.isotopes, values, strict=True)},
        {name: seen.restored(error) for name, error in zip(crosstalk.isotopes, errors, strict=True)},
        seen.restored(np.full(samples.shape[1], np.nan)),
        seen.restored(rmse),
        seen.restored(np.zeros(samples.shape[1], np.int64)),
        seen.restored(flags),
        dict.fromkeys(crosstalk.isotopes, "{counts}"),
    )


def check_condition(crosstalk: Crosstalk, limit: float = LARGEST_CONDITION) -> float:
    """The condition number, unless it is above the limit.

    Raises
    ------
    IllConditioned
        If it is.
    """
    condition = crosstalk.condition_number
    if condition <= limit:
        return condition
    raise IllConditioned(
        "the energy windows do not tell these isotopes apart",
        where="crosstalk",
        found=f"condition number {condition:.3g}",
        needed=f"at most {limit:g}",
        next_step="choose windows in which the isotopes differ more, or scan after one of them decayed",
    )


def _variance(samples: FloatArray, variance: npt.ArrayLike | None, seen: PlanarSignal) -> FloatArray:
    if variance is None:
        if (samples < 0).any():
            raise ImplausibleValue(
                "counts are negative, so their errors are not those of counting",
                where="energy windows",
                found=f"{float(np.nanmin(samples)):g}",
                needed="counts of 0 or more, or the noise of each window",
                next_step="give the noise (noise_sd=), or separate the counts before other corrections",
            )
        return np.maximum(samples, 1.0)
    given = np.asarray(variance, np.float64)
    if (given < 0).any():
        raise ImplausibleValue("a variance is negative", where="energy windows")
    given = np.broadcast_to(given, (*seen.shape, len(samples)))
    spread = np.empty(samples.shape)
    for n, plane in enumerate(spread):
        plane[:] = seen.flat(given[..., n], "variance")
    return spread


def _weights(spread: FloatArray, finite: npt.NDArray[np.bool_]) -> FloatArray:
    """One weight per window for all voxels, so that the solution is linear in the counts."""
    if not finite.any():
        return np.ones(len(spread))
    mean = spread[:, finite].mean(axis=1)
    return np.asarray(1.0 / np.where(mean > 0, mean, 1.0))


def _inverse(matrix: FloatArray, weights: FloatArray) -> FloatArray:
    if matrix.shape[0] == matrix.shape[1]:
        return np.asarray(np.linalg.inv(matrix), np.float64)
    weighted = matrix.T * weights
    return np.asarray(np.linalg.solve(weighted @ matrix, weighted))


def _non_negative(
    matrix: FloatArray, samples: FloatArray, spread: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The best of all solutions in which some isotopes are absent and the others are not negative."""
    n = matrix.shape[1]
    if n > _MOST_ISOTOPES:
        raise ValueError(f"non_negative is for at most {_MOST_ISOTOPES} isotopes")
    best = np.full(samples.shape[1], np.inf)
    values = np.zeros((n, samples.shape[1]))
    errors = np.full((n, samples.shape[1]), np.nan)
    for chosen in itertools.chain.from_iterable(itertools.combinations(range(n), k) for k in range(n + 1)):
        columns = list(chosen)
        part = matrix[:, columns]
        if columns:
            weighted = part.T * weights
            back = np.linalg.solve(weighted @ part, weighted)
            found = back @ samples
        else:
            back, found = np.zeros((0, len(matrix))), np.zeros((0, samples.shape[1]))
        cost = (weights[:, None] * (samples - part @ found) ** 2).sum(axis=0)
        better = (found >= 0).all(axis=0) & (cost < best)
        best[better] = cost[better]
        values[:, better], errors[:, better] = 0.0, np.nan
        for row, column in enumerate(columns):
            values[column, better] = found[row, better]
            errors[column, better] = np.sqrt(back[row] ** 2 @ spread[:, better])
    return values, errors
