"""Two CEST scans of one subject: saturated alike, and the second on the grid of the first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imgtheranostics.cest.prepared_spectra import Handling
from imgtheranostics.cest.saturation import saturation_offsets
from imgtheranostics.errors import Caution, UnitMismatch
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.pairs import estimate_on, second_on_first
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Estimate, Volume

_SAME = 0.01
_SATURATION = {
    "b1_rms_ut": ("B1rms", "SaturationB1rms"),
    "b1_mean_ut": ("mean B1", "SaturationB1mean"),
    "b1_cwpe_ut": ("continuous-wave equivalent B1", "SaturationB1cwpe"),
    "pulse_duration_s": ("pulse duration", "SaturationPulseDuration"),
    "pulse_interval_s": ("pulse interval", "SaturationPulseInterval"),
    "pulse_count": ("number of pulses", "SaturationPulseCount"),
    "duty_cycle": ("duty cycle", "SaturationDutyCycle"),
    "duration_s": ("saturation duration", "SaturationDuration"),
}


def check_same_saturation(first: Volume, second: Volume) -> None:
    """Refuse two scans whose contrasts differ without any agent.

    Raises
    ------
    UnitMismatch
        If field strength or saturation are not the same in both.
    """
    one, other = mr_record(first), mr_record(second)
    pairs = {
        "field_strength_t": (one.field_strength_t, other.field_strength_t, "field strength", "(0018,0087)")
    } | {
        name: (one.saturation.get(name), other.saturation.get(name), words, key)
        for name, (words, key) in _SATURATION.items()
    }
    for before, after, words, key in pairs.values():
        if before is None or after is None:
            continue
        values = np.atleast_1d(np.asarray(before, np.float64)), np.atleast_1d(np.asarray(after, np.float64))
        largest = [float(np.nanmax(part)) for part in values]
        if not math.isclose(*largest, rel_tol=_SAME):
            raise UnitMismatch(
                f"the two scans differ in {words}, so their contrasts cannot be compared",
                where=key,
                found=f"{largest[0]:g} and {largest[1]:g}",
                needed="one protocol before and after",
                next_step="give two scans that were acquired alike",
            )


def post_on_pre(
    first: Volume | Estimate, second: Volume | Estimate, how: Handling, *, register: bool
) -> tuple[Volume | Estimate, dict[str, Any], tuple[Caution, ...]]:
    """The second scan on the grid of the first.

    Parameters
    ----------
    register : bool
        Align it rigidly, unsaturated image on unsaturated image, and resample its images; otherwise only the
        order of the voxel axes may differ.

    Raises
    ------
    GeometryMismatch
        If the grids differ and `register` is not asked for.
    """
    base = first.value if isinstance(first, Estimate) else first
    if isinstance(second, Estimate):
        if register:
            raise UnknownChoice("register= (--register) takes two scans, not spectra that were made already")
        return estimate_on(base, second), {"rule": "one grid"}, ()
    if not register:
        return second_on_first(base, second)
    from imgtheranostics.registration import resample

    one, other = _unsaturated(base, how), _unsaturated(second, how)
    from imgtheranostics.registration import register as align

    found = align(one, other, model="rigid")
    decision = {
        "rule": "rigid registration of the unsaturated image to that of the first scan",
        "largest_displacement_mm": found.quality.largest_displacement_mm,
        "repeat_mm": found.quality.repeat_mm,
        "residual": found.quality.residual,
        "overlap": found.quality.overlap,
    }
    return resample(second, found, like=base), decision, found.warnings


def _unsaturated(v: Volume, how: Handling) -> Volume:
    """The mean unsaturated image of a scan."""
    from imgtheranostics.cest.references import find_references

    if v.quantity != "signal":
        raise UnknownChoice("register= (--register) takes two scans, not spectra that were made already")
    found = find_references(saturation_offsets(v), how.m0_index, False, how.drift)
    mean = v.data[..., list(found.positions)].mean(axis=-1, dtype=np.float64)
    return v.replace(data=mean, axes=())
