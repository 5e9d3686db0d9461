"""The saturation of a scan as the simulator takes it: a given sequence at its offsets, or as stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_mcconnell import Protocol, read_sequence
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.cest.saturation import block_pulses
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]
Saturation = PulseTrain | Protocol

_SAME_PPM = 0.011
"""Offsets of sequence files are rounded to 0.001 Hz, those of sidecars to a few digits."""


def given_sequences(
    given: Saturation | str | Path | Sequence[Saturation | str | Path] | None, scans: Sequence[Volume]
) -> tuple[Saturation, ...]:
    """One sequence for each scan.

    Parameters
    ----------
    given : PulseTrain, Protocol, path of a ``.seq`` file, or several; None takes what the scans state
    scans : sequence of Volume

    Raises
    ------
    MissingMetadata
        If nothing is given, and the scans do not state block pulses with B1 and timing.
    UnsupportedInput
        If there are not as many sequences as scans.
    """
    if given is None:
        return tuple(_stated(scan) for scan in scans)
    several = [given] if isinstance(given, (PulseTrain, Protocol, str, Path)) else list(given)
    if len(several) != len(scans):
        raise UnsupportedInput(
            "there are not as many saturation sequences as scans",
            found=f"{len(several)} sequences, {len(scans)} scans",
            needed="one sequence for each scan",
        )
    return tuple(one if isinstance(one, (PulseTrain, Protocol)) else read_sequence(one) for one in several)


def at_offsets(sequence: Saturation, offset_ppm: FloatArray) -> Saturation:
    """A sequence at the offsets of a spectrum, in its order and without unsaturated references.

    Raises
    ------
    UnsupportedInput
        If the sequence does not have one of them.
    """
    own = np.asarray(sequence.offsets, np.float64)
    nearest = np.abs(own[np.newaxis, :] - offset_ppm[:, np.newaxis]).argmin(axis=1)
    lacking = np.abs(own[nearest] - offset_ppm) > _SAME_PPM
    if lacking.any():
        raise UnsupportedInput(
            "the sequence does not saturate at the offsets of the scan",
            found=f"{int(lacking.sum())} of {offset_ppm.size} offsets are missing, such as "
            f"{offset_ppm[lacking][0]:g} ppm",
            needed="the sequence that the scan was acquired with",
            next_step="give the sequence of this scan, with its offsets",
        )
    if isinstance(sequence, Protocol):
        events = tuple(sequence.events[int(n)] for n in nearest)
        return replace(sequence, offset_ppm=own[nearest], events=events)
    return train_at(sequence, offset_ppm)


def train_at(train: PulseTrain, offset_ppm: npt.ArrayLike) -> PulseTrain:
    """The same pulses at other offsets."""
    return PulseTrain(
        offset_ppm,
        train.samples,
        train.sample_s,
        n_pulses=train.n_pulses,
        pulse_interval_s=train.pulse_interval_s,
        post_delay_s=train.post_delay_s,
        spoil_between_pulses=train.spoil_between_pulses,
    )


def _stated(scan: Volume) -> PulseTrain:
    amplitude, pulse_s, interval_s, count = block_pulses(scan)
    axis = scan.axis("saturation_offset")
    offsets = np.array([0.0]) if axis is None else axis.values[np.isfinite(axis.values)]
    return PulseTrain(offsets, [amplitude], pulse_s, n_pulses=count, pulse_interval_s=interval_s)
