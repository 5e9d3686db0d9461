"""Writing a map of dose as an RT Dose object: one multi-frame file of whole numbers and their scale."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.io.dicom.header_modules import ds, equipment, patient, uid
from imgtheranostics.io.dicom.series_header import (
    NEUTRAL_DATE,
    PlaneGeometry,
    SeriesIdentity,
    add_grey_pixels,
    labels_of_subject,
    new_dataset,
    set_pixels,
)
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from imgtheranostics.io.dicom.source_series import SourceSeries

RT_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"
SERIES_NUMBER = 902
MANUFACTURER = "imgtheranostics"
MODEL = "dose"

DOSE_TYPES = {
    "absorbed_dose": "PHYSICAL",
    "biologically_effective_dose": "EFFECTIVE",
    "equieffective_dose_2gy": "EFFECTIVE",
}
"""What DICOM calls the quantities that it can hold."""

_FULL_SCALE = 2**32 - 2
_FRAME_OFFSETS = 0x3004000C
_COMMENTS = {
    "absorbed_dose": "absorbed dose",
    "biologically_effective_dose": "biologically effective dose",
    "equieffective_dose_2gy": "EQD2",
}


def rt_dose(dose: Volume, series: SourceSeries | None, *, fill: bool = False) -> Dataset:
    """An RT Dose object of a map of dose.

    Parameters
    ----------
    dose : Volume
        Of a quantity of `DOSE_TYPES`, without further axes, on any right-angled grid.
    series : SourceSeries, optional
        The images in whose study and frame of reference the dose lies; a study of its own without it.
    fill : bool
        Write zero where there is no dose, or one below zero, and say so in the object.

    Returns
    -------
    pydicom.Dataset
        The same for the same dose and series. It names no plan: there is none.

    Raises
    ------
    ImplausibleValue
        If the dose is unknown, infinite or below zero somewhere and `fill` is not given.
    UnsupportedInput
        If the grid is sheared.
    """
    values, missing = _writable(dose, fill)
    planes = PlaneGeometry.of(dose.grid)
    along = (planes.positions - planes.positions[0]) @ np.cross(planes.row, planes.column)
    # Offsets are written to grow: many readers take their direction for granted.
    backwards = along[-1] < 0
    digest = _digest(dose, series)
    dataset = _start(dose, series, digest)
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient = planes.position(-1 if backwards else 0)
    planes.add_plane(dataset)
    add_grey_pixels(dataset, dose.grid.shape, bits=32)
    dataset.NumberOfFrames = dose.grid.shape[2]
    dataset.FrameIncrementPointer = _FRAME_OFFSETS
    offsets = along[::-1] - along[-1] if backwards else along
    dataset.GridFrameOffsetVector = [ds(value) for value in offsets]
    dataset.DoseUnits = "GY"
    dataset.DoseType = DOSE_TYPES[dose.quantity]
    dataset.DoseSummationType = "PLAN"
    comment = _COMMENTS[dose.quantity]
    dataset.DoseComment = comment + (f"; zero in {missing} voxels without a dose" if missing else "")
    highest = float(values.max(initial=0.0))
    dataset.DoseGridScaling = ds(highest / _FULL_SCALE if highest > 0 else 1.0)
    stored = np.rint(values / float(dataset.DoseGridScaling)).clip(0, 2**32 - 1).astype(np.uint32)
    set_pixels(dataset, stored[:, :, ::-1] if backwards else stored)
    return dataset


def _writable(dose: Volume, fill: bool) -> tuple[npt.NDArray[np.float64], int]:
    """Doses of which all are known and not negative, and how many were not."""
    values = dose.data.astype(np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    count = int(np.count_nonzero(bad))
    if count and not fill:
        raise ImplausibleValue(
            "RT Dose holds no unknown dose and none below zero",
            found=f"{count} of {values.size} such voxels",
            needed="a dose everywhere",
            next_step="give fill=True to write zero there, or save the map as NIfTI",
        )
    return np.where(bad, 0.0, values), count


def _digest(dose: Volume, series: SourceSeries | None) -> str:
    total = hashlib.sha256(dose.quantity.encode())
    total.update(dose.affine.tobytes())
    total.update(np.ascontiguousarray(dose.data.T).tobytes())
    if series is not None:
        total.update(str(series.header.SeriesInstanceUID).encode())
        total.update(repr((str(series.header.PatientID), str(series.header.StudyDate))).encode())
    else:
        total.update(dose.source.subject.encode())
    return total.hexdigest()


def _start(dose: Volume, series: SourceSeries | None, digest: str) -> Dataset:
    """Patient, study, series, frame of reference and equipment."""
    if series is None:
        labels = labels_of_subject(dose.source.subject)
        dataset = new_dataset(SeriesIdentity(RT_DOSE_STORAGE, "RTDOSE", labels, digest, NEUTRAL_DATE))
        patient(dataset, Subject(), labels)
    else:
        from pydicom.uid import ExplicitVRLittleEndian

        from imgtheranostics.io.dicom.header_modules import file_meta

        dataset = series.start()
        dataset.file_meta = file_meta(RT_DOSE_STORAGE, ExplicitVRLittleEndian)
        dataset.SOPClassUID = RT_DOSE_STORAGE
        dataset.Modality = "RTDOSE"
        dataset.SeriesDate = series.moment.strftime("%Y%m%d")
        dataset.SeriesTime = "000000"
    dataset.SeriesInstanceUID = uid("dose series", digest)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("dose", digest)
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "dose"
    dataset.OperatorsName = ""
    equipment(dataset, MANUFACTURER, MODEL)
    return dataset
