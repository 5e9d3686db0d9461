"""Calibrations by rods as small JSON files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from imgtheranostics.ct.calibration_records import optional, refitted, stated_errors
from imgtheranostics.ct.rod_calibration import RodCalibration, calibrate_rods
from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.json_record import read_record, write_record

KIND, VERSION = "imgtheranostics-rod-calibration", 1

_PLAIN = (
    "slope",
    "intercept",
    "reduced_chi2",
    "max_residual_hu",
    "kvp",
    "filter",
    "kernel",
    "date",
    "phantom_diameter_mm",
)
_ARRAYS = ("grey", "hu", "grey_standard_error", "residuals_hu", "covariance")


def save_rod_calibration(calibration: RodCalibration, path: str | Path) -> None:
    """Write a calibration; see `RodCalibration.save`."""
    content = {
        **{name: getattr(calibration, name) for name in _PLAIN},
        **{name: getattr(calibration, name).tolist() for name in _ARRAYS},
    }
    write_record(path, content, kind=KIND, version=VERSION)


def load_rod_calibration(path: str | Path) -> RodCalibration:
    """Read a calibration that `RodCalibration.save` wrote; the line is fitted again through its rods.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    RodCalibration

    Raises
    ------
    NothingUsable
        If there is no such file.
    UnsupportedInput
        If it is another kind of file, or of another version.
    CorruptInput
        If its numbers do not fit together: the line that it states is not that of its rods.
    """
    content = read_record(path, kind=KIND, version=VERSION, what="calibration by rods")
    place = Path(path).name
    with refitted("calibration by rods", place):
        again = calibrate_rods(
            [float(one) for one in content["grey"]],
            [float(one) for one in content["hu"]],
            standard_error=stated_errors(content["grey_standard_error"]),
            max_residual_hu=optional(content["max_residual_hu"]),
            kvp=optional(content["kvp"]),
            filter=str(content["filter"]),
            kernel=str(content["kernel"]),
            date=str(content["date"]),
            phantom_diameter_mm=optional(content["phantom_diameter_mm"]),
        )
        stated = (float(content["slope"]), float(content["intercept"]))
    scale = float(np.abs(again.hu).max()) or 1.0
    if (
        not math.isclose(stated[0], again.slope, rel_tol=1e-9)
        or abs(stated[1] - again.intercept) > 1e-6 * scale
    ):
        raise CorruptInput(
            "the line of the calibration is not that of its rods",
            where=place,
            found=f"{stated[0]:.6g}, {stated[1]:.6g}",
            needed=f"{again.slope:.6g}, {again.intercept:.6g}",
            next_step="calibrate again",
        )
    return again
