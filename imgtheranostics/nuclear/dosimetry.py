"""Absorbed dose: local deposition here, and the functions on arrays of voxel kernels, bodies and biology.

References
----------
.. [1] ICRP Publication 107, Nuclear decay data for dosimetric calculations, 2008 (mean energies per decay).
"""

from __future__ import annotations

import math

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.nuclear.absorbed_fractions import absorbed_fraction as absorbed_fraction
from imgtheranostics.nuclear.decay_energy import MEV_TO_J as MEV_TO_J
from imgtheranostics.nuclear.decay_energy import MGY_G_PER_MBQ_S_MEV
from imgtheranostics.nuclear.dose_convolution import convolve as convolve
from imgtheranostics.nuclear.dose_kernels import voxel_s as voxel_s
from imgtheranostics.nuclear.dose_volume import dose_at_volume as dose_at_volume
from imgtheranostics.nuclear.dose_volume import dose_volume_histogram as dose_volume_histogram
from imgtheranostics.nuclear.dose_volume import geud as geud
from imgtheranostics.nuclear.dose_volume import volume_at_dose as volume_at_dose
from imgtheranostics.nuclear.radiobiology import bed as bed
from imgtheranostics.nuclear.radiobiology import eqd2 as eqd2
from imgtheranostics.nuclear.radiobiology import g_factor as g_factor


def local_s(name: str, mass_g: float = 1.0) -> float:
    """Dose per time-integrated activity of a mass that absorbs all non-penetrating energy, mGy/(MBq s).

    S = Delta_np x 0.1602 / mass. Photons, and beta particles that leave a small mass, are not in it: for
    beta emitters it is an upper bound below a few ranges of the beta (90Y: a few mm).

    Parameters
    ----------
    name : str
        Nuclide such as ``Y-90``. Its progeny is not included.
    mass_g : float

    Raises
    ------
    ValueError
        If the mass is not positive.
    UnsupportedInput
        If the nuclide is not known.

    Examples
    --------
    >>> round(local_s("Y-90"), 4)
    0.1495
    """
    if not (math.isfinite(mass_g) and mass_g > 0):
        raise ValueError(f"mass_g must be positive, not {mass_g!r}")
    return nuclide(name).delta_np_mev * MGY_G_PER_MBQ_S_MEV / mass_g


def tiac_mono_exponential(share: float, effective_half_life_s: float) -> float:
    """Time-integrated activity per administered activity of ``share * 2^(-t/T_eff)``: share T_eff / ln 2, s.

    Parameters
    ----------
    share : float
        Of the administered activity at injection; per gram gives a result per gram.
    effective_half_life_s : float
        With physical decay, see `effective_half_life`.

    Raises
    ------
    ValueError
        If the half-life is not positive and finite, or the share is negative.
    """
    if not (math.isfinite(effective_half_life_s) and effective_half_life_s > 0):
        raise ValueError(f"effective_half_life_s must be positive, not {effective_half_life_s!r}")
    if not share >= 0:
        raise ValueError(f"share must not be negative, not {share!r}")
    return share * effective_half_life_s / math.log(2.0)


def effective_half_life(biological_half_life_s: float, physical_half_life_s: float) -> float:
    """Effective half-life, 1/T_eff = 1/T_bio + 1/T_phys; infinity is no biological clearance.

    Raises
    ------
    ValueError
        If a half-life is not positive.

    Examples
    --------
    >>> round(effective_half_life(60 * 3600, 64.1 * 3600) / 3600, 1)
    31.0
    """
    if not (biological_half_life_s > 0 and physical_half_life_s > 0):
        raise ValueError("half-lives must be positive")
    return 1.0 / (1.0 / biological_half_life_s + 1.0 / physical_half_life_s)


def local_dose_per_activity(name: str, tiac_s_per_g: float) -> float:
    """Absorbed dose per administered activity by local deposition, Gy/MBq.

    Parameters
    ----------
    name : str
        Nuclide that is given.
    tiac_s_per_g : float
        Time-integrated activity coefficient per gram of tissue, s/g, as of `tiac_mono_exponential` with
        %ID/g / 100.

    Examples
    --------
    12 %ID/g that leaves with an effective half-life of 31.0 h:

    >>> round(local_dose_per_activity("Y-90", tiac_mono_exponential(0.12, 31.0 * 3600)), 3)
    2.888
    """
    if not tiac_s_per_g >= 0:
        raise ValueError(f"tiac_s_per_g must not be negative, not {tiac_s_per_g!r}")
    return tiac_s_per_g * local_s(name) * 1e-3
