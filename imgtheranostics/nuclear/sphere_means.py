"""Spheres in a uniform surrounding, corrected by their closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution, IllConditioned, NothingUsable, UnsupportedInput, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear.partial_volume import correct_sphere_mean
from imgtheranostics.nuclear.recovery_rows import PartialVolume, long_rows, same_place, sphere_diameter_mm
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

_SAME_WIDTH = 1e-3
_SAME_VOLUME = 0.2


def sphere_means(
    volume: Volume | Estimate,
    rois: Regions,
    width: tuple[float, float, float],
    uncertainty: float,
    labels: Mapping[str, Any],
    *,
    surroundings: str | float | None = None,
    diameters_mm: Mapping[str, float] | None = None,
    diameter_relative_uncertainty: float = 0.0,
) -> PartialVolume:
    """Means of spheres; arguments as in `correct_partial_volume`.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `correct_partial_volume`.
    """
    if max(width) > min(width) * (1.0 + _SAME_WIDTH):
        raise UnsupportedInput(
            "the closed form of a sphere needs a resolution that is the same in all directions",
            found=", ".join(f"{one:g}" for one in width) + " mm",
            needed="one width",
            next_step="use gtm, or give the geometric mean of the widths",
        )
    _check_names(rois, surroundings, diameters_mm)
    measured = roi_statistics(volume, rois, resolution_mm=width, **labels)
    measured.attrs = {}
    around, around_se = _around(measured, surroundings)
    rows = measured[measured["region"] != surroundings].reset_index(drop=True)
    if rows.empty:
        raise NothingUsable("no region is left beside the surroundings", needed="at least one sphere")
    sizes = {
        str(name): (diameters_mm or {}).get(str(name), sphere_diameter_mm(float(ml)))
        for name, ml in zip(rows["region"], rows["volume_ml"], strict=True)
    }
    for name, diameter in sizes.items():
        _check_sphere(name, diameter, width[0])
    frames = measured[measured["region"] == rows["region"][0]]["axis_value"].tolist()
    results = []
    columns = (rows[name].tolist() for name in ("region", "axis_value", "mean", "standard_error"))
    for name, at, mean, error in zip(*columns, strict=True):
        frame = next(n for n, one in enumerate(frames) if same_place(one, at))
        results.append(
            correct_sphere_mean(
                mean,
                diameter_mm=sizes[name],
                fwhm_mm=width[0],
                background=around[frame],
                measured_standard_error=_or_zero(error),
                background_standard_error=_or_zero(around_se[frame]),
                diameter_relative_uncertainty=diameter_relative_uncertainty,
                fwhm_relative_uncertainty=uncertainty,
            )
        )
    rows["measured_mean"], rows["measured_se"] = rows["mean"], rows["standard_error"]
    rows["mean"] = [one.value for one in results]
    rows["standard_error"] = [one.standard_error for one in results]
    rows["recovery"] = [one.recovery for one in results]
    for name in ("sd", "median", "p05", "p95", "min", "max"):
        rows[name] = np.nan
    v = volume.value if isinstance(volume, Estimate) else volume
    decisions = {
        "correction": {"rule": "sphere in a uniform surrounding", "diameter_mm": sizes},
        "surroundings": {"rule": "region" if isinstance(surroundings, str) else "given", "mean": around},
        "resolution": {"fwhm_mm": list(width), "relative_uncertainty": uncertainty},
    }
    cautions = merge_cautions(volume.warnings, rois.warnings, _unlike_spheres(rows, sizes))
    return PartialVolume(long_rows(rows, v.quantity), None, width, decisions, cautions)


def _check_names(
    rois: Regions, surroundings: str | float | None, diameters_mm: Mapping[str, float] | None
) -> None:
    if surroundings is None:
        raise UnknownChoice(
            "spheres need surroundings= (--surroundings): the mean around them, 0 for nothing, or its region"
        )
    named = [*(diameters_mm or ()), *([surroundings] if isinstance(surroundings, str) else [])]
    unknown = [name for name in named if name not in list(rois)]
    if unknown:
        raise NothingUsable(
            "there is no such region", found=", ".join(unknown), needed="one of " + ", ".join(rois)
        )


def _unlike_spheres(rows: pd.DataFrame, sizes: Mapping[str, float]) -> tuple[Caution, ...]:
    volumes = dict(zip(rows["region"], rows["volume_ml"], strict=True))
    unlike = [
        name
        for name, diameter in sizes.items()
        if abs(volumes[name] / (math.pi / 6000.0 * diameter**3) - 1.0) > _SAME_VOLUME
    ]
    if not unlike:
        return ()
    text = f"{', '.join(unlike)}: the region is not as large as a sphere of the stated diameter, of whose "
    return (Caution("region-not-sphere", text + "own mean the closed form holds"),)


def _around(measured: pd.DataFrame, surroundings: str | float | None) -> tuple[list[float], list[float]]:
    """Mean around the spheres in every frame, and its standard error."""
    if isinstance(surroundings, str):
        rows = measured[measured["region"] == surroundings]
        return rows["mean"].tolist(), rows["standard_error"].tolist()
    if surroundings is None or not math.isfinite(surroundings):
        raise UnknownChoice("the mean around the spheres must be a number")
    n = int((measured["region"] == measured["region"].iloc[0]).sum())
    return [float(surroundings)] * n, [0.0] * n


def _check_sphere(name: str, diameter_mm: float, fwhm_mm: float) -> None:
    if fwhm_mm > diameter_mm:
        raise IllConditioned(
            "the point spread is larger than a region",
            where=name,
            found=f"{fwhm_mm:g} mm for a sphere of {diameter_mm:.3g} mm",
            needed="a resolution narrower than the region",
            next_step="report the uncorrected mean as a lower bound",
        )


def _or_zero(error: Any) -> float:
    return float(error) if error is not None and math.isfinite(error) else 0.0
