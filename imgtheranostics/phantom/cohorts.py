"""Cohorts: whole studies with a known answer, drawn as numbers, written as scans, outcomes and manifest."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.atomic import output_folder, write_text
from imgtheranostics.phantom.cohort_members import Member, Visit
from imgtheranostics.phantom.cohort_spec import OPTIONAL_REGIONS, CohortSpec, load_cohort
from imgtheranostics.phantom.making import Phantom, make
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.writer import write_image_as_dicom, write_regions

MANIFEST = "manifest.yaml"
OUTCOMES = "outcomes.tsv"
TRUTH = "truth/truth.json"
COHORT_FORMATS = ("dicom", "nifti")


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort or its null twin, drawn once.

    Attributes
    ----------
    spec : CohortSpec
    members : tuple of Member
    null : bool
    seed : int
    """

    spec: CohortSpec
    members: tuple[Member, ...]
    null: bool
    seed: int

    def scans(self, level: int = 0) -> Iterator[tuple[Member, Visit, Phantom]]:
        """Every visit with its images, each made when it is asked for."""
        for number, member in enumerate(self.members):
            for order, visit in enumerate(member.visits):
                phantom = make(
                    _scan_of(self.spec, member, visit), level, rng=_mixed(self.seed, number, order)
                )
                yield member, visit, phantom


def make_cohort(
    slug_or_spec: str | Path | CohortSpec,
    *,
    null: bool = False,
    subjects: int | None = None,
    seed: int = 0,
) -> Cohort:
    """Draw a cohort.

    Parameters
    ----------
    slug_or_spec : str, Path or CohortSpec
        Such as ``coh-mm302``, or the path of a cohort file.
    null : bool
        The twin without the effect.
    subjects : int, optional
        How many; by default as the claim has it. Groups stay as even as they can.
    seed : int
        The same number gives the same cohort.

    Returns
    -------
    Cohort

    Raises
    ------
    NothingUsable
        If there is no such cohort; the known ones are listed.
    CorruptInput, UnitMismatch, ImplausibleValue, GeometryMismatch, MissingMetadata
        If its file is not valid.
    ValueError
        If `subjects` is less than 1.
    """
    spec = slug_or_spec if isinstance(slug_or_spec, CohortSpec) else load_cohort(slug_or_spec)
    design = spec.design
    if subjects is not None:
        if subjects < 1:
            raise ValueError(f"subjects is {subjects}, but at least 1 is needed")
        design = design.model_copy(update={"subjects": subjects})
    rng = np.random.default_rng([int(spec.scan["seed"]), seed])
    return Cohort(spec, design.draw(rng, null=null), null, seed)


def write_cohort(
    cohort: Cohort,
    folder: Path | str,
    fmt: Literal["dicom", "nifti"] = "dicom",
    *,
    level: int = 0,
    force: bool = False,
) -> list[Path]:
    """Write a cohort as a study that can be analysed.

    The folder holds ``manifest.yaml``, ``outcomes.tsv`` with units in ``outcomes.json`` where there are
    outcomes, ``sub-<id>/ses-<session>/<role>`` with ``regions.nii.gz`` beside it, and ``truth/truth.json``.

    Parameters
    ----------
    cohort : Cohort
    folder : path
        New or empty, unless `force`.
    fmt : {"dicom", "nifti"}
        Images that no DICOM object holds, such as Z-spectra, are NIfTI in any case.
    level : int
        Of every scan, as `make`.
    force : bool
        Replace files of an earlier result.

    Returns
    -------
    list of Path
        All files, sorted.

    Raises
    ------
    UnsupportedInput
        If the format is not known, or the scan does not offer the level.
    OutputError
        If the folder is not empty or cannot be written.
    """
    if fmt not in COHORT_FORMATS:
        raise UnsupportedInput(
            "cohorts are not written in this format", found=str(fmt), needed=", ".join(COHORT_FORMATS)
        )
    import yaml

    with output_folder(Path(folder), force=force) as temporary:
        suffix = ".nii.gz" if fmt == "nifti" else ""
        for member, visit, phantom in cohort.scans(level):
            _write_scans(phantom, temporary / _place(member, visit), cohort.spec.roles, suffix)
        _write_outcomes(cohort, temporary)
        content = manifest_of(cohort, suffix)
        write_text(
            temporary / MANIFEST, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
        )
        (temporary / "truth").mkdir()
        record = json.dumps(cohort_record(cohort, level), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(temporary / TRUTH, record + "\n")
        files = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    return [Path(folder) / file for file in files]


def cohort_record(cohort: Cohort, level: int) -> dict[str, Any]:
    """Everything that ``truth.json`` says: who holds what, and what was drawn."""
    spec = cohort.spec
    return {
        "slug": spec.slug,
        "title": spec.title,
        "claim": spec.claim,
        "review_claim": spec.review_claim,
        "null": cohort.null,
        "null_twin": spec.null_twin,
        "analysis": spec.analysis,
        "seed": cohort.seed,
        "level": level,
        "quantity": spec.quantity,
        "unit": _unit(spec),
        "subjects": [
            {
                "id": member.id,
                "group": member.group,
                "covariates": dict(member.covariates),
                "outcome": dict(member.outcome),
                "hidden": dict(member.hidden),
                "visits": [
                    {"session": one.session, "day": one.day, "hours": one.hours, "held": dict(one.held)}
                    for one in member.visits
                ],
            }
            for member in cohort.members
        ],
        "specification": spec.model_dump(mode="json", exclude_none=True),
    }


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _scan_of(spec: CohortSpec, member: Member, visit: Visit) -> dict[str, Any]:
    """The phantom specification of one visit: the subject's values, its injection and its time."""
    scan = copy.deepcopy(spec.scan)
    scan["slug"] = f"{spec.slug}-{member.id}"
    scan["regions"] = [
        _holding(region, spec.quantity, visit.held)
        for region in scan["regions"]
        if region["name"] in visit.held or not region["name"].startswith(OPTIONAL_REGIONS)
    ]
    if scan["axis"]["kind"] == "time":
        scan["axis"] |= {"values": [visit.hours], "truth_at": visit.hours}
    given = scan.setdefault("administration", {})
    given["at"] = _injected(spec, visit)
    dose = member.covariates.get("dose_mg_per_kg")
    if dose is not None:
        given["dose"] = {"value": dose, "unit": "mg/kg"}
    return scan


def _holding(region: dict[str, Any], quantity: str, held: Mapping[str, float]) -> dict[str, Any]:
    if region["name"] not in held:
        return region
    truths = region["truth"] if isinstance(region["truth"], list) else [region["truth"]]
    value = held[region["name"]]
    return region | {
        "truth": [one | {"value": value} if one["quantity"] == quantity else one for one in truths]
    }


def _unit(spec: CohortSpec) -> str:
    region = min(spec.design.regions())
    stated = spec.base().region(region).states(spec.quantity)
    return stated.unit if stated else ""


def _injected(spec: CohortSpec, visit: Visit) -> datetime:
    return spec.base().administration.at + timedelta(days=visit.day)


def _date(scan: PhantomSpec, visit: Visit) -> str:
    """When the scan of a visit begins, to the second."""
    frame_s = max(scan.physics.frame_duration_s or (0.0,))
    injected = scan.administration.at + timedelta(days=visit.day)
    begin = injected + timedelta(hours=visit.hours, seconds=-frame_s / 2)
    return begin.replace(microsecond=0).isoformat()


def _place(member: Member, visit: Visit) -> str:
    """Folder of a visit in that of the study."""
    return f"sub-{member.id}/ses-{visit.session}"


def _write_scans(phantom: Phantom, folder: Path, roles: tuple[str, ...], suffix: str) -> None:
    """The images of one visit by role, files with a suffix or folders without, and their regions."""
    from imgtheranostics.io.saving import save

    folder.mkdir(parents=True)
    for number, role in enumerate(roles):
        if suffix:
            save(phantom.volumes[number], folder / f"{role}{suffix}")
        else:
            write_image_as_dicom(phantom, number, folder).rename(folder / role)
    write_regions(phantom, folder)


def _write_outcomes(cohort: Cohort, folder: Path) -> None:
    """The table of outcomes, and what its columns are."""
    columns = cohort.spec.outcomes
    if not columns:
        return
    write_text(folder / OUTCOMES, outcomes_of(cohort))
    described = {name: {"Description": one.description, "Units": one.unit} for name, one in columns.items()}
    write_text(folder / "outcomes.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def outcomes_of(cohort: Cohort) -> str:
    """The table of outcomes, ``n/a`` where a subject could not be evaluated; empty where there are none."""
    columns = cohort.spec.outcomes
    if not columns:
        return ""
    lines = ["\t".join(("subject", *columns))]
    for member in cohort.members:
        values = (member.outcome[name] for name in columns)
        lines.append("\t".join((member.id, *("n/a" if v is None else f"{v:.8g}" for v in values))))
    return "\n".join(lines) + "\n"


def manifest_of(cohort: Cohort, suffix: str = "") -> dict[str, Any]:
    """The manifest of the study.

    Parameters
    ----------
    cohort : Cohort
    suffix : str
        Of the scans, which are named for their roles; without it they are folders.
    """
    spec = cohort.spec
    scan = spec.base()
    person = scan.subject
    twin = ", null twin" if cohort.null else ""
    size = {"height": f"{person.height_m!r} m"} if person.height_m else {}
    return {
        "study": f"{spec.slug}{twin}, seed {cohort.seed}",
        **copy.deepcopy(spec.manifest),
        **({"outcomes": OUTCOMES} if spec.outcomes else {}),
        "subjects": [
            {
                "id": member.id,
                **({"group": member.group} if member.group else {}),
                "species": person.species,
                "sex": person.sex,
                "weight": f"{person.weight_kg!r} kg",
                **size,
                **({"covariates": dict(member.covariates)} if member.covariates else {}),
                "sessions": [_session(member, one, scan, spec.roles, suffix) for one in member.visits],
            }
            for member in cohort.members
        ],
    }


def _session(
    member: Member, visit: Visit, scan: PhantomSpec, roles: tuple[str, ...], suffix: str
) -> dict[str, Any]:
    place = _place(member, visit)
    return {
        "id": visit.session,
        "date": _date(scan, visit),
        "scans": {role: f"{place}/{role}{suffix}" for role in roles},
        "regions": f"{place}/regions.nii.gz",
    }
