"""Fluence from the image itself: the absorption that it shows makes the light that made it.

The image is absorption times fluence, and the fluence follows from absorption. Starting from even
light, absorption is unmixed into its components, light is calculated from these, and the image is divided by
it, until nothing changes: the fixed point of B. T. Cox et al., Appl. Opt. 45, 1866 (2006),
doi:10.1364/AO.45.001866.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.msot.fluence_maps import correct, per_wavelength
from imgtheranostics.msot.light_problem import LightProblem
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume, make_step

FloatArray = npt.NDArray[np.float64]

MODELS = ("diffusion", "slab", "cylinder")


@dataclass(frozen=True, eq=False)
class FluenceCorrection:
    """An image divided by the fluence that it implies.

    Attributes
    ----------
    volume : Volume
        ``optical_absorption`` in 1/cm where a calibration was given, else ``optoacoustic_signal``; NaN
        outside of the body.
    fluence : Volume
        Over that at the surface, at each wavelength of the image; NaN outside of the body, and with
        ``diffusion`` where it is below 2e-5.
    iterations : int
    converged : bool
        Always true: what does not converge is refused.
    wavelength_nm, absorption_per_cm, scattering_per_cm : (n,) ndarray
        Mean absorption of the body, to base e, and the reduced scattering that was taken.
    signal_per_absorption : float
        The calibration, or what the stated haemoglobin makes it.
    """

    volume: Volume
    fluence: Volume
    iterations: int
    converged: bool
    wavelength_nm: FloatArray
    absorption_per_cm: FloatArray
    scattering_per_cm: FloatArray
    signal_per_absorption: float

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """Of the corrected image."""
        return self.volume.warnings

    def noise_sd(self, noise_sd: npt.ArrayLike) -> FloatArray:
        """Noise of the corrected image from that of the image, which grows where light is weak.

        Parameters
        ----------
        noise_sd : float or (n,) array_like
            Standard deviation of the image at each wavelength.

        Returns
        -------
        (i, j, k, n) ndarray
            As `unmix` takes it.
        """
        noise = per_wavelength(noise_sd, self.wavelength_nm, "noise_sd")
        scale = self.signal_per_absorption if self.volume.quantity == "optical_absorption" else 1.0
        return np.asarray(noise / (np.asarray(self.fluence.data, np.float64) * scale))


def iterative(
    volume: Volume,
    mask: Volume | Regions,
    components: Sequence[Any] | Mapping[str, Any],
    *,
    calibration: float | None = None,
    thb_umol_l: float | None = None,
    background: Mapping[str, float] | None = None,
    mu_s: npt.ArrayLike | None = None,
    illumination: str = "around",
    model: str = "diffusion",
    cell_mm: float = 1.5,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
) -> FluenceCorrection:
    """Correct an image for the light that reaches each voxel, from the image itself.

    Parameters
    ----------
    volume : Volume
        ``optoacoustic_signal``, last axis wavelength; normalised by the pulse energy, and for the temperature
        if it changes. The mean over time, if there is a time axis, makes the light.
    mask : Volume or Regions
        The body.
    components : sequence or mapping
        All that absorbs, as `component` takes it; a mapping gives names.
    calibration : float, optional
        Signal per absorption of 1/cm (to base e) at the surface.
    thb_umol_l : float, optional
        Instead: mean total haemoglobin of the body in umol/L. The light depends on absolute absorption, so
        that one of the two has to be known.
    background : mapping of str to float, optional
        What absorbs evenly and is not unmixed, such as ``{"water": 0.75}``: shares of the volume, or mol/L.
    mu_s : float or (n,) array_like, optional
        Reduced scattering in 1/cm; that of soft tissue if it is not given.
    illumination : str
        As for `depth_from_mask`.
    model : {"diffusion", "slab", "cylinder"}
        ``diffusion`` takes the absorption where it is; the other two an even body with its mean.
    cell_mm : float
        Width of the cells in which light is calculated.
    tolerance : float
        Largest relative change of the fluence anywhere at which the iteration ends.
    max_iterations : int

    Raises
    ------
    MissingMetadata
        If neither `calibration` nor `thb_umol_l` is given.
    IllConditioned
        If the iteration does not converge, or the components are too much alike.
    UnitMismatch, UnsupportedInput, GeometryMismatch
        As `correct`.
    ValueError
        If options do not fit.
    """
    checked(model, MODELS, "model")
    problem = LightProblem.of(
        volume, mask, components, calibration, thb_umol_l, background, mu_s, illumination, cell_mm, model
    )
    if tolerance <= 0.0 or max_iterations < 1:
        raise ValueError("tolerance is above 0, and max_iterations at least 1")
    state, iterations = problem.even(tolerance, max_iterations)
    if model == "diffusion":
        state, more = problem.uneven(state, tolerance, max_iterations)
        iterations += more
    light = problem.on_voxels(state)
    step = make_step(
        "iterative_fluence",
        model=model,
        illumination=illumination,
        components=[part.name for part in problem.parts],
        background=dict(background or {}),
        calibration=calibration,
        thb_umol_l=thb_umol_l,
        cell_mm=cell_mm,
        tolerance=tolerance,
        iterations=iterations,
    )
    axes = (Axis("wavelength", problem.wavelength, "nm"),)
    fluence = problem.depth.derived(light, "relative_fluence", "1", step, axes=axes)
    cautions = problem.cautions(state)
    fluence = fluence.with_warnings(*cautions)
    corrected = correct(volume.replace(history=(*volume.history, step)), fluence, calibration=calibration)
    mean = problem.mean_absorption(state)
    return FluenceCorrection(
        corrected.with_warnings(*cautions),
        fluence,
        iterations,
        True,
        problem.wavelength,
        mean,
        problem.scattering,
        state.scale,
    )
