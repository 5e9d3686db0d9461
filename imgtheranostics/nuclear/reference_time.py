"""Which moment a decay-corrected image refers to: the rules, which of them fired, and the alternatives.

References
----------
.. [1] Image Biomarker Standardisation Initiative, manual of the SUV digital reference objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.nuclear.clock import SAME_TIME_S, ScanClock
from imgtheranostics.nuclear.decay import average_activity_time, decay_constant, frame_decay_factor

FloatArray = npt.NDArray[np.float64]

CONVENTIONS = ("START", "ADMIN", "NONE")
CONTRADICTION = 0.01
"""Relative difference in activity above which clocks are said to differ, and decay factors to contradict."""

_AGREEMENT = 1e-3
_NOT_LISTED = "the list of corrections has no decay correction: the counts were taken as not decay corrected"
_VARIES_S = 1.0


@dataclass(frozen=True)
class ReferenceTime:
    """The moment that the image's activity refers to.

    Attributes
    ----------
    convention : str
        START, ADMIN or NONE.
    rule : str
        ``series_time``, ``private_scan_time``, ``back_computed``, ``earliest_time``, ``stated``,
        ``injection`` or ``each_frame``.
    explanation : str
    reference_s : float or None
        On the scan clock; None for ``injection`` and ``each_frame``, which refer to the injection.
    scan_s : float or None
        Start of the scan on the scan clock, for the check that the injection came first.
    candidates_s : mapping of str to float
        Every candidate in seconds after the chosen one.
    spread_percent : float
        Largest difference in activity between the chosen time and a candidate that nothing explains.
    mid_s : (n_slices, n_frames) ndarray or None
        When the activity equalled its mean over the frame, on the scan clock.
    """

    convention: str
    rule: str
    explanation: str
    reference_s: float | None
    scan_s: float | None
    candidates_s: Mapping[str, float] = field(default_factory=dict)
    spread_percent: float = 0.0
    mid_s: FloatArray | None = None
    warnings: tuple[Caution, ...] = ()

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values without dates."""
        return {
            "rule": self.rule,
            "explanation": self.explanation,
            "decay_correction": self.convention,
            "candidates_s": {name: float(value) for name, value in self.candidates_s.items()},
            "spread_percent": float(self.spread_percent),
        }


def decay_convention(
    acquisition: EmissionAcquisition, given: str | None = None
) -> tuple[str, tuple[Caution, ...]]:
    """START, ADMIN or NONE, after the check that CorrectedImage does not contradict it.

    Raises
    ------
    MissingMetadata
        If the file does not say and nothing is given.
    UnsupportedInput
        If it says another word.
    ImplausibleValue
        If it says START or ADMIN while CorrectedImage lists corrections without DECY.
    """
    stated = acquisition.decay_correction or ("ADMIN" if acquisition.decay_reference == "injection" else "")
    text = (given or stated).strip().upper()
    listed = {word.strip().upper() for word in acquisition.corrections}
    if not text and acquisition.modality == "NM" and listed and "DECY" not in listed:
        return "NONE", (Caution("decay-correction-from-list", _NOT_LISTED, "CorrectedImage (0028,0051)"),)
    if not text:
        raise MissingMetadata(
            "DecayCorrection is absent: nobody can say what moment the activity refers to",
            where="DecayCorrection (0054,1102)",
            needed="START, ADMIN or NONE",
            next_step="give --decay-correction (decay_correction=) after asking whoever reconstructed it",
        )
    if text not in CONVENTIONS:
        raise UnsupportedInput(
            "the decay correction is not known",
            where="DecayCorrection (0054,1102)",
            found=text[:16],
            needed="START, ADMIN or NONE",
        )
    if text != "NONE" and listed and "DECY" not in listed and given is None:
        raise ImplausibleValue(
            f"DecayCorrection says {text}, but the list of corrections has no decay correction",
            where="CorrectedImage (0028,0051)",
            found=", ".join(sorted(listed)),
            needed="DECY in the list, or DecayCorrection NONE",
            next_step="give --decay-correction (decay_correction=) after asking whoever reconstructed it",
        )
    cautions: tuple[Caution, ...] = ()
    if text != "NONE" and not listed and given is None:
        unconfirmed = f"no list of corrections confirms that decay was corrected; {text} was believed"
        cautions = (Caution("decay-correction-unconfirmed", unconfirmed, "CorrectedImage (0028,0051)"),)
    if text == "NONE" and "DECY" in listed:
        cautions = (
            Caution(
                "decay-correction-contradicts",
                "DecayCorrection says NONE although CorrectedImage lists DECY; NONE was believed",
                "DecayCorrection (0054,1102), CorrectedImage (0028,0051)",
            ),
        )
    return text, cautions


def resolve_reference(
    acquisition: EmissionAcquisition,
    clock: ScanClock,
    half_life_s: float,
    *,
    decay_correction: str | None = None,
    strict_clock: bool = False,
) -> ReferenceTime:
    """The moment that the image refers to, the rule that found it, and how far the alternatives are.

    For START, in this order: (1) the series time, when it is not after the acquisition and all
    acquisition times are equal; (2) the GE private scan time; (3) the time computed back from each
    frame, when acquisition and frame reference times vary together and all frames agree; (4) the earlier
    of series and acquisition time. A time that a sidecar states outright goes before all of them.

    Parameters
    ----------
    acquisition : EmissionAcquisition
    clock : ScanClock
        Of the same record.
    half_life_s : float
    decay_correction : {"START", "ADMIN", "NONE"}, optional
        Replaces what the file says.
    strict_clock : bool
        Refuse when unexplained candidates differ by more than 1 % in activity.

    Raises
    ------
    MissingMetadata
        If the file does not state the convention, or gives no usable time.
    ImplausibleValue
        If FrameReferenceTime and DecayFactor contradict each other, or the clocks do in strict mode.
    """
    convention, cautions = decay_convention(acquisition, decay_correction)
    mid_offset = None if clock.duration_s is None else average_activity_time(clock.duration_s, half_life_s)
    frame_start_convention = _check_decay_factor(clock, half_life_s, mid_offset, convention)
    back, agreed = _back_computed(clock, mid_offset, frame_start_convention, half_life_s)
    scan = _scan_reference(acquisition, clock, agreed)
    mid_s = _mid_times(clock, mid_offset, frame_start_convention, None if scan is None else scan[2])
    if convention != "START":
        return _to_injection(clock, convention, scan, mid_s, mid_offset, half_life_s, cautions)
    if scan is None:
        raise MissingMetadata(
            "no usable time of the scan: neither series nor acquisition date and time are there",
            where="SeriesDate, SeriesTime, AcquisitionDate, AcquisitionTime",
            needed="at least one of them, or the delay from injection to scan",
            next_step="give the administration with a delay in seconds from injection to the first frame",
        )
    rule, explanation, chosen = scan
    candidates = {name: value - chosen for name, value in _candidates(clock, back).items()}
    spread = _spread_percent(candidates, agreed, half_life_s)
    cautions += _clock_cautions(spread, candidates, rule, strict_clock)
    return ReferenceTime("START", rule, explanation, chosen, chosen, candidates, spread, mid_s, cautions)


def _to_injection(
    clock: ScanClock,
    convention: str,
    scan: tuple[str, str, float] | None,
    mid_s: FloatArray | None,
    mid_offset: FloatArray | None,
    half_life_s: float,
    cautions: tuple[Caution, ...],
) -> ReferenceTime:
    scan_s = None if scan is None else scan[2]
    if convention == "ADMIN":
        text = "the image is corrected to the time of injection: the dose is not decayed"
        return ReferenceTime("ADMIN", "injection", text, None, scan_s, {}, 0.0, mid_s, cautions)
    if mid_s is None or not np.isfinite(mid_s).all():
        raise MissingMetadata(
            "the image is not decay corrected, and its frames have no complete timing to do it",
            where="AcquisitionTime (0008,0032), ActualFrameDuration (0018,1242)",
            needed="acquisition time and duration of every slice and frame",
            next_step="reconstruct with decay correction, or add the missing times",
        )
    own = clock.start_s if mid_offset is None or clock.start_s is None else clock.start_s + mid_offset
    if own is not None and np.max(np.abs(own - mid_s)) > CONTRADICTION / float(decay_constant(half_life_s)):
        raise ImplausibleValue(
            "frames share one acquisition time but differ in FrameReferenceTime, and are not decay corrected",
            where="AcquisitionTime (0008,0032), FrameReferenceTime (0054,1300)",
            needed="the true start of every frame",
            next_step="reconstruct with decay correction, or correct the acquisition times",
        )
    several = _varies(clock.start_s)
    text = "each slice and frame is corrected from its own time to the injection" + (
        "" if several else "; all share one acquisition time"
    )
    return ReferenceTime("NONE", "each_frame", text, None, scan_s, {}, 0.0, mid_s, cautions)


def _check_decay_factor(
    clock: ScanClock, half_life_s: float, mid_offset: FloatArray | None, convention: str
) -> bool | None:
    """Whether FrameReferenceTime counts to the frame start (True) or its mean (False); None if unknown.

    DecayFactor should be 2^(FRT / half-life). Where FRT counts to the frame start the factor contains the
    decay to the frame's mean too. A factor of exactly 1 everywhere, and an FRT of 0, are fields left unset.
    """
    if convention != "START" or clock.factor is None or clock.reference_s is None:
        return None
    factor, reference = np.broadcast_arrays(clock.factor, clock.reference_s)
    known = np.isfinite(factor) & (factor > 0) & np.isfinite(reference)
    if not known.any() or (factor[known] == 1.0).all():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        to_mean = np.abs(np.log(factor / frame_decay_factor(reference, half_life_s)))
        offset = np.zeros(1) if mid_offset is None else mid_offset
        to_start = np.abs(np.log(factor / frame_decay_factor(reference + offset, half_life_s)))
    nearest = np.minimum(to_mean, to_start)
    checked = known & (reference != 0)
    if (nearest[checked] > math.log1p(CONTRADICTION)).any():
        worst = float(np.expm1(np.max(nearest[checked])) * 100.0)
        raise ImplausibleValue(
            "FrameReferenceTime and DecayFactor contradict each other",
            where="FrameReferenceTime (0054,1300), DecayFactor (0054,1321)",
            found=f"they differ by {worst:.3g} % in activity",
            needed=f"DecayFactor = 2^(FrameReferenceTime / half-life) within {100 * CONTRADICTION:g} %",
            next_step="check the half-life and that FrameReferenceTime is in ms; correct the header",
        )
    return bool(np.sum(to_start[known]) < np.sum(to_mean[known]))


def _back_computed(
    clock: ScanClock, mid_offset: FloatArray | None, frame_start_convention: bool | None, half_life_s: float
) -> tuple[FloatArray | None, float | None]:
    """Reference computed back from each frame, and the one value that all agree on (or None)."""
    if clock.start_s is None or clock.reference_s is None or clock.origin is None:
        return None, None
    start, reference = np.broadcast_arrays(clock.start_s, clock.reference_s)
    known = np.isfinite(start) & np.isfinite(reference)
    to_mean = None if mid_offset is None else start + mid_offset - reference
    to_start = start - reference
    unset = known & (reference == 0)
    if unset.any() and frame_start_convention is None:
        several = (known & ~unset).any() and _agree(to_start[known], half_life_s)
        if several:
            frame_start_convention = True
        elif clock.duration_s is None or np.nanmax(clock.duration_s) > 0:
            known &= ~unset
    back = to_start if frame_start_convention else to_mean
    if back is None or not known.any():
        return None, None
    values = back[known]
    agreed = float(np.median(values)) if _agree(values, half_life_s) and known.all() else None
    return np.where(known, back, np.nan), agreed


def _agree(values: FloatArray, half_life_s: float) -> bool:
    limit = max(_VARIES_S, _AGREEMENT / float(decay_constant(half_life_s)))
    return bool(np.ptp(values) <= limit)


def _varies(values: FloatArray | None) -> bool:
    return values is not None and bool(np.ptp(values[np.isfinite(values)]) > _VARIES_S)


def _scan_reference(
    acquisition: EmissionAcquisition, clock: ScanClock, agreed: float | None
) -> tuple[str, str, float] | None:
    """Rule, explanation and time of the scan's reference; None when the file gives no time at all."""
    stated = _stated_reference(acquisition, clock)
    if stated is not None:
        return stated
    series, first = clock.series_s, clock.first_start_s
    if clock.origin is None:
        return None
    acquired = clock.acquired_s
    times = None if acquired is None else acquired[np.isfinite(acquired)]
    if series is not None and first is None:
        return "series_time", "the series time; there are no acquisition times", series
    one_time = times is not None and np.ptp(times) <= SAME_TIME_S
    if series is not None and first is not None and series <= first and one_time:
        return "series_time", "the series time: not after the acquisition, which has one time", series
    if clock.private_s is not None:
        return "private_scan_time", "the scan time in the GE private field (0009,100D)", clock.private_s
    if _varies(clock.acquired_s) and _varies(clock.reference_s) and agreed is not None:
        text = "computed back from acquisition and frame reference times, on which all frames agree"
        return "back_computed", text, agreed
    return _earliest(series, first)


def _earliest(series: float | None, first: float | None) -> tuple[str, str, float] | None:
    known = {name: value for name, value in (("series", series), ("acquisition", first)) if value is not None}
    if not known:
        return None
    name = min(known, key=known.__getitem__)
    reason = {
        ("series", 2): "the series time, which is earlier than the first acquisition",
        ("acquisition", 2): "the first acquisition; the series time is later, so it was rewritten",
        ("acquisition", 1): "the first acquisition; there is no series time",
    }[name, len(known)]
    return "earliest_time", reason, known[name]


def _stated_reference(acquisition: EmissionAcquisition, clock: ScanClock) -> tuple[str, str, float] | None:
    """The reference that a sidecar states relative to the start of the first frame."""
    first = 0.0 if clock.origin is None else clock.first_frame_s
    relative = acquisition.decay_reference_s
    if first is None:
        return None
    if relative is not None and math.isfinite(relative):
        text = "the sidecar states the decay reference relative to the first frame"
        return "stated", text, first + float(relative)
    if acquisition.decay_reference == "scan_start":
        return "stated", "the sidecar states that activity refers to the start of the scan", first
    if clock.origin is None and acquisition.injection_to_first_frame_s is not None:
        return "stated", "the start of the first frame; the file has no clock", first
    return None


def _candidates(clock: ScanClock, back: FloatArray | None) -> dict[str, float]:
    found = {
        "series_time": clock.series_s,
        "acquisition_time": clock.first_start_s if clock.origin is not None else None,
        "private_scan_time": clock.private_s,
    }
    if back is not None:
        found["back_computed_first"] = float(np.nanmin(back))
        found["back_computed_last"] = float(np.nanmax(back))
    return {name: value for name, value in found.items() if value is not None}


def _spread_percent(candidates: Mapping[str, float], agreed: float | None, half_life_s: float) -> float:
    """Largest activity difference; acquisition that starts later is explained by FRT that says so."""
    constant = float(decay_constant(half_life_s))
    percent = {name: 100.0 * math.expm1(constant * abs(seconds)) for name, seconds in candidates.items()}
    confirmed = (
        agreed is not None
        and max((percent[name] for name in percent if name.startswith("back_computed")), default=math.inf)
        <= 100.0 * CONTRADICTION
    )
    if confirmed and candidates.get("acquisition_time", 0.0) > 0.0:
        percent.pop("acquisition_time")
    return max(percent.values(), default=0.0)


def _clock_cautions(
    spread: float, candidates: Mapping[str, float], rule: str, strict_clock: bool
) -> tuple[Caution, ...]:
    if spread <= 100.0 * CONTRADICTION:
        return ()
    listed = ", ".join(f"{name} {seconds:+.6g} s" for name, seconds in candidates.items())
    if strict_clock:
        raise ImplausibleValue(
            "the clocks of the series disagree about the moment that its activity refers to",
            where="SeriesTime, AcquisitionTime, FrameReferenceTime (0054,1300)",
            found=f"up to {spread:.3g} % in activity; relative to {rule}: {listed}",
            needed=f"agreement within {100 * CONTRADICTION:g} %",
            next_step="leave out --strict-clock to take the rule's answer, or correct the header",
        )
    return (
        Caution(
            "clocks-differ",
            f"clocks of the series differ by up to {spread:.3g} % in activity; {rule} was used ({listed})",
            "SeriesTime, AcquisitionTime, FrameReferenceTime (0054,1300)",
        ),
    )


def _mid_times(
    clock: ScanClock,
    mid_offset: FloatArray | None,
    frame_start_convention: bool | None,
    reference_s: float | None,
) -> FloatArray | None:
    """When each frame had its mean activity, from acquisition times or, where those are one for all, FRT."""
    if clock.start_s is None or mid_offset is None:
        return None
    start, offset = np.broadcast_arrays(clock.start_s, mid_offset)
    one_time = not _varies(clock.start_s)
    if one_time and _varies(clock.reference_s) and clock.reference_s is not None and reference_s is not None:
        extra = mid_offset if frame_start_convention else 0.0
        return np.asarray(reference_s + clock.reference_s + extra)
    return np.asarray(start + offset)
