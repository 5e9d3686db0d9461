"""Bloch-McConnell equations of water and pools that exchange with it, through lists of events.

State of F pools with three components, then those with one, and a constant: x of each, y of each, z of each,
z of the others, 1. Each pulse is calculated in the frame of its frequency, where its matrix is constant over
a sample; delays in that of nominal water. What a pulse does to a state is worked out once and kept.

Over the samples of a shaped pulse only the amplitude w of the matrix changes: exp((B + w R) t) is an entire
function of it, so that its Chebyshev interpolation through a few exponentials is exact to `NODE_ERROR`, and a
phase is a rotation about z.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import long_pulse
from imgtheranostics.kernels import matrix_exponential as matrices
from imgtheranostics.kernels.mt_line import saturation_rate

PULSE, DELAY, SPOIL = 0, 1, 2

CHUNK = 2
"""Spectrum points in one piece of parallel work."""

MOST_NODES = 16
NODE_ERROR = 1e-13
"""Largest error of an interpolated propagator of one sample."""

SLOTS = 8
"""Propagators of pulses and delays that are kept within an offset."""

FRACTION, R1, R2, RATE, SHIFT = range(5)
"""Columns of a pool table; rates in 1/s, shifts in rad/s."""


@njit(cache=True, nogil=True, error_model="numpy")
def fill_matrix(pools, n_full, line, larmor, b0, frequency, amplitude, matrix):
    """Matrix of dM/dt = matrix M in the frame of `frequency`, with the field of a pulse along x.

    pools : (k, 5) float64, water first, those with three components first; line : int, code of `mt_line`
    larmor, b0, frequency, amplitude : float, rad/s (larmor per ppm); matrix : (n, n) float64, overwritten
    """
    k, n = pools.shape[0], matrix.shape[0]
    matrices.clear(matrix, n)
    water = pools[0, FRACTION]
    for p in range(k):
        z = 2 * n_full + p
        matrix[z, z] -= pools[p, R1]
        matrix[z, n - 1] = pools[p, R1] * pools[p, FRACTION]
        detuning = pools[p, SHIFT] + b0 - frequency
        if p > 0:
            out, back = pools[p, RATE], pools[p, RATE] * pools[p, FRACTION] / water
            for component in range(3 if p < n_full else 1):
                here = z if component == 0 else p + (component - 1) * n_full
                there = 2 * n_full if component == 0 else (component - 1) * n_full
                matrix[here, here] -= out
                matrix[there, here] += out
                matrix[here, there] += back
                matrix[there, there] -= back
        if p < n_full:
            x, y = p, n_full + p
            matrix[x, x] -= pools[p, R2]
            matrix[y, y] -= pools[p, R2]
            matrix[x, y] -= detuning
            matrix[y, x] += detuning
            matrix[y, z] -= amplitude
            matrix[z, y] += amplitude
        else:
            matrix[z, z] -= (
                amplitude * amplitude * saturation_rate(line, -detuning, larmor, 1.0 / pools[p, R2])
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _n_nodes(half_range):
    """Amplitudes to interpolate between, for half the range of the nutation in one sample, rad."""
    error, m = half_range, 1
    while error > NODE_ERROR and m <= MOST_NODES:
        m += 1
        error *= 0.5 * half_range / m
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def _coefficients(nodes, m, value, out):
    """Weights of the values at m Chebyshev nodes in the interpolation at `value`."""
    total = 0.0
    for k in range(m):
        difference = value - nodes[k]
        if difference == 0.0:
            for other in range(m):
                out[other] = 1.0 if other == k else 0.0
            return
        angle = (2 * k + 1) * np.pi / (2 * m)
        out[k] = (1.0 if k % 2 == 0 else -1.0) * np.sin(angle) / difference
        total += out[k]
    for k in range(m):
        out[k] /= total


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(nodes, m, value, coefficients, propagators, step):
    """Write the propagator of a sample between those at the nodes to step."""
    _coefficients(nodes, m, value, coefficients)
    matrices.clear(step, step.shape[0])
    for k in range(m):
        for i in range(step.shape[0]):
            for j in range(step.shape[1]):
                step[i, j] += coefficients[k] * propagators[k, i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def rotate(state, n_full, angle):
    """Turn x and y of all pools about z; state (n, c), in place."""
    if angle == 0.0:
        return
    cosine, sine = np.cos(angle), np.sin(angle)
    for p in range(n_full):
        for j in range(state.shape[1]):
            x, y = state[p, j], state[n_full + p, j]
            state[p, j] = cosine * x - sine * y
            state[n_full + p, j] = sine * x + cosine * y


@njit(cache=True, nogil=True, error_model="numpy")
def play(place, samples, frequency, work, state):
    """Send columns of states through a pulse that starts with phase 0, in the frame of its frequency.

    place : (pools, n_full, line, larmor, b0); samples : (amplitude, phase, sample_s), already times B1
    work : (nodes, coefficients, propagators, matrix, step, scratch, systems)
    state : (2, n, c), in and out in [0]
    """
    pools, n_full, line, larmor, b0 = place
    amplitude, phase, sample_s, relative_b1 = samples
    nodes, coefficients, propagators, matrix, step, scratch, systems = work
    if amplitude.size == 1 and state.shape[2] == 1 and long_pulse.is_long(pools, n_full, sample_s):
        rotate(state[0], n_full, -phase[0])
        long_pulse.play_long(place, frequency, amplitude[0] * relative_b1, sample_s, systems, state)
        rotate(state[0], n_full, phase[0])
        return
    lowest, highest = amplitude[0], amplitude[0]
    for s in range(amplitude.size):
        lowest, highest = min(lowest, amplitude[s]), max(highest, amplitude[s])
    middle, half = 0.5 * (highest + lowest) * relative_b1, 0.5 * (highest - lowest) * relative_b1
    m = _n_nodes(half * sample_s)
    if m > MOST_NODES or m >= amplitude.size:
        m = 0
    turned, before = 0.0, np.nan
    for s in range(-m, amplitude.size):
        if s < 0:
            value = middle + half * np.cos((2 * (s + m) + 1) * np.pi / (2 * m))
            nodes[s + m] = value
        else:
            value = amplitude[s] * relative_b1
            rotate(state[0], n_full, turned - phase[s])
            turned = phase[s]
        if s < 0 or (m == 0 and value != before):
            target = step if m == 0 else propagators[s + m]
            fill_matrix(pools, n_full, line, larmor, b0, frequency, value, matrix)
            matrices.exponential(matrix, sample_s, scratch, target)
        elif value != before:
            _interpolate(nodes, m, value, coefficients, propagators, step)
        if s >= 0:
            before = value
            matrices.multiply(step, state[0], state[1])
            matrices.copy(state[1], state[0])
    rotate(state[0], n_full, turned)


@njit(cache=True, nogil=True, error_model="numpy")
def _slot(kept_item, kept_value, item, value, count):
    """Where the propagator of an item is kept, or -1."""
    for slot in range(min(count, SLOTS)):
        if kept_item[slot] == item and kept_value[slot] == value:
            return slot
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _unit_columns(first, state):
    """Columns that are the unit vectors from `first` on."""
    matrices.clear(state[0], state.shape[1])
    for j in range(state.shape[2]):
        state[0, first + j, j] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(initial, n_full, vector):
    """The state with this longitudinal magnetisation alone; initial (k,), vector (2, n, 1)."""
    matrices.clear(vector[0], vector.shape[1])
    for p in range(initial.size):
        vector[0, 2 * n_full + p, 0] = initial[p]
    vector[0, vector.shape[1] - 1, 0] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(propagator, first, vector):
    """Replace a state by propagator @ state over the rows from `first` on; the others become zero."""
    n = vector.shape[1]
    for i in range(n):
        total = 0.0
        if i >= first:
            for j in range(propagator.shape[1]):
                total += propagator[i, j] * vector[0, first + j, 0]
        vector[1, i, 0] = total
    matrices.copy(vector[1], vector[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _pulse(place, pulse, repeated, first, work, kept, count, vector):
    """What one pulse of the list does to the state; how many propagators have been kept by then."""
    n_full = place[1]
    samples, item, omega, start = pulse
    kept_item, kept_value, propagators, columns = kept
    rotate(vector[0], n_full, -start)
    slot = _slot(kept_item, kept_value, item, omega, count) if repeated else -1
    if slot < 0:
        played = vector
        if repeated:
            played = columns
            _unit_columns(first, columns)
        play(place, samples, omega, work, played)
        if repeated:
            slot = count % SLOTS
            count += 1
            kept_item[slot], kept_value[slot] = item, omega
            matrices.copy(columns[0], propagators[slot])
    if repeated:
        _apply(propagators[slot], first, vector)
    rotate(vector[0], n_full, start + omega * samples[2] * samples[0].size)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _wait(place, item, duration, first, work, small, kept, count, vector):
    """What a delay does to the state, in the frame of nominal water; how many propagators are kept then."""
    pools, n_full, line, larmor, b0 = place
    kept_item, kept_value, propagators, _ = kept
    matrix, step, scratch = work[3], work[4], work[5]
    slot = _slot(kept_item, kept_value, -1 - item, duration, count)
    if slot < 0:
        slot = count % SLOTS
        count += 1
        kept_item[slot], kept_value[slot] = -1 - item, duration
        fill_matrix(pools, n_full, line, larmor, b0, 0.0, 0.0, matrix)
        if first > 0:
            matrix, step, scratch = small[matrices.N_MATRICES], small[matrices.N_MATRICES + 1], small
            for i in range(matrix.shape[0]):
                for j in range(matrix.shape[0]):
                    matrix[i, j] = work[3][first + i, first + j]
        matrices.exponential(matrix, duration, scratch, step)
        for i in range(matrix.shape[0]):
            for j in range(matrix.shape[0]):
                propagators[slot, first + i, j] = step[i, j]
    _apply(propagators[slot], first, vector)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _play_offset(place, program, offset, longitudinal, relative_b1, work, small, kept, vector):
    """All events of one offset."""
    samples, phases, first_sample, sample_s, delay_s, kind, item, frequency, start, repeated, first_event = (
        program
    )
    n_full = place[1]
    first = 2 * n_full if longitudinal else 0
    count = 0
    for event in range(first_event[offset], first_event[offset + 1]):
        number = item[event]
        if kind[event] == PULSE:
            begin, stop = first_sample[number], first_sample[number + 1]
            played = (samples[begin:stop], phases[begin:stop], sample_s[number], relative_b1)
            pulse = (played, number, frequency[event], start[event])
            count = _pulse(place, pulse, repeated[event], first, work, kept, count, vector)
        elif kind[event] == DELAY:
            count = _wait(place, number, delay_s[number], first, work, small, kept, count, vector)
        else:
            matrices.clear(vector[0], 2 * n_full)


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def simulate(pools, n_full, line, larmor, b0, relative_b1, initial, row, program, longitudinal, reset, out):
    """Longitudinal magnetisation of all pools after the events of each offset.

    pools : (s, k, 5) float64, table of each pool system; n_full : int, pools with three components, first
    line : int, code of `mt_line`; larmor : float, rad/s per ppm
    b0, relative_b1 : (v,) float64, rad/s, 1; row : (v,) int64, pool system of each spectrum
    initial : (v, k) float64, longitudinal magnetisation of the pools at the start
    program : samples (rad/s), phases (rad), first_sample, sample_s of pulses; delay_s; kind, item, frequency
        (rad/s), start phase (rad) of events, whether an event's pulse comes again; first_event of offsets
    longitudinal : bool, whether every pulse finds spoiled magnetisation
    reset : bool, whether each offset begins anew
    out : (v, n, k) float64, NaN where b0 or B1 is
    """
    n_offsets = out.shape[1]
    per_item = 1 if reset else n_offsets
    n_items = out.shape[0] * n_offsets // per_item
    k = pools.shape[1]
    n = 2 * n_full + k + 1
    n_columns = k + 1 if longitudinal else n
    for chunk in prange((n_items + CHUNK - 1) // CHUNK):
        nodes, coefficients = np.empty(MOST_NODES), np.empty(MOST_NODES)
        propagators, scratch = np.empty((MOST_NODES, n, n)), np.empty((matrices.N_MATRICES, n, n))
        systems = (
            np.empty((k, 9), np.complex128),
            np.empty((k, 3), np.complex128),
            np.empty((k + 4, 3), np.complex128),
            np.empty((k, 3)),
        )
        work = (nodes, coefficients, propagators, np.empty((n, n)), np.empty((n, n)), scratch, systems)
        small = np.empty((matrices.N_MATRICES + 2, k + 1, k + 1))
        kept = (
            np.empty(SLOTS, np.int64),
            np.empty(SLOTS),
            np.empty((SLOTS, n, n_columns)),
            np.empty((2, n, n_columns)),
        )
        vector = np.empty((2, n, 1))
        for i in range(chunk * CHUNK, min(n_items, (chunk + 1) * CHUNK)):
            v = i * per_item // n_offsets
            first = i * per_item - v * n_offsets
            place = (pools[row[v]], n_full, line, larmor, b0[v])
            for offset in range(first, first + per_item):
                if reset or offset == first:
                    _begin(initial[v], n_full, vector)
                missing = b0[v] != b0[v] or relative_b1[v] != relative_b1[v]
                if not missing:
                    _play_offset(
                        place, program, offset, longitudinal, relative_b1[v], work, small, kept, vector
                    )
                for p in range(k):
                    out[v, offset, p] = np.nan if missing else vector[0, 2 * n_full + p, 0]
