"""Measuring methods that undo partial volume: a sphere by its closed form, regions by the public corrections.

At levels 0 and 1 the resolution is that of the voxels alone, and regions are the shares of voxels that they
fill; from level 2 on regions are masks, as a reader draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from imgtheranostics.nuclear.partial_volume import correct_sphere_mean, gtm, iterative_yang, rbv
from imgtheranostics.phantom.truth import resolution_mm, sphere_diameter_mm, surroundings
from imgtheranostics.regions import FWHM_PER_SD, roi_statistics
from imgtheranostics.validation.methods import best, method

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.regions import Regions
    from imgtheranostics.validation.session import Session
    from imgtheranostics.volume import Estimate

Corrected = Mapping[tuple[str, int], float]
"""Mean by region and frame."""

VOXEL_FWHM = FWHM_PER_SD / math.sqrt(12.0)
"""Width of a Gaussian with the variance of a voxel, in voxels."""
_ROUNDING = 1e-6


@method("partial_volume_corrected", short="corrected")
def partial_volume_corrected(session: Session, expectation: Expectation) -> float:
    """Mean of a sphere, corrected with its diameter, the resolution, and the mean around it as measured."""
    spec = session.phantom.spec
    place, quantity, region = expectation.places[0], expectation.quantity, expectation.region
    around = best(session, surroundings(spec, region))
    found = correct_sphere_mean(
        session.mean(place, quantity, region),
        diameter_mm=sphere_diameter_mm(spec, region),
        fwhm_mm=resolution_mm(spec, place[0]),
        background=session.mean(place, quantity, around),
    )
    return found.value


@method("transfer_matrix", short="GTM")
def transfer_matrix(session: Session, expectation: Expectation) -> float:
    """True mean of a region by the geometric transfer matrix of all regions; over another's for ``a/b``."""

    def solved(image: Any, regions: Any, width: Any) -> Corrected:
        return _means(gtm(image, regions, psf_fwhm_mm=width))

    return _asked(expectation, _corrected(session, expectation, "gtm", solved))


def _by_voxels(name: str, correct: Callable[..., Estimate]) -> Callable[..., float]:
    def measure(session: Session, expectation: Expectation) -> float:
        """Mean of the voxels of a region after a correction of every voxel; over another's for ``a/b``."""

        def solved(image: Any, regions: Any, width: Any) -> Corrected:
            found = correct(image, regions, psf_fwhm_mm=width)
            return _means(roi_statistics(found, session.phantom.regions))

        return _asked(expectation, _corrected(session, expectation, name, solved))

    return measure


method("region_based_voxels", short="RBV")(_by_voxels("rbv", rbv))
method("iterative_yang", short="Yang")(_by_voxels("iterative_yang", iterative_yang))


def drawn_regions(session: Session) -> Regions | dict[str, Any]:
    """What fills the image: the phantom's shares where nothing is blurred, else masks of all its regions."""
    phantom = session.phantom
    if phantom.level < 2:
        return {name: phantom.mixture.occupancy(name) for name in phantom.mixture.names}
    known = set(phantom.regions.names.values())
    return phantom.regions.subset([name for name in phantom.mixture.names if name in known])


def image_fwhm_mm(session: Session, volume: int) -> float | tuple[float, ...]:
    """Resolution of an image: that of its scanner from level 2 on, below it that of a voxel."""
    if session.phantom.level >= 2:
        return resolution_mm(session.phantom.spec, volume)
    spacing = session.image(volume).grid.spacing_mm
    return tuple(VOXEL_FWHM * (1 + _ROUNDING) * width for width in spacing)


def _corrected(
    session: Session, expectation: Expectation, name: str, solved: Callable[[Any, Any, Any], Corrected]
) -> tuple[Corrected, int]:
    """All regions of one image corrected, once; and the frame that is asked for."""
    volume, frame = expectation.places[0]
    quantity = expectation.quantity

    def make() -> Corrected:
        image = session.quantified(volume, quantity)
        return solved(image, drawn_regions(session), image_fwhm_mm(session, volume))

    return session.kept((name, volume, quantity), make), frame


def _asked(expectation: Expectation, found: tuple[Corrected, int]) -> float:
    means, frame = found
    region, _, over = expectation.region.partition("/")
    value = means.get((region, frame), math.nan)
    return value / means.get((over, frame), math.nan) if over else value


def _means(table: Any) -> Corrected:
    """Means of a table by region, whose rows of one region are in the order of the frames."""
    order: dict[str, int] = {}
    means: dict[tuple[str, int], float] = {}
    for region, mean in zip(table["region"], table["mean"], strict=True):
        means[region, order.get(region, 0)] = float(mean)
        order[region] = order.get(region, 0) + 1
    return means
