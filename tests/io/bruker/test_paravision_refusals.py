"""What a ParaVision image is refused for, each with the class and the words that the input rules ask for."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
)


@pytest.fixture
def load_edited(tmp_path, scans):
    """Load a scan of four slices whose visu_pars was changed; None takes a parameter out."""

    def load(changes=None, *, groups=None, size=(4, 3), n_frames=4, stored=None):
        visu = scans.visu([(4, "FG_SLICE", {})] if groups is None else groups, size=size)
        for name, value in (changes or {}).items():
            if value is None:
                del visu[name]
            else:
                visu[name] = value
        stored = scans.stored(visu, size, n_frames) if stored is None else stored
        return it.load(scans.write(tmp_path, visu, stored))

    return load


def test_good_twin_loads(load_edited):
    assert load_edited().shape == (4, 3, 4)


@pytest.mark.parametrize("slope", ["inf inf inf inf", "1 1 inf 1", "nan 1 1 1", "0 1 1 1"])
def test_slope_that_is_no_scale(load_edited, slope):
    with pytest.raises(CorruptInput, match="not a scale") as caught:
        load_edited({"VisuCoreDataSlope": f"( 4 )\n{slope}"})
    assert "VisuCoreDataSlope" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "VisuCoreDataSlope",
        "VisuCoreDataOffs",
        "VisuCoreWordType",
        "VisuCoreByteOrder",
        "VisuCoreSize",
        "VisuCoreExtent",
        "VisuCoreOrientation",
        "VisuCorePosition",
        "VisuCoreFrameCount",
    ],
)
def test_parameter_that_every_image_needs(load_edited, name):
    with pytest.raises(MissingMetadata, match=name):
        load_edited({name: None})


def test_slopes_that_are_neither_one_nor_one_per_frame(load_edited):
    """Five slopes for five slices of eight echoes would be a guess."""
    with pytest.raises(CorruptInput, match="one per frame"):
        load_edited({"VisuCoreDataSlope": "( 3 )\n1 2 3"})


def test_offset_that_is_not_finite(load_edited):
    with pytest.raises(CorruptInput, match="VisuCoreDataOffs"):
        load_edited({"VisuCoreDataOffs": "( 4 )\n0 0 -inf 0"})


@pytest.mark.parametrize("size", ["2048", "( 1 )\n2048"])
def test_spectrum_is_no_image(load_edited, size):
    with pytest.raises(UnsupportedInput, match="spectra"):
        load_edited({"VisuCoreSize": size, "VisuCoreDimDesc": "spectroscopic"})


def test_spectroscopic_dimension_is_no_image(load_edited):
    with pytest.raises(UnsupportedInput, match="spectra"):
        load_edited({"VisuCoreDimDesc": "( 2 )\nspectroscopic spatial"})


def test_missing_visu_pars_names_the_file(tmp_path, scans):
    stored = scans.stored(scans.visu(), (4, 3), 1)
    folder = scans.write(tmp_path, None, stored)
    with pytest.raises(MissingMetadata, match="visu_pars") as caught:
        it.load(folder)
    assert str(folder / "pdata" / "1" / "visu_pars") in str(caught.value)
    assert caught.value.exit_code == 5
    assert "visu_pars" in it.info(folder)[0].problems[0]


@pytest.mark.parametrize("change", [-2, 2, -20])
def test_file_of_another_size(load_edited, scans, change):
    stored = np.zeros(48 + change // 2, dtype="i2")
    with pytest.raises(CorruptInput, match="size") as caught:
        load_edited(stored=stored)
    assert f"{96 + change} bytes" in str(caught.value)
    assert "96 bytes" in str(caught.value)


def test_empty_file(load_edited):
    with pytest.raises(CorruptInput, match="empty"):
        load_edited(stored=np.zeros(0, dtype="i2"))


def test_pointer_instead_of_the_image(tmp_path, scans):
    visu = scans.visu()
    folder = scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 51200\n"
    (folder / "pdata" / "1" / "2dseq").write_text(text)
    with pytest.raises(CorruptInput, match="LFS pointer"):
        it.load(folder)


@pytest.mark.parametrize("slope", ["1e40", "1e308"])
def test_scaled_values_beyond_float32(load_edited, slope):
    with pytest.raises(ImplausibleValue, match="float32"):
        load_edited({"VisuCoreDataSlope": f"( 1 )\n{slope}"})


def test_voxels_that_are_no_numbers_stay_and_are_counted(tmp_path, scans):
    stored = np.ones((4, 3, 1), dtype="f4")
    stored[1, 2], stored[0, 0] = np.nan, np.inf
    volume = it.load(scans.write(tmp_path, scans.visu(dtype="f4"), stored))
    assert np.isnan(volume.data[1, 2, 0])
    assert np.isinf(volume.data[0, 0, 0])
    assert [caution.code for caution in volume.warnings] == ["not-finite-voxels"]


def test_complex_images_without_their_group(load_edited):
    with pytest.raises(UnsupportedInput, match="complex"):
        load_edited({"VisuCoreFrameType": "COMPLEX_IMAGE"})


def test_complex_file_of_twice_the_size_says_so(load_edited, scans):
    with pytest.raises(CorruptInput, match="complex"):
        load_edited(stored=np.zeros(96, dtype="i2"))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("VisuCoreWordType", "_64BIT_FLOAT", UnsupportedInput),
        ("VisuCoreByteOrder", "middleEndian", UnsupportedInput),
        ("VisuCoreSize", "( 2 )\n4 0", CorruptInput),
        ("VisuCoreSize", "( 2 )\n4 -3", CorruptInput),
        ("VisuCoreSize", "( 2 )\n4 2.5", CorruptInput),
        ("VisuCoreSize", "( 2 )\n4 inf", CorruptInput),
        ("VisuCoreSize", "( 4 )\n4 3 1 1", CorruptInput),
        ("VisuCoreExtent", "( 2 )\n10 0", CorruptInput),
        ("VisuCoreExtent", "( 2 )\n10 nan", CorruptInput),
        ("VisuCoreExtent", "( 1 )\n10", CorruptInput),
        ("VisuCoreUnits", "( 2, 65 )\n<ppm> <mm>", UnsupportedInput),
        ("VisuCoreFrameCount", "0", CorruptInput),
        ("VisuCoreFrameCount", "-4", CorruptInput),
        ("VisuCoreFrameCount", "4.5", CorruptInput),
        ("VisuCoreFrameCount", "999999999", CorruptInput),
        ("VisuCoreFrameCount", "5", CorruptInput),
        ("VisuFGOrderDesc", "( 1 )\n(3, <FG_SLICE>, <>, 0, 2)", CorruptInput),
        ("VisuFGOrderDesc", "( 1 )\n(-4, <FG_SLICE>, <>, 0, 2)", CorruptInput),
        ("VisuFGOrderDesc", "( 1 )\n(<FG_SLICE>, 4)", CorruptInput),
        ("VisuFGOrderDesc", "4", CorruptInput),
        ("VisuGroupDepVals", "( 2 )\n(0, <VisuCorePosition>) ((1, 2), 0)", CorruptInput),
        ("VisuCoreOrientation", "( 1, 9 )\n1 0 0 0 1 0 0 0 7", CorruptInput),
        ("VisuCoreOrientation", "( 1, 9 )\n1e200 0 0 0 1e200 0 0 0 -1e200", CorruptInput),
        ("VisuCoreOrientation", "( 1, 9 )\n1 0 0 0 nan 0 0 0 1", CorruptInput),
        ("VisuCorePosition", "( 4, 3 )\n@4*(0 0 1e300)", CorruptInput),
        ("VisuCoreOrientation", "( 1, 8 )\n1 0 0 0 1 0 0 0", CorruptInput),
        ("VisuCorePosition", "( 4, 3 )\n0 0 0 0 0 1 0 0 nan 0 0 3", CorruptInput),
        ("VisuCoreSlicePacksSlices", "( 2 )\n(0, 3) (3, 3)", CorruptInput),
    ],
)
def test_impossible_description(load_edited, name, value, error):
    with pytest.raises(error, match=name):
        load_edited({name: value})


def test_size_beyond_the_budget_is_refused_before_it_is_made(tmp_path, scans, monkeypatch):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "1e-7")
    visu = scans.visu([(4, "FG_SLICE", {})])
    with pytest.raises(UnsupportedInput, match="memory"):
        it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 4)))


@pytest.mark.parametrize(
    ("heights", "message"),
    [((0, 1.5, 4.5, 6.0), "uneven"), ((0, 1.5, 1.5, 3.0), "uneven"), ((2, 2, 2, 2), "identical")],
)
def test_slices_that_are_no_regular_stack(load_edited, scans, heights, message):
    positions = scans.array([(0.0, 0.0, z) for z in heights], 4, 3)
    with pytest.raises(GeometryMismatch, match=message):
        load_edited({"VisuCorePosition": positions})


def test_sheared_stack(load_edited, scans):
    positions = scans.array([(0.3 * k, 0.0, 1.5 * k) for k in range(4)], 4, 3)
    with pytest.raises(GeometryMismatch, match="normal"):
        load_edited({"VisuCorePosition": positions})


def test_frames_of_one_slice_at_two_places(load_edited, scans):
    groups = [(4, "FG_SLICE", {}), (2, "FG_CYCLE", {})]
    positions = scans.array([(0.0, 2.0 * (n // 4), 1.5 * (n % 4)) for n in range(8)], 8, 3)
    with pytest.raises(GeometryMismatch, match="different places"):
        load_edited(
            {"VisuCorePosition": positions, "VisuGroupDepVals": "( 1 )\n(<VisuCoreOrientation>, 0)"},
            groups=groups,
            n_frames=8,
        )


def test_two_loops_without_a_parameter(load_edited):
    with pytest.raises(UnsupportedInput, match="FG_FLOW"):
        load_edited(groups=[(2, "FG_FLOW", {}), (2, "FG_COIL", {})])


def test_slices_in_reverse_order(load_edited):
    with pytest.raises(UnsupportedInput, match="VisuCoreDiskSliceOrder"):
        load_edited({"VisuCoreDiskSliceOrder": "disk_reverse_slice_order"})


def test_several_slabs(load_edited):
    with pytest.raises(UnsupportedInput, match="slabs"):
        load_edited(size=(4, 3, 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisuAcqEchoTime", "6000"),
        ("VisuAcqEchoTime", "0.0165"),
        ("VisuAcqEchoTime", "-1"),
        ("VisuAcqRepetitionTime", "2000000"),
        ("VisuAcqInversionTime", "90000"),
    ],
)
def test_times_that_cannot_be_milliseconds(load_edited, name, value):
    with pytest.raises(ImplausibleValue, match=name):
        load_edited({name: value})


def test_ultrashort_echo_times_are_plausible_for_their_sequence(load_edited):
    volume = load_edited({"VisuAcqEchoTime": "0.02", "VisuAcqSequenceName": "<Bruker:UTE3D>"})
    assert volume.acquisition.echo_time_s == pytest.approx(2e-5)


def test_flip_angles_in_radians(load_edited, scans):
    with pytest.raises(ImplausibleValue, match="radians"):
        load_edited(groups=[(4, "FG_MOVIE", {"VisuAcqFlipAngle": scans.array([0.05, 0.1, 0.2, 0.3])})])


def test_damaged_method_file_is_refused(tmp_path, scans):
    visu = scans.visu()
    folder = scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))
    (folder / "method").write_text("##TITLE=x\n##$MultiRepTime=( 3 )\n1 2")
    with pytest.raises(CorruptInput, match="method"):
        it.load(folder)


def test_mutants_of_a_good_scan_load_or_are_refused(tmp_path, scans, rng):
    """400 mutants of one byte or a cut: a typed error, or an image of the right number of voxels."""
    visu = scans.visu([(2, "FG_ECHO", {"VisuAcqEchoTime": scans.array([4.0, 8.0])}), (3, "FG_SLICE", {})])
    folder = scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 6))
    path = folder / "pdata" / "1" / "visu_pars"
    good = path.read_bytes()
    refused = 0
    for n in range(400):
        mutant = bytearray(good)
        place = int(rng.integers(len(good)))
        if n % 8:
            mutant[place] = int(rng.integers(256))
        else:
            mutant = mutant[:place]
        path.write_bytes(bytes(mutant))
        try:
            volumes = it.load_all(folder)
        except ImgTheranosticsError:
            refused += 1
            continue
        assert sum(volume.data.size for volume in volumes) == 72
    assert refused > 50
