"""Names of methods and models, without any numerics, so that the command line can list them."""

from __future__ import annotations

T1_METHODS = {
    "flip_angle": ("nlls", "linear", "wlls"),
    "inversion_time": ("magnitude", "signed", "complex", "two_parameter", "look_locker"),
    "repetition_time": ("two_parameter", "three_parameter"),
}
"""Methods of T1 by the axis along which the images vary; the first is the default."""

DECAY_MODELS = {
    "t2": ("exponential", "noise_floor", "rician", "offset", "epg", "log_linear", "wls"),
    "t2star": ("rician", "noise_floor", "exponential", "offset", "arlo", "log_linear", "wls"),
}
"""Models of signal decay by the quantity that they give."""

NOISE_MODELS = ("noise_floor", "rician")
"""Models that need a noise level."""


def decay_model(model: str | None, *, noise_known: bool) -> str:
    """The model asked for; by default the least biased: with a noise level its exact mean, else none.

    >>> decay_model(None, noise_known=True)
    'rician'
    """
    return model or ("rician" if noise_known else "exponential")


RATES = ("r1", "r2", "r2star")
"""Relaxation rates that an agent changes."""

CONCENTRATION_UNITS = ("mmol/L", "mg/mL", "particles/mL")
"""What a concentration may be given in."""

DCE_MODELS = ("tofts", "extended_tofts", "patlak", "2cxm", "2cum")
"""Models of tracer exchange."""

POPULATION_AIFS = ("parker", "georgiou", "weinmann", "mcgrath_rodent")
"""Arterial input functions of populations."""
