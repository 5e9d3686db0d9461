"""Reconstructed optoacoustic frames, of whatever file, as one Volume: slices, then time, then wavelength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution, GeometryMismatch, UnitMismatch
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.nifti_voxels import not_finite_cautions
from imgtheranostics.volume import Axis, FloatArray, Source, Step, Volume

_PIXEL_MM = (1e-3, 10.0)
_SAME_PLACE_MM = 0.01
_EVEN = 0.02

ReadImage = Callable[[int, int], npt.NDArray[Any]]
"""Image of a frame and a wavelength, both by their position in the stack, as (z, y, x)."""


@dataclass(frozen=True, eq=False)
class FrameStack:
    """Images of an optoacoustic scan that are described, but not read.

    Attributes
    ----------
    where : Path
        The file, for messages.
    read : callable
        Image of a frame and a wavelength as (z, y, x).
    n_frames : int
    wavelength_nm : (wavelengths,) array
        Rising; `read` counts them so.
    pixels : tuple of int
        Along x, y and z.
    spacing_mm : tuple of float
        That of z is None where a single slice has no stated thickness.
    stage_mm : (frames,) array or None
        Place of each frame along z.
    seconds : (frames, wavelengths) array or None
    uid, label : str
        How a user tells it apart from others of the same file.
    """

    where: Path
    read: ReadImage
    n_frames: int
    wavelength_nm: FloatArray
    pixels: tuple[int, int, int]
    spacing_mm: tuple[float, float, float | None]
    stage_mm: FloatArray | None = None
    seconds: FloatArray | None = None
    quantity: str = "optoacoustic_signal"
    unit: str = "[arb'U]"
    acquisition: PhotoacousticAcquisition = field(default=PhotoacousticAcquisition())
    cautions: tuple[Caution, ...] = ()
    history: tuple[Step, ...] = ()
    source: Source = field(default=Source(), repr=False)
    uid: str = ""
    label: str = ""


@dataclass(frozen=True, eq=False)
class Arranged:
    """Where each frame of a stack stands in the Volume.

    Attributes
    ----------
    affine : (4, 4) array
    axes : tuple of Axis
    order : (slices, times) int array
        Frames; one row for a stack whose frames have a z axis of their own.
    shape : tuple of int
    cautions : tuple of Caution
    """

    affine: FloatArray
    axes: tuple[Axis, ...]
    order: npt.NDArray[np.intp]
    shape: tuple[int, ...]
    cautions: tuple[Caution, ...]


def arrange(stack: FrameStack) -> Arranged:
    """Slices by the place of the stage, times by their order, without reading an image.

    Raises
    ------
    UnitMismatch
        If the pixels are not plausibly large.
    GeometryMismatch
        If the places are not evenly spaced, or not visited equally often.
    """
    _check_spacing(stack)
    order, step, first = _slices(stack)
    cautions: list[Caution] = []
    dx, dy, dz = stack.spacing_mm
    nx, ny, nz = stack.pixels
    if step is not None:
        dz = step
    elif dz is None:
        dz = 1.0
        text = "a single slice without thickness: volumes in mL cannot be computed from it"
        cautions.append(Caution("slice-thickness-unknown", text))
    affine = np.diag([dx, dy, dz, 1.0])
    affine[:2, 3] = -0.5 * (nx - 1) * dx, -0.5 * (ny - 1) * dy
    affine[2, 3] = first - (0.5 * (nz - 1) * dz if nz > 1 else 0.0)
    axes: list[Axis] = []
    if order.shape[1] > 1:
        times, told = _times(stack, order)
        axes.append(Axis("time", times, "s"))
        cautions += told
    axes.append(Axis("wavelength", stack.wavelength_nm, "nm"))
    slices = order.shape[0] if step is not None else nz
    shape = (nx, ny, slices, *(len(axis) for axis in axes))
    text = "the image lies in the frame of the detectors: how the subject lay in it is not stated"
    cautions.append(Caution("no-patient-geometry", text))
    return Arranged(affine, tuple(axes), order, shape, tuple(cautions))


def stack_volume(stack: FrameStack) -> Volume:
    """The Volume of a stack: (x, y, z, time, wavelength), time only where there are several.

    Raises
    ------
    ImgTheranosticsError
        As `arrange`, and whatever is wrong with an image.
    """
    arranged = arrange(stack)
    nx, ny, nz = stack.pixels
    n_slices, n_times = arranged.order.shape
    n_wavelengths = len(stack.wavelength_nm)
    total = nx * ny * nz * n_slices * n_times * n_wavelengths * 4
    check_budget(total, where=stack.where)
    planes = np.empty((n_wavelengths, n_times, n_slices, nz, ny, nx), dtype=np.float32)
    for wavelength in range(n_wavelengths):
        for (place, time), frame in np.ndenumerate(arranged.order):
            planes[wavelength, time, place] = stack.read(int(frame), wavelength)
    data = planes.reshape(-1).reshape(arranged.shape, order="F")
    return Volume(
        data,
        arranged.affine,
        stack.quantity,
        stack.unit,
        arranged.axes,
        acquisition=stack.acquisition,
        history=stack.history,
        source=stack.source,
    ).with_warnings(*stack.cautions, *arranged.cautions, *not_finite_cautions(data))


def _check_spacing(stack: FrameStack) -> None:
    low, high = _PIXEL_MM
    stated = [value for value in stack.spacing_mm if value is not None]
    if not all(np.isfinite(value) and low <= value <= high for value in stated):
        raise UnitMismatch(
            "the pixels are not plausibly large in the unit of the field of view",
            where=str(stack.where),
            found=" x ".join(f"{value:g}" for value in stated) + " mm",
            needed=f"{low:g} to {high:g} mm",
        )


def _slices(stack: FrameStack) -> tuple[npt.NDArray[np.intp], float | None, float]:
    """Frames by slice and time, the distance of slices and the place of the first."""
    frames = np.arange(stack.n_frames)
    if stack.stage_mm is None or np.ptp(stack.stage_mm) <= _SAME_PLACE_MM:
        first = 0.0 if stack.stage_mm is None else float(stack.stage_mm.mean())
        return frames[np.newaxis], None, first
    ranked = np.argsort(stack.stage_mm, kind="stable")
    places = stack.stage_mm[ranked]
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > _SAME_PLACE_MM)
    members = np.split(ranked, starts[1:])
    counts = {len(group) for group in members}
    if len(counts) > 1:
        raise GeometryMismatch(
            "the places of the stage were not visited equally often",
            where=str(stack.where),
            found=f"{min(counts)} to {max(counts)} frames at {len(members)} places",
            needed="as many frames at each",
        )
    centres = np.array([float(stack.stage_mm[group].mean()) for group in members])
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    deviation = float(np.abs(centres - centres[0] - step * np.arange(len(centres))).max())
    if deviation > max(_EVEN * step, _SAME_PLACE_MM):
        raise GeometryMismatch(
            "uneven slices: the places of the stage are not evenly spaced",
            where=str(stack.where),
            found=f"up to {deviation:.3g} mm off a step of {step:.3g} mm",
            needed=f"within {_EVEN:.0%} of the step",
        )
    if stack.pixels[2] > 1:
        raise GeometryMismatch(
            "volumes that were taken at several places do not make one volume",
            where=str(stack.where),
            found=f"{stack.pixels[2]} slices at each of {len(centres)} places",
            needed="one slice at each place, or one place",
        )
    return np.array([np.sort(group) for group in members]), step, float(centres[0])


def _times(stack: FrameStack, order: npt.NDArray[np.intp]) -> tuple[FloatArray, tuple[Caution, ...]]:
    if stack.seconds is not None:
        times: FloatArray = stack.seconds[order].mean(axis=(0, 2))
        times = times - times[0]
        if np.isfinite(times).all() and (np.diff(times) > 0).all():
            return times, ()
    text = "the frames have no times that increase: they are numbered in s"
    return np.arange(order.shape[1], dtype=np.float64), (Caution("time-unknown", text),)
