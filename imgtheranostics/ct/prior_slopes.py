"""Slopes before any calibration of the scanner: from the model of the spectrum, or from a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from imgtheranostics.ct.compounds import Material, find_material
from imgtheranostics.ct.sensitivity import displaced_water, model_slope
from imgtheranostics.ct.slope import SAME_KVP, Slope
from imgtheranostics.ct.xray_spectra import Beam
from imgtheranostics.errors import Caution, UnsupportedInput

PRIOR_RELATIVE_ERROR = 0.05
"""Relative standard error of a prior slope: two independent calculations of the clinical beams differ by up
to 4.4 % (ct.md section 4.2, computed). It does not cover a wrong beam."""

_SAME_WATER, _SAME_FILTER, _SAME_TIN_MM = 0.05, 0.1, 0.05
"""How far a beam may be from one of a table: relative for water and aluminium."""


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
        Filtration in mm of aluminium; without it 7 mm, and a caution.
    water_cm : float, optional
        Width of the patient in cm of water; without it 20 cm, and a caution.
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
        If `displacement` is true and no density is known.
    ValueError
        If `model` is none of the three, or `relative_error` is not a fraction.
    """
    if model not in ("spectrum", "A", "B"):
        raise ValueError(f"model is one of 'spectrum', 'A' and 'B', not {model!r}")
    if not 0 <= relative_error < 1:
        raise ValueError(f"relative_error is a fraction below 1, not {relative_error}")
    found = find_material(material)
    if model == "spectrum":
        slope = _modelled(found, kvp, filtration_mm_al, water_cm, tin_mm)
    else:
        slope = _tabulated(found, model, kvp, filtration_mm_al, water_cm, tin_mm)
    taken = 0.0
    if displacement is not False:
        taken = displaced_water(found, density_g_ml, required=bool(displacement))
    value = slope.hu_per_mg_ml - taken
    return replace(slope, hu_per_mg_ml=value, standard_error=abs(value) * relative_error, displacement=taken)


def _modelled(
    material: Material, kvp: float, filtration_mm_al: float | None, water_cm: float | None, tin_mm: float
) -> Slope:
    usual = Beam(kvp, tin_mm=tin_mm)
    beam = Beam(
        kvp,
        usual.filtration_mm_al if filtration_mm_al is None else filtration_mm_al,
        usual.water_cm if water_cm is None else water_cm,
        tin_mm,
    )
    assumed = []
    if filtration_mm_al is None:
        assumed.append(f"a filter of {beam.filtration_mm_al:g} mm Al")
    if water_cm is None:
        assumed.append(f"{beam.water_cm:g} cm of water")
    cautions: tuple[Caution, ...] = ()
    if assumed:
        text = f"the prior slope of {material.name} assumes {' and '.join(assumed)}, as in a clinical scanner"
        cautions = (Caution("assumed-beam", text, f"{kvp:g} kVp"),)
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


def _tabulated(
    material: Material,
    table: str,
    kvp: float,
    filtration_mm_al: float | None,
    water_cm: float | None,
    tin_mm: float,
) -> Slope:
    from imgtheranostics.data.hu_slopes import slope_tables, tabulated_materials

    held = [entry for entry in slope_tables(material.name) if entry.name == table]
    if not held:
        raise UnsupportedInput(
            f"table {table} does not hold the material",
            found=material.name,
            needed=", ".join(tabulated_materials()),
            next_step="take model='spectrum', which takes any formula",
        )
    asked = 20.0 if water_cm is None else water_cm
    near = [
        beam
        for beam in held[0].beams
        if abs(beam.kvp - kvp) < SAME_KVP
        and abs(beam.water_cm - asked) <= _SAME_WATER * beam.water_cm
        and abs(beam.tin_mm - tin_mm) < _SAME_TIN_MM
        and (
            filtration_mm_al is None
            or beam.filtration_mm_al is None
            or abs(beam.filtration_mm_al - filtration_mm_al) <= _SAME_FILTER * beam.filtration_mm_al
        )
    ]
    if len(near) != 1:
        raise UnsupportedInput(
            f"table {table} does not hold this beam",
            found=f"{kvp:g} kVp, {asked:g} cm water"
            + ("" if filtration_mm_al is None else f", {filtration_mm_al:g} mm Al")
            + (f", {tin_mm:g} mm Sn" if tin_mm else ""),
            needed="; ".join(
                ", ".join(word for word in (f"{b.kvp:g} kVp", f"{b.water_cm:g} cm water", b.filter) if word)
                for b in held[0].beams
            ),
            next_step="take model='spectrum', or calibrate with vials",
        )
    (beam,) = near
    cautions: tuple[Caution, ...] = ()
    if beam.filtration_mm_al is None:
        text = f"table {table} does not record the filter of its beams"
        cautions = (Caution("filter-not-recorded", text, f"{kvp:g} kVp"),)
    if water_cm is None:
        text = f"the prior slope of {material.name} assumes {asked:g} cm of water"
        cautions = (*cautions, Caution("assumed-beam", text, f"{kvp:g} kVp"))
    filters = "" if beam.filtration_mm_al is None else f"{beam.filtration_mm_al:g} mm Al"
    if beam.tin_mm:
        filters += f" + {beam.tin_mm:g} mm Sn"
    return Slope(
        float(beam.hu_per_mg_ml),
        0.0,
        material.name,
        float(beam.kvp),
        filters,
        float(beam.water_cm),
        f"prior: table {table}",
        warnings=cautions,
    )
