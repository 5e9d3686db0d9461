"""Loading regions: NIfTI label maps and masks, DICOM segmentations, RT structure sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, NothingUsable, UnsupportedInput, merge_cautions
from imgtheranostics.io.nifti import is_nifti
from imgtheranostics.io.region_layers import layered
from imgtheranostics.io.region_names import unique_names
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Grid, Volume, make_step

PathLike = str | Path


def load_rois(
    path: PathLike | Sequence[PathLike],
    like: Volume | Estimate | Grid | None = None,
    *,
    resample: bool = False,
    fractional_threshold: float = 0.5,
) -> Regions:
    """Load regions from files of any kind, told by their content.

    Parameters
    ----------
    path : path or sequence of path
        A NIfTI label map or mask, a DICOM segmentation (SEG) or an RT Structure Set (RTSTRUCT); several
        of them, or a folder with them, become one set of regions, which may overlap.
    like : Volume, Estimate or Grid, optional
        The image: the regions come on its grid. RTSTRUCT needs it, for contours have no voxels.
    resample : bool
        Take the nearest voxel (or plane of contours) where the regions lie on another grid. By default
        only another order of the voxel axes is accepted.
    fractional_threshold : float
        Where a mask or segment holds fractions, a voxel belongs to it from this value on.

    Returns
    -------
    Regions
        With the names of the file: ROIName, SegmentLabel, a JSON or TSV table beside a label map, or the
        file's own name. A region without voxels is kept, with a caution.

    Raises
    ------
    NothingUsable
        If there is no region file, or if all regions are empty.
    GeometryMismatch
        If regions lie on another grid than `like` and `resample` is not set.
    MissingMetadata
        If contours are given without `like`.
    CorruptInput, UnsupportedInput
        If a file is damaged, or holds something else.
    """
    if not 0 < fractional_threshold <= 1:
        raise ValueError(f"fractional_threshold is above 0 and at most 1, not {fractional_threshold:g}")
    grid = like if isinstance(like, Grid) or like is None else like.grid
    frame = _frame_of_reference(like)
    parts: list[Regions] = []
    for file in _files(path):
        part = _load_one(file, grid, frame, resample, fractional_threshold)
        parts.append(
            _fitted(part, grid if grid is not None else parts[0].grid if parts else None, file, resample)
        )
    regions = parts[0] if len(parts) == 1 else _merged(parts, _described(path))
    sizes = dict(zip(regions.names.values(), (voxels.size for voxels in regions.voxel_lists()), strict=True))
    if not any(sizes.values()):
        raise NothingUsable(
            "all regions are empty",
            where=_described(path),
            found=f"{len(sizes)} regions without a voxel",
            next_step="check that this is the file of the regions and that they lie in the image",
        )
    empty = [name for name, size in sizes.items() if size == 0]
    cautions = [Caution("region-empty", f"region {name!r} has no voxel", _described(path)) for name in empty]
    step = make_step("load_regions", resample=resample, fractional_threshold=fractional_threshold)
    return replace(
        regions,
        warnings=merge_cautions(regions.warnings, tuple(cautions)),
        history=(*regions.history, step),
    )


def _frame_of_reference(like: Volume | Estimate | Grid | None) -> str:
    volume = like.value if isinstance(like, Estimate) else like
    return volume.source.identifiers.get("FrameOfReferenceUID", "") if isinstance(volume, Volume) else ""


def _described(path: PathLike | Sequence[PathLike]) -> str:
    return str(path) if isinstance(path, (str, Path)) else ", ".join(str(one) for one in path)


def _files(path: PathLike | Sequence[PathLike]) -> list[Path]:
    """The region files that a path, a folder or a list of both stands for."""
    given = [Path(path)] if isinstance(path, (str, Path)) else [Path(one) for one in path]
    files: list[Path] = []
    for one in given:
        if one.is_dir():
            files += [entry for entry in sorted(one.iterdir()) if _holds_regions(entry)]
        elif one.is_file():
            files.append(one)
        else:
            raise NothingUsable("the file does not exist", where=str(one))
    if not files:
        raise NothingUsable(
            "there are no regions here",
            where=_described(path),
            needed="a NIfTI label map or mask, a DICOM segmentation or an RT Structure Set",
        )
    return list(dict.fromkeys(files))


def _holds_regions(entry: Path) -> bool:
    if entry.name.startswith(".") or not entry.is_file():
        return False
    if is_nifti(entry):
        return entry.suffix.lower() != ".img"
    from imgtheranostics.io.dicom.parsing import sop_class

    return sop_class(entry) in _dicom_classes()


def _dicom_classes() -> frozenset[str]:
    from imgtheranostics.io.dicom.rtstruct import RT_STRUCTURE_SET
    from imgtheranostics.io.dicom.seg import LABEL_MAP, SEGMENTATION

    return frozenset({RT_STRUCTURE_SET, LABEL_MAP, SEGMENTATION})


def _load_one(file: Path, grid: Grid | None, frame: str, resample: bool, threshold: float) -> Regions:
    if is_nifti(file):
        from imgtheranostics.io.label_maps import load_label_map

        return load_label_map(file, fractional_threshold=threshold)
    from imgtheranostics.io.dicom.parsing import sop_class
    from imgtheranostics.io.dicom.rtstruct import RT_STRUCTURE_SET, load_rtstruct
    from imgtheranostics.io.dicom.seg import load_seg

    kind = sop_class(file)
    if kind == RT_STRUCTURE_SET:
        return load_rtstruct(file, grid, resample=resample, frame_of_reference=frame)
    if kind in _dicom_classes():
        return load_seg(
            file, grid, resample=resample, fractional_threshold=threshold, frame_of_reference=frame
        )
    if file.stat().st_size == 0:
        from imgtheranostics.errors import CorruptInput

        raise CorruptInput("empty file", where=str(file))
    raise UnsupportedInput(
        "this file holds no regions",
        where=str(file),
        found="a DICOM object of another kind" if kind else "neither NIfTI nor DICOM",
        needed="a NIfTI label map or mask, a DICOM segmentation or an RT Structure Set",
    )


def _fitted(regions: Regions, grid: Grid | None, file: Path, resample: bool) -> Regions:
    if grid is None:
        return regions
    if resample and grid.axis_match(regions.grid) is None:
        lost = _share_outside(regions, grid)
        moved = regions.resampled(grid)
        if not lost:
            return moved
        text = f"{100 * lost:.3g} % of the voxels of the regions lie outside the image"
        return replace(moved, warnings=(*moved.warnings, Caution("regions-outside-image", text, str(file))))
    try:
        return regions.fit_to(grid)
    except GeometryMismatch as error:
        error.where = str(file)
        raise


def _share_outside(regions: Regions, grid: Grid) -> float:
    """Part of the regions' voxels whose centre lies outside `grid`."""
    total, outside = 0, 0
    extent = np.array(grid.shape) - 0.5
    for voxels in regions.voxel_lists():
        place = np.unravel_index(voxels, regions.grid.shape, order="F")
        index: npt.NDArray[np.float64] = grid.index(regions.grid.world_mm(np.stack(place, axis=-1)))
        total += voxels.size
        outside += int(((index < -0.5) | (index > extent)).any(axis=-1).sum())
    return outside / total if total else 0.0


def _merged(parts: Sequence[Regions], where: str) -> Regions:
    """All regions of several files in layers that overlap only between each other."""
    lists = [voxels for part in parts for voxels in part.voxel_lists()]
    names, renamed = unique_names(name for part in parts for name in part)
    cautions = merge_cautions(*(part.warnings for part in parts), renamed)
    merged = layered(dict(zip(names, lists, strict=True)), parts[0].grid, where=where, warnings=cautions)
    return replace(merged, history=tuple(step for part in parts for step in part.history))
