"""Relaxation times from signals at several settings of one parameter, on arrays."""

from __future__ import annotations

from imgtheranostics.mri.decay import fit_t2, fit_t2star
from imgtheranostics.mri.recovery import (
    fit_inversion_recovery,
    fit_look_locker,
    fit_saturation_recovery,
)
from imgtheranostics.mri.vfa import fit_vfa

__all__ = [
    "fit_inversion_recovery",
    "fit_look_locker",
    "fit_saturation_recovery",
    "fit_t2",
    "fit_t2star",
    "fit_vfa",
]
