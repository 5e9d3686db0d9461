"""Share of the administered activity per millilitre: the one number behind SUV and %ID/g."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    MissingMetadata,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.nuclear.administration import Administration, NetDose, net_dose
from imgtheranostics.nuclear.clock import ScanClock, scan_clock
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.half_life import HalfLife, resolve_half_life
from imgtheranostics.nuclear.injection import Moment, find_injection
from imgtheranostics.nuclear.reference_time import ReferenceTime, resolve_reference
from imgtheranostics.nuclear.subject import is_small_animal
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """What a user may decide about a scan, apart from the quantity.

    Attributes
    ----------
    administration : Administration or None
    decay_correction : str or None
        Replaces DecayCorrection (0054,1102).
    strict : bool
        Refuse a dose whose unit would have to be guessed.
    strict_clock : bool
        Refuse clocks that differ by more than 1 % in activity.
    """

    administration: Administration | None = None
    decay_correction: str | None = None
    strict: bool = False
    strict_clock: bool = False


@dataclass(frozen=True)
class ScanTiming:
    """Half-life, reference and injection of one series, on one clock.

    Attributes
    ----------
    injection : Moment or None
    reference_s : float or None
        Moment that the activity refers to, on the clock; None where it is each frame's own.
    """

    clock: ScanClock
    half_life: HalfLife
    reference: ReferenceTime
    injection: Moment | None
    reference_s: float | None
    warnings: tuple[Caution, ...] = ()

    def decisions(self) -> dict[str, Any]:
        """Clock, decay and half-life as plain values without dates."""
        clock = self.reference.decisions()
        decay: dict[str, Any] = {"convention": self.reference.convention}
        if self.injection is not None:
            clock["injection"] = self.injection.decisions()
            if self.reference_s is not None:
                decay["injection_to_reference_s"] = self.reference_s - self.injection.seconds
            if self.reference.scan_s is not None:
                decay["injection_to_scan_s"] = self.reference.scan_s - self.injection.seconds
        return {"clock": clock, "decay": decay, "half_life": self.half_life.decisions()}


def scan_timing(v: Volume, record: EmissionAcquisition, choices: Choices) -> ScanTiming:
    """Half-life, decay reference and injection of a series.

    Parameters
    ----------
    v : Volume
        Only its time axis is used.
    record : EmissionAcquisition
    choices : Choices

    Raises
    ------
    ImgTheranosticsError
        As `resolve_half_life`, `resolve_reference` and `find_injection`.
    """
    given = choices.administration
    if given is not None and given.delay_s is not None and record.injection_to_first_frame_s is None:
        record = replace(record, injection_to_first_frame_s=given.delay_s)
    half_life = resolve_half_life(record, None if given is None else given.nuclide)
    clock = scan_clock(record, v.axis("time"))
    reference = resolve_reference(
        record,
        clock,
        half_life.seconds,
        decay_correction=choices.decay_correction,
        strict_clock=choices.strict_clock,
    )
    injection, stated = _injections(record, given, clock, reference, half_life)
    reference_s = reference.reference_s
    if reference.convention == "ADMIN" and stated is not None:
        reference_s = stated.seconds
    elif reference.convention == "NONE":
        reference_s = None if injection is None else injection.seconds
    warnings = merge_cautions(
        half_life.warnings, reference.warnings, () if injection is None else injection.warnings
    )
    return ScanTiming(clock, half_life, reference, injection, reference_s, warnings)


def _injections(
    record: EmissionAcquisition,
    given: Administration | None,
    clock: ScanClock,
    reference: ReferenceTime,
    half_life: HalfLife,
) -> tuple[Moment | None, Moment | None]:
    """The injection that counts, and the one that an ADMIN image was corrected to."""
    at = None if given is None else given.at
    undated = reference.convention == "ADMIN" and at is None
    injection = find_injection(
        record, at, clock, reference.scan_s, half_life.seconds, date_matters=not undated
    )
    drug = record.radiopharmaceutical
    dated = drug.start_datetime is not None or drug.start_time is None
    if reference.convention != "ADMIN" or at is None or not dated:
        return injection, injection
    header = find_injection(record, None, clock, reference.scan_s, half_life.seconds)
    return injection, header or injection


def to_injection(timing: ScanTiming) -> FloatArray:
    """Factors from the image's activity to that at injection, (n_slices or 1, n_frames or 1).

    Where the injection is not known the start of the scan stands in its place.
    """
    half_life_s = timing.half_life.seconds
    origin_s = time_origin_s(timing)
    mid_s = timing.reference.mid_s
    if timing.reference.convention == "NONE" and mid_s is not None:
        since = np.atleast_2d(mid_s) - origin_s
        return np.asarray(decay_factor(-since, half_life_s))
    after = 0.0 if timing.reference_s is None else timing.reference_s - origin_s
    return np.asarray(decay_factor(np.array([[-after]]), half_life_s))


def time_origin_s(timing: ScanTiming) -> float:
    """Injection on the scan's clock, or the start of the scan where the injection is not known."""
    if timing.injection is not None:
        return timing.injection.seconds
    scan = timing.reference.scan_s if timing.reference.scan_s is not None else timing.clock.first_frame_s
    return 0.0 if scan is None else scan


@dataclass(frozen=True)
class DoseShare:
    """Factors from Bq/mL to the share of the net dose per mL.

    Attributes
    ----------
    factor : (n_slices or 1, n_frames or 1) ndarray
        1/Bq, float64.
    relative_uncertainty : float
    dose : NetDose
    timing : ScanTiming
    """

    factor: FloatArray
    relative_uncertainty: float
    dose: NetDose
    timing: ScanTiming
    warnings: tuple[Caution, ...] = ()
    decisions: Mapping[str, Any] = field(default_factory=dict)


def dose_share(v: Volume, record: EmissionAcquisition, choices: Choices) -> DoseShare:
    """What turns activity concentration into the share of the net dose per millilitre.

    START: the dose decays to the image's reference. ADMIN: both refer to the injection. NONE: each slice
    and frame is brought from its own time to the injection.

    Parameters
    ----------
    v : Volume
    record : EmissionAcquisition
        Of that volume.
    choices : Choices

    Raises
    ------
    MissingMetadata
        If dose, half-life, injection or timing are needed and absent.
    """
    timing = scan_timing(v, record, choices)
    if timing.injection is None or timing.reference_s is None:
        raise MissingMetadata(
            "the time of injection is absent",
            where="RadiopharmaceuticalStartDateTime (0018,1078), RadiopharmaceuticalStartTime (0018,1072)",
            needed="date and time of injection, or the delay to the scan",
            next_step="give it: Administration(activity_bq=..., at=...) or --injected-at",
        )
    dose = net_dose(
        record,
        choices.administration,
        timing.half_life,
        timing.clock,
        timing.injection,
        small_animal=is_small_animal(v.grid, _weight_kg(record, choices.administration)),
        strict=choices.strict,
    )
    half_life_s, injected_s = timing.half_life.seconds, timing.injection.seconds
    left = float(decay_factor(timing.reference_s - injected_s, half_life_s))
    decisions = timing.decisions()
    decisions["decay"]["dose_left_at_reference"] = left
    decisions["administered_activity"] = dose.decisions()
    return DoseShare(
        to_injection(timing) / dose.activity_bq,
        dose.relative_uncertainty,
        dose,
        timing,
        merge_cautions(timing.warnings, dose.warnings),
        decisions,
    )


def _weight_kg(record: EmissionAcquisition, given: Administration | None) -> float | None:
    return given.weight_kg if given is not None and given.weight_kg else record.subject.weight_kg


def per_voxel(v: Volume, factor: FloatArray) -> FloatArray:
    """Factors per slice and frame, shaped to multiply the voxels of `v`.

    Raises
    ------
    GeometryMismatch
        If the factors are not those of this volume's slices and frames.
    UnsupportedInput
        If the volume has other axes than time, or its slices were reordered.
    """
    if any(axis.name != "time" for axis in v.axes):
        names = ", ".join(axis.name for axis in v.axes)
        raise UnsupportedInput("uptake takes images with no axis beyond space but time", found=names)
    array = np.atleast_2d(np.asarray(factor, np.float64))
    if (array == array.flat[0]).all():
        return np.full((1,) * v.data.ndim, array.flat[0])
    frames = v.shape[3] if v.axes else 1
    if array.shape[0] not in (1, v.shape[2]) or array.shape[1] not in (1, frames):
        raise GeometryMismatch(
            "the times of slices and frames do not fit the image",
            found=f"{array.shape[0]} slices, {array.shape[1]} frames with a time",
            needed=f"{v.shape[2]} slices, {frames} frames",
            next_step="quantify the whole series first, then take a part of it",
        )
    if array.shape[0] > 1 and any(step.name == "reorder_axes" for step in v.history):
        raise UnsupportedInput(
            "each slice has its own time, and the slices were reordered",
            next_step="quantify first, then reorder",
        )
    return array[:, 0].reshape(1, 1, -1) if not v.axes else array[np.newaxis, np.newaxis]
