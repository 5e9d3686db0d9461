"""What a phantom file says: pydantic models that refuse every key and unit they do not know."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom.expected import ExpectSpec, ProvenanceSpec
from imgtheranostics.phantom.model import EMISSION, Modality, Model, Name, NotNegative, Positive, as_tuple
from imgtheranostics.phantom.scanner import Misplacement, PhysicsSpec, VariantSpec
from imgtheranostics.phantom.series import AxisKind, AxisSpec, GroupSpec
from imgtheranostics.phantom.shapes import Length, Shape
from imgtheranostics.phantom.stated import UPTAKE, Amount, Kinetics, Truth

__all__ = [
    "EMISSION",
    "UPTAKE",
    "AdministrationSpec",
    "AgentSpec",
    "Amount",
    "AxisKind",
    "AxisSpec",
    "ExpectSpec",
    "GridSpec",
    "GroupSpec",
    "Kinetics",
    "Misplacement",
    "Modality",
    "PhantomSpec",
    "PhysicsSpec",
    "ProvenanceSpec",
    "RegionSpec",
    "SubjectSpec",
    "TemplateName",
    "Truth",
    "VariantSpec",
]

TemplateName = Literal["mouse20g", "torso70kg", "head", "vials", "slab"]


class GridSpec(Model):
    """The voxel grid, centred on the origin of the patient; k runs from feet to head."""

    shape: tuple[Annotated[int, Field(gt=0, le=4096)], ...] = Field(min_length=3, max_length=3)
    voxel_mm: tuple[Length, ...] = Field(min_length=3, max_length=3)


class SubjectSpec(Model):
    """Who is scanned; synthetic. A rack of vials is nobody: species ``none``."""

    weight_kg: Positive
    height_m: Positive | None = None
    sex: Literal["M", "F", "O"] = "O"
    species: Literal["human", "mouse", "none"] = "human"


class AgentSpec(Model):
    """The nanoparticle or tracer: its record, the nuclide that it is labelled with (if any), its name."""

    record: Name
    label: str = ""
    name: str


class AdministrationSpec(Model):
    """What was injected and when, on the clock of the scanner.

    `activity_bq` is needed for emission images, `dose` for other agents.
    """

    activity_bq: NotNegative = 0.0
    dose: Amount | None = None
    at: datetime = datetime(2026, 1, 5, 8, 0, 0)
    relative_uncertainty: NotNegative = 0.05

    @model_validator(mode="after")
    def _local(self) -> AdministrationSpec:
        if self.at.tzinfo is not None:
            raise PydanticCustomError("clock", "a time without an offset is needed; variants add offsets")
        return self


def _shapes(value: Any) -> Any:
    return () if value == "template" else as_tuple(value)


class RegionSpec(Model):
    """A region; ``shape: template`` takes the organ of that name.

    `agent` is the record of the agent that it holds, where a phantom has several.
    """

    name: Name
    shape: Annotated[tuple[Shape, ...], BeforeValidator(_shapes)]
    truth: Annotated[tuple[Truth, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    agent: Name | None = None

    def states(self, quantity: str) -> Truth | None:
        """What the region states of a quantity, or None."""
        return next((truth for truth in self.truth if truth.quantity == quantity), None)

    @property
    def uptake(self) -> Truth:
        """The activity that it holds.

        Raises
        ------
        MissingMetadata
            If it states none.
        """
        for truth in self.truth:
            if truth.quantity in UPTAKE:
                return truth
        raise MissingMetadata(
            f"the region {self.name} states no activity", needed="one of " + ", ".join(UPTAKE)
        )


class PhantomSpec(Model):
    """A phantom: geometry, truth, scanner, and what an analysis must find in it.

    Attributes
    ----------
    modality, also
        The modality, and others that the same subject is scanned with.
    axis, axes
        What changes from image to image, and further series axes.
    agent, agents
        The agent, and further ones.
    order
        How overlapping regions lie on each other: ``listed`` (a later region covers an earlier one) or
        all names from the bottom up. Needed where regions overlap.
    scanners
        Physics of the modalities in `also`, where it differs from `physics`.
    """

    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
    title: str
    review_claim: str
    modality: Modality
    also: tuple[Modality, ...] = ()
    template: TemplateName | None = None
    grid: GridSpec
    subject: SubjectSpec = SubjectSpec(weight_kg=1.0, species="none")
    agent: AgentSpec
    agents: tuple[AgentSpec, ...] = ()
    administration: AdministrationSpec = AdministrationSpec()
    groups: tuple[GroupSpec, ...] = ()
    axis: AxisSpec
    axes: tuple[AxisSpec, ...] = ()
    order: Literal["listed"] | tuple[Name, ...] | None = None
    regions: tuple[RegionSpec, ...] = Field(min_length=1)
    variants: tuple[VariantSpec, ...] = ()
    physics: PhysicsSpec
    scanners: dict[Modality, PhysicsSpec] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)]
    outputs: tuple[Literal["dicom", "nifti", "msot-h5"], ...] = Field(min_length=1)
    expect: tuple[ExpectSpec, ...] = ()
    provenance: dict[str, ProvenanceSpec]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """All modalities, the main one first."""
        return (self.modality, *self.also)

    def physics_of(self, modality: str) -> PhysicsSpec:
        """The scanner of one of its modalities."""
        return next((spec for name, spec in self.scanners.items() if name == modality), self.physics)

    def axis_of(self, kind: str) -> AxisSpec | None:
        """The axis of that kind, or None."""
        return next((axis for axis in (self.axis, *self.axes) if axis.kind == kind), None)

    def region(self, name: str) -> RegionSpec:
        """The region of that name."""
        return next(region for region in self.regions if region.name == name)

    def painted(self) -> tuple[RegionSpec, ...]:
        """The regions from the bottom up."""
        if self.order is None or self.order == "listed":
            return self.regions
        return tuple(self.region(name) for name in self.order)

    def variant(self, name: str) -> VariantSpec:
        """The header variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)

    def group(self, name: str) -> GroupSpec:
        """The group of that name."""
        return next(group for group in self.groups if group.name == name)

    def provenance_of(self, region: str) -> ProvenanceSpec:
        """Where a region's truth comes from; a key such as ``regions.vial_*.truth`` speaks of several."""
        key = f"regions.{region}.truth"
        if key in self.provenance:
            return self.provenance[key]
        return next(item for name, item in self.provenance.items() if fnmatchcase(key, name))
