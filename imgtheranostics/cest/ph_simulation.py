"""Calibrations of pH by simulation of an agent from its record, and how far they depend on concentration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Agent
from imgtheranostics.cest.agent_pools import simulator_pools
from imgtheranostics.cest.ph_calibration import Calibration, calibrate
from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.cest.ph_polynomial import Scale
from imgtheranostics.cest.ph_ratio import TRANSFERS, TransferKind
from imgtheranostics.cest.pool_system import ExchangePool, MtPool, PoolSystem, WaterPool
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.errors import Caution, merge_cautions

DoubleArray = npt.NDArray[np.float64]

DEFAULT_PH = tuple(round(6.4 + 0.05 * k, 2) for k in range(21))
"""6.4 to 7.4, the range of kidneys and tumours."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """What a ratio is simulated with.

    Attributes
    ----------
    agent : str or Agent
    b1_ut, saturation_time_s, field_t : float
        Block saturation.
    water : WaterPool
    pool_t2_s : float
        T2 of the exchanging protons; no record states it.
    mt : MtPool, optional
    background : tuple of ExchangePool
    protons : mapping of str to float, optional
        In place of the record's.
    at_ppm : (float, float)
    kind : {"mtr_asym", "inverse", "norm_ref", "power"}
    pool_t1_s : float
    """

    agent: str | Agent
    b1_ut: float
    saturation_time_s: float
    field_t: float
    water: WaterPool
    pool_t2_s: float
    mt: MtPool | None = None
    background: tuple[ExchangePool, ...] = ()
    protons: Mapping[str, float] | None = None
    at_ppm: tuple[float, float] = (4.2, 5.5)
    kind: TransferKind = "mtr_asym"
    pool_t1_s: float = 1.0

    def ratios(self, concentration_mm: float, ph: Sequence[float]) -> tuple[DoubleArray, tuple[Caution, ...]]:
        """Ratio at each pH, and what is unconfirmed about it."""
        from imgtheranostics.cest.bloch_mcconnell import simulate

        if self.kind not in TRANSFERS:
            raise ValueError(f"unknown kind {self.kind!r}; there are {', '.join(TRANSFERS)}")
        members = [
            simulator_pools(
                self.agent,
                concentration_mm=concentration_mm,
                ph=acidity,
                protons=self.protons,
                t1_s=self.pool_t1_s,
                t2_s=self.pool_t2_s,
            )
            for acidity in ph
        ]
        systems = [
            PoolSystem(self.water, (*self.background, *pools), self.mt, self.field_t) for pools in members
        ]
        first, second = self.at_ppm
        train = PulseTrain([first, -first, second, -second], [self.b1_ut], self.saturation_time_s)
        z = simulate(systems, train)
        above, below = (TRANSFERS[self.kind](z[:, k], z[:, k + 1])[0] for k in (0, 2))
        return above / below, merge_cautions(*(pools.warnings for pools in members))

    def conditions(self) -> Conditions:
        """Those of the ratio; the temperature is that of the recorded exchange rates, if any."""
        return Conditions(
            kind=self.kind,
            at_ppm=self.at_ppm,
            b1_ut=(self.b1_ut,),
            saturation_time_s=self.saturation_time_s,
            field_t=self.field_t,
        )


def simulated_calibration(
    agent: str | Agent = "iopamidol",
    *,
    concentration_mm: float,
    b1_ut: float,
    saturation_time_s: float,
    field_t: float,
    water_t1_s: float,
    water_t2_s: float,
    pool_t2_s: float,
    ph: Sequence[float] = DEFAULT_PH,
    kind: TransferKind = "mtr_asym",
    at_ppm: tuple[float, float] = (4.2, 5.5),
    mt: MtPool | None = None,
    background: Sequence[ExchangePool] = (),
    protons: Mapping[str, float] | None = None,
    degree: int | None = None,
    scale: Scale = "auto",
) -> Calibration:
    """Calibration from simulated spectra of an agent in place of measured solutions.

    Exchange rates are those of the record, their logarithm straight between the recorded pH. Where they are
    from memory, as those of iopamidol are, so is the calibration: it shows trends and serves phantoms, and no
    scan of a person should be read with it.

    Parameters
    ----------
    agent : str or Agent
    concentration_mm : float
        mmol/L; the ratio depends on it by some per cent, see `concentration_bias`.
    b1_ut, saturation_time_s, field_t : float
        Block saturation.
    water_t1_s, water_t2_s, pool_t2_s : float
        Relaxation times of water, and T2 of the exchanging protons.
    ph : sequence of float
        6.4 to 7.4 by default.
    kind, at_ppm
        As those of `imgtheranostics.cest.ph.ratio`.
    mt : MtPool, optional
    background : sequence of ExchangePool
        Other pools of the tissue.
    protons : mapping of str to float, optional
        In place of the record's, by the name of the pool.
    degree, scale
        As those of `calibrate`.

    Returns
    -------
    Calibration
        Its ``warnings`` tell every number from memory (``simulated-calibration``, ``unconfirmed-value``).

    Raises
    ------
    MissingMetadata
        If the record does not tell rates at these pH.
    IllConditioned
        If the ratio goes one way nowhere.
    """
    protocol = Protocol(
        agent,
        b1_ut,
        saturation_time_s,
        field_t,
        WaterPool(water_t1_s, water_t2_s),
        pool_t2_s,
        mt,
        tuple(background),
        protons,
        at_ppm,
        kind,
    )
    ratios, cautions = protocol.ratios(concentration_mm, ph)
    made = calibrate(ratios, ph, degree=degree, scale=scale, conditions=protocol.conditions())
    message = f"pH is calibrated by simulation at {concentration_mm:g} mmol/L, not by measured solutions" + (
        ", with exchange rates or proton counts from memory" if cautions else ""
    )
    told = Caution("simulated-calibration", message)
    return replace(made, warnings=merge_cautions((told,), made.warnings, cautions))


@dataclass(frozen=True, eq=False)
class ConcentrationBias:
    """What another concentration than that of the calibration makes of pH.

    Attributes
    ----------
    concentration_mm : (c,) ndarray
    ph : (p,) ndarray
        True pH, those within the calibrated monotone range.
    ratio : (c, p) ndarray
        Simulated ratio.
    ratio_bias : (c, p) ndarray
        Relative difference from the ratio at the concentration of the calibration.
    ph_bias : (c, p) ndarray
        Converted less true pH; NaN where the ratio lies outside the calibrated range.
    warnings : tuple of Caution
    """

    concentration_mm: DoubleArray
    ph: DoubleArray
    ratio: DoubleArray
    ratio_bias: DoubleArray
    ph_bias: DoubleArray
    warnings: tuple[Caution, ...]


def concentration_bias(
    agent: str | Agent = "iopamidol",
    *,
    concentration_mm: Sequence[float] = (2.0, 20.0),
    reference_mm: float = 20.0,
    b1_ut: float,
    saturation_time_s: float,
    field_t: float,
    water_t1_s: float,
    water_t2_s: float,
    pool_t2_s: float,
    ph: Sequence[float] = DEFAULT_PH,
    kind: TransferKind = "mtr_asym",
    at_ppm: tuple[float, float] = (4.2, 5.5),
    mt: MtPool | None = None,
    background: Sequence[ExchangePool] = (),
    protons: Mapping[str, float] | None = None,
) -> ConcentrationBias:
    """How far a ratio, and the pH from it, depends on the concentration of the agent.

    Parameters
    ----------
    agent : str or Agent
    concentration_mm : sequence of float
    reference_mm : float
        Concentration of the calibration.
    b1_ut, saturation_time_s, field_t, water_t1_s, water_t2_s, pool_t2_s, ph, kind, at_ppm, mt, background
        As those of `simulated_calibration`.
    protons : mapping of str to float, optional
        As there.

    Returns
    -------
    ConcentrationBias

    Raises
    ------
    MissingMetadata, IllConditioned
        As `simulated_calibration`.
    """
    protocol = Protocol(
        agent,
        b1_ut,
        saturation_time_s,
        field_t,
        WaterPool(water_t1_s, water_t2_s),
        pool_t2_s,
        mt,
        tuple(background),
        protons,
        at_ppm,
        kind,
    )
    reference, cautions = protocol.ratios(reference_mm, ph)
    calibration = calibrate(reference, ph, conditions=protocol.conditions())
    acidity = np.asarray(ph, np.float64)
    within = (acidity >= calibration.range[0]) & (acidity <= calibration.range[1])
    ratios = np.array([protocol.ratios(amount, ph)[0][within] for amount in concentration_mm])
    return ConcentrationBias(
        np.asarray(concentration_mm, np.float64),
        acidity[within],
        ratios,
        ratios / reference[within] - 1.0,
        calibration.invert(ratios) - acidity[within],
        merge_cautions(calibration.warnings, cautions),
    )
