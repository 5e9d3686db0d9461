"""What a reader of a delineated lesion should know: leaks, borders, parts, size against the resolution."""

from __future__ import annotations

import math

import numpy as np

from imgtheranostics.errors import Caution
from imgtheranostics.segmentation.search_regions import BoolArray, SearchRegion
from imgtheranostics.segmentation.surroundings import surroundings

LEAK_SHARE = 0.8
"""Share of the search region that a lesion may fill before it counts as leaked."""

FEWEST_ACROSS = 4.0
"""Voxels across a lesion below which the size of a voxel decides its volume."""

SMALL = 2.0
"""Diameter over the resolution (FWHM) below which a threshold gives a biased volume."""

_ANISOTROPIC = 2.0
_FEW_SD = 2.0


def lesion_cautions(
    search: SearchRegion, mask: BoolArray, name: str, threshold: float | None, resolution_mm: float | None
) -> tuple[Caution, ...]:
    """Cautions about one lesion on the box of its search region.

    Parameters
    ----------
    search : SearchRegion
    mask : (a, b, c) ndarray of bool
    name : str
    threshold : float, optional
    resolution_mm : float, optional
        Full width at half maximum of the image's resolution.
    """
    found = [
        *_border(search, mask),
        *_leak(search, mask),
        *_size(search, mask, resolution_mm),
        *_missing(search),
        *_shape(search),
        *_contrast(search, mask, threshold),
    ]
    return tuple(Caution(code, f"{name}: {text}", name) for code, text in found)


def equivalent_diameter_mm(volume_ml: float) -> float:
    """Diameter of the sphere of that volume.

    >>> round(equivalent_diameter_mm(1.0), 3)
    12.407
    """
    return float(10.0 * (6.0 * volume_ml / math.pi) ** (1.0 / 3.0))


def _border(search: SearchRegion, mask: BoolArray) -> list[tuple[str, str]]:
    held = [np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    first = np.array(search.first) + [h[0] for h in held]
    last = np.array(search.first) + [h[-1] for h in held]
    shape = np.array(search.grid.shape)
    # an image of one slice, or of few, has its lesions at the border anyway
    cut = ((first == 0) | (last == shape - 1)) & (shape > 1)
    if not cut.any():
        return []
    return [("lesion-at-image-border", "the lesion reaches the border of the image, and may go on beyond it")]


def _leak(search: SearchRegion, mask: BoolArray) -> list[tuple[str, str]]:
    share = float(np.mean(mask[search.inside]))
    if share > LEAK_SHARE:
        text = (
            f"the lesion fills {100 * share:.0f} % of its search region: the threshold may be below "
            "background, or the region too small"
        )
        return [("lesion-leaks", text)]
    if search.seed is not None and _reaches_limit(search, mask):
        text = (
            "the lesion reaches the limit of the search around its seed: it is larger, or it has grown into "
            "neighbouring uptake; give a region (within), or another reach"
        )
        return [("lesion-leaks", text)]
    return []


def _reaches_limit(search: SearchRegion, mask: BoolArray) -> bool:
    """Whether a voxel of the lesion has a neighbour beyond the search region that has a value."""
    from scipy import ndimage

    beyond = ~search.inside & np.isfinite(search.values)
    return bool((ndimage.binary_dilation(mask) & beyond).any())


def _size(search: SearchRegion, mask: BoolArray, resolution_mm: float | None) -> list[tuple[str, str]]:
    across = equivalent_diameter_mm(np.count_nonzero(mask) * search.grid.voxel_volume_ml)
    if resolution_mm is not None and across < SMALL * resolution_mm:
        text = (
            f"the lesion is {across:.3g} mm across, less than {SMALL:g} times the resolution: volume and "
            "mean by a threshold are biased"
        )
        return [("lesion-below-resolution", text)]
    spacing = max(search.grid.spacing_mm)
    if across < FEWEST_ACROSS * spacing:
        text = (
            f"the lesion is {across / spacing:.2g} voxels across: the size of the voxels decides its volume"
        )
        return [("lesion-of-few-voxels", text)]
    return []


def _missing(search: SearchRegion) -> list[tuple[str, str]]:
    if not search.n_missing:
        return []
    text = f"{search.n_missing} voxels of the search region have no value and belong to no lesion"
    return [("missing-voxels", text)]


def _shape(search: SearchRegion) -> list[tuple[str, str]]:
    spacing = search.grid.spacing_mm
    if max(spacing) < _ANISOTROPIC * min(spacing):
        return []
    text = (
        f"voxels are {max(spacing):.3g} by {min(spacing):.3g} mm: volumes depend on how the lesion lies in "
        "them"
    )
    return [("voxels-anisotropic", text)]


def _contrast(search: SearchRegion, mask: BoolArray, threshold: float | None) -> list[tuple[str, str]]:
    if threshold is None:
        return []
    around = surroundings(search, mask, resolution_mm=None)
    if around.n_voxels < 2:
        return []
    if threshold <= around.median:
        text = "the threshold lies below what surrounds the lesion"
        return [("threshold-below-background", text)]
    if threshold < around.median + _FEW_SD * around.sd:
        text = f"the threshold lies within {_FEW_SD:g} standard deviations of what surrounds the lesion"
        return [("threshold-near-background", text)]
    return []
