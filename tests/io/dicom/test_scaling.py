"""Stored values to quantities: traps 4, 13, 14, 15 of the input rules and the slopes that are refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.io.dicom.pixels import PixelFormat, used_bits


def codes(warnings) -> list[str]:
    return [caution.code for caution in warnings]


def mapping(slope, intercept, unit, first=-32768, last=32767) -> Dataset:
    item, code = Dataset(), Dataset()
    item.add_new(0x00409216, "SS", first)
    item.add_new(0x00409211, "SS", last)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
    item.MeasurementUnitsCodeSequence = [code]
    return item


def test_every_slice_has_its_own_slope_near_the_type_limit(tmp_path, make_series):
    """SimpleITK takes the pixel type of the first slice and truncates or wraps the others: we must not."""
    stored = np.full((6, 3, 3), 32767, dtype=np.int16)
    stored[:, 0, 0] = -32768
    slopes = [1.0, 1.29, 0.0337, 250.5, 1.00001, 17.0]

    def edit(ds, k):
        ds.RescaleSlope = str(slopes[k])

    make_series(tmp_path, stored=stored, edit=edit)
    volume = it.load(tmp_path)
    for k, slope in enumerate(slopes):
        expected = (stored[k].T * slope).astype(np.float32)  # float64 product, stored once
        assert np.array_equal(volume.data[:, :, k], expected)
    record = next(step for step in volume.history if step.name == "scale").parameters
    assert record["slope"]["minimum"] == 0.0337
    assert record["slope"]["maximum"] == 250.5


def test_uint16_above_the_signed_range_stays_positive(tmp_path, make_series):
    stored = np.array([[[32768, 65535], [0, 1]]] * 3, dtype=np.uint16)
    make_series(tmp_path, stored=stored)
    assert it.load(tmp_path).data.max() == np.float32(65535 * 2.5)


def test_known_sum_survives_scaling(tmp_path, make_series):
    stored = make_series.stored(5, 8, 9)
    make_series(tmp_path, stored=stored)
    assert it.load(tmp_path).data.sum(dtype=np.float64) == stored.sum() * 2.5


@pytest.mark.parametrize("modality", ["PT", "CT"])
@pytest.mark.parametrize(
    ("word", "error"),
    [
        (b"NaN       ", CorruptInput),
        (b"abc       ", CorruptInput),
        (b"1\\2       ", CorruptInput),
        (b"inf       ", CorruptInput),
        (b"0         ", CorruptInput),
        (b"          ", MissingMetadata),
    ],
)
def test_bad_slope_is_refused(tmp_path, make_series, patch_bytes, modality, word, error):
    def edit(ds, k):
        ds.RescaleSlope = "1.23456789" if k == 2 else "1"

    paths = make_series(tmp_path, modality, edit=edit)
    patch_bytes(paths[2], b"1.23456789", word)
    with pytest.raises(error, match=r"RescaleSlope \(0028,1053\)"):
        it.load(tmp_path)
    assert any("RescaleSlope" in problem for one in it.info(tmp_path) for problem in one.problems)


@pytest.mark.parametrize("modality", ["PT", "CT"])
def test_absent_slope_is_not_one(tmp_path, make_series, modality):
    def edit(ds, k):
        if k == 1:
            del ds.RescaleSlope

    make_series(tmp_path, modality, edit=edit)
    with pytest.raises(MissingMetadata, match="a missing slope is not 1"):
        it.load(tmp_path)


def test_negative_slope_warns(tmp_path, make_series):
    def edit(ds, k):
        ds.RescaleSlope = "-1"

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    assert codes(volume.warnings) == ["negative-slope"]
    assert volume.data.min() == -119.0


def test_mr_without_slope_keeps_stored_values(tmp_path, make_series):
    make_series(tmp_path, "MR")
    volume = it.load(tmp_path)
    assert volume.acquisition.value_scale == "stored"
    assert np.array_equal(volume.data, make_series.stored().transpose(2, 1, 0).astype(np.float32))


def test_scaled_values_beyond_float32_are_refused(tmp_path, make_series):
    def edit(ds, k):
        ds.RescaleSlope = "1e37"

    make_series(tmp_path, edit=edit)
    with pytest.raises(CorruptInput, match="float32"):
        it.load(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "padding", "limit", "expected"),
    [
        ("int16", -2000, None, [-2000]),
        ("int16", -2000, -1995, [-2000, -1998, -1995]),
        ("int16", -1995, -2000, [-2000, -1998, -1995]),
        ("uint16", 63536, None, [63536]),
    ],
)
def test_padding_is_compared_in_stored_values(tmp_path, make_series, dtype, padding, limit, expected):
    values = [-2000, -1998, -1995, -1024, 0, 500] if dtype == "int16" else [63536, 0, 1, 2, 3, 40000]
    stored = np.resize(np.array(values, dtype=dtype), (4, 5, 6))

    def edit(ds, k):
        vr = "SS" if dtype == "int16" else "US"
        ds.add_new(0x00280120, vr, padding)
        if limit is not None:
            ds.add_new(0x00280121, vr, limit)

    make_series(tmp_path, "CT", stored=stored, edit=edit)
    volume = it.load(tmp_path)
    n = int(np.isin(stored, expected).sum())
    assert np.array_equal(np.isnan(volume.data), np.isin(stored, expected).transpose(2, 1, 0))
    assert volume.acquisition.padding_voxels == n
    assert "padding-to-nan" in codes(volume.warnings)


def test_padding_sign_follows_pixel_representation(tmp_path, make_series):
    """A tag written as US 63536 in a signed image means -2000."""
    stored = make_series.stored()
    stored[:, 0, 0] = -2000

    def edit(ds, k):
        ds.add_new(0x00280120, "US", 63536)

    make_series(tmp_path, "CT", stored=stored, edit=edit)
    volume = it.load(tmp_path)
    assert np.isnan(volume.data[0, 0]).all()
    assert volume.acquisition.padding_voxels == 4


def test_air_is_not_padding(tmp_path, make_series):
    stored = make_series.stored()
    stored[:, :2] = 0  # -1024 HU
    make_series(tmp_path, "CT", stored=stored)
    volume = it.load(tmp_path)
    assert volume.warnings == ()
    assert volume.data.min() == -1024.0


def test_untagged_fill_outside_the_field_of_view_warns(tmp_path, make_series):
    stored = make_series.stored()
    stored[:, 0] = -2000  # -3024 HU
    make_series(tmp_path, "CT", stored=stored)
    assert codes(it.load(tmp_path).warnings) == ["untagged-padding"]


@pytest.mark.parametrize(
    ("rescale_type", "quantity"),
    [
        ("HU", "attenuation"),
        (None, "attenuation"),
        ("MGML", "concentration"),
        ("ED", "signal"),
        ("US", "signal"),
    ],
)
def test_only_hounsfield_units_are_attenuation(tmp_path, make_series, rescale_type, quantity):
    def edit(ds, k):
        ds.RescaleType = rescale_type
        if rescale_type is None:
            del ds.RescaleType

    make_series(tmp_path, "CT", edit=edit)
    volume = it.load(tmp_path)
    assert volume.quantity == quantity
    assert (codes(volume.warnings) == ["not-hounsfield"]) == (quantity == "signal")


def test_localizer_is_not_attenuation(tmp_path, make_series):
    def edit(ds, k):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    make_series(tmp_path, "CT", edit=edit)
    assert it.load(tmp_path).quantity == "signal"


def test_real_world_map_is_preferred_and_recorded(tmp_path, make_series):
    def edit(ds, k):
        ds.RealWorldValueMappingSequence = [mapping(7.0, 3.0, "Bq/ml")]

    make_series(tmp_path, edit=edit)  # RescaleSlope 2.5 is there too
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.unit) == ("activity_concentration", "Bq/mL")
    assert volume.data.max() == 119 * 7.0 + 3.0
    record = next(step for step in volume.history if step.name == "scale").parameters
    assert (record["rule"], record["slope"]) == ("real_world_value_mapping", 7.0)


@pytest.mark.parametrize(
    ("unit", "quantity", "factor"),
    [
        ("kBq/ml", "activity_concentration", 1e3),
        ("g/ml{SUVbw}", "suv_bw", 1.0),
        ("{SUVbw}g/ml", "suv_bw", 1.0),
    ],
)
def test_real_world_units_become_quantities(tmp_path, make_series, unit, quantity, factor):
    def edit(ds, k):
        ds.RealWorldValueMappingSequence = [mapping(7.0, 0.0, unit)]

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    assert volume.quantity == quantity
    assert volume.data.max() == pytest.approx(119 * 7.0 * factor)


def test_real_world_map_in_an_unknown_unit_is_not_used(tmp_path, make_series):
    def edit(ds, k):
        ds.RealWorldValueMappingSequence = [mapping(7.0, 0.0, "{furlong}")]

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    assert codes(volume.warnings) == ["real-world-unit-not-used"]
    assert volume.data.max() == 119 * 2.5


def test_values_outside_the_mapped_range_are_not_numbers(tmp_path, make_series):
    def edit(ds, k):
        ds.RealWorldValueMappingSequence = [mapping(7.0, 0.0, "Bq/ml", 10, 100)]

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    stored = make_series.stored().transpose(2, 1, 0)
    assert np.array_equal(np.isnan(volume.data), (stored < 10) | (stored > 100))
    assert "outside-real-world-mapping" in codes(volume.warnings)


def test_ct_mapped_to_concentration_is_no_attenuation(tmp_path, make_series):
    def edit(ds, k):
        ds.RealWorldValueMappingSequence = [mapping(0.1, 0.0, "mg/cm3")]

    make_series(tmp_path, "CT", edit=edit)
    assert it.load(tmp_path).quantity == "concentration"


def philips(scale_slope, rescale_slope):
    def edit(ds, k):
        ds.Manufacturer = "Philips Medical Systems"
        ds.RescaleSlope, ds.RescaleIntercept = str(rescale_slope[k]), "10"
        if scale_slope[k] is not None:
            block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", scale_slope[k])

    return edit


def test_philips_twins_with_two_scale_slopes_give_one_precise_value(tmp_path, make_series):
    """One signal stored with different slopes per image: display values differ, precise ones do not."""
    precise = 800.0
    slopes, scales = [1.0, 2.0, 5.0], [0.25, 0.5, 0.125]
    stored = np.array(
        [np.full((2, 2), (precise * rs * ss - 10) / rs) for rs, ss in zip(slopes, scales, strict=True)]
    )
    assert np.array_equal(stored, np.rint(stored))
    make_series(tmp_path, "MR", stored=stored.astype(np.int16), edit=philips(scales, slopes))
    volume = it.load(tmp_path)
    assert volume.acquisition.value_scale == "philips_floating_point"
    assert volume.data == pytest.approx(np.full((2, 2, 3), precise), rel=1e-6)


def test_philips_images_with_and_without_scale_slope_are_not_mixed(tmp_path, make_series):
    make_series(tmp_path, "MR", edit=philips([0.5, None, 0.5, 0.5], [1, 1, 1, 1]))
    with pytest.raises(UnitMismatch, match="different rules"):
        it.load(tmp_path)


def test_philips_display_values_carry_a_caution(tmp_path, make_series):
    make_series(tmp_path, "MR", edit=philips([None] * 4, [2, 2, 2, 2]))
    volume = it.load(tmp_path)
    assert codes(volume.warnings) == ["philips-display-values"]
    assert volume.acquisition.value_scale == "philips_display"
    assert volume.data.max() == 119 * 2 + 10


@pytest.mark.parametrize(
    ("maker", "slope", "intercept", "stored", "radians"),
    [("SIEMENS", "2", "-4096", 4095, 4094 / 4096 * np.pi), ("Philips", "1.5", "-3141.5", 0, -3.1415)],
)
def test_phase_images_are_in_radians(tmp_path, make_series, maker, slope, intercept, stored, radians):
    def edit(ds, k):
        ds.Manufacturer, ds.ImageType = maker, ["ORIGINAL", "PRIMARY", "P", "ND"]
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept

    make_series(tmp_path, "MR", stored=np.full((3, 2, 2), stored, dtype=np.int16), edit=edit)
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.unit, volume.acquisition.image_component) == ("phase", "rad", "phase")
    assert volume.data == pytest.approx(np.full((2, 2, 3), radians), rel=1e-6)


@given(
    hnp.arrays(np.int16, (1, 3, 4), elements=st.integers(-32768, 32767)), st.integers(1, 16), st.booleans()
)
def test_unused_bits_are_taken_out_with_the_sign(values, stored, signed):
    """The definition of PS3.5 8.1.1, bit by bit in Python integers."""
    found = PixelFormat(3, 4, 1, 1, 16, stored, stored - 1, signed, "MONOCHROME2")
    raw = values if signed else values.view(np.uint16)
    expected = []
    for value in raw.ravel():
        bits = int(value) & ((1 << stored) - 1)
        expected.append(bits - (1 << stored) if signed and bits >> (stored - 1) else bits)
    assert used_bits(raw, found).ravel().tolist() == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.sampled_from(["int16", "uint16", "int8", "uint8", "int32", "uint32"]),
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]),
    st.decimals(-1000, 1000, places=5),
    st.decimals(-5000, 5000, places=3),
    st.integers(0, 2**32 - 1),
)
def test_fast_path_equals_pydicom_bit_for_bit(tmp_path, make_series, dtype, syntax, slope, intercept, seed):
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    stored = rng.integers(info.min, info.max, (3, 4, 5), dtype=dtype, endpoint=True)
    slope = slope or 1

    def edit(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = str(slope), str(intercept)
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax.endswith(".2.2") and stored.dtype.itemsize > 1:
            ds.PixelData = stored[k].astype(stored.dtype.newbyteorder(">")).tobytes()

    paths = make_series(tmp_path / f"{seed}{dtype}{syntax[-3:]}", stored=stored, edit=edit)
    volume = it.load(paths)
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        expected = ds.pixel_array.astype(np.float64) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert np.array_equal(volume.data[:, :, k], expected.T.astype(np.float32))
