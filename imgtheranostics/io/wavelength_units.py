"""Wavelengths whose unit a file does not state, decided by their size or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, UnitMismatch
from imgtheranostics.volume import FloatArray

WAVELENGTHS_NM = (200.0, 3000.0)
"""Light that optoacoustic imaging uses, with room on both sides."""

_LARGEST_IN_M = 1e-4
_SMALLEST_IN_NM = 100.0


def in_nm(values: npt.ArrayLike, where: str) -> FloatArray:
    """Wavelengths in nm: numbers below 1e-4 are metres, above 100 nm; anything between is refused.

    Raises
    ------
    UnitMismatch
        If the numbers can be neither, are of both kinds, or no plausible light.
    """
    listed = np.atleast_1d(np.asarray(values, dtype=np.float64))
    metres = (listed > 0) & (listed < _LARGEST_IN_M)
    if listed.size and metres.all():
        listed = np.round(listed * 1e9, 6)
    elif not listed.size or not (listed > _SMALLEST_IN_NM).all():
        raise UnitMismatch(
            "the wavelengths are neither in nm nor in m",
            where=where,
            found=_few(listed),
            needed=f"numbers above {_SMALLEST_IN_NM:g} (nm) or below {_LARGEST_IN_M:g} (m)",
            next_step="give them with wavelength_nm= (--wavelengths), in nm",
        )
    return checked_nm(listed, where)


def checked_nm(values: Sequence[float] | FloatArray, where: str) -> FloatArray:
    """Wavelengths that are stated in nm, if they are plausible.

    Raises
    ------
    UnitMismatch
        If one is not.
    """
    listed = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, high = WAVELENGTHS_NM
    if not listed.size or not ((listed >= low) & (listed <= high)).all():
        raise UnitMismatch(
            "the wavelengths are not plausible in nm",
            where=where,
            found=_few(listed),
            needed=f"light of {low:g} to {high:g} nm",
        )
    return listed


def check_count(wavelengths: FloatArray, length: int, where: str) -> None:
    """Refuse a list that has another length than the axis it stands for.

    Raises
    ------
    CorruptInput
        If it has.
    """
    if len(wavelengths) != length:
        raise CorruptInput(
            "there is not one wavelength per image",
            where=where,
            found=f"{len(wavelengths)} wavelengths, an axis of {length}",
            needed="equal numbers",
        )


def repeated(wavelengths: FloatArray, where: str) -> tuple[Caution, ...]:
    """A caution about wavelengths that stand more than once."""
    values, counts = np.unique(wavelengths, return_counts=True)
    if (counts == 1).all():
        return ()
    text = ", ".join(f"{value:g}" for value in values[counts > 1])
    return (Caution("wavelength-repeated", f"{text} nm stand more than once", where),)


def _few(values: FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values[:8]) + (" ..." if values.size > 8 else "")
