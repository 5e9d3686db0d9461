"""The choice among the sources of water's position: what was given, what the sidecar names, the spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtheranostics.cest.named_maps import named_map
from imgtheranostics.cest.water_position import (
    WaterPosition,
    found_in_spectra,
    found_in_wassr,
    given_map,
    no_correction,
)
from imgtheranostics.errors import Caution
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from imgtheranostics.cest.prepared_spectra import Handling, PreparedSpectra

CORRECTED = "correct_b0"
"""Step of the history of spectra in which water was moved to 0."""

SHIFT_OF_FIT = "centre of water in the fit of each spectrum"
"""Rule of spectra that are left where they are, because a fit finds water itself."""

_DEFAULT_METHOD = "minimum"


def located_water(spectra: PreparedSpectra, how: Handling, *, shift_by_fit: bool = False) -> WaterPosition:
    """Where water is: by `how`, else by the map that the sidecar names, else in the spectra themselves.

    With `shift_by_fit` the last is left to a fit that comes after.

    Raises
    ------
    UnknownChoice
        If two sources are given.
    """
    scan, inside = spectra.volume, spectra.voxels.inside
    method = how.b0 if isinstance(how.b0, str) and how.b0 != "auto" else None
    if how.wassr is not None or how.wasabi is not None:
        if how.b0 is None or not isinstance(how.b0, str):
            raise UnknownChoice("b0= is the way to evaluate wassr=, not a map beside it")
        if how.wasabi is not None:
            from imgtheranostics.cest.wasabi_scan import found_in_wasabi

            if method is not None:
                raise UnknownChoice("wasabi= has its own model: b0= does not apply")
            return found_in_wasabi(how.wasabi, scan, inside=inside, workers=how.workers)
        return found_in_wassr(how.wassr, scan, method, inside=inside, workers=how.workers)  # type: ignore[arg-type]
    if how.b0 is None:
        return _uncorrected(scan, inside.shape)
    if not isinstance(how.b0, str):
        return given_map(how.b0, scan)
    if method is None:
        if any(step.name == CORRECTED for step in scan.history):
            return no_correction(inside.shape, {"rule": "the spectra are corrected already"})
        named = named_map(scan, "b0_map")
        if named is not None:
            return given_map(named, scan, source="map named in the sidecar (B0Map)")
        if shift_by_fit:
            return no_correction(inside.shape, {"rule": SHIFT_OF_FIT})
    return found_in_spectra(
        spectra.voxels,
        method or _DEFAULT_METHOD,
        noise_sd=spectra.noise_sd,
        workers=how.workers,
    )


def _uncorrected(scan: Volume, shape: tuple[int, ...]) -> WaterPosition:
    caution = Caution(
        "b0-not-corrected",
        "no B0 correction was made: a shift of water by 0.1 ppm changes contrasts by a tenth and more",
        "--b0",
    )
    decision = {"rule": "none, as asked for"}
    warnings = () if any(step.name == CORRECTED for step in scan.history) else (caution,)
    return no_correction(shape, decision, warnings)
