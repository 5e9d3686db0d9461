"""Writing a Volume as a classic MR Image Storage series: one file per slice and sample, a slope per file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import GeometryMismatch, UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.harmless_record import start_of, without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, ds, equipment, patient
from imgtheranostics.io.dicom.sample_parameters import FloatArray, each_sample, sample_values
from imgtheranostics.io.dicom.series_header import SeriesIdentity, labels_of_subject
from imgtheranostics.io.dicom.slice_series import (
    SliceSeries,
    content_digest,
    milliseconds,
    time_attributes,
)
from imgtheranostics.io.dicom.stored_values import StoredScale, fitted_scale, has_missing
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
PARAMETERS = ("echo_time", "flip_angle", "inversion_time", "repetition_time")
_FIELDS = {
    "echo_time": "echo_time_s",
    "flip_angle": "flip_angle_deg",
    "inversion_time": "inversion_time_s",
    "repetition_time": "repetition_time_s",
}
_KEYWORDS = {
    "echo_time": "EchoTime",
    "flip_angle": "FlipAngle",
    "inversion_time": "InversionTime",
    "repetition_time": "RepetitionTime",
}
COMPONENTS = {"magnitude": "M", "real": "R", "imaginary": "I"}
_SEQUENCES = frozenset({"SE", "IR", "GR", "EP", "RM"})
_WHAT = "a DICOM MR series"


def write_mr(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    slopes: Literal["per_slice", "uniform"] = "per_slice",
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write MR signal as a classic MR series.

    Parameters
    ----------
    volume : Volume
        ``signal``; at most two of the axes echo time, flip angle, inversion time and repetition time, and
        time. A reader finds them in that order, each increasing, and without those that have one value
        only. NaN becomes padding.
    folder, labels, slopes, keep_dates, force
        As `imgtheranostics.io.dicom.writing.write_dicom`.

    Raises
    ------
    UnsupportedInput
        If MR cannot hold the quantity, the axes, a phase or a sheared grid.
    GeometryMismatch
        If the record's parameters per sample do not fit the image.
    OutputError
        If the folder is not empty or cannot be written.
    """
    record = checked_record(volume)
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
    values = parameter_values(volume, record)
    moment = start_of(record, keep=keep_dates or named.phantom)
    digest = content_digest(volume, record, moment, named, slopes)
    identity = SeriesIdentity(MR_IMAGE_STORAGE, "MR", named, digest, moment)
    samples = _samples(values, each_sample(volume).shape[3])
    describe = partial(_describe, record=record, identity=identity, inverted="inversion_time" in values)
    scales = SignalScales(volume, slopes)
    series = SliceSeries(volume, identity, samples, scales, describe)
    if (record.manufacturer or "").lower().startswith("philips"):
        series.finish = _add_philips_scale
    target = Path(folder)
    with output_folder(target, force=force) as temporary:
        return [target / name for name in series.write(temporary)]


def checked_record(volume: Volume) -> MrAcquisition:
    """The MR record of a signal; UnsupportedInput for any other quantity and for phases."""
    record = volume.acquisition if isinstance(volume.acquisition, MrAcquisition) else MrAcquisition()
    if volume.quantity != "signal" or record.image_component == "phase":
        raise UnsupportedInput(
            f"a DICOM MR image cannot hold {'phase' if volume.quantity == 'signal' else volume.quantity}",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="signal: magnitude, real or imaginary",
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    return record


def parameter_values(volume: Volume, record: MrAcquisition) -> dict[str, FloatArray]:
    """Value of each parameter in each sample, from axes, else from the record; in s and degrees."""
    n_samples = each_sample(volume).shape[3]
    values = sample_values(volume, (*PARAMETERS, "time"), _WHAT)
    for name in PARAMETERS:
        if name in values:
            continue
        stated: Any = record.sample_parameters.get(name)
        if stated is None and name == "repetition_time" and record.repetition_times_s:
            stated = record.repetition_times_s
        if stated is None:
            single = getattr(record, _FIELDS[name])
            if name == "inversion_time" and single == 0:
                continue  # how some scanners say that there was no inversion
            stated = None if single is None else (single,) * n_samples
        if stated is None:
            continue
        if len(stated) != n_samples:
            raise GeometryMismatch(
                "the acquisition record does not fit the image",
                where=name,
                found=f"{len(stated)} values",
                needed=f"{n_samples}, one per sample",
            )
        values[name] = np.array(stated, dtype=np.float64)
    return values


class SignalScales:
    """The scale of each plane of a signal: its own, or one for all."""

    def __init__(self, volume: Volume, slopes: str) -> None:
        self.voxels = each_sample(volume)
        self.padded = has_missing(self.voxels)
        self.common: StoredScale | None = None
        if slopes == "uniform":
            self.common = fitted_scale(self.voxels, padded=self.padded)

    def __call__(self, k: int, sample: int) -> StoredScale:
        """The scale of slice `k` of a sample."""
        if self.common is not None:
            return self.common
        return fitted_scale(self.voxels[:, :, k, sample], padded=self.padded)


def scanning_sequence(record: MrAcquisition, *, inverted: bool) -> list[str]:
    """ScanningSequence (0018,0020): that of the record, with inversion recovery where there is one."""
    stated = [one for one in record.scanning_sequence if one in _SEQUENCES]
    if inverted and "IR" not in stated:
        stated.append("IR")
    return stated or ["RM"]


def _samples(values: dict[str, FloatArray], n_samples: int) -> list[dict[str, Any]]:
    echoes = sorted(set(values.get("echo_time", np.zeros(0)).tolist()))
    times = sorted(set(values.get("time", np.zeros(0)).tolist()))
    samples: list[dict[str, Any]] = []
    for number in range(n_samples):
        sample: dict[str, Any] = {"EchoTime": None, "RepetitionTime": None, "AcquisitionNumber": 1}
        for name in PARAMETERS:
            if name in values:
                value = float(values[name][number])
                sample[_KEYWORDS[name]] = ds(value) if name == "flip_angle" else milliseconds(value)
        if echoes:
            sample["EchoNumbers"] = echoes.index(float(values["echo_time"][number])) + 1
        if times:
            seconds = float(values["time"][number])
            sample |= time_attributes(times.index(seconds), seconds)
            sample["NumberOfTemporalPositions"] = len(times)
        samples.append(sample)
    return samples


def _describe(dataset: Dataset, *, record: MrAcquisition, identity: SeriesIdentity, inverted: bool) -> None:
    patient(dataset, record.subject, identity.labels)
    equipment(dataset, record.manufacturer, record.model)
    dataset.ImageType = [*identity.image_type, COMPONENTS.get(record.image_component or "", "OTHER")]
    dataset.PatientPosition = "HFS"
    dataset.ScanningSequence = scanning_sequence(record, inverted=inverted)
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = ""
    dataset.EchoTrainLength = None
    for keyword, number in (
        ("MagneticFieldStrength", record.field_strength_t),
        ("ImagingFrequency", record.imaging_frequency_mhz),
    ):
        if number is not None:
            setattr(dataset, keyword, ds(number))
    if record.nucleus:
        dataset.ImagedNucleus = record.nucleus
    if record.sequence:
        dataset.SequenceName = record.sequence[:16]
    if record.temporal_resolution_s is not None:
        dataset.TemporalResolution = milliseconds(record.temporal_resolution_s)
    dataset.RescaleType = "US"


def _add_philips_scale(dataset: Dataset, scale: StoredScale) -> None:
    """The private scale slope without which readers take Philips values for display values."""
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    if 0x0E in block:
        del block[0x0E]
    block.add_new(0x0E, "FL", 1.0 / float(scale.slope))
