"""Kinetics of tracers from time-activity curves and an input function, or a reference tissue.

Rates are per minute, times in s since the injection. Tissue and input must be decay corrected to one moment.
"""

from __future__ import annotations

from imgtheranostics.nuclear.compartments import fit
from imgtheranostics.nuclear.graphical import (
    logan,
    logan_reference,
    ma1,
    mrtm2,
    patlak,
    patlak_reference,
)
from imgtheranostics.nuclear.multilinear_reference import mrtm
from imgtheranostics.nuclear.reference_tissue import srtm, srtm2

__all__ = [
    "fit",
    "logan",
    "logan_reference",
    "ma1",
    "mrtm",
    "mrtm2",
    "patlak",
    "patlak_reference",
    "srtm",
    "srtm2",
]
