"""Maps of the optoacoustic phantoms as a user makes them: corrected for the light, then unmixed.

What a user would know and no header says is taken from the phantom file: the outline of the body, what the
tissue in its bulk absorbs and scatters, that the light comes from the front, and the spectrum of the agent.
Where only the bulk dims the light (below level 2), its fluence is that of a slab of this tissue; else it is
found from the image itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.msot import bulk_region
from imgtheranostics.phantom.msot_fluence import body_share
from imgtheranostics.phantom.msot_scanner import Absorber
from imgtheranostics.phantom.msot_scans import MsotScan, scanner_of, scans_of
from imgtheranostics.phantom.msot_tissue import AGENT, absorber_of, stated
from imgtheranostics.phantom.physics import part_with
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.msot import Unmixed
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]
Light = Literal["none", "slab", "iterative"]
Method = Literal["wls", "nnls", "ls"]

AGENT_NAME = "agent"
"""Name of the agent's component."""
OXYGENATED, DEOXYGENATED = "HbO2", "Hb"
_SIDE = "anterior"
_LEAST_SHARE = 0.5
_MOL_PER_MMOL = 1e-3


def quantified(session: Session, volume: int, quantity: str) -> Volume | Estimate:
    """The map of a quantity from one image of an optoacoustic phantom, by the public API.

    Raises
    ------
    MethodMissing
        If the package has no method for it yet.
    ImgTheranosticsError
        If the method refuses the image.
    """
    if quantity == "optoacoustic_signal":
        return session.image(volume)
    if quantity in (AGENT, "chromophore_concentration"):
        return amounts(session, volume, light_of(session))[AGENT_NAME]
    if quantity in ("so2", "thb"):
        oxygen = api("oxygenation", "msot")(unmixed(session, volume, light_of(session), "ls"))
        estimate: Estimate = getattr(oxygen, quantity)
        return estimate
    raise MethodMissing(f"method for {quantity}")


def scan_of(session: Session, volume: int) -> MsotScan:
    """The scan of a volume."""
    return scans_of(session.phantom.spec)[part_with(session.phantom.spec, volume)[1]]


def light_of(session: Session) -> Light:
    """How the light of a phantom's images is taken out."""
    if scanner_of(session.phantom.spec).fluence == "none":
        return "none"
    return "iterative" if session.phantom.level >= 2 else "slab"


def amounts(session: Session, volume: int, light: Light, method: Method = "wls") -> dict[str, Volume]:
    """Amount of each component of an image, kept for further questions.

    Parameters
    ----------
    session : Session
    volume : int
    light : {"none", "slab", "iterative"}
        What the image is corrected for before.
    method : {"wls", "nnls", "ls"}
        ``wls`` and ``ls`` keep negative amounts, so that means over regions have no bias.
    """

    def make() -> dict[str, Volume]:
        found = unmixed(session, volume, light, method)
        return {name: estimate.value for name, estimate in found.estimates.items()}

    made: dict[str, Volume] = session.kept(("amounts", volume, light, method), make)
    return made


def unmixed(session: Session, volume: int, light: Light, method: Method = "wls") -> Unmixed:
    """An image corrected and unmixed, as `amounts` has it.

    The noise of a scanner is the same at all wavelengths; over the light, it is the larger the darker. How
    large it is nobody says: only ``ls`` has standard errors, from what is left of each voxel's spectrum.
    """
    image = session.image(volume)
    wavelength_nm = image.axes[-1].values
    weights = np.ones(wavelength_nm.size)
    if light != "none":
        image, bright = corrected(session, volume, light)
        weights = 1.0 / np.nanmedian(bright.data.reshape(-1, wavelength_nm.size, order="F"), axis=0)
    found: Unmixed = api("unmix", "msot")(
        image,
        components(session, volume, wavelength_nm),
        method=method,
        noise_sd=None if method == "ls" else weights,
    )
    return found


def components(session: Session, volume: int, wavelength_nm: FloatArray) -> list[Any]:
    """What the phantom holds: haemoglobin where any region does, water, and the agent, by their spectra."""
    spec, scan = session.phantom.spec, scan_of(session, volume)
    component = api("component", "msot.spectra")
    found: list[Any] = []
    if any(stated(spec, region.name, "thb", scan.case) for region in spec.regions):
        found += [component(name, wavelength_nm, name=name) for name in (OXYGENATED, DEOXYGENATED)]
    if scanner_of(spec).water_share > 0:
        found.append(component("water", wavelength_nm, name="water"))
    if any(region.states(AGENT) is not None for region in spec.regions):
        found.append(agent_component(absorber_of(spec, scan.case), wavelength_nm))
    return found


def agent_component(absorber: Absorber, wavelength_nm: FloatArray) -> Any:
    """The agent's spectrum by the name that the package knows it by."""
    component = api("component", "msot.spectra")
    if absorber.spectrum is not None:
        return component(absorber.spectrum, wavelength_nm, name=AGENT_NAME)
    if absorber.aspect_ratio is None:
        return component(
            f"gold sphere {absorber.diameter_nm:g}",
            wavelength_nm,
            name=AGENT_NAME,
            permittivity=absorber.permittivity,
        )
    return component(
        f"gold nanorod {absorber.aspect_ratio:g}",
        wavelength_nm,
        name=AGENT_NAME,
        diameter_nm=absorber.diameter_nm,
        aspect_ratio_sd=absorber.aspect_ratio_sd,
        permittivity=absorber.permittivity,
    )


def body(session: Session) -> Volume:
    """The outline of the body, as somebody draws it on the image."""
    mixture = session.phantom.mixture
    inside = (body_share(mixture) >= _LEAST_SHARE).astype(np.int32)
    return Volume(inside, mixture.grid.affine, "labels", "1")


def calibration(session: Session) -> float:
    """Signal per absorption of 1/cm at the surface, as a calibration with a known absorber gives it."""
    return float(api("grueneisen", "msot.fluence")(scanner_of(session.phantom.spec).temperature_cel))


def corrected(session: Session, volume: int, light: Light) -> tuple[Volume, Volume]:
    """Absorption in 1/cm, the image over the light and the calibration; and the light."""
    if light == "iterative":
        return _iterated(session, volume)
    image, bright = session.image(volume), slab_light(session, volume)
    found: Volume = api("correct", "msot.fluence")(image, bright, calibration=calibration(session))
    return found, bright


def slab_light(session: Session, volume: int) -> Volume:
    """The light at each depth of a slab of the bulk's tissue, at the wavelengths of an image."""
    wavelength_nm = scan_of(session, volume).wavelength_nm
    absorption, scattering = bulk_tissue(session, volume, wavelength_nm)
    depth = api("depth_from_mask", "msot.fluence")(body(session), illumination=_SIDE)
    found: Volume = api("fluence_map", "msot.fluence")(depth, wavelength_nm, mu_a=absorption, mu_s=scattering)
    return found


def bulk_tissue(session: Session, volume: int, wavelength_nm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Absorption and reduced scattering of the bulk at each wavelength, 1/cm."""
    spec, scan = session.phantom.spec, scan_of(session, volume)
    bulk = bulk_region(spec, session.phantom.mixture)
    absorption = api("tissue_absorption", "msot.fluence")(
        wavelength_nm,
        thb_umol_l=stated(spec, bulk, "thb", scan.case) or 0.0,
        so2=(stated(spec, bulk, "so2", scan.case) or 0.0) / 100.0,
        water=scanner_of(spec).water_share,
    )
    held = stated(spec, bulk, AGENT, scan.case)
    if held:
        dye = agent_component(absorber_of(spec, scan.case), wavelength_nm)
        absorption = absorption + held * _MOL_PER_MMOL * dye.natural
    at_reference = scattering_of(session, volume, bulk)
    return np.asarray(absorption, np.float64), _scattering(session, at_reference, wavelength_nm)


def scattering_of(session: Session, volume: int, region: str) -> float:
    """Reduced scattering of a region at the scanner's reference, 1/cm."""
    spec = session.phantom.spec
    found = stated(spec, region, "scattering", scan_of(session, volume).case)
    return found or scanner_of(spec).scattering_per_cm or 0.0


def mean_scattering(session: Session, volume: int) -> float:
    """Reduced scattering of the body on average, at the scanner's reference, 1/cm: nobody knows its parts."""
    volumes = session.phantom.mixture.volumes_ml()
    total = sum(share * scattering_of(session, volume, name) for name, share in volumes.items())
    return total / sum(volumes.values())


def _scattering(session: Session, at_reference: float, wavelength_nm: FloatArray) -> FloatArray:
    """Reduced scattering at each wavelength, 1/cm."""
    scanner = scanner_of(session.phantom.spec)
    found = api("reduced_scattering", "msot.fluence")(
        wavelength_nm,
        amplitude_per_cm=at_reference,
        power=scanner.scattering_power,
        reference_nm=scanner.scattering_at_nm,
    )
    return np.asarray(found, np.float64)


def _iterated(session: Session, volume: int) -> tuple[Volume, Volume]:
    """Absorption over the light that the image itself implies, and this light."""
    image = session.image(volume)
    wavelength_nm = image.axes[-1].values
    water = scanner_of(session.phantom.spec).water_share
    held = [part for part in components(session, volume, wavelength_nm) if part.name != "water"]
    found = api("iterative", "msot.fluence")(
        image,
        body(session),
        held,
        calibration=calibration(session),
        background={"water": water} if water > 0 else None,
        mu_s=_scattering(session, mean_scattering(session, volume), wavelength_nm),
        illumination=_SIDE,
    )
    return found.volume, found.fluence
