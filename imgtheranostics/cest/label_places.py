"""Where a label is looked for: offsets from water and positions of water that can be in ppm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import REFERENCE_PPM
from imgtheranostics.cest.pool_system import FARTHEST_B0_PPM
from imgtheranostics.errors import ImplausibleValue


def check_places(at_ppm: npt.ArrayLike, b0_ppm: npt.ArrayLike | None = None) -> None:
    """Refuse offsets of a label and positions of water that must be in Hz.

    Parameters
    ----------
    at_ppm : float or (m,) array_like
        Offsets from water.
    b0_ppm : float or (...) array_like, optional
        Position of water; of a map, the median of the finite values decides, since single fits go astray.

    Raises
    ------
    ImplausibleValue
        If an offset is 100 ppm or more from water, or water more than 20 ppm from where it should be.
    """
    at = np.asarray(at_ppm, dtype=np.float64)
    far = at[np.isfinite(at) & (np.abs(at) >= REFERENCE_PPM)]
    if far.size:
        raise ImplausibleValue(
            "no label is that far from water",
            where="at_ppm",
            found=f"{far.flat[np.abs(far).argmax()]:g}",
            needed=f"offsets within {REFERENCE_PPM:g} ppm of water",
            next_step="divide offsets in Hz by the imaging frequency in MHz",
        )
    if b0_ppm is None:
        return
    shift = np.asarray(b0_ppm, dtype=np.float64)
    known = np.abs(shift[np.isfinite(shift)])
    if known.size and float(np.median(known)) > FARTHEST_B0_PPM:
        raise ImplausibleValue(
            "water cannot be that far from 0 ppm",
            where="b0_ppm",
            found=f"{np.median(known):g}" if not shift.ndim else f"median of the sizes {np.median(known):g}",
            needed=f"at most {FARTHEST_B0_PPM:g} ppm",
            next_step="divide a shift in Hz by the imaging frequency in MHz",
        )
