"""What was injected into a tumour, and the mean concentration if all of it stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, NothingUsable

_SUSPENSION = "nbtxr3"
_AGREE = 0.02

GIVEN_MASS = "given mass"


class ExpectedConcentration(NamedTuple):
    """Mean concentration of a tumour in mg/mL if all of the agent stays in it."""

    no_swelling: float
    swelling: float


@dataclass(frozen=True, slots=True)
class Injection:
    """What was injected.

    Attributes
    ----------
    mass_mg : float
    volume_ml : float or None
        Of the suspension, where it is known.
    strength_mg_ml : float or None
        Of the suspension, where it is known.
    rule : str
    warnings : tuple of Caution
    """

    mass_mg: float
    volume_ml: float | None
    strength_mg_ml: float | None
    rule: str
    warnings: tuple[Caution, ...] = ()

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": self.rule,
            "mass_mg": self.mass_mg,
            "volume_ml": self.volume_ml,
            "suspension_mg_ml": self.strength_mg_ml,
        }

    def expected(self, tumour_ml: float) -> ExpectedConcentration | None:
        """Mean concentration of a tumour of that volume before the injection; None without the volume."""
        if self.volume_ml is None or self.strength_mg_ml is None or not tumour_ml > 0:
            return None
        share = self.volume_ml / tumour_ml
        return ExpectedConcentration(
            expected_concentration(share, suspension_mg_ml=self.strength_mg_ml),
            expected_concentration(share, suspension_mg_ml=self.strength_mg_ml, swelling=True),
        )


def expected_concentration(
    filled_share: float, *, suspension_mg_ml: float | None = None, swelling: bool = False
) -> float:
    """Mean concentration of a tumour if everything that was injected stays in it.

    f c without swelling, f c / (1 + f) where the tumour grows by the injected volume, for a share f of the
    tumour's volume and a suspension of strength c (ct.md F18).

    Parameters
    ----------
    filled_share : float
        Injected volume over the tumour's volume before the injection.
    suspension_mg_ml : float, optional
        Strength of the suspension; by default that of NBTXR3, from its record.
    swelling : bool
        Whether the tumour has grown by what was injected.

    Returns
    -------
    float
        mg/mL.

    Raises
    ------
    ImplausibleValue
        If the share or the strength is not positive.

    Examples
    --------
    >>> [round(expected_concentration(0.42, swelling=swollen), 2) for swollen in (False, True)]
    [22.39, 15.76]
    """
    strength = suspension_mg_ml
    if strength is None:
        strength = _record_strength(_SUSPENSION) or math.nan
    share = positive(filled_share, "the injected share of the tumour's volume", "")
    whole = share * positive(strength, "the strength of the suspension", "mg/mL")
    return whole / (1.0 + share) if swelling else whole


def injected(
    material: str, injected_mg: float | None, injected_ml: float | None, suspension_mg_ml: float | None
) -> Injection | None:
    """What was injected, from its mass or from volume and strength; None where neither was given.

    Parameters
    ----------
    material : str
        An agent's record lends its strength where `suspension_mg_ml` is not given.
    injected_mg, injected_ml, suspension_mg_ml : float, optional

    Raises
    ------
    MissingMetadata
        If a volume comes without a strength.
    ImplausibleValue
        If a number is not positive, or mass, volume and strength contradict each other.
    """
    mass = None if injected_mg is None else positive(injected_mg, "the injected mass", "mg")
    volume = None if injected_ml is None else positive(injected_ml, "the injected volume", "mL")
    strength = suspension_mg_ml
    if strength is not None:
        strength = positive(strength, "the strength of the suspension", "mg/mL")
    if mass is None:
        return None if volume is None else _from_volume(material, volume, strength)
    if volume is None:
        return Injection(mass, None if strength is None else mass / strength, strength, GIVEN_MASS)
    if strength is not None and abs(volume * strength - mass) > _AGREE * mass:
        raise ImplausibleValue(
            "injected mass, injected volume and strength of the suspension contradict each other",
            found=f"{mass:g} mg, but {volume:g} mL of {strength:g} mg/mL are {volume * strength:g} mg",
            needed=f"agreement within {100 * _AGREE:g} %",
            next_step="give two of the three",
        )
    notes = () if strength is not None else _beside_record(material, mass / volume)
    return Injection(mass, volume, mass / volume, GIVEN_MASS, notes)


def _beside_record(material: str, strength_mg_ml: float) -> tuple[Caution, ...]:
    """That a mass and a volume are not of the suspension that the agent's record tells of."""
    recorded = _record_strength(material)
    if recorded is None or abs(strength_mg_ml - recorded) <= _AGREE * recorded:
        return ()
    text = (
        f"injected mass over injected volume is {strength_mg_ml:.4g} mg/mL; the record of {material} states "
        f"{recorded:g} mg/mL. The mass was taken"
    )
    return (Caution("suspension-not-of-record", text, "injected_mg, injected_ml"),)


def _from_volume(material: str, volume_ml: float, strength_mg_ml: float | None) -> Injection:
    if strength_mg_ml is not None:
        return Injection(
            volume_ml * strength_mg_ml, volume_ml, strength_mg_ml, "volume times strength, given"
        )
    recorded = _record_strength(material)
    if recorded is None:
        raise MissingMetadata(
            "the injected mass cannot be told from the injected volume alone",
            where="suspension_mg_ml",
            needed="mg of the material per mL of the suspension",
            next_step="give suspension_mg_ml (--suspension-mg-ml), or injected_mg (--injected-mg)",
        )
    text = f"the strength of the suspension, {recorded:g} mg/mL, is that of the record of {material}"
    return Injection(
        volume_ml * recorded,
        volume_ml,
        recorded,
        "volume times strength of the agent's record",
        (Caution("suspension-from-record", text, "suspension_mg_ml"),),
    )


def positive(value: float, what: str, unit: str) -> float:
    """The number, if it is finite and above 0; `ImplausibleValue` otherwise."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ImplausibleValue(f"{what} must be a positive number", found=f"{number:g} {unit}".strip())
    return number


def _record_strength(agent: str) -> float | None:
    """Strength of an agent's suspension, if its record states one and no other."""
    from imgtheranostics.agents.loading import get

    try:
        record = get(agent)
    except NothingUsable:
        return None
    stated = {dose.number() for dose in record.dosing if dose.unit == "mg/mL"}
    return stated.pop() if len(stated) == 1 else None
