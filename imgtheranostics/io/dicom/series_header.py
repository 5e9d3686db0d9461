"""What the headers of all written image series share: study, series, frame of reference, plane, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.io.dicom.header_modules import (
    Labels,
    clock_text,
    ds,
    file_meta,
    offset_text,
    plane_geometry,
    uid,
)
from imgtheranostics.volume import Grid

if TYPE_CHECKING:
    from pydicom import Dataset

NEUTRAL_DATE = datetime(2000, 1, 1)
"""Where dates are moved to when they are not kept."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeriesIdentity:
    """Which series is written: its class, its labels, what its UIDs derive from, and when it was.

    Attributes
    ----------
    sop_class, modality : str
    labels : Labels
    digest : str
        Of everything that the files say, so that the same content gives the same UIDs.
    moment : datetime or None
        Start of the series, with dates already moved where they are not kept.
    utc_offset_min : float or None
    """

    sop_class: str
    modality: str
    labels: Labels
    digest: str
    moment: datetime | None = field(default=None, repr=False)
    utc_offset_min: float | None = None

    @property
    def own(self) -> Sequence[str]:
        """What keeps an unnamed subject's series apart from another's; phantoms share study and frame."""
        return () if self.labels.phantom else (self.digest,)

    @property
    def image_type(self) -> list[str]:
        """The first two values of ImageType (0008,0008)."""
        return ["ORIGINAL", "PRIMARY"] if self.labels.phantom else ["DERIVED", "PRIMARY"]


def labels_of_subject(pseudonym: str) -> Labels:
    """The labels of an image that belongs to somebody: the pseudonym and nothing else."""
    return Labels(patient_name=pseudonym or "ANONYMOUS", patient_id=pseudonym or "ANONYMOUS")


def new_dataset(identity: SeriesIdentity) -> Dataset:
    """An empty dataset with file meta information and the modules of study, series and frame of reference."""
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = file_meta(identity.sop_class, ExplicitVRLittleEndian)
    add_study_and_series(dataset, identity)
    return dataset


def add_study_and_series(dataset: Dataset, identity: SeriesIdentity) -> None:
    """Study, series and frame of reference; SOP class and UIDs included."""
    labels, moment = identity.labels, identity.moment
    day = moment.strftime("%Y%m%d") if moment else ""
    dataset.SOPClassUID = identity.sop_class
    dataset.StudyInstanceUID = uid("study", labels.patient_id, day, *identity.own)
    dataset.SeriesInstanceUID = uid("series", identity.digest)
    dataset.FrameOfReferenceUID = uid("frame of reference", labels.patient_id, *identity.own)
    dataset.PositionReferenceIndicator = ""
    dataset.StudyDate = dataset.SeriesDate = day
    dataset.StudyTime = dataset.SeriesTime = clock_text(moment)
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = labels.series_number
    dataset.Modality = identity.modality
    if labels.phantom:
        dataset.BodyPartExamined = "WHOLEBODY"
    else:
        dataset.Laterality = ""
    if labels.description:
        dataset.SeriesDescription = labels.description[:64]
    if identity.utc_offset_min is not None:
        dataset.TimezoneOffsetFromUTC = offset_text(identity.utc_offset_min)


def set_instance(dataset: Dataset, digest: str, *parts: object) -> None:
    """SOPInstanceUID of one file of the series, in the dataset and in its meta information."""
    dataset.SOPInstanceUID = uid("image", digest, *parts)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


@dataclass(frozen=True, eq=False)
class PlaneGeometry:
    """The slices of a grid as DICOM describes them, LPS mm.

    Attributes
    ----------
    row, column : (3,) float64
        Direction cosines of increasing column index and of increasing row index.
    positions : (n_slices, 3) float64
    spacing_mm : tuple of 3 float
        Along i (columns), j (rows) and k (slices).
    shape : tuple of 3 int
    """

    row: FloatArray
    column: FloatArray
    positions: FloatArray
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, grid: Grid) -> PlaneGeometry:
        """The slices of a grid along k; UnsupportedInput when it is sheared."""
        row, column, positions = plane_geometry(grid)
        return cls(row, column, positions, grid.spacing_mm, grid.shape)

    @property
    def pixel_spacing(self) -> list[str]:
        """PixelSpacing (0028,0030): between rows, then between columns."""
        return [ds(self.spacing_mm[1]), ds(self.spacing_mm[0])]

    @property
    def thickness(self) -> str:
        """SliceThickness (0018,0050), which here is the distance between slices too."""
        return ds(self.spacing_mm[2])

    @property
    def orientation(self) -> list[str]:
        """ImageOrientationPatient (0020,0037)."""
        return [ds(v) for v in (*self.row, *self.column)]

    def position(self, k: int) -> list[str]:
        """ImagePositionPatient (0020,0032) of slice k."""
        return [ds(v) for v in self.positions[k]]

    def add_plane(self, dataset: Dataset) -> None:
        """What all slices of single-frame files share of the image plane module."""
        dataset.PixelSpacing = self.pixel_spacing
        dataset.SliceThickness = self.thickness
        dataset.ImageOrientationPatient = self.orientation


def add_grey_pixels(dataset: Dataset, shape: Sequence[int], *, bits: int = 16) -> None:
    """The image pixel module of unsigned grey images of (columns, rows)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape[1], shape[0]
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0


def set_pixels(dataset: Dataset, stored: npt.NDArray[Any]) -> None:
    """PixelData from (i, j) or (i, j, frames) stored values, little-endian."""
    raw = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"


def encoded(dataset: Dataset) -> Dataset:
    """The same dataset with its elements as bytes, which pydicom writes about twice as fast."""
    from io import BytesIO

    from pydicom import dcmread

    dataset.SOPInstanceUID = uid("placeholder")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def item(**attributes: Any) -> Dataset:
    """An item of a sequence from its attributes by keyword."""
    from pydicom import Dataset

    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset
