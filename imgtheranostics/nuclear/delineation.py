"""One way to all methods that delineate lesions, with the options that each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.mapping.refusals import UnknownChoice, applicable, checked
from imgtheranostics.nuclear.percist_criteria import percist_lesions, percist_threshold
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.adapted_threshold import adaptive_threshold
from imgtheranostics.segmentation.gradient_edges import gradient_watershed
from imgtheranostics.segmentation.outlines import STEP
from imgtheranostics.segmentation.search_regions import Seeds
from imgtheranostics.segmentation.threshold_regions import fixed_threshold, fraction_of_maximum
from imgtheranostics.volume import Estimate, Volume

METHODS = ("fixed", "fraction", "percist", "adaptive", "gradient")

_OPTIONS = {
    "fixed": ("threshold", "quantity", "keep", "least_ml"),
    "fraction": ("threshold", "of"),
    "percist": ("reference", "percist", "factor"),
    "adaptive": ("scheme", "weights", "adapt_to"),
    "gradient": ("adapt_to", "smoothing_mm"),
}


def delineate(
    x: Volume | Estimate,
    method: str = "fraction",
    *,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    connectivity: int = 6,
    resolution_mm: float | None = None,
    **choices: Any,
) -> Regions:
    """Lesions of an uptake image by one of the methods.

    Parameters
    ----------
    x : Volume or Estimate
        Without further axes; for ``percist`` SUV by lean body mass.
    method : {"fixed", "fraction", "percist", "adaptive", "gradient"}
    seeds_mm, within, reach_mm, connectivity, resolution_mm
        As in `imgtheranostics.segmentation.fixed_threshold`.
    **choices
        Of ``fixed``: `threshold` and `quantity`, `keep`, `least_ml`. Of ``fraction``: `threshold` (the share,
        0.41), `of`. Of ``percist``: `reference` (one region), `percist` ("liver" or "blood"), `factor`. Of
        ``adaptive``: `scheme`, `weights`, `adapt_to` (the background). Of ``gradient``: `adapt_to`,
        `smoothing_mm`. See `fixed_threshold`, `fraction_of_maximum`, `adaptive_threshold`,
        `gradient_watershed` of `imgtheranostics.segmentation`, and `percist_threshold`.

    Returns
    -------
    Regions

    Raises
    ------
    UnknownChoice
        If there is no such method, an option does not apply to it, or one that it needs is missing.
    MissingMetadata
        If PERCIST has no reference.
    ImgTheranosticsError, ValueError
        As the methods.
    """
    checked(method, METHODS, "method")
    given = {name: value for name, value in choices.items() if value is not None}
    own = applicable(given, _OPTIONS[method], f"the method {method}")
    where: dict[str, Any] = {
        "seeds_mm": seeds_mm,
        "within": within,
        "reach_mm": reach_mm,
        "connectivity": connectivity,
        "resolution_mm": resolution_mm or None,
    }
    if seeds_mm is None and within is None and method not in ("fixed", "percist"):
        raise UnknownChoice(f"the method {method} needs seeds (seed=) or regions to look in (within=)")
    return _WAYS[method](x, own, where)


def _fixed(x: Volume | Estimate, own: dict[str, Any], where: dict[str, Any]) -> Regions:
    missing = [name for name in ("threshold", "quantity") if name not in own]
    if missing:
        raise UnknownChoice(
            f"the method fixed needs {missing[0]}=: a value without its quantity says nothing"
        )
    return fixed_threshold(x, own.pop("threshold"), **own, **where)


def _fraction(x: Volume | Estimate, own: dict[str, Any], where: dict[str, Any]) -> Regions:
    return fraction_of_maximum(x, own.pop("threshold", 0.41), **own, **where)


def _percist(x: Volume | Estimate, own: dict[str, Any], where: dict[str, Any]) -> Regions:
    kind = own.get("percist", "liver")
    if "reference" not in own:
        raise MissingMetadata(
            "PERCIST needs a reference",
            where="reference",
            needed="a ball of 3 cm in the right lobe of the liver, or a piece of the aorta",
            next_step="give --liver-at X,Y,Z, or --rois with a region and its name as --reference",
        )
    threshold = percist_threshold(x, own["reference"], kind=kind, factor=own.get("factor"))
    return percist_lesions(x, threshold, **where)


def _adaptive(x: Volume | Estimate, own: dict[str, Any], where: dict[str, Any]) -> Regions:
    if own.get("scheme") == "sphere" and where["resolution_mm"] is None:
        raise UnknownChoice("the scheme sphere needs resolution_mm=")
    return adaptive_threshold(
        x, own.get("scheme", "half_way"), weights=own.get("weights"), background=own.get("adapt_to"), **where
    )


def _gradient(x: Volume | Estimate, own: dict[str, Any], where: dict[str, Any]) -> Regions:
    return gradient_watershed(
        x, background=own.get("adapt_to"), smoothing_mm=own.get("smoothing_mm"), **where
    )


_WAYS: dict[str, Callable[[Volume | Estimate, dict[str, Any], dict[str, Any]], Regions]] = {
    "fixed": _fixed,
    "fraction": _fraction,
    "percist": _percist,
    "adaptive": _adaptive,
    "gradient": _gradient,
}


def delineation_decision(lesions: Regions) -> dict[str, Any]:
    """How lesions were outlined, for the record and the report: the rule in words and its numbers."""
    steps = [step for step in lesions.history if step.name == STEP]
    if not steps:
        return {"rule": "drawn"}
    said = dict(steps[-1].parameters)
    records = said.pop("lesions", {})
    unit = said.pop("unit", "")
    words = _WORDS[said["method"]].format(unit=unit, **{name: _text(value) for name, value in said.items()})
    numbers = {
        name: {
            key: record[key] for key in ("threshold", "background", "maximum", "sul_peak") if key in record
        }
        for name, record in records.items()
    }
    return {"rule": said["method"], "explanation": words, "unit": unit, **numbers}


_WORDS = {
    "fixed": "voxels of at least {threshold} {unit} of {quantity}",
    "fraction": "voxels of at least {fraction} of each lesion's own {of}",
    "percist": "lesions of a SULpeak of at least {threshold} {unit}: {factor} x the mean of the {reference} "
    "({reference_mean}) + {sd_times} x its standard deviation ({reference_sd})",
    "adaptive": "a threshold between uptake and background: {source} ({provenance})",
    "gradient": "the crest of the gradient, of an image smoothed with a standard deviation of "
    "{smoothing_mm} mm",
}


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
