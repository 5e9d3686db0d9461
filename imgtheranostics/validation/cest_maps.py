"""Maps of the CEST phantoms as a user makes them with the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtheranostics.phantom.cest_scans import CestScan
from imgtheranostics.phantom.cest_truth import label_ppm
from imgtheranostics.validation.cest_spectra import field_maps, scan_of, volume_of
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session


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
    """Acidity from the ratio of the asymmetries at both offsets of the agent, by a simulated calibration."""
    from imgtheranostics.validation.cest_fits import labelled
    from imgtheranostics.validation.cest_ph import RATIO_PH, protocol

    scan, spec = scan_of(session, volume), session.phantom.spec
    region = next(region.name for region in spec.regions if region.states("ph"))
    amount = next(truth.in_own_unit() for r in spec.regions if (truth := r.states("molar_concentration")))
    known = protocol(session, region, scan)
    bound = labelled(session, region, scan).pools.mt
    calibration = api("simulated_calibration", "cest.ph")(
        concentration_mm=amount, mt=bound, ph=RATIO_PH, **known
    )
    found: Estimate = api("ph_map", "cest")(
        session.image(volume),
        calibration=calibration,
        denoise="auto",
        b0=field_maps(session).b0_ppm,
        mask=session.phantom.regions,
    )
    return found
