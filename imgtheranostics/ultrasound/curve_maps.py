"""Time-intensity analysis of a contrast cine: curves of regions, and maps pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import estimate_of
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.mapping.voxels import Chosen, Mask, mask_array
from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound import curves as array_level
from imgtheranostics.ultrasound.baseline_power import Frames, frame_list
from imgtheranostics.ultrasound.cine_series import Series, one_run, series_of, time_axis
from imgtheranostics.ultrasound.echo_scale import EchoScale, linear_power, scale_decision
from imgtheranostics.ultrasound.region_curve_table import RegionCurves
from imgtheranostics.ultrasound.region_power import LARGEST_SATURATED
from imgtheranostics.ultrasound.time_intensity import (
    BOLUS_MAPS,
    QUANTITIES_OF,
    REPLENISHMENT_MAPS,
    TimeIntensity,
)
from imgtheranostics.ultrasound.tissue_area import tissue_mask
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

if TYPE_CHECKING:
    from collections.abc import Mapping

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


def curves(
    volume: Volume,
    *,
    rois: Regions | None = None,
    model: str = "lognormal",
    dynamic_range_db: float | None = None,
    baseline: str = "fit",
    baseline_frames: Frames | None = None,
    reference: str | None = None,
    burst_time_s: float | None = None,
    maps: bool = True,
    mask: Mask = None,
    window_pixels: int = 1,
    gamma: float = 1.0,
    gain_db: float = 0.0,
    grey_max: float | None = None,
    region: int | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> TimeIntensity:
    """Time-intensity curves of regions and maps of a contrast cine, on linear echo power.

    Parameters
    ----------
    volume : Volume
        A cine along ``time``: grey levels, ``echo_level`` in dB or ``echo_intensity``. Frames without any
        finite pixel, as motion compensation leaves where it rejects one, are left out.
    rois : Regions, optional
        On the grid of the cine. Pixels outside the calibrated tissue region of the file do not count.
    model, baseline, burst_time_s
        As in `imgtheranostics.ultrasound.curves.fit`.
    dynamic_range_db : float, optional
        Needed for grey levels, unless the sidecar states it.
    baseline_frames : int, slice, range, (first, stop) or sequence of int, optional
        Frames before the agent, in one run, for the measures read off the samples; without them those
        before the fitted arrival.
    reference : str, optional
        One of the regions: ratios to it are reported too, since echo power has no absolute scale.
    maps : bool
        Whether to fit every pixel.
    mask : Volume, Regions or array, optional
        Pixels to fit; by default all of the tissue.
    window_pixels : int
        Odd: maps are fitted to means of so many pixels along both directions of the image. A single pixel
        of fully developed speckle has a signal-to-noise ratio of 1.
    gamma, gain_db, grey_max
        As in `imgtheranostics.ultrasound.linearise`.
    region : int, optional
        Number of the calibrated tissue region of the file, where there are several.
    subject, session : str, optional
        Labels for the table.
    workers : int, optional
        Threads.

    Returns
    -------
    TimeIntensity
        Standard errors come from the residuals of each region's mean curve, or pixel's: neighbouring pixels
        are correlated and none counts as independent, and the correlation in time of the residuals is taken
        into account. Speckle that is the same in all frames is no residual: it belongs to the region as it
        was imaged. Frames with more than 1 % saturated pixels are left out of a region's curve and counted;
        pixels saturated in more than 1 % of the frames are NaN, with `Flag.SATURATED`.

    Raises
    ------
    MissingMetadata
        If the dynamic range is not known.
    UnsupportedInput
        If it is no cine, or too short.
    UnitMismatch, GeometryMismatch, ImplausibleValue
        As `linearise`.
    KeyError
        If the reference is none of the regions.
    ValueError
        If a choice does not exist.
    """
    checked(model, array_level.MODELS, "model")
    checked(baseline, array_level.BASELINES, "baseline")
    if window_pixels < 1 or window_pixels % 2 == 0:
        raise ValueError(f"window_pixels must be odd and at least 1, not {window_pixels}")
    time = time_axis(volume)
    if rois is not None and reference is not None:
        rois.number(reference)
    if rois is None and (reference is not None or not maps):
        raise ValueError("without regions there are only maps, and no reference")
    linear = linear_power(
        volume,
        dynamic_range_db=dynamic_range_db,
        gamma=gamma,
        gain_db=gain_db,
        grey_max=grey_max,
        workers=workers,
    )
    series, cautions = series_of(linear, time, model, baseline, burst_time_s)
    inside = tissue_mask(volume, region)
    decisions = _decisions(series, window_pixels)
    first = None if baseline_frames is None else one_run(frame_list(baseline_frames, len(time)))
    regional = None
    if rois is not None:
        regional = RegionCurves.of(series, rois, inside, first, reference)
        cautions = merge_cautions(cautions, rois.warnings, regional.warnings)
    estimates: Mapping[str, Estimate] = {}
    if maps:
        estimates = _maps(series, inside, mask, window_pixels, decisions, cautions, workers)
    labels = {
        "subject": subject if subject is not None else volume.source.subject,
        "session": session if session is not None else volume.source.session,
    }
    return TimeIntensity(
        None if regional is None else regional.table(labels, merge_cautions(linear.warnings, cautions)),
        estimates,
        () if regional is None else regional.curve_fits(),
        {} if regional is None else regional.fits(),
        decisions,
        merge_cautions(linear.warnings, cautions),
    )


def _decisions(series: Series, window_pixels: int) -> dict[str, Any]:
    decided: dict[str, Any] = {
        "method": {"rule": series.model, "baseline": series.baseline, "scale": "linear echo power"},
        "linearisation": scale_decision(series.linear),
        "areas": {
            "wash_in_area": "from arrival t0 to the peak",
            "wash_in_area_from_ti": "from the foot TI of the steepest rising tangent to the peak",
            "wash_out_area": "from the peak to the foot TO of the steepest falling tangent",
        },
        "standard_errors": {
            "rule": "residuals of the curve: variance v0 + v1 level^2, autocorrelation of the residuals",
            "leaves_out": "speckle that is the same in all frames",
        },
        "frames": {"rule": "all with pixels", "n": int(series.frames.size)},
    }
    if series.model == "replenishment":
        decided["burst"] = {
            "rule": "time 0" if series.burst_time_s is None else "given",
            "time_s": series.burst_time_s or 0.0,
        }
        del decided["areas"]
    if window_pixels > 1:
        decided["window"] = {
            "rule": "mean of linear power around each pixel of the maps",
            "pixels": window_pixels,
        }
    return decided


def _maps(
    series: Series,
    inside: npt.NDArray[np.bool_],
    mask: Mask,
    window_pixels: int,
    decisions: Mapping[str, Any],
    cautions: tuple[Caution, ...],
    workers: int | None,
) -> dict[str, Estimate]:
    linear = series.linear
    within = inside if mask is None else inside & mask_array(mask, linear)
    flags = np.where(within, 0, Flag.MASKED_OUT.value).astype(np.uint16, order="F")
    chosen = Chosen(within, flags, {"rule": "tissue" if mask is None else "mask"})
    samples = linear.data
    if series.frames.size < samples.shape[-1]:
        samples = np.asfortranarray(samples[..., series.frames])
    saturated = _saturated(linear, series.frames)
    if window_pixels > 1:
        samples = _window_means(samples, window_pixels)
    fit = series.fit(samples, mask=within, workers=workers)
    fit = _without_saturated(fit, saturated)
    step = make_step("time_intensity", model=series.model, baseline=series.baseline, window=window_pixels)
    bare = linear.replace(axes=(), data=linear.data[..., 0], warnings=())
    names = REPLENISHMENT_MAPS if series.model == "replenishment" else BOLUS_MAPS
    warned = merge_cautions(linear.warnings, cautions)
    return {
        QUANTITIES_OF[name]: estimate_of(
            bare, fit, name, QUANTITIES_OF[name], step, chosen, decisions=decisions, warnings=warned
        )
        for name in names
    }


def _saturated(linear: Volume, frames: IndexArray) -> npt.NDArray[np.float64] | None:
    """Share of saturated samples of each pixel, (i, j, k); None where nobody knows."""
    scale = EchoScale.of(linear)
    if scale is None:
        return None
    count = np.zeros(linear.grid.n_voxels, np.int32)
    top = np.float32(scale.ceiling)
    for n in frames:
        count += linear.planar[n] >= top
    return (count / frames.size).reshape(linear.grid.shape, order="F")


def _without_saturated(fit: Fit, share: npt.NDArray[np.float64] | None) -> Fit:
    """The fit with a flag where samples were cut off at the top, and without a number where too many were."""
    if share is None or not share.any():
        return fit
    flags = np.array(fit.flags)
    flags[(share > 0) & (flags & Flag.MASKED_OUT.value == 0)] |= Flag.SATURATED.value
    refused = share > LARGEST_SATURATED

    def cleared(arrays: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, npt.NDArray[np.floating]]:
        return {
            name: np.where(refused, np.nan, values).astype(values.dtype) for name, values in arrays.items()
        }

    return replace(
        fit,
        parameters=cleared(fit.parameters),
        standard_errors=cleared(fit.standard_errors),
        flags=flags,
    )


def _window_means(samples: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Means over a square of pixels in every frame, mirrored at the edges."""
    from scipy.ndimage import uniform_filter

    out = np.empty(samples.shape, np.float32, order="F")
    for n in range(samples.shape[-1]):
        for k in range(samples.shape[2]):
            plane = uniform_filter(samples[:, :, k, n].astype(np.float64), size, mode="mirror")
            out[:, :, k, n] = plane
    return out
