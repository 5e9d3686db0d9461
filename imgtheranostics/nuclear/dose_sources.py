"""What a map of activity says before it becomes dose: nuclide, decays per voxel, their noise, their flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import Nuclide, decays_in_chain, nuclide, nuclide_in
from imgtheranostics.errors import Caution, GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.point_kernels import electron_range_mm, electrons_of
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Flag, Volume

FloatArray = npt.NDArray[np.float64]

COEFFICIENTS = ("tiac_per_ml", "tiac_per_g")
"""Decays per injected activity that can become dose."""

_RIGHT_ANGLE = 1e-3
PENETRATING = 0.1
"""Photon energy over non-penetrating energy above which leaving photons out is said."""
PROGENY = 0.01
"""Energy of progeny over that of the nuclide itself above which leaving it out is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A map of decays, or of decays per second.

    Attributes
    ----------
    volume : Volume
    decays_mbq_s : ndarray
        Per voxel, MBq s or MBq, float64; NaN where not known.
    noise_mbq_s : ndarray or None
        Standard error of each voxel without what all share.
    calibration_relative : float
    flags : ndarray of uint16
    warnings : tuple of Caution
    """

    volume: Volume
    decays_mbq_s: FloatArray
    noise_mbq_s: FloatArray | None
    calibration_relative: float
    flags: npt.NDArray[np.uint16]
    warnings: tuple[Caution, ...]


def chosen_nuclide(v: Volume, name: str | None) -> tuple[Nuclide, tuple[Caution, ...]]:
    """The nuclide that gives the dose: the one that is named, or that of the image.

    Raises
    ------
    MissingMetadata
        If neither is known.
    UnsupportedInput
        If the nuclide is not in the table.
    """
    record = v.acquisition
    own = None
    if isinstance(record, (EmissionAcquisition, NuclearAcquisition)):
        own = record.radiopharmaceutical.nuclide
    if name is None and own is None:
        raise MissingMetadata(
            "the nuclide that gives the dose is not known",
            where="RadionuclideCodeSequence (0054,0300)",
            needed="a nuclide such as Lu-177",
            next_step="give nuclide (--nuclide)",
        )
    found = nuclide(name or str(own))
    imaged = None if own is None else nuclide_in(own) or own
    if name is None or imaged is None or imaged == found.name:
        return found, ()
    text = (
        f"the image is of {imaged} and the dose of {found.name}: the time-integrated activity "
        f"must already be that of {found.name}, with the biology of what was imaged"
    )
    return found, (Caution("other-nuclide", text),)


def chain_of(record: Nuclide, progeny: str) -> tuple[Mapping[str, float], tuple[Caution, ...]]:
    """Decays of each nuclide that counts per decay of the first, and what is to be said of the others.

    Raises
    ------
    UnsupportedInput
        If `progeny` is neither ``none`` nor ``in_place``.
    """
    if progeny not in ("none", "in_place"):
        raise UnsupportedInput(
            "there is no such way to count progeny", found=repr(progeny), needed="'none' or 'in_place'"
        )
    whole = decays_in_chain(record.name)
    others = [name for name in whole if name != record.name]
    energy = {
        name: number * (nuclide(name).delta_np_mev + nuclide(name).mean_photon_mev)
        for name, number in whole.items()
    }
    if progeny == "in_place":
        text = f"{', '.join(others)} count where {record.name} decayed: none of them moves before it decays"
        return whole, (Caution("progeny-in-place", text),) if others else ()
    alone = {record.name: 1.0}
    extra = sum(energy[name] for name in others)
    if extra <= PROGENY * energy[record.name]:
        return alone, ()
    text = (
        f"the progeny of {record.name}, {', '.join(others)}, emits {extra:.3g} MeV per decay beside "
        f"{energy[record.name]:.3g} MeV and is not included; progeny='in_place' counts it where it arises"
    )
    return alone, (Caution("progeny-not-included", text),)


def source_of(
    x: Volume | Estimate,
    quantity: str,
    *,
    density: FloatArray | float = 1.0,
    administered_mbq: float | None = None,
) -> Source:
    """Decays per voxel from a map of decays per volume, or of activity.

    Parameters
    ----------
    x : Volume or Estimate
    quantity : str
        What is taken; in the place of ``time_integrated_activity`` also a coefficient per volume or mass.
    density : ndarray or float
        g/mL, for a coefficient per mass.
    administered_mbq : float, optional
        Activity that makes decays of a coefficient.

    Raises
    ------
    UnitMismatch
        If the map is of another quantity.
    MissingMetadata
        If it is a coefficient and the activity is not given.
    GeometryMismatch
        If the voxels are no right-angled boxes.
    """
    v = x.value if isinstance(x, Estimate) else x
    factor = _factor(v, quantity, density, administered_mbq)
    _check_boxes(v)
    decays = v.data.astype(np.float64) * factor
    noise, shared = None, 0.0
    flags = np.zeros(v.shape, np.uint16, order="F")
    if isinstance(x, Estimate):
        shared = x.calibration_relative
        error = x.standard_error.data.astype(np.float64) * factor
        noise = np.sqrt(np.maximum(error**2 - (shared * decays) ** 2, 0.0))
        flags |= x.flags.data
    unknown = ~np.isfinite(decays)
    decays[unknown] = np.nan
    flags[unknown & (flags == 0)] = Flag.INVALID_INPUT.value
    negative = decays < 0
    flags[negative] |= Flag.NEGATIVE_AMPLITUDE.value
    no_error = np.zeros(0, bool) if noise is None else ~np.isfinite(noise) & ~unknown
    cautions = []
    for code, which, words in (
        (
            "unknown-activity",
            unknown,
            "not known: it counts as none, and there is no dose in the voxel itself",
        ),
        ("negative-activity", negative, "below zero; it is kept, so that noise does not become dose"),
        ("unknown-error", no_error, "without a standard error: the errors of doses do not hold its part"),
    ):
        count = int(np.count_nonzero(which))
        if count:
            cautions.append(
                Caution(code, f"the activity of {count} of {decays.size} voxels is {words}; see the flags")
            )
    return Source(v, decays, noise, shared, flags, tuple(cautions))


def _factor(
    v: Volume, quantity: str, density: FloatArray | float, administered_mbq: float | None
) -> FloatArray | float:
    """From the unit of the voxels, per mL and in Bq, or per MBq, to MBq s or MBq per voxel."""
    if administered_mbq is not None and not (np.isfinite(administered_mbq) and administered_mbq > 0):
        raise ValueError(f"administered_mbq must be positive, not {administered_mbq!r}")
    integrated = quantity == "time_integrated_activity"
    if v.quantity == quantity:
        if administered_mbq is not None:
            raise ValueError("administered_mbq must not be given: the map already holds decays")
        return v.grid.voxel_volume_ml * 1e-6
    if integrated and v.quantity in COEFFICIENTS:
        if administered_mbq is None:
            raise MissingMetadata(
                "decays per injected activity become decays by that activity",
                where=f"{v.quantity} [{v.unit}]",
                needed="administered_mbq",
                next_step="give administered_mbq; 1 gives the dose per MBq",
            )
        per_ml = density if v.quantity == "tiac_per_g" else 1.0
        return per_ml * (v.grid.voxel_volume_ml * administered_mbq)
    raise UnitMismatch(
        "dose needs decays per volume" if integrated else "dose rate needs activity per volume",
        found=f"{v.quantity} [{v.unit}]",
        needed=f"{quantity} [{QUANTITIES[quantity].unit}]",
        next_step="integrate the activity over time first" if integrated else "give the activity as scanned",
    )


def _check_boxes(v: Volume) -> None:
    axes = v.affine[:3, :3] / np.array(v.grid.spacing_mm)
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > _RIGHT_ANGLE:
        raise GeometryMismatch(
            "the voxels are not right-angled boxes, for which kernels are made",
            found=f"axes {np.degrees(np.arcsin(min(skew, 1.0))):.2g} degrees off",
            needed="a right-angled grid",
            next_step="resample the map to a right-angled grid first",
        )


def local_cautions(
    chain: Mapping[str, float], spacing_mm: tuple[float, ...], density: float
) -> tuple[Caution, ...]:
    """What local deposition leaves out here: photons, and electrons that leave their voxel."""
    cautions = []
    records = [(nuclide(name), number) for name, number in chain.items()]
    photons = sum(number * record.mean_photon_mev for record, number in records)
    kept = sum(number * record.delta_np_mev for record, number in records)
    if photons > PENETRATING * kept:
        text = (
            f"photons ({photons:.3g} MeV per decay beside {kept:.3g} MeV that is absorbed locally) are not "
            "included"
        )
        cautions.append(Caution("photons-not-included", text))
    electrons = [(electrons_of(record.name), number) for record, number in records]
    total = sum(number * groups.total_mev for groups, number in electrons)
    if total > PENETRATING * kept:
        weighted = sum(
            number * float((groups.energy_mev * groups.mev_per_decay).sum()) for groups, number in electrons
        )
        length = float(electron_range_mm(weighted / total, density))
        if length > min(spacing_mm):
            text = (
                f"electrons reach {length:.2g} mm, farther than a voxel of {min(spacing_mm):.2g} mm: local "
                "deposition holds them in the voxel, which is right inside large uniform regions only"
            )
            cautions.append(Caution("electrons-leave-voxel", text))
    return tuple(cautions)


def density_of(density: Volume | float, v: Volume) -> FloatArray | float:
    """Density per voxel of `v`, or the one number.

    Raises
    ------
    ValueError
        If the number is not positive.
    ImgTheranosticsError
        If a map is no density, or lies on another grid.
    """
    from imgtheranostics.nuclear.maps import density_on_grid

    if isinstance(density, Volume):
        return np.asarray(density_on_grid(density, v), np.float64)
    if not (np.isfinite(density) and density > 0):
        raise ValueError(f"density must be positive, not {density!r} g/mL")
    return float(density)


def check_method(method: str) -> None:
    """Refuse a method that does not exist."""
    if method not in ("kernel", "local"):
        raise UnsupportedInput(
            "there is no such way to absorb energy", found=repr(method), needed="'kernel' or 'local'"
        )
