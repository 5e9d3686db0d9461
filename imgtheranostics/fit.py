"""Fit: what every array-level method returns; signals laid out as the kernels take them; curves to draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Fit:
    """Parameters of a model with their standard errors, per voxel or curve.

    Attributes
    ----------
    parameters, standard_errors : mapping of str to ndarray
        By parameter name, units in the name; arrays have the leading shape of the signal. Errors from
        residuals are those of the covariance s^2 (J'J)^-1 over `shortfall`.
    r_squared, rmse : ndarray
        Goodness of fit; `rmse` in the unit of the signal.
    iterations : ndarray of int
        Iterations used.
    flags : ndarray of uint16
        Bits of `imgtheranostics.volume.Flag`.
    units : mapping of str to str
        UCUM code of each parameter.
    """

    parameters: Mapping[str, FloatArray]
    standard_errors: Mapping[str, FloatArray]
    r_squared: FloatArray
    rmse: FloatArray
    iterations: npt.NDArray[np.integer]
    flags: npt.NDArray[np.uint16]
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CurveFit:
    """One measured curve and the model that was fitted to it, ready to be drawn.

    Attributes
    ----------
    label : str
        Region, or voxel.
    quantity : str
        The estimated quantity that the curve leads to.
    axis, axis_unit : str
        What it was measured along, and the UCUM code.
    x, measured : (n,) ndarray
        Samples; NaN where one was left out.
    fitted : (n,) ndarray
        The model at the samples, in the unit of `measured`; NaN when the fit failed.
    line_x, line : (m,) ndarray
        The model on a finer axis.
    unit : str
        UCUM code of `measured`.
    value, standard_error : float
        The estimated quantity of this curve, in its own unit; NaN when the fit failed.
    n_voxels : int
        Voxels that the curve is the mean of.
    parts : mapping of str to (m,) ndarray
        Parts of the model at `line_x`, such as the line of each pool, in the unit of `measured`.
    marks : tuple of float
        Places on the axis that the estimated quantity is read at, such as the offset of a label.
    kind : str
        Which figure it belongs to where that has its own: ``activity``, ``kinetics`` or ``plot``.
    measured_quantity : str
        What was measured, where it has a name.
    errors : (n,) ndarray, optional
        Standard errors of the samples.
    used : (n,) ndarray of bool, optional
        Samples that the fit took; all of them without it.
    band : tuple of (m,) ndarray, optional
        Lower and upper end of the confidence band at `line_x`; NaN where there is none.
    results : mapping of str to (float, float)
        What the curve leads to, by quantity: value and standard error.
    """

    label: str
    quantity: str
    axis: str
    axis_unit: str
    x: FloatArray
    measured: FloatArray
    fitted: FloatArray
    line_x: FloatArray
    line: FloatArray
    unit: str
    value: float = float("nan")
    standard_error: float = float("nan")
    n_voxels: int = 1
    parts: Mapping[str, FloatArray] = field(default_factory=dict)
    marks: tuple[float, ...] = ()
    kind: str = ""
    measured_quantity: str = ""
    errors: FloatArray | None = None
    used: npt.NDArray[np.bool_] | None = None
    band: tuple[FloatArray, FloatArray] | None = None
    results: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def shortfall(freedom: int) -> float:
    """Mean of a standard deviation with few degrees of freedom over the true one, c4 of quality control.

    The square root of the unbiased variance is low by this factor for normal noise: 0.92 for 3 degrees.
    Standard errors from residuals are divided by it, so that their mean is the scatter of repeats.
    NaN without any degree of freedom.
    """
    if freedom < 1:
        return math.nan
    return math.sqrt(2.0 / freedom) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))


@dataclass(frozen=True, eq=False)
class PlanarSignal:
    """A signal of shape (..., n) as n planes of voxels, and the way back to its leading shape.

    Attributes
    ----------
    samples : (n, n_voxels) ndarray
        float32 or float64 as it was given; C order unless it was to be left where it lies; read only where it
        is a view of the caller's array.
    shape : tuple of int
        Leading shape of the signal.
    order : {"C", "F"}
        Order in which the voxels of the leading shape are counted.
    """

    samples: FloatArray
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    @property
    def n_voxels(self) -> int:
        """Voxels, or curves."""
        return int(self.samples.shape[1])

    def flat(self, values: npt.ArrayLike, name: str) -> FloatArray:
        """A number, or a map of the leading shape, as one value per voxel in the type of the samples.

        Raises
        ------
        ValueError
            If the map has another shape.
        """
        given = np.asarray(values)
        try:
            spread = np.broadcast_to(given, self.shape)
        except ValueError:
            raise ValueError(f"{name} has shape {given.shape}, the signal's is {self.shape}") from None
        return np.ascontiguousarray(spread.ravel(order=self.order), dtype=self.samples.dtype)

    def chosen(self, mask: npt.ArrayLike | None) -> npt.NDArray[np.bool_]:
        """Which voxels to work on, flat; all of them without a mask."""
        if mask is None:
            return np.ones(self.n_voxels, np.bool_)
        given = np.asarray(mask)
        if given.shape != self.shape:
            raise ValueError(f"mask has shape {given.shape}, the signal's is {self.shape}")
        return np.ascontiguousarray(given.ravel(order=self.order), dtype=np.bool_)

    def restored(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One value per voxel in the leading shape again."""
        return flat.reshape(self.shape, order=self.order)


def planar(signal: npt.ArrayLike, n: int, name: str = "signal", *, contiguous: bool = True) -> PlanarSignal:
    """A signal of shape (..., n) as planes, without a copy where memory already lies that way.

    Images of the data model lie so that this is a view; float32 stays float32, all else becomes float64.
    What a masked array hides is not a number.
    Where memory lies curve by curve, ``contiguous=False`` leaves it there, for methods that want curves.

    Raises
    ------
    ValueError
        If the last axis is not `n` long.
    """
    if isinstance(signal, np.ma.MaskedArray) and signal.dtype.kind in "biuf":
        kept = np.float32 if signal.dtype == np.float32 else np.float64
        signal = np.ma.filled(signal.astype(kept), np.nan)
    given = np.asarray(signal)
    if given.ndim == 0 or given.shape[-1] != n:
        raise ValueError(f"{name} has shape {given.shape}, but its last axis must have {n} samples")
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{name} is of type {given.dtype}, but must be real numbers")
    if given.dtype != np.float32:
        given = given.astype(np.float64, copy=False)
    order: Literal["C", "F"] = "F" if given.flags.f_contiguous and given.ndim > 1 else "C"
    samples = given.reshape(-1, n, order=order).T
    return PlanarSignal(np.ascontiguousarray(samples) if contiguous else samples, given.shape[:-1], order)
