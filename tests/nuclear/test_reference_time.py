"""Every rule of the decay reference, with the clocks that make it fire."""

from __future__ import annotations

import json
from datetime import timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
)
from imgtheranostics.nuclear.clock import scan_clock
from imgtheranostics.nuclear.decay import average_activity_time, frame_decay_factor
from imgtheranostics.nuclear.reference_time import resolve_reference

F18_S = 6586.2


def seconds(value):
    return timedelta(seconds=value)


def column(*values):
    return np.array(values, float)[:, np.newaxis]


def resolve(acquisition, **options):
    return resolve_reference(acquisition, scan_clock(acquisition), F18_S, **options)


def beds(record, moments, scan_at, *, starts=(0, 300, 600), reference=None, **changes):
    """Beds of 300 s at `starts` after the series time, FRT to the mean of each frame."""
    mean_at = float(average_activity_time(300.0, F18_S))
    reference = [start + mean_at for start in starts] if reference is None else reference
    return record(
        acquisition_datetime=moments(*[scan_at + seconds(s) for s in starts], shape=(-1, 1)),
        frame_reference_time_s=column(*reference),
        frame_duration_s=column(*[300.0] * len(starts)),
        decay_factor=None,
        **changes,
    )


def test_series_time_when_it_is_not_after_the_one_acquisition(record, moments, scan_at):
    found = resolve(record(acquisition_datetime=moments(scan_at + seconds(1.35))))
    assert (found.rule, found.reference_s) == ("series_time", 0.0)
    assert found.candidates_s["acquisition_time"] == pytest.approx(1.35)


def test_series_time_alone(record):
    assert resolve(record(acquisition_datetime=None)).rule == "series_time"


def test_private_scan_time_of_ge_goes_before_a_rewritten_series_time(record, moments, scan_at):
    acquisition = record(series_datetime=scan_at + seconds(3600), private_scan_datetime=scan_at - seconds(5))
    found = resolve(acquisition)
    assert found.rule == "private_scan_time"
    assert found.candidates_s["series_time"] == pytest.approx(3605.0)


def test_series_time_goes_before_the_private_one_where_it_is_clean(record, scan_at):
    # as in IBSI DRO 3_3: private time equal to the series time, one acquisition half an hour later
    found = resolve(record(private_scan_datetime=scan_at - seconds(30)))
    assert found.rule == "series_time"
    assert found.candidates_s["private_scan_time"] == -30.0


def test_back_computation_when_all_frames_agree(record, moments, scan_at):
    found = resolve(beds(record, moments, scan_at))
    assert found.rule == "back_computed"
    assert found.reference_s == pytest.approx(0.0, abs=1e-6)
    assert found.spread_percent < 0.01


def test_back_computation_finds_the_start_that_a_rewritten_series_time_hides(record, moments, scan_at):
    acquisition = beds(record, moments, scan_at, series_datetime=scan_at + seconds(1800))
    found = resolve(acquisition)
    assert (found.rule, found.warnings[0].code) == ("back_computed", "clocks-differ")
    assert found.candidates_s["series_time"] == pytest.approx(1800.0)
    assert found.spread_percent == pytest.approx(100 * (2 ** (1800 / F18_S) - 1), rel=1e-3)


def test_earliest_time_when_frames_do_not_agree(record, moments, scan_at):
    acquisition = beds(record, moments, scan_at, reference=[150, 700, 1500])
    found = resolve(acquisition)
    assert (found.rule, found.reference_s) == ("earliest_time", 0.0)


def test_series_time_after_the_acquisition_was_rewritten(record, moments, scan_at):
    acquisition = record(series_datetime=scan_at + seconds(1800), frame_reference_time_s=None)
    found = resolve(acquisition)
    assert found.rule == "earliest_time"
    assert "rewritten" in found.explanation
    assert found.reference_s == pytest.approx(
        -1800.0
    )  # the acquisition, on a clock that starts at the series
    assert found.warnings[0].code == "clocks-differ"


def test_acquisition_time_alone(record):
    found = resolve(record(series_datetime=None))
    assert (found.rule, found.reference_s) == ("earliest_time", 0.0)


def test_earliest_acquisition_over_all_slices_counts(record, moments, scan_at):
    starts = [scan_at + seconds(s) for s in (600, 300, 900)]
    acquisition = record(
        series_datetime=None,
        acquisition_datetime=moments(*starts, shape=(-1, 1)),
        frame_reference_time_s=None,
        frame_duration_s=None,
        decay_factor=None,
    )
    assert resolve(acquisition).reference_s == 0.0
    assert resolve(acquisition).candidates_s["acquisition_time"] == 0.0


def test_unset_frame_reference_time_of_zero_is_no_candidate(record):
    found = resolve(record(frame_reference_time_s=np.array([[0.0]]), decay_factor=None))
    assert not any(name.startswith("back_computed") for name in found.candidates_s)
    assert found.warnings == ()


def test_frame_reference_time_to_the_frame_start_is_recognised(record, moments, scan_at):
    # first frame at 0 s with a length: frame reference times count to the start of the frame
    found = resolve(beds(record, moments, scan_at, reference=[0.0, 300.0, 600.0]))
    assert found.rule == "back_computed"
    assert found.reference_s == pytest.approx(0.0, abs=1e-6)


def test_late_acquisition_that_frame_reference_time_explains_is_no_disagreement(record, moments, scan_at):
    # as in the Philips vendor header: acquisition 1123 s after the series time, FRT 1183 s, frame 120 s
    acquisition = record(
        acquisition_datetime=moments(scan_at + seconds(1123)),
        frame_reference_time_s=np.array([[1183.0]]),
        frame_duration_s=np.array([[120.0]]),
        decay_factor=None,
    )
    found = resolve(acquisition, strict_clock=True)
    assert (found.rule, found.warnings) == ("series_time", ())
    assert found.candidates_s["acquisition_time"] == 1123.0


def test_strict_clock_refuses_what_is_otherwise_a_caution(record, moments, scan_at):
    acquisition = record(acquisition_datetime=moments(scan_at + seconds(1800)))
    assert resolve(acquisition).warnings[0].code == "clocks-differ"
    with pytest.raises(ImplausibleValue, match="clocks") as caught:
        resolve(acquisition, strict_clock=True)
    assert "20" in (caught.value.found or "")


def test_spread_below_one_percent_is_silent(record, moments, scan_at):
    found = resolve(record(acquisition_datetime=moments(scan_at + seconds(60))), strict_clock=True)
    assert found.warnings == ()
    assert 0.5 < found.spread_percent < 1.0


def test_decay_factor_that_agrees_is_silent(record):
    # inputs sheet, trap 1: 18F, FRT 600 s, factor 1.06518
    acquisition = record(
        frame_reference_time_s=np.array([[600.0]]),
        frame_duration_s=np.array([[1200.0]]),
        decay_factor=np.array([[1.06518]]),
    )
    assert resolve(acquisition).rule == "series_time"


@pytest.mark.parametrize("frame_reference_time_s", [0.6, 1800.0])
def test_decay_factor_that_contradicts_frame_reference_time_is_refused(record, frame_reference_time_s):
    acquisition = record(
        frame_reference_time_s=np.array([[frame_reference_time_s]]), decay_factor=np.array([[1.06518]])
    )
    with pytest.raises(ImplausibleValue, match="contradict") as caught:
        resolve(acquisition)
    assert "(0054,1321)" in (caught.value.where or "")


def test_decay_factor_to_the_frame_mean_where_reference_time_is_the_frame_start(record):
    # GE, as in STS_001: FRT 243 s, frame 240 s, half-life 6588 s, factor 1.0389
    acquisition = record(
        half_life_s=6588.0,
        frame_reference_time_s=np.array([[243.0]]),
        frame_duration_s=np.array([[240.0]]),
        decay_factor=np.array([[1.0389]]),
    )
    assert resolve_reference(acquisition, scan_clock(acquisition), 6588.0).rule == "series_time"


def test_decay_factor_of_one_everywhere_is_unset(record):
    assert resolve(record(frame_reference_time_s=np.array([[600.0]]))).rule == "series_time"


def test_admin_refers_to_the_injection(record):
    found = resolve(record(decay_correction="ADMIN"))
    assert (found.rule, found.reference_s, found.scan_s) == ("injection", None, 0.0)


def test_none_takes_each_frame_at_its_own_time(record, moments, scan_at):
    found = resolve(beds(record, moments, scan_at, decay_correction="NONE"))
    mean_at = float(average_activity_time(300.0, F18_S))
    assert found.rule == "each_frame"
    assert found.mid_s == pytest.approx(column(0, 300, 600) + mean_at)


@pytest.mark.parametrize("missing", ["acquisition_datetime", "frame_duration_s"])
def test_none_without_complete_timing_is_refused(record, missing):
    with pytest.raises(MissingMetadata, match="timing"):
        resolve(record(decay_correction="NONE", **{missing: None}))


def test_none_with_one_missing_acquisition_time_is_refused(record, moments, scan_at):
    acquisition = beds(record, moments, scan_at, decay_correction="NONE")
    acquisition.acquisition_datetime[1, 0] = np.datetime64("NaT")
    with pytest.raises(MissingMetadata, match="timing"):
        resolve(acquisition)


def test_none_with_one_acquisition_time_for_all_beds_is_refused(record):
    acquisition = record(
        decay_correction="NONE",
        frame_reference_time_s=column(150, 450, 750),
        frame_duration_s=column(300, 300, 300),
        decay_factor=None,
    )
    with pytest.raises(ImplausibleValue, match="one acquisition time"):
        resolve(acquisition)


@pytest.mark.parametrize("convention", ["START", "ADMIN"])
def test_decay_correction_that_the_list_of_corrections_lacks_is_refused(record, convention):
    acquisition = record(decay_correction=convention, corrections=("NORM", "ATTN"))
    with pytest.raises(ImplausibleValue, match="no decay correction"):
        resolve(acquisition)
    assert resolve(acquisition, decay_correction="START").convention == "START"


def test_decay_correction_that_no_list_confirms_is_cautioned(record):
    found = resolve(record(corrections=()))
    assert found.rule == "series_time"
    assert [caution.code for caution in found.warnings] == ["decay-correction-unconfirmed"]
    assert resolve(record(corrections=()), decay_correction="START").warnings == ()


def test_none_beside_a_listed_decay_correction_is_cautioned(record):
    found = resolve(record(decay_correction="NONE"))
    assert [caution.code for caution in found.warnings] == ["decay-correction-contradicts"]


@pytest.mark.parametrize("word", [None, "", "  "])
def test_unstated_convention_is_refused(record, word):
    with pytest.raises(MissingMetadata, match="DecayCorrection"):
        resolve(record(decay_correction=word))


def test_unknown_convention_is_refused(record):
    with pytest.raises(UnsupportedInput):
        resolve(record(decay_correction="SOMETIMES"))


def test_no_usable_time_at_all_is_refused(record):
    with pytest.raises(MissingMetadata, match="no usable time"):
        resolve(record(series_datetime=None, acquisition_datetime=None))


def test_reference_that_a_sidecar_states(record):
    acquisition = record(
        series_datetime=None,
        acquisition_datetime=None,
        decay_reference_s=-120.0,
        injection_to_first_frame_s=3600.0,
        decay_factor=None,
    )
    found = resolve(acquisition)
    assert (found.rule, found.reference_s) == ("stated", -120.0)


def test_scan_start_that_a_sidecar_states(record):
    acquisition = record(
        series_datetime=None, acquisition_datetime=None, decay_reference="scan_start", decay_factor=None
    )
    assert (resolve(acquisition).rule, resolve(acquisition).reference_s) == ("stated", 0.0)


def test_injection_as_stated_reference_is_admin(record):
    acquisition = record(decay_correction=None, decay_reference="injection")
    assert resolve(acquisition).convention == "ADMIN"


def test_offset_from_utc_does_not_move_the_clock(record, scan_at):
    zone = timezone(timedelta(hours=5, minutes=30))
    found = resolve(record(series_datetime=scan_at.replace(tzinfo=zone), utc_offset_min=330.0))
    assert (found.rule, found.candidates_s["acquisition_time"]) == ("series_time", 0.0)


def test_decisions_hold_seconds_and_no_dates(record, moments, scan_at):
    text = json.dumps(resolve(beds(record, moments, scan_at)).decisions())
    assert "2025" not in text
    assert {"rule", "explanation", "candidates_s", "spread_percent"} <= set(json.loads(text))


def test_arrays_of_different_scans_are_refused(record, moments, scan_at):
    with pytest.raises(GeometryMismatch):
        resolve(record(frame_duration_s=np.ones((2, 2)), frame_reference_time_s=np.ones((3, 3))))


def test_negative_frame_durations_are_refused(record):
    with pytest.raises(ImplausibleValue, match="duration"):
        resolve(record(frame_duration_s=np.array([[-300.0]])))


@given(
    late=st.floats(0, 7200),
    starts=st.lists(st.integers(0, 100), min_size=2, max_size=8, unique=True),
)
def test_reference_is_never_after_the_first_acquisition(record, moments, scan_at, late, starts):
    acquisition = beds(
        record,
        moments,
        scan_at,
        starts=[float(s * 60) for s in starts],
        reference=[float(s * s) for s in starts],
        series_datetime=scan_at + seconds(late),
    )
    clock = scan_clock(acquisition)
    found = resolve_reference(acquisition, clock, F18_S)
    if found.rule != "back_computed":
        assert found.reference_s <= clock.first_start_s + 1e-6


@given(starts=st.lists(st.integers(0, 200), min_size=2, max_size=8, unique=True), shift=st.floats(-600, 600))
def test_back_computation_inverts_the_scanner(record, moments, scan_at, starts, shift):
    """FRT made from a known reference leads back to it, whatever the series time says."""
    mean_at = float(average_activity_time(300.0, F18_S))
    begin = [60.0 * s for s in starts]
    acquisition = beds(
        record,
        moments,
        scan_at,
        starts=begin,
        reference=[b + mean_at - shift for b in begin],
        series_datetime=scan_at + seconds(86400),
    )
    clock = scan_clock(acquisition)
    found = resolve_reference(acquisition, clock, F18_S)
    if found.rule == "back_computed":
        assert found.reference_s - clock.first_start_s == pytest.approx(shift - min(begin), abs=1e-4)
    else:
        assert any(abs(b + mean_at - shift) < 1e-6 for b in begin)


def test_factor_of_the_frame_is_the_decay_to_the_reference():
    assert float(frame_decay_factor(6586.2, 6586.2)) == pytest.approx(2.0)
