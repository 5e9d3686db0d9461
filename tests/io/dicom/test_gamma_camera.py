"""Multi-frame NM: detectors, slices, energy windows, radiopharmaceuticals; and SPECT stored as PT."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.nuclear import Administration, Calibration, percent_id_per_gram

WINDOWS = ((126.0, 154.0), (154.0, 188.0))
ENERGY, DETECTOR, SLICE, ROTATION = 0x00540010, 0x00540020, 0x00540080, 0x00540050


def item(**values) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def unit(text: str) -> list[Dataset]:
    return [item(CodeValue=text, CodingSchemeDesignator="UCUM", CodeMeaning="unit")]


def mapping(text: str, slope: float) -> Dataset:
    made = item(
        RealWorldValueSlope=slope, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=unit(text)
    )
    made.add_new(0x00409216, "US", 0)
    made.add_new(0x00409211, "US", 65535)
    return made


def window(*ranges) -> Dataset:
    limits = [item(EnergyWindowLowerLimit=low, EnergyWindowUpperLimit=high) for low, high in ranges]
    return item(EnergyWindowRangeSequence=limits)


def detector(position=(-8.0, -6.0, 50.0), orientation=(1, 0, 0, 0, 1, 0)) -> Dataset:
    return item(ImagePositionPatient=list(position), ImageOrientationPatient=list(orientation))


def camera(make_series, path, stored, *, windows=WINDOWS[:1], edit=None):
    """A reconstruction of `stored` (frames, rows, columns); by default one window and slices in order."""
    ds = make_series.new_dataset("NM")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    make_series.set_pixels(ds, np.asarray(stored, np.uint16))
    ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = [4, 4], 4, 4.4
    n = len(stored)
    ds.NumberOfSlices, ds.FrameIncrementPointer, ds.SliceVector = n, SLICE, list(range(1, n + 1))
    ds.NumberOfDetectors, ds.DetectorInformationSequence = 1, [detector()]
    ds.EnergyWindowInformationSequence = [window(limits) for limits in windows]
    ds.RotationInformationSequence = [
        item(ActualFrameDuration=20000, NumberOfFramesInRotation=60, ScanArc=360)
    ]
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def planes(*values) -> np.ndarray:
    return np.array([np.full((4, 5), value) for value in values])


def two_windows(make_series, path, edit=None):
    """Three slices in each of two windows, interleaved as the standard allows: window slowest or fastest."""

    def index(ds):
        ds.FrameIncrementPointer = [ENERGY, SLICE]
        ds.EnergyWindowVector, ds.SliceVector = [1, 2, 1, 2, 1, 2], [1, 1, 2, 2, 3, 3]
        if edit is not None:
            edit(ds)

    return camera(make_series, path, planes(10, 20, 11, 21, 12, 22), windows=WINDOWS, edit=index)


def test_windows_are_asked_for_and_the_question_names_them(tmp_path, make_series):
    with pytest.raises(NothingUsable) as refusal:
        it.load(two_windows(make_series, tmp_path / "x.dcm"))
    assert "energy window 126-154 keV" in refusal.value.found
    assert "energy window 154-188 keV" in refusal.value.found
    assert [entry.place for entry in it.info(tmp_path)] == [
        "energy window 126-154 keV",
        "energy window 154-188 keV",
    ]


@pytest.mark.parametrize(
    ("choice", "values", "limits"),
    [
        ({"series": 1}, [10, 11, 12], WINDOWS[0]),
        ({"series": "2"}, [20, 21, 22], WINDOWS[1]),
        ({"window_kev": 140.5}, [10, 11, 12], WINDOWS[0]),
        ({"window_kev": 171}, [20, 21, 22], WINDOWS[1]),
        ({"window_kev": (154, 188)}, [20, 21, 22], WINDOWS[1]),
        ({"window_kev": 171.0, "series": "all"}, [20, 21, 22], WINDOWS[1]),
        ({"window_kev": 171.0, "series": 2}, [20, 21, 22], WINDOWS[1]),
    ],
)
def test_one_window_is_loaded_with_its_own_limits_alone(tmp_path, make_series, choice, values, limits):
    v = it.load(two_windows(make_series, tmp_path / "x.dcm"), **choice)
    assert v.data[0, 0].tolist() == values
    assert v.acquisition.energy_windows_kev == (limits,)
    assert v.acquisition.windows_kev == ((limits,),)


def test_all_windows_together_are_an_axis_of_energy(tmp_path, make_series):
    v = it.load(two_windows(make_series, tmp_path / "x.dcm"), series="all")
    assert v.axis("energy").values.tolist() == [140.0, 171.0]
    assert v.axis("energy").unit == "keV"
    assert v.data[0, 0].tolist() == [[10, 20], [11, 21], [12, 22]]
    assert v.acquisition.windows_kev == ((WINDOWS[0],), (WINDOWS[1],))
    it.save(v, tmp_path / "windows.nii.gz")
    again = it.load(tmp_path / "windows.nii.gz")
    assert again.axis("energy").same_as(v.axis("energy"))
    assert again.acquisition.windows_kev == v.acquisition.windows_kev
    one = it.nuclear.energy_window(again, 171.0)
    assert one.data[0, 0].tolist() == [20, 21, 22]


def test_windows_in_files_of_one_series_are_not_merged(tmp_path, make_series):
    """As most consoles write them: one object for each window, told apart by its limits alone."""
    for n, limits in enumerate(WINDOWS):
        camera(
            make_series,
            tmp_path / f"{n}.dcm",
            planes(*(10 * (n + 1) + k for k in range(3))),
            windows=[limits],
        )
    with pytest.raises(NothingUsable, match="holds 2 series"):
        it.load(tmp_path)
    assert it.load(tmp_path, window_kev=140.5).data[0, 0].tolist() == [10, 11, 12]
    assert it.load(tmp_path, series="all").data[0, 0].tolist() == [[10, 20], [11, 21], [12, 22]]


def test_images_of_different_corrections_in_one_series_are_not_merged(tmp_path, make_series):
    for n, corrections in enumerate((["ATTN", "SCAT"], ["SCAT"])):
        camera(
            make_series,
            tmp_path / f"{n}.dcm",
            planes(n + 1, n + 2, n + 3),
            edit=lambda ds, corrections=corrections: setattr(ds, "CorrectedImage", corrections),
        )
    with pytest.raises(NothingUsable, match="holds 2 series"):
        it.load(tmp_path)


def test_ranges_of_one_window_stay_one_image(tmp_path, make_series):
    """Both photopeaks of 111In counted in one window."""

    def edit(ds):
        ds.EnergyWindowInformationSequence = [window((154, 188), (221, 270))]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert not v.axes
    assert v.acquisition.windows_kev == (((154.0, 188.0), (221.0, 270.0)),)
    assert not [w for w in v.warnings if "window" in w.code]


def test_listed_windows_without_an_index_are_told(tmp_path, make_series):
    """A photopeak beside its scatter windows: the standard has no index for reconstructions."""
    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), windows=WINDOWS))
    assert "energy-windows-not-told-apart" in [w.code for w in v.warnings]
    assert v.acquisition.energy_windows_kev == WINDOWS


@pytest.mark.parametrize("window_kev", [300.0, (126, 150)])
def test_an_unknown_window_is_refused_with_those_that_are_there(tmp_path, make_series, window_kev):
    path = two_windows(make_series, tmp_path / "x.dcm")
    for choice in ({}, {"series": "all"}, {"series": 1}):
        with pytest.raises(NothingUsable, match="no energy window") as refusal:
            it.load(path, window_kev=window_kev, **choice)
        assert "126-154 keV" in refusal.value.found


def test_an_energy_in_two_windows_asks_for_limits(tmp_path, make_series):
    path = two_windows(make_series, tmp_path / "x.dcm")
    with pytest.raises(NothingUsable, match="several energy windows contain 154 keV"):
        it.load(path, window_kev=154.0)
    for wrong in (-1.0, (154.0, 126.0), float("nan")):
        with pytest.raises(ValueError, match="window_kev"):
            it.load(path, window_kev=wrong)


def test_a_window_of_an_image_that_has_none_is_refused(tmp_path, make_series):
    path = camera(make_series, tmp_path / "nm.dcm", planes(1, 2, 3), windows=())
    with pytest.raises(MissingMetadata, match="energy windows"):
        it.load(path, window_kev=140.0)
    make_series(tmp_path / "pt", "PT")
    with pytest.raises(UnsupportedInput, match="gamma camera"):
        it.load(tmp_path / "pt", window_kev=140.0)


@pytest.mark.parametrize("limits", [(154.0, 126.0), (-1.0, 5.0), (140.0, 140.0)])
def test_limits_that_are_no_range_are_corrupt(tmp_path, make_series, limits):
    with pytest.raises(CorruptInput, match="no range"):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), windows=[limits]))


@pytest.mark.parametrize(
    ("number", "keyword"), [(ENERGY, "EnergyWindowVector"), (DETECTOR, "DetectorVector")]
)
@pytest.mark.parametrize("value", [0, 3])
def test_an_index_beyond_what_is_listed_is_corrupt(tmp_path, make_series, number, keyword, value):
    def edit(ds):
        ds.FrameIncrementPointer = [number, SLICE]
        setattr(ds, keyword, [1, value, 1])

    with pytest.raises(CorruptInput, match="not listed"):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), windows=WINDOWS, edit=edit))


def test_each_detector_has_its_own_place(tmp_path, make_series):
    """Frames of the second detector lie where its own item says, and are not merged with the first."""

    def edit(ds):
        ds.FrameIncrementPointer = [DETECTOR, SLICE]
        ds.DetectorVector, ds.SliceVector = [1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 3]
        ds.NumberOfDetectors = 2
        turned = detector((0.0, 30.0, -7.0), (0, 1, 0, 0, 0, -1))
        ds.DetectorInformationSequence = [detector(), turned]

    path = camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3, 4, 5, 6), edit=edit)
    with pytest.raises((NothingUsable, GeometryMismatch)):
        it.load(path)
    first, second = (it.load(path, series=number) for number in (1, 2))
    assert_allclose(first.affine[:3, 3], [8, 6, 50])
    assert first.data[0, 0].tolist() == [1, 2, 3]
    # rows along y, columns down: the normal y x (-z) is -x of LPS, which is +x of RAS
    assert_allclose(second.affine @ [0, 0, 0, 1], [0, -30, -7, 1], atol=1e-9)
    assert_allclose(second.affine[:3, 2], [4.4, 0, 0], atol=1e-9)
    assert second.data[0, 0].tolist() == [4, 5, 6]


def test_detectors_that_share_a_reconstruction_share_the_place_of_the_first(tmp_path, make_series):
    def edit(ds):
        ds.NumberOfDetectors = 2
        ds.DetectorInformationSequence = [detector(), item(CollimatorType="PARA")]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert_allclose(v.affine[:3, 3], [8, 6, 50])


def test_a_reconstruction_without_a_place_is_refused(tmp_path, make_series):
    def edit(ds):
        ds.DetectorInformationSequence = [item(CollimatorType="PARA")]

    with pytest.raises(MissingMetadata, match="geometry"):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))


@pytest.mark.parametrize("spacing", [4.4, -4.4])
def test_slices_may_come_in_any_order(tmp_path, make_series, spacing):
    """The position is that of the first frame in the file, whichever slice that is."""

    def edit(ds):
        ds.SliceVector, ds.SpacingBetweenSlices = [3, 1, 2], spacing

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(30, 10, 20), edit=edit))
    at = np.linalg.solve(v.affine, [8, 6, 50, 1])
    assert v.data[tuple(np.rint(at).astype(int)[:3])] == 30
    at = np.linalg.solve(v.affine, [8, 6, 50 - 2 * spacing, 1])
    assert v.data[tuple(np.rint(at).astype(int)[:3])] == 10


def test_a_missing_slice_is_refused(tmp_path, make_series):
    def edit(ds):
        ds.SliceVector = [1, 2, 4]

    with pytest.raises(GeometryMismatch):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))


def test_thickness_stands_in_for_the_spacing_and_says_so(tmp_path, make_series):
    def edit(ds):
        ds.SpacingBetweenSlices = None

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert v.grid.spacing_mm[2] == pytest.approx(4.0)
    assert "slice-spacing-from-thickness" in [w.code for w in v.warnings]

    def neither(ds):
        ds.SpacingBetweenSlices = ds.SliceThickness = None

    with pytest.raises(MissingMetadata, match="far its slices"):
        it.load(camera(make_series, tmp_path / "y.dcm", planes(1, 2, 3), edit=neither))


def test_frames_counted_by_rotation_are_refused(tmp_path, make_series):
    def edit(ds):
        ds.FrameIncrementPointer, ds.RotationVector = [ROTATION, SLICE], [1, 2, 3]

    with pytest.raises(UnsupportedInput, match="counted in a way"):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))


def test_frames_without_an_index_are_refused(tmp_path, make_series):
    def edit(ds):
        del ds.FrameIncrementPointer

    with pytest.raises(MissingMetadata, match="FrameIncrementPointer"):
        it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))


def test_dynamic_planar_frames_follow_their_time_slices(tmp_path, make_series):
    def edit(ds):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]
        ds.FrameIncrementPointer = [0x00540030, 0x00540100]
        ds.PhaseVector, ds.TimeSliceVector = [1, 1, 1], [3, 1, 2]
        ds.PhaseInformationSequence = [item(ActualFrameDuration=2000, NumberOfFramesInPhase=3)]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(30, 10, 20), edit=edit))
    assert v.axis("time").values.tolist() == [1, 3, 5]
    assert v.data[0, 0, 0].tolist() == [10, 20, 30]

    def beyond(ds):
        edit(ds)
        ds.TimeSliceVector = [1, 2, 4]

    with pytest.raises(CorruptInput, match="time slice"):
        it.load(camera(make_series, tmp_path / "y.dcm", planes(1, 2, 3), edit=beyond))


@pytest.mark.parametrize("activity_first", [True, False])
def test_a_real_world_map_goes_before_the_rescale_slope_and_activity_before_counts(
    tmp_path, make_series, activity_first
):
    def edit(ds):
        ds.RescaleSlope, ds.RescaleIntercept = "3", "0"
        maps = [mapping("kBq/ml", 0.0125), mapping("{counts}", 3.0)]
        ds.RealWorldValueMappingSequence = maps if activity_first else maps[::-1]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert (v.quantity, v.unit) == ("activity_concentration", "Bq/mL")
    assert v.data[0, 0].tolist() == [12.5, 25.0, 37.5]


def test_without_a_real_world_map_the_rescale_slope_counts(tmp_path, make_series):
    def edit(ds):
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "0"

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert (v.quantity, v.data[0, 0].tolist()) == ("counts", [0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    ("text", "factor"), [("Bq/ml", 1.0), ("Bq/cm3", 1.0), ("kBq/mL", 1e3), ("MBq/ml", 1e6)]
)
def test_units_of_activity(tmp_path, make_series, text, factor):
    def edit(ds):
        ds.RealWorldValueMappingSequence = [mapping(text, 2.0)]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert (v.quantity, v.data.max()) == ("activity_concentration", 6.0 * factor)


@pytest.mark.parametrize(
    ("units", "quantity", "code"),
    [
        ("BQML", "activity_concentration", "camera-units-as-of-pet"),
        ("CPS", "count_rate", "camera-units-as-of-pet"),
        ("CNTS", "counts", None),
        ("PROPCPS", "signal", "camera-units-without-scale"),
    ],
)
def test_units_that_belong_to_pet_are_taken_at_their_word_and_told(
    tmp_path, make_series, units, quantity, code
):
    """Vendors write them into quantitative NM files; a real-world value mapping goes before them."""

    def edit(ds):
        ds.Units, ds.RescaleSlope, ds.RescaleIntercept = units, "2.5", "0"

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert (v.quantity, v.data.max()) == (quantity, 7.5)
    assert [w.code for w in v.warnings if w.code.startswith("camera-units")] == ([code] if code else [])

    def mapped(ds):
        edit(ds)
        ds.RealWorldValueMappingSequence = [mapping("{counts}", 1.0)]

    v = it.load(camera(make_series, tmp_path / "y.dcm", planes(1, 2, 3), edit=mapped))
    assert (v.quantity, v.data.max()) == ("counts", 3.0)
    assert not [w for w in v.warnings if w.code.startswith("camera-units")]


def test_milli_is_not_mega(tmp_path, make_series):
    def edit(ds):
        ds.RealWorldValueMappingSequence = [mapping("mBq/ml", 2.0)]

    v = it.load(camera(make_series, tmp_path / "x.dcm", planes(1, 2, 3), edit=edit))
    assert (v.quantity, v.data.max()) == ("counts", 3.0)
    assert "real-world-unit-not-used" in [w.code for w in v.warnings]


def drug(nuclide: str, code: str, mbq: float, half_life_s: float, start="20250301061500") -> Dataset:
    return item(
        RadionuclideCodeSequence=[item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=nuclide)],
        RadionuclideTotalDose=mbq,
        RadionuclideHalfLife=half_life_s,
        RadiopharmaceuticalStartDateTime=start,
    )


def test_two_isotopes_are_both_kept_and_neither_is_chosen(tmp_path, make_series):
    def edit(ds):
        ds.RadiopharmaceuticalInformationSequence = [
            drug("Technetium Tc^99m^", "72454006", 20, 21_624),
            drug("Indium In^111^", "56609000", 5, 242_326),
        ]
        ds.CorrectedImage = ["ATTN"]

    v = it.load(two_windows(make_series, tmp_path / "x.dcm", edit), window_kev=171)
    record = v.acquisition
    assert [one.nuclide for one in record.radiopharmaceuticals] == ["Tc-99m", "In-111"]
    assert [one.total_dose for one in record.radiopharmaceuticals] == [20e6, 5e6]
    assert (record.radiopharmaceutical.nuclide, record.radiopharmaceutical.total_dose) == (None, None)
    assert record.radiopharmaceutical.start_datetime is not None  # both were injected together
    assert "several-radiopharmaceuticals" in [w.code for w in v.warnings]
    with pytest.raises(MissingMetadata):
        percent_id_per_gram(v, sensitivity_cps_mbq=Calibration(100.0))
    # named by the user, the drug that the file states for it is used: 5 MBq of 111In, 4 h before
    named = percent_id_per_gram(
        v,
        Administration(None, None, nuclide="111In"),
        sensitivity_cps_mbq=Calibration(100.0),
        decay_correction="NONE",
    )
    left = 5.0 * 2 ** (-(4 + 1200 / 7200) / (242_326 / 3600))
    expected = 100 * v.data / (100 * 1200 * v.grid.voxel_volume_ml) / left
    assert_allclose(named.value.data, expected, rtol=1e-4)
    it.save(v, tmp_path / "x.nii.gz")
    again = it.load(tmp_path / "x.nii.gz").acquisition
    assert [one.nuclide for one in again.radiopharmaceuticals] == ["Tc-99m", "In-111"]


def spect_as_pt(make_series, folder, modality, units="BQML"):
    def edit(ds, _):
        ds.Modality, ds.Units = modality, units
        ds.CollimatorType = "PARA"
        ds.ActualFrameDuration, ds.FrameReferenceTime = "1200000", "0"
        ds.RadiopharmaceuticalInformationSequence = [drug("Technetium Tc^99m^", "72454006", 20e6, 21_624)]
        ds.DecayFactor = "1.0"

    make_series(folder, "PT", edit=edit)
    return it.load(folder)


@pytest.mark.parametrize("modality", ["NM", "PT"])
def test_spect_stored_as_pt_is_activity_of_its_own_nuclide(tmp_path, make_series, modality):
    """Injected 4 h before the scan that it is corrected to: 2^(-4 h / 6.0067 h) of 20 MBq are left."""
    v = spect_as_pt(make_series, tmp_path, modality)
    assert (v.quantity, v.unit) == ("activity_concentration", "Bq/mL")
    assert (v.acquisition.modality, v.acquisition.radiopharmaceutical.nuclide) == (modality, "Tc-99m")
    found = percent_id_per_gram(v)
    left = 20e6 * 2 ** (-4 * 3600 / 21_624)
    assert_allclose(found.value.data, 100 * v.data / left, rtol=2e-3)


@pytest.mark.parametrize("modality", ["NM", "PT"])
def test_counts_of_spect_stored_as_pt_stay_counts_until_they_are_calibrated(tmp_path, make_series, modality):
    v = spect_as_pt(make_series, tmp_path, modality, "CNTS")
    assert v.quantity == "counts"
    with pytest.raises((MissingMetadata, it.errors.UnitMismatch), match="without a calibration"):
        percent_id_per_gram(v)
    found = it.nuclear.calibrate(v, Calibration(847.0))
    assert_allclose(found.data, v.data / (847 * 1200 * v.grid.voxel_volume_ml) * 1e6, rtol=1e-5)


def test_no_identifier_is_told_of_a_camera(tmp_path, make_series):
    path = two_windows(make_series, tmp_path / "x.dcm")
    code = (
        "import imgtheranostics as it, sys\n"
        "v = it.load(sys.argv[1], series='all')\n"
        "print(v, v.acquisition, v.warnings)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "Canary" not in told.stdout + told.stderr
