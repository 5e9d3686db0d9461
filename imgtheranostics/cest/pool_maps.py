"""Pools of a scan as maps: depth, width and centre of each line, and T1-corrected exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import pools as array_level
from imgtheranostics.cest.own_bounds import own_flags
from imgtheranostics.cest.pool_choice import ChosenPools
from imgtheranostics.cest.pool_design import WATER, Pool, Range
from imgtheranostics.cest.pool_presets import Preset
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling, PreparedSpectra
from imgtheranostics.cest.reference_error import with_reference_error
from imgtheranostics.cest.spectrum_curves import LINE_POINTS, RegionSpectrum, region_spectra
from imgtheranostics.cest.voxel_spectra import Array
from imgtheranostics.cest.water_position import WaterPosition
from imgtheranostics.cest.water_sources import SHIFT_OF_FIT
from imgtheranostics.cest.water_t1 import WaterT1, water_t1
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.regions import Regions
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Flag, Step, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_PERCENT = 100.0
_PARTS = {"amplitude": ("amplitude", _PERCENT), "width": ("width_ppm", 1.0), "centre": ("centre_ppm", 1.0)}
"""Ending of each quantity, its name at the array level, and the factor to its unit."""


def fit_pools(
    v: Volume | Estimate,
    pools: str | Sequence[Pool] | Preset = "7t_5pool",
    *,
    baseline: Range | None = None,
    bandwidth_ppm: float | None = None,
    neighbours: bool = True,
    refuse_overlap: bool = False,
    t1: Volume | Estimate | float | None = None,
    **correction: Unpack[CorrectionOptions],
) -> dict[str, Estimate]:
    """Fit a sum of lines to every Z-spectrum.

    Parameters
    ----------
    v : Volume or Estimate
        Signals along ``saturation_offset``, or Z-spectra.
    pools : str, Preset or sequence of Pool
        A published set (`imgtheranostics.cest.pools.preset_names`), or lines with starts and bounds.
    baseline : (start, low, high), optional
        Signal far from all lines; by default that of the set, or 1.
    bandwidth_ppm : float, optional
        Flat part of each Lorentzian; see `imgtheranostics.cest.pools.fit`.
    neighbours : bool
        Begin where a voxel nearby ended, which saves time on smooth images.
    refuse_overlap : bool
        Raise `IllConditioned` where the lines are too alike at these offsets, instead of flagging.
    t1 : Volume, Estimate or float, optional
        T1 of water: gives ``<pool>_arex`` too, by the fitted spectrum without the pool as reference.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`. With ``b0="auto"`` and no other source, the centre
        of water is fitted in each voxel and all other lines move with it.

    Returns
    -------
    dict of str to Estimate
        ``<pool>_amplitude`` in %, ``<pool>_width`` and ``<pool>_centre`` in ppm for each pool, ``b0_shift``
        where water was located by the fit, ``<pool>_arex`` in 1/s with `t1`. Values at a bound keep their
        value, are flagged, and have no standard error; other errors contain the noise of the samples and that
        of the unsaturated signal, which scales the whole spectrum.

    Raises
    ------
    IllConditioned
        With `refuse_overlap`.
    UnsupportedInput
        If there are fewer offsets than parameters, or the set does not exist.
    MissingMetadata, GeometryMismatch, UnitMismatch, ImplausibleValue
    """
    plan = PoolPlan.of(
        v,
        Handling.of(correction),
        pools,
        baseline=baseline,
        bandwidth_ppm=bandwidth_ppm,
        neighbours=neighbours,
        refuse_overlap=refuse_overlap,
        t1=t1,
    )
    return plan.estimates()


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """The fit of one scan, ready to run on voxels and regions.

    Attributes
    ----------
    spectra : PreparedSpectra
    pools : ChosenPools
    shared_shift : bool
        Whether water is located by the fit, and all lines move with it.
    neighbours, refuse_overlap : bool
    t1 : WaterT1 or None
    """

    spectra: PreparedSpectra
    pools: ChosenPools
    shared_shift: bool
    neighbours: bool
    refuse_overlap: bool
    t1: WaterT1 | None
    workers: int | None = None

    @classmethod
    def of(
        cls,
        v: Volume | Estimate,
        how: Handling,
        pools: str | Sequence[Pool] | Preset = "7t_5pool",
        *,
        baseline: Range | None = None,
        bandwidth_ppm: float | None = None,
        neighbours: bool = True,
        refuse_overlap: bool = False,
        t1: Volume | Estimate | float | None = None,
    ) -> PoolPlan:
        """From a scan and how it is handled; see `fit_pools`."""
        chosen = ChosenPools.of(pools, baseline, bandwidth_ppm)
        has_water = any(pool.name == WATER for pool in chosen.pools)
        spectra = how.prepare(v, shift_by_fit=has_water)
        shared = spectra.water is not None and spectra.water.decision.get("rule") == SHIFT_OF_FIT
        known = None if t1 is None else water_t1(t1, spectra.volume, purpose="AREX")
        if not shared:
            spectra = spectra.moved_to_water(how.workers)
        return cls(spectra, chosen, shared, neighbours, refuse_overlap, known, how.workers)

    def _call(self, z: Array, offset_ppm: FloatArray, **more: Any) -> Fit:
        with typed_refusals():
            return array_level.fit(
                z,
                offset_ppm,
                self.pools.pools,
                baseline=self.pools.baseline,
                shared_shift=self.shared_shift,
                bandwidth_ppm=self.pools.bandwidth_ppm,
                refuse_overlap=self.refuse_overlap,
                workers=self.workers,
                **more,
            )

    @cached_property
    def fit(self) -> Fit:
        """The fit of every voxel."""
        voxels = self.spectra.voxels
        noise = self.spectra.noise_sd
        known = noise is not None and bool(np.isfinite(noise[voxels.inside]).all())
        level = None if noise is None or not known else np.where(voxels.inside, noise, 0.0)
        found = self._call(
            voxels.samples,
            voxels.offset_ppm,
            noise_sd=level,
            neighbours=self.neighbours,
            mask=voxels.inside,
        )
        shares = self.spectra.m0_shares
        if noise is None or shares is None:
            return found
        return with_reference_error(
            found,
            self.pools,
            voxels.offset_ppm,
            noise,
            shares,
            shared_shift=self.shared_shift,
        )

    @property
    def first_label(self) -> str:
        """The first pool that is not water, or water where it is alone."""
        return next((pool.name for pool in self.pools.pools if pool.name != WATER), WATER)

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        found = {**self.spectra.all_decisions(), "pools": self.pools.decision(self.spectra.voxels.offset_ppm)}
        if self.t1 is not None:
            found["t1"] = self.t1.decision
            found["arex"] = {"rule": "1/Z - 1/(Z + line), both fitted, at the start of the centre, over T1"}
        return found

    def all_warnings(self) -> tuple[Caution, ...]:
        """Those of spectra, pools and T1."""
        t1 = () if self.t1 is None else self.t1.warnings
        scan = self.spectra.volume
        own = self.pools.cautions(scan, self.spectra.voxels.offset_ppm)
        return merge_cautions(self.spectra.all_warnings(), own, t1)

    def estimates(self) -> dict[str, Estimate]:
        """The maps by quantity."""
        step = make_step("fit_pools", pools=self.pools.name, shared_shift=self.shared_shift)
        found: dict[str, Estimate] = {}
        for pool in self.pools.pools:
            for ending, (name, scale) in _PARTS.items():
                quantity = f"{pool.name.lower()}_{ending}"
                part = _part(self.fit, f"{pool.name}_{name}", scale, pool.ranges[name][1:])
                found[quantity] = self._estimate(part, quantity, step, first=not found)
        if self.shared_shift:
            water = next(pool for pool in self.pools.pools if pool.name == WATER)
            shift = _part(self.fit, "shift_ppm", 1.0, water.centre_ppm[1:])
            found["b0_shift"] = self._estimate(shift, "b0_shift", step)
        if self.t1 is not None:
            for pool in self.pools.pools:
                if pool.name != WATER:
                    quantity = f"{pool.name.lower()}_arex"
                    found[quantity] = self._estimate(self._arex(pool), quantity, step)
        return found

    def _estimate(self, fit: Fit, quantity: str, step: Step, *, first: bool = False) -> Estimate:
        beside: dict[str, Volume] = {}
        if first:
            beside = self.spectra.beside(step)
            plain = self.spectra.volume.replace(warnings=())
            for name in ("r_squared", "rmse"):
                values = np.where(self.spectra.chosen.inside, getattr(self.fit, name), np.nan)
                unit = QUANTITIES[name].unit or "1"
                beside[name] = plain.derived(values, name, unit, step, axes=())
        return calculated_estimate(
            self.spectra.volume,
            fit,
            "value",
            quantity,
            step,
            self.spectra.chosen,
            axes=(),
            decisions=self.decisions(),
            warnings=self.all_warnings(),
            beside=beside,
        )

    def _arex(self, pool: Pool) -> Fit:
        """AREX of one pool with the standard errors of its depth and of T1."""
        assert self.t1 is not None  # noqa: S101 - the caller asks for it with T1 only
        at = np.array([pool.centre_ppm[0]])
        still = {name: values for name, values in self.fit.parameters.items() if name != "shift_ppm"}
        if self.shared_shift:
            still[f"{WATER}_centre_ppm"] = np.zeros_like(np.asarray(still[f"{WATER}_centre_ppm"]))
        curves = array_level.evaluate(
            still, at, line_shapes=self.pools.line_shapes, bandwidth_ppm=self.pools.bandwidth_ppm
        )
        z, reference = curves.total[..., 0], curves.reference(pool.name)[..., 0]
        depth = np.asarray(self.fit.parameters[f"{pool.name}_amplitude"], np.float64)
        error = np.asarray(self.fit.standard_errors[f"{pool.name}_amplitude"], np.float64)
        rate = self.t1.rate_per_s
        with np.errstate(divide="ignore", invalid="ignore"):
            shape = np.where(depth != 0.0, (reference - z) / depth, 0.0)
            value = np.where((z > 0.0) & (reference > 0.0), (1.0 / z - 1.0 / reference) * rate, np.nan)
            own = error * shape / z**2 * rate
            spread = np.hypot(own, value * self.t1.standard_error * rate)
        flags = own_flags(self.fit, f"{pool.name}_amplitude", pool.amplitude[1:]) | np.where(
            np.isfinite(depth) & ~np.isfinite(value), np.uint16(Flag.OUTSIDE_RANGE), np.uint16(0)
        )
        return replace(self.fit, parameters={"value": value}, standard_errors={"value": spread}, flags=flags)

    def curves(self, regions: Regions | None, focus: str | None = None) -> tuple[CurveFit, ...]:
        """The mean Z-spectrum of each region with the fit and the line of each pool.

        Parameters
        ----------
        regions : Regions, optional
        focus : str, optional
            The pool whose depth stands beside the curve; by default the first that is not water.
        """
        name = focus or self.first_label
        spectra = self.spectra
        if self.shared_shift:
            shift = np.asarray(self.fit.parameters["shift_ppm"])
            place = WaterPosition(shift, np.zeros_like(shift), np.asarray(self.fit.flags), {})
            spectra = replace(spectra, water=place)
        values = np.asarray(self.fit.parameters[f"{name}_amplitude"])
        return tuple(self._curve(one, name) for one in region_spectra(spectra, regions, values))

    def _curve(self, spectrum: RegionSpectrum, name: str) -> CurveFit:
        fit = self._call(spectrum.z[np.newaxis], spectrum.offset_ppm)
        line_x = np.linspace(spectrum.offset_ppm[0], spectrum.offset_ppm[-1], LINE_POINTS)
        options: dict[str, Any] = {
            "line_shapes": self.pools.line_shapes,
            "bandwidth_ppm": self.pools.bandwidth_ppm,
        }
        fine = array_level.evaluate(fit, line_x, **options)
        value, error = (
            float(np.asarray(part[f"{name}_amplitude"])[0]) * _PERCENT
            for part in (fit.parameters, fit.standard_errors)
        )
        return CurveFit(
            label=spectrum.place.label,
            quantity=f"{name.lower()}_amplitude",
            axis="saturation_offset",
            axis_unit="ppm",
            x=spectrum.offset_ppm,
            measured=spectrum.z,
            fitted=array_level.evaluate(fit, spectrum.offset_ppm, **options).total[0],
            line_x=line_x,
            line=fine.total[0],
            unit="1",
            value=value,
            standard_error=error,
            n_voxels=int(spectrum.place.voxels.size),
            parts={pool: line[0] for pool, line in fine.pools.items()},
        )


def _part(fit: Fit, name: str, scale: float, bounds: tuple[float, float]) -> Fit:
    """One parameter of a fit, in the unit of its quantity; bounds as at the array level."""

    def taken(parts: Mapping[str, Any]) -> dict[str, Any]:
        return {"value": np.asarray(parts[name]) * np.float32(scale)}

    return replace(
        fit,
        parameters=taken(fit.parameters),
        standard_errors=taken(fit.standard_errors),
        flags=own_flags(fit, name, bounds),
    )
