"""CT images of one subject at several energies: on one grid, in HU, each with its tube voltage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.hounsfield import comparable, ct_record, require_hu
from imgtheranostics.ct.scan_pairs import without_fill
from imgtheranostics.ct.slope import SAME_KVP
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.mapping.pairs import estimate_on, single_image
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Estimate, Volume

Image = Volume | Estimate

_EXPECTED_TO_DIFFER = ("KVP (0018,0060)", "FilterType (0018,1160), FilterMaterial (0018,7050)")
_TIN = ("TIN", "SN")


@dataclass(frozen=True, eq=False)
class EnergyImages:
    """Images of one grid at several energies.

    Attributes
    ----------
    images : tuple of Volume or Estimate
        Without an axis beyond space, on the grid of the first; attenuation or its change.
    kvp : tuple of float or None
        Tube voltage of each; None where it is not known.
    middles_kev : tuple of float
        Of the bins of a photon-counting detector; empty for images of a tube voltage each.
    tin_mm : tuple of float or None
        As the files say; None where they do not.
    decision : dict
    warnings : tuple of Caution
    """

    images: tuple[Image, ...]
    kvp: tuple[float | None, ...]
    middles_kev: tuple[float, ...] = ()
    tin_mm: tuple[float | None, ...] = ()
    decision: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    @classmethod
    def of(
        cls,
        given: Image | Sequence[Image],
        kvp: float | Sequence[float] | None = None,
        *,
        bins: bool = False,
    ) -> EnergyImages:
        """Images as they may be given, checked and brought together.

        Parameters
        ----------
        given : Volume, Estimate, or sequence of them
            One with an energy axis, or one for each energy.
        kvp : float or sequence of float, optional
            Tube voltages in kV. Where files state them too, images are brought into this order; without it
            they stay in the order given.
        bins : bool
            Whether they are energy bins of one tube voltage, as an axis in keV tells too.

        Raises
        ------
        UnitMismatch
            If values are not HU, images and changes are mixed, or the files state other tube voltages.
        GeometryMismatch
            If the grids differ; the message says by how much.
        MissingMetadata
            If a file does not say that its values are HU.
        UnsupportedInput
            If an image has other axes.
        ValueError
            If there are not as many tube voltages as images.
        """
        images, middles = _separate(given)
        images = [_in_hu(image) for image in images]
        quantities = sorted({image.quantity for image in images})
        if len(quantities) > 1:
            raise UnitMismatch(
                "images and changes of images cannot be decomposed together",
                found=", ".join(quantities),
                needed="attenuation at each energy, or its change at each energy",
                next_step="subtract the scan before the agent at each energy (ct.enhancement), or at none",
            )
        voltages, order = _voltages(images, kvp, bins=bins or bool(middles))
        placed = [_on_first(images[order[0]], images[n], n) for n in order]
        rule = "the order given" if kvp is None else "the order of kvp"
        return cls(
            tuple(placed),
            voltages,
            middles,
            tuple(_tin(_value(image)) for image in placed),
            {"kvp": list(voltages), "order": rule, "place_in_input": list(order)},
            _notes(placed),
        )

    @property
    def first(self) -> Volume:
        """The image that gives grid, source and history."""
        return _value(self.images[0])

    @property
    def values(self) -> tuple[Volume, ...]:
        """The images without their errors."""
        return tuple(_value(image) for image in self.images)

    @property
    def labels(self) -> tuple[str, ...]:
        """The energies in words."""
        if self.middles_kev:
            return tuple(f"{middle:g} keV" for middle in self.middles_kev)
        return tuple(
            f"image {n + 1}" if kvp is None else f"{kvp:g} kVp" + (f" + {tin:g} mm Sn" if tin else "")
            for n, (kvp, tin) in enumerate(zip(self.kvp, self.tin_mm, strict=True))
        )


def per_energy(
    given: Volume | Sequence[Volume], first: Volume, n_energies: int, what: str
) -> tuple[Volume, ...]:
    """Further images, one for each energy, on the grid of `first`: such as a background.

    Raises
    ------
    GeometryMismatch
        If the grids differ.
    UnsupportedInput
        If there are not as many as energies.
    """
    if isinstance(given, Volume) and not given.axes:
        given = [given] * n_energies
    images, _ = _separate(given)
    if len(images) != n_energies:
        raise UnsupportedInput(
            f"{what} does not have one image for each energy", found=str(len(images)), needed=str(n_energies)
        )
    return tuple(_value(_on_first(first, _in_hu(image), n)) for n, image in enumerate(images))


def _value(image: Image) -> Volume:
    return image.value if isinstance(image, Estimate) else image


def _separate(given: Image | Sequence[Image]) -> tuple[list[Image], tuple[float, ...]]:
    """One image for each energy, and the middles of bins where the axis is one of photon energies."""
    if isinstance(given, Volume | Estimate):
        images: list[Image] = [given]
    else:
        images = list(given)
    if not images:
        raise UnknownChoice("there are no images to decompose")
    for image in images:
        if not isinstance(image, Volume | Estimate):
            raise UnknownChoice(f"images are Volumes or Estimates, not {type(image).__name__}")
    if len(images) > 1:
        for image in images:
            single_image(_value(image), "each of several images to decompose")
        return images, ()
    (image,) = images
    axes = _value(image).axes
    if not axes:
        return images, ()
    if len(axes) > 1 or axes[0].name != "energy":
        raise UnsupportedInput(
            "the axis of the images is not the energy",
            found=", ".join(f"{axis.name} x {len(axis)}" for axis in axes),
            needed="one energy axis, or a list of images",
            next_step="choose one time with frame()",
        )
    frames: list[Image] = [_frame(image, n) for n in range(len(axes[0]))]
    middles = () if axes[0].unit == "kV" else tuple(float(value) for value in axes[0].values)
    return frames, middles


def _frame(image: Image, n: int) -> Image:
    if isinstance(image, Volume):
        return _volume_frame(image, n)
    return Estimate(
        _volume_frame(image.value, n),
        image.standard_error.frame(n),
        image.flags.frame(n),
        image.calibration_relative,
        image.decisions,
    )


def _volume_frame(image: Volume, n: int) -> Volume:
    """One energy, whose record has its tube voltage and its filter."""
    frame, axis = image.frame(n), image.axes[0]
    record = CtAcquisition() if frame.acquisition is None else frame.acquisition
    if axis.unit != "kV" or not isinstance(record, CtAcquisition):
        return frame
    return frame.replace(acquisition=record.of_energy(n, float(axis.values[n])))


def _in_hu(image: Image) -> Image:
    """The image, if it is attenuation, without the fill of scanners, or its change in HU."""
    if _value(image).quantity == "delta_attenuation" or isinstance(image, Estimate):
        if image.unit == "[HU]":
            return image
        raise UnitMismatch(
            "materials are separated by attenuation",
            found=f"{image.quantity} [{image.unit}]",
            needed="attenuation or delta_attenuation in HU",
        )
    return without_fill(require_hu(image))


def _on_first(first: Image, image: Image, n: int) -> Image:
    """The image in the voxel order of the first; only the order may differ."""
    here, there = _value(first).grid, _value(image).grid
    same = here.same_as(there)
    if same:
        return image
    match = here.axis_match(there)
    if match is None:
        raise GeometryMismatch(
            "the images at different energies lie on different grids",
            where=f"image {n + 1}",
            found=str(same),
            needed=f"the same grid within {same.tolerance_mm:g} mm",
            next_step="resample one onto the other (registration.resample), or reconstruct both alike",
        )
    if isinstance(image, Estimate):
        return estimate_on(_value(first), image)
    return image.reordered(match)


def _stated(image: Image) -> float | None:
    record = _value(image).acquisition
    return record.tube_voltage_kv if isinstance(record, CtAcquisition) else None


def _voltages(
    images: Sequence[Image], kvp: float | Sequence[float] | None, *, bins: bool
) -> tuple[tuple[float | None, ...], tuple[int, ...]]:
    """Tube voltage of each image, and the order of the images that they belong to."""
    stated = [_stated(image) for image in images]
    as_given = tuple(range(len(images)))
    if kvp is None:
        return tuple(stated), as_given
    wanted = [float(kvp)] * len(images) if np.ndim(kvp) == 0 else [float(one) for one in kvp]  # type: ignore[arg-type,union-attr]
    if len(wanted) != len(images):
        raise UnknownChoice(f"kvp= has {len(wanted)} tube voltages for {len(images)} images")
    if not all(np.isfinite(one) and one > 0 for one in wanted):
        raise ImplausibleValue("tube voltages are above 0 kV", where="kvp", found=str(kvp))
    if np.ndim(kvp) == 0 and len(images) > 1 and not bins:
        raise UnknownChoice("kvp= must have one tube voltage for each image; one alone is for energy bins")
    order = _matched(wanted, stated)
    if order is None:
        raise UnitMismatch(
            "the files state other tube voltages than kvp",
            where="KVP (0018,0060)",
            found=", ".join("not stated" if one is None else f"{one:g}" for one in stated),
            needed=", ".join(f"{one:g}" for one in wanted),
            next_step="leave out kvp, or give the images that belong to it",
        )
    return tuple(wanted), order


def _matched(wanted: Sequence[float], stated: Sequence[float | None]) -> tuple[int, ...] | None:
    """Which image has each of the tube voltages; None where they do not fit.

    Images stay in their place if that fits, or if their files are silent.
    """

    def fits(image: int, one: float) -> bool:
        own = stated[image]
        return own is None or abs(own - one) < SAME_KVP

    if all(fits(n, one) for n, one in enumerate(wanted)):
        return tuple(range(len(wanted)))
    if any(one is None for one in stated):
        return None
    left, order = list(range(len(stated))), []
    for one in wanted:
        found = next((n for n in left if fits(n, one)), None)
        if found is None:
            return None
        left.remove(found)
        order.append(found)
    return tuple(order)


def _tin(image: Volume) -> float | None:
    """Millimetres of tin that the file states; 0 for another filter, None where it says nothing."""
    record = image.acquisition
    if not isinstance(record, CtAcquisition) or record.filter_material is None:
        return None
    parts = [part.strip().upper() for part in record.filter_material.split("\\")]
    if not any(part in _TIN for part in parts):
        return 0.0
    if len(parts) > 1 or record.filter_thickness_mm is None:
        return None
    return float(record.filter_thickness_mm)


def required_tin(images: EnergyImages, n: int) -> float:
    """Millimetres of tin of one image, for a prior slope.

    Raises
    ------
    MissingMetadata
        If the file names tin without its thickness.
    """
    tin = images.tin_mm[n]
    record = ct_record(images.values[n])
    named = [part.strip().upper() for part in (record.filter_material or "").split("\\")]
    if tin is None and any(part in _TIN for part in named):
        raise MissingMetadata(
            "the file names a tin filter without its thickness, on which the slope depends",
            where="FilterThicknessMaximum (0018,7054)",
            needed="mm of tin",
            next_step="give tin_mm= for each image, or slopes=",
        )
    return tin or 0.0


def _notes(images: Sequence[Image]) -> tuple[Caution, ...]:
    """Warnings of the images, and what differs between them besides the energy."""
    values = [_value(image) for image in images]
    found = merge_cautions(*(value.warnings for value in values))
    if values[0].quantity != "attenuation":
        return found
    everything = ("kvp", "filter", "kernel", "slice_thickness")
    notes = [note for other in values[1:] for note in comparable(values[0], other, allow=everything)]
    differing = (
        note for note in notes if note.code == "settings-differ" and note.where not in _EXPECTED_TO_DIFFER
    )
    return merge_cautions(found, tuple(differing))


FloatPlane = npt.NDArray[np.float32]


def flat(volume: Volume) -> FloatPlane:
    """Voxels of an image in memory order, without a copy."""
    return np.asarray(volume.planar[0])
