"""Photoacoustic and ultrasound sidecars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgtheranostics.acquisition import PhotoacousticAcquisition, UltrasoundAcquisition
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.io.meaning import ARBITRARY, Meaning, check_length, extra_axes, subject_of
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar, image_stem
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis, Step, make_step

_WAVELENGTHS_NM = (200.0, 3000.0)
_MAXIMUM_LIST_BYTES = 1 << 20
_ENERGY_TO_MJ = {"mj": 1.0, "j": 1e3, "uj": 1e-3, "µj": 1e-3}


def interpret_pa(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of a photoacoustic image: axes wavelength, or time and wavelength.

    Raises
    ------
    MissingMetadata
        If the wavelengths or their unit are nowhere.
    CorruptInput
        If their number is not that of the axis.
    UnitMismatch
        If they are not plausible in the unit that is stated.
    """
    wavelengths, history = _wavelengths(sidecar)
    axes, cautions = _pa_axes(sidecar, header, wavelengths)
    if len(set(wavelengths)) < len(wavelengths):
        twice = sorted({value for value in wavelengths if wavelengths.count(value) > 1})
        text = ", ".join(f"{value:g}" for value in twice)
        cautions = (
            *cautions,
            Caution("wavelength-repeated", f"{text} nm stand more than once", "Wavelengths"),
        )
    energies = sidecar.all_numbers("LaserEnergies") or []
    unit = (sidecar.text("LaserEnergyUnits", "LaserEnergiesUnits") or "mJ").lower()
    if energies and unit not in _ENERGY_TO_MJ:
        raise UnitMismatch(
            "the unit of the laser energies is not known",
            where=sidecar.where("LaserEnergyUnits"),
            needed="mJ, J or uJ",
        )
    acquisition = PhotoacousticAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        wavelength_nm=tuple(wavelengths),
        speed_of_sound_m_s=sidecar.positive("SpeedOfSound"),
        laser_energy_mj=tuple(value * _ENERGY_TO_MJ[unit] for value in energies),
        energy_corrected=sidecar.flag("EnergyCorrected"),
        image_type=sidecar.text("ImageType"),
        subject=subject_of(sidecar),
    )
    return Meaning("optoacoustic_signal", ARBITRARY, 1.0, axes, acquisition, history, cautions)


def _wavelengths(sidecar: Sidecar) -> tuple[list[float], tuple[Step, ...]]:
    beside = sidecar.image.parent / f"{image_stem(sidecar.image)}.wavelengths"
    if sidecar.first("Wavelengths") is not None:
        values = sidecar.all_numbers("Wavelengths") or []
        unit, where = sidecar.text("WavelengthUnits", "WavelengthUnit"), sidecar.where("Wavelengths")
    elif beside.is_file():
        values, unit, where = _wavelength_file(beside), "nm", str(beside)
    else:
        raise MissingMetadata(
            "the wavelengths of a photoacoustic image are not stated",
            where=sidecar.where("Wavelengths"),
            needed="Wavelengths and WavelengthUnits in the sidecar, a file of the image's name ending in "
            ".wavelengths with one per line, or --wavelengths",
        )
    if unit is None:
        raise MissingMetadata(
            "the unit of the wavelengths is not stated",
            where=sidecar.where("WavelengthUnits"),
            needed="WavelengthUnits",
            next_step='write "WavelengthUnits": "nm"',
        )
    known = {"nanometer": "nm", "nanometers": "nm", "µm": "um", "micrometer": "um"}
    code = known.get(unit.lower(), unit)
    if code not in ("nm", "um", "m", "mm"):
        raise UnitMismatch("the unit of the wavelengths is not known", where=where, needed="nm, um or m")
    factor = conversion_factor(code, "nm")
    converted = [round(value * factor, 6) for value in values]
    low, high = _WAVELENGTHS_NM
    if not converted or min(converted) < low or max(converted) > high:
        raise UnitMismatch(
            "the wavelengths are not plausible in the unit that is stated",
            where=where,
            found=", ".join(f"{value:g}" for value in values[:8]) + f" {code}",
            needed=f"light of {low:g} to {high:g} nm",
            next_step="correct Wavelengths or WavelengthUnits",
        )
    if factor == 1.0:
        return converted, ()
    return converted, (make_step("convert_unit", key="Wavelengths", found=code, to="nm", factor=factor),)


def _wavelength_file(path: Path) -> list[float]:
    if path.stat().st_size > _MAXIMUM_LIST_BYTES:
        raise CorruptInput("the list of wavelengths is too large", where=str(path))
    try:
        return [float(word) for word in path.read_bytes().decode("utf-8-sig").split()]
    except (UnicodeDecodeError, ValueError) as error:
        raise CorruptInput(
            "the list of wavelengths holds something else",
            where=str(path),
            needed="one number per line, in nm",
        ) from error


def _pa_axes(
    sidecar: Sidecar, header: NiftiHeader, wavelengths: Sequence[float]
) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    extents = header.shape[3:]
    axis = Axis("wavelength", np.array(wavelengths), "nm")
    times = sidecar.all_numbers("FrameTimes")
    if len(extents) == 2 or (len(extents) == 1 and len(wavelengths) == 1 and extents[0] > 1):
        check_length(wavelengths, extents[1] if len(extents) == 2 else 1, sidecar, "Wavelengths")
        if times is not None:
            check_length(times, extents[0], sidecar, "FrameTimes")
            return (Axis("time", np.array(times), "s"), axis), ()
        step = header.step if header.step_unit == "s" else None
        if step is None:
            caution = Caution(
                "time-unknown", "the frames have no times: they are numbered in s", "FrameTimes"
            )
            return (Axis("time", np.arange(extents[0], dtype=np.float64), "s"), axis), (caution,)
        return (Axis("time", step * np.arange(extents[0], dtype=np.float64), "s"), axis), ()
    check_length(wavelengths, extents[0] if extents else 1, sidecar, "Wavelengths")
    return (axis,), ()


def interpret_us(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of an ultrasound image: dB when stated, else the scanner's own scale."""
    axes, cautions = extra_axes(header, sidecar)
    decibel = (sidecar.text("Units") or "").lower() == "db"
    acquisition = UltrasoundAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        frame_time_s=sidecar.positive("FrameTime"),
        mechanical_index=sidecar.number("MechanicalIndex"),
        transducer_frequency_mhz=sidecar.number("TransducerFrequency"),
        subject=subject_of(sidecar),
    )
    quantity, unit = ("echo_level", "dB") if decibel else ("signal", ARBITRARY)
    return Meaning(quantity, unit, 1.0, axes, acquisition, (), cautions)
