"""Differential targeted enhancement: the echo of bound bubbles, which a destruction pulse takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import Fit, planar
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound.change_rows import Row, change_table, few_cells
from imgtheranostics.ultrasound.destruction import Burst, burst_at, check_times, find_burst
from imgtheranostics.ultrasound.echo_scale import EchoScale, linearise
from imgtheranostics.ultrasound.pixel_change import Change, FrameMean, change_of, variance_of_mean
from imgtheranostics.ultrasound.region_power import (
    LARGEST_FLOOR_EFFECT,
    LARGEST_SATURATED,
    PowerReader,
    RegionPower,
    region_power,
)
from imgtheranostics.ultrasound.speckle import Patch
from imgtheranostics.ultrasound.tissue_area import tissue_mask, voxels_in_tissue
from imgtheranostics.volume import Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


@overload
def targeted_enhancement(
    signal: Volume,
    time_s: None = None,
    *,
    rois: Regions,
    burst_time_s: float | None = None,
    burst_duration_s: float = 0.0,
    settle_s: float = 0.0,
    dynamic_range_db: float | None = None,
    **options: Any,
) -> pd.DataFrame: ...


@overload
def targeted_enhancement(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    burst_time_s: float | None = None,
    burst_duration_s: float = 0.0,
    settle_s: float = 0.0,
    mask: npt.ArrayLike | None = None,
) -> Fit: ...


def targeted_enhancement(
    signal: Volume | npt.ArrayLike,
    time_s: npt.ArrayLike | None = None,
    *,
    rois: Regions | None = None,
    burst_time_s: float | None = None,
    burst_duration_s: float = 0.0,
    settle_s: float = 0.0,
    dynamic_range_db: float | None = None,
    mask: npt.ArrayLike | None = None,
    **options: Any,
) -> pd.DataFrame | Fit:
    """Mean linear echo power before a destruction pulse minus that after it.

    Parameters
    ----------
    signal : Volume or (..., n) array_like
        A cine, or curves of linear echo power.
    time_s : (n,) array_like, optional
        Frame times of curves; a cine has its own.
    rois : Regions, optional
        Where a cine is measured.
    burst_time_s : float, optional
        Begin of the pulse. Without it, the one abrupt drop of the mean of all curves, or of all regions, is
        taken, and refused where none stands out.
    burst_duration_s, settle_s : float
        Frames from the begin of a given pulse to its end do not count, nor those of `settle_s` after it, in
        which free bubbles flow in again.
    dynamic_range_db : float, optional
        For grey levels.
    mask : (...) array_like of bool, optional
        Of curves: NaN outside.
    **options
        For a cine: ``gamma``, ``gain_db``, ``grey_max``, ``region``, ``largest_saturated``,
        ``largest_floor_effect``, ``subject``, ``session``, as in `imgtheranostics.ultrasound.enhancement`.

    Returns
    -------
    pandas.DataFrame
        Of a cine: a row ``targeted_enhancement`` for each region, with the error of independent speckle
        cells; ``attrs["decisions"]["burst"]`` tells when the pulse was and how that is known.
    Fit
        Of curves: ``targeted_enhancement``, ``before``, ``after`` in the unit of the signal, and
        ``burst_time_s``; errors are those of the frames, neighbours of which may be correlated.

    Raises
    ------
    IllConditioned
        If no pulse is given and none stands out.
    UnsupportedInput
        If there are no frames on one side of it.
    MissingMetadata, UnitMismatch, ImplausibleValue, GeometryMismatch
        As `imgtheranostics.ultrasound.enhancement`.
    ValueError
        If shapes or times do not fit.
    """
    timing = {"burst_time_s": burst_time_s, "duration_s": burst_duration_s, "settle_s": settle_s}
    if isinstance(signal, Volume):
        if time_s is not None or mask is not None:
            raise UnknownChoice("time_s and mask belong to curves; a cine has frame times, and takes rois=")
        if rois is None:
            raise MissingMetadata(
                "the regions to measure the cine in are not given", where="--rois (rois=)", needed="regions"
            )
        return _of_cine(signal, rois, timing, dynamic_range_db, options)
    if options or rois is not None or dynamic_range_db is not None:
        raise UnknownChoice("rois, dynamic_range_db and the options of a cine do not apply to curves")
    if time_s is None:
        raise ValueError("curves need their frame times, time_s")
    return _of_curves(signal, check_times(time_s), timing, mask)


def _timed(times: FloatArray, curve: FloatArray, timing: dict[str, Any]) -> Burst:
    if timing["burst_time_s"] is None:
        return find_burst(times, curve, settle_s=timing["settle_s"])
    return burst_at(
        times, timing["burst_time_s"], duration_s=timing["duration_s"], settle_s=timing["settle_s"]
    )


def _of_curves(
    signal: npt.ArrayLike, times: FloatArray, timing: dict[str, Any], mask: npt.ArrayLike | None
) -> Fit:
    planes = planar(signal, times.size)
    values = np.asarray(planes.samples, np.float64)
    chosen = planes.chosen(mask)
    complete = np.isfinite(values).all(axis=0)
    used = values[:, chosen & complete]
    if not used.shape[1]:
        raise UnsupportedInput("no curve has a value in every frame", found=f"{values.shape[1]} curves")
    burst = _timed(times, used.mean(axis=1), timing)
    parts = [values[frames] for frames in (burst.before, burst.after)]
    means = [part.mean(axis=0) for part in parts]
    variances = [variance_of_mean(part) for part in parts]
    flags = np.zeros(values.shape[1], np.uint16)
    flags[~complete] = Flag.INVALID_INPUT.value
    flags[~chosen] = Flag.MASKED_OUT.value
    bad = flags != 0
    known = [part.shape[0] > 2 for part in parts]
    errors = [np.sqrt(v) if ok else np.full(v.shape, np.nan) for v, ok in zip(variances, known, strict=True)]
    step = np.where(np.isin(np.arange(times.size), burst.before)[:, np.newaxis], means[0], means[1])
    counted = np.concatenate([burst.before, burst.after])
    residual = (values - step)[counted]
    total = np.sum((values[counted] - values[counted].mean(axis=0)) ** 2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = 1.0 - np.sum(residual**2, axis=0) / total

    def shaped(flat: npt.ArrayLike) -> npt.NDArray[Any]:
        return planes.restored(np.where(bad, np.nan, np.asarray(flat, np.float64)))

    return Fit(
        {
            "targeted_enhancement": shaped(means[0] - means[1]),
            "before": shaped(means[0]),
            "after": shaped(means[1]),
            "burst_time_s": shaped(np.full(bad.size, burst.time_s)),
        },
        {
            "targeted_enhancement": shaped(np.hypot(errors[0], errors[1])),
            "before": shaped(errors[0]),
            "after": shaped(errors[1]),
            "burst_time_s": shaped(np.full(bad.size, np.nan)),
        },
        shaped(explained),
        shaped(np.sqrt(np.mean(residual**2, axis=0))),
        planes.restored(np.zeros(bad.size, np.int64)),
        planes.restored(flags),
        {"targeted_enhancement": "1", "before": "1", "after": "1", "burst_time_s": "s"},
    )


def _of_cine(
    volume: Volume,
    rois: Regions,
    timing: dict[str, Any],
    dynamic_range_db: float | None,
    options: dict[str, Any],
) -> pd.DataFrame:
    axis = volume.axis("time")
    if axis is None or len(volume.axes) != 1:
        raise UnsupportedInput(
            "targeted enhancement needs a cine",
            found=", ".join(one.name for one in volume.axes) or "a single image",
            needed="frames along time, and no other axis",
        )
    region = options.pop("region", None)
    limits = {
        "largest_saturated": options.pop("largest_saturated", LARGEST_SATURATED),
        "largest_floor_effect": options.pop("largest_floor_effect", LARGEST_FLOOR_EFFECT),
    }
    labels = {name: options.pop(name, None) for name in ("subject", "session")}
    fitted = rois.fit_to(volume.grid)
    voxels, _ = voxels_in_tissue(fitted, tissue_mask(volume, region), list(fitted))
    linear = linearise(volume, dynamic_range_db=dynamic_range_db, **options)
    scale = EchoScale.of(linear)
    powers = [region_power(linear, own, **limits) for own in voxels]
    burst = _timed(axis.values, _together(powers, timing), timing)
    changes: dict[str, Change] = {}
    for name, own, power in zip(fitted, voxels, powers, strict=True):
        reader = PowerReader(linear.planar, own, scale)
        sides = [FrameMean.of(reader, power, frames) for frames in (burst.before, burst.after)]
        changes[name] = change_of(sides[0], sides[1], Patch.of(own, volume.grid.shape))
    found: tuple[Caution, ...] = tuple(c for name, change in changes.items() for c in few_cells(name, change))
    cautions = merge_cautions(linear.warnings, rois.warnings, found)
    rows = [
        Row(name, "targeted_enhancement", -change.difference, change.difference_error, own.size, change)
        for (name, change), own in zip(changes.items(), voxels, strict=True)
    ]
    table = change_table(volume, rows, cautions, labels)
    table.attrs["decisions"] = {"burst": burst.decision}
    return table


def _together(powers: list[RegionPower], timing: dict[str, Any]) -> FloatArray:
    """Mean power of all regions, each by its pixels, for finding the pulse; a flash may be saturated."""
    if timing["burst_time_s"] is not None:
        return np.empty(0)
    sizes = np.array([power.n_valid for power in powers], np.float64)
    means = np.array([power.pixel_mean for power in powers])
    return np.asarray(np.sum(means * sizes, axis=0) / np.sum(sizes, axis=0))
