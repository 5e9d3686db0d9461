"""Several clips of one bolus as one cine: only where their clocks and gains say that they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.volume import Axis, Volume, make_step

_SAME = (
    "manufacturer",
    "model",
    "mechanical_index",
    "transducer_frequency_mhz",
    "photometric",
    "grey_max",
    "dynamic_range_db",
    "gain_db",
    "regions",
)


def join(clips: Sequence[Volume], *, same_gain: bool = False) -> Volume:
    """Clips of one acquisition as one cine, each at its time after the first.

    Parameters
    ----------
    clips : sequence of Volume
        Cines with the time at which each was acquired, in any order.
    same_gain : bool
        The user states that the receive gain was the same in all, which DICOM files do not.

    Returns
    -------
    Volume
        The frames of all clips along one time axis, which begins at the first frame of the first clip.

    Raises
    ------
    MissingMetadata
        If a clip does not say when it was acquired, or nobody knows that the gain was the same.
    GeometryMismatch
        If clips lie on different grids, or overlap in time.
    UnitMismatch
        If they were acquired or scaled differently.
    UnsupportedInput
        If there are fewer than two, or one is no cine of one slice.
    """
    given = list(clips)
    if len(given) < 2:
        raise UnsupportedInput("joining takes at least two clips", found=str(len(given)))
    starts = [_start(clip, n) for n, clip in enumerate(given)]
    order = np.argsort([(start - min(starts)).total_seconds() for start in starts], kind="stable")
    ordered = [given[n] for n in order]
    for n, clip in enumerate(ordered[1:], start=1):
        _check_alike(ordered[0], clip, n, same_gain)
    first = min(starts)
    times = [
        clip.axes[0].values + (starts[n] - first).total_seconds()
        for n, clip in zip(order, ordered, strict=True)
    ]
    for n, (earlier, later) in enumerate(pairwise(times), start=1):
        if later[0] <= earlier[-1]:
            raise GeometryMismatch(
                "two clips overlap in time",
                where="AcquisitionDateTime (0008,002A)",
                found=f"clip {n} begins at {later[0]:g} s, clip {n - 1} ends at {earlier[-1]:g} s",
                needed="one after the other",
            )
    axis = Axis("time", np.concatenate(times), "s")
    data = np.concatenate([clip.data for clip in ordered], axis=-1)
    step = make_step(
        "join_clips",
        frames=[len(clip.axes[0]) for clip in ordered],
        starts_s=[float(one[0]) for one in times],
        gain="stated by the user to be the same" if same_gain else "the same in all records",
    )
    files = tuple(file for clip in ordered for file in clip.source.files)
    leader = ordered[0]
    joined: Volume = leader.replace(
        data=data,
        axes=(axis,),
        acquisition=replace(leader.acquisition, frame_time_s=None),
        history=(*leader.history, step),
        warnings=merge_cautions(*(clip.warnings for clip in ordered), _gaps(times)),
        source=replace(leader.source, files=files),
    )
    return joined


def _start(clip: Volume, number: int) -> datetime:
    if [axis.name for axis in clip.axes] != ["time"] or clip.grid.shape[2] != 1:
        raise UnsupportedInput(
            "only cines of one slice are joined",
            where=f"clip {number}",
            found=f"{clip.grid.shape[2]} slices, axes {', '.join(a.name for a in clip.axes) or 'none'}",
        )
    record = clip.acquisition
    start = record.acquisition_datetime if isinstance(record, UltrasoundAcquisition) else None
    if start is None:
        raise MissingMetadata(
            "a clip does not say when it was acquired, so that its frames have no place on a common clock",
            where=f"clip {number}: AcquisitionDateTime (0008,002A), AcquisitionTime (0008,0032)",
            needed="the date and time of every clip",
            next_step="analyse the clips one by one",
        )
    return start


def _check_alike(first: Volume, clip: Volume, number: int, same_gain: bool) -> None:
    same = first.grid.same_as(clip.grid)
    if not same:
        raise GeometryMismatch("clips lie on different grids", where=f"clip {number}", found=str(same))
    if (first.quantity, first.unit) != (clip.quantity, clip.unit):
        raise UnitMismatch(
            "clips hold different quantities",
            where=f"clip {number}",
            found=f"{clip.quantity} [{clip.unit}]",
            needed=f"{first.quantity} [{first.unit}]",
        )
    if first.source.subject != clip.source.subject:
        raise UnsupportedInput(
            "clips are of different subjects", where=f"clip {number}: PatientID (0010,0020)"
        )
    if _zoned(first) != _zoned(clip):
        raise MissingMetadata(
            "only some clips state their time zone",
            where=f"clip {number}: TimezoneOffsetFromUTC (0008,0201)",
        )
    differing = [name for name in _SAME if _field(first, name) != _field(clip, name)]
    if differing:
        raise UnitMismatch(
            "clips were acquired or scaled differently, so that their echo does not compare",
            where=f"clip {number}: {', '.join(differing)}",
            needed="the same in all clips",
        )
    if _field(first, "gain_db") is None and not same_gain:
        raise MissingMetadata(
            "the receive gain of the clips is not known, and joining needs it to be the same",
            where="Gain in the sidecars; DICOM does not carry it",
            next_step="give same_gain=True (--same-gain) if the gain was not touched in between",
        )


def _field(clip: Volume, name: str) -> Any:
    return getattr(clip.acquisition, name)


def _zoned(clip: Volume) -> bool:
    return clip.acquisition.acquisition_datetime.tzinfo is not None


def _gaps(times: Sequence[Any]) -> tuple[Caution, ...]:
    pauses = [float(later[0] - earlier[-1]) for earlier, later in pairwise(times)]
    text = ", ".join(f"{pause:.3g}" for pause in pauses)
    return (
        Caution(
            "clips-joined",
            f"the cine was put together from {len(times)} clips with {text} s in between, without any frame",
        ),
    )
