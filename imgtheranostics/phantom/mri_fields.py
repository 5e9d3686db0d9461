"""Fields of an MR scanner over the grid, and the noise of its receiver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.mri_scanner import MriScanner
from imgtheranostics.phantom.mri_signal import Values
from imgtheranostics.volume import Grid

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Fields:
    """What differs from the ideal scanner, as one number or per voxel in Fortran order.

    Attributes
    ----------
    relative_b1
        Transmit field over nominal.
    offset_ppm
        Resonance of water against the scanner's.
    change_ppm
        How much that changes across a voxel, along its three edges.
    receive
        Factor of the signal.
    """

    relative_b1: Values = 1.0
    offset_ppm: Values = 0.0
    change_ppm: tuple[Values, ...] = ()
    receive: Values = 1.0

    @property
    def uniform(self) -> bool:
        """Whether all voxels of a tissue show the same, apart from `receive`."""
        return all(np.ndim(field) == 0 for field in (self.relative_b1, self.offset_ppm))


def fields_on(scanner: MriScanner, grid: Grid, level: int, *, relative_b1: float | None = None) -> Fields:
    """The fields of a level; errors from level 2 on, all smooth and between their stated limits.

    Parameters
    ----------
    relative_b1 : float, optional
        One value for all voxels, at every level.
    """
    if level < 2:
        return Fields(1.0 if relative_b1 is None else relative_b1)
    b1: Values = relative_b1 if relative_b1 is not None else _between(scanner.relative_b1, _bowl(grid))
    offset = _between(scanner.b0_ppm, _tilted(grid))
    changes: tuple[Values, ...] = ()
    if np.ndim(offset):
        image = np.reshape(offset, grid.shape, order="F")
        changes = tuple(
            np.gradient(image, axis=axis).ravel(order="F") if grid.shape[axis] > 1 else 0.0
            for axis in range(3)
        )
    receive: Values = 1.0
    if scanner.bias_field > 0:
        receive = 1.0 + scanner.bias_field * (2.0 * _tilted(grid) - 1.0)
    return Fields(b1, offset, changes, receive)


def _between(limits: tuple[float, float], shape: FloatArray) -> Values:
    low, high = limits
    return low if low == high else low + (high - low) * shape


def _coordinates(grid: Grid) -> tuple[FloatArray, ...]:
    """Position along i, j, k from -1 to 1, each shaped to broadcast."""
    lines = [np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in grid.shape]
    return tuple(line.reshape([-1 if m == n else 1 for m in range(3)]) for n, line in enumerate(lines))


def _unit(image: FloatArray) -> FloatArray:
    """Scaled to 0 .. 1 over the grid, flat in Fortran order."""
    flat = image.ravel(order="F")
    return np.asarray((flat - flat.min()) / max(float(np.ptp(flat)), 1e-300))


def _bowl(grid: Grid) -> FloatArray:
    """High in the middle and falling to the edges, as a transmit field in tissue does."""
    x, y, z = _coordinates(grid)
    return _unit(np.cos(1.1 * (x - 0.15)) * np.cos(1.0 * (y + 0.1)) * np.cos(0.6 * z))


def _tilted(grid: Grid) -> FloatArray:
    """A plane with some curvature."""
    x, y, z = _coordinates(grid)
    return _unit(0.5 * x - 0.8 * y + 0.3 * z + 0.2 * x * y)


def noisy(
    image: npt.ArrayLike, sd: float, kind: str | None, coils: int, rng: np.random.Generator
) -> npt.NDArray[np.floating] | npt.NDArray[np.complexfloating]:
    """A flat image with noise: complex as it is, magnitude Rician (or chi of several coils), or plain.

    Parameters
    ----------
    image : (n,) array
        Complex where its phase matters.
    sd : float
        Of the noise in each of the two parts of the signal.
    kind : {"rician", "gaussian", "none"}
    coils : int
    rng : Generator
    """
    given = np.asarray(image)
    if sd <= 0 or kind in (None, "none"):
        return given
    if kind == "gaussian" and not np.iscomplexobj(given):
        return np.asarray(given + sd * rng.standard_normal(given.size, dtype=np.float32))
    real = given.real + sd * rng.standard_normal(given.size, dtype=np.float32)
    imaginary = given.imag + sd * rng.standard_normal(given.size, dtype=np.float32)
    if kind == "gaussian":
        return np.asarray(real + 1j * imaginary)
    power = real**2 + imaginary**2
    for _ in range(2 * (coils - 1)):
        power += (sd * rng.standard_normal(given.size, dtype=np.float32)) ** 2
    return np.asarray(np.sqrt(power))
