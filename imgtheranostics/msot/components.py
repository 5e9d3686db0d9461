"""Columns of the unmixing: what one unit of a component absorbs at each wavelength."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.msot.gold_particles import gold_nanorod, gold_sphere
from imgtheranostics.msot.gold_permittivity import LICENCES, SOURCES
from imgtheranostics.msot.spectrum import LN_10, WAVELENGTH_TOLERANCE_NM, Spectrum, checked_wavelengths
from imgtheranostics.msot.spectrum_files import read_spectrum
from imgtheranostics.msot.spectrum_library import shipped_spectrum, spectrum_name, unknown_spectrum

if TYPE_CHECKING:
    from imgtheranostics.agents.schema import Agent
    from imgtheranostics.agents.signals import GoldNanorod, GoldSphere, Optical

FloatArray = npt.NDArray[np.float64]

MOLAR = "M"
FRACTION = "1"

_GOLD = re.compile(r"gold[\s_-]*(?P<shape>nanorod|rod|nanosphere|sphere)[\s_-]*(?P<number>\d+(\.\d+)?)")
_FILE_ENDINGS = (".csv", ".tsv", ".txt")
_PARTICLE_OPTIONS = frozenset(
    ("diameter_nm", "medium_index", "aspect_ratio", "aspect_ratio_sd", "permittivity")
)


@dataclass(frozen=True, eq=False)
class Component:
    """What one unit of an absorber contributes to a spectrum.

    Attributes
    ----------
    name : str
        As it was asked for; of a record, as the record names its absorber.
    values : (n,) ndarray
        Decadic absorption coefficient in 1/cm per unit amount: the molar extinction in 1/(M cm), or a
        natural absorption coefficient over ln 10 for what is counted as a fraction of the volume. Spectra of
        decadic absorption are ``values @ amounts``.
    unit : str
        Of the amount: ``M`` (mol/L) or ``1``; empty for an array whose unit is not stated.
    source, licence : str
    model : bool
        Whether a formula from memory stands in for a measurement.
    cautions : tuple of Caution
    wavelength_nm : (n,) ndarray
        In the order in which they were asked for.
    """

    name: str
    values: FloatArray
    unit: str
    source: str
    licence: str
    model: bool
    cautions: tuple[Caution, ...]
    wavelength_nm: FloatArray

    @property
    def natural(self) -> FloatArray:
        """Absorption coefficient to base e in 1/cm per unit amount."""
        return self.values * LN_10


def component(
    given: str | Path | npt.ArrayLike | Spectrum | Component | Agent | Optical,
    wavelength_nm: npt.ArrayLike,
    *,
    name: str | None = None,
    unit: str | None = None,
    optical: str | None = None,
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
    if isinstance(given, Component):
        found = _matched(given, wavelength)
    elif isinstance(given, Spectrum):
        found = _from_spectrum(given, wavelength)
    elif isinstance(given, Path):
        found = _from_spectrum(read_spectrum(given), wavelength)
    elif isinstance(given, str):
        found = replace(_named(given, wavelength, optical, particle), name=optical or given.strip())
    elif hasattr(given, "optical") or hasattr(given, "generator"):
        found = _recorded(given, wavelength, optical, particle)
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


def _from_spectrum(spectrum: Spectrum, wavelength: FloatArray) -> Component:
    molar = spectrum.quantity == "molar_extinction"
    return Component(
        spectrum.name,
        spectrum.at(wavelength) / (1.0 if molar else LN_10),
        MOLAR if molar else FRACTION,
        spectrum.source,
        spectrum.licence,
        spectrum.model,
        spectrum.cautions,
        wavelength,
    )


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
        return _gold("rod" in gold["shape"], text.strip(), wavelength, {key: number, **particle})
    if spectrum_name(text) is not None and optical is None:
        if particle:
            raise ValueError(f"{', '.join(sorted(particle))} {_apply(particle)} to {text}")
        return _from_spectrum(shipped_spectrum(text), wavelength)
    if Path(text).suffix.lower() in _FILE_ENDINGS:
        return _from_spectrum(read_spectrum(text), wavelength)
    from imgtheranostics.agents.loading import get

    try:
        agent = get(text)
    except NothingUsable as error:
        raise unknown_spectrum(
            text, "gold nanorod with its aspect ratio", "gold sphere with its diameter", "an agent"
        ) from error
    return _recorded(agent, wavelength, optical, particle)


def _apply(options: dict[str, Any]) -> str:
    return "do not apply" if len(options) > 1 else "does not apply"


def _recorded(given: Any, wavelength: FloatArray, optical: str | None, particle: dict[str, Any]) -> Component:
    """The absorber of an agent's record, or of what it carries."""
    if hasattr(given, "generator"):
        entry = given
        cautions: tuple[Caution, ...] = ()
    else:
        entry, cautions = _chosen_absorber(given, optical, particle)
    if entry.generator is None:
        if particle:
            raise ValueError(f"{', '.join(sorted(particle))} {_apply(particle)} to {entry.component}")
        found = _from_spectrum(shipped_spectrum(entry.spectrum), wavelength)
    else:
        found = _generated(entry.generator, entry.component, wavelength, particle)
    return replace(found, name=entry.component, cautions=(*found.cautions, *cautions))


def _chosen_absorber(
    agent: Agent, optical: str | None, particle: dict[str, Any]
) -> tuple[Optical, tuple[Caution, ...]]:
    """The one absorber that is meant, and what to say about whose it is."""
    entries = list(agent.optical)
    cautions: tuple[Caution, ...] = ()
    if not entries:
        entries, cautions = _absorbers_carried(agent)
    wanted = entries
    if optical is not None:
        wanted = [entry for entry in wanted if entry.component.lower() == optical.strip().lower()]
    for key in ("permittivity", "aspect_ratio"):
        if key in particle and len(wanted) > 1:
            wanted = [entry for entry in wanted if getattr(entry.generator, key, None) == particle[key]]
    if len(wanted) == 1:
        return wanted[0], cautions
    listed = ", ".join(dict.fromkeys(_described(entry) for entry in entries)) or "none"
    raise UnsupportedInput(
        f"{agent.name} records " + ("several absorbers" if entries else "no absorber"),
        where=agent.id,
        found=listed,
        needed="one",
        next_step="choose one with optical= and, for gold, permittivity= or aspect_ratio=; or give a "
        "spectrum of your own",
    )


def _absorbers_carried(agent: Agent) -> tuple[list[Optical], tuple[Caution, ...]]:
    """Absorbers of what an agent carries, one level down."""
    from imgtheranostics.agents.loading import get

    carried = [get(other) for other in agent.carries]
    entries = [entry for other in carried for entry in other.optical]
    words = f"{agent.name} has no spectrum of its own; that of {' and '.join(o.name for o in carried)}, "
    words += "which it carries, stands in, and a carrier may shift it by 10 to 20 nm"
    return entries, (Caution("carried-spectrum", words, agent.id),)


def _described(entry: Optical) -> str:
    permittivity = getattr(entry.generator, "permittivity", None)
    return entry.component + (f" ({permittivity})" if permittivity else "")


def _generated(
    generator: GoldNanorod | GoldSphere, name: str, wavelength: FloatArray, particle: dict[str, Any]
) -> Component:
    if generator.kind == "gold_nanorod":
        recorded: dict[str, Any] = {
            "aspect_ratio": generator.aspect_ratio,
            "diameter_nm": generator.diameter_nm,
            "medium_index": generator.medium_index,
            "permittivity": generator.permittivity,
        }
        return _gold(True, name, wavelength, {**recorded, **particle})
    diameter = {} if generator.diameter_nm is None else {"diameter_nm": generator.diameter_nm}
    return _gold(False, name, wavelength, {**diameter, **particle})


def _gold(rod: bool, name: str, wavelength: FloatArray, shape: dict[str, Any]) -> Component:
    """The column of a gold particle."""
    if not rod and "diameter_nm" not in shape:
        raise MissingMetadata(
            f"the diameter of {name} is not recorded, and its absorption grows with its volume",
            where=name,
            needed="the diameter in nm",
            next_step="give diameter_nm=",
        )
    if rod:
        ratio = shape.pop("aspect_ratio")
        values = gold_nanorod(ratio, wavelength, **shape)
    else:
        vain = sorted(set(shape) & {"aspect_ratio", "aspect_ratio_sd"})
        if vain:
            raise ValueError(f"{', '.join(vain)} {_apply(dict.fromkeys(vain))} to a sphere")
        diameter = shape.pop("diameter_nm")
        values = gold_sphere(diameter, wavelength, **shape)
    permittivity = str(shape.get("permittivity", "lorentz-drude-1998"))
    theory = "Gans theory" if rod else "Mie theory"
    caution = Caution(
        "gold-permittivity",
        f"calculated with the permittivity {permittivity}; another puts the peak of a rod 7 to 61 nm away, "
        "and a sample holds a spread of shapes",
        name,
    )
    return Component(
        name,
        values,
        MOLAR,
        f"{theory} with the permittivity {permittivity}, {SOURCES[permittivity]}",
        LICENCES[permittivity],
        True,
        (caution,),
        wavelength,
    )


def columns(components: Sequence[Component]) -> FloatArray:
    """The matrix of several components, (n_wavelengths, n_components)."""
    return np.stack([one.values for one in components], axis=1)
