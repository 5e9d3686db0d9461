"""Reconstruction of raw optoacoustic signals to a Volume that records every decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.msot.beamforming import KINDS, back_project, beamformer
from imgtheranostics.msot.frame_layout import FrameKind, FrameLayout, frame_layout
from imgtheranostics.msot.image_grid import PIXEL_MM, ras_from_scanner
from imgtheranostics.msot.model_based import ModelFit, fit_image, sound_model
from imgtheranostics.msot.reconstructed_volume import cautions_of, decisions_of, volume_of
from imgtheranostics.msot.reconstruction_setup import Setup, count_images, images_of, set_up
from imgtheranostics.msot.signal_preparation import SignalFilter, prepare
from imgtheranostics.msot.sound_focus import FASTEST_M_S, SLOWEST_M_S, FocusedSpeed, focused_speed
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import Volume

Method = Literal["backprojection", "delay_and_sum", "model"]

PLAUSIBLE_M_S = (1300.0, 1700.0)
"""Speeds of sound of couplants and soft tissue, fat to muscle."""

NOT_STATED = "focus, since the scan states none"
"""Source of a speed of sound that was neither given nor stated."""

Array32 = npt.NDArray[np.float32]


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
        That of `signals` by default, and ``focus`` where they state none, which a caution then tells.
        ``focus`` takes the one that makes the image sharpest, of the mean of all frames and wavelengths.
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
        If positions of detectors or times of frames are not known.
    ImplausibleValue
        If the speed of sound is that of no tissue, as an offset is, or the sampling rate that of no sound.
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
    setup = set_up(signals, pixel_mm, shape, centre_mm, band_hz, deconvolve)
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
        images = images_of(signals, setup.array, layout)
        planes = back_project(former, images, count_images(signals, layout), KINDS[method], speed, workers)
    decisions = decisions_of(signals, setup, layout, signal_filter, method, speed, speed_source, orientation)
    if fits:
        decisions |= options | _of_fits(fits)
    volume = volume_of(planes, signals, setup.grid, layout, method, speed, orientation, slice_thickness_mm)
    return volume.with_step("reconstruct", **decisions).with_warnings(
        *setup.cautions,
        *_of_speed(signals, speed, speed_source),
        *cautions_of(signals, volume, orientation, fits),
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
    setup = set_up(signals, pixel_mm, shape, centre_mm, band_hz, deconvolve)
    signal_filter = setup.signal_filter(signals, (SLOWEST_M_S, FASTEST_M_S))
    former = beamformer(setup.array, setup.grid, method, signal_filter) if method == "delay_and_sum" else None
    former = former or beamformer(setup.array, setup.grid, "backprojection", signal_filter)
    mean = signals.samples[:, :, setup.array.used].mean(axis=(0, 1), dtype=np.float64)
    return focused_speed(former, mean, workers)


def _of_speed(signals: OptoacousticSignals, speed_m_s: float, source: str) -> tuple[Caution, ...]:
    """What to say of a speed of sound that nobody stated."""
    if source != NOT_STATED:
        return ()
    offset = signals.speed_of_sound_offset_m_s
    beside = "" if offset is None else f" (an offset of {offset:g} m/s, which is no speed, is all)"
    text = f"the scan states no speed of sound{beside}: {speed_m_s:.0f} m/s makes the sharpest image"
    return (Caution("speed-of-sound-focused", text, "speed_of_sound_m_s (--speed-of-sound)"),)


def _speed(
    signals: OptoacousticSignals,
    setup: Setup,
    method: Method,
    asked: float | str | None,
    workers: int | None,
) -> tuple[float, str]:
    """Speed of sound and where it is from."""
    unknown = asked is None and signals.speed_of_sound_m_s is None
    if asked == "focus" or unknown:
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
        return found.speed_of_sound_m_s, NOT_STATED if unknown else "focus"
    speed = signals.speed_of_sound_m_s if asked is None else asked
    if speed is None or isinstance(speed, str):
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
            next_step=f"{likely}give the speed itself (--speed-of-sound), or 'focus'",
        )
    return float(speed), "file" if asked is None else "given"


def _modelled(
    signals: OptoacousticSignals,
    setup: Setup,
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
        for samples in images_of(signals, setup.array, layout):
            prepared = prepare(samples, signal_filter, KINDS["model"], threads)
            fits.append(fit_image(model, prepared, **options))
    return np.stack([fit.image for fit in fits]).reshape(-1, *setup.grid.shape[::-1])


def _of_fits(fits: list[ModelFit]) -> dict[str, Any]:
    return {
        "iterations": [fit.iterations for fit in fits],
        "converged": [fit.converged for fit in fits],
        "relative_residual": [round(fit.residual, 6) for fit in fits],
    }
