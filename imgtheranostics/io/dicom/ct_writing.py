"""Writing a Volume as a CT Image Storage series: one file per slice, Hounsfield units."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.harmless_record import start_of, without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, ds, equipment, patient
from imgtheranostics.io.dicom.sample_parameters import each_sample, sample_values
from imgtheranostics.io.dicom.series_header import SeriesIdentity, labels_of_subject
from imgtheranostics.io.dicom.slice_series import SliceSeries, content_digest, time_attributes
from imgtheranostics.io.dicom.stored_values import StoredScale, fitted_scale, has_missing, hounsfield_scale
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
RESCALE_TYPES = {"attenuation": "HU", "concentration": "MGML"}
"""Quantities that a CT image can hold, with their RescaleType (0028,1054)."""
_WHAT = "a DICOM CT series"


def write_ct(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    slopes: Literal["per_slice", "uniform"] = "uniform",
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write attenuation (or a mass concentration) as a CT series.

    Parameters
    ----------
    volume : Volume
        ``attenuation`` or ``concentration``; axes ``energy`` (kV) and ``time`` are allowed. Whole Hounsfield
        units are stored exactly, others in steps of a power of two. NaN becomes padding.
    folder, labels, slopes, keep_dates, force
        As `imgtheranostics.io.dicom.writing.write_dicom`. Hounsfield units have one slope for the series
        whatever is asked for, as CT readers expect.

    Raises
    ------
    UnsupportedInput
        If CT cannot hold the quantity, the axes, or a sheared grid.
    OutputError
        If the folder is not empty or cannot be written.
    """
    if volume.quantity not in RESCALE_TYPES:
        raise UnsupportedInput(
            f"a DICOM CT image cannot hold {volume.quantity}",
            found=f"{volume.quantity} [{volume.unit}]",
            needed=", ".join(RESCALE_TYPES),
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    record = volume.acquisition if isinstance(volume.acquisition, CtAcquisition) else CtAcquisition()
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
    samples = _samples(volume, record)
    moment = start_of(record, keep=keep_dates or named.phantom)
    digest = content_digest(volume, record, moment, named, slopes)
    identity = SeriesIdentity(CT_IMAGE_STORAGE, "CT", named, digest, moment)
    describe = partial(_describe, volume=volume, record=record, identity=identity)
    series = SliceSeries(volume, identity, samples, _Scales(volume, slopes), describe)
    target = Path(folder)
    with output_folder(target, force=force) as temporary:
        return [target / name for name in series.write(temporary)]


class _Scales:
    """The scale of each plane."""

    def __init__(self, volume: Volume, slopes: str) -> None:
        self.voxels = each_sample(volume)
        self.padded = has_missing(self.voxels)
        self.common: StoredScale | None = None
        if volume.quantity == "attenuation":
            self.common = hounsfield_scale(self.voxels, padded=self.padded)
        elif slopes == "uniform":
            self.common = fitted_scale(self.voxels, padded=self.padded)

    def __call__(self, k: int, sample: int) -> StoredScale:
        if self.common is not None:
            return self.common
        return fitted_scale(self.voxels[:, :, k, sample], padded=self.padded)


def _samples(volume: Volume, record: CtAcquisition) -> list[dict[str, Any]]:
    values = sample_values(volume, ("energy", "time"), _WHAT)
    samples: list[dict[str, Any]] = []
    times = sorted(set(values["time"].tolist())) if "time" in values else []
    for number in range(each_sample(volume).shape[3]):
        energy = float(values["energy"][number]) if "energy" in values else record.tube_voltage_kv
        sample: dict[str, Any] = {
            "KVP": None if energy is None else ds(energy),
            "AcquisitionNumber": number + 1,
            **_filter(_at_energy(volume, record, energy), each=bool(_listed(record))),
        }
        if times:
            seconds = float(values["time"][number])
            sample |= time_attributes(times.index(seconds), seconds)
        samples.append(sample)
    return samples


def _at_energy(volume: Volume, record: CtAcquisition, energy: float | None) -> CtAcquisition:
    """The record of the images of one tube voltage."""
    axis = volume.axis("energy")
    if axis is None or energy is None:
        return record
    return record.of_energy(int(np.flatnonzero(axis.values == energy)[0]), energy)


def _listed(record: CtAcquisition) -> tuple[object, ...]:
    return (*record.filter_materials, *record.filter_thicknesses_mm)


def _filter(record: CtAcquisition, *, each: bool) -> dict[str, Any]:
    """Attributes of the filter; empty ones stand where the filters of other energies are known."""
    found: dict[str, Any] = {}
    if each or record.filter_material is not None:
        found["FilterMaterial"] = (record.filter_material or "").split("\\")
    if each or record.filter_thickness_mm is not None:
        thickness = None if record.filter_thickness_mm is None else ds(record.filter_thickness_mm)
        found |= {"FilterThicknessMinimum": thickness, "FilterThicknessMaximum": thickness}
    return found


def _describe(dataset: Dataset, *, volume: Volume, record: CtAcquisition, identity: SeriesIdentity) -> None:
    patient(dataset, record.subject, identity.labels)
    equipment(dataset, record.manufacturer, record.model)
    dataset.ImageType = [*identity.image_type, "AXIAL"]
    dataset.PatientPosition = "HFS"
    dataset.RescaleType = RESCALE_TYPES[volume.quantity]
    for keyword, value in (
        ("XRayTubeCurrent", None if record.tube_current_ma is None else round(record.tube_current_ma)),
        ("Exposure", None if record.exposure_mas is None else round(record.exposure_mas)),
        ("FilterType", record.filtration),
        ("ConvolutionKernel", record.kernel),
        ("ContrastBolusAgent", record.contrast_agent),
        ("ContrastBolusIngredient", record.contrast_material),
    ):
        if value is not None:
            setattr(dataset, keyword, value)
    if record.slice_thickness_mm is not None and volume.shape[2] > 1:  # of one slice it is the spacing
        dataset.SliceThickness = ds(record.slice_thickness_mm)
    if record.reconstruction_diameter_mm is not None:
        dataset.ReconstructionDiameter = ds(record.reconstruction_diameter_mm)
