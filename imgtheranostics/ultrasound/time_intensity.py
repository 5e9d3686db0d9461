"""What the analysis of a contrast cine gives: a table of regions, maps, curves with their fits, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.region_curves import scalars
from imgtheranostics.ultrasound import bolus_models
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

QUANTITIES_OF = {
    "peak_enhancement": "echo_peak_enhancement",
    "peak_enhancement_db": "echo_enhancement_at_peak",
    "arrival_time_s": "bolus_arrival",
    "peak_time_s": "bolus_peak_time",
    "time_to_peak_s": "time_to_peak",
    "mean_transit_time_s": "mean_transit_time",
    "area": "echo_area",
    "wash_in_area": "wash_in_area",
    "wash_in_rate": "wash_in_rate",
    "wash_in_area_from_ti": "wash_in_area_from_ti",
    "wash_in_perfusion_index": "wash_in_perfusion_index",
    "mean_transit_time_from_ti_s": "mean_transit_time_from_ti",
    "rise_time_s": "rise_time",
    "fall_time_s": "fall_time",
    "wash_out_area": "wash_out_area",
    "wash_out_rate": "wash_out_rate",
    "full_width_half_maximum_s": "full_width_half_maximum",
    "amplitude": "echo_plateau",
    "rate_per_s": "replenishment_rate",
    "relative_flow": "relative_flow",
    "baseline": "echo_baseline",
}
"""Name in the table of quantities of each parameter of a fit; others are the model's own."""

SAMPLED_QUANTITIES = {
    "arrival_time_s": "sampled_arrival",
    "time_to_peak_s": "sampled_time_to_peak",
    "peak_enhancement": "sampled_peak_enhancement",
    "area": "sampled_area",
    "wash_in_area": "sampled_wash_in_area",
    "wash_out_area": "sampled_wash_out_area",
    "mean_transit_time_s": "sampled_mean_transit_time",
    "wash_in_rate": "sampled_wash_in_rate",
    "wash_out_rate": "sampled_wash_out_rate",
}
"""The same for what is read off the samples."""

RATIOS = {
    "peak_enhancement": "peak_enhancement_ratio",
    "wash_in_area": "wash_in_area_ratio",
    "wash_in_rate": "wash_in_rate_ratio",
    "relative_flow": "relative_flow_ratio",
}
"""Parameters that are compared with a reference region, since echo power has no absolute scale."""

BOLUS_MAPS = (
    "peak_enhancement",
    "arrival_time_s",
    "time_to_peak_s",
    "mean_transit_time_s",
    "rise_time_s",
    "wash_in_rate",
    "wash_in_area",
    "area",
)
REPLENISHMENT_MAPS = ("amplitude", "rate_per_s", "relative_flow")
"""Parameters of which maps are made."""


_CURVES: dict[str, tuple[Callable[..., FloatArray], tuple[str, ...]]] = {
    "lognormal": (bolus_models.lognormal, ("area", "log_mean", "log_sd")),
    "gamma_variate": (bolus_models.gamma_variate, ("amplitude", "exponent", "scale_s")),
    "ldrw": (bolus_models.local_density_random_walk, ("area", "transit_time_s", "skewness")),
    "first_passage": (bolus_models.first_passage, ("area", "transit_time_s", "skewness")),
}


@dataclass(frozen=True, eq=False)
class TimeIntensity:
    """Curves of a contrast cine.

    Attributes
    ----------
    table : pandas.DataFrame or None
        One row per region and quantity with the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`;
        None without regions.
    estimates : mapping of str to Estimate
        Maps by quantity; empty where none were asked for.
    curves : tuple of CurveFit
        The curve of each region with its fit.
    fits : mapping of str to Fit
        Each region's fit, with the model's own parameters.
    decisions : mapping
    warnings : tuple of Caution
    """

    table: pd.DataFrame | None
    estimates: Mapping[str, Estimate]
    curves: tuple[CurveFit, ...] = ()
    fits: Mapping[str, Fit] = field(default_factory=dict)
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()


def evaluate(
    parameters: Mapping[str, npt.ArrayLike], time_s: npt.ArrayLike, *, model: str, burst_time_s: float = 0.0
) -> FloatArray:
    """The fitted curve of one set of parameters.

    Parameters
    ----------
    parameters : mapping of str to float
        As `Fit.parameters` of one curve.
    time_s : (n,) array_like
    model : str
    burst_time_s : float
        Of replenishment.

    Returns
    -------
    (n,) ndarray
        Baseline included; NaN where a parameter is.
    """
    values = scalars({name: np.asarray(value) for name, value in parameters.items()})
    if model == "replenishment":
        own = {name: values[name] for name in ("amplitude", "rate_per_s")}
        curve = bolus_models.replenishment(time_s, **own, burst_time_s=burst_time_s)
        return np.asarray(values["baseline"] + curve)
    if not np.isfinite(values["arrival_time_s"]):
        return np.full(np.shape(time_s), np.nan)
    function, names = _CURVES[model]
    own = {name: values[name] for name in names}
    curve = function(time_s, **own, arrival_time_s=values["arrival_time_s"])
    return np.asarray(values["baseline"] + curve)
