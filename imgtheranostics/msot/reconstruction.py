"""Reconstruction of raw optoacoustic signals to a Volume that records every decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue, MissingMetadata
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.msot.beamforming import KINDS, back_project, beamformer
from imgtheranostics.msot.detector_array import (
    DetectorArray,
    check_image_grid,
    detector_array,
    distance_range,
)
from imgtheranostics.msot.frame_layout import FrameKind, FrameLayout, frame_layout
from imgtheranostics.msot.image_grid import (
    PIXEL_MM,
    SLICE_THICKNESS_MM,
    ImageGrid,
    image_grid,
    ras_from_scanner,
)
from imgtheranostics.msot.model_based import ModelFit, fit_image, sound_model
from imgtheranostics.msot.signal_preparation import SignalFilter, prepare, usable_window
from imgtheranostics.msot.sound_focus import FASTEST_M_S, SLOWEST_M_S, FocusedSpeed, focused_speed
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import Axis, FloatArray, Volume

Method = Literal["backprojection", "delay_and_sum", "model"]

LOW_HZ, HIGH_HZ = 5e4, 6.5e6
"""Band of detectors around 5 MHz."""

HIGHEST_OF_RATE = 0.4
"""Upper edge of the band over the sampling rate, at most, where none is given."""

PLAUSIBLE_M_S = (1300.0, 1700.0)
"""Speeds of sound of couplants and soft tissue, fat to muscle."""

RESPONSE_OUTSIDE = 1e-3
"""Part of an impulse response's energy away from its middle that is worth a caution."""

Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Setup:
    """What does not depend on the speed of sound or the method."""

    array: DetectorArray
    grid: ImageGrid
    band_hz: tuple[float, float]
    response: FloatArray | None
    cautions: tuple[Caution, ...]

    def signal_filter(self, signals: OptoacousticSignals, speeds_m_s: tuple[float, float]) -> SignalFilter:
        """The filter, with the window of all times of flight for the slowest and fastest speed."""
        distances = distance_range(self.array, self.grid.low_mm, self.grid.high_mm)
        rate, start, n = signals.sampling_rate_hz, signals.first_sample_s, signals.shape[3]
        window = usable_window(distances, speeds_m_s, rate, start, n)
        if window[1] <= window[0]:
            raise GeometryMismatch(
                "nothing of the image was recorded",
                where="samples",
                found=f"{start * 1e6:.3g} to {(start + n / rate) * 1e6:.3g} us after the laser pulse",
                needed=f"sound from {distances[0]:.3g} to {distances[1]:.3g} mm away",
                next_step="check centre_mm, the positions of the detectors and the first sample's time",
            )
        return SignalFilter(rate, start, self.band_hz, window, self.response)


def reconstruct(
    signals: OptoacousticSignals,
    *,
    method: Method = "backprojection",
    pixel_mm: float = PIXEL_MM,
    shape: tuple[int, ...] | None = None,
    centre_mm: npt.ArrayLike | None = None,
    speed_of_sound_m_s: float | str | None = None,
    band_hz: tuple[float, float] | None = None,
    deconvolve: bool = True,
    frames: FrameKind = "auto",
    orientation: str | None = None,
    slice_thickness_mm: float | None = None,
    non_negative: bool = True,
    regularisation: float = 0.0,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    workers: int | None = None,
) -> Volume:
    """Image of raw optoacoustic signals.

    Parameters
    ----------
    signals : OptoacousticSignals
    method : {"backprojection", "delay_and_sum", "model"}
        ``backprojection`` is the universal back-projection of 2 p - 2 t dp/dt, weighted by the solid angles
        of the detectors [1]_. ``delay_and_sum`` is the mean over the detectors of the Hilbert transform of p,
        which unlike p has its top where the absorber is; it needs no direction of the detectors, and its
        values depend on the size of absorbers. ``model`` fits an image to the signals by accelerated
        projected gradients; see `imgtheranostics.msot.model_based`.
    pixel_mm : float
        Size of pixels along all axes of the scanner.
    shape : (nx, ny) or (nx, ny, nz), optional
        Pixels along the scanner's x, y and z; 333 x 333 for rings around z.
    centre_mm : (3,) array_like, optional
        Middle of the image; the centre of curvature of the detectors by default.
    speed_of_sound_m_s : float or "focus", optional
        That of `signals` by default. ``focus`` takes the one that makes the image sharpest, of the mean of
        all frames and wavelengths.
    band_hz : (low, high), optional
        Edges of the zero-phase band-pass, where it halves the amplitude; 50 kHz to 6.5 MHz by default, or to
        0.4 times a low sampling rate. A low edge of 0 leaves out the high-pass.
    deconvolve : bool
        Take the impulse response of the detectors out of the signals where `signals` has it.
    frames : {"auto", "time", "slices", "mean"}
        What frames are; ``auto`` makes slices of them where the stage moved, else times.
    orientation : str, optional
        Where the animal's sides are in the scanner: three letters for +x, +y and +z, such as ``LPS``. No file
        states it; without it the scanner's axes are taken as RAS, with a caution.
    slice_thickness_mm : float, optional
        Extent of the pixels along z where there is one slice, 1 mm by default for rings around z.
    non_negative, regularisation, max_iterations, tolerance
        Of ``model``: `regularisation` damps noise, relative to the largest singular value; iterations end
        when one changes the image by less than `tolerance` of its norm.
    workers : int, optional
        Threads.

    Returns
    -------
    Volume
        ``optoacoustic_signal`` (i, j, k[, time], wavelength) along the scanner's x, y and z, proportional to
        initial pressure. NaN where no detector recorded. The step ``reconstruct`` of the history holds speed
        of sound and where it is from, band, method, and what else was decided.

    Raises
    ------
    MissingMetadata
        If positions of detectors, speed of sound or times of frames are not known.
    ImplausibleValue
        If the speed of sound is that of no tissue; an offset is none.
    GeometryMismatch
        If the image reaches the detectors, nothing of it was recorded, or the stage moved unevenly.
    IllConditioned
        If no speed of sound brings the image into focus.
    ValueError
        If options do not fit.

    References
    ----------
    .. [1] Xu and Wang, doi:10.1103/PhysRevE.71.016706.
    """
    if method not in KINDS:
        raise ValueError(f"method must be one of {', '.join(KINDS)}, found {method!r}")
    if max_iterations < 1 or not tolerance > 0 or not regularisation >= 0:
        raise ValueError("max_iterations and tolerance must be positive, regularisation not negative")
    if slice_thickness_mm is not None and not slice_thickness_mm > 0:
        raise ValueError(f"slice_thickness_mm must be positive, found {slice_thickness_mm}")
    ras_from_scanner(orientation or "RAS")
    setup = _setup(signals, pixel_mm, shape, centre_mm, band_hz, deconvolve)
    layout = frame_layout(signals, frames)
    if layout.kind == "slices" and setup.grid.shape[2] != 1:
        raise ValueError("frames that are slices need an image of one slice: shape=(nx, ny)")
    speed, speed_source = _speed(signals, setup, method, speed_of_sound_m_s, workers)
    signal_filter = setup.signal_filter(signals, (speed, speed))
    fits: list[ModelFit] = []
    if method == "model":
        options = {
            "non_negative": non_negative,
            "regularisation": regularisation,
            "max_iterations": max_iterations,
            "tolerance": tolerance,
        }
        planes = _modelled(signals, setup, signal_filter, layout, speed, options, fits, workers)
    else:
        former = beamformer(setup.array, setup.grid, method, signal_filter)
        images = _images(signals, setup.array, layout)
        planes = back_project(former, images, _count(signals, layout), KINDS[method], speed, workers)
    decisions = _decisions(signals, setup, layout, signal_filter, method, speed, speed_source, orientation)
    if fits:
        decisions |= options | _of_fits(fits)
    volume = _volume(planes, signals, setup.grid, layout, speed, orientation, slice_thickness_mm)
    return volume.with_step("reconstruct", **decisions).with_warnings(
        *setup.cautions, *_cautions(signals, volume, orientation, fits)
    )


def focus_speed_of_sound(
    signals: OptoacousticSignals,
    *,
    method: Method = "backprojection",
    pixel_mm: float = PIXEL_MM,
    shape: tuple[int, ...] | None = None,
    centre_mm: npt.ArrayLike | None = None,
    band_hz: tuple[float, float] | None = None,
    deconvolve: bool = True,
    workers: int | None = None,
) -> FocusedSpeed:
    """Speed of sound that makes the image of the mean of all frames and wavelengths sharpest.

    Speeds of 1350 to 1650 m/s are tried in steps of 5, then of 1 around the best, whose place between is that
    of a parabola. One speed stands for couplant and tissue together.

    Parameters
    ----------
    signals, method, pixel_mm, shape, centre_mm, band_hz, deconvolve, workers
        As `reconstruct` takes them; ``model`` looks at images by back-projection.

    Returns
    -------
    FocusedSpeed

    Raises
    ------
    IllConditioned
        If no speed brings the image into focus.
    """
    setup = _setup(signals, pixel_mm, shape, centre_mm, band_hz, deconvolve)
    signal_filter = setup.signal_filter(signals, (SLOWEST_M_S, FASTEST_M_S))
    former = beamformer(setup.array, setup.grid, method, signal_filter) if method == "delay_and_sum" else None
    former = former or beamformer(setup.array, setup.grid, "backprojection", signal_filter)
    mean = signals.samples[:, :, setup.array.used].mean(axis=(0, 1), dtype=np.float64)
    return focused_speed(former, mean, workers)


def _setup(
    signals: OptoacousticSignals,
    pixel_mm: float,
    shape: tuple[int, ...] | None,
    centre_mm: npt.ArrayLike | None,
    band_hz: tuple[float, float] | None,
    deconvolve: bool,
) -> _Setup:
    array = detector_array(signals)
    grid = image_grid(array, pixel_mm=pixel_mm, shape=shape, centre_mm=centre_mm)
    check_image_grid(array, grid.low_mm, grid.high_mm)
    rate = signals.sampling_rate_hz
    if band_hz is None:
        band_hz = LOW_HZ, min(HIGH_HZ, HIGHEST_OF_RATE * rate)
    low, high = float(band_hz[0]), float(band_hz[1])
    if not 0 <= low < high <= rate / 2:
        raise ValueError(
            f"band_hz must rise from 0 at least to half the sampling rate of {rate:g} Hz at most, "
            f"found {low:g} to {high:g}"
        )
    response, cautions = _middle_of_response(signals) if deconvolve else (None, ())
    return _Setup(array, grid, (low, high), response, (*array.cautions, *cautions))


def _middle_of_response(signals: OptoacousticSignals) -> tuple[FloatArray | None, tuple[Caution, ...]]:
    """The middle half of the impulse response: some files keep a mark in the first sample."""
    response = signals.impulse_response
    if response is None:
        return None, ()
    quarter = response.size // 4
    middle = response.copy()
    middle[:quarter] = 0.0
    middle[response.size - quarter :] = 0.0
    if not np.isfinite(response).all() or not np.any(middle):
        text = "the impulse response has nothing finite around its middle and is not used"
        return None, (Caution("impulse-response-not-used", text, "impulse_response"),)
    if np.sum(middle**2) < (1 - RESPONSE_OUTSIDE) * np.sum(response**2):
        text = "samples away from the middle of the impulse response are taken for a mark and not used"
        return middle, (Caution("impulse-response-cut", text, "impulse_response"),)
    return middle, ()


def _speed(
    signals: OptoacousticSignals,
    setup: _Setup,
    method: Method,
    asked: float | str | None,
    workers: int | None,
) -> tuple[float, str]:
    """Speed of sound and where it is from."""
    offset = signals.speed_of_sound_offset_m_s
    if asked == "focus":
        found = focus_speed_of_sound(
            signals,
            method=method,
            pixel_mm=setup.grid.pixel_mm,
            shape=setup.grid.shape,
            centre_mm=setup.grid.centre_mm,
            band_hz=setup.band_hz,
            deconvolve=setup.response is not None,
            workers=workers,
        )
        return found.speed_of_sound_m_s, "focus"
    speed = signals.speed_of_sound_m_s if asked is None else asked
    if speed is None:
        raise MissingMetadata(
            "the speed of sound is not known",
            where="speed_of_sound_m_s",
            found=None if offset is None else f"an offset of {offset:g} m/s, which is no speed",
            needed="the speed of sound between detectors and subject in m/s",
            next_step="give speed_of_sound_m_s, or 'focus' for that of the sharpest image",
        )
    if isinstance(speed, str):
        raise ValueError(f"speed_of_sound_m_s must be a number or 'focus', found {speed!r}")
    slowest, fastest = PLAUSIBLE_M_S
    if not slowest <= speed <= fastest:
        likely = (
            "TrimSpeedOfSound and the like are offsets from the couplant's speed; "
            if abs(speed) < 300
            else ""
        )
        raise ImplausibleValue(
            "the speed of sound is that of no tissue or couplant",
            where="speed_of_sound_m_s",
            found=f"{speed:g} m/s",
            needed=f"{slowest:g} to {fastest:g} m/s",
            next_step=f"{likely}give the speed itself, or speed_of_sound_m_s='focus'",
        )
    return float(speed), "file" if asked is None else "given"


def _count(signals: OptoacousticSignals, layout: FrameLayout) -> int:
    return (1 if layout.kind == "mean" else signals.n_frames) * signals.shape[1]


def _images(signals: OptoacousticSignals, array: DetectorArray, layout: FrameLayout) -> Iterator[Array32]:
    """Signals of each image, wavelength after wavelength; within one, frames in their order."""
    for wavelength in range(signals.shape[1]):
        samples = signals.samples[:, wavelength]
        if layout.kind == "mean":
            yield samples[:, array.used].mean(axis=0, dtype=np.float64).astype(np.float32)
            continue
        for frame in layout.order:
            yield samples[frame, array.used]


def _modelled(
    signals: OptoacousticSignals,
    setup: _Setup,
    signal_filter: SignalFilter,
    layout: FrameLayout,
    speed: float,
    options: Mapping[str, Any],
    fits: list[ModelFit],
    workers: int | None,
) -> Array32:
    """Images by fitting; `fits` is told how each went."""
    with thread_limit(workers) as threads:
        model = sound_model(
            signal_filter,
            setup.grid.points_mm,
            setup.array.positions_mm,
            speed_m_s=speed,
            pixel_mm=setup.grid.pixel_mm,
            n_axes=sum(n > 1 for n in setup.grid.shape),
            n_samples=signals.shape[3],
            workers=threads,
        )
        for samples in _images(signals, setup.array, layout):
            prepared = prepare(samples, signal_filter, KINDS["model"], threads)
            fits.append(fit_image(model, prepared, **options))
    return np.stack([fit.image for fit in fits]).reshape(-1, *setup.grid.shape[::-1])


def _of_fits(fits: list[ModelFit]) -> dict[str, Any]:
    return {
        "iterations": [fit.iterations for fit in fits],
        "converged": [fit.converged for fit in fits],
        "relative_residual": [round(fit.residual, 6) for fit in fits],
    }


def _decisions(
    signals: OptoacousticSignals,
    setup: _Setup,
    layout: FrameLayout,
    signal_filter: SignalFilter,
    method: Method,
    speed: float,
    speed_source: str,
    orientation: str | None,
) -> dict[str, Any]:
    """What the history says of a reconstruction."""
    response = "deconvolved" if setup.response is not None else "not deconvolved"
    if signals.impulse_response is None:
        response = "not stated"
    decisions: dict[str, Any] = {
        "method": method,
        "speed_of_sound_m_s": round(speed, 3),
        "speed_of_sound_from": speed_source,
        "band_hz": list(setup.band_hz),
        "window_samples": list(signal_filter.window),
        "impulse_response": response,
        "first_sample_s": signals.first_sample_s,
        "pixel_mm": setup.grid.pixel_mm,
        "shape": list(setup.grid.shape),
        "centre_mm": [round(float(value), 6) for value in setup.grid.centre_mm],
        "detectors_used": int(setup.array.used.size),
        "detectors": signals.shape[2],
        "detectors_on": setup.array.shape,
        "frames": layout.kind,
        "orientation": orientation or "not stated, taken as RAS",
    }
    if setup.response is not None:
        decisions["response_noise"] = signal_filter.response_noise
    if setup.array.radius_mm is not None:
        decisions["radius_mm"] = round(setup.array.radius_mm, 4)
    return decisions


def _volume(
    planes: Array32,
    signals: OptoacousticSignals,
    grid: ImageGrid,
    layout: FrameLayout,
    speed: float,
    orientation: str | None,
    slice_thickness_mm: float | None,
) -> Volume:
    """The images (wavelengths * frames, nz, ny, nx) as a Volume."""
    n = signals.shape[1]
    nx, ny, nz = grid.shape
    axes: tuple[Axis, ...] = (Axis("wavelength", signals.wavelength_nm, "nm"),)
    thickness = slice_thickness_mm or (SLICE_THICKNESS_MM if nz == 1 else grid.pixel_mm)
    if layout.kind == "slices" and layout.step_mm is not None:
        data, thickness = planes.reshape(n, -1, ny, nx), layout.step_mm
    elif layout.time is not None:
        data, axes = planes.reshape(n, -1, nz, ny, nx), (layout.time, *axes)
    else:
        data = planes.reshape(n, nz, ny, nx)
    energy = signals.laser_energy_mj
    record = PhotoacousticAcquisition(
        manufacturer=signals.manufacturer,
        model=signals.model,
        wavelength_nm=tuple(float(value) for value in signals.wavelength_nm),
        speed_of_sound_m_s=speed,
        laser_energy_mj=() if energy is None else tuple(float(value) for value in energy.mean(axis=0)),
        energy_corrected=signals.energy_corrected,
        image_type="raw-au",
        subject=signals.subject,
    )
    return Volume(
        data.T,
        grid.affine(orientation or "RAS", thickness, layout.stage_mm),
        "optoacoustic_signal",
        "[arb'U]",
        axes,
        record,
        signals.history,
        signals.warnings,
        signals.source,
    )


def _cautions(
    signals: OptoacousticSignals, volume: Volume, orientation: str | None, fits: list[ModelFit]
) -> list[Caution]:
    """What a reader of the image should know."""
    cautions = []
    if orientation is None:
        text = "no file states how the animal lay: the scanner's x, y and z are taken as R, A and S"
        cautions.append(Caution("orientation-not-stated", text, "orientation"))
    if signals.shape[1] > 1 and not signals.energy_corrected:
        text = "the signals are not divided by the laser energy: wavelengths are not comparable"
        cautions.append(Caution("energy-not-corrected", text, "energy_corrected"))
    missing = int(np.count_nonzero(np.isnan(volume.data)))
    if missing:
        text = f"{missing} pixels are further from all detectors than was recorded, and NaN"
        cautions.append(Caution("outside-recording", text, "samples"))
    failed = sum(not fit.converged for fit in fits)
    if failed:
        text = f"{failed} of {len(fits)} images were still changing when the iterations ended"
        cautions.append(Caution("not-converged", text, "max_iterations"))
    return cautions
