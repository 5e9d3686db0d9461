"""What changes while a series runs: blood after an injection, tissue by perfusion, temperature by heating.

Convolutions run on a fine grid of their own and share nothing with the code that they test.

References
----------
.. [1] Parker et al., Magn. Reson. Med. 2006, 56:993: population input function.
.. [2] McGrath et al., Magn. Reson. Med. 2009, 61:1173: rodent input function, model B.
.. [3] Tofts et al., J. Magn. Reson. Imaging 1999, 10:223: extended model with plasma.
.. [4] Sapareto and Dewey, Int. J. Radiat. Oncol. Biol. Phys. 1984, 10:787: equivalent minutes at 43 Cel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput

FloatArray = npt.NDArray[np.float64]

FINE_STEP_S = 0.02
HEAT_CAPACITY_J_ML_K = 4.18
"""Of tissue like water, per volume."""
THRESHOLD_CEL, COOLEST_CEL = 43.0, 39.0
"""Where the halving per degree begins; below the second no dose is counted."""


def _parker(time_min: FloatArray) -> FloatArray:
    """Whole blood, mmol/L [1]_."""
    peaks = ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
    bolus = sum(
        a / (s * math.sqrt(2 * math.pi)) * np.exp(-((time_min - t) ** 2) / (2 * s * s)) for a, t, s in peaks
    )
    return np.asarray(bolus + 1.050 * np.exp(-0.1685 * time_min) / (1 + np.exp(-38.078 * (time_min - 0.483))))


def _mcgrath(time_s: FloatArray) -> FloatArray:
    """Whole blood of a rodent, mmol/L [2]_."""
    late = 3.4 * np.exp(-0.045 * (time_s - 7)) + 1.81 * np.exp(-0.0015 * (time_s - 7))
    return np.where(time_s <= 7, (3.4 + 1.81) * time_s / 7, late)


_BLOOD: dict[str, Callable[[FloatArray], FloatArray]] = {
    "parker": lambda time_s: _parker(time_s / 60),
    "mcgrath_rodent": _mcgrath,
}


def blood_mmol_l(name: str, time_s: npt.ArrayLike, *, arrival_s: float = 0.0) -> FloatArray:
    """Concentration in whole blood after an injection that arrives at `arrival_s`, 0 before.

    Raises
    ------
    UnsupportedInput
        If there is no input of that name.
    """
    if name not in _BLOOD:
        raise UnsupportedInput(
            "the phantom's plasma input is not known", found=name, needed="one of " + ", ".join(_BLOOD)
        )
    since = np.asarray(time_s, np.float64) - arrival_s
    return np.where(since < 0, 0.0, _BLOOD[name](np.maximum(since, 0.0)))


def extended_tofts(
    time_s: npt.ArrayLike,
    plasma: Callable[[FloatArray], FloatArray],
    *,
    ktrans_per_min: float,
    ve: float,
    vp: float,
) -> FloatArray:
    """Concentration in tissue, mmol/L [3]_: ``vp Cp + Ktrans Cp (x) exp(-kep t)`` on a fine grid."""
    wanted = np.asarray(time_s, np.float64)
    fine = np.arange(0.0, float(wanted.max()) + 2 * FINE_STEP_S, FINE_STEP_S)
    arriving = plasma(fine)
    held = np.zeros_like(fine)
    if ktrans_per_min > 0:
        rate = ktrans_per_min / 60
        decay = math.exp(-rate / ve * FINE_STEP_S)
        # trapezoid over each fine step, then exponential wash-out
        gain = 0.5 * FINE_STEP_S * rate * (arriving[:-1] * decay + arriving[1:])
        for n, step in enumerate(gain.tolist(), start=1):
            held[n] = held[n - 1] * decay + step
    return np.asarray(vp * plasma(wanted) + np.interp(wanted, fine, held))


def heating_rate_cel_per_s(specific_power_w_g: float, concentration_mg_ml: float) -> float:
    """How fast tissue warms at first."""
    return specific_power_w_g * concentration_mg_ml * 1e-3 / HEAT_CAPACITY_J_ML_K


def warming_cel(time_s: npt.ArrayLike, rate_cel_per_s: float, loss_per_s: float) -> FloatArray:
    """Rise of temperature by constant heating against a loss in proportion to it (lumped bioheat)."""
    t = np.asarray(time_s, np.float64)
    return rate_cel_per_s * t if loss_per_s == 0 else -rate_cel_per_s / loss_per_s * np.expm1(-loss_per_s * t)


def cem43_min(temperature_cel: Callable[[FloatArray], FloatArray], end_s: float) -> float:
    """Equivalent minutes at 43 Cel from 0 to `end_s` [4]_."""
    t = np.linspace(0.0, end_s, max(2, math.ceil(end_s / FINE_STEP_S) + 1))
    celsius = temperature_cel(t)
    base = np.where(celsius >= THRESHOLD_CEL, 0.5, 0.25)
    rate = np.where(celsius < COOLEST_CEL, 0.0, base ** (THRESHOLD_CEL - celsius))
    return float(np.sum((rate[1:] + rate[:-1]) / 2 * np.diff(t))) / 60
