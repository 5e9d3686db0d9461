"""Materials from attenuation at several energies, on arrays: two, three that fill the volume, K-edge bins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.decomposition_fit import DecompositionFit, solved_fit
from imgtheranostics.ct.material_problem import DoubleArray, Images, MaterialProblem
from imgtheranostics.ct.problem_kinds import filling_problem, noise_of_images, slope_problem
from imgtheranostics.ct.slope_matrix import SlopeMatrix, Slopes
from imgtheranostics.fit import FloatArray, PlanarSignal, planar

_WATER_HU = 1000.0


def two_materials(
    hu: npt.ArrayLike,
    slopes: Slopes | SlopeMatrix,
    *,
    noise_sd: npt.ArrayLike | None = None,
    background: npt.ArrayLike = 0.0,
    slope_errors: Slopes | None = None,
    non_negative: bool = False,
    force: bool = False,
    saturation_hu: float = np.inf,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> DecompositionFit:
    """Two materials from two energies, c = A^-1 (HU - background) (ct.md F10).

    Parameters
    ----------
    hu : (..., 2) array_like
        Attenuation, or its change, at each energy.
    slopes : mapping of str to 2 floats or Slopes, or (2, 2) array_like
        HU per mg/mL of each material at each energy.
    noise_sd : float, (2,) or (..., 2) array_like, optional
        Standard deviation of the noise in HU; without it the results have no errors by noise.
    background : float, (2,) or (..., 2) array_like
        HU of what the materials are in, at each energy; 0 for water and for changes.
    slope_errors : as `slopes`, optional
        Standard errors of slopes that are numbers.
    non_negative : bool
        Hold a material at zero where it would be negative. Means over regions are biased then.
    force : bool
        Separate materials that are too much alike.
    saturation_hu : float
        Voxels at or above it are NaN, with `Flag.SATURATED` and `Flag.OUTSIDE_RANGE`.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    DecompositionFit
        One parameter per material in mg/mL; negative values are noise, unless `non_negative`.

    Raises
    ------
    IllConditioned
        If the materials are too much alike at these energies, see `Separability`.
    ValueError
        If shapes do not fit, or there are not two materials and two energies.

    Examples
    --------
    >>> fit = two_materials([299.1, 193.1], {"I": (43.8, 23.8), "HfO2": (26.7, 24.7)}, noise_sd=10)
    >>> {name: round(float(value), 3) for name, value in fit.parameters.items()}
    {'I': 5.0, 'HfO2': 3.0}
    """
    matrix = SlopeMatrix.of(slopes, slope_errors)
    if len(matrix.materials) != 2 or matrix.n_energies != 2:
        raise ValueError(
            f"two_materials takes two materials at two energies, not {len(matrix.materials)} at "
            f"{matrix.n_energies}; k_edge takes more"
        )
    return k_edge(
        hu, matrix, noise_sd=noise_sd, background=background, non_negative=non_negative, force=force,
        saturation_hu=saturation_hu, mask=mask, workers=workers,
    )  # fmt: skip


def with_flat_background(
    hu: npt.ArrayLike,
    slopes: Slopes | SlopeMatrix,
    *,
    noise_sd: npt.ArrayLike | None = None,
    slope_errors: Slopes | None = None,
    non_negative: bool = False,
    force: bool = False,
    saturation_hu: float = np.inf,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> DecompositionFit:
    """Materials in a background of equal HU at all energies: the virtual non-contrast image (ct.md F12).

    With one material at two energies c = (HU_L - HU_H) / (S_L - S_H) and VNC = HU_L - S_L c. Soft tissue is
    such a background; bone and calcifications are not: they would appear as material.

    Parameters
    ----------
    hu : (..., n_energies) array_like
        Attenuation.
    slopes : mapping of str to n_energies floats or Slopes, or (n_energies, n_materials) array_like
        Of fewer materials than energies.
    noise_sd, slope_errors, non_negative, force, saturation_hu, mask, workers
        As in `two_materials`.

    Returns
    -------
    DecompositionFit
        One parameter per material in mg/mL and ``virtual_non_contrast`` in HU.

    Raises
    ------
    IllConditioned
        If materials and background are too much alike.
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> fit = with_flat_background([259.0, 159.0], {"I": (43.8, 23.8)}, noise_sd=10)
    >>> [round(float(v), 3) for v in (*fit.parameters.values(), fit.standard_errors["I"])]
    [5.0, 40.0, 0.707]
    """
    return k_edge(
        hu, slopes, noise_sd=noise_sd, background="flat", slope_errors=slope_errors,
        non_negative=non_negative, force=force, saturation_hu=saturation_hu, mask=mask, workers=workers,
    )  # fmt: skip


def k_edge(
    hu: npt.ArrayLike,
    slopes: Slopes | SlopeMatrix,
    *,
    noise_sd: npt.ArrayLike | None = None,
    background: npt.ArrayLike | Literal["flat"] = 0.0,
    slope_errors: Slopes | None = None,
    non_negative: bool = True,
    force: bool = False,
    saturation_hu: float = np.inf,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> DecompositionFit:
    """Materials from energy bins by weighted least squares without negative amounts (ct.md F13).

    Minimises sum_b w_b (HU_b - sum_i S_ib c_i)^2 with w = 1 / variance and c >= 0, exactly: by enumeration of
    the sets of materials that are present, up to six of them.

    Parameters
    ----------
    hu : (..., n_bins) array_like
    slopes : mapping of str to n_bins floats or Slopes, or (n_bins, n_materials) array_like
    noise_sd : float, (n_bins,) or (..., n_bins) array_like, optional
        Of maps the median weighs each bin, and each voxel's own goes into its errors. Without it all bins
        weigh the same.
    background : float, (n_bins,) or (..., n_bins) array_like, or "flat"
        ``"flat"`` solves for one that is equal in all bins.
    non_negative : bool
        Weighted least squares without bounds if False: means over regions are unbiased.
    slope_errors, force, saturation_hu, mask, workers
        As in `two_materials`.

    Returns
    -------
    DecompositionFit
        As `two_materials`, with `Flag.AT_BOUND` where a material is held at zero.

    Raises
    ------
    IllConditioned
        If the materials are too much alike, or more than the bins.
    ValueError
        If shapes do not fit, or more than six materials are bounded.
    """
    matrix = SlopeMatrix.of(slopes, slope_errors)
    flat = isinstance(background, str)
    if flat and background != "flat":
        raise ValueError(f"background must be numbers or 'flat', not {background!r}")
    problem = slope_problem(
        matrix, flat=flat, non_negative=non_negative, noise_sd=noise_of_images(noise_sd, matrix.n_energies)
    )
    level = 0.0 if isinstance(background, str) else background
    return _fit(hu, problem, matrix, noise_sd, level, force, saturation_hu, mask, workers)


def three_materials(
    hu: npt.ArrayLike,
    pure_hu: Slopes | SlopeMatrix,
    *,
    noise_sd: npt.ArrayLike | None = None,
    densities_g_ml: Mapping[str, float] | None = None,
    pure_hu_errors: Slopes | None = None,
    non_negative: bool = True,
    force: bool = False,
    saturation_hu: float = np.inf,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> DecompositionFit:
    """Three materials that fill the volume from two energies (ct.md F11).

    HU(E) = sum f_i HU_i(E) with sum f_i = 1 and f >= 0, which is mu(E) = sum f_i mu_i(E), since HU are linear
    in mu. A composite, such as an agent in its suspension, has its own density.

    Parameters
    ----------
    hu : (..., n_energies) array_like
        Attenuation, at two energies or more.
    pure_hu : mapping of str to n_energies floats, or (n_energies, 3) array_like
        HU of each material alone. Of an agent: 1000 x density x slope - 1000, with the density in g/mL and
        the slope without displacement of water, see `pure_attenuation`.
    densities_g_ml : mapping of str to float, optional
        Materials that are counted in mg/mL instead of as a share of the volume.
    pure_hu_errors : as `pure_hu`, optional
        Standard errors.
    non_negative : bool
    noise_sd, force, saturation_hu, mask, workers
        As in `two_materials`.

    Returns
    -------
    DecompositionFit
        One parameter per material, in mg/mL or as a share of the volume (1).

    Raises
    ------
    IllConditioned
        If they are too much alike; or if none of them is a tissue: the shares of three metals cannot add up
        to one in a body.
    ValueError
        If there are not three materials, or shapes do not fit.
    """
    matrix = SlopeMatrix.of(pure_hu, pure_hu_errors)
    problem = filling_problem(
        matrix,
        densities_g_ml or {},
        non_negative=non_negative,
        noise_sd=noise_of_images(noise_sd, matrix.n_energies),
    )
    return _fit(hu, problem, matrix, noise_sd, 0.0, force, saturation_hu, mask, workers)


def pure_attenuation(hu_per_mg_ml: npt.ArrayLike, density_g_ml: float) -> DoubleArray:
    """HU of a material alone, from its slope without displacement of water and its density.

    >>> float(pure_attenuation(26.7, 9.7))
    257990.0
    """
    return np.asarray(1000.0 * density_g_ml * np.asarray(hu_per_mg_ml, np.float64) - _WATER_HU)


def _fit(
    hu: npt.ArrayLike,
    problem: MaterialProblem,
    matrix: SlopeMatrix,
    noise_sd: npt.ArrayLike | None,
    background: npt.ArrayLike,
    force: bool,
    saturation_hu: float,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> DecompositionFit:
    n = matrix.n_energies
    planes = planar(hu, n, "hu", contiguous=False)
    noise, noise_maps = _per_image(math.nan if noise_sd is None else noise_sd, planes, "noise_sd")
    known = noise_of_images(noise_sd, n)
    levels, background_maps = _per_image(background, planes, "background")
    if noise_maps and known is not None:
        noise = known
    if not ((noise >= 0) | np.isnan(noise)).all():
        raise ValueError("noise_sd must not be negative")
    images = Images(
        tuple(planes.samples),
        planes.chosen(mask),
        noise,
        noise_maps,
        background_maps,
        levels,
        float(saturation_hu),
        planes.samples,
    )
    return solved_fit(problem, matrix, images, planes.restored, force=force, workers=workers)


def _per_image(
    given: npt.ArrayLike, planes: PlanarSignal, name: str
) -> tuple[DoubleArray, tuple[FloatArray, ...]]:
    """One number per image, or flat maps and zeros instead."""
    values = np.asarray(given)
    n = planes.samples.shape[0]
    if values.ndim == 0 or values.shape == (n,):
        return np.array(np.broadcast_to(values.astype(np.float64), (n,))), ()
    if values.shape != (*planes.shape, n):
        raise ValueError(
            f"{name} has shape {values.shape}, but must be a number, one per energy, or of the shape of hu"
        )
    dtype = planes.samples.dtype
    maps = tuple(
        values[..., energy].ravel(order=planes.order).astype(dtype, copy=False) for energy in range(n)
    )
    return np.zeros(n), maps
