"""Water shift and transmit field from one series with a short pulse: WASABI, and WASABI with T1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.cest.normalisation import LARGEST_Z
from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, FloatArray, PlanarSignal, planar, shortfall
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]
Bounds = Mapping[str, tuple[float, float]]

WASABI_BOUNDS: Bounds = {"b1_ut": (0.0, 20.0), "b0_ppm": (-2.0, 2.0), "c": (0.0, 1.0), "d": (0.0, 2.0)}
"""Bounds of the published scripts (cest.md F9)."""

WASABI_T1_BOUNDS: Bounds = {"relative_b1": (0.3, 2.0), "b0_ppm": (-1.0, 1.0), "t1_s": (0.1, 6.0)}
"""Wider than the published look-up (relative B1 0.8 to 1.2, T1 0.5 to 2.5 s; cest.md F10), which clips."""

NOISE_EXPLAINED = 24.0
"""In one of a thousand spectra of n samples of noise, the best pattern explains more of the variance than
``1 - exp(-24 / (n - 4))`` (by trial for 9 to 51 offsets at 3 and 7 T): 0.59 of 31 samples, 0.95 of 12."""

_FLAT = 1e-6
_BLOCK_VOXELS = 16_384
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-7
_FRINGE_PARTS = 16.0
_GUESSED_T1_S = 1.2


@dataclass(frozen=True, eq=False)
class _Setting:
    """What one fit is: model, pulse, bounds, and the size near zero below which steps do not matter."""

    model: int
    offset_ppm: DoubleArray
    scales: tuple[float, float, float]
    recovery_s: DoubleArray
    names: tuple[str, ...]
    lower: DoubleArray
    upper: DoubleArray
    nominal_b1_ut: float


def wasabi(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    pulse_duration_s: float,
    imaging_frequency_mhz: float,
    nominal_b1_ut: float,
    bounds: Bounds | None = None,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Water shift and B1 from the fringes that a short block pulse leaves, Z = ``|c - d S(B1, b0)|``.

    ``S = sin^2(atan(w1/D)) sin^2(sqrt(w1^2 + D^2) tp/2)`` with ``D = 2 pi f (w - b0)``. Starts are the best
    places of a table over the bounds, so that no start value has to be given. The global minimum may be
    another than that of the truth where noise is above 2 %, and B1 below 0.3 uT is not told from d.

    Parameters
    ----------
    z : (..., n) array_like
        Spectra Mz/M0 of the WASABI series, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets of the pulse, any order, each once; at least five.
    pulse_duration_s : float
        Of the block pulse, such as 0.005 at 3 T.
    imaging_frequency_mhz : float
        Of water.
    nominal_b1_ut : float
        B1 that was set, such as 3.7 uT at 3 T.
    bounds : mapping of str to (low, high), optional
        Of ``b1_ut``, ``b0_ppm``, ``c`` and ``d``, in place of `WASABI_BOUNDS`.
    noise_sd : float or (...) array_like, optional
        Noise of a sample for the standard errors; otherwise the residuals tell.
    mask : (...) array_like of bool, optional
        Voxels outside are NaN and `Flag.MASKED_OUT`.
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``b1_ut``, ``relative_b1`` (to nominal), ``b0_ppm``, ``c``, ``d``. `Flag.BELOW_NOISE` with NaN where
        no pattern explains more than it would of noise, `Flag.AT_BOUND` where a parameter ends at a bound
        (it keeps its value and has no standard error), `Flag.ILL_CONDITIONED` where errors are undetermined,
        `Flag.OUTSIDE_RANGE` where a sample is above 1.2.

    Raises
    ------
    ValueError
        If shapes or bounds do not fit, or there are fewer offsets than parameters.
    ImplausibleValue
        If pulse, frequency or B1 cannot be what they are called.

    References
    ----------
    .. [1] Schuenke et al., Magn Reson Med 2017;77:571, doi:10.1002/mrm.26133.
    """
    from imgtheranostics.kernels.wasabi import FREE_AMPLITUDES

    limits = _checked_bounds(bounds, WASABI_BOUNDS)
    offsets = OffsetList.of(offset_ppm, least=len(limits) + 1, purpose="WASABI")
    scales = _scales(pulse_duration_s, imaging_frequency_mhz, nominal_b1_ut)
    low, high = (np.array([limit[k] for limit in limits.values()]) for k in (0, 1))
    ppm = np.array(offset_ppm, dtype=np.float64)
    setting = _Setting(
        FREE_AMPLITUDES, ppm, scales, np.zeros(offsets.n), tuple(limits), low, high, nominal_b1_ut
    )
    return _fitted(z, setting, noise_sd, mask, workers)


def wasabi_t1(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    pulse_duration_s: float,
    imaging_frequency_mhz: float,
    nominal_b1_ut: float,
    recovery_time_s: npt.ArrayLike,
    bounds: Bounds | None = None,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Water shift, B1 and T1: as `wasabi`, with recovery from saturation before each pulse.

    ``Z = |(1 - exp(-Trec/T1)) (1 - 2 (pi g B1 tp)^2 sinc^2(tp sqrt((g B1)^2 + Df^2)))|``, g in Hz/uT.

    Parameters
    ----------
    z, offset_ppm, pulse_duration_s, imaging_frequency_mhz, nominal_b1_ut, noise_sd, mask, workers
        As in `wasabi`.
    recovery_time_s : float or (n,) array_like
        Between the saturation of all magnetisation and the pulse; one value, or one per offset.
    bounds : mapping of str to (low, high), optional
        Of ``relative_b1``, ``b0_ppm`` and ``t1_s``, in place of `WASABI_T1_BOUNDS`.

    Returns
    -------
    Fit
        ``b1_ut``, ``relative_b1``, ``b0_ppm``, ``t1_s``; flags as `wasabi`. In the standard errors samples
        within their noise of zero count less, since noise changes the sign of what they are the magnitude of:
        they are then within 6 % of the scatter (settings at 3 and 7 T, 1 % noise).

    Raises
    ------
    ValueError, ImplausibleValue
        As `wasabi`; or if a recovery time is not above zero.

    References
    ----------
    .. [1] Schuenke et al., WASABITI, Proc ISMRM 2021 (form as in the scripts named in cest.md F10).
    """
    from imgtheranostics.kernels.wasabi import RECOVERY

    limits = _checked_bounds(bounds, WASABI_T1_BOUNDS)
    offsets = OffsetList.of(offset_ppm, least=len(limits) + 1, purpose="WASABI with T1")
    scales = _scales(pulse_duration_s, imaging_frequency_mhz, nominal_b1_ut)
    low, high = (np.array([limit[k] for limit in limits.values()]) for k in (0, 1))
    if not low[2] > 0.0:
        raise ValueError("the lower bound of t1_s must be above 0")
    low[0], high[0] = low[0] * nominal_b1_ut, high[0] * nominal_b1_ut
    recovery = np.asarray(recovery_time_s, dtype=np.float64)
    if recovery.shape not in ((), (offsets.n,)):
        raise ValueError(f"recovery_time_s has shape {recovery.shape}, the offsets ({offsets.n},)")
    if not (np.isfinite(recovery) & (recovery > 0.0) & (recovery < 60.0)).all():
        raise ImplausibleValue(
            "a recovery time cannot be that",
            where="recovery_time_s",
            found=f"{recovery.min():g} to {recovery.max():g} s",
            needed="above 0 and below 60 s",
            next_step="give the time from saturation to the pulse in s, not in ms",
        )
    recovery = np.array(np.broadcast_to(recovery, (offsets.n,)))
    ppm = np.array(offset_ppm, dtype=np.float64)
    names = ("b1_ut", "b0_ppm", "t1_s")
    setting = _Setting(RECOVERY, ppm, scales, recovery, names, low, high, nominal_b1_ut)
    return _fitted(z, setting, noise_sd, mask, workers)


def _checked_bounds(bounds: Bounds | None, usual: Bounds) -> dict[str, tuple[float, float]]:
    """The usual bounds with those given in their place."""
    limits = {name: (float(low), float(high)) for name, (low, high) in usual.items()}
    for name, limit in (bounds or {}).items():
        if name not in limits:
            raise ValueError(f"bounds are for {', '.join(limits)}; found {name!r}")
        low, high = (float(value) for value in limit)
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"bounds of {name} must be finite and increase, found {low:g} to {high:g}")
        limits[name] = (low, high)
    for name in ("b1_ut", "relative_b1", "c", "d"):
        if name in limits and limits[name][0] < 0.0:
            raise ValueError(f"the lower bound of {name} must not be below 0")
    return limits


def _scales(
    pulse_duration_s: float, imaging_frequency_mhz: float, nominal_b1_ut: float
) -> tuple[float, float, float]:
    """Radians per second per uT and per ppm, and half the pulse."""
    limits = {
        "pulse_duration_s": (pulse_duration_s, 1e-5, 0.2, "s", "give it in s, not in ms"),
        "imaging_frequency_mhz": (
            imaging_frequency_mhz,
            10.0,
            1200.0,
            "MHz",
            "give it in MHz, not in Hz; that of a field in T is 42.577 times as much",
        ),
        "nominal_b1_ut": (nominal_b1_ut, 1e-2, 200.0, "uT", "give it in uT, not in T or Hz"),
    }
    for name, (value, low, high, unit, next_step) in limits.items():
        if not low <= value <= high:
            raise ImplausibleValue(
                "the pulse cannot be that",
                where=name,
                found=f"{value:g} {unit}",
                needed=f"{low:g} to {high:g} {unit}",
                next_step=next_step,
            )
    return GAMMA_RAD_PER_S_UT, 2.0 * np.pi * float(imaging_frequency_mhz), 0.5 * float(pulse_duration_s)


def _table(setting: _Setting) -> tuple[DoubleArray, DoubleArray, npt.NDArray[np.float32]]:
    """Fields, shifts, and orthonormal patterns of the squared signal at each, (r, n, fields * shifts)."""
    from imgtheranostics.kernels.wasabi import FREE_AMPLITUDES

    per_ut, per_ppm, half_s = setting.scales
    low, high = setting.lower, setting.upper
    fields, shifts = (
        low[j] + (np.arange(count) + 0.5) * (high[j] - low[j]) / count
        for j, per in ((0, per_ut), (1, per_ppm))
        for count in [int(np.ceil((high[j] - low[j]) * per * half_s * _FRINGE_PARTS / np.pi))]
    )
    w1 = per_ut * fields[:, np.newaxis, np.newaxis]
    distance = per_ppm * (setting.offset_ppm[:, np.newaxis] - shifts)
    turning = np.sqrt(w1**2 + distance**2)
    pattern = (w1 / turning * np.sin(turning * half_s)) ** 2
    pattern = pattern.transpose(1, 0, 2).reshape(setting.offset_ppm.size, -1)
    if setting.model == FREE_AMPLITUDES:
        rows = [pattern, pattern**2]
    else:
        recovered = -np.expm1(-setting.recovery_s / _GUESSED_T1_S)[:, np.newaxis]
        rows = [(recovered * (1.0 - 2.0 * pattern)) ** 2]
    basis: list[DoubleArray] = []
    for row in rows:
        size = np.linalg.norm(row, axis=0)
        if setting.model == FREE_AMPLITUDES:
            row = row - row.mean(axis=0)
        for known in basis:
            row = row - known * (known * row).sum(axis=0)
        left = np.linalg.norm(row, axis=0)
        own = left > 1e-6 * size
        basis.append(np.where(own, row / np.where(own, left, 1.0), 0.0))
    rest = -setting.offset_ppm.size % 4
    return fields, shifts, np.pad(np.stack(basis), ((0, 0), (0, rest), (0, 0))).astype(np.float32)


def _fitted(
    z: npt.ArrayLike,
    setting: _Setting,
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> Fit:
    from imgtheranostics.kernels import wasabi as kernels

    n, p = setting.offset_ppm.size, setting.lower.size
    spectra = planar(z, n, "z")
    noise = None if noise_sd is None else spectra.flat(noise_sd, "noise_sd").astype(np.float64)
    result = _Result.of(spectra, mask, p)
    fields, shifts, table = _table(setting)
    scale = np.array([1e-3, 1e-3, 1e-3, 1e-3][:p])
    index = np.flatnonzero(result.flags == 0)
    with thread_limit(workers):
        for first in range(0, index.size, _BLOCK_VOXELS):
            voxels = index[first : first + _BLOCK_VOXELS]
            samples = np.ascontiguousarray(spectra.samples[:, voxels].T, dtype=np.float64)
            m = voxels.size
            values, inverse, squares = np.empty((m, p)), np.empty((m, p)), np.empty((m, 2))
            iterations, state = np.empty(m, np.int32), np.empty(m, np.uint8)
            kernels.fit_tip_patterns(
                setting.model,
                samples,
                setting.offset_ppm,
                setting.scales,
                setting.recovery_s,
                setting.lower,
                setting.upper,
                scale,
                fields,
                shifts,
                table,
                _MAX_ITERATIONS,
                _TOLERANCE,
                values,
                inverse,
                squares,
                iterations,
                state,
            )
            known = None if noise is None else noise[voxels]
            result.take(voxels, setting, values, inverse, squares, iterations, state, known)
            high = samples.max(axis=1) > LARGEST_Z
            result.flags[voxels] |= np.where(high, Flag.OUTSIDE_RANGE, 0).astype(np.uint16)
    return result.fit(spectra, setting)


@dataclass(frozen=True, eq=False)
class _Result:
    """Parameters of every voxel, filled block by block."""

    values: FloatArray
    errors: FloatArray
    r_squared: FloatArray
    rmse: FloatArray
    iterations: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, spectra: PlanarSignal, mask: npt.ArrayLike | None, p: int) -> _Result:
        """Nothing fitted yet; flags of the voxels that are not to be fitted."""
        m, dtype = spectra.n_voxels, spectra.samples.dtype
        chosen = spectra.chosen(mask)
        finite = np.isfinite(spectra.samples.min(axis=0)) & np.isfinite(spectra.samples.max(axis=0))
        flags = np.where(chosen, np.where(finite, 0, Flag.INVALID_INPUT), Flag.MASKED_OUT)
        values, errors = (np.full((p, m), np.nan, dtype) for _ in range(2))
        r_squared, rmse = (np.full(m, np.nan, dtype) for _ in range(2))
        return cls(values, errors, r_squared, rmse, np.zeros(m, np.int32), flags.astype(np.uint16))

    def take(
        self,
        voxels: npt.NDArray[np.int64],
        setting: _Setting,
        values: DoubleArray,
        inverse: DoubleArray,
        squares: DoubleArray,
        iterations: npt.NDArray[np.int32],
        state: npt.NDArray[np.uint8],
        noise: DoubleArray | None,
    ) -> None:
        """Judge what a block of voxels gave, and keep it."""
        from imgtheranostics.kernels.wasabi import CONVERGED, UNDETERMINED

        n, p = setting.offset_ppm.size, setting.lower.size
        left, whole = squares.T
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(whole > n * _FLAT**2, 1.0 - left / whole, 0.0)
        scatter = np.sqrt(left / (n - p)) / shortfall(n - p) if noise is None else noise
        errors = np.sqrt(inverse) * scatter[:, np.newaxis]
        bound = ((values <= setting.lower) | (values >= setting.upper)).any(axis=1)
        settled = (state & CONVERGED) != 0
        found = explained >= -np.expm1(-NOISE_EXPLAINED / max(n - 4, 1))
        flags = np.where(bound, Flag.AT_BOUND, 0)
        flags |= np.where((state & UNDETERMINED) != 0, Flag.ILL_CONDITIONED, 0)
        flags = np.where(settled, flags, Flag.NOT_CONVERGED)
        flags = np.where(found, flags, Flag.BELOW_NOISE)
        missing = ~(settled & found)
        values[missing] = np.nan
        errors[missing] = np.nan
        self.values[:, voxels], self.errors[:, voxels] = values.T, errors.T
        self.r_squared[voxels], self.rmse[voxels] = explained, np.sqrt(left / n)
        self.iterations[voxels], self.flags[voxels] = iterations, flags.astype(np.uint16)

    def fit(self, spectra: PlanarSignal, setting: _Setting) -> Fit:
        """Everything in the leading shape of the spectra."""
        parameters, errors = (
            {name: spectra.restored(row) for name, row in zip(setting.names, rows, strict=True)}
            for rows in (self.values, self.errors)
        )
        for named in (parameters, errors):
            named["relative_b1"] = named["b1_ut"] / named["b1_ut"].dtype.type(setting.nominal_b1_ut)
        units = {"b1_ut": "uT", "b0_ppm": "ppm", "t1_s": "s"}
        return Fit(
            parameters=parameters,
            standard_errors=errors,
            r_squared=spectra.restored(self.r_squared),
            rmse=spectra.restored(self.rmse),
            iterations=spectra.restored(self.iterations),
            flags=spectra.restored(self.flags),
            units={name: units.get(name, "1") for name in parameters},
        )
