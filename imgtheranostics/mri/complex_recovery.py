"""Complex recovery curves: one phase per voxel turns them into signed ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, shortfall


@dataclass(frozen=True, eq=False)
class InPhase:
    """A complex signal along its phase, and what is left across it.

    Attributes
    ----------
    along : (..., n) ndarray
        Real signal, up to one sign per voxel.
    across : (...) ndarray
        Sum of squares of what is out of phase: noise, or a phase that changes between samples.
    around : (...) ndarray
        Sum of squares about the complex mean.
    """

    along: npt.NDArray[Any]
    across: npt.NDArray[Any]
    around: npt.NDArray[Any]


def in_phase(signal: npt.ArrayLike, n: int) -> InPhase:
    """Turn every curve by the phase along which it has most power: half that of the sum of its squares.

    Raises
    ------
    ValueError
        If the signal is not complex, or its last axis is not `n` long.
    """
    given = np.asarray(signal)
    if given.dtype.kind != "c":
        raise ValueError(f"signal is of type {given.dtype}; model 'complex' needs complex numbers")
    if given.ndim == 0 or given.shape[-1] != n:
        raise ValueError(f"signal has shape {given.shape}, but its last axis must have {n} samples")
    with np.errstate(invalid="ignore", over="ignore"):
        # Squares of very small or large numbers leave the range of float32: each curve in units of its peak.
        peak = np.abs(given).max(axis=-1, keepdims=True).astype(np.float64)
        unit = (given / np.where(peak > 0.0, peak, 1.0)).astype(given.dtype, copy=False)
        turn = np.exp(-0.5j * np.angle(np.sum(unit * unit, axis=-1, keepdims=True)))
        turned = unit * turn.astype(given.dtype)
        along = (turned.real * peak).astype(given.real.dtype)
        power = np.square(peak[..., 0])
        across = np.sum(np.square(turned.imag), axis=-1) * power
        deviation = unit - unit.mean(axis=-1, keepdims=True)
        around = np.sum(np.square(deviation.real) + np.square(deviation.imag), axis=-1) * power
    return InPhase(along, across, around)


def with_both_channels(fit: Fit, projected: InPhase, n: int) -> Fit:
    """The fit of the signal along its phase with the noise of both channels.

    Both channels have the same noise; the phase is a fourth parameter of 2 n numbers.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        alone = n * np.square(fit.rmse.astype(np.float64))
        both = alone + projected.across
        scale = np.sqrt((both / (2 * n - 4)) / (alone / max(n - 3, 1)))
        scale *= shortfall(n - 3) / shortfall(2 * n - 4)
        scale = np.where(alone > 0.0, scale, 1.0).astype(fit.rmse.dtype)
        explained = (1.0 - both / projected.around).astype(fit.rmse.dtype)
        rmse = np.sqrt(both / (2 * n)).astype(fit.rmse.dtype)
    errors = {name: np.asarray(error * scale) for name, error in fit.standard_errors.items()}
    return replace(fit, standard_errors=errors, r_squared=np.asarray(explained), rmse=np.asarray(rmse))
