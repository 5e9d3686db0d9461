"""Columns of the unmixing: what one unit of a component absorbs at each wavelength."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, NothingUsable, UnsupportedInput
from imgtheranostics.msot.agent_absorbers import do_not_apply, gold_component, recorded_component
from imgtheranostics.msot.component_column import FRACTION, MOLAR, Component, from_spectrum
from imgtheranostics.msot.spectrum import WAVELENGTH_TOLERANCE_NM, Spectrum, checked_wavelengths
from imgtheranostics.msot.spectrum_files import read_spectrum
from imgtheranostics.msot.spectrum_library import shipped_spectrum, spectrum_name, unknown_spectrum

if TYPE_CHECKING:
    from imgtheranostics.agents.schema import Agent
    from imgtheranostics.agents.signals import Optical

__all__ = ["FRACTION", "MOLAR", "Component", "component", "condition_number"]

FloatArray = npt.NDArray[np.float64]

_GOLD = re.compile(r"gold[\s_-]*(?P<shape>nanorod|rod|nanosphere|sphere)[\s_-]*(?P<number>\d+(\.\d+)?)")
_FILE_ENDINGS = (".csv", ".tsv", ".txt")
_LARGEST_SHIFT_NM = 50.0
_PARTICLE_OPTIONS = frozenset(
    ("diameter_nm", "medium_index", "aspect_ratio", "aspect_ratio_sd", "permittivity")
)


def component(
    given: str | Path | npt.ArrayLike | Spectrum | Component | Agent | Optical,
    wavelength_nm: npt.ArrayLike,
    *,
    name: str | None = None,
    unit: str | None = None,
    optical: str | None = None,
    shift_nm: float = 0.0,
    **particle: Any,
) -> Component:
    """The column of one component at wavelengths.

    Parameters
    ----------
    given : str, Path, array_like, Spectrum, Component or agent record
        Name of a shipped spectrum (``HbO2``, ``water``, ...); a gold particle such as ``gold nanorod 4``
        (aspect ratio) or ``gold sphere 20`` (diameter in nm); an agent's name or record, whose own or whose
        label's spectrum is taken; a file of your own; or values at the wavelengths, in decadic 1/cm per
        unit amount.
    wavelength_nm : (n,) array_like
        In any order.
    name : str, optional
        Instead of the name that it has.
    unit : str, optional
        Of the amount of an array: ``M`` or ``1``.
    optical : str, optional
        Which absorber of an agent that records several.
    shift_nm : float
        Moves the spectrum of a dye to longer wavelengths, as a carrier does; IR780 lies 10 to 20 nm higher
        in silica (unconfirmed).
    diameter_nm, medium_index, aspect_ratio, aspect_ratio_sd, permittivity
        Of gold particles, as `gold_nanorod` and `gold_sphere`; they go before those of a record.

    Raises
    ------
    NothingUsable
        If the name means nothing; near names are listed.
    UnsupportedInput
        If the data do not cover a wavelength, or the agent records no spectrum or several.
    MissingMetadata
        If a sphere's diameter is not stated.
    ValueError
        If an array does not fit the wavelengths, or an option does not apply.
    """
    wavelength = np.atleast_1d(checked_wavelengths(wavelength_nm))
    if wavelength.ndim != 1:
        raise ValueError("the wavelengths of a component are one list")
    _check_options(given, unit, optical, particle)
    if shift_nm:
        return _shifted(given, wavelength, shift_nm, name=name, optical=optical, particle=particle)
    if isinstance(given, Component):
        found = _matched(given, wavelength)
    elif isinstance(given, Spectrum):
        found = from_spectrum(given, wavelength)
    elif isinstance(given, Path):
        found = from_spectrum(read_spectrum(given), wavelength)
    elif isinstance(given, str):
        found = replace(_named(given, wavelength, optical, particle), name=optical or given.strip())
    elif hasattr(given, "optical") or hasattr(given, "generator"):
        found = recorded_component(given, wavelength, optical, particle)
    else:
        found = _from_array(given, wavelength, unit)
    return found if name is None else replace(found, name=name)


def condition_number(matrix: npt.ArrayLike) -> float:
    """Largest over smallest singular value of a matrix whose columns are scaled to length 1.

    Parameters
    ----------
    matrix : (n_wavelengths, n_components) array_like

    Returns
    -------
    float
        Infinite if a column is zero, or a combination of the others.

    Examples
    --------
    >>> condition_number([[1.0, 0.0], [0.0, 1e6]])
    1.0
    """
    columns = np.asarray(matrix, np.float64)
    if columns.ndim != 2 or columns.size == 0 or not np.all(np.isfinite(columns)):
        raise ValueError("a matrix of finite numbers, one column per component, is needed")
    largest = np.abs(columns).max(axis=0)
    if np.any(largest == 0.0):
        return float("inf")
    columns = columns / largest
    columns = columns / np.linalg.norm(columns, axis=0)
    if columns.shape[0] < columns.shape[1]:
        return float("inf")
    values = np.linalg.svd(columns, compute_uv=False)
    least = float(values[-1])
    return float("inf") if least <= np.finfo(np.float64).eps * values[0] else float(values[0]) / least


def _check_options(given: Any, unit: str | None, optical: str | None, particle: dict[str, Any]) -> None:
    """Refuse options that would be ignored."""
    unknown = sorted(set(particle) - _PARTICLE_OPTIONS)
    if unknown:
        raise ValueError(f"a component takes no {', '.join(unknown)}")
    named = isinstance(given, str) or hasattr(given, "optical") or hasattr(given, "generator")
    if unit is not None and (
        named or isinstance(given, (Spectrum, Component, Path)) or unit not in (MOLAR, FRACTION)
    ):
        raise ValueError(f"unit= states the unit of an array's amounts, {MOLAR} or {FRACTION}")
    if (optical is not None or particle) and not named:
        raise ValueError("optical= and the shape of particles apply to names and agents' records only")


def _shifted(
    given: Any,
    wavelength: FloatArray,
    shift_nm: float,
    *,
    name: str | None,
    optical: str | None,
    particle: dict[str, Any],
) -> Component:
    """A dye whose spectrum lies at longer wavelengths."""
    if particle or isinstance(given, Component) or not abs(shift_nm) <= _LARGEST_SHIFT_NM:
        raise ValueError(f"shift_nm= moves the spectrum of a dye, by at most {_LARGEST_SHIFT_NM:g} nm")
    found = component(given, wavelength - shift_nm, name=name, optical=optical)
    if found.unit != MOLAR or _GOLD.fullmatch(found.name.lower()):
        raise ValueError("shift_nm= moves the spectrum of a dye only")
    words = f"the spectrum of {found.name} was moved by {shift_nm:+g} nm"
    cautions = (*found.cautions, Caution("shifted-spectrum", words, found.name))
    return replace(found, wavelength_nm=wavelength, cautions=cautions)


def _from_array(given: Any, wavelength: FloatArray, unit: str | None) -> Component:
    values = np.asarray(given)
    if values.dtype.kind not in "iuf" or values.shape != wavelength.shape:
        raise ValueError(
            f"a component's values are one number per wavelength ({wavelength.size}), not {values.shape}"
        )
    values = values.astype(np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError("a component's values must be finite")
    return Component("component", values, unit or "", "given as numbers", "", False, (), wavelength)


def _matched(given: Component, wavelength: FloatArray) -> Component:
    """The same component at wavelengths that it has, found by value."""
    distance = np.abs(given.wavelength_nm[np.newaxis, :] - wavelength[:, np.newaxis])
    nearest = distance.argmin(axis=1)
    missing = wavelength[distance.min(axis=1) > WAVELENGTH_TOLERANCE_NM]
    if missing.size:
        raise UnsupportedInput(
            f"the component {given.name} was not made for every wavelength",
            found=", ".join(f"{value:g}" for value in missing) + " nm asked for",
            needed=", ".join(f"{value:g}" for value in given.wavelength_nm) + " nm",
            next_step="make the component for the wavelengths of the image",
        )
    return replace(given, values=given.values[nearest], wavelength_nm=wavelength)


def _named(text: str, wavelength: FloatArray, optical: str | None, particle: dict[str, Any]) -> Component:
    gold = _GOLD.fullmatch(text.strip().lower())
    if gold is not None:
        number = float(gold["number"])
        key = "aspect_ratio" if "rod" in gold["shape"] else "diameter_nm"
        if key in particle:
            raise ValueError(f"{key}= is in the name {text!r} already")
        return gold_component("rod" in gold["shape"], text.strip(), wavelength, {key: number, **particle})
    if spectrum_name(text) is not None and optical is None:
        if particle:
            raise ValueError(f"{', '.join(sorted(particle))} {do_not_apply(particle)} to {text}")
        return from_spectrum(shipped_spectrum(text), wavelength)
    if Path(text).suffix.lower() in _FILE_ENDINGS:
        return from_spectrum(read_spectrum(text), wavelength)
    from imgtheranostics.agents.loading import get

    try:
        agent = get(text)
    except NothingUsable as error:
        raise unknown_spectrum(
            text, "gold nanorod with its aspect ratio", "gold sphere with its diameter", "an agent"
        ) from error
    return recorded_component(agent, wavelength, optical, particle)
