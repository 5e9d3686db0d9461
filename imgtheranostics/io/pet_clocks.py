"""The clocks of a PET sidecar: frames, injection, decay reference, and whether they tell one story."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue
from imgtheranostics.io.meaning import check_length, refuse_implausible
from imgtheranostics.io.sidecar import Sidecar

DAY_S = 86400.0
SPREAD_WARNED = 0.01
SPREAD_REFUSED = 0.10
"""Relative difference in activity by which two clocks disagree: warned, and refused."""

_LONGEST_FRAME_S = 12 * 3600.0
_OVERLAP_S = 0.5
_SAME_MOMENT_S = 0.5
_AMBIGUOUS_HALF_LIFE_S = 12 * 3600.0
_WITHOUT_HALF_LIFE_S = 60.0
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d*)?))?$")
_DICOM_CLOCK = re.compile(r"^(\d{2})(\d{2})(?:(\d{2}(?:\.\d*)?))?$")


@dataclass(frozen=True, eq=False)
class Frames:
    """Start and duration of each frame in s; starts are relative to the sidecar's time zero."""

    starts_s: tuple[float, ...]
    durations_s: tuple[float, ...]

    @property
    def middles_s(self) -> tuple[float, ...]:
        """Middle of each frame from the start of the first one."""
        first = self.starts_s[0]
        return tuple(
            start - first + (duration / 2 if math.isfinite(duration) else 0.0)
            for start, duration in zip(self.starts_s, self.durations_s, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Clocks:
    """What the clocks agree on, relative to the start of the first frame."""

    injection_to_first_frame_s: float | None
    decay_correction: str | None
    decay_reference: str | None
    decay_reference_s: float | None
    cautions: tuple[Caution, ...]


def clock_seconds(text: str) -> float | None:
    """Seconds of day of ``HH:MM[:SS[.f]]`` or DICOM's ``HHMM[SS[.f]]``; None when it is neither."""
    stripped = text.strip()
    match = _CLOCK.match(stripped) or _DICOM_CLOCK.match(stripped)
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), float(match[3] or 0.0)
    if hours > 23 or minutes > 59 or seconds >= 61:
        return None
    return hours * 3600.0 + minutes * 60.0 + seconds


def read_frames(sidecar: Sidecar, n_frames: int) -> Frames | None:
    """Frame times that fit the image; None for a dynamic image whose sidecar has none.

    Raises
    ------
    CorruptInput
        If their number is not that of the volumes, they overlap, run backwards or are really end times.
    ImplausibleValue
        If a frame would last more than 12 h: milliseconds typed as seconds.
    """
    starts = sidecar.all_numbers("FrameTimesStart")
    durations = sidecar.all_numbers("FrameDuration")
    if starts is not None:
        check_length(starts, n_frames, sidecar, "FrameTimesStart")
    if durations is not None:
        check_length(durations, n_frames, sidecar, "FrameDuration")
        _check_durations(durations, starts, sidecar)
    if starts is None:
        if durations is None and n_frames > 1:
            return None
        starts = _starts_from(durations, n_frames, sidecar)
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise CorruptInput(
            "the frames do not follow each other in time",
            where=sidecar.where("FrameTimesStart"),
            found=_shown(starts),
            needed="increasing times",
        )
    if durations is None:
        durations = [math.nan] * n_frames
    return Frames(tuple(starts), tuple(durations))


def _check_durations(durations: Sequence[float], starts: Sequence[float] | None, sidecar: Sidecar) -> None:
    if min(durations) <= 0:
        raise CorruptInput(
            "a frame has no duration",
            where=sidecar.where("FrameDuration"),
            found=_shown(durations),
            needed="> 0 s",
        )
    if max(durations) > _LONGEST_FRAME_S:
        raise refuse_implausible(
            sidecar,
            "FrameDuration",
            f"a frame of {max(durations):g} s",
            "frames below 12 h",
            "if these are ms, divide them by 1000",
        )
    if starts is None:
        ends = len(durations) >= 4 and all(b > a for a, b in pairwise(durations))
    else:
        overlap = [a + d - b for a, d, b in zip(starts, durations, starts[1:], strict=False)]
        ends = any(over > _OVERLAP_S + 0.01 * d for over, d in zip(overlap, durations, strict=False))
    if ends:
        raise CorruptInput(
            "the frame durations are no durations: frames would overlap, as with end times",
            where=sidecar.where("FrameDuration"),
            found=_shown(durations),
            needed="the length of each frame in s",
            next_step="subtract the start times if these are end times",
        )


def _starts_from(durations: Sequence[float] | None, n_frames: int, sidecar: Sidecar) -> list[float]:
    if n_frames == 1:
        return [0.0 if (start := sidecar_seconds(sidecar, "ScanStart")) is None else start]
    return [float(value) for value in np.concatenate([[0.0], np.cumsum(durations or [])[:-1]])]


def sidecar_seconds(sidecar: Sidecar, key: str) -> float | None:
    """A moment in s from TimeZero; older files give a time of day instead, which is subtracted."""
    text = sidecar.text(key)
    if text is None:
        return None
    if ":" not in text:
        return sidecar.number(key)
    clock, zero = _clock(sidecar, key), _clock(sidecar, "TimeZero")
    if clock is None or zero is None:
        return None
    return (clock - zero + DAY_S / 2) % DAY_S - DAY_S / 2


def _clock(sidecar: Sidecar, key: str) -> float | None:
    text = sidecar.text(key)
    if text is None:
        return None
    seconds = clock_seconds(text.rpartition("T")[2].rstrip("Z") if "T" in text else text)
    if seconds is None:
        raise CorruptInput(f"{key} is not a time of day", where=sidecar.where(key), needed="HH:MM:SS")
    return seconds


def relative_difference(seconds: float, half_life_s: float | None) -> float:
    """What a clock error of so many seconds does to an activity; without a half-life, 1 % per minute."""
    if half_life_s is None:
        return abs(seconds) / _WITHOUT_HALF_LIFE_S * SPREAD_WARNED
    return math.expm1(math.log(2.0) * min(abs(seconds) / half_life_s, 500.0))


class ClockCheck:
    """Compares moments that should be equal and collects what a reader should know."""

    def __init__(self, sidecar: Sidecar, half_life_s: float | None) -> None:
        self.sidecar = sidecar
        self.half_life_s = half_life_s
        self.cautions: list[Caution] = []

    def compare(self, what: str, first: float, second: float, keys: tuple[str, str]) -> None:
        """Warn above 1 % and refuse above 10 % difference in activity.

        Raises
        ------
        ImplausibleValue
            If the two cannot both be meant.
        """
        change = relative_difference(first - second, self.half_life_s)
        if change <= SPREAD_WARNED:
            return
        amount = f"{abs(first - second):.6g} s apart"
        if self.half_life_s is not None:
            amount += f", {100 * change:.3g} % in activity"
        if change > SPREAD_REFUSED:
            raise ImplausibleValue(
                f"{what}: {keys[0]} and {keys[1]} contradict each other",
                where=self.sidecar.where(keys[0]),
                found=amount,
                needed="one story within 1 %",
                next_step="find out which one is right and correct the sidecar, or give the administration",
            )
        self.cautions.append(
            Caution(
                "clocks-disagree", f"{what}: {keys[0]} and {keys[1]} are {amount}", f"{keys[0]}, {keys[1]}"
            )
        )

    def warn(self, code: str, message: str, where: str) -> None:
        """Add a caution."""
        self.cautions.append(Caution(code, message, where))


def read_clocks(sidecar: Sidecar, frames: Frames, half_life_s: float | None) -> Clocks:
    """Injection and decay reference relative to the first frame, cross-checked.

    TimeZero, ScanStart, InjectionStart, ImageDecayCorrectionTime and the decay factors of PET-BIDS are
    compared with each other and with the times of day of older converters.

    Raises
    ------
    ImplausibleValue
        If two of them differ by more than 10 % in activity.
    """
    check = ClockCheck(sidecar, half_life_s)
    first = frames.starts_s[0]
    _check_scan_start(sidecar, first, check)
    injection = _injection(sidecar, first, check)
    correction, reference, reference_s = _decay(sidecar, frames, injection, check)
    return Clocks(injection, correction, reference, reference_s, tuple(check.cautions))


def _check_scan_start(sidecar: Sidecar, first: float, check: ClockCheck) -> None:
    scan = sidecar_seconds(sidecar, "ScanStart")
    if scan is not None and scan - first > _SAME_MOMENT_S:
        check.compare("the first frame begins before the scan", first, scan, ("FrameTimesStart", "ScanStart"))
    zero, acquired = _clock(sidecar, "TimeZero"), _clock(sidecar, "AcquisitionTime")
    if zero is not None and acquired is not None:
        apart = (zero + first - acquired + DAY_S / 2) % DAY_S - DAY_S / 2
        check.compare("the start of the first frame", apart, 0.0, ("TimeZero", "AcquisitionTime"))


def _injection(sidecar: Sidecar, first: float, check: ClockCheck) -> float | None:
    """Start of the first frame minus injection."""
    stated = sidecar_seconds(sidecar, "InjectionStart")
    by_keys = None if stated is None else first - stated
    by_clock = _injection_by_clock(sidecar, check)
    if by_keys is not None and by_clock is not None:
        check.compare("the injection", by_keys, by_clock, ("InjectionStart", "RadiopharmaceuticalStartTime"))
    elapsed = by_clock if by_keys is None else by_keys
    if elapsed is not None and elapsed < 0 and -elapsed > _SAME_MOMENT_S:
        check.warn(
            "injection-after-start", f"injection {-elapsed:g} s after the first frame began", "InjectionStart"
        )
    converted = any("dcm2niix" in one.lower() or "pet2bids" in one.lower() for one in _converters(sidecar))
    if converted and by_clock is None and stated == 0 and first == 0:
        check.warn(
            "injection-time-doubtful",
            "the converter writes InjectionStart 0 when it does not know better: check the injection time",
            "InjectionStart",
        )
    return elapsed


def _converters(sidecar: Sidecar) -> tuple[str, ...]:
    return sidecar.texts("ConversionSoftware")


def _injection_by_clock(sidecar: Sidecar, check: ClockCheck) -> float | None:
    injected = _clock(sidecar, "RadiopharmaceuticalStartTime")
    acquired = _clock(sidecar, "AcquisitionTime")
    if acquired is None:
        acquired = _clock(sidecar, "SeriesTime")
    if injected is None or acquired is None:
        return None
    if check.half_life_s is not None and check.half_life_s > _AMBIGUOUS_HALF_LIFE_S:
        check.warn(
            "injection-day-unknown",
            "the injection has a time of day but no date, which is ambiguous for this half-life: not used",
            "RadiopharmaceuticalStartTime",
        )
        return None
    elapsed = acquired - injected
    if elapsed < 0:
        elapsed += DAY_S
        check.warn(
            "injection-before-midnight",
            "the injection time is later than the scan: taken as the day before",
            "RadiopharmaceuticalStartTime",
        )
    return elapsed


def _decay(
    sidecar: Sidecar, frames: Frames, injection: float | None, check: ClockCheck
) -> tuple[str | None, str | None, float | None]:
    """Correction (START, ADMIN, NONE), its reference in words, and in s from the first frame's start."""
    word = (sidecar.text("DecayCorrection") or "").upper() or None
    if word not in (None, "START", "ADMIN", "NONE"):
        raise CorruptInput(
            "DecayCorrection is none of the words of the standard",
            where=sidecar.where("DecayCorrection"),
            needed="START, ADMIN or NONE",
        )
    corrected = sidecar.flag("ImageDecayCorrected")
    if corrected is not None and word is not None and corrected != (word != "NONE"):
        raise ImplausibleValue(
            "ImageDecayCorrected and DecayCorrection contradict each other",
            where=sidecar.where("ImageDecayCorrected"),
            found=f"{corrected} and {word}",
            next_step="find out whether the image is decay corrected and correct the sidecar",
        )
    if corrected is False or word == "NONE":
        return "NONE", None, None
    stated = sidecar_seconds(sidecar, "ImageDecayCorrectionTime")
    if stated is not None and corrected is None and word is None:
        check.warn(
            "decay-correction-assumed", "ImageDecayCorrected is absent: taken as true", "ImageDecayCorrected"
        )
    by_factor = decay_reference_by_factor(sidecar, frames, check)
    reference = _reference(stated, word, frames.starts_s[0], injection, by_factor, check)
    if reference is None:
        return word, ("injection" if word == "ADMIN" else None), None
    name = _name(reference, injection)
    return word or ("ADMIN" if name == "injection" else "START"), name, reference


def _reference(
    stated: float | None,
    word: str | None,
    first: float,
    injection: float | None,
    by_factor: float | None,
    check: ClockCheck,
) -> float | None:
    reference = None if stated is None else stated - first
    key = "ImageDecayCorrectionTime"
    if reference is None and word is not None:
        key = "DecayCorrection"
        reference = 0.0 if word == "START" else None if injection is None else -injection
        if word == "START" and by_factor is not None:
            # The factor tells what was done to the values; START names it only up to the series' own start.
            if relative_difference(by_factor, check.half_life_s) > SPREAD_WARNED:
                check.warn(
                    "decay-reference-by-factor",
                    f"its decay factor corrects the image to {by_factor:.6g} s from its first frame",
                    "DecayFactor",
                )
            return by_factor
    if reference is not None and by_factor is not None:
        check.compare("the decay reference", reference, by_factor, (key, "DecayFactor"))
    return reference


def _name(reference: float, injection: float | None) -> str:
    if abs(reference) <= _SAME_MOMENT_S:
        return "scan_start"
    if injection is not None and abs(reference + injection) <= _SAME_MOMENT_S:
        return "injection"
    return f"{reference:g}"


def decay_factors(sidecar: Sidecar, n_frames: int) -> list[float] | None:
    """The decay factor of each frame, under the key of either generation."""
    key = sidecar.first("DecayCorrectionFactor", "DecayFactor")
    values = sidecar.all_numbers(key) if key else None
    if key is None or values is None:
        return None
    if len(values) == 1 and n_frames > 1:
        return None
    check_length(values, n_frames, sidecar, key)
    if min(values) <= 0:
        raise CorruptInput("a decay factor is not above zero", where=sidecar.where(key), found=_shown(values))
    return values


def decay_reference_by_factor(sidecar: Sidecar, frames: Frames, check: ClockCheck) -> float | None:
    """The moment to which the factors correct: frame start plus mean-activity time minus T log2(factor).

    Factors that are all 1 say nothing: converters write them where the value is not known.
    """
    factors = decay_factors(sidecar, len(frames.starts_s))
    half_life = check.half_life_s
    if factors is None or half_life is None or all(value == 1 for value in factors):
        return None
    references: list[float] = []
    for start, duration, factor in zip(frames.starts_s, frames.durations_s, factors, strict=True):
        if not math.isfinite(duration):
            return None
        references.append(start + mean_activity_time(duration, half_life) - half_life * math.log2(factor))
    spread = max(references) - min(references)
    if relative_difference(spread, half_life) > SPREAD_WARNED:
        check.compare("the decay factors", spread, 0.0, ("DecayFactor", "FrameTimesStart"))
    return float(np.median(references)) - frames.starts_s[0]


def mean_activity_time(duration_s: float, half_life_s: float) -> float:
    """When in a frame the activity equals its mean over the frame, in s from the frame's start.

    >>> round(mean_activity_time(600.0, 6586.2), 4)
    298.4214
    """
    x = math.log(2.0) * duration_s / half_life_s
    return half_life_s / math.log(2.0) * math.log(x / -math.expm1(-x))


def _shown(values: Sequence[float]) -> str:
    text = ", ".join(f"{value:g}" for value in values[:8])
    return f"{text}{', ...' if len(values) > 8 else ''}"
