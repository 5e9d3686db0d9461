"""Which session found regions belong to, and which of its scans they were drawn on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.io.survey import FoundRegions, FoundSeries, LeftOut

if TYPE_CHECKING:
    from imgtheranostics.study.proposal import ProposedSession, ProposedSubject


@dataclass(frozen=True)
class RegionsOf:
    """The regions of a session; without `path`, a person has to choose among the candidates."""

    path: Path | None
    drawn_on: str = ""
    question: str = ""
    candidates: tuple[FoundRegions, ...] = ()


@dataclass(frozen=True)
class _Placed:
    regions: FoundRegions
    drawn_on: str
    sure: bool


def place_regions(subjects: Sequence[ProposedSubject], regions: Sequence[FoundRegions]) -> list[LeftOut]:
    """Give each file of regions to a session; those of no scan that was found come back with the reason."""
    left: list[LeftOut] = []
    placed: dict[int, list[_Placed]] = {}
    sessions: dict[int, ProposedSession] = {}
    for one in regions:
        own = [subject for subject in subjects if subject.id == one.subject]
        found = _session_of(one, own[0].sessions) if own else None
        if found is None:
            left.append(LeftOut(one.path, "regions of no scan that was found"))
            continue
        session, sure = found
        sessions[id(session)] = session
        placed.setdefault(id(session), []).append(_Placed(one, _drawn_on(one, session), sure))
    for key, several in placed.items():
        sessions[key].regions = _chosen(several, sessions[key], regions)
    return left


def _scans(session: ProposedSession) -> list[tuple[str, FoundSeries]]:
    return [
        (one.role, series)
        for one in session.scans
        for series in ([one.found] if one.found is not None else one.candidates)
    ]


def _session_of(
    one: FoundRegions, sessions: Sequence[ProposedSession]
) -> tuple[ProposedSession, bool] | None:
    """The session of regions and whether that is sure; None where they name scans that are not there."""
    if one.references:
        for session in sessions:
            if any(set(series.uid.split()) & one.references for _, series in _scans(session)):
                return session, True
    if one.session:
        return next(((session, True) for session in sessions if session.id == one.session), None)
    tests: tuple[Callable[[FoundSeries], bool], ...] = (
        lambda series: bool(one.frame_of_reference) and series.frame_of_reference == one.frame_of_reference,
        lambda series: bool(one.visit) and series.visit == one.visit,
        lambda series: bool(one.place) and series.place == one.place,
    )
    left = list(sessions)
    for test in tests:
        fitting = [session for session in left if any(test(series) for _, series in _scans(session))]
        if len(fitting) == 1:
            return fitting[0], True
        left = fitting or left
    return (left[0], len(left) == 1) if left else None


def _drawn_on(one: FoundRegions, session: ProposedSession) -> str:
    """Role of the scan that regions were drawn on; empty where nothing tells."""
    scans = _scans(session)
    for role, series in scans:
        if set(series.uid.split()) & one.references:
            return role
    spaced = [role for role, series in scans if one.space and series.suffix.lower() == one.space.lower()]
    gridded = [role for role, series in scans if one.place and series.place == one.place]
    both = [role for role in spaced if role in gridded]
    for roles in (both, spaced, gridded):
        if roles:
            return roles[0]
    framed = {
        role
        for role, series in scans
        if one.frame_of_reference and series.frame_of_reference == one.frame_of_reference
    }
    possible = framed or {role for role, _ in scans}
    return next(iter(possible)) if len(possible) == 1 else ""


def _chosen(several: list[_Placed], session: ProposedSession, every: Sequence[FoundRegions]) -> RegionsOf:
    candidates = tuple(one.regions for one in several)
    drawn = {one.drawn_on for one in several}
    if not all(one.sure for one in several):
        return RegionsOf(None, "", "on the scans of which session were these drawn?", candidates)
    if len(several) > 1:
        folder = candidates[0].path.parent
        together = {one.path for one in every if one.path.parent == folder} == {
            one.path for one in candidates
        }
        if not together or len(drawn) > 1 or len({one.kind for one in candidates}) > 1:
            return RegionsOf(None, "", f"{len(several)} files of regions: which are wanted?", candidates)
        path = folder
    else:
        path = candidates[0].path
    role = next(iter(drawn))
    question = "" if role else "which scan of the session were these drawn on?"
    return RegionsOf(path, role, question, candidates if question else ())
