"""T1 of water on the grid of the images: a map, one number, or the map that the sidecar names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtheranostics.cest.named_maps import named_map
from imgtheranostics.cest.voxel_spectra import Array
from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.mapping.relaxation_times import measured_times
from imgtheranostics.mapping.voxels import on_grid
from imgtheranostics.volume import Estimate, Volume


@dataclass(frozen=True, eq=False)
class WaterT1:
    """T1 of water in s with its standard error, (i, j, k); errors are 0 where they are not known."""

    t1_s: Array
    standard_error: Array
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()

    @property
    def rate_per_s(self) -> Array:
        """R1 in 1/s."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.t1_s > 0, 1.0 / self.t1_s, np.nan)

    @property
    def rate_error_per_s(self) -> Array:
        """Standard error of R1."""
        return np.asarray(self.standard_error * self.rate_per_s**2)


def water_t1(given: Volume | Estimate | float | None, v: Volume, *, purpose: str) -> WaterT1:
    """T1 of water for a scan.

    Parameters
    ----------
    given : Volume, Estimate, float or None
        A map of T1 in s or R1 in 1/s, or one value in s; None takes the map that the sidecar names.
    v : Volume
        Gives the grid.
    purpose : str
        What needs it.

    Raises
    ------
    MissingMetadata
        If it is not known.
    GeometryMismatch
        If the map lies on another grid.
    UnitMismatch, ImplausibleValue
        If it is no T1 in s.
    ValueError
        If a number is not positive.
    """
    source = "given"
    x = given
    if x is None:
        x = named_map(v, "t1_map")
        source = "map named in the sidecar (T1Map)"
    if x is None:
        raise MissingMetadata(
            f"T1 of water is not known; {purpose} needs it",
            where="sidecar key T1Map",
            needed="a T1 map on the grid of the images, or one value in s",
            next_step="give --t1 (t1=), or name the map in the sidecar: T1Map",
        )
    times = measured_times(x, "r1", like=v)
    values = on_grid(times.value, v, "the T1 map", _RESAMPLE)
    errors = on_grid(times.standard_error, v, "the T1 map", _RESAMPLE)
    known = np.isfinite(errors)
    decision = {
        "rule": source,
        **{name: value for name, value in times.decisions.items() if name == "method"},
    }
    return WaterT1(values, np.where(known, errors, 0.0).astype(np.float32), decision, times.value.warnings)


_RESAMPLE = "resample it first: it.registration.resample(t1_map, numpy.eye(4), like=images)"
