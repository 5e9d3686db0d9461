"""Saturation transfer at several powers or times, checked once, and what is made of its fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, PlanarSignal, planar
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]

LARGEST_CONTRAST = 1e9
"""No contrast of spectra is as large: inverse ones reach 1 over the noise."""

Metric = Literal["mtr_asym", "mtr_rex"]

B1_RANGE_UT = (0.01, 40.0)
"""Amplitudes of saturation that are taken without a word: beyond, they look like tesla or hertz."""

R1_RANGE_PER_S = (0.02, 100.0)
"""1/T1 of water from pure water to dense contrast agent; beyond, T1 was given, or milliseconds."""

LARGEST_LN_ERROR = 0.25
"""Standard error of ln k above which k is not known: the intercept of the omega plot is then less than two
standard errors above 0, which a rate beyond all powers reaches in 2 % of cases."""

NO_EFFECT_PROBABILITY = 0.01
"""How often noise alone would pass as an effect."""

LEAST_NOISE = 1e-9
"""Of the largest value: simulated values without noise still weigh alike."""

TINY = 1e-300

BLOCK = 8192
"""Voxels that are worked on at a time."""

UNITS = {"exchange_rate_per_s": "1/s", "fraction": "1"}


@dataclass(frozen=True, eq=False)
class Block:
    """ln k and ln u, u = f k, of some voxels, and what is known of them.

    Attributes
    ----------
    logs : (m, 2) ndarray
        NaN where there is none.
    covariance : (m, 3) ndarray
        Variances of both and their covariance; NaN where undetermined.
    by_r1 : (m, 2) ndarray
        Change of both with ln R1.
    squares : (m,) ndarray
        Of the residuals of what is given, in units of the noise where it is known.
    least_squares : (m,) ndarray
        The same, of the best weighted fit.
    iterations : (m,) ndarray of int
    flags : (m,) ndarray of uint16
    """

    logs: DoubleArray
    covariance: DoubleArray
    by_r1: DoubleArray
    squares: DoubleArray
    least_squares: DoubleArray
    iterations: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint16]


Solver = Callable[[DoubleArray, DoubleArray, DoubleArray], Block]
"""Values (m, n), their noise (m, n) or (1, n), and R1 (m,) of some voxels, to what is known of them."""


@dataclass(frozen=True, eq=False)
class Points:
    """Checked input of every method.

    Attributes
    ----------
    signal : PlanarSignal
        Samples at each power or time.
    power : (n,) ndarray
        w1^2 in (rad/s)^2.
    noise : (n, n_voxels) or (n, 1) ndarray or None
        Standard deviation of each sample; None where it is not known.
    r1, r1_error, relative_b1 : (n_voxels,) ndarray
    chosen : (n_voxels,) ndarray of bool
    """

    signal: PlanarSignal
    power: DoubleArray
    noise: DoubleArray | None
    r1: DoubleArray
    r1_error: DoubleArray
    relative_b1: DoubleArray
    chosen: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        values: npt.ArrayLike,
        b1_ut: DoubleArray,
        *,
        r1_per_s: npt.ArrayLike,
        r1_se_per_s: npt.ArrayLike | None,
        relative_b1: npt.ArrayLike,
        noise_sd: npt.ArrayLike | None,
        mask: npt.ArrayLike | None,
        metric: Metric,
    ) -> Points:
        """Check shapes and plausibility; `b1_ut` is (n,) and checked already."""
        signal = planar(values, b1_ut.size, metric)
        r1 = signal.flat(r1_per_s, "r1_per_s").astype(np.float64)
        _check_r1(r1)
        error = signal.flat(0.0 if r1_se_per_s is None else r1_se_per_s, "r1_se_per_s")
        chosen = signal.chosen(mask)
        if metric == "mtr_asym":
            _check_fractions(signal.samples[:, chosen])
        return cls(
            signal,
            (GAMMA_RAD_PER_S_UT * b1_ut) ** 2,
            _noise(noise_sd, signal),
            r1,
            np.where(np.isfinite(error) & (error >= 0), error, np.nan).astype(np.float64),
            signal.flat(relative_b1, "relative_b1").astype(np.float64),
            chosen,
        )

    @property
    def n(self) -> int:
        """Samples of each voxel."""
        return int(self.power.size)

    def fit(self, solve: Solver) -> Fit:
        """Every voxel through `solve`, judged, in the leading shape of the signal."""
        result = _Result(self)
        todo = np.flatnonzero(self.chosen)
        for first in range(0, todo.size, BLOCK):
            result.add(todo[first : first + BLOCK], solve)
        return result.fit()


class _Result:
    """Parameters of all voxels, filled block by block."""

    def __init__(self, points: Points) -> None:
        self.points = points
        n = points.signal.n_voxels
        self.planes = np.full((6, n), np.nan, points.signal.samples.dtype)
        """Rate, fraction, their standard errors, share explained, root mean square residual."""
        self.iterations = np.zeros(n, np.int32)
        self.flags = np.zeros(n, np.uint16)
        self.flags[~points.chosen] = Flag.MASKED_OUT.value

    def add(self, voxels: npt.NDArray[np.intp], solve: Solver) -> None:
        """Fit some voxels."""
        points = self.points
        values = np.ascontiguousarray(points.signal.samples[:, voxels].T, dtype=np.float64)
        noise = np.ones((1, points.n))
        if points.noise is not None:
            noise = points.noise if points.noise.shape[1] == 1 else points.noise[:, voxels]
            noise = noise.T.copy()
        r1, field = points.r1[voxels], points.relative_b1[voxels]
        known = (np.abs(values) <= LARGEST_CONTRAST).all(axis=1) & np.isfinite(r1) & (r1 > 0)
        known &= (np.isfinite(noise) & (noise >= 0)).all(axis=1)
        in_field = np.isfinite(field) & (field > 0)
        self.flags[voxels[~known]] |= np.uint16(Flag.INVALID_INPUT)
        self.flags[voxels[~in_field]] |= np.uint16(Flag.INVALID_B1)
        good = known & in_field
        if not good.any():
            return
        voxels, values = voxels[good], values[good]
        noise = noise if len(noise) == 1 else noise[good]
        if points.noise is not None:
            noise = np.maximum(noise, LEAST_NOISE * np.abs(values).max(axis=1, keepdims=True) + TINY)
        self._keep(voxels, values, noise, solve(values, noise, r1[good]))

    def _keep(
        self, voxels: npt.NDArray[np.intp], values: DoubleArray, noise: DoubleArray, found: Block
    ) -> None:
        points = self.points
        variance = np.maximum(found.covariance, [0.0, 0.0, -np.inf])
        of_r1 = (points.r1_error[voxels] / points.r1[voxels]) ** 2
        rate_variance = variance[:, 0] + found.by_r1[:, 0] ** 2 * of_r1
        by_r1 = found.by_r1[:, 1] - found.by_r1[:, 0]
        fraction_variance = variance[:, 0] + variance[:, 1] - 2.0 * variance[:, 2] + by_r1**2 * of_r1
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            rate = np.exp(found.logs[:, 0]) * points.relative_b1[voxels]
            fraction = np.exp(found.logs[:, 1]) / rate
            flags = found.flags | self._judge(values, noise, found, fraction)
            rows = np.stack(
                [
                    rate,
                    fraction,
                    rate * np.sqrt(rate_variance),
                    fraction * np.sqrt(np.maximum(fraction_variance, 0.0)),
                    1.0 - found.squares / _about_mean(values, noise),
                    np.sqrt(found.squares / (1.0 / noise**2).sum(axis=1)),
                ]
            )
        rows[:4, flags != 0] = np.nan
        rows[4:, ~np.isfinite(found.logs).all(axis=1)] = np.nan
        self.planes[:, voxels] = rows
        self.iterations[voxels] = found.iterations
        self.flags[voxels] |= flags

    def _judge(
        self, values: DoubleArray, noise: DoubleArray, found: Block, fraction: DoubleArray
    ) -> npt.NDArray[np.uint16]:
        """No effect, a rate that is not known, a fraction that cannot be: all without a value."""
        flags = np.zeros(len(values), np.uint16)
        silent = _no_effect(values, noise, found.least_squares, known=self.points.noise is not None)
        flags[silent] |= np.uint16(Flag.BELOW_NOISE)
        loose = np.sqrt(found.covariance[:, 0]) > LARGEST_LN_ERROR
        flags[loose & ~silent] |= np.uint16(Flag.ILL_CONDITIONED)
        flags[fraction >= 1.0] |= np.uint16(Flag.OUTSIDE_RANGE)
        return flags

    def fit(self) -> Fit:
        """Everything in the leading shape of the signal."""
        rate, fraction, rate_error, fraction_error, explained, rmse = map(
            self.points.signal.restored, self.planes
        )
        return Fit(
            {"exchange_rate_per_s": rate, "fraction": fraction},
            {"exchange_rate_per_s": rate_error, "fraction": fraction_error},
            explained,
            rmse,
            self.points.signal.restored(self.iterations),
            self.points.signal.restored(self.flags),
            dict(UNITS),
        )


def _about_mean(values: DoubleArray, noise: DoubleArray) -> DoubleArray:
    """Weighted squares about the weighted mean; NaN where there are none."""
    weights = np.broadcast_to(1.0 / noise**2, values.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weights * values).sum(axis=1) / weights.sum(axis=1)
    total: DoubleArray = (weights * (values - mean[:, np.newaxis]) ** 2).sum(axis=1)
    return np.where(total > 0, total, np.nan)


def _no_effect(
    values: DoubleArray, noise: DoubleArray, squares: DoubleArray, *, known: bool
) -> npt.NDArray[np.bool_]:
    """Whether two parameters gain less than noise would give them, by the chi-squared or the F test.

    The F test with one degree of freedom would find nothing at all; the error of k then decides alone.
    """
    gain = ((values / noise) ** 2).sum(axis=1) - squares
    freedom = values.shape[1] - 2
    if known:
        probability = np.exp(-0.5 * np.maximum(gain, 0.0))
        return np.asarray(~(probability < NO_EFFECT_PROBABILITY))
    if freedom < 2:
        return np.asarray(~(gain > 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        probability = (1.0 + gain / squares) ** (-0.5 * freedom)
    exact = (squares == 0.0) & (gain > 0.0)
    return np.asarray(~((probability < NO_EFFECT_PROBABILITY) | exact))


def checked_b1(b1_ut: npt.ArrayLike, *, check: bool = True) -> DoubleArray:
    """Amplitudes of saturation in uT, (n,).

    Raises
    ------
    ValueError
        If they are no list of positive numbers.
    ImplausibleValue
        If they look like tesla or hertz and `check`.
    """
    amplitude = np.atleast_1d(np.asarray(b1_ut, np.float64))
    if amplitude.ndim != 1 or not (np.isfinite(amplitude) & (amplitude > 0)).all():
        raise ValueError("b1_ut must be a list of positive numbers, in uT")
    low, high = B1_RANGE_UT
    if check and (amplitude.max() > high or amplitude.max() < low):
        hertz = GAMMA_RAD_PER_S_UT / (2.0 * np.pi)
        as_hertz = f"; {amplitude.max():g} Hz would be {amplitude.max() / hertz:.3g} uT"
        raise ImplausibleValue(
            "the saturation amplitude does not look like uT",
            where="b1_ut",
            found=f"up to {amplitude.max():g}"
            + (as_hertz if amplitude.max() > high else f"; in T, {amplitude.max() * 1e6:g} uT"),
            needed=f"{low:g} to {high:g} uT",
            next_step=f"divide Hz by {hertz:.4f}, multiply T by 1e6; check_b1=False if it is so strong",
        )
    return amplitude


def checked_times(saturation_time_s: npt.ArrayLike) -> DoubleArray:
    """Durations of saturation in s, (n,); infinity is the steady state.

    Raises
    ------
    ValueError
        If they are no list of positive numbers.
    ImplausibleValue
        If they look like milliseconds.
    """
    times = np.atleast_1d(np.asarray(saturation_time_s, np.float64))
    if times.ndim != 1 or np.isnan(times).any() or not (times > 0).all():
        raise ValueError("saturation_time_s must be a list of positive numbers, in s")
    finite = times[np.isfinite(times)]
    if finite.size and np.median(finite) > 100.0:
        raise ImplausibleValue(
            "the saturation time does not look like seconds",
            where="saturation_time_s",
            found=f"{np.median(finite):g}",
            needed="at most 100 s",
            next_step="divide milliseconds by 1000; infinity stands for the steady state",
        )
    return times


def _check_r1(r1: DoubleArray) -> None:
    known = r1[np.isfinite(r1) & (r1 > 0)]
    if not r1.size:
        return
    if not known.size:
        raise ValueError("r1_per_s has no positive value")
    low, high = R1_RANGE_PER_S
    middle = float(np.median(known))
    if not low <= middle <= high:
        raise ImplausibleValue(
            "the relaxation rate of water does not look like 1/s",
            where="r1_per_s",
            found=f"{middle:g} in the middle",
            needed=f"{low:g} to {high:g} 1/s",
            next_step="give 1/T1 with T1 in s",
        )


def _check_fractions(samples: npt.NDArray[np.floating]) -> None:
    finite = samples[np.isfinite(samples)]
    if finite.size and np.median(finite) > 1.0:
        raise ImplausibleValue(
            "an asymmetry cannot exceed 1",
            where="mtr_asym",
            found=f"{np.median(finite):g} in the middle",
            needed="fractions of the unsaturated signal",
            next_step="divide percent by 100",
        )


def _noise(noise_sd: npt.ArrayLike | None, signal: PlanarSignal) -> DoubleArray | None:
    """Noise as (n, n_voxels), or (n, 1) where it is the same everywhere."""
    if noise_sd is None:
        return None
    given = np.asarray(noise_sd, np.float64)
    n = signal.samples.shape[0]
    if given.ndim == 0 or given.shape == (n,):
        if not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError("noise_sd must be 0 or more")
        return np.broadcast_to(given, (n,))[:, np.newaxis].copy()
    try:
        spread = np.broadcast_to(given, (*signal.shape, n))
    except ValueError:
        raise ValueError(
            f"noise_sd has shape {given.shape}; give a number, one for each of {n} samples, or one for each "
            "sample of each voxel"
        ) from None
    return np.ascontiguousarray(spread.reshape(-1, n, order=signal.order).T)
