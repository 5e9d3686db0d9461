"""The keys of BIDS that other tools read, written beside our own; times are relative, dates are left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any

import numpy as np

from imgtheranostics.acquisition import (
    CtAcquisition,
    EmissionAcquisition,
    MrAcquisition,
    PhotoacousticAcquisition,
    Radiopharmaceutical,
    Subject,
    UltrasoundAcquisition,
)
from imgtheranostics.io.acquisition_record import plain
from imgtheranostics.io.bids_cest import SATURATION_KEYS
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.io.saturation_offsets import B1_KEYS
from imgtheranostics.volume import Axis, Volume

_DAY_S = 86400.0
_AMBIGUOUS_HALF_LIFE_S = 12 * 3600.0
_FIXED = frozenset(
    {"TimeZero", "InjectedRadioactivityUnits", "WavelengthUnits", "LaserEnergyUnits"}
    | {"SaturationOffsetUnit", "SaturationOffsetSign"}
)
_TEXT_FIELDS = {
    "Manufacturer": "manufacturer",
    "ManufacturersModelName": "model",
    "TracerName": "name",
    "SequenceName": "sequence",
    "ConvolutionKernel": "kernel",
    "FilterType": "filtration",
    "FilterMaterial": "filter_material",
    "ContrastBolusAgent": "contrast_agent",
    "ContrastBolusIngredient": "contrast_material",
    "SaturationPulseShape": "pulse_shape",
    "AcquisitionOrder": "acquisition_order",
}


def public_keys(volume: Volume, *, keep_texts: bool = False) -> dict[str, Any]:
    """BIDS keys that the acquisition of a Volume can fill; free text only with `keep_texts`."""
    acquisition = volume.acquisition
    if isinstance(acquisition, EmissionAcquisition):
        content = _pet(volume, acquisition)
    elif isinstance(acquisition, MrAcquisition):
        content = _mr(volume, acquisition)
    elif isinstance(acquisition, PhotoacousticAcquisition):
        content = _pa(volume, acquisition)
    elif isinstance(acquisition, CtAcquisition):
        content = _ct(acquisition)
    elif isinstance(acquisition, UltrasoundAcquisition):
        content = _us(volume, acquisition)
    else:
        content = {}
    for key, name in (("Manufacturer", "manufacturer"), ("ManufacturersModelName", "model")):
        content[key] = getattr(acquisition, name, None)
    if not keep_texts:
        for key, value in content.items():
            if isinstance(value, str) and key not in _FIXED:
                content[key] = harmless_text(_TEXT_FIELDS.get(key, key.lower()), value)
    return {key: plain(value) for key, value in content.items() if value is not None}


def _pet(volume: Volume, acquisition: EmissionAcquisition) -> dict[str, Any]:
    """PET-BIDS with time zero at the start of the first frame."""
    tracer = acquisition.radiopharmaceutical
    starts, durations = _frames(volume, acquisition)
    injection = acquisition.injection_to_first_frame_s
    if injection is None:
        injection = _elapsed(acquisition)
    corrected = acquisition.decay_correction
    content: dict[str, Any] = {
        "TracerName": tracer.name,
        "TracerRadionuclide": tracer.nuclide,
        "RadionuclideHalfLife": tracer.half_life_s,
        "InjectedRadioactivity": tracer.total_dose,
        "InjectedRadioactivityUnits": "Bq" if tracer.total_dose is not None else None,
        "TimeZero": "00:00:00",
        "ScanStart": 0.0,
        "InjectionStart": None if injection is None else -injection,
        "FrameTimesStart": starts,
        "FrameDuration": durations,
        "ImageDecayCorrected": None if corrected is None else corrected != "NONE",
        "ImageDecayCorrectionTime": _reference(acquisition, injection),
        "DecayCorrectionFactor": _per_frame(acquisition.decay_factor),
        "SUVType": acquisition.suv_type,
    }
    return content | _subject(acquisition.subject)


def _frames(
    volume: Volume, acquisition: EmissionAcquisition
) -> tuple[list[float] | None, list[float] | None]:
    durations = _per_frame(acquisition.frame_duration_s)
    axis = volume.axis("time")
    n_frames = 1 if axis is None else len(axis)
    if durations is None or len(durations) != n_frames:
        return None, None
    if axis is None:
        return [0.0], durations
    middles = axis.values
    return [float(m - d / 2) for m, d in zip(middles, durations, strict=True)], durations


def _per_frame(values: np.ndarray[Any, Any] | None) -> list[float] | None:
    """One value per frame where all slices agree."""
    if values is None or values.ndim != 2 or not np.isfinite(values).all():
        return None
    return values[0].tolist() if (values == values[0]).all() else None


def _elapsed(acquisition: EmissionAcquisition) -> float | None:
    """Start of the first frame minus injection; by time of day only where that leaves no doubt of the day."""
    tracer = acquisition.radiopharmaceutical
    injected = tracer.start_datetime
    moments = acquisition.acquisition_datetime
    if moments is None or np.isnat(moments).all():
        return None
    first = moments[~np.isnat(moments)].min()
    if injected is None:
        return _elapsed_by_clock(first, tracer)
    if injected.tzinfo is not None and acquisition.utc_offset_min is not None:
        injected = injected.astimezone(timezone(timedelta(minutes=acquisition.utc_offset_min)))
    start = np.datetime64(injected.replace(tzinfo=None), "us")
    return float((first - start) / np.timedelta64(1, "s"))


def _elapsed_by_clock(first: np.datetime64, tracer: Radiopharmaceutical) -> float | None:
    clock = tracer.start_time
    if clock is None or tracer.half_life_s is None or tracer.half_life_s > _AMBIGUOUS_HALF_LIFE_S:
        return None
    of_day = clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond * 1e-6
    midnight = first.astype("datetime64[D]")
    return (float((first - midnight) / np.timedelta64(1, "s")) - of_day) % _DAY_S


def _reference(acquisition: EmissionAcquisition, injection: float | None) -> float | None:
    """Decay reference from the first frame, where the record leaves no choice between clocks."""
    if acquisition.decay_reference_s is not None:
        return acquisition.decay_reference_s
    if acquisition.decay_correction == "ADMIN":
        return None if injection is None else -injection
    series, moments = acquisition.series_datetime, acquisition.acquisition_datetime
    if (
        acquisition.decay_correction != "START"
        or series is None
        or moments is None
        or np.isnat(moments).any()
    ):
        return None
    first = moments.min()
    relative = float((np.datetime64(series.replace(tzinfo=None), "us") - first) / np.timedelta64(1, "s"))
    return relative if relative <= 0 and (moments == first).all() else None


def _mr(volume: Volume, acquisition: MrAcquisition) -> dict[str, Any]:
    def values(name: str, single: float | None) -> Any:
        axis = volume.axis(name)
        return single if axis is None else axis.values.tolist()

    content: dict[str, Any] = {
        "MagneticFieldStrength": acquisition.field_strength_t,
        "ImagingFrequency": acquisition.imaging_frequency_mhz,
        "EchoTime": values("echo_time", acquisition.echo_time_s),
        "InversionTime": values("inversion_time", acquisition.inversion_time_s),
        "FlipAngle": values("flip_angle", acquisition.flip_angle_deg),
        "RepetitionTimeExcitation": values("repetition_time", acquisition.repetition_time_s),
        "SequenceName": acquisition.sequence,
    }
    return content | _saturation(volume, acquisition.saturation)


def _saturation(volume: Volume, record: Mapping[str, Any]) -> dict[str, Any]:
    """Offsets and pulses of a CEST series, one entry per volume in the order of the file."""
    offsets, b1 = volume.axis("saturation_offset"), volume.axis("saturation_b1")
    if offsets is None or len(volume.axes) > 1 + (b1 is not None):
        return {}
    grids = np.meshgrid(*(axis.values for axis in volume.axes), indexing="ij")
    values = {axis.name: grid.ravel(order="F") for axis, grid in zip(volume.axes, grids, strict=True)}
    content = {key: record[name] for name, key in SATURATION_KEYS.items() if name in record}
    if b1 is not None:
        content |= _b1_per_volume(record, b1.values, values["saturation_b1"])
    listed = values["saturation_offset"]
    return content | {
        "SaturationOffsets": listed,
        "SaturationOffsetUnit": "ppm",
        "SaturationOffsetSign": "downfield_positive",
        "M0Index": np.flatnonzero(np.isnan(listed)),
    }


def _b1_per_volume(
    record: Mapping[str, Any], levels: np.ndarray[Any, Any], b1: np.ndarray[Any, Any]
) -> dict[str, Any]:
    """Each definition of B1 that is listed per level, as a list per volume."""
    listed = {name: record[name] for name in B1_KEYS if isinstance(record.get(name), tuple)}
    level = [int(np.flatnonzero(levels == value)[0]) for value in b1]
    return {
        SATURATION_KEYS[name]: [value[n] for n in level]
        for name, value in listed.items()
        if len(value) == len(levels)
    }


def _pa(volume: Volume, acquisition: PhotoacousticAcquisition) -> dict[str, Any]:
    axis, time = volume.axis("wavelength"), volume.axis("time")
    return {
        "Wavelengths": None if axis is None else axis.values,
        "WavelengthUnits": None if axis is None else "nm",
        "FrameTimes": None if time is None else time.values,
        "AxisOrder": [one.name for one in volume.axes],
        "SpeedOfSound": acquisition.speed_of_sound_m_s,
        "EnergyCorrected": acquisition.energy_corrected,
        "FluenceCorrected": acquisition.fluence_corrected,
        "ImageType": acquisition.image_type,
        "Reconstruction": acquisition.reconstruction,
        "Temperature": acquisition.temperature_cel,
        "LaserEnergies": _energies(acquisition, axis),
        "LaserEnergyUnits": "mJ" if acquisition.laser_energy_mj else None,
    }


def _energies(acquisition: PhotoacousticAcquisition, axis: Axis | None) -> list[float] | None:
    """Laser energies in the order of the axis, which is sorted where that of the record is not."""
    energies = np.array(acquisition.laser_energy_mj)
    stated = np.array(acquisition.wavelength_nm)
    if axis is not None and energies.size == stated.size == len(axis):
        order = np.argsort(stated, kind="stable")
        if np.array_equal(stated[order], axis.values):
            energies = energies[order]
    return energies.tolist() or None


def _us(volume: Volume, acquisition: UltrasoundAcquisition) -> dict[str, Any]:
    """Frame times, and what the log compression was; the unit stands among our own keys."""
    axis = volume.axis("time")
    grey = volume.quantity == "signal"
    return {
        "FrameTimes": None if axis is None else axis.values.tolist(),
        "MechanicalIndex": acquisition.mechanical_index,
        "TransducerFrequency": acquisition.transducer_frequency_mhz,
        "DynamicRange": acquisition.dynamic_range_db if grey else None,
        "GreyMax": acquisition.grey_max if grey else None,
        "Gain": acquisition.gain_db,
    }


def _ct(acquisition: CtAcquisition) -> dict[str, Any]:
    return {
        "KVP": acquisition.tube_voltage_kv,
        "FilterType": acquisition.filtration,
        "FilterMaterial": acquisition.filter_material,
        "FilterThickness": acquisition.filter_thickness_mm,
        "ConvolutionKernel": acquisition.kernel,
        "SliceThickness": acquisition.slice_thickness_mm,
        "ContrastBolusAgent": acquisition.contrast_agent,
        "ContrastBolusIngredient": acquisition.contrast_material,
    }


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "PatientWeight": subject.weight_kg,
        "PatientSize": subject.height_m,
        "PatientSex": subject.sex,
        "Species": subject.species,
    }
