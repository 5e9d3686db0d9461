"""The clocks of a phantom's scans: frames, and the acquisition record that a header of them gives."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.phantom.pet import Frame, effective_time_s
from imgtheranostics.phantom.spec import PhantomSpec, VariantSpec

CORRECTIONS = ("NORM", "DTIM", "ATTN", "SCAT", "RAN")


def scan_names(spec: PhantomSpec) -> tuple[str, ...]:
    """Name of each volume: a time such as ``t0024.00h``, ``dynamic``, or a header variant."""
    if spec.axis.kind == "header_variant":
        return tuple(str(value) for value in spec.axis.values)
    if spec.axis.layout == "dynamic":
        return ("dynamic",)
    return tuple(f"t{float(value):07.2f}h" for value in spec.axis.values)


def frames_of(spec: PhantomSpec, volume: int) -> tuple[Frame, ...]:
    """The frames of one volume; a time of the axis is the middle of its frame."""
    durations = spec.physics.frame_duration_s
    if spec.axis.kind == "header_variant":
        return (_centred(spec.axis.truth_at, durations[min(volume, len(durations) - 1)]),)
    frames = tuple(
        _centred(float(value), durations[min(n, len(durations) - 1)])
        for n, value in enumerate(spec.axis.values)
    )
    return frames if spec.axis.layout == "dynamic" else (frames[volume],)


def emission_record(spec: PhantomSpec, volume: int) -> tuple[EmissionAcquisition, float | None]:
    """What the header of one volume says, and the time that its values refer to.

    Returns
    -------
    record : EmissionAcquisition
    reference_s : float or None
        Decay reference of the values in s after injection; None when they are not corrected.
    """
    variant = _variant(spec, volume)
    frames = frames_of(spec, volume)
    correction = variant.decay_correction
    reference_s = {"START": frames[0].start_s, "ADMIN": 0.0, "NONE": None}[correction]
    injected = spec.administration.at + timedelta(seconds=variant.shift_s)
    scan_start = injected + timedelta(seconds=frames[0].start_s)
    philips = variant.philips_activity_factor
    decay = nuclide(spec.agent.label).decay_constant_per_s
    shape = (spec.grid.shape[2], len(frames))
    starts = np.array(
        [np.datetime64(injected + timedelta(seconds=f.start_s), "us") for f in frames], dtype="datetime64[us]"
    )
    effective = np.array([f.start_s + effective_time_s(f, decay) for f in frames])
    factor = None if reference_s is None else np.exp(decay * (effective - reference_s))
    record = EmissionAcquisition(
        manufacturer=variant.manufacturer or spec.physics.manufacturer,
        model=spec.physics.model,
        units="BQML" if philips is None else "CNTS",
        decay_correction=correction,
        corrections=CORRECTIONS if correction == "NONE" else (*CORRECTIONS, "DECY"),
        series_type=("DYNAMIC" if len(frames) > 1 else "STATIC", "IMAGE"),
        counts_source="EMISSION",
        series_datetime=_series_time(scan_start, variant),
        private_scan_datetime=scan_start if variant.private_scan_time else None,
        utc_offset_min=_minutes(variant.scan_utc_offset_min),
        philips_activity_factor=philips,
        radiopharmaceutical=_radiopharmaceutical(spec, variant, injected),
        subject=Subject(
            weight_kg=spec.subject.weight_kg,
            height_m=spec.subject.height_m,
            sex=spec.subject.sex,
            species=None if spec.subject.species == "human" else spec.subject.species,
        ),
        n_images=spec.grid.shape[2] * len(frames),
        acquisition_datetime=np.array(np.broadcast_to(starts, shape)),
        frame_reference_time_s=np.array(np.broadcast_to(effective - frames[0].start_s, shape)),
        frame_duration_s=np.array(np.broadcast_to([f.duration_s for f in frames], shape)),
        decay_factor=None if factor is None else np.array(np.broadcast_to(factor, shape)),
    )
    return record, reference_s


def _centred(middle_h: float, duration_s: float) -> Frame:
    return Frame(middle_h * 3600 - duration_s / 2, duration_s)


def _variant(spec: PhantomSpec, volume: int) -> VariantSpec:
    if spec.axis.kind == "header_variant":
        return spec.variant(str(spec.axis.values[volume]))
    return VariantSpec(name="as-scanned", decay_correction=spec.physics.decay_correction)


def _series_time(scan_start: datetime, variant: VariantSpec) -> datetime:
    return _aware(scan_start + timedelta(seconds=variant.series_time_late_s), variant.scan_utc_offset_min)


def _radiopharmaceutical(spec: PhantomSpec, variant: VariantSpec, injected: datetime) -> Radiopharmaceutical:
    record = nuclide(spec.agent.label)
    start = _aware(injected, variant.scan_utc_offset_min)
    if variant.injection_utc_offset_min is not None and start.tzinfo is not None:
        start = start.astimezone(timezone(timedelta(minutes=variant.injection_utc_offset_min)))
    return Radiopharmaceutical(
        nuclide=record.name,
        half_life_s=variant.half_life_s or record.half_life_s,
        positron_fraction=record.positron_yield,
        total_dose=spec.administration.activity_bq,
        start_datetime=start,
        start_time=injected.time() if variant.injection_utc_offset_min is None else None,
        name=spec.agent.name,
    )


def _aware(moment: datetime, offset_min: int | None) -> datetime:
    return moment if offset_min is None else moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))


def _minutes(value: int | None) -> float | None:
    return None if value is None else float(value)
