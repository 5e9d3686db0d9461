"""Writing a Volume as a classic PET Image Storage series: one file per slice and frame, a slope per file.

Everything that a header says comes from the Volume's acquisition record, so a record with other clocks,
units or private fields gives another header of the same image. UIDs derive from the content: the same
Volume gives the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.data.suv_types import SUV_TYPE_OF_QUANTITY
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.harmless_record import without_free_text
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.pet_header import PetSeries
from imgtheranostics.io.dicom.series_header import NEUTRAL_DATE, labels_of_subject
from imgtheranostics.volume import Volume

PER_IMAGE = ("acquisition_datetime", "frame_reference_time_s", "frame_duration_s", "decay_factor")
"""Fields of the record with one value per slice and frame."""
_PLAIN_UNITS = {"activity_concentration": "BQML", "counts": "CNTS", "count_rate": "CPS"}

PET_QUANTITIES = (*_PLAIN_UNITS, *SUV_TYPE_OF_QUANTITY)
"""Quantities that a PET image can hold."""

Planes = npt.NDArray[np.float32]


def write_pet(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    slopes: Literal["per_slice", "uniform"] = "per_slice",
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a PET Volume as a DICOM series.

    Parameters
    ----------
    volume : Volume
        Activity concentration, SUV, counts or count rate; (i, j, k) or (i, j, k, time).
    folder, labels, slopes, keep_dates, force
        As `imgtheranostics.io.dicom.writing.write_dicom`.

    Returns
    -------
    list of Path
        The files, frame by frame and slice by slice.

    Raises
    ------
    UnsupportedInput
        If DICOM PET cannot hold the quantity, the axes, missing voxels or a sheared grid.
    MissingMetadata
        If an activity image says no decay correction or no time of the series.
    GeometryMismatch
        If the record's frames do not fit the image.
    OutputError
        If the folder is not empty or cannot be written.
    """
    units, suv_type = _units(volume)
    planes = _planes(volume)
    record = _record(volume, units)
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
        record = record if keep_dates else _moved(record)
    if record.philips_activity_factor is not None and units == "CNTS":
        planes = np.asarray(planes / np.float64(record.philips_activity_factor), dtype=np.float64)
    writer = PetSeries(volume, record, named, units, suv_type, _digest(volume, record, named, slopes))
    scales = _slopes(planes, slopes)
    target = Path(folder)
    written: list[Path] = []
    with output_folder(target, force=force) as temporary:
        for frame in range(planes.shape[3]):
            for k in range(planes.shape[2]):
                name = f"f{frame + 1:04d}_s{k + 1:04d}.dcm"
                dataset = writer.image(frame, k, planes[..., k, frame], scales[k, frame])
                dataset.save_as(temporary / name, enforce_file_format=True)
                written.append(target / name)
    return written


def _units(volume: Volume) -> tuple[str, str]:
    """Units (0054,1001) and SUVType (0054,1006) of the quantity."""
    if volume.quantity in SUV_TYPE_OF_QUANTITY:
        return ("CM2ML" if volume.quantity == "suv_bsa" else "GML"), SUV_TYPE_OF_QUANTITY[volume.quantity]
    units = _PLAIN_UNITS.get(volume.quantity)
    if units is None:
        raise UnsupportedInput(
            f"a DICOM PET image cannot hold {volume.quantity}",
            found=f"{volume.quantity} [{volume.unit}]",
            needed=", ".join(PET_QUANTITIES),
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    record = volume.acquisition
    counts = isinstance(record, EmissionAcquisition) and record.units == "CNTS"
    if units == "BQML" and counts and record.philips_activity_factor is not None:
        return "CNTS", ""
    return units, ""


def _planes(volume: Volume) -> Any:
    """The voxels as (i, j, k, frames), checked to be something that 16-bit integers can carry."""
    if [axis.name for axis in volume.axes] not in ([], ["time"]):
        raise UnsupportedInput(
            "a DICOM PET series has no axis but time",
            found=", ".join(axis.name for axis in volume.axes),
            next_step="save it as NIfTI",
        )
    frames = volume.data.reshape(*volume.data.shape[:3], -1)
    bad = sum(int((~np.isfinite(frames[..., n])).sum()) for n in range(frames.shape[3]))
    if bad:
        raise UnsupportedInput(
            "a DICOM PET image cannot hold missing values",
            found=f"{bad} voxels without a finite value",
            next_step="save it as NIfTI",
        )
    return volume.data if volume.axes else volume.data[..., np.newaxis]


def _record(volume: Volume, units: str) -> EmissionAcquisition:
    """The acquisition record with what a header must state filled in, or a refusal."""
    record = volume.acquisition if volume.acquisition is not None else EmissionAcquisition()
    if not isinstance(record, EmissionAcquisition):
        raise UnsupportedInput(
            "only emission images are written as DICOM PET",
            found=f"modality {record.modality}",
            next_step="save it as NIfTI",
        )
    normalised = units in ("GML", "CM2ML")
    for field, where in (
        ("decay_correction", "DecayCorrection (0054,1102)"),
        ("series_datetime", "SeriesDate, SeriesTime"),
    ):
        if getattr(record, field) is None and not normalised:
            raise MissingMetadata(
                f"the image does not say its {field.replace('_', ' ')}, which a DICOM PET series must state",
                where=where,
                next_step="save it as NIfTI",
            )
    if record.decay_correction not in (None, "START", "ADMIN", "NONE"):
        raise UnsupportedInput(
            "the decay correction is not one that DICOM knows",
            where="DecayCorrection (0054,1102)",
            needed="START, ADMIN or NONE",
        )
    n_frames = len(volume.axes[0]) if volume.axes else 1
    shape = (volume.grid.shape[2], n_frames)
    for field in PER_IMAGE:
        values = getattr(record, field)
        if values is not None and values.shape != shape:
            raise GeometryMismatch(
                "the acquisition record does not fit the image",
                where=field,
                found=f"{values.shape[0]} slices x {values.shape[1]} frames",
                needed=f"{shape[0]} slices x {shape[1]} frames",
            )
    return replace(
        record,
        decay_correction=record.decay_correction or "START",
        series_datetime=record.series_datetime or NEUTRAL_DATE,
    )


def _moved(record: EmissionAcquisition) -> EmissionAcquisition:
    """The record with all dates moved by whole days, the series to the neutral date."""
    if record.series_datetime is None:
        return record
    days = timedelta(days=(record.series_datetime.date() - NEUTRAL_DATE.date()).days)
    pharmaceutical = record.radiopharmaceutical
    acquired = record.acquisition_datetime
    return replace(
        record,
        series_datetime=record.series_datetime - days,
        private_scan_datetime=_minus(record.private_scan_datetime, days),
        acquisition_datetime=None if acquired is None else acquired - np.timedelta64(days),
        radiopharmaceutical=replace(
            pharmaceutical,
            start_datetime=_minus(pharmaceutical.start_datetime, days),
            stop_datetime=_minus(pharmaceutical.stop_datetime, days),
        ),
    )


def _minus(moment: datetime | None, days: timedelta) -> datetime | None:
    return None if moment is None else moment - days


def _slopes(planes: Planes, slopes: str) -> npt.NDArray[np.float64]:
    """(n_slices, n_frames) rescale slopes, exactly as the decimal strings of the header will say them."""
    from pydicom.valuerep import format_number_as_ds

    # without a copy of the whole series, which may be as large as the memory that is left
    largest = np.maximum(planes.max(axis=(0, 1)), -planes.min(axis=(0, 1))).astype(np.float64)
    if slopes == "uniform":
        largest = np.full_like(largest, largest.max())
    limit = 32767 if planes.min() < 0 else 65535
    wanted = np.where(largest > 0, largest / limit, 1.0)
    texts = {value: float(format_number_as_ds(float(value))) for value in np.unique(wanted)}
    return np.array([texts[value] for value in wanted.ravel().tolist()]).reshape(wanted.shape)


def _digest(volume: Volume, record: EmissionAcquisition, labels: Labels, slopes: str) -> str:
    total = hashlib.sha256(np.ascontiguousarray(volume.data.T).data)  # a view: voxels lie in Fortran order
    total.update(volume.affine.tobytes())
    for name in PER_IMAGE:
        values = getattr(record, name)
        total.update(b"" if values is None else values.tobytes())
    record = replace(
        record,
        acquisition_datetime=None,
        frame_reference_time_s=None,
        frame_duration_s=None,
        decay_factor=None,
    )
    total.update(repr((volume.quantity, record, labels, slopes)).encode())
    return total.hexdigest()
