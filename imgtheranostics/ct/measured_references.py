"""Calibrations from a scan of vials or rods: regions, what they hold, and the error of their means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.blank_regions import blank_noise
from imgtheranostics.ct.grey_values import check_grey
from imgtheranostics.ct.hounsfield import ct_record, require_hu
from imgtheranostics.ct.rod_calibration import RodCalibration, calibrate_rods
from imgtheranostics.ct.vial_calibration import VialCalibration, calibrate
from imgtheranostics.errors import GeometryMismatch, MissingMetadata
from imgtheranostics.mapping.pairs import single_image
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Volume

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class References:
    """Vials or rods as they were measured.

    Attributes
    ----------
    names : tuple of str
    known : (n,) ndarray
        What they hold.
    mean : (n,) ndarray
        Of the voxels with a value.
    standard_error : (n,) ndarray or None
        Of the means; None where the scatter about the line has to tell.
    """

    names: tuple[str, ...]
    known: DoubleArray
    mean: DoubleArray
    standard_error: DoubleArray | None


def measured_references(
    v: Volume, regions: Regions, known: Mapping[str, float], blanks: Mask | str = None
) -> References:
    """Means of regions of known content, with the scatter of blank regions of their shapes.

    Parameters
    ----------
    v : Volume
    regions : Regions
        Those without a known content are not used.
    known : mapping of str to float
        By region.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        One even material, such as the water around the vials: a region's name or a mask. Without it there
        are no errors; of a shape that fits into it too seldom, that of `roi_statistics`.

    Raises
    ------
    MissingMetadata
        If a region that is named is not there, or none is.
    GeometryMismatch
        If regions lie on another grid, or hold no voxel with a value.
    ValueError
        If `blanks` names no region.
    """
    absent = [name for name in known if name not in list(regions)]
    if absent or not known:
        raise MissingMetadata(
            "the vials of the table are not those of the regions",
            found=", ".join(absent) or "an empty table",
            needed="one of " + ", ".join(regions),
            next_step="write the names of the regions into the column region of the table",
        )
    fitted = regions.fit_to(v.grid)
    if isinstance(blanks, str):
        if blanks not in list(fitted):
            raise ValueError(f"no region {blanks!r} for blanks; there are {', '.join(fitted)}")
        blanks = fitted.mask(blanks)
    means, errors = [], []
    for name in known:
        mask = fitted.mask(name)
        values = v.data[mask].astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            raise GeometryMismatch(
                "a vial holds no voxel with a value",
                where=f"region {name}",
                needed="a region inside of the field of view",
            )
        means.append(float(values.mean()))
        errors.append(math.nan if blanks is None else _error(v, name, mask, blanks))
    told = bool(np.isfinite(errors).all()) and all(error > 0 for error in errors)
    return References(
        tuple(known),
        np.array(list(known.values()), np.float64),
        np.array(means),
        np.array(errors) if told else None,
    )


def _error(v: Volume, name: str, mask: npt.NDArray[np.bool_], blanks: Mask) -> float:
    """Scatter of blank regions of that shape; of the region's own voxels where there is no room for them."""
    scatter = blank_noise(v, mask, blanks, own=True).standard_error
    if math.isfinite(scatter):
        return scatter
    return float(roi_statistics(v, Regions.from_masks({name: mask}, v.grid))["standard_error"].iloc[0])


def calibrate_vials(
    v: Volume,
    regions: Regions,
    known_mg_ml: Mapping[str, float],
    *,
    material: str,
    blanks: Mask | str = None,
    kvp: float | None = None,
    water_cm: float | None = None,
    stock_relative_error: float = 0.0,
    max_residual_hu: float | None = None,
) -> VialCalibration:
    """HU per mg/mL from a scan of vials of known concentration.

    Parameters
    ----------
    v : Volume
        Attenuation in HU.
    regions : Regions
        One per vial.
    known_mg_ml : mapping of str to float
        mg of `material` per mL by region; 0 for a blank.
    material : str
        As in `imgtheranostics.ct.calibrate`, as are `water_cm`, `stock_relative_error`, `max_residual_hu`.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        One even material, such as the water around the vials, whose shifted regions tell the errors of the
        means. Without it, the scatter about the line does.
    kvp : float, optional
        Where the file does not state it.

    Returns
    -------
    VialCalibration
        With tube voltage, filter and kernel of the scan.

    Raises
    ------
    MissingMetadata, UnitMismatch
        If values are not HU, or vials and regions do not belong together.
    IllConditioned, ImplausibleValue, UnsupportedInput
        As `imgtheranostics.ct.calibrate`.
    """
    scan = require_hu(v)
    single_image(scan, "a scan of vials")
    found = measured_references(scan, regions, known_mg_ml, blanks)
    record = ct_record(scan)
    filters = (
        None if record.filter_thickness_mm is None else f"{record.filter_thickness_mm:g} mm",
        record.filter_material,
    )
    return calibrate(
        found.mean,
        found.known,
        material=material,
        kvp=kvp if kvp is not None else record.tube_voltage_kv,
        hu_standard_error=found.standard_error,
        filter=" ".join(word for word in filters if word),
        water_cm=water_cm,
        stock_relative_error=stock_relative_error,
        max_residual_hu=max_residual_hu,
        kernel=record.kernel or "",
    )


def calibrate_rod_scan(
    v: Volume,
    regions: Regions,
    known_hu: Mapping[str, float],
    *,
    blanks: Mask | str = None,
    kvp: float | None = None,
    max_residual_hu: float | None = None,
) -> RodCalibration:
    """Grey values to HU from a scan of rods of known HU.

    Parameters
    ----------
    v : Volume
        Grey values that are linear in attenuation.
    regions : Regions
        One per rod.
    known_hu : mapping of str to float
        By region, at this beam.
    blanks, kvp, max_residual_hu
        As in `calibrate_vials`, and as in `imgtheranostics.ct.calibrate_rods`.

    Returns
    -------
    RodCalibration
        With tube voltage, filter and kernel of the scan.

    Raises
    ------
    MissingMetadata, GeometryMismatch
        If rods and regions do not belong together.
    UnitMismatch, IllConditioned, ImplausibleValue
        As `imgtheranostics.ct.calibrate_rods`.
    """
    check_grey(v)
    single_image(v, "a scan of rods")
    found = measured_references(v, regions, known_hu, blanks)
    record = ct_record(v)
    more: dict[str, Any] = {"kernel": record.kernel or ""}
    more["filter"] = record.filter_material or record.filtration or ""
    return calibrate_rods(
        found.mean,
        found.known,
        standard_error=found.standard_error,
        max_residual_hu=max_residual_hu,
        kvp=kvp if kvp is not None else record.tube_voltage_kv,
        **more,
    )
