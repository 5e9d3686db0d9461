"""Writing a reconstructed SPECT Volume as one multi-frame NM file.

Everything that the header says comes from the Volume's acquisition record. UIDs derive from the content: the
same Volume gives the same bytes. Counts that are whole numbers are stored as they are; everything else is
stored through a real-world value mapping, whose slope is a double and not a decimal string.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom import header_modules as shared
from imgtheranostics.io.dicom.harmless_record import without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, uid
from imgtheranostics.io.dicom.series_header import NEUTRAL_DATE, labels_of_subject
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

NM_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
FILE_NAME = "recon.dcm"
_UNITS = {
    "activity_concentration": ("Bq/ml", "Becquerels/milliliter"),
    "counts": ("{counts}", "Counts"),
    "count_rate": ("{counts}/s", "Counts per second"),
}
"""UCUM code and meaning of what an NM file is written with."""

_LARGEST = 65535
_LARGEST_SIGNED = 32767
_BQ_PER_MBQ = 1e6

Stored = npt.NDArray[np.int64]


def write_nm(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a SPECT Volume as a DICOM NM image of type RECON TOMO.

    The decay correction goes into CorrectedImage and, as an extension of the standard that our loader reads,
    into DecayCorrection. The dose is written in MBq, which is its unit in NM and not in PET.

    Parameters
    ----------
    volume : Volume
        Activity concentration, counts or count rate, (i, j, k).
    folder : path
        New or empty, unless `force`.
    labels : Labels, optional
        As in `imgtheranostics.io.dicom.writing.write_dicom`.
    keep_dates : bool
        Write the dates of the record instead of moving the series to 2000-01-01.
    force : bool
        Replace files of an earlier result.

    Returns
    -------
    list of Path
        One file.

    Raises
    ------
    UnsupportedInput
        If NM cannot hold the quantity, the axes, missing voxels or a sheared grid.
    OutputError
        If the folder is not empty or cannot be written.
    """
    _check(volume)
    record = (
        volume.acquisition if isinstance(volume.acquisition, NuclearAcquisition) else NuclearAcquisition()
    )
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
        record = record if keep_dates else _moved(record)
    dataset = _dataset(volume, record, named)
    target = Path(folder)
    with output_folder(target, force=force) as temporary:
        dataset.save_as(temporary / FILE_NAME, enforce_file_format=True)
    return [target / FILE_NAME]


def _check(volume: Volume) -> None:
    if volume.quantity not in _UNITS:
        raise UnsupportedInput(
            f"a DICOM NM image is not written with {volume.quantity}",
            found=f"{volume.quantity} [{volume.unit}]",
            needed=", ".join(_UNITS),
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    if volume.axes:
        raise UnsupportedInput(
            "a reconstructed NM image has no axis beyond space",
            found=", ".join(axis.name for axis in volume.axes),
            next_step="save each time on its own, or save it as NIfTI",
        )
    bad = int(volume.data.size - np.isfinite(volume.data).sum())
    if bad:
        raise UnsupportedInput(
            "a DICOM NM image cannot hold missing values",
            found=f"{bad} voxels without a finite value",
            next_step="save it as NIfTI",
        )


def _dataset(volume: Volume, record: NuclearAcquisition, labels: Labels) -> Dataset:
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    digest = _digest(volume, record, labels)
    dataset.file_meta = shared.file_meta(NM_IMAGE_STORAGE, ExplicitVRLittleEndian)
    dataset.SOPClassUID = NM_IMAGE_STORAGE
    dataset.SOPInstanceUID = uid("image", digest)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    shared.patient(dataset, record.subject, labels)
    _study_and_series(dataset, record, labels, digest)
    shared.equipment(dataset, record.manufacturer, record.model)
    _image(dataset, record)
    _isotope(dataset, record)
    reversed_slices = _geometry(dataset, volume)
    _rotation(dataset, record)
    _pixels(dataset, volume, reversed_slices=reversed_slices)
    return dataset


def _study_and_series(dataset: Dataset, record: NuclearAcquisition, labels: Labels, digest: str) -> None:
    moment = record.series_datetime
    acquired = record.acquisition_datetime or moment
    day = moment.strftime("%Y%m%d") if moment else ""
    own = () if labels.phantom else (digest,)
    dataset.StudyInstanceUID = uid("study", labels.patient_id, day, *own)
    dataset.SeriesInstanceUID = uid("series", digest)
    dataset.FrameOfReferenceUID = uid("frame of reference", labels.patient_id, *own)
    dataset.PositionReferenceIndicator = ""
    dataset.StudyDate = day
    dataset.StudyTime = shared.clock_text(moment)
    if moment is not None:
        dataset.SeriesDate, dataset.SeriesTime = day, shared.clock_text(moment)
    if acquired is not None:
        dataset.AcquisitionDate = acquired.strftime("%Y%m%d")
        dataset.AcquisitionTime = shared.clock_text(acquired)
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = labels.series_number
    dataset.InstanceNumber = 1
    dataset.Modality = "NM"
    if labels.phantom:
        dataset.BodyPartExamined = "WHOLEBODY"
    else:
        dataset.Laterality = ""
    if labels.description:
        dataset.SeriesDescription = labels.description[:64]
    if record.utc_offset_min is not None:
        dataset.TimezoneOffsetFromUTC = shared.offset_text(record.utc_offset_min)


def _image(dataset: Dataset, record: NuclearAcquisition) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.CountsAccumulated = None
    corrections = [word for word in record.corrections if word != "DECY"]
    if record.decay_correction in ("START", "ADMIN"):
        corrections.append("DECY")
    if corrections:
        dataset.CorrectedImage = corrections
    if record.decay_correction is not None:
        dataset.DecayCorrection = record.decay_correction
    orientation = shared.code("102538003", "SCT", "recumbent")
    orientation.PatientOrientationModifierCodeSequence = [shared.code("40199007", "SCT", "supine")]
    dataset.PatientOrientationCodeSequence = [orientation]
    dataset.PatientGantryRelationshipCodeSequence = [shared.code("102540008", "SCT", "headfirst")]


def _isotope(dataset: Dataset, record: NuclearAcquisition) -> None:
    from pydicom import Dataset

    ranges = []
    for low, high in record.energy_windows_kev:
        limits = Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = shared.ds(low), shared.ds(high)
        ranges.append(limits)
    window = Dataset()
    window.EnergyWindowRangeSequence = ranges
    dataset.EnergyWindowInformationSequence = [window] if ranges else []
    dataset.NumberOfEnergyWindows = 1
    drug = record.radiopharmaceutical
    if drug.total_dose is not None:
        drug = replace(drug, total_dose=drug.total_dose / _BQ_PER_MBQ)
    shared.isotope(dataset, drug)


def _geometry(dataset: Dataset, volume: Volume) -> bool:
    """Orientation, position and slice distance; whether the slices must be written in reverse.

    Slices count along the normal of the image plane, so a left-handed grid is turned over.
    """
    from pydicom import Dataset

    row, column, positions = shared.plane_geometry(volume.grid)
    spacing = volume.grid.spacing_mm
    n_slices = volume.grid.shape[2]
    along = positions[-1] - positions[0] if n_slices > 1 else (volume.affine[:3, 2] * (-1, -1, 1))
    backwards = bool(np.dot(np.cross(row, column), along) < 0)
    detector = Dataset()
    detector.CollimatorType = ""
    detector.FocalDistance = None
    detector.ImageOrientationPatient = [shared.ds(v) for v in (*row, *column)]
    detector.ImagePositionPatient = [shared.ds(v) for v in positions[-1 if backwards else 0]]
    dataset.DetectorInformationSequence = [detector]
    dataset.NumberOfDetectors = 1
    dataset.PixelSpacing = [shared.ds(spacing[1]), shared.ds(spacing[0])]
    dataset.SpacingBetweenSlices = dataset.SliceThickness = shared.ds(spacing[2])
    dataset.NumberOfSlices = dataset.NumberOfFrames = n_slices
    dataset.FrameIncrementPointer = 0x00540080
    dataset.SliceVector = list(range(1, n_slices + 1)) if n_slices > 1 else 1
    return backwards


def _rotation(dataset: Dataset, record: NuclearAcquisition) -> None:
    """How the projections were taken; empty where the record does not know how long a view took."""
    from pydicom import Dataset

    dataset.RotationInformationSequence = []
    dataset.NumberOfRotations = 1
    if record.frame_duration_s is None:
        return
    views, arc = record.n_projections or 1, record.scan_arc_deg
    item = Dataset()
    item.StartAngle = "0"
    item.ScanArc = shared.ds(360.0 if arc is None else arc)
    item.AngularStep = shared.ds((360.0 if arc is None else arc) / views)
    item.RotationDirection = "CC"
    item.ActualFrameDuration = round(record.frame_duration_s * 1000)
    item.NumberOfFramesInRotation = views
    dataset.RotationInformationSequence = [item]


def _pixels(dataset: Dataset, volume: Volume, *, reversed_slices: bool) -> None:
    data = volume.data[..., ::-1] if reversed_slices else volume.data
    signed = bool(data.min() < 0)
    limit = _LARGEST_SIGNED if signed else _LARGEST
    largest = float(np.abs(data).max())
    whole = volume.quantity == "counts" and largest <= limit and bool((data == np.rint(data)).all())
    slope = 1.0 if whole or largest == 0 else largest / limit
    stored = np.rint(data.astype(np.float64) / slope)
    if not whole:
        dataset.RealWorldValueMappingSequence = [_mapping(volume.quantity, slope, signed=signed)]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = volume.grid.shape[1], volume.grid.shape[0]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes(order="F")
    dataset["PixelData"].VR = "OW"


def _mapping(quantity: str, slope: float, *, signed: bool) -> Dataset:
    from pydicom import DataElement, Dataset

    item = Dataset()
    text, meaning = _UNITS[quantity]
    item.MeasurementUnitsCodeSequence = [shared.code(text, "UCUM", meaning)]
    item.LUTLabel = quantity[:16].upper()
    item.LUTExplanation = quantity.replace("_", " ")
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, slope
    first, last = (-_LARGEST_SIGNED - 1, _LARGEST_SIGNED) if signed else (0, _LARGEST)
    for tag, value in ((0x00409216, first), (0x00409211, last)):
        item.add(DataElement(tag, "SS" if signed else "US", value))
    return item


def _moved(record: NuclearAcquisition) -> NuclearAcquisition:
    """The record with all dates moved by whole days, the series to the neutral date."""
    anchor = record.series_datetime or record.acquisition_datetime
    if anchor is None:
        return replace(record, radiopharmaceutical=_undated(record.radiopharmaceutical))
    days = timedelta(days=(anchor.date() - NEUTRAL_DATE.date()).days)

    def earlier(moment: Any) -> Any:
        return None if moment is None else moment - days

    drug = record.radiopharmaceutical
    return replace(
        record,
        series_datetime=earlier(record.series_datetime),
        acquisition_datetime=earlier(record.acquisition_datetime),
        radiopharmaceutical=replace(
            drug, start_datetime=earlier(drug.start_datetime), stop_datetime=earlier(drug.stop_datetime)
        ),
    )


def _undated(drug: Radiopharmaceutical) -> Radiopharmaceutical:
    """Without a date of the scan there is nothing to move those of the injection by."""
    return replace(drug, start_datetime=None, stop_datetime=None)


def _digest(volume: Volume, record: NuclearAcquisition, labels: Labels) -> str:
    total = hashlib.sha256(volume.data.tobytes(order="F"))
    total.update(volume.affine.tobytes())
    moments = (record.series_datetime, record.acquisition_datetime, record.radiopharmaceutical.start_datetime)
    total.update(repr((volume.quantity, record, labels, moments)).encode())
    return total.hexdigest()
