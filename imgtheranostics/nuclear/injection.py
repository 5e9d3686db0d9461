"""When the injection was, on the clock of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.clock import DAY_S, ScanClock

LONGEST_UNDATED_HALF_LIFE_S = 12 * 3600.0
"""Above it a time of day without a date may be off by whole days, with plausible results."""

MANY_HALF_LIVES = 10.0
NOTHING_LEFT_HALF_LIVES = 60.0
"""After so many not one atom of the largest plausible dose is left."""

_TIME = "RadiopharmaceuticalStartTime (0018,1072)"
_DATETIME = "RadiopharmaceuticalStartDateTime (0018,1078)"


@dataclass(frozen=True)
class Moment:
    """The injection.

    Attributes
    ----------
    seconds : float
        On the scan clock.
    source : str
        ``user`` or ``header``.
    rule : str
        ``date and time``, ``time of day``, ``time of day, previous day`` or ``delay``.
    dated : bool
        Whether its date was given and not inferred.
    """

    seconds: float
    source: str
    rule: str
    dated: bool
    warnings: tuple[Caution, ...] = ()

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values without dates."""
        return {"source": self.source, "rule": self.rule}


def find_injection(
    acquisition: EmissionAcquisition,
    at: datetime | time | timedelta | float | None,
    clock: ScanClock,
    scan_s: float | None,
    half_life_s: float,
    *,
    date_matters: bool = True,
) -> Moment | None:
    """The injection on the scan clock, or None when neither user nor header tell it.

    Parameters
    ----------
    acquisition : EmissionAcquisition
    at : datetime, time, timedelta, float or None
        As `Administration.at`.
    clock : ScanClock
    scan_s : float or None
        Start of the scan on that clock.
    half_life_s : float
    date_matters : bool
        Whether a wrong day would change the result.

    Raises
    ------
    ImplausibleValue
        If a dated injection lies after the scan, or an undated one is ambiguous by days.
    MissingMetadata
        If the injection cannot be placed on the scan's clock.
    """
    if at is not None:
        return _given(at, clock, scan_s, half_life_s, date_matters)
    drug = acquisition.radiopharmaceutical
    if drug.start_datetime is not None:
        seconds = clock.seconds(drug.start_datetime, "injection")
        cautions = _compare_time_of_day(drug.start_time, seconds, clock)
        return _checked(
            Moment(seconds, "header", "date and time", True, cautions), clock, scan_s, half_life_s
        )
    if drug.start_time is not None:
        return _undated(drug.start_time, "header", clock, scan_s, half_life_s, date_matters)
    delay = acquisition.injection_to_first_frame_s
    if delay is not None:
        return _after_delay(float(delay), "header", clock, scan_s, half_life_s)
    return None


def _given(
    at: datetime | time | timedelta | float,
    clock: ScanClock,
    scan_s: float | None,
    half_life_s: float,
    date_matters: bool,
) -> Moment:
    if isinstance(at, datetime):
        moment = Moment(clock.seconds(at, "injection"), "user", "date and time", True)
        return _checked(moment, clock, scan_s, half_life_s)
    if isinstance(at, time):
        return _undated(at, "user", clock, scan_s, half_life_s, date_matters)
    delay = at.total_seconds() if isinstance(at, timedelta) else float(at)
    return _after_delay(delay, "user", clock, scan_s, half_life_s)


def _after_delay(
    delay_s: float, source: str, clock: ScanClock, scan_s: float | None, half_life_s: float
) -> Moment:
    first = 0.0 if clock.origin is None else clock.first_frame_s
    if first is None:
        raise MissingMetadata(
            "the start of the first frame is not known, so a delay from injection cannot be used",
            where="AcquisitionDate, AcquisitionTime",
            next_step="give the injection with date and time",
        )
    return _checked(Moment(first - delay_s, source, "delay", True), clock, scan_s, half_life_s)


def _undated(
    at: time, source: str, clock: ScanClock, scan_s: float | None, half_life_s: float, date_matters: bool
) -> Moment:
    if scan_s is None:
        raise MissingMetadata(
            "the injection is a time of day, but the scan has no time",
            where="SeriesTime, AcquisitionTime",
            next_step="give the delay from injection to scan in seconds",
        )
    if date_matters and half_life_s > LONGEST_UNDATED_HALF_LIFE_S:
        raise ImplausibleValue(
            "the injection has a time but no date, and may be days before the scan at this half-life",
            where=_TIME if source == "header" else "Administration.at",
            found=f"half-life {half_life_s / 3600:.4g} h",
            needed="date and time of injection above a half-life of 12 h",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    latest = _latest(clock, scan_s)
    seconds = clock.last_before(at, latest)
    rule = "time of day"
    cautions: tuple[Caution, ...] = ()
    if clock.day(seconds) < clock.day(scan_s):
        rule = "time of day, previous day"
        text = "the injection has no date and its time is after the scan's: the previous day was taken"
        cautions = (Caution("injection-date-inferred", text, _TIME),)
    return _checked(Moment(seconds, source, rule, False, cautions), clock, scan_s, half_life_s)


def _latest(clock: ScanClock, scan_s: float) -> float:
    """An injection comes before the scan, or during a dynamic one."""
    dynamic = clock.start_s is not None and clock.start_s.shape[1] > 1
    return max(scan_s, clock.end_s or scan_s) if dynamic else scan_s


def _checked(moment: Moment, clock: ScanClock, scan_s: float | None, half_life_s: float) -> Moment:
    if scan_s is None:
        return moment
    elapsed = scan_s - moment.seconds
    where = f"{_DATETIME}, {_TIME}" if moment.source == "header" else "Administration.at"
    if moment.seconds > _latest(clock, scan_s):
        raise ImplausibleValue(
            "the injection lies after the scan",
            where=where,
            found=f"{-elapsed:.6g} s after the time that the activity refers to",
            needed="an injection before the scan, or during a dynamic one",
            next_step="correct date and time of injection, or give them with --injected-at",
        )
    if elapsed > NOTHING_LEFT_HALF_LIVES * half_life_s:
        raise ImplausibleValue(
            "nothing would be left of the dose: the injection lies too far before the scan",
            where=where,
            found=f"{elapsed / half_life_s:.4g} half-lives",
            needed=f"fewer than {NOTHING_LEFT_HALF_LIVES:g}",
            next_step="correct date and time of injection, or give them with --injected-at",
        )
    cautions = moment.warnings
    if elapsed < 0:
        text = f"the injection lies {-elapsed:.6g} s after the start of the dynamic scan"
        cautions += (Caution("injection-during-scan", text, where),)
    if elapsed > MANY_HALF_LIVES * half_life_s:
        text = f"the scan lies {elapsed / half_life_s:.3g} half-lives after the injection: check the dates"
        cautions += (Caution("many-half-lives", text, where),)
    return Moment(moment.seconds, moment.source, moment.rule, moment.dated, cautions)


def _compare_time_of_day(start: time | None, seconds: float, clock: ScanClock) -> tuple[Caution, ...]:
    if start is None or clock.origin is None:
        return ()
    difference = (clock.last_before(start, seconds + DAY_S / 2) - seconds + DAY_S / 2) % DAY_S - DAY_S / 2
    if abs(difference) < 1.0:
        return ()
    text = (
        f"date-and-time and time of injection differ by {difference:+.6g} s; the one with the date was used"
    )
    return (Caution("injection-times-differ", text, f"{_DATETIME}, {_TIME}"),)
