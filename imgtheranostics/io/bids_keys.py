"""The keys of BIDS that other tools read, written beside our own; times are relative, dates are left out."""

from __future__ import annotations

from typing import Any

from imgtheranostics.volume import Volume


def public_keys(volume: Volume) -> dict[str, Any]:
    """BIDS keys that the acquisition of a Volume can fill."""
    return {}
