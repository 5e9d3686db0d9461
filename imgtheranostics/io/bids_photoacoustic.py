"""Photoacoustic sidecars: wavelengths, axes, energies, and what the numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.io.meaning import (
    ARBITRARY,
    Meaning,
    check_length,
    convert_units,
    modality_of,
    subject_of,
)
from imgtheranostics.io.sidecar import Sidecar, image_stem
from imgtheranostics.io.wavelength_units import WAVELENGTHS_NM, checked_nm, repeated
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis, Step, make_step

_MAXIMUM_LIST_BYTES = 1 << 20
_ENERGY_TO_MJ = {"mj": 1.0, "j": 1e3, "uj": 1e-3, "µj": 1e-3}
_SPACE = frozenset("ijkxyz")
_ABSORPTION = frozenset({"mu_a", "mua", "absorption", "optical_absorption"})


class Extents(Protocol):
    """What a sidecar is checked against: a header, or as much of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the image."""

    @property
    def step(self) -> float | None:
        """Step along the first axis beyond space."""

    @property
    def step_unit(self) -> str | None:
        """Unit of the step."""


def interpret_pa(sidecar: Sidecar, header: Extents) -> Meaning:
    """The meaning of a photoacoustic image: axes wavelength, or time and wavelength.

    Raises
    ------
    MissingMetadata
        If the wavelengths or their unit are nowhere.
    CorruptInput
        If their number is not that of the axis, or AxisOrder contradicts the image.
    UnitMismatch
        If they are not plausible in the unit that is stated.
    """
    wavelengths, history = _wavelengths(sidecar)
    axes, cautions = _axes(sidecar, header, wavelengths)
    cautions = (*cautions, *repeated(np.array(wavelengths), "Wavelengths"))
    corrected = sidecar.flag("FluenceCorrected")
    quantity, unit, factor, steps, told = _quantity(sidecar, corrected)
    acquisition = PhotoacousticAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        wavelength_nm=tuple(wavelengths),
        speed_of_sound_m_s=sidecar.positive("SpeedOfSound"),
        laser_energy_mj=_energies(sidecar, axes),
        energy_corrected=sidecar.flag("EnergyCorrected"),
        image_type=sidecar.text("ImageType"),
        fluence_corrected=corrected,
        reconstruction=sidecar.text("Reconstruction"),
        temperature_cel=sidecar.number("Temperature"),
        subject=subject_of(sidecar),
    )
    return Meaning(quantity, unit, factor, axes, acquisition, (*history, *steps), (*cautions, *told))


def stated_wavelengths(sidecar: Sidecar) -> list[float]:
    """The wavelengths of an image in nm, in the order of its file.

    Raises
    ------
    MissingMetadata, UnitMismatch
        As `interpret_pa`.
    """
    return _wavelengths(sidecar)[0]


def with_given_wavelengths(sidecar: Sidecar, wavelength_nm: Sequence[float]) -> Sidecar:
    """The sidecar of a photoacoustic image with the wavelengths that a user gives in place of its own.

    Raises
    ------
    UnsupportedInput
        If it says that it describes another modality.
    UnitMismatch
        If they are no plausible light in nm.
    """
    modality, _ = modality_of(sidecar)
    if modality not in ("", "PA"):
        raise UnsupportedInput(
            "wavelengths are given for an image of another modality",
            where=str(sidecar.image),
            found=modality,
            needed="an optoacoustic image",
        )
    values_nm = checked_nm(list(wavelength_nm), "wavelength_nm").tolist()
    given: dict[str, Any] = {"Wavelengths": values_nm, "WavelengthUnits": "nm"}
    values = {key: value for key, value in sidecar.values.items() if key != "WavelengthUnit"} | given
    return replace(sidecar, values={"Modality": "PA"} | values)


def _quantity(
    sidecar: Sidecar, fluence_corrected: bool | None
) -> tuple[str, str, float, tuple[Step, ...], tuple[Caution, ...]]:
    """What the numbers are: absorption where the image says so and nothing contradicts it."""
    kind = (sidecar.text("ImageType") or "").strip().lower()
    if kind not in _ABSORPTION:
        return "optoacoustic_signal", ARBITRARY, 1.0, (), ()
    if fluence_corrected is False:
        text = "an image of absorption that is not corrected for fluence is signal on an arbitrary scale"
        return (
            "optoacoustic_signal",
            ARBITRARY,
            1.0,
            (),
            (Caution("not-fluence-corrected", text, "ImageType"),),
        )
    unit = "1/cm"
    stated = sidecar.text("Units")
    if stated is None:
        text = "absorption without Units is taken to be in 1/cm, to base e"
        return "optical_absorption", unit, 1.0, (), (Caution("unit-assumed", text, "Units"),)
    spelled = {"cm^-1": "1/cm", "cm-1": "1/cm", "mm^-1": "1/mm", "mm-1": "1/mm"}
    factor, steps = convert_units(spelled.get(stated, stated), unit, "Units")
    return "optical_absorption", unit, factor, steps, ()


def _energies(sidecar: Sidecar, axes: tuple[Axis, ...]) -> tuple[float, ...]:
    """Energies in mJ: one for all, one per wavelength, or one per image of a time series."""
    energies = sidecar.all_numbers("LaserEnergies") or []
    if not energies:
        return ()
    unit = (sidecar.text("LaserEnergyUnits", "LaserEnergiesUnits") or "mJ").lower()
    if unit not in _ENERGY_TO_MJ:
        raise UnitMismatch(
            "the unit of the laser energies is not known",
            where=sidecar.where("LaserEnergyUnits"),
            needed="mJ, J or uJ",
        )
    wavelengths = next(len(axis) for axis in axes if axis.name == "wavelength")
    images = int(np.prod([len(axis) for axis in axes]))
    if len(energies) not in (1, wavelengths, images):
        raise CorruptInput(
            "the laser energies do not fit the wavelengths",
            where=sidecar.where("LaserEnergies"),
            found=f"{len(energies)} energies",
            needed=f"{wavelengths}, one per wavelength",
        )
    values = [value * _ENERGY_TO_MJ[unit] for value in energies]
    return tuple(values * wavelengths if len(values) == 1 else values)


def _wavelengths(sidecar: Sidecar) -> tuple[list[float], tuple[Step, ...]]:
    beside = sidecar.image.parent / f"{image_stem(sidecar.image)}.wavelengths"
    if sidecar.first("Wavelengths") is not None:
        values = sidecar.all_numbers("Wavelengths") or []
        unit, where = sidecar.text("WavelengthUnits", "WavelengthUnit"), sidecar.where("Wavelengths")
    elif beside.is_file():
        values, unit, where = read_wavelength_list(beside), "nm", str(beside)
    else:
        raise MissingMetadata(
            "the wavelengths of a photoacoustic image are not stated",
            where=sidecar.where("Wavelengths"),
            needed="Wavelengths and WavelengthUnits in the sidecar, a file of the image's name ending in "
            ".wavelengths with one per line, or wavelength_nm= (--wavelengths)",
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
    low, high = WAVELENGTHS_NM
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


def read_wavelength_list(path: Path) -> list[float]:
    """The numbers of a list of wavelengths in nm, one per line or otherwise apart.

    Raises
    ------
    CorruptInput
        If the file is too large or holds something else.
    """
    if path.stat().st_size > _MAXIMUM_LIST_BYTES:
        raise CorruptInput("the list of wavelengths is too large", where=str(path))
    try:
        return [float(word) for word in path.read_bytes().decode("utf-8-sig").replace(",", " ").split()]
    except (UnicodeDecodeError, ValueError) as error:
        raise CorruptInput(
            "the list of wavelengths holds something else",
            where=str(path),
            needed="one number per line, in nm",
        ) from error


def _axes(
    sidecar: Sidecar, header: Extents, wavelengths: Sequence[float]
) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    extents = header.shape[3:]
    if len(extents) > 2:
        raise CorruptInput(
            "a photoacoustic image has more axes than time and wavelength",
            where=str(sidecar.image),
            found=" x ".join(str(n) for n in header.shape),
        )
    axis = Axis("wavelength", np.array(wavelengths), "nm")
    names = _axis_order(sidecar, extents, len(wavelengths))
    lengths = dict(zip(names, extents, strict=False))
    check_length(wavelengths, lengths.get("wavelength", 1), sidecar, "Wavelengths")
    if "time" not in names:
        return (axis,), ()
    time, cautions = _time(sidecar, header, lengths["time"], fourth=names[0] == "time")
    return tuple({"time": time, "wavelength": axis}[name] for name in names), cautions


def _axis_order(sidecar: Sidecar, extents: tuple[int, ...], n_wavelengths: int) -> list[str]:
    """Names of the axes beyond space in the order of the file: time before wavelength unless it says else."""
    named = _stated_order(sidecar)
    if named is not None and len(extents) == 2:
        return named if len(named) == 2 else _contradicting(sidecar, extents)
    if named is not None and named == ["time"] and len(extents) == 1 and n_wavelengths == 1:
        return ["time", "wavelength"]
    if named is not None and len(extents) == 1 and named[0] != "wavelength" and n_wavelengths > 1:
        return _contradicting(sidecar, extents)
    if len(extents) == 2 or (len(extents) == 1 and n_wavelengths == 1 and extents[0] > 1):
        return ["time", "wavelength"]
    return ["wavelength"]


def _stated_order(sidecar: Sidecar) -> list[str] | None:
    """AxisOrder without the axes of space; None where it is not stated."""
    stated = sidecar.values.get("AxisOrder")
    if stated is None:
        return None
    words = stated.replace(",", " ").split() if isinstance(stated, str) else stated
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CorruptInput("AxisOrder is not a list of names", where=sidecar.where("AxisOrder"))
    names = [word.strip().lower() for word in words]
    beyond = [{"t": "time", "frame": "time", "lambda": "wavelength"}.get(name, name) for name in names]
    beyond = [name for name in beyond if name not in _SPACE]
    if not beyond:
        return None
    space = [name for name in names if name in _SPACE]
    leading = names[: len(space)] == space
    if not set(beyond) <= {"time", "wavelength"} or len(set(beyond)) < len(beyond) or not leading:
        raise CorruptInput(
            "AxisOrder is not one that can be read",
            where=sidecar.where("AxisOrder"),
            needed="the axes of space first, then time and wavelength in the order of the file",
        )
    return beyond


def _contradicting(sidecar: Sidecar, extents: tuple[int, ...]) -> list[str]:
    raise CorruptInput(
        "AxisOrder contradicts the image",
        where=sidecar.where("AxisOrder"),
        found=f"{len(extents)} axes beyond space",
        needed="a name for each of them",
    )


def _time(
    sidecar: Sidecar, header: Extents, length: int, *, fourth: bool
) -> tuple[Axis, tuple[Caution, ...]]:
    """The axis of times: those of the sidecar, else the step of the header, else numbers."""
    times = sidecar.all_numbers("FrameTimes")
    if times is not None:
        check_length(times, length, sidecar, "FrameTimes")
        return Axis("time", np.array(times), "s"), ()
    numbered = np.arange(length, dtype=np.float64)
    if fourth and header.step is not None and header.step_unit == "s":
        return Axis("time", header.step * numbered, "s"), ()
    caution = Caution("time-unknown", "the frames have no times: they are numbered in s", "FrameTimes")
    return Axis("time", numbered, "s"), (caution,)
