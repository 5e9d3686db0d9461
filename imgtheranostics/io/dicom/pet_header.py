"""The header of a PET Image Storage file from an acquisition record, module by module of the standard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

PET_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
_SHEAR_LIMIT = 1e-4

Plane = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Labels:
    """What the files call the subject and the series.

    Attributes
    ----------
    patient_name, patient_id : str
    description : str
    series_number : int
    phantom : bool
        Mark the subject as a quality-control phantom and keep its synthetic dates.
    """

    patient_name: str = "ANONYMOUS"
    patient_id: str = "ANONYMOUS"
    description: str = ""
    series_number: int = 1
    phantom: bool = False


def uid(*parts: object) -> UID:
    """A UID under 2.25 that derives from `parts`."""
    from pydicom.uid import UID

    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


class PetSeries:
    """One series being written: the part that all files share, and each file from it."""

    def __init__(
        self,
        volume: Volume,
        record: EmissionAcquisition,
        labels: Labels,
        units: str,
        suv_type: str,
        digest: str,
    ) -> None:
        self.record = record
        self.labels = labels
        self.digest = digest
        self.n_frames = len(volume.axes[0]) if volume.axes else 1
        self.n_slices = volume.grid.shape[2]
        self.dynamic = bool(volume.axes)
        self.signed = bool(volume.data.min() < 0)
        self.row, self.column, self.positions = _geometry(volume)
        self.spacing = volume.grid.spacing_mm
        self.dataset = _encoded(self._shared(units, suv_type, volume))

    def _shared(self, units: str, suv_type: str, volume: Volume) -> Dataset:
        from pydicom import Dataset
        from pydicom.uid import ExplicitVRLittleEndian

        dataset = Dataset()
        dataset.file_meta = _file_meta(ExplicitVRLittleEndian)
        _patient(dataset, self.record, self.labels)
        self._study_and_series(dataset)
        _equipment(dataset, self.record)
        _isotope(dataset, self.record.radiopharmaceutical)
        self._pet_series(dataset, units, suv_type)
        self._plane(dataset, volume)
        _private(dataset, self.record, units)
        return dataset

    def _study_and_series(self, dataset: Dataset) -> None:
        moment = self.record.series_datetime
        day = moment.strftime("%Y%m%d") if moment else ""
        dataset.SOPClassUID = PET_IMAGE_STORAGE
        dataset.StudyInstanceUID = uid("study", self.labels.patient_id, day, *self._own())
        dataset.SeriesInstanceUID = uid("series", self.digest)
        dataset.FrameOfReferenceUID = uid("frame of reference", self.labels.patient_id, *self._own())
        dataset.PositionReferenceIndicator = ""
        dataset.StudyDate = dataset.SeriesDate = day
        dataset.StudyTime = dataset.SeriesTime = _clock(moment)
        dataset.StudyID = "1"
        dataset.AccessionNumber = ""
        dataset.ReferringPhysicianName = ""
        dataset.SeriesNumber = self.labels.series_number
        dataset.Modality = "PT"
        if self.labels.phantom:
            dataset.BodyPartExamined = "WHOLEBODY"
        else:
            dataset.Laterality = ""
        if self.labels.description:
            dataset.SeriesDescription = self.labels.description[:64]
        if self.record.utc_offset_min is not None:
            dataset.TimezoneOffsetFromUTC = _offset(self.record.utc_offset_min)

    def _own(self) -> Sequence[str]:
        """What keeps an unnamed subject's series apart from another's; phantoms share study and frame."""
        return () if self.labels.phantom else (self.digest,)

    def _pet_series(self, dataset: Dataset, units: str, suv_type: str) -> None:
        record = self.record
        dataset.Units = units
        if suv_type:
            dataset.SUVType = suv_type
        dataset.CountsSource = record.counts_source or "EMISSION"
        dataset.SeriesType = ["DYNAMIC" if self.dynamic else "STATIC", "IMAGE"]
        if self.dynamic:
            dataset.NumberOfTimeSlices = self.n_frames
        dataset.NumberOfSlices = self.n_slices
        dataset.CorrectedImage = list(record.corrections)
        dataset.DecayCorrection = record.decay_correction
        dataset.CollimatorType = "NONE"
        dataset.DoseCalibrationFactor = (
            None if record.dose_calibration_factor is None else _ds(record.dose_calibration_factor)
        )

    def _plane(self, dataset: Dataset, volume: Volume) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY"] if self.labels.phantom else ["DERIVED", "PRIMARY"]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = volume.grid.shape[1], volume.grid.shape[0]
        dataset.PixelSpacing = [_ds(self.spacing[1]), _ds(self.spacing[0])]
        dataset.SliceThickness = _ds(self.spacing[2])
        dataset.ImageOrientationPatient = [_ds(v) for v in (*self.row, *self.column)]
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = int(self.signed)
        dataset.RescaleIntercept = "0"
        # Head first, supine. PatientPosition may not stand beside these, which PET requires.
        orientation = _code("102538003", "SCT", "recumbent")
        orientation.PatientOrientationModifierCodeSequence = [_code("40199007", "SCT", "supine")]
        dataset.PatientOrientationCodeSequence = [orientation]
        dataset.PatientGantryRelationshipCodeSequence = [_code("102540008", "SCT", "headfirst")]

    def image(self, frame: int, k: int, plane: Plane, slope: float) -> Dataset:
        """The dataset of one slice of one frame; the same object every time."""
        dataset = self.dataset
        number = frame * self.n_slices + k + 1
        dataset.SOPInstanceUID = uid("image", self.digest, frame, k)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = dataset.ImageIndex = number
        dataset.ImagePositionPatient = [_ds(v) for v in self.positions[k]]
        self._times(dataset, frame, k)
        dataset.RescaleSlope = _ds(slope)
        limits = (-32768, 32767) if self.signed else (0, 65535)
        stored = np.clip(np.rint(plane.astype(np.float64) / slope), *limits)
        dataset.PixelData = stored.astype("<i2" if self.signed else "<u2").tobytes(order="F")
        dataset["PixelData"].VR = "OW"
        return dataset

    def _times(self, dataset: Dataset, frame: int, k: int) -> None:
        record = self.record
        moment = record.series_datetime
        if record.acquisition_datetime is not None:
            acquired = record.acquisition_datetime[k, frame]
            moment = None if np.isnat(acquired) else acquired.astype("datetime64[us]").item()
        dataset.AcquisitionDate = moment.strftime("%Y%m%d") if moment else ""
        dataset.AcquisitionTime = _clock(moment)
        if self.dynamic:
            dataset.ContentDate, dataset.ContentTime = dataset.AcquisitionDate, dataset.AcquisitionTime
        reference = _item(record.frame_reference_time_s, k, frame)
        dataset.FrameReferenceTime = _ds(0.0 if reference is None else reference * 1000)
        duration = _item(record.frame_duration_s, k, frame)
        dataset.ActualFrameDuration = None if duration is None else round(duration * 1000)
        if record.decay_correction != "NONE":
            dataset.DecayFactor = _ds(_item(record.decay_factor, k, frame) or 1.0)


def _encoded(dataset: Dataset) -> Dataset:
    """The same dataset with its elements as bytes, which pydicom writes about twice as fast."""
    from io import BytesIO

    from pydicom import dcmread

    dataset.SOPInstanceUID = uid("placeholder")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def _geometry(volume: Volume) -> tuple[Any, Any, npt.NDArray[np.float64]]:
    """Row and column cosines and the position of each slice, LPS mm."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.array(volume.grid.spacing_mm)
    cosines = lps[:3, :3] / spacing
    skew = np.abs(cosines.T @ cosines - np.eye(3)).max()
    if skew > _SHEAR_LIMIT:
        raise UnsupportedInput(
            "the grid is sheared, which a DICOM image series cannot express",
            found=f"voxel axes {np.rad2deg(np.arcsin(min(skew, 1.0))):.3g} degrees from a right angle",
            next_step="resample it to a right-angled grid, or save it as NIfTI",
        )
    positions = lps[:3, 3] + np.arange(volume.grid.shape[2])[:, np.newaxis] * lps[:3, 2]
    return cosines[:, 0], cosines[:, 1], positions


def _file_meta(syntax: UID) -> Any:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(PET_IMAGE_STORAGE)
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid("imgtheranostics", "implementation")
    meta.ImplementationVersionName = "IMGTHERANOSTICS"
    return meta


def _patient(dataset: Dataset, record: EmissionAcquisition, labels: Labels) -> None:
    subject = record.subject
    dataset.PatientName = labels.patient_name
    dataset.PatientID = labels.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = subject.sex or ""
    if labels.phantom:
        dataset.QualityControlSubject = "YES"
    else:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "imgtheranostics: pseudonym, dates moved by whole days"
    dataset.PatientWeight = None if subject.weight_kg is None else _ds(subject.weight_kg)
    dataset.PatientSize = None if subject.height_m is None else _ds(subject.height_m)
    if subject.species and subject.species.lower() not in ("human", "homo sapiens"):
        dataset.PatientSpeciesDescription = subject.species
        dataset.PatientSexNeutered = ""
        dataset.PatientBreedDescription = ""
        dataset.PatientBreedCodeSequence = []
        dataset.BreedRegistrationSequence = []
        dataset.ResponsiblePerson = ""
        dataset.ResponsibleOrganization = ""


def _equipment(dataset: Dataset, record: EmissionAcquisition) -> None:
    from imgtheranostics._version import VERSION

    dataset.Manufacturer = record.manufacturer or ""
    if record.model:
        dataset.ManufacturerModelName = record.model
    dataset.SoftwareVersions = f"imgtheranostics {VERSION}"


def _isotope(dataset: Dataset, record: Radiopharmaceutical) -> None:
    from pydicom import Dataset

    item = Dataset()
    if record.name:
        item.Radiopharmaceutical = record.name
        code = "".join(letter for letter in record.name.upper() if letter.isalnum())[:16]
        item.RadiopharmaceuticalCodeSequence = [_code(code, "99IMGTHER", record.name)]
    if record.start_time is not None:
        item.RadiopharmaceuticalStartTime = record.start_time.strftime("%H%M%S.%f")
    if record.start_datetime is not None:
        item.RadiopharmaceuticalStartDateTime = _datetime(record.start_datetime)
    if record.stop_datetime is not None:
        item.RadiopharmaceuticalStopDateTime = _datetime(record.stop_datetime)
    for keyword, value in (
        ("RadionuclideTotalDose", record.total_dose),
        ("RadionuclideHalfLife", record.half_life_s),
        ("RadionuclidePositronFraction", record.positron_fraction),
    ):
        if value is not None:
            setattr(item, keyword, _ds(value))
    item.RadionuclideCodeSequence = _nuclide_code(record.nuclide)
    dataset.RadiopharmaceuticalInformationSequence = [item]


def _nuclide_code(nuclide: str | None) -> list[Dataset]:
    """The nuclide's code from context group 4020; no item when the group does not have it."""
    from pydicom.sr.codedict import codes

    from imgtheranostics.io.dicom.nuclides import CODES

    for code in (getattr(codes.cid4020, name) for name in codes.cid4020.dir()):
        if CODES.get(code.value) == nuclide:
            return [_code(code.value, code.scheme_designator, code.meaning)]
    return []


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


def _private(dataset: Dataset, record: EmissionAcquisition, units: str) -> None:
    if units == "CNTS":
        block = None
        for element, factor in ((0x00, record.philips_suv_factor), (0x09, record.philips_activity_factor)):
            if factor is not None:
                block = block or dataset.private_block(0x7053, "Philips PET Private Group", create=True)
                block.add_new(element, "DS", _ds(factor))
    if record.private_scan_datetime is not None:
        block = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", _datetime(record.private_scan_datetime))


def _item(values: npt.NDArray[Any] | None, k: int, frame: int) -> float | None:
    if values is None or not np.isfinite(values[k, frame]):
        return None
    return float(values[k, frame])


def _clock(moment: datetime | None) -> str:
    return moment.strftime("%H%M%S.%f") if moment else ""


def _datetime(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S.%f") + (moment.strftime("%z")[:5] if moment.tzinfo else "")


def _offset(minutes: float) -> str:
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{int(abs(minutes)) // 60:02d}{int(abs(minutes)) % 60:02d}"


def _ds(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
