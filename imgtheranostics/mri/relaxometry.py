"""Relaxation times from signals at several settings of one parameter, on arrays."""

from __future__ import annotations

from imgtheranostics.mri.decay import fit_t2, fit_t2star
from imgtheranostics.mri.vfa import fit_vfa

__all__ = ["fit_t2", "fit_t2star", "fit_vfa"]
