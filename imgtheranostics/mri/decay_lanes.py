"""The decays whose float32 images are fitted with voxels as SIMD lanes; what does not settle is left over."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import FloatArray
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mri.decay_models import DecayMaps, DecayProblem, noise_levels
from imgtheranostics.mri.noise_distribution import checked_coils, chi_table, largest_of_noise


def fits_lanes(model: str, problem: DecayProblem) -> bool:
    """Whether a float32 kernel serves: lines, and exponentials and noise floors at equally spaced echoes."""
    from imgtheranostics.kernels.decay_lanes import MOST_SPACINGS_BACK

    if problem.signal.samples.dtype != np.float32:
        return False
    if model in ("log_linear", "wls"):
        return True
    echoes = problem.echoes
    equally_spaced = 0.0 < echoes.first_s <= MOST_SPACINGS_BACK * echoes.spacing
    return model in ("exponential", "noise_floor") and equally_spaced


def solve_lanes(
    model: str,
    problem: DecayProblem,
    maps: DecayMaps,
    chosen: npt.NDArray[np.bool_],
    workers: int | None,
) -> npt.NDArray[np.bool_]:
    """Fit what `fits_lanes` admits, in float32; which voxels are left to the float64 search."""
    from imgtheranostics.kernels.decay_lanes import UNSETTLED, fit_decay_lanes
    from imgtheranostics.kernels.linear_decay_lanes import fit_line_lanes
    from imgtheranostics.kernels.noise_floor_lanes import fit_noise_floor_lanes

    echoes = problem.echoes
    samples, wanted = _read_only(problem.signal.samples), _read_only(chosen)
    results = maps.planes, maps.iterations, maps.flags
    with thread_limit(workers):
        if model == "exponential":
            fit_decay_lanes(samples, wanted, echoes.first_s, echoes.spacing, *results)
        elif model == "noise_floor":
            fit_noise_floor_lanes(
                samples,
                _read_only(noise_levels(problem)),
                wanted,
                float(checked_coils(problem.n_coils)),
                largest_of_noise(echoes.n, problem.n_coils),
                echoes.first_s,
                echoes.spacing,
                *noise_profile(problem.n_coils),
                *results,
            )
        else:
            shifts = echoes.shifts.astype(np.float32)
            fit_line_lanes(samples, wanted, echoes.first_s, shifts, model == "wls", *results)
    left: npt.NDArray[np.bool_] = maps.flags == UNSETTLED
    return left


@lru_cache(maxsize=16)
def noise_profile(n_coils: int) -> tuple[FloatArray, float]:
    """What the noise floor's kernel needs of the noise's distribution, and its cells per unit of sigma.

    Returns
    -------
    profile : (2, n_cells + 1) ndarray of float32
        Variance of the magnitude, and its expected square about the root of the second moment.
    per_cell : float
    """
    table, step = chi_table(n_coils)
    amplitude = step * np.arange(table.shape[1])
    floored = np.sqrt(amplitude * amplitude + 2.0 * n_coils)
    mean, _, variance = table
    return np.array([variance, variance + (floored - mean) ** 2], np.float32), 1.0 / step


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written, so that a kernel is compiled once for all callers."""
    view = array.view()
    view.setflags(write=False)
    return view
