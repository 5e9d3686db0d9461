"""The curve of the carrier: without decay, at the injection, until the last image and beyond it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.fit import Fit
from imgtheranostics.nuclear.decay import decay_factor

FloatArray = npt.NDArray[np.float64]

MUCH_EXTRAPOLATED = 0.2
"""Share of the decays after the last image from which on it is said."""
MOSTLY_EXTRAPOLATED = 0.5
"""Share from which on the result is more assumed than measured."""


def biological_curve(time_s: npt.ArrayLike, activity: npt.ArrayLike, imaged: str) -> FloatArray:
    """Activity as it was, decay corrected to injection: B(t) = a(t) exp(lambda t).

    Parameters
    ----------
    time_s : (n,) array_like
        After injection.
    activity : (n,) array_like
        As measured, in any unit.
    imaged : str
        Nuclide that was imaged.
    """
    half_life_s = nuclide(imaged).half_life_s
    return np.asarray(np.asarray(activity, np.float64) / decay_factor(time_s, half_life_s))


def phases(parameters: Mapping[str, npt.ArrayLike], decay_per_s: float) -> tuple[FloatArray, FloatArray]:
    """Amplitudes and biological rates of a fitted curve, those that it has.

    Parameters
    ----------
    parameters : mapping of str to float
        Of `imgtheranostics.nuclear.curves.fit_exponential`.
    decay_per_s : float
        Of the nuclide that it was fitted for.
    """
    numbers = range(1, 1 + sum(name.startswith("amplitude_") for name in parameters))
    amplitude = np.array([float(np.asarray(parameters[f"amplitude_{j}"])) for j in numbers])
    rate = np.array([float(np.asarray(parameters[f"rate_{j}_per_s"])) for j in numbers])
    there = np.isfinite(amplitude) & np.isfinite(rate)
    return amplitude[there], np.maximum(rate[there] - decay_per_s, 0.0)


def at_injection(
    fit: Fit, time_s: FloatArray, weights: FloatArray, decay_per_s: float
) -> tuple[float, float]:
    """Value of the biological curve at the injection and its standard error.

    The covariance of the fit is rebuilt from its slopes, and scaled to the standard errors that it states.

    Parameters
    ----------
    fit : Fit
        Of one decay-corrected curve.
    time_s, weights : (n,) ndarray
        Of its samples.
    decay_per_s : float

    Returns
    -------
    value, standard_error : float
        No error where the curve rises from nothing, or its parameters have none.
    """
    amplitude, rate = phases(fit.parameters, decay_per_s)
    value = float(amplitude.sum())
    if amplitude.size == 1:
        return value, float(fit.standard_errors["amplitude_1"])
    size = float(np.abs(amplitude).max())
    if abs(value) <= 1e-9 * size:
        return 0.0, math.nan
    decayed = np.exp(-np.outer(time_s, rate))
    slopes = np.concatenate([decayed, -amplitude * time_s[:, np.newaxis] * decayed], axis=1)
    names = [
        f"{kind}_{j}{end}" for kind, end in (("amplitude", ""), ("rate", "_per_s")) for j in _of(amplitude)
    ]
    stated = np.array([float(fit.standard_errors[name]) for name in names])
    free = np.isfinite(stated) & (stated > 0)
    if not free[0]:
        return value, math.nan
    root = np.sqrt(weights)[:, np.newaxis] * slopes[:, free]
    scale = np.linalg.norm(root, axis=0)
    covariance = np.linalg.pinv((root / scale).T @ (root / scale)) / np.outer(scale, scale)
    towards = (np.arange(stated.size) < amplitude.size)[free].astype(np.float64)
    variance = float(towards @ covariance @ towards) / float(covariance[0, 0])
    return value, float(stated[0]) * math.sqrt(max(variance, 0.0))


def _of(amplitude: FloatArray) -> range:
    return range(1, amplitude.size + 1)


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """How much of an area is after the last image, and what it can be at least and at most.

    Attributes
    ----------
    share : float
        Of the decays, after the last image.
    least, most : float
        Area until the last image; and with no clearance after it, only decay. In the unit of the area.
    """

    share: float
    least: float
    most: float

    @classmethod
    def of(
        cls, area: float, share: float, last_value: float, last_s: float, decay_per_s: float
    ) -> Extrapolation:
        """From an area, its share after the last image, and the biological curve there."""
        least = area * (1.0 - share)
        kept = least + last_value * math.exp(-decay_per_s * last_s) / decay_per_s
        return cls(share, least, max(area, kept))

    def check(self, most_extrapolated: float | None, where: str) -> None:
        """Refuse a share above what the user accepts.

        Raises
        ------
        IllConditioned
        """
        if most_extrapolated is not None and self.share > most_extrapolated:
            raise IllConditioned(
                "too many of the decays would happen after the last image",
                where=where or None,
                found=f"{100 * self.share:.0f} %",
                needed=f"at most {100 * most_extrapolated:.0f} %",
                next_step="image later, or accept more: most_extrapolated or --most-extrapolated",
            )

    def cautions(self, given: str, where: str = "") -> tuple[Caution, ...]:
        """What is to be said of so much extrapolation, and of the area's bounds."""
        if not self.share > MUCH_EXTRAPOLATED:
            return ()
        place = f"{where}: " if where else ""
        text = f"{place}{100 * self.share:.0f} % of the decays of {given} would happen after the last image"
        if self.share <= MOSTLY_EXTRAPOLATED:
            return (Caution("much-extrapolated", text),)
        whole = self.least / (1.0 - self.share) if self.share < 1 else math.inf
        low, high = (100.0 * bound / whole for bound in (self.least, self.most))
        text += (
            ": the dose is more assumed than measured, and lies between "
            f"{low:.0f} % (all lost at that image) and {high:.0f} % (nothing lost any more) of the one stated"
        )
        return (Caution("mostly-extrapolated", text),)


def accepted_share(most_extrapolated: float | None) -> None:
    """Refuse a limit that is no share.

    Raises
    ------
    ValueError
    """
    if most_extrapolated is not None and not 0 < most_extrapolated <= 1:
        raise ValueError(f"most_extrapolated must be between 0 and 1, not {most_extrapolated!r}")
