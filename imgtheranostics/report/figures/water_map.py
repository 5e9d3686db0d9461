"""Where water was in each voxel, which moved the spectra behind a map: the B0 map of a result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgtheranostics.report.figures import mosaic
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Estimate, Volume

_QUANTITY = "b0_shift"


def keys(run: Run) -> tuple[str, ...]:
    """Names of the maps of water's position beside the estimates; none where it is an estimate itself."""
    return tuple(_beside(run))


def draw(run: Run, name: str) -> Drawing:
    """The mosaic of one of them."""
    value = _beside(run)[name]
    plain = value.replace(data=np.zeros(value.shape, np.float32))
    flags = plain.replace(data=np.zeros(value.shape, np.uint16), quantity="flags", unit="1")
    shown = replace(run, estimates=(Estimate(value, plain, flags),), decisions={"rule": name})
    drawing = mosaic.draw(shown, _QUANTITY)
    words = "The spectra were shifted by it before anything was read from them"
    return Drawing(drawing.figure, f"{words}; {drawing.caption}", drawing.alt)


def _beside(run: Run) -> dict[str, Volume]:
    if any(estimate.quantity == _QUANTITY for estimate in run.maps):
        return {}
    return {
        name: volume
        for estimate in run.maps
        for name, volume in estimate.maps.items()
        if volume.quantity == _QUANTITY
    }
