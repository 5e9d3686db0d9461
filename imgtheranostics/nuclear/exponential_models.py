"""Sums of exponentials as the kernel takes them: bounds of the rates, table of starts, choice of model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from imgtheranostics.mapping.refusals import UnknownChoice

FloatArray = npt.NDArray[np.float64]

MOST_TERMS = 3

LEAST_APART = 0.01
"""Smallest difference of two rates, per last time: closer ones are not told apart."""

FASTEST = 10.0
"""Largest rate, per smallest gap between samples: what is faster is not seen."""

FURTHEST_BACK = 5.0
"""Largest difference of rates, per time of the first sample: no phase is fitted of which less than 1 % is
left by then, since its area would be that of the noise of the first samples."""

LEAST_PIVOT = 1e-10
"""Smallest over largest eigenvalue of a normal matrix that a start may have."""

_SLOWEST_START = 0.02
_N_STARTS = {1: 32, 2: 18, 3: 14, 4: 11}
"""Rates of the table of starts, by the number of exponentials."""

_EXACT = 1e-12
"""Part of the sum of squares of a curve below which residuals do not speak for a model: float32 rounds so."""


@dataclass(frozen=True)
class Model:
    """A sum of exponentials.

    Attributes
    ----------
    terms : int
        Exponentials, without that of a forced uptake.
    uptake : bool or None
        True: one more exponential, and no activity at time 0. False: all amplitudes positive. None: the
        fastest of several may be negative, but not the curve at time 0.
    """

    terms: int
    uptake: bool | None

    @property
    def n_exponentials(self) -> int:
        """With that of the uptake."""
        return self.terms + int(self.uptake is True)

    @property
    def n_parameters(self) -> int:
        """Rates and free amplitudes."""
        return self.n_exponentials + self.terms

    @property
    def mode(self) -> int:
        """Code of `imgtheranostics.kernels.exponential_fit`."""
        from imgtheranostics.kernels import exponential_fit as kernels

        if self.uptake:
            return kernels.ZERO
        return kernels.PLAIN if self.uptake is False or self.terms == 1 else kernels.OPEN

    def columns(self) -> FloatArray:
        """(E, C) matrix from free amplitudes to those of the exponentials."""
        n = self.n_exponentials
        whole = np.eye(n)
        if self.uptake is False or n == 1:
            return whole
        whole[-1, :-1] = -1.0
        return whole[:, : self.terms]


def models_of(terms: int | str, uptake: bool | None, n_samples: int) -> tuple[Model, ...]:
    """Models to fit: the one asked for, or those that AICc can compare with so many samples.

    Raises
    ------
    ValueError
        If there is no such model, or there are fewer samples than parameters.
    """
    if uptake is not None and not isinstance(uptake, bool | np.bool_):
        raise UnknownChoice(f"uptake must be True, False or None, not {uptake!r}")
    if isinstance(terms, str) and terms == "auto":
        wanted = [Model(n, uptake) for n in range(1, MOST_TERMS + 1)]
        if uptake is None:
            wanted += [Model(n, True) for n in (1, 2)]
        smallest = min(wanted, key=lambda model: model.n_parameters)
        _check_count(smallest, n_samples)
        # AICc needs two samples more than parameters, the scatter of the residuals being one of these
        comparable = [model for model in wanted if n_samples > model.n_parameters + 2]
        return tuple(sorted(comparable, key=lambda model: model.n_parameters)) or (smallest,)
    if isinstance(terms, bool) or terms not in range(1, MOST_TERMS + 1):
        raise UnknownChoice(f"terms must be 1, 2, 3 or 'auto', not {terms!r}")
    model = Model(int(terms), uptake)
    _check_count(model, n_samples)
    return (model,)


def _check_count(model: Model, n_samples: int) -> None:
    if n_samples < model.n_parameters:
        phase = " with an uptake phase" if model.uptake else ""
        raise ValueError(
            f"a curve of {model.terms} exponential{'s' if model.terms > 1 else ''}{phase} has "
            f"{model.n_parameters} parameters and needs at least as many samples, found {n_samples}"
        )


@dataclass(frozen=True, eq=False)
class Setting:
    """What the kernel needs to know of a model besides the curves."""

    lower: FloatArray
    upper: FloatArray
    table: FloatArray
    combinations: npt.NDArray[np.int64]
    inverses: FloatArray
    starts: FloatArray


def setting_of(model: Model, time: FloatArray, root: FloatArray, slowest: float) -> Setting | None:
    """Bounds and starts of a model; None where the times do not tell its exponentials apart.

    Parameters
    ----------
    model : Model
    time, root : (n,) ndarray
        Times in units of the last one, and roots of the weights.
    slowest : float
        Least rate, in units of the inverse of the last time.
    """
    n = model.n_exponentials
    seen = max(FASTEST / float(np.diff(time).min()), 4.0 * slowest + 1.0)
    apart = min(seen, FURTHEST_BACK / float(time[0])) if time[0] > 0 else seen
    fastest = seen if n == 1 else max(apart, 4.0 * slowest + 1.0)
    lower = np.full(n, LEAST_APART)
    lower[0] = slowest
    upper = np.full(n, fastest)
    upper[0] = seen
    rates = np.geomspace(max(slowest, _SLOWEST_START) * 1.02, 0.98 * fastest, _N_STARTS[n])
    table = np.exp(-np.outer(rates, time)) * root
    found = np.array(list(combinations(range(rates.size), n)), np.int64)
    columns = model.columns()
    grams = (table @ table.T)[found[:, :, np.newaxis], found[:, np.newaxis, :]]
    normal = columns.T @ grams @ columns
    size = np.sqrt(np.diagonal(normal, axis1=1, axis2=2))
    there = (size > 0).all(axis=1)
    size[~there] = 1.0
    pivots = np.linalg.eigvalsh(normal / (size[:, :, np.newaxis] * size[:, np.newaxis, :]))
    kept = there & (pivots[:, 0] > LEAST_PIVOT * pivots[:, -1])
    if not kept.any():
        return None
    chosen, inverses = found[kept], np.asarray(np.linalg.inv(normal[kept]), np.float64)
    starts = np.diff(rates[chosen], axis=1, prepend=0.0)
    return Setting(lower, upper, table, chosen, inverses, np.clip(starts, lower, upper))


def corrected_criterion(
    squares: FloatArray, scale: FloatArray, n_samples: int, n_parameters: int, *, known: bool
) -> FloatArray:
    """Akaike's information criterion for few samples; infinity where there are too few for it.

    Parameters
    ----------
    squares : ndarray
        Weighted sums of squares of the residuals.
    scale : ndarray
        That of the samples themselves.
    n_samples, n_parameters : int
    known : bool
        Whether weights are inverse variances, so that the scatter is not one more parameter.
    """
    k = n_parameters + int(not known)
    if n_samples - k - 1 <= 0:
        return np.full(np.shape(squares), np.inf)
    penalty = 2.0 * k * n_samples / (n_samples - k - 1)
    if known:
        return np.asarray(squares + penalty)
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.maximum(squares, _EXACT * scale)
        return np.asarray(n_samples * np.log(least / n_samples) + penalty)


def names_of(n_exponentials: int) -> tuple[str, ...]:
    """Parameters as the kernel orders them."""
    numbers = range(1, n_exponentials + 1)
    return (
        *(f"amplitude_{j}" for j in numbers),
        *(f"rate_{j}_per_s" for j in numbers),
        "terminal_rate_per_s",
        "tiac_s",
        "extrapolated_fraction",
        "mean_residence_time_s",
    )


def student_quantile(level: float, freedom: int) -> float:
    """Half width, in standard errors, of an interval of this level; of a normal without limit of freedom."""
    from scipy.special import ndtri, stdtrit

    tail = 0.5 * (1.0 + level)
    if freedom < 1:
        return math.nan
    return float(ndtri(tail) if freedom > 10**6 else stdtrit(freedom, tail))
