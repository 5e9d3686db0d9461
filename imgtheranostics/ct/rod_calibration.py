"""Grey values of micro-CT to Hounsfield units, by a weighted line through rods of known HU."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.grey_values import calibrated, check_grey
from imgtheranostics.ct.hounsfield import ct_record
from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue, UnitMismatch
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.weighted_line import LineErrors, WeightedLine, fit_weighted_line
from imgtheranostics.volume import Volume, make_step

DoubleArray = npt.NDArray[np.float64]

LARGEST_RESIDUAL_HU = 25.0
"""Distance from the line that a rod may have unless told otherwise, where its errors do not explain more."""

_RESIDUAL_SDS = 4.0
_SIGNIFICANT = 3.0
_SAME_KV = 0.5
_SETTINGS = ("kvp", "filter", "kernel")
_STEP = "hounsfield_by_rods"


@dataclass(frozen=True, eq=False)
class RodCalibration(LineErrors):
    """HU = intercept + slope x grey value, and the beam that it belongs to.

    Attributes
    ----------
    slope, intercept : float
        HU per grey value, and HU at the grey value 0.
    covariance : (2, 2) ndarray
        Of intercept and slope; NaN where two rods leave no freedom and no errors are given.
    residuals_hu : (n,) ndarray
        Calibrated minus nominal HU of each rod.
    grey, hu : (n,) ndarray
        The rods: mean grey value and nominal HU.
    grey_standard_error : (n,) ndarray
        NaN where none was given.
    reduced_chi2 : float
        NaN without errors or without freedom.
    max_residual_hu : float or None
        The gate that was asked for.
    kvp : float or None
        Tube voltage in kV.
    filter, kernel, date : str
        Of the calibration's scan; empty where not stated.
    phantom_diameter_mm : float or None
    """

    slope: float
    intercept: float
    covariance: DoubleArray
    residuals_hu: DoubleArray
    grey: DoubleArray
    hu: DoubleArray
    grey_standard_error: DoubleArray
    reduced_chi2: float
    max_residual_hu: float | None = None
    kvp: float | None = None
    filter: str = ""
    kernel: str = ""
    date: str = ""
    phantom_diameter_mm: float | None = None

    @property
    def gain_relative_error(self) -> float:
        """Relative standard error of every difference of HU: common to all, and no average reduces it."""
        return self.slope_error / abs(self.slope)

    def standard_error(self, hu: npt.ArrayLike) -> DoubleArray:
        """Standard error of the calibration itself at some HU: common to all voxels of that HU.

        Parameters
        ----------
        hu : array_like

        Returns
        -------
        ndarray
            In HU; NaN where the line has no error.
        """
        grey = (np.asarray(hu, np.float64) - self.intercept) / self.slope
        (a, ab), (_, b) = self.covariance
        return np.asarray(np.sqrt(np.maximum(a + 2.0 * grey * ab + grey**2 * b, 0.0)))

    def apply(self, volume: Volume, *, allow: Collection[str] = ()) -> Volume:
        """The volume in HU.

        Parameters
        ----------
        volume : Volume
            Grey values of the same scanner, beam and kernel.
        allow : collection of {"kvp", "filter", "kernel"}
            What may differ from the calibration; it is then a caution.

        Returns
        -------
        Volume
            ``attenuation``; the history keeps the line, its errors and the share of voxels beyond the rods.

        Raises
        ------
        UnitMismatch
            If the values are no grey values, or the images are of another tube voltage, filter or kernel than
            the rods.
        ValueError
            If `allow` names something else.
        """
        unknown = sorted(set(allow) - set(_SETTINGS))
        if unknown:
            raise UnknownChoice(f"what may differ is one of {', '.join(_SETTINGS)}, not {', '.join(unknown)}")
        check_grey(volume)
        cautions = self._checked(ct_record(volume), allow)
        beyond = (volume.data < self.grey.min()) | (volume.data > self.grey.max())
        step = make_step(
            _STEP,
            slope=self.slope,
            intercept=self.intercept,
            gain_relative_error=self.gain_relative_error,
            water_standard_error_hu=float(self.standard_error(0.0)),
            n_rods=int(self.hu.size),
            beyond_rods=float(np.count_nonzero(beyond)) / beyond.size,
        )
        return calibrated(volume, self.slope, self.intercept, step, cautions)

    def _checked(self, record: CtAcquisition, allow: Collection[str]) -> tuple[Caution, ...]:
        """Cautions about what differs and was allowed, or could not be compared; UnitMismatch otherwise."""
        own: dict[str, tuple[float | str | None, float | str | None]] = {
            "kvp": (self.kvp, record.tube_voltage_kv),
            "filter": (self.filter or None, record.filter_material or record.filtration),
            "kernel": (self.kernel or None, record.kernel),
        }
        differing = {
            name: f"{name} {_shown(mine, name)} of the rods, {_shown(theirs, name)} of the images"
            for name, (mine, theirs) in own.items()
            if mine is not None and theirs is not None and not _equal(mine, theirs)
        }
        refused = [name for name in differing if name not in allow]
        if refused:
            raise UnitMismatch(
                "the calibration belongs to another beam or reconstruction than the images",
                where="KVP (0018,0060), FilterMaterial (0018,7050), ConvolutionKernel (0018,1210)",
                found="; ".join(differing[name] for name in refused),
                needed="rods scanned and reconstructed as the images were",
                next_step="calibrate with such rods, or allow the difference by name (--allow-mismatch): "
                + ", ".join(refused),
            )
        notes = [
            Caution("calibration-settings-differ", f"as was allowed: {text}") for text in differing.values()
        ]
        unstated = [name for name, pair in own.items() if None in pair]
        if unstated:
            text = f"not both calibration and images state it, so it was not compared: {', '.join(unstated)}"
            notes.append(Caution("calibration-settings-not-stated", text))
        if not np.isfinite(self.covariance).all():
            text = "two rods leave no freedom: the calibration was not checked and has no standard error"
            notes.append(Caution("calibration-unchecked", text))
        return tuple(notes)

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": "weighted line through rods",
            "slope": self.slope,
            "slope_error": self.slope_error,
            "intercept": self.intercept,
            "n_rods": int(self.hu.size),
            "largest_residual_hu": float(np.abs(self.residuals_hu).max()),
            "reduced_chi2": self.reduced_chi2,
            "kvp": self.kvp,
            "filter": self.filter,
            "kernel": self.kernel,
            "date": self.date,
            "phantom_diameter_mm": self.phantom_diameter_mm,
        }

    def save(self, path: str | Path) -> None:
        """Write the calibration as a small JSON file, read again by `load_rod_calibration`.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from imgtheranostics.ct.rod_files import save_rod_calibration

        save_rod_calibration(self, path)


def calibrate_rods(
    grey: npt.ArrayLike,
    hu: npt.ArrayLike,
    *,
    standard_error: npt.ArrayLike | None = None,
    max_residual_hu: float | None = None,
    kvp: float | None = None,
    filter: str = "",  # noqa: A002 - the word of the header
    kernel: str = "",
    date: str = "",
    phantom_diameter_mm: float | None = None,
) -> RodCalibration:
    """Line from grey values to HU through rods of known HU, such as water, air and plastics.

    The readings have the errors and the nominal HU are known, so grey values are fitted over HU and the line
    is turned round.

    Parameters
    ----------
    grey, hu : (n,) array_like
        Mean grey value and nominal HU of each rod, at this beam.
    standard_error : float or (n,) array_like, optional
        Of the grey values; rods weigh by it. CT noise is correlated: take the scatter of repeats or of
        shifted regions, not the SD over the root of the number of voxels. Without it, the scatter about the
        line tells, which needs three rods.
    max_residual_hu : float, optional
        Distance from the line in HU beyond which the calibration is refused; without it 25 HU, or four
        standard errors of the rod if that is more.
    kvp : float, optional
        Tube voltage in kV; `RodCalibration.apply` compares it with that of the images, as filter and kernel.
    filter, kernel, date : str
    phantom_diameter_mm : float, optional
        To be kept.

    Returns
    -------
    RodCalibration

    Raises
    ------
    IllConditioned
        If grey values do not rise with HU by three standard errors of the slope.
    ImplausibleValue
        If a rod is off the line.
    ValueError
        If shapes do not fit or numbers are missing.

    Examples
    --------
    >>> rods = calibrate_rods([2000, 10000, 12000], [-1000, 0, 250], standard_error=10)
    >>> round(rods.slope, 3), round(rods.intercept, 3)
    (0.125, -1250.0)
    """
    reading, nominal = (np.atleast_1d(np.asarray(given, np.float64)) for given in (grey, hu))
    line = fit_weighted_line(nominal, reading, standard_error=standard_error)
    if not line.slope > 0 or line.slope < _SIGNIFICANT * line.slope_error:
        raise IllConditioned(
            "the grey values do not rise with the HU of the rods",
            found=f"{line.slope:.4g} ± {line.slope_error:.2g} per HU",
            needed=f"a slope above 0 by {_SIGNIFICANT:g} standard errors",
            next_step="check which rod is which",
        )
    error = np.full(reading.size, np.nan)
    if standard_error is not None:
        error = np.broadcast_to(np.asarray(standard_error, np.float64), reading.shape).copy()
    residuals = line.residuals / line.slope
    _check_residuals(residuals, nominal, error / line.slope, max_residual_hu)
    return RodCalibration(
        1.0 / line.slope,
        -line.intercept / line.slope,
        _turned_round(line),
        residuals,
        reading,
        nominal,
        error,
        line.reduced_chi2,
        max_residual_hu,
        None if kvp is None else float(kvp),
        filter,
        kernel,
        date,
        phantom_diameter_mm,
    )


def _turned_round(line: WeightedLine) -> DoubleArray:
    """Covariance of -a/b and 1/b from that of a and b."""
    a, b = line.intercept, line.slope
    jacobian = np.array([[-1.0 / b, a / b**2], [0.0, -1.0 / b**2]])
    return np.asarray(jacobian @ line.covariance @ jacobian.T)


def _check_residuals(
    residuals: DoubleArray, nominal: DoubleArray, error_hu: DoubleArray, largest: float | None
) -> None:
    limit = np.full(residuals.size, LARGEST_RESIDUAL_HU if largest is None else float(largest))
    if not (limit > 0).all():
        raise ValueError(f"max_residual_hu is above 0, not {largest}")
    if largest is None:
        limit = np.fmax(limit, _RESIDUAL_SDS * error_hu)
    off = np.flatnonzero(np.abs(residuals) > limit)
    if off.size:
        listed = ", ".join(f"{residuals[n]:+.3g} HU at {nominal[n]:g} HU" for n in off[:6])
        raise ImplausibleValue(
            "rods lie off the line through all of them",
            where="grey, hu",
            found=listed,
            needed=f"at most {limit[off[0]]:.3g} HU",
            next_step="check which rod is which and its HU at this tube voltage, leave it out, or allow more "
            "with max_residual_hu=",
        )


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _equal(mine: float | str, theirs: float | str) -> bool:
    if isinstance(mine, str) or isinstance(theirs, str):
        return _plain(str(mine)) == _plain(str(theirs))
    return math.isclose(mine, theirs, rel_tol=0.0, abs_tol=_SAME_KV)


def _shown(value: float | str | None, name: str) -> str:
    """A setting for a message; texts that no vocabulary knows are not quoted."""
    if not isinstance(value, str):
        return f"{value:g}"
    fields = ("filter_material", "filtration") if name == "filter" else (name,)
    return next((text for field in fields if (text := harmless_text(field, value))), "another")


def gain_relative_error(volume: Volume) -> float:
    """Relative standard error that a calibration by rods left in every difference of HU; 0 without one."""
    steps = [step for step in volume.history if step.name == _STEP]
    value = float(steps[-1].parameters["gain_relative_error"]) if steps else 0.0
    return value if math.isfinite(value) else 0.0
