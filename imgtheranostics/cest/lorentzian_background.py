"""Lorentzian difference: the spectrum below a background that was fitted where there are no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_spline
from imgtheranostics.cest.label_places import check_places
from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.fit import Fit, FloatArray, planar
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]
Window = tuple[tuple[float, float], ...]
Range = tuple[float, float, float]

EDGES_AND_WATER: Window = ((-np.inf, -6.0), (-1.0, 1.0), (6.0, np.inf))
"""Offsets without labels in ppm: around water, and beyond all known pools of tissue."""

_BLOCK_NUMBERS = 1 << 17
_FAILED = Flag.MASKED_OUT | Flag.INVALID_INPUT | Flag.NOT_CONVERGED | Flag.INITIALISATION_FAILED


@dataclass(frozen=True, slots=True)
class Background:
    """What is fitted as background, and to which samples.

    Attributes
    ----------
    window_ppm : sequence of (first, last)
        Ranges of measured offsets that are fitted, both ends included.
    mt : bool
        A second, broad Lorentzian for semi-solid magnetisation transfer.
    baseline : (start, low, high)
        Signal far from all lines; fixed at 1 by default.
    water, mt_line : ((start, low, high), ...) of amplitude, width in ppm and centre in ppm
        Starts and bounds (cest.md 4.2, CEST_EVAL).
    """

    window_ppm: Window = EDGES_AND_WATER
    mt: bool = False
    baseline: Range = (1.0, 1.0, 1.0)
    water: tuple[Range, Range, Range] = ((0.9, 0.02, 1.0), (1.4, 0.3, 10.0), (0.0, -1.0, 1.0))
    mt_line: tuple[Range, Range, Range] = ((0.1, 0.0, 1.0), (25.0, 10.0, 100.0), (-2.0, -4.0, 4.0))

    @property
    def names(self) -> tuple[str, ...]:
        """Lines that are fitted."""
        return ("water", "mt") if self.mt else ("water",)

    def chosen(self, ppm: DoubleArray) -> npt.NDArray[np.int64]:
        """Which of the offsets are fitted.

        Raises
        ------
        ValueError
            If they are fewer than the parameters, or no edge or no water is among them.
        """
        if any(not first <= last for first, last in self.window_ppm):
            raise ValueError(f"window_ppm must be ranges (first, last), found {self.window_ppm}")
        inside = np.zeros(ppm.size, np.bool_)
        for first, last in self.window_ppm:
            inside |= (ppm >= first) & (ppm <= last)
        free = 3 * len(self.names) + (self.baseline[1] < self.baseline[2])
        if np.count_nonzero(inside) <= free:
            raise ValueError(
                f"the background has {free} parameters, but only {np.count_nonzero(inside)} offsets lie in "
                f"window_ppm {self.window_ppm}; the offsets reach from {ppm.min():g} to {ppm.max():g} ppm"
            )
        return np.flatnonzero(inside)


@dataclass(frozen=True, eq=False)
class BackgroundFit:
    """The background at given offsets from water, less the spectrum there.

    Attributes
    ----------
    background, difference, noise_factor, slope_per_ppm, scale_factor : (n_voxels, m) ndarray
        Values; of the difference, the variance for noise of variance 1, the change with water position, and
        the variance for an unsaturated signal of relative variance 1 (of the mean of its images).
    flags : (n_voxels,) ndarray
        Of the fit.
    """

    background: DoubleArray
    difference: DoubleArray
    noise_factor: DoubleArray
    slope_per_ppm: DoubleArray
    scale_factor: DoubleArray
    flags: npt.NDArray[np.uint16]


def lorentzian_difference(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike | None = None,
    b0_ppm: npt.ArrayLike | None = None,
    window_ppm: Window = EDGES_AND_WATER,
    mt: bool = False,
    baseline: Range = (1.0, 1.0, 1.0),
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Lorentzian difference Zbackground - Z, as fraction.

    A Lorentzian of water (and one of MT) is fitted to the samples of a window without labels, its centre
    free.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra Mz/M0 in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Saturation offsets in any order, each once.
    at_ppm : float or (m,) array_like, optional
        Offsets from water at which the difference is wanted; by default the measured ones.
    b0_ppm : float or (...) array_like, optional
        Position of water; 0 without it.
    window_ppm : sequence of (first, last)
        Ranges of measured offsets that are fitted: by default within 1 ppm of water and beyond 6 ppm.
    mt : bool
        Fit a broad line of magnetisation transfer too.
    baseline : (start, low, high)
        Signal far from all lines; fixed at 1 by default.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Returns
    -------
    (..., m) ndarray
        NaN outside the measured range and where the fit failed.

    Raises
    ------
    ValueError
        If shapes do not fit, or the window holds too few offsets.
    ImplausibleValue
        If offsets or positions of water are in Hz.
    """
    choice = Background(window_ppm=tuple(window_ppm), mt=mt, baseline=baseline)
    at = offset_ppm if at_ppm is None else at_ppm
    found = fit_background(z, offset_ppm, at, b0_ppm, choice, mask=mask, workers=workers)
    return _restored(z, offset_ppm, found.difference)


def lorentzian_reference(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike | None = None,
    b0_ppm: npt.ArrayLike | None = None,
    window_ppm: Window = EDGES_AND_WATER,
    mt: bool = False,
    baseline: Range = (1.0, 1.0, 1.0),
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """The background of `lorentzian_difference` itself, (..., m): a Zref for the inverse contrasts.

    Fat at about -3.5 ppm spoils the mirrored offset as reference of amides; this one does not see it.
    Parameters as `lorentzian_difference`.
    """
    choice = Background(window_ppm=tuple(window_ppm), mt=mt, baseline=baseline)
    at = offset_ppm if at_ppm is None else at_ppm
    found = fit_background(z, offset_ppm, at, b0_ppm, choice, mask=mask, workers=workers)
    return _restored(z, offset_ppm, found.background)


def fit_background(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None,
    choice: Background,
    *,
    m0_weights: DoubleArray | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> BackgroundFit:
    """Fit the background of each voxel, and how noise enters its difference from the spectrum.

    `m0_weights` is that of `imgtheranostics.cest.contrast_errors.measure`: None for a mean.
    """
    from imgtheranostics.cest import pools

    offsets = OffsetList.of(offset_ppm)
    spectra = planar(z, offsets.n, "z")
    ppm = np.asarray(offset_ppm, dtype=np.float64)
    inside = choice.chosen(ppm)
    at = np.atleast_1d(np.asarray(at_ppm, dtype=np.float64))
    check_places(at, b0_ppm)
    measured = z_spline.interpolated(z, offset_ppm, at, b0_ppm, mask=mask, workers=workers)
    fit = pools.fit(
        np.asarray(z)[..., inside],
        ppm[inside],
        [
            pools.Pool(name, *line)
            for name, line in zip(choice.names, (choice.water, choice.mt_line), strict=False)
        ],
        baseline=choice.baseline,
        mask=mask,
        workers=workers,
    )
    values, free = _flat_parameters(fit, choice)
    flags = np.asarray(fit.flags, dtype=np.uint16).ravel()
    known = measured.value.reshape(-1, at.size).astype(np.float64)
    slope = measured.slope_per_ppm.reshape(-1, at.size).astype(np.float64)
    shift = np.zeros(spectra.shape) if b0_ppm is None else np.asarray(b0_ppm, dtype=np.float64)
    shift = np.broadcast_to(shift, spectra.shape).ravel()
    bad = (flags & np.uint16(_FAILED)) != 0
    background, factor, scale = np.full((3, *known.shape), np.nan)
    flat = np.asarray(z).reshape(-1, offsets.n)
    shares = np.ones((offsets.n, 1)) if m0_weights is None else m0_weights[offsets.order]
    cardinal = _cardinal(offsets)
    ordered = ppm[inside]
    places = np.searchsorted(offsets.ppm, ordered)
    for voxels in _blocks(~bad & np.isfinite(shift), offsets.n * at.size):
        model, rates, by_parameter = _lines(values[voxels], at[np.newaxis] + shift[voxels, np.newaxis])
        _, _, design = _lines(values[voxels], np.broadcast_to(ordered, (voxels.size, ordered.size)))
        pulled = _pulled(design, by_parameter, free[voxels])
        weights = -cardinal(np.clip(at + shift[voxels, np.newaxis], offsets.ppm[0], offsets.ppm[-1]))
        weights[:, :, places] += pulled
        background[voxels] = model
        factor[voxels] = np.einsum("vmn,vmn->vm", weights, weights)
        scaled = flat[voxels][:, offsets.order, np.newaxis].astype(np.float64) * shares
        scale[voxels] = shares.shape[1] * np.square(weights @ scaled).sum(axis=-1)
        slope[voxels] = rates - slope[voxels]
    return BackgroundFit(background, background - known, factor, slope, scale, flags)


def _cardinal(offsets: OffsetList) -> Callable[[DoubleArray], DoubleArray]:
    """How much each sample, in ascending order, counts in the spectrum at some place."""
    from scipy.interpolate import CubicSpline

    spline: Callable[[DoubleArray], DoubleArray] = CubicSpline(offsets.ppm, np.eye(offsets.n))
    return spline


def _flat_parameters(fit: Fit, choice: Background) -> tuple[DoubleArray, npt.NDArray[np.bool_]]:
    """Baseline, then amplitude, width and centre of each line, (n_voxels, p), and which were not fixed."""
    names = ["baseline"]
    ranges = [choice.baseline]
    for name, line in zip(choice.names, (choice.water, choice.mt_line), strict=False):
        names += [f"{name}_amplitude", f"{name}_width_ppm", f"{name}_centre_ppm"]
        ranges += line
    values = np.stack([np.asarray(fit.parameters[name], np.float64).ravel() for name in names], axis=-1)
    low, high = np.array([[one[1], one[2]] for one in ranges]).T
    width = 1e-7 * (high - low)
    return values, (values > low + width) & (values < high - width)


def _lines(values: DoubleArray, ppm: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Baseline less Lorentzians at (v, m) offsets: value, change per ppm, derivatives (v, m, p)."""
    model = np.broadcast_to(values[:, :1], ppm.shape).copy()
    rates = np.zeros(ppm.shape)
    derivatives = np.zeros((*ppm.shape, values.shape[1]))
    derivatives[..., 0] = 1.0
    for first in range(1, values.shape[1], 3):
        amplitude, width, centre = (values[:, first + k, np.newaxis] for k in range(3))
        half, distance = 0.25 * width**2, ppm - centre
        below = half + distance**2
        shape = half / below
        model -= amplitude * shape
        by_centre = -amplitude * 2.0 * half * distance / below**2
        rates -= by_centre
        derivatives[..., first] = -shape
        derivatives[..., first + 1] = -amplitude * 0.5 * width * distance**2 / below**2
        derivatives[..., first + 2] = by_centre
    return model, rates, derivatives


def _pulled(design: DoubleArray, wanted: DoubleArray, free: npt.NDArray[np.bool_]) -> DoubleArray:
    """How each fitted sample moves the background, (v, m, n_fitted), for small changes of the samples."""
    design = np.where(free[:, np.newaxis], design, 0.0)
    size = np.sqrt(np.einsum("vnp,vnp->vp", design, design))
    scale = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)[:, np.newaxis]
    scaled = design * scale
    normal = np.einsum("vnp,vnq->vpq", scaled, scaled)
    inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    return np.asarray((wanted * scale) @ inverse @ scaled.transpose(0, 2, 1))


def _blocks(usable: npt.NDArray[np.bool_], numbers_per_voxel: int) -> Iterator[npt.NDArray[np.int64]]:
    index = np.flatnonzero(usable)
    length = max(1, _BLOCK_NUMBERS // numbers_per_voxel)
    for first in range(0, index.size, length):
        yield index[first : first + length]


def _restored(z: npt.ArrayLike, offset_ppm: npt.ArrayLike, values: DoubleArray) -> FloatArray:
    spectra = planar(z, np.asarray(offset_ppm).size, "z")
    return values.astype(spectra.samples.dtype).reshape(*spectra.shape, values.shape[1])
