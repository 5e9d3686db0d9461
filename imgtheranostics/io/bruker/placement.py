"""Where the frames of a 2dseq file lie: orientation, position, spacing, as an affine to RAS+ mm.

Visu parameters use the patient axes of DICOM whatever the subject's position in the magnet was: to the left,
to the back, to the head. Each row of VisuCoreOrientation is an image axis in them, and VisuCorePosition is
the centre of a frame's first voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.io.bruker.frame_groups import Frames
from imgtheranostics.io.bruker.parameters import Parameters
from imgtheranostics.io.dicom.geometry import (
    COSINE_TOLERANCE,
    SPACING_FLOOR_MM,
    SPACING_TOLERANCE,
    TILT_TOLERANCE,
)
from imgtheranostics.units import UNITS, conversion_factor

_FARTHEST_MM = 1e5

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Package:
    """Slices that make one volume.

    Attributes
    ----------
    affine : (4, 4) ndarray
    slices : (n,) ndarray
        Elements of the slice group, in the order of the volume; one for a 3-D frame.
    """

    affine: FloatArray
    slices: IndexArray


def read_size(visu: Parameters) -> tuple[int, ...]:
    """Voxels of one frame along each of its two or three dimensions.

    Raises
    ------
    UnsupportedInput
        If a frame is no image but a spectrum.
    CorruptInput
        If the size is not two or three whole numbers above 0.
    """
    entry = visu.entry("VisuCoreSize")
    numbers = visu.numbers("VisuCoreSize")
    if entry is None or numbers is None:
        raise visu.missing("VisuCoreSize")
    kinds = {word.strip().lower() for word in visu.words("VisuCoreDimDesc")}
    if numbers.size == 1 or kinds - {"spatial"}:
        raise UnsupportedInput(
            "the frames are spectra or time courses, not images",
            where=visu.where("VisuCoreSize"),
            found=f"{numbers.size} dimension" + ("s" if numbers.size > 1 else ""),
            needed="two or three spatial dimensions",
            next_step="choose an image reconstruction of the scan",
        )
    if numbers.size not in (2, 3) or not all(v == int(v) and 1 <= v <= 65536 for v in _finite(numbers)):
        raise CorruptInput("the frame size is not possible", where=visu.where("VisuCoreSize"))
    return tuple(int(v) for v in numbers.ravel())


def _finite(numbers: FloatArray) -> list[float]:
    return [float(v) if np.isfinite(v) else -1.0 for v in numbers.ravel()]


def read_spacing(visu: Parameters, size: Sequence[int]) -> FloatArray:
    """Distance of voxel centres along the dimensions of a frame, mm.

    Raises
    ------
    MissingMetadata, CorruptInput, UnsupportedInput
        If the extent is absent, not positive, or in a unit that is no length.
    """
    extent = visu.numbers("VisuCoreExtent")
    if extent is None:
        raise visu.missing("VisuCoreExtent")
    if extent.size != len(size) or not np.isfinite(extent).all() or (extent <= 0).any():
        raise CorruptInput(
            "the field of view is not one positive length per dimension",
            where=visu.where("VisuCoreExtent"),
            found=f"{extent.size} values",
            needed=f"{len(size)} positive lengths",
        )
    units = [word.strip().lower() for word in visu.words("VisuCoreUnits")] or ["mm"]
    if any(unit not in UNITS or UNITS[unit].dimension != "length" for unit in units):
        raise UnsupportedInput(
            "the field of view is not given in lengths",
            where=visu.where("VisuCoreUnits"),
            needed="mm",
        )
    units = units * len(size) if len(units) == 1 else units
    factors = np.array([conversion_factor(unit, "mm") for unit in units[: len(size)]])
    if factors.size != len(size):
        raise CorruptInput("the units are not one per dimension", where=visu.where("VisuCoreUnits"))
    return np.asarray(extent.ravel() * factors / np.array(size, dtype=np.float64))


def packages(visu: Parameters, frames: Frames, size: Sequence[int]) -> list[Package]:
    """The volumes that the slices of a file make up: one per orientation and slice package.

    Raises
    ------
    MissingMetadata
        If orientation or position is absent.
    CorruptInput
        If an orientation is no rotation, or the package table does not count the slices.
    GeometryMismatch
        If positions differ within a slice, or slices are uneven or askew.
    """
    spacing = read_spacing(visu, size)
    turned, places = _poses(visu, frames)
    slice_group = frames.find("FG_SLICE")
    if slice_group is None:
        _same_everywhere(visu, turned[np.newaxis], places[np.newaxis])
        return [Package(_affine(visu, turned[0], places[:1], spacing), np.zeros(1, dtype=np.intp))]
    if len(size) == 3 and frames.shape[slice_group] > 1:
        raise UnsupportedInput(
            "several three-dimensional slabs in one file are not handled",
            where=visu.where("VisuFGOrderDesc"),
            needed="one slab per file, or two-dimensional slices",
        )
    order = np.moveaxis(frames.number_of(), slice_group, 0).reshape(frames.shape[slice_group], -1)
    _same_everywhere(visu, turned[order], places[order])
    first = order[:, 0]
    return [
        _package(visu, turned[first], places[first], spacing, members)
        for members in _members(visu, turned[first])
    ]


def _poses(visu: Parameters, frames: Frames) -> tuple[FloatArray, FloatArray]:
    orientation = frames.values(visu, "VisuCoreOrientation", 9)
    position = frames.values(visu, "VisuCorePosition", 3)
    if orientation is None or position is None:
        raise visu.missing(
            "VisuCoreOrientation" if orientation is None else "VisuCorePosition",
            "without it the voxels have no place; reconstruct the scan again with its geometry",
        )
    turned = orientation.reshape(-1, 3, 3)
    if not np.isfinite(position).all() or np.abs(position).max() > _FARTHEST_MM:
        raise CorruptInput(
            "a position is no place",
            where=visu.where("VisuCorePosition"),
            needed="three finite coordinates in mm",
        )
    are_cosines = np.isfinite(turned).all() and np.abs(turned).max() < 1.1
    if not are_cosines or not (np.abs(turned @ np.swapaxes(turned, 1, 2) - np.eye(3)) < 1e-2).all():
        raise CorruptInput(
            "an orientation is no rotation",
            where=visu.where("VisuCoreOrientation"),
            needed="nine direction cosines",
        )
    return turned, position


def _same_everywhere(visu: Parameters, turned: FloatArray, places: FloatArray) -> None:
    """Frames of one slice (second axis) must lie at one place."""
    if np.ptp(places, axis=1).max() > SPACING_FLOOR_MM or np.ptp(turned, axis=1).max() > COSINE_TOLERANCE:
        raise GeometryMismatch(
            "frames of one slice lie at different places",
            where=visu.where("VisuCorePosition"),
            needed="one place for all echoes, repetitions and the like",
        )


def _members(visu: Parameters, turned: FloatArray) -> list[IndexArray]:
    """Slices by package where the file has such a table, and by orientation in any case."""
    count = len(turned)
    label = np.zeros(count, dtype=np.intp)
    table = visu.numbers_of_structs("VisuCoreSlicePacksSlices")
    if table is not None and len(table) > 1:
        if table.shape[1] != 2 or int(table[:, 1].sum()) != count:
            raise CorruptInput(
                "the slice packages do not count the slices",
                where=visu.where("VisuCoreSlicePacksSlices"),
                needed=f"{count} slices in all",
            )
        label = np.repeat(np.arange(len(table)), table[:, 1].astype(np.intp))
    classes: list[tuple[int, FloatArray]] = []
    found: list[list[int]] = []
    for n in range(count):
        for place, (number, cosines) in enumerate(classes):
            if number == label[n] and np.abs(cosines - turned[n]).max() < COSINE_TOLERANCE:
                found[place].append(n)
                break
        else:
            classes.append((int(label[n]), turned[n]))
            found.append([n])
    return [np.array(members, dtype=np.intp) for members in found]


def _package(
    visu: Parameters, turned: FloatArray, places: FloatArray, spacing: FloatArray, members: IndexArray
) -> Package:
    along = places[members] @ np.cross(turned[members[0], 0], turned[members[0], 1])
    steps = np.diff(along)
    if steps.size and not ((steps > 0).all() or (steps < 0).all()):
        members = members[np.argsort(along, kind="stable")]
    affine = _affine(visu, turned[members[0]], places[members], spacing)
    return Package(affine, members)


def _affine(visu: Parameters, turned: FloatArray, places: FloatArray, spacing: FloatArray) -> FloatArray:
    axes = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    if spacing.size == 3:
        step = axes[2] * spacing[2]
    elif len(places) == 1:
        step = axes[2] * _thickness(visu)
    else:
        step = (places[-1] - places[0]) / (len(places) - 1)
        _check_steps(visu, places, step, np.cross(axes[0], axes[1]))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = axes[0] * spacing[0], axes[1] * spacing[1], step
    affine[:3, 3] = places[0]
    affine[:2] *= -1.0  # from left and back, as DICOM and Visu have it, to right and front
    return affine + 0.0


def _thickness(visu: Parameters) -> float:
    values = visu.numbers("VisuCoreFrameThickness")
    if values is None:
        raise visu.missing("VisuCoreFrameThickness", "a single slice without thickness has no volume")
    thickness = float(values.flat[0])
    if not np.isfinite(thickness) or thickness <= 0:
        raise CorruptInput(
            "the slice thickness is not positive",
            where=visu.where("VisuCoreFrameThickness"),
            found=f"{thickness:g}",
        )
    return thickness


def _check_steps(visu: Parameters, places: FloatArray, step: FloatArray, normal: FloatArray) -> None:
    length = float(np.linalg.norm(step))
    where = visu.where("VisuCorePosition")
    if length < SPACING_FLOOR_MM:
        raise GeometryMismatch(
            "not a volume: the slices lie at identical positions", where=where, needed="slices along a normal"
        )
    regular = places[0] + np.arange(len(places))[:, np.newaxis] * step
    worst = float(np.linalg.norm(places - regular, axis=1).max())
    limit = max(SPACING_TOLERANCE * length, SPACING_FLOOR_MM)
    if worst > limit:
        raise GeometryMismatch(
            "uneven slice spacing",
            where=where,
            found=f"a slice {worst:.4g} mm off the regular grid of {length:.4g} mm",
            needed=f"every slice within {limit:.3g} mm",
            next_step="slices of several packages are not one volume; reconstruct them one by one",
        )
    if float(np.linalg.norm(np.cross(step, normal))) / length > TILT_TOLERANCE:
        raise GeometryMismatch(
            "the slices are stacked along a direction that is not their normal (non-orthogonal)",
            where=where,
            needed="slices stacked along the normal of their plane",
        )


def missing_visu(path: str) -> MissingMetadata:
    """The refusal of an image without its description."""
    return MissingMetadata(
        "the image has no visu_pars file, which alone says how its numbers are stored and scaled",
        where=path,
        needed="visu_pars beside 2dseq",
        next_step="copy the whole folder, or have ParaVision 5 or later write its visu_pars file",
    )
