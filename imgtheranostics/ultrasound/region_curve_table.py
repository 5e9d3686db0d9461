"""Mean curves of regions, their fits, and the table of what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.region_tables import flag_counts
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.ultrasound.cine_series import Series
from imgtheranostics.ultrasound.region_power import RegionPower, region_power
from imgtheranostics.ultrasound.sampled_curves import model_free
from imgtheranostics.ultrasound.time_intensity import (
    QUANTITIES_OF,
    RATIOS,
    SAMPLED_QUANTITIES,
    evaluate,
)
from imgtheranostics.ultrasound.tissue_area import voxels_in_tissue
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LEAST_BASELINE = 3
"""Frames before the fitted arrival that the measures without a model need."""

_OWN_OF_BOLUS = ("amplitude",)
_LINE_POINTS = 400
_NO_SIZE = ("pixel-spacing-unknown", "slice-thickness-unknown")


@dataclass(frozen=True, eq=False)
class RegionCurve:
    """One region: its pixels, mean curve, the frames that count, fit, and measures without a model.

    Attributes
    ----------
    name : str
    voxels : (n_pixels,) int64
    power : RegionPower
        In all frames of the cine.
    time_s, mean : (n,) ndarray
        Of the frames that count.
    fit : Fit or None
        None where too few frames are left.
    sampled : Fit or None
    """

    name: str
    voxels: IndexArray
    power: RegionPower
    time_s: FloatArray
    mean: FloatArray
    fit: Fit | None
    sampled: Fit | None

    @property
    def n_saturated(self) -> int:
        """Frames that were left out because of saturation."""
        return int(np.count_nonzero(self.power.flags & Flag.SATURATED.value))


@dataclass(frozen=True, eq=False)
class RegionCurves:
    """The curves of all regions of a cine."""

    series: Series
    regions: tuple[RegionCurve, ...]
    reference: str | None
    warnings: tuple[Caution, ...]

    @classmethod
    def of(
        cls,
        series: Series,
        rois: Regions,
        inside: BoolArray,
        baseline: tuple[int, int] | None,
        reference: str | None,
    ) -> RegionCurves:
        """Measure and fit each region.

        Raises
        ------
        GeometryMismatch
            If regions lie on another grid or outside the tissue.
        """
        fitted = rois.fit_to(series.linear.grid)
        names = list(fitted)
        voxels, outside = voxels_in_tissue(fitted, inside, names)
        found = [_measure(series, name, own, baseline) for name, own in zip(names, voxels, strict=True)]
        warnings = [
            caution
            for one, left_out in zip(found, outside, strict=True)
            for caution in _cautions(one, left_out, series.model)
        ]
        return cls(series, tuple(found), reference, tuple(warnings))

    def fits(self) -> dict[str, Fit]:
        """The fit of each region that has one."""
        return {one.name: one.fit for one in self.regions if one.fit is not None}

    def curve_fits(self) -> tuple[CurveFit, ...]:
        """Measured and fitted curves, ready to be drawn."""
        return tuple(_curve_fit(one, self.series) for one in self.regions)

    def table(self, labels: Mapping[str, str], warnings: tuple[Caution, ...]) -> pd.DataFrame:
        """One row per region and quantity; ``attrs["details"]`` has r_squared and what was counted."""
        import pandas as pd

        second = next((one for one in self.regions if one.name == self.reference), None)
        sized = not any(caution.code in _NO_SIZE for caution in self.series.linear.warnings)
        ml = self.series.linear.grid.voxel_volume_ml if sized else float("nan")
        rows, details = [], []
        for one in self.regions:
            for quantity, value, error in _quantities(one, second, self.series.model):
                rows.append(
                    {
                        **labels,
                        "region": one.name,
                        "quantity": quantity,
                        "unit": QUANTITIES[quantity].unit,
                        "axis": "",
                        "axis_value": float("nan"),
                        "n_voxels": one.voxels.size,
                        "n_valid": one.voxels.size if np.isfinite(value) else 0,
                        "volume_ml": one.voxels.size * ml,
                        "mean": value,
                        "standard_error": error,
                        "flags": _flag_text(one),
                        "warnings": self._codes(one.name, warnings),
                    }
                )
                details.append(_detail(one, quantity))
        table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
        numbers = ("sd", "median", "p05", "p95", "min", "max")
        table[list(numbers)] = table[list(numbers)].astype(np.float64)
        table.attrs["details"] = details
        table.attrs["warnings"] = warnings
        return table

    def _codes(self, name: str, warnings: tuple[Caution, ...]) -> str:
        """Codes of what concerns this region, or all of them."""
        others = {one.name for one in self.regions} - {name}
        return ";".join(dict.fromkeys(caution.code for caution in warnings if caution.where not in others))


def _measure(series: Series, name: str, voxels: IndexArray, baseline: tuple[int, int] | None) -> RegionCurve:
    """Mean power of one region, without saturated frames, and its fit.

    Pixels at the floor count here even where they leave dB open: what they leave open of the power is at
    most that of grey level 1.
    """
    power = region_power(series.linear, voxels)
    usable = np.isfinite(power.pixel_mean[series.frames])
    usable &= (power.flags[series.frames] & Flag.SATURATED.value) == 0
    which = np.flatnonzero(usable)
    time, mean = series.time_s[which], power.pixel_mean[series.frames[which]]
    try:
        fit = series.fit(mean, which) if which.size else None
    except ValueError:
        fit = None
    window = _window(fit, time, series.frames[which], baseline)
    sampled = None
    if window is not None and series.model != "replenishment":
        errors = power.standard_error[series.frames[which]]
        noise = errors if np.isfinite(errors).all() and (errors > 0).all() else None
        sampled = model_free(mean, time, baseline=window, noise_sd=noise, peak_points=_peak_points(fit, time))
    return RegionCurve(name, voxels, power, time, mean, fit, sampled)


def _peak_points(fit: Fit | None, time: FloatArray) -> int | None:
    """Samples for the parabola at the peak: half of the width of the fitted curve, an odd number."""
    name = "full_width_half_maximum_s"
    width = float(fit.parameters[name]) if fit is not None and name in fit.parameters else float("nan")
    if not np.isfinite(width):
        return None
    step = float(np.median(np.diff(time)))
    return max(3, min(int(0.5 * width / step), time.size // 2) // 2 * 2 + 1)


def _window(
    fit: Fit | None, time: FloatArray, frames: IndexArray, baseline: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The baseline among the frames that count: as given, else those before the fitted arrival."""
    if baseline is not None:
        first, stop = np.searchsorted(frames, baseline)
    elif fit is not None and "arrival_time_s" in fit.parameters:
        arrival = float(fit.parameters["arrival_time_s"])
        first, stop = 0, int(np.searchsorted(time, arrival)) if np.isfinite(arrival) else 0
    else:
        return None
    return (int(first), int(stop)) if stop - first >= LEAST_BASELINE else None


def _cautions(one: RegionCurve, outside: int, model: str) -> list[Caution]:
    found = []
    if outside:
        text = f"{one.name}: {outside} pixels lie outside the tissue of the frame and do not count"
        found.append(Caution("outside-tissue", text, one.name))
    if one.n_saturated:
        text = f"{one.name}: {one.n_saturated} of {one.power.flags.size} frames are saturated and left out"
        found.append(Caution("saturated-frames", text, one.name))
    elif one.power.n_saturated.any():
        share = float(np.max(one.power.n_saturated / np.maximum(one.power.n_valid, 1)))
        text = f"{one.name}: up to {100 * share:.2g} % of the pixels are saturated; powers are lower bounds"
        found.append(Caution("saturated-pixels", text, one.name))
    if one.fit is None:
        found.append(Caution("too-few-frames", f"{one.name}: too few frames are left for a fit", one.name))
        return found
    words = {
        Flag.NOT_ENHANCING: ("no-bolus", f"no {model} stands out of the noise"),
        Flag.NOT_CONVERGED: ("fit-failed", "the fit did not converge"),
        Flag.ILL_CONDITIONED: ("fit-failed", "the curve does not determine the parameters"),
        Flag.OUTSIDE_RANGE: ("peak-not-seen", "the peak is not reached in the recording, or is one frame"),
        Flag.AT_BOUND: ("at-bound", "a parameter sits at its bound and has no standard error"),
    }
    flags = int(one.fit.flags)
    for flag, (code, text) in words.items():
        if flags & flag.value:
            found.append(Caution(code, f"{one.name}: {text}", one.name))
    return found


def _quantities(one: RegionCurve, second: RegionCurve | None, model: str) -> list[tuple[str, float, float]]:
    """Quantity, value and standard error of a region, in the order of the table."""
    found = []
    for name, quantity in QUANTITIES_OF.items():
        own = name in _OWN_OF_BOLUS and model != "replenishment"
        if one.fit is not None and name in one.fit.parameters and not own:
            found.append((quantity, *_number(one.fit, name)))
    if one.fit is not None:
        found.append(("r_squared", float(one.fit.r_squared), float("nan")))
    if one.sampled is not None:
        found += [(quantity, *_number(one.sampled, name)) for name, quantity in SAMPLED_QUANTITIES.items()]
    if second is None or one.fit is None or second.fit is None:
        return found
    for name, quantity in RATIOS.items():
        if name in one.fit.parameters:
            found.append((quantity, *_ratio(one, second, name)))
    return found


def _number(fit: Fit, name: str) -> tuple[float, float]:
    return float(fit.parameters[name]), float(fit.standard_errors[name])


def _ratio(one: RegionCurve, second: RegionCurve, name: str) -> tuple[float, float]:
    """Ratio of two regions, whose curves have independent noise; 1 of the reference if it has a value."""
    if one.fit is None or second.fit is None:
        return float("nan"), float("nan")
    (above, error), (below, other) = _number(one.fit, name), _number(second.fit, name)
    if not below > 0:
        return float("nan"), float("nan")
    if one is second:
        return 1.0, 0.0
    return above / below, abs(above / below) * float(np.hypot(error / above, other / below))


def _flag_text(one: RegionCurve) -> str:
    """Why the fit deserves care, and how many pixels were saturated in the worst frame."""
    counts = flag_counts("")
    if one.power.n_saturated.any():
        counts["SATURATED"] = int(one.power.n_saturated.max())
    if one.fit is not None:
        flags = int(one.fit.flags)
        counts |= {str(flag.name): one.voxels.size for flag in Flag if flags & flag.value}
    return ";".join(f"{name}:{count}" for name, count in counts.items())


def _detail(one: RegionCurve, quantity: str) -> dict[str, Any]:
    goodness = float("nan") if one.fit is None else float(one.fit.r_squared)
    return {
        "region": one.name,
        "quantity": quantity,
        "r_squared": goodness,
        "n_frames": int(one.time_s.size),
        "n_frames_saturated": one.n_saturated,
        "n_effective": one.power.cells.n_effective,
    }


def _curve_fit(one: RegionCurve, series: Series) -> CurveFit:
    nowhere = np.full(one.time_s.size, np.nan)
    line_x = np.linspace(series.time_s[0], series.time_s[-1], _LINE_POINTS)
    fitted, line = nowhere, np.full(line_x.size, np.nan)
    name = "relative_flow" if series.model == "replenishment" else "peak_enhancement"
    value, error = float("nan"), float("nan")
    marks: tuple[float, ...] = ()
    if one.fit is not None and np.isfinite(float(one.fit.parameters[name])):
        burst = series.burst_time_s or 0.0
        fitted, line = (
            evaluate(one.fit.parameters, x, model=series.model, burst_time_s=burst)
            for x in (one.time_s, line_x)
        )
        value, error = _number(one.fit, name)
        if series.model != "replenishment":
            marks = tuple(float(one.fit.parameters[mark]) for mark in ("arrival_time_s", "peak_time_s"))
    return CurveFit(
        one.name, QUANTITIES_OF[name], "time", "s", one.time_s, one.mean, fitted, line_x, line, "1", value,
        error, int(one.voxels.size), marks=marks,
    )  # fmt: skip
