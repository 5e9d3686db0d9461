"""Positions of water as a `Fit`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.z_kernel import Measured, Spectra
from imgtheranostics.fit import Fit, FloatArray

LEAST_OFFSETS = 4
"""Offsets that the minimum of a spectrum needs."""


def minimum_fit(spectra: Spectra, found: Measured) -> Fit:
    """The minima that the kernel found."""
    iterations = np.zeros(spectra.planes.n_voxels, np.int16)
    return b0_fit(spectra, found.b0, found.b0_error, found.flags, iterations)


def b0_fit(
    spectra: Spectra,
    place: FloatArray,
    error: FloatArray,
    flags: npt.NDArray[np.uint16],
    iterations: npt.NDArray[np.int16],
    *,
    r_squared: FloatArray | None = None,
    rmse: FloatArray | None = None,
) -> Fit:
    """Positions in the caller's shape; NaN for a goodness of fit that a method does not have."""
    unknown = np.full(place.size, np.nan, place.dtype)
    return Fit(
        parameters={"b0_ppm": spectra.restored(place)},
        standard_errors={"b0_ppm": spectra.restored(error)},
        r_squared=spectra.restored(unknown if r_squared is None else r_squared),
        rmse=spectra.restored(unknown if rmse is None else rmse),
        iterations=spectra.planes.restored(iterations),
        flags=spectra.planes.restored(flags),
        units={"b0_ppm": "ppm"},
    )
