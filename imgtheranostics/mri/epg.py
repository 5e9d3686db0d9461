"""Multi-echo trains whose refocusing pulses are not 180 degrees: stimulated echoes by extended phase graphs.

A refocusing pulse that is too weak, by a transmit field that is not nominal, stores magnetisation along the
field, where it decays with T1, and brings it back later. The first echo is then too low and the later ones
too high, and an exponential through them gives too long a T2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from imgtheranostics.mri.decay_models import DecayProblem, Echoes, Results, Solver, empty_results
from imgtheranostics.mri.plausible import check_sample_count, checked_b1, checked_flip_angles

DoubleArray = npt.NDArray[np.float64]

DEFAULT_T1_S = 1.0
"""Where T1 is not given. It matters little while it is long against the train."""

_ANGLE_STEP = np.radians(1.0)
_WHOLE_TRAIN = 0.02


def echo_train(
    t2_s: float,
    n_echoes: int,
    echo_spacing_s: float,
    *,
    t1_s: float = DEFAULT_T1_S,
    refocusing_angle_deg: float = 180.0,
    relative_b1: float = 1.0,
) -> DoubleArray:
    """Echo amplitudes of a train with equal spacing and equal refocusing pulses (CPMG condition).

    Parameters
    ----------
    t2_s, t1_s, echo_spacing_s : float
        Seconds.
    n_echoes : int
    refocusing_angle_deg : float
        Nominal angle of every refocusing pulse.
    relative_b1 : float
        Actual over nominal angle.

    Returns
    -------
    (n_echoes,) ndarray
        For a transverse magnetisation of 1 after the excitation.

    References
    ----------
    .. [1] Hennig, Concepts Magn Reson 1991;3:125, doi:10.1002/cmr.1820030302
    .. [2] Weigel, J Magn Reson Imaging 2015;41:266, doi:10.1002/jmri.24619
    """
    from imgtheranostics.kernels import epg

    e, d = np.empty((2, n_echoes))
    states = np.empty((epg.N_STATES, n_echoes + 2))
    angle = float(np.radians(refocusing_angle_deg * relative_b1))
    recovery = float(np.exp(-echo_spacing_s / t1_s))
    epg.echo_train(1.0 / t2_s, float(echo_spacing_s), recovery, angle, states, e, d)
    return e


def epg_solver(
    problem: DecayProblem,
    *,
    drop_first: bool,
    refocusing_angle_deg: float,
    b1: npt.ArrayLike | None,
    t1_s: npt.ArrayLike,
) -> Solver:
    """The solver of T2 from a train of echoes with stimulated parts.

    `problem.signal` holds the echoes that are fitted, `problem.echoes` all of them.

    Raises
    ------
    ValueError
        If the echoes are not equally spaced multiples of their spacing, or T1 is not above 0.
    ImplausibleValue
        If the refocusing angle looks like radians, or the transmit field like percent.
    """
    train = _Train.of(problem.echoes, 1 if drop_first else 0)
    n = int(problem.signal.samples.shape[0])
    check_sample_count(n, 2, "echoes", "the model epg")
    nominal = checked_flip_angles(refocusing_angle_deg, limit_deg=360.0)
    if nominal.size != 1:
        raise ValueError("refocusing_angle_deg must be one angle, that of every refocusing pulse")
    ratio = 1.0 if b1 is None else checked_b1(b1)
    angle = problem.signal.flat(np.radians(nominal[0]) * ratio, "b1").astype(np.float64)
    t1 = problem.signal.flat(t1_s, "t1_s").astype(np.float64)
    if np.ndim(t1_s) == 0 and not 0.0 < float(np.asarray(t1_s)) < np.inf:
        raise ValueError(f"t1_s must be above 0, got {t1_s!r}")
    with np.errstate(divide="ignore", invalid="ignore"):
        recovery = np.where(t1 > 0.0, np.exp(-train.spacing_s / np.where(t1 > 0.0, t1, 1.0)), np.nan)
    scan = _Scan.over(angle, recovery, problem.echoes.rates, train, n)
    return partial(_solve, train, scan, angle, recovery)


@dataclass(frozen=True, slots=True)
class _Train:
    """Spacing of a train, and how many of its echoes are not fitted."""

    spacing_s: float
    skipped: int

    @classmethod
    def of(cls, echoes: Echoes, dropped: int) -> _Train:
        spacing = echoes.common_spacing("epg") if echoes.n > 1 else echoes.first_s
        number = echoes.first_s / spacing
        if round(number) < 1 or abs(number - round(number)) > _WHOLE_TRAIN:
            raise ValueError(
                f"epg needs echoes at multiples of their spacing; first {1e3 * echoes.first_s:.4g} ms, "
                f"spacing {1e3 * spacing:.4g} ms"
            )
        return cls(spacing, round(number) - 1 + dropped)


@dataclass(frozen=True, eq=False)
class _Scan:
    """Trains of length one at the angles that occur, in steps of a degree, and at some rates."""

    first_angle: float
    rates: DoubleArray
    curves: npt.NDArray[np.float64]

    @classmethod
    def over(
        cls, angle: DoubleArray, recovery: DoubleArray, rates: DoubleArray, train: _Train, n: int
    ) -> _Scan:
        from imgtheranostics.kernels import epg

        usable = angle[(angle > 0.0) & (angle < 2.0 * np.pi)]
        low, high = (float(usable.min()), float(usable.max())) if usable.size else (np.pi, np.pi)
        angles = low + _ANGLE_STEP * np.arange(round((high - low) / _ANGLE_STEP) + 1)
        known = recovery[np.isfinite(recovery)]
        trains = np.empty((angles.size, rates.size, n + train.skipped))
        epg.echo_trains(
            rates, train.spacing_s, float(np.median(known)) if known.size else 1.0, angles, trains
        )
        curves = trains[:, :, train.skipped :]
        return cls(low, rates, curves / np.linalg.norm(curves, axis=2, keepdims=True))


def _solve(
    train: _Train,
    scan: _Scan,
    angle: DoubleArray,
    recovery: DoubleArray,
    samples: DoubleArray,
    voxels: npt.NDArray[np.int64],
) -> Results:
    from imgtheranostics.kernels import epg

    results = empty_results(samples.shape[1])
    epg.fit_echo_trains(
        samples,
        train.skipped,
        train.spacing_s,
        recovery[voxels],
        angle[voxels],
        scan.rates,
        scan.first_angle,
        float(_ANGLE_STEP),
        scan.curves,
        *results,
    )
    return results
