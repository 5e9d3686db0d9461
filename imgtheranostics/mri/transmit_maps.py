"""The transmit field as a map: by two flip angles, or by two repetition times."""

from __future__ import annotations

from typing import Any

import numpy as np

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import check_signal
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.mri.protocol import Series, required, series_along
from imgtheranostics.volume import Estimate, Volume, make_step


def b1_map(
    v: Volume, *, flip_angle_deg: float | None = None, noise_sd: float | None = None, mask: Mask = None
) -> Estimate:
    """Transmit field relative to nominal.

    Two flip angles, the second twice the first, give it by the double-angle method; two repetition times at
    one flip angle by actual flip-angle imaging (AFI).

    Parameters
    ----------
    v : Volume
        Signal with two samples along ``flip_angle`` or ``repetition_time``.
    flip_angle_deg : float, optional
        Nominal angle of AFI; goes before the file.
    noise_sd : float, optional
        Noise of one image, for the standard error.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``relative_b1``.

    Raises
    ------
    UnsupportedInput
        If the images vary in neither, or there are not two.
    MissingMetadata, UnitMismatch, ImplausibleValue
    """
    check_signal(v, "the transmit field")
    series = _pair(v)
    chosen = chosen_voxels(series.samples, v, mask=mask)
    if series.axis.name == "flip_angle":
        from imgtheranostics.mri.b1 import double_angle

        method: dict[str, Any] = {"rule": "double angle", "flip_angle_deg": series.x.tolist()}
        with typed_refusals():
            fit = double_angle(series.samples, series.x, noise_sd=noise_sd, mask=chosen.inside)
    else:
        from imgtheranostics.mri.b1 import actual_flip_angle

        angle = required(v, "flip_angle_deg", flip_angle_deg, purpose="actual flip-angle imaging").scalar
        method = {"rule": "actual flip-angle imaging", "flip_angle_deg": angle}
        method["repetition_time_s"] = series.x.tolist()
        with typed_refusals():
            fit = actual_flip_angle(series.samples, angle, series.x, noise_sd=noise_sd, mask=chosen.inside)
    return calculated_estimate(
        v,
        fit,
        "relative_b1",
        "relative_b1",
        make_step("b1_map", method=method["rule"]),
        chosen,
        axes=series.others,
        decisions={"method": method, "mask": chosen.decision},
    )


def is_b1_series(v: Volume) -> bool:
    """Whether the images are a pair that a transmit-field map is made from."""
    return v.quantity == "signal" and any(
        axis is not None and len(axis) == 2 for axis in (v.axis("flip_angle"), v.axis("repetition_time"))
    )


def _pair(v: Volume) -> Series:
    for name in ("flip_angle", "repetition_time"):
        axis = v.axis(name)
        if axis is not None and len(axis) == 2 and np.ptp(axis.values) > 0:
            return series_along(v, name)
    raise UnsupportedInput(
        "these images are no pair that the transmit field can be calculated from",
        found=", ".join(f"{axis.name} x {len(axis)}" for axis in v.axes) or "one image",
        needed="two flip angles, the second twice the first, or two repetition times",
        next_step="give the pair, or a map of the transmit field",
    )
