"""Grey values of micro-CT to Hounsfield units, by water and air of the same scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.hounsfield import UNSCALED, ct_record
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.io.bids_ct import UNITS_NOT_STATED
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.io.untagged_fill import FILL, fill_cautions
from imgtheranostics.mapping.pairs import single_image
from imgtheranostics.mapping.voxels import mask_array
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Step, Volume, make_step

Reference = float | Volume | Regions | npt.ArrayLike

_NOT_ATTENUATION = frozenset({"ED", "EDW", "Z_EFF", "MGML", "HU_MOD", "PCT"})
"""Rescale types whose values are not linear in attenuation."""

_UNEVEN = 0.2
_SETTLED = frozenset({UNITS_NOT_STATED, "not-hounsfield", FILL})
"""Cautions that a calibration answers."""


@dataclass(frozen=True, slots=True)
class _Level:
    """The grey value of a reference, and how it was found."""

    mean: float
    sd: float = 0.0
    n_voxels: int = 0

    def plain(self) -> dict[str, Any]:
        """For the history."""
        if not self.n_voxels:
            return {"grey": self.mean}
        return {"grey": self.mean, "sd": self.sd, "n_voxels": self.n_voxels}


def to_hu(volume: Volume, *, water: Reference, air: Reference) -> Volume:
    """Hounsfield units from two points, HU = 1000 (g - g_water) / (g_water - g_air).

    Parameters
    ----------
    volume : Volume
        Grey values that are linear in attenuation.
    water, air : float, or mask (Volume, Regions or (i, j, k) array)
        Grey value of water and of air, or where they are in the same scan; the mean of the voxels with a
        number is taken.

    Returns
    -------
    Volume
        ``attenuation``. The history keeps both grey values, and for regions the voxels' standard deviation.

    Raises
    ------
    UnitMismatch
        If the values are not linear in attenuation, such as densities or concentrations.
    GeometryMismatch
        If a region lies on another grid, or holds no voxel with a number.
    ImplausibleValue
        If water is not brighter than air.
    IllConditioned
        If the voxels of a region scatter more than water and air differ.
    UnsupportedInput
        If regions are given for a series.

    Examples
    --------
    >>> import numpy as np
    >>> grey = Volume(np.full((1, 1, 1), 12000.0), np.eye(4), "stored_value", "{stored}")
    >>> float(to_hu(grey, water=10000, air=2000).data[0, 0, 0])
    250.0
    """
    check_grey(volume)
    levels = {"water": reference_level(volume, water, "water"), "air": reference_level(volume, air, "air")}
    span = levels["water"].mean - levels["air"].mean
    if not span > 0:
        raise ImplausibleValue(
            "water is not brighter than air",
            where="water, air",
            found=f"water {levels['water'].mean:.6g}, air {levels['air'].mean:.6g}",
            needed="grey values that rise with attenuation",
            next_step="exchange the two, or give the images as they were reconstructed",
        )
    cautions = _scatter_cautions(levels, span)
    slope, intercept = 1000.0 / span, -1000.0 * levels["water"].mean / span
    step = make_step(
        "hounsfield_by_water_and_air",
        slope=slope,
        intercept=intercept,
        water=levels["water"].plain(),
        air=levels["air"].plain(),
    )
    return calibrated(volume, slope, intercept, step, cautions)


def check_grey(volume: Volume) -> None:
    """Refuse values that no line turns into HU.

    Raises
    ------
    UnitMismatch
        If they are another quantity, another modality, or a rescale type that is not linear in attenuation.
    """
    record = ct_record(volume)
    if volume.quantity not in UNSCALED | {"attenuation"}:
        raise UnitMismatch(
            "the values are no grey values of CT",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="stored values, or attenuation",
            next_step="give the images as the scanner reconstructed them",
        )
    kind = (record.rescale_type or "").strip().upper()
    localizer = any(one.code == "not-hounsfield" and "localizer" in one.message for one in volume.warnings)
    if kind in _NOT_ATTENUATION or localizer:
        raise UnitMismatch(
            "the values are not linear in attenuation, so no line makes Hounsfield units of them",
            where="RescaleType (0028,1054)" if kind else "ImageType (0008,0008)",
            found=harmless_text("rescale_type", kind) or "a localizer",
            needed="reconstructed grey values",
        )


def reference_level(volume: Volume, given: Reference, what: str) -> _Level:
    """The grey value of a reference: the number, or the mean of the voxels of a region."""
    if not isinstance(given, Volume | Regions) and np.ndim(given) == 0:
        number = float(given)  # type: ignore[arg-type]
        if not np.isfinite(number):
            raise MissingMetadata(f"the grey value of {what} is not a number", where=what)
        return _Level(number)
    single_image(volume, "an image that is calibrated by its regions")
    values = np.asarray(volume.data[mask_array(given, volume)], np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise GeometryMismatch(
            f"the region of {what} holds no voxel with a number",
            where=what,
            found="0 voxels inside the field of view",
            needed="at least one",
            next_step="draw the region inside the field of view",
        )
    return _Level(float(values.mean()), float(values.std()), int(values.size))


def _scatter_cautions(levels: dict[str, _Level], span: float) -> tuple[Caution, ...]:
    cautions = []
    for name, level in levels.items():
        if level.sd > span:
            raise IllConditioned(
                f"the voxels of {name} scatter more than water and air differ",
                where=name,
                found=f"standard deviation {level.sd:.4g}, difference {span:.4g}",
                needed="regions of one material each",
                next_step="draw the region inside the material",
            )
        if level.sd > _UNEVEN * span:
            share = f"{100 * level.sd / span:.0f} %"
            text = f"the voxels of {name} scatter by {share} of the difference between water and air"
            cautions.append(Caution("reference-uneven", f"{text}: is another material among them?", name))
    return tuple(cautions)


def calibrated(
    volume: Volume, slope: float, intercept: float, step: Step, cautions: tuple[Caution, ...]
) -> Volume:
    """``slope x grey + intercept`` as attenuation, computed in float64 slice by slice."""
    data = np.empty(volume.shape, np.float32, order="F")
    for k in range(volume.shape[2]):
        data[:, :, k] = volume.data[:, :, k].astype(np.float64) * slope + intercept
    if volume.quantity == "attenuation":
        text = "the values were Hounsfield units already and were calibrated again"
        cautions = (*cautions, Caution("calibrated-again", text))
    kept = tuple(caution for caution in volume.warnings if caution.code not in _SETTLED)
    record = ct_record(volume)
    top = record.largest_storable
    record = replace(
        record, rescale_type="HU", largest_storable=None if top is None else slope * top + intercept
    )
    found = tuple(fill_cautions(data, "values of the image"))
    return volume.derived(data, "attenuation", "[HU]", step, acquisition=record, warnings=kept).with_warnings(
        *cautions, *found
    )
