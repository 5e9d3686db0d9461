"""PET headers: clocks (trap 8), decay, private factors, units (trap 3) as the file tells them."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.data.nuclides import nuclide_in
from imgtheranostics.errors import CorruptInput, NothingUsable, UnitMismatch, UnsupportedInput
from imgtheranostics.io.dicom.nuclides import nuclide_of
from imgtheranostics.io.dicom.values import parse_datetime, parse_decimal, parse_time, utc_offset_minutes


def load_with(tmp_path, make_series, **changes):
    """A PET series with attributes set, or deleted where the value is ...; radiopharmaceutical ones too."""

    def edit(ds, k):
        item = ds.RadiopharmaceuticalInformationSequence[0]
        for keyword, value in changes.items():
            target = item if keyword.startswith("Radio") else ds
            if value is ...:
                delattr(target, keyword)
            else:
                setattr(target, keyword, value)

    make_series(tmp_path, edit=edit)
    return it.load(tmp_path)


def test_record_holds_what_the_header_says(tmp_path, make_series):
    record = load_with(tmp_path, make_series, Manufacturer="ACME", SUVType="BW").acquisition
    assert (record.modality, record.units, record.decay_correction) == ("PT", "BQML", "START")
    assert (record.manufacturer, record.suv_type) == ("ACME", "BW")
    assert record.corrections == ("DECY", "ATTN")
    assert record.series_type == ("STATIC", "IMAGE")
    assert record.n_images == 4
    assert record.series_datetime == datetime(2025, 3, 1, 10, 15)
    assert record.acquisition_datetime.shape == (4, 1)
    assert (record.acquisition_datetime == np.datetime64("2025-03-01T10:15")).all()
    assert (record.frame_reference_time_s == 300.0).all()  # FrameReferenceTime is in ms: 300000
    assert (record.frame_duration_s == 600.0).all()
    assert (record.decay_factor == 1.032).all()
    drug = record.radiopharmaceutical
    assert (drug.nuclide, drug.half_life_s, drug.total_dose) == ("F-18", 6586.2, 7e6)
    assert drug.start_datetime == datetime(2025, 3, 1, 9, 15)
    assert record.subject.weight_kg == 0.02


def test_absent_attributes_stay_absent(tmp_path, make_series):
    record = load_with(
        tmp_path,
        make_series,
        FrameReferenceTime=...,
        ActualFrameDuration=...,
        DecayFactor=...,
        AcquisitionTime=...,
        SeriesTime=...,
        PatientWeight=None,
        RadionuclideTotalDose=...,
    ).acquisition
    assert record.frame_reference_time_s is None
    assert record.frame_duration_s is None
    assert record.decay_factor is None
    assert record.acquisition_datetime is None
    assert record.series_datetime is None
    assert record.subject.weight_kg is None
    assert record.radiopharmaceutical.total_dose is None


def test_per_slice_clocks_follow_the_slices(tmp_path, make_series):
    """Acquisition times that differ per bed stand in the order of k, whatever the order of the files."""

    def edit(ds, k):
        ds.AcquisitionTime, ds.FrameReferenceTime = f"1015{k:02d}", str(1000 * k)

    make_series(tmp_path, edit=edit)
    record = it.load(tmp_path).acquisition
    assert record.frame_reference_time_s[:, 0].tolist() == [0, 1, 2, 3]
    seconds = (record.acquisition_datetime[:, 0] - record.acquisition_datetime[0, 0]).astype(int) / 1e6
    assert seconds.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("08", time(8)),
        ("0830", time(8, 30)),
        ("083015", time(8, 30, 15)),
        ("083015.5", time(8, 30, 15, 500_000)),
        ("083015.123456", time(8, 30, 15, 123_456)),
        ("08:30:15", time(8, 30, 15)),
        ("235960", time(23, 59, 59, 999_999)),
        ("", None),
    ],
)
def test_short_and_fractional_times(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["8", "25", "0861", "0830.5", "noon", "-830", "083015.", "08301"])
def test_malformed_times_are_none(text):
    with pytest.raises(ValueError):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1900, 1, 1)), st.integers(-720, 840) | st.none())
def test_any_datetime_is_read_back(moment, offset):
    zone = None if offset is None else timezone(timedelta(minutes=offset))
    suffix = (
        "" if offset is None else f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    )
    assert parse_datetime(moment.strftime("%Y%m%d%H%M%S.%f") + suffix) == moment.replace(tzinfo=zone)


def test_datetimes_less_precise_than_a_day_are_absent():
    assert parse_datetime("2025") is None
    assert parse_datetime("202503") is None
    assert parse_datetime("20250301") == datetime(2025, 3, 1)


@pytest.mark.parametrize("text", ["+0130", "-0330", "+1400"])
def test_offsets(text):
    sign = -1 if text[0] == "-" else 1
    assert utc_offset_minutes(text) == sign * (int(text[1:3]) * 60 + int(text[3:]))


@pytest.mark.parametrize("text", ["1_0", "0x10", "1,5", "--1", "1e", "", "ten"])
def test_python_number_forms_are_no_decimal_strings(text):
    with pytest.raises(ValueError):
        parse_decimal(text)


def test_short_series_time_is_read(tmp_path, make_series):
    record = load_with(tmp_path, make_series, SeriesTime="0830").acquisition
    assert record.series_datetime == datetime(2025, 3, 1, 8, 30)


def test_file_offset_from_utc_makes_all_its_datetimes_aware(tmp_path, make_series):
    record = load_with(tmp_path, make_series, TimezoneOffsetFromUTC="+0130").acquisition
    zone = timezone(timedelta(minutes=90))
    assert record.utc_offset_min == 90
    assert record.series_datetime == datetime(2025, 3, 1, 10, 15, tzinfo=zone)
    assert record.radiopharmaceutical.start_datetime == datetime(2025, 3, 1, 9, 15, tzinfo=zone)


def test_offset_on_one_datetime_only_stays_visible(tmp_path, make_series):
    """The quantification refuses this; the loader must not hide it by dropping the offset."""
    record = load_with(
        tmp_path, make_series, RadiopharmaceuticalStartDateTime="20250301091500+0100"
    ).acquisition
    assert record.radiopharmaceutical.start_datetime.tzinfo is not None
    assert record.series_datetime.tzinfo is None


def test_acquisition_datetime_is_brought_to_the_clock_of_the_file(tmp_path, make_series):
    record = load_with(
        tmp_path,
        make_series,
        TimezoneOffsetFromUTC="+0200",
        AcquisitionDateTime="20250301101500.25+0100",
    ).acquisition
    assert record.acquisition_datetime[0, 0] == np.datetime64("2025-03-01T11:15:00.250")


def test_time_only_injection_has_no_date(tmp_path, make_series):
    drug = load_with(
        tmp_path, make_series, RadiopharmaceuticalStartDateTime=..., RadiopharmaceuticalStartTime="2345"
    ).acquisition.radiopharmaceutical
    assert drug.start_datetime is None
    assert drug.start_time == time(23, 45)


def test_missing_acquisition_date_is_the_series_date(tmp_path, make_series):
    record = load_with(tmp_path, make_series, AcquisitionDate=...).acquisition
    assert record.acquisition_datetime[0, 0] == np.datetime64("2025-03-01T10:15")


@pytest.mark.parametrize("keyword", ["SeriesTime", "AcquisitionTime"])
def test_malformed_clock_is_refused_without_quoting_it(tmp_path, make_series, patch_bytes, keyword):
    def edit(ds, k):
        setattr(ds, keyword, "123456" if k == 1 else "101500")

    paths = make_series(tmp_path, edit=edit)
    patch_bytes(paths[1], b"123456", b"12canX")
    with pytest.raises(CorruptInput) as caught:
        it.load(paths[1])
    assert "12canX" not in str(caught.value)


def test_malformed_offset_is_refused(tmp_path, make_series):
    with pytest.raises(CorruptInput, match="0008,0201"):
        load_with(tmp_path, make_series, TimezoneOffsetFromUTC="CET")


def test_private_factors_are_found_through_their_creator(tmp_path, make_series):
    def edit(ds, k):
        ds.Manufacturer, ds.Units = "Philips", "CNTS"
        ds.add_new(0x70530010, "LO", "Somebody else")
        ds.add_new(0x70531000, "DS", "99")
        ds.add_new(0x70530011, "LO", "Philips PET Private Group")
        ds.add_new(0x70531100, "DS", "0.000551")
        ds.add_new(0x70531109, "DS", "1.5")

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    assert volume.acquisition.philips_suv_factor == 0.000551
    assert volume.acquisition.philips_activity_factor == 1.5
    assert volume.quantity == "activity_concentration"
    assert volume.data.max() == pytest.approx(119 * 2.5 * 1.5)


def test_private_factors_beside_bqml_are_not_applied(tmp_path, make_series):
    def edit(ds, k):
        ds.add_new(0x70530010, "LO", "Philips PET Private Group")
        ds.add_new(0x70531009, "DS", "1.5")

    make_series(tmp_path, edit=edit)
    assert it.load(tmp_path).data.max() == 119 * 2.5


@pytest.mark.parametrize("factor", ["0", "-1"])
def test_factor_that_is_none_counts_as_absent(tmp_path, make_series, factor):
    def edit(ds, k):
        ds.Units = "CNTS"
        ds.add_new(0x70530010, "LO", "Philips PET Private Group")
        ds.add_new(0x70531009, "DS", factor)

    make_series(tmp_path, edit=edit)
    volume = it.load(tmp_path)
    assert (volume.quantity, volume.unit) == ("counts", "{counts}")
    assert volume.acquisition.philips_activity_factor is None


def test_private_scan_time_of_ge(tmp_path, make_series):
    def edit(ds, k):
        ds.Manufacturer = "GE MEDICAL SYSTEMS"
        block = ds.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", "20250301101010.00")

    make_series(tmp_path, edit=edit)
    assert it.load(tmp_path).acquisition.private_scan_datetime == datetime(2025, 3, 1, 10, 10, 10)


@pytest.mark.parametrize(
    ("units", "suv_type", "quantity", "unit"),
    [
        ("BQML", None, "activity_concentration", "Bq/mL"),
        ("GML", None, "suv_bw", "g/mL"),
        ("GML", "BW", "suv_bw", "g/mL"),
        ("GML", "LBM", "suv_lbm_james120", "g/mL"),
        ("GML", "LBMJAMES128", "suv_lbm_james128", "g/mL"),
        ("GML", "LBMJANMA", "suv_lbm_janmahasatian", "g/mL"),
        ("GML", "IBW", "suv_ibw", "g/mL"),
        ("CM2ML", None, "suv_bsa", "cm2/mL"),
        ("CM2ML", "BSA", "suv_bsa", "cm2/mL"),
        ("CNTS", None, "counts", "{counts}"),
        ("CPS", None, "count_rate", "{counts}/s"),
        ("PROPCPS", None, "signal", "[arb'U]"),
        ("PROPCNTS", None, "signal", "[arb'U]"),
        (None, None, "signal", "[arb'U]"),
    ],
)
def test_units_become_quantities(tmp_path, make_series, units, suv_type, quantity, unit):
    volume = load_with(tmp_path, make_series, Units=units, SUVType=suv_type)
    assert (volume.quantity, volume.unit) == (quantity, unit)
    assert bool(volume.warnings) == (quantity == "signal")


@pytest.mark.parametrize(("units", "suv_type"), [("GML", "BSA"), ("CM2ML", "BW"), ("GML", "LBMX")])
def test_suv_type_that_does_not_go_with_its_unit_is_refused(tmp_path, make_series, units, suv_type):
    with pytest.raises(UnitMismatch, match="SUVType"):
        load_with(tmp_path, make_series, Units=units, SUVType=suv_type)


def test_images_in_different_units_are_not_one_series(tmp_path, make_series):
    def edit(ds, k):
        ds.Units = "BQML" if k < 3 else "CNTS"

    make_series(tmp_path, edit=edit)
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path)


def test_images_of_two_subjects_are_not_one_series(tmp_path, make_series):
    def edit(ds, k):
        ds.PatientID = f"mouse {k // 2}"

    make_series(tmp_path, edit=edit)
    with pytest.raises(UnsupportedInput, match="different subjects"):
        it.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "nuclide"),
    [
        ("^18^Fluorine", "F-18"),
        ("18F", "F-18"),
        ("F-18", "F-18"),
        ("Fluorine^18", "F-18"),
        ("[68Ga]PSMA-11", "Ga-68"),
        ("Ga68-PSMA", "Ga-68"),
        ("^99m^Technetium", "Tc-99m"),
        ("Tc99m MDP", "Tc-99m"),
        ("Tc-99m", "Tc-99m"),
        ("In-111 pentetreotide", "In-111"),
        ("Zr-89", "Zr-89"),
        ("64Cu-DOTATATE", "Cu-64"),
        ("Lutetium-177", "Lu-177"),
        ("Y-90 C microspheres", "Y-90"),
        ("FDG -- fluorodeoxyglucose", None),
        ("Solution", None),
        ("", None),
    ],
)
def test_nuclide_from_text(text, nuclide):
    assert nuclide_in(text) == nuclide


@pytest.mark.parametrize(
    ("value", "nuclide"), [("C-111A1", "F-18"), ("77004003", "F-18"), ("3932008", "Cu-64")]
)
def test_nuclide_from_code(value, nuclide):
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SRT", "tracer"
    item.RadionuclideCodeSequence = [code]
    assert nuclide_of(item) == nuclide


def test_nuclide_codes_are_those_of_the_standard():
    """Every code against pydicom's tables of context groups 18 and 4020."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    from imgtheranostics.io.dicom.nuclides import CODES

    meanings = {
        code: m for names in concepts.values() for codes in names.values() for code, (m, _) in codes.items()
    }
    for code, nuclide in CODES.items():
        modern = mapping["SRT"].get(code, code)
        assert nuclide_in(meanings[modern]) == nuclide
