"""Measuring methods of theranostic twins: the dose of what is given, from images of what was imaged.

From level 2 on the images are corrected with the regions of the phantom before voxels become doses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.nuclear import dose_of_scans, pair_table
from imgtheranostics.nuclear.dosimetry import voxel_s
from imgtheranostics.nuclear.pairs import Transfer, transfer
from imgtheranostics.nuclear.partial_volume import rbv
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.validation.methods import Method, best, exposure_of, method
from imgtheranostics.validation.partial_volume_methods import drawn_regions, image_fwhm_mm

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session
    from imgtheranostics.volume import Estimate, Volume

GIVEN = ("Y-90", "I-131")
"""Therapeutic twins for which kinetics are transferred."""

DENSITY_G_ML = 1.0
"""Of all regions of the phantoms but lungs."""
_GY_PER_MGY = 1e-3


def _effective_half_life(given: str) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """Effective half-life of the twin in the region, h."""
        return _transferred(session, expectation, given).effective_half_life_s / 3600

    return measure


def _residence(given: str) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """Time-integrated activity coefficient of the twin in the whole region, h."""
        found = _transferred(session, expectation, given)
        return found.tiac_s / 3600 * session.phantom.mixture.volumes_ml()[expectation.region]

    return measure


def _local_dose(given: str) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """Absorbed dose of the twin by local deposition, Gy/MBq."""
        return _transferred(session, expectation, given).local_dose_gy_per_mbq

    return measure


def _from_table(given: str, quantity: str, per: float) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """A result of the table of the twins of the region, by a fit of its curve."""
        return _of_table(session, expectation, given, quantity) / per

    return measure


def _equilibrium_dose(given: str) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """Dose where the same uptake lies all around: decays per gram times the whole kernel, Gy/MBq."""
        spacing = session.image(expectation.places[0][0]).grid.spacing_mm
        voxel_g = DENSITY_G_ML * math.prod(spacing) * 1e-3
        kernel = voxel_s(given, spacing, density_g_ml=DENSITY_G_ML)
        decays = _of_table(session, expectation, given, "tiac_per_g")
        return decays * voxel_g * float(kernel.sum()) * _GY_PER_MGY

    return measure


def _voxel_dose(given: str, absorption: str) -> Method:
    def measure(session: Session, expectation: Expectation) -> float:
        """Mean over a region of the dose of its voxels, Gy/MBq."""
        dose = _dose_map(session, expectation, given, absorption)
        region = expectation.region
        if absorption == "kernel":
            return _mean(dose, _drawn(session, region), region)
        return _mean(dose, session.phantom.regions, best(session, region))

    return measure


for _name in GIVEN:
    method(f"effective_half_life_{_name}", unit="h", short=f"T_eff {_name}")(_effective_half_life(_name))
    method(f"residence_{_name}", unit="h", short=f"tau {_name}")(_residence(_name))
    method(f"local_dose_{_name}", unit="Gy/MBq", short=f"dose {_name}")(_local_dose(_name))

    method(f"curve_half_life_{_name}", unit="h", short=f"T_fit {_name}")(
        _from_table(_name, "effective_half_life", 3600.0)
    )
    method(f"self_dose_{_name}", unit="Gy/MBq", short=f"self {_name}")(
        _from_table(_name, "self_dose_per_activity", 1.0)
    )
    method(f"equilibrium_dose_{_name}", unit="Gy/MBq", short=f"equil. {_name}")(_equilibrium_dose(_name))
    method(f"voxel_local_dose_{_name}", unit="Gy/MBq", short=f"voxels {_name}")(_voxel_dose(_name, "local"))
    method(f"voxel_kernel_dose_{_name}", unit="Gy/MBq", short=f"kernel {_name}")(_voxel_dose(_name, "kernel"))


def _transferred(session: Session, expectation: Expectation, given: str) -> Transfer:
    region = best(session, expectation.region)
    points = [session.curve(volume, "id_per_g")[region] for volume, _ in expectation.places]
    errors = [point.standard_error for point in points]
    return transfer(
        [point.time_s for point in points],
        [point.mean for point in points],
        imaged=exposure_of(session, expectation.places[0][0]).label,
        given=given,
        standard_error=errors if all(error > 0 for error in errors) else None,
    )


def _of_table(session: Session, expectation: Expectation, given: str, quantity: str) -> float:
    """A result of `pair_table`, from a curve of one exponential, with the mass that the region really has."""
    region = best(session, expectation.region)
    volumes = tuple(volume for volume, _ in expectation.places)

    def make() -> dict[str, float]:
        mass_g = DENSITY_G_ML * session.phantom.mixture.volumes_ml()[expectation.region]
        table = pair_table(
            [session.image(volume) for volume in volumes],
            session.phantom.regions.subset([region]),
            given=given,
            model="mono",
            masses_g={region: mass_g},
            density_g_ml=DENSITY_G_ML,
            **_calibrated(session, volumes[0]),
        )
        return dict(zip(table["quantity"], table["mean"], strict=True))

    return float(session.kept(("pair table", given, region, volumes), make)[quantity])


def _dose_map(session: Session, expectation: Expectation, given: str, absorption: str) -> Estimate:
    """Dose per MBq of the twin in every voxel."""
    volumes = tuple(volume for volume, _ in expectation.places)

    def make() -> Estimate:
        found = dose_of_scans(
            [_sharpened(session, volume) for volume in volumes],
            nuclide=given,
            per_mbq=True,
            model="mono",
            density=DENSITY_G_ML,
            method=absorption,
            **_calibrated(session, volumes[0]),
        )
        return found.dose

    found: Estimate = session.kept(("dose", given, absorption, volumes), make)
    return found


def _sharpened(session: Session, volume: int) -> Volume:
    image = session.image(volume)
    if session.phantom.level < 2:
        return image
    return rbv(image, drawn_regions(session), psf_fwhm_mm=image_fwhm_mm(session, volume)).value


def _calibrated(session: Session, volume: int) -> dict[str, Any]:
    known = session.calibration(volume)
    return {} if known is None else {"sensitivity_cps_mbq": known}


def _drawn(session: Session, region: str) -> Regions:
    """The voxels of which a region fills at least half: its edge counts, too."""
    mixture = session.phantom.mixture
    number = mixture.names.index(region) + 1
    inside = (mixture.nominal() == number).astype(np.int32)
    return Regions(inside[..., np.newaxis], {1: region}, mixture.grid)


def _mean(dose: Estimate, regions: Regions, region: str) -> float:
    table = roi_statistics(dose, regions.subset([region]))
    return float(table["mean"].iloc[0])
