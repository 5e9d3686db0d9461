"""Calls of the kernel that goes over Z-spectra: its arguments, and results in the caller's shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.cest.spline_design import SplineDesign, design_of
from imgtheranostics.fit import FloatArray, PlanarSignal, planar
from imgtheranostics.kernels.lanes import read_only

DoubleArray = npt.NDArray[np.float64]

NORMAL_REACH = 3.09
"""What a standard normal variable exceeds once in a thousand."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """Z-spectra of one list of offsets, ready for the kernel.

    Attributes
    ----------
    planes : PlanarSignal
    offsets : OffsetList
    chosen : (n_voxels,) ndarray of bool
    design : SplineDesign
    """

    planes: PlanarSignal
    offsets: OffsetList
    chosen: npt.NDArray[np.bool_]
    design: SplineDesign = field(repr=False)

    @classmethod
    def of(
        cls,
        z: npt.ArrayLike,
        offset_ppm: npt.ArrayLike,
        mask: npt.ArrayLike | None = None,
        *,
        least: int = 2,
        purpose: str = "a Z-spectrum",
    ) -> Spectra:
        """Check and lay out; raises as `OffsetList.of` and `planar`."""
        offsets = OffsetList.of(offset_ppm, least=least, purpose=purpose)
        planes = planar(z, offsets.n, "z")
        return cls(planes, offsets, planes.chosen(mask), design_of(offsets))

    @classmethod
    def ascending(cls, samples: FloatArray, offsets: OffsetList) -> Spectra:
        """Planes (n, n_voxels) that already lie in the order of ascending offsets."""
        planes = PlanarSignal(samples, samples.shape[1:], "C")
        ordered = OffsetList(offsets.ppm, np.arange(offsets.n, dtype=np.int64))
        return cls(planes, ordered, planes.chosen(None), design_of(offsets))

    def flat(self, values: npt.ArrayLike, name: str) -> FloatArray:
        """A number or a map as one value per voxel in the type of the spectra.

        Raises
        ------
        ValueError
            If the shape does not fit, or these are no real numbers.
        """
        given = np.asarray(values)
        if given.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be real numbers, found type {given.dtype}")
        return self.planes.flat(given, name).copy()  # own memory, since the kernel may write to such an array

    def restored(self, values: npt.NDArray[np.floating]) -> FloatArray:
        """One value per voxel in the leading shape and the type of the spectra."""
        kept: FloatArray = self.planes.restored(values.astype(self.planes.samples.dtype, copy=False))
        return kept

    def restored_series(self, values: FloatArray) -> FloatArray:
        """Planes of values as (..., n_at)."""
        return values.T.reshape((*self.planes.shape, values.shape[0]), order=self.planes.order)

    @property
    def least_ratio(self) -> float:
        """Mean square about the mean over that of the noise, which noise alone exceeds once in a thousand."""
        return _reach(self.offsets.n - 1, degrees_of_noise(self.offsets.n))

    @property
    def least_ratio_known(self) -> float:
        """The same for a noise level that is given."""
        return _reach(self.offsets.n - 1, math.inf)


def degrees_of_noise(n: int) -> float:
    """Degrees of freedom with which the noise of n samples is estimated: it scatters as such a one."""
    return max(1.0, 0.25 * (n - 4))


def _reach(freedom: float, of_noise: float) -> float:
    """Ratio of two mean squares that equal ones exceed about once in a thousand, from its logarithm."""
    return math.exp(NORMAL_REACH * math.sqrt(2.0 / freedom + 2.0 / of_noise))


def _of_two_types(planes: FloatArray, writable: bool = False) -> tuple[FloatArray, FloatArray]:
    """Planes in the place of their type, so that the kernel is compiled once for both."""
    single, double = np.empty((0, 0), np.float32), np.empty((0, 0), np.float64)
    pair = (planes, double) if planes.dtype == np.float32 else (single, planes)
    return pair if writable else (read_only(pair[0]), read_only(pair[1]))


def _row(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _of_two_types(values[np.newaxis], True)


@dataclass(frozen=True, eq=False)
class Measured:
    """What the kernel gives, flat: (n_voxels,) or (n_at, n_voxels)."""

    noise: FloatArray
    b0: FloatArray
    b0_error: FloatArray
    values: FloatArray
    factors: FloatArray
    slopes: FloatArray
    flags: npt.NDArray[np.uint16]


def measure(
    spectra: Spectra,
    *,
    b0: FloatArray | None = None,
    noise: FloatArray | None = None,
    find_noise: bool = False,
    find_b0: bool = False,
    at: DoubleArray | None = None,
    mirror: bool = False,
    errors: bool = False,
    workers: int | None = None,
) -> Measured:
    """Run the kernel.

    Parameters
    ----------
    spectra : Spectra
    b0, noise : (n_voxels,) ndarray, optional
        Given; without them 0, and found where `find_b0` needs it.
    find_noise, find_b0 : bool
    at : (n_at,) ndarray, optional
        Offsets from water at which to evaluate.
    mirror : bool
        The value at -at less that at +at.
    errors : bool
        With factors of variance and slopes.
    workers : int, optional
        Threads.
    """
    from imgtheranostics.kernels import z_spectra as kernels
    from imgtheranostics.kernels.threads import thread_limit

    n_voxels, dtype = spectra.planes.n_voxels, spectra.planes.samples.dtype
    design = spectra.design
    ratio = spectra.least_ratio_known if noise is not None else spectra.least_ratio
    estimate = find_noise or (find_b0 and noise is None)
    if estimate and design.differences.shape[0] < 2:
        estimate, noise = False, np.full(n_voxels, np.nan, dtype)
    level = np.empty(n_voxels, dtype) if noise is None else noise
    place = np.empty(n_voxels, dtype) if find_b0 else (np.zeros(n_voxels, dtype) if b0 is None else b0)
    place_error = np.empty(n_voxels if find_b0 else 0, dtype)
    at = np.empty(0) if at is None else at
    values = np.empty((at.size, n_voxels), dtype)
    shape = (at.size, n_voxels) if errors else (0, 0)
    factors, slopes = np.empty(shape, dtype), np.empty(shape, dtype)
    flags = np.empty(n_voxels, np.uint16)
    todo = kernels.NOISE * estimate + kernels.B0 * find_b0
    todo += kernels.VALUES * (at.size > 0) + kernels.ERRORS * (errors and at.size > 0)
    none = np.empty((0, 0))
    gram = design.gram if errors else none
    sensitivity = design.sensitivity if find_b0 else none
    with thread_limit(workers):
        kernels.measure_spectra(
            _of_two_types(spectra.planes.samples),
            spectra.offsets.order,
            read_only(spectra.chosen),
            int(todo),
            design.grid,
            (design.sweep, design.differences, design.bends, sensitivity, gram, ratio),
            at,
            bool(mirror),
            (*_row(level), *_row(place), *_row(place_error)),
            (*_of_two_types(values, True), *_of_two_types(factors, True), *_of_two_types(slopes, True)),
            flags,
        )
    return Measured(level, place, place_error, values, factors, slopes, flags)
