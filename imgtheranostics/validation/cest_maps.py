"""Maps of the CEST phantoms as a user makes them with the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.phantom.cest_scans import CestScan
from imgtheranostics.phantom.cest_truth import label_ppm
from imgtheranostics.validation.cest_spectra import field_maps, relaxation_bias, scan_of, volume_of
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session

AVERAGED_MM, SMOOTHED = 1.0, 0.975
"""Of maps of pH: width of the average over voxels; of samples 0.1 ppm apart, such a spline lets through half
of what has a wavelength of 1.4 ppm, about the width of both amides' lines."""


def quantified(session: Session, volume: int, quantity: str) -> Volume | Estimate:
    """The map of a quantity from one scan of a CEST phantom.

    Raises
    ------
    MethodMissing
        If the package has no method for it yet.
    ImgTheranosticsError
        If the method refuses the images.
    """
    image = session.image(volume)
    if quantity == image.quantity:
        return image
    if quantity == "mtr_asym":
        return asymmetry(session, volume)
    if quantity == "ph":
        return acidity(session, volume)
    raise MethodMissing(f"method for {quantity}")


def asymmetry(session: Session, volume: int) -> Estimate:
    """Asymmetry at the agent's offset, %, where the signal is that of tissue."""
    found: Estimate = api("contrast", "cest.analysis")(
        session.image(volume),
        kind="mtr_asym",
        at_ppm=label_ppm(session.phantom.spec),
        b0=field_maps(session).b0_ppm,
        mask=session.phantom.regions,
    )
    return found


def change(session: Session, before: CestScan, after: CestScan, *, smooth: float | None = None) -> Estimate:
    """Change of the asymmetry at the agent's offset from one scan to another, %."""
    found: Estimate = api("contrast", "cest.analysis")(
        session.image(volume_of(session, before)),
        session.image(volume_of(session, after)),
        kind="mtr_asym",
        at_ppm=label_ppm(session.phantom.spec),
        b0=field_maps(session).b0_ppm,
        smooth=smooth,
        mask=session.phantom.regions,
    )
    return found


def acidity(session: Session, volume: int) -> Estimate:
    """Acidity from the ratio of the asymmetries at both offsets of the agent, by a simulated calibration.

    The asymmetry at 5.5 ppm is below the noise of a single voxel, and it changes with B1: spectra of
    neighbours are averaged and smoothed, and brought to the nominal B1 with those of the other scans.
    """
    from imgtheranostics.validation.cest_fits import labelled, series
    from imgtheranostics.validation.cest_ph import RATIO_PH, protocol

    scan, spec = scan_of(session, volume), session.phantom.spec
    region = next(region.name for region in spec.regions if region.states("ph"))
    amount = next(truth.in_own_unit() for r in spec.regions if (truth := r.states("molar_concentration")))
    known = protocol(session, region, scan)
    bound = labelled(session, region, scan).pools.mt
    calibration = api("simulated_calibration", "cest.ph")(
        concentration_mm=amount, mt=bound, ph=RATIO_PH, **known
    )
    fields = field_maps(session)
    spectra = api("correct_b1", "cest.analysis")(
        [session.image(volume_of(session, one)) for one in series(session, scan)],
        nominal_b1_ut=scan.b1_ut,
        method="linear",
        extrapolate=True,
        b0=fields.b0_ppm,
        b1=np.asarray(fields.relative_b1 / relaxation_bias(session, region), np.float32),
        average_mm=AVERAGED_MM,
        smooth=SMOOTHED,
        mask=session.phantom.regions,
    )
    found: Estimate = api("ph_map", "cest")(spectra, calibration=calibration, b0=None)
    return found
