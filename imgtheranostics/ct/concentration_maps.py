"""Concentration of a material as a map in mg/mL, from the change of attenuation and a slope."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from imgtheranostics.ct.hounsfield import ct_record
from imgtheranostics.ct.noise import detection_limits
from imgtheranostics.ct.prior_slopes import PRIOR_RELATIVE_ERROR, prior_slope
from imgtheranostics.ct.slope import Slope
from imgtheranostics.ct.stated_filter import StatedFilter, stated_filter
from imgtheranostics.errors import (
    Caution,
    ImgTheranosticsError,
    MissingMetadata,
    UnitMismatch,
    merge_cautions,
)
from imgtheranostics.kernels.ct_difference import concentrations
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.detection import DETECTION_SDS, QUANTIFICATION_SDS, false_positive_rate
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Array, Estimate, Flag, Volume, make_step


class Calibrated(Protocol):
    """A calibration that a slope is the outcome of, such as that of vials."""

    @property
    def slope(self) -> Slope:
        """HU per mg/mL."""


SlopeLike = Slope | Calibrated | float | None


def concentration(
    enhancement: Estimate | Volume,
    *,
    material: str,
    kvp: float | None = None,
    slope: SlopeLike = None,
    slope_error: float | None = None,
    filtration_mm_al: float | None = None,
    water_cm: float | None = None,
    tin_mm: float | None = None,
    model: Literal["spectrum", "A", "B"] = "spectrum",
    displacement: bool | None = None,
    density_g_ml: float | None = None,
    workers: int | None = None,
) -> Estimate:
    """Concentration of a material from the change of attenuation, C = change / slope.

    Parameters
    ----------
    enhancement : Estimate or Volume
        ``delta_attenuation``, as `imgtheranostics.ct.enhancement` returns it. A Volume has no noise, so that
        its concentration has no standard error.
    material : str
        Element, formula, compound or agent's record; concentrations are mg of this per mL.
    kvp : float, optional
        Tube voltage in kV, where the images do not state it.
    slope : Slope, calibration of vials, or float, optional
        HU per mg/mL of this scanner, as measured: nothing is corrected about it. Without it, the prior of the
        spectrum model (or a table) for the beam.
    slope_error : float, optional
        Standard error of a slope that is given as a number; without it 5 % of it, and a caution.
    filtration_mm_al, water_cm, tin_mm, model, displacement, density_g_ml
        Of the prior, as in `imgtheranostics.ct.prior_slopes.prior_slope`; a filter that the file states is
        used where none is given. Water that particles displace is taken into account where their density is
        known.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Estimate
        ``concentration`` in mg/mL. The standard error holds noise and slope; `calibration_relative` is the
        part that all voxels share. Voxels below their limit of detection keep their value, with
        `Flag.BELOW_NOISE`. The change of attenuation is among `maps`.

    Raises
    ------
    MissingMetadata
        If neither the images nor `kvp` state the tube voltage that a prior needs.
    UnitMismatch
        If the input is no change of attenuation, or the slope belongs to another tube voltage or material.
    UnsupportedInput
        If the material is not known.
    ValueError
        If options do not go together.
    """
    change = enhancement.value if isinstance(enhancement, Estimate) else enhancement
    if change.quantity != "delta_attenuation":
        raise UnitMismatch(
            "a concentration is made of the change of attenuation",
            found=f"{change.quantity} [{change.unit}]",
            needed="delta_attenuation [HU]",
            next_step="subtract the scan before the agent first (ct.enhancement)",
        )
    beam = _Prior(filtration_mm_al, water_cm, tin_mm, model, displacement, density_g_ml)
    used = chosen_slope(change, material, kvp, slope, slope_error, beam)
    return _estimate(enhancement, change, used, workers)


@dataclass(frozen=True, slots=True)
class _Prior:
    """What a prior slope is asked for."""

    filtration_mm_al: float | None = None
    water_cm: float | None = None
    tin_mm: float | None = None
    model: Literal["spectrum", "A", "B"] = "spectrum"
    displacement: bool | None = None
    density_g_ml: float | None = None


def chosen_slope(
    images: Volume,
    material: str,
    kvp: float | None,
    slope: SlopeLike,
    slope_error: float | None,
    prior: _Prior,
) -> Slope:
    """The slope that was given, or the prior of the images' beam; both belong to their tube voltage."""
    stated = ct_record(images).tube_voltage_kv
    if slope is None:
        if slope_error is not None:
            raise UnknownChoice("slope_error= belongs to a slope that is given")
        used = _prior(material, kvp if kvp is not None else stated, prior, images)
    elif prior != _Prior():
        raise UnknownChoice("options of the prior slope do not apply to a slope that is given")
    else:
        used = _given(material, kvp, slope, slope_error)
    used.require_kvp(stated, where="KVP (0018,0060)")
    used.require_kvp(kvp, where="kvp")
    return used


def _prior(material: str, kvp: float | None, asked: _Prior, images: Volume) -> Slope:
    if kvp is None:
        raise MissingMetadata(
            "the tube voltage is not known, on which HU per mg/mL depends",
            where="KVP (0018,0060), or KVP of the sidecar",
            needed="kV",
            next_step="give kvp= (--kvp), or the slope of a calibration",
        )
    known = StatedFilter(asked.filtration_mm_al, asked.tin_mm)
    if known == StatedFilter():
        known = stated_filter(ct_record(images))
    found = prior_slope(
        material,
        kvp,
        filtration_mm_al=known.filtration_mm_al,
        water_cm=asked.water_cm,
        tin_mm=known.tin_mm or 0.0,
        model=asked.model,
        displacement=asked.displacement,
        density_g_ml=asked.density_g_ml,
    )
    return replace(found, warnings=(*found.warnings, *known.warnings))


def _given(material: str, kvp: float | None, slope: Slope | Calibrated | float, error: float | None) -> Slope:
    if isinstance(slope, int | float | np.number):
        cautions: tuple[Caution, ...] = ()
        if error is None:
            error = PRIOR_RELATIVE_ERROR * abs(float(slope))
            text = f"the slope has no standard error; {100 * PRIOR_RELATIVE_ERROR:g} % were taken"
            cautions = (Caution("slope-error-assumed", text, "slope"),)
        return Slope(float(slope), float(error), material, kvp, source="given", warnings=cautions)
    if error is not None:
        raise UnknownChoice("slope_error= belongs to a slope that is a plain number")
    used = slope if isinstance(slope, Slope) else getattr(slope, "slope", None)
    if not isinstance(used, Slope):
        raise UnknownChoice(f"slope= is a number, a Slope or a calibration, not {type(slope).__name__}")
    if not _same_material(material, used.material):
        raise UnitMismatch(
            "the slope belongs to another material",
            where="slope",
            found=f"slope of {used.material}",
            needed=f"slope of {material}",
            next_step="name the material that the slope counts, or take its slope",
        )
    return used


def _same_material(one: str, other: str) -> bool:
    """Whether two names stand for the same atoms; names of your own are compared as they are written."""
    from imgtheranostics.ct.compounds import find_material

    if one.strip().casefold() == other.strip().casefold():
        return True
    try:
        return find_material(one).name == find_material(other).name
    except ImgTheranosticsError:
        return False


def _estimate(enhancement: Estimate | Volume, change: Volume, slope: Slope, workers: int | None) -> Estimate:
    own = enhancement.calibration_relative if isinstance(enhancement, Estimate) else 0.0
    shared = math.hypot(own, slope.relative_error)
    arrays = _calculated(enhancement, change, slope, (own, shared), workers)
    value, error, flags = arrays
    step = make_step("concentration", material=slope.material, hu_per_mg_ml=slope.hu_per_mg_ml)
    cautions = merge_cautions(enhancement.warnings, slope.warnings)
    result = change.derived(value, "concentration", "mg/mL", step).replace(warnings=cautions)
    plain = result.replace(warnings=())
    decisions: dict[str, Any] = {"slope": slope.decision()}
    maps = {"delta_attenuation": change.replace(warnings=())}
    if isinstance(enhancement, Estimate):
        decisions = {**enhancement.decisions, **decisions, **_voxel_limits(enhancement, slope)}
        maps = {**enhancement.maps, **maps}
    return Estimate(
        result,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        calibration_relative=shared,
        decisions=decisions,
        maps=maps,
    )


def _calculated(
    enhancement: Estimate | Volume,
    change: Volume,
    slope: Slope,
    relative: tuple[float, float],
    workers: int | None,
) -> tuple[Array, Array, Array]:
    """Values, standard errors and flags in one pass, as `from_change` gives them."""
    shape = change.shape
    if isinstance(enhancement, Estimate):
        noise, known = enhancement.standard_error.data, enhancement.flags.data
    else:
        noise, known = np.full(shape, np.nan, np.float32, "F"), np.zeros(shape, np.uint16, "F")
    value, error = (np.empty(shape, np.float32, "F") for _ in range(2))
    flags = np.empty(shape, np.uint16, "F")
    hu, sd, before = (read_only(array.ravel(order="F")) for array in (change.data, noise, known))
    marks = np.uint16(Flag.INVALID_INPUT.value), np.uint16(Flag.BELOW_NOISE.value)
    out, out_error, out_flags = (array.ravel(order="F") for array in (value, error, flags))
    scale = 1.0 / slope.hu_per_mg_ml
    with thread_limit(workers):
        concentrations(hu, sd, before, scale, relative, DETECTION_SDS, marks, out, out_error, out_flags)
    return value, error, flags


def _voxel_limits(enhancement: Estimate, slope: Slope) -> dict[str, Any]:
    noise = enhancement.decisions.get("noise", {}).get("voxel_sd_hu")
    if noise is None or not math.isfinite(noise):
        return {}
    limits = detection_limits(noise, slope)
    return {
        "detection": {
            "rule": f"{DETECTION_SDS:g} and {QUANTIFICATION_SDS:g} SD of a voxel's noise over the slope",
            "voxel_lod_mg_ml": limits.lod,
            "voxel_loq_mg_ml": limits.loq,
            "false_positive_rate_at_voxel_lod": false_positive_rate(),
        }
    }
