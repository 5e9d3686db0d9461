"""Images that share positions become named axes (traps 16 and 19); never by instance number alone."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, MissingMetadata, UnsupportedInput

SLICES, FRAMES = 3, 4
# frames of 10, 20, 30 and 60 s that follow each other from 10:15:00 on
STARTS, DURATIONS = [0, 10, 30, 60], [10, 20, 30, 60]


def dynamic(tmp_path, make_series, edit=None, n_frames=FRAMES):
    """Value 100 t + z everywhere; instance numbers and file names say nothing of the order."""
    stored = np.zeros((SLICES * n_frames, 2, 3), dtype=np.int16)
    positions = []
    for n in range(len(stored)):
        t, z = divmod(n, SLICES)
        stored[n] = 100 * t + z
        positions.append((0.0, 0.0, 2.0 * z))

    def change(ds, n):
        t, _ = divmod(n, SLICES)
        ds.RescaleSlope = "1"
        ds.SeriesType, ds.NumberOfTimeSlices = ["DYNAMIC", "IMAGE"], n_frames
        ds.InstanceNumber = (n * 5) % len(stored) + 1
        ds.AcquisitionTime = f"10{15 + STARTS[t % FRAMES] // 60:02d}{STARTS[t % FRAMES] % 60:02d}"
        ds.ActualFrameDuration = str(1000 * DURATIONS[t % FRAMES])
        ds.FrameReferenceTime = str(1000.0 * (STARTS[t % FRAMES] + DURATIONS[t % FRAMES] / 2))
        if edit is not None:
            edit(ds, t, n)

    make_series(tmp_path, stored=stored, positions=positions, edit=change)
    return it.load(tmp_path)


def assert_ordered(volume, n_frames=FRAMES):
    expected = np.arange(SLICES)[:, np.newaxis] + 100 * np.arange(n_frames)
    assert volume.shape == (3, 2, SLICES, n_frames)
    assert np.array_equal(volume.data, np.broadcast_to(expected, volume.shape))


def test_dynamic_pet_is_split_by_its_clock(tmp_path, make_series):
    volume = dynamic(tmp_path, make_series)
    assert_ordered(volume)
    assert volume.axes[0].name == "time"
    assert volume.axes[0].values == pytest.approx([5, 20, 45, 90])  # middle of each frame
    record = volume.acquisition
    assert record.frame_duration_s.tolist() == [DURATIONS] * SLICES
    assert record.acquisition_datetime.shape == (SLICES, FRAMES)
    assert record.n_images == SLICES * FRAMES


def test_memory_of_a_dynamic_volume_is_planar(tmp_path, make_series):
    volume = dynamic(tmp_path, make_series)
    assert volume.data.flags.f_contiguous
    assert volume.planar.base is not None


def test_equal_clocks_leave_the_order_to_the_reference_time(tmp_path, make_series):
    """All frames carry the time of the first: FRT less the mean activity time gives the starts."""

    def edit(ds, t, n):
        ds.AcquisitionTime = "101500"

    volume = dynamic(tmp_path, make_series, edit)
    assert_ordered(volume)
    assert volume.axes[0].values == pytest.approx([5, 20, 45, 90], abs=0.1)


def test_reference_time_is_that_of_the_mean_activity(tmp_path, make_series):
    """F-18, one long frame after a short one: T_ave of 600 s is 298.4214 s (PET reference, section 6)."""
    middles = [5.0, 10 + 298.4214]

    def edit(ds, t, n):
        ds.AcquisitionTime = "101500"
        ds.NumberOfTimeSlices = 2
        ds.ActualFrameDuration = ["10000", "600000"][t]
        ds.FrameReferenceTime = f"{1000 * middles[t]:.1f}"

    volume = dynamic(tmp_path, make_series, edit, 2)
    assert volume.axes[0].values == pytest.approx([5, 310], abs=1e-3)


def test_image_index_orders_when_clocks_are_silent_but_time_must_be_known(tmp_path, make_series):
    def edit(ds, t, n):
        del ds.AcquisitionTime, ds.FrameReferenceTime
        ds.ImageIndex = t * SLICES + n % SLICES + 1

    with pytest.raises(MissingMetadata, match="neither clock nor reference time"):
        dynamic(tmp_path, make_series, edit)


def test_instance_number_alone_makes_no_frames(tmp_path, make_series):
    def edit(ds, t, n):
        ds.AcquisitionTime, ds.FrameReferenceTime = "101500", "0"

    with pytest.raises(GeometryMismatch, match="nothing tells apart"):
        dynamic(tmp_path, make_series, edit)


def test_count_that_does_not_divide_is_refused(tmp_path, make_series):
    def edit(ds, t, n):
        ds.NumberOfTimeSlices = 5

    with pytest.raises(GeometryMismatch, match="not a multiple"):
        dynamic(tmp_path, make_series, edit)


def test_time_slices_that_do_not_fit_the_positions_are_refused(tmp_path, make_series):
    def edit(ds, t, n):
        ds.NumberOfTimeSlices = 6

    with pytest.raises(GeometryMismatch, match="not as many"):
        dynamic(tmp_path, make_series, edit)


def test_static_series_may_state_any_number_of_time_slices(tmp_path, make_series):
    """Real STATIC series carry a number that does not divide the slice count (STS_001: 6 for 267)."""

    def edit(ds, k):
        ds.NumberOfTimeSlices = 6

    make_series(tmp_path, edit=edit)
    assert it.load(tmp_path).shape == (6, 5, 4)


def test_frames_of_a_static_series_carry_a_caution(tmp_path, make_series):
    def edit(ds, t, n):
        ds.SeriesType = ["STATIC", "IMAGE"]

    volume = dynamic(tmp_path, make_series, edit)
    assert_ordered(volume)
    assert [w.code for w in volume.warnings] == ["series-type-not-dynamic"]


def test_gated_series_is_refused(tmp_path, make_series):
    def edit(ds, t, n):
        ds.SeriesType = ["GATED", "IMAGE"]

    with pytest.raises(UnsupportedInput, match="gated"):
        dynamic(tmp_path, make_series, edit)


def test_midnight_within_a_dynamic_series(tmp_path, make_series):
    def edit(ds, t, n):
        ds.AcquisitionDate = "20250301" if t < 2 else "20250302"
        ds.AcquisitionTime = ["235940", "235950", "000010", "000040"][t]

    volume = dynamic(tmp_path, make_series, edit)
    assert_ordered(volume)
    assert volume.axes[0].values == pytest.approx([5, 20, 45, 90])


def test_one_missing_image_is_refused(tmp_path, make_series):
    dynamic(tmp_path, make_series)
    sorted(tmp_path.iterdir())[5].unlink()
    with pytest.raises(GeometryMismatch):
        it.load(tmp_path)


def mr(tmp_path, make_series, edit, n_samples, n_slices=SLICES):
    stored = np.zeros((n_slices * n_samples, 2, 3), dtype=np.int16)
    positions = []
    for n in range(len(stored)):
        t, z = divmod(n, n_slices)
        stored[n] = 100 * t + z
        positions.append((0.0, 0.0, 2.0 * z))

    def change(ds, n):
        ds.InstanceNumber = (n * 7) % len(stored) + 1
        edit(ds, n // n_slices)

    make_series(tmp_path, "MR", stored=stored, positions=positions, edit=change)
    return it.load(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "values", "name", "factor"),
    [
        ("EchoTime", [1.2, 4.8, 9.6], "echo_time", 1e-3),
        ("InversionTime", [50, 400, 1600], "inversion_time", 1e-3),
        ("FlipAngle", [2, 5, 25], "flip_angle", 1.0),
        ("RepetitionTime", [200, 500, 5000], "repetition_time", 1e-3),
    ],
)
def test_parameter_becomes_an_axis(tmp_path, make_series, keyword, values, name, factor):
    volume = mr(tmp_path, make_series, lambda ds, t: setattr(ds, keyword, values[t]), 3)
    assert volume.axes[0].name == name
    assert volume.axes[0].values == pytest.approx(np.array(values) * factor)
    assert_ordered(volume, 3)


def test_two_parameters_become_two_axes(tmp_path, make_series):
    def edit(ds, t):
        ds.EchoTime, ds.FlipAngle = [2.0, 4.0][t % 2], [5, 15, 30][t // 2]

    volume = mr(tmp_path, make_series, edit, 6)
    assert [axis.name for axis in volume.axes] == ["echo_time", "flip_angle"]
    assert volume.shape == (3, 2, SLICES, 2, 3)
    assert volume.data[0, 0, 0].tolist() == [[0, 200, 400], [100, 300, 500]]


def test_echoes_over_time_have_time_last(tmp_path, make_series):
    def edit(ds, t):
        ds.EchoTime, ds.AcquisitionTime = [2.0, 4.0][t % 2], f"1015{10 * (t // 2):02d}"

    volume = mr(tmp_path, make_series, edit, 4)
    assert [axis.name for axis in volume.axes] == ["echo_time", "time"]
    assert volume.axes[1].values == pytest.approx([0, 10])
    assert volume.data[0, 0, 0].tolist() == [[0, 200], [100, 300]]


def test_mr_time_series_by_clock_and_by_temporal_position(tmp_path, make_series):
    by_clock = mr(
        tmp_path / "a", make_series, lambda ds, t: setattr(ds, "AcquisitionTime", f"1015{7 * t:02d}"), 4
    )
    assert by_clock.axes[0].values == pytest.approx([0, 7, 14, 21])
    assert_ordered(by_clock)

    def edit(ds, t):
        ds.TemporalPositionIdentifier, ds.TemporalResolution = t + 1, "2500"

    by_position = mr(tmp_path / "b", make_series, edit, 4)
    assert by_position.axes[0].values == pytest.approx([0, 2.5, 5, 7.5])
    assert_ordered(by_position)


def test_images_that_differ_in_two_coupled_parameters_keep_the_second(tmp_path, make_series):
    """TR that grows with TI is no second axis; every sample keeps its own."""

    def edit(ds, t):
        ds.InversionTime, ds.RepetitionTime = [50, 400, 1600][t], [1000, 1260, 2460][t]

    volume = mr(tmp_path, make_series, edit, 3)
    assert [axis.name for axis in volume.axes] == ["inversion_time"]
    assert volume.acquisition.sample_parameters == {"repetition_time": (1.0, 1.26, 2.46)}


def test_flip_angles_in_radians_are_refused(tmp_path, make_series):
    with pytest.raises(ImplausibleValue, match="radians"):
        mr(tmp_path, make_series, lambda ds, t: setattr(ds, "FlipAngle", str([0.03, 0.09, 0.4][t])), 3)


@pytest.mark.parametrize(
    ("keyword", "value"), [("EchoTime", "0.0045"), ("EchoTime", "6000"), ("RepetitionTime", "0.005")]
)
def test_times_that_cannot_be_milliseconds_are_refused(tmp_path, make_series, keyword, value):
    make_series(tmp_path, "MR", edit=lambda ds, k: setattr(ds, keyword, value))
    with pytest.raises(ImplausibleValue, match=keyword):
        it.load(tmp_path)


def test_times_are_in_seconds(tmp_path, make_series):
    make_series(tmp_path, "MR")
    record = it.load(tmp_path).acquisition
    assert (record.echo_time_s, record.repetition_time_s, record.flip_angle_deg) == (0.0045, 0.02, 15.0)


def test_two_tube_voltages_become_an_energy_axis(tmp_path, make_series):
    stored = make_series.stored(6)
    positions = [(0.0, 0.0, 3.0 * (n % 3)) for n in range(6)]

    def edit(ds, n):
        ds.KVP = "140" if n < 3 else "80"

    make_series(tmp_path, "CT", stored=stored, positions=positions, edit=edit)
    volume = it.load(tmp_path)
    assert (volume.axes[0].name, volume.axes[0].values.tolist()) == ("energy", [80, 140])
    assert volume.data[0, 0, 0].tolist() == [90 - 1024, 0 - 1024]


def test_repeated_ct_without_table_movement_is_no_volume(tmp_path, make_series):
    def edit(ds, k):
        ds.AcquisitionTime = f"1015{k:02d}"

    make_series(tmp_path, "CT", positions=[(0.0, 0.0, 0.0)] * 4, edit=edit)
    with pytest.raises(GeometryMismatch, match="identical positions"):
        it.load(tmp_path)
