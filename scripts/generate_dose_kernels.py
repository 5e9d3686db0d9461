#!/usr/bin/env python3
"""Write imgtheranostics/data/dose_kernels.json: where electrons and photons leave their energy in water.

Both tables come from a Monte Carlo calculation in this file; nothing is taken from published kernels.

Electrons: Bethe's collision stopping power with the density effect of water (I = 75 eV), Moeller collisions
above a cut followed one by one, elastic scattering by the first two transport moments of Moliere's screened
Rutherford cross section with the spin factor of McKinley and Feshbach, random-hinge steps. Bremsstrahlung
stays where the electron is (0.5 % of the energy at 1 MeV). The result is the share of the energy within a
distance, by the distance over the range of continuous slowing down.

Photons: Compton scattering by Klein and Nishina on free electrons, and the photoelectric effect (attenuation
of XrayDB); coherent scattering and pairs are left out. The result is the build-up factor of the absorbed
energy around a point as a polynomial of the depth in mean free paths.
"""

# Numba's compiled code knows only the older generator.
# ruff: noqa: NPY002

from __future__ import annotations

import argparse
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange

TARGET = Path(__file__).resolve().parent.parent / "imgtheranostics" / "data" / "dose_kernels.json"

REST_MEV = 0.51099895
RADIUS_CM = 2.8179403262e-13
FINE_STRUCTURE = 7.2973525693e-3
AVOGADRO = 6.02214076e23
MOLAR_MASS = 18.01528
ELECTRONS_PER_G = 10 * AVOGADRO / MOLAR_MASS
EXCITATION_MEV = 75e-6
# Density effect of water at I = 75 eV, Sternheimer's parameters
C_BAR, X0, X1, A_DENSITY, M_DENSITY = 3.5017, 0.2400, 2.8004, 0.09116, 3.4773

ELECTRON_MEV = (
    0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.5
)  # fmt: skip
PHOTON_MEV = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0,
              1.5, 2.0, 3.0)  # fmt: skip
RANGE_MEV = tuple(float(f"{value:.4g}") for value in np.geomspace(0.001, 5.0, 60))
ATTENUATION_MEV = (0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, *PHOTON_MEV, 4.0)
RADII = np.linspace(0.0, 1.15, 116)
DEEPEST = 12.0
DEGREE = 5
CHUNKS = 64


@njit(cache=True)
def stopping(energy):
    """Collision stopping power of water, MeV cm2/g."""
    tau = energy / REST_MEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    x = 0.5 * math.log10(tau * (tau + 2))
    delta = 0.0
    if x > X0:
        delta = 4.605170186 * x - C_BAR
        if x < X1:
            delta += A_DENSITY * (X1 - x) ** M_DENSITY
    shape = 1 - beta2 + (tau * tau / 8 - (2 * tau + 1) * math.log(2.0)) / (tau + 1) ** 2
    log = math.log(tau * tau * (tau + 2) / (2 * (EXCITATION_MEV / REST_MEV) ** 2))
    front = 2 * math.pi * RADIUS_CM**2 * REST_MEV * ELECTRONS_PER_G
    return front / beta2 * (log + shape - delta)


@njit(cache=True)
def moeller(energy, cut):
    """Number (cm2/g) and energy (MeV cm2/g) of collisions that give more than the cut to an electron."""
    if energy <= 2 * cut:
        return 0.0, 0.0
    tau = energy / REST_MEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    a = (tau / (tau + 1)) ** 2
    front = 2 * math.pi * RADIUS_CM**2 * REST_MEV * ELECTRONS_PER_G / beta2
    top = 0.5 * energy
    number = 1 / cut - 1 / top + 1 / (energy - top) - 1 / (energy - cut)
    number += -(1 - a) / energy * (math.log(top / (energy - top)) - math.log(cut / (energy - cut)))
    number += a * (top - cut) / energy**2
    lost = math.log(top / cut) + energy / (energy - top) - energy / (energy - cut)
    lost += (2 - a) * math.log((energy - top) / (energy - cut))
    lost += 0.5 * a * (top * top - cut * cut) / energy**2
    return front * number, front * lost


@njit(cache=True)
def transport(energy):
    """Inverse first and second transport mean free paths of water, cm2/g."""
    tau = energy / REST_MEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    beta = math.sqrt(beta2)
    momentum = REST_MEV * math.sqrt(tau * (tau + 2))
    first, second = 0.0, 0.0
    for z, atoms in ((1.0, 2.0), (8.0, 1.0)):
        size = FINE_STRUCTURE * REST_MEV / momentum / 0.885
        eta = 0.25 * size * size * z ** (2 / 3) * (1.13 + 3.76 * (FINE_STRUCTURE * z) ** 2 / beta2)
        c = z * (z + 1) * (RADIUS_CM * REST_MEV / (beta * momentum)) ** 2
        spin = math.pi * FINE_STRUCTURE * z * beta
        log = math.log(1 + 1 / eta)
        x1 = log - 1 / (1 + eta) - beta2 + spin
        x2 = 2 - 4 * eta * log + 2 * eta / (1 + eta) - beta2 + spin / 3
        per_gram = atoms * AVOGADRO / MOLAR_MASS * 2 * math.pi * c
        first += per_gram * x1
        second += per_gram * (3 * x1 - 1.5 * x2)
    return first, second


@njit(cache=True)
def turned(u, v, w, cosine, phi):
    """A direction turned by an angle."""
    sine = math.sqrt(max(0.0, 1 - cosine * cosine))
    cp, sp = math.cos(phi), math.sin(phi)
    across = math.sqrt(max(0.0, 1 - w * w))
    if across < 1e-8:
        return sine * cp, sine * sp, cosine if w > 0 else -cosine
    return (
        u * cosine + sine * (u * w * cp - v * sp) / across,
        v * cosine + sine * (v * w * cp + u * sp) / across,
        w * cosine - sine * cp * across,
    )


@njit(cache=True)
def deflection(path, first, second):
    """Cosine of an angle with the first two moments of multiple scattering along the path."""
    g1, g2 = math.exp(-path * first), math.exp(-path * second)
    m1 = 0.5 * (1 - g1)
    m2 = m1 - (1 - g2) / 6
    b = (2 * m1 - 3 * m2) / (1 - 2 * m1)
    a = 1 - 2 * m1 + b
    mu = np.random.random() * b if np.random.random() < a else b + np.random.random() * (1 - b)
    return 1 - 2 * mu


@njit(cache=True)
def one_electron(start, cut, lowest, scale, tally, stack):
    """Follow one electron and those that it frees; energies go to the bins of radius times scale."""
    stack[0, 0], stack[0, 1:4] = start, 0.0
    stack[0, 4], stack[0, 5], stack[0, 6] = 0.0, 0.0, 1.0
    waiting = 1
    while waiting:
        waiting -= 1
        energy, x, y, z, u, v, w = stack[waiting]
        while energy > lowest:
            rate, hard = moeller(energy, cut)
            loss = stopping(energy) - hard
            first, second = transport(energy)
            path = min(0.03 * energy / loss, 0.15 / first)
            collision = False
            if rate > 0:
                free = -math.log(1 - np.random.random()) / rate
                if free < path:
                    path, collision = free, True
            half = max(energy - 0.5 * path * loss, 0.5 * energy)
            lost = min(path * (stopping(half) - moeller(half, cut)[1]), energy)
            hinge = np.random.random() * path
            if np.random.random() * path < hinge:
                back = np.random.random() * hinge
                deposit(x + u * back, y + v * back, z + w * back, lost, scale, tally)
                x, y, z = x + u * hinge, y + v * hinge, z + w * hinge
                u, v, w = turned(u, v, w, deflection(path, first, second), 2 * math.pi * np.random.random())
            else:
                x, y, z = x + u * hinge, y + v * hinge, z + w * hinge
                u, v, w = turned(u, v, w, deflection(path, first, second), 2 * math.pi * np.random.random())
                back = np.random.random() * (path - hinge)
                deposit(x + u * back, y + v * back, z + w * back, lost, scale, tally)
            rest = path - hinge
            x, y, z = x + u * rest, y + v * rest, z + w * rest
            energy -= lost
            if collision and energy > 2 * cut:
                a = (energy / (energy + REST_MEV)) ** 2
                while True:
                    given = 1 / (1 / cut - np.random.random() * (1 / cut - 2 / energy))
                    k = given / energy
                    weight = 1 + (k / (1 - k)) ** 2 - (1 - a) * k / (1 - k) + a * k * k
                    if np.random.random() * (1 + 1.25 * a) < weight:
                        break
                cosine = math.sqrt(given * (energy + 2 * REST_MEV) / (energy * (given + 2 * REST_MEV)))
                direction = turned(u, v, w, cosine, 2 * math.pi * np.random.random())
                stack[waiting, 0] = given
                stack[waiting, 1], stack[waiting, 2], stack[waiting, 3] = x, y, z
                stack[waiting, 4], stack[waiting, 5], stack[waiting, 6] = direction
                waiting += 1
                energy -= given
        deposit(x, y, z, energy, scale, tally)


@njit(cache=True)
def deposit(x, y, z, energy, scale, tally):
    place = int(math.sqrt(x * x + y * y + z * z) * scale)
    tally[min(place, tally.size - 1)] += energy


@njit(parallel=True, cache=True)
def electrons(start, range_g_cm2, histories, chunks, n_bins, width):
    """Share of the energy by bins of radius over range, the last one holding what is beyond."""
    tallies = np.zeros((chunks, n_bins + 1))
    for chunk in prange(chunks):
        np.random.seed(chunk + 1)
        stack = np.empty((64, 7))
        for _ in range(histories // chunks):
            one_electron(
                start, max(0.02 * start, 1e-3), max(0.004 * start, 5e-4), 1 / (width * range_g_cm2),
                tallies[chunk], stack,
            )  # fmt: skip
    return tallies.sum(axis=0) / tallies.sum()


@njit(cache=True)
def klein_nishina(energy):
    """Cross section per gram of water, cm2/g, and the mean share of the energy that the electron takes."""
    k = energy / REST_MEV
    n = 4000
    total, given = 0.0, 0.0
    for i in range(n):
        cosine = -1 + (i + 0.5) * 2 / n
        p = 1 / (1 + k * (1 - cosine))
        weight = p * p * (p + 1 / p - 1 + cosine * cosine)
        total += weight
        given += weight * (1 - p)
    return math.pi * RADIUS_CM**2 * total * 2 / n * ELECTRONS_PER_G, given / total


@njit(cache=True)
def log_interpolated(x, xs, ys):
    return math.exp(np.interp(math.log(x), xs, ys))


@njit(parallel=True, cache=True)
def photons(start, histories, chunks, mu, n_bins, deepest, log_e, log_photo, log_compton):
    """Energy left in bins of depth in mean free paths of the source's photons, of each photon's energy."""
    tallies = np.zeros((chunks, n_bins))
    for chunk in prange(chunks):
        np.random.seed(chunk + 1)
        for _ in range(histories // chunks):
            energy, x, y, z, u, v, w = start, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
            while energy > 0:
                photo = log_interpolated(energy, log_e, log_photo)
                compton = log_interpolated(energy, log_e, log_compton)
                free = -math.log(1 - np.random.random()) / (photo + compton)
                x, y, z = x + u * free, y + v * free, z + w * free
                depth = math.sqrt(x * x + y * y + z * z) * mu
                left = energy
                if np.random.random() * (photo + compton) < compton:
                    k = energy / REST_MEV
                    while True:
                        cosine = 2 * np.random.random() - 1
                        p = 1 / (1 + k * (1 - cosine))
                        if 2 * np.random.random() < p * p * (p + 1 / p - 1 + cosine * cosine):
                            break
                    left = energy * (1 - p)
                    u, v, w = turned(u, v, w, cosine, 2 * math.pi * np.random.random())
                energy -= left
                place = int(depth / deepest * n_bins)
                if place < n_bins:
                    tallies[chunk, place] += left
                if depth > 2.5 * deepest or 0 < energy < 1e-3:
                    break
    return tallies.sum(axis=0) / (histories // chunks * chunks) / start


def csda_range(energies: tuple[float, ...]) -> list[float]:
    grid = np.geomspace(2e-4, max(energies), 20000)
    inverse = np.array([1 / stopping(value) for value in grid])
    steps = np.diff(grid) * 0.5 * (inverse[1:] + inverse[:-1])
    ranges = grid[0] * inverse[0] + np.concatenate([[0.0], np.cumsum(steps)])
    return [float(np.interp(value, grid, ranges)) for value in energies]


def electron_table(histories: int) -> dict[str, Any]:
    ranges = csda_range(ELECTRON_MEV)
    within = []
    for energy, length in zip(ELECTRON_MEV, ranges, strict=True):
        share = electrons(energy, length, histories, CHUNKS, RADII.size - 1, float(RADII[1]))
        cumulative = np.concatenate([[0.0], np.cumsum(share[:-1])])
        within.append([round(float(value), 5) for value in cumulative / cumulative[-1]])
    return {
        "energy_mev": list(ELECTRON_MEV),
        "radius_over_range": [round(float(value), 4) for value in RADII],
        "share_within": within,
        "range_energy_mev": list(RANGE_MEV),
        "range_g_cm2": [float(f"{value:.5g}") for value in csda_range(RANGE_MEV)],
    }


def photon_table(histories: int) -> dict[str, Any]:
    import xraydb

    grid = np.array(ATTENUATION_MEV)
    oxygen, hydrogen = (
        np.array([xraydb.mu_elam(name, value * 1e6, kind="photo") for value in np.minimum(grid, 0.7)])
        for name in ("O", "H")
    )
    # Beyond the table the photoelectric effect falls as 1/E; it is below 0.1 % of the whole there.
    photo = (15.9994 * oxygen + 2 * 1.00794 * hydrogen) / MOLAR_MASS * np.minimum(grid, 0.7) / grid
    scattered = np.array([klein_nishina(value) for value in grid])
    compton, share = scattered[:, 0], scattered[:, 1]
    absorbed = photo + compton * share
    rows = []
    n_bins = 48
    edges = np.linspace(0, DEEPEST, n_bins + 1)
    centre = 0.5 * (edges[1:] + edges[:-1])
    for energy in PHOTON_MEV:
        place = ATTENUATION_MEV.index(energy)
        mu = float(photo[place] + compton[place])
        left = photons(
            energy, histories, CHUNKS, mu, n_bins, DEEPEST, np.log(grid), np.log(photo), np.log(compton)
        )
        primary = absorbed[place] / mu * (np.exp(-edges[:-1]) - np.exp(-edges[1:]))
        powers = centre[:, None] ** np.arange(1, DEGREE + 1)
        # Relative errors by counting; a bin without any says nothing.
        weight = np.divide(primary, np.sqrt(left), out=np.zeros(n_bins), where=left > 0)[:, np.newaxis]
        found = np.linalg.lstsq(powers * weight, (left / primary - 1) * weight[:, 0], rcond=None)[0]
        rows.append([float(f"{value:.6g}") for value in found])
    return {
        "attenuation_energy_mev": list(ATTENUATION_MEV),
        "attenuation_cm2_g": [float(f"{value:.5g}") for value in photo + compton],
        "energy_absorption_cm2_g": [float(f"{value:.5g}") for value in absorbed],
        "energy_mev": list(PHOTON_MEV),
        "build_up": rows,
        "deepest_mean_free_paths": DEEPEST,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--electrons", type=int, default=64_000, help="histories per energy")
    parser.add_argument("--photons", type=int, default=1_280_000, help="histories per energy")
    options = parser.parse_args()
    table = {
        "source": "Monte Carlo calculation of this project in water",
        "made_from": {name: version(name) for name in ("xraydb", "numba", "numpy")},
        "made_by": "scripts/generate_dose_kernels.py",
        "histories": {"electrons": options.electrons, "photons": options.photons},
        "electrons": electron_table(options.electrons),
        "photons": photon_table(options.photons),
    }
    options.out.write_text(json.dumps(table, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
