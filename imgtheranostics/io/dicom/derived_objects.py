"""What objects that are derived from a series share: its subject and dates, and nothing of the clock."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from imgtheranostics.io.dicom.header_modules import uid
from imgtheranostics.io.dicom.source_series import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "imgtheranostics"
STAND_IN_NAME = "SUBJECT^"
"""While an object is built: names of one component, such as pseudonyms, would be warned of."""

_MARKS = ("QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod")
_OF_THE_CLOCK = ("ContributingEquipmentSequence", "InstanceCreationDate", "InstanceCreationTime")


def settle(dataset: Dataset, series: SourceSeries, digest: str) -> None:
    """Take out the clock and the random UIDs, mark the subject as the series does, repair frame numbers."""
    dataset.PatientName = series.header.PatientName
    _set_dates(dataset, series.moment)
    for keyword in _OF_THE_CLOCK:
        if keyword in dataset:
            del dataset[keyword]
    organization = uid("dimensions", digest)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for one in dataset.get(keyword, []):
            one.DimensionOrganizationUID = organization
    for keyword in _MARKS:
        if keyword in series.header:
            dataset[keyword] = series.header[keyword]
    if series.multi_frame:
        for group in dataset.get("PerFrameFunctionalGroupsSequence", []):
            for derivation in group.get("DerivationImageSequence", []):
                for source in derivation.SourceImageSequence:
                    source.ReferencedFrameNumber = series.frames[source.ReferencedFrameNumber - 1].index + 1


def _set_dates(dataset: Dataset, moment: datetime) -> None:
    day = moment.strftime("%Y%m%d")
    for keyword in ("ContentDate", "SeriesDate"):
        setattr(dataset, keyword, day)
    for keyword in ("ContentTime", "SeriesTime"):
        setattr(dataset, keyword, "000000")
