"""When the injection was: dates, midnight, several days, time zones, delays."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, time, timedelta, timezone

import numpy as np
import pytest

from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.analysis import suv

CLEAN = 252.0e6 / 70000.0  # Bq/mL of SUV 1: 368.08 MBq of 18F after one hour leave 252.0 MBq


def value(estimate):
    return float(estimate.value.data[0, 0, 0])


def codes(estimate):
    return [caution.code for caution in estimate.warnings]


@pytest.fixture(scope="module")
def clean(series):
    """SUV of the default series."""
    return value(suv(series()))


def test_default_series_is_the_published_reference_object(clean):
    # 368.08e6 x 2^(-3600/6586.2) = 252.0e6 Bq; 1000 Bq/mL x 70000 g
    assert clean == pytest.approx(1000.0 / CLEAN, rel=2e-6)


def test_time_without_date_on_the_same_day(series, clean):
    result = suv(series(start_datetime=None, start_time=time(10)))
    assert value(result) == clean
    assert result.decisions["clock"]["injection"]["rule"] == "time of day"
    assert codes(result) == []


def test_time_without_date_across_midnight_is_the_previous_day(series, clean, moments):
    scan = datetime(2025, 1, 1, 0, 30)
    result = suv(
        series(
            start_datetime=None,
            start_time=time(23, 30),
            series_datetime=scan,
            acquisition_datetime=moments(scan),
        )
    )
    assert value(result) == clean
    assert codes(result) == ["injection-date-inferred"]


def test_full_datetimes_across_midnight(series, clean, moments):
    scan = datetime(2025, 1, 1, 0, 30)
    result = suv(
        series(
            start_datetime=scan - timedelta(hours=1),
            series_datetime=scan,
            acquisition_datetime=moments(scan),
        )
    )
    assert value(result) == clean
    assert codes(result) == []


def test_full_datetimes_days_apart_count_total_seconds(series, scan_at):
    # 89Zr three days after injection: 2^(72 h / 78.41 h) more than without decay
    drug = {"nuclide": "Zr-89", "half_life_s": 78.41 * 3600}
    early = suv(series(**drug, start_datetime=scan_at))
    late = suv(series(**drug, start_datetime=scan_at - timedelta(days=3)))
    assert value(late) / value(early) == pytest.approx(2 ** (72 / 78.41), rel=1e-6)
    assert late.decisions["decay"]["injection_to_reference_s"] == 3 * 86400.0
    assert codes(late) == []


def test_time_only_is_ambiguous_by_days_at_long_half_lives(series, scan_at):
    drug = {"nuclide": "Zr-89", "half_life_s": 78.41 * 3600, "start_datetime": None, "start_time": time(10)}
    with pytest.raises(ImplausibleValue, match="no date"):
        suv(series(**drug))
    given = Administration(None, scan_at - timedelta(days=2, hours=1))
    assert suv(series(**drug), "bw", given).decisions["decay"]["injection_to_reference_s"] == 49 * 3600.0


def test_time_only_does_not_matter_for_an_image_corrected_to_injection(series):
    drug = {"nuclide": "Zr-89", "half_life_s": 78.41 * 3600, "start_datetime": None, "start_time": time(10)}
    result = suv(series(**drug, decay_correction="ADMIN"))
    assert value(result) == pytest.approx(1000 * 70000 / 368.08e6, rel=1e-6)


def test_datetime_alone_and_equal_pair_are_silent(series, clean):
    assert value(suv(series(start_time=None))) == clean
    result = suv(series(start_time=time(10, 0, 0)))
    assert (value(result), codes(result)) == (clean, [])


def test_date_time_and_time_that_differ_are_cautioned_with_both(series, clean):
    result = suv(series(start_time=time(10, 5)))
    assert value(result) == clean
    assert codes(result) == ["injection-times-differ"]
    assert "300" in result.warnings[0].message


def test_injection_after_the_scan_with_a_date_is_refused(series, scan_at):
    with pytest.raises(ImplausibleValue, match="after the scan"):
        suv(series(start_datetime=scan_at + timedelta(seconds=10)))


def test_injection_after_the_scan_is_refused_for_admin_and_none_too(series, scan_at):
    for convention in ("ADMIN", "NONE"):
        with pytest.raises(ImplausibleValue, match="after the scan"):
            suv(series(start_datetime=scan_at + timedelta(hours=1), decay_correction=convention))


def test_time_after_the_scan_without_date_is_cautioned_twice(series):
    faint = series(data=np.full((64, 64, 4), 1.0), start_datetime=None, start_time=time(12))
    result = suv(faint)
    assert codes(result) == ["injection-date-inferred", "many-half-lives"]
    assert result.decisions["decay"]["injection_to_reference_s"] == 23 * 3600.0


def test_injection_so_early_that_nothing_is_left_is_refused(series, scan_at):
    # 23 h are 12.6 half-lives of 18F (above), 677 of 15O; a wrong year is thousands
    with pytest.raises(ImplausibleValue, match="nothing would be left"):
        suv(series(start_datetime=scan_at - timedelta(days=365)))
    with pytest.raises(ImplausibleValue, match="nothing would be left"):
        suv(series(nuclide="O-15", half_life_s=122.24, start_datetime=None, start_time=time(12)))


def test_injection_during_a_dynamic_scan_is_accepted(series, scan_at, moments):
    frames = np.full((8, 8, 2, 3), 1000.0)
    dynamic = series(
        data=frames,
        spacing=30.0,
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=60 * n) for n in range(3)]),
        frame_duration_s=np.full((1, 3), 60.0),
        frame_reference_time_s=None,
        start_datetime=scan_at + timedelta(seconds=20),
    )
    result = suv(dynamic)
    assert codes(result) == ["injection-during-scan"]
    assert result.decisions["decay"]["injection_to_reference_s"] == -20.0
    drug = replace(dynamic.acquisition.radiopharmaceutical, start_datetime=scan_at + timedelta(hours=1))
    with pytest.raises(ImplausibleValue, match="after the scan"):
        suv(dynamic.replace(acquisition=replace(dynamic.acquisition, radiopharmaceutical=drug)))


def test_time_of_day_during_a_dynamic_scan_is_not_yesterday(series, scan_at, moments):
    dynamic = series(
        data=np.full((8, 8, 2, 3), 1000.0),
        spacing=30.0,
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=60 * n) for n in range(3)]),
        frame_duration_s=np.full((1, 3), 60.0),
        frame_reference_time_s=None,
        start_datetime=None,
        start_time=time(11, 0, 20),
    )
    assert suv(dynamic).decisions["decay"]["injection_to_reference_s"] == -20.0


def test_no_injection_time_is_refused_for_every_convention(series):
    for convention in ("START", "ADMIN", "NONE"):
        with pytest.raises(MissingMetadata, match="time of injection") as caught:
            suv(series(start_datetime=None, decay_correction=convention))
        assert "(0018,1078)" in (caught.value.where or "")


def test_zone_on_only_one_clock_is_refused(series, scan_at):
    zone = timezone(timedelta(hours=1))
    injected = scan_at - timedelta(hours=1)
    with pytest.raises(MissingMetadata, match="offset from UTC"):
        suv(series(start_datetime=injected.replace(tzinfo=zone)))
    with pytest.raises(MissingMetadata, match="offset from UTC"):
        suv(series(series_datetime=scan_at.replace(tzinfo=zone)))
    with pytest.raises(MissingMetadata, match="offset from UTC"):
        suv(series(), "bw", Administration(None, injected.replace(tzinfo=zone)))


def test_two_zones_are_compared_in_universal_time(series, scan_at, clean):
    # the dispenser's clock is two hours ahead of the scanner's: 12:00+03:00 is 10:00+01:00
    ahead, behind = timezone(timedelta(hours=3)), timezone(timedelta(hours=1))
    result = suv(
        series(
            series_datetime=scan_at.replace(tzinfo=behind),
            start_datetime=(scan_at + timedelta(hours=1)).replace(tzinfo=ahead),
        )
    )
    assert value(result) == clean


def test_delay_stands_for_the_injection_where_the_file_has_no_clock(series, clean):
    silent = {
        "series_datetime": None,
        "acquisition_datetime": None,
        "start_datetime": None,
        "frame_reference_time_s": None,
    }
    given = Administration(None, 3600.0)
    assert value(suv(series(**silent), "bw", given)) == clean
    assert value(suv(series(**silent), "bw", Administration(None, timedelta(hours=1)))) == clean
    stated = series(**silent, injection_to_first_frame_s=3600.0, decay_reference_s=0.0)
    assert value(suv(stated)) == clean
    for at in (datetime(2025, 1, 1, 10), time(10)):
        with pytest.raises(MissingMetadata, match="no usable time"):
            suv(series(**silent), "bw", Administration(None, at))
        with pytest.raises(MissingMetadata, match="clock"):
            suv(stated, "bw", Administration(None, at))


def test_stated_reference_other_than_the_first_frame(series):
    # sidecar: image corrected to 600 s before the first frame, injection 3600 s before it
    v = series(
        series_datetime=None,
        acquisition_datetime=None,
        start_datetime=None,
        frame_reference_time_s=None,
        decay_reference_s=-600.0,
        injection_to_first_frame_s=3600.0,
    )
    expected = 1000 * 70000 / (368.08e6 * 2 ** (-3000 / 6586.2))
    assert value(suv(v)) == pytest.approx(expected, rel=1e-6)


def test_user_time_goes_before_the_header(series, scan_at):
    later = Administration(None, scan_at - timedelta(minutes=30))
    expected = 1000 * 70000 / (368.08e6 * 2 ** (-1800 / 6586.2))
    assert value(suv(series(), "bw", later)) == pytest.approx(expected, rel=1e-6)
    by_clock = Administration(None, time(10, 30))
    assert value(suv(series(), "bw", by_clock)) == pytest.approx(expected, rel=1e-6)


def test_admin_image_keeps_the_header_time_it_was_corrected_to(series, scan_at):
    # the image is corrected to 10:00; the injection really was at 10:30 on the same clock
    given = Administration(None, scan_at - timedelta(minutes=30))
    result = suv(series(decay_correction="ADMIN"), "bw", given)
    expected = 1000 * 70000 / (368.08e6 * 2 ** (1800 / 6586.2))
    assert value(result) == pytest.approx(expected, rel=1e-6)


def test_decisions_hold_no_date(series):
    text = json.dumps(dict(suv(series()).decisions))
    assert "2025" not in text
    assert "11:00" not in text
