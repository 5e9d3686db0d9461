"""Energy around a point source in a uniform medium: electrons by their range, photons with build-up.

The medium is water of the given density; distances are in mm, energies in MeV per decay of the nuclide.

References
----------
.. [1] Berger M J, Distribution of absorbed dose around point sources of electrons and beta particles in water
   and other media, MIRD Pamphlet 7, J Nucl Med 1971 (scaling by range).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.emissions import Emission, electron_kernels, emission, photon_kernels

FloatArray = npt.NDArray[np.float64]

MM_PER_CM = 10.0
ELECTRONS = ("beta", "electron")
"""Kinds of `emission` that are electrons."""

_SHORTEST_MM, _STEPS = 1e-5, 3000
NEGLIGIBLE = 1e-4
"""Share of the electrons' energy that may be beyond the reach of a kernel."""


def _log_table(x: npt.ArrayLike, xs: FloatArray, ys: FloatArray) -> FloatArray:
    """A positive table between its points by powers, and beyond its ends by the power of its last two."""
    place, log_x, log_y = np.log(np.asarray(x, np.float64)), np.log(xs), np.log(ys)
    inside = np.interp(place, log_x, log_y)
    below, above = np.gradient(log_y, log_x)[[0, -1]]
    beyond = np.minimum(place - log_x[0], 0) * below + np.maximum(place - log_x[-1], 0) * above
    return np.asarray(np.exp(inside + beyond))


def electron_range_mm(energy_mev: npt.ArrayLike, density_g_ml: float) -> FloatArray:
    """Range of electrons by continuous slowing down, mm."""
    table = electron_kernels()
    length = _log_table(energy_mev, table.range_energy_mev, table.range_g_cm2)
    return np.asarray(length * MM_PER_CM / density_g_ml)


def electrons_of(name: str, kinds: Sequence[str] = ELECTRONS) -> Emission:
    """Beta, conversion and Auger electrons of a nuclide, or one kind of them; positrons are electrons."""
    groups = [found for kind, found in emission(name).items() if kind in kinds and kind in ELECTRONS]
    return Emission(
        np.concatenate([group.energy_mev for group in groups] or [np.empty(0)]),
        np.concatenate([group.mev_per_decay for group in groups] or [np.empty(0)]),
    )


def electron_energy_within(groups: Emission, radius_mm: npt.ArrayLike, density_g_ml: float) -> FloatArray:
    """Energy of electrons that is absorbed within distances of their start, MeV per decay.

    Parameters
    ----------
    groups : Emission
    radius_mm : array_like, shape (n,)
    density_g_ml : float

    Returns
    -------
    ndarray, shape (n,)
    """
    table = electron_kernels()
    radius = np.asarray(radius_mm, np.float64)
    ranges = electron_range_mm(groups.energy_mev, density_g_ml)
    place = np.interp(np.log(groups.energy_mev), np.log(table.energy_mev), np.arange(table.energy_mev.size))
    within = np.zeros(radius.shape)
    for energy, length, where in zip(groups.mev_per_decay, ranges, place, strict=True):
        row = min(int(where), table.energy_mev.size - 2)
        part = where - row
        scaled = (1 - part) * table.share_within[row] + part * table.share_within[row + 1]
        within += energy * np.interp(radius / length, table.radius_over_range, scaled)
    return within


def electron_reach_mm(name: str, density_g_ml: float) -> float:
    """`reach_mm` of all electrons of a nuclide."""
    return reach_mm(electrons_of(name), density_g_ml)


def reach_mm(groups: Emission, density_g_ml: float) -> float:
    """Distance within which all but a ten-thousandth of the electrons' energy is absorbed; 0 without any."""
    if not groups.total_mev > 0:
        return 0.0
    longest = float(electron_range_mm(groups.energy_mev.max(), density_g_ml))
    radius = np.linspace(0, longest * electron_kernels().radius_over_range[-1], 2000)
    within = electron_energy_within(groups, radius, density_g_ml)
    return float(radius[np.searchsorted(within, (1 - NEGLIGIBLE) * groups.total_mev)])


def photon_energy_per_mm(name: str, radius_mm: npt.ArrayLike, density_g_ml: float) -> FloatArray:
    """Energy of photons that is absorbed in a shell around the source by its thickness, MeV/mm per decay.

    It is the sum of E mu_en exp(-mu r) B(mu r): the 4 pi r^2 of the shell cancels that of the distance.

    Parameters
    ----------
    name : str
    radius_mm : array_like, shape (n,)
    density_g_ml : float

    Returns
    -------
    ndarray, shape (n,)
    """
    groups, table = emission(name)["photon"], photon_kernels()
    radius = np.asarray(radius_mm, np.float64)
    per_mm = density_g_ml / MM_PER_CM
    energies = table.attenuation_energy_mev
    mu = _log_table(groups.energy_mev, energies, table.attenuation_cm2_g) * per_mm
    absorption = _log_table(groups.energy_mev, energies, table.energy_absorption_cm2_g) * per_mm
    place = np.interp(np.log(groups.energy_mev), np.log(table.energy_mev), np.arange(table.energy_mev.size))
    found = np.zeros(radius.shape)
    powers = np.arange(1, table.build_up.shape[1] + 1)
    scattered = 1.0 - absorption / mu
    for energy, one_mu, one_absorption, where, softer in zip(
        groups.mev_per_decay, mu, absorption, place, _softer(groups.energy_mev, scattered), strict=True
    ):
        row = min(int(where), table.energy_mev.size - 2)
        part = where - row
        depth = one_mu * radius
        held = np.minimum(depth, table.deepest_mean_free_paths)[:, np.newaxis] ** powers
        rise = softer * (held @ ((1 - part) * table.build_up[row] + part * table.build_up[row + 1]))
        found += energy * one_absorption * np.exp(-depth) * np.maximum(1.0 + rise, 1.0)
    return found


def _softer(energy_mev: FloatArray, scattered: FloatArray) -> FloatArray:
    """Factor of the build-up below the table's lowest energy: it falls as the share that is scattered."""
    table = photon_kernels()
    lowest = table.energy_mev[0]
    energies = table.attenuation_energy_mev
    absorbed = table.energy_absorption_cm2_g / table.attenuation_cm2_g
    there = 1.0 - float(np.interp(lowest, energies, absorbed))
    return np.asarray(np.where(energy_mev < lowest, np.maximum(scattered, 0.0) / there, 1.0))


def photon_energy_within(name: str, radius_mm: FloatArray, density_g_ml: float) -> FloatArray:
    """Energy of photons that is absorbed within distances of the source, MeV per decay.

    Parameters
    ----------
    name : str
    radius_mm : ndarray, shape (n,)
        Ascending, from 0.
    density_g_ml : float

    Returns
    -------
    ndarray, shape (n,)
    """
    # The softest photons stop within micrometres, the hardest go through metres: steps grow with distance.
    shortest = _SHORTEST_MM / density_g_ml
    furthest = max(float(radius_mm[-1]), 10 * shortest)
    fine = np.concatenate([[0.0], np.geomspace(shortest, furthest, _STEPS)])
    rate = photon_energy_per_mm(name, fine, density_g_ml)
    pieces = 0.5 * (rate[1:] + rate[:-1]) * np.diff(fine)
    within = np.concatenate([[0.0], np.cumsum(pieces)])
    return np.asarray(np.interp(radius_mm, fine, within))
