"""Whether an image holds more activity than was injected: units, calibration or dose are then wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.volume import Volume

_STANDARD_ERRORS = 3.0
_LEAST_EXCESS = 0.1


def more_than_injected(
    v: Volume, share_per_ml: npt.NDArray[np.float64], relative_uncertainty: float
) -> tuple[Caution, ...]:
    """A caution where the activity in a frame is more than all that was injected.

    Parameters
    ----------
    v : Volume
        (x, y, z) or (x, y, z, frame).
    share_per_ml : ndarray
        Factors from its values to the share of the net injected activity per mL; broadcasts against them.
    relative_uncertainty : float
        Of dose and calibration. An excess is said from three times it on, and from 10 % on.
    """
    planes = np.sum(v.data, axis=(0, 1), dtype=np.float64)
    if not np.isfinite(planes).all():
        planes = np.nansum(v.data, axis=(0, 1), dtype=np.float64)
    factor = np.broadcast_to(share_per_ml[0, 0], planes.shape)
    totals = np.sum(planes * factor, axis=0) * v.grid.voxel_volume_ml
    most = float(np.max(totals))
    if not most > 1.0 + max(_LEAST_EXCESS, _STANDARD_ERRORS * relative_uncertainty):
        return ()
    text = (
        f"the image holds {100 * most:.4g} % of the net injected activity: check the unit and scale of the "
        "image, the dose and its unit, and the sensitivity"
    )
    return (Caution("more-than-injected", text),)
