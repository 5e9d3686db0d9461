"""Agent records: found by name or alias, or read from a user's own file, and refused by file and line."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.yaml_lines import Document, Lines, read

if TYPE_CHECKING:
    from imgtheranostics.agents.schema import Agent

_KINDS: dict[str, type[ImgTheranosticsError]] = {
    "unit": UnitMismatch,
    "implausible": ImplausibleValue,
    "greater_than": ImplausibleValue,
    "greater_than_equal": ImplausibleValue,
}
_NAMING = re.compile(r"^(?:name|aliases): .*$", re.MULTILINE)


def library() -> Path:
    """The folder of the shipped records."""
    return Path(__file__).resolve().parent


def available() -> tuple[str, ...]:
    """Names of the shipped records, sorted."""
    return tuple(sorted(path.stem for path in library().glob("*.yaml")))


def get(name: str | Path) -> Agent:
    """An agent's record.

    Parameters
    ----------
    name : str
        Name or alias of a shipped record, in any case and with or without hyphens and spaces; or the path of
        a ``.yaml`` file of your own.

    Raises
    ------
    NothingUsable
        If there is no such record; the known names are listed.

    Examples
    --------
    >>> get("AGuIX").relaxivity("r1", 3.0).value
    8.9
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return load_file(name)
    wanted = _plain(str(name))
    ids = {_plain(known): known for known in available()}
    if wanted in ids:
        return _shipped(ids[wanted])
    index = {**_aliases(), **ids}
    if wanted in index:
        return _shipped(index[wanted])
    close = dict.fromkeys(index[word] for word in get_close_matches(wanted, index, n=3))
    raise NothingUsable(
        f"there is no agent {str(name)!r}",
        found=("near: " + ", ".join(close) + "; " if close else "") + "known: " + ", ".join(available()),
        next_step="choose one of these, or give a .yaml file of your own",
    )


def load_file(path: str | Path) -> Agent:
    """A record from a file of your own, checked as the shipped ones are.

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput, UnitMismatch, ImplausibleValue
        If it is not a valid record, with its line.
    """
    document = read(path, subject="agent file")
    return parse_agent(document.content, where=document.where, lines=document.lines)


def parse_agent(content: object, *, where: str = "agent record", lines: Lines | None = None) -> Agent:
    """A record from plain data, checked as a file is.

    Parameters
    ----------
    content : mapping
        What the YAML file would hold.
    where : str
        Name for error messages.
    lines : mapping of path to int, optional
        Line of each entry.
    """
    from imgtheranostics.agents.schema import Agent, place_values

    document = Document(content, where, lines or {})
    agent = document.validated(Agent, "the agent record is not valid", kinds=_KINDS)
    _check_unique(agent, document)
    return place_values(agent)


def _check_unique(agent: Agent, document: Document) -> None:
    """Two values for the same conditions would make the answer depend on their order."""
    seen: set[tuple[object, ...]] = set()
    for n, entry in enumerate(agent.relaxivities):
        key = (entry.kind, entry.per, entry.field_t, entry.temperature_c, entry.medium)
        if key in seen and entry.field_t is not None:
            raise CorruptInput(
                "a relaxivity is recorded twice for the same conditions",
                where=document.place(("relaxivities", n)),
                found=entry.context,
                next_step="state the medium or the temperature that tells them apart, or choose one source",
            )
        seen.add(key)


@lru_cache(maxsize=256)
def _shipped(name: str) -> Agent:
    return load_file(library() / f"{name}.yaml")


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    """Record by alias, from the two lines of each file that hold names; reading every file whole is slow."""
    import yaml

    index: dict[str, str] = {}
    for name in available():
        text = (library() / f"{name}.yaml").read_text(encoding="utf-8")
        named = yaml.safe_load("\n".join(_NAMING.findall(text)))
        index.update({_plain(alias): name for alias in (named["name"], *named.get("aliases", ()))})
    return index


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())
