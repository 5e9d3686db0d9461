"""Time-activity curves per region, from dynamic series and from several scans of one subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    merge_cautions,
)
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.analysis import percent_id_per_gram, percent_id_per_ml, suv
from imgtheranostics.nuclear.body import KINDS
from imgtheranostics.nuclear.clock import SAME_TIME_S
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.maps import scaled_estimate
from imgtheranostics.nuclear.peak import region_peaks
from imgtheranostics.nuclear.scale import emission_record, image_scale
from imgtheranostics.nuclear.uptake import (
    Choices,
    ScanTiming,
    per_voxel,
    scan_timing,
    time_origin_s,
    to_injection,
)
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Volume, make_step

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
    ImgTheranosticsError
        As `suv`, `percent_id_per_gram` and `roi_statistics`.
    """
    import pandas as pd

    volumes = [v_or_list] if isinstance(v_or_list, Volume) else list(v_or_list)
    regions = [rois] * len(volumes) if isinstance(rois, Regions) else list(rois)
    if not volumes:
        raise NothingUsable("no volume was given for a time-activity curve")
    if len(regions) != len(volumes):
        raise ValueError(f"{len(regions)} sets of regions for {len(volumes)} volumes")
    if quantity is not None and quantity not in QUANTITIES:
        raise ValueError(f"quantity must be one of {', '.join(QUANTITIES)}, not {quantity!r}")
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    _check_one_subject(volumes)
    scans = [_scan(v, quantity, decay_corrected, choices, density_g_ml, subject) for v in volumes]
    origin = _one_origin(scans)
    tables = [
        _table(scan, region, decay_corrected, peak, resolution_mm, workers)
        for scan, region in zip(scans, regions, strict=True)
    ]
    order = np.argsort([scan.mid_s[0] for scan in scans], kind="stable")
    details = [detail for n in order for detail in tables[n].attrs.pop("details", [])]
    for table in tables:
        table.attrs.clear()
    frame: pd.DataFrame = pd.concat([tables[n] for n in order], ignore_index=True)
    reference = origin if decay_corrected else "none: activity as it was during each frame"
    frame.attrs = {
        "time_origin": origin,
        "decay_corrected": decay_corrected,
        "decay_reference": reference,
        "decisions": [dict(scans[n].values.decisions) for n in order],
        "warnings": merge_cautions(_injection_cautions(scans), *(scans[n].values.warnings for n in order)),
        "details": details,
    }
    return frame


@dataclass(frozen=True, eq=False)
class _Scan:
    """One volume as values over time: mid-frame times, what they count from, and when that was."""

    values: Estimate
    mid_s: FloatArray
    origin: str
    injected: datetime | None


def _scan(
    v: Volume,
    quantity: str | None,
    decay_corrected: bool,
    choices: Choices,
    density_g_ml: float | Volume,
    subject: dict[str, Any],
) -> _Scan:
    record = emission_record(v)
    wanted = quantity or (v.quantity if v.quantity in QUANTITIES else "activity_concentration")
    try:
        timing = scan_timing(v, record, choices)
    except ImgTheranosticsError as error:
        axis = v.axis("time")
        if not (decay_corrected and v.quantity.startswith("suv_") and axis is not None):
            raise
        text = f"times count from the start of the scan, because the clocks are not usable: {error.what}"
        values = _uptake(v, wanted, choices, density_g_ml, subject)
        noted = values.value.with_warnings(Caution("time-since-scan-start", text))
        return _Scan(replace(values, value=noted), axis.values, "scan start", None)
    if wanted == "activity_concentration":
        values = _activity(v, record, timing)
    else:
        values = _uptake(v, wanted, choices, density_g_ml, subject)
    if not decay_corrected:
        values = _as_it_was(values, timing)
    mid_s = _frame_times(v, timing) - time_origin_s(timing)
    if timing.injection is None:
        return _Scan(values, mid_s, "scan start", None)
    started = timing.clock.origin
    injected = None if started is None else started + timedelta(seconds=timing.injection.seconds)
    return _Scan(values, mid_s, "injection", injected)


def _uptake(
    v: Volume, wanted: str, choices: Choices, density_g_ml: float | Volume, subject: dict[str, Any]
) -> Estimate:
    common: dict[str, Any] = {
        "decay_correction": choices.decay_correction,
        "strict_clock": choices.strict_clock,
    }
    if wanted == "id_per_g":
        return percent_id_per_gram(v, choices.administration, density_g_ml, **common)
    if wanted == "id_per_ml":
        return percent_id_per_ml(v, choices.administration, **common)
    if wanted == "activity_concentration":
        raise UnitMismatch("an SUV image holds no activity concentration", needed="Bq/mL")
    return suv(v, wanted.removeprefix("suv_"), choices.administration, **common, **subject)


def _activity(v: Volume, record: EmissionAcquisition, timing: ScanTiming) -> Estimate:
    """Activity concentration corrected to the injection, or to the scan start where that is all."""
    scale = image_scale(v, record, dose_given=True)
    if scale.kind != "activity":
        raise UnitMismatch(
            "the image holds no activity concentration",
            found=f"{v.quantity} [{v.unit}]",
            needed="Bq/mL",
            next_step=f"ask for quantity='suv_{scale.kind}'",
        )
    return scaled_estimate(
        v,
        per_voxel(v, to_injection(timing) * scale.factor),
        "activity_concentration",
        "Bq/mL",
        make_step("decay_correct", to="injection" if timing.injection else "scan start"),
        relative_uncertainty=0.0,
        decisions={**timing.decisions(), "scaling": scale.decisions()},
        warnings=timing.warnings,
    )


def _as_it_was(values: Estimate, timing: ScanTiming) -> Estimate:
    """Values that are corrected to the time origin, decayed to the mean of each frame."""
    if timing.reference.mid_s is None or (
        timing.injection is None and values.quantity != "activity_concentration"
    ):
        raise MissingMetadata(
            "when each frame was is not known, so the decay correction cannot be undone",
            where="AcquisitionTime (0008,0032), ActualFrameDuration (0018,1242), time of injection",
            needed="start and duration of every frame, and the injection",
            next_step="ask for decay_corrected=True, or give the administration",
        )
    since = np.atleast_2d(timing.reference.mid_s) - time_origin_s(timing)
    factor = per_voxel(values.value, decay_factor(since, timing.half_life.seconds))
    step = make_step("undo_decay_correction")
    value, error = values.value, values.standard_error
    data = np.asarray(value.data * factor, np.float32, order="F")
    return replace(
        values,
        value=value.replace(data=data, history=(*value.history, step)),
        standard_error=error.replace(data=np.asarray(error.data * factor, np.float32, order="F")),
    )


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


def _table(
    scan: _Scan,
    regions: Regions,
    decay_corrected: bool,
    peak: bool | None,
    resolution_mm: float | None,
    workers: int | None,
) -> pd.DataFrame:
    table = roi_statistics(scan.values, regions, resolution_mm=resolution_mm, workers=workers)
    n_regions = len(regions)
    table["axis"] = "time"
    table["axis_value"] = np.repeat(scan.mid_s, n_regions)
    for detail, value in zip(table.attrs.get("details", []), table["axis_value"], strict=False):
        detail["axis_value"] = float(value)
    if peak is not False:
        _add_peak(table, scan.values.value, regions, bool(peak), workers)
    table["decay_corrected"] = decay_corrected
    return table


def _add_peak(table: pd.DataFrame, v: Volume, regions: Regions, needed: bool, workers: int | None) -> None:
    try:
        found = region_peaks(v, regions, workers=workers)
    except GeometryMismatch:
        if needed:
            raise
        table["peak"] = np.nan
        noted, code = np.ones(len(table), bool), "peak-not-possible"
    else:
        value = found.value.ravel()
        table["peak"] = value
        noted, code = (found.inside.ravel() < _WHOLE_SPHERE) & np.isfinite(value), "peak-sphere-clipped"
    table.loc[noted, "warnings"] = [
        ";".join(filter(None, (codes, code))) for codes in table.loc[noted, "warnings"]
    ]


def _one_origin(scans: Sequence[_Scan]) -> str:
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


def _injection_cautions(scans: Sequence[_Scan]) -> tuple[Caution, ...]:
    moments = [scan.injected for scan in scans if scan.injected is not None]
    if not moments or (max(moments) - min(moments)).total_seconds() <= _SAME_INJECTION_S:
        return ()
    apart = (max(moments) - min(moments)).total_seconds()
    text = f"the scans state injections up to {apart:.6g} s apart; each was counted from its own"
    return (Caution("injections-differ", text, "RadiopharmaceuticalStartDateTime (0018,1078)"),)


def _check_one_subject(volumes: Sequence[Volume]) -> None:
    if len({v.source.subject for v in volumes} - {""}) > 1:
        raise ImplausibleValue(
            "the scans are of different subjects", needed="scans of one subject for one curve"
        )
