"""Columns of what agents' records say absorbs: shipped spectra, gold particles, and what carriers carry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput
from imgtheranostics.msot.component_column import MOLAR, Component, from_spectrum
from imgtheranostics.msot.gold_particles import gold_nanorod, gold_sphere
from imgtheranostics.msot.gold_permittivity import LICENCES, SOURCES
from imgtheranostics.msot.spectrum_library import shipped_spectrum

if TYPE_CHECKING:
    from imgtheranostics.agents.schema import Agent
    from imgtheranostics.agents.signals import GoldNanorod, GoldSphere, Optical

FloatArray = npt.NDArray[np.float64]


def do_not_apply(options: dict[str, Any]) -> str:
    """The verb of a refusal of options."""
    return "do not apply" if len(options) > 1 else "does not apply"


def recorded_component(
    given: Any, wavelength: FloatArray, optical: str | None, particle: dict[str, Any]
) -> Component:
    """The absorber of an agent's record, or of what it carries."""
    if hasattr(given, "generator"):
        entry = given
        cautions: tuple[Caution, ...] = ()
    else:
        entry, cautions = _chosen_absorber(given, optical, particle)
    if entry.generator is None:
        if particle:
            raise ValueError(f"{', '.join(sorted(particle))} {do_not_apply(particle)} to {entry.component}")
        found = from_spectrum(shipped_spectrum(entry.spectrum), wavelength)
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
        next_step="choose one with optical= (@optical=NAME) and, for gold, permittivity= or aspect_ratio=; "
        "or give a spectrum of your own",
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
        return gold_component(True, name, wavelength, {**recorded, **particle})
    diameter = {} if generator.diameter_nm is None else {"diameter_nm": generator.diameter_nm}
    return gold_component(False, name, wavelength, {**diameter, **particle})


def gold_component(rod: bool, name: str, wavelength: FloatArray, shape: dict[str, Any]) -> Component:
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
            raise ValueError(f"{', '.join(vain)} {do_not_apply(dict.fromkeys(vain))} to a sphere")
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
