"""Writing a Volume as an ultrasound multi-frame image: 8-bit log-compressed grey, one calibrated region."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import GeometryMismatch, UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.harmless_record import without_free_text
from imgtheranostics.io.dicom.header_modules import Labels, ds, equipment, patient
from imgtheranostics.io.dicom.sample_parameters import FloatArray, each_sample, sample_values
from imgtheranostics.io.dicom.series_header import (
    NEUTRAL_DATE,
    SeriesIdentity,
    add_grey_pixels,
    item,
    labels_of_subject,
    new_dataset,
    set_instance,
    set_pixels,
)
from imgtheranostics.io.dicom.slice_series import content_digest, milliseconds
from imgtheranostics.io.dicom.ultrasound import FORMATS, UNITS, tissue_spacing_mm
from imgtheranostics.volume import Volume, make_step

if TYPE_CHECKING:
    from pydicom import Dataset

ULTRASOUND_MULTI_FRAME_STORAGE = "1.2.840.10008.5.1.4.1.1.3.1"
FILE_NAME = "cine.dcm"
LARGEST_GREY = 255
_WHAT = "an ultrasound cine"
_UNIFORM = 1e-9


def log_compressed(volume: Volume, *, dynamic_range_db: float, maximum_db: float | None = None) -> Volume:
    """Echo levels as the grey levels 0 to 255 that a scanner stores.

    Parameters
    ----------
    volume : Volume
        ``echo_level`` in dB.
    dynamic_range_db : float
        Levels this far below the maximum, and lower ones, become 0.
    maximum_db : float, optional
        The level that becomes 255, and all above it; by default the largest of the volume.

    Returns
    -------
    Volume
        ``signal``, whole grey levels. DICOM has no dynamic range, so it stands in the history.

    Raises
    ------
    UnsupportedInput
        If the volume holds another quantity, or levels that are not numbers.
    """
    if volume.quantity != "echo_level" or np.isnan(volume.data).any():
        raise UnsupportedInput(
            "only echo levels are log-compressed", found=volume.quantity, needed="echo_level [dB] without NaN"
        )
    if not dynamic_range_db > 0:
        raise ValueError(f"dynamic_range_db is above 0, not {dynamic_range_db:g}")
    largest = float(volume.data.max()) if maximum_db is None else maximum_db
    shares = 1.0 + (volume.data.astype(np.float64) - largest) / dynamic_range_db
    grey = np.rint(LARGEST_GREY * np.clip(shares, 0.0, 1.0)).astype(np.float32)
    step = make_step("log_compress", dynamic_range_db=dynamic_range_db, maximum_db=largest)
    return volume.derived(grey, "signal", "[arb'U]", step)


def write_ultrasound(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    force: bool = False,
) -> list[Path]:
    """Write grey levels as one ultrasound multi-frame file.

    Parameters
    ----------
    volume : Volume
        ``signal``: grey levels from 0 to 255, stored to the nearest whole one; one slice, and ``time``.
        Ultrasound has no place in the patient: the slice must lie as the loader will put it, its first pixel
        at the origin, columns towards the left and rows towards the back.
    folder, labels, force
        As `imgtheranostics.io.dicom.writing.write_dicom`. The record holds no date: files say 2000-01-01.

    Raises
    ------
    UnsupportedInput
        If the values, the axes or the place cannot be held.
    GeometryMismatch
        If the record's calibrated regions contradict the pixel spacing.
    OutputError
        If the folder is not empty or cannot be written.
    """
    record = volume.acquisition
    record = record if isinstance(record, UltrasoundAcquisition) else UltrasoundAcquisition()
    _check(volume)
    named = labels or labels_of_subject(volume.source.subject)
    if not named.phantom:
        record = without_free_text(record)
    times = sample_values(volume, ("time",), _WHAT).get("time", np.zeros(1))
    digest = content_digest(volume, record, named)
    identity = SeriesIdentity(ULTRASOUND_MULTI_FRAME_STORAGE, "US", named, digest, NEUTRAL_DATE)
    target = Path(folder)
    with output_folder(target, force=force) as temporary:
        dataset = _dataset(volume, record, identity, times)
        dataset.save_as(temporary / FILE_NAME, enforce_file_format=True)
    return [target / FILE_NAME]


def _check(volume: Volume) -> None:
    low, high = float(volume.data.min()), float(volume.data.max())
    if volume.quantity != "signal" or not (low >= 0 and high <= LARGEST_GREY):
        raise UnsupportedInput(
            f"{_WHAT} holds grey levels",
            found=f"{volume.quantity} from {low:g} to {high:g}",
            needed=f"signal from 0 to {LARGEST_GREY}",
            next_step="compress echo levels with log_compressed, or save it as NIfTI",
        )
    spacing = volume.grid.spacing_mm
    flat = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    if volume.grid.shape[2] != 1 or np.abs(volume.affine - flat).max() > 1e-6 * max(spacing):
        raise UnsupportedInput(
            f"{_WHAT} has no place in the patient and one slice",
            found=f"{volume.grid.shape[2]} slices"
            if volume.grid.shape[2] != 1
            else "an image elsewhere than at the origin, or turned",
            needed="one slice whose first pixel is the origin, columns to the left, rows to the back",
            next_step="save it as NIfTI",
        )


def _dataset(
    volume: Volume, record: UltrasoundAcquisition, identity: SeriesIdentity, times: FloatArray
) -> Dataset:
    dataset = new_dataset(identity)
    patient(dataset, record.subject, identity.labels)
    equipment(dataset, record.manufacturer, record.model)
    set_instance(dataset, identity.digest)
    add_grey_pixels(dataset, volume.grid.shape, bits=8)
    dataset.InstanceNumber = 1
    dataset.ImageType = identity.image_type
    dataset.PatientOrientation = ""
    dataset.ContentDate = NEUTRAL_DATE.strftime("%Y%m%d")
    dataset.ContentTime = NEUTRAL_DATE.strftime("%H%M%S.%f")
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.SliceThickness = ds(volume.grid.spacing_mm[2])
    _add_timing(dataset, times)
    _add_regions(dataset, volume, record)
    if record.mechanical_index is not None:
        dataset.MechanicalIndex = ds(record.mechanical_index)
    if record.transducer_frequency_mhz is not None:
        dataset.TransducerFrequency = round(record.transducer_frequency_mhz * 1000.0)
    grey = np.rint(each_sample(volume)[:, :, 0, :]).astype(np.uint8)
    set_pixels(dataset, grey)
    return dataset


def _add_timing(dataset: Dataset, times: FloatArray) -> None:
    """FrameTime where frames are equally far apart, else a vector of increments; both in ms."""
    from pydicom.tag import Tag

    dataset.NumberOfFrames = times.size
    steps = np.diff(times)
    if steps.size and np.abs(steps - steps[0]).max() > _UNIFORM * steps[0]:
        dataset.FrameIncrementPointer = Tag(0x00181065)
        dataset.FrameTimeVector = ["0", *(milliseconds(step) for step in steps)]
    else:
        dataset.FrameIncrementPointer = Tag(0x00181063)
        dataset.FrameTime = milliseconds(float(times[-1]) / steps.size if steps.size else 0.0)


def _add_regions(dataset: Dataset, volume: Volume, record: UltrasoundAcquisition) -> None:
    """The record's calibrated regions, or one tissue region that is the whole image."""
    spacing = volume.grid.spacing_mm
    whole: dict[str, Any] = {
        "spatial_format": "2d",
        "data_type": 1,
        "x0": 0,
        "y0": 0,
        "x1": volume.grid.shape[0] - 1,
        "y1": volume.grid.shape[1] - 1,
        "x_unit": "cm",
        "y_unit": "cm",
        "x_delta": spacing[0] / 10.0,
        "y_delta": spacing[1] / 10.0,
    }
    regions: tuple[Mapping[str, Any], ...] = record.regions or (whole,)
    found = tissue_spacing_mm([dict(region) for region in regions])
    if found is None or not np.allclose(found, (spacing[1], spacing[0]), rtol=1e-6):
        raise GeometryMismatch(
            "the calibrated regions contradict the pixel spacing",
            where="regions of the acquisition record",
            found="no single tissue spacing" if found is None else f"{found[1]:g} x {found[0]:g} mm",
            needed=f"{spacing[0]:g} x {spacing[1]:g} mm",
        )
    dataset.SequenceOfUltrasoundRegions = [_region(region) for region in regions]


def _region(region: Mapping[str, Any]) -> Dataset:
    formats = {name: number for number, name in FORMATS.items()}
    units = {name: number for number, name in UNITS.items()}
    return item(
        RegionSpatialFormat=formats.get(region["spatial_format"], 0),
        RegionDataType=region["data_type"] if region["data_type"] is not None else 0,
        RegionFlags=0,
        RegionLocationMinX0=region["x0"],
        RegionLocationMinY0=region["y0"],
        RegionLocationMaxX1=region["x1"],
        RegionLocationMaxY1=region["y1"],
        PhysicalUnitsXDirection=units.get(region["x_unit"], 0),
        PhysicalUnitsYDirection=units.get(region["y_unit"], 0),
        PhysicalDeltaX=region["x_delta"],
        PhysicalDeltaY=region["y_delta"],
    )
