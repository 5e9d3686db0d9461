"""The clocks of a phantom's scans: frames, and the acquisition record that a header of them gives."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.phantom.exposures import Exposure
from imgtheranostics.phantom.pet import effective_time_s
from imgtheranostics.phantom.spec import PhantomSpec, VariantSpec

CORRECTIONS = ("NORM", "DTIM", "ATTN", "SCAT", "RAN")
CAMERA_CORRECTIONS = ("UNIF", "ATTN", "SCAT")
VIEWS = 60
"""Projections of a SPECT scan; its time is that of all of them."""


def reference_s(exposure: Exposure) -> float | None:
    """Decay reference of a scan's values in s after injection; None when they are not corrected."""
    return {"START": exposure.frames[0].start_s, "ADMIN": 0.0, "NONE": None}[
        exposure.variant.decay_correction
    ]


def emission_record(spec: PhantomSpec, exposure: Exposure) -> EmissionAcquisition:
    """What the header of one PET scan says."""
    variant, frames = exposure.variant, exposure.frames
    correction, reference = variant.decay_correction, reference_s(exposure)
    injected = spec.administration.at + timedelta(seconds=variant.shift_s)
    scan_start = injected + timedelta(seconds=frames[0].start_s)
    philips = variant.philips_activity_factor
    decay = exposure.decay_constant_per_s
    shape = (spec.grid.shape[2], len(frames))
    starts = np.array(
        [np.datetime64(injected + timedelta(seconds=f.start_s), "us") for f in frames], dtype="datetime64[us]"
    )
    effective = np.array([f.start_s + effective_time_s(f, decay) for f in frames])
    factor = None if reference is None else np.exp(decay * (effective - reference))
    return EmissionAcquisition(
        manufacturer=variant.manufacturer or exposure.physics.manufacturer,
        model=exposure.physics.model,
        units="BQML" if philips is None else "CNTS",
        decay_correction=correction,
        corrections=CORRECTIONS if correction == "NONE" else (*CORRECTIONS, "DECY"),
        series_type=("DYNAMIC" if len(frames) > 1 else "STATIC", "IMAGE"),
        counts_source="EMISSION",
        series_datetime=_series_time(scan_start, variant),
        private_scan_datetime=scan_start if variant.private_scan_time else None,
        utc_offset_min=_minutes(variant.scan_utc_offset_min),
        philips_activity_factor=philips,
        radiopharmaceutical=_radiopharmaceutical(spec, exposure, injected),
        subject=_subject(spec),
        n_images=spec.grid.shape[2] * len(frames),
        acquisition_datetime=np.array(np.broadcast_to(starts, shape)),
        frame_reference_time_s=np.array(np.broadcast_to(effective - frames[0].start_s, shape)),
        frame_duration_s=np.array(np.broadcast_to([f.duration_s for f in frames], shape)),
        decay_factor=None if factor is None else np.array(np.broadcast_to(factor, shape)),
    )


def camera_record(spec: PhantomSpec, exposure: Exposure) -> NuclearAcquisition:
    """What the header of one SPECT scan says."""
    variant, frame = exposure.variant, exposure.frames[0]
    injected = spec.administration.at + timedelta(seconds=variant.shift_s)
    scan_start = _aware(injected + timedelta(seconds=frame.start_s), variant.scan_utc_offset_min)
    corrected = variant.decay_correction != "NONE"
    return NuclearAcquisition(
        manufacturer=variant.manufacturer or exposure.physics.manufacturer,
        model=exposure.physics.model,
        image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"),
        energy_windows_kev=exposure.physics.energy_windows_kev,
        frame_duration_s=frame.duration_s / VIEWS,
        n_projections=VIEWS,
        scan_arc_deg=360.0,
        series_datetime=_series_time(scan_start.replace(tzinfo=None), variant),
        acquisition_datetime=scan_start,
        corrections=(*CAMERA_CORRECTIONS, "DECY") if corrected else CAMERA_CORRECTIONS,
        decay_correction=variant.decay_correction,
        utc_offset_min=_minutes(variant.scan_utc_offset_min),
        radiopharmaceutical=_radiopharmaceutical(spec, exposure, injected),
        subject=_subject(spec),
    )


def _subject(spec: PhantomSpec) -> Subject:
    subject = spec.subject
    animal = subject.species not in ("human", "none")
    return Subject(
        weight_kg=subject.weight_kg,
        height_m=subject.height_m,
        sex=subject.sex,
        species=subject.species if animal else None,
    )


def _series_time(scan_start: datetime, variant: VariantSpec) -> datetime:
    return _aware(scan_start + timedelta(seconds=variant.series_time_late_s), variant.scan_utc_offset_min)


def _radiopharmaceutical(spec: PhantomSpec, exposure: Exposure, injected: datetime) -> Radiopharmaceutical:
    record, variant = nuclide(exposure.label), exposure.variant
    start = _aware(injected, variant.scan_utc_offset_min)
    if variant.injection_utc_offset_min is not None and start.tzinfo is not None:
        start = start.astimezone(timezone(timedelta(minutes=variant.injection_utc_offset_min)))
    return Radiopharmaceutical(
        nuclide=record.name,
        half_life_s=variant.half_life_s or record.half_life_s,
        positron_fraction=record.positron_yield or None,
        total_dose=spec.administration.activity_bq,
        start_datetime=start,
        start_time=injected.time() if variant.injection_utc_offset_min is None else None,
        name=spec.agent.name,
    )


def _aware(moment: datetime, offset_min: int | None) -> datetime:
    return moment if offset_min is None else moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))


def _minutes(value: int | None) -> float | None:
    return None if value is None else float(value)
