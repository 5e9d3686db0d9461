"""From outlined lesions to Regions: names, the record of how each was found, and what to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.growing import above, part_with
from imgtheranostics.segmentation.lesion_cautions import lesion_cautions
from imgtheranostics.segmentation.search_regions import BoolArray, IndexArray, Place, SearchRegion
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
    search : SearchRegion, optional
        A smaller box on which `mask` and `top` stand, instead of that of the whole search.
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
    search: SearchRegion | None = None
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
            if name in voxels:
                raise UnsupportedInput(
                    "two lesions would have one name", where=name, next_step="give the regions other names"
                )
            box = one.search or search
            voxels[name] = box.flat(one.mask)
            records[name] = _record(box, one, connectivity, search)
            own = lesion_cautions(box, one.mask, name, one.threshold, resolution_mm)
            cautions = merge_cautions(cautions, one.warnings, own)
    cautions = merge_cautions(cautions, _shared(voxels))
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


def _shared(voxels: Mapping[str, IndexArray]) -> tuple[Caution, ...]:
    """A caution where lesions share voxels, as of two seeds in one lesion."""
    every, times = np.unique(np.concatenate([np.empty(0, np.int64), *voxels.values()]), return_counts=True)
    twice = every[times > 1]
    names = [name for name, own in voxels.items() if np.isin(twice, own).any()]
    if not names:
        return ()
    text = f"{', '.join(names)}: lesions share voxels, which count in each of them"
    return (Caution("lesions-overlap", text, ", ".join(names)),)


def _record(search: SearchRegion, one: Outline, connectivity: int, whole: SearchRegion) -> dict[str, Any]:
    voxel_ml = search.grid.voxel_volume_ml
    record: dict[str, Any] = {
        "volume_ml": int(np.count_nonzero(one.mask)) * voxel_ml,
        "maximum": float(search.values[one.top]),
        "highest_at_mm": list(search.world_mm(one.top)),
    }
    if one.threshold is not None:
        record["threshold"] = float(one.threshold)
        for word, factor in (("lower", 1.0 - THRESHOLD_CHANGE), ("higher", 1.0 + THRESHOLD_CHANGE)):
            changed = _at_threshold(search, one, one.top, factor, connectivity)
            if search is not whole and _touches_box(changed):
                top = np.array(one.top) + np.array(search.first) - np.array(whole.first)
                changed = _at_threshold(
                    whole, one, (int(top[0]), int(top[1]), int(top[2])), factor, connectivity
                )
            record[f"volume_ml_at_{word}_threshold"] = int(np.count_nonzero(changed)) * voxel_ml
    if one.background is not None:
        record["background"] = float(one.background)
    return {**record, **one.found}


def _at_threshold(
    search: SearchRegion, one: Outline, top: Place, factor: float, connectivity: int
) -> BoolArray:
    assert one.threshold is not None  # noqa: S101
    mask = above(search, factor * one.threshold)
    return mask if one.whole else part_with(mask, top, connectivity)


def _touches_box(mask: BoolArray) -> bool:
    """Whether a part that grew has reached the border of its box, and may go on beyond it."""
    return any(bool(mask.take(end, axis).any()) for axis in range(3) for end in (0, -1))


def lesion_record(regions: Regions, name: str) -> Mapping[str, Any]:
    """What the history says of how a region was found; empty for one that was not delineated here."""
    for step in reversed(regions.history):
        if step.name == STEP:
            lesions: Mapping[str, Mapping[str, Any]] = step.parameters.get("lesions", {})
            return lesions.get(name, {})
    return {}
