"""PH as a map: ratios of saturation transfer, converted where the calibration allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import ph
from imgtheranostics.cest.contrast_plan import check_reach
from imgtheranostics.cest.methods import IOPAMIDOL_PPM, POWER_RATIOS, SITE_RATIOS
from imgtheranostics.cest.ph import RatioKind
from imgtheranostics.cest.ph_calibration import Calibration
from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.cest.ph_ratio import TransferKind
from imgtheranostics.cest.pool_design import Pool, Range
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling, PreparedSpectra, common_water
from imgtheranostics.cest.saturation import saturation_b1, saturation_time_s
from imgtheranostics.cest.spectrum_curves import contrast_curves
from imgtheranostics.cest.voxel_spectra import Array, VoxelCurves, VoxelMaps
from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_LARGEST_DRIFT_PPM = 0.05


def ph_map(
    v: Volume | Estimate | Sequence[Volume],
    *,
    calibration: Calibration | str | Path,
    kind: str | None = None,
    at_ppm: Sequence[float] | float | None = None,
    pools: Sequence[Pool] | None = None,
    baseline: Range | None = None,
    temperature_c: float | None = None,
    **correction: Unpack[CorrectionOptions],
) -> Estimate:
    """PH from the ratio of two sites, or of one site at two powers.

    Parameters
    ----------
    v : Volume, Estimate or two Volumes
        One scan for the ratio of two sites; two scans, at the low and at the high power, for one site.
    calibration : Calibration or path
        From `imgtheranostics.cest.ph.calibrate`, or a file that it was saved to.
    kind : str, optional
        How the transfer is measured, as `imgtheranostics.cest.ph.ratio` (for two scans:
        `imgtheranostics.cest.ph.two_b1_ratio`) takes it; by default that of the calibration, else
        ``mtr_asym`` (``power``).
    at_ppm : sequence of float, or float, optional
        Both sites, or the one; by default those of the calibration, else 4.2 and 5.5 ppm (4.3).
    pools, baseline : optional
        For ``amplitude``.
    temperature_c : float, optional
        Of the scan, to be held against that of the calibration.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`.

    Returns
    -------
    Estimate
        ``ph``; NaN and flagged as outside the range where the calibration does not reach. `maps` hold
        ``ratio`` and its standard error ``ratio_se``.

    Raises
    ------
    ImplausibleValue
        If the scan was acquired under other conditions than the calibration.
    MissingMetadata, GeometryMismatch, UnitMismatch, UnsupportedInput
    """
    plan = PhPlan.of(
        v,
        Handling.of(correction),
        calibration=calibration,
        kind=kind,
        at_ppm=at_ppm,
        pools=pools,
        baseline=baseline,
        temperature_c=temperature_c,
    )
    return plan.estimate()


@dataclass(frozen=True, eq=False)
class PhPlan:
    """A ratio and its calibration, ready to be measured in voxels and regions.

    Attributes
    ----------
    spectra : tuple of PreparedSpectra
        Of one scan, or of those at the low and the high power.
    calibration : Calibration
    kind : str
    at_ppm : tuple of float
    pools, baseline : optional
    conditions : Conditions
        Of the scan.
    """

    spectra: tuple[PreparedSpectra, ...]
    calibration: Calibration
    kind: str
    at_ppm: tuple[float, ...]
    pools: Sequence[Pool] | None
    baseline: Range | None
    conditions: Conditions
    warnings: tuple[Caution, ...]
    workers: int | None = None

    @classmethod
    def of(
        cls,
        v: Volume | Estimate | Sequence[Volume],
        how: Handling,
        *,
        calibration: Calibration | str | Path,
        kind: str | None = None,
        at_ppm: Sequence[float] | float | None = None,
        pools: Sequence[Pool] | None = None,
        baseline: Range | None = None,
        temperature_c: float | None = None,
    ) -> PhPlan:
        """From scans and how they are handled; see `ph_map`."""
        known = calibration if isinstance(calibration, Calibration) else ph.load_calibration(calibration)
        scans = _scans(v)
        two = len(scans) == 2
        words = POWER_RATIOS if two else SITE_RATIOS
        chosen = checked(kind or known.conditions.kind or words[-1 if two else 0], words, "kind of transfer")
        if chosen != "amplitude" and (pools is not None or baseline is not None):
            raise UnknownChoice(f"pools= and baseline= do not apply to {chosen}")
        places = _places(at_ppm, known, two)
        spectra = tuple(how.prepare(scan, shift_by_fit=chosen == "amplitude") for scan in scans)
        check_reach(places, spectra[0].voxels.offset_ppm, mirrored=chosen not in ("amplitude", "power"))
        conditions = scan_conditions(spectra, chosen, places, temperature_c)
        cautions = known.conditions.check(conditions)
        return cls(
            spectra,
            known,
            chosen,
            places,
            pools,
            baseline,
            conditions,
            merge_cautions(known.warnings, cautions, _drift(spectra)),
            how.workers,
        )

    @property
    def chosen(self) -> Chosen:
        """Voxels that all scans have a spectrum of."""
        inside = np.logical_and.reduce([one.chosen.inside for one in self.spectra])
        flags = np.bitwise_or.reduce([one.chosen.flags for one in self.spectra])
        return Chosen(inside, np.asarray(flags, np.uint16), self.spectra[0].chosen.decision)

    @cached_property
    def ratio(self) -> Fit:
        """The ratio of every voxel."""
        first, last = self.spectra[0], self.spectra[-1]
        samples = first.voxels.samples
        if len(self.spectra) == 2:
            samples = np.asfortranarray(np.concatenate([samples, _like(last, first)], axis=-1))
        water, error = common_water(self.spectra)
        maps = {
            "b0": water,
            "b0_se": error,
            "noise": _known(first.noise_sd, self.chosen),
            "noise_high": _known(last.noise_sd, self.chosen),
        }
        return VoxelCurves(samples, self.chosen.inside).fitted(self._ratio, **maps)

    def _ratio(self, z: Array, maps: VoxelMaps) -> Fit:
        offsets = self.spectra[0].voxels.offset_ppm
        water = {"b0_ppm": maps.get("b0"), "b0_se_ppm": maps.get("b0_se")}
        if len(self.spectra) == 2:
            n = offsets.size
            return ph.two_b1_ratio(
                z[:, :n],
                z[:, n:],
                offsets,
                at_ppm=self.at_ppm[0],
                kind=cast(TransferKind, self.kind),
                noise_sd=maps.get("noise"),
                noise_high_sd=maps.get("noise_high"),
                sample_weights=self.spectra[0].sample_weights,
                m0_shares=self.spectra[0].m0_shares,
                m0_high_shares=self.spectra[1].m0_shares,
                workers=self.workers,
                **water,
            )
        more: dict[str, Any] = {"pools": self.pools, "baseline": self.baseline}
        if self.kind != "amplitude":
            first = self.spectra[0]
            more = {**water, "sample_weights": first.sample_weights, "m0_shares": first.m0_shares}
        return ph.ratio(
            z,
            offsets,
            kind=cast(RatioKind, self.kind),
            at_ppm=self.at_ppm,
            noise_sd=maps.get("noise"),
            workers=self.workers,
            **more,
        )

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        return {
            **self.spectra[0].all_decisions(),
            "ratio": {"rule": self.kind, "at_ppm": list(self.at_ppm)},
            "calibration": self.calibration.decision(),
            "conditions": {"rule": "of the scan", **self.conditions.as_dict()},
        }

    def estimate(self) -> Estimate:
        """The map."""
        fit = ph.converted(self.calibration, self.ratio)
        first = self.spectra[0]
        step = make_step("ph_map", kind=self.kind, at_ppm=list(self.at_ppm))
        plain = first.volume.replace(warnings=())
        beside = first.beside(step)
        for name, part in (("ratio", self.ratio.parameters), ("ratio_se", self.ratio.standard_errors)):
            beside[name] = plain.derived(np.asarray(part["ratio"]), "ph_ratio", "1", step, axes=())
        found = calculated_estimate(
            first.volume,
            fit,
            "ph",
            "ph",
            step,
            self.chosen,
            axes=(),
            decisions=self.decisions(),
            warnings=merge_cautions(*(one.all_warnings() for one in self.spectra), self.warnings),
            beside=beside,
        )
        return replace(found, calibration_relative=self._shared(found))

    def _shared(self, found: Estimate) -> float:
        """What is not known of the calibration, relative to pH: common to all voxels."""
        common = self.calibration.calibration_error(self.ratio.parameters["ratio"])
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = common / found.value.data
        usable = relative[np.isfinite(relative)]
        return float(np.median(usable)) if usable.size else 0.0

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """The mean Z-spectrum of each region with its asymmetry and its pH; of one scan only."""
        if len(self.spectra) == 2:
            return ()
        values = self.calibration.invert(self.ratio.parameters["ratio"])

        more: dict[str, Any] = {"pools": self.pools, "baseline": self.baseline}
        if self.kind != "amplitude":
            # what noise a smooth spectrum had cannot be told from it
            more = {} if self.spectra[0].sample_weights is None else {"noise_sd": np.nan}

        def measure(z: FloatArray, ppm: FloatArray, voxels: npt.NDArray[np.int64]) -> tuple[float, float]:
            mean = ph.ratio(
                z[np.newaxis],
                ppm,
                kind=cast(RatioKind, self.kind),
                at_ppm=self.at_ppm,
                **more,
            )
            fit = ph.converted(self.calibration, mean)
            return float(np.asarray(fit.parameters["ph"])[0]), float(np.asarray(fit.standard_errors["ph"])[0])

        return contrast_curves(
            self.spectra[0], regions, values, "ph", suffix="", marks=self.at_ppm, measure=measure
        )


def _scans(v: Volume | Estimate | Sequence[Volume]) -> tuple[Volume | Estimate, ...]:
    if isinstance(v, (Volume, Estimate)):
        return (v,)
    scans = tuple(v)
    if len(scans) not in (1, 2):
        raise UnsupportedInput(
            "pH is measured on one scan, or on two at a low and a high power", found=f"{len(scans)} scans"
        )
    if len(scans) == 1:
        return scans
    return scans[0], second_on_first(scans[0], scans[1])[0]


def _places(at_ppm: Sequence[float] | float | None, known: Calibration, two: bool) -> tuple[float, ...]:
    given: Any = at_ppm if at_ppm is not None else known.conditions.at_ppm
    if given is None:
        given = 4.3 if two else IOPAMIDOL_PPM
    elif at_ppm is None and np.size(given) != (1 if two else 2):
        raise UnknownChoice(
            f"the calibration is of {'two sites in one scan' if two else 'one site at two powers'}, "
            f"but {'two scans are' if two else 'one scan is'} given"
        )
    places = tuple(float(at) for at in np.atleast_1d(np.asarray(given, np.float64)))
    if len(places) != (1 if two else 2):
        raise UnknownChoice(f"at_ppm must be {'one offset' if two else 'two offsets'}, found {given!r}")
    return places


def scan_conditions(
    spectra: tuple[PreparedSpectra, ...], kind: str, places: tuple[float, ...], temperature_c: float | None
) -> Conditions:
    """Of the scan, as far as its files state them."""
    scans = [one.volume for one in spectra]
    powers: list[float] = []
    for scan in scans:
        try:
            powers.append(saturation_b1(scan, purpose="the conditions of a pH measurement").b1_ut)
        except MissingMetadata:
            continue
    return Conditions(
        kind=kind,
        at_ppm=places,
        b1_ut=tuple(powers) if len(powers) == len(scans) else None,
        saturation_time_s=saturation_time_s(scans[0]),
        temperature_c=temperature_c,
        field_t=mr_record(scans[0]).field_strength_t,
    )


def _known(noise: Array | None, chosen: Chosen) -> Array | None:
    """The noise map, unless it is known nowhere."""
    return None if noise is None or not np.isfinite(noise[chosen.inside]).any() else noise


def _drift(spectra: tuple[PreparedSpectra, ...]) -> tuple[Caution, ...]:
    """A caution where water moved between the two scans, whose mean position is used."""
    if len(spectra) < 2 or spectra[0].b0_ppm is None or spectra[1].b0_ppm is None:
        return ()
    inside = spectra[0].chosen.inside & spectra[1].chosen.inside
    moved = np.abs(spectra[1].b0_ppm - spectra[0].b0_ppm)[inside]
    moved = moved[np.isfinite(moved)]
    if not moved.size or float(np.median(moved)) <= _LARGEST_DRIFT_PPM:
        return ()
    message = (
        f"water moved by {float(np.median(moved)):.2g} ppm between the scans at the two powers; "
        "its mean position is used for both"
    )
    return (Caution("b0-drifted", message, "--b0"),)


def _like(last: PreparedSpectra, first: PreparedSpectra) -> Array:
    """The second scan's spectra, when they were measured at the offsets of the first.

    Raises
    ------
    UnsupportedInput
        If the two were not measured at the same offsets.
    """
    ppm = first.voxels.offset_ppm
    same = last.voxels.offset_ppm.shape == ppm.shape and np.allclose(last.voxels.offset_ppm, ppm, atol=1e-6)
    if not same:
        raise UnsupportedInput(
            "the scans at the two powers were measured at different offsets",
            found=f"{last.voxels.offset_ppm.size} and {ppm.size} offsets",
            needed="the same offsets",
        )
    return last.voxels.samples
