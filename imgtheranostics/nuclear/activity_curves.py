"""Time-activity curves per region, from dynamic series and from several scans of one subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    merge_cautions,
)
from imgtheranostics.nuclear.administration import Administration, label_given
from imgtheranostics.nuclear.body import KINDS
from imgtheranostics.nuclear.calibration import Calibration, calibrate
from imgtheranostics.nuclear.clock import SAME_TIME_S
from imgtheranostics.nuclear.curve_values import CurveValues, curve_values
from imgtheranostics.nuclear.energy_windows import check_same_windows
from imgtheranostics.nuclear.free_label import free_label_pattern, label_of
from imgtheranostics.nuclear.peak import region_peaks
from imgtheranostics.nuclear.scale import emission_record
from imgtheranostics.nuclear.uptake import Choices, ScanTiming, scan_timing, time_origin_s
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

QUANTITIES = ("activity_concentration", "id_per_g", "id_per_ml", *(f"suv_{kind}" for kind in KINDS))
"""Quantities that a curve can be made of."""

_SAME_INJECTION_S = 60.0
_WHOLE_SPHERE = 0.999


def time_activity(
    v_or_list: Volume | Sequence[Volume],
    rois: Regions | Sequence[Regions],
    *,
    quantity: str | None = None,
    decay_corrected: bool = True,
    administration: Administration | None = None,
    peak: bool | None = None,
    density_g_ml: float | Volume = 1.0,
    decay_correction: str | None = None,
    resolution_mm: float | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    workers: int | None = None,
    **subject: Any,
) -> pd.DataFrame:
    """Statistics of each region over time.

    Parameters
    ----------
    v_or_list : Volume or sequence of Volume
        One dynamic series, or several scans of one subject, hours or days apart, in any order.
    rois : Regions or sequence of Regions
        For all scans, or one for each.
    quantity : str, optional
        One of `QUANTITIES`; by default activity concentration, or the SUV that the image is.
    decay_corrected : bool
        True: all values as if nothing had decayed since the injection (since the scan start where the
        injection is not known). False: the activity that was there, averaged over each frame.
    administration : Administration, optional
        Goes before what the headers say, for every scan.
    peak : bool, optional
        Add the highest mean in a sphere of 1 mL (SUVpeak, SULpeak). By default where voxels are small
        enough for it, else the column is NaN with the warning ``peak-not-possible``; True refuses then.
    density_g_ml : float or Volume
        For ``id_per_g``.
    decay_correction : {"START", "ADMIN", "NONE"}, optional
    resolution_mm : float, optional
        As in `imgtheranostics.regions.roi_statistics`.
    sensitivity_cps_mbq : float or Calibration, optional
        For counts of a gamma camera, of every scan; see `calibrate`.
    strict_clock : bool
    workers : int, optional
    **subject
        `weight_kg`, `height_m`, `sex`, `confirm_weight` for SUV.

    Returns
    -------
    pandas.DataFrame
        Columns of DESIGN section 6, with ``axis`` "time" and ``axis_value`` the middle of the frame in s,
        then ``peak`` (in the row's unit) and ``decay_corrected``. ``attrs`` says the ``time_origin``
        ("injection" or "scan start"), the ``decay_reference``, the decisions of each scan, the warnings
        and the details of each row.

    Raises
    ------
    ValueError
        If the quantity is not known.
    NothingUsable
        If no volume is given.
    MissingMetadata
        If several scans cannot be placed on one time axis, or the uptake is not defined.
    UnitMismatch
        If counts of several scans come from different energy windows.
    ImgTheranosticsError
        As `suv`, `percent_id_per_gram` and `roi_statistics`.
    """
    import pandas as pd

    given = [v_or_list] if isinstance(v_or_list, Volume) else list(v_or_list)
    check_same_windows(given)
    volumes = [calibrate(v, sensitivity_cps_mbq) for v in given]
    regions = [rois] * len(volumes) if isinstance(rois, Regions) else list(rois)
    if not volumes:
        raise NothingUsable("no volume was given for a time-activity curve")
    if len(regions) != len(volumes):
        raise ValueError(f"{len(regions)} sets of regions for {len(volumes)} volumes")
    if quantity is not None and quantity not in QUANTITIES:
        raise ValueError(f"quantity must be one of {', '.join(QUANTITIES)}, not {quantity!r}")
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    check_one_subject(volumes)
    scans = [scan_values(v, quantity, decay_corrected, choices, density_g_ml, subject) for v in volumes]
    origin = common_origin(scans)
    tables = [
        _table(scan, region, decay_corrected, peak, resolution_mm, workers)
        for scan, region in zip(scans, regions, strict=True)
    ]
    order = np.argsort([scan.mid_s[0] for scan in scans], kind="stable")
    details = [detail for n in order for detail in tables[n].attrs.pop("details", [])]
    for table in tables:
        table.attrs.clear()
    frame: pd.DataFrame = pd.concat([tables[n] for n in order], ignore_index=True)
    label = label_of(volumes[0].acquisition, label_given(administration))
    reference = origin if decay_corrected else "none: activity as it was during each frame"
    frame.attrs = {
        "time_origin": origin,
        "decay_corrected": decay_corrected,
        "decay_reference": reference,
        "decisions": [dict(scans[n].values.template.decisions) for n in order],
        "warnings": merge_cautions(
            injection_cautions(scans),
            *(scans[n].warnings for n in order),
            free_label_pattern(frame, nuclide=label),
        ),
        "details": details,
    }
    return frame


@dataclass(frozen=True, eq=False)
class ScanValues:
    """One volume as values over time: mid-frame times, what they count from, and when that was.

    Attributes
    ----------
    values : CurveValues
    mid_s : (n_frames,) ndarray
    origin : {"injection", "scan start"}
    injected : datetime or None
    frame_s : (n_frames,) ndarray
        Length of each frame; NaN where it is not known.
    warnings : tuple of Caution
    """

    values: CurveValues
    mid_s: FloatArray
    origin: str
    injected: datetime | None
    frame_s: FloatArray
    warnings: tuple[Caution, ...]


def scan_values(
    v: Volume,
    quantity: str | None,
    decay_corrected: bool,
    choices: Choices,
    density_g_ml: float | Volume,
    subject: dict[str, Any],
) -> ScanValues:
    """Values of one scan over time, and what its times count from; keywords as in `time_activity`."""
    record = emission_record(v, label_given(choices.administration))
    wanted = quantity or (v.quantity if v.quantity in QUANTITIES else "activity_concentration")
    timing: ScanTiming | None = None
    cautions: tuple[Caution, ...] = ()
    axis = v.axis("time")
    try:
        timing = scan_timing(v, record, choices)
    except ImgTheranosticsError as error:
        if not (decay_corrected and v.quantity.startswith("suv_") and axis is not None):
            raise
        text = f"times count from the start of the scan, because the clocks are not usable: {error.what}"
        cautions = (Caution("time-since-scan-start", text),)
    values = curve_values(
        v,
        record,
        wanted,
        timing,
        choices,
        decay_corrected=decay_corrected,
        density_g_ml=density_g_ml,
        subject=subject,
    )
    warnings = merge_cautions(values.template.warnings, cautions)
    if timing is None:
        times = np.zeros(1) if axis is None else axis.values
        return ScanValues(values, times, "scan start", None, np.full(times.size, np.nan), warnings)
    mid_s = _frame_times(v, timing) - time_origin_s(timing)
    frame_s = _frame_lengths(timing, mid_s.size)
    if timing.injection is None:
        return ScanValues(values, mid_s, "scan start", None, frame_s, warnings)
    started = timing.clock.origin
    injected = None if started is None else started + timedelta(seconds=timing.injection.seconds)
    return ScanValues(values, mid_s, "injection", injected, frame_s, warnings)


def _frame_times(v: Volume, timing: ScanTiming) -> FloatArray:
    """Middle of each frame on the scan's clock, averaged over slices."""
    clock, axis = timing.clock, v.axis("time")
    n_frames = 1 if axis is None else len(axis)
    if clock.start_s is not None:
        half = 0.0 if clock.duration_s is None else 0.5 * clock.duration_s
        times = np.atleast_2d(clock.start_s + half)
        own = timing.reference.mid_s
        if n_frames == 1 and own is not None and np.ptp(clock.start_s) <= SAME_TIME_S < np.ptp(own):
            times = np.atleast_2d(own)
        if times.shape[1] == n_frames and np.isfinite(times).any(axis=0).all():
            return np.asarray(np.nanmean(times, axis=0))
    first = clock.first_frame_s
    if first is None:
        first = time_origin_s(timing)
    return np.array([first]) if axis is None else np.asarray(axis.values + first)


def _frame_lengths(timing: ScanTiming, n_frames: int) -> FloatArray:
    """Length of each frame where all its slices share it, else NaN."""
    clock = timing.clock
    if clock.start_s is None or clock.duration_s is None:
        return np.full(n_frames, np.nan)
    lengths = np.broadcast_to(np.atleast_2d(clock.duration_s), np.atleast_2d(clock.start_s).shape)
    if lengths.shape[1] != n_frames:
        return np.full(n_frames, np.nan)
    return np.where(np.ptp(lengths, axis=0) <= SAME_TIME_S, lengths[0], np.nan)


def _table(
    scan: ScanValues,
    regions: Regions,
    decay_corrected: bool,
    peak: bool | None,
    resolution_mm: float | None,
    workers: int | None,
) -> pd.DataFrame:
    values, n_regions = scan.values, len(regions)
    table = roi_statistics(values.image, regions, resolution_mm=resolution_mm, workers=workers)
    factor = np.repeat(values.frame_factor, n_regions)
    table["axis"] = "time"
    table["axis_value"] = np.repeat(scan.mid_s, n_regions)
    table["quantity"], table["unit"] = values.template.quantity, values.template.unit
    for column in ("mean", "sd", "median", "p05", "p95", "min", "max"):
        table[column] *= factor
    _add_uncertainty(table, factor, values.template.calibration_relative)
    for detail, length in zip(
        table.attrs.get("details", []), np.repeat(scan.frame_s, n_regions), strict=False
    ):
        detail["frame_duration_s"] = float(length)
    table["flags"] = [
        f"INVALID_INPUT:{n}" if n else "" for n in (table["n_voxels"] - table["n_valid"]).astype(int)
    ]
    table["warnings"] = ";".join(
        dict.fromkeys(caution.code for caution in (*scan.warnings, *regions.warnings))
    )
    if peak is not False:
        _add_peak(table, values.image, regions, factor, bool(peak), workers)
    table["decay_corrected"] = decay_corrected
    return table


def _add_uncertainty(table: pd.DataFrame, factor: FloatArray, calibration_relative: float) -> None:
    """Scale the sampling part and add the calibration part, in the table and in its details."""
    sampling = table["standard_error"].to_numpy() * factor
    calibration = calibration_relative * np.abs(table["mean"].to_numpy())
    if calibration_relative > 0:
        sampling = np.where((table["n_valid"] == 1) & np.isnan(sampling), 0.0, sampling)
    table["standard_error"] = np.hypot(sampling, calibration)
    rows = zip(table.attrs.get("details", []), table["axis_value"], sampling, calibration, strict=False)
    for detail, value, random, shared in rows:
        detail["axis_value"] = float(value)
        detail["standard_error_sampling"] = float(random)
        detail["standard_error_calibration"] = float(shared)


def _add_peak(
    table: pd.DataFrame,
    v: Volume,
    regions: Regions,
    factor: FloatArray,
    needed: bool,
    workers: int | None,
) -> None:
    try:
        found = region_peaks(v, regions, workers=workers)
    except GeometryMismatch:
        if needed:
            raise
        table["peak"] = np.nan
        noted, code = np.ones(len(table), bool), "peak-not-possible"
    else:
        value = found.value.ravel() * factor
        table["peak"] = value
        noted, code = (found.inside.ravel() < _WHOLE_SPHERE) & np.isfinite(value), "peak-sphere-clipped"
    table.loc[noted, "warnings"] = [
        ";".join(filter(None, (codes, code))) for codes in table.loc[noted, "warnings"]
    ]


def common_origin(scans: Sequence[ScanValues]) -> str:
    """What the times of all scans count from.

    Raises
    ------
    MissingMetadata
        If several scans do not all have an injection.
    """
    origins = {scan.origin for scan in scans}
    if len(scans) > 1 and origins != {"injection"}:
        raise MissingMetadata(
            "several scans need one injection to count their times from",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            found="no usable injection in at least one of them",
            needed="date and time of injection in every scan",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    return origins.pop()


def injection_cautions(scans: Sequence[ScanValues]) -> tuple[Caution, ...]:
    """A caution where scans state different injections."""
    moments = [scan.injected for scan in scans if scan.injected is not None]
    if not moments or (max(moments) - min(moments)).total_seconds() <= _SAME_INJECTION_S:
        return ()
    apart = (max(moments) - min(moments)).total_seconds()
    text = f"the scans state injections up to {apart:.6g} s apart; each was counted from its own"
    return (Caution("injections-differ", text, "RadiopharmaceuticalStartDateTime (0018,1078)"),)


def check_one_subject(volumes: Sequence[Volume]) -> None:
    """`ImplausibleValue` where scans are of several subjects."""
    if len({v.source.subject for v in volumes} - {""}) > 1:
        raise ImplausibleValue(
            "the scans are of different subjects", needed="scans of one subject for one curve"
        )
