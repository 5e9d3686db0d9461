"""Ultrasound files as section 5 of the reference sheet asks: regions, units, colour, range, time."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.dicom.decoding import Decoder
from imgtheranostics.io.dicom.discovery import find
from imgtheranostics.io.dicom.planning import plan
from imgtheranostics.io.dicom.reading import read
from imgtheranostics.io.dicom.series import catalogue

CM = {
    "RegionSpatialFormat": 1,
    "RegionDataType": 1,
    "RegionLocationMinX0": 0,
    "RegionLocationMinY0": 0,
    "RegionLocationMaxX1": 5,
    "RegionLocationMaxY1": 4,
    "PhysicalUnitsXDirection": 3,
    "PhysicalUnitsYDirection": 3,
    "PhysicalDeltaX": 0.02,
    "PhysicalDeltaY": 0.03,
}


def region(**changes) -> Dataset:
    one = Dataset()
    for name, value in {**CM, **changes}.items():
        if value is not None:
            setattr(one, name, value)
    return one


@pytest.fixture
def save(tmp_path, make_series):
    """``save(stored, regions, edit)``: a cine of 5 rows and 6 columns, 40 ms apart."""

    def make(stored=None, regions=(), edit=None, name="x.dcm"):
        ds = make_series.new_dataset("US")
        make_series.set_pixels(ds, make_series.stored(3, dtype="uint8") if stored is None else stored)
        ds.FrameTime = 40.0
        if regions:
            ds.SequenceOfUltrasoundRegions = Sequence(list(regions))
        if edit is not None:
            edit(ds)
        make_series.save(ds, tmp_path / name)
        return tmp_path / name

    return make


def codes(volume):
    return [caution.code for caution in volume.warnings]


def test_all_regions_are_kept_with_units_and_signed_deltas(save):
    """Delta x and y may differ, y may be negative: both are used, the sign is kept."""
    doppler = region(
        RegionSpatialFormat=3, PhysicalUnitsXDirection=4, PhysicalUnitsYDirection=7, PhysicalDeltaY=-1.5
    )
    volume = it.load(save(regions=[doppler, region(PhysicalDeltaY=-0.03)]))
    spectral, tissue = volume.acquisition.regions
    assert (spectral["spatial_format"], spectral["x_unit"], spectral["y_unit"]) == ("spectral", "s", "cm/s")
    assert (tissue["x_delta"], tissue["y_delta"]) == (0.02, -0.03)
    assert volume.grid.spacing_mm[:2] == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        (0, "none"),
        (1, "percent"),
        (2, "dB"),
        (3, "cm"),
        (4, "s"),
        (5, "Hz"),
        (6, "dB/s"),
        (7, "cm/s"),
        (8, "cm2"),
        (9, "cm2/s"),
        (10, "cm3"),
        (11, "cm3/s"),
        (12, "deg"),
        (99, "unknown"),
    ],
)
def test_unit_codes_of_the_standard(save, code, unit):
    """Published table of the sheet; beside a tissue region in cm they are recorded and used for nothing."""
    other = region(RegionSpatialFormat=5, PhysicalUnitsXDirection=code)
    assert it.load(save(regions=[other, region()])).acquisition.regions[0]["x_unit"] == unit


@pytest.mark.parametrize("axis", ["PhysicalUnitsXDirection", "PhysicalUnitsYDirection"])
@pytest.mark.parametrize("code", [0, 4, 7, 8])
def test_tissue_in_another_unit_than_cm_is_refused(save, axis, code):
    """Issue, bad input: cm taken for mm. A unit that is not cm would make areas wrong by any factor."""
    with pytest.raises(UnitMismatch, match="0018,6024") as caught:
        it.load(save(regions=[region(**{axis: code})]))
    assert caught.value.exit_code == 6


def test_centimetres_become_millimetres_so_that_areas_are_right(save):
    """5 x 4 pixels of 0.02 x 0.03 cm: 1.2 mm2; the same numbers taken for mm would give 0.012."""
    volume = it.load(save(regions=[region()]))
    rois = it.Regions.from_masks({"all": np.ones((6, 5, 1), bool)}, volume.grid)
    assert it.ultrasound.area_mm2(volume, rois)["all"] == pytest.approx(30 * 0.2 * 0.3)


@pytest.mark.parametrize("name", ["PhysicalDeltaX", "PhysicalDeltaY"])
@pytest.mark.parametrize("value", [0.0, None])
def test_pixels_without_a_size_are_refused(save, name, value):
    with pytest.raises(CorruptInput, match="0018,602C"):
        it.load(save(regions=[region(**{name: value})]))


def test_several_tissue_regions_are_listed_and_one_has_to_be_chosen(save):
    left = region(RegionLocationMaxX1=2)
    right = region(RegionLocationMinX0=3, PhysicalDeltaX=0.04)
    volume = it.load(save(regions=[left, right]))
    (caution,) = [one for one in volume.warnings if one.code == "several-tissue-regions"]
    assert "0: columns 0-2" in caution.message
    assert "1: columns 3-5" in caution.message
    assert "pixel-spacing-unknown" in codes(volume)


def test_image_without_regions_has_pixels_of_unknown_size(save):
    volume = it.load(save())
    assert "pixel-spacing-unknown" in codes(volume)
    rois = it.Regions.from_masks({"all": np.ones((6, 5, 1), bool)}, volume.grid)
    with pytest.raises(MissingMetadata, match="0018,6011"):
        it.ultrasound.area_mm2(volume, rois)


def test_grey_scale_is_that_of_the_bits_stored(save, make_series):
    """BitsStored, not BitsAllocated: 12 of 16 bits hold 4095."""

    def twelve(ds):
        ds.BitsStored, ds.HighBit = 12, 11

    volume = it.load(save(make_series.stored(3, dtype="uint16") % 4096, edit=twelve))
    assert volume.acquisition.grey_max == 4095.0
    assert it.load(save(name="y.dcm")).acquisition.grey_max == 255.0


def test_inverted_grey_is_turned_round(save, make_series):
    """MONOCHROME1 shows the smallest value white."""

    def inverted(ds):
        ds.PhotometricInterpretation = "MONOCHROME1"

    stored = make_series.stored(3, dtype="uint8")
    volume = it.load(save(stored, edit=inverted))
    np.testing.assert_array_equal(volume.data[:, :, 0], 255 - stored.transpose(2, 1, 0).astype(float))


def colour(ds, rgb):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns, ds.NumberOfFrames = rgb.shape[1], rgb.shape[2], rgb.shape[0]
    ds.PixelData = rgb.tobytes()


def test_graphics_in_colour_are_no_echo(save):
    """A red line over a grey image: not a number; the grey beside it is kept exactly."""
    rgb = np.full((3, 20, 30, 3), 90, np.uint8)
    rgb[:, 4, 5:15] = (250, 20, 20)
    volume = it.load(save(rgb[..., 0], edit=lambda ds: colour(ds, rgb)))
    drawn = np.isnan(volume.data)
    assert drawn.sum() == 30
    assert drawn[5:15, 4].all()
    assert (volume.data[~drawn] == 90).all()
    assert {"graphics-to-nan", "colour-overlay"} <= set(codes(volume))


@pytest.mark.parametrize(("share", "told"), [(0.005, False), (0.02, True)])
def test_colour_is_told_from_one_per_cent_of_the_tissue_on(save, share, told):
    """Channels that differ by more than 2 levels in more than 1 % of the region; not beside it."""
    rgb = np.full((1, 100, 100, 3), 90, np.uint8)
    rgb[:, :, 50:] = (90, 95, 90)
    inside = rgb[0, :, :50].reshape(-1, 3)
    inside[: int(share * inside.shape[0])] = (90, 93, 90)
    rgb[0, :, :50] = inside.reshape(100, 50, 3)
    tissue = region(RegionLocationMaxX1=49, RegionLocationMaxY1=99)
    volume = it.load(save(rgb[..., 0], [tissue], lambda ds: colour(ds, rgb)))
    assert ("colour-overlay" in codes(volume)) == told


def test_channels_that_differ_by_two_levels_are_grey(save):
    rgb = np.full((1, 20, 20, 3), 90, np.uint8)
    rgb[..., 1] = 92
    assert "colour-overlay" not in codes(it.load(save(rgb[..., 0], edit=lambda ds: colour(ds, rgb))))


def test_colours_of_a_map_are_not_taken_for_levels_of_the_compression(save):
    """A copper-coloured cine: its luminance has another full scale, which would stretch all decibels."""
    level = np.arange(1, 201, dtype=np.uint8).reshape(1, 10, 20)
    rgb = np.stack([level, (level * 0.78).astype(np.uint8), level // 2], axis=-1)
    volume = it.load(save(rgb[..., 0], edit=lambda ds: colour(ds, rgb)))
    assert "colour-map" in codes(volume)
    assert np.isfinite(volume.data).all()
    with pytest.raises(it.UnsupportedInput, match="colour map"):
        it.ultrasound.linearise(volume, dynamic_range_db=60)
    top = 255 * (0.299 + 0.587 * 0.78 + 0.114 * 0.5)
    linear = it.ultrasound.linearise(volume, dynamic_range_db=60, grey_max=top)
    found = 10 * np.log10(linear.data[:, :, 0].astype(float).T)
    np.testing.assert_allclose(found, level[0].astype(float) * 60 / 255, atol=0.25)


def palette(ds, levels, *, bits=16, graphics=()):
    """Grey levels of each index, then colours."""
    rows = [(level, level, level) for level in levels] + list(graphics)
    table = np.array(rows, np.uint16 if bits == 16 else np.uint8)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for n, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [len(rows) % 65536, 0, bits])
        setattr(ds, f"{name}PaletteColorLookupTableData", table[:, n].tobytes())


def test_palette_is_undone_to_the_levels_before_the_display(save):
    """A display curve in a palette of 16 bits: the index is the level, the ramp its full scale."""
    curve = np.round(65535 * (np.arange(250) / 249) ** 2.2).astype(int)
    graphics = [(65535, 0, 0)] * 6
    stored = np.array([[[0, 10, 100, 249], [250, 251, 3, 4]]], np.uint8)
    volume = it.load(save(stored, edit=lambda ds: palette(ds, curve, graphics=graphics)))
    expected = [[0, 10, 100, 249], [np.nan, np.nan, 3, 4]]
    np.testing.assert_array_equal(volume.data[:, :, 0].T.squeeze(), expected)
    assert volume.acquisition.grey_max == 249.0
    assert "graphics-to-nan" in codes(volume)


def test_palette_that_is_no_ramp_becomes_luminance(save):
    """A map whose brightness goes up and down cannot be undone; its colours are told."""
    rainbow = [(255 * (n % 64) // 63, 255 - n, n) for n in range(256)]
    stored = np.arange(8, dtype=np.uint8).reshape(1, 2, 4) * 31
    volume = it.load(save(stored, edit=lambda ds: palette(ds, [], bits=8, graphics=rainbow)))
    red, green, blue = np.array(rainbow, float)[stored[0]].transpose(2, 0, 1)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    found = volume.data[:, :, 0].T
    assert np.nanmax(np.abs(found - expected)) < 1e-4
    table = np.array(rainbow, float) @ [0.299, 0.587, 0.114]
    assert volume.acquisition.grey_max == pytest.approx(table.max())


def test_damaged_palette_is_refused(save):
    def cut(ds):
        palette(ds, range(256), bits=8)
        ds.RedPaletteColorLookupTableData = b"\x00\x01"

    with pytest.raises(CorruptInput, match="palette"):
        it.load(save(edit=cut))


def test_vector_of_frame_times_leaves_no_single_frame_time(save):
    def vector(ds):
        ds.FrameTimeVector = [0, 30, 50]

    volume = it.load(save(edit=vector))
    assert volume.acquisition.frame_time_s is None
    assert volume.axes[0].values == pytest.approx([0, 0.03, 0.08])


def test_frame_times_in_seconds_are_refused_not_read_as_milliseconds(save):
    """A field of frame times that holds seconds, or the frame rate's inverse, is a factor of 1000."""

    def seconds(ds):
        ds.FrameTime = 1e-5

    with pytest.raises(ImplausibleValue, match="0018,1063"):
        it.load(save(edit=seconds))


def display_rates_only(ds):
    del ds.FrameTime
    ds.CineRate, ds.RecommendedDisplayFrameRate = 30, 30


def test_display_rates_are_no_time_but_the_user_may_give_one(save):
    path = save(edit=display_rates_only)
    with pytest.raises(MissingMetadata, match="--frame-time"):
        it.load(path)
    (series,) = catalogue(find(path).dicom).series
    volume = read(plan(series, frame_time_s=0.05))
    assert volume.axes[0].values == pytest.approx([0, 0.05, 0.1])
    (series,) = catalogue(find(path).dicom).series
    with pytest.raises(ValueError, match="frame_time_s"):
        plan(series, frame_time_s=0.0)


def test_time_given_in_place_of_the_file_s_is_told(save):
    (series,) = catalogue(find(save()).dicom).series
    volume = read(plan(series, frame_time_s=0.1))
    assert volume.axes[0].values == pytest.approx([0, 0.1, 0.2])
    assert "frame-time-replaced" in codes(volume)


def test_wheel_cine_has_the_means_of_the_sheet(pydicom_file):
    """30 frames of 33.333 ms, cm 0.05105; its region is larger than the image, which is told."""
    volume = it.load(pydicom_file("examples_ybr_color.dcm"))
    means = volume.data.reshape(-1, 30, order="F").mean(axis=0)[:6]
    assert means == pytest.approx([9.48, 9.33, 9.27, 9.24, 9.25, 9.35], abs=0.04)
    assert volume.acquisition.grey_max == 255.0
    assert "region-exceeds-image" in codes(volume)
    (tissue,) = volume.acquisition.regions
    assert tissue["x_delta"] == pytest.approx(0.05105, abs=1e-5)
    with pytest.raises(it.GeometryMismatch, match="cut or resized"):
        it.ultrasound.crop(volume)


def test_wheel_palette_has_two_regions_and_levels_of_its_ramp(pydicom_file):
    """Two regions, cm and s with none; the palette is a grey ramp up to 231, and colours of graphics."""
    volume = it.load(pydicom_file("examples_palette.dcm"))
    tissue, trace = volume.acquisition.regions
    assert (tissue["spatial_format"], tissue["x_unit"], tissue["y_unit"]) == ("2d", "cm", "cm")
    assert (trace["spatial_format"], trace["x_unit"], trace["y_unit"]) == ("waveform", "s", "none")
    assert volume.grid.spacing_mm[0] == pytest.approx(0.2623, abs=1e-4)
    assert np.nanmax(volume.data) <= volume.acquisition.grey_max == 231.0
    mask = it.ultrasound.tissue_mask(volume)
    assert mask[120:, 60:].all()
    assert not mask[:120].any()
    assert np.isfinite(volume.data[mask]).mean() > 0.95


def test_wheel_colour_images_lose_their_graphics_only(pydicom_file):
    for name, shape in (("examples_rgb_color.dcm", (320, 240, 1)), ("examples_jpeg2k.dcm", (640, 480, 1))):
        volume = it.load(pydicom_file(name))
        assert volume.shape == shape
        drawn = np.isnan(volume.data).mean()
        assert 0.04 < drawn < 0.07
        assert volume.acquisition.grey_max == 255.0
        assert "pixel-spacing-unknown" in codes(volume)


def test_wheel_big_endian_image_is_coloured_all_over_and_stays_luminance(pydicom_file):
    volume = it.load(pydicom_file("ExplVR_BigEnd.dcm"))
    assert volume.shape == (80, 60, 1)
    assert np.isfinite(volume.data).all()
    assert {"colour-overlay", "colour-map"} <= set(codes(volume))


def test_wheel_cine_gives_enhancement_after_linearising(pydicom_file):
    """The only public cine, without any contrast agent; means over linear power, then dB."""
    volume = it.load(pydicom_file("examples_ybr_color.dcm"))
    mask = np.zeros(volume.grid.shape, bool)
    mask[140:200, 90:150] = True
    rois = it.Regions.from_masks({"centre": mask}, volume.grid)
    table = it.ultrasound.enhancement(volume, rois=rois, baseline_frames=range(5), dynamic_range_db=60)
    rows = table[table.quantity == "echo_enhancement"]
    assert len(rows) == 30
    power = 10 ** (60 * volume.data[mask].astype(float) / 2550)
    power[volume.data[mask] == 0] = 10 ** (6 / 255) / 2
    means = power.mean(axis=0)
    expected = 10 * np.log10(means / means[:5].mean())
    kept = rows["mean"].notna().to_numpy()
    np.testing.assert_allclose(rows["mean"].to_numpy()[kept], expected[kept], atol=1e-4)


def test_decoder_gives_indices_when_they_are_asked_for(pydicom_file):
    from imgtheranostics.io.dicom.header_reading import read_header
    from imgtheranostics.io.dicom.pixels import pixel_format

    header = read_header(pydicom_file("examples_palette.dcm"))
    with Decoder() as decoder:
        (index,) = decoder.decode(header, pixel_format(header), indices=True)
        (rgb,) = decoder.decode(header, pixel_format(header))
    assert index.shape == (350, 800)
    assert rgb.shape == (350, 800, 3)


def test_dicom_clips_are_joined_by_their_acquisition_time(tmp_path, make_series):
    for name, clock in (("a", "100000.000000"), ("b", "100007.500000")):
        ds = make_series.new_dataset("US")
        make_series.set_pixels(ds, make_series.stored(3, dtype="uint8"))
        ds.FrameTime = 40.0
        ds.AcquisitionDate, ds.AcquisitionTime = "20200501", clock
        make_series.save(ds, tmp_path / f"{name}.dcm")
    clips = [it.load(tmp_path / f"{name}.dcm") for name in "ab"]
    joined = it.ultrasound.join(clips, same_gain=True)
    np.testing.assert_allclose(joined.axes[0].values, [0, 0.04, 0.08, 7.5, 7.54, 7.58])


@pytest.mark.parametrize("name", ["A0001", "zeta.img.bak", "0001.DCM"])
def test_files_are_known_by_their_content_not_their_name(save, name):
    """A loader that takes only names of one first letter silently misses frames."""
    assert it.load(save(name=name)).axes[0].values == pytest.approx([0, 0.04, 0.08])
