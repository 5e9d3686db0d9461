"""Amount of 19F from its magnitude signal and a reference tube in the field of view.

The order of corrections matters: the noise level is known first, then its bias is removed from every
magnitude, then the background is subtracted (mri.md F18, F19).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.mapping.calculated import elementwise, nothing_fitted
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import DoubleArray, stored
from imgtheranostics.mri.agent_mass import AVOGADRO_PER_MOL
from imgtheranostics.mri.linear_calibration import LinearCalibration, fit_line_through_blank
from imgtheranostics.mri.noise_bias import (
    DETECTION_SNR,
    checked_detection,
    debias,
    debiased,
    region_amplitude,
)
from imgtheranostics.mri.noise_distribution import checked_coils
from imgtheranostics.mri.plausible import (
    checked_b1,
    checked_echo_times,
    checked_flip_angles,
    checked_repetition_times,
)
from imgtheranostics.volume import Flag

__all__ = [
    "DETECTION_SNR",
    "LinearCalibration",
    "ReferenceTube",
    "debias",
    "fit_line_through_blank",
    "fluorine_concentration",
    "region_amplitude",
    "relaxation_weight",
    "spins",
]

NAME = "concentration_mm"
LIMIT = "detection_limit_mm"


def relaxation_weight(
    *,
    flip_angle_deg: float,
    repetition_time_s: float,
    echo_time_s: float,
    t1_s: npt.ArrayLike,
    t2_s: npt.ArrayLike,
    b1: npt.ArrayLike = 1.0,
) -> DoubleArray:
    """Share of the signal that relaxation leaves, sin a (1 - E1) / (1 - E1 cos a) exp(-TE/T2).

    Parameters
    ----------
    flip_angle_deg, repetition_time_s, echo_time_s : float
    t1_s, t2_s : float or array_like
        Of 19F in its surroundings; T1 depends on oxygen. T2* for gradient echoes.
    b1 : float or array_like
        Transmit field relative to nominal.

    Raises
    ------
    ImplausibleValue
        If angles or times look like another unit, or a relaxation time is not positive.
    """
    angle = np.deg2rad(checked_flip_angles(flip_angle_deg)[0]) * checked_b1(np.asarray(b1, np.float64))
    repetition = checked_repetition_times(repetition_time_s)[0]
    echo = checked_echo_times(echo_time_s)[0]
    t1, t2 = np.asarray(t1_s, np.float64), np.asarray(t2_s, np.float64)
    for name, times in (("t1_s", t1), ("t2_s", t2)):
        known = times[np.isfinite(times)]
        if (known <= 0).any() or (known.size and np.median(known) > 20.0):
            raise ImplausibleValue(
                f"{name} cannot be that",
                where=name,
                found=f"{known.min():g} to {known.max():g} s",
                needed="above 0 and at most 20 s",
                next_step="give it in seconds",
            )
    left = np.exp(-repetition / t1)
    weight: DoubleArray = np.sin(angle) * (1.0 - left) / (1.0 - left * np.cos(angle)) * np.exp(-echo / t2)
    return weight


@dataclass(frozen=True, eq=False)
class ReferenceTube:
    """A tube of known concentration in the same image.

    Parameters
    ----------
    signal : array_like
        Magnitudes of its voxels.
    concentration_mm : float
        mmol/L of 19F nuclei: of the molecule times the equivalent nuclei in one.
    uncertainty_mm : float
        Standard uncertainty of the concentration.
    weight : float
        Its `relaxation_weight`.
    """

    signal: npt.ArrayLike
    concentration_mm: float
    uncertainty_mm: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("concentration_mm", self.concentration_mm, 0.0),
            ("weight", self.weight, 0.0),
        ):
            if not (np.isfinite(value) and value > least):
                raise ImplausibleValue(
                    f"{name} of the reference tube must be positive", where=name, found=f"{value:g}"
                )
        if not self.uncertainty_mm >= 0:
            raise ImplausibleValue(
                "the uncertainty of the reference tube must be 0 or more",
                where="uncertainty_mm",
                found=f"{self.uncertainty_mm:g}",
            )


def fluorine_concentration(
    signal: npt.ArrayLike,
    reference: ReferenceTube,
    *,
    noise_sd: float,
    n_coils: int = 1,
    background: npt.ArrayLike | None = None,
    weight: npt.ArrayLike = 1.0,
    b1_factor: npt.ArrayLike = 1.0,
    detection_snr: float = DETECTION_SNR,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Concentration of 19F nuclei, C = C_ref (S / S_ref) (W_ref / W) x B1 factor.

    Parameters
    ----------
    signal : array_like
        Magnitudes.
    reference : ReferenceTube
    noise_sd : float
        Noise of the real part, estimated beforehand from a background without signal.
    n_coils : int
    background : array_like, optional
        Magnitudes of tissue without tracer; its amplitude is subtracted after the noise bias is removed.
    weight : float or array_like
        `relaxation_weight` of the tissue.
    b1_factor : float or array_like
        What the transmit and receive fields make of the signal at the tube over that at the voxel.
    detection_snr : float
        3 to 5.
    mask : array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``concentration_mm`` (mmol/L of nuclei) and ``detection_limit_mm``, the concentration whose amplitude
        is `detection_snr` times the noise. `Flag.BELOW_NOISE` as in `debias`. Errors of tube and background
        are common to all voxels.

    Raises
    ------
    ValueError
        If numbers or shapes do not fit.
    IllConditioned
        If the tube itself is not detected.
    """
    coils, snr = checked_coils(n_coils), checked_detection(detection_snr)
    tube, tube_error = _amplitude(reference.signal, noise_sd, coils)
    if tube < snr * tube_error:
        raise IllConditioned(
            "the reference tube is not detected",
            found=f"amplitude {tube:.4g} ± {tube_error:.2g}, noise {noise_sd:.4g}",
            needed=f"an amplitude above {snr:g} standard errors",
            next_step="average more, or place a tube of higher concentration",
        )
    level, level_error = (0.0, 0.0) if background is None else _amplitude(background, noise_sd, coils)
    (magnitude, share, factor), flags, dtype = elementwise(signal, weight, b1_factor, mask=mask)
    noise = np.full(magnitude.shape, float(noise_sd))
    amplitude, error, state = debiased(magnitude, noise, coils, snr)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        good = np.isfinite(share) & (share > 0) & np.isfinite(factor) & (factor > 0)
        scale = np.where(good, reference.concentration_mm / tube * reference.weight / share * factor, np.nan)
    flags[(flags == 0) & ~good] |= Flag.INVALID_INPUT.value
    flags[flags == 0] |= state[flags == 0]
    usable = (flags & ~np.uint16(Flag.BELOW_NOISE.value)) == 0
    relative = float(np.hypot(reference.uncertainty_mm / reference.concentration_mm, tube_error / tube))
    with np.errstate(invalid="ignore", over="ignore"):
        value = np.where(usable, scale * (amplitude - level), np.nan)
        usable &= np.isfinite(stored(value, dtype)) | ((flags & Flag.BELOW_NOISE.value) != 0)
        shared = np.hypot(value * relative, scale * level_error)
        parameters = {NAME: value, LIMIT: np.where(usable, scale * snr * noise_sd, np.nan)}
        errors = {NAME: np.where(usable, scale * error, np.nan), LIMIT: np.full(value.shape, np.nan)}
    flags[(flags == 0) & ~usable] |= Flag.OUTSIDE_RANGE.value
    return CalibratedFit(
        {name: stored(array, dtype) for name, array in parameters.items()},
        {name: stored(array, dtype) for name, array in errors.items()},
        *nothing_fitted(value.shape, dtype),
        flags=flags,
        units={NAME: "mmol/L", LIMIT: "mmol/L"},
        calibration_errors={NAME: stored(shared, dtype)},
        calibration_relative=relative,
        decisions=_decisions(reference, tube, tube_error, level, noise_sd, snr),
        warnings=_cautions(reference, share),
    )


def _amplitude(signal: npt.ArrayLike, noise_sd: float, n_coils: int) -> tuple[float, float]:
    amplitude, error = region_amplitude(np.ravel(signal), noise_sd, n_coils=n_coils)
    return float(amplitude), float(error)


def spins(concentration_mm: npt.ArrayLike, volume_ml: npt.ArrayLike) -> DoubleArray:
    """Number of nuclei in a volume at a concentration in mmol/L; standard errors convert alike.

    Examples
    --------
    >>> f"{float(spins(1.0, 1.0)):.3e}"
    '6.022e+17'
    """
    counted: DoubleArray = np.asarray(concentration_mm, np.float64) * np.asarray(volume_ml, np.float64)
    return counted * (AVOGADRO_PER_MOL * 1e-6)


def _decisions(
    reference: ReferenceTube, tube: float, error: float, level: float, noise_sd: float, detection_snr: float
) -> dict[str, Any]:
    return {
        "rule": "noise bias removed from every magnitude, background subtracted, scaled to the tube",
        "reference_concentration_mm": float(reference.concentration_mm),
        "reference_amplitude": tube,
        "reference_amplitude_error": error,
        "background_amplitude": level,
        "noise_sd": float(noise_sd),
        "detection_snr": float(detection_snr),
    }


def _cautions(reference: ReferenceTube, weight: DoubleArray) -> tuple[Caution, ...]:
    """Relaxation that nobody corrected, or that depends on oxygen."""
    if reference.weight == 1.0 and weight.size and (weight == 1.0).all():
        text = "relaxation is not corrected: tube and tissue are taken to relax alike"
        return (Caution("relaxation-not-corrected", text, "weight"),)
    text = "T1 of 19F depends on oxygen; the correction holds for the T1 that was assumed"
    return (Caution("fluorine-t1-depends-on-oxygen", text, "weight"),)
