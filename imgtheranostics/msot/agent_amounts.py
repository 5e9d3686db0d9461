"""From the amount of a component to the mass of the agent and its share of the injected mass (msot.md M22).

Absorption of known extinction gives umol/L, and a molar mass mg/mL. Signals in arbitrary units need vials of
known concentration in the same image. Either way the scale is one number with one error for all voxels: it
goes into every standard error and does not shrink when voxels are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.light_caution import light_cautions
from imgtheranostics.msot.signal_calibration import SignalCalibration
from imgtheranostics.volume import Estimate, Step, Volume, make_step

MG_PER_ML_PER_UMOL_L = 1e-6
"""mg/mL of 1 umol/L of 1 g/mol."""

_PERCENT = 100.0


def mass_concentration(
    x: Estimate,
    *,
    molar_mass_g_mol: float | None = None,
    molar_mass_error: float = 0.0,
    calibration: SignalCalibration | None = None,
) -> Estimate:
    """Mass concentration of the agent in mg/mL.

    Parameters
    ----------
    x : Estimate
        ``chromophore_concentration`` in umol/L with the molar mass of what is counted, or any amount with a
        calibration.
    molar_mass_g_mol, molar_mass_error : float, optional
        Molar mass and its standard uncertainty in g/mol; of the particle where a mole of particles was
        counted, of the dye where the dye was.
    calibration : SignalCalibration, optional
        Of `calibrate`, or made of what is known.

    Returns
    -------
    Estimate
        ``concentration`` in mg/mL. The error of molar mass or calibration is common to all voxels.

    Raises
    ------
    MissingMetadata
        If amounts in arbitrary units come without a calibration, or umol/L without a molar mass.
    UnitMismatch
        If the calibration is for another unit.
    ImplausibleValue
        If the molar mass is not above 0.
    UnknownChoice
        If molar mass and calibration are both given.
    """
    if molar_mass_g_mol is not None and calibration is not None:
        raise UnknownChoice("molar_mass_g_mol= and calibration= exclude each other")
    if calibration is not None:
        if calibration.unit != x.unit:
            raise UnitMismatch(
                "the calibration is for another unit",
                found=calibration.unit,
                needed=x.unit,
                where="calibration",
            )
        factor, relative = 1.0 / calibration.per_mg_ml, calibration.relative_error
        decision = calibration.decision()
        notes = (*calibration.warnings, *light_cautions(x.value))
    else:
        factor, relative = _molar(x, molar_mass_g_mol, molar_mass_error)
        decision, notes = {"rule": "molar mass", "molar_mass_g_mol": molar_mass_g_mol}, ()
    step = make_step("mass_concentration", **{k: v for k, v in decision.items() if k != "vials"})
    return _scaled(x, factor, relative, ("concentration", "mg/mL"), step, {"scale": decision}, notes)


def _molar(x: Estimate, molar_mass: float | None, error: float) -> tuple[float, float]:
    """mg/mL per umol/L, and the relative error of that."""
    if x.unit != "umol/L":
        raise MissingMetadata(
            "amounts in arbitrary units have no concentration without a calibration",
            where="calibration",
            found=f"{x.quantity} [{x.unit}]",
            needed="vials of known concentration in the same image, or a calibrated absorption image",
            next_step="give calibration= of msot.calibrate (--calibration), or unmix optical_absorption",
        )
    if molar_mass is None:
        raise MissingMetadata(
            "mg/mL needs the molar mass of what is counted",
            where="molar_mass_g_mol",
            needed="g/mol",
            next_step="give molar_mass_g_mol= (--molar-mass-g-mol), or stay with umol/L",
        )
    if not (math.isfinite(molar_mass) and molar_mass > 0 and math.isfinite(error) and error >= 0):
        raise ImplausibleValue(
            "the molar mass must be above 0, and its error 0 or more",
            where="molar_mass_g_mol",
            found=f"{molar_mass:g} ± {error:g} g/mol",
        )
    return molar_mass * MG_PER_ML_PER_UMOL_L, error / molar_mass


def percent_id_per_gram(
    concentration: Estimate,
    *,
    injected_mg: float,
    injected_error_mg: float = 0.0,
    density_g_ml: float = 1.0,
) -> Estimate:
    """Share of the injected mass per gram of tissue, 100 C / (rho M_inj).

    Parameters
    ----------
    concentration : Estimate
        ``concentration`` in mg/mL.
    injected_mg, injected_error_mg : float
        Injected mass of what the concentration counts, and its standard uncertainty.
    density_g_ml : float
        Of the tissue.

    Returns
    -------
    Estimate
        ``id_per_g`` in %/g. The errors of injected mass and concentration's scale are common to all voxels.

    Raises
    ------
    UnitMismatch
        If the estimate is no mass concentration.
    ImplausibleValue
        If mass or density are not above 0, or a density is none of tissue.

    Examples
    --------
    0.01 mg/mL of 0.2 mg injected are 5 %/g at 1 g/mL.
    """
    if concentration.quantity != "concentration":
        raise UnitMismatch(
            "%ID/g needs a mass concentration",
            found=f"{concentration.quantity} [{concentration.unit}]",
            needed="concentration [mg/mL]",
            next_step="make it by msot.mass_concentration",
        )
    if not (math.isfinite(injected_mg) and injected_mg > 0 and 0 <= injected_error_mg < math.inf):
        raise ImplausibleValue(
            "the injected mass must be above 0, and its error 0 or more",
            where="injected_mg",
            found=f"{injected_mg:g} ± {injected_error_mg:g} mg",
        )
    if not 0.1 <= density_g_ml <= 3.0:
        raise ImplausibleValue(
            "the density is none of tissue",
            where="density_g_ml",
            found=f"{density_g_ml:g} g/mL",
            needed="0.1 (lung) to 3 g/mL (bone)",
        )
    factor = _PERCENT / (density_g_ml * injected_mg)
    decision = {
        "rule": "100 C / (rho M_inj)",
        "injected_mg": injected_mg,
        "injected_error_mg": injected_error_mg,
        "density_g_ml": density_g_ml,
    }
    step = make_step("percent_id_per_gram", **{k: v for k, v in decision.items() if k != "rule"})
    relative = injected_error_mg / injected_mg
    return _scaled(concentration, factor, relative, ("id_per_g", "%/g"), step, {"uptake": decision}, ())


def _scaled(
    x: Estimate,
    factor: float,
    relative: float,
    quantity: tuple[str, str],
    step: Step,
    decisions: Mapping[str, Any],
    notes: tuple[Caution, ...],
) -> Estimate:
    """An estimate times a factor whose relative error all voxels share."""
    value = x.value.data.astype(np.float64)
    own = x.standard_error.data.astype(np.float64)
    error = np.hypot(own, relative * np.abs(value)) * factor
    result = x.value.derived(value * factor, *quantity, step).replace(warnings=())
    result = result.with_warnings(*(one for one in x.value.warnings if one.code != "arbitrary-units"), *notes)
    plain: Volume = result.replace(warnings=())
    return Estimate(
        result,
        plain.replace(data=error),
        x.flags.replace(warnings=()),
        math.hypot(x.calibration_relative, relative),
        {**x.decisions, **decisions},
    )
