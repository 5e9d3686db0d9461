"""Contrasts of two saturated signals, the label's and its reference's, and how errors enter them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_spline
from imgtheranostics.cest.label_places import check_places
from imgtheranostics.cest.offset_list import rows_at
from imgtheranostics.errors import ImplausibleValue

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
PairKind = Literal["mtr_asym", "apt_weighted", "mtr_norm_ref", "pcm", "mtr_rex", "arex"]

_BY_LABEL = ("mtr_rex", "arex")
_BY_REFERENCE = ("mtr_norm_ref", "pcm", "mtr_rex", "arex")

LONGEST_T1_S = 20.0
"""Longer than that of any liquid in a scanner: a T1 above it is in ms."""


@dataclass(frozen=True, eq=False)
class SignalPair:
    """Z at the label and at its reference, each (..., n_at), and how noise and water position enter.

    Attributes
    ----------
    label, reference : ndarray
        NaN where one of them is outside the measured range, or the voxel is not to be estimated.
    label_factor, reference_factor, common_factor : ndarray
        Variances, and their covariance, for independent noise of variance 1 in every sample.
    label_slope, reference_slope : ndarray
        Change per ppm of water position.
    reference_variance : ndarray
        What is not known of a given reference.
    """

    label: DoubleArray
    reference: DoubleArray
    label_factor: DoubleArray
    reference_factor: DoubleArray
    common_factor: DoubleArray
    label_slope: DoubleArray
    reference_slope: DoubleArray
    reference_variance: DoubleArray

    @classmethod
    def of(
        cls,
        z: npt.ArrayLike,
        offset_ppm: npt.ArrayLike,
        at_ppm: npt.ArrayLike,
        b0_ppm: npt.ArrayLike | None,
        reference: npt.ArrayLike | None = None,
        reference_se: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        workers: int | None = None,
    ) -> SignalPair:
        """The label at each offset from water, with the mirrored offset or a given signal as reference."""
        check_places(at_ppm, b0_ppm)
        label = z_spline.interpolated(z, offset_ppm, at_ppm, b0_ppm, mask=mask, workers=workers)
        value, factor, slope = _doubles(label)
        nothing = np.zeros_like(value)
        if reference is None:
            if reference_se is not None:
                raise ValueError("reference_se is that of a given reference: give reference too")
            mirrored = -np.atleast_1d(np.asarray(at_ppm, dtype=np.float64))
            other, other_factor, other_slope = _doubles(
                z_spline.interpolated(z, offset_ppm, mirrored, b0_ppm, mask=mask, workers=workers)
            )
            difference = z_spline.asymmetry(z, offset_ppm, at_ppm, b0_ppm, mask=mask, workers=workers)
            common = 0.5 * (factor + other_factor - difference.variance_factor)
            return cls(value, other, factor, other_factor, common, slope, other_slope, nothing)
        given = spread_over(reference, value.shape, "reference")
        known = nothing if reference_se is None else spread_over(reference_se, value.shape, "reference_se")
        return cls(value, given, factor, nothing, nothing, slope, nothing, known**2)


@dataclass(frozen=True, eq=False)
class PairContrast:
    """A contrast of two signals and its derivatives with respect to them."""

    value: DoubleArray
    by_label: DoubleArray
    by_reference: DoubleArray

    def scaled(self, factor: DoubleArray) -> PairContrast:
        """Everything times a factor (..., 1)."""
        return PairContrast(self.value * factor, self.by_label * factor, self.by_reference * factor)

    def variance(
        self,
        pair: SignalPair,
        noise_variance: DoubleArray,
        b0_variance: DoubleArray | None,
        m0_variance: DoubleArray | None,
        shared: DoubleArray | None = None,
    ) -> DoubleArray:
        """First-order variance from noise (..., 1), the reference's own error, that of water and of M0.

        M0 scales what was measured, a given reference not. `shared` is that of `shared_references`.
        """
        by_label, by_reference = self.by_label, self.by_reference
        total = noise_variance * (
            by_label**2 * pair.label_factor
            + by_reference**2 * pair.reference_factor
            + 2.0 * by_label * by_reference * pair.common_factor
        )
        total = np.maximum(total, 0.0) + by_reference**2 * pair.reference_variance
        if b0_variance is not None:
            slope = by_label * pair.label_slope + by_reference * pair.reference_slope
            total = total + b0_variance * slope**2
        if m0_variance is not None:
            mirrored = np.where(pair.reference_factor > 0.0, pair.reference, 0.0)
            one, other = by_label * pair.label, by_reference * mirrored
            own, common, far = (1.0, 1.0, 1.0) if shared is None else shared
            total = total + m0_variance * (own * one**2 + 2.0 * common * one * other + far * other**2)
        return np.asarray(total)


def shared_references(
    m0_weights: DoubleArray | None, offset_ppm: npt.ArrayLike, at_ppm: npt.ArrayLike
) -> DoubleArray | None:
    """Variance of M0 at each label, covariance with its mirrored offset, and variance there, (3, m).

    As multiples of the variance of the mean of all unsaturated images; None for that mean.
    """
    if m0_weights is None:
        return None
    places = np.atleast_1d(np.asarray(at_ppm, np.float64))
    label, mirror = (rows_at(m0_weights, offset_ppm, sign * places).T for sign in (1.0, -1.0))
    products = np.stack([(label**2).sum(0), (label * mirror).sum(0), (mirror**2).sum(0)])
    return np.asarray(products * m0_weights.shape[1])


def pair_contrast(kind: PairKind, label: DoubleArray, reference: DoubleArray) -> PairContrast:
    """One of the contrasts of label and reference; `arex` is still without T1.

    NaN where a signal that the contrast divides by is not above zero.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _FORMULAS[kind](label, reference)


def _difference(label: DoubleArray, reference: DoubleArray) -> PairContrast:
    one = np.ones_like(label)
    return PairContrast(reference - label, -one, one)


def _relative(label: DoubleArray, reference: DoubleArray) -> PairContrast:
    """(Zref - Zlab) / Zref."""
    below = _above_zero(reference)
    return PairContrast((below - label) / below, -1.0 / below, label / below**2)


def _proton_transfer(label: DoubleArray, reference: DoubleArray) -> PairContrast:
    """(Zref - Zlab) / (Zref - Zlab + Zref Zlab)."""
    low, high = _above_zero(label), _above_zero(reference)
    whole = high - low + high * low
    return PairContrast((high - low) / whole, -((high / whole) ** 2), (low / whole) ** 2)


def _inverse(label: DoubleArray, reference: DoubleArray) -> PairContrast:
    """1 / Zlab - 1 / Zref."""
    low, high = _above_zero(label), _above_zero(reference)
    return PairContrast(1.0 / low - 1.0 / high, -1.0 / low**2, 1.0 / high**2)


_FORMULAS: dict[str, Callable[[DoubleArray, DoubleArray], PairContrast]] = {
    "mtr_asym": _difference,
    "apt_weighted": _difference,
    "mtr_norm_ref": _relative,
    "pcm": _proton_transfer,
    "mtr_rex": _inverse,
    "arex": _inverse,
}


def not_invertible(kind: str, pair: SignalPair) -> BoolArray:
    """Where a signal that the contrast divides by is not above zero."""
    low = np.zeros(pair.label.shape, np.bool_)
    if kind in ("pcm", "mtr_rex", "arex"):
        low |= pair.label <= 0.0
    if kind in _BY_REFERENCE:
        low |= pair.reference <= 0.0
    return low


def lost_in_noise(
    kind: str,
    pair: SignalPair,
    noise_variance: DoubleArray,
    b0_variance: DoubleArray | None,
    least: float,
) -> BoolArray:
    """Where a signal of which the contrast takes the inverse is below `least` of its standard errors."""
    place = 0.0 if b0_variance is None else b0_variance
    lost = np.zeros(pair.label.shape, np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):
        if kind in _BY_LABEL:
            variance = noise_variance * pair.label_factor + place * pair.label_slope**2
            lost |= np.abs(pair.label) < least * np.sqrt(variance)
        if kind in _BY_REFERENCE:
            variance = noise_variance * pair.reference_factor + place * pair.reference_slope**2
            lost |= np.abs(pair.reference) < least * np.sqrt(variance + pair.reference_variance)
    return lost


def rate_factor(
    t1_s: npt.ArrayLike | None, duty_cycle: float | None, shape: tuple[int, ...]
) -> tuple[DoubleArray, DoubleArray]:
    """What makes a rate of an inverse contrast: 1 / (T1 DC), and T1, both (..., 1); NaN where T1 is none.

    Raises
    ------
    ValueError
        If T1 is missing or has another shape.
    ImplausibleValue
        If the one T1 is not above zero, T1 is in ms, or the duty cycle is no fraction.
    """
    if t1_s is None:
        raise ValueError("arex needs t1_s, the T1 of water: a number or one value per voxel")
    given = np.asarray(t1_s, dtype=np.float64)
    if given.shape not in ((), shape):
        raise ValueError(f"t1_s has shape {given.shape}, the leading shape of z is {shape}")
    usable = given[np.isfinite(given) & (given > 0.0)]
    if not given.ndim and not usable.size:
        raise ImplausibleValue(
            "T1 is not above zero",
            where="t1_s",
            found=f"{given:g}",
            needed="the T1 of water in s",
            next_step="give T1 in s, or use mtr_rex, which does not need it",
        )
    if usable.size and float(np.median(usable)) > LONGEST_T1_S:
        raise ImplausibleValue(
            "T1 cannot be that long",
            where="t1_s",
            found=f"median {np.median(usable):g} s",
            needed=f"at most {LONGEST_T1_S:g} s",
            next_step="give T1 in s, not in ms",
        )
    part = 1.0 if duty_cycle is None else float(duty_cycle)
    if not 0.0 < part <= 1.0:
        raise ImplausibleValue(
            "a duty cycle is a fraction",
            where="duty_cycle",
            found=f"{part:g}",
            needed="above 0 and at most 1",
            next_step="give pulse duration over the time from pulse to pulse, not percent",
        )
    t1 = np.where(np.isfinite(given) & (given > 0.0), given, np.nan)[..., np.newaxis]
    return 1.0 / (t1 * part), t1


def spread_over(given: npt.ArrayLike, shape: tuple[int, ...], name: str) -> DoubleArray:
    """Numbers as float64 over (..., n_at): one, one per offset, or one per voxel and offset."""
    values = np.asarray(given, dtype=np.float64)
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {values.shape}, the contrast {shape}") from None


def _above_zero(values: DoubleArray) -> DoubleArray:
    return np.where(values > 0.0, values, np.nan)


def _doubles(found: z_spline.SplineValues) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    return (
        found.value.astype(np.float64),
        found.variance_factor.astype(np.float64),
        found.slope_per_ppm.astype(np.float64),
    )
