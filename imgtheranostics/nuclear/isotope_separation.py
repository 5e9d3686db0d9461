"""Two or more isotopes in one scan: an image for each, from the energy windows that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    UnitMismatch,
)
from imgtheranostics.nuclear.counting_errors import counting_variance
from imgtheranostics.nuclear.crosstalk import CAUTION_CONDITION, LARGEST_CONDITION, Crosstalk
from imgtheranostics.nuclear.window_unfolding import check_condition, unfold_windows
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

FloatArray = npt.NDArray[np.float64]

STEP = "separate_isotopes"
"""Name of the history entry of an image of one isotope."""

_SAME_TIME_S = 1.0


def separate_isotopes(
    windows: Volume | Sequence[Volume | Estimate],
    *,
    crosstalk: Crosstalk | npt.ArrayLike,
    isotopes: Sequence[str] | None = None,
    noise_sd: Sequence[float | npt.ArrayLike] | None = None,
    non_negative: bool = False,
    max_condition: float = LARGEST_CONDITION,
) -> dict[str, Estimate]:
    """Images of the isotopes of one scan, each in counts of its own energy window.

    Parameters
    ----------
    windows : Volume or sequence of Volume or Estimate
        Counts or count rates of one scan: with an ``energy`` axis, or one image for each window, such as
        those of `triple_energy_window`, whose errors are then used.
    crosstalk : Crosstalk or (n_windows, n_isotopes) array_like
        Counts of each isotope in each window relative to its own window; windows in the order of the images.
        See `crosstalk_from_vials`.
    isotopes : sequence of str, optional
        Names of the columns, where `crosstalk` is an array.
    noise_sd : sequence, optional
        Standard deviation of each window, in the unit of the images. By default that of counting.
    non_negative : bool
        See `imgtheranostics.nuclear.window_unfolding.unfold_windows`.
    max_condition : float
        Condition number of the crosstalk above which nothing is separated.

    Returns
    -------
    dict of str to Estimate
        By isotope. The standard error holds counting and the error of the crosstalk; the latter is shared by
        all voxels and goes on as `Estimate.calibration_relative`. ``maps["counting_error"]`` is the first
        part alone. The record of each names its window, nuclide and, where the scan states it, its own
        injection.

    Raises
    ------
    IllConditioned
        If the windows do not tell the isotopes apart.
    GeometryMismatch, UnitMismatch
        If the images are not windows of one scan.
    ImplausibleValue
        If counts are negative and no noise is given, or the windows were not counted together.
    ValueError
        If numbers of windows, isotopes and columns do not fit.

    Notes
    -----
    Counts of a reconstruction are not Poisson counts: their noise is correlated, and depends on the
    algorithm. Without `noise_sd` the result says that its errors are those of counting.
    """
    mixing = _crosstalk(crosstalk, isotopes)
    condition = check_condition(mixing, max_condition)
    images = window_images(windows)
    if len(images) != mixing.matrix.shape[0]:
        raise ValueError(f"{len(images)} energy windows for a crosstalk of {mixing.matrix.shape[0]}")
    volumes = [one.value if isinstance(one, Estimate) else one for one in images]
    _check_one_scan(volumes)
    spread, cautions = _spread(images, noise_sd)
    found = unfold_windows(
        np.stack([v.data for v in volumes], axis=-1),
        mixing,
        variance=np.stack(spread, axis=-1),
        non_negative=non_negative,
        max_condition=max_condition,
    )
    if condition > CAUTION_CONDITION:
        text = (
            f"the windows hardly tell the isotopes apart (condition number {condition:.3g}): errors are large"
        )
        cautions.append(Caution("isotopes-hardly-separable", text))
    if non_negative:
        text = (
            "isotopes were kept from being negative: their means over regions without them are biased upwards"
        )
        cautions.append(Caution("non-negative-bias", text))
    shared = _shared_error(mixing, volumes)
    estimates = {}
    for n, name in enumerate(mixing.isotopes):
        own = volumes[mixing.own_windows[n]]
        decisions: dict[str, Any] = {
            "crosstalk": mixing.matrix.tolist(),
            "condition_number": condition,
            "own_window": mixing.own_windows[n] + 1,
            "non_negative": non_negative,
        }
        image = own.derived(
            np.asfortranarray(found.parameters[name], np.float32),
            own.quantity,
            own.unit,
            make_step(STEP, isotope=name, relative_uncertainty=shared[n], **decisions),
            acquisition=_record(own.acquisition, name),
        ).with_warnings(*cautions)
        estimates[name] = _estimate(image, found.standard_errors[name], found.flags, shared[n], decisions)
    return estimates


def window_images(windows: Volume | Sequence[Volume | Estimate]) -> list[Volume | Estimate]:
    """One image for each energy window, of a volume with an ``energy`` axis or as they were given."""
    if not isinstance(windows, Volume):
        return list(windows)
    axis = windows.axis("energy")
    if axis is None:
        raise ValueError("one image holds no energy windows: give a volume with an energy axis, or several")
    place = windows.axes.index(axis)
    record = windows.acquisition
    known = record.windows_kev if isinstance(record, NuclearAcquisition) else ()
    images: list[Volume | Estimate] = []
    for n in range(len(axis)):
        changes: dict[str, Any] = {}
        if len(known) == len(axis):
            changes["acquisition"] = replace(record, energy_windows_kev=known[n], ranges_per_window=())
        data = np.take(windows.data, n, axis=3 + place)
        axes = tuple(one for one in windows.axes if one is not axis)
        images.append(windows.replace(data=data, axes=axes, **changes))
    return images


def _crosstalk(given: Crosstalk | npt.ArrayLike, isotopes: Sequence[str] | None) -> Crosstalk:
    if isinstance(given, Crosstalk):
        if isotopes is not None and tuple(isotopes) != given.isotopes:
            raise ValueError("isotopes= names others than the crosstalk does")
        return given
    if isotopes is None:
        raise ValueError("isotopes= must name the columns of the crosstalk")
    return Crosstalk(np.asarray(given, np.float64), tuple(isotopes))


def _check_one_scan(volumes: Sequence[Volume]) -> None:
    first = volumes[0]
    for other in volumes:
        if other.quantity not in ("counts", "count_rate") or other.quantity != first.quantity:
            raise UnitMismatch(
                "energy windows are separated in counts",
                found=f"{first.quantity} and {other.quantity}" if other is not first else other.quantity,
                needed="counts, or counts per second, of all windows",
                next_step="separate the isotopes first, then calibrate each",
            )
        same = first.grid.same_as(other.grid)
        axes = len(first.axes) == len(other.axes) and all(
            one.same_as(two) for one, two in zip(first.axes, other.axes, strict=True)
        )
        if not same or not axes:
            raise GeometryMismatch(
                "the energy windows do not lie on one grid", found=str(same), needed="windows of one scan"
            )
    starts = [getattr(v.acquisition, "acquisition_datetime", None) for v in volumes]
    known = [start for start in starts if start is not None and not isinstance(start, np.ndarray)]
    if known and max(abs((one - known[0]).total_seconds()) for one in known) > _SAME_TIME_S:
        raise ImplausibleValue(
            "the energy windows were not counted at the same time",
            where="AcquisitionTime (0008,0032)",
            needed="windows of one scan",
            next_step="separate the windows of each scan on their own",
        )


def _spread(
    images: Sequence[Volume | Estimate], noise_sd: Sequence[float | npt.ArrayLike] | None
) -> tuple[list[FloatArray], list[Caution]]:
    if noise_sd is not None:
        if len(noise_sd) != len(images):
            raise ValueError(f"noise_sd has {len(noise_sd)} entries for {len(images)} energy windows")
        shape = (images[0].value if isinstance(images[0], Estimate) else images[0]).shape
        given = [np.broadcast_to(np.asarray(one, np.float64), shape) for one in noise_sd]
        if any((one < 0).any() for one in given):
            raise ValueError("noise_sd is negative")
        return [one**2 for one in given], []
    spread, cautions = [], []
    for one in images:
        if isinstance(one, Estimate):
            spread.append(one.standard_error.data.astype(np.float64) ** 2)
            continue
        variance, found = counting_variance(one)
        spread.append(variance)
        cautions += [caution for caution in found if caution not in cautions]
    return spread, cautions


def _shared_error(mixing: Crosstalk, volumes: Sequence[Volume]) -> list[float]:
    """Relative error that the crosstalk leaves in the total of each isotope; 0 without a total."""
    error = mixing.standard_error
    if error is None or not error.any():
        return [0.0] * len(mixing.isotopes)
    totals = np.array([np.nansum(v.data, dtype=np.float64) for v in volumes])
    back = np.linalg.pinv(mixing.matrix)
    amounts = back @ totals
    moved = np.sqrt(back**2 @ (error**2 @ amounts**2))
    return [float(one / total) if total > 0 else 0.0 for one, total in zip(moved, amounts, strict=True)]


def _record(record: Any, name: str) -> Any:
    """The record with the nuclide of the isotope, and its own injection where the scan states one."""
    if not isinstance(record, NuclearAcquisition):
        return record
    try:
        known = nuclide(name)
    except (ImgTheranosticsError, KeyError, ValueError):
        return record
    stated = [*record.radiopharmaceuticals, record.radiopharmaceutical]
    own = next((drug for drug in stated if drug.nuclide == known.name), None)
    if own is None:
        when = record.radiopharmaceutical.start_datetime
        own = Radiopharmaceutical(nuclide=known.name, half_life_s=known.half_life_s, start_datetime=when)
    return replace(record, radiopharmaceutical=own, radiopharmaceuticals=())


def _estimate(
    image: Volume, counting: npt.ArrayLike, flags: npt.ArrayLike, shared: float, decisions: dict[str, Any]
) -> Estimate:
    error = np.asarray(counting, np.float64)
    total = np.hypot(error, shared * np.abs(image.data))
    bits = np.asarray(flags, np.uint16).copy(order="F")
    # flags of a voxel are of any isotope; that of a negative amount belongs to its own
    own_negative = image.data < 0
    bits[~own_negative] &= np.uint16(0xFFFF ^ Flag.NEGATIVE_AMPLITUDE.value)
    bits[np.isfinite(error)] &= np.uint16(0xFFFF ^ Flag.AT_BOUND.value)
    return Estimate(
        image,
        image.replace(data=np.asfortranarray(total, np.float32)),
        image.replace(data=bits, quantity="flags", unit="1"),
        0.0 if math.isnan(shared) else shared,
        decisions,
        {"counting_error": image.replace(data=np.asfortranarray(error, np.float32))},
    )
