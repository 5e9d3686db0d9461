"""Dyes for which no open measurement covers the window: two Gaussians each, and flagged as models.

Position and height are what is remembered of the literature; none was read in a paper. An own spectrum that
was measured in the medium of the experiment goes before them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DyeModel:
    """Sum of a main band and a vibronic shoulder.

    Attributes
    ----------
    title : str
    peak_nm, peak_per_m_cm : float
        Where the sum is largest, and its decadic molar extinction there, in 1/(M cm).
    sd_nm : float
        Standard deviation of the main band.
    shoulder_nm, shoulder_share, shoulder_sd_nm : float
        Position, height relative to the main band, and standard deviation of the shoulder.
    medium : str
    """

    title: str
    peak_nm: float
    peak_per_m_cm: float
    sd_nm: float
    shoulder_nm: float
    shoulder_share: float
    shoulder_sd_nm: float
    medium: str

    def molar_extinction(self, wavelength_nm: npt.ArrayLike) -> FloatArray:
        """Decadic molar extinction in 1/(M cm); the sum, and not its main band, peaks where it is stated.

        The shoulder pulls the maximum towards it; the centre of the main band lies as much further away.
        """
        wavelength = np.asarray(wavelength_nm, np.float64)
        centre = self._centre_nm()
        height = self.peak_per_m_cm / float(self._sum(np.float64(self.peak_nm), centre))
        return np.asarray(height * self._sum(wavelength, centre))

    def _sum(self, wavelength: FloatArray | np.float64, centre: float) -> FloatArray:
        main = np.exp(-0.5 * ((wavelength - centre) / self.sd_nm) ** 2)
        aside = np.exp(-0.5 * ((wavelength - self.shoulder_nm) / self.shoulder_sd_nm) ** 2)
        return np.asarray(main + self.shoulder_share * aside)

    def _centre_nm(self) -> float:
        """Centre of the main band for which the slope of the sum vanishes at the stated peak."""
        away = self.peak_nm - self.shoulder_nm
        pull = (
            self.shoulder_share
            * away
            / self.shoulder_sd_nm**2
            * float(np.exp(-0.5 * (away / self.shoulder_sd_nm) ** 2))
        )
        centre = self.peak_nm
        for _ in range(20):
            distance = centre - self.peak_nm
            main = float(np.exp(-0.5 * (distance / self.sd_nm) ** 2))
            centre = self.peak_nm + pull * self.sd_nm**2 / main
        return centre


MODEL_RANGE_NM = (600.0, 1000.0)
"""Where the models are evaluated."""

DYE_MODELS = {
    "ir780": DyeModel("IR780 in methanol, model", 780.0, 2.65e5, 22.0, 717.0, 0.25, 26.0, "methanol"),
    "icg-water": DyeModel("ICG in water, model", 780.0, 1.9e5, 24.0, 715.0, 0.35, 28.0, "water"),
    "icg-plasma": DyeModel("ICG in plasma, model", 805.0, 1.9e5, 24.0, 735.0, 0.25, 28.0, "plasma"),
}
"""Models by name; every number is from memory."""
