"""Lesions by where their edge is steepest: a watershed on the gradient, between core and background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.adapted_threshold import CORE, FEW_IN_CORE, SCHEMES, settled_outline
from imgtheranostics.segmentation.growing import check_connectivity, part_with
from imgtheranostics.segmentation.outlines import Outline, as_regions
from imgtheranostics.segmentation.search_regions import (
    BoolArray,
    SearchRegion,
    Seeds,
    search_regions,
    static_volume,
)
from imgtheranostics.segmentation.surroundings import GAP_VOXELS, Background, given_background
from imgtheranostics.segmentation.threshold_regions import highest
from imgtheranostics.volume import Estimate, Volume

_FINER = 2
_ORTHOGONAL = 1e-3
_OUTSIDE, _LESION = 1, 2


def gradient_watershed(
    x: Volume | Estimate,
    *,
    background: Background = None,
    smoothing_mm: float | None = None,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    resolution_mm: float | None = None,
    connectivity: int = 6,
) -> Regions:
    """Voxels inside the crest of the gradient around a lesion; no threshold decides where the edge is.

    The lesion's core and its background are markers, from a threshold half way between them; a watershed on
    the magnitude of the gradient, at half the spacing of the voxels, decides what lies between [1]_.
    The gradient of a small blurred sphere is steepest inside its true edge: the volume is too small by 2 % at
    ten times the resolution, 13 % at four times and 40 % at twice.

    Parameters
    ----------
    x : Volume or Estimate
    background : float or Regions, optional
        As in `adaptive_threshold`.
    smoothing_mm : float, optional
        Standard deviation of the Gaussian whose derivative the gradient is; by default the longest side of a
        voxel. More of it steadies edges in noise, and shrinks small lesions.
    seeds_mm, within, reach_mm, resolution_mm, connectivity
        As in `adaptive_threshold`.

    Returns
    -------
    Regions

    Raises
    ------
    UnsupportedInput
        If the voxel axes are not at right angles, or the image is a series.
    ValueError, NothingUsable, ImplausibleValue, GeometryMismatch
        As `adaptive_threshold`.

    References
    ----------
    .. [1] Geets X et al., Eur J Nucl Med Mol Imaging 2007;34:1427, doi:10.1007/s00259-006-0363-4.
    """
    v = static_volume(x)
    check_connectivity(connectivity)
    _check_axes(v)
    spacing = max(v.grid.spacing_mm)
    smoothing = spacing if smoothing_mm is None else float(smoothing_mm)
    if not 0 < smoothing < np.inf:
        raise ValueError(f"smoothing_mm is a length above 0, not {smoothing_mm!r}")
    level = given_background(v, background)
    searches = search_regions(
        v,
        seeds_mm=seeds_mm,
        within=within,
        reach_mm=reach_mm,
        surroundings_mm=(resolution_mm or 0.0) + 4.0 * max(spacing, smoothing),
    )

    def outlined(search: SearchRegion) -> Sequence[Outline]:
        return [_watershed_outline(search, level, smoothing, resolution_mm, connectivity)]

    return as_regions(
        v,
        searches,
        outlined,
        "gradient",
        connectivity=connectivity,
        resolution_mm=resolution_mm,
        smoothing_mm=smoothing,
        background_from="given" if level is not None else "shell around the lesion",
    )


def _check_axes(v: Volume) -> None:
    directions = v.affine[:3, :3] / np.array(v.grid.spacing_mm)
    if np.abs(directions.T @ directions - np.eye(3)).max() > _ORTHOGONAL:
        raise UnsupportedInput(
            "the voxel axes are not at right angles",
            needed="a grid without shear",
            next_step="resample the image, or use a threshold",
        )


def _watershed_outline(
    search: SearchRegion,
    background: float | None,
    smoothing_mm: float,
    resolution_mm: float | None,
    connectivity: int,
) -> Outline:
    first = settled_outline(search, SCHEMES["half_way"], background, resolution_mm, connectivity)
    assert first.background is not None  # noqa: S101
    box, markers = _markers(search, first, resolution_mm)
    mask = np.zeros_like(first.mask)
    mask[box] = _flooded(search, box, markers, smoothing_mm) & search.inside[box]
    mask = part_with(mask, first.top, connectivity)
    return Outline(
        mask,
        highest(search, mask),
        background=first.background,
        found={"uptake": first.found["uptake"]},
        # the core only marks where the lesion is
        warnings=tuple(caution for caution in first.warnings if caution.code != FEW_IN_CORE),
    )


def _markers(
    search: SearchRegion, first: Outline, resolution_mm: float | None
) -> tuple[tuple[slice, ...], npt.NDArray[np.int32]]:
    """The lesion's core and what is surely background, in the box around both."""
    from scipy import ndimage

    spacing = np.array(search.grid.spacing_mm)
    gap = GAP_VOXELS * spacing.max() if resolution_mm is None else float(resolution_mm)
    margin = np.ceil(gap / spacing).astype(int) + 2
    box = []
    for axis in range(3):
        held = np.flatnonzero(first.mask.any(axis=tuple(n for n in range(3) if n != axis)))
        start, stop = int(held[0] - margin[axis]), int(held[-1] + margin[axis] + 1)
        box.append(slice(max(0, start), min(first.mask.shape[axis], stop)))
    cut = tuple(box)
    lesion, values = first.mask[cut], search.values[cut]
    assert first.background is not None  # noqa: S101
    core = first.background + CORE * (float(search.values[first.top]) - first.background)
    markers = np.zeros(lesion.shape, np.int32)
    markers[ndimage.distance_transform_edt(~lesion, sampling=spacing) > gap] = _OUTSIDE
    markers[lesion & (values >= core)] = _LESION
    return cut, markers


def _flooded(
    search: SearchRegion, box: tuple[slice, ...], markers: npt.NDArray[np.int32], smoothing_mm: float
) -> BoolArray:
    """Flood the gradient from the markers on voxels of half the size; a voxel goes where most of it does."""
    from skimage.segmentation import watershed

    height = _steepness(search, box, smoothing_mm)
    fine = np.repeat(np.repeat(np.repeat(markers, _FINER, 0), _FINER, 1), _FINER, 2)
    labels = watershed(height, markers=fine)
    a, b, c = markers.shape
    inside = (labels == _LESION).reshape(a, _FINER, b, _FINER, c, _FINER).sum(axis=(1, 3, 5))
    return np.asarray(2 * inside >= _FINER**3)


def _steepness(search: SearchRegion, box: tuple[slice, ...], smoothing_mm: float) -> npt.NDArray[np.float64]:
    """Magnitude of the gradient per mm in the middle of each half voxel of the box."""
    from scipy import ndimage

    spacing = np.array(search.grid.spacing_mm)
    sigma = smoothing_mm / spacing
    reach = np.ceil(4.0 * sigma).astype(int) + 1
    whole = search.values.shape
    wide = [slice(max(0, p.start - r), min(n, p.stop + r)) for p, r, n in zip(box, reach, whole, strict=True)]
    values = search.values[tuple(wide)].astype(np.float64)
    missing = ~np.isfinite(values)
    if missing.any():
        values[missing] = np.median(values[~missing])
    places = np.meshgrid(
        *[
            np.arange(p.start, p.stop, 1.0 / _FINER) - 0.5 + 0.5 / _FINER - w.start
            for p, w in zip(box, wide, strict=True)
        ],
        indexing="ij",
    )
    total = np.zeros(places[0].shape)
    for axis in range(3):
        slope = ndimage.gaussian_filter(values, sigma, order=[int(a == axis) for a in range(3)])
        total += (ndimage.map_coordinates(slope, places, order=3, mode="nearest") / spacing[axis]) ** 2
    return np.asarray(np.sqrt(total))
