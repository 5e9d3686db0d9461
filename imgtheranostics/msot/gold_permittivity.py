"""Permittivity of gold: the measured table of 1972, and the Lorentz-Drude model of 1998.

The two put the peak of a nanorod 7 to 61 nm apart, so that every result names the one it was made with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.spectra import index_tables
from imgtheranostics.msot.spectrum import FloatArray, check_covered

SOURCES = {
    "johnson-christy-1972": "doi:10.1103/PhysRevB.6.4370",
    "lorentz-drude-1998": "doi:10.1364/AO.37.005271",
}
"""Where each permittivity is from."""

LICENCES = {"johnson-christy-1972": "CC0 1.0 (refractive-index database)", "lorentz-drude-1998": "formula"}

EV_NM = 1239.841984
"""Photon energy in eV times wavelength in nm."""

_PLASMA_EV = 9.03
_STRENGTH = (0.760, 0.024, 0.010, 0.071, 0.601, 4.384)
_DAMPING_EV = (0.053, 0.241, 0.345, 0.870, 2.494, 2.214)
_RESONANCE_EV = (0.0, 0.415, 0.830, 2.969, 4.304, 13.32)
_MODEL_RANGE_NM = (248.0, 6200.0)

ComplexArray = npt.NDArray[np.complex128]


def gold_permittivity(wavelength_nm: FloatArray, permittivity: str) -> ComplexArray:
    """Relative permittivity of gold, with a positive imaginary part.

    Parameters
    ----------
    wavelength_nm : ndarray
    permittivity : {"johnson-christy-1972", "lorentz-drude-1998"}
        The table is interpolated linearly in n and k by wavelength.

    Raises
    ------
    ValueError
        If there is no such permittivity.
    UnsupportedInput
        If a wavelength lies beyond the data.

    References
    ----------
    .. [1] P. B. Johnson and R. W. Christy, Phys. Rev. B 6, 4370 (1972), doi:10.1103/PhysRevB.6.4370
    .. [2] A. D. Rakic et al., Appl. Opt. 37, 5271 (1998), doi:10.1364/AO.37.005271
    """
    if permittivity == "johnson-christy-1972":
        table = index_tables()["gold-johnson-christy-1972"]
        check_covered(
            "gold (1972)", wavelength_nm, float(table.wavelength_nm[0]), float(table.wavelength_nm[-1])
        )
        index: Any = np.interp(wavelength_nm, table.wavelength_nm, table.n) + 1j * np.interp(
            wavelength_nm, table.wavelength_nm, table.k
        )
        return np.asarray(index**2, np.complex128)
    if permittivity != "lorentz-drude-1998":
        raise ValueError(f"permittivity is one of {', '.join(SOURCES)}, not {permittivity!r}")
    check_covered("gold (Lorentz-Drude)", wavelength_nm, *_MODEL_RANGE_NM)
    energy = EV_NM / wavelength_nm
    total = np.ones(energy.shape, np.complex128)
    for strength, damping, resonance in zip(_STRENGTH, _DAMPING_EV, _RESONANCE_EV, strict=True):
        total += strength * _PLASMA_EV**2 / (resonance**2 - energy**2 - 1j * energy * damping)
    return total
