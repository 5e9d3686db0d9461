"""The part of an ultrasound frame that is tissue: nothing else enters a statistic; lengths are in mm there.

A frame also shows scales, colour bars, traces and text. The calibrated regions of the file say where tissue
is and in which unit; other tissue regions beside it, such as the B-mode twin of a contrast image, have to be
chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume, make_step

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

CROPPED = "crop_to_region"
"""Name of the step in the history after which the whole image is tissue."""

_TURNED = ("reorder_axes", "resample")
_MM_PER_CM = 10.0


def calibrated_regions(volume: Volume) -> tuple[Mapping[str, Any], ...]:
    """All calibrated regions of the frame, as the file lists them; none after `crop`.

    Raises
    ------
    UnsupportedInput
        If the image was turned or resampled: the regions count pixels of the file.
    """
    record = volume.acquisition
    if not isinstance(record, UltrasoundAcquisition) or not record.regions:
        return ()
    done = [step.name for step in volume.history]
    if CROPPED in done:
        return ()
    turned = next((name for name in done if name in _TURNED), None)
    if turned is not None:
        raise UnsupportedInput(
            "the image was turned or resampled, and the calibrated regions count pixels of the file",
            where=turned,
            next_step="crop the image to its tissue before (crop)",
        )
    return record.regions


def tissue_region(volume: Volume, region: int | None = None) -> Mapping[str, Any] | None:
    """The two-dimensional region in cm that is measured in; None where the file has no regions at all.

    Parameters
    ----------
    volume : Volume
    region : int, optional
        Its number in the file, from 0; needed where there are several.

    Raises
    ------
    UnitMismatch
        If the regions are not in cm.
    UnsupportedInput
        If there are several and none is chosen, or the chosen one is no tissue; the message lists them.
    """
    regions = calibrated_regions(volume)
    if not regions:
        if region is not None:
            raise UnsupportedInput(
                "the image has no calibrated regions to choose from", found=f"region {region}"
            )
        return None
    if region is not None:
        if not 0 <= region < len(regions):
            raise UnsupportedInput(
                "there is no calibrated region of that number",
                found=str(region),
                needed=f"0 to {len(regions) - 1}: {listed(regions)}",
            )
        _check_tissue(regions[region])
        return regions[region]
    found = tissue_of(regions)
    if len(found) == 1:
        return found[0]
    if found:
        raise UnsupportedInput(
            f"the frame holds {len(found)} tissue regions",
            where="SequenceOfUltrasoundRegions (0018,6011)",
            found=listed(regions),
            needed="one region to measure in",
            next_step="choose one with region= (--us-region): its number in this list",
        )
    planes = [one for one in regions if one.get("spatial_format") == "2d"]
    if planes:
        _check_tissue(planes[0])
    raise UnsupportedInput(
        "the frame holds no two-dimensional tissue region",
        where="SequenceOfUltrasoundRegions (0018,6011)",
        found=listed(regions),
        needed="spatial format 1 (2-D), unit cm",
        next_step="M-mode, spectra and graphics hold no image of tissue",
    )


def tissue_of(regions: tuple[Mapping[str, Any], ...]) -> list[Mapping[str, Any]]:
    """Distinct regions that are two-dimensional and in cm."""
    found: list[Mapping[str, Any]] = []
    for one in regions:
        if _is_tissue(one) and not any(_bounds(one) == _bounds(other) for other in found):
            found.append(one)
    return found


def _is_tissue(region: Mapping[str, Any]) -> bool:
    return bool(
        region.get("spatial_format") == "2d"
        and region.get("x_unit") == region.get("y_unit") == "cm"
        and region.get("x_delta")
        and region.get("y_delta")
    )


def _check_tissue(region: Mapping[str, Any]) -> None:
    if region.get("spatial_format") != "2d":
        raise UnsupportedInput(
            "the chosen region is no two-dimensional image",
            found=f"spatial format {region.get('spatial_format')}",
            needed="2-D",
        )
    if not _is_tissue(region):
        raise UnitMismatch(
            "the region is not measured in cm, so that lengths and areas are not known",
            where="PhysicalUnitsXDirection (0018,6024), PhysicalUnitsYDirection (0018,6026)",
            found=f"{region.get('x_unit')} and {region.get('y_unit')}, "
            f"{region.get('x_delta')} x {region.get('y_delta')} per pixel",
            needed="cm (code 3) along both directions, per pixel not 0",
        )


def listed(regions: tuple[Mapping[str, Any], ...]) -> str:
    """Regions with their numbers, for messages.

    >>> bounds = {"x0": 1, "x1": 5, "y0": 0, "y1": 9}
    >>> listed(({"spatial_format": "2d", "x_unit": "cm", "y_unit": "cm", **bounds},))
    '0: 2d, columns 1-5, rows 0-9, cm x cm'
    """
    return "; ".join(
        f"{n}: {one.get('spatial_format')}, columns {one.get('x0')}-{one.get('x1')}, "
        f"rows {one.get('y0')}-{one.get('y1')}, {one.get('x_unit')} x {one.get('y_unit')}"
        for n, one in enumerate(regions)
    )


def _bounds(region: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(region.get(name) for name in ("x0", "y0", "x1", "y1"))


def _box(region: Mapping[str, Any], shape: tuple[int, ...], *, whole: bool = False) -> tuple[slice, slice]:
    """Columns and rows of a region as far as they lie within the image; its bounds are inclusive.

    Raises
    ------
    GeometryMismatch
        If no part of it does; with `whole` also if more than the last column or row of it does not.
    """
    x0, y0, x1, y1 = _bounds(region)
    known = all(isinstance(n, int) for n in (x0, y0, x1, y1))
    inside = known and 0 <= x0 <= x1 and 0 <= y0 <= y1 and x0 < shape[0] and y0 < shape[1]
    if not inside or (whole and (x1 > shape[0] or y1 > shape[1])):
        raise GeometryMismatch(
            "the calibrated region does not lie within the image",
            where="RegionLocationMinX0 (0018,6018) to RegionLocationMaxY1 (0018,601E)",
            found=f"columns {x0}-{x1}, rows {y0}-{y1}",
            needed=f"columns 0-{shape[0] - 1}, rows 0-{shape[1] - 1}, the last ones included",
            next_step="the image was cut or resized after its calibration: its lengths are not known",
        )
    return slice(x0, min(x1, shape[0] - 1) + 1), slice(y0, min(y1, shape[1] - 1) + 1)


def tissue_mask(volume: Volume, region: int | None = None) -> BoolArray:
    """Where the frame shows tissue, (i, j, k); everywhere where the file has no regions.

    Raises
    ------
    UnsupportedInput, UnitMismatch, GeometryMismatch
        As `tissue_region`; also if the region lies outside the image.
    """
    chosen = tissue_region(volume, region)
    if chosen is None:
        return np.ones(volume.grid.shape, np.bool_, order="F")
    mask = np.zeros(volume.grid.shape, np.bool_, order="F")
    mask[_box(chosen, volume.shape)] = True
    return mask


def crop(volume: Volume, region: int | None = None) -> Volume:
    """The tissue region alone, with the pixel spacing of that region and without the text around it.

    Its first pixel keeps its place, so that regions of interest of a cropped image lie right on it.

    Raises
    ------
    MissingMetadata
        If the file has no calibrated regions.
    UnsupportedInput, UnitMismatch, GeometryMismatch
        As `tissue_region`.
    """
    chosen = tissue_region(volume, region)
    if chosen is None:
        raise _no_regions()
    columns, rows = _box(chosen, volume.shape, whole=True)
    dx, dy = spacing_mm(chosen)
    affine = np.array(volume.affine)
    affine[:3, 0] *= dx / volume.grid.spacing_mm[0]
    affine[:3, 1] *= dy / volume.grid.spacing_mm[1]
    affine[:3, 3] += affine[:3, 0] * columns.start + affine[:3, 1] * rows.start
    step = make_step(
        CROPPED,
        columns=[columns.start, columns.stop - 1],
        rows=[rows.start, rows.stop - 1],
        spacing_mm=[dx, dy],
    )
    kept = tuple(
        c for c in volume.warnings if c.code not in ("pixel-spacing-unknown", "several-tissue-regions")
    )
    data = volume.data[columns, rows]
    return volume.derived(data, volume.quantity, volume.unit, step, affine=affine, warnings=kept)


def spacing_mm(region: Mapping[str, Any]) -> tuple[float, float]:
    """Distance of columns and of rows of a tissue region; their signs are directions."""
    return abs(float(region["x_delta"])) * _MM_PER_CM, abs(float(region["y_delta"])) * _MM_PER_CM


def area_mm2(volume: Volume, rois: Regions, *, region: int | None = None) -> dict[str, float]:
    """Area of each region of interest inside the tissue, in mm2.

    Raises
    ------
    MissingMetadata
        If the pixel spacing is not known: the file has no calibrated regions.
    UnitMismatch
        If its regions are not in cm.
    UnsupportedInput
        If there are several tissue regions and none is chosen.
    GeometryMismatch
        If the calibrated region is larger than the image, which was cut or resized.
    """
    chosen = tissue_region(volume, region)
    if chosen is not None:
        _box(chosen, volume.shape, whole=True)
        dx, dy = spacing_mm(chosen)
    elif any(caution.code == "pixel-spacing-unknown" for caution in volume.warnings):
        raise _no_regions()
    else:
        dx, dy = volume.grid.spacing_mm[:2]
    inside = tissue_mask(volume, region).ravel(order="F")
    lists = rois.fit_to(volume.grid).voxel_lists()
    return {
        name: float(np.count_nonzero(inside[voxels])) * dx * dy
        for name, voxels in zip(rois, lists, strict=True)
    }


def _no_regions() -> MissingMetadata:
    return MissingMetadata(
        "the pixel spacing is not known, so that areas and lengths are not",
        where="SequenceOfUltrasoundRegions (0018,6011)",
        found="no calibrated region",
        needed="a two-dimensional region in cm",
        next_step="export the cine with its calibration; statistics in pixels need none",
    )


def voxels_in_tissue(rois: Regions, mask: BoolArray, names: list[str]) -> tuple[list[IndexArray], list[int]]:
    """Voxels of each region of interest inside the tissue, and how many others it has.

    Raises
    ------
    GeometryMismatch
        If a region has no voxel there.
    """
    inside = mask.ravel(order="F")
    kept, outside = [], []
    for name, voxels in zip(names, rois.voxel_lists(), strict=True):
        own = voxels[inside[voxels]]
        if not own.size:
            raise GeometryMismatch(
                "a region of interest lies outside the tissue of the frame",
                where=name,
                found=f"{voxels.size} pixels, none in the calibrated region",
                needed="pixels of tissue",
                next_step="draw it on the tissue, or choose another calibrated region (region=)",
            )
        kept.append(own)
        outside.append(int(voxels.size - own.size))
    return kept, outside
