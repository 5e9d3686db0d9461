"""Whether residuals of unmixing have a spectrum: then something absorbs that is not among the components.

Noise leaves the same variance along every direction that the components leave free. An absorber that is
missing leaves its own direction, of voxels that hold it, and the amounts of the others take up the rest: with
a dye left out, the oxygen saturation of a tumour may read 20 instead of 45 % with a small standard error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution

DoubleArray = npt.NDArray[np.float64]

LEAST_RATIO = 4.0
"""Variance along the strongest direction over the median one. Of n voxels of white noise it is at most about
(1 + 2 sqrt(d/n))^2 for d directions, 1.2 for 10,000 voxels and 30 wavelengths."""

LEAST_SPREAD = 3.0
"""Wavelengths that share the direction, 1 / sum of fourth powers; noise of one bad wavelength has 1."""

FEWEST_DIRECTIONS = 4
FEWEST_VOXELS = 500
MOST_VOXELS = 100_000


def spectrum_cautions(
    planes: npt.NDArray[np.floating],
    matrix: DoubleArray,
    inside: npt.NDArray[np.bool_] | None,
    wavelength_nm: DoubleArray,
) -> tuple[Caution, ...]:
    """A caution where residuals have a common spectrum.

    Parameters
    ----------
    planes : (n, n_voxels) ndarray
        Signal at each wavelength.
    matrix : (n, K) ndarray
        Signal per unit of each component.
    inside : (n_voxels,) ndarray of bool, optional
        Voxels that count.
    wavelength_nm : (n,) ndarray

    Returns
    -------
    tuple of Caution
        ``residual-has-a-spectrum``, or none; none where fewer than four wavelengths are left over, or fewer
        than 500 voxels count.
    """
    free = _left_free(matrix)
    if free.shape[1] < FEWEST_DIRECTIONS:
        return ()
    samples = _some(planes, inside)
    if samples.shape[1] < FEWEST_VOXELS:
        return ()
    left = free.T @ samples
    variances, directions = np.linalg.eigh(left @ left.T / left.shape[1])
    middle, largest = float(np.median(variances)), float(variances[-1])
    strongest = free @ directions[:, -1]
    spread = 1.0 / float(np.sum(strongest**4))
    # what rounding leaves of exact sums of the components is no absorber
    rounding = float(np.mean(samples**2)) * _ROUNDING
    if not largest > LEAST_RATIO * middle or spread < LEAST_SPREAD or largest <= rounding:
        return ()
    peak = float(wavelength_nm[np.argmax(np.abs(strongest))])
    share = 100.0 * largest / float(variances.sum())
    text = (
        f"{share:.0f} % of the variance of the residuals has one spectrum, strongest at {peak:.0f} nm: "
        "something absorbs that is not among the components, or light colours them; amounts and oxygen "
        "saturation are wrong where it does, by more than their errors"
    )
    return (Caution("residual-has-a-spectrum", text, "components (--components)"),)


_ROUNDING = 1e-9
"""Mean square of the rounding of float32 images, as a share of that of the signal."""


def _left_free(matrix: DoubleArray) -> DoubleArray:
    """Orthonormal spectra that no component has a part of, (n, n - K)."""
    whole, _ = np.linalg.qr(matrix / np.linalg.norm(matrix, axis=0), mode="complete")
    return np.asarray(whole[:, matrix.shape[1] :])


def _some(planes: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_] | None) -> DoubleArray:
    """Evenly spread voxels that are numbers at every wavelength, (n, m)."""
    index = np.arange(planes.shape[1]) if inside is None else np.flatnonzero(inside)
    index = index[:: max(1, -(-index.size // MOST_VOXELS))]
    samples = planes[:, index].astype(np.float64)
    return np.asarray(samples[:, np.isfinite(samples).all(axis=0)])
