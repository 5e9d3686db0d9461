"""Images from raw optoacoustic signals: back-projection, delay and sum, and fitting a model of sound.

The module can be called: ``reconstruct(signals, ...)`` is `imgtheranostics.msot.reconstruction.reconstruct`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from imgtheranostics.msot.reconstruction import focus_speed_of_sound
from imgtheranostics.msot.sound_focus import FocusedSpeed, sharpness

if TYPE_CHECKING:
    from imgtheranostics.optoacoustic_signals import OptoacousticSignals
    from imgtheranostics.volume import Volume

__all__ = ["FocusedSpeed", "focus_speed_of_sound", "sharpness"]


class _CallableModule(ModuleType):
    """The module of the reconstruction's parts that is also the reconstruction itself."""

    def __call__(self, signals: OptoacousticSignals, **options: Any) -> Volume:
        """Image of raw signals.

        Parameters
        ----------
        signals, **options
            As `imgtheranostics.msot.reconstruction.reconstruct` takes them.
        """
        from imgtheranostics.msot import reconstruction

        volume: Volume = reconstruction.reconstruct(signals, **options)
        return volume


sys.modules[__name__].__class__ = _CallableModule
