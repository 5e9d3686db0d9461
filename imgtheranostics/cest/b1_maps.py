"""Spectra and contrasts at the nominal B1, from scans at several B1 and a map of the transmit field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.b1_correction import Method, correct_b1_contrast, correct_b1_z
from imgtheranostics.cest.contrast_plan import ContrastPlan
from imgtheranostics.cest.correction_maps import CorrectionPlan
from imgtheranostics.cest.power_series import split_by_power
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling, PreparedSpectra
from imgtheranostics.cest.saturation import stated_b1
from imgtheranostics.cest.voxel_spectra import Array, VoxelCurves, VoxelMaps
from imgtheranostics.cest.water_sources import CORRECTED
from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.volume import Axis, Estimate, Step, Volume, make_step

FloatArray = npt.NDArray[np.float64]


def correct_b1(
    scans: Volume | Sequence[Volume],
    *,
    nominal_b1_ut: float,
    b1_ut: Sequence[float] | None = None,
    method: Method = "spline",
    zero_anchor: bool = False,
    extrapolate: bool = False,
    **correction: Unpack[CorrectionOptions],
) -> Estimate:
    """Z-spectra as they would be at the nominal B1, with water at 0 ppm.

    Parameters
    ----------
    scans : Volume or sequence of Volume
        One scan for each B1, at the same offsets and on one grid; or one volume with an axis
        ``saturation_b1``.
    nominal_b1_ut : float
        B1 at which the spectra are wanted, by the definition of `b1_ut`.
    b1_ut : sequence of float, optional
        B1 that was set in each scan; by default what the files state, all by one definition.
    method, zero_anchor, extrapolate
        As `imgtheranostics.cest.b1_correction.correct_b1_z`.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`; the transmit field (`b1`, `wasabi`, or the map that
        the sidecar names) is needed.

    Returns
    -------
    Estimate
        ``z_spectrum``, which `imgtheranostics.cest.contrast_maps.contrast` and the others take.

    Raises
    ------
    MissingMetadata
        If the transmit field, or B1 of the scans, is not known.
    UnsupportedInput
        If there is one scan only, or offsets differ.
    GeometryMismatch, UnitMismatch, ImplausibleValue
    """
    levels = PowerLevels.of(scans, Handling.of(correction), b1_ut)
    first = levels.spectra[0]
    offsets = first.voxels.offset_ppm
    n = offsets.size
    if any(not np.array_equal(one.voxels.offset_ppm, offsets) for one in levels.spectra):
        raise UnsupportedInput(
            "the scans at different B1 were measured at different offsets",
            found=", ".join(str(one.voxels.offset_ppm.size) for one in levels.spectra),
            needed="the same offsets; or correct the contrast instead (contrast_at_b1)",
        )
    moved = [CorrectionPlan(one, levels.workers).estimate() for one in levels.spectra]
    samples = np.asfortranarray(np.concatenate([one.value.data for one in moved], axis=-1))

    def compute(z: Array, maps: VoxelMaps) -> Fit:
        stacked = np.moveaxis(z.reshape(z.shape[0], len(moved), n), 1, -1)
        return correct_b1_z(
            stacked,
            levels.b1_ut,
            np.asarray(maps["field"]),
            nominal_b1_ut=nominal_b1_ut,
            method=method,
            zero_anchor=zero_anchor,
            extrapolate=extrapolate,
            noise_sd=np.asarray(maps["noise"]),
        )

    fit = VoxelCurves(samples, levels.chosen.inside).fitted(
        compute, field=levels.field, noise=levels.mean_noise()
    )
    step = make_step("correct_b1", nominal_b1_ut=float(nominal_b1_ut), method=method)
    base = first.volume.with_step(CORRECTED, b0=str(first.water.decision["rule"]) if first.water else "")
    found = levels.estimate(fit, "z", "z_spectrum", step, (first.axis,), nominal_b1_ut, method, base=base)
    # the noise of the interpolated spectra, not that of one of the scans
    noise = found.maps["noise"]
    errors = np.sort(found.standard_error.data, axis=-1)
    middle = (np.count_nonzero(np.isfinite(errors), axis=-1) // 2)[..., np.newaxis]
    own = np.take_along_axis(errors, middle, axis=-1)[..., 0]
    return replace(found, maps={**found.maps, "noise": noise.replace(data=own)})


def contrast_at_b1(
    scans: Volume | Sequence[Volume],
    *,
    kind: str = "mtr_asym",
    at_ppm: float | Sequence[float] | None = None,
    nominal_b1_ut: float,
    b1_ut: Sequence[float] | None = None,
    t1: Volume | Estimate | float | None = None,
    method: Method = "spline",
    zero_anchor: bool = False,
    extrapolate: bool = False,
    **correction: Unpack[CorrectionOptions],
) -> Estimate:
    """A contrast as it would be at the nominal B1, from that of scans at several B1.

    Parameters
    ----------
    scans, nominal_b1_ut, b1_ut, method, zero_anchor, extrapolate, **correction
        As `correct_b1`; offsets of the scans may differ.
    kind, at_ppm, t1
        As `imgtheranostics.cest.contrast_maps.contrast`.

    Returns
    -------
    Estimate
        The quantity `kind`.

    Raises
    ------
    MissingMetadata, UnsupportedInput, GeometryMismatch, UnitMismatch, ImplausibleValue
        As `correct_b1` and `imgtheranostics.cest.contrast_maps.contrast`.
    """
    how = Handling.of(correction)
    given = _aligned(scans)
    plans = [ContrastPlan.of(one, how, kind=kind, at_ppm=at_ppm, t1=t1) for one in given]
    levels = PowerLevels.of_spectra(given, tuple(plan.spectra for plan in plans), how, b1_ut)
    parts = [
        np.stack([np.asarray(getattr(plan.fit, part)[kind]) for plan in plans], axis=-1)
        for part in ("parameters", "standard_errors")
    ]
    n_at, n = plans[0].at_ppm.size, len(plans)
    samples = np.asfortranarray(parts[0].reshape((*parts[0].shape[:3], n_at * n)), np.float32)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(np.nanmean(np.square(parts[1], dtype=np.float64), axis=(-1, -2)))

    def compute(values: Array, maps: VoxelMaps) -> Fit:
        return correct_b1_contrast(
            values.reshape(values.shape[0], n_at, n),
            levels.b1_ut,
            np.asarray(maps["field"]),
            nominal_b1_ut=nominal_b1_ut,
            method=method,
            zero_anchor=zero_anchor,
            extrapolate=extrapolate,
            noise_sd=np.asarray(maps["noise"]),
        )

    fit = VoxelCurves(samples, levels.chosen.inside).fitted(compute, field=levels.field, noise=error)
    if not plans[0].axes:
        fit = _first_of(fit, "contrast")
    step = make_step("contrast_at_b1", kind=kind, nominal_b1_ut=float(nominal_b1_ut), method=method)
    found = levels.estimate(fit, "contrast", kind, step, plans[0].axes, nominal_b1_ut, method)
    own = merge_cautions(*(plan.all_warnings() for plan in plans))
    return Estimate(
        found.value.with_warnings(*own),
        found.standard_error,
        found.flags,
        found.calibration_relative,
        {**plans[0].decisions(), **found.decisions},
        found.maps,
    )


@dataclass(frozen=True, eq=False)
class PowerLevels:
    """Spectra of scans at several B1, and the transmit field.

    Attributes
    ----------
    spectra : tuple of PreparedSpectra
    b1_ut : (n,) ndarray
        As it was set, all by one definition.
    definition : str
    field : (i, j, k) ndarray
        Relative to what was set.
    """

    spectra: tuple[PreparedSpectra, ...]
    b1_ut: FloatArray
    definition: str
    field: Array
    workers: int | None = None

    @classmethod
    def of(
        cls, scans: Volume | Sequence[Volume], how: Handling, b1_ut: Sequence[float] | None
    ) -> PowerLevels:
        """From scans and how each is handled."""
        given = _aligned(scans)
        return cls.of_spectra(given, tuple(how.prepare(one) for one in given), how, b1_ut)

    @classmethod
    def of_spectra(
        cls,
        scans: Sequence[Volume],
        spectra: tuple[PreparedSpectra, ...],
        how: Handling,
        b1_ut: Sequence[float] | None,
    ) -> PowerLevels:
        """From spectra that are ready."""
        field = next((one.field for one in spectra if one.field is not None), None)
        if field is None:
            raise MissingMetadata(
                "the transmit field is not known; a correction for it needs it",
                where="sidecar key B1Map",
                needed="a map relative to nominal, a WASABI scan, or one number",
                next_step="give --b1 (b1=) or --wasabi (wasabi=), or name the map in the sidecar: B1Map",
            )
        levels, definition = _levels(scans, b1_ut)
        return cls(spectra, levels, definition, np.asarray(field.ratio), how.workers)

    @property
    def chosen(self) -> Chosen:
        """Voxels that all scans have a spectrum of."""
        inside = np.logical_and.reduce([one.chosen.inside for one in self.spectra])
        flags = np.bitwise_or.reduce([one.chosen.flags for one in self.spectra])
        return Chosen(inside, np.asarray(flags, np.uint16), self.spectra[0].chosen.decision)

    def mean_noise(self) -> Array:
        """Root mean square noise of the scans."""
        levels = np.array([one.noise_sd for one in self.spectra if one.noise_sd is not None], np.float64)
        return np.asarray(np.sqrt(np.mean(levels**2, axis=0)))

    def estimate(
        self,
        fit: Fit,
        parameter: str,
        quantity: str,
        step: Step,
        axes: tuple[Axis, ...],
        nominal_b1_ut: float,
        method: str,
        *,
        base: Volume | None = None,
    ) -> Estimate:
        """The corrected map with what was done."""
        first = self.spectra[0]
        decision: dict[str, Any] = {
            "rule": f"{method} over B1 at the nominal value",
            "nominal_b1_ut": float(nominal_b1_ut),
            "b1_ut": self.b1_ut.tolist(),
            "definition": self.definition,
        }
        factor = float(nominal_b1_ut) / float(self.b1_ut[0])
        return calculated_estimate(
            _at_power(first.volume if base is None else base, factor),
            fit,
            parameter,
            quantity,
            step,
            self.chosen,
            axes=axes,
            decisions={**first.all_decisions(), "b1_correction": decision},
            warnings=self._warnings(),
            beside=first.beside(step),
        )

    def _warnings(self) -> tuple[Caution, ...]:
        scans = (one.volume.warnings for one in self.spectra[1:])
        return merge_cautions(*scans, *(one.all_warnings() for one in self.spectra))


def _aligned(scans: Volume | Sequence[Volume]) -> list[Volume]:
    given = split_by_power(scans) if isinstance(scans, Volume) else list(scans)
    if len(given) < 2:
        raise UnsupportedInput(
            "a correction for B1 needs scans at several B1: one does not tell how the contrast changes",
            found=f"{len(given)} scan",
            needed="at least two scans, or a volume with an axis saturation_b1",
            next_step="measure at further B1, or leave B1 uncorrected and report its map",
        )
    return [given[0], *(second_on_first(given[0], one)[0] for one in given[1:])]


def _levels(scans: Sequence[Volume], given: Sequence[float] | None) -> tuple[FloatArray, str]:
    """B1 of each scan, all by one definition."""
    if given is not None:
        values = np.asarray(given, np.float64)
        if values.shape != (len(scans),) or not (np.isfinite(values) & (values > 0)).all():
            raise UnknownChoice(f"b1_ut must be one positive number for each of the {len(scans)} scans")
        return values, "given"
    stated = [stated_b1(scan) for scan in scans]
    for name in ("b1_cwpe_ut", "b1_rms_ut", "b1_mean_ut"):
        if all(name in one for one in stated):
            return np.array([one[name] for one in stated]), name
    raise MissingMetadata(
        "the B1 of the scans is not stated by one definition",
        where="sidecar keys SaturationB1cwpe, SaturationB1rms, SaturationB1mean",
        needed="one of them in every scan",
        next_step="give --b1-ut (b1_ut=), or write it into the sidecars",
    )


def _at_power(v: Volume, factor: float) -> Volume:
    """A scan whose stated B1, by every definition, is this multiple of what it was."""
    known = {name: b1_ut * factor for name, b1_ut in stated_b1(v).items()}
    saturation = dict(v.acquisition.saturation) | known
    return v.replace(acquisition=replace(v.acquisition, saturation=saturation))


def _first_of(fit: Fit, name: str) -> Fit:
    return Fit(
        {name: fit.parameters[name][..., 0]},
        {name: fit.standard_errors[name][..., 0]},
        fit.r_squared,
        fit.rmse,
        fit.iterations,
        fit.flags[..., 0],
    )
