"""The registry of measuring methods: how each number that a phantom expects is taken from its images.

A method is a function of a session (one phantom on disk, read back through the public loader) and of an
expectation; it returns the number that the expectation speaks of. A new one is registered where its
physics lives in this package:

>>> @method("twice")  # doctest: +SKIP
... def twice(session, expectation):
...     return 2 * session.mean(expectation.places[0], expectation.quantity, expectation.region)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    from imgtheranostics.phantom.exposures import Exposure
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

Method = Callable[["Session", "Expectation"], float]
"""Takes a session and an expectation, returns what was measured.

An `ImgTheranosticsError` that it raises is a refusal; `MethodMissing` says that the package cannot do it yet.
"""


class MethodMissing(Exception):
    """The public API has no such method yet."""


METHODS: dict[str, Method] = {}
"""Measuring methods by the name that phantom files give them."""

_UNITS: dict[str, str] = {}
_SHORT: dict[str, str] = {}


def method(name: str, *, unit: str | None = None, short: str | None = None) -> Callable[[Method], Method]:
    """Register a measuring method.

    Parameters
    ----------
    name : str
        The ``method`` of an expectation in a phantom file.
    unit : str, optional
        UCUM unit of its result; by default that of the expectation's quantity.
    short : str, optional
        Name for narrow tables, 12 letters at most.

    Raises
    ------
    ValueError
        If the name is taken.
    """

    def register(function: Method) -> Method:
        if name in METHODS:
            raise ValueError(f"a measuring method named {name!r} is registered already")
        METHODS[name] = function
        if unit is not None:
            _UNITS[name] = unit
        _SHORT[name] = short or name.replace("_", " ")
        return function

    return register


def unit_of(expectation: Expectation) -> str:
    """UCUM unit of what the expectation's method returns."""
    if expectation.method in _UNITS:
        return _UNITS[expectation.method]
    known = QUANTITIES.get(expectation.quantity)
    return (known.unit if known is not None else None) or "1"


def short_name(name: str) -> str:
    """The method's name for narrow tables; empty for a plain mean."""
    return "" if name == "mean" else _SHORT.get(name, name.replace("_", " "))


def measure(session: Session, expectation: Expectation) -> float:
    """What the session's images show of an expectation.

    Raises
    ------
    MethodMissing
        If the package cannot measure it yet.
    ImgTheranosticsError
        If the package refuses the images.
    """
    function = METHODS.get(expectation.method)
    if function is None:
        raise MethodMissing(f"measuring method {expectation.method!r}")
    return function(session, expectation)


def best(session: Session, region: str) -> str:
    """The core of a region, where there is one: it keeps its signal at the image's resolution."""
    core = f"{region}_core"
    return core if core in session.phantom.regions.names.values() else region


def exposure_of(session: Session, volume: int) -> Exposure:
    """The scan that one image of an emission phantom shows."""
    from imgtheranostics.phantom.exposures import exposures
    from imgtheranostics.phantom.physics import parts_of

    for part in parts_of(session.phantom.spec):
        if part.first <= volume < part.first + len(part.names):
            return exposures(session.phantom.spec, part.physics.modality)[volume - part.first]
    raise MethodMissing("image of that number")


@method("mean")
def mean(session: Session, expectation: Expectation) -> float:
    """Mean of the quantity in the region."""
    return session.mean(expectation.places[0], expectation.quantity, expectation.region)


@method("ratio", unit="1")
def ratio(session: Session, expectation: Expectation) -> float:
    """Mean in the region over the mean in another; the expectation's region reads ``a/b``."""
    place, quantity = expectation.places[0], expectation.quantity
    region, _, over = expectation.region.partition("/")
    return session.mean(place, quantity, region) / session.mean(place, quantity, over)


@method("recovery", unit="1")
def recovery(session: Session, expectation: Expectation) -> float:
    """Share of a region's contrast to its surroundings that the image keeps."""
    if expectation.background is None or not expectation.contrast:
        return math.nan
    return (mean(session, expectation) - expectation.background) / expectation.contrast


@method("spread", unit="1")
def spread(session: Session, expectation: Expectation) -> float:
    """Largest minus smallest mean of the region, over their average, over all places of the expectation."""
    means = [session.mean(place, expectation.quantity, expectation.region) for place in expectation.places]
    return (max(means) - min(means)) / (sum(means) / len(means))


@method("refusal", short="refusal")
def refusal(session: Session, expectation: Expectation) -> float:
    """The mean, which the package must refuse to give."""
    return mean(session, expectation)
