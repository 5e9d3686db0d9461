"""Which atoms a material's name stands for: an element, a formula, a common name, or an agent's record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from imgtheranostics.ct.attenuation import elements, mass_fractions
from imgtheranostics.errors import MissingMetadata, UnsupportedInput

if TYPE_CHECKING:
    from imgtheranostics.agents import Agent

_TOKEN = re.compile(r"([A-Z][a-z]?)|(\()|\)(\d+(?:\.\d+)?|)|(\d+(?:\.\d+)?)")

_ABBREVIATION = re.compile(r"[A-Z]{3,}|.+NP")
"""``USPION`` and ``AuNP`` would be formulas, with uranium and phosphorus; they are names of particles."""

COMPOUND_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "water": "H2O",
        "hafnium oxide": "HfO2",
        "hafnium dioxide": "HfO2",
        "hafnia": "HfO2",
        "gadolinium oxide": "Gd2O3",
        "bismuth oxide": "Bi2O3",
        "bismuth sulfide": "Bi2S3",
        "tantalum oxide": "Ta2O5",
        "barium sulfate": "BaSO4",
        "magnetite": "Fe3O4",
        "maghemite": "Fe2O3",
        "hydroxyapatite": "Ca10(PO4)6(OH)2",
        "calcium carbonate": "CaCO3",
        "calcium chloride": "CaCl2",
        "sodium iodide": "NaI",
        "silica": "SiO2",
    }
)
"""Formula by common name; elements are known by their English names as well."""


_SAME_SHARE = 1e-3
"""Mass fractions that agree this well are of one compound."""


@dataclass(frozen=True, slots=True)
class Material:
    """What attenuates.

    Attributes
    ----------
    name : str
        Formula, such as ``HfO2``: concentrations are mg of this per mL.
    mass_fractions : mapping of str to float
        By element; they add up to 1.
    density_g_ml : float or None
        Of the solid, where a record states it; it displaces water.
    agent : str or None
        Record that it came from.
    """

    name: str
    mass_fractions: Mapping[str, float] = field(hash=False)
    density_g_ml: float | None = None
    agent: str | None = None


def find_material(name: str | Path) -> Material:
    """The material of a name.

    Parameters
    ----------
    name : str or Path
        Symbol (``I``) or English name (``iodine``) of an element, formula (``HfO2``), common name of a
        compound (``hafnium oxide``), agent's record (``nbtxr3``, whose density comes with it), or path of a
        ``.yaml`` record of your own. Capitals matter in formulas where another reading exists: ``Bi`` is
        bismuth, ``BI`` would be boron iodide and is refused. Three capitals or more without a number, and
        what ends in ``NP``, are names and no formulas: write ``H1C1N1`` for HCN.

    Raises
    ------
    UnsupportedInput
        If no reading is known, with near names; or if capitals make a formula of what looks like another.
    MissingMetadata
        If the agent's record says nothing about attenuation.
    """
    text = str(name).strip()
    return _of_record(_own_record(text)) if text.endswith((".yaml", ".yml")) else _named(text)


@lru_cache(maxsize=256)
def _named(text: str) -> Material:
    formula = COMPOUND_NAMES.get(" ".join(text.lower().replace("-", " ").split()))
    if formula is not None:
        return _of_formula(formula)
    usual = _usual_formulas().get(text.lower())
    atoms = None if _ABBREVIATION.fullmatch(text) else atoms_of(text)
    if atoms is not None and usual not in (None, text):
        raise UnsupportedInput(
            "the capitals of this formula make it another material than its letters suggest",
            found=f"{text!r}, which reads as {' and '.join(atoms)}",
            needed=f"{usual!r} if that is meant",
            next_step="write the formula as chemists do",
        )
    if atoms is not None:
        return _of_formula(text)
    if usual is not None:
        return _of_formula(usual)
    return _of_agent(text)


def near_compounds(material: Material) -> tuple[str, ...]:
    """Formulas of the named compounds of the same elements, where the material is none of them.

    Examples
    --------
    >>> near_compounds(find_material("HfO3")), near_compounds(find_material("HfO2"))
    (('HfO2',), ())
    """
    own = material.mass_fractions
    known = {formula: mass_fractions(atoms_of(formula) or {}) for formula in COMPOUND_NAMES.values()}
    alike = {formula: shares for formula, shares in known.items() if shares.keys() == own.keys()}
    if any(all(abs(shares[one] - own[one]) < _SAME_SHARE for one in own) for shares in alike.values()):
        return ()
    return tuple(alike)


def atoms_of(formula: str) -> dict[str, float] | None:
    """Number of atoms of each element in a formula with round brackets; None where it is no formula.

    Examples
    --------
    >>> atoms_of("Ca10(PO4)6(OH)2")
    {'Ca': 10.0, 'P': 6.0, 'O': 26.0, 'H': 2.0}
    """
    groups: list[dict[str, float]] = [{}]
    latest: list[str] = []
    place = 0
    for token in _TOKEN.finditer(formula):
        symbol, opening, after, number = token.groups()
        if token.start() != place or (number and not latest):
            return None
        place = token.end()
        if symbol:
            if symbol not in elements():
                return None
            groups[-1][symbol] = groups[-1].get(symbol, 0.0) + 1.0
            latest = [symbol]
        elif opening:
            groups.append({})
            latest = []
        elif number:
            groups[-1][latest[0]] += float(number) - 1.0
            latest = []
        elif not _close(groups, after):
            return None
        else:
            latest = []
    atoms = groups[0]
    complete = place == len(formula) and len(groups) == 1 and bool(atoms)
    return atoms if complete and min(atoms.values()) > 0 else None


def _close(groups: list[dict[str, float]], times: str) -> bool:
    """Fold the innermost bracket into what surrounds it; False where none is open."""
    if len(groups) < 2:
        return False
    inner = groups.pop()
    for symbol, n in inner.items():
        groups[-1][symbol] = groups[-1].get(symbol, 0.0) + n * float(times or 1)
    return True


def _of_formula(formula: str) -> Material:
    atoms = atoms_of(formula)
    if atoms is None:
        raise UnsupportedInput("this is no formula of known elements", found=formula)
    return Material(formula, MappingProxyType(mass_fractions(atoms)))


@lru_cache(maxsize=1)
def _usual_formulas() -> Mapping[str, str]:
    """Formula by its letters without capitals, and by name: elements first, then the named compounds."""
    known = {formula.lower(): formula for formula in COMPOUND_NAMES.values()}
    for element in elements().values():
        known[element.symbol.lower()] = element.symbol
        known[element.name.lower()] = element.symbol
    return MappingProxyType(known)


def _own_record(path: str) -> Agent:
    """A record from a file of the user, read each time: it may change."""
    from imgtheranostics import agents

    return agents.load_file(path)


def _of_agent(name: str) -> Material:
    from imgtheranostics import agents
    from imgtheranostics.errors import NothingUsable

    try:
        record = agents.get(name)
    except NothingUsable as error:
        raise UnsupportedInput(
            "the material is not known",
            found=repr(name) + _near(name),
            needed="an element, a formula such as HfO2, a compound by name, or an agent's record",
            next_step="choose one of these, or give the formula",
        ) from error
    return _of_record(record)


def _of_record(record: Agent) -> Material:
    """The composition of a record, or of the one record that it carries and that has one."""
    from imgtheranostics import agents

    carried = (record, *(agents.get(name) for name in record.carries))
    told = [agent for agent in carried if agent.attenuation is not None]
    if record.attenuation is not None:
        told = [record]
    if len(told) != 1 or told[0].attenuation is None:
        raise MissingMetadata(
            "the agent's record says nothing about its attenuation"
            if not told
            else "the agent carries several materials that attenuate",
            where=record.id,
            found=", ".join(agent.id for agent in told) or None,
            needed="an attenuation composition",
            next_step="name the element or the formula instead, such as 'Au'",
        )
    known = told[0].attenuation
    whole = sum(known.composition.mass_fractions.values())
    fractions = {symbol: share / whole for symbol, share in known.composition.mass_fractions.items()}
    density = known.density_g_ml
    return Material(
        known.composition.formula,
        MappingProxyType(fractions),
        None if density is None else density.number(),
        record.id,
    )


def _near(name: str) -> str:
    from difflib import get_close_matches

    from imgtheranostics import agents

    names = [*COMPOUND_NAMES, *_usual_formulas(), *agents.available()]
    close = dict.fromkeys(_usual_formulas().get(n, n) for n in get_close_matches(name.lower(), names, n=4))
    return "; near: " + ", ".join(close) if close else ""
