"""MR input rules for DICOM: units of time and angle, vendors' phase and scale, enhanced objects per frame."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch


def codes(volume):
    return [caution.code for caution in volume.warnings]


def item(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def stepped(tmp_path, make_series):
    """A series of three slices at each value of one attribute."""

    def write(keyword, values, edit=None):
        for n, value in enumerate(values):

            def change(ds, k, value=value):
                setattr(ds, keyword, str(value))
                if edit is not None:
                    edit(ds)

            stored = np.full((3, 5, 6), n + 1, dtype=np.int16)
            make_series(tmp_path, "MR", stored=stored, prefix=f"{n}_", edit=change)
        return it.load(tmp_path)

    return write


@pytest.mark.parametrize(
    ("keyword", "values", "name", "unit", "expected"),
    [
        ("EchoTime", [9, 3, 6], "echo_time", "s", [0.003, 0.006, 0.009]),
        ("InversionTime", [800, 50, 400], "inversion_time", "s", [0.05, 0.4, 0.8]),
        ("RepetitionTime", [3000, 500, 1000], "repetition_time", "s", [0.5, 1.0, 3.0]),
        ("FlipAngle", [20, 5, 10], "flip_angle", "deg", [5, 10, 20]),
    ],
)
def test_milliseconds_become_seconds_and_values_stay_with_their_images(
    stepped, keyword, values, name, unit, expected
):
    volume = stepped(keyword, values)
    (axis,) = volume.axes
    assert (axis.name, axis.unit, axis.values.tolist()) == (name, unit, pytest.approx(expected))
    order = [values.index(v) + 1 for v in sorted(values)]
    assert volume.data[0, 0, 0].tolist() == order


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", [0.003, 0.006, 0.009]),
        ("EchoTime", [3000, 6000, 9000]),
        ("InversionTime", [0.05, 0.4, 0.8]),
        ("InversionTime", [50000, 400000, 800000]),
        ("RepetitionTime", [0.005, 0.01]),
        ("RepetitionTime", [500000, 1000000]),
        ("FlipAngle", [0.035, 0.17, 0.35]),
    ],
)
def test_seconds_microseconds_and_radians_are_refused(stepped, keyword, values):
    with pytest.raises(ImplausibleValue, match=keyword):
        stepped(keyword, values)


def test_small_angle_alone_is_no_radian(tmp_path, make_series):
    def edit(ds, k):
        ds.FlipAngle = "2"

    make_series(tmp_path, "MR", edit=edit)
    assert it.load(tmp_path).acquisition.flip_angle_deg == 2.0


def test_repetition_times_of_inversions_are_kept(tmp_path, make_series):
    """Some scanners lengthen the repetition time with the inversion time."""
    for n, (inversion, repetition) in enumerate([(400, 1260), (50, 1000), (800, 2460)]):

        def edit(ds, k, inversion=inversion, repetition=repetition):
            ds.InversionTime, ds.RepetitionTime = str(inversion), str(repetition)

        make_series(tmp_path, "MR", prefix=f"{n}_", edit=edit)
    record = it.load(tmp_path).acquisition
    assert record.repetition_times_s == pytest.approx((1.0, 1.26, 2.46))
    assert record.repetition_time_s is None


def phase(maker, slope, intercept, bits=12):
    def edit(ds, k):
        ds.Manufacturer, ds.ImageType = maker, ["ORIGINAL", "PRIMARY", "P", "ND"]
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
        if slope is not None:
            ds.RescaleSlope, ds.RescaleIntercept = slope, intercept

    return edit


@pytest.mark.parametrize("slope", ["2", None])
def test_siemens_phase_of_twelve_bits_is_minus_pi_to_pi(tmp_path, make_series, slope):
    stored = np.array([[[0, 2048], [4095, 1024]]] * 3, dtype=np.uint16)
    make_series(tmp_path, "MR", stored=stored, edit=phase("SIEMENS", slope, "-4096"))
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.unit) == ("phase", "rad")
    expected = np.array([[-np.pi, 0.0], [np.pi * 2047 / 2048, -np.pi / 2]])
    np.testing.assert_allclose(volume.data[:, :, 0].T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("maker", "slope", "intercept"),
    [
        ("SIEMENS", "1", "0"),
        ("Philips", "1.5", "0"),
        ("GE MEDICAL SYSTEMS", None, None),
        ("Bruker", "1", "0"),
    ],
)
def test_phase_on_an_unknown_scale_is_not_called_an_angle(tmp_path, make_series, maker, slope, intercept):
    make_series(tmp_path, "MR", edit=phase(maker, slope, intercept, bits=16))
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.unit) == ("signal", "[arb'U]")
    assert "phase-scale-unknown" in codes(volume)


def test_magnitude_and_phase_of_one_series_are_two_images(tmp_path, make_series):
    make_series(tmp_path, "MR", prefix="m")
    make_series(
        tmp_path,
        "MR",
        prefix="p",
        stored=make_series.stored(dtype="uint16"),
        edit=phase("SIEMENS", "2", "-4096"),
    )
    volumes = it.load_all(tmp_path)
    assert sorted(volume.quantity for volume in volumes) == ["phase", "signal"]
    assert sorted(str(v.acquisition.image_component) for v in volumes) == ["magnitude", "phase"]


def test_real_and_imaginary_images_of_ge_are_told_apart_by_their_private_element(tmp_path, make_series):
    for number in (2, 3):

        def edit(ds, k, number=number):
            ds.Manufacturer, ds.ImageType = "GE MEDICAL SYSTEMS", ["ORIGINAL", "PRIMARY", "OTHER"]
            ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)

        make_series(tmp_path, "MR", prefix=f"{number}_", edit=edit)
    assert sorted(str(v.acquisition.image_component) for v in it.load_all(tmp_path)) == ["imaginary", "real"]


def enhanced(make_series, path, stored, frames, maker):
    ds = make_series.new_dataset("enhanced MR")
    make_series.set_pixels(ds, stored)
    ds.Manufacturer, ds.ImageType = maker, ["ORIGINAL", "PRIMARY", "T2", "NONE"]
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[1.5, 2.0], SliceThickness=2)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = frames
    make_series.save(ds, path)
    return path


def frame(z, echo, slope, scale_slope=None) -> Dataset:
    group = item(
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
        MREchoSequence=[item(EffectiveEchoTime=echo)],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")],
    )
    if scale_slope is not None:
        inner = Dataset()
        inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", scale_slope)
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [inner])
    return group


def test_bruker_export_has_a_slope_and_an_echo_time_per_frame(tmp_path, make_series):
    """ParaVision exports enhanced objects; one slope for all frames would be wrong by up to a factor of 4."""
    cells = [(z, echo) for echo in (16.0, 8.0) for z in (0.0, 2.0, 4.0)]
    slopes = [1.0 + 0.5 * n for n in range(6)]
    stored = np.array([np.full((2, 3), 100 + n) for n in range(6)], dtype=np.int16)
    frames = [frame(z, echo, slope) for (z, echo), slope in zip(cells, slopes, strict=True)]
    volume = it.load(enhanced(make_series, tmp_path / "x.dcm", stored, frames, "Bruker BioSpin MRI GmbH"))
    assert volume.axes[0].values == pytest.approx([0.008, 0.016])
    assert volume.data[0, 0, :, 1].tolist() == [(100 + n) * slopes[n] for n in range(3)]
    assert volume.data[0, 0, :, 0].tolist() == [(100 + n) * slopes[n] for n in range(3, 6)]


def test_philips_enhanced_scale_slope_is_read_per_frame(tmp_path, make_series):
    scales = [0.5, 0.25, 0.125]
    stored = np.array([np.full((2, 3), 64)] * 3, dtype=np.int16)
    frames = [frame(2.0 * n, 8.0, 2.0, scales[n]) for n in range(3)]
    path = enhanced(make_series, tmp_path / "x.dcm", stored, frames, "Philips Medical Systems")
    volume = it.load(path)
    assert volume.acquisition.value_scale == "philips_floating_point"
    assert volume.data[0, 0].tolist() == [64 / s for s in scales]  # (stored x RS) / (RS x SS)


def test_philips_enhanced_scale_slopes_in_some_frames_only_are_refused(tmp_path, make_series):
    stored = np.array([np.full((2, 3), 64)] * 3, dtype=np.int16)
    frames = [frame(2.0 * n, 8.0, 2.0, None if n == 1 else 0.5) for n in range(3)]
    path = enhanced(make_series, tmp_path / "x.dcm", stored, frames, "Philips Medical Systems")
    with pytest.raises(UnitMismatch, match="different rules"):
        it.load(path)


def test_philips_enhanced_without_scale_slope_gives_no_precise_values(tmp_path, make_series):
    stored = np.array([np.full((2, 3), 64)] * 3, dtype=np.int16)
    frames = [frame(2.0 * n, 8.0, 2.0) for n in range(3)]
    path = enhanced(make_series, tmp_path / "x.dcm", stored, frames, "Philips Medical Systems")
    with pytest.raises(MissingMetadata, match="2005,100E"):
        it.load(path, mr_scaling="floating_point")
    assert it.load(path).acquisition.value_scale == "philips_display"


_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 524288\n".format("ab" * 32)


@pytest.mark.parametrize("name", ["a.dcm", "IM_0001", "1.2.840.113619", "b.IMA"])
def test_pointer_among_the_slices_is_refused(tmp_path, make_series, name):
    make_series(tmp_path, "MR")
    (tmp_path / name).write_text(_POINTER)
    with pytest.raises(CorruptInput, match="LFS pointer"):
        it.load(tmp_path)


def test_pointer_to_a_document_beside_the_slices_is_no_image(tmp_path, make_series):
    make_series(tmp_path, "MR")
    (tmp_path / "protocol.pdf").write_text(_POINTER)
    assert it.load(tmp_path).shape == (6, 5, 4)


@pytest.mark.parametrize("name", ["alone.dcm", "alone.nii", "alone.nii.gz", "alone"])
def test_pointer_alone_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text(_POINTER)
    with pytest.raises(CorruptInput, match="LFS pointer") as caught:
        it.load(path)
    assert "git lfs pull" in str(caught.value)
