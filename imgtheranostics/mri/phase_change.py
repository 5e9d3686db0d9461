"""Change of the phase over time: differences wrapped frame by frame, drift of the unheated region removed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import PlanarSignal
from imgtheranostics.mapping.voxel_blocks import BoolArray, Curves, DoubleArray, IndexArray

_LARGEST_SPAN = 2.0 * np.pi * 1.01
"""Wrapped phases span one turn; a little more comes of rounding to integers on the scanner."""

_MOST_ORDER = 2


@dataclass(frozen=True, eq=False)
class PhaseSeries:
    """Phase over time with its magnitude, voxel by voxel.

    Attributes
    ----------
    curves : Curves
        Phase in rad.
    magnitude : PlanarSignal or None
    reference : (first, stop)
        Frames whose mean is the phase before heating.
    unwrapped : bool
        Phases are continuous already.
    """

    curves: Curves
    magnitude: PlanarSignal | None
    reference: tuple[int, int]
    unwrapped: bool

    def change(self, index: IndexArray) -> tuple[DoubleArray, DoubleArray]:
        """Phase minus that of the reference, rad, and the size of each step that was wrapped, (n, n_some)."""
        phase = self.curves.samples(index)
        steps = np.diff(phase, axis=0)
        if not self.unwrapped:
            steps = wrapped(steps)
            phase = np.vstack((np.zeros((1, index.size)), np.cumsum(steps, axis=0))) + 0.0 * phase[:1]
        first, stop = self.reference
        sizes = np.vstack((np.zeros((1, index.size)), np.abs(steps)))
        return phase - phase[first:stop].mean(axis=0), sizes

    def weights(self, index: IndexArray) -> DoubleArray:
        """Magnitudes, (n, n_some); 1 where there are none."""
        if self.magnitude is None:
            return np.ones((self.curves.n_samples, index.size))
        size = np.array(self.magnitude.samples[:, index], dtype=np.float64)
        size[~np.isfinite(size)] = np.nan
        return size


def wrapped(angle: npt.ArrayLike) -> DoubleArray:
    """Angles in rad, taken to the turn around 0."""
    given = np.asarray(angle, np.float64)
    turned: DoubleArray = given - 2.0 * np.pi * np.round(given / (2.0 * np.pi))
    return turned


def phase_series(
    signal: npt.ArrayLike,
    magnitude: npt.ArrayLike | None,
    reference: tuple[int, int],
    mask: npt.ArrayLike | None,
    *,
    unwrapped: bool,
) -> PhaseSeries:
    """The phase of complex signals, or phases in rad as they are.

    Raises
    ------
    ValueError
        If shapes do not fit, or a complex signal comes with a magnitude.
    ImplausibleValue
        If wrapped phases span more than one turn: they are not in rad, or not wrapped.
    """
    given = np.asarray(signal)
    n = given.shape[-1] if given.ndim else 0
    if given.dtype.kind == "c":
        if magnitude is not None:
            raise ValueError("a complex signal has its own magnitude; give one or the other")
        single = given.dtype == np.complex64
        magnitude = np.abs(given).astype(np.float32 if single else np.float64)
        given = np.angle(given).astype(np.float32 if single else np.float64)
    curves = Curves.of(given, n, mask)
    if not unwrapped:
        _check_radians(curves.planes.samples)
    size = None
    if magnitude is not None:
        ordered = np.asarray(magnitude, order=curves.planes.order)
        size = Curves.of(ordered, n, None, "magnitude").planes
        if size.shape != curves.planes.shape:
            raise ValueError(f"magnitude has shape {ordered.shape}, the phase has {given.shape}")
    return PhaseSeries(curves, size, reference, unwrapped)


def _check_radians(phase: npt.NDArray[np.floating]) -> None:
    finite = np.isfinite(phase)
    if not finite.any():
        return
    span = float(phase.max(where=finite, initial=-np.inf) - phase.min(where=finite, initial=np.inf))
    if span > _LARGEST_SPAN:
        raise ImplausibleValue(
            "the phase is not in radians, or not wrapped",
            where="signal",
            found=f"values that span {span:g}",
            needed="one turn, 6.28 rad",
            next_step="scale stored values to -pi..pi, or give unwrapped=True for a continuous phase",
        )


@dataclass(frozen=True, eq=False)
class Drift:
    """Polynomial in space for each frame, with the scatter that it leaves.

    Attributes
    ----------
    coefficients : (n_terms, n) ndarray
        rad
    covariance : (n_terms, n_terms) ndarray
        Of the coefficients, for unit scatter.
    scatter : (n,) ndarray
        Standard deviation of the phase change about the polynomial, of an unheated voxel whose magnitude is
        `magnitude`; NaN where there are no degrees of freedom.
    magnitude : float
        Root mean square over the unheated region; 1 where magnitudes are not known.
    order, n_voxels : int
    """

    coefficients: DoubleArray
    covariance: DoubleArray
    scatter: DoubleArray
    magnitude: float
    order: int
    n_voxels: int

    def at(self, terms: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Drift and its standard error at voxels with these terms, (n, n_voxels)."""
        spread = np.sqrt(np.maximum(np.einsum("vi,ij,vj->v", terms, self.covariance, terms), 0.0))
        return (terms @ self.coefficients).T, self.scatter[:, np.newaxis] * spread


def polynomial_terms(index: IndexArray, planes: PlanarSignal, order: int) -> DoubleArray:
    """Products of voxel positions up to a total order, (n_some, n_terms); each axis from -1 to 1."""
    positions = np.unravel_index(index, planes.shape, order=planes.order) if planes.shape else ()
    axes = [
        2.0 * position / (extent - 1) - 1.0
        for position, extent in zip(positions, planes.shape, strict=True)
        if extent > 1
    ]
    columns = [np.ones(index.size)]
    for degree in range(1, order + 1):
        columns += [
            np.prod([axes[axis] for axis in choice], axis=0)
            for choice in combinations_with_replacement(range(len(axes)), degree)
        ]
    return np.stack(columns, axis=1)


def fit_drift(series: PhaseSeries, unheated: BoolArray, order: int) -> Drift:
    """Weighted least squares of the phase change of the unheated region, frame by frame.

    Parameters
    ----------
    series : PhaseSeries
    unheated : (n_voxels,) ndarray of bool
        Voxels without fat.
    order : {0, 1, 2}

    Raises
    ------
    ValueError
        If the order is another, or the region has too few usable voxels, or lies so that it cannot tell the
        polynomial.
    """
    if order not in range(_MOST_ORDER + 1):
        raise ValueError(f"drift_order must be 0, 1 or 2, got {order!r}")
    index = np.flatnonzero(unheated)
    change, _ = series.change(index)
    weight = series.weights(index).mean(axis=0)
    with np.errstate(over="ignore"):
        usable = np.isfinite(change).all(axis=0) & np.isfinite(weight**2) & (weight > 0)
    index, change, weight = index[usable], change[:, usable], weight[usable]
    terms = polynomial_terms(index, series.curves.planes, order)
    n_terms = terms.shape[1]
    if index.size < n_terms:
        raise ValueError(
            f"a drift of order {order} has {n_terms} terms and needs as many unheated voxels, "
            f"found {index.size}"
        )
    magnitude = float(np.sqrt(np.mean(weight**2)))
    weight = weight / magnitude
    design = terms * weight[:, np.newaxis]
    if np.linalg.matrix_rank(design) < n_terms:
        raise ValueError(
            f"the unheated region is too flat for a drift of order {order}; choose a lower order"
        )
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ (change * weight).T
    residual = (change * weight).T - design @ coefficients
    freedom = index.size - n_terms
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.sqrt((residual**2).sum(axis=0) / freedom) if freedom else np.full(len(change), np.nan)
    return Drift(coefficients, inverse @ inverse.T, scatter, magnitude, order, index.size)
