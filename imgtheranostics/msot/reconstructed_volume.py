"""Reconstructed images as a Volume, with the decisions that were taken and what a reader should know."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution
from imgtheranostics.msot.frame_layout import FrameLayout
from imgtheranostics.msot.image_grid import SLICE_THICKNESS_MM, ImageGrid
from imgtheranostics.msot.model_based import ModelFit
from imgtheranostics.msot.reconstruction_setup import Setup
from imgtheranostics.msot.signal_preparation import SignalFilter
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import Axis, Volume

Array32 = npt.NDArray[np.float32]


def decisions_of(
    signals: OptoacousticSignals,
    setup: Setup,
    layout: FrameLayout,
    signal_filter: SignalFilter,
    method: str,
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


def volume_of(
    planes: Array32,
    signals: OptoacousticSignals,
    grid: ImageGrid,
    layout: FrameLayout,
    method: str,
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
    energy, temperature = signals.laser_energy_mj, signals.temperature_cel
    record = PhotoacousticAcquisition(
        manufacturer=signals.manufacturer,
        model=signals.model,
        wavelength_nm=tuple(float(value) for value in signals.wavelength_nm),
        speed_of_sound_m_s=speed,
        laser_energy_mj=() if energy is None else tuple(float(value) for value in energy.mean(axis=0)),
        energy_corrected=signals.energy_corrected,
        image_type="raw-au",
        reconstruction=method,
        temperature_cel=None
        if temperature is None or np.isnan(temperature).any()
        else float(temperature.mean()),
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


def cautions_of(
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
