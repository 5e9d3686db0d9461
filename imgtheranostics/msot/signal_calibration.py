"""Signal per concentration from vials in the same image: one number with one error for all voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.fit import shortfall
from imgtheranostics.msot.region_averages import Blanks, RegionMean, region_means
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate

_SIGNIFICANT = 3.0


@dataclass(frozen=True, eq=False)
class SignalCalibration:
    """Signal per concentration of the agent.

    Attributes
    ----------
    per_mg_ml : float
        Amount of the component per mg/mL, in its own unit.
    relative_error : float
        Standard error over value; common to everything that is calibrated with it.
    unit : str
        Of the amount.
    vials : mapping of str to (float, RegionMean)
        Known concentration in mg/mL, and the mean that was measured.
    reduced_chi2 : float
        Scatter about the line over what noise makes; NaN for one vial.
    warnings : tuple of Caution
    """

    per_mg_ml: float
    relative_error: float
    unit: str
    vials: Mapping[str, tuple[float, RegionMean]] = field(default_factory=dict)
    reduced_chi2: float = math.nan
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "vials", MappingProxyType(dict(self.vials)))
        if not (math.isfinite(self.per_mg_ml) and self.per_mg_ml > 0):
            raise ImplausibleValue(
                "the signal per concentration must be above 0",
                where="calibration",
                found=f"{self.per_mg_ml:g} per mg/mL",
            )
        if not (math.isfinite(self.relative_error) and self.relative_error >= 0):
            raise ImplausibleValue("the error of a calibration is 0 or more", where="calibration")

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, vials=dict(self.vials))

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": "line through zero of vials" if self.vials else "given",
            "per_mg_ml": self.per_mg_ml,
            "unit": self.unit,
            "relative_error": self.relative_error,
            "vials": {name: known for name, (known, _) in self.vials.items()},
        }


def calibrate(
    x: Estimate,
    rois: Regions,
    concentration_mg_ml: Mapping[str, float],
    *,
    relative_uncertainty: float = 0.0,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> SignalCalibration:
    """Signal per mg/mL from vials of known concentration in the same image.

    Parameters
    ----------
    x : Estimate
        Amount of the agent's component, unmixed without bounds so that weak vials are not biased.
    rois : Regions
    concentration_mg_ml : mapping of str to float
        Known concentration of each vial, by region; a blank vial has 0.
    relative_uncertainty : float
        Of all concentrations together, such as that of the stock suspension.
    blanks, resolution_mm, workers
        As in `imgtheranostics.msot.region_means`.

    Returns
    -------
    SignalCalibration
        A line through zero, each vial weighted by its noise. Its error is larger by the root of the reduced
        chi-square where vials scatter more than noise makes them.

    Raises
    ------
    UnknownChoice
        If a vial is no region.
    ImplausibleValue
        If a concentration is negative, or none is above 0.
    IllConditioned
        If the slope is not above three of its standard errors.

    Notes
    -----
    A component that is absent has the amount 0, hence no intercept. Where the vials tell otherwise, the
    result carries the caution ``calibration-not-linear``.
    """
    known = {str(name): float(value) for name, value in concentration_mg_ml.items()}
    if not known or not all(math.isfinite(v) and v >= 0 for v in known.values()) or max(known.values()) <= 0:
        raise ImplausibleValue(
            "vials need known concentrations, at least one above 0",
            where="concentration_mg_ml",
            found=", ".join(f"{name}: {value:g}" for name, value in known.items()) or "none",
            needed="mg/mL by region",
        )
    if not relative_uncertainty >= 0:
        raise ImplausibleValue("relative_uncertainty is 0 or more", where="relative_uncertainty")
    means = region_means(x, rois, list(known), blanks=blanks, resolution_mm=resolution_mm, workers=workers)
    at = np.array([known[mean.region] for mean in means])
    value, error = (np.array([getattr(mean, key) for mean in means]) for key in ("value", "standard_error"))
    slope, slope_error, chi2 = line_through_zero(at, value, error)
    if not slope > _SIGNIFICANT * slope_error:
        raise IllConditioned(
            "the vials do not show the agent above noise",
            where="concentration_mg_ml",
            found=f"{slope:.4g} ± {slope_error:.2g} {x.unit} per mg/mL",
            needed="a slope above three standard errors",
            next_step="use stronger vials, or check which component and which regions were taken",
        )
    relative = math.hypot(slope_error / slope, float(relative_uncertainty))
    vials = {mean.region: (known[mean.region], mean) for mean in means}
    return SignalCalibration(slope, relative, x.unit, vials, chi2, _not_linear(at, value, error, slope))


def line_through_zero(
    at: npt.NDArray[np.float64], value: npt.NDArray[np.float64], error: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Slope, its standard error and the reduced chi-square of a line through zero.

    Parameters
    ----------
    at, value, error : (n,) ndarray
        Known concentrations, what was measured, and its standard errors; where one of these is not known, all
        points count alike and their scatter tells the error.
    """
    weight = 1.0 / np.square(error) if (np.isfinite(error) & (error > 0)).all() else np.ones(at.size)
    normal = float(np.sum(weight * at**2))
    slope = float(np.sum(weight * at * value)) / normal
    freedom = at.size - 1
    squares = float(np.sum(weight * np.square(value - slope * at)))
    chi2 = squares / freedom if freedom else math.nan
    known = bool((np.isfinite(error) & (error > 0)).all())
    if not known:
        spread = chi2 / shortfall(freedom) ** 2 if freedom else math.inf
    else:
        spread = max(1.0, chi2) if freedom else 1.0
    return slope, math.sqrt(spread / normal), chi2 if known else math.nan


def _not_linear(
    at: npt.NDArray[np.float64], value: npt.NDArray[np.float64], error: npt.NDArray[np.float64], slope: float
) -> tuple[Caution, ...]:
    """A caution where vials lie off the line by more than four of their errors and a tenth of their value."""
    off = np.abs(value - slope * at)
    with np.errstate(invalid="ignore"):
        far = (off > 4.0 * error) & (off > 0.1 * slope * at.max())
    if not far.any():
        return ()
    text = (
        f"{np.count_nonzero(far)} of {at.size} vials lie more than a tenth of the strongest off a line "
        "through zero: was the light corrected for, and does the signal saturate?"
    )
    return (Caution("calibration-not-linear", text, "calibration"),)
