"""Options that ``mri`` commands and ``convert`` share: which values, what is refused, what is printed."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.cli import options
from imgtheranostics.cli.main import main
from imgtheranostics.io.dicom import scaling
from imgtheranostics.volume import Axis, Volume

SHAPE = (8, 6, 3)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
ANGLES = np.array([2.0, 5.0, 10.0, 15.0])
RECORD = MrAcquisition(field_strength_t=3.0, repetition_time_s=0.005, echo_time_s=0.002)
COMMANDS = ("t1", "t2", "t2star", "enhancement", "concentration", "dce", "temperature")


@pytest.fixture(scope="module")
def dicom(tmp_path_factory):
    """A scan by the SPGR equation, T1 1.2 s; saved with a rescale slope."""
    angle, e1 = np.radians(ANGLES), np.exp(-0.005 / 1.2)
    curve = 1000.0 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    density = np.linspace(0.5, 1.0, SHAPE[0])[:, np.newaxis, np.newaxis, np.newaxis]
    data = np.broadcast_to(density * curve, (*SHAPE, ANGLES.size)).astype(np.float32)
    folder = tmp_path_factory.mktemp("scan") / "dicom"
    it.save(Volume(data, AFFINE, "signal", "[arb'U]", (Axis("flip_angle", ANGLES, "deg"),), RECORD), folder)
    return folder


def call(capsys, *words, code=0):
    found = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return printed


def test_the_words_are_those_of_the_loader():
    assert options.MR_SCALINGS == scaling.MR_SCALINGS


@pytest.mark.parametrize("command", [["convert"], *(["mri", name] for name in COMMANDS)])
def test_every_command_that_reads_mr_takes_a_scaling(command, capsys):
    assert "--mr-scaling" in call(capsys, *command, "--help").out
    err = call(
        capsys, *command, "a", *(["b"] if command == ["convert"] else []), "--mr-scaling", "raw", code=2
    )
    assert "floating_point" in err.err


def test_convert_gives_the_stored_numbers_when_asked(dicom, tmp_path, capsys):
    stored = {float(pydicom.dcmread(one).pixel_array.max()) for one in dicom.rglob("*.dcm")}
    call(capsys, "convert", dicom, tmp_path / "stored.nii.gz", "--mr-scaling", "stored", "-q")
    call(capsys, "convert", dicom, tmp_path / "scaled.nii.gz", "-q")
    assert float(it.load(tmp_path / "stored.nii.gz").data.max()) == max(stored)
    assert float(it.load(tmp_path / "scaled.nii.gz").data.max()) == pytest.approx(it.load(dicom).data.max())
    assert max(stored) > 10 * float(it.load(dicom).data.max())


def test_a_fit_goes_by_the_scaling_and_says_so(dicom, capsys):
    for words, expected in ((["--mr-scaling", "stored"], "stored"), ([], "rescaled")):
        out = json.loads(call(capsys, "mri", "t1", dicom, "--json", "-q", *words).out)
        assert out["decisions"]["scaling"]["rule"] == expected


def test_display_values_of_philips_fit_worse(public_data, tmp_path, capsys):
    """Nothing but the values differs: the two sets of maps must not be the same, and each says what it is."""
    folder = public_data("mri/nist_phantom") / "T1" / "site4_philips" / "plate5"
    found = {}
    for mode in ("floating_point", "display"):
        words = ["mri", "t1", folder, "--series", "all", "--mr-scaling", mode, "--json", "-q"]
        found[mode] = json.loads(call(capsys, *words).out)
    assert found["floating_point"]["decisions"]["scaling"]["rule"] == "philips_floating_point"
    assert "philips-display-values" in [one["code"] for one in found["display"]["warnings"]]
    means = [one["quantities"][0]["mean"] for one in found.values()]
    assert abs(means[0] / means[1] - 1) > 0.05


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["concentration", "{scan}", "--pre", "{scan}", "--agent", "AGuIX", "--t1", "1.4"], "--t1"),
        (["concentration", "{scan}", "--pre", "1.4", "--agent", "AGuIX", "--with-decay"], "--with-decay"),
        (["concentration", "{scan}", "--pre", "1.4", "--agent", "AGuIX", "--baseline", "0:2"], "--baseline"),
        (["concentration", "{scan}", "--pre", "1.4", "--agent", "AGuIX", "--register"], "--register"),
        (["t1", "{scan}", "--threshold", "nan"], "--threshold"),
        (["t1", "{scan}", "--repetition-time-s", "nan"], "--repetition-time-s"),
        (["t1", "{scan}", "--repetition-time-s", "-1"], "repetition_time_s"),
        (["dce", "{scan}", "--aif-delay-s", "inf"], "--aif-delay-s"),
        (["concentration", "{scan}", "--pre", "1.4", "--agent", "AGuIX", "--field-t", "nan"], "--field-t"),
        (
            ["concentration", "{scan}", "--pre", "1.4", "--agent", "AGuIX", "--field-t", "0"],
            "field_strength_t",
        ),
        (["temperature", "{scan}", "--iron-mg-ml", "nan", "--heating", "0:2"], "--iron-mg-ml"),
    ],
)
def test_what_would_be_ignored_is_wrong_usage(words, named, dicom, tmp_path, capsys):
    out = tmp_path / "out"
    err = call(capsys, "mri", *(word.format(scan=dicom) for word in words), "-o", out, code=2).err
    assert named in err
    assert not out.exists()


def test_an_agent_of_many_values_names_the_options(dicom, capsys):
    words = ["mri", "concentration", dicom, "--pre", "1.4", "--agent"]
    assert "--medium" in call(capsys, *words, "gadobutrol", code=5).err
    assert "--relaxivity" in call(capsys, *words, "gd3n-c80-peg", code=5).err


def test_quantities_with_and_without_an_axis_stand_in_one_table(tmp_path, capsys):
    times = np.arange(20.0) * 5.0
    curve = np.r_[np.full(4, 100.0), 100.0 + 80.0 * np.exp(-np.arange(16) / 8.0)]
    data = np.broadcast_to(curve, (*SHAPE, times.size)).astype(np.float32)
    it.save(Volume(data, AFFINE, "signal", "[arb'U]", (Axis("time", times, "s"),), RECORD), tmp_path / "dce")
    out = call(capsys, "mri", "enhancement", tmp_path / "dce", "--baseline", "0:4", "--time-intensity").out
    assert "time 25" in out
    assert "nan" not in out


def test_the_bytes_of_a_result_do_not_depend_on_threads_nor_on_a_second_run(dicom, tmp_path, capsys):
    def maps(folder):
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}

    words = ["mri", "t1", dicom, "--no-report", "-q"]
    for workers in ("1", "2"):
        call(capsys, *words, "-o", tmp_path / workers, "--workers", workers)
    first = maps(tmp_path / "1")
    assert first == maps(tmp_path / "2")
    assert "--force" in call(capsys, *words, "-o", tmp_path / "1", code=7).err
    assert maps(tmp_path / "1") == first
    call(capsys, *words, "-o", tmp_path / "1", "--force")
    assert maps(tmp_path / "1") == first
