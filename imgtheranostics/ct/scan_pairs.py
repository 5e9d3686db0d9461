"""Two CT scans of one subject: comparable, on one grid, and where their difference means something."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.choices import REGISTRATIONS
from imgtheranostics.ct.hounsfield import SATURATION_HU, comparable, require_hu, saturated
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.pairs import second_on_first, single_image
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask, grown
from imgtheranostics.registration import Registration, Transform
from imgtheranostics.volume import Volume

BoolArray = npt.NDArray[np.bool_]

LOWEST_HU = -1500.0
"""At or below it is no attenuation but fill, or a streak of metal; air is -1000, or less by noise."""

BOTTOM_HU = -1024.0
"""Least value of 12 stored bits with the usual intercept: air, or fill outside of the field of view."""

_REACH, _IN_SLICE = 2, (0, 1)
_FEWEST_CONSTANT = (_REACH + 1) ** 2

Alignment = bool | str | Registration | Transform | None


@dataclass(frozen=True, eq=False)
class ScanPair:
    """Two scans on the grid of the first.

    Attributes
    ----------
    pre, post : Volume
        Attenuation in HU; voxels of `post` that the second scan does not reach are NaN.
    saturated : (i, j, k) ndarray of bool
        Where either scan is at the top of its range, so that the difference is no measurement.
    unscanned : (i, j, k) ndarray of bool
        The same for areas at the bottom of the range, see `at_bottom`.
    transform : Transform or None
        That took the second scan to the first, fixed to moving points.
    decision : dict
        How they came to lie on one grid, with the quality of a registration.
    warnings : tuple of Caution
    """

    pre: Volume
    post: Volume
    saturated: BoolArray
    unscanned: BoolArray
    transform: Transform | None
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()

    @classmethod
    def of(
        cls,
        pre: Volume,
        post: Volume,
        *,
        register: Alignment = False,
        register_mask: Mask = None,
        allow_mismatch: Collection[str] = (),
        saturation_hu: float = SATURATION_HU,
    ) -> ScanPair:
        """Two scans, checked and brought together.

        Parameters
        ----------
        pre, post : Volume
        register : bool, {"rigid", "affine", "bspline"}, Registration or Transform
            Align `post` to `pre`, rigidly where it is True; or take a transform that is known already.
            Without it only the order of the voxel axes may differ.
        register_mask : Volume, Regions or array, optional
            Where the registration looks, on the grid of `pre`.
        allow_mismatch : collection of str
            As `allow` of `imgtheranostics.ct.hounsfield.comparable`.
        saturation_hu : float
            Top of the range of the images.

        Raises
        ------
        UnitMismatch, MissingMetadata
            If values are not HU, or the scans were not acquired alike.
        GeometryMismatch
            If the grids differ and `register` is not asked for.
        IllConditioned
            If the registration failed.
        UnsupportedInput
            If one of them is a series.
        """
        pre, post = without_fill(require_hu(pre)), without_fill(require_hu(post))
        single_image(pre, "the scan before the agent")
        single_image(post, "the scan after the agent")
        notes = comparable(pre, post, allow=allow_mismatch)
        bright = saturated(post, limit_hu=saturation_hu)
        moved, transform, decision, cautions = _on_first(pre, post, register, register_mask)
        if transform is not None:
            moved, bright = _resampled_without(post, bright, transform, pre, moved)
        elif bright.any():
            bright = saturated(moved, limit_hu=saturation_hu)
        bright = bright | saturated(pre, limit_hu=saturation_hu)
        bottom = at_bottom(pre)
        if transform is None:
            bottom = bottom | at_bottom(moved)
        return cls(pre, moved, bright, bottom, transform, decision, merge_cautions(notes, cautions))


def at_bottom(volume: Volume) -> BoolArray:
    """Areas of a slice that are constant at -1024 HU, or at the lowest value of the scan if that is less.

    What lies outside of the field of view of many scanners, or air that is cut off at the least value that
    can be stored: a change cannot be read from it. Few voxels together, as noise leaves them in air, stay.

    Parameters
    ----------
    volume : Volume
        Attenuation in HU, without axes.

    Returns
    -------
    (i, j, k) ndarray of bool
    """
    found = np.zeros(volume.grid.shape, np.bool_, order="F")
    lowest = float(np.fmin.reduce(volume.data, axis=None, initial=np.inf))
    if lowest <= BOTTOM_HU:
        for value in {lowest, BOTTOM_HU}:
            there = np.asarray(volume.data == np.float32(value))
            if np.count_nonzero(there) >= _FEWEST_CONSTANT:
                within = ~grown(~there, _REACH, _IN_SLICE)
                found |= there & grown(within, _REACH, _IN_SLICE)
    return found


def without_fill(volume: Volume) -> Volume:
    """The volume with NaN for values that no tissue has: the fill of scanners, such as -2000 or -3024 HU."""
    if float(np.fmin.reduce(volume.data, axis=None, initial=np.inf)) > LOWEST_HU:
        return volume
    return volume.replace(data=np.where(volume.data <= LOWEST_HU, np.float32(np.nan), volume.data))


def _on_first(
    pre: Volume, post: Volume, register: Alignment, mask: Mask
) -> tuple[Volume, Transform | None, dict[str, Any], tuple[Caution, ...]]:
    """The second scan on the first's grid, and the transform if one was used."""
    if register is None or register is False:
        moved, decision, cautions = second_on_first(pre, post)
        return moved, None, decision, cautions
    if isinstance(register, Registration | Transform):
        from imgtheranostics.registration import resample

        known = register.transform if isinstance(register, Registration) else register
        notes = register.warnings if isinstance(register, Registration) else ()
        decision = {"rule": f"{known.model} transform, given"}
        if isinstance(register, Registration):
            decision |= _quality(register)
        return resample(post, known, like=pre), known, decision, notes
    model = "rigid" if register is True else register
    if model not in REGISTRATIONS:
        raise UnknownChoice(
            f"register= must be one of {', '.join(REGISTRATIONS)}, a transform or False, not {model!r}"
        )
    from imgtheranostics.registration import register as align

    found = align(pre, post, model=model, mask=mask)  # type: ignore[arg-type]
    decision = {"rule": f"{model} registration of the second scan to the first", **_quality(found)}
    return found.resampled, found.transform, decision, found.warnings


def _quality(found: Registration) -> dict[str, Any]:
    quality = found.quality
    return {
        "largest_displacement_mm": quality.largest_displacement_mm,
        "repeat_mm": quality.repeat_mm,
        "residual": quality.residual,
        "overlap": quality.overlap,
        "jacobian_range": list(quality.jacobian_range),
    }


def _resampled_without(
    post: Volume, bright: BoolArray, transform: Transform, pre: Volume, moved: Volume
) -> tuple[Volume, BoolArray]:
    """The second scan resampled from voxels within its range, and where brighter ones would have had a share.

    `moved` is what it is with all of its voxels.
    """
    from imgtheranostics.registration import resample

    bottom = at_bottom(post)
    if bottom.any():
        post = post.replace(data=np.where(bottom, np.float32(np.nan), post.data))
        moved = resample(post, transform, like=pre)
    if not bright.any():
        return moved, np.zeros(pre.grid.shape, np.bool_)
    within = resample(post.replace(data=np.where(bright, np.nan, post.data)), transform, like=pre)
    return within, np.asarray(np.isfinite(moved.data) & ~np.isfinite(within.data))
