"""Options that several ``nuclear`` commands share, and what of them goes into the record."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

from imgtheranostics.cli.calibration_options import NAMES

DensityGMl = Annotated[float, typer.Option("--density-g-ml", min=1e-3, help="Tissue density for %ID/g.")]
DecayCorrection = Annotated[
    str | None,
    typer.Option(
        "--decay-correction", help="START, ADMIN or NONE, for files that do not say it or say it wrong."
    ),
]
StrictClock = Annotated[
    bool, typer.Option("--strict-clock", help="Refuse when the clocks of the scan differ by more than 1 %.")
]

PHYSICS = (
    "quantity", "series", "dose", "delay", "residual", "infiltrated", "dose_uncertainty", "nuclide",
    "weight_kg", "height_m", "sex", "density_g_ml", "decay_correction", "decay_corrected", "strict_clock",
    "strict_dose", "confirm_weight", "resolution_mm", "resample_rois", "window", *NAMES,
    "uptake", "weights", "column", "tail", "beginning", "level", "intervals", "half_life", "maps",
    "threshold", "reference", "input_region", "surroundings", "recovery", "plasma_over_blood",
    "blood_as_measured", "start", "end", "k2_reference", "blood_fraction", "bolus_delay", "time_unit", "unit",
    "imaged_nuclide", "given_activity", "other_element", "model", "effective_half_life",
    "half_life_uncertainty", "method", "progeny", "radius_mm", "dose_factor_uncertainty", "at_least_gy",
    "geud_a", "alpha_beta", "repair_half_time", "dose_rate_half_life", "dose_rate",
    "fwhm", "fwhm_uncertainty", "estimate_psf", "iterations", "step", "no_background", "noise_fwhm",
    "diameter", "diameter_uncertainty", "mass", "most_extrapolated", "dose_maps",
    "seed", "reach_mm", "connectivity", "of", "keep", "least_ml", "scheme", "adapt_to", "smoothing_mm",
    "percist", "liver_at", "background", "threshold_uncertainty",
)  # fmt: skip
"""Options that shape the number and name nobody: these go into the record."""


def parameters(given: dict[str, Any]) -> dict[str, Any]:
    """The options that shape the number and name nobody, flat, without those left at nothing."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        grouped_here = is_dataclass(value) and not isinstance(value, type)
        flat |= asdict(value) if grouped_here else {name: value}
    return {name: flat[name] for name in PHYSICS if flat.get(name) not in (None, False)}
