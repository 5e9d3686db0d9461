"""What the scanner did: one frozen record per modality, units in the names, None where the file is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Subject:
    """What body-size corrections need of the patient or animal; nothing that identifies."""

    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None
    species: str | None = None


@dataclass(frozen=True, eq=False)
class Radiopharmaceutical:
    """The radiopharmaceutical as the file tells it, before any interpretation.

    Attributes
    ----------
    nuclide : str or None
        Such as ``F-18``, from the code sequence or the text.
    half_life_s, positron_fraction : float or None
    total_dose : float or None
        The number in the file, which is Bq by the standard and MBq or uCi by mistake. In NM it is MBq by
        the standard, and loaders multiply it.
    start_datetime : datetime or None
        Injection with its date.
    start_time : time or None
        Injection time where the file gives no date.
    """

    nuclide: str | None = None
    half_life_s: float | None = None
    positron_fraction: float | None = None
    total_dose: float | None = None
    start_datetime: datetime | None = field(default=None, repr=False)
    start_time: time | None = field(default=None, repr=False)
    stop_datetime: datetime | None = field(default=None, repr=False)
    name: str | None = None


@dataclass(frozen=True, eq=False)
class EmissionAcquisition:
    """PET, and SPECT stored as PET: clocks, decay and scale as the file tells them.

    Arrays have shape (n_slices, n_frames), in the order of the Volume's k and time axes.

    Attributes
    ----------
    units : str or None
        Units (0054,1001): BQML, CNTS, GML ...; for NIfTI the header word is translated to it.
    decay_correction : str or None
        START, ADMIN or NONE (0054,1102).
    series_datetime : datetime or None
        SeriesDate and SeriesTime; aware when the file gives the offset from UTC.
    acquisition_datetime : (n_slices, n_frames) datetime64[us] or None
        Start of each image's acquisition, local clock of the file; NaT where absent.
    frame_reference_time_s, frame_duration_s, decay_factor : (n_slices, n_frames) float or None
        (0054,1300) converted from ms, (0018,1242) converted from ms, (0054,1321); NaN where absent.
    decay_reference : str or None
        Set when the file states it outright (PET-BIDS): ``scan_start``, ``injection`` or a number of
        seconds relative to the first frame's start, see `decay_reference_s`.
    decay_reference_s : float or None
        Decay reference relative to the start of the first frame, when the file states it.
    injection_to_first_frame_s : float or None
        Start of the first frame minus injection, when the file states it without clocks (PET-BIDS).
    """

    modality: str = "PT"
    manufacturer: str | None = None
    model: str | None = None
    units: str | None = None
    suv_type: str | None = None
    decay_correction: str | None = None
    corrections: tuple[str, ...] = ()
    series_type: tuple[str, ...] = ()
    counts_source: str | None = None
    series_datetime: datetime | None = field(default=None, repr=False)
    private_scan_datetime: datetime | None = field(default=None, repr=False)
    acquisition_datetime: TimeArray | None = field(default=None, repr=False)
    frame_reference_time_s: FloatArray | None = None
    frame_duration_s: FloatArray | None = None
    decay_factor: FloatArray | None = None
    decay_reference: str | None = None
    decay_reference_s: float | None = None
    injection_to_first_frame_s: float | None = None
    utc_offset_min: float | None = None
    dose_calibration_factor: float | None = None
    philips_suv_factor: float | None = None
    philips_activity_factor: float | None = None
    radiopharmaceutical: Radiopharmaceutical = field(default=Radiopharmaceutical())
    subject: Subject = field(default=Subject())
    n_images: int = 0


@dataclass(frozen=True, eq=False)
class MrAcquisition:
    """Magnetic resonance: what relaxometry, CEST and thermometry need.

    `repetition_times_s` holds one value per sample of the last axis where they differ (inversion times on
    some scanners); `repetition_time_s` is then None.
    """

    modality: ClassVar[str] = "MR"
    manufacturer: str | None = None
    model: str | None = None
    field_strength_t: float | None = None
    imaging_frequency_mhz: float | None = None
    nucleus: str | None = None
    repetition_time_s: float | None = None
    echo_time_s: float | None = None
    inversion_time_s: float | None = None
    flip_angle_deg: float | None = None
    echo_spacing_s: float | None = None
    sequence: str | None = None
    scanning_sequence: tuple[str, ...] = ()
    image_component: str | None = None
    value_scale: str | None = None
    temporal_resolution_s: float | None = None
    acquisition_datetime: datetime | None = field(default=None, repr=False)
    saturation: Mapping[str, Any] = field(default_factory=dict)
    sample_parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    repetition_times_s: tuple[float, ...] = ()
    subject: Subject = field(default=Subject())


@dataclass(frozen=True, eq=False)
class CtAcquisition:
    """Computed tomography.

    Attributes
    ----------
    filtration : str or None
        Name of the filter's type, such as ``WEDGE``.
    filter_material, filter_thickness_mm
        What the beam is filtered with; several materials are joined by a backslash, as in DICOM, and the
        thickness is then that of all of them.
    rescale_type : str or None
        What the file says that its values are: RescaleType (0028,1054), the unit of a real-world value
        mapping, or ``Units`` of a sidecar; None where it says nothing.
    contrast_agent : str or None
        Free text of the file.
    contrast_material : str or None
        The element or compound that a concentration in these images counts.
    slice_thickness_mm : float or None
        Of the reconstruction; not the distance between slices.
    largest_storable : float or None
        Largest value that the stored type of the images can hold, in the unit of the volume: whatever is
        brighter is cut off at it.
    filter_materials, filter_thicknesses_mm : tuple
        One for each sample of the energy axis where the filters of the energies differ, as with a tin filter
        at the higher one; `filter_material` and `filter_thickness_mm` are then None.
    """

    modality: ClassVar[str] = "CT"
    manufacturer: str | None = None
    model: str | None = None
    tube_voltage_kv: float | None = None
    tube_current_ma: float | None = None
    exposure_mas: float | None = None
    filtration: str | None = None
    filter_material: str | None = None
    filter_thickness_mm: float | None = None
    filter_materials: tuple[str | None, ...] = ()
    filter_thicknesses_mm: tuple[float | None, ...] = ()
    kernel: str | None = None
    slice_thickness_mm: float | None = None
    rescale_type: str | None = None
    contrast_agent: str | None = None
    contrast_material: str | None = None
    reconstruction_diameter_mm: float | None = None
    padding_voxels: int = 0
    largest_storable: float | None = None
    acquisition_datetime: datetime | None = field(default=None, repr=False)
    subject: Subject = field(default=Subject())

    def of_energy(self, number: int, tube_voltage_kv: float) -> CtAcquisition:
        """The record of one sample of the energy axis, counted from 0: its tube voltage and its filter."""
        changes: dict[str, Any] = {"filter_materials": (), "filter_thicknesses_mm": ()}
        if self.filter_materials:
            changes["filter_material"] = self.filter_materials[number]
        if self.filter_thicknesses_mm:
            changes["filter_thickness_mm"] = self.filter_thicknesses_mm[number]
        return replace(self, tube_voltage_kv=float(tube_voltage_kv), **changes)


FILTERS_OF_ENERGIES = {
    "filter_material": "filter_materials",
    "filter_thickness_mm": "filter_thicknesses_mm",
}
"""Fields of a CT record that hold one value for all energies, and those that hold one for each."""


@dataclass(frozen=True, eq=False)
class NuclearAcquisition:
    """Gamma camera and SPECT stored as NM.

    Attributes
    ----------
    energy_windows_kev : tuple of (float, float)
        Ranges of the energy window in which the image was counted; of several windows one after the other.
    ranges_per_window : tuple of int
        How many ranges each window has, in the order of an ``energy`` axis; empty where there is one window.
    frame_duration_s : float or None
        Time of one view of a rotation, or of one planar frame; see `acquisition_duration_s`.
    decay_correction : str or None
        START, ADMIN or NONE; the NM object has no such element, so only extended files state it.
    radiopharmaceutical : Radiopharmaceutical
        What was injected; of several, as in a scan of two isotopes, only what they agree in.
    radiopharmaceuticals : tuple of Radiopharmaceutical
        All of them where there are several.
    """

    modality: ClassVar[str] = "NM"
    manufacturer: str | None = None
    model: str | None = None
    image_type: tuple[str, ...] = ()
    energy_windows_kev: tuple[tuple[float, float], ...] = ()
    ranges_per_window: tuple[int, ...] = ()
    frame_duration_s: float | None = None
    n_projections: int | None = None
    scan_arc_deg: float | None = None
    series_datetime: datetime | None = field(default=None, repr=False)
    acquisition_datetime: datetime | None = field(default=None, repr=False)
    corrections: tuple[str, ...] = ()
    decay_correction: str | None = None
    utc_offset_min: float | None = None
    radiopharmaceutical: Radiopharmaceutical = field(default=Radiopharmaceutical())
    radiopharmaceuticals: tuple[Radiopharmaceutical, ...] = ()
    subject: Subject = field(default=Subject())

    @property
    def windows_kev(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """The ranges of each energy window, in the order of an ``energy`` axis; empty where none is known."""
        ranges = self.energy_windows_kev
        if not self.ranges_per_window:
            return (ranges,) if ranges else ()
        found, start = [], 0
        for count in self.ranges_per_window:
            found.append(ranges[start : start + count])
            start += count
        return tuple(found)

    @property
    def acquisition_duration_s(self) -> float | None:
        """Time that each detector counted: all views of a rotation, or the one frame."""
        if self.frame_duration_s is None:
            return None
        return self.frame_duration_s * (self.n_projections or 1)


@dataclass(frozen=True, eq=False)
class UltrasoundAcquisition:
    """Ultrasound.

    Attributes
    ----------
    photometric : str or None
        How the file stored the pixels; colour and palettes were made grey.
    regions : tuple of mapping
        All calibrated regions of the frame (0018,6011), in the order of the file: bounds in pixels
        (inclusive), spatial format, units and deltas with their sign.
    grey_max : float or None
        Full scale of the stored grey levels.
    dynamic_range_db, gain_db : float or None
        Of the log compression, and receive gain; no DICOM element holds them, a sidecar may.
    """

    modality: ClassVar[str] = "US"
    manufacturer: str | None = None
    model: str | None = None
    frame_time_s: float | None = None
    mechanical_index: float | None = None
    transducer_frequency_mhz: float | None = None
    photometric: str | None = None
    regions: tuple[Mapping[str, Any], ...] = ()
    grey_max: float | None = None
    dynamic_range_db: float | None = None
    gain_db: float | None = None
    acquisition_datetime: datetime | None = field(default=None, repr=False)
    subject: Subject = field(default=Subject())


@dataclass(frozen=True, eq=False)
class PhotoacousticAcquisition:
    """Photoacoustic imaging.

    Attributes
    ----------
    wavelength_nm : tuple of float
        In the order of the file; the axis of the Volume is sorted.
    laser_energy_mj : tuple of float
        One per wavelength, in the order of `wavelength_nm`, or one per image.
    energy_corrected, fluence_corrected : bool or None
        Whether the values are divided by the laser energy, and by the light fluence at their place.
    image_type : str or None
        What the values are: ``p0``, ``mu_a``, or the scanner's words.
    reconstruction : str or None
        Method that made the images of signals.
    temperature_cel : float or None
        Of the coupling medium.
    """

    modality: ClassVar[str] = "PA"
    manufacturer: str | None = None
    model: str | None = None
    wavelength_nm: tuple[float, ...] = ()
    speed_of_sound_m_s: float | None = None
    laser_energy_mj: tuple[float, ...] = ()
    energy_corrected: bool | None = None
    image_type: str | None = None
    fluence_corrected: bool | None = None
    reconstruction: str | None = None
    temperature_cel: float | None = None
    subject: Subject = field(default=Subject())


@dataclass(frozen=True, eq=False)
class OtherAcquisition:
    """Any modality without a record of its own."""

    modality: str = "OT"
    manufacturer: str | None = None
    model: str | None = None
    subject: Subject = field(default=Subject())


Acquisition = (
    EmissionAcquisition
    | MrAcquisition
    | CtAcquisition
    | NuclearAcquisition
    | UltrasoundAcquisition
    | PhotoacousticAcquisition
    | OtherAcquisition
)
