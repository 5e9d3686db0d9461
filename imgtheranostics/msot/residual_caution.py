"""Whether residuals of unmixing are those of the noise, or tell that the model leaves something out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution

MOST = 2.0
"""Residual over noise, both root mean squares over the wavelengths, above which noise alone is no reason."""

STATED_SHARE = 0.01
"""Share of such voxels that is told: noise makes fewer than 1 in 1,000 of any number of wavelengths."""


def residual_cautions(
    rmse: npt.NDArray[np.floating], noise_sd: npt.NDArray[np.floating]
) -> tuple[Caution, ...]:
    """A caution where the residuals of many voxels are far above the noise that was given.

    Parameters
    ----------
    rmse : (...) ndarray
        Of each voxel, without weights; NaN where there is none.
    noise_sd : float, (n_wavelengths,) or (..., 1 or n_wavelengths) ndarray
        Standard deviation of the noise: one, one for each wavelength, or a map of either.
    """
    noise = np.asarray(noise_sd)
    least = MOST * float(np.sqrt(np.mean(np.square(noise, dtype=np.float64)))) if noise.ndim < 2 else None
    above = total = 0
    for place, found in enumerate(rmse):
        limit = _limit(noise[place]) if least is None else least
        above += int(np.count_nonzero(found > limit))
        total += int(np.count_nonzero(np.isfinite(found)))
    if above <= STATED_SHARE * total:
        return ()
    text = (
        f"in {above} of {total} voxels ({100 * above / total:.0f} %) the residual is above {MOST:g} times "
        "the noise: a component is missing or has another spectrum here, light is not corrected for, or the "
        "noise is larger than given; amounts and their errors are not to be trusted there"
    )
    return (Caution("residual-above-noise", text, "residual"),)


def _limit(noise: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(MOST * np.sqrt(np.mean(np.square(noise, dtype=np.float64), axis=-1)))
