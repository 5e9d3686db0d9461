"""Writing region measurements as a structured report: TID 1500, one group for each region.

References
----------
.. [1] DICOM PS3.16 TID 1500 (report), TID 1411 (volumes), TID 1501 (no drawn region), TID 300 (measurement),
   TID 310 (its uncertainty).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imgtheranostics._version import VERSION
from imgtheranostics.io.dicom.derived_objects import MANUFACTURER, STAND_IN_NAME, settle
from imgtheranostics.io.dicom.header_modules import uid
from imgtheranostics.io.dicom.quantity_codes import (
    FIFTH_PERCENTILE,
    LAST_PERCENTILE,
    LOWER_UNCERTAINTY,
    MAXIMUM,
    MEAN,
    MEDIAN,
    MINIMUM,
    NOT_A_NUMBER,
    STANDARD_DEVIATION,
    UPPER_UNCERTAINTY,
    VALID_VOXELS,
    VOLUME,
    VOXELS,
    Code,
    axis_code,
    quantity_code,
    unit_code,
)

if TYPE_CHECKING:
    from pydicom import Dataset

    from imgtheranostics.io.dicom.source_series import SourceSeries

SERIES_NUMBER = 909
MODEL = "measurements"

Row = Mapping[str, Any]

_STATISTICS = {
    "sd": STANDARD_DEVIATION,
    "median": MEDIAN,
    "p05": FIFTH_PERCENTILE,
    "p95": LAST_PERCENTILE,
    "min": MINIMUM,
    "max": MAXIMUM,
}
_COUNTS = {"n_voxels": VOXELS, "n_valid": VALID_VOXELS}
_PROCEDURES = {
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
}
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_WHOLE = "image"


@dataclass(frozen=True)
class Evidence:
    """What measurements refer to.

    Attributes
    ----------
    segmentation : Dataset, optional
        The regions; a measurement of a region that it lacks refers to the images instead.
    maps : mapping of str to Dataset
        The parametric map of each quantity.
    axis_units : mapping of str to str
        Unit of each axis by its name.
    """

    segmentation: Dataset | None = None
    maps: Mapping[str, Dataset] = field(default_factory=dict)
    axis_units: Mapping[str, str] = field(default_factory=dict)

    @property
    def segments(self) -> dict[str, int]:
        """Number of each segment by its label."""
        if self.segmentation is None:
            return {}
        return {str(one.SegmentLabel): int(one.SegmentNumber) for one in self.segmentation.SegmentSequence}


def measurement_report(rows: Sequence[Row], series: SourceSeries, evidence: Evidence) -> Dataset:
    """A Comprehensive 3D SR of a table of regions.

    Parameters
    ----------
    rows : sequence of mapping
        With the keys of `imgtheranostics.regions.STATISTICS_COLUMNS`; missing numbers are None. Rows of one
        region and one place along an axis become one group, whose first measurement is that place.
    series : SourceSeries
    evidence : Evidence

    Returns
    -------
    pydicom.Dataset
        The same for the same rows and series. A measurement states its standard error as the range of its
        uncertainty on both sides, in its own unit; one that is missing says that it is not a number.
    """
    import highdicom as hd

    digest = _digest(rows, series, evidence)
    images = _referenced(series)
    groups = [_group(key, members, evidence, images, digest) for key, members in _grouped(rows).items()]
    observer = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid("imgtheranostics", "device"), name=MANUFACTURER, model_name=VERSION
        ),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURES.get(str(series.header.get("Modality")), _PROCEDURE).concept(),
        imaging_measurements=groups,
    )
    drawn = [] if evidence.segmentation is None else [evidence.segmentation]
    dataset = hd.sr.Comprehensive3DSR(
        evidence=[*images, *drawn, *evidence.maps.values()],
        content=content[0],
        series_instance_uid=uid("report series", digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid("report", digest),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=True,
        manufacturer_model_name=MODEL,
        software_versions=VERSION,
        series_description="region measurements",
    )
    settle(dataset, series, digest)
    return dataset


def _digest(rows: Sequence[Row], series: SourceSeries, evidence: Evidence) -> str:
    total = hashlib.sha256(repr([sorted(row.items()) for row in rows]).encode())
    header = series.header
    total.update(
        repr([str(header.get(key)) for key in ("SeriesInstanceUID", "PatientID", "StudyDate")]).encode()
    )
    for one in (evidence.segmentation, *evidence.maps.values()):
        total.update(str(one.SOPInstanceUID if one is not None else "").encode())
    return total.hexdigest()


def _referenced(series: SourceSeries) -> list[Dataset]:
    """A stand-in for each file of the source, once."""
    found: dict[str, Dataset] = {}
    planes = series.planes()
    for k in range(series.grid.shape[2]):
        image = series.image(planes, k)
        image.PatientName = STAND_IN_NAME
        found.setdefault(str(image.SOPInstanceUID), image)
    return list(found.values())


_Key = tuple[str, str, float | None]


def _grouped(rows: Sequence[Row]) -> dict[_Key, list[Row]]:
    """Rows by region and place along their axis, in the order of the table."""
    groups: dict[_Key, list[Row]] = {}
    for row in rows:
        axis = str(row["axis"] or "")
        key = (str(row["region"]), axis, row["axis_value"] if axis else None)
        groups.setdefault(key, []).append(row)
    return groups


def _group(key: _Key, rows: Sequence[Row], evidence: Evidence, images: Sequence[Dataset], digest: str) -> Any:
    """The measurements of one region at one place along an axis."""
    import highdicom as hd

    region, axis, place = key
    unit = evidence.axis_units.get(axis, "1")
    told = f"{region}, {axis.replace('_', ' ')} {place:g} {unit}" if axis and place is not None else region
    measurements = [] if place is None else [_measured(axis_code(axis), place, unit_code(unit))]
    measurements += _sizes(rows[0])
    for row in rows:
        measurements += _statistics(row, evidence)
    tracking = hd.sr.TrackingIdentifier(uid=uid("region", digest, region), identifier=told or _WHOLE)
    number = evidence.segments.get(region[:64])
    if number is None or evidence.segmentation is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            source_images=[
                hd.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
                for image in images
            ],
            measurements=measurements,
        )
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=evidence.segmentation.SOPClassUID,
        sop_instance_uid=evidence.segmentation.SOPInstanceUID,
        segment_number=number,
        source_series=hd.sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking, referenced_segment=segment, measurements=measurements
    )


def _sizes(row: Row) -> list[Any]:
    """Volume and number of voxels of the region."""
    found = []
    if _is_number(row["volume_ml"]):
        found.append(_measured(VOLUME, float(row["volume_ml"]), unit_code("mL")))
    for name, code in _COUNTS.items():
        if _is_number(row[name]):
            found.append(_measured(code, float(row[name]), unit_code("1")))
    return found


def _statistics(row: Row, evidence: Evidence) -> list[Any]:
    """Value and standard error of a quantity, and how it spreads over the voxels."""
    quantity = str(row["quantity"])
    name, unit = quantity_code(quantity), unit_code(str(row["unit"]), quantity)
    spreads = _is_number(row["sd"])
    found = [
        _measured(
            name,
            row["mean"],
            unit,
            derivation=MEAN if spreads or quantity in evidence.maps else None,
            error=row["standard_error"],
            of=evidence.maps.get(quantity),
        )
    ]
    for column, derivation in _STATISTICS.items():
        if _is_number(row[column]):
            found.append(_measured(name, row[column], unit, derivation=derivation))
    return found


def _measured(
    name: Code,
    value: float | None,
    unit: Code,
    *,
    derivation: Code | None = None,
    error: float | None = None,
    of: Dataset | None = None,
) -> Any:
    """One number with its unit; its standard error is the range of its uncertainty."""
    import highdicom as hd

    known = _is_number(value)
    measurement = hd.sr.Measurement(
        name=name.concept(),
        value=float(value) if known and value is not None else 0.0,
        unit=unit.concept(),
        qualifier=None if known else NOT_A_NUMBER.concept(),
        derivation=None if derivation is None else derivation.concept(),
        referenced_images=None
        if of is None
        else [hd.sr.SourceImageForMeasurement(of.SOPClassUID, of.SOPInstanceUID)],
    )
    if not known:
        measurement[0].MeasuredValueSequence = []
    elif _is_number(error) and error is not None:
        kind = hd.sr.RelationshipTypeValues.HAS_PROPERTIES
        if "ContentSequence" not in measurement[0]:
            measurement[0].ContentSequence = hd.sr.ContentSequence()
        for bound in (UPPER_UNCERTAINTY, LOWER_UNCERTAINTY):
            measurement[0].ContentSequence.append(
                hd.sr.NumContentItem(bound.concept(), float(error), unit.concept(), relationship_type=kind)
            )
    return measurement


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
