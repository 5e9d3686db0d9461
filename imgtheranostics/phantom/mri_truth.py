"""What a perfect analysis finds in MR images: of one region, and as an ideal map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom import mri_kinetics as kinetics
from imgtheranostics.phantom import mri_signal as signal
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.mri_scans import Scan
from imgtheranostics.phantom.mri_tissue import (
    ELEMENTS,
    concentration_mmol_l,
    tissue_at,
    warming,
)
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume

T1_WEIGHTED_DEG = 15.0
"""The flip angle whose image is compared before and after the agent."""
STATED = ("ktrans", "ve", "vp", "delta_r2star", "concentration", "spins", "specific_absorption_rate")
"""Quantities that a region states and an analysis finds as they are."""


def region_value(spec: PhantomSpec, region: str, quantity: str, scan: Scan, frame: int = 0) -> float:
    """The truth of a quantity in a region at one frame of a scan, in the quantity's own unit.

    Raises
    ------
    UnsupportedInput
        If the phantom says nothing of it.
    """
    held = spec.region(region)
    if quantity in ("t1", "t2", "t2star", "r1", "r2", "r2star"):
        tissue = tissue_at(spec, region, scan)
        rate: float = getattr(tissue, f"r{quantity[1:]}")
        return rate if quantity.startswith("r") else 1.0 / rate
    if quantity in ELEMENTS:
        return concentration_mmol_l(spec, region, scan, quantity) if scan.agent else 0.0
    if quantity == "enhancement":
        return enhancement_percent(spec, region, scan)
    times = next((axis.values for axis in scan.axes if axis.name == "time"), np.zeros(1))
    if quantity == "temperature_change":
        return float(warming(held, scan)(times[frame : frame + 1])[0])
    if quantity == "cem43":
        base, rise = held.states("temperature"), warming(held, scan)
        body = 37.0 if base is None else base.in_own_unit()
        return kinetics.cem43_min(lambda time_s: body + rise(time_s), float(times[-1]))
    truth = held.states(quantity)
    if quantity in STATED and truth is not None:
        return truth.in_own_unit(scan.case.get(truth.along) if truth.along else None)
    raise UnsupportedInput("the phantom does not state this quantity", found=f"{quantity} of {region}")


def enhancement_percent(spec: PhantomSpec, region: str, scan: Scan) -> float:
    """What the agent adds to the T1-weighted gradient echo of a region, % of the signal without it."""
    sequence = scan.sequence
    flips = next((axis.values for axis in scan.axes if axis.name == "flip_angle"), None)
    flip = (
        sequence.flip_angle_deg if flips is None else float(flips[np.argmin(np.abs(flips - T1_WEIGHTED_DEG))])
    )
    repetition_s, echo_s = ((ms or 0.0) * 1e-3 for ms in (sequence.repetition_time_ms, sequence.echo_time_ms))
    shown = []
    for one in (scan, scan.without_agent()):
        tissue = tissue_at(spec, region, one)
        start = float(signal.spoiled_gradient_echo(flip or 90.0, repetition_s, tissue.r1))
        shown.append(start * float(signal.gradient_echo_decay(echo_s, tissue.r2star).real))
    return 100.0 * (shown[0] / shown[1] - 1.0)


def map_quantity(spec: PhantomSpec, scan: Scan) -> str:
    """The quantity that a scan is made for."""
    by_sequence = {
        "inversion_recovery": "t1",
        "multi_echo": "r2star",
        "spin_echo": "r2",
        "phase_shift": "temperature_change",
    }
    found = by_sequence.get(scan.sequence.sequence, "t1")
    if found == "r2star" and any(region.states("concentration") for region in spec.regions):
        return "concentration"
    if any(axis.name == "time" for axis in scan.axes) and found == "t1":
        return "ktrans"
    return "signal" if any(region.states("spins") for region in spec.regions) else found


def ideal_map(spec: PhantomSpec, mixture: Mixture, scan: Scan) -> Volume:
    """The image of `map_quantity` without any scanner; NaN where a region does not say."""
    quantity = map_quantity(spec, scan)
    axes = tuple(axis for axis in scan.axes if axis.name == "time" and quantity == "temperature_change")
    frames = len(axes[0]) if axes else 1
    data = np.empty((*mixture.grid.shape, frames), np.float32, order="F")
    for frame in range(frames):
        data[..., frame] = mixture.paint(
            {region.name: _ideal(spec, region.name, quantity, scan, frame) for region in spec.regions}
        )
    unit = QUANTITIES[quantity].unit or "[arb'U]"
    shown: npt.NDArray[np.float32] = data if axes else data[..., 0]
    return Volume(shown, mixture.grid.affine, quantity, unit, axes)


def _ideal(spec: PhantomSpec, region: str, quantity: str, scan: Scan, frame: int) -> float:
    if quantity == "signal":
        return tissue_at(spec, region, scan).m0
    if quantity in STATED and spec.region(region).states(quantity) is None:
        return 0.0
    return region_value(spec, region, quantity, scan, frame)
