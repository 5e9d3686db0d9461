"""The models of a decay with the echo time, run on images piece by piece with little memory beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, FloatArray, PlanarSignal, shortfall
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mri.noise_distribution import checked_coils, chi_table, largest_of_noise
from imgtheranostics.mri.plausible import check_sample_count, checked_echo_times
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]
Results = tuple[DoubleArray, npt.NDArray[np.int16], npt.NDArray[np.uint16]]
Solver = Callable[[DoubleArray, npt.NDArray[np.int64]], Results]

PIECE = 32768
"""Voxels that are solved in float64 at a time."""

N_RATES = 24
"""Rates of the scan that finds the valley."""

SLOWEST, FASTEST = 0.02, 10.0
"""Ends of the scan: in units of one over the span of the echoes, and of one over the closest spacing."""

_SAME_SPACING = 1e-6
_ARLO_SPACING = 5e-3


@dataclass(frozen=True, eq=False)
class Echoes:
    """Echo times as the kernels take them.

    Attributes
    ----------
    times : (n,) ndarray
        Seconds, increasing.
    spacing : float
        Seconds between echoes where they are equally spaced, otherwise 0.
    rates : (N_RATES,) ndarray
        The scan, 1/s; its last rate is the upper bound.
    """

    times: DoubleArray
    spacing: float
    rates: DoubleArray

    @classmethod
    def of(cls, echo_time_s: npt.ArrayLike) -> Echoes:
        """Check echo times and plan the scan."""
        times = checked_echo_times(echo_time_s)
        gaps = np.diff(times)
        if not gaps.size:
            return cls(times, 0.0, np.ones(N_RATES))
        equal = float(np.ptp(gaps)) <= _SAME_SPACING * float(gaps.mean())
        span = float(times[-1] - times[0])
        rates = np.geomspace(SLOWEST / span, FASTEST / float(gaps.min()), N_RATES)
        return cls(times, span / gaps.size if equal else 0.0, rates)

    @property
    def n(self) -> int:
        """Number of echoes."""
        return int(self.times.size)

    @property
    def first_s(self) -> float:
        """The first echo time."""
        return float(self.times[0])

    @property
    def shifts(self) -> DoubleArray:
        """Times after the first echo."""
        shifts: DoubleArray = self.times - self.times[0]
        return shifts

    @property
    def curves(self) -> DoubleArray:
        """The decays at the rates of the scan, 1 at the first echo."""
        decays: DoubleArray = np.exp(-np.outer(self.rates, self.shifts))
        return decays

    def common_spacing(self, method: str) -> float:
        """The spacing between echoes.

        Raises
        ------
        ValueError
            If it differs by more than half a percent.
        """
        gaps = np.diff(self.times)
        mean = float(gaps.mean())
        if float(np.abs(gaps - mean).max()) > _ARLO_SPACING * mean:
            low, high = 1e3 * gaps.min(), 1e3 * gaps.max()
            raise ValueError(
                f"{method} needs equally spaced echoes, found spacings from {low:.4g} to {high:.4g} ms; "
                "fit the model exponential or noise_floor instead"
            )
        return mean


@dataclass(frozen=True, eq=False)
class DecayProblem:
    """Curves, echo times and what is known of the noise.

    Attributes
    ----------
    signal : PlanarSignal
    echoes : Echoes
    noise_sd : float or (...) array_like or None
        SD of the noise in each channel of each coil.
    """

    signal: PlanarSignal
    echoes: Echoes
    noise_sd: npt.ArrayLike | None = None
    n_coils: int = 1


def empty_results(n_voxels: int) -> Results:
    """Room for what a kernel writes about some voxels."""
    from imgtheranostics.kernels.decay import ROWS

    return (
        np.empty((ROWS, n_voxels)),
        np.empty(n_voxels, np.int16),
        np.empty(n_voxels, np.uint16),
    )


def solver(model: str, problem: DecayProblem) -> Solver:
    """The float64 solver of a model.

    Raises
    ------
    ValueError
        If there are fewer echoes than parameters, or the model's own needs are not met.
    """
    echoes = problem.echoes
    check_sample_count(echoes.n, 3 if model in ("offset", "arlo") else 2, "echoes", f"the model {model}")
    if model in ("exponential", "offset"):
        return _exponential(echoes, model == "offset")
    if model in ("log_linear", "wls"):
        return _line(echoes, model == "wls")
    if model == "arlo":
        return _arlo(echoes)
    return _magnitude(problem, model)


def _exponential(echoes: Echoes, with_offset: bool) -> Solver:
    from imgtheranostics.kernels.decay import fit_decays

    curves = echoes.curves
    if with_offset:
        curves -= curves.mean(axis=1, keepdims=True)
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)

    def solve(samples: DoubleArray, _voxels: npt.NDArray[np.int64]) -> Results:
        results = empty_results(samples.shape[1])
        fit_decays(
            samples,
            echoes.first_s,
            echoes.shifts,
            echoes.spacing,
            echoes.rates,
            curves,
            with_offset,
            *results,
        )
        return results

    return solve


def _line(echoes: Echoes, weighted: bool) -> Solver:
    from imgtheranostics.kernels.linear_decay import fit_lines

    def solve(samples: DoubleArray, _voxels: npt.NDArray[np.int64]) -> Results:
        results = empty_results(samples.shape[1])
        fit_lines(samples, echoes.first_s, echoes.shifts, echoes.spacing, weighted, *results)
        return results

    return solve


def _arlo(echoes: Echoes) -> Solver:
    from imgtheranostics.kernels.linear_decay import fit_arlo

    spacing = echoes.common_spacing("arlo")

    def solve(samples: DoubleArray, _voxels: npt.NDArray[np.int64]) -> Results:
        results = empty_results(samples.shape[1])
        fit_arlo(samples, echoes.first_s, echoes.shifts, spacing, *results)
        return results

    return solve


def _magnitude(problem: DecayProblem, model: str) -> Solver:
    from imgtheranostics.kernels.noise_floor import fit_noise_floor

    if problem.noise_sd is None:
        raise ValueError(
            f"the model {model} needs noise_sd, the SD of the noise in one channel; "
            "mri.noise.background_noise_sd estimates it from the air around the object"
        )
    noise_sd = noise_levels(problem)
    coils = checked_coils(problem.n_coils)
    echoes = problem.echoes
    powers = echoes.curves**2
    table, step = chi_table(coils)
    detectable = largest_of_noise(echoes.n, coils)

    def solve(samples: DoubleArray, voxels: npt.NDArray[np.int64]) -> Results:
        results = empty_results(samples.shape[1])
        fit_noise_floor(
            samples,
            (noise_sd[voxels] if noise_sd.size > 1 else np.repeat(noise_sd, voxels.size)).astype(np.float64),
            float(coils),
            detectable,
            model == "rician",
            echoes.first_s,
            echoes.shifts,
            echoes.spacing,
            echoes.rates,
            powers,
            table,
            step,
            *results,
        )
        return results

    return solve


def noise_levels(problem: DecayProblem) -> FloatArray:
    """The noise level of each voxel, or one for all, in the type of the signal."""
    given = np.asarray(problem.noise_sd)
    if given.ndim:
        return problem.signal.flat(given, "noise_sd")
    if not 0.0 <= float(given) < np.inf:
        raise ValueError(f"noise_sd must be a number of at least 0, got {problem.noise_sd!r}")
    return np.full(1, given, problem.signal.samples.dtype)


@dataclass(frozen=True, eq=False)
class DecayMaps:
    """Results of a decay for every voxel, flat, in the type of the signal.

    Attributes
    ----------
    planes : (n_rows, n_voxels) ndarray
    rows : mapping of int to ndarray
        The plane of each row of a kernel's result.
    """

    planes: FloatArray
    rows: dict[int, FloatArray]
    iterations: npt.NDArray[np.int16]
    flags: npt.NDArray[np.uint16]

    @classmethod
    def empty(cls, signal: PlanarSignal, rows: tuple[int, ...]) -> DecayMaps:
        """Room for the results; `solve` fills it, or `decay_lanes.solve_lanes`."""
        n = signal.n_voxels
        planes = np.empty((len(rows), n), signal.samples.dtype)
        return cls(
            planes,
            dict(zip(rows, planes, strict=True)),
            np.empty(n, np.int16),
            np.empty(n, np.uint16),
        )

    def blank(self) -> None:
        """NaN and `Flag.MASKED_OUT` everywhere."""
        self.planes[:] = np.nan
        self.iterations[:] = 0
        self.flags[:] = Flag.MASKED_OUT.value

    def solve(
        self, signal: PlanarSignal, chosen: npt.NDArray[np.bool_], solve: Solver, workers: int | None
    ) -> None:
        """Solve the chosen voxels in float64, some at a time."""
        with thread_limit(workers), np.errstate(over="ignore"):
            for first in range(0, signal.n_voxels, PIECE):
                wanted = chosen[first : first + PIECE]
                if not wanted.any():
                    continue
                voxels = first + np.flatnonzero(wanted)
                whole = voxels.size == voxels[-1] - first + 1
                part = signal.samples[:, first : first + voxels.size] if whole else signal.samples[:, voxels]
                found, iterations, flags = solve(np.array(part, np.float64, order="C"), voxels)
                for row, values in self.rows.items():
                    values[voxels] = found[row]
                self.iterations[voxels] = iterations
                self.flags[voxels] = flags

    def fit(self, signal: PlanarSignal, names: dict[int, tuple[str, str]], errors: dict[int, int]) -> Fit:
        """The fit of the leading shape.

        Parameters
        ----------
        names : mapping
            Name and UCUM unit of each row that is a parameter.
        errors : mapping
            Row of the standard error of each row that is a parameter.
        """
        from imgtheranostics.kernels.decay import R_SQUARED, RMSE

        unbiased = shortfall(len(signal.samples) - len(names))
        for row in errors.values():
            self.rows[row] /= unbiased

        def shaped(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return signal.restored(values)

        return Fit(
            {name: shaped(self.rows[row]) for row, (name, _) in names.items()},
            {name: shaped(self.rows[errors[row]]) for row, (name, _) in names.items()},
            shaped(self.rows[R_SQUARED]),
            shaped(self.rows[RMSE]),
            shaped(self.iterations),
            shaped(self.flags),
            dict(names.values()),
        )
