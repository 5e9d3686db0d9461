"""Tissue curves from tables: frames and units in headings, PMOD's own, decay, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import read_tissue_curves

C11_S = 20.39 * 60
"""ICRP-107: 20.39 min."""

START = np.array([0.0, 60.0, 180.0, 480.0])
END = np.array([60.0, 180.0, 480.0, 1080.0])
VALUES = np.array([[1.0, 8.0, 6.0, 3.0], [2.0, 5.0, 4.0, 3.5]])


def write(folder, heading, times=(START, END), extra=(), name="tacs.tsv"):
    rows = ["\t".join(heading)]
    for n in range(START.size):
        cells = [column[n] for column in times] + [column[n] for column in extra] + list(VALUES[:, n])
        rows.append("\t".join(str(cell) for cell in cells))
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("heading", "times", "factor"),
    [
        (("frame_start [s]", "frame_end [s]", "A [kBq/mL]", "B [kBq/mL]"), (START, END), 1e3),
        (("frame_start", "frame_end", "A", "B"), (START, END), 1.0),
        (("start[seconds]", "end[kBq/cc]", "A", "B"), (START, END), 1e3),
        (("start[minutes]", "end[Bq/cc]", "A", "B"), (START / 60, END / 60), 1.0),
        (("StartTime [s]", "Duration [s]", "A [Bq/mL]", "B [Bq/mL]"), (START, END - START), 1.0),
        (
            ("frame_start [min]", "frame_duration [s]", "A [Bq/mL]", "B [Bq/mL]"),
            (START / 60, END - START),
            1.0,
        ),
    ],
)
def test_frames_and_units_of_several_spellings_are_the_same_curves(tmp_path, heading, times, factor):
    curves = read_tissue_curves(
        write(tmp_path, heading, times), unit="Bq/mL", time_unit="s", decay_corrected=True
    )
    assert curves.names == ("A", "B")
    assert curves.values == pytest.approx(VALUES * factor)
    assert curves.mid_s == pytest.approx((START + END) / 2)
    assert curves.duration_s == pytest.approx(END - START)
    assert curves.warnings == ()
    assert curves.curve("B") == pytest.approx(VALUES[1] * factor)
    assert curves.without(["A"]).names == ("B",)


def test_units_in_a_json_file_and_weights_and_a_decay_column(tmp_path):
    heading = ("frame_start", "frame_end", "weights", "decay_corrected", "A", "B")
    path = write(tmp_path, heading, extra=(np.array([0.0, 1, 2, 3]), ["yes"] * 4))
    units = {name: {"Units": "s"} for name in ("frame_start", "frame_end")}
    units |= {name: {"Units": "kBq/mL"} for name in "AB"}
    path.with_suffix(".json").write_text(json.dumps(units))
    curves = read_tissue_curves(path)
    assert curves.values == pytest.approx(VALUES * 1e3)
    assert curves.weights.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert curves.warnings == ()


def test_middles_of_frames_alone_have_no_durations(tmp_path):
    path = write(tmp_path, ("time [min]", "A [SUV]", "B [SUV]"), ((START + END) / 120,))
    curves = read_tissue_curves(path)
    assert curves.duration_s is None
    assert curves.mid_s == pytest.approx((START + END) / 2)
    assert (curves.quantity, curves.unit) == ("suv_bw", "g/mL")
    assert [caution.code for caution in curves.warnings] == ["tissue-decay-assumed"]


def test_curves_as_measured_are_corrected_over_each_frame(tmp_path):
    """The mean of exp(-lambda t) over a frame in closed form makes a constant activity constant again."""
    rate = np.log(2) / C11_S
    means = (np.exp(-rate * START) - np.exp(-rate * END)) / (rate * (END - START))
    rows = "\n".join(
        f"{start},{end},{5e3 * float(mean)!r}" for start, end, mean in zip(START, END, means, strict=True)
    )
    path = tmp_path / "t.csv"
    path.write_text(f"frame_start [s],frame_end [s],A [Bq/mL]\n{rows}\n")
    curves = read_tissue_curves(path, decay_corrected=False, nuclide_name="C-11")
    assert curves.values[0] == pytest.approx(np.full(4, 5e3), rel=1e-6)
    with pytest.raises(MissingMetadata, match="half-life"):
        read_tissue_curves(path, decay_corrected=False)


def test_activity_far_below_zero_is_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("time [s],A [Bq/mL],B [Bq/mL]\n30,-5,0.1\n100,20,20\n200,10,10\n")
    found = read_tissue_curves(path, decay_corrected=True).warnings
    assert [(caution.code, caution.where) for caution in found] == [("negative-activity", "region A")]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("frame_start [s],frame_end [s],A [Bq/mL]\n0,60,1\n60,120,2\n30,60,3\n", CorruptInput, "increase"),
        ("frame_start [s],frame_end [s],A [Bq/mL]\n0,60,1\n60,50,2\n", ImplausibleValue, "ends before"),
        ("frame_start [s],frame_end [s],A [Bq/mL]\n0,60,1\nn/a,120,2\n", CorruptInput, "increase"),
        ("frame_start,frame_end,A [Bq/mL]\n0,60,1\n", MissingMetadata, "unit of the times"),
        ("frame_start [s],frame_end [s],A\n0,60,1\n", MissingMetadata, "unit of the tissue"),
        ("frame_start [s],frame_end [s],A [mg/mL]\n0,60,1\n", UnitMismatch, "convert"),
        ("frame_start [s],frame_end [s],A [Bq/mL],B [SUV]\n0,60,1,2\n", UnitMismatch, "differ"),
        ("frame_start [s],frame_end [s]\n0,60\n", CorruptInput, "no region"),
        ("A [Bq/mL]\n1\n", CorruptInput, "lacks its frames"),
        (
            "frame_start [s],frame_end [s],decay_corrected,A [Bq/mL]\n0,60,yes,1\n60,120,no,1\n",
            UnitMismatch,
            "mixed",
        ),
    ],
)
def test_what_a_table_of_curves_cannot_be(tmp_path, text, error, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_tissue_curves(path)


def test_an_unknown_region_is_answered_with_those_that_there_are(tmp_path):
    curves = read_tissue_curves(write(tmp_path, ("frame_start_s", "frame_end_s", "A", "B")), unit="Bq/mL")
    with pytest.raises(UnsupportedInput) as found:
        curves.curve("C")
    assert found.value.needed == "one of A, B"
