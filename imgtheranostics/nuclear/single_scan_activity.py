"""Time-integrated activity from a single scan, with an effective half-life that comes from elsewhere."""

from __future__ import annotations

import math

import numpy as np

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, ImplausibleValue, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.calibration import Calibration
from imgtheranostics.nuclear.curve_models import AREAS, SAME_HALF_LIFE
from imgtheranostics.nuclear.integrated_activity import gathered_samples
from imgtheranostics.nuclear.uptake import Choices
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

PHYSICAL = "physical"
"""Word for an effective half-life that is the physical one: nothing is cleared."""

_OF_VOXELS = ("activity_concentration", "id_per_g", "id_per_ml")


def activity_from_one_scan(
    volume: Volume,
    effective_half_life_s: float | str,
    *,
    half_life_relative_uncertainty: float = 0.0,
    quantity: str = "activity_concentration",
    given: str | None = None,
    administration: Administration | None = None,
    density_g_ml: float | Volume = 1.0,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
) -> Estimate:
    """Decays per volume or mass of tissue from one scan: A(0) T_eff / ln 2, with A(0) = A(t) 2^(t / T_eff).

    Parameters
    ----------
    volume : Volume
        One image without further frames.
    effective_half_life_s : float or "physical"
        Of the activity of the nuclide whose decays are counted, in all voxels, from the injection on; at most
        its physical half-life.
    half_life_relative_uncertainty : float
        Standard uncertainty of it; zero takes it as known.
    quantity, given, administration, density_g_ml, decay_correction, sensitivity_cps_mbq, strict_clock
        As in `time_integrated_activity`.

    Returns
    -------
    Estimate
        As `time_integrated_activity`, with the caution ``single-time-point``. All voxels share the error of
        calibration and half-life; noise of the scan is not known.

    Raises
    ------
    ValueError
        If a choice or an uncertainty does not exist.
    UnsupportedInput
        If there are several frames.
    ImplausibleValue
        If the half-life is not positive, or longer than the physical one.
    ImgTheranosticsError
        As `time_integrated_activity`.
    """
    checked(quantity, _OF_VOXELS, "quantity")
    if not (math.isfinite(half_life_relative_uncertainty) and half_life_relative_uncertainty >= 0):
        raise UnknownChoice("the relative uncertainty of the half-life must not be negative")
    if volume.axes and volume.shape[3] > 1:
        raise UnsupportedInput(
            "a single scan has one frame",
            found=f"{volume.shape[3]} frames",
            needed="one",
            next_step="give all of them a model of their curve instead of a half-life",
        )
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    samples = gathered_samples([volume], quantity, choices, density_g_ml, sensitivity_cps_mbq)
    physical_s = samples.half_life_s if given is None else nuclide(given).half_life_s
    effective_s = _checked_half_life(effective_half_life_s, physical_s)
    biological_rate = math.log(2.0) * max(0.0, 1.0 / effective_s - 1.0 / physical_s)
    at_s = float(samples.time_s[0])
    name, administered = AREAS[quantity]
    factor = math.exp(biological_rate * at_s) * effective_s / math.log(2.0) / administered
    by_half_life = abs(1.0 - math.log(2.0) * at_s / effective_s) * half_life_relative_uncertainty
    shared = math.hypot(samples.calibration_relative, by_half_life)
    value = samples.data[..., 0].astype(np.float64) * factor
    known = np.isfinite(value)
    rule = "physical half-life, as asked for" if effective_half_life_s == PHYSICAL else "given half-life"
    text = f"the decays of one scan, at {at_s / 3600.0:.4g} h, follow from a half-life of "
    text += f"{effective_s / 3600.0:.4g} h ({rule}) in all voxels; clearance there was not measured"
    counted = {"rule": "imaged nuclide"} if given is None else {"rule": "nuclide to be given"}
    if given is not None:
        counted["nuclide"] = nuclide(given).name
    curve = {"rule": rule, "effective_half_life_s": effective_s, "time_s": at_s}
    curve["relative_uncertainty"] = half_life_relative_uncertainty
    decisions = {**samples.decisions, "curve": curve, "decays": {**counted, "half_life_s": physical_s}}
    step = make_step("activity_from_one_scan", effective_half_life_s=effective_s, time_s=at_s)
    result = samples.image.derived(value, name, str(QUANTITIES[name].unit), step, axes=())
    result = result.with_warnings(*samples.warnings, Caution("single-time-point", text))
    plain = result.replace(warnings=())
    flags = np.where(known, 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    flags[known & (value < 0)] |= Flag.NEGATIVE_AMPLITUDE.value
    half_lives = plain.replace(
        data=np.where(known, effective_s, np.nan), quantity="effective_half_life", unit="s"
    )
    return Estimate(
        result,
        plain.replace(data=np.abs(value) * shared),
        plain.replace(data=flags, quantity="flags", unit="1"),
        shared,
        decisions,
        {"effective_half_life": half_lives},
    )


def _checked_half_life(given: float | str, physical_s: float) -> float:
    """The effective half-life in s, at most the physical one."""
    if given == PHYSICAL:
        return physical_s
    if isinstance(given, str):
        raise UnknownChoice(f"the effective half-life must be a number of s or {PHYSICAL!r}, not {given!r}")
    if not (math.isfinite(given) and given > 0):
        raise ImplausibleValue(
            "the effective half-life is not positive", where="effective_half_life_s", found=f"{given:g} s"
        )
    if given > physical_s * (1.0 + SAME_HALF_LIFE):
        raise ImplausibleValue(
            "activity cannot fall more slowly than the nuclide decays",
            where="effective_half_life_s",
            found=f"{given:g} s",
            needed=f"at most the physical half-life of {physical_s:g} s",
            next_step="give the effective half-life, which contains decay and clearance",
        )
    return min(given, physical_s)
