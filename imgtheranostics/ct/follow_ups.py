"""One scan after an injection, brought to the scan before it: change, concentration, regions, volumes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.blank_regions import default_blanks
from imgtheranostics.ct.choices import REGISTRATIONS
from imgtheranostics.ct.concentration_maps import concentration
from imgtheranostics.ct.enhancement_maps import enhancement
from imgtheranostics.ct.hounsfield import SATURATION_HU
from imgtheranostics.ct.tumour_surroundings import Shell, away_from, shells
from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.mapping.blank_regions import MARGIN_VOXELS
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.regions import Regions
from imgtheranostics.registration import Registration, Transform
from imgtheranostics.volume import Estimate, Flag, Volume

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
How = str | Registration | Transform | None

_VOXELS_PER_NODE = 4
_FULL_VIEW = 0.05
"""Share of a region without a value from which its mass is not stated."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """How every follow-up is treated.

    Attributes
    ----------
    material : str
    slope_options : mapping
        Keywords of `imgtheranostics.ct.concentration` beyond the material.
    tumour : str
        Name of the region that was injected.
    edges_mm : tuple of float
        Outer distances of the shells.
    register_mask, blanks : mask or None
    node_spacing_mm : float or None
    noise_sd : float, pair or None
    allow_mismatch : collection of str
    saturation_hu : float
    """

    material: str
    slope_options: Mapping[str, Any]
    tumour: str = "tumour"
    edges_mm: tuple[float, ...] = ()
    register_mask: Mask = None
    blanks: Mask = None
    noise_sd: float | tuple[float, float] | None = None
    allow_mismatch: Collection[str] = ()
    saturation_hu: float = SATURATION_HU
    node_spacing_mm: float | None = None
    workers: int | None = None


@dataclass(frozen=True, eq=False)
class FollowUp:
    """A scan with the agent on the grid of the scan before it.

    Attributes
    ----------
    concentration : Estimate
        On the grid of the baseline, with the change of attenuation among its maps.
    growth : (i, j, k) ndarray or None
        Volume of each voxel in the follow-up over its volume in the baseline, the Jacobian determinant of
        the transform; None where it is 1 everywhere.
    voxels : dict of str to (n,) ndarray of int
        The regions, as flat Fortran-order indices on the grid of the baseline, ascending.
    shells : list of Shell
        Around the tumour of this scan.
    blank : (n_voxels,) ndarray of bool
        Tissue without agent that has a value, flat in Fortran order.
    transform : Transform or None
    """

    concentration: Estimate
    growth: FloatArray | None
    voxels: Mapping[str, IndexArray]
    shells: list[Shell]
    blank: BoolArray
    transform: Transform | None

    @classmethod
    def of(
        cls, baseline: Volume, scan: Volume, regions: Regions, drawn_on_scan: bool, how: How, plan: Protocol
    ) -> FollowUp:
        """Register, subtract, and put regions where they belong.

        Raises
        ------
        As `imgtheranostics.ct.enhancement` and `imgtheranostics.ct.concentration`.
        """
        used = _alignment(baseline, scan, regions, how, plan)
        change = enhancement(
            baseline,
            scan,
            register=used if used is not None else False,
            allow_mismatch=plan.allow_mismatch,
            noise_sd=plan.noise_sd,
            saturation_hu=plan.saturation_hu,
            workers=plan.workers,
        )
        transform = used.transform if isinstance(used, Registration) else used
        voxels = _voxels(regions, baseline, scan, transform, drawn_on_scan)
        tumour = _mask(voxels[plan.tumour], baseline)
        around = shells(tumour, baseline, plan.edges_mm)
        blank = _blank_tissue(change, [voxels[plan.tumour], *(shell.voxels for shell in around)], plan)
        amount = concentration(change, material=plan.material, workers=plan.workers, **plan.slope_options)
        decisions = dict(amount.decisions)
        if isinstance(how, str):
            found = f"{how} registration of the follow-up to the scan before the agent"
            where = "outside of the tumour" if plan.register_mask is None else "in the mask"
            decisions["alignment"] = {**decisions["alignment"], "rule": f"{found}, {where}"}
        kept = replace(amount, maps={"delta_attenuation": change.value}, decisions=decisions)
        return cls(kept, _growth(transform, baseline), voxels, around, blank, transform)

    @property
    def change(self) -> Volume:
        """Change of attenuation in HU, on the grid of the baseline."""
        return self.concentration.maps["delta_attenuation"]

    @property
    def hu_per_mg_ml(self) -> float:
        """The slope, the same for all scans."""
        return float(self.concentration.decisions["slope"]["hu_per_mg_ml"])

    @property
    def voxel_lod_mg_ml(self) -> float:
        """Limit of detection of one voxel; NaN where the noise is not known."""
        return float(self.concentration.decisions.get("detection", {}).get("voxel_lod_mg_ml", np.nan))

    @cached_property
    def weighted(self) -> Volume:
        """Change in HU times the growth of each voxel: its sum over a region is what mass comes from."""
        if self.growth is None:
            return self.change
        return self.change.replace(data=self.change.data * self.growth)

    def growth_of(self, voxels: IndexArray) -> FloatArray:
        """Growth of each voxel of a region."""
        return np.ones(voxels.size) if self.growth is None else self.growth.ravel(order="F")[voxels]

    def volume_ml(self, voxels: IndexArray) -> float:
        """Volume of a region in the follow-up, mL."""
        return self.change.grid.voxel_volume_ml * float(self.growth_of(voxels).sum())

    def n_saturated(self, voxels: IndexArray) -> int:
        """Voxels of a region at the top of the range of either scan."""
        flags = self.concentration.flags.data.ravel(order="F")[voxels]
        return int(np.count_nonzero(flags & Flag.SATURATED.value))

    def require_view(self, name: str, voxels: IndexArray) -> float:
        """Share of a region that has no value, once the scans are sure to show some of it.

        Raises
        ------
        GeometryMismatch
            If the region is empty or neither scan shows any of it.
        """
        total = int(voxels.size)
        if total == 0:
            raise GeometryMismatch(
                "a region has no voxels", where=f"region {name}", needed="at least one voxel"
            )
        seen = int(np.count_nonzero(np.isfinite(self.change.data.ravel(order="F")[voxels])))
        if seen == 0 and self.n_saturated(voxels) == 0:
            raise GeometryMismatch(
                "a region lies outside of the field of view",
                where=f"region {name}",
                found=f"{total} voxels, none with a value in both scans",
                needed="a region that both scans show whole",
                next_step="draw it inside the reconstructed field of view",
            )
        return 1.0 - seen / total


def too_little_seen(share: float) -> bool:
    """Whether so much of a region has no value that its mass is not known."""
    return share > _FULL_VIEW


def check_model(how: Any) -> How:
    """A way to align, once it is known."""
    if how is None or isinstance(how, Registration | Transform) or how in REGISTRATIONS:
        return how  # type: ignore[no-any-return]
    raise UnknownChoice(
        f"register= must be one of {', '.join(REGISTRATIONS)}, None, or a transform for each scan, "
        f"not {how!r}"
    )


def _alignment(
    baseline: Volume, scan: Volume, regions: Regions, how: How, plan: Protocol
) -> Registration | Transform | None:
    """The transform, found outside of the tumour, where the agent changes what is seen."""
    if not isinstance(how, str):
        return how
    from imgtheranostics.registration import register

    tumour = regions.subset([plan.tumour]).resampled(baseline.grid).mask(plan.tumour)
    mask: Any = plan.register_mask
    if mask is None:
        mask = away_from(tumour, baseline.grid, MARGIN_VOXELS * max(baseline.grid.spacing_mm))
    nodes_mm = None
    if how == "bspline":
        nodes_mm = _extent_mm(tumour, baseline) if plan.node_spacing_mm is None else plan.node_spacing_mm
    return register(baseline, scan, model=how, mask=mask, node_spacing_mm=nodes_mm)  # type: ignore[arg-type]


def _extent_mm(tumour: BoolArray, baseline: Volume) -> float | None:
    """Distance of a spline's nodes: tissue around a tumour gives way on the tumour's own scale.

    None where that is no closer than the nodes that a registration takes by itself.
    """
    held = np.argwhere(tumour)
    if not len(held):
        return None
    spacing = np.asarray(baseline.grid.spacing_mm)
    extent = float(((held.max(axis=0) - held.min(axis=0) + 1) * spacing).max())
    wanted = max(extent, _VOXELS_PER_NODE * float(spacing.max()))
    return wanted if wanted < float((np.array(baseline.shape) * spacing).max()) / 4.0 else None


def _voxels(
    regions: Regions, baseline: Volume, scan: Volume, transform: Transform | None, drawn_on_scan: bool
) -> dict[str, IndexArray]:
    """Regions on the grid of the baseline; those drawn on the scan go through the transform."""
    if not drawn_on_scan or transform is None:
        fitted = regions.fit_to(baseline.grid, what="the scan before the agent")
        return dict(zip(fitted, fitted.voxel_lists(), strict=True))
    from imgtheranostics.registration import carry_regions

    fitted = regions.fit_to(scan.grid, what="the scan that they were drawn on")
    moved = carry_regions(fitted, transform, like=baseline)
    return dict(zip(moved, moved.voxel_lists(), strict=True))


def _mask(voxels: IndexArray, baseline: Volume) -> BoolArray:
    flat = np.zeros(baseline.grid.n_voxels, np.bool_)
    flat[voxels] = True
    return flat.reshape(baseline.grid.shape, order="F")


def _growth(transform: Transform | None, baseline: Volume) -> FloatArray | None:
    """Jacobian determinant at the voxels of the baseline; 0 where a spline is undefined."""
    if transform is None or transform.model in ("rigid", "translation"):
        return None
    return np.asfortranarray(np.nan_to_num(transform.jacobian_determinant(baseline.grid), nan=0.0))


def _blank_tissue(change: Estimate, held: list[IndexArray], plan: Protocol) -> BoolArray:
    """Tissue without agent: as given, else soft tissue away from the tumour and its shells."""
    taken = np.unique(np.concatenate(held))
    if plan.blanks is None:
        away = default_blanks(change, Regions.from_voxel_lists({"taken": taken}, change.grid))
        return np.asarray(away.ravel(order="F"))
    given = (mask_array(plan.blanks, change.value) & np.isfinite(change.value.data)).ravel(order="F")
    given[taken] = False
    return np.asarray(given)
