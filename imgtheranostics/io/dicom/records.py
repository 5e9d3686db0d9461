"""Headers of every modality but PET to its acquisition record and the quantity of its voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from typing import Any

import numpy as np

from imgtheranostics.acquisition import (
    MrAcquisition,
    NuclearAcquisition,
    OtherAcquisition,
    PhotoacousticAcquisition,
    Radiopharmaceutical,
    UltrasoundAcquisition,
)
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.io.dicom.clocks import acquisition_us, series_start, to_datetime, utc_offset
from imgtheranostics.io.dicom.emission import radiopharmaceuticals_of, subject_of
from imgtheranostics.io.dicom.energy_windows import Window, centre_kev
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.photoacoustic import photoacoustic_record
from imgtheranostics.io.dicom.samples import Arrangement
from imgtheranostics.io.dicom.scaling import Scaling

_LONGEST_S = {"echo_time": 5.0, "repetition_time": 60.0, "inversion_time": 60.0}
_SMALLEST_LAST_INVERSION_S = 5e-3
_SHORTEST_MS = 0.05
_MILLI_PI = 1000.0 * math.pi
_LARGEST_DOSE_MBQ = 1e5


def mr_acquisition(frames: Sequence[Frame], scaling: Scaling, arrangement: Arrangement) -> MrAcquisition:
    """The MR record; a parameter that varies within the series is None here and stands on an axis.

    Raises
    ------
    ImplausibleValue
        If an echo or repetition time cannot be one in ms.
    """
    header = frames[0].header
    _check_times(frames)
    scale = {
        "philips_floating_point": "philips_floating_point",
        "real_world_value_mapping": "real_world",
        "rescale": "rescaled",
        "none": "stored",
    }[scaling.rule]
    if any(caution.code == "philips-display-values" for caution in scaling.cautions):
        scale = "philips_display"
    resolution = header.number("TemporalResolution")
    varying = _sample_parameters(frames, arrangement)
    component = frames[0].details.get("component")
    return MrAcquisition(
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        field_strength_t=header.soft_number("MagneticFieldStrength"),
        imaging_frequency_mhz=header.soft_number("ImagingFrequency"),
        nucleus=header.text("ImagedNucleus"),
        repetition_time_s=_uniform(frames, "repetition_time"),
        echo_time_s=_uniform(frames, "echo_time"),
        inversion_time_s=_uniform(frames, "inversion_time"),
        flip_angle_deg=_uniform(frames, "flip_angle"),
        echo_spacing_s=_echo_spacing(frames),
        sequence=header.text("SequenceName"),
        scanning_sequence=_scanning_sequence(header),
        image_component=str(component) if component else None,
        value_scale=scale,
        temporal_resolution_s=None if resolution is None else resolution / 1000.0,
        acquisition_datetime=first_start(frames),
        sample_parameters=varying,
        repetition_times_s=varying.get("repetition_time", ()) if len(arrangement.axes) == 1 else (),
        subject=subject_of(header),
    )


_PULSE_SEQUENCES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""Echo Pulse Sequence of enhanced images in the words of Scanning Sequence of classic ones."""


def _scanning_sequence(header: Header) -> tuple[str, ...]:
    return header.strings("ScanningSequence") or _PULSE_SEQUENCES.get(
        (header.text("EchoPulseSequence") or "").upper(), ()
    )


def _sample_parameters(frames: Sequence[Frame], arrangement: Arrangement) -> dict[str, tuple[float, ...]]:
    """Parameters that vary from sample to sample without being an axis, such as TR between inversions."""
    order = arrangement.order
    on_axes = {axis.name for axis in arrangement.axes}
    found: dict[str, tuple[float, ...]] = {}
    for name in ("echo_time", "flip_angle", "inversion_time", "repetition_time"):
        values = np.array([frame.parameters.get(name, np.nan) for frame in frames])[order]
        if name in on_axes or np.isnan(values).any() or (values == values.flat[0]).all():
            continue
        if (values == values[:1]).all():
            found[name] = tuple(float(v) for v in values[0])
    return found


def _uniform(frames: Sequence[Frame], name: str) -> float | None:
    values = {frame.parameters.get(name) for frame in frames}
    return values.pop() if len(values) == 1 else None


def _echo_spacing(frames: Sequence[Frame]) -> float | None:
    echoes = sorted({f.parameters["echo_time"] for f in frames if "echo_time" in f.parameters})
    steps = np.diff(echoes)
    if steps.size and np.allclose(steps, steps[0], rtol=1e-3):
        return float(steps.mean())
    return None


def _check_times(frames: Sequence[Frame]) -> None:
    tags = {
        "echo_time": "EchoTime (0018,0081)",
        "repetition_time": "RepetitionTime (0018,0080)",
        "inversion_time": "InversionTime (0018,0082)",
    }
    for name, tag in tags.items():
        values = sorted({frame.parameters.get(name, 0.0) for frame in frames} - {0.0})
        wrong = next((v for v in values if v > _LONGEST_S[name] or 0 < v * 1000.0 < _SHORTEST_MS), None)
        if wrong is None and name == "inversion_time" and len(values) > 1:
            wrong = values[-1] if values[-1] < _SMALLEST_LAST_INVERSION_S else None
        if wrong is not None:
            raise ImplausibleValue(
                f"the {name.replace('_', ' ')} cannot be one in milliseconds",
                where=f"{frames[0].header.path}: {tag}",
                found=f"{wrong * 1000.0:g}",
                needed="milliseconds, as DICOM demands",
                next_step="correct the header: the value looks like seconds or microseconds",
            )


def mr_quantity(frames: Sequence[Frame], scaling: Scaling) -> tuple[str, str, float, list[Caution]]:
    """Signal, or phase in rad where the vendor's scale of it is known; with the factor to get there.

    Siemens stores 0 to 4095 for -pi to pi, with a slope of 2 and an intercept of -4096; the display values of
    Philips are thousandths of rad from -pi on. Any other pair is no such scale, and the values are then left
    as they are, without the name of an angle.
    """
    if frames[0].details.get("component") != "phase":
        return "signal", "[arb'U]", 1.0, []
    maker = (frames[0].header.text("Manufacturer") or "").lower()
    if scaling.rule == "rescale":
        pairs = {(scale.slope, scale.intercept) for scale in scaling.scales}
        if maker.startswith("siemens") and pairs == {(2.0, -4096.0)}:
            return "phase", "rad", float(np.pi / 4096.0), []
        if maker.startswith("philips") and all(
            abs(intercept + _MILLI_PI) < 0.01 * _MILLI_PI for _, intercept in pairs
        ):
            return "phase", "rad", 1e-3, []
    caution = Caution("phase-scale-unknown", "phase values are on the scanner's own scale, not rad")
    return "signal", "[arb'U]", 1.0, [caution]


def ultrasound_acquisition(
    frames: Sequence[Frame],
    regions: tuple[dict[str, Any], ...],
    frame_time_s: float | None,
    grey_max: float | None,
) -> UltrasoundAcquisition:
    """The ultrasound record."""
    header = frames[0].header
    frequency = header.soft_number("TransducerFrequency")
    return UltrasoundAcquisition(
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        frame_time_s=frame_time_s,
        mechanical_index=header.soft_number("MechanicalIndex"),
        transducer_frequency_mhz=None if frequency is None else frequency / 1000.0,
        photometric=header.text("PhotometricInterpretation"),
        regions=regions,
        grey_max=grey_max,
        acquisition_datetime=first_start(frames),
        subject=subject_of(header),
    )


def nuclear_acquisition(frames: Sequence[Frame]) -> NuclearAcquisition:
    """The gamma-camera record."""
    header = frames[0].header
    details = frames[0].details
    windows = _windows(frames)
    drugs = tuple(_dose_in_bq(drug) for drug in radiopharmaceuticals_of(header))
    duration = details.get("frame_duration_s")
    return NuclearAcquisition(
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        image_type=header.strings("ImageType"),
        energy_windows_kev=tuple(limits for window in windows for limits in window),
        ranges_per_window=tuple(len(window) for window in windows) if len(windows) > 1 else (),
        frame_duration_s=duration if isinstance(duration, float) else None,
        n_projections=details.get("n_projections"),  # type: ignore[arg-type]
        scan_arc_deg=details.get("scan_arc_deg"),  # type: ignore[arg-type]
        series_datetime=series_start(header),
        acquisition_datetime=first_start(frames),
        corrections=header.strings("CorrectedImage"),
        decay_correction=header.text("DecayCorrection"),
        utc_offset_min=utc_offset(header),
        radiopharmaceutical=_agreed(drugs),
        radiopharmaceuticals=drugs if len({astuple(drug) for drug in drugs}) > 1 else (),
        subject=subject_of(header),
    )


def _agreed(drugs: Sequence[Radiopharmaceutical]) -> Radiopharmaceutical:
    """What all radiopharmaceuticals of a scan say; None where they differ, as in a scan of two isotopes."""
    if not drugs:
        return Radiopharmaceutical()
    same = {
        one.name: getattr(drugs[0], one.name)
        for one in fields(Radiopharmaceutical)
        if len({getattr(drug, one.name) for drug in drugs}) == 1
    }
    return Radiopharmaceutical(**same)


def _windows(frames: Sequence[Frame]) -> list[Window]:
    """The energy windows of the frames in the order of the axis that they make."""
    found = {frame.window for frame in frames if frame.window}
    return sorted(found, key=centre_kev)


def _dose_in_bq(drug: Radiopharmaceutical) -> Radiopharmaceutical:
    """The dose of an NM object, which the standard (C.8.4.10.1.7) gives in MBq, in Bq.

    More than 100 GBq is never injected: so large a number was typed in Bq, as the PET object has it.
    """
    if drug.total_dose is None or drug.total_dose >= _LARGEST_DOSE_MBQ:
        return drug
    return replace(drug, total_dose=drug.total_dose * 1e6)


def photoacoustic_acquisition(frames: Sequence[Frame]) -> PhotoacousticAcquisition:
    """The photoacoustic record."""
    return photoacoustic_record(frames, subject_of(frames[0].header))


def other_acquisition(header: Header) -> OtherAcquisition:
    """The record of a modality without one of its own."""
    return OtherAcquisition(
        modality=header.text("Modality") or "OT",
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        subject=subject_of(header),
    )


def first_start(frames: Sequence[Frame]) -> Any:
    """Earliest start of acquisition of the frames, on the clock of the file; None where it says none."""
    known = [frame.acquisition_us for frame in frames if frame.acquisition_us is not None]
    start = min(known) if known else acquisition_us(frames[0].header)
    return to_datetime(start)
