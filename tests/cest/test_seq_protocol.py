"""Saturation from Pulseq files against trains that are written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.cest.bloch_mcconnell import (
    ExchangePool,
    MtPool,
    PoolSystem,
    PulseTrain,
    WaterPool,
    read_sequence,
    simulate,
)
from imgtheranostics.cest.seq_protocol import resampled
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata

POOLS = PoolSystem(
    WaterPool(1.3, 0.06),
    (ExchangePool("amine", 2e-3, 1.0, 0.05, 900.0, 2.5),),
    MtPool(0.08, 1.0, 2e-5, 30.0, -2.0, "lorentzian"),
    3.0,
)
HZ_PER_UT = 42.5764
LARMOR_MHZ = 3.0 * HZ_PER_UT
RASTER_S = 1e-4


def sequence_text(
    offset_ppm: Sequence[float],
    shape: Sequence[float],
    *,
    peak_ut: float,
    n_pulses: int,
    gap_us: int,
    spoiled: bool,
    continuous: bool = False,
    zeros: int = 0,
    megahertz: float = LARMOR_MHZ,
    defined: bool = True,
) -> str:
    """A version 1.4 file: recovery, pulses and gaps, a spoiler of 6.5 ms, a readout, for each offset.

    The shape has a raster of 0.1 ms, and `zeros` samples of nothing before and behind. With `continuous` the
    phase runs on through the gaps, as in a `PulseTrain`.
    """
    samples = [0.0] * zeros + list(shape) + [0.0] * zeros
    pulse_s = len(samples) * RASTER_S
    pulses, blocks = [], []
    duration = round(pulse_s * 1e5)
    for offset in offset_ppm:
        blocks.append("200 0 0 0 0 0 0")
        for number in range(n_pulses):
            frequency = offset * megahertz
            phase = 2 * np.pi * frequency * number * (pulse_s + gap_us * 1e-6) if continuous else 0.0
            pulses.append(f"{len(pulses) + 1} {peak_ut * HZ_PER_UT:.9f} 1 0 0 0 {frequency:.9f} {phase:.12f}")
            blocks.append(f"{duration} {len(pulses)} 0 0 0 0 0")
            if number < n_pulses - 1:
                blocks.append(f"{gap_us // 10} 0 0 0 {1 if spoiled else 0} 0 0")
        blocks += ["650 0 1 1 1 0 0", "100 0 0 0 0 1 0"]
    offsets = " ".join(str(offset) for offset in offset_ppm)
    return "\n".join(
        [
            "[VERSION]\nmajor 1\nminor 4\nrevision 0\n\n[DEFINITIONS]",
            f"RadiofrequencyRasterTime {RASTER_S}\nGradientRasterTime 1e-05\nBlockDurationRaster 1e-05",
            "AdcRasterTime 1e-07\nFREQ 300.0\nB0 7",
            f"offsets_ppm {offsets}" if defined else "",
            "\n[BLOCKS]",
            *(f"{number} {block}" for number, block in enumerate(blocks, start=1)),
            "\n[RF]",
            *pulses,
            f"\n[TRAP]\n1 1000000 100 {min(gap_us, 6500) - 200} 100 0",
            "\n[ADC]\n1 1 1000000 0 0 0",
            f"\n[SHAPES]\n\nshape_id 1\nnum_samples {len(samples)}",
            *(f"{sample:.12f}" for sample in samples),
            "",
        ]
    )


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "protocol.seq"
    path.write_text(text)
    return path


GAUSS = np.exp(-0.5 * np.linspace(-2.2, 2.2, 60) ** 2)
OFFSETS = [-300.0, -2.5, 0.4, 2.5]


@pytest.mark.parametrize("spoiled", [True, False])
def test_shaped_train_is_the_one_written_out(tmp_path: Path, spoiled: bool) -> None:
    text = sequence_text(
        OFFSETS, GAUSS, peak_ut=3.0, n_pulses=5, gap_us=4000, spoiled=spoiled, continuous=not spoiled
    )
    protocol = read_sequence(written(tmp_path, text))
    train = PulseTrain(
        OFFSETS,
        3.0 * GAUSS,
        RASTER_S,
        n_pulses=5,
        pulse_interval_s=4e-3,
        post_delay_s=6.5e-3,
        spoil_between_pulses=spoiled,
    )
    assert list(protocol.offset_ppm) == OFFSETS
    # 42.5764 MHz/T against gamma / 2 pi differ in the seventh digit.
    assert np.abs(simulate(POOLS, protocol) - simulate(POOLS, train)).max() < 1e-6


def test_dead_times_around_a_block_pulse_are_delays(tmp_path: Path) -> None:
    text = sequence_text(OFFSETS, [1.0] * 200, peak_ut=2.0, n_pulses=1, gap_us=1000, spoiled=True, zeros=30)
    protocol = read_sequence(written(tmp_path, text))
    program = protocol.program(POOLS)
    assert program.first_sample.tolist() == [0, 1]
    assert program.sample_s.tolist() == pytest.approx([0.02])
    train = PulseTrain(OFFSETS, [2.0], 0.02, post_delay_s=3e-3 + 6.5e-3)
    assert np.abs(simulate(POOLS, protocol) - simulate(POOLS, train)).max() < 1e-6


def test_field_of_the_pool_system_counts_and_not_that_of_the_file(tmp_path: Path) -> None:
    # The file says FREQ 300 and B0 7; its pulses are at 3 T.
    made = {"peak_ut": 1.0, "n_pulses": 1, "gap_us": 1000, "spoiled": True}
    protocol = read_sequence(written(tmp_path, sequence_text([2.5], [1.0] * 5000, **made)))  # type: ignore[arg-type]
    train = PulseTrain([2.5], [1.0], 0.5, post_delay_s=6.5e-3)
    assert simulate(POOLS, protocol) == pytest.approx(simulate(POOLS, train), abs=1e-6)
    with pytest.raises(ImplausibleValue, match="not at its offsets") as caught:
        simulate(dataclasses.replace(POOLS, field_t=7.0), protocol)
    assert caught.value.where == "protocol.seq"


def test_pulses_are_resampled_to_the_number_of_steps_of_the_pool_system(tmp_path: Path) -> None:
    text = sequence_text(OFFSETS, GAUSS, peak_ut=3.0, n_pulses=5, gap_us=4000, spoiled=True)
    protocol = read_sequence(written(tmp_path, text))
    fewer = dataclasses.replace(POOLS, max_pulse_samples=45)
    program = protocol.program(fewer)
    assert program.first_sample.tolist() == [0, 45]
    assert program.sample_s[0] * 45 == pytest.approx(60 * RASTER_S)
    assert program.amplitude.sum() / 45 == pytest.approx(2 * np.pi * 3.0 * HZ_PER_UT * GAUSS.mean())
    # The 5e-4 for pulsed trains.
    assert np.abs(simulate(fewer, protocol) - simulate(POOLS, protocol)).max() < 5e-4


def test_resampling_keeps_area_and_duration_of_uneven_steps() -> None:
    step_s, amplitude = np.array([1e-3, 0.5e-3, 2.25e-3]), np.array([1.0, 2.0 + 1.0j, -0.5])
    few, length = resampled(step_s, amplitude, 4)
    assert length * few.size == pytest.approx(step_s.sum())
    assert few.sum() * length == pytest.approx((step_s * amplitude).sum())
    same, length = resampled(np.array([1e-3, 2e-3]), np.array([1.0 + 0j, 3.0]), 10)
    assert same.tolist() == [1.0, 3.0, 3.0]
    assert length == pytest.approx(1e-3)


def test_file_without_offsets_is_refused(tmp_path: Path) -> None:
    text = sequence_text([1.0], GAUSS, peak_ut=1.0, n_pulses=1, gap_us=1000, spoiled=True, defined=False)
    with pytest.raises(MissingMetadata) as caught:
        read_sequence(written(tmp_path, text))
    assert "offsets_ppm" in (caught.value.needed or "")


def test_other_number_of_readouts_than_offsets_is_refused(tmp_path: Path) -> None:
    text = sequence_text([1.0, 2.0], GAUSS, peak_ut=1.0, n_pulses=1, gap_us=1000, spoiled=True)
    with pytest.raises(CorruptInput) as caught:
        read_sequence(written(tmp_path, text.replace("offsets_ppm 1.0 2.0", "offsets_ppm 1.0 2.0 3.0")))
    assert caught.value.found == "2 readouts, 3 offsets"


def test_offsets_in_hertz_and_b1_beyond_any_scanner_are_refused(tmp_path: Path) -> None:
    hertz = [-500.0, -250.0, 100.0, 250.0, 500.0, 700.0]
    text = sequence_text(hertz, GAUSS, peak_ut=1.0, n_pulses=1, gap_us=1000, spoiled=True, megahertz=1.0)
    with pytest.raises(ImplausibleValue, match="offsets"):
        read_sequence(written(tmp_path, text))
    text = sequence_text([1.0], GAUSS, peak_ut=300.0, n_pulses=1, gap_us=1000, spoiled=True)
    with pytest.raises(ImplausibleValue, match="B1"):
        simulate(POOLS, read_sequence(written(tmp_path, text)))


def test_readout_without_saturation_is_the_relaxed_magnetisation(tmp_path: Path) -> None:
    text = sequence_text([-300.0, 1.0], GAUSS, peak_ut=0.0, n_pulses=1, gap_us=1000, spoiled=True)
    assert simulate(POOLS, read_sequence(written(tmp_path, text))) == pytest.approx([1.0, 1.0], abs=1e-12)
