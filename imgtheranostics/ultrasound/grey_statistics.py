"""Statistics of log-compressed grey levels, labelled so, of images whose dynamic range nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtheranostics.errors import Caution, UnitMismatch
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.ultrasound.tissue_area import tissue_mask, voxels_in_tissue
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd


def grey_table(
    volume: Volume,
    rois: Regions,
    *,
    region: int | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Statistics of log-compressed grey in each region and frame: all that is known without dynamic range.

    A mean of grey levels is no measure of echo: it is a mean over decibels of an unknown scale. Neither
    ratios nor differences of it are enhancement.

    Parameters
    ----------
    volume : Volume
        Grey levels.
    rois : Regions
    region : int, optional
        Number of the calibrated tissue region of the file, where there are several.
    subject, session, workers
        As in `imgtheranostics.regions.roi_statistics`.

    Returns
    -------
    pandas.DataFrame
        Rows of the quantity ``log_compressed_grey`` with the columns of
        `imgtheranostics.regions.STATISTICS_COLUMNS`.

    Raises
    ------
    UnitMismatch
        If the volume does not hold grey levels.
    GeometryMismatch, UnsupportedInput
        As `imgtheranostics.ultrasound.enhancement`.
    """
    if volume.quantity != "signal":
        raise UnitMismatch(
            "these are no grey levels",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="signal",
            next_step="use roi_statistics, or enhancement",
        )
    fitted = rois.fit_to(volume.grid)
    names = list(fitted)
    voxels, _ = voxels_in_tissue(fitted, tissue_mask(volume, region), names)
    inside = Regions.from_voxel_lists(
        dict(zip(names, voxels, strict=True)), volume.grid, warnings=rois.warnings
    )
    caution = Caution(
        "log-compressed-grey",
        "means of log-compressed grey levels: no measure of echo power, and their differences no "
        "enhancement; give the dynamic range to linearise them",
    )
    labelled = volume.replace(quantity="log_compressed_grey", unit="[arb'U]").with_warnings(caution)
    table = roi_statistics(labelled, inside, subject=subject, session=session, workers=workers)
    table.attrs["warnings"] = labelled.warnings
    return table
