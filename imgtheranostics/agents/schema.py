"""What an agent record says: one particle, and each value with where it is from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from imgtheranostics.agents import particle as built
from imgtheranostics.agents import signals
from imgtheranostics.agents.provenance import Amount, Model, Sourced, Text
from imgtheranostics.agents.relaxivity import Relaxivity, find_relaxivity
from imgtheranostics.errors import Caution, MissingMetadata

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
Kind = Literal[
    "liposome",
    "micelle",
    "polymer",
    "dendrimer",
    "silica",
    "carbon",
    "fullerene",
    "gadolinium",
    "iron oxide",
    "gold",
    "bismuth",
    "hafnium oxide",
    "hybrid",
    "droplet",
    "gas-generating",
    "self-assembly",
    "dye",
    "small molecule",
    "tracer",
    "other",
]
Modality = Literal["PET", "SPECT", "MRI", "CEST", "CT", "MSOT", "US", "fluorescence", "19F MRI", "MPI"]
SignalOf = Literal["label", "carrier", "drug", "product"]


class Agent(Model):
    """A nanoparticle system, or the free agent that one carries.

    Attributes
    ----------
    id : str
        Slug; the name of the file.
    name, aliases, kind, summary
        What it is called and what it is.
    modalities : tuple of str
        Where it is seen.
    claims : tuple of str
        Numbers of the review's claims that it belongs to.
    signal_of : {"label", "carrier", "drug", "product"}
        What the image shows: the label may leave the carrier, and the drug may leave both.
    carries : tuple of str
        Other records whose signal it shows: the dye, the drug, the metal.
    trials : tuple of str
        Registry numbers.
    particle, labels, relaxivities, relaxivity_ratios, cest_pools, optical, attenuation, acoustic, heating
        How it is built and how it shows.
    pharmacokinetics, dosing, linear_ranges, observations
        Where it goes, what is given, and what was seen.
    notes : tuple of str
        What a user must know before using it.
    """

    id: Slug
    name: Text
    aliases: tuple[Text, ...] = ()
    kind: Kind
    summary: Text
    modalities: tuple[Modality, ...] = Field(min_length=1)
    claims: tuple[Annotated[str, Field(pattern=r"^\d{1,2}[a-z]?$")], ...] = ()
    signal_of: SignalOf
    carries: tuple[Slug, ...] = ()
    trials: tuple[Annotated[str, Field(pattern=r"^NCT\d{8}$")], ...] = ()
    particle: built.Particle | None = None
    labels: tuple[built.Label, ...] = ()
    relaxivities: tuple[signals.RecordedRelaxivity, ...] = ()
    relaxivity_ratios: tuple[signals.RelaxivityRatio, ...] = ()
    cest_pools: tuple[signals.CestPool, ...] = ()
    optical: tuple[signals.Optical, ...] = ()
    attenuation: signals.Attenuation | None = None
    acoustic: signals.Acoustic | None = None
    heating: signals.MagneticHeating | None = None
    pharmacokinetics: built.Pharmacokinetics | None = None
    dosing: tuple[built.Dose, ...] = ()
    linear_ranges: tuple[signals.LinearRange, ...] = ()
    response_blur_mm: Amount | None = None
    observations: tuple[built.Observation, ...] = ()
    notes: tuple[Text, ...] = ()

    def relaxivity(
        self,
        kind: str,
        field_t: float,
        temperature_c: float | None = None,
        medium: str | None = None,
        *,
        per: str | None = None,
        interpolate: bool = False,
    ) -> Relaxivity:
        """Relaxivity at a field, in L/mmol/s.

        Parameters
        ----------
        kind : {"r1", "r2", "r2star"}
            ``r2*`` is understood too.
        field_t : float
            Field in T; a magnet within 4 % of a recorded field counts as that field (2.89 T is sold as 3 T).
        temperature_c : float, optional
            Only values at this temperature (within 1 Cel).
        medium : str, optional
            Only values in this medium.
        per : {"Gd", "Fe", "Mn", "molecule", "particle"}, optional
            What the concentration counts.
        interpolate : bool
            Allow a straight line between the neighbouring recorded fields. Never beyond them.

        Returns
        -------
        Relaxivity
            Value, uncertainty, conditions, provenance, and ``warnings`` (``unconfirmed-value`` when it is
            from memory, ``interpolated-relaxivity``, ``relaxivity-is-a-range``).

        Raises
        ------
        MissingMetadata
            If the record holds none at this field, or several that differ in conditions; those are named.
        """
        return find_relaxivity(
            self.id,
            self.relaxivities,
            kind=kind,
            field_t=field_t,
            temperature_c=temperature_c,
            medium=medium,
            per=per,
            interpolate=interpolate,
        )

    def uptake(
        self, organ: str, *, name: str | None = None, label: str | None = None, species: str | None = None
    ) -> built.Uptake:
        """The recorded uptake of an organ.

        Parameters
        ----------
        organ : str
        name, label, species : str, optional
            Which one, where the record holds several.

        Raises
        ------
        MissingMetadata
            If there is none, or several: two numbers of the literature are never averaged or chosen from.
        """
        recorded = self.pharmacokinetics.biodistribution if self.pharmacokinetics else ()
        wanted = {"name": name, "label": label, "species": species}
        asked = {key: value for key, value in wanted.items() if value is not None}
        found = [
            entry
            for entry in recorded
            if entry.organ == organ and all(getattr(entry, key) == value for key, value in asked.items())
        ]
        if len(found) == 1:
            return found[0]
        here = found or recorded
        raise MissingMetadata(
            f"the record holds {'several values' if found else 'no value'} for the uptake of {organ}",
            where=self.id,
            found="; ".join(f"{entry.context}: {entry.text} {entry.unit}" for entry in here) or None,
            next_step="say which by name, label or species" if found else "give the uptake yourself",
        )

    def half_life(self, compartment: str, *, species: str | None = None) -> built.HalfLife:
        """The biological half-life in a compartment; refused like `uptake`."""
        recorded = self.pharmacokinetics.half_lives if self.pharmacokinetics else ()
        found = [
            entry
            for entry in recorded
            if entry.compartment == compartment and species in (None, entry.species)
        ]
        if len(found) == 1:
            return found[0]
        raise MissingMetadata(
            f"the record holds {'several half-lives' if found else 'no half-life'} for {compartment}",
            where=self.id,
            found="; ".join(f"{e.context}: {e.text} {e.unit}" for e in found or recorded) or None,
            next_step="say which species" if found else "give the half-life yourself",
        )

    def values(self) -> Iterator[tuple[str, Sourced]]:
        """Every sourced entry with its path, such as ``("relaxivities.0", ...)``."""
        yield from _sourced(self, ())

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """One caution that says how many of its values are from memory; nothing when none is."""
        entries = list(self.values())
        doubtful = sum(entry.provenance == "unconfirmed" for _, entry in entries)
        if not doubtful:
            return ()
        return (
            Caution(
                "unconfirmed-value",
                f"{doubtful} of {len(entries)} values are from memory and are no validated truth",
                self.id,
            ),
        )


def _sourced(here: object, path: tuple[str, ...]) -> Iterator[tuple[str, Sourced]]:
    if isinstance(here, Sourced):
        yield ".".join(path), here
    if isinstance(here, BaseModel):
        for name in type(here).model_fields:
            yield from _sourced(getattr(here, name), (*path, name))
    elif isinstance(here, tuple):
        for n, item in enumerate(here):
            yield from _sourced(item, (*path, str(n)))


def place_values(agent: Agent) -> Agent:
    """The same record, each entry knowing its place, so that a warning can name it."""
    for path, entry in agent.values():
        entry._place = f"{agent.id}: {path}"
    return agent
