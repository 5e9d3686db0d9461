"""Changes from files: scans beside them, noise of a voxel, what rods share; images at several energies."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

import imgtheranostics as it
from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.energy_files import arranged_calibrations, load_energies
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.report.output import write_run
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Estimate, Flag, Volume

SHAPE = (36, 36, 8)
BEAM = CtAcquisition(tube_voltage_kv=120.0, kernel="B30f", slice_thickness_mm=1.0)
PLACE = np.moveaxis(np.indices(SHAPE), 0, -1)
TUMOUR = np.linalg.norm(PLACE - [12, 12, 4], axis=-1) < 4


def image(rng, agent_hu=0.0, sd=10.0):
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
    hu = 40.0 + agent_hu * TUMOUR + sd * field / field.std()
    return Volume(hu, np.eye(4), "attenuation", "[HU]", acquisition=BEAM)


def saved(change, folder):
    table = it.roi_statistics(change, it.Regions.from_masks({"tumour": TUMOUR}, change.grid))
    write_run(Run("ct enhancement", [change], table), folder, html=False)
    return folder


@pytest.fixture
def change(rng):
    return ct.enhancement(image(rng), image(rng, 142.0))


def test_a_saved_change_has_its_scans_and_the_noise_of_a_voxel(change, tmp_path):
    found = ct.load_enhancement(saved(change, tmp_path / "out"))
    assert isinstance(found, Estimate)
    np.testing.assert_allclose(found.value.data, change.value.data, rtol=1e-6)
    np.testing.assert_array_equal(found.flags.data, change.flags.data)
    assert set(found.maps) == {"pre", "post"}
    noise = change.decisions["noise"]["voxel_sd_hu"]
    assert found.decisions["noise"]["voxel_sd_hu"] == pytest.approx(noise, rel=1e-4)
    assert found.calibration_relative == 0.0


def test_what_rods_share_between_voxels_survives_the_file(rng, tmp_path):
    """A gain of 3 % is in every change of HU, and no average reduces it."""
    rods = ct.calibrate_rods([2000, 10000, 18000], [-1000, 0, 1000], standard_error=[170, 170, 170])
    grey = [Volume(10000 + 8 * one.data, np.eye(4), "stored_value", "{stored}", acquisition=BEAM)
            for one in (image(rng), image(rng, 142.0))]  # fmt: skip
    change = ct.enhancement(*(rods.apply(one) for one in grey))
    assert change.calibration_relative == pytest.approx(rods.gain_relative_error)
    found = ct.load_enhancement(saved(change, tmp_path / "out"))
    assert found.calibration_relative == pytest.approx(rods.gain_relative_error)
    noise = change.decisions["noise"]["voxel_sd_hu"]
    assert found.decisions["noise"]["voxel_sd_hu"] == pytest.approx(noise, rel=0.01)


def test_a_scan_is_read_as_it_is(rng, tmp_path):
    it.save(image(rng), tmp_path / "scan.nii.gz")
    found = ct.load_enhancement(tmp_path / "scan.nii.gz")
    assert isinstance(found, Volume)
    assert found.quantity == "attenuation"


def test_changes_at_two_energies_are_given_to_decompose_as_they_were_saved(rng, tmp_path):
    folders = []
    for kvp, slope in ((80.0, 43.8), (140.0, 23.8)):
        beam = CtAcquisition(tube_voltage_kv=kvp)
        pre, post = (image(rng, hu).replace(acquisition=beam) for hu in (0.0, 5.0 * slope))
        folders.append(saved(ct.enhancement(pre, post), tmp_path / f"kv{kvp:g}"))
    images = load_energies(folders)
    assert all(isinstance(one, Estimate) for one in images)
    found = ct.decompose(images, materials=["I", "HfO2"], slopes={"I": [43.8, 23.8], "HfO2": [26.7, 24.7]})
    assert np.nanmean(found["I"].value.data[TUMOUR]) == pytest.approx(5.0, abs=0.2)


def test_series_belong_to_one_folder(tmp_path):
    with pytest.raises(ValueError, match="one folder that holds all energies"):
        load_energies([tmp_path / "a", tmp_path / "b"], "1")
    with pytest.raises(ValueError, match="no images"):
        load_energies([])


def vials(material, kvp, slope):
    return ct.calibrate(
        [0, 5 * slope, 10 * slope], [0, 5, 10], material=material, kvp=kvp, hu_standard_error=1
    )


def test_calibrations_find_their_material_and_voltage():
    made = [vials("HfO2", 140, 24.7), vials("I", 80, 43.8), vials("I", 140, 23.8), vials("HfO2", 80, 26.7)]
    found = arranged_calibrations(made, ["I", "HfO2"], [80.0, 140.0])
    slopes = {name: [one.slope.hu_per_mg_ml for one in column] for name, column in found.items()}
    assert slopes["I"] == pytest.approx([43.8, 23.8])
    assert slopes["HfO2"] == pytest.approx([26.7, 24.7])


@pytest.mark.parametrize(
    ("kept", "said"), [((0, 1, 2), "no calibration of HfO2 at 80"), ((0, 1, 1, 2, 3), "more than one")]
)
def test_a_calibration_too_few_or_too_many_is_refused(kept, said):
    made = [vials("HfO2", 140, 24.7), vials("I", 80, 43.8), vials("I", 140, 23.8), vials("HfO2", 80, 26.7)]
    with pytest.raises(UnitMismatch, match=said):
        arranged_calibrations([made[n] for n in kept], ["I", "HfO2"], [80.0, 140.0])


def test_a_calibration_that_would_not_be_used_is_refused():
    with pytest.raises(ValueError, match="would not be used"):
        arranged_calibrations([vials("I", 80, 43.8), vials("Au", 80, 26.3)], ["I"], [80.0])


def test_a_known_background_is_subtracted_and_its_error_added(rng):
    found = ct.above_background(image(rng, 142.0), 40.0, background_error_hu=12.0)
    assert np.mean(found.value.data[TUMOUR]) == pytest.approx(142.0, abs=3.0)
    assert found.decisions["noise"]["voxel_sd_hu"] == pytest.approx(10.0, rel=0.1)
    assert found.standard_error.data[0, 0, 0] == pytest.approx(np.hypot(10.0, 12.0), rel=0.1)
    assert "assumed-background" in {one.code for one in found.warnings}


def test_voxels_outside_the_mask_or_the_range_have_no_change(rng):
    hu = image(rng).data.copy()
    hu[3, 3, 3] = 3071.0
    found = ct.above_background(
        Volume(hu, np.eye(4), "attenuation", "[HU]", acquisition=BEAM), 40.0, mask=PLACE[..., 0] < 20
    )
    assert found.flags.data[3, 3, 3] & Flag.SATURATED
    assert found.flags.data[30, 3, 3] == Flag.MASKED_OUT
    assert np.isnan(found.value.data[3, 3, 3])


def test_backgrounds_that_are_none_are_refused(rng):
    with pytest.raises(ImplausibleValue, match="background"):
        ct.above_background(image(rng), 20000.0)
    with pytest.raises(ImplausibleValue, match="background"):
        ct.above_background(image(rng), 40.0, background_error_hu=-1.0)
    with pytest.raises(MissingMetadata):
        ct.above_background(Volume(np.zeros(SHAPE), np.eye(4), "stored_value", "{stored}"), 40.0)


def test_flags_beside_a_map_that_are_none_are_refused(change, tmp_path):
    folder = saved(change, tmp_path / "out")
    nibabel.save(nibabel.load(folder / "delta_attenuation.nii.gz"), folder / "flags.nii.gz")
    content = json.loads((folder / "delta_attenuation.json").read_text())
    (folder / "flags.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedInput, match="flags"):
        ct.load_enhancement(folder)
