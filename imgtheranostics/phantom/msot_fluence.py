"""Light in an optoacoustic phantom: how bright it is at each voxel, over its brightness at the surface.

Levels 0 and 1 take the bulk's diffusion length, and the depth below the front of the body along y. From level
2 on, the stationary diffusion equation is solved in the absorption and scattering of all regions,

    div(D grad Phi) = mu_a Phi,   D = 1 / (3 (mu_a + mu_s')),

by finite volumes on a grid of about a millimetre: bright and even at the front, no flow through the sides,
and at the back as if the bulk went on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.phantom.mixture import Mixture

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

CELL_MM = 1.0
"""Largest width of a cell; 4/cm of attenuation is then wrong by 0.7 %."""
_MM_PER_CM = 10.0
_TOLERANCE = 1e-8
_MOST_STEPS = 4000


def depth_mm(mixture: Mixture) -> FloatArray:
    """Depth of each voxel's middle below the front of the body along y, through the body only; (i, j, k)."""
    inside = body_share(mixture)
    if _front_first(mixture):
        passed = np.cumsum(inside, axis=1)
    else:
        passed = np.cumsum(inside[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((passed - 0.5 * inside) * mixture.grid.spacing_mm[1])


def body_share(mixture: Mixture) -> FloatArray:
    """Share of each voxel that any region fills."""
    return mixture.paint(dict.fromkeys(mixture.names, 1.0)).astype(np.float64)


def attenuation_per_cm(absorption: npt.ArrayLike, scattering: npt.ArrayLike) -> FloatArray:
    """Effective attenuation of diffuse light from absorption and reduced scattering, all 1/cm."""
    mu_a, mu_s = np.asarray(absorption, np.float64), np.asarray(scattering, np.float64)
    return np.asarray(np.sqrt(3 * mu_a * (mu_a + mu_s)))


@dataclass(frozen=True, eq=False)
class Medium:
    """Where light spreads, in cells of a few voxels each.

    Attributes
    ----------
    shares : (cells, regions + 1) float
        Share of each region in each cell, cells in C order; column 0 is outside of all regions.
    shape : (3,) int
        Number of cells along i, j, k.
    width_mm : (3,) float
        Of a cell.
    centres : tuple of array
        Middle of each cell along each axis, in voxel indices.
    front_first : bool
        Whether the first cells along j are those that are lit.
    """

    shares: FloatArray
    shape: tuple[int, int, int]
    width_mm: tuple[float, float, float]
    centres: tuple[FloatArray, FloatArray, FloatArray]
    front_first: bool

    @classmethod
    def of(cls, mixture: Mixture) -> Medium:
        """The upright box around the body."""
        inside = body_share(mixture) > 0
        starts, counts, factors = [], [], []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            used = np.flatnonzero(inside.any(axis=others))
            factor = max(1, round(CELL_MM / mixture.grid.spacing_mm[axis]))
            starts.append(int(used[0]))
            counts.append(-(-(int(used[-1]) + 1 - int(used[0])) // factor))
            factors.append(factor)
        shape = (counts[0], counts[1], counts[2])
        shares = np.stack(
            [_binned(share, starts, shape, factors) for share in _all_shares(mixture)], axis=-1
        ).reshape(-1, len(mixture.names) + 1)
        centres = [
            np.asarray(start + (np.arange(count) + 0.5) * factor - 0.5, np.float64)
            for start, count, factor in zip(starts, counts, factors, strict=True)
        ]
        width = [f * h for f, h in zip(factors, mixture.grid.spacing_mm, strict=True)]
        return cls(
            shares,
            shape,
            (width[0], width[1], width[2]),
            (centres[0], centres[1], centres[2]),
            _front_first(mixture),
        )

    def fluence(
        self, absorption: FloatArray, scattering: FloatArray, bulk: tuple[float, float]
    ) -> FloatArray:
        """Brightness in each cell over that of the lit surface, (i, j, k) of cells.

        Parameters
        ----------
        absorption, scattering : (regions,) float
            1/cm, in the order of the mixture.
        bulk : tuple of float
            Absorption and reduced scattering outside of all regions, and behind the last cells.
        """
        mu_a = self.shares @ np.array([bulk[0], *absorption])
        mu_s = self.shares @ np.array([bulk[1], *scattering])
        back = float(attenuation_per_cm(*bulk))
        system, source = self._equations(mu_a.reshape(self.shape), mu_s.reshape(self.shape), back)
        found = _solved(system, source).reshape(self.shape)
        return found if self.front_first else found[:, ::-1]

    def _equations(
        self, mu_a: FloatArray, mu_s: FloatArray, back_per_cm: float
    ) -> tuple[csr_array, FloatArray]:
        """Balance of each cell: what flows in through its faces is what it absorbs; the front comes first."""
        from scipy.sparse import diags_array

        if not self.front_first:
            mu_a, mu_s = mu_a[:, ::-1], mu_s[:, ::-1]
        width = np.array(self.width_mm) / _MM_PER_CM
        d = 1 / (3 * (mu_a + mu_s))
        diagonal, source = mu_a.copy(), np.zeros(self.shape)
        bands, offsets = [], []
        stride = (self.shape[1] * self.shape[2], self.shape[2], 1)
        for axis in range(3):
            first = [slice(None)] * 3
            second = [slice(None)] * 3
            first[axis], second[axis] = slice(None, -1), slice(1, None)
            one, other = d[tuple(first)], d[tuple(second)]
            flow = 2 * one * other / (one + other) / width[axis] ** 2
            diagonal[tuple(first)] += flow
            diagonal[tuple(second)] += flow
            band = np.zeros(self.shape)
            band[tuple(first)] = -flow
            bands.append(band.ravel()[: -stride[axis]])
            offsets.append(stride[axis])
        lit = 2 * d[:, 0] / width[1] ** 2
        diagonal[:, 0] += lit
        source[:, 0] += lit
        # behind the last cells light falls as exp(-back z): the flow out of them, through half a cell first
        diagonal[:, -1] += d[:, -1] * back_per_cm / (1 + back_per_cm * width[1] / 2) / width[1]
        diagonals: Any = [*bands, diagonal.ravel(), *bands]
        system = diags_array(diagonals, offsets=[*offsets, 0, *(-n for n in offsets)]).tocsr()
        return system, source.ravel()

    def on_voxels(self, fluence: FloatArray, shape: tuple[int, int, int]) -> Float32Array:
        """A fluence of the cells at every voxel: its logarithm is straight between the cells' middles."""
        out = np.log(fluence)
        for axis in range(3):
            out = _straight(out, self.centres[axis], shape[axis], axis)
        return np.asfortranarray(np.exp(out), dtype=np.float32)


def _front_first(mixture: Mixture) -> bool:
    return bool(mixture.grid.affine[1, 1] < 0)


def _all_shares(mixture: Mixture) -> list[Float32Array]:
    outside = (1.0 - body_share(mixture)).astype(np.float32)
    return [outside, *(mixture.occupancy(name) for name in mixture.names)]


def _binned(
    share: Float32Array, starts: list[int], shape: tuple[int, int, int], factors: list[int]
) -> FloatArray:
    """Mean of a map over each cell; cells beyond the grid take the voxels at its edge once more."""
    out = share.astype(np.float64)
    for axis in range(3):
        index = np.arange(shape[axis] * factors[axis]) + starts[axis]
        out = np.take(out, np.minimum(index, share.shape[axis] - 1), axis=axis)
        split = [*out.shape[:axis], shape[axis], factors[axis], *out.shape[axis + 1 :]]
        out = out.reshape(split).mean(axis=axis + 1)
    return out


def _straight(values: FloatArray, centres: FloatArray, n: int, axis: int) -> FloatArray:
    """Values at cells' middles on `n` voxels along one axis; beyond the outermost cells the line goes on."""
    if centres.size == 1:
        return np.repeat(values, n, axis=axis)
    place = (np.arange(n) - centres[0]) / (centres[1] - centres[0])
    low = np.clip(np.floor(place).astype(np.int64), 0, centres.size - 2)
    part = np.clip(place - low, -0.5, 1.5).reshape([n if other == axis else 1 for other in range(3)])
    return np.asarray(
        (1 - part) * np.take(values, low, axis=axis) + part * np.take(values, low + 1, axis=axis)
    )


def _solved(system: csr_array, source: FloatArray) -> FloatArray:
    """The solution by conjugate gradients with scaled rows.

    Sums are NumPy's own, in one order whatever the number of threads.
    """
    inverse = 1 / system.diagonal()
    found = np.zeros_like(source)
    left = source.copy()
    enough = _TOLERANCE**2 * float((source * source).sum())
    scaled = inverse * left
    step = scaled.copy()
    power = float((left * scaled).sum())
    for _ in range(_MOST_STEPS):
        image = system @ step
        length = power / float((step * image).sum())
        found += length * step
        left -= length * image
        if float((left * left).sum()) <= enough:
            return found
        scaled = inverse * left
        before, power = power, float((left * scaled).sum())
        step = scaled + power / before * step
    raise ImplausibleValue(
        "the light in the phantom cannot be calculated",
        where="physics.msot",
        needed="absorption and scattering of soft tissue",
    )
