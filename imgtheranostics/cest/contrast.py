"""Contrasts of Z-spectra: asymmetry, inverse metrics, T1-corrected exchange, Lorentzian difference.

Water is at 0 ppm and downfield is positive; the label of a contrast at ``w`` is Z(w + b0), its reference the
mirrored Z(-w + b0) unless another is given. All contrasts are fractions (`arex` in 1/s). Outside the range in
which both sides were measured they are NaN: an asymmetric list of offsets is never mirrored about its middle.

The module can be called: ``contrast(volume, ...)`` is `imgtheranostics.cest.contrast_maps.contrast`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_spline
from imgtheranostics.cest.contrast_errors import LEAST_SIGNAL_TO_NOISE, ContrastKind, measure
from imgtheranostics.cest.fold_change import Difference, FoldChange, difference, fold_change
from imgtheranostics.cest.label_places import check_places
from imgtheranostics.cest.label_reference import PairKind, SignalPair, pair_contrast, rate_factor
from imgtheranostics.cest.lorentzian_background import lorentzian_difference, lorentzian_reference
from imgtheranostics.fit import FloatArray

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate, Volume

__all__ = [
    "AMIDE_PPM",
    "LEAST_SIGNAL_TO_NOISE",
    "ContrastKind",
    "Difference",
    "FoldChange",
    "apt_weighted",
    "arex",
    "difference",
    "fold_change",
    "lorentzian_difference",
    "lorentzian_reference",
    "measure",
    "mtr_asym",
    "mtr_norm_ref",
    "mtr_rex",
    "pcm",
]

AMIDE_PPM = 3.5
"""Offset of backbone amides, where APT-weighted images are taken."""


def mtr_asym(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Asymmetry of the magnetisation transfer ratio, Z(-w) - Z(+w), as fraction.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra Mz/M0 in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Saturation offsets in any order, each once, without the unsaturated references.
    at_ppm : float or (m,) array_like
        Offsets of the label from water.
    b0_ppm : float or (...) array_like, optional
        Position of water; 0 without it. NaN gives NaN.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Returns
    -------
    (..., m) ndarray
        In the type of `z`. NaN where ``w + b0`` or ``-w + b0`` lies outside the measured offsets, and for
        voxels with a sample that is not finite.

    Raises
    ------
    ValueError
        If shapes do not fit, or an offset occurs twice.
    ImplausibleValue
        If an offset is an unsaturated reference, or offsets or positions of water are in Hz.
    """
    check_places(at_ppm, b0_ppm)
    return z_spline.spline_values(z, offset_ppm, at_ppm, b0_ppm, mirror=True, mask=mask, workers=workers)


def apt_weighted(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike = AMIDE_PPM,
    b0_ppm: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """APT-weighted contrast: `mtr_asym` at 3.5 ppm, as fraction (images of it are in percent).

    By convention it is taken with B1rms of about 2 uT: at other B1 it is not comparable with published
    values, which only the reader of the acquisition can tell. Parameters and result as `mtr_asym`.
    """
    return mtr_asym(z, offset_ppm, at_ppm=at_ppm, b0_ppm=b0_ppm, mask=mask, workers=workers)


def mtr_norm_ref(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Magnetisation transfer ratio relative to the reference, (Zref - Zlab) / Zref, as fraction.

    Parameters
    ----------
    z, offset_ppm, at_ppm, b0_ppm, mask, workers
        As in `mtr_asym`.
    reference : (..., m) array_like, optional
        Zref at each `at_ppm`, such as a `lorentzian_reference` or a fitted spectrum without the pool (or one
        value per offset, or one for all); the mirrored offset without it.

    Returns
    -------
    (..., m) ndarray
        NaN where Zref is not above zero, else as `mtr_asym`.
    """
    return _pair_value("mtr_norm_ref", z, offset_ppm, at_ppm, b0_ppm, reference, mask, workers)


def pcm(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Proton-transfer contrast (Zref - Zlab) / (Zref - Zlab + Zref Zlab), as fraction.

    Parameters as `mtr_norm_ref`; NaN where Zlab or Zref is not above zero, else as `mtr_asym`.
    """
    return _pair_value("pcm", z, offset_ppm, at_ppm, b0_ppm, reference, mask, workers)


def mtr_rex(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Inverse contrast 1/Zlab - 1/Zref, in which direct saturation and MT cancel at steady state.

    Parameters as `mtr_norm_ref`; NaN where Zlab or Zref is not above zero, else as `mtr_asym`.
    """
    return _pair_value("mtr_rex", z, offset_ppm, at_ppm, b0_ppm, reference, mask, workers)


def arex(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    t1_s: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    duty_cycle: float | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Apparent exchange-dependent relaxation, MTRrex / T1 of water, in 1/s.

    Parameters
    ----------
    z, offset_ppm, at_ppm, b0_ppm, reference, mask, workers
        As in `mtr_rex`.
    t1_s : float or (...) array_like
        T1 of water in s. NaN where a map of it is not above zero.
    duty_cycle : float, optional
        Of a train of pulses: MTRrex / (DC T1). This form is unconfirmed; without it, saturation is taken as
        continuous.

    Returns
    -------
    (..., m) ndarray

    Raises
    ------
    ValueError
        If the T1 map has another shape.
    ImplausibleValue
        If one T1 for all is not above zero, T1 is in ms, or the duty cycle is no fraction.
    """
    inverse = mtr_rex(
        z, offset_ppm, at_ppm=at_ppm, b0_ppm=b0_ppm, reference=reference, mask=mask, workers=workers
    )
    factor, _ = rate_factor(t1_s, duty_cycle, inverse.shape[:-1])
    return np.asarray((inverse * factor).astype(inverse.dtype))


def _pair_value(
    kind: PairKind,
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None,
    reference: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> FloatArray:
    pair = SignalPair.of(z, offset_ppm, at_ppm, b0_ppm, reference, mask=mask, workers=workers)
    value = pair_contrast(kind, pair.label, pair.reference).value
    return value.astype(np.float32 if np.asarray(z).dtype == np.float32 else np.float64)


class _CallableModule(ModuleType):
    """The module of the array level that is also the job on Volumes: both are called ``contrast``."""

    def __call__(
        self, v: Volume | Estimate, post: Volume | Estimate | None = None, **options: Any
    ) -> Estimate:
        """Contrast maps of a scan, or of the difference post - pre of two.

        Parameters
        ----------
        v, post, **options
            As `imgtheranostics.cest.contrast_maps.contrast` takes them.
        """
        from imgtheranostics.cest import contrast_maps

        estimate: Estimate = contrast_maps.contrast(v, post, **options)
        return estimate


sys.modules[__name__].__class__ = _CallableModule
