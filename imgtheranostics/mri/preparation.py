"""What is settled before a fit: motion, mask and noise level, each with its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    ImgTheranosticsError,
    merge_cautions,
)
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.voxels import Chosen, Mask, chosen_voxels
from imgtheranostics.mri.protocol import Series, series_along
from imgtheranostics.volume import Volume

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """Standard deviation of the noise in each channel, or why there is none."""

    sd: float | None
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


def noise_level(
    v: Volume, samples: Array, given: float | str | None, *, n_coils: int = 1, attempt: bool = False
) -> NoiseLevel:
    """The noise level that was given, or that of the background.

    Parameters
    ----------
    v : Volume
    samples : (i, j, k, *others, n) ndarray
    given : float, "estimate" or None
        A number is taken as it is, 0 means none; ``estimate`` must succeed.
    n_coils : int
    attempt : bool
        With None, estimate it where the background allows, and do without otherwise.

    Raises
    ------
    ValueError
        If the number is negative, or the word is not known.
    UnsupportedInput
        If an estimate was asked for and the image has no background to take it from.
    """
    if isinstance(given, str):
        if given != "estimate":
            raise ValueError(f"noise_sd is a number or 'estimate', not {given!r}")
        attempt = True
    elif given is not None:
        if not (np.isfinite(given) and given >= 0):
            raise ValueError("noise_sd is not a number of at least 0")
        text = "given" if given else "none, as given"
        return NoiseLevel(float(given) or None, {"rule": text, "noise_sd": float(given)})
    if not attempt:
        return NoiseLevel(None, {"rule": "not used"})
    from imgtheranostics.mri.noise import estimate_noise

    try:
        found = estimate_noise(samples, n_coils=n_coils)
    except ImgTheranosticsError as refusal:
        if given is not None:
            raise
        caution = Caution("noise-level-unknown", f"no noise floor is fitted: {refusal.what}", "--noise-sd")
        return NoiseLevel(None, {"rule": "not known", "explanation": refusal.what}, (caution,))
    decision = {
        "rule": "background",
        "noise_sd": found.sd,
        "noise_sd_standard_error": found.standard_error,
        "n_voxels": found.n_voxels,
        "share_of_voxels": found.share,
    }
    return NoiseLevel(found.sd, decision)


def aligned(v: Volume, wanted: bool) -> tuple[Volume, tuple[Caution, ...], dict[str, Any] | None]:
    """The images of a series aligned to the first, when that is asked for, and what it took."""
    if not wanted:
        return v, (), None
    from imgtheranostics.registration import align_series

    moved, report = align_series(v)
    decision = {
        "rule": "rigid to the first image",
        "n_corrected": int(np.count_nonzero(report.corrected)),
        "largest_displacement_mm": float(np.nanmax(report.displacement_mm)),
        "largest_residual_mm": float(np.nanmax(report.residual_mm)),
        "threshold_mm": report.threshold_mm,
    }
    return moved, (), decision


@dataclass(frozen=True, eq=False)
class Handling:
    """How the voxels of a series are handled before a fit, as a user says it.

    Attributes
    ----------
    mask : Volume, Regions or array, optional
        Voxels outside are NaN and flagged.
    threshold : float, optional
        Voxels whose largest sample stays below are flagged as below noise.
    noise_sd : float or "estimate", optional
        Standard deviation of the noise; voxels that do not rise above it are flagged as below noise.
    n_coils : int
        Coils whose squares were summed.
    motion_correct : bool
        Align the images to the first.
    """

    mask: Mask = None
    threshold: float | None = None
    noise_sd: float | str | None = None
    n_coils: int = 1
    motion_correct: bool = False

    def prepare(self, v: Volume, axis: str, *, attempt: bool = False, masks_noise: bool = True) -> Prepared:
        """A series along an axis, aligned, masked, and with its noise level.

        Parameters
        ----------
        v : Volume
        axis : str
        attempt : bool
            Estimate the noise where the background allows, even when nobody asked for it.
        masks_noise : bool
            Whether voxels that do not rise above the noise are left out.
        """
        v, moved, motion = aligned(v, self.motion_correct)
        series = series_along(v, axis)
        level = noise_level(v, series.samples, self.noise_sd, n_coils=self.n_coils, attempt=attempt)
        chosen = chosen_voxels(
            series.samples,
            v,
            mask=self.mask,
            threshold=self.threshold,
            noise_sd=level.sd if masks_noise else None,
            n_coils=self.n_coils,
        )
        return Prepared(v, series, level, chosen, motion, merge_cautions(moved, level.warnings))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A series that is ready for a fit, and the record of what was done to it."""

    volume: Volume
    series: Series
    level: NoiseLevel
    chosen: Chosen
    motion: dict[str, Any] | None
    warnings: tuple[Caution, ...]

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        scale = mr_record(self.volume).value_scale
        return {
            "mask": self.chosen.decision,
            "noise_level": self.level.decision,
            **({"scaling": {"rule": scale}} if scale else {}),
            **({"motion": self.motion} if self.motion is not None else {}),
        }
