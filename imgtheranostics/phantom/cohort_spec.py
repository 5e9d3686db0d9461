"""What a cohort file says: a design, the scan that every subject gets, and the analyses of the study."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from imgtheranostics.errors import (
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.phantom.cohort_animals import Factorial, GroupedOutcome, GroupsOverTime, LabelAndDrug
from imgtheranostics.phantom.cohort_patients import DoseResponse, Retest, Survival
from imgtheranostics.phantom.expected import ProvenanceSpec
from imgtheranostics.phantom.model import Model, Name
from imgtheranostics.phantom.reading import library, parse_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.yaml_lines import read

_KINDS: dict[str, type[ImgTheranosticsError]] = {
    "unit": UnitMismatch,
    "greater_than_equal": ImplausibleValue,
    "greater_than": ImplausibleValue,
}
OPTIONAL_REGIONS = "lesion_"
"""Regions of the scan with this beginning are left out in subjects that have fewer."""

CohortDesign = Annotated[
    Survival | DoseResponse | Retest | Factorial | GroupsOverTime | LabelAndDrug | GroupedOutcome,
    Field(discriminator="kind"),
]


class ColumnSpec(Model):
    """A column of the table of outcomes."""

    description: str
    unit: str = "1"


class CohortSpec(Model):
    """A cohort with a known answer, and its null twin.

    Attributes
    ----------
    claim
        Of the list of cohort claims, such as ``C1``.
    null_twin
        What is absent in the null twin, in words.
    analysis
        The honest analysis, in words.
    quantity
        The truth of the scan's regions that a subject's values replace.
    roles
        Of the volumes of the scan, in their order.
    scan
        A phantom specification.
    manifest
        Further keys of the manifest, such as its analyses, as they are.
    outcomes
        Columns of the table of outcomes.
    """

    slug: Annotated[str, Field(pattern=r"^coh-[a-z0-9]+$", max_length=30)]
    title: str
    claim: Annotated[str, Field(pattern=r"^C[0-9]+$")]
    review_claim: str
    null_twin: str
    analysis: str
    design: CohortDesign
    quantity: str
    roles: tuple[Name, ...] = Field(min_length=1)
    scan: dict[str, Any]
    manifest: dict[str, Any]
    outcomes: dict[Name, ColumnSpec] = Field(default_factory=dict)
    provenance: dict[str, ProvenanceSpec]

    def base(self) -> PhantomSpec:
        """The scan before a subject's values are put in."""
        return parse_spec(self.scan, where=f"scan of {self.slug}")


def available_cohorts() -> tuple[str, ...]:
    """Slugs of the shipped cohorts, sorted."""
    return tuple(sorted(path.stem for path in (library() / "cohorts").glob("*.yaml")))


def is_cohort(slug_or_path: str | Path) -> bool:
    """Whether this names a cohort: a shipped one, or a file whose name begins with ``coh-``."""
    path = Path(slug_or_path)
    return str(slug_or_path) in available_cohorts() or (
        path.suffix in (".yaml", ".yml") and path.name.startswith("coh-")
    )


def cohort_path(slug_or_path: str | Path) -> Path:
    """The file of a cohort, by slug or as it is given.

    Raises
    ------
    NothingUsable
        If there is no such cohort; the known ones are listed.
    """
    path = Path(slug_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    if str(slug_or_path) not in available_cohorts():
        near = get_close_matches(str(slug_or_path), available_cohorts(), n=3)
        raise NothingUsable(
            f"there is no cohort {str(slug_or_path)!r}",
            found=("near: " + ", ".join(near) + "; " if near else "")
            + "known: "
            + ", ".join(available_cohorts()),
            next_step="choose one of these, or give a .yaml file",
        )
    return library() / "cohorts" / f"{slug_or_path}.yaml"


def load_cohort(slug_or_path: str | Path) -> CohortSpec:
    """A cohort's specification, by slug or from a file.

    Raises
    ------
    NothingUsable
        If there is no such cohort or file.
    CorruptInput, UnitMismatch, ImplausibleValue, GeometryMismatch, MissingMetadata
        If the file or the scan in it is not valid.
    """
    document = read(cohort_path(slug_or_path), subject="cohort file")
    spec = document.validated(CohortSpec, "the cohort specification is not valid", kinds=_KINDS)
    _check_regions(spec)
    return spec


def _check_regions(spec: CohortSpec) -> None:
    """Refuse a design that speaks of regions which the scan lacks, or does not state the quantity of."""
    scan = spec.base()
    stating = {region.name for region in scan.regions if region.states(spec.quantity) is not None}
    needed = spec.design.regions()
    if needed - stating:
        raise MissingMetadata(
            f"the scan of {spec.slug} does not state {spec.quantity} of a region that subjects differ in",
            where="scan.regions",
            found=", ".join(sorted(stating)) or "none",
            needed=", ".join(sorted(needed - stating)),
        )
