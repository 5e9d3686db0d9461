"""The resolution of an image from a hot or cold sphere of known size in a uniform surrounding.

A uniform sphere after an isotropic Gaussian is a closed form of the distance from its centre; width, centre,
activity inside and outside are fitted to the voxels around it.

References
----------
.. [1] Hofheinz F et al, Phys Med Biol 2010;55:1099-1120: resolution from spheres by their radial profile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, NothingUsable
from imgtheranostics.mapping.voxels import mask_array
from imgtheranostics.nuclear.point_spread import FloatArray, check_image
from imgtheranostics.regions import FWHM_PER_SD, Regions
from imgtheranostics.volume import Volume

_ITERATIONS = 60
_SETTLED = 1e-6
_STUCK = 1e6
_FEWEST_VOXELS = 30


@dataclass(frozen=True, slots=True)
class ResolutionEstimate:
    """The width of the point spread, and what was found with it.

    Attributes
    ----------
    fwhm_mm, standard_error_mm : float
        Full width at half maximum, and its standard error from independent residuals of the fit.
    inside, outside : float
        Activity of sphere and surrounding, in the unit of the image.
    centre_mm : tuple of float
        In patient RAS+.
    relative_residual : float
        Root mean square of the residuals over the contrast: large where the sphere is not what was stated.
    n_voxels : int
    """

    fwhm_mm: float
    standard_error_mm: float
    inside: float
    outside: float
    centre_mm: tuple[float, float, float]
    relative_residual: float
    n_voxels: int


def estimate_psf(
    volume: Volume, insert: Volume | Regions | npt.ArrayLike, *, diameter_mm: float
) -> ResolutionEstimate:
    """Full width at half maximum of the resolution around a sphere of known size.

    Parameters
    ----------
    volume : Volume
        One image without further axes.
    insert : Volume, Regions or (i, j, k) array_like
        Voxels to look at: the sphere with enough of its surroundings, and nothing else.
    diameter_mm : float
        Inner diameter of the sphere.

    Returns
    -------
    ResolutionEstimate
        With the averaging over a voxel as part of the resolution, as the corrections take it.

    Raises
    ------
    ValueError
        If the diameter is not positive, or the image has further axes.
    NothingUsable
        If too few voxels have a value.
    IllConditioned
        If there is no contrast, or no width explains it.
    ImgTheranosticsError
        As `PointSpread.of`.
    """
    if not (math.isfinite(diameter_mm) and diameter_mm > 0):
        raise ValueError(f"diameter_mm must be positive and finite, not {diameter_mm!r}")
    if volume.axes:
        raise ValueError("the resolution is estimated in one image: choose a frame")
    check_image(volume)
    chosen = mask_array(insert, volume) & np.isfinite(volume.data)
    index = np.argwhere(chosen)
    if len(index) < _FEWEST_VOXELS:
        raise NothingUsable(
            "too few voxels to estimate a resolution from",
            found=str(len(index)),
            needed=f"at least {_FEWEST_VOXELS}",
            next_step="draw the sphere with its surroundings",
        )
    place = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    values = volume.data[chosen].astype(np.float64)
    start = _start(place, values, diameter_mm / 2, max(volume.grid.spacing_mm))
    found, rest, derivative = _fitted(place, values, diameter_mm / 2, start)
    inside, outside, log_sd = found[3] + found[4], found[4], found[5]
    fwhm = math.exp(log_sd) * FWHM_PER_SD
    scatter = math.sqrt(float(rest @ rest) / (len(values) - 6))
    _check(found, fwhm, scatter, diameter_mm, min(volume.grid.spacing_mm))
    covariance = np.linalg.inv(derivative.T @ derivative)
    error = fwhm * scatter * math.sqrt(float(covariance[5, 5]))
    x, y, z = found[:3].tolist()
    return ResolutionEstimate(
        fwhm, error, float(inside), float(outside), (x, y, z), scatter / abs(float(found[3])), len(values)
    )


def blurred_sphere(distance_mm: FloatArray, radius_mm: float, sd_mm: float) -> FloatArray:
    """A sphere of one in nothing after an isotropic Gaussian, at distances from its centre."""
    r = np.maximum(distance_mm, 1e-6 * radius_mm)
    above, below = (radius_mm + r) / sd_mm, (radius_mm - r) / sd_mm
    inside = 0.5 * (_erf(above / math.sqrt(2)) + _erf(below / math.sqrt(2)))
    edge = np.exp(-0.5 * below**2) - np.exp(-0.5 * above**2)
    return np.asarray(inside - sd_mm / (math.sqrt(2 * math.pi) * r) * edge)


def _erf(x: FloatArray) -> FloatArray:
    from scipy.special import erf

    return np.asarray(erf(x), np.float64)


def _start(place: FloatArray, values: FloatArray, radius: float, spacing: float) -> FloatArray:
    """Centre of what stands out, contrast, surrounding, and a width of half the radius."""
    outside = float(np.median(values))
    rest = values - outside
    sign = 1.0 if rest.max() >= -rest.min() else -1.0
    weight = np.maximum(sign * rest - 0.3 * (sign * rest).max(), 0.0)
    if not weight.any():
        raise _no_contrast(0.0)
    centre = weight @ place / weight.sum()
    return np.array([*centre, sign * (sign * rest).max(), outside, math.log(max(0.5 * radius, spacing) / 2)])


def _model(place: FloatArray, radius: float, given: FloatArray) -> FloatArray:
    distance = np.sqrt(((place - given[:3]) ** 2).sum(axis=1))
    return np.asarray(given[3] * blurred_sphere(distance, radius, math.exp(given[5])) + given[4])


def _derivative(place: FloatArray, radius: float, given: FloatArray) -> FloatArray:
    """Central differences; contrast and surrounding enter linearly."""
    columns = []
    contrast = max(abs(given[3]), 1e-30)
    for n, step in enumerate([1e-4 * radius] * 3 + [1e-3 * contrast] * 2 + [1e-4]):
        ahead, behind = given.copy(), given.copy()
        ahead[n] += step
        behind[n] -= step
        columns.append((_model(place, radius, ahead) - _model(place, radius, behind)) / (2 * step))
    return np.stack(columns, axis=1)


def _fitted(
    place: FloatArray, values: FloatArray, radius: float, start: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Levenberg-Marquardt: parameters, residuals and derivatives at the end."""
    found, damping = start, 1e-3
    rest = values - _model(place, radius, found)
    derivative = _derivative(place, radius, found)
    for _ in range(_ITERATIONS):
        normal = derivative.T @ derivative
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
        matrix = normal / np.outer(scale, scale) + damping * np.eye(6)
        step = np.linalg.solve(matrix, derivative.T @ rest / scale) / scale
        step[5] = np.clip(step[5], -0.5, 0.5)
        settled = np.abs(step * scale).max() <= _SETTLED * np.linalg.norm(values - found[4])
        trial = values - _model(place, radius, found + step)
        if trial @ trial > rest @ rest:
            damping *= 8
            if settled or damping > _STUCK:
                break
            continue
        found, rest, damping = found + step, trial, damping / 5
        derivative = _derivative(place, radius, found)
        if settled:
            break
    return found, rest, derivative


def _check(found: FloatArray, fwhm: float, scatter: float, diameter: float, spacing: float) -> None:
    contrast = abs(float(found[3]))
    if not contrast > 3 * scatter:
        raise _no_contrast(contrast / scatter if scatter > 0 else 0.0)
    if not 0.25 * spacing < fwhm < 2 * diameter:
        raise IllConditioned(
            "no width of the point spread explains the sphere",
            where="insert",
            found=f"{fwhm:.3g} mm for a sphere of {diameter:g} mm and voxels of {spacing:.3g} mm",
            needed="a sphere of the stated diameter, larger than half the resolution",
            next_step="check diameter_mm, or measure with a larger sphere",
        )


def _no_contrast(ratio: float) -> IllConditioned:
    return IllConditioned(
        "the sphere does not stand out from its surroundings",
        where="insert",
        found=f"contrast {ratio:.2g} times the residuals",
        needed="at least 3 times",
        next_step="draw one sphere with its surroundings, and nothing else",
    )
