"""Phantoms: images with a known answer, made from the review's own parameters."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtheranostics.phantom.making import Phantom, make
    from imgtheranostics.phantom.reading import available, load_spec
    from imgtheranostics.phantom.spec import PhantomSpec
    from imgtheranostics.phantom.writer import write

__all__ = ["Phantom", "PhantomSpec", "available", "load_spec", "make", "write"]

_HOMES = {
    "Phantom": "making",
    "PhantomSpec": "spec",
    "available": "reading",
    "load_spec": "reading",
    "make": "making",
    "write": "writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
