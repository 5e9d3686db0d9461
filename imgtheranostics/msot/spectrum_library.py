"""The shipped spectra by name: tables, formulas and models, each with source, licence and cautions."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache

import numpy as np

from imgtheranostics.data.spectra import index_tables, spectrum_tables
from imgtheranostics.errors import Caution, NothingUsable
from imgtheranostics.msot.dye_models import DYE_MODELS, MODEL_RANGE_NM
from imgtheranostics.msot.spectrum import Spectrum

_ALIASES = {
    "hbo2": ("HbO2", "oxyhaemoglobin", "oxyhemoglobin", "oxy-Hb", "O2Hb", "HbO"),
    "hb": ("Hb", "deoxyhaemoglobin", "deoxyhemoglobin", "deoxy-Hb", "HHb", "HbR"),
    "water": ("H2O", "water-1", "water-simpa"),
    "water-2": ("water-patato",),
    "water-1973": ("water-hale-querry-1973", "water-hale-querry"),
    "lipid": ("lipids", "fat"),
    "melanin": ("melanin-1", "melanin-3.48"),
    "melanin-2": ("melanin-3.33",),
    "icg": ("indocyanine green", "indocyanine-green"),
    "icg-water": ("ICG water", "ICG in water"),
    "icg-plasma": ("ICG plasma", "ICG in plasma"),
    "ir780": ("IR-780",),
}
_MELANIN = {"melanin": (1.7e12, -3.48), "melanin-2": (6.6e11, -3.33)}
_MELANIN_RANGE_NM = (400.0, 1100.0)
_MELANIN_SOURCE = "S. L. Jacques, power law of the melanosome, {0:g} l^{1:g} 1/cm with l in nm"


def spectrum_names() -> tuple[str, ...]:
    """Names of the shipped spectra."""
    return tuple(_ALIASES)


def spectrum_name(text: str) -> str | None:
    """The shipped name that a text means, in any case and with or without hyphens; None if there is none.

    >>> spectrum_name("OxyHemoglobin"), spectrum_name("deoxy-Hb"), spectrum_name("unobtainium")
    ('hbo2', 'hb', None)
    """
    return _index().get(_plain(text))


def shipped_spectrum(text: str) -> Spectrum:
    """A shipped spectrum by name or alias.

    Raises
    ------
    NothingUsable
        If there is none of that name; near ones are listed.
    """
    name = spectrum_name(text)
    if name is None:
        raise unknown_spectrum(text)
    return _shipped(name)


def unknown_spectrum(text: str, *others: str) -> NothingUsable:
    """The refusal of a name that means no spectrum, with the near ones and all that there are."""
    near = dict.fromkeys(_index()[word] for word in get_close_matches(_plain(text), _index(), n=3))
    return NothingUsable(
        f"there is no spectrum {text!r}",
        found=("near: " + ", ".join(near) + "; " if near else "") + "known: " + ", ".join(_ALIASES),
        needed="; ".join(("a shipped name", *others, "or a file or array of your own")),
        next_step="choose one of these, or give a FILE.csv of your own (msot.spectra.read_spectrum)",
    )


@lru_cache(maxsize=32)
def _shipped(name: str) -> Spectrum:
    tables = spectrum_tables()
    if name in tables:
        table = tables[name]
        cautions = (Caution("spectrum-origin", f"{table.title}: {table.note}", name),) if table.note else ()
        return Spectrum(
            table.title,
            table.wavelength_nm,
            table.values,
            table.quantity,
            table.source,
            table.licence,
            cautions=cautions,
        )
    if name in _MELANIN:
        return _melanin(name)
    if name == "water-1973":
        return _water_from_index()
    return _dye_model(name)


def _melanin(name: str) -> Spectrum:
    factor, power = _MELANIN[name]
    wavelength = np.arange(_MELANIN_RANGE_NM[0], _MELANIN_RANGE_NM[1] + 0.25, 0.5)
    other = "melanin-2" if name == "melanin" else "melanin"
    return Spectrum(
        "melanin (melanosome)",
        wavelength,
        factor * wavelength**power,
        "absorption",
        _MELANIN_SOURCE.format(factor, power),
        "formula",
        cautions=(Caution("two-forms", f"two power laws of melanin are in use; the other is {other}", name),),
    )


def _water_from_index() -> Spectrum:
    """Absorption 4 pi k / wavelength from the index of refraction."""
    table = index_tables()["water-hale-querry-1973"]
    return Spectrum(
        "water, index table of 1973",
        table.wavelength_nm,
        4.0 * np.pi * table.k / (table.wavelength_nm * 1e-7),
        "absorption",
        table.source,
        table.licence,
        cautions=(
            Caution("coarse-table", "the table of 1973 has steps of 25 nm and smooths peaks", "water-1973"),
        ),
    )


def _dye_model(name: str) -> Spectrum:
    model = DYE_MODELS[name]
    wavelength = np.arange(MODEL_RANGE_NM[0], MODEL_RANGE_NM[1] + 0.125, 0.25)
    words = (
        f"{model.title}: two Gaussians from memory stand in, since no open measurement covers the window; "
        "give a spectrum measured in your medium"
    )
    plain = Spectrum(
        model.title,
        wavelength,
        model.molar_extinction(wavelength),
        "molar_extinction",
        "two Gaussians, unconfirmed: memory",
        "own model",
    )
    return replace(plain, model=True, cautions=(Caution("model-spectrum", words, name),))


@lru_cache(maxsize=1)
def _index() -> dict[str, str]:
    return {_plain(word): name for name, words in _ALIASES.items() for word in (name, *words)}


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())
