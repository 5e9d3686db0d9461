"""Where water is in each voxel: from the spectra themselves, another scan, or a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.methods import B0_METHODS
from imgtheranostics.cest.offset_list import REFERENCE_PPM
from imgtheranostics.cest.saturation import imaging_frequency_mhz, saturation_offsets
from imgtheranostics.cest.voxel_spectra import Array, VoxelMaps, VoxelSpectra
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    UnitMismatch,
    merge_cautions,
)
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.mapping.voxels import on_grid
from imgtheranostics.volume import Estimate, Flag, Volume

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FARTHEST_PPM = 5.0
"""A map whose median lies farther from 0 is in another unit, or of something else."""

USUAL_PPM = 2.0
"""Offsets whose water lies farther from 0 in the median are hardly counted from water."""

_WASSR_METHOD = "symmetry"
_TAKES_NOISE = ("minimum", "symmetry", "lorentzian")


@dataclass(frozen=True, eq=False)
class WaterPosition:
    """The position of water in each voxel.

    Attributes
    ----------
    ppm, standard_error : (i, j, k) ndarray
        NaN where it was not found; errors are NaN where they are not known.
    flags : (i, j, k) ndarray of uint16
    decision : dict
    warnings : tuple of Caution
    relative_b1 : (i, j, k) ndarray or None
        The transmit field that was measured with it.
    is_zero : bool
        Nothing is to be moved.
    """

    ppm: Array
    standard_error: Array
    flags: npt.NDArray[np.uint16]
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()
    relative_b1: Array | None = None
    is_zero: bool = False

    @classmethod
    def of_fit(cls, fit: Fit, decision: dict[str, Any], warnings: tuple[Caution, ...] = ()) -> WaterPosition:
        """The position that a fit found, and the transmit field where it has one."""
        return cls(
            np.asarray(fit.parameters["b0_ppm"]),
            np.asarray(fit.standard_errors["b0_ppm"]),
            np.asarray(fit.flags, np.uint16),
            decision,
            warnings,
            np.asarray(fit.parameters["relative_b1"]) if "relative_b1" in fit.parameters else None,
        )


def no_correction(
    shape: tuple[int, ...], decision: dict[str, Any], warnings: tuple[Caution, ...] = ()
) -> WaterPosition:
    """Water at 0 everywhere, because nothing is to be moved."""
    zero = np.zeros(shape, np.float32, order="F")
    return WaterPosition(zero, zero, np.zeros(shape, np.uint16), decision, warnings, is_zero=True)


def found_in_spectra(
    spectra: VoxelSpectra,
    method: str,
    *,
    noise_sd: Array | None,
    workers: int | None,
) -> WaterPosition:
    """The position of water by one of `B0_METHODS` from spectra.

    Raises
    ------
    UnknownChoice
        If there is no such method.
    UnsupportedInput
        If the spectra have too few offsets for it.
    """
    from imgtheranostics.cest import zspectrum

    checked(method, B0_METHODS, "way to find water (b0)")
    estimate: Callable[..., Fit] = getattr(zspectrum, f"b0_{method}")

    def compute(z: Array, maps: VoxelMaps) -> Fit:
        level = {"noise_sd": maps["noise_sd"]} if method in _TAKES_NOISE else {}
        return estimate(z, spectra.offset_ppm, workers=workers, **level)

    known = noise_sd is not None and bool(np.isfinite(noise_sd[spectra.inside]).all())
    fit = spectra.fitted(compute, noise_sd=noise_sd if known else None)
    return WaterPosition.of_fit(fit, {"rule": f"{method} of each spectrum"}, _far_away(fit))


def _far_away(fit: Fit) -> tuple[Caution, ...]:
    """A caution where water is so far from 0 that the offsets may count from something else."""
    places = np.asarray(fit.parameters["b0_ppm"])
    found = places[np.isfinite(places)]
    middle = float(np.median(found)) if found.size else 0.0
    if abs(middle) <= USUAL_PPM:
        return ()
    message = (
        f"water lies at {middle:.2g} ppm in the median: offsets should count from water, not from a "
        "reference substance or the carrier frequency"
    )
    return (Caution("water-far-from-zero", message, "SaturationOffsets"),)


def found_in_wassr(
    wassr: Volume, v: Volume, method: str | None, *, inside: BoolArray, workers: int | None
) -> WaterPosition:
    """The position of water from a scan with weak saturation close to water (WASSR).

    Parameters
    ----------
    wassr : Volume
        Signals along its own offsets; it may lack an unsaturated image, which these methods do not need.
    v : Volume
        Gives the grid.
    method : str, optional
        Of `B0_METHODS`; by default the symmetry of the spectrum.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    """
    wassr, moved, cautions = scan_beside(wassr, v, "the WASSR scan")
    offsets = saturation_offsets(wassr)
    used = np.isfinite(offsets) & (np.abs(offsets) < REFERENCE_PPM)
    signals = wassr.data[..., used]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = signals / np.max(signals, axis=-1, keepdims=True)
    order = np.argsort(offsets[used], kind="stable")
    spectra = VoxelSpectra(np.asfortranarray(scaled[..., order]), inside, offsets[used][order])
    found = found_in_spectra(spectra, method or _WASSR_METHOD, noise_sd=None, workers=workers)
    decision = {
        "rule": f"{method or _WASSR_METHOD} of a WASSR scan",
        "n_offsets": int(used.sum()),
        "alignment": moved,
    }
    return WaterPosition(
        found.ppm,
        found.standard_error,
        found.flags,
        decision,
        merge_cautions(wassr.warnings, cautions, found.warnings),
    )


def given_map(
    given: Volume | Estimate | npt.ArrayLike, v: Volume, *, source: str = "map, given"
) -> WaterPosition:
    """The position of water from a map, in ppm or, with the imaging frequency, in Hz.

    Parameters
    ----------
    given : Volume, Estimate, (i, j, k) array_like or float
        Arrays and numbers are in ppm.
    v : Volume
        Gives the grid, and the imaging frequency for a map in Hz.
    source : str
        For the record.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    UnitMismatch
        If its unit is not known.
    MissingMetadata
        If it is in Hz and the imaging frequency is not known.
    ImplausibleValue
        If its values are not those of a shift in ppm.
    """
    error: Array | None = None
    warnings: tuple[Caution, ...] = ()
    decision: dict[str, Any] = {"rule": source}
    if isinstance(given, Estimate):
        error = on_grid(given.standard_error, v, "the B0 map", _RESAMPLE)
        given = given.value
    if isinstance(given, Volume):
        factor = _to_ppm(given, v)
        if factor != 1.0:
            decision["converted"] = "Hz to ppm"
        warnings = given.warnings
        ppm = on_grid(given, v, "the B0 map", _RESAMPLE) * np.float32(factor)
        error = None if error is None else error * np.float32(factor)
    else:
        values = np.asarray(given, np.float32)
        if values.ndim and values.shape != v.grid.shape:
            raise GeometryMismatch(
                "the B0 map does not fit the images", found=str(values.shape), needed=str(v.grid.shape)
            )
        ppm = np.array(np.broadcast_to(values, v.grid.shape), order="F")
    _check_plausible(ppm)
    missing = ~np.isfinite(ppm)
    flags = np.where(missing, Flag.INVALID_INPUT.value, 0).astype(np.uint16)
    unknown = np.full(v.grid.shape, np.nan, np.float32, order="F") if error is None else error
    return WaterPosition(ppm, unknown, flags, decision, warnings)


_RESAMPLE = "resample it first: it.registration.resample(b0_map, numpy.eye(4), like=images)"


def _to_ppm(given: Volume, v: Volume) -> float:
    if given.unit == "ppm" and given.quantity in ("b0_shift", "signal"):
        return 1.0
    if given.unit in ("Hz", "kHz") and given.quantity in ("field_map", "signal"):
        in_hz = 1e3 if given.unit == "kHz" else 1.0
        return in_hz / imaging_frequency_mhz(v, "a B0 map in Hz needs")
    raise UnitMismatch(
        "the B0 map is in no unit that a shift of water has",
        found=f"{given.quantity} [{given.unit}]",
        needed="b0_shift [ppm], or field_map [Hz]",
        next_step="state the unit in the sidecar of the map: Units ppm, or Hz",
    )


def _check_plausible(ppm: Array) -> None:
    usable = np.abs(ppm[np.isfinite(ppm)])
    typical = float(np.median(usable)) if usable.size else 0.0
    if usable.size and typical <= FARTHEST_PPM:
        return
    raise ImplausibleValue(
        "the B0 map is no shift of water in ppm",
        found=f"median {typical:g}" if usable.size else "no finite value",
        needed=f"values within {FARTHEST_PPM:g} ppm of 0",
        next_step="state the unit of the map: ppm, or Hz with ImagingFrequency beside the images",
    )


def scan_beside(scan: Volume, v: Volume, what: str) -> tuple[Volume, dict[str, Any], tuple[Caution, ...]]:
    """A further scan in the voxel order of the images, with the record of what that took.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    """
    try:
        return second_on_first(v, scan)
    except GeometryMismatch as error:
        raise GeometryMismatch(
            f"{what} lies on another grid than the images",
            found=error.found,
            needed=error.needed,
            next_step="resample it first: it.registration.resample(scan, numpy.eye(4), like=images)",
        ) from error
