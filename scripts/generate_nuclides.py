#!/usr/bin/env python3
"""Write imgtheranostics/data/nuclides.json from radioactivedecay and icrp107-database (ICRP-107)."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "imgtheranostics" / "data" / "nuclides.json"

NUCLIDES = (
    "C-11 N-13 O-15 F-18 Na-22 Sc-43 Sc-44 Sc-47 Cr-51 Mn-52 Fe-52 Co-55 Co-57 Fe-59 Cu-60 Cu-61 "
    "Cu-62 Cu-64 Cu-67 Ga-66 Ga-67 Ga-68 Ge-68 As-72 Br-76 Br-77 Kr-81m Rb-82 Sr-82 Y-86 Sr-89 Y-90 "
    "Zr-89 Mo-99 Tc-94m Tc-99m In-111 In-114m Sn-117m I-120 I-123 I-124 I-125 I-131 Xe-133 La-133 "
    "Ce-134 La-134 Sm-153 Tb-149 Tb-152 Tb-155 Tb-161 Ho-166 Er-169 Tm-170 Yb-169 Lu-177 Lu-177m "
    "Re-186 Re-188 Au-198 Au-199 Tl-201 At-211 Pb-203 Pb-212 Bi-212 Bi-213 Ra-223 Ra-224 Ac-225 "
    "Fr-221 At-217 Po-213 Tl-208 Tl-209 Pb-209 Po-212 Po-216 Rn-220 Rn-219 Po-215 Pb-211 Bi-211 "
    "Tl-207 Th-227 Th-226 U-230 "
    # Progeny of these with half-lives below a century
    "Mn-52m Fe-55 Cd-111m In-114 Te-123m Xe-131m Ba-133 Pm-145 Sm-145 Eu-145 Gd-149 Eu-149 Hg-206 Tl-206 "
    "Bi-207 Pb-210 Bi-210 Po-210 Po-211 Po-214 Rn-218 Ra-222 "
)

SPECIES = {
    "mean_beta_minus_mev": ("beta-",),
    "mean_beta_plus_mev": ("beta+",),
    "mean_electron_mev": ("IE", "auger"),
    "mean_photon_mev": ("gamma", "X", "annihilation"),
    "mean_alpha_mev": ("alpha",),
    "mean_recoil_mev": ("alpha recoil",),
}
NON_PENETRATING = tuple(name for name in SPECIES if name != "mean_photon_mev")


def emissions(name: str) -> dict[str, Any]:
    """The emission lists of one nuclide, (energy in MeV, number per decay) each."""
    text = (files("icrp107_database") / "icrp107" / f"{name}.json").read_text(encoding="utf-8")
    record = json.loads(text)
    return dict(json.loads(record) if isinstance(record, str) else record)["emissions"]


def rounded(value: float) -> float:
    return float(f"{value:.6g}")


def record(name: str) -> dict[str, Any]:
    """One row of the table: half-life, mean energies per decay, modes and progeny."""
    import radioactivedecay

    nuclide = radioactivedecay.Nuclide(name)
    lists = emissions(name)
    sums = {
        field: sum(energy * number for kind in kinds for energy, number in lists.get(kind, []))
        for field, kinds in SPECIES.items()
    }
    return {
        "half_life_s": float(nuclide.half_life("s")),
        **{field: rounded(value) for field, value in sums.items()},
        "delta_np_mev": rounded(sum(sums[field] for field in NON_PENETRATING)),
        "positron_yield": rounded(sum(number for _, number in lists.get("beta+", []))),
        "progeny": {
            daughter: rounded(fraction)
            for daughter, fraction in zip(nuclide.progeny(), nuclide.branching_fractions(), strict=True)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    out = parser.parse_args().out
    table = {
        "source": "ICRP Publication 107 (2008), doi:10.1016/j.icrp.2008.10.004",
        "made_from": {name: version(name) for name in ("radioactivedecay", "icrp107-database")},
        "made_by": "scripts/generate_nuclides.py",
        "units": "half-lives in s; mean energies in MeV per decay; yields and branching fractions per decay",
        "nuclides": {name: record(name) for name in sorted(NUCLIDES.split())},
    }
    rows = ",\n".join(f'  "{name}": {json.dumps(row)}' for name, row in table.pop("nuclides").items())
    head = json.dumps(table, indent=1)[:-2]
    out.write_text(f'{head},\n "nuclides": {{\n{rows}\n }}\n}}\n', encoding="utf-8")
    print(f"{out}: {len(NUCLIDES.split())} nuclides")


if __name__ == "__main__":
    main()
