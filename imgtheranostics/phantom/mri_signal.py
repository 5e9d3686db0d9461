"""Closed-form MR signals of one tissue, in float64. Independent of the code that they test.

All times in s, rates in 1/s, angles in degrees; the arguments broadcast. Gradient and spin echoes are
complex where fat or an off-resonance turns them.

References
----------
.. [1] Haacke et al., Magnetic Resonance Imaging, 1999: steady state of a spoiled gradient echo, inversion
   recovery with finite repetition time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]
Values = float | FloatArray

GYROMAGNETIC_MHZ_T = {"1H": 42.577478, "19F": 40.0776}
"""Gyromagnetic ratio over 2 pi (CODATA for 1H; 19F from the tables of NMR frequencies)."""

FAT_SHIFT_PPM = -3.4
"""Main peak of fat against water."""

PRF_PPM_PER_CEL = -0.01
"""Change of the proton resonance frequency of water with temperature."""


def spoiled_gradient_echo(
    flip_angle_deg: Values, repetition_time_s: float, r1: float, *, m0: float = 1.0
) -> Values:
    """Transverse magnetisation right after the pulse, in the steady state of perfect spoiling."""
    angle = np.deg2rad(flip_angle_deg)
    e1 = math.exp(-repetition_time_s * r1)
    return np.asarray(m0 * np.sin(angle) * (1.0 - e1) / (1.0 - e1 * np.cos(angle)))


def inversion_recovery(
    inversion_time_s: float,
    repetition_time_s: float,
    r1: float,
    *,
    m0: float = 1.0,
    efficiency: float = 1.0,
    relative_b1: Values = 1.0,
) -> Values:
    """Longitudinal magnetisation at the read-out of a train of inversion, recovery and read-out.

    The read-out nominally turns all of it into the transverse plane and the rest of the repetition time
    recovers from zero; `relative_b1` scales the angle of the read-out, after which ``cos`` of it is left.
    The inversion is adiabatic: its `efficiency` does not depend on B1.
    """
    read_out = 0.5 * np.pi * np.asarray(relative_b1)
    recovered = math.exp(-inversion_time_s * r1)
    rest = math.exp(-(repetition_time_s - inversion_time_s) * r1)
    left = np.cos(read_out)
    # steady state of M = 1 - (1 + k M') E(TI), M' = 1 - (1 - left M) E(TR - TI), k the efficiency
    prepared = 1.0 - recovered * (1.0 + efficiency * (1.0 - rest))
    magnetisation = prepared / (1.0 + efficiency * recovered * rest * left)
    return np.asarray(m0 * magnetisation * np.sin(read_out))


def spin_echo(
    echo_time_s: float, r2: float, *, repetition_time_s: float, r1: float, m0: float = 1.0
) -> float:
    """One echo of a train of perfect 180 degree pulses after a 90 degree pulse."""
    return m0 * (1.0 - math.exp(-repetition_time_s * r1)) * math.exp(-echo_time_s * r2)


def gradient_echo_decay(
    echo_time_s: float,
    r2star: float,
    *,
    frequency_hz: Values = 0.0,
    fat_fraction: float = 0.0,
    fat_shift_hz: float = 0.0,
) -> Values | ComplexArray:
    """What is left of a gradient echo, with the turn of its phase; water and one peak of fat."""
    turn = 1.0 - fat_fraction + fat_fraction * np.exp(2j * np.pi * fat_shift_hz * echo_time_s)
    decay: ComplexArray = np.asarray(
        math.exp(-echo_time_s * r2star) * turn * np.exp(2j * np.pi * np.asarray(frequency_hz) * echo_time_s)
    )
    return decay.real.copy() if not np.any(decay.imag) else decay


def through_voxel_dephasing(frequency_change_hz: Values, echo_time_s: float) -> Values:
    """What a frequency that changes by so much across a voxel leaves of its magnitude."""
    return np.asarray(np.sinc(np.asarray(frequency_change_hz) * echo_time_s))


def frequency_hz(offset_ppm: Values, field_t: float, nucleus: str = "1H") -> Values:
    """Offset from resonance in Hz."""
    return np.asarray(np.asarray(offset_ppm) * field_t * GYROMAGNETIC_MHZ_T[nucleus])
