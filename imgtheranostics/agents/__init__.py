"""Nanoparticle records: what a particle carries, how it shows in each modality, and whence each value is."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtheranostics.agents.loading import available, get, load_file
    from imgtheranostics.agents.relaxivity import Relaxivity
    from imgtheranostics.agents.schema import Agent

__all__ = ["Agent", "Relaxivity", "available", "get", "load_file"]

_HOMES = {
    "Agent": "schema",
    "Relaxivity": "relaxivity",
    "available": "loading",
    "get": "loading",
    "load_file": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
