"""Which series of a patient, a study or a list of UIDs an archive holds (QIDO-RS)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgtheranostics.errors import CorruptInput, NothingUsable, UnsupportedInput
from imgtheranostics.io.dicomweb.archive import TIMEOUT_S, Archive, open_archive
from imgtheranostics.io.pseudonym import pseudonym

_PAGE = 1000
_MOST = 500_000
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_WILD = re.compile(r"[*?\\]")
UID_TAIL = 12
"""Characters of a UID by which a series is named to people."""

_MODALITY, _PATIENT_ID = "00080060", "00100020"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_N_IMAGES = "00201209"

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes
    ----------
    patient : str, optional
        PatientID, as the archive has it.
    study : str, optional
        StudyInstanceUID.
    series : tuple of str
        SeriesInstanceUIDs; empty for all.
    modality : str, optional
        Such as ``PT``.
    """

    patient: str | None = field(default=None, repr=False)
    study: str | None = None
    series: tuple[str, ...] = ()
    modality: str | None = None

    def __post_init__(self) -> None:
        if not (self.patient or self.study or self.series):
            raise ValueError("a patient, a study or a series must be named")
        if self.patient and _WILD.search(self.patient):
            raise ValueError("the patient's ID must be one ID, without wildcards")
        for uid in (*self.series, *([self.study] if self.study else [])):
            if not is_uid(uid):
                raise ValueError("a study or series is named by its UID: numbers with points between them")


@dataclass(frozen=True)
class ArchivedSeries:
    """One series of an archive.

    Attributes
    ----------
    study_uid, series_uid : str
    modality : str
        Empty where the archive does not say it.
    subject : str
        Pseudonym of the patient.
    n_images : int or None
        As the archive counts them; None where it does not.
    """

    study_uid: str
    series_uid: str
    modality: str
    subject: str
    n_images: int | None

    @property
    def uid_tail(self) -> str:
        """The end of the UID, by which people tell series apart."""
        return self.series_uid[-UID_TAIL:]


def find_series(
    url: str,
    *,
    patient: str | None = None,
    study: str | None = None,
    series: Sequence[str] = (),
    modality: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[ArchivedSeries, ...]:
    """The series of an archive that `fetch` would take.

    Parameters
    ----------
    url : str
        Root of a DICOMweb service.
    patient, study, series, modality
        As `fetch` takes them.
    timeout_s : float
        Longest silence of the archive.

    Returns
    -------
    tuple of ArchivedSeries
        In the order of their studies and their UIDs.

    Raises
    ------
    ValueError
        If nothing is named, or a UID is none.
    NothingUsable
        If the archive has no such series, cannot be reached, or refuses the log-in.
    """
    wanted = Wanted(patient, study, tuple(series), modality)
    with open_archive(url, timeout_s=timeout_s) as archive:
        return search(archive, wanted)


def search(archive: Archive, wanted: Wanted) -> tuple[ArchivedSeries, ...]:
    """The series of an opened archive that fit; each that was named is there.

    What the archive sends is compared with what was asked for: one that does not know a search key ignores
    it and sends everything.

    Raises
    ------
    NothingUsable
        If none fits or one that was named does not; or of the archive's failures.
    """
    found: dict[str, ArchivedSeries] = {}
    for item in _series_items(archive, wanted):
        one = _series_of(item, archive)
        fits = (not wanted.series or one.series_uid in wanted.series) and (
            not wanted.modality or one.modality.upper() == wanted.modality.upper()
        )
        if fits:
            found[one.series_uid] = one
    missing = [uid for uid in wanted.series if uid not in found]
    if missing or not found:
        raise NothingUsable(
            "the archive has no series that fits what was asked for",
            where=archive.url,
            found=f"{len(found)} of {len(wanted.series)} series; not the one that ends in "
            f"{missing[0][-UID_TAIL:]}"
            if missing
            else None,
            needed=_words(wanted),
            next_step="check the ID and the UIDs as the archive spells them, and what this user may see",
        )
    return tuple(sorted(found.values(), key=lambda one: (one.study_uid, one.series_uid)))


def instances_of(archive: Archive, study_uid: str, series_uid: str) -> frozenset[str]:
    """The SOPInstanceUIDs that the archive lists in a series."""
    items = _pages(
        archive,
        lambda **page: archive.client.search_for_instances(study_uid, series_uid, **page),
        _INSTANCE,
    )
    return frozenset(uid_of(item, _INSTANCE, archive) for item in items)


def patient_of(archive: Archive, study_uid: str) -> str | None:
    """The PatientID of a study; None where the archive does not have the study, or does not say."""
    items = _pages(
        archive,
        lambda **page: archive.client.search_for_studies(
            search_filters={"StudyInstanceUID": study_uid}, fields=["PatientID"], **page
        ),
        _STUDY,
    )
    known = [item for item in items if text_of(item, _STUDY) == study_uid and _PATIENT_ID in item]
    return text_of(known[0], _PATIENT_ID) if known else None


def is_uid(text: str) -> bool:
    """Whether it may be a UID: it becomes part of an address, and nothing else may.

    >>> is_uid("1.2.840.10008"), is_uid("../1.2"), is_uid("")
    (True, False, False)
    """
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def uid_of(item: Found, tag: str, archive: Archive) -> str:
    """A UID that an answer must hold.

    Raises
    ------
    CorruptInput
        If it does not.
    """
    uid = text_of(item, tag)
    if not is_uid(uid):
        raise CorruptInput(
            "the archive's answer lacks a UID, or holds one that is none",
            where=f"{archive.url}: ({tag[:4]},{tag[4:]})",
            next_step="look for the study in the archive itself: its objects may be damaged",
        )
    return uid


def text_of(item: Found, tag: str) -> str:
    """The first value of an attribute in DICOM JSON as text; empty where there is none."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first).strip(" \0") if isinstance(first, (str, int, float)) else ""


def _series_items(archive: Archive, wanted: Wanted) -> Iterator[Found]:
    """The series of each study that fits, with the patient as the study has it."""
    filters = {"SeriesInstanceUID": wanted.series[0]} if len(wanted.series) == 1 else {}
    if wanted.modality:
        filters["Modality"] = wanted.modality.upper()
    if not (wanted.patient or wanted.study):
        for uid in dict.fromkeys(wanted.series):
            one = {**filters, "SeriesInstanceUID": uid}
            yield from _pages(archive, _with(archive.client.search_for_series, None, one), _SERIES)
        return
    for study in _studies(archive, wanted):
        uid = uid_of(study, _STUDY, archive)
        for item in _pages(archive, _with(archive.client.search_for_series, uid, filters), _SERIES):
            yield {**item, _STUDY: study[_STUDY], _PATIENT_ID: study.get(_PATIENT_ID, {})}


def _studies(archive: Archive, wanted: Wanted) -> Iterator[Found]:
    filters = {"PatientID": wanted.patient, "StudyInstanceUID": wanted.study}
    given = {name: value for name, value in filters.items() if value}
    for study in _pages(
        archive, lambda **page: archive.client.search_for_studies(search_filters=given, **page), _STUDY
    ):
        # archives may compare without case: two patients must never become one
        same_patient = not wanted.patient or text_of(study, _PATIENT_ID) == wanted.patient.strip()
        if same_patient and (not wanted.study or text_of(study, _STUDY) == wanted.study):
            yield study


def _with(
    search_for: Callable[..., Any], study: str | None, filters: Mapping[str, str]
) -> Callable[..., Any]:
    return lambda **page: search_for(study, search_filters=dict(filters), **page)


def _pages(archive: Archive, ask: Callable[..., Any], tag: str) -> Iterator[Found]:
    """All results, page by page; a page with nothing new ends it, since some archives know no pages."""
    seen: set[str] = set()
    offset = 0
    while True:
        with archive.refusing():
            page = ask(limit=_PAGE, offset=offset)
        if not isinstance(page, list) or not all(isinstance(item, Mapping) for item in page):
            raise CorruptInput(
                "the archive's answer is no list of results in DICOM JSON",
                where=archive.url,
                next_step="give the root of its DICOMweb service, which often ends in /dicom-web",
            )
        fresh = [item for item in page if uid_of(item, tag, archive) not in seen]
        if not fresh:
            return
        seen.update(text_of(item, tag) for item in fresh)
        offset += len(page)
        yield from fresh
        if offset > _MOST:
            raise UnsupportedInput(
                "the archive lists more than can be meant", where=archive.url, needed=f"at most {_MOST}"
            )


def _series_of(item: Found, archive: Archive) -> ArchivedSeries:
    counted = text_of(item, _N_IMAGES)
    return ArchivedSeries(
        uid_of(item, _STUDY, archive),
        uid_of(item, _SERIES, archive),
        re.sub(r"[^A-Za-z0-9]", "", text_of(item, _MODALITY))[:16],
        pseudonym(text_of(item, _PATIENT_ID)),
        int(counted) if counted.isdecimal() else None,
    )


def _words(wanted: Wanted) -> str:
    parts = [
        "of the patient with this ID" if wanted.patient else "",
        f"in the study that ends in {wanted.study[-UID_TAIL:]}" if wanted.study else "",
        f"of modality {wanted.modality.upper()}" if wanted.modality else "",
    ]
    return ", ".join(["a series", *(part for part in parts if part)])
