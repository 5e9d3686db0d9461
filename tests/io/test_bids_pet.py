"""PET sidecars: units, frames, the five clocks of PET-BIDS, and both generations of dcm2niix keys."""

from __future__ import annotations

import json
import math

import nibabel
import numpy as np
import pytest

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import nuclide_in
from imgtheranostics.errors import CorruptInput, ImplausibleValue, UnitMismatch
from imgtheranostics.io.nifti import load_nifti
from imgtheranostics.io.pet_clocks import clock_seconds, mean_activity_time
from imgtheranostics.io.saving import save

F18_S = 6586.2
"""ICRP-107, as in reference/pet.md section 4.1."""

STATIC = {
    "Modality": "PT",
    "Manufacturer": "Siemens",
    "Units": "Bq/mL",
    "TracerName": "FDG",
    "TracerRadionuclide": "F18",
    "RadionuclideHalfLife": F18_S,
    "InjectedRadioactivity": 370,
    "InjectedRadioactivityUnits": "MBq",
    "TimeZero": "10:00:00",
    "InjectionStart": 0,
    "ScanStart": 3600,
    "FrameTimesStart": [3600],
    "FrameDuration": [600],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 3600,
    "PatientWeight": 70,
}

DYNAMIC = STATIC | {
    "ScanStart": 0,
    "FrameTimesStart": [0, 60, 180, 480],
    "FrameDuration": [60, 120, 300, 600],
    "ImageDecayCorrectionTime": 0,
}


def load(tmp_path, sidecar, n_frames=1, *, name="sub-01_pet.nii.gz", scale=1.0):
    shape = (3, 4, 5, n_frames) if n_frames > 1 else (3, 4, 5)
    data = (np.arange(np.prod(shape), dtype=np.float32) * scale).reshape(shape)
    image = nibabel.Nifti1Image(data, np.diag([2.0, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / name)
    (tmp_path / name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return load_nifti([tmp_path / name])[0]


def without(sidecar, *keys):
    return {key: value for key, value in sidecar.items() if key not in keys}


def codes(volume):
    return [caution.code for caution in volume.warnings]


def factor(start_s, duration_s, reference_s=0.0, half_life_s=F18_S):
    """Decay factor of a frame by its definition: mean over the frame to the reference time."""
    rate = math.log(2) / half_life_s
    mean = (1 - math.exp(-rate * duration_s)) / (rate * duration_s)
    return math.exp(rate * (start_s - reference_s)) / mean


def test_static_image_of_pet_bids(tmp_path):
    volume = load(tmp_path, STATIC)
    record = volume.acquisition
    assert isinstance(record, EmissionAcquisition)
    assert (volume.quantity, volume.unit, volume.axes) == ("activity_concentration", "Bq/mL", ())
    assert volume.warnings == ()
    assert record.units == "BQML"
    assert record.decay_correction == "START"
    assert record.decay_reference == "scan_start"
    assert record.decay_reference_s == 0.0
    assert record.injection_to_first_frame_s == 3600.0
    assert record.radiopharmaceutical.total_dose == 370e6
    assert record.radiopharmaceutical.nuclide == "F-18"
    assert record.radiopharmaceutical.half_life_s == F18_S
    assert record.subject.weight_kg == 70.0
    assert record.frame_duration_s.shape == (5, 1)
    assert record.n_images == 5
    assert "DECY" in record.corrections


def test_dynamic_image_has_mid_frame_times(tmp_path):
    volume = load(tmp_path, DYNAMIC, 4)
    assert volume.axes[0].name == "time"
    np.testing.assert_allclose(volume.axes[0].values, [30, 120, 330, 780])
    np.testing.assert_allclose(volume.acquisition.frame_duration_s, [[60, 120, 300, 600]] * 5)
    assert volume.acquisition.series_type[0] == "DYNAMIC"
    assert volume.warnings == ()


def test_times_count_from_the_first_frame_when_it_begins_late(tmp_path):
    late = DYNAMIC | {
        "ScanStart": 1800,
        "FrameTimesStart": [1800, 1860, 1980, 2280],
        "ImageDecayCorrectionTime": 0,
    }
    volume = load(tmp_path, late, 4)
    np.testing.assert_allclose(volume.axes[0].values, [30, 120, 330, 780])
    assert volume.acquisition.decay_reference == "injection"
    assert volume.acquisition.decay_correction == "ADMIN"
    assert volume.acquisition.decay_reference_s == -1800.0
    assert volume.acquisition.injection_to_first_frame_s == 1800.0


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("Bq/mL", 1.0),
        ("BQML", 1.0),
        ("Bq/ml", 1.0),
        ("kBq/mL", 1e3),
        ("kBq/cc", 1e3),
        ("MBq/mL", 1e6),
        ("nCi/cc", 37.0),
        ("uCi/cc", 37e3),
    ],
)
def test_activity_units_become_bq_per_ml_and_are_recorded(tmp_path, unit, scale):
    volume = load(tmp_path, STATIC | {"Units": unit})
    expected = np.arange(60, dtype=np.float32).reshape(3, 4, 5).astype(np.float64) * scale
    np.testing.assert_allclose(volume.data, expected, rtol=1e-7)
    assert (volume.quantity, volume.unit) == ("activity_concentration", "Bq/mL")
    steps = [step for step in volume.history if step.name == "convert_unit"]
    assert len(steps) == (scale != 1.0)


@pytest.mark.parametrize(
    ("unit", "quantity", "dicom"),
    [
        ("CNTS", "counts", "CNTS"),
        ("CPS", "count_rate", "CPS"),
        ("PROPCPS", "signal", "PROPCPS"),
        ("PROPCNTS", "signal", "PROPCNTS"),
        ("GML", "suv_bw", "GML"),
        ("g/ml", "suv_bw", "GML"),
        ("CM2ML", "suv_bsa", "CM2ML"),
        ("{counts}", "counts", "CNTS"),
        ("{counts}/s", "count_rate", "CPS"),
        ("cm2/mL", "suv_bsa", "CM2ML"),
    ],
)
def test_dicom_words_keep_their_meaning(tmp_path, unit, quantity, dicom):
    volume = load(tmp_path, STATIC | {"Units": unit})
    assert volume.quantity == quantity
    assert volume.acquisition.units == dicom
    assert ("proportional-units" in codes(volume)) == unit.startswith("PROP")


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [("LBMJANMA", "suv_lbm_janmahasatian"), ("IBW", "suv_ibw"), ("LBM", "suv_lbm_james120")],
)
def test_kind_of_suv_is_respected(tmp_path, kind, quantity):
    assert load(tmp_path, STATIC | {"Units": "GML", "SUVType": kind}).quantity == quantity


def test_missing_units_load_as_signal_with_a_caution(tmp_path):
    volume = load(tmp_path, without(STATIC, "Units"))
    assert volume.quantity == "signal"
    assert volume.acquisition.units is None
    assert codes(volume) == ["unit-missing"]


def test_unknown_unit_is_refused_by_key(tmp_path):
    with pytest.raises(UnitMismatch, match="Units"):
        load(tmp_path, STATIC | {"Units": "furlongs"})


@pytest.mark.parametrize(
    ("amount", "unit", "expected"),
    [
        (370, "MBq", 370e6),
        ("370", "MBq", 370e6),
        (10, "mCi", 370e6),
        (3.7e8, "Bq", 3.7e8),
        (200, "uCi", 7.4e6),
    ],
)
def test_administered_activity_in_any_unit(tmp_path, amount, unit, expected):
    volume = load(tmp_path, STATIC | {"InjectedRadioactivity": amount, "InjectedRadioactivityUnits": unit})
    assert volume.acquisition.radiopharmaceutical.total_dose == pytest.approx(expected)


def test_older_spelling_of_the_dose_keys(tmp_path):
    sidecar = without(STATIC, "InjectedRadioactivity", "InjectedRadioactivityUnits")
    sidecar |= {"InjectedRadioActivity": 370, "InjectedRadioActivityUnit": "MBq"}
    assert load(tmp_path, sidecar).acquisition.radiopharmaceutical.total_dose == 370e6


def test_two_doses_that_contradict_are_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="administered activity"):
        load(tmp_path, STATIC | {"RadionuclideTotalDose": 74e6})


def test_dose_without_a_unit_is_told(tmp_path):
    assert "dose-unit-missing" in codes(load(tmp_path, without(STATIC, "InjectedRadioactivityUnits")))


GENERATION_1 = {
    "Modality": "PT",
    "Units": "BQML",
    "DecayCorrection": "START",
    "RadionuclideTotalDose": 370000000,
    "RadionuclideHalfLife": F18_S,
    "RadionuclidePositronFraction": 0.967,
    "Radiopharmaceutical": "Fluorodeoxyglucose",
    "RadiopharmaceuticalStartTime": "09:00:00",
    "AcquisitionTime": "10:00:00.000000",
    "FrameDuration": [600],
    "FrameTimesStart": [0],
    "FrameReferenceTime": [298.42],
    "DecayFactor": [round(factor(0, 600), 5)],
    "ConversionSoftware": "dcm2niix",
}


def test_first_generation_of_converter_keys(tmp_path):
    """DecayCorrection, DecayFactor, RadionuclideTotalDose and clock times instead of the PET-BIDS keys."""
    volume = load(tmp_path, GENERATION_1)
    record = volume.acquisition
    assert volume.quantity == "activity_concentration"
    assert record.decay_correction == "START"
    assert record.decay_reference == "scan_start"
    assert record.decay_reference_s == pytest.approx(0.0, abs=0.5)
    assert record.injection_to_first_frame_s == 3600.0
    assert record.radiopharmaceutical.total_dose == 370e6
    assert record.radiopharmaceutical.positron_fraction == 0.967
    assert record.frame_reference_time_s[0, 0] == 298.42
    assert record.decay_factor[0, 0] == pytest.approx(1.031905, abs=1e-5)
    assert volume.warnings == ()


def test_both_generations_of_one_truth_agree(tmp_path):
    old = load(tmp_path, GENERATION_1, name="old_pet.nii.gz").acquisition
    new = load(tmp_path, STATIC, name="new_pet.nii.gz").acquisition
    assert old.injection_to_first_frame_s == new.injection_to_first_frame_s
    assert old.decay_reference_s == pytest.approx(new.decay_reference_s, abs=0.5)
    assert old.radiopharmaceutical.total_dose == new.radiopharmaceutical.total_dose


def test_start_correction_to_a_moment_before_the_first_frame_is_found_by_the_factor(tmp_path):
    """Late bed: FRT 600 s gives the factor 1.06518 (inputs.md trap 1)."""
    assert pytest.approx(1.06518, abs=1e-5) == 2 ** (600 / F18_S)
    start = 600 - mean_activity_time(600.0, F18_S)
    sidecar = GENERATION_1 | {"DecayFactor": [2 ** (600 / F18_S)], "FrameReferenceTime": [600]}
    volume = load(tmp_path, sidecar)
    assert volume.acquisition.decay_reference_s == pytest.approx(-start, abs=0.5)
    assert "decay-reference-by-factor" in codes(volume)


@pytest.mark.parametrize(
    ("injected", "elapsed", "caution"),
    [("23:50:00", 36600.0, True), ("0830", 5400.0, False), ("093015.5", 1784.5, False)],
)
def test_clock_times_round_midnight_and_in_dicom_form(tmp_path, injected, elapsed, caution):
    volume = load(tmp_path, GENERATION_1 | {"RadiopharmaceuticalStartTime": injected})
    assert volume.acquisition.injection_to_first_frame_s == pytest.approx(elapsed)
    assert ("injection-before-midnight" in codes(volume)) == caution


def test_clock_time_of_a_long_lived_nuclide_is_ambiguous(tmp_path):
    sidecar = without(GENERATION_1, "DecayFactor") | {"RadionuclideHalfLife": 282276}
    volume = load(tmp_path, sidecar)
    assert volume.acquisition.injection_to_first_frame_s is None
    assert "injection-day-unknown" in codes(volume)


def test_injection_forced_to_zero_by_a_converter_is_doubted(tmp_path):
    forced = STATIC | {"ScanStart": 0, "FrameTimesStart": [0], "ImageDecayCorrectionTime": 0}
    forced |= {"ConversionSoftware": ["dcm2niix", "pypet2bids"]}
    assert codes(load(tmp_path, forced)) == ["injection-time-doubtful"]


def test_not_decay_corrected_is_none_under_either_key(tmp_path):
    for sidecar in (
        STATIC | {"ImageDecayCorrected": False},
        GENERATION_1 | {"DecayCorrection": "NONE", "DecayFactor": [1]},
    ):
        record = load(tmp_path, sidecar).acquisition
        assert record.decay_correction == "NONE"
        assert record.decay_reference_s is None
        assert "DECY" not in record.corrections


def test_words_about_decay_that_contradict_are_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="ImageDecayCorrected"):
        load(tmp_path, STATIC | {"ImageDecayCorrected": False, "DecayCorrection": "START"})


def test_unknown_word_of_decay_correction_is_refused(tmp_path):
    with pytest.raises(CorruptInput, match="DecayCorrection"):
        load(tmp_path, GENERATION_1 | {"DecayCorrection": "MAYBE"})


def test_good_decay_factors_raise_no_alarm(tmp_path):
    factors = [
        round(factor(s, d), 5)
        for s, d in zip(DYNAMIC["FrameTimesStart"], DYNAMIC["FrameDuration"], strict=True)
    ]
    for key in ("DecayFactor", "DecayCorrectionFactor"):
        volume = load(tmp_path, DYNAMIC | {key: factors}, 4)
        assert volume.warnings == ()
        np.testing.assert_allclose(volume.acquisition.decay_factor[0], factors)


@pytest.mark.parametrize(("shift_s", "outcome"), [(30, "silent"), (200, "caution"), (3600, "refused")])
def test_decay_time_against_decay_factor(tmp_path, shift_s, outcome):
    """2^(200/6586.2) - 1 = 2.1 %, 2^(3600/6586.2) - 1 = 46 %."""
    factors = [
        factor(s, d) for s, d in zip(DYNAMIC["FrameTimesStart"], DYNAMIC["FrameDuration"], strict=True)
    ]
    sidecar = DYNAMIC | {"DecayCorrectionFactor": factors, "ImageDecayCorrectionTime": shift_s}
    if outcome == "refused":
        with pytest.raises(ImplausibleValue, match="ImageDecayCorrectionTime") as caught:
            load(tmp_path, sidecar, 4)
        assert "46.1 %" in str(caught.value)
        return
    assert codes(load(tmp_path, sidecar, 4)) == (["clocks-disagree"] if outcome == "caution" else [])


def test_frames_counted_from_the_scan_instead_of_time_zero_are_refused(tmp_path):
    """TimeZero is the injection and the scan an hour later, but frames begin at 0."""
    with pytest.raises(ImplausibleValue, match="ScanStart"):
        load(tmp_path, STATIC | {"FrameTimesStart": [0]})


def test_injection_clock_against_injection_start(tmp_path):
    sidecar = STATIC | {"RadiopharmaceuticalStartTime": "09:00:00", "AcquisitionTime": "11:00:00"}
    with pytest.raises(ImplausibleValue, match="InjectionStart"):
        load(tmp_path, sidecar)


def test_time_zero_against_acquisition_time(tmp_path):
    assert load(tmp_path, STATIC | {"AcquisitionTime": "11:00:00"}).warnings == ()
    assert codes(load(tmp_path, STATIC | {"AcquisitionTime": "11:05:00"})) == ["clocks-disagree"]
    with pytest.raises(ImplausibleValue, match="AcquisitionTime"):
        load(tmp_path, STATIC | {"AcquisitionTime": "10:00:00"})


def test_clock_times_in_place_of_seconds(tmp_path):
    """Older files write InjectionStart and ScanStart as times of day."""
    record = load(tmp_path, STATIC | {"InjectionStart": "09:50:00", "ScanStart": "11:00:00"}).acquisition
    assert record.injection_to_first_frame_s == 4200.0


def test_injection_during_the_scan_is_told(tmp_path):
    assert "injection-after-start" in codes(load(tmp_path, DYNAMIC | {"InjectionStart": 20}, 4))


@pytest.mark.parametrize("n_frames", [1, 3, 5])
def test_frame_count_against_the_image(tmp_path, n_frames):
    with pytest.raises(CorruptInput, match="Frame") as caught:
        load(tmp_path, DYNAMIC, n_frames)
    assert str(n_frames) in (caught.value.found or "")


def test_durations_that_are_end_times_are_refused(tmp_path):
    with pytest.raises(CorruptInput, match="end times"):
        load(tmp_path, DYNAMIC | {"FrameDuration": [60, 180, 480, 1080]}, 4)


def test_end_times_without_start_times_are_refused(tmp_path):
    sidecar = without(DYNAMIC, "FrameTimesStart") | {"FrameDuration": [60, 180, 480, 1080]}
    with pytest.raises(CorruptInput, match="end times"):
        load(tmp_path, sidecar, 4)


def test_contiguous_frames_need_only_durations(tmp_path):
    sidecar = without(DYNAMIC, "FrameTimesStart") | {"FrameDuration": [60, 60, 300, 300]}
    np.testing.assert_allclose(load(tmp_path, sidecar, 4).axes[0].values, [30, 90, 270, 570])


def test_frames_in_milliseconds_are_refused(tmp_path):
    """A converter wrote 98000 for 98 s."""
    with pytest.raises(ImplausibleValue, match="FrameDuration"):
        load(tmp_path, STATIC | {"FrameDuration": [98000]})


@pytest.mark.parametrize(
    "change",
    [
        {"FrameDuration": [60, 0, 300, 600]},
        {"FrameTimesStart": [0, 60, 60, 480]},
        {"FrameTimesStart": [480, 180, 60, 0]},
    ],
)
def test_frames_without_length_or_order_are_refused(tmp_path, change):
    with pytest.raises(CorruptInput):
        load(tmp_path, DYNAMIC | change, 4)


def test_dynamic_image_without_times_has_numbered_frames_and_never_the_step_of_the_header(tmp_path):
    """Nibabel writes pixdim[4] = 1 s; a converter writes the first frame's length there."""
    volume = load(tmp_path, without(DYNAMIC, "FrameTimesStart", "FrameDuration"), 4)
    assert volume.axes[0].name == "component"
    assert codes(volume) == ["frame-times-missing"]
    assert volume.acquisition.injection_to_first_frame_s is None
    assert volume.acquisition.n_images == 20


def test_decay_factor_that_is_not_positive_is_refused(tmp_path):
    with pytest.raises(CorruptInput, match="DecayFactor"):
        load(tmp_path, STATIC | {"DecayFactor": [0]})


def test_published_frame_of_a_scanner_with_scan_start_two_seconds_after_series(tmp_path):
    """A 30 s frame of C-11 (T1/2 1220.04 s) with factor 1.00971 was corrected to 2 s before its start."""
    sidecar = {
        "Modality": "PT",
        "Units": "Bq/mL",
        "RadionuclideHalfLife": 1220.04,
        "DecayCorrection": "START",
        "DecayFactor": [1.00971],
        "FrameTimesStart": [0],
        "FrameDuration": [30],
    }
    assert load(tmp_path, sidecar).acquisition.decay_reference_s == pytest.approx(-2.0, abs=0.1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("F18", "F-18"),
        ("18F", "F-18"),
        ("F-18", "F-18"),
        ("[18F]", "F-18"),
        ("Fluorine-18", "F-18"),
        ("^18^Fluorine", "F-18"),
        ("^64^Copper", "Cu-64"),
        ("Cu64", "Cu-64"),
        ("64-Cu", "Cu-64"),
        ("Tc99m", "Tc-99m"),
        ("99mTc", "Tc-99m"),
        ("^99m^Technetium", "Tc-99m"),
        ("Germanium68", "Ge-68"),
        ("124I", "I-124"),
        ("89 Zr", "Zr-89"),
        ("Lutetium 177", "Lu-177"),
        ("unknown", None),
    ],
)
def test_nuclide_spellings(text, name):
    assert nuclide_in(text) == name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10:00:00", 36000),
        ("10:00", 36000),
        ("10:00:00.5", 36000.5),
        ("1000", 36000),
        ("100000.25", 36000.25),
        ("25:00:00", None),
        ("noon", None),
        ("10:61", None),
    ],
)
def test_times_of_day(text, seconds):
    assert clock_seconds(text) == seconds


def test_wrong_time_of_day_is_refused_by_key(tmp_path):
    with pytest.raises(CorruptInput, match="TimeZero"):
        load(tmp_path, STATIC | {"TimeZero": "noon", "AcquisitionTime": "11:00:00"})


@pytest.mark.parametrize(("half_life", "expected"), [(F18_S, 298.4214), (4062.6, 297.4410)])
def test_mean_activity_time_of_a_600_s_frame(half_life, expected):
    """Closed form of pet.md section 6, for 18F and 68Ga."""
    assert mean_activity_time(600.0, half_life) == pytest.approx(expected, abs=1e-3)


def test_spect_without_frames_is_counted_by_the_gamma_camera(tmp_path):
    volume = load(
        tmp_path, {"Modality": "NM", "Units": "CNTS", "TracerRadionuclide": "Tc99m"}, 3, name="a_spect.nii.gz"
    )
    assert isinstance(volume.acquisition, NuclearAcquisition)
    assert volume.quantity == "counts"
    assert volume.acquisition.radiopharmaceutical.nuclide == "Tc-99m"


def test_pet_is_recognised_by_its_keys_alone(tmp_path):
    volume = load(tmp_path, without(STATIC, "Modality"), name="image.nii.gz")
    assert volume.quantity == "activity_concentration"


@pytest.mark.parametrize("sidecar", [STATIC, GENERATION_1])
def test_saving_and_loading_keeps_what_uptake_needs(tmp_path, sidecar):
    before = load(tmp_path, sidecar)
    save(before, tmp_path / "again.nii.gz")
    after = load_nifti([tmp_path / "again.nii.gz"])[0]
    for name in (
        "decay_correction",
        "decay_reference",
        "decay_reference_s",
        "injection_to_first_frame_s",
        "units",
    ):
        assert getattr(after.acquisition, name) == getattr(before.acquisition, name)
    assert (
        after.acquisition.radiopharmaceutical.total_dose == before.acquisition.radiopharmaceutical.total_dose
    )
    assert after.acquisition.subject.weight_kg == before.acquisition.subject.weight_kg


def test_written_keys_are_pet_bids_that_a_foreign_reader_understands(tmp_path):
    """Our own keys taken away, the rest must tell the same story."""
    before = load(tmp_path, DYNAMIC, 4)
    save(before, tmp_path / "again_pet.nii.gz")
    content = json.loads((tmp_path / "again_pet.json").read_text())
    foreign = without(content, "Quantity", "Axes", "Acquisition", "History", "SoftwareName")
    (tmp_path / "again_pet.json").write_text(json.dumps(foreign))
    after = load_nifti([tmp_path / "again_pet.nii.gz"])[0]
    np.testing.assert_allclose(after.axes[0].values, before.axes[0].values)
    for name in ("decay_reference_s", "injection_to_first_frame_s", "decay_correction"):
        assert getattr(after.acquisition, name) == getattr(before.acquisition, name)
    assert after.acquisition.radiopharmaceutical.total_dose == 370e6
    assert after.unit == "Bq/mL"


def test_inherited_sidecar_of_the_dataset(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.8.0"}))
    (tmp_path / "pet.json").write_text(json.dumps(STATIC))
    folder = tmp_path / "sub-01" / "pet"
    folder.mkdir(parents=True)
    volume = load(folder, {"PatientWeight": 55})
    assert volume.acquisition.subject.weight_kg == 55
    assert volume.acquisition.radiopharmaceutical.total_dose == 370e6
    assert volume.source.subject.startswith("sub-")
    assert volume.source.subject != "sub-01"
    assert volume.source.identifiers["subject"] == "01"


def test_weight_comes_from_the_table_of_participants(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.8.0"}))
    (tmp_path / "participants.tsv").write_text("participant_id\tweight\tsex\nsub-01\t63\tF\n")
    (tmp_path / "participants.json").write_text(json.dumps({"weight": {"Units": "kg"}}))
    subject = load(tmp_path, without(STATIC, "PatientWeight")).acquisition.subject
    assert (subject.weight_kg, subject.sex) == (63.0, "F")
    assert load(tmp_path, STATIC).acquisition.subject.weight_kg == 70.0


def foreign_keys_only(path):
    """The sidecar as a reader sees it that knows PET-BIDS and nothing of ours."""
    content = json.loads(path.read_text())
    ours = ("Quantity", "Axes", "Acquisition", "History", "SoftwareName", "Warnings")
    path.write_text(json.dumps(without(content, *ours)))


@pytest.mark.parametrize(
    "name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_3_1", "DRO_3_3", "DRO_4_1", "DRO_5_0"]
)
def test_public_phantom_gives_its_suv_through_the_written_pet_bids(tmp_path, public_data, name):
    """Min 0.20, median 1.00, max 4.00 to two decimals, by the data README."""
    from imgtheranostics.io.loading import load as load_any
    from imgtheranostics.nuclear import suv

    folder = public_data("pet/ibsi_suv") / name
    written = save(load_any(folder / "PT"), tmp_path / "sub-01_pet.nii.gz")
    foreign_keys_only(written[1])
    mask = nibabel.load(next((folder / "mask").glob("*.nii.gz"))).get_fdata() > 0
    values = suv(load_nifti([written[0]])[0]).value.data[mask]
    found = [values.min(), np.median(values), values.max()]
    np.testing.assert_allclose(found, [0.2, 1.0, 4.0], atol=0.005)
