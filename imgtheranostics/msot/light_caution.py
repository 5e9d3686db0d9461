"""Whether anybody took the fluence out of an image."""

from __future__ import annotations

from imgtheranostics.errors import Caution
from imgtheranostics.msot.fluence_maps import CORRECTION
from imgtheranostics.volume import Volume

_ARBITRARY = ("optoacoustic_signal", "component_amplitude", "relative_thb")
"""Quantities that light scales where nobody took it out; absorption exists only once somebody has."""


def light_cautions(signal: Volume) -> tuple[Caution, ...]:
    """A caution where nobody took the fluence out of an image."""
    corrected = (
        signal.quantity not in _ARBITRARY
        or getattr(signal.acquisition, "fluence_corrected", None) is True
        or any(step.name == CORRECTION for step in signal.history)
    )
    if corrected:
        return ()
    text = (
        "light was not corrected for: deeper tissue looks weaker, and its spectrum is coloured: oxygen "
        "saturation at 10 to 15 mm is off by several points; see msot.fluence (--fluence)"
    )
    return (Caution("fluence-not-corrected", text, "fluence"),)
