"""How long a gamma camera counted for each frame of an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]


def counting_times(v: Volume, duration_s: float | None = None) -> FloatArray:
    """Counting time of each time frame, s.

    Parameters
    ----------
    v : Volume
    duration_s : float, optional
        Goes before what the file says: all views of a rotation together.

    Returns
    -------
    (n_frames,) ndarray
        One value where the image has no time axis.

    Raises
    ------
    MissingMetadata
        If nobody says it.
    """
    axis = v.axis("time")
    n_frames = 1 if axis is None else len(axis)
    if duration_s is not None:
        return np.full(n_frames, duration_s)
    record = v.acquisition
    stated: FloatArray | None = None
    if isinstance(record, NuclearAcquisition) and record.acquisition_duration_s is not None:
        stated = np.full(n_frames, record.acquisition_duration_s)
    elif isinstance(record, EmissionAcquisition) and record.frame_duration_s is not None:
        times = np.atleast_2d(record.frame_duration_s)
        if times.shape[1] == n_frames and (times == times[0]).all():
            stated = times[0].astype(np.float64)
    if stated is None or not (np.isfinite(stated) & (stated > 0)).all():
        raise MissingMetadata(
            "how long the camera counted is not known, so counts are no count rate",
            where="ActualFrameDuration (0018,1242), NumberOfFramesInRotation (0054,0053)",
            needed="the counting time in s",
            next_step="give it: Calibration(..., duration_s=...) or --counting-time-s",
        )
    return stated
