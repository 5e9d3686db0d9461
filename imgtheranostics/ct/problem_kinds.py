"""The kinds of decomposition: by slopes over a background, or by what fills the volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.material_problem import BoolArray, DoubleArray, MaterialProblem
from imgtheranostics.ct.separability import Separability
from imgtheranostics.ct.slope_matrix import SlopeMatrix
from imgtheranostics.errors import IllConditioned

VIRTUAL_NON_CONTRAST = "virtual_non_contrast"
"""Name of the background that is solved for."""

TISSUE_HU = 3071.0
"""Attenuation that no tissue reaches."""


def noise_of_images(noise_sd: npt.ArrayLike | None, n_energies: int) -> DoubleArray | None:
    """Noise of each image from numbers or maps (..., n_energies): of maps the median.

    Raises
    ------
    ValueError
        If there is not one for each energy.
    """
    if noise_sd is None:
        return None
    given = np.asarray(noise_sd, np.float64)
    if given.shape in ((), (n_energies,)):
        return np.array(np.broadcast_to(given, (n_energies,)))
    if given.shape[-1] != n_energies:
        raise ValueError(f"noise_sd has shape {given.shape}, but there are {n_energies} energies")
    flat = given.reshape(-1, given.shape[-1])
    return np.array([_median(flat[:, energy]) for energy in range(flat.shape[1])])


def _median(values: DoubleArray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def slope_problem(
    matrix: SlopeMatrix,
    *,
    flat: bool = False,
    non_negative: bool = False,
    noise_sd: DoubleArray | None = None,
    energies: Sequence[str] = (),
) -> MaterialProblem:
    """The problem of materials with these slopes, over a known background or one that is solved for.

    Parameters
    ----------
    matrix : SlopeMatrix
    flat : bool
        Solve for a background that is equal at all energies, too; it may be negative.
    non_negative : bool
    noise_sd : (n_energies,) ndarray, optional
        HU, for the judgement.
    energies : sequence of str
        In words.
    """
    judged = Separability.of(matrix.values, matrix.materials, noise_sd=noise_sd, flat=flat, energies=energies)
    design, errors, n = matrix.values, matrix.errors, matrix.n_energies
    names, units = matrix.materials, ("mg/mL",) * len(matrix.materials)
    correlation, bounded = matrix.correlation, np.full(len(names), non_negative)
    if flat:
        design, errors = np.column_stack([design, np.ones(n)]), np.column_stack([errors, np.zeros(n)])
        names, units = (*names, VIRTUAL_NON_CONTRAST), (*units, "[HU]")
        correlation, bounded = np.append(correlation, 0.0), np.append(bounded, False)
    return MaterialProblem(names, units, design, errors, correlation, bounded, judged)


def filling_problem(
    matrix: SlopeMatrix,
    densities_g_ml: Mapping[str, float],
    *,
    non_negative: bool = True,
    noise_sd: DoubleArray | None = None,
    energies: Sequence[str] = (),
) -> MaterialProblem:
    """The problem of three materials that fill the volume.

    Parameters
    ----------
    matrix : SlopeMatrix
        HU of each material alone.
    densities_g_ml : mapping of str to float
        Of materials that are counted in mg/mL.
    non_negative, noise_sd, energies
        As in `slope_problem`.

    Raises
    ------
    ValueError
        If there are not three, or a density is none or of another material.
    IllConditioned
        If none of them is a tissue.
    """
    names = matrix.materials
    if len(names) != 3:
        raise ValueError(f"three materials fill the volume, not {len(names)}")
    unknown = set(densities_g_ml) - set(names)
    if unknown:
        raise ValueError(f"densities of materials that are not there: {', '.join(sorted(unknown))}")
    density = np.array([densities_g_ml.get(name, np.nan) for name in names])
    if (density <= 0).any():
        raise ValueError("densities are above 0 g/mL")
    counted = np.isfinite(density)
    shares = np.where(counted, 1.0 / (1000.0 * np.where(counted, density, 1.0)), 1.0)
    return MaterialProblem(
        names,
        tuple("mg/mL" if one else "1" for one in counted),
        matrix.values * shares,
        matrix.errors * shares,
        matrix.correlation,
        np.full(3, non_negative),
        _judged_filling(matrix, counted, shares, noise_sd, energies),
        shares,
    )


def _judged_filling(
    matrix: SlopeMatrix,
    counted: BoolArray,
    shares: DoubleArray,
    noise_sd: DoubleArray | None,
    energies: Sequence[str],
) -> Separability:
    """Separability of what displaces the first tissue."""
    tissue = (np.abs(matrix.values) < TISSUE_HU).all(axis=0) & ~counted
    if not tissue.any():
        raise IllConditioned(
            f"{', '.join(matrix.materials)} cannot be told apart by what they fill: none is a tissue",
            where=", ".join(energies) or None,
            found=f"attenuation of at least {np.abs(matrix.values).max(axis=0).min():.0f} HU each; condition "
            f"number infinite, {len(matrix.materials)} unknowns at {matrix.n_energies} energies",
            needed="one material that is mostly there, such as water or soft tissue",
            next_step="replace one of them by the tissue, or measure photon-counting bins that end at the "
            "K-edges",
        )
    reference = int(np.flatnonzero(tissue)[0])
    others = [n for n in range(3) if n != reference]
    columns = (matrix.values - matrix.values[:, [reference]]) * shares
    return Separability.of(
        columns[:, others],
        [matrix.materials[n] for n in others],
        noise_sd=noise_sd,
        energies=energies,
        units={matrix.materials[n]: "of the volume" for n in others if not counted[n]},
    )
