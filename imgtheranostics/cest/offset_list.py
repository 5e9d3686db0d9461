"""Saturation offsets of a Z-spectrum: checked once, in ascending order, with the way back to the caller's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.io.saturation_offsets import FAR_OFF_RESONANCE_PPM

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

REFERENCE_PPM = FAR_OFF_RESONANCE_PPM
"""Offsets as far from water as this saturate nothing that is looked for: they are unsaturated references."""

SAME_PPM = 1e-4
"""Offsets nearer to each other are one offset, converted or rounded in different ways."""


@dataclass(frozen=True, eq=False)
class OffsetList:
    """Saturation offsets in ascending order.

    Attributes
    ----------
    ppm : (n,) ndarray
        Ascending, each once.
    order : (n,) ndarray of int
        ``ppm = given[order]``.
    """

    ppm: FloatArray
    order: IndexArray

    @classmethod
    def of(cls, offset_ppm: npt.ArrayLike, *, least: int = 2, purpose: str = "a Z-spectrum") -> OffsetList:
        """Check and sort a list of offsets.

        Parameters
        ----------
        offset_ppm : (n,) array_like
            In any order.
        least : int
            How many `purpose` needs.
        purpose : str
            What they are for, as the message names it.

        Raises
        ------
        ValueError
            If they are no list of finite numbers, fewer than `least`, or one occurs twice (to 1e-4 ppm).
        ImplausibleValue
            If one is 100 ppm or more from water: an unsaturated reference, or the unit is Hz.
        """
        given = np.asarray(offset_ppm)
        if given.ndim != 1 or given.dtype.kind not in "iuf":
            raise ValueError(
                f"offset_ppm must be a list of numbers, found shape {given.shape}, {given.dtype}"
            )
        ppm = given.astype(np.float64)
        if not np.isfinite(ppm).all():
            raise ValueError("offset_ppm must be finite; normalise() takes unsaturated references out")
        if ppm.size < least:
            raise ValueError(f"{purpose} needs at least {least} offsets, found {ppm.size}")
        order = np.argsort(ppm, kind="stable").astype(np.int64)
        ppm = ppm[order]
        if not (np.diff(ppm) > SAME_PPM).all():
            twice = ppm[1:][np.diff(ppm) <= SAME_PPM][0]
            raise ValueError(f"offset {twice:g} ppm occurs twice; normalise() averages repeated offsets")
        if np.abs(ppm).max() >= REFERENCE_PPM:
            raise ImplausibleValue(
                "a saturation offset is too far from water for a Z-spectrum in ppm",
                where="offset_ppm",
                found=f"{ppm[np.abs(ppm).argmax()]:g}",
                needed=f"offsets within {REFERENCE_PPM:g} ppm of water",
                next_step="take unsaturated references out with normalise(); divide offsets in Hz by the "
                "imaging frequency in MHz",
            )
        return cls(ppm, order)

    @property
    def n(self) -> int:
        """Number of offsets."""
        return int(self.ppm.size)


def rows_at(rows: FloatArray, offset_ppm: npt.ArrayLike, places_ppm: FloatArray) -> FloatArray:
    """Rows that belong to offsets, (n, k), by straight lines at other places, (m, k).

    Parameters
    ----------
    rows : (n, k) ndarray
    offset_ppm : (n,) array_like
        In any order.
    places_ppm : (m,) ndarray
    """
    ppm = np.asarray(offset_ppm, np.float64)
    order = np.argsort(ppm)
    return np.array([np.interp(places_ppm, ppm[order], column) for column in rows[order].T]).T
