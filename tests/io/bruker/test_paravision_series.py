"""What a ParaVision study holds: listing, choosing, maps and components apart, nobody's name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, NothingUsable


def codes(volume):
    return [caution.code for caution in volume.warnings]


@pytest.fixture
def study(tmp_path, scans):
    """Scans 2 and 10, which differ in flip angle, and a second reconstruction of scan 10."""
    for scan, angle in ((10, 20.0), (2, 5.0)):
        visu = scans.visu([(3, "FG_SLICE", {})], slope=1.0) | {"VisuAcqFlipAngle": f"{angle:g}"}
        scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3) + scan, scan=scan)
    visu = scans.visu([(3, "FG_SLICE", {})], slope=3.0)
    scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3), scan=10, reconstruction=2)
    return tmp_path


def test_study_lists_its_scans_by_number_and_takes_a_choice(study):
    with pytest.raises(NothingUsable, match="3 series") as caught:
        it.load(study)
    text = str(caught.value)
    assert "1: MR 4 x 3 x 3, scan 2, reconstruction 1" in text
    assert "2: MR 4 x 3 x 3, scan 10, reconstruction 1" in text
    assert "series=" in text
    assert it.load(study, series=1).acquisition.flip_angle_deg == 5.0
    assert it.load(study, series=2).acquisition.flip_angle_deg == 20.0
    assert len(it.load_all(study)) == 3


def test_info_tells_each_scan(study):
    listed = it.info(study)
    assert [one.place for one in listed] == [
        "scan 2, reconstruction 1",
        "scan 10, reconstruction 1",
        "scan 10, reconstruction 2",
    ]
    assert {(one.kind, one.modality, one.shape) for one in listed} == {("bruker", "MR", (4, 3, 3))}
    assert listed[0].files == 3  # 2dseq, visu_pars, method


def test_scans_that_differ_in_one_parameter_become_one_volume(study):
    volume = it.load(study, series="1,2")
    assert [(a.name, a.values.tolist()) for a in volume.axes] == [("flip_angle", [5.0, 20.0])]
    assert np.array_equal(volume.data[..., 1] - volume.data[..., 0], np.full((4, 3, 3), 8.0))
    assert it.load(study, series=[2, 1]).shape == (4, 3, 3, 2)


def test_scans_that_differ_in_nothing_do_not_become_one_volume(tmp_path, scans):
    for scan in (1, 2):
        visu = scans.visu()
        scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1), scan=scan)
    with pytest.raises(GeometryMismatch, match="no parameter"):
        it.load(tmp_path, series="all")


@pytest.mark.parametrize("place", ["7", "7/pdata/1", "7/pdata/1/2dseq"])
def test_scan_folder_reconstruction_folder_and_file_are_one_image(tmp_path, scans, place):
    visu = scans.visu([(2, "FG_SLICE", {})])
    scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 2), method={"PVM_EchoTime": "3.5"})
    del visu["VisuAcqEchoTime"]
    scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 2), method={"PVM_EchoTime": "3.5"})
    volume = it.load(tmp_path / place)
    assert volume.shape == (4, 3, 2)
    assert volume.acquisition.echo_time_s == 0.0035  # the method lies two folders above the image


def test_maps_of_paravision_are_images_of_their_own(tmp_path, scans):
    """FG_ISA: the fit's images, each with its own slope; a relaxation time where comment and unit say so."""
    own = {
        "VisuFGElemComment": "( 3, 65 )\n<fitted image> <T2 relaxation time> <RSS>",
        "VisuCoreDataUnits": "( 3, 65 )\n<> <ms> <>",
    }
    slope = [1.0, 0.5, 2.0]
    visu = scans.visu([(3, "FG_ISA", own)], slope=slope)
    stored = scans.stored(visu, (4, 3), 3)
    folder = scans.write(tmp_path, visu, stored)
    with pytest.raises(NothingUsable, match="map 2 of 3") as caught:
        it.load(folder)
    assert "2: MR 4 x 3 x 1, t2, scan 7" in str(caught.value)
    fitted, t2, rss = it.load_all(folder)
    assert (t2.quantity, t2.unit) == ("t2", "s")
    assert np.array_equal(t2.data[..., 0], (stored[..., 1] * 0.5 * 1e-3).astype(np.float32))
    assert (fitted.quantity, rss.quantity) == ("signal", "signal")
    assert np.array_equal(rss.data[..., 0], stored[..., 2] * 2.0)
    assert all("scanner-map" in codes(volume) for volume in (fitted, t2, rss))


def test_comments_of_two_groups_one_after_the_other(tmp_path, scans):
    """Each group says where its comments begin: those of the inversion modes come first here."""
    visu = scans.visu([(2, "FG_IRMODE", {}), (2, "FG_ISA", {})], slope=1.0)
    visu["VisuFGOrderDesc"] = "( 2 )\n(2, <FG_IRMODE>, <>, 0, 1) (2, <FG_ISA>, <>, 1, 2)"
    visu["VisuGroupDepVals"] = (
        "( 3 )\n(<VisuFGElemComment>, 0) (<VisuFGElemComment>, 2) (<VisuCoreDataUnits>, 0)"
    )
    visu["VisuFGElemComment"] = "( 4, 65 )\n<Selective> <Non-selective> <T1 relaxation time> <RSS>"
    visu["VisuCoreDataUnits"] = "( 2, 65 )\n<ms> <>"
    volumes = it.load_all(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 4)))
    assert [volume.quantity for volume in volumes] == ["t1", "signal", "t1", "signal"]


def test_single_slab_may_be_a_group_of_one(tmp_path, scans):
    visu = scans.visu([(1, "FG_SLICE", {})], size=(4, 3, 5), slope=1.0)
    stored = scans.stored(visu, (4, 3, 5), 1)
    assert np.array_equal(it.load(scans.write(tmp_path, visu, stored)).data, stored[..., 0])


def test_map_without_a_unit_is_no_relaxation_time(tmp_path, scans):
    own = {"VisuFGElemComment": "( 2, 65 )\n<T1 relaxation time> <RSS>"}
    visu = scans.visu([(2, "FG_ISA", own)])
    volumes = it.load_all(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 2)))
    assert {volume.quantity for volume in volumes} == {"signal"}


def test_real_and_imaginary_images_are_two_series(tmp_path, scans):
    visu = scans.visu([(3, "FG_SLICE", {}), (2, "FG_COMPLEX", {})], slope=1.0)
    visu["VisuCoreFrameType"] = "COMPLEX_IMAGE"
    stored = scans.stored(visu, (4, 3), 6)
    real, imaginary = it.load_all(scans.write(tmp_path, visu, stored))
    assert (real.acquisition.image_component, imaginary.acquisition.image_component) == ("real", "imaginary")
    assert np.array_equal(imaginary.data, stored[..., 3:])


def test_kinds_of_inversion_are_two_series_over_inversion_times(tmp_path, scans):
    """FAIR: selective and non-selective inversion, each at all inversion times."""
    times = {"VisuAcqInversionTime": scans.array([50.0, 500.0, 2000.0])}
    visu = scans.visu([(2, "FG_IRMODE", {}), (3, "FG_MOVIE", times)], slope=1.0)
    stored = scans.stored(visu, (4, 3), 6)
    selective, other = it.load_all(scans.write(tmp_path, visu, stored))
    assert selective.axes[0].name == other.axes[0].name == "inversion_time"
    assert np.array_equal(other.data[:, :, 0], stored[..., 1::2])


def test_localiser_in_three_orientations_is_three_volumes(tmp_path, scans):
    turned = [
        np.eye(3),
        np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0.0]]),
        np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]]),
    ]
    counts = (3, 2, 3)
    places, orientation = [], []
    for matrix, count in zip(turned, counts, strict=True):
        places += [2.0 * k * matrix[2] for k in range(count)]
        orientation += [matrix] * count
    visu = scans.visu([(8, "FG_SLICE", {})], positions=places, slope=1.0)
    visu["VisuCoreOrientation"] = scans.array(np.array(orientation), 8, 9)
    stored = scans.stored(visu, (4, 3), 8)
    volumes = it.load_all(scans.write(tmp_path, visu, stored))
    assert [volume.shape[2] for volume in volumes] == [3, 2, 3]
    assert np.array_equal(volumes[1].data, stored[..., 3:5])


def test_parallel_packages_are_volumes_of_their_own(tmp_path, scans):
    places = [(0.0, 0.0, z) for z in (0.0, 1.0, 2.0, 20.0, 21.0)]
    visu = scans.visu([(5, "FG_SLICE", {})], positions=places)
    visu["VisuCoreSlicePacksSlices"] = "( 2 )\n(0, 3) (3, 2)"
    volumes = it.load_all(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 5)))
    assert [volume.shape[2] for volume in volumes] == [3, 2]


def test_phase_images_are_angles(tmp_path, scans):
    """The reconstruction writes the arc tangent, -pi to pi, whatever slope it stores it with."""
    stored = np.linspace(-32767, 32767, 12).astype("i2").reshape((4, 3, 1), order="F")
    visu = scans.visu(slope=np.pi / 32767) | {"VisuCoreFrameType": "PHASE_IMAGE"}
    volume = it.load(scans.write(tmp_path, visu, stored))
    assert (volume.quantity, volume.unit) == ("phase", "rad")
    assert volume.data.max() == pytest.approx(np.pi)


def test_phase_images_beyond_a_turn_are_on_another_scale(tmp_path, scans):
    visu = scans.visu(slope=1.0) | {"VisuCoreFrameType": "PHASE_IMAGE"}
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1)))
    assert volume.quantity == "signal"
    assert "phase-scale-unknown" in codes(volume)


def test_missing_method_file_is_told_and_the_image_loads(tmp_path, scans):
    visu = scans.visu()
    del visu["VisuAcqFlipAngle"]
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1), method={}))
    assert codes(volume) == ["method-file-missing", "acquisition-incomplete"]
    assert volume.acquisition.flip_angle_deg is None
    assert "flip angle" in str(volume.warnings[1])


def test_raw_data_alone_say_what_to_do(tmp_path, scans):
    scan = tmp_path / "3"
    scan.mkdir()
    (scan / "fid").write_bytes(bytes(64))
    (scan / "acqp").write_text(scans.parameter_file({"NI": "1"}))
    with pytest.raises(NothingUsable, match="without reconstructed images"):
        it.load(scan)


@pytest.mark.parametrize("name", ["visu_pars", "method", "fid"])
def test_parameter_file_is_no_image(tmp_path, scans, name):
    visu = scans.visu()
    folder = scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 1))
    path = folder / "pdata" / "1" / name
    path.write_text(scans.parameter_file(visu))
    with pytest.raises(it.UnsupportedInput, match="no image"):
        it.load(path)


def test_nothing_names_the_subject(tmp_path, scans):
    visu = scans.visu([(3, "FG_SLICE", {})])
    folder = scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 3))
    volume = it.load(folder)
    written = it.save(volume, tmp_path / "out.nii.gz")
    shown = [repr(volume), repr(volume.acquisition), repr(volume.source), repr(it.info(folder))]
    shown += [path.read_text() for path in written if path.suffix == ".json"]
    assert not [text for text in shown if "Canary" in text]
    assert volume.source.identifiers["PatientID"] == "Canary-ID-77"


def test_image_survives_saving_and_loading(tmp_path, scans):
    own = {
        "VisuAcqInversionTime": scans.array([30.0, 200.0]),
        "VisuAcqRepetitionTime": scans.array([1e3, 2e3]),
    }
    visu = scans.visu([(3, "FG_SLICE", {}), (2, "FG_MOVIE", own)])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 6)))
    it.save(volume, tmp_path / "out.nii.gz")
    again = it.load(tmp_path / "out.nii.gz")
    assert np.array_equal(again.data, volume.data)
    assert again.affine == pytest.approx(volume.affine, abs=1e-5)
    assert again.axes[0].same_as(volume.axes[0])
    assert again.acquisition.repetition_times_s == (1.0, 2.0)
    assert json.loads((tmp_path / "out.json").read_text())["Modality"] == "MR"
