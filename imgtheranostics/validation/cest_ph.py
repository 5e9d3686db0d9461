"""pH of the iopamidol phantom: from fitted exchange rates, and from the ratio of two offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.phantom.cest_scanner import AgentPool
from imgtheranostics.phantom.cest_scans import CestScan, scanner_of
from imgtheranostics.phantom.cest_tissue import agent_pools, molar_mm, pools_of, rate_at
from imgtheranostics.validation.cest_fits import RATE, labelled
from imgtheranostics.validation.cest_spectra import region_spectrum, volume_of
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session

CALIBRATED_PH = tuple(round(5.0 + 0.2 * n, 1) for n in range(21))
"""Of the calibration of exchange rates, 5.0 to 9.0: one of a poor fit still counts by its standard error."""

RATIO_PH = tuple(round(6.4 + 0.05 * n, 2) for n in range(23))
"""Of the calibration of the ratio, 6.4 to 7.5: it turns at 7.3, and above 7.15 it tells two pH."""


def fitted_acidity(session: Session, region: str, scan: CestScan) -> float:
    """Acidity of a region from the exchange rates of the agent's pools, each by its standard error."""
    spec = session.phantom.spec
    found = labelled(session, region, scan)
    values, weights = [], []
    for pool in agent_pools(spec, spec.region(region)):
        calibration = api("calibrate", "cest.ph")(_rates(pool), CALIBRATED_PH)
        rate, error = found.exchange_rate_per_s[pool.name], found.standard_error[f"{pool.name}_{RATE}"]
        values.append(float(calibration.invert(rate)))
        slope = float(calibration.slope(rate))
        # a fit without residuals has no error: its pools count the same
        weights.append(1.0 / max(abs(slope) * (error if np.isfinite(error) else np.inf), 1e-6) ** 2)
    if not np.any(weights):
        weights = [1.0] * len(values)
    return float(np.average(values, weights=weights))


def _rates(pool: AgentPool) -> list[float]:
    if not isinstance(pool.exchange_rate_per_s, dict):
        raise MethodMissing(f"pH from {pool.name}, whose exchange rate is not known at several")
    return [rate_at(pool.exchange_rate_per_s, ph) for ph in CALIBRATED_PH]


def ratio_acidity(session: Session, region: str, scan: CestScan) -> float:
    """Acidity of a region from the ratio of the asymmetries at both offsets of the agent.

    The calibration is simulated at the scan's power and the region's concentration, bound pool and
    relaxation times, as solutions would be measured.
    """
    spectrum = region_spectrum(session, volume_of(session, scan), region)
    known = protocol(session, region, scan)
    known["b1_ut"] *= spectrum.relative_b1
    bound = labelled(session, region, scan).pools.mt
    amount = molar_mm(session.phantom.spec, session.phantom.spec.region(region), scan.case)
    calibration = api("simulated_calibration", "cest.ph")(
        concentration_mm=amount, mt=bound, ph=RATIO_PH, **known
    )
    ratio = api("ratio", "cest.ph")(spectrum.z, spectrum.offset_ppm, at_ppm=known["at_ppm"])
    return float(api("converted", "cest.ph")(calibration, ratio).parameters["ph"])


def ratio_over_concentration(session: Session, region: str, scan: CestScan, ph: float) -> float:
    """Ratio at 20 mmol/L over that at 2 mmol/L, at one pH and without the pools of the tissue."""
    found = api("concentration_bias", "cest.ph")(
        concentration_mm=(2.0, 20.0), reference_mm=2.0, **protocol(session, region, scan)
    )
    place = int(np.argmin(np.abs(found.ph - ph)))
    return float(found.ratio[1, place] / found.ratio[0, place])


def protocol(session: Session, region: str, scan: CestScan) -> dict[str, Any]:
    """What a calibration is simulated with: the scan, and what is known of region and agent."""
    spec = session.phantom.spec
    agent = agent_pools(spec, spec.region(region))
    water = pools_of(spec, region, scan).water
    if len(agent) != 2:
        raise MethodMissing("ratio of two offsets for an agent with other than two pools")
    return {
        "agent": agent[0].agent,
        "b1_ut": scan.b1_ut,
        "saturation_time_s": scan.saturation_s,
        "field_t": scanner_of(spec)[2],
        "water_t1_s": water.t1_s,
        "water_t2_s": water.t2_s,
        "pool_t2_s": agent[0].t2_ms * 1e-3,
        "at_ppm": (agent[0].offset_ppm, agent[1].offset_ppm),
        "protons": {_record_name(pool): pool.protons for pool in agent},
    }


def _record_name(pool: AgentPool) -> str:
    """Name of the pool in the agent's record, by its offset."""
    from imgtheranostics import agents

    recorded = agents.get(pool.agent).cest_pools
    return str(min(recorded, key=lambda one: abs((one.offset_ppm.value or 0.0) - pool.offset_ppm)).name)
