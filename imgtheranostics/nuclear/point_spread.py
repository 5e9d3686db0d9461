"""The resolution of an image as a Gaussian along its voxel axes, and blurring with it.

Beyond the field of view the image goes on as its mirror image: a uniform one stays as it is, the total stays
what it was, and the blur is its own transpose, which iterative methods rely on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.regions import FWHM_PER_SD, SIZE_UNKNOWN
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

LEAST_RECOVERY = 0.1
"""Below it a correction multiplies every error more than tenfold and is refused."""

Width = float | Sequence[float]

_REACH_SD = 5.0
_RIGHT_ANGLE = 1e-3


@dataclass(frozen=True, eq=False)
class PointSpread:
    """A Gaussian blur along the three voxel axes.

    Attributes
    ----------
    fwhm_mm : tuple of float
        Full width at half maximum along i, j and k.
    kernels : tuple of ndarray
        Weights of an odd number of voxels per axis, which add up to one.
    voxel_mean : bool
        Whether what is blurred are means over voxels, whose own width is then part of the resolution.
    """

    fwhm_mm: tuple[float, float, float]
    kernels: tuple[FloatArray, FloatArray, FloatArray]
    voxel_mean: bool = False

    @classmethod
    def of(cls, v: Volume, fwhm_mm: Width, *, voxel_mean: bool = False) -> Self:
        """The blur on the grid of an image.

        Parameters
        ----------
        v : Volume
        fwhm_mm : float or 3 floats
            Resolution of the image, to which the averaging over a voxel contributes; along i, j and k.
        voxel_mean : bool
            What will be blurred are means over voxels: a voxel of width h is itself a blur of variance
            h^2 / 12, which is taken off.

        Raises
        ------
        ValueError
            If the width is not one positive number, or three.
        ImplausibleValue
            If it is less than that of a voxel.
        GeometryMismatch
            If the voxels are no right-angled boxes.
        MissingMetadata
            If nobody knows the size of the voxels.
        UnsupportedInput
            If the voxels are labels or flags.
        """
        check_image(v)
        widths = _three(fwhm_mm)
        kernels = []
        for width, spacing, n in zip(widths, v.grid.spacing_mm, v.grid.shape, strict=True):
            variance = (width / FWHM_PER_SD / spacing) ** 2
            if variance < 1 / 12 and n > 1:
                raise ImplausibleValue(
                    "the point spread is narrower than a voxel alone makes it",
                    where="psf_fwhm_mm",
                    found=f"{width:g} mm with voxels of {spacing:g} mm",
                    needed=f"at least {FWHM_PER_SD * spacing / math.sqrt(12):.3g} mm",
                    next_step="give the resolution as measured in such images, in mm",
                )
            kernels.append(gaussian(max(variance - 1 / 12, 0.0) if voxel_mean else variance))
        return cls(widths, (kernels[0], kernels[1], kernels[2]), voxel_mean)

    @property
    def reach(self) -> tuple[int, int, int]:
        """Voxels to each side that the blur reaches, per axis."""
        i, j, k = (kernel.size // 2 for kernel in self.kernels)
        return i, j, k

    @property
    def power(self) -> float:
        """Sum of the squared weights: the variance that is left of that of independent voxels."""
        return math.prod(float(np.sum(kernel**2)) for kernel in self.kernels)

    @property
    def mean_fwhm_mm(self) -> float:
        """Geometric mean of the widths."""
        return math.prod(self.fwhm_mm) ** (1 / 3)

    def blur(self, image: npt.NDArray[Any]) -> Float32Array:
        """The image after the blur, (i, j, k), float32."""
        from scipy.ndimage import correlate1d

        out = image
        for axis, kernel in enumerate(self.kernels):
            if out.shape[axis] > 1 and kernel.size > 1:
                out = correlate1d(out, kernel, axis=axis, mode="reflect", output=np.float32)
        return np.asarray(out, np.float32)

    def decision(self) -> dict[str, Any]:
        """How it was applied, for the record."""
        taken_off = "h^2/12 of the voxel" if self.voxel_mean else "nothing"
        return {
            "rule": "Gaussian",
            "fwhm_mm": list(self.fwhm_mm),
            "taken_off": taken_off,
            "beyond_field": "mirrored",
        }


def gaussian(variance: float) -> FloatArray:
    """Weights of a sampled Gaussian of exactly this variance in voxels, also where it is narrow.

    From a standard deviation of 0.7 voxels on they are the plain samples; below, samples would be too narrow.

    >>> gaussian(0.0).tolist()
    [1.0]
    """
    if variance < 1e-6:
        return np.ones(1)
    n = math.ceil(_REACH_SD * math.sqrt(max(variance, 0.25)))
    squares = np.arange(-n, n + 1, dtype=np.float64) ** 2

    def sampled(width: float) -> FloatArray:
        weights = np.exp(-0.5 * squares / width)
        return np.asarray(weights / weights.sum())

    if variance >= 0.7:
        return sampled(variance)
    low, high = 1e-3, variance + 0.2
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sampled(middle) @ squares < variance else (low, middle)
    return sampled(high)


def _three(fwhm_mm: Width) -> tuple[float, float, float]:
    given = np.asarray(fwhm_mm, np.float64)
    if given.shape not in ((), (3,)) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"a width in mm must be one positive number or three, not {fwhm_mm!r}")
    i, j, k = np.broadcast_to(given, (3,)).tolist()
    return i, j, k


def check_image(v: Volume) -> None:
    """Refuse labels, voxels of unknown size, and such as are no right-angled boxes."""
    if QUANTITIES[v.quantity].dtype != "float32":
        raise UnsupportedInput(
            "partial volume is corrected in images of a quantity", found=v.quantity, needed="no labels"
        )
    if any(caution.code in SIZE_UNKNOWN for caution in v.warnings):
        raise MissingMetadata(
            "the size of the voxels is not known, so the point spread cannot be placed on them",
            needed="spacing in mm along all axes",
            next_step="convert the image with its true spacing first",
        )
    axes = v.affine[:3, :3] / np.array(v.grid.spacing_mm)
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > _RIGHT_ANGLE:
        raise GeometryMismatch(
            "the voxels are not right-angled boxes, along which a point spread is given",
            found=f"axes {np.degrees(np.arcsin(min(skew, 1.0))):.2g} degrees off",
            needed="a right-angled grid",
            next_step="resample the image to a right-angled grid first",
        )
