"""A real archive: Orthanc with its DICOMweb plugin, in a network of its own.

A phantom series is stored, fetched, quantified, and its map is stored back. What comes from the archive is
compared with what was sent byte for byte, and read by another client and by highdicom.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from imgtheranostics.cli.main import main

SLUG = "mm302-decaytrap"
PATIENT = f"PHANTOM-{SLUG}"
SCANS = ("start", "none")
"""Of the phantom's, which differ in how decay is stated."""
READ_BY_ANOTHER_CLIENT = """
import json, sys
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
url, user, password, study, series = sys.argv[1:]
client = DICOMwebClient(url, session=create_session_from_user_pass(user, password))
found = client.retrieve_series(study, series)
print(json.dumps({str(one.SOPInstanceUID): [float(one.pixel_array.sum()), float(one.RescaleSlope)]
                  for one in found}))
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "made"
    assert main(["phantom", "make", SLUG, "-o", str(folder), "--quiet"]) == 0
    scans = [folder / "dicom" / name for name in SCANS]
    return {"scans": scans, "scan": scans[0], "rois": folder / "regions.nii.gz"}


@pytest.fixture(scope="module")
def stored(orthanc, phantom):
    done = orthanc.run("store", *phantom["scans"], orthanc.url, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fetched(orthanc, stored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched") / "out"
    done = orthanc.run("fetch", orthanc.url, "--patient", PATIENT, "--modality", "PT", "-o", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def by_uid(*folders):
    """Bytes of each object, by its UID."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.dcm"))]
    found = {
        pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID: file.read_bytes() for file in files
    }
    assert len(found) == len(files) > 0
    return found


def folder_of(record, folder, scan):
    """Where the series of an original scan lies among those that were fetched."""
    uid = pydicom.dcmread(next(scan.iterdir()), stop_before_pixels=True).SeriesInstanceUID
    return folder / next(one["folder"] for one in record["series"] if one["series_uid"] == uid)


def test_nothing_outside_its_network_reaches_the_archive(orthanc):
    import socket

    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", 8042), timeout=2):
        pass


def test_every_file_is_stored_and_storing_again_is_safe(orthanc, stored, phantom):
    n_files = len(by_uid(*phantom["scans"]))
    assert stored["n_images"] == n_files
    again = json.loads(orthanc.run("store", *phantom["scans"], orthanc.url, "--json").stdout)
    assert again == stored


def test_what_is_fetched_is_what_was_stored(fetched, phantom):
    folder, record = fetched
    assert by_uid(folder) == by_uid(*phantom["scans"])
    assert sum(one["n_images"] for one in record["series"]) == len(by_uid(folder))
    assert {one["modality"] for one in record["series"]} == {"PT"}


def test_another_client_reads_the_same_from_the_archive(orthanc, stored, phantom):
    originals = [pydicom.dcmread(file) for file in sorted(phantom["scan"].iterdir())]
    address = [orthanc.url, orthanc.user, orthanc.password]
    uids = [originals[0].StudyInstanceUID, originals[0].SeriesInstanceUID]
    command = [*orthanc.inside, sys.executable, "-c", READ_BY_ANOTHER_CLIENT, *address, *uids]
    read = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert read == {
        one.SOPInstanceUID: [float(one.pixel_array.sum()), float(one.RescaleSlope)] for one in originals
    }


def test_a_fetched_scan_gives_the_numbers_of_the_original(fetched, phantom, tmp_path):
    folder, record = fetched
    scans = [phantom["scan"], folder_of(record, folder, phantom["scan"])]
    tables = []
    for number, scan in enumerate(scans):
        out = tmp_path / str(number)
        assert (
            main(["nuclear", "uptake", str(scan), "--rois", str(phantom["rois"]), "-o", str(out), "-q"]) == 0
        )
        tables.append((out / "quantities.tsv").read_bytes())
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") > 3


def canonical(array, affine):
    """Voxels and affine with the axes along R, A, S."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.asarray(array, np.float64), affine))
    return np.asarray(image.dataobj), image.affine


def map_of(path):
    """The values of a parametric map and their affine in RAS mm, by highdicom."""
    volume = highdicom.imread(path).get_volume()
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    return canonical(volume.array, to_ras)


def test_a_map_goes_back_into_the_study_and_is_read_from_the_archive(orthanc, fetched, phantom, tmp_path):
    folder, record = fetched
    scan, result, again = folder_of(record, folder, phantom["scan"]), tmp_path / "result", tmp_path / "again"
    words = ["--rois", phantom["rois"], "--quantity", "id_per_g", "--dicom", "-o", result, "--quiet"]
    assert main([str(word) for word in ["nuclear", "uptake", scan, *words]]) == 0
    made = by_uid(result)
    done = orthanc.run("store", result, orthanc.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_images"] == len(made)
    assert orthanc.run("fetch", orthanc.url, "--patient", PATIENT, "-o", again).returncode == 0
    back = by_uid(again)
    assert {uid: back[uid] for uid in made} == made
    source = pydicom.dcmread(next(scan.iterdir()), stop_before_pixels=True)
    assert {pydicom.dcmread(file).StudyInstanceUID for file in result.glob("*.dcm")} == {
        source.StudyInstanceUID
    }
    for name in ("id_per_g", "id_per_g_se"):
        uid = pydicom.dcmread(result / f"{name}.dcm", stop_before_pixels=True).SOPInstanceUID
        (arrived,) = (file for file in again.rglob("*.dcm") if file.read_bytes() == made[uid])
        values, affine = map_of(arrived)
        image = nibabel.load(result / f"{name}.nii.gz")
        expected, grid = canonical(image.get_fdata(), image.affine)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        np.testing.assert_allclose(affine, grid, atol=1e-6)
        assert np.nanmax(values) > 0


def test_compressed_files_come_back_as_they_were_stored(orthanc, tmp_path):
    (tmp_path / "in").mkdir()
    names = ["JPEG2000.dcm", "MR_small_RLE.dcm"]
    for name in names:
        shutil.copy(get_testdata_file(name), tmp_path / "in" / name)
    assert orthanc.run("store", tmp_path / "in", orthanc.url).returncode == 0
    for name in names:
        uid = pydicom.dcmread(tmp_path / "in" / name).SeriesInstanceUID
        out = tmp_path / name
        assert orthanc.run("fetch", orthanc.url, "--series", uid, "-o", out).returncode == 0
        (got,) = out.rglob("*.dcm")
        assert got.read_bytes() == (tmp_path / "in" / name).read_bytes()


def test_a_wrong_password_is_refused_and_shown_nowhere(orthanc, stored, phantom, tmp_path):
    wrong = "Canary-word-1"
    fetch = orthanc.run_apart(
        "fetch", orthanc.url, "--patient", PATIENT, "-o", tmp_path / "out", "-vv", "--json", password=wrong
    )
    store = orthanc.run_apart("store", phantom["scan"], orthanc.url, "-vv", "--json", password=wrong)
    assert (fetch.returncode, store.returncode) == (3, 7)
    for done in (fetch, store):
        assert json.loads(done.stdout)["error"]["what"] == "the archive refused the log-in"
        assert wrong not in done.stdout + done.stderr
        assert PATIENT not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_the_log_in_data_are_in_no_file_and_on_no_stream(orthanc, stored, tmp_path):
    done = orthanc.run_apart("fetch", orthanc.url, "--patient", PATIENT, "-o", tmp_path / "out", "-vv")
    assert done.returncode == 0
    assert PATIENT not in done.stdout + done.stderr
    for text in (orthanc.user, orthanc.password):
        assert text not in done.stdout + done.stderr
        assert not any(text.encode() in file.read_bytes() for file in (tmp_path / "out").rglob("*.dcm"))


def test_what_the_archive_does_not_have(orthanc, stored, tmp_path):
    done = orthanc.run("fetch", orthanc.url, "--patient", "nobody-4711", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "no series that fits" in done.stderr
    assert "nobody-4711" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_service(orthanc, stored, tmp_path):
    for url in (
        f"http://127.0.0.1:{orthanc.url.split(':')[2].split('/')[0]}/",
        "http://127.0.0.1:1/dicom-web",
    ):
        done = orthanc.run("fetch", url, "--patient", PATIENT, "-o", tmp_path / "out")
        assert done.returncode == 3
        assert not (tmp_path / "out").exists()


def test_dry_run_lists_and_writes_nothing(orthanc, stored, tmp_path):
    words = ["--patient", "-", "--modality", "PT", "--dry-run", "--json"]
    done = orthanc.run("fetch", orthanc.url, *words, stdin=f"{PATIENT}\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["series"]) == stored["n_series"]
    assert PATIENT not in done.stdout
    assert list(tmp_path.iterdir()) == []
