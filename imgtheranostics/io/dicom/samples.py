"""What distinguishes the images at one position, made into named axes; never the instance number alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue, MissingMetadata
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.volume import Axis

IndexArray = npt.NDArray[np.intp]
FloatArray = npt.NDArray[np.float64]

PARAMETER_UNITS = {
    "echo_time": "s",
    "flip_angle": "deg",
    "inversion_time": "s",
    "repetition_time": "s",
    "wavelength": "nm",
    "energy": "kV",
}
"""Parameters that may become an axis, in the order in which they are tried, with the axis unit."""

_DYNAMIC = frozenset({"DYNAMIC", "GATED"})


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Axes beyond space and which frame stands where.

    Attributes
    ----------
    axes : tuple of Axis
    order : (n_slices, n_samples) ndarray
        Frame index of each slice and sample, samples with the first axis fastest.
    """

    axes: tuple[Axis, ...]
    order: IndexArray
    cautions: tuple[Caution, ...] = ()


def arrange(frames: Sequence[Frame], members: Sequence[IndexArray], modality: str, where: str) -> Arrangement:
    """Order the frames at each position.

    Parameters
    ----------
    frames : sequence of Frame
    members : sequence of ndarray
        Frame indices per slice.
    modality : str
    where : str
        What messages name.

    Raises
    ------
    GeometryMismatch
        If positions hold different numbers of images, or nothing tells the images at a position apart.
    MissingMetadata
        If images follow each other in time and no clock says when.
    """
    counts = np.array([len(m) for m in members])
    _check_time_slices(frames, counts, modality, where)
    if (counts != counts[0]).any():
        raise _unequal(counts, where)
    n_samples = int(counts[0])
    table = np.array(members, dtype=np.intp).reshape(len(members), n_samples)
    if n_samples == 1:
        return Arrangement((), table)
    for names in _candidates(frames, table):
        found = _by_parameters(frames, table, names, modality, where)
        if found is not None:
            return _wavelength_last(found) if modality == "PA" else found
    raise _indistinct(len(members), n_samples, where)


def _wavelength_last(found: Arrangement) -> Arrangement:
    """The same frames with time, which stands last elsewhere, before the wavelengths."""
    if len(found.axes) < 2 or found.axes[-1].name != "time":
        return found
    *parameters, time = found.axes
    order = found.order.reshape(len(found.order), len(time), -1).swapaxes(1, 2)
    return Arrangement((time, *parameters), order.reshape(found.order.shape), found.cautions)


def _check_time_slices(
    frames: Sequence[Frame], counts: npt.NDArray[np.int64], modality: str, where: str
) -> None:
    header = frames[0].header
    if modality != "PT" or not _DYNAMIC.intersection(header.strings("SeriesType")[:1]):
        return
    declared = header.integer("NumberOfTimeSlices")
    if declared is None or declared < 1:
        return
    if len(frames) % declared:
        raise GeometryMismatch(
            "the number of images is not a multiple of the number of time slices: images are missing",
            where=where,
            found=f"{len(frames)} images",
            needed=f"a multiple of NumberOfTimeSlices (0054,0101) = {declared}",
            next_step="check that the export is complete",
        )
    if (counts == counts[0]).all() and declared != counts[0]:
        raise GeometryMismatch(
            "the images at one position are not as many as the time slices that the header declares",
            where=where,
            found=f"{counts[0]} images at each position",
            needed=f"NumberOfTimeSlices (0054,0101) = {declared}",
            next_step="check that the export is complete",
        )


def _unequal(counts: npt.NDArray[np.int64], where: str) -> GeometryMismatch:
    usual = int(np.bincount(counts).argmax())
    odd = np.flatnonzero(counts != usual)
    listed = ", ".join(f"{n} ({counts[n]})" for n in odd[:8]) + (" ..." if odd.size > 8 else "")
    return GeometryMismatch(
        "duplicate or missing slices: the positions do not hold equally many images",
        where=where,
        found=f"{usual} images at most positions, but at slice {listed}",
        needed="the same number at each position",
        next_step="check that the export is complete and holds one series only",
    )


def _indistinct(n_slices: int, n_samples: int, where: str) -> GeometryMismatch:
    if n_slices == 1:
        return GeometryMismatch(
            "not a volume: all images lie at identical positions",
            where=where,
            found=f"{n_samples} images at one position, not told apart by a parameter",
            needed="slices along a normal, or images that differ in echo, flip angle, time ...",
        )
    return GeometryMismatch(
        "duplicate slices: images at identical positions that nothing tells apart",
        where=where,
        found=f"{n_samples} images at each of {n_slices} positions",
        needed="one image per position, or images that differ in echo, flip angle, time ...",
    )


def _values(frames: Sequence[Frame], name: str) -> FloatArray:
    return np.array([frame.parameters.get(name, np.nan) for frame in frames])


def _candidates(frames: Sequence[Frame], table: IndexArray) -> list[tuple[str, ...]]:
    """Sets of parameters that vary at the first position: one, then two, then none (time alone)."""
    first = [frames[n] for n in table[0]]
    varying = [
        name
        for name in PARAMETER_UNITS
        if not np.isnan(values := _values(first, name)).any() and np.unique(values).size > 1
    ]
    return [*((name,) for name in varying), *itertools.combinations(varying, 2), ()]


def _by_parameters(
    frames: Sequence[Frame], table: IndexArray, names: tuple[str, ...], modality: str, where: str
) -> Arrangement | None:
    """An arrangement with those parameters as axes, and time after them where images are left over."""
    columns = [_values(frames, name) for name in names]
    grid = [np.unique(column[table[0]]) for column in columns]
    n_combinations = int(np.prod([g.size for g in grid], dtype=np.int64))
    n_slices, n_samples = table.shape
    if n_samples % n_combinations:
        return None
    n_times = n_samples // n_combinations
    if names and n_times > 1 and _another_explains(frames, table, names):
        return None
    order = np.empty((n_slices, n_times, n_combinations), dtype=np.intp)
    for place, indices in enumerate(table):
        cell = np.zeros(n_samples, dtype=np.intp)
        stride = 1
        for column, values in zip(columns, grid, strict=True):
            position = np.searchsorted(values, column[indices])
            position = np.minimum(position, values.size - 1)
            if not (values[position] == column[indices]).all():
                return None
            cell += position * stride
            stride *= values.size
        if (np.bincount(cell, minlength=n_combinations) != n_times).any():
            return None
        arranged = indices[np.argsort(cell, kind="stable")].reshape(n_combinations, n_times)
        order[place] = arranged.T
    axes = tuple(Axis(name, values, _unit(name, modality)) for name, values in zip(names, grid, strict=True))
    _check_plausible(axes, where)
    cautions: tuple[Caution, ...] = ()
    if n_times > 1:
        timed = _time_axis(frames, order, modality, where)
        if timed is None:
            return None
        axis, order, cautions = timed
        axes = (*axes, axis)
    return Arrangement(axes, order.reshape(n_slices, n_samples), cautions)


def _unit(name: str, modality: str) -> str:
    """Unit of an axis: energies are those of a gamma camera's windows, or tube voltages."""
    return "keV" if (name, modality) == ("energy", "NM") else PARAMETER_UNITS[name]


def _another_explains(frames: Sequence[Frame], table: IndexArray, names: tuple[str, ...]) -> bool:
    """Whether a parameter that is not among `names` varies too and so must not be taken for time."""
    first = [frames[n] for n in table[0]]
    for name in PARAMETER_UNITS:
        values = _values(first, name)
        if name in names or np.isnan(values).any() or np.unique(values).size == 1:
            continue
        joint = {(tuple(f.parameters[n] for n in names), f.parameters[name]) for f in first}
        if len(joint) > len({pair[0] for pair in joint}):
            return True
    return False


def _check_plausible(axes: tuple[Axis, ...], where: str) -> None:
    for axis in axes:
        if axis.name == "flip_angle" and axis.values.max() <= np.pi:
            raise ImplausibleValue(
                "all flip angles are below 3.2 degrees: they look like radians",
                where=f"{where}: FlipAngle (0018,1314)",
                found=", ".join(f"{v:g}" for v in axis.values[:8]),
                needed="degrees",
            )


def _time_axis(
    frames: Sequence[Frame], order: IndexArray, modality: str, where: str
) -> tuple[Axis, IndexArray, tuple[Caution, ...]] | None:
    if modality == "PT":
        from imgtheranostics.io.dicom.timing import pet_time_axis

        return pet_time_axis(frames, order, where)
    return _clock_axis(frames, order, modality, where)


def _clock_axis(
    frames: Sequence[Frame], order: IndexArray, modality: str, where: str
) -> tuple[Axis, IndexArray, tuple[Caution, ...]] | None:
    """Time from the temporal position or the clock; None when neither tells the images apart."""
    n_slices = order.shape[0]
    stated = np.array([frame.details.get("mid_time_s", np.nan) for frame in frames], dtype=np.float64)
    if not np.isnan(stated).any():
        ordered = sort_samples(order, stated)
        if ordered is not None:
            return Axis("time", stated[ordered[0]].ravel()[: order.shape[1]], "s"), ordered, ()
    for key in _time_keys(frames, modality, n_slices):
        sorted_order = sort_samples(order, key)
        if sorted_order is not None:
            starts = sample_starts_s(frames, sorted_order)
            return Axis("time", _sample_times(frames, sorted_order, starts, where), "s"), sorted_order, ()
    return None


def _time_keys(frames: Sequence[Frame], modality: str, n_slices: int) -> list[FloatArray]:
    """Keys that may order images in time: what the file states, then its clock.

    A clock alone does not make a time series of CT images at one place: such images are a scan that was
    repeated without table movement, and their number is not a dimension of a volume.
    """
    keys: list[FloatArray] = []
    depth = max((len(frame.order) for frame in frames), default=0)
    if all(len(frame.order) == depth for frame in frames):
        keys += [np.array([frame.order[n] for frame in frames]) for n in range(depth)]
    stated = [key for key in keys if (key >= 0).all()]
    if modality == "CT" and n_slices == 1:
        return stated
    clock = clock_s(frames)
    return stated if np.isnan(clock).any() else [*stated, clock]


def clock_s(frames: Sequence[Frame]) -> FloatArray:
    """Acquisition start of every frame in s from the earliest; NaN where absent."""
    known = [frame.acquisition_us for frame in frames if frame.acquisition_us is not None]
    first = min(known, default=0)
    return np.array(
        [np.nan if f.acquisition_us is None else (f.acquisition_us - first) / 1e6 for f in frames]
    )


def sort_samples(order: IndexArray, key: FloatArray) -> IndexArray | None:
    """Frames sorted by a key along the time axis; None when the key leaves two of them equal."""
    values = key[order]
    ranked = np.argsort(values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, ranked, axis=1)
    if not (np.diff(sorted_values, axis=1) > 0).all():
        return None
    return np.take_along_axis(order, ranked, axis=1)


def sample_starts_s(frames: Sequence[Frame], order: IndexArray) -> FloatArray | None:
    """Earliest acquisition start of each time sample relative to the first; None unless they increase."""
    clock = clock_s(frames)[order]
    if np.isnan(clock).any():
        return None
    starts = clock.reshape(clock.shape[0], clock.shape[1], -1).min(axis=(0, 2))
    return starts - starts[0] if (np.diff(starts) > 0).all() else None


def _sample_times(
    frames: Sequence[Frame], order: IndexArray, starts: FloatArray | None, where: str
) -> FloatArray:
    if starts is not None:
        return starts
    header = frames[0].header
    sources: tuple[Callable[[], float | None], ...] = (
        lambda: header.number("TemporalResolution"),
        lambda: header.number("RepetitionTime") if frames[0].tile is not None else None,
    )
    for source in sources:
        step_ms = source()
        if step_ms:
            return np.arange(order.shape[1], dtype=np.float64) * (step_ms / 1000.0)
    raise MissingMetadata(
        "the images follow each other in time, but no clock says when",
        where=f"{where}: AcquisitionTime (0008,0032), TemporalResolution (0020,0110)",
        needed="increasing acquisition times or the temporal resolution",
    )
