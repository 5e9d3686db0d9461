"""Some of the wavelengths of an image, chosen by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.msot.spectrum import WAVELENGTH_TOLERANCE_NM
from imgtheranostics.volume import Axis, Volume

Record = TypeVar("Record")


def of_wavelengths(volume: Volume, wavelength_nm: Sequence[float]) -> Volume:
    """The image at some of its wavelengths.

    Parameters
    ----------
    volume : Volume
        Last axis wavelength, in nm.
    wavelength_nm : sequence of float
        In any order, each found within 0.5 nm; the result's wavelengths rise as those of the image do.

    Raises
    ------
    MissingMetadata
        If the image has no wavelengths.
    UnsupportedInput
        If one was not measured; the nearest is named.
    """
    axis = volume.axes[-1] if volume.axes else None
    if axis is None or axis.name != "wavelength" or axis.unit != "nm":
        raise MissingMetadata(
            "the image has no wavelengths to choose from", where="the last axis", needed="wavelengths in nm"
        )
    places = sorted({_place(axis, float(wanted)) for wanted in wavelength_nm})
    kept = axis.values[places]
    return volume.replace(
        data=volume.data[..., places],
        axes=(*volume.axes[:-1], Axis(axis.name, kept, axis.unit)),
        acquisition=_of_record(volume.acquisition, kept),
    ).with_step("choose_wavelengths", wavelength_nm=kept.tolist())


def _place(axis: Axis, wanted: float) -> int:
    distance = np.abs(axis.values - wanted)
    if not distance.min() <= WAVELENGTH_TOLERANCE_NM:
        raise UnsupportedInput(
            "a wavelength was not measured",
            found=", ".join(f"{value:g}" for value in axis.values) + " nm",
            needed=f"{wanted:g} nm within {WAVELENGTH_TOLERANCE_NM:g} nm",
            next_step=f"the nearest is {axis.values[distance.argmin()]:g} nm",
        )
    return int(distance.argmin())


def _of_record(record: Record, kept: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Record:
    """The record of the acquisition without the wavelengths that were left out."""
    if not isinstance(record, PhotoacousticAcquisition):
        return record
    known = record.wavelength_nm
    places = [n for n, value in enumerate(known) if np.abs(kept - value).min() <= WAVELENGTH_TOLERANCE_NM]
    energies = record.laser_energy_mj
    return replace(
        record,
        wavelength_nm=tuple(known[n] for n in places),
        laser_energy_mj=tuple(energies[n] for n in places) if len(energies) == len(known) else (),
    )
