"""CT images in NIfTI: what their sidecar must say before anything takes them for Hounsfield units."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata, UnitMismatch
from imgtheranostics.io.untagged_fill import fill_values, is_fill

HU = {"Modality": "CT", "Units": "HU"}
FULL = HU | {
    "KVP": 120,
    "FilterMaterial": "ALUMINUM",
    "FilterThickness": 7.0,
    "ConvolutionKernel": "B30f",
    "ContrastBolusAgent": "ISOVUE300",
    "ContrastBolusIngredient": "IODINE",
    "SliceThickness": 1.5,
}


def put(folder, name, sidecar, data=None, affine=None, slope=None):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4) if data is None else np.asarray(data)
    image = nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    path = folder / f"{name}.nii"
    nibabel.save(image, path)
    if slope is not None:
        raw = bytearray(path.read_bytes())
        raw[112:116] = np.float32(slope).tobytes()  # scl_slope of the NIfTI-1 header
        path.write_bytes(raw)
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return path


def load(folder, sidecar, **options):
    return it.load(put(folder, "scan", sidecar, **options))


def codes(volume):
    return [caution.code for caution in volume.warnings]


def test_every_key_of_the_convention_is_read(tmp_path):
    volume = load(tmp_path, FULL)
    assert (volume.quantity, volume.unit) == ("attenuation", "[HU]")
    record = volume.acquisition
    assert isinstance(record, CtAcquisition)
    assert (record.tube_voltage_kv, record.kernel, record.slice_thickness_mm) == (120.0, "B30f", 1.5)
    assert (record.filter_material, record.filter_thickness_mm) == ("ALUMINUM", 7.0)
    assert (record.contrast_agent, record.contrast_material) == ("ISOVUE300", "IODINE")
    assert it.ct.require_hu(volume) is volume


@pytest.mark.parametrize("word", ["HU", "hu", "[HU]", "[hnsf'U]", "Hounsfield"])
def test_spellings_of_the_unit(tmp_path, word):
    assert load(tmp_path, HU | {"Units": word}).quantity == "attenuation"


@pytest.mark.parametrize("sidecar", [{"Units": "HU"}, {"KVP": 80, "Units": "HU"}])
def test_a_sidecar_in_hounsfield_units_needs_no_modality(tmp_path, sidecar):
    volume = load(tmp_path, sidecar)
    assert (volume.quantity, volume.acquisition.modality) == ("attenuation", "CT")


@pytest.mark.parametrize("sidecar", [{"Modality": "CT"}, {"Modality": "CT", "KVP": 80}, {"KVP": 80}])
def test_without_units_nothing_takes_it_for_hounsfield(tmp_path, sidecar):
    volume = load(tmp_path, sidecar)
    assert volume.quantity == "stored_value"
    assert codes(volume) == ["units-not-stated"]
    with pytest.raises(MissingMetadata, match="Units"):
        it.ct.require_hu(volume)
    stated = it.ct.require_hu(volume, units="HU")
    assert (stated.quantity, codes(stated)) == ("attenuation", [])


def test_an_image_without_a_sidecar_needs_the_statement_too(tmp_path):
    volume = load(tmp_path, None)
    with pytest.raises(MissingMetadata, match="Units"):
        it.ct.require_hu(volume)
    assert it.ct.require_hu(volume, units="HU").quantity == "attenuation"


@pytest.mark.parametrize("stated", [{"Units": "1/cm"}, {"RescaleType": "ED"}, {"Units": "arbitrary"}])
def test_another_unit_is_refused_whatever_the_user_states(tmp_path, stated):
    volume = load(tmp_path, {"Modality": "CT"} | stated)
    assert codes(volume) == ["not-hounsfield"]
    with pytest.raises(UnitMismatch, match="something other than HU"):
        it.ct.require_hu(volume, units="HU")


def test_contradicting_statements_are_refused(tmp_path):
    with pytest.raises(UnitMismatch, match="contradict"):
        load(tmp_path, HU | {"RescaleType": "MGML"})


@pytest.mark.parametrize(
    ("stated", "factor"),
    [({"RescaleType": "MGML"}, 1.0), ({"Units": "mg/mL"}, 1.0), ({"Units": "g/mL"}, 1e3)],
)
def test_a_mass_concentration_is_one_and_asks_for_its_material(tmp_path, stated, factor):
    volume = load(tmp_path, {"Modality": "CT"} | stated)
    assert (volume.quantity, volume.unit) == ("concentration", "mg/mL")
    assert volume.data.max() == 23.0 * factor
    assert codes(volume) == ["material-not-stated"]
    with pytest.raises(UnitMismatch, match="concentration"):
        it.ct.require_hu(volume, units="HU")
    named = load(tmp_path, {"Modality": "CT", "ContrastBolusIngredient": "GADOLINIUM"} | stated)
    assert (named.acquisition.contrast_material, codes(named)) == ("GADOLINIUM", [])


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_no_scaling_by_the_format_loads_with_a_note(tmp_path, slope):
    volume = load(tmp_path, FULL, data=np.arange(24, dtype=np.int16).reshape(2, 3, 4), slope=slope)
    assert volume.data.max() == 23.0
    assert "no-scaling" in codes(volume)


@pytest.mark.parametrize(
    "wrong",
    [{"KVP": 0}, {"KVP": "high"}, {"KVP": [80, 140]}, {"SliceThickness": -1}, {"FilterThickness": "0.5 mm"}],
)
def test_numbers_that_are_none_are_corrupt(tmp_path, wrong):
    with pytest.raises(CorruptInput, match=next(iter(wrong))):
        load(tmp_path, HU | wrong)


def test_several_filters_are_one_filter(tmp_path):
    sidecar = HU | {"FilterMaterial": ["ALUMINUM", "COPPER"], "FilterThickness": [2.0, 0.5]}
    record = load(tmp_path, sidecar).acquisition
    assert (record.filter_material, record.filter_thickness_mm) == ("ALUMINUM\\COPPER", 2.5)


def test_the_keys_survive_saving_and_an_edit_of_them_counts(tmp_path):
    it.save(load(tmp_path, FULL | {"FilterMaterial": "ALUMINUM\\COPPER"}), tmp_path / "again.nii.gz")
    content = json.loads((tmp_path / "again.json").read_text())
    assert (content["KVP"], content["SliceThickness"], content["FilterThickness"]) == (120, 1.5, 7)
    assert (content["FilterMaterial"], content["ContrastBolusIngredient"]) == ("ALUMINUM\\COPPER", "IODINE")
    content["KVP"], content["SliceThickness"] = 80, 3
    (tmp_path / "again.json").write_text(json.dumps(content))
    record = it.load(tmp_path / "again.nii.gz").acquisition
    assert (record.tube_voltage_kv, record.slice_thickness_mm) == (80.0, 3.0)
    assert record.filter_thickness_mm == 7.0


def test_our_keys_in_a_hand_made_sidecar_keep_the_beam(tmp_path):
    volume = load(tmp_path, {"Quantity": "attenuation", "Units": "HU", "KVP": 80})
    assert (volume.quantity, volume.acquisition.tube_voltage_kv) == ("attenuation", 80.0)


@pytest.mark.parametrize("fill", [-1500.0, -2000.0, -3024.0])
def test_fill_in_nifti_is_told_and_can_be_masked(tmp_path, fill):
    data = np.full((6, 6, 6), -1024.0, np.float32)  # air is real
    data[:2], data[3:, 3:, 3:] = fill, 40.0
    volume = load(tmp_path, FULL, data=data)
    assert codes(volume) == ["untagged-padding"]
    assert f"{fill:g} HU" in volume.warnings[0].message
    assert "33.3 %" in volume.warnings[0].message
    it.save(volume, tmp_path / "again.nii.gz")
    assert codes(it.load(tmp_path / "again.nii.gz")) == ["untagged-padding"]  # once


def test_air_and_a_stray_voxel_are_no_fill(tmp_path):
    data = np.full((8, 8, 8), -1024.0, np.float32)
    data[0, 0, :3] = -3024.0
    assert codes(load(tmp_path, FULL, data=data)) == []


def test_energies_are_ordered_by_voltage_and_not_by_name(tmp_path):
    put(tmp_path, "a_140kV", HU | {"KVP": 80}, data=np.full((2, 3, 4), 80, np.int16))
    put(
        tmp_path, "b_80kV", HU | {"KVP": 140, "FilterMaterial": "TIN"}, data=np.full((2, 3, 4), 140, np.int16)
    )
    for chosen in ("all", [2, 1]):
        volume = it.load(tmp_path, series=chosen)
        assert (volume.axes[0].name, volume.axes[0].unit) == ("energy", "kV")
        assert volume.axes[0].values.tolist() == [80.0, 140.0]
        assert volume.data[0, 0, 0].tolist() == [80.0, 140.0]
        assert volume.acquisition.tube_voltage_kv is None
        assert volume.acquisition.filter_material is None
        assert volume.acquisition.filter_materials == (None, "TIN")
        assert any(caution.code == "series-field-varies" for caution in volume.warnings)


def test_energies_on_different_grids_are_refused_with_the_shift(tmp_path):
    shifted = np.eye(4)
    shifted[:3, 3] = (0.0, 0.0, 0.5)
    put(tmp_path, "low", HU | {"KVP": 80})
    put(tmp_path, "high", HU | {"KVP": 140}, affine=shifted)
    with pytest.raises(GeometryMismatch, match=r"origin by 0\.5 mm"):
        it.load(tmp_path, series="all")


def test_two_files_of_one_voltage_are_no_energies(tmp_path):
    for name in ("a", "b"):
        put(tmp_path, name, HU | {"KVP": 80})
    with pytest.raises(GeometryMismatch, match="no parameter"):
        it.load(tmp_path, series="all")


def test_grey_values_of_eight_bits_are_cut_off_at_the_255th(tmp_path):
    """Water at 100 and air at 0: 255 is 1550 HU, and nothing brighter can be told from it."""
    data = np.array([255, 254, 100, 0], np.uint8).reshape(2, 2, 1)
    grey = load(tmp_path, {"Modality": "CT"}, data=data)
    assert grey.acquisition.largest_storable == 255.0
    volume = it.ct.to_hu(grey, water=100, air=0)
    assert volume.data.ravel().tolist() == [1550.0, 1540.0, 0.0, -1000.0]
    assert it.ct.saturated(volume).ravel().tolist() == [True, False, False, False]
    it.save(volume, tmp_path / "again.nii.gz")
    assert it.ct.saturated(it.load(tmp_path / "again.nii.gz")).sum() == 1
    assert load(tmp_path, HU).acquisition.largest_storable is None  # floating point


@settings(max_examples=25, deadline=None)
@given(
    share=st.floats(0.002, 0.6),
    level=st.sampled_from([-1500.0, -1999.5, -3024.0, -32768.0]),
    below=st.floats(0.0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_shared_value_far_below_air_is_found_and_no_noise(share, level, below, seed):
    """Voxels of one value among continuous noise, a part of it far below air too."""
    rng = np.random.default_rng(seed)
    data = rng.normal(0.0, 100.0, 300_000).astype(np.float32)
    strange = rng.random(data.size) < below
    data[strange] = rng.uniform(-30000.0, -1600.0, int(strange.sum()))
    data[rng.random(data.size) < share] = level
    assert fill_values(data) == (level,)
    assert np.array_equal(is_fill(data, fill_values(data)), data == level)


def test_two_levels_of_fill_are_both_found():
    data = np.zeros((100, 10, 10), np.float32)
    data[:30], data[30:40], data[40, 0, :3] = -2000.0, -3024.0, -1700.0
    assert fill_values(data) == (-3024.0, -2000.0)
    data[:] = np.nan
    assert fill_values(data) == ()
