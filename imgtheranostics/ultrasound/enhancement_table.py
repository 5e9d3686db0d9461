"""Echo enhancement of regions: power against the frames before the agent, and against a reference region.

Powers are averaged after linearising and turned into dB last. Absolute power does not compare between
scanners, so what is reported is dB against baseline and the ratio to a reference region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue, UnsupportedInput, merge_cautions
from imgtheranostics.regions import SIZE_UNKNOWN, STATISTICS_COLUMNS, Regions
from imgtheranostics.ultrasound.baseline_power import (
    AgainstBaseline,
    Frames,
    against_baseline,
    baseline_decision,
    frame_list,
)
from imgtheranostics.ultrasound.echo_scale import EchoScale, linear_power, scale_decision
from imgtheranostics.ultrasound.region_power import (
    DECIBELS,
    LARGEST_FLOOR_EFFECT,
    LARGEST_SATURATED,
    PowerReader,
    RegionPower,
    region_power,
)
from imgtheranostics.ultrasound.speckle import FEWEST_CELLS
from imgtheranostics.ultrasound.tissue_area import tissue_mask, voxels_in_tissue
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Axis, Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


_NEGLIGIBLE_DB = 0.001
"""What pixels at the floor may leave open without a caution; the table counts them in any case."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """One region: its pixels, power, and power against baseline."""

    name: str
    voxels: IndexArray
    power: RegionPower
    change: AgainstBaseline


@dataclass(frozen=True, eq=False)
class _Rows:
    """One quantity of one region over all frames."""

    quantity: str
    mean: FloatArray
    error: FloatArray
    flags: npt.NDArray[np.uint16]
    spread: FloatArray | None = None


def enhancement(
    volume: Volume,
    *,
    rois: Regions,
    baseline_frames: Frames,
    dynamic_range_db: float | None = None,
    reference: str | None = None,
    gamma: float = 1.0,
    gain_db: float = 0.0,
    grey_max: float | None = None,
    region: int | None = None,
    largest_saturated: float = LARGEST_SATURATED,
    largest_floor_effect: float = LARGEST_FLOOR_EFFECT,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Echo enhancement of each region in each frame, in dB against the frames before the agent.

    10 log10(P/P_base), both averaged over pixels (and baseline frames) as linear power. Pixels at the floor
    of the log compression count with half the power of grey level 1, which is the middle of what they may be;
    saturated pixels count with the largest power, so that the mean is a lower bound, and it is refused above
    `largest_saturated`.

    Parameters
    ----------
    volume : Volume
        A cine: grey levels, ``echo_level`` in dB or ``echo_intensity``.
    rois : Regions
        On the grid of the cine. Pixels outside the calibrated tissue region of the file do not count.
    baseline_frames : int, slice, range, (first, stop) or sequence of int
        A number counts from the first frame; a pair in a tuple is a window without its end; else a list of
        frames.
    dynamic_range_db : float, optional
        Needed for grey levels, unless the sidecar states it.
    reference : str, optional
        One of the regions: ratios to it and enhancement beyond it are reported too.
    gamma, gain_db, grey_max
        As in `linearise`.
    region : int, optional
        Number of the calibrated tissue region of the file, where there are several.
    largest_saturated : float
        Share of saturated pixels of a region above which its mean is NaN and flagged.
    largest_floor_effect : float
        Relative uncertainty of a mean by pixels at the floor above which it is NaN and flagged.
    subject, session : str, optional
        Labels for the table.
    workers : int, optional
        Threads of the linearisation.

    Returns
    -------
    pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`, one row per quantity, frame and
        region: ``echo_intensity`` (1), ``echo_enhancement`` (dB) and, with a reference, ``echo_ratio`` (1,
        over the reference in the same frame) and ``relative_echo_enhancement`` (dB, beyond that of the
        reference). Standard errors are those of independent speckle cells, not of pixels; speckle that does
        not change cancels from the enhancement. ``attrs["details"]`` has per row the independent cells,
        counts of clipped pixels and what the floor leaves open; ``attrs["decisions"]`` and
        ``attrs["warnings"]`` the rest.

    Raises
    ------
    MissingMetadata
        If the dynamic range or the baseline is not known.
    UnsupportedInput
        If it is no cine, frames are not in it, or one of several tissue regions has to be chosen.
    GeometryMismatch
        If regions lie on another grid or outside the tissue.
    UnitMismatch, ImplausibleValue
        As `linearise`; also if saturation leaves no number at all.
    KeyError
        If the reference is none of the regions.
    """
    time = _time_axis(volume)
    frames = frame_list(baseline_frames, len(time))
    fitted = rois.fit_to(volume.grid)
    names = list(fitted)
    if reference is not None:
        fitted.number(reference)
    voxels, outside = voxels_in_tissue(fitted, tissue_mask(volume, region), names)
    linear = linear_power(
        volume,
        dynamic_range_db=dynamic_range_db,
        gamma=gamma,
        gain_db=gain_db,
        grey_max=grey_max,
        workers=workers,
    )
    limits = {"largest_saturated": largest_saturated, "largest_floor_effect": largest_floor_effect}
    measured = [_measure(linear, name, own, frames, limits) for name, own in zip(names, voxels, strict=True)]
    _check_not_all_saturated(measured, largest_saturated)
    cautions = merge_cautions(
        linear.warnings, rois.warnings, _cautions(measured, outside), _scale_unknown(linear)
    )
    second = next((one for one in measured if one.name == reference), None)
    labels = {
        "subject": subject if subject is not None else volume.source.subject,
        "session": session if session is not None else volume.source.session,
        "warnings": ";".join(dict.fromkeys(caution.code for caution in cautions)),
    }
    table = _table(linear, measured, second, time, labels)
    table.attrs["warnings"] = cautions
    table.attrs["decisions"] = {
        "baseline": baseline_decision(frames),
        "linearisation": scale_decision(linear),
        "reference": {"rule": "given" if reference else "none", "region": reference},
        "floor": {"rule": "pixels at the floor count with half the power of grey level 1", **limits},
    }
    return table


def _time_axis(volume: Volume) -> Axis:
    axis = volume.axis("time")
    if axis is None or len(volume.axes) != 1:
        raise UnsupportedInput(
            "echo enhancement over time needs a cine",
            found=", ".join(one.name for one in volume.axes) or "a single image",
            needed="frames along time, and no other axis",
        )
    return axis


def _measure(
    linear: Volume, name: str, voxels: IndexArray, frames: IndexArray, limits: Mapping[str, float]
) -> _Measured:
    power = region_power(linear, voxels, **limits)
    reader = PowerReader(linear.planar, voxels, EchoScale.of(linear))
    change = against_baseline(reader, power, frames, linear.grid.shape, name)
    return _Measured(name, voxels, power, change)


def _check_not_all_saturated(measured: list[_Measured], largest: float) -> None:
    if not measured or not all((one.power.flags & Flag.SATURATED.value).all() for one in measured):
        return
    shares = [float(np.max(one.power.n_saturated / np.maximum(one.power.n_valid, 1))) for one in measured]
    raise ImplausibleValue(
        "every region is saturated in every frame, so that no echo power is known",
        found=f"up to {100 * max(shares):.3g} % of the pixels at the largest grey level",
        needed=f"at most {100 * largest:.3g} %",
        next_step="image with less gain, or give grey_max if the largest level is another",
    )


def _cautions(measured: list[_Measured], outside: list[int]) -> tuple[Caution, ...]:
    found: list[Caution] = []
    for one, left_out in zip(measured, outside, strict=True):
        found += _clipping(one)
        found += one.change.cautions
        if left_out:
            found.append(
                Caution(
                    "outside-tissue",
                    f"{one.name}: {left_out} pixels lie outside the tissue of the frame and do not count",
                    one.name,
                )
            )
        cells = min(one.power.cells.n_effective, one.change.cells.n_effective)
        if cells < FEWEST_CELLS:
            found.append(
                Caution(
                    "few-speckle-cells",
                    f"{one.name}: only {cells:.2g} independent speckle cells, or structure across all of the "
                    "region: the standard error of its mean is not known",
                    one.name,
                )
            )
    return tuple(found)


def _clipping(one: _Measured) -> list[Caution]:
    power, found = one.power, []
    n = np.maximum(power.n_valid, 1)
    top, floor = power.n_saturated / n, power.n_floor / n
    refused = int(np.count_nonzero(power.flags & Flag.SATURATED.value))
    if top.max(initial=0.0) > 0:
        text = f"{one.name}: up to {100 * top.max():.2g} % of the pixels are saturated; "
        text += "the mean is a lower bound, of speckle low by about that share"
        if refused:
            text += f"; {refused} of {n.size} frames are refused"
        found.append(Caution("saturated-pixels", text, one.name))
    refused = int(np.count_nonzero(power.flags & Flag.BELOW_NOISE.value))
    open_db = float(np.max(np.where(np.isfinite(one.change.floor_db), one.change.floor_db, 0.0), initial=0.0))
    if refused or open_db > _NEGLIGIBLE_DB:
        text = f"{one.name}: up to {100 * floor.max():.2g} % of the pixels are at the floor of the log "
        text += f"compression, which leaves the enhancement open by {open_db:.2g} dB at most"
        if refused:
            text += f"; {refused} of {n.size} frames are refused"
        found.append(Caution("floor-pixels", text, one.name))
    return found


def _scale_unknown(linear: Volume) -> tuple[Caution, ...]:
    if EchoScale.of(linear) is not None:
        return ()
    return (
        Caution(
            "clipping-unknown",
            "dB or linear values do not tell which pixels were cut off at the floor or the top",
        ),
    )


def _quantities(one: _Measured, second: _Measured | None) -> list[_Rows]:
    power, change = one.power, one.change
    rows = [
        _Rows("echo_intensity", power.mean, power.standard_error, power.flags, power.quantiles),
        _Rows("echo_enhancement", change.decibels, change.error_db, change.flags),
    ]
    if second is None:
        return rows
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = power.mean / second.power.mean
        if one is second:
            relative, error = np.zeros_like(ratio), np.zeros_like(ratio)
        else:
            relative = np.hypot(power.relative_error, second.power.relative_error)
            error = np.hypot(change.error_db, second.change.error_db)
    both = power.flags | second.power.flags
    beyond = change.decibels - second.change.decibels
    return [
        *rows,
        _Rows("echo_ratio", ratio, ratio * relative, both),
        _Rows("relative_echo_enhancement", beyond, error, change.flags | second.change.flags),
    ]


def _table(
    linear: Volume,
    measured: list[_Measured],
    second: _Measured | None,
    time: Axis,
    labels: Mapping[str, str],
) -> pd.DataFrame:
    import pandas as pd

    sized = not any(caution.code in SIZE_UNKNOWN for caution in linear.warnings)
    tables, details = [], []
    for one in measured:
        for rows in _quantities(one, second):
            spread = rows.spread
            n = len(time)
            blank = np.full(n, np.nan)
            columns: dict[str, Any] = {
                **labels,
                "region": one.name,
                "quantity": rows.quantity,
                "unit": QUANTITIES[rows.quantity].unit,
                "axis": time.name,
                "axis_value": time.values,
                "n_voxels": one.voxels.size,
                "n_valid": one.power.n_valid,
                "volume_ml": one.voxels.size * linear.grid.voxel_volume_ml if sized else np.nan,
                "mean": rows.mean,
                "standard_error": rows.error,
                "flags": [_flag_text(one.power, rows.flags, k) for k in range(n)],
            }
            for place, name in enumerate(("sd", "p05", "median", "p95", "min", "max")):
                columns[name] = blank if spread is None else spread[:, place]
            tables.append(pd.DataFrame(columns, columns=list(STATISTICS_COLUMNS)))
            details += _details(one, rows.quantity, time)
    table = pd.concat(tables, ignore_index=True)
    table.attrs["details"] = details
    return table


def _flag_text(power: RegionPower, flags: npt.NDArray[np.uint16], frame: int) -> str:
    """Counts of clipped pixels, and of all pixels for another reason why a mean was refused."""
    counts = {Flag.SATURATED: int(power.n_saturated[frame]), Flag.BELOW_NOISE: int(power.n_floor[frame])}
    parts = [f"{flag.name}:{count}" for flag, count in counts.items() if count]
    others = (flag for flag in Flag if flags[frame] & flag.value and not counts.get(flag))
    return ";".join([*parts, *(f"{flag.name}:{int(power.n_valid[frame])}" for flag in others)])


def _details(one: _Measured, quantity: str, time: Axis) -> list[dict[str, Any]]:
    power, change = one.power, one.change
    of_power = quantity in ("echo_intensity", "echo_ratio")
    cells = power.cells if of_power else change.cells
    with np.errstate(divide="ignore", invalid="ignore"):
        own = DECIBELS * power.floor_half / power.mean
    return [
        {
            "region": one.name,
            "quantity": quantity,
            "axis_value": float(time.values[k]),
            "n_effective": cells.n_effective,
            "n_floor": int(power.n_floor[k]),
            "n_saturated": int(power.n_saturated[k]),
            "floor_open_db": float(own[k] if of_power else change.floor_db[k]),
            "baseline_power": change.baseline,
        }
        for k in range(len(time))
    ]
