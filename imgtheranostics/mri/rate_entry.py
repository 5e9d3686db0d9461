"""Relaxation times from whatever there is: a series to fit, a map of the time or of the rate, one number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.errors import (
    Caution,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.mri import decay_maps, relaxation_maps
from imgtheranostics.mri.fitted_maps import with_rate
from imgtheranostics.mri.plausible import check_relaxation_times
from imgtheranostics.mri.preparation import Mask
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

TIME_OF_RATE = {"r1": "t1", "r2": "t2", "r2star": "t2star"}
"""The relaxation time whose inverse a rate is."""

_SAY_MS = "divide by 1000, or state the unit in the sidecar: Units ms"

_SE_SUFFIX = "_se"


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
    if isinstance(x, (int, float, np.integer, np.floating)):
        return _constant(float(x), quantity, like)
    given = x.quantity
    if given == "signal" and isinstance(x, Volume):
        fits: dict[str, Callable[..., Estimate]] = {
            "t1": relaxation_maps.t1_map,
            "t2": decay_maps.t2_map,
            "t2star": decay_maps.t2star_map,
        }
        return fits[quantity](x, mask=mask, **options)
    if given not in (quantity, kind):
        raise UnitMismatch(
            f"{quantity} is needed",
            found=f"{given} [{x.unit}]",
            needed=f"a series to fit, or a map of {quantity} [s] or {kind} [1/s]",
        )
    estimate = x if isinstance(x, Estimate) else _without_error(x)
    times = estimate if given == quantity else with_rate(estimate, quantity)
    check_relaxation_times(times.value.data, quantity, next_step=_SAY_MS)
    return times


def _constant(seconds: float, quantity: str, like: Volume | None) -> Estimate:
    if like is None or not (np.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a relaxation time must be a positive number of seconds, got {seconds:g}")
    check_relaxation_times(seconds, quantity, next_step=_SAY_MS)
    data = np.full(like.grid.shape, seconds, np.float32, order="F")
    value = Volume(data, like.affine, quantity, "s", history=(make_step("constant", seconds=seconds),))
    zero = value.replace(data=np.zeros_like(data))
    decisions = {"method": {"rule": "one value, given", f"{quantity}_s": seconds}}
    return Estimate(value, zero, zero.replace(quantity="flags", unit="1"), decisions=decisions)


def _without_error(v: Volume) -> Estimate:
    """A map from a file without its standard error: the error is unknown, not zero."""
    missing = np.full(v.shape, np.nan, np.float32, order="F")
    good = np.isfinite(v.data) & (v.data > 0)
    flags = np.where(good, 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    caution = Caution(
        "map-without-error",
        f"the map of {v.quantity} comes without a standard error, so what is made of it has none",
        v.quantity,
    )
    value = v.replace(data=np.where(good, v.data, np.nan)).with_warnings(caution)
    error = value.replace(data=missing, warnings=())
    decisions = {"method": {"rule": f"map of {v.quantity}, given"}}
    flag_map = error.replace(data=flags, quantity="flags", unit="1")
    return Estimate(value, error, flag_map, decisions=decisions)


def load_map(
    path: Path | str, series: str | None = None, *, mr_scaling: str | None = None
) -> Volume | Estimate:
    """A scan or a map from a path; a map with ``name_se.nii.gz`` beside it comes with its standard error.

    Parameters
    ----------
    path : path
    series, mr_scaling : optional
        As in `imgtheranostics.io.loading.load`.

    Raises
    ------
    UnsupportedInput
        If the flags beside the map are none.
    ImgTheranosticsError
        As `imgtheranostics.io.loading.load`.
    """
    from imgtheranostics.io.loading import load

    place = Path(path)
    value = load(place, series=series, mr_scaling=mr_scaling)
    suffix = next((end for end in (".nii.gz", ".nii") if place.name.endswith(end)), None)
    if suffix is None or value.quantity == "signal":
        return value
    stem = place.name.removesuffix(suffix)
    error = place.with_name(f"{stem}{_SE_SUFFIX}{suffix}")
    if not error.is_file():
        return value
    own, shared = place.with_name(f"{stem}_flags{suffix}"), place.with_name(f"flags{suffix}")
    flags = next((load(found) for found in (own, shared) if found.is_file()), None)
    if flags is None:
        marks = np.where(np.isfinite(value.data), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
        flags = value.replace(data=marks, quantity="flags", unit="1", warnings=())
    if flags.quantity != "flags":
        raise UnsupportedInput("the flags beside the map are none", where=own.name, found=flags.quantity)
    decisions = {"method": {"rule": f"map of {value.quantity} with its standard error, given"}}
    return Estimate(value, load(error), flags, decisions=decisions)
