"""Contrast maps of a scan, and of the difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.contrast_plan import ContrastPlan
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling
from imgtheranostics.cest.scan_pairs import check_same_saturation, post_on_pre
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.estimates import share_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.region_curves import typical_voxel
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]


__all__ = ["ContrastChange", "ContrastPlan", "contrast"]


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
        Of `imgtheranostics.cest.methods.CONTRASTS`.
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
        """Mean Z-spectra of each region before and after, of the voxels that have a change.

        One voxel stands beside them, the same in both scans: that with the median change in the first region.
        """
        before, after = (np.asarray(one.fit.parameters[one.kind])[..., 0] for one in (self.pre, self.post))
        change = after.astype(np.float64) - before
        usable = np.isfinite(change)
        i, j, k = usable.shape
        single = typical_voxel(regions, usable.ravel(order="F"), change.ravel(order="F"), (i, j, k))
        return tuple(
            curve
            for one, when in ((self.pre, " before"), (self.post, " after"))
            for curve in one.curves(regions, suffix=when, usable=usable, single=single)
        )
