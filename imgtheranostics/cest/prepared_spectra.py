"""From a scan to Z-spectra that are ready to be measured: normalised, denoised, with water located."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.methods import DRIFTS
from imgtheranostics.cest.offset_list import REFERENCE_PPM, OffsetList, rows_at
from imgtheranostics.cest.saturation import saturation_offsets
from imgtheranostics.cest.voxel_spectra import Array, FloatArray, VoxelSpectra
from imgtheranostics.cest.water_position import WaterPosition
from imgtheranostics.errors import Caution, UnitMismatch, merge_cautions
from imgtheranostics.mapping.field_ratio import FieldRatio, relative_field
from imgtheranostics.mapping.refusals import UnknownChoice, applicable, checked, typed_refusals
from imgtheranostics.mapping.voxels import Chosen, Mask, chosen_voxels
from imgtheranostics.volume import Axis, Estimate, Flag, Step, Volume

LEAST_SIGNAL_TO_NOISE = 3.0
"""Voxels whose unsaturated signal is below this multiple of their noise hold noise alone."""

_FEWEST_FOR_NOISE = 6
_MOST = 0.95


class CorrectionOptions(TypedDict, total=False):
    """What `imgtheranostics.cest.analysis.correct` and all jobs on its spectra take; see there."""

    b0: str | Volume | Estimate | npt.ArrayLike | None
    wassr: Volume | None
    wasabi: Volume | None
    b1: Volume | Estimate | npt.ArrayLike | None
    resample_b1: bool
    denoise: str | int | None
    smooth: float | bool | None
    average_mm: float | None
    m0_index: int | Sequence[int] | None
    drift: str
    mask: Mask
    threshold: float | None
    noise_sd: float | None
    workers: int | None


@dataclass(frozen=True, eq=False)
class Handling:
    """How spectra are made ready, as a user says it; see `imgtheranostics.cest.analysis.correct`."""

    b0: str | Volume | Estimate | npt.ArrayLike | None = "auto"
    wassr: Volume | None = None
    wasabi: Volume | None = None
    b1: Volume | Estimate | npt.ArrayLike | None = None
    resample_b1: bool = False
    denoise: str | int | None = None
    smooth: float | bool | None = None
    m0_index: int | Sequence[int] | None = None
    drift: str = "auto"
    mask: Mask = None
    threshold: float | None = None
    noise_sd: float | None = None
    workers: int | None = None
    average_mm: float | None = None

    @classmethod
    def of(cls, options: CorrectionOptions) -> Handling:
        """From keywords; UnknownChoice where one does not exist."""
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise UnknownChoice(f"there is no option {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**options)

    def prepare(self, v: Volume | Estimate, *, shift_by_fit: bool = False) -> PreparedSpectra:
        """Spectra that are ready to be measured.

        Parameters
        ----------
        v : Volume or Estimate
        shift_by_fit : bool
            Where no source of water's position is named, leave it to the fit that comes after.

        Raises
        ------
        MissingMetadata, UnitMismatch, UnsupportedInput, GeometryMismatch, ImplausibleValue
            Where the scan, or a map beside it, cannot be what is needed.
        """
        from imgtheranostics.cest.water_sources import located_water

        self._check()
        scan = v.value if isinstance(v, Estimate) else v
        spectra = self._given(scan, v) if scan.quantity == "z_spectrum" else self._normalised(scan)
        spectra = self._cleaned(spectra)
        water = located_water(spectra, self, shift_by_fit=shift_by_fit)
        field: FieldRatio | None
        if self.b1 is not None:
            field = relative_field(self.b1, scan, resample=self.resample_b1)
        elif water.relative_b1 is not None:
            field = FieldRatio(water.relative_b1, {"rule": "WASABI"})
        else:
            field = _named_field(scan)
        return replace(spectra, water=water, field=field)

    def _check(self) -> None:
        if self.noise_sd is not None and not (np.isfinite(self.noise_sd) and self.noise_sd >= 0):
            raise UnknownChoice(f"noise_sd must be a number of at least 0, not {self.noise_sd!r}")
        if self.wassr is not None and self.wasabi is not None:
            raise UnknownChoice("give wassr= or wasabi=, not both")

    def _normalised(self, v: Volume) -> PreparedSpectra:
        from imgtheranostics.cest import zspectrum

        offsets = saturation_offsets(v)
        checked(self.drift, DRIFTS, "drift")
        references = self._references(offsets)
        with typed_refusals():
            made = zspectrum.normalise(v.data, offsets, m0_index=references, drift=self.drift)
        m0 = np.asfortranarray(made.m0, np.float32)
        chosen = chosen_voxels(m0[..., np.newaxis], v, mask=self.mask, threshold=self.threshold)
        chosen = _flagged(chosen, made.flags)
        z = np.asfortranarray(made.z, np.float32)
        noise = np.asarray(made.noise_sd) if self.noise_sd is None else self._given_noise(m0.shape)
        if self.noise_sd is not None:
            weak = noise > 1.0 / LEAST_SIGNAL_TO_NOISE
            chosen = _flagged(chosen, np.where(weak, Flag.BELOW_NOISE.value, 0).astype(np.uint16))
        return PreparedSpectra(
            v,
            VoxelSpectra(z, chosen.inside, np.asarray(made.offset_ppm, np.float64)),
            chosen,
            {
                "normalisation": {**dict(made.decisions), "n_offsets": int(made.offset_ppm.size)},
                "mask": chosen.decision,
                **self._noise_decision(noise, chosen, str(made.decisions.get("noise", ""))),
            },
            tuple(made.warnings),
            noise_sd=np.asfortranarray(noise, np.float32),
            m0=m0,
            n_references=_n_references(offsets, references),
            m0_weights=made.m0_weights,
        )

    def _references(self, offsets: FloatArray) -> int | Sequence[int] | None:
        """Unsaturated images that are named: here, or by the file, whose word goes before far offsets."""
        if self.m0_index is not None:
            return self.m0_index
        named = np.flatnonzero(np.isnan(offsets))
        return [int(n) for n in named] if named.size else None

    def _given(self, v: Volume, whole: Volume | Estimate) -> PreparedSpectra:
        given: dict[str, Any] = {"m0_index": self.m0_index, "threshold": self.threshold}
        given |= {"drift": None if self.drift == DRIFTS[0] else self.drift}
        applicable(
            {name: one for name, one in given.items() if one is not None}, (), "Z-spectra, which have no M0"
        )
        axis = v.axis("saturation_offset")
        if axis is None or len(v.axes) != 1:
            raise UnitMismatch(
                "Z-spectra are needed",
                found=", ".join(one.name for one in v.axes) or "one image",
                needed="an axis saturation_offset",
            )
        with typed_refusals():
            offsets = OffsetList.of(axis.values)
        z = v.data if np.array_equal(offsets.order, np.arange(offsets.n)) else v.data[..., offsets.order]
        chosen = chosen_voxels(z, v, mask=self.mask)
        kept = _mostly_measured(z, chosen)
        z, ppm = (z, offsets.ppm) if kept.all() else (z[..., kept], offsets.ppm[kept])
        missing = np.where(np.isfinite(z).all(axis=-1), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
        chosen = _flagged(chosen, missing)
        voxels = VoxelSpectra(np.asfortranarray(z, np.float32), chosen.inside, ppm)
        noise, rule = self._noise_of_given(voxels, whole)
        return PreparedSpectra(
            v,
            voxels,
            chosen,
            {
                "normalisation": {"rule": "Z-spectra, given", "n_offsets_left_out": int((~kept).sum())},
                "mask": chosen.decision,
                **self._noise_decision(noise, chosen, rule),
            },
            (),
            noise_sd=noise,
            sample_weights=_smoothing_weights(whole, ppm),
        )

    def _given_noise(self, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.noise_sd, np.float32, order="F")

    def _noise_of_given(self, voxels: VoxelSpectra, whole: Volume | Estimate) -> tuple[Array, str]:
        """Noise of a sample of spectra that were made before."""
        from imgtheranostics.cest import zspectrum

        if self.noise_sd is not None:
            return self._given_noise(voxels.shape), ""
        if isinstance(whole, Estimate):
            if "noise" in whole.maps:
                return whole.maps["noise"].data, "as it was when the spectra were made"
            errors = np.where(np.isfinite(whole.standard_error.data), whole.standard_error.data, np.inf)
            middle = np.median(errors, axis=-1)
            typical = np.where(np.isfinite(middle), middle, np.nan)
            return np.asfortranarray(typical, np.float32), "median of the spectra's standard errors"
        if voxels.offset_ppm.size < _FEWEST_FOR_NOISE:
            return np.full(voxels.shape, np.nan, np.float32, order="F"), "not known: too few offsets"
        noise = voxels.mapped(lambda z, _: zspectrum.noise_sd(z, voxels.offset_ppm))
        return noise, "what no smooth spectrum explains"

    def _noise_decision(self, noise: Array, chosen: Chosen, rule: str) -> dict[str, Any]:
        decision: dict[str, Any] = {"rule": "given" if self.noise_sd is not None else rule}
        usable = noise[chosen.inside & np.isfinite(noise)]
        if usable.size:
            decision["median_noise_sd"] = float(np.median(usable))
        decision["n_below_noise"] = int(np.count_nonzero(chosen.flags & Flag.BELOW_NOISE.value))
        return {"noise_level": decision}

    def _cleaned(self, spectra: PreparedSpectra) -> PreparedSpectra:
        """Spectra after denoising, averaging and smoothing, before any shift by water's position."""
        if self.denoise is None and self.average_mm is None and (self.smooth is None or self.smooth is False):
            return spectra
        from imgtheranostics.cest.spectrum_cleaning import averaged, denoised, smoothed

        if self.denoise is not None:
            spectra = denoised(spectra, self.denoise)
        if self.average_mm is not None:
            spectra = averaged(spectra, self.average_mm)
        if self.smooth is not None and self.smooth is not False:
            spectra = smoothed(spectra, self.smooth)
        return spectra


@dataclass(frozen=True, eq=False)
class PreparedSpectra:
    """Z-spectra of a scan with what is known about them.

    Attributes
    ----------
    volume : Volume
        What they were made from.
    voxels : VoxelSpectra
    chosen : Chosen
    decisions, warnings
    m0 : (i, j, k) ndarray or None
        Unsaturated signal.
    n_references : int
        Images that it is made of, 0 where that is not known.
    m0_weights : (n, n_references) ndarray or None
        Share of each of them in the unsaturated signal of each sample; None for a mean.
    noise_sd : (i, j, k) ndarray
        Of a sample, as fraction of the unsaturated signal.
    water : WaterPosition
    field : FieldRatio or None
        Transmit field relative to nominal.
    moved : bool
        Whether water is at 0 in the spectra already.
    sample_weights : (n, k) ndarray or None
        How k samples with independent noise entered each, where the spectra were smoothed.
    """

    volume: Volume
    voxels: VoxelSpectra
    chosen: Chosen
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]
    m0: Array | None = None
    n_references: int = 0
    noise_sd: Array | None = None
    water: WaterPosition | None = None
    field: FieldRatio | None = None
    moved: bool = False
    m0_weights: FloatArray | None = None
    sample_weights: FloatArray | None = None

    @property
    def axis(self) -> Axis:
        """Offsets, ascending."""
        return Axis("saturation_offset", self.voxels.offset_ppm, "ppm")

    @property
    def b0_ppm(self) -> Array | None:
        """Position of water; None where the spectra are taken as they are."""
        return None if self.water is None or self.water.is_zero or self.moved else self.water.ppm

    @property
    def b0_se_ppm(self) -> Array | None:
        """Its standard error, 0 where it is not known."""
        if self.water is None or self.b0_ppm is None:
            return None
        error = np.asarray(self.water.standard_error)
        return np.where(np.isfinite(error), error, 0.0).astype(np.float32)

    @property
    def m0_shares(self) -> FloatArray | None:
        """How independent noise, that of a sample, enters M0 at each offset, (n, m); None where not known."""
        if not self.n_references:
            return None
        if self.m0_weights is not None:
            return self.m0_weights
        return np.full((self.voxels.offset_ppm.size, 1), 1.0 / np.sqrt(self.n_references))

    def m0_weights_at(self, offset_ppm: FloatArray) -> FloatArray | None:
        """Shares of the unsaturated images in M0 at some of the offsets."""
        if self.m0_weights is None:
            return None
        return rows_at(self.m0_weights, self.voxels.offset_ppm, offset_ppm)

    def moved_to_water(self, workers: int | None = None) -> PreparedSpectra:
        """The spectra with water at 0, at the offsets that nearly all voxels have once they are shifted.

        Voxels that lack one of these are left out and flagged as outside the range.
        """
        from imgtheranostics.cest import z_spline

        if self.b0_ppm is None:
            return self
        voxels = self.voxels
        ppm = voxels.offset_ppm
        z = voxels.mapped(
            lambda samples, maps: z_spline.interpolated(samples, ppm, ppm, maps["b0"], workers=workers).value,
            ppm.size,
            b0=self.b0_ppm,
        )
        kept = _mostly_measured(z, self.chosen)
        z = np.asfortranarray(z[..., kept])
        lost = self.chosen.inside & ~np.isfinite(z).all(axis=-1)
        known = np.isfinite(self.b0_ppm)
        reason = np.where(known, np.uint16(Flag.OUTSIDE_RANGE), np.uint16(Flag.INVALID_INPUT))
        flags = np.where(lost, self.chosen.flags | reason, self.chosen.flags).astype(np.uint16)
        chosen = Chosen(self.chosen.inside & ~lost, flags, self.chosen.decision)
        decisions = dict(self.decisions)
        decisions["normalisation"] = {
            **decisions["normalisation"],
            "n_offsets_left_out_after_the_shift": int((~kept).sum()),
        }
        return replace(
            self,
            voxels=VoxelSpectra(z, chosen.inside, ppm[kept]),
            chosen=chosen,
            decisions=decisions,
            moved=True,
            m0_weights=None if self.m0_weights is None else self.m0_weights[kept],
            sample_weights=None if self.sample_weights is None else self.sample_weights[kept],
        )

    def all_decisions(self) -> dict[str, Any]:
        """For the record."""
        found = dict(self.decisions)
        if self.water is not None:
            found["b0"] = self.water.decision
        if self.field is not None:
            found["b1"] = self.field.decision
        return found

    def all_warnings(self) -> tuple[Caution, ...]:
        """Those of the scan's preparation; the scan carries its own."""
        water = () if self.water is None else self.water.warnings
        return merge_cautions(self.warnings, water, () if self.field is None else self.field.warnings)

    def beside(self, step: Step) -> dict[str, Volume]:
        """Maps that go with every result: position of water, unsaturated signal, transmit field."""
        maps: dict[str, Volume] = {}
        plain = self.volume.replace(warnings=(), axes=(), data=np.zeros(self.voxels.shape, np.float32))
        if self.water is not None and not self.water.is_zero:
            maps["b0_shift"] = plain.derived(self._outside_nan(self.water.ppm), "b0_shift", "ppm", step)
        if self.m0 is not None:
            maps["m0"] = plain.derived(self.m0, "signal", self.volume.unit, step)
        if self.field is not None:
            maps["relative_b1"] = plain.derived(self.field.ratio, "relative_b1", "1", step)
        if self.noise_sd is not None:
            maps["noise"] = plain.derived(self._outside_nan(self.noise_sd), "z_spectrum", "1", step)
        return maps

    def _outside_nan(self, values: Array) -> Array:
        return np.where(self.chosen.inside, values, np.nan).astype(np.float32)


def common_water(spectra: tuple[PreparedSpectra, ...]) -> tuple[Array | None, Array | None]:
    """The mean position of water of the scans, and its standard error."""
    places = [one.b0_ppm for one in spectra]
    errors = [one.b0_se_ppm for one in spectra]
    if any(place is None for place in places) or any(error is None for error in errors):
        return places[0], errors[0]
    mean = np.mean(np.array(places, np.float64), axis=0)
    spread = np.sqrt(np.sum(np.array(errors, np.float64) ** 2, axis=0)) / len(spectra)
    return mean.astype(np.float32), spread.astype(np.float32)


def _mostly_measured(z: Array, chosen: Chosen) -> npt.NDArray[np.bool_]:
    """Offsets at which nearly all voxels that have a spectrum have a value: a shift by B0 cuts the ends."""
    kept = np.ones(z.shape[-1], np.bool_)
    some = chosen.inside & np.isfinite(z).any(axis=-1)
    n = int(np.count_nonzero(some))
    for k in range(kept.size if n else 0):
        kept[k] = np.count_nonzero(np.isfinite(z[..., k]) & some) >= _MOST * n
    return kept


def _n_references(offset_ppm: FloatArray, m0_index: int | Sequence[int] | None) -> int:
    if m0_index is not None:
        return int(np.unique(np.atleast_1d(np.asarray(m0_index))).size)
    return int(np.count_nonzero(~(np.abs(offset_ppm) < REFERENCE_PPM)))


def _flagged(chosen: Chosen, found: npt.NDArray[np.uint16]) -> Chosen:
    """Fewer voxels: those with a reason against them stay out and keep it."""
    if found.ndim > chosen.inside.ndim:
        found = np.bitwise_or.reduce(found, axis=-1)
    against = np.uint16(Flag.INVALID_INPUT | Flag.BELOW_NOISE | Flag.MASKED_OUT)
    flags = np.where(chosen.inside, chosen.flags | found, chosen.flags).astype(np.uint16)
    return Chosen(chosen.inside & ((found & against) == 0), flags, chosen.decision)


def _smoothing_weights(made: Volume | Estimate, offset_ppm: FloatArray) -> FloatArray | None:
    """How samples entered spectra that were smoothed when they were made."""
    from imgtheranostics.cest.smoothing_spline import smoothing_matrix

    decisions = made.decisions if isinstance(made, Estimate) else {}
    p = decisions.get("smoothing", {}).get("smoothing")
    return None if p is None else smoothing_matrix(offset_ppm, float(p))


def _named_field(v: Volume) -> FieldRatio | None:
    from imgtheranostics.cest.named_maps import named_map

    named = named_map(v, "b1_map")
    if named is None:
        return None
    found = relative_field(named, v)
    return replace(found, decision={**found.decision, "source": "named in the sidecar (B1Map)"})
