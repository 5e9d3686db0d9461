"""Change of attenuation against a background that is known, where there is no scan before the agent."""

from __future__ import annotations

import math

import numpy as np

from imgtheranostics.ct.enhancement_maps import SATURATED
from imgtheranostics.ct.hounsfield import SATURATION_HU, require_hu, saturated
from imgtheranostics.ct.noise import difference_noise
from imgtheranostics.ct.rod_calibration import gain_relative_error
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.mapping.pairs import single_image
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

_PLAUSIBLE_HU = (-1100.0, 3071.0)


def above_background(
    v: Volume,
    background_hu: float,
    *,
    background_error_hu: float = 0.0,
    mask: Mask = None,
    noise_sd: float | None = None,
    saturation_hu: float = SATURATION_HU,
) -> Estimate:
    """Attenuation minus that of the tissue without agent, as a change to make a concentration of.

    Tissue differs by tens of HU from place to place, of which a scan before the agent knows and one number
    does not: what it leaves is not in the standard error, and a caution says so.

    Parameters
    ----------
    v : Volume
        Attenuation in HU.
    background_hu : float
        Of the tissue without agent.
    background_error_hu : float
        Standard error of it, in every voxel.
    mask : Volume, Regions or (i, j, k) array_like, optional
        NaN and `Flag.MASKED_OUT` outside.
    noise_sd : float, optional
        Noise of one voxel in HU; by default from the scan's own soft tissue.
    saturation_hu : float
        Voxels at or above it are NaN, with `Flag.SATURATED` and `Flag.OUTSIDE_RANGE`.

    Returns
    -------
    Estimate
        ``delta_attenuation`` in ``[HU]``.

    Raises
    ------
    UnitMismatch, MissingMetadata
        If values are not HU.
    UnsupportedInput
        If it is a series.
    ImplausibleValue
        If the background or its error is not one in HU.
    """
    scan = require_hu(v)
    single_image(scan, "a scan with a known background")
    low, high = _PLAUSIBLE_HU
    if not low <= background_hu <= high or not 0 <= background_error_hu < math.inf:
        raise ImplausibleValue(
            "the background is given as attenuation in HU",
            found=f"{background_hu:g} ± {background_error_hu:g}",
            needed=f"{low:g} to {high:g} HU, with an error of at least 0",
        )
    change = np.asarray(scan.data - np.float32(background_hu), np.float32, order="F")
    flags = np.zeros(change.shape, np.uint16)
    flags[~np.isfinite(change)] = Flag.INVALID_INPUT.value
    bright = saturated(scan, limit_hu=saturation_hu)
    flags[bright] = SATURATED.value
    if mask is not None:
        flags[~mask_array(mask, scan)] = Flag.MASKED_OUT.value
    change[flags != 0] = np.nan
    noise = difference_noise(scan, change, noise_sd=None if noise_sd is None else (noise_sd, 0.0))
    shared = gain_relative_error(scan)
    error = np.where(flags == 0, np.float32(math.hypot(noise.sd, background_error_hu)), np.float32(np.nan))
    if shared:
        error = np.hypot(error, np.float32(shared) * change)
    step = make_step("above_background", background_hu=float(background_hu))
    text = (
        f"{background_hu:g} HU were taken for the tissue without agent everywhere; how far tissue differs "
        "from that is not in the standard error. A scan before the agent tells"
    )
    value = scan.derived(change, "delta_attenuation", "[HU]", step).with_warnings(
        *noise.warnings, Caution("assumed-background", text, "background_hu")
    )
    plain = value.replace(warnings=())
    rule = {
        "rule": "one value for all tissue",
        "background_hu": float(background_hu),
        "background_error_hu": float(background_error_hu),
        "n_saturated": int(np.count_nonzero(bright)),
    }
    return Estimate(
        value,
        plain.replace(data=error.astype(np.float32)),
        plain.replace(data=flags, quantity="flags", unit="1"),
        calibration_relative=shared,
        decisions={"background": rule, "noise": noise.decision()},
        maps={"post": scan.replace(warnings=())},
    )
