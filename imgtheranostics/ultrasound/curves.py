"""Time-intensity curves of contrast ultrasound: models of linear echo power against time in seconds.

`fit` and `model_free` work on arrays; the module itself can be called on a Volume, as
`imgtheranostics.ultrasound.curve_maps.curves`: ``ultrasound.curves(volume, rois=...)``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.voxel_blocks import Curves, checked_times
from imgtheranostics.ultrasound.bolus_models import (
    first_passage,
    gamma_variate,
    landmarks,
    local_density_random_walk,
    lognormal,
    replenishment,
)
from imgtheranostics.ultrasound.choices import BASELINES, BOLUS_MODELS, MODELS
from imgtheranostics.ultrasound.sampled_curves import model_free

if TYPE_CHECKING:
    from imgtheranostics.ultrasound.time_intensity import TimeIntensity
    from imgtheranostics.volume import Volume

__all__ = [
    "BASELINES",
    "BOLUS_MODELS",
    "MODELS",
    "first_passage",
    "fit",
    "gamma_variate",
    "landmarks",
    "local_density_random_walk",
    "lognormal",
    "model_free",
    "replenishment",
]


def fit(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    model: str = "lognormal",
    baseline: str = "fit",
    burst_time_s: float | None = None,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Fit a model to time-intensity curves of linear echo power.

    Parameters
    ----------
    signal : (..., n) array_like
        Linear echo power, never log-compressed grey; it is neither scaled nor shifted, and not changed.
    time_s : (n,) array_like
        Time of each sample in s, increasing; need not be uniform.
    model : {"lognormal", "gamma_variate", "ldrw", "first_passage", "replenishment"}
        ``ldrw`` is the local density random walk. See `imgtheranostics.ultrasound.bolus_models`.
    baseline : {"fit", "zero"}
        Whether the level without agent is fitted along, or has been subtracted.
    burst_time_s : float, optional
        When the destruction pulse was, on the time axis, for ``replenishment``; 0 without it. Samples before
        it are left out. A pulse later than the first sample must be given.
    unit : str
        UCUM code of the signal, for the units of the result.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the numbers do not depend on it.

    Returns
    -------
    Fit
        For a bolus, in the unit of the signal and s: ``baseline``, ``peak_enhancement`` (of the model, above
        the baseline; ``peak_enhancement_db`` in dB against a fitted one), ``arrival_time_s`` (t0) and
        ``peak_time_s`` on the time axis, ``time_to_peak_s`` (from t0), ``mean_transit_time_s`` (from t0;
        ``mean_transit_time_from_ti_s`` from TI), ``area`` under the whole curve, ``wash_in_area`` (**from
        t0** to the peak), ``wash_in_area_from_ti`` (from TI to the peak), ``rise_time_s`` (TI to the peak),
        ``wash_in_rate`` (steepest slope), ``wash_in_perfusion_index`` (``wash_in_area_from_ti /
        rise_time_s``), ``fall_time_s`` (peak to TO), ``wash_out_rate`` (steepest slope of the fall, below 0),
        ``wash_out_area`` (peak to TO), ``full_width_half_maximum_s``, and the model's own ``log_mean`` and
        ``log_sd``, or ``amplitude``, ``exponent`` and ``scale_s``, or ``transit_time_s`` and ``skewness``. TI
        and TO are where the tangents at the steepest rise and fall meet the baseline. For replenishment:
        ``baseline``, ``amplitude``, ``rate_per_s``, ``relative_flow`` (their product) and
        ``mean_transit_time_s`` (1 / rate).

        `Fit.r_squared` is the quality of the fit, 1 - SSE/SST. Standard errors come from the residuals of
        each curve, whose noise may grow with the signal and be correlated in time, as speckle is; where a
        parameter sits at a bound (`Flag.AT_BOUND`) it has none. The arrival is not later than the first frame
        after which all up to the peak lie above a tenth of the rise. Curves without a bolus are NaN with
        `Flag.NOT_ENHANCING`; with a peak that is not reached before the end, or is a single frame,
        `Flag.OUTSIDE_RANGE`.

    Raises
    ------
    ValueError
        If shapes, times or choices do not fit, or there are no more samples than parameters.

    References
    ----------
    .. [1] Strouthos et al., IEEE TUFFC 57:1296 (2010).
    .. [2] Wei et al., Circulation 97:473 (1998).
    """
    from imgtheranostics.ultrasound import curve_fits

    checked(model, MODELS, "model")
    checked(baseline, BASELINES, "baseline")
    times = checked_times(time_s)
    free = baseline == "fit"
    if model == "replenishment":
        return _replenished(signal, times, burst_time_s, free, unit, mask, workers)
    if burst_time_s is not None:
        raise UnknownChoice("burst_time_s belongs to the replenishment model")
    _check_count(times.size, 4 + int(free), model)
    curves = Curves.of(signal, times.size, mask)
    return curve_fits.fit_bolus(curves, times, model, free_baseline=free, unit=unit, workers=workers)


def _replenished(
    signal: npt.ArrayLike,
    times: npt.NDArray[np.float64],
    burst_time_s: float | None,
    free: bool,
    unit: str,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> Fit:
    from imgtheranostics.ultrasound import curve_fits

    burst = 0.0 if burst_time_s is None else float(burst_time_s)
    if not np.isfinite(burst):
        raise ValueError(f"burst_time_s must be a time, not {burst_time_s}")
    if burst_time_s is None and times[0] < 0:
        raise ValueError("there are samples before time 0: give burst_time_s, when the destruction pulse was")
    later = np.flatnonzero(times >= burst)
    _check_count(later.size, 2 + int(free), "replenishment after the burst")
    given = signal if isinstance(signal, np.ma.MaskedArray) else np.asarray(signal)
    if given.ndim == 0 or given.shape[-1] != times.size:
        raise ValueError(f"signal has shape {given.shape}, but its last axis must have {times.size} samples")
    curves = Curves.of(given[..., later[0] :], later.size, mask)
    return curve_fits.fit_replenishment(
        curves, times[later] - burst, free_baseline=free, unit=unit, workers=workers
    )


def _check_count(n: int, needed: int, model: str) -> None:
    if n <= needed:
        raise ValueError(f"{model} has {needed} parameters and needs more samples than that, found {n}")


class _CallableModule(ModuleType):
    """The module of the array level that is also the job on Volumes: both are called ``curves``."""

    def __call__(self, volume: Volume, **options: Any) -> TimeIntensity:
        """Curves of regions and maps of a cine.

        Parameters
        ----------
        volume, **options
            As `imgtheranostics.ultrasound.curve_maps.curves` takes them.
        """
        from imgtheranostics.ultrasound import curve_maps

        return curve_maps.curves(volume, **options)


sys.modules[__name__].__class__ = _CallableModule
