"""CT series: what may be taken for Hounsfield units, padding and fill, beam, and several energies.

The rules are those of the CT sheet's input table; expected values are stored value x slope + intercept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata, UnitMismatch

CT_FRAME = "PixelValueTransformationSequence"


def codes(volume) -> list[str]:
    return [caution.code for caution in volume.warnings]


def item(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def mapping(slope, intercept, unit) -> Dataset:
    code = item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    one = item(
        MeasurementUnitsCodeSequence=[code], RealWorldValueSlope=slope, RealWorldValueIntercept=intercept
    )
    one.add_new(0x00409216, "SS", -32768)
    one.add_new(0x00409211, "SS", 32767)
    return one


def edited(**values):
    """An edit that sets attributes on every slice; None deletes."""

    def edit(ds, k):
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return edit


def enhanced(make_series, path, frames, shared, stored=None, edit=None):
    """One enhanced CT file: `frames` and `shared` are pixel value transformations, or None."""
    ds = make_series.new_dataset("enhanced CT")
    stored = make_series.stored(len(frames)) if stored is None else stored
    make_series.set_pixels(ds, stored)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    common = item(
        PixelMeasuresSequence=[item(PixelSpacing=[1.5, 2.0], SliceThickness=2.5)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        CTXRayDetailsSequence=[item(KVP=100, FilterType="WEDGE", FilterMaterial="COPPER")],
        CTReconstructionSequence=[item(ConvolutionKernel="Br40", ReconstructionDiameter=250.0)],
    )
    if shared is not None:
        setattr(common, CT_FRAME, [shared])
    ds.SharedFunctionalGroupsSequence = [common]
    groups = []
    for k, own in enumerate(frames):
        group = item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 3.0 * k])])
        if own is not None:
            setattr(group, CT_FRAME, [own])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def hu(slope=1, intercept=-1024, kind="HU") -> Dataset:
    return item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType=kind)


@pytest.mark.parametrize("kind", ["US", "OD", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "MGML"])
def test_every_other_rescale_type_is_refused_by_name(tmp_path, make_series, kind):
    make_series(tmp_path, "CT", edit=edited(RescaleType=kind))
    volume = it.load(tmp_path)
    assert volume.quantity == ("concentration" if kind == "MGML" else "signal")
    with pytest.raises(UnitMismatch, match=r"RescaleType \(0028,1054\)") as caught:
        it.ct.require_hu(volume, units="HU")
    assert kind in str(caught.value) or kind == "MGML"


def test_what_looks_like_free_text_in_the_type_is_not_quoted(tmp_path, make_series):
    make_series(tmp_path, "CT", edit=edited(RescaleType="Canary of Doe"))
    volume = it.load(tmp_path)
    with pytest.raises(UnitMismatch) as caught:
        it.ct.require_hu(volume)
    assert "Canary" not in str(caught.value) + " ".join(map(str, volume.warnings))


def test_types_that_differ_within_a_series_are_refused(tmp_path, make_series):
    make_series(tmp_path, "CT", edit=lambda ds, k: setattr(ds, "RescaleType", "ED" if k == 2 else "HU"))
    with pytest.raises(UnitMismatch, match="HU, ED"):
        it.load(tmp_path)


def test_a_missing_type_is_hounsfield_in_plain_images_only(tmp_path, make_series):
    make_series(tmp_path / "plain", "CT", edit=edited(RescaleType=None))
    assert it.load(tmp_path / "plain").quantity == "attenuation"
    bare = item(RescaleSlope=1, RescaleIntercept=-1024)
    path = enhanced(make_series, tmp_path / "x.dcm", [None] * 3, bare)
    with pytest.raises(UnitMismatch, match="enhanced CT image without a rescale type"):
        it.ct.require_hu(it.load(path))


@pytest.mark.parametrize("unit", ["mg/cm3", "{furlong}", "1", "g/ml{SUVbw}"])
def test_a_real_world_unit_other_than_hounsfield_overrides_the_modality(tmp_path, make_series, unit):
    make_series(tmp_path, "CT", edit=edited(RealWorldValueMappingSequence=[mapping(0.1, 0.0, unit)]))
    volume = it.load(tmp_path)
    assert volume.quantity != "attenuation"
    with pytest.raises(UnitMismatch, match="RealWorldValueMappingSequence"):
        it.ct.require_hu(volume, units="HU")


def test_of_several_mappings_the_one_in_hounsfield_units_counts(tmp_path, make_series):
    both = [mapping(0.1, 0.0, "mg/cm3"), mapping(2.0, -1000.0, "[hnsf'U]")]
    make_series(tmp_path, "CT", edit=edited(RealWorldValueMappingSequence=both, RescaleType="US"))
    volume = it.load(tmp_path)
    assert it.ct.require_hu(volume) is volume
    assert volume.data.max() == 119 * 2.0 - 1000.0
    assert codes(volume) == []


def test_enhanced_mapping_in_an_unknown_unit_is_no_attenuation_either(tmp_path, make_series):
    def edit(ds):
        for group in ds.PerFrameFunctionalGroupsSequence:
            group.RealWorldValueMappingSequence = [mapping(7.0, 0.0, "{furlong}")]

    volume = it.load(enhanced(make_series, tmp_path / "x.dcm", [None] * 3, hu(), edit=edit))
    with pytest.raises(UnitMismatch, match="RealWorldValueMappingSequence"):
        it.ct.require_hu(volume)


def test_mass_concentration_is_of_the_stated_material(tmp_path, make_series):
    make_series(tmp_path / "a", "CT", edit=edited(RescaleType="MGML", ContrastBolusIngredient="IODINE"))
    named = it.load(tmp_path / "a")
    assert (named.quantity, named.unit, named.acquisition.contrast_material) == (
        "concentration",
        "mg/mL",
        "IODINE",
    )
    assert codes(named) == []
    make_series(tmp_path / "b", "CT", edit=edited(RescaleType="MGML"))
    assert codes(it.load(tmp_path / "b")) == ["material-not-stated"]


def test_shared_rescale_applies_to_all_frames_and_a_frame_overrules_it(tmp_path, make_series):
    own = [None, hu(3, -10), None]
    stored = np.full((3, 2, 3), 100, np.int16)
    volume = it.load(enhanced(make_series, tmp_path / "x.dcm", own, hu(2, -1024), stored))
    assert volume.data[0, 0].tolist() == [200 - 1024, 300 - 10, 200 - 1024]
    assert volume.quantity == "attenuation"


def test_enhanced_object_states_beam_and_reconstruction_in_its_groups(tmp_path, make_series):
    def edit(ds):
        iodine = item(CodeValue="44588005", CodingSchemeDesignator="SCT", CodeMeaning="Iodine")
        agent = item(CodeValue="109219007", CodingSchemeDesignator="SCT", CodeMeaning="Iopamidol")
        agent.ContrastBolusIngredientCodeSequence = [iodine]
        ds.ContrastBolusAgentSequence = [agent]

    record = it.load(enhanced(make_series, tmp_path / "x.dcm", [None] * 3, hu(), edit=edit)).acquisition
    assert (record.tube_voltage_kv, record.filtration, record.filter_material) == (100.0, "WEDGE", "COPPER")
    assert (record.kernel, record.slice_thickness_mm, record.reconstruction_diameter_mm) == (
        "Br40",
        2.5,
        250.0,
    )
    assert (record.contrast_agent, record.contrast_material) == ("Iopamidol", "Iodine")


@pytest.mark.parametrize("kind", ["ED", "US"])
def test_one_frame_of_another_type_is_refused(tmp_path, make_series, kind):
    with pytest.raises(UnitMismatch, match=f"HU, {kind}"):
        it.load(enhanced(make_series, tmp_path / "x.dcm", [None, None, hu(kind=kind)], hu()))


@pytest.mark.parametrize(
    ("transformation", "error", "words"),
    [
        (item(RescaleSlope=1, RescaleType="HU"), MissingMetadata, "RescaleIntercept"),
        (item(RescaleIntercept=0, RescaleType="HU"), MissingMetadata, "RescaleSlope"),
        (hu(slope=0), CorruptInput, "RescaleSlope"),
        (hu(slope=[1, 2]), CorruptInput, "RescaleSlope"),
        (None, MissingMetadata, "RescaleSlope"),
    ],
)
def test_enhanced_frame_without_a_scale_is_refused(tmp_path, make_series, transformation, error, words):
    with pytest.raises(error, match=words):
        it.load(
            enhanced(make_series, tmp_path / "x.dcm", [None, None, transformation], transformation and hu())
        )


def test_missing_intercept_is_not_zero(tmp_path, make_series):
    make_series(tmp_path, "CT", edit=lambda ds, k: k == 1 and delattr(ds, "RescaleIntercept"))
    with pytest.raises(MissingMetadata, match=r"RescaleIntercept \(0028,1052\)"):
        it.load(tmp_path)


@pytest.mark.parametrize("classic", [True, False])
def test_slope_of_minus_one_loads_with_a_warning(tmp_path, make_series, classic):
    stored = np.arange(24, dtype=np.int16).reshape(3, 2, 4)
    if classic:
        make_series(tmp_path, "CT", stored=stored, edit=edited(RescaleSlope="-1", RescaleIntercept="100"))
    else:
        enhanced(make_series, tmp_path / "x.dcm", [None] * 3, hu(-1, 100), stored)
    volume = it.load(tmp_path)
    assert np.array_equal(volume.data, 100.0 - stored.transpose(2, 1, 0))
    assert codes(volume) == ["negative-slope"]


def test_signed_values_with_intercept_zero_stay_as_they_are(tmp_path, make_series):
    stored = np.linspace(-1024, 3071, 24).astype(np.int16).reshape(3, 2, 4)
    make_series(tmp_path, "CT", stored=stored, edit=edited(RescaleIntercept="0"))
    volume = it.load(tmp_path)
    assert np.array_equal(volume.data, stored.transpose(2, 1, 0))
    assert int(it.ct.saturated(volume).sum()) == 1


def test_a_slice_of_another_sign_keeps_its_values(tmp_path, make_series):
    """Slice 1 is unsigned above 32767, the others signed: each is read with its own sign and slope."""
    planes = [
        np.full((2, 3), -900, np.int16),
        np.full((2, 3), 60000, np.uint16),
        np.full((2, 3), -32768, np.int16),
    ]

    def edit(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = ["1", "0.05", "0.01"][k], ["0", "-1000", "0"][k]

    make_series(tmp_path, "CT", stored=planes, edit=edit)
    volume = it.load(tmp_path)
    expected = np.array([-900.0, 60000 * 0.05 - 1000.0, -327.68], np.float32)
    assert np.array_equal(volume.data[0, 0], expected)


def test_padding_is_read_with_the_sign_of_its_own_slice(tmp_path, make_series):
    planes = [np.array([[-2000, 63536 - 65536, 5]], np.int16), np.array([[63536, 2000, 5]], np.uint16)] * 2

    def edit(ds, k):
        ds.add_new(0x00280120, "US", 63536)  # -2000 as int16

    make_series(tmp_path, "CT", stored=planes, edit=edit)
    volume = it.load(tmp_path)
    assert np.isnan(volume.data[:, 0, 0]).tolist() == [True, True, False]
    assert np.isnan(volume.data[:, 0, 1]).tolist() == [True, False, False]
    assert volume.acquisition.padding_voxels == 6


@pytest.mark.parametrize("fill", [-1500, -2000, -3024])
def test_untagged_fill_is_told_and_the_mask_leaves_it_out(tmp_path, make_series, fill):
    stored = np.full((4, 5, 6), 1024, np.int16)  # 0 HU
    stored[:, 0], stored[:, 1] = fill + 1024, 0  # fill, and a row of air at -1024 HU
    make_series(tmp_path, "CT", stored=stored)
    volume = it.load(tmp_path)
    assert codes(volume) == ["untagged-padding"]
    assert f"20.0 % of the voxels are exactly {fill} HU" in volume.warnings[0].message
    inside = it.ct.field_of_view(volume)
    assert inside.quantity == "labels"
    assert np.array_equal(inside.data == 0, stored.transpose(2, 1, 0) == fill + 1024)
    assert inside.grid.same_as(volume.grid)


def test_fill_beside_tagged_padding_is_told_too(tmp_path, make_series):
    stored = np.full((4, 5, 6), 1024, np.int16)
    stored[:, 0], stored[:, 1] = -2000, -32768

    def edit(ds, k):
        ds.add_new(0x00280120, "SS", -32768)

    make_series(tmp_path, "CT", stored=stored, edit=edit)
    volume = it.load(tmp_path)
    assert codes(volume) == ["padding-to-nan", "untagged-padding"]
    outside = it.ct.field_of_view(volume).data == 0
    assert np.array_equal(outside, (stored < 1024).transpose(2, 1, 0))


def test_settings_of_the_record(tmp_path, make_series):
    def edit(ds, k):
        ds.FilterType, ds.FilterMaterial, ds.ConvolutionKernel = "FLAT", ["ALUMINUM", "COPPER"], "B70f"
        ds.FilterThicknessMinimum, ds.ContrastBolusAgent = ["2.5", "0.5"], "ISOVUE300/100"

    make_series(tmp_path, "CT", edit=edit)
    record = it.load(tmp_path).acquisition
    assert (record.filtration, record.filter_material) == ("FLAT", "ALUMINUM\\COPPER")
    assert (record.filter_thickness_mm, record.kernel, record.slice_thickness_mm) == (3.0, "B70f", 9.0)
    assert record.contrast_agent == "ISOVUE300/100"


@pytest.mark.parametrize(
    ("keyword", "field"),
    [("ConvolutionKernel", "kernel"), ("FilterType", "filtration"), ("SliceThickness", "slice_thickness_mm")],
)
def test_a_setting_that_varies_within_a_series_is_not_that_of_its_first_slice(
    tmp_path, make_series, keyword, field
):
    make_series(tmp_path, "CT", edit=lambda ds, k: setattr(ds, keyword, "1" if k < 2 else "2"))
    assert getattr(it.load(tmp_path).acquisition, field) is None


@pytest.mark.parametrize("kvp", ["", "0"])
def test_an_unknown_voltage_stays_unknown(tmp_path, make_series, kvp):
    make_series(tmp_path, "CT", edit=edited(KVP=kvp))
    assert it.load(tmp_path).acquisition.tube_voltage_kv is None


@pytest.mark.parametrize(("other", "words"), [("100", "100, 120 kV"), ("", "120, not stated kV")])
def test_a_voltage_that_differs_between_slices_is_told(tmp_path, make_series, other, words):
    def edit(ds, k):
        ds.KVP = "120" if k else other

    make_series(tmp_path, "CT", edit=edit)
    volume = it.load(tmp_path)
    assert volume.acquisition.tube_voltage_kv is None
    (caution,) = (one for one in volume.warnings if one.code == "voltage-varies")
    assert words in caution.message


def test_a_monoenergetic_image_has_no_voltage(tmp_path, make_series):
    make_series(tmp_path, "CT", edit=edited(ImageType=["DERIVED", "PRIMARY", "AXIAL", "VMI"]))
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.acquisition.tube_voltage_kv) == ("attenuation", None)
    assert codes(volume) == ["monoenergetic-image"]


def two_energies(make_series, folder, low=None, high=None):
    """The higher voltage has the name and the series number that come first."""
    stored = make_series.stored()

    def voltage(kvp, number):
        def edit(ds, k):
            ds.KVP, ds.SeriesNumber = kvp, number
            ds.RescaleIntercept = "-1000" if kvp == "80" else "-900"

        return edit

    common = {"stored": stored}
    make_series(
        folder, "CT", prefix="b_", series_uid="1.2.826.0.1.80", edit=voltage("80", 9), **common | (low or {})
    )
    make_series(
        folder,
        "CT",
        prefix="a_",
        series_uid="1.2.826.0.1.140",
        edit=voltage("140", 1),
        **common | (high or {}),
    )
    return stored


@pytest.mark.parametrize("series", ["all", [1, 2], [2, 1]])
def test_two_series_make_an_energy_axis_in_the_order_of_their_voltage(tmp_path, make_series, series):
    stored = two_energies(make_series, tmp_path)
    volume = it.load(tmp_path, series=series)
    assert (volume.axes[0].name, volume.axes[0].unit) == ("energy", "kV")
    assert volume.axes[0].values.tolist() == [80.0, 140.0]
    assert np.array_equal(volume.data[..., 0], stored.transpose(2, 1, 0) - 1000.0)
    assert np.array_equal(volume.data[..., 1], stored.transpose(2, 1, 0) - 900.0)
    assert volume.acquisition.tube_voltage_kv is None


def test_a_tin_filter_at_one_energy_stays_with_it(tmp_path, make_series):
    stored = make_series.stored()

    def beam(kvp, material, thickness):
        return edited(KVP=kvp, FilterMaterial=material, FilterThicknessMaximum=thickness)

    make_series(tmp_path, "CT", prefix="a", series_uid="1.2.1", stored=stored, edit=beam("140", "TIN", "0.4"))
    make_series(
        tmp_path, "CT", prefix="b", series_uid="1.2.2", stored=stored, edit=beam("80", "ALUMINUM", "7")
    )
    record = it.load(tmp_path, series="all").acquisition
    assert (record.filter_material, record.filter_thickness_mm) == (None, None)
    assert (record.filter_materials, record.filter_thicknesses_mm) == (("ALUMINUM", "TIN"), (7.0, 0.4))
    assert record.of_energy(1, 140.0).filter_material == "TIN"


def test_the_two_series_are_listed_and_load_one_by_one(tmp_path, make_series):
    two_energies(make_series, tmp_path)
    assert [one.acquisition.tube_voltage_kv for one in it.load_all(tmp_path)] == [140.0, 80.0]


POSITIONS = [[-10.0, -20.0, 5.0 + 3.0 * k] for k in range(4)]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"positions": [[x + 0.7, y, z] for x, y, z in POSITIONS]}, r"80 kV: origin by 0\.7 mm"),
        ({"positions": [[x, y, z + 1.5] for x, y, z in POSITIONS]}, r"origin by 1\.5 mm"),
        ({"step_mm": 3.2}, r"spacing 2, 1\.5, 3 against 2, 1\.5, 3\.2 mm"),
        ({"stored": np.zeros((5, 5, 6), np.int16)}, "shape 6 x 5 x 4 against 6 x 5 x 5"),
    ],
)
def test_energies_on_different_grids_are_refused_with_what_differs(tmp_path, make_series, other, words):
    two_energies(make_series, tmp_path, low=other)
    with pytest.raises(GeometryMismatch, match=words) as caught:
        it.load(tmp_path, series="all")
    assert "140 kV and 80 kV" in str(caught.value)


def test_energies_in_different_directions_are_refused(tmp_path, make_series):
    two_energies(make_series, tmp_path, low={"orientation": (0, 1, 0, 1, 0, 0)})
    with pytest.raises(GeometryMismatch, match="direction by 90, 90, 180 degrees"):
        it.load(tmp_path, series="all")


def test_three_series_need_a_voltage_each(tmp_path, make_series):
    two_energies(make_series, tmp_path)
    make_series(tmp_path, "CT", prefix="c_", series_uid="1.2.826.0.1.3", edit=edited(KVP="80"))
    with pytest.raises(CorruptInput, match="voltage of their own"):
        it.load(tmp_path, series="all")


def test_a_tilted_gantry_is_refused(tmp_path, make_series):
    tilt = np.radians(15.0)
    orientation = (1, 0, 0, 0, np.cos(tilt), np.sin(tilt))
    positions = [[0.0, 0.0, 3.0 * k] for k in range(4)]  # the table moves along z, not along the normal
    make_series(tmp_path, "CT", orientation=orientation, positions=positions)
    with pytest.raises(GeometryMismatch, match="gantry tilt"):
        it.load(tmp_path)


def test_the_small_image_of_the_wheel_has_its_published_values(pydicom_file):
    """CT sheet, section 5: 120 kVp, HU -896 to 1167 with mean -119.07, thickness 5 mm."""
    volume = it.load(pydicom_file("CT_small.dcm"))
    assert (volume.data.min(), volume.data.max()) == (-896.0, 1167.0)
    assert volume.data.mean(dtype=np.float64) == pytest.approx(-119.07, abs=0.005)
    record = volume.acquisition
    assert (record.tube_voltage_kv, record.slice_thickness_mm) == (120.0, 5.0)
    assert record.contrast_agent == "ISOVUE300/100"
    assert it.ct.require_hu(volume) is volume


def test_the_directories_of_the_wheel_load_or_are_refused_by_name(pydicom_file):
    """Five slices 2.5 mm apart; two localizers; four slices of which one is 202.5 mm away."""
    root = Path(pydicom_file("dicomdirtests/98892001/CT5N/2062")).parents[2]
    volume = it.load(root / "98892001" / "CT5N")
    assert (volume.shape, volume.quantity) == ((16, 16, 5), "attenuation")
    assert (volume.acquisition.kernel, volume.acquisition.slice_thickness_mm) == ("STANDARD", 2.5)
    localizer = it.load(root / "98892001" / "CT2N", series=1)
    with pytest.raises(UnitMismatch, match="localizer"):
        it.ct.require_hu(localizer)
    with pytest.raises(GeometryMismatch, match=r"202\.5 mm"):
        it.load(root / "77654033" / "CT2")


@pytest.mark.parametrize("value", ["NaN", "inf", "abc"])
def test_enhanced_slope_that_is_no_number_is_corrupt(tmp_path, make_series, patch_bytes, value):
    path = enhanced(make_series, tmp_path / "x.dcm", [None] * 3, hu(slope="1.2345678"))
    patch_bytes(path, b"1.2345678", value.encode().ljust(9))
    with pytest.raises(CorruptInput):
        it.load(path)


@pytest.mark.parametrize(
    ("dtype", "bits", "intercept", "top"),
    [
        ("uint16", 12, "-1024", 3071.0),  # the usual scanner
        ("int16", 12, "0", 2047.0),
        ("int16", 16, "0", 32767.0),
        ("uint16", 16, "-8192", 57343.0),
    ],
)
def test_saturation_is_at_the_top_of_what_can_be_stored(tmp_path, make_series, dtype, bits, intercept, top):
    """(2^bits - 1, or 2^(bits - 1) - 1 where signed) + intercept; never above 3071 HU."""
    stored = np.zeros((3, 2, 3), dtype)
    stored[1] = np.array([[2046, 2047, 1000], [100, 0, 5]], dtype)
    if dtype == "uint16":
        stored[1, 0] = (1 << bits) - 2, (1 << bits) - 1, 2000

    def edit(ds, k):
        ds.RescaleIntercept, ds.BitsStored, ds.HighBit = intercept, bits, bits - 1

    make_series(tmp_path, "CT", stored=stored, edit=edit)
    volume = it.load(tmp_path)
    assert volume.acquisition.largest_storable == top
    expected = volume.data >= min(top, 3071.0)
    assert np.array_equal(it.ct.saturated(volume), expected)
    assert int(expected.sum()) == {3071.0: 1, 2047.0: 1, 32767.0: 0, 57343.0: 2}[top]


def test_the_smallest_range_of_the_slices_counts(tmp_path, make_series):
    make_series(tmp_path, "CT", edit=lambda ds, k: setattr(ds, "RescaleSlope", "0.05" if k == 1 else "1"))
    assert it.load(tmp_path).acquisition.largest_storable == pytest.approx(32767 * 0.05 - 1024)
