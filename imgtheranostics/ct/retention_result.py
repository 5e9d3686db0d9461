"""What stays of an injected agent: masses by scan, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.agent_masses import RegionMass, Retained, Spread
from imgtheranostics.ct.injected_agent import ExpectedConcentration, Injection
from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.pickling import reduced
from imgtheranostics.registration import Transform
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScanRetention:
    """One follow-up.

    Attributes
    ----------
    number : int
        Of the follow-up, from 0; missing scans have theirs.
    day : float or None
    concentration : Estimate
        On the grid of the baseline, mg/mL.
    transform : Transform or None
        From the baseline to this scan.
    masses : mapping of str to RegionMass
        Of every region.
    shells : tuple of RegionMass
        Around the tumour, the nearest first.
    retained : mapping of str to Retained
        Of every region, against the first scan that was made.
    spread : Spread
        Of the agent in the tumour.
    shift_mm : (float, float)
        Of the agent's centroid from the first scan, and its standard error.
    """

    number: int
    day: float | None
    concentration: Estimate
    transform: Transform | None
    masses: Mapping[str, RegionMass]
    shells: tuple[RegionMass, ...]
    retained: Mapping[str, Retained]
    spread: Spread
    shift_mm: tuple[float, float]

    @property
    def change(self) -> Volume:
        """Change of attenuation in HU, on the grid of the baseline."""
        return self.concentration.maps["delta_attenuation"]

    @property
    def leaked_mg(self) -> float:
        """Mass in all shells together."""
        return math.fsum(shell.mass_mg for shell in self.shells)

    def around(self, tumour: str) -> tuple[float, float]:
        """Mass in the tumour and its shells, and the standard error of the sum, in mg."""
        parts = (self.masses[tumour], *self.shells)
        total = math.fsum(part.mass_mg for part in parts)
        noise = math.hypot(*(part.noise_error_mg for part in parts))
        return total, math.hypot(noise, abs(total) * self.concentration.calibration_relative)


@dataclass(frozen=True, eq=False)
class Retention:
    """What stays of an injected agent.

    Attributes
    ----------
    table : pandas.DataFrame
        Tidy, with the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`: one row for each follow-up,
        region and quantity, ``axis`` is ``time`` in s where days are known, else ``scan``. Follow-ups that
        were not made have rows without numbers and the warning ``missing-scan``.
    scans : tuple of ScanRetention
        Those that were made.
    tumour : str
    tumour_ml : float or None
        Volume of the tumour before the injection; None where it was drawn on the follow-ups only.
    days : tuple of float, or None
        Of all follow-ups.
    n_missing : int
        Follow-ups that were not made.
    injection : Injection or None
    expected : ExpectedConcentration or None
        Mean concentration if all stays, without and with swelling; None where the injected volume or the
        volume of the tumour is not known.
    decisions : mapping
    warnings : tuple of Caution
    """

    table: pd.DataFrame
    scans: tuple[ScanRetention, ...]
    tumour: str
    tumour_ml: float | None
    days: tuple[float, ...] | None
    n_missing: int
    injection: Injection | None
    expected: ExpectedConcentration | None
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, decisions=dict(self.decisions))

    @property
    def maps(self) -> tuple[Estimate, ...]:
        """Concentration of each scan that was made, on the grid of the baseline."""
        return tuple(scan.concentration for scan in self.scans)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the follow-ups that were made, from 0."""
        return tuple(scan.number for scan in self.scans)

    @property
    def mass_mg(self) -> FloatArray:
        """Mass in the tumour at each scan that was made, (n,)."""
        return np.array([scan.masses[self.tumour].mass_mg for scan in self.scans])

    @property
    def mass_error_mg(self) -> FloatArray:
        """Standard errors of the masses, slope included, (n,)."""
        return np.array([scan.masses[self.tumour].standard_error_mg for scan in self.scans])

    @property
    def retained_percent(self) -> FloatArray:
        """Mass in the tumour over that of the first scan, (n,)."""
        return np.array([scan.retained[self.tumour].percent for scan in self.scans])

    @property
    def retained_error_percent(self) -> FloatArray:
        """Standard errors of the retained shares, (n,); the slope cancels."""
        return np.array([scan.retained[self.tumour].standard_error for scan in self.scans])

    @property
    def recovered_percent(self) -> FloatArray:
        """Mass in the tumour over the injected mass, (n,).

        Raises
        ------
        MissingMetadata
            If the injected mass is not known.
        """
        return 100.0 * self.mass_mg / known_injection(self.injection).mass_mg


def known_injection(injection: Injection | None) -> Injection:
    """The injection, if it is known.

    Raises
    ------
    MissingMetadata
        If it is not.
    """
    if injection is None:
        raise MissingMetadata(
            "the share of the injected mass that is found needs the injected mass",
            where="injected_mg",
            needed="mg injected, or mL injected and mg/mL of the suspension",
            next_step="give injected_mg (--injected-mg), or injected_ml and suspension_mg_ml "
            "(--injected-ml, --suspension-mg-ml)",
        )
    return injection
