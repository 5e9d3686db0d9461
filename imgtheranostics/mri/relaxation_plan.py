"""A fit along one axis, ready to run on the voxels of a volume or on the mean curves of regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import estimate_of
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.region_curves import region_places, scalars, typical_voxel
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.mri.model_curves import Parameters
from imgtheranostics.mri.protocol import Series
from imgtheranostics.mri.transmit_field import TransmitField
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, make_step

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

_LINE_POINTS = 160


class FitCall:
    """Calls of the array level that differ from method to method only in what they are given."""

    def __init__(self, function: Callable[..., Fit], *positional: Any, **keywords: Any) -> None:
        self.function = function
        self.positional = positional
        self.keywords = keywords

    def __call__(self, signal: Array, **more: Any) -> Fit:
        """Fit the last axis of a signal."""
        with typed_refusals():
            return self.function(signal, *self.positional, **self.keywords, **more)


@dataclass(frozen=True, eq=False)
class RelaxationPlan:
    """What is fitted to what, and what to say about it.

    Attributes
    ----------
    series : Series
    quantity, parameter : str
        Such as ``t1`` and ``t1_s``.
    method : str
        Name of the method or model.
    call : FitCall
        The array-level fit.
    curve : callable
        ``curve(x, parameters, b1)``: the model at axis values.
    chosen : Chosen
    transmit : TransmitField, optional
        For methods that depend on the transmit field.
    calibration_relative : float
    decisions, warnings
    beside : mapping of str to str
        Further parameters that become maps, with their quantities.
    step_parameters : mapping
        What the history records.
    """

    series: Series
    quantity: str
    parameter: str
    method: str
    call: FitCall
    curve: Callable[[FloatArray, Parameters, float], FloatArray]
    chosen: Chosen
    transmit: TransmitField | None = None
    calibration_relative: float = 0.0
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    step_parameters: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None

    @cached_property
    def fit(self) -> Fit:
        """The fit of every voxel that was chosen."""
        more: dict[str, Any] = {}
        if self.transmit is not None and self.transmit.ratio is not None:
            ratio = self.transmit.ratio
            spread = ratio.reshape(ratio.shape + (1,) * len(self.series.others))
            more["b1"] = np.broadcast_to(spread, self.series.shape)
        if not self.chosen.inside.all():
            more["mask"] = self.chosen.inside
        return self.call(self.series.samples, workers=self.workers, **more)

    def estimate(self) -> Estimate:
        """The map."""
        step = make_step(f"{self.quantity}_map", method=self.method, **self.step_parameters)
        return estimate_of(
            self.series.volume,
            self.fit,
            self.parameter,
            self.quantity,
            step,
            self.chosen,
            axes=self.series.others,
            calibration_relative=self.calibration_relative,
            decisions=self.decisions,
            warnings=self.warnings,
            beside=self.beside,
        )

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """The mean curve of each region over the voxels that have a value, and one voxel, with their fits."""
        if self.series.others:
            return ()
        values = np.asarray(self.fit.parameters[self.parameter]).ravel(order="F")
        usable = np.isfinite(values)
        n = self.series.axis.values.size
        planes = self.series.samples.reshape(-1, n, order="F")
        places = region_places(regions, usable)
        one = typical_voxel(regions, usable, values, self.series.volume.grid.shape)
        if one is not None:
            places.append(one)
        found = []
        for label, voxels in places:
            mean = planes[voxels].mean(axis=0, dtype=np.result_type(planes, np.float64))
            found.append(self._curve(label, mean, self._field_at(voxels), int(voxels.size)))
        return tuple(found)

    def _field_at(self, voxels: npt.NDArray[np.integer]) -> float:
        if self.transmit is None or self.transmit.ratio is None:
            return 1.0
        return float(np.mean(self.transmit.ratio.ravel(order="F")[voxels], dtype=np.float64))

    def _curve(self, label: str, measured: Array, b1: float, n_voxels: int) -> CurveFit:
        more = {"b1": np.float64(b1)} if self.transmit is not None and self.transmit.ratio is not None else {}
        fit = self.call(measured, **more)
        p = scalars(fit.parameters)
        x = self.series.x
        line_x = np.linspace(min(0.0, x[0]), x[-1], _LINE_POINTS)
        solved = np.isfinite(p[self.parameter])
        missing = np.full(x.size, np.nan)
        fitted = self.curve(x, p, b1) if solved else missing
        if np.iscomplexobj(measured):
            measured = _along(measured, fitted)
        error = float(np.asarray(fit.standard_errors[self.parameter]))
        value = p[self.parameter]
        return CurveFit(
            label=label,
            quantity=self.quantity,
            axis=self.series.axis.name,
            axis_unit=self.series.axis.unit,
            x=x,
            measured=measured,
            fitted=fitted,
            line_x=line_x,
            line=self.curve(line_x, p, b1) if solved else np.full(line_x.size, np.nan),
            unit=self.series.volume.unit,
            value=value,
            standard_error=error,
            n_voxels=n_voxels,
        )


def _along(measured: Array, fitted: FloatArray) -> FloatArray:
    """A complex curve along its phase, with the sign that the model has."""
    from imgtheranostics.mri.complex_recovery import in_phase

    real = np.asarray(in_phase(measured, measured.size).along, np.float64)
    return -real if float(np.nansum(real * fitted)) < 0 else real
