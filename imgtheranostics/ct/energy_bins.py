"""Slopes in the energy bins of a photon-counting detector, where the K-edges of heavy metals show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.attenuation import mixture_attenuation, water_attenuation
from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.xray_spectra import Beam, Spectrum, transmitted

DoubleArray = npt.NDArray[np.float64]


def bin_slopes(
    materials: Sequence[str],
    edges_kev: npt.ArrayLike,
    kvp: float,
    *,
    filtration_mm_al: float = 7.0,
    water_cm: float = 20.0,
    tin_mm: float = 0.0,
) -> DoubleArray:
    """HU per mg/mL of materials in the energy bins of an ideal photon-counting detector.

    Each photon counts once, in the bin of its energy; charge sharing, pile-up and escape, which blur the bins
    of real detectors, are left out. Bins that end at a K-edge (65.4 keV of hafnium, 80.7 of gold, 90.5 of
    bismuth) tell the metals apart.

    Parameters
    ----------
    materials : sequence of str
        Elements, formulas, names of compounds, or agents' records.
    edges_kev : (n + 1,) array_like
        Limits of the bins in keV, increasing.
    kvp : float
        Tube voltage in kV.
    filtration_mm_al, tin_mm : float
        Filters in mm.
    water_cm : float
        Water that hardens the beam, in cm.

    Returns
    -------
    (n, m) ndarray
        Bins by materials.

    Raises
    ------
    ValueError
        If the limits are not increasing, or a bin gets no photons: it lies above the tube voltage or below
        what passes the filter.
    UnsupportedInput
        If a material is not known; near names are listed.
    """
    edges = np.asarray(edges_kev, np.float64)
    if edges.ndim != 1 or edges.size < 2 or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise ValueError("edges_kev is an increasing list of at least two energies in keV")
    if isinstance(materials, str) or not materials:
        raise ValueError("materials is a list of at least one name")
    spectrum = transmitted(Beam(kvp, filtration_mm_al, water_cm, tin_mm))
    photons = np.stack([_within(spectrum, *limits) for limits in pairwise(edges)])
    counted = photons.sum(axis=1)
    scarce = np.flatnonzero(counted < _FEWEST * spectrum.fluence.sum())
    if scarce.size:
        k = int(scarce[0])
        raise ValueError(f"no photons of {kvp:g} kVp are in the bin {edges[k]:g} to {edges[k + 1]:g} keV")
    energy = spectrum.energy_kev
    found = [mixture_attenuation(find_material(name).mass_fractions, energy) for name in materials]
    return np.asarray(
        photons @ np.stack(found, axis=1) / (photons @ water_attenuation(energy))[:, np.newaxis]
    )


_FEWEST = 1e-6
"""Least share of the photons that a bin needs."""


def _within(spectrum: Spectrum, low: float, high: float) -> DoubleArray:
    """Photons between two energies, by the share of each step of the spectrum that lies between them."""
    half = spectrum.step_kev / 2.0
    inside = np.minimum(spectrum.energy_kev + half, high) - np.maximum(spectrum.energy_kev - half, low)
    return np.asarray(spectrum.fluence * np.clip(inside / spectrum.step_kev, 0.0, 1.0))
