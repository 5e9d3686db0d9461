"""Rigid motion of a cine, frame by frame: resampled without averaging decibels, failed frames named.

The transform of each frame is found by phase correlation and tiles of the tissue, and where these do not
convince by `imgtheranostics.registration.align_series`. Values between pixels are means of neighbours, which
are only right of linear power: grey levels move by whole pixels, decibels by way of power.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.regions import Regions
from imgtheranostics.registration import MotionReport, align_series, resample
from imgtheranostics.registration.matching import as_mask
from imgtheranostics.registration.movement import reference_place
from imgtheranostics.registration.optimising import METRICS, Metric
from imgtheranostics.ultrasound.cine_matching import Frames, Matching, match_cine
from imgtheranostics.ultrasound.echo_scale import EchoScale
from imgtheranostics.ultrasound.tissue_area import tissue_mask
from imgtheranostics.volume import Volume, make_step

FloatArray = npt.NDArray[np.float64]

OnFailure = Literal["nan", "keep"]
Method = Literal["auto", "phase", "search"]

METHODS: tuple[Method, ...] = get_args(Method)
"""Ways to find how a frame has moved."""

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
    searched : tuple of int
        Frames that phase correlation left open, so that the slow search decided.
    """

    report: MotionReport
    rejected: tuple[int, ...]
    searched: tuple[int, ...] = ()

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
    method: Method = "auto",
    metric: Metric = "mutual_information",
    threshold_mm: float | None = None,
    largest_residual_mm: float | None = None,
    rejected: OnFailure = "nan",
    rng: int | np.random.Generator = 0,
    workers: int | None = None,
) -> tuple[Volume, CineMotion]:
    """Take rigid motion within the plane out of a cine.

    Phase correlation finds the shift of a frame; Gauss-Newton steps on the correlations of tiles of the
    tissue find parts of pixels and the turn. That stands if the correlation has a clear peak, both ways agree
    within 1.5 pixels, the tiles are correlated with the reference at all, and the two colours of their
    checkerboard give the same motion within half a pixel, each alone; half of how far these lie apart is the
    residual. From 16 such frames on, the mean of up to 48 replaces the reference in a second look, since its
    speckle is noise as well; the reference itself stays where it is. On breathing phantoms with speckle
    of one pixel, a frame is off by 0.03 to 0.06 pixels rms along the motion, most of which all frames share.

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
    method : {"auto", "phase", "search"}
        "auto" searches (`imgtheranostics.registration.align_series`, about half a second a frame) where the
        fast way does not convince; "phase" rejects such frames instead; "search" is slow for all.
    metric : {"mutual_information", "correlation"}
        Of the search. The first does not mind that the agent brightens the image.
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
    _check(volume, method, metric, rejected)
    report, searched = _registered(
        volume,
        method,
        Matching(
            place=reference_place(reference, volume.shape[-1]),
            inside=_inside(volume, mask, region),
            metric=metric,
            still_mm=threshold_mm,
            seed=rng,
            workers=workers,
            search=method != "phase",
        ),
    )
    pixel_mm = min(volume.grid.spacing_mm[:2])
    allowed = pixel_mm if largest_residual_mm is None else float(largest_residual_mm)
    failed = ~report.registered | ~(np.nan_to_num(report.residual_mm, nan=np.inf) <= allowed)
    moved = _resampled(volume, report, failed, workers)
    numbers = tuple(int(n) for n in np.flatnonzero(failed))
    if rejected == "nan" and numbers:
        moved[..., list(numbers)] = np.nan
    found = CineMotion(report, numbers, searched)
    step = make_step(
        "motion_compensate",
        reference=reference,
        method=method,
        metric=metric,
        searched=list(searched),
        interpolation="nearest" if volume.quantity == "signal" else "linear, of linear power",
        corrected=np.flatnonzero(report.corrected & ~failed).tolist(),
        rejected=list(numbers),
        rejected_frames="not a number" if rejected == "nan" else "as they were",
    )
    result = volume.derived(moved, volume.quantity, volume.unit, step)
    return result.replace(warnings=merge_cautions(volume.warnings, found.warnings)), found


def _check(volume: Volume, method: str, metric: str, rejected: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if rejected not in ("nan", "keep"):
        raise ValueError(f"rejected must be nan or keep, not {rejected!r}")
    if volume.axis("time") is None or len(volume.axes) != 1 or volume.grid.shape[2] != 1:
        raise UnsupportedInput(
            "motion is taken out of a cine of one slice",
            found=f"{volume.grid.shape[2]} slices, axes {', '.join(a.name for a in volume.axes) or 'none'}",
            needed="one slice, frames along time",
        )


def _inside(
    volume: Volume, mask: npt.ArrayLike | Volume | Regions | None, region: int | None
) -> npt.NDArray[np.bool_]:
    given = tissue_mask(volume, region) if mask is None else mask
    inside = as_mask(given, volume.frame(0))
    return np.ones(volume.shape[:3], bool) if inside is None else inside


def _registered(volume: Volume, method: Method, options: Matching) -> tuple[MotionReport, tuple[int, ...]]:
    """The motion of all frames, and which of them were searched for."""
    if method != "search":
        return match_cine(volume, options)
    frames = Frames.of(volume)
    data = np.empty(volume.shape, np.float32, order="F")
    for n in range(len(frames)):
        data[:, :, 0, n] = frames.image(n)
    _, report = align_series(
        volume.replace(data=data, quantity="signal", unit="[arb'U]", warnings=()),
        reference="mean" if options.place is None else options.place,
        mask=options.inside,
        metric=options.metric,
        threshold_mm=options.still_mm,
        rng=options.seed,
        workers=options.workers,
    )
    return report, tuple(n for n in range(len(frames)) if n != options.place)


def _resampled(
    volume: Volume, report: MotionReport, failed: npt.NDArray[np.bool_], workers: int | None
) -> npt.NDArray[np.float32]:
    """All frames through their transforms; those that were not moved, voxel for voxel."""
    out = np.array(volume.data, order="F")
    scale = EchoScale.of(volume) if volume.quantity == "echo_intensity" else None

    def one(n: int) -> None:
        frame = volume.replace(data=volume.data[..., n], axes=(), warnings=())
        out[..., n] = _moved(frame, report.matrices[n], scale)

    chosen = np.flatnonzero(report.corrected & ~failed).tolist()
    if workers == 1:
        for n in chosen:
            one(n)
        return out
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, chosen):
            pass
    return out


def _moved(frame: Volume, matrix: FloatArray, scale: EchoScale | None) -> npt.NDArray[Any]:
    options: dict[str, Any] = {"like": frame, "workers": 1}
    if frame.quantity == "signal":
        return resample(frame, matrix, interpolation="nearest", **options).data
    if frame.quantity == "echo_level":
        power = frame.replace(data=10.0 ** (frame.data.astype(np.float64) / 10.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10.0 * np.log10(resample(power, matrix, **options).data.astype(np.float64)))
    moved = np.array(resample(frame, matrix, **options).data)
    clipped = None if scale is None else frame.data >= np.float32(scale.ceiling)
    if scale is not None and clipped is not None and clipped.any():
        top = np.float32(scale.ceiling)
        touched = replace(frame, data=clipped.astype(np.float32))
        share = resample(touched, matrix, **options).data
        moved[(share > _MOSTLY) & np.isfinite(moved)] = top
    return moved
