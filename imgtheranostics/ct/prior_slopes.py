"""Slopes before any calibration of the scanner: from the model of the spectrum, or from a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from imgtheranostics.ct.compounds import Material, find_material, near_compounds
from imgtheranostics.ct.sensitivity import displaced_water, model_slope
from imgtheranostics.ct.slope import SAME_KVP, Slope
from imgtheranostics.ct.xray_spectra import Beam
from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput

if TYPE_CHECKING:
    from imgtheranostics.data.hu_slopes import TabulatedBeam

PRIOR_RELATIVE_ERROR = 0.05
"""Relative standard error of a prior slope: two independent calculations of the clinical beams differ by up
to 4.4 % (ct.md section 4.2, computed). It does not cover a wrong beam."""

_SAME_WATER, _SAME_FILTER, _SAME_TIN_MM = 0.05, 0.1, 0.05
"""How far a beam may be from one of a table: relative for water and aluminium."""


LOWEST_CLINICAL_KVP = 70.0
"""Below, a beam is that of a micro-CT: the body filter and 20 cm of water of a clinical scanner, assumed at
65 kVp, would make the slope of gold 40 % low."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A beam as far as it is known."""

    kvp: float
    filtration_mm_al: float | None
    water_cm: float | None
    tin_mm: float

    def fits(self, beam: TabulatedBeam) -> bool:
        """Whether a beam of a table is this one; a filter that either does not state fits."""
        if abs(beam.kvp - self.kvp) >= SAME_KVP or abs(beam.tin_mm - self.tin_mm) >= _SAME_TIN_MM:
            return False
        if self.water_cm is not None and abs(beam.water_cm - self.water_cm) > _SAME_WATER * beam.water_cm:
            return False
        if self.filtration_mm_al is None or beam.filtration_mm_al is None:
            return True
        return abs(beam.filtration_mm_al - self.filtration_mm_al) <= _SAME_FILTER * beam.filtration_mm_al

    def __str__(self) -> str:
        stated = [
            (self.water_cm, "cm water"),
            (self.filtration_mm_al, "mm Al"),
            (self.tin_mm or None, "mm Sn"),
        ]
        words = [f"{value:g} {unit}" for value, unit in stated if value is not None]
        return ", ".join([f"{self.kvp:g} kVp", *words])


def prior_slope(
    material: str,
    kvp: float,
    *,
    filtration_mm_al: float | None = None,
    water_cm: float | None = None,
    tin_mm: float = 0.0,
    model: Literal["spectrum", "A", "B"] = "spectrum",
    displacement: bool | None = None,
    density_g_ml: float | None = None,
    relative_error: float = PRIOR_RELATIVE_ERROR,
) -> Slope:
    """HU per mg/mL with a standard error, before any calibration of the scanner.

    Parameters
    ----------
    material : str
        As for `hu_per_mg_ml`.
    kvp : float
        Tube voltage in kV.
    filtration_mm_al : float, optional
        Filtration in mm of aluminium; without it 7 mm, and a caution. Below 70 kVp it is needed.
    water_cm : float, optional
        Width of the patient in cm of water; without it 20 cm, and a caution. Below 70 kVp it is needed.
    tin_mm : float
        Tin in mm, in addition.
    model : {"spectrum", "A", "B"}
        The spectrum model for this beam, or one of two tables that were calculated independently. A table
        answers only for the beams that it holds.
    displacement : bool, optional
        Subtract the displaced water (1/density). Without it, wherever the density is known: from
        `density_g_ml` or from an agent's record.
    density_g_ml : float, optional
        Density of the particles.
    relative_error : float
        Standard error over slope.

    Returns
    -------
    Slope

    Raises
    ------
    UnsupportedInput
        If the material is not known, or a table does not hold it or this beam; near names or the beams that
        it holds are listed.
    ImplausibleValue
        If the beam is not one of a CT scanner.
    MissingMetadata
        If `displacement` is true and no density is known; or if the model is asked below 70 kVp, where beams
        are those of micro-CT, without their filter and water.
    ValueError
        If `model` is none of the three, or `relative_error` is not a fraction.
    """
    if model not in ("spectrum", "A", "B"):
        raise ValueError(f"model is one of 'spectrum', 'A' and 'B', not {model!r}")
    if not 0 <= relative_error < 1:
        raise ValueError(f"relative_error is a fraction below 1, not {relative_error}")
    found = find_material(material)
    asked = _Asked(float(kvp), filtration_mm_al, water_cm, tin_mm)
    slope = _modelled(found, asked) if model == "spectrum" else _tabulated(found, model, asked)
    taken = 0.0
    if displacement is not False:
        taken = displaced_water(found, density_g_ml, required=bool(displacement))
    value = slope.hu_per_mg_ml - taken
    return replace(
        slope,
        hu_per_mg_ml=value,
        standard_error=abs(value) * relative_error,
        displacement=taken,
        warnings=(*_misspelt(found), *slope.warnings),
    )


def _misspelt(material: Material) -> tuple[Caution, ...]:
    """A formula that may be meant for the usual compound of its elements."""
    near = near_compounds(material) if material.agent is None else ()
    if not near:
        return ()
    text = f"{material.name} was taken as it is written; usual of these elements is {' or '.join(near)}"
    return (Caution("unusual-formula", text, "material"),)


def _modelled(material: Material, asked: _Asked) -> Slope:
    usual = Beam(asked.kvp, tin_mm=asked.tin_mm)
    beam = Beam(
        asked.kvp,
        usual.filtration_mm_al if asked.filtration_mm_al is None else asked.filtration_mm_al,
        usual.water_cm if asked.water_cm is None else asked.water_cm,
        asked.tin_mm,
    )
    assumed = []
    if asked.filtration_mm_al is None:
        assumed.append(f"a filter of {beam.filtration_mm_al:g} mm Al")
    if asked.water_cm is None:
        assumed.append(f"{beam.water_cm:g} cm of water")
    if assumed and beam.kvp < LOWEST_CLINICAL_KVP - SAME_KVP:
        raise MissingMetadata(
            "the beam of a micro-CT is not known well enough for a prior slope",
            found=f"{beam.kvp:g} kVp; "
            + " and ".join(assumed)
            + " would be assumed, as in a clinical scanner",
            needed="filtration_mm_al and water_cm",
            next_step="give both (--filtration-mm-al, --water-cm; often 0.5 to 1 mm Al, and 3 cm for a "
            "mouse), or calibrate with vials",
        )
    cautions: tuple[Caution, ...] = ()
    if assumed:
        text = f"the prior slope of {material.name} assumes {' and '.join(assumed)}, as in a clinical scanner"
        cautions = (Caution("assumed-beam", text, f"{beam.kvp:g} kVp"),)
    return Slope(
        model_slope(material.name, tuple(material.mass_fractions.items()), beam),
        0.0,
        material.name,
        beam.kvp,
        beam.filter,
        beam.water_cm,
        "prior: spectrum model",
        warnings=cautions,
    )


def _tabulated(material: Material, table: str, asked: _Asked) -> Slope:
    beam = _held_beam(material, table, asked)
    cautions: tuple[Caution, ...] = ()
    filters = f"{beam.tin_mm:g} mm Sn" if beam.tin_mm else ""
    if beam.filtration_mm_al is None:
        text = f"table {table} does not record the filter of its beams"
        cautions = (Caution("filter-not-recorded", text, f"{beam.kvp:g} kVp"),)
    else:
        filters = f"{beam.filtration_mm_al:g} mm Al" + (f" + {filters}" if filters else "")
    if asked.water_cm is None:
        text = f"the prior slope of {material.name} assumes {beam.water_cm:g} cm of water"
        cautions = (*cautions, Caution("assumed-beam", text, f"{beam.kvp:g} kVp"))
    return Slope(
        beam.hu_per_mg_ml,
        0.0,
        material.name,
        beam.kvp,
        filters,
        beam.water_cm,
        f"prior: table {table}",
        warnings=cautions,
    )


def _held_beam(material: Material, table: str, asked: _Asked) -> TabulatedBeam:
    """The one beam of a table that is meant; without a diameter, that of 20 cm of water."""
    from imgtheranostics.data.hu_slopes import slope_tables, tabulated_materials

    held = [entry for entry in slope_tables(material.name) if entry.name == table]
    if not held:
        raise UnsupportedInput(
            f"table {table} does not hold the material",
            found=material.name,
            needed=", ".join(tabulated_materials()),
            next_step="take model='spectrum', which takes any formula",
        )
    meant = replace(asked, water_cm=20.0 if asked.water_cm is None else asked.water_cm)
    near = [beam for beam in held[0].beams if meant.fits(beam)]
    if len(near) != 1:
        known = [
            ", ".join(word for word in (f"{b.kvp:g} kVp", f"{b.water_cm:g} cm water", b.filter) if word)
            for b in held[0].beams
        ]
        raise UnsupportedInput(
            f"table {table} does not hold this beam",
            found=str(meant),
            needed="; ".join(known),
            next_step="take model='spectrum', or calibrate with vials",
        )
    return near[0]
