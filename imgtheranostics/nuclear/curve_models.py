"""How curves are quantified, by name, and what the area under a curve of each quantity is."""

from __future__ import annotations

from imgtheranostics.nuclear.curve_areas import METHODS

TERMS: dict[str, int | str] = {"auto": "auto", "mono": 1, "bi": 2, "tri": 3}
"""Exponentials."""

MODELS = (*TERMS, *METHODS)

WEIGHTS = ("equal", "relative", "standard_error")
"""Of the samples that exponentials are fitted to."""

AREAS = {
    "activity_concentration": ("time_integrated_activity", 1.0),
    "id_per_g": ("tiac_per_g", 100.0),
    "id_per_ml": ("tiac_per_ml", 100.0),
    "id_per_region": ("tiac", 100.0),
}
"""Quantity of the area under a curve, and what it is divided by; an SUV has none without weight and dose."""

SAME_HALF_LIFE = 1e-2
"""Relative difference of half-lives above which scans are of different nuclides."""
