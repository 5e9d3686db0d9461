"""Exchange rate, fraction and concentration of pools as maps, by fits of the Bloch-McConnell equations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_design import Design, free_parameters
from imgtheranostics.cest.bloch_mcconnell import PoolSystem, read_pools, simulate
from imgtheranostics.cest.bloch_reference_error import Reference, with_reference_errors
from imgtheranostics.cest.constants import WATER_PROTON_CONCENTRATION_MM
from imgtheranostics.cest.own_bounds import own_flags
from imgtheranostics.cest.power_series import split_by_power
from imgtheranostics.cest.prepared_spectra import (
    CorrectionOptions,
    Handling,
    PreparedSpectra,
    common_water,
)
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.cest.scan_sequences import Saturation, at_offsets, given_sequences, train_at
from imgtheranostics.cest.spectrum_curves import LINE_POINTS, region_spectra
from imgtheranostics.cest.voxel_spectra import Array, VoxelCurves, VoxelMaps
from imgtheranostics.errors import Caution, UnitMismatch, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import UnknownChoice, typed_refusals
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]
Free = Mapping[str, str | Sequence[str]]
Bounds = Mapping[str, tuple[float, float]]

_QUANTITIES = {
    "fraction": "fraction",
    "exchange_rate_per_s": "exchange_rate",
    "offset_ppm": "centre",
    "t1_s": "pool_t1",
    "t2_s": "pool_t2",
}
"""Ending of the quantity of each parameter."""

_SAME_FIELD = 0.04
"""Magnets of 2.89 T are sold as 3 T."""


def fit_bloch(
    scans: Volume | Sequence[Volume],
    pools: PoolSystem | str | Path,
    sequence: Saturation | str | Path | Sequence[Saturation | str | Path] | None = None,
    *,
    free: Free,
    protons: Mapping[str, float] | None = None,
    bounds: Bounds | None = None,
    **correction: Unpack[CorrectionOptions],
) -> dict[str, Estimate]:
    """Fit the parameters of pools with which a simulation gives the measured Z-spectra.

    Parameters
    ----------
    scans : Volume or sequence of Volume
        One scan, or several at different B1 on one grid, which tell rate and fraction apart; or one volume
        with an axis ``saturation_b1``.
    pools : PoolSystem or path
        What is known of water and pools, and where the free parameters start from.
    sequence : PulseTrain, Protocol, path of a ``.seq`` file, or one of these for each scan, optional
        By default the block pulses that the scans state.
    free : mapping of str to str or sequence of str
        Pool to the names of its free parameters; see `imgtheranostics.cest.bloch_fit.fit`.
    protons : mapping of str to float, optional
        Exchanging protons of a molecule by pool: gives concentrations.
    bounds : mapping, optional
        As `imgtheranostics.cest.bloch_fit.fit`.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`; the transmit field enters the simulation.

    Returns
    -------
    dict of str to Estimate
        ``<pool>_fraction``, ``<pool>_exchange_rate`` in 1/s, ``<pool>_centre`` in ppm, ``<pool>_pool_t1``,
        ``<pool>_pool_t2`` in s of what is free, and ``<pool>_pool_concentration`` in mmol/L with `protons`.

    Raises
    ------
    IllConditioned
        If the scans cannot tell the free parameters apart.
    MissingMetadata
        If no sequence is given and the scans do not state block pulses.
    UnitMismatch
        If pools and scans are of different field strengths.
    UnsupportedInput, GeometryMismatch, ImplausibleValue
    """
    plan = BlochPlan.of(
        scans, Handling.of(correction), pools, sequence, free=free, protons=protons, bounds=bounds
    )
    return plan.estimates()


@dataclass(frozen=True, eq=False)
class BlochPlan:
    """Spectra, pools and sequences, ready to be fitted in voxels and regions.

    Attributes
    ----------
    spectra : tuple of PreparedSpectra
        One for each scan.
    sequences : tuple of PulseTrain or Protocol
        At the offsets of each scan.
    pools : PoolSystem
    free, protons, bounds
        As in `fit_bloch`.
    """

    spectra: tuple[PreparedSpectra, ...]
    sequences: tuple[Saturation, ...]
    pools: PoolSystem
    free: Free
    protons: Mapping[str, float]
    bounds: Bounds | None
    workers: int | None = None

    @classmethod
    def of(
        cls,
        scans: Volume | Sequence[Volume],
        how: Handling,
        pools: PoolSystem | str | Path,
        sequence: Saturation | str | Path | Sequence[Saturation | str | Path] | None = None,
        *,
        free: Free,
        protons: Mapping[str, float] | None = None,
        bounds: Bounds | None = None,
    ) -> BlochPlan:
        """From scans and how they are handled; see `fit_bloch`."""
        given = split_by_power(scans) if isinstance(scans, Volume) else list(scans)
        if not given:
            raise UnknownChoice("there is no scan to fit")
        system = pools if isinstance(pools, PoolSystem) else read_pools(pools)
        _check_field(system, given)
        counts = dict(protons or {})
        wrong = [name for name, count in counts.items() if not (np.isfinite(count) and count > 0)]
        unknown = [name for name in counts if name not in free]
        if wrong or unknown:
            named = ", ".join(wrong or unknown)
            raise UnknownChoice(f"protons must be positive numbers of fitted pools, not those of {named}")
        aligned = [given[0], *(second_on_first(given[0], one)[0] for one in given[1:])]
        sequences = given_sequences(sequence, aligned)
        spectra = tuple(how.prepare(scan) for scan in aligned)
        placed = tuple(
            at_offsets(one, part.voxels.offset_ppm) for one, part in zip(sequences, spectra, strict=True)
        )
        return cls(spectra, placed, system, free, counts, bounds, how.workers)

    @property
    def chosen(self) -> Chosen:
        """Voxels that all scans have a spectrum of."""
        inside = np.logical_and.reduce([one.chosen.inside for one in self.spectra])
        flags = np.bitwise_or.reduce([one.chosen.flags for one in self.spectra])
        return Chosen(inside, np.asarray(flags, np.uint16), self.spectra[0].chosen.decision)

    @cached_property
    def fit(self) -> Fit:
        """The fit of every voxel."""
        first = self.spectra[0]
        parts = [one.voxels.samples for one in self.spectra]
        samples = parts[0] if len(parts) == 1 else np.asfortranarray(np.concatenate(parts, axis=-1))
        water, _ = common_water(self.spectra)
        maps: dict[str, Array | None] = {
            "b0": water,
            "field": None if first.field is None else first.field.ratio,
            **{f"noise {n}": one.noise_sd for n, one in enumerate(self.spectra)},
        }
        return VoxelCurves(samples, self.chosen.inside).fitted(self._voxels, **maps)

    def _voxels(self, z: Array, maps: VoxelMaps) -> Fit:
        """The fit of some voxels, with the noise of their unsaturated signals in the standard errors."""
        found = self._call(z, self.sequences, maps)
        design = Design.of(self.pools, self.sequences, free_parameters(self.pools, self.free, self.bounds))
        unknown = np.full(len(z), np.nan)
        references = [
            Reference(one.voxels.offset_ppm.size, unknown if noise is None else noise, one.m0_shares)
            for one, noise in ((one, maps.get(f"noise {n}")) for n, one in enumerate(self.spectra))
        ]
        water, field = maps.get("b0"), maps.get("field")
        return with_reference_errors(
            found,
            design,
            references,
            np.full(len(z), self.pools.b0_inhomogeneity_ppm) + (0.0 if water is None else water),
            np.full(len(z), self.pools.relative_b1) * (1.0 if field is None else field),
        )

    def _call(self, z: Array, sequences: Sequence[Saturation], maps: VoxelMaps) -> Fit:
        from imgtheranostics.cest import bloch_fit

        water, field = maps.get("b0"), maps.get("field")
        with typed_refusals():
            return bloch_fit.fit(
                z,
                self.pools,
                sequences,
                free=self.free,
                b0_ppm=0.0 if water is None else water,
                relative_b1=1.0 if field is None else field,
                bounds=self.bounds,
                workers=self.workers,
            )

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        found = self.spectra[0].all_decisions()
        found["simulation"] = {
            "rule": "Bloch-McConnell fit",
            "free": {
                pool: [names] if isinstance(names, str) else list(names) for pool, names in self.free.items()
            },
            "field_t": float(self.pools.field_t),
            "b1_rms_ut": [
                float(one.b1_rms_ut) if isinstance(one, PulseTrain) else one.name for one in self.sequences
            ],
        }
        if self.protons:
            found["concentration"] = {
                "rule": "fraction x protons of water / protons of a molecule",
                "protons": {pool: float(count) for pool, count in self.protons.items()},
                "water_protons_mmol_per_l": WATER_PROTON_CONCENTRATION_MM,
            }
        return found

    def all_warnings(self) -> tuple[Caution, ...]:
        """Those of all scans."""
        scans = (one.volume.warnings for one in self.spectra[1:])
        return merge_cautions(*scans, *(one.all_warnings() for one in self.spectra))

    def estimates(self) -> dict[str, Estimate]:
        """The maps by quantity."""
        step = make_step("fit_bloch", free={pool: str(names) for pool, names in self.free.items()})
        wanted: list[tuple[str, str, float]] = []
        for parameter in self.fit.parameters:
            for name, ending in _QUANTITIES.items():
                pool = parameter.removesuffix(f"_{name}")
                if pool != parameter:
                    wanted.append((f"{pool.lower()}_{ending}", parameter, 1.0))
                    if name == "fraction" and pool in self.protons:
                        factor = WATER_PROTON_CONCENTRATION_MM / self.protons[pool]
                        wanted.append((f"{pool.lower()}_pool_concentration", parameter, factor))
        first = self.spectra[0]
        return {
            quantity: calculated_estimate(
                first.volume,
                _scaled(self.fit, parameter, factor),
                "value",
                quantity,
                step,
                self.chosen,
                axes=(),
                decisions=self.decisions(),
                warnings=self.all_warnings(),
                beside=first.beside(step) if n == 0 else None,
            )
            for n, (quantity, parameter, factor) in enumerate(wanted)
        }

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """The mean Z-spectrum of each region with the simulation that fits it best, for each scan."""
        first = next(iter(self.fit.parameters))
        values = np.asarray(self.fit.parameters[first])
        by_scan = [region_spectra(one, regions, values) for one in self.spectra]
        found = []
        for together in zip(*by_scan, strict=True):
            sequences = [
                at_offsets(sequence, part.offset_ppm)
                for sequence, part in zip(self.sequences, together, strict=True)
            ]
            z = np.concatenate([part.z for part in together])
            voxels = together[0].place.voxels
            field = self.spectra[0].field
            ratio = 1.0 if field is None else float(np.nanmean(field.ratio.ravel(order="F")[voxels]))
            fit = self._call(z[np.newaxis], sequences, {"field": np.array([ratio])})
            system = _with_parameters(self.pools, {n: float(v[0]) for n, v in fit.parameters.items()})
            for sequence, part in zip(sequences, together, strict=True):
                found.append(
                    self._curve(
                        part.place.label, sequence, part.offset_ppm, part.z, system, fit, ratio, voxels.size
                    )
                )
        return tuple(found)

    def _curve(
        self,
        label: str,
        sequence: Saturation,
        ppm: FloatArray,
        z: FloatArray,
        system: PoolSystem | None,
        fit: Fit,
        ratio: float,
        n_voxels: int,
    ) -> CurveFit:
        name = next(iter(fit.parameters))
        pool = next(pool for pool in self.free if name.startswith(f"{pool}_"))
        quantity = f"{pool.lower()}_{_QUANTITIES[name.removeprefix(f'{pool}_')]}"
        fine: Saturation = sequence
        if isinstance(sequence, PulseTrain):
            fine = train_at(sequence, np.linspace(ppm[0], ppm[-1], LINE_POINTS))
            if len(self.spectra) > 1:
                label = f"{label}, {sequence.b1_rms_ut:.3g} uT"
        line_x = np.asarray(fine.offsets, np.float64)
        missing = np.full(ppm.size, np.nan), np.full(line_x.size, np.nan)
        fitted, line = (
            missing
            if system is None
            else (
                simulate(system, sequence, relative_b1=ratio, workers=self.workers),
                simulate(system, fine, relative_b1=ratio, workers=self.workers),
            )
        )
        return CurveFit(
            label=label,
            quantity=quantity,
            axis="saturation_offset",
            axis_unit="ppm",
            x=ppm,
            measured=z,
            fitted=np.asarray(fitted, np.float64),
            line_x=line_x,
            line=np.asarray(line, np.float64),
            unit="1",
            value=float(np.asarray(fit.parameters[name])[0]),
            standard_error=float(np.asarray(fit.standard_errors[name])[0]),
            n_voxels=int(n_voxels),
        )


def _with_parameters(pools: PoolSystem, values: Mapping[str, float]) -> PoolSystem | None:
    """The system with fitted values in place; None where the fit failed."""
    if not np.isfinite(list(values.values())).all():
        return None

    def changed(name: str, pool: Any) -> Any:
        own = {
            key.removeprefix(f"{name}_"): value for key, value in values.items() if key.startswith(f"{name}_")
        }
        return replace(pool, **{key: value for key, value in own.items() if key in _QUANTITIES})

    return replace(
        pools,
        water=changed("water", pools.water),
        exchange=tuple(changed(pool.name, pool) for pool in pools.exchange),
        mt=None if pools.mt is None else changed("mt", pools.mt),
    )


def _check_field(pools: PoolSystem, scans: Sequence[Volume]) -> None:
    for scan in scans:
        field = mr_record(scan).field_strength_t
        if field is not None and abs(field / pools.field_t - 1.0) > _SAME_FIELD:
            raise UnitMismatch(
                "pools and scan are of different field strengths",
                where="MagneticFieldStrength (0018,0087)",
                found=f"{pools.field_t:g} T of the pools, {field:g} T of the scan",
                needed="one field strength",
                next_step="give the pools for the field of the scan",
            )


def _scaled(fit: Fit, name: str, factor: float) -> Fit:
    return replace(
        fit,
        parameters={"value": np.asarray(fit.parameters[name]) * np.float32(factor)},
        standard_errors={"value": np.asarray(fit.standard_errors[name]) * np.float32(factor)},
        flags=own_flags(fit, name),
    )
