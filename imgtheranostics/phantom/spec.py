"""What a phantom file says: pydantic models that refuse every key and unit they do not know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.shapes import Length, Shape

Level = Literal[0, 1, 2, 3]
Number = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)]

QUANTITY_UNITS = {
    "id_per_g": "%/g",
    "id_per_kg": "%/kg",
    "id_per_ml": "%/mL",
    "suv_bw": "g/mL",
    "activity_concentration": "Bq/mL",
}
"""Unit in which a phantom file states each quantity."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridSpec(_Model):
    """The voxel grid, centred on the origin of the patient; k runs from feet to head."""

    shape: tuple[Annotated[int, Field(gt=0, le=4096)], ...] = Field(min_length=3, max_length=3)
    voxel_mm: tuple[Length, ...] = Field(min_length=3, max_length=3)


class SubjectSpec(_Model):
    """Who is scanned; synthetic."""

    weight_kg: Positive
    height_m: Positive | None = None
    sex: Literal["M", "F", "O"] = "O"
    species: Literal["human", "mouse"] = "human"


class AgentSpec(_Model):
    """The nanoparticle: its record and what it is labelled with."""

    record: Name
    label: str
    name: str


class AdministrationSpec(_Model):
    """What was injected and when, on the clock of the scanner."""

    activity_bq: Positive
    at: datetime
    relative_uncertainty: NotNegative = 0.05

    @model_validator(mode="after")
    def _local(self) -> AdministrationSpec:
        if self.at.tzinfo is not None:
            raise PydanticCustomError("clock", "a time without an offset is needed; variants add offsets")
        return self


class Kinetics(_Model):
    """Biological curve (1 - 2^(-t/uptake)) 2^(-t/clearance), decay apart; without both it is flat."""

    uptake_half_time_h: Positive | None = None
    clearance_half_life_h: Positive | None = None


class Truth(_Model):
    """What a region holds at ``axis.truth_at``."""

    quantity: Literal["id_per_g", "id_per_kg", "suv_bw"]
    value: NotNegative
    unit: str
    density_g_ml: Positive = 1.0
    kinetics: Kinetics = Kinetics()

    @model_validator(mode="after")
    def _unit_fits(self) -> Truth:
        needed = QUANTITY_UNITS[self.quantity]
        if self.unit != needed:
            raise PydanticCustomError(
                "unit",
                "{quantity} is stated in {needed}, not in {unit}",
                {"quantity": self.quantity, "needed": needed, "unit": self.unit},
            )
        return self


def _shapes(value: Any) -> Any:
    if value == "template":
        return ()
    return value if isinstance(value, (list, tuple)) else [value]


class RegionSpec(_Model):
    """A region; ``shape: template`` takes the organ of that name. Later regions override earlier ones."""

    name: Name
    shape: Annotated[tuple[Shape, ...], BeforeValidator(_shapes)]
    truth: Truth


class AxisSpec(_Model):
    """What changes between the images.

    A time axis holds mid-frame times after injection; `layout` says whether each is a scan of its own
    or a frame of one dynamic series. A header_variant axis holds names of `variants`.
    """

    kind: Literal["time", "header_variant"]
    unit: Literal["h"] = "h"
    values: tuple[Number | Name, ...] = Field(min_length=1)
    truth_at: Positive
    layout: Literal["separate", "dynamic"] = "separate"

    @model_validator(mode="after")
    def _values_fit(self) -> AxisSpec:
        wanted = str if self.kind == "header_variant" else float
        if not all(isinstance(value, wanted) for value in self.values):
            raise PydanticCustomError("axis", f"{self.kind} needs a list of {wanted.__name__} values")
        if len(set(self.values)) != len(self.values):
            raise PydanticCustomError("axis", "axis values repeat")
        if self.kind == "time" and list(self.values) != sorted(self.values, key=float):
            raise PydanticCustomError("axis", "times are not in ascending order")
        return self


class PhysicsSpec(_Model):
    """The scanner. Level 0 uses no more than the frames; 1 adds counts; 2 adds resolution and floor.

    Attributes
    ----------
    levels
        Levels that this phantom offers.
    psf_fwhm_mm
        Resolution of the image, its voxels included.
    sensitivity
        Detected true coincidences per emitted positron.
    prompt_gamma_floor
        Additive background as a fraction of the mean activity concentration in the regions.
    """

    levels: tuple[Level, ...] = Field(min_length=1)
    frame_duration_s: tuple[Positive, ...] = Field(min_length=1)
    decay_correction: Literal["START", "ADMIN", "NONE"] = "START"
    psf_fwhm_mm: NotNegative = 0.0
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.01
    prompt_gamma_floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    manufacturer: str = "imgtheranostics"
    model: str = "phantom"


class VariantSpec(_Model):
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


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class ExpectSpec(_Model):
    """What an analysis must find.

    Attributes
    ----------
    method
        ``mean`` of the quantity in the region; ``ratio`` to the mean in `over`; ``recovery``, the share
        of the contrast of a sphere that a blurred image keeps; ``spread``, (largest - smallest) / mean
        over the axis; ``refusal``, an error instead of a number; ``partial_volume_corrected`` mean.
    value
        A number, ``truth`` for what the regions and their curves say, or ``closed_form``.
    """

    quantity: Literal["id_per_g", "id_per_ml", "suv_bw", "activity_concentration"]
    roi: Annotated[tuple[Name, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    over: Name | None = None
    at: Annotated[tuple[Number | Name, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = ("all",)
    method: Literal["mean", "ratio", "recovery", "spread", "refusal", "partial_volume_corrected"] = "mean"
    value: Number | Literal["truth", "closed_form"] | None = None
    tol_rel: Positive | None = None
    tol_abs: Positive | None = None
    level: Annotated[tuple[Level, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    claim: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> ExpectSpec:
        refusal = self.method == "refusal"
        if refusal == (self.value is not None):
            raise PydanticCustomError("expect", "a value is needed, or method: refusal without one")
        if refusal == ((self.tol_rel is None) != (self.tol_abs is None)):
            raise PydanticCustomError("expect", "exactly one of tol_rel and tol_abs is needed")
        if (self.method == "ratio") != (self.over is not None):
            raise PydanticCustomError("expect", "method: ratio and over: belong together")
        if (self.value == "closed_form") != (self.method == "recovery"):
            raise PydanticCustomError("expect", "value: closed_form and method: recovery belong together")
        return self


class ProvenanceSpec(_Model):
    """Where a value comes from. What is unconfirmed is from memory and is no validated truth."""

    status: Literal["review", "published", "computed", "unconfirmed"]
    source: str = ""

    @model_validator(mode="after")
    def _sourced(self) -> ProvenanceSpec:
        if self.status == "unconfirmed" and self.source != "memory":
            raise PydanticCustomError("provenance", "an unconfirmed value carries source: memory")
        if self.status in ("published", "computed") and not self.source:
            raise PydanticCustomError(
                "provenance", "a {status} value needs its source", {"status": self.status}
            )
        return self


class PhantomSpec(_Model):
    """A phantom: geometry, truth, scanner, and what an analysis must find in it."""

    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
    title: str
    review_claim: str
    modality: Literal["PET"]
    template: Literal["mouse20g", "torso70kg"] | None = None
    grid: GridSpec
    subject: SubjectSpec
    agent: AgentSpec
    administration: AdministrationSpec
    axis: AxisSpec
    regions: tuple[RegionSpec, ...] = Field(min_length=1)
    variants: tuple[VariantSpec, ...] = ()
    physics: PhysicsSpec
    seed: Annotated[int, Field(ge=0)]
    outputs: tuple[Literal["dicom", "nifti"], ...] = Field(min_length=1)
    expect: tuple[ExpectSpec, ...] = ()
    provenance: dict[str, ProvenanceSpec]

    def region(self, name: str) -> RegionSpec:
        """The region of that name."""
        return next(region for region in self.regions if region.name == name)

    def variant(self, name: str) -> VariantSpec:
        """The header variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)

    def provenance_of(self, region: str) -> ProvenanceSpec:
        """Where a region's truth comes from."""
        return self.provenance[f"regions.{region}.truth"]
