"""Components of optoacoustic images: from a Volume along wavelength to maps with standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, MissingMetadata, UnitMismatch, merge_cautions
from imgtheranostics.fit import planar
from imgtheranostics.mapping.estimates import STATED_SHARE
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.msot.component_matrix import ComponentMatrix, Components
from imgtheranostics.msot.residual_caution import residual_cautions
from imgtheranostics.msot.residual_spectrum import spectrum_cautions
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.msot.unmixing import METHODS, Method, UnmixingFit, unmix_planes
from imgtheranostics.units import UNITS
from imgtheranostics.volume import Axis, Estimate, Flag, Volume, make_step

MICROMOLAR = 1e6
"""In one mol/L."""

LN_10 = float(np.log(10.0))

_AT_ONCE = 1 << 18
_FAILED = 0xFFFF ^ Flag.AT_BOUND.value
_QUANTITIES = {"M": "chromophore_concentration", "1": "volume_fraction"}
_UNIT_OF = {"chromophore_concentration": "umol/L", "volume_fraction": "1", "component_amplitude": "[arb'U]"}


def unmix(
    volume: Volume | Estimate,
    components: Components,
    *,
    method: Method = "nnls",
    noise_sd: float | Sequence[float] | Volume | npt.ArrayLike | None = None,
    mask: Mask = None,
    force: bool = False,
    workers: int | None = None,
) -> Unmixed:
    """Amounts of components in every voxel of an optoacoustic image.

    Parameters
    ----------
    volume : Volume or Estimate
        ``optoacoustic_signal`` or ``optical_absorption`` (1/cm) with ``wavelength`` as its last axis, after
        ``time`` where there is one. Of an Estimate the standard error is the noise, unless one is given.
    components : sequence of str, or mapping
        As `imgtheranostics.msot.unmixing.unmix` takes them: shipped names, records of agents, or a mapping of
        names to spectra at the wavelengths of the volume, in their order.
    method : {"nnls", "ls", "wls"}
    noise_sd : float, (n,) sequence, or Volume, optional
        Standard deviation in the unit of the image: one, one for each wavelength in the order of the volume,
        or a map on its grid, with a wavelength axis or without.
    mask : Volume, Regions or (i, j, k) array_like, optional
    force : bool
        Unmix components that are too much alike.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Unmixed
        From absorption, concentrations in umol/L: absorption to base e is ln 10 times molar extinction times
        concentration. From arbitrary units the amounts are those that the signal would have if it were
        absorption in 1/cm, in ``[arb'U]``, with the caution ``arbitrary-units``. Where noise is given and the
        residuals of many voxels are far above it, the caution ``residual-above-noise`` says so; where
        residuals have a spectrum of their own, ``residual-has-a-spectrum``.

    Raises
    ------
    MissingMetadata
        If there are no wavelengths.
    UnitMismatch
        If the image is neither of the two quantities, or the wavelengths are not a length.
    UnsupportedInput
        If a wavelength is repeated, or a spectrum does not cover all of them.
    IllConditioned
        If the components are too much alike, or more than the wavelengths.
    GeometryMismatch
        If mask or noise lie on another grid.
    """
    checked(method, METHODS, "method")
    image = volume.value if isinstance(volume, Estimate) else volume
    axis = _wavelengths(image)
    if noise_sd is None and isinstance(volume, Estimate):
        noise_sd = _own_noise(volume)
    given = ComponentMatrix.of(components, axis.values * (UNITS[axis.unit].factor / UNITS["nm"].factor))
    calibrated = image.quantity == "optical_absorption"
    matrix = _per_unit(given)
    planes, noise = planar(image.data, len(axis), contiguous=False), _noise(noise_sd, image, axis)
    inside = _inside(mask, image)
    fit = unmix_planes(matrix, planes, method, noise, force=force, mask=inside, workers=workers)
    if noise is not None:
        misfit = residual_cautions(fit.rmse, np.asarray(noise))
        fit = replace(fit, warnings=merge_cautions(fit.warnings, misfit))
    left = spectrum_cautions(planes.samples, matrix.values, planes.chosen(inside), given.wavelength_nm)
    fit = replace(fit, warnings=merge_cautions(fit.warnings, left))
    quantities = {
        name: _QUANTITIES.get(unit, "component_amplitude") if calibrated else "component_amplitude"
        for name, unit in zip(given.names, given.units, strict=True)
    }
    return _unmixed(volume, image, matrix, fit, quantities, calibrated)


def _wavelengths(image: Volume) -> Axis:
    """The last axis, certain to be wavelengths of a signal that can be unmixed."""
    if image.quantity not in ("optoacoustic_signal", "optical_absorption"):
        raise UnitMismatch(
            "the image is no optoacoustic signal",
            found=f"{image.quantity} in {image.unit}",
            needed="optoacoustic_signal, or optical_absorption in 1/cm",
        )
    axis = image.axes[-1] if image.axes else None
    if axis is None or axis.name != "wavelength":
        raise MissingMetadata(
            "the image has no wavelengths",
            where="the last axis",
            found="none" if axis is None else axis.name,
            needed="an axis of wavelengths, after time",
            next_step="give the wavelengths when loading: Wavelengths and WavelengthUnits in the sidecar, a "
            "file <stem>.wavelengths, or wavelength_nm= (--wavelengths)",
        )
    if UNITS[axis.unit].dimension != "length":
        raise UnitMismatch("wavelengths are not a length", found=axis.unit, needed="nm")
    return axis


def _per_unit(given: ComponentMatrix) -> ComponentMatrix:
    """Absorption to base e per umol/L, or per volume fraction, of spectra that are decadic."""
    factors = [LN_10 / MICROMOLAR if unit == "M" else LN_10 if unit else 1.0 for unit in given.units]
    return replace(given, values=given.values * factors)


def _noise(given: Any, image: Volume, axis: Axis) -> npt.ArrayLike | None:
    """Noise as the array level takes it."""
    if not isinstance(given, Volume):
        return None if given is None else np.asarray(given)
    if not image.grid.same_as(given.grid):
        raise GeometryMismatch("the noise does not lie on the grid of the image", needed="the same grid")
    if given.unit != image.unit:
        raise UnitMismatch("the noise has another unit than the image", found=given.unit, needed=image.unit)
    spectral = bool(given.axes) and given.axes[-1].name == "wavelength"
    if spectral and not given.axes[-1].same_as(axis):
        raise GeometryMismatch("the noise has other wavelengths than the image", needed="the same axis")
    data = given.data if spectral else given.data[..., np.newaxis]
    if data.ndim < image.data.ndim:
        data = np.expand_dims(data, tuple(range(3, 3 + image.data.ndim - data.ndim)))
    wanted = (*image.shape[:-1], data.shape[-1])
    if data.ndim != image.data.ndim or any(n not in (1, m) for n, m in zip(data.shape, wanted, strict=True)):
        raise GeometryMismatch("the noise has other axes than the image", found=str(given), needed=str(image))
    return np.broadcast_to(data, wanted)


def _own_noise(estimate: Estimate) -> Volume:
    """What of the standard errors differs from voxel to voxel."""
    error, shared = estimate.standard_error, estimate.calibration_relative
    if not shared:
        return error
    squares = np.square(error.data) - np.square(shared * estimate.value.data)
    return error.replace(data=np.sqrt(np.maximum(squares, 0.0)))


def _inside(mask: Mask, image: Volume) -> npt.NDArray[np.bool_] | None:
    if mask is None:
        return None
    inside = mask_array(mask, image)
    shape = image.shape[:-1]
    return np.broadcast_to(inside.reshape((*inside.shape, *(1,) * (len(shape) - 3))), shape)


def _unmixed(
    volume: Volume | Estimate,
    image: Volume,
    matrix: ComponentMatrix,
    fit: UnmixingFit,
    quantities: dict[str, str],
    calibrated: bool,
) -> Unmixed:
    step = make_step(
        "unmix",
        method=fit.decisions["method"],
        components=list(matrix.names),
        condition_number=fit.condition_number,
    )
    cautions = _cautions(fit, quantities, calibrated)
    flags, shared = fit.flags, 0.0
    if isinstance(volume, Estimate):
        shared, flags = volume.calibration_relative, _with_earlier(volume, fit.flags)
    decisions = {**fit.decisions, "calibrated": calibrated}
    others, found = flags & np.uint16(_FAILED), {}
    for place, (name, quantity) in enumerate(quantities.items()):
        value, error = fit.parameters[name], fit.standard_errors[name]
        if shared:
            error = np.hypot(error, shared * value)
        base = image.derived(value, quantity, _UNIT_OF[quantity], step, axes=image.axes[:-1])
        base = base.with_warnings(*cautions, *_counted(flags, fit.supports, place, name))
        plain = base.replace(warnings=())
        found[name] = Estimate(
            base,
            plain.replace(data=error),
            plain.replace(data=_own_flags(others, fit.supports, place), quantity="flags", unit="1"),
            shared,
            {**decisions, "component": name},
        )
    residual = image.derived(fit.rmse, "rmse", image.unit, step, axes=image.axes[:-1]).replace(warnings=())
    return Unmixed(found, residual, fit.condition_number, fit, image, matrix)


def _cautions(fit: UnmixingFit, quantities: dict[str, str], calibrated: bool) -> tuple[Caution, ...]:
    """Those of the fit, and what the unit of the amounts is worth."""
    cautions = fit.warnings
    if not calibrated:
        text = (
            "the image is in arbitrary units: amounts are proportional to concentrations, up to a factor "
            "that light and sensitivity make differ from place to place"
        )
        cautions = merge_cautions(cautions, (Caution("arbitrary-units", text),))
    unknown = [name for name, quantity in quantities.items() if quantity == "component_amplitude"]
    if calibrated and unknown:
        text = (
            f"spectra of {', '.join(unknown)} were given as numbers: their amounts are absorption over these "
            "numbers. For umol/L give msot.spectra.component(numbers, wavelengths, unit='M')"
        )
        cautions = merge_cautions(cautions, (Caution("amount-unit-unknown", text),))
    return cautions


def _own_flags(
    others: npt.NDArray[np.uint16], supports: npt.NDArray[np.uint16], place: int
) -> npt.NDArray[np.uint16]:
    """Flags of one component: at a bound is where this one is held."""
    own = np.right_shift(supports, np.uint16(place))
    own &= np.uint16(1)
    own *= np.uint16(Flag.AT_BOUND.value)
    own |= others
    return np.asarray(own, np.uint16)


def _with_earlier(image: Estimate, flags: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Flags with the reasons of earlier steps where these left a voxel without a number."""
    earlier = np.bitwise_or.reduce(image.flags.data, axis=-1)
    lost = (flags & np.uint16(Flag.INVALID_INPUT.value)) != 0
    return np.asarray(np.where(lost, flags | earlier, flags), np.uint16)


def _counted(
    flags: npt.NDArray[np.uint16], supports: npt.NDArray[np.uint16], place: int, name: str
) -> tuple[Caution, ...]:
    """Cautions when too many voxels failed, or a component is held at zero in too many."""
    marks, held = flags.ravel(order="K"), supports.ravel(order="K")
    outside, failed, bound = (
        sum(
            int(np.count_nonzero(values[first : first + _AT_ONCE] & np.uint16(bits)))
            for first in range(0, values.size, _AT_ONCE)
        )
        for values, bits in (
            (marks, Flag.MASKED_OUT.value),
            (marks, _FAILED & ~Flag.MASKED_OUT.value),
            (held, 1 << place),
        )
    )
    total = marks.size - outside
    if total == 0:
        return (Caution("nothing-estimated", f"{name}: no voxel was left to estimate it in", name),)
    found = []
    if failed > STATED_SHARE * total:
        text = f"{name}: {failed} of {total} voxels have a sample that is not a number, and no value"
        found.append(Caution("many-failed", text, name))
    if bound > STATED_SHARE * total:
        text = (
            f"{name}: {bound} of {total} voxels ({100 * bound / total:.0f} %) are held at zero; means of "
            "regions with little of it are biased upwards, which method='ls' avoids"
        )
        found.append(Caution("many-held-at-zero", text, name))
    return tuple(found)
