"""Emission: what a scanner would measure of a known uptake. Independent of the code that it tests.

Curves are sums of exponentials, so that the mean over a frame with physical decay is a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.spec import Kinetics, SubjectSpec, Truth
from imgtheranostics.regions import FWHM_PER_SD

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image in time, seconds after injection."""

    start_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A biological curve without decay: sum of ``amplitude * exp(-rate * t)``, t in s after injection."""

    amplitudes: tuple[float, ...]
    rates_per_s: tuple[float, ...]

    @classmethod
    def from_kinetics(cls, kinetics: Kinetics, value: float, at_s: float) -> Curve:
        """The curve of these kinetics that has `value` at `at_s`."""
        clearance = _rate(kinetics.clearance_half_life_h)
        if kinetics.uptake_half_time_h is None:
            curve = cls((1.0,), (clearance,))
        else:
            curve = cls((1.0, -1.0), (clearance, clearance + _rate(kinetics.uptake_half_time_h)))
        scale = value / curve.at(at_s)
        return cls(tuple(scale * amplitude for amplitude in curve.amplitudes), curve.rates_per_s)

    def at(self, time_s: float) -> float:
        """Value at one time."""
        return sum(a * math.exp(-r * time_s) for a, r in zip(self.amplitudes, self.rates_per_s, strict=True))

    def mean_with_decay(self, frame: Frame, decay_constant_per_s: float) -> float:
        """Mean over the frame of the curve times ``exp(-lambda t)``, t from injection."""
        return sum(
            a * _mean_exponential(r + decay_constant_per_s, frame)
            for a, r in zip(self.amplitudes, self.rates_per_s, strict=True)
        )

    def decay_weighted_mean(self, frame: Frame, decay_constant_per_s: float) -> float:
        """What decay correction recovers of a frame: the mean of the curve weighted with the decay."""
        return self.mean_with_decay(frame, decay_constant_per_s) / _mean_exponential(
            decay_constant_per_s, frame
        )


def concentration_bq_ml(
    truth: Truth, *, activity_bq: float, subject: SubjectSpec, case: str | float | None = None
) -> float:
    """Activity concentration of a truth, decay-corrected to injection, Bq/mL.

    SUV and %ID/g are related by the body weight: SUV = %ID/g x weight[g] / 100 at density 1.
    """
    value = truth.at(case)
    if truth.quantity == "activity_concentration":
        return value
    per_gram = {
        "id_per_g": value / 100,
        "id_per_ml": value / 100,
        "id_per_kg": value / 100 / 1000,
        "suv_bw": value / (subject.weight_kg * 1000),
    }[truth.quantity]
    density = truth.density_g_ml if truth.quantity in ("id_per_g", "id_per_kg") else 1.0
    return per_gram * density * activity_bq


def frame_factor(frame: Frame, decay_constant_per_s: float, reference_s: float | None) -> float:
    """Factor from the frame's mean activity to the activity at `reference_s` (s after injection).

    None is no correction. The first part turns the mean into the activity at the frame's start.
    """
    if reference_s is None:
        return 1.0
    x = decay_constant_per_s * frame.duration_s
    return x / -math.expm1(-x) * math.exp(decay_constant_per_s * (frame.start_s - reference_s))


def effective_time_s(frame: Frame, decay_constant_per_s: float) -> float:
    """Time in the frame at which the activity equals its mean over the frame, s after its start."""
    x = decay_constant_per_s * frame.duration_s
    return math.log(x / -math.expm1(-x)) / decay_constant_per_s


def blur(
    image: Float32Array, fwhm_mm: float | tuple[float, float, float], spacing_mm: tuple[float, float, float]
) -> Float32Array:
    """The image at a resolution of `fwhm_mm`, to which the averaging over a voxel already contributes.

    The resolution may differ along i, j and k.

    A voxel of width h is itself a blur of variance h^2/12, which is taken off the Gaussian, so that the
    total is the stated one. Beyond the grid there is no activity.

    Raises
    ------
    ValueError
        If a voxel is wider than the resolution allows.
    """
    from scipy.ndimage import gaussian_filter1d

    widths = fwhm_mm if isinstance(fwhm_mm, tuple) else (fwhm_mm,) * 3
    out = image
    for axis, (width, spacing) in enumerate(zip(widths, spacing_mm, strict=True)):
        variance = (width / FWHM_PER_SD) ** 2 - spacing**2 / 12
        if variance < 0:
            raise ValueError(f"voxels of {spacing:g} mm cannot show a resolution of {width:g} mm")
        sd = math.sqrt(variance) / spacing
        out = gaussian_filter1d(out, sd, axis=axis, mode="constant", truncate=6.0, output=np.float32)
    return np.asfortranarray(out)


def count_noise(
    activity_bq_ml: Float32Array, *, counts_per_bq_ml: float, rng: np.random.Generator
) -> Float32Array:
    """The image after Poisson counting: each voxel counts ``counts_per_bq_ml`` times its activity.

    Voxels are drawn in Fortran order by one generator, so the bytes do not depend on threads.
    """
    expected = activity_bq_ml.ravel(order="F").astype(np.float64) * counts_per_bq_ml
    counts = rng.poisson(np.maximum(expected, 0.0))
    return (counts / counts_per_bq_ml).astype(np.float32).reshape(activity_bq_ml.shape, order="F")


def _rate(half_life_h: float | None) -> float:
    return 0.0 if half_life_h is None else math.log(2) / (half_life_h * 3600)


def _mean_exponential(rate_per_s: float, frame: Frame) -> float:
    x = rate_per_s * frame.duration_s
    average = -math.expm1(-x) / x if x else 1.0
    return math.exp(-rate_per_s * frame.start_s) * average
