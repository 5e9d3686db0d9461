"""One scan after an injection, brought to the scan before it: change, concentration, regions, volumes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.blank_regions import MARGIN_VOXELS, default_blanks
from imgtheranostics.ct.choices import REGISTRATIONS
from imgtheranostics.ct.concentration_maps import concentration
from imgtheranostics.ct.enhancement_maps import enhancement
from imgtheranostics.ct.hounsfield import SATURATION_HU
from imgtheranostics.ct.tumour_surroundings import Shell, away_from, shells
from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.regions import Regions
from imgtheranostics.registration import Registration, Transform
from imgtheranostics.volume import Estimate, Flag, Volume

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
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
    masks : dict of str to (i, j, k) ndarray of bool
        The regions, on the grid of the baseline.
    shells : list of Shell
        Around the tumour of this scan.
    blank : (i, j, k) ndarray of bool
        Tissue without agent.
    transform : Transform or None
    """

    concentration: Estimate
    growth: FloatArray | None
    masks: Mapping[str, BoolArray]
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
        masks = _masks(regions, baseline, scan, transform, drawn_on_scan)
        around = shells(masks[plan.tumour], baseline, plan.edges_mm)
        blank = _blank_tissue(change, masks, around, plan)
        amount = concentration(change, material=plan.material, workers=plan.workers, **plan.slope_options)
        kept = replace(amount, maps={"delta_attenuation": change.value})
        return cls(kept, _growth(transform, baseline), masks, around, blank, transform)

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

    @property
    def weighted(self) -> Volume:
        """Change in HU times the growth of each voxel: its sum over a region is what mass comes from."""
        if self.growth is None:
            return self.change
        return self.change.replace(data=self.change.data * self.growth)

    def volume_ml(self, mask: BoolArray) -> float:
        """Volume of a region in the follow-up, mL."""
        each = self.change.grid.voxel_volume_ml
        if self.growth is None:
            return each * int(np.count_nonzero(mask))
        return each * float(self.growth[mask].sum())

    def n_saturated(self, mask: BoolArray) -> int:
        """Voxels of a region at the top of the range of either scan."""
        flags = self.concentration.flags.data[mask]
        return int(np.count_nonzero(flags & Flag.SATURATED.value))

    def require_view(self, name: str, mask: BoolArray) -> float:
        """Share of a region that has no value, once the scans are sure to show some of it.

        Raises
        ------
        GeometryMismatch
            If the region is empty or neither scan shows any of it.
        """
        total = int(np.count_nonzero(mask))
        if total == 0:
            raise GeometryMismatch(
                "a region has no voxels", where=f"region {name}", needed="at least one voxel"
            )
        seen = int(np.count_nonzero(np.isfinite(self.change.data[mask])))
        if seen == 0 and self.n_saturated(mask) == 0:
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


def _masks(
    regions: Regions, baseline: Volume, scan: Volume, transform: Transform | None, drawn_on_scan: bool
) -> dict[str, BoolArray]:
    """Regions on the grid of the baseline; those drawn on the scan go through the transform."""
    if not drawn_on_scan or transform is None:
        fitted = regions.fit_to(baseline.grid, what="the scan before the agent")
        return {name: fitted.mask(name) for name in fitted}
    from imgtheranostics.registration import resample

    fitted = regions.fit_to(scan.grid, what="the scan that they were drawn on")
    moved = {}
    for name in fitted:
        labels = Volume(fitted.mask(name).astype(np.int32), scan.affine, "labels", "1")
        there = resample(labels, transform, like=baseline, interpolation="nearest")
        moved[name] = np.asarray(there.data != 0)
    return moved


def _growth(transform: Transform | None, baseline: Volume) -> FloatArray | None:
    """Jacobian determinant at the voxels of the baseline; 0 where a spline is undefined."""
    if transform is None or transform.model in ("rigid", "translation"):
        return None
    return np.nan_to_num(transform.jacobian_determinant(baseline.grid), nan=0.0)


def _blank_tissue(
    change: Estimate, masks: Mapping[str, BoolArray], around: list[Shell], plan: Protocol
) -> BoolArray:
    """Tissue without agent: as given, else soft tissue away from the tumour and its shells."""
    held = masks[plan.tumour].copy()
    for shell in around:
        held |= shell.mask
    if plan.blanks is not None:
        given = mask_array(plan.blanks, change.value)
        return np.asarray(given & ~held & np.isfinite(change.value.data))
    return default_blanks(change, Regions.from_masks({"taken": held}, change.grid))
