"""Saving regions: NIfTI labels with names, DICOM Segmentation, RT Structure Set."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.io.atomic import replacing_all
from imgtheranostics.io.nifti_writing import write_nifti
from imgtheranostics.io.own_sidecar import describe
from imgtheranostics.io.sidecar import image_stem
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

PathLike = str | os.PathLike[str]
Kind = Literal["nifti", "seg", "rtstruct"]

_NIFTI = (".nii.gz", ".nii")
_STRUCTURE_WORDS = ("rtstruct", "rtss", "structure")


def save_rois(
    regions: Regions,
    path: PathLike,
    *,
    like_series: PathLike | Sequence[PathLike] | Volume | Estimate | None = None,
    kind: Kind | None = None,
    keep_identifiers: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write regions so that `load_rois` gives back the same voxels and names.

    Parameters
    ----------
    regions : Regions
        They may overlap, and may be empty.
    path : path
        ``.nii.gz`` or ``.nii``: labels with the names in a JSON file beside them, overlapping regions in
        layers of a fourth dimension. ``.dcm``: an RT Structure Set when the name says rtstruct, rtss or
        structure, else a Segmentation.
    like_series : path, paths, Volume or Estimate, optional
        The DICOM image series to which the regions belong, or an image loaded from it; DICOM needs it. The
        regions lie on its grid, in any order of the voxel axes.
    kind : {"nifti", "seg", "rtstruct"}, optional
        What to write, whatever the name says.
    keep_identifiers : bool
        Repeat name, ID and dates of the series. By default a DICOM file names a person by a pseudonym, on
        a neutral date; what the series states to be a phantom or de-identified is repeated as it is.
    force : bool
        Replace a file that exists.

    Returns
    -------
    list of Path
        What was written, the image before its table of names.

    Raises
    ------
    UnsupportedInput
        If the name tells no format, or the format cannot hold the regions.
    MissingMetadata
        If a DICOM file is asked for without a series, or the series has no frame of reference.
    NothingUsable
        If `like_series` is not one DICOM series.
    GeometryMismatch
        If the regions lie on another grid than the series.
    OutputError
        If the file exists and `force` is not given, or it cannot be written.
    """
    from imgtheranostics.io.saving import check_target

    target = Path(path)
    chosen = kind or _kind(target)
    check_target(target, force=force)
    if chosen == "nifti":
        if not target.name.lower().endswith(_NIFTI):
            raise UnsupportedInput("a NIfTI file has another name", where=str(target), needed="*.nii.gz")
        names = target.with_name(f"{image_stem(target)}.json")
        check_target(names, force=force)
        if like_series is not None and isinstance(like_series, (Volume, Estimate)):
            regions = regions.fit_to(like_series.grid)
        _write_nifti(regions, target, names)
        return [target, names]
    if like_series is None:
        raise MissingMetadata(
            "regions in DICOM refer to the images on which they were drawn",
            where=str(target),
            needed="like_series, the folder of the DICOM series or an image loaded from it",
            next_step="give the series, or save the regions as NIfTI",
        )
    dataset = _dicom(regions, chosen, like_series, keep_identifiers)
    with replacing_all([target]) as (stream,):
        dataset.save_as(stream, enforce_file_format=True)
    return [target]


def _kind(target: Path) -> Kind:
    name = target.name.lower()
    if name.endswith(_NIFTI):
        return "nifti"
    if not name.endswith(".dcm"):
        raise UnsupportedInput(
            "the name does not tell the format of the regions",
            where=str(target),
            needed="*.nii.gz, *.seg.dcm or *.rtstruct.dcm, or kind",
        )
    return "rtstruct" if any(word in name for word in _STRUCTURE_WORDS) else "seg"


def _dicom(
    regions: Regions,
    kind: Kind,
    like_series: PathLike | Sequence[PathLike] | Volume | Estimate,
    keep_identifiers: bool,
) -> Dataset:
    from imgtheranostics.io.dicom.source_series import SourceSeries

    series = SourceSeries.of(like_series, keep_identifiers=keep_identifiers)
    if kind == "seg":
        from imgtheranostics.io.dicom.seg_writing import segmentation

        return segmentation(regions, series)
    from imgtheranostics.io.dicom.rtstruct_writing import structure_set

    return structure_set(regions, series)


def _write_nifti(regions: Regions, image: Path, names: Path) -> None:
    labels = regions.labels
    axes: tuple[Axis, ...] = ()
    if labels.shape[3] == 1:
        labels = labels[..., 0]
    else:
        axes = (Axis("component", np.arange(labels.shape[3], dtype=np.float64), "1"),)
    known = np.isin(labels, [0, *regions.names])
    volume = Volume(np.where(known, labels, 0), regions.grid.affine, "labels", "1", axes=axes)
    content = {
        **describe(volume),
        "Labels": {str(number): name for number, name in regions.names.items()},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing_all([image, names]) as (voxels, table):
        write_nifti(volume, voxels, compressed=image.name.lower().endswith(".gz"))
        table.write(text.encode("utf-8"))
