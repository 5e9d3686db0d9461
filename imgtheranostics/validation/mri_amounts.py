"""Amounts by a linear calibration: iron in magnetic particle imaging, 19F nuclei against a reference tube."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.validation.detection import straight_line
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]

WATER = "water"
"""Region around the vials, without agent."""
_NO_NOISE = 1e-9


def slope_over_vials(session: Session, volume: int, quantity: str) -> float:
    """Slope of measured over true amounts of all vials but the standard, which is the one with most."""
    true = _stated(session, quantity)
    standard = _standard(true)
    vials = [name for name in true if true[name] > 0 and name != standard]
    measured = _MEASURES[_known(quantity)](session, volume, (standard, true[standard]), vials)
    return straight_line([true[name] for name in vials], measured)[0]


def background_amount(session: Session, volume: int, quantity: str) -> float:
    """Amount that the mean signal around the vials would stand for, in the quantity's own unit."""
    true = _stated(session, quantity)
    standard = _standard(true)
    around, full = (_voxels(session, volume, name).mean() for name in (WATER, standard))
    return float(true[standard] * around / full)


def _stated(session: Session, quantity: str) -> dict[str, float]:
    """Amount in each region that states one, in the quantity's own unit."""
    regions = session.phantom.spec.regions
    return {region.name: truth.in_own_unit() for region in regions if (truth := region.states(quantity))}


def _standard(true: dict[str, float]) -> str:
    return max(true, key=lambda name: true[name])


def _known(quantity: str) -> str:
    if quantity not in _MEASURES:
        raise MethodMissing(f"calibration of {quantity}")
    return quantity


def _voxels(session: Session, volume: int, name: str) -> FloatArray:
    """Values of a region's core, or of the region where it has none."""
    core, regions = f"{name}_core", session.phantom.regions
    inside = regions.mask(core if core in regions.names.values() else name)
    return np.asarray(session.image(volume).data[inside], np.float64)


def _iron(session: Session, volume: int, standard: tuple[str, float], vials: list[str]) -> list[float]:
    """Mass in each vial by a line through the standard and the water around."""
    name, mass_mg = standard
    line = api("fit_line_through_blank", "mri.linear_calibration")(
        [mass_mg],
        [_voxels(session, volume, name).mean()],
        blank=[_voxels(session, volume, WATER).mean()],
        unit="mg",
    )
    readings = [float(_voxels(session, volume, vial).mean()) for vial in vials]
    return [float(value) for value in line.amount(readings).parameters["amount"]]


def _nuclei(session: Session, volume: int, standard: tuple[str, float], vials: list[str]) -> list[float]:
    """Number of 19F nuclei in each vial against the reference tube.

    Amplitudes are those of whole vials: the mean square of magnitudes without that of the noise is unbiased
    where single voxels are below the noise.
    """
    name, nuclei = standard
    image = session.image(volume)
    try:
        noise_sd = api("background_noise_sd", "mri.noise")(image)
    except UnsupportedInput:
        noise_sd = _NO_NOISE * float(image.data.max())  # an image without noise

    def amplitude(vial: str) -> float:
        value, _ = api("region_amplitude", "mri.noise_bias")(_voxels(session, volume, vial), noise_sd)
        return float(value)

    tube = amplitude(name)
    return [nuclei * amplitude(vial) / tube for vial in vials]


_MEASURES: dict[str, Callable[[Session, int, tuple[str, float], list[str]], list[float]]] = {
    "agent_mass": _iron,
    "spins": _nuclei,
}
