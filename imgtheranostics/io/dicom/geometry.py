"""Slices into a stack: sorted along their normal, checked hard, never resampled into an invented grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.io.dicom.frames import Frame

FloatArray = npt.NDArray[np.float64]

SPACING_TOLERANCE = 0.02
"""Largest deviation of a slice from the best regular grid, as a part of the spacing."""

SPACING_FLOOR_MM = 0.01
TILT_TOLERANCE = 1e-3
"""Largest sine of the angle between the slice step and the slice normal."""

COSINE_TOLERANCE = 2e-4
SMALLEST_VOLUME = 3
"""Slices of a volume; two cannot show whether their spacing is regular."""

_NEXT = "check that the export is complete; a stack that is not regular is not loaded"


@dataclass(frozen=True, slots=True)
class Stack:
    """Sorted planes.

    Attributes
    ----------
    affine : (4, 4) ndarray
        Voxel index (column, row, slice) to RAS+ mm.
    members : list of ndarray
        For each slice, the indices of the frames at its position.
    largest_deviation_mm : float
        Largest distance of a slice from the regular grid, along the normal.
    """

    affine: FloatArray
    members: list[npt.NDArray[np.intp]]
    largest_deviation_mm: float


def orientation_classes(frames: Sequence[Frame]) -> npt.NDArray[np.intp]:
    """A number per frame: equal where row and column directions are equal."""
    classes: list[FloatArray] = []
    known: dict[tuple[float, ...] | None, int] = {}
    labels = np.zeros(len(frames), dtype=np.intp)
    for n, frame in enumerate(frames):
        label = known.get(frame.orientation)
        if label is None:
            cosines = np.array(frame.orientation if frame.orientation else np.zeros(6))
            label = next(
                (k for k, other in enumerate(classes) if np.abs(cosines - other).max() < COSINE_TOLERANCE),
                len(classes),
            )
            if label == len(classes):
                classes.append(cosines)
            known[frame.orientation] = label
        labels[n] = label
    return labels


def stack(frames: Sequence[Frame], thickness_mm: float | None, where: str) -> Stack:
    """Sort planes of one orientation and spacing along their normal and check that they are regular.

    Parameters
    ----------
    frames : sequence of Frame
        One or more per position.
    thickness_mm : float or None
        Slice thickness, used as the spacing of a single slice only.
    where : str
        What the messages name.

    Raises
    ------
    GeometryMismatch
        For identical positions, uneven spacing or a missing slice, gantry tilt, too few slices, or slices
        that do not lie on one line.
    """
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    cosines = _orthonormal(np.array(frames[0].orientation, dtype=np.float64))
    normal = np.cross(cosines[0], cosines[1])
    distance = positions @ normal
    members = _clusters(distance)
    n_slices = len(members)
    places = np.array([positions[m].mean(axis=0) for m in members])
    _check_within_clusters(positions, members, where)
    row_spacing, column_spacing = frames[0].spacing or (1.0, 1.0)
    deviation = 0.0
    if n_slices == 1:
        step = normal * (thickness_mm or 1.0)
    else:
        if n_slices < SMALLEST_VOLUME:
            raise GeometryMismatch(
                "too few slices for a volume",
                where=where,
                found=f"{n_slices} slices",
                needed=f"one slice, or at least {SMALLEST_VOLUME} that show their spacing",
                next_step=_NEXT,
            )
        deviation = _check_even(distance, members, where)
        step = (places[-1] - places[0]) / (n_slices - 1)
        _check_straight(places, step, normal, min(row_spacing, column_spacing), where)
    affine = np.eye(4)
    affine[:3, 0] = cosines[0] * column_spacing
    affine[:3, 1] = cosines[1] * row_spacing
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    affine[:2] *= -1.0  # LPS to RAS
    return Stack(affine + 0.0, members, deviation)


def _orthonormal(cosines: FloatArray) -> FloatArray:
    """Row and column as unit vectors; the rounding of decimal strings is taken out of their length only."""
    pair = cosines.reshape(2, 3)
    return np.asarray(pair / np.linalg.norm(pair, axis=1, keepdims=True))


def _clusters(distance: FloatArray) -> list[npt.NDArray[np.intp]]:
    """Frame indices per slice, slices by increasing distance along the normal."""
    order = np.argsort(distance, kind="stable")
    gaps = np.diff(distance[order])
    real = gaps[gaps > 1e-5]
    tolerance = min(SPACING_FLOOR_MM, 0.05 * float(np.median(real))) if real.size else SPACING_FLOOR_MM
    return np.split(order, np.flatnonzero(gaps > tolerance) + 1)


def _check_within_clusters(positions: FloatArray, members: list[npt.NDArray[np.intp]], where: str) -> None:
    for number, indices in enumerate(members):
        if len(indices) > 1:
            spread = float(np.ptp(positions[indices], axis=0).max())
            if spread > SPACING_FLOOR_MM:
                raise GeometryMismatch(
                    "images at one distance along the normal lie beside each other: no single stack",
                    where=where,
                    found=f"slice {number} has images {spread:.4g} mm apart in its plane",
                    needed="one position per slice",
                    next_step=_NEXT,
                )


def _check_even(distance: FloatArray, members: list[npt.NDArray[np.intp]], where: str) -> float:
    places = np.array([distance[m].mean() for m in members])
    residual, spacing = _best_grid(places)
    limit = max(SPACING_TOLERANCE * spacing, SPACING_FLOOR_MM)
    worst = float(np.abs(residual).max())
    if worst <= limit:
        return worst
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > max(SPACING_TOLERANCE * usual, SPACING_FLOOR_MM))
    listed = ", ".join(f"{n} to {n + 1} ({gaps[n]:.4g} mm)" for n in odd[:8])
    raise GeometryMismatch(
        "uneven slice spacing: a slice is missing or out of place",
        where=where,
        found=f"usual spacing {usual:.4g} mm, but from slice {listed}" + (" ..." if odd.size > 8 else ""),
        needed=f"every slice within {limit:.3g} mm of a regular grid",
        next_step=_NEXT,
    )


def _best_grid(places: FloatArray) -> tuple[FloatArray, float]:
    """Deviation from the regular grid that fits best in the largest deviation, and its spacing.

    The deviations from the least-squares line are moved towards the minimax line by a few steps of
    reweighting (Lawson), so that a joint between bed positions is not held against the whole stack.
    """
    index = np.arange(places.size, dtype=np.float64)
    weights = np.full(places.size, 1.0 / places.size)
    best_residual, best_slope = _line(index, places, weights)
    residual = best_residual
    for _ in range(20):
        weighted = weights * np.abs(residual)
        total = float(weighted.sum())
        if total <= 1e-300 or np.count_nonzero(weighted) < 3:
            break
        weights = weighted / total
        residual, slope = _line(index, places, weights)
        if np.abs(residual).max() < np.abs(best_residual).max():
            best_residual, best_slope = residual, slope
    return best_residual, best_slope


def _line(index: FloatArray, places: FloatArray, weights: FloatArray) -> tuple[FloatArray, float]:
    mean_i, mean_p = np.sum(weights * index), np.sum(weights * places)
    centred = index - mean_i
    slope = float(np.sum(weights * centred * places) / np.sum(weights * centred * centred))
    return np.asarray(places - mean_p - slope * centred), slope


def _check_straight(
    places: FloatArray, step: FloatArray, normal: FloatArray, pixel_mm: float, where: str
) -> None:
    sine = float(np.linalg.norm(np.cross(step, normal)) / np.linalg.norm(step))
    if sine > TILT_TOLERANCE:
        raise GeometryMismatch(
            "gantry tilt: the slices are stacked along a direction that is not their normal (non-orthogonal)",
            where=where,
            found=f"{np.degrees(np.arcsin(min(sine, 1.0))):.3g} degrees between slice step and normal",
            needed="slices stacked along the normal of their plane",
            next_step="resample the series to an orthogonal grid first",
        )
    line = places[0] + np.arange(len(places))[:, np.newaxis] * step
    offset = places - line
    sideways = np.linalg.norm(offset - (offset @ normal)[:, np.newaxis] * normal, axis=1)
    limit = max(SPACING_TOLERANCE * pixel_mm, SPACING_FLOOR_MM)
    if sideways.max() > limit:
        raise GeometryMismatch(
            "the slices do not lie on one line",
            where=where,
            found=f"slice {int(sideways.argmax())} lies {sideways.max():.4g} mm beside it",
            needed=f"at most {limit:.3g} mm",
            next_step=_NEXT,
        )
