"""Absorption of a sphere by the Mie series."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def absorption_efficiency(size_parameter: npt.ArrayLike, relative_index: npt.ArrayLike) -> FloatArray:
    """Absorption cross-section of homogeneous spheres over their geometric one.

    Parameters
    ----------
    size_parameter : array_like
        Circumference over the wavelength in the medium, above 0.
    relative_index : array_like
        Complex index over that of the medium, with a positive imaginary part.

    Notes
    -----
    Logarithmic derivatives run downwards and Riccati-Bessel functions upwards in order, which is stable up to
    the order where the series ends.

    References
    ----------
    .. [1] C. F. Bohren and D. R. Huffman, Absorption and Scattering of Light by Small Particles (1983), 4.8
    """
    sizes, indices = np.broadcast_arrays(
        np.asarray(size_parameter, np.float64), np.asarray(relative_index, np.complex128)
    )
    result = np.empty(sizes.shape, np.float64)
    for place in np.ndindex(sizes.shape):
        result[place] = _one(float(sizes[place]), complex(indices[place]))
    return result


def _one(x: float, m: complex) -> float:
    """Efficiency of one sphere."""
    n_terms = int(x + 4.05 * x ** (1.0 / 3.0) + 8.0)
    derivative = _logarithmic_derivatives(m * x, n_terms)
    psi_before, psi = float(np.cos(x)), float(np.sin(x))
    chi_before, chi = -float(np.sin(x)), float(np.cos(x))
    extinction = scattering = 0.0
    for n in range(1, n_terms + 1):
        psi_before, psi = psi, (2 * n - 1) / x * psi - psi_before
        chi_before, chi = chi, (2 * n - 1) / x * chi - chi_before
        xi, xi_before = complex(psi, -chi), complex(psi_before, -chi_before)
        electric = derivative[n] / m + n / x
        magnetic = derivative[n] * m + n / x
        a = (electric * psi - psi_before) / (electric * xi - xi_before)
        b = (magnetic * psi - psi_before) / (magnetic * xi - xi_before)
        extinction += (2 * n + 1) * (a.real + b.real)
        scattering += (2 * n + 1) * (abs(a) ** 2 + abs(b) ** 2)
    return 2.0 / x**2 * (extinction - scattering)


def _logarithmic_derivatives(z: complex, n_terms: int) -> list[complex]:
    """Logarithmic derivatives of psi for the orders 0 to `n_terms`."""
    start = max(n_terms, int(abs(z))) + 16
    derivative = [0j] * (start + 1)
    for n in range(start, 0, -1):
        derivative[n - 1] = n / z - 1.0 / (derivative[n] + n / z)
    return derivative
