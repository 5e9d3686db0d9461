"""Where the detectors of an optoacoustic scanner are, which way they face, and which of them can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    CorruptInput,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import FloatArray

SMALLEST_ARRAY_MM = 1.0
"""A smaller array is one whose positions are in metres."""

FEWEST_DETECTORS = 3

_FLAT = 1e-3
"""Extent across a line or plane, relative to that along it, of detectors that lie on it."""

_ROUND = 0.02
"""Largest deviation from a circle or sphere, relative to its radius, of detectors that lie on it."""


@dataclass(frozen=True, eq=False)
class DetectorArray:
    """The detectors that a reconstruction uses.

    Attributes
    ----------
    used : (m,) int
        Indices into the detectors of the signals.
    positions_mm : (m, 3)
    centre_mm : (3,) or None
        Centre of curvature; None for arrays that are neither on a circle nor on a sphere.
    radius_mm : float or None
    axis : (3,) or None
        Unit normal of the plane that all detectors lie in; None where they lie on a line or fill space.
    cautions : tuple of Caution
    """

    used: npt.NDArray[np.int64]
    positions_mm: FloatArray
    centre_mm: FloatArray | None
    radius_mm: float | None
    axis: FloatArray | None
    cautions: tuple[Caution, ...] = ()

    @property
    def in_transverse_plane(self) -> bool:
        """Whether the detectors lie on a circle in a plane of constant z."""
        return self.axis is not None and self.radius_mm is not None and abs(float(self.axis[2])) > 1 - _FLAT

    @property
    def shape(self) -> str:
        """The form of the array: ``ring``, ``sphere`` or ``other``."""
        if self.radius_mm is None:
            return "other"
        return "sphere" if self.axis is None else "ring"

    def normals(self, towards_mm: npt.ArrayLike) -> FloatArray:
        """Unit normals of the detectors' faces.

        Detectors on a circle or sphere face its centre; those on a line or plane face `towards_mm`.

        Parameters
        ----------
        towards_mm : (3,) array_like
            Centre of the image.

        Returns
        -------
        (m, 3) ndarray

        Raises
        ------
        MissingMetadata
            If the positions do not tell which way the detectors face.
        """
        if self.centre_mm is not None:
            inwards = self.centre_mm - self.positions_mm
            return np.asarray(inwards / np.linalg.norm(inwards, axis=1, keepdims=True))
        middle = self.positions_mm.mean(axis=0)
        across = np.asarray(towards_mm, dtype=np.float64) - middle
        if self.axis is not None:
            across = self.axis * (self.axis @ across)
        elif _rank(self.positions_mm) == 1:
            along = np.linalg.svd(self.positions_mm - middle, full_matrices=False)[2][0]
            across = across - along * (along @ across)
        else:
            across = np.zeros(3)
        length = float(np.linalg.norm(across))
        if length < _FLAT * float(np.ptp(self.positions_mm, axis=0).max()):
            raise MissingMetadata(
                "the positions of the detectors do not tell which way they face",
                where="detector_positions_mm",
                needed="detectors on a circle or sphere, or on a line or plane beside the image",
                next_step="use method='delay_and_sum', which needs no direction",
            )
        return np.tile(across / length, (len(self.positions_mm), 1))


def detector_array(signals: OptoacousticSignals) -> DetectorArray:
    """The detectors of a scan that hold a signal, and the circle or sphere that they lie on.

    Detectors with a sample that is not finite, or whose signal never changes, are left out with a caution.

    Raises
    ------
    MissingMetadata
        If the positions are not stated.
    ImplausibleValue
        If positions are not finite or coincide.
    UnitMismatch
        If the whole array is smaller than a millimetre, as it is when positions are in metres.
    CorruptInput
        If fewer than three detectors hold a signal.
    """
    positions = checked_positions(signals)
    finite, alive = np.ones(len(positions), bool), np.zeros(len(positions), bool)
    for image in signals.samples.reshape(-1, *signals.samples.shape[2:]):
        lowest, highest = image.min(axis=1), image.max(axis=1)
        finite &= np.isfinite(lowest) & np.isfinite(highest)
        alive |= highest > lowest
    used = np.flatnonzero(finite & alive)
    if used.size < FEWEST_DETECTORS:
        raise CorruptInput(
            "too few detectors hold a signal",
            where="samples",
            found=f"{used.size} of {len(positions)}",
            needed=f"at least {FEWEST_DETECTORS}",
        )
    cautions = []
    if not finite.all():
        message = f"{np.count_nonzero(~finite)} detectors with samples that are not finite are left out"
        cautions.append(Caution("detectors-left-out", message, "samples"))
    silent = finite & ~alive
    if silent.any():
        message = f"{np.count_nonzero(silent)} detectors whose signal never changes are left out"
        cautions.append(Caution("detectors-left-out", message, "samples"))
    centre, radius, axis = _curvature(positions)
    return DetectorArray(used, positions[used], centre, radius, axis, tuple(cautions))


def checked_positions(signals: OptoacousticSignals) -> FloatArray:
    """Positions of all detectors in mm, or the refusal; see `detector_array`."""
    positions = signals.detector_positions_mm
    if positions is None:
        raise MissingMetadata(
            "the positions of the detectors are not stated",
            where="detector_positions_mm",
            needed="x, y and z of every detector in mm",
            next_step="set them with signals.replace(detector_positions_mm=...)",
        )
    if not np.isfinite(positions).all():
        raise ImplausibleValue("positions of detectors are not finite", where="detector_positions_mm")
    extent = float(np.ptp(positions, axis=0).max())
    if extent == 0.0:
        raise ImplausibleValue("all detectors are at one place", where="detector_positions_mm")
    if extent < SMALLEST_ARRAY_MM:
        raise UnitMismatch(
            "the array of detectors is smaller than any scanner's",
            where="detector_positions_mm",
            found=f"{extent:.3g} mm across",
            needed="positions in mm",
            next_step="multiply them by 1000 if they are in metres",
        )
    return positions


def _rank(positions: FloatArray) -> int:
    """How many dimensions the positions fill: 1 for a line, 2 for a plane, 3 for space."""
    extents = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    return int(np.count_nonzero(extents > _FLAT * extents[0]))


def _curvature(positions: FloatArray) -> tuple[FloatArray | None, float | None, FloatArray | None]:
    """Centre and radius of the circle or sphere through the detectors, and the normal of their plane.

    The centre solves |p - c|^2 = r^2, which is linear in c and r^2 - |c|^2.
    """
    rank = _rank(positions)
    if rank == 1:
        return None, None, None
    middle = positions.mean(axis=0)
    directions = np.linalg.svd(positions - middle, full_matrices=False)[2]
    flat = (positions - middle) @ directions[:rank].T
    axis = directions[2] * (1.0 if directions[2][np.argmax(np.abs(directions[2]))] > 0 else -1.0)
    if rank == 3:
        axis = None
    if len(positions) <= rank + 1:
        return None, None, axis
    design = np.column_stack([2 * flat, np.ones(len(flat))])
    solution = np.linalg.lstsq(design, (flat**2).sum(axis=1), rcond=None)[0]
    squared = float(solution[rank] + (solution[:rank] ** 2).sum())
    if squared <= 0:
        return None, None, axis
    radius = float(np.sqrt(squared))
    distances = np.linalg.norm(flat - solution[:rank], axis=1)
    if np.abs(distances - radius).max() > _ROUND * radius:
        return None, None, axis
    return np.asarray(middle + solution[:rank] @ directions[:rank]), radius, axis


def check_image_grid(array: DetectorArray, low_mm: FloatArray, high_mm: FloatArray) -> None:
    """Refuse an image that reaches the detectors, where back-projection diverges.

    Parameters
    ----------
    array : DetectorArray
    low_mm, high_mm : (3,) ndarray
        First and last voxel centres.

    Raises
    ------
    GeometryMismatch
    """
    nearest, _ = distance_range(array, low_mm, high_mm)
    if nearest < SMALLEST_ARRAY_MM:
        raise GeometryMismatch(
            "the image reaches the detectors",
            found=f"a detector {nearest:.3g} mm from the nearest pixel",
            needed=f"at least {SMALLEST_ARRAY_MM:g} mm",
            next_step="choose a smaller shape or pixel_mm, or another centre_mm",
        )


def distance_range(array: DetectorArray, low_mm: FloatArray, high_mm: FloatArray) -> tuple[float, float]:
    """Smallest and largest distance between a detector and a point of the box, in mm."""
    positions = array.positions_mm
    nearest = np.linalg.norm(positions - np.clip(positions, low_mm, high_mm), axis=1)
    furthest = np.linalg.norm(np.maximum(positions - low_mm, high_mm - positions), axis=1)
    return float(nearest.min()), float(furthest.max())
