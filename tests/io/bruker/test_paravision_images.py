"""ParaVision images: frames into axes, scale frame by frame, places; truth is the array that was written."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition


def codes(volume):
    return [caution.code for caution in volume.warnings]


def axes(volume):
    return [(axis.name, axis.unit, axis.values.tolist()) for axis in volume.axes]


def test_banana_is_exact(public_data):
    """Shape, slope and stored figures are those of the data's own description."""
    folder = public_data("mri/bruker_banana/1")
    volume = it.load(folder)
    raw = np.fromfile(folder / "pdata" / "1" / "2dseq", "<i2").reshape((80, 64, 5), order="F")
    assert (raw.min(), raw.max(), round(float(raw.mean()), 3)) == (9, 32766, 3315.289)
    assert np.array_equal(volume.data, (raw * 11.0270188718677).astype(np.float32))
    record = volume.acquisition
    assert isinstance(record, MrAcquisition)
    assert record.field_strength_t == pytest.approx(7.05, abs=0.01)  # a 7 T system: 300.34 MHz / 42.577 MHz/T
    assert (record.repetition_time_s, record.echo_time_s, record.flip_angle_deg) == (2.0, 0.0165, 90.0)
    assert (record.nucleus, record.manufacturer, record.value_scale) == ("1H", "Bruker", "rescaled")
    assert volume.grid.spacing_mm == pytest.approx((44 / 80, 44 / 64, 2.0))
    # first voxel: 22 mm to the right, 21.2 mm to the front, 4 mm to the feet
    assert volume.affine[:3, 3] == pytest.approx([22.0, 21.2, -4.0])
    assert np.array_equal(np.sign(np.diag(volume.affine)[:3]), [-1, -1, 1])
    assert volume.warnings == ()
    assert volume.source.subject.startswith("sub-")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("order", ["littleEndian", "bigEndian"])
def test_word_types_and_byte_orders(tmp_path, scans, dtype, order):
    visu = scans.visu(dtype=dtype, order=order, slope=0.5, offset=3.0)
    stored = scans.stored(visu, (4, 3), 1, dtype)
    folder = scans.write(tmp_path, visu, stored, order="<" if order == "littleEndian" else ">")
    assert np.array_equal(it.load(folder).data[..., 0], (stored[..., 0] * 0.5 + 3.0).astype(np.float32))


def test_every_frame_has_its_own_slope_and_offset(tmp_path, scans):
    """Slices and echoes with 15 slopes: applying the first to all is the error of other readers."""
    echoes = {"VisuAcqEchoTime": scans.array([7.0, 14.0, 21.0])}
    slope, offset = 1.0 + np.arange(15) / 7.0, np.arange(15) - 4.0
    visu = scans.visu([(3, "FG_ECHO", echoes), (5, "FG_SLICE", {})], slope=slope, offset=offset)
    stored = scans.stored(visu, (4, 3), 15)
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert volume.shape == (4, 3, 5, 3)
    assert axes(volume) == [("echo_time", "s", [0.007, 0.014, 0.021])]
    for k in range(5):
        for n in range(3):
            frame = n + 3 * k  # the first group counts fastest
            expected = stored[..., frame] * slope[frame] + offset[frame]
            assert np.array_equal(volume.data[:, :, k, n], expected.astype(np.float32))
    assert volume.acquisition.echo_time_s is None
    assert volume.acquisition.echo_spacing_s == pytest.approx(0.007)


@pytest.mark.parametrize("first", ["FG_SLICE", "FG_ECHO"])
def test_order_of_the_frame_groups_is_the_order_of_the_file(tmp_path, scans, first):
    groups = [(4, "FG_SLICE", {}), (2, "FG_ECHO", {"VisuAcqEchoTime": scans.array([5.0, 10.0])})]
    if first == "FG_ECHO":
        groups.reverse()
    visu = scans.visu(groups, slope=1.0)
    stored = scans.stored(visu, (4, 3), 8)
    volume = it.load(scans.write(tmp_path, visu, stored))
    for k in range(4):
        for n in range(2):
            frame = k + 4 * n if first == "FG_SLICE" else n + 2 * k
            assert np.array_equal(volume.data[:, :, k, n], stored[..., frame])


def test_three_dimensional_frames(tmp_path, scans):
    visu = scans.visu(
        [(2, "FG_ECHO", {"VisuAcqEchoTime": scans.array([5.0, 10.0])})], size=(4, 3, 5), slope=1.0
    )
    stored = scans.stored(visu, (4, 3, 5), 2)
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert volume.shape == (4, 3, 5, 2)
    assert np.array_equal(volume.data, stored)
    assert volume.grid.spacing_mm == pytest.approx((0.25, 0.25, 0.25))


def test_slices_of_three_dimensional_frames_in_reverse(tmp_path, scans):
    visu = scans.visu(size=(4, 3, 5), slope=1.0) | {"VisuCoreDiskSliceOrder": "disk_reverse_slice_order"}
    stored = scans.stored(visu, (4, 3, 5), 1)
    assert np.array_equal(it.load(scans.write(tmp_path, visu, stored)).data, stored[:, :, ::-1, 0])


def test_frame_that_is_stored_transposed(tmp_path, scans):
    """Such a frame lies on disk with its two dimensions exchanged, and VisuCoreSize is that of the image."""
    visu = scans.visu([(3, "FG_SLICE", {})], slope=1.0) | {"VisuCoreTransposition": scans.array([0, 1, 0])}
    image = scans.stored(visu, (4, 3), 3)
    on_disk = image.copy(order="F")
    on_disk[..., 1] = image[..., 1].T.ravel(order="F").reshape((4, 3), order="F")
    assert np.array_equal(it.load(scans.write(tmp_path, visu, on_disk)).data, image)


def test_variable_repetition_times_of_the_visu_parameters(tmp_path, scans):
    times = {"VisuAcqRepetitionTime": scans.array([5000.0, 1500.0, 400.0])}
    visu = scans.visu([(2, "FG_SLICE", {}), (3, "FG_MOVIE", times)], slope=1.0)
    stored = scans.stored(visu, (4, 3), 6)
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert axes(volume) == [("repetition_time", "s", [5.0, 1.5, 0.4])]
    assert np.array_equal(volume.data, stored.reshape((4, 3, 2, 3), order="F"))
    assert volume.acquisition.repetition_time_s is None


@pytest.mark.parametrize(
    ("parameter", "name"), [("MultiRepTime", "repetition_time"), ("PVM_SelIrInvTime", "inversion_time")]
)
def test_lists_of_the_method_where_visu_pars_is_silent(tmp_path, scans, parameter, name):
    visu = scans.visu([(3, "FG_MOVIE", {})], slope=1.0)
    method = {"Method": "<Bruker:RAREVTR>", parameter: scans.array([100.0, 700.0, 3000.0])}
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3), method=method))
    assert axes(volume) == [(name, "s", [0.1, 0.7, 3.0])]
    assert codes(volume) == []


def test_inversion_times_with_their_repetition_times(tmp_path, scans):
    """Both vary along one loop: the inversion time is the axis, the repetition times are kept."""
    own = {
        "VisuAcqInversionTime": scans.array([30.0, 200.0, 900.0]),
        "VisuAcqRepetitionTime": scans.array([1000.0, 1200.0, 1900.0]),
    }
    visu = scans.visu([(3, "FG_MOVIE", own)])
    record = (volume := it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3)))).acquisition
    assert axes(volume) == [("inversion_time", "s", [0.03, 0.2, 0.9])]
    assert record.repetition_times_s == pytest.approx((1.0, 1.2, 1.9))
    assert record.repetition_time_s is None


def test_flip_angles_of_a_loop(tmp_path, scans):
    visu = scans.visu([(3, "FG_MOVIE", {"VisuAcqFlipAngle": scans.array([2.0, 10.0, 20.0])})])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3)))
    assert axes(volume) == [("flip_angle", "deg", [2.0, 10.0, 20.0])]


def test_repetitions_share_the_scan_time(tmp_path, scans):
    visu = scans.visu([(2, "FG_SLICE", {}), (6, "FG_CYCLE", {})])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 12)))
    assert axes(volume) == [("time", "s", [0.0, 10.0, 20.0, 30.0, 40.0, 50.0])]  # 60 s in 6 repetitions
    assert volume.acquisition.temporal_resolution_s == 10.0


def test_echoes_and_repetitions_together(tmp_path, scans):
    groups = [
        (2, "FG_ECHO", {"VisuAcqEchoTime": scans.array([4.0, 8.0])}),
        (3, "FG_SLICE", {}),
        (5, "FG_CYCLE", {}),
    ]
    visu = scans.visu(groups, slope=1.0)
    stored = scans.stored(visu, (4, 3), 30)
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert [axis.name for axis in volume.axes] == ["echo_time", "time"]
    expected = stored.reshape((4, 3, 2, 3, 5), order="F").transpose(0, 1, 3, 2, 4)
    assert np.array_equal(volume.data, expected)


def test_loop_that_nothing_describes_is_numbered_and_told(tmp_path, scans):
    visu = scans.visu([(3, "FG_DIFFUSION", {})])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3)))
    assert axes(volume) == [("component", "1", [0.0, 1.0, 2.0])]
    assert codes(volume) == ["axis-unknown"]


def test_group_of_one_is_no_axis(tmp_path, scans):
    visu = scans.visu([(1, "FG_ECHO", {"VisuAcqEchoTime": scans.array([9.0])}), (2, "FG_SLICE", {})])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 2)))
    assert volume.axes == ()
    assert volume.acquisition.echo_time_s == 0.009


def test_inversion_times_that_differ_between_slices_are_no_axis(tmp_path, scans):
    """With a multi-slice inversion recovery each slice has its own delay."""
    visu = scans.visu([(2, "FG_SLICE", {}), (2, "FG_MOVIE", {})])
    visu["VisuAcqInversionTime"] = scans.array([100.0, 150.0, 400.0, 450.0])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 4)))
    assert [axis.name for axis in volume.axes] == ["component"]
    assert "differs-between-slices" in codes(volume)


@pytest.mark.parametrize("spacing", [1.5, -1.5])
def test_affine_is_that_of_the_positions(tmp_path, scans, rng, spacing):
    """A voxel's place by the format's definition: position of the frame plus steps along its axes, LPS."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    first = np.array([3.0, -7.0, 11.0])
    places = [first + k * spacing * q[2] for k in range(4)]
    visu = scans.visu([(4, "FG_SLICE", {})], positions=places)
    visu["VisuCoreOrientation"] = scans.array(np.tile(q, (4, 1, 1)), 4, 9)
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 4)))
    index = np.array([3, 1, 2])
    lps = places[2] + 3 * 0.25 * q[0] + 1 * 0.25 * q[1]
    assert volume.affine @ [*index, 1] == pytest.approx([-lps[0], -lps[1], lps[2], 1.0])


def test_slices_out_of_order_are_sorted_along_their_normal(tmp_path, scans):
    heights = [0.0, 3.0, 1.5, 4.5]
    visu = scans.visu([(4, "FG_SLICE", {})], positions=[(0.0, 0.0, z) for z in heights], slope=1.0)
    stored = scans.stored(visu, (4, 3), 4)
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert np.array_equal(volume.data, stored[..., [0, 2, 1, 3]])
    assert volume.grid.spacing_mm[2] == pytest.approx(1.5)


def test_two_slices_are_a_volume_as_the_file_states_all_positions(tmp_path, scans):
    visu = scans.visu([(2, "FG_SLICE", {})])
    assert it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 2))).shape == (4, 3, 2)


def test_single_slice_has_its_thickness(tmp_path, scans):
    visu = scans.visu()
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1)))
    assert volume.grid.spacing_mm == pytest.approx((0.25, 0.25, 1.25))


@pytest.mark.parametrize(
    ("nucleus", "mhz", "tesla"),
    [("1H", 400.3, 9.4017), ("19F", 282.57, 7.0532), ("31P", 121.7, 7.0610), ("unknown", 400.0, None)],
)
def test_field_strength_is_that_of_the_nucleus(tmp_path, scans, nucleus, mhz, tesla):
    """Gyromagnetic ratios over 2 pi in MHz/T, CODATA and IUPAC: 42.577 (1H), 40.063 (19F), 17.236 (31P)."""
    visu = scans.visu() | {
        "VisuAcqImagedNucleus": scans.string(nucleus),
        "VisuAcqImagingFrequency": str(mhz),
    }
    record = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))).acquisition
    assert record.nucleus == nucleus
    if tesla is None:
        assert record.field_strength_t is None
    else:
        assert record.field_strength_t == pytest.approx(tesla, rel=2e-4)


def test_stated_field_strength_goes_first(tmp_path, scans):
    visu = scans.visu() | {"VisuMagneticFieldStrength": "9.39"}
    record = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))).acquisition
    assert record.field_strength_t == 9.39


def test_record_is_filled_in(tmp_path, scans):
    visu = scans.visu()
    record = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))).acquisition
    assert (record.repetition_time_s, record.echo_time_s, record.flip_angle_deg) == (0.25, 0.0035, 30.0)
    assert (record.model, record.sequence) == ("BioSpec 94/20", "Bruker:FLASH")
    assert (record.scanning_sequence, record.image_component) == (("GR",), "magnitude")
    assert record.subject.weight_kg == 0.025
    assert str(record.acquisition_datetime) == "2018-01-09 16:12:02.733000"


def test_parameters_that_only_the_method_has(tmp_path, scans):
    visu = scans.visu()
    for name in ("VisuAcqRepetitionTime", "VisuAcqEchoTime", "VisuAcqFlipAngle"):
        del visu[name]
    method = {"PVM_RepetitionTime": "750", "PVM_EchoTime": "8.5"}
    acqp = {"ACQ_flip_angle": "25"}
    stored = scans.stored(visu, (4, 3), 1)
    record = it.load(scans.write(tmp_path, visu, stored, method=method, acqp=acqp)).acquisition
    assert (record.repetition_time_s, record.echo_time_s, record.flip_angle_deg) == (0.75, 0.0085, 25.0)


def test_list_that_fits_no_loop_is_told_and_not_used(tmp_path, scans):
    """Two loops of three and a list of four: which image has which value would be a guess."""
    visu = scans.visu([(3, "FG_SLICE", {}), (3, "FG_CYCLE", {})])
    visu["VisuAcqRepetitionTime"] = scans.array([100.0, 200.0, 300.0, 400.0])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 9)))
    assert volume.acquisition.repetition_time_s is None
    assert codes(volume)[:2] == ["acquisition-incomplete", "parameter-not-assigned"]


def test_list_of_slices_and_repetitions_alike_is_a_guess_and_not_used(tmp_path, scans):
    visu = scans.visu([(3, "FG_SLICE", {}), (3, "FG_CYCLE", {})])
    visu["VisuAcqRepetitionTime"] = scans.array([100.0, 200.0, 300.0])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 9)))
    assert [axis.name for axis in volume.axes] == ["time"]
    assert "parameter-not-assigned" in codes(volume)


def test_nineteen_f_scan_has_its_nucleus_and_the_field_of_the_acquisition(tmp_path, scans):
    """282.57 MHz of 19F are 7.05 T; visu_pars may state the proton frequency of the magnet."""
    visu = scans.visu() | {
        "VisuAcqImagedNucleus": scans.string("19F"),
        "VisuAcqImagingFrequency": "300.3",
    }
    acqp = {"BF1": "282.57", "NUCLEUS": "( 8 )\n<19F>"}
    record = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1), acqp=acqp)).acquisition
    assert record.nucleus == "19F"
    assert record.field_strength_t == pytest.approx(7.05, abs=0.01)
