"""Contrast maps of a scan, and of the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack, cast

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.contrast_errors import ContrastKind
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling, PreparedSpectra
from imgtheranostics.cest.saturation import duty_cycle as stated_duty_cycle
from imgtheranostics.cest.saturation import stated_b1
from imgtheranostics.cest.scan_pairs import check_same_saturation, post_on_pre
from imgtheranostics.cest.spectrum_curves import contrast_curves
from imgtheranostics.cest.voxel_spectra import Array, VoxelMaps
from imgtheranostics.cest.water_t1 import WaterT1, water_t1
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import calculated_estimate, share_cautions
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]

CONTRASTS = ("mtr_asym", "aptw", "mtr_norm_ref", "pcm", "mtr_rex", "arex", "lorentzian_difference")
"""Quantities that `contrast` gives."""

_ARRAY_LEVEL = {"aptw": "apt_weighted"}
_AMIDE_PPM = 3.5
_APT_B1_UT = 2.0
_APT_B1_SPREAD = 0.25
_PERCENT = 100.0


def contrast(
    v: Volume | Estimate,
    post: Volume | Estimate | None = None,
    *,
    kind: str = "mtr_asym",
    at_ppm: float | Sequence[float] | None = None,
    t1: Volume | Estimate | float | None = None,
    duty_cycle: float | None = None,
    register: bool = False,
    **correction: Unpack[CorrectionOptions],
) -> Estimate:
    """A contrast at offsets from water, or how it changes from one scan to another.

    Parameters
    ----------
    v : Volume or Estimate
        Signals along ``saturation_offset``, or corrected Z-spectra.
    post : Volume or Estimate, optional
        The scan after the agent: the result is post minus pre.
    kind : str
        Of `CONTRASTS`.
    at_ppm : float or sequence of float
        Offsets of the label from water; several become an axis ``saturation_offset``. Only ``aptw`` has one
        of its own, 3.5 ppm.
    t1 : Volume, Estimate or float, optional
        T1 of water for ``arex``: a map of T1 or R1 on the grid of the images, or one value in s; else the map
        that the sidecar names (T1Map).
    duty_cycle : float, optional
        For ``arex`` of pulses, MTRrex / (DC T1), a form that is not confirmed; without it, saturation counts
        as continuous.
    register : bool
        Align `post` to `v` rigidly, by the unsaturated images.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`; where water is, is found in each scan on its own
        unless a map is given.

    Returns
    -------
    Estimate
        The quantity `kind`, or ``delta_<kind>`` with the two contrasts in `maps` as ``pre`` and ``post``, in
        % (``arex`` in 1/s). Standard errors contain the noise through the interpolation and that of water's
        position. Folds of regions: `fold_table`.

    Raises
    ------
    MissingMetadata
        As `correct`; also when T1 is needed and not known.
    GeometryMismatch
        If a map, or the second scan, lies on another grid.
    UnitMismatch
        If the two scans were saturated differently.
    ImplausibleValue, UnsupportedInput
    UnknownChoice
        If the kind does not exist, or something is given that it does not use.
    """
    how = Handling.of(correction)
    plan = ContrastPlan.of(v, how, kind=kind, at_ppm=at_ppm, t1=t1, duty_cycle=duty_cycle)
    if post is None:
        if register:
            raise UnknownChoice("register= (--register) belongs to two scans")
        return plan.estimate()
    return ContrastChange.of(plan, v, post, how, t1=t1, register=register).estimate()


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
        scan = spectra.volume
        known = water_t1(t1, scan, purpose="AREX") if kind == "arex" else None
        cautions = _saturation_cautions(kind, scan, duty_cycle)
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

        return measure(
            self._array_name,
            z,
            offset_ppm,
            at_ppm=self.at_ppm,
            b0_ppm=maps.get("b0"),
            b0_se_ppm=maps.get("b0_se"),
            noise_sd=maps.get("noise"),
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

    def curves(self, regions: Regions | None, *, suffix: str = "") -> tuple[CurveFit, ...]:
        """The mean Z-spectrum of each region with its asymmetry, and the contrast at the first offset."""
        values = self.fit.parameters[self.kind][..., 0]
        return contrast_curves(
            self.spectra, regions, np.asarray(values), self.kind, suffix=suffix, measure=self._of_curve
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


@dataclass(frozen=True, eq=False)
class ContrastChange:
    """A contrast of two scans on one grid: post minus pre."""

    pre: ContrastPlan
    post: ContrastPlan
    alignment: dict[str, Any]
    warnings: tuple[Caution, ...] = ()

    @classmethod
    def of(
        cls,
        plan: ContrastPlan,
        v: Volume | Estimate,
        post: Volume | Estimate,
        how: Handling,
        *,
        t1: Volume | Estimate | float | None = None,
        register: bool = False,
    ) -> ContrastChange:
        """From the plan of the first scan and the second scan.

        Raises
        ------
        GeometryMismatch
            If the second lies on another grid and `register` is not asked for.
        UnitMismatch
            If the two were saturated differently.
        """
        check_same_saturation(plan.spectra.volume, post.value if isinstance(post, Estimate) else post)
        moved, alignment, cautions = post_on_pre(v, post, how, register=register)
        at = plan.at_ppm.tolist() if plan.axes else float(plan.at_ppm[0])
        second = ContrastPlan.of(moved, how, kind=plan.kind, at_ppm=at, t1=t1, duty_cycle=plan.duty_cycle)
        return cls(plan, second, alignment, cautions)

    def estimate(self) -> Estimate:
        """The change, with both contrasts beside it."""
        before, after = self.pre.estimate(), self.post.estimate()
        quantity = f"delta_{self.pre.kind}"
        value = after.value.data.astype(np.float64) - before.value.data
        error = np.hypot(after.standard_error.data, before.standard_error.data)
        flags = np.asarray(before.flags.data | after.flags.data, np.uint16)
        step = make_step("difference", of=self.pre.kind, order="post minus pre")
        warnings = merge_cautions(
            self.pre.all_warnings(), self.post.all_warnings(), after.value.warnings, self.warnings
        )
        result = before.value.derived(value, quantity, before.unit, step).replace(
            warnings=merge_cautions(self.pre.spectra.volume.warnings, warnings)
        )
        result = result.with_warnings(*share_cautions(flags, value, quantity))
        plain = result.replace(warnings=())
        shifts = {
            f"{when}_b0_shift": one.maps["b0_shift"]
            for when, one in (("pre", before), ("post", after))
            if "b0_shift" in one.maps
        }
        return Estimate(
            result,
            plain.replace(data=error),
            plain.replace(data=flags, quantity="flags", unit="1"),
            decisions=self._decisions(),
            maps={
                "pre": before.value.replace(warnings=()),
                "pre_se": before.standard_error,
                "post": after.value.replace(warnings=()),
                "post_se": after.standard_error,
                **shifts,
            },
        )

    def _decisions(self) -> dict[str, Any]:
        before, after = self.pre.decisions(), self.post.decisions()
        own = {topic: value for topic, value in after.items() if value != before.get(topic)}
        return {**before, "alignment": self.alignment, **({"second_scan": own} if own else {})}

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """Mean Z-spectra of each region before and after."""
        return (*self.pre.curves(regions, suffix=" before"), *self.post.curves(regions, suffix=" after"))


def _label_offsets(kind: str, at_ppm: float | Sequence[float] | None) -> tuple[FloatArray, tuple[Axis, ...]]:
    if at_ppm is None:
        if kind != "aptw":
            raise UnknownChoice(f"{kind} needs the offset of the label from water: at_ppm= (--at-ppm)")
        at_ppm = _AMIDE_PPM
    at = np.asarray(at_ppm, np.float64)
    if at.ndim > 1 or not at.size or not np.isfinite(at).all():
        raise UnknownChoice(f"at_ppm must be one offset or several, not {at_ppm!r}")
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
