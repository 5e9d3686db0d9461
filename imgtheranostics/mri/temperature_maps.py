"""Temperature from the phase of a series, thermal dose, heated volume and heating power, on Volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels, mask_array
from imgtheranostics.mri.protocol import Series, required, series_along
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    pass


def temperature_map(
    v: Volume,
    magnitude: Volume | None = None,
    *,
    reference: tuple[int, int] = (0, 1),
    unheated: Mask = None,
    drift_order: int = 1,
    fat: Mask = None,
    alpha_ppm_per_c: float = -0.01,
    alpha_relative_uncertainty: float = 0.0,
    echo_time_s: float | None = None,
    field_strength_t: float | None = None,
    noise_sd: float | None = None,
    unwrapped: bool = False,
    mask: Mask = None,
) -> Estimate:
    """Temperature change along time from the proton resonance frequency.

    Parameters
    ----------
    v : Volume
        Phase in rad along ``time``.
    magnitude : Volume, optional
        Beside it, on the same grid and times; with `noise_sd` it gives the standard error.
    reference : (first, stop)
        Images before heating.
    unheated : Volume, Regions or array, optional
        Where the temperature stays: the drift of the field is fitted there and taken away. Without it a
        caution says that drift remains.
    drift_order : {0, 1, 2}
        Of the polynomial in space.
    fat : Volume, Regions or array, optional
        Left out: protons of fat do not follow temperature.
    alpha_ppm_per_c, alpha_relative_uncertainty : float
        Temperature coefficient and its relative uncertainty, which all voxels share.
    echo_time_s, field_strength_t : float, optional
        Go before the file.
    noise_sd : float, optional
        Noise of the magnitude.
    unwrapped : bool
        Phases are continuous in time already.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``temperature_change`` in Cel along ``time``; `maps` hold the part of the error that all images of a
        voxel share.

    Raises
    ------
    UnitMismatch
        If the images are no phase in rad.
    MissingMetadata
        If echo time or field strength are not known.
    UnsupportedInput, GeometryMismatch, ImplausibleValue
    """
    from imgtheranostics.mri.thermometry import temperature_change

    _check_phase(v)
    series = series_along(v, "time")
    if series.others:
        raise UnsupportedInput(
            "temperature takes a phase along time alone",
            found=", ".join(axis.name for axis in v.axes),
            next_step="choose one echo with frame()",
        )
    purpose = "temperature from phase"
    echo = required(v, "echo_time_s", echo_time_s, purpose=purpose).scalar
    field_t = required(v, "field_strength_t", field_strength_t, purpose=purpose).scalar
    size = None if magnitude is None else _magnitude(series, magnitude)
    chosen = chosen_voxels(series.samples, v, mask=mask)
    with typed_refusals():
        fit = temperature_change(
            series.samples,
            echo_time_s=echo,
            field_t=field_t,
            reference=reference,
            alpha_ppm_per_c=alpha_ppm_per_c,
            alpha_relative_uncertainty=alpha_relative_uncertainty,
            magnitude=size,
            noise_sd=noise_sd,
            unheated=None if unheated is None else mask_array(unheated, v),
            drift_order=drift_order,
            fat=None if fat is None else mask_array(fat, v),
            unwrapped=unwrapped,
            mask=chosen.inside,
        )
    still = v.replace(axes=(), data=np.zeros(v.grid.shape, np.float32), history=(), warnings=())
    shared = still.replace(
        data=np.asarray(fit.parameters["shared_error_c"]), quantity="temperature_change", unit="Cel"
    )
    return calculated_estimate(
        v,
        fit,
        "temperature_change_c",
        "temperature_change",
        make_step("temperature_map", reference=list(reference), alpha_ppm_per_c=alpha_ppm_per_c),
        chosen,
        axes=(series.axis,),
        decisions={
            "method": {"rule": "proton resonance frequency", "echo_time_s": echo, "field_t": field_t},
            "thermometry": dict(fit.decisions),
            "mask": chosen.decision,
        },
        warnings=fit.warnings,
        beside={"shared_error": shared},
    )


def _check_phase(v: Volume) -> None:
    mr_record(v)
    if v.quantity != "phase":
        raise UnitMismatch(
            "temperature starts from phase images in rad",
            found=f"{v.quantity} [{v.unit}]",
            needed="phase [rad]",
            next_step="give the phase series; a sidecar states it by ImageType PHASE and Units rad",
        )


def _magnitude(series: Series, magnitude: Volume) -> npt.NDArray[Any]:
    if magnitude.quantity != "signal":
        raise UnitMismatch("the magnitude is no signal", found=f"{magnitude.quantity} [{magnitude.unit}]")
    aligned, _, _ = second_on_first(series.volume, magnitude)
    beside = series_along(aligned, "time")
    if not np.allclose(beside.x, series.x, rtol=1e-6, atol=1e-3):
        raise UnsupportedInput(
            "magnitude and phase were taken at other times",
            found=f"{beside.x.size} and {series.x.size} images",
            needed="one magnitude for each phase image",
        )
    return beside.samples
