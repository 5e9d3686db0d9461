"""Relaxation times from whatever there is: a series to fit, a map of the time or of the rate, one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imgtheranostics.mapping.relaxation_times import TIME_OF_RATE, measured_times
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.mri import decay_maps, relaxation_maps
from imgtheranostics.volume import Estimate, Volume


def relaxation_estimate(
    x: Volume | Estimate | float,
    kind: str,
    *,
    like: Volume | None = None,
    mask: Mask = None,
    **options: Any,
) -> Estimate:
    """The relaxation time that belongs to a rate, at whatever stage it is given.

    Parameters
    ----------
    x : Volume, Estimate or float
        A series with the axis that the fit needs; a map of the time or the rate; or one time in s.
    kind : {"r1", "r2", "r2star"}
    like : Volume, optional
        Gives the grid for a number.
    mask : Volume, Regions or array, optional
        For fits.
    **options
        Of the fit.

    Raises
    ------
    UnitMismatch
        If a map is of another quantity.
    """
    if kind not in TIME_OF_RATE:
        raise ValueError(f"kind must be one of {', '.join(TIME_OF_RATE)}, not {kind!r}")
    quantity = TIME_OF_RATE[kind]
    if isinstance(x, Volume) and x.quantity == "signal":
        fits: dict[str, Callable[..., Estimate]] = {
            "t1": relaxation_maps.t1_map,
            "t2": decay_maps.t2_map,
            "t2star": decay_maps.t2star_map,
        }
        return fits[quantity](x, mask=mask, **options)
    needed = f"a series to fit, or a map of {quantity} [s] or {kind} [1/s]"
    return measured_times(x, kind, like=like, needed=needed)
