"""From scans to absorbed dose: decays in every voxel, of the imaged nuclide or its twin, then their dose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import nuclide, nuclide_in
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear.activity_curves import injection_cautions, scan_values
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.calibration import Calibration, calibrate
from imgtheranostics.nuclear.dose_maps import SOFT_TISSUE_G_ML, absorbed_dose, dose_rate
from imgtheranostics.nuclear.dose_sources import COEFFICIENTS
from imgtheranostics.nuclear.dose_volume import DOSES
from imgtheranostics.nuclear.integrated_activity import time_integrated_activity
from imgtheranostics.nuclear.maps import multiplied
from imgtheranostics.nuclear.pair_rules import twins
from imgtheranostics.nuclear.single_scan_activity import activity_from_one_scan
from imgtheranostics.nuclear.uptake import Choices
from imgtheranostics.volume import Axis, Estimate, Flag, Volume, make_step

INTEGRATED = ("time_integrated_activity", *COEFFICIENTS)
"""Maps that are integrated already."""


@dataclass(frozen=True, eq=False)
class Dosimetry:
    """Dose and what it comes from.

    Attributes
    ----------
    dose : Estimate
        ``absorbed_dose`` in Gy, or ``absorbed_dose_per_activity`` in Gy/MBq.
    decays : Estimate or Volume
        Time-integrated activity, per volume, of the nuclide that gives the dose.
    nuclide : str
        That nuclide.
    imaged : str or None
        The nuclide of the scans, where it is named.
    given_mbq : float or None
        Activity that is given; None for that of the scans, and for dose per activity.
    """

    dose: Estimate
    decays: Estimate | Volume
    nuclide: str
    imaged: str | None
    given_mbq: float | None

    @property
    def twin(self) -> str | None:
        """The nuclide that gives the dose where it is not the one that was imaged."""
        return None if self.imaged is None or self.imaged == self.nuclide else self.nuclide


def dose_of_scans(
    scans: Volume | Estimate | Sequence[Volume],
    *,
    nuclide: str | None = None,
    given_mbq: float | None = None,
    per_mbq: bool = False,
    allow_other_element: bool = False,
    effective_half_life_s: float | str | None = None,
    half_life_relative_uncertainty: float = 0.0,
    model: str = "auto",
    administration: Administration | None = None,
    curve: Mapping[str, Any] | None = None,
    density: Volume | float = SOFT_TISSUE_G_ML,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    workers: int | None = None,
    **absorption: Any,
) -> Dosimetry:
    """Absorbed dose in every voxel from quantitative scans of one subject, or from a map of their decays.

    Parameters
    ----------
    scans : Volume, Estimate or sequence of Volume
        A dynamic scan, scans at several times on one grid, a single scan, or a map that is integrated:
        ``time_integrated_activity``, ``tiac_per_ml``, ``tiac_per_g``.
    nuclide : str, optional
        That gives the dose; the imaged one without it. Another one takes over the biology that was imaged.
    given_mbq : float, optional
        Activity that is given, MBq, for the dose of this instead of the scans' own injection.
    per_mbq : bool
        Dose per MBq that is given. This is what comes out for another nuclide without `given_mbq`, too.
    allow_other_element : bool
        Confirm a nuclide of another element than the imaged one, as in `pair_rules.twins`.
    effective_half_life_s, half_life_relative_uncertainty
        For a single scan, as in `activity_from_one_scan`.
    model : str
        Of the curve of every voxel, as in `time_integrated_activity`.
    administration : Administration, optional
        Goes before what the headers say; needed for a dose per activity.
    curve : mapping, optional
        Further keywords of `time_integrated_activity`: `tail`, `beginning`, `uptake`, `mask`, `threshold`.
    density : Volume or float
        g/mL, of the tissue that absorbs.
    decay_correction, sensitivity_cps_mbq, strict_clock
        As in `time_integrated_activity`.
    workers : int, optional
    **absorption
        `method`, `progeny`, `radius_mm`, `s_relative_uncertainty` of `absorbed_dose`.

    Returns
    -------
    Dosimetry

    Raises
    ------
    NothingUsable
        If there is no scan.
    MissingMetadata
        If nuclide, injection or calibration are not known, or a single scan comes without half-life.
    ImplausibleValue
        If the nuclides are of different elements and neither a pair in use nor confirmed.
    ValueError
        If choices exclude each other or do not exist.
    ImgTheranosticsError
        As `time_integrated_activity`, `activity_from_one_scan` and `absorbed_dose`.
    """
    _check_given(given_mbq, per_mbq)
    volumes = _listed(scans)
    imaged = imaged_nuclide(volumes[0], administration)
    twin, cautions = _twin(imaged, nuclide, allow_other_element, integrated=_is_integrated(volumes[0]))
    own = given_mbq is None and not per_mbq and twin is None
    if _is_integrated(volumes[0]):
        if len(volumes) > 1:
            raise NothingUsable("one map of decays makes a map of dose", found=f"{len(volumes)} maps")
        decays: Estimate | Volume = scans if isinstance(scans, Estimate) else volumes[0]
        cautions = ()
    else:
        common: dict[str, Any] = {
            "quantity": "activity_concentration" if own else "id_per_ml",
            "given": twin,
            "administration": administration,
            "decay_correction": decay_correction,
            "sensitivity_cps_mbq": sensitivity_cps_mbq,
            "strict_clock": strict_clock,
        }
        decays = _decays(
            volumes,
            common,
            effective_half_life_s,
            half_life_relative_uncertainty,
            {"model": model, **(curve or {}), "workers": workers},
        )
        decays = nothing_as_zero(decays)
    coefficient = _quantity(decays) in COEFFICIENTS
    if not coefficient and not own:
        raise UnitMismatch(
            "the map holds decays of one injection, not per activity",
            found=_quantity(decays),
            needed=" or ".join(COEFFICIENTS),
            next_step="integrate id_per_ml or id_per_g, or ask for the dose of that injection",
        )
    dose = absorbed_dose(
        decays,
        nuclide or imaged,
        administered_mbq=(given_mbq or 1.0) if coefficient else None,
        density=density,
        workers=workers,
        **absorption,
    )
    dose = _said(dose, twin, cautions, own and not coefficient, given_mbq)
    if coefficient and given_mbq is None:
        dose = per_activity(dose)
    name = str(dose.decisions["method"]["nuclide"])
    return Dosimetry(dose, decays, name, imaged, given_mbq)


def dose_as_given(dose: Volume | Estimate) -> Dosimetry:
    """A map of dose that exists already, such as that of a planning system; its errors are unknown.

    Parameters
    ----------
    dose : Volume or Estimate
        Of a quantity of `imgtheranostics.nuclear.dose_volume.DOSES`.

    Raises
    ------
    UnitMismatch
        If it is no map of dose.
    """
    value = dose.value if isinstance(dose, Estimate) else dose
    if value.quantity not in DOSES or value.axes:
        raise UnitMismatch("a map of dose is needed", found=value.quantity, needed=", ".join(DOSES))
    if isinstance(dose, Volume):
        plain = value.replace(warnings=())
        flags = np.where(np.isfinite(value.data), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
        dose = Estimate(
            value,
            plain.replace(data=np.full(value.shape, np.nan, np.float32)),
            plain.replace(data=flags, quantity="flags", unit="1"),
            math.nan,
            {"method": {"rule": "dose as given"}},
        )
    return Dosimetry(dose, dose, "", None, None)


def nothing_as_zero(decays: Estimate) -> Estimate:
    """Decays with none where no positive curve fits, so that these voxels have the dose of the others.

    A curve that noise takes below zero has no better amplitude that is not negative than zero; the flag
    ``BELOW_NOISE`` stays. Voxels that are unknown for other reasons stay unknown.
    """
    below = (decays.flags.data & Flag.BELOW_NOISE.value).astype(bool) & ~np.isfinite(decays.value.data)
    count = int(np.count_nonzero(below))
    if not count:
        return decays
    text = (
        f"in {count} of {below.size} voxels no positive curve fits, or the activity is below the threshold: "
        "they count as without activity, and have the dose of their surroundings"
    )
    value = decays.value.replace(data=np.where(below, np.float32(0.0), decays.value.data))
    return replace(decays, value=value.with_warnings(Caution("no-activity", text)))


def per_activity(dose: Estimate) -> Estimate:
    """Doses of 1 MBq as Gy/MBq."""
    named = ("absorbed_dose_per_activity", "Gy/MBq")
    value = dose.value.derived(dose.value.data, *named, make_step("per_activity", given_mbq=1.0))
    error = dose.standard_error.replace(quantity=named[0], unit=named[1])
    return replace(dose, value=value, standard_error=error)


def rate_of_scans(
    scans: Volume | Sequence[Volume],
    *,
    administration: Administration | None = None,
    density: Volume | float = SOFT_TISSUE_G_ML,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    workers: int | None = None,
    **absorption: Any,
) -> Estimate:
    """Absorbed dose rate during each frame, from the activity that was there, averaged over the frame.

    Parameters
    ----------
    scans, administration, density, decay_correction, sensitivity_cps_mbq, strict_clock, workers, **absorption
        As in `dose_of_scans`.

    Returns
    -------
    Estimate
        ``absorbed_dose_rate`` in Gy/s of the imaged nuclide, along ``time`` in s after the injection (after
        the start of the scan where that is not known, with a caution) for several frames.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `dose_of_scans`.
    """
    volumes = [calibrate(v, sensitivity_cps_mbq) for v in _listed(scans)]
    for v in volumes[1:]:
        _check_same_grid(volumes[0], v)
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    found = [scan_values(v, "activity_concentration", False, choices, 1.0, {}) for v in volumes]
    if len(found) > 1 and {scan.origin for scan in found} != {"injection"}:
        raise MissingMetadata(
            "several scans need one injection to count their times from",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    images = []
    for scan in found:
        image = scan.values.image
        frames = image.data if image.axes else image.data[..., np.newaxis]
        images.append(multiplied(frames, scan.values.frame_factor))
    time_s = np.concatenate([scan.mid_s for scan in found])
    order = np.argsort(time_s, kind="stable")
    if not (np.diff(time_s[order]) > 0).all():
        raise ImplausibleValue(
            "two frames are of the same time",
            found=", ".join(f"{time:g}" for time in time_s[order][:12]) + " s",
            needed="each time once",
            next_step="leave one of them out",
        )
    several = time_s.size > 1
    data = np.concatenate(images, axis=3)[..., order]
    axes = (Axis("time", time_s[order], "s"),) if several else ()
    step = make_step("activity_as_it_was", times_s=[float(time) for time in time_s[order]])
    activity = found[0].values.image.derived(
        data if several else data[..., 0], "activity_concentration", "Bq/mL", step, axes=axes
    )
    cautions = (*injection_cautions(found), *(one for scan in found for one in scan.warnings))
    rate = dose_rate(
        activity.with_warnings(*cautions),
        imaged_nuclide(volumes[0], administration),
        density=density,
        workers=workers,
        **absorption,
    )
    decisions = {"scans": [dict(scan.values.template.decisions) for scan in found]}
    moments = {"rule": f"after the {found[0].origin}", "times_s": [float(t) for t in time_s[order]]}
    shared = math.hypot(
        rate.calibration_relative, max(scan.values.template.calibration_relative for scan in found)
    )
    error = rate.standard_error.replace(data=np.abs(rate.value.data) * np.float32(shared))
    return replace(
        rate,
        standard_error=error,
        calibration_relative=shared,
        decisions={**decisions, **rate.decisions, "moments": moments},
    )


def imaged_nuclide(v: Volume, administration: Administration | None = None) -> str | None:
    """The nuclide that a user states, or that the scan names; None where neither does."""
    if administration is not None and administration.nuclide is not None:
        return nuclide(administration.nuclide).name
    record = v.acquisition
    named = None
    if isinstance(record, (EmissionAcquisition, NuclearAcquisition)):
        named = record.radiopharmaceutical.nuclide
    return None if named is None else nuclide_in(named) or named


def _check_given(given_mbq: float | None, per_mbq: bool) -> None:
    if given_mbq is not None and per_mbq:
        raise UnknownChoice("give an activity or ask for the dose per activity, not both")
    if given_mbq is not None and not (math.isfinite(given_mbq) and given_mbq > 0):
        raise ImplausibleValue("the activity that is given is not positive", found=f"{given_mbq:g} MBq")


def _listed(scans: Volume | Estimate | Sequence[Volume]) -> list[Volume]:
    if isinstance(scans, Estimate):
        return [scans.value]
    volumes = [scans] if isinstance(scans, Volume) else list(scans)
    if not volumes:
        raise NothingUsable("no scan was given for a map of dose")
    return volumes


def _is_integrated(v: Volume) -> bool:
    return v.quantity in INTEGRATED


def _quantity(decays: Estimate | Volume) -> str:
    return decays.quantity


def _check_same_grid(first: Volume, other: Volume) -> None:
    same = first.grid.same_as(other.grid)
    if not same:
        raise GeometryMismatch(
            "the scans lie on different grids",
            found=str(same),
            needed="the same grid for every scan",
            next_step="register the scans and resample them to one of them",
        )


def _twin(
    imaged: str | None, named: str | None, other_element: bool, *, integrated: bool
) -> tuple[str | None, tuple[Caution, ...]]:
    """The nuclide to be given where it is not the imaged one, and what that assumes."""
    if named is None:
        return None, ()
    wanted = nuclide(named).name
    if integrated or imaged == wanted:
        return None, ()
    if imaged is None:
        raise MissingMetadata(
            "the scans do not name their nuclide, so its decay cannot be exchanged for another's",
            where="RadionuclideCodeSequence (0054,0300)",
            needed="the nuclide that was imaged",
            next_step="give it: Administration(activity_bq, at, nuclide=...) or --imaged-nuclide",
        )
    return wanted, twins(imaged, wanted, allow_other_element=other_element).said()


def _decays(
    volumes: Sequence[Volume],
    common: dict[str, Any],
    effective_half_life_s: float | str | None,
    half_life_relative_uncertainty: float,
    curve: dict[str, Any],
) -> Estimate:
    """Time-integrated activity of one scan by a half-life, of several by their curve."""
    frames = sum(v.shape[3] if v.axes else 1 for v in volumes)
    if frames > 1:
        if effective_half_life_s is not None:
            raise UnknownChoice(
                "effective_half_life_s= (--effective-half-life) is for a single scan: several show their own"
            )
        return time_integrated_activity(volumes, **curve, **common)
    if effective_half_life_s is None:
        raise IllConditioned(
            "one scan does not show how long the activity stays",
            found="one time",
            needed="scans at several times, or an effective half-life",
            next_step="give effective_half_life_s (--effective-half-life 31h), or 'physical' where nothing "
            "is cleared",
        )
    return activity_from_one_scan(
        volumes[0],
        effective_half_life_s,
        half_life_relative_uncertainty=half_life_relative_uncertainty,
        **common,
    )


def _said(
    dose: Estimate, twin: str | None, cautions: tuple[Caution, ...], own: bool, given_mbq: float | None
) -> Estimate:
    """The dose with the decisions of its decays in the record, and the caution about the same biology."""
    kept = tuple(one for one in dose.value.warnings if twin is None or one.code != "other-nuclide")
    activity: dict[str, Any] = {"rule": "that of the scans" if own else "given"}
    if not own:
        activity["mbq"] = 1.0 if given_mbq is None else given_mbq
    return replace(
        dose,
        value=dose.value.replace(warnings=(*kept, *cautions)),
        decisions={**dose.decisions, "activity": activity},
    )
