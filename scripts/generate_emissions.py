#!/usr/bin/env python3
"""Write imgtheranostics/data/emissions.json: energies per decay of every nuclide of nuclides.json, in groups.

Spectra of beta particles and lines of electrons and photons are those of ICRP-107, read through
icrp107-database; each group holds the mean energy of its particles and the energy that they carry per decay.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from generate_nuclides import NUCLIDES, emissions

TARGET = Path(__file__).resolve().parent.parent / "imgtheranostics" / "data" / "emissions.json"

BETA_GROUPS = 48
ELECTRON_LINES_PER_DECADE = 16
PHOTON_LINES_PER_DECADE = 24
LOWEST_PHOTON_MEV = 1e-3
"""Softer photons are absorbed within a few micrometres: they count as electrons."""
FINE = 4000


def beta_groups(lists: dict[str, Any], name: str) -> list[list[float]]:
    """Groups of the beta spectrum, narrow at low energies, scaled to the mean energy of the branches."""
    total = sum(energy * number for kind in ("beta-", "beta+") for energy, number in lists.get(kind, []))
    if total == 0:
        return []
    spectrum = np.array(lists["b-spectra"], float)
    if len(spectrum) < 10:
        raise ValueError(f"{name}: beta particles without a spectrum")
    energy = np.linspace(0.0, spectrum[-1, 0], FINE + 1)
    number = np.interp(energy, spectrum[:, 0], spectrum[:, 1])
    step = energy[1]
    carried = 0.5 * step * (number[1:] * energy[1:] + number[:-1] * energy[:-1])
    if abs(carried.sum() / total - 1) > 0.03:
        raise ValueError(f"{name}: the spectrum has {carried.sum():.4g} MeV, the branches {total:.4g} MeV")
    middle = 0.5 * (energy[1:] + energy[:-1])
    edges = energy[-1] * np.linspace(0, 1, BETA_GROUPS + 1) ** 1.5
    place = np.clip(np.searchsorted(edges, middle) - 1, 0, BETA_GROUPS - 1)
    rows = []
    for group in range(BETA_GROUPS):
        own = place == group
        if own.any() and carried[own].sum() > 0:
            mean = (carried[own] * middle[own]).sum() / carried[own].sum()
            rows.append([mean, carried[own].sum() * total / carried.sum()])
    return rows


def line_groups(lines: list[list[float]], per_decade: int, least: float) -> list[list[float]]:
    """Lines gathered by the logarithm of their energy; what the weakest groups carry goes to the others."""
    groups: dict[int, list[float]] = {}
    for energy, number in lines:
        if energy > 0 and number > 0:
            row = groups.setdefault(int(np.floor(np.log10(energy) * per_decade)), [0.0, 0.0])
            row[0] += energy * energy * number
            row[1] += energy * number
    rows = sorted([weighted / carried, carried] for weighted, carried in groups.values())
    if not rows:
        return []
    total = sum(carried for _, carried in rows)
    kept = [row for row in rows if row[1] > least * total]
    scale = total / sum(carried for _, carried in kept)
    return [[energy, carried * scale] for energy, carried in kept]


def record(name: str) -> dict[str, Any]:
    lists = emissions(name)
    photons = [line for kind in ("gamma", "X", "annihilation") for line in lists.get(kind, [])]
    electrons = [line for kind in ("IE", "auger") for line in lists.get(kind, [])]
    electrons += [line for line in photons if line[0] < LOWEST_PHOTON_MEV]
    photons = [line for line in photons if line[0] >= LOWEST_PHOTON_MEV]
    groups = {
        "beta": beta_groups(lists, name),
        "electron": line_groups(electrons, ELECTRON_LINES_PER_DECADE, 1e-5),
        "photon": line_groups(photons, PHOTON_LINES_PER_DECADE, 1e-4),
    }
    return {
        kind: [[float(f"{value:.5g}") for value in column] for column in zip(*rows, strict=True)]
        if rows
        else [[], []]
        for kind, rows in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    out = parser.parse_args().out
    head = {
        "source": "ICRP Publication 107 (2008), doi:10.1016/j.icrp.2008.10.004",
        "made_from": {"icrp107-database": version("icrp107-database")},
        "made_by": "scripts/generate_emissions.py",
        "units": "per kind: mean energies of the groups, then the energy that each carries per decay, MeV",
    }
    rows = [f'  "{name}": {json.dumps(record(name))}' for name in sorted(NUCLIDES.split())]
    text = json.dumps(head, indent=1)[:-2] + ',\n "nuclides": {\n' + ",\n".join(rows) + "\n }\n}\n"
    out.write_text(text, encoding="utf-8")
    print(f"{out}: {len(rows)} nuclides")


if __name__ == "__main__":
    main()
