"""How an image and its components fall with depth, for a report: a few wavelengths, and each component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.msot.depth_curves import depth_curve
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.msot.wavelength_choice import of_wavelengths
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

BODY = "body"
_SHOWN = 3


def depth_summary(
    unmixed: Unmixed,
    measured: Volume,
    depth: Volume,
    *,
    width_mm: float,
    mask: Mask = None,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> tuple[pd.DataFrame, tuple[CurveFit, ...]]:
    """Curves against depth in the body, of frames' means.

    Parameters
    ----------
    unmixed : Unmixed
    measured : Volume
        The image before light was taken out of it.
    depth : Volume
        Of `imgtheranostics.msot.fluence.depth_from_mask`.
    width_mm : float
        Of a shell.
    mask : Volume, Regions or (i, j, k) array_like, optional
        Voxels that count, such as one kind of tissue.
    resolution_mm, workers
        As in `imgtheranostics.msot.region_means`.

    Returns
    -------
    table : pandas.DataFrame
        ``effective_attenuation`` of the body at the first, middle and last wavelength, of the image as it was
        measured.
    curves : tuple of CurveFit
        These, the same after the correction of light where there was one, and each component.
    """
    import pandas as pd

    count = len(measured.axes[-1])
    places = sorted({round(n) for n in np.linspace(0, count - 1, min(_SHOWN, count))})
    chosen = [float(measured.axes[-1].values[n]) for n in places]
    images = {"measured": measured}
    if unmixed.signal is not measured:
        images["corrected for light"] = unmixed.signal
    options: dict[str, Any] = {
        "width_mm": width_mm,
        "mask": mask,
        "resolution_mm": resolution_mm,
        "workers": workers,
    }
    rows, curves = [], []
    for words, image in images.items():
        found = depth_curve(_time_mean(of_wavelengths(image, chosen)), depth, **options)
        for at, curve in zip(chosen, found.curves, strict=False):
            curves.append(replace(curve, label=f"{at:g} nm, {words}"))
            if words == "measured" and math.isfinite(curve.value):
                rows.append(_row(curve, at, depth))
    for name, one in unmixed.estimates.items():
        of_component = depth_curve(_time_mean(one), depth, **options)
        curves += [replace(curve, label=name) for curve in of_component.curves]
    table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    table.attrs["details"] = [{"rule": "exponential through means of shells of equal depth"} for _ in rows]
    return table, tuple(curves)


def _time_mean(x: Volume | Estimate) -> Volume:
    """The mean over time, where there is such an axis; errors are those of the spread within shells."""
    value = x.value if isinstance(x, Estimate) else x
    place = next((n for n, axis in enumerate(value.axes) if axis.name == "time"), None)
    if place is None:
        return value
    left = tuple(axis for axis in value.axes if axis.name != "time")
    return value.replace(data=value.data.mean(axis=3 + place, dtype=np.float64), axes=left)


def _row(curve: CurveFit, wavelength_nm: float, depth: Volume) -> dict[str, object]:
    inside = int(np.count_nonzero(np.isfinite(depth.data)))
    unknown: dict[str, object] = dict.fromkeys(STATISTICS_COLUMNS, math.nan)
    return unknown | {
        "subject": "",
        "session": "",
        "region": BODY,
        "quantity": "effective_attenuation",
        "unit": "1/cm",
        "axis": "wavelength",
        "axis_value": wavelength_nm,
        "n_voxels": inside,
        "n_valid": inside,
        "volume_ml": inside * depth.grid.voxel_volume_ml,
        "mean": curve.value,
        "standard_error": curve.standard_error,
        "flags": "",
        "warnings": "",
    }
