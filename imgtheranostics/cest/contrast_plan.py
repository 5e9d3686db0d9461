"""A contrast of one scan, ready to be measured in voxels and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.contrast_errors import ContrastKind
from imgtheranostics.cest.label_sampling import sampling_cautions
from imgtheranostics.cest.methods import CONTRASTS
from imgtheranostics.cest.prepared_spectra import Handling, PreparedSpectra
from imgtheranostics.cest.saturation import duty_cycle as stated_duty_cycle
from imgtheranostics.cest.saturation import stated_b1
from imgtheranostics.cest.spectrum_curves import contrast_curves
from imgtheranostics.cest.voxel_spectra import Array, VoxelMaps
from imgtheranostics.cest.water_t1 import WaterT1, water_t1
from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.region_curves import Place
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_ARRAY_LEVEL = {"aptw": "apt_weighted"}
_AMIDE_PPM = 3.5
_APT_B1_UT = 2.0
_APT_B1_SPREAD = 0.25
_PERCENT = 100.0
_FARTHEST = 2.0
"""ppm that water may lie from 0."""


@dataclass(frozen=True, eq=False)
class ContrastPlan:
    """A contrast of one scan, ready to be measured in voxels and regions.

    Attributes
    ----------
    spectra : PreparedSpectra
    kind : str
        Of `CONTRASTS`.
    at_ppm : (m,) ndarray
    axes : tuple of Axis
        Of the result: empty for one offset.
    t1 : WaterT1 or None
    duty_cycle : float or None
    """

    spectra: PreparedSpectra
    kind: str
    at_ppm: FloatArray
    axes: tuple[Axis, ...]
    t1: WaterT1 | None
    duty_cycle: float | None
    warnings: tuple[Caution, ...]
    workers: int | None = None

    @classmethod
    def of(
        cls,
        v: Volume | Estimate,
        how: Handling,
        *,
        kind: str = "mtr_asym",
        at_ppm: float | Sequence[float] | None = None,
        t1: Volume | Estimate | float | None = None,
        duty_cycle: float | None = None,
    ) -> ContrastPlan:
        """From a scan and how it is handled; see `contrast`."""
        checked(kind, CONTRASTS, "kind of contrast")
        if kind != "arex" and (t1 is not None or duty_cycle is not None):
            raise UnknownChoice(f"t1= (--t1) and duty_cycle= (--duty-cycle) do not apply to {kind}")
        at, axes = _label_offsets(kind, at_ppm)
        spectra = how.prepare(v)
        check_reach(at, spectra.voxels.offset_ppm, mirrored=kind != "lorentzian_difference")
        scan = spectra.volume
        known = water_t1(t1, scan, purpose="AREX") if kind == "arex" else None
        cautions = _saturation_cautions(kind, scan, duty_cycle)
        cautions += sampling_cautions(scan, spectra.voxels.offset_ppm, at)
        return cls(spectra, kind, at, axes, known, duty_cycle, cautions, how.workers)

    @property
    def scale(self) -> float:
        """From the array level to the unit of the quantity."""
        return 1.0 if self.kind == "arex" else _PERCENT

    @cached_property
    def fit(self) -> Fit:
        """The contrast of every voxel in the unit of the quantity, (i, j, k, m), by the name of the kind."""
        maps: dict[str, Array | None] = {
            "b0": self.spectra.b0_ppm,
            "b0_se": self.spectra.b0_se_ppm,
            "noise": self.spectra.noise_sd,
        }
        if self.t1 is not None:
            maps |= {"t1": self.t1.t1_s, "t1_se": self.t1.standard_error}
        found = self.spectra.voxels.fitted(self._measured, **maps)
        return _renamed(found, self._array_name, self.kind, self.scale)

    @property
    def _array_name(self) -> ContrastKind:
        return cast(ContrastKind, _ARRAY_LEVEL.get(self.kind, self.kind))

    def _measured(self, z: Array, maps: VoxelMaps) -> Fit:
        return self.measured(z, self.spectra.voxels.offset_ppm, maps)

    def measured(self, z: Array, offset_ppm: FloatArray, maps: VoxelMaps) -> Fit:
        """The contrast of spectra at the array level, as fraction or in 1/s."""
        from imgtheranostics.cest.contrast_errors import measure

        noise, references = maps.get("noise"), self.spectra.n_references
        return measure(
            self._array_name,
            z,
            offset_ppm,
            at_ppm=self.at_ppm,
            b0_ppm=maps.get("b0"),
            b0_se_ppm=maps.get("b0_se"),
            noise_sd=noise,
            m0_relative_se=None if noise is None or not references else noise / np.sqrt(references),
            m0_weights=self.spectra.m0_weights_at(offset_ppm) if references else None,
            t1_s=maps.get("t1"),
            t1_se_s=maps.get("t1_se"),
            duty_cycle=self.duty_cycle,
            workers=self.workers,
        )

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        found = self.spectra.all_decisions()
        found["contrast"] = {"rule": self.kind, "at_ppm": [float(at) for at in self.at_ppm]}
        stated = stated_b1(self.spectra.volume)
        if stated:
            found["saturation"] = {"rule": "file", **stated}
        if self.t1 is not None:
            found["t1"] = self.t1.decision
        return found

    def all_warnings(self) -> tuple[Caution, ...]:
        """Those of spectra, T1 and saturation."""
        t1 = () if self.t1 is None else self.t1.warnings
        return merge_cautions(self.spectra.all_warnings(), t1, self.warnings)

    def estimate(self) -> Estimate:
        """The map."""
        step = make_step("contrast", kind=self.kind, at_ppm=[float(at) for at in self.at_ppm])
        return calculated_estimate(
            self.spectra.volume,
            _squeezed(self.fit, self.kind) if not self.axes else self.fit,
            self.kind,
            self.kind,
            step,
            self.spectra.chosen,
            axes=self.axes,
            decisions=self.decisions(),
            warnings=self.all_warnings(),
            beside=self.spectra.beside(step),
        )

    def curves(
        self,
        regions: Regions | None,
        *,
        suffix: str = "",
        usable: npt.NDArray[np.bool_] | None = None,
        single: Place | None = None,
    ) -> tuple[CurveFit, ...]:
        """The mean Z-spectrum of each region with its asymmetry, and the contrast at the first offset.

        Parameters
        ----------
        regions : Regions, optional
        suffix : str
            Added to the labels.
        usable : (i, j, k) ndarray of bool, optional
            Voxels that count; by default those that have a value.
        single : Place, optional
            The voxel that is shown by itself; by default that with the median value in the first region.
        """
        values = np.asarray(self.fit.parameters[self.kind][..., 0])
        at = float(self.at_ppm[0])
        return contrast_curves(
            self.spectra,
            regions,
            values if usable is None else np.where(usable, values, np.nan),
            self.kind,
            suffix=suffix,
            marks=(at,) if self.kind == "lorentzian_difference" else (at, -at),
            measure=self._of_curve,
            single=single,
        )

    def _of_curve(
        self, z: FloatArray, offset_ppm: FloatArray, voxels: npt.NDArray[np.int64]
    ) -> tuple[float, float]:
        """Contrast of a mean spectrum, with the mean T1 of its voxels."""
        maps: dict[str, Array | None] = {}
        if self.t1 is not None:
            mean = float(np.nanmean(self.t1.t1_s.ravel(order="F")[voxels], dtype=np.float64))
            maps["t1"] = np.array([mean])
        found = self.measured(z[np.newaxis], offset_ppm, maps)
        name = self._array_name
        value, error = (np.asarray(part[name])[0, 0] for part in (found.parameters, found.standard_errors))
        return float(value) * self.scale, float(error) * self.scale


def check_reach(at_ppm: npt.ArrayLike, offset_ppm: FloatArray, *, mirrored: bool = True) -> None:
    """Refuse offsets of labels that no voxel can have a contrast at, wherever water is.

    Parameters
    ----------
    at_ppm : array_like
        Of the labels.
    offset_ppm : (n,) ndarray
        That were measured.
    mirrored : bool
        Whether the contrast needs the same offset on the other side of water.

    Raises
    ------
    UnsupportedInput
        If the spectra do not reach one of them.
    """
    at = np.atleast_1d(np.asarray(at_ppm, np.float64))
    low, high = float(offset_ppm.min()), float(offset_ppm.max())
    far = np.abs(at) > (high - low) / 2.0 if mirrored else (at > high + _FARTHEST) | (at < low - _FARTHEST)
    if far.any():
        sides = ", on both sides of water" if mirrored else ""
        raise UnsupportedInput(
            f"the spectra do not reach the offset of the label{sides}",
            where="at_ppm (--at-ppm)",
            found=f"offsets from {low:g} to {high:g} ppm",
            needed=", ".join(f"{value:g} ppm" for value in at[far]),
            next_step="give an offset inside the measured range, or a scan that goes further out",
        )


def _label_offsets(kind: str, at_ppm: float | Sequence[float] | None) -> tuple[FloatArray, tuple[Axis, ...]]:
    if at_ppm is None:
        if kind != "aptw":
            raise UnknownChoice(f"{kind} needs the offset of the label from water: at_ppm= (--at-ppm)")
        at_ppm = _AMIDE_PPM
    at = np.asarray(at_ppm, np.float64)
    if at.ndim > 1 or not at.size or not np.isfinite(at).all():
        raise UnknownChoice(f"at_ppm must be one offset or several, not {at_ppm!r}")
    if kind != "lorentzian_difference" and (at == 0.0).any():
        raise UnknownChoice("at_ppm= (--at-ppm) is the distance from water, where 0 is water itself")
    if np.unique(at).size < at.size:
        raise UnknownChoice("at_ppm= (--at-ppm) names an offset twice")
    axes = () if at.ndim == 0 else (Axis("saturation_offset", at, "ppm"),)
    return np.atleast_1d(at), axes


def _saturation_cautions(kind: str, scan: Volume, duty: float | None) -> tuple[Caution, ...]:
    """What a reader must know of the saturation to compare the contrast with others."""
    found = []
    stated = stated_b1(scan)
    if not stated and scan.quantity == "signal":
        found.append(
            Caution(
                "b1-not-stated",
                f"the B1 of the saturation is not stated: {kind} cannot be compared with that of other scans",
                "SaturationB1rms",
            )
        )
    b1 = stated.get("b1_rms_ut")
    if kind == "aptw" and b1 is not None and abs(b1 / _APT_B1_UT - 1.0) > _APT_B1_SPREAD:
        found.append(
            Caution(
                "aptw-b1-differs",
                f"APTw is by convention taken with B1rms of about {_APT_B1_UT:g} uT, here it is {b1:g} uT",
                "SaturationB1rms",
            )
        )
    of_file = stated_duty_cycle(scan) if scan.quantity == "signal" else None
    if kind == "arex" and duty is None and of_file is not None and of_file < 1.0:
        found.append(
            Caution(
                "arex-of-pulses",
                f"the saturation is pulsed (duty cycle {of_file:.2g}) and AREX is given as for continuous "
                "saturation; the form for pulses, with duty_cycle=, is not confirmed",
                "--duty-cycle",
            )
        )
    return tuple(found)


def _renamed(fit: Fit, old: str, new: str, scale: float) -> Fit:
    def taken(parts: Mapping[str, Any]) -> dict[str, Any]:
        return {new: np.asarray(parts[old]) * np.float32(scale)}

    return replace(fit, parameters=taken(fit.parameters), standard_errors=taken(fit.standard_errors))


def _squeezed(fit: Fit, name: str) -> Fit:
    return replace(
        fit,
        parameters={name: fit.parameters[name][..., 0]},
        standard_errors={name: fit.standard_errors[name][..., 0]},
        flags=fit.flags[..., 0],
    )
