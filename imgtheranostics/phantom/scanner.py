"""The scanner of a phantom: levels, noise, resolution, and what each modality needs beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.ct_scanner import CtScanner
from imgtheranostics.phantom.model import Level, Model, Name, NotNegative, Number, Positive
from imgtheranostics.phantom.mri_scanner import MriScanner
from imgtheranostics.phantom.msot_scanner import MsotScanner
from imgtheranostics.phantom.ultrasound_scanner import UltrasoundScanner

Window = tuple[Positive, Positive]


class Misplacement(Model):
    """Errors of level 3, drawn once per image from the seed; each is a standard deviation.

    Attributes
    ----------
    shift_sd_mm
        Rigid shift of the subject between the images, along each of x, y, z.
    region_shift_sd_mm
        Shift of the regions to measure on, along each of x, y, z.
    region_margin_sd_mm
        Growth (or shrinkage) of those regions at their surface.
    """

    shift_sd_mm: NotNegative = 0.0
    region_shift_sd_mm: NotNegative = 0.0
    region_margin_sd_mm: NotNegative = 0.0


class MpiScanner(Model):
    """Magnetic particle imaging: blur of the tracer's response, and its slope."""

    response_fwhm_mm: Positive | None = None
    slope_per_ug: Positive = 1.0


class PhysicsSpec(Model):
    """The scanner. Level 0 is noise-free, 1 adds noise, 2 resolution and field errors, 3 misplacement.

    Attributes
    ----------
    levels
        Levels that this phantom offers.
    psf_fwhm_mm
        Resolution of the image, its voxels included.
    isotope_fwhm_mm
        Resolution per nuclide, where it differs.
    sensitivity
        Detected true coincidences per emitted positron (PET).
    sensitivity_cps_mbq
        Detected events per second and MBq, of all emissions (SPECT).
    prompt_gamma_floor
        Additive background as a fraction of the mean activity concentration in the regions.
    dead_time_s
        Of a non-paralysable detector; 0 for none.
    energy_windows_kev
        Lower and upper edge of each window.
    calibration_drift
        Relative error of the sensitivity of single scans, by scan name.
    snr, noise_sd
        Noise as the signal-to-noise ratio of the brightest region, or in the unit of the image.
    """

    levels: tuple[Level, ...] = Field(min_length=1)
    frame_duration_s: tuple[Positive, ...] = ()
    decay_correction: Literal["START", "ADMIN", "NONE"] = "START"
    psf_fwhm_mm: NotNegative = 0.0
    isotope_fwhm_mm: dict[str, Positive] = Field(default_factory=dict)
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.01
    sensitivity_cps_mbq: Positive | None = None
    prompt_gamma_floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dead_time_s: NotNegative = 0.0
    energy_windows_kev: tuple[Window, ...] = ()
    calibration_drift: dict[str, Annotated[float, Field(gt=-1, lt=10)]] = Field(default_factory=dict)
    noise: Literal["none", "poisson", "gaussian", "rician", "speckle"] | None = None
    snr: Positive | None = None
    noise_sd: Positive | None = None
    misplacement: Misplacement = Misplacement()
    mri: MriScanner | None = None
    ct: CtScanner | None = None
    msot: MsotScanner | None = None
    ultrasound: UltrasoundScanner | None = None
    mpi: MpiScanner | None = None
    manufacturer: str = "imgtheranostics"
    model: str = "phantom"

    @model_validator(mode="after")
    def _windows_open(self) -> PhysicsSpec:
        if any(low >= high for low, high in self.energy_windows_kev):
            raise PydanticCustomError("window", "an energy window's lower edge lies below its upper edge")
        if 3 in self.levels and self.misplacement == Misplacement():
            raise PydanticCustomError("level", "level 3 needs the sizes of its errors under misplacement")
        return self


class VariantSpec(Model):
    """One way to write the same truth into a header.

    Attributes
    ----------
    shift_s
        Moves injection and scan together on the clock.
    series_time_late_s
        SeriesTime written that much after the scan's start, as a re-save does.
    private_scan_time
        Write the scan's start into GE's private element.
    scan_utc_offset_min, injection_utc_offset_min
        Offsets from UTC of the scanner's clock and of the injection's.
    philips_activity_factor
        Store counts with Philips' private factors.
    half_life_s
        Half-life written instead of the true one.
    """

    name: Name
    decay_correction: Literal["START", "ADMIN", "NONE"] = "START"
    manufacturer: str | None = None
    shift_s: Number = 0.0
    series_time_late_s: NotNegative = 0.0
    private_scan_time: bool = False
    scan_utc_offset_min: Annotated[int, Field(ge=-720, le=840)] | None = None
    injection_utc_offset_min: Annotated[int, Field(ge=-720, le=840)] | None = None
    philips_activity_factor: Positive | None = None
    half_life_s: Positive | None = None
