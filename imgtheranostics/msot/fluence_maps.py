"""Maps of fluence for a body of one absorption, and images divided by fluence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.msot.spectrum import WAVELENGTH_TOLERANCE_NM, checked_wavelengths
from imgtheranostics.msot.tissue_light import cylinder, reduced_scattering, slab
from imgtheranostics.volume import Axis, Volume, make_step

FloatArray = npt.NDArray[np.float64]

MODELS = ("slab", "cylinder")
CORRECTION = "fluence_correction"
"""Name of the step in the history of a corrected image."""

_DIFFUSIVE = 10.0


def fluence_map(
    depth: Volume,
    wavelength_nm: npt.ArrayLike,
    *,
    mu_a: npt.ArrayLike,
    mu_s: npt.ArrayLike | None = None,
    model: str = "slab",
    radius_mm: float | None = None,
) -> Volume:
    """Fluence over that at the surface in a body of one absorption, at each wavelength.

    Parameters
    ----------
    depth : Volume
        From `depth_from_mask`; NaN outside.
    wavelength_nm : (n,) array_like
        In any order; the last axis of the result has it.
    mu_a : float or (n,) array_like
        Absorption coefficient of the body in 1/cm, to base e; `tissue_absorption` makes one.
    mu_s : float or (n,) array_like, optional
        Reduced scattering coefficient in 1/cm; that of soft tissue if it is not given.
    model : {"slab", "cylinder"}
        ``cylinder`` is lit evenly all around; its axis lies at the largest depth.
    radius_mm : float, optional
        Of the cylinder; the largest depth if it is not given.

    Raises
    ------
    UnitMismatch
        If `depth` is no depth, or wavelengths are not in nm.
    ValueError
        If the coefficients do not fit the wavelengths, or a depth exceeds the radius.
    """
    checked(model, MODELS, "model")
    if depth.quantity != "depth" or depth.axes:
        raise UnitMismatch("a map of depth is needed", found=depth.quantity, needed="depth in mm")
    wavelength = np.atleast_1d(checked_wavelengths(wavelength_nm))
    absorption = per_wavelength(mu_a, wavelength, "mu_a")
    scattering = reduced_scattering(wavelength) if mu_s is None else per_wavelength(mu_s, wavelength, "mu_s")
    if model == "slab" and radius_mm is not None:
        raise ValueError("radius_mm= does not apply to a slab")
    light = np.full((*depth.grid.shape, wavelength.size), np.nan, np.float32, order="F")
    inside = np.isfinite(depth.data)
    way = depth.data[inside].astype(np.float64)
    radius = float(way.max()) if radius_mm is None and way.size else radius_mm
    for n, (a, s) in enumerate(zip(absorption, scattering, strict=True)):
        if model == "slab":
            light[inside, n] = slab(way, a, s)
        else:
            assert radius is not None  # noqa: S101
            light[inside, n] = cylinder(radius - way, radius, a, s)
    step = make_step(
        "fluence_map",
        model=model,
        absorption_per_cm=absorption.tolist(),
        reduced_scattering_per_cm=scattering.tolist(),
        radius_mm=radius if model == "cylinder" else None,
    )
    axes = (Axis("wavelength", wavelength, "nm"),)
    found = depth.derived(light, "relative_fluence", "1", step, axes=axes)
    return found.with_warnings(*not_diffusive(absorption, scattering))


def correct(volume: Volume, fluence: Volume, *, calibration: float | None = None) -> Volume:
    """An image divided by the fluence.

    Parameters
    ----------
    volume : Volume
        ``optoacoustic_signal`` whose last axis is the wavelength.
    fluence : Volume
        ``relative_fluence`` on the same grid, with the wavelengths of the image among its own, in any order
        (found within 0.5 nm), or with no wavelengths at all.
    calibration : float, optional
        Signal per absorption of 1/cm at the surface. With it the result is ``optical_absorption`` in 1/cm;
        without it it stays proportional.

    Raises
    ------
    UnitMismatch
        If the volumes hold something else.
    GeometryMismatch
        If they lie on different grids.
    UnsupportedInput
        If the fluence is not known at a wavelength, or the image has been corrected before.
    ImplausibleValue
        If the calibration is not above 0.
    """
    axis = signal_wavelengths(volume)
    if fluence.quantity != "relative_fluence":
        raise UnitMismatch("this is no fluence", found=fluence.quantity, needed="relative_fluence")
    same = volume.grid.same_as(fluence.grid)
    if not same:
        raise GeometryMismatch("fluence and image lie on different grids", found=str(same))
    light = _matched_light(fluence, axis.values)
    check_calibration(calibration)
    data = np.empty(volume.shape, np.float32, order="F")
    for n in range(axis.values.size):
        plane = light if light.ndim == 3 else light[..., n]
        usable = np.where(plane > 0.0, plane, np.nan) * (1.0 if calibration is None else calibration)
        signal = volume.data[..., n]
        data[..., n] = signal / usable.reshape(usable.shape + (1,) * (signal.ndim - 3))
    step = make_step(CORRECTION, calibration=calibration)
    if calibration is None:
        return volume.derived(data, "optoacoustic_signal", volume.unit, step)
    return volume.derived(data, "optical_absorption", "1/cm", step)


def signal_wavelengths(volume: Volume) -> Axis:
    """The wavelength axis of an image that has not been corrected for fluence.

    Raises
    ------
    UnitMismatch
        If it is no optoacoustic signal, or has no wavelengths.
    UnsupportedInput
        If it has been corrected before.
    """
    if volume.quantity != "optoacoustic_signal":
        raise UnitMismatch(
            "fluence is taken out of an optoacoustic signal",
            found=volume.quantity,
            needed="optoacoustic_signal",
            next_step="an optical absorption has been corrected already",
        )
    axis = volume.axes[-1] if volume.axes else None
    if axis is None or axis.name != "wavelength" or axis.unit != "nm":
        raise UnitMismatch(
            "the last axis of the image must be its wavelengths in nm",
            found=", ".join(found.name for found in volume.axes) or "no axis",
            needed="wavelength",
        )
    corrected = getattr(volume.acquisition, "fluence_corrected", None)
    if corrected or any(step.name == CORRECTION for step in volume.history):
        raise UnsupportedInput(
            "the image has been corrected for fluence already",
            found="FluenceCorrected" if corrected else f"step {CORRECTION} in its history",
            needed="an image as it was reconstructed",
            next_step="correct once only",
        )
    return axis


def per_wavelength(values: npt.ArrayLike, wavelength: FloatArray, name: str) -> FloatArray:
    """A coefficient at each wavelength, from one number or as many.

    Raises
    ------
    ValueError
        If there are as many neither, or one is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.shape not in ((), wavelength.shape) or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} is one finite number, or one for each of {wavelength.size} wavelengths")
    return np.array(np.broadcast_to(array, wavelength.shape))


def not_diffusive(absorption: FloatArray, scattering: FloatArray) -> tuple[Caution, ...]:
    """A caution where absorption is not far below scattering, as diffusion needs."""
    if np.all(_DIFFUSIVE * absorption <= scattering):
        return ()
    words = "absorption is above a tenth of reduced scattering at some wavelengths: diffusion is inaccurate"
    return (Caution("not-diffusive", words, "fluence"),)


def check_calibration(calibration: float | None) -> None:
    """Refuse a calibration that is no positive number."""
    if calibration is not None and not (np.isfinite(calibration) and calibration > 0.0):
        raise ImplausibleValue(
            "the calibration must be above 0", where="calibration", found=str(calibration), needed="above 0"
        )


def _matched_light(fluence: Volume, wavelength: FloatArray) -> npt.NDArray[Any]:
    """Fluence at the wavelengths of an image, by value; without an axis where the fluence has none."""
    if not fluence.axes:
        return fluence.data
    axis = fluence.axes[-1]
    if len(fluence.axes) != 1 or axis.name != "wavelength" or axis.unit != "nm":
        raise UnitMismatch(
            "the fluence has axes other than the wavelength",
            found=", ".join(found.name for found in fluence.axes),
        )
    distance = np.abs(axis.values[np.newaxis, :] - wavelength[:, np.newaxis])
    missing = wavelength[distance.min(axis=1) > WAVELENGTH_TOLERANCE_NM]
    if missing.size:
        raise UnsupportedInput(
            "the fluence is not known at every wavelength of the image",
            found=", ".join(f"{value:g}" for value in missing) + " nm asked for",
            needed="wavelengths among " + ", ".join(f"{value:g}" for value in axis.values) + " nm",
            next_step="calculate the fluence for the wavelengths of the image",
        )
    return fluence.data[..., distance.argmin(axis=1)]
