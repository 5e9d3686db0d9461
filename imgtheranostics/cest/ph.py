"""PH from exchange: the ratio of two sites, or of one site at two powers, and its calibration.

The ratio of two transfers hardly depends on the concentration of the agent, and on pH strongly. It also
depends on power and duration of the saturation, temperature and field, so that a calibration holds for one
protocol, and only as far as the ratio rises or falls throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.ph_amplitudes import amplitude_ratio
from imgtheranostics.cest.ph_calibration import Calibration, calibrate
from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.cest.ph_conversion import converted
from imgtheranostics.cest.ph_files import load_calibration
from imgtheranostics.cest.ph_polynomial import Scale
from imgtheranostics.cest.ph_ratio import Spectrum, TransferKind, ratio_of_offsets, ratio_of_powers
from imgtheranostics.cest.ph_simulation import ConcentrationBias, concentration_bias, simulated_calibration
from imgtheranostics.cest.pool_design import Pool, Range
from imgtheranostics.fit import Fit

__all__ = [
    "Calibration",
    "ConcentrationBias",
    "Conditions",
    "calibrate",
    "calibrate_from_spectra",
    "concentration_bias",
    "converted",
    "load_calibration",
    "ratio",
    "simulated_calibration",
    "two_b1_ratio",
]

RatioKind = Literal["mtr_asym", "inverse", "norm_ref", "amplitude"]


def ratio(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    kind: RatioKind = "mtr_asym",
    at_ppm: Sequence[float] = (4.2, 5.5),
    b0_ppm: npt.ArrayLike | None = None,
    b0_se_ppm: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    sample_weights: npt.ArrayLike | None = None,
    m0_shares: npt.ArrayLike | None = None,
    pools: Sequence[Pool] | None = None,
    baseline: Range | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Ratio of the saturation transfer at two offsets, RST = g(first)/g(second).

    Parameters
    ----------
    z : (..., n) array_like
        Mz/M0 as fraction, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets in any order, each once.
    kind : {"mtr_asym", "inverse", "norm_ref", "amplitude"}
        g with Zref at the mirrored offset: Zref - Z; (Zref - Z)/Z, which depends least on concentration;
        1 - Z/Zref; or the amplitude of a fitted pool.
    at_ppm : (float, float)
        Both sites; iopamidol 4.2 and 5.5.
    b0_ppm, b0_se_ppm : float or (...) array_like, optional
        Position of water, and its standard error. Fits of ``amplitude`` find water themselves.
    noise_sd : float or (...) array_like, optional
        Noise of each sample; estimated from the spectrum without it, from 6 offsets on.
    sample_weights : (n, k) array_like, optional
        How k samples with independent noise `noise_sd` entered each of those given, where the spectra were
        smoothed; as if they were measured without it.
    m0_shares : (n, k) array_like, optional
        How independent noise `noise_sd` enters the unsaturated signal of each sample; without it, none does.
        The noise of one that is common to all of a spectrum cancels in the ratio.
    pools : sequence of Pool, optional
        For ``amplitude``: Lorentzians, with a pool ``water``; the two whose centres start nearest to `at_ppm`
        are divided. Four Lorentzians for iopamidol by default.
    baseline : (float, float, float), optional
        For ``amplitude``, as `imgtheranostics.cest.pools.fit` takes it.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``ratio``, with standard errors from the noise of all samples and from the position of water, to first
        order. NaN with a flag: BELOW_NOISE where the second transfer is not above two of its standard errors
        (Fieller's 95 % interval of the ratio is then open); OUTSIDE_RANGE where an offset was not measured,
        or a signal to divide by is not above 0; INVALID_INPUT; flags of the fit of pools. `OUTSIDE_RANGE`
        with a value marks Z above 1.2.

    Raises
    ------
    ValueError
        If shapes do not fit, an offset occurs twice, or arguments do not belong to `kind`.
    ImplausibleValue
        If offsets look like Hz.

    References
    ----------
    .. [1] PMC3819166
    """
    places = _two_offsets(at_ppm)
    if kind == "amplitude":
        if b0_ppm is not None or b0_se_ppm is not None:
            raise ValueError("a fit of amplitudes finds the position of water itself: leave out b0_ppm")
        return amplitude_ratio(
            z,
            offset_ppm,
            places,
            pools=pools,
            baseline=baseline,
            noise_sd=noise_sd,
            mask=mask,
            workers=workers,
        )
    if pools is not None or baseline is not None:
        raise ValueError(f"pools and baseline do not apply to kind {kind!r}")
    spectrum = Spectrum.of(
        z,
        offset_ppm,
        kind,
        places,
        b0_ppm=b0_ppm,
        b0_se_ppm=b0_se_ppm,
        noise_sd=noise_sd,
        mask=mask,
        workers=workers,
        sample_weights=sample_weights,
        m0_shares=m0_shares,
    )
    return ratio_of_offsets(spectrum)


def two_b1_ratio(
    z_low: npt.ArrayLike,
    z_high: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: float = 4.3,
    kind: TransferKind = "power",
    b0_ppm: npt.ArrayLike | None = None,
    b0_se_ppm: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    noise_high_sd: npt.ArrayLike | None = None,
    sample_weights: npt.ArrayLike | None = None,
    m0_shares: npt.ArrayLike | None = None,
    m0_high_shares: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Ratio of the transfer of one site at a high over that at a low power, for agents with a single site.

    Parameters
    ----------
    z_low, z_high : (..., n) array_like
        Spectra at the low and at the high power.
    offset_ppm : (n,) array_like
        Offsets of both.
    at_ppm : float
        The site; iodixanol 4.3 (unconfirmed).
    kind : {"power", "mtr_asym", "inverse", "norm_ref"}
        ``power``: ST/(1 - ST) with ST = MTRasym, whose ratio is [(1 - ST)/ST] at the low over that at the
        high power: in the steady state without spillover it depends on the exchange rate and not on the
        concentration.
    b0_ppm, b0_se_ppm : float or (...) array_like, optional
        Position of water, taken as the same in both, and its standard error.
    noise_sd, noise_high_sd : float or (...) array_like, optional
        Noise of each sample, and that of `z_high` where it differs.
    sample_weights, m0_shares, m0_high_shares : array_like, optional
        As those of `ratio`; each scan has an unsaturated signal of its own.
    mask, workers
        As those of `ratio`.

    Returns
    -------
    Fit
        ``ratio``, flags as those of `ratio`; the denominator is the transfer at the low power.

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    .. [1] Wu R, Longo DL, Aime S, Sun PZ. NMR Biomed 2015. doi:10.1002/nbm.3284, PMC4423622
    """
    noise_high = noise_sd if noise_high_sd is None else noise_high_sd
    low, high = (
        Spectrum.of(
            z,
            offset_ppm,
            kind,
            [float(at_ppm)],
            b0_ppm=b0_ppm,
            b0_se_ppm=None,
            noise_sd=noise,
            mask=mask,
            workers=workers,
            sample_weights=sample_weights,
            m0_shares=shares,
        )
        for z, noise, shares in ((z_low, noise_sd, m0_shares), (z_high, noise_high, m0_high_shares))
    )
    if low.shape != high.shape:
        raise ValueError(f"the spectra have leading shapes {low.shape} and {high.shape}")
    return ratio_of_powers(high, low, b0_se_ppm)


def calibrate_from_spectra(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    ph: npt.ArrayLike,
    *,
    kind: RatioKind = "mtr_asym",
    at_ppm: Sequence[float] = (4.2, 5.5),
    b0_ppm: npt.ArrayLike | None = None,
    b0_se_ppm: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    degree: int | None = None,
    scale: Scale = "auto",
    conditions: Conditions | None = None,
) -> Calibration:
    """Calibration from the spectra of solutions of known pH.

    Parameters
    ----------
    z : (m, n) array_like
        One spectrum per solution, means over vials.
    offset_ppm : (n,) array_like
    ph : (m,) array_like
    kind, at_ppm, b0_ppm, b0_se_ppm, noise_sd
        As those of `ratio`; use the same for the scan.
    degree, scale
        As those of `calibrate`.
    conditions : Conditions, optional
        Power, duration, temperature and field; `kind` and `at_ppm` are filled in.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If a spectrum gives no ratio.
    IllConditioned
        As `calibrate`.
    """
    found = ratio(
        z, offset_ppm, kind=kind, at_ppm=at_ppm, b0_ppm=b0_ppm, b0_se_ppm=b0_se_ppm, noise_sd=noise_sd
    )
    values, errors = found.parameters["ratio"], found.standard_errors["ratio"]
    if values.ndim != 1:
        raise ValueError(f"one spectrum for each pH is needed, found leading shape {values.shape}")
    lost = ~np.isfinite(values)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} of {values.size} spectra give no ratio, numbers "
            f"{np.flatnonzero(lost).tolist()}: leave them out"
        )
    stated = Conditions() if conditions is None else conditions
    own = replace(stated, kind=kind, at_ppm=_two_offsets(at_ppm))
    stated.check(own)
    weighted = bool(np.isfinite(errors).all() and (errors > 0).all())
    return calibrate(
        values, ph, degree=degree, scale=scale, ratio_se=errors if weighted else None, conditions=own
    )


def _two_offsets(at_ppm: Sequence[float]) -> tuple[float, float]:
    places = tuple(float(at) for at in at_ppm)
    if len(places) != 2 or places[0] == places[1] or not all(at > 0 for at in places):
        raise ValueError(f"at_ppm must be two different offsets above 0, found {at_ppm!r}")
    return places[0], places[1]
