"""Images placed on their wavelengths: by what a user says, sorted, and the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import OtherAcquisition, PhotoacousticAcquisition
from imgtheranostics.errors import Caution, GeometryMismatch, UnsupportedInput
from imgtheranostics.io.wavelength_units import check_count, checked_nm, repeated
from imgtheranostics.volume import Axis, FloatArray, Volume, make_step

AXIS = "wavelength"
_QUANTITIES = frozenset({"signal", "stored_value", "optoacoustic_signal", "optical_absorption"})
_RECORDS = (PhotoacousticAcquisition, OtherAcquisition, type(None))
_REPLACED = frozenset({"axis-unknown", "wavelength-repeated", "time-unit-doubtful"})


def with_wavelengths(volume: Volume, wavelength_nm: Sequence[float], *, sort: bool = True) -> Volume:
    """An optoacoustic image whose samples are placed on the axis of wavelengths.

    Parameters
    ----------
    volume : Volume
        With a wavelength axis, whose values are replaced, or with one axis that can only be that of
        wavelengths: the last one.
    wavelength_nm : sequence of float
        One per sample, in the order of the axis; never guessed from anything.
    sort : bool
        Sort the axis.

    Returns
    -------
    Volume
        ``optoacoustic_signal`` unless it is an absorption already, with the axis ``wavelength`` in nm last.

    Raises
    ------
    UnsupportedInput
        If it is another quantity, or an image of another modality.
    GeometryMismatch
        If the image has no axis that could be that of wavelengths.
    CorruptInput
        If there is not one wavelength per sample.
    UnitMismatch
        If they are no plausible light in nm.
    """
    if volume.quantity not in _QUANTITIES or not isinstance(volume.acquisition, _RECORDS):
        raise UnsupportedInput(
            "wavelengths are given for an image that is not optoacoustic",
            found=f"{volume.quantity}, {getattr(volume.acquisition, 'modality', '')}",
            needed=" or ".join(sorted(_QUANTITIES)),
        )
    values = checked_nm(list(wavelength_nm), "wavelength_nm")
    names = [axis.name for axis in volume.axes]
    axes: tuple[Axis, ...] = ()
    if not names and len(values) == 1:
        data = volume.data[..., np.newaxis]
    elif names and (AXIS in names or names[-1] in ("component", "time")):
        place = names.index(AXIS) if AXIS in names else len(names) - 1
        check_count(values, volume.shape[3 + place], "wavelength_nm")
        data = np.moveaxis(volume.data, 3 + place, -1)
        axes = volume.axes[:place] + volume.axes[place + 1 :]
    else:
        raise GeometryMismatch(
            "the image has no axis that wavelengths could stand for",
            found=", ".join(names) or "no axis beyond space",
            needed="one image per wavelength",
        )
    before = volume.axis(AXIS)
    axis = Axis(AXIS, values, "nm")
    kept = tuple(one for one in volume.warnings if one.code not in _REPLACED)
    absorption = volume.quantity == "optical_absorption"
    placed = volume.replace(
        data=data,
        axes=(*axes, axis),
        quantity=volume.quantity if absorption else "optoacoustic_signal",
        unit=volume.unit if absorption else "[arb'U]",
        acquisition=_record(volume.acquisition, values),
        warnings=kept,
        history=(*volume.history, make_step("place_wavelengths", wavelength_nm=values.tolist())),
    )
    cautions = repeated(values, AXIS)
    if before is not None and not np.allclose(before.values, values, rtol=0, atol=1e-6):
        text = "wavelengths of the image were replaced by those given"
        cautions = (*cautions, Caution("wavelengths-replaced", text, AXIS))
    placed = placed.with_warnings(*cautions)
    return sorted_by_wavelength(placed) if sort else placed


def sorted_by_wavelength(volume: Volume) -> Volume:
    """The same voxels with rising wavelengths; the history keeps the order that they came in."""
    names = [axis.name for axis in volume.axes]
    if AXIS not in names:
        return volume
    place = names.index(AXIS)
    values = volume.axes[place].values
    order = np.argsort(values, kind="stable")
    if (order == np.arange(order.size)).all():
        return volume
    axes = tuple(Axis(AXIS, values[order], axis.unit) if axis.name == AXIS else axis for axis in volume.axes)
    data = np.take(volume.data.T, order, axis=len(names) - 1 - place).T
    step = make_step("sort_axis", axis=AXIS, found=values.tolist())
    record = _with_sorted_energies(volume, place, order)
    return volume.replace(data=data, axes=axes, acquisition=record, history=(*volume.history, step))


def _with_sorted_energies(volume: Volume, place: int, order: npt.NDArray[np.intp]) -> Any:
    """The record; energies of single images follow them, those of wavelengths stay beside theirs."""
    record = volume.acquisition
    lengths = [len(axis) for axis in volume.axes]
    if not isinstance(record, PhotoacousticAcquisition) or len(lengths) < 2:
        return record
    if len(record.laser_energy_mj) != int(np.prod(lengths)):
        return record
    energies = np.array(record.laser_energy_mj).reshape(lengths, order="F")
    moved = np.take(energies, order, axis=place).ravel(order="F")
    return replace(record, laser_energy_mj=tuple(float(one) for one in moved))


def wavelength_last(volume: Volume) -> Volume:
    """The same voxels with the axis of wavelengths after all others."""
    names = [axis.name for axis in volume.axes]
    if AXIS not in names or names[-1] == AXIS:
        return volume
    place = names.index(AXIS)
    axes = (*volume.axes[:place], *volume.axes[place + 1 :], volume.axes[place])
    return volume.replace(data=np.moveaxis(volume.data, 3 + place, -1), axes=axes)


def _record(record: Any, values: FloatArray) -> PhotoacousticAcquisition:
    """The record with these wavelengths; energies stay where there are as many."""
    wavelengths = tuple(float(one) for one in values)
    if isinstance(record, PhotoacousticAcquisition):
        energies = record.laser_energy_mj if len(record.laser_energy_mj) == len(wavelengths) else ()
        return replace(record, wavelength_nm=wavelengths, laser_energy_mj=energies)
    subject = getattr(record, "subject", PhotoacousticAcquisition().subject)
    return PhotoacousticAcquisition(wavelength_nm=wavelengths, subject=subject)
