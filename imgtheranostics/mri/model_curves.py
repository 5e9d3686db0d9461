"""What each fitted model predicts along its axis: for the curves that a report draws, not for fitting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Parameters = Mapping[str, float]

_FAR = 30.0


def spoiled_gradient_echo(
    flip_angle_deg: FloatArray, p: Parameters, *, repetition_time_s: float, b1: float = 1.0
) -> FloatArray:
    """S0 sin a (1 - E1) / (1 - E1 cos a), E1 = exp(-TR / T1), a the nominal flip angle times b1."""
    angle = np.radians(flip_angle_deg * b1)
    e1 = np.exp(-repetition_time_s / p["t1_s"])
    return np.asarray(p["s0"] * np.sin(angle) * (1.0 - e1) / (1.0 - e1 * np.cos(angle)))


def inversion_recovery(
    inversion_time_s: FloatArray,
    p: Parameters,
    *,
    repetition_time_s: FloatArray | float | None = None,
    magnitude: bool = True,
) -> FloatArray:
    """S0 (1 - k e^{-TI/T1} + (k - 1) e^{-TR/T1}), k = 1 + efficiency; its magnitude if asked for."""
    k = 1.0 + p.get("inversion_efficiency", 1.0)
    before = 0.0 if repetition_time_s is None else np.exp(-np.asarray(repetition_time_s) / p["t1_s"])
    signal = p["s0"] * (1.0 - k * np.exp(-inversion_time_s / p["t1_s"]) + (k - 1.0) * before)
    return np.asarray(np.abs(signal) if magnitude else signal)


def saturation_recovery(recovery_time_s: FloatArray, p: Parameters) -> FloatArray:
    """S0 (1 - s e^{-TR/T1}) with the saturated share s, 1 where it was not fitted."""
    share = p.get("saturation_efficiency", 1.0)
    return np.asarray(p["s0"] * (1.0 - share * np.exp(-recovery_time_s / p["t1_s"])))


def look_locker(time_s: FloatArray, p: Parameters, *, magnitude: bool = True) -> FloatArray:
    """A - B e^{-t/T1*}, with B / A = T1 / T1* + 1 as the correction for the read-out has it."""
    ratio = p["t1_s"] / p["t1star_s"] + 1.0
    signal = p["s0"] * (1.0 - ratio * np.exp(-time_s / p["t1star_s"]))
    return np.asarray(np.abs(signal) if magnitude else signal)


def decay(
    echo_time_s: FloatArray,
    p: Parameters,
    *,
    parameter: str,
    noise_sd: float = 0.0,
    n_coils: int = 1,
    rician: bool = False,
) -> FloatArray:
    """sqrt(S0^2 e^{-2 TE/T} + 2 n sigma^2), plus the offset where one was fitted.

    With `rician`, the mean of the noncentral chi distribution about S0 e^{-TE/T}.
    """
    signal = p["s0"] * np.exp(-echo_time_s / p[parameter])
    if rician:
        return _mean_magnitude(signal / noise_sd, n_coils) * noise_sd
    floor = np.hypot(signal, np.sqrt(2.0 * n_coils) * noise_sd) if noise_sd else signal
    return np.asarray(floor + p.get("offset", 0.0))


def echo_train(
    echo_time_s: FloatArray, at_s: FloatArray, p: Parameters, *, angle_deg: float, t1_s: float, b1: float
) -> FloatArray:
    """Echoes with their stimulated parts, joined by straight lines where `at_s` lies between them."""
    from imgtheranostics.mri import epg

    spacing = float(np.min(np.diff(echo_time_s, prepend=0.0)))
    n_echoes = round(float(echo_time_s[-1]) / spacing)
    train = epg.echo_train(
        p["t2_s"], n_echoes, spacing, t1_s=t1_s, refocusing_angle_deg=angle_deg, relative_b1=b1
    )
    times = spacing * np.arange(1, n_echoes + 1)
    return np.asarray(p["s0"] * np.interp(at_s, times, train, left=np.nan))


def _mean_magnitude(amplitude: FloatArray, n_coils: int) -> FloatArray:
    """Mean of the noncentral chi distribution for noise of SD 1; far above it the first two terms in 1/A."""
    from scipy.special import hyp1f1

    from imgtheranostics.mri.noise_distribution import noise_mean

    near = np.minimum(amplitude, _FAR)
    mean = noise_mean(n_coils) * hyp1f1(-0.5, n_coils, -0.5 * near**2)
    far = amplitude + (2 * n_coils - 1) / (2.0 * np.maximum(amplitude, _FAR))
    return np.asarray(np.where(amplitude > _FAR, far, mean))


def tracer(
    model: str, time_s: FloatArray, plasma_time_s: FloatArray, plasma: FloatArray, p: Parameters
) -> FloatArray:
    """Concentration in tissue by a tracer model, from the plasma curve and its own times."""
    from imgtheranostics.kernels.tracer_models import evaluate
    from imgtheranostics.mri.dce_models import MODELS

    known, filled = MODELS[model].parameters, MODELS[model].volume_of
    delayed = "delay_s" in p
    if filled is not None and p[filled[1]] == 0.0:
        # Nothing enters the volume, which is unknown and does not matter.
        p = {**p, filled[0]: 1.0}
    values = np.array([p[one.name] / one.factor for one in known] + ([p["delay_s"]] if delayed else []))
    curve = np.full(time_s.size, np.nan)
    if not np.isfinite(values).all():
        return curve
    basis = np.zeros((6, time_s.size))
    jacobian = np.empty((values.size, time_s.size))
    terms, slopes = np.empty(5), np.empty((5, len(known)))
    times = np.ascontiguousarray(time_s, np.float64)
    evaluate(
        MODELS[model].code,
        values,
        times,
        np.array(plasma_time_s, np.float64),
        np.array(plasma, np.float64),
        delayed,
        False,
        terms,
        slopes,
        basis,
        curve,
        jacobian,
    )
    return curve
