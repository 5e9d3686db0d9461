"""Unsaturated references in a CEST series: which images they are, and what they are worth at each moment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import REFERENCE_PPM
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata
from imgtheranostics.fit import FloatArray, shortfall

Drift = Literal["mean", "linear"]

ENOUGH_FREEDOM = 5.0
"""Degrees of freedom from which the scatter of references is taken as the noise level."""

FEWEST_VOXELS = 25
"""Voxels from which they can tell together whether references differ by more than noise."""

_VOXELS_AT_ONCE = 32_768

DRIFT_ERRORS = 3.0
"""Standard errors by which references must differ in the mean over all voxels to count as drifting."""


@dataclass(frozen=True, eq=False)
class References:
    """Unsaturated images of a series, and how they are used.

    Attributes
    ----------
    positions : tuple of int
        References in the order of acquisition; none where the unsaturated signal is given apart.
    saturated : tuple of int
        Images of the spectrum.
    drift : {"mean", "linear"}
    stated : bool
        Whether the caller named the references.
    decisions : mapping of str to str
    cautions : tuple of Caution
    """

    positions: tuple[int, ...]
    saturated: tuple[int, ...]
    drift: Drift
    stated: bool
    decisions: Mapping[str, str]
    cautions: tuple[Caution, ...] = ()

    @property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """References in a row."""
        grouped = itertools.groupby(enumerate(self.positions), key=lambda pair: pair[1] - pair[0])
        return tuple(tuple(position for _, position in run) for _, run in grouped)

    def weights(self, index: int) -> dict[int, float]:
        """With which weight each reference enters the unsaturated signal at a position of the series."""
        if self.drift == "mean":
            return {position: 1.0 / len(self.positions) for position in self.positions}
        runs = self.runs
        middles = [sum(run) / len(run) for run in runs]
        shares = [float(np.interp(index, middles, unit)) for unit in np.eye(len(runs))]
        return {
            position: share / len(run)
            for run, share in zip(runs, shares, strict=True)
            for position in run
            if share > 0.0
        }

    def at(self, images: FloatArray, index: int) -> npt.NDArray[np.float64]:
        """Unsaturated signal at a position of the series, (n_voxels,)."""
        total = np.zeros(images.shape[1])
        for position, weight in self.weights(index).items():
            total += weight * images[position].astype(np.float64)
        return total


def find_references(
    offset_ppm: npt.NDArray[np.float64], m0_index: npt.ArrayLike | None, given_apart: bool, drift: str
) -> References:
    """Which images are references, and how their drift is taken into account.

    Raises
    ------
    MissingMetadata
        If there is none.
    ImplausibleValue
        If more different offsets are as far from water as a reference than are nearer.
    ValueError
        If `m0_index` is not a list of positions, or is given beside an unsaturated signal.
    """
    if drift not in ("auto", "mean", "linear"):
        raise ValueError(f"drift {drift!r} is not one of auto, mean, linear")
    unsaturated = np.isnan(offset_ppm) | (np.abs(np.nan_to_num(offset_ppm)) >= REFERENCE_PPM)
    if m0_index is not None:
        if given_apart:
            raise ValueError("give m0_index for references in the series, or m0, not both")
        chosen = _positions(m0_index, offset_ppm.size)
        rule = "named by m0_index"
    else:
        _refuse_hertz(offset_ppm)
        chosen = tuple(int(i) for i in np.flatnonzero(unsaturated))
        rule = f"offset absent, or at least {REFERENCE_PPM:g} ppm from water"
    saturated = tuple(int(i) for i in np.flatnonzero(~unsaturated) if i not in chosen)
    if not saturated:
        raise ValueError("the series has no saturated image")
    if given_apart:
        left_out = chosen
        decisions = {"m0": "measured apart", "m0_drift": "one signal for all"}
        return References((), saturated, "mean", True, decisions, _unused(left_out))
    if not chosen:
        raise MissingMetadata(
            "the series has no unsaturated reference, so its signal cannot be normalised",
            where="offset_ppm",
            found="no offset that is NaN or at least 100 ppm from water",
            needed="M0, the signal without saturation",
            next_step="name the references with m0_index (M0Index in the sidecar), or give m0",
        )
    used, why = _drift(chosen, saturated, drift)
    left_out = tuple(int(i) for i in np.flatnonzero(unsaturated) if i not in chosen)
    decisions = {"m0": f"{rule}: images " + ", ".join(map(str, chosen)), "m0_drift": why}
    return References(chosen, saturated, used, m0_index is not None, decisions, _unused(left_out))


def without_idle_drift(
    references: References, images: FloatArray, usable: npt.NDArray[np.bool_]
) -> References:
    """The references, taken as their mean where they do not differ.

    Interpolated references are noisier than their mean, most of all beside a single one, and what their noise
    adds to samples that are far apart in time looks like a difference of these.

    Parameters
    ----------
    references : References
        With the drift ``linear``.
    images : (n_images, n_voxels) ndarray
    usable : (n_voxels,) ndarray of bool

    Returns
    -------
    references : References
        With the drift ``mean`` if no run of references differs from the others by 3 standard errors, in the
        mean over 25 voxels or more; the standard error comes from the scatter between voxels.
    """
    voxels = np.flatnonzero(usable)
    if references.drift != "linear" or voxels.size < FEWEST_VOXELS:
        return references
    furthest = _furthest_run(references.runs, images, voxels)
    if furthest > DRIFT_ERRORS:
        return references
    why = (
        f"mean of the references: over {voxels.size} voxels they differ by {furthest:.1f} standard errors, "
        f"and drift counts from {DRIFT_ERRORS:g} on"
    )
    return replace(references, drift="mean", decisions={**references.decisions, "m0_drift": why})


def _furthest_run(
    runs: tuple[tuple[int, ...], ...], images: FloatArray, voxels: npt.NDArray[np.int64]
) -> float:
    """How far the mean of a run is from that of the other references at most, in standard errors."""
    count = np.array([len(run) for run in runs], np.float64)
    sums, squares = np.zeros(count.size), np.zeros(count.size)
    for first in range(0, voxels.size, _VOXELS_AT_ONCE):
        index = voxels[first : first + _VOXELS_AT_ONCE]
        totals = np.array([sum(images[n][index].astype(np.float64) for n in run) for run in runs])
        means = totals / count[:, np.newaxis]
        others = (totals.sum(axis=0) - totals) / (count.sum() - count)[:, np.newaxis]
        sums += (means - others).sum(axis=1)
        squares += ((means - others) ** 2).sum(axis=1)
    scatter = np.sqrt(squares)
    found: float = np.divide(np.abs(sums), scatter, out=np.zeros_like(sums), where=scatter > 0).max()
    return found


def _refuse_hertz(offset_ppm: npt.NDArray[np.float64]) -> None:
    different = np.unique(offset_ppm[np.isfinite(offset_ppm)])
    far = int((np.abs(different) >= REFERENCE_PPM).sum())
    if far > max(2, different.size - far):
        raise ImplausibleValue(
            "most offsets are farther from water than any pool",
            where="offset_ppm",
            found=f"{far} different offsets of {REFERENCE_PPM:g} ppm and more",
            needed="offsets in ppm from water",
            next_step="divide offsets in Hz by the imaging frequency in MHz; or give m0_index",
        )


def _positions(m0_index: npt.ArrayLike, n_images: int) -> tuple[int, ...]:
    listed = np.atleast_1d(np.asarray(m0_index))
    if listed.ndim != 1 or listed.size == 0 or listed.dtype.kind not in "iu":
        raise ValueError("m0_index must be a list of positions of images, counted from 0")
    if listed.min() < 0 or listed.max() >= n_images:
        raise ValueError(f"m0_index must lie between 0 and {n_images - 1}, found {listed.tolist()}")
    if np.unique(listed).size != listed.size:
        raise ValueError(f"m0_index names an image twice: {listed.tolist()}")
    return tuple(sorted(int(i) for i in listed))


def _unused(positions: tuple[int, ...]) -> tuple[Caution, ...]:
    if not positions:
        return ()
    names = ", ".join(map(str, positions))
    return (Caution("unsaturated-images-unused", f"unsaturated images were left out: {names}", "offset_ppm"),)


def _drift(chosen: tuple[int, ...], saturated: tuple[int, ...], drift: str) -> tuple[Drift, str]:
    """The rule for drift, and why."""
    between = any(chosen[0] < index < chosen[-1] for index in saturated)
    if drift == "mean":
        return "mean", "mean of the references, as asked for"
    if drift == "linear" and between:
        return "linear", "linear between the references in the order of acquisition, as asked for"
    if drift == "linear":
        return "mean", "mean of the references: no saturated image lies between two of them"
    if between:
        return "linear", "linear between the references in the order of acquisition: they lie apart"
    return "mean", "mean of the references: no saturated image lies between two of them"


def reference_noise(
    images: FloatArray, references: References
) -> tuple[npt.NDArray[np.float64], float] | None:
    """Noise of one image from the scatter of the references, and its degrees of freedom; None if too few.

    About the mean; where drift is followed, within runs and of each run about the line between those beside
    it, so that a drift counts as noise only where it bends.
    """
    contrasts = _contrasts(references)
    if contrasts.shape[0] == 0:
        return None
    gram = contrasts.T @ contrasts
    trace = float(np.trace(gram))
    freedom = trace * trace / float((gram * gram).sum())
    if freedom < ENOUGH_FREEDOM - 1e-9:
        return None
    squares = np.zeros(images.shape[1])
    for contrast in contrasts:
        row = np.zeros(images.shape[1])
        for position, weight in zip(references.positions, contrast, strict=True):
            if weight != 0.0:
                row += weight * images[position].astype(np.float64)
        squares += row * row
    return np.sqrt(squares / trace) / shortfall(round(freedom)), freedom


def _contrasts(references: References) -> npt.NDArray[np.float64]:
    """Combinations of the references that vanish without noise, (n_contrasts, n_references)."""
    n = len(references.positions)
    if references.drift == "mean":
        return np.eye(n) - 1.0 / n if n > 1 else np.empty((0, n))
    place = {position: k for k, position in enumerate(references.positions)}
    rows = []
    means = []
    for run in references.runs:
        mean = np.zeros(n)
        mean[[place[position] for position in run]] = 1.0 / len(run)
        means.append(mean)
        rows += [np.eye(n)[place[position]] - mean for position in run if len(run) > 1]
    middles = [sum(run) / len(run) for run in references.runs]
    for k in range(1, len(middles) - 1):
        share = (middles[k] - middles[k - 1]) / (middles[k + 1] - middles[k - 1])
        bent = means[k] - (1.0 - share) * means[k - 1] - share * means[k + 1]
        rows.append(bent / np.linalg.norm(bent))
    return np.array(rows).reshape(-1, n)
