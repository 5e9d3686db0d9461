"""Fluence from the image itself: the absorption that it shows makes the light that made it.

The image is absorption times fluence, and the fluence follows from absorption. Starting from even
light, absorption is unmixed into its components, light is calculated from these, and the image is divided by
it, until nothing changes: the fixed point of B. T. Cox et al., Appl. Opt. 45, 1866 (2006),
doi:10.1364/AO.45.001866.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, IllConditioned, MissingMetadata
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.msot.body_depth import SIDES, body_of, depth_from_mask
from imgtheranostics.msot.components import Component, component
from imgtheranostics.msot.fixed_point import FixedPoint
from imgtheranostics.msot.fluence_maps import (
    check_calibration,
    correct,
    not_diffusive,
    per_wavelength,
    signal_wavelengths,
)
from imgtheranostics.msot.light_diffusion import DARKEST, Cells
from imgtheranostics.msot.spectrum_library import spectrum_name
from imgtheranostics.msot.tissue_light import cylinder, mu_eff, reduced_scattering
from imgtheranostics.msot.unmixing import unmix
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume, make_step

FloatArray = npt.NDArray[np.float64]

MODELS = ("diffusion", "slab", "cylinder")

_DARKEST = 1e-3
_HAEMOGLOBIN = ("hbo2", "hb")


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
    problem = _Problem.of(
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


@dataclass(frozen=True, eq=False)
class _State:
    """Light and absorption so far.

    Attributes
    ----------
    logarithm : (n_cells, n) ndarray
        Of the fluence.
    absorption : (n_cells, n) ndarray
        1/cm, to base e.
    scale : float
        Signal per absorption.
    """

    logarithm: FloatArray
    absorption: FloatArray
    scale: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """What stays the same throughout."""

    cells: Cells
    depth: Volume
    signal: FloatArray
    wavelength: FloatArray
    scattering: FloatArray
    parts: tuple[Component, ...]
    background: FloatArray
    blood: tuple[int, ...]
    calibration: float | None
    thb: float
    model: str
    references: dict[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        volume: Volume,
        mask: Volume | Regions,
        components: Sequence[Any] | Mapping[str, Any],
        calibration: float | None,
        thb_umol_l: float | None,
        background: Mapping[str, float] | None,
        mu_s: npt.ArrayLike | None,
        illumination: str,
        cell_mm: float,
        model: str,
    ) -> _Problem:
        axis = signal_wavelengths(volume)
        check_calibration(calibration)
        if (calibration is None) == (thb_umol_l is None):
            raise MissingMetadata(
                "light depends on absolute absorption, and the image is in arbitrary units",
                found="both" if calibration is not None else "neither",
                needed="one of calibration= (signal per absorption of 1/cm) and thb_umol_l= (mean total "
                "haemoglobin of the body)",
                next_step="give one of the two",
            )
        if model == "cylinder" and illumination in SIDES:
            raise ValueError("a cylinder is lit from all around, not from a side")
        inside, grid = body_of(mask)
        same = volume.grid.same_as(grid)
        if not same:
            raise GeometryMismatch("mask and image lie on different grids", found=str(same))
        depth = depth_from_mask(mask, illumination=illumination)
        cells = Cells.of(
            inside, np.asarray(depth.data, np.float64), grid, illumination=illumination, cell_mm=cell_mm
        )
        named = (
            list(components.items())
            if isinstance(components, Mapping)
            else [(None, given) for given in components]
        )
        parts = tuple(component(given, axis.values, name=name) for name, given in named)
        blood = tuple(n for n, part in enumerate(parts) if spectrum_name(part.name) in _HAEMOGLOBIN)
        if thb_umol_l is not None and (not blood or not thb_umol_l > 0.0):
            raise ValueError("thb_umol_l= is above 0 and needs Hb or HbO2 among the components")
        others = [component(name, axis.values).natural * share for name, share in (background or {}).items()]
        return cls(
            cells,
            depth,
            np.stack([cells.mean(_time_mean(volume, n)) for n in range(axis.values.size)], axis=1),
            axis.values,
            reduced_scattering(axis.values) if mu_s is None else per_wavelength(mu_s, axis.values, "mu_s"),
            parts,
            np.sum(others, axis=0) if others else np.zeros(axis.values.size),
            blood,
            calibration,
            0.0 if thb_umol_l is None else 1e-6 * thb_umol_l,
            model,
        )

    @property
    def columns(self) -> FloatArray:
        """Natural absorption per unit amount, (n, n_components)."""
        return np.stack([part.natural for part in self.parts], axis=1)

    def even(self, tolerance: float, most: int) -> tuple[_State, int]:
        """Light in an even body with the mean absorption."""
        logarithm, path = np.zeros_like(self.signal), FixedPoint()
        absorption = np.zeros(self.wavelength.size)
        for iteration in range(1, most + 1):
            light = np.exp(logarithm) * self.cells.mean_over_middle(absorption, self.scattering)
            weights = self.cells.counts[:, np.newaxis] * light
            mean = np.sum(weights * self.signal, axis=0) / np.sum(weights * light, axis=0)
            absorption, scale = self._even_absorption(mean)
            new = self._even_logarithm(self.cells.depth_mm, absorption)
            change = float(np.abs(new - logarithm).max())
            if change < tolerance:
                spread = np.broadcast_to(absorption, self.signal.shape)
                return _State(new, np.array(spread), scale), iteration
            logarithm = path.next(logarithm, new)
        raise _not_converged(change, tolerance, most)

    def uneven(self, state: _State, tolerance: float, most: int) -> tuple[_State, int]:
        """Light in the body as it is."""
        bulk = state.absorption
        even = self._light(bulk, None)
        exact = np.zeros_like(even)
        if self.cells.side is not None:
            exact = self._even_logarithm(self.cells.depth_mm, bulk[0]) - np.log(even)
        self.references.update(bulk=bulk[0], logarithm=np.log(even) + exact)
        logarithm, scale, guess, path = np.log(even) + exact, state.scale, even, FixedPoint()
        absorption = bulk
        for iteration in range(1, most + 1):
            light = np.exp(logarithm) * self.cells.mean_over_middle(absorption, self.scattering)
            absorption, scale = self._absorption(light, bulk, scale)
            guess = self._light(absorption, guess)
            new = np.log(guess) + exact
            bright = new > np.log(_DARKEST)
            change = float(np.abs(new - logarithm)[bright].max(initial=0.0))
            if change < tolerance:
                return _State(new, absorption, scale), iteration
            logarithm = path.next(logarithm, new)
        raise _not_converged(change, tolerance, most)

    def _light(self, absorption: FloatArray, guess: FloatArray | None) -> FloatArray:
        """Fluence in the cells, (n_cells, n)."""
        return np.stack(
            [
                self.cells.light(absorption[:, n], float(scattering), None if guess is None else guess[:, n])
                for n, scattering in enumerate(self.scattering)
            ],
            axis=1,
        )

    def _even_absorption(self, mean: FloatArray) -> tuple[FloatArray, float]:
        """Absorption of an even body from its mean signal over light, and the signal per absorption."""
        columns = self.columns.copy()
        if self.calibration is not None:
            amounts = self._amounts(mean[np.newaxis] / self.calibration - self.background, columns)[0]
            return columns @ amounts + self.background, self.calibration
        # The background comes along with the haemoglobin of which the body holds a stated amount.
        tied = columns.copy()
        tied[:, list(self.blood)] += self.background[:, np.newaxis] / self.thb
        amounts = self._amounts(mean[np.newaxis], tied)[0]
        scale = float(amounts[list(self.blood)].sum()) / self.thb
        if not scale > 0.0:
            raise _no_blood()
        return columns @ amounts / scale + self.background, scale

    def _absorption(self, light: FloatArray, bulk: FloatArray, scale: float) -> tuple[FloatArray, float]:
        """Absorption in each cell, and the signal per absorption; in the dark, that of the bulk."""
        bright = light.min(axis=1) > _DARKEST
        found = self.signal / np.maximum(light, _DARKEST)
        amounts = self._amounts(found - scale * self.background, self.columns)
        if self.calibration is None:
            shares = np.where(bright, self.cells.counts, 0.0)
            blood = amounts[:, list(self.blood)].sum(axis=1)
            scale = float(np.sum(blood * shares) / np.sum(shares)) / self.thb
            if not scale > 0.0:
                raise _no_blood()
        absorption = amounts @ self.columns.T / scale + self.background
        return np.where(bright[:, np.newaxis], absorption, bulk), scale

    def _amounts(self, spectra: FloatArray, columns: FloatArray) -> FloatArray:
        """Amounts that are not negative, (..., n_components)."""
        named = {str(n): column for n, column in enumerate(columns.T)}
        fit = unmix(spectra, self.wavelength, named, method="nnls")
        return np.stack([np.asarray(fit.parameters[name], np.float64) for name in named], axis=-1)

    def _even_logarithm(self, depth_mm: FloatArray, absorption: FloatArray) -> FloatArray:
        """Logarithm of the fluence at depths in an even body, (..., n)."""
        depth = depth_mm[..., np.newaxis]
        if self.model == "cylinder":
            radius = float(np.nanmax(self.depth.data))
            inner = np.clip(radius - depth, 0.0, radius)
            return np.asarray(np.log(cylinder(inner, radius, absorption, self.scattering)))
        return np.asarray(-0.1 * mu_eff(absorption, self.scattering) * depth)

    def on_voxels(self, state: _State) -> npt.NDArray[np.float32]:
        """The fluence at every voxel and wavelength."""
        inside = self.cells.number >= 0
        light = np.full((*inside.shape, self.wavelength.size), np.nan, np.float32, order="F")
        depth = self.depth.data[inside].astype(np.float64)
        absorption = self.references.get("bulk", state.absorption[0])
        rest = state.logarithm - self.references.get("logarithm", state.logarithm)
        if self.model == "diffusion" and self.cells.side is None:
            rest, depth = state.logarithm, np.zeros_like(depth)
        for n in range(self.wavelength.size):
            logarithm = self._even_logarithm(depth, absorption)[:, n]
            if self.model == "diffusion":
                logarithm = logarithm + self.cells.on_voxels(rest[:, n])[inside]
                logarithm[logarithm < np.log(2.0 * DARKEST)] = np.nan
            light[inside, n] = np.exp(np.minimum(logarithm, 0.0))
        return light

    def mean_absorption(self, state: _State) -> FloatArray:
        """Over the body, in 1/cm."""
        return np.asarray(self.cells.counts @ state.absorption / self.cells.counts.sum())

    def cautions(self, state: _State) -> tuple[Caution, ...]:
        """What a reader must know."""
        found = [
            Caution(
                "fluence-model",
                "standard errors of what follows do not contain the uncertainty of the light that was taken "
                "out",
            )
        ]
        if self.calibration is None:
            words = f"the light rests on a stated mean haemoglobin of {1e6 * self.thb:g} umol/L in the body"
            found.append(Caution("stated-haemoglobin", words))
        found += [caution for part in self.parts for caution in part.cautions]
        return (*found, *self.depth.warnings, *not_diffusive(self.mean_absorption(state), self.scattering))


def _time_mean(volume: Volume, n: int) -> npt.NDArray[Any]:
    """One wavelength's image, averaged over what axes lie before the wavelength."""
    image = volume.data[..., n]
    others = tuple(range(3, image.ndim))
    return np.asarray(image.mean(axis=others, dtype=np.float64) if others else image)


def _no_blood() -> IllConditioned:
    return IllConditioned(
        "no haemoglobin is found in the body, so that its stated amount gives no scale",
        where="thb_umol_l",
        next_step="give calibration= instead, or check the wavelengths and the mask",
    )


def _not_converged(change: float, tolerance: float, most: int) -> IllConditioned:
    return IllConditioned(
        "the light in the body did not settle",
        where="fluence",
        found=f"a relative change of {change:.2g} after {most} iterations",
        needed=f"below {tolerance:g}",
        next_step="check the calibration or the stated haemoglobin, list every absorber among the "
        "components, or take model='slab'",
    )
