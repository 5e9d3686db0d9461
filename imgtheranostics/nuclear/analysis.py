"""SUV and injected dose per gram on Volumes: what the command line and the API both call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, UnitMismatch, merge_cautions
from imgtheranostics.nuclear.administration import (
    DEFAULT_RELATIVE_UNCERTAINTY,
    Administration,
    label_given,
)
from imgtheranostics.nuclear.body import KINDS
from imgtheranostics.nuclear.calibration import (
    Calibration,
    calibrate,
    calibration_uncertainty,
    noise_in_activity,
)
from imgtheranostics.nuclear.dose_balance import more_than_injected
from imgtheranostics.nuclear.maps import density_on_grid, multiplied, scaled_estimate
from imgtheranostics.nuclear.scale import Scale, emission_record, image_scale
from imgtheranostics.nuclear.subject import Body, checked_body
from imgtheranostics.nuclear.uptake import Choices, dose_share, per_voxel
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.regions import Regions

SUV_UNITS = {kind: "cm2/mL" if kind == "bsa" else "g/mL" for kind in KINDS}
"""Unit of each kind of SUV."""

NoiseLevel = float | npt.ArrayLike | Volume | None


def suv(
    v: Volume,
    kind: str = "bw",
    administration: Administration | None = None,
    *,
    weight_kg: float | None = None,
    height_m: float | None = None,
    sex: str | None = None,
    decay_correction: str | None = None,
    noise_sd: NoiseLevel = None,
    scanner_relative_uncertainty: float = 0.0,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict: bool = False,
    strict_clock: bool = False,
    confirm_weight: bool = False,
) -> Estimate:
    """Standardised uptake value: activity concentration x body measure / decayed net dose.

    An image that already is an SUV, of any kind, is converted by the ratio of body measures; neither
    dose nor clock is looked at.

    Parameters
    ----------
    v : Volume
        Activity concentration, SUV of any kind, or counts with a scale; static or with a time axis.
    kind : {"bw", "lbm_janmahasatian", "lbm_james120", "lbm_james128", "bsa", "ibw"}
    administration : Administration, optional
        Goes before what the header says, field by field.
    weight_kg, height_m, sex : optional
        Go before administration and header.
    decay_correction : {"START", "ADMIN", "NONE"}, optional
        For files that do not say it, or say it wrong.
    noise_sd : float, array_like or Volume, optional
        Standard deviation of voxel noise in the unit of `v`.
    scanner_relative_uncertainty : float
        Relative standard uncertainty of the scanner's calibration against the dose calibrator.
    sensitivity_cps_mbq : float or Calibration, optional
        For counts without a scale, as a gamma camera's: counts/s per MBq, see `calibrate`.
    strict : bool
        Refuse a dose whose unit would have to be guessed.
    strict_clock : bool
        Refuse clocks that differ by more than 1 % in activity.
    confirm_weight : bool
        Accept a weight above 2 kg in a field of view below 15 cm.

    Returns
    -------
    Estimate
        ``suv_<kind>`` in g/mL, or cm2/mL for ``bsa``; same axes as `v`. `decisions` says which clock,
        scaling, decay, half-life, dose and body measure were used.

    Raises
    ------
    ValueError
        If the kind is not known.
    MissingMetadata, ImplausibleValue, UnitMismatch, UnsupportedInput
        With the field and what to do about it.

    References
    ----------
    .. [1] Image Biomarker Standardisation Initiative, manual of the SUV digital reference objects.
    """
    _check_kind(kind)
    v, noise_sd = _in_activity(v, sensitivity_cps_mbq, noise_sd)
    scanner_relative_uncertainty = math.hypot(scanner_relative_uncertainty, calibration_uncertainty(v))
    record = emission_record(v, label_given(administration))
    scale = image_scale(v, record, dose_given=_replaces_dose(administration))
    given: dict[str, Any] = {"weight_kg": weight_kg, "height_m": height_m, "sex": sex}
    body = checked_body(record.subject, v.grid, administration, **given, confirm_weight=confirm_weight)
    step = make_step("suv", kind=kind, scaling=scale.rule)
    if scale.kind != "activity":
        _refuse_other_dose(administration, scale)
        factor, explanation = _kind_ratio(scale.kind, kind, record, v, body)
        return scaled_estimate(
            v,
            np.full((1,) * v.data.ndim, factor * scale.factor),
            f"suv_{kind}",
            SUV_UNITS[kind],
            step,
            relative_uncertainty=math.hypot(DEFAULT_RELATIVE_UNCERTAINTY, scanner_relative_uncertainty),
            decisions=_decisions_without_dose(scale, kind, explanation, factor),
            warnings=body.warnings,
            noise_sd=noise_sd,
        )
    measure = body.measure(kind)
    share = dose_share(v, record, Choices(administration, decay_correction, strict, strict_clock))
    relative = math.hypot(share.relative_uncertainty, scanner_relative_uncertainty)
    factor_per_ml = per_voxel(v, share.factor * scale.factor)
    return scaled_estimate(
        v,
        factor_per_ml * measure.value,
        f"suv_{kind}",
        SUV_UNITS[kind],
        step,
        relative_uncertainty=relative,
        decisions={
            **share.decisions,
            "scaling": scale.decisions(),
            "body_measure": {
                "kind": kind,
                "value": measure.value,
                "unit": measure.unit,
                "explanation": measure.explanation,
            },
        },
        warnings=merge_cautions(
            share.warnings, body.warnings, more_than_injected(v, factor_per_ml, relative)
        ),
        noise_sd=noise_sd,
    )


def percent_id_per_gram(
    v: Volume,
    administration: Administration | None = None,
    density_g_ml: float | Volume = 1.0,
    *,
    density_relative_uncertainty: float = 0.0,
    decay_correction: str | None = None,
    noise_sd: NoiseLevel = None,
    scanner_relative_uncertainty: float = 0.0,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict: bool = False,
    strict_clock: bool = False,
) -> Estimate:
    """Percent of the net injected dose per gram of tissue, decay corrected; no body weight is needed.

    Parameters
    ----------
    v : Volume
    administration : Administration, optional
    density_g_ml : float or Volume
        Tissue density, or a ``density`` map on the grid of `v` (see `density_from_ct`); voxels below
        0.1 g/mL are air and not estimated.
    density_relative_uncertainty : float
    decay_correction, noise_sd, scanner_relative_uncertainty, sensitivity_cps_mbq, strict, strict_clock
        As in `suv`.

    Returns
    -------
    Estimate
        ``id_per_g`` in %/g.

    Raises
    ------
    ImplausibleValue
        If a density is not positive.
    MissingMetadata, UnitMismatch, UnsupportedInput, GeometryMismatch
        As in `suv`; counts with only a vendor's SUV factor have no Bq/mL.
    """
    v, noise_sd = _in_activity(v, sensitivity_cps_mbq, noise_sd)
    density = None
    constant = 1.0
    if isinstance(density_g_ml, Volume):
        density = density_on_grid(density_g_ml, v)
        text = "density map"
    else:
        constant = float(density_g_ml)
        text = f"{constant:g} g/mL"
        if not (math.isfinite(constant) and constant > 0):
            raise ImplausibleValue("the density is not positive", where="density_g_ml", found=text)
    return _percent(
        v,
        "id_per_g",
        "%/g",
        administration,
        Choices(administration, decay_correction, strict, strict_clock),
        per_mass=1.0 / constant,
        density=density,
        density_text=text,
        relative=math.hypot(density_relative_uncertainty, scanner_relative_uncertainty),
        noise_sd=noise_sd,
    )


def percent_id_per_ml(
    v: Volume,
    administration: Administration | None = None,
    *,
    decay_correction: str | None = None,
    noise_sd: NoiseLevel = None,
    scanner_relative_uncertainty: float = 0.0,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict: bool = False,
    strict_clock: bool = False,
) -> Estimate:
    """Percent of the net injected dose per millilitre, decay corrected.

    Parameters
    ----------
    v : Volume
    administration : Administration, optional
    decay_correction, noise_sd, scanner_relative_uncertainty, sensitivity_cps_mbq, strict, strict_clock
        As in `suv`.

    Returns
    -------
    Estimate
        ``id_per_ml`` in %/mL.

    Raises
    ------
    MissingMetadata, ImplausibleValue, UnitMismatch, UnsupportedInput
        As in `percent_id_per_gram`.
    """
    v, noise_sd = _in_activity(v, sensitivity_cps_mbq, noise_sd)
    return _percent(
        v,
        "id_per_ml",
        "%/mL",
        administration,
        Choices(administration, decay_correction, strict, strict_clock),
        relative=scanner_relative_uncertainty,
        noise_sd=noise_sd,
    )


def percent_id_per_region(
    v: Volume,
    rois: Regions,
    administration: Administration | None = None,
    *,
    resolution_mm: float | None = None,
    workers: int | None = None,
    **choices: Any,
) -> pd.DataFrame:
    """Percent of the net injected dose in each region, decay corrected: the sum over its voxels.

    Parameters
    ----------
    v : Volume
    rois : Regions
        On the grid of `v`.
    administration : Administration, optional
    resolution_mm : float, optional
        As in `imgtheranostics.regions.roi_statistics`.
    workers : int, optional
    **choices
        As in `percent_id_per_ml`.

    Returns
    -------
    pandas.DataFrame
        Columns of DESIGN section 6 with quantity ``id_per_region``: `mean` is the region's total and
        `standard_error` its uncertainty; columns that describe single voxels are NaN. A region with voxels
        that could not be estimated carries the warning ``incomplete-region``.

    Raises
    ------
    GeometryMismatch
        If the regions lie on another grid.
    MissingMetadata, ImplausibleValue, UnitMismatch, UnsupportedInput
        As in `percent_id_per_ml`.
    """
    from imgtheranostics.regions import roi_statistics

    estimate = percent_id_per_ml(v, administration, **choices)
    table = roi_statistics(estimate, rois, resolution_mm=resolution_mm, workers=workers)
    valid_ml = table["n_valid"] * v.grid.voxel_volume_ml
    table["mean"] *= valid_ml
    table["standard_error"] *= valid_ml
    table["quantity"], table["unit"] = "id_per_region", "%"
    for column in ("sd", "median", "p05", "p95", "min", "max"):
        table[column] = np.nan
    incomplete = table["n_valid"] < table["n_voxels"]
    table.loc[incomplete, "warnings"] = [
        ";".join(filter(None, (codes, "incomplete-region"))) for codes in table.loc[incomplete, "warnings"]
    ]
    for detail, volume in zip(table.attrs.get("details", ()), valid_ml, strict=False):
        for part in ("standard_error_sampling", "standard_error_calibration"):
            detail[part] *= volume
    return table


def convert_suv(
    estimate: Estimate,
    kind: str,
    *,
    weight_kg: float | None = None,
    height_m: float | None = None,
    sex: str | None = None,
    confirm_weight: bool = False,
) -> Estimate:
    """An SUV map as another kind of SUV: times the ratio of the two body measures of one subject.

    Parameters
    ----------
    estimate : Estimate
        ``suv_*``.
    kind : str
        As in `suv`.
    weight_kg, height_m, sex : optional
        Go before the header for both measures.
    confirm_weight : bool

    Returns
    -------
    Estimate

    Raises
    ------
    UnitMismatch
        If the estimate is no SUV.
    MissingMetadata, ImplausibleValue
        If a body measure is not available.
    """
    _check_kind(kind)
    source = estimate.quantity.removeprefix("suv_")
    if source not in KINDS:
        raise UnitMismatch(
            "only SUV can be converted to another kind of SUV",
            found=f"{estimate.quantity} [{estimate.unit}]",
            needed="one of " + ", ".join(f"suv_{known}" for known in KINDS),
        )
    v = estimate.value
    record = emission_record(v)
    body = checked_body(
        record.subject,
        v.grid,
        weight_kg=weight_kg,
        height_m=height_m,
        sex=sex,
        confirm_weight=confirm_weight,
    )
    before, after = body.measure(source), body.measure(kind)
    ratio = after.value / before.value
    text = f"{after.explanation} over {before.explanation}"
    changed: dict[str, Any] = {"quantity": f"suv_{kind}", "unit": SUV_UNITS[kind]}
    step = make_step("convert_suv", from_kind=source, to_kind=kind, ratio=ratio)
    value = v.replace(data=multiplied(v.data, ratio), history=(*v.history, step), **changed)
    error = estimate.standard_error
    return Estimate(
        value.with_warnings(*body.warnings),
        error.replace(data=multiplied(error.data, ratio), **changed),
        estimate.flags,
        estimate.calibration_relative,
        {
            **estimate.decisions,
            "body_measure": {"kind": kind, "value": after.value, "unit": after.unit, "explanation": text},
        },
    )


def _in_activity(
    v: Volume, sensitivity_cps_mbq: float | Calibration | None, noise_sd: NoiseLevel
) -> tuple[Volume, NoiseLevel]:
    """Counts with the user's calibration applied, and the noise level in the same unit."""
    calibrated = calibrate(v, sensitivity_cps_mbq)
    return calibrated, noise_in_activity(noise_sd, v, calibrated)


def _percent(
    v: Volume,
    quantity: str,
    unit: str,
    administration: Administration | None,
    choices: Choices,
    *,
    per_mass: float = 1.0,
    density: npt.NDArray[np.floating] | None = None,
    density_text: str = "",
    relative: float = 0.0,
    noise_sd: NoiseLevel = None,
) -> Estimate:
    relative = math.hypot(relative, calibration_uncertainty(v))
    record = emission_record(v, label_given(administration))
    scale = image_scale(v, record, dose_given=True)
    step = make_step(quantity, scaling=scale.rule, **({"density": density_text} if density_text else {}))
    warnings: tuple[Caution, ...]
    if scale.kind == "activity":
        share = dose_share(v, record, choices)
        factor = per_voxel(v, share.factor * scale.factor)
        relative = math.hypot(share.relative_uncertainty, relative)
        decisions = {**share.decisions, "scaling": scale.decisions()}
        warnings = merge_cautions(share.warnings, more_than_injected(v, factor, relative))
    else:
        factor, decisions, warnings = _share_of_suv(v, record, scale, administration)
        relative = math.hypot(DEFAULT_RELATIVE_UNCERTAINTY, relative)
    if density_text:
        decisions["density"] = {"rule": density_text}
    return scaled_estimate(
        v,
        factor * (100.0 * per_mass),
        quantity,
        unit,
        step,
        relative_uncertainty=relative,
        decisions=decisions,
        warnings=warnings,
        density=density,
        noise_sd=noise_sd,
    )


def _share_of_suv(
    v: Volume, record: EmissionAcquisition, scale: Scale, administration: Administration | None
) -> tuple[npt.NDArray[np.float64], dict[str, Any], tuple[Caution, ...]]:
    """Dose share per mL of an image that is an SUV already: the SUV over its body measure."""
    if not v.quantity.startswith("suv_"):
        raise UnitMismatch(
            "the image has the vendor's SUV factor but no way to Bq/mL",
            where="Philips activity concentration scale factor (7053,1009)",
            needed="Bq/mL",
            next_step="use suv_bw, or export the series in Bq/mL",
        )
    _refuse_other_dose(administration, scale)
    body = checked_body(record.subject, v.grid, administration)
    measure = body.measure(scale.kind)
    caution = Caution(
        "dose-from-suv",
        "the image was an SUV already: the scanner's dose went in, and no residual was subtracted",
        "Units (0054,1001)",
    )
    decisions = _decisions_without_dose(
        scale, scale.kind, f"divided by {measure.explanation}", 1.0 / measure.value
    )
    return np.full((1,) * v.data.ndim, 1.0 / measure.value), decisions, (*body.warnings, caution)


def _kind_ratio(
    source: str, target: str, record: EmissionAcquisition, v: Volume, body: Body
) -> tuple[float, str]:
    """Factor from the SUV that the scanner made to another kind, or to corrected body measures."""
    header = record.subject
    known = body.subject
    unchanged = all(
        getattr(header, name) in (None, getattr(known, name)) for name in ("weight_kg", "height_m", "sex")
    )
    if source == target and unchanged:
        return 1.0, f"the image is SUV {source} already"
    scanner = checked_body(
        header,
        v.grid,
        weight_kg=header.weight_kg or known.weight_kg,
        height_m=header.height_m or known.height_m,
        sex=header.sex or known.sex,
        confirm_weight=True,
    ).measure(source)
    wanted = body.measure(target)
    return wanted.value / scanner.value, f"{wanted.explanation} over {scanner.explanation}"


def _replaces_dose(administration: Administration | None) -> bool:
    return administration is not None and administration.replaces_header


def _refuse_other_dose(administration: Administration | None, scale: Scale) -> None:
    if _replaces_dose(administration):
        raise UnitMismatch(
            "the image is normalised to the scanner's dose already, so another one cannot be used",
            where=scale.rule,
            needed="Bq/mL to use an administration",
            next_step="leave the administration out, or export the series in Bq/mL",
        )


def _decisions_without_dose(scale: Scale, kind: str, explanation: str, factor: float) -> dict[str, Any]:
    not_used = {"rule": "not used", "explanation": "the image is normalised to the dose already"}
    return {
        "clock": {**not_used, "candidates_s": {}, "spread_percent": 0.0},
        "scaling": scale.decisions(),
        "decay": dict(not_used),
        "half_life": dict(not_used),
        "administered_activity": dict(not_used),
        "body_measure": {"kind": kind, "explanation": explanation, "factor": factor},
    }


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
