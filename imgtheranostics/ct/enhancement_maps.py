"""Change of attenuation between two CT scans, as a map in HU with its noise."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.hounsfield import SATURATION_HU, ct_record
from imgtheranostics.ct.noise import DifferenceNoise, difference_noise
from imgtheranostics.ct.rod_calibration import gain_relative_error
from imgtheranostics.ct.scan_pairs import Alignment, ScanPair
from imgtheranostics.errors import Caution, GeometryMismatch, merge_cautions
from imgtheranostics.kernels.ct_difference import subtract
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]

SATURATED = Flag.SATURATED | Flag.OUTSIDE_RANGE
"""Flags of voxels at the top of the range of the images."""

_MOSTLY_OUTSIDE = 0.05


def enhancement(
    pre: Volume,
    post: Volume,
    *,
    register: Alignment = False,
    mask: Mask = None,
    allow_mismatch: Collection[str] = (),
    noise_sd: float | tuple[float, float] | None = None,
    register_mask: Mask = None,
    saturation_hu: float = SATURATION_HU,
    workers: int | None = None,
) -> Estimate:
    """Change of attenuation from one scan to another, after minus before.

    Parameters
    ----------
    pre, post : Volume
        Attenuation in HU, acquired alike.
    register : bool, {"rigid", "affine", "bspline"}, Registration or Transform
        Align `post` to `pre` (rigidly where it is True), or use a transform that is known already.
    mask : Volume, Regions or (i, j, k) array_like, optional
        On the grid of `pre`; NaN and `Flag.MASKED_OUT` outside.
    allow_mismatch : collection of {"kvp", "filter", "kernel", "slice_thickness"}
        What may differ between the scans; it is then a caution. Of two tube voltages the change has that of
        `post`, which holds the agent.
    noise_sd : float or (pre, post), optional
        Noise of one voxel of each image in HU. By default that of the difference is estimated from its soft
        tissue, see `imgtheranostics.ct.noise.difference_noise`.
    register_mask : Volume, Regions or (i, j, k) array_like, optional
        Where the registration looks.
    saturation_hu : float
        Voxels at or above it in either scan are NaN, with `Flag.SATURATED` and `Flag.OUTSIDE_RANGE`. So are
        areas that are constant at -1024 HU or what is the lowest value below it, with the second flag.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Estimate
        ``delta_attenuation`` in ``[HU]``. The standard error is that of one voxel; noise of neighbours is
        correlated, so that of a region's mean comes from `imgtheranostics.ct.region_table`. Scans that were
        calibrated by rods add the error of that scale, as `calibration_relative`. Both scans are
        among `maps`, and `decisions` tell alignment and noise.

    Raises
    ------
    UnitMismatch, MissingMetadata
        If values are not HU, or the scans differ in tube voltage, filter, kernel or slice thickness.
    GeometryMismatch
        If the grids differ and `register` is not asked for, or the mask lies outside the field of view.
    IllConditioned
        If the registration failed.
    UnsupportedInput
        If one of them is a series.
    ValueError
        If an option is unknown.
    """
    pair = ScanPair.of(
        pre,
        post,
        register=register,
        register_mask=register_mask,
        allow_mismatch=allow_mismatch,
        saturation_hu=saturation_hu,
    )
    change, flags = _difference(pair, saturation_hu, workers)
    inside = None if mask is None else mask_array(mask, pair.pre)
    notes = _cautions(flags, inside, same=_unchanged(change))
    noise = difference_noise(pair.pre, change, noise_sd=noise_sd)
    if inside is not None:
        flags[~inside] = Flag.MASKED_OUT.value
        change[~inside] = np.nan
    return _estimate(pair, change, flags, noise, inside, notes)


def _difference(
    pair: ScanPair, saturation_hu: float, workers: int | None
) -> tuple[npt.NDArray[np.float32], FlagArray]:
    """After minus before, and the flags of voxels where that is no measurement."""
    change = np.empty(pair.pre.grid.shape, np.float32, order="F")
    flags = np.empty(pair.pre.grid.shape, np.uint16, order="F")
    invalid, bright = np.uint16(Flag.INVALID_INPUT.value), np.uint16(SATURATED.value)
    before, after = pair.pre.data.ravel(order="F"), pair.post.data.ravel(order="F")
    out, marks = change.T.reshape(-1), flags.T.reshape(-1)
    with thread_limit(workers):
        subtract(before, after, np.float32(saturation_hu), invalid, bright, out, marks)
    if pair.saturated.any():
        change[pair.saturated] = np.nan
        flags[pair.saturated] = bright
    if pair.unscanned.any():
        change[pair.unscanned] = np.nan
        flags[pair.unscanned] = Flag.OUTSIDE_RANGE.value
    return change, flags


def _estimate(
    pair: ScanPair,
    change: npt.NDArray[np.float32],
    flags: FlagArray,
    noise: DifferenceNoise,
    inside: BoolArray | None,
    notes: tuple[Caution, ...],
) -> Estimate:
    cautions = merge_cautions(pair.post.warnings, pair.warnings, noise.warnings, notes)
    step = make_step("enhancement", order="post minus pre", alignment=pair.decision["rule"])
    value = pair.pre.derived(change, "delta_attenuation", "[HU]", step).with_warnings(*cautions)
    after = ct_record(pair.post)
    if after.tube_voltage_kv != ct_record(pair.pre).tube_voltage_kv:
        # Only the later scan holds the agent: what it adds is of that beam.
        value = value.replace(acquisition=after)
    plain = value.replace(warnings=())
    shared = max(gain_relative_error(pair.pre), gain_relative_error(pair.post))
    error = np.where(flags == 0, np.float32(noise.sd), np.float32(np.nan))
    if shared:
        error = np.hypot(error, np.float32(shared) * change)
    mask_rule: dict[str, Any] = {"rule": "all voxels"}
    if inside is not None:
        mask_rule = {"rule": "mask", "n_voxels": int(np.count_nonzero(inside))}
    return Estimate(
        value,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        calibration_relative=shared,
        decisions={"alignment": pair.decision, "noise": noise.decision(), "mask": mask_rule},
        maps={"pre": pair.pre.replace(warnings=()), "post": pair.post.replace(warnings=())},
    )


def _unchanged(change: npt.NDArray[np.float32]) -> bool:
    """Whether no voxel differs at all, which noise does not let two scans do; NaN does not count."""
    return float(np.fmax.reduce(change, axis=None)) == 0 == float(np.fmin.reduce(change, axis=None))


def _cautions(flags: FlagArray, inside: BoolArray | None, *, same: bool) -> tuple[Caution, ...]:
    """What a reader should know of the voxels asked for; `same` where nothing changed at all.

    Raises
    ------
    GeometryMismatch
        If the mask holds no voxel with a value in both scans.
    """
    asked = flags if inside is None else flags[inside]
    bright = int(np.count_nonzero(asked & Flag.SATURATED.value))
    unseen = int(np.count_nonzero(asked & Flag.INVALID_INPUT.value))
    if inside is not None:
        unseen += int(np.count_nonzero(asked == Flag.OUTSIDE_RANGE.value))
    if inside is not None and unseen == asked.size:
        raise GeometryMismatch(
            "the mask lies outside the field of view",
            found=f"{unseen} voxels, none with a value in both scans" if unseen else "an empty mask",
            needed="a mask over tissue that both scans show",
            next_step="draw the mask on the first scan, inside the reconstructed field of view",
        )
    found = []
    if same:
        found.append(
            Caution(
                "same-scan",
                "both scans hold the same values in every voxel, noise included: is it one scan given twice?",
            )
        )
    if bright:
        places = (flags & Flag.SATURATED.value) != 0
        planes = np.count_nonzero((places if inside is None else places & inside).any(axis=(0, 1)))
        found.append(
            Caution(
                "saturated-voxels",
                f"{bright} voxels in {planes} slices are at the top of the range of the images and were left "
                "out; metal there throws streaks into the rest of these slices",
            )
        )
    if unseen > _MOSTLY_OUTSIDE * asked.size:
        found.append(
            Caution(
                "partly-outside",
                f"{100 * unseen / asked.size:.3g} % of the voxels asked for have no value in both scans "
                "(outside the field of view, padding, or not reached by the other scan)",
            )
        )
    return tuple(found)
