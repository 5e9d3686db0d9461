"""What the noise of the unsaturated signals does to fits of the simulation: each scales its spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgtheranostics.cest.bloch_design import Design
from imgtheranostics.cest.voxel_spectra import Array, FloatArray
from imgtheranostics.fit import Fit

_BLOCK = 512
_RIDGE = 1e-12


@dataclass(frozen=True, eq=False)
class Reference:
    """The unsaturated signal of one scan.

    Attributes
    ----------
    n_offsets : int
        Of the scan's spectrum.
    noise_sd : (v,) ndarray
        Noise of a sample as fraction of the unsaturated signal.
    shares : (n_offsets, m) ndarray or None
        How independent noise enters it at each offset (`PreparedSpectra.m0_shares`); None where not known.
    """

    n_offsets: int
    noise_sd: Array
    shares: FloatArray | None


def with_reference_errors(
    fit: Fit, design: Design, references: Sequence[Reference], b0_ppm: Array, relative_b1: Array
) -> Fit:
    """A fit whose standard errors contain the noise of the signals that spectra were divided by.

    As `imgtheranostics.cest.reference_error.with_reference_error`, with one unsaturated signal per scan.

    Parameters
    ----------
    fit : Fit
        Of `imgtheranostics.cest.bloch_fit.fit`, arrays (v,).
    design : Design
        Of that fit.
    references : sequence of Reference
        In the order of the spectra.
    b0_ppm, relative_b1 : (v,) ndarray
    """
    known = [one for one in references if one.shares is not None]
    if not known:
        return fit
    names = [parameter.name for parameter in design.parameters]
    values = np.array([np.asarray(fit.parameters[name], np.float64) for name in names]).T
    errors = np.array([np.asarray(fit.standard_errors[name], np.float64) for name in names]).T
    todo = np.flatnonzero(np.isfinite(values).all(axis=1) & (errors > 0).any(axis=1))
    for first in range(0, todo.size, _BLOCK):
        voxels = todo[first : first + _BLOCK]
        errors[voxels] = _total(
            values[voxels],
            errors[voxels],
            design,
            [replace(one, noise_sd=np.asarray(one.noise_sd, np.float64)[voxels]) for one in references],
            np.asarray(b0_ppm, np.float64)[voxels],
            np.asarray(relative_b1, np.float64)[voxels],
        )
    kept = {
        name: errors[:, n].astype(np.asarray(fit.standard_errors[name]).dtype) for n, name in enumerate(names)
    }
    return replace(fit, standard_errors={**fit.standard_errors, **kept})


def _total(
    values: FloatArray,
    errors: FloatArray,
    design: Design,
    references: Sequence[Reference],
    b0_ppm: FloatArray,
    relative_b1: FloatArray,
) -> FloatArray:
    """Standard errors of some voxels with the noise of all unsaturated signals."""
    logarithmic = np.array([parameter.logarithmic for parameter in design.parameters])
    inner = np.where(logarithmic, np.log(np.where(logarithmic, values, 1.0)), values)
    free = errors > 0
    z = design.spectra(inner, b0_ppm, relative_b1)
    jacobian = design.jacobian(inner, z, b0_ppm, relative_b1) * free[:, np.newaxis]
    size = np.linalg.norm(jacobian, axis=1)
    size[size == 0.0] = 1.0
    scaled = jacobian / size[:, np.newaxis]
    normal = np.swapaxes(scaled, 1, 2) @ scaled
    diagonal = np.arange(values.shape[1])
    normal[:, diagonal, diagonal] += np.where(free, _RIDGE, 1.0)
    freedom = np.maximum(z.shape[1] - free.sum(axis=1), 1)
    variance, inflation, start = np.zeros_like(errors), np.ones(len(values)), 0
    for one in references:
        part = slice(start, start + one.n_offsets)
        start = part.stop
        noise = one.noise_sd
        if one.shares is None:
            continue
        own = np.zeros((*z.shape, one.shares.shape[1]))
        own[:, part] = z[:, part, np.newaxis] * one.shares
        right = (np.swapaxes(scaled, 1, 2) @ own) * free[..., np.newaxis]
        change = np.linalg.solve(normal, right)
        left = own - scaled @ change
        level = np.where(np.isfinite(noise), noise, 0.0)
        factor = np.linalg.norm(change, axis=-1) / size * design.slope(inner)
        variance += (factor * level[:, np.newaxis]) ** 2
        inflation += np.where(level > 0, np.square(left).sum(axis=(1, 2)) / freedom, 0.0)
    total = np.sqrt(errors**2 / inflation[:, np.newaxis] + variance)
    return np.where(free, total, errors)
