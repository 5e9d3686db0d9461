"""Amounts of known components from spectra: least squares, weighted, and without negative amounts.

A spectrum is a sum of the components' spectra times their amounts. Wavelengths may come in any order: they
are sorted first, so that the same numbers come out to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import Fit, FloatArray, PlanarSignal, planar
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.nnls import mapped_errors, unmix_voxels
from imgtheranostics.kernels.threads import run_chunks
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.msot.bounded_solutions import BoundedSolutions
from imgtheranostics.msot.component_matrix import ComponentMatrix, Components

DoubleArray = npt.NDArray[np.float64]
Method = Literal["nnls", "ls", "wls"]

METHODS = ("nnls", "ls", "wls")

_CHUNK, _CHUNK_OF_NOISE = 65_536, 4096
_UNITS = {"M": "mol/L", "1": "1"}


@dataclass(frozen=True, eq=False)
class UnmixingFit(Fit):
    """Amounts of components in every voxel, and how well they could be told apart.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        Amount of each component. Where it is held at zero (`Flag.AT_BOUND`) it is 0.
    standard_errors : mapping of str to ndarray
        By the noise that was given, else by the residuals of each voxel. Components that are free have the
        errors of the fit without those that are held; one that is held has the error that it has where
        nothing is: the truth may be so far above zero.
    rmse : ndarray
        Residual: root mean square over the wavelengths, without weights.
    names : tuple of str
    condition_number : float
        Of the matrix that was solved, with columns of the length one.
    freedom : float
        Degrees of freedom of the errors; infinite where the noise was given.
    supports : ndarray of uint16
        Bit k is set where component k is held at zero.
    correlations : (n_supports, n, n) ndarray
        Of the amounts; 0 with a component that is held.
    weights : (n_wavelengths,) ndarray
        Root of the weight of each wavelength, in the order of the spectra.
    decisions : mapping
    warnings : tuple of Caution
    """

    names: tuple[str, ...] = ()
    condition_number: float = math.nan
    freedom: float = math.inf
    supports: npt.NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    correlations: DoubleArray = field(default_factory=lambda: np.empty((0, 0, 0)))
    weights: DoubleArray = field(default_factory=lambda: np.empty(0))
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def covariance(self, a: str, b: str) -> FloatArray:
        """Covariance of the amounts of two components in every voxel; their variance if they are one.

        Raises
        ------
        ValueError
            If a component does not exist.
        """
        one, two = (self.names.index(checked(name, self.names, "component")) for name in (a, b))
        shared = self.correlations[self.supports, one, two]
        return np.asarray(shared * self.standard_errors[a] * self.standard_errors[b])


def unmix(
    spectra: npt.ArrayLike,
    wavelength_nm: npt.ArrayLike,
    components: Components,
    *,
    method: Method = "nnls",
    noise_sd: npt.ArrayLike | None = None,
    force: bool = False,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> UnmixingFit:
    """Amounts of components in spectra (msot.md M4, M5).

    Parameters
    ----------
    spectra : (..., n) array_like
        Signal at each wavelength; negative values are kept. NaN gives NaN and a flag.
    wavelength_nm : (n,) array_like
        In any order, none repeated.
    components : mapping of str to (n,) array_like, or sequence of str
        Spectra at these wavelengths in any unit; or shipped names and whatever else
        `imgtheranostics.msot.spectra.component` takes, as decadic absorption in 1/cm per mol/L (per volume
        fraction for tissues). Natural absorption has to be divided by ln 10 for those.
    method : {"nnls", "ls", "wls"}
        ``nnls`` holds amounts at zero that would be negative, exactly; means over regions with little of a
        component are biased upwards then. ``ls`` has no bounds. ``wls`` weighs each wavelength by one over
        the square of its noise; ``nnls`` does so too where `noise_sd` has one for each wavelength.
    noise_sd : float, (n,), (..., 1) or (..., n) array_like, optional
        Standard deviation of the noise, for the errors; without it they are from the residuals of each
        voxel. Of maps the median over the voxels weighs a wavelength, and each voxel's own noise goes into
        its errors.
    force : bool
        Unmix components that are too much alike.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    UnmixingFit
        One parameter per component.

    Raises
    ------
    IllConditioned
        If the components are too much alike at these wavelengths, or more than the wavelengths.
    UnitMismatch, UnsupportedInput
        If wavelengths are not nm or repeated, or a spectrum does not cover them.
    ValueError
        If shapes or options do not fit.

    Examples
    --------
    >>> fit = unmix([1.0, 4.0, 9.0], [700, 750, 800], {"a": [1, 0, 0], "b": [0, 2, 3]}, noise_sd=0.1)
    >>> [round(float(fit.parameters[name]), 3) for name in ("a", "b")]
    [1.0, 2.692]
    """
    checked(method, METHODS, "method")
    matrix = ComponentMatrix.of(components, wavelength_nm)
    planes = planar(spectra, matrix.wavelength_nm.size, "spectra", contiguous=False)
    return unmix_planes(matrix, planes, method, noise_sd, force=force, mask=mask, workers=workers)


@dataclass(frozen=True, eq=False)
class _Noise:
    """Noise of each wavelength, and of each voxel where maps were given.

    Attributes
    ----------
    deviations : (n,) ndarray
        NaN where nothing was given.
    weights : (n,) ndarray
    maps : (n_voxels, 1 or n) ndarray or None
    """

    deviations: DoubleArray
    weights: DoubleArray
    maps: FloatArray | None

    @classmethod
    def of(cls, given: npt.ArrayLike | None, planes: PlanarSignal, method: str) -> _Noise:
        n = planes.samples.shape[0]
        if given is None:
            if method == "wls":
                raise ValueError("method='wls' needs noise_sd=, one for each wavelength")
            return cls(np.full(n, np.nan), np.ones(n), None)
        values, maps = np.asarray(given), None
        if values.ndim == 0 or values.shape == (n,):
            deviations = np.array(np.broadcast_to(values.astype(np.float64), (n,)))
        elif values.shape[:-1] == planes.shape and values.shape[-1] in (1, n):
            maps = values.reshape(-1, values.shape[-1], order=planes.order)
            known = np.where(np.isfinite(maps), maps, np.nan)
            deviations = np.array(np.broadcast_to(np.nanmedian(known, axis=0).astype(np.float64), (n,)))
        else:
            raise ValueError(
                f"noise_sd has shape {values.shape}, but must be a number, one per wavelength ({n}), or one "
                f"per voxel {(*planes.shape, 1)} or sample {(*planes.shape, n)}"
            )
        least = deviations.min() if maps is None else min(deviations.min(), np.nanmin(maps))
        if not ((deviations > 0).all() and np.isfinite(deviations).all() and least >= 0):
            raise ValueError("noise_sd must be above 0, and nowhere negative")
        even = method == "ls" or bool((deviations == deviations[0]).all())
        return cls(deviations, np.ones(n) if even else 1.0 / deviations, maps)

    @property
    def known(self) -> bool:
        return not bool(np.isnan(self.deviations).any())

    @property
    def even(self) -> bool:
        return bool((self.weights == 1.0).all())

    def rule(self) -> str:
        if not self.known:
            return "from the residuals of each voxel"
        return "given" if self.maps is None else "given for each voxel"


def unmix_planes(
    matrix: ComponentMatrix,
    planes: PlanarSignal,
    method: str,
    noise_sd: npt.ArrayLike | None = None,
    *,
    force: bool = False,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> UnmixingFit:
    """`unmix` of spectra that are laid out already, by a matrix that is known already."""
    noise = _Noise.of(noise_sd, planes, method)
    condition = matrix.condition(noise.weights)
    cautions = matrix.require(condition, force=force)
    order = np.argsort(matrix.wavelength_nm)
    tables = BoundedSolutions.of(matrix.values[order], noise.weights[order], bounded=method == "nnls")
    if noise.known:
        covariances = tables.covariances(noise.deviations[order] ** 2)
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        freedom = math.inf
    else:
        deviations, covariances = tables.from_residuals()
        freedom = float(order.size - len(matrix.names))
    found = _Solution.of(tables, planes, deviations, noise, order, planes.chosen(mask), workers)
    spread = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    nothing = np.broadcast_to(np.array(0, np.int32), planes.shape)
    names = matrix.names
    return UnmixingFit(
        {name: planes.restored(row) for name, row in zip(names, found.values, strict=True)},
        {name: planes.restored(row) for name, row in zip(names, found.errors, strict=True)},
        planes.restored(found.goodness[1]),
        planes.restored(found.goodness[0]),
        nothing,
        planes.restored(found.flags),
        {name: _UNITS.get(unit, "[arb'U]") for name, unit in zip(names, matrix.units, strict=True)},
        names,
        condition,
        freedom,
        planes.restored(found.supports),
        covariances / (spread[:, :, np.newaxis] * spread[:, np.newaxis, :]),
        noise.weights,
        {
            "method": method,
            "wavelengths_nm": np.sort(matrix.wavelength_nm).tolist(),
            "components": matrix.decision(),
            "condition_number": condition,
            "noise": noise.rule(),
            "weights": "equal" if noise.even else "one over the square of the noise",
        },
        (*matrix.warnings, *cautions),
    )


@dataclass(frozen=True, eq=False)
class _Solution:
    """What the kernel writes, flat."""

    values: FloatArray
    errors: FloatArray
    goodness: FloatArray
    flags: npt.NDArray[np.uint16]
    supports: npt.NDArray[np.uint16]

    @classmethod
    def of(
        cls,
        tables: BoundedSolutions,
        planes: PlanarSignal,
        deviations: DoubleArray,
        noise: _Noise,
        order: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.bool_],
        workers: int | None,
    ) -> _Solution:
        n, n_voxels = tables.unit.size, planes.n_voxels
        dtype = planes.samples.dtype
        by_voxel = not planes.samples.flags.c_contiguous
        samples = read_only(np.ascontiguousarray(planes.samples.T if by_voxel else planes.samples))
        new = cls(
            np.empty((n, n_voxels), dtype),
            np.empty((n, n_voxels), dtype),
            np.empty((2, n_voxels), dtype),
            np.empty(n_voxels, np.uint16),
            np.empty(n_voxels, np.uint16),
        )
        marked, own = read_only(chosen), np.ascontiguousarray(deviations.T)
        errors = new.errors if noise.maps is None else np.empty((0, 0), dtype)
        weighted = not bool((noise.weights == 1.0).all())

        def task(first: int, last: int) -> None:
            unmix_voxels(
                samples, by_voxel, order, marked, tables.basis, tables.tables, tables.triangle,
                tables.inverses, tables.columns, tables.unit, own, noise.known, weighted, first, last,
                new.values, errors, new.goodness, new.flags, new.supports,
            )  # fmt: skip

        run_chunks(task, n_voxels, _CHUNK, workers)
        if noise.maps is not None:
            new._map_errors(tables, noise.maps, order, workers)
        return new

    def _map_errors(
        self,
        tables: BoundedSolutions,
        maps: FloatArray,
        order: npt.NDArray[np.int64],
        workers: int | None,
    ) -> None:
        """Errors by the noise of each voxel."""
        squares = tables.solvers**2
        for support in range(1, len(squares)):
            held = np.flatnonzero((support >> np.arange(tables.unit.size)) & 1)
            squares[support, held] = squares[0, held]

        def task(first: int, last: int) -> None:
            part = np.broadcast_to(maps[first:last], (last - first, order.size))[:, order]
            own = np.ascontiguousarray(part, dtype=np.float64)
            mapped_errors(own, squares, self.supports, self.flags, first, last, self.errors)

        run_chunks(task, self.flags.size, _CHUNK_OF_NOISE, workers)
