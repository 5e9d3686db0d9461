"""What a table of curves says of the nuclide that was imaged, and its curves as if nothing had decayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import Nuclide, nuclide, nuclide_in
from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.curve_models import SAME_HALF_LIFE
from imgtheranostics.nuclear.decay import decay_constant
from imgtheranostics.nuclear.frame_means import mean_over_middle
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

_SCALED = ("mean", "sd", "standard_error", "median", "p05", "p95", "min", "max", "peak")
_SCALED_DETAILS = ("standard_error_sampling", "standard_error_calibration")


def imaged_nuclide(attrs: Mapping[Any, Any], named: str | None) -> Nuclide:
    """The nuclide that the scans of a table say, or that is named; both must agree.

    Parameters
    ----------
    attrs : mapping
        Of a table of `time_activity`.
    named : str, optional

    Raises
    ------
    MissingMetadata
        If neither knows it.
    ImplausibleValue
        If scans are of several nuclides, or of another one than is named.
    """
    said = [one["half_life"] for one in attrs.get("decisions", ()) if "half_life" in one]
    names = {str(one["nuclide"]) for one in said if one.get("nuclide")}
    if named is not None:
        names.add(nuclide(named).name)
    if len(names) > 1:
        raise ImplausibleValue(
            "the curves are of more than one nuclide",
            found=" and ".join(sorted(names)),
            needed="the one nuclide that was imaged",
            next_step="make a table for each, and name the nuclide that was imaged",
        )
    if not names:
        raise MissingMetadata(
            "the nuclide that was imaged is not known",
            where="RadionuclideCodeSequence (0054,0300)",
            needed="the nuclide, since another one's decay takes the place of its own",
            next_step="give imaged (--imaged Y-86)",
        )
    record = nuclide(names.pop())
    for one in said:
        seconds = float(one["seconds"])
        if abs(seconds / record.half_life_s - 1.0) > SAME_HALF_LIFE:
            raise ImplausibleValue(
                f"the half-life of the curves is not that of {record.name}",
                found=f"{seconds:g} s",
                needed=f"{record.half_life_s:g} s within {100 * SAME_HALF_LIFE:g} %",
                next_step="name the nuclide that was imaged",
            )
    return record


def check_imaged(scans: Volume | Sequence[Volume], imaged: str) -> None:
    """Refuse a nuclide that is not the one that scans name.

    Raises
    ------
    ImplausibleValue
    UnsupportedInput
        If the nuclide is not known.
    """
    stated = nuclide(imaged).name
    for v in [scans] if isinstance(scans, Volume) else scans:
        record = v.acquisition
        if not isinstance(record, (EmissionAcquisition, NuclearAcquisition)):
            continue
        named = nuclide_in(record.radiopharmaceutical.nuclide or "")
        if named is not None and named != stated:
            raise ImplausibleValue(
                "the scans are of another nuclide than is said to have been imaged",
                where="RadionuclideCodeSequence (0054,0300)",
                found=named,
                needed=stated,
                next_step="leave out imaged (--imaged), or correct the header if it is wrong",
            )


def biological_table(table: pd.DataFrame, half_life_s: float) -> pd.DataFrame:
    """A table of curves decay corrected to the injection; one that is already, or mixed, stays as it is.

    Parameters
    ----------
    table : pandas.DataFrame
        With ``decay_corrected`` and times after the injection.
    half_life_s : float
        Of what was imaged; that of the scans goes before it.

    Raises
    ------
    MissingMetadata
        If the table does not say whether it is decay corrected.
    """
    if "decay_corrected" not in table.columns:
        raise MissingMetadata(
            "the decay reference of the curves is not known",
            where="column decay_corrected",
            next_step="add the column: True where values are corrected to the injection, else False",
        )
    if table["decay_corrected"].astype(bool).any() or "axis_value" not in table.columns:
        return table
    said = [one["half_life"]["seconds"] for one in table.attrs.get("decisions", ()) if "half_life" in one]
    seconds = float(said[0]) if said else half_life_s
    attrs = dict(table.attrs)
    lengths = [row.get("frame_duration_s", np.nan) for row in attrs.get("details") or [{}] * len(table)]
    within = mean_over_middle(decay_constant(seconds), lengths)
    factor = np.exp2(table["axis_value"].to_numpy(np.float64) / seconds) / within
    found = table.copy(deep=True)
    for name in _SCALED:
        if name in found.columns:
            found[name] = found[name].to_numpy(np.float64) * factor
    found["decay_corrected"] = True
    details = attrs.get("details")
    if details:
        attrs["details"] = [
            {**row, **{name: row[name] * each for name in _SCALED_DETAILS if name in row}}
            for row, each in zip(details, factor, strict=True)
        ]
    found.attrs = {**attrs, "decay_corrected": True, "decay_reference": "injection"}
    return found
