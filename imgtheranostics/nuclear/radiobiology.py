"""Dose that means the same for tissue: biologically effective dose, 2 Gy fractions, repair during delivery.

References
----------
.. [1] Dale R G, The application of the linear-quadratic dose-effect equation to fractionated and protracted
   radiotherapy, Br J Radiol 1985, doi:10.1259/0007-1285-58-690-515.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.volume import Estimate, make_step

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tissue:
    """Radiosensitivity of a tissue as a tool in use states it; a starting point, not a measurement.

    Attributes
    ----------
    alpha_beta_gy : float
    repair_half_life_s : float or None
    source : str
    """

    alpha_beta_gy: float
    repair_half_life_s: float | None
    source: str


TISSUES = MappingProxyType(
    {
        "kidney": Tissue(2.6, 2.8 * 3600.0, "default of PyTheranostics"),
        "late": Tissue(3.0, None, "default of MIRDCalculation, generic late effects"),
        "tumour": Tissue(10.0, None, "default of MIRDCalculation, generic tumour"),
        "lung": Tissue(4.0, None, "default of MIRDCalculation, late effects"),
        "lung tumour": Tissue(12.4, None, "default of MIRDCalculation"),
        "liver": Tissue(2.75, None, "default of MIRDCalculation, late effects"),
        "liver tumour": Tissue(10.0, None, "default of MIRDCalculation"),
    }
)
"""Defaults by tissue; all can be replaced by numbers."""


def g_factor(
    effective_half_life_s: npt.ArrayLike,
    repair_half_life_s: float,
    amplitudes: npt.ArrayLike | None = None,
) -> FloatArray:
    """Dose-protraction factor G of a dose rate that falls exponentially for ever.

    One exponential: T_rep / (T_rep + T_eff). Several, sum of a_i exp(-k_i t), with repair at the rate m:
    G = 2/D^2 sum over i, j of a_i a_j / ((k_i + k_j)(k_i + m)), D the sum of a_i / k_i.

    Parameters
    ----------
    effective_half_life_s : float or array_like
        Of the dose rate. Without `amplitudes` every value is a case of its own.
    repair_half_life_s : float
        Of sublethal damage; zero is repair at once (G = 0), infinity none (G = 1).
    amplitudes : array_like, optional
        Dose rates at the start, in any unit, of the exponentials in the last axis of the half-lives.

    Returns
    -------
    ndarray
        Between 0 and 1.

    Raises
    ------
    ValueError
        If a half-life is not positive, the repair's is negative, or the sum is no dose.

    Examples
    --------
    >>> round(float(g_factor(50 * 3600.0, 2.8 * 3600.0)), 4)
    0.053
    """
    half_life = np.asarray(effective_half_life_s, np.float64)
    if (half_life <= 0).any() or np.isinf(half_life).any():
        raise ValueError("effective_half_life_s must be positive and finite")
    if not repair_half_life_s >= 0:
        raise ValueError(f"repair_half_life_s must not be negative, not {repair_half_life_s!r}")
    if repair_half_life_s == 0:
        shape = half_life.shape if amplitudes is None else half_life.shape[:-1]
        return np.zeros(shape)
    repair = math.log(2.0) / repair_half_life_s
    rate = math.log(2.0) / half_life
    if amplitudes is None:
        return np.asarray(rate / (rate + repair))
    a = np.broadcast_to(np.asarray(amplitudes, np.float64), rate.shape)
    dose = (a / rate).sum(axis=-1)
    if not (dose > 0).all():
        raise ValueError("the amplitudes must add up to a positive dose")
    pairs = a[..., :, None] * a[..., None, :]
    pairs = pairs / ((rate[..., :, None] + rate[..., None, :]) * (rate + repair)[..., :, None])
    return np.asarray(2.0 * pairs.sum(axis=(-2, -1)) / dose**2)


def bed(
    dose_gy: npt.ArrayLike,
    alpha_beta_gy: float,
    *,
    g: npt.ArrayLike | None = None,
    effective_half_life_s: npt.ArrayLike | None = None,
    repair_half_life_s: float | None = None,
) -> FloatArray:
    """Biologically effective dose D (1 + G D / (alpha/beta)), Gy.

    Parameters
    ----------
    dose_gy : array_like
    alpha_beta_gy : float
        Of the tissue, see `TISSUES`.
    g : array_like, optional
        Protraction factor, 1 for a dose given at once.
    effective_half_life_s, repair_half_life_s : optional
        Instead of `g`: one exponential, see `g_factor`.

    Returns
    -------
    ndarray
        NaN for a dose that is not known.

    Raises
    ------
    ValueError
        If alpha/beta is not positive, a dose is negative, `g` is outside 0 to 1, or there is neither `g` nor
        both half-lives.

    Examples
    --------
    >>> float(bed(2.0, 10.0, g=1.0))
    2.4
    """
    dose = np.asarray(dose_gy, np.float64)
    if (dose < 0).any():
        raise ValueError("a dose is negative")
    _check_ratio(alpha_beta_gy)
    factor = _protraction(g, effective_half_life_s, repair_half_life_s)
    return np.asarray(dose * (1.0 + factor * dose / alpha_beta_gy))


def eqd2(bed_gy: npt.ArrayLike, alpha_beta_gy: float) -> FloatArray:
    """Dose in fractions of 2 Gy with the same effect, BED / (1 + 2 / (alpha/beta)), Gy.

    Raises
    ------
    ValueError
        If alpha/beta is not positive or a dose is negative.

    Examples
    --------
    >>> round(float(eqd2(bed(60.0, 10.0, g=1 / 30), 10.0)), 6)
    60.0
    """
    dose = np.asarray(bed_gy, np.float64)
    if (dose < 0).any():
        raise ValueError("a dose is negative")
    _check_ratio(alpha_beta_gy)
    return np.asarray(dose / (1.0 + 2.0 / alpha_beta_gy))


def bed_map(
    dose: Estimate,
    alpha_beta_gy: float,
    *,
    g: float | None = None,
    effective_half_life_s: float | None = None,
    repair_half_life_s: float | None = None,
    as_eqd2: bool = False,
) -> Estimate:
    """BED, or EQD2, of every voxel with its error; arguments as in `bed`.

    The error is that of the dose alone, times the derivative 1 + 2 G D / (alpha/beta).

    Raises
    ------
    UnitMismatch
        If it is no absorbed dose.
    ValueError
        As `bed`; a dose below zero, which noise can give, is kept with its sign and no quadratic part.
    """
    if dose.quantity != "absorbed_dose":
        raise UnitMismatch(
            "an absorbed dose is needed", found=f"{dose.quantity} [{dose.unit}]", needed="absorbed_dose [Gy]"
        )
    _check_ratio(alpha_beta_gy)
    factor = float(_protraction(g, effective_half_life_s, repair_half_life_s))
    scale = 1.0 / (1.0 + 2.0 / alpha_beta_gy) if as_eqd2 else 1.0
    gy = dose.value.data.astype(np.float64)
    quadratic = factor * np.maximum(gy, 0.0) / alpha_beta_gy
    quantity = "equieffective_dose_2gy" if as_eqd2 else "biologically_effective_dose"
    numbers = {"alpha_beta_gy": alpha_beta_gy, "g": factor}
    result = dose.value.derived(
        gy * (1.0 + quadratic) * scale, quantity, "Gy", make_step(quantity, **numbers)
    )
    error = dose.standard_error.data * (1.0 + 2.0 * quadratic) * scale
    return Estimate(
        result,
        result.replace(data=error, warnings=()),
        dose.flags,
        # What voxels share in their dose they do not share in equal parts of the BED: the highest is stated.
        dose.calibration_relative * float(np.nanmax((1 + 2 * quadratic) / (1 + quadratic), initial=1.0)),
        {**dose.decisions, "radiobiology": numbers},
    )


def tissue(name: str) -> Tissue:
    """Defaults of a tissue.

    Raises
    ------
    UnsupportedInput
        If there are none.
    """
    if name not in TISSUES:
        raise UnsupportedInput(
            "no radiosensitivity is known for this tissue",
            found=name,
            needed="one of " + ", ".join(TISSUES),
            next_step="give alpha/beta as a number",
        )
    return TISSUES[name]


def _check_ratio(alpha_beta_gy: float) -> None:
    if not (math.isfinite(alpha_beta_gy) and alpha_beta_gy > 0):
        raise ValueError(f"alpha_beta_gy must be positive, not {alpha_beta_gy!r}")


def _protraction(
    g: npt.ArrayLike | None,
    effective_half_life_s: npt.ArrayLike | None,
    repair_half_life_s: float | None,
) -> FloatArray:
    halves = (effective_half_life_s, repair_half_life_s)
    if g is not None and halves != (None, None):
        raise ValueError("give g or half-lives, not both")
    if g is None:
        if effective_half_life_s is None or repair_half_life_s is None:
            raise ValueError("give g, or both effective_half_life_s and repair_half_life_s")
        return g_factor(effective_half_life_s, repair_half_life_s)
    factor = np.asarray(g, np.float64)
    if ((factor < 0) | (factor > 1)).any():
        raise ValueError("g must be between 0 and 1")
    return factor
