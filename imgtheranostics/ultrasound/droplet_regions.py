"""Activation temperature of droplets in regions: the echo of a heated cine against its temperature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.region_curves import scalars
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.ultrasound.activation import Noise, activation_curve, activation_temperature
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

FEWEST_TEMPERATURES = 5
QUANTITIES_OF = {
    "t50_cel": "activation_temperature",
    "width_cel": "activation_width",
    "superheat_cel": "superheat",
}
"""Name in the table of quantities of each parameter of the fit."""

_LINE_POINTS = 300
_FREEDOM_OF_TEST = 4
_CHANCE = 0.001
_REASONS = {
    Flag.BELOW_NOISE: ("no-activation", "no rise of the echo stands out of the noise"),
    Flag.OUTSIDE_RANGE: ("activation-outside", "the echo rises half way outside the temperatures"),
    Flag.NEGATIVE_AMPLITUDE: ("echo-falls", "the echo falls with temperature"),
    Flag.AT_BOUND: ("width-unknown", "the width of the rise is at its bound: temperatures lie too far apart"),
    Flag.NOT_CONVERGED: ("fit-failed", "the fit did not converge"),
}


@dataclass(frozen=True, eq=False)
class RegionActivation:
    """Activation of each region.

    Attributes
    ----------
    table : pandas.DataFrame
        Rows ``activation_temperature``, ``activation_width`` and, with a bulk boiling point, ``superheat``.
    curves : tuple of CurveFit
        Echo power against temperature with the sigmoid.
    decisions : dict
    warnings : tuple of Caution
    """

    table: pd.DataFrame
    curves: tuple[CurveFit, ...]
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]


def region_activation(
    enhancement: pd.DataFrame,
    temperature_cel: npt.ArrayLike,
    *,
    noise: Noise = "relative",
    bulk_transition_cel: float | None = None,
) -> RegionActivation:
    """Fit the rise of the echo of each region with the temperature of the frames.

    Parameters
    ----------
    enhancement : pandas.DataFrame
        Of the heated cine, from `imgtheranostics.ultrasound.enhancement`: its rows ``echo_intensity`` are
        fitted. Frames of one temperature are averaged first, since speckle that stays still makes them no
        independent measurements.
    temperature_cel : (n,) array_like
        Of each frame.
    noise, bulk_transition_cel
        As in `imgtheranostics.ultrasound.activation_temperature`.

    Returns
    -------
    RegionActivation

    Raises
    ------
    UnsupportedInput
        If there are fewer than five temperatures, or not one per frame.
    """
    import pandas as pd

    temperature = np.asarray(temperature_cel, np.float64)
    distinct = np.unique(temperature)
    if distinct.size < FEWEST_TEMPERATURES:
        raise UnsupportedInput(
            "too few temperatures to see where the echo rises",
            found=f"{distinct.size} different ones",
            needed=f"at least {FEWEST_TEMPERATURES}",
        )
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    curves: list[CurveFit] = []
    flagged: dict[Flag, list[str]] = {}
    # without its attributes, which every part of a table would copy
    bare = pd.DataFrame(enhancement)
    of_power = bare[bare["quantity"] == "echo_intensity"]
    for region, frames in of_power.groupby("region", sort=False):
        power = frames["mean"].to_numpy(np.float64)
        if power.size != temperature.size:
            raise UnsupportedInput(
                "there is not one temperature per frame",
                found=f"{temperature.size} temperatures for {power.size} frames",
            )
        at, mean = _by_temperature(power, temperature, distinct)
        fit = _fitted(at, mean, noise, bulk_transition_cel)
        flags = Flag.BELOW_NOISE.value if fit is None else int(fit.flags)
        for flag in _REASONS:
            if flags & flag.value:
                flagged.setdefault(flag, []).append(str(region))
        first = frames.iloc[0]
        for row in _rows(first.to_dict(), fit, flags, bulk_transition_cel is not None):
            rows.append(row)
            details.append(
                {
                    "region": region,
                    "quantity": row["quantity"],
                    "n_temperatures": int(at.size),
                    "r_squared": float("nan") if fit is None else float(fit.r_squared),
                    "low": float("nan") if fit is None else float(fit.parameters["low"]),
                    "high": float("nan") if fit is None else float(fit.parameters["high"]),
                }
            )
        curves.append(_curve(str(region), at, mean, fit, int(first["n_voxels"])))
    table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    table.attrs["details"] = details
    decisions = {
        "activation": {
            "rule": "logistic rise of the mean linear echo power, T50 half way",
            "noise": noise,
            "temperatures": int(distinct.size),
            "range_cel": [float(distinct[0]), float(distinct[-1])],
            "bulk_transition_cel": bulk_transition_cel,
        }
    }
    return RegionActivation(table, tuple(curves), decisions, tuple(_cautions(flagged)))


def _by_temperature(
    power: FloatArray, temperature: FloatArray, distinct: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean power at each temperature that has a frame with a value."""
    known = np.isfinite(power)
    kept = [at for at in distinct if (known & (temperature == at)).any()]
    return np.array(kept), np.array([power[known & (temperature == at)].mean() for at in kept])


def _fitted(at: FloatArray, mean: FloatArray, noise: Noise, bulk_cel: float | None) -> Fit | None:
    if at.size < FEWEST_TEMPERATURES:
        return None
    found = activation_temperature(mean, at, noise=noise, bulk_transition_cel=bulk_cel)
    return found if _explains(float(found.r_squared), at.size) else None


def _explains(r_squared: float, n: int) -> bool:
    """Whether a rise somewhere explains more than noise does by chance (F test against a constant).

    A single high sample at the end is a rise, too, by its own error; few samples are left to that.
    """
    from scipy.special import fdtrc

    freedom = n - 4
    if freedom < _FREEDOM_OF_TEST or not np.isfinite(r_squared):
        return True
    ratio = r_squared / 3.0 / max((1.0 - r_squared) / freedom, np.finfo(np.float64).tiny)
    return bool(ratio > 0 and fdtrc(3.0, freedom, ratio) < _CHANCE)


def _rows(like: dict[Any, Any], fit: Fit | None, flags: int, superheat: bool) -> Iterator[dict[str, Any]]:
    codes = ";".join(f"{flag.name}:{like['n_voxels']}" for flag in Flag if flags & flag.value)
    for name, quantity in QUANTITIES_OF.items():
        if name == "superheat_cel" and not superheat:
            continue
        value = float("nan") if fit is None else float(fit.parameters[name])
        error = float("nan") if fit is None else float(fit.standard_errors[name])
        yield {
            **{key: like[key] for key in ("subject", "session", "region", "n_voxels", "volume_ml")},
            "quantity": quantity,
            "unit": QUANTITIES[quantity].unit,
            "axis": "",
            "axis_value": float("nan"),
            "n_valid": like["n_voxels"] if np.isfinite(value) else 0,
            "mean": value,
            "standard_error": error,
            **dict.fromkeys(("sd", "median", "p05", "p95", "min", "max"), float("nan")),
            "flags": codes,
            "warnings": like["warnings"],
        }


def _curve(region: str, at: FloatArray, mean: FloatArray, fit: Fit | None, n_voxels: int) -> CurveFit:
    line_x = np.linspace(at[0], at[-1], _LINE_POINTS) if at.size else np.empty(0)
    fitted, line = np.full(at.size, np.nan), np.full(line_x.size, np.nan)
    value, error = float("nan"), float("nan")
    marks: tuple[float, ...] = ()
    if fit is not None and np.isfinite(float(fit.parameters["t50_cel"])):
        found = scalars({name: np.asarray(given) for name, given in fit.parameters.items()})
        shape = {name: found[name] for name in ("t50_cel", "width_cel", "low", "high")}
        fitted, line = activation_curve(at, **shape), activation_curve(line_x, **shape)
        value, error = found["t50_cel"], float(fit.standard_errors["t50_cel"])
        marks = (value,)
    return CurveFit(
        region, "activation_temperature", "temperature", "Cel", at, mean, fitted, line_x, line, "1", value,
        error, n_voxels, marks=marks,
    )  # fmt: skip


def _cautions(flagged: dict[Flag, list[str]]) -> Iterator[Caution]:
    """One caution for each reason, with all regions that it concerns."""
    for flag, (code, text) in _REASONS.items():
        if flag in flagged:
            where = ", ".join(flagged[flag])
            yield Caution(code, f"{where}: {text}", where)
