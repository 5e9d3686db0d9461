"""Writing a Volume as one Enhanced MR file: all frames, described by functional groups and dimensions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.functional_writing import (
    add_dimensions,
    add_multi_frame,
    real,
    whole_body,
    without_laterality,
)
from imgtheranostics.io.dicom.harmless_record import start_of, without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, datetime_text, ds, equipment, patient
from imgtheranostics.io.dicom.mr_writing import SignalScales, checked_record, parameter_values
from imgtheranostics.io.dicom.sample_parameters import FloatArray, each_sample
from imgtheranostics.io.dicom.series_header import (
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
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

ENHANCED_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4.1"
FILE_NAME = "enhanced.dcm"
_POINTERS = {
    "echo_time": (0x00189082, 0x00189114),
    "flip_angle": (0x00181314, 0x00189112),
    "inversion_time": (0x00189079, 0x00189115),
    "repetition_time": (0x00180080, 0x00189112),
    "time": (0x00209128, 0x00209111),
}
"""Dimension index pointer and functional group pointer of each axis."""
_NEUTRAL_MODIFIERS = {
    "FlowCompensation": "NONE",
    "T2Preparation": "NO",
    "SpectrallySelectedExcitation": "NONE",
    "SpatialPresaturation": "NONE",
    "PartialFourier": "NO",
    "ParallelAcquisition": "NO",
}
"""What the modifier macro asks of original images and checkers of all; no reader here uses it."""
_COMPONENTS = {"magnitude": "MAGNITUDE", "real": "REAL", "imaginary": "IMAGINARY"}
_ECHOES = {frozenset({"SE"}): "SPIN", frozenset({"GR"}): "GRADIENT", frozenset({"SE", "GR"}): "BOTH"}


def write_enhanced_mr(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    slopes: Literal["per_slice", "uniform"] = "per_slice",
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write MR signal as one Enhanced MR multi-frame file.

    Parameters
    ----------
    volume : Volume
        As `imgtheranostics.io.dicom.mr_writing.write_mr`.
    folder, labels, slopes, keep_dates, force
        As `imgtheranostics.io.dicom.writing.write_dicom`.

    Raises
    ------
    UnsupportedInput, GeometryMismatch, OutputError
        As `imgtheranostics.io.dicom.mr_writing.write_mr`.
    """
    record = checked_record(volume)
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
    values = parameter_values(volume, record)
    moment = start_of(record, keep=keep_dates or named.phantom)
    digest = content_digest(volume, record, moment, named, slopes, "enhanced")
    identity = SeriesIdentity(ENHANCED_MR_IMAGE_STORAGE, "MR", named, digest, moment)
    target = Path(folder)
    with output_folder(target, force=force) as temporary:
        dataset = _dataset(volume, record, identity, values, slopes)
        dataset.save_as(temporary / FILE_NAME, enforce_file_format=True)
    return [target / FILE_NAME]


def _dataset(
    volume: Volume,
    record: MrAcquisition,
    identity: SeriesIdentity,
    values: dict[str, FloatArray],
    slopes: str,
) -> Dataset:
    dataset = new_dataset(identity)
    patient(dataset, record.subject, identity.labels)
    equipment(dataset, record.manufacturer or "imgtheranostics", record.model or "phantom or derived")
    dataset.DeviceSerialNumber = "0"
    without_laterality(dataset)
    set_instance(dataset, identity.digest)
    planes = PlaneGeometry.of(volume.grid)
    add_grey_pixels(dataset, volume.grid.shape)
    _add_image(dataset, record, identity)
    scales = SignalScales(volume, slopes)
    if scales.padded:
        dataset.PixelPaddingValue = 0
    voxels = each_sample(volume)
    n_slices, n_samples = voxels.shape[2:]
    axes = [axis.name for axis in volume.axes]
    add_dimensions(dataset, [_POINTERS[name] for name in axes], identity.digest)
    ranks = {name: np.unique(values[name], return_inverse=True)[1] + 1 for name in axes}
    frames = []
    stored = np.empty((*voxels.shape[:2], n_slices * n_samples), dtype=np.uint16)
    for sample in range(n_samples):
        shared = _parameters(values, sample)
        seconds = float(values["time"][sample]) if "time" in values else 0.0
        for k in range(n_slices):
            scale = scales(k, sample)
            content = _content(identity, seconds, [int(ranks[name][sample]) for name in axes], k)
            if "time" in ranks:
                content.TemporalPositionIndex = int(ranks["time"][sample])
            frames.append(
                item(
                    FrameContentSequence=[content],
                    PlanePositionSequence=[item(ImagePositionPatient=planes.position(k))],
                    PixelValueTransformationSequence=[
                        item(RescaleSlope=scale.slope, RescaleIntercept=scale.intercept, RescaleType="US")
                    ],
                    **{keyword: [item(**macro)] for keyword, macro in shared.items()},
                )
            )
            stored[..., sample * n_slices + k] = scale.store(voxels[:, :, k, sample])
    add_multi_frame(dataset, _shared_groups(planes, record), frames)
    set_pixels(dataset, stored)
    return dataset


def _add_image(dataset: Dataset, record: MrAcquisition, identity: SeriesIdentity) -> None:
    """What describes the whole image; derived, so that nothing has to be made up about a pulse sequence."""
    moment = identity.moment
    dataset.InstanceNumber = 1
    dataset.ImageType = ["DERIVED", "PRIMARY", "OTHER", "NONE"]
    dataset.ContentDate = moment.strftime("%Y%m%d") if moment else ""
    dataset.ContentTime = moment.strftime("%H%M%S.%f") if moment else ""
    if moment is not None:
        dataset.AcquisitionDateTime = datetime_text(moment)
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent = _COMPONENTS.get(record.image_component or "", "MAGNITUDE")
    dataset.AcquisitionContrast = "UNKNOWN"
    dataset.ContentQualification = "RESEARCH"
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.PatientPosition = "HFS"
    dataset.AcquisitionContextSequence = []
    if record.field_strength_t is not None:
        dataset.MagneticFieldStrength = real(record.field_strength_t)
    if record.nucleus:
        dataset.ResonantNucleus = record.nucleus
    echoes = _ECHOES.get(frozenset(record.scanning_sequence) & {"SE", "GR"})
    if echoes is not None:
        dataset.EchoPulseSequence = echoes
    if record.sequence:
        dataset.PulseSequenceName = record.sequence[:16]


def _shared_groups(planes: PlaneGeometry, record: MrAcquisition) -> Dataset:
    frame_type = item(
        FrameType=["DERIVED", "PRIMARY", "OTHER", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent=_COMPONENTS.get(record.image_component or "", "MAGNITUDE"),
        AcquisitionContrast="UNKNOWN",
    )
    measures = item(
        PixelSpacing=planes.pixel_spacing,
        SliceThickness=ds(planes.spacing_mm[2]),
        SpacingBetweenSlices=ds(planes.spacing_mm[2]),
    )
    return item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=planes.orientation)],
        MRImageFrameTypeSequence=[frame_type],
        FrameAnatomySequence=[whole_body()],
    )


def _parameters(values: dict[str, FloatArray], sample: int) -> dict[str, dict[str, object]]:
    """The functional groups that hold the parameters of a sample, in ms and degrees."""
    groups: dict[str, dict[str, object]] = {}
    timing: dict[str, object] = {}
    if "repetition_time" in values:
        timing["RepetitionTime"] = ds(values["repetition_time"][sample] * 1000.0)
    if "flip_angle" in values:
        timing["FlipAngle"] = ds(values["flip_angle"][sample])
    if timing:
        groups["MRTimingAndRelatedParametersSequence"] = {**timing, **_neutral_timing()}
    if "echo_time" in values:
        groups["MREchoSequence"] = {"EffectiveEchoTime": real(values["echo_time"][sample] * 1000.0)}
    if "inversion_time" in values:
        groups["MRModifierSequence"] = {
            "InversionRecovery": "YES",
            "InversionTimes": [real(values["inversion_time"][sample] * 1000.0)],
            **_NEUTRAL_MODIFIERS,
        }
    return groups


def _neutral_timing() -> dict[str, object]:
    """What the timing macro asks of original images and checkers of all; no reader here uses it."""
    return {
        "EchoTrainLength": 1,
        "RFEchoTrainLength": 0,
        "GradientEchoTrainLength": 1,
        "SpecificAbsorptionRateSequence": [
            item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.0)
        ],
        "OperatingModeSequence": [item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")],
    }


def _content(identity: SeriesIdentity, seconds: float, ranks: list[int], k: int) -> Dataset:
    content = item(
        StackID="1",
        InStackPositionNumber=k + 1,
        DimensionIndexValues=[*ranks, 1, k + 1],
    )
    if identity.moment is not None:
        start = datetime_text(identity.moment + timedelta(seconds=seconds))
        content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = start
    return content
