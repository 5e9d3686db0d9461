"""Measuring methods of the nuclear phantoms: curves, agreement of nuclides, linearity, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.nuclear import fit_curve, time_activity
from imgtheranostics.phantom.exposures import curve_of
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.validation.detection import Limits, detection_limits, straight_line
from imgtheranostics.validation.methods import MethodMissing, best, exposure_of, method

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

VIAL, CENTRE = "vial", "centre"
"""Beginnings of the names of regions with a known concentration, and of the middles to measure them in."""

LADDER = ("PET", "MSOT", "MRI", "CT")
"""Modalities in the order of what they detect, the least first."""

AVOGADRO = 6.02214076e23
_ML_PER_L = 1e3


@method("biological_half_life", unit="h", short="T_bio")
def biological_half_life(session: Session, expectation: Expectation) -> float:
    """Half-life of the carrier in a region, by one exponential through all images of the expectation."""
    region = best(session, expectation.region)
    volumes = [volume for volume, _ in expectation.places]
    table = time_activity(
        [session.image(volume) for volume in volumes],
        session.phantom.regions.subset([region]),
        quantity=expectation.quantity,
        sensitivity_cps_mbq=session.calibration(volumes[0]),
        peak=False,
    )
    found: Any = fit_curve(table, "mono")
    return float(dict(zip(found["quantity"], found["mean"], strict=True))["biological_half_life"]) / 3600


@method("isotope_deviation", unit="1", short="isotopes")
def isotope_deviation(session: Session, expectation: Expectation) -> float:
    """Largest relative deviation of a nuclide's decay-corrected mean from the average of all nuclides'.

    Of the images that were taken at the time of the expectation's first one.
    """
    time_h = exposure_of(session, expectation.places[0][0]).case.get("time")
    region, means = best(session, expectation.region), []
    for part in parts_of(session.phantom.spec):
        for number, case in enumerate(part.physics.cases(session.phantom.spec)):
            if case.get("time") == time_h:
                means.append(session.mean((part.first + number, 0), expectation.quantity, region))
    average = sum(means) / len(means)
    return max(abs(value - average) for value in means) / average


@method("linearity", unit="1", short="R^2")
def linearity(session: Session, expectation: Expectation) -> float:
    """R^2 of measured over true activity concentration of the vials, decay-corrected to injection."""
    return straight_line(*_vials(session, expectation.places[0][0]))[1]


@method("calibration_factor", unit="1", short="factor")
def calibration_factor(session: Session, expectation: Expectation) -> float:
    """Slope of measured over true activity concentration of the vials."""
    return straight_line(*_vials(session, expectation.places[0][0]))[0]


@method("log_slope", unit="1", short="log slope")
def log_slope(session: Session, expectation: Expectation) -> float:
    """Slope of the logarithm of the measured over that of the true concentration above the blank.

    The mean over the images that the expectation speaks of.
    """
    slopes = []
    for volume, _ in expectation.places:
        true, measured = _vials(session, volume)
        blank = true == true.min()
        above = measured[~blank] - measured[blank].mean()
        slopes.append(straight_line(np.log10(true[~blank] - true.min()), np.log10(above))[0])
    return sum(slopes) / len(slopes)


@method("ladder_order", unit="1", short="ladder")
def ladder_order(session: Session, expectation: Expectation) -> float:
    """1 when the limits of detection ascend over the modalities of the ladder, as far as they are there."""
    spec = session.phantom.spec
    rungs = {part.physics.modality: part for part in parts_of(spec) if part.physics.modality in LADDER}
    if len(rungs) < 2:
        raise MethodMissing("ladder of fewer than two modalities")
    limits = []
    for modality in LADDER:
        if modality in rungs:
            part = rungs[modality]
            volumes = range(part.first, part.first + len(part.physics.cases(spec)))
            rung = replace(expectation, places=tuple((volume, 0) for volume in volumes))
            limits.append(_molar(session, rung, _limits(session, rung).detection))
    return float(all(low < high for low, high in pairwise(limits)))


@method("log10_detection_limit", unit="1", short="log10 LOD")
def log10_detection_limit(session: Session, expectation: Expectation) -> float:
    """log10 of the least molar concentration that differs from a blank: of a label alone, or of metal."""
    return math.log10(_molar(session, expectation, _limits(session, expectation).detection))


@method("log10_quantification_limit", unit="1", short="log10 LOQ")
def log10_quantification_limit(session: Session, expectation: Expectation) -> float:
    """log10 of the least molar concentration that is measured to about 10 %."""
    return math.log10(_molar(session, expectation, _limits(session, expectation).quantification))


def _vials(session: Session, volume: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """True and measured concentration of each vial: Bq/mL at injection; mmol/L in MRI, MSOT; mg/mL in CT."""
    if session.modality(volume) == "MRI":
        from imgtheranostics.validation.mri_methods import molar_vials

        return molar_vials(session, volume)
    if session.modality(volume) == "CT":
        from imgtheranostics.validation.ct_methods import vials

        return vials(session, volume)
    if session.modality(volume) == "MSOT":
        from imgtheranostics.validation import msot_methods

        return msot_methods.vials(session, volume)
    points = session.curve(volume, "activity_concentration")
    return vials_of(session, volume, {name: (p.time_s, p.mean) for name, p in points.items()})


def vials_of(
    session: Session, volume: int, curve: Mapping[str, tuple[float, float]]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """True and measured concentration of each vial from its time and its mean."""
    spec, scan = session.phantom.spec, exposure_of(session, volume)
    names = [region.name for region in spec.regions]
    chosen = [name for name in names if name.startswith(CENTRE)]
    drawn = {name: name for name in chosen} or {
        name: best(session, name) for name in names if name.startswith(VIAL)
    }
    true, measured = [], []
    for name, region in drawn.items():
        time_s, mean = curve[region]
        true.append(curve_of(spec, name, scan).at(time_s))
        measured.append(mean)
    return np.array(true), np.array(measured)


def _limits(session: Session, expectation: Expectation) -> Limits:
    """Limits from the vials of all images together; those with the least activity are the blanks."""
    blanks, true_all, measured_all = [], [], []
    for volume, _ in expectation.places:
        true, measured = _vials(session, volume)
        blank = true == true.min()
        blanks.append(measured[blank])
        true_all.append(true)
        measured_all.append(measured)
    return detection_limits(np.concatenate(true_all), np.concatenate(measured_all), np.array(blanks))


def _molar(session: Session, expectation: Expectation, concentration: float) -> float:
    """Concentration in mol/L: of the label's atoms from Bq/mL, by its decay; from mmol/L; from mg/mL."""
    modality = session.modality(expectation.places[0][0])
    if modality in ("MRI", "MSOT"):
        return concentration * 1e-3
    if modality == "CT":
        from imgtheranostics.ct.attenuation import elements
        from imgtheranostics.validation.ct_maps import agent_of

        return concentration / elements()[agent_of(session)].molar_mass_g_mol
    decay = nuclide(exposure_of(session, expectation.places[0][0]).label).decay_constant_per_s
    return concentration / decay / AVOGADRO * _ML_PER_L
