"""Traps that give a wrong number without a word: each as a good and a bad twin, from file to table.

Every test runs the command line on files: the good twin gives the truth of the phantom (a sphere of SUV 3.50)
with no false alarm, the bad one is corrected aloud or refused. What each rule does in detail is tested beside
it: clocks in nuclear/test_reference_time, test_injection and test_dicom_twins, doses in
nuclear/test_administration, geometry in io/dicom/test_geometry, scale and padding in io/dicom/test_scaling,
NIfTI in io/test_nifti and test_nifti_hostile, frames and echoes in io/dicom/test_dynamic.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from imgtheranostics.cli.main import main
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.phantom import make, write

TRUTH = 3.5
TOLERANCE = 0.002 * TRUTH


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """All header variants of one sphere, as DICOM, with its regions."""
    folder = tmp_path_factory.mktemp("traps") / "decay"
    write(make("mm302-decaytrap"), folder)
    return folder


@pytest.fixture
def twin(phantom, tmp_path):
    """Makes an edited copy of a variant; `edit` gets the slice's number and dataset, False drops it."""
    made = iter(range(100))

    def copy(edit=lambda n, one: None, variant="start"):
        folder = tmp_path / f"twin{next(made)}"
        folder.mkdir()
        for number, path in enumerate(sorted((phantom / "dicom" / variant).iterdir())):
            dataset = pydicom.dcmread(path)
            if edit(number, dataset) is not False:
                dataset.save_as(folder / path.name)
        return folder

    return copy


@pytest.fixture
def measure(phantom, capsys):
    """Runs the command; returns its exit code, mean SUV in the sphere or the error, codes of the warnings."""

    def run(path, *options, quantity="suv_bw"):
        words = ["nuclear", "uptake", path, "--rois", phantom / "regions.nii.gz", "--json", *options]
        words += ["--quantity", quantity]
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = json.loads(capsys.readouterr().out)
        if code:
            return code, printed["error"]["type"], frozenset()
        rows = [row for row in printed["quantities"] if row["region"] == "sphere"]
        return code, rows[0]["mean"], frozenset(one["code"] for one in printed["warnings"])

    return run


def good(found, *, quiet=True):
    """The truth, and no warning unless one is expected."""
    code, value, cautions = found
    assert code == 0, value
    assert abs(value - TRUTH) < TOLERANCE
    if quiet:
        assert not cautions
    return cautions


def header(**values):
    def edit(_number, dataset):
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


def injection(**values):
    def edit(_number, dataset):
        for keyword, value in values.items():
            setattr(dataset.RadiopharmaceuticalInformationSequence[0], keyword, value)

    return edit


@pytest.mark.parametrize("variant", ["start", "admin", "none"])
def test_trap_01_each_decay_convention_gives_the_same_suv(phantom, measure, variant):
    good(measure(phantom / "dicom" / variant))


def test_trap_01_a_convention_that_the_list_of_corrections_denies_is_refused(twin, measure):
    code, error, _ = measure(twin(header(CorrectedImage=["ATTN", "SCAT"])))
    assert (code, error) in {(6, "ImplausibleValue"), (6, "UnitMismatch"), (4, "CorruptInput")}


def test_trap_02_frame_reference_time_that_contradicts_the_decay_factor_is_refused(twin, measure):
    def later(_number, dataset):
        dataset.FrameReferenceTime = float(dataset.FrameReferenceTime) + 5 * 3600e3

    code, error, _ = measure(twin(later))
    assert (code, error) == (6, "ImplausibleValue")


def test_trap_02_a_rewritten_series_time_is_told_and_gives_the_right_suv(phantom, measure):
    code, value, _ = measure(phantom / "dicom" / "rewritten-series-time")
    assert code == 0
    assert abs(value - TRUTH) < TOLERANCE


def test_trap_03_units(phantom, twin, measure):
    good(measure(phantom / "dicom" / "philips-counts"))
    assert measure(twin(header(Units="PROPCPS")))[0] in (4, 6)
    assert measure(twin(header(Units="PROPCNTS")))[0] in (4, 6)
    assert measure(twin(header(Units="CNTS")))[0] in (5, 6)
    assert measure(twin(header(Units="CPS")))[0] in (5, 6)


def test_trap_03_an_image_in_suv_is_not_corrected_again(twin, measure):
    def to_suv(_number, dataset):
        # 0.5 and 3.5 become what they are in Bq/mL divided by the same factor: sphere 7 times background
        dataset.Units, dataset.SUVType = "GML", "BW"

    code, value, _ = measure(twin(to_suv))
    raw = measure(twin(), quantity="id_per_ml")
    assert code == raw[0] == 0
    assert value > 1000, "Bq/mL mislabelled as SUV stay as they are: no dose, weight or clock is applied"


def test_trap_04_slope_per_slice(phantom, tmp_path, measure):
    volume = make("mm302-decaytrap").volumes[0]
    write_dicom(volume, tmp_path / "uniform", slopes="uniform")
    slopes = [
        {float(pydicom.dcmread(path).RescaleSlope) for path in folder.iterdir()}
        for folder in (phantom / "dicom" / "start", tmp_path / "uniform")
    ]
    assert len(slopes[0]) > 1 == len(slopes[1])
    _, one, _ = measure(phantom / "dicom" / "start")
    _, other, _ = measure(tmp_path / "uniform")
    assert one == pytest.approx(other, rel=1e-4)


def test_trap_04_a_missing_slope_is_not_one(twin, measure):
    assert measure(twin(header(RescaleSlope=None)))[:2] == (5, "MissingMetadata")


def test_trap_05_dose_typed_in_mbq(twin, measure):
    bad = twin(injection(RadionuclideTotalDose=400.0))
    assert good(measure(bad), quiet=False)
    assert measure(bad, "--strict-dose")[:2] == (6, "ImplausibleValue")


@pytest.mark.parametrize(("weight", "code"), [(0.02, 0), (20.0, 6)])
def test_trap_06_weight_in_grams_of_a_small_animal(twin, capsys, weight, code):
    def mouse(_number, dataset):
        dataset.PixelSpacing, dataset.SliceThickness, dataset.PatientWeight = [0.4, 0.4], 0.4, weight
        dataset.ImagePositionPatient = [float(v) / 10 for v in dataset.ImagePositionPatient]

    path = str(twin(mouse))
    assert main(["nuclear", "uptake", path, "--dose", "4MBq", "--quantity", "suv_bw", "-q"]) == code
    assert ("implausible" in capsys.readouterr().err.lower()) == bool(code)
    if code:
        confirmed = ["--dose", "4MBq", "--quantity", "suv_bw", "-q", "--confirm-weight"]
        assert main(["nuclear", "uptake", path, *confirmed]) == 0


@pytest.mark.parametrize(("weight", "code"), [(0.0, 6), (None, 5)])
def test_trap_06_without_weight_there_is_no_suv_but_there_is_injected_dose(twin, measure, weight, code):
    bad = twin(header(PatientWeight=weight))
    assert measure(bad)[0] in (code, 5)
    found = measure(bad, quantity="id_per_g")
    assert found[0] == 0
    assert found[1] == pytest.approx(TRUTH / 70_000 * 100, rel=2e-3)  # SUV / body weight in g


def test_trap_07_half_life_of_another_nuclide(phantom, twin, measure):
    assert measure(twin(injection(RadionuclideHalfLife=6586.0)))[:2] == (6, "ImplausibleValue")
    assert measure(phantom / "dicom" / "wrong-half-life")[0] == 6
    _, _, cautions = measure(twin(injection(RadionuclideHalfLife=45720.0 * 1.005)))
    assert cautions


def test_trap_08_midnight_and_time_zones(phantom, twin, measure):
    code, value, _ = measure(phantom / "dicom" / "midnight-time-zone")
    assert code == 0
    assert abs(value - TRUTH) < TOLERANCE
    late = injection(RadiopharmaceuticalStartDateTime="20990101080000")
    assert measure(twin(late))[0] == 6
    zoned = injection(RadiopharmaceuticalStartDateTime="20260105080000+0900")
    assert measure(twin(zoned))[0] in (5, 6), "an offset on only one of two clocks"


def test_trap_09_two_series_in_one_folder_are_listed(phantom, tmp_path, capsys, measure):
    for name in ("start", "admin"):
        for path in (phantom / "dicom" / name).iterdir():
            (tmp_path / "both").mkdir(exist_ok=True)
            (tmp_path / "both" / f"{name}-{path.name}").write_bytes(path.read_bytes())
    assert measure(tmp_path / "both")[:2] == (3, "NothingUsable")
    good(measure(tmp_path / "both", "--series", "2"))


def test_trap_10_missing_and_duplicate_slices_are_refused_with_their_place(twin, measure, capsys):
    assert measure(twin(lambda n, _: n != 9))[:2] == (6, "GeometryMismatch")

    def twice(number, dataset):
        if number == 9:
            dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], twice.before]
        twice.before = dataset.ImagePositionPatient[2]

    assert measure(twin(twice))[:2] == (6, "GeometryMismatch")


def test_trap_11_a_sheared_stack_is_refused(twin, measure):
    def tilt(_number, dataset):
        x, y, z = (float(v) for v in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, round(y + z * np.tan(np.radians(15)), 6), z]

    assert measure(twin(tilt))[:2] == (6, "GeometryMismatch")


ORIENTATIONS = {
    "head first supine": (1, 0, 0, 0, 1, 0),
    "head first prone": (-1, 0, 0, 0, -1, 0),
    "head first decubitus left": (0, -1, 0, 1, 0, 0),
    "head first decubitus right": (0, 1, 0, -1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0, -0.6, 0.8, 0),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_trap_12_a_hot_voxel_stays_where_it_was_in_the_patient(twin, tmp_path, name):
    """DICOM -> our NIfTI -> SimpleITK: the place is computed from the DICOM attributes alone."""
    cosines = np.array(ORIENTATIONS[name], float)
    across, down = cosines[:3], cosines[3:]
    normal = np.cross(across, down)
    row, column, place = 5, 31, 3

    def turn(number, dataset):
        pixels = np.zeros((dataset.Rows, dataset.Columns), np.uint16)
        if number == place:
            pixels[row, column] = 1000
        dataset.PixelData, dataset.RescaleSlope = pixels.tobytes(), 1.0
        dataset.ImageOrientationPatient = [float(v) for v in cosines]
        dataset.ImagePositionPatient = [
            round(float(v), 6) for v in np.array([-50, 20, 7]) + 4 * number * normal
        ]

    target = tmp_path / "image.nii.gz"
    assert main(["convert", str(twin(turn)), str(target), "-q"]) == 0
    image = SimpleITK.ReadImage(str(target))
    hot = np.argwhere(SimpleITK.GetArrayFromImage(image) == 1000)[0][::-1]
    found = image.TransformIndexToPhysicalPoint([int(v) for v in hot])
    spacing = 4.0
    expected = np.array([-50, 20, 7]) + spacing * (column * across + row * down + place * normal)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_trap_13_padding_is_left_out_of_every_number(twin, phantom, capsys):
    def pad(_number, dataset):
        pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns).copy()
        pixels[:, 20] = 7
        dataset.PixelData = pixels.tobytes()
        dataset.add_new(0x00280120, "SS" if dataset.PixelRepresentation else "US", 7)

    words = ["nuclear", "uptake", str(twin(pad)), "--rois", str(phantom / "regions.nii.gz"), "--json"]
    assert main([*words, "--quantity", "suv_bw"]) == 0
    printed = json.loads(capsys.readouterr().out)
    sphere = next(row for row in printed["quantities"] if row["region"] == "sphere")
    assert sphere["n_valid"] < sphere["n_voxels"]
    assert sphere["max"] == pytest.approx(TRUTH, rel=2e-3)
    assert sphere["min"] == pytest.approx(TRUTH, rel=2e-3)
    assert any(one["code"] == "padding-to-nan" for one in printed["warnings"])


def test_trap_14_raw_values_above_the_signed_range_stay_positive(twin, measure):
    """The same values stored in 15 and in 16 bits: the twin has its raw values beyond 32767."""
    highest = []

    def in_bits(number_of_bits):
        def edit(_number, dataset):
            raw = np.frombuffer(dataset.PixelData, np.int16 if dataset.PixelRepresentation else np.uint16)
            values = raw * float(dataset.RescaleSlope)
            slope = max(values.max(), 1.0) / (2**number_of_bits - 1)
            stored = np.rint(values / slope).astype(np.uint16)
            highest.append(int(stored.max()))
            dataset.PixelData, dataset.PixelRepresentation = stored.tobytes(), 0
            dataset.RescaleSlope = f"{slope:.10g}"
            dataset.BitsStored, dataset.HighBit = 16, 15

        return edit

    good(measure(twin(in_bits(15))))
    good(measure(twin(in_bits(16))))
    assert max(highest) == 65535


def nifti(path, *, edit=lambda header: None):
    data = np.full((6, 5, 4), 2.0, np.float32)
    image = nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    edit(image.header)
    nibabel.save(image, path)
    return path


def listed(path, capsys):
    capsys.readouterr()
    code = main(["info", str(path), "--json"])
    assert code == 0
    return json.loads(capsys.readouterr().out)["series"][0]


def test_trap_17_micrometres_are_converted_and_unknown_units_told(tmp_path, capsys):
    assert listed(nifti(tmp_path / "mm.nii"), capsys)["problems"] == []
    micro = listed(nifti(tmp_path / "um.nii", edit=lambda h: h.set_xyzt_units(3)), capsys)
    assert micro["spacing_mm"] == pytest.approx([0.002] * 3)
    unknown = listed(nifti(tmp_path / "none.nii", edit=lambda h: h.set_xyzt_units(0)), capsys)
    assert unknown["spacing_mm"] == pytest.approx([2.0] * 3)
    assert unknown["problems"]


def test_trap_18_two_geometries_in_one_header_are_reported(tmp_path, capsys):
    def conflict(head):
        head["qoffset_x"] += 5

    def half(head):
        head["pixdim"][0] = 0.5

    found = listed(nifti(tmp_path / "conflict.nii", edit=conflict), capsys)
    assert any("sform" in problem for problem in found["problems"])
    assert found["spacing_mm"] == pytest.approx([2.0] * 3)
    refused = listed(nifti(tmp_path / "half.nii", edit=half), capsys)
    assert refused["shape"] == []
    assert "CorruptInput" in refused["problems"][0]


def test_trap_19_frames_are_ordered_by_time_and_not_by_number_or_name(tmp_path, capsys):
    write_dicom(make("mm302-decaytrap").volumes[0], tmp_path / "still")
    first = pydicom.dcmread(sorted((tmp_path / "still").iterdir())[0])
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    rng = np.random.default_rng(4)
    instances = rng.permutation(12) + 1
    count = 0
    for t in range(4):
        for z in range(3):
            one = first.copy()
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{t}.{z + 1}"
            one.ImagePositionPatient = [0.0, 0.0, 4.0 * z]
            one.SeriesType, one.NumberOfTimeSlices, one.NumberOfSlices = ["DYNAMIC", "IMAGE"], 4, 3
            one.AcquisitionTime = f"10{10 * t:02d}00"
            one.SeriesTime = "100000"
            one.AcquisitionDate = one.SeriesDate
            one.FrameReferenceTime = 600e3 * t + 300e3
            one.ActualFrameDuration = 600_000
            one.DecayFactor = 1.0
            one.InstanceNumber, one.ImageIndex = int(instances[count]), 3 * t + z + 1
            pixels = np.full((one.Rows, one.Columns), 100 * t + z, np.uint16)
            one.PixelData, one.RescaleSlope, one.RescaleIntercept = pixels.tobytes(), 1.0, 0.0
            one.save_as(shuffled / f"{int(rng.integers(1e9))}.dcm")
            count += 1
    assert main(["convert", str(shuffled), str(tmp_path / "out.nii"), "-q"]) == 0
    data = nibabel.load(tmp_path / "out.nii").get_fdata()
    expected = 100 * np.arange(4) + np.arange(3)[:, np.newaxis]
    np.testing.assert_array_equal(data[0, 0], expected)
