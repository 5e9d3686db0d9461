"""Ratios of the saturation transfer at two offsets, or at two powers, with how noise and water enter them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_noise, z_spline
from imgtheranostics.cest.label_places import check_places
from imgtheranostics.cest.offset_list import OffsetList, rows_at
from imgtheranostics.fit import Fit, planar
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]
TransferKind = Literal["mtr_asym", "inverse", "norm_ref", "power"]

LEAST_ERRORS = 2.0
"""Standard errors by which a denominator exceeds 0: below, Fieller's 95 % interval of the ratio is open."""

LARGEST_Z = 1.2
"""Z above it was not normalised by its own unsaturated signal."""

_NODES = 257
"""Places of water at which the weights of the samples are tabulated."""

_BLOCK = 8192
"""Voxels whose covariances are held at a time."""

_FEWEST_FOR_NOISE = 6

Transfer = Callable[[DoubleArray, DoubleArray], tuple[DoubleArray, DoubleArray, DoubleArray]]


def _difference(label: DoubleArray, mirror: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    one = np.ones_like(label)
    return mirror - label, -one, one


def _inverse(label: DoubleArray, mirror: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    low = np.where(label > 0, label, np.nan)
    return mirror / low - 1.0, -mirror / low**2, 1.0 / low


def _relative(label: DoubleArray, mirror: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    high = np.where(mirror > 0, mirror, np.nan)
    return 1.0 - label / high, -1.0 / high, label / high**2


def _odds(label: DoubleArray, mirror: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    left = 1.0 - (mirror - label)
    left = np.where(left > 0, left, np.nan)
    slope = 1.0 / left**2
    return (mirror - label) / left, -slope, slope


TRANSFERS: dict[str, Transfer] = {
    "mtr_asym": _difference,
    "inverse": _inverse,
    "norm_ref": _relative,
    "power": _odds,
}
"""Transfer from Z at the label and at its mirrored offset, with the derivatives by both."""


@dataclass(frozen=True, eq=False)
class Side:
    """One transfer: numerator or denominator of a ratio.

    Attributes
    ----------
    value : (v,) ndarray
    weights : (v, 2) ndarray
        Derivatives by Z at the label and at the mirrored offset.
    slope_per_ppm : (v,) ndarray
        Change with the position of water.
    """

    value: DoubleArray
    weights: DoubleArray
    slope_per_ppm: DoubleArray


@dataclass(frozen=True, eq=False)
class Common:
    """Covariance of Z at m labels and their mirrored offsets for noise of 1 in each sample.

    Attributes
    ----------
    table : (b, 2 m, 2 m) ndarray
        At places of water; one where it is the same everywhere.
    shares : (2 m, k) ndarray or None
        How independent noise enters M0 at each.
    first_ppm, step_ppm : float
        The places.
    b0_ppm : (v,) ndarray
    """

    table: DoubleArray
    first_ppm: float
    step_ppm: float
    b0_ppm: DoubleArray
    shares: DoubleArray | None = None

    @classmethod
    def of(
        cls,
        offsets: OffsetList,
        places: DoubleArray,
        b0: DoubleArray,
        sample_weights: DoubleArray | None,
        m0_shares: DoubleArray | None,
    ) -> Common:
        """From the weights with which measured samples enter the cubic spline."""
        from scipy.interpolate import CubicSpline

        known = b0[np.isfinite(b0)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        nodes = np.linspace(low, high, _NODES) if high > low else np.array([low])
        weights = CubicSpline(offsets.ppm, np.eye(offsets.n))(nodes[:, np.newaxis] + places)
        if sample_weights is not None:
            weights = weights @ sample_weights[offsets.order]
        shares = None if m0_shares is None else rows_at(m0_shares[offsets.order], offsets.ppm, places)
        step = (high - low) / (_NODES - 1)
        table = np.einsum("bin,bjn->bij", weights, weights)
        return cls(table, low, step, np.where(np.isfinite(b0), b0, low), shares)

    def variance(self, weights: DoubleArray, z: DoubleArray) -> DoubleArray:
        """Of sums of Z with weights (v, 2 m)."""
        out = np.empty(len(weights))
        for first in range(0, len(weights), _BLOCK):
            part = slice(first, first + _BLOCK)
            out[part] = np.einsum("vi,vij,vj->v", weights[part], self._at(self.b0_ppm[part]), weights[part])
        if self.shares is not None:
            out += np.square((weights * z) @ self.shares).sum(axis=-1)
        return np.maximum(out, 0.0)

    def _at(self, b0: DoubleArray) -> DoubleArray:
        if len(self.table) == 1:
            return np.broadcast_to(self.table[0], (b0.size, *self.table[0].shape))
        place = (b0 - self.first_ppm) / self.step_ppm
        cell = np.minimum(place.astype(np.int64), len(self.table) - 2)
        part = (place - cell)[:, np.newaxis, np.newaxis]
        return np.asarray((1.0 - part) * self.table[cell] + part * self.table[cell + 1])


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Z-spectra at labels and mirrored labels, flat, and what is known of them.

    Attributes
    ----------
    shape, order : tuple of int, str
        Of the voxels.
    dtype : dtype
    sides : list of Side
        One for each label.
    z : (v, 2 m) ndarray
        At labels and mirrored labels.
    common : Common
    noise, b0_error : (v,) ndarray
    flags : (v,) ndarray of uint16
    """

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[np.floating]
    sides: list[Side]
    z: DoubleArray
    common: Common
    noise: DoubleArray
    b0_error: DoubleArray
    flags: npt.NDArray[np.uint16]

    @classmethod
    def of(
        cls,
        z: npt.ArrayLike,
        offset_ppm: npt.ArrayLike,
        kind: TransferKind,
        at_ppm: Sequence[float],
        *,
        b0_ppm: npt.ArrayLike | None,
        b0_se_ppm: npt.ArrayLike | None,
        noise_sd: npt.ArrayLike | None,
        mask: npt.ArrayLike | None,
        workers: int | None,
        sample_weights: npt.ArrayLike | None = None,
        m0_shares: npt.ArrayLike | None = None,
    ) -> Spectrum:
        """Interpolate at the labels and their mirrored offsets."""
        if kind not in TRANSFERS:
            raise ValueError(f"unknown kind {kind!r}; there are {', '.join(get_args(TransferKind))}")
        check_places(at_ppm, b0_ppm)
        offsets = OffsetList.of(offset_ppm, least=4, purpose="a ratio")
        spectra = planar(z, offsets.n, "z")
        flags = np.zeros(spectra.n_voxels, np.uint16)
        chosen = spectra.chosen(mask)
        flags[~chosen] = Flag.MASKED_OUT.value
        b0 = spectra.flat(0.0 if b0_ppm is None else b0_ppm, "b0_ppm").astype(np.float64)
        finite = np.isfinite(spectra.samples).all(axis=0) & np.isfinite(b0)
        flags[chosen & ~finite] |= np.uint16(Flag.INVALID_INPUT)
        places = np.array([sign * at for at in at_ppm for sign in (1.0, -1.0)])
        found = z_spline.interpolated(z, offset_ppm, places, b0_ppm, mask=mask, workers=workers)
        values, slopes = (
            np.asarray(one, np.float64).reshape(-1, places.size, order=spectra.order)
            for one in (found.value, found.slope_per_ppm)
        )
        outside = ~np.isfinite(values).all(axis=1)
        flags[outside & chosen & finite] |= np.uint16(Flag.OUTSIDE_RANGE)
        with np.errstate(invalid="ignore"):
            too_high = (spectra.samples > LARGEST_Z).any(axis=0) & chosen & finite
        flags[too_high] |= np.uint16(Flag.OUTSIDE_RANGE)
        level = noise_sd
        if level is None:
            enough = offsets.n >= _FEWEST_FOR_NOISE
            level = z_noise.noise_sd(z, offset_ppm, mask=mask, workers=workers) if enough else np.nan
        error = 0.0 if b0_se_ppm is None else b0_se_ppm
        return cls(
            spectra.shape,
            spectra.order,
            spectra.samples.dtype,
            [_side(kind, values[:, k : k + 2], slopes[:, k : k + 2]) for k in range(0, places.size, 2)],
            values,
            Common.of(
                offsets,
                places,
                b0,
                _rows(sample_weights, offsets.n, "sample_weights"),
                _rows(m0_shares, offsets.n, "m0_shares"),
            ),
            spectra.flat(level, "noise_sd").astype(np.float64),
            spectra.flat(error, "b0_se_ppm").astype(np.float64),
            flags,
        )

    def variance(self, weights: DoubleArray, slope: DoubleArray) -> DoubleArray:
        """Of a sum over Z at labels and mirrored labels (v, 2 m), to first order."""
        of_noise = self.noise**2 * self.common.variance(weights, self.z)
        return np.asarray(of_noise + (slope * self.b0_error) ** 2)


def _rows(given: npt.ArrayLike | None, n: int, name: str) -> DoubleArray | None:
    """A matrix with one row for each offset."""
    if given is None:
        return None
    matrix = np.asarray(given, np.float64)
    if matrix.ndim != 2 or len(matrix) != n or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must have a row for each of {n} offsets, found shape {matrix.shape}")
    return matrix


def _side(kind: TransferKind, values: DoubleArray, slopes: DoubleArray) -> Side:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value, by_label, by_mirror = TRANSFERS[kind](values[:, 0], values[:, 1])
        weights = np.stack([by_label, by_mirror], axis=1)
        return Side(value, weights, (weights * slopes).sum(axis=1))


def ratio_of_offsets(spectrum: Spectrum) -> Fit:
    """Ratio of the first over the second transfer of one spectrum."""
    above, below = spectrum.sides
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = above.value / below.value
        of_below = spectrum.variance(
            np.concatenate([np.zeros_like(below.weights), below.weights], axis=1), below.slope_per_ppm
        )
        weights = np.concatenate([above.weights, -value[:, np.newaxis] * below.weights], axis=1)
        slope = above.slope_per_ppm - value * below.slope_per_ppm
        variance = spectrum.variance(weights, slope) / below.value**2
    return judged(spectrum, value, np.sqrt(variance), below.value, np.sqrt(of_below), spectrum.flags)


def ratio_of_powers(high: Spectrum, low: Spectrum, b0_se_ppm: npt.ArrayLike | None = None) -> Fit:
    """Ratio of the transfer of one spectrum over that of another.

    Their noise is independent; the position of water, of standard error `b0_se_ppm`, is the same.
    """
    (above,), (below,) = high.sides, low.sides
    error = np.broadcast_to(np.asarray(0.0 if b0_se_ppm is None else b0_se_ppm, np.float64), low.shape)
    of_water = error.ravel(order=low.order)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = above.value / below.value
        of_above, of_below = (
            one.variance(side.weights, np.zeros_like(side.value))
            for one, side in ((high, above), (low, below))
        )
        slope = above.slope_per_ppm - value * below.slope_per_ppm
        variance = (of_above + value**2 * of_below + (slope * of_water) ** 2) / below.value**2
        below_error = np.sqrt(of_below + (below.slope_per_ppm * of_water) ** 2)
    flags = high.flags | low.flags
    return judged(high, value, np.sqrt(variance), below.value, below_error, flags)


def judged(
    spectrum: Spectrum,
    value: DoubleArray,
    error: DoubleArray,
    denominator: DoubleArray,
    denominator_error: DoubleArray,
    flags: npt.NDArray[np.uint16],
) -> Fit:
    """A ratio without a value where its denominator could be 0, or a signal to divide by is not above 0."""
    flags = flags.copy()
    readable = flags & np.uint16(Flag.MASKED_OUT | Flag.INVALID_INPUT) == 0
    absent = readable & ~np.isfinite(denominator)
    flags[absent | (readable & ~np.isfinite(value) & (denominator != 0))] |= np.uint16(Flag.OUTSIDE_RANGE)
    with np.errstate(invalid="ignore"):
        least = np.where(np.isfinite(denominator_error), LEAST_ERRORS * denominator_error, 0.0)
        hidden = readable & np.isfinite(denominator) & ~(denominator > least)
    flags[hidden] |= np.uint16(Flag.BELOW_NOISE)
    missing = ~readable | hidden | ~np.isfinite(value)
    return _fit(spectrum, np.where(missing, np.nan, value), np.where(missing, np.nan, error), flags)


def _fit(spectrum: Spectrum, value: DoubleArray, error: DoubleArray, flags: npt.NDArray[np.uint16]) -> Fit:
    def back(flat: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return flat.astype(spectrum.dtype).reshape(spectrum.shape, order=spectrum.order)

    nothing = back(np.full(value.size, np.nan))
    return Fit(
        {"ratio": back(value)},
        {"ratio": back(error)},
        nothing,
        nothing.copy(),
        np.zeros(spectrum.shape, np.int16),
        flags.reshape(spectrum.shape, order=spectrum.order),
        {"ratio": "1"},
    )
