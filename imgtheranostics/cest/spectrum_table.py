"""Simulated Z-spectra as rows of the table that all commands print and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import STATISTICS_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = frozenset({"subject", "session", "flags", "warnings"})


def spectrum_table(z: npt.ArrayLike, offset_ppm: npt.ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """One row for each spectrum and offset.

    Parameters
    ----------
    z : (m, n) array_like
        Mz/M0 of water.
    offset_ppm : (n,) array_like
    names : sequence of str
        Of the m spectra; they stand where regions do.

    Returns
    -------
    pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`; what only voxels have is empty.
    """
    import pandas as pd

    offsets = np.asarray(offset_ppm, np.float64)
    rows: list[dict[str, Any]] = []
    for name, spectrum in zip(names, np.asarray(z, np.float64), strict=True):
        for offset, value in zip(offsets, spectrum, strict=True):
            row: dict[str, Any] = {
                column: "" if column in _TEXTS else np.nan for column in STATISTICS_COLUMNS
            }
            row |= {
                "region": name,
                "quantity": "z_spectrum",
                "unit": "1",
                "axis": "saturation_offset",
                "axis_value": float(offset),
                "mean": float(value),
            }
            rows.append(row)
    return pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
