"""What was injected, when, and how sure that is: from the header, the user, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.clock import ScanClock
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.dose_unit import check_given_activity, check_total_dose
from imgtheranostics.nuclear.half_life import HalfLife
from imgtheranostics.nuclear.injection import Moment

DEFAULT_RELATIVE_UNCERTAINTY = 0.05
"""Standard uncertainty of a dose calibrator reading when nothing better is known."""

_SMALLEST_TYPED_BQ = 1e4


@dataclass(frozen=True, slots=True)
class Administration:
    """An injection as the laboratory book has it; it goes before what the header says.

    Parameters
    ----------
    activity_bq : float or None
        Activity in the full syringe, Bq, at `assayed_at`. None takes the header's.
    at : datetime, time, timedelta, float or None
        Injection. A datetime with an offset from UTC needs a scan that has one too; without, it is read
        on the scanner's clock. A time of day is the last one before the scan. A number of seconds or a
        timedelta is the delay from injection to the start of the first frame, for files without clocks.
        None takes the header's.
    nuclide : str, optional
        Such as ``Cu-64``; the header's when not given.
    residual_bq : float
        Left in the syringe, measured at `residual_at`.
    residual_at : datetime, timedelta or float, optional
        A number counts seconds after the injection; None means at the injection.
    infiltrated_bq : float
        Left at the injection site, for example from a region over the tail, decay corrected to injection.
    weight_kg, height_m : float, optional
    sex : {"M", "F", "O"}, optional
    relative_uncertainty : float
        Relative standard uncertainty of each of the three activities.
    assayed_at : datetime, timedelta or float, optional
        When `activity_bq` was measured; a number counts seconds after the injection, so it is negative.

    Raises
    ------
    ImplausibleValue
        If an activity, weight, height or uncertainty is impossible, or the activity looks like MBq.

    Examples
    --------
    >>> Administration(12.5e6, 3600.0, nuclide="Cu-64", residual_bq=0.4e6, weight_kg=0.02).activity_bq
    12500000.0
    """

    activity_bq: float | None
    at: datetime | time | timedelta | float | None
    nuclide: str | None = None
    residual_bq: float = 0.0
    residual_at: datetime | timedelta | float | None = None
    infiltrated_bq: float = 0.0
    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None
    relative_uncertainty: float = DEFAULT_RELATIVE_UNCERTAINTY
    assayed_at: datetime | timedelta | float | None = None

    def __post_init__(self) -> None:
        if self.activity_bq is not None:
            _positive("activity_bq", self.activity_bq)
            if self.activity_bq < _SMALLEST_TYPED_BQ:
                raise ImplausibleValue(
                    "the activity is too small to be in Bq",
                    where="Administration.activity_bq",
                    found=f"{self.activity_bq:g}",
                    needed="Bq: 1 MBq is 1e6, 1 uCi is 3.7e4",
                    next_step="multiply by the factor of the unit that was meant",
                )
        for name in ("residual_bq", "infiltrated_bq", "relative_uncertainty"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ImplausibleValue(f"{name} must be zero or more", where=f"Administration.{name}")
        for name in ("weight_kg", "height_m"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        if self.sex is not None and self.sex not in ("M", "F", "O"):
            raise ImplausibleValue("sex must be M, F or O", where="Administration.sex")

    @property
    def delay_s(self) -> float | None:
        """Seconds from injection to the first frame when `at` says it so, else None."""
        if isinstance(self.at, timedelta):
            return self.at.total_seconds()
        if isinstance(self.at, (int, float)) and not isinstance(self.at, bool):
            return float(self.at)
        return None

    @property
    def replaces_header(self) -> bool:
        """Whether it says anything about what was injected, and not only about the body."""
        return (
            self.activity_bq is not None
            or self.at is not None
            or self.nuclide is not None
            or self.residual_bq > 0
            or self.infiltrated_bq > 0
        )


@dataclass(frozen=True)
class NetDose:
    """Net administered activity at injection.

    Attributes
    ----------
    activity_bq, relative_uncertainty : float
    """

    activity_bq: float
    relative_uncertainty: float
    parts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values."""
        return {
            "net_bq_at_injection": self.activity_bq,
            "relative_uncertainty": self.relative_uncertainty,
            **self.parts,
        }


def net_dose(
    acquisition: EmissionAcquisition,
    administration: Administration | None,
    half_life: HalfLife,
    clock: ScanClock,
    injection: Moment | None,
    *,
    small_animal: bool | None = None,
    strict: bool = False,
) -> NetDose:
    """Activity that reached the body, at injection: D - residual - infiltrated, each decayed to it.

    D_net = D exp(-lambda t_assay) - R exp(-lambda t_residual) - I, with t counted from the measurement to
    the injection. The three uncertainties are independent and add in quadrature.

    Parameters
    ----------
    acquisition : EmissionAcquisition
    administration : Administration or None
    half_life : HalfLife
    clock : ScanClock
    injection : Moment or None
        Only needed where a residual or an assay has a date and time.
    small_animal : bool, optional
        Whether the field of view is that of a mouse, for the plausibility of the header's dose.
    strict : bool
        Refuse a header dose whose unit would have to be guessed.

    Raises
    ------
    MissingMetadata
        If no activity is known.
    ImplausibleValue
        If the header's dose is implausible in Bq, or nothing is left after the subtraction.
    """
    given = administration or Administration(None, None)
    cautions: tuple[Caution, ...] = ()
    relative = given.relative_uncertainty
    parts: dict[str, Any] = {"relative_uncertainty_of_each_activity": relative}
    if given.activity_bq is not None:
        full, source = float(given.activity_bq), "user"
        cautions = check_given_activity(full, small_animal=small_animal)
    else:
        dose = check_total_dose(
            acquisition.radiopharmaceutical.total_dose,
            half_life.nuclide,
            small_animal=small_animal,
            strict=strict,
        )
        full, source, cautions = dose.activity_bq, "header", dose.warnings
        if dose.unit != "Bq":
            parts |= {"header_value": dose.typed, "header_unit_assumed": dose.unit}
    full *= _decay_to_injection(given.assayed_at, half_life, clock, injection, "assay")
    residual = 0.0
    if given.residual_bq > 0:
        if given.residual_at is None:
            text = "the residual has no time of measurement and was taken as measured at injection"
            cautions += (Caution("residual-time-assumed", text, "Administration.residual_at"),)
        residual = given.residual_bq * _decay_to_injection(
            given.residual_at, half_life, clock, injection, "residual measurement"
        )
    net = full - residual - given.infiltrated_bq
    if not net > 0:
        raise ImplausibleValue(
            "nothing is left of the dose after residual and infiltration",
            where="Administration.residual_bq, Administration.infiltrated_bq",
            found=f"{full:.4g} - {residual:.4g} - {given.infiltrated_bq:.4g} Bq",
            needed="a positive net activity",
        )
    absolute = relative * math.sqrt(full**2 + residual**2 + given.infiltrated_bq**2)
    parts |= {
        "source": source,
        "syringe_bq_at_injection": full,
        "residual_bq_at_injection": residual,
        "infiltrated_bq_at_injection": given.infiltrated_bq,
    }
    return NetDose(net, absolute / net, parts, cautions)


def _decay_to_injection(
    measured: datetime | timedelta | float | None,
    half_life: HalfLife,
    clock: ScanClock,
    injection: Moment | None,
    what: str,
) -> float:
    if measured is None:
        return 1.0
    if isinstance(measured, datetime):
        if injection is None or injection.seconds is None:
            raise MissingMetadata(
                f"the {what} has a date and time, but the injection has none on the scan's clock",
                where="Administration",
                next_step=f"give the {what} in seconds after the injection",
            )
        after = clock.seconds(measured, what) - injection.seconds
    else:
        after = measured.total_seconds() if isinstance(measured, timedelta) else float(measured)
    return float(decay_factor(-after, half_life.seconds))


def label_given(administration: Administration | None) -> str | None:
    """The nuclide that the user states, if any."""
    return None if administration is None else administration.nuclide


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ImplausibleValue(
            f"{name} must be a positive number", where=f"Administration.{name}", found=f"{value:g}"
        )
