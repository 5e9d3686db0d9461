"""A phantom on disk: images, region masks, the specification, and every expectation with its tolerance."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.atomic import output_folder
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.writing import object_kind, write_dicom
from imgtheranostics.phantom.making import Phantom
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.volume import Volume

HDF5 = "msot-h5"
FORMATS = ("dicom", "nifti", "both", HDF5)
MOST_CLASSIC_IMAGES = 50
"""MR images of a series that are still written as one file each."""


def write(
    phantom: Phantom,
    folder: Path | str,
    fmt: Literal["dicom", "nifti", "both", "msot-h5"] = "dicom",
    *,
    force: bool = False,
) -> list[Path]:
    """Write a phantom.

    The folder holds ``dicom/<name>/``, and ``nifti/<name>.nii.gz`` with BIDS sidecars (``<name>_pa.nii.gz``
    of optoacoustic images), and ``msot-h5/<name>.hdf5``;
    ``regions.nii.gz`` with names in ``regions.json`` (and ``regions_core.*`` where there are cores),
    beside DICOM images the same regions as ``regions.seg.dcm`` and ``regions.rtstruct.dcm``,
    ``truth/<name>_<quantity>.nii.gz`` and ``truth/truth.json``.

    Parameters
    ----------
    phantom : Phantom
    folder : path
        New or empty, unless `force`.
    fmt : {"dicom", "nifti", "both", "msot-h5"}
        ``msot-h5`` holds the reconstructions of optoacoustic phantoms in HDF5; ``both`` has them too where
        the phantom's file names them among its outputs.
    force : bool
        Replace files of an earlier result.

    Returns
    -------
    list of Path
        All files, sorted.

    Raises
    ------
    UnsupportedInput
        If the format is not known, or the phantom has no optoacoustic images for HDF5.
    OutputError
        If the folder is not empty or cannot be written.
    """
    if fmt not in FORMATS:
        raise UnsupportedInput("the format is not known", found=str(fmt), needed=", ".join(FORMATS))
    if fmt == HDF5:
        _check_optoacoustic(phantom)
    with output_folder(Path(folder), force=force) as temporary:
        if fmt in ("dicom", "both"):
            write_images_as_dicom(phantom, temporary / "dicom")
        if fmt in ("nifti", "both"):
            _write_nifti(phantom, temporary / "nifti")
        if fmt == HDF5 or (fmt == "both" and HDF5 in phantom.spec.outputs):
            _write_hdf5(phantom, temporary / HDF5)
        phantom.release()  # the truth maps are as large as the images
        write_regions(phantom, temporary)
        if fmt in ("dicom", "both"):
            _write_dicom_regions(phantom, temporary)
        _write_truth(phantom, temporary / "truth")
        files = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    return [Path(folder) / file for file in files]


def write_images_as_dicom(phantom: Phantom, folder: Path) -> list[Path]:
    """One DICOM folder per volume; their paths in order."""
    folder.mkdir(parents=True)
    return [write_image_as_dicom(phantom, number, folder) for number in range(len(phantom.volumes))]


def write_image_as_dicom(phantom: Phantom, number: int, folder: Path) -> Path:
    """One volume as a DICOM series in a folder of its own under `folder`; its path.

    MR series of many images become one multi-frame file. What no DICOM object holds (phase, saturation
    offsets, energy bins, magnetic particle imaging) becomes a NIfTI file in that folder.
    """
    name, volume = phantom.names[number], phantom.volumes[number]
    if not _has_dicom_object(volume):
        from imgtheranostics.io.saving import save

        (folder / name).mkdir(parents=True)
        save(volume, folder / name / f"{name}.nii.gz")
        return folder / name
    labels = Labels(
        patient_name=f"PHANTOM^{phantom.slug.upper()}",
        patient_id=f"PHANTOM-{phantom.slug}",
        description=f"{phantom.slug} level {phantom.level} {name}",
        series_number=number + 1,
        phantom=True,
    )
    images = math.prod(volume.shape[2:])
    enhanced = object_kind(volume) == "MR" and images > MOST_CLASSIC_IMAGES
    write_dicom(volume, folder / name, labels=labels, enhanced=enhanced)
    return folder / name


def _has_dicom_object(volume: Volume) -> bool:
    if volume.axis("saturation_offset") is not None:
        return False
    if volume.axis("energy") is not None and getattr(volume.acquisition, "tube_voltage_kv", None) is not None:
        return False  # bins of one tube voltage; the attributes of a series tell voltages apart, not bins
    try:
        object_kind(volume)
    except UnsupportedInput:
        return False
    return True


def truth_record(phantom: Phantom) -> dict[str, Any]:
    """Everything that ``truth.json`` says."""
    return {
        "slug": phantom.slug,
        "title": phantom.spec.title,
        "review_claim": phantom.spec.review_claim,
        "level": phantom.level,
        "volumes": list(phantom.names),
        "region_rule": (
            "voxels that lie wholly inside"
            if phantom.level < 2
            else "voxels at least half inside; <name>_core: voxels that keep 97 % of their own signal"
        ),
        "region_volumes_ml": phantom.mixture.volumes_ml(),
        "expectations": [_row(expectation) for expectation in phantom.truth],
        "specification": phantom.spec.model_dump(mode="json", exclude_none=True),
    }


def _row(expectation: Expectation) -> dict[str, Any]:
    row = asdict(expectation)
    row["places"] = [list(place) for place in expectation.places]
    if expectation.provenance == "unconfirmed":
        row["source"] = "memory"
    return {name: value for name, value in row.items() if value is not None}


def _write_nifti(phantom: Phantom, folder: Path) -> None:
    from imgtheranostics.io.saving import save

    folder.mkdir()
    for number in range(len(phantom.names)):
        save(phantom.volumes[number], folder / f"{nifti_stem(phantom, number)}.nii.gz")


def nifti_stem(phantom: Phantom, number: int) -> str:
    """Name of a volume's NIfTI file: optoacoustic ones end in _pa."""
    optoacoustic = number in _optoacoustic(phantom)
    return phantom.names[number] + ("_pa" if optoacoustic else "")


def _optoacoustic(phantom: Phantom) -> range:
    """Numbers of the optoacoustic volumes."""
    for part in parts_of(phantom.spec):
        if part.physics.modality == "MSOT":
            return range(part.first, part.first + len(part.names))
    return range(0)


def _check_optoacoustic(phantom: Phantom) -> None:
    if not _optoacoustic(phantom):
        raise UnsupportedInput(
            f"{phantom.slug} has no optoacoustic image, which the format {HDF5} is for",
            found=", ".join(phantom.spec.modalities),
            needed="MSOT",
            next_step="write it as dicom, nifti or both",
        )


def _write_hdf5(phantom: Phantom, folder: Path) -> None:
    from imgtheranostics.phantom.msot_files import write_reconstruction

    folder.mkdir()
    for number in _optoacoustic(phantom):
        write_reconstruction(phantom.volumes[number], folder / f"{phantom.names[number]}.hdf5")


def write_regions(phantom: Phantom, folder: Path) -> None:
    """``regions.nii.gz`` with its names in ``regions.json``, and ``regions_core.*`` where there are cores."""
    from imgtheranostics.io.saving import save

    regions = phantom.regions
    for layer in range(regions.labels.shape[3]):
        labels = regions.labels[..., layer]
        stem = "regions" if layer == 0 else "regions_core"
        volume = Volume(labels, regions.grid.affine, "labels", "1")
        save(volume, folder / f"{stem}.nii.gz")
        present = {n: name for n, name in regions.names.items() if (labels == n).any()}
        _name_labels(folder / f"{stem}.json", present)


def _write_dicom_regions(phantom: Phantom, folder: Path) -> None:
    """``regions.seg.dcm`` and ``regions.rtstruct.dcm`` of the first series on the grid of the regions."""
    from imgtheranostics.io.dicom.source_series import SourceSeries
    from imgtheranostics.io.regions_writing import save_rois

    grid = phantom.regions.grid
    folders = [place for name in phantom.names if any((place := folder / "dicom" / name).glob("*.dcm"))]
    if not folders:
        return
    fitting = (one for one in folders if grid.axis_match(SourceSeries.of(one).grid) is not None)
    series = next(fitting, folders[0])
    for kind in ("seg", "rtstruct"):
        save_rois(phantom.regions, folder / f"regions.{kind}.dcm", like_series=series)


def _name_labels(path: Path, names: dict[int, str]) -> None:
    from imgtheranostics.io.atomic import write_text

    content = json.loads(path.read_text(encoding="utf-8"))
    content["Labels"] = {str(number): name for number, name in names.items()}
    write_text(path, json.dumps(content, indent=2) + "\n")


def _write_truth(phantom: Phantom, folder: Path) -> None:
    from imgtheranostics.io.atomic import write_text
    from imgtheranostics.io.saving import save

    folder.mkdir()
    for number, name in enumerate(phantom.names):
        ideal = phantom.truth_map(number)
        save(ideal, folder / f"{name}_{ideal.quantity}.nii.gz")
    text = json.dumps(truth_record(phantom), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "truth.json", text + "\n")
