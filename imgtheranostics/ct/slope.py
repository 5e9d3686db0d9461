"""The slope that turns HU into concentration, and where it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, UnitMismatch

SAME_KVP = 0.5
"""Difference in kV below which two nominal tube voltages are the same."""

CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Slope:
    """HU per mg/mL of one material in one beam, and where that is from.

    Attributes
    ----------
    hu_per_mg_ml : float
        HU per mg of the material per mL.
    standard_error : float
        The same for every voxel that it is applied to: it does not average away.
    material : str
    kvp : float or None
        Tube voltage in kV; None where it was not stated.
    filter : str
        In words; empty where it is not known.
    water_cm : float or None
        Water that hardened the beam, or the phantom's diameter.
    source : str
        ``prior: spectrum model``, ``prior: table A``, ``prior: table B``, ``calibration``, or what you
        state.
    displacement : float
        HU per mg/mL that the displaced water takes away, already in `hu_per_mg_ml`; 0 where it is not
        applied.
    warnings : tuple of Caution
    """

    hu_per_mg_ml: float
    standard_error: float
    material: str
    kvp: float | None = None
    filter: str = ""
    water_cm: float | None = None
    source: str = CALIBRATION
    displacement: float = 0.0
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.hu_per_mg_ml) and self.hu_per_mg_ml != 0):
            raise ValueError(f"a slope is a finite number and not 0, not {self.hu_per_mg_ml}")
        if not (np.isfinite(self.standard_error) and self.standard_error >= 0):
            raise ValueError(f"the standard error of a slope is not negative, not {self.standard_error}")

    @property
    def prior(self) -> bool:
        """Whether no measurement on the scanner stands behind it."""
        return self.source.startswith("prior")

    @property
    def relative_error(self) -> float:
        """Standard error over slope."""
        return self.standard_error / abs(self.hu_per_mg_ml)

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "hu_per_mg_ml": self.hu_per_mg_ml,
            "standard_error": self.standard_error,
            "material": self.material,
            "kvp": self.kvp,
            "filter": self.filter,
            "water_cm": self.water_cm,
            "source": self.source,
            "prior": self.prior,
            "displacement_hu_per_mg_ml": self.displacement,
        }

    def require_kvp(self, kvp: float | None, *, where: str | None = None) -> None:
        """Refuse the slope for images of another tube voltage.

        Parameters
        ----------
        kvp : float or None
            Of the images; nothing is checked where it is not known.
        where : str, optional
            What the images are, for the message.

        Raises
        ------
        UnitMismatch
            If both are known and differ.
        """
        if kvp is None or self.kvp is None or abs(kvp - self.kvp) < SAME_KVP:
            return
        raise UnitMismatch(
            "the slope belongs to another tube voltage than the images",
            where=where,
            found=f"images at {kvp:g} kVp, slope of {self.material} at {self.kvp:g} kVp ({self.source})",
            needed="the same tube voltage",
            next_step="take a slope of this beam; from 80 to 140 kVp that of iodine falls by 1.8",
        )
