"""Which voxels are worked on: masks and thresholds on the grid of the images, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Volume

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]

Mask = Volume | Regions | npt.ArrayLike | None

_SIGNIFICANT = 3.0


def on_grid(given: Volume, v: Volume, what: str, next_step: str) -> Array:
    """Voxels of a map in the order of `v`.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid or has axes beyond space.
    """
    same = v.grid.same_as(given.grid)
    match = None if same else v.grid.axis_match(given.grid)
    if given.axes or not (same or match is not None):
        raise GeometryMismatch(
            f"{what} does not lie on the grid of the images",
            found=", ".join(axis.name for axis in given.axes) if given.axes else str(same),
            needed="the same grid, one value per voxel",
            next_step=next_step,
        )
    return given.data if match is None else match.apply_to_array(given.data)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Which voxels are worked on, and the flags of those that are not.

    Attributes
    ----------
    inside : ndarray of bool
    flags : ndarray of uint16
        `Flag.MASKED_OUT` or `Flag.BELOW_NOISE` outside.
    """

    inside: BoolArray
    flags: FlagArray
    decision: dict[str, Any]

    def merged(self, found: FlagArray) -> FlagArray:
        """Flags of a fit, with the reason instead where a voxel was not worked on."""
        inside, flags = self.inside, self.flags
        if found.ndim > inside.ndim:
            inside, flags = inside[..., np.newaxis], flags[..., np.newaxis]
        return np.asarray(np.where(inside, found, 0) | flags, np.uint16)


def chosen_voxels(
    samples: Array,
    v: Volume,
    *,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | None = None,
    n_coils: int = 1,
) -> Chosen:
    """Voxels inside the mask whose signal stands out.

    Parameters
    ----------
    samples : (i, j, k, *others, n) ndarray
    v : Volume
        Gives the grid for the mask.
    mask : Volume, Regions or (i, j, k) array_like, optional
        Zero and NaN are outside.
    threshold : float, optional
        The largest sample must reach it, in the unit of the signal.
    noise_sd : float, optional
        The mean square of the samples must exceed that of noise alone, 2 n_coils noise_sd^2, by three of its
        standard deviations.
    """
    shape = samples.shape[:-1]
    inside = np.ones(shape, np.bool_, order="F")
    flags = np.zeros(shape, np.uint16, order="F")
    decision: dict[str, Any] = {"rule": "all voxels"}
    if mask is not None:
        within = mask_array(mask, v).reshape((*v.grid.shape, *(1,) * (len(shape) - 3)))
        inside &= within
        flags[~inside] = Flag.MASKED_OUT.value
        decision = {"rule": "mask", "n_voxels": int(np.count_nonzero(within))}
    weak = np.zeros(shape, np.bool_, order="F")
    if threshold is not None:
        if not np.isfinite(threshold):
            raise UnknownChoice(f"the threshold must be a number, not {threshold}")
        largest = np.full(shape, -np.inf, samples.dtype, order="F")
        for n in range(samples.shape[-1]):
            np.fmax(largest, samples[..., n], out=largest)
        weak |= largest < threshold
        decision["threshold"] = float(threshold)
    if noise_sd is not None and noise_sd > 0:
        weak |= below_noise(samples, noise_sd, n_coils)
        decision["noise_sd"] = float(noise_sd)
    weak &= inside
    flags[weak] = Flag.BELOW_NOISE.value
    if decision.keys() & {"threshold", "noise_sd"}:
        decision["n_below_noise"] = int(np.count_nonzero(weak))
    return Chosen(inside & ~weak, flags, decision)


def below_noise(samples: Array, noise_sd: float, n_coils: int = 1) -> BoolArray:
    """Where magnitudes along the last axis are no more than noise.

    The square of a magnitude of noise alone has the mean 2 n sigma^2 and the standard deviation
    2 sqrt(n) sigma^2 for n coils.
    """
    n_samples = samples.shape[-1]
    power = np.zeros(samples.shape[:-1], np.float64, order="F")
    for n in range(n_samples):
        power += np.square(samples[..., n], dtype=np.float64)
    expected = 2.0 * n_coils * noise_sd**2
    spread = 2.0 * np.sqrt(n_coils / n_samples) * noise_sd**2
    return np.asarray(power / n_samples < expected + _SIGNIFICANT * spread)


def mask_array(mask: Volume | Regions | npt.ArrayLike, v: Volume) -> BoolArray:
    """A mask in the voxel order of `v`; zero and NaN are outside, of regions all that they do not name.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    """
    if isinstance(mask, Regions):
        return mask.fit_to(v.grid).union()
    if isinstance(mask, Volume):
        array: Array = on_grid(mask, v, "the mask", "draw the mask on this image, or resample it first")
    else:
        array = np.asarray(mask)
        if array.shape != v.grid.shape:
            raise GeometryMismatch(
                "the mask does not fit the images", found=str(array.shape), needed=str(v.grid.shape)
            )
    return np.asarray((array != 0) & (array == array))


def grown(mask: BoolArray, by: int, axes: tuple[int, ...] = (0, 1, 2)) -> BoolArray:
    """A mask grown by a box of `by` voxels on both sides of each axis; nothing lies beyond the image.

    Far faster on large images than morphology with any structure. ``~grown(~mask, ...)`` shrinks it.
    """
    for axis in axes:
        moved = np.moveaxis(mask.copy(order="K"), axis, 0)
        source = np.moveaxis(mask, axis, 0)
        for step in range(1, min(by, source.shape[0] - 1) + 1):
            moved[step:] |= source[:-step]
            moved[:-step] |= source[step:]
        mask = np.moveaxis(moved, 0, axis)
    return mask
