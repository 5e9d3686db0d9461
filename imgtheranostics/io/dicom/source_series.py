"""The image series that regions belong to: its grid, the image of each slice, and what headers repeat."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.io.dicom.discovery import find
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header_modules import Labels, patient
from imgtheranostics.io.dicom.planning import common_place, plan
from imgtheranostics.io.dicom.series import Series, catalogue
from imgtheranostics.io.dicom.series_header import NEUTRAL_DATE, PlaneGeometry, item
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.volume import Estimate, Grid, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike] | Volume | Estimate

_HEADER = (
    "SOPClassUID",
    "PatientName",
    "PatientID",
    "PatientSex",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "Modality",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "PatientSpeciesDescription",
)


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series as objects that refer to it need it.

    Attributes
    ----------
    grid : Grid
        As the loader gives it; its slices are the series' images.
    frames : tuple of Frame
        The image of each slice, the first sample where there are several.
    header : Dataset
        Patient, study and series of the first file, without what identifies a person.
    where : str
        The files, for messages.
    """

    grid: Grid
    frames: tuple[Frame, ...]
    header: Dataset = field(repr=False)
    where: str

    @classmethod
    def of(cls, source: Source, *, keep_identifiers: bool = False) -> SourceSeries:
        """The one DICOM image series that a path, files or a loaded Volume stand for.

        Raises
        ------
        NothingUsable
            If there is no DICOM series, or several.
        MissingMetadata
            If the series has no frame of reference.
        ImgTheranosticsError
            If the series cannot be loaded.
        """
        volume = source.value if isinstance(source, Estimate) else source
        files: PathLike | Sequence[PathLike]
        if isinstance(volume, Volume):
            if not volume.source.files:
                raise NothingUsable(
                    "the image was not loaded from a DICOM series",
                    needed="a series to which the regions refer",
                    next_step="give the folder of the series, or save the regions as NIfTI",
                )
            files = [Path(file) for file in volume.source.files]
        else:
            files = volume
        found = catalogue(find(files).dicom)
        if len(found.series) != 1:
            raise NothingUsable(
                "regions belong to one DICOM image series",
                where=str(files) if isinstance(files, (str, os.PathLike)) else str(next(iter(files))),
                found=f"{len(found.series)} series",
                next_step="give the files or the folder of one series",
            )
        return cls._of_series(found.series[0], keep_identifiers=keep_identifiers)

    @classmethod
    def all_of(cls, files: Sequence[Path], *, keep_identifiers: bool = False) -> list[SourceSeries]:
        """Every DICOM image series among files, such as those that a Volume was loaded from; maybe none.

        Raises
        ------
        MissingMetadata
            If a series has no frame of reference.
        ImgTheranosticsError
            If a series cannot be loaded.
        """
        present = [file for file in files if file.is_file()]
        found = catalogue(find(present).dicom).series if present else []
        return [cls._of_series(one, keep_identifiers=keep_identifiers) for one in found]

    @classmethod
    def _of_series(cls, one: Series, *, keep_identifiers: bool) -> SourceSeries:
        planned = plan(one)
        frames = tuple(planned.series.frames[int(n)] for n in planned.order[:, 0])
        header = _header(Path(frames[0].header.path), keep_identifiers=keep_identifiers)
        where = common_place(planned.series.files)
        if not header.get("FrameOfReferenceUID"):
            raise MissingMetadata(
                "the series has no frame of reference in which regions or maps could lie",
                where=f"{where}: FrameOfReferenceUID (0020,0052)",
                next_step="save them as NIfTI",
            )
        shape = planned.shape
        return cls(Grid((shape[0], shape[1], shape[2]), planned.affine), frames, header, where)

    @property
    def multi_frame(self) -> bool:
        """Whether the slices are frames of one file."""
        return len({frame.header.path for frame in self.frames}) < len(self.frames) or any(
            (frame.header.integer("NumberOfFrames") or 1) > 1 for frame in self.frames
        )

    def reference(self, k: int) -> Dataset:
        """The item that refers to the image of slice k."""
        frame = self.frames[k]
        found = item(
            ReferencedSOPClassUID=frame.header.text("SOPClassUID"),
            ReferencedSOPInstanceUID=frame.header.text("SOPInstanceUID"),
        )
        if (frame.header.integer("NumberOfFrames") or 1) > 1:
            found.ReferencedFrameNumber = frame.index + 1
        return found

    def planes(self) -> PlaneGeometry:
        """The slices as DICOM describes them."""
        return PlaneGeometry.of(self.grid)

    def images(self) -> list[Dataset]:
        """Stand-ins for the images without pixels: one per slice, or one with a frame per slice."""
        planes = self.planes()
        if not self.multi_frame:
            return [self.image(planes, k) for k in range(self.grid.shape[2])]
        if len({frame.header.path for frame in self.frames}) > 1:
            raise UnsupportedInput(
                "the slices of the series are frames of several files",
                where=self.where,
                needed="one file per slice, or all slices in one file",
                next_step="save the regions as NIfTI or RTSTRUCT",
            )
        image = self.image(planes, 0)
        measures = item(
            PixelSpacing=planes.pixel_spacing,
            SliceThickness=planes.thickness,
            SpacingBetweenSlices=planes.thickness,
        )
        image.NumberOfFrames = self.grid.shape[2]
        image.SharedFunctionalGroupsSequence = [
            item(
                PixelMeasuresSequence=[measures],
                PlaneOrientationSequence=[item(ImageOrientationPatient=planes.orientation)],
            )
        ]
        image.PerFrameFunctionalGroupsSequence = [
            item(PlanePositionSequence=[item(ImagePositionPatient=planes.position(k))])
            for k in range(self.grid.shape[2])
        ]
        return [image]

    def first_image(self) -> list[Dataset]:
        """A stand-in for the image of the first slice alone."""
        return [self.image(self.planes(), 0)]

    def image(self, planes: PlaneGeometry, k: int) -> Dataset:
        """A stand-in without pixels for the file that holds slice k."""
        image = self.start()
        image.SOPClassUID = self.frames[k].header.text("SOPClassUID")
        image.SOPInstanceUID = self.frames[k].header.text("SOPInstanceUID")
        image.Rows, image.Columns = planes.shape[1], planes.shape[0]
        image.ImagePositionPatient = planes.position(k)
        planes.add_plane(image)
        return image

    def start(self) -> Dataset:
        """A new dataset with the patient, study, series and frame of reference of the source."""
        return deepcopy(self.header)

    @property
    def moment(self) -> datetime:
        """When the study was, for dates of objects that refer to it."""
        try:
            return datetime.strptime(str(self.header.StudyDate), "%Y%m%d")
        except ValueError:
            return NEUTRAL_DATE


def _header(path: Path, *, keep_identifiers: bool) -> Dataset:
    """Patient and study; a phantom as it is, a person as a pseudonym on a neutral date."""
    from pydicom import Dataset, dcmread

    read = dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
    phantom = read.get("QualityControlSubject") == "YES"
    kept = keep_identifiers or phantom
    identity = str(read.get("PatientID", ""))
    name = str(read.get("PatientName", ""))
    if not kept and read.get("PatientIdentityRemoved") != "YES":
        identity = name = pseudonym(identity)
    header = Dataset()
    sex = str(read.get("PatientSex") or "")
    species = str(read.get("PatientSpeciesDescription") or "")
    subject = Subject(sex=sex or None, species=(species or None) if kept else None)
    patient(header, subject, Labels(name, identity, phantom=phantom))
    if keep_identifiers and not phantom:
        del header.PatientIdentityRemoved, header.DeidentificationMethod
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"):
        setattr(header, keyword, str(read.get(keyword, "")))
    header.StudyDate = str(read.get("StudyDate") or "") if kept else NEUTRAL_DATE.strftime("%Y%m%d")
    header.StudyTime = str(read.get("StudyTime") or "")
    header.StudyID = str(read.get("StudyID") or "") if kept else "1"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.PositionReferenceIndicator = ""
    return header
