"""What a job begins with: raw detector signals, and images of other programs."""

from __future__ import annotations

from imgtheranostics.io.optoacoustic_arrays import volume_from_array
from imgtheranostics.io.signal_loading import load_signals
from imgtheranostics.optoacoustic_signals import OptoacousticSignals

__all__ = ["OptoacousticSignals", "load_signals", "volume_from_array"]
