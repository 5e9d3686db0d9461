"""Saving a map of dose as DICOM RT Dose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.io.atomic import replacing_all
from imgtheranostics.volume import Estimate, Volume

PathLike = str | os.PathLike[str]


def save_dose(
    dose: Volume | Estimate,
    path: PathLike,
    *,
    like_series: PathLike | Sequence[PathLike] | Volume | Estimate | None = None,
    fill: bool = False,
    keep_identifiers: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a map of dose as one DICOM RT Dose file, which planning and viewing systems read.

    Parameters
    ----------
    dose : Volume or Estimate
        Absorbed dose, BED or EQD2, Gy; its standard error is not written: NIfTI holds both.
    path : path
        Ending in ``.dcm``.
    like_series : path, paths, Volume or Estimate, optional
        The DICOM images over which the dose lies, or an image loaded from them: the file joins their study
        and frame of reference. Without it the dose stands alone.
    fill : bool
        Write zero where the dose is unknown (NaN) or below zero, and say in the file in how many voxels.
    keep_identifiers : bool
        Repeat name, ID and dates of the series, which is otherwise a pseudonym on a neutral date.
    force : bool
        Replace a file that exists.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    UnitMismatch
        If it is no map of dose.
    UnsupportedInput
        If the name is another, the map has further axes, or its grid is sheared.
    ImplausibleValue
        If there are unknown doses or doses below zero and `fill` is not given.
    NothingUsable, MissingMetadata
        If `like_series` is not one DICOM series with a frame of reference.
    OutputError
        If the file exists and `force` is not given, or it cannot be written.
    """
    from imgtheranostics.io.dicom.rtdose_writing import DOSE_TYPES, rt_dose
    from imgtheranostics.io.dicom.source_series import SourceSeries
    from imgtheranostics.io.saving import check_target

    volume = dose.value if isinstance(dose, Estimate) else dose
    target = Path(path)
    if volume.quantity not in DOSE_TYPES:
        raise UnitMismatch(
            "RT Dose holds dose", found=f"{volume.quantity} [{volume.unit}]", needed=", ".join(DOSE_TYPES)
        )
    if volume.axes:
        raise UnsupportedInput(
            "RT Dose holds one dose per voxel",
            found=", ".join(f"{axis.name} {len(axis)}" for axis in volume.axes),
            next_step="take one sample of the axis first",
        )
    if target.suffix.lower() != ".dcm":
        raise UnsupportedInput(
            "a DICOM dose file has another name", where=str(target), needed="*.dcm; NIfTI is written by save"
        )
    check_target(target, force=force)
    series = None
    if like_series is not None:
        series = SourceSeries.of(like_series, keep_identifiers=keep_identifiers)
    dataset = rt_dose(volume, series, fill=fill)
    with replacing_all([target]) as (stream,):
        dataset.save_as(stream, enforce_file_format=True)
    return [target]
