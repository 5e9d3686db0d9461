"""Saving: bit-exact round trips, reproducible bytes, atomic replacement, and nothing of a person."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from datetime import datetime, time, timedelta, timezone

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imgtheranostics.acquisition import (
    CtAcquisition,
    EmissionAcquisition,
    MrAcquisition,
    NuclearAcquisition,
    OtherAcquisition,
    PhotoacousticAcquisition,
    Radiopharmaceutical,
    Subject,
    UltrasoundAcquisition,
)
from imgtheranostics.errors import Caution, NothingUsable, OutputError, UnsupportedInput
from imgtheranostics.io import saving
from imgtheranostics.io.acquisition_record import from_record, to_record
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.io.nifti import load_nifti
from imgtheranostics.io.saving import convert, safe_name, save
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Axis, Estimate, Flag, Source, Volume

AFFINE = np.array(
    [[0.0, -2.0, 0.1, 10.123456], [1.5, 0, 0, -20.654321], [0, 0.1, 3.0, 812.345678], [0, 0, 0, 1]]
)


def volume(quantity="signal", unit="[arb'U]", shape=(4, 5, 6), **more):
    rng = np.random.default_rng(7)
    dtype = QUANTITIES[quantity].dtype
    data = rng.normal(size=shape) if dtype == "float32" else rng.integers(0, 4, shape)
    return Volume(data.astype(dtype), AFFINE, quantity, unit, **more)


def bits(array):
    return array.ravel(order="F").tobytes()


@given(
    data=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 10.0)] * 3),
    origin=st.tuples(*[st.floats(-1000.0, 1000.0)] * 3),
    shear=st.floats(-0.3, 0.3),
    compressed=st.booleans(),
)
def test_any_float_volume_returns_bit_for_bit(
    tmp_path_factory, data, angles, spacing, origin, shear, compressed
):
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) * np.array(spacing)
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 3] = origin
    before = Volume(data, affine, "suv_bw", "g/mL")
    path = tmp_path_factory.getbasetemp() / ("trip.nii.gz" if compressed else "trip.nii")
    save(before, path, force=True)
    after = load_nifti([path])[0]
    assert bits(after.data) == bits(before.data)
    assert (after.quantity, after.unit) == ("suv_bw", "g/mL")
    corners = before.grid.corners_mm() - after.grid.corners_mm()
    assert np.abs(corners).max() <= 1e-4
    assert before.grid.same_as(after.grid)
    assert not [one for one in after.warnings if one.code != "not-finite-voxels"]


@pytest.mark.parametrize("quantity", [name for name, record in QUANTITIES.items() if record.unit])
def test_every_quantity_keeps_its_unit_and_type(tmp_path, quantity):
    before = volume(quantity, QUANTITIES[quantity].unit)
    save(before, tmp_path / "a.nii.gz")
    after = load_nifti([tmp_path / "a.nii.gz"])[0]
    assert (after.quantity, after.unit, after.data.dtype) == (before.quantity, before.unit, before.data.dtype)
    assert bits(after.data) == bits(before.data)
    assert after.warnings == ()


def test_axes_history_and_warnings_return(tmp_path):
    axes = (
        Axis("time", [0.5, 2.0, 7.25], "s"),
        Axis("saturation_offset", [np.nan, -3.5, 0.1, 1 / 3], "ppm"),
    )
    before = volume(shape=(4, 5, 6, 3, 4), axes=axes)
    before = before.with_step("smooth", fwhm_mm=1.5, kernel=[1, 2]).with_warnings(
        Caution("a-b", "A message.", "k")
    )
    save(before, tmp_path / "a.nii")
    after = load_nifti([tmp_path / "a.nii"])[0]
    assert all(mine.same_as(theirs) for mine, theirs in zip(before.axes, after.axes, strict=True))
    assert after.history[0].name == "smooth"
    assert dict(after.history[0].parameters) == {"fwhm_mm": 1.5, "kernel": [1, 2]}
    assert after.warnings == before.warnings
    assert bits(after.data) == bits(before.data)


@pytest.mark.parametrize("length", [1, 2])
def test_axis_of_length_one_returns(tmp_path, length):
    before = volume(shape=(4, 5, 6, length), axes=(Axis("wavelength", np.linspace(700, 800, length), "nm"),))
    save(before, tmp_path / "a.nii.gz")
    after = load_nifti([tmp_path / "a.nii.gz"])[0]
    assert after.shape == before.shape
    assert after.axes[0].same_as(before.axes[0])


def test_estimate_becomes_three_images(tmp_path):
    value = volume("suv_bw", "g/mL")
    flags = Volume((value.data > 0).astype(np.uint16) * Flag.SATURATED.value, AFFINE, "flags", "1")
    written = save(Estimate(value, value, flags), tmp_path / "suv_bw.nii.gz")
    assert [path.name for path in written] == [
        "suv_bw.nii.gz",
        "suv_bw.json",
        "suv_bw_se.nii.gz",
        "suv_bw_se.json",
        "suv_bw_flags.nii.gz",
        "suv_bw_flags.json",
    ]
    loaded = load_nifti([tmp_path / "suv_bw_flags.nii.gz"])[0]
    assert loaded.data.dtype == np.uint16
    assert bits(loaded.data) == bits(flags.data)
    assert json.loads((tmp_path / "suv_bw_flags.json").read_text())["FlagMeanings"]["2048"] == "saturated"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_same_volume_gives_the_same_bytes(tmp_path, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save(volume().with_step("x", b=2, a=1), tmp_path / folder / name)
        os.utime(tmp_path / folder / name, (1, 1))
    for file in (name, "a.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_gzip_header_has_neither_time_nor_name(tmp_path):
    save(volume(), tmp_path / "secret-name.nii.gz")
    start = (tmp_path / "secret-name.nii.gz").read_bytes()[:10]
    assert start[:3] == b"\x1f\x8b\x08"
    assert start[3] == 0
    assert start[4:8] == bytes(4)


def test_nibabel_reads_values_geometry_and_codes(tmp_path):
    before = volume(shape=(4, 5, 6, 3), axes=(Axis("time", [0, 2, 4], "s"),))
    save(before, tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), before.data)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header["pixdim"][4] == 2.0
    assert int(image.header["sform_code"]) == 1


@pytest.mark.parametrize("times", [[0, 1e308, -1e308], [0, 1, 5], [3, 2, 1], [np.nan, 1, 2], [0, 0, 0]])
def test_uneven_or_impossible_times_stand_only_in_the_sidecar(tmp_path, times):
    before = volume(shape=(4, 5, 6, 3), axes=(Axis("time", times, "s"),))
    save(before, tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header["pixdim"][4] == 0
    assert load_nifti([tmp_path / "a.nii"])[0].axes[0].same_as(before.axes[0])


@pytest.mark.parametrize(("shear", "code"), [(0.0, 1), (0.2, 0)])
def test_qform_is_set_where_a_rotation_can_say_it(tmp_path, shear, code):
    affine = np.diag([2.0, 3, 4, 1])
    affine[0, 2] = shear
    save(Volume(np.zeros((3, 3, 3)), affine, "signal", "[arb'U]"), tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    assert int(image.header["qform_code"]) == code
    if code:
        np.testing.assert_allclose(image.get_qform(), affine, atol=1e-5)
    assert load_nifti([tmp_path / "a.nii"])[0].warnings == ()


def test_extent_beyond_nifti1_is_written_as_nifti2(tmp_path):
    save(Volume(np.zeros((40000, 1, 1)), np.eye(4), "signal", "[arb'U]"), tmp_path / "a.nii")
    assert isinstance(nibabel.load(tmp_path / "a.nii"), nibabel.Nifti2Image)
    assert load_nifti([tmp_path / "a.nii"])[0].shape == (40000, 1, 1)


def test_far_origin_is_written_with_double_precision(tmp_path):
    """Single precision holds 123456.789 mm only to 0.004 mm."""
    affine = np.eye(4)
    affine[0, 3] = 123456.789
    save(Volume(np.zeros((2, 2, 2)), affine, "signal", "[arb'U]"), tmp_path / "a.nii")
    assert abs(load_nifti([tmp_path / "a.nii"])[0].affine[0, 3] - 123456.789) < 1e-4


def test_wavelengths_do_not_pretend_to_be_time(tmp_path):
    """msot.md section 5.4: intent_name MSOT, pixdim[4] 0, no time unit."""
    before = volume("optoacoustic_signal", shape=(4, 5, 6, 2), axes=(Axis("wavelength", [700, 800], "nm"),))
    save(before, tmp_path / "a_pa.nii.gz")
    header = nibabel.load(tmp_path / "a_pa.nii.gz").header
    assert header["intent_name"].item() == b"MSOT"
    assert header["pixdim"][4] == 0
    assert header.get_xyzt_units()[1] == "unknown"


def test_existing_file_needs_force(tmp_path):
    save(volume(), tmp_path / "a.nii.gz")
    old = (tmp_path / "a.nii.gz").read_bytes()
    with pytest.raises(OutputError, match="exists") as caught:
        save(volume("suv_bw", "g/mL", shape=(2, 2, 2)), tmp_path / "a.nii.gz")
    assert caught.value.exit_code == 7
    assert (tmp_path / "a.nii.gz").read_bytes() == old
    save(volume("suv_bw", "g/mL", shape=(2, 2, 2)), tmp_path / "a.nii.gz", force=True)
    assert load_nifti([tmp_path / "a.nii.gz"])[0].shape == (2, 2, 2)


def test_foreign_sidecar_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(OutputError, match="exists"):
        save(volume(), tmp_path / "a.nii.gz")
    assert not (tmp_path / "a.nii.gz").exists()


@pytest.mark.parametrize("force", [False, True])
def test_symbolic_link_is_never_written_through(tmp_path, force):
    (tmp_path / "precious.nii").write_bytes(b"old")
    (tmp_path / "a.nii").symlink_to(tmp_path / "precious.nii")
    with pytest.raises(OutputError, match="symbolic link"):
        save(volume(), tmp_path / "a.nii", force=force)
    assert (tmp_path / "precious.nii").read_bytes() == b"old"


@pytest.mark.parametrize("path", ["absent/a.nii.gz", "folder.nii"])
def test_place_that_cannot_be_written_is_refused(tmp_path, path):
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(OutputError):
        save(volume(), tmp_path / path)


def test_full_disk_leaves_the_old_result(tmp_path):
    """inputs.md bar 5, by RLIMIT_FSIZE in a child: no write beyond 20 kB."""
    save(volume(shape=(4, 5, 6)), tmp_path / "a.nii")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from imgtheranostics.errors import OutputError\n"
        "from imgtheranostics.io.saving import save\n"
        "from imgtheranostics.volume import Volume\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "big = Volume(np.ones((50, 50, 50)), np.eye(4), 'signal', \"[arb'U]\")\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try:\n    save(big, sys.argv[1], force=True)\n"
        "except OutputError as error:\n    print(error.exit_code)\n"
    )
    path = str(tmp_path / "a.nii")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_failure_while_writing_leaves_the_old_result(tmp_path, monkeypatch):
    save(volume(), tmp_path / "a.nii.gz")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        save(volume(shape=(3, 3, 3)), tmp_path / "a.nii.gz", force=True)
    assert "space" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_image_and_sidecar_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    """A new image beside an old sidecar would have the wrong unit."""
    save(volume(), tmp_path / "a.nii.gz")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = []

    def fail_at_the_second(handle):
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_at_the_second)
    with pytest.raises(OutputError):
        save(volume("suv_bw", "g/mL"), tmp_path / "a.nii.gz", force=True)
    assert len(calls) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_writing_takes_little_memory_beyond_the_volume(tmp_path):
    script = (
        "import sys, numpy as np, nibabel\n"
        "def peak():\n"
        "    with open('/proc/self/status') as status:\n"
        "        return int(status.read().split('VmHWM:')[1].split()[0])\n"
        "from imgtheranostics.io.saving import save\n"
        "from imgtheranostics.volume import Volume\n"
        "data = np.zeros((256, 256, 200), dtype=np.float32, order='F')\n"
        "data += 1\n"
        "big = Volume(data, np.eye(4), 'signal', \"[arb'U]\")\n"
        "save(Volume(data[:2, :2, :2], np.eye(4), 'signal', \"[arb'U]\"), sys.argv[1] + 'warm.nii.gz')\n"
        "before = peak()\n"
        "save(big, sys.argv[1] + 'big.nii')\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{tmp_path}/"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000


CANARY = "Zq7Canary"


def planted():
    """A volume whose source carries what must never be written."""
    source = Source(
        files=(),
        subject="sub-00000000",
        identifiers={"PatientID": f"{CANARY}Id", "StudyDate": "19991231", "path": f"/home/{CANARY}/scan"},
    )
    moment = datetime(1999, 12, 31, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    acquisition = EmissionAcquisition(
        series_datetime=moment,
        acquisition_datetime=np.full((6, 1), np.datetime64("1999-12-31T10:31:00", "us")),
        radiopharmaceutical=Radiopharmaceutical(start_datetime=moment, nuclide="F-18"),
    )
    return volume("activity_concentration", "Bq/mL", acquisition=acquisition, source=source)


def test_nothing_that_identifies_is_written(tmp_path):
    written = save(planted(), tmp_path / "a.nii.gz")
    for path in written:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for text in (CANARY, "1999-12-31", "19991231", "10:30"):
            for form in (
                text.encode(),
                text.encode("utf-16-le"),
                text.encode("utf-16-be"),
                base64.b64encode(text.encode()),
            ):
                assert form not in content


def test_text_fields_of_the_source_image_are_not_carried_over(tmp_path):
    made = nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.float32), np.eye(4))
    made.header["descrip"], made.header["aux_file"] = CANARY, CANARY
    made.header["db_name"], made.header["intent_name"] = CANARY, CANARY
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    nibabel.save(made, tmp_path / "in.nii")
    (tmp_path / "in.json").write_text(
        json.dumps({"PatientName": CANARY, "Modality": "CT", "SeriesDescription": CANARY})
    )
    save(load_nifti([tmp_path / "in.nii"])[0], tmp_path / "out.nii")
    for name in ("out.nii", "out.json"):
        assert CANARY.encode() not in (tmp_path / name).read_bytes()


def records():
    moment = datetime(2021, 3, 4, 12, 30, 15, 250000)
    aware = moment.replace(tzinfo=timezone.utc)  # noqa: UP017
    times = np.array([["2021-03-04T12:31:00", "2021-03-04T12:41:00.5"]] * 3, dtype="datetime64[us]")
    times[1, 1] = np.datetime64("NaT")
    return [
        EmissionAcquisition(
            units="BQML",
            decay_correction="START",
            corrections=("DECY", "ATTN"),
            series_datetime=moment,
            acquisition_datetime=times,
            frame_duration_s=np.array([[60.0, np.nan]] * 3),
            decay_factor=np.arange(6.0).reshape(3, 2),
            injection_to_first_frame_s=3600.5,
            radiopharmaceutical=Radiopharmaceutical(
                nuclide="Cu-64",
                half_life_s=45721.0,
                total_dose=1e7,
                start_datetime=moment - timedelta(hours=20),
            ),
            subject=Subject(weight_kg=0.02, sex="F", species="mouse"),
            n_images=6,
        ),
        EmissionAcquisition(series_datetime=aware, acquisition_datetime=times),
        MrAcquisition(
            field_strength_t=7.0,
            echo_time_s=0.002,
            scanning_sequence=("GR", "IR"),
            saturation={"m0_index": (0, 3), "recorded_offsets": (None, 3.5), "pulse_shape": "gauss"},
            repetition_times_s=(1.0, 2.5),
        ),
        CtAcquisition(tube_voltage_kv=80.0, padding_voxels=4, acquisition_datetime=moment),
        NuclearAcquisition(energy_windows_kev=((126.0, 154.0), (100.0, 120.0)), series_datetime=moment),
        UltrasoundAcquisition(regions=({"a": 1, "b": (1, 2)},), mechanical_index=0.1),
        PhotoacousticAcquisition(wavelength_nm=(700.0, 800.0), energy_corrected=False),
        OtherAcquisition(),
    ]


TEXTS = {
    "manufacturer": CANARY,
    "model": CANARY,
}


@pytest.mark.parametrize(
    "acquisition",
    [
        EmissionAcquisition(
            **TEXTS,
            units=CANARY,
            corrections=(CANARY,),
            radiopharmaceutical=Radiopharmaceutical(name=CANARY, nuclide=CANARY),
            subject=Subject(weight_kg=70.0, sex=CANARY, species=CANARY),
        ),
        MrAcquisition(
            **TEXTS, sequence=CANARY, nucleus=CANARY, saturation={"pulse_shape": CANARY, "b1_rms_ut": 2.0}
        ),
        CtAcquisition(
            **TEXTS,
            kernel=CANARY,
            contrast_agent=CANARY,
            contrast_material=CANARY,
            filtration=CANARY,
            filter_material=CANARY,
            filter_materials=(CANARY, "TIN"),
            rescale_type=CANARY,
        ),
        UltrasoundAcquisition(**TEXTS, photometric=CANARY),
        PhotoacousticAcquisition(**TEXTS, image_type=CANARY),
        OtherAcquisition(**TEXTS),
    ],
    ids=lambda record: type(record).__name__,
)
def test_free_text_of_the_acquisition_is_not_written(tmp_path, acquisition):
    save(volume(acquisition=acquisition), tmp_path / "a.nii.gz")
    assert CANARY not in (tmp_path / "a.json").read_text()
    assert load_nifti([tmp_path / "a.nii.gz"])[0].acquisition.modality == acquisition.modality


@pytest.mark.parametrize(
    ("field", "text", "kept"),
    [
        ("manufacturer", "SIEMENS", "Siemens"),
        ("manufacturer", "GE MEDICAL SYSTEMS", "GE"),
        ("manufacturer", "Sergeant", None),
        ("units", "BQML", "BQML"),
        ("nuclide", "Tc-99m", "Tc-99m"),
        ("nuclide", "68Ga", "68Ga"),
        ("decay_reference", "scan_start", "scan_start"),
        ("decay_reference", "-3600.5", "-3600.5"),
        ("species", "Mus musculus", "Mus musculus"),
        ("pulse_shape", "gauss", "gauss"),
        ("image_type", "p0", "p0"),
        ("units", "Jane Doe", None),
        ("model", "Biograph 64", None),
        ("kernel", "B30f", "B30f"),
        ("kernel", "Br40d\\3", "Br40d\\3"),
        ("kernel", "STANDARD", "STANDARD"),
        ("kernel", "Jane Doe", None),
        ("filtration", "WEDGE_1", "WEDGE_1"),
        ("filtration", "BODY FILTER", "BODY FILTER"),
        ("filtration", "DOE FILTER", None),
        ("filter_material", "ALUMINUM\\COPPER", "ALUMINUM\\COPPER"),
        ("filter_material", "ALUMINUM\\DOE", None),
        ("contrast_material", "IODINE", "IODINE"),
        ("contrast_material", "DOE", None),
        ("spatial_format", "2d", "2d"),
        ("x_unit", "cm", "cm"),
        ("y_unit", "dB/s", "dB/s"),
        ("y_unit", "doe", None),
    ],
)
def test_only_words_of_the_vocabulary_are_written(field, text, kept):
    assert harmless_text(field, text) == kept


@pytest.mark.parametrize("record", records(), ids=lambda record: type(record).__name__)
def test_acquisition_record_returns_through_json(record):
    content = json.loads(json.dumps(to_record(record), allow_nan=False))
    again = from_record(content)
    assert type(again) is type(record)
    assert json.loads(json.dumps(to_record(again))) == content


def test_moments_keep_their_distances_and_lose_their_date():
    record = records()[0]
    again = from_record(json.loads(json.dumps(to_record(record))))
    assert "2021" not in json.dumps(to_record(record))
    tracer = again.radiopharmaceutical
    assert again.series_datetime - tracer.start_datetime == timedelta(hours=20)
    gaps = again.acquisition_datetime - np.datetime64(again.series_datetime, "us")
    expected = record.acquisition_datetime - np.datetime64(record.series_datetime, "us")
    np.testing.assert_array_equal(gaps, expected)
    np.testing.assert_array_equal(again.frame_duration_s, record.frame_duration_s)


@pytest.mark.parametrize(("injected", "elapsed"), [(time(11, 0), 5460.0), (time(23, 50), 45660.0)])
def test_clock_time_without_a_date_keeps_its_distance_round_the_day(injected, elapsed):
    """Injection 11:00 or 23:50 the evening before, first acquisition 12:31:00."""
    times = np.array([["2021-03-04T12:31:00"]], dtype="datetime64[us]")
    record = EmissionAcquisition(
        acquisition_datetime=times, radiopharmaceutical=Radiopharmaceutical(start_time=injected)
    )
    again = from_record(json.loads(json.dumps(to_record(record))))
    first = again.acquisition_datetime[0, 0].astype(datetime)
    clock = again.radiopharmaceutical.start_time
    seconds = (
        (first.hour - clock.hour) * 3600 + (first.minute - clock.minute) * 60 + first.second - clock.second
    )
    assert seconds % 86400 == pytest.approx(elapsed)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a b/c", "a_b_c"),
        (".hidden", "hidden"),
        ("", "image"),
        ("T1-w_2.5", "T1-w_2.5"),
    ],
)
def test_names_are_made_safe(text, safe):
    assert safe_name(text) == safe


@pytest.fixture
def loaded(monkeypatch):
    """Stands in for the loader of folders, which is tested on its own."""
    module = type(sys)("imgtheranostics.io.loading")
    volumes = [planted(), volume()]
    module.load_all = lambda path: list(volumes)
    module.load = lambda path, series=None: volumes[int(series) - 1]
    monkeypatch.setitem(sys.modules, "imgtheranostics.io.loading", module)
    return volumes


def test_convert_names_files_by_number_modality_and_quantity(tmp_path, loaded):
    written = convert(tmp_path, tmp_path / "out")
    assert [path.name for path in written] == [
        "01_PT_activity_concentration.nii.gz",
        "01_PT_activity_concentration.json",
        "02_image_signal.nii.gz",
        "02_image_signal.json",
    ]
    assert all(path.is_file() for path in written)


def test_convert_of_several_series_into_one_file_is_refused(tmp_path, loaded):
    with pytest.raises(NothingUsable, match="2 series"):
        convert(tmp_path, tmp_path / "a.nii.gz")


def test_convert_of_one_chosen_series(tmp_path, loaded):
    written = convert(tmp_path, tmp_path / "a.nii.gz", series=2)
    assert load_nifti([written[0]])[0].quantity == "signal"


def test_identifiers_are_written_only_when_asked_for(tmp_path, loaded):
    plain = convert(tmp_path, tmp_path / "a.nii.gz", series=1)
    kept = convert(tmp_path, tmp_path / "b.nii.gz", series=1, keep_identifiers=True)
    assert CANARY not in plain[1].read_text()
    assert json.loads(kept[1].read_text())["Identifiers"]["PatientID"] == f"{CANARY}Id"


def test_unknown_format_is_refused(tmp_path, loaded):
    with pytest.raises(UnsupportedInput, match="format"):
        convert(tmp_path, tmp_path / "out", fmt="minc")
    with pytest.raises(UnsupportedInput, match="folder"):
        convert(tmp_path, tmp_path / "a.nii", fmt="dicom", series=1)


def test_failed_conversion_leaves_nothing(tmp_path, loaded, monkeypatch):
    calls = []

    def fail(made, stream, *, compressed):
        calls.append(compressed)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_nifti", fail)
    with pytest.raises(OutputError):
        convert(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
