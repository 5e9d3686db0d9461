"""The two unknowns of an optoacoustic image, absorption and light, in cells of the body.

Each follows from the other: absorption from the image over the light, light from the absorption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, IllConditioned, MissingMetadata
from imgtheranostics.msot.body_depth import SIDES, body_of, depth_from_mask
from imgtheranostics.msot.components import Component, component
from imgtheranostics.msot.fixed_point import FixedPoint
from imgtheranostics.msot.fluence_maps import (
    check_calibration,
    not_diffusive,
    per_wavelength,
    signal_wavelengths,
)
from imgtheranostics.msot.light_diffusion import DARKEST, Cells
from imgtheranostics.msot.spectrum_library import spectrum_name
from imgtheranostics.msot.tissue_light import cylinder, mu_eff, reduced_scattering
from imgtheranostics.msot.unmixing import unmix
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]

_FAINTEST = 1e-3
_WEAK = -2.0
_HAEMOGLOBIN = ("hbo2", "hb")


@dataclass(frozen=True, eq=False)
class LightState:
    """Light and absorption so far.

    Attributes
    ----------
    logarithm : (n_cells, n) ndarray
        Of the fluence.
    absorption : (n_cells, n) ndarray
        1/cm, to base e.
    scale : float
        Signal per absorption.
    reference : tuple of ndarray, optional
        Absorption (n,) of an even body, and the logarithm of its light in the same cells; what the cells get
        wrong is taken out by it.
    """

    logarithm: FloatArray
    absorption: FloatArray
    scale: float
    reference: tuple[FloatArray, FloatArray] | None = None


@dataclass(frozen=True, eq=False)
class LightProblem:
    """What stays the same throughout.

    Attributes
    ----------
    cells : Cells
    depth : Volume
        Of every voxel.
    signal : (n_cells, n) ndarray
        Mean in each cell.
    wavelength, scattering : (n,) ndarray
    parts : tuple of Component
        What is unmixed.
    background : (n,) ndarray
        Absorption that is everywhere, 1/cm.
    blood : tuple of int
        Which parts are haemoglobin.
    calibration : float or None
    thb : float
        Stated mean haemoglobin in mol/L; 0 where a calibration is given.
    model : str
    """

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
    ) -> LightProblem:
        """From an image and what `iterative` takes."""
        axis = signal_wavelengths(volume)
        inside, depth = _lit_body(volume, mask, illumination)
        cells = Cells.of(
            inside, np.asarray(depth.data, np.float64), depth.grid, illumination=illumination, cell_mm=cell_mm
        )
        named = (
            list(components.items()) if isinstance(components, Mapping) else [(None, c) for c in components]
        )
        parts = tuple(component(given, axis.values, name=name) for name, given in named)
        blood = tuple(n for n, part in enumerate(parts) if spectrum_name(part.name) in _HAEMOGLOBIN)
        _check_scale(calibration, thb_umol_l, bool(blood))
        if model == "cylinder" and illumination in SIDES:
            raise ValueError("a cylinder is lit from all around, not from a side")
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

    def even(self, tolerance: float, most: int) -> tuple[LightState, int]:
        """Light in an even body with the mean absorption."""
        logarithm, path = np.zeros_like(self.signal), FixedPoint()
        absorption = np.zeros(self.wavelength.size)
        for iteration in range(1, most + 1):
            light = np.exp(logarithm) * self.cells.mean_over_middle(absorption, self.scattering)
            weights = self.cells.counts[:, np.newaxis] * light
            mean = np.sum(weights * self.signal, axis=0) / np.sum(weights * light, axis=0)
            absorption, scale = self._even_absorption(mean)
            new = self._even_logarithm(self.cells.depth_mm[:, np.newaxis], absorption, self.scattering)
            change = float(np.abs(new - logarithm).max())
            if change < tolerance:
                spread = np.broadcast_to(absorption, self.signal.shape)
                return LightState(new, np.array(spread), scale), iteration
            logarithm = np.minimum(path.next(logarithm, new), 0.0)
        raise _not_converged(change, tolerance, most)

    def uneven(self, state: LightState, tolerance: float, most: int) -> tuple[LightState, int]:
        """Light in the body as it is."""
        bulk = state.absorption
        even = self._light(bulk, None)
        exact = np.zeros_like(even)
        if self.cells.side is not None:
            exact = self._even_logarithm(self.cells.depth_mm[:, np.newaxis], bulk[0], self.scattering)
            exact -= np.log(even)
        start = np.log(even) + exact
        logarithm, scale, guess, path = start, state.scale, even, FixedPoint()
        absorption = bulk
        for iteration in range(1, most + 1):
            light = np.exp(logarithm) * self.cells.mean_over_middle(absorption, self.scattering)
            absorption, scale = self._absorption(light, bulk, scale)
            guess = self._light(absorption, guess)
            new = np.log(guess) + exact
            bright = new > np.log(_FAINTEST)
            change = float(np.abs(new - logarithm)[bright].max(initial=0.0))
            if change < tolerance:
                return LightState(new, absorption, scale, (bulk[0], start)), iteration
            logarithm = np.minimum(path.next(logarithm, new), 0.0)
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
        bright = light.min(axis=1) > _FAINTEST
        found = self.signal / np.maximum(light, _FAINTEST)
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

    def _even_logarithm(
        self, depth_mm: FloatArray, absorption: npt.ArrayLike, scattering: npt.ArrayLike
    ) -> FloatArray:
        """Logarithm of the fluence at depths in an even body."""
        if self.model == "cylinder":
            radius = float(np.nanmax(self.depth.data))
            inner = np.clip(radius - depth_mm, 0.0, radius)
            return np.asarray(np.log(cylinder(inner, radius, absorption, scattering)))
        return np.asarray(-0.1 * mu_eff(absorption, scattering) * depth_mm)

    def on_voxels(self, state: LightState) -> npt.NDArray[np.float32]:
        """The fluence at every voxel and wavelength; NaN where it is too dark to be known."""
        inside = self.cells.number >= 0
        light = np.full((*inside.shape, self.wavelength.size), np.nan, np.float32, order="F")
        depth = self.depth.data[inside].astype(np.float64)
        absorption, rest = state.absorption[0], state.logarithm
        if state.reference is not None:
            absorption = state.reference[0]
            if self.cells.side is None:
                depth[:] = 0.0
            else:
                rest = state.logarithm - state.reference[1]
        for n, scattering in enumerate(self.scattering):
            logarithm = self._even_logarithm(depth, absorption[n], scattering)
            if state.reference is not None:
                logarithm += self.cells.on_voxels(rest[:, n])[inside]
                logarithm[logarithm < np.log(2.0 * DARKEST)] = np.nan
            light[inside, n] = np.exp(np.minimum(logarithm, 0.0))
        return light

    def mean_absorption(self, state: LightState) -> FloatArray:
        """Over the body, in 1/cm."""
        return np.asarray(self.cells.counts @ state.absorption / self.cells.counts.sum())

    def cautions(self, state: LightState) -> tuple[Caution, ...]:
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
        share = float(
            np.sum(self.cells.counts[state.logarithm.min(axis=1) < _WEAK]) / self.cells.counts.sum()
        )
        if share > 0.0:
            words = (
                f"in {100.0 * share:.0f} % of the body light is below a seventh of that at the surface: an "
                "error of the stated calibration, haemoglobin or scattering grows several-fold there"
            )
            found.append(Caution("weak-light", words))
        found += [caution for part in self.parts for caution in part.cautions]
        return (*found, *self.depth.warnings, *not_diffusive(self.mean_absorption(state), self.scattering))


def _lit_body(
    volume: Volume, mask: Volume | Regions, illumination: str
) -> tuple[npt.NDArray[np.bool_], Volume]:
    """The body on the grid of the image, and its depth."""
    inside, grid = body_of(mask)
    same = volume.grid.same_as(grid)
    if not same:
        raise GeometryMismatch("mask and image lie on different grids", found=str(same))
    return inside, depth_from_mask(mask, illumination=illumination)


def _check_scale(calibration: float | None, thb_umol_l: float | None, has_blood: bool) -> None:
    """Refuse an image whose scale is not known, or twice."""
    check_calibration(calibration)
    if (calibration is None) == (thb_umol_l is None):
        raise MissingMetadata(
            "light depends on absolute absorption, and the image is in arbitrary units",
            found="both" if calibration is not None else "neither",
            needed="one of calibration= (--signal-per-absorption: signal per absorption of 1/cm) and "
            "thb_umol_l= (--body-thb-umol-l: mean total haemoglobin of the body)",
            next_step="give one of the two",
        )
    if thb_umol_l is not None and not (has_blood and thb_umol_l > 0.0):
        raise ValueError("thb_umol_l= is above 0 and needs Hb or HbO2 among the components")


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
