"""Maps of absorbed dose and of dose rate from maps of activity, with standard error and flags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import Nuclide
from imgtheranostics.data.nuclides import nuclide as nuclide_of
from imgtheranostics.errors import Caution
from imgtheranostics.nuclear.decay_energy import MGY_G_PER_MBQ_S_MEV
from imgtheranostics.nuclear.dose_convolution import GY_PER_MGY, convolve
from imgtheranostics.nuclear.dose_kernels import chain_s
from imgtheranostics.nuclear.dose_sources import (
    PENETRATING,
    Source,
    chain_of,
    check_method,
    chosen_nuclide,
    density_of,
    local_cautions,
    source_of,
)
from imgtheranostics.nuclear.maps import LOWEST_DENSITY_G_ML
from imgtheranostics.volume import Estimate, Flag, Step, Volume, make_step

FloatArray = npt.NDArray[np.float64]

SOFT_TISSUE_G_ML = 1.04
KERNEL_RELATIVE_UNCERTAINTY = 0.02
"""Standard uncertainty of kernel doses: the agreement with published tables of 90Y, 131I and 177Lu."""

_UNLIKE_SOFT_TISSUE = (0.7, 1.3)


def absorbed_dose(
    activity: Volume | Estimate,
    nuclide: str | None = None,
    *,
    method: str = "kernel",
    progeny: str = "none",
    administered_mbq: float | None = None,
    density: Volume | float = SOFT_TISSUE_G_ML,
    radius_mm: float | None = None,
    s_relative_uncertainty: float | None = None,
    workers: int | None = None,
) -> Estimate:
    """Absorbed dose in every voxel from the decays in all of them.

    Parameters
    ----------
    activity : Volume or Estimate
        ``time_integrated_activity``, Bq.s/mL: decays of the nuclide that gives the dose, not of an imaging
        twin. Or decays over the injected activity, ``tiac_per_ml`` or ``tiac_per_g``.
    nuclide : str, optional
        Such as ``Y-90``; that of the image without it.
    method : str
        ``kernel``: electrons and photons are spread by voxel S-values of this voxel size and a uniform
        medium. ``local``: all non-penetrating energy stays in its voxel.
    progeny : str
        ``none``, or ``in_place``: daughters count where they arise, with the decays of `decays_in_chain`.
    administered_mbq : float, optional
        Injected activity, for decays over it; 1 gives Gy per MBq.
    density : Volume or float
        g/mL; a map, such as `density_from_ct` gives it, divides the energy in each voxel by the mass there.
        The spread of the kernel stays that of soft tissue.
    radius_mm : float, optional
        Reach of the kernel, see `voxel_s`; photons go farther than its default.
    s_relative_uncertainty : float, optional
        Of the energy per decay and its spread, shared by all voxels; 2 % for kernels and 0 without it.
    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    Estimate
        ``absorbed_dose``, Gy. Voxels of air, and of unknown activity, have none. The standard error is
        propagated from that of the activity, with voxels that are independent beside what all share.

    Raises
    ------
    UnitMismatch
        If the map is no time-integrated activity, or the density none.
    MissingMetadata
        If the nuclide, or the injected activity of a coefficient, is not known.
    UnsupportedInput
        If the nuclide is not in the table, or there is no such method.
    GeometryMismatch
        If voxels are no right-angled boxes, or the density lies on another grid.
    ValueError
        If a number is not positive.
    """
    v = activity.value if isinstance(activity, Estimate) else activity
    here = density_of(density, v)
    return _dose(
        source_of(activity, "time_integrated_activity", density=here, administered_mbq=administered_mbq),
        ("absorbed_dose", "Gy"),
        *chosen_nuclide(v, nuclide),
        method=method,
        progeny=progeny,
        here=here,
        radius_mm=radius_mm,
        uncertainty=s_relative_uncertainty,
        workers=workers,
    )


def dose_rate(
    activity: Volume | Estimate,
    nuclide: str | None = None,
    *,
    method: str = "kernel",
    progeny: str = "none",
    density: Volume | float = SOFT_TISSUE_G_ML,
    radius_mm: float | None = None,
    s_relative_uncertainty: float | None = None,
    workers: int | None = None,
) -> Estimate:
    """Absorbed dose rate while the activity is what an image shows, Gy/s; arguments as in `absorbed_dose`.

    Parameters
    ----------
    activity : Volume or Estimate
        ``activity_concentration`` at the moment, not corrected for decay to another one; frames are worked
        on one by one.

    Returns
    -------
    Estimate
        ``absorbed_dose_rate``.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `absorbed_dose`.
    """
    v = activity.value if isinstance(activity, Estimate) else activity
    return _dose(
        source_of(activity, "activity_concentration"),
        ("absorbed_dose_rate", "Gy/s"),
        *chosen_nuclide(v, nuclide),
        method=method,
        progeny=progeny,
        here=density_of(density, v),
        radius_mm=radius_mm,
        uncertainty=s_relative_uncertainty,
        workers=workers,
    )


def _dose(
    source: Source,
    named: tuple[str, str],
    record: Nuclide,
    cautions: tuple[Caution, ...],
    *,
    method: str,
    progeny: str,
    here: FloatArray | float,
    radius_mm: float | None,
    uncertainty: float | None,
    workers: int | None,
) -> Estimate:
    check_method(method)
    v = source.volume
    uniform = here if isinstance(here, float) else SOFT_TISSUE_G_ML
    own = (KERNEL_RELATIVE_UNCERTAINTY if method == "kernel" else 0.0) if uncertainty is None else uncertainty
    if not (math.isfinite(own) and own >= 0):
        raise ValueError(f"s_relative_uncertainty must not be negative, not {own!r}")
    chain, of_progeny = chain_of(record, progeny)
    if method == "kernel":
        kernel = chain_s(chain, v.grid.spacing_mm, radius_mm=radius_mm, density_g_ml=uniform)
        dose, noise = _convolved(source, kernel, workers)
        said, more = _kernel_facts(chain, kernel, uniform * v.grid.voxel_volume_ml, here, radius_mm)
    else:
        energy = sum(number * nuclide_of(name).delta_np_mev for name, number in chain.items())
        each = energy * MGY_G_PER_MBQ_S_MEV * GY_PER_MGY / (uniform * v.grid.voxel_volume_ml)
        dose = source.decays_mbq_s * each
        noise = None if source.noise_mbq_s is None else source.noise_mbq_s * each
        said = {"energy_mev_per_decay": energy}
        more = local_cautions(chain, v.grid.spacing_mm, uniform)
    flags = np.array(source.flags, order="F")
    if not isinstance(here, float):
        air = np.broadcast_to(~(here >= LOWEST_DENSITY_G_ML), dose.shape)
        scale = uniform / np.where(here >= LOWEST_DENSITY_G_ML, here, np.nan)
        dose = dose * scale
        noise = None if noise is None else noise * scale
        flags[air] |= Flag.OUTSIDE_RANGE.value
    shared = math.hypot(source.calibration_relative, own)
    rules = {
        "method": {"rule": method, "nuclide": record.name, "source": record.source, **said},
        "progeny": {"rule": progeny, "decays": dict(chain)},
        "density": {"rule": "map" if not isinstance(here, float) else "uniform", "g_ml": uniform},
        "uncertainty": {"s_relative": own, "activity_shared_relative": source.calibration_relative},
    }
    step = make_step(named[0], nuclide=record.name, method=method, density_g_ml=uniform, radius_mm=radius_mm)
    return _estimate(source, named, dose, noise, flags, shared, step, rules, (*cautions, *of_progeny, *more))


def _estimate(
    source: Source,
    named: tuple[str, str],
    dose: FloatArray,
    noise: FloatArray | None,
    flags: npt.NDArray[np.uint16],
    shared: float,
    step: Step,
    rules: dict[str, Any],
    cautions: tuple[Caution, ...],
) -> Estimate:
    error = np.abs(dose) * shared
    if noise is not None:
        error = np.hypot(error, noise)
    error[~np.isfinite(dose)] = np.nan
    result = source.volume.derived(dose, *named, step).with_warnings(*source.warnings, *cautions)
    plain = result.replace(warnings=())
    return Estimate(
        result,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        shared,
        rules,
    )


def _convolved(
    source: Source, kernel: FloatArray, workers: int | None
) -> tuple[FloatArray, FloatArray | None]:
    """Dose, and its standard error from that of independent voxels; frames of further axes one by one."""
    shape = source.decays_mbq_s.shape
    dose = np.empty(shape, np.float64, order="F")
    noise = None if source.noise_mbq_s is None else np.empty(shape, np.float64, order="F")
    for frame in np.ndindex(*shape[3:]):
        part = (..., *frame)
        dose[part] = convolve(source.decays_mbq_s[part], kernel, workers=workers, missing="zero")
        if noise is not None and source.noise_mbq_s is not None:
            variance = convolve(
                source.noise_mbq_s[part] ** 2, kernel**2 * GY_PER_MGY, workers=workers, missing="zero"
            )
            noise[part] = np.sqrt(variance)
    return dose, noise


def _kernel_facts(
    chain: Mapping[str, float],
    kernel: FloatArray,
    mass_g: float,
    density: FloatArray | float,
    radius_mm: float | None,
) -> tuple[dict[str, Any], tuple[Caution, ...]]:
    """What the kernel holds of the energy, and what a reader has to know of the rest."""
    held = float(kernel.sum()) * mass_g / MGY_G_PER_MBQ_S_MEV
    records = [(nuclide_of(name), number) for name, number in chain.items()]
    kept = sum(number * record.delta_np_mev for record, number in records)
    emitted = kept + sum(number * record.mean_photon_mev for record, number in records)
    said = {
        "kernel_voxels": list(kernel.shape),
        "radius_mm": radius_mm,
        "energy_in_kernel_mev_per_decay": held,
        "emitted_mev_per_decay": emitted,
    }
    cautions = []
    if emitted - held > PENETRATING * kept:
        text = (
            f"{emitted - held:.3g} of {emitted:.3g} MeV per decay are absorbed beyond the "
            "kernel, or leave the body: photons go farther than it reaches"
        )
        cautions.append(Caution("photons-beyond-kernel", text))
    if not isinstance(density, float):
        low, high = _UNLIKE_SOFT_TISSUE
        body = density[density >= LOWEST_DENSITY_G_ML]
        unlike = int(np.count_nonzero((body < low) | (body > high)))
        if unlike:
            text = (
                f"{unlike} of {body.size} voxels have a density below {low:g} or above {high:g} g/mL: their "
                "dose is divided by their mass, but how far energy spreads there is that of soft tissue"
            )
            cautions.append(Caution("density-unlike-kernel", text))
    return said, tuple(cautions)
