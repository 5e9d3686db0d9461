"""The pixels of a reconstruction in the scanner's frame of reference, and where they lie in RAS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.msot.detector_array import DetectorArray
from imgtheranostics.volume import FloatArray

PIXEL_MM = 0.075
"""Half of the in-plane resolution of arrays around 5 MHz."""

LEAST_PIXEL_MM = 1e-3
"""A smaller pixel is one in metres: sound that reaches the detectors has wavelengths of 0.1 mm and more."""

PIXELS = 333
"""Pixels along each side of the image by default: 25 mm, a mouse."""

SLICE_THICKNESS_MM = 1.0
"""Elevational resolution of focused ring arrays, 0.8 to 1 mm, for the volume of a pixel of a single slice."""

_DIRECTIONS = {"R": (0, 1.0), "L": (0, -1.0), "A": (1, 1.0), "P": (1, -1.0), "S": (2, 1.0), "I": (2, -1.0)}


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Pixels along the scanner's own axes.

    Attributes
    ----------
    pixel_mm : float
    shape : (nx, ny, nz)
    centre_mm : (3,)
        Middle of the image in the frame of reference of the detectors.
    """

    pixel_mm: float
    shape: tuple[int, int, int]
    centre_mm: FloatArray

    def coordinates(self, axis: int) -> FloatArray:
        """Pixel centres along an axis of the scanner, in mm."""
        n = self.shape[axis]
        return np.asarray(self.centre_mm[axis] + (np.arange(n) - (n - 1) / 2) * self.pixel_mm)

    @property
    def low_mm(self) -> FloatArray:
        """First pixel."""
        return np.array([self.coordinates(axis)[0] for axis in range(3)])

    @property
    def high_mm(self) -> FloatArray:
        """Last pixel."""
        return np.array([self.coordinates(axis)[-1] for axis in range(3)])

    @property
    def points_mm(self) -> FloatArray:
        """All pixel centres (n, 3), x fastest."""
        z, y, x = np.meshgrid(*(self.coordinates(axis) for axis in (2, 1, 0)), indexing="ij")
        return np.column_stack([x.ravel(), y.ravel(), z.ravel()])

    def affine(self, orientation: str, slice_mm: float, stage_mm: float) -> FloatArray:
        """Pixel indices to RAS mm.

        Parameters
        ----------
        orientation : str
            Where the scanner's +x, +y and +z point to, as three letters.
        slice_mm : float
            Distance of slices.
        stage_mm : float
            Position of the stage along z, of the first slice.
        """
        scanner = np.diag([self.pixel_mm, self.pixel_mm, slice_mm, 1.0])
        scanner[:3, 3] = self.low_mm
        scanner[2, 3] += stage_mm
        return np.asarray(ras_from_scanner(orientation) @ scanner)


def ras_from_scanner(orientation: str) -> FloatArray:
    """Rotation or reflection from the scanner's axes to RAS, from three letters such as ``LPS``."""
    letters = orientation.upper()
    if len(letters) != 3 or any(letter not in _DIRECTIONS for letter in letters):
        raise ValueError(f"orientation must be three letters of R L A P S I, found {orientation!r}")
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for column, letter in enumerate(letters):
        row, sign = _DIRECTIONS[letter]
        matrix[row, column] = sign
    if abs(np.linalg.det(matrix)) != 1.0:
        raise ValueError(f"orientation must name three different directions, found {orientation!r}")
    return matrix


def image_grid(
    array: DetectorArray,
    *,
    pixel_mm: float,
    shape: tuple[int, ...] | None,
    centre_mm: npt.ArrayLike | None,
) -> ImageGrid:
    """The pixels that were asked for, about the centre of curvature of the detectors where none is given.

    Raises
    ------
    ValueError
        If pixel size, shape or centre are none, or are needed because the detectors are no ring around z.
    ImplausibleValue
        If pixels are so small that their size must be in metres.
    """
    if not (np.isfinite(pixel_mm) and pixel_mm > 0):
        raise ValueError(f"pixel_mm must be positive, found {pixel_mm}")
    if pixel_mm < LEAST_PIXEL_MM:
        raise ImplausibleValue(
            "pixels are far smaller than what sound can resolve",
            where="pixel_mm",
            found=f"{pixel_mm:g} mm",
            needed=f"{LEAST_PIXEL_MM:g} mm at least",
            next_step="multiply it by 1000 if it is in metres",
        )
    if shape is None:
        if not array.in_transverse_plane:
            raise ValueError("shape is needed: the detectors do not lie on a ring around the z axis")
        shape = (PIXELS, PIXELS)
    asked = tuple(np.atleast_1d(shape))
    counts = tuple(int(n) for n in asked)
    if len(counts) == 2:
        counts = (*counts, 1)
    if len(counts) != 3 or min(counts) < 1 or counts != (*asked, 1)[:3]:
        raise ValueError(f"shape must be two or three positive whole numbers, found {shape}")
    if centre_mm is not None:
        centre = np.asarray(centre_mm, dtype=np.float64)
    elif array.centre_mm is not None:
        centre = array.centre_mm
    else:
        raise ValueError("centre_mm is needed: the detectors lie neither on a circle nor on a sphere")
    if centre.shape != (3,) or not np.isfinite(centre).all():
        raise ValueError("centre_mm must be x, y and z in mm")
    return ImageGrid(float(pixel_mm), (counts[0], counts[1], counts[2]), centre)
