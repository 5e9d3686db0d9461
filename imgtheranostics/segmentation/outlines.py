"""From outlined lesions to Regions: names, the record of how each was found, and what to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.growing import above, part_with
from imgtheranostics.segmentation.lesion_cautions import lesion_cautions
from imgtheranostics.segmentation.search_regions import BoolArray, Place, SearchRegion
from imgtheranostics.volume import Volume, make_step

THRESHOLD_CHANGE = 0.1
"""Relative change of the threshold for which the volume is told as well."""

STEP = "delineate"
"""Name of the step in the history of regions."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One lesion on the box of its search region.

    Attributes
    ----------
    mask : (a, b, c) ndarray of bool
    top : (3,) tuple of int
        Its highest voxel.
    threshold : float, optional
        None where no threshold made it.
    background : float, optional
        Activity around it, where it was measured or given.
    found : mapping
        What else goes into the record.
    suffix : str
        Of its name, where one search region gave several.
    whole : bool
        All voxels of the search region above the threshold, connected or not.
    warnings : tuple of Caution
    """

    mask: BoolArray
    top: Place
    threshold: float | None = None
    background: float | None = None
    found: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    whole: bool = False
    warnings: tuple[Caution, ...] = ()


def as_regions(
    v: Volume,
    searches: Sequence[SearchRegion],
    outlined: Callable[[SearchRegion], Sequence[Outline]],
    method: str,
    *,
    connectivity: int,
    resolution_mm: float | None = None,
    **parameters: Any,
) -> Regions:
    """Outline each search region; the record of each lesion stands in the history.

    Parameters
    ----------
    v : Volume
    searches : sequence of SearchRegion
    outlined : callable
        Gives the lesions of one search region.
    method : str
        For the record, with the `parameters`.
    connectivity : {6, 18, 26}
    resolution_mm : float, optional
        For cautions about small lesions.

    Returns
    -------
    Regions
        The history ends with a step ``delineate``: under ``lesions`` the threshold, background, maximum and
        place of the highest voxel of each region, and its volume, also for thresholds 10 % lower and higher.
    """
    if resolution_mm is not None and not 0 < resolution_mm < np.inf:
        raise ValueError(f"resolution_mm is a length above 0, not {resolution_mm!r}")
    voxels, records = {}, {}
    cautions: tuple[Caution, ...] = ()
    for search in searches:
        for one in outlined(search):
            name = search.name + one.suffix
            voxels[name] = search.flat(one.mask)
            records[name] = _record(search, one, connectivity)
            own = lesion_cautions(search, one.mask, name, one.threshold, resolution_mm)
            cautions = merge_cautions(cautions, one.warnings, own)
    step = make_step(
        STEP,
        method=method,
        quantity=v.quantity,
        unit=v.unit,
        connectivity=connectivity,
        **{name: value for name, value in parameters.items() if value is not None},
        lesions=records,
    )
    found = Regions.from_voxel_lists(voxels, v.grid, warnings=cautions)
    return Regions(found.labels, found.names, found.grid, found.warnings, (*v.history, step))


def _record(search: SearchRegion, one: Outline, connectivity: int) -> dict[str, Any]:
    voxel_ml = search.grid.voxel_volume_ml
    record: dict[str, Any] = {
        "volume_ml": int(np.count_nonzero(one.mask)) * voxel_ml,
        "maximum": float(search.values[one.top]),
        "highest_at_mm": list(search.world_mm(one.top)),
    }
    if one.threshold is not None:
        record["threshold"] = float(one.threshold)
        record["volume_ml_at_lower_threshold"] = _volume_ml(search, one, 1.0 - THRESHOLD_CHANGE, connectivity)
        record["volume_ml_at_higher_threshold"] = _volume_ml(
            search, one, 1.0 + THRESHOLD_CHANGE, connectivity
        )
    if one.background is not None:
        record["background"] = float(one.background)
    return {**record, **one.found}


def _volume_ml(search: SearchRegion, one: Outline, factor: float, connectivity: int) -> float:
    assert one.threshold is not None  # noqa: S101
    mask = above(search, factor * one.threshold)
    if not one.whole:
        mask = part_with(mask, one.top, connectivity)
    return int(np.count_nonzero(mask)) * search.grid.voxel_volume_ml


def lesion_record(regions: Regions, name: str) -> Mapping[str, Any]:
    """What the history says of how a region was found; empty for one that was not delineated here."""
    for step in reversed(regions.history):
        if step.name == STEP:
            lesions: Mapping[str, Mapping[str, Any]] = step.parameters.get("lesions", {})
            return lesions.get(name, {})
    return {}
