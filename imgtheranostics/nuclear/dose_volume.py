"""How dose is spread over a region: histogram, D98, D50, D2, Vx, and the equivalent uniform dose.

References
----------
.. [1] Niemierko A, A generalized concept of equivalent uniform dose, Med Phys 1999, 26:1100 (abstract).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import NothingUsable, UnitMismatch
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

PERCENTS = (98.0, 50.0, 2.0)
DOSES = (
    "absorbed_dose",
    "absorbed_dose_per_activity",
    "biologically_effective_dose",
    "equieffective_dose_2gy",
    "weighted_dose",
)
"""Quantities whose spread over a region is one of dose."""


@dataclass(frozen=True, slots=True, eq=False)
class DoseVolumeHistogram:
    """Cumulative histogram of the voxels of a region, all of the same volume.

    Attributes
    ----------
    dose_gy : ndarray, shape (n,)
        Doses in ascending order.
    volume_percent : ndarray, shape (n,)
        Share of the region that has at least that dose.
    """

    dose_gy: FloatArray
    volume_percent: FloatArray


def _known(dose_gy: npt.ArrayLike) -> FloatArray:
    values = np.asarray(dose_gy, np.float64).ravel()
    return np.asarray(values[np.isfinite(values)])


def dose_volume_histogram(dose_gy: npt.ArrayLike, *, bins: int = 200) -> DoseVolumeHistogram:
    """Cumulative dose-volume histogram of doses, from 0 to the highest; unknown doses (NaN) are left out.

    Parameters
    ----------
    dose_gy : array_like
        Of the voxels of one region.
    bins : int
        Steps of dose.

    Raises
    ------
    ValueError
        If there is no known dose, or no bin.
    """
    values = np.sort(_known(dose_gy))
    if values.size == 0 or bins < 1:
        raise ValueError("a histogram needs at least one known dose and one bin")
    dose = np.linspace(min(0.0, float(values[0])), float(values[-1]), bins + 1)
    return DoseVolumeHistogram(dose, volume_at_dose(values, dose))


def dose_at_volume(dose_gy: npt.ArrayLike, percent: npt.ArrayLike) -> FloatArray:
    """Least dose in the hottest `percent` of the voxels, D98, D50, D2 ..., Gy.

    It is the (100 - percent)th percentile, by straight lines between the voxels in order.

    Parameters
    ----------
    dose_gy : array_like
        NaN is left out.
    percent : array_like
        0 to 100.

    Returns
    -------
    ndarray, shape of `percent`
        NaN without any known dose.

    Raises
    ------
    ValueError
        If a percentage is outside 0 to 100.

    Examples
    --------
    >>> dose_at_volume([0.0, 1.0, 2.0, 3.0, 4.0], [100, 50, 0]).tolist()
    [0.0, 2.0, 4.0]
    """
    wanted = np.asarray(percent, np.float64)
    if not ((wanted >= 0) & (wanted <= 100)).all():
        raise ValueError(f"percent must be between 0 and 100, not {percent!r}")
    values = _known(dose_gy)
    if values.size == 0:
        return np.full(wanted.shape, np.nan)
    return np.asarray(np.quantile(values, 1.0 - wanted / 100.0))


def volume_at_dose(dose_gy: npt.ArrayLike, threshold_gy: npt.ArrayLike) -> FloatArray:
    """Share of the voxels with at least a dose, Vx, %; NaN without any known dose.

    Examples
    --------
    >>> volume_at_dose([1.0, 2.0, 3.0, 4.0], 3.0).tolist()
    50.0
    """
    wanted = np.asarray(threshold_gy, np.float64)
    values = np.sort(_known(dose_gy))
    if values.size == 0:
        return np.full(wanted.shape, np.nan)
    return np.asarray(100.0 * (1.0 - np.searchsorted(values, wanted, side="left") / values.size))


def geud(dose_gy: npt.ArrayLike, a: float) -> float:
    """Generalised equivalent uniform dose (mean of D^a)^(1/a), Gy.

    Parameters
    ----------
    dose_gy : array_like
        NaN is left out.
    a : float
        1 is the mean; large for serial organs, negative for tumours; infinity is the highest dose.

    Returns
    -------
    float
        NaN without any known dose; 0 for negative `a` where a voxel has none.

    Raises
    ------
    ValueError
        If `a` is zero or NaN, or a dose is negative.

    Examples
    --------
    >>> geud([1.0, 3.0], 1.0)
    2.0
    """
    if math.isnan(a) or a == 0:
        raise ValueError(f"a must be a number other than zero, not {a!r}")
    values = _known(dose_gy)
    if (values < 0).any():
        raise ValueError("a dose is negative")
    if values.size == 0:
        return math.nan
    if math.isinf(a):
        return float(values.max() if a > 0 else values.min())
    # The extreme dose stands outside the power, which overflows otherwise.
    outer = float(values.max() if a > 0 else values.min())
    if outer == 0.0:
        return 0.0
    return outer * math.pow(float(np.mean((values / outer) ** a)), 1.0 / a)


def dose_table(
    dose: Volume | Estimate,
    rois: Regions,
    *,
    at_least_gy: Sequence[float] = (),
    a: float | None = None,
    percents: Sequence[float] = PERCENTS,
) -> pd.DataFrame:
    """One row per region and measure: mean, least and highest dose, D98, D50, D2, Vx and equivalent dose.

    Parameters
    ----------
    dose : Volume or Estimate
        Absorbed dose, BED or EQD2, Gy; or absorbed dose per activity, Gy/MBq.
    rois : Regions
    at_least_gy : sequence of float
        Doses x of Vx.
    a : float, optional
        Exponent of `geud`.
    percents : sequence of float
        Of `dose_at_volume`.

    Returns
    -------
    pandas.DataFrame
        ``region measure quantity unit value standard_error n_voxels n_valid``. The standard error is the part
        that all voxels share (calibration, S-values); noise of single voxels averages out of the mean and
        widens the extremes. Vx has the change that the shared part makes.

    Raises
    ------
    UnitMismatch
        If it is no dose.
    GeometryMismatch
        If the regions lie on another grid.
    NothingUsable
        If a region has no voxel.
    """
    import pandas as pd

    v = dose.value if isinstance(dose, Estimate) else dose
    if v.quantity not in DOSES or v.axes:
        raise UnitMismatch(
            "a map of dose is needed", found=f"{v.quantity} [{v.unit}]", needed=", ".join(DOSES)
        )
    shared = dose.calibration_relative if isinstance(dose, Estimate) else math.nan
    fitted = rois.fit_to(v.grid)
    flat = v.data.reshape(-1, order="F")
    rows = []
    for name, voxels in zip(fitted, fitted.voxel_lists(), strict=True):
        if voxels.size == 0:
            raise NothingUsable("a region has no voxel", where=name)
        values = flat[voxels].astype(np.float64)
        valid = int(np.isfinite(values).sum())
        for measure, quantity, unit, value, error in _measures(
            values, (v.quantity, v.unit), shared, at_least_gy, a, percents
        ):
            rows.append((name, measure, quantity, unit, value, error, voxels.size, valid))
    columns = ["region", "measure", "quantity", "unit", "value", "standard_error", "n_voxels", "n_valid"]
    return pd.DataFrame(rows, columns=columns)


def _measures(
    values: FloatArray,
    named: tuple[str, str],
    shared: float,
    at_least_gy: Sequence[float],
    a: float | None,
    percents: Sequence[float],
) -> list[tuple[str, str, str, float, float]]:
    quantity, dose_unit = named
    known = _known(values)
    if known.size == 0:
        known = np.array([np.nan])
    doses = {"mean": float(known.mean()), "min": float(known.min()), "max": float(known.max())}
    doses |= {f"D{percent:g}": float(dose_at_volume(known, percent)) for percent in percents}
    rows = [
        (measure, "dose_at_volume" if measure[0] == "D" else quantity, dose_unit, value, abs(shared * value))
        for measure, value in doses.items()
    ]
    if a is not None:
        value = geud(np.maximum(known, 0.0), a)
        rows.append((f"gEUD({a:g})", "equivalent_uniform_dose", dose_unit, value, abs(shared * value)))
    for limit in at_least_gy:
        value = float(volume_at_dose(known, limit))
        ends = volume_at_dose(known, [limit * math.exp(-shared), limit * math.exp(shared)])
        error = math.nan if math.isnan(shared) else 0.5 * float(ends[0] - ends[1])
        rows.append((f"V{limit:g}", "volume_at_dose", "%", value, error))
    return rows
