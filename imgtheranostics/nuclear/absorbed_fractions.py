"""Self-dose of spheres and ellipsoids: the share of the energy that stays inside, by exact geometry.

A point anywhere in a sphere of radius R and a step of length r in any direction end inside the sphere with
the probability 1 - 3/4 t + t^3/16, t = r/R up to 2. An ellipsoid is a stretched sphere: there t is the length
of the step in units of the semi-axes, averaged over directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.data import nuclides
from imgtheranostics.data.emissions import emission
from imgtheranostics.nuclear.decay_energy import MGY_G_PER_MBQ_S_MEV
from imgtheranostics.nuclear.dose_convolution import GY_PER_MGY
from imgtheranostics.nuclear.point_kernels import (
    MM_PER_CM,
    electron_energy_within,
    electron_reach_mm,
    electrons_of,
    photon_energy_within,
)

FloatArray = npt.NDArray[np.float64]

_SHELLS = 4000
_DIRECTIONS = 2000
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class AbsorbedFraction:
    """What a uniform source in an ellipsoid leaves inside.

    Attributes
    ----------
    nuclide : str
    mass_g : float
    semi_axes_mm : tuple of float
    electron, photon : float
        Share of the energy of electrons and photons that is absorbed inside; NaN where none are emitted.
    energy_mev_per_decay : float
        Energy that is absorbed inside: electrons, photons, alpha particles and recoils.
    s_mgy_per_mbq_s : float
        Mean dose inside per decay inside, mGy/(MBq s).
    """

    nuclide: str
    mass_g: float
    semi_axes_mm: tuple[float, float, float]
    electron: float
    photon: float
    energy_mev_per_decay: float
    s_mgy_per_mbq_s: float

    def dose_gy(self, tia_mbq_s: npt.ArrayLike) -> FloatArray:
        """Mean absorbed dose of the body from the decays inside, Gy.

        Raises
        ------
        ValueError
            If there are fewer than no decays.
        """
        decays = np.asarray(tia_mbq_s, np.float64)
        if (decays < 0).any():
            raise ValueError("tia_mbq_s must not be negative")
        return np.asarray(decays * self.s_mgy_per_mbq_s * GY_PER_MGY)


def absorbed_fraction(
    nuclide: str,
    *,
    mass_g: float | None = None,
    semi_axes_mm: npt.ArrayLike | None = None,
    density_g_ml: float = 1.04,
) -> AbsorbedFraction:
    """Absorbed fractions and self-dose of a sphere by its mass, or of an ellipsoid by its semi-axes.

    Electrons are spread as in `voxel_s`, photons with the build-up of an endless medium: near the surface of
    a small body that counts a little too much of what scatters back.

    Parameters
    ----------
    nuclide : str
        Its progeny is not included.
    mass_g : float, optional
        Of a sphere.
    semi_axes_mm : float or array_like of three, optional
        Of an ellipsoid; one number is a sphere's radius. With a mass the three lengths give its shape, and
        are scaled to it.
    density_g_ml : float

    Returns
    -------
    AbsorbedFraction

    Raises
    ------
    ValueError
        If neither mass nor semi-axes are given, or a number is not positive.
    UnsupportedInput
        If the nuclide is not known.

    Examples
    --------
    >>> absorbed_fraction("Y-90", mass_g=1.0).electron < absorbed_fraction("Lu-177", mass_g=1.0).electron
    True
    """
    axes, mass = _body(mass_g, semi_axes_mm, density_g_ml)
    record = nuclides.nuclide(nuclide)
    name = record.name
    stretch = _stretches(axes)
    electrons = electrons_of(name)
    reach = min(electron_reach_mm(name, density_g_ml), 2 * max(axes))
    kept = 0.0
    if electrons.total_mev > 0:
        edges = np.linspace(0.0, reach, _SHELLS + 1)
        shells = np.diff(electron_energy_within(electrons, edges, density_g_ml))
        kept = float((shells * _inside(0.5 * (edges[1:] + edges[:-1]), stretch)).sum())
    radius = np.linspace(0.0, 2 * max(axes), _SHELLS + 1)
    middle = 0.5 * (radius[1:] + radius[:-1])
    shells = np.diff(photon_energy_within(name, radius, density_g_ml))
    photons = float((shells * _inside(middle, stretch)).sum())
    energy = kept + photons + record.mean_alpha_mev + record.mean_recoil_mev
    emitted = emission(name)["photon"].total_mev
    return AbsorbedFraction(
        name,
        mass,
        axes,
        kept / electrons.total_mev if electrons.total_mev > 0 else math.nan,
        photons / emitted if emitted > 0 else math.nan,
        energy,
        energy * MGY_G_PER_MBQ_S_MEV / mass,
    )


def _body(
    mass_g: float | None, semi_axes_mm: npt.ArrayLike | None, density_g_ml: float
) -> tuple[tuple[float, float, float], float]:
    """Semi-axes in mm and mass in g."""
    for name, value in (("density_g_ml", density_g_ml), ("mass_g", mass_g)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, not {value!r}")
    if mass_g is None and semi_axes_mm is None:
        raise ValueError("mass_g or semi_axes_mm must be given")
    shape = np.asarray(1.0 if semi_axes_mm is None else semi_axes_mm, np.float64)
    if shape.size not in (1, 3) or not (np.isfinite(shape) & (shape > 0)).all():
        raise ValueError(f"semi_axes_mm must be one or three positive lengths, not {semi_axes_mm!r}")
    a, b, c = np.broadcast_to(shape.ravel(), 3).tolist()
    mass = density_g_ml * 4.0 / 3.0 * math.pi * a * b * c / MM_PER_CM**3
    if mass_g is None:
        return (a, b, c), mass
    scale = (mass_g / mass) ** (1 / 3)
    return (a * scale, b * scale, c * scale), mass_g


def _stretches(axes: tuple[float, float, float]) -> FloatArray:
    """Length, in units of the semi-axes, of steps of 1 mm in evenly spread directions."""
    if axes[0] == axes[1] == axes[2]:
        return np.array([1.0 / axes[0]])
    count = np.arange(_DIRECTIONS)
    cosine = (count + 0.5) / _DIRECTIONS
    angle = 0.5 * np.pi * ((count * _GOLDEN) % 1.0)
    sine = np.sqrt(1.0 - cosine**2)
    steps = np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine])
    return np.asarray(np.linalg.norm(steps / np.array(axes)[:, np.newaxis], axis=0))


def _inside(radius_mm: FloatArray, stretch: FloatArray) -> FloatArray:
    """Probability that a step of each length ends inside."""
    total = np.zeros(radius_mm.shape)
    for factor in stretch:
        t = np.minimum(radius_mm * factor, 2.0)
        total += 1.0 - 0.75 * t + t**3 / 16.0
    return total / stretch.size
