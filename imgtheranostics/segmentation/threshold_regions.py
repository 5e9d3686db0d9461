"""Lesions by a threshold: a fixed value, or a share of the lesion's own maximum or peak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from imgtheranostics.errors import Caution, NothingUsable, UnitMismatch
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.growing import (
    KEEP,
    Keep,
    above,
    check_connectivity,
    grown,
    labelled,
    nothing_above,
)
from imgtheranostics.segmentation.outlines import Outline, as_regions
from imgtheranostics.segmentation.search_regions import (
    BoolArray,
    Place,
    SearchRegion,
    Seeds,
    search_regions,
    static_volume,
)
from imgtheranostics.segmentation.sphere_peak import peak_of_voxels
from imgtheranostics.volume import Estimate, Volume

Measure = Literal["max", "peak"]
MEASURES: tuple[Measure, ...] = ("max", "peak")
"""What a share is of: the highest voxel, or the highest mean in a sphere of 1 mL."""

_MOST_ROUNDS = 50
_MOST_PARTS = 1000


def fixed_threshold(
    x: Volume | Estimate,
    threshold: float,
    *,
    quantity: str,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    keep: Keep = "hottest",
    least_ml: float = 0.0,
    connectivity: int = 6,
    resolution_mm: float | None = None,
) -> Regions:
    """Voxels that reach a value, such as an SUV of 4.

    Parameters
    ----------
    x : Volume or Estimate
        Without further axes.
    threshold : float
        In the unit of `quantity`.
    quantity : str
        What the threshold is of, such as ``suv_bw``; an image of anything else is refused.
    seeds_mm : mapping of str to (x, y, z), or sequence of (x, y, z), optional
        RAS+ mm: one lesion for each, which hangs together with the hill that the seed lies on.
    within : Regions, optional
        Search regions, on the grid of `x`: one lesion for each, of its name; with seeds, where these may
        grow. Without both, the whole image is searched.
    reach_mm : float, optional
        Radius around a seed; by default a quarter of the image's shortest side, at most 50 mm.
    keep : {"hottest", "all", "each"}
        Of a search region that falls into parts: the one with the highest voxel, all of them as one, or each
        as a region of its own, ``name-1`` and on, the largest first.
    least_ml : float
        Parts that are smaller are left out.
    connectivity : {6, 18, 26}
        Neighbours that hang together: by faces, also by edges, also by corners.
    resolution_mm : float, optional
        Full width at half maximum of the image's resolution, for a caution about small lesions.

    Returns
    -------
    Regions
        On the grid of `x`; `lesion_record` reads what the history says of each. The warnings tell of leaks,
        borders, parts, missing voxels and small lesions.

    Raises
    ------
    ValueError
        If an option makes no sense.
    UnitMismatch
        If the image is not of that quantity.
    NothingUsable
        If no voxel reaches the threshold, or a search region is empty.
    GeometryMismatch
        If a seed lies outside, or the regions lie on another grid.
    UnsupportedInput
        If the image is a series.
    """
    v = static_volume(x)
    check_connectivity(connectivity)
    if keep not in KEEP:
        raise ValueError(f"keep must be one of {', '.join(KEEP)}, not {keep!r}")
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold is a number, not {threshold!r}")
    if not 0 <= least_ml < np.inf:
        raise ValueError(f"least_ml is a volume, not {least_ml!r}")
    if v.quantity != quantity:
        raise UnitMismatch(
            "the threshold is of another quantity than the image",
            where="threshold",
            found=f"an image of {v.quantity} [{v.unit}]",
            needed=quantity,
            next_step="quantify the image first (nuclear.suv ...), or give the threshold in its quantity",
        )
    searches = search_regions(v, seeds_mm=seeds_mm, within=within, reach_mm=reach_mm, whole=True)

    def outlined(search: SearchRegion) -> Sequence[Outline]:
        return parts_above(search, float(threshold), keep, connectivity, least_ml)

    return as_regions(
        v,
        searches,
        outlined,
        "fixed",
        connectivity=connectivity,
        resolution_mm=resolution_mm,
        threshold=float(threshold),
        keep=keep,
        least_ml=least_ml or None,
    )


def parts_above(
    search: SearchRegion, threshold: float, keep: Keep, connectivity: int, least_ml: float = 0.0
) -> list[Outline]:
    """Lesions of a search region at one threshold; of a seed, what hangs together with its hill."""
    if search.seed is not None:
        top = search.climbed()
        mask = grown(search, threshold, top, connectivity)
        return [Outline(mask, highest(search, mask), threshold)]
    mask = above(search, threshold)
    if not mask.any():
        raise nothing_above(search, threshold, float(search.values[search.inside].max()))
    labels, count = labelled(mask, connectivity)
    sizes = np.bincount(labels.ravel(order="K"), minlength=count + 1)[1:]
    order = 1 + np.argsort(-sizes, kind="stable")
    large = [int(n) for n in order if sizes[n - 1] * search.grid.voxel_volume_ml >= least_ml]
    if not large:
        raise NothingUsable(
            "every part above the threshold is smaller than the least volume",
            where=search.name,
            found=f"{sizes.max() * search.grid.voxel_volume_ml:.3g} mL",
            needed=f"{least_ml:.3g} mL",
        )
    if keep == "each":
        return _each(search, labels, large, threshold)
    chosen = mask if len(large) == count else np.isin(labels, large)
    top = highest(search, chosen)
    if keep == "all" or len(large) == 1:
        return [Outline(chosen, top, threshold, whole=keep == "all", warnings=_parts(search, len(large)))]
    hottest = np.asarray(labels == labels[top])
    rest = (np.count_nonzero(chosen) - np.count_nonzero(hottest)) * search.grid.voxel_volume_ml
    return [Outline(hottest, top, threshold, warnings=_parts(search, len(large), rest))]


def _each(
    search: SearchRegion,
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    parts: list[int],
    threshold: float,
) -> list[Outline]:
    if len(parts) > _MOST_PARTS:
        raise NothingUsable(
            "the threshold gives too many parts to be lesions",
            where=search.name,
            found=f"{len(parts)} parts",
            needed=f"at most {_MOST_PARTS}",
            next_step="give a higher threshold, or a least volume",
        )
    from scipy import ndimage

    boxes = ndimage.find_objects(labels)
    digits = len(str(len(parts)))
    found = []
    for number, part in enumerate(parts, start=1):
        box = search.cropped(boxes[part - 1])
        start = np.array(box.first) - np.array(search.first)
        place = tuple(slice(a, a + n) for a, n in zip(start, box.values.shape, strict=True))
        mask = np.asarray(labels[place] == part)
        suffix = f"-{number:0{digits}d}" if len(parts) > 1 else ""
        found.append(Outline(mask, highest(box, mask), threshold, search=box, suffix=suffix))
    return found


def _parts(search: SearchRegion, count: int, left_out_ml: float | None = None) -> tuple[Caution, ...]:
    if count < 2:
        return ()
    text = f"{search.name}: {count} parts reach the threshold"
    if left_out_ml is not None:
        text += f"; only the one with the highest voxel was kept, {left_out_ml:.3g} mL were left out"
    return (Caution("several-components", text, search.name),)


def fraction_of_maximum(
    x: Volume | Estimate,
    fraction: float = 0.41,
    *,
    of: Measure = "max",
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    connectivity: int = 6,
    resolution_mm: float | None = None,
) -> Regions:
    """Voxels that reach a share of the lesion's own maximum, such as 41 or 50 %.

    The background plays no part in it: a share below the background takes it all, which the warnings tell.

    Parameters
    ----------
    x : Volume or Estimate
    fraction : float
        Above 0, below 1. 0.41 and 0.50 are those in use, of the maximum [1]_.
    of : {"max", "peak"}
        The highest voxel, or the highest mean in a sphere of 1 mL, which noise raises less.
    seeds_mm, within, reach_mm, connectivity, resolution_mm
        As in `fixed_threshold`; one of seeds and regions is needed. In a region the part that holds the
        highest voxel is kept. From a seed the maximum is that of what hangs together.

    Returns
    -------
    Regions

    Raises
    ------
    ImplausibleValue
        If the maximum is not above 0.
    ValueError, NothingUsable, GeometryMismatch, UnsupportedInput
        As `fixed_threshold`.

    References
    ----------
    .. [1] Boellaard R et al., Eur J Nucl Med Mol Imaging 2015;42:328, doi:10.1007/s00259-014-2961-x.
    """
    v = static_volume(x)
    check_connectivity(connectivity)
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the fraction lies between 0 and 1, not {fraction!r}")
    if of not in MEASURES:
        raise ValueError(f"of must be one of {', '.join(MEASURES)}, not {of!r}")
    searches = search_regions(v, seeds_mm=seeds_mm, within=within, reach_mm=reach_mm)

    def outlined(search: SearchRegion) -> Sequence[Outline]:
        return [_share(search, float(fraction), _measure(of), connectivity)]

    return as_regions(
        v,
        searches,
        outlined,
        "fraction",
        connectivity=connectivity,
        resolution_mm=resolution_mm,
        fraction=float(fraction),
        of=of,
    )


def _measure(of: Measure) -> Callable[[SearchRegion, BoolArray], float]:
    def maximum(search: SearchRegion, mask: BoolArray) -> float:
        return float(search.values[mask].max())

    def peak(search: SearchRegion, mask: BoolArray) -> float:
        found = peak_of_voxels(search.volume, search.flat(mask))
        if np.isnan(found):
            raise NothingUsable(
                "no sphere of 1 mL lies inside the image by half",
                where=search.name,
                next_step="use the maximum instead of the peak",
            )
        return found

    return maximum if of == "max" else peak


def _share(
    search: SearchRegion,
    fraction: float,
    measured: Callable[[SearchRegion, BoolArray], float],
    connectivity: int,
) -> Outline:
    """Grow until the maximum of what has grown is that which the threshold is a share of."""
    top = search.top()
    level = float(search.values[top])
    for _ in range(_MOST_ROUNDS):
        threshold = fraction * level
        mask = grown(search, threshold, top, connectivity)
        top = highest(search, mask)
        found = measured(search, mask)
        if found == level:
            break
        level = found
    whole = above(search, threshold)
    rest = (np.count_nonzero(whole) - np.count_nonzero(mask)) * search.grid.voxel_volume_ml
    parts = labelled(whole, connectivity)[1] if rest and search.seed is None else 1
    return Outline(mask, top, threshold, warnings=_parts(search, parts, rest))


def highest(search: SearchRegion, mask: BoolArray) -> Place:
    """The highest voxel of a mask; the first in memory order where several are."""
    places = np.nonzero(mask)
    best = int(np.argmax(search.values[places]))
    i, j, k = (int(axis[best]) for axis in places)
    return i, j, k
