"""Calibrations by vials as small JSON files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from imgtheranostics.ct.calibration_records import optional, refitted, stated_errors
from imgtheranostics.ct.vial_calibration import VialCalibration, calibrate
from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.json_record import read_record, write_record

KIND, VERSION = "imgtheranostics-vial-calibration", 1


def save_vial_calibration(calibration: VialCalibration, path: str | Path) -> None:
    """Write a calibration; see `VialCalibration.save`."""
    slope = calibration.slope
    content = {
        "material": slope.material,
        "kvp": slope.kvp,
        "filter": slope.filter,
        "water_cm": slope.water_cm,
        "kernel": calibration.kernel,
        "date": calibration.date,
        "stock_relative_error": calibration.stock_relative_error,
        "concentration_mg_ml": calibration.concentration_mg_ml.tolist(),
        "hu": calibration.hu.tolist(),
        "hu_standard_error": calibration.hu_standard_error.tolist(),
        "slope_hu_per_mg_ml": slope.hu_per_mg_ml,
        "slope_standard_error": slope.standard_error,
        "intercept_hu": calibration.intercept_hu,
        "covariance": calibration.covariance.tolist(),
        "residuals_hu": calibration.residuals_hu.tolist(),
        "reduced_chi2": calibration.reduced_chi2,
        "warnings": [
            {"code": caution.code, "message": caution.message, "where": caution.where}
            for caution in slope.warnings
        ],
    }
    write_record(path, content, kind=KIND, version=VERSION)


def load_vial_calibration(path: str | Path) -> VialCalibration:
    """Read a calibration that `VialCalibration.save` wrote; the line is fitted again from its vials.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    VialCalibration

    Raises
    ------
    NothingUsable
        If there is no such file.
    UnsupportedInput
        If it is another kind of file, or of another version.
    CorruptInput
        If its numbers do not fit together: the slope that it states is not that of its vials.
    """
    content = read_record(path, kind=KIND, version=VERSION, what="calibration of vials")
    place = Path(path).name
    with refitted("calibration of vials", place):
        again = calibrate(
            content["hu"],
            content["concentration_mg_ml"],
            material=str(content["material"]),
            kvp=optional(content["kvp"]),
            hu_standard_error=stated_errors(content["hu_standard_error"]),
            filter=str(content["filter"]),
            water_cm=optional(content["water_cm"]),
            stock_relative_error=float(content["stock_relative_error"]),
            max_residual_hu=math.inf,
            kernel=str(content["kernel"]),
            date=str(content["date"]),
        )
        stated = float(content["slope_hu_per_mg_ml"]), float(content["slope_standard_error"])
    if not np.allclose(stated, (again.slope.hu_per_mg_ml, again.slope.standard_error), rtol=1e-6, atol=0):
        raise CorruptInput(
            "the slope of the calibration is not that of its vials",
            where=place,
            found=f"{stated[0]:.6g} ± {stated[1]:.3g} HU per mg/mL",
            needed=f"{again.slope.hu_per_mg_ml:.6g} ± {again.slope.standard_error:.3g}",
            next_step="calibrate again",
        )
    return again
