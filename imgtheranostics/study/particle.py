"""One particle seen by several modalities: what it carries, and one concentration from what each measures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import MissingMetadata, UnitMismatch
from imgtheranostics.study.manifest_parts import Part, Text
from imgtheranostics.units import parse_amount

PARTICLE = "particle"
"""As what a concentration counts: the whole particle."""

ConcentrationUnit = Literal["mg/mL", "ug/mL", "mmol/L", "umol/L", "nmol/L"]
_UMOL_PER_MMOL = 1e3


def _of_unit(*units: str) -> AfterValidator:
    """Text kept as it is, once it is known to be an amount above zero in one of the units."""

    def check(value: str) -> str:
        for unit in units:
            try:
                amount = parse_amount(value, unit)
            except UnitMismatch:
                continue
            if amount <= 0.0:
                raise PydanticCustomError("greater_than", "an amount above zero")
            if unit == "%" and amount > 100.0:
                raise PydanticCustomError("less_than_equal", "a share of at most 100 %")
            return value
        raise PydanticCustomError(
            "unit", "a number with its unit, convertible to {units}", {"units": " or ".join(units)}
        )

    return AfterValidator(check)


Carried = Annotated[str, Field(max_length=40), _of_unit("%", "umol/mg")]


class Particle(Part):
    """What one milligram of the injected particle holds.

    Attributes
    ----------
    carries : mapping of str to str
        By element or compound: share of the mass (``50 %``), or amount (``1 umol/mg``).
    mass : str, optional
        Of one particle, such as ``2.4e-15 g``.
    molar_mass : str, optional
        Of the particle, such as ``5400 g/mol``.
    """

    carries: dict[Text, Carried] = Field(default={})
    mass: Annotated[str, Field(max_length=40), _of_unit("g")] | None = None
    molar_mass: Annotated[str, Field(max_length=40), _of_unit("g/mol")] | None = None


def mg_per_ml_factor(particle: Particle, of: str, unit: str) -> float:
    """What a concentration of `of` is multiplied by to be mg/mL of the particle.

    Parameters
    ----------
    particle : Particle
    of : str
        What the concentration counts: ``particle``, or one of what it carries.
    unit : str
        mg/mL, mmol/L and their kin, or particles/mL.

    Raises
    ------
    MissingMetadata
        If the particle does not say how much of it a milligram holds.
    UnitMismatch
        If the unit is none of a concentration.

    Examples
    --------
    >>> half = Particle(carries={"Fe": "50 %"})
    >>> mg_per_ml_factor(half, "Fe", "mg/mL")
    2.0
    >>> round(mg_per_ml_factor(half, "Fe", "mmol/L"), 5)
    0.11169
    """
    if unit == "{particles}/mL":
        if particle.mass is None:
            raise _missing("mass of one particle", "mass", "2.4e-15 g")
        return parse_amount(particle.mass, "mg")
    for base, per_mg in (("mg/mL", _mass_share), ("mmol/L", _amount_per_mg)):
        try:
            factor = parse_amount(f"1 {unit}", base)
        except UnitMismatch:
            continue
        # mmol/L is umol/mL
        return factor / per_mg(particle, of)
    raise UnitMismatch("this is no concentration", found=unit, needed="mg/mL, mmol/L or particles/mL")


def _mass_share(particle: Particle, of: str) -> float:
    """Share of the particle's mass, mg of it in a mg."""
    if of == PARTICLE:
        return 1.0
    text = _carried(particle, of)
    try:
        return parse_amount(text, "1")
    except UnitMismatch:
        return parse_amount(text, "umol/mg") * molar_mass_g_mol(of) / _UMOL_PER_MMOL


def _amount_per_mg(particle: Particle, of: str) -> float:
    """Amount of it in a mg of particle, umol."""
    if of == PARTICLE:
        if particle.molar_mass is None:
            raise _missing("molar mass of the particle", "molar_mass", "5400 g/mol")
        return _UMOL_PER_MMOL / parse_amount(particle.molar_mass, "g/mol")
    text = _carried(particle, of)
    try:
        return parse_amount(text, "umol/mg")
    except UnitMismatch:
        return parse_amount(text, "1") * _UMOL_PER_MMOL / molar_mass_g_mol(of)


def _carried(particle: Particle, of: str) -> str:
    if of not in particle.carries:
        raise MissingMetadata(
            f"how much {of} a milligram of the particle holds is not known",
            where="particle.carries",
            found=", ".join(particle.carries) or "nothing",
            needed=f"{of}: a share such as 50 %, or an amount such as 1 umol/mg",
            next_step="state it in the manifest",
        )
    return particle.carries[of]


def _missing(what: str, key: str, example: str) -> MissingMetadata:
    return MissingMetadata(
        f"the {what} is not known",
        where=f"particle.{key}",
        needed=f"{key}, such as {example}",
        next_step="state it in the manifest",
    )


def molar_mass_g_mol(element: str) -> float:
    """Atomic weight of an element in g/mol.

    Raises
    ------
    MissingMetadata
        If it is no element: its amount per milligram has to be stated in the unit that is needed.
    """
    from imgtheranostics.mri.agent_mass import MOLAR_MASSES

    if element in MOLAR_MASSES:
        return MOLAR_MASSES[element].g_mol
    import xraydb

    try:
        return float(xraydb.atomic_mass(element))
    except (ValueError, KeyError):
        raise MissingMetadata(
            f"the molar mass of {element} is not known",
            where="particle.carries",
            needed="an element, or what is carried in the unit of what is measured (a share for mg/mL, "
            "umol/mg for mmol/L)",
            next_step="state it in the manifest in that unit",
        ) from None
