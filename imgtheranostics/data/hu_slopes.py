"""Tables of CT number per concentration, by beam: priors that were calculated once and keep their names.

`hu_slopes.json` holds them; agents' records refer to a material of it instead of repeating its rows. No
library of spectra is needed to read them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class TabulatedBeam:
    """One beam of a table.

    Attributes
    ----------
    kvp : float
        Tube voltage in kV.
    water_cm : float
        Water that hardened the spectrum, in cm.
    filtration_mm_al : float or None
        Filtration in mm of aluminium; None where the table does not record it.
    tin_mm : float
        Tin in mm, in addition.
    hu_per_mg_ml : float
        HU per mg of the material per mL.
    """

    kvp: float
    water_cm: float
    filtration_mm_al: float | None
    tin_mm: float
    hu_per_mg_ml: float

    @property
    def filter(self) -> str:
        """What sets the filter apart from the body filter of a clinical scanner; empty for that."""
        if self.tin_mm:
            return f"{self.tin_mm:g} mm Sn"
        thin = self.filtration_mm_al is not None and self.filtration_mm_al < _THIN_MM_AL
        return f"{self.filtration_mm_al:g} mm Al" if thin else ""


@dataclass(frozen=True, slots=True)
class SlopeTable:
    """Slopes of one material in the beams of one table.

    Attributes
    ----------
    name : str
        Of the table, such as ``A``.
    material : str
    provenance, source, note : str
    beams : tuple of TabulatedBeam
    """

    name: str
    material: str
    provenance: Literal["review", "published", "computed", "unconfirmed"]
    source: str
    note: str
    beams: tuple[TabulatedBeam, ...]


_THIN_MM_AL = 5.0


def slope_tables(material: str) -> tuple[SlopeTable, ...]:
    """The tables that hold a material, in order of their names; empty where none does.

    Parameters
    ----------
    material : str
        Formula as the tables write it, such as ``HfO2``.

    Examples
    --------
    >>> slope_tables("HfO2")[0].beams[2].hu_per_mg_ml
    27.0
    """
    return _by_material().get(material, ())


def tabulated_materials() -> tuple[str, ...]:
    """Formulas of the materials in the tables."""
    return tuple(_by_material())


@lru_cache(maxsize=1)
def _by_material() -> MappingProxyType[str, tuple[SlopeTable, ...]]:
    text = files("imgtheranostics.data").joinpath("hu_slopes.json").read_text(encoding="utf-8")
    found: dict[str, tuple[SlopeTable, ...]] = {}
    for name, table in json.loads(text)["tables"].items():
        for material in table["beams"][0]["hu_per_mg_ml"]:
            beams = tuple(
                TabulatedBeam(
                    float(beam["kvp"]),
                    float(beam["water_cm"]),
                    None if beam["filtration_mm_al"] is None else float(beam["filtration_mm_al"]),
                    float(beam["tin_mm"]),
                    float(beam["hu_per_mg_ml"][material]),
                )
                for beam in table["beams"]
            )
            entry = SlopeTable(name, material, table["provenance"], table["source"], table["note"], beams)
            found[material] = (*found.get(material, ()), entry)
    return MappingProxyType(found)
