"""Half-lives and mean energies per decay of the nuclides used in imaging and therapy."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from imgtheranostics.errors import UnsupportedInput

_ELEMENT_NAMES = {
    "C": "carbon",
    "N": "nitrogen",
    "O": "oxygen",
    "F": "fluorine",
    "Na": "sodium",
    "K": "potassium",
    "Sc": "scandium",
    "Cr": "chromium",
    "Mn": "manganese",
    "Fe": "iron",
    "Co": "cobalt",
    "Cu": "copper",
    "Zn": "zinc",
    "Ga": "gallium",
    "Ge": "germanium",
    "As": "arsenic",
    "Br": "bromine",
    "Kr": "krypton",
    "Rb": "rubidium",
    "Sr": "strontium",
    "Y": "yttrium",
    "Zr": "zirconium",
    "Mo": "molybdenum",
    "Tc": "technetium",
    "Cd": "cadmium",
    "In": "indium",
    "Sn": "tin",
    "Te": "tellurium",
    "I": "iodine",
    "Xe": "xenon",
    "Ba": "barium",
    "La": "lanthanum",
    "Ce": "cerium",
    "Pm": "promethium",
    "Sm": "samarium",
    "Eu": "europium",
    "Gd": "gadolinium",
    "Tb": "terbium",
    "Ho": "holmium",
    "Er": "erbium",
    "Tm": "thulium",
    "Yb": "ytterbium",
    "Lu": "lutetium",
    "Re": "rhenium",
    "Au": "gold",
    "Hg": "mercury",
    "Tl": "thallium",
    "At": "astatine",
    "Pb": "lead",
    "Bi": "bismuth",
    "Po": "polonium",
    "Rn": "radon",
    "Fr": "francium",
    "Ra": "radium",
    "Ac": "actinium",
    "Th": "thorium",
    "U": "uranium",
}
_SYMBOLS = {
    **{name: symbol for symbol, name in _ELEMENT_NAMES.items()},
    **{symbol.lower(): symbol for symbol in _ELEMENT_NAMES},
    "fluor": "F",
}
_ONLY_PROGENY = frozenset({"Cd", "Te", "Ba", "Pm", "Eu", "Gd", "Hg"})
"""Elements that nobody images: beside a number they are more often words, as in 12 PM, CD20 or Gd 1 mmol."""
_MASS_LAST = re.compile(r"\^?\[?\b([A-Za-z]{1,10})[\s\-_^]*\[?(\d{1,3})(m?)\]?")
_MASS_FIRST = re.compile(r"\[?\^?(\d{1,3})(m?)\]?[\s\-_^]*([A-Za-z]{1,10})")
_SPELLING = re.compile(r"(?P<before>[a-z]*?)(?P<mass>\d{1,3})(?P<after>[a-z]*)")


@dataclass(frozen=True, slots=True)
class Nuclide:
    """One radionuclide; energies are means per decay of the nuclide itself, without its progeny.

    Attributes
    ----------
    name : str
        Such as ``Tc-99m``.
    half_life_s : float
    mean_beta_minus_mev, mean_beta_plus_mev, mean_electron_mev, mean_photon_mev : float
        Electrons are conversion and Auger electrons; photons include annihilation and X-rays.
    mean_alpha_mev, mean_recoil_mev : float
    delta_np_mev : float
        Non-penetrating energy: all of the above but photons.
    positron_yield : float
        Positrons per decay.
    progeny : mapping of str to float
        Daughters with their branching fractions.
    source : str
    """

    name: str
    half_life_s: float
    mean_beta_minus_mev: float
    mean_beta_plus_mev: float
    mean_electron_mev: float
    mean_photon_mev: float
    mean_alpha_mev: float
    mean_recoil_mev: float
    delta_np_mev: float
    positron_yield: float
    progeny: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def decay_constant_per_s(self) -> float:
        """Decay constant, ln 2 over the half-life."""
        return math.log(2.0) / self.half_life_s


@lru_cache(maxsize=1)
def nuclides() -> Mapping[str, Nuclide]:
    """Every nuclide of the table by name such as ``Lu-177``."""
    table = json.loads((files("imgtheranostics.data") / "nuclides.json").read_text(encoding="utf-8"))
    source = table["source"]
    return MappingProxyType(
        {
            name: Nuclide(name=name, source=source, **{**row, "progeny": MappingProxyType(row["progeny"])})
            for name, row in table["nuclides"].items()
        }
    )


def nuclide_name(text: str) -> str:
    """The spelling ``Tc-99m`` of a nuclide named ``99mTc``, ``Tc99m``, ``^99m^Technetium`` and the like.

    Raises
    ------
    UnsupportedInput
        If the text does not name a nuclide with mass number.

    Examples
    --------
    >>> [nuclide_name(text) for text in ("18F", "^18^Fluorine", "technetium 99m", "Mo99")]
    ['F-18', 'F-18', 'Tc-99m', 'Mo-99']
    """
    squeezed = re.sub(r"[^a-z0-9]", "", text.lower())
    match = _SPELLING.fullmatch(squeezed)
    if match:
        before, mass, after = match["before"], match["mass"], match["after"]
        if before in _SYMBOLS and after in ("", "m"):
            return f"{_SYMBOLS[before]}-{mass}{after}"
        if not before and after in _SYMBOLS:
            return f"{_SYMBOLS[after]}-{mass}"
        if not before and after.startswith("m") and after[1:] in _SYMBOLS:
            return f"{_SYMBOLS[after[1:]]}-{mass}m"
    raise UnsupportedInput(
        "the nuclide is not understood",
        found=repr(text),
        needed="element and mass number, such as F-18, 18F or ^18^Fluorine",
        next_step="name the nuclide in that form",
    )


def nuclide_in(text: str) -> str | None:
    """The nuclide that a free text mentions, such as ``F-18``; None when it mentions none legibly.

    Every word beside a number that may be its mass is tried, and one of the table goes first.

    >>> nuclide_in("18F-FDG"), nuclide_in("^99m^Technetium"), nuclide_in("FDG -- fluorodeoxyglucose")
    ('F-18', 'Tc-99m', None)
    """
    pairs = [(match[3], match[1], match[2]) for match in _MASS_FIRST.finditer(text)]
    pairs += [(match[1], match[2], match[3]) for match in _MASS_LAST.finditer(text)]
    found = [
        f"{_SYMBOLS[word.lower()]}-{int(mass)}{isomer}"
        for word, mass, isomer in pairs
        if word.lower() in _SYMBOLS
    ]
    legible = [name for name in found if name.split("-")[0] not in _ONLY_PROGENY]
    return next((name for name in found if name in nuclides()), legible[0] if legible else None)


def nuclide(name: str) -> Nuclide:
    """The record of a nuclide, named in any common spelling.

    Parameters
    ----------
    name : str
        ``F-18``, ``18F``, ``F18``, ``Fluorine-18``, ``^18^Fluorine`` (DICOM code meaning) ...

    Raises
    ------
    UnsupportedInput
        If the text names no nuclide, or one that the table does not hold.

    Examples
    --------
    >>> nuclide("^18^Fluorine").half_life_s
    6586.2
    """
    spelled = nuclide_name(name)
    record = nuclides().get(spelled)
    if record is None:
        raise UnsupportedInput(
            f"the nuclide {spelled} is not in the table",
            needed="one of " + ", ".join(nuclides()),
            next_step="check the name, or add the nuclide with scripts/generate_nuclides.py",
        )
    return record


def decays_in_chain(name: str) -> Mapping[str, float]:
    """Decays of a nuclide and of its progeny per decay of the nuclide, itself first.

    Followed are daughters that live at most ten times as long as the nuclide, or a day: what lives longer
    decays after anything that is asked about.

    Raises
    ------
    UnsupportedInput
        If the nuclide is not in the table.

    Examples
    --------
    >>> chain = decays_in_chain("Pb-212")
    >>> list(chain), round(chain["Tl-208"], 4)
    (['Pb-212', 'Bi-212', 'Po-212', 'Tl-208'], 0.3594)
    """
    first = nuclide(name)
    longest = max(10.0 * first.half_life_s, 86400.0)
    decays = {first.name: 1.0}
    waiting = [(first, 1.0)]
    while waiting:
        record, number = waiting.pop(0)
        for daughter, branch in record.progeny.items():
            following = nuclides().get(daughter)
            if following is not None and following.half_life_s <= longest:
                decays[daughter] = decays.get(daughter, 0.0) + number * branch
                waiting.append((following, number * branch))
    return MappingProxyType(decays)
