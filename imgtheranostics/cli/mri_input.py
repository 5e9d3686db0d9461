"""From the words of ``mri`` options to numbers and images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.cli.map_input import loaded

if TYPE_CHECKING:
    from imgtheranostics.volume import Volume


def transmit_field(path: Path | None, mr_scaling: str | None = None) -> Volume | None:
    """A transmit-field map, calculated where the path holds the pair of scans for it."""
    if path is None:
        return None
    from imgtheranostics.mri.transmit_maps import b1_map, is_b1_series

    image = loaded(path, None, mr_scaling)
    return b1_map(image).value if is_b1_series(image) else image
