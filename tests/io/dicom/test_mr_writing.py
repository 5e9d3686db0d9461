"""MR series, classic and enhanced, that other readers take and that keep every parameter of relaxometry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition, Subject
from imgtheranostics.errors import GeometryMismatch, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Source, Volume

SHAPE = (7, 6, 4)
AFFINE = np.array([[-0.5, 0, 0, 11.5], [0, -0.75, 0, 7.25], [0, 0, 1.0, -20.125], [0, 0, 0, 1]])
PHANTOM = Labels("PHANTOM^TEST", "PHANTOM-test", "vials", phantom=True)
KINDS = pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])

ECHO = Axis("echo_time", [0.0046, 0.0092, 0.0138], "s")
FLIP = Axis("flip_angle", [2, 5, 10, 15, 20], "deg")
INVERSION = Axis("inversion_time", [0.05, 0.4, 1.2, 3.0], "s")
REPETITION = Axis("repetition_time", [0.1, 0.5, 2.5], "s")
TIME = Axis("time", [0, 15.5, 31.25], "s")


def image(axes=(), data=None, affine=AFFINE, **changes) -> Volume:
    record = replace(
        MrAcquisition(
            manufacturer="Bruker",
            model="One",
            field_strength_t=7.0,
            imaging_frequency_mhz=300.3,
            nucleus="1H",
            repetition_time_s=0.02,
            echo_time_s=0.0031,
            flip_angle_deg=12.0,
            acquisition_datetime=datetime(2026, 1, 6, 8, 30),
        ),
        **changes,
    )
    shape = SHAPE + tuple(len(axis) for axis in axes)
    if data is None:
        # Slices and samples of very different size, so that one slope for all would lose most of some.
        data = np.random.default_rng(5).uniform(0.2, 1, shape) * 10.0 ** np.arange(SHAPE[2]).reshape(
            (1, 1, -1) + (1,) * len(axes)
        )
    source = Source(subject="sub-1234abcd")
    return Volume(data, affine, "signal", "[arb'U]", axes=axes, acquisition=record, source=source)


def headers(files):
    return [pydicom.dcmread(path) for path in files]


@KINDS
@pytest.mark.parametrize(
    "axes",
    [
        (),
        (ECHO,),
        (FLIP,),
        (INVERSION,),
        (REPETITION,),
        (TIME,),
        (ECHO, FLIP),
        (FLIP, REPETITION),
        (ECHO, TIME),
        (FLIP, TIME),
        (ECHO, FLIP, TIME),
    ],
    ids=lambda axes: "+".join(axis.name for axis in axes) or "none",
)
def test_axes_and_values_survive_within_sixteen_bits_of_each_slice(tmp_path, enhanced, axes):
    volume = image(axes)
    write_dicom(volume, tmp_path / "out", enhanced=enhanced)
    back = it.load(tmp_path / "out")
    assert [axis.name for axis in back.axes] == [axis.name for axis in axes]
    for mine, theirs in zip(axes, back.axes, strict=True):
        assert mine.unit == theirs.unit
        assert_allclose(theirs.values, mine.values, rtol=1e-12)
    assert back.grid.same_as(volume.grid)
    spread = np.ptp(volume.data, axis=(0, 1), keepdims=True)
    assert (np.abs(back.data - volume.data) <= spread * 2.0**-15).all()


@KINDS
def test_record_of_a_phantom_survives(tmp_path, enhanced):
    volume = image((INVERSION,), subject=Subject(weight_kg=0.02, species="mouse"))
    write_dicom(volume, tmp_path / "out", labels=PHANTOM, enhanced=enhanced)
    back = it.load(tmp_path / "out").acquisition
    for field in (
        "manufacturer",
        "model",
        "repetition_time_s",
        "echo_time_s",
        "flip_angle_deg",
        "acquisition_datetime",
        *(() if enhanced else ("imaging_frequency_mhz", "nucleus")),
        "field_strength_t",
    ):
        assert getattr(back, field) == getattr(volume.acquisition, field), field
    assert back.inversion_time_s is None
    assert back.subject.weight_kg == 0.02


@KINDS
@pytest.mark.parametrize("stated", [("SE",), ("GR",)])
def test_spin_and_gradient_echoes_are_told_apart_again(tmp_path, enhanced, stated):
    """Enhanced images have no Scanning Sequence but an Echo Pulse Sequence (0018,9008): PS3.3 C.8.13.4."""
    volume = image((Axis("echo_time", np.array([0.004, 0.008, 0.012]), "s"),), scanning_sequence=stated)
    volume = volume.replace(acquisition=replace(volume.acquisition, echo_time_s=None))
    write_dicom(volume, tmp_path / "out", enhanced=enhanced)
    assert it.load(tmp_path / "out").acquisition.scanning_sequence == stated


@KINDS
def test_repetition_times_that_follow_the_inversion_times_survive(tmp_path, enhanced):
    """Some scanners keep the recovery time constant: the repetition time then varies with the inversion."""
    times = (1.05, 1.4, 2.2, 4.0)
    volume = image((INVERSION,), repetition_time_s=None, sample_parameters={"repetition_time": times})
    write_dicom(volume, tmp_path / "out", enhanced=enhanced)
    back = it.load(tmp_path / "out")
    assert [axis.name for axis in back.axes] == ["inversion_time"]
    assert back.acquisition.sample_parameters["repetition_time"] == pytest.approx(times, rel=1e-12)


def test_repetition_times_of_a_bids_record_are_written_too(tmp_path):
    volume = image((INVERSION,), repetition_time_s=None, repetition_times_s=(1.0, 1.5, 2.5, 4.5))
    datasets = headers(write_dicom(volume, tmp_path / "out"))
    pairs = {(float(d.InversionTime), float(d.RepetitionTime)) for d in datasets}
    assert pairs == {(50, 1000), (400, 1500), (1200, 2500), (3000, 4500)}


def test_times_are_written_in_milliseconds_without_digits_of_rounding(tmp_path):
    datasets = headers(write_dicom(image((ECHO,)), tmp_path / "out"))
    assert sorted({str(d.EchoTime) for d in datasets}) == ["13.8", "4.6", "9.2"]
    assert sorted({int(d.EchoNumbers) for d in datasets}) == [1, 2, 3]
    assert {str(d.RepetitionTime) for d in datasets} == {"20.0"}


def test_time_series_state_clock_and_temporal_position(tmp_path):
    datasets = headers(write_dicom(image((TIME,)), tmp_path / "out", labels=PHANTOM))
    seen = {(int(d.TemporalPositionIdentifier), d.AcquisitionDate, d.AcquisitionTime) for d in datasets}
    assert seen == {
        (1, "20260106", "083000.000000"),
        (2, "20260106", "083015.500000"),
        (3, "20260106", "083031.250000"),
    }
    assert {int(d.NumberOfTemporalPositions) for d in datasets} == {3}


def test_a_series_across_midnight_keeps_its_order(tmp_path):
    volume = image((TIME,), acquisition_datetime=datetime(2026, 1, 6, 23, 59, 50))
    write_dicom(volume, tmp_path / "out", keep_dates=True)
    assert_allclose(it.load(tmp_path / "out").axes[0].values, TIME.values)


@KINDS
@settings(max_examples=10)
@given(data=arrays(np.float32, (3, 4, 3, 2), elements=st.floats(-(2.0**40), 2.0**40, width=32)))
def test_any_finite_values_survive_within_the_stated_step(tmp_path_factory, enhanced, data):
    axis = Axis("flip_angle", [5, 15], "deg")
    folder = tmp_path_factory.mktemp("any") / "out"
    write_dicom(image((axis,), data=data), folder, enhanced=enhanced)
    back = it.load(folder)
    spread = np.ptp(data.astype(np.float64), axis=(0, 1))
    largest = np.abs(data).max(axis=(0, 1))
    limit = spread * 2.0**-16 + 1e-6 * largest + 1e-30
    assert (np.abs(back.data - data.astype(np.float64)).max(axis=(0, 1)) <= limit).all()


@settings(max_examples=10)
@given(angles=st.tuples(*[st.floats(-3.0, 3.0)] * 3), enhanced=st.booleans())
def test_any_orientation_survives(tmp_path_factory, rotation, angles, enhanced):
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ np.diag([0.2, 0.3, 0.9])
    affine[:3, 3] = (12.5, -7.25, 100.125)
    data = np.random.default_rng(1).uniform(0, 1, (3, 4, 3))
    folder = tmp_path_factory.mktemp("any") / "out"
    write_dicom(image(data=data, affine=affine), folder, enhanced=enhanced)
    back = it.load(folder)
    match = it.Grid((3, 4, 3), affine).axis_match(back.grid, 1e-3)
    assert match is not None
    assert_allclose(back.reordered(match).data, data, atol=2.0**-16)


@KINDS
def test_missing_voxels_stay_missing(tmp_path, enhanced):
    data = np.random.default_rng(5).uniform(0, 1, SHAPE)
    data[0] = 0.0
    data[1, 2] = np.nan
    write_dicom(image(data=data), tmp_path / "out", enhanced=enhanced)
    back = it.load(tmp_path / "out").data
    assert_array_equal(np.isnan(back), np.isnan(data))
    assert (back[0] == 0).all()
    assert_allclose(back, data, atol=2.0**-16)


def test_uniform_slope_reads_the_same_in_simpleitk(tmp_path, read_sitk):
    volume = image(data=np.random.default_rng(1).uniform(0, 5000, SHAPE))
    write_dicom(volume, tmp_path / "out", slopes="uniform")
    other = read_sitk(tmp_path / "out", "signal", "[arb'U]")
    assert volume.grid.same_as(other.grid, 1e-4)
    assert_allclose(other.data, volume.data, atol=5000 * 2.0**-16)
    assert_allclose(other.data, it.load(tmp_path / "out").data, rtol=1e-6)


@pytest.mark.parametrize("axes", [(), (ECHO,)], ids=["one", "echoes"])
def test_dcm2niix_reads_the_same_with_a_slope_per_slice(tmp_path, dcm2niix, axes):
    volume = image(axes)
    write_dicom(volume, tmp_path / "out", labels=PHANTOM)
    paths = dcm2niix(tmp_path / "out")
    assert len(paths) == max(1, len(axes) and len(axes[0]))
    for sample, path in enumerate(paths):
        mine = volume if not axes else volume.frame(sample)
        other = Volume.from_nibabel(nibabel.load(path), "signal", "[arb'U]")
        match = mine.grid.axis_match(other.grid, 1e-3)
        assert match is not None
        assert_allclose(other.reordered(match).data, mine.data, atol=mine.data.max() * 2.0**-15)


def test_highdicom_reads_the_geometry_of_the_enhanced_object(tmp_path):
    import highdicom as hd

    volume = image(data=np.random.default_rng(1).uniform(0, 5000, SHAPE))
    (path,) = write_dicom(volume, tmp_path / "out", enhanced=True)
    found = hd.image.imread(path).get_volume()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    corner = lps @ found.affine @ [0, 0, 0, 1]
    assert any(np.allclose(corner[:3], one, atol=1e-4) for one in volume.grid.corners_mm())
    assert sorted(found.spacing) == pytest.approx(sorted(volume.grid.spacing_mm))
    assert sorted(found.array.ravel()) == pytest.approx(sorted(volume.data.ravel()), abs=5000 * 2.0**-16)


def test_enhanced_dimensions_count_the_axes(tmp_path):
    (path,) = write_dicom(image((ECHO, FLIP)), tmp_path / "out", enhanced=True)
    dataset = pydicom.dcmread(path)
    pointers = [hex(int(one.DimensionIndexPointer)) for one in dataset.DimensionIndexSequence]
    # PS3.6: EffectiveEchoTime, FlipAngle, StackID, InStackPositionNumber.
    assert pointers == ["0x189082", "0x181314", "0x209056", "0x209057"]
    frames = dataset.PerFrameFunctionalGroupsSequence
    indices = {tuple(one.FrameContentSequence[0].DimensionIndexValues) for one in frames}
    assert len(indices) == dataset.NumberOfFrames == 3 * 5 * SHAPE[2]
    for one in frames:
        echo, flip, _, _ = one.FrameContentSequence[0].DimensionIndexValues
        assert one.MREchoSequence[0].EffectiveEchoTime == pytest.approx(4.6 * echo)
        timing = one.MRTimingAndRelatedParametersSequence[0]
        assert float(timing.FlipAngle) == FLIP.values[flip - 1]


@pytest.mark.parametrize(
    ("stated", "inversion_s", "written"),
    [((), None, "RM"), (("SE",), None, "SE"), (("SE",), 0.0, "SE"), (("GR",), 0.9, ["GR", "IR"])],
)
def test_inversion_time_stands_only_beside_an_inversion(tmp_path, stated, inversion_s, written):
    """PS3.3 C.8.3.1: InversionTime only where ScanningSequence has IR; some scanners write 0 for none."""
    volume = image(scanning_sequence=stated, inversion_time_s=inversion_s)
    dataset = headers(write_dicom(volume, tmp_path / "out"))[0]
    assert dataset.ScanningSequence == written
    assert ("InversionTime" in dataset) == bool(inversion_s)


def test_a_sex_that_is_no_code_is_left_out(tmp_path):
    dataset = headers(write_dicom(image(subject=Subject(sex="0")), tmp_path / "out"))[0]
    assert dataset.PatientSex == ""


@pytest.mark.parametrize("item", ["T1/site2_20180925/plate5", "T2/site3_ge/plate4"])
@KINDS
def test_public_images_survive_being_rewritten(public_data, tmp_path, dciodvfy, enhanced, item):
    path = public_data(f"mri/nist_phantom/{item}")
    volume = it.load(path, series=1)
    files = write_dicom(volume, tmp_path / "out", enhanced=enhanced)
    back = it.load(tmp_path / "out")
    assert back.grid.same_as(volume.grid)
    assert [axis.name for axis in back.axes] == [axis.name for axis in volume.axes]
    spread = np.ptp(volume.data, axis=(0, 1))
    assert (np.abs(back.data - volume.data).max(axis=(0, 1)) <= spread * 2.0**-15).all()
    for field in ("echo_time_s", "repetition_time_s", "flip_angle_deg", "inversion_time_s"):
        assert getattr(back.acquisition, field) == getattr(volume.acquisition, field)
    assert "Error" not in dciodvfy(files[0])


def test_philips_series_keep_the_precise_values(tmp_path):
    volume = image((ECHO,), manufacturer="Philips", value_scale="philips_floating_point")
    write_dicom(volume, tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert back.acquisition.value_scale == "philips_floating_point"
    assert "philips-display-values" not in [one.code for one in back.warnings]
    limit = np.ptp(volume.data, axis=(0, 1)) * 2.0**-15 + 1e-6 * volume.data.max(axis=(0, 1))
    assert (np.abs(back.data - volume.data).max(axis=(0, 1)) <= limit).all()


def test_free_text_and_dates_of_a_person_are_not_written(tmp_path):
    canary = "CanaryDoe"
    volume = image(model=canary, sequence=canary, scanning_sequence=("GR", canary))
    for enhanced in (False, True):
        files = write_dicom(volume, tmp_path / str(enhanced), enhanced=enhanced)
        written = b"".join(path.read_bytes() for path in files)
        assert canary.encode() not in written
        assert b"20260106" not in written
        assert headers(files)[0].PatientID == "sub-1234abcd"


@KINDS
def test_the_same_volume_gives_the_same_bytes(tmp_path, enhanced):
    one = write_dicom(image((ECHO,)), tmp_path / "a", enhanced=enhanced)
    two = write_dicom(image((ECHO,)), tmp_path / "b", enhanced=enhanced)
    other = write_dicom(image((ECHO,), flip_angle_deg=3.0), tmp_path / "c", enhanced=enhanced)
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in two]
    assert headers(one)[0].SeriesInstanceUID != headers(other)[0].SeriesInstanceUID


OFFSETS = Axis("saturation_offset", [-3.5, 3.5], "ppm")


@KINDS
@pytest.mark.parametrize(
    ("volume", "kind", "said"),
    [
        (lambda: image((OFFSETS,)), UnsupportedInput, "NIfTI"),
        (lambda: image((ECHO, FLIP, REPETITION)), UnsupportedInput, "at most two"),
        (lambda: image((Axis("time", [10, 20], "s"),)), UnsupportedInput, "first is 0"),
        (lambda: image((Axis("time", [0, 20, 10], "s"),)), UnsupportedInput, "increas"),
        (lambda: image((Axis("flip_angle", [5, 5], "deg"),)), UnsupportedInput, "same flip angle"),
        (lambda: image(image_component="phase"), UnsupportedInput, "cannot hold phase"),
        (lambda: replace(image(), quantity="t1", unit="s"), UnsupportedInput, "cannot hold t1"),
        (lambda: replace(image(), quantity="phase", unit="rad"), UnsupportedInput, "cannot hold phase"),
        (
            lambda: image((ECHO,), sample_parameters={"repetition_time": (1.0, 2.0)}),
            GeometryMismatch,
            "one per sample",
        ),
    ],
)
def test_what_mr_cannot_hold_is_refused_and_nothing_is_left(tmp_path, enhanced, volume, kind, said):
    with pytest.raises(kind, match=said):
        write_dicom(volume(), tmp_path / "out", enhanced=enhanced)
    assert not (tmp_path / "out").exists()


def test_only_mr_is_written_as_an_enhanced_object(tmp_path):
    volume = Volume(np.ones(SHAPE), AFFINE, "attenuation", "[HU]")
    with pytest.raises(UnsupportedInput, match="enhanced"):
        write_dicom(volume, tmp_path / "out", enhanced=True)


@KINDS
@pytest.mark.parametrize("case", ["person", "phantom", "echoes", "inversions", "dynamic", "philips"])
def test_dciodvfy_finds_no_error(tmp_path, dciodvfy, enhanced, case):
    volume, labels = image(), None
    if case == "phantom":
        volume, labels = image((ECHO, FLIP), subject=Subject(0.02, species="mouse")), PHANTOM
    elif case == "echoes":
        volume = image((ECHO,))
    elif case == "inversions":
        volume = image((INVERSION,))
    elif case == "dynamic":
        volume = image((TIME,))
    elif case == "philips":
        volume = image(manufacturer="Philips")
    files = write_dicom(volume, tmp_path / "out", labels=labels, enhanced=enhanced)
    for path in {files[0], files[-1]}:
        report = dciodvfy(path)
        assert ("EnhancedMRImage" if enhanced else "MRImage") in report
        assert "Error" not in report, report


def test_save_writes_the_enhanced_object_on_request(tmp_path):
    (path,) = it.save(image(), tmp_path / "out", enhanced=True)
    assert pydicom.dcmread(path).SOPClassUID.name == "Enhanced MR Image Storage"
