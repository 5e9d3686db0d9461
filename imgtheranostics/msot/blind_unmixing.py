"""Components of spectra without known ones: non-negative factors, and independent components. Exploration.

What comes out has no unit, no standard error and no name, and depends on how many components are asked for.
It may show that something absorbs which the known spectra do not explain; it measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, NothingUsable
from imgtheranostics.fit import PlanarSignal, planar
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.msot.component_matrix import ComponentMatrix, Components, different_wavelengths

DoubleArray = npt.NDArray[np.float64]

METHODS = ("nmf", "ica")

MOST_VOXELS = 50_000
"""Voxels that the spectra are found from, drawn at random; amounts are then those of all."""

_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class BlindComponents:
    """Spectra that were found in the data, and how much of each is in every voxel. Exploratory.

    Attributes
    ----------
    method : {"nmf", "ica"}
    wavelength_nm : (n,) ndarray
        In the order of the spectra that were given.
    spectra : (n_components, n) ndarray
        Of the length one; of ``ica``, changes about the mean spectrum, with the largest entry positive.
    amounts : (..., n_components) ndarray
        In the unit of the signal; NaN where a voxel was left out.
    mean : (n,) ndarray
        Spectrum that `ica` is about; zeros for ``nmf``.
    explained : float
        Share of the sum of squares (of ``ica``: about the mean) that the components explain.
    iterations : int
    converged : bool
    warnings : tuple of Caution
        Always with ``exploratory``.
    """

    method: str
    wavelength_nm: DoubleArray
    spectra: DoubleArray
    amounts: DoubleArray
    mean: DoubleArray
    explained: float
    iterations: int
    converged: bool
    warnings: tuple[Caution, ...]

    def similarity(self, components: Components) -> DoubleArray:
        """Cosine between found and known spectra, (n_components, n_known): 1 for the same shape.

        Parameters
        ----------
        components : as in `imgtheranostics.msot.unmixing.unmix`
            Of ``ica`` the known spectra are compared without their mean over the wavelengths, as the found.
        """
        known = ComponentMatrix.of(components, self.wavelength_nm).values.T
        found = self.spectra
        if self.method == "ica":
            known = known - known.mean(axis=1, keepdims=True)
            found = found - found.mean(axis=1, keepdims=True)
        lengths = np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(known, axis=1))
        return np.asarray(found @ known.T / np.maximum(lengths, _LEAST))


def blind_unmix(
    spectra: npt.ArrayLike,
    wavelength_nm: npt.ArrayLike,
    n_components: int,
    *,
    method: Literal["nmf", "ica"] = "nmf",
    mask: npt.ArrayLike | None = None,
    rng: int | np.random.Generator = 0,
    max_iterations: int = 500,
    tolerance: float = 1e-5,
) -> BlindComponents:
    """Spectra of so many components from the data alone. For exploration; see the caution of the result.

    Parameters
    ----------
    spectra : (..., n) array_like
        Voxels with a sample that is not finite are left out.
    wavelength_nm : (n,) array_like
    n_components : int
        At most as many as wavelengths.
    method : {"nmf", "ica"}
        ``nmf``: spectra and amounts that are not negative, by alternating least squares, one column after
        the other; where spectra overlap everywhere, other factors explain the data as well.
        ``ica``: maps that are as independent as can be, by the fixed-point iteration with tanh.
    mask : (...) array_like of bool, optional
    rng : int or Generator
        Of the start, and of the choice of voxels where there are more than 50,000.
    max_iterations : int
    tolerance : float
        Change of the misfit (of the directions, for ``ica``) at which the iteration ends.

    Returns
    -------
    BlindComponents

    Raises
    ------
    ValueError
        If the number of components does not fit.
    NothingUsable
        If fewer voxels than wavelengths are left.

    References
    ----------
    .. [1] A. Cichocki, A.-H. Phan, IEICE Trans. Fundamentals E92-A, 708 (2009).
    .. [2] A. Hyvarinen, IEEE Trans. Neural Networks 10, 626 (1999).
    """
    checked(method, METHODS, "method")
    wavelengths = different_wavelengths(wavelength_nm)
    if not 1 <= n_components <= wavelengths.size:
        raise ValueError(f"n_components must be 1 to {wavelengths.size}, the wavelengths, not {n_components}")
    planes = planar(spectra, wavelengths.size, "spectra", contiguous=False)
    order = np.argsort(wavelengths)
    usable = planes.chosen(mask) & np.isfinite(planes.samples).all(axis=0)
    voxels = np.flatnonzero(usable)
    if voxels.size < wavelengths.size:
        raise NothingUsable(
            "too few voxels have a spectrum",
            found=str(voxels.size),
            needed=f"at least {wavelengths.size}, the number of wavelengths",
            next_step="give a larger mask",
        )
    generator = np.random.default_rng(rng)
    drawn = voxels
    if voxels.size > MOST_VOXELS:
        drawn = np.sort(generator.choice(voxels, MOST_VOXELS, replace=False))
    data = planes.samples[:, drawn].T.astype(np.float64)[:, order]
    if method == "nmf":
        found = _nmf(data, n_components, generator, max_iterations, tolerance)
    else:
        found = _ica(data, n_components, generator, max_iterations, tolerance)
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    columns, mean = found.spectra[:, back], found.mean[back]
    amounts, explained = _amounts(planes, voxels, columns, mean, bounded=method == "nmf")
    return BlindComponents(
        method,
        wavelengths,
        columns,
        amounts,
        mean,
        explained,
        found.iterations,
        found.converged,
        _cautions(found, max_iterations),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Spectra (n_components, n) of the length one, and the spectrum that they are about."""

    spectra: DoubleArray
    mean: DoubleArray
    iterations: int
    converged: bool


def _cautions(found: _Found, most: int) -> tuple[Caution, ...]:
    text = "components that are found in the data alone are for exploration: they have no unit, error or name"
    cautions = (Caution("exploratory", text),)
    if found.converged:
        return cautions
    return (*cautions, Caution("not-converged", f"the components still changed after {most} iterations"))


def _nmf(data: DoubleArray, n: int, generator: np.random.Generator, most: int, tolerance: float) -> _Found:
    """Alternating least squares of one column after the other, all not negative."""
    scale = float(np.abs(data).mean()) or 1.0
    columns = generator.uniform(0.5, 1.5, (n, data.shape[1])) * np.abs(data).mean(axis=0) / scale
    amounts = generator.uniform(0.5, 1.5, (len(data), n)) * scale
    total = float(np.sum(data**2)) or 1.0
    before, converged, iterations = np.inf, False, 0
    while not converged and iterations < most:
        iterations += 1
        _improve(amounts, data @ columns.T, columns @ columns.T)
        _improve(columns.T, data.T @ amounts, amounts.T @ amounts)
        lengths = np.maximum(np.linalg.norm(columns, axis=1), _LEAST)
        columns /= lengths[:, np.newaxis]
        amounts *= lengths
        cross, gram = data.T @ amounts, amounts.T @ amounts
        misfit = total - 2 * float(np.sum(cross.T * columns)) + float(np.sum(gram * (columns @ columns.T)))
        converged = abs(before - misfit) <= tolerance * tolerance * total
        before = misfit
    strongest = np.argsort(-np.sum(amounts**2, axis=0), kind="stable")
    return _Found(columns[strongest], np.zeros(data.shape[1]), iterations, converged)


def _improve(factors: DoubleArray, cross: DoubleArray, gram: DoubleArray) -> None:
    """Each column of a factor to its least-squares value, not negative, with the others as they are."""
    for k in range(factors.shape[1]):
        if gram[k, k] > _LEAST * gram.max():
            step = (cross[:, k] - factors @ gram[:, k]) / gram[k, k]
            factors[:, k] = np.maximum(factors[:, k] + step, 0.0)


def _ica(data: DoubleArray, n: int, generator: np.random.Generator, most: int, tolerance: float) -> _Found:
    """Rotation of the whitened data that makes their maps least normal."""
    mean = data.mean(axis=0)
    _, singular, right = np.linalg.svd(data - mean, full_matrices=False)
    kept = int(np.count_nonzero(singular[:n] > _LEAST * max(singular[0], _LEAST)))
    if kept < n:
        raise NothingUsable(
            "the spectra vary in fewer ways than components are asked for",
            found=str(kept),
            needed=str(n),
            next_step="ask for fewer components",
        )
    to_white = right[:n].T / (singular[:n] / np.sqrt(len(data)))
    white = (data - mean) @ to_white
    turn = _orthogonal(generator.standard_normal((n, n)))
    converged, iterations = False, 0
    while not converged and iterations < most:
        iterations += 1
        bent = np.tanh(white @ turn.T)
        turned = _orthogonal(bent.T @ white / len(data) - (1.0 - bent**2).mean(axis=0)[:, np.newaxis] * turn)
        change = float(np.max(np.abs(np.abs(np.sum(turned * turn, axis=1)) - 1.0)))
        turn, converged = turned, change <= tolerance
    columns = turn @ (right[:n] * (singular[:n] / np.sqrt(len(data)))[:, np.newaxis])
    strength = np.linalg.norm(columns, axis=1)
    columns = columns / np.maximum(strength, _LEAST)[:, np.newaxis]
    peak = columns[np.arange(n), np.abs(columns).argmax(axis=1)]
    columns = columns * np.where(peak < 0, -1.0, 1.0)[:, np.newaxis]
    return _Found(columns[np.argsort(-strength, kind="stable")], mean, iterations, converged)


def _orthogonal(matrix: DoubleArray) -> DoubleArray:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def _amounts(
    planes: PlanarSignal,
    voxels: npt.NDArray[np.intp],
    columns: DoubleArray,
    mean: DoubleArray,
    *,
    bounded: bool,
) -> tuple[DoubleArray, float]:
    """Amounts in all voxels by the spectra, and the share of the sum of squares that they explain."""
    from imgtheranostics.msot.bounded_solutions import MOST_BOUNDED
    from imgtheranostics.msot.unmixing import unmix_planes

    n_components, n = columns.shape
    samples = planes.samples[:, voxels].astype(np.float64) - mean[:, np.newaxis]
    inner = PlanarSignal(np.ascontiguousarray(samples), (voxels.size,), "C")
    names = tuple(str(k) for k in range(n_components))
    nothing = ("",) * n_components
    matrix = ComponentMatrix(
        names, np.ascontiguousarray(columns.T), np.arange(n, dtype=np.float64), nothing, nothing
    )
    method = "nnls" if bounded and n_components <= MOST_BOUNDED else "ls"
    fit = unmix_planes(matrix, inner, method, force=True)
    flat = np.full((n_components, planes.n_voxels), np.nan)
    flat[:, voxels] = np.stack([fit.parameters[name] for name in names])
    total = float(np.sum(samples**2))
    explained = 1.0 - float(np.sum(np.square(fit.rmse))) * n / total if total > 0 else np.nan
    amounts = np.stack([planes.restored(row) for row in flat], axis=-1)
    return amounts, explained
