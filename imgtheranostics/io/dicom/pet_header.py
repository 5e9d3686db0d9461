"""The header of a PET Image Storage file from an acquisition record, module by module of the standard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.io.dicom.header_modules import (
    Labels,
    clock_text,
    code,
    datetime_text,
    ds,
    equipment,
    isotope,
    patient,
    plane_geometry,
)
from imgtheranostics.io.dicom.series_header import SeriesIdentity, encoded, new_dataset, set_instance
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

PET_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.128"

Plane = npt.NDArray[np.floating]


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
        self.row, self.column, self.positions = plane_geometry(volume.grid)
        self.spacing = volume.grid.spacing_mm
        self.identity = SeriesIdentity(
            PET_IMAGE_STORAGE, "PT", labels, digest, record.series_datetime, record.utc_offset_min
        )
        self.dataset = encoded(self._shared(units, suv_type, volume))

    def _shared(self, units: str, suv_type: str, volume: Volume) -> Dataset:
        dataset = new_dataset(self.identity)
        patient(dataset, self.record.subject, self.labels)
        equipment(dataset, self.record.manufacturer, self.record.model)
        isotope(dataset, self.record.radiopharmaceutical)
        self._pet_series(dataset, units, suv_type)
        self._plane(dataset, volume)
        _private(dataset, self.record, units)
        return dataset

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
            None if record.dose_calibration_factor is None else ds(record.dose_calibration_factor)
        )

    def _plane(self, dataset: Dataset, volume: Volume) -> None:
        dataset.ImageType = self.identity.image_type
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = volume.grid.shape[1], volume.grid.shape[0]
        dataset.PixelSpacing = [ds(self.spacing[1]), ds(self.spacing[0])]
        dataset.SliceThickness = ds(self.spacing[2])
        dataset.ImageOrientationPatient = [ds(v) for v in (*self.row, *self.column)]
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = int(self.signed)
        dataset.RescaleIntercept = "0"
        # Head first, supine. PatientPosition may not stand beside these, which PET requires.
        orientation = code("102538003", "SCT", "recumbent")
        orientation.PatientOrientationModifierCodeSequence = [code("40199007", "SCT", "supine")]
        dataset.PatientOrientationCodeSequence = [orientation]
        dataset.PatientGantryRelationshipCodeSequence = [code("102540008", "SCT", "headfirst")]

    def image(self, frame: int, k: int, plane: Plane, slope: float) -> Dataset:
        """The dataset of one slice of one frame; the same object every time."""
        dataset = self.dataset
        number = frame * self.n_slices + k + 1
        set_instance(dataset, self.digest, frame, k)
        dataset.InstanceNumber = dataset.ImageIndex = number
        dataset.ImagePositionPatient = [ds(v) for v in self.positions[k]]
        self._times(dataset, frame, k)
        dataset.RescaleSlope = ds(slope)
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
        dataset.AcquisitionTime = clock_text(moment)
        if self.dynamic:
            dataset.ContentDate, dataset.ContentTime = dataset.AcquisitionDate, dataset.AcquisitionTime
        reference = _item(record.frame_reference_time_s, k, frame)
        dataset.FrameReferenceTime = ds(0.0 if reference is None else reference * 1000)
        duration = _item(record.frame_duration_s, k, frame)
        dataset.ActualFrameDuration = None if duration is None else round(duration * 1000)
        if record.decay_correction != "NONE":
            dataset.DecayFactor = ds(_item(record.decay_factor, k, frame) or 1.0)


def _private(dataset: Dataset, record: EmissionAcquisition, units: str) -> None:
    if units == "CNTS":
        block = None
        for element, factor in ((0x00, record.philips_suv_factor), (0x09, record.philips_activity_factor)):
            if factor is not None:
                block = block or dataset.private_block(0x7053, "Philips PET Private Group", create=True)
                block.add_new(element, "DS", ds(factor))
    if record.private_scan_datetime is not None:
        block = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", datetime_text(record.private_scan_datetime))


def _item(values: npt.NDArray[Any] | None, k: int, frame: int) -> float | None:
    if values is None or not np.isfinite(values[k, frame]):
        return None
    return float(values[k, frame])
