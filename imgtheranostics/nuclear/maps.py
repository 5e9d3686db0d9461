"""Maps with standard error and flags: one pass over the voxels, factors in float64, results in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, UnitMismatch
from imgtheranostics.volume import Estimate, Flag, Step, Volume

FloatArray = npt.NDArray[np.floating]

LOWEST_DENSITY_G_ML = 0.1
"""Below it a voxel is air, where activity per gram has no meaning."""

_BONE_KNOT_HU = 100.0
_BONE_SLOPE = 0.592e-3


def density_from_ct(ct: Volume) -> Volume:
    """Mass density from CT numbers, g/mL: 1 + HU / 1000 up to 100 HU, then with the slope of bone.

    The upper line has the slope 0.592e-3 per HU of bone tissues [1]_ and joins at 1.1 g/mL; it gives
    1.63 g/mL at 1000 HU. Contrast agent counts as bone: use a scan without it.

    Parameters
    ----------
    ct : Volume
        ``attenuation`` in HU. Resample it to the emission image before, or after, this step.

    Returns
    -------
    Volume
        ``density``; NaN stays NaN, and nothing is below zero.

    Raises
    ------
    UnitMismatch
        If `ct` is not in HU.

    References
    ----------
    .. [1] Schneider W, Bortfeld T, Schlegel W, Phys Med Biol 2000, doi:10.1088/0031-9155/45/2/314.
    """
    if ct.quantity != "attenuation":
        raise UnitMismatch(
            "density needs a CT in HU", found=f"{ct.quantity} [{ct.unit}]", needed="attenuation [[HU]]"
        )
    hu = ct.data.astype(np.float64)
    lower = 1.0 + np.minimum(hu, _BONE_KNOT_HU) / 1000.0
    density = np.maximum(lower + _BONE_SLOPE * np.maximum(hu - _BONE_KNOT_HU, 0.0), 0.0)
    step = Step("density_from_ct", {"knot_hu": _BONE_KNOT_HU, "bone_slope_per_hu": _BONE_SLOPE})
    return ct.derived(density, "density", "g/mL", step)


def density_on_grid(density: Volume, v: Volume) -> FloatArray:
    """Voxels of a density map in the order of `v`, shaped to broadcast over its frames.

    Raises
    ------
    UnitMismatch
        If it is not a density.
    GeometryMismatch
        If it lies on another grid or has more axes.
    """
    if density.quantity != "density":
        raise UnitMismatch(
            "a density map is needed",
            found=f"{density.quantity} [{density.unit}]",
            needed="density [g/mL]",
            next_step="make it from the CT with density_from_ct",
        )
    same = v.grid.same_as(density.grid)
    match = None if same else v.grid.axis_match(density.grid)
    if density.axes or not (same or match is not None):
        raise GeometryMismatch(
            "the density map lies on another grid than the image",
            found=str(same),
            needed="the same grid",
            next_step="resample it to the image first",
        )
    data = density.data if match is None else match.apply_to_array(density.data)
    return data.reshape(data.shape + (1,) * len(v.axes))


def multiplied(data: npt.NDArray[np.float32], factor: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Voxels times factors: product in float64, one pass, stored as float32 in Fortran order."""
    out = np.empty(data.shape, np.float32, order="F")
    np.multiply(data, factor, out=out, dtype=np.float64, casting="same_kind")
    return out


def scaled_estimate(
    v: Volume,
    factor: npt.NDArray[np.float64],
    quantity: str,
    unit: str,
    step: Step,
    *,
    relative_uncertainty: float,
    decisions: Mapping[str, Any],
    warnings: tuple[Caution, ...] = (),
    density: FloatArray | None = None,
    noise_sd: float | npt.ArrayLike | Volume | None = None,
) -> Estimate:
    """Voxels times a factor as an Estimate.

    Parameters
    ----------
    v : Volume
    factor : ndarray
        Broadcasts against the voxels.
    quantity, unit : str
    step : Step
    relative_uncertainty : float
        Shared by all voxels; it becomes `Estimate.calibration_relative`.
    decisions : mapping
    warnings : tuple of Caution
    density : ndarray, optional
        Divides the result, g/mL; voxels of air are not estimated.
    noise_sd : float, array_like or Volume, optional
        Standard deviation of the noise per voxel, in the unit of `v`.

    Returns
    -------
    Estimate
        ``standard_error`` is sqrt(noise^2 + (relative_uncertainty * value)^2); voxels that are not finite
        are NaN and flagged.
    """
    value = multiplied(v.data, factor)
    flags = np.zeros(v.shape, np.uint16, order="F")
    air: npt.NDArray[np.bool_] | None = None
    if density is not None:
        air = ~(density >= LOWEST_DENSITY_G_ML)
        np.divide(value, np.where(air, np.nan, density), out=value, dtype=np.float64, casting="same_kind")
    invalid = ~np.isfinite(value)
    if invalid.any():
        value[invalid] = np.nan
        bad_input = ~np.isfinite(v.data)
        flags[bad_input] |= Flag.INVALID_INPUT.value
        if air is not None:
            flags[np.broadcast_to(air, v.shape)] |= Flag.OUTSIDE_RANGE.value
        flags[invalid & (flags == 0)] |= Flag.INVALID_INPUT.value
    error = multiplied(value, relative_uncertainty)
    np.abs(error, out=error)
    if noise_sd is not None:
        noise = _noise(noise_sd, v) * np.abs(factor)
        if density is not None:
            noise = noise / density
        error = np.asfortranarray(np.hypot(error, noise), dtype=np.float32)
        error[invalid] = np.nan
    result = v.derived(value, quantity, unit, step).with_warnings(*warnings)
    return Estimate(
        result,
        result.replace(data=error),
        result.replace(data=flags, quantity="flags", unit="1"),
        relative_uncertainty,
        decisions,
    )


def _noise(noise_sd: float | npt.ArrayLike | Volume, v: Volume) -> npt.NDArray[np.float64]:
    if isinstance(noise_sd, Volume):
        if noise_sd.unit != v.unit or not v.grid.same_as(noise_sd.grid):
            raise GeometryMismatch(
                "the noise map does not fit the image",
                found=f"{noise_sd.unit}; {v.grid.same_as(noise_sd.grid)}",
                needed=f"{v.unit} on the same grid",
            )
        array = noise_sd.data.astype(np.float64)
        return array.reshape(array.shape + (1,) * (len(v.axes) - len(noise_sd.axes)))
    array = np.asarray(noise_sd, np.float64)
    if (array < 0).any():
        raise ValueError("noise_sd is negative")
    return array
