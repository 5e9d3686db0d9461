"""What each region of an optoacoustic phantom absorbs and scatters: haemoglobin, water, and its agent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.msot_scanner import Absorber
from imgtheranostics.phantom.msot_scans import MsotScan, scanner_of
from imgtheranostics.phantom.spec import PhantomSpec

FloatArray = npt.NDArray[np.float64]

AGENT = "molar_concentration"
"""Quantity that states how much of the absorber a region holds."""
_LN10 = float(np.log(10.0))
_MOL_PER_MMOL, _MOL_PER_UMOL = 1e-3, 1e-6


def stated(spec: PhantomSpec, region: str, quantity: str, case: Case) -> float | None:
    """What a region states of a quantity for a case, in the quantity's own unit."""
    truth = spec.region(region).states(quantity)
    if truth is None:
        return None
    return truth.in_own_unit(case.get(truth.along) if truth.along else None)


def absorber_of(spec: PhantomSpec, case: Case) -> Absorber:
    """What the phantom's agent absorbs as: stated, or as its record has it.

    Raises
    ------
    MissingMetadata
        If particles differ and the file does not say how this one absorbs.
    """
    scanner = scanner_of(spec)
    particle = case.get("particle")
    found = scanner.absorbers.get(str(particle)) if particle is not None else None
    found = found or scanner.absorber
    if found is None and particle is not None:
        raise MissingMetadata(
            f"{spec.slug} does not say what each particle absorbs as",
            where="physics.msot.absorbers",
            found=f"particle {particle}",
            needed="one entry for each particle",
        )
    return found or Absorber(spectrum=spec.agent.record)


def molar_extinction(absorber: Absorber, wavelength_nm: FloatArray) -> FloatArray:
    """Decadic molar extinction of an agent's absorber, 1/(M cm); per mole of particles for gold."""
    from imgtheranostics.msot import spectra

    if absorber.spectrum is not None:
        return np.asarray(spectra.molar_extinction(absorber.spectrum, wavelength_nm), np.float64)
    assert absorber.diameter_nm is not None  # noqa: S101
    if absorber.aspect_ratio is None:
        found = spectra.gold_sphere(absorber.diameter_nm, wavelength_nm, permittivity=absorber.permittivity)
    else:
        found = spectra.gold_nanorod(
            absorber.aspect_ratio,
            wavelength_nm,
            diameter_nm=absorber.diameter_nm,
            aspect_ratio_sd=absorber.aspect_ratio_sd,
            permittivity=absorber.permittivity,
        )
    return np.asarray(found, np.float64)


def tissue_absorption_per_cm(spec: PhantomSpec, region: str, scan: MsotScan) -> FloatArray:
    """Absorption of a region without its agent at each wavelength, natural, 1/cm."""
    from imgtheranostics.msot import spectra

    total_um = stated(spec, region, "thb", scan.case) or 0.0
    total = np.zeros(scan.wavelength_nm.size)
    if total_um > 0:
        share = _saturation(spec, region, scan.case)
        for name, part in (("HbO2", share), ("Hb", 1.0 - share)):
            molar = np.asarray(spectra.molar_extinction(name, scan.wavelength_nm), np.float64)
            total += _LN10 * molar * part * total_um * _MOL_PER_UMOL
    water = scanner_of(spec).water_share
    if water > 0:
        total += water * np.asarray(spectra.absorption("water", scan.wavelength_nm), np.float64)
    return total


def agent_absorption_per_cm(spec: PhantomSpec, region: str, scan: MsotScan) -> FloatArray:
    """Absorption of the agent in a region at each wavelength, natural, 1/cm."""
    held_mm = stated(spec, region, AGENT, scan.case) or 0.0
    if held_mm == 0:
        return np.zeros(scan.wavelength_nm.size)
    molar = molar_extinction(absorber_of(spec, scan.case), scan.wavelength_nm)
    return np.asarray(_LN10 * held_mm * _MOL_PER_MMOL * molar)


def scattering_per_cm(spec: PhantomSpec, region: str, scan: MsotScan) -> FloatArray:
    """Reduced scattering of a region at each wavelength, 1/cm.

    Raises
    ------
    MissingMetadata
        If neither the region nor the scanner states it.
    """
    scanner = scanner_of(spec)
    found = stated(spec, region, "scattering", scan.case) or scanner.scattering_per_cm
    if found is None:
        raise MissingMetadata(
            f"the scattering of {region} is not stated",
            where="physics.msot",
            needed="scattering_per_cm, or scattering in the region",
        )
    relative = scan.wavelength_nm / scanner.scattering_at_nm
    return np.asarray(found * relative**-scanner.scattering_power)


def region_value(spec: PhantomSpec, region: str, quantity: str, scan: MsotScan) -> float:
    """The truth of a quantity in a region during a scan, in the quantity's own unit.

    Raises
    ------
    UnsupportedInput
        If the phantom says nothing of it.
    """
    found = stated(spec, region, quantity, scan.case)
    if found is None and quantity == AGENT:
        return 0.0
    if found is None:
        raise UnsupportedInput("the phantom does not state this quantity", found=f"{quantity} of {region}")
    return found


def _saturation(spec: PhantomSpec, region: str, case: Case) -> float:
    percent = stated(spec, region, "so2", case)
    if percent is None:
        raise MissingMetadata(
            f"the region {region} holds haemoglobin without oxygen saturation", needed="so2"
        )
    return percent / 100.0
