"""Raw detector signals: what a reconstruction begins with."""

from __future__ import annotations

from imgtheranostics.io.signal_loading import load_signals
from imgtheranostics.optoacoustic_signals import OptoacousticSignals

__all__ = ["OptoacousticSignals", "load_signals"]
