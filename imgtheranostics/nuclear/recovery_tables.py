"""Regions before and after a correction for partial volume, in long form, with the map where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution, NothingUsable, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice, applicable, checked
from imgtheranostics.nuclear.deconvolution import richardson_lucy, van_cittert
from imgtheranostics.nuclear.point_spread import PointSpread, Width
from imgtheranostics.nuclear.recovery_rows import PartialVolume, long_rows, same_place
from imgtheranostics.nuclear.region_based_correction import iterative_yang, rbv
from imgtheranostics.nuclear.sphere_means import sphere_means
from imgtheranostics.nuclear.transfer_matrix import gtm
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("gtm", "rbv", "iterative_yang", "richardson_lucy", "van_cittert", "sphere")
"""Ways to correct for partial volume."""

BY_VOXEL: Mapping[str, Callable[..., Estimate]] = {
    "rbv": rbv,
    "iterative_yang": iterative_yang,
    "richardson_lucy": richardson_lucy,
    "van_cittert": van_cittert,
}
"""Those that make a map."""

_TAKEN = {
    "gtm": ("background", "noise_fwhm_mm"),
    "rbv": ("background",),
    "iterative_yang": ("background", "iterations"),
    "richardson_lucy": ("iterations",),
    "van_cittert": ("iterations", "step", "reblurred"),
    "sphere": ("surroundings", "diameters_mm", "diameter_relative_uncertainty"),
}
_WITHOUT_REGIONS = ("richardson_lucy", "van_cittert")


def correct_partial_volume(
    volume: Volume | Estimate,
    rois: Regions,
    *,
    psf_fwhm_mm: Width,
    method: str = "gtm",
    fwhm_relative_uncertainty: float = 0.0,
    subject: str | None = None,
    session: str | None = None,
    **options: Any,
) -> PartialVolume:
    """Correct an image, or the means of its regions, for partial volume.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are corrected one by one.
    rois : Regions
    psf_fwhm_mm : float or 3 floats
        Full width at half maximum of the image's resolution along its voxel axes.
    method : str
        One of `METHODS`.
    fwhm_relative_uncertainty : float
        Standard uncertainty of the width; the corrections with a width that much larger and smaller give its
        part of the standard errors. Zero takes the width as known.
    subject, session : str, optional
        Labels for the table.
    **options
        `background` and `noise_fwhm_mm` of `gtm`; `iterations`, `step`, `reblurred` of the iterative
        methods. For spheres `surroundings`, which must be given: the mean around the spheres, or the region
        that shows it; `diameters_mm` by region, instead of those of spheres of the regions' volumes, and
        `diameter_relative_uncertainty`.

    Returns
    -------
    PartialVolume

    Raises
    ------
    ValueError
        If a method or option does not exist, or a number is out of range.
    IllConditioned
        If the point spread is larger than a region.
    NothingUsable
        If there is no region, or a named one does not exist.
    UnsupportedInput
        If the resolution of spheres differs between directions.
    ImgTheranosticsError
        As `gtm`, `rbv`, `iterative_yang`, `richardson_lucy`, `van_cittert`.
    """
    checked(method, METHODS, "method")
    allowed = applicable(options, _TAKEN[method], f"the method {method}")
    if not (math.isfinite(fwhm_relative_uncertainty) and 0 <= fwhm_relative_uncertainty < 1):
        raise UnknownChoice("the relative uncertainty of the width must be from 0 to below 1")
    if not len(rois):
        raise NothingUsable("no regions were given")
    v = volume.value if isinstance(volume, Estimate) else volume
    width = PointSpread.of(v, psf_fwhm_mm).fwhm_mm
    labels: dict[str, Any] = {"subject": subject, "session": session}
    if method == "sphere":
        return sphere_means(volume, rois, width, fwhm_relative_uncertainty, labels, **allowed)
    job = _Job(volume, rois, method, allowed, labels)
    found = job.solved(width)
    if fwhm_relative_uncertainty:
        ends = [
            job.solved(tuple(one * (1.0 + sign * fwhm_relative_uncertainty) for one in width)).rows
            for sign in (1, -1)
        ]
        for name in ("mean", "recovery"):
            change = 0.5 * np.abs(ends[0][name].to_numpy() - ends[1][name].to_numpy())
            column = {"mean": "standard_error", "recovery": "recovery_se"}[name]
            known = found.rows[column].to_numpy() if column in found.rows else np.zeros(len(found.rows))
            found.rows[column] = np.hypot(known, change)
    decisions = {
        **found.decisions,
        "correction": {"rule": method.replace("_", " "), **_plain(allowed)},
        "resolution": {
            "fwhm_mm": list(width),
            "relative_uncertainty": fwhm_relative_uncertainty,
        },
    }
    cautions = (*found.warnings, *_small(rois, v, width, method))
    table = long_rows(found.rows, v.quantity)
    return PartialVolume(table, found.map, width, decisions, merge_cautions(cautions))


def partial_volume_table(
    volume: Volume | Estimate, rois: Regions, *, psf_fwhm_mm: Width, method: str = "gtm", **options: Any
) -> pd.DataFrame:
    """The table of `correct_partial_volume`, with what it decided and warns of in ``attrs``.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `correct_partial_volume`.
    """
    found = correct_partial_volume(volume, rois, psf_fwhm_mm=psf_fwhm_mm, method=method, **options)
    table = found.table
    table.attrs |= {"decisions": dict(found.decisions), "warnings": found.warnings}
    return table


@dataclass(frozen=True, eq=False)
class _Solved:
    """Rows of the regions with ``measured_mean``, ``recovery``; the map; and what goes into the record."""

    rows: pd.DataFrame
    map: Estimate | None
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    """Everything but the width."""

    volume: Volume | Estimate
    rois: Regions
    method: str
    options: dict[str, Any]
    labels: dict[str, Any]

    def solved(self, width: Width) -> _Solved:
        if self.method == "gtm":
            table = gtm(self.volume, self.rois, psf_fwhm_mm=width, **self.options, **self.labels)
            measured = self._measured(width)
            known = measured.set_index(["region", "axis_value"])["standard_error"].to_dict()
            keys = zip(table["region"], table["axis_value"], strict=True)
            table["measured_se"] = [_looked_up(known, key) for key in keys]
            decisions, cautions = table.attrs["decisions"], tuple(table.attrs["warnings"])
            table.attrs = {}
            return _Solved(table, None, dict(decisions), cautions)
        given = () if self.method in _WITHOUT_REGIONS else (self.rois,)
        found = BY_VOXEL[self.method](self.volume, *given, psf_fwhm_mm=width, **self.options)
        table = roi_statistics(found, self.rois, resolution_mm=width, **self.labels)
        measured = self._measured(width)
        table["measured_mean"] = measured["mean"].to_numpy()
        table["measured_se"] = measured["standard_error"].to_numpy()
        table["recovery"] = np.nan
        table.attrs = {}
        return _Solved(table, found, dict(found.decisions), found.warnings)

    def _measured(self, width: Width) -> pd.DataFrame:
        return roi_statistics(self.volume, self.rois, resolution_mm=width, **self.labels)


def _looked_up(known: Mapping[Any, Any], key: tuple[str, float]) -> float:
    """By region and sample, of which one without axis is NaN, unequal to itself."""
    found = (error for (region, at), error in known.items() if region == key[0] and same_place(at, key[1]))
    return next(found, math.nan)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _small(rois: Regions, v: Volume, width: Sequence[float], method: str) -> tuple[Caution, ...]:
    """Of methods that do not know the regions: those smaller than the resolution stay unresolved."""
    if method not in _WITHOUT_REGIONS:
        return ()
    element_ml = math.prod(width) / 1000.0
    sizes = {
        name: voxels.size * v.grid.voxel_volume_ml
        for name, voxels in zip(rois, rois.fit_to(v.grid).voxel_lists(), strict=True)
    }
    small = [name for name, ml in sizes.items() if ml < element_ml]
    if not small:
        return ()
    text = f"{', '.join(small)}: smaller than the point spread; sharpening does not give its mean back"
    return (Caution("region-below-resolution", text),)
