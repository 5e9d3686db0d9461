"""Series into subjects and sessions: by labels of BIDS, else by study and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imgtheranostics.io.survey import FoundSeries
from imgtheranostics.study.proposal_roles import base_role

SAME_VISIT = timedelta(hours=6)
"""Series that begin within this of each other may be of one visit."""
_SAME_SCAN = timedelta(minutes=30)
_EMISSION = ("PT", "NM")


@dataclass
class Visit:
    """Series of one session; `begin` is that of the first whose time is known."""

    label: str
    series: list[FoundSeries] = field(default_factory=list)

    @property
    def begin(self) -> datetime | None:
        """When it began; None where no header tells."""
        return min((one.begin for one in self.series if one.begin is not None), default=None)


def visits_of(series: Sequence[FoundSeries]) -> list[Visit]:
    """Sessions of one subject in the order of their time.

    With labels of BIDS these decide. Without, the series of one study are a visit; it falls apart where more
    than six hours lie between series, and into the time points of an emission scan that was repeated. Visits
    of different studies within six hours are one where none of their series are of the same kind, as with a
    PET and a CT of two scanners.
    """
    labelled: dict[str, list[FoundSeries]] = defaultdict(list)
    free: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in series:
        if one.session or one.suffix:
            labelled[one.session or "s1"].append(one)
        else:
            free[one.visit].append(one)
    visits = [Visit(label, members) for label, members in labelled.items()]
    parts = [part for members in free.values() for part in _split(members)]
    merged = _merged(sorted(parts, key=_when))
    taken = set(labelled)
    number = 0
    for members in merged:
        number += 1
        while f"s{number}" in taken:
            number += 1
        visits.append(Visit(f"s{number}", members))
    return sorted(visits, key=lambda visit: (visit.begin or datetime.max, visit.label))


def _when(members: Sequence[FoundSeries]) -> tuple[datetime, str]:
    begins = [one.begin for one in members if one.begin is not None]
    return min(begins, default=datetime.max), str(members[0].path)


def _split(members: Sequence[FoundSeries]) -> list[list[FoundSeries]]:
    """A study into visits; series without time stay with the first."""
    timed = sorted((one for one in members if one.begin is not None), key=_begin)
    if not timed:
        return [list(members)]
    parts: list[list[FoundSeries]] = [[timed[0]]]
    for one in timed[1:]:
        if _begin(one) - _begin(parts[-1][-1]) > SAME_VISIT:
            parts.append([])
        parts[-1].append(one)
    parts = [point for part in parts for point in _time_points(part)]
    parts[0] += [one for one in members if one.begin is None]
    return parts


def _begin(one: FoundSeries) -> datetime:
    assert one.begin is not None  # noqa: S101
    return one.begin


def _time_points(part: list[FoundSeries]) -> list[list[FoundSeries]]:
    """A visit in which an emission scan was repeated, as one session per repetition."""
    by_kind: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in part:
        if one.modality in _EMISSION and one.attenuation_corrected is not False:
            by_kind[base_role(one)].append(one)
    repeated = max(by_kind.values(), key=len, default=[])
    starts: list[datetime] = []
    for one in repeated:
        if not starts or _begin(one) - starts[-1] > _SAME_SCAN:
            starts.append(_begin(one))
    if len(starts) < 2:
        return [part]
    points: list[list[FoundSeries]] = [[] for _ in starts]
    for one in part:
        nearest = min(range(len(starts)), key=lambda n: abs(_begin(one) - starts[n]))
        points[nearest].append(one)
    return points


def _merged(parts: Sequence[list[FoundSeries]]) -> list[list[FoundSeries]]:
    """Neighbours within one visit's time whose kinds of series do not repeat, as one."""
    merged: list[list[FoundSeries]] = []
    for part in parts:
        if merged and _belong_together(merged[-1], part):
            merged[-1] = merged[-1] + part
        else:
            merged.append(list(part))
    return merged


def _belong_together(first: Sequence[FoundSeries], second: Sequence[FoundSeries]) -> bool:
    begins, others = _when(first)[0], _when(second)[0]
    if datetime.max in (begins, others) or others - begins > SAME_VISIT:
        return False
    return not {base_role(one) for one in first} & {base_role(one) for one in second}
