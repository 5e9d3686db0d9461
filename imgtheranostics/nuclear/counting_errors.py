"""Variance of counts in images of a gamma camera."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, UnitMismatch
from imgtheranostics.nuclear.counting_times import counting_times
from imgtheranostics.nuclear.dead_time_correction import STEP as DEAD_TIME_STEP
from imgtheranostics.nuclear.dead_time_correction import along_time
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]


def counting_variance(v: Volume) -> tuple[FloatArray, tuple[Caution, ...]]:
    """Poisson variance of every voxel in the square of its unit, and what to know about it.

    A count of zero has the variance of one count: none at all would claim certainty. Counts that were
    restored after dead time keep the relative error of those that were seen.

    Parameters
    ----------
    v : Volume
        Counts, or counts per second of a known counting time.

    Returns
    -------
    ndarray
        Of the shape of the image.
    tuple of Caution
        That a reconstruction does not keep this variance.

    Raises
    ------
    UnitMismatch
        If the image holds no counts.
    ImplausibleValue
        If counts are negative.
    MissingMetadata
        If the counting time of a rate is not known.
    """
    if v.quantity not in ("counts", "count_rate"):
        raise UnitMismatch(
            "the error of counting is that of counts", found=f"{v.quantity} [{v.unit}]", needed="counts"
        )
    if (v.data < 0).any():
        raise ImplausibleValue(
            "counts are negative, so their errors are not those of counting",
            where="energy windows",
            found=f"{float(np.nanmin(v.data)):g}",
            needed="counts of 0 or more, or the noise of each image",
            next_step="give the noise (noise_sd=), or do this before other corrections",
        )
    scale: FloatArray = np.ones(1)
    if v.quantity == "count_rate":
        scale = along_time(v, 1.0 / counting_times(v))
    for step in v.history:
        if step.name == DEAD_TIME_STEP:
            scale = scale * along_time(v, np.atleast_1d(np.asarray(step.parameters["factor"], np.float64)))
    variance = np.maximum(v.data.astype(np.float64), scale) * scale
    record = v.acquisition
    if not (isinstance(record, NuclearAcquisition) and "RECON TOMO" in record.image_type):
        return variance, ()
    text = (
        "errors are those of counting, which a reconstruction does not keep: its noise is correlated and "
        "depends on the algorithm"
    )
    return variance, (Caution("poisson-error-of-a-reconstruction", text),)
