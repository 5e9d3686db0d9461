"""The scans of an optoacoustic phantom: one image of all wavelengths for each case of its other axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case, all_axes, cases_of, printed
from imgtheranostics.phantom.msot_scanner import MsotScanner
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import conversion_factor

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MsotScan:
    """One image.

    Attributes
    ----------
    name : str
        Fit for a file name.
    case : mapping
        Its value on each series axis.
    wavelength_nm : (n,) float
    """

    name: str
    case: Case
    wavelength_nm: FloatArray


def scanner_of(spec: PhantomSpec) -> MsotScanner:
    """The optoacoustic scanner of a phantom.

    Raises
    ------
    MissingMetadata
        If the file describes none.
    """
    scanner = spec.physics_of("MSOT").msot
    if scanner is None:
        raise MissingMetadata(
            f"{spec.slug} does not describe its optoacoustic scanner", where="physics", needed="msot"
        )
    return scanner


def scans_of(spec: PhantomSpec) -> tuple[MsotScan, ...]:
    """All scans, one for each case."""
    wavelength_nm = wavelengths_nm(spec)
    return tuple(MsotScan(_name(case), case, wavelength_nm) for case in msot_cases(spec))


def msot_cases(spec: PhantomSpec) -> tuple[Case, ...]:
    """The cases of the scans; of a phantom with a modality axis only those of optoacoustics.

    Raises
    ------
    UnsupportedInput
        If an axis other than that of the wavelengths makes frames of one image.
    """
    for axis in all_axes(spec):
        if axis.layout == "dynamic" and axis.kind != "wavelength":
            raise UnsupportedInput(
                "an optoacoustic phantom has frames of wavelengths only", where="axes", found=axis.kind
            )
    return tuple(case for case in cases_of(spec) if case.get("modality", "MSOT") == "MSOT")


def wavelengths_nm(spec: PhantomSpec) -> FloatArray:
    """The wavelengths, from the axis or from the scanner.

    Raises
    ------
    MissingMetadata
        If neither states them.
    UnsupportedInput
        If each of them is a scan of its own.
    """
    axis = spec.axis_of("wavelength")
    if axis is not None:
        if axis.layout != "dynamic":
            raise UnsupportedInput(
                "the wavelengths of an optoacoustic image belong together",
                where="axis",
                needed="layout: dynamic",
            )
        factor = conversion_factor(axis.unit, "nm")
        return np.round(np.array([float(value) for value in axis.values]) * factor, 9)
    listed = scanner_of(spec).wavelengths_nm
    if not listed:
        raise MissingMetadata(
            f"{spec.slug} does not say its wavelengths",
            where="physics.msot",
            needed="wavelengths_nm, or an axis wavelength",
        )
    return np.array(listed, np.float64)


def _name(case: Case) -> str:
    words = [f"{kind}-{printed(value)}" for kind, value in case.items() if kind != "modality"]
    return "_".join(words) or "scan"
