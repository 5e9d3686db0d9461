"""Changes of attenuation from files, with everything that the next step needs of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.ct.rod_calibration import gain_relative_error
from imgtheranostics.mapping.map_files import load_map
from imgtheranostics.volume import Estimate, Volume

QUANTITY = "delta_attenuation"
_ENDINGS = (".nii.gz", ".nii")
_SCANS = ("pre", "post")


def load_enhancement(path: Path | str, series: str | None = None) -> Volume | Estimate:
    """A change of attenuation that was saved, or any scan or map as `imgtheranostics.mapping` reads it.

    Parameters
    ----------
    path : path
        The map ``delta_attenuation.nii.gz``, the folder of results that holds it, or a scan.
    series : str, optional
        As in `imgtheranostics.load`, for a scan.

    Returns
    -------
    Volume or Estimate
        A map with its standard error beside it is an Estimate; that of a change also has the scans before
        and after the agent, where they lie beside it, and the noise of a voxel among its `decisions`.

    Raises
    ------
    ImgTheranosticsError
        As `imgtheranostics.load`.
    """
    place = saved_map(Path(path), QUANTITY)
    found = load_map(place, series)
    if not isinstance(found, Estimate) or found.quantity != QUANTITY:
        return found
    noise, shared = _voxel_noise(found)
    decisions: dict[str, Any] = dict(found.decisions)
    decisions["noise"] = {"rule": "median of the standard errors of the map, given", "voxel_sd_hu": noise}
    return replace(found, calibration_relative=shared, decisions=decisions, maps=_scans_beside(place, found))


def saved_map(path: Path, quantity: str) -> Path:
    """The map of a quantity in a folder of results; the path itself where that is none."""
    for ending in _ENDINGS:
        held = path / f"{quantity}{ending}"
        if path.is_dir() and held.is_file():
            return held
    return path


def _voxel_noise(change: Estimate) -> tuple[float, float]:
    """Noise of one voxel in HU, and the part of the error that a calibration shares between all voxels."""
    shared = gain_relative_error(change.value)
    error = change.standard_error.data.astype(np.float64)
    known = np.isfinite(error) & np.isfinite(change.value.data)
    squares = error[known] ** 2 - (shared * change.value.data[known]) ** 2
    return (float(np.sqrt(max(0.0, np.median(squares)))) if squares.size else float("nan")), shared


def _scans_beside(place: Path, change: Estimate) -> dict[str, Volume]:
    """The scans that were subtracted, where they were saved with the map."""
    ending = next(end for end in _ENDINGS if place.name.endswith(end))
    stem = place.name.removesuffix(ending)
    found = {}
    for name in _SCANS:
        file = place.with_name(f"{stem}_{name}{ending}")
        if file.is_file():
            scan = load_map(file)
            value = scan.value if isinstance(scan, Estimate) else scan
            if value.quantity == "attenuation" and change.grid.same_as(value.grid):
                found[name] = value
    return found
