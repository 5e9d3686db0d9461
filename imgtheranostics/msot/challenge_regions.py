"""Regions of a gas challenge: their table, and their curves to draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

COLUMNS = (
    "region",
    "delta_so2",
    "standard_error",
    "delta_low",
    "delta_high",
    "responding",
    "baseline",
    "challenge",
    "baseline_sd",
    "change_s",
    "change_low_s",
    "change_high_s",
    "flags",
)
"""Columns of the table of regions: saturations in %, times in s."""

_VALUES = ("delta_so2", "delta_low", "delta_high", "baseline", "challenge", "baseline_sd")


def challenge_table(fits: Mapping[str, Fit], change: tuple[float, float, float]) -> pd.DataFrame:
    """One row per region, from the fits of their curves and the one moment of change."""
    import pandas as pd

    rows = []
    for name, fit in fits.items():
        flags = ";".join(str(bit.name) for bit in Flag if int(fit.flags) & bit.value)
        values = {key: float(fit.parameters[key]) for key in _VALUES}
        responding = float(fit.parameters["responding"])
        rows.append(
            {
                "region": name,
                **values,
                "standard_error": float(fit.standard_errors["delta_so2"]),
                "responding": None if math.isnan(responding) else bool(responding),
                "change_s": change[0],
                "change_low_s": change[1],
                "change_high_s": change[2],
                "flags": flags,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def challenge_curve(
    name: str, curve: FloatArray, fit: Fit, times: FloatArray, change_s: float, unit: str
) -> CurveFit:
    """A region's curve with its two states."""
    states = [float(fit.parameters[key]) for key in ("baseline", "challenge")]
    return CurveFit(
        name,
        "delta_so2",
        "time",
        "s",
        times,
        curve,
        np.where(times < change_s, *states),
        np.array([times[0], change_s, change_s, times[-1]]),
        np.repeat(states, 2),
        unit,
        float(fit.parameters["delta_so2"]),
        float(fit.standard_errors["delta_so2"]),
        marks=(change_s,),
    )
