"""What a map of activity says before it becomes dose: nuclide, decays per voxel, their noise, their flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import Nuclide, nuclide, nuclides
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
    cautions = []
    if name is not None and own is not None and nuclide(own).name != found.name:
        text = (
            f"the image is of {nuclide(own).name} and the dose of {found.name}: the time-integrated activity "
            f"must already be that of {found.name}, with the biology of what was imaged"
        )
        cautions.append(Caution("other-nuclide", text))
    active = [daughter for daughter in found.progeny if daughter in nuclides()]
    if active:
        text = f"the progeny of {found.name}, {', '.join(active)}, gives dose too and is not included"
        cautions.append(Caution("progeny-not-included", text))
    return found, tuple(cautions)


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


def local_cautions(record: Nuclide, spacing_mm: tuple[float, ...], density: float) -> tuple[Caution, ...]:
    """What local deposition leaves out here: photons, and electrons that leave their voxel."""
    cautions = []
    if record.mean_photon_mev > PENETRATING * record.delta_np_mev:
        text = (
            f"photons of {record.name} ({record.mean_photon_mev:.3g} MeV per decay beside "
            f"{record.delta_np_mev:.3g} MeV that is absorbed locally) are not included"
        )
        cautions.append(Caution("photons-not-included", text))
    groups = electrons_of(record.name)
    if groups.total_mev > 0:
        mean = float((groups.energy_mev * groups.mev_per_decay).sum() / groups.total_mev)
        length = float(electron_range_mm(mean, density))
        if length > min(spacing_mm):
            text = (
                f"electrons of {record.name} reach {length:.2g} mm, farther than a voxel of "
                f"{min(spacing_mm):.2g} mm: local deposition holds them in the voxel, which is right inside "
                "large uniform regions only"
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
