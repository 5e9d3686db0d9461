"""Measuring methods of the CEST phantoms: folds of changes, fitted amounts, pH, and what must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import IllConditioned
from imgtheranostics.phantom.cest_scans import WITHOUT_TISSUE, CestScan, scanner_of, scans_of
from imgtheranostics.phantom.cest_tissue import agent_pools, molar_mm
from imgtheranostics.phantom.cest_truth import label_ppm
from imgtheranostics.validation import cest_maps
from imgtheranostics.validation.cest_fits import (
    FRACTION,
    RATE,
    Labelled,
    asymmetry_percent,
    background,
    fit_together,
    label_start,
    labelled,
    series,
    tissue_start,
)
from imgtheranostics.validation.cest_ph import fitted_acidity, ratio_acidity, ratio_over_concentration
from imgtheranostics.validation.cest_spectra import region_spectrum, scan_of, volume_of
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.validation.mri_methods import best
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    from imgtheranostics.phantom.spec import RegionSpec
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

_OFFSET = "offset_ppm"

SMOOTHING = 0.95
"""Parameter of a smoothing spline: of samples 0.1 ppm apart it lets through half of what has a wavelength of
1.7 ppm, twice the width of olsalazine's line."""


@method("change_ratio", unit="1", short="change")
def change_ratio(session: Session, expectation: Expectation) -> float:
    """Change of the asymmetry in one region over that in another, as `cest.fold_table` gives it."""
    before, after = _states(session, expectation)
    return float(_fold(session, expectation.region, _needed(before), after)["mean"])


@method("change_ratio_smoothed", unit="1", short="smoothed")
def change_ratio_smoothed(session: Session, expectation: Expectation) -> float:
    """As `change_ratio`, of spectra that a spline smooths first.

    The smoothing is a linear one and the same in all voxels: it lowers the line of the agent in both regions
    alike, and their ratio by less than 1 %.
    """
    before, after = _states(session, expectation)
    return float(_fold(session, expectation.region, _needed(before), after, smooth=SMOOTHING)["mean"])


@method("change_ratio_two_pool", unit="1", short="two pools")
def change_ratio_two_pool(session: Session, expectation: Expectation) -> float:
    """As `change_ratio`, in the scans without the pools of the tissue."""
    before, after = _states(session, expectation)
    bare = [scan for scan in scans_of(session.phantom.spec) if scan.role == WITHOUT_TISSUE]
    pair = [scan for main in (_needed(before), after) for scan in bare if scan.case == main.case]
    if len(pair) != 2:
        raise MethodMissing("scans without the pools of the tissue at this B1")
    return float(_fold(session, expectation.region, pair[0], pair[1])["mean"])


@method("raw_ratio_refusal", unit="1", short="raw refused")
def raw_ratio_refusal(session: Session, expectation: Expectation) -> float:
    """1 where the package says of post over pre that it is no fold, and does not give it as one."""
    before, after = _states(session, expectation)
    others = (region.name for region in session.phantom.spec.regions if _holds_agent(region))
    reference = next(name for name in others if name != expectation.region)
    row = _fold(session, f"{expectation.region}/{reference}", _needed(before), after)
    said = [code for code in str(row["warnings"]).split(";") if code.startswith("raw-ratio-")]
    return float(bool(said) and row["mean"] != row["raw"])


def _holds_agent(region: RegionSpec) -> bool:
    """Whether a region says how much agent it holds."""
    return region.states("molar_concentration") is not None or region.states("concentration") is not None


def _states(session: Session, expectation: Expectation) -> tuple[CestScan | None, CestScan]:
    """A scan without agent, where there is one, and one with it, of the places of an expectation."""
    scans = [scan_of(session, volume) for volume, _ in expectation.places]
    before = next((scan for scan in scans if not scan.agent), None)
    return before, next(scan for scan in scans if scan.agent)


def _needed(scan: CestScan | None) -> CestScan:
    if scan is None:
        raise MethodMissing("scan before the agent in the phantom")
    return scan


def _fold(
    session: Session, regions: str, before: CestScan, after: CestScan, *, smooth: float | None = None
) -> Mapping[str, Any]:
    """Row of a region over another in the table of folds, with the raw ratio."""
    region, _, over = regions.partition("/")

    def make() -> Any:
        delta = cest_maps.change(session, before, after, smooth=smooth)
        return api("fold_table", "cest")(delta, session.phantom.regions, best(session, over))[0]

    table = session.kept(("fold", before.name, after.name, over, smooth), make)
    place = list(table["region"]).index(best(session, region))
    detail = table.attrs["details"][place]
    return {**table.iloc[place].to_dict(), "raw": detail["raw_ratio_which_is_no_fold"]}


@method("fitted_ratio", unit="1", short="fitted")
def fitted_ratio(session: Session, expectation: Expectation) -> float:
    """Amount of agent in one region over that in another, by Bloch-McConnell fits at several B1."""
    one, other = _fitted_pair(session, expectation)
    name = next(iter(one.molar_mm))
    return one.molar_mm[name] / other.molar_mm[name]


@method("fitted_change_ratio", unit="1", short="fitted")
def fitted_change_ratio(session: Session, expectation: Expectation) -> float:
    """Change of the asymmetry in one region over that in another, both of the spectra that were fitted.

    Fits use all samples at all B1, correct for B1, and leave less noise than the four images of the plain
    contrast.
    """
    before, after = _states(session, expectation)
    at_ppm, region = label_ppm(session.phantom.spec), expectation.region.partition("/")
    changes = [
        asymmetry_percent(found.pools, after, at_ppm)
        - asymmetry_percent(background(session, name, _needed(before)), after, at_ppm)
        for name, found in zip(region[::2], _fitted_pair(session, expectation), strict=True)
    ]
    return changes[0] / changes[1]


def _fitted_pair(session: Session, expectation: Expectation) -> tuple[Labelled, Labelled]:
    """Both regions of an expectation: exchange rates are fitted in the first, the second takes them over."""
    _, after = _states(session, expectation)
    region, _, over = expectation.region.partition("/")
    one = labelled(session, region, after)
    return one, labelled(session, over, after, rates=one.exchange_rate_per_s)


@method("fitted_amount", short="fitted")
def fitted_amount(session: Session, expectation: Expectation) -> float:
    """Concentration of the agent in a vial, mmol/L: mean over the pH of fits at several B1.

    Exchange rates are those of the vial that holds most of the same agent. Each pH counts by the standard
    error of its amount: by that relative to the amount, those that noise made larger would count more.
    """
    values, errors = [], []
    fullest = _fullest_vial(session, expectation.region)
    for scan in _one_per_series(session, expectation):
        found = labelled(session, fullest, scan)
        if fullest != expectation.region:
            found = labelled(session, expectation.region, scan, rates=found.exchange_rate_per_s)
        name, value = next(iter(found.molar_mm.items()))
        values.append(value)
        errors.append(found.standard_error[f"{name}_{FRACTION}"])
    weights = 1.0 / np.maximum(np.array(errors), 1e-12) ** 2
    return float(np.average(values, weights=weights if np.isfinite(weights).all() else None))


def _fullest_vial(session: Session, region: str) -> str:
    """The region that holds most of the agent that a region holds."""
    spec = session.phantom.spec
    agent = spec.region(region).agent
    alike = [one for one in spec.regions if one.agent == agent]
    return max(alike, key=lambda one: molar_mm(spec, one, {})).name


def _one_per_series(session: Session, expectation: Expectation) -> list[CestScan]:
    """One scan of each group of scans that differ in B1 alone."""
    scans = [scan_of(session, volume) for volume, _ in expectation.places]
    return [scan for scan in scans if scan.name == series(session, scan)[0].name]


@method("overlapping_refusal", unit="1", short="overlap refused")
def overlapping_refusal(session: Session, expectation: Expectation) -> float:
    """1 where the package refuses to tell two agents with overlapping pools apart, else 0.

    Amount, rate and offset of both are unknown, since melphalan's are known of no solution. What is refused
    is the question, with both agents there: that one of them is absent in the end would be no refusal.
    """
    scan = _one_per_series(session, expectation)[0]
    scans = series(session, scan)
    spectra = [region_spectrum(session, volume_of(session, one), expectation.region) for one in scans]
    spec = session.phantom.spec
    own = agent_pools(spec, spec.region(expectation.region))[0]
    others = (pool for pool in scanner_of(spec)[1].agent_pools if pool.agent != own.agent)
    nearest = min(others, key=lambda pool: abs(pool.offset_ppm - own.offset_ppm))
    start = tissue_start(session, expectation.region, scan)
    both = tuple(label_start(pool) for pool in (own, nearest))
    unknown = {pool.name: (FRACTION, RATE, _OFFSET) for pool in both}
    try:
        fit_together(spectra, scans, replace(start, exchange=(*start.exchange, *both)), unknown)
    except IllConditioned:
        return 1.0
    return 0.0


@method("fitted_ph", short="fitted")
def fitted_ph(session: Session, expectation: Expectation) -> float:
    """Acidity of a region from the exchange rates that are fitted to its spectra at several B1."""
    return fitted_acidity(session, expectation.region, _states(session, expectation)[1])


@method("ratio_ph", short="ratio")
def ratio_ph(session: Session, expectation: Expectation) -> float:
    """Acidity of a region from the ratio of its asymmetries at two offsets; NaN outside the calibration."""
    return ratio_acidity(session, expectation.region, _states(session, expectation)[1])


@method("ratio_masked", unit="1", short="masked")
def ratio_masked(session: Session, expectation: Expectation) -> float:
    """1 where the ratio of a region is one that no pH, or more than one pH, has: it is then given none."""
    return float(np.isnan(ratio_acidity(session, expectation.region, _states(session, expectation)[1])))


@method("masked_share", unit="1", short="masked")
def masked_share(session: Session, expectation: Expectation) -> float:
    """Share of a region's voxels that the map gives no pH."""
    found = session.quantified(volume_of(session, _states(session, expectation)[1]), expectation.quantity)
    values = (found.value if isinstance(found, Estimate) else found).data
    return float(np.isnan(values[session.phantom.regions.mask(expectation.region)]).mean())


@method("ratio_drift", unit="1", short="drift")
def ratio_drift(session: Session, expectation: Expectation) -> float:
    """Ratio at 20 mmol/L over that at 2 mmol/L, at pH 7.0 and the scan's protocol."""
    return ratio_over_concentration(session, expectation.region, _states(session, expectation)[1], 7.0)
