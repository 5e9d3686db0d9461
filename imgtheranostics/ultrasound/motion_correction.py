"""Rigid motion of a cine, frame by frame: resampled without averaging decibels, failed frames named.

The transform of each frame is found by `imgtheranostics.registration.align_series`. Values between pixels are
means of neighbours, which are only right of linear power: grey levels move by whole pixels, decibels by way
of power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.regions import Regions
from imgtheranostics.registration import MotionReport, align_series, resample
from imgtheranostics.registration.optimising import Metric
from imgtheranostics.ultrasound.echo_scale import EchoScale
from imgtheranostics.ultrasound.tissue_area import tissue_mask
from imgtheranostics.volume import Volume, make_step

FloatArray = npt.NDArray[np.float64]

OnFailure = Literal["nan", "keep"]

_MOSTLY = 0.5


@dataclass(frozen=True, eq=False)
class CineMotion:
    """How each frame had moved, and which frames were given up.

    Attributes
    ----------
    report : MotionReport
        Displacements, residuals and transforms of all frames.
    rejected : tuple of int
        Frames that could not be registered, or were still off by more than what is allowed.
    """

    report: MotionReport
    rejected: tuple[int, ...]

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """What the report warns of, and the rejected frames."""
        moved = tuple(one for one in self.report.warnings if one.code != "sample-not-registered")
        if not self.rejected:
            return moved
        many = len(self.rejected) > 1
        listed = ", ".join(str(n) for n in self.rejected)
        text = f"frame{'s' if many else ''} {listed} could not be brought onto the reference"
        return (*moved, Caution("frames-rejected", f"{text} and {'were' if many else 'was'} rejected"))


def motion_compensate(
    volume: Volume,
    *,
    reference: int | Literal["mean"] = 0,
    mask: npt.ArrayLike | Volume | Regions | None = None,
    region: int | None = None,
    metric: Metric = "mutual_information",
    threshold_mm: float | None = None,
    largest_residual_mm: float | None = None,
    rejected: OnFailure = "nan",
    rng: int | np.random.Generator = 0,
    workers: int | None = None,
) -> tuple[Volume, CineMotion]:
    """Take rigid motion within the plane out of a cine.

    Motion out of the plane cannot be undone: such frames differ in speckle and are rejected where they do not
    register.

    Parameters
    ----------
    volume : Volume
        A cine of one slice: grey levels, dB or linear power.
    reference : int or "mean"
        Frame that stays where it is, best one before the agent.
    mask : (i, j, k) array_like, Volume or Regions, optional
        The tissue that moves as one; by default all of the tissue region of the file.
    region : int, optional
        Number of that region, where there are several.
    metric : {"mutual_information", "correlation"}
        The first does not mind that the agent brightens the image.
    threshold_mm : float, optional
        Motion up to this is left alone; by default a tenth of a pixel.
    largest_residual_mm : float, optional
        A frame that is still further off after correction is rejected; by default one pixel.
    rejected : {"nan", "keep"}
        Rejected frames become NaN, so that no statistic counts them, or stay as they are.
    rng : int or Generator
        Seed of the sampling points.
    workers : int, optional
        Frames that are registered at a time; the result does not depend on it.

    Returns
    -------
    Volume
        The cine on its reference. Grey levels are those of the nearest pixel; linear power is interpolated,
        and a pixel that is mostly a saturated one counts as saturated. NaN where a frame does not reach.
    CineMotion

    Raises
    ------
    UnsupportedInput
        If it is no cine of a single slice.
    NothingUsable
        If the reference has no contrast.
    ValueError
        If an option is unknown.
    """
    _check(volume, rejected)
    inside = tissue_mask(volume, region) if mask is None else mask
    shown = _shown(volume)
    _, report = align_series(
        shown,
        reference=reference,
        mask=inside,
        metric=metric,
        threshold_mm=threshold_mm,
        rng=rng,
        workers=workers,
    )
    pixel_mm = min(volume.grid.spacing_mm[:2])
    allowed = pixel_mm if largest_residual_mm is None else float(largest_residual_mm)
    failed = ~report.registered | ~(np.nan_to_num(report.residual_mm, nan=np.inf) <= allowed)
    moved = _resampled(volume, report, failed, workers)
    numbers = tuple(int(n) for n in np.flatnonzero(failed))
    if rejected == "nan" and numbers:
        moved[..., list(numbers)] = np.nan
    found = CineMotion(report, numbers)
    step = make_step(
        "motion_compensate",
        reference=reference,
        metric=metric,
        interpolation="nearest" if volume.quantity == "signal" else "linear, of linear power",
        corrected=np.flatnonzero(report.corrected & ~failed).tolist(),
        rejected=list(numbers),
        rejected_frames="not a number" if rejected == "nan" else "as they were",
    )
    result = volume.derived(moved, volume.quantity, volume.unit, step)
    return result.replace(warnings=merge_cautions(volume.warnings, found.warnings)), found


def _check(volume: Volume, rejected: str) -> None:
    if rejected not in ("nan", "keep"):
        raise ValueError(f"rejected must be nan or keep, not {rejected!r}")
    if volume.axis("time") is None or len(volume.axes) != 1 or volume.grid.shape[2] != 1:
        raise UnsupportedInput(
            "motion is taken out of a cine of one slice",
            found=f"{volume.grid.shape[2]} slices, axes {', '.join(a.name for a in volume.axes) or 'none'}",
            needed="one slice, frames along time",
        )


def _shown(volume: Volume) -> Volume:
    """What is registered: a logarithmic scale, in which tissue shows and single bright echoes do not rule."""
    data = volume.data
    if volume.quantity == "echo_intensity":
        known = data[np.isfinite(data) & (data > 0)]
        least = float(known.min()) if known.size else 1.0
        data = np.log(np.maximum(data, np.float32(least)))
    return volume.replace(data=data, quantity="signal", unit="[arb'U]", warnings=())


def _resampled(
    volume: Volume, report: MotionReport, failed: npt.NDArray[np.bool_], workers: int | None
) -> npt.NDArray[np.float32]:
    """All frames through their transforms; those that were not moved, voxel for voxel."""
    out = np.array(volume.data, order="F")
    scale = EchoScale.of(volume) if volume.quantity == "echo_intensity" else None
    for n in np.flatnonzero(report.corrected & ~failed):
        frame = volume.replace(data=volume.data[..., n], axes=(), warnings=())
        out[..., n] = _moved(frame, report.matrices[n], scale, workers)
    return out


def _moved(
    frame: Volume, matrix: FloatArray, scale: EchoScale | None, workers: int | None
) -> npt.NDArray[Any]:
    options: dict[str, Any] = {"like": frame, "workers": workers}
    if frame.quantity == "signal":
        return resample(frame, matrix, interpolation="nearest", **options).data
    if frame.quantity == "echo_level":
        power = frame.replace(data=10.0 ** (frame.data.astype(np.float64) / 10.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10.0 * np.log10(resample(power, matrix, **options).data.astype(np.float64)))
    moved = np.array(resample(frame, matrix, **options).data)
    if scale is not None:
        top = np.float32(scale.ceiling)
        touched = replace(frame, data=(frame.data >= top).astype(np.float32))
        share = resample(touched, matrix, **options).data
        moved[(share > _MOSTLY) & np.isfinite(moved)] = top
    return moved
