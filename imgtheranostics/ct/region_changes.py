"""Change of attenuation in labelled regions straight from two scans, without a map in between."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.hounsfield import SATURATION_HU, comparable, ct_record, require_hu
from imgtheranostics.ct.noise import detection_limits
from imgtheranostics.ct.scan_pairs import BOTTOM_HU, LOWEST_HU, at_bottom
from imgtheranostics.ct.slope import Slope
from imgtheranostics.kernels import ct_difference as kernel
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.pairs import second_on_first, single_image
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

_PARTS = 64
_FEWEST_KEPT = 64
_WORKSPACE = 1 << 17
_LARGEST_LABEL = 1 << 16


def label_changes(
    pre: npt.ArrayLike,
    post: npt.ArrayLike,
    labels: npt.ArrayLike,
    numbers: Collection[int],
    *,
    threshold: float | npt.ArrayLike = np.inf,
    saturation_hu: float | tuple[float, float] = SATURATION_HU,
    lowest_hu: float = LOWEST_HU,
    workers: int | None = None,
) -> dict[str, npt.NDArray[np.float64]]:
    """Statistics of post - pre by label in one pass over the labels; voxels outside of them are not read.

    Parameters
    ----------
    pre, post : array_like
        HU of one shape; float32 and int16 are taken as they are, all else becomes float32.
    labels : array_like of int
        Of the same shape.
    numbers : collection of int
        Labels to look at, above 0.
    threshold : float or (n,) array_like
        Changes above it are counted, in HU, for each label.
    saturation_hu : float or (pre, post)
        Voxels at or above it in either image do not count.
    lowest_hu : float
        Voxels at or below it in either image do not count: -1500 HU is the fill of scanners. Fill at -1024 HU
        counts as air here; `region_changes` tells one from the other.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    dict of str to (n,) ndarray
        ``n_voxels``, ``n_valid``, ``n_saturated``, ``n_above`` and ``mean``, ``sd``, ``min``, ``max`` in HU,
        by label; NaN where there is no valid voxel.

    Raises
    ------
    ValueError
        If shapes differ, or a label is not between 1 and 65535.
    """
    images = [np.asarray(image) for image in (pre, post, labels)]
    if len({image.shape for image in images}) != 1:
        raise ValueError(f"shapes differ: {', '.join(str(image.shape) for image in images)}")
    order: Literal["C", "F"] = "F" if all(image.flags.f_contiguous for image in images) else "C"
    before, after = (read_only(_as_scanned(image).ravel(order=order)) for image in images[:2])
    flat = read_only(images[2].astype(np.int32, copy=False).ravel(order=order))
    wanted = np.asarray(list(numbers), np.int64)
    if wanted.size == 0 or wanted.min() < 1 or wanted.max() >= _LARGEST_LABEL:
        raise ValueError(f"labels lie between 1 and {_LARGEST_LABEL - 1}")
    slots = np.full(int(wanted.max()) + 1, -1, np.int64)
    slots[wanted] = np.arange(wanted.size)
    # a copy: kernels are compiled for arrays that may be written
    limits = np.array(np.broadcast_to(threshold, wanted.shape), np.float32)
    partial = np.empty((_PARTS, wanted.size, kernel.N_STATISTICS))
    kept = int(np.clip(_WORKSPACE // wanted.size, _FEWEST_KEPT, kernel.KEPT))
    tops = np.broadcast_to(saturation_hu, (2,))
    bounds = np.float32(lowest_hu), np.float32(tops[0]), np.float32(tops[1])
    with thread_limit(workers):
        kernel.label_differences(before, after, flat, slots, bounds, limits, kept, partial)
    return _summary(partial)


def _as_scanned(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if image.dtype in (np.dtype(np.float32), np.dtype(np.int16)):
        return image
    return image.astype(np.float32)


def _summary(partial: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """The table of all parts, summed in their order."""
    total = partial[..., : kernel.SMALLEST].sum(axis=0)
    count = total[:, kernel.VALID]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total[:, kernel.TOTAL] / count
        spread = np.maximum(0.0, total[:, kernel.SQUARES] - count * mean**2) / (count - 1.0)
    smallest = partial[..., kernel.SMALLEST].min(axis=0)
    largest = partial[..., kernel.LARGEST].max(axis=0)
    return {
        "n_voxels": total[:, kernel.VOXELS],
        "n_valid": count,
        "n_saturated": total[:, kernel.SATURATED],
        "n_above": total[:, kernel.ABOVE],
        "mean": mean,
        "sd": np.where(count > 1, np.sqrt(spread), np.nan),
        "min": np.where(count > 0, smallest, np.nan),
        "max": np.where(count > 0, largest, np.nan),
    }


def region_changes(
    pre: Volume,
    post: Volume,
    regions: Regions,
    *,
    slope: Slope | None = None,
    noise_sd: float | tuple[float, float] | None = None,
    allow_mismatch: Collection[str] = (),
    saturation_hu: float = SATURATION_HU,
    workers: int | None = None,
) -> pd.DataFrame:
    """Mean change of attenuation, and concentration, in each region of two scans on one grid, at once.

    The fast way to region means: no map is made, and only voxels of regions are read. Standard errors of
    means, which need blank tissue, come from `imgtheranostics.ct.region_table`.

    Parameters
    ----------
    pre, post : Volume
        Attenuation in HU, acquired alike and on one grid.
    regions : Regions
        Voxels in areas that are constant at the bottom of the range of a scan, what lies outside of its field
        of view, do not count.
    slope : Slope, optional
        HU per mg/mL; concentrations are then among the columns.
    noise_sd : float or (pre, post), optional
        Noise of one voxel of each image in HU; with `slope`, the share of voxels above the limit of detection
        of a voxel is then among the columns.
    allow_mismatch : collection of str
        As in `imgtheranostics.ct.enhancement`.
    saturation_hu : float
        Voxels at or above it in either scan do not count.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    pandas.DataFrame
        One row per region: ``region``, ``n_voxels``, ``n_valid``, ``n_saturated``, ``volume_ml``,
        ``mean_hu``, ``sd_hu``, ``min_hu``, ``max_hu``; with a slope ``concentration_mg_ml``,
        ``concentration_sd`` over the voxels and ``calibration_error`` of the mean; with noise ``lod_mg_ml``
        of a voxel and ``share_above_lod``. ``attrs["warnings"]`` are cautions.

    Raises
    ------
    UnitMismatch, MissingMetadata
        If values are not HU, or the scans were not acquired alike.
    GeometryMismatch
        If grids differ.
    """
    import pandas as pd

    pre, post = require_hu(pre), require_hu(post)
    single_image(pre, "the scan before the agent")
    single_image(post, "the scan after the agent")
    cautions = comparable(pre, post, allow=allow_mismatch)
    post, _, _ = second_on_first(pre, post)
    fitted = regions.fit_to(pre.grid)
    if slope is not None:
        slope.require_kvp(ct_record(pre).tube_voltage_kv, where="KVP (0018,0060)")
    limit = _voxel_limit(slope, noise_sd)
    found = _of_layers(pre, post, fitted, limit, saturation_hu, workers)
    columns: dict[str, Any] = {"region": list(fitted)}
    columns |= {name: found[name].astype(np.int64) for name in ("n_voxels", "n_valid", "n_saturated")}
    columns["volume_ml"] = found["n_voxels"] * pre.grid.voxel_volume_ml
    columns |= {f"{name}_hu": found[name] for name in ("mean", "sd", "min", "max")}
    if slope is not None:
        columns["concentration_mg_ml"] = found["mean"] / slope.hu_per_mg_ml
        columns["concentration_sd"] = found["sd"] / abs(slope.hu_per_mg_ml)
        columns["calibration_error"] = np.abs(columns["concentration_mg_ml"]) * slope.relative_error
        cautions = (*cautions, *slope.warnings)
    if slope is not None and math.isfinite(limit):
        columns["lod_mg_ml"] = limit / abs(slope.hu_per_mg_ml)
        with np.errstate(invalid="ignore"):
            columns["share_above_lod"] = found["n_above"] / found["n_valid"]
    frame = pd.DataFrame(columns)
    frame.attrs["warnings"] = cautions
    return frame


def _top(volume: Volume, saturation_hu: float) -> float:
    """Top of the range of a scan: what was stated, or what its file can store if that is less."""
    storable = ct_record(volume).largest_storable
    return saturation_hu if storable is None else min(saturation_hu, storable)


def _voxel_limit(slope: Slope | None, noise_sd: float | tuple[float, float] | None) -> float:
    """Change in HU at the limit of detection of a voxel; infinite where it is not asked for."""
    if slope is None or noise_sd is None:
        return math.inf
    together = float(np.hypot(*np.broadcast_to(np.asarray(noise_sd, np.float64), (2,))))
    return detection_limits(together, 1.0).lod


def _scanned(volume: Volume) -> npt.NDArray[np.float32]:
    """Values with NaN in areas that are constant at the bottom of the range."""
    bottom = at_bottom(volume)
    return np.where(bottom, np.float32(np.nan), volume.data) if bottom.any() else volume.data


def _of_layers(
    pre: Volume, post: Volume, regions: Regions, limit: float, saturation_hu: float, workers: int | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Statistics of each region, layer by layer of regions that overlap."""
    if max(regions.names, default=0) >= _LARGEST_LABEL:
        regions = Regions.from_voxel_lists(
            dict(zip(regions, regions.voxel_lists(), strict=True)), regions.grid
        )
    numbers = list(regions.names)
    tops = _top(pre, saturation_hu), _top(post, saturation_hu)
    merged: dict[str, npt.NDArray[np.float64]] = {}
    for layer in range(regions.labels.shape[3]):
        labels = regions.labels[..., layer]
        count = functools.partial(
            label_changes,
            labels=labels,
            numbers=numbers,
            threshold=limit,
            saturation_hu=tops,
            workers=workers,
        )
        found = count(pre.data, post.data, lowest_hu=BOTTOM_HU)
        if bool((found["n_valid"] + found["n_saturated"] < found["n_voxels"]).any()):
            found = count(_scanned(pre), _scanned(post))
        here = found["n_voxels"] > 0
        for name, values in found.items():
            merged[name] = np.where(here, values, merged[name]) if name in merged else values
    return merged
