"""Refusals of what was asked for: choices that do not exist, options in vain, inputs that cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from imgtheranostics.errors import UnsupportedInput


class UnknownChoice(ValueError):
    """A method, model or unit that does not exist, or not for these images."""


def checked(name: str, known: tuple[str, ...], what: str) -> str:
    """The name, if it is one of those; `UnknownChoice` otherwise.

    >>> checked("patlak", ("tofts", "patlak"), "model")
    'patlak'
    """
    if name not in known:
        raise UnknownChoice(f"the {what} must be one of {', '.join(known)}, not {name!r}")
    return name


_DOES_NOT_MATTER = frozenset(("workers",))


def applicable(given: Mapping[str, Any], allowed: Collection[str], purpose: str) -> dict[str, Any]:
    """The options, once it is certain that each of them matters.

    Raises
    ------
    UnknownChoice
        If one was given that this way does not take: it would be ignored.
    """
    vain = [name for name in given if name not in allowed and name not in _DOES_NOT_MATTER]
    if vain:
        names = ", ".join(f"{name}= (--{name.replace('_', '-')})" for name in vain)
        raise UnknownChoice(f"{names} {'do' if len(vain) > 1 else 'does'} not apply to {purpose}")
    return {name: value for name, value in given.items() if name in allowed}


@contextmanager
def typed_refusals() -> Iterator[None]:
    """Usage errors of the array level as refusals of the input: here the input decides the numbers."""
    try:
        yield
    except ValueError as error:
        raise UnsupportedInput(str(error)) from error
