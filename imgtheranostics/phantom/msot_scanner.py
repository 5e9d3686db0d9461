"""The optoacoustic scanner of a phantom: light, absorbers, resolution across the slice, bleaching."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.model import Model, Name, NotNegative, Positive, Share

Wavelength = Annotated[float, Field(ge=200, le=3000)]
Temperature = Annotated[float, Field(ge=0, le=60)]


class Absorber(Model):
    """What an agent absorbs as: a spectrum that the package ships, or a gold particle of a stated shape.

    Attributes
    ----------
    spectrum
        Name of a shipped molar spectrum, such as ``ICG``.
    aspect_ratio, aspect_ratio_sd
        Of gold nanorods; `diameter_nm` is then their width.
    diameter_nm
        Of gold spheres, or of rods.
    permittivity
        Of gold: the two tables put the peak of a rod 7 to 61 nm apart.
    """

    spectrum: str | None = None
    aspect_ratio: Annotated[float, Field(gt=1, le=20)] | None = None
    aspect_ratio_sd: NotNegative = 0.0
    diameter_nm: Positive | None = None
    permittivity: Literal["johnson-christy-1972", "lorentz-drude-1998"] = "johnson-christy-1972"

    @model_validator(mode="after")
    def _one_kind(self) -> Absorber:
        if (self.spectrum is None) == (self.diameter_nm is None):
            raise PydanticCustomError("absorber", "a spectrum is needed, or the diameter of a gold particle")
        return self


class MsotScanner(Model):
    """Multispectral optoacoustic imaging of a body that is lit from the front (+y).

    Attributes
    ----------
    fluence
        ``none``: as bright everywhere as at the surface; ``beer_lambert``: it falls with the depth by the
        absorption and reduced scattering of the bulk; ``diffusion``: as by diffusion theory in the bulk, and
        from level 2 on in the absorption and scattering of every region.
    bulk
        The region whose tissue is taken for all that light passes on its way, at levels below 2; by default
        the largest.
    scattering_per_cm
        Reduced scattering of regions that state none, at `scattering_at_nm` as theirs.
    scattering_power
        Reduced scattering falls with the wavelength to this power.
    water_share
        Share of water in every region.
    absorber, absorbers
        What the phantom's ``molar_concentration`` is of; by the values of a particle axis where it has one.
        By default the spectrum that the record of the phantom's agent names.
    wavelengths_nm
        Where no axis of the phantom holds them.
    temperature_cel
        Sets the Grueneisen parameter, that of water.
    elevational_fwhm_mm
        Resolution across the slices; that in their plane is `PhysicsSpec.psf_fwhm_mm`.
    photobleaching_per_s
        Rate at which the absorber fades in the light of the surface, from level 2 on.
    seconds_per_wavelength
        The wavelengths are taken one after the other.
    """

    fluence: Literal["none", "beer_lambert", "diffusion"] = "none"
    bulk: Name | None = None
    scattering_per_cm: Positive | None = None
    scattering_at_nm: Wavelength = 800.0
    scattering_power: Annotated[float, Field(ge=0, le=4)] = 0.0
    water_share: Share = 0.0
    absorber: Absorber | None = None
    absorbers: dict[Name, Absorber] = Field(default_factory=dict)
    wavelengths_nm: tuple[Wavelength, ...] = ()
    temperature_cel: Temperature = 34.0
    elevational_fwhm_mm: Positive | None = None
    photobleaching_per_s: NotNegative = 0.0
    seconds_per_wavelength: Positive = 1.0
