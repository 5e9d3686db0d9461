"""Trains of spin echoes by extended phase graphs, and the fit of T2 to them; float64.

Between two refocusing pulses every state is dephased by an odd number of half spacings, 2 j - 1, and over a
whole spacing it moves by one in j. The states that feed an echo are real where excitation and refocusing are
a quarter turn apart (Carr, Purcell, Meiboom and Gill). What the excitation leaves along the field and what
recovers has an even number at the pulses and never forms an echo, so it is left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.decay import (
    INVALID_INPUT,
    LEAST_RATE,
    MOST_ITERATIONS,
    NOT_CONVERGED,
    OUTSIDE_RANGE,
    TOLERANCE,
    best_curve,
    next_rate,
    projected,
    scaled_samples,
    write_projected,
)

BLOCK = 16
"""Voxels per task."""

INVALID_B1 = 1024
"""The bit of `imgtheranostics.volume.Flag`."""

N_STATES = 6
"""Rows of the workspace: two transverse states and one along the field, and their derivatives by the rate."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def echo_train(rate, spacing, recovery, angle, states, e, d):
    """Amplitude of each echo for unit transverse magnetisation after the excitation, and its derivative.

    rate : 1/T2; spacing : seconds between echoes; recovery : exp(-spacing / T1)
    angle : refocusing angle in rad
    states : (N_STATES, n + 2) float64 workspace
    e, d : (n,) float64; echoes and their derivatives by the rate
    """
    n = e.size
    half = np.exp(-0.5 * spacing * rate)
    whole = half * half
    half_slope = -0.5 * spacing
    keep = np.cos(0.5 * angle) ** 2
    swap = np.sin(0.5 * angle) ** 2
    sine = np.sin(angle)
    cosine = np.cos(angle)
    plus, minus, along, plus_d, minus_d, along_d = states
    states[:] = 0.0
    plus[1] = half
    plus_d[1] = half_slope * half
    for echo in range(n):
        reach = min(echo + 1, n - echo)
        for j in range(1, reach + 1):
            p, m, z = plus[j], minus[j], along[j]
            plus[j] = whole * (keep * p + swap * m + sine * z)
            minus[j] = whole * (swap * p + keep * m - sine * z)
            along[j] = recovery * (0.5 * sine * (m - p) + cosine * z)
            p, m, z = plus_d[j], minus_d[j], along_d[j]
            plus_d[j] = whole * (keep * p + swap * m + sine * z) - spacing * plus[j]
            minus_d[j] = whole * (swap * p + keep * m - sine * z) - spacing * minus[j]
            along_d[j] = recovery * (0.5 * sine * (m - p) + cosine * z)
        # the echo stands half a spacing before the states of the next pulse
        e[echo] = minus[1] / half
        d[echo] = minus_d[1] / half - half_slope * e[echo]
        first, first_d = minus[1], minus_d[1]
        for j in range(reach, 0, -1):
            plus[j + 1] = plus[j]
            plus_d[j + 1] = plus_d[j]
        for j in range(1, reach + 1):
            minus[j] = minus[j + 1]
            minus_d[j] = minus_d[j + 1]
        plus[1] = first
        plus_d[1] = first_d


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def echo_trains(rates, spacing, recovery, angles, trains):
    """Echo trains for every angle and rate.

    rates, angles : (n_rates,), (n_angles,) float64; 1/s and rad
    spacing, recovery : as in `echo_train`
    trains : (n_angles, n_rates, n) float64
    """
    n_rates = rates.size
    for task in prange(angles.size * n_rates):
        row, column = task // n_rates, task % n_rates
        n = trains.shape[2]
        states = np.empty((N_STATES, n + 2))
        echo_train(rates[column], spacing, recovery, angles[row], states, trains[row, column], np.empty(n))


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_voxel(s, e, d, states, skipped, spacing, recovery, angle, rates, curves, scale, out, voxel):
    """One voxel; iterations and flags."""
    best = best_curve(s, curves)
    low = rates[best - 2] if best > 1 else LEAST_RATE
    high = rates[min(best + 2, rates.size - 1)]
    rate = rates[best]
    previous = np.inf
    settled = False
    count = 0
    while count < MOST_ITERATIONS and not settled:
        echo_train(rate, spacing, recovery, angle, states, e, d)
        fitted = projected(s, e[skipped:], d[skipped:], False)
        slope = fitted[1]
        count += 1
        if slope > 0.0:
            high = rate
        else:
            low = rate
        proposed = next_rate(rate, slope, fitted[2], previous, low, high)
        settled = abs(proposed - rate) <= TOLERANCE * rate
        previous = abs(slope)
        rate = proposed
    if not settled:
        return count, NOT_CONVERGED
    if rate <= LEAST_RATE * (1.0 + 1e-6):
        return count, OUTSIDE_RANGE
    bound = rate >= rates[-1] * (1.0 - 1e-6)
    echo_train(rate, spacing, recovery, angle, states, e, d)
    return count, write_projected(s, e[skipped:], d[skipped:], rate, 0.0, False, scale, bound, out, voxel)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_echo_trains(
    samples,
    skipped,
    spacing,
    recovery,
    angle,
    rates,
    first_angle,
    angle_step,
    curves,
    out,
    iterations,
    flags,
):
    """Least-squares fit of S0 times an echo train to every voxel.

    samples : (n, n_voxels) float64; the echoes after the first `skipped` ones of the train
    spacing : seconds between echoes
    recovery : (n_voxels,) float64, exp(-spacing / T1)
    angle : (n_voxels,) float64, actual refocusing angle in rad; outside 0 to 2 pi there is no transmit field
    rates : (n_rates,) float64 ascending, 1/s; the last is the upper bound
    first_angle, angle_step : the angles of the scan, rad
    curves : (n_angles, n_rates, n) float64, the trains at these angles and rates, of length one
    out, iterations, flags : as `kernels.decay.fit_decays` writes them; there is no constant
    """
    n, n_voxels = samples.shape
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        s = np.empty(n)
        e = np.empty(n + skipped)
        d = np.empty(n + skipped)
        states = np.empty((N_STATES, n + skipped + 2))
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            scale = scaled_samples(samples, voxel, s)
            count = 0
            flag = INVALID_INPUT
            if not 0.0 < angle[voxel] < 2.0 * np.pi:
                flag = INVALID_B1
            elif scale > 0.0 and recovery[voxel] >= 0.0:
                row = int(np.rint((angle[voxel] - first_angle) / angle_step))
                row = min(max(row, 0), curves.shape[0] - 1)
                count, flag = _fit_voxel(
                    s,
                    e,
                    d,
                    states,
                    skipped,
                    spacing,
                    recovery[voxel],
                    angle[voxel],
                    rates,
                    curves[row],
                    scale,
                    out,
                    voxel,
                )
            iterations[voxel] = count
            flags[voxel] = flag
