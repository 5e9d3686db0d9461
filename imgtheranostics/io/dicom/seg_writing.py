"""Writing regions as a binary DICOM Segmentation of an image series; segments may overlap."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics._version import VERSION
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.derived_objects import MANUFACTURER, STAND_IN_NAME, settle
from imgtheranostics.io.dicom.header_modules import uid
from imgtheranostics.io.dicom.source_series import SourceSeries
from imgtheranostics.regions import Regions

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 900
MODEL = "regions"
_TISSUE = ("85756007", "SCT", "Tissue")


def segmentation(regions: Regions, series: SourceSeries) -> Dataset:
    """A Segmentation of `series` with one binary segment per region, in the order of their names.

    Parameters
    ----------
    regions : Regions
        On the grid of the series, in any order of the voxel axes. An empty one is a segment without frames.
    series : SourceSeries

    Returns
    -------
    pydicom.Dataset
        The same for the same regions and series.

    Raises
    ------
    GeometryMismatch
        If the regions lie on another grid.
    UnsupportedInput
        If the series' slices are frames of several files, or the masks exceed the memory budget.
    """
    import highdicom as hd

    fitted = regions.fit_to(series.grid, what="the series")
    digest = regions_digest(fitted, series)
    images = series.images()
    for image in images:
        image.PatientName = STAND_IN_NAME
    dataset = hd.seg.Segmentation(
        source_images=images,
        pixel_array=_pixels(fitted, series),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, name) for number, name in enumerate(fitted, start=1)],
        series_instance_uid=uid("segmentation series", digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid("segmentation", digest),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=VERSION,
        device_serial_number="0",
        content_label="REGIONS",
        content_creator_name=None,
        series_description="regions",
    )
    settle(dataset, series, digest)
    return dataset


def regions_digest(regions: Regions, series: SourceSeries) -> str:
    """A digest of the regions and of the series that they belong to."""
    total = hashlib.sha256()
    for name, voxels in zip(regions, regions.voxel_lists(), strict=True):
        total.update(repr((name, voxels.size)).encode())
        total.update(voxels.tobytes())
    total.update(regions.grid.affine.tobytes())
    for frame in series.frames:
        total.update(f"{frame.header.text('SOPInstanceUID')} {frame.index}".encode())
    total.update(repr((str(series.header.PatientID), str(series.header.StudyDate))).encode())
    return total.hexdigest()


def _pixels(regions: Regions, series: SourceSeries) -> Any:
    """(slices, rows, columns) segment numbers where regions do not overlap, else one mask per segment."""
    n_segments = len(regions)
    lists = regions.voxel_lists()
    if regions.labels.shape[3] == 1:
        check_budget(2 * regions.grid.n_voxels, where=series.where, what="the segmentation")
        flat = np.zeros(regions.grid.n_voxels, np.uint16)
        for number, voxels in enumerate(lists, start=1):
            flat[voxels] = number
        return flat.reshape(regions.grid.shape[::-1])
    check_budget(n_segments * regions.grid.n_voxels, where=series.where, what="the segmentation")
    masks = np.zeros((n_segments, regions.grid.n_voxels), np.uint8)
    for number, voxels in enumerate(lists):
        masks[number, voxels] = 1
    return np.moveaxis(masks.reshape((n_segments, *regions.grid.shape[::-1])), 0, -1)


def _description(number: int, name: str) -> Any:
    import highdicom as hd

    tissue = hd.sr.CodedConcept(*_TISSUE)
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=tissue,
        segmented_property_type=tissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
