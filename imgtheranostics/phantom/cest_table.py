"""Z-spectra of one tissue at the fields of many voxels, from simulations at few of them.

A shift of B0 moves the whole spectrum, and B1 changes it smoothly. So the spectrum is simulated at Chebyshev
points of both, and the voxels get the polynomials through them: more points near water, where the spectrum
is steep, than far from it. The number of points is raised until the last coefficients are small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_mcconnell import PoolSystem, PulseTrain, simulate
from imgtheranostics.errors import UnsupportedInput

FloatArray = npt.NDArray[np.float64]
Range = tuple[float, float]

TOLERANCE = 2e-7
"""Largest of the last three coefficients, as magnetisation over that at rest."""
DEGREES = ((5, 3), (8, 4), (8, 5), (12, 5), (12, 8), (20, 8), (32, 8), (32, 16), (64, 16), (128, 16))
"""Degrees along B0 and B1 that are tried one after the other."""
_NO_RANGE = 1e-12
_VOXELS_AT_ONCE = 4096


@dataclass(frozen=True)
class Saturation:
    """A block pulse at each of several offsets."""

    b1_ut: float
    duration_s: float
    offset_ppm: tuple[float, ...]

    def spectrum(self, pools: PoolSystem) -> FloatArray:
        """The Z-spectrum at nominal fields, (n,)."""
        return np.asarray(simulate(pools, self._train(self.offset_ppm)), np.float64)

    def at_fields(self, pools: PoolSystem, offset_ppm: FloatArray, relative_b1: FloatArray) -> FloatArray:
        """Simulated at other offsets and several B1, (n_b1, n_offsets)."""
        train = self._train(tuple(offset_ppm.tolist()))
        return np.asarray(simulate(pools, train, relative_b1=relative_b1), np.float64)

    def _train(self, offset_ppm: tuple[float, ...]) -> PulseTrain:
        return PulseTrain(np.array(offset_ppm), np.array([self.b1_ut]), self.duration_s)


@dataclass(frozen=True, eq=False)
class FieldTable:
    """Coefficients of a tissue's spectrum over both fields.

    Attributes
    ----------
    b0_ppm, relative_b1 : (low, high)
        Fields within which it holds.
    groups : tuple of (offset numbers, coefficients)
        Offsets whose polynomials have the same degrees, and (n_b0, n_offsets, n_b1) coefficients.
    n_offsets : int
    """

    b0_ppm: Range
    relative_b1: Range
    groups: tuple[tuple[npt.NDArray[np.int64], FloatArray], ...]
    n_offsets: int

    def __call__(self, b0_ppm: FloatArray, relative_b1: FloatArray) -> FloatArray:
        """Z-spectra at the fields of voxels, (n_voxels, n_offsets)."""
        out = np.empty((b0_ppm.size, self.n_offsets))
        x, y = _unit(b0_ppm, self.b0_ppm), _unit(relative_b1, self.relative_b1)
        for first in range(0, b0_ppm.size, _VOXELS_AT_ONCE):
            part = slice(first, first + _VOXELS_AT_ONCE)
            for numbers, coefficients in self.groups:
                n_b0, _, n_b1 = coefficients.shape
                across = _polynomials(y[part], n_b1)
                along = _polynomials(x[part], n_b0) @ coefficients.reshape(n_b0, -1)
                shaped = along.reshape(-1, numbers.size, n_b1)
                out[part, numbers] = np.einsum("vob,vb->vo", shaped, across)
        return out


@lru_cache(maxsize=512)
def field_table(pools: PoolSystem, saturation: Saturation, b0_ppm: Range, relative_b1: Range) -> FieldTable:
    """The table of a tissue.

    Parameters
    ----------
    pools : PoolSystem
    saturation : Saturation
    b0_ppm, relative_b1 : (low, high)
        Fields that occur.

    Raises
    ------
    UnsupportedInput
        If the spectrum changes too fast with the fields for a table: the transverse magnetisation of water
        outlives the pulse.
    """
    offsets = np.array(saturation.offset_ppm)
    left = np.arange(offsets.size)
    groups = []
    for degrees in DEGREES:
        n_b0, n_b1 = (
            1 if high - low < _NO_RANGE else degree + 1
            for degree, (low, high) in zip(degrees, (b0_ppm, relative_b1), strict=True)
        )
        # water at +b0 shows at an offset what it shows at offset - b0 otherwise
        wanted = offsets[left, np.newaxis] - _scaled(_nodes(n_b0), b0_ppm)
        values = saturation.at_fields(pools, wanted.ravel(), _scaled(_nodes(n_b1), relative_b1))
        values = values.reshape(n_b1, left.size, n_b0)
        coefficients = np.einsum("ij,bnj,ab->ina", _to_coefficients(n_b0), values, _to_coefficients(n_b1))
        good = _settled(coefficients)
        if good.any():
            groups.append((left[good], np.ascontiguousarray(coefficients[:, good])))
        left = left[~good]
        if not left.size:
            return FieldTable(b0_ppm, relative_b1, tuple(groups), offsets.size)
    raise UnsupportedInput(
        "the spectrum of a region changes too fast with the fields for a table",
        found=f"{left.size} offsets near {offsets[left[0]]:g} ppm, T2 of water {pools.water.t2_s:g} s",
        needed="a T2 of water that is short against the saturation",
    )


def _settled(coefficients: FloatArray) -> npt.NDArray[np.bool_]:
    """Offsets whose last coefficients along both fields are small."""
    size = np.abs(coefficients)
    good = np.ones(size.shape[1], np.bool_)
    if size.shape[0] > 1:
        good &= size[-3:].sum(axis=2).max(axis=0) < TOLERANCE
    if size.shape[2] > 1:
        good &= size[:, :, -2:].max(axis=(0, 2)) < TOLERANCE
    return good


def _nodes(n: int) -> FloatArray:
    """Chebyshev points of the first kind on -1 .. 1."""
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def _to_coefficients(n: int) -> FloatArray:
    """Matrix from values at the nodes to Chebyshev coefficients."""
    matrix = np.cos(np.pi * np.outer(np.arange(n), np.arange(n) + 0.5) / n) * 2.0 / n
    matrix[0] /= 2.0
    return matrix


def _polynomials(x: FloatArray, n: int) -> FloatArray:
    """The first Chebyshev polynomials at x, (len(x), n)."""
    return np.cos(np.arccos(np.clip(x, -1.0, 1.0))[:, np.newaxis] * np.arange(n))


def _scaled(x: FloatArray, limits: Range) -> FloatArray:
    return 0.5 * (limits[0] + limits[1]) + 0.5 * (limits[1] - limits[0]) * x


def _unit(values: FloatArray, limits: Range) -> FloatArray:
    half = 0.5 * (limits[1] - limits[0])
    if half < _NO_RANGE:
        return np.zeros_like(values)
    return (values - 0.5 * (limits[0] + limits[1])) / half
