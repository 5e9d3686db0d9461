"""Writing a Volume as Photoacoustic Image files: one multi-frame file for each wavelength.

The object places its frames by the macros of an ultrasound volume. The volume's frame of reference is made
to coincide with the patient's, and the mapping matrix between them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.functional_writing import (
    add_dimensions,
    add_multi_frame,
    real,
    whole_body,
    without_laterality,
)
from imgtheranostics.io.dicom.harmless_record import without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, code, datetime_text, ds, equipment, patient, uid
from imgtheranostics.io.dicom.sample_parameters import FloatArray, each_sample, sample_values
from imgtheranostics.io.dicom.series_header import (
    NEUTRAL_DATE,
    PlaneGeometry,
    SeriesIdentity,
    add_grey_pixels,
    item,
    labels_of_subject,
    new_dataset,
    set_instance,
    set_pixels,
)
from imgtheranostics.io.dicom.slice_series import content_digest
from imgtheranostics.io.dicom.stored_values import LARGEST, StoredScale, fitted_scale, has_missing
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

PHOTOACOUSTIC_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.6.3"
_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
_QUANTITIES = ("optoacoustic_signal", "optical_absorption")
_TIME_OFFSET = (0x0020930D, 0x00209310)
_WHAT = "a DICOM photoacoustic image"


def write_photoacoustic(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    force: bool = False,
) -> list[Path]:
    """Write optoacoustic signal or absorption as one Photoacoustic Image file per wavelength.

    Parameters
    ----------
    volume : Volume
        ``optoacoustic_signal``, or ``optical_absorption``, whose unit a real-world value map states; axes
        ``wavelength`` (nm) and ``time``. Without a wavelength axis the record states the one wavelength.
        Each frame has its own slope; NaN becomes padding.
    folder, labels, force
        As `imgtheranostics.io.dicom.writing.write_dicom`. The record holds no date: files say 2000-01-01.

    Raises
    ------
    UnsupportedInput
        If the object cannot hold the quantity, the axes or a sheared grid.
    MissingMetadata
        If no wavelength is stated.
    GeometryMismatch
        If the record has another number of laser energies than of wavelengths.
    OutputError
        If the folder is not empty or cannot be written.
    """
    record = volume.acquisition
    record = record if isinstance(record, PhotoacousticAcquisition) else PhotoacousticAcquisition()
    if volume.quantity not in _QUANTITIES:
        raise UnsupportedInput(
            f"{_WHAT} cannot hold {volume.quantity}",
            found=f"{volume.quantity} [{volume.unit}]",
            needed=" or ".join(_QUANTITIES),
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
    values = sample_values(volume, ("wavelength", "time"), _WHAT)
    wavelengths = _wavelengths(volume, record)
    energies = _energies(record, wavelengths)
    digest = content_digest(volume, record, named)
    identity = SeriesIdentity(PHOTOACOUSTIC_IMAGE_STORAGE, "PA", named, digest, NEUTRAL_DATE)
    target = Path(folder)
    written: list[Path] = []
    with output_folder(target, force=force) as temporary:
        for number, (wavelength, energy) in enumerate(zip(wavelengths, energies, strict=True)):
            chosen = values.get("wavelength")
            members = np.arange(each_sample(volume).shape[3])
            if chosen is not None:
                members = np.flatnonzero(np.isclose(chosen, wavelength, rtol=1e-12, atol=0))
            file = _File(volume, record, identity, wavelength, energy, values.get("time"))
            name = f"w{number + 1:03d}.dcm"
            file.dataset(number, members.tolist()).save_as(temporary / name, enforce_file_format=True)
            written.append(target / name)
    return written


def _wavelengths(volume: Volume, record: PhotoacousticAcquisition) -> list[float]:
    """Wavelengths in nm in the order of the axis."""
    axis = volume.axis("wavelength")
    if axis is None and len(record.wavelength_nm) != 1:
        raise MissingMetadata(
            "the image does not say its wavelength, which a photoacoustic object must state",
            where="wavelength axis, or wavelength_nm of the record",
            found=f"{len(record.wavelength_nm)} wavelengths in the record",
            needed="one",
        )
    factor = 1.0 if axis is None else conversion_factor(axis.unit, "nm")
    found = [float(one) * factor for one in (record.wavelength_nm if axis is None else axis.values)]
    if min(found) <= 0:
        raise UnsupportedInput("a wavelength is not positive", found=f"{min(found):g} nm")
    return found


def _energies(record: PhotoacousticAcquisition, wavelengths: Sequence[float]) -> list[float | None]:
    """Laser energy of each wavelength, told by the record's own wavelengths where it has as many."""
    energies = record.laser_energy_mj
    if not energies:
        return [None] * len(wavelengths)
    if len(energies) != len(wavelengths):
        raise GeometryMismatch(
            "the laser energies do not fit the wavelengths",
            where="laser_energy_mj",
            found=f"{len(energies)} energies",
            needed=f"{len(wavelengths)}",
        )
    stated = dict(zip(record.wavelength_nm, energies, strict=False))
    return [stated.get(one, energy) for one, energy in zip(wavelengths, energies, strict=True)]


class _File:
    """One wavelength."""

    def __init__(
        self,
        volume: Volume,
        record: PhotoacousticAcquisition,
        identity: SeriesIdentity,
        wavelength_nm: float,
        energy_mj: float | None,
        times: FloatArray | None,
    ) -> None:
        self.record = record
        self.identity = identity
        self.wavelength_nm = wavelength_nm
        self.energy_mj = energy_mj
        self.times = times
        self.absorption = volume.quantity == "optical_absorption"
        self.planes = PlaneGeometry.of(volume.grid)
        self.voxels = each_sample(volume)
        self.padded = has_missing(self.voxels)

    def dataset(self, number: int, members: Sequence[int]) -> Dataset:
        dataset = new_dataset(self.identity)
        patient(dataset, self.record.subject, self.identity.labels)
        maker = self.record.manufacturer or "imgtheranostics"
        equipment(dataset, maker, self.record.model or "phantom or derived")
        dataset.DeviceSerialNumber = "0"
        without_laterality(dataset)
        set_instance(dataset, self.identity.digest, number)
        add_grey_pixels(dataset, self.planes.shape)
        if self.padded:
            dataset.PixelPaddingValue = 0
        self._image(dataset, number)
        add_dimensions(dataset, [_TIME_OFFSET], f"{self.identity.digest} {number}")
        n_slices = self.planes.shape[2]
        stored = np.empty((*self.voxels.shape[:2], n_slices * len(members)), dtype=np.uint16)
        frames = []
        for rank, sample in enumerate(members):
            for k in range(n_slices):
                plane = self.voxels[:, :, k, sample]
                scale = fitted_scale(plane, padded=self.padded)
                frames.append(self._frame(rank, sample, k, scale))
                stored[..., rank * n_slices + k] = scale.store(plane)
        add_multi_frame(dataset, self._shared(), frames)
        set_pixels(dataset, stored)
        return dataset

    def _image(self, dataset: Dataset, number: int) -> None:
        moment = self.identity.moment or NEUTRAL_DATE
        dataset.InstanceNumber = number + 1
        dataset.ImageType = _TYPE
        dataset.ContentDate = moment.strftime("%Y%m%d")
        dataset.ContentTime = moment.strftime("%H%M%S.%f")
        dataset.AcquisitionDateTime = datetime_text(moment)
        dataset.AcquisitionDuration = 0.0
        dataset.BurnedInAnnotation = "NO"
        dataset.LossyImageCompression = "00"
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.PositionMeasuringDeviceUsed = "RIGID"
        dataset.SynchronizationTrigger = "NO TRIGGER"
        dataset.AcquisitionTimeSynchronized = "N"
        dataset.SynchronizationFrameOfReferenceUID = uid("synchronization", self.identity.digest)
        dataset.AcquisitionContextSequence = []
        dataset.VolumeFrameOfReferenceUID = uid("volume frame of reference", self.identity.digest)
        dataset.VolumeToTransducerMappingMatrix = [float(v) for v in np.eye(4).ravel()]
        dataset.PatientFrameOfReferenceSource = "ESTIMATED"
        dataset.ExcitationWavelengthSequence = [item(ExcitationWavelength=real(self.wavelength_nm))]
        dataset.IlluminationTranslationFlag = "NO"
        dataset.AcousticCouplingMediumFlag = "NO"
        if self.record.speed_of_sound_m_s is not None:
            mechanism = code("130818", "DCM", "Uniform Speed of Sound Correction")
            mechanism.ObjectSoundSpeed = real(self.record.speed_of_sound_m_s)
            dataset.SoundSpeedCorrectionMechanismCodeSequence = [mechanism]

    def _shared(self) -> Dataset:
        excitation = item(ExcitationWavelength=real(self.wavelength_nm))
        if self.energy_mj is not None:
            excitation.ExcitationEnergy = real(self.energy_mj)
        measures = item(
            PixelSpacing=self.planes.pixel_spacing,
            SliceThickness=ds(self.planes.spacing_mm[2]),
            SpacingBetweenSlices=ds(self.planes.spacing_mm[2]),
        )
        frame_type = item(
            FrameType=_TYPE, VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE"
        )
        cosines = [float(v) for v in (*self.planes.row, *self.planes.column)]
        shared = item(
            PixelMeasuresSequence=[measures],
            PlaneOrientationVolumeSequence=[item(ImageOrientationVolume=cosines)],
            PhotoacousticImageFrameTypeSequence=[frame_type],
            PhotoacousticExcitationCharacteristicsSequence=[excitation],
            FrameAnatomySequence=[whole_body()],
        )
        if self.record.image_type:
            kind = "".join(letter for letter in self.record.image_type.upper() if letter.isalnum())
            data_type = code(kind[:16] or "SIGNAL", "99IMGTHER", self.record.image_type)
            shared.ImageDataTypeSequence = [item(ImageDataTypeCodeSequence=[data_type])]
        return shared

    def _frame(self, rank: int, sample: int, k: int, scale: StoredScale) -> Dataset:
        seconds = 0.0 if self.times is None else float(self.times[sample])
        start = datetime_text((self.identity.moment or NEUTRAL_DATE) + timedelta(seconds=seconds))
        content = item(
            FrameAcquisitionDateTime=start,
            FrameReferenceDateTime=start,
            FrameAcquisitionDuration=0.0,
            StackID="1",
            InStackPositionNumber=k + 1,
            TemporalPositionIndex=rank + 1,
            DimensionIndexValues=[rank + 1, 1, k + 1],
        )
        position = [float(v) for v in self.planes.positions[k]]
        frame = item(
            FrameContentSequence=[content],
            PlanePositionVolumeSequence=[item(ImagePositionVolume=position)],
            TemporalPositionSequence=[item(TemporalPositionTimeOffset=real(seconds))],
            PixelValueTransformationSequence=[
                item(RescaleSlope=scale.slope, RescaleIntercept=scale.intercept, RescaleType="US")
            ],
        )
        if self.absorption:
            frame.RealWorldValueMappingSequence = [_per_cm(scale)]
        return frame


def _per_cm(scale: StoredScale) -> Dataset:
    """The map of stored values to absorption, which the rescale has no word for."""
    mapping = item(
        MeasurementUnitsCodeSequence=[code("/cm", "UCUM", "/cm")],
        LUTExplanation="absorption coefficient of light, base e",
        LUTLabel="ABSORPTION",
        RealWorldValueSlope=float(scale.slope),
        RealWorldValueIntercept=float(scale.intercept),
    )
    for name, value in (("First", 0), ("Last", LARGEST)):
        mapping.add_new(f"RealWorldValue{name}ValueMapped", "US", value)
    return mapping
