"""Analyses that fit the roles of a proposed manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgtheranostics.io.survey import FoundSeries
from imgtheranostics.study.manifest import Analysis
from imgtheranostics.study.manifest_files import OPEN
from imgtheranostics.study.proposal_roles import RoleOf

if TYPE_CHECKING:
    from imgtheranostics.study.proposal import ProposedSubject

_MR = (
    ("vfa", "t1", "mri t1"),
    ("ir", "t1", "mri t1"),
    ("irt1", "t1", "mri t1"),
    ("vtr", "t1", "mri t1"),
    ("mese", "t2", "mri t2"),
    ("megre", "t2star", "mri t2star"),
    ("cest", "cest", "cest contrast"),
)
_EMISSION = ("PT", "NM")
_COUNTED = ("counts", "count_rate")


def fitting_analyses(subjects: Sequence[ProposedSubject]) -> tuple[Analysis, ...]:
    """Commands for the roles that are known in at least one session, each with a name of its own."""
    known: dict[str, FoundSeries] = {}
    most: Counter[str] = Counter()
    pairs = set()
    for subject in subjects:
        times: Counter[str] = Counter()
        for session in subject.sessions:
            roles = {one.role: series for one in session.scans if (series := _series(one)) is not None}
            known.update(roles)
            times.update(roles.keys())
            if "pre" in roles and "post" in roles:
                pairs.add(roles["pre"].modality)
        for role, count in times.items():
            most[role] = max(most[role], count)
    found: list[Analysis] = []
    for role, series in sorted(known.items()):
        found += _of_role(role, series, most[role])
    for modality, command in (("MR", "mri enhancement"), ("CT", "ct enhancement")):
        if modality in pairs:
            found.append(_analysis("enhancement", command, ["pre", "post"]))
    if "US" in pairs:
        before = {"before": {"scan": "pre"}, **_grey_scale(known["post"])}
        found.append(_analysis("enhancement", "ultrasound enhancement", ["post"], **before))
    return tuple(_named_once(found))


def _series(one: RoleOf) -> FoundSeries | None:
    return one.found if one.found is not None else (one.candidates[0] if one.candidates else None)


def _of_role(role: str, series: FoundSeries, times: int) -> list[Analysis]:
    if series.modality in _EMISSION:
        return _emission(role, series, times)
    kind = role.split("-")[0]
    found = [_analysis(name, command, [role]) for base, name, command in _MR if kind == base]
    if role == "us-cine":
        found.append(_analysis("curves", "ultrasound curves", [role], **_grey_scale(series)))
    if series.modality == "PA" and series.axes.get("wavelength", 1) > 1:
        found.append(_analysis("oxygenation", "msot oxygenation", [role]))
    return found


def _grey_scale(series: FoundSeries) -> dict[str, str]:
    """The dynamic range is asked for where the file does not say it: DICOM has no element for it."""
    return {} if series.settings.get("dynamic_range") else {"dynamic-range": OPEN}


def _emission(role: str, series: FoundSeries, times: int) -> list[Analysis]:
    if series.modality == "NM" and series.quantity in _COUNTED and role.startswith("spect"):
        options = {"quantity": ["id_per_g"], "sensitivity-cps-mbq": OPEN}
        return [_analysis("uptake", "nuclear uptake", [role], **options)]
    if series.quantity != "activity_concentration":
        return []
    if series.axes.get("time", 1) > 1:
        return [_analysis("curves", "nuclear curves", [role])]
    found = [_analysis("uptake", "nuclear uptake", [role], quantity=["id_per_g"])]
    if times > 1:
        found.append(_analysis("curves", "nuclear curves", [f"{role}@*"]))
    return found


def _analysis(name: str, command: str, scans: list[str], **options: Any) -> Analysis:
    return Analysis.model_validate({"name": name, "command": command, "scans": scans, "options": options})


def _named_once(found: Sequence[Analysis]) -> list[Analysis]:
    counts: Counter[str] = Counter(one.name for one in found)
    return [
        one
        if counts[one.name] == 1
        else one.model_copy(update={"name": f"{one.name}-{one.scans[0].split('@')[0]}"[:64]})
        for one in found
    ]
