"""Writing regions as an RT Structure Set: closed planar contours along the edges of voxels.

Filled by the even-odd rule, which this package's reader and most planning systems use, the contours of a
region give back its voxels exactly; holes are contours of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.io.dicom.derived_objects import MANUFACTURER
from imgtheranostics.io.dicom.header_modules import equipment, file_meta, uid
from imgtheranostics.io.dicom.seg_writing import MODEL, regions_digest
from imgtheranostics.io.dicom.series_header import item
from imgtheranostics.io.dicom.source_series import SourceSeries
from imgtheranostics.io.outlines import outlines
from imgtheranostics.regions import Regions

if TYPE_CHECKING:
    from pydicom import Dataset

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
SERIES_NUMBER = 901
LONGEST_VALUE = 65534
"""Bytes of an element of decimal strings in an explicit file."""
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0))
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_PART_OF_A_VOXEL = 1e-3
_CONTOUR_DATA = 0x30060050


def structure_set(regions: Regions, series: SourceSeries) -> Dataset:
    """An RT Structure Set of `series` with one ROI per region, in the order of their names.

    Parameters
    ----------
    regions : Regions
        On the grid of the series, in any order of the voxel axes. An empty region is an ROI without contours.
    series : SourceSeries

    Returns
    -------
    pydicom.Dataset
        The same for the same regions and series.

    Raises
    ------
    GeometryMismatch
        If the regions lie on another grid.
    """
    fitted = regions.fit_to(series.grid, what="the series")
    digest = regions_digest(fitted, series)
    dataset = _start(series, digest)
    contours = _Contours(series)
    lists = fitted.voxel_lists()
    rois, drawn, observations = [], [], []
    for number, (name, voxels) in enumerate(zip(fitted, lists, strict=True), start=1):
        rois.append(
            item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=series.header.FrameOfReferenceUID,
                ROIName=name[:64],
                ROIGenerationAlgorithm="",
            )
        )
        found = contours.of(voxels)
        roi = item(ROIDisplayColor=list(_COLOURS[(number - 1) % len(_COLOURS)]), ReferencedROINumber=number)
        if found:
            roi.ContourSequence = found
        drawn.append(roi)
        observations.append(
            item(
                ObservationNumber=number,
                ReferencedROINumber=number,
                RTROIInterpretedType="",
                ROIInterpreter="",
            )
        )
    dataset.StructureSetROISequence = rois
    dataset.ROIContourSequence = drawn
    dataset.RTROIObservationsSequence = observations
    return dataset


def _start(series: SourceSeries, digest: str) -> Dataset:
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = series.start()
    dataset.file_meta = file_meta(RT_STRUCTURE_SET_STORAGE, ExplicitVRLittleEndian)
    dataset.SOPClassUID = RT_STRUCTURE_SET_STORAGE
    dataset.SOPInstanceUID = uid("structure set", digest)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = "RTSTRUCT"
    equipment(dataset, MANUFACTURER, MODEL)
    day = series.moment.strftime("%Y%m%d")
    dataset.SeriesDate = dataset.StructureSetDate = day
    dataset.SeriesTime = dataset.StructureSetTime = "000000"
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "regions"
    dataset.OperatorsName = ""
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = "REGIONS"
    dataset.ApprovalStatus = "UNAPPROVED"
    images = item(
        SeriesInstanceUID=series.header.SeriesInstanceUID,
        ContourImageSequence=[series.reference(k) for k in range(series.grid.shape[2])],
    )
    study = item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=series.header.StudyInstanceUID,
        RTReferencedSeriesSequence=[images],
    )
    dataset.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=series.header.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    dataset.SeriesInstanceUID = uid("structure set series", digest)
    return dataset


class _Contours:
    """The contours of regions on the slices of a series."""

    def __init__(self, series: SourceSeries) -> None:
        self.series = series
        self.grid = series.grid
        finest = min(self.grid.spacing_mm)
        self.decimals = max(2, int(np.ceil(-np.log10(finest * _PART_OF_A_VOXEL))))
        widest = np.abs(self.grid.corners_mm()).max() + 2 * max(self.grid.spacing_mm)
        digits = len(f"{-widest:.{self.decimals}f}") + 1
        self.most_points = max(4, LONGEST_VALUE // (3 * digits))

    def of(self, voxels: npt.NDArray[np.int64]) -> list[Dataset]:
        """The contours of one region, slice by slice."""
        n_i, n_j, _ = self.grid.shape
        slices, within = np.divmod(voxels, n_i * n_j)
        found: list[Dataset] = []
        for k in np.unique(slices).tolist():
            mask = np.zeros(n_i * n_j, bool)
            mask[within[slices == k]] = True
            plane = mask.reshape((n_i, n_j), order="F")
            polygons = outlines(plane, most_points=self.most_points)
            found += [self._contour(polygon, int(k)) for polygon in polygons]
        return found

    def _contour(self, polygon: npt.NDArray[np.float64], k: int) -> Dataset:
        index = np.column_stack([polygon, np.full(len(polygon), float(k))])
        points = self.grid.world_mm(index) * np.array([-1.0, -1.0, 1.0])
        contour = item(
            ContourImageSequence=[self.series.reference(k)],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(polygon),
        )
        text = "\\".join(self._decimal(value) for value in points.ravel().tolist())
        contour[_CONTOUR_DATA] = _decimal_strings(_CONTOUR_DATA, text)
        return contour

    def _decimal(self, value: float) -> str:
        """The value to a thousandth of a voxel, without zeros behind it; never minus zero."""
        text = f"{value:.{self.decimals}f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text


def _decimal_strings(tag: int, text: str) -> Any:
    """An element of decimal strings from its text: one object per number would take most of the time."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    value = text.encode("ascii") + b" " * (len(text) % 2)
    return RawDataElement(Tag(tag), "DS", len(value), value, 0, False, True)
