"""Maps from files, with the standard error and the flags that lie beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.volume import Estimate, Flag, Volume

_SE_SUFFIX = "_se"


def load_map(
    path: Path | str,
    series: str | None = None,
    *,
    mr_scaling: str | None = None,
    window_kev: float | tuple[float, float] | None = None,
) -> Volume | Estimate:
    """A scan or a map from a path; a map with ``name_se.nii.gz`` beside it comes with its standard error.

    Parameters
    ----------
    path : path
    series, mr_scaling, window_kev : optional
        As in `imgtheranostics.io.loading.load`.

    Raises
    ------
    UnsupportedInput
        If the flags beside the map are none.
    ImgTheranosticsError
        As `imgtheranostics.io.loading.load`.
    """
    from imgtheranostics.io.loading import load

    place = Path(path)
    value = load(place, series=series, mr_scaling=mr_scaling, window_kev=window_kev)
    suffix = next((end for end in (".nii.gz", ".nii") if place.name.endswith(end)), None)
    if suffix is None or value.quantity == "signal":
        return value
    stem = place.name.removesuffix(suffix)
    error = place.with_name(f"{stem}{_SE_SUFFIX}{suffix}")
    if not error.is_file():
        return value
    own, shared = place.with_name(f"{stem}_flags{suffix}"), place.with_name(f"flags{suffix}")
    flags = next((load(found) for found in (own, shared) if found.is_file()), None)
    if flags is None:
        marks = np.where(np.isfinite(value.data), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
        flags = value.replace(data=marks, quantity="flags", unit="1", warnings=())
    if flags.quantity != "flags":
        raise UnsupportedInput("the flags beside the map are none", where=own.name, found=flags.quantity)
    decisions = {"method": {"rule": f"map of {value.quantity} with its standard error, given"}}
    return Estimate(value, load(error), flags, decisions=decisions)
