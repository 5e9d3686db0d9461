"""A tracer model with its concentration and input function, ready to run on voxels or regions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate, estimate_of
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.region_curves import region_places
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.mri.model_curves import tracer
from imgtheranostics.mri.plasma_curve import PlasmaCurve
from imgtheranostics.mri.protocol import Series, series_along
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, make_step

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

PARAMETERS = {
    "ktrans_per_min": "ktrans",
    "ps_per_min": "ps",
    "fp_ml_100ml_min": "fp",
    "ve": "ve",
    "vp": "vp",
    "delay_s": "bolus_delay",
}
"""Quantity of each parameter of the array level."""

WINDOWS_S = (60.0, 90.0, 120.0)
_FINER = 4


@dataclass(frozen=True, eq=False)
class DcePlan:
    """A tracer model, the concentration it is fitted to, and the input function.

    Attributes
    ----------
    concentration : Estimate
        With the axis ``time``.
    series : Series
        Its samples along time.
    model : str
    plasma : PlasmaCurve
    fit_delay : bool
    delay_bounds_s : (float, float)
    window : (first, stop) or None
        Images before the agent.
    chosen : Chosen
    decisions, warnings
    """

    concentration: Estimate
    series: Series
    model: str
    plasma: PlasmaCurve
    fit_delay: bool
    delay_bounds_s: tuple[float, float]
    window: tuple[int, int] | None
    chosen: Chosen
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]
    workers: int | None = None

    def call(self, signal: Array, **more: Any) -> Fit:
        """Fit curves along the last axis."""
        from imgtheranostics.mri import dce

        with typed_refusals():
            return dce.fit(
                self.model,
                signal,
                self.series.x,
                self.plasma.values,
                plasma_time_s=self.plasma.time_s,
                haematocrit=self.plasma.haematocrit,
                fit_delay=self.fit_delay,
                delay_bounds_s=self.delay_bounds_s,
                **more,
            )

    @cached_property
    def fit(self) -> Fit:
        """The fit of every voxel that was chosen."""
        return self.call(self.series.samples, mask=self.chosen.inside, workers=self.workers)

    def estimates(self) -> dict[str, Estimate]:
        """The maps by name."""
        of_relaxivity = 0.0 if self.plasma.shares_relaxivity else self._relaxivity_relative
        shared = math.hypot(of_relaxivity, self._t1_relative)
        fit = self._with_scale_error()
        found = {}
        for parameter in self.fit.parameters:
            quantity = PARAMETERS[parameter]
            if self.model == "patlak" and quantity == "ktrans":
                continue
            found[quantity] = estimate_of(
                self.series.volume,
                fit,
                parameter,
                quantity,
                make_step("dce_map", model=self.model, fit_delay=self.fit_delay),
                self.chosen,
                axes=self.series.others,
                calibration_relative=0.0 if quantity == "bolus_delay" else shared,
                decisions=self.decisions,
                warnings=self.warnings,
            )
        area = self._initial_area()
        return found if area is None else {**found, "iauc": area}

    @property
    def _t1_relative(self) -> float:
        """What all voxels share of the relative uncertainty of T1 before the agent."""
        recorded = self.decisions.get("baseline_t1", {}).get("calibration_relative", 0.0)
        return float(recorded)

    @property
    def _relaxivity_relative(self) -> float:
        return math.sqrt(max(self.concentration.calibration_relative**2 - self._t1_relative**2, 0.0))

    def _with_scale_error(self) -> Fit:
        """The fit with what T1 and the baseline do to a curve as a whole in every parameter but the delay.

        All of them go with the size of the curve; residuals do not show it. What all voxels share of it is
        added where the maps are made.
        """
        together = self.concentration.maps.get("shared_error")
        if together is None:
            return self.fit
        shared = series_along(together, "time").samples
        height = np.zeros(shared.shape[:-1])
        relative = np.zeros_like(height)
        with np.errstate(invalid="ignore"):
            for sample in range(shared.shape[-1]):
                size = np.abs(self.series.samples[..., sample])
                higher = size > height
                height[higher] = size[higher]
                relative[higher] = shared[..., sample][higher] / height[higher]
            own = np.sqrt(np.maximum(relative**2 - self._t1_relative**2, 0.0))
        own = np.where(np.isfinite(own), own, 0.0)
        errors = {
            name: given if name == "delay_s" else np.hypot(given, own * np.abs(self.fit.parameters[name]))
            for name, given in self.fit.standard_errors.items()
        }
        return replace(self.fit, standard_errors=errors)

    def _initial_area(self) -> Estimate | None:
        """Areas in the usual windows as samples along time; None where no baseline tells the arrival."""
        from imgtheranostics.mri.time_intensity import initial_area

        windows = [w for w in WINDOWS_S if w <= self.series.x[-1] - self.series.x[0]]
        if self.window is None or self.window[1] - self.window[0] < 2 or not windows:
            return None
        noise, shared = self._sample_errors()
        with typed_refusals():
            fit = initial_area(
                self.series.samples,
                self.series.x,
                baseline=self.window,
                windows_s=windows,
                noise_sd=noise,
                shared_error=shared,
                mask=self.chosen.inside,
                workers=self.workers,
            )
        names = [f"iauc_{window:g}_mm_s" for window in windows]
        relative = self._relaxivity_relative
        value = np.stack([np.asarray(fit.parameters[name], np.float64) for name in names], axis=-1)
        error = np.stack([np.asarray(fit.standard_errors[name], np.float64) for name in names], axis=-1)
        error = np.hypot(error, relative * np.abs(value))
        flags = np.where(np.isfinite(value), 0, fit.flags[..., np.newaxis]).astype(np.uint16)
        stacked = Fit({"iauc": value}, {"iauc": error}, value, value, np.zeros(value.shape, np.int32), flags)
        found = calculated_estimate(
            self.series.volume,
            stacked,
            "iauc",
            "iauc",
            make_step("initial_area", windows_s=windows, baseline=list(self.window)),
            self.chosen,
            axes=(*self.series.others, Axis("time", np.array(windows), "s")),
            decisions=self.decisions,
        )
        relative = self.concentration.calibration_relative
        return Estimate(found.value, found.standard_error, found.flags, relative, found.decisions)

    def _sample_errors(self) -> tuple[Array | None, Array | None]:
        """Noise of each sample, and the error that all samples of a curve share; None where not known.

        Where nobody says which is which, all of the measurement's error counts as shared, beside the scatter
        of the baseline: too much rather than too little.
        """
        given = self.concentration
        error = series_along(given.standard_error, "time").samples.astype(np.float64)
        if not (np.isfinite(error) & (error > 0)).any():
            return None, None
        calibration = self._relaxivity_relative * np.abs(series_along(given.value, "time").samples)
        measured = np.sqrt(np.maximum(error**2 - calibration**2, 0.0))
        together = given.maps.get("shared_error")
        if together is None:
            return None, measured
        shared = series_along(together, "time").samples.astype(np.float64)
        return np.sqrt(np.maximum(measured**2 - shared**2, 0.0)), shared

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """Mean concentration of each region over the voxels that have a value, with the model's curve."""
        if self.series.others or regions is None:
            return ()
        first = next(iter(self.fit.parameters))
        planes = self.series.samples.reshape(-1, self.series.x.size, order="F")
        usable = np.isfinite(self.fit.parameters[first]).ravel(order="F")
        return tuple(
            self._curve(label, planes[voxels].mean(axis=0, dtype=np.float64), int(voxels.size))
            for label, voxels in region_places(regions, usable)
        )

    def _curve(self, label: str, measured: FloatArray, n_voxels: int) -> CurveFit:
        fit = self.call(measured)
        first = next(iter(fit.parameters))
        x = self.series.x
        line_x = np.interp(np.arange(0, x.size - 1 + 1e-9, 1.0 / _FINER), np.arange(x.size), x)
        plasma = self.plasma.values / (1.0 - (self.plasma.haematocrit or 0.0))
        knots = x if self.plasma.time_s is None else self.plasma.time_s
        p = {name: float(np.asarray(array)) for name, array in fit.parameters.items()}
        line = tracer(self.model, line_x, knots, plasma, p)
        value = p[first]
        return CurveFit(
            label=label,
            quantity=PARAMETERS[first] if self.model != "patlak" else "ps",
            axis="time",
            axis_unit="s",
            x=x,
            measured=measured,
            fitted=np.interp(x, line_x, line),
            line_x=line_x,
            line=line,
            unit=self.series.volume.unit,
            value=value,
            standard_error=float(np.asarray(fit.standard_errors[first])),
            n_voxels=n_voxels,
        )
