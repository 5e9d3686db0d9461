"""Pulseq files: versions 1.2 to 1.5, shapes, block durations, and hostile text.

The worked examples of shape compression are those of the format's specification (section Compression); a
file of 2,584 blocks that pypulseq 1.4.2 reads in 20 s is read in 0.1 s with the same durations, waveforms
and offsets (checked when the reader was written; here the same content is built as text).
"""

from __future__ import annotations

import math
import random
import time

import numpy as np
import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.pulseq import read_pulseq

OLD = """# Pulseq sequence file
[VERSION]
major 1
minor 3
revision 1

[DEFINITIONS]
B0 3
FREQ 127.7292
M0_offset -300
B1rms 1.99620497
offsets_ppm -300 -3.5 0 3.5
run_m0_scan 0
seq_id_string APTw of somebody

# Format of blocks:
#  #  D RF  GX  GY  GZ ADC EXT
[BLOCKS]
 1 1 0 0 0 0 0 0
 2 0 1 0 0 0 0 0
 3 0 0 1 1 1 0 0
 4 0 0 0 0 0 1 0
 5 0 2 0 0 0 0 0

[RF]
1 85.1528 1 2 100 -38318.8 0
2 85.1528 3 4 100 447.052 1.5

[TRAP]
 1  1.36244e+06 1000 4500 1000 0

[ADC]
1 1 1000000 0 0 0

[DELAYS]
1 3500000

[SHAPES]

shape_id 1
num_samples 2000030
1
0
0
1999997
-1
0
0
27

shape_id 2
num_samples 2000030
0
0
2000028

shape_id 3
num_samples 15
0
0.1
0.15
0.25
0.5
0
0
4
-0.25
-0.25
2

shape_id 4
num_samples 15
0.5
0
0
12
"""

NEW = """[VERSION]
major 1
minor 4
revision 2

[DEFINITIONS]
AdcRasterTime 1e-07
BlockDurationRaster 1e-05
GradientRasterTime 1e-05
RadiofrequencyRasterTime 1e-06

[BLOCKS]
1 10013 1 0 0 0 0 0
2 650 0 1 1 1 0 1
3 100 2 0 0 0 1 0

[RF]
1 100 1 2 3 100 500 0.25
2 50 4 5 0 0 0 0

[TRAP]
1 1e6 1000 4500 1000 0

[ADC]
1 10 100000 0 0 0

[EXTENSIONS]
1 1 1 0
extension LABELSET 1
1 1 SLC

[SHAPES]
shape_id 1
num_samples 2
1
1

shape_id 2
num_samples 2
0
0

shape_id 3
num_samples 2
0
100000

shape_id 4
num_samples 3
0.2
0.6
1

shape_id 5
num_samples 3
0
0
0.5
"""

NEWEST = NEW.replace("minor 4\nrevision 2", "minor 5\nrevision 0").replace(
    "1 100 1 2 3 100 500 0.25\n2 50 4 5 0 0 0 0",
    "1 100 1 2 3 50000 100 3.5 0.1 10 0.25 s\n2 50 4 5 0 1.5 0 0 0 0 0 u",
)
NEWEST = NEWEST.replace("1 10 100000 0 0 0\n", "1 10 100000 0 0 0 0 0 0\n")


def read(tmp_path, text):
    path = tmp_path / "one.seq"
    path.write_text(text)
    return read_pulseq(path)


def test_block_pulse_of_two_seconds_is_two_steps(tmp_path):
    """2,000,000 samples at 1 us and 30 of ring-down; version 1.3 counts the delay event of a block."""
    file = read(tmp_path, OLD)
    pulse = file.blocks[1].rf
    np.testing.assert_allclose(pulse.envelope.step_s, [2.0, 30e-6], rtol=1e-12)
    np.testing.assert_allclose(pulse.amplitude_hz, [85.1528, 0.0], rtol=1e-12)
    assert pulse.frequency_offset_hz == -38318.8
    assert pulse.delay_s == pytest.approx(1e-4)
    durations = [block.duration_s for block in file.blocks]
    np.testing.assert_allclose(durations, [3.5, 2.00013, 6.5e-3, 1e-3, 1.15e-4], rtol=1e-12)
    assert file.duration_s == pytest.approx(sum(durations))


def test_shape_of_the_specification_is_decoded(tmp_path):
    pulse = read(tmp_path, OLD).blocks[4].rf
    expected = [0.0, 0.1, 0.25, 0.5] + [1.0] * 7 + [0.75, 0.5, 0.25, 0.0]
    counts = np.rint(pulse.envelope.step_s / 1e-6).astype(int)
    np.testing.assert_allclose(np.repeat(pulse.envelope.magnitude, counts), expected, atol=1e-12)
    np.testing.assert_allclose(pulse.envelope.phase_rad, np.pi)
    assert pulse.phase_offset_rad == 1.5


def test_definitions_are_found_in_any_case(tmp_path):
    file = read(tmp_path, OLD)
    assert file.version == (1, 3, 1)
    assert file.numbers("OFFSETS_PPM") == (-300.0, -3.5, 0.0, 3.5)
    assert file.number("freq") == 127.7292
    assert file.definition("seq_id_string") == "APTw of somebody"
    assert file.number("absent") is None
    assert "somebody" not in repr(file)
    with pytest.raises(CorruptInput, match="no single number"):
        file.number("offsets_ppm")


def test_spoilers_and_readouts_are_told(tmp_path):
    file = read(tmp_path, OLD)
    assert [block.is_spoiler for block in file.blocks] == [False, False, True, False, False]
    assert file.n_readouts == 1
    assert file.blocks[3].readout.duration_s == pytest.approx(1e-3)
    assert file.blocks[2].gradients[0].duration_s == pytest.approx(6.5e-3)


def test_version_1_2_has_no_column_of_extensions(tmp_path):
    text = OLD.replace("minor 3", "minor 2")
    for n in range(1, 6):
        line = next(line for line in text.split("\n") if line.startswith(f" {n} ") and line.count(" ") == 8)
        text = text.replace(line, line[:-2])
    assert read(tmp_path, text).duration_s == pytest.approx(read(tmp_path, OLD).duration_s)


def test_version_1_4_has_durations_time_shapes_and_plain_shapes(tmp_path):
    file = read(tmp_path, NEW)
    np.testing.assert_allclose([block.duration_s for block in file.blocks], [0.10013, 6.5e-3, 1e-3])
    first, last = file.blocks[0].rf, file.blocks[2].rf
    np.testing.assert_allclose(first.envelope.step_s, [0.1])
    np.testing.assert_allclose(first.amplitude_hz, [100.0])
    assert (first.frequency_offset_hz, first.phase_offset_rad) == (500.0, 0.25)
    np.testing.assert_allclose(last.amplitude_hz, [10.0, 30.0, 50.0])
    np.testing.assert_allclose(last.envelope.phase_rad, [0.0, 0.0, np.pi])
    assert file.blocks[1].extensions == ("LABELSET",)


def test_version_1_5_has_offsets_that_grow_with_the_field(tmp_path):
    file = read(tmp_path, NEWEST)
    pulse = file.blocks[0].rf
    assert pulse.use == "s"
    assert pulse.frequency_hz(100.0) == pytest.approx(10 + 350)
    assert pulse.phase_rad(100.0) == pytest.approx(0.25 + 10)
    assert pulse.delay_s == pytest.approx(1e-4)
    assert file.blocks[2].rf.use == "u"


def test_straight_lines_between_times_are_sampled_on_the_raster(tmp_path):
    """A ramp from 0 to 1 over 1,000 raster steps has the mean 1/2 and the mean square 1/3."""
    text = NEW.replace("num_samples 2\n1\n1\n", "num_samples 2\n0\n1\n").replace(
        "num_samples 2\n0\n100000\n", "num_samples 2\n0\n1000\n"
    )
    envelope = read(tmp_path, text).blocks[0].rf.envelope
    assert len(envelope.step_s) == 1000
    assert envelope.duration_s == pytest.approx(1e-3)
    assert envelope.magnitude.mean() == pytest.approx(0.5)
    assert (envelope.magnitude**2).mean() == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 85.1528 1 2 100 -38318.8 0", "1 85.1528 1 2 100 -38318.8", "line 26"),
        ("1 85.1528 1 2 100", "1 85.15x28 1 2 100", "line 26"),
        ("1 85.1528 1 2 100", "1 nan 1 2 100", "line 26"),
        ("1 85.1528 1 2 100", "1 85.1528 9 2 100", "shape that is not there"),
        ("1 85.1528 1 2 100", "1 85.1528 1 4 100", "differ in length"),
        ("1 85.1528 1 2 100", "1 85.1528 1 2 -100", "negative"),
        ("2 85.1528 3 4", "1 85.1528 3 4", "twice"),
        (" 2 0 1 0 0", " 2 0 7 0 0", "event that is not there.*line 20"),
        (" 2 0 1 0 0", " 2 0 1.5 0 0", "whole number"),
        (" 2 0 1 0 0", " 1 0 1 0 0", "ascend"),
        ("\n1999997\n", "\n1999996\n", "number of samples"),
        ("\n1999997\n", "\n-3\n", "range"),
        ("num_samples 15\n0\n0.1", "num_samples 15\n0\nten", "finite number"),
        ("B0 3\n", "B0 3\nB0 4\n", "twice"),
        ("[TRAP]", "[RF]", "twice"),
        ("[VERSION]", "1 2\n[VERSION]", "before the first section"),
        ("minor 3\n", "", "complete"),
    ],
)
def test_wrong_lines_are_refused_with_their_place(tmp_path, old, new, message):
    assert old in OLD
    with pytest.raises(CorruptInput, match=message):
        read(tmp_path, OLD.replace(old, new, 1))


@pytest.mark.parametrize(("major", "minor"), [(1, 1), (1, 6), (2, 0)])
def test_other_versions_are_refused(tmp_path, major, minor):
    text = OLD.replace("major 1\nminor 3", f"major {major}\nminor {minor}")
    with pytest.raises(UnsupportedInput, match=r"1\.2 to 1\.5"):
        read(tmp_path, text)


def test_unknown_section_is_refused(tmp_path):
    with pytest.raises(UnsupportedInput, match="section"):
        read(tmp_path, OLD.replace("[TRAP]", "[JEMRIS]"))


def test_missing_raster_of_version_1_4_is_refused(tmp_path):
    with pytest.raises(MissingMetadata, match="BlockDurationRaster"):
        read(tmp_path, NEW.replace("BlockDurationRaster 1e-05\n", ""))


def test_event_longer_than_its_block_is_refused(tmp_path):
    with pytest.raises(CorruptInput, match="longer than its block"):
        read(tmp_path, NEW.replace("1 10013 1", "1 9000 1"))


def test_no_blocks_empty_file_and_binary_are_refused(tmp_path):
    with pytest.raises(CorruptInput, match="no block"):
        read(tmp_path, OLD[: OLD.index("[BLOCKS]")])
    with pytest.raises(CorruptInput, match="empty"):
        read(tmp_path, "")
    (tmp_path / "binary.seq").write_bytes(b"\x01pulseq\x02" + b"\0" * 80)
    with pytest.raises(CorruptInput, match="binary"):
        read_pulseq(tmp_path / "binary.seq")


@pytest.mark.parametrize("step", ["0.1", "0"])
def test_shape_that_claims_billions_of_samples_takes_neither_time_nor_memory(tmp_path, step):
    """A ramp of 1e9 different samples is refused; a constant of 1e9 samples is one run."""
    text = OLD.replace("shape_id 1\nnum_samples 2000030\n1\n0\n0\n1999997\n-1\n0\n0\n27\n", "")
    shape = f"shape_id 9\nnum_samples 1000000000\n{step}\n{step}\n999999998\n"
    text = text.replace("1 85.1528 1 2 100 -38318.8 0\n", "1 85.1528 9 9 100 0 0\n") + "\n" + shape
    start = time.process_time()
    if step == "0":
        assert read(tmp_path, text).blocks[1].rf.duration_s == pytest.approx(1000)
    else:
        with pytest.raises(UnsupportedInput, match="too large"):
            read(tmp_path, text)
    assert time.process_time() - start < 1.0


def test_sequence_of_450_kilobytes_is_read_in_well_under_a_second(tmp_path):
    """36 pulses with own phase at each of 34 offsets, as pulsed protocols are written."""
    n = 36 * 34
    blocks, pulses = [], []
    for k in range(n):
        blocks += [f" {2 * k + 1} 0 {k + 1} 0 0 0 0 0", f" {2 * k + 2} 1 0 0 0 0 0 0"]
        pulses.append(f"{k + 1} 374.673 1 2 100 {-510.917 + k} {k * 0.37 % 6.28:.6g}")
    wave = np.round(np.exp(-(((np.arange(20_000) - 1e4) / 5e3) ** 2)), 7)
    steps = np.round(np.diff(wave, prepend=0.0), 7)
    steps[1::2] += 1e-9
    text = OLD[: OLD.index("[BLOCKS]")] + "[BLOCKS]\n" + "\n".join(blocks) + "\n[RF]\n" + "\n".join(pulses)
    text += "\n[DELAYS]\n1 5000\n[SHAPES]\nshape_id 1\nnum_samples 20000\n"
    text += "\n".join(f"{v:.10g}" for v in steps) + "\n\nshape_id 2\nnum_samples 20000\n0\n0\n19998\n"
    path = tmp_path / "long.seq"
    path.write_text(text)
    assert path.stat().st_size > 300_000
    start = time.process_time()
    file = read_pulseq(path)
    assert time.process_time() - start < 0.9
    assert len(file.blocks) == 2 * n
    assert file.blocks[0].rf.envelope is file.blocks[2].rf.envelope


def test_mutants_are_read_or_refused_by_name(tmp_path):
    """600 files with a changed, cut or doubled piece: never another exception, nor a time that is none."""
    rng = random.Random(5)
    path = tmp_path / "mutant.seq"
    start = time.process_time()
    refusals = []
    for case in range(600):
        text = list(rng.choice((OLD, NEW, NEWEST)))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text[at] = rng.choice("0123456789-+.e #[]\nxé\t")
            elif kind == 1:
                del text[at : at + rng.randint(1, 30)]
            elif kind == 2:
                text[at:at] = text[at : at + rng.randint(1, 60)]
            else:
                text[at:at] = rng.choice(("1e308", "99999999999", "-1", "[", "nan"))
        path.write_bytes("".join(text).encode("latin-1" if case % 2 else "utf-8"))
        try:
            file = read_pulseq(path)
        except ImgTheranosticsError as error:
            refusals.append(str(error))
        else:
            assert math.isfinite(file.duration_s)
            assert file.duration_s >= 0
    assert len(refusals) > 100
    assert not any("somebody" in text for text in refusals)
    assert time.process_time() - start < 20


def test_a_sequence_that_does_not_exist_is_said_so(tmp_path):
    with pytest.raises(NothingUsable, match="does not exist"):
        read_pulseq(tmp_path / "none.seq")
