"""The unit of the dose in the header: Bq by the standard, MBq or Ci by mistake."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imgtheranostics.data.nuclides import nuclides
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata

CLINICAL_BQ = (1e6, 2e10)
MOUSE_BQ = (1e5, 5e7)
"""Plausible administered activities of patients and of mice."""

UNIT_GUESSED_BELOW = 1e4
"""A number in Bq is never this small; a number in MBq or uCi always is."""

_DIAGNOSTIC_LIMIT_BQ = 3e9
_SMALLEST_PATIENT_CURIE_BQ = 3.7e7
_GUESSES = {"MBq": 1e6, "uCi": 3.7e4, "mCi": 3.7e7}
_FIELD = "RadionuclideTotalDose (0018,1074)"


@dataclass(frozen=True, slots=True)
class TotalDose:
    """The header's dose in Bq, and the unit that it was typed in."""

    activity_bq: float
    typed: float
    unit: str
    warnings: tuple[Caution, ...] = ()


def check_total_dose(
    value: float | None, nuclide: str | None, *, small_animal: bool | None = None, strict: bool = False
) -> TotalDose:
    """The header's dose in Bq, corrected where exactly one other unit makes it plausible.

    Patients get their dose in MBq or mCi and never less than 1 mCi of it in uCi; diagnostic nuclides end
    at 3 GBq. So 368 for 18F can only be MBq, while 10 may be MBq or mCi and is refused.

    Parameters
    ----------
    value : float or None
        As in the header.
    nuclide : str or None
        Such as ``F-18``.
    small_animal : bool, optional
        Whether the field of view is that of a mouse; None when it is not known.
    strict : bool
        Refuse instead of correcting.

    Raises
    ------
    MissingMetadata
        If there is no dose.
    ImplausibleValue
        If it is not plausible in Bq and not exactly one unit explains it, or `strict`.
    """
    if value is None or not math.isfinite(value) or value <= 0:
        raise MissingMetadata(
            "the injected activity is absent",
            where=_FIELD,
            found="absent" if value is None else f"{value:g}",
            needed="a positive number of Bq",
            next_step="give it: Administration(activity_bq=..., at=...) or --dose",
        )
    low, high = _range(small_animal)
    if low <= value <= high:
        return TotalDose(float(value), float(value), "Bq")
    plausible = [
        unit
        for unit, factor in _GUESSES.items()
        if value < UNIT_GUESSED_BELOW and _is_plausible(value * factor, unit, nuclide, small_animal)
    ]
    if len(plausible) == 1 and not strict:
        unit = plausible[0]
        activity = float(value) * _GUESSES[unit]
        text = (
            f"the dose in the header is {value:g}, no plausible number of Bq; it was taken as {unit}: "
            f"{activity:.6g} Bq. All results scale with it: check it"
        )
        return TotalDose(activity, float(value), unit, (Caution("dose-unit-corrected", text, _FIELD),))
    meant = " or ".join(f"{value:g} {unit} = {value * _GUESSES[unit]:.4g} Bq" for unit in plausible)
    raise ImplausibleValue(
        "the injected activity is not plausible in Bq",
        where=_FIELD,
        found=f"{value:g}" + (f" (perhaps {meant})" if meant else ""),
        needed=f"{low:g} to {high:g} Bq",
        next_step="give the activity: Administration(activity_bq=..., at=...) or --dose",
    )


def check_given_activity(activity_bq: float, *, small_animal: bool | None = None) -> tuple[Caution, ...]:
    """A caution where an activity that a user gave is far from what is usually injected."""
    low, high = _range(small_animal)
    if low <= activity_bq <= high:
        return ()
    text = f"an injected activity of {activity_bq:.6g} Bq is unusual ({low:g} to {high:g} Bq): check its unit"
    return (Caution("activity-unusual", text, "Administration.activity_bq"),)


def _range(small_animal: bool | None) -> tuple[float, float]:
    """A small field of view may hold a part of a patient, and an unknown one anything."""
    return CLINICAL_BQ if small_animal is False else (MOUSE_BQ[0], CLINICAL_BQ[1])


def _is_plausible(activity_bq: float, unit: str, nuclide: str | None, small_animal: bool | None) -> bool:
    if small_animal:
        return MOUSE_BQ[0] <= activity_bq <= MOUSE_BQ[1]
    low, high = CLINICAL_BQ
    if _is_diagnostic(nuclide):
        high = _DIAGNOSTIC_LIMIT_BQ
    if unit == "uCi":
        low = _SMALLEST_PATIENT_CURIE_BQ
    return low <= activity_bq <= high


def _is_diagnostic(nuclide: str | None) -> bool:
    record = nuclides().get(nuclide or "")
    if record is None:
        return False
    emits_particles = record.mean_beta_minus_mev + record.mean_alpha_mev > 0.01
    return record.positron_yield > 0.1 or not emits_particles
