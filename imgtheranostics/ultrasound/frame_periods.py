"""Echo gain of a period of a cine over its baseline frames: one number per region."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound.baseline_power import Frames, frame_list
from imgtheranostics.ultrasound.cine_series import time_axis
from imgtheranostics.ultrasound.gas_gain import gain
from imgtheranostics.volume import Axis, Volume

if TYPE_CHECKING:
    import pandas as pd

IndexArray = npt.NDArray[np.int64]


def period_gain(
    volume: Volume,
    *,
    rois: Regions,
    baseline_frames: Frames,
    frames: Frames | None = None,
    reference: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Ratio of the mean linear echo power of a period to that of the frames before the agent.

    Parameters
    ----------
    volume : Volume
        A cine: grey levels, dB or linear power.
    rois : Regions
    baseline_frames : int, slice, range, (first, stop) or sequence of int
        As in `imgtheranostics.ultrasound.enhancement`.
    frames : int, slice, range, (first, stop) or sequence of int, optional
        The period; by default all frames after the baseline.
    reference : str, optional
        One of the regions: ``relative_echo_enhancement`` is reported too, beyond that of the reference.
    **options
        ``dynamic_range_db``, ``gamma``, ``gain_db``, ``grey_max``, ``region``, ``largest_saturated``,
        ``largest_floor_effect``, ``subject``, ``session``, ``workers``, as in
        `imgtheranostics.ultrasound.gain`.

    Returns
    -------
    pandas.DataFrame
        Rows ``echo_enhancement`` (dB) and ``echo_gain`` (1) of each region, without an axis. Named frames
        count as one state, whose scatter is in the error; all frames after the baseline as a course.

    Raises
    ------
    MissingMetadata, UnitMismatch, ImplausibleValue, GeometryMismatch, UnsupportedInput
        As `imgtheranostics.ultrasound.enhancement`.
    """
    n_frames = len(time_axis(volume))
    before = frame_list(baseline_frames, n_frames)
    during = period_of(frames, before, n_frames)
    parts = frames_of(volume, before), frames_of(volume, during)
    # frames that somebody names are one state; all after the baseline are a course
    options["after_changes"] = frames is None
    table = gain_table(*parts, rois=rois, reference=reference, **options)
    table.attrs["decisions"] = {
        "period": {
            "rule": "all frames after the baseline" if frames is None else "given",
            "frames": ranges(during),
        }
    }
    return table


def gain_table(
    before: Volume, after: Volume, *, rois: Regions, reference: str | None = None, **options: Any
) -> pd.DataFrame:
    """Gain of one state over another, and with a reference region the enhancement beyond it.

    Parameters
    ----------
    before, after : Volume
    rois : Regions
    reference : str, optional
    **options
        As in `imgtheranostics.ultrasound.gain`.

    Returns
    -------
    pandas.DataFrame
        Rows ``echo_enhancement``, ``relative_echo_enhancement`` where there is a reference, and
        ``echo_gain``, not divided by that of the reference.
    """
    import pandas as pd

    own = gain(before, after, rois=rois, **options)
    tables = [_only(own, name) for name in ("echo_enhancement", "echo_gain")]
    if reference is not None:
        beyond = gain(before, after, rois=rois, reference=reference, **options)
        tables.insert(1, _only(beyond, "echo_enhancement", "relative_echo_enhancement"))
    table = pd.concat([rows for rows, _ in tables], ignore_index=True)
    table.attrs["details"] = [one for _, details in tables for one in details]
    table.attrs["warnings"] = own.attrs["warnings"]
    return table


def stacked(before: Volume, after: Volume) -> tuple[Volume, int]:
    """Two scans of one place as one cine whose times are counts, and how many frames the first has.

    Raises
    ------
    GeometryMismatch
        If they lie on different grids.
    UnitMismatch
        If they hold different quantities, or grey levels of different full scales.
    """
    from imgtheranostics.errors import GeometryMismatch, UnitMismatch

    same = before.grid.same_as(after.grid)
    if not same:
        raise GeometryMismatch("the two scans lie on different grids", found=str(same))
    scales = [(one.quantity, getattr(one.acquisition, "grey_max", None)) for one in (before, after)]
    if scales[0] != scales[1]:
        raise UnitMismatch(
            "the two scans have different scales",
            found=" and ".join(f"{quantity}, full scale {largest}" for quantity, largest in scales),
        )
    frames = [one.data if one.axes else one.data[..., np.newaxis] for one in (before, after)]
    data = np.asfortranarray(np.concatenate(frames, axis=-1))
    axis = Axis("time", np.arange(data.shape[-1], dtype=np.float64), "s")
    both: Volume = after.replace(data=data, axes=(axis,))
    return both, frames[0].shape[-1]


def _only(table: pd.DataFrame, quantity: str, name: str | None = None) -> tuple[pd.DataFrame, list[Any]]:
    """Rows of one quantity and their details, by another name where one is given."""
    import pandas as pd

    bare = pd.DataFrame(table)
    rows = bare[bare["quantity"] == quantity].assign(quantity=name or quantity)
    details = [one for one in table.attrs["details"] if one["quantity"] == quantity]
    return rows, [{**one, "quantity": name or quantity} for one in details]


def period_of(frames: Frames | None, before: IndexArray, n_frames: int) -> IndexArray:
    """The frames that are compared with the baseline."""
    if frames is not None:
        return frame_list(frames, n_frames, "the period")
    from imgtheranostics.errors import UnsupportedInput

    after = np.arange(int(before[-1]) + 1, n_frames)
    if not after.size:
        raise UnsupportedInput(
            "no frame follows the baseline",
            where="--baseline-frames (baseline_frames=)",
            found=f"{n_frames} frames, the last of which is in the baseline",
            next_step="name the frames to compare with frames= (--frames)",
        )
    return after


def ranges(index: IndexArray) -> str:
    """Frames as runs.

    >>> ranges(np.array([0, 1, 2, 5]))
    '0-2, 5'
    """
    runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
    return ", ".join(str(run[0]) if run.size == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def frames_of(volume: Volume, index: IndexArray) -> Volume:
    """A cine of some frames of a cine."""
    (axis,) = volume.axes
    kept: Volume = volume.replace(
        data=np.asfortranarray(volume.data[..., index]), axes=(replace(axis, values=axis.values[index]),)
    )
    return kept
