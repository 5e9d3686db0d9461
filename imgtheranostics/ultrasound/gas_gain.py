"""Echo gain from one state to another: gas that particles make, acid against neutral, a laser on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.errors import UnsupportedInput, merge_cautions
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound.change_rows import Row, change_table, few_cells
from imgtheranostics.ultrasound.echo_scale import EchoScale, linearise
from imgtheranostics.ultrasound.pixel_change import Change, FrameMean, change_of
from imgtheranostics.ultrasound.region_power import (
    DECIBELS,
    LARGEST_FLOOR_EFFECT,
    LARGEST_SATURATED,
    PowerReader,
    region_power,
)
from imgtheranostics.ultrasound.speckle import Patch
from imgtheranostics.ultrasound.tissue_area import tissue_mask, voxels_in_tissue
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd


_ROUNDING = 1e-12


def gain(
    before: Volume,
    after: Volume,
    *,
    rois: Regions,
    dynamic_range_db: float | None = None,
    reference: str | None = None,
    gamma: float = 1.0,
    gain_db: float | tuple[float, float] = 0.0,
    grey_max: float | None = None,
    region: int | None = None,
    largest_saturated: float = LARGEST_SATURATED,
    largest_floor_effect: float = LARGEST_FLOOR_EFFECT,
    after_changes: bool = False,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Ratio of the mean linear echo power after to that before, in each region, with its standard error.

    Parameters
    ----------
    before, after : Volume
        Single images or cines (averaged over their frames) of one place and one scanner setting; grey levels,
        dB or linear power.
    rois : Regions
    dynamic_range_db, gamma, grey_max
        As in `imgtheranostics.ultrasound.linearise`, for both.
    reference : str, optional
        A region in which nothing happens: its own ratio is divided out.
    gain_db : float or (before, after)
        Added to the levels of each, where the receive gain was changed in between.
    after_changes : bool
        Whether the echo of `after` follows a course, such as a bolus, and is no single state: the error of
        its mean is then that of its frames about the course.
    region, largest_saturated, largest_floor_effect, subject, session, workers
        As in `imgtheranostics.ultrasound.enhancement`.

    Returns
    -------
    pandas.DataFrame
        Rows ``echo_gain`` (1) and ``echo_enhancement`` (dB) of each region, with the columns of
        `imgtheranostics.regions.STATISTICS_COLUMNS`; the errors are those of independent speckle cells.

    Raises
    ------
    MissingMetadata, UnitMismatch, ImplausibleValue
        As `imgtheranostics.ultrasound.linearise`.
    GeometryMismatch
        If the two images, or the regions, lie on different grids.
    UnsupportedInput
        If an image has another axis than time.
    KeyError
        If the reference is none of the regions.
    """
    gains = gain_db if isinstance(gain_db, tuple) else (gain_db, gain_db)
    moved, _, notes = second_on_first(before, after)
    fitted = rois.fit_to(before.grid)
    names = list(fitted)
    if reference is not None:
        fitted.number(reference)
    voxels, _ = voxels_in_tissue(fitted, tissue_mask(before, region), names)
    images = [
        linearise(
            one,
            dynamic_range_db=dynamic_range_db,
            gamma=gamma,
            gain_db=own,
            grey_max=grey_max,
            workers=workers,
        )
        for one, own in ((before, gains[0]), (moved, gains[1]))
    ]
    limits = {"largest_saturated": largest_saturated, "largest_floor_effect": largest_floor_effect}
    changes: dict[str, Change] = {}
    for name, own in zip(names, voxels, strict=True):
        means = []
        for image, steady in zip(images, (True, not after_changes), strict=True):
            _check_axes(image)
            reader = PowerReader(image.planar, own, EchoScale.of(image))
            power = region_power(image, own, **limits)
            means.append(FrameMean.of(reader, power, np.arange(len(reader)), steady=steady))
        changes[name] = change_of(means[0], means[1], Patch.of(own, before.grid.shape))
    found = tuple(caution for name, change in changes.items() for caution in few_cells(name, change))
    cautions = merge_cautions(images[0].warnings, images[1].warnings, notes, rois.warnings, found)
    rows = [
        row
        for name, own in zip(names, voxels, strict=True)
        for row in _rows(name, own.size, changes[name], changes.get(reference or ""), name == reference)
    ]
    table = change_table(before, rows, cautions, {"subject": subject, "session": session})
    table.attrs["decisions"] = {
        "gain": {
            "rule": "ratio of linear means" + (f", over that of {reference}" if reference else ""),
            "reference": reference,
            "gain_db": list(gains),
        }
    }
    return table


def _check_axes(image: Volume) -> None:
    if image.axes and [axis.name for axis in image.axes] != ["time"]:
        raise UnsupportedInput(
            "the gain is that of two images or cines",
            found=", ".join(axis.name for axis in image.axes),
            needed="a single image, or frames along time",
        )


def _rows(name: str, n_voxels: int, change: Change, reference: Change | None, own: bool) -> list[Row]:
    ratio, relative = change.ratio, change.ratio_error / change.ratio
    if reference is not None:
        ratio = 1.0 if own else ratio / reference.ratio
        relative = 0.0 if own else float(np.hypot(relative, reference.ratio_error / reference.ratio))
    if abs(ratio - 1.0) + relative < _ROUNDING:
        ratio, relative = 1.0, 0.0
    decibels = float(10.0 * np.log10(ratio)) if ratio > 0 else float("nan")
    return [
        Row(name, "echo_gain", ratio, ratio * relative, n_voxels, change),
        Row(name, "echo_enhancement", decibels, float(DECIBELS * relative), n_voxels, change),
    ]
