"""Measuring methods of the optoacoustic phantoms: ratios, oxygen, what light costs, what can be detected."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.msot_tissue import AGENT
from imgtheranostics.phantom.physics import part_with
from imgtheranostics.regions import roi_statistics
from imgtheranostics.validation import msot_maps
from imgtheranostics.validation.detection import DETECTION, detection_limits
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.validation.msot_maps import AGENT_NAME, DEOXYGENATED, OXYGENATED, Light

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]

VIAL = "vial"
"""Beginning of the names of regions with a known concentration."""
_PERCENT = 100.0
_UMOL_PER_MMOL = 1e3


@method("region_saturation", short="region sO2")
def region_saturation(session: Session, expectation: Expectation) -> float:
    """Oxygen saturation from a region's mean haemoglobins: single voxels are too noisy for a ratio."""
    return _saturation(session, expectation, msot_maps.light_of(session))


@method("saturation_without_fluence", short="sO2 uncorr.")
def saturation_without_fluence(session: Session, expectation: Expectation) -> float:
    """The same where nobody takes the light out of the image."""
    return _saturation(session, expectation, "none")


@method("ratio_without_fluence", unit="1", short="uncorrected")
def ratio_without_fluence(session: Session, expectation: Expectation) -> float:
    """Mean amount of the agent in a region over that in another, where nobody takes the light out."""
    if expectation.quantity != AGENT:
        raise MethodMissing(f"ratio of {expectation.quantity} without fluence correction")
    region, _, over = expectation.region.partition("/")
    found = _means(session, expectation.places[0][0], "none", AGENT_NAME)
    return found[region] / found[over]


@method("agent_recovery", unit="1", short="recovered")
def agent_recovery(session: Session, expectation: Expectation) -> float:
    """Mean concentration of the agent in a region over its truth."""
    volume = expectation.places[0][0]
    found = _means(session, volume, msot_maps.light_of(session), AGENT_NAME)[expectation.region]
    return found / _UMOL_PER_MMOL / _truth(session, expectation.region, volume)


@method("agent_recovery_without_fluence", unit="1", short="uncorrected")
def agent_recovery_without_fluence(session: Session, expectation: Expectation) -> float:
    """The same where nobody takes the light out, apart from its mean over the wavelengths in the region."""
    volume = expectation.places[0][0]
    inside = session.phantom.regions.mask(expectation.region)
    bright = float(msot_maps.slab_light(session, volume).data[inside].mean(dtype=np.float64))
    found = _means(session, volume, "none", AGENT_NAME)[expectation.region]
    per_mmol_l = bright * msot_maps.calibration(session) * _UMOL_PER_MMOL
    return found / per_mmol_l / _truth(session, expectation.region, volume)


@method("signal_over_noise", unit="1", short="over noise")
def signal_over_noise(session: Session, expectation: Expectation) -> float:
    """Mean amount of the agent in a region over the noise of a voxel there: of all images the largest.

    The noise is the scatter of the region's voxels in the image without agent.
    """
    volumes = [volume for volume, _ in expectation.places]
    blank = _blank(session, volumes, expectation.region)
    noise = float(_voxels(session, blank, expectation.region).std(ddof=1))
    found = [float(_voxels(session, volume, expectation.region).mean()) / noise for volume in volumes]
    return max(found, key=abs)


@method("detected", unit="1", short="detected")
def detected(session: Session, expectation: Expectation) -> float:
    """1 if the largest amount of the agent in a region exceeds the limit of detection of a voxel, else 0.

    The limit lies 3.3 standard deviations of the region's voxels above their mean without agent.
    """
    volumes = [volume for volume, _ in expectation.places]
    blank = _voxels(session, _blank(session, volumes, expectation.region), expectation.region)
    fullest = max(volumes, key=lambda volume: _truth(session, expectation.region, volume))
    amount = float(_voxels(session, fullest, expectation.region).mean())
    return float(amount > blank.mean() + DETECTION * blank.std(ddof=1))


@method("detection_limit_order", unit="1", short="LOD order")
def detection_limit_order(session: Session, expectation: Expectation) -> float:
    """1 when the limit of detection of a voxel rises from each vial to the next deeper one, else 0."""
    limits = [_voxel_limit(session, expectation, region) for region in vials_by_depth(session)]
    return float(all(low < high for low, high in pairwise(limits)))


@method("smallest_sign", unit="1", short="least sign")
def smallest_sign(session: Session, expectation: Expectation) -> float:
    """-1 if non-negative unmixing leaves a negative amount anywhere in the region, else 0."""
    smallest = 0.0
    inside = session.phantom.regions.mask(expectation.region)
    for volume, _ in expectation.places:
        found = msot_maps.amounts(session, volume, _direct(session), "nnls")
        smallest = min(smallest, *(float(amount.data[inside].min()) for amount in found.values()))
    return float(np.sign(smallest))


def vials(session: Session, volume: int) -> tuple[FloatArray, FloatArray]:
    """True concentration of the agent in each vial, mmol/L, and the mean amount that is measured."""
    found = _means(session, volume, msot_maps.light_of(session), AGENT_NAME)
    names = [region.name for region in session.phantom.spec.regions if region.name.startswith(VIAL)]
    true = [_truth(session, name, volume) for name in names]
    return np.array(true), np.array([found[_best(session, name)] for name in names])


def vials_by_depth(session: Session) -> list[str]:
    """Names of the vials, the shallowest first."""
    from imgtheranostics.phantom.msot_fluence import depth_mm

    mixture = session.phantom.mixture
    depth, pure = depth_mm(mixture), mixture.pure()
    names = [name for name in mixture.names if name.startswith(VIAL)]
    return sorted(names, key=lambda name: float(depth[pure == mixture.names.index(name) + 1].mean()))


def _direct(session: Session) -> Light:
    """Light by depth alone, at every level: what one image without a calibration allows."""
    return "none" if msot_maps.light_of(session) == "none" else "slab"


def _saturation(session: Session, expectation: Expectation, light: Light) -> float:
    """Of a region, in %."""
    if expectation.quantity != "so2":
        raise MethodMissing(f"region saturation of {expectation.quantity}")
    volume = expectation.places[0][0]
    bright = [_means(session, volume, light, name)[expectation.region] for name in (OXYGENATED, DEOXYGENATED)]
    fit = api("so2", "msot.oxygenation")(*bright, hbo2_se=0.0, hb_se=0.0)
    return _PERCENT * float(fit.parameters["so2"])


def _means(session: Session, volume: int, light: Light, name: str) -> dict[str, float]:
    """Mean amount of a component in each region, negative voxels included."""
    table = roi_statistics(msot_maps.amounts(session, volume, light)[name], session.phantom.regions)
    return {region: float(mean) for region, mean in zip(table["region"], table["mean"], strict=True)}


def _voxels(session: Session, volume: int, region: str) -> FloatArray:
    """Amounts of the agent in the voxels of a region."""
    found = msot_maps.amounts(session, volume, _direct(session))[AGENT_NAME]
    return found.data[session.phantom.regions.mask(region)].astype(np.float64)


def _voxel_limit(session: Session, expectation: Expectation, region: str) -> float:
    """Concentration that a voxel of a region must hold to be detected, mmol/L."""
    volumes = [volume for volume, _ in expectation.places]
    true = [_truth(session, region, volume) for volume in volumes]
    measured = [float(_voxels(session, volume, region).mean()) for volume in volumes]
    blank = _voxels(session, _blank(session, volumes, region), region)
    return detection_limits(true, measured, blank).detection


def _blank(session: Session, volumes: list[int], region: str) -> int:
    """The image in which a region holds no agent.

    Raises
    ------
    MethodMissing
        If there is none.
    """
    for volume in volumes:
        if _truth(session, region, volume) == 0:
            return volume
    raise MethodMissing(f"image without agent in {region}")


def _truth(session: Session, region: str, volume: int) -> float:
    physics, number = part_with(session.phantom.spec, volume)
    return physics.region_truth(session.phantom.spec, region, AGENT, number)


def _best(session: Session, region: str) -> str:
    """The core of a region, where there is one: it keeps its signal at the image's resolution."""
    core = f"{region}_core"
    return core if core in session.phantom.regions.names.values() else region
