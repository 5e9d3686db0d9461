"""A phantom on disk reads back as what it was, through DICOM and through NIfTI with PET-BIDS sidecars."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import ImplausibleValue, OutputError, UnsupportedInput
from imgtheranostics.phantom import load_spec, make, write


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    phantom = make("mm302-decaytrap")
    folder = tmp_path_factory.mktemp("trap") / "out"
    write(phantom, folder, "both")
    return phantom, folder


RIGHT = [name for name in load_spec("mm302-decaytrap").axis.values if name != "wrong-half-life"]


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_every_right_header_gives_the_same_suv(trap, name, kind):
    """SUV 3.50 in the sphere, within 0.2 %, by six headers in two formats."""
    _, folder = trap
    path = folder / "dicom" / name if kind == "dicom" else folder / "nifti" / f"{name}.nii.gz"
    regions = it.load_rois(folder / "regions.nii.gz")
    table = it.roi_statistics(it.nuclear.suv(it.load(path)), regions)
    found = dict(zip(table["region"], table["mean"], strict=True))
    assert found["sphere"] == pytest.approx(3.50, rel=2e-3)
    assert found["background"] == pytest.approx(0.50, rel=2e-3)


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_wrong_half_life_is_refused(trap, kind):
    _, folder = trap
    name = "wrong-half-life"
    path = folder / "dicom" / name if kind == "dicom" else folder / "nifti" / f"{name}.nii.gz"
    with pytest.raises(ImplausibleValue, match="half-life"):
        it.nuclear.suv(it.load(path))


def test_forgotten_decay_would_show():
    """The trap traps: 24 h of 64Cu is a factor 3.7, and the headers differ in what they say."""
    phantom = make("mm302-decaytrap")
    data = {name: volume.data.max() for name, volume in zip(phantom.names, phantom.volumes, strict=True)}
    factor = 2 ** ((24 * 3600 - 600) / 45720)
    assert data["admin"] / data["start"] == pytest.approx(factor, rel=1e-5)
    assert data["none"] < data["start"]
    records = [volume.acquisition for volume in phantom.volumes]
    assert len({record.decay_correction for record in records}) == 3
    assert sum(record.units == "CNTS" for record in records) == 1


def test_truth_file_names_every_expectation_with_tolerance_claim_and_provenance(trap):
    phantom, folder = trap
    truth = json.loads((folder / "truth" / "truth.json").read_text())
    assert truth["slug"] == "mm302-decaytrap"
    assert truth["review_claim"] == "13"
    assert len(truth["expectations"]) == len(phantom.truth) == 8
    for row in truth["expectations"]:
        assert {"claim", "quantity", "region", "axis_value", "tolerance", "provenance"} <= set(row)


def test_truth_map_is_the_ideal_image(trap):
    phantom, folder = trap
    image = nibabel.load(folder / "truth" / "start_id_per_ml.nii.gz")
    inside = phantom.regions.mask("sphere")
    # SUV 3.50 at 70 kg is 0.005 %ID/mL.
    assert_allclose(np.asanyarray(image.dataobj)[inside], 0.005, rtol=1e-6)


def test_region_masks_read_back_with_their_names(small, tmp_path):
    phantom = make(small, 2)
    write(phantom, tmp_path / "out", "nifti")
    for stem, names in (("regions", ["box", "sphere"]), ("regions_core", ["box_core", "sphere_core"])):
        regions = it.load_rois(tmp_path / "out" / f"{stem}.nii.gz", like=phantom.volumes[0])
        assert list(regions) == names
        for name in names:
            assert_array_equal(regions.mask(name), phantom.regions.mask(name))


def test_dynamic_phantom_reads_back_in_both_formats(dynamic, tmp_path):
    phantom = make(dynamic)
    write(phantom, tmp_path / "out", "both")
    direct = it.nuclear.percent_id_per_gram(phantom.volumes[0])
    for path in (tmp_path / "out" / "dicom" / "dynamic", tmp_path / "out" / "nifti" / "dynamic.nii.gz"):
        volume = it.load(path)
        assert volume.shape == (24, 20, 16, 3)
        assert_allclose(volume.axis("time").values, [150.0, 1950.0, 5550.0], atol=1e-3)
        estimate = it.nuclear.percent_id_per_gram(volume)
        assert_allclose(estimate.value.data, direct.value.data, atol=12 / 32767)


def test_unconfirmed_truth_is_marked_in_the_truth_file(small, tmp_path):
    small["provenance"]["regions.sphere.truth"] = {"status": "unconfirmed", "source": "memory"}
    small["expect"] = [
        {"quantity": "id_per_g", "roi": ["sphere", "box"], "value": "truth", "tol_rel": 0.001, "level": 0}
    ]
    write(make(small), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "truth" / "truth.json").read_text())["expectations"]
    assert [row.get("source") for row in rows] == ["memory", None]


def test_writing_twice_gives_the_same_bytes(small, tmp_path):
    for name in ("a", "b"):
        write(make(small, 1), tmp_path / name, "both")
    first = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(first) > 16
    for path in first:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_folder_with_something_in_it_is_refused(small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write(make(small), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["note.txt"]


def test_unknown_format_is_refused(small, tmp_path):
    with pytest.raises(UnsupportedInput, match="format"):
        write(make(small), tmp_path / "out", "minc")


@pytest.mark.parametrize("name", ["regions.seg.dcm", "regions.rtstruct.dcm"])
def test_regions_in_dicom_are_those_of_the_phantom(trap, name):
    phantom, folder = trap
    image = it.load(folder / "dicom" / phantom.names[0])
    found = it.load_rois(folder / name, like=image)
    expected = phantom.regions.fit_to(image.grid)
    assert list(found) == list(expected)
    for region in expected:
        assert_array_equal(found.mask(region), expected.mask(region))
