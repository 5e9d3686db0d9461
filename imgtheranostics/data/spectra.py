"""Tables of absorbers: molar extinction and absorption by wavelength, and indices of refraction.

`spectra.json` holds them with their source and licence; `scripts/generate_spectra.py` makes it. Nothing is
interpolated here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumTable:
    """One tabulated spectrum.

    Attributes
    ----------
    name : str
        Such as ``hbo2``.
    title : str
    quantity : {"molar_extinction", "absorption"}
        Molar extinction in 1/(M cm), to base 10; or absorption in 1/cm, to base e.
    wavelength_nm, values : (n,) ndarray
        Increasing wavelengths.
    source, licence, note : str
    """

    name: str
    title: str
    quantity: Literal["molar_extinction", "absorption"]
    wavelength_nm: FloatArray
    values: FloatArray
    source: str
    licence: str
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class IndexTable:
    """One tabulated complex index of refraction, n + ik.

    Attributes
    ----------
    name, title : str
    wavelength_nm, n, k : (n,) ndarray
    source, licence : str
    """

    name: str
    title: str
    wavelength_nm: FloatArray
    n: FloatArray
    k: FloatArray
    source: str
    licence: str


@lru_cache(maxsize=1)
def spectrum_tables() -> Mapping[str, SpectrumTable]:
    """Every tabulated spectrum by name.

    Examples
    --------
    >>> table = spectrum_tables()["hb"]
    >>> float(table.values[table.wavelength_nm == 700.0][0])
    1794.28
    """
    return MappingProxyType(
        {
            name: SpectrumTable(
                name,
                row["title"],
                row["quantity"],
                _frozen(row["wavelength_nm"]),
                _frozen(row["values"]),
                row["source"],
                row["licence"],
                row["note"],
            )
            for name, row in _content()["spectra"].items()
        }
    )


@lru_cache(maxsize=1)
def index_tables() -> Mapping[str, IndexTable]:
    """Every tabulated index of refraction by name."""
    return MappingProxyType(
        {
            name: IndexTable(
                name,
                row["title"],
                _frozen(row["wavelength_nm"]),
                _frozen(row["n"]),
                _frozen(row["k"]),
                row["source"],
                row["licence"],
            )
            for name, row in _content()["indices"].items()
        }
    )


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    text = files("imgtheranostics.data").joinpath("spectra.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _frozen(values: list[float]) -> FloatArray:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array
