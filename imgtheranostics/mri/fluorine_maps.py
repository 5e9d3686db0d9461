"""19F concentration as a map, from a reference tube in the same image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, merge_cautions
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import check_signal
from imgtheranostics.mapping.pairs import single_image
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels, mask_array, on_grid
from imgtheranostics.mri.preparation import noise_level
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step


def fluorine_map(
    v: Volume,
    tube: Volume | Regions | npt.ArrayLike,
    tube_concentration_mm: float,
    *,
    tube_uncertainty_mm: float = 0.0,
    tube_weight: float = 1.0,
    weight: float | Volume = 1.0,
    b1_factor: float | Volume = 1.0,
    background: Mask = None,
    noise_sd: float | str | None = "estimate",
    n_coils: int = 1,
    detection_snr: float = 3.0,
    mask: Mask = None,
) -> Estimate:
    """Concentration of 19F nuclei, C = C_tube (S / S_tube) (W_tube / W) x B1 factor.

    The noise is estimated first, then its bias removed, then the background subtracted.

    Parameters
    ----------
    v : Volume
        One 19F magnitude image.
    tube : Volume, Regions or array
        The reference tube.
    tube_concentration_mm, tube_uncertainty_mm : float
        mmol/L of nuclei in it, and its standard uncertainty, which all voxels share.
    tube_weight, weight : float or Volume
        What relaxation leaves of the signal in the tube and in tissue; see
        `imgtheranostics.mri.fluorine.relaxation_weight`.
    b1_factor : float or Volume
        What the fields make of the signal at the tube over that at the voxel.
    background : Volume, Regions or array, optional
        Tissue without tracer, whose amplitude is subtracted.
    noise_sd : float or "estimate", optional
    n_coils, mask
        As in `imgtheranostics.mri.relaxation_maps.t1_plan`.
    detection_snr : float
        Signal over noise from which a voxel counts as detected, 3 to 5.

    Returns
    -------
    Estimate
        ``agent_concentration`` in mmol/L of nuclei; `maps` hold the detection limit. Voxels below it are
        flagged as below noise and keep their value.

    Raises
    ------
    MissingMetadata
        If the noise level is neither given nor to be estimated.
    UnsupportedInput, UnitMismatch, GeometryMismatch, IllConditioned, ImplausibleValue
    """
    from imgtheranostics.mri.fluorine import ReferenceTube, fluorine_concentration

    check_signal(v, "19F concentration")
    single_image(v, "a 19F scan")
    level = noise_level(v, v.data[..., np.newaxis], noise_sd, n_coils=n_coils)
    if level.sd is None:
        raise MissingMetadata(
            "the noise level is not stated; 19F magnitudes cannot be freed from its bias without it",
            where="noise_sd=",
            needed="the standard deviation of the noise, or 'estimate'",
            next_step="give noise_sd",
        )
    chosen = chosen_voxels(v.data[..., np.newaxis], v, mask=mask)
    with typed_refusals():
        reference = ReferenceTube(
            v.data[mask_array(tube, v)], tube_concentration_mm, tube_uncertainty_mm, tube_weight
        )
        fit = fluorine_concentration(
            v.data,
            reference,
            noise_sd=level.sd,
            n_coils=n_coils,
            background=None if background is None else v.data[mask_array(background, v)],
            weight=_values(weight, v, "the map of relaxation weights"),
            b1_factor=_values(b1_factor, v, "the map of the B1 factor"),
            detection_snr=detection_snr,
            mask=chosen.inside,
        )
    limit = v.replace(
        data=np.asarray(fit.parameters["detection_limit_mm"]), quantity="agent_concentration", unit="mmol/L"
    )
    return calculated_estimate(
        v,
        fit,
        "concentration_mm",
        "agent_concentration",
        make_step("fluorine_map", tube_concentration_mm=tube_concentration_mm, detection_snr=detection_snr),
        chosen,
        decisions={
            "calculation": {**fit.decisions, "counts": "19F nuclei"},
            "noise_level": level.decision,
            "mask": chosen.decision,
        },
        warnings=merge_cautions(level.warnings, fit.warnings),
        beside={"detection_limit": limit},
    )


def _values(given: float | Volume, v: Volume, what: str) -> npt.ArrayLike:
    if isinstance(given, Volume):
        return on_grid(given, v, what, "resample it to the image first")
    return float(given)
