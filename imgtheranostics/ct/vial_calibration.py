"""HU per mg/mL measured on the scanner: a weighted line through vials of known concentration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.hounsfield import SATURATION_HU
from imgtheranostics.ct.slope import CALIBRATION, SAME_KVP, Slope
from imgtheranostics.ct.xray_spectra import check_kvp
from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue, MissingMetadata
from imgtheranostics.mapping.weighted_line import WeightedLine, fit_weighted_line

DoubleArray = npt.NDArray[np.float64]

LARGEST_RESIDUAL = 0.05
"""Distance from the line that a vial may have, relative to the span of HU of all vials."""

_RESIDUAL_SDS = 4.0
_SIGNIFICANT = 3.0
_UNLIKE_PRIOR = 1.4
"""Factor from the tables' slopes beyond which the unit of the concentrations is in doubt."""


@dataclass(frozen=True, eq=False)
class VialCalibration:
    """HU = intercept + slope x concentration, and how it was measured.

    Attributes
    ----------
    slope : Slope
        HU per mg/mL with its standard error, that of the stock solution included.
    intercept_hu : float
        HU of the medium without the material.
    covariance : (2, 2) ndarray
        Of intercept and slope, from the line alone.
    concentration_mg_ml, hu : (n,) ndarray
        The vials.
    hu_standard_error : (n,) ndarray
        NaN where none was given.
    residuals_hu : (n,) ndarray
        Measured minus line.
    reduced_chi2 : float
        NaN without errors or without freedom.
    stock_relative_error : float
        Of the concentration that all vials share.
    kernel, date : str
        Of the scan; empty where not stated.
    """

    slope: Slope
    intercept_hu: float
    covariance: DoubleArray
    concentration_mg_ml: DoubleArray
    hu: DoubleArray
    hu_standard_error: DoubleArray
    residuals_hu: DoubleArray
    reduced_chi2: float
    stock_relative_error: float = 0.0
    kernel: str = ""
    date: str = ""

    @property
    def intercept_error(self) -> float:
        """Standard error of the intercept in HU."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def highest_mg_ml(self) -> float:
        """Largest concentration among the vials."""
        return float(self.concentration_mg_ml.max())

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """Those of the slope."""
        return self.slope.warnings

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            **self.slope.decision(),
            "rule": "weighted line through vials",
            "intercept_hu": self.intercept_hu,
            "intercept_error_hu": self.intercept_error,
            "n_vials": int(self.hu.size),
            "highest_mg_ml": self.highest_mg_ml,
            "largest_residual_hu": float(np.abs(self.residuals_hu).max()),
            "reduced_chi2": self.reduced_chi2,
            "stock_relative_error": self.stock_relative_error,
            "kernel": self.kernel,
            "date": self.date,
        }

    def save(self, path: str | Path) -> None:
        """Write the calibration as a small JSON file, read again by `load_vial_calibration`."""
        from imgtheranostics.ct.vial_files import save_vial_calibration

        save_vial_calibration(self, path)


def calibrate(
    hu: npt.ArrayLike,
    concentration_mg_ml: npt.ArrayLike,
    *,
    material: str,
    kvp: float | None,
    hu_standard_error: npt.ArrayLike | None = None,
    filter: str = "",  # noqa: A002 - the word of the header
    water_cm: float | None = None,
    stock_relative_error: float = 0.0,
    max_residual_hu: float | None = None,
    kernel: str = "",
    date: str = "",
) -> VialCalibration:
    """HU per mg/mL from vials of known concentration, blanks among them.

    Parameters
    ----------
    hu : (n,) array_like
        Mean HU of each vial.
    concentration_mg_ml : (n,) array_like
        mg of `material` per mL; 0 for a blank.
    material : str
        Element, formula, name of a compound, or agent's record.
    kvp : float or None
        Tube voltage in kV; None where it is not known, and then the slope cannot be checked against a scan.
    hu_standard_error : float or (n,) array_like, optional
        Of the means. CT noise is correlated: take the scatter of repeats or of shifted regions, not the SD
        over the root of the number of voxels. Without it, the scatter about the line tells, which needs three
        vials.
    filter : str
        Of the scan, in words.
    water_cm : float, optional
        Diameter of the phantom in cm of water.
    stock_relative_error : float
        Relative standard error of the stock solution's concentration: it is common to all vials, and no
        scatter shows it.
    max_residual_hu : float, optional
        Distance from the line in HU beyond which the calibration is refused; without it 5 % of the span of
        HU, or four standard errors of the vial if that is more.
    kernel, date : str
        Of the scan, to be kept.

    Returns
    -------
    VialCalibration

    Raises
    ------
    IllConditioned
        If HU do not rise with the concentration by three standard errors of the slope.
    ImplausibleValue
        If a vial is off the line, saturated (3071 HU) or its concentration negative.
    MissingMetadata
        If two vials without errors leave the slope's error unknown.
    UnsupportedInput
        If the material is not known; near names are listed.
    ValueError
        If shapes do not fit or numbers are missing.

    Examples
    --------
    >>> vials = calibrate([0.5, 133, 266, 533], [0, 5, 10, 20], material="HfO2", kvp=120, hu_standard_error=1)
    >>> round(vials.slope.hu_per_mg_ml, 1)
    26.6
    """
    name = find_material(material).name
    amount, value = (np.atleast_1d(np.asarray(given, np.float64)) for given in (concentration_mg_ml, hu))
    if kvp is not None:
        check_kvp(kvp)
    if not 0 <= stock_relative_error < 1:
        raise ValueError(f"stock_relative_error is a fraction below 1, not {stock_relative_error}")
    line = fit_weighted_line(amount, value, standard_error=hu_standard_error)
    _check_vials(amount, value)
    error = np.full(value.size, np.nan)
    if hu_standard_error is not None:
        error = np.broadcast_to(np.asarray(hu_standard_error, np.float64), value.shape).copy()
    _check_slope(line)
    _check_residuals(line, amount, error, max_residual_hu)
    total = math.hypot(line.slope_error, stock_relative_error * line.slope)
    slope = Slope(
        line.slope,
        total,
        name,
        None if kvp is None else float(kvp),
        filter,
        water_cm,
        CALIBRATION,
        warnings=_doubts(name, kvp, line.slope),
    )
    return VialCalibration(
        slope,
        line.intercept,
        line.covariance,
        amount,
        value,
        error,
        line.residuals,
        line.reduced_chi2,
        float(stock_relative_error),
        kernel,
        date,
    )


def _check_vials(amount: DoubleArray, value: DoubleArray) -> None:
    if (amount < 0).any():
        k = int(np.argmin(amount))
        raise ImplausibleValue(
            "a concentration is negative",
            where=f"vial {k + 1}",
            found=f"{amount[k]:g} mg/mL",
            needed="0 or more",
        )
    if (value >= SATURATION_HU).any():
        k = int(np.argmax(value))
        raise ImplausibleValue(
            "a vial is saturated: its HU are at the top of what the scanner stores",
            where=f"vial {k + 1}, {amount[k]:g} mg/mL",
            found=f"{value[k]:g} HU",
            needed=f"below {SATURATION_HU:g} HU",
            next_step="leave the vial out, or dilute it",
        )


def _check_slope(line: WeightedLine) -> None:
    if not np.isfinite(line.slope_error):
        raise MissingMetadata(
            "two vials without errors do not tell how well the slope is known",
            needed="a third vial, or hu_standard_error",
            next_step="give the standard error of the vials' HU (--blank)",
        )
    if line.slope < _SIGNIFICANT * line.slope_error or line.slope <= 0:
        raise IllConditioned(
            "the HU of the vials do not rise with the concentration",
            found=f"slope {line.slope:.4g} ± {line.slope_error:.2g} HU per mg/mL",
            needed=f"a slope above 0 by {_SIGNIFICANT:g} standard errors",
            next_step="check the order of the vials, or take higher concentrations or more vials",
        )


def _check_residuals(
    line: WeightedLine, amount: DoubleArray, error: DoubleArray, max_residual_hu: float | None
) -> None:
    if max_residual_hu is not None and not max_residual_hu > 0:
        raise ValueError(f"max_residual_hu is positive, not {max_residual_hu}")
    span = line.slope * float(np.ptp(amount))
    own = np.nan_to_num(_RESIDUAL_SDS * error)
    limit = np.maximum(LARGEST_RESIDUAL * span, own) if max_residual_hu is None else max_residual_hu
    excess = np.abs(line.residuals) / limit
    if (excess > 1).any():
        k = int(np.argmax(excess))
        raise ImplausibleValue(
            "a vial is off the line through the others",
            where=f"vial {k + 1}, {amount[k]:g} mg/mL",
            found=f"{line.residuals[k]:+.3g} HU from the line",
            needed=f"within {np.broadcast_to(limit, amount.shape)[k]:.3g} HU",
            next_step="check its concentration and its region, leave it out, or give max_residual_hu",
        )


def _doubts(name: str, kvp: float | None, slope: float) -> tuple[Caution, ...]:
    """A caution where the slope is far from every table's: mmol/L, or mg of a molecule, in place of mg."""
    from imgtheranostics.data.hu_slopes import slope_tables

    beams = [beam for table in slope_tables(name) for beam in table.beams]
    same = [beam for beam in beams if kvp is not None and abs(beam.kvp - kvp) < SAME_KVP]
    known = [beam.hu_per_mg_ml for beam in same or beams]
    if not known or min(known) / _UNLIKE_PRIOR <= slope <= max(known) * _UNLIKE_PRIOR:
        return ()
    text = (
        f"the slope of {name}, {slope:.3g} HU per mg/mL, is far from {min(known):g} to {max(known):g} of the "
        "tables; are the concentrations mg of this material per mL?"
    )
    return (Caution("slope-unlike-prior", text, "vials"),)
