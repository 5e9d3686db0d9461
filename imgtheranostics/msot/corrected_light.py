"""An image corrected for light in one call, with the noise that the correction makes of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.msot.body_depth import depth_from_mask
from imgtheranostics.msot.fluence_iteration import iterative
from imgtheranostics.msot.fluence_maps import correct, fluence_map, signal_wavelengths
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume, make_step

LightModel = Literal["slab", "cylinder", "diffusion"]
LIGHT_MODELS = ("slab", "cylinder", "diffusion")


@dataclass(frozen=True, eq=False)
class CorrectedLight:
    """An image divided by the light that reached each voxel.

    Attributes
    ----------
    volume : Volume
        ``optical_absorption`` in 1/cm where a calibration was given, else ``optoacoustic_signal``.
    fluence : Volume
        Over that at the surface, at each wavelength of the image.
    depth : Volume
        ``depth`` in mm below the lit surface.
    signal_per_absorption : float
        1 where the scale of the image was left as it is.
    """

    volume: Volume
    fluence: Volume
    depth: Volume
    signal_per_absorption: float

    def noise(self, noise_sd: float | Sequence[float] | npt.ArrayLike | None) -> Volume | None:
        """Noise of the corrected image, as `imgtheranostics.msot.unmix` takes it: it grows with depth.

        Parameters
        ----------
        noise_sd : float or (n,) array_like, optional
            Of the image before, at each wavelength.
        """
        if noise_sd is None:
            return None
        given = np.asarray(noise_sd, np.float64)
        n = self.fluence.shape[-1]
        if given.shape not in ((), (1,), (n,)):
            raise ValueError(f"noise_sd must be one number, or one for each of {n} wavelengths")
        light = np.asarray(self.fluence.data, np.float64) * self.signal_per_absorption
        return self.fluence.replace(
            data=given / np.where(light > 0.0, light, np.nan),
            quantity=self.volume.quantity,
            unit=self.volume.unit,
            axes=self.volume.axes[-1:],
            warnings=(),
        )


def solid_body(regions: Regions) -> Volume:
    """Regions together as a body without holes in its slices.

    Regions drawn beside each other leave gaps between them, at which light would not enter.

    Parameters
    ----------
    regions : Regions

    Returns
    -------
    Volume
        1 inside and 0 outside.
    """
    from scipy import ndimage

    inside = regions.union()
    filled = np.stack([ndimage.binary_fill_holes(inside[..., k]) for k in range(inside.shape[2])], axis=2)
    step = make_step("solid_body", regions=list(regions), voxels_filled=int(filled.sum() - inside.sum()))
    return Volume(filled.astype(np.int32), regions.grid.affine, "labels", "1", history=(step,))


def corrected_light(
    volume: Volume,
    body: Volume | Regions,
    components: Sequence[Any] | Mapping[str, Any],
    *,
    model: LightModel = "diffusion",
    illumination: str = "around",
    mu_a: npt.ArrayLike | None = None,
    mu_s: npt.ArrayLike | None = None,
    calibration: float | None = None,
    thb_umol_l: float | None = None,
    background: Mapping[str, float] | None = None,
) -> CorrectedLight:
    """Correct an image for the light, by a known absorption or by what the image implies.

    Parameters
    ----------
    volume : Volume
        ``optoacoustic_signal``, last axis wavelength.
    body : Volume or Regions
        Where the body is.
    components : sequence or mapping
        All that absorbs; not used where `mu_a` is given.
    model : {"diffusion", "slab", "cylinder"}
    illumination : str
        As `imgtheranostics.msot.fluence.depth_from_mask` takes it.
    mu_a : float or (n,) array_like, optional
        Absorption coefficient of an even body in 1/cm; for slab and cylinder. Without it the image is
        iterated with its own absorption.
    mu_s, calibration, thb_umol_l, background
        As `imgtheranostics.msot.fluence.iterative` takes them; the last two only without `mu_a`.

    Returns
    -------
    CorrectedLight

    Raises
    ------
    UnknownChoice
        If options do not fit the model.
    ImgTheranosticsError
        As `imgtheranostics.msot.fluence.iterative`, `fluence_map` and `correct`.
    """
    checked(model, LIGHT_MODELS, "model")
    depth = depth_from_mask(body, illumination=illumination)
    if mu_a is None:
        found = iterative(
            volume,
            body,
            components,
            calibration=calibration,
            thb_umol_l=thb_umol_l,
            background=background,
            mu_s=mu_s,
            illumination=illumination,
            model=model,
        )
        scaled = found.volume.quantity == "optical_absorption"
        return CorrectedLight(
            found.volume, found.fluence, depth, found.signal_per_absorption if scaled else 1.0
        )
    if model == "diffusion":
        raise UnknownChoice(
            "mu_a= belongs to a slab or a cylinder; diffusion takes the absorption where it is"
        )
    if thb_umol_l is not None or background is not None:
        raise UnknownChoice("thb_umol_l= and background= do not apply where mu_a= states the absorption")
    wavelength = signal_wavelengths(volume).values
    light = fluence_map(depth, wavelength, mu_a=mu_a, mu_s=mu_s, model=model)
    fitted = correct(volume, light, calibration=calibration).with_warnings(*depth.warnings, *light.warnings)
    return CorrectedLight(fitted, light, depth, 1.0 if calibration is None else calibration)
