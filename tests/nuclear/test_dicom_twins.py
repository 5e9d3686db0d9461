"""Twins of one published reference object: headers that say the same, or something impossible."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.loading import load
from imgtheranostics.nuclear import percent_id_per_gram, suv
from imgtheranostics.nuclear.body import body_measure
from imgtheranostics.nuclear.decay import average_activity_time

LEFT_BQ = 368.08e6 * 2 ** (-3600 / 6586.2)
SLICES = 4


def stamp(moment):
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def drug(ds):
    return ds.RadiopharmaceuticalInformationSequence[0]


@pytest.fixture(scope="module")
def original(public_data):
    """Four neighbouring slices of the default reference object, cropped to its middle."""
    folder = public_data("pet/ibsi_suv/DRO_0_0/PT")
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())[8 : 8 + SLICES]]
    for ds in slices:
        pixels = ds.pixel_array[104:152, 104:152]
        ds.Rows, ds.Columns = pixels.shape
        ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    return slices


@pytest.fixture
def twin(original, tmp_path):
    """Load the reference object after `change(dataset, index)` on every slice."""

    def make(change=lambda ds, n: None):
        for n, ds in enumerate(original):
            changed = copy.deepcopy(ds)
            change(changed, n)
            changed.save_as(tmp_path / f"{n}.dcm")
        return load(tmp_path)

    return make


@pytest.fixture(scope="module")
def expected(original):
    """SUV by hand: stored x slope x weight / decayed dose; (columns, rows, slices)."""
    planes = [ds.pixel_array.T * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in original]
    return np.stack(planes, axis=-1) * 70000 / LEFT_BQ


def rescaled(factor):
    def change(ds, n):
        ds.RescaleSlope = f"{float(ds.RescaleSlope) * factor:.10g}"

    return change


def together(*changes):
    def change(ds, n):
        for one in changes:
            one(ds, n)

    return change


def fields(**values):
    def change(ds, n):
        for name, value in values.items():
            setattr(ds, name, value)

    return change


def injected(**values):
    def change(ds, n):
        for name, value in values.items():
            if value is None:
                if name in drug(ds):
                    delattr(drug(ds), name)
            else:
                setattr(drug(ds), name, value)

    return change


def body_ratio(kind):
    return body_measure(kind, weight_kg=70.0, height_m=1.75, sex="O").value / LEFT_BQ


def philips(number, value):
    def change(ds, n):
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(number, "DS", value)

    return change


def scanned_at(moment, **others):
    day, clock = stamp(moment)

    def change(ds, n):
        ds.SeriesDate = ds.AcquisitionDate = day
        ds.SeriesTime = ds.AcquisitionTime = clock
        for name, value in others.items():
            setattr(ds, name, value)

    return change


NIGHT = datetime(2025, 1, 2, 0, 20)
NOON = datetime(2025, 1, 1, 11)


def beds_without_correction(ds, n):
    """NONE: slices acquired 0, 5, 10, 15 min later, each decayed to the mean of its own frame."""
    begin = 300.0 * n
    ds.DecayCorrection = "NONE"
    ds.CorrectedImage = ["NORM", "ATTN"]
    ds.AcquisitionDate, ds.AcquisitionTime = stamp(NOON + timedelta(seconds=begin))
    late = begin + float(average_activity_time(300.0, 6586.2))
    ds.RescaleSlope = f"{float(ds.RescaleSlope) * 2 ** (-late / 6586.2):.12g}"
    ds.FrameReferenceTime = 1000 * late


def beds_with_correction(ds, n):
    late = 300.0 * n
    ds.AcquisitionDate, ds.AcquisitionTime = stamp(NOON + timedelta(seconds=late))
    ds.FrameReferenceTime = 1000 * (late + float(average_activity_time(300.0, 6586.2)))


SAME = {
    "unchanged": fields(),
    "suv_lbm": together(rescaled(body_ratio("lbm_james120")), fields(Units="GML", SUVType="LBM")),
    "suv_lbm_james128": together(
        rescaled(body_ratio("lbm_james128")), fields(Units="GML", SUVType="LBMJAMES128")
    ),
    "suv_lbm_janma": together(
        rescaled(body_ratio("lbm_janmahasatian")), fields(Units="GML", SUVType="LBMJANMA")
    ),
    "suv_ibw": together(rescaled(body_ratio("ibw")), fields(Units="GML", SUVType="IBW")),
    "suv_without_type": together(rescaled(70000 / LEFT_BQ), fields(Units="GML")),
    "suv_bsa": together(rescaled(body_ratio("bsa")), fields(Units="CM2ML", SUVType="BSA")),
    "suv_bsa_without_type": together(rescaled(body_ratio("bsa")), fields(Units="CM2ML")),
    "suv_with_impossible_injection": together(
        rescaled(70000 / LEFT_BQ),
        fields(Units="GML", SUVType="BW"),
        injected(RadiopharmaceuticalStartDateTime="20250103100000"),
    ),
    "philips_activity_factor": together(rescaled(1 / 1.6), fields(Units="CNTS"), philips(0x09, "1.6")),
    "philips_suv_factor": together(
        rescaled(2e3 * 70000 / LEFT_BQ), fields(Units="CNTS"), philips(0x00, "0.0005")
    ),
    "philips_factors_beside_becquerel": together(philips(0x00, "0.5"), philips(0x09, "7")),
    "admin": together(rescaled(2 ** (3600 / 6586.2)), fields(DecayCorrection="ADMIN")),
    "none_several_times": beds_without_correction,
    "start_several_times": beds_with_correction,
    "series_time_after_acquisition": fields(SeriesTime="113000.000000"),
    "short_time": fields(SeriesTime="1100", AcquisitionTime="1100"),
    "dose_in_mbq": injected(RadionuclideTotalDose="368.08"),
    "datetime_only": injected(RadiopharmaceuticalStartTime=None),
    "time_only": injected(RadiopharmaceuticalStartDateTime=None),
    "midnight_datetime": together(
        scanned_at(NIGHT),
        injected(RadiopharmaceuticalStartDateTime="20250101232000", RadiopharmaceuticalStartTime="232000"),
    ),
    "midnight_time_only": together(
        scanned_at(NIGHT),
        injected(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="232000"),
    ),
    "same_zone_for_all": fields(TimezoneOffsetFromUTC="+0530"),
    "zone_of_the_dispenser": together(
        fields(TimezoneOffsetFromUTC="+0100"),
        injected(RadiopharmaceuticalStartDateTime="20250101120000+0300", RadiopharmaceuticalStartTime=None),
    ),
    "other_half_life_rounding": injected(RadionuclideHalfLife="6588"),
    "height_in_centimetres": fields(PatientSize="175"),
}

IMPOSSIBLE = {
    "proportional": (fields(Units="PROPCNTS"), "UnsupportedInput"),
    "counts_without_factor": (fields(Units="CNTS"), "UnitMismatch"),
    "rate_without_factor": (fields(Units="CPS"), "MissingMetadata"),
    "no_decay_in_corrections": (fields(CorrectedImage=["NORM", "ATTN"]), "ImplausibleValue"),
    "no_convention": (fields(DecayCorrection=""), "MissingMetadata"),
    "injection_after_scan": (
        injected(RadiopharmaceuticalStartDateTime="20250101120000"),
        "ImplausibleValue",
    ),
    "no_injection": (
        injected(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime=None),
        "MissingMetadata",
    ),
    "zone_on_one": (
        injected(RadiopharmaceuticalStartDateTime="20250101100000+0100"),
        "MissingMetadata",
    ),
    "wrong_nuclide": (injected(RadionuclideHalfLife="45720"), "ImplausibleValue"),
    "no_half_life": (
        injected(RadionuclideHalfLife=None, RadionuclideCodeSequence=None, Radiopharmaceutical=None),
        "MissingMetadata",
    ),
    "ambiguous_dose": (injected(RadionuclideTotalDose="10"), "ImplausibleValue"),
    "no_dose": (injected(RadionuclideTotalDose=None), "MissingMetadata"),
    "no_weight": (fields(PatientWeight=None), "MissingMetadata"),
    "weight_zero": (fields(PatientWeight="0"), "MissingMetadata"),
    "clock_contradiction": (fields(FrameReferenceTime="600000", DecayFactor="1.5"), "ImplausibleValue"),
    "mouse_in_grams": (fields(PixelSpacing=["0.5", "0.5"]), "ImplausibleValue"),
}


@pytest.mark.parametrize("name", SAME)
def test_headers_that_mean_the_same_give_the_same_suv(twin, expected, name):
    result = suv(twin(SAME[name]))
    rel = 3e-4 if name == "other_half_life_rounding" else 2e-6
    assert np.abs(result.value.data - expected).max() <= rel * expected.max()


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_headers_that_allow_no_number_are_refused(twin, name):
    change, error = IMPOSSIBLE[name]
    with pytest.raises(ImgTheranosticsError) as caught:
        suv(twin(change))
    assert type(caught.value).__name__ == error
    assert caught.value.where
    assert "2025" not in str(caught.value)


def test_injected_dose_needs_no_weight(twin, expected):
    result = percent_id_per_gram(twin(fields(PatientWeight=None)))
    assert np.abs(result.value.data * 700 - expected).max() <= 2e-6 * expected.max()


def test_no_decay_at_all_would_be_seen(twin, expected):
    """The expected values distinguish a forgotten decay: 0.685 of them."""
    result = suv(twin(fields(DecayCorrection="ADMIN")))
    assert result.value.data.max() == pytest.approx(expected.max() * 2 ** (-3600 / 6586.2), rel=1e-5)


def test_twins_are_real_dicom(original):
    assert all(isinstance(ds, Dataset) for ds in original)
    assert original[0].Rows == 48
