"""Concentration of all follow-ups as one map along time, for files and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.volume import Axis, Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.ct.retention_result import Retention

_SECONDS_PER_DAY = 86400.0


def retention_map(found: Retention, *, baseline: Volume | None = None) -> Estimate:
    """Concentration of every follow-up that was made, on the grid of the baseline.

    Parameters
    ----------
    found : Retention
    baseline : Volume, optional
        Attenuation before the injection, to stand beside it as the map ``pre``.

    Returns
    -------
    Estimate
        ``concentration`` in mg/mL along ``time`` in s, or where days are not known along ``component``, the
        number of the follow-up; without an axis where there is one follow-up.
    """
    first = found.scans[0].concentration
    axes: tuple[Axis, ...] = ()
    if len(found.scans) > 1 and found.days is not None:
        days = [found.days[scan.number] for scan in found.scans]
        axes = (Axis("time", np.array(days) * _SECONDS_PER_DAY, "s"),)
    elif len(found.scans) > 1:
        axes = (Axis("component", np.array(found.numbers, np.float64), "1"),)
    maps = found.maps
    value = _stacked([one.value for one in maps], axes).replace(warnings=())
    return Estimate(
        value,
        _stacked([one.standard_error for one in maps], axes),
        _stacked([one.flags for one in maps], axes),
        first.calibration_relative,
        {**found.decisions, "detection": first.decisions.get("detection", {})},
        {} if baseline is None else {"pre": baseline.replace(warnings=())},
    )


def _stacked(volumes: list[Volume], axes: tuple[Axis, ...]) -> Volume:
    first = volumes[0]
    if not axes:
        return first.replace(warnings=())
    data = np.empty((*first.shape, len(volumes)), first.data.dtype, order="F")
    for n, volume in enumerate(volumes):
        data[..., n] = volume.data
    return first.replace(data=data, axes=axes, warnings=())
