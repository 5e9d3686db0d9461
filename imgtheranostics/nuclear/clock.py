"""All clocks of one emission scan in seconds from one origin on the file's own clock; dates stay inside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, MissingMetadata
from imgtheranostics.volume import Axis

FloatArray = npt.NDArray[np.float64]

DAY_S = 86400.0
SAME_TIME_S = 1e-3
"""Clock readings closer than this are equal."""


@dataclass(frozen=True, eq=False)
class ScanClock:
    """When a series was scanned, in seconds from `origin`.

    Attributes
    ----------
    origin : datetime or None
        Naive, on the file's local clock; None when the file has no clock, and then the origin is the
        start of the first frame.
    offset_min : float or None
        Offset of the file's clock from UTC.
    series_s, private_s : float or None
        Series time and GE private scan time.
    acquired_s : (n_slices, n_frames) ndarray or None
        Start of acquisition as the file gives it; NaN where absent.
    start_s : (n_slices, n_frames) ndarray or None
        The same, with the frames of a series that has one acquisition time placed by its time axis.
    duration_s, reference_s, factor : (n_slices, n_frames) ndarray or None
        Frame duration, FrameReferenceTime and DecayFactor; NaN where absent.
    """

    origin: datetime | None
    offset_min: float | None
    series_s: float | None
    private_s: float | None
    acquired_s: FloatArray | None
    start_s: FloatArray | None
    duration_s: FloatArray | None
    reference_s: FloatArray | None
    factor: FloatArray | None

    @property
    def first_start_s(self) -> float | None:
        """Earliest start of acquisition over all slices and frames."""
        if self.start_s is None or not np.isfinite(self.start_s).any():
            return None
        return float(np.nanmin(self.start_s))

    @property
    def end_s(self) -> float | None:
        """End of the last frame, or its start when the duration is not known."""
        if self.first_start_s is None or self.start_s is None:
            return None
        duration = np.zeros(1) if self.duration_s is None else np.nan_to_num(self.duration_s)
        return float(np.nanmax(self.start_s + duration))

    @property
    def first_frame_s(self) -> float | None:
        """Start of the first frame, or the series time when acquisition times are absent."""
        return self.first_start_s if self.first_start_s is not None else self.series_s

    def seconds(self, moment: datetime, what: str) -> float:
        """A moment in seconds from the origin.

        Raises
        ------
        MissingMetadata
            If the file has no clock, or only one of the two has an offset from UTC.
        """
        if self.origin is None:
            raise MissingMetadata(
                f"the file has no clock that the {what} could be compared with",
                where="SeriesDate, SeriesTime, AcquisitionDate, AcquisitionTime",
                needed="a delay in seconds instead of a date and time",
                next_step="give the time from injection to the start of the first frame in seconds",
            )
        return (self._local(moment, what) - self.origin).total_seconds()

    def _local(self, moment: datetime, what: str) -> datetime:
        if (moment.tzinfo is None) != (self.offset_min is None):
            known, unknown = (what, "scan") if moment.tzinfo is not None else ("scan", what)
            raise MissingMetadata(
                f"only one of the two clocks, that of the {known}, has an offset from UTC",
                where="TimezoneOffsetFromUTC (0008,0201)",
                found=f"no offset for the {unknown}",
                needed="an offset for both or for neither",
                next_step="give the injection as a date and time of the same kind as the scan's",
            )
        if moment.tzinfo is None or self.offset_min is None:
            return moment
        zone = timezone(timedelta(minutes=self.offset_min))
        return moment.astimezone(zone).replace(tzinfo=None)

    def day(self, seconds: float) -> int:
        """Days from the origin's date to the date of a moment."""
        midnight = datetime.min if self.origin is None else datetime.combine(self.origin.date(), time())
        since = 0.0 if self.origin is None else (self.origin - midnight).total_seconds()
        return int(np.floor((seconds + since) / DAY_S))

    def last_before(self, moment: time, limit_s: float) -> float:
        """The latest occurrence of a time of day that is not after `limit_s`, in seconds from the origin."""
        if self.origin is None:
            raise MissingMetadata(
                "the injection is a time of day, but the file has no clock to place it on",
                where="RadiopharmaceuticalStartTime (0018,1072)",
                next_step="give the time from injection to the start of the first frame in seconds",
            )
        on_first_day = datetime.combine(self.origin.date(), moment.replace(tzinfo=None))
        first = (on_first_day - self.origin).total_seconds()
        return first + DAY_S * float(np.floor((limit_s - first) / DAY_S))


def scan_clock(acquisition: EmissionAcquisition, time_axis: Axis | None = None) -> ScanClock:
    """The clocks of an acquisition record.

    Parameters
    ----------
    acquisition : EmissionAcquisition
    time_axis : Axis, optional
        Mid-frame times in s from the start of the first frame; it places the frames where the file gives
        one time for all of them, or none.

    Raises
    ------
    ImplausibleValue
        If frame durations are negative.
    """
    offset = _offset_min(acquisition)
    series = _naive(acquisition.series_datetime, offset)
    private = _naive(acquisition.private_scan_datetime, offset)
    starts = acquisition.acquisition_datetime
    known = None if starts is None else np.asarray(starts)[~np.isnat(starts)]
    if known is not None and known.size == 0:
        starts = None
    first = None if starts is None or known is None else known.min().astype("datetime64[us]").astype(datetime)
    origin = next((moment for moment in (series, first, private) if moment is not None), None)
    duration = _finite_array(acquisition.frame_duration_s)
    if duration is not None and (duration < 0).any():
        raise ImplausibleValue(
            "a frame duration is negative", where="ActualFrameDuration (0018,1242)", needed="zero or more"
        )
    acquired = None if starts is None or origin is None else _since_array(starts, origin)
    arrays = _common_shape(
        acquired,
        _placed(acquired, origin, time_axis, duration),
        duration,
        _finite_array(acquisition.frame_reference_time_s),
        _finite_array(acquisition.decay_factor),
    )
    return ScanClock(origin, offset, _since(series, origin), _since(private, origin), *arrays)


def _common_shape(*arrays: FloatArray | None) -> list[FloatArray | None]:
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays if array is not None))
    except ValueError:
        found = ", ".join(str(array.shape) for array in arrays if array is not None)
        raise GeometryMismatch(
            "acquisition times, durations and decay factors are not of the same slices and frames",
            found=found,
        ) from None
    return [None if array is None else np.broadcast_to(array, shape) for array in arrays]


def _since_array(moments: npt.NDArray[np.datetime64], origin: datetime) -> FloatArray:
    array = np.atleast_2d(moments)
    elapsed = (array - np.datetime64(origin, "us")) / np.timedelta64(1, "us") * 1e-6
    return np.asarray(np.where(np.isnat(array), np.nan, elapsed))


def _placed(
    acquired: FloatArray | None, origin: datetime | None, time_axis: Axis | None, duration: FloatArray | None
) -> FloatArray | None:
    """Frame starts; where all frames share one acquisition time the time axis tells them apart."""
    if acquired is not None:
        n_frames = max(acquired.shape[1], 1 if time_axis is None else len(time_axis))
        if n_frames == 1 or np.ptp(acquired[np.isfinite(acquired)]) > SAME_TIME_S:
            return acquired
    offsets = _frame_offsets(time_axis, duration)
    if acquired is not None:
        return acquired if offsets is None else np.asarray(acquired[:, :1] + offsets)
    if origin is not None:
        return None
    return np.zeros((1, 1)) if offsets is None else offsets


def _frame_offsets(time_axis: Axis | None, duration: FloatArray | None) -> FloatArray | None:
    """Frame starts after the first, (1, n_frames), from mid-frame times and durations."""
    if time_axis is None or duration is None:
        return None
    frames = np.atleast_2d(duration)
    if frames.shape[1] != len(time_axis):
        return None
    begin = time_axis.values[np.newaxis, :] - 0.5 * frames
    return np.asarray(begin - begin[:, :1])


def _offset_min(acquisition: EmissionAcquisition) -> float | None:
    if acquisition.utc_offset_min is not None:
        return float(acquisition.utc_offset_min)
    series = acquisition.series_datetime
    offset = None if series is None else series.utcoffset()
    return None if offset is None else offset.total_seconds() / 60.0


def _naive(moment: datetime | None, offset_min: float | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return moment
    if offset_min is None:
        return None
    return moment.astimezone(timezone(timedelta(minutes=offset_min))).replace(tzinfo=None)


def _since(moment: datetime | None, origin: datetime | None) -> float | None:
    return None if moment is None or origin is None else (moment - origin).total_seconds()


def _finite_array(values: npt.ArrayLike | None) -> FloatArray | None:
    if values is None:
        return None
    array = np.atleast_2d(np.asarray(values, np.float64))
    return array if np.isfinite(array).any() else None
