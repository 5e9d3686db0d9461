"""The half-life that a series is decayed with: the header's, checked against the nuclide table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, UnsupportedInput

SILENT = 1e-3
"""Relative difference from the table up to which vendors' roundings pass unmentioned."""
ACCEPTED = 1e-2
"""Relative difference above which the header names another nuclide than it decays with."""

_FIELD = "RadionuclideHalfLife (0018,1075)"


@dataclass(frozen=True)
class HalfLife:
    """A half-life with its source.

    Attributes
    ----------
    seconds : float
    source : str
        ``header`` or ``nuclide table``.
    nuclide : str or None
    difference_percent : float or None
        Of the header from the table.
    """

    seconds: float
    source: str
    nuclide: str | None
    difference_percent: float | None = None
    warnings: tuple[Caution, ...] = ()

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values."""
        plain: dict[str, Any] = {"seconds": self.seconds, "source": self.source}
        if self.nuclide is not None:
            plain["nuclide"] = self.nuclide
        if self.difference_percent is not None:
            plain["difference_from_table_percent"] = self.difference_percent
        return plain


def resolve_half_life(acquisition: EmissionAcquisition, nuclide_given: str | None = None) -> HalfLife:
    """The half-life of a series: silent to 0.1 % from the table, a caution to 1 %, then a refusal.

    Parameters
    ----------
    acquisition : EmissionAcquisition
    nuclide_given : str, optional
        What the user says that was injected; it goes before the header's nuclide.

    Raises
    ------
    MissingMetadata
        If there is neither a half-life nor a nuclide.
    ImplausibleValue
        If half-life and nuclide do not belong together.
    UnsupportedInput
        If the user names an unknown nuclide.
    """
    drug = acquisition.radiopharmaceutical
    header_s = drug.half_life_s
    name = nuclide_given or drug.nuclide
    cautions: tuple[Caution, ...] = ()
    record = None
    if name:
        try:
            record = nuclide(name)
        except UnsupportedInput:
            if nuclide_given or header_s is None:
                raise
            cautions = (
                Caution(
                    "half-life-unchecked",
                    "the nuclide is not in the table, so the header's half-life could not be checked",
                    _FIELD,
                ),
            )
    if header_s is None:
        if record is None:
            raise MissingMetadata(
                "neither half-life nor nuclide is known",
                where=f"{_FIELD}, RadionuclideCodeSequence (0054,0300)",
                needed="one of them",
                next_step="name the nuclide: Administration(..., nuclide='F-18') or --nuclide F-18",
            )
        return HalfLife(record.half_life_s, "nuclide table", record.name)
    if not (math.isfinite(header_s) and header_s > 0):
        raise ImplausibleValue("the half-life is not positive", where=_FIELD, found=f"{header_s:g} s")
    if record is None:
        if not cautions:
            text = "the file names no nuclide, so its half-life could not be checked"
            cautions = (Caution("half-life-unchecked", text, _FIELD),)
        return HalfLife(header_s, "header", None, None, cautions)
    difference = header_s / record.half_life_s - 1.0
    if abs(difference) > ACCEPTED:
        raise ImplausibleValue(
            f"the half-life is not that of {record.name}",
            where=_FIELD,
            found=f"{header_s:g} s",
            needed=f"{record.half_life_s:g} s within {100 * ACCEPTED:g} %",
            next_step="name the nuclide (--nuclide) if the header has the wrong one; if its half-life is "
            "wrong, the scanner corrected decay with it: reconstruct, or correct the header",
        )
    if abs(difference) > SILENT:
        text = (
            f"the header's half-life {header_s:g} s differs by {100 * difference:+.2g} % from the "
            f"{record.half_life_s:g} s of {record.name}; the header's was used"
        )
        cautions = (Caution("half-life-differs", text, _FIELD),)
    return HalfLife(header_s, "header", record.name, 100.0 * difference, cautions)
