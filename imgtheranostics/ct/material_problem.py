"""One decomposition: which unknowns, how they attenuate, how they are solved for, voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.separability import Separability
from imgtheranostics.ct.support_tables import SupportTables
from imgtheranostics.fit import FloatArray
from imgtheranostics.kernels.ct_decomposition import BLOCK, decompose_voxels
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import run_chunks

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]
Planes = Sequence[FloatArray]

_SAMPLES_PER_TASK = 1 << 18


@dataclass(frozen=True, eq=False)
class MaterialProblem:
    """Unknowns of every voxel and their attenuation.

    Attributes
    ----------
    names, units : tuple of str
    design, errors : (n_energies, n_unknowns) ndarray
        HU per unit of each unknown, with standard errors.
    correlation : (n_unknowns,) ndarray
        Of one unknown's errors at two energies.
    bounded : (n_unknowns,) ndarray of bool
        Which must not be negative.
    separability : Separability
    shares : (n_unknowns,) ndarray, optional
        What a unit of each fills of the volume, where all of it is filled.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    design: DoubleArray
    errors: DoubleArray
    correlation: DoubleArray
    bounded: BoolArray
    separability: Separability
    shares: DoubleArray | None = None

    @property
    def overdetermined(self) -> bool:
        """Whether there are residuals: more energies than unknowns, or bounds."""
        rows = self.design.shape[0] + (self.shares is not None)
        return bool(self.bounded.any()) or rows > self.design.shape[1]

    def tables(self, variances: DoubleArray) -> SupportTables:
        """How it is solved with these variances of the images."""
        return SupportTables.of(self.design, variances, self.bounded, shares=self.shares)

    def shared_variances(self, tables: SupportTables) -> DoubleArray:
        """What the square of each unknown adds to the variance of each by the errors of the slopes."""
        solver = tables.solver[:, :-1]
        spread = solver[:, np.newaxis, :] * self.errors.T[np.newaxis]
        together, apart = spread.sum(axis=2) ** 2, (spread**2).sum(axis=2)
        return np.asarray(self.correlation * together + (1.0 - self.correlation) * apart)


@dataclass(frozen=True, eq=False)
class Images:
    """What was measured, as flat planes of voxels, one per energy.

    Attributes
    ----------
    samples : sequence of (n_voxels,) ndarray
        float32, or float64, all of one type; they may lie anywhere.
    chosen : (n_voxels,) ndarray of bool
    noise : (n_energies,) ndarray
        Standard deviation of each image; NaN where it is not known.
    noise_maps, background_maps : sequence of (n_voxels,) ndarray
        One per energy, or none.
    levels : (n_energies,) ndarray
        Background of all voxels.
    saturation_hu : float
    together : (n_energies, n_voxels) ndarray, optional
        The samples in one piece, where they lie so: no part of them is copied then.
    """

    samples: Planes
    chosen: BoolArray
    noise: DoubleArray
    noise_maps: Planes = ()
    background_maps: Planes = ()
    levels: DoubleArray = field(default_factory=lambda: np.zeros(0))
    saturation_hu: float = np.inf
    together: FloatArray | None = None

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Type of samples and results."""
        return self.samples[0].dtype

    def voxels(self, first: int, last: int) -> tuple[FloatArray, int]:
        """Samples that hold the voxels [first, last), and the voxel that they begin with."""
        whole = self.together
        apart = self.background_maps or self.noise_maps
        if whole is not None and whole.flags.c_contiguous and not apart:
            return read_only(whole), 0
        return self.part(self.samples, first, last), first

    def part(self, planes: Planes, first: int, last: int) -> FloatArray:
        """Voxels [first, last) of some planes, one beside the other."""
        rows = np.empty((len(planes), last - first if planes else 0), self.dtype)
        for row, plane in zip(rows, planes, strict=True):
            row[:] = plane[first:last]
        return read_only(rows)


@dataclass(frozen=True, eq=False)
class Solution:
    """Unknowns of every voxel.

    Attributes
    ----------
    values, errors : (n_unknowns, n_voxels) ndarray
        Errors are those by noise.
    calibration : (n_unknowns, n_voxels) or (0, 0) ndarray
        Errors by the slopes, where these have errors.
    goodness : (2, n_voxels) or (0, 0) ndarray
        Root mean square residual in HU, share of the variation explained.
    flags : (n_voxels,) ndarray of uint16
    covariance : (n_unknowns, n_unknowns) ndarray
        By the noise of the images; NaN where that is not known.
    """

    values: FloatArray
    errors: FloatArray
    calibration: FloatArray
    goodness: FloatArray
    flags: FlagArray
    covariance: DoubleArray


def solve(problem: MaterialProblem, images: Images, *, workers: int | None = None) -> Solution:
    """Solve for every voxel.

    Samples weigh by the noise of their image; images without noise, or whose noise is not known, weigh the
    same. Errors come from the noise of each voxel where there are maps of it.

    Raises
    ------
    ValueError
        If some images have noise and others have none, or `workers` is below 1.
    """
    n, (n_energies, n_unknowns) = images.chosen.size, problem.design.shape
    variances = _variances(images.noise)
    tables = problem.tables(variances)
    shared = np.ascontiguousarray(problem.shared_variances(tables))
    design = np.ascontiguousarray(problem.design)
    empty = np.empty((0, 0), images.dtype)
    values, errors = np.empty((n_unknowns, n), images.dtype), np.empty((n_unknowns, n), images.dtype)
    calibration = np.empty_like(values) if shared.any() else empty
    goodness = np.empty((2, n), images.dtype) if problem.overdetermined else empty
    flags = np.empty(n, np.uint16)
    levels = np.array(images.levels if images.levels.size else np.zeros(n_energies), np.float64)
    covariance = (tables.solver[:, :-1] * images.noise**2) @ tables.solver[:, :-1].T
    deviations = np.sqrt(np.diag(covariance))
    chosen = read_only(np.ascontiguousarray(images.chosen, np.bool_).view(np.uint8))

    def task(first: int, last: int) -> None:
        samples, origin = images.voxels(first, last)
        decompose_voxels(
            samples,
            levels,
            images.part(images.background_maps, first, last),
            images.part(images.noise_maps, first, last),
            chosen,
            images.saturation_hu,
            tables.solver,
            tables.matrices,
            tables.bounds,
            design,
            deviations,
            shared,
            origin,
            first,
            last,
            values,
            errors,
            calibration,
            goodness,
            flags,
        )

    n_planes = len(images.samples) + len(images.background_maps) + len(images.noise_maps)
    run_chunks(task, n, max(1, _SAMPLES_PER_TASK // n_planes // BLOCK) * BLOCK, workers)
    return Solution(values, errors, calibration, goodness, flags, covariance)


def _variances(noise: DoubleArray) -> DoubleArray:
    """Variances to weigh images by."""
    if (noise > 0).all():
        return noise**2
    if (noise > 0).any():
        raise ValueError(
            f"the noise of all images must be above 0, or none of it known: got {noise.tolist()}"
        )
    return np.ones_like(noise)
