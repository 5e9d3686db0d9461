"""Mean spectra of regions with what each component makes of them, ready to be drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import CurveFit
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.regions import Regions

DoubleArray = npt.NDArray[np.float64]


def component_spectra(unmixed: Unmixed, regions: Regions) -> tuple[CurveFit, ...]:
    """The mean spectrum of each region, the sum of its mean components, and each of them.

    Parameters
    ----------
    unmixed : Unmixed
    regions : Regions
        On the grid of the image.

    Returns
    -------
    tuple of CurveFit
        Along ``wavelength``, one for each region with values, in their order; ``parts`` has the components.
        The mean is over the voxels that were unmixed, in all frames.
    """
    fitted = regions.fit_to(unmixed.signal.grid)
    wavelength = np.asarray(unmixed.components.wavelength_nm, np.float64)
    order = np.argsort(wavelength)
    signal = unmixed.signal
    found = []
    for name, voxels in zip(fitted, fitted.voxel_lists(), strict=True):
        place = np.unravel_index(voxels, signal.grid.shape, order="F")
        measured, amounts, count = _means(unmixed, place)
        if count == 0:
            continue
        parts = {
            key: (unmixed.components.values[:, n] * amounts[key])[order]
            for n, key in enumerate(unmixed.components.names)
        }
        total = np.sum(list(parts.values()), axis=0)
        found.append(
            CurveFit(
                label=name,
                quantity=signal.quantity,
                axis="wavelength",
                axis_unit="nm",
                x=wavelength[order],
                measured=measured[order],
                fitted=total,
                line_x=wavelength[order],
                line=total,
                unit=signal.unit,
                value=float(np.sqrt(np.mean(np.square(measured[order] - total)))),
                n_voxels=count,
                parts=parts,
            )
        )
    return tuple(found)


def _means(
    unmixed: Unmixed, place: tuple[npt.NDArray[np.intp], ...]
) -> tuple[DoubleArray, dict[str, float], int]:
    """Mean signal at each wavelength and mean amounts, over voxels and frames that have all; their voxels."""
    samples = unmixed.signal.data[place].astype(np.float64)
    amounts = {name: one.value.data[place].astype(np.float64) for name, one in unmixed.estimates.items()}
    known = np.isfinite(samples).all(axis=-1)
    for values in amounts.values():
        known &= np.isfinite(values)
    count = int(known.reshape(known.shape[0], -1).any(axis=1).sum())
    if count == 0:
        return np.full(samples.shape[-1], np.nan), dict.fromkeys(amounts, float("nan")), 0
    means = {name: float(values[known].mean()) for name, values in amounts.items()}
    return samples[known].mean(axis=0), means, count
